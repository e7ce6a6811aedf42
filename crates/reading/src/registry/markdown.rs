//! Reads Countersign Markdown: runbooks whose fenced blocks are steps.
//!
//! The front matter of a runbook contains `countersign: 1`. Each fenced block with an id is a step. Example of a fence:
//! `bash {#restart timeout=60s}`. All other text is prose. This module only reads a runbook and runs nothing. This
//! module does not parse the script of a block.

use std::sync::Arc;

use crate::{
    BYTE_ORDER_MARK, DeclaredNeeds, FenceInfo, FencedBlock, FoundStep, FrontMatter, Page,
    PlacedText, ReadPage, RemarkKind, RunbookFiles, ScriptOrigin, TextLines, TextPlace, YamlFlaw,
    add_step, attributes, check_characters, check_declared, check_path, fenced_blocks, noted,
    plain_definition, refuse,
    registry::{
        evaluate::key_names,
        fence_remarks::{self, SharedRemarks},
        front_matter,
    },
    step_ref,
    yaml::{self, unknown},
};
use documents::{Format, Parameter, StepDefinition};

/// Reads a `*.md` file, and returns the steps without flaws together with the flaws of the file. Returns `None` if the
/// file is prose.
pub fn read(page: &Page<'_>) -> Option<ReadPage> {
    let (text, path) = (page.text, page.name);
    let mut flaws = Vec::new();
    let lines = TextLines::of(text);
    let (yaml, body) = front_matter(text, &mut flaws)?;
    check_characters(text, &lines, &mut flaws);
    if !flaws.is_empty() {
        return Some(ReadPage::of_flaws(flaws));
    }
    let mut page_remarks = Vec::new();
    let front = match yaml::parse_keys(yaml, 2, &front_matter::KEYS) {
        Ok(tree) => front_matter::read(&tree, yaml, &mut flaws, &mut page_remarks),
        // Without a valid front matter, every block of the file would give an error too.
        Err(flaw) => return Some(ReadPage::of_flaws(vec![flaw])),
    };
    if noted(check_path(path), TextPlace::START, &mut flaws).is_none() {
        return Some(ReadPage::of_flaws(flaws));
    }
    let mut remarks = SharedRemarks::default();
    let mut found = Vec::new();
    let mut has_step = false;
    let blocks = fenced_blocks(text, body, &lines);
    for block in &blocks {
        match block.first_word() {
            "runnable" => refuse(&mut flaws, block.fence, RUNNABLE_BLOCK),
            "file" => remarks.add(FILE_BLOCK, "file", block.fence),
            _ => {}
        }
        let before = flaws.len();
        let info = attributes::read(&block.info.text, block.info.place, &mut flaws);
        has_step |= info.is_some() || flaws.len() > before;
        let Some(info) = info else {
            page_remarks.extend(fence_remarks::of_other_form(block, &lines));
            continue;
        };
        if let Some(one) = step(&front, path, block, &info, page.files, &mut flaws) {
            add_step(&mut found, one, &mut flaws);
        }
    }
    if !has_step && flaws.is_empty() {
        let message = "the file has no step: add an id to a fenced block, for example ```bash {#name}, or remove the \
                       front matter";
        refuse(&mut flaws, TextPlace::START, message);
    }
    // Without its parameters, each script would give more errors.
    if front.params_unread {
        found.clear();
    }
    page_remarks.extend(fence_remarks::hidden_fences(
        text,
        &blocks,
        fence_remarks::is_step,
    ));
    page_remarks.extend(remarks.into_remarks());
    page_remarks.sort();
    Some(ReadPage {
        steps: found,
        flaws,
        remarks: page_remarks,
    })
}

const FILE_BLOCK: RemarkKind = (
    "in a file with `countersign: 1`, a block has no effect: ```",
    "; name files of the directory with files=...",
);

/// Message about a block of another runbook format.
const RUNNABLE_BLOCK: &str = "a ```runnable block has no effect in a file with `countersign: 1`: write the language and an id, \
                              for example ```python {#name}, or remove the front matter";

