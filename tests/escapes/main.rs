//! Scripts that try to leave the sandbox. The binary changes its umask, so other tests stay out of it.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../escape/mod.rs"]
mod escape;
#[path = "../support/mod.rs"]
mod support;

mod escapes;
mod escapes_http;
