//! Holds SECURITY.md to its word: a test it names exists.
//!
//! The convention: `` `test:NAME` `` names a test function below `tests/` or `src/`; `` `doctest:PATH` `` names a source file with
//! a `compile_fail` example. Each row of the threat table names at least one.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
use std::collections::BTreeSet;
use std::path::Path;

mod rust_source;
use rust_source::{rust_files, test_functions, tokens};

/// What the table must have a row for: the first words of its first column.
const ROWS: &[&str] = &[
    "Promise 1:",
    "Promise 2:",
    "Promise 3:",
    "Promise 4:",
    "Promise 5:",
    "Promise 6:",
    "Promise 7:",
    "Promise 8:",
    "Promise 9:",
    "Promise 10:",
    "Promise 11:",
    "Rule R1:",
    "Rule R2:",
    "Rule R3:",
    "Rule R4:",
    "Rule R5:",
    "Rule R6:",
    "Rule R7:",
    "Rule R8:",
    "Rule R9:",
    "Rule R10:",
    "Spoofed approval",
    "Replay",
    "Parameter mutation",
    "Silent execution",
    "Privilege escalation",
    "Network exfiltration",
    "Remote database misuse",
    "Arbitrary commands",
    "Sensitive files",
    "Credential leakage",
    "Runbook tampering",
    "Injection through backticks",
];

#[test]
fn every_test_that_security_md_names_exists() {
    let tests = all_tests();
    let security = read("SECURITY.md");
    let missing: Vec<String> = references(&security)
        .into_iter()
        .filter(|(_, reference)| match reference {
            Reference::Test(name) => !tests.contains(name),
            Reference::Doctest(path) => !has_compile_fail(path),
        })
        .map(|(line, reference)| format!("SECURITY.md:{line}: {reference:?} does not exist"))
        .collect();
    assert!(missing.is_empty(), "\n{}\n", missing.join("\n"));
}

#[test]
fn every_threat_has_a_row_with_a_test() {
    let security = read("SECURITY.md");
    let rows: Vec<&str> = security.lines().filter(|line| line.starts_with("| ")).collect();
    let mut wrong = Vec::new();
    for wanted in ROWS {
        match rows.iter().find(|row| row.trim_start_matches("| ").starts_with(wanted)) {
            None => wrong.push(format!("no row begins with `{wanted}`")),
            Some(row) if references(row).is_empty() => wrong.push(format!("`{wanted}` names no test")),
            Some(row) if row.trim_matches('|').split('|').count() != 4 => {
                wrong.push(format!("`{wanted}` has not four columns"))
            }
            Some(_) => {}
        }
    }
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

#[test]
fn every_promise_and_rule_has_a_test_of_its_number() {
    let tests = all_tests();
    let missing: Vec<String> = (1..=11)
        .map(|n| format!("promise_{n}_"))
        .chain((1..=10).map(|n| format!("r{n}_")))
        .filter(|prefix| !tests.iter().any(|name| name.starts_with(prefix.as_str())))
        .collect();
    assert!(missing.is_empty(), "no test has a name that begins with: {}", missing.join(", "));
}

#[derive(Debug, PartialEq, Eq)]
enum Reference {
    Test(String),
    Doctest(String),
}

/// What a text names in backticks, with the line.
fn references(text: &str) -> Vec<(usize, Reference)> {
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate() {
        for span in line.split('`').skip(1).step_by(2) {
            if let Some(name) = span.strip_prefix("test:") {
                found.push((number + 1, Reference::Test(name.to_owned())));
            } else if let Some(path) = span.strip_prefix("doctest:") {
                found.push((number + 1, Reference::Doctest(path.to_owned())));
            }
        }
    }
    found
}

fn all_tests() -> BTreeSet<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    ["tests", "src"]
        .iter()
        .flat_map(|folder| rust_files(&root.join(folder)))
        .flat_map(|(_, source)| test_functions(&tokens(&source)))
        .collect()
}

fn has_compile_fail(path: &str) -> bool {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(path).is_ok_and(|source| source.contains("```compile_fail"))
}

fn read(file: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap()
}

/// The reader itself.
mod checker {
    use super::*;

    #[test]
    fn only_marked_spans_are_references() {
        assert_eq!(
            references("a `test:x_y` b `z`\n`doctest:src/a.rs` test:no"),
            [(1, Reference::Test("x_y".to_owned())), (2, Reference::Doctest("src/a.rs".to_owned()))]
        );
    }

    #[test]
    fn only_marked_functions_are_tests() {
        let source = "#[test]\nfn a() {}\nfn b() {}\n#[tokio::test(flavor = \"current_thread\")]\nasync fn c() {}\n\
            proptest! { #[test]\n#[ignore]\nfn d(x in 0..1) {} }\n// #[test]\n// fn e() {}\n#[inline]\nfn f() {}\n#[test]\n\
            /// words\npub(crate) fn g() {}";
        assert_eq!(test_functions(&tokens(source)), ["a", "c", "d", "g"]);
    }
}
