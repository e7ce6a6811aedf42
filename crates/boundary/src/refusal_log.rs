//! Refusals in the log, up to a limit for each principal and hour (rule R10). A principal is an authenticated caller,
//! or a key of the roster that signed.
//!
//! Refusals must not fill the disk. The boundary logs a refusal only if it knows the principal, and the entry contains
//! digests instead of text. Refusals above the limit are only counted by code. One summary per hour contains the
//! counts.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, LazyLock, Mutex},
};

use crossing::{BoundaryKey, Crossing, Refusal, Stopped};
use documents::{
    Authorization, Code, Denial, Envelope, InputDigest, Malformed, RefusalStatement,
    RefusingBoundary, Statement, Timestamp, locked, schema_of, settings,
};
use store::{Ledger, WriteStop, opened};

/// Maximum number of log entries that one principal can cause in an hour, so that the holder of one token can't fill
/// the disk.
const BUDGET_PER_HOUR: u32 = 60;
/// Maximum number of principals with a separate limit. Refusals of further principals are only counted.
const MOST_PRINCIPALS: usize = 10_000;
const HOUR_S: i64 = 3600;
/// Maximum number of log entries that the service reads at its start to find the refusals of the current hour. This
/// takes about a tenth of a second.
const MOST_LOOKED_AT: usize = 100_000;
/// Maximum number of attempts to log an entry. Each attempt uses a new time, because an entry that was logged in
/// between may have a later time.
const MOST_TRIES: usize = 8;

/// The refusals of the current hour.
#[derive(Default)]
pub struct Refusals {
    hour: Mutex<Hour>,
}

#[derive(Default)]
struct Hour {
    number: i64,
    spent: HashMap<String, u32>,
    counts: BTreeMap<Code, u64>,
}

struct Due {
    /// True if this refusal gets a log entry.
    one: bool,
    /// The counts of the previous hour, or `None` if that hour has no counted refusals.
    summary: Option<BTreeMap<Code, u64>>,
}

impl Refusals {
    /// Creates the value from the log entries of the current hour in `logged`, so that a restart does not reset the
    /// limit of a principal.
    pub fn after(logged: &[Vec<u8>], now: Timestamp) -> Self {
        let mut hour = Hour {
            number: now.unix() / HOUR_S,
            ..Hour::default()
        };
        for entry in logged {
            let Ok((_, statement)) = opened::<RefusalStatement>(entry) else {
                continue;
            };
            if let Some(name) = statement.predicate.principal {
                *hour.spent.entry(name).or_default() += 1;
            }
        }
        Self {
            hour: Mutex::new(hour),
        }
    }

    fn note(&self, principal: Option<&str>, code: Code, now: Timestamp) -> Due {
        let mut hour = locked(&self.hour);
        let summary = hour.turn(now);
        let known = principal.is_some_and(|name| {
            hour.spent.contains_key(name) || hour.spent.len() < MOST_PRINCIPALS
        });
        let one = match principal {
            Some(name) if known => {
                let spent = hour.spent.entry(name.to_owned()).or_default();
                *spent += 1;
                *spent <= BUDGET_PER_HOUR
            }
            _ => false,
        };
        if !one {
            *hour.counts.entry(code).or_default() += 1;
        }
        Due { one, summary }
    }

    fn due(&self, now: Timestamp) -> Option<BTreeMap<Code, u64>> {
        locked(&self.hour).turn(now)
    }

    /// Returns the refusals that were counted but not logged, for a summary when the service ends.
    fn rest(&self) -> Option<BTreeMap<Code, u64>> {
        let mut hour = locked(&self.hour);
        let counts = std::mem::take(&mut hour.counts);
        (!counts.is_empty()).then_some(counts)
    }
}

impl Hour {
    /// Begins a new hour if the current hour is over. Returns the counts of the hour that ended, if there are any.
    fn turn(&mut self, now: Timestamp) -> Option<BTreeMap<Code, u64>> {
        let number = now.unix() / HOUR_S;
        if number <= self.number {
            return None;
        }
        let counts = std::mem::replace(
            self,
            Self {
                number,
                ..Self::default()
            },
        )
        .counts;
        (!counts.is_empty()).then_some(counts)
    }
}

