//! Audits a whole log from its first entry, and repeats every decision of the boundary.
//!
//! The audit does no I/O. The caller passes the entries one after the other and supplies the blobs by their digests.
//! The audit remembers only the data that can still affect a decision, for example the state in force, denials, runs
//! until their receipts, and each nonce and each proposal until its end. The caller stores the state between two audits.
//!
//! The file also verifies the signed head of another copy of the audited log.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    fmt::Display,
    sync::Arc,
};

use crate::{
    AuditCounts, AuditEvent, Chain, ChainError, EntryParts, EvidenceFiles, Finding, FindingKind,
    LogEntry, Pinned, Revocations, Rosters, Runs, SealInForce, Seals, SeenHead, Summary, Tiles,
    TrustedRoster, Unreadable, WitnessFacts,
    audit::{logged_authorization::LoggedAuthorization, seal_in_force::verify as verify_seal},
    verify_head,
};
use documents::{
    Authorization, AuthorizationDigest, BlobDigest, BoundaryRef, Carrier, Checkpoint, Consumption,
    FollowedLog, Frontier, Genesis, Grant, KeyId, LeafKind, Predicate, ProgramList, Receipt,
    RefusalStatement, RosterVersion, Seal, SealDigest, Signed, StatementKind, Timestamp,
};

mod denials;
mod heads;
mod resume;
mod reviews;
mod revocation_entries;
mod summary;

/// Requirements of an auditor. The trusted roster is not one of these requirements.
#[derive(Clone, Default)]
pub struct Expected {
    /// Id of the boundary.
    pub boundary: Option<SealDigest>,
    /// Checkpoints of this log that were seen elsewhere.
    pub heads: Vec<SeenHead>,
    /// Number of distinct witnesses of the roster that must have cosigned the checkpoint.
    pub witnesses: u64,
    /// Current time. If the field is set, the audit warns about runs that have no receipt and must have ended before
    /// this time.
    pub now: Option<Timestamp>,
    /// True if every difference counts as a failure, even under a seal of another program version.
    pub no_differences: bool,
}

/// Audits a log and reports the findings.
pub struct Auditor {
    rosters: Rosters,
    expected: Expected,
    tree: Frontier,
    tiles: Tiles,
    /// Index of the first entry that this audit reads.
    from: u64,
    /// Lists of programs that were read last.
    lists: HashMap<BlobDigest, ProgramList>,
    /// Latest time that an entry stated.
    at: Timestamp,
    seals: Seals,
    runs: Runs,
    /// Denied authorizations of the current epoch, 32 bytes each. A denial states no time. A denial can be dropped
    /// only when a new epoch voids the denied authorization.
    denials: HashSet<AuthorizationDigest>,
    revocations: Revocations,
    /// Witnesses that cosigned the checkpoint.
    witnesses: Vec<WitnessFacts>,
    counts: AuditCounts,
    failures: u64,
    differences: u64,
    said: Vec<AuditEvent>,
    /// True if the log does not begin with a valid seal and the audit has already reported this.
    lost: bool,
    /// Number of the last seal for which the audit reported that the runs under the seal are undecided.
    undecided: Option<u64>,
    /// Program versions that the seals name and that explain why a difference is not a failure.
    engines: BTreeSet<String>,
    /// Previous log of the boundary, if this log continues another log.
    follows: Option<FollowedLog>,
    /// Message about a newer trusted roster, if the log is not connected with this roster.
    left: Option<String>,
    /// For each checkpoint from another source: index and time of the first entry that follows the checkpoint and
    /// states a time. Times in a log never decrease, so all following entries have this time or a later time.
    after: Vec<Option<(u64, Timestamp)>>,
    /// Number of checkpoints from other sources for which `after` is set. The checkpoints are sorted by size, and these
    /// are the smallest.
    followed: usize,
    /// Warnings about back-dated entries. An entry is back-dated if a checkpoint from another source does not cover the
    /// entry, although the entry states an earlier time than the checkpoint.
    back_dated: Vec<String>,
    /// Checkpoints from other sources whose signatures could not be verified.
    unsigned: Vec<SeenHead>,
}

impl Auditor {
    /// Creates an auditor that reads a log from its first entry. `versions` contains the versions of the log's roster,
    /// starting with version 1.
    ///
    /// # Errors
    /// Returns an error if the versions are not connected with the trusted roster.
    pub fn new(
        trusted: Pinned,
        versions: &[RosterVersion],
        mut expected: Expected,
    ) -> Result<Self, ChainError> {
        let seals = Seals {
            no_differences: expected.no_differences,
            ..Seals::default()
        };
        expected.heads.sort_by_key(|seen| seen.size);
        let after = vec![None; expected.heads.len()];
        Ok(Self {
            rosters: Rosters::connect(&trusted, versions)?,
            expected,
            tree: Frontier::default(),
            tiles: Tiles::after(0),
            from: 0,
            lists: HashMap::new(),
            at: Timestamp::from_unix(0),
            seals,
            runs: Runs::default(),
            denials: HashSet::new(),
            revocations: Revocations::default(),
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
            followed: 0,
            back_dated: Vec::new(),
            unsigned: Vec::new(),
        })
    }

