//! What people write in files and options: the sandbox of a step, approval rules, paths of the host, durations and
//! times.

pub mod declared_sandbox;
pub mod sandbox_permission;
