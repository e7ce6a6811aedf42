//! Reserved parts of the formats, for later versions: valid documents give `later-feature`, and invalid documents give
//! `malformed`.
//!
//! `COUNTERSIGN_WRITE_VECTORS=1 cargo test --test formats reserved::` writes `tests/conformance/golden/reserved` from
//! the tables below.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Once;

use countersign::crypto::canonical::to_canonical;
use countersign::decision::step::{HashedStep, StepError};
use countersign::record::authorization::Authorization;
use countersign::record::bundle::Bundle;
use countersign::record::consumption::Consumption;
use countersign::record::document::{Predicate, Statement};
use countersign::record::envelope::{Base64, Signed};
use countersign::record::later::of_kind;
use countersign::record::malformed::Malformed;
use countersign::record::receipt::Receipt;
use countersign::record::roster::Roster;
use serde_json::{Value, json};

use crate::golden::{envelope, key, own_vectors, payload, reference, repair_twins, value};

const GRANT: &str = "grt_019aa0b0-5c00-7000-8000-000000000002";
const SESSION: &str = "ses_019aa0b0-5c00-7000-8000-000000000003";

/// A valid document, its kind, and the pointer to the reserved part. The pointer is empty if this version has the part.
struct Valid {
    name: &'static str,
    kind: &'static str,
    document: Value,
    at: &'static str,
}

pub(super) fn digest(of: &str) -> Value {
    json!(reference(of.as_bytes()))
}

fn place() -> Value {
    payload("authorization")["predicate"]["boundary"].clone()
}

fn statement(kind: &str, predicate: Value, subjects: &[(&str, Value)]) -> Value {
    let subject = |(name, digest): &(&str, Value)| {
        let digest = digest.as_str().unwrap().trim_start_matches("sha256:").to_owned();
        json!({"digest": {"sha256": digest}, "name": name})
    };
    json!({
        "_type": "https://in-toto.io/Statement/v1", "predicate": predicate,
        "predicateType": format!("https://countersign.dev/{kind}/v1"),
        "subject": subjects.iter().map(subject).collect::<Vec<_>>(),
    })
}

fn grant() -> Value {
    let signed = &payload("authorization")["predicate"];
    let params = json!({
        "type": "object", "required": ["drain", "host"],
        "properties": {"drain": {"type": "boolean", "const": true}, "host": {"type": "string", "enum": ["web-1", "web-2"]}},
    });
    let step = json!({
        "ref": signed["step"]["ref"], "digest": signed["step"]["digest"], "params": params, "permissions": [],
        "sandbox": signed["sandbox"],
    });
    let predicate = json!({
        "boundary": place(), "grant": GRANT, "grantee": {"name": "deploy-bot", "key": key("mallory").keyid()},
        "steps": [step], "max_uses": 20, "rate": {"uses": 3, "seconds": 3600}, "session": "none", "artifacts": [],
        "proposer": "deploy-bot", "reason": "nightly restarts", "issued_at": "2026-11-20T09:00:00Z",
        "not_before": "2026-11-20T09:00:00Z", "expires_at": "2026-11-27T09:00:00Z",
    });
    let of = signed["step"]["digest"].clone();
    statement("grant", predicate, &[("nginx:restart", of)])
}

fn revocation(what: &str, of: Value) -> Value {
    statement("revocation", json!({"boundary": place(), "reason": "no longer needed"}), &[(what, of)])
}

fn review() -> Value {
    let predicate = json!({"boundary": place(), "verdict": "accepted", "reason": "seen with the team"});
    statement("review", predicate, &[("receipt", digest("a receipt"))])
}

fn report() -> Value {
    let receipt = &payload("receipt")["predicate"];
    let authorization = json!(reference(&to_canonical(&payload("authorization"))));
    let mut predicate = json!({
        "boundary": {"name": receipt["boundary"]["name"], "id": receipt["boundary"]["id"]},
        "runner": {"name": "web-3", "keyid": key("dora").keyid(), "version": "0.3.0"},
        "authorization": authorization,
    });
    for field in
        ["consumption", "outcome", "started_at", "finished_at", "duration_ms", "output", "files", "sandbox", "usage"]
    {
        predicate[field] = receipt[field].clone();
    }
    let subjects = [
        ("authorization", authorization.clone()),
        ("stdout", receipt["output"]["stdout"]["sha256"].clone()),
        ("stderr", receipt["output"]["stderr"]["sha256"].clone()),
        ("files", receipt["files"]["manifest"].clone()),
    ];
    statement("run-report", predicate, &subjects)
}

