//! Compares the security pages with the tests that they name.
//!
//! `` `test:NAME` `` names a test function below `tests/`, `src/` or `crates/`; `` `doctest:PATH` `` names a source file with a
//! `compile_fail` example. Each claim of docs/security-claims.md names at least one of them in its third column, where
//! `` `NAME` `` is enough. `tests/findings/closed.json` lists faults that were corrected, each with its tests.
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::rust_source::{rust_files, test_functions, tokens};

const CLAIMS: &str = "docs/security-claims.md";

/// Maximum size of SECURITY.md in bytes, because a reader who reports a vulnerability reads the whole page.
const MOST_OF_SECURITY: usize = 10_240;

/// Threats that need claims. `PROMISES` and `RULES` are the numbers of promises and rules.
const THREATS: &[&str] = &[
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

const PROMISES: usize = 11;
const RULES: usize = 10;

#[test]
fn every_test_that_a_security_page_names_exists() {
    let tests = all_tests();
    let mut missing = Vec::new();
    for page in ["SECURITY.md", "docs/design.md", CLAIMS] {
        let text = read(page);
        let claimed = text
            .lines()
            .enumerate()
            .filter(|_| page == CLAIMS)
            .flat_map(|(number, line)| {
                tests_of_claim(line)
                    .into_iter()
                    .map(move |reference| (number + 1, reference))
            });
        for (line, reference) in references(&text).into_iter().chain(claimed) {
            let exists = match &reference {
                Reference::Test(name) => tests.contains(name),
                Reference::Doctest(path) => has_compile_fail(path),
            };
            if !exists {
                missing.push(format!("{page}:{line}: {reference:?} does not exist"));
            }
        }
    }
    assert!(missing.is_empty(), "\n{}\n", missing.join("\n"));
}

#[test]
fn every_promise_and_rule_and_threat_has_claims_with_a_test_and_a_known_gap() {
    let page = read(CLAIMS);
    let claims = claims(&page);
    let wanted = (1..=PROMISES)
        .map(|n| format!("{n} "))
        .chain((1..=RULES).map(|n| format!("R{n} ")))
        .chain(THREATS.iter().map(|threat| (*threat).to_owned()));
    let mut wrong: Vec<String> = wanted
        .filter(|wanted| {
            !claims
                .iter()
                .any(|(subject, _)| subject.starts_with(wanted.as_str()))
        })
        .map(|wanted| format!("no claim about `{wanted}`"))
        .collect();
    for (subject, row) in &claims {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        if cells.len() != 6 || cells[2..5].iter().any(|cell| cell.is_empty()) {
            wrong.push(format!("`{subject}`: not three filled columns: {row}"));
        } else if tests_of_claim(row).is_empty() {
            wrong.push(format!("`{subject}` names no test: {}", cells[2]));
        }
    }
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

#[test]
fn the_security_policy_is_short_and_lists_each_promise() {
    let security = read("SECURITY.md");
    assert!(
        security.len() <= MOST_OF_SECURITY,
        "SECURITY.md has {} bytes, at most {MOST_OF_SECURITY}",
        security.len()
    );
    let promises = security
        .split("\n## ")
        .find(|section| section.starts_with("Promises\n"))
        .unwrap();
    for number in 1..=PROMISES {
        assert!(
            promises.contains(&format!("\n{number}. **")),
            "SECURITY.md has no promise {number}"
        );
    }
}

#[test]
fn every_promise_and_rule_has_a_test_with_its_number_in_the_name() {
    let tests = all_tests();
    let missing: Vec<String> = (1..=PROMISES)
        .map(|n| format!("promise_{n}_"))
        .chain((1..=RULES).map(|n| format!("r{n}_")))
        .filter(|prefix| !tests.iter().any(|name| name.starts_with(prefix.as_str())))
        .collect();
    assert!(
        missing.is_empty(),
        "no test has a name that begins with: {}",
        missing.join(", ")
    );
}

/// Also compares the list with the rows of `scripts/findings`, which plays the faults that a command shows.
#[test]
fn each_fault_that_was_corrected_names_its_tests_or_its_commit() {
    let (mut tests, root) = (all_tests(), Path::new(env!("CARGO_MANIFEST_DIR")));
    // `scripts/check-pages` plays a page in a browser.
    for story in ["auditor", "companion", "desk", "notebook"] {
        let story = read(&format!("tests/pages/{story}.mjs"));
        let names = story
            .lines()
            .filter_map(|line| line.trim().strip_prefix("async \"")?.split_once('"'));
        tests.extend(names.map(|(name, _)| name.to_owned()));
    }
    let list: Value = serde_json::from_str(&read("tests/findings/closed.json")).unwrap();
    let (mut ids, mut wrong) = (BTreeSet::new(), Vec::new());
    let texts = |value: &Value| -> Vec<String> {
        value
            .as_array()
            .into_iter()
            .flatten()
            .map(|text| text.as_str().unwrap().to_owned())
            .collect()
    };
    // A clone without the whole history can't tell whether a commit exists.
    let commits = output(
        Command::new("git")
            .current_dir(root)
            .args(["rev-parse", "--is-shallow-repository"]),
    )
    .filter(|shallow| shallow == "false\n")
    .and_then(|_| {
        output(
            Command::new("git")
                .current_dir(root)
                .args(["log", "--format=%s"]),
        )
    });
    for fault in list["faults"].as_array().unwrap() {
        let id = fault["id"].as_str().unwrap();
        for id in [id.to_owned()].into_iter().chain(texts(&fault["also"])) {
            if !ids.insert(id.clone()) {
                wrong.push(format!("{id} is there twice"));
            }
        }
        if !fault["fault"]
            .as_str()
            .is_some_and(|sentence| sentence.ends_with('.'))
        {
            wrong.push(format!("{id} has no sentence about what was wrong"));
        }
        let (named, commit) = (texts(&fault["tests"]), fault["commit"].as_str());
        if named.is_empty() == commit.is_none() {
            wrong.push(format!("{id} needs either tests or a commit"));
        }
        wrong.extend(
            named
                .iter()
                .filter(|name| !tests.contains(*name))
                .map(|name| format!("{id}: no test {name}")),
        );
        if let (Some(title), Some(commits)) = (commit, &commits)
            && !commits.lines().any(|line| line == title)
        {
            wrong.push(format!("{id}: no commit has the title {title:?}"));
        }
    }
    let interpreter = std::env::var_os("COUNTERSIGN_PYTHON").unwrap_or_else(|| "python3".into());
    let played = output(
        Command::new(interpreter)
            .arg(root.join("scripts/findings"))
            .arg("--list"),
    )
    .expect("python3 runs");
    wrong.extend(
        played
            .lines()
            .filter(|id| !ids.contains(*id))
            .map(|id| format!("{id} is played, but not in the list")),
    );
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
    assert!(
        ids.len() > 50 && played.lines().count() >= 30,
        "{} faults, {played}",
        ids.len()
    );
}

/// Returns what a program prints if it succeeds.
fn output(command: &mut Command) -> Option<String> {
    let done = command.output().ok().filter(|done| done.status.success())?;
    String::from_utf8(done.stdout).ok()
}

/// A test program succeeds if its filter matches no test. After a rename of a test, a script would test nothing.
#[test]
fn every_test_filter_of_a_script_matches_a_test() {
    let tests = all_tests();
    let mut filters = 0;
    let mut unknown = Vec::new();
    for script in [
        "scripts/administrator",
        "scripts/cluster",
        "scripts/endure",
        "scripts/large-roster",
        "scripts/random-orders",
        "scripts/second-kernel",
        "scripts/shell-truth",
        "scripts/template-truth",
        "scripts/torture",
        "scripts/unit-tests",
    ] {
        let text = read(script);
        let lines = text.lines().filter(|line| {
            line.contains("--nocapture")
                || line.contains("test=")
                || line.starts_with("limits=(")
                || line.starts_with("  play ")
        });
        for word in
            lines.flat_map(|line| line.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')))
        {
            // The names of variables in the scripts are short or in capital letters.
            if word.matches('_').count() < 2 || word.chars().any(|c| c.is_ascii_uppercase()) {
                continue;
            }
            filters += 1;
            if !tests.iter().any(|name| name.contains(word)) {
                unknown.push(format!("{script}: no test has a name that contains {word}"));
            }
        }
    }
    assert!(unknown.is_empty(), "\n{}\n", unknown.join("\n"));
    assert!(
        filters >= 10,
        "only {filters} filters found: the test looks in the wrong place"
    );
}

#[derive(Debug, PartialEq, Eq)]
enum Reference {
    Test(String),
    Doctest(String),
}

/// Returns the rows of the tables of claims, each with the promise, the rule or the threat that it is about. The first column names it
/// only in its first row.
fn claims(page: &str) -> Vec<(&str, &str)> {
    let page = page.split("\n## OWASP").next().unwrap_or_default();
    let rows = page.lines().filter(|line| {
        let head = ["| ---", "| promise |", "| rule |", "| threat |"];
        line.starts_with('|') && !head.iter().any(|head| line.starts_with(head))
    });
    let mut subject = "";
    rows.map(|row| {
        let named = row.split('|').nth(1).unwrap_or_default().trim();
        if !named.is_empty() {
            subject = named;
        }
        (subject, row)
    })
    .collect()
}

/// Returns the tests that a text names in backticks, each with its line.
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

/// Returns what the third column of a claim names in backticks. Every other line has no claim.
fn tests_of_claim(line: &str) -> Vec<Reference> {
    let cells: Vec<&str> = line.split('|').collect();
    let &["", _, _, tests, _, ""] = cells.as_slice() else {
        return Vec::new();
    };
    let named =
        tests
            .split('`')
            .skip(1)
            .step_by(2)
            .map(|name| match name.strip_prefix("doctest:") {
                Some(path) => Reference::Doctest(path.to_owned()),
                None => Reference::Test(name.to_owned()),
            });
    named.collect()
}

pub(crate) fn all_tests() -> BTreeSet<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    ["tests", "src", "crates"]
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

/// Tests of the functions that find references and tests.
mod checker {
    use super::*;

    #[test]
    fn only_code_spans_with_the_test_prefix_are_test_references() {
        assert_eq!(
            references("a `test:x_y` b `z`\n`doctest:src/a.rs` test:no"),
            [
                (1, Reference::Test("x_y".to_owned())),
                (2, Reference::Doctest("src/a.rs".to_owned()))
            ]
        );
    }

    #[test]
    fn the_third_column_of_a_claim_names_tests() {
        let named = tests_of_claim("| 1 | a `b` | `x_y`, `doctest:src/a.rs` | `c` |");
        assert_eq!(
            named,
            [
                Reference::Test("x_y".to_owned()),
                Reference::Doctest("src/a.rs".to_owned())
            ]
        );
        assert!(tests_of_claim("| a | `b` | c |").is_empty() && tests_of_claim("a `b`").is_empty());
    }

    #[test]
    fn only_functions_with_the_test_attribute_are_tests() {
        let source = "#[test]\nfn a() {}\nfn b() {}\n#[tokio::test(flavor = \"current_thread\")]\nasync fn c() {}\n\
            proptest! { #[test]\n#[ignore]\nfn d(x in 0..1) {} }\n// #[test]\n// fn e() {}\n#[inline]\nfn f() {}\n#[test]\n\
            /// words\npub(crate) fn g() {}";
        assert_eq!(test_functions(&tokens(source)), ["a", "c", "d", "g"]);
    }
}
