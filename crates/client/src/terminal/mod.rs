//! Output of commands: text that is safe for a terminal, the standard streams, and exit codes.
pub mod exit;
pub mod field_paths;
pub mod letters;
pub mod output_painter;
pub mod printable_text;
pub mod refused_programs;
pub mod screen;
pub mod streams;

#[cfg(test)]
pub(crate) mod tests {
    pub(crate) mod screen_decoder;
}