fn manifest() -> Value {
    let blake3 = payload("receipt")["predicate"]["output"]["stdout"]["blake3"].clone();
    let entry =
        |path: &str| json!({"path": path, "bytes": 4, "sha256": digest(path), "blake3": blake3, "executable": false});
    json!([entry("report/a.txt"), entry("report/b.txt")])
}

/// A golden payload with a changed predicate and matching subjects.
pub(super) fn changed(kind: &str, change: impl Fn(&mut Value)) -> Value {
    let mut document = payload(kind);
    change(&mut document);
    repair_twins(kind, &mut document);
    document
}

pub(super) fn with(kind: &str, field: &str, part: &Value) -> Value {
    changed(kind, |document| document["predicate"][field] = part.clone())
}

fn artifacts() -> Value {
    json!([{"name": "app.tar", "digest": digest("app"), "bytes": 3}, {"name": "notes.txt", "digest": digest("notes"), "bytes": 5}])
}

fn with_artifacts() -> Value {
    let mut document = with("authorization", "artifacts", &artifacts());
    for artifact in artifacts().as_array().unwrap() {
        let hex = artifact["digest"].as_str().unwrap().trim_start_matches("sha256:").to_owned();
        let name = format!("artifact/{}", artifact["name"].as_str().unwrap());
        document["subject"].as_array_mut().unwrap().push(json!({"digest": {"sha256": hex}, "name": name}));
    }
    document
}

pub(super) fn step(change: impl Fn(&mut Value)) -> Value {
    let mut step = value("bundle.json")["step"].take();
    change(&mut step);
    step
}

fn bundle(change: impl Fn(&mut Value)) -> Value {
    let mut bundle = value("bundle.json");
    change(&mut bundle);
    bundle
}

fn of_envelope(document: &Value, names: &[&str]) -> Value {
    serde_json::to_value(envelope(&to_canonical(document), names)).unwrap()
}

fn runner() -> Value {
    json!([{"name": "web-3", "keys": [key("mallory").line()], "labels": ["eu", "web"]}])
}

fn with_runner(change: impl Fn(&mut Value)) -> Value {
    changed("roster", |document| {
        document["predicate"]["runner"] = runner();
        change(document);
    })
}

fn granted_bundle() -> Value {
    bundle(|bundle| {
        bundle["grant"] = of_envelope(&grant(), &["alice", "bob"]);
        bundle["proofs"]["grant"] = bundle["proofs"]["seal"].clone();
    })
}

