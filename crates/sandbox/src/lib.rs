//! The sandbox, which isolates each run of a step.

pub mod isolation;
pub mod programs;
pub mod relay;
pub mod runs;
pub mod sessions;
