//! The auditor's pages: one table of decisions, each made again here, from bundles or a log.
//!
//! - [`audit_pages`]: the options and the server
//! - [`kept_table`]: the table that the pages share, with uploaded bundles
//! - [`log_row`]: what a page shows about a row of a log
//! - [`multipart`]: the files of a form
//! - [`view`]: the markup
//! - [`routes`]: the requests of the browser
//!
//! An auditor has no route that signs, and loads no key.
pub mod audit_pages;
pub mod kept_table;
mod log_row;
mod multipart;
mod routes;
mod view;
