//! Chain of rosters: from a trusted version to the others.
//!
//! Later versions are trusted through signatures by the threshold of the version before *and* their own (as
//! TUF does for roots), earlier ones through the `previous` digests. A key that is gone never comes back.

use std::collections::HashMap;
use std::fmt;

use crate::crypto::canonical;
use crate::crypto::digest::RosterDigest;
use crate::crypto::sshsig;
use crate::record::document::Malformed;
use crate::record::envelope::{Base64, Envelope, Signed};
use crate::record::roster::Roster;
use crate::trust::roster::{RosterError, TrustedRoster};
use crate::trust::succession::Standing;

/// The most versions that are read: each is at most 256 KiB, and a bundle holds 4 MiB.
const MAX_VERSIONS: usize = 1024;

/// What somebody trusts beforehand.
#[derive(Debug, Clone)]
pub enum Pinned {
    /// Whichever version has this digest of its payload.
    Digest(RosterDigest),
    /// This version.
    Roster(Box<TrustedRoster>),
    /// All these versions, the newest of them above all.
    Chain(Box<Chain>),
}

impl Pinned {
    /// A roster file that the user names: an envelope, whose payload counts as trusted by hand.
    ///
    /// # Errors
    /// When it is no roster, or one that breaks its rules.
    pub fn from_envelope(envelope: &Envelope) -> Result<Self, RosterError> {
        let payload = payload_of(envelope, Base64::Lenient).map_err(RosterError::Malformed)?;
        Ok(Self::Roster(Box::new(TrustedRoster::from_payload(&payload)?)))
    }

    /// The digest that is trusted.
    #[must_use]
    pub fn digest(&self) -> RosterDigest {
        match self {
            Self::Digest(digest) => *digest,
            Self::Roster(roster) => roster.digest(),
            Self::Chain(chain) => chain.newest().digest(),
        }
    }
}

/// Versions from 1 on, each connected with the one that was trusted beforehand.
#[derive(Debug, Clone)]
pub struct Chain {
    versions: Vec<TrustedRoster>,
    envelopes: Vec<Envelope>,
    /// Where the trusted version stands; beyond the last when it is newer.
    anchor: usize,
    /// Trusted versions that are newer than the last.
    newer: Vec<TrustedRoster>,
}

impl Chain {
    /// Connects `versions` (from 1 on, none left out) with the trusted one.
    ///
    /// # Errors
    /// The first link that does not hold.
    pub fn connect(trusted: &Pinned, versions: &[Envelope]) -> Result<Self, ChainError> {
        let read = read(versions)?;
        let newest = read.len() as u64;
        let mut newer = Vec::new();
        let anchor = match (read.iter().position(|roster| roster.digest() == trusted.digest()), trusted) {
            (Some(at), _) => at,
            // The trusted version may be the one right after the last that is here.
            (None, Pinned::Roster(roster))
                if roster.version() == newest + 1
                    && roster.tables().previous == read.last().map(TrustedRoster::digest) =>
            {
                newer.push((**roster).clone());
                read.len()
            }
            (None, Pinned::Roster(roster)) if roster.version() > newest => {
                return Err(ChainError::TooNew { trusted: roster.version(), newest });
            }
            // Or all that lies between is known: then the last one here is one of those.
            (None, Pinned::Chain(known)) => {
                let here = read.last().map(TrustedRoster::digest);
                let mut all = known.versions.iter().chain(&known.newer);
                if !all.any(|roster| Some(roster.digest()) == here) {
                    return Err(ChainError::NotTrusted { trusted: trusted.digest(), first: read[0].digest() });
                }
                newer.extend(all.cloned());
                read.len()
            }
            _ => return Err(ChainError::NotTrusted { trusted: trusted.digest(), first: read[0].digest() }),
        };
        for at in anchor + 1..read.len() {
            check_link(&read[at - 1], &read[at], &versions[at])?;
        }
        let chain = Self { versions: read, envelopes: versions.to_vec(), anchor, newer };
        chain.check_no_return()?;
        Ok(chain)
    }

