//! The strict JSON reader for every document from outside the program.
//!
//! serde_json uses the last of two equal keys, rounds numbers and accepts 128 levels of nesting, so two programs could
//! read two different documents from the same signed bytes. A document that this reader accepts has exactly one meaning
//! and one canonical form (`crypto::canonical`).
//!
//! The file also writes the escapes of texts in canonical JSON.

use std::{cell::RefCell, fmt};

use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value, map::Entry};

use crate::crypto::shape::Strict;

/// Maximum depth of nested arrays and objects, because the stack of a reader is limited.
pub const MAX_DEPTH: usize = 32;

/// The largest magnitude of an integer: 2^53-1. Programs that store numbers as doubles round larger integers.
pub const MAX_INTEGER: u64 = (1 << 53) - 1;

/// The message for an integer beyond [`MAX_INTEGER`].
const TOO_LARGE: &str = "the integer is beyond +-(2^53-1), and many programs round such integers; write it as a string, if \
    a string is allowed here";

/// Returns the integer that is equal to a double, or `None` for a fraction, for `-0.0` and for a number beyond
/// [`MAX_INTEGER`].
pub fn whole_number(value: f64) -> Option<i64> {
    let is_whole = value.fract() == 0.0 && value.abs() <= MAX_INTEGER as f64;
    (is_whole && !(value == 0.0 && value.is_sign_negative())).then_some(value as i64)
}

/// The prefix of keys to which serde_json gives a special meaning.
pub(super) const RESERVED_PREFIX: &str = "$serde_json::";

/// Reads one JSON value of at most `max_bytes` bytes.
///
/// # Errors
/// Returns the rule ([`Reason`]) that the bytes break, and the place. The size is checked first, then the encoding.
pub fn parse(bytes: &[u8], max_bytes: usize) -> Result<Value, JsonError> {
    read(bytes, max_bytes, Numbers::Integers)
}

/// Reads one JSON value that no signature covers, from a person or an agent. Here a whole number may also have a fraction
/// of zero or an exponent: `5.0` is read as 5.
///
/// # Errors
/// Returns the errors of [`parse`].
pub fn parse_written(bytes: &[u8], max_bytes: usize) -> Result<Value, JsonError> {
    read(bytes, max_bytes, Numbers::Written)
}

/// Reads one JSON value of a format of another project. Numbers can have any form. A number that [`parse`] refuses is read as
/// null.
///
/// # Errors
/// Returns the errors of [`parse`].
pub fn parse_foreign(bytes: &[u8], max_bytes: usize) -> Result<Value, JsonError> {
    read(bytes, max_bytes, Numbers::Any)
}

fn read(bytes: &[u8], max_bytes: usize, numbers: Numbers) -> Result<Value, JsonError> {
    if bytes.len() > max_bytes {
        let detail = format!(
            "the document has {} bytes, at most {max_bytes} are allowed",
            bytes.len()
        );
        return Err(JsonError {
            reason: Reason::TooLarge,
            line: 0,
            column: 0,
            detail,
        });
    }
    let text = text(bytes)?;
    let broken = RefCell::new(None);
    let mut reader = serde_json::Deserializer::from_str(text);
    Walk {
        depth: 0,
        numbers,
        broken: &broken,
    }
    .deserialize(&mut reader)
    .and_then(|value| reader.end().map(|()| value))
    .map_err(|error| describe(&error, broken.take()))
}

/// Reads one document of type `T` of at most `max_bytes` bytes.
///
/// # Errors
/// Returns [`ReadError::Json`] if the bytes are not strict JSON, and [`ReadError::Type`] with a JSON pointer if the
/// JSON does not fit the type.
pub fn parse_as<T: DeserializeOwned>(bytes: &[u8], max_bytes: usize) -> Result<T, ReadError> {
    typed(&parse(bytes, max_bytes)?)
}

/// Converts `value` into a document of type `T`.
///
/// # Errors
/// Returns [`ReadError::Type`] with the pointer of the first value that does not fit the type.
pub fn typed<T: DeserializeOwned>(value: &Value) -> Result<T, ReadError> {
    T::deserialize(Strict(value)).map_err(|misfit| ReadError::Type {
        pointer: misfit.pointer(),
        message: misfit.message,
    })
}