fn valid() -> Vec<Valid> {
    let spent = |document: &mut Value, part: Value| {
        let item = document["predicate"]["spent"][0].as_object_mut().unwrap();
        item.extend(part.as_object().unwrap().clone());
    };
    let epoch = place()["epoch"].as_str().unwrap().to_owned();
    let state = json!({"id": SESSION, "state": digest("state")});
    let all: Vec<(&str, &str, Value, &str)> = vec![
        ("grant", "grant", grant(), "/predicateType"),
        ("revocation-grant", "revocation", revocation("grant", digest("a grant")), "/predicateType"),
        ("revocation-key", "revocation", revocation("key", digest("a key")), "/predicateType"),
        ("revocation-token", "revocation", revocation("token", digest("ci-agent")), "/predicateType"),
        ("revocation-epoch", "revocation", revocation("epoch", digest(&epoch)), "/predicateType"),
        ("review", "review", review(), "/predicateType"),
        (
            "review-observed",
            "review",
            {
                let mut one = review();
                one["predicate"]["observed"] = json!("partly");
                one
            },
            "/predicateType",
        ),
        ("run-report", "run-report", report(), "/predicateType"),
        (
            "authorization-emergency",
            "authorization",
            with("authorization", "emergency", &json!(true)),
            "/predicate/emergency",
        ),
        (
            "authorization-grant",
            "authorization",
            with("authorization", "grant", &digest("a grant")),
            "/predicate/grant",
        ),
        (
            "authorization-target",
            "authorization",
            with("authorization", "target", &json!({"runner": "web-3"})),
            "/predicate/target",
        ),
        (
            "authorization-target-labels",
            "authorization",
            with("authorization", "target", &json!({"labels": ["eu", "web"]})),
            "/predicate/target",
        ),
        ("authorization-session", "authorization", with("authorization", "session", &state), ""),
        ("authorization-artifacts", "authorization", with_artifacts(), ""),
        (
            "authorization-plan",
            "authorization",
            with("authorization", "plan", &json!({"receipt": digest("a receipt"), "output": digest("a plan")})),
            "",
        ),
        (
            "authorization-grant-envelope",
            "authorization-envelope",
            of_envelope(&with("authorization", "grant", &digest("a grant")), &["mallory"]),
            "/predicate/grant",
        ),
        (
            "consumption-grant",
            "consumption",
            changed("consumption", |document| spent(document, json!({"grant": digest("a grant"), "use": 7}))),
            "/predicate/spent/0/grant",
        ),
        (
            "consumption-runner",
            "consumption",
            changed("consumption", |document| spent(document, json!({"runner": "web-3"}))),
            "/predicate/spent/0/runner",
        ),
        (
            "consumption-session",
            "consumption",
            changed("consumption", |document| spent(document, json!({"session": state}))),
            "",
        ),
        (
            "receipt-runner",
            "receipt",
            with(
                "receipt",
                "runner",
                &json!({"name": "web-3", "keyid": key("dora").keyid(), "report": digest("a report")}),
            ),
            "/predicate/runner",
        ),
        (
            "receipt-session",
            "receipt",
            with("receipt", "session", &json!({"before": digest("one"), "after": digest("two")})),
            "",
        ),
        (
            "receipt-files",
            "receipt",
            with(
                "receipt",
                "files",
                &json!({"count": 2, "bytes": 8, "manifest": reference(&to_canonical(&manifest()))}),
            ),
            "",
        ),
        ("roster-runner", "roster", with_runner(|_| {}), "/predicate/runner"),
        ("step-format", "step", step(|step| step["format"] = json!("rundown")), ""),
        ("step-template", "step", step(|step| step["template"] = json!("gruntwork")), ""),
        ("step-session", "step", step(|step| step["session"] = json!("write")), ""),
        (
            "step-secrets",
            "step",
            step(|step| {
                step["secrets"] =
                    json!([{"name": "api", "as": "env", "variable": "API_KEY"}, {"name": "db", "as": "file"}]);
            }),
            "",
        ),
        (
            "step-outputs",
            "step",
            step(|step| step["outputs"] = json!([{"name": "version", "schema": {"type": "string"}}])),
            "",
        ),
        (
            "step-files",
            "step",
            step(|step| {
                step["files"] = json!([{"path": "utils.py", "bytes": 3, "digest": digest("x"), "executable": false}])
            }),
            "",
        ),
        ("step-plan", "step", step(|step| step["plan"] = json!({"step": "nginx:plan", "max_age_s": 3600})), ""),
        ("step-runs-on", "step", step(|step| step["runs_on"] = json!(["eu", "web"])), "/step/runs_on"),
        (
            "step-x-secret",
            "step",
            step(|step| step["params"]["properties"]["password"] = json!({"type": "string", "x-secret": true})),
            "",
        ),
        ("bundle-grant", "bundle", granted_bundle(), "/grant"),
        ("bundle-manifest", "bundle", bundle(|bundle| bundle["manifest"] = manifest()), ""),
        ("bundle-plan", "bundle", bundle(|bundle| bundle["plan"] = value("bundle.json")), ""),
        ("bundle-report", "bundle", bundle(|bundle| bundle["report"] = of_envelope(&report(), &["dora"])), "/report"),
    ];
    all.into_iter().map(|(name, kind, document, at)| Valid { name, kind, document, at }).collect()
}

