//! Tests of the JSON Schemas: the stored schemas are current, valid documents match them, and documents that a type
//! rejects do not match.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use countersign::cli::schema;
use documents::record::authorization::Authorization;
use documents::record::bundle::Bundle;
use documents::record::consumption::Consumption;
use documents::record::denial::Denial;
use documents::record::document::Statement;
use documents::record::envelope::Envelope;
use documents::record::kinds::StatementKind;
use documents::record::receipt::Receipt;
use documents::record::refusal_statement::RefusalStatement;
use documents::record::roster::Roster;
use documents::record::seal::Seal;
use jsonschema::Validator;
use judgement::policy::file::Policy;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::golden;

fn generated() -> BTreeMap<String, String> {
    schema::files().into_iter().collect()
}

fn validator(name: &str) -> Validator {
    let files = generated();
    let text = files.get(&format!("schemas/{name}.v1.json")).unwrap_or_else(|| panic!("no schema {name}"));
    let value: Value = serde_json::from_str(text).expect("JSON");
    jsonschema::draft202012::meta::validate(&value).unwrap_or_else(|error| panic!("{name}: {error}"));
    jsonschema::draft202012::new(&value).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn fits(validator: &Validator, value: &Value, what: &str) {
    let errors: Vec<String> =
        validator.iter_errors(value).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert!(errors.is_empty(), "{what}: {errors:#?}");
}

#[test]
fn schemas_and_openapi_match_the_rust_types() {
    let drifted = schema::drift(Path::new(env!("CARGO_MANIFEST_DIR")));
    assert!(drifted.is_empty(), "{drifted:#?}");
}

#[test]
fn every_schema_file_is_a_valid_json_schema_and_has_the_name_of_its_file() {
    let mut ids = BTreeSet::new();
    for (path, text) in generated() {
        let Some(name) = path.strip_prefix("schemas/").and_then(|file| file.strip_suffix(".v1.json")) else { continue };
        let value: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(value["$id"], format!("https://countersign.dev/schemas/{name}/v1"));
        assert_eq!(value["$schema"], "https://json-schema.org/draft/2020-12/schema");
        assert!(ids.insert(value["$id"].to_string()), "{path}");
        let _valid = validator(name);
    }
    assert!(ids.len() >= 12, "{ids:?}");
}

#[test]
fn every_golden_document_fits_its_schema() {
    for kind in golden::KINDS {
        fits(&validator(kind), &golden::payload(kind), kind);
        fits(&validator("envelope"), &golden::value(&format!("envelope/{kind}.json")), kind);
    }
    let bundle = validator("bundle");
    for name in ["bundle", "bundle-sshsig", "bundle-sk", "bundle-roster-2"] {
        fits(&bundle, &golden::value(&format!("{name}.json")), name);
    }
    fits(&validator("step"), &golden::value("bundle.json")["step"], "step");
    let seal = golden::payload("seal");
    for (name, field) in [("registry", "registry"), ("tokens", "tokens")] {
        let digest = seal["predicate"][field].as_str().expect("a digest").strip_prefix("sha256:").expect("a digest");
        fits(&validator(name), &golden::value(&format!("log/blob/sha256/{digest}")), name);
    }
}

/// A type and its schema must both refuse missing, unknown and wrongly typed members.
fn refused_alike<T: DeserializeOwned>(name: &str, document: &Value) {
    let validator = validator(name);
    let (mut alike, mut stricter) = (0, 0);
    for mutant in golden::mutants(document) {
        let read = serde_json::from_value::<T>(mutant.value.clone());
        if read.is_ok() {
            stricter += usize::from(!validator.is_valid(&mutant.value));
            continue;
        }
        assert!(
            !validator.is_valid(&mutant.value),
            "the type refuses {}: {} ({}), its schema {name} does not",
            mutant.pointer,
            mutant.what,
            read.err().map(|error| error.to_string()).unwrap_or_default()
        );
        alike += 1;
    }
    assert!(alike > 10, "{name}: {alike}, {stricter} by the schema alone");
}

#[test]
fn a_schema_refuses_every_document_that_its_type_refuses() {
    refused_alike::<Statement<Authorization>>("authorization", &golden::payload("authorization"));
    refused_alike::<Statement<Consumption>>("consumption", &golden::payload("consumption"));
    refused_alike::<Statement<Denial>>("denial", &golden::payload("denial"));
    refused_alike::<Statement<Receipt>>("receipt", &golden::payload("receipt"));
    refused_alike::<Statement<RefusalStatement>>("refusal", &golden::payload("refusal"));
    refused_alike::<Statement<Roster>>("roster", &golden::payload("roster"));
    refused_alike::<Statement<Seal>>("seal", &golden::payload("seal"));
    refused_alike::<Envelope>("envelope", &golden::value("envelope/authorization.json"));
    refused_alike::<Bundle>("bundle", &golden::value("bundle.json"));
}

#[test]
fn a_document_of_one_kind_does_not_fit_the_schema_of_another() {
    for kind in golden::KINDS {
        let validator = validator(kind);
        for other in golden::KINDS {
            assert_eq!(validator.is_valid(&golden::payload(other)), kind == other, "{other} under {kind}");
        }
    }
}

#[test]
fn every_document_that_the_reader_accepts_fits_its_schema() {
    for kind in golden::KINDS {
        let validator = validator(kind);
        for mutant in golden::mutants(&golden::payload(kind)) {
            let mut value = mutant.value.clone();
            golden::repair_twins(kind, &mut value);
            let payload = documents::crypto::canonical::to_canonical(&value);
            let taken = (StatementKind::of(kind).expect("a kind").read)(&payload).is_ok();
            // An embedded envelope has its own reader. The reader of a receipt checks only the fields of the envelope
            // and their types.
            let embedded = kind == "receipt" && mutant.pointer.starts_with("/predicate/authorization/");
            if taken && !embedded {
                fits(&validator, &value, &format!("{kind}{}: {}", mutant.pointer, mutant.what));
            }
        }
    }
}

#[test]
fn the_schema_of_a_policy_and_the_reader_of_a_sealed_policy_agree() {
    let schema = validator("policy");
    for (text, good) in [
        (r#"{"version":1,"default":{"approvals":{"from":["ops"]}}}"#, true),
        (r#"{"version":1,"default":{"approvals":{"required":1}}}"#, false),
        (r#"{"version":1,"default":{"approvals":{"from":[]}}}"#, false),
        (r#"{"version":1,"default":{"approvals":{"from":["ops"],"required":0}}}"#, false),
        (r#"{"version":2}"#, true),
        (r#"{"version":0}"#, false),
        (r#"{"version":3}"#, false),
        (r#"{"version":1,"default":{"sandbox":{"level":"strict","require":[],"off_reason":1}}}"#, true),
        (r#"{"version":1,"default":{"sandbox":{"proc":"full","limits":{"processes":1},"deny":["**/x"]}}}"#, true),
        (r#"{"version":1,"default":{"sandbox":{"limits":{"processes":0}}}}"#, false),
        (r#"{"version":1,"default":{"sandbox":{"read":["/srv/a"]}}}"#, false),
        (r#"{"version":1,"overrides":[{"runbook":"a","sandbox":{"read":["/srv/a"]}}]}"#, true),
        (r#"{"version":1,"overrides":[{"runbook":"a","sandbox":{"read":[]}}]}"#, false),
        (r#"{"version":1,"overrides":[{"runbook":"a","sandbox":{"read":["/srv/a","/srv/a"]}}]}"#, false),
        (r#"{"version":1,"overrides":[{"runbook":"a","sandbox":{"network":{"allow":["a.example:443"]}}}]}"#, true),
        (r#"{"version":1,"overrides":[{"runbook":"a","sandbox":{"network":{"allow":[]}}}]}"#, false),
        (r#"{"version":1,"overrides":[{"runbook":"a"}]}"#, false),
    ] {
        let value: Value = serde_json::from_str(text).expect("JSON");
        assert_eq!((schema.is_valid(&value), Policy::from_sealed(&value).is_ok()), (good, good), "{text}");
    }
}

#[test]
fn the_schema_of_a_step_leaves_an_invalid_quorum_rule_to_the_check_quorum() {
    let schema = validator("step");
    let mut step = golden::value("bundle.json")["step"].clone();
    step["approvals"]["required"] = 0.into();
    fits(&schema, &step, "required 0");
    step["sandbox"]["network"] = serde_json::json!({"allow": []});
    assert!(!schema.is_valid(&step), "a network that allows no host");
}
