//! Sends the checkpoints of the log to the witnesses and checks their answers.
//!
//! The boundary sends each checkpoint to each witness of the roster, with the proof that the checkpoint continues the
//! last checkpoint that this witness saw. The witness then cosigns the checkpoint (c2sp.org/tlog-witness). Without
//! witnesses, a reader must trust the boundary to show every reader the same log. Checkpoints are sent in the
//! background, so no crossing waits for a witness, even if a witness does not answer.
//!
//! Without a database server, cosignatures are stored only in memory, so after a start the boundary asks each witness
//! again for the same checkpoints. With a server, another node reads the cosignatures from the database. The module
//! `node::witnessing` sends the requests over HTTP.
mod answers;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};

use crate::Surroundings;
use crossing::{BoundaryKey, Crossing, RequestResult, fault};
use documents::{Hash, Note, NoteSignature, Timestamp, WitnessKey, locked, note};
use store::{CheckpointRow, Cosignature, Ledger};

/// Maximum number of witnesses that the boundary asks. Each witness adds a line to every checkpoint, and a verifier
/// accepts at most 64 lines.
const MOST_WITNESSES: usize = 32;

/// A witness of the roster that the boundary can ask.
#[derive(Clone)]
pub struct NamedWitness {
    /// Base URL of the witness. Requests go to the path `/add-checkpoint` below this URL.
    pub url: String,
    /// The key of the witness.
    pub key: WitnessKey,
}

/// A request to a witness.
#[derive(Debug, PartialEq)]
pub struct WitnessRequest {
    /// Size of the checkpoint.
    pub size: u64,
    /// The size of the last checkpoint that this witness has cosigned, as far as the boundary knows.
    pub old: u64,
    /// Note of the checkpoint. The check of the answer needs this note, because the boundary may choose a newer
    /// checkpoint before the answer arrives.
    pub note: String,
    /// The body of the request.
    pub body: String,
}

/// Next action after the answer of a witness.
#[derive(Debug, PartialEq)]
pub enum WitnessNext {
    /// The witness cosigned, so ask again when the log has grown.
    Cosigned,
    /// The last cosigned size of the witness differs from the size in the request, so ask again immediately.
    Again,
    /// The witness did not cosign. Ask the witness again after a pause.
    Trouble(String),
}

/// The facts about the log that the check of an answer needs.
pub struct LogFacts<'a> {
    /// The number of entries.
    pub size: u64,
    /// The verifier key of the log.
    pub vkey: &'a str,
}

/// The state of all witnesses of this log.
#[derive(Default)]
pub struct Witnesses(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Checkpoint that all witnesses are asked to cosign, and the time when it was chosen.
    target: Option<(Head, Timestamp)>,
    /// Cosigned checkpoints, oldest first.
    heads: VecDeque<Head>,
    known: BTreeMap<String, Known>,
    /// The witnesses that the boundary can't ask, each with the reason.
    unable: Vec<String>,
}

#[derive(Debug, Default)]
struct Known {
    size: u64,
    cosigned: u64,
    conflicts: u32,
    trouble: Option<(String, Timestamp)>,
}

#[derive(Debug, Clone)]
struct Head {
    size: u64,
    note: String,
    lines: BTreeMap<String, NoteSignature>,
}

impl Head {
    fn text(&self) -> String {
        let Ok(mut note) = Note::parse(&self.note) else {
            return self.note.clone();
        };
        for line in self.lines.values() {
            match note.clone().with(line.clone()) {
                Ok(more) => note = more,
                Err(_) => break,
            }
        }
        note.to_string()
    }
}

impl Witnesses {
    /// Removes the witnesses that are no longer in the roster, and their cosignatures. Stores the reasons why the
    /// boundary can't ask some witnesses.
    pub fn retain(&self, named: &[NamedWitness], unable: Vec<String>) {
        let mut state = locked(&self.0);
        let is_named = |vkey: &String| named.iter().any(|witness| witness.key.vkey() == *vkey);
        state.known.retain(|vkey, _| is_named(vkey));
        state
            .heads
            .iter_mut()
            .for_each(|head| head.lines.retain(|vkey, _| is_named(vkey)));
        state.unable = unable;
    }

