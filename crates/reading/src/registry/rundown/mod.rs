//! Reads Rundown runbooks: `*.runbook.md` files whose headings are steps and whose list items say what follows.
//!
//! The rules are those of Rundown at commit 664cb67, and `FOR` of its newer specification. Words of newer versions are
//! refused by name. Each block that is run is a step of the registry. This module only reads a file and runs nothing.

mod builder;
mod check;
pub(crate) mod header;
mod loop_clause;
#[cfg(test)]
mod tests;
mod transition;
pub mod workflow;

use std::{
    collections::BTreeMap,
    path::{Component, Path},
};

use crate::{
    BYTE_ORDER_MARK, FoundStep, LoopClause, LoopSource, Page, ReadPage, RemarkKind, ScriptOrigin,
    TextLines, TextPlace, UnitScript, Workflow, WorkflowUnit, YamlFlaw, YamlKind, check_characters,
    check_path, plain_definition,
    registry::{fence_remarks::SharedRemarks, front_matter},
    yaml,
};
use documents::{Format, Parameter, ParameterType, StepDefinition, StepRef};

/// Maximum length of a loop value, in characters.
const MAX_VALUE_LENGTH: u64 = 4096;
const NOT_REPLACED: RemarkKind = (
    "text that is not replaced in a script: ",
    "; only the variable of a FOR loop is replaced",
);

const OF_RUNDOWN: RemarkKind = (
    "commands of the program Rundown, which no step has: ",
    "; write the command itself, for example `true` or `false` instead of `rd echo`, or a block ```prompt",
);

/// Reads the workflow of a Rundown file.
///
/// # Errors
/// Returns all flaws of the file, sorted by place.
pub fn read_workflow(text: &str) -> Result<Workflow, Vec<YamlFlaw>> {
    let (workflow, flaws) = workflow_partly(text)?;
    if flaws.is_empty() {
        Ok(workflow)
    } else {
        Err(flaws)
    }
}

/// Returns the parts of the workflow without flaws, and the flaws of the file.
fn workflow_partly(text: &str) -> Result<(Workflow, Vec<YamlFlaw>), Vec<YamlFlaw>> {
    let mut flaws = Vec::new();
    let lines = TextLines::of(text);
    check_characters(text, &lines, &mut flaws);
    if text.starts_with('\u{feff}') {
        flaws.push(YamlFlaw::new(lines.place(0), BYTE_ORDER_MARK));
    }
    if !flaws.is_empty() {
        return Err(flaws);
    }
    let body = front_matter(text, &mut flaws)?;
    let workflow = builder::build(builder::outline(text, body, &lines), &mut flaws);
    check::check(&workflow, &mut flaws);
    flaws.sort();
    flaws.dedup();
    Ok((workflow, flaws))
}

/// Reads a `*.runbook.md` file, and returns the steps without flaws together with the flaws of the file.
pub fn read(page: &Page<'_>) -> ReadPage {
    if let Err(message) = check_path(page.name) {
        return ReadPage::of_flaws(vec![YamlFlaw::new(TextPlace::START, message)]);
    }
    let (workflow, flaws) = match workflow_partly(page.text) {
        Ok(read) => read,
        Err(flaws) => return ReadPage::of_flaws(flaws),
    };
    let mut found = ReadPage::of_flaws(flaws);
    let mut remarks = SharedRemarks::default();
    for step in &workflow.steps {
        for unit in std::iter::once(&step.unit).chain(&step.substeps) {
            let child = |(place, path): &(TextPlace, String)| {
                Some(YamlFlaw::new(*place, child_flaw(page, path)?))
            };
            found.flaws.extend(unit.runbooks.iter().filter_map(child));
            let Some(script) = &unit.script else { continue };
            match read_step(page, unit, script, step.repeat.as_ref()) {
                Ok(step) => found.steps.push(step),
                Err(flaw) => found.flaws.push(flaw),
            }
            remark_script(script, &mut remarks);
        }
    }
    found.flaws.sort();
    found.remarks = remarks.into_remarks();
    found.remarks.extend(scenarios(page.text));
    found
}

/// Returns the error about another runbook that a step names. The path of this runbook is relative to the directory of
/// the file, or to the project.
fn child_flaw(page: &Page<'_>, child: &str) -> Option<String> {
    let depth = page.name.matches('/').count();
    let directory = page.files.directory();
    let root = directory.join("../".repeat(depth));
    let own = root
        .join(format!("{}.runbook.md", page.name))
        .canonicalize();
    // A path is outside of the project if it ever leaves more directories than it has entered.
    let level = |level: Option<usize>, part: Component<'_>| match part {
        Component::ParentDir => level?.checked_sub(1),
        Component::Normal(_) => Some(level? + 1),
        Component::CurDir => level,
        Component::RootDir | Component::Prefix(_) => None,
    };
    let is_inside = |depth: usize| {
        Path::new(child)
            .components()
            .fold(Some(depth), level)
            .is_some()
    };
    let places = [(directory, depth), (root.as_path(), 0)]
        .into_iter()
        .filter(|(_, depth)| is_inside(*depth));
    let found = places
        .map(|(above, _)| above.join(child))
        .find(|path| path.is_file());
    Some(match found {
        None if !is_inside(depth) => {
            format!("the runbook {child:?} is outside of the project: write a path inside of it")
        }
        None => {
            format!(
                "there is no runbook {child:?}: correct the path, which is relative to this file or to the project"
            )
        }
        Some(path) if path.canonicalize().ok() == own.ok() => {
            format!("{child:?} is this file itself, which would never end: name another runbook")
        }
        Some(_) => return None,
    })
}

