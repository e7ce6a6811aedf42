//! The client of a boundary: its HTTP calls, proposals and their output, the log and copies of it.
pub mod client;
pub mod export;
pub mod follow;
pub mod log_source;
pub mod proposals;
pub mod run_printer;
