//! Builds `tests/conformance/bundles.json`: bundles with at most one defect each, as patches of the golden bundle.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use documents::crypto::canonical::to_canonical;
use documents::crypto::signature::SecretKey;
use documents::crypto::ssh_key::SshKey;
use documents::record::envelope::EnvelopeSignature;
use serde_json::{Value, json};

use super::{Story, reference, second_roster};
use crate::golden;
use crate::second::Case;

/// A vector: the bundle, the checks that must fail, and if no check fails, the checks that stay open.
pub struct Named {
    pub case: Case,
    pub failed: Vec<&'static str>,
    pub open: Vec<&'static str>,
}

/// The check that stays open for the golden bundle itself.
const OPEN: [&str; 1] = ["seal-in-force"];

/// The content of the vector file.
pub fn file() -> Value {
    let base = golden::value("bundle.json");
    let vectors: Vec<Value> = all()
        .into_iter()
        .map(|named| {
            let bundle: Value = serde_json::from_slice(&named.case.bundle).expect("a bundle");
            let patch: Vec<Value> = (bundle.as_object().unwrap().iter())
                .flat_map(|(name, value)| match value {
                    // One patch for each proof, because proofs are long.
                    Value::Object(inner) if name == "proofs" => {
                        inner.iter().map(|(inner, value)| (format!("/proofs/{inner}"), value.clone())).collect()
                    }
                    _ => vec![(format!("/{name}"), value.clone())],
                })
                .filter(|(path, value)| base.pointer(path) != Some(value))
                .map(|(path, value)| json!({"op": "replace", "path": path, "value": value}))
                .collect();
            let text = String::from_utf8(named.case.roster).expect("text");
            let roster = if text.starts_with('{') { serde_json::from_str(&text).expect("JSON") } else { json!(text) };
            let (expect, rest) = match named.failed.is_empty() {
                true => ("verified", ("not_checked", json!(named.open))),
                false => ("refused", ("failed", json!(named.failed))),
            };
            json!({"id": named.case.id, "patch": patch, "roster": roster, "expect": expect, rest.0: rest.1})
        })
        .collect();
    json!({
        "about": "Changes (RFC 6902) of golden/valid/bundle.json, each a bundle of one defect, and the roster that is trusted: sha256:… of its payload, or its envelope. `expect`: refused, at exactly the checks `failed`; or verified, with exactly the checks `not_checked` left open.",
        "vectors": vectors,
    })
}

fn all() -> Vec<Named> {
    let mut found = Vec::new();
    documents(&mut found);
    signatures(&mut found);
    broken_steps(&mut found);
    templates(&mut found);
    later_steps(&mut found);
    step_with_programs(&mut found);
    places(&mut found);
    decisions(&mut found);
    outcomes(&mut found);
    rosters(&mut found);
    found
}

/// The golden payload of a kind with one change. Its subjects are not repaired, unlike in `twins`.
fn changed(kind: &'static str, change: impl Fn(&mut Value)) -> Story {
    let mut value = golden::payload(kind);
    change(&mut value);
    Story { payload: Some((kind, to_canonical(&value))), ..Story::default() }
}

fn twins(kind: &'static str, change: impl Fn(&mut Value)) -> Story {
    changed(kind, |value| {
        change(value);
        golden::repair_twins(kind, value);
    })
}

