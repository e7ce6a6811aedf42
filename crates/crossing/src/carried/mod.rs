//! What a run gets and leaves: sessions, artifacts, plans, secrets, live output and results.
//!
//! No file here spends a nonce or starts a run.

pub mod artifact_store;
pub mod capacity;
pub mod kept_results;
pub mod late_receipts;
pub mod live;
pub mod plans;
pub mod recorded_outputs;
pub mod secret_permits;
pub mod sessions;
