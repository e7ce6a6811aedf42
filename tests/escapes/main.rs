//! Scripts that try to escape from the sandbox.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

#[path = "../escape/mod.rs"]
mod escape;
#[path = "../support/mod.rs"]
mod support;

mod escapes_http;
mod strict;