/// Returns the refusals of the current hour from the log, or none if the log can't be read. An error is not needed,
/// because the service stops if its log can't be read.
pub fn left(ledger: &Ledger) -> Refusals {
    let now = ledger.now();
    let began = Timestamp::from_unix(now.unix() / HOUR_S * HOUR_S);
    match ledger.refusals(began, MOST_LOOKED_AT) {
        Ok(logged) => Refusals::after(&logged, now),
        Err(error) => {
            tracing::warn!("the refusals of this hour can't be read from the log: {error}");
            Refusals::default()
        }
    }
}

/// Writes refusals to the log.
pub struct RefusalLog {
    crossing: Arc<Crossing>,
    ledger: Ledger,
    key: Arc<BoundaryKey>,
    refusals: Refusals,
}

impl RefusalLog {
    /// Creates the value with the refusals of the current hour from the log.
    pub fn new(crossing: Arc<Crossing>, ledger: Ledger, key: Arc<BoundaryKey>) -> Self {
        let refusals = left(&ledger);
        Self {
            crossing,
            ledger,
            key,
            refusals,
        }
    }

    /// Records that the caller `principal` received the refusal `stopped` for the input with this digest. Never delays
    /// the answer.
    pub fn note_refusal(
        self: &Arc<Self>,
        principal: Option<&str>,
        stopped: &Stopped,
        input: InputDigest,
    ) {
        let Stopped::Refused(refused) = stopped else {
            return;
        };
        // Such a code is not a decision about the input. If the disk is full, the log has no space for an entry.
        if refused.code.is_temporary() {
            return;
        }
        let now = self.crossing.now();
        let due = self.refusals.note(principal, refused.code, now);
        let log = self.clone();
        let refused = refused.clone();
        let principal = principal.unwrap_or_default().to_owned();
        if due.one || due.summary.is_some() {
            tokio::spawn(async move {
                if let Some(counts) = due.summary {
                    log.log_summary(counts).await;
                }
                if due.one {
                    log.log_refusal(&refused, principal, input).await;
                }
            });
        }
    }

    /// Logs the summary of the previous hour, unless a later refusal has already caused its logging.
    pub async fn summarise_refusals(&self) {
        if let Some(counts) = self.refusals.due(self.crossing.now()) {
            self.log_summary(counts).await;
        }
    }

    /// Logs the summary of the counted refusals before the service ends.
    pub async fn close_refusals(&self) {
        if let Some(counts) = self.refusals.rest() {
            self.log_summary(counts).await;
        }
    }

    async fn log_refusal(&self, refused: &Refusal, principal: String, input: InputDigest) {
        let pointer = refused
            .places
            .first()
            .and_then(|place| without_input(&place.pointer));
        let one = |now| {
            let (pointer, principal) = (pointer.clone(), principal.clone());
            Ok(RefusalStatement::one(
                self.refusing(),
                refused.code,
                pointer,
                principal,
                now,
                input,
            ))
        };
        self.append_refusal(one).await;
    }

    async fn log_summary(&self, counts: BTreeMap<Code, u64>) {
        self.append_refusal(|now| RefusalStatement::summary(self.refusing(), counts.clone(), now))
            .await;
    }

    /// Logs the statement that `state` creates for the time of the entry. A failure only loses the log entry, because
    /// the caller already has the refusal.
    async fn append_refusal(
        &self,
        state: impl Fn(Timestamp) -> Result<Statement<RefusalStatement>, Malformed>,
    ) {
        let sign = |now| state(now).and_then(|statement| self.key.sign_statement(&statement));
        match append(&self.ledger, sign).await {
            Ok(()) => {}
            Err(NotLogged::Malformed(error)) => {
                tracing::error!("a refusal could not be written: {error}")
            }
            Err(NotLogged::Stopped(error)) => tracing::warn!("a refusal was not logged: {error}"),
        }
    }

    fn refusing(&self) -> RefusingBoundary {
        let sealed = self.crossing.state();
        RefusingBoundary {
            name: sealed.boundary.name.clone(),
            id: sealed.boundary.id,
        }
    }
}

#[derive(Debug)]
enum NotLogged {
    /// The statement of the refusal can't be encoded.
    Malformed(Malformed),
    /// The log did not accept the entry. `BackDated` means that another entry was logged first in each attempt.
    Stopped(WriteStop),
}

