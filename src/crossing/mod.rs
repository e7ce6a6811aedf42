//! The crossing, through which every run passes. Read [`cross`] first.
//!
//! Code outside of this module can't create a stage, spend a nonce or start a run. `tests/house/layers.rs` checks this
//! rule.
pub mod boundary_key;
pub mod changes;
pub mod cross;
pub mod crossing_parts;
pub mod granted;
pub mod host_profile;
mod keep_output;
mod keep_results;
pub mod log_span;
mod masks;
pub mod recovery;
pub mod revoked;
pub mod run_end;
pub mod run_inputs;
pub mod stage;
pub mod step_files;
mod store_receipt;
mod unreachable_services;
