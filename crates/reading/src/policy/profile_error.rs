//! Errors for a step whose sandbox declaration is refused.

use documents::{Limit, joined};

/// Reason why the sandbox declaration of a step is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProfileError {
    /// A limit is zero, so no run could succeed.
    ZeroLimit {
        /// The limit.
        limit: Limit,
        /// Source of the limit: the step, policy or the boundary's configuration.
        by: &'static str,
    },
    /// A step declares a limit above the maximum.
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
    Declared {
        /// The problem, and how to correct the step.
        why: String,
    },
    /// A step declares access to the host that policy does not allow.
    NotAllowed {
        /// The declaration.
        asks: String,
        /// The key of `sandbox` that allows the declaration in an override of the policy.
        key: String,
    },
    /// A step declares `proc=full`, but the policy sets `minimal`.
    ProcRefused {
        /// Origin of the policy rule.
        by: String,
    },
}

impl ProfileError {
    /// Returns the error for people. `runbook` is the path of the step's runbook.
    pub fn words(&self, runbook: &str) -> String {
        match self {
            Self::ZeroLimit { limit, by } => {
                format!(
                    "{by} sets the limit {} to 0, so nothing can run: raise the limit or remove it",
                    limit.field()
                )
            }
            Self::AboveMaximum {
                limit,
                declared,
                maximum,
                by,
            } => format!(
                "the step asks for {} {declared}, but {by} allows at most {maximum}: lower the value in the runbook, \
                 or allow more in a policy override",
                limit.field()
            ),
            Self::Declared { why } => why.clone(),
            Self::NotAllowed { asks, key } => {
                let inside = if key.starts_with("network") {
                    " (a host with `private: true` may be inside your network, and with `localhost: true` on this machine)"
                } else {
                    ""
                };
                format!(
                    "the step declares {asks}, and no policy override for the path {runbook} allows that: remove {asks} from \
                     the runbook, or add to the end of `overrides` in the policy: \
                     `- {{runbook: {runbook:?}, sandbox: {{{key}}}}}`{inside}"
                )
            }
            Self::ProcRefused { by } => format!(
                "the step declares proc=full, but policy ({by}) allows only minimal: remove proc=full from the \
                 runbook, or allow `full` in a policy override"
            ),
        }
    }
}

/// Returns all errors as one text.
pub fn words_of(errors: &[ProfileError], runbook: &str) -> String {
    joined(errors.iter().map(|error| error.words(runbook)), "; ")
}
