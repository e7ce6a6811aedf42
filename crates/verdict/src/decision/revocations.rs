//! Question: who may revoke a grant, a key, a token or an epoch, and what is revoked already?
//!
//! Only the order of the log entries decides: a revocation has an effect on all later entries, and on no earlier entry.

use std::collections::{BTreeMap, BTreeSet};

use crate::{KeyHolder, PasskeyError, SigningProgram, TrustedRoster, signing_program};
use documents::{
    Code, ContentDigest, Epoch, GroupName, KeyId, Name, RevokedSubject, SealedToken,
    VerifiedSignature,
};
use reading::PasskeysRule;

/// The subjects that are revoked so far, each with the log entry of its revocation.
#[derive(Default)]
pub struct Revocations(BTreeMap<RevokedSubject, u64>);

impl FromIterator<(RevokedSubject, u64)> for Revocations {
    fn from_iter<I: IntoIterator<Item = (RevokedSubject, u64)>>(stored: I) -> Self {
        Self(stored.into_iter().collect())
    }
}

impl Revocations {
    /// Adds the subject that the log entry `entry` revokes.
    ///
    /// # Errors
    /// Returns an error if an earlier entry already revoked the subject.
    pub fn add(
        &mut self,
        MayRevoke(subject): MayRevoke,
        entry: u64,
    ) -> Result<(), RevocationError> {
        if let Some(earlier) = self.0.get(&subject) {
            return Err(RevocationError::Again {
                subject,
                entry: *earlier,
            });
        }
        self.0.insert(subject, entry);
        Ok(())
    }

    /// Returns the revocations before the log entry `entry`. These revocations decide about this entry.
    pub fn before(&self, entry: u64) -> RevokedBefore<'_> {
        RevokedBefore { all: self, entry }
    }

    /// Returns all revocations, which decide about the next log entry.
    pub fn now(&self) -> RevokedBefore<'_> {
        self.before(u64::MAX)
    }

    /// Returns true if the key is revoked.
    pub fn has_key(&self, keyid: &KeyId) -> bool {
        self.now().key(keyid).is_some()
    }

    /// Returns all subjects with the log entries of their revocations.
    pub fn iter(&self) -> impl Iterator<Item = (RevokedSubject, u64)> {
        self.0.iter().map(|(subject, entry)| (*subject, *entry))
    }
}

/// The revocations before one log entry. Each function returns the log entry of the revocation, or `None` if the subject
/// is not revoked.
#[derive(Clone, Copy)]
pub struct RevokedBefore<'a> {
    all: &'a Revocations,
    entry: u64,
}

impl RevokedBefore<'_> {
    /// Returns the entry that revoked the key.
    pub fn key(&self, keyid: &KeyId) -> Option<u64> {
        self.subject(&RevokedSubject::Key(*keyid))
    }

    /// Returns the entry that revoked the token with this name.
    pub fn token(&self, name: &Name) -> Option<u64> {
        self.subject(&RevokedSubject::token(name))
    }

    /// Returns the entry that revoked the epoch. No nonce is consumed in this epoch after the entry.
    pub fn epoch(&self, epoch: &Epoch) -> Option<u64> {
        self.subject(&RevokedSubject::epoch(epoch))
    }

    /// Describes the first of these signing keys that is revoked.
    pub fn signer<'k>(&self, keyids: impl IntoIterator<Item = &'k KeyId>) -> Option<String> {
        let revoked = keyids
            .into_iter()
            .find_map(|keyid| Some((keyid, self.key(keyid)?)));
        revoked
            .map(|(keyid, entry)| format!("the signing key {keyid} was revoked at entry {entry}"))
    }

    /// Returns the entry that revoked the subject.
    pub fn subject(&self, subject: &RevokedSubject) -> Option<u64> {
        // Most logs have no revocation, so skip the search.
        if self.all.0.is_empty() {
            return None;
        }
        self.all
            .0
            .get(subject)
            .copied()
            .filter(|entry| *entry < self.entry)
    }
}

/// Proof that neither the epoch nor a token of a request is revoked. Only [`check_not_revoked`] creates this proof.
#[must_use]
pub struct NotRevoked(());

