//! Errors for a step whose sandbox declaration is refused.

use documents::record::declared::Limit;

/// Reason why the sandbox declaration of a step is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProfileError {
    /// A limit is zero, so no run could succeed.
    #[error("{by} sets the limit {} to 0, so nothing can run: raise the limit or remove it", .limit.field())]
    ZeroLimit {
        /// The limit.
        limit: Limit,
        /// Source of the limit: the step, policy or the boundary's configuration.
        by: &'static str,
    },
    /// A step declares a limit above the maximum.
    #[error(
        "the step asks for {} {declared}, but {by} allows at most {maximum}: lower the value in the runbook, or allow \
         more in a policy override",
        .limit.field()
    )]
    AboveMaximum {
        /// The limit.
        limit: Limit,
        /// Declared value.
        declared: u64,
        /// Maximum value.
        maximum: u64,
        /// Source of the maximum: a policy rule or the boundary's configuration.
        by: String,
    },
    /// The declaration is malformed.
    #[error("{why}")]
    Declared {
        /// The problem, and how to correct the step.
        why: String,
    },
    /// A step declares access to the host that policy does not allow.
    #[error("{why}")]
    NotAllowed {
        /// The declaration, and the text that allows it in an override of the policy file.
        why: String,
    },
    /// A step declares `proc=full`, but the policy sets `minimal`.
    #[error(
        "the step declares proc=full, but policy ({by}) allows only minimal: remove proc=full from the runbook, or \
         allow `full` in a policy override"
    )]
    ProcRefused {
        /// Origin of the policy rule.
        by: String,
    },
}
