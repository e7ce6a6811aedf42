//! Shell syntax: what a script would run.
//!
//! - [`commands`] the public thing: every command of a script, with its place; `finding` walks the tree for it
//! - `wrappers` the table of programs and builtins that run their arguments: `shells`, `launchers`, `carriers`, `builtins`, `git`;
//!   `options` reads the options of each by its grammar in `grammars`
//! - `reasons` what is said of what can't be known
//! - `settings` variables that change what later commands do or are
//! - `syntax` the tree and its limits; `grammar`, `compounds`, `redirects` read commands into it, `words`, `quotes`, `expansions`,
//!   `arithmetic` what they are made of
//!
//! The reader is a small conservative one of our own: whatever it does not read exactly as bash and dash do is refused, never
//! guessed. docs/design.md says why no library does this, and what is not read.
mod arithmetic;
mod builtins;
mod carriers;
pub mod commands;
mod compounds;
mod expansions;
mod finding;
pub mod found;
mod git;
mod grammar;
mod grammars;
mod known;
mod launchers;
mod options;
mod quotes;
mod reasons;
mod redirects;
mod settings;
mod shells;
mod syntax;
mod traps;
mod walk;
mod words;
mod wrappers;
