//! The versions of the roster that the seals of a log put in force.
//!
//! A seal that puts new versions in force names a blob with these versions only. So the versions of a log are in the blobs of
//! all its seals, one after the other.

use std::sync::Arc;

use crate::{
    Chain, ChainError, EvidenceFiles, LogEntry, Pinned, TrustedRoster, Unreadable,
    audit::seal_in_force::named_documents::canonical_document,
};
use documents::{
    BlobDigest, Envelope, MAX_ROSTER_BYTES, MAX_SEALED_ROSTERS_BYTES, Predicate, RosterDigest,
    RosterVersion, Seal, Statement,
};

/// Known roster versions, all connected with the trusted version.
#[derive(Clone)]
pub struct Rosters {
    trusted: RosterDigest,
    chain: Chain,
    /// The roster of the last seal, with what the seal names.
    sealed: Option<(Named, Arc<TrustedRoster>)>,
    /// The blobs that the seals so far named.
    parts: Vec<BlobDigest>,
}

/// Digest of the roster that a seal names, and digest of the versions that are new in this seal.
type Named = (RosterDigest, Option<BlobDigest>);

impl Rosters {
    /// Connects the roster versions with the trusted roster.
    pub fn connect(pinned: &Pinned, versions: &[RosterVersion]) -> Result<Self, ChainError> {
        Ok(Self::of(pinned.digest(), Chain::connect(pinned, versions)?))
    }

    /// Returns the state before the first seal. `chain` has all versions of the log, as far as they are known.
    pub fn of(trusted: RosterDigest, chain: Chain) -> Self {
        Self {
            trusted,
            chain,
            sealed: None,
            parts: Vec::new(),
        }
    }

    /// Returns the state before the first seal, with the versions that are known now.
    pub fn again(&self) -> Self {
        Self::of(self.trusted, self.chain.clone())
    }

    pub fn trusted(&self) -> RosterDigest {
        self.trusted
    }

    pub fn chain(&self) -> &Chain {
        &self.chain
    }

    pub fn parts(&self) -> &[BlobDigest] {
        &self.parts
    }

    /// Continues after a seal that an earlier audit accepted. `parts` are the blobs that the seals until then named.
    pub fn continue_after(
        &mut self,
        seal: &Seal,
        roster: Arc<TrustedRoster>,
        parts: &[BlobDigest],
    ) {
        self.sealed = Some(((seal.roster, seal.rosters), roster));
        self.parts = parts.to_vec();
    }

    /// Returns the roster that a seal names, if this version is known.
    pub(super) fn known(&self, seal: &Seal) -> Result<Arc<TrustedRoster>, String> {
        let number = self.chain.number_of(&seal.roster);
        number
            .and_then(|number| self.chain.version(number))
            .map(Arc::new)
            .ok_or_else(|| {
                format!(
                    "the seal names the roster {}, which is not connected with the trusted roster",
                    seal.roster
                )
            })
    }

    /// Follows the next seal of the log, and returns the roster that it names.
    pub fn named_by(
        &mut self,
        seal: &Seal,
        beside: &dyn EvidenceFiles,
    ) -> Result<Result<Arc<TrustedRoster>, String>, Unreadable> {
        let named = (seal.roster, seal.rosters);
        if let Some((_, roster)) = self.sealed.as_ref().filter(|(last, _)| *last == named) {
            return Ok(Ok(roster.clone()));
        }
        // The blob of a known roster must still be present, because others get the roster only from this blob.
        let payload = BlobDigest::from_bytes(*seal.roster.as_bytes());
        if beside
            .blob(&payload)?
            .is_none_or(|bytes| BlobDigest::of(&bytes) != payload)
        {
            return Ok(Err(not_beside(&payload)));
        }
        if seal.rosters == Some(payload) {
            return Ok(Err(
                "the seal names a roster instead of a list of versions".to_owned()
            ));
        }
        let part = part_of(seal);
        let versions = match read_part(&part, beside)? {
            Ok(versions) => versions,
            Err(message) => return Ok(Err(message)),
        };
        // A part with an error changes nothing.
        let mut chain = self.chain.clone();
        let mut roster = self.sealed.as_ref().map(|(_, roster)| roster.clone());
        for version in &versions {
            match chain.follow(roster.as_deref(), version) {
                Ok(next) => roster = Some(next),
                Err(error) => return Ok(Err(error.to_string())),
            }
        }
        let Some(roster) = roster.filter(|roster| roster.digest() == seal.roster) else {
            return Ok(Err(format!(
                "the roster versions that the seal names do not end with the roster {}",
                seal.roster
            )));
        };
        if seal.rosters.is_some() && roster.version() == 1 {
            return Ok(Err(
                "the seal names a list of versions, but version 1 needs none".to_owned(),
            ));
        }
        if seal.rosters.is_none() && roster.version() > 1 {
            return Ok(Err(format!(
                "the seal puts version {} of the roster in force, but names no list of the new versions",
                roster.version()
            )));
        }
        self.chain = chain;
        self.parts.push(part);
        self.sealed = Some((named, roster.clone()));
        Ok(Ok(roster))
    }
}

