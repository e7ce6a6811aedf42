//! Templates: scripts with placeholders for parameters, whose values can never change the structure of the script.
//!
//! - [`script_template`] parses, checks and renders a template, and [`step_template`] the template of a step.
//! - [`syntax`] parses the actions of a template.
//! - [`variant`] expands conditions and repetitions.
//! - [`shell_quoting`] defines the places of values, and how a value is written in each place of a shell script.
//! - [`shell_places`] finds the place of each placeholder of a shell script, by the rules of the format.
//! - [`shell_plan`] checks the places and the rendered script with the shell parser.
//! - [`shell_roles`] and [`shell_commands`] decide in which words of which commands a value is allowed.
//! - [`code_plan`] and [`code_reader`] do the same for other languages.
mod code_plan;
pub mod code_reader;
pub mod script_template;
pub mod shell_commands;
pub mod shell_places;
pub mod shell_plan;
pub mod shell_quoting;
pub mod shell_roles;
pub mod step_template;
pub mod syntax;
pub mod variant;
