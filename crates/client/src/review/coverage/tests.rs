//! Tests of the coverage: each change of a signed field is visible or makes signing impossible.

use serde_json::{Value, json};

use crate::{
    Derived, FieldReason, ReviewFinding, StatementVerdict,
    review::{
        coverage::fields,
        tests::review_case::{ReviewCase, case, decided, emergency, fails, judged},
    },
};
use documents::{StepDefinition, to_canonical};

/// Returns documents with usual and unusual values, in which the tests change each field.
fn cases() -> Vec<ReviewCase> {
    let mut limits = case();
    limits.definition["exclusive"] = "nginx".into();
    limits.definition["sandbox"] = json!({"limits": {"wall_ms": 1001, "processes": 3}});
    limits.definition["approvals"] = json!({"required": 2, "from": ["ops"]});
    limits.configuration["limits"]["default"]["output_bytes"] = 77.into();
    let mut asks = case();
    asks.policy = json!({"version": 1, "default": {"run": {"allow": ["set"]}, "approvals": {"required": 1, "from": ["ops"]}}});
    asks.definition["source"] = "rm -f x\n\"$A\"\nzz -q\n".into();
    asks.params = json!({"host": "long ".repeat(60)});
    asks.reason = "why ".repeat(100);
    let mut host = case();
    host.policy["overrides"] = json!([{"runbook": "nginx", "sandbox": {"read": ["/srv"], "write": ["/srv"], "workdir": "in-place",
        "network": {"allow": ["a.example:443"]}}}]);
    host.definition["sandbox"] = json!({"read": ["/srv/in"], "write": ["/srv/app"], "workdir": "in-place", "deny": ["**/*.key"],
        "network": {"allow": ["a.example:443"]}, "proc": "full"});
    let mut poor = case();
    poor.configuration["sandbox"] =
        json!({"level": "best-effort", "require": ["landlock", "seccomp"]});
    poor.definition["params"] = json!({"type": "object", "required": [], "properties": {}});
    poor.params = json!({});
    poor.reason = String::new();
    let mut window = case();
    window.spoil = |signed| {
        signed.expires_at = signed.issued_at.plus(1234);
        signed.not_before = signed.issued_at.plus(5);
    };
    let mut parts = case();
    parts.definition["session"] = "read".into();
    parts.definition["outputs"] = json!([{"name": "id", "schema": {"type": "string"}}]);
    parts.definition["plan"] = json!({"step": "nginx:plan", "max_age_s": 600});
    parts.spoil = |signed| {
        let digest = documents::ContentDigest::of(b"app");
        let output = documents::ContentDigest::of(b"plan");
        let session = json!({"id": "ses_02000000-0000-7000-8000-000000000003", "state": digest});
        signed.session = Some(serde_json::from_value(session).expect("a session"));
        let artifacts = json!([{"name": "app.tar", "digest": digest, "bytes": 3}]);
        signed.artifacts = Some(serde_json::from_value(artifacts).expect("artifacts"));
        signed.plan = Some(
            serde_json::from_value(json!({"receipt": digest, "output": output})).expect("a plan"),
        );
    };
    vec![case(), limits, asks, host, poor, window, parts, emergency()]
}

/// Returns copies of the document with the path of the change. In each copy, one leaf is changed, removed or added.
fn spoilt(document: &Value) -> Vec<(String, Value)> {
    fn walk(
        value: &Value,
        path: String,
        whole: &Value,
        pointer: &str,
        found: &mut Vec<(String, Value)>,
    ) {
        let mut with = |what: &str, new: Option<Value>| {
            let mut changed = whole.clone();
            match new {
                Some(new) => *changed.pointer_mut(pointer).expect("it is there") = new,
                None => {
                    let (parent, last) = pointer.rsplit_once('/').expect("a pointer");
                    match changed.pointer_mut(parent).expect("it is there") {
                        Value::Object(fields) => drop(fields.remove(last)),
                        Value::Array(items) => drop(items.remove(last.parse().expect("an index"))),
                        _ => unreachable!("a parent has parts"),
                    }
                }
            }
            found.push((format!("{path} {what}"), changed));
        };
        match value {
            Value::Object(fields) => {
                for (key, value) in fields {
                    walk(
                        value,
                        format!("{path}.{key}"),
                        whole,
                        &format!("{pointer}/{key}"),
                        found,
                    );
                }
                return;
            }
            Value::Array(items) => {
                let mut more = items.clone();
                more.push(
                    items
                        .first()
                        .cloned()
                        .map_or("zz".into(), |item| match item {
                            Value::String(text) => Value::from(format!("{text}z")),
                            other => other,
                        }),
                );
                with("grown", Some(Value::Array(more)));
                for (at, item) in items.iter().enumerate() {
                    walk(
                        item,
                        format!("{path}[{at}]"),
                        whole,
                        &format!("{pointer}/{at}"),
                        found,
                    );
                }
                return;
            }
            Value::String(text) => {
                let mut chars: Vec<char> = text.chars().collect();
                let middle = chars.len() / 2;
                if let Some(c) = chars.get_mut(middle) {
                    *c = if *c == 'a' || *c == '1' {
                        '2'
                    } else if c.is_ascii_digit() {
                        '1'
                    } else {
                        'a'
                    };
                }
                if !text.is_empty() {
                    with(
                        "changed",
                        Some(Value::from(chars.into_iter().collect::<String>())),
                    );
                }
                with("longer", Some(Value::from(format!("{text}0"))));
            }
            Value::Number(number) => {
                with("changed", Some((number.as_u64().unwrap_or(0) + 1).into()))
            }
            Value::Bool(bool) => with("changed", Some((!bool).into())),
            Value::Null => with("changed", Some(1.into())),
        }
        with("removed", None);
    }
    let mut found = Vec::new();
    walk(document, String::new(), document, "", &mut found);
    found
}

