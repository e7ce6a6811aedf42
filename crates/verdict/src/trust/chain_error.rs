//! Reasons why the versions of a roster are not connected.

use crate::RosterError;
use documents::{KeyId, MAX_MADE_BYTES, Malformed, RosterDigest};

/// Maximum number of versions. Before that, the size of a bundle is the limit.
pub const MAX_VERSIONS: usize = 65_536;

/// Reason why versions of a roster are not connected with the pinned version.
#[derive(Debug, PartialEq, thiserror::Error)]
pub enum ChainError {
    /// The list of versions is empty or too long.
    #[error("found {found} versions of the roster, expected 1 to {MAX_VERSIONS}")]
    Count {
        /// The number of versions.
        found: usize,
    },
    /// The envelope is malformed.
    #[error("version {version} of the roster: {error}")]
    Malformed {
        /// The version.
        version: u64,
        /// The reason.
        error: Malformed,
    },
    /// The payload is not a roster, or breaks a rule of rosters.
    #[error("version {version} of the roster: {error}")]
    Roster {
        /// The version.
        version: u64,
        /// The reason.
        error: RosterError,
    },
    /// A version is missing from the list or out of order.
    #[error("expected version {expected} of the roster, found version {found}")]
    OutOfOrder {
        /// The expected version.
        expected: u64,
        /// The number of the version that was found.
        found: u64,
    },
    /// The field `previous` of a version is not the digest of the version before.
    #[error("version {version} of the roster does not follow the version before it")]
    OtherPrevious {
        /// The version.
        version: u64,
    },
    /// The versions of a bundle are too large together.
    #[error(
        "the versions of the roster before version {version} have more than {MAX_MADE_BYTES} bytes together; get a bundle that \
         begins with a later version (--from-roster)"
    )]
    TooLarge {
        /// The version that was not made any more.
        version: u64,
    },
    /// Another version with the same number is known.
    #[error(
        "version {version} of the roster differs from the earlier versions: the roster was forked"
    )]
    Forked {
        /// The version.
        version: u64,
    },
    /// The bundle of a plan names a version that the bundle of the run does not have.
    #[error(
        "the plan names version {version} of the roster, which the bundle of the run does not have"
    )]
    NotHere {
        /// The version.
        version: u64,
    },
    /// The list has another form than that of a bundle.
    #[error("the versions of the roster: {0}")]
    Form(Malformed),
    /// The first version of a list is not in full.
    #[error("the first version of the roster is a difference, but no version is before it")]
    FirstIsPatch,
    /// The name of the roster differs from that in the version before.
    #[error(
        "version {version} of the roster has another `name`: the name of a roster never changes"
    )]
    OtherName {
        /// The version.
        version: u64,
    },
    /// Version 1 has signatures.
    #[error(
        "version 1 of a roster must have no signatures, because verifiers pin its digest: remove the signatures"
    )]
    FirstIsSigned,
    /// No version in the list is a pinned version.
    #[error(
        "no version of the roster has the trusted digest {trusted}; version {version} here has the digest {first}"
    )]
    NotTrusted {
        /// The pinned digest.
        trusted: RosterDigest,
        /// The number of the first version in the list.
        version: u64,
        /// The digest of the first version in the list.
        first: RosterDigest,
    },
    /// The pinned version is newer than all versions in the list, and versions in between are missing.
    #[error(
        "{}: the trusted roster is version {trusted}, and the newest version here is {newest}; give the missing \
         versions with --roster too (the boundary stores each version as roster.d/N.json), or run `countersign audit` \
         on the log, because the log contains all versions",
        missing_words(.newest + 1, .trusted - 1)
    )]
    TooNew {
        /// The pinned version.
        trusted: u64,
        /// Number of the newest version in the list.
        newest: u64,
    },
    /// The list begins with a later version than the one after the pinned version.
    #[error("{}", too_old_words(.trusted.as_ref(), *.first))]
    TooOld {
        /// The pinned version, unless only its digest is pinned.
        trusted: Option<u64>,
        /// Number of the first version in the list.
        first: u64,
    },
    /// A signature is not valid, or the signer is not allowed to sign.
    #[error("version {version} of the roster: the signature of {keyid} does not count: {why}")]
    Signature {
        /// The version.
        version: u64,
        /// The key id of the invalid signature.
        keyid: KeyId,
        /// The reason.
        why: String,
    },
    /// Fewer approvers signed than the threshold requires.
    #[error(
        "{found} approvers of version {of} of the roster signed version {version}, but the threshold of version {of} \
         is {required}"
    )]
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
    #[error(
        "version {version} of the roster gives {holder} a key that was removed after version {gone_after}; a removed \
         key can't return, so use a new key"
    )]
    KeyReturned {
        /// The version that contains the key again.
        version: u64,
        /// The last version that contained the key before its removal.
        gone_after: u64,
        /// The new holder of the key.
        holder: String,
    },
}

/// Says which versions of a roster are missing.
pub fn missing_words(first: u64, last: u64) -> String {
    if first == last {
        format!("version {first} of the roster is missing")
    } else {
        format!("versions {first} to {last} of the roster are missing")
    }
}

fn too_old_words(trusted: Option<&u64>, first: u64) -> String {
    let advice = "give the missing versions with --roster too (the boundary stores each version as roster.d/N.json), or get \
                  the bundle with all versions";
    match trusted {
        Some(trusted) => format!(
            "{}: the trusted roster is version {trusted}, and the versions here begin with version {first}; {advice}",
            missing_words(trusted + 1, first - 1)
        ),
        None => format!(
            "the versions here begin with version {first}, and none of them has the trusted digest, so it may be that of an \
             earlier version; {advice}"
        ),
    }
}

impl ChainError {
    /// Returns the first and the last of the versions without which nobody can decide whether the list is connected with the
    /// pinned version.
    pub fn missing(&self) -> Option<(u64, u64)> {
        match self {
            Self::TooNew { trusted, newest } => Some((newest + 1, trusted - 1)),
            Self::TooOld { trusted, first } => {
                Some((trusted.map_or(1, |trusted| trusted + 1), first - 1))
            }
            _ => None,
        }
    }

    /// Returns true if the versions may be valid, but do not connect to a trusted version.
    pub fn is_of_trust(&self) -> bool {
        self.missing().is_some() || matches!(self, Self::NotTrusted { .. })
    }
}
