//! Runs the independent verifier (`tests/independent`) over many bundles in one process, and compares the verdicts.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test file uses a part of it"
)]
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use documents::to_canonical;
use serde_json::{Value, json};
use verdict::{CheckFinding, RosterTrust, VerifyOptions, verify};

/// A bundle and its trusted roster: the file of a roster, or `sha256:…` of a roster's payload.
pub struct Case {
    pub id: String,
    pub bundle: Vec<u8>,
    pub roster: Vec<u8>,
}

/// The result of one verifier: whether the bundle is verified, and the finding of each check.
#[derive(Debug, PartialEq, Eq)]
pub struct Verdict {
    pub verified: bool,
    pub findings: BTreeMap<String, String>,
}

impl Verdict {
    /// The checks that failed.
    pub fn failed(&self) -> Vec<&str> {
        self.findings
            .iter()
            .filter(|(_, finding)| *finding == "failed")
            .map(|(name, _)| name.as_str())
            .collect()
    }

    /// Removes the finding for `permissions` if it is `not-checked`. The second verifier does not parse scripts, so it
    /// cannot check the permissions that policy requires for them.
    pub fn but_for_scripts(mut self) -> Self {
        if self
            .findings
            .get("permissions")
            .is_some_and(|found| found == "not-checked")
        {
            self.findings.remove("permissions");
        }
        self
    }

    /// Whether the difference in the check `name` is expected: the second verifier never establishes `permissions`,
    /// because the second verifier does not parse scripts.
    fn is_left_open(&self, second: &Self, name: &str) -> bool {
        let is = |verdict: &Self, word: &str| {
            verdict
                .findings
                .get(name)
                .is_some_and(|found| found == word)
        };
        name == "permissions" && is(self, "established") && is(second, "not-checked")
    }

    /// Describes each difference between two verdicts.
    pub fn differences(&self, second: &Self) -> Vec<String> {
        let names = self.findings.keys().chain(second.findings.keys());
        let mut found: Vec<String> = names
            .filter(|name| self.findings.get(*name) != second.findings.get(*name))
            .filter(|name| !self.is_left_open(second, name))
            .map(|name| {
                let word = |verdict: &Self| {
                    verdict
                        .findings
                        .get(name)
                        .cloned()
                        .unwrap_or_else(|| "absent".to_owned())
                };
                format!("{name}: ours {}, theirs {}", word(self), word(second))
            })
            .collect();
        found.sort();
        found.dedup();
        if self.verified != second.verified {
            found.push(format!(
                "verified: ours {}, theirs {}",
                self.verified, second.verified
            ));
        }
        found
    }
}

