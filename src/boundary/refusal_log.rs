//! Refusals in the log: within a budget, the rest counted (R10).
//!
//! A refusal costs its sender, not our disk: only of an authenticated principal or a rostered signature a signed
//! leaf is written, digests instead of text, and at most so many an hour. What exceeds that is counted by code
//! and logged in one summary an hour.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use crate::crossing::boundary_key::BoundaryKey;
use crate::crossing::cross::Crossing;
use crate::crossing::refusal::{Refusal, Stopped};
use crate::crypto::digest::InputDigest;
use crate::crypto::json;
use crate::record::authorization::Authorization;
use crate::record::code::Code;
use crate::record::denial::Denial;
use crate::record::document::Statement;
use crate::record::envelope::{Base64, Envelope};
use crate::record::later::schema_of;
use crate::record::malformed::Malformed;
use crate::record::refusal::{self, RefusingBoundary};
use crate::record::schema::settings;
use crate::record::validity::Timestamp;
use crate::store::ledger::Ledger;
use crate::store::message::WriteStop;

/// Leaves that one principal may cause in an hour: bounds what a holder of one token can write into the log.
const BUDGET_PER_HOUR: u32 = 60;
/// Principals that are told apart; more than that share what is left by being counted only.
const MOST_PRINCIPALS: usize = 10_000;
const HOUR_S: i64 = 3600;
/// Entries of the log that a start looks through for this hour's refusals: takes a tenth of a second.
const MOST_LOOKED_AT: usize = 100_000;
/// How often a leaf is dated anew, where others come before it.
const MOST_TRIES: usize = 8;

/// What was refused this hour.
#[derive(Debug, Default)]
pub struct Refusals {
    hour: Mutex<Hour>,
}

#[derive(Debug, Default)]
struct Hour {
    number: i64,
    spent: HashMap<String, u32>,
    counts: BTreeMap<Code, u64>,
}

/// What to write.
#[derive(Debug, PartialEq, Eq)]
struct Due {
    /// This refusal itself.
    one: bool,
    /// The hour before, where something was counted only.
    summary: Option<BTreeMap<Code, u64>>,
}

impl Refusals {
    /// With the budget that was spent already: `logged` are this hour's entries of the log, so that a restart gives nobody a new
    /// one.
    pub(super) fn after(logged: &[Vec<u8>], now: Timestamp) -> Self {
        let mut hour = Hour { number: now.unix() / HOUR_S, ..Hour::default() };
        for entry in logged {
            let payload = json::parse_as::<Envelope>(entry, entry.len())
                .map_err(Malformed::from)
                .and_then(|envelope| Base64::Strict.decode("/payload", &envelope.payload));
            let Ok(statement) = payload.and_then(|payload| Statement::<refusal::Refusal>::from_payload(&payload))
            else {
                continue;
            };
            if let Some(name) = statement.predicate.principal {
                *hour.spent.entry(name).or_default() += 1;
            }
        }
        Self { hour: Mutex::new(hour) }
    }

    fn note(&self, principal: Option<&str>, code: Code, now: Timestamp) -> Due {
        let mut hour = self.hour.lock().unwrap_or_else(PoisonError::into_inner);
        let summary = hour.turn(now);
        let known = principal.is_some_and(|name| hour.spent.contains_key(name) || hour.spent.len() < MOST_PRINCIPALS);
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
        self.hour.lock().unwrap_or_else(PoisonError::into_inner).turn(now)
    }

    /// What was counted and not yet logged, for a summary at the end.
    fn rest(&self) -> Option<BTreeMap<Code, u64>> {
        let mut hour = self.hour.lock().unwrap_or_else(PoisonError::into_inner);
        let counts = std::mem::take(&mut hour.counts);
        (!counts.is_empty()).then_some(counts)
    }
}

