//! Checks the vectors of this repository, and those of each directory in `COUNTERSIGN_CASES`.
//!
//! The tests print one line for each failing vector and a count for each file, even if the test harness captures the
//! output. `tests/conformance/README.md` describes the files.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde_json::Value;

use crate::support::host;
use crate::vectors::{self, OF_OTHER_PROJECTS, Outcome, READERS};

use crate::golden;

#[test]
fn the_vectors_of_this_repository_give_the_expected_results() {
    let mut run = Run::default();
    // tests/boundary/problems.rs checks problems.json with a boundary. tests/escapes/escapes.rs checks the sandbox
    // escapes.
    run.directory(
        &golden::own_vectors(),
        &[
            "golden",
            "problems.json",
            "sandbox-escapes.json",
            "sandbox-escapes-own.json",
        ],
    );
    for (name, _) in READERS {
        assert!(
            golden::own_vectors().join(name).is_file(),
            "{name} is missing"
        );
    }
    run.end();
}

#[test]
fn golden_documents_give_the_expected_results() {
    let mut run = Run::default();
    run.count(
        "golden",
        vectors::golden::check(&golden::own_vectors().join("golden")),
    );
    run.end();
}

#[test]
fn vectors_of_additional_directories_give_the_expected_results() {
    let mut run = Run::default();
    let listed = std::env::var_os("COUNTERSIGN_CASES").unwrap_or_default();
    for dir in std::env::split_paths(&listed).filter(|dir| !dir.as_os_str().is_empty()) {
        run.directory(&dir, &["sandbox-escapes.json"]);
    }
    run.end();
}

#[test]
fn a_missing_directory_of_vectors_is_a_failure() {
    let mut run = Run {
        quiet: true,
        ..Run::default()
    };
    run.directory(
        &std::env::temp_dir().join("countersign-no-such-directory"),
        &[],
    );
    assert_eq!(run.failed, 1);
}

#[test]
fn each_of_many_own_vectors_has_a_unique_name() {
    let least = [
        ("bundles.json", 100),
        ("problems.json", 100),
        ("canonical-json.json", 20),
        ("cosignature.json", 50),
        ("envelope.json", 40),
        ("identifiers.json", 60),
        ("parameter-values.json", 500),
        ("parameters.json", 50),
        ("policy-rules.json", 80),
        ("policy.json", 70),
        ("quorum.json", 40),
        ("roster.json", 120),
        ("templates.json", 120),
        ("window.json", 20),
    ];
    for (name, least) in least {
        let file = read(&golden::own_vectors().join(name)).expect(name);
        let ids: Vec<&str> = file
            .get("vectors")
            .unwrap_or(&file)
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["id"].as_str().unwrap())
            .collect();
        let unique: std::collections::BTreeSet<_> = ids.iter().collect();
        assert!(
            ids.len() >= least && unique.len() == ids.len(),
            "{name}: {} vectors",
            ids.len()
        );
    }
}

/// A reader that accepts everything would pass all vectors. With the opposite expectation, every vector must fail.
#[test]
fn a_vector_with_a_wrong_expectation_fails() {
    for (name, reader) in READERS {
        let mut file = read(&golden::own_vectors().join(name)).expect(name);
        if name.starts_with("policy") {
            turn_decisions(&mut file);
        }
        let vectors = file.get_mut("vectors").and_then(Value::as_array_mut);
        for vector in vectors.into_iter().flatten() {
            let turned = match vector["expect"].as_str().unwrap() {
                "accept" => {
                    if name == "canonical-json.json" {
                        "reject"
                    } else {
                        "refuse"
                    }
                }
                "verified" => "refused",
                "refused" => "verified",
                "met" => "missing",
                "within" => "expired",
                "missing" | "no-rule" => "met",
                "expired" | "not-yet-valid" | "policy-denied" => "within",
                "malformed" if name == "window.json" => "within",
                _ => "accept",
            };
            vector["expect"] = Value::from(turned);
        }
        if file.is_array() || file.get("vectors").is_some() {
            for (id, result) in reader(&file) {
                assert!(result.is_err(), "{name}: {id} passes whatever it expects");
            }
        }
    }
}

