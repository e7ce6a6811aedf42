//! State that an auditor stores between two audits: the verified checkpoint and the data to resume from.
//!
//! The auditor owns the state file and trusts the file as much as the roster. The file is written only after an audit
//! without failures. The root shows whether the log still begins with the same entries, because the root is computed
//! from the stored tree.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::audit::finding::{AuditCounts, UncheckedQuestion};
use crate::crypto::digest::{AuthorizationDigest, LeafHash, SealDigest, unhex32};
use crate::crypto::merkle::{Frontier, Hash};
use crate::record::consumption::Spent;
use crate::record::ident::{Epoch, Name, Nonce, ProposalId};
use crate::record::seal::FollowedLog;
use crate::record::validity::Timestamp;

/// The kept state of an audit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Kept")]
pub struct SavedAudit {
    /// Of this format.
    pub version: u64,
    /// The program that wrote it: another version may check more, and reads the log from its start.
    pub program: String,
    /// Whose log.
    pub boundary: SealDigest,
    /// When that was, by the auditor's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<Timestamp>,
    /// The signed head that was verified, as it was read.
    pub checkpoint: String,
    /// Its size.
    pub size: u64,
    /// The roots of the complete subtrees over its entries, largest first, in hex.
    pub tree: Vec<String>,
    /// The latest time that an entry stated.
    pub at: Timestamp,
    /// The seals of what is open, and last the one in force.
    pub seals: Vec<SavedSeal>,
    /// Epochs that may not come back.
    pub past_epochs: Vec<Epoch>,
    /// Names of tokens that may not come back.
    pub gone_tokens: Vec<Name>,
    /// What was denied.
    pub denials: Vec<AuthorizationDigest>,
    /// How much there was.
    pub counts: AuditCounts,
    /// Other versions of the program, as seals name them, whose word something was excused by.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub engines: Vec<String>,
    /// The log that this one follows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub follows: Option<FollowedLog>,
    /// Nonces and runs.
    pub runs: SavedRuns,
}

/// A seal's entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "KeptSeal")]
pub struct SavedSeal {
    /// Where it stands.
    pub index: u64,
    /// Its bytes.
    pub entry: String,
}

/// What is still to be watched of runs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "KeptRuns")]
pub struct SavedRuns {
    /// What is spent and not expired.
    pub live: Vec<SavedNonce>,
    /// Proposals with a receipt whose authorization is not expired.
    pub proposals: Vec<(ProposalId, Timestamp)>,
    /// Those that are expired, with the last open run that may still end with the same receipt id.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub late: Vec<(ProposalId, (u64, u64))>,
    /// Runs without a receipt.
    pub open: Vec<SavedOpenRun>,
    /// By exclusive name, the entry of the last receipt.
    pub exclusive: BTreeMap<String, u64>,
    /// What could not be decided of decisions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unchecked: Vec<UncheckedQuestion>,
}

/// A nonce that is spent and not expired.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "KeptLive")]
pub struct SavedNonce {
    /// The nonce.
    pub nonce: Nonce,
    /// What it was spent for.
    pub authorization: AuthorizationDigest,
    /// When it is expired.
    pub until: Timestamp,
    /// Entry and item of its consumption.
    pub place: (u64, u64),
}

/// A run without a receipt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "KeptRun")]
pub struct SavedOpenRun {
    /// Entry and item of its consumption.
    pub place: (u64, u64),
    /// The hash of that entry.
    pub leaf: LeafHash,
    /// When it was spent.
    pub at: Timestamp,
    /// What was spent.
    pub spent: Spent,
    /// The entry of the seal in force then.
    pub seal: u64,
}

impl SavedAudit {
    /// Version of the state format.
    pub const VERSION: u64 = 1;
    /// Name and version of this program.
    pub const PROGRAM: &'static str = concat!("countersign ", env!("CARGO_PKG_VERSION"));

    /// Returns true if this program version wrote the state. Otherwise only the stored checkpoint is usable.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        self.version == Self::VERSION && self.program == Self::PROGRAM
    }

    /// Returns the tree over the stored entries, or `None` if the hashes do not fit the size.
    #[must_use]
    pub fn frontier(&self) -> Option<Frontier> {
        let parts: Option<Vec<Hash>> = self.tree.iter().map(|part| unhex32(part)).collect();
        Frontier::from_parts(self.size, parts?)
    }
}
