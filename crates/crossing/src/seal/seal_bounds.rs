//! The sizes that could stop a seal. Beyond a bound no seal is made, so the boundary warns from 80 % of a bound on.

use documents::{
    MAX_BLOB_BYTES, MAX_BUNDLE_BYTES, MAX_MADE_BYTES, MAX_MANIFEST_BYTES, MAX_PROGRAMS_BYTES,
    MAX_ROSTER_BYTES, MAX_SEALED_ROSTERS_BYTES, Malformed,
};
use reading::{Policy, RegisteredStep, Registry, builtins};
use verdict::{Chain, MAX_VERSIONS};

/// A size of the sealed state, and its bound.
pub struct SealBound {
    /// Name of the bound in the metrics.
    pub name: &'static str,
    /// Percent of the bound that is used. More than 100 stops a seal.
    pub percent: u64,
    /// The size, the bound, and what to do.
    pub says: String,
}

/// The bounds of one state. The first [`LISTS`] are about documents that auditors read, the others about bundles.
#[derive(Default)]
pub struct SealBounds(pub Vec<SealBound>);

/// Number of bounds about documents that auditors read.
const LISTS: usize = 4;

/// Percent of a bound from which the boundary warns.
const NEAR: u64 = 80;

impl SealBound {
    /// `subject` ends with a verb, and `rest` says of what the size is and what to do.
    fn new(name: &'static str, subject: &str, (used, most): (usize, usize), rest: &str) -> Self {
        Self {
            name,
            percent: (used as u64 * 100).div_ceil(most as u64),
            says: format!("{subject} {used} of at most {most} {rest}"),
        }
    }
}

impl SealBounds {
    /// Measures a state. `list_of_tokens` is the size of the sealed list of tokens in bytes, and `bundles_from` the first version
    /// of the roster in bundles.
    ///
    /// # Errors
    /// Never returns an error in practice, because all parts were read before.
    pub fn of(
        (registry, policy): (&Registry, &Policy),
        list_of_tokens: usize,
        (rosters, bundles_from): (&Chain, u64),
    ) -> Result<Self, Malformed> {
        let all_versions = rosters.json_from(1)?.len();
        let versions = match bundles_from {
            ..=1 => all_versions,
            later => rosters.json_from(later)?.len(),
        };
        let rules = policy.canonical().len() + builtins::CANONICAL.len();
        let of_run = |step: &RegisteredStep| step.size + rules + MOST_OF_A_RUN;
        let with_plan = |step: &RegisteredStep| {
            let plan = step.definition.plan.as_ref();
            let plan = plan.and_then(|plan| registry.get(&plan.step));
            of_run(step) + plan.map_or(0, |plan| of_run(plan))
        };
        let largest = registry.steps().max_by_key(|step| with_plan(step));
        let (step, bytes) = largest.map_or_else(
            || ("no step".to_owned(), rules + MOST_OF_A_RUN),
            |step| (step.definition.reference.to_string(), with_plan(step)),
        );
        let later = "begin the bundles with a later version of the roster (`bundles_from_roster`)";
        Ok(Self(vec![
            SealBound::new(
                "steps",
                "the list of registered steps has",
                (registry.manifest().len(), MAX_BLOB_BYTES),
                "bytes: register fewer steps, or serve some steps by another boundary",
            ),
            SealBound::new(
                "tokens",
                "the list of tokens has",
                (list_of_tokens, MAX_BLOB_BYTES),
                "bytes: revoke unused tokens, or give the tokens fewer patterns",
            ),
            SealBound::new(
                "roster",
                "the roster has",
                (rosters.last().payload().len(), MAX_ROSTER_BYTES),
                "bytes: remove people or keys, or let another boundary serve some of the people",
            ),
            SealBound::new(
                "rosters",
                "the list of all versions of the roster has",
                (all_versions, MAX_SEALED_ROSTERS_BYTES),
                "bytes: begin a new boundary, whose roster has version 1",
            ),
            SealBound::new(
                "bundle",
                &format!("a bundle of {step} can have"),
                (versions + bytes, MAX_BUNDLE_BYTES),
                &format!("bytes, {versions} of them for the roster: shorten the step, or {later}"),
            ),
            SealBound::new(
                "roster_payloads",
                "the versions of the roster in a bundle, each in full, have",
                (rosters.payload_bytes(bundles_from), MAX_MADE_BYTES),
                &format!("bytes: {later}"),
            ),
            SealBound::new(
                "roster_versions",
                "the roster has",
                (rosters.last().version() as usize, MAX_VERSIONS),
                "versions: begin a new boundary, whose roster has version 1",
            ),
        ]))
    }

