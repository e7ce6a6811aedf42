//! Writer of canonical JSON: a serde serializer, for typed documents and for JSON trees.
//!
//! The writer refuses everything that documents never contain: tuple structs, variants with several fields, bytes, and
//! keys that are not texts.

use std::{borrow::Cow, fmt, io::Write as _, ops::Range};

use serde::ser::{self, Error as _, Impossible, Serialize, Serializer};
use serde_json::{Number, Value};

use crate::{
    MAX_INTEGER, Reason,
    crypto::{
        json::{MAX_DEPTH, RESERVED_PREFIX, write_escaped},
        shape::push_step,
    },
};

/// Returns the canonical bytes of a document, or the rule of the strict reader that the document breaks.
pub fn write<T: Serialize + ?Sized>(document: &T) -> Result<Vec<u8>, Box<Flaw>> {
    let mut writer = Writer::new(true);
    document.serialize(&mut writer)?;
    Ok(writer.out)
}

/// Returns the canonical bytes of a value without checking the rules of the strict reader.
pub fn write_unchecked(value: &Value) -> Vec<u8> {
    let mut writer = Writer::new(false);
    #[expect(
        clippy::expect_used,
        reason = "the keys of a value are texts, each once; the other rules are not checked"
    )]
    value.serialize(&mut writer).expect("a value has no flaw");
    writer.out
}

#[derive(Debug)]
pub struct Flaw {
    /// Broken rule, or `None` if a part cannot be written at all.
    pub rule: Option<Reason>,
    /// Description of the part that cannot be written, if no rule is broken.
    pub message: String,
    pub pointer: String,
}

impl Flaw {
    fn broken(rule: Reason) -> Box<Self> {
        Box::new(Self {
            rule: Some(rule),
            message: String::new(),
            pointer: String::new(),
        })
    }

    /// Adds the key or index `step` of the parent to the pointer of the flaw.
    fn below(mut self: Box<Self>, step: &str) -> Box<Self> {
        let mut pointer = String::new();
        push_step(&mut pointer, step);
        self.pointer.insert_str(0, &pointer);
        self
    }
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(self.rule.map_or(&*self.message, |rule| rule.word()))
    }
}

impl std::error::Error for Flaw {}

// The error is boxed, because the writer returns a `Result` for every part of a document and a `Result` is as large as
// its error.
impl ser::Error for Box<Flaw> {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(Flaw {
            rule: None,
            message: message.to_string(),
            pointer: String::new(),
        })
    }
}

struct Writer {
    out: Vec<u8>,
    /// Places of the keys of all open objects, including the quotes. The keys of the innermost object are last.
    fields: Vec<Range<usize>>,
    /// Buffer for sorting the fields of an object.
    scratch: Vec<u8>,
    depth: usize,
    /// True if the writer checks the rules of the strict reader.
    strict: bool,
}

type Written = Result<(), Box<Flaw>>;

impl Writer {
    fn new(strict: bool) -> Self {
        // Most documents fit into these capacities, so the buffers rarely grow.
        Self {
            out: Vec::with_capacity(8192),
            fields: Vec::with_capacity(32),
            scratch: Vec::new(),
            depth: 0,
            strict,
        }
    }

    fn enter(&mut self, open: u8) -> Written {
        if self.strict && self.depth == MAX_DEPTH {
            return Err(Flaw::broken(Reason::Depth));
        }
        self.depth += 1;
        self.out.push(open);
        Ok(())
    }

    fn leave(&mut self, close: u8) {
        self.depth -= 1;
        self.out.push(close);
    }