words! {
    /// Rule of strict JSON.
    pub enum Reason {
        /// The text is longer than the caller permits.
        TooLarge = "too-large",
        /// The text has a byte order mark, or is not UTF-8.
        Encoding = "encoding",
        /// The text is not JSON (RFC 8259), has a lone surrogate, or has bytes after the value.
        Syntax = "syntax",
        /// An object has the same key twice. Keys are compared without their escapes.
        DuplicateKey = "duplicate-key",
        /// A number is not an integer of at most 2^53-1: it has a fraction or an exponent, is `-0`, or is too large.
        Number = "number",
        /// Arrays and objects are nested deeper than [`MAX_DEPTH`].
        Depth = "depth",
        /// A key has a special meaning for serde_json.
        ReservedKey = "reserved-key",
        /// The JSON is well-formed but not in canonical form (only from `canonical::parse_canonical`).
        NotCanonical = "not-canonical",
    }
}

/// The error for bytes that are not strict JSON: the rule, the place and the details.
#[derive(Debug, PartialEq)]
pub struct JsonError {
    /// The rule that the bytes break.
    pub reason: Reason,
    /// Line in the text, counted from 1, or 0 if the line is unknown.
    pub line: usize,
    /// Byte in that line, counted from 1, or 0 if the byte is unknown.
    pub column: usize,
    /// The text at the place, and the expected form.
    pub detail: String,
}

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}: {}", self.reason, self.detail)?;
        if self.line > 0 {
            write!(f, " (line {}, column {})", self.line, self.column)?;
        }
        Ok(())
    }
}

impl std::error::Error for JsonError {}

/// Reason why bytes are not a document of the requested type.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The bytes are not strict JSON.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// The bytes are strict JSON, but do not fit the type.
    #[error("{pointer}{}{message}", if .pointer.is_empty() { "" } else { ": " })]
    Type {
        /// RFC 6901 pointer to the value, or an empty text for the whole document.
        pointer: String,
        /// The value, and the expected type.
        message: String,
    },
}

fn text(bytes: &[u8]) -> Result<&str, JsonError> {
    let broken = |at: usize, detail: &str| {
        let before = &bytes[..at];
        let line_start = before
            .iter()
            .rposition(|&b| b == b'\n')
            .map_or(0, |newline| newline + 1);
        JsonError {
            reason: Reason::Encoding,
            line: 1 + before.iter().filter(|&&b| b == b'\n').count(),
            column: 1 + at - line_start,
            detail: detail.to_owned(),
        }
    };
    if bytes.starts_with(b"\xef\xbb\xbf") {
        return Err(broken(
            0,
            "the document begins with a byte order mark; save the document without this mark",
        ));
    }
    std::str::from_utf8(bytes).map_err(|error| {
        broken(
            error.valid_up_to(),
            "the document is not UTF-8: it is damaged, or was saved in another encoding",
        )
    })
}

fn describe(error: &serde_json::Error, broken: Option<(Reason, String)>) -> JsonError {
    let (reason, detail) = broken.unwrap_or_else(|| {
        let mut detail = error.to_string();
        if let Some(place) = detail.rfind(" at line ") {
            detail.truncate(place);
        }
        // serde_json rejects `1e999` before the visitor gets it, because no double can represent this number.
        let number = detail.starts_with("number out of range");
        (
            if number {
                Reason::Number
            } else {
                Reason::Syntax
            },
            detail,
        )
    });
    JsonError {
        reason,
        line: error.line(),
        column: error.column(),
        detail,
    }
}

/// The numbers that a reader accepts.
#[derive(Clone, Copy, PartialEq)]
enum Numbers {
    Integers,
    /// Integers, also with a fraction of zero or an exponent.
    Written,
    Any,
}

/// Builds one value. An error of serde contains only text, so the visitor stores the broken rule in `broken`.
#[derive(Clone, Copy)]
struct Walk<'a> {
    depth: usize,
    numbers: Numbers,
    broken: &'a RefCell<Option<(Reason, String)>>,
}