    /// Connects `versions` with the first of them, which whoever calls has a reason to trust: the genesis seal names it.
    ///
    /// # Errors
    /// The first link that does not hold.
    pub fn from_first(versions: &[Envelope]) -> Result<Self, ChainError> {
        let first = versions.first().ok_or(ChainError::Count { found: 0 })?;
        let payload = payload_of(first, Base64::Strict).map_err(|error| ChainError::Malformed { version: 1, error })?;
        Self::connect(&Pinned::Digest(RosterDigest::of(&payload)), versions)
    }

    /// The chain with one more version, signed by both thresholds.
    ///
    /// # Errors
    /// When it does not follow the last one.
    pub fn extend(&self, envelope: &Envelope) -> Result<Self, ChainError> {
        let longer = self.with(self.read_next(envelope)?, envelope)?;
        check_link(self.last(), longer.last(), envelope)?;
        Ok(longer)
    }

    /// Checks everything of a next version but who signed it.
    ///
    /// # Errors
    /// When it could not follow the last one, whoever signed it.
    pub fn check_follows(&self, envelope: &Envelope) -> Result<TrustedRoster, ChainError> {
        let next = self.read_next(envelope)?;
        let _connected = self.with(next.clone(), envelope)?;
        Ok(next)
    }

    /// The chain as it was when this version was its last.
    #[must_use]
    pub fn until(&self, version: u64) -> Self {
        // Versions count from 1, and version 1 is always there.
        let length = usize::try_from(version.max(1)).unwrap_or(usize::MAX).min(self.versions.len());
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
            return Err(ChainError::Count { found: MAX_VERSIONS + 1 });
        }
        read_one(envelope, self.last().version() + 1, Some(self.last()))
    }

    /// The last version that was connected: in a bundle the one that the seal names.
    #[must_use]
    pub fn last(&self) -> &TrustedRoster {
        // connect() refuses an empty list, so there is a last one.
        &self.versions[self.versions.len() - 1]
    }

    /// The newest version known: the trusted one, where it is newer than the others.
    #[must_use]
    pub fn newest(&self) -> &TrustedRoster {
        self.newer.last().unwrap_or_else(|| self.last())
    }

    /// Whether every version after the trusted one needed signatures of the one before it. The trusted one itself may be
    /// unguarded: it was trusted by hand.
    #[must_use]
    pub fn is_guarded_since_trusted(&self) -> bool {
        let before_last = self.versions.len() - 1;
        // Nothing lies between where the trusted one is the newest.
        let since = self.versions.get(self.anchor..before_last).unwrap_or_default();
        since.iter().all(TrustedRoster::is_guarded)
    }

    /// The version of this digest.
    #[must_use]
    pub fn by_digest(&self, digest: &RosterDigest) -> Option<&TrustedRoster> {
        self.versions.iter().chain(&self.newer).find(|roster| roster.digest() == *digest)
    }

    /// Versions 1 to the last, each read.
    #[must_use]
    pub fn versions(&self) -> &[TrustedRoster] {
        &self.versions
    }

    /// Versions 1 to the last as they are signed.
    #[must_use]
    pub fn envelopes(&self) -> &[Envelope] {
        &self.envelopes
    }

    /// The canonical array of the envelopes: a bundle's `roster`, and the blob that a seal names as `rosters`.
    ///
    /// # Errors
    /// Never in practice: envelopes are made of texts.
    pub fn to_canonical(&self) -> Result<Vec<u8>, Malformed> {
        canonical::canonical_of(&self.envelopes).map_err(|error| Malformed::at("", error.to_string()))
    }

    /// The versions from the trusted one on, to the last, whose successor needs nobody's signature: whoever had them in
    /// hand could have put anything in their place.
    pub fn unguarded(&self) -> impl Iterator<Item = &TrustedRoster> {
        let from = self.anchor.min(self.versions.len() - 1);
        self.versions[from..].iter().filter(|roster| !roster.is_guarded())
    }

    // A key that an earlier version had and a later one no longer has may never return, under any name or role.
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

/// Reads versions from 1 on, each naming the one before; signatures are not looked at.
fn read(versions: &[Envelope]) -> Result<Vec<TrustedRoster>, ChainError> {
    if versions.is_empty() || versions.len() > MAX_VERSIONS {
        return Err(ChainError::Count { found: versions.len() });
    }
    let mut read: Vec<TrustedRoster> = Vec::with_capacity(versions.len());
    for (at, envelope) in versions.iter().enumerate() {
        let roster = read_one(envelope, at as u64 + 1, read.last())?;
        read.push(roster);
    }
    Ok(read)
}

