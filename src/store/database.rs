//! Opens, checks, copies and replaces a store. Only this file chooses the engine: `node` and `cli` name no engine.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::store::fault::StoreFault;
use crate::store::lock::{self, StoreLock};
use crate::store::rows::StoreHead;
use crate::store::sqlite::{self, backup, check, new_store};
use crate::store::store_report::{StoreReport, StoreScope};
use crate::store::{Store, StoreReads};
use documents::crypto::digest::Blake3Digest;
use documents::record::ident::Name;

/// Where a boundary stores its rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Database {
    /// An SQLite file. Closed logs and backups always are such files.
    File(PathBuf),
}

/// Writer and readers of a store. The writer locks the store for this process.
pub struct OpenStore {
    /// The writer.
    pub store: Box<dyn Store>,
    /// The readers.
    pub reads: Arc<dyn StoreReads>,
}

impl Database {
    /// Parses the value of `database` in the configuration. A path is relative to `directory`.
    ///
    /// # Errors
    /// Returns the scheme of a URL if no engine has this scheme.
    pub fn parse<'a>(text: &'a str, directory: &Path) -> Result<Self, &'a str> {
        match text.split_once("://").or_else(|| text.split_once(':')).map(|(scheme, _)| scheme) {
            None => Ok(Self::File(directory.join(text))),
            Some("sqlite") => {
                let rest = text.trim_start_matches("sqlite:").trim_start_matches("//");
                Ok(Self::File(directory.join(rest)))
            }
            Some(scheme) => Err(scheme),
        }
    }

    /// Returns the engine and its version, for the operator.
    #[must_use]
    pub fn version(&self) -> String {
        let Self::File(_) = self;
        format!("SQLite {}", sqlite::version())
    }

    /// Returns the path of the database if the database is a file of this host.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        let Self::File(path) = self;
        Some(path)
    }

    /// Returns the paths of all files of the database. No run may see them.
    #[must_use]
    pub fn private_files(&self) -> Vec<PathBuf> {
        let Self::File(path) = self;
        ["", "-wal", "-shm"].map(|suffix| new_store::with_suffix(path, suffix)).into()
    }

    /// Returns true if the store exists. The store may be empty.
    ///
    /// # Errors
    /// Returns a fault if this is unknown.
    pub fn exists(&self) -> Result<bool, StoreFault> {
        let Self::File(path) = self;
        Ok(path.exists())
    }

    /// Checks that no other user can access the files of the store, as far as the files exist.
    ///
    /// # Errors
    /// Returns a fault for the first file that other users can access.
    pub fn check_modes(&self) -> Result<(), StoreFault> {
        let Self::File(path) = self;
        lock::check_modes(path)
    }

    /// Locks the store for this process without opening or creating the store.
    ///
    /// # Errors
    /// Returns a fault if another process holds the lock, or if other users can access the store.
    pub fn lock(&self) -> Result<StoreLock, StoreFault> {
        let Self::File(path) = self;
        StoreLock::alone(path)
    }

    /// Locks the store for this process and opens the store for writing. A missing store is created.
    ///
    /// # Errors
    /// Returns a fault if the store cannot be locked or opened.
    pub fn open(&self) -> Result<OpenStore, StoreFault> {
        let Self::File(path) = self;
        let (store, reads) = sqlite::open(path)?;
        Ok(OpenStore { store: Box::new(store), reads: Arc::new(reads) })
    }

    /// Opens the store for reading, without the lock, and returns the state of the store. Nothing is changed.
    ///
    /// # Errors
    /// Returns a fault if the store cannot be read.
    pub fn at_rest(&self) -> Result<(Arc<dyn StoreReads>, StoreHead), StoreFault> {
        let Self::File(path) = self;
        let (reads, head) = sqlite::reads::at_rest(path)?;
        Ok((Arc::new(reads), head))
    }

    /// Compares every row with the log, and all bytes with their digests. `progress` gets the number of checked log
    /// entries and the number of all log entries.
    ///
    /// # Errors
    /// Returns a fault if the store cannot be opened. Problems inside the store are defects.
    pub fn check(&self, scope: &StoreScope, progress: &mut dyn FnMut(u64, u64)) -> Result<StoreReport, StoreFault> {
        let Self::File(path) = self;
        check::check(path, scope, progress)
    }

    /// Copies the store at one moment into the new file `into`. A running service can write to the store during the copy.
    ///
    /// # Errors
    /// Returns a fault if the store cannot be read or the copy cannot be written.
    pub fn back_up(&self, into: &Path) -> Result<BackupFile, StoreFault> {
        let Self::File(path) = self;
        backup::copy(path, into)?;
        Ok(BackupFile(into.to_owned()))
    }

    /// Deletes a store without a log.
    ///
    /// # Errors
    /// Returns a fault if the store cannot be deleted.
    pub fn delete_empty(&self) -> Result<(), StoreFault> {
        let Self::File(path) = self;
        std::fs::remove_file(path).map_err(new_store::failed)
    }

    /// Deletes empty write-ahead logs of a missing store. Returns the path of a write-ahead log that is not empty: SQLite
    /// would apply this log to a new store with the same path.
    ///
    /// # Errors
    /// Returns a fault if an empty write-ahead log cannot be deleted.
    pub fn clear_logs(&self) -> Result<Option<PathBuf>, StoreFault> {
        let Self::File(path) = self;
        new_store::clear_logs(path)
    }

    /// Returns the commands that move this store away, as advice for the operator.
    #[must_use]
    pub fn moving_away(&self) -> String {
        let Self::File(path) = self;
        let name = path.display();
        format!("`mv {name} {name}.old`, the same with {name}-wal and {name}-shm if these files exist")
    }

    /// Returns the store that a restore builds before it becomes this store. A crash must not leave a part of a store
    /// in the place of this store.
    #[must_use]
    pub fn new_store(&self) -> Self {
        let Self::File(path) = self;
        Self::File(new_store::beside(path, ""))
    }

    /// Deletes the unfinished new store.
    ///
    /// # Errors
    /// Returns a fault if a part of the new store cannot be deleted.
    pub fn clear_new(&self) -> Result<(), StoreFault> {
        let Self::File(path) = self;
        new_store::clear(path)
    }

    /// Makes the closed new store durable.
    ///
    /// # Errors
    /// Returns a fault if the new store cannot be written.
    pub fn settle_new(&self) -> Result<(), StoreFault> {
        let Self::File(path) = self;
        new_store::settle(path)
    }

    /// Puts the settled new store in the place of this store, in one atomic step.
    ///
    /// # Errors
    /// Returns a fault if the new store cannot be moved.
    pub fn put_in_place(&self) -> Result<(), StoreFault> {
        let Self::File(path) = self;
        new_store::put_in_place(path)
    }

    /// Copies blobs, tokens except `void`, the low-water mark and spent nonces from a backup to this store, which must be
    /// empty. The nonces stay spent, and the names of the copied tokens stay in use.
    ///
    /// # Errors
    /// Returns a fault if the backup cannot be read or the store cannot be written.
    pub fn take_over(&self, old: &BackupFile, void: &[Name]) -> Result<(), StoreFault> {
        let Self::File(path) = self;
        backup::take_over(&old.0, path, void)
    }
}

