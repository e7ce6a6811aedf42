//! Which log a command's argument names.

use std::path::{Path, PathBuf};

use crate::cli::global::GlobalOptions;
use crate::home::keys::KeyArgs;
use crate::node::{log_at_rest, places};
use crate::remote::log_source::LogSource;
use crate::terminal::exit::CommandFailure;
use crate::terminal::screen::PrintableText;
use crate::terminal::streams::Terminal;

/// What the user named: `http://…` is a boundary's address or that of a mirror's parent, all else a directory. Token and
/// keys go to the boundary of `--url` alone.
///
/// # Errors
/// When it is an address that can't be used, or no directory.
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
        "{} is no directory: name one that `countersign log export` or `store backup` wrote, a closed log, or a \
         boundary's address http://…",
        shown.as_str()
    )))
}

/// A directory that `store backup` made, or in which a restore closed a log.
///
/// # Errors
/// When it is none, or can't be read.
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
