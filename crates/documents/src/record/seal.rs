//! Seal: the signed state of registry, policy and roster.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use crate::{
    BlobDigest, BoundaryName, Epoch, GenesisSalt, KeyId, MAX_BUNDLE_BYTES, Malformed, PolicyDigest,
    Predicate, RegistryRoot, RosterDigest, SealDigest, Statement, Subject, Timestamp, check_sorted,
    check_subjects,
};

/// Maximum size of a blob that a seal may name, in bytes. An auditor reads no larger blob, and a larger blob would not
/// fit into a bundle.
pub const MAX_BLOB_BYTES: usize = MAX_BUNDLE_BYTES;

/// Maximum size in bytes of a blob with versions of the roster. The first seal of a log that follows another log has all versions.
pub const MAX_SEALED_ROSTERS_BYTES: usize = 32 << 20;

/// The boundary's statement about the rules in force, from this log entry until the next seal.
#[skip_serializing_none]
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Seal {
    /// The boundary.
    pub boundary: SealedBoundary,
    /// Epoch of the seal. Authorizations with another epoch are not valid.
    pub epoch: Epoch,
    /// Time of the seal.
    pub at: Timestamp,
    /// Number of the seal: 0 for the first seal of a log, then one more in each seal.
    pub number: u64,
    /// Digest of the payload of the previous seal. Absent in the first seal.
    pub previous: Option<SealDigest>,
    /// Root hash of the registry's tree (RFC 6962).
    pub registry_root: RegistryRoot,
    /// Digest of the blob with the registry: the canonical array of its leaves.
    pub registry: BlobDigest,
    /// Digest of the blob with the policy: the canonical JSON of the file as it was written.
    pub policy: PolicyDigest,
    /// Digest of the blob with the program's built-in policy lists.
    pub builtins: BlobDigest,
    /// Digest of the blob with the roster's payload.
    pub roster: RosterDigest,
    /// Digest of the blob with the versions of the roster that no earlier seal of this log has, up to this version, as a
    /// canonical array in the form of `roster` in a bundle. A seal without a new version names the same blob as the seal
    /// before. Absent if this version is 1.
    pub rosters: Option<BlobDigest>,
    /// Digest of the blob with the tokens. It never contains hashes of secrets.
    pub tokens: BlobDigest,
    /// Digest of the blob with the limits and the sandbox level in force.
    pub configuration: BlobDigest,
    /// Ids of all keys that the roster gives this boundary, sorted.
    #[schemars(length(min = 1), extend("uniqueItems" = true))]
    pub keys: Vec<KeyId>,
    /// Name and version of the program, for example `countersign 0.2.0`.
    pub engine: String,
    /// The beginning of a log. Present only in the first seal. It makes the id of the boundary unique.
    pub genesis: Option<Genesis>,
}

/// The boundary of a seal. Its id is the digest of the first seal, so the first seal cannot contain the id.
#[skip_serializing_none]
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SealedBoundary {
    /// Name of the boundary.
    pub name: BoundaryName,
    /// Id of the boundary. Absent in the first seal.
    pub id: Option<SealDigest>,
}

/// The beginning of a log.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(untagged, deny_unknown_fields)]
pub enum Genesis {
    /// The log of a new boundary: 32 random bytes in hexadecimal.
    New(GenesisSalt),
    /// The log of a restored store, which follows a closed log.
    Follows {
        /// The closed log.
        follows: FollowedLog,
    },
}

/// A log that a restore closed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Followed")]
pub struct FollowedLog {
    /// Id of the boundary of the closed log.
    pub id: SealDigest,
    /// Last known checkpoint of the closed log, as text.
    pub checkpoint: String,
}

/// Name and version of this program in seals. The number after `+` is the version of the script parser.
pub const ENGINE: &str = concat!("countersign ", env!("CARGO_PKG_VERSION"), "+3");

/// Engines that decide like this program, except in how they parse scripts.
const OWN_ENGINES: [&str; 3] = [ENGINE, "countersign 0.2.0+2", "countersign 0.2.0"];

/// Returns true if this program can repeat the decisions under a seal of this engine, except decisions that depend on
/// the parser of scripts.
pub fn is_own_engine(engine: &str) -> bool {
    OWN_ENGINES.contains(&engine)
}

/// Returns true if this engine parses scripts like this program. Other parsers, also those with smaller numbers, do not
/// require each permission that this parser requires.
pub fn parses_alike(engine: &str) -> bool {
    engine == ENGINE
}

impl Seal {
    /// Returns the statement, whose subject is the root hash of the registry.
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
        if self.genesis.is_some() != first
            || self.previous.is_none() != first
            || self.boundary.id.is_none() != first
        {
            return Err(Malformed::at(
                "/predicate/number",
                "seal 0 must have `genesis`, but no `previous` and no boundary id; every later seal must have \
                 `previous` and a boundary id, but no `genesis`",
            ));
        }
        if self.keys.is_empty() {
            return Err(Malformed::at(
                "/predicate/keys",
                "the list is empty, expected the ids of the boundary's keys",
            ));
        }
        check_sorted("/predicate/keys", &self.keys)?;
        check_subjects(subjects, &self.subjects())
    }
}
