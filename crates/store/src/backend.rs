//! What a database must do for the store, and the times after which the store deletes rows.
//!
//! With several nodes, the database also contains large outputs, uploaded files and cosignatures (*objects*), so that each
//! node has them. An object is written over a connection of its own, before a batch refers to it, so neither the writer nor
//! its lock waits. The name of an object is the digest of its bytes, so a second write of the same object changes nothing.

use std::{io, ops::Range};

use crate::{
    Answers, Commit, DURING_TILE, OpenBatch, PackedRow, Questions, StoreFault, StoreHead,
    StoreResult, TILE, Writes,
    batch_rows::{BatchStatement, same},
    tile_hashes, tile_id, tile_missing,
};
use documents::{Blake3Digest, Hash, Timestamp};

const LEAF_HASHES: &BatchStatement =
    &same("SELECT hash FROM leaf WHERE idx >= $1 AND idx < $2 ORDER BY idx");
const TILE_HASHES: &BatchStatement = &same(TILE);

/// The only connection that writes to the database.
///
/// The writer asks all its questions at once, checks the requests in memory, and gives all its writes at once, so that a
/// networked backend needs two round trips for a batch. Every backend must meet this contract:
/// - **One writer.** Between [`begin`](Self::begin) and the end of the batch, no other writer of the database
///   commits. A backend with several writers reports in [`Answers::others`] what the other writers wrote since the last
///   batch.
/// - **Atomic.** The writes of a batch become visible and durable together. After a crash or a power cut, the database
///   has either all writes of a batch or none of its writes.
/// - **Durable.** After [`Commit::Done`], the rows survive a power cut. After [`Commit::NotDone`], the rows do not exist
///   and never will. After an error with [`StoreFault::is_fatal`] the durable state is unknown, so the process must end
///   without another attempt.
/// - **Unique keys.** A constraint of the database keeps nonces, leaf indexes and token names unique. A second row with
///   the same key is an error, even though the writer looks for the key before it writes the row.
///
/// Every method returns a [`StoreFault`] if the database cannot be read or written.
pub trait Store: Send {
    /// Returns the stored state of the boundary.
    fn head(&mut self) -> StoreResult<StoreHead>;

    /// Returns the stored hashes of the leaves in `range`.
    ///
    /// # Errors
    /// Returns a fault if a leaf of the range is missing.
    fn leaf_hashes(&mut self, range: Range<u64>) -> StoreResult<Vec<Hash>> {
        const DURING: &str = "reading leaf hashes back";
        let (values, mut hashes) = (cells![range.start, range.end], Vec::new());
        let connection = self.connection()?;
        connection.ask(DURING, &[(LEAF_HASHES, &values)], &mut |_, row| {
            hashes.push(row.get(0)?);
            Ok(())
        })?;
        if hashes.len() as u64 == range.end - range.start {
            return Ok(hashes);
        }
        let message = format!("only {} of the log entries {range:?} exist", hashes.len());
        Err(StoreFault::broken(DURING, message))
    }

    /// Returns the 256 hashes of a complete tile.
    ///
    /// # Errors
    /// Returns a fault if the tile is missing.
    fn tile(&mut self, level: u8, index: u64) -> StoreResult<Vec<Hash>> {
        let (id, mut hashes) = (tile_id(level, index), None);
        let connection = self.connection()?;
        connection.ask(DURING_TILE, &[(TILE_HASHES, &cells![id])], &mut |_, row| {
            hashes = Some(tile_hashes(row, id)?);
            Ok(())
        })?;
        hashes.ok_or_else(|| tile_missing(level, index))
    }

    /// Returns the connection that writes, also outside of a batch.
    fn connection(&mut self) -> StoreResult<&dyn OpenBatch>;