/// A defect: its name, the valid document that it changes, the place that it replaces or adds, the new value, and the
/// pointer of the expected answer.
type Defect = (&'static str, &'static str, &'static str, Value, &'static str);

fn step_files(paths: &[&str], bytes: u64) -> Value {
    let file = |path: &&str| json!({"path": path, "bytes": bytes, "digest": digest("x"), "executable": true});
    paths.iter().map(file).collect()
}

fn defects() -> Vec<Defect> {
    vec![
        ("grant-without-steps", "grant", "/predicate/steps", json!([]), "/predicate/steps"),
        ("grant-for-no-use", "grant", "/predicate/max_uses", json!(0), "/predicate/max_uses"),
        ("grant-for-1001-uses", "grant", "/predicate/max_uses", json!(1001), "/predicate/max_uses"),
        ("grant-faster-than-it-lasts", "grant", "/predicate/rate/uses", json!(21), "/predicate/rate/uses"),
        ("grant-rate-of-no-time", "grant", "/predicate/rate/seconds", json!(0), "/predicate/rate/seconds"),
        ("grant-rate-null", "grant", "/predicate/rate", Value::Null, "/predicate/rate"),
        ("grant-for-31-days", "grant", "/predicate/expires_at", json!("2026-12-21T09:00:00Z"), "/predicate/expires_at"),
        (
            "grant-over-before-it-begins",
            "grant",
            "/predicate/not_before",
            json!("2026-11-28T09:00:00Z"),
            "/predicate/expires_at",
        ),
        (
            "grant-id-of-a-proposal",
            "grant",
            "/predicate/grant",
            json!("prp_019aa0b0-5c00-7000-8000-000000000002"),
            "/predicate/grant",
        ),
        ("grant-session-unknown", "grant", "/predicate/session", json!("write"), "/predicate/session"),
        (
            "grant-params-no-object",
            "grant",
            "/predicate/steps/0/params",
            json!({"type": "string"}),
            "/predicate/steps/0/params",
        ),
        ("grant-subject-of-another-step", "grant", "/subject/0/name", json!("nginx:stop"), "/subject/0/name"),
        ("grant-unknown-field", "grant", "/predicate/colour", json!("red"), "/predicate/colour"),
        (
            "grant-layer-without-its-list",
            "grant",
            "/predicate/steps/0/sandbox/require/5",
            json!("programs"),
            "/predicate/steps/0/sandbox/require/5",
        ),
        ("revocation-of-a-roster", "revocation-grant", "/subject/0/name", json!("roster"), "/subject/0/name"),
        (
            "revocation-of-another-epoch",
            "revocation-epoch",
            "/subject/0/digest/sha256",
            json!("00".repeat(32)),
            "/subject/0/digest",
        ),
        ("revocation-of-nothing", "revocation-key", "/subject", json!([]), "/subject"),
        ("review-maybe", "review", "/predicate/verdict", json!("maybe"), "/predicate/verdict"),
        ("review-observed-unknown", "review-observed", "/predicate/observed", json!("unknown"), "/predicate/observed"),
        ("review-of-an-authorization", "review", "/subject/0/name", json!("authorization"), "/subject"),
        (
            "run-report-over-before-it-began",
            "run-report",
            "/predicate/finished_at",
            json!("2026-11-20T09:39:59Z"),
            "/predicate/finished_at",
        ),
        (
            "run-report-subject-of-another-stream",
            "run-report",
            "/subject/1/digest/sha256",
            json!("00".repeat(32)),
            "/subject/1/digest",
        ),
        (
            "authorization-emergency-false",
            "authorization-emergency",
            "/predicate/emergency",
            json!(false),
            "/predicate/emergency",
        ),
        // A defect in the envelope is malformed, even if the payload has reserved parts.
        (
            "authorization-grant-signed-by-nobody",
            "authorization-grant-envelope",
            "/signatures",
            json!([]),
            "/signatures",
        ),
        (
            "authorization-grant-signed-by-two",
            "authorization-grant-envelope",
            "/signatures",
            of_envelope(&payload("authorization"), &["alice", "bob"])["signatures"].take(),
            "/signatures",
        ),
        (
            "authorization-emergency-by-grant",
            "authorization-grant",
            "/predicate/emergency",
            json!(true),
            "/predicate/emergency",
        ),
        ("authorization-grant-by-id", "authorization-grant", "/predicate/grant", json!(GRANT), "/predicate/grant"),
        ("authorization-target-nowhere", "authorization-target", "/predicate/target", json!({}), "/predicate/target"),
        (
            "authorization-target-twice",
            "authorization-target",
            "/predicate/target/labels",
            json!(["eu"]),
            "/predicate/target",
        ),
        (
            "authorization-target-labels-unsorted",
            "authorization-target-labels",
            "/predicate/target/labels",
            json!(["web", "eu"]),
            "/predicate/target/labels/1",
        ),
        (
            "authorization-session-of-another-form",
            "authorization-session",
            "/predicate/session/id",
            json!("ses_1"),
            "/predicate/session/id",
        ),
        (
            "authorization-session-null",
            "authorization-session",
            "/predicate/session",
            Value::Null,
            "/predicate/session",
        ),
        (
            "authorization-artifacts-none",
            "authorization-emergency",
            "/predicate/artifacts",
            json!([]),
            "/predicate/artifacts",
        ),
        (
            "authorization-artifact-climbs",
            "authorization-artifacts",
            "/predicate/artifacts/0/name",
            json!("../app"),
            "/predicate/artifacts/0/name",
        ),
        (
            "authorization-artifact-twice",
            "authorization-artifacts",
            "/predicate/artifacts/1/name",
            json!("app.tar"),
            "/predicate/artifacts/1",
        ),
        (
            "authorization-artifact-subject-swapped",
            "authorization-artifacts",
            "/subject/2/name",
            json!("artifact/notes.txt"),
            "/subject/2/name",
        ),
        (
            "authorization-artifact-without-subject",
            "authorization-emergency",
            "/predicate/artifacts",
            artifacts(),
            "/subject",
        ),
        (
            "authorization-plan-without-output",
            "authorization-plan",
            "/predicate/plan",
            json!({"receipt": digest("a receipt")}),
            "/predicate/plan",
        ),
        (
            "authorization-later-and-broken",
            "authorization-emergency",
            "/predicate/reason",
            json!(7),
            "/predicate/reason",
        ),
        (
            "consumption-use-without-grant",
            "consumption-runner",
            "/predicate/spent/0/use",
            json!(1),
            "/predicate/spent/0/use",
        ),
        ("consumption-use-0", "consumption-grant", "/predicate/spent/0/use", json!(0), "/predicate/spent/0/use"),
        (
            "consumption-runner-in-capitals",
            "consumption-runner",
            "/predicate/spent/0/runner",
            json!("WEB"),
            "/predicate/spent/0/runner",
        ),
        (
            "receipt-runner-without-report",
            "receipt-runner",
            "/predicate/runner/report",
            Value::Null,
            "/predicate/runner/report",
        ),
        (
            "receipt-session-of-one-state",
            "receipt-session",
            "/predicate/session",
            json!({"before": digest("one")}),
            "/predicate/session",
        ),
        ("roster-runner-none", "roster-runner", "/predicate/runner", json!([]), "/predicate/runner"),
        (
            "roster-runner-without-keys",
            "roster-runner",
            "/predicate/runner/0/keys",
            json!([]),
            "/predicate/runner/0/keys",
        ),
        (
            "roster-runner-named-as-a-person",
            "roster-runner",
            "/predicate/runner/0/name",
            json!("alice"),
            "/predicate/runner/0/name",
        ),
        (
            "roster-runner-with-a-person-s-key",
            "roster-runner",
            "/predicate/runner/0/keys/0",
            json!(key("alice").line()),
            "/predicate/runner/0/keys/0",
        ),
        (
            "roster-runner-label-twice",
            "roster-runner",
            "/predicate/runner/0/labels",
            json!(["web", "web"]),
            "/predicate/runner/0/labels/1",
        ),
        (
            "step-secret-without-variable",
            "step-secrets",
            "/secrets/0",
            json!({"name": "api", "as": "env"}),
            "/step/secrets/0/variable",
        ),
        (
            "step-secret-in-a-parameter-s-variable",
            "step-secrets",
            "/secrets/0/variable",
            json!("PARAM_HOST"),
            "/step/secrets/0/variable",
        ),
        ("step-secrets-unsorted", "step-secrets", "/secrets/0/name", json!("x"), "/step/secrets/1"),
        ("step-secret-as-argument", "step-secrets", "/secrets/1/as", json!("argument"), "/step/secrets/1/as"),
        ("step-secret-by-name-alone", "step-secrets", "/secrets", json!(["db"]), "/step/secrets/0"),
        ("step-output-without-type", "step-outputs", "/outputs/0/schema", json!({}), "/step/outputs/0/schema"),
        ("step-file-that-climbs", "step-files", "/files/0/path", json!("../utils.py"), "/step/files/0/path"),
        ("step-file-absolute", "step-files", "/files/0/path", json!("/utils.py"), "/step/files/0/path"),
        ("step-file-with-a-newline", "step-files", "/files/0/path", json!("a\nb"), "/step/files/0/path"),
        ("step-file-over-1-mib", "step-files", "/files/0/bytes", json!((1 << 20) + 1), "/step/files/0/bytes"),
        ("step-file-without-mode", "step-files", "/files/0/executable", Value::Null, "/step/files/0/executable"),
        (
            "step-files-over-4-mib",
            "step-files",
            "/files",
            step_files(&["a", "b", "c", "d", "e"], 1 << 20),
            "/step/files",
        ),
        ("step-file-twice", "step-files", "/files", step_files(&["a", "a"], 1), "/step/files/1"),
        ("step-files-unsorted", "step-files", "/files", step_files(&["b", "a"], 1), "/step/files/1"),
        ("step-file-below-a-file", "step-files", "/files", step_files(&["a", "a-b", "a/b"], 1), "/step/files/2/path"),
        ("step-plan-of-itself", "step-plan", "/plan/step", json!("nginx:restart"), "/step/plan/step"),
        ("step-plan-of-no-age", "step-plan", "/plan/max_age_s", json!(0), "/step/plan/max_age_s"),
        ("step-runs-nowhere", "step-runs-on", "/runs_on", json!([]), "/step/runs_on"),
        (
            "step-x-secret-with-a-default",
            "step-x-secret",
            "/params/properties/password/default",
            json!("hunter2"),
            "/step/params/properties/password/x-secret",
        ),
        (
            "step-x-secret-below-a-default",
            "step-x-secret",
            "/params/properties/login",
            json!({"type": "object", "default": {}, "properties": {"pin": {"type": "string", "x-secret": true}}}),
            "/step/params/properties/login/properties/pin/x-secret",
        ),
        (
            "step-x-secret-of-an-unknown-keyword",
            "step-x-secret",
            "/params/properties/password/colour",
            json!("red"),
            "/step/params/properties/password/colour",
        ),
        (
            "step-x-secret-beside-a-broken-schema",
            "step-x-secret",
            "/params/properties/host/pattern",
            json!("web"),
            "/step/params/properties/host/pattern",
        ),
        (
            "step-session-beside-a-broken-schema",
            "step-session",
            "/params/properties/host/pattern",
            json!("web"),
            "/step/params/properties/host/pattern",
        ),
        ("step-exclusive-null", "step-session", "/exclusive", Value::Null, "/step/exclusive"),
        ("bundle-grant-without-proof", "bundle-grant", "/proofs", value("bundle.json")["proofs"].take(), "/grant"),
        (
            "bundle-proof-without-grant",
            "bundle-manifest",
            "/proofs/grant",
            json!("c2sp.org/tlog-proof@v1\n"),
            "/proofs/grant",
        ),
        (
            "bundle-grant-that-is-a-denial",
            "bundle-grant",
            "/grant",
            value("envelope/denial.json"),
            "/grant/payload/predicateType",
        ),
        ("bundle-manifest-empty", "bundle-manifest", "/manifest", json!([]), "/manifest"),
        ("bundle-manifest-unsorted", "bundle-manifest", "/manifest/0/path", json!("report/c.txt"), "/manifest/1"),
        ("bundle-manifest-climbs", "bundle-manifest", "/manifest/0/path", json!("/etc/passwd"), "/manifest/0/path"),
        ("bundle-plan-of-a-plan", "bundle-plan", "/plan/plan", value("bundle.json"), "/plan/plan"),
        ("bundle-plan-of-another-type", "bundle-plan", "/plan/mediaType", json!("application/json"), "/plan/mediaType"),
        ("bundle-report-signed-by-nobody", "bundle-report", "/report/signatures", json!([]), "/report/signatures"),
    ]
}

