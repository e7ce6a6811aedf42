//! Metrics for operators: counters of the process, and values of the state when a client reads the metrics.
//!
//! No label value comes from a request. Each label has a closed list of values, or a value that an operator configured.

pub mod node_state;
pub mod openmetrics;