impl Hour {
    /// Begins a new hour when one has begun; gives what was counted in the one before.
    fn turn(&mut self, now: Timestamp) -> Option<BTreeMap<Code, u64>> {
        let number = now.unix() / HOUR_S;
        if number <= self.number {
            return None;
        }
        let counts = std::mem::replace(self, Self { number, ..Self::default() }).counts;
        (!counts.is_empty()).then_some(counts)
    }
}

/// The budget that is left in this hour of the log. Where the log can't be read everything else fails as well.
pub(super) fn left(ledger: &Ledger) -> Refusals {
    let now = ledger.now();
    let began = Timestamp::from_unix(now.unix() / HOUR_S * HOUR_S);
    match ledger.refusals(began, MOST_LOOKED_AT) {
        Ok(logged) => Refusals::after(&logged, now),
        Err(error) => {
            tracing::warn!("what was refused in this hour could not be read: {error}");
            Refusals::default()
        }
    }
}

/// The record of refusals.
pub struct RefusalLog {
    crossing: Arc<Crossing>,
    ledger: Ledger,
    key: Arc<BoundaryKey>,
    refusals: Refusals,
}

impl RefusalLog {
    /// With the budget that is left in this hour of the log.
    #[must_use]
    pub fn new(crossing: Arc<Crossing>, ledger: Ledger, key: Arc<BoundaryKey>) -> Self {
        let refusals = left(&ledger);
        Self { crossing, ledger, key, refusals }
    }