fn refused(found: &mut Vec<Named>, id: &str, failed: &[&'static str], story: Story) {
    found.push(Named { case: story.tell(id.to_owned()), failed: failed.to_vec(), open: Vec::new() });
}

fn documents(found: &mut Vec<Named>) {
    let document = |kind: &'static str| match kind {
        "seal" => "seal-document",
        "consumption" => "consumption-document",
        "receipt" => "receipt-document",
        _ => "authorization-document",
    };
    for kind in ["seal", "authorization", "consumption", "receipt"] {
        let check = [document(kind)];
        let mut push = |id: &str, story: Story| refused(found, &format!("{kind}-{id}"), &check, story);
        push("unknown-field", changed(kind, |value| value["predicate"]["colour"] = json!("red")));
        push(
            "of-version-2",
            changed(kind, |value| {
                value["predicateType"] = json!(format!("https://countersign.dev/{kind}/v2"));
            }),
        );
        push(
            "of-an-older-statement",
            changed(kind, |value| value["_type"] = json!("https://in-toto.io/Statement/v0.1")),
        );
        push("subject-missing", changed(kind, |value| drop(value["subject"].as_array_mut().unwrap().pop())));
        push(
            "subject-twice",
            changed(kind, |value| {
                let subjects = value["subject"].as_array_mut().unwrap();
                subjects.push(subjects[0].clone());
            }),
        );
        let pretty = serde_json::to_vec_pretty(&golden::payload(kind)).unwrap();
        let pretty = Story { payload: Some((kind, pretty)), ..Story::default() };
        push("payload-not-canonical", pretty);
        let name = |value: &mut Value| value["predicate"].as_object_mut().unwrap().keys().next().unwrap().clone();
        push(
            "field-missing",
            changed(kind, |value| {
                let first = name(value);
                value["predicate"].as_object_mut().unwrap().remove(&first);
            }),
        );
        push(
            "field-null",
            changed(kind, |value| {
                let first = name(value);
                value["predicate"][first] = Value::Null;
            }),
        );
    }
    refused(
        found,
        "seal-subject-of-another-registry",
        &["seal-document"],
        changed("seal", |value| {
            value["subject"][0]["digest"]["sha256"] = json!("0".repeat(64));
        }),
    );
    refused(
        found,
        "seal-0-with-previous",
        &["seal-document"],
        changed("seal", |value| {
            value["predicate"]["previous"] = json!(format!("sha256:{}", "0".repeat(64)));
        }),
    );
    refused(
        found,
        "seal-0-without-genesis",
        &["seal-document"],
        changed("seal", |value| {
            value["predicate"].as_object_mut().unwrap().remove("genesis");
        }),
    );
    refused(
        found,
        "seal-1-with-genesis",
        &["seal-document"],
        changed("seal", |value| {
            value["predicate"]["number"] = json!(1);
        }),
    );
    refused(
        found,
        "seal-without-keys",
        &["seal-document"],
        changed("seal", |value| {
            value["predicate"]["keys"] = json!([]);
        }),
    );
    refused(
        found,
        "consumption-without-items",
        &["consumption-document"],
        twins("consumption", |value| {
            value["predicate"]["spent"] = json!([]);
        }),
    );
    refused(
        found,
        "consumption-of-one-authorization-twice",
        &["consumption-document"],
        twins("consumption", |value| {
            let spent = value["predicate"]["spent"].as_array_mut().unwrap();
            spent.push(spent[0].clone());
        }),
    );
    refused(
        found,
        "consumption-time-with-offset",
        &["consumption-document"],
        changed("consumption", |value| {
            value["predicate"]["at"] = json!("2026-11-20T09:40:00+00:00");
        }),
    );
    refused(
        found,
        "receipt-stdout-not-its-twin",
        &["receipt-document"],
        changed("receipt", |value| {
            value["subject"][1]["digest"]["sha256"] = json!("0".repeat(64));
        }),
    );
    refused(
        found,
        "receipt-ends-before-it-starts",
        &["receipt-document"],
        changed("receipt", |value| {
            value["predicate"]["finished_at"] = json!("2026-11-20T09:39:59Z");
        }),
    );
    refused(
        found,
        "receipt-cut-output-not-marked",
        &["receipt-document"],
        changed("receipt", |value| {
            value["predicate"]["output"]["stdout"]["bytes"] = json!(27);
        }),
    );
    refused(
        found,
        "receipt-layers-unsorted",
        &["receipt-document"],
        changed("receipt", |value| {
            value["predicate"]["sandbox"]["layers"].as_array_mut().unwrap().swap(0, 1);
        }),
    );
    refused(
        found,
        "authorization-layer-unknown",
        &["authorization-document"],
        changed("authorization", |value| {
            value["predicate"]["sandbox"]["require"][0] = json!("apparmor");
        }),
    );
}

