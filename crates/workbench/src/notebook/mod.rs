//! The command `countersign open`: shows and runs a runbook in a browser on this machine, under the rules of
//! `countersign run`.
//!
//! - [`open_pages`]: the pages that one command opens, their policy and their files
//! - [`saved_files`]: looks for saved files
//! - [`board`]: what all steps show now, and the questions to the person
//! - [`worker`]: runs the steps, one at a time
//! - [`form`]: the fields of a step
//! - [`view`]: the markup of a runbook and of the author's preview
//! - [`routes`]: the requests of the browser
//!
//! With `--boundary`, nothing runs here, and a person proposes the sealed steps:
//!
//! - [`sealed_runbook`]: the steps of a file as a boundary has sealed them
//! - [`wish`]: what the person asks for, checked before the boundary sees it
//! - [`propose_view`]: the markup
//! - [`propose_routes`]: the requests of the browser
//!
//! A notebook has no route that signs, and loads no key.
pub mod board;
pub mod form;
pub mod open_pages;
pub mod propose_routes;
pub mod propose_view;
pub mod routes;
pub mod saved_files;
pub mod sealed_runbook;
pub mod view;
pub mod wish;
pub mod worker;
