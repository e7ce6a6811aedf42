//! Golden documents with each part of the formats are accepted, and a defect or an unknown part gives `malformed`.

use std::fs;

use documents::{
    Authorization, Base64, Bundle, Consumption, Grant, Malformed, Predicate, ProgramList, Receipt,
    ReviewStatement, Revocation, Roster, Signed, Statement,
};
use serde_json::Value;
use verdict::{HashedStep, StepError};

use crate::golden::own_vectors;
use crate::schemas::{Case, check};

/// A document of an index: its path below `golden`, its kind, the expected answer and the pointer of the answer.
struct Entry {
    file: String,
    kind: String,
    expect: String,
    at: String,
}

fn index() -> Vec<Entry> {
    let mut found = Vec::new();
    for folder in ["documents", "programs"] {
        let bytes = fs::read(own_vectors().join(format!("golden/{folder}/index.json"))).unwrap();
        for entry in serde_json::from_slice::<Vec<Value>>(&bytes).unwrap() {
            let text = |field: &str| entry[field].as_str().unwrap().to_owned();
            let file = format!("{folder}/{}", text("file"));
            found.push(Entry {
                file,
                kind: text("as"),
                expect: text("expect"),
                at: text("at"),
            });
        }
    }
    found
}

fn document(file: &str) -> Vec<u8> {
    fs::read(own_vectors().join("golden").join(file)).unwrap()
}

/// Reads a document of this kind.
fn read(kind: &str, bytes: &[u8]) -> Result<(), Malformed> {
    fn typed<P: Predicate>(bytes: &[u8]) -> Result<(), Malformed> {
        let statement = Statement::<P>::from_payload(bytes)?;
        assert_eq!(
            statement.to_payload()?,
            bytes,
            "what was read is written back"
        );
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
        "grant" => typed::<Grant>(bytes),
        "receipt" => typed::<Receipt>(bytes),
        "review" => typed::<ReviewStatement>(bytes),
        "revocation" => typed::<Revocation>(bytes),
        "roster" => typed::<Roster>(bytes),
        "step" => match HashedStep::parse(&serde_json::from_slice(bytes).unwrap()) {
            Ok(_) => Ok(()),
            Err(StepError::Malformed(malformed)) => Err(malformed),
            Err(other) => panic!("{other:?}"),
        },
        "bundle" => Bundle::parse(bytes).map(drop),
        "program-list" => ProgramList::parse(bytes).map(drop),
        kind => panic!("no kind: {kind}"),
    }
}

#[test]
fn each_document_of_an_index_is_read_or_refused_at_its_place() {
    let entries = index();
    assert!(entries.len() >= 140, "{}", entries.len());
    let mut wrong = Vec::new();
    for Entry {
        file,
        kind,
        expect,
        at,
    } in entries
    {
        let (word, pointer, text) = match read(&kind, &document(&file)) {
            Ok(()) => ("accept", String::new(), String::new()),
            Err(error) => ("malformed", error.pointer.clone(), error.to_string()),
        };
        if (word, &pointer) != (expect.as_str(), &at) {
            wrong.push(format!(
                "{file}: {word} {pointer:?}, expected {expect} {at:?}: {text}"
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_bundle_whose_receipt_contains_the_authorization_is_refused_as_made_before_1_0() {
    let bytes = document("valid/bundle.json");
    let mut bundle: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
    bundle.as_object_mut().unwrap().remove("authorization");
    let error = Bundle::parse(bundle.to_string().as_bytes()).unwrap_err();
    assert!(error.to_string().contains("made before 1.0"), "{error}");
}

#[test]
fn schemas_accept_every_valid_document_of_an_index() {
    // The schema of a step does not check the schemas of parameters.
    let cases: Vec<Case> = index()
        .into_iter()
        .filter(|entry| entry.expect != "malformed" && entry.kind != "program-list")
        .map(|Entry { file, kind, .. }| Case {
            schema: kind
                .strip_prefix("authorization-")
                .unwrap_or(&kind)
                .to_owned(),
            document: serde_json::from_slice(&document(&file)).unwrap(),
            fits: true,
            what: file,
        })
        .collect();
    check("schemas_accept_every_valid_document_of_an_index", &cases);
}