    /// Sets each result that only the newest roster can establish to *not checked*, as
    /// [`crate::audit::newer_roster::leave_to`] does. `newer` is a trusted roster that was found in `from` and is not
    /// connected with the log. No witness counts after this call, because the newest roster names the witnesses.
    pub fn leave_to(&mut self, newer: &TrustedRoster, from: &str) {
        self.left = Some(format!(
            "version {} of the roster ({}, from {from}) is trusted too, but this log is not connected with this \
             version: the log is older than the version, or has another history; give the missing versions with \
             --roster, or only the roster to use",
            newer.version(),
            newer.digest()
        ));
    }

    /// Returns the number of entries that this audit and earlier audits of this state have read.
    pub fn size(&self) -> u64 {
        self.tree.size()
    }

    /// Verifies the checkpoint of another copy of this log. The function uses the keys that the boundary has at the end
    /// of the audited copy.
    ///
    /// # Errors
    /// Returns the reason why the checkpoint is not valid.
    pub fn verify_head(&self, note: &str) -> Result<Checkpoint, String> {
        self.seals.current.as_ref().map_or_else(
            || Err(NO_SEAL.to_owned()),
            |seal| verify_head(note, &seal.boundary, &seal.roster),
        )
    }

    /// Returns a verifier for the checkpoint of a longer copy, or `None` if the log has no seal yet.
    pub fn later(&self) -> Option<LongerCopy> {
        let in_force = self.seals.current.as_ref()?;
        let (boundary, roster) = (in_force.boundary.clone(), in_force.roster.clone());
        Some(LongerCopy {
            boundary,
            roster,
            rosters: self.rosters.clone(),
        })
    }

    /// Returns a verifier for the checkpoint of another copy. The verifier must read that copy from its first entry.
    pub fn other(&self) -> Option<LongerCopy> {
        let boundary = self.seals.current.as_ref()?.boundary.clone();
        let first = self.rosters().version(1)?;
        Some(LongerCopy {
            boundary,
            roster: Arc::new(first),
            rosters: self.rosters.again(),
        })
    }

    /// Returns the checkpoints from other sources that no key of the boundary verifies.
    pub fn unsigned(&self) -> impl Iterator<Item = &SeenHead> {
        self.unsigned.iter()
    }

    /// Returns the roster versions that are known so far.
    pub fn rosters(&self) -> &Chain {
        self.rosters.chain()
    }

    /// Reads the next entry and returns the findings and decisions about the entry.
    ///
    /// # Errors
    /// Returns an error if a file that the entry names can't be read.
    pub fn entry(
        &mut self,
        entry: &LogEntry,
        beside: &dyn EvidenceFiles,
    ) -> Result<Vec<AuditEvent>, Unreadable> {
        let index = self.tree.size();
        let hash = entry.hash();
        self.tree.append(hash);
        let differing = self.tiles.append(hash, beside)?;
        self.say_all(differing);
        if !matches!(entry.kind(), Some(Authorization::KIND | Consumption::KIND)) {
            let unnamed = self.runs.unnamed(0);
            self.say_all(unnamed);
        }
        match entry.parts() {
            Err(why) => self.find(FindingKind::Entry, index, why),
            Ok(parts) => self.document(index, entry, parts, beside)?,
        }
        self.compare_heads();
        Ok(std::mem::take(&mut self.said))
    }

    /// Compares the signed checkpoint with the entries, and returns the remaining findings and the summary.
    ///
    /// # Errors
    /// Returns an error if a tile can't be read.
    pub fn finish(
        &mut self,
        head: &str,
        beside: &dyn EvidenceFiles,
    ) -> Result<(Vec<AuditEvent>, Summary), Unreadable> {
        let differing = self.tiles.finish(beside)?;
        self.say_all(differing);
        self.check_head(head);
        for seen in self.expected.heads.clone() {
            let Some(in_force) = self
                .seals
                .current
                .clone()
                .filter(|_| seen.size > self.size())
            else {
                continue;
            };
            let finding = match seen.verify(&in_force) {
                Ok(_) => {
                    let message = format!(
                        "the log has {} entries, but {} is a head of {} entries: the end of the log is missing",
                        self.size(),
                        seen.from,
                        seen.size
                    );
                    Finding::whole(FindingKind::Cut, message)
                }
                Err(why) => {
                    Finding::whole(FindingKind::Checkpoint, format!("{}: {why}", seen.from))
                }
            };
            self.say(finding);
        }
        self.check_dates();
        for run in self.runs.overdue(self.at) {
            let message = format!(
                "item {} of the consumption was spent at {} and has no receipt, although the log continues until {}",
                run.item, run.at, self.at
            );
            self.say(
                Finding::at(FindingKind::NoReceipt, run.consumption, message)
                    .about(run.authorization),
            );
        }
        let summary = self.summary();
        Ok((std::mem::take(&mut self.said), summary))
    }

