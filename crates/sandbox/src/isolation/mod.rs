//! The isolation of a run: its namespaces, its file system, its system calls and its limits.
//!
//! The service starts its own binary once as a helper ([`launcher`]). The helper clones the first process of each run
//! into new namespaces. The first process builds the root file system ([`filesystem`], with [`mounts`], [`trees`],
//! [`denied_names`], [`step_files`] and [`run_hosts`]), drops its privileges ([`confine`], [`seccomp`]) and executes the step.
//! [`probe`] says what the host supports.

pub mod bpf;
pub mod cgroup;
pub mod confine;
pub mod denied_names;
pub mod executable_files;
pub mod filesystem;
pub mod grants;
pub mod helper;
pub mod ids;
pub mod interpreter;
pub mod launcher;
pub mod leftovers;
pub mod mounts;
pub mod opened;
pub mod planned_secret;
pub mod probe;
pub mod profile_paths;
pub mod protocol;
pub mod remove;
pub mod run_dir;
mod run_hosts;
pub mod run_places;
mod seccomp;
pub mod secret_files;
pub mod session_tree;
pub mod setup_failure;
pub mod step_files;
pub mod step_paths;
pub mod syscalls;
pub mod system_paths;
pub mod trees;
