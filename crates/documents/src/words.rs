//! The macros for enums whose values are words, and for types that documents contain as a text.

/// Declares an enum with a word for each value: `ALL` has the values in the order of the declaration, and `word` returns the
/// word of a value. The values can be copied and compared, and `Display` writes the word.
#[macro_export]
macro_rules! words {
    ($(#[$of_enum:meta])* $visible:vis enum $name:ident { $($(#[$of_value:meta])* $value:ident = $word:literal,)* }) => {
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        $(#[$of_enum])*
        $visible enum $name {
            $($(#[$of_value])* $value,)*
        }

        impl $name {
            /// Every value, in the order of the declaration.
            #[allow(dead_code, reason = "not every list of words is shown as a whole")]
            $visible const ALL: [Self; [$($word),*].len()] = [$(Self::$value),*];

            /// Returns the word for this value in commands and messages. The name in a document, which serde writes,
            /// can differ: the word is `not started`, and the name is `not_started`.
            $visible fn word(self) -> &'static str {
                match self { $(Self::$value => $word),* }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
                f.write_str(self.word())
            }
        }
    };
}

/// Implements serde and the JSON schema for a type that is a text in documents. The type must have `FromStr`, `$write` writes
/// the text, and `$schema` describes it.
macro_rules! written_as_text {
    ($name:ident, |$this:ident, $serializer:ident| $write:expr, $schema:tt) => {
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, $serializer: S) -> Result<S::Ok, S::Error> {
                let $this = self;
                $write
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }

        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }
            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!($schema)
            }
        }
    };
}
