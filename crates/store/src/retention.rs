//! Times after which the store deletes rows.

use documents::Timestamp;

/// The result of one pruning call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PruneResult {
    /// The low-water mark after the call.
    pub mark: Timestamp,
    /// Number of deleted nonces.
    pub deleted: usize,
    /// Number of seconds by which the clock is ahead of the low-water mark. It is large after a leap of the clock or a
    /// pause of the service.
    pub ahead_s: i64,
    /// True if this call examined the last nonce of the table.
    pub done: bool,
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
