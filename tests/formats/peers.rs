//! Compares the reader of Gruntwork runbooks with the executables that Gruntwork's own registry finds.
//!
//! `COUNTERSIGN_PEERS` names a folder with a clone of gruntwork-io/runbooks in `runbooks`, and of Yisaaaa/Runbook in
//! `yisaaaa`. The tests print one line for each executable and each test. `scripts/peers` runs the tests.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use documents::StepDefinition;
use reading::{Page, Registry, RunbookFiles, gruntwork};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::support::host::not_run;

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
        not_run(
            test,
            &format!("COUNTERSIGN_PEERS names no folder with a clone in {name}"),
        );
    }
    found
}

#[test]
fn gruntworks_executables_are_registered_with_the_same_bytes_or_refused_with_a_reason() {
    let Some(folder) = peer("gruntworks_executables", "runbooks") else {
        return;
    };
    let mut pages = Vec::new();
    find_pages(&folder, &mut pages);
    pages.sort();
    assert!(!pages.is_empty(), "{}: no .mdx file", folder.display());
    let (mut registered, mut different, mut refused) = (0, Vec::new(), 0);
    for path in &pages {
        let text = fs::read_to_string(path).expect("a page");
        let shown = path
            .strip_prefix(&folder)
            .expect("a page of the folder")
            .display()
            .to_string();
        let files = RunbookFiles::new(path.parent().expect("a directory").to_owned(), None);
        let name = shown.strip_suffix(".mdx").expect("a page");
        let steps = gruntwork::read(&Page {
            name,
            text: &text,
            files: &files,
        })
        .unwrap_or_default()
        .steps;
        // An error of the page refuses all its blocks.
        let of_page = Registry::of_file(path, &shown, &shown)
            .err()
            .unwrap_or_default();
        for executable in executables(&text, path.parent().expect("a directory")) {
            let id = &executable.id;
            let block = steps
                .iter()
                .map(|one| &one.definition)
                .find(|step| step.reference.step() == id);
            match (block, of_page.first()) {
                (Some(block), _)
                    if Some(without_functions(block, &executable)) != executable.script =>
                {
                    different.push(format!("{shown}: {id}: other bytes"));
                }
                (Some(block), None) => {
                    registered += 1;
                    let number =
                        executable_id(id, executable.script.as_deref().unwrap_or_default());
                    println!(
                        "{shown}: {id}: registered, {}, same bytes, {number}",
                        block.interpreter
                    );
                }
                (_, Some(reason)) => {
                    refused += 1;
                    println!("{shown}: {id}: refused: {reason}");
                }
                (None, None) => different.push(format!("{shown}: {id}: not found")),
            }
        }
    }
    println!(
        "{} pages: {registered} executables registered with the same bytes, {refused} refused",
        pages.len()
    );
    assert!(different.is_empty(), "{}", different.join("\n"));
    assert!(
        registered >= REGISTERED,
        "only {registered} executables are registered, at least {REGISTERED} must be"
    );
}

/// Returns the script of a block without the functions of Gruntwork that the reader puts at the beginning of a line.
fn without_functions(block: &StepDefinition, executable: &Executable) -> String {
    let (source, script) = (
        &block.source,
        executable.script.as_deref().unwrap_or_default(),
    );
    let added = source.len().saturating_sub(script.len());
    let at = source
        .find("log_")
        .filter(|at| source[*at..].contains("() { ") && source.is_char_boundary(at + added));
    at.map_or_else(
        || source.clone(),
        |at| format!("{}{}", &source[..at], &source[at + added..]),
    )
}

/// Names of Gruntwork's own tests that must pass. The others need a part that docs/from-gruntwork.md names.
const PASSING: [&str; 14] = [
    "feature-demos/aws-auth/runbook.mdx: skip-without-credentials",
    "feature-demos/git-auth/runbook.mdx: skip-without-credentials",
    "feature-demos/git-clone/runbook.mdx: clone-with-show-file-tree-false",
    "feature-demos/git-clone/runbook.mdx: generic-clone-public-repo",
    "feature-demos/git-clone/runbook.mdx: skip-without-credentials",
    "feature-demos/github-auth/runbook.mdx: skip-without-credentials",
    "feature-demos/github-pull-request/runbook.mdx: skip-without-credentials",
    "feature-demos/google-auth/runbook.mdx: skip-without-credentials",
    "feature-demos/script-logging/runbook.mdx: happy-path",
    "sample-runbooks/demo1/runbook.mdx: happy-path",
    "sample-runbooks/demo3/runbook.mdx: command-with-embedded-inputs",
    "sample-runbooks/dual-clone/runbook.mdx: commands-run-in-sequence",
    "sample-runbooks/markdown-only-full/runbook.mdx: happy-path",
    "sample-runbooks/next-app/runbook.mdx: skip-without-credentials",
];

