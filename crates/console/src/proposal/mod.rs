//! One proposal at a boundary: its state, its live output and its receipt. The pages of approvers and of proposers show
//! it.
//!
//! - [`reached`]: the boundaries of the person, what the person trusts there, and the requests to them
//! - [`receipts`]: receipts and recorded output, checked on this machine, and the markup of a run
//!
//! This module loads no key and signs nothing.
pub mod reached;
pub mod receipts;
