//! What the second verifier leaves out, and templates that an earlier version registered.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use reading::of_step;
use serde_json::{Value, json};
use verdict::HashedStep;

use crate::golden;
use crate::mutants::Story;
use crate::second::{self, Case, ours, theirs};

/// A pattern that only the program can judge, and a value for it.
const PATTERNS: [(&str, &str); 3] = [
    ("^\\p{L}+[0-9-]+$", "web-3"),
    ("^\\w{12}$", "web_3_web_3_"),
    (
        "^(?:a|aa)+$",
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab",
    ),
];

#[test]
fn the_second_verifier_skips_exactly_what_its_readme_names() {
    let readme = fs::read_to_string(second::folder().join("README.md")).expect("the page");
    let (_, list) = readme
        .split_once("## What it leaves out")
        .expect("a heading");
    let row = |line: &str| {
        let cells: Vec<String> = line
            .strip_prefix("| `")?
            .split('`')
            .map(str::to_owned)
            .collect();
        Some((cells[0].clone(), cells[2].clone()))
    };
    let rows: BTreeSet<_> = list.lines().filter_map(row).collect();
    // Every reason in the sources is in the page.
    for entry in fs::read_dir(second::folder()).expect("a directory") {
        let path = entry.expect("an entry").path();
        for line in fs::read_to_string(&path).unwrap_or_default().lines() {
            let reason = ["NotChecked(", "Open("]
                .iter()
                .find_map(|call| line.split_once(call))
                .map(|(_, reason)| reason);
            if let Some(reason) = reason.filter(|reason| reason.contains('"')) {
                let named = list
                    .split('`')
                    .skip(1)
                    .step_by(2)
                    .any(|words| reason.contains(words));
                assert!(named, "{}: {line}", path.display());
            }
        }
    }
    // Every row is a check that the program decides and that the second verifier leaves open.
    let mut cases = vec![Story::default().tell("golden".to_owned())];
    for (pattern, value) in PATTERNS {
        let mut step = golden::value("bundle.json")["step"].clone();
        step["params"]["properties"]["host"]["pattern"] = json!(pattern);
        let story = Story {
            sealed: Some(("step", step)),
            approved: true,
            host: Some(value),
            ..Story::default()
        };
        cases.push(story.tell(pattern.to_owned()));
    }
    let mut skipped = BTreeSet::new();
    for (case, answer) in cases.iter().zip(second::answers(&cases)) {
        let first = ours(case).expect("trust");
        for (check, why) in answer["open"].as_object().expect("open checks") {
            if first.findings[check] != "not-checked"
                && !why.as_str().is_some_and(|why| why.starts_with("because"))
            {
                let words = rows
                    .iter()
                    .find(|(name, words)| name == check && why.as_str().unwrap().contains(words));
                skipped.extend(words.cloned());
                assert!(words.is_some(), "{}: {check}: {why}", case.id);
                assert!(
                    check == "permissions" || answer["verified"] == json!(false),
                    "{}",
                    case.id
                );
            }
        }
    }
    assert_eq!(skipped, rows);
}

/// The bundle of a run whose template has every place that a later version refuses, made by the program of 0.2.0.
#[test]
fn a_place_that_is_refused_now_still_verifies_in_a_bundle_of_0_2_0() {
    let store = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stores/0.2.0");
    let read = |name: &str| fs::read(store.join(name)).expect("a file");
    let case = Case {
        id: "places".to_owned(),
        bundle: read("places.bundle.json"),
        roster: read("places.roster.json"),
    };
    let first = ours(&case).expect("trust");
    assert!(
        first.verified && first.findings["permissions"] == "established",
        "{first:?}"
    );
    let second = theirs(std::slice::from_ref(&case))
        .remove(0)
        .expect("trust");
    assert_eq!(first.differences(&second), Vec::<String>::new());
    let bundle: Value = serde_json::from_slice(&case.bundle).expect("JSON");
    let source = bundle["step"]["source"].as_str().expect("a script");
    let places: Vec<&str> = source.lines().filter(|line| line.contains("{{")).collect();
    assert_eq!(places.len(), 34, "{source}");
    for line in places {
        let mut step = bundle["step"].clone();
        step["source"] = json!(format!("{line}\n"));
        let step = HashedStep::parse(&step).expect(line);
        let params = json!({"V": "a; x=5"});
        assert!(step.filled_recorded(&params).is_ok(), "{line}");
        let refused = of_step(step.definition()).is_err() || step.filled(&params).is_err();
        assert!(refused, "{line}");
    }
}
