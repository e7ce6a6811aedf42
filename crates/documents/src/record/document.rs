//! In-toto statements, the common form of all signed documents.
//!
//! `{"_type":"https://in-toto.io/Statement/v1","predicate":{…},"predicateType":"https://countersign.dev/<kind>/v1","subject":[…]}`
//!
//! The file also defines [`Malformed`], the error in a document with its place.

use std::fmt::Display;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    Code, JsonError, KeyId, ReadError, Reason,
    canonical::{self, CanonicalError},
    hex, json, unhex32,
};

/// The type of every statement (in-toto attestation framework, Statement v1).
pub const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";
/// The common prefix of predicate types. In each predicate type, `<kind>/v1` follows this prefix.
pub const PREDICATE_BASE: &str = "https://countersign.dev/";

/// One kind of document, identified by the predicate of its statement.
pub trait Predicate: Serialize + DeserializeOwned + JsonSchema {
    /// The name of the kind, as in `https://countersign.dev/<kind>/v1`.
    const KIND: &'static str;
    /// Maximum size of a payload of this kind, in bytes of canonical JSON.
    const MAX_BYTES: usize;

    /// Checks rules that types cannot express: the subjects equal the values of the predicate, arrays are sorted, and
    /// fields do not contradict each other.
    ///
    /// # Errors
    /// Returns an error with the place at which the document contradicts itself.
    fn check(&self, subjects: &[Subject]) -> Result<(), Malformed>;

    /// Checks the number and the order of the signatures of a document that has no other error.
    ///
    /// # Errors
    /// Returns an error with the expected signatures.
    fn check_signatures(&self, _keyids: &[&KeyId]) -> Result<(), Malformed> {
        Ok(())
    }
}

/// Returns the predicate type of a kind of document.
pub fn predicate_type(kind: &str) -> String {
    format!("{PREDICATE_BASE}{kind}/v1")
}

/// Returns the kind of a predicate type of this project, or `None` for any other predicate type.
fn predicate_kind(predicate_type: &str) -> Option<&str> {
    predicate_type
        .strip_prefix(PREDICATE_BASE)?
        .strip_suffix("/v1")
}

/// A subject of the statement: a name, and the digest of the named bytes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Subject {
    /// The digests of the subject.
    pub digest: DigestSet,
    /// Name of the subject, for example `params`.
    pub name: String,
}

/// Digests in lower-case hexadecimal, by algorithm (in-toto DigestSet). SHA-256 is the only algorithm, because other
/// readers of in-toto refuse a statement with an algorithm that they do not know.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DigestSet {
    /// SHA-256 digest: 64 lower-case hexadecimal digits, without a prefix.
    #[schemars(regex(pattern = r"^[0-9a-f]{64}$"))]
    pub sha256: String,
}

impl Subject {
    /// Returns the subject with this name and this SHA-256 digest.
    pub fn new(name: impl Into<String>, sha256: &[u8; 32]) -> Self {
        Self {
            name: name.into(),
            digest: DigestSet {
                sha256: hex(sha256),
            },
        }
    }

    /// Returns the 32 bytes of the SHA-256 digest, if the hex digits are well-formed.
    pub fn sha256(&self) -> Option<[u8; 32]> {
        unhex32(&self.digest.sha256)
    }
}

/// Checks that `given` is equal to the list of subjects that follow from the predicate.
///
/// # Errors
/// Returns an error for the first subject that differs.
pub fn check_subjects(given: &[Subject], expected: &[Subject]) -> Result<(), Malformed> {
    if given.len() != expected.len() {
        return Err(Malformed::at(
            "/subject",
            format!("{} subjects, expected {}", given.len(), expected.len()),
        ));
    }
    for (at, (given, expected)) in given.iter().zip(expected).enumerate() {
        if given.name != expected.name {
            return Err(Malformed::at(
                format!("/subject/{at}/name"),
                format!("expected {:?}", expected.name),
            ));
        }
        if given != expected {
            return Err(Malformed::at(
                format!("/subject/{at}/digest"),
                format!(
                    "the digest of subject {:?} differs from the digest in the predicate",
                    given.name
                ),
            ));
        }
    }
    Ok(())
}

