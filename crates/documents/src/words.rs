//! The macro for enums whose values are words.

/// Declares an enum with a word for each value: `ALL` has the values in the order of the declaration, and `word` returns the
/// word of a value.
#[macro_export]
macro_rules! words {
    ($(#[$of_enum:meta])* $visible:vis enum $name:ident { $($(#[$of_value:meta])* $value:ident = $word:literal,)* }) => {
        $(#[$of_enum])*
        $visible enum $name {
            $($(#[$of_value])* $value,)*
        }

        impl $name {
            /// Every value, in the order of the declaration.
            #[allow(dead_code, reason = "not every list of words is shown as a whole")]
            $visible const ALL: [Self; [$($word),*].len()] = [$(Self::$value),*];

            /// Returns the word for this value in documents, commands and messages.
            $visible const fn word(self) -> &'static str {
                match self { $(Self::$value => $word),* }
            }
        }
    };
}
