//! What the second verifier leaves out.

use std::collections::BTreeSet;
use std::fs;

use serde_json::json;

use crate::golden;
use crate::mutants::Story;
use crate::second::{self, ours};

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
