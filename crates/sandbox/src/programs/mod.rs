//! The programs that a run may execute, and the record of the programs that it executed.

mod called_program;
pub mod listed_programs;
pub mod program_format;
pub mod program_lookup;
pub mod program_recorder;
