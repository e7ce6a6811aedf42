//! Tests of the JSON Schemas: the stored schemas are current, valid documents match them, and documents that a type
//! rejects do not match. A validator in Python decides, which shares no code with this crate.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::process::Command;

use countersign::schema;
use documents::{
    Authorization, Bundle, Consumption, Denial, Envelope, Receipt, RefusalStatement, Roster, Seal,
    Statement, StatementKind,
};
use reading::Policy;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::golden;
use crate::support::host::not_run;

/// A document, whether the document fits the schema of this name, and a text that names the document.
pub(crate) struct Case {
    pub(crate) schema: String,
    pub(crate) document: Value,
    pub(crate) fits: bool,
    pub(crate) what: String,
}

/// Compares the answers of `tests/tools/schemas.py` with what the cases expect.
pub(crate) fn check(test: &str, cases: &[Case]) {
    let Some(python) = std::env::var_os("COUNTERSIGN_PYTHON") else {
        return not_run(
            test,
            "COUNTERSIGN_PYTHON names no Python that has jsonschema; scripts/test sets it",
        );
    };
    let folder = tempfile::tempdir().expect("a directory");
    let path = folder.path().join("cases.jsonl");
    let mut file = BufWriter::new(File::create(&path).expect("a file"));
    for case in cases {
        writeln!(file, "{}", json!([case.schema, case.document])).expect("written");
    }
    file.into_inner().expect("written");
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new(python)
        .args([root.join("tests/tools/schemas.py"), root.join("schemas")])
        .stdin(File::open(&path).expect("the file"))
        .output()
        .expect("COUNTERSIGN_PYTHON runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let answers: Vec<Vec<String>> = output
        .stdout
        .split_inclusive(|byte| *byte == b'\n')
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect();
    assert_eq!(answers.len(), cases.len(), "an answer for each document");
    let wrong: Vec<String> = cases
        .iter()
        .zip(&answers)
        .filter(|(case, errors)| case.fits != errors.is_empty())
        .map(|(case, errors)| match case.fits {
            true => format!("{}: {}: {errors:?}", case.schema, case.what),
            false => format!("{}: {}: fits the schema", case.schema, case.what),
        })
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

fn fits(schema: &str, document: Value, what: impl Into<String>) -> Case {
    Case {
        schema: schema.to_owned(),
        document,
        fits: true,
        what: what.into(),
    }
}

fn misfits(schema: &str, document: Value, what: impl Into<String>) -> Case {
    Case {
        fits: false,
        ..fits(schema, document, what)
    }
}

fn generated() -> BTreeMap<String, String> {
    schema::files().into_iter().collect()
}

#[test]
fn schemas_and_openapi_match_the_rust_types() {
    let drifted = schema::drift(Path::new(env!("CARGO_MANIFEST_DIR")));
    assert!(drifted.is_empty(), "{drifted:#?}");
}

#[test]
fn every_schema_file_is_a_valid_json_schema_and_has_the_name_of_its_file() {
    let mut ids = BTreeSet::new();
    let mut cases = Vec::new();
    for (path, text) in generated() {
        let Some(name) = path
            .strip_prefix("schemas/")
            .and_then(|file| file.strip_suffix(".v1.json"))
        else {
            continue;
        };
        let value: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(
            value["$id"],
            format!("https://countersign.dev/schemas/{name}/v1")
        );
        assert_eq!(
            value["$schema"],
            "https://json-schema.org/draft/2020-12/schema"
        );
        assert!(ids.insert(value["$id"].to_string()), "{path}");
        // Without a document, the validator checks only the schema.
        cases.push(fits(name, Value::Null, "the schema itself"));
    }
    assert!(ids.len() >= 12, "{ids:?}");
    check(
        "every_schema_file_is_a_valid_json_schema_and_has_the_name_of_its_file",
        &cases,
    );
}

#[test]
fn every_golden_document_fits_its_schema() {
    let mut cases = Vec::new();
    for kind in golden::KINDS {
        cases.push(fits(kind, golden::payload(kind), kind));
        cases.push(fits(
            "envelope",
            golden::value(&format!("envelope/{kind}.json")),
            kind,
        ));
    }
    for name in ["bundle", "bundle-sshsig", "bundle-sk", "bundle-roster-2"] {
        cases.push(fits("bundle", golden::value(&format!("{name}.json")), name));
    }
    cases.push(fits(
        "step",
        golden::value("bundle.json")["step"].clone(),
        "step",
    ));
    let seal = golden::payload("seal");
    for (name, field) in [("registry", "registry"), ("tokens", "tokens")] {
        let digest = seal["predicate"][field]
            .as_str()
            .expect("a digest")
            .strip_prefix("sha256:")
            .expect("a digest");
        cases.push(fits(
            name,
            golden::value(&format!("log/blob/sha256/{digest}")),
            name,
        ));
    }
    check("every_golden_document_fits_its_schema", &cases);
}

/// A type and its schema must both refuse missing, unknown and wrongly typed members.
fn refused_alike<T: DeserializeOwned>(name: &str, document: &Value) -> Vec<Case> {
    let cases: Vec<Case> = golden::mutants(document)
        .into_iter()
        .filter_map(|mutant| {
            let error = serde_json::from_value::<T>(mutant.value.clone()).err()?;
            let what = format!(
                "{}: {}, which the type refuses ({error})",
                mutant.pointer, mutant.what
            );
            Some(misfits(name, mutant.value, what))
        })
        .collect();
    assert!(cases.len() > 10, "{name}: {}", cases.len());
    cases
}

#[test]
fn a_schema_refuses_every_document_that_its_type_refuses() {
    let mut long_name = golden::payload("roster");
    let boundaries = &mut long_name["predicate"]["boundaries"];
    boundaries["b".repeat(41)] = boundaries["prod-eu"].clone();
    serde_json::from_value::<Statement<Roster>>(long_name.clone()).unwrap_err();
    let cases = [
        vec![misfits(
            "roster",
            long_name,
            "a boundary's name of 41 bytes",
        )],
        refused_alike::<Statement<Authorization>>(
            "authorization",
            &golden::payload("authorization"),
        ),
        refused_alike::<Statement<Consumption>>("consumption", &golden::payload("consumption")),
        refused_alike::<Statement<Denial>>("denial", &golden::payload("denial")),
        refused_alike::<Statement<Receipt>>("receipt", &golden::payload("receipt")),
        refused_alike::<Statement<RefusalStatement>>("refusal", &golden::payload("refusal")),
        refused_alike::<Statement<Roster>>("roster", &golden::payload("roster")),
        refused_alike::<Statement<Seal>>("seal", &golden::payload("seal")),
        refused_alike::<Envelope>("envelope", &golden::value("envelope/authorization.json")),
        refused_alike::<Bundle>("bundle", &golden::value("bundle.json")),
    ];
    check(
        "a_schema_refuses_every_document_that_its_type_refuses",
        &cases.into_iter().flatten().collect::<Vec<_>>(),
    );
}

#[test]
fn a_document_of_one_kind_does_not_fit_the_schema_of_another() {
    let mut cases = Vec::new();
    for kind in golden::KINDS {
        for other in golden::KINDS.into_iter().filter(|other| *other != kind) {
            cases.push(misfits(kind, golden::payload(other), other));
        }
    }
    check(
        "a_document_of_one_kind_does_not_fit_the_schema_of_another",
        &cases,
    );
}

#[test]
fn every_document_that_the_reader_accepts_fits_its_schema() {
    let mut cases = Vec::new();
    for kind in golden::KINDS {
        for mutant in golden::mutants(&golden::payload(kind)) {
            let mut value = mutant.value.clone();
            golden::repair_twins(kind, &mut value);
            let payload = documents::to_canonical(&value);
            let taken = (StatementKind::of(kind).expect("a kind").read)(&payload);
            if let Ok(again) = &taken {
                assert_eq!(
                    *again, payload,
                    "the reader adds, drops and changes nothing: {kind}{}",
                    mutant.pointer
                );
            }
            if taken.is_ok() {
                cases.push(fits(
                    kind,
                    value,
                    format!("{}: {}", mutant.pointer, mutant.what),
                ));
            }
        }
    }
    assert!(cases.len() > 100, "{}", cases.len());
    check(
        "every_document_that_the_reader_accepts_fits_its_schema",
        &cases,
    );
}

#[test]
fn the_schema_of_a_policy_and_the_reader_of_a_sealed_policy_agree() {
    let mut cases = Vec::new();
    for (text, good) in [
        (
            r#"{"version":1,"default":{"approvals":{"from":["ops"]}}}"#,
            true,
        ),
        (
            r#"{"version":1,"default":{"approvals":{"required":1}}}"#,
            false,
        ),
        (
            r#"{"version":1,"default":{"approvals":{"from":[]}}}"#,
            false,
        ),
        (
            r#"{"version":1,"default":{"approvals":{"from":["ops"],"required":0}}}"#,
            false,
        ),
        (r#"{"version":2}"#, false),
        (r#"{"version":0}"#, false),
        (r#"{"version":3}"#, false),
        (
            r#"{"version":1,"default":{"standing":{"max_uses":100000,"max_days":90,"session":"fresh"}}}"#,
            true,
        ),
        (
            r#"{"version":1,"default":{"standing":{"max_uses":1,"max_days":91}}}"#,
            false,
        ),
        (
            r#"{"version":1,"default":{"standing":{"max_days":1}}}"#,
            false,
        ),
        (
            r#"{"version":1,"settle":{"from":["ops"]},"freeze":{"runs":"finish"}}"#,
            true,
        ),
        (
            r#"{"version":1,"settle":{"from":["ops"],"each":true}}"#,
            false,
        ),
        (r#"{"version":1,"freeze":{"runs":"cancel"}}"#, false),
        (
            r#"{"version":1,"default":{"sandbox":{"level":"strict"}}}"#,
            false,
        ),
        (
            r#"{"version":1,"default":{"sandbox":{"proc":"full","limits":{"processes":1},"deny":["**/x"]}}}"#,
            true,
        ),
        (
            r#"{"version":1,"default":{"sandbox":{"limits":{"processes":0}}}}"#,
            false,
        ),
        (
            r#"{"version":1,"default":{"sandbox":{"read":["/srv/a"]}}}"#,
            false,
        ),
        (
            r#"{"version":1,"overrides":[{"runbook":"a","sandbox":{"read":["/srv/a"]}}]}"#,
            true,
        ),
        (
            r#"{"version":1,"overrides":[{"runbook":"a","sandbox":{"read":[]}}]}"#,
            false,
        ),
        (
            r#"{"version":1,"overrides":[{"runbook":"a","sandbox":{"read":["/srv/a","/srv/a"]}}]}"#,
            false,
        ),
        (
            r#"{"version":1,"overrides":[{"runbook":"a","sandbox":{"network":{"allow":["a.example:443"]}}}]}"#,
            true,
        ),
        (
            r#"{"version":1,"overrides":[{"runbook":"a","sandbox":{"network":{"allow":[]}}}]}"#,
            false,
        ),
        (
            r#"{"version":1,"overrides":[{"runbook":"a","sandbox":{"network":{"allow":["a:1",{"host":"b:1","private":true,"localhost":false}]}}}]}"#,
            true,
        ),
        (
            r#"{"version":1,"overrides":[{"runbook":"a","sandbox":{"network":{"allow":[{"host":"10.0.0.1:1"}]}}}]}"#,
            true,
        ),
        (
            r#"{"version":1,"overrides":[{"runbook":"a","sandbox":{"network":{"allow":[{"private":true}]}}}]}"#,
            false,
        ),
        (
            r#"{"version":1,"overrides":[{"runbook":"a","sandbox":{"network":{"allow":[{"host":"a:1","private":"yes"}]}}}]}"#,
            false,
        ),
        (
            r#"{"version":1,"overrides":[{"runbook":"a","sandbox":{"network":{"allow":[{"host":"a:1","public":true}]}}}]}"#,
            false,
        ),
        (r#"{"version":1,"overrides":[{"runbook":"a"}]}"#, false),
    ] {
        let value: Value = serde_json::from_str(text).expect("JSON");
        assert_eq!(Policy::from_sealed(&value).is_ok(), good, "{text}");
        cases.push(Case {
            fits: good,
            ..fits("policy", value, text)
        });
    }
    check(
        "the_schema_of_a_policy_and_the_reader_of_a_sealed_policy_agree",
        &cases,
    );
}

#[test]
fn the_schema_of_a_step_leaves_an_invalid_quorum_rule_to_the_check_quorum() {
    let mut step = golden::value("bundle.json")["step"].clone();
    step["approvals"]["required"] = 0.into();
    let without_quorum = fits("step", step.clone(), "required 0");
    step["sandbox"]["network"] = json!({"allow": []});
    let without_host = misfits("step", step, "a network that allows no host");
    check(
        "the_schema_of_a_step_leaves_an_invalid_quorum_rule_to_the_check_quorum",
        &[without_quorum, without_host],
    );
}
