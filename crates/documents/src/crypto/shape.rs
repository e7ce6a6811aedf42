//! A typed reader in which a struct is always a JSON object.
//!
//! Serde's `Deserialize` can also read a struct from an array of its fields. A document has only one form, so this
//! reader accepts only an object with named fields. All other checks are made by the type that is read.

use std::fmt;

use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error as _, Expected, MapAccess, SeqAccess,
    Unexpected, VariantAccess, Visitor, value::BorrowedStrDeserializer,
};
use serde_json::Value;

/// The error for a value that does not fit its type.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct TypeMismatch {
    /// Keys and indexes on the path to the value, innermost element first.
    path: Vec<String>,
    pub message: String,
}

impl TypeMismatch {
    /// Returns the RFC 6901 pointer to the value.
    pub fn pointer(&self) -> String {
        let mut pointer = String::new();
        self.path
            .iter()
            .rev()
            .for_each(|step| push_step(&mut pointer, step));
        pointer
    }

    fn below(mut self, step: impl ToString) -> Self {
        self.path.push(step.to_string());
        self
    }
}

impl serde::de::Error for TypeMismatch {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self {
            path: Vec::new(),
            message: message.to_string(),
        }
    }

    // Serde's own messages name types of Rust, which the author of a document does not know.
    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let kind = wanted(expected);
        let advice = match found {
            Unexpected::Str(text)
                if kind.starts_with("a whole number") && text.parse::<i64>().is_ok() =>
            {
                format!(": write {text} without quotes")
            }
            _ => String::new(),
        };
        Self::custom(format_args!(
            "expected {kind}, not {}{advice}",
            found_words(found)
        ))
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::invalid_type(found, expected)
    }

    fn invalid_length(length: usize, expected: &dyn Expected) -> Self {
        Self::custom(format_args!(
            "expected {}, not {length} elements",
            wanted(expected)
        ))
    }

    fn unknown_variant(found: &str, known: &'static [&'static str]) -> Self {
        Self::custom(format_args!(
            "expected {}, not {}",
            one_of(known),
            found_words(Unexpected::Str(found))
        ))
    }
}

/// Maximum number of characters of a text that a message repeats.
const MAX_REPEATED: usize = 60;

/// Returns the JSON name of a type that serde expects.
fn wanted(expected: &dyn Expected) -> String {
    let of_serde = expected.to_string();
    let kind = match of_serde.as_str() {
        "a map" => "an object",
        "a sequence" => "an array",
        "a string" => "a text",
        "a boolean" => "true or false",
        "u8" => "a whole number from 0 to 255",
        "u16" => "a whole number from 0 to 65,535",
        "u32" => "a whole number from 0 to 4,294,967,295",
        "u64" | "usize" => "a whole number from 0 on, like 5",
        "i8" | "i16" | "i32" | "i64" => "a whole number, like 5",
        "any valid JSON value" => "a value",
        of_serde if of_serde.starts_with("struct ") => "an object",
        of_serde => of_serde,
    };
    kind.to_owned()
}

fn found_words(found: Unexpected<'_>) -> String {
    match found {
        Unexpected::Bool(value) => value.to_string(),
        Unexpected::Unsigned(value) => format!("the number {value}"),
        Unexpected::Signed(value) => format!("the number {value}"),
        Unexpected::Float(value) => format!("the number {value}"),
        Unexpected::Str(text) => format!(
            "the text {:?}",
            text.chars().take(MAX_REPEATED).collect::<String>()
        ),
        Unexpected::Seq => "an array".to_owned(),
        Unexpected::Map => "an object".to_owned(),
        Unexpected::Unit | Unexpected::Option => "null".to_owned(),
        _ => "another value".to_owned(),
    }
}

fn one_of(known: &[&str]) -> String {
    let known: Vec<String> = known.iter().map(|word| format!("`{word}`")).collect();
    known.join(" or ")
}

// RFC 6901, section 3: `~` is written as `~0`, and `/` is written as `~1`.
pub fn push_step(pointer: &mut String, step: &str) {
    pointer.push('/');
    for c in step.chars() {
        match c {
            '~' => pointer.push_str("~0"),
            '/' => pointer.push_str("~1"),
            c => pointer.push(c),
        }
    }
}

/// A JSON value that is read as a struct only if the value is an object.
#[derive(Debug)]
pub struct Strict<'de>(pub &'de Value);

