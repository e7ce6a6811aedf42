//! Finds nonces, authorizations and proposals that a log uses twice.
//!
//! For each nonce and each proposal of the log, the audit keeps 8 bytes of a hash. Equal short hashes are no finding yet: the
//! audit then searches the log for both uses. For the values of about one day, the audit keeps 16 bytes and the place, so the
//! finding comes with the entry of the second use.
//!
//! This file also defines the stored state from which the next audit resumes. The state includes the verified
//! checkpoint. The auditor owns the state file and trusts it as much as the roster. The file is written only after an
//! audit without failures. The next audit computes the root from the stored tree and the new entries. If this root
//! differs from the signed root, the log no longer begins with the same entries.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    AuditCounts, Finding, FindingKind, UncheckedQuestion,
    audit::{
        grant_uses::SavedGrant,
        reviewed_runs::ReviewedRuns,
        session_chains::{PlanReceipts, SessionChains},
    },
};
use documents::{
    AuthorizationDigest, AuthorizationRef, Blake3Digest, Epoch, FollowedLog, Frontier, Hash,
    LeafHash, Name, Nonce, ProposalId, RevokedSubject, SealDigest, Spent, Timestamp, sha256,
    unhex32,
};

/// Log entry and item of a consumption.
pub type Place = (u64, u64);