fn signatures(found: &mut Vec<Named>) {
    for (kind, check) in
        [("seal", "seal-signature"), ("consumption", "consumption-signature"), ("receipt", "receipt-signature")]
    {
        let original = golden::value(&format!("envelope/{kind}.json"));
        let payload = golden::bytes(&format!("payload/{kind}.json"));
        let mut push = |id: &str, value: Value| {
            let story = Story { envelope: Some((kind, value)), ..Story::default() };
            refused(found, &format!("{kind}-{id}"), &[check], story);
        };
        let signed = |names: &[&str]| serde_json::to_value(golden::envelope(&payload, names)).unwrap();
        push("signed-by-nobody", signed(&[]));
        push("signed-by-an-approver", signed(&["alice"]));
        push("signed-by-mallory", signed(&["mallory"]));
        push("signed-by-mallory-besides", signed(&["boundary", "mallory"]));
        let mut doubled = original.clone();
        doubled["signatures"].as_array_mut().unwrap().push(original["signatures"][0].clone());
        push("signature-twice", doubled);
        let mut other = original.clone();
        let strange = if kind == "seal" { "receipt" } else { "seal" };
        other["signatures"] = golden::value(&format!("envelope/{strange}.json"))["signatures"].clone();
        push("signature-of-another-document", other);
        // The signature is valid, but a log entry of maximum size would have no room for the longer form.
        let mut longer = original.clone();
        longer["signatures"][0]["sig"] = json!(STANDARD.encode(golden::sshsig("boundary", &payload)));
        push("signed-by-sshsig", longer);
    }
    refused(
        found,
        "receipt-names-another-key",
        &["receipt-signature"],
        changed("receipt", |value| {
            value["predicate"]["boundary"]["keyid"] = json!(golden::key("operator").keyid());
        }),
    );
    let payload = golden::bytes("payload/authorization.json");
    let mut push = |id: &str, value: Value, failed: &[&'static str]| {
        refused(found, id, failed, Story { envelope: Some(("authorization", value)), ..Story::default() });
    };
    let signed = |names: &[&str]| serde_json::to_value(golden::envelope(&payload, names)).unwrap();
    push(
        "authorization-signed-by-the-boundary-besides",
        signed(&["alice", "bob", "boundary"]),
        &["authorization-signatures"],
    );
    push(
        "authorization-signed-by-an-operator-besides",
        signed(&["alice", "bob", "operator"]),
        &["authorization-signatures"],
    );
    let mut swapped = signed(&["alice", "bob"]);
    swapped["signatures"].as_array_mut().unwrap().swap(0, 1);
    push("authorization-signatures-out-of-order", swapped, &["authorization-signatures"]);
    push("authorization-signed-by-nobody", signed(&[]), &["quorum"]);
    // The reader of the authorization also checks the form of the embedded envelope.
    let mut formed = |id: &str, change: &dyn Fn(&mut Value)| {
        let original = signed(&["alice", "bob"]);
        let mut value = original.clone();
        change(&mut value);
        assert_ne!(value, original, "{id}");
        push(&format!("authorization-envelope-{id}"), value, &["authorization-document"]);
    };
    let sig = |value: &mut Value, edit: &dyn Fn(String) -> String| {
        for one in value["signatures"].as_array_mut().unwrap() {
            one["sig"] = json!(edit(one["sig"].as_str().unwrap().to_owned()));
        }
    };
    formed("of-another-payload-type", &|value| value["payloadType"] = json!("application/json"));
    formed("in-the-url-alphabet", &|value| sig(value, &|text| text.replace('+', "-").replace('/', "_")));
    formed("without-padding", &|value| sig(value, &|text| text.trim_end_matches('=').to_owned()));
    formed("payload-with-a-line-end", &|value| {
        let text = value["payload"].as_str().unwrap().to_owned() + "\n";
        value["payload"] = json!(text);
    });
    let stray =
        |text: String| text.replace("A==", "B==").replace("Q==", "R==").replace("g==", "h==").replace("w==", "x==");
    formed("with-stray-bits", &|value| sig(value, &stray));
    let more = |value: &mut Value, count: usize, bytes: usize| {
        let signatures = value["signatures"].as_array_mut().unwrap();
        for seed in 0..count {
            let key = SecretKey::from_seed([100 + seed as u8; 32]).public();
            let keyid = SshKey::from_public(key, "").unwrap().keyid();
            signatures.push(json!(EnvelopeSignature::new(keyid, &vec![7; bytes])));
        }
        signatures.sort_by_key(|one| one["keyid"].as_str().unwrap().to_owned());
    };
    formed("with-seventeen-signatures", &|value| more(value, 15, 64));
    formed("with-signatures-of-8193-bytes", &|value| more(value, 1, 8193 - 128));
}

