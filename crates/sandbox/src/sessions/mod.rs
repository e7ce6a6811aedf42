//! What a run takes and leaves: variables, work directory and results, and the masks of its secrets.

pub mod run_results;
pub mod secret_masks;
pub mod session_state;