// Promise 4: each change of a field of the statement is on the screen or makes signing impossible. The changed digest
// on the screen is not sufficient.
#[test]
fn promise_4_a_change_of_any_signed_field_is_visible() {
    let (mut stopped, mut seen, mut tried) = (0, 0, Vec::new());
    for (at, case) in cases().iter().enumerate() {
        let sources = case.sources();
        let found = judged(&sources);
        assert_eq!(
            found.standing,
            StatementVerdict::Sound,
            "case {at}: {}",
            fails(&found)
        );
        let before = decided(&sources);
        let payload: Value = serde_json::from_slice(&sources.payload).expect("JSON");
        for (path, changed) in spoilt(&payload) {
            // Skip a change that an earlier case has tried.
            if at > 0
                && tried.contains(&(
                    path.clone(),
                    changed["predicate"].get(field_of(&path)).cloned(),
                ))
            {
                continue;
            }
            tried.push((
                path.clone(),
                changed["predicate"].get(field_of(&path)).cloned(),
            ));
            let mut other = sources.clone();
            other.payload = to_canonical(&changed);
            // Compute the digest of the changed parameters, as an honest boundary would.
            if path.starts_with(".predicate.params") {
                let digest =
                    documents::ParamsDigest::of(&to_canonical(&changed["predicate"]["params"]));
                let mut changed = changed.clone();
                changed["subject"][1]["digest"]["sha256"] = digest.hex().into();
                other.payload = to_canonical(&changed);
            }
            if judged(&other).standing != StatementVerdict::Sound {
                stopped += 1;
            } else {
                seen += 1;
                assert_ne!(decided(&other), before, "case {at}: {path} changed unseen");
            }
        }
    }
    assert!(stopped > 150 && seen > 10, "{stopped} stopped, {seen} seen");
}

/// Returns the name of the field in a path, for example `reason` for `.predicate.reason changed`.
fn field_of(path: &str) -> &str {
    path.split(['.', ' ', '[']).nth(2).unwrap_or_default()
}

// The screen shows each field of the definition, unless the field only restricts the parameters, because the digest of
// the definition is signed.
#[test]
fn promise_4_a_change_of_any_definition_field_is_visible() {
    let mut seen = 0;
    for (at, case) in cases().iter_mut().enumerate() {
        let before = decided(&case.sources());
        let (definition, granted) = (case.definition.clone(), case.granted());
        for (path, changed) in spoilt(&definition) {
            if path.starts_with(".params") {
                continue;
            }
            case.definition = changed;
            if serde_json::from_value::<StepDefinition>(case.definition.clone()).is_err() {
                continue;
            }
            let sources = case.sources();
            // The sandbox fields of a step only affect the signed sandbox.
            if path.starts_with(".sandbox") && case.granted() == granted {
                continue;
            }
            if judged(&sources).standing == StatementVerdict::Sound {
                seen += 1;
                assert_ne!(
                    decided(&sources),
                    before,
                    "case {at}: {path} changed unseen"
                );
            }
        }
    }
    assert!(seen > 50, "{seen}");
}

#[test]
fn a_signed_field_that_the_screen_does_not_show_prevents_signing() {
    let found = judged(&case().sources());
    let nowhere = |found: &Derived| -> Vec<String> {
        let all = fields(found, &found.lines).into_iter();
        all.filter(|field| field.why == FieldReason::Nowhere)
            .map(|field| field.path)
            .collect()
    };
    assert_eq!(nowhere(&found), [""; 0]);
    let lines = found.lines.above.iter().chain(&found.lines.always);
    let lines: Vec<_> = lines
        .filter(|line| !line.shows.is_empty())
        .cloned()
        .collect();
    assert!(lines.len() > 5, "{lines:?}");
    for line in lines {
        let mut less = found.clone();
        less.lines.above.retain(|other| *other != line);
        less.lines.always.retain(|other| *other != line);
        // The usual sandbox and the usual limits are defaults, which the screen may leave out.
        let default = ["sandbox", "limits"].contains(&line.name);
        assert_eq!(nowhere(&less).is_empty(), default, "{line:?}");
        less.covered(&fields(&less, &less.lines));
        let covered = less.checks.last().expect("a check");
        assert_eq!(
            matches!(covered.finding, ReviewFinding::Fails(_)),
            !default,
            "{covered:?}"
        );
    }
}
