//! Parser of shell scripts, which finds the commands that a script would run.
//!
//! - [`commands`] is the public interface: it returns every command of a script with its place, and compares the
//!   structure of two scripts.
//! - [`command_walk`] walks through the syntax tree, and [`script_walk`] contains the state of the walk. [`found`]
//!   defines the results of the walk.
//! - [`programs`] is the list of programs that run other programs, and [`git`] contains the everyday commands of git.
//! - [`wrappers`] finds the commands that a program of the list runs, with the parts [`shells`] and [`shell_builtins`].
//!   [`options`] parses the options of these programs with the grammars in [`grammars`].
//! - [`settings`] lists the variables that change later commands, and [`traps`] finds texts that bash evaluates a
//!   second time.
//! - [`syntax`] defines the tree and its limits. [`grammars`] and [`compounds`] parse commands, [`words`] and
//!   [`expansions`] their parts.
//!
//! The parser is small and conservative: it refuses a script that bash or dash might read in another way.
//! docs/design.md explains why no library is used, and which constructs the parser does not read.
mod command_walk;
pub mod commands;
mod compounds;
mod expansions;
pub mod found;
mod git;
pub mod grammars;
pub mod options;
pub mod programs;
pub mod script_walk;
pub mod settings;
mod shell_builtins;
mod shells;
pub mod syntax;
pub mod traps;
pub mod words;
pub mod wrappers;
