//! Authentication of callers. A caller presents a token, or answers a challenge with a key of the roster, or sends the
//! ID token of a CI job.
//!
//! A token allows its holder to propose, to read or to operate. A token never approves a run, because only signatures
//! approve a run.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::{Caller, Surroundings, fail, oidc::id_token::KeyCache};
use crossing::{Crossing, Refusal, RequestResult, Sealed, refuse};
use documents::{
    Base64, Code, ContentDigest, EnvelopeSignature, KeyId, Name, Scope, SealDigest, SealedToken,
    Timestamp, hex, locked, pae, sha256, sshsig,
};
use store::Ledger;
use verdict::{KeyHolder, SigningProgram, signing_program};
use wire::{AdmissionResponse, CHALLENGE_TYPE};

/// Prefix of every bearer token, so that secret scanners can find a leaked token.
const BEARER_PREFIX: &str = "cst_";
/// Time limit for answering a challenge, in seconds.
const CHALLENGE_S: i64 = 60;
/// Validity of an admission, in seconds.
const ADMISSION_S: i64 = 600;
/// Maximum number of valid admissions, and maximum number of answered challenges in memory. Only holders of keys in the
/// roster can add answered challenges. Only they, and jobs whose ID token opens a token, can add admissions.
const MOST_OPEN: usize = 10_000;
/// Maximum number of valid admissions of one holder (a key, or a token that ID tokens open), so that no holder uses up
/// the admissions of others. A new admission above the maximum ends the oldest admission of the holder.
const MOST_OF_ONE: usize = 100;

/// Admissions: temporary rights, each for a key that answered a challenge or for a token that an ID token opened.
///
/// Open challenges are not stored, because any caller could fill the store with challenges. Instead, each challenge
/// contains a tag that only this process can compute.
pub struct Admissions {
    secret: [u8; 32],
    open: Mutex<Open>,
}

impl Admissions {
    /// Creates the value with a secret that only this process knows.
    pub fn new(secret: [u8; 32]) -> Self {
        Self {
            secret,
            open: Mutex::default(),
        }
    }

    /// Returns the text of a challenge for the key `keyid`. The text contains `salt` and a tag over all fields.
    fn text(&self, boundary: &SealDigest, keyid: &KeyId, salt: &str, end: Timestamp) -> String {
        // The tag covers a digest, so the hash input has a fixed length and can't be extended.
        let about = sha256(format!("{boundary} {keyid} {salt} {end}").as_bytes());
        let tag = sha256(&[self.secret, about].concat());
        format!(
            "countersign-challenge/v1 {boundary} {salt}{} {end}",
            &hex(&tag)[..TAG]
        )
    }

    /// Returns the end of the challenge, or `None` if this process did not create the challenge for this key.
    fn made(&self, boundary: &SealDigest, keyid: &KeyId, challenge: &str) -> Option<Timestamp> {
        let mut fields = challenge.split(' ').skip(2);
        let (salt, end) = (
            fields.next()?.get(..SALT * 2)?,
            fields.next()?.parse().ok()?,
        );
        // Compare digests, so that the duration of the comparison does not reveal the tag.
        let ours = self.text(boundary, keyid, salt, end);
        (sha256(ours.as_bytes()) == sha256(challenge.as_bytes())).then_some(end)
    }
}

/// Length of a challenge's salt, in bytes.
const SALT: usize = 16;
/// Length of a challenge's tag, in hexadecimal digits (128 bits).
const TAG: usize = 32;

#[derive(Default)]
struct Open {
    /// Answered challenges that have not expired.
    answered: HashMap<[u8; 32], Timestamp>,
    admitted: HashMap<[u8; 32], Opened>,
    /// Number of admissions since the service started.
    number: u64,
    sealed: SealedCallers,
}

struct Opened {
    caller: Caller,
    holder: Holder,
    end: Timestamp,
    /// The number gives the order of admissions, because times have only whole seconds.
    number: u64,
}

/// The holder of an admission.
#[derive(PartialEq)]
pub enum Holder {
    /// A key that answered a challenge.
    Key(KeyId),
    /// A token that an ID token opened.
    Token(Name),
}

/// The tokens of one seal, by their credentials.
#[derive(Default)]
struct SealedCallers {
    seal: Option<SealDigest>,
    callers: HashMap<ContentDigest, (Caller, Option<Timestamp>)>,
}

impl Open {
    /// Returns the caller who presents this credential, with the end of the token.
    fn presented(
        &mut self,
        sealed: &Sealed,
        credential: ContentDigest,
    ) -> Option<(Caller, Option<Timestamp>)> {
        let of_token = |token: &SealedToken| {
            (
                token.credential,
                (Caller::of_token(token), token.expires_at),
            )
        };
        if self.sealed.seal != Some(sealed.digest) {
            self.sealed = SealedCallers {
                seal: Some(sealed.digest),
                callers: sealed.tokens.iter().map(of_token).collect(),
            };
        }
        self.sealed.callers.get(&credential).cloned()
    }

