//! The command `countersign open`: a runbook in a browser on this machine, with what `countersign run` enforces.
//!
//! - [`open_pages`]: the pages that one command opens
//! - [`board`]: what the steps show now, and the questions to the person
//! - [`worker`]: runs the steps, one at a time
//! - [`form`]: the fields of a step
//! - [`shown_file`]: images of the prose, and files that a step left
//! - [`view`]: the markup
//! - [`routes`]: the requests of the browser
//!
//! A notebook has no route that signs, and loads no key.
pub mod board;
pub mod form;
pub mod open_pages;
pub mod routes;
pub mod shown_file;
pub mod view;
pub mod worker;