/// Sets `value` at a place, which can be new. In a roster the subjects are repaired, so that only the defect is wrong.
pub(super) fn put(kind: &str, document: &mut Value, at: &str, value: Value) {
    let (parent, field) = at.rsplit_once('/').unwrap();
    match document.pointer_mut(parent).unwrap_or_else(|| panic!("{at}")) {
        Value::Array(items) => items[field.parse::<usize>().unwrap()] = value,
        parent => parent[field] = value,
    }
    if kind == "roster" {
        repair_twins(kind, document);
    }
}

fn files() -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut index = Vec::new();
    let valid = valid();
    let mut add = |folder: &str, name: &str, kind: &str, document: &Value, expect: &str, at: &str| {
        let file = format!("{folder}/{name}.json");
        index.push(json!({"as": kind, "at": at, "expect": expect, "file": file}));
        assert!(files.insert(file, to_canonical(document)).is_none(), "{name} twice");
    };
    for Valid { name, kind, document, at } in &valid {
        add("valid", name, kind, document, if at.is_empty() { "accept" } else { "later-feature" }, at);
    }
    for (name, of, at, value, answer) in defects() {
        let Valid { kind, document, .. } = valid.iter().find(|one| one.name == of).expect(of);
        let mut document = document.clone();
        put(kind, &mut document, at, value);
        add("broken", name, kind, &document, "malformed", answer);
    }
    let lines: Vec<String> = index.iter().map(|entry| format!(" {entry}")).collect();
    files.insert("index.json".to_owned(), format!("[\n{}\n]\n", lines.join(",\n")).into_bytes());
    files
}