impl Walk<'_> {
    fn refuse<E: serde::de::Error>(self, reason: Reason, detail: String) -> E {
        *self.broken.borrow_mut() = Some((reason, detail));
        E::custom("refused")
    }

    fn odd_number<E: serde::de::Error>(self, detail: &str) -> Result<Value, E> {
        if self.numbers == Numbers::Any {
            return Ok(Value::Null);
        }
        Err(self.refuse(Reason::Number, detail.into()))
    }

    fn deeper<E: serde::de::Error>(self) -> Result<Self, E> {
        if self.depth == MAX_DEPTH {
            return Err(self.refuse(
                Reason::Depth,
                format!("the document is nested deeper than {MAX_DEPTH} arrays and objects"),
            ));
        }
        Ok(Self {
            depth: self.depth + 1,
            ..self
        })
    }
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = Value;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Value, E> {
        if value > MAX_INTEGER {
            return self.odd_number(TOO_LARGE);
        }
        Ok(Value::from(value))
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Value, E> {
        if value.unsigned_abs() > MAX_INTEGER {
            return self.odd_number(TOO_LARGE);
        }
        Ok(Value::from(value))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        if let Some(whole) = whole_number(value).filter(|_| self.numbers == Numbers::Written) {
            return Ok(Value::from(whole));
        }
        self.odd_number(
            "the number is not an integer within +-(2^53-1), or has a fraction, an exponent or -0; write an integer, like 5",
        )
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut array = Vec::new();
        while let Some(item) = items.next_element_seed(inner)? {
            array.push(item);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut map = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            if key.starts_with(RESERVED_PREFIX) {
                return Err(self.refuse(
                    Reason::ReservedKey,
                    format!("keys that begin with {RESERVED_PREFIX} are reserved"),
                ));
            }
            match map.entry(key) {
                Entry::Vacant(place) => {
                    place.insert(entries.next_value_seed(inner)?);
                }
                Entry::Occupied(place) => {
                    let shown: String = place.key().chars().take(80).collect();
                    return Err(self.refuse(
                        Reason::DuplicateKey,
                        format!("the key {shown:?}  is twice in one object"),
                    ));
                }
            }
        }
        Ok(Value::Object(map))
    }
}

pub(crate) fn write_escaped(out: &mut Vec<u8>, text: &str) {
    let mut rest = text;
    loop {
        let (plain, others) = rest.split_at(plain_length(rest.as_bytes()));
        out.extend_from_slice(plain.as_bytes());
        let mut chars = others.chars();
        let Some(c) = chars.next() else { break };
        write_escape(out, c);
        rest = chars.as_str();
    }
}

/// Returns the number of bytes at the start of the text that need no escape. These bytes are ASCII, so the count ends
/// at a character boundary.
fn plain_length(bytes: &[u8]) -> usize {
    // Most of an envelope is base64, which needs no escapes. Eight bytes are checked at once as one number, because the
    // compiler uses no vector instructions in a release (Cargo.toml).
    const EACH: u64 = u64::from_ne_bytes([1; 8]);
    let is_plain = |block: &[u8; 8]| {
        let word = u64::from_ne_bytes(*block);
        let below_space = word.wrapping_sub(EACH * 0x20);
        let quote = (word ^ (EACH * 0x22)).wrapping_sub(EACH);
        let backslash = (word ^ (EACH * 0x5c)).wrapping_sub(EACH);
        let delete = word.wrapping_add(EACH);
        // For each byte that needs an escape, one of these five numbers has the high bit of the byte set. A carry or
        // borrow into the next byte begins only at such a byte.
        (below_space | quote | backslash | delete | word) & (EACH << 7) == 0
    };
    let plain = 8 * bytes
        .as_chunks()
        .0
        .iter()
        .take_while(|block| is_plain(block))
        .count();
    let is_plain = |byte: &&u8| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\');
    plain + bytes[plain..].iter().take_while(is_plain).count()
}

