//! Chain of roster versions, which connects a trusted version with the others.
//!
//! A reader trusts a later version if its signatures reach its own threshold and the threshold of the version before
//! (as in the root metadata of TUF). A reader trusts an earlier version because the `previous` digests lead from the
//! trusted version to it. A removed key can never return.
//!
//! A chain keeps its last version parsed, and of every other version only the difference and the signatures. So the memory
//! of a chain grows with what changed, and every check reads one version after the other.

use std::{ops::RangeInclusive, sync::Arc};

use crate::{
    ChainError, RosterError, TrustedRoster,
    trust::{
        chain_error::MAX_VERSIONS,
        key_history::KeyHistory,
        version_reading::{check_link, payload_of, read_first, read_next},
    },
};
use documents::{
    Base64, Envelope, EnvelopeSignature, KeyId, MAX_MADE_BYTES, Malformed, PatchedRoster, Roster,
    RosterDigest, RosterVersion, canonical, merge,
};
use serde_json::{Map, Value};

/// Roster that a reader trusts before any verification.
#[derive(Debug, Clone)]
pub enum Pinned {
    /// The version whose payload has this digest.
    Digest(RosterDigest),
    /// This version.
    Roster(Box<TrustedRoster>),
    /// All versions of this chain. The newest version has priority.
    Chain(Box<Chain>),
}

impl Pinned {
    /// Pins the payload of a roster file (an envelope), because the user chose the file.
    ///
    /// # Errors
    /// Returns an error if the file is not a roster, or breaks a rule of rosters.
    pub fn from_envelope(envelope: &Envelope) -> Result<Self, RosterError> {
        let payload = payload_of(envelope, Base64::Lenient).map_err(RosterError::Malformed)?;
        Ok(Self::Roster(Box::new(TrustedRoster::from_payload(
            &payload,
        )?)))
    }

    /// Returns the pinned digest.
    pub fn digest(&self) -> RosterDigest {
        match self {
            Self::Digest(digest) => *digest,
            Self::Roster(roster) => roster.digest(),
            Self::Chain(chain) => chain.newest().digest(),
        }
    }

    /// Returns the newest pinned roster, unless only its digest is pinned.
    pub fn newest(&self) -> Option<&TrustedRoster> {
        match self {
            Self::Digest(_) => None,
            Self::Roster(roster) => Some(roster),
            Self::Chain(chain) => Some(chain.newest()),
        }
    }

    /// Returns the pinned versions as a chain, unless only a digest is pinned.
    fn to_chain(&self) -> Option<Chain> {
        match self {
            Self::Digest(_) => None,
            Self::Roster(roster) => Some(Chain::of(roster)),
            Self::Chain(chain) => Some((**chain).clone()),
        }
    }
}

/// Versions of a roster without a gap, each connected with the trusted version.
#[derive(Debug, Clone)]
pub struct Chain {
    /// The first version.
    first: u64,
    /// The field `previous` of the first version.
    before: Option<RosterDigest>,
    links: Vec<Arc<Link>>,
    /// The last of these versions.
    last: Arc<TrustedRoster>,
    keys: KeyHistory,
    /// The number of the trusted version. It may be later than the last version.
    trusted: u64,
    /// The trusted version, while it is later than the last version.
    ahead: Option<Ahead>,
}

/// One version of a chain.
#[derive(Debug)]
struct Link {
    digest: RosterDigest,
    is_guarded: bool,
    /// The size of the payload in bytes.
    bytes: usize,
    /// The patch from the content of the version before, as canonical JSON. The first version is a patch of nothing.
    patch: Box<[u8]>,
    signatures: Box<[EnvelopeSignature]>,
}

/// A trusted version that the versions so far do not contain.
#[derive(Debug, Clone)]
struct Ahead {
    digest: RosterDigest,
    /// The trusted versions, unless only a digest is trusted.
    known: Option<Box<Chain>>,
}

impl Link {
    fn new(
        roster: &TrustedRoster,
        patch: &Map<String, Value>,
        signatures: &[EnvelopeSignature],
    ) -> Arc<Self> {
        let patch = canonical::canonical_of(patch).unwrap_or_default();
        Arc::new(Self {
            digest: roster.digest(),
            is_guarded: roster.is_guarded(),
            bytes: roster.payload().len(),
            patch: patch.into(),
            signatures: signatures.into(),
        })
    }

    fn patch(&self) -> Map<String, Value> {
        // The bytes were written from a map.
        serde_json::from_slice(&self.patch).unwrap_or_default()
    }
}

impl Chain {
    /// Connects `versions` (without gaps) with the pinned version.
    ///
    /// # Errors
    /// Returns an error for the first link that is not valid, or if the pinned version is not connected.
    pub fn connect(trusted: &Pinned, versions: &[RosterVersion]) -> Result<Self, ChainError> {
        Self::connect_within(trusted, versions, usize::MAX)
    }

    /// Does the same as [`Self::connect`] for the versions of a bundle.
    ///
    /// # Errors
    /// Returns the errors of [`Self::connect`], and an error if the versions do not have the form or the size that those of a
    /// bundle must have.
    pub fn connect_bundled(
        trusted: &Pinned,
        versions: &[RosterVersion],
    ) -> Result<Self, ChainError> {
        RosterVersion::check_form(versions).map_err(ChainError::Form)?;
        Self::connect_within(trusted, versions, MAX_MADE_BYTES)
    }

