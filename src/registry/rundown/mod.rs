//! Reads Rundown runbooks: `*.runbook.md` files whose headings are steps and whose list items say what follows.
//!
//! The rules are those of Rundown at commit 664cb67, and `FOR` of its newer specification. Words of newer versions are
//! refused by name. Each block that is run is a step of the registry. This module only reads a file and runs nothing.

mod builder;
mod check;
mod header;
mod loop_clause;
mod outline;
#[cfg(test)]
mod tests;
mod transition;
pub mod workflow;

use serde_json::{Map, Value, json};

use crate::record::ident::StepRef;
use crate::record::step_definition::{Approvals, Format, SessionUse, StepDefinition, Template};
use crate::registry::fenced_block::check_characters;
use crate::registry::found_step::FoundStep;
use crate::registry::front_matter;
use crate::registry::markdown::check_file_name;
use crate::registry::page::{Page, ReadPage};
use crate::registry::rundown::workflow::{LoopClause, LoopSource, UnitScript, Workflow, WorkflowUnit};
use crate::registry::shared_remarks::{RemarkKind, SharedRemarks};
use crate::registry::step_place::ScriptOrigin;
use crate::registry::text_lines::TextLines;
use crate::yaml::{self, TextPlace, YamlFlaw, YamlKind};

/// Maximum length of a loop value, in characters.
const MAX_VALUE_LENGTH: u32 = 4096;
const NOT_REPLACED: RemarkKind =
    ("text that is not replaced in a script: ", "; only the variable of a FOR loop is replaced");

/// Reads the workflow of a Rundown file.
///
/// # Errors
/// Returns all flaws of the file, sorted by place.
pub fn read_workflow(text: &str) -> Result<Workflow, Vec<YamlFlaw>> {
    let (workflow, flaws) = workflow_partly(text)?;
    if flaws.is_empty() { Ok(workflow) } else { Err(flaws) }
}

/// Returns the parts of the workflow without flaws, and the flaws of the file.
fn workflow_partly(text: &str) -> Result<(Workflow, Vec<YamlFlaw>), Vec<YamlFlaw>> {
    let mut flaws = Vec::new();
    let lines = TextLines::of(text);
    check_characters(text, &lines, &mut flaws);
    if !flaws.is_empty() {
        return Err(flaws);
    }
    let body = front_matter(text, &mut flaws)?;
    let workflow = builder::build(outline::outline(text, body, &lines), &mut flaws);
    check::check(&workflow, &mut flaws);
    flaws.sort();
    flaws.dedup();
    Ok((workflow, flaws))
}

/// Reads a `*.runbook.md` file. Each block that is run becomes a step, in the order of the file. The id of a step is its
/// number or name, and that of the substep after a dot: `1`, `1.2`, `ErrorHandler`, `4.Cleanup`. The placeholders `{N}`
/// and `{n}` become `N-th` and `n-th`.
///
/// # Errors
/// Returns all flaws of the file, sorted by place.
pub fn read(page: &Page<'_>) -> Result<Option<ReadPage>, Vec<YamlFlaw>> {
    read_partly(page).without_flaws().map(Some)
}

/// Reads a `*.runbook.md` file, and returns the steps without flaws together with the flaws of the file.
pub(super) fn read_partly(page: &Page<'_>) -> ReadPage {
    if let Err(flaw) = check_file_name(page.name) {
        return ReadPage::of_flaws(vec![flaw]);
    }
    let (workflow, flaws) = match workflow_partly(page.text) {
        Ok(read) => read,
        Err(flaws) => return ReadPage::of_flaws(flaws),
    };
    let mut found = ReadPage::of_flaws(flaws);
    let mut remarks = SharedRemarks::default();
    for step in &workflow.steps {
        for unit in std::iter::once(&step.unit).chain(&step.substeps) {
            let Some(script) = &unit.script else { continue };
            match definition(page.name, unit, script, step.repeat.as_ref()) {
                Ok(definition) => {
                    let lines = ScriptOrigin::Below(script.fence.line);
                    found.steps.push(FoundStep {
                        definition,
                        contents: Vec::new(),
                        place: script.fence,
                        script: lines,
                    });
                }
                Err(flaw) => found.flaws.push(flaw),
            }
            remark_placeholders(script, &mut remarks);
        }
    }
    found.shared_remarks = remarks.into_remarks();
    found
}