/// An invalid step is reported only if the authorization is valid.
fn broken_steps(found: &mut Vec<Named>) {
    let mut step = golden::value("bundle.json")["step"].clone();
    step["colour"] = json!("red");
    let story = Story { sealed: Some(("step", step.clone())), approved: true, ..Story::default() };
    refused(found, "step-unknown-field", &["step"], story);
    let story = changed("authorization", |value| value["predicate"]["colour"] = json!("red"));
    let story = Story { sealed: Some(("step", step)), ..story };
    refused(found, "step-and-authorization-unknown-field", &["authorization-document"], story);
}

/// Scripts of templates, and parts of a step that decide how far it can be read.
fn templates(found: &mut Vec<Named>) {
    let story = |change: &[(&str, Value)], script: &str| {
        let mut step = golden::value("bundle.json")["step"].clone();
        change.iter().for_each(|(field, value)| step[*field] = value.clone());
        let script = Some(script.to_owned());
        Story { sealed: Some(("step", step)), approved: true, script, ..Story::default() }
    };
    let template =
        |source: &str, script: &str| story(&[("template", json!("gruntwork")), ("source", json!(source))], script);
    for (id, source, script) in [
        ("template", "printf '%s' \"{{ .host }}\"\n", "printf '%s' \"web-3\"\n"),
        // A boundary registers no such template, but a verifier only compares the script.
        ("template-whose-value-is-a-format", "printf {{ .host }}\n", "printf 'web-3'\n"),
    ] {
        let case = template(source, script).tell(id.to_owned());
        found.push(Named { case, failed: Vec::new(), open: OPEN.to_vec() });
    }
    for (id, source, script) in [
        ("template-of-another-script", "printf {{ .host }}\n", "printf 'web-4'\n"),
        ("template-under-its-source", "printf {{ .host }}\n", "printf {{ .host }}\n"),
        ("template-without-a-place", "printf \\{{ .host }}\n", "printf \\web-3\n"),
        ("template-with-an-unknown-action", "printf {{ .host | upper }}\n", "printf 'WEB-3'\n"),
        ("template-of-an-undeclared-parameter", "printf {{ .nobody }}\n", "printf ''\n"),
    ] {
        refused(found, id, &["step"], template(source, script));
    }
    let source = "printf 'restarting nginx on %s\\n' \"$PARAM_HOST\"\n";
    refused(found, "step-params-not-an-object", &["step"], story(&[("params", json!([]))], source));
    let broken = story(&[("ref", json!("no ref"))], source);
    refused(found, "step-ref-that-is-no-ref", &["step", "step-in-registry"], broken);
    let roster = twins("roster", |value| value["predicate"]["approver"][2]["groups"] = json!([]));
    let story = Story { signers: Some(&["alice", "bob", "carol"]), ..roster };
    refused(found, "signature-that-does-not-count-of-an-excluded-person", &["authorization-signatures"], story);
}

/// Features of a later version, and then features of this version, in a step that is otherwise sealed and approved.
fn later_steps(found: &mut Vec<Named>) {
    let files = |path: &str| json!([{"bytes": 1, "digest": format!("sha256:{}", "0".repeat(64)), "executable": false, "path": path}]);
    for (field, value) in [
        ("session", json!("write")),
        ("plan", json!({"max_age_s": 600, "step": "own:files"})),
        ("runs_on", json!(["web"])),
    ] {
        let mut step = golden::value("bundle.json")["step"].clone();
        step[field] = value;
        let story = Story { sealed: Some(("step", step)), approved: true, ..Story::default() };
        refused(found, &format!("step-with-{}", field.replace('_', "-")), &["step"], story);
    }
    for (field, value) in [
        ("format", json!("rundown")),
        ("outputs", json!([{"name": "id", "schema": {"type": "string"}}])),
        ("secrets", json!([{"as": "file", "name": "db"}])),
        ("template", json!("gruntwork")),
        ("files", files("a/b")),
    ] {
        let mut step = golden::value("bundle.json")["step"].clone();
        step[field] = value;
        let story = Story { sealed: Some(("step", step)), approved: true, ..Story::default() };
        let case = story.tell(format!("step-with-{field}"));
        found.push(Named { case, failed: Vec::new(), open: OPEN.to_vec() });
    }
    let mut step = golden::value("bundle.json")["step"].clone();
    step["files"] = files("../a");
    let story = Story { sealed: Some(("step", step)), approved: true, ..Story::default() };
    refused(found, "step-with-a-file-that-climbs", &["step"], story);
}

