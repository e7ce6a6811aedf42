//! Client of a boundary: HTTP calls, proposals and their output, the log, and copies of the log.
pub mod address;
pub mod client;
pub mod export;
pub mod follow_run;
pub mod log_source;
pub mod mcp_client;
pub mod proposals;
pub mod read_receipt;
pub mod run_printer;
