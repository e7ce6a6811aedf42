//! Files that a command's arguments name.

use std::fs::File;
use std::io::{IsTerminal as _, Read as _};
use std::path::Path;

use crate::terminal::exit::CommandFailure;
use crate::terminal::screen::PrintableText;

/// Reads a file that the user named, up to `most` bytes. `-` is the standard input.
///
/// # Errors
/// When it can't be read or is larger.
pub fn read_bounded(path: &Path, most: usize) -> Result<Vec<u8>, CommandFailure> {
    let bytes = read_beginning(path, most + 1)?;
    if bytes.len() > most {
        let place = PrintableText::text(&path.to_string_lossy());
        return Err(CommandFailure::usage(format!(
            "{} is larger than {most} bytes: is it the right file",
            place.as_str()
        )));
    }
    Ok(bytes)
}

/// Reads the first bytes of a file that the user named, at most `most`. `-` is the standard input.
///
/// # Errors
/// When it can't be read.
pub fn read_beginning(path: &Path, most: usize) -> Result<Vec<u8>, CommandFailure> {
    let place = PrintableText::text(&path.to_string_lossy());
    let failed = |error: std::io::Error| CommandFailure::usage(format!("can't read {}: {error}", place.as_str()));
    let mut bytes = Vec::new();
    let limit = most as u64;
    if path == Path::new("-") {
        if std::io::stdin().is_terminal() {
            return Err(CommandFailure::usage(
                "- reads the standard input, which is a terminal: name a file or pipe one in",
            ));
        }
        std::io::stdin().lock().take(limit).read_to_end(&mut bytes).map_err(failed)?;
    } else {
        File::open(path).map_err(failed)?.take(limit).read_to_end(&mut bytes).map_err(failed)?;
    }
    Ok(bytes)
}
