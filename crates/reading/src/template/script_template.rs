//! Parses, checks and renders the templates of scripts.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use crate::{
    shell::found::Shell,
    template::{
        code_plan::{self, CodePlan, plain},
        code_reader::CodeLanguage,
        condition::ValueName,
        flaw::{RenderError, TemplateFlaw},
        shell_plan::{self, Flaws, ShellPlan},
        shell_quoting::TemplatePlace,
        syntax::{TemplateNode, parse},
        template_rules::TemplateRules,
        variant::{
            MAX_ITEMS, MAX_VARIANTS, RangeItem, SlotPart, Variant, VariantDecision, all, expand,
        },
    },
};
use documents::{StepDefinition, parameter_variable, secret_parameters};

/// Template of a script, in which every placeholder has a place that can hold any value.
///
/// The parameter of `{{ .Name }}` and `{{ .inputs.Name }}` is `Name`. The parameter of `{{ .outputs.block.key }}` is
/// `outputs_block_key`, in which `-` becomes `_`.
#[derive(Debug)]
pub struct ScriptTemplate {
    language: TemplateLanguage,
    nodes: Vec<TemplateNode>,
    /// The parsed variants, by their decisions.
    variants: BTreeMap<Vec<usize>, (Variant, VariantPlan)>,
    names: BTreeSet<String>,
    uses: Vec<TemplateUse>,
    /// Parameters whose schema allows a dash at the beginning.
    dashes: BTreeSet<String>,
    /// Flaws by the rules of this version only.
    flaws: Vec<TemplateFlaw>,
}

/// Use of a parameter in a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateUse {
    /// Name of the parameter.
    pub parameter: String,
    /// Byte offset of the placeholder in the source.
    pub offset: usize,
    /// Place of the placeholder.
    pub place: TemplatePlace,
    /// True if the value must be a whole number, because the script evaluates it as arithmetic.
    pub number: bool,
    /// True if the value is the whole parameter, and not an item of a list.
    pub whole: bool,
}

#[derive(Debug, Clone, Copy)]
enum TemplateLanguage {
    Shell(Shell),
    Code(CodeLanguage),
}

#[derive(Debug)]
enum VariantPlan {
    Shell(ShellPlan),
    Code(CodePlan),
}

pub(super) fn is_invalid(flaws: &[TemplateFlaw]) -> RenderError {
    RenderError::new(
        "",
        flaws.first().map_or_else(String::new, |flaw| {
            format!("the template is invalid: {flaw}")
        }),
    )
}

impl ScriptTemplate {
    /// Parses a template for an interpreter, for example `bash`, `sh`, `python` or `node`, by the rules of this version.
    ///
    /// # Errors
    /// Returns every flaw that was found: invalid actions, and placeholders in places that can't hold every value.
    pub fn parse(source: &str, language: &str) -> Result<Self, Vec<TemplateFlaw>> {
        Self::read(source, language)?.without_flaws()
    }

    fn without_flaws(self) -> Result<Self, Vec<TemplateFlaw>> {
        if self.flaws.is_empty() {
            Ok(self)
        } else {
            Err(self.flaws)
        }
    }

    /// Parses a template by the frozen rules. The template knows its flaws by the rules of this version.
    pub(super) fn read(source: &str, language: &str) -> Result<Self, Vec<TemplateFlaw>> {
        let fail = |at: usize, message: &str| vec![TemplateFlaw::new(source, at, message)];
        if source.len() > MAX_SOURCE {
            return Err(fail(
                0,
                "the template is longer than 64 KiB: split the script",
            ));
        }
        if let Some(at) = source.find(|c: char| ('\u{f0000}'..='\u{10ffff}').contains(&c)) {
            return Err(fail(
                at,
                "the template contains a private-use character: remove the character",
            ));
        }
        let language = template_language(language).ok_or_else(|| {
            fail(
                0,
                "templates are not supported in this language: read the environment variable of the parameter \
                     (`PARAM_NAME`) in the script",
            )
        })?;
        let nodes = parse(source)?;
        let mut template = Self {
            language,
            names: names(&nodes),
            nodes,
            variants: BTreeMap::new(),
            uses: Vec::new(),
            dashes: BTreeSet::new(),
            flaws: Vec::new(),
        };
        let Some(variants) = all(&template.nodes) else {
            let message = format!(
                "the conditions have more than {MAX_VARIANTS} combinations: use fewer conditions, or conditions of the \
                 script"
            );
            return Err(fail(0, &message));
        };
        let work = |(_, variant): &(Vec<usize>, Variant)| {
            (variant.slots.len() + OTHER_PARSES) * source.len()
        };
        if variants.iter().map(work).sum::<usize>() > MAX_WORK {
            return Err(fail(
                0,
                "the template has too many placeholders and conditions for its length: split the script",
            ));
        }
        let mut flaws = BTreeSet::new();
        for (decisions, variant) in variants {
            match plan(&variant, language, TemplateRules::Present) {
                Ok(plan) => {
                    template.add_uses(&variant, &plan);
                    template.variants.insert(decisions, (variant, plan));
                }
                Err(found) => {
                    let flaw = |(at, message): (usize, String)| {
                        TemplateFlaw::new(source, at, with_variable(&variant, at, &message))
                    };
                    flaws.extend(found.into_iter().map(flaw));
                }
            }
        }
        template.uses.sort_by_key(|one| one.offset);
        template.flaws.extend(flaws);
        Ok(template)
    }

