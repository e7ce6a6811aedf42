//! How much may go on at one time, and the room on the disk that it needs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::crossing::outputs::Outputs;
use crate::crossing::refusal::{Refusal, Stopped, fault};
use crate::record::code::Code;

/// Bytes on the disk of a run's rows, leaves and tiles, with their copies in the write-ahead log.
const RECEIPT_ROOM: u64 = 256 << 10;
/// Bytes of the disk that must be left for a proposal to be taken: the store's own needs, and runs that are signed yet.
/// `docs/operate.md` names them.
pub const PROPOSAL_ROOM: u64 = 16 << 20;

/// How much may go on at one time.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Runs at one time.
    pub runs: usize,
    /// Requests under verification at one time.
    pub crossings: usize,
}

/// Room for runs and for requests under verification.
#[derive(Debug)]
pub struct Capacity {
    /// Room for runs: receipt, leaf and output of each are reserved before its nonce is spent.
    runs: Arc<Semaphore>,
    /// Requests that may be under verification at one time; refusing here costs less than refusing later.
    verifications: Arc<Semaphore>,
    /// Bytes of the disk that runs may still write.
    reserved: Arc<AtomicU64>,
    outputs: Outputs,
}

/// Room for one run, given back when it is dropped.
#[derive(Debug)]
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

/// Room for one request under verification.
#[derive(Debug)]
#[must_use]
pub struct Permit(#[expect(dead_code, reason = "held for its drop")] OwnedSemaphorePermit);

impl Capacity {
    /// All of `limits` is free.
    #[must_use]
    pub fn new(limits: Limits, outputs: Outputs) -> Self {
        Self {
            runs: Arc::new(Semaphore::new(limits.runs)),
            verifications: Arc::new(Semaphore::new(limits.crossings)),
            reserved: Arc::default(),
            outputs,
        }
    }

    /// Room for one request under verification; to be taken before its body is parsed.
    ///
    /// # Errors
    /// `busy`, with when to try again. Nothing was spent.
    pub fn permit(&self) -> Result<Permit, Stopped> {
        let permit = self.verifications.clone().try_acquire_owned();
        permit.map(Permit).map_err(|_| busy("too many requests are under verification").into())
    }

    /// Room for a run and all that it leaves: receipt, leaf, output.
    pub(super) fn reserve(&self, output_bytes: u64) -> Result<Room, Stopped> {
        let permit = self.runs.clone().try_acquire_owned().map_err(|_| busy("as many steps run as may"))?;
        // Output is at most written twice: as a spool, and as a file or row.
        let bytes = output_bytes.saturating_mul(2).saturating_add(RECEIPT_ROOM);
        let needed = self.reserved.fetch_add(bytes, Ordering::SeqCst).saturating_add(bytes);
        let room = Room { bytes, reserved: self.reserved.clone(), _permit: permit };
        match self.outputs.room() {
            Ok(free) if free >= needed => Ok(room),
            Ok(free) => {
                let (free, needed) = (free >> 20, needed.div_ceil(1 << 20));
                let why = format!("{free} MiB are free for the store and its outputs, {needed} MiB are needed");
                Err(busy(&format!("{why}: make room on its disk")).into())
            }
            Err(error) => Err(fault(&error)),
        }
    }

    /// Why no proposal is taken for want of room on the disk; nothing where there is room.
    #[must_use]
    pub fn disk_trouble(&self) -> Option<String> {
        let free = match self.outputs.room() {
            Ok(free) => free,
            Err(error) => return Some(format!("the disk of the store can't be asked for its free space: {error}")),
        };
        let reserved = self.reserved.load(Ordering::SeqCst);
        let needed = reserved.saturating_add(PROPOSAL_ROOM);
        (free < needed).then(|| {
            format!(
                "the disk of the store is almost full: {} MiB are free and {} MiB are needed ({} MiB for the store, {} MiB \
                 for runs that go on), so proposals are refused as busy: make room on it",
                free >> 20,
                needed.div_ceil(1 << 20),
                PROPOSAL_ROOM >> 20,
                reserved.div_ceil(1 << 20)
            )
        })
    }

    /// Demands room on the disk beyond what runs may still write: proposals that are never signed must not take theirs.
    ///
    /// # Errors
    /// `busy` when there is none.
    pub fn demand_disk(&self) -> Result<(), Stopped> {
        // How much is free is for the operator: `/ready`, the log and `doctor` say it.
        if self.disk_trouble().is_none() {
            return Ok(());
        }
        let detail = "the boundary's disk is almost full: have its operator make room, then try again";
        Err(Refusal::new(Code::Busy, detail).retry_after(60).into())
    }

    /// Whether a run is going on, from before its nonce is spent until its receipt is durable.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.reserved.load(Ordering::SeqCst) > 0
    }

    /// Refuses requests from now on; runs that are approved still begin.
    pub fn close_verification(&self) {
        self.verifications.close();
    }

    /// Refuses requests and runs from now on.
    pub fn close(&self) {
        self.runs.close();
        self.verifications.close();
    }

    /// Whether requests are taken.
    #[must_use]
    pub fn takes_requests(&self) -> bool {
        !self.verifications.is_closed()
    }

    /// Whether no run begins any more.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.runs.is_closed()
    }
}

/// A refusal before the nonce is spent.
pub(super) fn busy(why: &str) -> Refusal {
    Refusal::new(Code::Busy, format!("{why}; this request spent no nonce, try again")).retry_after(1)
}
