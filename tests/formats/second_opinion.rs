//! What the second verifier leaves out.

use std::collections::BTreeSet;
use std::fs;

use documents::{merge, patch_between};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use serde_json::{Map, Value, json};

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

/// Returns objects with few names, so that two of them often share a name. They contain no null, as a roster.
fn content() -> impl Strategy<Value = Map<String, Value>> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(Value::from),
        (0u64..3).prop_map(Value::from),
        "[a-bä]{0,2}".prop_map(Value::from),
    ];
    let object = |value: BoxedStrategy<Value>| {
        let members = prop::collection::btree_map("[a-d]", value, 0..4);
        members.prop_map(|members| members.into_iter().collect::<Map<_, _>>())
    };
    let value = leaf.prop_recursive(4, 40, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            object(inner.boxed()).prop_map(Value::from),
        ]
    });
    object(value.boxed())
}

#[test]
fn both_verifiers_make_and_apply_the_same_patch_for_2000_random_changes() {
    let mut runner = TestRunner::deterministic();
    let pairs = (content(), content());
    let cases: Vec<_> = (0..2_000)
        .map(|_| pairs.new_tree(&mut runner).expect("a pair").current())
        .collect();
    let patches: Vec<_> = cases
        .iter()
        .map(|(before, next)| patch_between(before, next))
        .collect();
    let lines = cases.iter().zip(&patches).enumerate();
    let lines = lines.map(|(id, ((before, next), patch))| {
        json!({"id": id, "before": before, "next": next, "patch": patch})
    });
    let answers = second::batch(lines);
    assert_eq!(answers.len(), 2_000);
    let mut nested = 0;
    for (((before, next), patch), answer) in cases.iter().zip(&patches).zip(&answers) {
        assert_eq!(answer["patch"], json!(patch), "from {before:?} to {next:?}");
        assert_eq!(answer["merged"], json!(next), "{before:?} with {patch:?}");
        let mut ours = before.clone();
        merge(&mut ours, patch);
        assert_eq!(&ours, next, "{before:?} with {patch:?}");
        let of_object = |(name, value): (&String, &Value)| {
            value.is_object() && before.get(name).is_some_and(Value::is_object)
        };
        nested += usize::from(patch.iter().any(of_object));
    }
    assert!(nested > 100, "only {nested} patches reach into an object");
}