fn write_escape(out: &mut Vec<u8>, c: char) {
    let short = match c {
        '"' => b'"',
        '\\' => b'\\',
        '\u{8}' => b'b',
        '\t' => b't',
        '\n' => b'n',
        '\u{c}' => b'f',
        '\r' => b'r',
        c => {
            for unit in c.encode_utf16(&mut [0; 2]) {
                out.extend_from_slice(format!("\\u{unit:04x}").as_bytes());
            }
            return;
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    fn reason(bytes: impl AsRef<[u8]>) -> Option<Reason> {
        parse(bytes.as_ref(), 1 << 20)
            .err()
            .map(|error| error.reason)
    }

    #[test]
    fn a_number_with_a_fraction_is_refused_with_all_features_of_serde_json() {
        // With the feature `arbitrary_precision` of serde_json, a number would arrive as a map, and the reader would
        // refuse even `1`.
        assert_eq!(reason("1.00"), Some(Reason::Number));
        assert_eq!(parse(b"1", 10), Ok(Value::from(1)));
    }

    #[test]
    fn each_broken_rule_is_named_with_its_place() {
        let error =
            parse(b"{\"a\": 1,\n \"b\": {\"x\": 1, \"\\u0078\": 2}}", 100).expect_err("duplicate");
        assert_eq!((error.reason, error.line), (Reason::DuplicateKey, 2));
        assert!(error.detail.contains("\"x\""), "{error}");
        let error = parse(b"{\n\"\xff\"}", 100).expect_err("not utf-8");
        assert_eq!(
            (error.reason, error.line, error.column),
            (Reason::Encoding, 2, 2)
        );
        assert_eq!(
            parse(b"[1,2]", 4).expect_err("size").reason,
            Reason::TooLarge
        );
        assert_eq!(
            parse(b"\xff\xff\xff\xff\xff", 4)
                .expect_err("size first")
                .reason,
            Reason::TooLarge
        );
        assert_eq!(
            reason(r#"{"$serde_json::private::Number":"1"}"#),
            Some(Reason::ReservedKey)
        );
        assert_eq!(
            reason(r#"{"\u0024serde_json::private::RawValue":"1"}"#),
            Some(Reason::ReservedKey)
        );
    }

    #[test]
    fn the_maximum_nesting_depth_of_json_is_32() {
        let nest = |n: usize| "[".repeat(n) + &"]".repeat(n);
        assert_eq!(reason(nest(32)), None);
        assert_eq!(reason(nest(33)), Some(Reason::Depth));
        assert_eq!(
            reason("[".repeat(500_000)),
            Some(Reason::Depth),
            "stops at the depth limit"
        );
        assert_eq!(reason("{\"a\":".repeat(33)), Some(Reason::Depth));
        assert_eq!(reason(nest(31).replacen("[]", "[1]", 1)), None);
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Document {
        #[allow(dead_code, reason = "read for its shape only")]
        items: Vec<Item>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Item {
        #[allow(dead_code, reason = "read for its shape only")]
        #[serde(rename = "a/b~c")]
        value: u8,
    }

    #[test]
    fn a_document_of_another_type_is_refused_with_a_json_pointer() {
        let pointer_of = |text: &str| match parse_as::<Document>(text.as_bytes(), 1000) {
            Err(ReadError::Type { pointer, .. }) => pointer,
            other => panic!("{other:?}"),
        };
        assert_eq!(
            pointer_of(r#"{"items":[{"a/b~c":1},{"a/b~c":"x"}]}"#),
            "/items/1/a~1b~0c"
        );
        assert_eq!(
            pointer_of(r#"{"items":[{"a/b~c":1,"more":2}]}"#),
            "/items/0/more"
        );
        assert_eq!(pointer_of(r#"{"items":[{}]}"#), "/items/0");
        assert_eq!(pointer_of("{}"), "");
        assert!(parse_as::<Document>(br#"{"items":[{"a/b~c":1}]}"#, 1000).is_ok());
        assert!(matches!(
            parse_as::<Document>(b"{", 10),
            Err(ReadError::Json(_))
        ));
    }
}

#[cfg(test)]
mod canonical_text_tests {
    use super::*;

    #[test]
    fn the_plain_bytes_end_at_the_first_byte_that_needs_an_escape() {
        for byte in 0..=u8::MAX {
            let is_plain = (0x20..0x7f).contains(&byte) && byte != b'"' && byte != b'\\';
            for at in 0..24 {
                for fill in [b' ', b'!', b'#', b'[', b']', b'~'] {
                    let mut bytes = [fill; 24];
                    bytes[at] = byte;
                    assert_eq!(
                        plain_length(&bytes),
                        if is_plain { 24 } else { at },
                        "{byte} at {at}"
                    );
                }
            }
        }
    }
}
