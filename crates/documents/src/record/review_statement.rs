//! Review: a person's judgement of a receipt, after the run. Only a later version uses this document.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::record::authorization::BoundaryRef;
use crate::record::document::{Predicate, Statement, Subject, only_subject};
use crate::record::malformed::Malformed;

/// Says of a receipt, which is its only subject, whether the run was right, or how it ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Review")]
pub struct ReviewStatement {
    /// The boundary that ran it.
    pub boundary: BoundaryRef,
    /// Whether the run was right.
    pub verdict: ReviewVerdict,
    /// Why.
    pub reason: String,
    /// What became of a run whose end the boundary did not see.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed: Option<ObservedEnd>,
}

/// Whether a run was right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ReviewVerdict {
    /// It was.
    Accepted,
    /// It was not.
    Rejected,
}

/// What became of a run whose end the boundary did not see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "Observed")]
pub enum ObservedEnd {
    /// It did all of it.
    Succeeded,
    /// It failed.
    Failed,
    /// Nothing was executed.
    NotStarted,
    /// It did a part.
    Partly,
}

impl ReviewStatement {
    /// Makes the review of a receipt's payload.
    #[must_use]
    pub fn of(self, receipt: &[u8; 32]) -> Statement<Self> {
        Statement::new(self, vec![Subject::new("receipt", receipt)])
    }
}

impl Predicate for ReviewStatement {
    const KIND: &'static str = "review";
    const MAX_BYTES: usize = 8 << 10;

    fn check(&self, subjects: &[Subject]) -> Result<(), Malformed> {
        only_subject(subjects, "receipt").map(drop)
    }
}
