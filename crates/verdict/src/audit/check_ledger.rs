//! Records the results of checks and their dependencies.

use std::{collections::BTreeMap, fmt};

use crate::{Check, CheckFinding, CheckName};

/// Value of an established check, or the reason why the check was not established.
pub type CheckOutcome<T> = Result<T, CheckName>;

/// What a check found: its value, and the detail for the report.
pub type Checked<T> = Result<(T, String), CheckStop>;

/// Reason why a check established nothing.
pub enum CheckStop {
    /// The check was made and failed.
    Failed(String),
    /// The check could not be made, and no other check is the cause.
    NotChecked(String),
    /// The check could not be made because the named check was not established.
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

/// An error of a part of a check fails the check.
impl<E: std::error::Error> From<E> for CheckStop {
    fn from(error: E) -> Self {
        failed(error)
    }
}

impl fmt::Display for CheckStop {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Failed(why) | Self::NotChecked(why) => f.write_str(why),
            Self::Because(name) => write!(f, "because {name} was not established"),
        }
    }
}

pub fn failed(why: impl fmt::Display) -> CheckStop {
    CheckStop::Failed(why.to_string())
}

/// Returns a failed check unless `holds` is true.
pub fn ensure<S: fmt::Display>(holds: bool, why: impl FnOnce() -> S) -> Result<(), CheckStop> {
    if holds { Ok(()) } else { Err(failed(why())) }
}

/// Results of the checks that were made, at most one result for each check.
#[derive(Default)]
pub struct CheckLedger(BTreeMap<CheckName, (CheckFinding, String)>);

impl CheckLedger {
    /// Makes one check and records the result. The value is returned only if the check was established.
    pub fn check<T>(
        &mut self,
        name: CheckName,
        check: impl FnOnce() -> Checked<T>,
    ) -> CheckOutcome<T> {
        let (result, finding, detail) = match check() {
            Ok((value, detail)) => (Ok(value), CheckFinding::Established, detail),
            Err(CheckStop::Failed(why)) => (Err(name), CheckFinding::Failed, why),
            Err(CheckStop::NotChecked(why)) => (Err(name), CheckFinding::NotChecked, why),
            Err(CheckStop::Because(cause)) => {
                (Err(cause), CheckFinding::NotChecked, self.because(cause))
            }
        };
        // A later result never replaces a failure.
        match self.0.get_mut(&name) {
            Some((CheckFinding::Failed, _)) => {}
            Some(before) => *before = (finding, detail),
            None => {
                self.0.insert(name, (finding, detail));
            }
        }
        result
    }

    /// Makes one check that finds no value, only a detail.
    pub fn establish(
        &mut self,
        name: CheckName,
        check: impl FnOnce() -> Result<String, CheckStop>,
    ) -> CheckOutcome<()> {
        self.check(name, || check().map(|detail| ((), detail)))
    }

    fn because(&self, cause: CheckName) -> String {
        match self.0.get(&cause) {
            Some((CheckFinding::Failed, _)) => format!("because {cause} failed"),
            _ => format!("because {cause} was not checked"),
        }
    }

    /// Returns all checks in their order. A check without a recorded result is *not checked*.
    pub fn into_checks(self) -> Vec<Check> {
        let mut results = self.0;
        CheckName::ALL
            .iter()
            .map(|&name| {
                let (finding, detail) = results
                    .remove(&name)
                    .unwrap_or_else(|| (CheckFinding::NotChecked, "not reached".to_owned()));
                Check {
                    name,
                    finding,
                    detail,
                    rests_on: name.rests_on(),
                }
            })
            .collect()
    }
}
