//! Readers of the vector files: one function a file, a result a vector.
#![allow(unreachable_pub, clippy::expect_used, reason = "a test fails by panicking")]

pub mod golden;
pub mod parts;
pub mod people;
pub mod rules;

use serde_json::Value;

/// What became of one vector: its name, and why it fails.
pub type Outcome = (String, Result<(), String>);

/// Reads one file and checks its vectors.
pub type Reader = fn(&Value) -> Vec<Outcome>;

/// The files that this version has a reader for.
pub const READERS: [(&str, Reader); 13] = [
    ("bundles.json", golden::bundles),
    ("canonical-json.json", parts::canonical_json),
    ("cosignature.json", parts::cosignatures),
    ("envelope.json", parts::envelopes),
    ("globs.json", parts::globs),
    ("identifiers.json", parts::identifiers),
    ("merkle.json", parts::merkle),
    ("parameters.json", parts::parameters),
    ("policy-rules.json", rules::decisions),
    ("policy.json", rules::decisions),
    ("quorum.json", people::quorum),
    ("roster.json", people::rosters),
    ("window.json", people::windows),
];

/// Files of later versions, by name.
pub const LATER: [&str; 2] = ["gruntwork-runbooks.json", "rundown-runbooks.json"];

/// A check of each of `vectors`, named by its `id`.
pub fn each(file: &Value, check: impl Fn(&Value) -> Result<(), String>) -> Vec<Outcome> {
    let vectors = file["vectors"].as_array().map_or(&[][..], Vec::as_slice);
    vectors
        .iter()
        .enumerate()
        .map(|(at, vector)| {
            let id = vector["id"].as_str().map_or_else(|| format!("vector {at}"), str::to_owned);
            (id, check(vector))
        })
        .collect()
}

/// Says where two values differ.
pub fn same<T: PartialEq + std::fmt::Debug>(what: &str, got: T, expected: T) -> Result<(), String> {
    if got == expected { Ok(()) } else { Err(format!("{what}: got {got:?}, expected {expected:?}")) }
}

/// A text member of a vector.
pub fn text<'v>(vector: &'v Value, field: &str) -> Result<&'v str, String> {
    vector[field].as_str().ok_or_else(|| format!("the vector has no text {field:?}"))
}

/// `expect` and `pointer` of a vector against what happened: accepted, or refused with a word and a pointer.
pub fn expected(vector: &Value, happened: Result<(), (&str, String, String)>) -> Result<(), String> {
    let expect = text(vector, "expect")?;
    match happened {
        Ok(()) => same("result", "accept", expect),
        Err((word, pointer, message)) => {
            if expect != word {
                return Err(format!("expected {expect}, got {word} at {pointer:?}: {message}"));
            }
            match vector["pointer"].as_str() {
                Some(place) if place != pointer => {
                    Err(format!("refused at {pointer:?}, expected at {place:?}: {message}"))
                }
                _ => Ok(()),
            }
        }
    }
}
