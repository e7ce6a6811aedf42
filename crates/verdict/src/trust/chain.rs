//! Chain of roster versions, which connects a trusted version with the others.
//!
//! A reader trusts a later version if its signatures reach its own threshold and the threshold of the version before
//! (as in the root metadata of TUF). A reader trusts an earlier version because the `previous` digests lead from the
//! trusted version to it. A removed key can never return.

use std::collections::HashMap;

use crate::{
    ChainError, RosterError, SuccessionTallies, TrustedRoster, trust::chain_error::MAX_VERSIONS,
};
use documents::{Base64, Envelope, KeyId, Malformed, Roster, RosterDigest, Signed, canonical};

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
}

/// All versions from version 1 on, each connected with the pinned version.
#[derive(Debug, Clone)]
pub struct Chain {
    versions: Vec<TrustedRoster>,
    envelopes: Vec<Envelope>,
    /// The index of the pinned version in `versions`. If the pinned version is newer than all these versions, the index
    /// is beyond the last version.
    anchor: usize,
    /// Pinned versions that are newer than the last version in `versions`.
    newer: Vec<TrustedRoster>,
}

impl Chain {
    /// Connects `versions` (from version 1 on, without gaps) with the pinned version.
    ///
    /// # Errors
    /// Returns an error for the first link that is not valid.
    pub fn connect(trusted: &Pinned, versions: &[Envelope]) -> Result<Self, ChainError> {
        let read = read(versions)?;
        let newest = read.len() as u64;
        let mut newer = Vec::new();
        let anchor = match (
            read.iter()
                .position(|roster| roster.digest() == trusted.digest()),
            trusted,
        ) {
            (Some(at), _) => at,
            // The pinned version may directly follow the last version.
            (None, Pinned::Roster(roster))
                if roster.version() == newest + 1
                    && roster.tables().previous == read.last().map(TrustedRoster::digest) =>
            {
                newer.push((**roster).clone());
                read.len()
            }
            (None, Pinned::Roster(roster)) if roster.version() > newest + 1 => {
                return Err(ChainError::TooNew {
                    trusted: roster.version(),
                    newest,
                });
            }
            // The pinned chain may contain the last version, and all versions between it and the pinned version.
            (None, Pinned::Chain(known)) => {
                let here = read.last().map(TrustedRoster::digest);
                let mut all = known.versions.iter().chain(&known.newer);
                if !all.any(|roster| Some(roster.digest()) == here) {
                    return Err(ChainError::NotTrusted {
                        trusted: trusted.digest(),
                        first: read[0].digest(),
                    });
                }
                newer.extend(all.cloned());
                read.len()
            }
            _ => {
                return Err(ChainError::NotTrusted {
                    trusted: trusted.digest(),
                    first: read[0].digest(),
                });
            }
        };
        for at in anchor + 1..read.len() {
            check_link(&read[at - 1], &read[at], &versions[at])?;
        }
        let chain = Self {
            versions: read,
            envelopes: versions.to_vec(),
            anchor,
            newer,
        };
        chain.check_no_return()?;
        Ok(chain)
    }

    /// Connects `versions` with version 1 as the pinned version. The caller must have a reason to trust version 1, for
    /// example because the first seal names version 1.
    ///
    /// # Errors
    /// Returns an error for the first link that is not valid.
    pub fn from_first(versions: &[Envelope]) -> Result<Self, ChainError> {
        let first = versions.first().ok_or(ChainError::Count { found: 0 })?;
        let payload = payload_of(first, Base64::Strict)
            .map_err(|error| ChainError::Malformed { version: 1, error })?;
        Self::connect(&Pinned::Digest(RosterDigest::of(&payload)), versions)
    }

    /// Extends the chain by one version. The signatures must reach the threshold of the last version and the threshold of
    /// the new version.
    ///
    /// # Errors
    /// Returns an error if the version does not follow the last version.
    pub fn extend(&self, envelope: &Envelope) -> Result<Self, ChainError> {
        let longer = self.with(self.read_next(envelope)?, envelope)?;
        check_link(self.last(), longer.last(), envelope)?;
        Ok(longer)
    }

    /// Checks everything about the next version except its signatures.
    ///
    /// # Errors
    /// Returns an error if the version can't follow the last version with any signatures.
    pub fn check_follows(&self, envelope: &Envelope) -> Result<TrustedRoster, ChainError> {
        let next = self.read_next(envelope)?;
        let _connected = self.with(next.clone(), envelope)?;
        Ok(next)
    }

    /// Returns the part of the chain that ends with this version.
    pub fn until(&self, version: u64) -> Self {
        // Version 1 always exists.
        let length = usize::try_from(version.max(1))
            .unwrap_or(usize::MAX)
            .min(self.versions.len());
        Self {
            versions: self.versions[..length].to_vec(),
            envelopes: self.envelopes[..length].to_vec(),
            anchor: self.anchor,
            newer: Vec::new(),
        }
    }

