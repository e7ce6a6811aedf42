//! Reads the state that a seal puts in force, and compares a seal with the previous seal.

pub(crate) mod named_documents;

pub(crate) mod rosters;

use std::{collections::BTreeSet, sync::Arc};

use crate::{
    EvidenceFiles, Finding, FindingKind, Rosters, SealedState, TrustedRoster, Unreadable,
    audit::{
        documents::check_lone_signature,
        seal_in_force::named_documents::{Unread, read},
    },
};
use documents::{
    BoundaryName, BoundaryRef, Epoch, Name, Predicate, Seal, SealDigest, SealedToken, Signed,
    Statement, Verified, VerifyError, check_sorted, is_own_engine, parses_alike,
};
use reading::PasskeysRule;

/// A seal of the log, with the state that it put in force.
pub struct SealInForce {
    /// Index of the seal's log entry.
    pub index: u64,
    /// Digest of the seal's payload.
    pub digest: SealDigest,
    /// Number of the seal.
    pub number: u64,
    /// The boundary and the epoch.
    pub boundary: BoundaryRef,
    /// The roster.
    pub roster: Arc<TrustedRoster>,
    /// Program version that decided under the seal, according to the boundary.
    pub engine: Arc<str>,
    /// True if this program version made the seal, or if the auditor accepts no differences of other versions. In
    /// this case, every difference is a failure.
    pub ours: bool,
    /// Like `ours`, for findings that depend on how a program version parses scripts.
    pub parsed_alike: bool,
    /// State of the seal, or `None` if the state could not be read.
    pub state: Option<Arc<SealedState>>,
    /// Bytes of the seal's log entry. A later audit resumes from these bytes.
    pub entry: Arc<[u8]>,
}

impl SealInForce {
    fn new(
        (index, entry): (u64, &[u8]),
        verified: &Verified<Seal>,
        id: SealDigest,
        roster: Arc<TrustedRoster>,
        no_differences: bool,
        state: Option<Arc<SealedState>>,
    ) -> Self {
        let seal = verified.predicate();
        Self {
            index,
            digest: SealDigest::from_bytes(verified.digest()),
            number: seal.number,
            boundary: BoundaryRef {
                name: seal.boundary.name.clone(),
                id,
                epoch: seal.epoch.clone(),
            },
            roster,
            engine: seal.engine.as_str().into(),
            ours: no_differences || is_own_engine(&seal.engine),
            parsed_alike: no_differences || parses_alike(&seal.engine),
            state,
            entry: entry.into(),
        }
    }

    /// Returns the passkeys that count, or `None` if none counts. Without a readable policy, none counts.
    pub fn passkeys(&self) -> Option<PasskeysRule> {
        self.state.as_ref().and_then(|state| state.steps.passkeys)
    }
}

/// Seals that were read so far.
#[derive(Default)]
pub struct Seals {
    pub current: Option<Arc<SealInForce>>,
    /// Last sealed state that could be read.
    pub last: Option<Arc<SealedState>>,
    /// True if every difference counts as a failure, even under a seal of another program version.
    pub no_differences: bool,
    /// Epochs that were replaced.
    pub past_epochs: BTreeSet<Epoch>,
    /// Names of tokens that were removed.
    pub gone_tokens: BTreeSet<Name>,
}

/// Returns the words that follow the reasons why the state of a seal of this engine can't be read.
fn advice_about(engine: &str) -> String {
    if is_own_engine(engine) {
        return String::new();
    }
    format!(
        "; the program version {engine:?} made the seal, so an auditor with that version may be able to read the seal"
    )
}

