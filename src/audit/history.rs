//! A whole log, read from its first entry: every decision decided again from the state before it.
//!
//! Pure and streaming: entries come in one after the other, what they name is asked for by its digest, and what is kept
//! is what can still decide something: the state in force, denials, nonces until they expire, runs until their receipt.
//! Fetching and keeping are the caller's.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use crate::audit::bundle::warn_of_foreign;
use crate::audit::entry::{EntryParts, LogEntry};
use crate::audit::evidence::{EvidenceFiles, Unreadable};
use crate::audit::finding::{AuditCounts, AuditEvent, Finding, FindingKind, OpenRun, Summary};
use crate::audit::kept::{SavedAudit, SavedSeal};
use crate::audit::ledger::CheckStop;
use crate::audit::report::WitnessFacts;
use crate::audit::runs::Runs;
use crate::audit::sealed::{Rosters, SealFlaw, SealInForce, Seals, verify as verify_seal, versions_of};
use crate::audit::tiles::Tiles;
use crate::audit::witnesses::check_witnesses;
use crate::crypto::digest::{AuthorizationDigest, SealDigest, hex};
use crate::crypto::merkle::Frontier;
use crate::crypto::note::{self, Note};
use crate::decision::place::check_place;
use crate::record::authorization::BoundaryRef;
use crate::record::checkpoint::{Checkpoint, origin};
use crate::record::consumption::Consumption;
use crate::record::denial::{Denial, denied};
use crate::record::document::{Predicate, Statement};
use crate::record::envelope::{Base64, Envelope, EnvelopeSignature, Signed, Verified, VerifyError};
use crate::record::grant::Grant;
use crate::record::later::of_kind;
use crate::record::malformed::Malformed;
use crate::record::receipt::Receipt;
use crate::record::refusal::RefusalStatement;
use crate::record::review::ReviewStatement;
use crate::record::revocation::Revocation;
use crate::record::seal::{FollowedLog, Genesis, Seal};
use crate::record::validity::Timestamp;
use crate::trust::chain::{Chain, Pinned};
use crate::trust::chain_error::ChainError;
use crate::trust::roster::TrustedRoster;

/// What an auditor knows beforehand, besides the trusted roster.
#[derive(Debug, Clone, Default)]
pub struct Expected {
    /// The boundary's id.
    pub boundary: Option<SealDigest>,
    /// Heads of this log that were seen elsewhere.
    pub heads: Vec<SeenHead>,
    /// How many distinct witnesses of the roster must have cosigned the head.
    pub witnesses: u64,
    /// The time now, where runs that should be over by it are to be warned of.
    pub now: Option<Timestamp>,
    /// Excuses nothing by the version of the program that a seal names: what differs is a failure.
    pub no_differences: bool,
}

/// A newer roster is trusted than the log is connected with.
#[derive(Debug, Clone)]
struct LeftTo(String);

/// A signed head of a log that was seen elsewhere, or earlier.
#[derive(Debug, Clone)]
pub struct SeenHead {
    /// The size that it states.
    pub size: u64,
    /// The signed note.
    pub note: String,
    /// Where it was seen, in words.
    pub from: String,
    /// It was verified then, by whoever audits: the key that signed it may be unknown where the end of the log is missing.
    pub verified: bool,
    /// When it was the head, by the clock of whoever saw it.
    pub at: Option<Timestamp>,
}

impl SeenHead {
    /// A note that claims to be a signed head; whether it is one of this log is checked when the log has its size.
    ///
    /// # Errors
    /// When it is no checkpoint at all, or one of nothing.
    pub fn parse(note: &str, from: impl Into<String>) -> Result<Self, String> {
        let read = Note::parse(note).map_err(|error| error.to_string())?;
        let head = Checkpoint::parse(read.unverified_text()).map_err(|error| error.to_string())?;
        // Every log begins with nothing: such a head would agree with each, whoever signed it.
        if head.size == 0 {
            return Err("it is a head of 0 entries, so of no log yet".to_owned());
        }
        Ok(Self { size: head.size, note: note.to_owned(), from: from.into(), verified: false, at: None })
    }

    fn verify(&self, in_force: &SealInForce) -> Result<Checkpoint, String> {
        if !self.verified {
            return verify_head(&self.note, &in_force.boundary, &in_force.roster);
        }
        let note = Note::parse(&self.note).map_err(|error| error.to_string())?;
        let head = Checkpoint::parse(note.unverified_text()).map_err(|error| error.to_string())?;
        of_log(head, &origin(&in_force.boundary.name, &in_force.boundary.id))
    }
}