    fn add_uses(&mut self, variant: &Variant, plan: &VariantPlan) {
        for (slot, at) in variant
            .slots
            .iter()
            .enumerate()
            .filter(|(_, at)| !matches!(at.part, SlotPart::Index(_)))
        {
            let (place, number) = match plan {
                VariantPlan::Shell(plan) => (plan.places[slot], plan.needs_number(slot)),
                VariantPlan::Code(plan) => (plan.places[slot], false),
            };
            let number = number || place == TemplatePlace::Number;
            let whole = matches!(at.part, SlotPart::Whole);
            let one = TemplateUse {
                parameter: at.parameter.clone(),
                offset: at.offset,
                place,
                number,
                whole,
            };
            if !self.uses.contains(&one) {
                self.uses.push(one);
            }
        }
    }

    /// Returns the names of the parameters that the template uses, also in conditions.
    pub const fn names(&self) -> &BTreeSet<String> {
        &self.names
    }

    /// Returns each use of a parameter as a value, in the order of the source.
    pub fn uses(&self) -> &[TemplateUse] {
        &self.uses
    }

    /// Checks the template against the schema of the parameters, which [`Self::render`] then respects: `x-leading-dash`
    /// allows a dash at the beginning of an argument. `source` is the source of the template, for the places of flaws.
    ///
    /// # Errors
    /// Returns a flaw for each parameter that the schema does not have, and for each parameter that the script
    /// evaluates as arithmetic although its schema allows other values than whole numbers.
    pub fn check(self, source: &str, schema: &Value) -> Result<Self, Vec<TemplateFlaw>> {
        let flaws = self.name_flaws(source, schema);
        let mut template = self.check_values(source, schema);
        template.flaws.splice(..0, flaws);
        template.without_flaws()
    }

    /// Returns a flaw for each parameter that the schema does not have, and for each secret parameter. These rules are
    /// frozen.
    pub(super) fn name_flaws(&self, source: &str, schema: &Value) -> Vec<TemplateFlaw> {
        let mut flaws = Vec::new();
        for name in &self.names {
            let at = self
                .uses
                .iter()
                .find(|one| one.parameter == *name)
                .map_or(0, |one| one.offset);
            let message = match schema.get("properties").and_then(|all| all.get(name)) {
                None => format!(
                    "the step has no variable `{name}`: declare it in the <Inputs> that the step names with `inputsId`; if \
                     another program reads this text, write {}",
                    as_text(source, at, name)
                ),
                Some(schema) if !secret_parameters(schema).is_empty() => format!(
                    "`{name}` is secret, but the log stores the filled-in script: write \"$(cat \"${}\")\" in the script, \
                     because this variable has the path of a file with the value",
                    parameter_variable(name)
                ),
                Some(_) => continue,
            };
            flaws.push(TemplateFlaw::new(source, at, message));
        }
        flaws
    }

