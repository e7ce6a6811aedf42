//! Bundles whose rosters have a wrong patch under valid signatures. The signatures are over the payload that follows
//! from the patch, so only the rules of patches can refuse these bundles.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use documents::{MAX_MADE_BYTES, MAX_ROSTER_BYTES, merge, to_canonical};
use serde_json::{Map, Value, json};

use crate::golden::{self, reference};
use crate::mutants::Story;
use crate::second::{Case, Verdict, ours, theirs};

/// The predicate of the golden roster without `version` and `previous`.
fn content() -> Map<String, Value> {
    let mut value = golden::payload("roster");
    let mut content = std::mem::take(value["predicate"].as_object_mut().expect("tables"));
    content.remove("version");
    content
}

/// The payload of a later version with this content.
fn payload(content: &Map<String, Value>, version: usize, previous: &str) -> Vec<u8> {
    let mut value = golden::payload("roster");
    value["predicate"] = json!(content);
    value["predicate"]["version"] = json!(version);
    value["predicate"]["previous"] = json!(previous);
    golden::repair_twins("roster", &mut value);
    to_canonical(&value)
}

/// A bundle whose second version is this patch. Alice and bob signed the payload that follows from the patch.
fn patched(id: &str, patch: Value) -> Case {
    let mut next = content();
    if let Value::Object(patch) = &patch {
        merge(&mut next, patch);
    }
    let first = reference(&golden::bytes("payload/roster.json"));
    let payload = payload(&next, 2, &first);
    let signatures = golden::envelope(&payload, &["alice", "bob"]).signatures;
    let story = Story {
        two_rosters: true,
        payload: Some(("roster-2", payload)),
        envelope: Some((
            "roster-2",
            json!({"patch": patch, "signatures": signatures}),
        )),
        ..Story::default()
    };
    story.tell(id.to_owned())
}

/// Adds an operator whose keys have comments of this many bytes together. A verifier compares such keys, and verifies
/// no signature with them.
fn fill(content: &mut Map<String, Value>, mut room: usize) {
    let line = |number: u32| {
        let comment = "c".repeat(room.min(950));
        room -= comment.len();
        let blob = [&b"\0\0\0\x01x"[..], &number.to_be_bytes()].concat();
        format!("x {} {comment}", STANDARD.encode(blob))
    };
    let keys: Vec<String> = (0..280).map(line).collect();
    content["operators"]["many"] = json!({"keys": keys});
}

/// The patch to a second version whose payload has this size.
fn patch_to(bytes: usize) -> Value {
    let first = reference(&golden::bytes("payload/roster.json"));
    let mut next = content();
    fill(&mut next, 0);
    let room = bytes - payload(&next, 2, &first).len();
    fill(&mut next, room);
    assert_eq!(payload(&next, 2, &first).len(), bytes);
    json!({"operators": {"many": next["operators"]["many"]}})
}

