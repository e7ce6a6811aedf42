//! The crossing, through which every run passes. Read [`cross`] first.
//!
//! Code outside of this module can't create a stage, spend a nonce or start a run. `tests/house/layers.rs` checks this
//! rule.
pub mod artifact_store;
pub mod boundary_key;
pub mod caller;
pub mod capacity;
pub mod carried_variables;
pub mod changes;
mod collect_results;
pub mod cross;
pub mod current_seal;
pub mod host_profile;
mod keep_output;
pub mod kept_results;
pub mod live;
pub mod log_span;
mod masks;
pub mod output_order;
mod patience;
pub mod plans;
pub mod recorded_outputs;
pub mod recovery;
pub mod refusal;
pub mod run_inputs;
pub mod sealed;
pub mod secret_masks;
pub mod secret_permits;
pub mod sessions;
pub mod stage;
pub mod step_files;
pub mod stored_documents;
pub mod surroundings;
