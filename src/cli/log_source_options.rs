//! Opens the log that an argument of a command names.

use std::path::{Path, PathBuf};

use crate::cli::global::GlobalOptions;
use crate::home::keys::KeyArgs;
use crate::node::{log_at_rest, places};
use crate::remote::log_source::LogSource;
use crate::terminal::exit::CommandFailure;
use crate::terminal::printable_text::PrintableText;
use crate::terminal::streams::Terminal;

/// Opens the log that the user named. A text that begins with `http://` is the address of a boundary or a mirror. Any
/// other text is the path of a directory. The program uses the token and the keys of the user only for the boundary of
/// `--url`.
///
/// # Errors
/// Returns an error if the address cannot be used, or if the directory does not exist.
pub fn open_log(
    named: &str,
    global: &GlobalOptions,
    key: &KeyArgs,
    terminal: &Terminal,
) -> Result<LogSource, CommandFailure> {
    if named.starts_with("http://") || named.starts_with("https://") {
        return Ok(LogSource::Served(Box::new(global.client_at(named, key, terminal)?)));
    }
    let path = PathBuf::from(named);
    if path.join(places::DATABASE).is_file() {
        return stored_log(&path);
    }
    if path.is_dir() {
        return Ok(LogSource::Directory(path));
    }
    let shown = PrintableText::text(named);
    Err(CommandFailure::usage(format!(
        "{} is no directory: name a directory that `countersign log export` or `store backup` wrote, a closed log, or \
         the address of a boundary (http://…)",
        shown.as_str()
    )))
}

/// Opens the log in a store directory that no service uses: a copy from `store backup`, or the old log after `store
/// restore`.
///
/// # Errors
/// Returns an error if the directory is not such a store, or if the log cannot be read.
pub fn stored_log(directory: &Path) -> Result<LogSource, CommandFailure> {
    let log = log_at_rest::log_in(directory).map_err(|why| {
        let shown = PrintableText::text(&directory.to_string_lossy());
        CommandFailure::usage(format!(
            "the log in {} can't be read: {why}; name a directory that `countersign store backup` made, or one of \
             closed/ in the boundary's private directory",
            shown.as_str()
        ))
    })?;
    Ok(LogSource::Stored(Box::new(log)))
}
