//! The list of programs in authorizations, receipts and steps: valid documents are read, and invalid documents are
//! malformed.
//!
//! `COUNTERSIGN_WRITE_VECTORS=1 cargo test --test formats programs::` writes `tests/conformance/golden/programs` from
//! the tables below.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Once;

use countersign::crypto::canonical::to_canonical;
use serde_json::{Value, json};

use crate::golden::own_vectors;
use crate::reserved::{changed, put, read, step, with};

fn programs() -> Value {
    json!({"mode": "listed", "list": [{"name": "jq", "path": "/usr/bin/jq"}, {"name": "{work}/**", "path": "{work}/**"}]})
}

/// A list of 60 programs with this number of bytes of canonical JSON.
fn programs_of(bytes: usize) -> Value {
    let list = |more: usize| {
        let entry = |at: usize| {
            let length = 20 + more / 60 + usize::from(at < more % 60);
            json!({"name": format!("p{at:03}"), "path": format!("/usr/bin/{}", "x".repeat(length))})
        };
        json!({"mode": "listed", "list": (0..60).map(entry).collect::<Vec<_>>()})
    };
    let made = list(bytes - to_canonical(&list(0)).len());
    assert_eq!(to_canonical(&made).len(), bytes);
    made
}

fn many(count: usize) -> Value {
    let entry = |at: usize| json!({"name": format!("{at:03}"), "path": "/x"});
    json!({"mode": "listed", "list": (0..count).map(entry).collect::<Vec<_>>()})
}

fn facts() -> Value {
    json!({
        "mode": "listed", "listed": 2, "refused": {"paths": [{"path": "/usr/bin/nc", "count": 1}], "more": 0},
        "started": {"paths": [{"path": "/usr/bin/bash", "count": 1}, {"path": "/usr/bin/jq", "count": 7}], "more": 2},
    })
}

fn paths(count: usize) -> Value {
    let entry = |at: usize| json!({"path": format!("/{at:02}"), "count": 1});
    json!({"paths": (0..count).map(entry).collect::<Vec<_>>(), "more": 0})
}

/// Three paths, with together more than 2,048 bytes.
fn long_paths() -> Value {
    let entry =
        |name: &str| json!({"path": format!("/{name}{}", format!("/{}", "x".repeat(200)).repeat(4)), "count": 1});
    let paths = ["a", "b", "c"].map(entry);
    json!({"paths": paths, "more": 0})
}

fn authorization(list: Value) -> Value {
    changed("authorization", |document| {
        document["predicate"]["sandbox"]["programs"] = list.clone();
        document["predicate"]["sandbox"]["require"].as_array_mut().unwrap().insert(5, json!("programs"));
    })
}

fn receipt(facts: Value) -> Value {
    with("receipt", "programs", &facts)
}

/// Valid documents: the name, the kind, the document.
fn valid() -> Vec<(&'static str, &'static str, Value)> {
    vec![
        ("authorization-programs", "authorization", authorization(programs())),
        ("authorization-programs-4096-bytes", "authorization", authorization(programs_of(4096))),
        ("authorization-programs-128", "authorization", authorization(many(128))),
        (
            "authorization-program-with-two-paths",
            "authorization",
            authorization(json!({"mode": "listed", "list": [
                {"name": "npm", "path": "/usr/bin/env"}, {"name": "npm", "path": "/usr/bin/npm"},
            ]})),
        ),
        ("receipt-programs", "receipt", receipt(facts())),
        ("receipt-programs-any", "receipt", receipt(json!({"mode": "any", "listed": 0}))),
        ("receipt-programs-not-recorded", "receipt", receipt(json!({"mode": "listed", "listed": 128}))),
        (
            "receipt-programs-all-paths",
            "receipt",
            receipt(json!({"mode": "listed", "listed": 1, "refused": paths(8), "started": paths(16)})),
        ),
        (
            "receipt-layer-programs",
            "receipt",
            changed("receipt", |document| {
                document["predicate"]["sandbox"]["layers"].as_array_mut().unwrap().insert(5, json!("programs"));
            }),
        ),
        (
            "receipt-layer-programs-missing",
            "receipt",
            changed("receipt", |document| document["predicate"]["sandbox"]["missing"] = json!(["programs"])),
        ),
        ("step-programs", "step", step(|step| step["programs"] = json!(["jq", "{work}/**"]))),
    ]
}

