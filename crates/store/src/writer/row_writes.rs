//! The rows that the writer adds, changes and deletes:
//!
//! - new proposals, their signatures, and changes of their status
//! - standing grants, and the claims of their uses
//! - denials, and the limit on denials of unknown authorizations
//! - reviews and revocations
//! - the last event that each target of messages got
//! - deletions: nonces that have expired, and rows whose retention has ended

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use crate::{
    AdvanceStop, Batch, ConsumeStop, DenialPrecedent, DenialResult, DenialWrite, DenialsAhead,
    EntryEvent, EventFact, GrantClaim, GrantWrite, LeafRef, NewProposal, Proposal,
    ProposalPrecedent, ProposalStatus, ProposalStep, ProposeResult, PruneResult, Retention,
    RetentionCut, Retired, ReviewWrite, RevocationResult, RevocationWrite, Signature, SpentUse,
    StepRow, StoreResult, StoredGrant, StoredRevocation, Telling, TokenChange, UNSIGNED_KEPT_S,
    WriteStop, Writer,
    batch_rows::{DenialRow, SignatureRow},
    change_tokens,
    rare_changes::{expire, prune, retire},
    stored::may_become,
    stored::{MOST_DRAFTS, MOST_DRAFTS_OF_PROPOSER},
    stored_event::EVENTS_KEPT_S,
    writer::messages::AHEAD_S,
};
use documents::{ContentDigest, LeafKind, ProposalId, RevokedSubject, Timestamp};

/// Maximum number of proposals that one call marks as expired, so that runs do not wait for long.
const MAX_EXPIRED: usize = 256;

impl Writer {
    pub fn propose<'m>(
        &mut self,
        batch: &mut Batch<'m>,
        new: &'m NewProposal,
        precedent: ProposalPrecedent,
    ) -> ProposeResult {
        let earlier = &batch.writes.proposals;
        let taken = precedent.taken.or_else(|| {
            let taken = |earlier: &&&NewProposal| {
                earlier.core.id == new.core.id
                    || new.chosen_nonce && earlier.core.nonce == new.core.nonce
            };
            earlier
                .iter()
                .find(taken)
                .map(|earlier| earlier.as_pending())
        });
        if let Some(taken) = taken {
            let same = taken.request == Some(new.request)
                && taken.core.proposer == new.core.proposer
                && taken.core.nonce == new.core.nonce;
            return if same {
                ProposeResult::Same(Box::new(taken))
            } else {
                ProposeResult::Conflict(Box::new(taken))
            };
        }
        let of_batch = earlier
            .iter()
            .rev()
            .filter(|earlier| earlier.core.proposer == new.core.proposer);
        let newest = of_batch
            .map(|earlier| earlier.as_pending())
            .chain(precedent.newest)
            .map(|found| {
                match batch
                    .states
                    .get(&found.core.id)
                    .filter(|state| state.status != found.status)
                {
                    // This batch changed the status.
                    Some(state) => Proposal {
                        status: state.status,
                        ended_at: Some(new.created_at()),
                        ..found
                    },
                    None => found,
                }
            });
        if let Some(repeated) = new.repeated(newest) {
            return ProposeResult::Same(Box::new(repeated));
        }
        let of_proposer = earlier
            .iter()
            .filter(|earlier| earlier.core.proposer == new.core.proposer)
            .count() as u64;
        let of_all = earlier.len() as u64;
        let limits = self.config.limits;
        if precedent.unsigned >= limits.unsigned_of_proposer
            && let Some(first) = precedent.unsigned_first
        {
            let until = first.plus(UNSIGNED_KEPT_S);
            return ProposeResult::TooManyKept {
                most: limits.unsigned_of_proposer,
                until,
            };
        }
        if precedent.of_proposer + of_proposer >= limits.of_proposer {
            return ProposeResult::TooMany {
                most: limits.of_proposer,
                of_proposer: true,
            };
        }
        if precedent.of_all + of_all >= limits.of_all {
            return ProposeResult::TooMany {
                most: limits.of_all,
                of_proposer: false,
            };
        }
        batch.writes.proposals.push(new);
        batch.changed(&new.core.id, ProposalStatus::Pending, new.created_at());
        ProposeResult::New
    }

    pub fn expire(
        &mut self,
        batch: &mut Batch<'_>,
        now: Timestamp,
    ) -> StoreResult<Vec<ProposalId>> {
        let expired = expire(self.store.batch()?, now, MAX_EXPIRED)?;
        batch.stepped |= !expired.is_empty();
        for id in &expired {
            batch.changed(id, ProposalStatus::Expired, now);
        }
        Ok(expired)
    }

    pub fn advance<'m>(
        &mut self,
        batch: &mut Batch<'m>,
        advance: &'m ProposalStep,
    ) -> Result<ProposalStatus, AdvanceStop> {
        let status = batch
            .states
            .get(&advance.proposal)
            .ok_or(AdvanceStop::Unknown)?
            .status;
        let asked = advance.from.is_empty() || advance.from.contains(&status);
        // Only `consume` can start a run, and only `finish` can end a run.
        let elsewhere = matches!(
            advance.to,
            ProposalStatus::Running | ProposalStatus::Finished
        );
        if !asked || elsewhere || !may_become(status, advance.to) {
            return Err(AdvanceStop::WrongState(status));
        }
        let ProposalStep {
            proposal,
            to,
            at,
            detail,
            ..
        } = advance;
        batch.writes.steps.push(StepRow {
            proposal: proposal.clone(),
            to: *to,
            at: *at,
            detail,
        });
        batch.changed(proposal, *to, *at);
        if *to == ProposalStatus::Cancelled {
            self.head.version += 1;
        }
        Ok(status)
    }
}

