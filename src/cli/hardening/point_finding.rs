//! The findings of the hardening list.

use serde::Serialize;

use crate::InspectedBoundary;
use reading::FileProblem;

/// What one check of a point found.
#[derive(Debug, Serialize)]
pub struct PointFinding {
    /// Result of the check.
    pub result: PointResult,
    /// What the check found.
    pub says: String,
    /// The command or the change that fixes a failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}

/// Result of a check, from the best to the worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PointResult {
    /// The check succeeded.
    Pass,
    /// The program cannot check this, so the operator must check it.
    Yours,
    /// The check failed.
    Fail,
}

pub(super) fn pass(says: impl Into<String>) -> PointFinding {
    PointFinding {
        result: PointResult::Pass,
        says: says.into(),
        fix: None,
    }
}

pub(super) fn yours(says: impl Into<String>) -> PointFinding {
    PointFinding {
        result: PointResult::Yours,
        says: says.into(),
        fix: None,
    }
}

pub(super) fn fail(says: impl Into<String>, fix: impl Into<String>) -> PointFinding {
    PointFinding {
        result: PointResult::Fail,
        says: says.into(),
        fix: Some(fix.into()),
    }
}

/// Reports files that can't be read, so that their point is not checked.
pub(super) fn unread(
    boundary: &InspectedBoundary<'_>,
    problems: &[FileProblem],
) -> Vec<PointFinding> {
    let fix = format!("{} lists the problems", boundary.command("doctor"));
    let one = |problem: &FileProblem| fail(format!("not checked: {problem}"), &*fix);
    problems.iter().take(1).map(one).collect()
}
