//! Messages about the parts of the program that the client does not have.
//!
//! The client has no store, no sandbox and no service.

use std::path::Path;

use crate::{CommandFailure, CommandResult, LogSource, PrintableText};

/// Returns the message for a command that the client does not have.
pub fn lacks(command: &str) -> String {
    let remedy = if command == "`console`" {
        "install the client with pages: `cargo install --path crates/console-program --locked` in its source directory"
    } else if cfg!(target_os = "linux") {
        "install the whole program: `cargo install --path . --locked` in its source directory"
    } else {
        "the whole program needs Linux: install it on a Linux machine, in a virtual machine with Linux, or on Windows \
         in WSL 2 (`cargo install --path . --locked` in its source directory)"
    };
    format!("this program is the client, which does not have {command}; {remedy}")
}

/// Returns the failure of a command that needs a part of the whole program.
pub fn needs_boundary(command: &str) -> CommandFailure {
    CommandFailure::usage(lacks(command))
}

/// Refuses to read a store, because the client has no database.
///
/// # Errors
/// Always returns an error, which names the way to a copy of the log.
pub fn refused_store(directory: &Path) -> CommandResult<LogSource> {
    let shown = PrintableText::file(directory);
    Err(CommandFailure::usage(format!(
        "{shown} is a store, which the client can't read: copy its log with the whole program (`countersign log \
        export copy/ \
         --from {shown}`), and name the copy"
    )))
}