impl<'de> Strict<'de> {
    fn word(&self) -> Unexpected<'de> {
        match self.0 {
            Value::Null => Unexpected::Unit,
            Value::Bool(value) => Unexpected::Bool(*value),
            Value::Number(value) => match (value.as_u64(), value.as_i64(), value.as_f64()) {
                (Some(value), ..) => Unexpected::Unsigned(value),
                (None, Some(value), _) => Unexpected::Signed(value),
                (None, None, value) => Unexpected::Float(value.unwrap_or(f64::NAN)),
            },
            Value::String(text) => Unexpected::Str(text),
            Value::Array(_) => Unexpected::Seq,
            Value::Object(_) => Unexpected::Map,
        }
    }
}

impl<'de> Deserializer<'de> for Strict<'de> {
    type Error = TypeMismatch;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TypeMismatch> {
        match self.0 {
            Value::Array(items) => {
                let expected = items.len();
                let mut items = Items(items.iter().enumerate());
                let value = visitor.visit_seq(&mut items)?;
                if items.0.len() == 0 {
                    Ok(value)
                } else {
                    Err(TypeMismatch::invalid_length(expected, &"fewer elements"))
                }
            }
            Value::Object(fields) => {
                let mut fields = Fields {
                    rest: fields.iter(),
                    of: None,
                };
                visitor.visit_map(&mut fields)
            }
            Value::String(text) => visitor.visit_borrowed_str(text),
            _ => match self.word() {
                Unexpected::Bool(value) => visitor.visit_bool(value),
                Unexpected::Unsigned(value) => visitor.visit_u64(value),
                Unexpected::Signed(value) => visitor.visit_i64(value),
                Unexpected::Float(value) => visitor.visit_f64(value),
                _ => visitor.visit_unit(),
            },
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TypeMismatch> {
        if self.0.is_null() {
            visitor.visit_none()
        } else {
            visitor.visit_some(self)
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, TypeMismatch> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, TypeMismatch> {
        if self.0.is_object() {
            self.deserialize_any(visitor)
        } else {
            Err(TypeMismatch::invalid_type(self.word(), &"an object"))
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, TypeMismatch> {
        match self.0 {
            Value::Object(fields) => {
                let mut fields = fields.iter();
                match (fields.next(), fields.next()) {
                    (Some((variant, value)), None) => visitor.visit_enum(Variant {
                        variant,
                        value: Some(value),
                    }),
                    _ => Err(TypeMismatch::custom(
                        "expected an object with one field, the variant's name",
                    )),
                }
            }
            Value::String(variant) => visitor.visit_enum(Variant {
                variant,
                value: None,
            }),
            _ => Err(TypeMismatch::custom(format_args!(
                "expected {}, not {}",
                one_of(variants),
                found_words(self.word())
            ))),
        }
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct
        seq tuple tuple_struct map identifier ignored_any
    }
}

struct Items<'de>(std::iter::Enumerate<std::slice::Iter<'de, Value>>);

impl<'de> SeqAccess<'de> for &mut Items<'de> {
    type Error = TypeMismatch;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, TypeMismatch> {
        let Some((at, item)) = self.0.next() else {
            return Ok(None);
        };
        seed.deserialize(Strict(item))
            .map(Some)
            .map_err(|misfit| misfit.below(at))
    }
}

struct Fields<'de> {
    rest: serde_json::map::Iter<'de>,
    /// Entry whose key was read but whose value was not read yet.
    of: Option<(&'de str, &'de Value)>,
}

impl<'de> MapAccess<'de> for &mut Fields<'de> {
    type Error = TypeMismatch;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, TypeMismatch> {
        let Some((key, value)) = self.rest.next() else {
            return Ok(None);
        };
        self.of = Some((key, value));
        seed.deserialize(BorrowedStrDeserializer::<TypeMismatch>::new(key))
            .map(Some)
            .map_err(|misfit| misfit.below(key))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(
        &mut self,
        seed: V,
    ) -> Result<V::Value, TypeMismatch> {
        let (key, value) = self
            .of
            .take()
            .ok_or_else(|| TypeMismatch::custom("a value was read without its key"))?;
        seed.deserialize(Strict(value))
            .map_err(|misfit| misfit.below(key))
    }
}

struct Variant<'de> {
    variant: &'de str,
    /// The content, or `None` for a text that is the variant's name alone.
    value: Option<&'de Value>,
}

impl<'de> EnumAccess<'de> for Variant<'de> {
    type Error = TypeMismatch;
    type Variant = Content<'de>;

    fn variant_seed<V: DeserializeSeed<'de>>(
        self,
        seed: V,
    ) -> Result<(V::Value, Content<'de>), TypeMismatch> {
        Ok((
            seed.deserialize(BorrowedStrDeserializer::<TypeMismatch>::new(self.variant))?,
            Content(self),
        ))
    }
}

