//! The auditor's pages: one table of decisions, each made again here, from bundles or a log.
//!
//! - [`audit_pages`]: the options, the requests of the browser, and the table that the pages share, with uploaded bundles
//! - [`log_row`]: what a page shows about a row of a log
//! - [`view`]: the markup
//!
//! An auditor has no route that signs, and loads no key.
pub mod audit_pages;
mod log_row;
mod view;
