//! Limits for concurrent runs and requests, and the disk space that they need.
//!
//! [`Patience`] waits for free disk space, or for the database server.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{Outputs, Refusal, RequestResult, carried::kept_results::MAX_FILES_BYTES, fault};
use documents::{Code, ProposalId};

/// Disk space in bytes that one run needs for rows, leaves and tiles, and for the copies of these in the write-ahead
/// log. With a database server, the run needs at most this space for the checkpoint, and for a late receipt.
const RECEIPT_ROOM: u64 = 256 << 10;
/// Minimum free disk space, in bytes. With less free space, the boundary accepts no proposals, because the store and
/// the runs of approved proposals need this space. `docs/operate.md` names this number.
pub const PROPOSAL_ROOM: u64 = 16 << 20;

/// Maximum numbers of concurrent runs and requests.
pub struct CapacityLimits {
    /// Maximum number of runs at one time.
    pub runs: usize,
    /// Maximum number of requests under verification at one time.
    pub crossings: usize,
}

/// Permits and disk space for runs, and permits for requests under verification.
pub struct Capacity {
    /// Permits for runs. A run takes a permit before its nonce is spent.
    runs: Arc<Semaphore>,
    /// Permits for requests under verification. If no permit is free, the boundary refuses a request before the costly
    /// verification of its signatures.
    verifications: Arc<Semaphore>,
    /// Number of bytes on the disk that are reserved for runs in progress.
    reserved: Arc<AtomicU64>,
    /// True after the log line about too little free disk space, until the log line about sufficient space.
    is_full: AtomicBool,
    outputs: Outputs,
}

