//! Compares the log with its signed head, with heads from other sources, and with the times in cosignatures.

use crate::{Auditor, CheckStop, FindingKind, LATE_S, SealInForce, check_witnesses, verify_head};
use documents::{Checkpoint, Note, Timestamp, hex, origin};

impl Auditor {
    /// Compares the root of the log with each checkpoint from another source that has the same size.
    pub(super) fn compare_heads(&mut self) {
        let size = self.size();
        let Some(in_force) = self.seals.current.clone() else {
            return;
        };
        // The heads are sorted by size, and a log can have many of them.
        let heads =
            &self.expected.heads[self.expected.heads.partition_point(|seen| seen.size < size)..];
        let seen: Vec<_> = heads
            .iter()
            .take_while(|seen| seen.size == size)
            .cloned()
            .collect();
        for seen in seen {
            let (root, from) = (self.tree.root(), &seen.from);
            match seen.verify(&in_force) {
                Err(why) => {
                    self.find_whole(FindingKind::Checkpoint, format!("{from}: {why}"));
                    self.unsigned.push(seen);
                }
                Ok(head) if head.root != root => {
                    let message = format!(
                        "the first {size} entries have the root hash {}, but {from} is a head of the same size with \
                         {}: the boundary showed two histories, or one of the two copies was changed; keep both heads",
                        hex(&root),
                        hex(&head.root)
                    );
                    self.find_whole(FindingKind::Fork, message);
                }
                Ok(_) => {}
            }
        }
    }

    pub(super) fn check_head(&mut self, head: &str) {
        let Some(in_force) = self.seals.current.clone() else {
            self.find_whole(
                FindingKind::Checkpoint,
                "the log has no seal, so the signed head can't be verified",
            );
            return;
        };
        match verify_head(head, &in_force.boundary, &in_force.roster) {
            Err(why) => self.find_whole(FindingKind::Checkpoint, why),
            Ok(head) if head.size != self.size() => {
                let message = format!(
                    "the signed head has {} entries, but {} entries were read",
                    head.size,
                    self.size()
                );
                self.find_whole(FindingKind::Root, message);
            }
            Ok(head) if head.root != self.tree.root() => {
                let message = format!(
                    "the {} entries have the root hash {}, but the signed head states {}: entries were changed, \
                     removed, added or moved",
                    head.size,
                    hex(&self.tree.root()),
                    hex(&head.root)
                );
                self.find_whole(FindingKind::Root, message);
            }
            Ok(_) => self.check_witnesses(head, &in_force),
        }
    }

    /// Reports back-dated entries: a checkpoint from another source does not cover the entry, although the entry states
    /// an earlier time than the checkpoint. Without this check, the holder of the boundary's key could spend an expired
    /// authorization if the log has no entry after the expiry. The finding is a failure only if enough witnesses
    /// confirm the time of the checkpoint, because the checkpoint may come from an old copy.
    pub(super) fn check_dates(&mut self) {
        let Some(in_force) = self.seals.current.clone() else {
            return;
        };
        let origin = origin(&in_force.boundary.name, &in_force.boundary.id);
        let demanded = usize::try_from(self.expected.witnesses).unwrap_or(usize::MAX);
        for (seen, after) in self
            .expected
            .heads
            .clone()
            .into_iter()
            .zip(self.after.clone())
        {
            let Some((entry, at)) = after else { continue };
            let early = |when: Timestamp| at.plus(LATE_S) < when;
            let what = format!("entry {entry} is dated {at}");
            if let Some(when) = seen.at.filter(|when| early(*when)) {
                self.back_dated.push(format!(
                    "{what}, but {} of {when} does not contain the entry: either this head came from an old copy, or \
                     the entry has a false date",
                    seen.from
                ));
            }
            let witnesses = Note::parse(&seen.note).ok().filter(|note| {
                Checkpoint::parse(note.unverified_text()).is_ok_and(|head| head.origin == origin)
            });
            let witnesses = witnesses
                .filter(|_| self.left.is_none())
                .and_then(|note| {
                    check_witnesses(&note, self.rosters(), &in_force.boundary.name, 0, None).ok()
                })
                .map_or_else(Vec::new, |(seen, _)| seen);
            let words: Vec<_> = witnesses
                .iter()
                .filter(|witness| early(witness.at))
                .map(|witness| format!("{} at {}", witness.name, witness.at))
                .collect();
            let said = format!(
                "{what}, but the log did not contain the entry when witnesses saw {}: {}",
                seen.from,
                words.join(", ")
            );
            if demanded > 0 && words.len() >= demanded {
                self.find(FindingKind::Time, entry, said);
            } else if !words.is_empty() {
                self.back_dated.push(said);
            }
        }
    }

    /// Checks the cosignatures with the witnesses of the newest known roster.
    fn check_witnesses(&mut self, head: &str, in_force: &SealInForce) {
        if let Some(why) = self.left.clone() {
            if self.expected.witnesses > 0 {
                self.find_whole(FindingKind::Witnesses, why);
            }
            return;
        }
        let Ok(note) = Note::parse(head) else { return };
        let (name, demanded) = (&in_force.boundary.name, self.expected.witnesses);
        match check_witnesses(&note, self.rosters(), name, demanded, None) {
            Ok((seen, _)) => self.witnesses = seen,
            Err(CheckStop::Failed(why)) => self.find_whole(FindingKind::Witnesses, why),
            Err(CheckStop::NotChecked(_) | CheckStop::Because(_)) => {}
        }
    }
}
