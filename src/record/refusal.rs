//! Refusals: stable codes, and their signed log entry.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::crypto::canonical;
use crate::crypto::digest::{InputDigest, SealDigest};
use crate::record::document::{Malformed, Predicate, Statement, Subject, only_subject};
use crate::record::ident::BoundaryName;
use crate::record::validity::Timestamp;

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

            /// The word in problem documents and in the log.
            #[must_use]
            pub const fn word(self) -> &'static str {
                match self { $(Self::$name => $word),* }
            }

            /// One sentence for people, the same for every occurrence.
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
    UnknownStep = "unknown-step", "no such step is registered";
    /// Another definition is sealed now.
    StepChanged = "step-changed", "the step's sealed definition is another one";
    /// Against the step's schema.
    InvalidParams = "invalid-params", "the parameters do not fit the step's schema";
    /// Not the parameters that were hashed.
    ParamsMismatch = "params-mismatch", "the parameters are not the ones that were signed";
    /// For another boundary.
    WrongBoundary = "wrong-boundary", "the statement is for another boundary";
    /// A key that nobody enrolled.
    UnknownSigner = "unknown-signer", "a signature is of a key that the roster does not hold";
    /// A signature that does not verify.
    BadSignature = "bad-signature", "a signature does not verify";
    /// A known key that may not sign this.
    NotPermittedSigner = "not-permitted-signer", "the signer may not sign this";
    /// The proposer or its owner signed.
    SelfApproval = "self-approval", "who proposes a run or controls its proposer cannot approve it";
    /// Too few.
    QuorumMissing = "quorum-missing", "not enough approvals";
    /// Too early.
    NotYetValid = "not-yet-valid", "the statement is not valid yet";
    /// Too late.
    Expired = "expired", "the statement has expired";
    /// The epoch was replaced.
    Revoked = "revoked", "the statement was revoked";
    /// An approver said no.
    Denied = "denied", "an approver denied it";
    /// Spent before.
    NonceReplayed = "nonce-replayed", "the nonce was spent before";
    /// A rule says no.
    PolicyDenied = "policy-denied", "policy denies this step";
    /// Policy asks more than was signed.
    ContextChanged = "context-changed", "what was signed is not what policy and sandbox ask now";
    /// The session moved on.
    SessionStale = "session-stale", "the session has moved on since the statement was made";
    /// The grant is used up.
    GrantExhausted = "grant-exhausted", "the grant is used up";
    /// The grant does not cover it.
    NotGranted = "not-granted", "the grant does not cover this";
    /// This host can't hold the sandbox.
    SandboxUnavailable = "sandbox-unavailable", "this host cannot hold a required sandbox layer";
    /// No room now.
    Busy = "busy", "no room for it now";
    /// Nobody known calls.
    Unauthenticated = "unauthenticated", "a token is needed";
    /// Somebody known may not.
    Forbidden = "forbidden", "the token does not allow this";
    /// No such thing, or not for this caller.
    NotFound = "not-found", "there is no such thing, or not for this token";
    /// Too late or too early in its life.
    WrongState = "wrong-state", "its state does not allow this";
    /// Too many calls.
    RateLimited = "rate-limited", "too many calls";
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// A refusal in the log: of one input, or an hour's count. Never text from the input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Refusal {
    /// Who refused. Always written. A reader takes a refusal without it too, since the first published example of the
    /// format has none: which boundary refused follows from the log and the key that signs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boundary: Option<RefusingBoundary>,
    /// Why, for one input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<Code>,
    /// Where in the input: only names that the format itself has, never the input's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pointer: Option<String>,
    /// Who sent it: a token's name or a key id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub principal: Option<String>,
    /// How many of each code, for an hourly summary of what was not logged one by one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("propertyNames" = {"$ref": "#/$defs/Code"}, "minProperties" = 1))]
    pub counts: Option<BTreeMap<Code, u64>>,
    /// When.
    pub at: Timestamp,
}

/// The boundary that refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RefusingBoundary {
    /// Its name.
    pub name: BoundaryName,
    /// The digest of its genesis seal.
    pub id: SealDigest,
}

impl Refusal {
    /// Makes the refusal of one input.
    #[must_use]
    pub fn one(
        boundary: RefusingBoundary,
        code: Code,
        pointer: Option<String>,
        principal: String,
        at: Timestamp,
        input: InputDigest,
    ) -> Statement<Self> {
        let refusal =
            Self { boundary: Some(boundary), code: Some(code), pointer, principal: Some(principal), counts: None, at };
        Statement::new(refusal, vec![Subject::new("input", input.as_bytes())])
    }

    /// Makes a summary of refusals that were only counted. The subject is the digest of the counts.
    ///
    /// # Errors
    /// Never in practice, because counts are integers.
    pub fn summary(
        boundary: RefusingBoundary,
        counts: BTreeMap<Code, u64>,
        at: Timestamp,
    ) -> Result<Statement<Self>, Malformed> {
        let input = counts_digest(&counts)?;
        let refusal =
            Self { boundary: Some(boundary), code: None, pointer: None, principal: None, counts: Some(counts), at };
        Ok(Statement::new(refusal, vec![Subject::new("input", input.as_bytes())]))
    }
}

fn counts_digest(counts: &BTreeMap<Code, u64>) -> Result<InputDigest, Malformed> {
    let bytes =
        canonical::canonical_of(counts).map_err(|error| Malformed::at("/predicate/counts", error.to_string()))?;
    Ok(InputDigest::of(&bytes))
}

impl Predicate for Refusal {
    const KIND: &'static str = "refusal";
    const MAX_BYTES: usize = 8 << 10;

    fn check(&self, subjects: &[Subject]) -> Result<(), Malformed> {
        let input = only_subject(subjects, "input")?;
        match (&self.code, &self.principal, &self.counts) {
            (Some(_), Some(_), None) => Ok(()),
            (None, None, Some(counts)) if self.pointer.is_none() && !counts.is_empty() => {
                if counts.values().any(|count| *count == 0) {
                    Err(Malformed::at("/predicate/counts", "only codes that are counted are allowed here"))
                } else if counts_digest(counts)?.as_bytes() == &input {
                    Ok(())
                } else {
                    Err(Malformed::at("/subject/0/digest", "not the digest of the counts"))
                }
            }
            _ => Err(Malformed::at("/predicate", "expected code and principal, or counts alone")),
        }
    }
}