/// Returns the digest of the only subject. This subject must have the given name.
///
/// # Errors
/// Returns an error with the expected subject if the number of subjects, the name or the digest is wrong.
pub fn only_subject(given: &[Subject], name: &str) -> Result<[u8; 32], Malformed> {
    match given {
        [one] if one.name == name => one.sha256().ok_or_else(|| {
            Malformed::at(
                "/subject/0/digest/sha256",
                "expected 64 lower-case hex digits",
            )
        }),
        _ => Err(Malformed::at(
            "/subject",
            format!("expected exactly one subject, {name:?}, with a sha256 digest"),
        )),
    }
}

/// Checks that an array is sorted by the canonical JSON bytes of its elements, without duplicates.
///
/// # Errors
/// Returns an error for the first element that is out of order or a duplicate.
pub fn check_sorted<T: Serialize>(pointer: &str, items: &[T]) -> Result<(), Malformed> {
    if items.len() < 2 {
        return Ok(());
    }
    let mut before: Option<Vec<u8>> = None;
    for (at, item) in items.iter().enumerate() {
        let bytes = canonical::canonical_of(item).map_err(|error| Malformed::at(pointer, error))?;
        if before.as_ref().is_some_and(|before| *before >= bytes) {
            return Err(Malformed::at(
                format!("{pointer}/{at}"),
                "an element is out of order or listed twice: sort this array, and list each element once",
            ));
        }
        before = Some(bytes);
    }
    Ok(())
}

/// Checks that a number is in its range.
///
/// # Errors
/// Returns an error with the allowed range.
pub fn check_range(pointer: &str, value: u64, least: u64, most: u64) -> Result<(), Malformed> {
    if (least..=most).contains(&value) {
        Ok(())
    } else {
        Err(Malformed::at(
            pointer,
            format!("{value} is not between {least} and {most}"),
        ))
    }
}

/// Checks the number of elements of an array.
///
/// # Errors
/// Returns an error with the found and the expected number.
pub fn check_count(
    pointer: &str,
    found: usize,
    least: usize,
    most: usize,
) -> Result<(), Malformed> {
    if (least..=most).contains(&found) {
        Ok(())
    } else {
        Err(Malformed::at(
            pointer,
            format!("found {found} elements, expected {least} to {most}"),
        ))
    }
}

/// Checks that an array is sorted by a key of its elements, and that no key occurs twice.
///
/// # Errors
/// Returns an error for the first element that is out of order.
pub fn check_by<T, K: Ord + ?Sized>(
    pointer: &str,
    items: &[T],
    key: fn(&T) -> &K,
) -> Result<(), Malformed> {
    match items
        .windows(2)
        .position(|pair| key(&pair[0]) >= key(&pair[1]))
    {
        None => Ok(()),
        Some(before) => Err(Malformed::at(
            format!("{pointer}/{}", before + 1),
            "an element is out of order or listed twice: sort this array, and list each element once",
        )),
    }
}

/// Checks the size of a part, in bytes of canonical JSON.
///
/// # Errors
/// Returns an error with the size of the part.
pub fn check_bytes<T: Serialize>(pointer: &str, part: &T, most: usize) -> Result<(), Malformed> {
    let bytes = canonical::canonical_of(part)
        .map_err(|error| Malformed::at(pointer, error))?
        .len();
    if bytes <= most {
        Ok(())
    } else {
        Err(Malformed::too_large(
            pointer,
            format!("found {bytes} bytes, but at most {most} are allowed"),
        ))
    }
}

/// Predicate with its subjects.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Statement<P> {
    #[serde(rename = "_type")]
    statement_type: String,
    /// The content of the statement.
    pub predicate: P,
    #[serde(rename = "predicateType")]
    predicate_type: String,
    /// The subjects of the statement, in a fixed order.
    #[schemars(length(min = 1))]
    pub subject: Vec<Subject>,
}