    fn object(&mut self) -> Result<Object<'_>, Box<Flaw>> {
        self.enter(b'{')?;
        let (first, begin) = (self.fields.len(), self.out.len());
        Ok(Object {
            writer: self,
            first,
            begin,
            sorted: true,
        })
    }

    fn integer(&mut self, magnitude: u64, negative: bool) -> Written {
        if self.strict && magnitude > MAX_INTEGER {
            return Err(Flaw::broken(Reason::Number));
        }
        if negative {
            self.out.push(b'-');
        }
        // The digits are written without the formatting macros, which take several times as long, because each document
        // has many numbers.
        let (mut digits, mut at, mut rest) = ([0; 20], 20, magnitude);
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

    /// Sorts the fields from index `first` on by their keys. The fields begin at byte `begin`.
    fn sort(&mut self, first: usize, begin: usize) -> Written {
        let (out, fields) = (&self.out, &self.fields[first..]);
        // Each field except the first has a comma before it.
        let ends = fields
            .iter()
            .skip(1)
            .map(|next| next.start - 1)
            .chain([out.len()]);
        let mut parts: Vec<(Cow<'_, [u8]>, &[u8])> = fields
            .iter()
            .zip(ends)
            .map(|(key, end)| (key_text(&out[key.clone()]), &out[key.start..end]))
            .collect();
        parts.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        if let Some(pair) = parts.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(
                Flaw::broken(Reason::DuplicateKey).below(&String::from_utf8_lossy(&pair[0].0))
            );
        }
        self.scratch.clear();
        for (at, (_, part)) in parts.into_iter().enumerate() {
            if at > 0 {
                self.scratch.push(b',');
            }
            self.scratch.extend_from_slice(part);
        }
        self.out[begin..].copy_from_slice(&self.scratch);
        Ok(())
    }
}

/// Returns the text of a written key, without quotes and escapes.
fn key_text(quoted: &[u8]) -> Cow<'_, [u8]> {
    let plain = &quoted[1..quoted.len() - 1];
    if !plain.contains(&b'\\') {
        return Cow::Borrowed(plain);
    }
    #[expect(
        clippy::expect_used,
        reason = "the writer wrote the key as a JSON text"
    )]
    let text: String = serde_json::from_slice(quoted).expect("a JSON text");
    Cow::Owned(text.into_bytes())
}

impl<'a> Serializer for &'a mut Writer {
    type Ok = ();
    type Error = Box<Flaw>;
    type SerializeSeq = Items<'a>;
    type SerializeTuple = Items<'a>;
    type SerializeTupleStruct = Impossible<(), Box<Flaw>>;
    type SerializeTupleVariant = Impossible<(), Box<Flaw>>;
    type SerializeMap = Object<'a>;
    type SerializeStruct = Object<'a>;
    type SerializeStructVariant = Impossible<(), Box<Flaw>>;

    fn serialize_bool(self, value: bool) -> Written {
        self.out
            .extend_from_slice(if value { b"true" } else { b"false" });
        Ok(())
    }

    fn serialize_i8(self, value: i8) -> Written {
        self.serialize_i64(value.into())
    }

    fn serialize_i16(self, value: i16) -> Written {
        self.serialize_i64(value.into())
    }

    fn serialize_i32(self, value: i32) -> Written {
        self.serialize_i64(value.into())
    }

    fn serialize_i64(self, value: i64) -> Written {
        self.integer(value.unsigned_abs(), value < 0)
    }

    fn serialize_u8(self, value: u8) -> Written {
        self.integer(value.into(), false)
    }

    fn serialize_u16(self, value: u16) -> Written {
        self.integer(value.into(), false)
    }

    fn serialize_u32(self, value: u32) -> Written {
        self.integer(value.into(), false)
    }

    fn serialize_u64(self, value: u64) -> Written {
        self.integer(value, false)
    }

    fn serialize_f32(self, value: f32) -> Written {
        self.serialize_f64(value.into())
    }

    fn serialize_f64(self, value: f64) -> Written {
        if self.strict {
            return Err(Flaw::broken(Reason::Number));
        }
        // A write into a `Vec` never fails, and a JSON value is never infinite or NaN.
        drop(Number::from_f64(value).map(|number| write!(self.out, "{number}")));
        Ok(())
    }

    fn serialize_char(self, value: char) -> Written {
        self.serialize_str(value.encode_utf8(&mut [0; 4]))
    }

