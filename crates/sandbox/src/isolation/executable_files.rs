//! The files that a run may execute if its list of programs is closed.
//!
//! Landlock allows the right to execute only for these files. A dynamic loader can also map a program into memory
//! without executing the program's file. So every mount of the run forbids executable mappings, except the mounts of
//! these files and of the directories with shared libraries.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The files that a run may execute, and the places from which the run may map code.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExecutableFiles {
    /// Number of entries in the list.
    pub listed: u64,
    /// Real paths of the listed programs and of the loaders that these programs need, sorted.
    pub programs: Vec<PathBuf>,
    /// Real paths of directories with shared libraries, sorted.
    pub libraries: Vec<PathBuf>,
    /// Real paths of unlisted programs, and of directories with unlisted programs, below the directories with shared
    /// libraries. The paths are sorted.
    pub closed: Vec<PathBuf>,
    /// Directories and files that the run may read, but from which the run can't execute anything.
    pub readable: Vec<PathBuf>,
    /// True if the run may also execute the files in the directories that it may write.
    pub own: bool,
}