/// Runs Gruntwork's own tests, and prints the result of each with the reasons.
#[test]
fn gruntworks_own_tests_pass_by_name() {
    let Some(folder) = peer("gruntworks_own_tests_pass_by_name", "runbooks") else {
        return;
    };
    let copy = tempfile::tempdir().expect("a directory");
    let copied = Command::new("cp")
        .arg("-r")
        .arg(folder.join("testdata"))
        .arg(copy.path())
        .status()
        .expect("cp");
    assert!(copied.success());
    let mut pages = Vec::new();
    find_pages(&copy.path().join("testdata"), &mut pages);
    let mut passed = BTreeSet::new();
    for page in pages
        .iter()
        .filter(|page| page.with_file_name("runbook_test.yml").is_file())
    {
        let mut command = program(copy.path());
        let done = command
            .arg("test")
            .arg(page.strip_prefix(copy.path()).expect("a page"))
            .arg("-y")
            .output();
        let said = String::from_utf8_lossy(&done.expect("the program").stdout).into_owned();
        let report = said.lines().filter(|line| {
            ["passed", "failed", "skipped", "        "]
                .iter()
                .any(|word| line.starts_with(word))
        });
        report.for_each(|line| println!("{line}"));
        passed.extend(
            said.lines()
                .filter_map(|line| line.strip_prefix("passed  testdata/"))
                .map(str::to_owned),
        );
    }
    let missing: Vec<&&str> = PASSING
        .iter()
        .filter(|name| !passed.contains(**name))
        .collect();
    assert!(missing.is_empty(), "{missing:#?} of {passed:#?}");
}

/// Returns the program under test with an empty home directory.
fn program(directory: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
    command
        .current_dir(directory)
        .env("HOME", directory.join("home"))
        .stdin(Stdio::null());
    command
}

/// Runs the notebooks with which Yisaaaa's database begins. The third needs the network, so it is only read.
#[test]
fn the_first_notebooks_of_yisaaaa_run_as_they_are() {
    let Some(folder) = peer("the_first_notebooks_of_yisaaaa_run_as_they_are", "yisaaaa") else {
        return;
    };
    let data = fs::read_to_string(folder.join("backend/prisma/data.ts")).expect("the data");
    let home = tempfile::tempdir().expect("a directory");
    let notebooks: Vec<String> = data
        .split("content: `")
        .skip(1)
        .map(template_literal)
        .collect();
    assert_eq!(notebooks.len(), 3);
    for (number, text) in notebooks.iter().enumerate() {
        fs::write(home.path().join(format!("n{number}.md")), text).expect("written");
    }
    let checked = program(home.path())
        .args(["registry", "check", "."])
        .output()
        .expect("the program");
    let said = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(
        said.contains("sound: 6 steps") && !said.contains("remark"),
        "{said}"
    );
    for (name, words) in [
        (
            "n0.md",
            &["Sorted: [11, 12, 22, 25, 34, 64, 90]", "Is sorted: True"][..],
        ),
        ("n1.md", &["quick: 1", "Hello from Bash\nSecond line"]),
    ] {
        let ran = program(home.path())
            .args(["run", name, "-y"])
            .output()
            .expect("the program");
        let said = [&ran.stdout, &ran.stderr]
            .map(|bytes| String::from_utf8_lossy(bytes))
            .concat();
        assert!(
            ran.status.success() && words.iter().all(|word| said.contains(word)),
            "{name}: {said}"
        );
    }
}

/// Returns the text of a template literal of JavaScript, up to its closing backtick.
fn template_literal(text: &str) -> String {
    let (mut found, mut chars) = (String::new(), text.chars());
    while let Some(c) = chars.next().filter(|c| *c != '`') {
        match (c, if c == '\\' { chars.next() } else { None }) {
            ('\\', Some('n')) => found.push('\n'),
            ('\\', Some(escaped)) => found.push(escaped),
            _ => found.push(c),
        }
    }
    found
}

