//! The sizes that could stop a seal. Beyond a bound no seal is made, so the boundary warns from 80 % of a bound on.

use documents::{
    MAX_BLOB_BYTES, MAX_BUNDLE_BYTES, MAX_MADE_BYTES, MAX_MANIFEST_BYTES, MAX_PROGRAMS_BYTES,
    Malformed,
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

/// The bounds of one state. The first two are about lists that auditors read, the others about bundles.
#[derive(Default)]
pub struct SealBounds(pub Vec<SealBound>);

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
        let versions = rosters.json_from(bundles_from)?.len();
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
        exceeded(self.0.iter().take(2))
    }

    /// Says why a receipt may not fit into a bundle. Then a step could run although no bundle could prove the run.
    pub fn too_large_for_bundles(&self) -> Option<String> {
        exceeded(self.0.iter().skip(2)).next()
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
