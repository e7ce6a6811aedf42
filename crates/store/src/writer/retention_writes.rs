//! Positions of targets of messages, and deletions: nonces that have expired, and rows whose retention has ended.

use crate::{
    Batch, EventWrite, PruneResult, Retention, RetentionCut, Retired, StoreFault, Telling,
    UNSIGNED_KEPT_S, Writer,
    rare_changes::{prune, retire},
    stored_event::EVENTS_KEPT_S,
};

impl<'m> Batch<'m> {
    /// Records how far targets of messages were told.
    pub(super) fn tell(&mut self, telling: &'m Telling) {
        self.writes.told.extend(&telling.targets);
        for (at, words) in &telling.attention {
            self.event(*at, EventWrite::Attention(words.clone()));
        }
    }
}

impl Writer {
    /// Raises the low-water mark, and in the same commit deletes some nonces that expired at or before the mark.
    pub(super) fn prune(
        &mut self,
        batch: &mut Batch<'_>,
        limit: usize,
    ) -> Result<PruneResult, StoreFault> {
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
        let swept = prune(self.store.batch()?, mark, &self.pruned, limit.max(1))?;
        batch.stepped |= swept.deleted > 0;
        let done = swept.last.is_none();
        self.pruned = swept.last.unwrap_or_default();
        Ok(PruneResult {
            mark: self.head.mark,
            deleted: swept.deleted,
            ahead_s: (clock.unix() - ceiling.unix()).max(0),
            done,
        })
    }

    /// Deletes some rows whose retention has ended. The age of a row is calculated from the earlier of the low-water
    /// mark and the clock, so that neither a wrong clock nor a wrong mark alone deletes rows.
    pub(super) fn retire(
        &mut self,
        batch: &mut Batch<'_>,
        retention: Retention,
        limit: usize,
    ) -> Result<Retired, StoreFault> {
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
