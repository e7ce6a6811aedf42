//! Writes canonical JSON directly from a typed document, without an intermediate tree.
//!
//! The writer supports the parts that documents have: texts, integers, lists and objects. The writer stops at any other
//! part (a float, a variant with content, or a map whose keys need escapes or are out of order). If the writer stops,
//! `crypto::canonical` builds a tree, which also finds the error and the place of the error.

use std::fmt;
use std::ops::Range;

use serde::ser::{self, Impossible, Serialize, Serializer};

use crate::crypto::canonical_text::write_escaped;
use crate::crypto::json::{MAX_DEPTH, MAX_INTEGER, RESERVED_PREFIX};

/// Returns the canonical bytes of `document`, or `None` if the document has an unsupported part.
pub(super) fn write<T: Serialize + ?Sized>(document: &T) -> Option<Vec<u8>> {
    let mut writer = Writer { out: Vec::with_capacity(2048), fields: Vec::new(), scratch: Vec::new(), depth: 0 };
    document.serialize(&mut writer).ok()?;
    Some(writer.out)
}

struct Writer {
    out: Vec<u8>,
    /// The open objects, innermost object last. Each object has the names of its fields and the positions at which they
    /// begin.
    fields: Vec<(&'static str, usize)>,
    /// A buffer for the sorting of an object's fields.
    scratch: Vec<u8>,
    depth: usize,
}

/// The document has a part that this writer does not support.
#[derive(Debug)]
struct Unsupported;

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the document has an unsupported part")
    }
}

impl std::error::Error for Unsupported {}

impl ser::Error for Unsupported {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self
    }
}

impl Writer {
    fn text(&mut self, text: &str) {
        self.out.push(b'"');
        write_escaped(&mut self.out, text);
        self.out.push(b'"');
    }

    fn name(&mut self, name: &str) -> Result<(), Unsupported> {
        if name.starts_with(RESERVED_PREFIX) {
            return Err(Unsupported);
        }
        self.text(name);
        self.out.push(b':');
        Ok(())
    }

    fn enter(&mut self, open: u8) -> Result<(), Unsupported> {
        if self.depth == MAX_DEPTH {
            return Err(Unsupported);
        }
        self.depth += 1;
        self.out.push(open);
        Ok(())
    }

    fn leave(&mut self, close: u8) {
        self.depth -= 1;
        self.out.push(close);
    }

    fn integer(&mut self, magnitude: u64, negative: bool) -> Result<(), Unsupported> {
        if magnitude > MAX_INTEGER {
            return Err(Unsupported);
        }
        if negative {
            self.out.push(b'-');
        }
        let mut digits = [0; 20];
        let mut at = digits.len();
        let mut rest = magnitude;
        loop {
            at -= 1;
            digits[at] = b'0' + (rest % 10) as u8;
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        self.out.extend_from_slice(&digits[at..]);
        Ok(())
    }

    /// Sorts the fields from index `first` on by name. The fields begin at the byte position `begin`.
    fn sort(&mut self, first: usize, begin: usize) -> Result<(), Unsupported> {
        let fields = &self.fields[first..];
        if fields.is_sorted_by(|a, b| a.0 < b.0) {
            return Ok(());
        }
        let end = self.out.len();
        // Each field except the first field has a comma before it.
        let mut ranges: Vec<(&str, usize, usize)> = fields
            .iter()
            .enumerate()
            .map(|(at, (name, from))| (*name, *from, fields.get(at + 1).map_or(end, |(_, next)| next - 1)))
            .collect();
        ranges.sort_unstable_by_key(|(name, ..)| *name);
        if !ranges.is_sorted_by(|a, b| a.0 < b.0) {
            return Err(Unsupported);
        }
        self.scratch.clear();
        for (at, (_, from, to)) in ranges.into_iter().enumerate() {
            if at > 0 {
                self.scratch.push(b',');
            }
            self.scratch.extend_from_slice(&self.out[from..to]);
        }
        self.out[begin..].copy_from_slice(&self.scratch);
        Ok(())
    }
}

impl<'a> Serializer for &'a mut Writer {
    type Ok = ();
    type Error = Unsupported;
    type SerializeSeq = Items<'a>;
    type SerializeTuple = Impossible<(), Unsupported>;
    type SerializeTupleStruct = Impossible<(), Unsupported>;
    type SerializeTupleVariant = Impossible<(), Unsupported>;
    type SerializeMap = Entries<'a>;
    type SerializeStruct = Fields<'a>;
    type SerializeStructVariant = Impossible<(), Unsupported>;