    fn connect_within(
        trusted: &Pinned,
        versions: &[RosterVersion],
        most: usize,
    ) -> Result<Self, ChainError> {
        let known = trusted.to_chain();
        let digest = trusted.digest();
        if versions.len() > MAX_VERSIONS {
            let found = versions.len();
            return Err(ChainError::Count { found });
        }
        let (begun, later) = Self::begun(versions)?;
        // A reader who trusts the version before continues there, so that the first version here needs signatures.
        let (number, before) = (begun.first, begun.before);
        let below = known.as_ref().filter(|known| {
            before.is_some() && known.link(number - 1).map(|link| link.digest) == before
        });
        let continues = below.is_some();
        let mut chain = below.map_or(begun, |known| known.until(number - 1));
        chain.ahead = Some(Ahead {
            digest,
            known: known.map(Box::new),
        });
        chain.reach();
        if continues {
            chain
                .append(&versions[0])
                .map_err(|error| chain.of_trust(error))?;
        }
        let mut made = 0;
        for version in later {
            chain.charge(&mut made, most)?;
            chain
                .append(version)
                .map_err(|error| chain.of_trust(error))?;
        }
        chain.check_connected()?;
        Ok(chain)
    }

    /// Counts the payload of the last version, before the next payload is made.
    fn charge(&self, made: &mut usize, most: usize) -> Result<(), ChainError> {
        *made += self.last.payload().len();
        if *made > most {
            let version = self.last.version() + 1;
            return Err(ChainError::TooLarge { version });
        }
        Ok(())
    }

    /// Connects `versions` with version 1 as the pinned version. The caller must have a reason to trust version 1, for
    /// example because the first seal names version 1.
    ///
    /// # Errors
    /// Returns an error for the first link that is not valid.
    pub fn from_first(versions: &[RosterVersion]) -> Result<Self, ChainError> {
        let (mut chain, later) = Self::begun(versions)?;
        if chain.first != 1 {
            return Err(ChainError::OutOfOrder {
                expected: 1,
                found: chain.first,
            });
        }
        for version in later {
            chain.append(version)?;
        }
        Ok(chain)
    }

    /// Reads the versions of a bundle or of a seal as far as they follow each other, without verifying their signatures. Trust
    /// nothing in the result: it only says what a document claims. `most` bounds the bytes of all payloads together.
    ///
    /// # Errors
    /// Returns an error if the first version can't be read.
    pub fn unverified(versions: &[RosterVersion], most: usize) -> Result<Self, ChainError> {
        let (mut chain, later) = Self::begun(versions)?;
        chain.read_on(later, most);
        Ok(chain)
    }

    /// Appends versions as far as they follow, without verifying their signatures, as [`Self::unverified`] does.
    pub fn read_on(&mut self, versions: &[RosterVersion], most: usize) {
        let mut made = 0;
        for version in versions {
            if self.charge(&mut made, most).is_err() {
                break;
            }
            let Ok((next, patch)) = read_next(&self.last, version) else {
                break;
            };
            if self
                .push(Arc::new(next), &patch, version.signatures())
                .is_err()
            {
                break;
            }
        }
    }

    /// Follows the version after `before`, or the first version. It may be one of these versions, perhaps with other
    /// signatures, or the next one. Its signatures must reach both thresholds, unless it or a later version is trusted. An error
    /// leaves the chain unchanged.
    ///
    /// # Errors
    /// Returns an error if the version does not follow, or if this chain has another version of the same number.
    pub fn follow(
        &mut self,
        before: Option<&TrustedRoster>,
        version: &RosterVersion,
    ) -> Result<Arc<TrustedRoster>, ChainError> {
        let (next, patch) = match before {
            Some(before) => read_next(before, version)?,
            None => match read_first(version)?.0 {
                first if first.version() == 1 => (first, Map::new()),
                first => {
                    let found = first.version();
                    return Err(ChainError::OutOfOrder { expected: 1, found });
                }
            },
        };
        let (number, last) = (next.version(), self.last.version());
        let known = self.digest_of(number);
        if known.is_some_and(|known| known != next.digest()) {
            return Err(ChainError::Forked { version: number });
        }
        if number > last + 1 || (number <= last && known.is_none()) {
            return Err(ChainError::OutOfOrder {
                expected: last + 1,
                found: number,
            });
        }
        if let Some(before) = before.filter(|_| self.ahead.is_none() && number > self.trusted) {
            check_link(before, &next, version.signatures())?;
        }
        let next = Arc::new(next);
        if number > last {
            if before.map(TrustedRoster::digest) != Some(self.last.digest()) {
                return Err(ChainError::Forked { version: last });
            }
            self.push(next.clone(), &patch, version.signatures())?;
        }
        Ok(next)
    }

    /// Returns the chain of one version that the caller trusts.
    pub fn of(roster: &TrustedRoster) -> Self {
        Self::begin(roster.clone(), &[])
    }

    /// Returns the chain of the first version, and the later versions.
    fn begun(versions: &[RosterVersion]) -> Result<(Self, &[RosterVersion]), ChainError> {
        let (first, later) = versions
            .split_first()
            .ok_or(ChainError::Count { found: 0 })?;
        let (roster, signatures) = read_first(first)?;
        Ok((Self::begin(roster, signatures), later))
    }

    fn begin(roster: TrustedRoster, signatures: &[EnvelopeSignature]) -> Self {
        let mut keys = KeyHistory::default();
        // The first version can't contain a removed key.
        let _ = keys.add(None, &roster);
        Self {
            first: roster.version(),
            before: roster.tables().previous,
            links: vec![Link::new(&roster, &roster.tables().content(), signatures)],
            keys,
            trusted: roster.version(),
            last: Arc::new(roster),
            ahead: None,
        }
    }

    /// Appends the next version, as [`Self::follow`] does.
    fn append(&mut self, version: &RosterVersion) -> Result<(), ChainError> {
        let last = self.last.clone();
        self.follow(Some(&last), version)?;
        Ok(())
    }

