//! The checked-in schemas and OpenAPI are those of the types.
#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::path::Path;

use countersign::cli::schema;
use serde_json::{Value, json};

#[test]
fn schemas_do_not_drift_from_the_types() {
    let drift = schema::drift(Path::new(env!("CARGO_MANIFEST_DIR")));
    assert!(drift.is_empty(), "{}", drift.join("\n"));
}

#[test]
fn a_changed_a_missing_and_a_stray_file_are_drift() {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::create_dir(dir.path().join("schemas")).expect("made");
    for (name, text) in schema::files() {
        std::fs::write(dir.path().join(name), text).expect("written");
    }
    assert_eq!(schema::drift(dir.path()), Vec::<String>::new());
    std::fs::write(dir.path().join("openapi.json"), "{}").expect("written");
    std::fs::remove_file(dir.path().join("schemas/seal.v1.json")).expect("removed");
    std::fs::write(dir.path().join("schemas/old.v1.json"), "{}").expect("written");
    let drift = schema::drift(dir.path()).join("\n");
    for name in ["openapi.json differs", "schemas/seal.v1.json can't be read", "schemas/old.v1.json is of no type"] {
        assert!(drift.contains(name), "{drift}");
    }
}

/// Each schema takes the golden document of its kind, and not that of another kind.
#[test]
fn schemas_take_the_golden_documents() {
    let documents = golden();
    for (kind, document) in &documents {
        let validator = schema(kind);
        let errors: Vec<String> =
            validator.iter_errors(document).map(|error| format!("{}: {error}", error.instance_path())).collect();
        assert!(errors.is_empty(), "{kind}: {}", errors.join("\n"));
        for (other, document) in documents.iter().filter(|(other, _)| other != kind) {
            assert!(!validator.is_valid(document), "the schema of {kind} takes a {other}");
        }
    }
}

/// What the strict readers refuse anywhere in a document, the schemas refuse at the same place.
#[test]
fn schemas_refuse_null_unknown_fields_and_large_integers_everywhere() {
    // Objects that anybody may fill: the step's parameters, the policy as written.
    let free = ["/predicate/params", "/params", "/step", "/policy", "/builtins"];
    for (kind, document) in golden() {
        let validator = schema(kind);
        let mut places = Vec::new();
        pointers(&document, String::new(), &mut places);
        for place in places.iter().filter(|place| {
            !free
                .iter()
                .any(|free| place.strip_prefix(free).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
        }) {
            let mut changed = document.clone();
            let value = changed.pointer_mut(place).expect("it was just found");
            let refused = |changed: &Value, what: &str| {
                assert!(!validator.is_valid(changed), "the schema of {kind} takes {what} at {place}");
            };
            let before = value.clone();
            *value = Value::Null;
            refused(&changed, "null");
            let value = changed.pointer_mut(place).expect("it was just found");
            *value = before;
            if let Some(fields) = value.as_object_mut() {
                fields.insert("unknown".to_owned(), Value::from("x"));
                refused(&changed, "an unknown field");
            } else if value.is_u64() {
                for (other, what) in [(json!(1_u64 << 53), "2^53"), (json!(1.5), "a fraction")] {
                    *changed.pointer_mut(place).expect("it was just found") = other;
                    refused(&changed, what);
                }
            }
        }
    }
}

#[test]
fn every_schema_has_its_own_id_title_and_version() {
    let mut seen = std::collections::BTreeSet::new();
    for (name, text) in schema::files().iter().filter(|(name, _)| name.starts_with("schemas/")) {
        let kind = name.strip_prefix("schemas/").and_then(|name| name.strip_suffix(".v1.json")).expect("a version");
        let value: Value = serde_json::from_str(text).expect("JSON");
        assert_eq!(value["$id"], format!("https://countersign.dev/schemas/{kind}/v1"));
        assert_eq!(value["$schema"], "https://json-schema.org/draft/2020-12/schema");
        assert!(value["title"].as_str().is_some_and(|title| seen.insert(title.to_owned())), "{name}");
        assert!(value["description"].is_string() || kind == "registry" || kind == "tokens", "{name}");
    }
}

/// The golden documents by kind, with what they have not: a denial's and a refusal's own forms.
fn golden() -> Vec<(&'static str, Value)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance/golden/valid");
    let read = |name: &str| -> Value {
        serde_json::from_slice(&std::fs::read(directory.join(name)).expect("read")).expect("JSON")
    };
    let payload = |kind: &str| read(&format!("payload/{kind}.json"));
    let bundle = read("bundle.json");
    vec![
        ("receipt", payload("receipt")),
        ("seal", payload("seal")),
        ("consumption", payload("consumption")),
        ("roster", payload("roster")),
        ("authorization", payload("authorization")),
        ("denial", payload("denial")),
        ("refusal", payload("refusal")),
        ("step", bundle["step"].clone()),
        ("envelope", bundle["receipt"].clone()),
        ("bundle", bundle),
    ]
}

fn schema(kind: &str) -> jsonschema::Validator {
    let name = format!("schemas/{kind}.v1.json");
    let files = schema::files();
    let (_, text) = files.iter().find(|(file, _)| *file == name).expect("a schema");
    jsonschema::validator_for(&serde_json::from_str(text).expect("JSON")).expect("a JSON Schema")
}

/// Every place within `value`, the whole left out.
fn pointers(value: &Value, at: String, found: &mut Vec<String>) {
    let mut nested = |step: &str, child: &Value| {
        let pointer = format!("{at}/{}", step.replace('~', "~0").replace('/', "~1"));
        found.push(pointer.clone());
        pointers(child, pointer, found);
    };
    match value {
        Value::Object(fields) => fields.iter().for_each(|(name, child)| nested(name, child)),
        Value::Array(items) => items.iter().enumerate().for_each(|(at, child)| nested(&at.to_string(), child)),
        _ => {}
    }
}
