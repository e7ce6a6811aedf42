//! Canonical JSON: the only form of a document that the program hashes.
//!
//! Keys are sorted by their UTF-8 bytes, and the text contains no spaces. Quotes, backslashes and all characters
//! outside of U+0020 to U+007E are escaped. An escape is the short JSON escape of the character (such as `\n`) if there
//! is one, and otherwise `\uXXXX` in lower case, with surrogate pairs beyond U+FFFF. The crate `canonical_json` writes
//! the same bytes. For values that the strict reader accepts, Python's `json.dumps(v, sort_keys=True,
//! separators=(",",":"), ensure_ascii=True)` writes the same bytes too:
//!
//! `{"b": [1, "é"], "a": null}` gives `{"a":null,"b":[1,"\u00e9"]}`.
//!
//! This project has its own writer because `canonical_json` is much slower: it formats each string with a regular
//! expression. A property test compares the two.

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{JsonError, ReadError, Reason, crypto::writer, json};

/// Returns the canonical bytes of a value from the strict reader.
///
/// A value from another source can contain something that the strict reader refuses, for example a float. Use
/// [`canonical_of`] for documents that this program builds.
pub fn to_canonical(value: &Value) -> Vec<u8> {
    writer::write_unchecked(value)
}

/// Returns the canonical bytes of a document.
///
/// # Errors
/// Returns an error if the document cannot be written as JSON, or contains something that the strict reader refuses.
pub fn canonical_of<T: Serialize + ?Sized>(document: &T) -> Result<Vec<u8>, CanonicalError> {
    writer::write(document).map_err(|flaw| match flaw.rule {
        Some(reason) => CanonicalError::Refused {
            reason,
            pointer: flaw.pointer,
        },
        None => CanonicalError::Unwritable(flaw.message),
    })
}

/// Reads a value and checks that its bytes are in canonical form.
///
/// # Errors
/// Returns the errors of [`json::parse`], and [`Reason::NotCanonical`] if the bytes are not in canonical form.
pub fn parse_canonical(bytes: &[u8], max_bytes: usize) -> Result<Value, JsonError> {
    let value = json::parse(bytes, max_bytes)?;
    let canonical = to_canonical(&value);
    if canonical == bytes {
        return Ok(value);
    }
    let at = bytes
        .iter()
        .zip(&canonical)
        .take_while(|(a, b)| a == b)
        .count();
    let detail = format!(
        "the document is not in canonical form (first difference at byte {at}); write the canonical form"
    );
    Err(JsonError {
        reason: Reason::NotCanonical,
        line: 0,
        column: 0,
        detail,
    })
}

/// Reads a document of type `T` like [`json::parse_as`], but faster if the bytes are in canonical form.
///
/// # Errors
/// Returns the errors of [`json::parse_as`].
pub fn read_as<T: Serialize + DeserializeOwned>(
    bytes: &[u8],
    max_bytes: usize,
) -> Result<T, ReadError> {
    if bytes.len() <= max_bytes
        && let Some(document) = read_exact(bytes)
    {
        return Ok(document);
    }
    json::parse_as(bytes, max_bytes)
}

/// Reads a document whose bytes are in canonical form. Returns `None` if the bytes are not canonical or do not fit the
/// type `T`.
///
/// Serde's own reader accepts duplicate keys, spaces, and arrays instead of structs. Therefore the function writes the
/// result again and compares the bytes with the input, which are equal only if the document is canonical.
pub fn read_exact<T: Serialize + DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    let document: T = serde_json::from_str(std::str::from_utf8(bytes).ok()?).ok()?;
    (writer::write(&document).ok()? == bytes).then_some(document)
}

/// The error for a document of this program that has no canonical form.
#[derive(Debug, PartialEq, thiserror::Error)]
pub enum CanonicalError {
    /// The document cannot be written as JSON.
    #[error("the document cannot be written as JSON: {0}")]
    Unwritable(String),
    /// The document contains something that the strict reader refuses.
    #[error("the document has no canonical form: {} at {pointer:?}", .reason.word())]
    Refused {
        /// The rule that the value breaks.
        reason: Reason,
        /// RFC 6901 pointer to the refused value.
        pointer: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    const LIMIT: usize = 1 << 20;

    #[test]
    fn a_document_that_the_reader_would_refuse_is_not_written() {
        let refused = |value: Value| match canonical_of(&value) {
            Err(CanonicalError::Refused { reason, pointer }) => (reason, pointer),
            other => panic!("{other:?}"),
        };
        assert_eq!(
            refused(json!({"a": [1, 1.5]})),
            (Reason::Number, "/a/1".into())
        );
        assert_eq!(refused(json!(u64::MAX)), (Reason::Number, String::new()));
        assert_eq!(
            refused(json!({"$serde_json::x": 1})),
            (Reason::ReservedKey, "/$serde_json::x".into())
        );
        let deep = (0..33).fold(json!([]), |inner, _| json!([inner]));
        assert_eq!(refused(deep).0, Reason::Depth);
        assert!(matches!(
            canonical_of(&std::collections::BTreeMap::from([(vec![1], 1)])),
            Err(CanonicalError::Unwritable(_))
        ));
    }

    fn values() -> impl Strategy<Value = Value> {
        let max = i64::try_from(json::MAX_INTEGER).expect("fits");
        let text = prop_oneof![
            any::<String>(),
            "[\\\\u{}0-9a-f\"'/\u{0}-\u{1f}\u{7f}é😀]{0,12}"
        ];
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            (-max..=max).prop_map(Value::from),
            text.clone().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 24, 4, move |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::vec((text.clone(), inner), 0..4)
                    .prop_map(|entries| Value::Object(entries.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn the_written_bytes_are_canonical_json(value in values()) {
            let ours = to_canonical(&value);
            let theirs = canonical_json::to_string(&value).expect("a strict value");
            prop_assert_eq!(std::str::from_utf8(&ours), Ok(&*theirs));
            prop_assert_eq!(canonical_of(&value), Ok(ours.clone()));
            prop_assert_eq!(parse_canonical(&ours, LIMIT), Ok(value));
        }
    }
}