    /// Begins a batch: excludes other writers and answers the questions. `size` is the number of leaves that the writer
    /// knows.
    fn begin(&mut self, size: u64, questions: &Questions<'_>) -> StoreResult<Answers>;

    /// Writes all rows of the batch and makes them durable.
    fn commit(&mut self, writes: &Writes<'_>) -> Commit;

    /// Undoes the whole batch.
    fn rollback(&mut self);

    /// Decides a batch whose commit returned [`Commit::Unknown`]. Returns true if the batch is durable, and false if the
    /// batch does not exist and never will.
    ///
    /// # Errors
    /// Returns a fault if the database cannot decide now. The caller must call this function again before any other
    /// batch.
    fn settle(&mut self) -> StoreResult<bool>;

    /// Makes the last durable batch undecided again, because the database server may have lost it. The caller must call
    /// [`settle`](Self::settle) next.
    fn doubt(&mut self) {}

    /// Returns the connection of the batch, for rare changes of rows inside the batch.
    fn batch(&mut self) -> StoreResult<&dyn OpenBatch>;

    /// Replaces the bytes of 256 log entries by their packed tile, inside a batch.
    fn pack(&mut self, _packed: &PackedRow) -> StoreResult {
        Ok(())
    }

    /// Returns how many times the database server may have changed. After such a change, a durable batch can be
    /// missing.
    fn server_changes(&self) -> u64 {
        0
    }

    /// Returns the number of [`server_changes`](Self::server_changes) that the present connection has seen.
    fn decided_at(&self) -> u64 {
        self.server_changes()
    }

    /// Returns true if the next batch must connect to the database server again.
    fn is_stale(&self) -> bool {
        false
    }

    /// Moves the write-ahead log into the database file, after the answers to a batch.
    fn maintain(&mut self) -> StoreResult {
        Ok(())
    }

    /// Moves all durable data into the database file before a normal end of the process. A failure loses no data.
    fn close(&mut self) -> StoreResult {
        Ok(())
    }
}

/// A key whose row the service looks for when it starts: the row prevents a run, or a run needs the row.
pub enum ClosedKey {
    /// A spent nonce.
    Nonce,
    /// The digest of a denied authorization.
    Denial,
    /// The id of a waiting proposal. The payload of the proposal is a row of the table `payload`.
    Payload,
}

/// Times for the deletion of rows after their retention. All times are calculated from the low-water mark, so that a
/// wrong clock cannot delete anything.
pub struct RetentionCut {
    /// Outputs that were recorded at or before this time are deleted.
    pub outputs: Timestamp,
    /// Proposals that ended at or before this time are deleted.
    pub proposals: Timestamp,
    /// Unsigned proposals that were cancelled, refused or expired are deleted if their window ended at or before this time.
    pub unsigned: Timestamp,
    /// Events at or before this time are deleted.
    pub events: Timestamp,
    /// Low-water mark. Drafts of grants that end at or before this time are deleted. A proposal whose window ends later
    /// is not deleted.
    pub mark: Timestamp,
}

/// Position at which the next search for rows to delete continues.
#[derive(Clone, Copy, Default)]
pub struct RetentionWalk {
    /// Position among the outputs, in a form that the backend chooses, or `None` for the beginning.
    pub outputs: Option<u64>,
    /// Position among the proposals, or `None` for the beginning.
    pub proposals: Option<[u8; 16]>,
    /// Unsigned proposals whose window ended at or before this time are already deleted.
    pub unsigned: Option<Timestamp>,
    /// Position among the objects, or `None` for the beginning.
    pub objects: Option<[u8; 32]>,
}

/// Result of one call of the retention.
#[derive(Default)]
pub struct Retired {
    /// Number of deleted rows.
    pub deleted: usize,
    /// Deleted outputs that are files. The caller removes the files after the commit.
    pub files: Vec<Blake3Digest>,
    /// Position at which the next call continues.
    pub walk: RetentionWalk,
}

/// Receives bytes, piece by piece.
pub type TakeBytes<'a> = &'a mut dyn FnMut(&[u8]) -> io::Result<()>;

/// Passes all bytes of an object to a function, piece by piece. A second call passes the same bytes.
pub type CopyBytes<'a> = &'a dyn Fn(TakeBytes<'_>) -> io::Result<()>;

/// The cosignature of a checkpoint by a witness.
pub struct Cosignature {
    /// Number of entries of the checkpoint.
    pub size: u64,
    /// Verifier key of the witness.
    pub witness: String,
    /// The checkpoint with the signature of the boundary.
    pub note: String,
    /// The signature lines in the answer of the witness.
    pub lines: String,
}

/// The result of one pruning call.
pub struct PruneResult {
    /// The low-water mark after the call.
    pub mark: Timestamp,
    /// Number of deleted nonces.
    pub deleted: usize,
    /// Number of seconds by which the clock is ahead of the low-water mark. The number is large after a leap of the
    /// clock or a pause of the service.
    pub ahead_s: i64,
}

/// Retention time of an unsigned proposal that was cancelled, refused or expired: one hour after its window, in seconds.
///
/// This time is short because one token must not leave many rows in the store.
pub const UNSIGNED_KEPT_S: i64 = 3600;

/// Retention times in seconds. Receipts, seals and the log are kept for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Retention time of recorded outputs in seconds, from the end of the last run that recorded the output.
    pub outputs_s: i64,
    /// Retention time of ended proposals and of signature rows, in seconds. Receipts contain their own copy of the
    /// signatures.
    pub proposals_s: i64,
    /// Age in seconds from which log entries are stored in packed tiles.
    pub pack_s: i64,
}