    /// Adds a flaw for each parameter whose schema allows values that its place does not take.
    pub(super) fn check_values(mut self, source: &str, schema: &Value) -> Self {
        let property = |name: &str| schema.get("properties").and_then(|all| all.get(name));
        let mut flaws = Vec::new();
        for one in self.uses.iter().filter(|one| one.number) {
            if property(&one.parameter).is_some_and(|schema| !is_number_schema(schema)) {
                let message = format!(
                    "the script evaluates `{}` as arithmetic: write `type: integer` in the schema, or an enum of whole \
                     numbers, or a pattern of digits such as `^[0-9]+$`",
                    one.parameter
                );
                flaws.push(TemplateFlaw::new(source, one.offset, message));
            }
        }
        for one in self
            .uses
            .iter()
            .filter(|one| one.whole && one.place != TemplatePlace::Literal)
        {
            let kind = property(&one.parameter)
                .and_then(|schema| schema.get("type"))
                .and_then(Value::as_str);
            let message = match kind {
                Some("array") => format!(
                    "`{0}` is a list, which this place can't hold: write {{{{ range .inputs.{0} }}}} {{{{ . }}}}{{{{ end }}}}, \
                     or read the JSON in the variable `{1}`",
                    one.parameter,
                    parameter_variable(&one.parameter)
                ),
                Some("object") => format!(
                    "`{}` is a map, which this place can't hold: read the JSON in the variable `{}`, for example with jq",
                    one.parameter,
                    parameter_variable(&one.parameter)
                ),
                _ => continue,
            };
            flaws.push(TemplateFlaw::new(source, one.offset, message));
        }
        let allows = |schema: &Value| schema.get("x-leading-dash") == Some(&Value::Bool(true));
        self.dashes = (self.names.iter())
            .filter(|name| {
                property(name)
                    .is_some_and(|one| allows(one) || one.get("items").is_some_and(allows))
            })
            .cloned()
            .collect();
        self.flaws.append(&mut flaws);
        self
    }

    /// Returns a script with the commands of all branches and with a harmless value in each place. Policy reads this
    /// script before the parameters of a run are known. Returns `source` for a language that policy does not read.
    pub fn sample<'s>(&self, source: &'s str) -> Cow<'s, str> {
        let texts = self
            .variants
            .values()
            .filter_map(|(variant, plan)| match plan {
                VariantPlan::Shell(plan) => Some(plan.sample(variant)),
                VariantPlan::Code(_) => None,
            });
        let mut all = String::new();
        for text in texts {
            if all.len() + text.len() < MAX_SOURCE {
                all.push_str(&text);
                all.push('\n');
            }
        }
        if all.is_empty() {
            Cow::Borrowed(source)
        } else {
            Cow::Owned(all)
        }
    }

    /// Returns the definition that policy reads before the parameters are known: its source is [`Self::sample`].
    pub fn sampled(&self, definition: &StepDefinition) -> StepDefinition {
        StepDefinition {
            source: self.sample(&definition.source).into_owned(),
            ..definition.clone()
        }
    }

    /// Returns, for each line of [`Self::sample`], the number of the line of `source` from which it comes.
    pub fn sample_lines(&self, source: &str) -> Vec<usize> {
        let (mut lines, mut length) = (Vec::new(), 0);
        for (variant, plan) in self.variants.values() {
            let VariantPlan::Shell(plan) = plan else {
                continue;
            };
            let text = plan.sample(variant).len();
            if length + text < MAX_SOURCE {
                length += text + 1;
                variant.add_lines(source, &mut lines);
            }
        }
        lines
    }

    /// Returns the definition with the script that runs for these parameters as its source.
    ///
    /// # Errors
    /// Returns the same errors as [`Self::render`]. The frozen rules give fewer errors.
    pub fn fill(
        &self,
        definition: &StepDefinition,
        params: &Value,
        rules: TemplateRules,
    ) -> Result<StepDefinition, RenderError> {
        let source = self.render_by(rules, params.as_object().unwrap_or(&Map::new()))?;
        Ok(StepDefinition {
            source,
            ..definition.clone()
        })
    }

    /// Returns the script for these parameters, which must be complete. Equal parameters always give the same bytes.
    ///
    /// # Errors
    /// Returns the parameter whose value is missing, has a wrong type or can't be written in its place.
    pub fn render(&self, params: &Map<String, Value>) -> Result<String, RenderError> {
        self.render_by(TemplateRules::Present, params)
    }

    fn render_by(
        &self,
        rules: TemplateRules,
        params: &Map<String, Value>,
    ) -> Result<String, RenderError> {
        if rules == TemplateRules::Present && !self.flaws.is_empty() {
            return Err(is_invalid(&self.flaws));
        }
        let (mut decisions, mut items) = (Vec::new(), 0);
        let variant = expand(&self.nodes, &mut |decision| {
            let is_range = matches!(decision, VariantDecision::Count(_));
            let taken = decide(decision, params)?;
            items = items.max(if is_range { taken } else { 0 });
            decisions.push(taken);
            Ok(taken)
        })?;
        if matches!(self.language, TemplateLanguage::Shell(_))
            && let Some((name, _)) = params.iter().find(|(_, value)| can_be_arithmetic(value))
        {
            return Err(RenderError::new(name, ARITHMETIC));
        }
        if variant.slots.len() > MAX_RENDERED && items > MAX_ITEMS {
            let message =
                format!("the lists give more than {MAX_RENDERED} placeholders: give shorter lists");
            return Err(RenderError::new("", message));
        }
        let new;
        let plan = match self.variants.get(&decisions) {
            Some((_, plan)) if rules == TemplateRules::Present => plan,
            _ => {
                new = plan(&variant, self.language, rules).map_err(|flaws| {
                    let message = flaws.first().map_or("", |(_, message)| message.as_str());
                    RenderError::new(
                        "",
                        format!("the template can't be rendered with these parameters: {message}"),
                    )
                })?;
                &new
            }
        };
        let mut values = Vec::new();
        for slot in &variant.slots {
            let whole = parameter(&slot.parameter, params)?;
            values.push(match slot.part {
                SlotPart::Whole => Cow::Borrowed(whole),
                SlotPart::Item(index) => Cow::Borrowed(&whole[index]),
                SlotPart::Index(index) => Cow::Owned(Value::from(index)),
            });
        }
        let script = match plan {
            VariantPlan::Shell(plan) => {
                let texts: Result<Vec<String>, RenderError> = (values.iter().zip(&variant.slots))
                    .map(|(value, slot)| {
                        plain(value).map_err(|message| RenderError::new(&slot.parameter, message))
                    })
                    .collect();
                plan.render(&variant, &texts?, &|slot| {
                    self.dashes.contains(&variant.slots[slot].parameter)
                })?
            }
            VariantPlan::Code(plan) => plan.render(
                &variant,
                &values.iter().map(AsRef::as_ref).collect::<Vec<_>>(),
            )?,
        };
        if script.len() > MAX_SOURCE {
            return Err(RenderError::new(
                "",
                "the rendered script is longer than 64 KiB: give shorter values",
            ));
        }
        Ok(script)
    }
}