impl Seals {
    /// Checks the seal in log entry `index`. Returns all defects. Also returns the seal if the boundary signed it.
    pub fn follow(
        &mut self,
        index: u64,
        entry: &[u8],
        (payload, signed): (&[u8], Signed<Seal>),
        rosters: &mut Rosters,
        beside: &dyn EvidenceFiles,
    ) -> Result<(Option<Seal>, Vec<Finding>), Unreadable> {
        let mut flaws = Vec::new();
        let find = |claimed: &Seal| rosters.named_by(claimed, beside);
        let (verified, roster) = match verify(payload, signed, find)? {
            Ok(found) => found,
            Err((what, why)) => {
                return Ok((None, vec![Finding::at(what, index, why)]));
            }
        };
        let seal = verified.predicate().clone();
        let digest = SealDigest::from_bytes(verified.digest());
        let before = self.current.clone();
        let mut flaw = |what: FindingKind, why: String| {
            flaws.push(Finding::at(what, index, why));
        };
        match &before {
            None if seal.number != 0 => flaw(
                FindingKind::SealChain,
                format!(
                    "the first seal of the log has the number {}, expected 0",
                    seal.number
                ),
            ),
            None => {}
            Some(before) => {
                let expected = (
                    before.number + 1,
                    Some(before.digest),
                    Some(before.boundary.id),
                );
                if (seal.number, seal.previous, seal.boundary.id) != expected {
                    let message = format!(
                        "seal number {} does not follow seal number {} ({}): a seal is missing, occurs twice, or was \
                         inserted",
                        seal.number, before.number, before.digest
                    );
                    flaw(FindingKind::SealChain, message);
                }
                if seal.boundary.name != before.boundary.name {
                    flaw(
                        FindingKind::Boundary,
                        format!("the seal belongs to boundary {}", seal.boundary.name),
                    );
                }
                if roster.version() < before.roster.version() {
                    let message = format!(
                        "version {} of the roster comes into force after the later version {}",
                        roster.version(),
                        before.roster.version()
                    );
                    flaw(FindingKind::RosterChain, message);
                }
                if seal.epoch != before.boundary.epoch {
                    self.past_epochs.insert(before.boundary.epoch.clone());
                }
            }
        }
        if self.past_epochs.contains(&seal.epoch) {
            flaw(
                FindingKind::Epoch,
                format!(
                    "the epoch {} was replaced earlier, but the seal puts this epoch into force again",
                    seal.epoch
                ),
            );
        }
        if seal.keys != roster.boundary_keyids(&seal.boundary.name) {
            flaw(
                FindingKind::SealedState,
                "the keys in the seal differ from the boundary's keys in the roster".to_owned(),
            );
        }
        if roster.policy() != seal.policy {
            flaw(
                FindingKind::RosterChain,
                format!(
                    "the roster was signed for the policy {}, but the sealed policy is {}",
                    roster.policy(),
                    seal.policy
                ),
            );
        }
        // Compare the tokens with the last readable state, because the seals in between may be unreadable.
        let earlier = self.last.clone();
        let ours = self.no_differences || is_own_engine(&seal.engine);
        let state = match read(&seal, &roster, earlier.as_deref(), beside) {
            Err(Unread::Source(error)) => return Err(error),
            Ok(state) => {
                let state = Arc::new(state);
                self.check_tokens(earlier.as_deref(), &state.tokens, &roster, &mut flaw);
                self.last = Some(state.clone());
                Some(state)
            }
            Err(Unread::Gone(message)) => {
                flaw(FindingKind::SealedState, message);
                None
            }
            Err(Unread::Refused(messages)) => {
                let advice = advice_about(&seal.engine);
                flaws.extend(messages.into_iter().map(|message| Finding {
                    differs: !ours,
                    ..Finding::at(
                        FindingKind::SealedState,
                        index,
                        format!("{message}{advice}"),
                    )
                }));
                None
            }
        };
        let id = before.map_or(digest, |before| before.boundary.id);
        self.current = Some(Arc::new(SealInForce::new(
            (index, entry),
            &verified,
            id,
            roster,
            self.no_differences,
            state,
        )));
        Ok((Some(seal), flaws))
    }

