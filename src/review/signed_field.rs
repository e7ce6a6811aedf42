//! Signed field, with the way in which the decision screen covers it.

use serde_json::Value;

/// Signed field, with the way in which the decision screen covers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedField {
    /// Path of the field: `signed.predicate.reason`, for example, or `definition.title` for a field of the definition.
    pub path: String,
    /// Value of the field.
    pub value: Value,
    /// Way in which the decision screen covers the field.
    pub why: FieldReason,
}

/// Way in which the decision screen covers a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldReason {
    /// A line with this name shows the field.
    Shown(&'static str),
    /// The field equals this value, which the screen shows.
    Equals(&'static str),
    /// The field has its built-in default.
    Default,
    /// The field only restricts the parameters. The screen shows the parameters, and they fit the schema.
    Schema,
    /// The field should equal this value, but the check of this value did not pass. The failed check stops signing.
    Open(&'static str),
    /// The screen does not cover the field.
    Nowhere,
}

impl FieldReason {
    /// Returns the text for people.
    #[must_use]
    pub fn words(self) -> String {
        match self {
            Self::Shown(name) => format!("shown: {name}"),
            Self::Equals(what) => format!("equals {what}"),
            Self::Default => "a built-in default".to_owned(),
            Self::Schema => "says what parameters may be".to_owned(),
            Self::Open(what) => format!("NOT PROVED to equal {what}"),
            Self::Nowhere => "NOT SHOWN".to_owned(),
        }
    }
}
