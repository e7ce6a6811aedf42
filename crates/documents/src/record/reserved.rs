//! Parts of documents that are reserved for a later version (`docs/formats.md`). They are parsed strictly but never
//! used.
//!
//! The types in `record` contain only the parts that this version can evaluate, so no code can use a reserved part by
//! mistake. A document with a valid reserved part is refused as [`Malformed::later`], and a document with an invalid
//! reserved part as malformed.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{crypto::json, record::malformed::Malformed};

/// Type of a reserved part, with its rules.
pub trait ReservedPart: Serialize + DeserializeOwned + JsonSchema {
    /// Checks the rules that the types of the fields cannot express.
    ///
    /// # Errors
    /// Returns the error, with a pointer into the part.
    fn check(&self) -> Result<(), Malformed> {
        Ok(())
    }
}

/// Place of a reserved part in the predicate, and its form. In a path, `*` matches every element of an array.
#[derive(Debug, Clone, Copy)]
pub struct Reserved {
    /// Path in the predicate.
    pub path: &'static str,
    /// Reads the field strictly.
    pub read: fn(&Value) -> Result<(), Malformed>,
    /// Returns the schema of the field.
    pub schema: fn(&mut SchemaGenerator) -> Schema,
}

impl Reserved {
    /// Returns the place of an optional field of the type `T`.
    pub const fn field<T: ReservedPart>(path: &'static str) -> Self {
        Self {
            path,
            read: read_part::<T>,
            schema: SchemaGenerator::subschema_for::<T>,
        }
    }
}

/// Reads a reserved part of type `T`, and refuses unknown fields and nulls.
fn read_part<T: ReservedPart>(value: &Value) -> Result<(), Malformed> {
    read_typed::<T>(value)?.check()
}

/// Reads a value as a type, and refuses nulls.
pub(super) fn read_typed<T: Serialize + DeserializeOwned>(value: &Value) -> Result<T, Malformed> {
    let part: T = json::typed(value).map_err(Malformed::from)?;
    check_no_null(value, &part)?;
    Ok(part)
}

/// Checks that `value` contains no optional field with the value null. `read` is the result of parsing `value`, and its
/// serialization then equals `value`.
///
/// # Errors
/// Returns an error for the first field that differs.
pub fn check_no_null(value: &Value, read: &impl Serialize) -> Result<(), Malformed> {
    let again = serde_json::to_value(read).map_err(|error| Malformed::at("", error.to_string()))?;
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
            let names = given
                .keys()
                .chain(again.keys().filter(|name| !given.contains_key(*name)));
            names.into_iter().find_map(|name| {
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

pub(super) fn below(pointer: &str, error: Malformed) -> Malformed {
    Malformed {
        pointer: format!("{pointer}{}", error.pointer),
        ..error
    }
}

/// Calls `take` for every value at `path`.
pub(super) fn each(
    value: &Value,
    path: &str,
    pointer: &str,
    take: &mut dyn FnMut(&Value, &str) -> Result<(), Malformed>,
) -> Result<(), Malformed> {
    let (step, rest) = path
        .split_once('/')
        .map_or((path, None), |(step, rest)| (step, Some(rest)));
    let mut one = |at: &str, value: &Value| {
        let pointer = format!("{pointer}/{at}");
        match rest {
            Some(rest) => each(value, rest, &pointer, take),
            None => take(value, &pointer),
        }
    };
    match (step, value) {
        ("*", Value::Array(items)) => items
            .iter()
            .enumerate()
            .try_for_each(|(at, item)| one(&at.to_string(), item)),
        (field, Value::Object(map)) => map.get(field).map_or(Ok(()), |value| one(field, value)),
        _ => Ok(()),
    }
}

pub(super) fn remove(value: &mut Value, path: &str) {
    let (step, rest) = path
        .split_once('/')
        .map_or((path, None), |(step, rest)| (step, Some(rest)));
    match (step, value, rest) {
        ("*", Value::Array(items), Some(rest)) => {
            items.iter_mut().for_each(|item| remove(item, rest))
        }
        (field, Value::Object(map), Some(rest)) => {
            if let Some(value) = map.get_mut(field) {
                remove(value, rest);
            }
        }
        (field, Value::Object(map), None) => drop(map.remove(field)),
        _ => {}
    }
}
