//! Compares this crate with `tests/independent`, a second verifier in Python that was written from `docs/formats.md`
//! alone.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::second::{Case, folder, ours, python, theirs};

use crate::golden;

/// The directories of our golden documents, and of those in `COUNTERSIGN_CASES`.
fn golden_folders() -> Vec<PathBuf> {
    let mut found = vec![golden::own_vectors().join("golden")];
    let listed = std::env::var_os("COUNTERSIGN_CASES").unwrap_or_default();
    found.extend(
        std::env::split_paths(&listed)
            .map(|dir| dir.join("golden"))
            .filter(|dir| dir.is_dir()),
    );
    found
}

fn read(dir: &Path, path: &str) -> Vec<u8> {
    std::fs::read(dir.join(path))
        .unwrap_or_else(|error| panic!("{}: {error}", dir.join(path).display()))
}

fn case(dir: &Path, bundle: &str, roster: &str) -> Case {
    let roster = if roster.starts_with("sha256:") {
        roster.as_bytes().to_vec()
    } else {
        read(dir, roster)
    };
    Case {
        id: bundle.to_owned(),
        bundle: read(dir, bundle),
        roster,
    }
}

#[test]
fn both_verifiers_accept_every_valid_bundle() {
    for dir in golden_folders() {
        let cases = [
            ("valid/bundle.json", "valid/roster.json"),
            ("valid/bundle-sshsig.json", "valid/roster.json"),
            ("valid/bundle-sk.json", "valid/roster-sk.json"),
            ("valid/bundle-roster-2.json", "valid/roster.json"),
        ]
        .map(|(bundle, roster)| case(&dir, bundle, roster));
        // Golden documents of other directories can be older than these parts.
        let newer = [
            ("valid/bundle-programs.json", "valid/roster-programs.json"),
            ("valid/bundle-session.json", "valid/roster.json"),
            ("valid/bundle-artifacts.json", "valid/roster.json"),
            ("valid/bundle-files.json", "valid/roster.json"),
            ("valid/bundle-outputs.json", "valid/roster.json"),
            ("valid/bundle-plan.json", "valid/roster.json"),
            (
                "valid/bundle-token-grant.json",
                "valid/roster-token-grant.json",
            ),
            (
                "valid/bundle-token-grant-job.json",
                "valid/roster-token-grant.json",
            ),
        ];
        let newer = newer
            .into_iter()
            .filter(|(bundle, _)| dir.join(bundle).is_file());
        let cases: Vec<Case> = cases
            .into_iter()
            .chain(newer.map(|(bundle, roster)| case(&dir, bundle, roster)))
            .collect();
        for (case, second) in cases.iter().zip(theirs(&cases)) {
            let (first, second) = (ours(case).expect("trust"), second.expect("trust"));
            assert!(
                first.verified && second.verified,
                "{}: {:?}",
                case.id,
                second.failed()
            );
            assert_eq!(
                first.differences(&second),
                Vec::<String>::new(),
                "{}",
                case.id
            );
        }
    }
}

#[test]
fn both_verifiers_refuse_every_broken_bundle_at_the_check_of_its_index() {
    for dir in golden_folders() {
        let index: Vec<Value> =
            serde_json::from_slice(&read(&dir, "refused/index.json")).expect("the index");
        assert!(index.len() > 60, "{}", index.len());
        let text = |entry: &Value, field: &str| entry[field].as_str().expect("text").to_owned();
        let cases: Vec<Case> = index
            .iter()
            .map(|entry| case(&dir, &text(entry, "file"), &text(entry, "roster")))
            .collect();
        for ((entry, case), second) in index.iter().zip(&cases).zip(theirs(&cases)) {
            let (first, second) = (ours(case).expect("trust"), second.expect("trust"));
            if entry["engine"].is_string() {
                // A verifier that does not parse scripts does not know the defect.
                assert!(
                    second.verified
                        && second.findings[entry["expect"].as_str().unwrap()] == "not-checked"
                );
                continue;
            }
            assert!(
                !first.verified && !second.verified,
                "{} is established",
                case.id
            );
            let mut expected = vec![text(entry, "expect")];
            expected.extend(
                entry["also"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|word| word.as_str().unwrap().to_owned()),
            );
            expected.sort();
            assert_eq!(second.failed(), expected, "{}", case.id);
            assert_eq!(
                first.differences(&second),
                Vec::<String>::new(),
                "{}",
                case.id
            );
        }
    }
}

/// The Python verifier checks its own JSON parser, names, windows, quorums, parameters, patterns, rosters and trees
/// against the vectors, and its Ed25519 against openssl.
#[test]
fn the_independent_verifier_gives_the_expected_result_for_every_vector() {
    let done = python()
        .arg("vectors")
        .arg(golden::own_vectors())
        .output()
        .expect("python3, or COUNTERSIGN_PYTHON, runs");
    let said = String::from_utf8_lossy(&done.stdout);
    assert!(
        done.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&done.stderr)
    );
    assert!(
        said.lines()
            .last()
            .is_some_and(|line| line.ends_with(" answered alike, 0 otherwise")),
        "{said}"
    );
}

/// The second verifier is useful only if it shares no code with this crate.
#[test]
fn the_independent_verifier_imports_only_the_python_standard_library_and_its_own_files() {
    let mut own: Vec<String> = Vec::new();
    let mut imports: Vec<(String, String)> = Vec::new();
    for entry in std::fs::read_dir(folder()).expect("its directory") {
        let path = entry.expect("an entry").path();
        if path.extension().is_none_or(|extension| extension != "py") {
            continue;
        }
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        for line in std::fs::read_to_string(&path).expect("text").lines() {
            let mut words = line.split_whitespace();
            if matches!(words.next(), Some("import" | "from")) {
                imports.push((
                    name.clone(),
                    words
                        .next()
                        .unwrap_or_default()
                        .split('.')
                        .next()
                        .unwrap()
                        .to_owned(),
                ));
            }
        }
        own.push(name);
    }
    const STANDARD: [&str; 18] = [
        "argparse",
        "base64",
        "calendar",
        "collections",
        "functools",
        "hashlib",
        "ipaddress",
        "itertools",
        "json",
        "os",
        "re",
        "signal",
        "stat",
        "struct",
        "subprocess",
        "sys",
        "tempfile",
        "time",
    ];
    assert!(own.len() > 5 && imports.len() > 20);
    for (file, module) in imports {
        assert!(
            STANDARD.contains(&&*module) || own.contains(&module),
            "{file}.py imports {module}"
        );
    }
}

#[test]
fn the_independent_verifier_needs_a_roster() {
    let bundle = golden::own_vectors().join("golden/valid/bundle.json");
    for roster in ["sha256:0000", "/no/such/roster.json"] {
        let done = python()
            .arg("verify")
            .arg(&bundle)
            .arg("--roster")
            .arg(roster)
            .output()
            .expect("python runs");
        assert_eq!(
            done.status.code(),
            Some(2),
            "{roster}: {}",
            String::from_utf8_lossy(&done.stdout)
        );
        assert!(
            done.stdout.is_empty(),
            "{roster}: {}",
            String::from_utf8_lossy(&done.stdout)
        );
    }
}
