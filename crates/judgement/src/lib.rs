//! The rules: what a step is, what policy asks, who may approve, and whether a history is sound.
//!
//! - [`shell`]: a parser for shell syntax that finds the commands of a script
//! - [`template`]: scripts with placeholders for parameters
//! - [`registry`]: the steps of the runbooks
//! - [`policy`]: the rules that decide about steps and commands
//! - [`trust`]: the people and their public keys
//! - [`decision`]: pure functions that compute a verdict from the sealed state and an envelope
//! - [`audit`]: offline verification
#![forbid(unsafe_code)]

pub mod audit;
pub mod decision;
pub mod policy;
pub mod registry;
pub mod shell;
pub mod template;
pub mod trust;
