//! Writes of denials, and the limit on denials of unknown authorizations.

use crate::store::fault::StoreFault;
use crate::store::stored_denial::{DenialResult, DenialWrite, StoredDenial};
use crate::store::stored_leaf::WriteStop;
use crate::store::stored_status::StoredStatus;
use crate::store::writer::Writer;
use documents::record::ident::Name;
use documents::record::kinds::LeafKind;
use documents::record::validity::Timestamp;

/// Maximum number of denials of unknown authorizations in one day: 100 for one approver, 1000 for all approvers.
///
/// Each such denial is a permanent log entry, although the denied authorization may not exist.
const MOST_AHEAD_OF_ONE: u64 = 100;
const MOST_AHEAD: u64 = 1000;
const AHEAD_S: i64 = 86_400;

impl Writer {
    pub(super) fn deny(&mut self, write: DenialWrite) -> Result<Result<DenialResult, WriteStop>, StoreFault> {
        if self.head.seal.is_none() {
            return Ok(Err(WriteStop::NoSeal));
        }
        if let Err(stop) = self.check_leaf(&write.envelope, None) {
            return Ok(Err(stop));
        }
        let known = self.store.denial(&write.authorization, &write.approver)?;
        let unfinished = self.store.unfinished_of(&write.authorization)?;
        let leaf = match known {
            Some(leaf) => leaf,
            None => {
                // The proposal may have arrived after the caller searched for the proposal.
                let ahead = write.ahead && unfinished.is_none();
                if ahead && let Some(stop) = self.too_many_ahead(&write.approver, write.at)? {
                    return Ok(Err(stop));
                }
                let leaf = self.append(LeafKind::Denial, write.envelope).index;
                let denial = StoredDenial { approver: write.approver, leaf, at: write.at };
                self.store.deny(&write.authorization, &denial, ahead)?;
                self.head.version += 1;
                leaf
            }
        };
        let mut done = DenialResult { leaf, denied: None, running: None };
        match unfinished {
            Some((id, standing)) if standing.status == StoredStatus::Running => done.running = Some(id),
            Some((id, standing)) if standing.status.may_become(StoredStatus::Denied) => {
                self.store.advance(&id, StoredStatus::Denied, write.at, &Vec::new())?;
                self.changed(&id, StoredStatus::Denied, write.at);
                done.denied = Some(id);
            }
            _ => {}
        }
        Ok(Ok(done))
    }

    /// Returns the reason to refuse a denial of an unknown authorization. Denials of known authorizations need no
    /// limit, because the number of proposals is limited.
    fn too_many_ahead(&mut self, approver: &Name, now: Timestamp) -> Result<Option<WriteStop>, StoreFault> {
        let found = self.store.denials_ahead(approver, now.plus(-AHEAD_S))?;
        let full = |(count, first): (u64, Option<Timestamp>), most, of_approver| {
            let until = first.filter(|_| count >= most)?.plus(AHEAD_S);
            let wait_s = u64::try_from(until.unix() - now.unix()).unwrap_or(0).max(1);
            Some(WriteStop::TooManyAhead { most, of_approver, wait_s })
        };
        Ok(full(found.of_approver, MOST_AHEAD_OF_ONE, true).or_else(|| full(found.of_all, MOST_AHEAD, false)))
    }
}