    fn document(
        &mut self,
        index: u64,
        entry: &LogEntry,
        parts: &EntryParts,
        beside: &dyn EvidenceFiles,
    ) -> Result<(), Unreadable> {
        let kind = entry.kind().unwrap_or_default();
        if kind == Seal::KIND {
            return match parts.signed::<Seal>() {
                Ok(signed) => self.seal(index, entry.data(), &parts.payload, signed, beside),
                Err(why) => {
                    self.find(FindingKind::Entry, index, why);
                    Ok(())
                }
            };
        }
        let Some(in_force) = self.seals.current.clone() else {
            if !self.lost {
                let message =
                    "the log does not begin with a valid seal, so no entry can be checked";
                self.find(FindingKind::SealChain, index, message);
                self.lost = true;
            }
            return Ok(());
        };
        let known = StatementKind::of(kind).map(|kind| kind.carrier);
        let Some(Carrier::Log(leaf)) = known else {
            let message = format!(
                "the entry has the kind {kind:?}, which this version does not know: use a newer version"
            );
            self.find(FindingKind::UnknownKind, index, message);
            return Ok(());
        };
        match leaf {
            // The function has already read each seal.
            LeafKind::Seal => {}
            LeafKind::Consumption => {
                if let Some(document) = self.of_boundary::<Consumption>(index, parts, &in_force) {
                    self.time(index, document.predicate().at);
                    self.counts.consumptions += 1;
                    self.counts.spent += document.predicate().spent.len() as u64;
                    let (place, revoked) = ((index, entry.hash()), self.revocations.before(index));
                    let findings =
                        self.runs
                            .consume(place, &document, &in_force, &self.denials, revoked);
                    self.say_all(findings);
                    self.undecided(index, &in_force);
                    self.runs.forget(self.at);
                }
            }
            LeafKind::Authorization => match LoggedAuthorization::of(index, entry) {
                Ok(mut authorization) => {
                    if let Err(why) = authorization.add_programs(&mut self.lists, beside)? {
                        self.find(FindingKind::Entry, index, why);
                    }
                    let unnamed = self.runs.authorize(authorization);
                    self.say_all(unnamed);
                }
                Err(why) => self.find(FindingKind::Entry, index, why),
            },
            LeafKind::Receipt => {
                if let Some(document) = self.of_boundary::<Receipt>(index, parts, &in_force) {
                    let (decided, findings, under) = self.runs.close(
                        index,
                        &document,
                        &in_force.boundary,
                        &self.revocations,
                        &mut self.counts,
                    );
                    if let Some(under) = under {
                        self.excuse(&findings, &under);
                    }
                    self.say_all(findings);
                    self.said
                        .extend(decided.map(|line| AuditEvent::Decision(Box::new(line))));
                }
            }
            LeafKind::Denial => self.denial(index, parts, &in_force),
            LeafKind::Revocation => self.revocation(index, parts, &in_force),
            LeafKind::Review => self.review(index, parts, &in_force),
            LeafKind::Grant => match parts.signed::<Grant>() {
                Err(why) => self.find(FindingKind::Grant, index, why),
                Ok(signed) => {
                    self.counts.signatures += signed.signature_count() as u64;
                    match self.runs.grants.add(
                        index,
                        (entry.data(), &parts.payload, signed),
                        &in_force,
                    ) {
                        Ok(()) => self.counts.grants += 1,
                        Err(why) => self.find(FindingKind::Grant, index, why),
                    }
                }
            },
            LeafKind::Refusal => {
                if let Some(document) =
                    self.of_boundary::<RefusalStatement>(index, parts, &in_force)
                {
                    self.check_signer(index, document.keyids());
                    let refusal = document.predicate();
                    self.counts.refusals += 1;
                    self.time(index, refusal.at);
                    let here = &in_force.boundary;
                    if refusal
                        .boundary
                        .as_ref()
                        .is_some_and(|there| there.id != here.id || there.name != here.name)
                    {
                        self.find(
                            FindingKind::Boundary,
                            index,
                            "the refusal belongs to another boundary",
                        );
                    }
                }
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
        let before = self.seals.current.clone();
        let signers: Vec<KeyId> = signed.claimed().copied().collect();
        let (seal, findings) =
            self.seals
                .follow(index, data, (payload, signed), &mut self.rosters, beside)?;
        if let Some(in_force) = self.seals.current.clone() {
            self.excuse(&findings, &in_force);
            if before
                .as_ref()
                .is_some_and(|before| before.boundary.epoch != in_force.boundary.epoch)
            {
                self.denials = HashSet::new();
            }
        }
        self.say_all(findings);
        if let Some(seal) = seal {
            self.check_signer(index, &signers);
            self.check_roster_signers(index, &seal, before.as_deref(), beside)?;
            self.time(index, seal.at);
            if let (0, Some(Genesis::Follows { follows })) = (index, seal.genesis) {
                self.follows = Some(follows);
            }
            if index == 0
                && let (Some(expected), Some(in_force)) =
                    (self.expected.boundary, &self.seals.current)
                && expected != in_force.boundary.id
            {
                let message = format!(
                    "this is the log of boundary {}, but the expected boundary is {expected}",
                    in_force.boundary.id
                );
                self.find(FindingKind::Boundary, index, message);
            }
        }
        Ok(())
    }

    /// Records the program version of a seal, if one of the findings is explained by that version.
    fn excuse(&mut self, findings: &[Finding], under: &SealInForce) {
        if findings.iter().any(|finding| finding.differs) {
            self.engines.insert(under.engine.to_string());
        }
    }

    /// Reports that the runs under an unreadable seal are undecided. The report counts as a failure, although another
    /// program version may be able to read the seal. Otherwise the holder of the boundary's key could seal unreadable
    /// data, name another program version in the seal, and run anything.
    fn undecided(&mut self, index: u64, in_force: &SealInForce) {
        if in_force.state.is_none() && self.undecided != Some(in_force.number) {
            self.undecided = Some(in_force.number);
            let message = format!(
                "all runs under seal number {} are undecided, because a document that the seal names could not be \
                 read: audit \
                 with the program version that the seal names, {:?}",
                in_force.number, in_force.engine
            );
            self.find(FindingKind::SealedState, index, message);
        }
    }

    fn time(&mut self, index: u64, at: Timestamp) {
        if at < self.at {
            self.find(
                FindingKind::Time,
                index,
                format!(
                    "the entry is dated {at}, but an earlier entry is dated {}",
                    self.at
                ),
            );
        }
        self.at = self.at.max(at);
        self.runs.used.forget(self.at);
        while self
            .expected
            .heads
            .get(self.followed)
            .is_some_and(|seen| seen.size <= index)
        {
            self.after[self.followed] = Some((index, at));
            self.followed += 1;
        }
    }

    fn find(&mut self, what: FindingKind, entry: u64, why: impl Display) {
        self.say(Finding::at(what, entry, why));
    }

    fn find_whole(&mut self, what: FindingKind, why: impl Display) {
        self.say(Finding::whole(what, why));
    }

    fn say_all(&mut self, findings: Vec<Finding>) {
        findings.into_iter().for_each(|finding| self.say(finding));
    }

    fn say(&mut self, finding: Finding) {
        if finding.differs {
            self.differences += 1;
        } else {
            self.failures += 1;
        }
        self.said.push(AuditEvent::Finding(Box::new(finding)));
    }
}

const NO_SEAL: &str = "the log has no seal";

/// Tolerance in seconds for comparing the time of an entry with the clock of a witness or of this machine. The clocks
/// can differ, and a witness cosigns a short time after the entry.
pub const LATE_S: i64 = 600;

/// Verifies the checkpoint of another copy of the log. The seals of the other copy name the keys of the boundary. Only
/// seals are checked.
pub struct LongerCopy {
    pub(super) boundary: BoundaryRef,
    pub(super) roster: Arc<TrustedRoster>,
    pub(super) rosters: Rosters,
}

impl LongerCopy {
    /// Reads the next entry of the other copy.
    ///
    /// # Errors
    /// Returns an error if a file that the entry names can't be read.
    pub fn entry(
        &mut self,
        entry: &LogEntry,
        beside: &dyn EvidenceFiles,
    ) -> Result<(), Unreadable> {
        let Ok(parts) = entry.parts() else {
            return Ok(());
        };
        if entry.kind() == Some(Seal::KIND)
            && let Ok(signed) = parts.signed()
            && let Ok((seal, roster)) = verify_seal(&parts.payload, signed, |claimed| {
                self.rosters.named_by(claimed, beside)
            })?
            && seal.predicate().boundary.id == Some(self.boundary.id)
            && seal.predicate().boundary.name == self.boundary.name
            && roster.version() >= self.roster.version()
        {
            self.roster = roster;
        }
        Ok(())
    }

    /// Verifies the checkpoint of the other copy with the keys that the boundary has at the end of this copy.
    ///
    /// # Errors
    /// Returns the reason why the checkpoint is not valid.
    pub fn verify_head(&self, note: &str) -> Result<Checkpoint, String> {
        verify_head(note, &self.boundary, &self.roster)
    }
}
