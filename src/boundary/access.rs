//! Who calls: tokens, and rostered keys that answered a challenge.
//!
//! A token opens proposing, reading, operating; never approving, for which a signature is the only authority.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::boundary::Boundary;
use crate::boundary::refusal::{Refusal, Stopped, fault};
use crate::boundary::view::TokenView;
use crate::crypto::digest::{hex, sha256};
use crate::crypto::signature::pae;
use crate::crypto::sshsig::{self, KeyId};
use crate::policy::patterns::Pattern;
use crate::record::envelope::{Base64, EnvelopeSignature};
use crate::record::ident::{Name, StepRef};
use crate::record::refusal::Code;
use crate::record::token::{Scope, SealedToken};
use crate::record::validity::Timestamp;
use crate::store::message::{Token, TokenChange};
use crate::trust::roster::Holder;

/// What begins every bearer, so that scanners find a leaked one.
pub const BEARER_PREFIX: &str = "cst_";
/// The DSSE payload type of a challenge: a signature over one can never be one over a statement.
pub const CHALLENGE_TYPE: &str = "application/vnd.countersign.challenge.v1";
/// How long a challenge may be answered, in seconds.
const CHALLENGE_S: i64 = 60;
/// How long an answered challenge opens reading, in seconds.
const ADMISSION_S: i64 = 600;
/// Challenges and admissions at one time: what strangers can make us remember.
const MOST_OPEN: usize = 10_000;

/// Who calls, and what that allows.
#[derive(Debug, Clone)]
pub struct Caller {
    name: Option<Name>,
    scopes: Vec<Scope>,
    patterns: Vec<Pattern>,
}

impl Caller {
    /// Somebody who said nothing of themselves.
    #[must_use]
    pub const fn anonymous() -> Self {
        Self { name: None, scopes: Vec::new(), patterns: Vec::new() }
    }

    fn new(name: Name, scopes: Vec<Scope>, patterns: &[String]) -> Self {
        // Patterns were checked when the token was made; one that a later version wrote and this one can't read
        // matches nothing.
        let compiled: Vec<Pattern> = patterns.iter().filter_map(|pattern| Pattern::parse(pattern).ok()).collect();
        let scopes = if compiled.len() == patterns.len() { scopes } else { Vec::new() };
        Self { name: Some(name), scopes, patterns: compiled }
    }

    /// Who, where it is known.
    #[must_use]
    pub const fn name(&self) -> Option<&Name> {
        self.name.as_ref()
    }

    /// Whether the caller may do this at all.
    #[must_use]
    pub fn may(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope)
    }

    /// Whether the caller may do this with this step.
    #[must_use]
    pub fn may_step(&self, scope: Scope, step: &StepRef) -> bool {
        self.may(scope)
            && (self.patterns.is_empty() || self.patterns.iter().any(|pattern| pattern.matches(step.as_str())))
    }

    /// Whether the caller may see what `proposer` proposed of `step`: one's own, or with `read`.
    #[must_use]
    pub fn may_see(&self, proposer: &Name, step: &StepRef) -> bool {
        self.may_step(Scope::Read, step) || self.may_step(Scope::Operate, step) || self.name.as_ref() == Some(proposer)
    }

    /// Whether the caller is limited to some steps.
    #[must_use]
    pub fn is_limited(&self) -> bool {
        !self.patterns.is_empty()
    }

    pub(super) fn demand(&self, scope: Scope, step: Option<&StepRef>) -> Result<&Name, Stopped> {
        let Some(name) = &self.name else {
            return Err(Refusal::new(
                Code::Unauthenticated,
                "send Authorization: Bearer cst_…; an operator makes tokens with `countersign token create`",
            )
            .into());
        };
        let allowed = step.map_or_else(|| self.may(scope), |step| self.may_step(scope, step));
        if allowed {
            return Ok(name);
        }
        let what = step.map_or_else(String::new, |step| format!(" for {step}"));
        Err(Refusal::new(
            Code::Forbidden,
            format!("{name} may not {}{what}; an operator can make another token", scope.word()),
        )
        .into())
    }
}

