//! The results of checks, and what hangs on which.

use std::collections::BTreeMap;
use std::fmt;

use crate::audit::report::{Check, CheckFinding, CheckName};

/// What a check gave, or the check that stands in the way.
pub(crate) type CheckOutcome<T> = Result<T, CheckName>;

/// Why a check did not establish anything.
#[derive(Debug)]
pub(crate) enum CheckStop {
    /// It does not hold.
    Failed(String),
    /// It can't be looked at, for a reason of its own.
    NotChecked(String),
    /// It can't be looked at, since this check was not established.
    Because(CheckName),
}

impl From<CheckName> for CheckStop {
    fn from(name: CheckName) -> Self {
        Self::Because(name)
    }
}

impl From<&CheckName> for CheckStop {
    fn from(name: &CheckName) -> Self {
        Self::Because(*name)
    }
}

/// A failed check, for `map_err`.
pub(crate) fn failed(why: impl fmt::Display) -> CheckStop {
    CheckStop::Failed(why.to_string())
}

/// Fails a check unless `holds`.
pub(crate) fn ensure(holds: bool, why: impl FnOnce() -> String) -> Result<(), CheckStop> {
    if holds { Ok(()) } else { Err(CheckStop::Failed(why())) }
}

/// The results so far, each written once.
#[derive(Debug, Default)]
pub(crate) struct CheckLedger(BTreeMap<CheckName, (CheckFinding, String)>);

impl CheckLedger {
    /// Makes one check and writes down how it ended. What it gives is there only when it was established.
    pub(crate) fn check<T>(
        &mut self,
        name: CheckName,
        check: impl FnOnce() -> Result<(T, String), CheckStop>,
    ) -> CheckOutcome<T> {
        let (result, finding, detail) = match check() {
            Ok((value, detail)) => (Ok(value), CheckFinding::Established, detail),
            Err(CheckStop::Failed(why)) => (Err(name), CheckFinding::Failed, why),
            Err(CheckStop::NotChecked(why)) => (Err(name), CheckFinding::NotChecked, why),
            Err(CheckStop::Because(cause)) => (Err(cause), CheckFinding::NotChecked, self.because(cause)),
        };
        // A check that failed before stays failed.
        match self.0.get_mut(&name) {
            Some((CheckFinding::Failed, _)) => {}
            Some(before) => *before = (finding, detail),
            None => {
                self.0.insert(name, (finding, detail));
            }
        }
        result
    }

    fn because(&self, cause: CheckName) -> String {
        match self.0.get(&cause) {
            Some((CheckFinding::Failed, _)) => format!("because {cause} failed"),
            _ => format!("because {cause} was not checked"),
        }
    }

    /// All checks in their order; what was never reached says so.
    pub(crate) fn into_checks(self) -> Vec<Check> {
        let mut results = self.0;
        CheckName::ALL
            .iter()
            .map(|&name| {
                let (finding, detail) =
                    results.remove(&name).unwrap_or_else(|| (CheckFinding::NotChecked, "not reached".to_owned()));
                Check { name, finding, detail, rests_on: name.rests_on() }
            })
            .collect()
    }
}