fn read_one(envelope: &Envelope, version: u64, before: Option<&TrustedRoster>) -> Result<TrustedRoster, ChainError> {
    let payload = payload_of(envelope, Base64::Strict).map_err(|error| ChainError::Malformed { version, error })?;
    let roster = TrustedRoster::from_payload(&payload).map_err(|error| ChainError::Roster { version, error })?;
    if roster.version() != version {
        return Err(ChainError::OutOfOrder { expected: version, found: roster.version() });
    }
    if roster.tables().previous != before.map(TrustedRoster::digest) {
        return Err(ChainError::OtherPrevious { version });
    }
    if version == 1 && !envelope.signatures.is_empty() {
        return Err(ChainError::FirstIsSigned);
    }
    Ok(roster)
}

/// The payload of an envelope whose trust does not come from its signatures.
///
/// # Errors
/// When the envelope is of another type, too large or not base64, or (in the strict reading) its signatures are out of order
/// or doubled.
pub fn payload_of(envelope: &Envelope, base64: Base64) -> Result<Vec<u8>, Malformed> {
    // from_envelope checks type, sizes and the spelling of all base64.
    let _checked: Signed<Roster> = Signed::from_envelope(envelope, base64)?;
    // One spelling of an envelope: in a bundle and in the log its signatures stand by keyid, each once.
    if base64 == Base64::Strict && !envelope.signatures.is_sorted_by(|one, next| one.keyid < next.keyid) {
        return Err(Malformed::at(
            "/signatures",
            "out of order or twice: signatures are sorted by keyid, each key once",
        ));
    }
    base64.decode("/payload", &envelope.payload)
}

/// Checks that the thresholds of `before` and of `next` itself signed `next`.
fn check_link(before: &TrustedRoster, next: &TrustedRoster, envelope: &Envelope) -> Result<(), ChainError> {
    let standing = Standing::of(before, next, &envelope.signatures)?;
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

/// Why versions of a roster are not connected with the trusted one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChainError {
    /// No version at all, or too many.
    Count {
        /// How many.
        found: usize,
    },
    /// An envelope that is none.
    Malformed {
        /// Which version.
        version: u64,
        /// Why.
        error: Malformed,
    },
    /// A payload that is no roster, or breaks its rules.
    Roster {
        /// Which version.
        version: u64,
        /// Why.
        error: RosterError,
    },
    /// A version is missing or out of order.
    OutOfOrder {
        /// The version that belongs here.
        expected: u64,
        /// The version that stands here.
        found: u64,
    },
    /// `previous` is not the version before.
    OtherPrevious {
        /// Which version.
        version: u64,
    },
    /// Version 1 carries signatures.
    FirstIsSigned,
    /// None of the versions is the trusted one.
    NotTrusted {
        /// The digest that is trusted.
        trusted: RosterDigest,
        /// The digest of version 1 here.
        first: RosterDigest,
    },
    /// The trusted version is newer than the versions here lead to.
    TooNew {
        /// The trusted version.
        trusted: u64,
        /// The newest version here.
        newest: u64,
    },
    /// A signature that does not hold, or of nobody who may sign.
    Signature {
        /// Which version.
        version: u64,
        /// The key it claims.
        keyid: sshsig::KeyId,
        /// Why.
        why: String,
    },
    /// Fewer approvers signed than the threshold asks for.
    TooFewSignatures {
        /// The version that is signed.
        version: u64,
        /// The version whose threshold is not met.
        of: u64,
        /// How many of its approvers signed.
        found: u64,
        /// How many it asks for.
        required: u64,
    },
    /// A key that was gone is there again.
    KeyReturned {
        /// The version that has it again.
        version: u64,
        /// The last version that had it.
        gone_after: u64,
        /// Whose key it is now.
        holder: String,
    },
}

