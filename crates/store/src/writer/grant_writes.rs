//! Writes of standing grants, and the claims of their uses.

use std::collections::{HashMap, HashSet};

use crate::{
    Batch, ConsumeStop, EventWrite, GrantClaim, GrantStop, GrantWrite, SpentUse, StoreFault,
    StoredGrant, WriteStop, Writer,
    stored_grant::{MOST_DRAFTS, MOST_DRAFTS_OF_PROPOSER},
};
use documents::{ContentDigest, LeafKind, Timestamp};

impl Writer {
    /// Stores a draft with its signatures, or logs a grant. A grant of the log never changes.
    pub(super) fn grant(
        &mut self,
        batch: &mut Batch<'_>,
        write: &GrantWrite,
    ) -> Result<Result<StoredGrant, GrantStop>, StoreFault> {
        if self.head.seal.is_none() {
            return Ok(Err(WriteStop::NoSeal.into()));
        }
        // Grants are rare, so the writer may use a connection of its own here.
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
            Some(known) if known.digest != write.grant.digest => return Ok(Err(GrantStop::Taken)),
            Some(known) if known.leaf.is_some() => return Ok(Ok(known.clone())),
            Some(_) => {}
            None if write.checked.is_none() => {
                let proposer = &write.grant.proposer;
                let (own, all) = self.shared.reads.grant_drafts(write.at, proposer)?;
                let new = || batch.writes.grants.iter().filter(|row| row.leaf.is_none());
                if own + new().filter(|row| row.proposer == *proposer).count() as u64
                    >= MOST_DRAFTS_OF_PROPOSER
                {
                    return Ok(Err(GrantStop::TooMany {
                        most: MOST_DRAFTS_OF_PROPOSER,
                    }));
                }
                if all + new().count() as u64 >= MOST_DRAFTS {
                    return Ok(Err(GrantStop::TooMany { most: MOST_DRAFTS }));
                }
            }
            None => {}
        }
        let mut row = write.grant.clone();
        if let Some(checked) = write.checked {
            // A seal or a revocation can end the right of a signer.
            if checked != self.checked() {
                return Ok(Err(WriteStop::Moved.into()));
            }
            if let Err(stop) = self.check_leaf(&row.envelope, None) {
                return Ok(Err(stop.into()));
            }
            row.leaf = Some(
                self.append(batch, LeafKind::Grant, row.envelope.clone())
                    .index,
            );
            self.head.version += 1;
        }
        if row.leaf.is_some() || known.is_none() {
            batch.event(write.at, EventWrite::Grant(row.id.clone(), row.leaf));
        }
        batch.writes.grants.push(row.clone());
        Ok(Ok(row))
    }
}

/// The uses that the runs of a batch claim.
pub struct ClaimedUses<'a> {
    uses: HashMap<&'a ContentDigest, Vec<SpentUse>>,
    /// Grants that a receipt of the batch pauses.
    paused: HashSet<&'a ContentDigest>,
}

impl<'a> ClaimedUses<'a> {
    /// Takes over the newest uses of each grant, the newest first.
    pub fn new(
        claims: &[&'a GrantClaim],
        stored: Vec<Vec<SpentUse>>,
        paused: HashSet<&'a ContentDigest>,
    ) -> Self {
        let mut all: HashMap<_, Vec<SpentUse>> = HashMap::new();
        for (claim, uses) in claims.iter().zip(stored) {
            all.entry(&claim.grant).or_insert(uses);
        }
        Self { uses: all, paused }
    }

    /// Returns the number of the next use of a grant.
    ///
    /// # Errors
    /// Returns the limit that the use would exceed.
    pub fn next(&self, claim: &GrantClaim, at: Timestamp) -> Result<u64, ConsumeStop> {
        let uses = self.uses.get(&claim.grant).map_or(&[][..], Vec::as_slice);
        if self.paused.contains(&claim.grant) || uses.first().is_some_and(|newest| newest.paused) {
            return Err(ConsumeStop::GrantPaused);
        }
        let last = uses.first().map_or(0, |newest| newest.number);
        if last >= claim.max_uses {
            return Err(ConsumeStop::GrantExhausted {
                most: claim.max_uses,
            });
        }
        if let Some((most, seconds)) = claim.rate {
            let period = i64::try_from(seconds).unwrap_or(i64::MAX);
            let begin = at.plus(-period);
            let inside: Vec<&SpentUse> = uses.iter().filter(|one| one.at > begin).collect();
            if inside.len() as u64 >= most
                && let Some(oldest) = inside.last()
            {
                let wait_s = u64::try_from(oldest.at.unix() - begin.unix())
                    .unwrap_or(1)
                    .max(1);
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
            0,
            SpentUse {
                number,
                at,
                paused: false,
            },
        );
    }
}