/// Reads a log and says what does not hold of it.
pub struct Auditor {
    rosters: Rosters,
    expected: Expected,
    tree: Frontier,
    tiles: Tiles,
    /// The first entry that is read.
    from: u64,
    /// The latest time that an entry stated.
    at: Timestamp,
    seals: Seals,
    runs: Runs,
    /// What was denied, for as long as its epoch lasts: an authorization of another one runs no more, whoever denied it.
    /// A denial states no time, and its authorization may be of a later day, so that nothing else lets one be forgotten:
    /// 32 bytes each, of an entry of more than a thousand that an approver signed.
    denials: HashSet<AuthorizationDigest>,
    /// Who cosigned the head.
    witnesses: Vec<WitnessFacts>,
    counts: AuditCounts,
    failures: u64,
    differences: u64,
    said: Vec<AuditEvent>,
    /// The first entry gave no state: then nothing can be judged, and saying so once is enough.
    lost: bool,
    /// The last seal of which it was said that what runs under it is undecided.
    undecided: Option<u64>,
    /// Other versions of the program whose word something was excused by.
    engines: BTreeSet<String>,
    /// The log that this one follows.
    follows: Option<FollowedLog>,
    /// What only a newer roster can tell is left to it.
    left: Option<LeftTo>,
    /// Of each head that was seen elsewhere, the first entry after it that states a time: as times never decrease, no
    /// later one is dated before it.
    after: Vec<Option<(u64, Timestamp)>>,
    /// What is dated before somebody saw the log without it.
    back_dated: Vec<String>,
    /// Heads that were seen elsewhere, and that no key signed which is in force here at their size.
    unsigned: Vec<SeenHead>,
}

/// The versions of the roster that a seal's entry brings, from 1 on; nothing of it is verified. With these of the log's
/// last seal a newer trusted roster can be connected than the first seal names.
///
/// # Errors
/// When the source can't be read.
pub fn rosters_in(entry: &LogEntry, beside: &dyn EvidenceFiles) -> Result<Option<Vec<Envelope>>, Unreadable> {
    let Ok(EntryParts { payload, .. }) = entry.parts() else { return Ok(None) };
    if entry.kind() != Some(Seal::KIND) {
        return Ok(None);
    }
    match Statement::<Seal>::from_payload(payload) {
        Ok(statement) => Ok(versions_of(&statement.predicate, beside)?.ok()),
        Err(_) => Ok(None),
    }
}

impl Auditor {
    /// For a log from its first entry on. `versions` of the roster, from 1 on, must lead to or from the trusted one.
    ///
    /// # Errors
    /// When they don't: then there is nothing to check with.
    pub fn new(trusted: Pinned, versions: &[Envelope], expected: Expected) -> Result<Self, ChainError> {
        let seals = Seals { no_differences: expected.no_differences, ..Seals::default() };
        let after = vec![None; expected.heads.len()];
        Ok(Self {
            rosters: Rosters::connect(trusted, versions)?,
            expected,
            tree: Frontier::default(),
            tiles: Tiles::after(0),
            from: 0,
            at: Timestamp::from_unix(0),
            seals,
            runs: Runs::default(),
            denials: HashSet::new(),
            witnesses: Vec::new(),
            counts: AuditCounts::default(),
            failures: 0,
            differences: 0,
            said: Vec::new(),
            lost: false,
            undecided: None,
            engines: BTreeSet::new(),
            follows: None,
            left: None,
            after,
            back_dated: Vec::new(),
            unsigned: Vec::new(),
        })
    }

    /// Takes back what only the newest roster can establish, as [`crate::audit::bundle::leave_to`] does: `newer` is
    /// trusted too, `from` there, and the log is not connected with it. Witnesses are of the newest roster, so nobody
    /// counts as one.
    pub fn leave_to(&mut self, newer: &TrustedRoster, from: &str) {
        self.left = Some(LeftTo(format!(
            "version {} of the roster ({}, from {from}) is trusted too, and this log is not connected with it: it is of before \
             that version, or of another history; name the roster to decide with (--roster)",
            newer.version(),
            newer.digest()
        )));
    }

