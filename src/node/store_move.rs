//! Moves the log of an SQLite store into the configured database, without a new log.

use std::path::Path;

use crate::{
    Config, InStore as _,
    node::{kept_checkpoint, open_store, places, stored_state::ledger_at_rest},
};
use client::Signer as _;
use reading::Problems;
use store::{Database, MoveEnd};

/// Moves the log of the SQLite store `from`. `progress` gets the number of copied rows and the number of all rows. The same
/// call continues an interrupted move.
///
/// # Errors
/// Returns an error if a store cannot be used, or if `from` is older than a known checkpoint of this boundary.
pub fn move_store(
    config: &Config,
    from: &Path,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<MoveEnd, Problems> {
    places::hide_new_files();
    let from = std::path::absolute(from).unwrap_or_else(|_| from.to_owned());
    let old = Database::File(from.clone());
    // A marked store cannot be opened. Its log was compared before the mark.
    if !old.is_marked().in_store(&old)? {
        let known = kept_checkpoint::read_known(config);
        let key = open_store::open_key(config)?;
        let ledger = ledger_at_rest(config, &key, &old)?;
        for (_, compared) in kept_checkpoint::compare(config, known, &ledger, key.key()) {
            compared?;
        }
    }
    let moved = config
        .database
        .move_here(&from, &config.outputs(), progress);
    Ok(moved.in_store(&config.database)?)
}