/// Returns a message in which the variable of the parameter at this offset replaces the general name.
fn with_variable(variant: &Variant, at: usize, message: &str) -> String {
    let slot = variant.slots.iter().find(|slot| slot.offset == at);
    match slot {
        Some(slot) => message.replace("PARAM_NAME", &parameter_variable(&slot.parameter)),
        None => message.to_owned(),
    }
}

/// Returns the form in which a template contains the text of the action at this offset.
fn as_text(source: &str, at: usize, name: &str) -> String {
    let action = source
        .get(at..)
        .filter(|rest| rest.starts_with("{{"))
        .and_then(|rest| rest.split_once("}}"));
    let action = action.map_or_else(|| format!("{{{{.{name}"), |(action, _)| action.to_owned());
    format!("{{{{`{action}}}}}`}}}}")
}

fn template_language(name: &str) -> Option<TemplateLanguage> {
    Some(match name {
        "bash" => TemplateLanguage::Shell(Shell::Bash),
        "sh" | "dash" => TemplateLanguage::Shell(Shell::Sh),
        "python" | "python3" => TemplateLanguage::Code(CodeLanguage::Python),
        "node" | "javascript" => TemplateLanguage::Code(CodeLanguage::JavaScript),
        "go" => TemplateLanguage::Code(CodeLanguage::Go),
        _ => return None,
    })
}

fn plan(
    variant: &Variant,
    language: TemplateLanguage,
    rules: TemplateRules,
) -> Result<VariantPlan, Flaws> {
    match language {
        TemplateLanguage::Shell(shell) => {
            shell_plan::plan(variant, shell, rules).map(VariantPlan::Shell)
        }
        TemplateLanguage::Code(language) => {
            code_plan::plan(variant, language, rules).map(VariantPlan::Code)
        }
    }
}

pub(super) fn parameter<'p>(
    name: &str,
    params: &'p Map<String, Value>,
) -> Result<&'p Value, RenderError> {
    params.get(name).ok_or_else(|| {
        RenderError::new(name, "the value is missing: add a value for this parameter")
    })
}

