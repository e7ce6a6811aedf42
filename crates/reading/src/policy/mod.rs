//! Policy: the rules for a step, and the decisions about each command, path and variable.
//!
//! The functions of this module have no side effects. [`ruling`] collects the rules that apply to a step. [`decide`]
//! decides the commands of a script under these rules. [`required_permissions`] lists the permissions that approvers of
//! a boundary sign. [`session`] stores the answers of a person at a terminal.
pub mod builtins;
pub mod decide;
pub mod file;
pub mod host_access;
pub mod lists;
pub mod patterns;
mod policy_reader;
pub mod possible_names;
pub mod program_names;
pub mod required_permissions;
pub mod ruling;
pub mod session;
pub mod signed_programs;
pub mod step_profile;