impl<'m> Batch<'m> {
    /// Adds new signatures to the `stored` signatures, at most one signature for each key. A signature of a person
    /// makes an event. Returns all signatures of the proposal.
    pub fn sign(
        &mut self,
        id: &'m ProposalId,
        new: &'m [Signature],
        by_people: bool,
        mut stored: Vec<Signature>,
    ) -> Result<Vec<Signature>, AdvanceStop> {
        let status = self.states.get(id).ok_or(AdvanceStop::Unknown)?.status;
        if !status.waits() {
            return Err(AdvanceStop::WrongState(status));
        }
        let earlier = self
            .writes
            .signatures
            .iter()
            .filter(|row| row.proposal == id);
        stored.extend(earlier.map(|row| row.signature.clone()));
        for signature in new {
            if stored.iter().all(|stored| stored.keyid != signature.keyid) {
                self.writes.signatures.push(SignatureRow {
                    proposal: id,
                    number: stored.len(),
                    signature,
                });
                if by_people {
                    self.event(
                        signature.at,
                        EventFact::Signed(id.clone(), signature.person.clone(), signature.keyid),
                    );
                }
                stored.push(signature.clone());
            }
        }
        Ok(stored)
    }
}

impl Writer {
    /// Stores a draft with its signatures, or logs a grant. A grant of the log never changes.
    pub fn grant(
        &mut self,
        batch: &mut Batch<'_>,
        write: &GrantWrite,
    ) -> Result<StoredGrant, WriteStop> {
        self.check_sealed()?;
        // Grants are rare, so the writer may read outside of its batch here, with a connection of the readers.
        let earlier = batch
            .writes
            .grants
            .iter()
            .rev()
            .find(|row| row.id == write.grant.id)
            .cloned();
        let known = earlier.map_or_else(
            || self.shared.reads.grant(&write.grant.id),
            |row| Ok(Some(row)),
        )?;
        match &known {
            Some(known) if known.digest != write.grant.digest => {
                return Err(WriteStop::GrantTaken);
            }
            Some(known) if known.leaf.is_some() => return Ok(known.clone()),
            Some(_) => {}
            None if write.checked.is_none() => {
                let proposer = &write.grant.proposer;
                let (own, all) = self.shared.reads.grant_drafts(write.at, proposer)?;
                let new = || batch.writes.grants.iter().filter(|row| row.leaf.is_none());
                if own + new().filter(|row| row.proposer == *proposer).count() as u64
                    >= MOST_DRAFTS_OF_PROPOSER
                {
                    return Err(WriteStop::TooManyDrafts {
                        most: MOST_DRAFTS_OF_PROPOSER,
                    });
                }
                if all + new().count() as u64 >= MOST_DRAFTS {
                    return Err(WriteStop::TooManyDrafts { most: MOST_DRAFTS });
                }
            }
            None => {}
        }
        let mut row = write.grant.clone();
        if let Some(checked) = write.checked {
            // A seal or a revocation can end the right of a signer.
            self.check_unmoved(checked)?;
            self.check_leaf(&row.envelope, None)?;
            row.leaf = Some(
                self.append(batch, LeafKind::Grant, row.envelope.clone())
                    .index,
            );
            self.head.version += 1;
        }
        if row.leaf.is_some() || known.is_none() {
            batch.event(write.at, EventFact::Grant(row.id.clone(), row.leaf));
        }
        batch.writes.grants.push(row.clone());
        Ok(row)
    }
}

