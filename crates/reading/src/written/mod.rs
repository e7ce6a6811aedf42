//! What people write in files and options: the sandbox of a step, approval rules, paths of the host, durations and times.

pub mod allowed_sandbox;
pub mod approval_rule;
pub mod declared_sandbox;
pub mod host_paths;
pub mod sandbox_permission;
pub mod written_time;
