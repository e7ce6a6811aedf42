//! One proposal at a boundary: its state, its live output and its receipt. The pages of approvers and of proposers show it.
//!
//! - [`boundary_trust`]: what the person trusts at each boundary
//! - [`reached`]: the boundaries of the person, and the requests to them
//! - [`log_head`]: the head of a log, checked on this machine
//! - [`proposal_words`]: a proposal in words, and how to read it
//! - [`live`]: the output of a run while it runs
//! - [`receipts`]: receipts and recorded output, checked on this machine
//! - [`run_view`]: the markup of a run
//!
//! This module loads no key and signs nothing.
pub mod reached;
pub mod receipts;
