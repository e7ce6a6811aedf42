//! The closed list of codes of refusals and errors.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $word:literal, $title:literal;)*) => {
        /// Why the boundary said no: a closed list, stable for programs.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        pub enum Code {
            $($(#[$doc])* #[serde(rename = $word)] $name,)*
        }

        impl Code {
            /// Every code.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// Returns the text of the code in problem documents and in the log.
            #[must_use]
            pub const fn word(self) -> &'static str {
                match self { $(Self::$name => $word),* }
            }

            /// Returns one sentence for people. The sentence is the same for every occurrence of the code.
            #[must_use]
            pub const fn title(self) -> &'static str {
                match self { $(Self::$name => $title),* }
            }
        }
    };
}

codes! {
    /// Not what it claims to be.
    Malformed = "malformed", "the document is malformed";
    /// Larger than its kind may be.
    TooLarge = "too-large", "the document is too large";
    /// Well formed, and of a later version.
    LaterFeature = "later-feature", "the document uses a feature that this version does not have";
    /// No such step is registered.
    UnknownStep = "unknown-step", "this step is not registered";
    /// Another definition is sealed now.
    StepChanged = "step-changed", "the sealed definition of the step has changed";
    /// Against the step's schema.
    InvalidParams = "invalid-params", "the parameters do not fit the step's schema";
    /// Not the parameters that were hashed.
    ParamsMismatch = "params-mismatch", "the parameters differ from the signed parameters";
    /// For another boundary.
    WrongBoundary = "wrong-boundary", "the statement is for another boundary";
    /// A key that nobody enrolled.
    UnknownSigner = "unknown-signer", "the key of a signature is not in the roster";
    /// A signature that does not verify.
    BadSignature = "bad-signature", "a signature does not verify";
    /// A known key that may not sign this.
    NotPermittedSigner = "not-permitted-signer", "the signer is not permitted to sign this statement";
    /// The proposer or its owner signed.
    SelfApproval = "self-approval", "the proposer, and people who control the proposer, cannot approve the run";
    /// Too few.
    QuorumMissing = "quorum-missing", "not enough approvals";
    /// Too early.
    NotYetValid = "not-yet-valid", "the statement is not valid yet";
    /// Too late.
    Expired = "expired", "the statement has expired";
    /// The epoch was replaced.
    Revoked = "revoked", "the statement was revoked";
    /// An approver said no.
    Denied = "denied", "an approver denied the run";
    /// Spent before.
    NonceReplayed = "nonce-replayed", "the nonce was spent before";
    /// A rule says no.
    PolicyDenied = "policy-denied", "policy denies this step";
    /// Policy asks more than was signed.
    ContextChanged = "context-changed", "the current requirements of policy and sandbox differ from the signed \
                                         requirements";
    /// The session moved on.
    SessionStale = "session-stale", "the session has changed since the statement was made";
    /// The grant is used up.
    GrantExhausted = "grant-exhausted", "the grant is used up";
    /// The grant does not cover it.
    NotGranted = "not-granted", "the grant does not cover this run";
    /// This host can't hold the sandbox.
    SandboxUnavailable = "sandbox-unavailable", "this host cannot give the run its sandbox or a secret";
    /// No room now.
    Busy = "busy", "the boundary has no room for this request now";
    /// Nobody known calls.
    Unauthenticated = "unauthenticated", "a token is needed";
    /// Somebody known may not.
    Forbidden = "forbidden", "the token does not permit this request";
    /// No such thing, or not for this caller.
    NotFound = "not-found", "the resource does not exist, or this token does not permit access to it";
    /// Too late or too early in its life.
    WrongState = "wrong-state", "the current state does not permit this request";
    /// Too many calls.
    RateLimited = "rate-limited", "too many calls";
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}
