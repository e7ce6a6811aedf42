//! The list of programs that a run may execute, and the facts about the programs that it executed.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    HostPath, Malformed, OWN_PROGRAMS, Program, check_by, check_bytes, check_count, check_range,
    check_sorted, record::ident::ProgramPath,
};

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

/// Directories in which a run searches programs by name.
pub const SEARCHED: [&str; 6] = [
    "/usr/local/sbin",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/bin",
    "/sbin",
    "/bin",
];

/// The programs that a run may execute.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProgramList {
    /// Always `listed`. A profile without a list has no `programs` at all.
    pub mode: OnlyListed,
    /// The programs, sorted.
    #[schemars(length(min = 1, max = MAX_PROGRAMS), extend("uniqueItems" = true))]
    pub list: Vec<ListedProgram>,
}

/// The only mode of a list of programs in a profile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "Listed")]
pub enum OnlyListed {
    /// The run may execute only the programs of the list.
    Listed,
}

/// A program that a run may execute.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListedProgram {
    /// Name of the program, for example `curl`. Or `{work}/**`, for every file in the directories that the run may
    /// write.
    pub name: Program,
    /// Path of the program on the host, for example `/usr/bin/curl`. Or `{work}/**`.
    pub path: ProgramPath,
}

impl ProgramList {
    /// Checks the number and the order of the programs, and the size of the list.
    ///
    /// # Errors
    /// Returns the error, with a pointer into this part.
    pub fn check(&self) -> Result<(), Malformed> {
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

/// The programs that a run executed, as far as the boundary recorded them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProgramFacts {
    /// Whether the run could execute only the programs of a list.
    pub mode: ProgramMode,
    /// Number of entries in the signed list. 0 if the run had no list.
    #[schemars(range(max = MAX_PROGRAMS))]
    pub listed: u64,
    /// Executions that the kernel refused. Absent if the boundary did not record them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<Executions>,
    /// Programs that the run executed. Absent if the boundary did not record them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started: Option<Executions>,
}

/// Whether a run can execute only the programs of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ProgramMode {
    /// The run can execute every program of the host.
    Any,
    /// The run can execute only the programs of a list.
    Listed,
}

/// Numbers of executions, by path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Executions {
    /// Paths with the number of their executions, sorted by path, each path once.
    pub paths: Vec<Execution>,
    /// Number of executions whose path is not in `paths`.
    pub more: u64,
}

/// A path and the number of its executions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Execution {
    /// Path of the program.
    pub path: HostPath,
    /// Number of executions.
    #[schemars(range(min = 1))]
    pub count: u64,
}

impl ProgramFacts {
    /// Checks that the numbers and the lists of paths agree.
    ///
    /// # Errors
    /// Returns the error, with a pointer into this part.
    pub fn check(&self) -> Result<(), Malformed> {
        check_range("/listed", self.listed, 0, MAX_PROGRAMS as u64)?;
        if (self.mode == ProgramMode::Any) != (self.listed == 0) {
            return Err(Malformed::at(
                "/listed",
                "expected 0 with mode any, and more than 0 with every other mode",
            ));
        }
        for (name, executions, most) in [
            ("refused", &self.refused, MAX_REFUSED),
            ("started", &self.started, MAX_STARTED),
        ] {
            let Some(Executions { paths, .. }) = executions else {
                continue;
            };
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