impl fmt::Display for ChainError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count { found } => write!(f, "{found} versions of the roster, expected 1 to {MAX_VERSIONS}"),
            Self::Malformed { version, error } => write!(f, "version {version} of the roster: {error}"),
            Self::Roster { version, error } => write!(f, "version {version} of the roster: {error}"),
            Self::OutOfOrder { expected, found } => {
                write!(f, "version {found} of the roster stands where version {expected} belongs")
            }
            Self::OtherPrevious { version } => {
                write!(f, "version {version} of the roster does not follow the one before it")
            }
            Self::FirstIsSigned => {
                f.write_str("version 1 of a roster carries no signatures, it is trusted by its digest")
            }
            Self::NotTrusted { trusted, first } => {
                write!(f, "no version of the roster is the trusted one ({trusted}); version 1 here is {first}")
            }
            Self::TooNew { trusted, newest } => write!(
                f,
                "the trusted roster is version {trusted}, the versions here end at {newest} and do not lead to it; \
                 verify with the roster of that time, version {newest} or earlier"
            ),
            Self::Signature { version, keyid, why } => {
                write!(f, "version {version} of the roster: the signature of {keyid} does not count: {why}")
            }
            Self::TooFewSignatures { version, of, found, required } => write!(
                f,
                "version {version} of the roster is signed by {found} approvers of version {of}, whose threshold is {required}"
            ),
            Self::KeyReturned { version, gone_after, holder } => write!(
                f,
                "version {version} of the roster gives {holder} a key that was gone after version {gone_after}; such a key may never return"
            ),
        }
    }
}

impl std::error::Error for ChainError {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::signature::{PAYLOAD_TYPE, SecretKey, pae};
    use crate::crypto::sshsig::SshKey;
    use crate::record::envelope::EnvelopeSignature;

    const ALICE: u8 = 1;
    const BOB: u8 = 2;
    const CAROL: u8 = 4;
    const MALLORY: u8 = 5;

    fn key(seed: u8) -> SshKey {
        SshKey::from_public(SecretKey::from_seed([seed; 32]).public(), "").expect("key")
    }

    fn first() -> Roster {
        let payload = include_bytes!("../../tests/conformance/golden/valid/payload/roster.json");
        TrustedRoster::from_payload(payload).expect("golden").tables().clone()
    }

    fn sign(roster: Roster, seeds: &[u8]) -> Envelope {
        let payload = roster.into_statement().and_then(|statement| statement.to_payload()).expect("payload");
        let message = pae(PAYLOAD_TYPE, &payload);
        let mut signatures: Vec<_> = seeds
            .iter()
            .map(|seed| EnvelopeSignature::new(key(*seed).keyid(), &SecretKey::from_seed([*seed; 32]).sign(&message)))
            .collect();
        signatures.sort();
        Envelope::new(&payload, signatures)
    }

    fn digest(envelope: &Envelope) -> RosterDigest {
        RosterDigest::of(&payload_of(envelope, Base64::Strict).expect("payload"))
    }

    /// What a version changes, and who signs it.
    type Step<'a> = (&'a dyn Fn(&mut Roster), &'a [u8]);

    /// Version 1, and one after another what the edits make of the version before.
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
    fn a_later_version_is_trusted_by_both_thresholds() {
        let chain = versions(&[(&same, &[ALICE, BOB]), (&same, &[BOB, CAROL])]);
        let pinned = Pinned::Digest(digest(&chain[0]));
        assert_eq!(Chain::connect(&pinned, &chain).expect("connected").last().version(), 3);
        for signed in [&[][..], &[ALICE]] {
            let chain = versions(&[(&same, signed)]);
            let error = Chain::connect(&Pinned::Digest(digest(&chain[0])), &chain).expect_err("too few");
            assert!(matches!(error, ChainError::TooFewSignatures { of: 1, required: 2, .. }), "{error}");
        }
    }

    #[test]
    fn one_person_signs_with_one_key() {
        const DORA: u8 = 6; // carol's second key
        for signed in [&[CAROL, DORA][..], &[CAROL, DORA, ALICE, BOB]] {
            let chain = versions(&[(&same, signed)]);
            let error = Chain::connect(&Pinned::Digest(digest(&chain[0])), &chain).expect_err("one person");
            assert!(matches!(error, ChainError::Signature { version: 2, .. }), "{error}");
        }
    }

