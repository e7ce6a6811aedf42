//! The command `countersign run`: a person runs the steps of a runbook on this machine, under a policy and in a
//! sandbox.
//!
//! The person answers the questions of the policy, and no approver signs. Therefore the run leaves no receipt.
pub mod author_preview;
pub mod decide;
pub mod environment;
pub mod host_sandbox;
pub mod local_secrets;
pub mod project;
pub mod runbook;
pub mod runbook_check;
pub mod runbook_test;
pub mod sandbox_choice;
pub mod script_answer;
pub mod signals;
pub mod step_programs;
pub mod step_run;
pub mod test_run;
pub mod walk_session;
pub mod workflow_run;
pub mod workflow_walk;
pub mod working_directory;
