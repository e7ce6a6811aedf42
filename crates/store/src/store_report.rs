//! Result of the check of a whole store.
//!
//! The check compares rows, tiles and checkpoints with the log, and stored bytes with their digests. The check does not
//! verify the signatures and the decisions in the log, because `audit` verifies them.

use std::path::PathBuf;

use serde::Serialize;

use crate::Retention;
use documents::{BoundaryName, Hash, SealDigest, Timestamp, merkle};

/// Inputs of a check that are not in the store.
pub struct StoreScope {
    /// Name of the boundary. The log's origin begins with this name.
    pub name: BoundaryName,
    /// Directory of the outputs that are files.
    pub outputs: PathBuf,
    /// Retention times of the boundary.
    pub retention: Retention,
    /// Current time. A missing output is a defect only before the end of its retention time.
    pub now: Timestamp,
}

/// A difference between the store and the state that the program writes.
#[derive(Debug, PartialEq, Serialize, thiserror::Error)]
#[error("{place}: {what}; {fix}")]
pub struct StoreDefect {
    /// Place of the defect: a table and row, a log entry, or a file.
    pub place: String,
    /// Description of the defect.
    pub what: String,
    /// Advice for the operator.
    pub fix: &'static str,
}

/// Advice for rows that contradict the log, which a person cannot repair by hand.
pub const RESTORE: &str =
    "stop the service; restore an undamaged backup: `countersign store restore BACKUP`";
/// Advice for a defect that only hides data from readers.
pub const LOST: &str =
    "the digests in the receipt remain valid; copy the output from a backup, or ignore this defect";
/// Advice for an error of the disk during a read.
pub const DISK: &str =
    "check the disk and its file system; then restore a backup: `countersign store restore BACKUP`";

/// Advice for a low-water mark that is ahead of the clock.
pub const MARK: &str = "correct the clock; if the clock is correct, somebody changed the low-water mark by hand: \
                        restore a backup with `countersign store restore BACKUP`";

/// The result of a check.
pub struct StoreReport {
    /// Id of the boundary.
    pub boundary: Option<SealDigest>,
    /// Number of entries in the log.
    pub size: u64,
    /// Root hash over all entries.
    pub root: Hash,
    /// The defects that the check found, at most [`MAX_DEFECTS`].
    pub defects: Vec<StoreDefect>,
    /// Notes that are no defects.
    pub notes: Vec<String>,
    /// Number of objects that were checked, by kind.
    pub counts: Vec<(&'static str, u64)>,
}

impl StoreReport {
    /// Makes the result for a store that cannot be read.
    pub fn of_unreadable(message: String) -> Self {
        Self {
            boundary: None,
            size: 0,
            root: merkle::EMPTY_ROOT,
            defects: vec![StoreDefect {
                place: "the database".to_owned(),
                what: message,
                fix: DISK,
            }],
            notes: Vec::new(),
            counts: Vec::new(),
        }
    }
}

/// Maximum number of defects that a check lists.
pub const MAX_DEFECTS: usize = 200;