    fn serialize_str(self, value: &str) -> Written {
        self.out.push(b'"');
        write_escaped(&mut self.out, value);
        self.out.push(b'"');
        Ok(())
    }

    fn serialize_bytes(self, _: &[u8]) -> Written {
        Err(unsupported("bytes"))
    }

    fn serialize_none(self) -> Written {
        self.serialize_unit()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Written {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Written {
        self.out.extend_from_slice(b"null");
        Ok(())
    }

    fn serialize_unit_struct(self, _: &'static str) -> Written {
        self.serialize_unit()
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Written {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Written {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Written {
        let mut object = self.object()?;
        object.name(variant)?;
        object.value(value)?;
        object.close()
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Items<'a>, Box<Flaw>> {
        self.enter(b'[')?;
        Ok(Items {
            writer: self,
            count: 0,
        })
    }

    fn serialize_tuple(self, length: usize) -> Result<Items<'a>, Box<Flaw>> {
        self.serialize_seq(Some(length))
    }

    fn serialize_tuple_struct(
        self,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleStruct, Box<Flaw>> {
        Err(unsupported("a tuple struct"))
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, Box<Flaw>> {
        Err(unsupported("a variant with several fields"))
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Object<'a>, Box<Flaw>> {
        self.object()
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Object<'a>, Box<Flaw>> {
        self.object()
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant, Box<Flaw>> {
        Err(unsupported("a variant with several fields"))
    }

    fn collect_str<T: fmt::Display + ?Sized>(self, value: &T) -> Written {
        struct Escaped<'a>(&'a mut Vec<u8>);
        impl fmt::Write for Escaped<'_> {
            fn write_str(&mut self, text: &str) -> fmt::Result {
                write_escaped(self.0, text);
                Ok(())
            }
        }
        self.out.push(b'"');
        fmt::write(&mut Escaped(&mut self.out), format_args!("{value}"))
            .map_err(Box::<Flaw>::custom)?;
        self.out.push(b'"');
        Ok(())
    }
}

fn unsupported(part: &str) -> Box<Flaw> {
    Box::<Flaw>::custom(format_args!("{part} has no form in a document"))
}

/// An open array.
struct Items<'a> {
    writer: &'a mut Writer,
    /// Number of elements so far.
    count: usize,
}

impl ser::SerializeSeq for Items<'_> {
    type Ok = ();
    type Error = Box<Flaw>;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Written {
        if self.count > 0 {
            self.writer.out.push(b',');
        }
        value
            .serialize(&mut *self.writer)
            .map_err(|flaw| flaw.below(&self.count.to_string()))?;
        self.count += 1;
        Ok(())
    }

    fn end(self) -> Written {
        self.writer.leave(b']');
        Ok(())
    }
}

impl ser::SerializeTuple for Items<'_> {
    type Ok = ();
    type Error = Box<Flaw>;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Written {
        ser::SerializeSeq::serialize_element(self, value)
    }

    fn end(self) -> Written {
        ser::SerializeSeq::end(self)
    }
}

/// An open struct or map. If the keys do not arrive in order, the fields are sorted at the end.
struct Object<'a> {
    writer: &'a mut Writer,
    /// Index of the first field in [`Writer::fields`].
    first: usize,
    begin: usize,
    /// True if all keys so far are in order and have no escapes. Keys without escapes sort like their texts.
    sorted: bool,
}

impl Object<'_> {
    fn key<T: Serialize + ?Sized>(&mut self, key: &T) -> Written {
        let writer = &mut *self.writer;
        let previous = writer.fields[self.first..].last().cloned();
        if previous.is_some() {
            writer.out.push(b',');
        }
        let begin = writer.out.len();
        key.serialize(&mut *writer)?;
        let [b'"', text @ .., b'"'] = &writer.out[begin..] else {
            return Err(unsupported("a key that is not a text"));
        };
        if writer.strict && text.starts_with(RESERVED_PREFIX.as_bytes()) {
            return Err(Flaw::broken(Reason::ReservedKey)
                .below(&String::from_utf8_lossy(&key_text(&writer.out[begin..]))));
        }
        if self.sorted {
            let after = previous.is_none_or(|key| &writer.out[key.start + 1..key.end - 1] < text);
            self.sorted = after && !text.contains(&b'\\');
        }
        let key = begin..writer.out.len();
        writer.fields.push(key);
        writer.out.push(b':');
        Ok(())
    }

