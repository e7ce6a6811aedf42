//! Messages about the parts of the program that the client does not have.
//!
//! The client is the build with the feature `client` only. It has no store, no sandbox and no service.

#[cfg(not(feature = "boundary"))]
use std::path::Path;

#[cfg(not(feature = "boundary"))]
use crate::remote::log_source::LogSource;
use crate::terminal::exit::CommandFailure;
#[cfg(not(feature = "boundary"))]
use crate::terminal::printable_text::PrintableText;

/// Version in `--version`, which names the client.
pub const VERSION: &str = if cfg!(feature = "boundary") {
    env!("CARGO_PKG_VERSION")
} else {
    concat!(env!("CARGO_PKG_VERSION"), " (client, without a boundary)")
};

/// Commands that have subcommands of which the client lacks some, each with those subcommands.
pub const LACKING_BELOW: [(&str, &[&str]); 2] =
    [("registry", &["lock", "check", "diff", "import"]), ("roster", &["add", "remove", "draft"])];

/// Returns the message for a command that the client does not have.
#[must_use]
pub fn lacks(command: &str) -> String {
    let remedy = if cfg!(target_os = "linux") {
        "install the whole program: `cargo install --path . --locked` in its source directory"
    } else {
        "the whole program needs Linux: install it on a Linux machine, in a virtual machine with Linux, or on Windows \
         in WSL 2 (`cargo install --path . --locked` in its source directory)"
    };
    format!("this program is the client, which does not have {command}; {remedy}")
}

/// Returns the failure of a command that needs a part of the whole program.
#[must_use]
pub fn needs_boundary(command: &str) -> CommandFailure {
    CommandFailure::usage(lacks(command))
}

/// Refuses to read a store, because the client has no database.
///
/// # Errors
/// Always returns an error, which names the way to a copy of the log.
#[cfg(not(feature = "boundary"))]
pub fn stored_log(directory: &Path) -> Result<LogSource, CommandFailure> {
    let shown = PrintableText::text(&directory.to_string_lossy());
    Err(CommandFailure::usage(format!(
        "{} is a store, which the client can't read: copy its log with the whole program (`countersign log export copy/ \
         --from {}`), and name the copy",
        shown.as_str(),
        shown.as_str()
    )))
}