/// Returns the branch that the parameters take, or the number of items of a list.
fn decide(
    decision: VariantDecision<'_>,
    params: &Map<String, Value>,
) -> Result<usize, RenderError> {
    let list = |name: &str| {
        let value = parameter(name, params)?;
        value.as_array().ok_or_else(|| {
            RenderError::new(name, "`{{ range }}` needs a list: write `type: array`")
        })
    };
    match decision {
        VariantDecision::Count(name) => list(name).map(Vec::len),
        VariantDecision::Branch(branches, item) => {
            let index = item.map_or(Value::Null, |(_, index)| Value::from(index));
            for (number, (condition, _)) in branches.iter().enumerate() {
                let Some(condition) = condition else {
                    return Ok(number);
                };
                if condition.holds(&|name| value_of(name, item, &index, params))? {
                    return Ok(number);
                }
            }
            Ok(branches.len())
        }
    }
}

fn value_of<'v>(
    name: &ValueName,
    item: RangeItem<'_>,
    index: &'v Value,
    params: &'v Map<String, Value>,
) -> Result<&'v Value, RenderError> {
    match (name, item) {
        (ValueName::Parameter(name), _) => parameter(name, params),
        (ValueName::Item, Some((list, at))) => Ok(&parameter(list, params)?[at]),
        _ => Ok(index),
    }
}

pub(super) fn names(nodes: &[TemplateNode]) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut open: Vec<&TemplateNode> = nodes.iter().collect();
    while let Some(node) = open.pop() {
        let mut add = |name: &ValueName| {
            if let ValueName::Parameter(name) = name {
                names.insert(name.clone());
            }
        };
        match node {
            TemplateNode::Text(..) => {}
            TemplateNode::Value(name, _) => add(name),
            TemplateNode::Repeat(name, inner, _) => {
                add(name);
                open.extend(inner);
            }
            TemplateNode::Choice(branches) => {
                for (condition, inner) in branches {
                    condition
                        .iter()
                        .for_each(|condition| condition.each_value(&mut add));
                    open.extend(inner);
                }
            }
        }
    }
    names
}

/// Returns true if a schema allows only whole numbers.
fn is_number_schema(schema: &Value) -> bool {
    let number = |value: &Value| {
        value.is_i64()
            || value
                .as_str()
                .is_some_and(|text| text.parse::<u64>().is_ok())
    };
    let listed = schema
        .get("enum")
        .and_then(Value::as_array)
        .is_some_and(|values| values.iter().all(number));
    let pattern = schema
        .get("pattern")
        .and_then(Value::as_str)
        .is_some_and(|pattern| {
            let digits = pattern
                .replace("[0-9]", "")
                .replace("[1-9]", "")
                .replace("\\d", "");
            digits
                .chars()
                .all(|c| c.is_ascii_digit() || "^$(?:)|{,}+*".contains(c))
        });
    let items = schema.get("items").is_some_and(is_number_schema);
    schema["type"] == "integer"
        || listed
        || pattern
        || schema.get("const").is_some_and(number)
        || items
}

/// Returns true if a text in the value could run a command where bash uses the text as a number: an array index with a
/// command substitution. Bash also evaluates the variables that such a text names, and every parameter is a variable.
fn can_be_arithmetic(value: &Value) -> bool {
    match value {
        Value::String(text) => text
            .find('[')
            .is_some_and(|at| text[at..].contains(['$', '`'])),
        Value::Array(items) => items.iter().any(can_be_arithmetic),
        Value::Object(fields) => fields.values().any(can_be_arithmetic),
        _ => false,
    }
}

const ARITHMETIC: &str = "the text contains `[` and then `$` or a backtick, which bash could run as a command where the \
                          script uses a text as a number: leave out one of the characters";
/// Maximum number of placeholders of a script with another number of list items than at its registration. Each placeholder
/// is checked by parsing the script.
const MAX_RENDERED: usize = 64;
/// Maximum number of bytes of scripts that are parsed for a template, so that a page is read within a second.
const MAX_WORK: usize = 4 << 20;
/// Number of parses of a variant that the limit counts besides one for each placeholder.
const OTHER_PARSES: usize = 8;
/// Maximum size of a template and of a rendered script, in bytes.
const MAX_SOURCE: usize = 64 << 10;