    /// Returns the lists that are too large.
    pub fn too_large_lists(&self) -> impl Iterator<Item = String> {
        exceeded(self.0.iter().take(LISTS))
    }

    /// Says why a receipt may not fit into a bundle. Then a step could run although no bundle could prove the run.
    pub fn too_large_for_bundles(&self) -> Option<String> {
        exceeded(self.0.iter().skip(LISTS)).next()
    }

    /// Returns a note about each bound of which 80 % are used.
    pub fn notes(&self) -> impl Iterator<Item = String> {
        let near = self.0.iter().filter(|bound| bound.percent >= NEAR);
        near.map(|bound| format!("a later seal may be refused: {}", bound.says))
    }
}

fn exceeded<'a>(bounds: impl Iterator<Item = &'a SealBound>) -> impl Iterator<Item = String> {
    bounds
        .filter(|bound| bound.percent > 100)
        .map(|bound| bound.says.clone())
}

/// Maximum total size in bytes of the parts of a bundle that differ from run to run. These parts are five log entries (a seal
/// of 54 KiB, an authorization of 46 KiB, a consumption of 22 KiB, a receipt of 13 KiB and a grant of 60 KiB at most), five
/// proofs, cosignatures, the list of programs and the list of the files that the run left.
const MOST_OF_A_RUN: usize = (256 << 10) + MAX_PROGRAMS_BYTES + MAX_MANIFEST_BYTES;

#[cfg(test)]
mod tests {
    use super::*;
    use documents::{Roster, RosterDigest, Statement};
    use serde_json::Value;
    use verdict::TrustedRoster;

    const ROSTER: &[u8] =
        include_bytes!("../../../../tests/conformance/golden/valid/payload/roster.json");
    const POLICY: &[u8] = include_bytes!(
        "../../../../tests/conformance/golden/valid/log/blob/sha256/66adefbccdd92510666623c4decc0de56f1b6a814c8fd7b2de48b7a9cf0d3c40"
    );

    /// Returns a version of the golden roster with an operator whose keys have about this many bytes.
    fn version(number: u64, previous: Option<RosterDigest>, bytes: usize) -> TrustedRoster {
        version_with(number, previous, bytes, "c")
    }

    /// Returns the same with this letter in the comments of the keys.
    fn version_with(
        number: u64,
        previous: Option<RosterDigest>,
        bytes: usize,
        comment: &str,
    ) -> TrustedRoster {
        let golden = Statement::<Roster>::from_payload(ROSTER).expect("golden");
        let mut roster = golden.predicate;
        (roster.version, roster.previous) = (number, previous);
        let operator = roster.operators.values_mut().next().expect("an operator");
        let letter = |of: usize| char::from(b'A' + (of % 26) as u8);
        // The key blob has the type `x` and four more bytes.
        operator.keys.extend((0..bytes / 1000).map(|key| {
            let (one, two) = (letter(key / 26), letter(key));
            format!("x AAAAAXgAAA{one}{two} {}", comment.repeat(980))
        }));
        let statement = roster.into_statement().expect("a statement");
        let payload = statement.to_payload().expect("a payload");
        TrustedRoster::from_payload(&payload).expect("a roster")
    }

    fn bounds(rosters: &Chain, bundles_from: u64) -> SealBounds {
        let policy: Value = serde_json::from_slice(POLICY).expect("JSON");
        let policy = Policy::from_sealed(&policy).expect("a policy");
        let registry = Registry::from_definitions([]).expect("no step");
        SealBounds::of((&registry, &policy), 2, (rosters, bundles_from)).expect("bounds")
    }

    fn percent(bounds: &SealBounds, name: &str) -> u64 {
        let found = bounds.0.iter().find(|bound| bound.name == name);
        found.expect("a bound").percent
    }