/// The uses that the runs of a batch claim.
pub struct ClaimedUses<'a> {
    /// The newest use of each grant and the uses that decide about its rate, by their numbers.
    uses: HashMap<&'a ContentDigest, BTreeMap<u64, SpentUse>>,
    /// Grants that a receipt of the batch pauses.
    paused: HashSet<&'a ContentDigest>,
}

impl<'a> ClaimedUses<'a> {
    /// Takes the stored uses of each claim.
    pub fn new(
        claims: &[&'a GrantClaim],
        stored: Vec<Vec<SpentUse>>,
        paused: HashSet<&'a ContentDigest>,
    ) -> Self {
        let mut all: HashMap<_, BTreeMap<u64, SpentUse>> = HashMap::new();
        for (claim, uses) in claims.iter().zip(stored) {
            let uses = uses.into_iter().map(|one| (one.number, one));
            all.entry(&claim.grant).or_default().extend(uses);
        }
        Self { uses: all, paused }
    }

    /// Returns the number of the next use of a grant.
    ///
    /// # Errors
    /// Returns the limit that the use would exceed.
    pub fn next(&self, claim: &GrantClaim, at: Timestamp) -> Result<u64, ConsumeStop> {
        let uses = self.uses.get(&claim.grant);
        let newest = uses.and_then(BTreeMap::last_key_value);
        if self.paused.contains(&claim.grant) || newest.is_some_and(|(_, one)| one.paused) {
            return Err(ConsumeStop::GrantPaused);
        }
        let last = newest.map_or(0, |(number, _)| *number);
        if last >= claim.max_uses {
            return Err(ConsumeStop::GrantExhausted {
                most: claim.max_uses,
            });
        }
        if let Some((most, seconds)) = claim.rate {
            // The times of the uses never decrease. So it is enough to look at one earlier use: from it on, `most` uses
            // were made before the new one.
            let place = uses.zip((last + 1).checked_sub(most));
            let oldest = place.and_then(|(uses, number)| uses.get(&number));
            let wait_s = oldest.map_or(0, |one| one.at.plus_seconds(seconds).unix() - at.unix());
            if wait_s > 0 {
                let wait_s = wait_s.unsigned_abs();
                return Err(ConsumeStop::GrantRate {
                    most,
                    seconds,
                    wait_s,
                });
            }
        }
        Ok(last + 1)
    }

    /// Claims a use.
    pub fn claim(&mut self, claim: &'a GrantClaim, number: u64, at: Timestamp) {
        self.uses.entry(&claim.grant).or_default().insert(
            number,
            SpentUse {
                number,
                at,
                paused: false,
            },
        );
    }
}

/// Maximum number of denials of unknown authorizations in one day: 100 for one approver, 1000 for all approvers.
///
/// Each such denial is a permanent log entry, although the denied authorization may not exist.
const MOST_AHEAD_OF_ONE: u64 = 100;
const MOST_AHEAD: u64 = 1000;

impl Writer {
    pub fn deny<'m>(
        &mut self,
        batch: &mut Batch<'m>,
        write: &'m DenialWrite,
        precedent: DenialPrecedent,
    ) -> Result<DenialResult, WriteStop> {
        self.check_sealed()?;
        self.check_leaf(&write.envelope, None)?;
        let same = |row: &&DenialRow<'_>| {
            row.denial.authorization == write.authorization && row.denial.approver == write.approver
        };
        let known = precedent
            .leaf
            .or_else(|| batch.writes.denials.iter().find(same).map(|row| row.leaf));
        let unfinished = precedent.unfinished.map(|(id, state)| {
            (
                batch
                    .states
                    .get(&id)
                    .map_or(state.status, |changed| changed.status),
                id,
            )
        });
        let leaf = match known {
            Some(leaf) => leaf,
            None => {
                // A seal or a revocation can end the right to deny.
                self.check_unmoved(write.checked)?;
                // The proposal may have arrived after the caller searched for the proposal.
                let ahead = write.ahead && unfinished.is_none();
                if ahead && let Some(stop) = too_many_ahead(batch, write, precedent.ahead) {
                    return Err(stop);
                }
                let leaf = self
                    .append(batch, LeafKind::Denial, &write.envelope[..])
                    .index;
                self.closed.deny(&write.authorization, write.at);
                batch.writes.denials.push(DenialRow {
                    denial: write,
                    leaf,
                    ahead,
                });
                self.head.version += 1;
                leaf
            }
        };
        let mut done = DenialResult {
            leaf,
            denied: None,
            running: None,
        };
        match unfinished {
            Some((ProposalStatus::Running, id)) => done.running = Some(id),
            Some((status, id)) if may_become(status, ProposalStatus::Denied) => {
                let step = StepRow {
                    proposal: id.clone(),
                    to: ProposalStatus::Denied,
                    at: write.at,
                    detail: &[],
                };
                batch.writes.steps.push(step);
                batch.changed(&id, ProposalStatus::Denied, write.at);
                done.denied = Some(id);
            }
            _ => {}
        }
        Ok(done)
    }
}

