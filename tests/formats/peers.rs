//! Compares the reader of Gruntwork runbooks with the executables that Gruntwork's own registry finds.
//!
//! `COUNTERSIGN_PEERS` names a folder of Gruntwork runbooks. The test prints one line for each executable.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use countersign::registry::gruntwork;
use countersign::registry::page::{Page, RunbookFiles};
use sha2::{Digest as _, Sha256};

use crate::host::not_run;

/// Executable as Gruntwork's registry finds it: a search of the text, not a parse.
struct Executable {
    id: String,
    /// Script, or `None` if its file is missing.
    script: Option<String>,
}

#[test]
fn gruntworks_executables_are_registered_with_the_same_bytes_or_refused_with_a_reason() {
    let Some(folder) = std::env::var_os("COUNTERSIGN_PEERS") else {
        return not_run("gruntworks_executables", "COUNTERSIGN_PEERS names no folder of runbooks");
    };
    let mut pages = Vec::new();
    find_pages(Path::new(&folder), &mut pages);
    pages.sort();
    assert!(!pages.is_empty(), "{}: no .mdx file", Path::new(&folder).display());
    let (mut same, mut other, mut refused) = (0, Vec::new(), 0);
    for path in &pages {
        let text = fs::read_to_string(path).expect("a page");
        let shown = path.strip_prefix(&folder).unwrap_or(path).display().to_string();
        let files = RunbookFiles::new(path.parent().expect("a directory").to_owned(), None);
        let read = gruntwork::read(&Page { name: "runbook", text: &text, files: &files });
        if let Ok(Some(page)) = &read {
            for remark in &page.remarks {
                println!("{shown}:{remark}");
            }
        }
        for executable in executables(&text, path.parent().expect("a directory")) {
            let id = &executable.id;
            match &read {
                Ok(page) => {
                    let steps = page.iter().flat_map(|page| &page.steps);
                    let step = steps.map(|step| &step.definition).find(|step| step.reference.step() == id);
                    match step {
                        Some(step) if Some(&step.source) == executable.script.as_ref() => {
                            same += 1;
                            let number = executable_id(id, &step.source);
                            println!("{shown}: {id}: registered, {}, same bytes, {number}", step.interpreter);
                        }
                        Some(_) => other.push(format!("{shown}: {id}: registered, other bytes")),
                        None => other.push(format!("{shown}: {id}: not found")),
                    }
                }
                Err(flaws) => {
                    refused += 1;
                    println!("{shown}: {id}: refused: {}", flaws.first().expect("a flaw"));
                }
            }
        }
        if let Err(flaws) = read {
            flaws.iter().for_each(|flaw| println!("{shown}:{flaw}"));
        }
    }
    println!("{} pages: {same} registered with the same bytes, {refused} refused", pages.len());
    assert!(other.is_empty(), "{}", other.join("\n"));
}

/// Returns the name that Gruntwork gives to the executable: the digest of its id and its script.
fn executable_id(id: &str, script: &str) -> String {
    let digest = Sha256::digest(format!("{id}{script}"));
    digest[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

fn find_pages(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            find_pages(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "mdx") {
            found.push(path);
        }
    }
}

fn executables(text: &str, directory: &Path) -> Vec<Executable> {
    let fences: Vec<usize> = lines(text)
        .filter(|(_, line)| line.trim_start().starts_with("```") || line.trim_start().starts_with("~~~"))
        .map(|(at, _)| at)
        .collect();
    let is_sample = |at: usize| fences.chunks_exact(2).any(|pair| (pair[0]..=pair[1]).contains(&at));
    let mut found = Vec::new();
    for name in ["<Command", "<Check"] {
        let mut seen = BTreeSet::new();
        for (at, _) in text.match_indices(name) {
            let rest = &text[at + name.len()..];
            if is_sample(at) || !rest.starts_with(char::is_whitespace) {
                continue;
            }
            let attributes = &rest[..end_of_tag(rest)];
            let id = value(attributes, "id");
            if !seen.insert(id.to_owned()) {
                continue;
            }
            let (command, path) = (value(attributes, "command"), value(attributes, "path"));
            let script = if command.is_empty() {
                fs::read_to_string(directory.join(path)).ok()
            } else {
                let entities = [("&quot;", "\""), ("&apos;", "'"), ("&lt;", "<"), ("&gt;", ">"), ("&amp;", "&")];
                Some(entities.iter().fold(command.to_owned(), |text, (entity, c)| text.replace(entity, c)))
            };
            found.push(Executable { id: id.to_owned(), script });
        }
    }
    found
}

fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut start = 0;
    text.split_inclusive('\n').map(move |line| {
        start += line.len();
        (start - line.len(), line)
    })
}

/// Returns the offset of the `>` that ends the tag, outside of quotes.
fn end_of_tag(rest: &str) -> usize {
    let mut quote = None;
    for (at, c) in rest.char_indices() {
        match quote {
            None if c == '>' => return at,
            None if ['"', '\'', '`'].contains(&c) => quote = Some(c),
            Some(open) if open == c => quote = None,
            _ => {}
        }
    }
    rest.len()
}

fn value<'a>(attributes: &'a str, name: &str) -> &'a str {
    for (open, close) in [("=\"", "\""), ("='", "'"), ("={`", "`}"), ("={\"", "\"}"), ("={'", "'}")] {
        if let Some((_, rest)) = attributes.split_once(&format!("{name}{open}"))
            && let Some((text, _)) = rest.split_once(close)
        {
            return text;
        }
    }
    ""
}