/// Challenges that wait for an answer, and keys that answered.
#[derive(Debug, Default)]
pub struct Admissions {
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    challenges: HashMap<[u8; 32], (KeyId, Timestamp)>,
    admitted: HashMap<[u8; 32], (Caller, Timestamp)>,
}

impl Open {
    fn sweep(&mut self, now: Timestamp) {
        self.challenges.retain(|_, (_, end)| now < *end);
        self.admitted.retain(|_, (_, end)| now < *end);
    }
}

impl Boundary {
    /// Who presents this bearer.
    ///
    /// # Errors
    /// `unauthenticated` when nobody has it any more.
    pub fn authenticate(&self, bearer: &str) -> Result<Caller, Stopped> {
        let now = self.now();
        // Looked up by digest: the time of a comparison tells nothing of the secret.
        let secret = sha256(bearer.as_bytes());
        if let Some((caller, end)) = self.open_admissions().admitted.get(&secret)
            && now < *end
        {
            return Ok(caller.clone());
        }
        let token =
            if bearer.starts_with(BEARER_PREFIX) { self.ledger.token(&secret).map_err(|e| fault(&e))? } else { None };
        match token {
            Some(token) if token.revoked_at.is_none() && token.expires_at.is_none_or(|end| now < end) => {
                Ok(Caller::new(token.name, token.scopes, &token.patterns))
            }
            Some(token) => Err(Refusal::new(
                Code::Unauthenticated,
                format!(
                    "the token {} has ended; an operator makes another with `countersign token create`",
                    token.name
                ),
            )
            .into()),
            None => {
                Err(Refusal::new(Code::Unauthenticated, "nobody has this token; check it, or ask an operator for one")
                    .into())
            }
        }
    }

    /// A challenge for a rostered key.
    ///
    /// # Errors
    /// `unknown-signer` for a key of nobody, `busy` when too many wait.
    pub fn challenge(&self, keyid: &KeyId) -> Result<String, Stopped> {
        let sealed = self.state();
        if sealed.roster.signer(keyid).is_none() {
            return Err(Refusal::new(Code::UnknownSigner, format!("the sealed roster holds no key {keyid}")).into());
        }
        let now = self.now();
        let end = now.plus(CHALLENGE_S);
        let text =
            format!("countersign-challenge/v1 {} {} {end}", sealed.boundary.id, hex(&self.surroundings.bytes::<32>()));
        let mut open = self.open_admissions();
        open.sweep(now);
        if open.challenges.len() >= MOST_OPEN {
            return Err(Refusal::new(Code::Busy, "too many challenges wait for an answer, try again")
                .retry_after(5)
                .into());
        }
        open.challenges.insert(sha256(text.as_bytes()), (*keyid, end));
        Ok(text)
    }

    /// Checks an answered challenge; gives a bearer for minutes, its owner's name and its end.
    ///
    /// # Errors
    /// `unauthenticated` when the challenge is not open, `bad-signature`.
    pub fn answer(&self, challenge: &str, signature: &EnvelopeSignature) -> Result<(String, Name, Timestamp), Stopped> {
        let now = self.now();
        let waiting = self.open_admissions().challenges.remove(&sha256(challenge.as_bytes()));
        let keyid = match waiting {
            Some((keyid, end)) if now < end && keyid == signature.keyid => keyid,
            _ => {
                let detail = "this challenge is not open for this key: ask for a new one and answer within a minute";
                return Err(Refusal::new(Code::Unauthenticated, detail).into());
            }
        };
        let sealed = self.state();
        let Some((holder, key)) = sealed.roster.signer(&keyid) else {
            return Err(Refusal::new(Code::UnknownSigner, format!("the sealed roster holds no key {keyid}")).into());
        };
        let bytes = Base64::Lenient.decode("/signature/sig", &signature.sig)?;
        let _ = sshsig::verify(key, &pae(CHALLENGE_TYPE, challenge.as_bytes()), &bytes)
            .map_err(|error| Refusal::new(Code::BadSignature, error.to_string()))?;
        let (name, scopes) = match holder {
            Holder::Approver(name) => (name.clone(), vec![Scope::Read]),
            Holder::Operator(name) => (name.clone(), vec![Scope::Operate, Scope::Read]),
            Holder::Proposer(name) => (name.clone(), vec![Scope::Propose]),
            Holder::Boundary(name) => {
                return Err(Refusal::new(
                    Code::NotPermittedSigner,
                    format!("{keyid} is a key of the boundary {name}, not of a person"),
                )
                .into());
            }
        };
        let bearer = self.new_bearer();
        let end = now.plus(ADMISSION_S);
        let mut open = self.open_admissions();
        open.sweep(now);
        if open.admitted.len() >= MOST_OPEN {
            return Err(Refusal::new(Code::Busy, "too many keys are admitted just now, try again")
                .retry_after(5)
                .into());
        }
        open.admitted.insert(sha256(bearer.as_bytes()), (Caller::new(name.clone(), scopes, &[]), end));
        Ok((bearer, name, end))
    }

