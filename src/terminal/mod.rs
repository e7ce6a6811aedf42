//! Output of commands: text that is safe for a terminal, the standard streams, and exit codes.
pub mod exit;
pub mod outcome_words;
pub mod run_output;
pub mod screen;
pub mod streams;
pub mod table;
