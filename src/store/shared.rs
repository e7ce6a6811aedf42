//! What the ledger and its writer share.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use crate::crypto::digest::SealDigest;
use crate::crypto::signature::PublicKey;
use crate::crypto::sshsig::KeyId;
use crate::record::ident::BoundaryName;
use crate::record::validity::Timestamp;
use crate::store::fault::StoreFault;
use crate::store::tree::{TileCache, TreeEdge};
use crate::store::window::MOST_MARK_AHEAD_S;
use crate::store::{CheckpointRow, StoreHead, StoreReads};

/// What the ledger is given by whoever puts the program together.
#[derive(Clone)]
pub struct LedgerConfig {
    /// The boundary's name, the first part of the log's origin.
    pub name: BoundaryName,
    /// The boundary's key.
    pub signer: LogSigner,
    /// The wall clock.
    pub clock: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    /// Time since boot, also while suspended (`CLOCK_BOOTTIME`).
    pub boottime: Arc<dyn Fn() -> Duration + Send + Sync>,
    /// Called when what is durable is no longer known: must end the process. [`abort`] does.
    pub on_fatal: Arc<dyn Fn(&StoreFault) + Send + Sync>,
    /// Directory of outputs that are files.
    pub outputs: PathBuf,
    /// How many proposals may wait.
    pub limits: LedgerLimits,
}

/// Signs bytes.
pub type SignFn = Arc<dyn Fn(&[u8]) -> [u8; 64] + Send + Sync>;

/// The boundary's key, as far as the ledger needs it.
#[derive(Clone)]
pub struct LogSigner {
    /// The public half.
    pub key: PublicKey,
    /// Its OpenSSH fingerprint.
    pub keyid: KeyId,
    /// Raw Ed25519 (deterministic) over the bytes given.
    pub sign: SignFn,
}

/// How many proposals may wait for signatures: bounds what one proposer can make approvers look at.
#[derive(Debug, Clone, Copy)]
pub struct LedgerLimits {
    /// Of one proposer.
    pub of_proposer: u64,
    /// Of all.
    pub of_all: u64,
    /// Of one proposer, cancelled or expired, never signed and kept still: bounds what one token leaves in the store.
    pub unsigned_of_proposer: u64,
}

impl Default for LedgerLimits {
    fn default() -> Self {
        Self { of_proposer: 20, of_all: 1000, unsigned_of_proposer: 1000 }
    }
}

/// Says what broke and ends the process at once, without any destructor that might write.
pub fn abort(fault: &StoreFault) {
    eprintln!("countersign: {fault}");
    std::process::abort();
}

/// The log's head as it is: what the checkpoint signs, and what verdicts are made under.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerState {
    /// Leaves in the log.
    pub size: u64,
    /// Raised by every seal, denial and cancellation.
    pub version: u64,
    /// The boundary's id.
    pub boundary: Option<SealDigest>,
    /// The seal in force.
    pub seal: Option<SealDigest>,
    /// The latest time that a leaf states.
    pub last_at: Timestamp,
    /// What expires at or below it is expired.
    pub mark: Timestamp,
}

/// What readers see of the writer's state.
pub(crate) struct PublishedState {
    pub(crate) head: StoreHead,
    pub(crate) edge: Arc<TreeEdge>,
}

pub(crate) struct SharedState {
    pub(super) reads: Arc<dyn StoreReads>,
    pub(super) config: LedgerConfig,
    /// The clock's time, and the time since boot then, when the store was opened.
    pub(super) opened: (Timestamp, Duration),
    /// The latest time that the log or the mark has reached, and the time since boot then.
    pub(super) reached: Mutex<(Timestamp, Duration)>,
    pub(super) published: RwLock<Arc<PublishedState>>,
    /// Signed since the last batch: recorded with the next.
    pub(super) unrecorded: Mutex<Vec<CheckpointRow>>,
    /// The last one that was asked for.
    pub(super) tiles: TileCache,
    pub(super) note: Mutex<Option<CheckpointRow>>,
}

impl SharedState {
    /// How far the clock leapt ahead of the time that went by since the store was opened, when that is far. A leaf is
    /// dated for good and no later one may be dated before it: one look at a wrong clock would close the log until that
    /// time comes. What the clock says at a start is taken as it is.
    pub(crate) fn clock_ahead(&self, now: Timestamp) -> Option<i64> {
        let (at, boot) = self.opened;
        let gone = (self.config.boottime)().saturating_sub(boot).as_secs();
        let seconds = now.unix().saturating_sub(at.plus(i64::try_from(gone).unwrap_or(i64::MAX)).unix());
        (seconds > MOST_AHEAD_S).then_some(seconds)
    }

    /// The time by which everything is judged and dated: the clock's. If the clock is behind what the log or the mark has
    /// reached, the time advances from there by the time since boot: it never runs back, and it never stands still.
    pub(crate) fn now(&self) -> Timestamp {
        (self.config.clock)().max(self.earliest())
    }

    /// What the time is at least, whatever the clock says.
    pub(super) fn earliest(&self) -> Timestamp {
        let (at, boot) = *self.reached.lock().unwrap_or_else(PoisonError::into_inner);
        let gone = (self.config.boottime)().saturating_sub(boot);
        at.plus(i64::try_from((gone - gone / CATCH_UP_PART).as_secs()).unwrap_or(i64::MAX))
    }

    /// Whether the mark can be taken for a time that has come.
    pub(super) fn is_credible(&self, head: &StoreHead) -> bool {
        head.mark.unix().saturating_sub(head.last_at.max(self.now()).unix()) <= MOST_MARK_AHEAD_S
    }

    /// Notes how far the log and the mark are.
    pub(super) fn reach(&self, head: &StoreHead) {
        let reached = if self.is_credible(head) { head.mark.max(head.last_at) } else { head.last_at };
        if reached > self.earliest() {
            let boot = (self.config.boottime)();
            *self.reached.lock().unwrap_or_else(PoisonError::into_inner) = (reached, boot);
        }
    }

    pub(crate) fn published(&self) -> Arc<PublishedState> {
        Arc::clone(&self.published.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn publish(&self, published: PublishedState) {
        self.reach(&published.head);
        *self.published.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(published);
    }

    pub(crate) fn unrecorded(&self) -> Vec<CheckpointRow> {
        self.unrecorded.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn recorded(&self, notes: &[CheckpointRow]) {
        if !notes.is_empty() {
            self.unrecorded.lock().unwrap_or_else(PoisonError::into_inner).retain(|note| !notes.contains(note));
        }
    }
}

/// A clock that leaps farther ahead than this while the service runs is not believed: what the longest outage by it may be.
pub(super) const MOST_AHEAD_S: i64 = 3600;

/// While the clock is behind, the boundary's time advances by CLOCK_BOOTTIME less this part of it, so that a clock that was
/// set right catches up with a log that was dated ahead of it.
pub(super) const CATCH_UP_PART: u32 = 8;