/// A step that declares programs, without a signed list.
fn step_with_programs(found: &mut Vec<Named>) {
    let mut step = golden::value("bundle.json")["step"].clone();
    step["programs"] = json!(["jq"]);
    let story = Story { sealed: Some(("step", step)), approved: true, ..Story::default() };
    refused(found, "step-with-programs", &["permissions"], story);
}

fn places(found: &mut Vec<Named>) {
    let base = golden::value("bundle.json");
    let roster = reference(&golden::bytes("payload/roster.json")).into_bytes();
    let mut push = |id: String, failed: &[&'static str], change: &dyn Fn(&mut Value)| {
        let mut value = base.clone();
        change(&mut value);
        let case = Case { id, bundle: to_canonical(&value), roster: roster.clone() };
        found.push(Named { case, failed: failed.to_vec(), open: Vec::new() });
    };
    for (kind, check) in
        [("seal", "seal-included"), ("consumption", "consumption-included"), ("receipt", "receipt-included")]
    {
        let text = base["proofs"][kind].as_str().unwrap().to_owned();
        let lines: Vec<&str> = text.lines().collect();
        let with = |lines: Vec<&str>| lines.join("\n") + "\n";
        let mut longer = lines.clone();
        longer.insert(2, lines[2]);
        push(format!("{kind}-proof-too-long"), &[check], &|value| value["proofs"][kind] = json!(with(longer.clone())));
        let mut shorter = lines.clone();
        shorter.remove(2);
        push(format!("{kind}-proof-too-short"), &[check], &|value| {
            value["proofs"][kind] = json!(with(shorter.clone()))
        });
        let mut swapped = lines.clone();
        swapped.swap(2, 3);
        push(format!("{kind}-proof-hashes-swapped"), &[check], &|value| {
            value["proofs"][kind] = json!(with(swapped.clone()))
        });
    }
    push("proof-of-another-version".to_owned(), &["checkpoint"], &|value| {
        let text = value["proofs"]["seal"].as_str().unwrap().replace("tlog-proof@v1", "tlog-proof@v2");
        value["proofs"]["seal"] = json!(text);
    });
    push("proof-index-with-a-leading-zero".to_owned(), &["checkpoint"], &|value| {
        let text = value["proofs"]["seal"].as_str().unwrap().replace("index 0", "index 00");
        value["proofs"]["seal"] = json!(text);
    });
    push("step-proof-of-another-index".to_owned(), &["step-in-registry"], &|value| {
        value["step_proof"]["index"] = json!(0)
    });
    push("step-proof-hash-in-capitals".to_owned(), &["step-in-registry"], &|value| {
        let text = value["step_proof"]["hashes"][0].as_str().unwrap().to_uppercase();
        value["step_proof"]["hashes"][0] = json!(text);
    });
    push("builtins-swapped".to_owned(), &["seal"], &|value| value["builtins"]["run"]["deny"] = json!([]));
    push("bundle-of-another-media-type".to_owned(), &["bundle"], &|value| {
        value["mediaType"] = json!("application/vnd.countersign.bundle.v2+json");
    });
    push("bundle-unknown-field".to_owned(), &["bundle"], &|value| value["key"] = json!("trust me"));
    push("bundle-without-rosters".to_owned(), &["roster-chain"], &|value| value["roster"] = json!([]));
    let body = |id: &str, failed: &[&'static str], text: String| Named {
        case: Story { body: Some(text), ..Story::default() }.tell(id.to_owned()),
        failed: failed.to_vec(),
        open: Vec::new(),
    };
    let text = String::from_utf8(golden::bytes("log/checkpoint")).unwrap();
    let body_text = text.lines().take(3).collect::<Vec<_>>().join("\n") + "\n";
    let included = ["consumption-included", "receipt-included", "seal-included"];
    found.push(body("checkpoint-with-an-extension-line", &["checkpoint"], format!("{body_text}extension\n")));
    found.push(body("checkpoint-of-another-size", &included, body_text.replace("\n5\n", "\n9\n")));
    found.push(body("checkpoint-of-size-0", &["checkpoint"], body_text.replace("\n5\n", "\n0\n")));
    found.push(body("checkpoint-size-with-a-sign", &["checkpoint"], body_text.replace("\n5\n", "\n+5\n")));
    found.push(body("checkpoint-of-another-origin", &["checkpoint"], body_text.replacen("prod-eu", "prod-us", 1)));
}

