//! The newest signed checkpoint of the log, which a node that stands by reads and keeps on its own disk. The node then
//! notices a database that loses these entries, also if the other nodes lost their files.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    Config,
    node::{kept_checkpoint, open_store, start},
};
use client::FileSigner;
use documents::{Checkpoint, Note, SealDigest, SshKey, note};
use reading::Problems;
use store::{Ledger, LedgerConfig, StoreFault, StoreReads, StoreResult, root_of};

/// Pause between two reads, which is also the pause between two beats of a node.
const PAUSE: Duration = Duration::from_secs(5);

/// Keeps the checkpoints that a node reads.
pub struct ReadHeads {
    config: Config,
    settings: LedgerConfig,
    reads: Option<Arc<StoreReads>>,
    /// The keys of the boundary in the roster of this seal.
    keys: Option<(SealDigest, Vec<SshKey>)>,
    read_at: Option<Instant>,
}

impl ReadHeads {
    pub fn new(config: &Config, key: &FileSigner) -> Result<Self, Problems> {
        let settings = open_store::settings(config, key)?;
        Ok(Self {
            config: config.clone(),
            settings,
            reads: None,
            keys: None,
            read_at: None,
        })
    }

    /// Keeps the newest checkpoint, if a key of the boundary signed it and the log has its root.
    ///
    /// # Errors
    /// Returns a fault if the log does not contain the kept checkpoint, or can't be read.
    pub fn keep(&mut self) -> StoreResult {
        if self.read_at.is_some_and(|at| at.elapsed() < PAUSE) {
            return Ok(());
        }
        self.read_at = Some(Instant::now());
        let reads = match &self.reads {
            Some(reads) => reads.clone(),
            None => self.reads.insert(self.config.database.at_rest()?.0).clone(),
        };
        let (Some(row), Some(seal)) = (reads.checkpoint()?, reads.seals()?.last().copied()) else {
            return Ok(());
        };
        let path = self.config.kept_checkpoint();
        if let Ok((_, kept)) = kept_checkpoint::read(&path) {
            if kept.size >= row.size {
                return Ok(());
            }
            // The newer checkpoint must not hide that the log lost entries of the kept one.
            if root_of(&reads, kept.size)? != Some(kept.root) {
                return Err(StoreFault::Unusable {
                    message: format!(
                        "the log does not contain the checkpoint in {}",
                        path.display()
                    ),
                });
            }
        }
        if self
            .keys
            .as_ref()
            .is_none_or(|(digest, _)| *digest != seal.digest)
        {
            let (reads, head) = self.config.database.at_rest()?;
            let ledger = Ledger::at_rest(reads, head, self.settings.clone(), None)?;
            let sealed =
                start::read_seal(&self.config, &ledger, seal.index, None).map_err(|problems| {
                    StoreFault::Unusable {
                        message: problems.to_string(),
                    }
                })?;
            let keys = sealed.roster.boundary_keys(&self.config.name).to_vec();
            self.keys = Some((seal.digest, keys));
        }
        let keys = self.keys.iter().flat_map(|(_, keys)| keys);
        let note = Note::parse(&row.note)
            .ok()
            .and_then(|note| Some((Checkpoint::parse(note.unverified_text()).ok()?, note)));
        let is_signed = note.is_some_and(|(seen, note)| {
            (seen.size, seen.root) == (row.size, row.root)
                && keys
                    .into_iter()
                    .any(|key| note::verify_note(&note, &seen.origin, key.public()).is_ok())
        });
        if is_signed && root_of(&reads, row.size)? == Some(row.root) {
            kept_checkpoint::keep_newer(&path, &row).map_err(|error| StoreFault::Unusable {
                message: format!("{}: {error}", path.display()),
            })?;
        }
        Ok(())
    }
}