    /// Notes that `stopped` was answered to `principal` for the input of this digest. Never holds up the answer.
    pub fn note_refusal(self: &Arc<Self>, principal: Option<&str>, stopped: &Stopped, input: InputDigest) {
        let Stopped::Refused(refused) = stopped else { return };
        // No room is no judgement of the input, and logging it would need the room that is missing.
        if refused.code == Code::Busy {
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

    /// Logs the hour's summary when an hour has ended without a refusal after it.
    pub async fn summarise_refusals(&self) {
        if let Some(counts) = self.refusals.due(self.crossing.now()) {
            self.log_summary(counts).await;
        }
    }

    /// Logs what was counted only, before the service ends.
    pub async fn close_refusals(&self) {
        if let Some(counts) = self.refusals.rest() {
            self.log_summary(counts).await;
        }
    }

    async fn log_refusal(&self, refused: &Refusal, principal: String, input: InputDigest) {
        let pointer = refused.places.first().and_then(|place| without_input(&place.pointer));
        let one = |now| {
            let (pointer, principal) = (pointer.clone(), principal.clone());
            Ok(refusal::Refusal::one(self.refusing(), refused.code, pointer, principal, now, input))
        };
        self.append_refusal(one).await;
    }

    async fn log_summary(&self, counts: BTreeMap<Code, u64>) {
        self.append_refusal(|now| refusal::Refusal::summary(self.refusing(), counts.clone(), now)).await;
    }

    /// Signs and logs what `state` says at the time that it is given. A refusal that does not get into the log harms
    /// nobody but its record; the answer was given.
    async fn append_refusal(&self, state: impl Fn(Timestamp) -> Result<Statement<refusal::Refusal>, Malformed>) {
        let sign = |now| state(now).and_then(|statement| self.key.sign_statement(&statement));
        match append(&self.ledger, sign).await {
            Ok(()) => {}
            Err(NotLogged::Malformed(error)) => tracing::error!("a refusal could not be written: {error}"),
            Err(NotLogged::Stopped(error)) => tracing::warn!("a refusal was not logged: {error}"),
        }
    }

    fn refusing(&self) -> RefusingBoundary {
        let sealed = self.crossing.state();
        RefusingBoundary { name: sealed.boundary.name.clone(), id: sealed.boundary.id }
    }
}

/// Why a refusal is not in the log.
#[derive(Debug)]
enum NotLogged {
    /// It can't be written at all.
    Malformed(Malformed),
    /// The log did not take it; `BackDated` when other entries came before it, again and again.
    Stopped(WriteStop),
}

/// Logs what `sign` makes for the time that it is given; anew, for a later time, where another entry came in between with
/// a second of its own.
async fn append(ledger: &Ledger, sign: impl Fn(Timestamp) -> Result<Vec<u8>, Malformed>) -> Result<(), NotLogged> {
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

/// The part of a pointer into a statement that the format itself names. What follows is text of the input, an unknown
/// field or a parameter's name, which must never stand in the log; nothing when all of it is.
fn without_input(pointer: &str) -> Option<String> {
    // Parameters are judged by themselves, and are here within a statement.
    let pointer = if pointer.starts_with("/params") { format!("/predicate{pointer}") } else { pointer.to_owned() };
    let index = |step: &str| step.len() <= 4 && step.bytes().all(|c| c.is_ascii_digit());
    let mut kept = String::new();
    for step in pointer.split('/').skip(1).take_while(|step| FIELDS.contains(*step) || index(step)) {
        kept.push('/');
        kept.push_str(step);
        if kept == "/predicate/params" {
            break;
        }
    }
    (!kept.is_empty()).then_some(kept)
}

/// Every name that an envelope with an authorization or a denial has by its format.
static FIELDS: LazyLock<BTreeSet<String>> = LazyLock::new(|| {
    let mut schemas = settings().into_generator();
    let mut names = BTreeSet::new();
    let whole = [schemas.root_schema_for::<Envelope>().to_value(), schema_of::<Authorization>(), schema_of::<Denial>()];
    for schema in &whole {
        let within = schema["$defs"].as_object().into_iter().flat_map(serde_json::Map::values);
        for properties in within.chain([schema]).filter_map(|schema| schema["properties"].as_object()) {
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
    use crate::crypto::digest::SealDigest;
    use crate::crypto::signature::SecretKey;
    use crate::crypto::sshsig::SshKey;
    use crate::store::message::SealWrite;
    use crate::store::shared::{LedgerConfig, LedgerLimits, LogSigner};
    use crate::store::sqlite;

    const fn at(seconds: i64) -> Timestamp {
        Timestamp::from_unix(1_800_000_000 + seconds)
    }

    #[test]
    fn r10_beyond_the_budget_refusals_are_counted_only() {
        let refusals = Refusals::default();
        for n in 0..BUDGET_PER_HOUR {
            assert!(refusals.note(Some("agent"), Code::Expired, at(0)).one, "{n}");
        }
        assert!(!refusals.note(Some("agent"), Code::Expired, at(1)).one);
        assert!(refusals.note(Some("other"), Code::Expired, at(1)).one, "a budget each");
        assert_eq!(
            refusals.note(None, Code::Malformed, at(2)),
            Due { one: false, summary: None },
            "strangers only count"
        );
        let next = refusals.note(Some("agent"), Code::Denied, at(HOUR_S));
        let expected = BTreeMap::from([(Code::Expired, 1), (Code::Malformed, 1)]);
        assert_eq!(next, Due { one: true, summary: Some(expected) });
        assert_eq!(refusals.due(at(2 * HOUR_S)), None, "nothing was counted only");
    }

    /// A log whose clock stands where it is put.
    fn ledger(directory: &std::path::Path, clock: &Arc<AtomicI64>) -> Ledger {
        let path = directory.join("data/countersign.db");
        let (store, reads) = sqlite::open(&path).expect("a store");
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
            limits: LedgerLimits::default(),
        };
        let ledger = Ledger::open(Box::new(store), Arc::new(reads), config).expect("a ledger");
        let seal = SealWrite {
            envelope: b"{}".to_vec(),
            digest: SealDigest::of(b"seal"),
            previous: None,
            at: at(0),
            blobs: Vec::new(),
            tokens: Vec::new(),
        };
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(ledger.seal(seal)).expect("sealed");
        ledger
    }

    /// Another entry gets in while a refusal is signed, and the clock has gone on, or was set, by so many seconds.
    fn meanwhile(ledger: &Ledger, clock: &AtomicI64, seconds: i64) {
        clock.fetch_add(seconds, Ordering::SeqCst);
        let ledger = ledger.clone();
        let other = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
            runtime.block_on(ledger.refuse(b"other".to_vec(), ledger.now())).expect("logged");
        });
        other.join().expect("written");
    }

    #[test]
    fn r10_a_refusal_that_another_entry_overtook_is_dated_anew() {
        let directory = tempfile::tempdir().expect("a directory");
        let clock = Arc::new(AtomicI64::new(at(10).unix()));
        let ledger = ledger(directory.path(), &clock);
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let dated = |now: Timestamp| now.to_string().into_bytes();
        let leaf = |index: u64| ledger.leaf(index).expect("read").expect("a leaf").data;
        // Overtaken once, by a clock that went on: its own time is the later one.
        let tries = AtomicI64::new(0);
        let done = runtime.block_on(append(&ledger, |now| {
            if tries.fetch_add(1, Ordering::SeqCst) == 0 {
                meanwhile(&ledger, &clock, 5);
            }
            Ok(dated(now))
        }));
        assert!(done.is_ok(), "{done:?}");
        assert_eq!((leaf(1), leaf(2)), (b"other".to_vec(), dated(at(15))));
        // The clock is set back: nothing states a time before the last entry's.
        clock.store(at(-1000).unix(), Ordering::SeqCst);
        runtime.block_on(append(&ledger, |now| Ok(dated(now)))).expect("logged");
        assert_eq!(leaf(3), dated(at(15)));
        // Set back and forward again, past what is being signed.
        let tries = AtomicI64::new(0);
        let done = runtime.block_on(append(&ledger, |now| {
            if tries.fetch_add(1, Ordering::SeqCst) == 0 {
                meanwhile(&ledger, &clock, 1020);
            }
            Ok(dated(now))
        }));
        assert!(done.is_ok(), "{done:?}");
        assert_eq!((leaf(4), leaf(5)), (b"other".to_vec(), dated(at(20))));
        // Overtaken each time: given up, and said.
        let done = runtime.block_on(append(&ledger, |now| {
            meanwhile(&ledger, &clock, 1);
            Ok(dated(now))
        }));
        assert!(matches!(done, Err(NotLogged::Stopped(WriteStop::BackDated { .. }))), "{done:?}");
        assert_eq!(leaf(5 + MOST_TRIES as u64), b"other".to_vec());
        assert!(ledger.leaf(6 + MOST_TRIES as u64).expect("read").is_none(), "none of its tries got in");
    }

    #[test]
    fn a_logged_pointer_has_no_text_of_the_input() {
        for (given, logged) in [
            ("/predicate/expires_at", Some("/predicate/expires_at")),
            ("/predicate/permissions/12/what", Some("/predicate/permissions/12/what")),
            ("/predicate/session", Some("/predicate/session")),
            ("/signatures/0/sig", Some("/signatures/0/sig")),
            ("/predicate/my card is 4111", Some("/predicate")),
            ("/predicate/params/hello", Some("/predicate/params")),
            ("/predicate/params/reason/reason", Some("/predicate/params")),
            ("/params/host", Some("/predicate/params")),
            ("/predicate/permissions/123456789", Some("/predicate/permissions")),
            ("/hello", None),
            ("", None),
        ] {
            assert_eq!(without_input(given).as_deref(), logged, "{given}");
        }
    }

    #[test]
    fn a_clock_set_back_opens_no_new_budget() {
        let refusals = Refusals::default();
        for _ in 0..BUDGET_PER_HOUR {
            let _ = refusals.note(Some("agent"), Code::Expired, at(HOUR_S));
        }
        assert!(!refusals.note(Some("agent"), Code::Expired, at(-10 * HOUR_S)).one);
    }
}