    /// Checks the sealed tokens. Tokens never change, and the name of a removed token is never used again.
    fn check_tokens(
        &mut self,
        before: Option<&SealedState>,
        now: &[SealedToken],
        roster: &TrustedRoster,
        flaw: &mut dyn FnMut(FindingKind, String),
    ) {
        let before: &[SealedToken] = before.map_or(&[], |before| &before.tokens);
        let names: BTreeSet<_> = now.iter().map(|token| &token.name).collect();
        let credentials: BTreeSet<_> = now.iter().map(|token| token.credential).collect();
        if check_sorted("", now).is_err() || names.len().min(credentials.len()) < now.len() {
            flaw(
                FindingKind::Tokens,
                "the sealed tokens are not sorted, or a name or a credential occurs twice"
                    .to_owned(),
            );
        }
        for token in now {
            let name = &token.name;
            if let Err(error) = token.check() {
                flaw(FindingKind::Tokens, error.to_string());
            }
            match before.iter().find(|other| other.name == *name) {
                Some(other) if other != token => {
                    flaw(
                        FindingKind::Tokens,
                        format!("the token {name} was changed, but a token never changes"),
                    );
                }
                None if self.gone_tokens.contains(name) => {
                    flaw(
                        FindingKind::Tokens,
                        format!(
                            "the removed token {name} is back: the name of a removed token is never used again"
                        ),
                    );
                }
                _ => {}
            }
            if let Err(taken) = roster.check_token_name(name) {
                flaw(FindingKind::Tokens, taken.to_string());
            }
        }
        let gone = before
            .iter()
            .filter(|token| now.iter().all(|other| other.name != token.name));
        self.gone_tokens
            .extend(gone.map(|token| token.name.clone()));
    }

    /// Reads the state of a seal that an earlier audit already accepted.
    pub fn again(
        index: u64,
        entry: &[u8],
        (payload, signed): (&[u8], Signed<Seal>),
        (id, no_differences): (SealDigest, bool),
        rosters: &Rosters,
        beside: &dyn EvidenceFiles,
    ) -> Result<(Seal, SealInForce), String> {
        let (verified, roster) = verify(payload, signed, |claimed| Ok(rosters.known(claimed)))
            .map_err(|error| error.0)?
            .map_err(|(_, message)| message)?;
        let state = read(verified.predicate(), &roster, None, beside);
        let state = state.map_err(|unread| match unread {
            Unread::Source(Unreadable(message)) | Unread::Gone(message) => message,
            Unread::Refused(messages) => messages.join("; "),
        })?;
        let state = Some(Arc::new(state));
        let entry = (index, entry);
        let in_force = SealInForce::new(entry, &verified, id, roster, no_differences, state);
        Ok((verified.predicate().clone(), in_force))
    }
}

type UnderRoster = (Verified<Seal>, Arc<TrustedRoster>);

/// Verifies the signature of the seal with the boundary's keys in the roster that the seal names. `find` returns this roster.
pub fn verify(
    payload: &[u8],
    signed: Signed<Seal>,
    find: impl FnOnce(&Seal) -> Result<Result<Arc<TrustedRoster>, String>, Unreadable>,
) -> Result<Result<UnderRoster, (FindingKind, String)>, Unreadable> {
    // Check the number of signatures before the roster is read, so that a document with a wrong number gives no finding
    // about rosters.
    if let Err(stop) = check_lone_signature(&signed) {
        return Ok(Err((FindingKind::Signature, stop.to_string())));
    }
    // The keys for this signature are in the roster that the seal names. Therefore the program reads the name of the
    // roster before the verification. This order is safe, because the roster must be connected with the trusted roster.
    let claimed = match Statement::<Seal>::from_payload(payload) {
        Ok(statement) => statement.predicate,
        Err(malformed) => return Ok(Err((FindingKind::Entry, malformed.to_string()))),
    };
    let roster = match find(&claimed)? {
        Ok(roster) => roster,
        Err(message) => return Ok(Err((FindingKind::RosterChain, message))),
    };
    let name = claimed.boundary.name;
    Ok(verify_of_boundary(signed, &name, &roster).map(|verified| (verified, roster)))
}

/// Verifies a document that only the boundary signs, or returns the finding about it.
pub fn verify_of_boundary<P: Predicate>(
    signed: Signed<P>,
    name: &BoundaryName,
    roster: &TrustedRoster,
) -> Result<Verified<P>, (FindingKind, String)> {
    check_lone_signature(&signed).map_err(|stop| (FindingKind::Signature, stop.to_string()))?;
    let verified = signed.verify_raw(|keyid| roster.boundary_key(name, keyid));
    verified.map_err(|error| match error {
        VerifyError::Malformed(malformed) => (FindingKind::Entry, malformed.to_string()),
        VerifyError::UnknownSigner { keyid } => {
            let version = roster.version();
            let message = format!(
                "the signing key {keyid} is no key of boundary {name} in version {version} of the roster"
            );
            (FindingKind::Signature, message)
        }
        error => (FindingKind::Signature, error.to_string()),
    })
}