    fn sweep(&mut self, now: Timestamp) {
        self.answered.retain(|_, end| now < *end);
        self.admitted.retain(|_, opened| now < opened.end);
    }

    /// Removes the oldest admission of the holder if the holder already has the maximum number of admissions.
    fn make_room_for(&mut self, holder: &Holder) {
        let of_holder = || {
            self.admitted
                .iter()
                .filter(|(_, opened)| opened.holder == *holder)
        };
        if of_holder().count() < MOST_OF_ONE {
            return;
        }
        let oldest = of_holder()
            .min_by_key(|(_, opened)| opened.number)
            .map(|(secret, _)| *secret);
        if let Some(oldest) = oldest {
            self.admitted.remove(&oldest);
        }
    }
}

/// Authenticates callers by a token, by an answered challenge or by an ID token.
pub struct Admission {
    pub crossing: Arc<Crossing>,
    pub ledger: Ledger,
    pub keys: KeyCache,
    pub admissions: Admissions,
    pub surroundings: Surroundings,
}

impl Admission {
    /// Returns the caller to whom this bearer token belongs.
    ///
    /// # Errors
    /// Returns `unauthenticated` if the bearer token belongs to no valid token or admission, and `revoked` if the key
    /// of the admission is revoked.
    pub fn authenticate(&self, bearer: &str) -> RequestResult<Caller> {
        let now = self.crossing.now();
        // Look up the digest of the bearer token, so that the duration of the look-up does not reveal the secret.
        let secret = sha256(bearer.as_bytes());
        if let Some(opened) = locked(&self.admissions.open).admitted.get(&secret)
            && now < opened.end
        {
            let caller = opened.caller.clone();
            match &opened.holder {
                Holder::Key(keyid) => self.check_key(keyid)?,
                Holder::Token(name) => self.check_token(name, &caller, now)?,
            }
            return Ok(caller);
        }
        let credential = SealedToken::of_secret(&secret);
        let sealed = self.crossing.state();
        let presented = locked(&self.admissions.open).presented(&sealed, credential);
        if let Some((caller, end)) = presented
            && end.is_none_or(|end| now < end)
            && self
                .crossing
                .revoked()
                .now()
                .token(caller.demand_name()?)
                .is_none()
        {
            return Ok(caller);
        }
        fail(
            Code::Unauthenticated,
            "this token does not exist, has expired or was revoked: check the token, or ask an operator for a token, \
             who makes it with `countersign token create`",
        )
    }

    /// Creates a challenge for a key in the roster.
    ///
    /// # Errors
    /// Returns `unknown-signer` if the key is not in the roster.
    pub fn challenge(&self, keyid: &KeyId) -> RequestResult<String> {
        let sealed = self.crossing.state();
        if sealed.statement_key(keyid).is_none() {
            return Err(sealed.unknown_signer(keyid).into());
        }
        let now = self.crossing.now();
        let end = now.plus(CHALLENGE_S);
        let salt = hex(&self.surroundings.bytes::<SALT>());
        Ok(self.admissions.text(&sealed.boundary.id, keyid, &salt, end))
    }

    /// Checks the answer to a challenge. Returns a bearer token that is valid for some minutes, and the name of the
    /// key's holder. The passkey of an approver gives read access, if policy accepts the passkey.
    ///
    /// # Errors
    /// Returns `unauthenticated` if the challenge is not open, `bad-signature` if the signature does not verify,
    /// `revoked` if the key is revoked, and `not-permitted-signer` for any other passkey and for the key of a boundary.
    pub fn answer(
        &self,
        challenge: &str,
        signature: &EnvelopeSignature,
    ) -> RequestResult<AdmissionResponse> {
        let now = self.crossing.now();
        let sealed = self.crossing.state();
        let keyid = signature.keyid;
        let not_open = || {
            let detail = "the boundary has no such open challenge for this key: ask for a new challenge and answer \
                 within a minute";
            refuse(Code::Unauthenticated, detail)
        };
        let made = self.admissions.made(&sealed.boundary.id, &keyid, challenge);
        let challenge_ends = made.filter(|end| now < *end).ok_or_else(not_open)?;
        let key = sealed.statement_key(&keyid);
        let Some((key, (holder, _))) = key.zip(sealed.roster.statement_signer(&keyid)) else {
            return Err(sealed.unknown_signer(&keyid).into());
        };
        let bytes = Base64::Lenient.decode("/signature/sig", &signature.sig)?;
        let _ = sshsig::verify(key, &pae(CHALLENGE_TYPE, challenge.as_bytes()), &bytes)
            .map_err(|error| Refusal::new(Code::BadSignature, error.to_string()))?;
        let program = signing_program(&bytes, sealed.policy.passkeys())
            .map_err(|error| Refusal::new(error.code(), error.to_string()))?;
        let (name, scopes) = match holder {
            holder
                if program == SigningProgram::Browser
                    && !matches!(holder, KeyHolder::Approver(_)) =>
            {
                return fail(
                    Code::NotPermittedSigner,
                    format!(
                        "the passkey {keyid} is of {holder}, and only the passkey of an approver gives access"
                    ),
                );
            }
            KeyHolder::Approver(name) => (name, vec![Scope::Read]),
            KeyHolder::Operator(name) => (name, vec![Scope::Operate, Scope::Read]),
            KeyHolder::Proposer(name) => (name, vec![Scope::Propose]),
            KeyHolder::Boundary(name) => {
                return fail(
                    Code::NotPermittedSigner,
                    format!("{keyid} is a key of the boundary {name}, not of a person"),
                );
            }
        };
        self.check_key(&keyid)?;
        {
            let (mut open, answered) =
                (locked(&self.admissions.open), sha256(challenge.as_bytes()));
            open.sweep(now);
            if open.answered.len() >= MOST_OPEN {
                return Err(too_many().into());
            }
            if open.answered.insert(answered, challenge_ends).is_some() {
                return Err(not_open());
            }
        }
        let caller = Caller::of_key(name.clone(), scopes);
        let never = Timestamp::from_unix(i64::MAX);
        self.open_for(Holder::Key(keyid), caller, now, never)
    }

