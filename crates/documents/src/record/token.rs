//! Tokens in the form in which the seal lists them, without their secrets.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Name, Timestamp};

/// A token, as a seal names it. The blob `tokens` of a seal is the sorted array of these entries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SealedToken {
    /// Name of the token, which is the `proposer` of its proposals. A name is never used again after its token was
    /// removed.
    pub name: Name,
    /// People who control the token. Their signatures do not count for its proposals.
    pub owners: Vec<Name>,
    /// What the token permits, sorted.
    pub scopes: Vec<Scope>,
    /// Globs for the refs of the steps that the token may propose, sorted. An empty list means all steps.
    pub patterns: Vec<String>,
    /// The token is valid before this time, and no longer from this time on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
}

words! {
    /// What a token permits.
    #[derive(
        Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
    )]
    #[serde(rename_all = "lowercase")]
    pub enum Scope {
        /// Read all proposals, receipts and outputs, and cancel proposals.
        Operate = "operate",
        /// Propose runs, and read the token's own proposals.
        Propose = "propose",
        /// Read everything.
        Read = "read",
    }
}