    #[test]
    fn a_bound_is_noted_from_80_percent_on_and_stops_a_seal_above_100() {
        for (used, percent, notes, stops) in [
            (790, 79, 0, 0),
            (791, 80, 1, 0),
            (1000, 100, 1, 0),
            (1001, 101, 1, 1),
        ] {
            let bound = || SealBound::new("x", "the list has", (used, 1000), "bytes: shorten");
            let all = SealBounds(vec![bound()]);
            assert_eq!(all.0[0].percent, percent);
            assert_eq!(all.notes().count(), notes, "{used}");
            assert_eq!(all.too_large_lists().count(), stops, "{used}");
            let room = || SealBound::new("x", "it has", (0, 1000), "bytes");
            let lists = (0..LISTS).map(|_| room());
            let all = SealBounds(lists.chain([bound()]).collect());
            assert_eq!(all.too_large_lists().count(), 0);
            let expected = format!("the list has {used} of at most 1000 bytes: shorten");
            assert_eq!(
                all.too_large_for_bundles(),
                (stops == 1).then(|| expected.clone())
            );
            let soon = format!("a later seal may be refused: {expected}");
            assert_eq!(all.notes().next(), (notes == 1).then_some(soon));
        }
    }

    #[test]
    fn the_number_of_versions_stops_a_seal_above_65536() {
        for (number, expected, stops) in [
            (51_773, 79, false),
            (52_428, 80, false),
            (65_536, 100, false),
            (65_537, 101, true),
        ] {
            let previous = Some(RosterDigest::of(b"before"));
            let bounds = bounds(&Chain::of(&version(number, previous, 0)), number);
            assert_eq!(percent(&bounds, "roster_versions"), expected);
            let says = format!("the roster has {number} of at most 65536 versions: begin");
            let stopped = bounds.too_large_for_bundles();
            assert_eq!(stopped.is_some_and(|words| words.starts_with(&says)), stops);
            let noted = bounds.notes().any(|note| note.contains(&says));
            assert_eq!(noted, expected >= 80);
        }
    }

    #[test]
    fn the_list_of_all_versions_stops_a_seal_above_32_mib() {
        const LARGE: usize = 250_000;
        let mut chain = Chain::of(&version(1, None, LARGE));
        for number in 2..=140 {
            // The comments of all keys change, so the difference contains all keys.
            let comment = if number % 2 == 0 { "d" } else { "c" };
            let next = version_with(number, Some(chain.last().digest()), LARGE, comment);
            chain = chain.with_trusted(&next).expect("it follows");
        }
        // Bundles that begin later do not help, because the first seal of a restored log has all versions.
        let all = bounds(&chain, 140);
        assert!(percent(&all, "rosters") > 100);
        assert!((80..=100).contains(&percent(&all, "roster")));
        let stops: Vec<String> = all.too_large_lists().collect();
        assert_eq!(stops.len(), 1, "{stops:?}");
        assert!(stops[0].starts_with("the list of all versions of the roster has "));
        let chain = chain.until(120);
        assert_eq!(bounds(&chain, 1).too_large_lists().next(), None);
    }

    #[test]
    fn the_payloads_of_the_versions_in_a_bundle_stop_a_seal_above_256_mib() {
        const LARGE: usize = 250_000;
        let mut chain = Chain::of(&version(1, None, LARGE));
        let mut stopped = None;
        while stopped.is_none() {
            let last = chain.last();
            let next = version(last.version() + 1, Some(last.digest()), LARGE);
            chain = chain.with_trusted(&next).expect("it follows");
            let used = chain.payload_bytes(1);
            if used < MAX_MADE_BYTES - LARGE {
                continue;
            }
            let bounds = bounds(&chain, 1);
            let percent = percent(&bounds, "roster_payloads");
            assert_eq!(percent > 100, used > MAX_MADE_BYTES, "{used}");
            stopped = bounds.too_large_for_bundles();
        }
        let used = chain.payload_bytes(1);
        let says = format!("in a bundle, each in full, have {used} of at most 268435456 bytes");
        assert!(stopped.is_some_and(|words| words.contains(&says)));
        assert!(used <= MAX_MADE_BYTES + (256 << 10), "{used}");
        // Bundles that begin with a later version have room.
        assert_eq!(bounds(&chain, 2).too_large_for_bundles(), None);
    }
}