/// Logs the entry that `sign` creates for the current time. If an entry with a later time was logged first, the
/// function calls `sign` again with a later time.
async fn append(
    ledger: &Ledger,
    sign: impl Fn(Timestamp) -> Result<Vec<u8>, Malformed>,
) -> Result<(), NotLogged> {
    let mut tries = 1;
    loop {
        let now = ledger.now();
        let envelope = sign(now).map_err(NotLogged::Malformed)?;
        match ledger.refuse(envelope, now).await {
            Ok(_) => return Ok(()),
            Err(WriteStop::BackDated { .. }) if tries < MOST_TRIES => tries += 1,
            Err(stop) => return Err(NotLogged::Stopped(stop)),
        }
    }
}

/// Returns the beginning of a JSON pointer, up to the last field name or index that the format defines. The rest of the
/// pointer is text from the input (such as an unknown field or the name of a parameter), which must never be logged.
/// Returns `None` if the pointer does not begin with a field name of the format.
fn without_input(pointer: &str) -> Option<String> {
    // The pointer to a parameter is relative to the predicate.
    let pointer = if pointer.starts_with("/params") {
        format!("/predicate{pointer}")
    } else {
        pointer.to_owned()
    };
    let index = |step: &str| step.len() <= 4 && step.bytes().all(|c| c.is_ascii_digit());
    let mut kept = String::new();
    for step in pointer
        .split('/')
        .skip(1)
        .take_while(|step| FIELDS.contains(*step) || index(step))
    {
        kept.push('/');
        kept += step;
        if kept == "/predicate/params" {
            break;
        }
    }
    (!kept.is_empty()).then_some(kept)
}