/// Reads the versions of the roster from the seals of a log, without verifying signatures.
#[derive(Default)]
pub struct LoggedRosters {
    chain: Option<Chain>,
    parts: Vec<BlobDigest>,
}

impl LoggedRosters {
    /// Reads the versions that the seal in the next log entry names, if it is a seal. Versions that do not follow are left out.
    ///
    /// # Errors
    /// Returns an error if the source can't be read.
    pub fn entry(
        &mut self,
        entry: &LogEntry,
        beside: &dyn EvidenceFiles,
    ) -> Result<(), Unreadable> {
        if entry.kind() == Some(Seal::KIND)
            && let Ok(parts) = entry.parts()
            && let Ok(statement) = Statement::<Seal>::from_payload(&parts.payload)
        {
            return self.part(&part_of(&statement.predicate), beside);
        }
        Ok(())
    }

    /// Reads the versions in the next blob that a seal names.
    ///
    /// # Errors
    /// Returns an error if the source can't be read.
    pub fn part(
        &mut self,
        part: &BlobDigest,
        beside: &dyn EvidenceFiles,
    ) -> Result<(), Unreadable> {
        if self.parts.last() == Some(part) {
            return Ok(());
        }
        self.parts.push(*part);
        if let Ok(versions) = read_part(part, beside)? {
            match &mut self.chain {
                Some(chain) => chain.read_on(&versions, usize::MAX),
                none => *none = Chain::unverified(&versions, usize::MAX).ok(),
            }
        }
        Ok(())
    }

    /// Returns the versions so far, or `None` if no version could be read.
    pub fn chain(&self) -> Option<&Chain> {
        self.chain.as_ref()
    }

    /// Returns the blobs that were read, in the order of their seals.
    pub fn parts(&self) -> &[BlobDigest] {
        &self.parts
    }

    /// Returns the versions so far. The list is empty if no version could be read.
    pub fn versions(&self) -> Vec<RosterVersion> {
        self.chain
            .as_ref()
            .map_or_else(Vec::new, |chain| chain.versions_from(1))
    }
}

/// Returns the versions of the roster that the seals in these log entries name, from the first seal on and without verification.
/// Returns `None` if no version could be read.
///
/// # Errors
/// Returns an error if the source can't be read.
pub fn rosters_in<'e>(
    entries: impl IntoIterator<Item = &'e Vec<u8>>,
    beside: &dyn EvidenceFiles,
) -> Result<Option<Vec<RosterVersion>>, Unreadable> {
    let mut found = LoggedRosters::default();
    for entry in entries {
        found.entry(&LogEntry::of(entry.clone()), beside)?;
    }
    Ok(found.chain.map(|chain| chain.versions_from(1)))
}

fn not_beside(digest: &BlobDigest) -> String {
    format!("the roster that the seal names ({digest}) is not stored with the log")
}

/// Returns the blob that has the versions of this seal. For a log whose roster still has version 1, it is the payload.
pub fn part_of(seal: &Seal) -> BlobDigest {
    seal.rosters
        .unwrap_or_else(|| BlobDigest::from_bytes(*seal.roster.as_bytes()))
}

/// Returns the versions in a blob that a seal names, without verification.
pub fn read_part(
    part: &BlobDigest,
    beside: &dyn EvidenceFiles,
) -> Result<Result<Vec<RosterVersion>, String>, Unreadable> {
    let bytes = beside.blob(part)?;
    let Some(bytes) = bytes.filter(|bytes| BlobDigest::of(bytes) == *part) else {
        return Ok(Err(not_beside(part)));
    };
    // A payload is an object.
    if bytes.starts_with(b"[") {
        let what = "versions of the roster";
        let versions: Result<Vec<RosterVersion>, String> =
            canonical_document(what, &bytes, MAX_SEALED_ROSTERS_BYTES);
        return Ok(versions.and_then(|versions| {
            let form = RosterVersion::check_form(&versions);
            form.map_err(|error| format!("the sealed {what}: {error}"))?;
            Ok(versions)
        }));
    }
    Ok(if bytes.len() > MAX_ROSTER_BYTES {
        Err(format!(
            "the sealed roster has {} bytes, at most {MAX_ROSTER_BYTES} are allowed",
            bytes.len()
        ))
    } else {
        Ok(vec![RosterVersion::Whole(Envelope::new(
            &bytes,
            Vec::new(),
        ))])
    })
}
