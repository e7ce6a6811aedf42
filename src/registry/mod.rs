//! registry
pub mod parameters;
