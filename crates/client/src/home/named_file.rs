//! Reads the files that are given as arguments of a command.

use std::fs::File;
use std::io::{IsTerminal as _, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use crate::{CommandFailure, PrintableText};

/// Reads a file that the user named. The path `-` means the standard input.
///
/// # Errors
/// Returns an error if the file cannot be read or is larger than `most` bytes.
pub fn read_bounded(path: &Path, most: usize) -> Result<Vec<u8>, CommandFailure> {
    let bytes = read_beginning(path, most + 1)?;
    if bytes.len() > most {
        let place = PrintableText::text(&path.to_string_lossy());
        return Err(CommandFailure::usage(format!(
            "{} is larger than {most} bytes: check that it is the right file",
            place.as_str()
        )));
    }
    Ok(bytes)
}

/// Reads a file with a secret. The function refuses a file that other users can read, because its content is then no
/// longer secret. `what` is the name of the secret.
///
/// # Errors
/// Returns an error if the file cannot be read, is larger than `most` bytes, or permits access by other users.
pub fn read_private(path: &Path, most: usize, what: &str) -> Result<Vec<u8>, CommandFailure> {
    let bytes = read_bounded(path, most)?;
    let shown = format!("{path:?}");
    // The mode of a pipe or of the standard input says nothing about other users, because they cannot open it.
    if let Ok(about) = path.metadata()
        && about.is_file()
        && about.mode() & 0o077 != 0
    {
        return Err(CommandFailure::usage(format!(
            "the {what} file {shown} has mode {:04o}, so others can use the {what}; run `chmod 600 {shown}`, and make \
             another {what} if others may have read this one",
            about.mode() & 0o7777
        )));
    }
    Ok(bytes)
}

/// Reads at most the first `most` bytes of a file that the user named. The path `-` means the standard input.
///
/// # Errors
/// Returns an error if the file cannot be read.
pub fn read_beginning(path: &Path, most: usize) -> Result<Vec<u8>, CommandFailure> {
    let place = PrintableText::text(&path.to_string_lossy());
    let failed = |error: std::io::Error| {
        CommandFailure::usage(format!("can't read {}: {error}", place.as_str()))
    };
    let mut bytes = Vec::new();
    let limit = most as u64;
    if path == Path::new("-") {
        if std::io::stdin().is_terminal() {
            return Err(CommandFailure::usage(
                "- means the standard input, which is a terminal: name a file, or redirect the \
             standard input",
            ));
        }
        std::io::stdin()
            .lock()
            .take(limit)
            .read_to_end(&mut bytes)
            .map_err(failed)?;
    } else {
        File::open(path)
            .map_err(failed)?
            .take(limit)
            .read_to_end(&mut bytes)
            .map_err(failed)?;
    }
    Ok(bytes)
}
