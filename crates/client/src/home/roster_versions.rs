//! Joins trusted versions of one roster with older versions that bundles or a log contain.
//!
//! A version from a bundle counts only because a trusted version names its digest in `previous`, directly or through
//! other such versions. Nobody can make another roster with that digest. Signatures of a later version in one bundle
//! are no reason to trust this version for another bundle.

use std::{borrow::Cow, collections::HashMap};

use crate::{ChosenTrust, PrintableText};
use documents::{
    BoundaryName, Bundle, MAX_BUNDLE_BYTES, MAX_MADE_BYTES, RosterDigest, RosterVersion, json,
};
use verdict::{Chain, ChainError, Pinned, RosterTrust, TrustedRoster};

/// Adds the versions of the bundles to the trusted rosters that lack older versions. The bundles are read only if a
/// version is missing.
pub fn join_bundles<B: AsRef<[u8]>>(
    trust: &[ChosenTrust],
    bundles: impl Iterator<Item = B>,
) -> Vec<ChosenTrust> {
    let mut joined = join(trust, &[]);
    for bundle in bundles {
        if joined.iter().all(|trust| wanted(trust).is_none()) {
            break;
        }
        if let Ok(bundle) = json::parse_as::<Bundle>(bundle.as_ref(), MAX_BUNDLE_BYTES) {
            joined = join(&joined, bundle.roster.versions());
        }
    }
    joined
}

/// Joins the trusted rosters with each other and with `versions`, which nobody verified. A roster that is an older version of
/// another one is left out, because the newer one decides.
pub fn join(trust: &[ChosenTrust], versions: &[RosterVersion]) -> Vec<ChosenTrust> {
    let given: HashMap<RosterDigest, &TrustedRoster> = trust
        .iter()
        .filter_map(ChosenTrust::roster)
        .map(|roster| (roster.digest(), roster))
        .collect();
    let versions = trust
        .iter()
        .any(|one| wanted(one).is_some())
        .then(|| Chain::unverified(versions, MAX_MADE_BYTES).ok());
    let versions = versions.flatten();
    let mut joined: Vec<ChosenTrust> = trust
        .iter()
        .map(|one| complete(one, &given, versions.as_ref()))
        .collect();
    let newer: Vec<ChosenTrust> = joined
        .iter()
        .filter(|one| matches!(one.pinned, Pinned::Chain(_)))
        .cloned()
        .collect();
    joined.retain(|one| {
        let digest = one.pinned.digest();
        let has =
            |other: &ChosenTrust| matches!(&other.pinned, Pinned::Chain(chain) if chain.number_of(&digest).is_some());
        !newer.iter().any(|other| other.pinned.digest() != digest && has(other))
    });
    joined
}

/// Returns the digest of the newest version that this trust lacks, or `None` if the trust lacks no version.
fn wanted(trust: &ChosenTrust) -> Option<RosterDigest> {
    match &trust.pinned {
        Pinned::Digest(digest) => Some(*digest),
        Pinned::Roster(roster) => roster.tables().previous,
        Pinned::Chain(chain) => chain.before(),
    }
}

/// Returns the trust with all older versions, or unchanged if versions are missing.
fn complete(
    trust: &ChosenTrust,
    given: &HashMap<RosterDigest, &TrustedRoster>,
    versions: Option<&Chain>,
) -> ChosenTrust {
    if let Pinned::Chain(known) = &trust.pinned {
        let older = known.before();
        let older = older.and_then(|digest| versions?.trusted_at(&digest));
        let joined = older.map(|older| {
            known
                .each_from(1)
                .try_fold(older, |chain, next| chain.with_trusted(&next))
        });
        return with_chain(trust, joined);
    }
    // The newest version comes first.
    let mut line: Vec<&TrustedRoster> = trust.roster().into_iter().collect();
    while let Some(before) = line
        .last()
        .and_then(|last| last.tables().previous)
        .and_then(|digest| given.get(&digest))
    {
        line.push(before);
    }
    let needed = line
        .last()
        .map_or_else(|| wanted(trust), |last| last.tables().previous);
    let below = match needed {
        // Version 1 has no version before it.
        None => line.pop().map(Chain::of),
        Some(needed) => versions.and_then(|versions| versions.trusted_at(&needed)),
    };
    // The pinned version is the last version, so the digests in `previous` prove all earlier versions.
    let joined = below.map(|below| {
        let mut newer = line.into_iter().rev();
        newer.try_fold(below, Chain::with_trusted)
    });
    with_chain(trust, joined)
}

