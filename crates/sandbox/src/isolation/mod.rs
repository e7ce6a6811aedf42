//! The isolation of a run: its namespaces, its file system, its system calls and its limits.
//!
//! The service starts its own binary once as a helper ([`launcher`]). The helper clones the first process of each run
//! into new namespaces. The first process builds the root file system (`filesystem`, `system_paths`, `run_hosts`, `step_paths`,
//! `mount_points`, `trees`, `denied_names`, `step_files`, `run_places`), drops its privileges (`confine`, `seccomp`, `grants`) and executes the step.
//! [`probe`] says what the host supports.

pub(crate) mod bpf;
pub(crate) mod cgroup;
pub(crate) mod confine;
pub(crate) mod denied_names;
pub(crate) mod executable_files;
pub(crate) mod filesystem;
pub(crate) mod grants;
pub(crate) mod helper;
pub(crate) mod ids;
pub mod interpreter;
pub mod launcher;
pub(crate) mod leftovers;
pub(crate) mod mounts;
pub mod planned_secret;
pub mod probe;
pub(crate) mod profile_paths;
pub mod protocol;
pub(crate) mod remove;
pub(crate) mod run_dir;
mod run_hosts;
pub(crate) mod run_places;
mod seccomp;
pub(crate) mod secret_files;
pub(crate) mod session_request;
pub mod session_tree;
pub(crate) mod setup_failure;
pub mod start_packet;
pub(crate) mod step_files;
pub(crate) mod step_paths;
pub(crate) mod syscalls;
pub(crate) mod system_paths;
pub(crate) mod trees;