/// The directory of the documents. If `COUNTERSIGN_WRITE_VECTORS` is set, the first test that needs the directory
/// writes it.
fn root() -> PathBuf {
    static WRITE: Once = Once::new();
    let root = own_vectors().join("golden/reserved");
    WRITE.call_once(|| {
        if std::env::var_os("COUNTERSIGN_WRITE_VECTORS").is_some() {
            let _ = fs::remove_dir_all(&root);
            for (path, bytes) in files() {
                fs::create_dir_all(root.join(&path).parent().unwrap()).unwrap();
                fs::write(root.join(path), bytes).unwrap();
            }
        }
    });
    root
}

/// The entries of the index: the file, its kind and the expected answer.
fn index() -> Vec<Value> {
    serde_json::from_slice(&fs::read(root().join("index.json")).unwrap()).unwrap()
}

/// Reads a document of this kind, of version 1 or reserved.
pub(super) fn read(kind: &str, bytes: &[u8]) -> Result<(), Malformed> {
    fn typed<P: Predicate>(bytes: &[u8]) -> Result<(), Malformed> {
        let statement = Statement::<P>::from_payload(bytes)?;
        assert_eq!(statement.to_payload()?, bytes, "what was read is written back");
        Ok(())
    }
    match kind {
        "authorization" => typed::<Authorization>(bytes),
        "authorization-envelope" => {
            let envelope = serde_json::from_slice(bytes).unwrap();
            let signed = Signed::<Authorization>::from_envelope(&envelope, Base64::Strict).unwrap();
            signed.check_document().map(drop)
        }
        "consumption" => typed::<Consumption>(bytes),
        "receipt" => typed::<Receipt>(bytes),
        "roster" => typed::<Roster>(bytes),
        "step" => match HashedStep::parse(&serde_json::from_slice(bytes).unwrap()) {
            Ok(_) => Ok(()),
            Err(StepError::Malformed(malformed)) => Err(malformed),
            Err(other) => panic!("{other:?}"),
        },
        "bundle" => Bundle::parse(bytes).map(drop),
        kind => Err(of_kind(kind, bytes, 1).expect("a reserved kind")),
    }
}

