//! Output of commands: text that is safe for a terminal, the standard streams, and exit codes.
pub mod exit;
pub mod field_paths;
pub mod letters;
pub mod outcome_words;
pub mod output_painter;
pub mod person_words;
pub mod printable_text;
pub mod refused_programs;
pub mod run_output;
pub mod screen;
pub mod streams;
pub mod table;

#[cfg(test)]
pub(crate) mod tests {
    pub(crate) mod screen_decoder;
}