/// Reads the step of one block. If a block has a flaw, the block gives no step, and reading continues. `directory` has
/// the files that the block may name.
pub(super) fn step(
    front: &FrontMatter,
    path: &str,
    block: &FencedBlock,
    info: &FenceInfo,
    directory: &RunbookFiles,
    flaws: &mut Vec<YamlFlaw>,
) -> Option<FoundStep> {
    let before = flaws.len();
    let reference = noted(step_ref(path, &info.id.text), info.id.place, flaws);
    let mut needs = DeclaredNeeds {
        sandbox: front.sandbox.clone(),
        ..DeclaredNeeds::default()
    };
    let (mut title, mut exclusive, mut params) = (None, None, None);
    let at = |name: &str| {
        info.attributes
            .iter()
            .find(|(key, _)| key.text == name)
            .map(|(_, value)| value.place)
    };
    if let (Some(off), None) = (at("sandbox"), at("reason")) {
        refuse(
            flaws,
            off,
            "sandbox=off needs a reason: add reason=\"...\", which every approver reads first",
        );
    }
    if let (None, Some(reason)) = (at("sandbox"), at("reason")) {
        refuse(
            flaws,
            reason,
            "`reason` is only for sandbox=off: remove `reason`, or add sandbox=off",
        );
    }
    for (key, value) in &info.attributes {
        let read = match key.text.as_str() {
            "title" => front_matter::title(&value.text).map(|text| title = Some(text)),
            "exclusive" => exclusive_name(&value.text).map(|name| exclusive = Some(name)),
            "params" if front.params_unread => Ok(()),
            "params" => chosen(&value.text, &front.params).map(|chosen| params = Some(chosen)),
            "sandbox" if value.text == "off" => Ok(()),
            "sandbox" => Err(unknown("value of sandbox", &value.text, &["off"])),
            name => needs.add(name, &value.text),
        };
        noted(read, value.place, flaws);
    }
    if flaws.len() == before
        && let Err(message) = check_declared(&needs.sandbox)
    {
        let named = ["workdir", "write", "sandbox", "network"]
            .into_iter()
            .find_map(at);
        refuse(flaws, named.unwrap_or(info.id.place), message);
    }
    block.check_script("remove the id", flaws);
    let interpreter = interpreter(front, block, info).map_err(|flaw| flaws.push(flaw));
    let title = title
        .or_else(|| block.heading.clone())
        .or_else(|| front.title.clone())
        .unwrap_or_else(|| info.id.text.clone());
    let mut definition = StepDefinition {
        params: params.unwrap_or_else(|| Arc::clone(&front.params)),
        approvals: front.approvals.clone(),
        exclusive,
        ..plain_definition(
            reference?,
            Format::Markdown,
            title,
            interpreter.ok()?,
            block.source.clone(),
        )
    };
    let place_of = |name: &str| at(name).unwrap_or(info.id.place);
    let files = noted(needs.contents(directory), place_of("files"), flaws).unwrap_or_default();
    let put = needs.put(&mut definition, &files);
    let plan = at("plan").unwrap_or(place_of("plan-max-age"));
    Some(FoundStep {
        place: info.id.place,
        contents: noted(put, plan, flaws)?,
        script: ScriptOrigin::Below(block.fence.line),
        added: (0, 0),
        definition: Box::new(definition),
    })
}

/// Returns the interpreter from the shebang, the language of the fence or the front matter, in this order. The default
/// is bash.
fn interpreter(
    front: &FrontMatter,
    block: &FencedBlock,
    info: &FenceInfo,
) -> Result<String, YamlFlaw> {
    if let Some(interpreter) = block.shebang() {
        return interpreter;
    }
    match &info.language {
        Some(PlacedText { place, text }) => {
            front_matter::interpreter(text).map_err(|message| YamlFlaw::new(*place, message))
        }
        None => Ok(front
            .interpreter
            .clone()
            .unwrap_or_else(|| "bash".to_owned())),
    }
}

fn exclusive_name(text: &str) -> Result<String, String> {
    let ok = (1..=64).contains(&text.len())
        && text
            .bytes()
            .all(|c| c.is_ascii_alphanumeric() || b"._-".contains(&c));
    if ok {
        return Ok(text.to_owned());
    }
    Err(format!(
        "{text:?} is not a valid name for exclusive runs: use 1 to 64 letters, digits and . _ -"
    ))
}

/// Returns the declaration of the parameters that the step uses. If the text is empty (`params=""`), the step uses no
/// parameters.
fn chosen(text: &str, all: &Parameter) -> Result<Arc<Parameter>, String> {
    let known = key_names(all);
    let names = match text {
        "" => Vec::new(),
        _ => attributes::listed_names(text, "parameter")?,
    };
    if let Some(name) = names.iter().find(|name| !known.contains(name)) {
        return Err(if known.is_empty() {
            format!(
                "the front matter declares no `params`, so the step can't use {name:?}: declare the parameter in \
                 the front matter"
            )
        } else {
            unknown("parameter", name, &known)
        });
    }
    let is_chosen = |name: &String| names.contains(&name.as_str());
    let mut declared = all.clone();
    if let Some(properties) = &mut declared.properties {
        properties.retain(|name, _| is_chosen(name));
    }
    if let Some(required) = &mut declared.required {
        required.retain(is_chosen);
    }
    Ok(declared.into())
}

/// Returns the YAML of a Countersign front matter and the offset of the body. Returns `None` if the file is prose.
fn front_matter<'a>(text: &'a str, flaws: &mut Vec<YamlFlaw>) -> Option<(&'a str, usize)> {
    let start = TextPlace::START;
    let marked = text.strip_prefix('\u{feff}').unwrap_or(text);
    let rest = marked
        .strip_prefix("---\n")
        .or_else(|| marked.strip_prefix("---\r\n"))?;
    let offset = text.len() - rest.len();
    let end = front_matter::end_of(rest, &["---", "..."]);
    let yaml = end.map_or(rest, |(end, _)| &rest[..end]);
    let ours = yaml.lines().any(|line| {
        ["countersign", "\"countersign\"", "'countersign'"]
            .iter()
            .any(|key| {
                line.strip_prefix(key)
                    .is_some_and(|rest| rest.trim_start().starts_with(':'))
            })
    });
    if !ours {
        return None;
    }
    if marked.len() != text.len() {
        refuse(flaws, start, BYTE_ORDER_MARK);
    }
    if end.is_none() {
        refuse(
            flaws,
            start,
            "the front matter is not closed: write --- on a separate line below the front matter",
        );
    }
    Some((yaml, end.map_or(text.len(), |(_, body)| offset + body)))
}
