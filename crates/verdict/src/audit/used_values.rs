//! Finds nonces and proposals that a log uses twice.
//!
//! A nonce and the id of a proposal carry their end, and the time of the log never decreases. A use at or after the end is
//! a finding in itself. So the audit keeps a value only until its end.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Finding, FindingKind};
use documents::{Nonce, ProposalId, Timestamp};

/// Log entry and item of a consumption.
pub type Place = (u64, u64);

/// An item of a consumption, with the values that it used.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "KeptUse")]
pub struct SavedUse {
    /// Log entry of the consumption, and the position of the item in it.
    pub place: Place,
    /// The nonce, which carries its end.
    pub nonce: Nonce,
    /// The proposal. Absent if the authorization is not in the log where it must be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proposal: Option<ProposalId>,
}

impl SavedUse {
    /// Returns the values of the item as documents contain them.
    fn values(&self) -> impl Iterator<Item = &str> {
        let proposal = self.proposal.as_ref().map(ProposalId::as_str);
        proposal.into_iter().chain([self.nonce.as_str()])
    }
}

/// The values that a log has used and whose end has not come.
#[derive(Default)]
pub struct UsedValues {
    items: BTreeMap<Place, SavedUse>,
    /// The first use of each nonce and of each proposal.
    values: HashMap<String, Place>,
    /// The end of each item.
    ends: BTreeSet<(Timestamp, Place)>,
}

impl UsedValues {
    /// Remembers the values of an item. Returns the reason if an earlier item has used one of them.
    pub fn add(&mut self, item: SavedUse) -> Option<String> {
        let mut why = None;
        for value in item.values() {
            let first = *self.values.entry(value.to_owned()).or_insert(item.place);
            if first != item.place {
                let (entry, number) = first;
                why = Some(format!(
                    "item {number} of entry {entry} has already used {value}"
                ));
            }
        }
        self.ends.insert((item.nonce.end(), item.place));
        self.items.insert(item.place, item);
        why
    }

    /// Drops the values whose end is at or before `now`.
    pub fn forget(&mut self, now: Timestamp) {
        while let Some(&(end, place)) = self.ends.first()
            && end <= now
        {
            self.ends.pop_first();
            let Some(item) = self.items.remove(&place) else {
                continue;
            };
            for value in item.values() {
                self.values.remove(value);
            }
        }
    }

    /// Returns the items whose end has not come.
    pub fn keep(&self) -> Vec<SavedUse> {
        self.items.values().cloned().collect()
    }

    /// Returns the finding about a receipt that names an item without an open run.
    pub fn without_run(&self, index: u64, place: Place) -> Finding {
        let (entry, item) = place;
        let message = format!("item {item} of entry {entry} ");
        if self.items.contains_key(&place) {
            let message = message + "already has its receipt";
            return Finding::at(FindingKind::SecondReceipt, index, message);
        }
        let message = message + "is not a consumption that still needs a receipt";
        Finding::at(FindingKind::NoConsumption, index, message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_kept_until_its_end() {
        let end = Timestamp::from_unix(1_800_000_000);
        let item = |place, nonce: u8, proposal: u8| SavedUse {
            place,
            nonce: Nonce::new(end, [nonce; 16]),
            proposal: Some(ProposalId::ending(end, [proposal; 10])),
        };
        let mut used = UsedValues::default();
        assert_eq!(used.add(item((7, 15), 1, 1)), None);
        used.forget(end.plus(-1));
        assert_eq!(used.keep(), [item((7, 15), 1, 1)]);
        let why = used.add(item((9, 0), 1, 2)).expect("the nonce is used");
        assert!(
            why.contains("item 15 of entry 7") && why.contains("AAAA"),
            "{why}"
        );
        let why = used.add(item((9, 1), 2, 1)).expect("the proposal is used");
        assert!(why.contains("prp_"), "{why}");
        let receipt = |used: &UsedValues| used.without_run(10, (7, 15)).what;
        assert_eq!(receipt(&used), FindingKind::SecondReceipt);
        used.forget(end);
        assert_eq!(receipt(&used), FindingKind::NoConsumption);
        assert!(used.items.is_empty() && used.values.is_empty());
    }
}
