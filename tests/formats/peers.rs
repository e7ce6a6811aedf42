//! Compares the reader of Gruntwork runbooks with the executables that Gruntwork's own registry finds.
//!
//! `COUNTERSIGN_PEERS` names a folder with a clone of gruntwork-io/runbooks in `runbooks`. The test prints one line for
//! each executable. `scripts/peers` runs the test.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use countersign::registry::imported::read_imported;
use sha2::{Digest as _, Sha256};

use crate::host::not_run;

/// Number of executables of the clone that must at least be steps of a registry.
const REGISTERED: usize = 105;

/// Executable as Gruntwork's registry finds it: a search of the text, not a parse.
struct Executable {
    id: String,
    /// Script, or `None` if its file is missing.
    script: Option<String>,
}

/// Returns the clone of a project, or reports that the test can't run.
pub(crate) fn peer(test: &str, name: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("COUNTERSIGN_PEERS").map(|folder| Path::new(&folder).join(name));
    let found = folder.filter(|folder| folder.is_dir());
    if found.is_none() {
        not_run(test, &format!("COUNTERSIGN_PEERS names no folder with a clone in {name}"));
    }
    found
}

#[test]
fn gruntworks_executables_are_registered_with_the_same_bytes_or_refused_with_a_reason() {
    let Some(folder) = peer("gruntworks_executables", "runbooks") else { return };
    let mut pages = Vec::new();
    find_pages(&folder, &mut pages);
    pages.sort();
    assert!(!pages.is_empty(), "{}: no .mdx file", folder.display());
    let (files, errors) = read_imported(&folder);
    assert!(errors.is_empty(), "{errors:?}");
    let (mut registered, mut different, mut refused) = (0, Vec::new(), 0);
    for path in &pages {
        let text = fs::read_to_string(path).expect("a page");
        let shown = path.strip_prefix(&folder).expect("a page of the folder").display().to_string();
        let file = files.iter().find(|file| file.file == shown);
        for executable in executables(&text, path.parent().expect("a directory")) {
            let id = &executable.id;
            let block = file.and_then(|file| file.blocks.iter().find(|one| one.definition.reference.step() == id));
            match (block, file.and_then(|file| file.errors.first())) {
                (Some(block), _) if Some(&block.definition.source) != executable.script.as_ref() => {
                    different.push(format!("{shown}: {id}: other bytes"));
                }
                // An error of the page refuses all its blocks.
                (Some(block), of_page) => {
                    match block.refused.first().map(ToString::to_string).or(of_page.map(ToString::to_string)) {
                        None => {
                            registered += 1;
                            let number = executable_id(id, &block.definition.source);
                            println!(
                                "{shown}: {id}: registered, {}, same bytes, {number}",
                                block.definition.interpreter
                            );
                        }
                        Some(reason) => {
                            refused += 1;
                            let at = block.place;
                            println!("{shown}:{}:{}: {id}: refused: {reason}", at.line, at.column);
                        }
                    }
                }
                (None, Some(flaw)) => {
                    refused += 1;
                    println!("{shown}: {id}: refused: {flaw}");
                }
                (None, None) => different.push(format!("{shown}: {id}: not found")),
            }
        }
    }
    println!("{} pages: {registered} executables registered with the same bytes, {refused} refused", pages.len());
    assert!(different.is_empty(), "{}", different.join("\n"));
    assert!(registered >= REGISTERED, "only {registered} executables are registered, at least {REGISTERED} must be");
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
