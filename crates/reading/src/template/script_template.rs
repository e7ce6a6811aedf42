//! Parses, checks and renders the templates of scripts.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::{
    CodeLanguage, Flaws, MAX_SLOTS, RenderError, Shell, TemplateFlaw, TemplateNode, TemplatePlace,
    ValueName, Variant,
    template::{
        code_plan::{self, CodePlan},
        shell_plan::{self, ShellChecks, ShellPlan},
        syntax::parse,
        variant::{
            MAX_ITEMS, MAX_VARIANTS, RangeItem, SlotPart, VariantDecision, VariantSlot, all, expand,
        },
    },
};
use documents::{Parameter, ParameterType, StepDefinition, parameter_variable};

/// Template of a script, in which every placeholder has a place that can hold any value.
///
/// The parameter of `{{ .Name }}` and `{{ .inputs.Name }}` is `Name`. The parameter of `{{ .outputs.block.key }}` is
/// `outputs_block_key`, in which `-` becomes `_`.
#[derive(Debug)]
pub struct ScriptTemplate {
    language: TemplateLanguage,
    nodes: Vec<TemplateNode>,
    /// The checks of each variant. The key is the branch or the number of items that the variant chooses at each
    /// action.
    checks: BTreeMap<Vec<usize>, VariantChecks>,
    /// The variants of a shell script, each with a harmless value in each place.
    samples: Vec<(Variant, String)>,
    names: BTreeSet<String>,
    uses: Vec<TemplateUse>,
    /// Parameters whose schema allows a dash at the beginning.
    dashes: BTreeSet<String>,
    /// Flaws that the checks of this version find. The registry refuses a template with such a flaw, but the flaws
    /// change no rendered script.
    flaws: Vec<TemplateFlaw>,
}

/// Use of a parameter in a template.
#[derive(Debug, PartialEq)]
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

/// Places of a variant.
enum VariantPlan {
    Shell(Shell, ShellPlan),
    Code(CodePlan),
}

impl VariantPlan {
    fn of(variant: &Variant, language: TemplateLanguage) -> Result<Self, Flaws> {
        if variant.slots.len() > MAX_SLOTS {
            return Err(vec![(
                0,
                format!("the template has more than {MAX_SLOTS} placeholders: split the script"),
            )]);
        }
        Ok(match language {
            TemplateLanguage::Shell(shell) => Self::Shell(shell, shell_plan::plan(variant)?),
            TemplateLanguage::Code(language) => Self::Code(code_plan::plan(variant, language)?),
        })
    }

    /// Returns the checks of this version.
    fn checks(&self, variant: &Variant) -> Result<VariantChecks, Flaws> {
        match self {
            Self::Shell(shell, plan) => shell_plan::checks(variant, *shell, plan).map(Some),
            Self::Code(plan) if plan.flaws.is_empty() => Ok(None),
            Self::Code(plan) => Err(plan.flaws.clone()),
        }
    }
}

/// Checks of the values and the script of a variant. Only a shell script has checks that are prepared.
type VariantChecks = Option<ShellChecks>;

/// A script that is rendered by the rules of the format.
struct Rendering {
    variant: Variant,
    decisions: Vec<usize>,
    plan: VariantPlan,
    values: Vec<Value>,
    script: String,
}

pub fn is_invalid(flaws: &[TemplateFlaw]) -> RenderError {
    RenderError::new(
        "",
        flaws.first().map_or_else(String::new, |flaw| {
            format!("the template is invalid: {flaw}")
        }),
    )
}

impl ScriptTemplate {
    /// Parses a template for an interpreter, for example `bash`, `sh`, `python` or `node`, by the checks of this
    /// version.
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

