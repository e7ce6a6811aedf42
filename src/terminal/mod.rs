//! What a command prints and how it ends: text safe for a terminal, the standard streams, exit codes.
pub mod exit;
pub mod outcome_words;
pub mod run_output;
pub mod screen;
pub mod streams;
pub mod table;