    fn serialize_bool(self, value: bool) -> Result<(), Unsupported> {
        self.out.extend_from_slice(if value { b"true" } else { b"false" });
        Ok(())
    }

    fn serialize_i8(self, value: i8) -> Result<(), Unsupported> {
        self.serialize_i64(value.into())
    }

    fn serialize_i16(self, value: i16) -> Result<(), Unsupported> {
        self.serialize_i64(value.into())
    }

    fn serialize_i32(self, value: i32) -> Result<(), Unsupported> {
        self.serialize_i64(value.into())
    }

    fn serialize_i64(self, value: i64) -> Result<(), Unsupported> {
        self.integer(value.unsigned_abs(), value < 0)
    }

    fn serialize_u8(self, value: u8) -> Result<(), Unsupported> {
        self.integer(value.into(), false)
    }

    fn serialize_u16(self, value: u16) -> Result<(), Unsupported> {
        self.integer(value.into(), false)
    }

    fn serialize_u32(self, value: u32) -> Result<(), Unsupported> {
        self.integer(value.into(), false)
    }

    fn serialize_u64(self, value: u64) -> Result<(), Unsupported> {
        self.integer(value, false)
    }

    fn serialize_f32(self, _: f32) -> Result<(), Unsupported> {
        Err(Unsupported)
    }

    fn serialize_f64(self, _: f64) -> Result<(), Unsupported> {
        Err(Unsupported)
    }

    fn serialize_char(self, value: char) -> Result<(), Unsupported> {
        self.text(value.encode_utf8(&mut [0; 4]));
        Ok(())
    }

    fn serialize_str(self, value: &str) -> Result<(), Unsupported> {
        self.text(value);
        Ok(())
    }

    fn serialize_bytes(self, _: &[u8]) -> Result<(), Unsupported> {
        Err(Unsupported)
    }

    fn serialize_none(self) -> Result<(), Unsupported> {
        self.serialize_unit()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Unsupported> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), Unsupported> {
        self.out.extend_from_slice(b"null");
        Ok(())
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), Unsupported> {
        self.serialize_unit()
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<(), Unsupported> {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Result<(), Unsupported> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<(), Unsupported> {
        Err(Unsupported)
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Items<'a>, Unsupported> {
        self.enter(b'[')?;
        Ok(Items { writer: self, first: true })
    }

    fn serialize_tuple(self, _: usize) -> Result<Self::SerializeTuple, Unsupported> {
        Err(Unsupported)
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Self::SerializeTupleStruct, Unsupported> {
        Err(Unsupported)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, Unsupported> {
        Err(Unsupported)
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Entries<'a>, Unsupported> {
        self.enter(b'{')?;
        Ok(Entries { writer: self, last: None })
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Fields<'a>, Unsupported> {
        self.enter(b'{')?;
        let (first, begin) = (self.fields.len(), self.out.len());
        Ok(Fields { writer: self, first, begin })
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant, Unsupported> {
        Err(Unsupported)
    }

    fn collect_str<T: fmt::Display + ?Sized>(self, value: &T) -> Result<(), Unsupported> {
        struct Escaped<'a>(&'a mut Vec<u8>);
        impl fmt::Write for Escaped<'_> {
            fn write_str(&mut self, text: &str) -> fmt::Result {
                write_escaped(self.0, text);
                Ok(())
            }
        }
        self.out.push(b'"');
        fmt::write(&mut Escaped(&mut self.out), format_args!("{value}")).map_err(|_| Unsupported)?;
        self.out.push(b'"');
        Ok(())
    }
}

/// An open array.
struct Items<'a> {
    writer: &'a mut Writer,
    first: bool,
}

impl ser::SerializeSeq for Items<'_> {
    type Ok = ();
    type Error = Unsupported;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Unsupported> {
        if !self.first {
            self.writer.out.push(b',');
        }
        self.first = false;
        value.serialize(&mut *self.writer)
    }

    fn end(self) -> Result<(), Unsupported> {
        self.writer.leave(b']');
        Ok(())
    }
}

/// The open object of a struct. The writer sorts the fields of the object at the end.
struct Fields<'a> {
    writer: &'a mut Writer,
    /// The index of the object's first field.
    first: usize,
    begin: usize,
}

impl ser::SerializeStruct for Fields<'_> {
    type Ok = ();
    type Error = Unsupported;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), Unsupported> {
        if self.writer.fields.len() > self.first {
            self.writer.out.push(b',');
        }
        self.writer.fields.push((name, self.writer.out.len()));
        self.writer.name(name)?;
        value.serialize(&mut *self.writer)
    }

    fn end(self) -> Result<(), Unsupported> {
        self.writer.sort(self.first, self.begin)?;
        self.writer.fields.truncate(self.first);
        self.writer.leave(b'}');
        Ok(())
    }
}

