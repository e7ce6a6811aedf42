//! The auditor's pages: one table of decisions from bundles or a log, where this program repeats each decision.
//!
//! - [`audit_pages`]: the start, the requests of the browser, and the table that the pages share, with uploaded bundles
//! - [`log_row`]: what a page shows about a row of a log
//! - [`view`]: the markup
//!
//! No route of these pages signs, and they load no key.
pub mod audit_pages;
mod log_row;
mod view;
