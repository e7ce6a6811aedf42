//! A signed field, and how a reader learns its value.

use serde_json::Value;

/// A signed field, and how a reader learns its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedField {
    /// `signed.predicate.reason`, or `definition.title` for what the signed digest of the definition covers.
    pub path: String,
    /// Its value.
    pub value: Value,
    /// How a reader learns it.
    pub why: FieldReason,
}

/// How a reader learns a field's value from the decision screen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldReason {
    /// A line of this name shows it.
    Shown(&'static str),
    /// It equals this, which is shown.
    Equals(&'static str),
    /// It is a built-in default.
    Default,
    /// It only says what parameters may be. The parameters are shown, and fit.
    Schema,
    /// It would equal this, but the check of that does not hold, which stops signing already.
    Open(&'static str),
    /// Not at all.
    Nowhere,
}

impl FieldReason {
    /// In words.
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
