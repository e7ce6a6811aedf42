//! Parameters of a step: the variables of the `<Inputs>` and `<Template>` blocks that the step names or contains.

use std::{collections::BTreeMap, rc::Rc};

use serde_json::{Map, Value};

use crate::{
    Element, Page, ParameterSchema, TextLines, Variable, YamlFlaw, YamlSource, noted, refuse,
    registry::gruntwork::{boilerplate, elements::Notes},
    yaml::{self, unknown},
};
use documents::{Parameter, parameter_variable};

/// Blocks of the page that declare variables. A block is read when the first step uses it.
pub struct InputBlocks<'a> {
    page: &'a Page<'a>,
    lines: &'a TextLines<'a>,
    elements: &'a [Element],
    /// Variables and flaws of each block that was read.
    read: BTreeMap<usize, (Rc<[Variable]>, Vec<YamlFlaw>)>,
}

impl<'a> InputBlocks<'a> {
    pub const fn new(
        page: &'a Page<'a>,
        lines: &'a TextLines<'a>,
        elements: &'a [Element],
    ) -> Self {
        Self {
            page,
            lines,
            elements,
            read: BTreeMap::new(),
        }
    }

    /// Returns the parameters of a step. If two blocks declare a variable with the same name, the later block
    /// decides.
    pub fn schema_of(&mut self, step: usize, script: &str, notes: &mut Notes) -> Parameter {
        let mut merged: BTreeMap<String, Variable> = BTreeMap::new();
        for block in self.blocks_of(step, &mut notes.flaws) {
            for variable in self.variables(block, notes).iter() {
                if variable.open_map {
                    let message = "the map has no known keys: write a `default` with every key, for example default: {key: \
                                   value}, or use a list";
                    if has_word(script, &variable.name) {
                        notes.flaws.push(variable.flaw(message));
                    } else {
                        notes.remarks.push(variable.flaw(&format!(
                            "{message}; no parameter, because no script uses it"
                        )));
                    }
                    continue;
                }
                merged.insert(variable.name.clone(), variable.clone());
            }
        }
        let properties = merged
            .iter()
            .map(|(name, variable)| (name.clone(), variable.declared.clone()));
        let is_required = |(name, one): &(&String, &Variable)| {
            let is_used = has_word(script, name) || has_word(script, &parameter_variable(name));
            one.declared.default.is_none() && (is_used || !one.if_used)
        };
        let required = merged
            .iter()
            .filter(is_required)
            .map(|(name, _)| name.clone());
        let schema = Parameter::object(properties.collect(), required.collect());
        self.check(&schema, &merged, step, &mut notes.flaws);
        schema
    }

    fn check(
        &self,
        schema: &Parameter,
        merged: &BTreeMap<String, Variable>,
        step: usize,
        flaws: &mut Vec<YamlFlaw>,
    ) {
        for flaw in ParameterSchema::compile(schema).err().unwrap_or_default() {
            let variable = flaw
                .pointer
                .split('/')
                .nth(2)
                .and_then(|name| merged.get(name));
            flaws.push(match variable {
                Some(variable) => variable.flaw(&flaw.message),
                None => {
                    let message = format!(
                        "the parameters of the step, {}: {}",
                        flaw.pointer, flaw.message
                    );
                    YamlFlaw::new(self.elements[step].place, message)
                }
            });
        }
    }

    /// Returns the blocks that `inputsId` names, and then the blocks inside of the step.
    fn blocks_of(&self, step: usize, flaws: &mut Vec<YamlFlaw>) -> Vec<usize> {
        let mut found = Vec::new();
        if let Some(attribute) = self.elements[step].attribute("inputsId") {
            let ids: Option<Vec<&str>> = match &attribute.value {
                Some(Value::String(id)) => Some(vec![id]),
                Some(Value::Array(ids)) => ids.iter().map(Value::as_str).collect(),
                Some(_) => None,
                None => return found,
            };
            let Some(ids) = ids else {
                let message = "`inputsId` must be an id or a list of ids: write inputsId=\"...\" or inputsId={[\"...\"]}";
                refuse(flaws, attribute.place, message);
                return found;
            };
            for id in ids {
                found.extend(noted(self.block(id), attribute.place, flaws));
            }
        }
        let inside = |index: usize| {
            std::iter::successors(self.elements[index].parent, |above| {
                self.elements[*above].parent
            })
            .any(|above| above == step)
        };
        let inner = (0..self.elements.len())
            .filter(|index| self.elements[*index].name == "Inputs" && inside(*index));
        found.extend(inner.collect::<Vec<_>>());
        found
    }

