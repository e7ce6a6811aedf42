//! Leaves of the log, and reasons why a document does not become a leaf.

use crate::StoreFault;
use documents::{
    Base64, Envelope, Hash, LeafHash, LeafKind, Malformed, Name, Predicate, SealDigest, Statement,
    Timestamp, json,
};

/// The index and the hash of a log leaf.
#[derive(Debug, PartialEq)]
pub struct LeafRef {
    /// Index of the leaf.
    pub index: u64,
    /// RFC 6962 hash of the leaf.
    pub hash: LeafHash,
}

/// A leaf of the log.
#[derive(Debug)]
pub struct Leaf {
    /// Kind of the leaf.
    pub kind: LeafKind,
    /// The latest time that this leaf or an earlier leaf states.
    pub at: Timestamp,
    /// RFC 6962 hash of the leaf.
    pub hash: Hash,
    /// Bytes of the leaf.
    pub data: Vec<u8>,
}

/// The seal in force and the number of revocations with which a document was checked. If another seal or a revocation
/// came in between, the writer does not append the document.
#[derive(Clone, Copy, PartialEq)]
pub struct CheckedState {
    /// Digest of the seal in force, or `None` before the first seal.
    pub seal: Option<SealDigest>,
    /// Number of revocations in the log.
    pub revocations: usize,
}

/// Reason why a document is not appended to the log.
#[derive(Debug, PartialEq, thiserror::Error)]
pub enum WriteStop {
    /// The state in force changed after the document was checked. The caller must check the document again. A seal must
    /// also be made again, with the digest of the seal in force.
    #[error("the seal in force or the revocations changed during the check; try again")]
    Moved,
    /// The log has no seal yet.
    #[error("the log has no seal; seal a registry first")]
    NoSeal,
    /// The date of the document is earlier than the date of the last leaf. The caller must make the document again with
    /// a later date.
    #[error("the last log entry is dated {last}; use that time or a later time")]
    BackDated {
        /// Time of the last leaf.
        last: Timestamp,
    },
    /// The clock jumped ahead. No entry is accepted now, because a wrong date stays in the log for ever.
    #[error(
        "the clock jumped {seconds} s ahead while the service ran, so the service writes no log entry; correct the \
         clock, or restart the service if the clock is right now"
    )]
    ClockAhead {
        /// Number of seconds by which the clock jumped ahead.
        seconds: i64,
    },
    /// The name of a new token is taken, or the token to revoke does not exist. A token name is never used twice.
    #[error(
        "no token {0} can be added or revoked: names are never used twice, so choose another name for a new token"
    )]
    Token(Name),
    /// The document is too large for the log.
    #[error("the entry has {bytes} bytes, which is too large for the log")]
    TooLarge {
        /// Size of the document in bytes.
        bytes: usize,
    },
    /// Too many denials arrived for authorizations that the boundary does not know.
    #[error(
        "{most} denials of unknown authorizations arrived {}within a day, which is the limit; try again in {wait_s} \
         s; until then an operator can revoke the proposer's token",
        if *.of_approver { "from you " } else { "" }
    )]
    TooManyAhead {
        /// Maximum number of denials of unknown authorizations in one day.
        most: u64,
        /// True if the limit is for one approver, false if the limit is for all approvers.
        of_approver: bool,
        /// Seconds until the boundary accepts another denial of an unknown authorization.
        wait_s: u64,
    },
    /// The limit on drafts of grants is reached.
    #[error("{most} drafts already wait for signatures: try again when some have ended")]
    TooManyDrafts {
        /// Maximum number of drafts.
        most: u64,
    },
    /// Another grant has the same id.
    #[error("another grant has this id: make a new grant")]
    GrantTaken,
    /// The store failed.
    #[error(transparent)]
    Fault(#[from] StoreFault),
}

/// Returns the payload and the statement of a leaf, without a check of its signatures.
pub fn opened<P: Predicate>(data: &[u8]) -> Result<(Vec<u8>, Statement<P>), Malformed> {
    let payload = payload_of(data)?;
    let statement = Statement::<P>::from_payload(&payload)?;
    Ok((payload, statement))
}

/// Returns the payload of an envelope, without a check of its signatures.
pub fn payload_of(envelope: &[u8]) -> Result<Vec<u8>, Malformed> {
    let envelope: Envelope = json::parse_as(envelope, envelope.len())?;
    Base64::Strict.decode("/payload", &envelope.payload)
}