fn decisions(found: &mut Vec<Named>) {
    refused(
        found,
        "authorization-of-another-epoch",
        &["boundary"],
        changed("authorization", |value| {
            value["predicate"]["boundary"]["epoch"] = json!("0".repeat(32));
        }),
    );
    refused(
        found,
        "receipt-of-another-boundary-name",
        &["boundary"],
        changed("receipt", |value| {
            value["predicate"]["boundary"]["name"] = json!("prod-us");
        }),
    );
    refused(
        found,
        "receipt-names-another-seal",
        &["seal"],
        changed("receipt", |value| {
            value["predicate"]["seal"] = json!(format!("sha256:{}", "0".repeat(64)));
        }),
    );
    refused(
        found,
        "consumption-names-another-seal",
        &["seal"],
        changed("consumption", |value| {
            value["predicate"]["seal"] = json!(format!("sha256:{}", "0".repeat(64)));
        }),
    );
    refused(
        found,
        "decided-by-another-policy",
        &["seal"],
        changed("receipt", |value| {
            value["predicate"]["decision"]["policy"] = json!(format!("sha256:{}", "0".repeat(64)));
        }),
    );
    refused(
        found,
        "receipt-names-another-item",
        &["consumption"],
        changed("receipt", |value| {
            value["predicate"]["consumption"]["item"] = json!(1);
        }),
    );
    refused(
        found,
        "consumption-of-another-expiry",
        &["consumption"],
        changed("consumption", |value| {
            value["predicate"]["spent"][0]["expires_at"] = json!("2026-11-20T10:30:01Z");
        }),
    );
    refused(
        found,
        "sealed-after-it-was-spent",
        &["log-order"],
        changed("seal", |value| {
            value["predicate"]["at"] = json!("2026-11-20T09:40:01Z");
        }),
    );
    refused(
        found,
        "rendered-is-another-script",
        &["step"],
        changed("authorization", |value| {
            value["predicate"]["rendered"] = json!(format!("sha256:{}", "0".repeat(64)));
        }),
    );
    refused(
        found,
        "parameter-unknown",
        &["parameters"],
        twins("authorization", |value| {
            value["predicate"]["params"]["more"] = json!(1);
        }),
    );
    refused(
        found,
        "parameter-missing",
        &["parameters"],
        twins("authorization", |value| {
            value["predicate"]["params"].as_object_mut().unwrap().remove("host");
        }),
    );
    refused(
        found,
        "parameter-default-not-filled-in",
        &["parameters"],
        twins("authorization", |value| {
            value["predicate"]["params"].as_object_mut().unwrap().remove("drain");
        }),
    );
    refused(
        found,
        "window-empty",
        &["window"],
        changed("authorization", |value| {
            value["predicate"]["not_before"] = value["predicate"]["expires_at"].clone();
        }),
    );
    refused(
        found,
        "window-issued-61-seconds-later",
        &["window"],
        changed("authorization", |value| {
            for field in ["issued_at", "not_before"] {
                value["predicate"][field] = json!("2026-11-20T09:41:01Z");
            }
        }),
    );
    let denied =
        json!({"version": 1, "default": {"mode": "deny", "approvals": {"required": 2, "from": ["ops", "security"]}}});
    let more = json!({"version": 1, "default": {"mode": "prompted", "run": {"allow": ["printf", "systemctl"]}, "approvals": {"required": 3, "from": ["ops", "security"]}}});
    let plain = json!({"version": 1, "default": {"mode": "prompted", "run": {"allow": ["printf", "systemctl"]}, "approvals": {"required": 2, "from": ["ops", "security"]}}});
    let policy = |value: Value| Story { policy: Some(value), ..Story::default() };
    refused(found, "policy-denies", &["permissions"], policy(denied));
    refused(found, "policy-asks-for-three", &["quorum"], policy(more));
    for (id, runbook) in [
        ("negated-as-in-a-shell", "[!a]*"),
        ("slash-escaped", "a\\/b"),
        ("empty-segment", "a//b"),
        ("open-bracket", "[a"),
        ("one-alternative", "{a}"),
    ] {
        let mut value = plain.clone();
        value["overrides"] = json!([{"runbook": runbook, "mode": "execute"}]);
        refused(found, &format!("policy-runbook-{id}"), &["quorum"], policy(value));
    }
    for (id, at, bad) in [
        ("relative-path", "/default/read", json!({"allow": ["srv/*"]})),
        ("negated-command", "/default/run", json!({"deny": ["[!a]"]})),
        ("limit-of-zero", "/default/sandbox", json!({"limits": {"wall_ms": 0}})),
        ("deny-pattern-of-everything", "/default/sandbox", json!({"deny": ["/**"]})),
        ("silent-override", "/overrides", json!([{"runbook": "**"}])),
        ("network-of-no-host", "/overrides", json!([{"runbook": "**", "sandbox": {"network": {}}}])),
        ("seventeen-signatures", "/default/approvals", json!({"required": 17, "from": ["ops"]})),
    ] {
        let mut value = plain.clone();
        let (parent, field) = at.rsplit_once('/').unwrap();
        value.pointer_mut(parent).unwrap()[field] = bad;
        refused(found, &format!("policy-{id}"), &["quorum"], policy(value));
    }
    // If the rule has no number, one approver is required.
    let mut one = plain.clone();
    one["default"]["approvals"] = json!({"from": ["ops", "security"]});
    let case = policy(one).tell("policy-approvals-without-a-number".to_owned());
    found.push(Named { case, failed: Vec::new(), open: OPEN.to_vec() });
    let case = policy(plain).tell("policy-asks-for-two".to_owned());
    found.push(Named { case, failed: Vec::new(), open: OPEN.to_vec() });
}