    #[test]
    fn its_own_threshold_counts_its_own_people() {
        let replace = |roster: &mut Roster| {
            roster.approver.truncate(2);
            roster.approver[1].keys = vec![key(MALLORY).line().to_owned()];
        };
        let old_only = versions(&[(&replace, &[ALICE, BOB])]);
        let error = Chain::connect(&Pinned::Digest(digest(&old_only[0])), &old_only).expect_err("its own");
        assert!(matches!(error, ChainError::TooFewSignatures { of: 2, found: 1, .. }), "{error}");
        let both = versions(&[(&replace, &[ALICE, BOB, MALLORY])]);
        assert!(Chain::connect(&Pinned::Digest(digest(&both[0])), &both).is_ok());
    }

    #[test]
    fn strangers_and_bad_signatures_refuse_the_version() {
        let mut chain = versions(&[(&same, &[ALICE, BOB, MALLORY])]);
        let pinned = Pinned::Digest(digest(&chain[0]));
        assert!(matches!(Chain::connect(&pinned, &chain), Err(ChainError::Signature { version: 2, .. })));
        chain = versions(&[(&same, &[ALICE, BOB])]);
        chain[1].signatures[0].sig = chain[1].signatures[1].sig.clone();
        assert!(matches!(Chain::connect(&pinned, &chain), Err(ChainError::Signature { version: 2, .. })));
    }

    #[test]
    fn signatures_stand_once_and_in_order() {
        let chain = versions(&[(&same, &[ALICE, BOB])]);
        let pinned = Pinned::Digest(digest(&chain[0]));
        let mut doubled = chain.clone();
        doubled[1].signatures.insert(0, chain[1].signatures[0].clone());
        let mut swapped = chain.clone();
        swapped[1].signatures.swap(0, 1);
        for changed in [doubled, swapped] {
            let error = Chain::connect(&pinned, &changed).expect_err("another spelling of the same version");
            assert!(matches!(error, ChainError::Malformed { version: 2, .. }), "{error}");
        }
    }

    #[test]
    fn earlier_versions_are_trusted_by_their_digest() {
        // Nobody signed version 2, which only its signatures would connect forwards.
        let chain = versions(&[(&same, &[]), (&same, &[])]);
        assert!(Chain::connect(&Pinned::Digest(digest(&chain[2])), &chain).is_ok(), "pinned at the end");
        assert!(Chain::connect(&Pinned::Digest(digest(&chain[0])), &chain).is_err(), "pinned at the beginning");
        let newest = Pinned::from_envelope(&chain[2]).expect("roster");
        let connected = Chain::connect(&newest, &chain[..2]).expect("one newer than those here");
        assert_eq!((connected.last().version(), connected.newest().version()), (2, 3));
        let far = Chain::connect(&newest, &chain[..1]).expect_err("version 2 is missing");
        assert_eq!(far, ChainError::TooNew { trusted: 3, newest: 1 });
    }

    #[test]
    fn versions_are_complete_and_in_order() {
        let chain = versions(&[(&same, &[ALICE, BOB]), (&same, &[ALICE, BOB])]);
        let pinned = Pinned::Digest(digest(&chain[0]));
        let refused = |versions: &[Envelope]| Chain::connect(&pinned, versions).expect_err("refused");
        assert_eq!(refused(&[]), ChainError::Count { found: 0 });
        assert!(matches!(
            refused(&[chain[0].clone(), chain[2].clone()]),
            ChainError::OutOfOrder { expected: 2, found: 3 }
        ));
        assert!(matches!(refused(&chain[1..]), ChainError::OutOfOrder { expected: 1, found: 2 }));
        let other = versions(&[(&|roster| roster.threshold = 1, &[ALICE, BOB])]);
        assert!(matches!(
            refused(&[chain[0].clone(), other[1].clone(), chain[2].clone()]),
            ChainError::OtherPrevious { version: 3 }
        ));
        assert!(matches!(
            refused(&other[..1].iter().chain(&chain[2..]).cloned().collect::<Vec<_>>()),
            ChainError::OutOfOrder { .. }
        ));
        let signed_first = sign(first(), &[ALICE]);
        assert_eq!(refused(&[signed_first]), ChainError::FirstIsSigned);
        let unknown = Pinned::Digest(RosterDigest::of(b"another"));
        assert!(matches!(Chain::connect(&unknown, &chain), Err(ChainError::NotTrusted { .. })));
    }

