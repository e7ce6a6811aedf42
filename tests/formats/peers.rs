//! Compares the reader of Gruntwork runbooks with the executables that Gruntwork's own registry finds.
//!
//! `COUNTERSIGN_PEERS` names a folder with a clone of gruntwork-io/runbooks in `runbooks`. The test prints one line for
//! each executable. `scripts/peers` runs the test.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use countersign::registry::imported::read_imported;
use serde_json::Value;
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

/// Runs recorded runbooks with `countersign test`, one session each, with the recorded outcomes as expectations. Blocks
/// that are errors here are taken out first: duplicate ids, missing files, and scripts with undeclared variables.
#[test]
fn recorded_runbooks_of_gruntwork_end_as_recorded() {
    let Some(folder) = peer("recorded_runbooks_of_gruntwork", "runbooks") else { return };
    let folders = std::env::var("COUNTERSIGN_CASES").unwrap_or_default();
    let files = folders.split(':').map(|folder| Path::new(folder).join("gruntwork-runbooks.json"));
    let Some(cases) = files.into_iter().find_map(|file| fs::read(file).ok()) else {
        return not_run("recorded_runbooks_of_gruntwork", "COUNTERSIGN_CASES names no gruntwork-runbooks.json");
    };
    let cases: Value = serde_json::from_slice(&cases).expect("JSON");
    let fixtures = cases["fixtures"].as_array().expect("fixtures").iter();
    for fixture in fixtures.filter(|fixture| fixture["format"] == "gruntwork-mdx") {
        let copy = tempfile::tempdir().expect("a directory");
        let from = folder.join(fixture["dir"].as_str().expect("a directory"));
        let copied = Command::new("cp").arg("-r").arg(from.join(".")).arg(copy.path()).status().expect("cp");
        assert!(copied.success());
        fs::write(copy.path().join("runbook_test.yml"), expectations(fixture)).expect("written");
        let mut taken_out = 0;
        let said = loop {
            let done = Command::new(env!("CARGO_BIN_EXE_countersign"))
                .arg("test")
                .arg(copy.path())
                .arg("-y")
                .env("HOME", copy.path())
                .stdin(Stdio::null())
                .output()
                .expect("the program");
            let said = [done.stdout, done.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
            match place_of_error(&said).filter(|_| taken_out < 10) {
                Some(line) => take_out(&copy.path().join("runbook.mdx"), line),
                None => break said,
            }
            taken_out += 1;
        };
        println!("{}: {taken_out} blocks taken out", fixture["path"]);
        assert!(said.contains("tests: 1: 1 passed"), "{}: {said}", fixture["path"]);
    }
}

/// Returns the test of a runbook that expects the recorded outcomes.
fn expectations(fixture: &Value) -> String {
    let mut text = "version: 1\ntests:\n  - name: recorded\n".to_owned();
    let inputs = fixture["params"].as_object().into_iter().flatten();
    let mut values =
        inputs.flat_map(|(block, values)| values.as_object().into_iter().flatten().map(move |one| (block, one)));
    if let Some((block, (name, value))) = values.next() {
        text.push_str(&format!("    inputs:\n      {block}.{name}: {value}\n"));
        values.for_each(|(block, (name, value))| text.push_str(&format!("      {block}.{name}: {value}\n")));
    }
    text.push_str("    steps:\n");
    let mut ids = BTreeSet::new();
    for block in fixture["blocks"].as_array().expect("blocks") {
        let (id, outcome) = (block["id"].as_str().expect("an id"), block["outcome"].as_str().unwrap_or_default());
        // Two ids that differ only in `-` and `_` are one name in a template.
        if ["success", "fail", "warn"].contains(&outcome) && ids.insert(id.replace('-', "_")) {
            text.push_str(&format!("      - block: {id}\n        expect: {outcome}\n"));
        }
    }
    text
}

/// Returns the line of the first error of the page.
fn place_of_error(said: &str) -> Option<usize> {
    let errors = said.split_once("to fix:")?.1;
    errors.split_once("runbook.mdx:")?.1.split(':').next()?.parse().ok()
}

/// Removes the element that contains the line.
fn take_out(page: &Path, line: usize) {
    let text = fs::read_to_string(page).expect("a page");
    let mut lines: Vec<&str> = text.lines().collect();
    let first = (0..line).rev().find(|at| lines[*at].starts_with('<')).expect("the start of an element");
    let last = (first..lines.len()).find(|at| lines[*at].trim_end().ends_with("/>")).expect("the end of an element");
    lines.drain(first..=last);
    fs::write(page, lines.join("\n")).expect("written");
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
