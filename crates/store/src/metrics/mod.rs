//! Metrics for operators: counters of the process, and readings of the state at a scrape.
//!
//! No label value comes from a request. Each label has a closed list of values, or a value that an operator configured.

pub mod crossing_stage;
pub mod openmetrics;
pub mod readings;
pub mod stage_clock;