/// The field names that the format defines for an envelope with an authorization or a denial.
static FIELDS: LazyLock<BTreeSet<String>> = LazyLock::new(|| {
    let mut schemas = settings().into_generator();
    let mut names = BTreeSet::new();
    let whole = [
        schemas.root_schema_for::<Envelope>().to_value(),
        schema_of::<Authorization>(),
        schema_of::<Denial>(),
    ];
    for schema in &whole {
        let within = schema["$defs"]
            .as_object()
            .into_iter()
            .flat_map(serde_json::Map::values);
        for properties in within
            .chain([schema])
            .filter_map(|schema| schema["properties"].as_object())
        {
            names.extend(properties.keys().cloned());
        }
    }
    names
});

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};
    use std::time::Duration;

    use super::*;
    use documents::{SealDigest, SecretKey, SshKey};
    use store::{Database, LedgerConfig, LedgerLimits, LogSigner, OpenStore, Role, SealWrite};

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_unix(1_800_000_000 + seconds)
    }

    /// Returns a log whose clock has the value in `clock`.
    fn ledger(directory: &std::path::Path, clock: &Arc<AtomicI64>) -> Ledger {
        let path = directory.join("data/countersign.db");
        let OpenStore { store, reads, .. } = Database::File(path.clone())
            .open(Role::of_file())
            .expect("a store");
        let secret = SecretKey::from_seed([3; 32]);
        let key = secret.public();
        let clock = Arc::clone(clock);
        let config = LedgerConfig {
            name: "prod".parse().expect("a name"),
            signer: LogSigner {
                key,
                keyid: SshKey::from_public(key, "").expect("a key").keyid(),
                sign: Arc::new(move |message| secret.sign(message)),
            },
            clock: Arc::new(move || Timestamp::from_unix(clock.load(Ordering::SeqCst))),
            boottime: Arc::new(|| Duration::ZERO),
            on_fatal: Arc::new(|fault| panic!("{fault}")),
            outputs: path.with_file_name("outputs"),
            objects: None,
            limits: LedgerLimits::default(),
            metrics: Arc::default(),
            keep_head: None,
        };
        let ledger = Ledger::open(store, reads, config)
            .expect("a ledger")
            .ledger();
        let seal = SealWrite {
            envelope: b"{}".to_vec(),
            digest: SealDigest::of(b"seal"),
            new_epoch: false,
            thaws: false,
            checked: ledger.checked_state(),
            at: at(0),
            blobs: Vec::new(),
            tokens: Vec::new(),
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .expect("a runtime");
        runtime.block_on(ledger.seal(seal)).expect("sealed");
        ledger
    }

    /// Logs another entry while a refusal is signed, and moves the clock by `seconds`.
    fn meanwhile(ledger: &Ledger, clock: &AtomicI64, seconds: i64) {
        clock.fetch_add(seconds, Ordering::SeqCst);
        let ledger = ledger.clone();
        let other = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .build()
                .expect("a runtime");
            runtime
                .block_on(ledger.refuse(b"other".to_vec(), ledger.now()))
                .expect("logged");
        });
        other.join().expect("written");
    }

    #[test]
    fn r10_a_refusal_gets_a_later_date_if_another_entry_was_logged_before_it() {
        let directory = tempfile::tempdir().expect("a directory");
        let clock = Arc::new(AtomicI64::new(at(10).unix()));
        let ledger = ledger(directory.path(), &clock);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .expect("a runtime");
        let dated = |now: Timestamp| now.to_string().into_bytes();
        let leaf = |index: u64| ledger.leaf(index).expect("read").expect("a leaf").data;
        // Another entry was logged first, and the clock moved forward. The entry of the refusal has the later time.
        let tries = AtomicI64::new(0);
        let done = runtime.block_on(append(&ledger, |now| {
            if tries.fetch_add(1, Ordering::SeqCst) == 0 {
                meanwhile(&ledger, &clock, 5);
            }
            Ok(dated(now))
        }));
        assert!(done.is_ok(), "{done:?}");
        assert_eq!((leaf(1), leaf(2)), (b"other".to_vec(), dated(at(15))));
        // The clock is set back before the refusal is logged. The new entry still has a time that is not earlier than
        // the previous entry.
        clock.store(at(-1000).unix(), Ordering::SeqCst);
        runtime
            .block_on(append(&ledger, |now| Ok(dated(now))))
            .expect("logged");
        assert_eq!(leaf(3), dated(at(15)));
        // The clock is set back and then set forward to a time after the entry that is being signed.
        let tries = AtomicI64::new(0);
        let done = runtime.block_on(append(&ledger, |now| {
            if tries.fetch_add(1, Ordering::SeqCst) == 0 {
                meanwhile(&ledger, &clock, 1020);
            }
            Ok(dated(now))
        }));
        assert!(done.is_ok(), "{done:?}");
        assert_eq!((leaf(4), leaf(5)), (b"other".to_vec(), dated(at(20))));
        // In each attempt, another entry is logged first, so the boundary gives up and reports the failure.
        let done = runtime.block_on(append(&ledger, |now| {
            meanwhile(&ledger, &clock, 1);
            Ok(dated(now))
        }));
        assert!(
            matches!(done, Err(NotLogged::Stopped(WriteStop::BackDated { .. }))),
            "{done:?}"
        );
        assert_eq!(leaf(5 + MOST_TRIES as u64), b"other".to_vec());
        assert!(
            ledger.leaf(6 + MOST_TRIES as u64).expect("read").is_none(),
            "none of its tries got in"
        );
    }

    #[test]
    fn a_logged_json_pointer_contains_no_text_of_the_input() {
        for (given, logged) in [
            ("/predicate/expires_at", Some("/predicate/expires_at")),
            (
                "/predicate/permissions/12/what",
                Some("/predicate/permissions/12/what"),
            ),
            ("/predicate/session", Some("/predicate/session")),
            ("/signatures/0/sig", Some("/signatures/0/sig")),
            ("/predicate/my card is 4111", Some("/predicate")),
            ("/predicate/params/hello", Some("/predicate/params")),
            ("/predicate/params/reason/reason", Some("/predicate/params")),
            ("/params/host", Some("/predicate/params")),
            (
                "/predicate/permissions/123456789",
                Some("/predicate/permissions"),
            ),
            ("/hello", None),
            ("", None),
        ] {
            assert_eq!(without_input(given).as_deref(), logged, "{given}");
        }
    }

    #[test]
    fn a_clock_that_is_set_back_gives_no_new_budget_for_logged_refusals() {
        let refusals = Refusals::default();
        for _ in 0..BUDGET_PER_HOUR {
            let _ = refusals.note(Some("agent"), Code::Expired, at(HOUR_S));
        }
        assert!(
            !refusals
                .note(Some("agent"), Code::Expired, at(-10 * HOUR_S))
                .one
        );
    }
}
