//! The checked-in schemas and OpenAPI are those of the types.
#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::path::Path;

use countersign::cli::schema;

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
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance/golden/valid");
    let bundle: serde_json::Value =
        serde_json::from_slice(&std::fs::read(golden.join("bundle.json")).expect("read")).expect("JSON");
    let payload = |envelope: &serde_json::Value| -> serde_json::Value {
        use base64::Engine as _;
        let text = envelope["payload"].as_str().expect("a payload");
        let bytes = base64::engine::general_purpose::STANDARD.decode(text).expect("base64");
        serde_json::from_slice(&bytes).expect("JSON")
    };
    let schema = |kind: &str| {
        let name = format!("schemas/{kind}.v1.json");
        let files = schema::files();
        let (_, text) = files.iter().find(|(file, _)| *file == name).expect("a schema");
        jsonschema::validator_for(&serde_json::from_str(text).expect("JSON")).expect("a JSON Schema")
    };
    let receipt = payload(&bundle["receipt"]);
    let documents = [
        ("receipt", receipt.clone()),
        ("seal", payload(&bundle["seal"])),
        ("consumption", payload(&bundle["consumption"])),
        ("roster", payload(&bundle["roster"][0])),
        ("authorization", payload(&receipt["predicate"]["authorization"])),
        ("step", bundle["step"].clone()),
        ("bundle", bundle.clone()),
        ("envelope", bundle["receipt"].clone()),
    ];
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
