//! Opens a closed log or a backup for reading.

use std::path::Path;

use crate::{DATABASE, node::kept_checkpoint};
use store::{Database, Ledger, StoredLog, shared};

/// Opens a closed log for reading.
///
/// # Errors
/// Returns a message if the log cannot be read.
pub fn at_rest(directory: &Path, settings: shared::LedgerConfig) -> Result<Ledger, String> {
    let (reads, head) = Database::File(directory.join(DATABASE))
        .at_rest()
        .map_err(|fault| fault.to_string())?;
    let row = kept_checkpoint::row(&directory.join(kept_checkpoint::FILE))?;
    Ledger::at_rest(reads, head, settings, Some(row)).map_err(|fault| fault.to_string())
}

/// Opens the log in a backup or in the directory of a closed log, for an export or an audit. No key and no
/// configuration is needed.
///
/// # Errors
/// Returns a message if the log cannot be read.
pub fn log_in(directory: &Path) -> Result<StoredLog, String> {
    let (reads, head) = Database::File(directory.join(DATABASE))
        .at_rest()
        .map_err(|fault| fault.to_string())?;
    let beside = directory.join(kept_checkpoint::FILE);
    let beside = beside
        .is_file()
        .then(|| kept_checkpoint::row(&beside))
        .transpose()?;
    StoredLog::new(reads, &head, beside.map(|row| row.note)).map_err(|fault| fault.to_string())
}