/// A value that a log may use only once.
pub enum UsedValue<'a> {
    Nonce(&'a Nonce),
    Authorization(&'a AuthorizationDigest),
    Proposal(&'a ProposalId),
}

/// Number of short hashes in a sorted chunk. Memory grows by whole chunks, because a growing vector would need up to three
/// times its size.
const CHUNK: usize = 1 << 20;

/// Values whose times lie in the same period of this many seconds are dropped together.
const PERIOD_S: i64 = 6 * 3600;

/// The values that a log has used so far.
#[derive(Default)]
pub struct UsedValues {
    /// Hashes and packed places of the values of the last day, by the time after which they are dropped.
    recent: BTreeMap<i64, BTreeMap<u128, u64>>,
    /// Short hashes of the nonces and proposals that this audit has read, in sorted chunks.
    sorted: Vec<Vec<u64>>,
    newest: Vec<u64>,
    /// Number of short hashes of this audit.
    count: u64,
    /// Number of short hashes of earlier audits that were compared with those of this audit.
    compared: u64,
    /// Short hashes that occur twice.
    twice: BTreeSet<u64>,
    /// Uses that were already reported. If the item is `None`, no use of this entry counts, because the entry is not valid.
    left_out: BTreeSet<(u64, Option<u64>)>,
}

impl UsedValue<'_> {
    /// Returns the first 16 bytes of a SHA-256.
    pub fn hash(self) -> u128 {
        let (kind, value) = match self {
            Self::Nonce(nonce) => (b"nonce:", nonce.as_str().as_bytes()),
            Self::Authorization(digest) => (b"autho:", &digest.as_bytes()[..]),
            Self::Proposal(id) => (b"propo:", id.as_str().as_bytes()),
        };
        let hash = sha256(&[kind, value].concat());
        hash[..16]
            .iter()
            .fold(0, |number, byte| number << 8 | u128::from(*byte))
    }
}

/// Returns the short hash of a value with this hash.
pub fn short(hash: u128) -> u64 {
    (hash >> 64) as u64
}

impl UsedValues {
    /// Returns the place of an earlier use of the value with this hash, if it was used during the last day.
    pub fn earlier(&self, hash: u128) -> Option<Place> {
        self.recent
            .values()
            .find_map(|period| period.get(&hash))
            .map(|packed| (packed >> 8, packed & 255))
    }

    /// Remembers the place of the first use until `until`. Before this time, a second use is found at once.
    pub fn add(&mut self, hash: u128, place: Place, until: Timestamp) {
        let end = until
            .unix()
            .div_euclid(PERIOD_S)
            .saturating_add(1)
            .saturating_mul(PERIOD_S);
        // A consumption has at most 16 items.
        self.recent
            .entry(end)
            .or_default()
            .insert(hash, place.0 << 8 | place.1);
    }

    /// Remembers a value that the log uses once, its short hash for ever. Returns the place of an earlier use.
    pub fn spend(&mut self, value: UsedValue<'_>, place: Place, until: Timestamp) -> Option<Place> {
        let hash = value.hash();
        let earlier = self.earlier(hash);
        if earlier.is_none() {
            self.add(hash, place, until);
            self.count += 1;
            self.newest.push(short(hash));
        }
        if self.newest.len() == CHUNK {
            self.sort();
        }
        earlier
    }

    /// Drops the places and the 16 bytes of the values whose time `until` has passed.
    pub fn forget(&mut self, now: Timestamp) {
        while self
            .recent
            .first_key_value()
            .is_some_and(|(end, _)| *end <= now.unix())
        {
            self.recent.pop_first();
        }
    }

    /// Number of nonces and proposals that this audit has read.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Number of short hashes of earlier audits that were compared.
    pub fn compared(&self) -> u64 {
        self.compared
    }

    /// Excludes a use, or all uses of an entry, from the search for second uses.
    pub fn leave_out(&mut self, entry: u64, item: Option<u64>) {
        self.left_out.insert((entry, item));
    }

    /// Returns true if the use, or the entry, is excluded from the search for second uses.
    pub fn is_left_out(&self, entry: u64, item: Option<u64>) -> bool {
        self.left_out.contains(&(entry, item))
    }

    /// Returns the short hashes of this audit, in sorted chunks.
    pub fn sorted(&mut self) -> &[Vec<u64>] {
        self.sort();
        &self.sorted
    }

    /// Compares short hashes of earlier audits with the short hashes of this audit. Sorted sequences are compared faster.
    pub fn compare(&mut self, earlier: &[u64]) {
        self.sort();
        self.compared += earlier.len() as u64;
        for sequence in earlier.chunk_by(|one, next| one <= next) {
            self.sorted
                .iter()
                .for_each(|chunk| common(sequence, chunk, &mut self.twice));
        }
    }

    /// Takes the short hashes that occur twice in this audit, or in this audit and an earlier one.
    pub fn take_twice(&mut self) -> BTreeSet<u64> {
        self.sort();
        let mut twice = std::mem::take(&mut self.twice);
        for (at, chunk) in self.sorted.iter().enumerate() {
            twice.extend(
                chunk
                    .windows(2)
                    .filter(|pair| pair[0] == pair[1])
                    .map(|pair| pair[0]),
            );
            self.sorted[..at]
                .iter()
                .for_each(|before| common(before, chunk, &mut twice));
        }
        twice
    }

    fn sort(&mut self) {
        if !self.newest.is_empty() {
            let mut chunk = std::mem::take(&mut self.newest);
            chunk.sort_unstable();
            self.sorted.push(chunk);
        }
    }
}

/// Returns the finding about a receipt that names an item without an open run.
pub fn without_run(index: u64, (entry, item): Place, has_receipt: bool) -> Finding {
    let message = format!("item {item} of entry {entry} ");
    if has_receipt {
        Finding::at(
            FindingKind::SecondReceipt,
            index,
            message + "already has its receipt",
        )
    } else {
        Finding::at(
            FindingKind::NoConsumption,
            index,
            message + "is not a consumption that still needs a receipt",
        )
    }
}

/// Says that an earlier item has spent the nonce.
pub fn spent_before(nonce: &Nonce, (entry, item): Place) -> String {
    format!("the nonce {nonce} was already spent by item {item} of entry {entry}")
}

/// Says that an earlier consumption used the proposal.
pub fn has_proposal(proposal: &ProposalId) -> String {
    format!("an earlier consumption used the proposal {proposal} for another authorization")
}

/// Adds the numbers that are in both sorted slices to `found`. The time depends on the shorter slice.
fn common(one: &[u64], other: &[u64], found: &mut BTreeSet<u64>) {
    let (short, mut long) = if one.len() <= other.len() {
        (one, other)
    } else {
        (other, one)
    };
    for number in short {
        let mut end = 1;
        while long.get(end - 1).is_some_and(|at| at < number) {
            end *= 2;
        }
        long = &long[long[..end.min(long.len())].partition_point(|at| at < number)..];
        if long.first() == Some(number) {
            found.insert(*number);
        }
    }
}

/// Stored state of an audit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Kept")]
pub struct SavedAudit {
    /// Version of this format.
    pub version: u64,
    /// Program that wrote the state. Another program version reads the log from its start, because that version may
    /// check more.
    pub program: String,
    /// Id of the boundary that owns the log.
    pub boundary: SealDigest,
    /// Time of the audit, by the auditor's clock.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seen: Option<Timestamp>,
    /// Signed note of the verified head, without changes.
    pub checkpoint: String,
    /// Number of entries.
    pub size: u64,
    /// Roots of the complete subtrees over the audited entries, largest first, in hex.
    pub tree: Vec<String>,
    /// Latest time that an entry stated.
    pub at: Timestamp,
    /// Seals of all open runs, and last the seal in force.
    pub seals: Vec<SavedSeal>,
    /// Old epochs that may not be used again.
    pub past_epochs: Vec<Epoch>,
    /// Names of removed tokens that may not be used again.
    pub gone_tokens: Vec<Name>,
    /// Denied authorizations.
    pub denials: Vec<AuthorizationDigest>,
    /// Revoked subjects, each with the log entry of its revocation.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub revocations: Vec<(RevokedSubject, u64)>,
    /// Numbers of the audited entries and of the results.
    pub counts: AuditCounts,
    /// Program versions that the seals name and that explain why a difference is not a failure.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub engines: Vec<String>,
    /// Previous log of the boundary, if this log continues another log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub follows: Option<FollowedLog>,
    /// State of the runs.
    pub runs: SavedRuns,
    /// Number of short hashes of nonces and proposals in the file beside the state.
    pub used_values: u64,
    /// Digest of the beginning of that file, as far as it belongs to this state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub used_digest: Option<Blake3Digest>,
}

/// Log entry of a seal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "KeptSeal")]
pub struct SavedSeal {
    /// Index of the entry.
    pub index: u64,
    /// Bytes of the entry.
    pub entry: String,
}

/// Data about runs that later entries may refer to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "KeptRuns")]
pub struct SavedRuns {
    /// Authorizations at the end of the log that no consumption has named yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waiting: Vec<AuthorizationRef>,
    /// Runs without a receipt.
    pub open: Vec<SavedOpenRun>,
    /// Index of the last receipt's log entry, for each exclusive name.
    pub exclusive: BTreeMap<String, u64>,
    /// The last state of each session.
    #[serde(default, skip_serializing_if = "SessionChains::is_empty")]
    pub sessions: SessionChains,
    /// Receipts of plans that a later run can carry out.
    #[serde(default, skip_serializing_if = "PlanReceipts::is_empty")]
    pub plans: PlanReceipts,
    /// The grants of the log, with their uses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub grants: Vec<SavedGrant>,
    /// The emergencies, and the runs with an unknown end.
    #[serde(default, skip_serializing_if = "ReviewedRuns::is_empty")]
    pub reviewed: ReviewedRuns,
    /// Questions that could not be decided, each with the number of decisions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unchecked: Vec<UncheckedQuestion>,
}

/// Run that has no receipt yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "KeptRun")]
pub struct SavedOpenRun {
    /// Log entry of the consumption, and the position of the nonce in it.
    pub place: (u64, u64),
    /// Leaf hash of the consumption's log entry.
    pub leaf: LeafHash,
    /// Time at which the nonce was spent.
    pub at: Timestamp,
    /// Item of the consumption that spent the nonce.
    pub spent: Spent,
    /// Log entry of the seal that was in force for this run.
    pub seal: u64,
}

impl SavedAudit {
    /// Version of the state format.
    pub const VERSION: u64 = 2;
    /// Name and version of this program.
    pub const PROGRAM: &'static str = concat!("countersign ", env!("CARGO_PKG_VERSION"));

    /// Returns true if this program version wrote the state. Only the checkpoint of another version's state is usable.
    pub fn is_ours(&self) -> bool {
        self.version == Self::VERSION && self.program == Self::PROGRAM
    }

    /// Returns the tree over the stored entries, or `None` if the hashes do not fit the size.
    pub fn frontier(&self) -> Option<Frontier> {
        let parts: Option<Vec<Hash>> = self.tree.iter().map(|part| unhex32(part)).collect();
        Frontier::from_parts(self.size, parts?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same numbers for each call with this seed.
    fn numbers(seed: u64, count: u64, below: u64) -> Vec<u64> {
        let mut state = seed;
        let mut next = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        let mut numbers: Vec<u64> = (0..count).map(|_| next()).collect();
        numbers.sort_unstable();
        numbers
    }

    #[test]
    fn equal_numbers_of_two_sorted_slices_are_found() {
        for (seed, one, other, below) in [
            (1, 0, 9, 9),
            (2, 1, 1000, 1200),
            (3, 500, 500, 4000),
            (4, 7, 300, 50),
            (5, 2000, 3, 9000),
        ] {
            let (one, other) = (numbers(seed, one, below), numbers(seed + 90, other, below));
            let expected: BTreeSet<u64> = one
                .iter()
                .copied()
                .filter(|number| other.contains(number))
                .collect();
            for (one, other) in [(&one, &other), (&other, &one)] {
                let mut found = BTreeSet::new();
                common(one, other, &mut found);
                assert_eq!(found, expected, "{seed}");
            }
        }
    }

    #[test]
    fn equal_hashes_within_a_chunk_between_chunks_and_with_an_earlier_audit_are_found() {
        let mut used = UsedValues {
            sorted: vec![vec![1, 5, 5, 9], vec![2, 9, 11]],
            newest: vec![30, 11, 20],
            ..UsedValues::default()
        };
        // Each earlier audit has appended a sorted sequence.
        used.compare(&[3, 20, 40, 2, 7, 21]);
        assert_eq!(used.compared(), 6);
        assert_eq!(used.take_twice(), [2, 5, 9, 11, 20].into());
        assert_eq!(used.sorted().concat(), [1, 5, 5, 9, 2, 9, 11, 11, 20, 30]);
    }

    #[test]
    fn the_place_of_a_value_is_kept_until_its_time_and_at_most_one_period_longer() {
        let mut used = UsedValues::default();
        let nonce: Nonce = "AAAAAAAAAAAAAAAAAAAAAA".parse().expect("a nonce");
        let until = Timestamp::from_unix(1_800_000_000);
        let first = used.spend(UsedValue::Nonce(&nonce), (1 << 40, 15), until);
        assert_eq!(first, None);
        let nonce = UsedValue::Nonce(&nonce).hash();
        for (now, is_kept) in [(-1, true), (0, true), (PERIOD_S, false)] {
            used.forget(until.plus(now));
            assert_eq!(
                used.earlier(nonce),
                is_kept.then_some((1 << 40, 15)),
                "{now}"
            );
        }
        assert_eq!(
            (used.count(), used.sorted().len()),
            (1, 1),
            "the short hash is kept for ever"
        );
    }
}