fn answer(kind: &str, bytes: &[u8]) -> Malformed {
    read(kind, bytes).expect_err("a part that a later version decides")
}

#[test]
fn newly_created_documents_equal_the_stored_reserved_documents() {
    let made = files();
    for (path, bytes) in &made {
        let kept = fs::read(root().join(path)).unwrap_or_default();
        assert!(kept == *bytes, "{path} differs: COUNTERSIGN_WRITE_VECTORS=1 cargo test --test formats reserved::");
    }
    let kept =
        ["valid", "broken"].iter().map(|folder| fs::read_dir(root().join(folder)).unwrap().count()).sum::<usize>();
    assert_eq!(kept + 1, made.len(), "a file that nobody makes");
}

#[test]
fn valid_reserved_parts_are_refused_as_later_features_and_invalid_parts_as_malformed() {
    let mut wrong = Vec::new();
    for entry in index() {
        let [kind, at, expect, file] =
            ["as", "at", "expect", "file"].map(|field| entry[field].as_str().unwrap().to_owned());
        let bytes = fs::read(root().join(&file)).unwrap();
        if expect == "accept" {
            assert_eq!(read(&kind, &bytes), Ok(()), "{file}");
            continue;
        }
        let malformed = answer(&kind, &bytes);
        let word = if malformed.later { "later-feature" } else { "malformed" };
        if (word, malformed.pointer.as_str()) != (expect.as_str(), at.as_str()) {
            wrong.push(format!("{file}: {word} {:?}, expected {expect} {at:?}: {malformed}", malformed.pointer));
        }
        if malformed.later {
            assert!(malformed.to_string().starts_with(&format!("later-feature {at}: ")), "{malformed}");
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(defects().len() >= 40);
}

#[test]
fn schemas_accept_every_valid_reserved_document() {
    for entry in index().iter().filter(|entry| entry["expect"] != "malformed") {
        let (kind, file) = (entry["as"].as_str().unwrap(), entry["file"].as_str().unwrap());
        let kind = kind.strip_prefix("authorization-").unwrap_or(kind);
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("schemas/{kind}.v1.json"));
        let schema: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        let validator = jsonschema::validator_for(&schema).unwrap();
        let document: Value = serde_json::from_slice(&fs::read(root().join(file)).unwrap()).unwrap();
        let errors: Vec<_> =
            validator.iter_errors(&document).map(|error| format!("{}: {error}", error.instance_path())).collect();
        // The schema of a step does not check the schemas of parameters.
        assert!(errors.is_empty(), "{file}: {errors:?}");
    }
}

#[test]
fn verify_names_the_later_feature_of_a_bundle_and_exits_1() {
    for (file, at) in [("bundle-grant", "/grant"), ("bundle-report", "/report")] {
        let out = Command::new(env!("CARGO_BIN_EXE_countersign"))
            .args(["verify", "--json", "--roster"])
            .arg(own_vectors().join("golden/valid/roster.json"))
            .arg(root().join(format!("valid/{file}.json")))
            .output()
            .unwrap();
        assert_eq!(out.status.code(), Some(1), "{out:?}");
        let report: Value = serde_json::from_slice(&out.stdout).unwrap();
        let check = &report["report"]["checks"][0];
        assert_eq!((check["name"].as_str(), check["finding"].as_str()), (Some("bundle"), Some("failed")));
        assert!(check["detail"].as_str().unwrap().starts_with(&format!("later-feature {at}: ")), "{check}");
        assert_eq!(report["verified"], false);
    }
}