    /// Writes the name of a struct's field. All names of fields are plain identifiers, so this function is faster than
    /// `key`.
    fn name(&mut self, name: &'static str) -> Written {
        debug_assert!(
            name.bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"_-$:".contains(&byte)),
            "{name}"
        );
        if name.starts_with(RESERVED_PREFIX) {
            return Err(Flaw::broken(Reason::ReservedKey).below(name));
        }
        let Writer { out, fields, .. } = &mut *self.writer;
        if fields.len() > self.first {
            let key = &fields[fields.len() - 1];
            self.sorted = self.sorted && &out[key.start + 1..key.end - 1] < name.as_bytes();
            out.push(b',');
        }
        let begin = out.len();
        out.push(b'"');
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b"\":");
        fields.push(begin..out.len() - 1);
        Ok(())
    }

    fn value<T: Serialize + ?Sized>(&mut self, value: &T) -> Written {
        let field = self.writer.fields.len() - 1;
        value.serialize(&mut *self.writer).map_err(|flaw| {
            let key = self.writer.fields[field].clone();
            flaw.below(&String::from_utf8_lossy(&key_text(&self.writer.out[key])))
        })
    }

    fn close(self) -> Written {
        if !self.sorted {
            self.writer.sort(self.first, self.begin)?;
        }
        self.writer.fields.truncate(self.first);
        self.writer.leave(b'}');
        Ok(())
    }
}

impl ser::SerializeStruct for Object<'_> {
    type Ok = ();
    type Error = Box<Flaw>;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Written {
        self.name(name)?;
        self.value(value)
    }

    fn end(self) -> Written {
        self.close()
    }
}