    /// All tokens ever, by name.
    ///
    /// # Errors
    /// When the store can't be read.
    pub fn tokens(&self) -> Result<Vec<TokenView>, Stopped> {
        let tokens = self.ledger.tokens().map_err(|e| fault(&e))?;
        Ok(tokens
            .into_iter()
            .map(|token| TokenView {
                token: SealedToken {
                    name: token.name,
                    owners: token.owners,
                    scopes: token.scopes,
                    patterns: token.patterns,
                    expires_at: token.expires_at,
                },
                revoked_at: token.revoked_at,
            })
            .collect())
    }

    /// Makes a token and seals it; gives its secret, which is shown once and kept only as a digest.
    ///
    /// # Errors
    /// When the name is taken, an owner is not in the roster, or a pattern can't be read.
    pub async fn create_token(&self, token: SealedToken) -> Result<String, Stopped> {
        let now = self.now();
        check_token(&token, &self.state(), now)?;
        let secret = self.new_bearer();
        let row = Token {
            name: token.name,
            secret: sha256(secret.as_bytes()),
            owners: token.owners,
            scopes: token.scopes,
            patterns: token.patterns,
            created_at: now,
            expires_at: token.expires_at,
            revoked_at: None,
        };
        self.put_in_force(|_| {}, Some(TokenChange::Add(row))).await?;
        Ok(secret)
    }

    /// Ends a token and seals that.
    ///
    /// # Errors
    /// When there is no such token, or it has ended.
    pub async fn revoke_token(&self, name: &Name) -> Result<(), Stopped> {
        let at = self.now();
        self.put_in_force(|_| {}, Some(TokenChange::Revoke { name: name.clone(), at })).await.map(drop)
    }

    fn new_bearer(&self) -> String {
        use base64::Engine as _;
        let random: [u8; 32] = self.surroundings.bytes();
        format!("{BEARER_PREFIX}{}", base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(random))
    }

    fn open_admissions(&self) -> std::sync::MutexGuard<'_, Open> {
        self.admissions.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Checks what a token is asked to be.
fn check_token(token: &SealedToken, sealed: &crate::boundary::sealed::Sealed, now: Timestamp) -> Result<(), Stopped> {
    let refuse =
        |pointer: &str, detail: String| Err(Refusal::new(Code::Malformed, detail.clone()).at(pointer, detail).into());
    if let Err(error) = sealed.roster.check_token_name(&token.name) {
        return refuse("/name", error.to_string());
    }
    for (at, owner) in token.owners.iter().enumerate() {
        if sealed.roster.approver(owner).is_none()
            && !sealed.roster.tables().operator.iter().any(|person| person.name == *owner)
        {
            return refuse(
                &format!("/owners/{at}"),
                format!("{owner} is nobody of the roster: owners are the people who control the token"),
            );
        }
    }
    if token.scopes.is_empty() {
        return refuse("/scopes", "a token needs at least one of propose, read, operate".to_owned());
    }
    for (at, pattern) in token.patterns.iter().enumerate() {
        if let Err(error) = Pattern::parse(pattern) {
            return refuse(&format!("/patterns/{at}"), error.to_string());
        }
    }
    if token.expires_at.is_some_and(|end| end <= now) {
        return refuse("/expires_at", "this time is over".to_owned());
    }
    Ok(())
}
