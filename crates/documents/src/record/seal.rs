//! Seal: the signed state of registry, policy and roster.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::crypto::digest::{BlobDigest, PolicyDigest, RegistryRoot, RosterDigest, SealDigest};
use crate::crypto::key_id::KeyId;
use crate::record::bundle::MAX_BUNDLE_BYTES;
use crate::record::document::{Predicate, Statement, Subject, check_sorted, check_subjects};
use crate::record::ident::{BoundaryName, Epoch, GenesisSalt};
use crate::record::malformed::Malformed;
use crate::record::validity::Timestamp;

/// Maximum size of a blob that a seal may name, in bytes. An auditor reads no larger blob, and it would not fit into a
/// bundle.
pub const MAX_BLOB_BYTES: usize = MAX_BUNDLE_BYTES;

/// What is in force from this log entry on, until the next seal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Seal {
    /// Whose state.
    pub boundary: SealedBoundary,
    /// Authorizations of another epoch are void.
    pub epoch: Epoch,
    /// When it was made.
    pub at: Timestamp,
    /// 0 for the genesis seal, then counting.
    pub number: u64,
    /// Digest of the earlier seal's payload.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<SealDigest>,
    /// RFC 6962 root of the registry's leaves.
    pub registry_root: RegistryRoot,
    /// Blob: the canonical array of the registry's leaves.
    pub registry: BlobDigest,
    /// Blob: the policy's canonical JSON as written.
    pub policy: PolicyDigest,
    /// Blob: the program's built-in policy lists.
    pub builtins: BlobDigest,
    /// Blob: the roster's payload.
    pub roster: RosterDigest,
    /// Blob: the canonical array of the envelopes of every version of the roster from 1 to this one, with the
    /// signatures that let it follow: a bundle's `roster`. Left out when it is version 1, which nobody signs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rosters: Option<BlobDigest>,
    /// Blob: tokens by name, owners, scopes, patterns, expiry; never hashes of secrets.
    pub tokens: BlobDigest,
    /// Blob: `{limits, sandbox}` in force.
    pub configuration: BlobDigest,
    /// All key ids of the boundary's roster entry, sorted.
    #[schemars(length(min = 1), extend("uniqueItems" = true))]
    pub keys: Vec<KeyId>,
    /// The program and its version.
    pub engine: String,
    /// Only in the first seal: what makes the boundary's id its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub genesis: Option<Genesis>,
}

/// The boundary of a seal; its id is the digest of the genesis seal, which therefore has none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SealedBoundary {
    /// Its name.
    pub name: BoundaryName,
    /// Its id, but in the genesis seal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<SealDigest>,
}

/// What begins a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged, deny_unknown_fields)]
pub enum Genesis {
    /// A new boundary: 32 random bytes in hex.
    New(GenesisSalt),
    /// A restored or upgraded store: a new log that names the old one.
    Follows {
        /// The log that it follows.
        follows: FollowedLog,
    },
}

/// A log that a restore closed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Followed")]
pub struct FollowedLog {
    /// The old boundary's id.
    pub id: SealDigest,
    /// Its last known checkpoint, as text.
    pub checkpoint: String,
}

/// Name and version of this program in seals. The number after `+` is that of the parser of scripts.
pub const ENGINE: &str = concat!("countersign ", env!("CARGO_PKG_VERSION"), "+2");
/// Engines whose parser requires each permission that the parser of this program requires. So the check `permissions` of
/// their seals can fail.
const OWN_ENGINES: [&str; 2] = [ENGINE, "countersign 0.2.0"];

/// Returns true if this program can judge the permissions under a seal of this engine.
#[must_use]
pub fn is_own_engine(engine: &str) -> bool {
    OWN_ENGINES.contains(&engine)
}

impl Seal {
    /// Returns the statement, whose subject is the root hash of the registry.
    #[must_use]
    pub fn into_statement(self) -> Statement<Self> {
        let subjects = self.subjects();
        Statement::new(self, subjects)
    }

    fn subjects(&self) -> Vec<Subject> {
        vec![Subject::new("registry", self.registry_root.as_bytes())]
    }
}

impl Predicate for Seal {
    const KIND: &'static str = "seal";
    const MAX_BYTES: usize = 40 << 10;

    fn check(&self, subjects: &[Subject]) -> Result<(), Malformed> {
        let first = self.number == 0;
        if self.genesis.is_some() != first || self.previous.is_none() != first || self.boundary.id.is_none() != first {
            return Err(Malformed::at(
                "/predicate/number",
                "seal 0 must have `genesis`, but no `previous` and no boundary id; every later seal must have \
                 `previous` and a boundary id, but no `genesis`",
            ));
        }
        if self.keys.is_empty() {
            return Err(Malformed::at("/predicate/keys", "the list is empty, expected the ids of the boundary's keys"));
        }
        check_sorted("/predicate/keys", &self.keys)?;
        check_subjects(subjects, &self.subjects())
    }
}