/// Returns a remark about scenarios in the front matter.
fn scenarios(text: &str) -> Option<YamlFlaw> {
    let end = text.strip_prefix("---\n")?.find("\n---").unwrap_or(0);
    let line = text[..end + 4]
        .lines()
        .position(|line| line.starts_with("scenarios:"))?
        + 1;
    let message = "`scenarios` has no effect: this program runs no scenarios; walk through the workflow yourself";
    Some(YamlFlaw::new(TextPlace { line, column: 1 }, message))
}

fn read_step(
    page: &Page<'_>,
    unit: &WorkflowUnit,
    script: &UnitScript,
    repeat: Option<&LoopClause>,
) -> Result<FoundStep, YamlFlaw> {
    let reference: StepRef = format!("{}:{}", page.name, script.id)
        .parse()
        .map_err(|_| {
            let message = format!(
                "{:?} is too long for a step id: use at most 64 bytes (255 with the path)",
                script.id
            );
            YamlFlaw::new(unit.place, message)
        })?;
    let title =
        front_matter::title(&unit.title).map_err(|message| YamlFlaw::new(unit.place, message))?;
    let mut definition = StepDefinition {
        params: parameters(repeat).into(),
        ..plain_definition(
            reference,
            Format::Rundown,
            title,
            script.interpreter.clone(),
            script.source.clone(),
        )
    };
    let needs = script.needs.clone();
    let files = needs.contents(page.files);
    let contents = files
        .and_then(|files| needs.put(&mut definition, &files))
        .map_err(|message| YamlFlaw::new(script.fence, message))?;
    Ok(FoundStep {
        definition: Box::new(definition),
        contents,
        place: script.fence,
        script: ScriptOrigin::Below(script.fence.line),
        added: (0, 0),
    })
}

/// Returns the parameters of a step: the loop variable, if the step is in a loop.
fn parameters(repeat: Option<&LoopClause>) -> Parameter {
    let Some(LoopClause {
        variable: Some(name),
        source,
        ..
    }) = repeat
    else {
        return Parameter::object(BTreeMap::new(), Vec::new());
    };
    let declared = match source {
        LoopSource::Range { first, last } => Parameter {
            minimum: Some(i64::from(*first.min(last))),
            maximum: Some(i64::from(*first.max(last))),
            ..Parameter::new(ParameterType::Integer)
        },
        LoopSource::List { .. } => Parameter {
            max_length: Some(MAX_VALUE_LENGTH),
            // Bash can run a text with `[` and then `$` or a backtick, if the script uses the text as a number.
            pattern: Some("^[^\\[]*(\\[[^$`]*)?$".to_owned()),
            ..Parameter::new(ParameterType::String)
        },
    };
    Parameter::object(
        BTreeMap::from([(name.clone(), declared)]),
        vec![name.clone()],
    )
}

/// Adds remarks about text in a script that looks like a placeholder and that is not replaced, and about commands of
/// Rundown itself.
fn remark_script(script: &UnitScript, remarks: &mut SharedRemarks) {
    let at = |line: usize| TextPlace {
        line: script.fence.line + line + 1,
        column: 1,
    };
    for (number, line) in script.source.lines().enumerate() {
        let commands = line
            .split(['|', '&', ';', '(', '`'])
            .map(|part| part.split_whitespace());
        for mut words in commands {
            let word = words
                .find(|word| !["then", "else", "do", "if", "!", "while", "until"].contains(word));
            if let Some(program @ ("rd" | "rundown")) = word {
                let command = format!("`{program} {}`", words.next().unwrap_or_default());
                remarks.add(OF_RUNDOWN, &command, at(number));
            }
        }
    }
    for text in ["{N}", "{n}", "{{"] {
        let Some(line) = script.source.lines().position(|line| line.contains(text)) else {
            continue;
        };
        remarks.add(NOT_REPLACED, &format!("`{text}`"), at(line));
    }
}

/// Checks the front matter, and returns the byte at which the content begins.
fn front_matter(text: &str, flaws: &mut Vec<YamlFlaw>) -> Result<usize, Vec<YamlFlaw>> {
    let Some(rest) = text.strip_prefix("---\n") else {
        return Ok(0);
    };
    let Some((end, body)) = front_matter::end_of(rest, &["---"]) else {
        let message =
            "the front matter is not closed: write --- on a separate line below the front matter";
        return Err(vec![YamlFlaw::new(TextPlace::START, message)]);
    };
    let tree = yaml::parse_with_fractions(&rest[..end], 2).map_err(|flaw| vec![flaw])?;
    if !matches!(tree.kind, YamlKind::Map(_) | YamlKind::Null) {
        flaws.push(YamlFlaw::new(
            tree.place,
            "the front matter must be a map, for example name: deploy",
        ));
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