    /// Takes an audit up where it was left. That the log still begins as it did shows at the end: the root is worked out
    /// from what was kept and what follows.
    ///
    /// # Errors
    /// When the source can't be read; or, within, why the kept state can't be used: then the log is read from its start.
    pub fn resume(
        trusted: Pinned,
        versions: &[Envelope],
        expected: Expected,
        kept: &SavedAudit,
        beside: &dyn EvidenceFiles,
    ) -> Result<Result<Self, String>, Unreadable> {
        let mut auditor = match Self::new(trusted, versions, expected) {
            Ok(auditor) => auditor,
            Err(error) => return Ok(Err(error.to_string())),
        };
        let Some(tree) = kept.frontier() else { return Ok(Err("its tree is not one of its size".to_owned())) };
        let mut sealed: Vec<Arc<SealInForce>> = Vec::with_capacity(kept.seals.len());
        for SavedSeal { index, entry } in &kept.seals {
            let entry = LogEntry::of(entry.clone().into_bytes());
            let Ok(EntryParts { signatures, payload }) = entry.parts() else {
                return Ok(Err(format!("the seal of entry {index} is not readable in it")));
            };
            let signed = match signed::<Seal>(payload, signatures) {
                Ok(signed) => signed,
                Err(message) => return Ok(Err(message)),
            };
            let again = Seals::again(
                *index,
                entry.data(),
                (payload, signed),
                (kept.boundary, auditor.expected.no_differences),
                &mut auditor.rosters,
                beside,
            )?;
            match again {
                Ok(in_force) => sealed.push(Arc::new(in_force)),
                Err(message) => return Ok(Err(message)),
            }
        }
        auditor.runs = match Runs::resume(kept, &sealed) {
            Ok(runs) => runs,
            Err(message) => return Ok(Err(message)),
        };
        auditor.seals = Seals {
            current: sealed.last().cloned(),
            last: sealed.last().and_then(|seal| seal.state.clone()),
            no_differences: auditor.expected.no_differences,
            past_epochs: kept.past_epochs.iter().cloned().collect(),
            gone_tokens: kept.gone_tokens.iter().cloned().collect(),
        };
        auditor.from = tree.size();
        auditor.tiles = Tiles::after(tree.size());
        auditor.tree = tree;
        auditor.at = kept.at;
        auditor.denials = kept.denials.iter().copied().collect();
        auditor.counts = kept.counts.clone();
        auditor.engines = kept.engines.iter().cloned().collect();
        auditor.follows.clone_from(&kept.follows);
        Ok(Ok(auditor))
    }