    /// Opens an admission, which ends at the time `end` at the latest.
    ///
    /// # Errors
    /// Returns `busy` if too many admissions are open.
    pub fn open_for(
        &self,
        holder: Holder,
        caller: Caller,
        now: Timestamp,
        end: Timestamp,
    ) -> RequestResult<AdmissionResponse> {
        let answer = AdmissionResponse {
            bearer: bearer(self.surroundings.bytes()),
            name: caller.demand_name()?.clone(),
            expires_at: end.min(now.plus(ADMISSION_S)),
        };
        let mut open = locked(&self.admissions.open);
        open.sweep(now);
        open.make_room_for(&holder);
        if open.admitted.len() >= MOST_OPEN {
            return Err(too_many().into());
        }
        let number = open.number;
        open.number += 1;
        open.admitted.insert(
            sha256(answer.bearer.as_bytes()),
            Opened {
                caller,
                holder,
                end: answer.expires_at,
                number,
            },
        );
        Ok(answer)
    }

    /// Checks that the token of an admission is still in force.
    fn check_token(&self, name: &Name, caller: &Caller, now: Timestamp) -> RequestResult {
        if caller.still(&self.crossing.state(), now)
            && self.crossing.revoked().now().token(name).is_none()
        {
            return Ok(());
        }
        fail(
            Code::Unauthenticated,
            format!(
                "the token {name} has expired or was revoked, so this bearer is no longer valid"
            ),
        )
    }

    fn check_key(&self, keyid: &KeyId) -> RequestResult {
        if self.crossing.revoked().has_key(keyid) {
            return fail(
                Code::Revoked,
                format!("the key {keyid} is revoked: use another key"),
            );
        }
        Ok(())
    }
}

fn too_many() -> Refusal {
    Refusal::new(
        Code::Busy,
        "too many bearers are open at this moment: try again later",
    )
    .retry_after(5)
}

/// Returns a bearer token that contains these random bytes.
pub fn bearer(random: [u8; 32]) -> String {
    format!("{BEARER_PREFIX}{}", URL_SAFE_NO_PAD.encode(random))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_is_valid_only_for_its_key_its_boundary_and_its_process() {
        let key = |letter: &str| {
            format!("SHA256:{}", letter.repeat(43))
                .parse::<KeyId>()
                .expect("a key's id")
        };
        let (here, there) = (SealDigest::of(b"here"), SealDigest::of(b"there"));
        let (ours, theirs) = (Admissions::new([1; 32]), Admissions::new([2; 32]));
        let end = Timestamp::from_unix(1_800_000_060);
        let text = ours.text(&here, &key("A"), &hex(&[7; SALT]), end);
        assert_eq!(ours.made(&here, &key("A"), &text), Some(end));
        assert_eq!(ours.made(&here, &key("E"), &text), None, "another key");
        assert_eq!(
            ours.made(&there, &key("A"), &text),
            None,
            "another boundary"
        );
        assert_eq!(
            theirs.made(&here, &key("A"), &text),
            None,
            "another process"
        );
        for (from, to) in [("T00:", "T09:"), ("07", "17"), ("v1", "v2"), (" ", "  ")] {
            let forged = text.replacen(from, to, 1);
            assert!(
                forged == text || ours.made(&here, &key("A"), &forged).is_none(),
                "{forged}"
            );
        }
        let later = ours.text(&here, &key("A"), &hex(&[7; SALT]), end.plus(600));
        let spliced = format!(
            "{} {}",
            text.rsplit_once(' ').expect("fields").0,
            later.rsplit_once(' ').expect("fields").1
        );
        assert_eq!(ours.made(&here, &key("A"), &spliced), None, "a later end");
        for odd in [
            "",
            "countersign-challenge/v1",
            "a b c d",
            "a b \u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9} 1",
        ] {
            assert_eq!(ours.made(&here, &key("A"), odd), None);
        }
    }
}
