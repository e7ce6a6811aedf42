//! Review: a person's judgement of a receipt, after the run.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{BoundaryRef, ContentDigest, Malformed, Predicate, Statement, Subject, only_subject};

/// A person's statement about one receipt, its only subject: whether the run was right, and how a run with an unknown
/// end ended.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Review")]
pub struct ReviewStatement {
    /// The boundary of the run.
    pub boundary: BoundaryRef,
    /// Whether the run was right.
    pub verdict: ReviewVerdict,
    /// Reason for the verdict, as the person wrote it.
    pub reason: String,
    /// How the run ended, as people found out later. Only for a run with the outcome `unknown`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed: Option<ObservedEnd>,
}

words! {
    /// Whether a run was right.
    #[derive(Serialize, Deserialize, JsonSchema)]
    #[serde(rename_all = "lowercase")]
    pub enum ReviewVerdict {
        /// The run was right.
        Accepted = "accepted",
        /// The run was not right.
        Rejected = "rejected",
    }
}

words! {
    /// How a run ended whose end the boundary did not see.
    #[derive(Serialize, Deserialize, JsonSchema)]
    #[serde(rename_all = "snake_case")]
    #[schemars(rename = "Observed")]
    pub enum ObservedEnd {
        /// The run did all of its work.
        Succeeded = "succeeded",
        /// The run failed.
        Failed = "failed",
        /// The run executed nothing.
        NotStarted = "not started",
        /// The run did a part of its work.
        Partly = "partly",
    }
}

impl Predicate for ReviewStatement {
    const KIND: &'static str = "review";
    const MAX_BYTES: usize = 8 << 10;

    fn check(&self, subjects: &[Subject]) -> Result<(), Malformed> {
        only_subject(subjects, "receipt").map(drop)
    }
}

/// Returns the digest of the receipt that a review is about.
///
/// # Errors
/// Returns an error if the subject is not exactly one receipt.
pub fn reviewed(statement: &Statement<ReviewStatement>) -> Result<ContentDigest, Malformed> {
    only_subject(&statement.subject, "receipt").map(ContentDigest::from_bytes)
}