/// Returns the verdict of this crate, or `None` if the roster is invalid.
pub fn ours(case: &Case) -> Option<Verdict> {
    let text = std::str::from_utf8(&case.roster).unwrap_or_default();
    let trust = match text.starts_with("sha256:") {
        true => RosterTrust::Digest(text.parse().expect("a digest")),
        false => RosterTrust::Roster(case.roster.clone()),
    };
    let report = verify(&case.bundle, &trust, VerifyOptions::default()).ok()?;
    let word = |finding: CheckFinding| {
        let word = serde_json::to_value(finding).ok();
        word.as_ref()
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let findings = report
        .checks
        .iter()
        .map(|check| (check.name.word().to_owned(), word(check.finding)))
        .collect();
    Some(Verdict {
        verified: report.verified,
        findings,
    })
}

/// Returns the answers of the independent verifier in the same order.
pub fn answers(cases: &[Case]) -> Vec<Value> {
    let lines = cases.iter().map(|case| {
        let text = std::str::from_utf8(&case.roster).unwrap_or_default();
        let roster = if text.starts_with("sha256:") {
            text.to_owned()
        } else {
            STANDARD.encode(&case.roster)
        };
        json!({"id": case.id, "bundle": STANDARD.encode(&case.bundle), "roster": roster})
    });
    let answers = batch(lines);
    assert_eq!(answers.len(), cases.len(), "an answer for each");
    answers
}

/// Returns the verdicts of the independent verifier in the same order, with `None` if the roster is invalid.
pub fn theirs(cases: &[Case]) -> Vec<Option<Verdict>> {
    let read = |(case, answer): (&Case, &Value)| {
        assert_eq!(answer["id"], json!(case.id));
        let verified = answer["verified"].as_bool()?;
        let findings = answer["checks"].as_object()?.iter();
        let findings = findings
            .map(|(name, word)| (name.clone(), word.as_str().unwrap_or_default().to_owned()))
            .collect();
        Some(Verdict { verified, findings })
    };
    cases.iter().zip(&answers(cases)).map(read).collect()
}

/// Returns the answers of one process of the independent verifier to these lines.
pub fn batch(lines: impl Iterator<Item = Value>) -> Vec<Value> {
    let folder = tempfile::tempdir().expect("a directory");
    let path = folder.path().join("cases.jsonl");
    let mut file = BufWriter::new(File::create(&path).expect("a file"));
    for line in lines {
        writeln!(file, "{line}").expect("written");
    }
    file.flush().expect("written");
    let mut child = python()
        .arg("batch")
        .arg(&path)
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3, or COUNTERSIGN_PYTHON, runs");
    let lines = BufReader::new(child.stdout.take().expect("its output")).lines();
    let answers: Vec<Value> = lines
        .map(|line| serde_json::from_str(&line.expect("a line")).expect("a line of JSON"))
        .collect();
    assert!(
        child.wait().expect("it ends").success(),
        "the independent verifier broke off after {}",
        answers.len()
    );
    answers
}

/// Makes a command for the independent verifier, without further arguments.
pub fn python() -> Command {
    let interpreter = std::env::var_os("COUNTERSIGN_PYTHON").unwrap_or_else(|| "python3".into());
    let mut command = Command::new(interpreter);
    // With `-I`, Python ignores the packages and the environment of the user.
    command.arg("-I").arg(folder()).stdin(Stdio::null());
    command
}

/// Returns the directory of the independent verifier. The tests of the client are in a crate below the root.
pub fn folder() -> PathBuf {
    let above = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
    let mut folders = above.map(|directory| directory.join("tests/independent"));
    folders
        .find(|folder| folder.is_dir())
        .expect("tests/independent")
}

/// Makes the bundle and the trusted roster of a vector.
pub fn case_of(base: &Value, vector: &Value) -> Case {
    let mut bundle = base.clone();
    for operation in vector["patch"].as_array().expect("a patch") {
        let path = operation["path"].as_str().expect("a path");
        let (parent, member) = path.rsplit_once('/').expect("a member");
        let place = bundle
            .pointer_mut(parent)
            .and_then(Value::as_object_mut)
            .expect("an object");
        place.insert(member.to_owned(), operation["value"].clone());
    }
    let roster = match &vector["roster"] {
        Value::String(digest) => digest.clone().into_bytes(),
        envelope => to_canonical(envelope),
    };
    Case {
        id: vector["id"].as_str().expect("an id").to_owned(),
        bundle: to_canonical(&bundle),
        roster,
    }
}

/// Compares a verdict with the expected result of a vector. Returns an error that describes the difference.
pub fn judge(vector: &Value, verdict: &Verdict) -> Result<(), String> {
    let of = |word: &str| -> Vec<&str> {
        let mut names: Vec<&str> = verdict
            .findings
            .iter()
            .filter(|(_, found)| *found == word)
            .map(|(name, _)| name.as_str())
            .collect();
        names.sort_unstable();
        names
    };
    let list = |field: &str| -> Vec<String> {
        let mut names: Vec<String> = vector[field]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect();
        names.sort();
        names
    };
    let got = if verdict.verified {
        "verified"
    } else {
        "refused"
    };
    if vector["expect"] != got {
        return Err(format!("{got}, at {:?}", of("failed")));
    }
    let (word, field) = if verdict.verified {
        ("not-checked", "not_checked")
    } else {
        ("failed", "failed")
    };
    let mut named = of(word);
    if verdict.verified {
        // The vectors do not name the check `revocations`, which a lone bundle always leaves open.
        named.retain(|name| *name != "revocations");
    }
    if list(field) != named {
        return Err(format!("{word} are {named:?}, expected {:?}", list(field)));
    }
    Ok(())
}
