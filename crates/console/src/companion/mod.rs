//! The command `countersign console`: the companion of an approver, in a browser on the approver's own machine.
//!
//! - [`options`]: opens the pages of an approver
//! - [`signing`]: the keys; only this module loads and uses them, and no module outside of the companion can name it
//! - [`reviews`]: reviews that a page shows, until they are signed, denied or too old
//! - [`inbox`]: the proposals of all boundaries
//! - [`views`], [`review_view`], [`compare_view`]: the markup
//! - [`grant_pages`], [`run_review_pages`]: a standing grant, and a run that people must review
//! - [`freeze`]: the freeze of a boundary
//! - [`boundary_pages`]: steps, sessions, ended proposals and the log of one boundary
//! - [`requests`]: what each request needs
//! - [`run_pages`]: comparisons, runs and the pages of a boundary, which need no key
//! - [`routes`]: the requests of the browser
mod boundary_pages;
mod compare_view;
pub mod freeze;
mod grant_pages;
pub mod inbox;
pub mod options;
pub mod requests;
pub mod review_view;
pub mod reviews;
mod routes;
pub mod run_pages;
mod run_review_pages;
mod signing;
pub mod views;
