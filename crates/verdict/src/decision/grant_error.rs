//! The reasons why a grant is not in force, or does not cover a run.

use crate::{ExclusionError, PermissionsError, PlaceError, QuorumError, StepError};
use documents::{Code, KeyId, Malformed, Name, StepRef, Timestamp, WindowError, joined};

/// Reason why no run can use a grant now, or why one run can't use the grant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GrantError {
    /// A declaration of the grant breaks a rule.
    #[error(transparent)]
    Schema(Malformed),
    /// The grant is for another boundary or another epoch.
    #[error("the grant: {0}")]
    Place(PlaceError),
    /// The time is outside the window of the grant.
    #[error("the grant: {0}")]
    Window(WindowError),
    /// The grant, the key of the grantee or the epoch is revoked.
    #[error("{what} was revoked at entry {entry}")]
    Revoked {
        /// What is revoked.
        what: String,
        /// The log entry of the revocation.
        entry: u64,
    },
    /// The roster does not give this key to the grantee.
    #[error("the roster has no proposer {name} with the key {keyid}, so nobody can use the grant")]
    Grantee {
        /// The grantee.
        name: Name,
        /// The key.
        keyid: KeyId,
    },
    /// No sealed token has this name and the credential that the grant names.
    #[error(
        "no valid token {token} has the credential that the grant names, so nobody can use the grant: ask for a new grant"
    )]
    Token {
        /// The token.
        token: Name,
    },
    /// A step of the grant is not sealed with this definition.
    #[error("the grant: {0}")]
    Step(StepError),
    /// The step can't be granted.
    #[error("the step {step} has {why}, so it can't be granted: propose each run by itself")]
    NotGrantable {
        /// The step.
        step: StepRef,
        /// `a plan` or `a secret parameter`.
        why: &'static str,
    },
    /// Policy permits no grant, or only a narrower grant.
    #[error("policy: {why} for the step {step}")]
    Policy {
        /// The step.
        step: StepRef,
        /// What policy permits.
        why: String,
    },
    /// Policy requires more permissions or another sandbox now.
    #[error("the grant: {0}")]
    Permissions(PermissionsError),
    /// The proposer of the grant is unknown.
    #[error("the grant: {0}")]
    Exclusion(ExclusionError),
    /// A person who signed the grant also uses or proposed the grant, submits the run, or controls one of these
    /// parties.
    #[error(
        "{} signed the grant, but uses or proposed the grant, submits the run, or controls one of these",
        joined(.names, ", ")
    )]
    SelfApproval {
        /// The people.
        names: Vec<Name>,
    },
    /// Too few people signed the grant.
    #[error("the grant, for the step {step}: {error}")]
    Quorum {
        /// The step.
        step: StepRef,
        /// The missing signatures.
        error: Box<QuorumError>,
    },
    /// The grant does not permit this run.
    #[error("{pointer}: {why}")]
    NotCovered {
        /// Place in the authorization, or in the grant.
        pointer: String,
        /// The difference.
        why: String,
    },
    /// All uses are used up.
    #[error("all {max_uses} uses of the grant are used up")]
    Exhausted {
        /// Maximum number of uses.
        max_uses: u64,
    },
    /// The uses follow each other too quickly.
    #[error("the grant permits {uses} uses in {seconds} seconds: use it again from {until} on")]
    TooOften {
        /// Maximum number of uses in the period.
        uses: u64,
        /// The period in seconds.
        seconds: u64,
        /// The time from which on one more use is permitted.
        until: Timestamp,
    },
}

impl GrantError {
    pub(super) fn not_covered(pointer: impl Into<String>, why: impl Into<String>) -> Self {
        Self::NotCovered {
            pointer: pointer.into(),
            why: why.into(),
        }
    }

    /// Returns true if another program version may decide differently, because the decision depends on the parsing of
    /// the script.
    pub fn rests_on_reading(&self) -> bool {
        matches!(self, Self::Permissions(error) if error.rests_on_reading())
    }

    /// The stable code.
    pub fn code(&self) -> Code {
        match self {
            Self::Schema(malformed) => malformed.code(),
            Self::Place(error) => error.code(),
            Self::Window(error) => error.code(),
            Self::Revoked { .. } => Code::Revoked,
            Self::Grantee { .. } | Self::Token { .. } => Code::UnknownSigner,
            Self::Step(error) => error.code(),
            Self::NotGrantable { .. } => Code::NotGrantable,
            Self::Policy { .. } => Code::PolicyDenied,
            Self::Permissions(error) => error.code(),
            Self::Exclusion(error) => error.code(),
            Self::SelfApproval { .. } => Code::SelfApproval,
            Self::Quorum { error, .. } => error.code(),
            Self::NotCovered { .. } => Code::NotGranted,
            Self::Exhausted { .. } => Code::GrantExhausted,
            Self::TooOften { .. } => Code::RateLimited,
        }
    }

    /// Returns the pointer of the place that the error is about.
    pub fn pointer(&self) -> Option<&str> {
        match self {
            Self::Schema(malformed) => Some(&malformed.pointer),
            Self::NotCovered { pointer, .. } => Some(pointer),
            _ => None,
        }
    }
}