/// Checks that the next log entry may consume a nonce of this epoch for these proposers.
///
/// # Errors
/// Returns an error if the epoch or a token with one of these names is revoked.
pub fn check_not_revoked(
    revoked: &Revocations,
    epoch: &Epoch,
    names: [&Name; 2],
) -> Result<NotRevoked, RevokedRun> {
    if let Some(entry) = revoked.now().epoch(epoch) {
        return Err(RevokedRun::Epoch { entry });
    }
    let token = names
        .into_iter()
        .find_map(|name| Some((name, revoked.now().token(name)?)));
    match token {
        Some((name, entry)) => Err(RevokedRun::Token {
            name: name.clone(),
            entry,
        }),
        None => Ok(NotRevoked(())),
    }
}

/// Reason why nothing runs for a request.
#[derive(Debug, thiserror::Error)]
pub enum RevokedRun {
    /// The boundary is frozen.
    #[error("the boundary is frozen since log entry {entry}")]
    Epoch {
        /// The log entry of the freeze.
        entry: u64,
    },
    /// A token of the request is revoked.
    #[error("the token {name} was revoked at log entry {entry}: propose with another token")]
    Token {
        /// Name of the token.
        name: Name,
        /// The log entry of the revocation.
        entry: u64,
    },
}

/// The state that decides who may revoke a subject.
pub struct RevocationContext<'a> {
    /// The roster in force.
    pub roster: &'a TrustedRoster,
    /// The tokens of the seal in force.
    pub tokens: &'a [SealedToken],
    /// The epoch in force.
    pub epoch: &'a Epoch,
    /// The passkeys that count by the policy in force, or `None` if none counts.
    pub passkeys: Option<PasskeysRule>,
    /// The earlier revocations.
    pub revoked: RevokedBefore<'a>,
    /// Returns the grant with this digest, if an earlier entry has the grant.
    pub grant: &'a dyn Fn(&ContentDigest) -> Option<RevocableGrant>,
}

/// The people who may revoke a grant, besides an operator.
pub struct RevocableGrant {
    /// The grantee.
    pub grantee: Name,
    /// The groups of the approval rules in force for the steps of the grant. A member of one of these groups may revoke
    /// the grant.
    pub groups: BTreeSet<GroupName>,
}

/// Proof that the holder of the signing key may revoke the subject. Only [`check_may_revoke`] creates this proof.
#[must_use]
pub struct MayRevoke(RevokedSubject);