    fn block(&self, id: &str) -> Result<usize, String> {
        let blocks = || {
            let declares =
                |element: &Element| ["Inputs", "Template"].contains(&element.name.as_str());
            self.elements
                .iter()
                .enumerate()
                .filter(move |(_, element)| declares(element))
        };
        let mut found = blocks().filter(|(_, element)| element.text_of("id") == Some(id));
        match (found.next(), found.next()) {
            (Some((index, _)), None) => Ok(index),
            (Some((_, first)), Some((_, second))) => Err(format!(
                "the blocks at {} and {} both have the id {id:?}: change one of the two ids",
                first.place, second.place
            )),
            (None, _) => {
                let known: Vec<&str> = blocks()
                    .filter_map(|(_, element)| element.text_of("id"))
                    .collect();
                if known.is_empty() {
                    return Err(format!(
                        "the page has no <Inputs> or <Template> with the id {id:?}: add the block"
                    ));
                }
                Err(unknown("id of an <Inputs> or <Template>", id, &known))
            }
        }
    }

    fn variables(&mut self, block: usize, notes: &mut Notes) -> Rc<[Variable]> {
        if let Some((found, flaws)) = self.read.get(&block) {
            // Each step that uses a block with a flaw has the flaw.
            notes.flaws.extend(flaws.iter().cloned());
            return Rc::clone(found);
        }
        let before = notes.flaws.len();
        let found: Rc<[Variable]> = match self.document(&self.elements[block], &mut notes.flaws) {
            Some((text, source)) => match yaml::parse_with_fractions(&text, source.first_line()) {
                Ok(tree) => boilerplate::read(&tree, &source, &self.prefilled(block, notes), notes),
                Err(flaw) => {
                    notes.flaws.push(source.flaw(flaw.place, &flaw.message));
                    Vec::new()
                }
            },
            None => Vec::new(),
        }
        .into();
        self.read
            .insert(block, (Rc::clone(&found), notes.flaws[before..].to_vec()));
        found
    }

    fn prefilled(&self, block: usize, notes: &mut Notes) -> Map<String, Value> {
        let Some(attribute) = self.elements[block].attribute("prefilledVariables") else {
            return Map::new();
        };
        match &attribute.value {
            Some(Value::Object(values)) => return values.clone(),
            Some(_) => {
                let message = "`prefilledVariables` must be an object: write prefilledVariables={{Name: \"value\"}}";
                refuse(&mut notes.flaws, attribute.place, message);
            }
            None => {}
        }
        Map::new()
    }

    /// Returns the YAML of a block, from a fence or from a file `boilerplate.yml`.
    fn document(&self, block: &Element, flaws: &mut Vec<YamlFlaw>) -> Option<(String, YamlSource)> {
        let before = flaws.len();
        let path = block.text("path", flaws);
        if flaws.len() > before {
            return None;
        }
        match (path, block.fences.as_slice()) {
            (None, [fence]) if matches!(fence.language.as_deref(), None | Some("yaml" | "yml")) => {
                Some((fence.text.clone(), YamlSource::of_fence(fence, self.lines)))
            }
            (Some(path), fences) if fences.is_empty() || block.name == "Template" => {
                let place = block.place_of("path");
                let path = path.trim_end_matches('/');
                let path = if path.rsplit('/').next() == Some(FILE) {
                    path.to_owned()
                } else {
                    format!("{path}/{FILE}")
                };
                let text = noted(self.page.files.read(&path), place, flaws)?;
                Some((text, YamlSource::File { path, place }))
            }
            _ => {
                let message = format!(
                    "<{}> must have its variables in exactly one place: write them in one ```yaml block, or name their \
                     directory with path=\"...\"",
                    block.name
                );
                refuse(flaws, block.place, message);
                None
            }
        }
    }
}

/// Returns true if the text contains the word between characters that can't be part of a name.
pub fn has_word(text: &str, word: &str) -> bool {
    let ends = |c: Option<char>| c.is_none_or(|c| !c.is_alphanumeric() && c != '_');
    text.match_indices(word).any(|(at, _)| {
        ends(text[..at].chars().next_back()) && ends(text[at + word.len()..].chars().next())
    })
}

/// Name of the file with the variables of a directory of templates.
const FILE: &str = "boilerplate.yml";
