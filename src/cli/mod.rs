//! The command line.

/// Reads the arguments and does what they say.
#[must_use]
pub fn main() -> std::process::ExitCode {
    std::process::ExitCode::SUCCESS
}