fn turn_decisions(file: &mut Value) {
    for vector in file.as_array_mut().unwrap() {
        let others = vector["accept"].as_array().cloned().unwrap_or_default();
        let possible = ["allow", "prompt", "deny", "invalid"].map(Value::from);
        let turned = possible
            .into_iter()
            .find(|word| *word != vector["expected"] && !others.contains(word));
        vector["expected"] = turned.unwrap();
        vector.as_object_mut().unwrap().remove("accept");
    }
}

#[derive(Default)]
struct Run {
    failed: usize,
    passed: usize,
    quiet: bool,
}

impl Run {
    fn directory(&mut self, dir: &Path, but: &[&str]) {
        // Tests run in parallel. The lock keeps the lines of one directory together.
        static SAYING: Mutex<()> = Mutex::new(());
        let _turn = SAYING.lock().unwrap_or_else(PoisonError::into_inner);
        self.say(&format!("vectors of {}", dir.display()));
        let listed = match std::fs::read_dir(dir) {
            Ok(listed) => listed,
            Err(error) => {
                self.failed += 1;
                return self.say(&format!("FAILED {}: {error}", dir.display()));
            }
        };
        let mut entries: Vec<PathBuf> = listed
            .map(|entry| entry.expect("an entry").path())
            .collect();
        entries.sort();
        for path in entries {
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            if but.contains(&&*name) {
                continue;
            }
            if name == "golden" {
                self.count(&name, vectors::golden::check(&path));
            } else if let Some((_, reader)) = READERS.iter().find(|(known, _)| *known == name) {
                match read(&path) {
                    Ok(file) => self.count(&name, reader(&file)),
                    Err(error) => self.count(&name, vec![("the file".to_owned(), Err(error))]),
                }
            } else if OF_OTHER_PROJECTS.contains(&&*name) {
                self.not_run(
                    &name,
                    "needs the runbooks of another project: scripts/peers",
                );
            } else if path.extension().is_some_and(|ending| ending == "json") {
                self.not_run(&name, "this version has no reader for it");
            }
        }
    }

    fn count(&mut self, name: &str, outcomes: Vec<Outcome>) {
        let all = outcomes.len();
        let failures: Vec<(String, String)> = outcomes
            .into_iter()
            .filter_map(|(id, result)| result.err().map(|why| (id, why)))
            .collect();
        for (id, why) in &failures {
            let why: String = why.chars().take(600).collect();
            self.say(&format!("FAILED {name}: {id}: {why}"));
        }
        // A file without vectors is a failure, because it checks nothing.
        let empty = usize::from(all == 0);
        self.failed += failures.len() + empty;
        self.passed += all - failures.len();
        let said = if empty == 1 {
            "holds no vector"
        } else {
            "agree"
        };
        self.say(&format!("{name}: {} of {all} {said}", all - failures.len()));
    }

    fn not_run(&mut self, name: &str, reason: &str) {
        self.say(&format!("not run: {name}: {reason}"));
        host::not_run(&format!("vectors {name}"), reason);
    }

    /// Writes to stdout past the capture of the test harness, because the counts are useful on success too.
    fn say(&self, line: &str) {
        if !self.quiet {
            let _ = writeln!(std::io::stdout().lock(), "{line}");
        }
    }

    fn end(self) {
        assert!(
            self.failed == 0,
            "{} vectors fail, {} agree; each failing one has a line above",
            self.failed,
            self.passed
        );
    }
}

fn read(path: &Path) -> Result<Value, String> {
    let bytes = std::fs::read(path).map_err(|error| error.to_string())?;
    serde_json::from_slice(&bytes).map_err(|error| error.to_string())
}