    /// Returns the target checkpoint, or `None` if this witness has already cosigned the target. If the log has grown
    /// to `size`, the function sets a new target from `head`. The witnesses first get some seconds to cosign the last
    /// target, so that all witnesses cosign the same checkpoints.
    ///
    /// # Errors
    /// Returns an error if the log can't be read.
    fn target(
        &self,
        witness: &NamedWitness,
        named: &[NamedWitness],
        size: u64,
        now: Timestamp,
        head: impl FnOnce() -> RequestResult<Option<CheckpointRow>>,
    ) -> RequestResult<Option<(Head, u64)>> {
        let mut state = locked(&self.0);
        let behind = |state: &State, target: &Head, of: &NamedWitness| {
            let known = state.known.get(&of.key.vkey());
            known.is_none_or(|known| known.trouble.is_none() && known.cosigned < target.size)
        };
        let is_due = match &state.target {
            None => true,
            Some((target, since)) => {
                let overdue = now.unix() - since.unix() > PATIENCE_S || now < *since;
                let passed = state.known.values().any(|known| known.size > target.size);
                target.size < size
                    && (overdue || passed || !named.iter().any(|of| behind(&state, target, of)))
            }
        };
        if is_due && let Some(row) = head()? {
            state.target = Some((
                Head {
                    size: row.size,
                    note: row.note,
                    lines: BTreeMap::new(),
                },
                now,
            ));
        }
        let known = state.known.entry(witness.key.vkey()).or_default();
        let (size, cosigned) = (known.size, known.cosigned);
        Ok(state
            .target
            .as_ref()
            .filter(|(target, _)| cosigned < target.size)
            .map(|(target, _)| (target.clone(), size)))
    }

    /// Handles the answer to the request `ask`. Only cosignatures that verify with the witness's key in the roster
    /// count.
    pub fn answered(
        &self,
        witness: &NamedWitness,
        ask: &WitnessRequest,
        log: LogFacts<'_>,
        status: u16,
        body: &[u8],
        now: Timestamp,
    ) -> WitnessNext {
        let mut state = locked(&self.0);
        let text = String::from_utf8_lossy(body);
        let next = match status {
            200 => match state.cosign(witness, ask, &text, now) {
                Ok(()) => WitnessNext::Cosigned,
                Err(why) => WitnessNext::Trouble(why),
            },
            409 => state.conflict(witness, ask, log, &text),
            _ => WitnessNext::Trouble(match status {
                404 => format!(
                    "the witness does not know this log: give the operator of the witness the verifier key {}",
                    log.vkey
                ),
                403 => format!(
                    "the witness does not trust the key that signs this log: give the operator of the witness the \
                 verifier key {}",
                    log.vkey
                ),
                422 => format!(
                    "the witness reports that the log of {} entries does not continue the {} entries that the witness \
                 cosigned. If the witness is right, there are two histories under the name of this log: before you \
                 continue, compare `/log/checkpoint` with the checkpoints that other people have stored",
                    ask.size, ask.old
                ),
                other => format!(
                    "the witness answered with status {other}: ask the operator of \
                 the witness"
                ),
            }),
        };
        state.note(&witness.key, &next, now);
        next
    }

    /// Records that a witness could not be asked or did not answer.
    pub fn failed(&self, witness: &NamedWitness, why: String, now: Timestamp) {
        locked(&self.0).note(&witness.key, &WitnessNext::Trouble(why), now);
    }

    fn cosigned(&self, size: u64) -> Option<String> {
        let state = locked(&self.0);
        state
            .heads
            .iter()
            .find(|head| head.size == size && !head.lines.is_empty())
            .map(Head::text)
    }

    /// Returns the checkpoint of at least `least` entries with the most cosignatures, and the newest if several have
    /// the same number.
    fn best(&self, least: u64) -> Option<(u64, String)> {
        let state = locked(&self.0);
        let fit = state
            .heads
            .iter()
            .filter(|head| head.size >= least && !head.lines.is_empty());
        fit.max_by_key(|head| (head.lines.len(), head.size))
            .map(|head| (head.size, head.text()))
    }

    /// Returns the notes about witnesses for an operator.
    pub fn notes(&self) -> Vec<String> {
        let state = locked(&self.0);
        let troubled = state.known.iter().filter_map(|(vkey, known)| {
            let (trouble, since) = known.trouble.as_ref()?;
            let name = vkey.split('+').next().unwrap_or_default();
            Some(format!(
                "the witness {name} has not cosigned since {since}: {trouble}"
            ))
        });
        troubled.chain(state.unable.iter().cloned()).collect()
    }
}

