//! State that the ledger and the writer thread share.

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use tokio::sync::watch;

use crate::{
    CheckpointRow, MOST_CLOCK_DIFFERENCE_S, MOST_MARK_AHEAD_S, Metrics, Objects, OpenProposals,
    StatusChange, StoreFault, StoreHead, StoreReads, StoreResult, StoredRevocation, Subtrees,
    Token, TreeEdge, tree::TileCache,
};
use documents::{
    BoundaryName, Checkpoint, Hash, KeyId, PublicKey, Timestamp, locked, note, origin,
};

/// The configuration of a ledger.
#[derive(Clone)]
pub struct LedgerConfig {
    /// Name of the boundary. The log's origin begins with this name.
    pub name: BoundaryName,
    /// Key of the boundary.
    pub signer: LogSigner,
    /// The system clock.
    pub clock: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    /// Time since boot, including suspended time (`CLOCK_BOOTTIME`).
    pub boottime: Arc<dyn Fn() -> Duration + Send + Sync>,
    /// Called for a failure after which the durable state is unknown. The function must end the process, as [`abort`]
    /// does.
    pub on_fatal: Arc<dyn Fn(&StoreFault) + Send + Sync>,
    /// Directory of the outputs that are files.
    pub outputs: PathBuf,
    /// The large outputs of a database server. `None` if the database is a file of this host.
    pub objects: Option<Arc<Objects>>,
    /// Limits on the number of proposals.
    pub limits: LedgerLimits,
    /// Counters of the service.
    pub metrics: Arc<Metrics>,
    /// Stores a signed checkpoint durably outside of the database, before a run that it covers starts. `None` if the
    /// database is a file of this host.
    pub keep_head: Option<KeepHead>,
}

/// A function that stores a signed checkpoint.
pub type KeepHead = Arc<dyn Fn(&CheckpointRow) -> std::io::Result<()> + Send + Sync>;

/// A function that signs bytes.
pub type SignFn = Arc<dyn Fn(&[u8]) -> [u8; 64] + Send + Sync>;

/// The key of the boundary.
#[derive(Clone)]
pub struct LogSigner {
    /// The public key.
    pub key: PublicKey,
    /// The OpenSSH fingerprint of the key.
    pub keyid: KeyId,
    /// Makes a raw Ed25519 signature (deterministic) over the given bytes.
    pub sign: SignFn,
}

/// Limits on proposals, so that one proposer cannot flood the approvers or the store.
#[derive(Clone, Copy)]
pub struct LedgerLimits {
    /// Maximum number of pending proposals of one proposer.
    pub of_proposer: u64,
    /// Maximum number of pending proposals of all proposers.
    pub of_all: u64,
    /// Maximum number of stored proposals of one proposer that were cancelled, refused or expired and have no signature.
    pub unsigned_of_proposer: u64,
}

impl Default for LedgerLimits {
    fn default() -> Self {
        Self {
            of_proposer: 20,
            of_all: 1000,
            unsigned_of_proposer: 1000,
        }
    }
}

/// Prints the failure and ends the process at once, without destructors, because a destructor could write.
pub fn abort(fault: &StoreFault) {
    eprintln!("countersign: {fault}; the process ends now");
    std::process::abort();
}

pub(crate) struct PublishedState {
    pub(crate) head: StoreHead,
    pub(crate) edge: Arc<TreeEdge>,
    /// The revocations in the order of the log.
    pub revoked: Arc<Vec<StoredRevocation>>,
}

