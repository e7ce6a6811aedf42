//! Scripts that try to escape from the sandbox.

mod escapes_http;
mod strict;