    fn push(
        &mut self,
        next: Arc<TrustedRoster>,
        patch: &Map<String, Value>,
        signatures: &[EnvelopeSignature],
    ) -> Result<(), ChainError> {
        if self.links.len() >= MAX_VERSIONS {
            let found = MAX_VERSIONS + 1;
            return Err(ChainError::Count { found });
        }
        self.keys.add(Some(&self.last), &next)?;
        self.links.push(Link::new(&next, patch, signatures));
        self.last = next;
        self.reach();
        Ok(())
    }

    /// Takes the last version as the trusted version, if it is this version.
    fn reach(&mut self) {
        match &self.ahead {
            Some(ahead) if ahead.digest == self.last.digest() => {
                self.trusted = self.last.version();
                self.ahead = None;
            }
            Some(Ahead {
                known: Some(known), ..
            }) => self.trusted = known.newest().version(),
            _ => {}
        }
    }

    /// Checks that the trusted version is one of these versions, or leads to the last one by its digests.
    fn check_connected(&self) -> Result<(), ChainError> {
        let Some(ahead) = &self.ahead else {
            return Ok(());
        };
        let (last, newest) = (self.last.digest(), self.last.version());
        let Some(known) = &ahead.known else {
            return Err(if self.first > 1 {
                ChainError::TooOld {
                    trusted: None,
                    first: self.first,
                }
            } else {
                self.not_trusted(ahead)
            });
        };
        let trusted = known.newest().version();
        if known.number_of(&last).is_some()
            || known.first == newest + 1 && known.before == Some(last)
        {
            self.keys.check_none_returns(newest, &known.keys)
        } else if known.first > newest + 1 {
            Err(ChainError::TooNew {
                trusted: known.first,
                newest,
            })
        } else if trusted + 1 < self.first {
            Err(ChainError::TooOld {
                trusted: Some(trusted),
                first: self.first,
            })
        } else {
            Err(self.not_trusted(ahead))
        }
    }

    /// A version that differs from a known one is connected with nothing that is trusted.
    fn of_trust(&self, error: ChainError) -> ChainError {
        match (&self.ahead, error) {
            (Some(ahead), ChainError::Forked { .. }) => self.not_trusted(ahead),
            (_, error) => error,
        }
    }

    fn not_trusted(&self, ahead: &Ahead) -> ChainError {
        ChainError::NotTrusted {
            trusted: ahead.digest,
            version: self.first,
            first: self.links[0].digest,
        }
    }

    /// Extends the chain by one version. The signatures must reach the threshold of the last version and the threshold of
    /// the new version.
    ///
    /// # Errors
    /// Returns an error if the version does not follow the last version.
    pub fn extend(&self, envelope: &Envelope) -> Result<Self, ChainError> {
        let mut chain = self.until(self.last.version());
        chain.append(&RosterVersion::Whole(envelope.clone()))?;
        Ok(chain)
    }

    /// Checks everything about the next version except its signatures.
    ///
    /// # Errors
    /// Returns an error if the version can't follow the last version with any signatures.
    pub fn check_follows(&self, envelope: &Envelope) -> Result<TrustedRoster, ChainError> {
        let (next, _) = read_next(&self.last, &RosterVersion::Whole(envelope.clone()))?;
        self.keys.clone().add(Some(&self.last), &next)?;
        Ok(next)
    }

    /// Returns the chain with the version after the last one, which the caller trusts without its signatures.
    ///
    /// # Errors
    /// Returns an error if the version does not follow the last version.
    pub fn with_trusted(mut self, next: &TrustedRoster) -> Result<Self, ChainError> {
        let envelope = Envelope::new(next.payload(), Vec::new());
        let (next, patch) = read_next(&self.last, &RosterVersion::Whole(envelope))?;
        self.ahead = None;
        self.trusted = next.version();
        self.push(Arc::new(next), &patch, &[])?;
        Ok(self)
    }

    /// Returns the part of the chain that ends with this version, or with the nearest version that the chain has.
    pub fn until(&self, version: u64) -> Self {
        let version = version.clamp(self.first, self.last.version());
        let mut chain = self.clone();
        chain.ahead = None;
        if let Some(last) = self.own_version(version) {
            chain.links.truncate((version - self.first + 1) as usize);
            chain.keys.truncate(version);
            chain.last = Arc::new(last);
        }
        chain.trusted = chain.trusted.min(version);
        chain
    }

    /// Returns the chain that ends with this version. All later versions of this chain are trusted.
    pub fn ending_at(&self, version: u64) -> Option<Self> {
        let mut chain = self.until(version);
        if chain.last.version() != version {
            return None;
        }
        if version < self.newest().version() {
            chain.trusted = self.newest().version();
            chain.ahead = Some(Ahead {
                digest: self.newest().digest(),
                known: Some(Box::new(self.clone())),
            });
        }
        Some(chain)
    }

    /// Returns the size in bytes of the payloads from this version on.
    pub fn payload_bytes(&self, first: u64) -> usize {
        let skipped = first.saturating_sub(self.first) as usize;
        self.links.iter().skip(skipped).map(|link| link.bytes).sum()
    }

    /// Returns the versions from `first` on as canonical JSON, in the form that a bundle has.
    ///
    /// # Errors
    /// Never returns an error in practice, because the versions were read before.
    pub fn json_from(&self, first: u64) -> Result<Vec<u8>, Malformed> {
        Ok(canonical::canonical_of(&self.versions_from(first))?)
    }

    /// Returns the last version, which the seal in a bundle names.
    pub fn last(&self) -> &TrustedRoster {
        &self.last
    }

    /// Returns the newest known version: the last version, or a newer pinned version.
    pub fn newest(&self) -> &TrustedRoster {
        self.known().map_or(&self.last, Self::newest)
    }

    /// Returns the trusted versions that are later than the last version.
    fn known(&self) -> Option<&Self> {
        self.ahead.as_ref()?.known.as_deref()
    }

