//! The list of programs that a run may execute, and the facts about the programs that it executed.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::record::document::check_sorted;
use crate::record::later_parts::{check_by, check_bytes, check_count, check_range};
use crate::record::later_words::{HostPath, OWN_PROGRAMS, Program, ProgramPath};
use crate::record::malformed::Malformed;
use crate::record::reserved::ReservedPart;

/// Maximum number of programs that a profile lists.
pub const MAX_PROGRAMS: usize = 128;
/// Maximum size of a list of programs, in bytes.
pub const MAX_PROGRAMS_BYTES: usize = 4 << 10;
/// Maximum size of the field `programs` in a receipt, in bytes.
pub const MAX_PROGRAM_FACTS_BYTES: usize = 2 << 10;
/// Maximum number of refused programs that a receipt names.
pub const MAX_REFUSED: usize = 8;
/// Maximum number of started programs that a receipt names.
pub const MAX_STARTED: usize = 16;

/// The programs that a run may start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProgramList {
    /// Always `listed`: where any program may run, nothing is written.
    pub mode: OnlyListed,
    /// The programs, sorted.
    #[schemars(length(min = 1, max = MAX_PROGRAMS), extend("uniqueItems" = true))]
    pub list: Vec<ListedProgram>,
}

/// Only what is listed may be started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "Listed")]
pub enum OnlyListed {
    /// Only what is listed.
    Listed,
}

/// A program that may be started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListedProgram {
    /// As the step names it.
    pub name: Program,
    /// Where it lies.
    pub path: ProgramPath,
}

impl ReservedPart for ProgramList {
    fn check(&self) -> Result<(), Malformed> {
        check_count("/list", self.list.len(), 1, MAX_PROGRAMS)?;
        for (at, one) in self.list.iter().enumerate() {
            if (one.name.as_str() == OWN_PROGRAMS) != (one.path.as_str() == OWN_PROGRAMS) {
                return Err(Malformed::at(
                    format!("/list/{at}"),
                    "write {work}/** in both `name` and `path`, or in neither of the two",
                ));
            }
        }
        check_sorted("/list", &self.list)?;
        check_bytes("", self, MAX_PROGRAMS_BYTES)
    }
}

/// Which programs a run started, as far as that was recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProgramFacts {
    /// Whether a list was held.
    pub mode: ProgramMode,
    /// How many programs it had; 0 without a list.
    #[schemars(range(max = MAX_PROGRAMS))]
    pub listed: u64,
    /// What was refused; absent when it was not recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<Executions>,
    /// What was started; absent when it was not recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<Executions>,
}

/// Whether a list of programs was held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ProgramMode {
    /// Any program could run.
    Any,
    /// Only those of a list.
    Listed,
}

/// Executions by path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Executions {
    /// The paths that are named, sorted.
    pub paths: Vec<Execution>,
    /// Executions that no path names.
    pub more: u64,
}

/// A path and how often it was executed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Execution {
    /// The program.
    pub path: HostPath,
    /// How often.
    #[schemars(range(min = 1))]
    pub count: u64,
}

impl ReservedPart for ProgramFacts {
    fn check(&self) -> Result<(), Malformed> {
        check_range("/listed", self.listed, 0, MAX_PROGRAMS as u64)?;
        if (self.mode == ProgramMode::Any) != (self.listed == 0) {
            return Err(Malformed::at("/listed", "expected 0 with mode any, and more than 0 with every other mode"));
        }
        for (name, executions, most) in
            [("refused", &self.refused, MAX_REFUSED), ("started", &self.started, MAX_STARTED)]
        {
            let Some(Executions { paths, .. }) = executions else { continue };
            let pointer = format!("/{name}/paths");
            check_count(&pointer, paths.len(), 0, most)?;
            for (at, one) in paths.iter().enumerate() {
                check_range(&format!("{pointer}/{at}/count"), one.count, 1, u64::MAX)?;
            }
            check_by(&pointer, paths, |one| one.path.as_str())?;
        }
        check_bytes("", self, MAX_PROGRAM_FACTS_BYTES)
    }
}