    fn with(&self, next: TrustedRoster, envelope: &Envelope) -> Result<Self, ChainError> {
        let mut chain = self.clone();
        chain.versions.push(next);
        chain.envelopes.push(envelope.clone());
        chain.newer.clear();
        chain.check_no_return()?;
        Ok(chain)
    }

    fn read_next(&self, envelope: &Envelope) -> Result<TrustedRoster, ChainError> {
        if self.versions.len() == MAX_VERSIONS {
            return Err(ChainError::Count {
                found: MAX_VERSIONS + 1,
            });
        }
        read_one(envelope, self.last().version() + 1, Some(self.last()))
    }

    /// Returns the last version, which the seal in a bundle names.
    pub fn last(&self) -> &TrustedRoster {
        // `connect` refuses an empty list, so a last version exists.
        &self.versions[self.versions.len() - 1]
    }

    /// Returns the newest known version: the last version, or a newer pinned version.
    pub fn newest(&self) -> &TrustedRoster {
        self.newer.last().unwrap_or_else(|| self.last())
    }

    /// Returns true if every version after the pinned version needed signatures of approvers of the previous version.
    /// Earlier versions are not checked, because the reader trusts the pinned version directly.
    pub fn is_guarded_since_trusted(&self) -> bool {
        let before_last = self.versions.len() - 1;
        // No version follows a pinned version that is the newest version.
        let since = self
            .versions
            .get(self.anchor..before_last)
            .unwrap_or_default();
        since.iter().all(TrustedRoster::is_guarded)
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
        let removed = self
            .versions
            .iter()
            .rposition(|version| version.key(keyid).is_some());
        let removed = removed.and_then(|at| self.versions.get(at + 1));
        let removed = removed.map_or_else(String::new, |next| {
            format!("; version {} removed it", next.version())
        });
        format!(
            "the key {keyid} is in no role of roster version {}{removed}",
            last.version()
        )
    }

    /// Returns the version with this digest.
    pub fn by_digest(&self, digest: &RosterDigest) -> Option<&TrustedRoster> {
        self.versions
            .iter()
            .chain(&self.newer)
            .find(|roster| roster.digest() == *digest)
    }

    /// Returns the parsed versions from version 1 to the last version.
    pub fn versions(&self) -> &[TrustedRoster] {
        &self.versions
    }

    /// Returns the signed envelopes of the versions from version 1 to the last version.
    pub fn envelopes(&self) -> &[Envelope] {
        &self.envelopes
    }

    /// Returns the envelopes as a canonical JSON array. A bundle contains this array in `roster`, and a seal contains
    /// its digest in `rosters`.
    ///
    /// # Errors
    /// Never returns an error in practice, because envelopes consist of texts.
    pub fn to_canonical(&self) -> Result<Vec<u8>, Malformed> {
        Ok(canonical::canonical_of(&self.envelopes)?)
    }

    /// Returns the unguarded versions from the pinned version to the last version. The version after an unguarded
    /// version needs no signature. The supplier of the chain could have replaced that version.
    pub fn unguarded(&self) -> impl Iterator<Item = &TrustedRoster> {
        let from = self.anchor.min(self.versions.len() - 1);
        self.versions[from..]
            .iter()
            .filter(|roster| !roster.is_guarded())
    }

    /// Returns the first version after version `since` that does not reach a threshold without the signatures of revoked
    /// keys. `envelopes` has the versions of this chain from version 1 on, perhaps with other valid signatures. The pinned
    /// version and the versions before it are not judged, because the reader trusts them without their signatures.
    pub fn lacks_without(
        &self,
        envelopes: &[Envelope],
        since: u64,
        is_revoked: impl Fn(&KeyId) -> bool,
    ) -> Option<ChainError> {
        let first = usize::try_from(since.max(1))
            .unwrap_or(usize::MAX)
            .max(self.anchor + 1);
        (first..envelopes.len().min(self.versions.len())).find_map(|at| {
            let mut envelope = envelopes[at].clone();
            envelope
                .signatures
                .retain(|signature| !is_revoked(&signature.keyid));
            check_link(&self.versions[at - 1], &self.versions[at], &envelope).err()
        })
    }

    // A key that a version removed may never return, under any name or role.
    fn check_no_return(&self) -> Result<(), ChainError> {
        let mut last_seen: HashMap<[u8; 32], u64> = HashMap::new();
        for roster in self.versions.iter().chain(&self.newer) {
            for (material, holder) in roster.material() {
                if let Some(seen) = last_seen.insert(material, roster.version())
                    && seen + 1 < roster.version()
                {
                    return Err(ChainError::KeyReturned {
                        version: roster.version(),
                        gone_after: seen,
                        holder: holder.to_string(),
                    });
                }
            }
        }
        Ok(())
    }
}

/// Reads versions from version 1 on, without checking signatures. Each version must name the digest of the version
/// before.
fn read(versions: &[Envelope]) -> Result<Vec<TrustedRoster>, ChainError> {
    if versions.is_empty() || versions.len() > MAX_VERSIONS {
        return Err(ChainError::Count {
            found: versions.len(),
        });
    }
    let mut read: Vec<TrustedRoster> = Vec::with_capacity(versions.len());
    for (at, envelope) in versions.iter().enumerate() {
        let roster = read_one(envelope, at as u64 + 1, read.last())?;
        read.push(roster);
    }
    Ok(read)
}

