//! The commands for operators and approvers.

mod letters;
mod local_secrets;
mod manual;
mod many_steps;
mod operator;
mod other_formats;
mod policy;
mod production;
mod programs;
mod refused_files;
mod registry_check;
mod registry_policy;
mod registry_remarks;
pub(crate) mod review;
mod roster_bundles;
pub(crate) mod roster_chain;
mod roster_differences;
mod run;
mod step_files;
mod systemd_unit;
mod test_runbook;
mod users;
mod walk;
mod workflow;