/// Runs recorded runbooks with `countersign test`, one session each, with the recorded outcomes as expectations. Blocks
/// that are errors here are taken out first: duplicate ids, missing files, and scripts with undeclared variables.
#[test]
fn recorded_runbooks_of_gruntwork_end_as_recorded() {
    let Some(folder) = peer("recorded_runbooks_of_gruntwork", "runbooks") else {
        return;
    };
    let folders = std::env::var("COUNTERSIGN_CASES").unwrap_or_default();
    let files = folders
        .split(':')
        .map(|folder| Path::new(folder).join("gruntwork-runbooks.json"));
    let Some(cases) = files.into_iter().find_map(|file| fs::read(file).ok()) else {
        return not_run(
            "recorded_runbooks_of_gruntwork",
            "COUNTERSIGN_CASES names no gruntwork-runbooks.json",
        );
    };
    let cases: Value = serde_json::from_slice(&cases).expect("JSON");
    let fixtures = cases["fixtures"].as_array().expect("fixtures").iter();
    for fixture in fixtures.filter(|fixture| fixture["format"] == "gruntwork-mdx") {
        let copy = tempfile::tempdir().expect("a directory");
        let from = folder.join(fixture["dir"].as_str().expect("a directory"));
        let copied = Command::new("cp")
            .arg("-r")
            .arg(from.join("."))
            .arg(copy.path())
            .status()
            .expect("cp");
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
            let said = [done.stdout, done.stderr]
                .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
                .concat();
            match place_of_error(&said).filter(|_| taken_out < 10) {
                Some(line) => take_out(&copy.path().join("runbook.mdx"), line),
                None => break said,
            }
            taken_out += 1;
        };
        println!("{}: {taken_out} blocks taken out", fixture["path"]);
        assert!(
            said.contains("tests: 1: 1 passed"),
            "{}: {said}",
            fixture["path"]
        );
    }
}

/// Returns the test of a runbook that expects the recorded outcomes.
fn expectations(fixture: &Value) -> String {
    let mut text = "version: 1\ntests:\n  - name: recorded\n".to_owned();
    let inputs = fixture["params"].as_object().into_iter().flatten();
    let mut values = inputs.flat_map(|(block, values)| {
        values
            .as_object()
            .into_iter()
            .flatten()
            .map(move |one| (block, one))
    });
    if let Some((block, (name, value))) = values.next() {
        text.push_str(&format!("    inputs:\n      {block}.{name}: {value}\n"));
        values.for_each(|(block, (name, value))| {
            text.push_str(&format!("      {block}.{name}: {value}\n"))
        });
    }
    text.push_str("    steps:\n");
    let mut ids = BTreeSet::new();
    for block in fixture["blocks"].as_array().expect("blocks") {
        let (id, outcome) = (
            block["id"].as_str().expect("an id"),
            block["outcome"].as_str().unwrap_or_default(),
        );
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
    errors
        .split_once("runbook.mdx:")?
        .1
        .split(':')
        .next()?
        .parse()
        .ok()
}

/// Removes the element that contains the line.
fn take_out(page: &Path, line: usize) {
    let text = fs::read_to_string(page).expect("a page");
    let mut lines: Vec<&str> = text.lines().collect();
    let first = (0..line)
        .rev()
        .find(|at| lines[*at].starts_with('<'))
        .expect("the start of an element");
    let last = (first..lines.len())
        .find(|at| lines[*at].trim_end().ends_with("/>"))
        .expect("the end of an element");
    lines.drain(first..=last);
    fs::write(page, lines.join("\n")).expect("written");
}

/// Returns the name that Gruntwork gives to the executable: the digest of its id and its script.
fn executable_id(id: &str, script: &str) -> String {
    let digest = Sha256::digest(format!("{id}{script}"));
    digest[..8]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
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
        .filter(|(_, line)| {
            line.trim_start().starts_with("```") || line.trim_start().starts_with("~~~")
        })
        .map(|(at, _)| at)
        .collect();
    let is_sample = |at: usize| {
        fences
            .chunks_exact(2)
            .any(|pair| (pair[0]..=pair[1]).contains(&at))
    };
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
                let entities = [
                    ("&quot;", "\""),
                    ("&apos;", "'"),
                    ("&lt;", "<"),
                    ("&gt;", ">"),
                    ("&amp;", "&"),
                ];
                Some(
                    entities
                        .iter()
                        .fold(command.to_owned(), |text, (entity, c)| {
                            text.replace(entity, c)
                        }),
                )
            };
            found.push(Executable {
                id: id.to_owned(),
                script,
            });
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
    for (open, close) in [
        ("=\"", "\""),
        ("='", "'"),
        ("={`", "`}"),
        ("={\"", "\"}"),
        ("={'", "'}"),
    ] {
        if let Some((_, rest)) = attributes.split_once(&format!("{name}{open}"))
            && let Some((text, _)) = rest.split_once(close)
        {
            return text;
        }
    }
    ""
}