    /// Returns the numbers of the versions, without newer pinned versions.
    pub fn numbers(&self) -> RangeInclusive<u64> {
        self.first..=self.last.version()
    }

    fn link(&self, version: u64) -> Option<&Link> {
        let at = usize::try_from(version.checked_sub(self.first)?).ok()?;
        self.links.get(at).map(|link| &**link)
    }

    /// Returns the digest of the version before the first, or `None` if the first is version 1.
    pub fn before(&self) -> Option<RosterDigest> {
        self.before
    }

    /// Returns the digest of this version.
    pub fn digest_of(&self, version: u64) -> Option<RosterDigest> {
        let own = self.link(version).map(|link| link.digest);
        own.or_else(|| self.known()?.digest_of(version))
    }

    /// Returns the number of the version with this digest.
    pub fn number_of(&self, digest: &RosterDigest) -> Option<u64> {
        let own = self.links.iter().rposition(|link| link.digest == *digest);
        own.map(|at| self.first + at as u64)
            .or_else(|| self.known()?.number_of(digest))
    }

    /// Returns the number and the digest of each version, and of the version before the first.
    pub fn named_digests(&self) -> impl Iterator<Item = (u64, RosterDigest)> {
        let before = self.before.map(|before| (self.first - 1, before));
        let own = self.links.iter().map(|link| link.digest);
        before.into_iter().chain((self.first..).zip(own))
    }

    /// Returns the part that ends with the version that has this digest, which the caller trusts.
    pub fn trusted_at(&self, digest: &RosterDigest) -> Option<Self> {
        let at = self.links.iter().position(|link| link.digest == *digest)?;
        let mut chain = self.until(self.first + at as u64);
        chain.trusted = chain.last.version();
        Some(chain)
    }

    /// Returns this version.
    pub fn version(&self, version: u64) -> Option<TrustedRoster> {
        self.own_version(version)
            .or_else(|| self.known()?.version(version))
    }

    fn own_version(&self, version: u64) -> Option<TrustedRoster> {
        let at = usize::try_from(version.checked_sub(self.first)?).ok()?;
        if version == self.last.version() {
            return Some((*self.last).clone());
        }
        let links = self.links.get(..=at)?;
        let mut content = Map::new();
        links
            .iter()
            .for_each(|link| merge(&mut content, &link.patch()));
        self.made(content, version, None)
    }

    /// Returns the version after `before`, which is one of the versions of this chain.
    fn version_after(&self, before: &TrustedRoster) -> Option<TrustedRoster> {
        let version = before.version() + 1;
        let mut content = before.tables().content();
        merge(&mut content, &self.link(version)?.patch());
        self.made(content, version, Some(before))
    }

    /// Makes a version again that was read before.
    fn made(
        &self,
        content: Map<String, Value>,
        version: u64,
        near: Option<&TrustedRoster>,
    ) -> Option<TrustedRoster> {
        let previous = match version - self.first {
            0 => self.before,
            _ => Some(self.link(version - 1)?.digest),
        };
        let tables = Roster::from_content(content, version, previous).ok()?;
        TrustedRoster::near(tables, near).ok()
    }

    /// Returns the envelope of this version, with the signatures of this chain.
    pub fn envelope(&self, version: u64) -> Option<Envelope> {
        self.envelope_of(&self.own_version(version)?)
    }

    /// Returns the envelope of a version of this chain, with the signatures of this chain.
    pub fn envelope_of(&self, roster: &TrustedRoster) -> Option<Envelope> {
        let link = self.link(roster.version())?;
        Some(Envelope::new(roster.payload(), link.signatures.to_vec()))
    }

    /// Returns the versions from `first` on.
    pub fn each_from(&self, first: u64) -> impl Iterator<Item = TrustedRoster> {
        let first = self.own_version(first.max(self.first));
        std::iter::successors(first, |before| self.version_after(before))
    }

    /// Returns the versions from `first` on: this version in full, and each later one as the difference from the version
    /// before.
    pub fn versions_from(&self, first: u64) -> Vec<RosterVersion> {
        let first = first.clamp(self.first, self.last.version());
        let whole = self.envelope(first).map(RosterVersion::Whole);
        let later = (first + 1..=self.last.version()).filter_map(|version| {
            let link = self.link(version)?;
            Some(RosterVersion::Patched(PatchedRoster {
                patch: link.patch(),
                signatures: link.signatures.to_vec(),
            }))
        });
        whole.into_iter().chain(later).collect()
    }

    /// Returns true if every version after the pinned version needed signatures of approvers of the previous version.
    /// Earlier versions are not checked, because the reader trusts the pinned version directly.
    pub fn is_guarded_since_trusted(&self) -> bool {
        let since = self.trusted.max(self.first)..self.last.version();
        since.into_iter().all(|version| self.is_guarded(version))
    }

    fn is_guarded(&self, version: u64) -> bool {
        self.link(version).is_none_or(|link| link.is_guarded)
    }

    /// Returns the numbers of the unguarded versions from the pinned version to the last version. The version after an
    /// unguarded version needs no signature. The supplier of the chain could have replaced that version.
    pub fn unguarded(&self) -> impl Iterator<Item = u64> {
        let last = self.last.version();
        let from = self.trusted.min(last).max(self.first);
        (from..=last).filter(|version| !self.is_guarded(*version))
    }

    /// Returns the keys of all these versions.
    pub fn keys(&self) -> &KeyHistory {
        &self.keys
    }

    /// Returns the keys of the newer pinned versions.
    pub fn newer_keys(&self) -> Option<&KeyHistory> {
        self.known().map(Self::keys)
    }

