//! Reports nonces and proposals that the log uses twice, if more than a day lies between the two uses, or if an earlier
//! audit has read the first use.

use std::collections::HashMap;

use crate::{
    Auditor, EvidenceFiles, Finding, FindingKind, LogEntry, Place, Unreadable, UsedValue,
    audit::{entry::each, used_values::short},
    has_proposal, spent_before, without_run,
};
use documents::{
    Authorization, Consumption, Frontier, MAX_ITEMS, Predicate, Receipt, Statement, TILE_WIDTH,
};

impl Auditor {
    /// Compares the nonces and proposals that this audit has read with the nonces and proposals of earlier audits. The
    /// caller passes the stored short hashes in pieces, after the last entry.
    pub fn compare_used_values(&mut self, earlier: &[u64]) {
        self.runs.used.compare(earlier);
    }

    /// Returns the short hashes of the nonces and proposals that this audit has read, to store them for later audits.
    pub fn used_values(&mut self) -> &[Vec<u64>] {
        self.runs.used.sorted()
    }

    /// Sets aside the finding about a receipt without an open run, if an earlier audit has read the consumption that
    /// the receipt names.
    pub(super) fn set_aside(
        &mut self,
        index: u64,
        receipt: &Receipt,
        findings: Vec<Finding>,
    ) -> Vec<Finding> {
        let place = (receipt.consumption.index, receipt.consumption.item);
        match &findings[..] {
            [only] if only.what == FindingKind::NoConsumption && place.0 < self.from => {
                self.aside
                    .push((index, place, receipt.authorization.digest));
                Vec::new()
            }
            _ => findings,
        }
    }

    /// Reads the consumptions that the receipts set aside name, and reports these receipts.
    pub(super) fn report_set_aside(
        &mut self,
        beside: &dyn EvidenceFiles,
    ) -> Result<(), Unreadable> {
        let width = u64::from(TILE_WIDTH);
        for (index, place, authorization) in std::mem::take(&mut self.aside) {
            let tile = beside.entries(place.0 / width, self.size())?;
            let entry = tile
                .into_iter()
                .nth(usize::try_from(place.0 % width).unwrap_or_default())
                .map(LogEntry::of);
            let consumption = entry.as_ref().and_then(predicate::<Consumption>);
            let item = consumption
                .as_ref()
                .and_then(|one| one.spent.get(usize::try_from(place.1).ok()?));
            self.say(without_run(
                index,
                place,
                item.is_some_and(|item| item.authorization.digest == authorization),
            ));
        }
        Ok(())
    }

    /// Searches the log for the uses of values with equal short hashes. Without such values, no entry is read.
    pub(super) fn report_double_uses(
        &mut self,
        beside: &dyn EvidenceFiles,
    ) -> Result<(), Unreadable> {
        if self.runs.used.compared() != self.used_before {
            return Err(Unreadable(
                "the audit needs the nonces and proposals of the earlier audit".to_owned(),
            ));
        }
        let twice = self.runs.used.take_twice();
        if twice.is_empty() {
            return Ok(());
        }
        let (size, mut tree) = (self.size(), Frontier::default());
        let (mut first, mut findings) = (HashMap::<u128, Place>::new(), Vec::new());
        // Proposals of the authorizations directly before a consumption.
        let mut waiting = Vec::new();
        let tiles =
            (0..size.div_ceil(u64::from(TILE_WIDTH))).map(|tile| beside.entries(tile, size));
        each(tiles, |entry| {
            let index = tree.size();
            tree.append(entry.hash());
            // Returns the earlier place of the value.
            let mut follow = |place, value: UsedValue<'_>| {
                let hash = value.hash();
                let is_twice = twice.contains(&short(hash));
                let earlier = is_twice.then(|| *first.entry(hash).or_insert(place));
                earlier.filter(|earlier| *earlier != place)
            };
            match entry.kind() {
                Some(Consumption::KIND) => {
                    let mut proposals = std::mem::take(&mut waiting).into_iter();
                    let consumption = predicate::<Consumption>(entry);
                    let Some(consumption) =
                        consumption.filter(|_| !self.runs.used.is_left_out(index, None))
                    else {
                        return Ok(());
                    };
                    for (item, spent) in (0..).zip(&consumption.spent) {
                        let (place, proposal) = ((index, item), proposals.next().flatten());
                        let nonce = follow(place, UsedValue::Nonce(&spent.nonce));
                        let proposal = proposal.filter(|proposal| {
                            follow(place, UsedValue::Proposal(proposal)).is_some()
                        });
                        let nonce = nonce.map(|earlier| spent_before(&spent.nonce, earlier));
                        let why = nonce.or_else(|| proposal.as_ref().map(has_proposal));
                        let reported = self.runs.used.is_left_out(index, Some(item));
                        let Some(why) = why.filter(|_| !reported) else {
                            continue;
                        };
                        let why = format!("item {item}: {why}");
                        findings.push(
                            Finding::at(FindingKind::DoubleUse, index, why)
                                .about(spent.authorization.digest),
                        );
                    }
                }
                Some(Authorization::KIND) => {
                    waiting.push(predicate::<Authorization>(entry).map(|one| one.proposal));
                    let end = waiting.len().saturating_sub(MAX_ITEMS);
                    waiting.drain(..end);
                }
                _ => waiting.clear(),
            }
            Ok(())
        })?;
        if tree.root() != self.tree.root() {
            let why = "the audit read the entries twice, and they were not the same: read the log from another copy";
            findings.push(Finding::whole(FindingKind::Root, why));
        }
        self.say_all(findings);
        Ok(())
    }
}

fn predicate<P: Predicate>(entry: &LogEntry) -> Option<P> {
    let parts = entry.parts().ok()?;
    Statement::from_payload(&parts.payload)
        .ok()
        .map(|statement| statement.predicate)
}