/// Checks that the holder of the key of `signature` may revoke `subject`. A passkey can revoke only itself and the
/// epoch. Whether the subject is already revoked is not checked, so the holder of a revoked key may send the same
/// revocation again.
///
/// # Errors
/// Returns an error if the signer or the subject is unknown, if the key of the signer is revoked, or if the signer has no
/// right to revoke the subject.
pub fn check_may_revoke(
    subject: RevokedSubject,
    signature: &VerifiedSignature,
    context: RevocationContext<'_>,
) -> Result<MayRevoke, RevocationError> {
    let RevocationContext {
        roster,
        tokens,
        epoch,
        passkeys,
        revoked,
        grant,
    } = context;
    let signer = &signature.keyid;
    let Some((holder, _)) = roster.statement_signer(signer) else {
        return Err(RevocationError::UnknownSigner { keyid: *signer });
    };
    let of_signer = subject == RevokedSubject::Key(*signer);
    let program = signing_program(&signature.sig, passkeys).map_err(RevocationError::Passkey)?;
    if program == SigningProgram::Browser
        && !of_signer
        && !matches!(subject, RevokedSubject::Epoch(_))
    {
        return Err(RevocationError::NotOfPasskeys { subject });
    }
    if let Some(entry) = revoked.key(signer).filter(|_| !of_signer) {
        return Err(RevocationError::RevokedSigner {
            keyid: *signer,
            entry,
        });
    }
    let (is_known, may, who) = match subject {
        RevokedSubject::Grant(digest) => {
            let grant = grant(&digest);
            let may = grant.as_ref().is_some_and(|grant| match holder {
                KeyHolder::Approver(name) => roster.approver(name).is_some_and(|approver| {
                    approver
                        .groups
                        .iter()
                        .any(|group| grant.groups.contains(group))
                }),
                KeyHolder::Proposer(name) => grant.grantee == *name,
                KeyHolder::Operator(_) | KeyHolder::Boundary(_) => false,
            });
            (
                grant.is_some(),
                may,
                "an approver of one of its steps, the grantee",
            )
        }
        RevokedSubject::Key(keyid) => {
            let foreign = roster
                .foreign_keys()
                .iter()
                .any(|(_, key)| key.keyid() == keyid);
            (
                foreign || roster.signer(&keyid).is_some(),
                of_signer,
                "the holder of the key, with the same key,",
            )
        }
        RevokedSubject::Token(_) => {
            let token = tokens
                .iter()
                .find(|token| RevokedSubject::token(&token.name) == subject);
            let owns = |token: &SealedToken| match holder {
                KeyHolder::Approver(name) | KeyHolder::Proposer(name) => {
                    token.owners.contains(name)
                }
                KeyHolder::Operator(_) | KeyHolder::Boundary(_) => false,
            };
            (
                token.is_some(),
                token.is_some_and(owns),
                "an owner of the token",
            )
        }
        RevokedSubject::Epoch(_) => {
            let approves = matches!(holder, KeyHolder::Approver(_));
            (
                subject == RevokedSubject::epoch(epoch),
                approves,
                "an approver",
            )
        }
    };
    if !is_known {
        return Err(RevocationError::UnknownSubject { subject });
    }
    if !may && !matches!(holder, KeyHolder::Operator(_)) {
        return Err(RevocationError::NotPermitted {
            subject,
            holder: holder.clone(),
            who,
        });
    }
    Ok(MayRevoke(subject))
}

/// Reason why a revocation breaks a rule.
#[derive(Debug, thiserror::Error)]
pub enum RevocationError {
    /// The key of the signature is not in the roster in force.
    #[error("no key of the roster in force has the id {keyid}")]
    UnknownSigner {
        /// The key.
        keyid: KeyId,
    },
    /// Policy does not let the passkey of the signature count.
    #[error(transparent)]
    Passkey(PasskeyError),
    /// The signing key is a passkey, and the subject is neither the epoch nor this key.
    #[error(
        "a passkey signs no revocation of the {subject}, only the freeze and its own revocation: sign with another key"
    )]
    NotOfPasskeys {
        /// The subject.
        subject: RevokedSubject,
    },
    /// The key of the signature is revoked. A revoked key signs only its own revocation.
    #[error("the signing key {keyid} was revoked at entry {entry}: sign with another key")]
    RevokedSigner {
        /// The key.
        keyid: KeyId,
        /// The log entry of its revocation.
        entry: u64,
    },
    /// The state in force does not have the subject.
    #[error("the {subject} is not in force, so it can't be revoked")]
    UnknownSubject {
        /// The subject.
        subject: RevokedSubject,
    },
    /// The signer has no right to revoke the subject.
    #[error("{holder} may not revoke the {subject}: only {who} or an operator may")]
    NotPermitted {
        /// The subject.
        subject: RevokedSubject,
        /// The holder of the signing key.
        holder: KeyHolder,
        /// Who may revoke the subject, besides an operator.
        who: &'static str,
    },
    /// The subject is already revoked.
    #[error("the {subject} was already revoked at entry {entry}")]
    Again {
        /// The subject.
        subject: RevokedSubject,
        /// The log entry of the first revocation.
        entry: u64,
    },
}

impl RevocationError {
    /// The stable code.
    pub fn code(&self) -> Code {
        match self {
            Self::UnknownSigner { .. } => Code::UnknownSigner,
            Self::RevokedSigner { .. } => Code::Revoked,
            Self::UnknownSubject { .. } => Code::NotFound,
            Self::Passkey(error) => error.code(),
            Self::NotPermitted { .. } | Self::NotOfPasskeys { .. } => Code::NotPermittedSigner,
            Self::Again { .. } => Code::WrongState,
        }
    }
}