    /// Parses a template by the rules of the format. The template stores the flaws that the checks of this version
    /// find.
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
            checks: BTreeMap::new(),
            samples: Vec::new(),
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
            let planned = VariantPlan::of(&variant, language)
                .and_then(|plan| Ok((plan.checks(&variant)?, plan)));
            match planned {
                Ok((checks, plan)) => {
                    template.add_uses(&variant, &plan, checks.as_ref());
                    template.checks.insert(decisions, checks);
                    if let VariantPlan::Shell(_, plan) = plan {
                        let sample = plan.sample(&variant) + "\n";
                        template.samples.push((variant, sample));
                    }
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

    fn add_uses(&mut self, variant: &Variant, plan: &VariantPlan, checks: Option<&ShellChecks>) {
        let places = match plan {
            VariantPlan::Shell(_, plan) => &plan.places,
            VariantPlan::Code(plan) => &plan.places,
        };
        for (slot, at) in variant.slots.iter().enumerate() {
            if matches!(at.part, SlotPart::Index(_)) {
                continue;
            }
            let place = places[slot];
            let number = place == TemplatePlace::Number
                || checks.is_some_and(|checks| checks.rules[slot].number);
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
    pub fn names(&self) -> &BTreeSet<String> {
        &self.names
    }

    /// Returns each use of a parameter as a value, in the order of the source.
    pub fn uses(&self) -> &[TemplateUse] {
        &self.uses
    }

    /// Checks the template against the schema of the parameters. [`Self::render`] then obeys this schema, in which
    /// `x-leading-dash` allows a dash at the beginning of an argument. `source` is the source of the template, for the
    /// places of flaws.
    ///
    /// # Errors
    /// Returns a flaw for each parameter that the schema does not have, and for each parameter that the script
    /// evaluates as arithmetic although its schema allows other values than whole numbers.
    pub fn check(self, source: &str, schema: &Parameter) -> Result<Self, Vec<TemplateFlaw>> {
        let flaws = self.name_flaws(source, schema);
        let mut template = self.check_values(source, schema);
        template.flaws.splice(..0, flaws);
        template.without_flaws()
    }

    /// Returns a flaw for each parameter that the schema does not have, and for each secret parameter. No program
    /// version renders a template with such a flaw.
    pub(super) fn name_flaws(&self, source: &str, schema: &Parameter) -> Vec<TemplateFlaw> {
        let mut flaws = Vec::new();
        for name in &self.names {
            let at = self
                .uses
                .iter()
                .find(|one| one.parameter == *name)
                .map_or(0, |one| one.offset);
            let message = match schema.key(name) {
                None => format!(
                    "the step has no variable `{name}`: declare it in the <Inputs> that the step names with `inputsId`; if \
                     another program reads this text, write {}",
                    as_text(source, at, name)
                ),
                Some(declared) if declared.has_secret() => format!(
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
    pub(super) fn check_values(mut self, source: &str, schema: &Parameter) -> Self {
        for one in self.uses.iter().filter(|one| one.number) {
            if schema
                .key(&one.parameter)
                .is_some_and(|declared| !is_number_schema(declared))
            {
                let message = format!(
                    "the script evaluates `{}` as arithmetic: write `type: integer` in the schema, or an enum of whole \
                     numbers, or a pattern of digits such as `^[0-9]+$`",
                    one.parameter
                );
                self.flaws
                    .push(TemplateFlaw::new(source, one.offset, message));
            }
        }
        for one in self
            .uses
            .iter()
            .filter(|one| one.whole && one.place != TemplatePlace::Literal)
        {
            let message = match schema.key(&one.parameter).map(|declared| declared.kind) {
                Some(ParameterType::Array) => format!(
                    "`{0}` is a list, which this place can't hold: write {{{{ range .inputs.{0} }}}} {{{{ . }}}}{{{{ end }}}}, \
                     or read the JSON in the variable `{1}`",
                    one.parameter,
                    parameter_variable(&one.parameter)
                ),
                Some(ParameterType::Object) => format!(
                    "`{}` is a map, which this place can't hold: read the JSON in the variable `{}`, for example with jq",
                    one.parameter,
                    parameter_variable(&one.parameter)
                ),
                _ => continue,
            };
            self.flaws
                .push(TemplateFlaw::new(source, one.offset, message));
        }
        let allows = |one: &Parameter| {
            one.allows_dash() || one.items.as_ref().is_some_and(|items| items.allows_dash())
        };
        self.dashes = (self.names.iter())
            .filter(|name| schema.key(name).is_some_and(allows))
            .cloned()
            .collect();
        self
    }

    /// Returns the samples of the variants, up to the size of a script.
    fn samples(&self) -> impl Iterator<Item = &(Variant, String)> {
        let mut left = MAX_SOURCE;
        self.samples.iter().filter(move |(_, text)| {
            let fits = text.len() <= left;
            left -= if fits { text.len() } else { 0 };
            fits
        })
    }

    /// Returns the definition that policy reads before the parameters of a run are known: the script has the commands
    /// of all branches, and a harmless value in each place. The script of a language that policy does not read stays.
    pub fn sampled(&self, definition: &StepDefinition) -> StepDefinition {
        let all: String = self.samples().map(|(_, text)| text.as_str()).collect();
        let mut sampled = definition.clone();
        if !all.is_empty() {
            sampled.source = all;
        }
        sampled
    }

    /// Returns, for each line of the script of [`Self::sampled`], the number of the line of `source` from which it
    /// comes.
    pub fn sample_lines(&self, source: &str) -> Vec<usize> {
        let mut lines = Vec::new();
        for (variant, _) in self.samples() {
            variant.add_lines(source, &mut lines);
        }
        lines
    }

    /// Returns the script for these parameters, which must be complete. Equal parameters always give the same bytes.
    ///
    /// # Errors
    /// Returns the parameter whose value is missing, has a wrong type or can't be written in its place.
    pub fn render(&self, params: &Value) -> Result<String, RenderError> {
        if !self.flaws.is_empty() {
            return Err(is_invalid(&self.flaws));
        }
        let rendering = self.rendering(params)?;
        self.check_rendering(&rendering)?;
        Ok(rendering.script)
    }

    /// Returns the script of a recorded run, without the checks of this version.
    ///
    /// # Errors
    /// Returns the reason why no version renders the template with these parameters.
    pub fn render_recorded(&self, params: &Value) -> Result<String, RenderError> {
        Ok(self.rendering(params)?.script)
    }

    fn check_rendering(&self, found: &Rendering) -> Result<(), RenderError> {
        let (variant, values) = (&found.variant, &found.values);
        let new;
        let checks = if let Some(checks) = self.checks.get(&found.decisions) {
            checks
        } else {
            new = found.plan.checks(variant).map_err(no_plan)?;
            &new
        };
        match (&found.plan, checks) {
            (VariantPlan::Shell(_, plan), Some(checks)) => {
                let dash = |slot: usize| self.dashes.contains(&variant.slots[slot].parameter);
                checks.check(variant, plan, &found.script, values, dash)
            }
            (VariantPlan::Code(plan), _) => plan.check(variant, &found.script, values),
            (VariantPlan::Shell(..), None) => {
                Err(RenderError::new("", "the script was not checked"))
            }
        }
    }

    /// Renders the template by the rules of the format.
    fn rendering(&self, params: &Value) -> Result<Rendering, RenderError> {
        let (mut decisions, mut items) = (Vec::new(), 0);
        let variant = expand(&self.nodes, &mut |decision| {
            let is_range = matches!(decision, VariantDecision::Count(_));
            let taken = decide(decision, params)?;
            items = items.max(if is_range { taken } else { 0 });
            decisions.push(taken);
            Ok(taken)
        })?;
        if matches!(self.language, TemplateLanguage::Shell(_))
            && let Some((name, _)) = params
                .as_object()
                .into_iter()
                .flatten()
                .find(|(_, value)| can_be_arithmetic(value))
        {
            return Err(RenderError::new(name, ARITHMETIC));
        }
        if variant.slots.len() > MAX_RENDERED && items > MAX_ITEMS {
            let message =
                format!("the lists give more than {MAX_RENDERED} placeholders: give shorter lists");
            return Err(RenderError::new("", message));
        }
        let plan = VariantPlan::of(&variant, self.language).map_err(no_plan)?;
        let value = |slot: &VariantSlot| {
            let whole = parameter(&slot.parameter, params)?;
            Ok(match slot.part {
                SlotPart::Whole => whole.clone(),
                SlotPart::Item(index) => whole[index].clone(),
                SlotPart::Index(index) => Value::from(index),
            })
        };
        let values = variant
            .slots
            .iter()
            .map(value)
            .collect::<Result<Vec<_>, _>>()?;
        let script = match &plan {
            VariantPlan::Shell(_, plan) => plan.render(&variant, &values)?,
            VariantPlan::Code(plan) => plan.render(&variant, &values)?,
        };
        if script.len() > MAX_SOURCE {
            return Err(RenderError::new(
                "",
                "the rendered script is longer than 64 KiB: give shorter values",
            ));
        }
        Ok(Rendering {
            variant,
            decisions,
            plan,
            values,
            script,
        })
    }
}

fn no_plan(flaws: Flaws) -> RenderError {
    let message = flaws.into_iter().next().unwrap_or_default().1;
    RenderError::new(
        "",
        format!("the template can't be rendered with these parameters: {message}"),
    )
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
    if let Some(shell) = Shell::of(name) {
        return Some(TemplateLanguage::Shell(shell));
    }
    let language = match name {
        "python" | "python3" => CodeLanguage::Python,
        "node" | "javascript" => CodeLanguage::JavaScript,
        "go" => CodeLanguage::Go,
        _ => return None,
    };
    Some(TemplateLanguage::Code(language))
}

pub fn parameter<'p>(name: &str, params: &'p Value) -> Result<&'p Value, RenderError> {
    params.get(name).ok_or_else(|| {
        RenderError::new(name, "the value is missing: add a value for this parameter")
    })
}

/// Returns the branch that the parameters take, or the number of items of a list.
fn decide(decision: VariantDecision<'_>, params: &Value) -> Result<usize, RenderError> {
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
    params: &'v Value,
) -> Result<&'v Value, RenderError> {
    match (name, item) {
        (ValueName::Parameter(name), _) => parameter(name, params),
        (ValueName::Item, Some((list, at))) => Ok(&parameter(list, params)?[at]),
        _ => Ok(index),
    }
}

pub fn names(nodes: &[TemplateNode]) -> BTreeSet<String> {
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
            TemplateNode::Repeat(name, inner) => {
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

/// Returns true if a declaration allows only whole numbers.
fn is_number_schema(one: &Parameter) -> bool {
    let number = |value: &Value| {
        value.is_i64()
            || value
                .as_str()
                .is_some_and(|text| text.parse::<u64>().is_ok())
    };
    let is_digits = |pattern: &String| {
        let digits = pattern
            .replace("[0-9]", "")
            .replace("[1-9]", "")
            .replace("\\d", "");
        digits
            .chars()
            .all(|c| c.is_ascii_digit() || "^$(?:)|{,}+*".contains(c))
    };
    one.kind == ParameterType::Integer
        || one
            .choices
            .as_ref()
            .is_some_and(|values| values.iter().all(number))
        || one.pattern.as_ref().is_some_and(is_digits)
        || one
            .items
            .as_ref()
            .is_some_and(|items| is_number_schema(items))
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
/// Maximum number of placeholders of a script in which a list has more than `MAX_ITEMS` items. Each placeholder is
/// checked by parsing the script.
const MAX_RENDERED: usize = 64;
/// Maximum number of bytes of scripts that are parsed for a template, so that a page is read within a second.
const MAX_WORK: usize = 4 << 20;
/// Number of parses of a variant that the limit counts besides one for each placeholder.
const OTHER_PARSES: usize = 8;
/// Maximum size of a template and of a rendered script, in bytes.
const MAX_SOURCE: usize = 64 << 10;