/// Returns the reason to refuse a denial of an unknown authorization. Denials of known authorizations need no limit,
/// because the number of proposals is limited.
fn too_many_ahead(
    batch: &Batch<'_>,
    write: &DenialWrite,
    stored: DenialsAhead,
) -> Option<WriteStop> {
    let full = |(count, first): (u64, Option<Timestamp>), of_approver: bool, most| {
        // The denials of this batch are newer than the stored ones.
        let counts = |row: &&DenialRow<'_>| {
            row.ahead && (!of_approver || row.denial.approver == write.approver)
        };
        let mut batched = batch.writes.denials.iter().filter(counts);
        let first = first.or(batched.clone().next().map(|row| row.denial.at));
        let until = first
            .filter(|_| count + batched.by_ref().count() as u64 >= most)?
            .plus(AHEAD_S);
        let wait_s = u64::try_from(until.unix() - write.at.unix())
            .unwrap_or(0)
            .max(1);
        Some(WriteStop::TooManyAhead {
            most,
            of_approver,
            wait_s,
        })
    };
    full(stored.of_approver, true, MOST_AHEAD_OF_ONE)
        .or_else(|| full(stored.of_all, false, MOST_AHEAD))
}

impl Writer {
    /// Appends a review. The caller has already decided what this review closes or settles.
    pub fn review<'m>(
        &mut self,
        batch: &mut Batch<'m>,
        write: &'m ReviewWrite,
    ) -> Result<LeafRef, WriteStop> {
        self.check_sealed()?;
        // A seal or a revocation can end the right of the reviewer.
        // A later time in the log can end the membership of the reviewer.
        // Another review raises the version, and can change what this review closes or settles.
        if write.version != self.head.version || self.head.last_at > write.at {
            return Err(WriteStop::Moved);
        }
        self.check_unmoved(write.checked)?;
        self.check_leaf(&write.envelope, None)?;
        let leaf = self.append(batch, LeafKind::Review, write.envelope.clone());
        if write.closes {
            self.emergencies.remove(&write.review.proposal);
        }
        batch.writes.reviews.push((leaf.index, write));
        batch.event(write.at, EventFact::Entry(EntryEvent::Review, leaf.index));
        self.head.version += 1;
        Ok(leaf)
    }
}

