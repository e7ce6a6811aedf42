//! Denial: an approver's signed statement against one authorization.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    AuthorizationDigest, BoundaryRef, Malformed, Predicate, Statement, Subject, only_subject,
};

/// A statement of one approver against one authorization, its only subject. The authorization never runs.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Denial {
    /// The boundary of the authorization.
    pub boundary: BoundaryRef,
    /// Reason for the denial, as the approver wrote it.
    pub reason: String,
}

impl Denial {
    /// Makes the denial of `authorization`.
    pub fn of(self, authorization: AuthorizationDigest) -> Statement<Self> {
        Statement::new(
            self,
            vec![Subject::new("authorization", authorization.as_bytes())],
        )
    }
}

/// Returns the digest of the denied authorization.
///
/// # Errors
/// Returns an error if the subject is not exactly one authorization.
pub fn denied(statement: &Statement<Denial>) -> Result<AuthorizationDigest, Malformed> {
    only_subject(&statement.subject, "authorization").map(AuthorizationDigest::from_bytes)
}

impl Predicate for Denial {
    const KIND: &'static str = "denial";
    const MAX_BYTES: usize = 8 << 10;

    fn check(&self, subjects: &[Subject]) -> Result<(), Malformed> {
        only_subject(subjects, "authorization").map(|_| ())
    }
}
