//! Reads the files that are given as arguments of a command.

use std::{
    fs::File,
    io::{self, IsTerminal as _, Read as _, Write as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use crate::{CommandFailure, CommandResult, PrintableText, fail_usage};
use verdict::directory_of;

/// Reads a file that the user named. The path `-` means the standard input.
///
/// # Errors
/// Returns an error if the file cannot be read or is larger than `most` bytes.
pub fn read_bounded(path: &Path, most: usize) -> CommandResult<Vec<u8>> {
    let bytes = read_beginning(path, most + 1)?;
    if bytes.len() > most {
        let place = PrintableText::file(path);
        return fail_usage(format!(
            "{place} is larger than {most} bytes: check that it is the right file"
        ));
    }
    Ok(bytes)
}

/// Reads a file with a secret. The function refuses a file that other users can read, because its content is then no
/// longer secret. `what` is the name of the secret.
///
/// # Errors
/// Returns an error if the file cannot be read, is larger than `most` bytes, or permits access by other users.
pub fn read_private(path: &Path, most: usize, what: &str) -> CommandResult<Vec<u8>> {
    let bytes = read_bounded(path, most)?;
    let shown = format!("{path:?}");
    // The mode of a pipe or of the standard input says nothing about other users, because they cannot open it.
    if let Ok(about) = path.metadata()
        && about.is_file()
        && about.mode() & 0o077 != 0
    {
        return fail_usage(format!(
            "the {what} file {shown} has mode {:04o}, so others can use the {what}; run `chmod 600 {shown}`, and make \
             another {what} if others may have read this one",
            about.mode() & 0o7777
        ));
    }
    Ok(bytes)
}

/// Reads at most the first `most` bytes of a file that the user named. The path `-` means the standard input.
///
/// # Errors
/// Returns an error if the file cannot be read.
pub fn read_beginning(path: &Path, most: usize) -> CommandResult<Vec<u8>> {
    let failed = CommandFailure::unable("read", path);
    let mut bytes = Vec::new();
    let limit = most as u64;
    if path == Path::new("-") {
        if io::stdin().is_terminal() {
            return fail_usage(
                "- means the standard input, which is a terminal: name a file, or redirect the \
             standard input",
            );
        }
        io::stdin()
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

/// Replaces a file at once and durably. Only its owner can read the new file. After a crash, the file has the old content or the
/// new content, and a temporary file may remain.
///
/// # Errors
/// Returns an error if the file or its directory can't be written.
pub fn replace_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let directory = directory_of(path);
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    File::open(directory)?.sync_all()
}

/// Returns the absolute path of a file that the user named.
///
/// # Errors
/// Returns an error if the current directory is unknown.
pub fn absolute_path(path: &Path) -> CommandResult<PathBuf> {
    std::path::absolute(path).map_err(|error| {
        CommandFailure::usage(format!("the current directory is unknown: {error}"))
    })
}

/// Returns the absolute path of a file as text.
///
/// # Errors
/// Returns an error if the current directory is unknown, or if the path is not UTF-8.
pub fn absolute_text(path: &Path) -> CommandResult<String> {
    let path = absolute_path(path)?.into_os_string();
    path.into_string().map_err(|path| {
        let place = PrintableText::file(Path::new(&path));
        CommandFailure::usage(format!("the path {place} is not UTF-8: use another path"))
    })
}

/// Returns a named roster with its absolute path. A digest stays unchanged.
///
/// # Errors
/// Returns an error if the current directory is unknown, or if the path is not UTF-8.
pub fn absolute_roster(roster: &str) -> CommandResult<String> {
    if roster.starts_with("sha256:") {
        return Ok(roster.to_owned());
    }
    absolute_text(Path::new(roster))
}
