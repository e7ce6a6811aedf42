//! Why policy does not give a step its sandbox.

use std::fmt;

use crate::record::declared::Limit;

/// A step asks for what it can't have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProfileError {
    /// A limit of zero would stop every run.
    ZeroLimit {
        /// Which one.
        limit: Limit,
        /// Who said it.
        by: &'static str,
    },
    /// A step declares more than it may.
    AboveMaximum {
        /// Which limit.
        limit: Limit,
        /// What the step declares.
        declared: u64,
        /// What it may have.
        maximum: u64,
        /// Who says so.
        by: String,
    },
    /// A step declares what can't be.
    Declared {
        /// What is wrong with it, and what to do.
        why: String,
    },
    /// A step declares something of the host that policy does not allow it.
    NotAllowed {
        /// What, and what an override would have to say.
        why: String,
    },
    /// A step declares `proc=full` where policy says `minimal`.
    ProcRefused {
        /// The rule that says so.
        by: String,
    },
}

impl fmt::Display for ProfileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ZeroLimit { limit, by } => {
                write!(
                    f,
                    "{by} sets the limit {} to 0, under which nothing can run: raise it or leave it out",
                    limit.field()
                )
            }
            Self::AboveMaximum { limit, declared, maximum, by } => write!(
                f,
                "the step asks for {} {declared}, and {by} allows {maximum}: lower it in the runbook, or allow more in a policy override",
                limit.field()
            ),
            Self::Declared { why } | Self::NotAllowed { why } => f.write_str(why),
            Self::ProcRefused { by } => write!(
                f,
                "the step declares proc=full, and policy ({by}) says minimal: remove it from the runbook, or allow it in a policy override"
            ),
        }
    }
}

impl std::error::Error for ProfileError {}
