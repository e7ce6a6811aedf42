//! Reads Gruntwork runbooks: MDX pages whose `<Command>` and `<Check>` elements are steps.
//!
//! Example: `<Command id="restart" command="systemctl restart web" inputsId="config" />`. The page is parsed as MDX, so
//! comments and code samples are no steps, and the script of a step is the text that MDX gives to the element. This
//! module only reads a page and runs nothing. All other elements are prose.

mod boilerplate;
mod elements;
mod entities;
mod gruntwork_bytes;
mod inputs;
mod literal;
mod nesting;
mod notes;
mod sign_ins;
mod validations;
mod variable;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::record::declared::{DeclaredSandbox, Limit};
use crate::record::step_definition::{Approvals, Format, SessionUse, StepDefinition, Template};
use crate::registry::found_step::FoundStep;
use crate::registry::front_matter;
use crate::registry::gruntwork::elements::Element;
use crate::registry::gruntwork::gruntwork_bytes::GruntworkScript;
use crate::registry::gruntwork::inputs::InputBlocks;
use crate::registry::gruntwork::notes::Notes;
use crate::registry::page::{Page, ReadPage};
use crate::registry::script_rules::{REFUSED_CHARACTERS, check_path, check_size, interpreter_of_shebang, step_ref};
use crate::registry::text_lines::TextLines;
use crate::template::script_template;
use crate::yaml::{TextPlace, YamlFlaw};

/// Reads an `*.mdx` page. Returns `None` if the page has no step.
///
/// # Errors
/// Returns all flaws of the page. If the page is not MDX, returns the first part that is not MDX.
pub fn read(page: &Page<'_>) -> Result<Option<ReadPage>, Vec<YamlFlaw>> {
    // A name of an element has no other form than its letters, so such a page can't contain a step.
    if !STEPS.iter().any(|name| page.text.contains(name)) {
        return Ok(None);
    }
    let lines = TextLines::of(page.text);
    let mut notes = Notes::default();
    if page.text.len() > MAX_PAGE_BYTES {
        let message = format!("the page is larger than {MAX_PAGE_BYTES} bytes: split the page");
        return Err(vec![YamlFlaw::new(TextPlace { line: 1, column: 1 }, message)]);
    }
    let mark = ('\u{feff}', "the file begins with a byte order mark: save the file without this mark");
    for (refused, message) in REFUSED_CHARACTERS.into_iter().chain([mark]) {
        if let Some(at) = page.text.find(refused) {
            notes.flaws.push(YamlFlaw::new(lines.place(at), message));
        }
    }
    if !notes.flaws.is_empty() {
        return Err(notes.flaws);
    }
    let elements = elements::read(page.text, &lines, &mut notes.flaws).map_err(|flaw| vec![flaw])?;
    let steps = || elements.iter().enumerate().filter(|(_, element)| STEPS.contains(&element.name.as_str()));
    if notes.flaws.is_empty() && steps().next().is_none() {
        return Ok(None);
    }
    if let Some((_, element)) = steps().nth(MAX_STEPS) {
        let message = format!("the page has more than {MAX_STEPS} steps: split the page");
        return Err(vec![YamlFlaw::new(element.place, message)]);
    }
    if let Err(message) = check_path(page.name) {
        notes.flaws.push(YamlFlaw::new(TextPlace { line: 1, column: 1 }, message));
    }
    let mut reader =
        Reader { page, elements: &elements, inputs: InputBlocks::new(page, &lines, &elements), ids: BTreeMap::new() };
    let found: Vec<FoundStep> = steps().filter_map(|(index, _)| reader.step(index, &mut notes)).collect();
    for list in [&mut notes.flaws, &mut notes.remarks] {
        // Several steps may use one block.
        list.sort();
        list.dedup();
    }
    if notes.flaws.is_empty() { Ok(Some(ReadPage { steps: found, remarks: notes.remarks })) } else { Err(notes.flaws) }
}

struct Reader<'a> {
    page: &'a Page<'a>,
    elements: &'a [Element],
    inputs: InputBlocks<'a>,
    /// Ids of the steps before, in the form that templates use, with their places.
    ids: BTreeMap<String, (String, TextPlace)>,
}

/// Script of a step.
struct Script {
    text: String,
    /// Place of the attribute that contains or names the script.
    place: TextPlace,
    /// Path of the file, if the script is in a file.
    path: Option<String>,
}

