//! Shell syntax: what a script would run.
//!
//! - [`commands`] the public thing: every command of a script, with its place
//! - `wrappers` programs and builtins that run their arguments; `options` reads the options of each
//! - `settings` variables that change what later commands do or are
//! - `syntax` the tree, and the limits; `grammar` and `words` read a script into it
//!
//! The reader is a small conservative one of our own: whatever it does not read exactly as bash and dash do is refused, never
//! guessed. SECURITY.md says why no library does this, and what is not read.
pub mod commands;
mod grammar;
mod options;
mod settings;
mod syntax;
mod words;
mod wrappers;
