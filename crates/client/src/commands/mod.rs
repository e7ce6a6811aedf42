//! The commands of the client, and the way from the arguments of a process to its exit code.
//!
//! Each command has its own file with the type `Args` and the function `run`. Commands print data to the standard
//! output and messages to the standard error.
pub mod approve;
pub mod audit;
pub mod boundary;
pub mod bundle_files;
pub mod cancel;
pub(crate) mod client_build;
pub mod client_program;
pub mod clock;
pub mod completions;
pub mod deny;
pub mod every_boundary;
pub mod freeze;
pub mod gate;
pub mod global;
pub mod grant;
pub mod inbox;
pub mod inbox_table;
pub mod key;
pub mod log;
pub mod log_source_options;
pub mod man;
pub mod mcp;
pub mod mcp_configuration;
pub mod mcp_grantee;
pub mod output;
pub mod own_program;
pub mod program;
pub mod proposal_filter;
pub mod proposals;
pub mod propose;
pub mod registry;
pub mod review;
pub mod review_run;
pub mod review_subject;
pub mod revocation;
pub mod revoke;
pub mod roster;
pub mod session;
pub mod submit;
pub mod unsettled;
pub mod verdict_screen;
pub mod verify;
mod verify_tally;
pub mod version;
pub mod wait;