impl State {
    fn note(&mut self, key: &WitnessKey, next: &WitnessNext, now: Timestamp) {
        let known = self.known.entry(key.vkey()).or_default();
        match next {
            WitnessNext::Cosigned => {
                if known.trouble.take().is_some() {
                    tracing::info!(witness = key.name(), "the witness cosigns again");
                }
                known.conflicts = 0;
            }
            WitnessNext::Again => {}
            WitnessNext::Trouble(why) => {
                let since = known.trouble.as_ref().map_or(now, |(_, since)| *since);
                if known
                    .trouble
                    .as_ref()
                    .is_none_or(|(before, _)| before != why)
                {
                    tracing::warn!(witness = key.name(), "the witness did not cosign: {why}");
                }
                known.trouble = Some((why.clone(), since));
            }
        }
    }
}

/// Sends checkpoints of the log to the witnesses of the roster, and keeps their cosignatures.
pub struct Witnessing {
    pub crossing: Arc<Crossing>,
    pub ledger: Ledger,
    pub key: Arc<BoundaryKey>,
    pub witnesses: Witnesses,
    pub surroundings: Surroundings,
    /// True if the cosignatures of earlier processes were read.
    pub has_read: AtomicBool,
}

impl Witnessing {
    /// Returns the notes about witnesses for an operator.
    pub fn notes(&self) -> Vec<String> {
        self.witnesses.notes()
    }

    /// Returns the witnesses of the roster in force that the boundary can ask.
    pub fn witnesses_named(&self) -> Vec<NamedWitness> {
        let sealed = self.crossing.state();
        let (mut named, mut unable) = (Vec::new(), Vec::new());
        for (name, witness) in &sealed.roster.tables().witnesses {
            let why = match WitnessKey::parse(&witness.vkey) {
                Ok(_) if named.len() == MOST_WITNESSES => format!(
                    "the boundary asks only {MOST_WITNESSES} \
                     witnesses"
                ),
                Ok(key) => {
                    named.push(NamedWitness { url: witness.url.clone(), key });
                    continue;
                }
                Err(_) => {
                    "the key of the witness is not a key for Ed25519 cosignatures (algorithm byte 0x04)".to_owned()
                }
            };
            unable.push(format!("the witness {name} is not asked: {why}"));
        }
        self.witnesses.retain(&named, unable);
        if let Some(objects) = self
            .ledger
            .objects()
            .filter(|_| !self.has_read.swap(true, Ordering::Relaxed))
        {
            match objects.cosignatures() {
                Ok(stored) => stored
                    .iter()
                    .for_each(|cosignature| self.take_stored(&named, cosignature)),
                Err(error) => tracing::warn!("the stored cosignatures are not read: {error}"),
            }
        }
        named
    }

    /// Takes a cosignature of an earlier process, after its verification.
    fn take_stored(&self, named: &[NamedWitness], stored: &Cosignature) {
        let Some(witness) = named
            .iter()
            .find(|witness| witness.key.vkey() == stored.witness)
        else {
            return;
        };
        if stored.size <= self.log_size() {
            let ask = WitnessRequest {
                size: stored.size,
                old: 0,
                note: stored.note.clone(),
                body: String::new(),
            };
            let taken = locked(&self.witnesses.0).cosign(
                witness,
                &ask,
                &stored.lines,
                (self.surroundings.now)(),
            );
            if let Err(why) = taken {
                tracing::warn!("a stored cosignature is not used: {why}");
            }
        }
    }

    /// Returns each witness of the roster in force, with the number of entries that the witness has cosigned as far as
    /// this process knows.
    pub fn cosigned_sizes(&self) -> Vec<(String, u64)> {
        let (sealed, state) = (self.crossing.state(), locked(&self.witnesses.0));
        let cosigned = |vkey: &str| state.known.get(vkey).map_or(0, |known| known.cosigned);
        let key =
            |vkey: &str| WitnessKey::parse(vkey).map_or_else(|_| vkey.to_owned(), |key| key.vkey());
        let of_roster = sealed.roster.tables().witnesses.iter();
        of_roster
            .map(|(name, witness)| (name.clone(), cosigned(&key(&witness.vkey))))
            .collect()
    }

    /// Returns the number of entries in the log.
    pub fn log_size(&self) -> u64 {
        self.ledger.state().size
    }