/// Asserts that both verifiers find the same, and that they verify exactly the bundles marked as sound.
fn agree(cases: &[Case], sound: &[bool], refused_at: &str) {
    let mut faults = Vec::new();
    for ((case, second), sound) in cases.iter().zip(theirs(cases)).zip(sound) {
        let (first, second) = (ours(case).expect("trust"), second.expect("trust"));
        let expected: &[&str] = if *sound { &[] } else { &[refused_at] };
        let differences = first.differences(&second);
        let right = |verdict: &Verdict| verdict.verified == *sound && verdict.failed() == expected;
        if !differences.is_empty() || !right(&first) || !right(&second) {
            let (first, second) = (first.failed(), second.failed());
            faults.push(format!(
                "{}: {differences:?}, ours failed {first:?}, theirs {second:?}",
                case.id
            ));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn both_verifiers_refuse_a_signed_version_whose_patch_is_not_the_only_one() {
    let first = reference(&golden::bytes("payload/roster.json"));
    let content = content();
    let group = json!({"second": {}});
    let sound = vec![
        patched("another group", json!({"groups": group})),
        patched("nothing changed", json!({})),
        patched("a payload of the maximum size", patch_to(MAX_ROSTER_BYTES)),
    ];
    let same_keys = &content["approvers"]["alice"]["keys"];
    let wrong = [
        ("a value that stays", json!({"name": content["name"]})),
        (
            "a value that stays beside a change",
            json!({"groups": group, "threshold": content["threshold"]}),
        ),
        (
            "an array that stays",
            json!({"approvers": {"alice": {"keys": same_keys}}}),
        ),
        (
            "an object that stays",
            json!({"operators": content["operators"]}),
        ),
        (
            "an object without effect",
            json!({"groups": group, "operators": {}}),
        ),
        (
            "a person without effect",
            json!({"approvers": {"alice": {}}}),
        ),
        ("null for no key", json!({"groups": group, "nobody": null})),
        (
            "null for no key of a person",
            json!({"approvers": {"alice": {"valid_after": null}}}),
        ),
        (
            "null in a new object",
            json!({"groups": {"second": {"presence": null}}}),
        ),
        ("its own version", json!({"groups": group, "version": 2})),
        ("another version", json!({"groups": group, "version": 3})),
        ("no version", json!({"groups": group, "version": null})),
        (
            "its own previous",
            json!({"groups": group, "previous": first}),
        ),
        (
            "another previous",
            json!({"groups": group, "previous": reference(b"another")}),
        ),
        ("another name", json!({"groups": group, "name": "another"})),
        (
            "a payload over the maximum size",
            patch_to(MAX_ROSTER_BYTES + 1),
        ),
    ];
    let wrong = wrong.map(|(id, patch)| patched(id, patch));
    let marks: Vec<bool> = std::iter::repeat_n(true, sound.len())
        .chain(std::iter::repeat_n(false, wrong.len()))
        .collect();
    let cases: Vec<Case> = sound.into_iter().chain(wrong).collect();
    agree(&cases, &marks, "roster-chain");
}

#[test]
fn both_verifiers_refuse_a_patch_that_is_no_object_or_has_null_in_an_array() {
    let keys = content()["approvers"]["alice"]["keys"].clone();
    let with_null = json!([keys[0], null]);
    let nulls = [
        (
            "null in an array",
            json!({"approvers": {"alice": {"keys": with_null}}}),
        ),
        (
            "null alone in an array",
            json!({"approvers": {"alice": {"groups": [null]}}}),
        ),
        (
            "null in an object in an array",
            json!({"operators": {"x": {"keys": [{"y": null}]}}}),
        ),
    ];
    let cases = nulls.map(|(id, patch)| patched(id, patch));
    agree(&cases, &[false; 3], "roster-chain");
    let others = [
        ("an array", json!([])),
        ("null", json!(null)),
        ("a text", json!("version")),
    ];
    let cases = others.map(|(id, patch)| patched(id, patch));
    agree(&cases, &[false; 3], "bundle");
}

#[test]
fn both_verifiers_refuse_versions_whose_payloads_are_too_large_together() {
    let mut content = content();
    fill(&mut content, 255_000);
    let first = golden::bytes("payload/roster.json");
    let (mut all, mut payloads) = (vec![json!(golden::envelope(&first, &[]))], vec![first]);
    let mut patch = json!({"operators": {"many": content["operators"]["many"]}});
    // The bytes of all payloads but the last.
    let mut before = 0;
    while before <= MAX_MADE_BYTES {
        before += payloads.last().expect("a version").len();
        let next = payload(
            &content,
            all.len() + 1,
            &reference(&payloads[payloads.len() - 1]),
        );
        payloads.drain(..payloads.len() - 1);
        payloads.push(next);
        // The trusted version is the last one, so no signature counts.
        all.push(json!({"patch": patch, "signatures": []}));
        let groups = content["groups"].as_object_mut().expect("groups");
        let gone = groups.remove("second").is_some();
        if !gone {
            groups.insert("second".to_owned(), json!({}));
        }
        patch = json!({"groups": {"second": if gone { json!(null) } else { json!({}) }}});
    }
    assert!(all.len() > 1024, "{}", all.len());
    let tell = |id: &str, rosters: &[Value], last: &[u8]| {
        let story = Story {
            two_rosters: true,
            payload: Some(("roster-2", last.to_vec())),
            rosters: Some(rosters.to_vec()),
            ..Story::default()
        };
        let roster = reference(last).into_bytes();
        Case {
            roster,
            ..story.tell(id.to_owned())
        }
    };
    let cases = [
        tell("the payloads fit", &all[..all.len() - 1], &payloads[0]),
        tell("one version more", &all, &payloads[1]),
    ];
    agree(&cases, &[true, false], "roster-chain");
}
