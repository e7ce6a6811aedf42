//! Joins trusted versions of one roster with older versions that bundles or a log contain.
//!
//! A version from a bundle counts only because a trusted version names its digest in `previous`, directly or through
//! other such versions. Nobody can make another roster with that digest. Signatures of a later version in one bundle
//! are no reason to trust this version for another bundle.

use std::collections::HashMap;

use crate::{ChosenTrust, PrintableText, seem_same};
use documents::{Base64, Bundle, Envelope, MAX_BUNDLE_BYTES, RosterDigest, json};
use verdict::{Chain, Pinned, RosterTrust, TrustedRoster, payload_of};

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
            joined = join(&joined, &bundle.roster);
        }
    }
    joined
}

/// Joins the trusted rosters with each other and with `versions`, which begin with version 1 and which nobody verified.
/// A roster that is an older version of another one is left out, because the newer one decides.
pub fn join(trust: &[ChosenTrust], versions: &[Envelope]) -> Vec<ChosenTrust> {
    let given: HashMap<RosterDigest, &TrustedRoster> = trust
        .iter()
        .filter_map(ChosenTrust::roster)
        .map(|roster| (roster.digest(), roster))
        .collect();
    let mut joined: Vec<ChosenTrust> = trust
        .iter()
        .map(|one| complete(one, &given, versions))
        .collect();
    let newer: Vec<ChosenTrust> = joined
        .iter()
        .filter(|one| matches!(one.pinned, Pinned::Chain(_)))
        .cloned()
        .collect();
    joined.retain(|one| {
        let digest = one.pinned.digest();
        let has =
            |other: &ChosenTrust| matches!(&other.pinned, Pinned::Chain(chain) if chain.by_digest(&digest).is_some());
        !newer.iter().any(|other| other.pinned.digest() != digest && has(other))
    });
    joined
}

/// Returns the digest of the newest version that this trust lacks, or `None` if the trust lacks no version.
fn wanted(trust: &ChosenTrust) -> Option<RosterDigest> {
    match &trust.pinned {
        Pinned::Digest(digest) => Some(*digest),
        Pinned::Roster(roster) => roster.tables().previous,
        Pinned::Chain(_) => None,
    }
}

/// Returns the trust with all versions from version 1 on, or unchanged if versions are missing.
fn complete(
    trust: &ChosenTrust,
    given: &HashMap<RosterDigest, &TrustedRoster>,
    versions: &[Envelope],
) -> ChosenTrust {
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
        None => 0,
        Some(needed) => {
            let is_it = |version: &Envelope| {
                payload_of(version, Base64::Strict)
                    .is_ok_and(|payload| RosterDigest::of(&payload) == needed)
            };
            match versions.iter().position(is_it) {
                Some(at) => at + 1,
                None => return trust.clone(),
            }
        }
    };
    let own = line
        .iter()
        .rev()
        .map(|roster| Envelope::new(roster.payload(), Vec::new()));
    let all: Vec<Envelope> = versions[..below].iter().cloned().chain(own).collect();
    // The pinned version is the last version, so the digests in `previous` prove all earlier versions.
    match Chain::connect(&Pinned::Digest(trust.pinned.digest()), &all) {
        Ok(chain) => {
            let chain = Box::new(chain);
            ChosenTrust {
                pinned: Pinned::Chain(chain.clone()),
                audit: RosterTrust::Chain(chain),
                ..trust.clone()
            }
        }
        Err(_) => trust.clone(),
    }
}

/// Returns the versions of a bundle's roster as far as they can be read, without verification.
pub fn versions_in(bundle: &[u8]) -> Vec<TrustedRoster> {
    let bundle = json::parse_as::<Bundle>(bundle, MAX_BUNDLE_BYTES);
    bundle.map_or_else(|_| Vec::new(), |bundle| read_versions(&bundle.roster))
}

/// Parses versions of a roster as far as they can be read, without verification.
pub fn read_versions(versions: &[Envelope]) -> Vec<TrustedRoster> {
    let read = |version: &Envelope| {
        TrustedRoster::from_payload(&payload_of(version, Base64::Strict).ok()?).ok()
    };
    versions.iter().map_while(read).collect()
}

/// Returns a sentence about a version in `versions` that differs from the version of the same number that `trust`
/// knows. `place` names the source of `versions`: `the bundle` or `the log`.
pub fn contradiction(
    versions: &[TrustedRoster],
    trust: &ChosenTrust,
    place: &str,
) -> Option<String> {
    let known = match &trust.pinned {
        Pinned::Digest(_) => return None,
        Pinned::Roster(roster) => std::slice::from_ref(&**roster),
        Pinned::Chain(chain) => chain.versions(),
    };
    // A version also names the digest of the version before.
    let named = known.iter().flat_map(|roster| {
        [
            (roster.version(), Some(roster.digest())),
            (roster.version() - 1, roster.tables().previous),
        ]
    });
    let (other, digest) = named
        .filter_map(|(number, digest)| Some((number, digest?)))
        .find_map(|(number, digest)| {
            Some((
                versions
                    .iter()
                    .find(|one| one.version() == number && one.digest() != digest)?,
                digest,
            ))
        })?;
    let same = versions
        .iter()
        .any(|one| known.iter().any(|roster| seem_same(one, roster)));
    same.then(|| {
        let (number, from) = (other.version(), PrintableText::text(&trust.from));
        let found = other.digest();
        format!(
            "{place} has another version {number} of the roster ({found}) than you trust ({digest}, from {from})"
        )
    })
}

/// Returns true if the trusted roster may be another version of the same roster as `versions`. Two different first
/// versions belong to two different rosters.
pub fn is_later(trust: &ChosenTrust, versions: &[TrustedRoster]) -> bool {
    match &trust.pinned {
        Pinned::Digest(_) => false,
        Pinned::Roster(roster) => roster.version() > 1,
        Pinned::Chain(chain) => versions
            .first()
            .is_some_and(|first| first.digest() == chain.versions()[0].digest()),
    }
}

/// Returns the sentence about the first of several trusted rosters that contradicts a log.
pub fn contradicts_log(trust: &[&ChosenTrust], versions: &[Envelope]) -> Option<String> {
    let versions = read_versions(versions);
    let mut later = trust.iter().filter(|trust| is_later(trust, &versions));
    later.find_map(|trust| contradiction(&versions, trust, "the log"))
}