fn read_one(
    envelope: &Envelope,
    version: u64,
    before: Option<&TrustedRoster>,
) -> Result<TrustedRoster, ChainError> {
    let payload = payload_of(envelope, Base64::Strict)
        .map_err(|error| ChainError::Malformed { version, error })?;
    let roster = TrustedRoster::from_payload(&payload)
        .map_err(|error| ChainError::Roster { version, error })?;
    if roster.version() != version {
        return Err(ChainError::OutOfOrder {
            expected: version,
            found: roster.version(),
        });
    }
    if roster.tables().previous != before.map(TrustedRoster::digest) {
        return Err(ChainError::OtherPrevious { version });
    }
    if version == 1 && !envelope.signatures.is_empty() {
        return Err(ChainError::FirstIsSigned);
    }
    Ok(roster)
}

/// Returns the payload of an envelope that is trusted without its signatures.
///
/// # Errors
/// Returns an error if the envelope has another payload type, is too large or is not base64, or with strict base64 if
/// the signatures are out of order or duplicated.
pub fn payload_of(envelope: &Envelope, base64: Base64) -> Result<Vec<u8>, Malformed> {
    // `from_envelope` checks the type, the sizes and the form of all base64.
    let _checked: Signed<Roster> = Signed::from_envelope(envelope, base64)?;
    // In bundles and in the log, signatures are sorted by key id, and each key signs once.
    if base64 == Base64::Strict
        && !envelope
            .signatures
            .is_sorted_by(|one, next| one.keyid < next.keyid)
    {
        return Err(Malformed::at(
            "/signatures",
            "the signatures are out of order, or a key signed twice: sort the signatures by keyid, and list each key \
             once",
        ));
    }
    base64.decode("/payload", &envelope.payload)
}

/// Checks that the signatures of `next` reach the thresholds of `before` and of `next`.
fn check_link(
    before: &TrustedRoster,
    next: &TrustedRoster,
    envelope: &Envelope,
) -> Result<(), ChainError> {
    let standing = SuccessionTallies::of(before, next, &envelope.signatures)?;
    for tally in [&standing.of_before, &standing.of_next] {
        if tally.missing() > 0 {
            return Err(ChainError::TooFewSignatures {
                version: next.version(),
                of: tally.version,
                found: tally.signed.len() as u64,
                required: tally.required,
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use documents::{EnvelopeSignature, PAYLOAD_TYPE, SecretKey, SshKey, pae};

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

    fn versions(edits: &[Step<'_>]) -> Vec<Envelope> {
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

    fn same(_: &mut Roster) {}

    #[test]
    fn earlier_roster_versions_are_trusted_because_of_their_digest() {
        // Version 2 has no signatures, so only the `previous` digests connect it with version 1.
        let chain = versions(&[(&same, &[]), (&same, &[])]);
        assert!(
            Chain::connect(&Pinned::Digest(digest(&chain[2])), &chain).is_ok(),
            "pinned at the end"
        );
        assert!(
            Chain::connect(&Pinned::Digest(digest(&chain[0])), &chain).is_err(),
            "pinned at the beginning"
        );
        let newest = Pinned::from_envelope(&chain[2]).expect("roster");
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
            all.extend(&chain[3]).expect_err("the same again"),
            ChainError::OutOfOrder {
                expected: 5,
                found: 4
            }
        );
        let shorter = Chain::from_first(&chain[..3]).expect("connected");
        assert_eq!(all.until(3).to_canonical(), shorter.to_canonical());
        assert_eq!(
            [0, 9].map(|version| all.until(version).last().version()),
            [1, 4]
        );
        assert_eq!(
            shorter
                .extend(&chain[3])
                .expect("it follows")
                .to_canonical(),
            all.to_canonical()
        );
    }

    #[test]
    fn roster_versions_that_need_no_signatures_are_reported() {
        let open = |roster: &mut Roster| roster.threshold = 0;
        let guarded = |roster: &mut Roster| roster.threshold = 2;
        let chain = versions(&[(&open, &[ALICE, BOB]), (&guarded, &[ALICE, BOB])]);
        let seen = |at: usize| {
            let chain =
                Chain::connect(&Pinned::Digest(digest(&chain[at])), &chain).expect("connected");
            chain
                .unguarded()
                .map(TrustedRoster::version)
                .collect::<Vec<_>>()
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
        let lacking = |pinned: usize, since: u64, revoked: &[u8]| {
            let connected =
                Chain::connect(&Pinned::Digest(digest(&chain[pinned])), &chain).expect("connected");
            let is_revoked =
                |keyid: &KeyId| revoked.iter().any(|seed| key(*seed).keyid() == *keyid);
            connected
                .lacks_without(&chain, since, is_revoked)
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
        assert_eq!(lacking(0, 9, &[ALICE, BOB]), None);
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
        let error =
            Chain::connect(&Pinned::Digest(digest(&chain[0])), &chain).expect_err("back again");
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
