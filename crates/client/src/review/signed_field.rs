//! Signed field and its coverage by the decision screen.

use serde_json::Value;

/// Signed field and its coverage by the decision screen.
#[derive(Clone)]
pub struct SignedField {
    /// Path of the field, for example `signed.predicate.reason`, or `definition.title` for a field of the definition.
    pub path: String,
    /// Value of the field.
    pub value: Value,
    /// Reason why the field counts as shown, or not.
    pub why: FieldReason,
}

/// Coverage of a field by the decision screen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum FieldReason {
    /// A line with this name shows the field.
    Shown(&'static str),
    /// The field equals this value, which the screen shows.
    Equals(&'static str),
    /// The field has its built-in default.
    Default,
    /// The field only restricts the parameters, which the screen shows and which fit the schema.
    Schema,
    /// The field should equal this value, but the check failed, so signing is impossible.
    Open(&'static str),
    /// The screen does not cover the field.
    Nowhere,
}

impl FieldReason {
    /// Returns the description in words, for the list of fields.
    pub fn words(self) -> String {
        match self {
            Self::Shown(name) => format!("shown: {name}"),
            Self::Equals(what) => format!("equals {what}"),
            Self::Default => "a built-in default".to_owned(),
            Self::Schema => "only restricts the parameters".to_owned(),
            Self::Open(what) => format!("NOT PROVED to equal {what}"),
            Self::Nowhere => "NOT SHOWN".to_owned(),
        }
    }
}