impl Writer {
    /// Appends a revocation, unless the log already has a revocation of the same subject. A second revocation would
    /// change nothing, and every person who may revoke could fill the log.
    pub fn revoke(
        &mut self,
        batch: &mut Batch<'_>,
        write: &RevocationWrite,
    ) -> Result<RevocationResult, WriteStop> {
        self.check_sealed()?;
        if let Some(known) = self
            .revoked
            .iter()
            .find(|known| known.subject == write.subject)
        {
            return Ok(RevocationResult {
                leaf: known.leaf,
                existing: true,
            });
        }
        // A seal or a revocation can end the signer's right.
        self.check_unmoved(write.checked)?;
        self.check_leaf(&write.envelope, None)?;
        if let Some(name) = write.token.clone() {
            // Also revoke the row of the token, because a restore begins a new log without this entry. A token that was
            // already revoked on the host keeps the time of that revocation.
            batch.stepped = true;
            let revoke = TokenChange::Revoke { name, at: write.at };
            change_tokens(self.store.batch()?, &[revoke])?;
        }
        let leaf = self
            .append(batch, LeafKind::Revocation, write.envelope.clone())
            .index;
        let is_freeze = matches!(write.subject, RevokedSubject::Epoch(_));
        let event = if is_freeze {
            EntryEvent::Frozen
        } else {
            EntryEvent::Revocation
        };
        batch.event(write.at, EventFact::Entry(event, leaf));
        Arc::make_mut(&mut self.revoked).push(StoredRevocation {
            subject: write.subject,
            leaf,
        });
        // A decision with the earlier state version is made again, and then sees the revocation.
        self.head.version += 1;
        Ok(RevocationResult {
            leaf,
            existing: false,
        })
    }
}

impl<'m> Batch<'m> {
    /// Records the last event that each target of messages got.
    pub fn tell(&mut self, telling: &'m Telling) {
        self.writes.told.extend(&telling.targets);
        for (at, words) in &telling.attention {
            self.event(*at, EventFact::Attention(words.clone()));
        }
    }
}

impl Writer {
    /// Raises the low-water mark, and in the same commit deletes some nonces that expired at or before the mark.
    pub fn prune(&mut self, batch: &mut Batch<'_>, limit: usize) -> StoreResult<PruneResult> {
        let clock = (self.config.clock)();
        let elapsed = (self.config.boottime)().saturating_sub(self.anchor.1);
        let ceiling = self
            .anchor
            .0
            .plus(i64::try_from(elapsed.as_secs()).unwrap_or(i64::MAX));
        // The low-water mark uses the boundary's own time, which can be ahead of the clock. With the clock alone, an
        // expired authorization could become valid after a restart.
        self.head.mark = self.head.mark.max(self.shared.now().min(ceiling));
        self.closed.forget(self.head.mark);
        // A low-water mark that is ahead of the clock may have been changed by hand, so pruning then uses the clock.
        let mark = self.head.mark.min(clock);
        let deleted = prune(self.store.batch()?, mark, limit.max(1))?;
        batch.stepped |= deleted > 0;
        Ok(PruneResult {
            mark: self.head.mark,
            deleted,
            ahead_s: (clock.unix() - ceiling.unix()).max(0),
        })
    }

    /// Deletes some rows whose retention has ended. The age of a row is calculated from the earlier of the low-water
    /// mark and the clock, so that neither a wrong clock nor a wrong mark alone deletes rows.
    pub fn retire(
        &mut self,
        batch: &mut Batch<'_>,
        retention: Retention,
        limit: usize,
    ) -> StoreResult<Retired> {
        let mark = self.head.mark.min((self.config.clock)());
        let cut = RetentionCut {
            outputs: mark.plus(-retention.outputs_s),
            proposals: mark.plus(-retention.proposals_s),
            unsigned: mark.plus(-UNSIGNED_KEPT_S),
            events: mark.plus(-EVENTS_KEPT_S),
            mark,
        };
        let retired = retire(self.store.batch()?, cut, self.retired, limit.max(1))?;
        batch.stepped |= retired.deleted > 0;
        self.retired = retired.walk;
        Ok(retired)
    }
}
