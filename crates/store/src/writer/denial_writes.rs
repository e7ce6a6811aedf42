//! Writes of denials, and the limit on denials of unknown authorizations.

use crate::{
    Batch, DenialPrecedent, DenialResult, DenialWrite, DenialsAhead, StepRow, StoredDenial,
    StoredStatus, WriteStop, Writer, batch::DenialRow, writer::messages::AHEAD_S,
};
use documents::{LeafKind, Timestamp};

/// Maximum number of denials of unknown authorizations in one day: 100 for one approver, 1000 for all approvers.
///
/// Each such denial is a permanent log entry, although the denied authorization may not exist.
const MOST_AHEAD_OF_ONE: u64 = 100;
const MOST_AHEAD: u64 = 1000;

impl Writer {
    pub(super) fn deny<'m>(
        &mut self,
        batch: &mut Batch<'m>,
        write: &'m DenialWrite,
        precedent: DenialPrecedent,
    ) -> Result<DenialResult, WriteStop> {
        if self.head.seal.is_none() {
            return Err(WriteStop::NoSeal);
        }
        self.check_leaf(&write.envelope, None)?;
        let same = |row: &&DenialRow<'_>| {
            *row.authorization == write.authorization && row.denial.approver == write.approver
        };
        let known = precedent.leaf.or_else(|| {
            batch
                .writes
                .denials
                .iter()
                .find(same)
                .map(|row| row.denial.leaf)
        });
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
                if write.checked != self.checked() {
                    return Err(WriteStop::Moved);
                }
                // The proposal may have arrived after the caller searched for the proposal.
                let ahead = write.ahead && unfinished.is_none();
                if ahead && let Some(stop) = too_many_ahead(batch, write, precedent.ahead) {
                    return Err(stop);
                }
                let leaf = self
                    .append(batch, LeafKind::Denial, &write.envelope[..])
                    .index;
                let denial = StoredDenial {
                    approver: write.approver.clone(),
                    leaf,
                    at: write.at,
                };
                self.closed.deny(&write.authorization, write.at);
                batch.writes.denials.push(DenialRow {
                    authorization: &write.authorization,
                    denial,
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
            Some((StoredStatus::Running, id)) => done.running = Some(id),
            Some((status, id)) if status.may_become(StoredStatus::Denied) => {
                let step = StepRow {
                    proposal: id.clone(),
                    to: StoredStatus::Denied,
                    at: write.at,
                    detail: &[],
                };
                batch.writes.steps.push(step);
                batch.changed(&id, StoredStatus::Denied, write.at);
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
