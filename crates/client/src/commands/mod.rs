//! The commands of the client, and the code that parses the arguments of a process and returns its exit code.
//!
//! Each command has its own file with the type `Args` and the function `run`. Commands print data to the standard
//! output and messages to the standard error.
pub mod approve;
pub mod audit;
pub mod boundary;
pub mod bundle_files;
pub mod cancel;
pub mod completions;
pub mod deny;
pub mod freeze;
pub mod gate;
pub mod global;
pub mod grant;
pub mod inbox;
pub mod inbox_table;
pub mod key;
pub mod log;
pub mod man;
pub mod mcp;
pub mod output;
pub mod program;
pub mod proposals;
pub mod propose;
pub mod registry;
pub mod review;
pub mod review_run;
pub mod revocation;
pub mod revoke;
pub mod roster;
pub mod session;
pub mod submit;
pub mod unsettled;
pub mod verdict_screen;
pub mod verify;
pub mod wait;