    /// How many entries were read, those of an earlier audit included.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.tree.size()
    }

    /// The signed head of another copy of this log, under the key in force at the end of this one.
    ///
    /// # Errors
    /// Why it is none.
    pub fn verify_head(&self, note: &str) -> Result<Checkpoint, String> {
        self.seals
            .current
            .as_ref()
            .map_or_else(|| Err(NO_SEAL.to_owned()), |seal| verify_head(note, &seal.boundary, &seal.roster))
    }

    /// What can verify the head of a longer copy; nothing while the log has no seal.
    #[must_use]
    pub fn later(&self) -> Option<LongerCopy> {
        let in_force = self.seals.current.as_ref()?;
        let (boundary, roster) = (in_force.boundary.clone(), in_force.roster.clone());
        Some(LongerCopy { boundary, roster, rosters: self.rosters.clone() })
    }

    /// What can verify the head of another copy by its own seals, read from its first entry.
    #[must_use]
    pub fn other(&self) -> Option<LongerCopy> {
        let boundary = self.seals.current.as_ref()?.boundary.clone();
        let first = self.rosters().versions().first()?;
        Some(LongerCopy { boundary, roster: Arc::new(first.clone()), rosters: self.rosters.clone() })
    }

    /// Heads that were seen elsewhere, and that no key signed which is in force here at their size.
    pub fn unsigned(&self) -> impl Iterator<Item = &SeenHead> {
        self.unsigned.iter()
    }

    /// The rosters that are known by now.
    #[must_use]
    pub const fn rosters(&self) -> &Chain {
        self.rosters.chain()
    }

    /// Reads the next entry; gives what there is to say about it.
    ///
    /// # Errors
    /// When what it names can't be read.
    pub fn entry(&mut self, entry: &LogEntry, beside: &dyn EvidenceFiles) -> Result<Vec<AuditEvent>, Unreadable> {
        let index = self.tree.size();
        let hash = entry.hash();
        self.tree.append(hash);
        let mut differing = Vec::new();
        self.tiles.append(hash, beside, &mut |finding| differing.push(finding))?;
        differing.into_iter().for_each(|finding| self.say(finding));
        match entry.parts() {
            Err(why) => self.say(Finding::at(FindingKind::Entry, index, why)),
            Ok(parts) => self.document(index, entry, parts, beside)?,
        }
        self.compare_heads();
        Ok(std::mem::take(&mut self.said))
    }

    /// Holds the signed head against what was read, and sums up. Gives what there is still to say.
    ///
    /// # Errors
    /// When a tile can't be read.
    pub fn finish(&mut self, head: &str, beside: &dyn EvidenceFiles) -> Result<(Vec<AuditEvent>, Summary), Unreadable> {
        let mut differing = Vec::new();
        self.tiles.finish(beside, &mut |finding| differing.push(finding))?;
        differing.into_iter().for_each(|finding| self.say(finding));
        self.check_head(head);
        for seen in self.expected.heads.clone() {
            let Some(in_force) = self.seals.current.clone().filter(|_| seen.size > self.size()) else { continue };
            let finding = match seen.verify(&in_force) {
                Ok(_) => {
                    let message = format!(
                        "the log has {} entries, {} is a head of {}: the end is missing",
                        self.size(),
                        seen.from,
                        seen.size
                    );
                    Finding::whole(FindingKind::Cut, message)
                }
                Err(why) => Finding::whole(FindingKind::Checkpoint, format!("{}: {why}", seen.from)),
            };
            self.say(finding);
        }
        self.check_dates();
        for run in self.runs.overdue(self.at) {
            let message = format!(
                "item {} was spent at {}, and has no receipt although the log goes on until {}",
                run.item, run.at, self.at
            );
            self.say(Finding::at(FindingKind::NoReceipt, run.consumption, message).about(run.authorization));
        }
        let summary = self.summary();
        Ok((std::mem::take(&mut self.said), summary))
    }

    /// What to keep, so that a later audit can go on from here; nothing unless everything holds.
    #[must_use]
    pub fn keep(&self, head: &str) -> Option<SavedAudit> {
        let in_force = self.seals.current.as_ref()?;
        let sealed = self.runs.seals(in_force);
        // A state that could not be read is no ground to go on from.
        if self.failures > 0 || sealed.iter().any(|seal| seal.state.is_none()) {
            return None;
        }
        let seals = sealed
            .iter()
            .map(|seal| Some(SavedSeal { index: seal.index, entry: String::from_utf8(seal.entry.to_vec()).ok()? }))
            .collect::<Option<Vec<_>>>()?;
        let mut denials: Vec<_> = self.denials.iter().copied().collect();
        denials.sort_by_key(|digest| *digest.as_bytes());
        Some(SavedAudit {
            version: SavedAudit::VERSION,
            program: SavedAudit::PROGRAM.to_owned(),
            boundary: in_force.boundary.id,
            seen: self.expected.now,
            checkpoint: head.to_owned(),
            size: self.tree.size(),
            tree: self.tree.parts().iter().map(|part| hex(part)).collect(),
            at: self.at,
            seals,
            past_epochs: self.seals.past_epochs.iter().cloned().collect(),
            gone_tokens: self.seals.gone_tokens.iter().cloned().collect(),
            denials,
            counts: self.counts.clone(),
            engines: self.engines.iter().cloned().collect(),
            follows: self.follows.clone(),
            runs: self.runs.keep(),
        })
    }

    fn document(
        &mut self,
        index: u64,
        entry: &LogEntry,
        EntryParts { signatures, payload }: &EntryParts,
        beside: &dyn EvidenceFiles,
    ) -> Result<(), Unreadable> {
        let kind = entry.kind().unwrap_or_default();
        if kind == Seal::KIND {
            return match signed::<Seal>(payload, signatures) {
                Ok(signed) => self.seal(index, entry.data(), payload, signed, beside),
                Err(why) => {
                    self.say(Finding::at(FindingKind::Entry, index, why));
                    Ok(())
                }
            };
        }
        let Some(in_force) = self.seals.current.clone() else {
            if !self.lost {
                let message = "the log does not begin with a seal that holds: nothing after it can be judged";
                self.say(Finding::at(FindingKind::SealChain, index, message));
                self.lost = true;
            }
            return Ok(());
        };
        match kind {
            Consumption::KIND => {
                if let Some(document) = self.of_boundary::<Consumption>(index, payload, signatures, &in_force) {
                    self.time(index, document.predicate().at);
                    self.counts.consumptions += 1;
                    self.counts.spent += document.predicate().spent.len() as u64;
                    let findings =
                        self.runs.consume(index, entry.hash(), document.predicate(), &in_force, &self.denials);
                    findings.into_iter().for_each(|finding| self.say(finding));
                    self.undecided(index, &in_force);
                    self.runs.forget(self.at);
                }
            }
            Receipt::KIND => {
                if let Some(document) = self.of_boundary::<Receipt>(index, payload, signatures, &in_force) {
                    let (decided, findings, under) =
                        self.runs.close(index, &document, &in_force.boundary, self.at, &mut self.counts);
                    if let Some(under) = under {
                        self.excuse(&findings, &under);
                    }
                    findings.into_iter().for_each(|finding| self.say(finding));
                    self.said.extend(decided.map(|line| AuditEvent::Decision(Box::new(line))));
                }
            }
            Denial::KIND => self.denial(index, payload, signatures, &in_force),
            RefusalStatement::KIND => {
                if let Some(document) = self.of_boundary::<RefusalStatement>(index, payload, signatures, &in_force) {
                    let refusal = document.predicate();
                    self.counts.refusals += 1;
                    self.time(index, refusal.at);
                    let here = &in_force.boundary;
                    if refusal.boundary.as_ref().is_some_and(|there| there.id != here.id || there.name != here.name) {
                        self.say(Finding::at(FindingKind::Boundary, index, "a refusal of another boundary"));
                    }
                }
            }
            Grant::KIND | Revocation::KIND | ReviewStatement::KIND => {
                if let Some(what) = of_kind(kind, payload, signatures.len()) {
                    self.say(Finding::at(of_malformed(&what), index, format!("{kind}: {what}")));
                }
            }
            other => {
                let message =
                    format!("an entry of the kind {other:?}, which this version does not know: use a newer one");
                self.say(Finding::at(FindingKind::UnknownKind, index, message));
            }
        }
        Ok(())
    }

    fn seal(
        &mut self,
        index: u64,
        data: &[u8],
        payload: &[u8],
        signed: Signed<Seal>,
        beside: &dyn EvidenceFiles,
    ) -> Result<(), Unreadable> {
        self.counts.seals += 1;
        self.counts.signatures += 1;
        let epoch = self.seals.current.as_ref().map(|seal| seal.boundary.epoch.clone());
        let (seal, flaws) = self.seals.follow(index, data, (payload, signed), &mut self.rosters, beside)?;
        let findings: Vec<_> = flaws
            .into_iter()
            .map(|SealFlaw { what, why, differs }| Finding { differs, ..Finding::at(what, index, why) })
            .collect();
        if let Some(in_force) = self.seals.current.clone() {
            self.excuse(&findings, &in_force);
            if epoch.is_some_and(|epoch| epoch != in_force.boundary.epoch) {
                self.denials = HashSet::new();
            }
        }
        findings.into_iter().for_each(|finding| self.say(finding));
        if let Some(seal) = seal {
            self.time(index, seal.at);
            if let (0, Some(Genesis::Follows { follows })) = (index, seal.genesis) {
                self.follows = Some(follows);
            }
            if index == 0
                && let (Some(expected), Some(in_force)) = (self.expected.boundary, &self.seals.current)
                && expected != in_force.boundary.id
            {
                let message = format!("this is the log of {}, expected {expected}", in_force.boundary.id);
                self.say(Finding::at(FindingKind::Boundary, index, message));
            }
        }
        Ok(())
    }

    /// What differs is excused by the name of the program in the seal alone.
    fn excuse(&mut self, findings: &[Finding], under: &SealInForce) {
        if findings.iter().any(|finding| finding.differs) {
            self.engines.insert(under.engine.to_string());
        }
    }

    /// That a seal can't be read may be this version's fault. That something ran under it nobody can let pass: else whoever
    /// has the boundary's key would seal garbage under another version's name, and run whatever they like.
    fn undecided(&mut self, index: u64, in_force: &SealInForce) {
        if in_force.state.is_none() && self.undecided != Some(in_force.number) {
            self.undecided = Some(in_force.number);
            let message = format!(
                "all that runs under seal number {} is undecided, because what it names could not be read: audit with the \
                 version that it names, {:?}",
                in_force.number, in_force.engine
            );
            self.say(Finding::at(FindingKind::SealedState, index, message));
        }
    }

    fn denial(&mut self, index: u64, payload: &[u8], signatures: &[EnvelopeSignature], in_force: &SealInForce) {
        let signed = match signed::<Denial>(payload, signatures) {
            Ok(signed) => signed,
            Err(why) => return self.say(Finding::at(FindingKind::Entry, index, why)),
        };
        let one = signed.signature_count() == 1;
        self.counts.signatures += 1;
        let document = match signed.verify(|keyid| in_force.roster.approver_of(keyid).map(|(_, key)| key)) {
            Ok(document) => document,
            Err(VerifyError::Malformed(malformed)) => {
                return self.say(Finding::at(of_malformed(&malformed), index, malformed.to_string()));
            }
            Err(error) => return self.say(Finding::at(FindingKind::Denial, index, error.to_string())),
        };
        if !one {
            self.say(Finding::at(FindingKind::Denial, index, "expected the one signature of whoever denies"));
        }
        let here = &in_force.boundary;
        if let Err(error) = check_place(&document.predicate().boundary, &here.name, &here.id, &here.epoch) {
            self.say(Finding::at(FindingKind::Denial, index, error.to_string()));
        }
        let ended = document.signatures().iter().find_map(|signature| {
            let (approver, _) = in_force.roster.approver_of(&signature.keyid)?;
            approver
                .valid_before
                .filter(|end| *end <= self.at)
                .map(|end| format!("{} was no approver any more since {end}", approver.name))
        });
        if let Some(message) = ended {
            self.say(Finding::at(FindingKind::Denial, index, message));
        }
        // Its subject was checked when the document was read.
        if let Ok(authorization) = denied(document.statement()) {
            self.denials.insert(authorization);
            self.counts.denials += 1;
        }
    }

    /// The document of an entry that only the boundary signs, under its key in the roster in force there.
    fn of_boundary<P: Predicate>(
        &mut self,
        index: u64,
        payload: &[u8],
        signatures: &[EnvelopeSignature],
        in_force: &SealInForce,
    ) -> Option<Verified<P>> {
        let verified = signed::<P>(payload, signatures).map_err(|why| (FindingKind::Entry, why)).and_then(|signed| {
            if signed.signature_count() != 1 {
                let message = format!("{} signatures, expected the boundary's one", signed.signature_count());
                return Err((FindingKind::Signature, message));
            }
            let name = &in_force.boundary.name;
            signed.verify_raw(|keyid| in_force.roster.boundary_key(name, keyid)).map_err(|error| match error {
                VerifyError::Malformed(malformed) => (of_malformed(&malformed), malformed.to_string()),
                VerifyError::UnknownSigner { keyid } => {
                    let version = in_force.roster.version();
                    let message = format!(
                        "signed by {keyid}, which version {version} of the roster does not give boundary {name}"
                    );
                    (FindingKind::Signature, message)
                }
                error => (FindingKind::Signature, error.to_string()),
            })
        });
        self.counts.signatures += 1;
        match verified {
            Ok(verified) => Some(verified),
            Err((what, why)) => {
                self.say(Finding::at(what, index, format!("{}: {why}", P::KIND)));
                None
            }
        }
    }

    fn time(&mut self, index: u64, at: Timestamp) {
        if at < self.at {
            self.say(Finding::at(FindingKind::Time, index, format!("dated {at}, after an entry of {}", self.at)));
        }
        self.at = self.at.max(at);
        for (seen, after) in self.expected.heads.iter().zip(&mut self.after) {
            if after.is_none() && seen.size <= index {
                *after = Some((index, at));
            }
        }
    }

    /// The roots of heads that were seen elsewhere, where the log has just come to their size.
    fn compare_heads(&mut self) {
        let size = self.size();
        let Some(in_force) = self.seals.current.clone() else { return };
        let seen: Vec<_> = self.expected.heads.iter().filter(|seen| seen.size == size).cloned().collect();
        for seen in seen {
            let (root, from) = (self.tree.root(), &seen.from);
            match seen.verify(&in_force) {
                Err(why) => {
                    self.say(Finding::whole(FindingKind::Checkpoint, format!("{from}: {why}")));
                    self.unsigned.push(seen);
                }
                Ok(head) if head.root != root => {
                    let message = format!(
                        "its first {size} entries hash to {}, {from} is a head of that size with {}: the boundary showed two \
                         histories, or one of the two copies was changed; keep both heads",
                        hex(&root),
                        hex(&head.root)
                    );
                    self.say(Finding::whole(FindingKind::Fork, message));
                }
                Ok(_) => {}
            }
        }
    }

    fn check_head(&mut self, head: &str) {
        let Some(in_force) = self.seals.current.clone() else {
            self.say(Finding::whole(
                FindingKind::Checkpoint,
                "there is no seal by which the signed head could be judged",
            ));
            return;
        };
        match verify_head(head, &in_force.boundary, &in_force.roster) {
            Err(why) => self.say(Finding::whole(FindingKind::Checkpoint, why)),
            Ok(head) if head.size != self.size() => {
                let message = format!("the signed head is of {} entries, {} were read", head.size, self.size());
                self.say(Finding::whole(FindingKind::Root, message));
            }
            Ok(head) if head.root != self.tree.root() => {
                let message = format!(
                    "the {} entries hash to {}, the signed head says {}: entries were changed, left out, put in or moved",
                    head.size,
                    hex(&self.tree.root()),
                    hex(&head.root)
                );
                self.say(Finding::whole(FindingKind::Root, message));
            }
            Ok(_) => self.check_witnesses(head, &in_force),
        }
    }

    /// What stands after a head that somebody saw can't be of a time before that: whoever has the boundary's key could
    /// else spend what has expired, as long as nothing was logged since. That somebody saw an old copy is the other
    /// explanation, so it is no failure; unless as many witnesses say so as must be believed.
    fn check_dates(&mut self) {
        let Some(in_force) = self.seals.current.clone() else { return };
        let origin = origin(&in_force.boundary.name, &in_force.boundary.id);
        let demanded = usize::try_from(self.expected.witnesses).unwrap_or(usize::MAX);
        for (seen, after) in self.expected.heads.clone().into_iter().zip(self.after.clone()) {
            let Some((entry, at)) = after else { continue };
            let early = |when: Timestamp| at.plus(LATE_S) < when;
            let what = format!("entry {entry} is dated {at}");
            if let Some(when) = seen.at.filter(|when| early(*when)) {
                self.back_dated.push(format!(
                    "{what}, and {} of {when} has no such entry: either an old copy was read then, or the entry was dated back",
                    seen.from
                ));
            }
            let witnesses = Note::parse(&seen.note)
                .ok()
                .filter(|note| Checkpoint::parse(note.unverified_text()).is_ok_and(|head| head.origin == origin));
            let witnesses = witnesses
                .filter(|_| self.left.is_none())
                .and_then(|note| check_witnesses(&note, self.rosters(), &in_force.boundary.name, 0, None).ok())
                .map_or_else(Vec::new, |(seen, _)| seen);
            let words: Vec<_> = witnesses
                .iter()
                .filter(|witness| early(witness.at))
                .map(|witness| format!("{} at {}", witness.name, witness.at))
                .collect();
            let said = format!("{what}, and was not there when witnesses saw {}: {}", seen.from, words.join(", "));
            if demanded > 0 && words.len() >= demanded {
                self.say(Finding::at(FindingKind::Time, entry, said));
            } else if !words.is_empty() {
                self.back_dated.push(said);
            }
        }
    }

    /// Those of the newest roster known, as for a bundle.
    fn check_witnesses(&mut self, head: &str, in_force: &SealInForce) {
        if let Some(LeftTo(why)) = self.left.clone() {
            if self.expected.witnesses > 0 {
                self.say(Finding::whole(FindingKind::Witnesses, why));
            }
            return;
        }
        let Ok(note) = Note::parse(head) else { return };
        let (name, demanded) = (&in_force.boundary.name, self.expected.witnesses);
        match check_witnesses(&note, self.rosters(), name, demanded, None) {
            Ok((seen, _)) => self.witnesses = seen,
            Err(CheckStop::Failed(why)) => self.say(Finding::whole(FindingKind::Witnesses, why)),
            Err(CheckStop::NotChecked(_) | CheckStop::Because(_)) => {}
        }
    }

    fn say(&mut self, finding: Finding) {
        if finding.differs {
            self.differences += 1;
        } else {
            self.failures += 1;
        }
        self.said.push(AuditEvent::Finding(Box::new(finding)));
    }

    /// A copy may be old; but who withholds a receipt need only stop showing the log.
    fn late_by_the_clock(&self) -> Option<String> {
        let now = self.expected.now?;
        let known = self.runs.overdue(self.at).len();
        let late = self.runs.overdue(now);
        let first = late.iter().map(|run| run.at).min().filter(|_| late.len() > known)?;
        let days = now.unix().saturating_sub(first.unix()) / 86_400;
        Some(format!(
            "{} run(s) without a receipt must be over by the clock of this machine, the first was spent {days} day(s) ago: audit \
             a newer copy; if there is none with their receipts, these were withheld",
            late.len()
        ))
    }

    fn summary(&self) -> Summary {
        let in_force = self.seals.current.as_deref();
        let mut warnings = Vec::new();
        // As in a bundle: every link since the trusted version, and the one in force.
        let unguarded: BTreeSet<u64> = (self.rosters().unguarded())
            .chain(in_force.map(|seal| &*seal.roster).filter(|roster| !roster.is_guarded()))
            .map(TrustedRoster::version)
            .collect();
        for version in unguarded {
            warnings.push(format!(
                "version {version} of the roster is unguarded (threshold 0): whoever runs the boundary can replace it"
            ));
        }
        let foreign: BTreeSet<String> =
            self.rosters().versions().iter().flat_map(TrustedRoster::foreign_keys).map(warn_of_foreign).collect();
        warnings.extend(foreign);
        warnings.extend(self.left.iter().map(|LeftTo(why)| why.clone()));
        if let Some(follows) = &self.follows {
            let head = SeenHead::parse(&follows.checkpoint, "").map_or_else(
                |why| format!("what it gives as its last known head is none: {why}"),
                |head| format!("its last known head is of {} entries", head.size),
            );
            warnings.push(format!(
                "this log follows that of {} ({head}), which a restore or an upgrade closed and which is not audited here: audit that \
                 one too (`countersign audit` of its directory in closed/ of the boundary's, of a backup, or of what `log export \
                 --from` wrote; a log of version 0.1.0 with that program), and hold it against the head in `follows` of the \
                 summary (--json)",
                follows.id
            ));
        }
        if !self.engines.is_empty() {
            let engines: Vec<_> = self.engines.iter().map(|engine| format!("{engine:?}")).collect();
            warnings.push(format!(
                "what differs is no failure only by the boundary's word that {} decided it: audit with that version too, or \
                 with --no-differences",
                engines.join(", ")
            ));
        }
        let open: Vec<OpenRun> = self.runs.open().collect();
        if let Some(until) = self.runs.open_until() {
            warnings.push(format!(
                "{} run(s) have no receipt yet: they ran when the log was read, or it was cut there; the last may go on until \
                 {until}, by the limits that the boundary sealed",
                open.len()
            ));
        }
        warnings.extend(self.late_by_the_clock());
        warnings.extend(self.back_dated.iter().cloned());
        if let Some(now) = self.expected.now.filter(|now| now.plus(LATE_S) < self.at) {
            warnings.push(format!(
                "the log is dated until {}, and by the clock of this machine it is {now}: one of the two is wrong, or \
                 something was run before its time",
                self.at
            ));
        }
        Summary {
            clean: self.failures == 0,
            name: in_force.map(|seal| seal.boundary.name.clone()),
            boundary: in_force.map(|seal| seal.boundary.id),
            entries: self.size(),
            from: self.from,
            until: self.at,
            roster: in_force.map(|seal| seal.roster.version()),
            trusted: self.rosters.trusted(),
            witnesses: self.witnesses.clone(),
            counts: self.counts.clone(),
            open,
            failures: self.failures,
            differences: self.differences,
            not_checked: self.runs.unchecked(),
            engines: self.engines.iter().cloned().collect(),
            follows: self.follows.clone(),
            rests_on: RESTS_ON.map(str::to_owned).to_vec(),
            not_shown: NOT_SHOWN.map(str::to_owned).to_vec(),
            warnings,
        }
    }
}