    /// Returns the next request to this witness, or `None` if the witness has cosigned the target.
    ///
    /// # Errors
    /// Returns an error if the log can't be read.
    pub fn witness_ask(
        &self,
        witness: &NamedWitness,
        named: &[NamedWitness],
    ) -> RequestResult<Option<WitnessRequest>> {
        let size = self.ledger.state().size;
        let head = || Ok(self.ledger.checkpoint()?);
        let Some((target, old)) =
            self.witnesses
                .target(witness, named, size, (self.surroundings.now)(), head)?
        else {
            return Ok(None);
        };
        // The witness has cosigned a larger checkpoint than the target, which an earlier process sent. Wait for a
        // target that is at least as large.
        if old > target.size {
            return Ok(None);
        }
        let path = if old == 0 || old == target.size {
            Vec::new()
        } else {
            let path = self.ledger.consistency(old, target.size)?;
            path.ok_or_else(|| fault(format!("no proof from {old} to {} entries", target.size)))?
        };
        Ok(Some(WitnessRequest {
            size: target.size,
            old,
            body: body(old, &path, &target.note),
            note: target.note,
        }))
    }

    /// Handles the answer of a witness, and stores its cosignature for other nodes.
    pub fn witness_answered(
        &self,
        witness: &NamedWitness,
        ask: &WitnessRequest,
        status: u16,
        body: &[u8],
    ) -> WitnessNext {
        // The verifier key of the log (C2SP signed-note).
        let vkey = self
            .ledger
            .origin()
            .map(|origin| note::vkey(&origin, &self.key.public()))
            .unwrap_or_default();
        let log = LogFacts {
            size: self.ledger.state().size,
            vkey: &vkey,
        };
        let next =
            self.witnesses
                .answered(witness, ask, log, status, body, (self.surroundings.now)());
        if let Some(objects) = self
            .ledger
            .objects()
            .filter(|_| next == WitnessNext::Cosigned)
        {
            let lines = String::from_utf8_lossy(body).into_owned();
            let (size, witness, note) = (ask.size, witness.key.vkey(), ask.note.clone());
            let oldest = locked(&self.witnesses.0)
                .heads
                .front()
                .map_or(0, |head| head.size);
            if let Err(error) = objects.keep_cosignature(
                &Cosignature {
                    size,
                    witness,
                    note,
                    lines,
                },
                oldest,
            ) {
                tracing::warn!("a cosignature is not stored: {error}");
            }
        }
        next
    }

    /// Records that a witness did not answer.
    pub fn witness_failed(&self, witness: &NamedWitness, why: String) {
        self.witnesses
            .failed(witness, why, (self.surroundings.now)());
    }

    /// Adds the known cosignatures to the note of a checkpoint.
    pub fn with_cosignatures(&self, row: CheckpointRow) -> String {
        self.witnesses.cosigned(row.size).unwrap_or(row.note)
    }

