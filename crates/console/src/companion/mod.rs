//! The command `countersign console`: the companion of an approver, in a browser on the approver's own machine.
//!
//! - [`options`]: the command and its options
//! - [`signing`]: the keys; only this module loads and uses them
//! - [`held`]: reviews that a page shows, until they are signed, denied or too old
//! - [`inbox`]: the proposals of all boundaries
//! - [`views`], [`review_view`], [`compare_view`]: the markup
//! - [`grant_pages`], [`run_review_pages`]: a standing grant, and a run that people must review
//! - [`boundary_pages`], [`boundary_views`]: steps, sessions, ended proposals and the log of one boundary
//! - [`requests`]: what each request needs
//! - [`routes`]: the requests of the browser
mod boundary_pages;
mod boundary_views;
mod compare_view;
mod freeze;
mod grant_pages;
mod held;
mod inbox;
pub mod options;
mod requests;
mod review_view;
mod routes;
mod run_review_pages;
mod signing;
mod views;
