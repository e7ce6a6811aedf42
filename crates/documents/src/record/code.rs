//! The closed list of codes of refusals and errors.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $word:literal, $status:literal, $exit:literal, $title:literal;)*) => {
        /// Reason for a refusal or an error. The list is closed, and a released code keeps its meaning.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
        pub enum Code {
            $($(#[$doc])* #[serde(rename = $word)] $name,)*
        }

        impl Code {
            /// The page of the docs that lists every code, with its status and what to do.
            pub const PAGE: &'static str = "docs/agents.md";

            /// Every code.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// Returns the text of the code in problem documents and in the log.
            pub fn word(self) -> &'static str {
                match self { $(Self::$name => $word),* }
            }

            /// Returns the `type` of problem documents with this code.
            pub const fn kind(self) -> &'static str {
                match self { $(Self::$name => concat!("/problems/", $word)),* }
            }

            /// Returns the HTTP status of a refusal with this code. A route can answer some refusals with 410 or 415
            /// instead.
            pub fn status(self) -> u16 {
                match self { $(Self::$name => $status),* }
            }

            /// Returns the exit code of a command that the boundary refused with this code.
            pub fn exit(self) -> u8 {
                match self { $(Self::$name => $exit),* }
            }

            /// Returns one sentence for people. The sentence is the same for every occurrence of the code.
            pub fn title(self) -> &'static str {
                match self { $(Self::$name => $title),* }
            }
        }
    };
}

// Each row: name = code, HTTP status, exit code of a command, title. [`Code::PAGE`] says what to do for each code.
codes! {
    /// The input does not have the form that its kind requires.
    Malformed = "malformed", 400, 2, "the document is malformed";
    /// The input is larger than its kind may be.
    TooLarge = "too-large", 413, 2, "the document is too large";
    /// The registry has no such step.
    UnknownStep = "unknown-step", 404, 127, "this step is not registered";
    /// The sealed definition of the step differs from the named definition.
    StepChanged = "step-changed", 409, 126, "the sealed definition of the step has changed";
    /// The parameters do not satisfy the step's schema.
    InvalidParams = "invalid-params", 422, 2, "the parameters do not fit the step's schema";
    /// The digest of the parameters differs from the signed digest.
    ParamsMismatch = "params-mismatch", 422, 126, "the parameters differ from the signed parameters";
    /// The statement is for another boundary.
    WrongBoundary = "wrong-boundary", 422, 126, "the statement is for another boundary";
    /// The roster does not contain the key of a signature.
    UnknownSigner = "unknown-signer", 422, 126, "the key of a signature is not in the roster";
    /// A signature is invalid.
    BadSignature = "bad-signature", 422, 126, "a signature does not verify";
    /// The key is in the roster, but its holder may not sign this statement.
    NotPermittedSigner = "not-permitted-signer", 422, 126, "the signer is not permitted to sign this statement";
    /// The proposer, or a person who controls the proposer, signed.
    SelfApproval = "self-approval", 422, 126, "the proposer, and people who control the proposer, cannot approve the run";
    /// Not enough signatures of permitted approvers count.
    QuorumMissing = "quorum-missing", 422, 126, "not enough approvals";
    /// The window of the statement has not begun.
    NotYetValid = "not-yet-valid", 422, 126, "the statement is not valid yet";
    /// The window of the statement has ended.
    Expired = "expired", 422, 124, "the statement has expired";
    /// A key, a token or the epoch of the statement is revoked, or the epoch is an older one.
    Revoked = "revoked", 422, 126, "a key, a token or the epoch is revoked";
    /// An approver denied the run.
    Denied = "denied", 422, 123, "an approver denied the run";
    /// The nonce was spent before.
    NonceReplayed = "nonce-replayed", 409, 126, "the nonce was spent before";
    /// Policy denies the step. No signature can change this.
    PolicyDenied = "policy-denied", 422, 126, "policy denies this step";
    /// Policy and sandbox now require more than the approvers signed.
    ContextChanged = "context-changed", 409, 126, "the current requirements of policy and sandbox differ from the signed \
                                                   requirements";
    /// The state of the session differs from the signed state.
    SessionStale = "session-stale", 422, 126, "the session has changed since the statement was made";
    /// All uses of the grant are used up.
    GrantExhausted = "grant-exhausted", 409, 126, "the grant is used up";
    /// The grant does not permit this run.
    NotGranted = "not-granted", 422, 126, "the grant does not cover this run";
    /// A run of the grant has an unknown end, so the grant can't be used until people have settled this run.
    GrantPaused = "grant-paused", 409, 126, "a run of the grant has an unknown end";
    /// No grant can have the step, because the step has a plan or a secret parameter.
    NotGrantable = "not-grantable", 422, 126, "a step with a plan or a secret parameter can't be granted";
    /// This host cannot provide the required sandbox, or a secret of the step.
    SandboxUnavailable = "sandbox-unavailable", 422, 126, "this host cannot give the run its sandbox or a secret";
    /// The boundary has no capacity for this request now. Try again later.
    Busy = "busy", 503, 125, "the boundary has no room for this request now";
    /// Another node of the boundary is active, or this node can't be active yet. Call the active node.
    Standby = "standby", 503, 125, "this node is not the active node of the boundary";
    /// The boundary can't use its database now. Try again later.
    Database = "database", 503, 125, "the boundary can't use its database now";
    /// The request has no valid token.
    Unauthenticated = "unauthenticated", 401, 126, "a token is needed";
    /// The token is valid, but does not permit this request.
    Forbidden = "forbidden", 403, 126, "the boundary does not permit this request";
    /// The resource does not exist, or the caller may not see it.
    NotFound = "not-found", 404, 2, "the resource does not exist, or this token does not permit access to it";
    /// The current state of the proposal or session does not permit this request.
    WrongState = "wrong-state", 409, 126, "the current state does not permit this request";
    /// The caller sent too many requests. Try again later.
    RateLimited = "rate-limited", 429, 125, "too many calls";
}

impl Code {
    /// Returns true if the refusal decides nothing about the request, so that the same request can succeed later.
    pub fn is_temporary(self) -> bool {
        matches!(self, Self::Busy | Self::Standby | Self::Database)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(self.word())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn every_code_has_the_http_status_of_the_specification() {
        let mut of: BTreeMap<u16, Vec<&str>> = BTreeMap::new();
        for code in Code::ALL {
            of.entry(code.status()).or_default().push(code.word());
        }
        assert_eq!(
            of.remove(&422).map(|codes| codes.len()),
            Some(Code::ALL.len() - 16)
        );
        let expected = [
            (400, vec!["malformed"]),
            (401, vec!["unauthenticated"]),
            (403, vec!["forbidden"]),
            (404, vec!["unknown-step", "not-found"]),
            (
                409,
                vec![
                    "step-changed",
                    "nonce-replayed",
                    "context-changed",
                    "grant-exhausted",
                    "grant-paused",
                    "wrong-state",
                ],
            ),
            (413, vec!["too-large"]),
            (429, vec!["rate-limited"]),
            (503, vec!["busy", "standby", "database"]),
        ];
        assert_eq!(of, BTreeMap::from(expected));
    }
}