    /// Returns the checkpoint for a bundle whose last entry is `index`. This is the checkpoint with the most
    /// cosignatures, or the newest if no checkpoint has cosignatures.
    ///
    /// # Errors
    /// Returns an error if the log can't be read.
    pub fn head_over(&self, index: u64) -> RequestResult<(u64, String)> {
        if let Some(cosigned) = self.witnesses.best(index + 1) {
            return Ok(cosigned);
        }
        // The rows of a commit can be read a moment before its tree.
        let until = Instant::now() + MOST_BEHIND;
        loop {
            let row = self.ledger.checkpoint()?;
            let row = row.ok_or_else(|| fault("the log is empty"))?;
            if row.size > index || Instant::now() >= until {
                return Ok((row.size, row.note));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Returns the body of a request: `old <size>`, the consistency proof with one hash in each line, an empty line and the
/// checkpoint.
fn body(old: u64, path: &[Hash], checkpoint: &str) -> String {
    let mut text = format!("old {old}\n");
    for hash in path {
        text += &STANDARD.encode(hash);
        text.push('\n');
    }
    text.push('\n');
    text += checkpoint;
    text
}

/// Maximum time for which the rows of a commit can be read before its tree.
const MOST_BEHIND: Duration = Duration::from_secs(1);
/// Maximum number of cosigned checkpoints in memory. More than one is needed, because the newest checkpoint may not
/// have its cosignatures yet.
const KEPT_HEADS: usize = 16;
/// Maximum time in seconds to wait for a slow witness before the boundary chooses the next target.
const PATIENCE_S: i64 = 5;
/// Maximum number of consecutive conflicts about the size. A witness with more conflicts counts as faulty.
const MOST_CONFLICTS: u32 = 3;

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;
    use documents::SecretKey;

    const GOLDEN: &str = include_str!("../../../tests/conformance/golden/valid/log/checkpoint");

    fn now() -> Timestamp {
        Timestamp::from_unix(1_800_000_000)
    }

    fn witness(seed: u8) -> (NamedWitness, SecretKey) {
        let secret = SecretKey::from_seed([seed; 32]);
        let key = WitnessKey::new(&format!("w.example/{seed}"), secret.public());
        (
            NamedWitness {
                url: "http://127.0.0.1:1".to_owned(),
                key,
            },
            secret,
        )
    }

    fn row(size: u64) -> CheckpointRow {
        CheckpointRow {
            size,
            root: [0; 32],
            note: GOLDEN.replace("\n6\n", &format!("\n{size}\n")),
        }
    }

    fn log(size: u64) -> LogFacts<'static> {
        LogFacts {
            size,
            vkey: "prod+0+x",
        }
    }

    fn asked(
        witnesses: &Witnesses,
        of: &NamedWitness,
        named: &[NamedWitness],
        size: u64,
    ) -> Option<WitnessRequest> {
        let target = witnesses
            .target(of, named, size, now(), || Ok(Some(row(size))))
            .expect("no fault");
        target.map(|(head, old)| WitnessRequest {
            size: head.size,
            old,
            note: head.note,
            body: String::new(),
        })
    }

    fn line(of: &(NamedWitness, SecretKey), size: u64, at: i64) -> String {
        let note = Note::parse(&row(size).note).expect("note");
        let line = of.0.key.cosign(&note, at.unsigned_abs(), |message| {
            Ok::<_, Infallible>(of.1.sign(message))
        });
        let note = note.with(line.expect("signed")).expect("room").to_string();
        format!("{}\n", note.lines().last().expect("a line"))
    }

    #[test]
    fn every_witness_is_asked_to_cosign_one_checkpoint_before_the_next_checkpoint_is_sent() {
        let witnesses = Witnesses::default();
        let (a, b) = (witness(1), witness(2));
        let named = [a.0.clone(), b.0.clone()];
        let ask = asked(&witnesses, &a.0, &named, 5).expect("something");
        assert_eq!((ask.size, ask.old), (5, 0));
        let at = now().unix();
        assert_eq!(
            witnesses.answered(&a.0, &ask, log(5), 200, line(&a, 5, at).as_bytes(), now()),
            WitnessNext::Cosigned
        );
        assert_eq!(
            asked(&witnesses, &a.0, &named, 9),
            None,
            "the other one comes first"
        );
        assert_eq!(
            asked(&witnesses, &b.0, &named, 9).map(|ask| ask.size),
            Some(5)
        );
        assert_eq!(
            witnesses
                .best(1)
                .map(|(size, note)| (size, note.lines().count())),
            Some((5, 6))
        );
        // The other witnesses do not wait for a witness that failed.
        witnesses.failed(&b.0, "it is down".to_owned(), now());
        assert_eq!(
            asked(&witnesses, &a.0, &named, 9).map(|ask| (ask.size, ask.old)),
            Some((9, 5))
        );
        assert_eq!(witnesses.notes().len(), 1);
        let ask = asked(&witnesses, &b.0, &named, 9).expect("something");
        assert_eq!(
            witnesses.answered(&b.0, &ask, log(9), 200, line(&b, 9, at).as_bytes(), now()),
            WitnessNext::Cosigned
        );
        assert!(witnesses.notes().is_empty());
        assert_eq!(
            witnesses.best(5).map(|(size, _)| size),
            Some(9),
            "of as many the newest"
        );
        assert_eq!(witnesses.best(10), None);
        assert!(witnesses.cosigned(9).is_some() && witnesses.cosigned(8).is_none());
        witnesses.retain(&named[..1], Vec::new());
        assert_eq!(
            witnesses.best(5).map(|(size, _)| size),
            Some(5),
            "who left the roster is no witness"
        );
    }

    #[test]
    fn a_late_answer_of_a_witness_counts_only_if_it_is_correct() {
        let witnesses = Witnesses::default();
        let (slow, quick) = (witness(1), witness(2));
        let named = [slow.0.clone(), quick.0.clone()];
        let at = now().unix();
        let ask = asked(&witnesses, &slow.0, &named, 5).expect("something");
        witnesses.failed(&slow.0, "it is slow".to_owned(), now());
        witnesses.failed(&quick.0, "it is down".to_owned(), now());
        // The boundary already asks all witnesses to cosign the next checkpoint.
        assert_eq!(
            asked(&witnesses, &quick.0, &named, 9).map(|ask| ask.size),
            Some(9)
        );
        for garbage in [
            line(&slow, 9, at),
            line(&slow, 5, at + 3600),
            line(&quick, 5, at),
        ] {
            let next = witnesses.answered(&slow.0, &ask, log(9), 200, garbage.as_bytes(), now());
            assert!(
                matches!(next, WitnessNext::Trouble(_)) && witnesses.notes().len() == 2,
                "{next:?}"
            );
            assert_eq!(witnesses.cosigned(5), None);
        }
        assert_eq!(
            witnesses.answered(
                &slow.0,
                &ask,
                log(9),
                200,
                line(&slow, 5, at).as_bytes(),
                now()
            ),
            WitnessNext::Cosigned
        );
        assert!(
            witnesses
                .cosigned(5)
                .is_some_and(|note| note.contains("w.example/1"))
        );
        assert_eq!(
            asked(&witnesses, &slow.0, &named, 9).map(|ask| (ask.size, ask.old)),
            Some((9, 5))
        );
    }

    #[test]
    fn only_signatures_of_the_rostered_witness_key_count() {
        let witnesses = Witnesses::default();
        let (a, stranger) = (witness(1), witness(2));
        let named = [a.0.clone()];
        let ask = asked(&witnesses, &a.0, &named, 5).expect("something");
        let at = now().unix();
        for (status, body) in [
            (200, line(&stranger, 5, at)),
            (200, line(&a, 6, at)),
            (200, line(&a, 5, at + 3600)),
            (200, line(&a, 5, at).trim_end().to_owned()),
            (200, format!("{}{}", line(&a, 5, at), line(&a, 6, at))),
            (200, String::new()),
            (200, "\u{0}\u{fffd}".to_owned()),
            (409, "none\n".to_owned()),
            (409, "05\n".to_owned()),
            (409, "-5\n".to_owned()),
            (409, "6\n".to_owned()),
            (409, "0\n".to_owned()),
            (422, String::new()),
            (404, String::new()),
            (403, String::new()),
            (302, String::new()),
            (500, line(&a, 5, at)),
        ] {
            let next = witnesses.answered(&a.0, &ask, log(5), status, body.as_bytes(), now());
            assert!(
                matches!(next, WitnessNext::Trouble(_)),
                "{status} {body:?}: {next:?}"
            );
            assert_eq!(witnesses.best(1), None, "{status} {body:?}");
        }
        let more = format!("{}{}", line(&stranger, 5, at), line(&a, 5, at));
        assert_eq!(
            witnesses.answered(&a.0, &ask, log(5), 200, more.as_bytes(), now()),
            WitnessNext::Cosigned
        );
        assert!(
            !witnesses.best(1).expect("a head").1.contains("w.example/2"),
            "a stranger's line is left out"
        );
    }

    #[test]
    fn the_number_of_proofs_sent_after_a_witness_conflict_is_limited() {
        let witnesses = Witnesses::default();
        let a = witness(1);
        let named = [a.0.clone()];
        let mut ask = asked(&witnesses, &a.0, &named, 9).expect("something");
        for size in ["3\n", "4\n", "3\n"] {
            assert_eq!(
                witnesses.answered(&a.0, &ask, log(9), 409, size.as_bytes(), now()),
                WitnessNext::Again
            );
            ask = asked(&witnesses, &a.0, &named, 9).expect("something");
            assert_eq!(format!("{}\n", ask.old), size);
        }
        assert!(matches!(
            witnesses.answered(&a.0, &ask, log(9), 409, b"4\n", now()),
            WitnessNext::Trouble(_)
        ));
        let WitnessNext::Trouble(why) = witnesses.answered(&a.0, &ask, log(9), 409, b"10\n", now())
        else {
            panic!("trouble")
        };
        assert!(why.contains("this store is older"), "{why}");
    }

    #[test]
    fn the_request_body_follows_the_witness_protocol() {
        assert_eq!(body(0, &[], "c\n"), "old 0\n\nc\n");
        assert_eq!(
            body(7, &[[0; 32]], "c\n"),
            format!("old 7\n{}\n\nc\n", STANDARD.encode([0; 32]))
        );
    }
}
