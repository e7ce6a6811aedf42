//! The second verifier, which audits a copy that the client made.

use std::process::{Command, Stdio};

/// Makes a command for the second verifier, without further arguments.
pub(crate) fn python() -> Command {
    let interpreter = std::env::var_os("COUNTERSIGN_PYTHON").unwrap_or_else(|| "python3".into());
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/independent");
    let mut command = Command::new(interpreter);
    command.arg("-I").arg(folder).stdin(Stdio::null());
    command
}
