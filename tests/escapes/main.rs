//! Scripts that try to escape from the sandbox. The tests change the umask of their process, so they have their own
//! binary.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../escape/mod.rs"]
mod escape;
#[path = "../support/mod.rs"]
mod support;

mod escapes;
mod escapes_http;