struct Content<'de>(Variant<'de>);

impl<'de> Content<'de> {
    fn value(&self) -> Result<Strict<'de>, TypeMismatch> {
        let missing = || {
            TypeMismatch::custom(format_args!(
                "expected an object with the field `{}`",
                self.0.variant
            ))
        };
        self.0.value.map(Strict).ok_or_else(missing)
    }
}

impl<'de> VariantAccess<'de> for Content<'de> {
    type Error = TypeMismatch;

    fn unit_variant(self) -> Result<(), TypeMismatch> {
        if self.0.value.is_none_or(Value::is_null) {
            Ok(())
        } else {
            Err(TypeMismatch::custom("this value has no content").below(self.0.variant))
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(
        self,
        seed: T,
    ) -> Result<T::Value, TypeMismatch> {
        seed.deserialize(self.value()?)
            .map_err(|misfit| misfit.below(self.0.variant))
    }

    fn tuple_variant<V: Visitor<'de>>(
        self,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, TypeMismatch> {
        self.value()?
            .deserialize_any(visitor)
            .map_err(|misfit| misfit.below(self.0.variant))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, TypeMismatch> {
        self.value()?
            .deserialize_struct("", fields, visitor)
            .map_err(|misfit| misfit.below(self.0.variant))
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Outer {
        name: String,
        inner: Option<Inner>,
        #[serde(default)]
        list: Vec<Inner>,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    struct Inner {
        number: u8,
    }

    fn read(value: Value) -> Result<Outer, TypeMismatch> {
        Outer::deserialize(Strict(&value))
    }

    #[test]
    fn an_array_is_never_read_as_a_struct_at_any_depth() {
        let outer = read(json!({"name": "a", "inner": {"number": 1}, "list": [{"number": 2}]}))
            .expect("objects");
        assert_eq!(
            outer,
            Outer {
                name: "a".to_owned(),
                inner: Some(Inner { number: 1 }),
                list: vec![Inner { number: 2 }]
            }
        );
        for bad in [
            json!(["a", {"number": 1}, []]),
            json!({"name": "a", "inner": [1]}),
            json!({"name": "a", "list": [[2]]}),
            json!({"name": "a", "inner": 1}),
            json!("a"),
            json!({"name": "a", "more": 1}),
            json!({"inner": null}),
        ] {
            assert!(read(bad.clone()).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_value_of_the_wrong_shape_is_reported_with_its_place() {
        for (value, pointer, message) in [
            (
                json!({"name": "a", "inner": {"number": 256}}),
                "/inner/number",
                "expected a whole number from 0 to 255, not the number 256",
            ),
            (
                json!({"name": "a", "list": [{"number": 1}, {"number": "2"}]}),
                "/list/1/number",
                "not the text \"2\": write 2 without quotes",
            ),
            (
                json!({"name": "a", "list": [{"number": 1}, [2]]}),
                "/list/1",
                "expected an object",
            ),
            (
                json!({"name": "a", "m~o/re": 1}),
                "/m~0o~1re",
                "unknown field",
            ),
            (
                json!({"name": "a", "inner": {}}),
                "/inner",
                "missing field `number`",
            ),
            (json!({}), "", "missing field `name`"),
            (json!(7), "", "expected an object, not the number 7"),
        ] {
            let misfit = read(value.clone()).expect_err("no fit");
            assert_eq!(misfit.pointer(), pointer, "{value}");
            assert!(
                misfit.message.contains(message),
                "{value}: {}",
                misfit.message
            );
        }
        let misfit =
            Choice::deserialize(Strict(&json!({"with": {"number": []}}))).expect_err("no fit");
        assert_eq!(misfit.pointer(), "/with/number");
    }

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(rename_all = "lowercase")]
    enum Choice {
        Plain,
        With { number: u8 },
    }

    #[test]
    fn enum_variants_are_read_only_by_name() {
        let read = |value: Value| Choice::deserialize(Strict(&value));
        assert_eq!(read(json!("plain")).expect("plain"), Choice::Plain);
        assert_eq!(
            read(json!({"with": {"number": 3}})).expect("with"),
            Choice::With { number: 3 }
        );
        for bad in [
            json!({"with": [3]}),
            json!({"plain": 1}),
            json!({}),
            json!({"with": {"number": 3}, "plain": null}),
            json!("with"),
            json!("other"),
            json!(0),
        ] {
            assert!(read(bad.clone()).is_err(), "{bad}");
        }
    }
}
