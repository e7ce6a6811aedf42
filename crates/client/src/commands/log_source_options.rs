//! Opens the log that an argument of a command names.

use std::path::PathBuf;

use crate::{
    Address, Client, CommandFailure, CommandResult, GlobalOptions, KeyArgs, LogSource,
    PrintableText, Terminal,
};

/// Name of the database file in the directory of a store.
pub const DATABASE: &str = "countersign.db";

/// Opens the log that the user named. A text that begins with `http://` or `https://` is the address of a boundary or a
/// mirror. Any other text is the path of a directory. The program uses the token and the keys of the user only for the
/// boundary of `--url`.
///
/// # Errors
/// Returns an error if the address cannot be used, or if the directory does not exist.
pub fn open_log(
    named: &str,
    global: &GlobalOptions,
    key: &KeyArgs,
    terminal: &Terminal,
) -> CommandResult<LogSource> {
    if is_address(named) {
        return Ok(LogSource::Served(Box::new(
            global.client_at(named, key, terminal)?,
        )));
    }
    local_log(named, global)
}

/// Opens the log that the user named, as [`open_log`] does, but never uses a key of the user. A boundary needs a token.
///
/// # Errors
/// Returns an error if the address cannot be used, or if the directory does not exist.
pub fn open_log_without_key(named: &str, global: &GlobalOptions) -> CommandResult<LogSource> {
    if !is_address(named) {
        return local_log(named, global);
    }
    let address = Address::parse(named)?;
    let is_own = Address::parse(&global.url).is_ok_and(|own| own == address);
    let client = match global.token_client()?.filter(|_| is_own) {
        Some(client) => client,
        None => Client::stranger(address, &global.tls)?,
    };
    Ok(LogSource::Served(Box::new(client)))
}

/// Returns true for the address of a boundary or a mirror.
pub fn is_address(named: &str) -> bool {
    named.starts_with("http://") || named.starts_with("https://")
}

fn local_log(named: &str, global: &GlobalOptions) -> CommandResult<LogSource> {
    let path = PathBuf::from(named);
    if path.join(DATABASE).is_file() {
        return global.stored_log(&path);
    }
    if path.is_dir() {
        return Ok(LogSource::Directory(path));
    }
    let shown = PrintableText::text(named);
    Err(CommandFailure::usage(format!(
        "{shown} is no directory: name a directory that `countersign log export` or `store backup` wrote, a closed \
        log, or \
         the address of a boundary (http://... or https://...)"
    )))
}
