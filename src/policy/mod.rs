//! Policy: which rule holds for a step, and what it says of each command, path and variable.
//!
//! Pure: a sealed policy, the built-in lists and a ref in, a ruling out ([`ruling::resolve`]); with it, scripts are decided
//! ([`decide`]); what is asked then is put into words that are signed at a boundary ([`permissions`]), or answered by a
//! person at a terminal ([`session`]).
pub mod builtins;
pub mod decide;
pub mod file;
pub mod host;
pub mod lists;
pub mod origin;
pub mod paths;
pub mod patterns;
pub mod permissions;
pub mod profile;
pub mod profile_error;
pub mod ruling;
pub mod session;
