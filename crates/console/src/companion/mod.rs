//! The command `countersign console`: the companion of an approver, in a browser on the approver's own machine.
//!
//! - [`options`]: the command and its options
//! - [`boundary_trust`]: what the person trusts at each boundary
//! - [`reached`]: the boundaries of the person, and the requests to them
//! - [`signing`]: the keys; only this module loads and uses them
//! - [`held`]: reviews that a page shows, until they are signed, denied or too old
//! - [`inbox`]: the proposals of all boundaries
//! - [`views`], [`review_view`], [`compare_view`], [`run_view`]: the markup
//! - [`boundary_pages`], [`boundary_views`]: steps, sessions, ended proposals and the log of one boundary
//! - [`log_head`]: the head of a log, checked on this machine
//! - [`receipts`]: receipts and recorded output, checked on this machine
//! - [`live`]: the output of a run while it runs
//! - [`requests`]: what each request needs
//! - [`routes`]: the requests of the browser
mod boundary_pages;
mod boundary_trust;
mod boundary_views;
mod compare_view;
mod held;
mod inbox;
mod live;
mod log_head;
pub mod options;
mod reached;
mod receipts;
mod requests;
mod review_view;
mod routes;
mod run_view;
mod signing;
mod views;