/// Follows the boundary's keys through the seals of another copy, and verifies its head. Nothing else of
/// these entries is judged.
#[derive(Debug)]
pub struct LongerCopy {
    boundary: BoundaryRef,
    roster: Arc<TrustedRoster>,
    rosters: Rosters,
}

impl LongerCopy {
    /// Takes the next entry of the longer copy.
    ///
    /// # Errors
    /// When what it names can't be read.
    pub fn entry(&mut self, entry: &LogEntry, beside: &dyn EvidenceFiles) -> Result<(), Unreadable> {
        let Ok(EntryParts { signatures, payload }) = entry.parts() else { return Ok(()) };
        if entry.kind() != Some(Seal::KIND) {
            return Ok(());
        }
        let Ok(signed) = signed::<Seal>(payload, signatures) else { return Ok(()) };
        if let Ok((seal, roster)) = verify_seal(payload, signed, &mut self.rosters, beside)?
            && seal.predicate().boundary.id == Some(self.boundary.id)
            && seal.predicate().boundary.name == self.boundary.name
            && roster.version() >= self.roster.version()
        {
            self.roster = roster;
        }
        Ok(())
    }

    /// The signed head, under the key in force there.
    ///
    /// # Errors
    /// Why it is none.
    pub fn verify_head(&self, note: &str) -> Result<Checkpoint, String> {
        verify_head(note, &self.boundary, &self.roster)
    }
}