/// Shows the database to the operator, in messages and reports.
impl fmt::Display for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::File(path) = self;
        path.display().fmt(f)
    }
}

/// A copy of a store that this process may change: a backup in progress, or a backup that a restore reads.
pub struct BackupFile(PathBuf);

impl BackupFile {
    /// Migrates a copied backup to the schema of this program.
    ///
    /// # Errors
    /// Returns a fault if the file is no store, or if a newer program wrote the store.
    pub fn bring_up(path: PathBuf) -> Result<Self, StoreFault> {
        backup::bring_up(&path)?;
        Ok(Self(path))
    }

    /// Returns the copy as a database.
    #[must_use]
    pub fn database(&self) -> Database {
        Database::File(self.0.clone())
    }

    /// Returns the names of all outputs that are files.
    ///
    /// # Errors
    /// Returns a fault if the copy cannot be read.
    pub fn files(&self) -> Result<Vec<Blake3Digest>, StoreFault> {
        backup::files(&self.0)
    }

    /// Deletes outputs whose files were deleted while the copy was made.
    ///
    /// # Errors
    /// Returns a fault if the copy cannot be written.
    pub fn forget(&self, gone: &[Blake3Digest]) -> Result<(), StoreFault> {
        backup::forget(&self.0, gone)
    }
}