impl<P: Predicate> Statement<P> {
    /// Makes the statement with `predicate` about `subject`.
    pub fn new(predicate: P, subject: Vec<Subject>) -> Self {
        Self {
            statement_type: STATEMENT_TYPE.to_owned(),
            predicate,
            predicate_type: predicate_type(P::KIND),
            subject,
        }
    }

    /// Returns the payload as canonical JSON, checked with the rules of the reader.
    ///
    /// # Errors
    /// Returns an error if the statement contradicts itself or is too large for its kind.
    pub fn to_payload(&self) -> Result<Vec<u8>, Malformed> {
        self.predicate.check(&self.subject)?;
        let bytes = canonical::canonical_of(self)?;
        if bytes.len() > P::MAX_BYTES {
            return Err(Malformed::too_large(
                "",
                format!(
                    "the {} would have {} bytes, but at most {} are allowed: use fewer steps or shorter texts",
                    P::KIND,
                    bytes.len(),
                    P::MAX_BYTES
                ),
            ));
        }
        Ok(bytes)
    }

    /// Reads a payload strictly: it must be canonical, complete and of this kind, and its subjects must equal the
    /// predicate.
    ///
    /// # Errors
    /// Returns the error and its place in the payload.
    pub fn from_payload(payload: &[u8]) -> Result<Self, Malformed> {
        if payload.len() <= P::MAX_BYTES
            && let Some(statement) = canonical::read_exact::<Self>(payload)
            && statement.statement_type == STATEMENT_TYPE
            && predicate_kind(&statement.predicate_type) == Some(P::KIND)
        {
            return statement.checked();
        }
        // The fast path refused the payload. The slow path finds the error and its place.
        let value = json::parse(payload, P::MAX_BYTES)?;
        // Check the type before any other field, so that a document of one kind never passes as another kind.
        for (field, expected) in [
            ("_type", STATEMENT_TYPE),
            ("predicateType", &*predicate_type(P::KIND)),
        ] {
            let given = value.get(field).and_then(Value::as_str);
            if given != Some(expected) {
                return Err(Malformed::at(
                    format!("/{field}"),
                    format!(
                        "expected {expected:?}, because this must be a document of kind {}",
                        P::KIND
                    ),
                ));
            }
        }
        let statement: Self = json::typed(&value)?;
        // The parsed document, written again, must equal the signed bytes.
        let again = canonical::canonical_of(&statement)?;
        if again != payload {
            canonical::parse_canonical(payload, P::MAX_BYTES)?;
            check_no_null(&value, &statement)?;
        }
        statement.checked()
    }

    fn checked(self) -> Result<Self, Malformed> {
        self.predicate.check(&self.subject)?;
        Ok(self)
    }
}

/// Checks that `value` contains no optional field with the value null. `read` is the document that was parsed from
/// `value`. The check compares `value` with the serialization of `read`, which leaves such a field out.
///
/// # Errors
/// Returns an error for the first field that differs.
pub fn check_no_null(value: &Value, read: &impl Serialize) -> Result<(), Malformed> {
    let again = serde_json::to_value(read).map_err(|error| Malformed::at("", error))?;
    match differing(value, &again, "") {
        None => Ok(()),
        Some(pointer) => Err(Malformed::at(
            pointer,
            "this optional field is null: leave the field out",
        )),
    }
}