    /// Says why the last version does not accept signatures of this key. `passkeys` is true if policy has `passkeys`.
    pub fn unknown_key_words(&self, keyid: &KeyId, passkeys: bool) -> String {
        let last = self.last();
        if let Some((holder, key)) = last
            .foreign_keys()
            .iter()
            .find(|(_, key)| key.keyid() == *keyid)
        {
            if let Some(passkey) = key.passkey() {
                let why = if passkeys {
                    "a passkey signs only approvals, denials, the freeze and its own revocation"
                } else {
                    "the policy in force has no `passkeys`, so no passkey counts"
                };
                return format!(
                    "the key {keyid} of {holder} is a passkey of {}, and {why}: use a key of the type ssh-ed25519 or \
                     sk-ssh-ed25519",
                    passkey.host()
                );
            }
            return format!(
                "roster version {} has the key {keyid} of {holder}, but this version of the program can't verify its type \
                 {}: use a key of the type ssh-ed25519 or sk-ssh-ed25519",
                last.version(),
                key.kind()
            );
        }
        let removed = self.keys.removed_by(keyid);
        let removed = removed.map_or_else(String::new, |version| {
            format!("; version {version} removed it")
        });
        format!(
            "the key {keyid} is in no role of roster version {}{removed}",
            last.version()
        )
    }

