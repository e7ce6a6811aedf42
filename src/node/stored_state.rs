//! Reads the stored state of a boundary without the lock of the store, so that the service may run meanwhile.
//!
//! `move_store` takes the lock: it moves the log of an SQLite store into the configured database, without a new log.

use std::path::Path;

use crate::{
    ComparedCheckpoint, Config, InStore as _,
    node::{kept_checkpoint, open_store, places, start},
};
use client::{FileSigner, Signer as _};
use crossing::Sealed;
use reading::{FileProblem, Problems};
use store::{Database, Ledger, MoveEnd};

/// The stored state of a boundary.
pub struct StoredState {
    /// The log, or `None` before the first start.
    pub ledger: Option<Ledger>,
    /// The state in force, or `None` before the first seal.
    pub sealed: Option<Sealed>,
    /// The known checkpoint files. The start refuses a store if the comparison with one of them is an error.
    pub checkpoints: Vec<ComparedCheckpoint>,
}

/// Opens the log of a store for reading, with the settings of this boundary.
///
/// # Errors
/// Returns an error if the store or the key cannot be used.
pub fn ledger_at_rest(
    config: &Config,
    key: &FileSigner,
    database: &Database,
) -> Result<Ledger, Problems> {
    let settings = open_store::settings(config, key)?;
    let (reads, head) = database.at_rest().in_store(database)?;
    Ok(Ledger::at_rest(reads, head, settings, None).in_store(database)?)
}

/// Reads the stored state, with the checks of the start.
///
/// # Errors
/// Returns the reasons why a start would refuse the store.
pub fn read(config: &Config) -> Result<StoredState, Problems> {
    // Read the checkpoints before the log, because a running service may add entries between the two reads.
    let known = kept_checkpoint::read_known(config);
    if !open_store::has_store(config)? {
        let lost = known.into_iter().map(|(path, found)| {
            let why = found.map_or_else(
                |message| message,
                |(_, known)| kept_checkpoint::lost(&known, &path),
            );
            let problem = FileProblem::whole(&path, why);
            (path, Err(problem))
        });
        let checkpoints = lost.collect();
        return Ok(StoredState {
            ledger: None,
            sealed: None,
            checkpoints,
        });
    }
    let key = open_store::open_key(config)?;
    let database = &config.database;
    database.check_modes().in_store(database)?;
    let ledger = ledger_at_rest(config, &key, database)?;
    let last = ledger.reads().seals().in_store(database)?.last().copied();
    let sealed = last
        .map(|last| start::read_seal(config, &ledger, last.index, None))
        .transpose()?;
    let checkpoints = kept_checkpoint::compare(config, known, &ledger, key.key());
    Ok(StoredState {
        ledger: Some(ledger),
        sealed,
        checkpoints,
    })
}

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
    // A store that an earlier call marked cannot be opened. That call compared its log before it marked the store.
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