/// Capacity that is reserved for one run (a permit and disk space). Dropping the value releases the capacity.
pub struct Room {
    bytes: u64,
    reserved: Arc<AtomicU64>,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Room {
    fn drop(&mut self) {
        self.reserved.fetch_sub(self.bytes, Ordering::SeqCst);
    }
}

/// Permit of one request under verification. Dropping the value releases the permit.
#[must_use]
pub struct Permit(#[expect(dead_code, reason = "held for its drop")] OwnedSemaphorePermit);

impl Capacity {
    /// Creates the capacity with all permits of `limits` free.
    pub fn new(limits: CapacityLimits, outputs: Outputs) -> Self {
        Self {
            runs: Arc::new(Semaphore::new(limits.runs)),
            verifications: Arc::new(Semaphore::new(limits.crossings)),
            reserved: Arc::default(),
            is_full: AtomicBool::new(false),
            outputs,
        }
    }

    /// Returns a permit for one request under verification. Callers take the permit before they parse the body.
    ///
    /// # Errors
    /// Returns `busy`, with the time after which the caller can try again, if no permit is free. No nonce is spent.
    pub fn permit(&self) -> RequestResult<Permit> {
        let permit = self.verifications.clone().try_acquire_owned();
        permit
            .map(Permit)
            .map_err(|_| busy("the boundary is verifying too many requests").into())
    }

    pub fn reserve(&self, output_bytes: u64, keeps_files: bool) -> RequestResult<Room> {
        let permit = self
            .runs
            .clone()
            .try_acquire_owned()
            .map_err(|_| busy("the maximum number of runs is in progress"))?;
        // Output is written to a spool. With a store on this disk, output and kept files then become files or rows.
        let of_store = if keeps_files { MAX_FILES_BYTES } else { 0 }.saturating_add(output_bytes);
        let of_store = if self.outputs.are_elsewhere() {
            0
        } else {
            of_store
        };
        let bytes = output_bytes
            .saturating_add(RECEIPT_ROOM)
            .saturating_add(of_store);
        let needed = self
            .reserved
            .fetch_add(bytes, Ordering::SeqCst)
            .saturating_add(bytes);
        let room = Room {
            bytes,
            reserved: self.reserved.clone(),
            _permit: permit,
        };
        match self.outputs.room() {
            Ok(free) if free >= needed => Ok(room),
            Ok(free) => {
                let (free, needed, disk) = (free >> 20, needed.div_ceil(1 << 20), self.disk().0);
                let why = format!(
                    "{free} MiB are free on {disk}, but {needed} MiB are needed for the outputs of runs"
                );
                Err(busy(&format!("{why}: free space there")).into())
            }
            Err(error) => Err(fault(error)),
        }
    }

    /// Names the disk, and what needs space on it beside the current runs.
    fn disk(&self) -> (&'static str, &'static str) {
        if self.outputs.are_elsewhere() {
            ("the disk of `data` on this node", "checkpoints and uploads")
        } else {
            ("the disk of the store", "the store")
        }
    }

    /// Returns the reason why the disk has too little free space for proposals, or `None` if the space is sufficient.
    pub fn disk_trouble(&self) -> Option<String> {
        let free = match self.outputs.room() {
            Ok(free) => free,
            Err(error) => {
                return Some(format!(
                    "can't read the free space of {}: {error}",
                    self.disk().0
                ));
            }
        };
        let reserved = self.reserved.load(Ordering::SeqCst);
        let needed = reserved.saturating_add(PROPOSAL_ROOM);
        let (disk, kept) = self.disk();
        (free < needed).then(|| {
            format!(
                "{disk} is almost full: {} MiB are free and {} MiB are needed ({} MiB for {kept}, {} MiB for current runs), so proposals are refused as busy: free space on the disk",
                free >> 20,
                needed.div_ceil(1 << 20),
                PROPOSAL_ROOM >> 20,
                reserved.div_ceil(1 << 20)
            )
        })
    }

    /// Returns the free space on the disk of the outputs in bytes, or `None` if the free space can't be read.
    pub fn free_bytes(&self) -> Option<u64> {
        self.outputs.room().ok()
    }

    /// Returns the free space of the disk that has the data, or `None` if a database server has the data.
    pub fn free_for_data(&self) -> Option<u64> {
        if self.outputs.are_elsewhere() {
            None
        } else {
            self.free_bytes()
        }
    }

    /// Checks that the disk has enough free space in addition to the space that runs have reserved. Otherwise proposals
    /// that no approver ever signs could fill the disk space that runs need.
    ///
    /// # Errors
    /// Returns `busy` if the disk has too little free space.
    pub fn demand_disk(&self) -> RequestResult {
        // Only the operator can see the amount of free space (in `/ready`, the log and `doctor`).
        let Some(trouble) = self.disk_trouble() else {
            return Ok(());
        };
        self.log_trouble(&trouble);
        let detail =
            "the boundary's disk is almost full: ask the operator to free space, then try again";
        Err(Refusal::new(Code::Busy, detail).retry_after(60).into())
    }

    /// Writes one log line when the disk space becomes too small, and one when the space is sufficient again. In between,
    /// only the refused callers receive the reason.
    pub fn log_disk(&self) {
        match self.disk_trouble() {
            Some(trouble) => self.log_trouble(&trouble),
            None if self.is_full.swap(false, Ordering::SeqCst) => {
                tracing::info!(
                    "{} has free space again: proposals are accepted",
                    self.disk().0
                );
            }
            None => {}
        }
    }

    fn log_trouble(&self, trouble: &str) {
        if !self.is_full.swap(true, Ordering::SeqCst) {
            tracing::warn!("{trouble}");
        }
    }

    /// Returns true if a run is in progress. A run is in progress from the moment before its nonce is spent until its
    /// receipt is durable.
    pub fn is_running(&self) -> bool {
        self.reserved.load(Ordering::SeqCst) > 0
    }

    /// Refuses new requests from this call on. Runs of approved proposals can still begin.
    pub fn close_verification(&self) {
        self.verifications.close();
    }

    /// Refuses new requests and new runs from this call on.
    pub fn close(&self) {
        self.runs.close();
        self.verifications.close();
    }

    /// Returns true if the boundary accepts requests.
    pub fn takes_requests(&self) -> bool {
        !self.verifications.is_closed()
    }

    /// Returns true if the boundary starts no more runs.
    pub fn is_closed(&self) -> bool {
        self.runs.is_closed()
    }
}

/// Returns the refusal `busy`, because there is not enough capacity for the request. The request spent no nonce.
pub fn busy(why: &str) -> Refusal {
    Refusal::new(
        Code::Busy,
        format!("{why}; this request spent no nonce, try again"),
    )
    .retry_after(1)
}

/// Interval between two attempts to write a receipt.
const RECEIPT_PAUSE: Duration = Duration::from_secs(1);
const LAST_OFFERS: usize = 60;

/// Limits how long a receipt waits while the service is ending. In normal operation there is no
/// limit.
#[derive(Default)]
pub struct Patience {
    offers: usize,
    last: usize,
}

impl Patience {
    pub fn is_left(&mut self, capacity: &Capacity) -> bool {
        if capacity.is_closed() {
            self.last += 1;
        }
        self.last <= LAST_OFFERS
    }

    pub async fn wait(&mut self, proposal: &ProposalId, why: &(dyn std::fmt::Display + Sync)) {
        if self.offers.is_multiple_of(LAST_OFFERS) {
            tracing::error!(%proposal, "a receipt waits until it can be stored: {why}");
        }
        self.offers += 1;
        tokio::time::sleep(RECEIPT_PAUSE).await;
    }
}
