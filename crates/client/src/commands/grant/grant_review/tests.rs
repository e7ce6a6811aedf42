//! The screen of a grant.

use documents::Statement;
use serde_json::json;

use super::*;
use crate::review::tests::review_case::{case, signature};

fn review(of: &Value) -> Option<GrantReview> {
    let grant: Grant = serde_json::from_value(of.clone()).ok()?;
    let sources = case().sources();
    let run = run_of(&grant, &grant.steps[0], ContentDigest::of(b"grant"));
    let found = derive_granted(&sources, &run, grant.not_before);
    let (payload, steps) = (Vec::new(), vec![(sources, found)]);
    let digest = ContentDigest::of(&payload);
    let document = of.clone();
    let mut review = GrantReview {
        payload,
        digest,
        terms: grant,
        document,
        steps,
        remarks: Vec::new(),
        so_far: Vec::new(),
    };
    review.remarks = review.all_remarks();
    Some(review)
}

fn grant() -> Value {
    let sources = case().sources();
    let run = Statement::<Authorization>::from_payload(&sources.payload)
        .expect("an authorization")
        .predicate;
    let digest = ContentDigest::of(b"file");
    json!({
        "boundary": run.boundary, "grant": "grt_019aa0b0-5c00-7000-8000-000000000001",
        "grantee": {"name": "deploy-bot", "key": signature(9, b"").keyid},
        "steps": [{"ref": run.step.reference, "digest": run.step.digest, "permissions": run.permissions,
            "sandbox": run.sandbox, "params": {"type": "object", "required": ["host"],
                "properties": {"host": {"type": "string", "pattern": "^web-[0-9]$"}}}}],
        "max_uses": 20, "rate": {"uses": 3, "seconds": 3600}, "session": "none",
        "artifacts": [{"name": "site.txt", "digest": digest, "bytes": 21}],
        "proposer": "agent", "reason": "each night", "issued_at": run.issued_at, "not_before": run.not_before,
        "expires_at": run.expires_at,
    })
}

/// Returns other values for a field. Those that no grant can have are left out later.
fn others(value: &Value) -> Vec<Value> {
    match value {
        Value::Bool(value) => vec![json!(!value)],
        Value::Number(number) => vec![json!(number.as_u64().unwrap_or_default() + 1)],
        Value::String(text) => {
            let digit = |from: char, to: &str| text.replacen(from, to, 1);
            let mut all: Vec<_> = ('0'..='9')
                .map(|from| digit(from, if from == '1' { "2" } else { "1" }))
                .collect();
            all.extend(["none", "fresh", "host", "overlay", "other"].map(str::to_owned));
            all.retain(|other| other != text);
            all.into_iter().map(Value::from).collect()
        }
        _ => Vec::new(),
    }
}

fn pointers(value: &Value, at: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(map) => map
            .iter()
            .for_each(|(key, value)| pointers(value, &format!("{at}/{key}"), found)),
        Value::Array(items) => {
            items
                .iter()
                .enumerate()
                .for_each(|(key, value)| pointers(value, &format!("{at}/{key}"), found));
        }
        _ => found.push(at.to_owned()),
    }
}

#[test]
fn promise_4_each_signed_field_of_a_grant_changes_its_screen() {
    let grant = grant();
    let painted = |of: &Value| {
        let review = review(of)?;
        let screen = review.screen(review.terms.not_before).paint(1000, false);
        // The digest is not computed here.
        Some(
            screen
                .lines()
                .filter(|line| !line.starts_with("  digest "))
                .collect::<Vec<_>>()
                .join("\n"),
        )
    };
    let before = painted(&grant).expect("a screen");
    assert!(
        before.starts_with(HEADING) && before.matches(HEADING).count() == 2,
        "{before}"
    );
    let mut places = Vec::new();
    pointers(&grant, "", &mut places);
    let mut changed = 0;
    for place in places {
        // The schema of a parameter names its type only if nothing else bounds the values.
        if place.contains("/params/") && !place.ends_with("/pattern") {
            continue;
        }
        let mut seen = false;
        for other in others(grant.pointer(&place).expect("a field")) {
            let mut edited = grant.clone();
            *edited.pointer_mut(&place).expect("a field") = other.clone();
            let Some(after) = painted(&edited) else {
                continue;
            };
            assert_ne!(after, before, "{place}: {other}");
            seen = true;
        }
        changed += usize::from(seen);
    }
    assert!(changed > 25, "{changed}");
}

#[test]
fn unbounded_values_together_with_a_network_are_an_extra_red_remark() {
    let mut free = grant();
    free["steps"][0]["params"]["properties"]["host"] = json!({"type": "string"});
    free["steps"][0]["sandbox"]["network"]["mode"] = json!("host");
    let review = review(&free).expect("a review");
    let words = "some values of nginx:restart have no bounds, and the runs reach a network";
    let line = review
        .remarks
        .iter()
        .find(|line| line.text.as_str() == words)
        .expect("a remark");
    assert_eq!(line.tone, LineTone::Bad);
    assert!(
        review
            .screen(review.terms.not_before)
            .paint(1000, false)
            .contains("ANY VALUE (string)")
    );
}
