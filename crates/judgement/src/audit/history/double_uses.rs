//! Reports nonces and proposals that the log uses twice with more than a day between, or that an earlier audit has read.

use std::collections::HashMap;

use crate::audit::documents::stated_authorization;
use crate::audit::entry::{LogEntry, each};
use crate::audit::evidence_files::{EvidenceFiles, Unreadable};
use crate::audit::finding::{Finding, FindingKind};
use crate::audit::history::Auditor;
use crate::audit::used_values::{Place, UsedValue, short};
use documents::crypto::merkle::Frontier;
use documents::crypto::tlog_tiles::TILE_WIDTH;
use documents::record::consumption::Consumption;
use documents::record::document::{Predicate, Statement};
use documents::record::ident::{Nonce, ProposalId};
use documents::record::receipt::Receipt;

impl Auditor {
    /// Compares nonces and proposals of the entries that this audit has read with those of earlier audits. The caller passes
    /// the stored short hashes in pieces, after the last entry.
    pub fn compare_used_values(&mut self, earlier: &[u64]) {
        self.runs.used.compare(earlier);
    }

    /// Returns the short hashes of the nonces and proposals that this audit has read, to store them for later audits.
    pub fn used_values(&mut self) -> &[Vec<u64>] {
        self.runs.used.sorted()
    }

    /// Searches the log for the uses of values with equal short hashes. Without such values, no entry is read.
    pub(super) fn report_double_uses(&mut self, beside: &dyn EvidenceFiles) -> Result<(), Unreadable> {
        if self.runs.used.compared() != self.used_before {
            return Err(Unreadable("the audit needs the nonces and proposals of the earlier audit".to_owned()));
        }
        let twice = self.runs.used.take_twice();
        if twice.is_empty() {
            return Ok(());
        }
        let (size, mut tree) = (self.size(), Frontier::default());
        let (mut first, mut findings) = (HashMap::<u128, Place>::new(), Vec::new());
        let tiles = (0..size.div_ceil(u64::from(TILE_WIDTH))).map(|tile| beside.entries(tile, size));
        each(tiles, |entry| {
            let index = tree.size();
            tree.append(entry.hash());
            let mut follow = |place, value: UsedValue<'_>, finding: &dyn Fn(Place) -> Finding| {
                let hash = value.hash();
                if twice.contains(&short(hash)) && self.runs.used.counts(place) {
                    let earlier = *first.entry(hash).or_insert(place);
                    (earlier != place).then(|| findings.push(finding(earlier)));
                }
            };
            match entry.kind() {
                Some(Consumption::KIND) => {
                    let Some(consumption) = predicate::<Consumption>(entry) else { return Ok(()) };
                    for (item, spent) in (0..).zip(&consumption.spent) {
                        follow((index, item), UsedValue::Nonce(&spent.nonce), &|earlier| {
                            let why = format!("item {item}: {}", spent_before(&spent.nonce, earlier));
                            Finding::at(FindingKind::DoubleUse, index, why).about(spent.authorization)
                        });
                    }
                }
                Some(Receipt::KIND) => {
                    let receipt = predicate::<Receipt>(entry);
                    let Some(signed) = receipt.and_then(|receipt| stated_authorization(&receipt.authorization)) else {
                        return Ok(());
                    };
                    follow((index, 0), UsedValue::Proposal(&signed.proposal), &|_| {
                        Finding::at(FindingKind::DoubleUse, index, has_receipt(&signed.proposal))
                            .about(signed.proposal.receipt())
                    });
                }
                _ => {}
            }
            Ok(())
        })?;
        if tree.root() != self.tree.root() {
            let why = "the audit read the entries twice, and they were not the same: read the log from another copy";
            findings.push(Finding::whole(FindingKind::Root, why));
        }
        findings.into_iter().for_each(|finding| self.say(finding));
        Ok(())
    }
}

/// Says that an earlier item has spent the nonce.
pub(in crate::audit) fn spent_before(nonce: &Nonce, (entry, item): Place) -> String {
    format!("the nonce {nonce} was already spent by item {item} of entry {entry}")
}

/// Says that an earlier receipt has the proposal.
pub(in crate::audit) fn has_receipt(proposal: &ProposalId) -> String {
    format!("the proposal {proposal} already has a receipt, for another authorization")
}

fn predicate<P: Predicate>(entry: &LogEntry) -> Option<P> {
    let parts = entry.parts().ok()?;
    Statement::from_payload(&parts.payload).ok().map(|statement| statement.predicate)
}