fn definition(
    path: &str,
    unit: &WorkflowUnit,
    script: &UnitScript,
    repeat: Option<&LoopClause>,
) -> Result<StepDefinition, YamlFlaw> {
    let reference: StepRef = format!("{path}:{}", script.id).parse().map_err(|_| {
        let message = format!("{:?} is too long for a step id: use at most 64 bytes (255 with the path)", script.id);
        YamlFlaw::new(unit.place, message)
    })?;
    let mut step = StepDefinition {
        title: front_matter::title(&unit.title).map_err(|message| YamlFlaw::new(unit.place, message))?,
        reference,
        format: Format::Rundown,
        interpreter: script.interpreter.clone(),
        source: script.source.clone(),
        files: Vec::new(),
        params: parameters(repeat).into(),
        template: Template::None,
        sandbox: script.needs.sandbox.clone(),
        approvals: Approvals::unspecified(),
        secrets: script.needs.secrets.clone(),
        outputs: Vec::new(),
        session: SessionUse::None,
        exclusive: None,
        plan: None,
        runs_on: None,
        programs: script.needs.programs.clone(),
    };
    script.needs.links.clone().put(&mut step).map_err(|message| YamlFlaw::new(script.fence, message))?;
    Ok(step)
}

/// Returns the schema of the parameters of a step: the loop variable, if the step is in a loop.
fn parameters(repeat: Option<&LoopClause>) -> Value {
    let mut properties = Map::new();
    let mut required = Vec::new();
    if let Some(LoopClause { variable: Some(name), source, .. }) = repeat {
        let schema = match source {
            LoopSource::Range { first, last } => {
                json!({"type": "integer", "minimum": first.min(last), "maximum": first.max(last)})
            }
            LoopSource::List { .. } => {
                // Bash can run a text with `[` and then `$` or a backtick, if the script uses the text as a number.
                json!({"type": "string", "maxLength": MAX_VALUE_LENGTH, "pattern": "^[^\\[]*(\\[[^$`]*)?$"})
            }
        };
        properties.insert(name.clone(), schema);
        required.push(name.clone());
    }
    json!({"type": "object", "properties": properties, "required": required})
}

/// Adds a remark about text in a script that looks like a placeholder and that is not replaced.
fn remark_placeholders(script: &UnitScript, remarks: &mut SharedRemarks) {
    for text in ["{N}", "{n}", "{{"] {
        let Some(line) = script.source.lines().position(|line| line.contains(text)) else { continue };
        remarks.add(NOT_REPLACED, &format!("`{text}`"), TextPlace { line: script.fence.line + line + 1, column: 1 });
    }
}

/// Checks the front matter, and returns the byte at which the content begins.
fn front_matter(text: &str, flaws: &mut Vec<YamlFlaw>) -> Result<usize, Vec<YamlFlaw>> {
    let Some(rest) = text.strip_prefix("---\n") else { return Ok(0) };
    let mut at = 0;
    let Some((end, body)) = rest.split_inclusive('\n').find_map(|line| {
        let begin = at;
        at += line.len();
        (line.trim_end() == "---").then_some((begin, at))
    }) else {
        let message = "the front matter is not closed: write --- on a separate line below the front matter";
        return Err(vec![YamlFlaw::new(TextPlace { line: 1, column: 1 }, message)]);
    };
    let tree = yaml::parse(&rest[..end], 2).map_err(|flaw| vec![flaw])?;
    if !matches!(tree.kind, YamlKind::Map(_) | YamlKind::Null) {
        flaws.push(YamlFlaw::new(tree.place, "the front matter must be a map, for example name: deploy"));
    }
    for (key, _) in tree.entries() {
        if key.name == "countersign" {
            let message = "a file that ends in .runbook.md is a Rundown runbook: remove the key, or rename the file to \
                           end in .md";
            flaws.push(YamlFlaw::new(key.place, message));
        }
        flaws.extend(check::newer_key(&key.name).map(|message| YamlFlaw::new(key.place, message)));
    }
    Ok("---\n".len() + body)
}