/// An open map. The keys of the map must arrive in order, as they do in a sorted map.
struct Entries<'a> {
    writer: &'a mut Writer,
    /// The range of the previous key in the output, without its quotes.
    last: Option<Range<usize>>,
}

impl ser::SerializeMap for Entries<'_> {
    type Ok = ();
    type Error = Unsupported;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Unsupported> {
        if self.last.is_some() {
            self.writer.out.push(b',');
        }
        let begin = self.writer.out.len();
        key.serialize(&mut *self.writer)?;
        // Returns the bytes of the key without quotes. Keys without escapes have the same order as their texts.
        let [b'"', text @ .., b'"'] = &self.writer.out[begin..] else { return Err(Unsupported) };
        let before = self.last.clone().map(|last| &self.writer.out[last]);
        if text.contains(&b'\\')
            || text.starts_with(RESERVED_PREFIX.as_bytes())
            || before.is_some_and(|before| before >= text)
        {
            return Err(Unsupported);
        }
        self.last = Some(begin + 1..self.writer.out.len() - 1);
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Unsupported> {
        self.writer.out.push(b':');
        value.serialize(&mut *self.writer)
    }

    fn end(self) -> Result<(), Unsupported> {
        self.writer.leave(b'}');
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashMap};

    use serde::Serialize;
    use serde_json::{Value, json};

    use super::*;
    use crate::crypto::canonical;

    #[derive(Serialize)]
    struct Unsorted {
        zebra: u8,
        #[serde(skip_serializing_if = "Option::is_none")]
        middle: Option<&'static str>,
        apple: Inner,
        list: Vec<Word>,
    }

    #[derive(Serialize)]
    struct Inner {
        b: i64,
        a: BTreeMap<String, Value>,
    }

    #[derive(Serialize)]
    enum Word {
        First,
        Second,
    }

    fn document(middle: Option<&'static str>) -> Unsorted {
        let params = [("a", json!("\u{7f}é\n")), ("ab", json!({"k": [1, -2, null, true]})), ("b", json!({}))];
        let params = params.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let apple = Inner { b: -9_007_199_254_740_991, a: params };
        Unsorted { zebra: 7, middle, apple, list: vec![Word::Second, Word::First] }
    }

    #[test]
    fn every_type_is_written_to_the_same_bytes_as_its_json_tree() {
        for middle in [None, Some("x"), Some("")] {
            let document = document(middle);
            let tree = serde_json::to_value(&document).expect("a tree");
            assert_eq!(write(&document), Some(canonical::to_canonical(&tree)));
            assert_eq!(write(&tree), Some(canonical::to_canonical(&tree)));
        }
    }

    #[test]
    fn values_without_a_canonical_order_are_left_to_the_json_tree() {
        let unordered: HashMap<String, u8> = (0..40).map(|n| (n.to_string(), n)).collect();
        assert_eq!(write(&unordered), None);
        assert_eq!(canonical::canonical_of(&unordered).map(|bytes| bytes.len()).ok(), Some(301));
        assert_eq!(write(&1.5), None);
        assert_eq!(write(&(1_u64 << 53)), None);
        assert_eq!(write(&i64::MIN), None);
        assert_eq!(write(&json!({"$serde_json::x": 1})), None);
        assert_eq!(write(&BTreeMap::from([(1, 1)])), None);
        for escaped in ["é", "a\n", "\"", "\\"] {
            assert_eq!(write(&json!({escaped: 1})), None, "{escaped}");
        }
        assert_eq!(write(&(1, 2)), None);
        assert_eq!(write(&Ok::<u8, u8>(1)), None, "a variant that carries something");
        let nested = |depth| (0..depth).fold(json!([]), |inner, _| json!([inner]));
        assert!(write(&nested(31)).is_some());
        assert_eq!(write(&nested(32)), None);
    }
}
