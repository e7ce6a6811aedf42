//! What `doctor` finds, in both of its lists.

use serde::Serialize;

use crate::InspectedBoundary;
use client::PrintableText;
use reading::FileProblem;

/// One finding.
#[derive(Debug, Serialize)]
pub struct DoctorFinding {
    /// What it means for the operator.
    pub result: FindingResult,
    /// What was checked. Empty in the hardening list, whose points have names.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub what: String,
    /// What was found.
    pub says: String,
    /// The command or the change that fixes a failure, if `says` does not name it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}

/// What a finding means for the operator, from the best to the worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FindingResult {
    /// The check succeeded.
    Ok,
    /// The operator should know this.
    Note,
    /// The program cannot check this, so the operator must check it.
    Yours,
    /// The operator must fix the problem.
    Fix,
}

impl FindingResult {
    /// Returns the word for a terminal.
    pub const fn mark(self) -> &'static str {
        match self {
            Self::Ok => "ok   ",
            Self::Note => "note ",
            Self::Yours => "yours",
            Self::Fix => "FIX  ",
        }
    }
}

impl DoctorFinding {
    /// Returns the text of a finding for a terminal, behind its mark and its name.
    pub fn row(&self, head: &str) -> String {
        let says = PrintableText::message(&self.says);
        let mut row = format!("{head}  {}\n", says.as_str());
        if let Some(fix) = &self.fix {
            let fix = PrintableText::message(fix);
            row.push_str(&format!(
                "{:width$}  {}\n",
                "",
                fix.as_str(),
                width = head.len()
            ));
        }
        row
    }
}

pub fn found(
    result: FindingResult,
    what: impl Into<String>,
    says: impl Into<String>,
) -> DoctorFinding {
    DoctorFinding {
        result,
        what: what.into(),
        says: says.into(),
        fix: None,
    }
}

pub fn ok(what: impl Into<String>, says: impl Into<String>) -> DoctorFinding {
    found(FindingResult::Ok, what, says)
}

pub fn noted(what: impl Into<String>, says: impl Into<String>) -> DoctorFinding {
    found(FindingResult::Note, what, says)
}

pub fn fix(what: impl Into<String>, says: impl Into<String>) -> DoctorFinding {
    found(FindingResult::Fix, what, says)
}

pub fn pass(says: impl Into<String>) -> DoctorFinding {
    ok("", says)
}

pub fn yours(says: impl Into<String>) -> DoctorFinding {
    found(FindingResult::Yours, "", says)
}

pub fn fail(says: impl Into<String>, fix: impl Into<String>) -> DoctorFinding {
    DoctorFinding {
        fix: Some(fix.into()),
        ..found(FindingResult::Fix, "", says)
    }
}

/// Reports files that can't be read, so that their point is not checked.
pub fn unread(boundary: &InspectedBoundary<'_>, problems: &[FileProblem]) -> Vec<DoctorFinding> {
    let fix = format!("{} lists the problems", boundary.command("doctor"));
    let one = |problem: &FileProblem| fail(format!("not checked: {problem}"), &*fix);
    problems.iter().take(1).map(one).collect()
}