/// Returns the pointer of the first difference between the two values.
fn differing(given: &Value, again: &Value, pointer: &str) -> Option<String> {
    match (given, again) {
        (Value::Object(given), Value::Object(again)) => {
            let mut names = given
                .keys()
                .chain(again.keys().filter(|name| !given.contains_key(*name)));
            names.find_map(|name| {
                let pointer = format!("{pointer}/{}", name.replace('~', "~0").replace('/', "~1"));
                match (given.get(name), again.get(name)) {
                    (Some(value), Some(again)) => differing(value, again, &pointer),
                    _ => Some(pointer),
                }
            })
        }
        (Value::Array(given), Value::Array(again)) if given.len() == again.len() => (given
            .iter()
            .zip(again))
        .enumerate()
        .find_map(|(at, (value, again))| differing(value, again, &format!("{pointer}/{at}"))),
        _ => (given != again).then(|| pointer.to_owned()),
    }
}

/// The error of a document: the place and the reason.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{message}", if .pointer.is_empty() { String::new() } else { format!("at {}: ", .pointer) })]
pub struct Malformed {
    /// RFC 6901 pointer into the document. The pointer is empty for an error of the whole document.
    pub pointer: String,
    /// The error and the expected form.
    pub message: String,
    /// True if the document is too large, so that nothing else was checked.
    pub too_large: bool,
}

impl Malformed {
    /// Returns an error at `pointer`.
    pub fn at(pointer: impl Into<String>, message: impl Display) -> Self {
        Self {
            pointer: pointer.into(),
            message: message.to_string(),
            too_large: false,
        }
    }

    /// Makes an error about the size of a document.
    pub fn too_large(pointer: impl Into<String>, message: impl Display) -> Self {
        Self {
            too_large: true,
            ..Self::at(pointer, message)
        }
    }

    /// Returns the same error with a place below `pointer`.
    #[must_use]
    pub fn below(mut self, pointer: &str) -> Self {
        self.pointer.insert_str(0, pointer);
        self
    }

    /// The stable code.
    pub fn code(&self) -> Code {
        if self.too_large {
            Code::TooLarge
        } else {
            Code::Malformed
        }
    }
}

impl From<JsonError> for Malformed {
    fn from(error: JsonError) -> Self {
        Self {
            pointer: String::new(),
            too_large: error.reason == Reason::TooLarge,
            message: error.to_string(),
        }
    }
}

impl From<CanonicalError> for Malformed {
    fn from(error: CanonicalError) -> Self {
        Self::at("", error.to_string())
    }
}

impl From<ReadError> for Malformed {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Json(error) => error.into(),
            ReadError::Type { pointer, message } => Self::at(pointer, message),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Authorization, Consumption};

    fn payload(kind: &str) -> Vec<u8> {
        let path = format!(
            "{}/../../tests/conformance/golden/valid/payload/{kind}.json",
            env!("CARGO_MANIFEST_DIR")
        );
        std::fs::read(path).expect("a golden payload")
    }

    fn altered(kind: &str, from: &str, to: &str) -> Vec<u8> {
        let text = String::from_utf8(payload(kind)).expect("text");
        assert!(text.contains(from), "{from}");
        text.replacen(from, to, 1).into_bytes()
    }

    #[test]
    fn an_absent_optional_field_is_omitted_and_never_null() {
        let mut value: serde_json::Value =
            serde_json::from_slice(&payload("authorization")).expect("json");
        value["predicate"]["sandbox"]["off_reason"] = serde_json::Value::Null;
        let refused = Statement::<Authorization>::from_payload(&canonical::to_canonical(&value))
            .expect_err("null");
        assert!(refused.message.contains("null"), "{refused}");
        assert_eq!(refused.pointer, "/predicate/sandbox/off_reason");
    }

    #[test]
    fn subjects_must_equal_their_copies_in_the_predicate() {
        let other = altered("authorization", r#""host":"web-3""#, r#""host":"web-4""#);
        let refused = Statement::<Authorization>::from_payload(&other).expect_err("twin");
        assert_eq!(refused.pointer, "/subject/1/digest");
        let other = altered(
            "consumption",
            r#""name":"authorization""#,
            r#""name":"authorisation""#,
        );
        assert_eq!(
            Statement::<Consumption>::from_payload(&other)
                .expect_err("name")
                .pointer,
            "/subject/0/name"
        );
    }
}