/// Defects: the name, the changed valid document, the changed place, the new value, and the pointer of the defect.
fn defects() -> Vec<(&'static str, &'static str, &'static str, Value, &'static str)> {
    let (signed, stated) = ("authorization-programs", "receipt-programs");
    let list = "/predicate/sandbox/programs/list";
    let jq = json!({"name": "jq", "path": "/usr/bin/jq"});
    vec![
        (
            "authorization-programs-any",
            signed,
            "/predicate/sandbox/programs/mode",
            json!("any"),
            "/predicate/sandbox/programs/mode",
        ),
        ("authorization-programs-empty", signed, list, json!([]), list),
        (
            "authorization-program-of-a-relative-path",
            signed,
            "/predicate/sandbox/programs/list/0/path",
            json!("bin/jq"),
            "/predicate/sandbox/programs/list/0/path",
        ),
        (
            "authorization-program-half-of-the-work-directory",
            signed,
            "/predicate/sandbox/programs/list/1/name",
            json!("work"),
            "/predicate/sandbox/programs/list/1",
        ),
        (
            "authorization-layer-out-of-order",
            signed,
            "/predicate/sandbox/require",
            json!(["programs", "network"]),
            "/predicate/sandbox/require/1",
        ),
        ("authorization-programs-129", signed, "/predicate/sandbox/programs", many(129), list),
        (
            "authorization-programs-4097-bytes",
            signed,
            "/predicate/sandbox/programs",
            programs_of(4097),
            "/predicate/sandbox/programs",
        ),
        (
            "authorization-programs-null",
            signed,
            "/predicate/sandbox/programs",
            Value::Null,
            "/predicate/sandbox/programs",
        ),
        ("authorization-program-twice", signed, list, json!([jq, jq]), "/predicate/sandbox/programs/list/1"),
        (
            "authorization-program-without-a-name",
            signed,
            "/predicate/sandbox/programs/list/0/name",
            json!(""),
            "/predicate/sandbox/programs/list/0/name",
        ),
        (
            "authorization-program-with-a-digest",
            signed,
            "/predicate/sandbox/programs/list/0/sha256",
            json!("00"),
            "/predicate/sandbox/programs/list/0/sha256",
        ),
        (
            "receipt-programs-listed-by-none",
            stated,
            "/predicate/programs/listed",
            json!(0),
            "/predicate/programs/listed",
        ),
        (
            "receipt-programs-path-twice",
            stated,
            "/predicate/programs/started/paths/1/path",
            json!("/usr/bin/bash"),
            "/predicate/programs/started/paths/1",
        ),
        (
            "receipt-programs-never-started",
            stated,
            "/predicate/programs/started/paths/0/count",
            json!(0),
            "/predicate/programs/started/paths/0/count",
        ),
        ("receipt-programs-129-listed", stated, "/predicate/programs/listed", json!(129), "/predicate/programs/listed"),
        (
            "receipt-programs-any-with-a-count",
            stated,
            "/predicate/programs",
            json!({"mode": "any", "listed": 2}),
            "/predicate/programs/listed",
        ),
        (
            "receipt-programs-nine-refused",
            stated,
            "/predicate/programs/refused",
            paths(9),
            "/predicate/programs/refused/paths",
        ),
        (
            "receipt-programs-seventeen-started",
            stated,
            "/predicate/programs/started",
            paths(17),
            "/predicate/programs/started/paths",
        ),
        (
            "receipt-programs-over-2048-bytes",
            stated,
            "/predicate/programs/started",
            long_paths(),
            "/predicate/programs",
        ),
        ("step-programs-unsorted", "step-programs", "/programs", json!(["jq", "bash"]), "/step/programs/1"),
        ("step-programs-none", "step-programs", "/programs", json!([]), "/step/programs"),
        ("step-program-that-is-a-directory", "step-programs", "/programs", json!([".."]), "/step/programs/0"),
        (
            "step-programs-with-the-sandbox-off",
            "step-programs",
            "/sandbox/off_reason",
            json!("kernel tests"),
            "/step/programs",
        ),
    ]
}

fn files() -> BTreeMap<String, Vec<u8>> {
    let (mut files, mut index) = (BTreeMap::new(), Vec::new());
    let mut add = |folder: &str, name: &str, kind: &str, document: &Value, expect: &str, at: &str| {
        let file = format!("{folder}/{name}.json");
        index.push(json!({"as": kind, "at": at, "expect": expect, "file": file}));
        assert!(files.insert(file, to_canonical(document)).is_none(), "{name} twice");
    };
    let valid = valid();
    for (name, kind, document) in &valid {
        add("valid", name, kind, document, "accept", "");
    }
    for (name, of, at, value, answer) in defects() {
        let (_, kind, document) = valid.iter().find(|(name, ..)| *name == of).expect(of);
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
    let root = own_vectors().join("golden/programs");
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

#[test]
fn newly_created_documents_equal_the_stored_documents_with_programs() {
    let made = files();
    for (path, bytes) in &made {
        let kept = fs::read(root().join(path)).unwrap_or_default();
        assert!(kept == *bytes, "{path} differs: COUNTERSIGN_WRITE_VECTORS=1 cargo test --test formats programs::");
    }
    let kept =
        ["valid", "broken"].iter().map(|folder| fs::read_dir(root().join(folder)).unwrap().count()).sum::<usize>();
    assert_eq!(kept + 1, made.len(), "a file that nobody makes");
}

#[test]
fn a_valid_list_of_programs_is_read_and_an_invalid_list_is_malformed_at_its_place() {
    let mut wrong = Vec::new();
    for entry in index() {
        let [kind, at, expect, file] =
            ["as", "at", "expect", "file"].map(|field| entry[field].as_str().unwrap().to_owned());
        let (word, pointer) = match read(&kind, &fs::read(root().join(&file)).unwrap()) {
            Ok(()) => ("accept", String::new()),
            Err(error) if error.later => ("later-feature", error.pointer),
            Err(error) => ("malformed", error.pointer),
        };
        if (word, &pointer) != (expect.as_str(), &at) {
            wrong.push(format!("{file}: {word} {pointer:?}, expected {expect} {at:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn schemas_accept_every_valid_document_with_programs() {
    for entry in index().iter().filter(|entry| entry["expect"] == "accept") {
        let (kind, file) = (entry["as"].as_str().unwrap(), entry["file"].as_str().unwrap());
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("schemas/{kind}.v1.json"));
        let schema: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        let validator = jsonschema::validator_for(&schema).unwrap();
        let document: Value = serde_json::from_slice(&fs::read(root().join(file)).unwrap()).unwrap();
        let errors: Vec<_> =
            validator.iter_errors(&document).map(|error| format!("{}: {error}", error.instance_path())).collect();
        assert!(errors.is_empty(), "{file}: {errors:?}");
    }
}