fn outcomes(found: &mut Vec<Named>) {
    let outcome = |value: Value| changed("receipt", move |receipt| receipt["predicate"]["outcome"] = value.clone());
    for (id, value) in [
        ("warned-with-exit-0", json!({"status": "warned", "exit_code": 0})),
        ("failed-with-exit-0", json!({"status": "failed", "exit_code": 0})),
        ("failed-with-exit-2", json!({"status": "failed", "exit_code": 2})),
        ("failed-with-nothing", json!({"status": "failed"})),
        ("succeeded-with-a-signal", json!({"status": "succeeded", "exit_code": 0, "signal": 9})),
        ("killed-without-a-limit", json!({"status": "killed"})),
        ("timed-out-with-a-code", json!({"status": "timed_out", "exit_code": 124})),
        ("unknown-with-two-times", json!({"status": "unknown"})),
    ] {
        refused(found, &format!("outcome-{id}"), &["outcome"], outcome(value));
    }
    refused(
        found,
        "started-before-it-was-spent",
        &["outcome"],
        changed("receipt", |value| {
            value["predicate"]["started_at"] = json!("2026-11-20T09:39:59Z");
        }),
    );
    refused(
        found,
        "receipt-subject-of-another-authorization",
        &["receipt-subjects"],
        changed("receipt", |value| {
            value["subject"][0]["digest"]["sha256"] = json!("0".repeat(64));
        }),
    );
    refused(
        found,
        "nothing-recorded-with-a-digest-of-something",
        &["receipt-subjects"],
        twins("receipt", |value| {
            value["predicate"]["output"]["stderr"]["sha256"] = value["predicate"]["output"]["stdout"]["sha256"].clone();
        }),
    );
    for digest in ["sha256", "blake3"] {
        refused(
            found,
            &format!("something-recorded-with-the-{digest}-of-nothing"),
            &["receipt-subjects"],
            twins("receipt", |value| {
                let output = &mut value["predicate"]["output"];
                output["stdout"][digest] = output["stderr"][digest].clone();
            }),
        );
    }
    refused(
        found,
        "files-without-a-manifest",
        &["receipt-subjects"],
        changed("receipt", |value| {
            value["predicate"]["files"]["count"] = json!(1);
        }),
    );
}