impl Reader<'_> {
    /// Reads one step. If the element has a flaw, the element gives no step, and reading continues.
    fn step(&mut self, index: usize, notes: &mut Notes) -> Option<FoundStep> {
        let before = notes.flaws.len();
        let element = &self.elements[index];
        check_attributes(element, notes);
        let id = self.id(element, &mut notes.flaws);
        let title = title(element, &mut notes.flaws);
        let script = self.script(element, &mut notes.flaws);
        let params = self.inputs.schema_of(index, script.as_ref().map_or("", |script| &script.text), notes);
        let secrets = sign_ins::secrets(element, self.elements, &mut notes.flaws);
        let sandbox = sandbox(element, &mut notes.flaws);
        let script = script?;
        let interpreter = interpreter(&script).map_err(|message| YamlFlaw::new(script.place, message));
        let interpreter = interpreter.map_err(|flaw| notes.flaws.push(flaw)).ok()?;
        let (id, place) = id?;
        let reference = step_ref(self.page.name, id).map_err(|message| YamlFlaw::new(place, message));
        let reference = reference.map_err(|flaw| notes.flaws.push(flaw)).ok()?;
        if notes.flaws.len() > before {
            return None;
        }
        self.compare(element, id, &script, notes);
        let mut params = params;
        add_outputs(&mut params, &script.text);
        Some(FoundStep {
            place,
            contents: Vec::new(),
            definition: StepDefinition {
                title: title.unwrap_or_else(|| id.to_owned()),
                reference,
                format: Format::Gruntwork,
                interpreter,
                template: if script.text.contains("{{") { Template::Gruntwork } else { Template::None },
                source: script.text,
                files: Vec::new(),
                params: params.into(),
                sandbox,
                approvals: Approvals::unspecified(),
                secrets,
                outputs: Vec::new(),
                session: SessionUse::None,
                exclusive: None,
                plan: None,
                runs_on: None,
                programs: None,
            },
        })
    }

    /// Returns the id of a step with its place. Two ids are equal for templates if they differ only in `-` and `_`.
    fn id<'e>(&mut self, element: &'e Element, flaws: &mut Vec<YamlFlaw>) -> Option<(&'e str, TextPlace)> {
        let Some(attribute) = element.attribute("id") else {
            let message = format!("<{}> has no id: add id=\"…\"", element.name);
            flaws.push(YamlFlaw::new(element.place, message));
            return None;
        };
        let id = element.text("id", flaws)?;
        let normal = id.replace('-', "_");
        if let Some((first, at)) = self.ids.get(&normal) {
            let first_place = format!("{}:{}", at.line, at.column);
            let message = if first == id {
                format!("the id {id:?} is already at {first_place}: change the id of one of the two steps")
            } else {
                format!(
                    "the ids {first:?} at {first_place} and {id:?} are the same name in templates, where - becomes _: \
                     change the id of one of the two steps"
                )
            };
            flaws.push(YamlFlaw::new(attribute.place, message));
            return None;
        }
        self.ids.insert(normal, (id.to_owned(), attribute.place));
        Some((id, attribute.place))
    }

    fn script(&self, element: &Element, flaws: &mut Vec<YamlFlaw>) -> Option<Script> {
        let place = |name: &str| element.attribute(name).map_or(element.place, |attribute| attribute.place);
        let (text, place, path) = match (element.attribute("command"), element.attribute("path")) {
            (Some(_), None) => (element.text("command", flaws)?.to_owned(), place("command"), None),
            (None, Some(_)) => {
                let path = element.text("path", flaws)?;
                let text = self.page.files.read(path).and_then(|bytes| {
                    String::from_utf8(bytes)
                        .map_err(|_| format!("the file {path:?} is not UTF-8: save the file as UTF-8"))
                });
                let text = text.map_err(|message| flaws.push(YamlFlaw::new(place("path"), message))).ok()?;
                (text, place("path"), Some(path.to_owned()))
            }
            (found, _) => {
                let what = if found.is_some() { "both `command` and `path`" } else { "no script" };
                let message = format!(
                    "<{}> has {what}: write the script in command=\"…\", or name its file with path=\"…\"",
                    element.name
                );
                flaws.push(YamlFlaw::new(element.place, message));
                return None;
            }
        };
        let before = flaws.len();
        if text.trim().is_empty() {
            flaws.push(YamlFlaw::new(place, "the script is empty: write the script"));
        }
        flaws.extend(check_size(&text).err().map(|message| YamlFlaw::new(place, message)));
        for (refused, message) in REFUSED_CHARACTERS {
            if text.contains(refused) {
                flaws.push(YamlFlaw::new(place, format!("the script: {message}")));
            }
        }
        (flaws.len() == before).then_some(Script { text, place, path })
    }

    /// Adds a remark if Gruntwork's own registry takes another id or another script from the element.
    fn compare(&self, element: &Element, id: &str, script: &Script, notes: &mut Notes) {
        let theirs = gruntwork_bytes::read(self.page.text.get(element.attribute_text.clone()).unwrap_or_default());
        let same = match (&theirs.script, &script.path) {
            (GruntworkScript::Inline(text), None) => *text == script.text,
            (GruntworkScript::File(path), Some(own)) => path == own,
            _ => false,
        };
        if theirs.id != id || !same {
            let message = format!(
                "Gruntwork's registry takes another script from <{} id={id:?}>, because it searches the text of the tag; \
                 Countersign runs what MDX shows: write the script in a file and name it with `path`, so that both are \
                 the same",
                element.name
            );
            notes.remarks.push(YamlFlaw::new(script.place, message));
        }
    }
}

