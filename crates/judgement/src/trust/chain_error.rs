//! Reasons why the versions of a roster are not connected.

use std::fmt;

use crate::trust::trusted_roster::RosterError;
use documents::crypto::digest::RosterDigest;
use documents::crypto::key_id::KeyId;
use documents::record::malformed::Malformed;

/// Maximum number of versions. One version has at most 256 KiB, and a bundle has at most 4 MiB.
pub const MAX_VERSIONS: usize = 1024;

/// Reason why versions of a roster are not connected with the pinned version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChainError {
    /// The list of versions is empty or too long.
    Count {
        /// The number of versions.
        found: usize,
    },
    /// The envelope is malformed.
    Malformed {
        /// The version.
        version: u64,
        /// The reason.
        error: Malformed,
    },
    /// The payload is not a roster, or breaks a rule of rosters.
    Roster {
        /// The version.
        version: u64,
        /// The reason.
        error: RosterError,
    },
    /// A version is missing from the list or out of order.
    OutOfOrder {
        /// The expected version.
        expected: u64,
        /// The number of the version that was found.
        found: u64,
    },
    /// The field `previous` of a version is not the digest of the version before.
    OtherPrevious {
        /// The version.
        version: u64,
    },
    /// Version 1 has signatures.
    FirstIsSigned,
    /// No version in the list is a pinned version.
    NotTrusted {
        /// The pinned digest.
        trusted: RosterDigest,
        /// The digest of version 1 in the list.
        first: RosterDigest,
    },
    /// The pinned version is newer than all versions in the list, and versions in between are missing.
    TooNew {
        /// The pinned version.
        trusted: u64,
        /// Number of the newest version in the list.
        newest: u64,
    },
    /// A signature is not valid, or the signer is not allowed to sign.
    Signature {
        /// The version.
        version: u64,
        /// The key id of the invalid signature.
        keyid: KeyId,
        /// The reason.
        why: String,
    },
    /// Fewer approvers signed than the threshold requires.
    TooFewSignatures {
        /// The signed version.
        version: u64,
        /// The version that defines the threshold.
        of: u64,
        /// The number of approvers who signed.
        found: u64,
        /// The number of approvers that the threshold requires.
        required: u64,
    },
    /// A key that a version removed is in the roster again.
    KeyReturned {
        /// The version that contains the key again.
        version: u64,
        /// The last version that contained the key before its removal.
        gone_after: u64,
        /// The new holder of the key.
        holder: String,
    },
}

impl fmt::Display for ChainError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count { found } => write!(f, "found {found} versions of the roster, expected 1 to {MAX_VERSIONS}"),
            Self::Malformed { version, error } => write!(f, "version {version} of the roster: {error}"),
            Self::Roster { version, error } => write!(f, "version {version} of the roster: {error}"),
            Self::OutOfOrder { expected, found } => {
                write!(f, "expected version {expected} of the roster, found version {found}")
            }
            Self::OtherPrevious { version } => {
                write!(f, "version {version} of the roster does not follow the version before it")
            }
            Self::FirstIsSigned => f.write_str(
                "version 1 of a roster must have no signatures, because verifiers pin its digest: remove the \
                 signatures",
            ),
            Self::NotTrusted { trusted, first } => {
                write!(
                    f,
                    "no version of the roster has the trusted digest {trusted}; version 1 here has the digest {first}"
                )
            }
            Self::TooNew { trusted, newest } => write!(
                f,
                "{}: the trusted roster is version {trusted}, and the newest version here is {newest}; give the missing \
                 versions with --roster too (the boundary stores each version as roster.d/N.json), or run `countersign \
                 audit` on the log, because the log contains all versions",
                missing_words(newest + 1, trusted - 1)
            ),
            Self::Signature { version, keyid, why } => {
                write!(f, "version {version} of the roster: the signature of {keyid} does not count: {why}")
            }
            Self::TooFewSignatures { version, of, found, required } => write!(
                f,
                "{found} approvers of version {of} of the roster signed version {version}, but the threshold of \
                 version {of} is {required}"
            ),
            Self::KeyReturned { version, gone_after, holder } => write!(
                f,
                "version {version} of the roster gives {holder} a key that was removed after version {gone_after}; a \
                 removed key can't return, so use a new key"
            ),
        }
    }
}

impl std::error::Error for ChainError {}

/// Says which versions of a roster are missing.
pub fn missing_words(first: u64, last: u64) -> String {
    if first == last {
        format!("version {first} of the roster is missing")
    } else {
        format!("versions {first} to {last} of the roster are missing")
    }
}

impl ChainError {
    /// Returns true if the versions may be valid, but are connected with no trusted version.
    pub const fn is_of_trust(&self) -> bool {
        matches!(self, Self::NotTrusted { .. } | Self::TooNew { .. })
    }
}