impl ser::SerializeMap for Object<'_> {
    type Ok = ();
    type Error = Box<Flaw>;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Written {
        self.key(key)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Written {
        self.value(value)
    }

    fn end(self) -> Written {
        self.close()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashMap};

    use serde::Serialize;
    use serde_json::{Value, json};

    use super::*;
    use crate::canonical;

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
    #[serde(rename_all = "lowercase")]
    enum Word {
        First,
        Second,
        Content(Vec<f64>),
        Several(u8, u8),
    }

    fn document(middle: Option<&'static str>) -> Unsorted {
        let params = [
            ("a", json!("\u{7f}é\n")),
            ("ab", json!({"k": [1, -2, null, true]})),
            ("b", json!({})),
        ];
        let params = params
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect();
        let apple = Inner {
            b: -9_007_199_254_740_991,
            a: params,
        };
        Unsorted {
            zebra: 7,
            middle,
            apple,
            list: vec![Word::Second, Word::First, Word::Content(vec![])],
        }
    }

    #[test]
    fn a_typed_document_is_written_like_its_json_tree() {
        for middle in [None, Some("x"), Some("")] {
            let document = document(middle);
            let tree = serde_json::to_value(&document).expect("a tree");
            assert_eq!(
                write(&document).expect("written"),
                canonical::to_canonical(&tree)
            );
        }
        let bytes = write(&document(Some("\u{1f600}"))).expect("written");
        let expected =
            r#"{"apple":{"a":{"a":"\u007f\u00e9\n","ab":{"k":[1,-2,null,true]},"b":{}},"b":-9007199254740991},"#
                .to_owned()
                + r#""list":["second","first",{"content":[]}],"middle":"\ud83d\ude00","zebra":7}"#;
        assert_eq!(String::from_utf8(bytes), Ok(expected));
    }

    #[test]
    fn keys_are_sorted_by_their_text_and_not_by_their_escapes() {
        // U+00E9 sorts after `z`, but its escape sorts before `z`.
        let texts = [
            "z",
            "\u{e9}",
            "\"",
            "\\",
            "a\n",
            "a",
            "ab",
            "",
            "\u{1f600}",
            "\u{ffff}",
        ];
        let keys: HashMap<&str, u8> = texts.into_iter().zip(0..).collect();
        let tree: BTreeMap<&str, u8> = texts.into_iter().zip(0..).collect();
        let bytes = write(&keys).expect("written");
        assert_eq!(bytes, write(&tree).expect("written"));
        let expected = r#"{"":7,"\"":2,"\\":3,"a":5,"a\n":4,"ab":6,"z":0,"\u00e9":1,"\uffff":9,"\ud83d\ude00":8}"#;
        assert_eq!(String::from_utf8(bytes).as_deref(), Ok(expected));
        let unordered: HashMap<String, u8> = (0..40).map(|n| (n.to_string(), n)).collect();
        assert_eq!(
            write(&[&unordered]).map(|bytes| bytes.len()).ok(),
            Some(303)
        );
    }

    #[derive(Serialize)]
    struct Reserved {
        #[serde(rename = "$serde_json::x")]
        name: u8,
    }

    #[derive(Serialize)]
    struct Twice {
        a: u8,
        #[serde(flatten)]
        rest: BTreeMap<&'static str, Value>,
    }

    #[test]
    fn a_part_without_a_canonical_form_is_refused_with_its_place() {
        let refused = |flaw: Result<Vec<u8>, Box<Flaw>>| {
            let flaw = flaw.expect_err("refused");
            (flaw.rule, flaw.pointer)
        };
        let number = |pointer: &str| (Some(Reason::Number), pointer.to_owned());
        assert_eq!(refused(write(&1.5)), number(""));
        assert_eq!(refused(write(&(1_u64 << 53))), number(""));
        assert_eq!(refused(write(&(1, i64::MIN))), number("/1"));
        assert_eq!(
            refused(write(&json!({"a": 1, "b~/\n": [{"\u{e9}": 1.5}]}))),
            number("/b~0~1\n/0/\u{e9}")
        );
        assert_eq!(
            refused(write(&Word::Content(vec![0.5]))),
            number("/content/0")
        );
        let reserved = (Some(Reason::ReservedKey), "/a/$serde_json::x".to_owned());
        assert_eq!(
            refused(write(&json!({"a": {"$serde_json::x": 1}}))),
            reserved
        );
        assert_eq!(
            refused(write(&[Reserved { name: 1 }])).1,
            "/0/$serde_json::x"
        );
        let twice = |key| Twice {
            a: 1,
            rest: [(key, json!(2))].into(),
        };
        assert_eq!(
            refused(write(&twice("a"))),
            (Some(Reason::DuplicateKey), "/a".to_owned())
        );
        assert_eq!(
            write(&twice("A")).ok().as_deref(),
            Some(&br#"{"A":2,"a":1}"#[..])
        );
        assert_eq!(
            refused(write(&BTreeMap::from([(1, 1)]))),
            (None, String::new()),
            "a key that is not a text"
        );
        assert_eq!(
            refused(write(&[Word::Several(1, 2)])),
            (None, "/0".to_owned()),
            "a variant with several fields"
        );
        let nested = |depth| (0..depth).fold(json!([]), |inner, _| json!([inner]));
        assert!(write(&nested(31)).is_ok());
        assert_eq!(
            refused(write(&nested(32))),
            (Some(Reason::Depth), "/0".repeat(32))
        );
    }

    #[test]
    fn a_value_with_broken_rules_is_written_by_the_unchecked_writer() {
        let value = json!({"$serde_json::x": [1.5, 1e300, u64::MAX, i64::MIN, -0.0]});
        let expected =
            r#"{"$serde_json::x":[1.5,1e+300,18446744073709551615,-9223372036854775808,-0.0]}"#;
        assert_eq!(std::str::from_utf8(&write_unchecked(&value)), Ok(expected));
    }
}
