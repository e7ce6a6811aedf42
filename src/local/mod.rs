//! `countersign run`: a person runs a runbook's steps on this machine, under policy and in a sandbox.
//!
//! Policy's questions take the place of other people's approvals: nobody countersigned, so what comes out is a local
//! receipt, a kind of its own that proves to the person alone what they ran.
pub mod decide;
pub mod environment;
pub mod grant_options;
pub mod host_sandbox;
pub mod local_log;
pub mod output_copier;
pub mod problems;
pub mod project;
pub mod prompt;
pub mod runbook;
pub mod signals;
pub mod signed_receipts;
pub mod step;
pub mod working_directory;
