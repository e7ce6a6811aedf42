//! The rules of a policy about people, and its version, judged by both verifiers.

use documents::{PolicyDigest, to_canonical};
use serde_json::{Value, json};

use crate::golden;
use crate::mutants::Story;
use crate::second::{Case, ours, theirs};

/// The golden crossing under a policy with these changes, which the roster names.
fn under(id: &str, changes: &[(&str, &str, Value)]) -> Case {
    let mut policy = golden::value("bundle.json")["policy"].clone();
    for (parent, key, value) in changes {
        policy.pointer_mut(parent).expect(parent)[key] = value.clone();
    }
    let mut roster = golden::payload("roster");
    roster["predicate"]["policy"] = json!(PolicyDigest::of(&to_canonical(&policy)));
    golden::repair_twins("roster", &mut roster);
    let story = Story {
        sealed: Some(("policy", policy)),
        payload: Some(("roster", to_canonical(&roster))),
        ..Story::default()
    };
    story.tell(id.to_owned())
}

#[test]
fn both_verifiers_accept_and_refuse_the_same_policies() {
    let standing = json!({"max_uses": 5, "max_days": 7});
    let emergency = json!({"from": ["ops"], "max_unreviewed": 1, "max_window_s": 60, "review": {"from": ["ops"]}});
    let passkeys = json!({"most": 1, "alone": false, "synced": true});
    let version = |number: u64| ("", "version", json!(number));
    let rule = |key: &'static str, value: &Value| ("/default", key, value.clone());
    let top = |key: &'static str, value: Value| ("", key, value);
    let with = |of: &Value, key: &str, value: Value| {
        let mut of = of.clone();
        of[key] = value;
        of
    };
    let approvals = json!({"required": 2, "from": ["ops"], "each": true});
    let mut cases = vec![
        (false, under("version 0", &[version(0)])),
        (false, under("version 2", &[version(2)])),
        (false, under("version 3", &[version(3)])),
        (true, under("standing", &[rule("standing", &standing)])),
        (true, under("emergency", &[rule("emergency", &emergency)])),
        (
            true,
            under("settle", &[top("settle", json!({"from": ["ops"]}))]),
        ),
        (
            true,
            under("freeze", &[top("freeze", json!({"runs": "finish"}))]),
        ),
        (
            true,
            under(
                "an override",
                &[("/overrides/0", "standing", standing.clone())],
            ),
        ),
        (
            false,
            under(
                "approvals of grants",
                &[rule("standing", &with(&standing, "approvals", approvals))],
            ),
        ),
        (
            true,
            under(
                "sessions",
                &[rule("standing", &with(&standing, "session", json!("none")))],
            ),
        ),
        (
            true,
            under("passkeys", &[top("passkeys", passkeys.clone())]),
        ),
        (
            true,
            under(
                "16 passkeys",
                &[top("passkeys", with(&passkeys, "most", json!(16)))],
            ),
        ),
        (
            false,
            under("passkeys in a rule", &[rule("passkeys", &passkeys)]),
        ),
        (
            false,
            under(
                "broken passkeys",
                &[top("passkeys", with(&passkeys, "most", json!(17)))],
            ),
        ),
        (
            false,
            under(
                "settle with each",
                &[top("settle", json!({"from": ["ops"], "each": true}))],
            ),
        ),
        (
            false,
            under(
                "settle without groups",
                &[top("settle", json!({"from": []}))],
            ),
        ),
        (
            false,
            under(
                "a group twice",
                &[top("settle", json!({"from": ["ops", "ops"]}))],
            ),
        ),
        (
            false,
            under(
                "freeze with another word",
                &[top("freeze", json!({"runs": "cancel"}))],
            ),
        ),
        (
            false,
            under("standing at the top", &[top("standing", standing.clone())]),
        ),
        (
            false,
            under(
                "settle in a rule",
                &[rule("settle", &json!({"from": ["ops"]}))],
            ),
        ),
    ];
    for field in ["most", "alone", "synced"] {
        let mut less = passkeys.clone();
        less.as_object_mut().expect("passkeys").remove(field);
        cases.push((
            false,
            under(
                &format!("passkeys without {field}"),
                &[top("passkeys", less)],
            ),
        ));
    }
    for (key, value) in [("standing", &standing), ("emergency", &emergency)] {
        for field in value.as_object().expect("a rule").keys() {
            let mut less = value.clone();
            less.as_object_mut().expect("a rule").remove(field);
            cases.push((
                false,
                under(&format!("{key} without {field}"), &[rule(key, &less)]),
            ));
        }
    }
    for (key, of, field, most) in [
        ("standing", &standing, "max_uses", 100_000),
        ("standing", &standing, "max_days", 90),
        ("emergency", &emergency, "max_unreviewed", 100),
        ("emergency", &emergency, "max_window_s", 86_400),
        ("emergency", &emergency, "required", 16),
    ] {
        for (good, number) in [(true, 1), (true, most), (false, 0), (false, most + 1)] {
            let changed = with(of, field, json!(number));
            cases.push((
                good,
                under(&format!("{field} {number}"), &[rule(key, &changed)]),
            ));
        }
    }
    let (expected, cases): (Vec<bool>, Vec<Case>) = cases.into_iter().unzip();
    for ((case, good), second) in cases.iter().zip(expected).zip(theirs(&cases)) {
        let (first, second) = (ours(case).expect("trust"), second.expect("trust"));
        assert_eq!(
            first.differences(&second),
            Vec::<String>::new(),
            "{}",
            case.id
        );
        let failed: &[&str] = if good { &[] } else { &["quorum"] };
        assert_eq!(
            (first.verified, &first.failed()[..]),
            (good, failed),
            "{}",
            case.id
        );
    }
}