pub(crate) struct SharedState {
    pub(super) reads: Arc<StoreReads>,
    pub(super) config: LedgerConfig,
    /// System clock and time since boot when the store was opened.
    pub(super) opened: (Timestamp, Duration),
    /// Seconds by which the clock was ahead of the database server's clock at the last batch.
    pub(super) ahead_of_server_s: AtomicI64,
    /// Reason why no run could start at the last batch.
    pub(super) no_runs: Mutex<Option<String>>,
    /// The later of the log's last time and the low-water mark, with the time since boot when this value was recorded.
    pub(super) reached: Mutex<(Timestamp, Duration)>,
    pub(super) published: Mutex<Arc<PublishedState>>,
    /// Signed checkpoints that the next batch will record.
    pub(super) unrecorded: Mutex<Vec<CheckpointRow>>,
    /// The proposals that have not ended.
    pub(super) open_proposals: Mutex<OpenProposals>,
    pub(super) tiles: TileCache,
    /// A value with one more owner for each crossing that will soon send a request to the writer.
    pub(super) announced: Arc<()>,
    /// Counter that increases with each batch that adds events.
    pub(super) events: watch::Sender<u64>,
    /// The last checkpoint that a caller requested.
    pub(super) note: Mutex<Option<CheckpointRow>>,
    /// Cached tokens, with the version of the state at which they were read.
    pub(super) tokens: Mutex<Option<(u64, Arc<[Token]>)>>,
}

impl SharedState {
    /// The state of a log that was opened just now. `note` is the signed checkpoint of the log, if there is a signed
    /// checkpoint.
    pub(super) fn new(
        reads: Arc<StoreReads>,
        config: LedgerConfig,
        published: PublishedState,
        note: Option<CheckpointRow>,
    ) -> Self {
        let boot = (config.boottime)();
        Self {
            reads,
            opened: ((config.clock)(), boot),
            reached: Mutex::new((published.head.last_at, boot)),
            config,
            published: Mutex::new(Arc::new(published)),
            unrecorded: Mutex::default(),
            open_proposals: Mutex::default(),
            tiles: TileCache::default(),
            ahead_of_server_s: AtomicI64::new(0),
            no_runs: Mutex::default(),
            announced: Arc::default(),
            events: watch::Sender::new(0),
            note: Mutex::new(note),
            tokens: Mutex::default(),
        }
    }

    /// Returns the seconds by which the clock jumped ahead since the store was opened, if the leap is longer than
    /// [`MOST_AHEAD_S`].
    ///
    /// A leaf keeps its date for ever, and no later leaf may have an earlier date, so one entry with a future date
    /// would block the log until then. When the store is opened, every value of the clock is accepted.
    pub fn clock_ahead(&self, now: Timestamp) -> Option<i64> {
        let seconds = self.ahead_s(now);
        (seconds > MOST_AHEAD_S).then_some(seconds)
    }

    /// Returns the seconds by which the clock is ahead of the time since the store was opened. A negative number means
    /// that the clock is behind.
    pub(super) fn ahead_s(&self, now: Timestamp) -> i64 {
        let (at, boot) = self.opened;
        let gone = (self.config.boottime)().saturating_sub(boot).as_secs();
        now.unix()
            .saturating_sub(at.plus(i64::try_from(gone).unwrap_or(i64::MAX)).unix())
    }

    /// Returns the seconds by which the clock was ahead of the database server's clock at the last batch, if the difference is
    /// too large for a consumption.
    pub(super) fn clocks_differ(&self) -> Option<i64> {
        let seconds = self.ahead_of_server_s.load(Ordering::Relaxed);
        (seconds.saturating_abs() > MOST_CLOCK_DIFFERENCE_S).then_some(seconds)
    }

    /// Returns the reason why no run could start at the last batch.
    pub(super) fn no_runs(&self) -> Option<String> {
        locked(&self.no_runs).clone()
    }

    /// Counts the durable changes of a batch.
    pub(super) fn changed(&self, changes: impl Iterator<Item = StatusChange>) {
        let mut open = locked(&self.open_proposals);
        for change in changes {
            self.config.metrics.proposals(change.to.word(), 1);
            open.change(change);
        }
    }

    /// Returns the time for all decisions and dates: normally the time of the system clock. If the clock is behind the
    /// log or the low-water mark, the time continues from the later of these two, and increases with the time since
    /// boot. So the time never decreases and never stops. If the clock jumped ahead, the time continues from the time
    /// at which the store was opened, so that no window and no token ends early.
    pub fn now(&self) -> Timestamp {
        let clock = (self.config.clock)();
        clock
            .plus(-self.clock_ahead(clock).unwrap_or(0))
            .max(self.earliest())
    }

