//! Why versions of a roster do not connect.

use std::fmt;

use crate::crypto::digest::RosterDigest;
use crate::crypto::sshsig;
use crate::record::malformed::Malformed;
use crate::trust::roster::RosterError;

/// Why versions of a roster are not connected with the trusted one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChainError {
    /// No version at all, or too many.
    Count {
        /// How many.
        found: usize,
    },
    /// An envelope that is none.
    Malformed {
        /// Which version.
        version: u64,
        /// Why.
        error: Malformed,
    },
    /// A payload that is no roster, or breaks its rules.
    Roster {
        /// Which version.
        version: u64,
        /// Why.
        error: RosterError,
    },
    /// A version is missing or out of order.
    OutOfOrder {
        /// The version that belongs here.
        expected: u64,
        /// The version that stands here.
        found: u64,
    },
    /// `previous` is not the version before.
    OtherPrevious {
        /// Which version.
        version: u64,
    },
    /// Version 1 carries signatures.
    FirstIsSigned,
    /// None of the versions is the trusted one.
    NotTrusted {
        /// The digest that is trusted.
        trusted: RosterDigest,
        /// The digest of version 1 here.
        first: RosterDigest,
    },
    /// The trusted version is newer than the versions here lead to.
    TooNew {
        /// The trusted version.
        trusted: u64,
        /// The newest version here.
        newest: u64,
    },
    /// A signature that does not hold, or of nobody who may sign.
    Signature {
        /// Which version.
        version: u64,
        /// The key it claims.
        keyid: sshsig::KeyId,
        /// Why.
        why: String,
    },
    /// Fewer approvers signed than the threshold asks for.
    TooFewSignatures {
        /// The version that is signed.
        version: u64,
        /// The version whose threshold is not met.
        of: u64,
        /// How many of its approvers signed.
        found: u64,
        /// How many it asks for.
        required: u64,
    },
    /// A key that was gone is there again.
    KeyReturned {
        /// The version that has it again.
        version: u64,
        /// The last version that had it.
        gone_after: u64,
        /// Whose key it is now.
        holder: String,
    },
}

impl fmt::Display for ChainError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count { found } => write!(f, "{found} versions of the roster, expected 1 to {MAX_VERSIONS}"),
            Self::Malformed { version, error } => write!(f, "version {version} of the roster: {error}"),
            Self::Roster { version, error } => write!(f, "version {version} of the roster: {error}"),
            Self::OutOfOrder { expected, found } => {
                write!(f, "version {found} of the roster stands where version {expected} belongs")
            }
            Self::OtherPrevious { version } => {
                write!(f, "version {version} of the roster does not follow the one before it")
            }
            Self::FirstIsSigned => {
                f.write_str("version 1 of a roster carries no signatures, it is trusted by its digest")
            }
            Self::NotTrusted { trusted, first } => {
                write!(f, "no version of the roster is the trusted one ({trusted}); version 1 here is {first}")
            }
            Self::TooNew { trusted, newest } => write!(
                f,
                "the trusted roster is version {trusted} and the versions here end at {newest}; to connect the two, every \
                 version from {} to {} is needed, and a roster file holds one; give version {newest} or an earlier one with \
                 --roster (the boundary keeps each as roster.d/N.json), or run `countersign audit` on the log, whose later \
                 seals bring them",
                newest + 1,
                trusted - 1
            ),
            Self::Signature { version, keyid, why } => {
                write!(f, "version {version} of the roster: the signature of {keyid} does not count: {why}")
            }
            Self::TooFewSignatures { version, of, found, required } => write!(
                f,
                "version {version} of the roster is signed by {found} approvers of version {of}, whose threshold is {required}"
            ),
            Self::KeyReturned { version, gone_after, holder } => write!(
                f,
                "version {version} of the roster gives {holder} a key that was gone after version {gone_after}; such a key may never return"
            ),
        }
    }
}

impl std::error::Error for ChainError {}

impl ChainError {
    /// Whether the versions may be sound, and only none of the trusted ones is connected with them.
    #[must_use]
    pub const fn is_of_trust(&self) -> bool {
        matches!(self, Self::NotTrusted { .. } | Self::TooNew { .. })
    }
}

/// The most versions that are read: each is at most 256 KiB, and a bundle holds 4 MiB.
pub const MAX_VERSIONS: usize = 1024;
