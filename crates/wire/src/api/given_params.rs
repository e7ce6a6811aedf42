//! Parameters as callers write them.

use serde::de::{Deserialize as _, Deserializer, Error as _};
use serde_json::{Map, Value};

use documents::crypto::json;

/// Maximum length of a text that holds parameters, in bytes.
const MAX_TEXT_BYTES: usize = 256 << 10;
const EXPECTED: &str = "expected an object, like {\"n\": 5}";

/// Reads parameters. Some programs of agents send the object as a text, which is read as strictly as the object itself.
///
/// # Errors
/// Returns an error for a text that holds no object.
pub(crate) fn params<'de, D: Deserializer<'de>>(reader: D) -> Result<Value, D::Error> {
    let given = Value::deserialize(reader)?;
    let Value::String(text) = &given else { return Ok(given) };
    match json::parse_written(text.as_bytes(), MAX_TEXT_BYTES) {
        Ok(held) if held.is_object() => Ok(held),
        Ok(_) => Err(D::Error::custom(format_args!("{EXPECTED}, not text"))),
        Err(error) => Err(D::Error::custom(format_args!("{EXPECTED}, not text; the text is no object: {error}"))),
    }
}

/// Reads parameters like [`params`], and accepts only an object.
///
/// # Errors
/// Returns an error for any other value.
pub(crate) fn params_object<'de, D: Deserializer<'de>>(reader: D) -> Result<Map<String, Value>, D::Error> {
    match params(reader)? {
        Value::Object(params) => Ok(params),
        _ => Err(D::Error::custom(EXPECTED)),
    }
}