/// Returns the trust with this chain, or unchanged if there is none or its versions do not follow each other.
fn with_chain(trust: &ChosenTrust, chain: Option<Result<Chain, ChainError>>) -> ChosenTrust {
    match chain {
        Some(Ok(chain)) => {
            let chain = Box::new(chain);
            ChosenTrust {
                pinned: Pinned::Chain(chain.clone()),
                audit: RosterTrust::Chain(chain),
                ..trust.clone()
            }
        }
        _ => trust.clone(),
    }
}

/// Returns the versions of a bundle's roster as far as they can be read, without verification.
pub fn versions_in(bundle: &[u8]) -> Option<Chain> {
    let bundle = json::parse_as::<Bundle>(bundle, MAX_BUNDLE_BYTES).ok()?;
    Chain::unverified(bundle.roster.versions(), MAX_MADE_BYTES).ok()
}

/// Returns true if a roster may be a version of the same roster as these versions: it has the same name, or a boundary with the
/// same key.
pub fn seems_of(versions: &Chain, roster: &TrustedRoster) -> bool {
    let shared = |name: &BoundaryName| {
        let mut its = versions.keys().of_boundary(name);
        let keys = roster.boundary_keys(name);
        its.any(|material| keys.iter().any(|key| key.material() == material))
    };
    versions.last().tables().name == roster.tables().name
        || roster.tables().boundaries.keys().any(shared)
}

/// Returns a sentence about a version in `versions` that differs from the version of the same number that `trust`
/// knows. `place` names the source of `versions`: `the bundle` or `the log`.
pub fn contradiction(versions: &Chain, trust: &ChosenTrust, place: &str) -> Option<String> {
    let known = known_chain(trust)?;
    if !seems_of(versions, known.newest()) {
        return None;
    }
    // A version also names the digest of the version before.
    let (number, digest, found) = known.named_digests().find_map(|(number, digest)| {
        let found = versions
            .digest_of(number)
            .filter(|found| *found != digest)?;
        Some((number, digest, found))
    })?;
    let from = PrintableText::text(&trust.from);
    Some(format!(
        "{place} has another version {number} of the roster ({found}) than you trust ({digest}, from {from})"
    ))
}

fn known_chain(trust: &ChosenTrust) -> Option<Cow<'_, Chain>> {
    match &trust.pinned {
        Pinned::Digest(_) => None,
        Pinned::Roster(roster) => Some(Cow::Owned(Chain::of(roster))),
        Pinned::Chain(chain) => Some(Cow::Borrowed(chain)),
    }
}

/// Returns true if the trusted roster may be another version of the same roster as `versions`. Two different versions of one
/// number belong to two different rosters.
pub fn is_later(trust: &ChosenTrust, versions: &Chain) -> bool {
    match &trust.pinned {
        Pinned::Digest(_) => false,
        Pinned::Roster(roster) => roster.version() > 1,
        Pinned::Chain(chain) => {
            let first = *versions.numbers().start().max(chain.numbers().start());
            versions.digest_of(first).is_some()
                && versions.digest_of(first) == chain.digest_of(first)
        }
    }
}

/// Returns the sentence about the first of several trusted rosters that contradicts a log.
pub fn contradicts_log(trust: &[&ChosenTrust], versions: &[RosterVersion]) -> Option<String> {
    let versions = Chain::unverified(versions, MAX_MADE_BYTES).ok()?;
    let mut later = trust.iter().filter(|trust| is_later(trust, &versions));
    later.find_map(|trust| contradiction(&versions, trust, "the log"))
}