    /// Returns the first version after `since` that does not reach a threshold without the signatures of revoked
    /// keys. `others` has the versions after `since`, perhaps with other valid signatures; without it, the signatures of this
    /// chain are judged. The pinned version and the versions before it are not judged, because the reader trusts them without
    /// their signatures.
    pub fn lacks_without(
        &self,
        since: &TrustedRoster,
        others: Option<&[RosterVersion]>,
        is_revoked: impl Fn(&KeyId) -> bool,
    ) -> Option<ChainError> {
        let mut before = since.clone();
        while let Some(next) = self.version_after(&before) {
            let signatures = match others {
                Some(others) => others
                    .get((before.version() - since.version()) as usize)?
                    .signatures(),
                None => &self.link(next.version())?.signatures,
            };
            let left = signatures.iter().filter(|one| !is_revoked(&one.keyid));
            let left: Vec<_> = left.cloned().collect();
            if next.version() > self.trusted
                && let Err(error) = check_link(&before, &next, &left)
            {
                return Some(error);
            }
            before = next;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use documents::{PAYLOAD_TYPE, PolicyDigest, SecretKey, SshKey, pae};

    const ALICE: u8 = 1;
    const BOB: u8 = 2;

    fn key(seed: u8) -> SshKey {
        SshKey::from_public(SecretKey::from_seed([seed; 32]).public(), "").expect("key")
    }

    fn first() -> Roster {
        let payload =
            include_bytes!("../../../../tests/conformance/golden/valid/payload/roster.json");
        TrustedRoster::from_payload(payload)
            .expect("golden")
            .tables()
            .clone()
    }

    fn sign(roster: Roster, seeds: &[u8]) -> Envelope {
        let payload = roster
            .into_statement()
            .and_then(|statement| statement.to_payload())
            .expect("payload");
        let message = pae(PAYLOAD_TYPE, &payload);
        let mut signatures: Vec<_> = seeds
            .iter()
            .map(|seed| {
                EnvelopeSignature::new(
                    key(*seed).keyid(),
                    &SecretKey::from_seed([*seed; 32]).sign(&message),
                )
            })
            .collect();
        signatures.sort();
        Envelope::new(&payload, signatures)
    }

    fn digest(envelope: &Envelope) -> RosterDigest {
        RosterDigest::of(&payload_of(envelope, Base64::Strict).expect("payload"))
    }

    /// Change that makes the next version, and the keys that sign it.
    type Step<'a> = (&'a dyn Fn(&mut Roster), &'a [u8]);

    fn envelopes(edits: &[Step<'_>]) -> Vec<Envelope> {
        let mut tables = first();
        let mut chain = vec![sign(tables.clone(), &[])];
        for (edit, seeds) in edits {
            tables.version += 1;
            tables.previous = chain.last().map(digest);
            edit(&mut tables);
            chain.push(sign(tables.clone(), seeds));
        }
        chain
    }

    fn whole(envelopes: &[Envelope]) -> Vec<RosterVersion> {
        envelopes
            .iter()
            .cloned()
            .map(RosterVersion::Whole)
            .collect()
    }

    fn versions(edits: &[Step<'_>]) -> Vec<RosterVersion> {
        whole(&envelopes(edits))
    }

    fn envelope(version: &RosterVersion) -> &Envelope {
        match version {
            RosterVersion::Whole(envelope) => envelope,
            RosterVersion::Patched(_) => panic!("a difference"),
        }
    }

    fn pinned(version: &RosterVersion) -> Pinned {
        Pinned::Digest(digest(envelope(version)))
    }

    fn all_of(chain: &Chain) -> Vec<Envelope> {
        chain
            .numbers()
            .filter_map(|version| chain.envelope(version))
            .collect()
    }

    fn same(_: &mut Roster) {}

    #[test]
    fn earlier_roster_versions_are_trusted_because_of_their_digest() {
        // Version 2 has no signatures, so only the `previous` digests connect it with version 1.
        let chain = versions(&[(&same, &[]), (&same, &[])]);
        assert!(
            Chain::connect(&pinned(&chain[2]), &chain).is_ok(),
            "pinned at the end"
        );
        assert!(
            Chain::connect(&pinned(&chain[0]), &chain).is_err(),
            "pinned at the beginning"
        );
        let newest = Pinned::from_envelope(envelope(&chain[2])).expect("roster");
        let connected = Chain::connect(&newest, &chain[..2]).expect("one newer than those here");
        assert_eq!(
            (connected.last().version(), connected.newest().version()),
            (2, 3)
        );
        let far = Chain::connect(&newest, &chain[..1]).expect_err("version 2 is missing");
        assert_eq!(
            far,
            ChainError::TooNew {
                trusted: 3,
                newest: 1
            }
        );
        assert!(
            far.to_string()
                .starts_with("version 2 of the roster is missing: "),
            "{far}"
        );
    }

    #[test]
    fn a_reader_who_has_all_roster_versions_can_verify_with_each_version() {
        let chain = versions(&[
            (&same, &[ALICE, BOB]),
            (&same, &[ALICE, BOB]),
            (&same, &[ALICE, BOB]),
        ]);
        let all = Chain::from_first(&chain).expect("connected");
        let pinned = Pinned::Chain(Box::new(all.clone()));
        for length in 1..=4 {
            let connected =
                Chain::connect(&pinned, &chain[..length]).expect("a prefix of what is known");
            assert_eq!(
                (connected.last().version(), connected.newest().version()),
                (length as u64, 4)
            );
        }
        let short = Pinned::Chain(Box::new(Chain::from_first(&chain[..2]).expect("connected")));
        assert_eq!(
            Chain::connect(&short, &chain)
                .expect("signed on")
                .newest()
                .version(),
            4
        );
        let fork = versions(&[(&|roster| roster.threshold = 1, &[ALICE, BOB])]);
        assert!(matches!(
            Chain::connect(&pinned, &fork),
            Err(ChainError::NotTrusted { .. })
        ));
        assert_eq!(
            all.extend(envelope(&chain[3])).expect_err("the same again"),
            ChainError::OutOfOrder {
                expected: 5,
                found: 4
            }
        );
        let shorter = Chain::from_first(&chain[..3]).expect("connected");
        let written = |chain: &Chain| chain.json_from(1).expect("canonical JSON");
        assert_eq!(written(&all.until(3)), written(&shorter));
        assert_eq!(
            [0, 9].map(|version| all.until(version).last().version()),
            [1, 4]
        );
        let longer = shorter.extend(envelope(&chain[3])).expect("it follows");
        assert_eq!(written(&longer), written(&all));
    }

    #[test]
    fn roster_versions_that_need_no_signatures_are_reported() {
        let open = |roster: &mut Roster| roster.threshold = 0;
        let guarded = |roster: &mut Roster| roster.threshold = 2;
        let chain = versions(&[(&open, &[ALICE, BOB]), (&guarded, &[ALICE, BOB])]);
        let seen = |at: usize| {
            let chain = Chain::connect(&pinned(&chain[at]), &chain).expect("connected");
            chain.unguarded().collect::<Vec<_>>()
        };
        assert_eq!(
            (seen(0), seen(1), seen(2)),
            (vec![2], vec![2], vec![]),
            "trust begins after it"
        );
    }

    #[test]
    fn only_versions_after_the_trusted_version_lack_the_signature_of_a_revoked_key() {
        let fewer = |roster: &mut Roster| roster.threshold = 1;
        let chain = versions(&[
            (&same, &[ALICE, BOB]),
            (&fewer, &[ALICE, BOB]),
            (&same, &[ALICE]),
            (&same, &[BOB]),
        ]);
        let lacking = |trusted: usize, since: u64, revoked: &[u8]| {
            let connected = Chain::connect(&pinned(&chain[trusted]), &chain).expect("connected");
            let is_revoked =
                |keyid: &KeyId| revoked.iter().any(|seed| key(*seed).keyid() == *keyid);
            connected
                .lacks_without(
                    &connected.version(since).expect("a version"),
                    chain.get(since as usize..),
                    is_revoked,
                )
                .map(|error| match error {
                    ChainError::TooFewSignatures { version, .. } => version,
                    other => panic!("{other}"),
                })
        };
        assert_eq!(lacking(0, 1, &[]), None);
        assert_eq!(lacking(0, 1, &[ALICE]), Some(2));
        assert_eq!(
            lacking(0, 2, &[BOB]),
            Some(3),
            "version 2 still requires two people"
        );
        assert_eq!(lacking(0, 3, &[ALICE]), Some(4));
        assert_eq!(lacking(0, 4, &[ALICE]), None, "bob alone signed version 5");
        assert_eq!(lacking(1, 1, &[ALICE]), Some(3), "version 2 is trusted");
        assert_eq!(
            lacking(4, 1, &[ALICE, BOB]),
            None,
            "the last version is trusted"
        );
    }

    /// A chain of five versions: bob gets another key in version 3, and version 5 has another policy.
    fn five() -> Vec<Envelope> {
        let rotate = |roster: &mut Roster| {
            let bob = "bob".parse().expect("name");
            roster.approvers.get_mut(&bob).expect("bob").keys = vec![key(21).line().to_owned()];
        };
        let policy = |roster: &mut Roster| roster.policy = PolicyDigest::of(b"other");
        envelopes(&[
            (&same, &[ALICE, BOB]),
            (&rotate, &[ALICE, BOB, 21]),
            (&same, &[ALICE, 21]),
            (&policy, &[ALICE, 21]),
        ])
    }

    #[test]
    fn differences_lead_to_the_same_versions() {
        let all = five();
        let chain = Chain::from_first(&whole(&all)).expect("connected");
        for first in 1..=5 {
            let versions = chain.versions_from(first);
            assert_eq!(RosterVersion::check_form(&versions), Ok(()));
            assert_eq!(versions.len() as u64, 6 - first);
            let at = first as usize - 1;
            assert_eq!(envelope(&versions[0]), &all[at]);
            let again = Chain::connect(&pinned(&RosterVersion::Whole(all[at].clone())), &versions)
                .expect("connected");
            assert_eq!(all_of(&again), all[at..], "from version {first}");
            for version in first..=5 {
                let envelope = again.envelope(version).expect("here");
                assert_eq!(envelope, all[version as usize - 1]);
                assert_eq!(again.digest_of(version), Some(digest(&envelope)));
                assert_eq!(again.number_of(&digest(&envelope)), Some(version));
                let short = again.until(version);
                assert_eq!(short.last().digest(), digest(&envelope));
                assert_eq!(all_of(&short), all[at..version as usize]);
            }
        }
        let mut more = chain.versions_from(1);
        let RosterVersion::Patched(last) = &mut more[4] else {
            panic!("in full")
        };
        last.patch.insert("threshold".to_owned(), 2.into());
        let error = Chain::from_first(&more).expect_err("a part without an effect");
        assert!(
            matches!(error, ChainError::Malformed { version: 5, .. }),
            "{error}"
        );
        more.truncate(3);
        more.remove(1);
        let error = Chain::from_first(&more).expect_err("version 2 is missing");
        assert!(
            matches!(error, ChainError::Signature { version: 2, .. }),
            "{error}"
        );
        assert_eq!(
            Chain::from_first(&more[1..]).err(),
            Some(ChainError::FirstIsPatch)
        );
    }

    #[test]
    fn a_chain_may_begin_with_a_later_version() {
        let all = five();
        let chain = Chain::from_first(&whole(&all)).expect("connected");
        let file = |version: usize| Pinned::from_envelope(&all[version - 1]).expect("a roster");
        let known = |first: u64, last: u64| {
            let trusted = pinned(&RosterVersion::Whole(all[first as usize - 1].clone()));
            let versions = chain.until(last).versions_from(first);
            Pinned::Chain(Box::new(
                Chain::connect(&trusted, &versions).expect("known"),
            ))
        };
        let with =
            |trusted: &Pinned, first: u64| Chain::connect(trusted, &chain.versions_from(first));
        for trusted in [
            file(3),
            file(4),
            file(5),
            file(2),
            known(1, 2),
            known(1, 4),
            known(2, 5),
            known(3, 3),
        ] {
            let connected = with(&trusted, 3).expect("connected");
            assert_eq!(connected.last().version(), 5);
            assert!(
                connected.number_of(&trusted.digest()).is_some(),
                "{connected:?}"
            );
        }
        assert_eq!(
            with(&known(1, 2), 3).expect("connected").numbers(),
            1..=5,
            "what was known is kept"
        );
        let missing = |trusted: &Pinned, first| with(trusted, first).expect_err("a gap").missing();
        assert_eq!(missing(&file(1), 3), Some((2, 2)));
        assert_eq!(missing(&file(1), 5), Some((2, 4)));
        assert_eq!(missing(&known(1, 2), 4), Some((3, 3)));
        assert_eq!(missing(&Pinned::Digest(digest(&all[0])), 3), Some((1, 2)));
        let short = chain.until(3).versions_from(2);
        assert_eq!(
            Chain::connect(&file(5), &short)
                .expect_err("a gap")
                .missing(),
            Some((4, 4))
        );
        assert_eq!(
            Chain::connect(&file(4), &short)
                .expect("the next")
                .newest()
                .version(),
            4
        );

        // The version before is trusted, so the first version needs signatures by it.
        let unsigned = |version: usize| {
            let mut all = all[version - 1..].to_vec();
            all[0].signatures.clear();
            whole(&all)
        };
        let error = Chain::connect(&file(2), &unsigned(3)).expect_err("unsigned");
        assert!(
            matches!(error, ChainError::TooFewSignatures { version: 3, .. }),
            "{error}"
        );
        assert!(
            Chain::connect(&file(3), &unsigned(3)).is_ok(),
            "trusted itself"
        );

        let fork = envelopes(&[(&|roster| roster.threshold = 1, &[ALICE, BOB])]);
        let fork = Pinned::from_envelope(&fork[1]).expect("a roster");
        for first in [1, 2, 3] {
            let error = with(&fork, first).expect_err("another version 2");
            assert!(
                matches!(error, ChainError::NotTrusted { .. }),
                "{first}: {error}"
            );
        }
    }

    #[test]
    fn a_key_that_a_known_version_removed_does_not_return_in_a_chain_that_begins_later() {
        fn carol(roster: &mut Roster) -> &mut Vec<String> {
            &mut roster
                .approvers
                .values_mut()
                .next_back()
                .expect("carol")
                .keys
        }
        let line = key(33).line().to_owned();
        let add = |roster: &mut Roster| carol(roster).push(line.clone());
        let remove = |roster: &mut Roster| drop(carol(roster).pop());
        let all = versions(&[
            (&add, &[ALICE, BOB]),
            (&remove, &[ALICE, BOB]),
            (&same, &[ALICE, BOB]),
            (&add, &[ALICE, BOB]),
        ]);
        let returned = |result: Result<Chain, ChainError>| {
            let error = result.expect_err("it returns");
            assert!(
                matches!(
                    error,
                    ChainError::KeyReturned {
                        version: 5,
                        gone_after: 2,
                        ..
                    }
                ),
                "{error}"
            );
        };
        returned(Chain::connect(&pinned(&all[0]), &all));
        returned(Chain::connect(&pinned(&all[4]), &all));
        let four = Chain::connect(&pinned(&all[0]), &all[..4]).expect("until version 4");
        returned(four.extend(envelope(&all[4])));
        returned(Chain::connect(
            &Pinned::Chain(Box::new(four.clone())),
            &all[3..],
        ));
        assert!(
            Chain::connect(&pinned(&all[3]), &all[3..]).is_ok(),
            "nobody knows of it"
        );
        let later = Chain::connect(&pinned(&all[3]), &all[3..]).expect("connected");
        returned(Chain::connect(&Pinned::Chain(Box::new(later)), &all[..4]));
        // The first known version lacks the key, so neither these versions nor the known ones alone show that it was removed.
        let later = Chain::connect(&pinned(&all[2]), &all[2..]).expect("connected");
        returned(Chain::connect(&Pinned::Chain(Box::new(later)), &all[..2]));
        let two = four.until(2);
        let again = two.until(1).extend(envelope(&all[1])).expect("again");
        assert_eq!(all_of(&again), all_of(&two));
    }

    #[test]
    fn a_log_brings_its_versions_one_after_the_other() {
        let all = five();
        let chain = Chain::from_first(&whole(&all)).expect("connected");
        let first = pinned(&RosterVersion::Whole(all[0].clone()));
        let third = Pinned::from_envelope(&all[2]).expect("a roster");
        let versions = chain.versions_from(1);
        // What the auditor trusts, and how many versions it knows before the first seal.
        for (trusted, known) in [
            (&first, 1),
            (&first, 3),
            (&first, 5),
            (&third, 2),
            (&third, 5),
        ] {
            let mut follows = Chain::connect(trusted, &versions[..known]).expect("connected");
            let mut before: Option<Arc<TrustedRoster>> = None;
            for (at, envelope) in all.iter().enumerate() {
                let version = RosterVersion::Whole(envelope.clone());
                let mut unsigned = envelope.clone();
                unsigned.signatures.clear();
                let needless = at == 0 || (std::ptr::eq(trusted, &third) && at < 3);
                let result = follows
                    .clone()
                    .follow(before.as_deref(), &RosterVersion::Whole(unsigned));
                assert_eq!(
                    result.is_ok(),
                    needless,
                    "version {}, {known} known",
                    at + 1
                );
                let next = follows
                    .follow(before.as_deref(), &version)
                    .expect("it follows");
                assert_eq!(next.digest(), digest(envelope));
                before = Some(next);
            }
            assert_eq!(follows.last().version(), 5);
            assert_eq!(follows.newest().version(), 5);
        }
        let mut follows = chain.clone();
        let error = follows
            .follow(None, &RosterVersion::Whole(all[2].clone()))
            .expect_err("not the first");
        assert_eq!(
            error,
            ChainError::OutOfOrder {
                expected: 1,
                found: 3
            }
        );
        let two = chain.version(2).expect("version 2");
        let again = follows.follow(Some(&two), &RosterVersion::Whole(all[1].clone()));
        assert!(
            matches!(
                again,
                Err(ChainError::OutOfOrder {
                    expected: 3,
                    found: 2
                })
            ),
            "twice"
        );
        let fork = envelopes(&[(&|roster| roster.threshold = 1, &[ALICE, BOB])]);
        let one = chain.version(1).expect("version 1");
        let forked = follows.follow(Some(&one), &RosterVersion::Whole(fork[1].clone()));
        assert_eq!(forked.err(), Some(ChainError::Forked { version: 2 }));
    }

    #[test]
    fn small_differences_that_stand_for_large_payloads_are_refused_before_they_are_made() {
        let all = five();
        let chain = Chain::from_first(&whole(&all)).expect("connected");
        let trusted = pinned(&RosterVersion::Whole(all[0].clone()));
        let versions = chain.versions_from(1);
        let fit: usize = (1..5)
            .map(|version| chain.version(version).expect("here").payload().len())
            .sum();
        assert!(Chain::connect_within(&trusted, &versions, fit).is_ok());
        let error = Chain::connect_within(&trusted, &versions, fit - 1).expect_err("one byte less");
        assert_eq!(error, ChainError::TooLarge { version: 5 });
        assert!(
            chain.payload_bytes(1) > fit,
            "the boundary counts the last one too"
        );
        assert_eq!(
            Chain::unverified(&versions, fit - 1)
                .expect("read")
                .last()
                .version(),
            4
        );
        let mixed = whole(&all[..2]);
        let error = Chain::connect_bundled(&trusted, &mixed).expect_err("in full");
        assert!(matches!(error, ChainError::Form(_)), "{error}");
        let part = chain.ending_at(3).expect("version 3");
        assert_eq!((part.last().version(), part.newest().version()), (3, 5));
        assert!(chain.ending_at(6).is_none() && chain.ending_at(0).is_none());
    }

    #[test]
    fn the_name_of_a_roster_never_changes() {
        let rename = |roster: &mut Roster| roster.name.push('2');
        let all = versions(&[(&rename, &[ALICE, BOB])]);
        let error = Chain::connect(&pinned(&all[0]), &all).expect_err("another name");
        assert_eq!(error, ChainError::OtherName { version: 2 });
    }

    #[test]
    fn a_removed_key_of_an_unverified_type_cannot_be_used_again() {
        let line = "webauthn-sk-ecdsa-sha2-nistp256@openssh.com AAAAK3dlYmF1dGhuLXNrLWVjZHNhLXNoYTItbmlzdHAyNTZAb3BlbnNzaC5jb20AAAAB";
        fn alice(roster: &mut Roster) -> &mut Vec<String> {
            &mut roster.approvers.values_mut().next().expect("alice").keys
        }
        let add = |roster: &mut Roster| alice(roster).push(line.to_owned());
        let remove = |roster: &mut Roster| drop(alice(roster).pop());
        let return_as_operator = |roster: &mut Roster| {
            roster
                .operators
                .values_mut()
                .for_each(|one| one.keys.push(format!("{line} other")))
        };
        let chain = versions(&[
            (&add, &[ALICE, BOB]),
            (&remove, &[ALICE, BOB]),
            (&return_as_operator, &[ALICE, BOB]),
        ]);
        let error = Chain::connect(&pinned(&chain[0]), &chain).expect_err("back again");
        assert!(
            matches!(
                error,
                ChainError::KeyReturned {
                    version: 4,
                    gone_after: 2,
                    ..
                }
            ),
            "{error}"
        );
    }
}
