//! The sandbox, which isolates each run of a step.

pub mod isolation;
pub mod programs;
pub mod proxy;
pub mod runs;
pub mod sessions;
