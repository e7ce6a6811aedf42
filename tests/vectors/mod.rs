//! Readers of the vector files. Each reader is one function, and gives one result for each vector.
#![allow(
    unreachable_pub,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

pub mod golden;
pub mod parts;
pub mod people;
pub mod rules;

use serde_json::Value;

/// The name of a vector, and its error if it failed.
pub type Outcome = (String, Result<(), String>);

/// Checks all vectors of one file.
pub type Reader = fn(&Value) -> Vec<Outcome>;

/// The files for which this version has a reader.
pub const READERS: [(&str, Reader); 15] = [
    ("bundles.json", golden::bundles),
    ("canonical-json.json", parts::canonical_json),
    ("cosignature.json", parts::cosignatures),
    ("envelope.json", parts::envelopes),
    ("globs.json", parts::globs),
    ("identifiers.json", parts::identifiers),
    ("merkle.json", parts::merkle),
    ("parameter-values.json", parts::parameters),
    ("parameters.json", parts::parameters),
    ("policy-rules.json", rules::decisions),
    ("policy.json", rules::decisions),
    ("quorum.json", people::quorum),
    ("roster.json", people::rosters),
    ("templates.json", parts::templates),
    ("window.json", people::windows),
];

/// Files about runbooks of other projects.
pub const OF_OTHER_PROJECTS: [&str; 2] = ["gruntwork-runbooks.json", "rundown-runbooks.json"];

/// Checks each vector of the file. The name of a result is the `id` of the vector.
pub fn each(file: &Value, check: impl Fn(&Value) -> Result<(), String>) -> Vec<Outcome> {
    let vectors = file["vectors"].as_array().map_or(&[][..], Vec::as_slice);
    vectors
        .iter()
        .enumerate()
        .map(|(at, vector)| {
            let id = vector["id"]
                .as_str()
                .map_or_else(|| format!("vector {at}"), str::to_owned);
            (id, check(vector))
        })
        .collect()
}

/// Compares two values, and describes the difference.
pub fn same<T: PartialEq + std::fmt::Debug>(what: &str, got: T, expected: T) -> Result<(), String> {
    if got == expected {
        Ok(())
    } else {
        Err(format!("{what}: got {got:?}, expected {expected:?}"))
    }
}

/// A string member of a vector.
pub fn text<'v>(vector: &'v Value, field: &str) -> Result<&'v str, String> {
    vector[field]
        .as_str()
        .ok_or_else(|| format!("the vector has no text {field:?}"))
}

/// Compares the result with `expect` and `pointer` of a vector: accepted, or refused with a code and a pointer.
pub fn expected(
    vector: &Value,
    happened: Result<(), (&str, String, String)>,
) -> Result<(), String> {
    let expect = text(vector, "expect")?;
    match happened {
        Ok(()) => same("result", "accept", expect),
        Err((word, pointer, message)) => {
            if expect != word {
                return Err(format!(
                    "expected {expect}, got {word} at {pointer:?}: {message}"
                ));
            }
            match vector["pointer"].as_str() {
                Some(place) if place != pointer => Err(format!(
                    "refused at {pointer:?}, expected at {place:?}: {message}"
                )),
                _ => Ok(()),
            }
        }
    }
}