    /// Returns the lower bound of the current time, without the system clock.
    pub(super) fn earliest(&self) -> Timestamp {
        let (at, boot) = *locked(&self.reached);
        let gone = (self.config.boottime)().saturating_sub(boot);
        at.plus(i64::try_from((gone - gone / CATCH_UP_PART).as_secs()).unwrap_or(i64::MAX))
    }

    /// Returns true if the low-water mark is not too far in the future.
    pub(super) fn is_credible(&self, head: &StoreHead) -> bool {
        head.mark
            .unix()
            .saturating_sub(head.last_at.max(self.now()).unix())
            <= MOST_MARK_AHEAD_S
    }

    /// Records the later of the low-water mark and the last leaf's time. A low-water mark that is too far in the future
    /// is ignored.
    pub(super) fn reach(&self, head: &StoreHead) {
        let reached = if self.is_credible(head) {
            head.mark.max(head.last_at)
        } else {
            head.last_at
        };
        if reached > self.earliest() {
            let boot = (self.config.boottime)();
            *locked(&self.reached) = (reached, boot);
        }
    }

    pub(crate) fn published(&self) -> Arc<PublishedState> {
        Arc::clone(&locked(&self.published))
    }

    pub(crate) fn publish(&self, published: PublishedState) {
        self.reach(&published.head);
        *locked(&self.published) = Arc::new(published);
    }

    /// Returns the origin of the log, or `None` before the first seal.
    pub(super) fn origin(&self) -> Option<String> {
        self.published()
            .head
            .boundary
            .map(|id| origin(&self.config.name, &id))
    }

    /// Returns the signed checkpoint of the log at `size`, which the next batch stores.
    pub(super) fn checkpoint_at(&self, size: u64) -> StoreResult<Option<CheckpointRow>> {
        const DURING: &str = "signing a checkpoint";
        let mut last = locked(&self.note);
        if let Some(note) = last.as_ref().filter(|note| note.size == size) {
            return Ok(Some(note.clone()));
        }
        let Some(origin) = self.origin().filter(|_| size > 0) else {
            return Ok(None);
        };
        let Some(root) = self.root_at(size)? else {
            return Ok(None);
        };
        let body = Checkpoint {
            origin: origin.clone(),
            size,
            root,
        }
        .body();
        let signer = &self.config.signer;
        let sign = |text: &[u8]| Ok::<_, std::convert::Infallible>((signer.sign)(text));
        let note = note::sign_note(&body, &origin, &signer.key, sign)
            .map_err(|error| StoreFault::database(DURING, error))?;
        let row = CheckpointRow {
            size,
            root,
            note: note.to_string(),
        };
        locked(&self.unrecorded).push(row.clone());
        *last = Some(row.clone());
        Ok(Some(row))
    }

    pub(super) fn root_at(&self, size: u64) -> StoreResult<Option<Hash>> {
        self.with_tree(size, |tree| tree.root_at(size).map(Some))
    }

    pub(super) fn with_tree<T>(
        &self,
        size: u64,
        read: impl FnOnce(&Subtrees<'_>) -> StoreResult<Option<T>>,
    ) -> StoreResult<Option<T>> {
        let published = self.published();
        if size > published.head.size {
            return Ok(None);
        }
        read(&Subtrees::new(&published.edge, &self.reads, &self.tiles))
    }

    /// Returns true if a run had no receipt at the end of the last batch.
    pub fn has_runs(&self) -> bool {
        locked(&self.open_proposals).has_runs()
    }

    pub(crate) fn unrecorded(&self) -> Vec<CheckpointRow> {
        locked(&self.unrecorded).clone()
    }

    pub(crate) fn recorded(&self, notes: &[CheckpointRow]) {
        if !notes.is_empty() {
            locked(&self.unrecorded).retain(|note| !notes.contains(note));
        }
    }
}

/// Maximum leap of the clock in seconds while the service runs. After a larger leap the clock is not trusted, so a
/// wrong clock can block the log for at most this time.
pub(super) const MOST_AHEAD_S: i64 = 3600;

/// While the clock is behind the log, the boundary's time is slower than CLOCK_BOOTTIME by this fraction (one eighth),
/// so that a corrected clock can reach the time of a log with future dates.
pub(super) const CATCH_UP_PART: u32 = 8;
