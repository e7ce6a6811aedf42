//! Receipts that came too late: another node of the boundary had already closed their runs.
//!
//! The log keeps only one receipt for a run, so a late receipt is kept as a file for the operator.

use std::{
    fs::{File, read_dir},
    io::{self, Write as _},
    path::PathBuf,
    sync::atomic::{AtomicUsize, Ordering},
};

use crate::carried::recorded_outputs::make_private;
use documents::ProposalId;

/// The directory of late receipts.
pub struct LateReceipts {
    directory: PathBuf,
    count: AtomicUsize,
}

impl LateReceipts {
    /// Uses `directory`. The first late receipt creates the directory.
    pub fn new(directory: PathBuf) -> Self {
        let count = read_dir(&directory).map_or(0, Iterator::count);
        Self {
            directory,
            count: AtomicUsize::new(count),
        }
    }

    /// Keeps a late receipt. Returns the path of its file.
    ///
    /// # Errors
    /// Returns an error if the file can't be written.
    pub fn keep(&self, proposal: &ProposalId, receipt: &[u8]) -> io::Result<PathBuf> {
        make_private(&self.directory)?;
        let path = self.directory.join(format!("{}.json", proposal.receipt()));
        let is_new = !path.exists();
        let mut file = File::create(&path)?;
        file.write_all(receipt)?;
        file.sync_all()?;
        File::open(&self.directory)?.sync_all()?;
        self.count.fetch_add(usize::from(is_new), Ordering::Relaxed);
        Ok(path)
    }

    /// Returns the number of late receipts.
    pub fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Returns a note for the operator, if there are late receipts.
    pub fn note(&self) -> Option<String> {
        let count = self.count();
        (count > 0).then(|| {
            format!(
                "{count} receipts came too late, because the log already says `unknown` for their runs; the files in {} say how \
                 these runs ended: read them, then move them away",
                self.directory.display()
            )
        })
    }
}
