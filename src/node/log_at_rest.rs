//! Opens a log that nothing is appended to any more.

use std::path::Path;
use std::sync::Arc;

use crate::node::kept;
use crate::node::places::DATABASE;
use crate::store::ledger::Ledger;
use crate::store::stored::StoredLog;
use crate::store::{CheckpointRow, shared, sqlite};

/// A closed log, for reading.
///
/// # Errors
/// In words: why it can't be read.
pub fn at_rest(directory: &Path, settings: shared::LedgerConfig) -> Result<Ledger, String> {
    let (reads, head) = sqlite::reads::at_rest(&directory.join(DATABASE)).map_err(|fault| fault.to_string())?;
    let (note, known) = kept::read(&directory.join(kept::FILE))?;
    let row = CheckpointRow { size: known.size, root: known.root, note: note.to_string() };
    Ledger::at_rest(Arc::new(reads), head, settings, Some(row)).map_err(|fault| fault.to_string())
}

/// The log in a backup, or in the directory of a closed log, for whoever exports or audits it: no key and no configuration
/// is needed.
///
/// # Errors
/// In words: why it can't be read.
pub fn log_in(directory: &Path) -> Result<StoredLog, String> {
    let (reads, head) = sqlite::reads::at_rest(&directory.join(DATABASE)).map_err(|fault| fault.to_string())?;
    let beside = directory.join(kept::FILE);
    let beside = if beside.is_file() { Some(kept::read(&beside)?.0.to_string()) } else { None };
    StoredLog::new(Box::new(reads), &head, beside).map_err(|fault| fault.to_string())
}