fn rosters(found: &mut Vec<Named>) {
    refused(
        found,
        "roster-policy-of-another-seal",
        &["seal"],
        twins("roster", |value| {
            value["predicate"]["policy"] = json!(format!("sha256:{}", "0".repeat(64)));
        }),
    );
    refused(
        found,
        "boundary-not-in-the-roster",
        &["seal-signature"],
        twins("roster", |value| {
            value["predicate"]["boundary"] = json!([]);
        }),
    );
    refused(
        found,
        "boundary-under-another-name",
        &["seal-signature"],
        twins("roster", |value| {
            value["predicate"]["boundary"][0]["name"] = json!("prod-us");
        }),
    );
    refused(
        found,
        "second-key-of-the-boundary-not-in-the-seal",
        &["roster-in-seal"],
        twins("roster", |value| {
            let line = golden::key("mallory").line().to_owned();
            value["predicate"]["boundary"][0]["keys"].as_array_mut().unwrap().push(json!(line));
        }),
    );
    let second = to_canonical(&second_roster(&golden::bytes("payload/roster.json")));
    let mut doubled = serde_json::to_value(golden::envelope(&second, &["alice", "bob"])).unwrap();
    let first = doubled["signatures"][0].clone();
    doubled["signatures"].as_array_mut().unwrap().insert(0, first);
    let story = Story { two_rosters: true, envelope: Some(("roster-2", doubled)), ..Story::default() };
    refused(found, "roster-2-signature-twice", &["roster-chain"], story);
    // These bundles have no defect, but some checks stay open.
    let witness = twins("roster", |value| {
        let key = golden::key("mallory");
        value["predicate"]["witness"] = json!([{"name": "w.example", "vkey": documents::crypto::note::vkey("w.example", key.public()), "url": "https://w.example"}]);
    });
    let mut open = OPEN.to_vec();
    open.push("witnesses");
    found.push(Named { case: witness.tell("a-witness-that-nobody-asked".to_owned()), failed: Vec::new(), open });
    for (id, change) in [
        (
            "an-approver-has-another-key-now",
            Box::new(|value: &mut Value| {
                value["predicate"]["approver"][0]["keys"] = json!([golden::key("mallory").line()]);
            }) as Box<dyn Fn(&mut Value)>,
        ),
        (
            "the-boundary-has-another-key-now",
            Box::new(|value: &mut Value| {
                value["predicate"]["boundary"][0]["keys"] = json!([golden::key("mallory").line()]);
            }),
        ),
    ] {
        let mut newer = second_roster(&golden::bytes("payload/roster.json"));
        change(&mut newer);
        golden::repair_twins("roster", &mut newer);
        let signers: &[&str] = if id.starts_with("an") { &["bob", "carol"] } else { &["alice", "bob"] };
        let envelope = serde_json::to_value(golden::envelope(&to_canonical(&newer), signers)).unwrap();
        let mut case = Story::default().tell(id.to_owned());
        case.roster = to_canonical(&envelope);
        let mut open = OPEN.to_vec();
        open.insert(0, "keys-still-rostered");
        found.push(Named { case, failed: Vec::new(), open });
    }
}

/// How often each check fails or stays open in the vectors.
pub fn coverage(file: &Value) -> BTreeMap<String, usize> {
    let mut found = BTreeMap::new();
    for vector in file["vectors"].as_array().expect("vectors") {
        for field in ["failed", "not_checked"] {
            for name in vector[field].as_array().into_iter().flatten() {
                *found.entry(name.as_str().expect("a check").to_owned()).or_insert(0) += 1;
            }
        }
    }
    found
}
