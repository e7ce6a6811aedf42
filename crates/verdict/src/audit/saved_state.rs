//! The stored state from which the next audit resumes. The state includes the verified checkpoint.
//!
//! The auditor owns the state file and trusts it as much as the roster. The file is written only after an audit without
//! failures. The next audit computes the root from the stored tree and the new entries. If this root differs from the signed
//! root, the log no longer begins with the same entries.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use crate::{
    AuditCounts, Place, UncheckedQuestion,
    audit::{
        grant_uses::SavedGrant,
        reviewed_runs::ReviewedRuns,
        session_chains::{PlanReceipts, SessionChains},
        used_values::SavedUse,
    },
};
use documents::{
    AuthorizationDigest, AuthorizationRef, BlobDigest, Epoch, FollowedLog, Frontier, Hash,
    LeafHash, Name, RevokedSubject, SealDigest, Spent, Timestamp, unhex32,
};

/// Stored state of an audit.
#[skip_serializing_none]
#[derive(PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Kept")]
pub struct SavedAudit {
    /// Version of this format.
    pub version: u64,
    /// Program that wrote the state. Another program version reads the log from its start, because that version may
    /// check more.
    pub program: String,
    /// Id of the boundary that owns the log.
    pub boundary: SealDigest,
    /// Time of the audit, by the auditor's clock.
    pub seen: Option<Timestamp>,
    /// Signed note of the verified head, without changes.
    pub checkpoint: String,
    /// Number of entries.
    pub size: u64,
    /// Roots of the complete subtrees over the audited entries, largest first, in hex.
    pub tree: Vec<String>,
    /// Latest time that an entry stated.
    pub at: Timestamp,
    /// Seals of all open runs, and last the seal in force.
    pub seals: Vec<SavedSeal>,
    /// The blobs with the versions of the roster that the seals so far named, in their order. Version 1 alone is a payload.
    pub rosters: Vec<BlobDigest>,
    /// Old epochs that may not be used again.
    pub past_epochs: Vec<Epoch>,
    /// Names of removed tokens that may not be used again.
    pub gone_tokens: Vec<Name>,
    /// Denied authorizations.
    pub denials: Vec<AuthorizationDigest>,
    /// Revoked subjects, each with the log entry of its revocation.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub revocations: Vec<(RevokedSubject, u64)>,
    /// Numbers of the audited entries and of the results.
    pub counts: AuditCounts,
    /// Program versions that the seals name and that explain why a difference is not a failure.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub engines: Vec<String>,
    /// Previous log of the boundary, if this log continues another log.
    pub follows: Option<FollowedLog>,
    /// State of the runs.
    pub runs: SavedRuns,
}

/// Log entry of a seal.
#[derive(PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "KeptSeal")]
pub struct SavedSeal {
    /// Index of the entry.
    pub index: u64,
    /// Bytes of the entry.
    pub entry: String,
}

/// Data about runs that later entries may refer to.
#[derive(PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "KeptRuns")]
pub struct SavedRuns {
    /// Authorizations at the end of the log that no consumption has named yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waiting: Vec<AuthorizationRef>,
    /// Items of consumptions, in the order of the log, until the ends of their nonces.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub used: Vec<SavedUse>,
    /// Runs without a receipt.
    pub open: Vec<SavedOpenRun>,
    /// Index of the last receipt's log entry, for each exclusive name.
    pub exclusive: BTreeMap<String, u64>,
    /// The last state of each session.
    #[serde(default, skip_serializing_if = "SessionChains::is_empty")]
    pub sessions: SessionChains,
    /// Receipts of plans that a later run can carry out.
    #[serde(default, skip_serializing_if = "PlanReceipts::is_empty")]
    pub plans: PlanReceipts,
    /// The grants of the log, with their uses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub grants: Vec<SavedGrant>,
    /// The emergencies, and the runs with an unknown end.
    #[serde(default, skip_serializing_if = "ReviewedRuns::is_empty")]
    pub reviewed: ReviewedRuns,
    /// Questions that could not be decided, each with the number of decisions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unchecked: Vec<UncheckedQuestion>,
}

/// Run that has no receipt yet.
#[derive(PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "KeptRun")]
pub struct SavedOpenRun {
    /// Log entry of the consumption, and the position of the nonce in it.
    pub place: Place,
    /// Leaf hash of the consumption's log entry.
    pub leaf: LeafHash,
    /// Time at which the nonce was spent.
    pub at: Timestamp,
    /// Item of the consumption that spent the nonce.
    pub spent: Spent,
    /// Log entry of the seal that was in force for this run.
    pub seal: u64,
}

impl SavedAudit {
    /// Version of the state format.
    pub const VERSION: u64 = 4;
    /// Name and version of this program.
    pub const PROGRAM: &'static str = concat!("countersign ", env!("CARGO_PKG_VERSION"));

    /// Returns true if this program version wrote the state. Only the checkpoint of another version's state is usable.
    pub fn is_ours(&self) -> bool {
        self.version == Self::VERSION && self.program == Self::PROGRAM
    }

    /// Returns the tree over the stored entries, or `None` if the hashes do not fit the size.
    pub fn frontier(&self) -> Option<Frontier> {
        let parts: Option<Vec<Hash>> = self.tree.iter().map(|part| unhex32(part)).collect();
        Frontier::from_parts(self.size, parts?)
    }
}