const NO_SEAL: &str = "the log has no seal";

/// What a clean audit stands on, whoever ran the boundary.
const RESTS_ON: [&str; 4] = [
    "the roster that you trust: who may approve, and which keys are the boundary's",
    "the approvers' signatures: that each run was approved as it was run, at most once, by people who may",
    "the hashes: that these entries, in this order, are the log of the signed head",
    "the boundary's word: times, who handed an approval in, what a step did and printed, how its sandbox was held",
];

/// How much later than its date an entry may be seen: clocks differ, and a witness is asked a moment afterwards.
const LATE_S: i64 = 600;

/// What no single copy of a log can show.
const NOT_SHOWN: [&str; 4] = [
    "an end that was cut off: keep the state of each audit (--state), or have witnesses",
    "another history that was shown to others: compare with their copy (--against)",
    "runs outside the boundary: nothing of them is in its log",
    "what the boundary never logged: a denial that it withheld shows to whoever signed it",
];

/// The signed head of the log of this boundary, under a key of the roster in force at its end.
fn verify_head(head: &str, boundary: &BoundaryRef, roster: &TrustedRoster) -> Result<Checkpoint, String> {
    let note = Note::parse(head).map_err(|error| error.to_string())?;
    let name = &boundary.name;
    let origin = origin(name, &boundary.id);
    let mut text = None;
    for key in roster.boundary_keys(name) {
        match note::verify_note(&note, &origin, key.public()) {
            Ok(verified) => text = Some(verified.as_str()),
            Err(note::NoteError::NotSignedBy(_)) => {}
            Err(error) => return Err(error.to_string()),
        }
    }
    let version = roster.version();
    let text = text.ok_or_else(|| {
        format!("the head is not signed for the log {origin} by a key that version {version} of the roster gives boundary {name}")
    })?;
    of_log(Checkpoint::parse(text).map_err(|error| error.to_string())?, &origin)
}

fn of_log(head: Checkpoint, origin: &str) -> Result<Checkpoint, String> {
    if head.origin == origin { Ok(head) } else { Err(format!("a head of the log {}, expected {origin}", head.origin)) }
}

/// The word for a document that this version does not take.
const fn of_malformed(malformed: &Malformed) -> FindingKind {
    if malformed.later { FindingKind::LaterFeature } else { FindingKind::Entry }
}

fn signed<P: Predicate>(payload: &[u8], signatures: &[EnvelopeSignature]) -> Result<Signed<P>, String> {
    Signed::from_parts(payload, signatures, Base64::Strict).map_err(|error| error.to_string())
}
