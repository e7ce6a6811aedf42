//! The part of the command line that runs on each Unix: it proposes, reviews, signs, verifies and audits.
//!
//! - [`terminal`]: output of commands and exit codes
//! - [`home`]: keys, trusted rosters and files of the user
//! - [`remote`]: the client of a boundary
//! - [`review`]: the screen that an approver reads before signing
//! - [`commands`]: the commands
#![forbid(unsafe_code)]

pub mod commands;
pub mod home;
pub mod remote;
pub mod review;
pub mod terminal;
