//! What a run takes from a session and leaves to it: variables, work directory and results.

pub mod code_variables;
mod exported_variables;
pub mod run_results;
pub mod session_state;
pub mod session_wrapper;
