//! Tokens in the form in which the seal lists them, without their secrets.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::record::ident::Name;
use crate::record::validity::Timestamp;

/// A token as its seal knows it. The seal's blob is the array of them, sorted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SealedToken {
    /// Its name, never used twice; it becomes the proposer.
    pub name: Name,
    /// Roster people who control it; they count as the proposer.
    pub owners: Vec<Name>,
    /// What it allows, sorted.
    pub scopes: Vec<Scope>,
    /// Steps that it is limited to, as patterns over refs, sorted; empty means all.
    pub patterns: Vec<String>,
    /// When it ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
}

/// What a token allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Cancel, and whatever an operator does.
    Operate,
    /// Propose, and see one's own proposals.
    Propose,
    /// Read everything.
    Read,
}

impl Scope {
    /// Returns the name of the scope in documents.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Operate => "operate",
            Self::Propose => "propose",
            Self::Read => "read",
        }
    }
}