    #[test]
    fn whoever_knows_all_versions_verifies_with_any_of_them() {
        let chain = versions(&[(&same, &[ALICE, BOB]), (&same, &[ALICE, BOB]), (&same, &[ALICE, BOB])]);
        let all = Chain::from_first(&chain).expect("connected");
        let pinned = Pinned::Chain(Box::new(all.clone()));
        for length in 1..=4 {
            let connected = Chain::connect(&pinned, &chain[..length]).expect("a prefix of what is known");
            assert_eq!((connected.last().version(), connected.newest().version()), (length as u64, 4));
        }
        let short = Pinned::Chain(Box::new(Chain::from_first(&chain[..2]).expect("connected")));
        assert_eq!(Chain::connect(&short, &chain).expect("signed on").newest().version(), 4);
        let fork = versions(&[(&|roster| roster.threshold = 1, &[ALICE, BOB])]);
        assert!(matches!(Chain::connect(&pinned, &fork), Err(ChainError::NotTrusted { .. })));
        assert_eq!(
            all.extend(&chain[3]).expect_err("the same again"),
            ChainError::OutOfOrder { expected: 5, found: 4 }
        );
        let shorter = Chain::from_first(&chain[..3]).expect("connected");
        assert_eq!(all.until(3).to_canonical(), shorter.to_canonical());
        assert_eq!([0, 9].map(|version| all.until(version).last().version()), [1, 4]);
        assert_eq!(shorter.extend(&chain[3]).expect("it follows").to_canonical(), all.to_canonical());
    }

    #[test]
    fn versions_that_anybody_could_replace_are_told() {
        let open = |roster: &mut Roster| roster.threshold = 0;
        let guarded = |roster: &mut Roster| roster.threshold = 2;
        let chain = versions(&[(&open, &[ALICE, BOB]), (&guarded, &[ALICE, BOB])]);
        let seen = |at: usize| {
            let chain = Chain::connect(&Pinned::Digest(digest(&chain[at])), &chain).expect("connected");
            chain.unguarded().map(TrustedRoster::version).collect::<Vec<_>>()
        };
        assert_eq!((seen(0), seen(1), seen(2)), (vec![2], vec![2], vec![]), "trust begins after it");
    }

    #[test]
    fn a_key_that_is_gone_never_comes_back_under_any_name_or_role() {
        let remove = |roster: &mut Roster| drop(roster.operator.pop());
        let oscar = first().operator[0].keys[0].clone();
        let return_as_approver = move |roster: &mut Roster| roster.approver[0].keys.push(oscar.clone());
        let chain = versions(&[(&remove, &[ALICE, BOB]), (&return_as_approver, &[ALICE, BOB])]);
        let error = Chain::connect(&Pinned::Digest(digest(&chain[0])), &chain).expect_err("back again");
        assert!(matches!(error, ChainError::KeyReturned { version: 3, gone_after: 1, .. }), "{error}");
        assert!(Chain::connect(&Pinned::Digest(digest(&chain[0])), &chain[..2]).is_ok());
    }

    #[test]
    fn a_key_that_is_not_verified_never_comes_back_either() {
        let line = "webauthn-sk-ecdsa-sha2-nistp256@openssh.com AAAAK3dlYmF1dGhuLXNrLWVjZHNhLXNoYTItbmlzdHAyNTZAb3BlbnNzaC5jb20AAAAB";
        let add = |roster: &mut Roster| roster.approver[0].keys.push(line.to_owned());
        let remove = |roster: &mut Roster| drop(roster.approver[0].keys.pop());
        let return_as_operator = |roster: &mut Roster| roster.operator[0].keys.push(format!("{line} other"));
        let chain = versions(&[(&add, &[ALICE, BOB]), (&remove, &[ALICE, BOB]), (&return_as_operator, &[ALICE, BOB])]);
        let error = Chain::connect(&Pinned::Digest(digest(&chain[0])), &chain).expect_err("back again");
        assert!(matches!(error, ChainError::KeyReturned { version: 4, gone_after: 2, .. }), "{error}");
    }
}
