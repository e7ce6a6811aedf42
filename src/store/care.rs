//! Store care: what a look through a whole store finds.
//!
//! Rows are compared with the log, the log with its tiles and checkpoints, bytes with the digests that name them. Who
//! signed the log's entries, and whether each decision was right, is `audit`'s to say.

use std::fmt;
use std::path::PathBuf;

use crate::crypto::digest::SealDigest;
use crate::crypto::merkle::{self, Hash};
use crate::record::ident::BoundaryName;
use crate::record::validity::Timestamp;
use crate::store::StoreReads;
use crate::store::fault::StoreFault;
use crate::store::message::Retention;
use crate::store::tree::{Subtrees, TileCache, TreeEdge};

/// What a survey is told from outside the store.
#[derive(Debug, Clone)]
pub struct StoreScope {
    /// The boundary's name, the first part of the log's origin.
    pub name: BoundaryName,
    /// Where outputs lie that are files.
    pub outputs: PathBuf,
    /// How long outputs are kept.
    pub retention: Retention,
    /// Now: an output that is missing is a defect unless its retention has ended.
    pub now: Timestamp,
}

/// Something that is not as the program leaves it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreDefect {
    /// Where: a table and row, a log entry, a file.
    pub place: String,
    /// What is wrong there.
    pub what: String,
    /// What to do.
    pub mend: &'static str,
}

impl fmt::Display for StoreDefect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.place, self.what, self.mend)
    }
}

/// For what contradicts the log: rows can't be made good by hand.
pub const RESTORE: &str =
    "serve this store no longer; restore a backup that is sound: `countersign store restore BACKUP`";
/// For what only keeps something from being shown.
pub const LOST: &str = "the receipt proves its digests still; copy it from a backup's outputs, or let it be";
/// For what the disk did.
pub const DISK: &str =
    "look at the disk and its file system; then restore a backup: `countersign store restore BACKUP`";

/// For a mark that is ahead.
pub const MARK: &str = "set the clock right; where it is right, the mark was changed by hand: restore a backup, `countersign store restore BACKUP`";

/// What a survey saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreSurvey {
    /// The boundary's id.
    pub boundary: Option<SealDigest>,
    /// Entries in the log.
    pub size: u64,
    /// The root over them.
    pub root: Hash,
    /// Everything that is wrong, at most [`MAX_DEFECTS`].
    pub defects: Vec<StoreDefect>,
    /// What is no defect and worth a word.
    pub notes: Vec<String>,
    /// How much of what was looked at: a word and a number each.
    pub counts: Vec<(&'static str, u64)>,
}

impl StoreSurvey {
    /// Of a store that can't be looked into.
    #[must_use]
    pub fn of_unreadable(message: String) -> Self {
        Self {
            boundary: None,
            size: 0,
            root: merkle::EMPTY_ROOT,
            defects: vec![StoreDefect { place: "the database".to_owned(), what: message, mend: DISK }],
            notes: Vec::new(),
            counts: Vec::new(),
        }
    }
}

/// More defects are not told one by one: the first say enough.
pub const MAX_DEFECTS: usize = 200;

/// The root of the stored tree at `size`.
///
/// # Errors
/// When a leaf or tile is missing or can't be read.
pub fn root_at(reads: &dyn StoreReads, size: u64) -> Result<Hash, StoreFault> {
    let edge = TreeEdge::read(reads, size)?;
    let cache = TileCache::default();
    let tree = Subtrees::new(&edge, reads, &cache);
    merkle::root_of(size, |level, index| tree.hash(level, index))
}
