//! Tests of the shell parser with hand-written scripts and against bash and dash, and of scripts under a list of programs.

mod generator;
mod listed_scripts;
mod listed_vectors;
mod script_lists;
mod shell_commands;
mod shell_truth;
mod template_truth;
mod templates;