/// Refuses attributes that occur twice, and reports the attributes that have no effect.
fn check_attributes(element: &Element, notes: &mut Notes) {
    let mut without_effect: Vec<&str> = Vec::new();
    for (index, attribute) in element.attributes.iter().enumerate() {
        let name = attribute.name.as_str();
        if element.attributes[..index].iter().any(|other| other.name == name) {
            let message = format!("`{name}` occurs twice: keep one of the two");
            notes.flaws.push(YamlFlaw::new(attribute.place, message));
        } else if !ATTRIBUTES.contains(&name) && !sign_ins::SIGN_INS.contains(&name) {
            without_effect.push(name);
        }
    }
    if !without_effect.is_empty() {
        let message = format!("attributes of <{}> without effect: {}", element.name, without_effect.join(", "));
        notes.remarks.push(YamlFlaw::new(element.place, message));
    }
}

/// Adds a text parameter for each output of another block that the script uses. The proposer gives the value.
fn add_outputs(params: &mut Value, script: &str) {
    for name in script_template::output_parameters(script) {
        if params["properties"].get(&name).is_some() {
            continue;
        }
        params["properties"][&name] =
            json!({"type": "string", "description": "Output of an earlier block", "maxLength": MAX_OUTPUT});
        if let Some(required) = params["required"].as_array_mut() {
            required.push(name.into());
        }
    }
}

/// Maximum number of steps of a page.
const MAX_STEPS: usize = 500;
/// Maximum length of the value of an output, in characters.
const MAX_OUTPUT: u64 = 4096;

fn title(element: &Element, flaws: &mut Vec<YamlFlaw>) -> Option<String> {
    let text = element.text("title", flaws)?.split_whitespace().collect::<Vec<_>>().join(" ");
    if text.is_empty() {
        return None;
    }
    let place = element.attribute("title").map_or(element.place, |attribute| attribute.place);
    front_matter::title(&text).map_err(|message| flaws.push(YamlFlaw::new(place, message))).ok()
}

/// Returns the interpreter of a script: its shebang, else bash, as in Gruntwork.
fn interpreter(script: &Script) -> Result<String, String> {
    if let Some(name) = interpreter_of_shebang(&script.text)? {
        return Ok(name);
    }
    let ending = script.path.as_deref().and_then(|path| path.rsplit('/').next()?.rsplit_once('.')).map(|(_, end)| end);
    match LANGUAGES.iter().find(|(known, _)| Some(*known) == ending) {
        Some((ending, name)) => Err(format!(
            "the script ends in .{ending} but has no shebang, so bash would run it: write #!/usr/bin/env {name} in its \
             first line"
        )),
        None => Ok("bash".to_owned()),
    }
}

fn sandbox(element: &Element, flaws: &mut Vec<YamlFlaw>) -> DeclaredSandbox {
    let mut sandbox = DeclaredSandbox::default();
    let Some(attribute) = element.attribute("timeoutMs") else { return sandbox };
    let millis = match &attribute.value {
        Some(Value::Number(number)) => number.as_u64(),
        Some(Value::String(text)) => text.parse().ok(),
        Some(_) => None,
        None => return sandbox,
    };
    match millis.filter(|millis| (1..1 << 53).contains(millis)) {
        Some(millis) => sandbox.limits.get_or_insert_default().declare(Limit::Wall, millis),
        None => {
            let message = "`timeoutMs` must be a whole number of milliseconds above 0: write timeoutMs={300000}";
            flaws.push(YamlFlaw::new(attribute.place, message));
        }
    }
    sandbox
}

/// Elements that are steps.
const STEPS: [&str; 2] = ["Command", "Check"];
/// Attributes of a step that have an effect, besides those of `sign_ins`.
const ATTRIBUTES: [&str; 6] = ["id", "title", "command", "path", "inputsId", "timeoutMs"];
/// Endings of files that are not for bash, with their interpreters.
const LANGUAGES: [(&str, &str); 7] =
    [("py", "python3"), ("js", "node"), ("mjs", "node"), ("rb", "ruby"), ("pl", "perl"), ("go", "go"), ("zsh", "zsh")];
/// Maximum size of a page. The parser needs quadratic time for some pages.
const MAX_PAGE_BYTES: usize = 256 << 10;

#[cfg(test)]
mod tests;
