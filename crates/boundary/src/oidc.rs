//! Admission by the ID token of a CI job (OpenID Connect). An ID token opens a token without a secret for some minutes.

pub mod binding_rules;
pub mod id_token;

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    Admission, Caller, IdToken, IssuerKeys,
    admission::Holder,
    fail,
    oidc::{
        binding_rules::{admitted, differing},
        id_token::refused,
    },
};
use crossing::{Refusal, RequestResult, Sealed, Stopped, fault};
use documents::{Code, OidcBinding, SealedToken, Timestamp};
use store::Token;
use wire::AdmissionResponse;

/// A token in force that ID tokens open.
type OpenedToken<'t> = (&'t SealedToken, &'t OidcBinding);

/// Returns the binding of a token that ID tokens of this issuer open.
fn binding_to<'t>(token: &'t SealedToken, issuer: &str) -> Option<&'t OidcBinding> {
    token.oidc.as_ref().filter(|oidc| oidc.issuer == issuer)
}

/// Returns the value that the claim `aud` of an ID token for this boundary must have.
pub fn audience(sealed: &Sealed) -> String {
    format!("countersign:{}", sealed.boundary.id)
}

impl Admission {
    /// Exchanges an ID token for a bearer that is valid for some minutes. The bearer has the name and the rights of the
    /// token whose binding fits. Callers must not drop the future: the store marks the ID token as used before the
    /// bearer exists.
    ///
    /// # Errors
    /// Returns `malformed`, `too-large`, `unauthenticated` with the claim that differs, `bad-signature`, `busy` if the
    /// keys of the issuer can't be read, or the error of `charge`, which charges the issuer of an ID token that fits a
    /// token.
    pub async fn exchange(
        &self,
        id_token: &str,
        charge: impl FnOnce(&str) -> RequestResult,
    ) -> RequestResult<AdmissionResponse> {
        let id_token = IdToken::parse(id_token)?;
        let (now, sealed, rows) = (
            self.crossing.now(),
            self.crossing.state(),
            self.ledger.tokens()?,
        );
        let revoked = self.crossing.revoked();
        let revoked = revoked.now();
        let issuer = id_token.issuer();
        // Only the sealed entry of a token says which jobs open it.
        let of_issuer: Vec<OpenedToken<'_>> = sealed
            .tokens
            .iter()
            .filter(|token| {
                token.expires_at.is_none_or(|end| now < end) && revoked.token(&token.name).is_none()
            })
            .filter_map(|token| Some((token, binding_to(token, issuer)?)))
            .collect();
        if of_issuer.is_empty() {
            let why =
                format!("is {issuer:?}, and no valid token of this boundary is for this issuer");
            return Err(refused("iss", &why).into());
        }
        // Tokens of one issuer can have different keys or authorities, so try each of them. If none verifies and one
        // attempt was `busy`, answer `busy`, because the job can then try again.
        let (mut signed, mut stopped) = (BTreeMap::new(), None::<Stopped>);
        let is_busy = |stopped: &Stopped| matches!(stopped, Stopped::Refused(refusal) if refusal.code.is_temporary());
        for (token, _) in &of_issuer {
            let files = token.files();
            if signed.contains_key(&files) {
                continue;
            }
            // The files of any row are good, because the seal names their digests.
            let read = match rows.iter().find(|row| row.files() == files) {
                Some(row) => self.keys_of(row, &id_token, now).await,
                None => Err(fault(format!(
                    "the store lacks the files of the issuer that the seal names for the token {}",
                    token.name
                ))),
            };
            let verified = read.and_then(|read| id_token.verify(&read).map_err(Stopped::from));
            let noted =
                verified.map_err(|error| stopped = stopped.take().filter(is_busy).or(Some(error)));
            signed.insert(files, noted.ok());
        }
        let Some(claims) = signed.values().copied().flatten().next() else {
            return Err(stopped.unwrap_or_else(|| refused("iss", "has no keys").into()));
        };
        let usable = claims.check(&audience(&sealed), now)?;
        let verified = of_issuer
            .iter()
            .filter(|(token, _)| signed[&token.files()].is_some());
        let (differing, found): (Vec<_>, Vec<_>) = verified
            .map(|token| (differing(token.1, claims), token))
            .partition(|(differs, _)| differs.is_some());
        let (token, binding) = match found[..] {
            [(_, token)] => token,
            [] => {
                // Name the claim that differs in the binding that fits best.
                let nearest = differing
                    .iter()
                    .filter_map(|(differs, _)| *differs)
                    .max_by_key(|(agree, _)| *agree);
                let name = nearest.map_or("sub", |(_, name)| name);
                let value = claims
                    .value(name)
                    .map_or("missing".to_owned(), ToString::to_string);
                return Err(refused(
                    name,
                    &format!("is {value}, which no token of this boundary accepts"),
                )
                .into());
            }
            [(_, (one, _)), (_, (other, _)), ..] => {
                let detail = format!(
                    "the ID token is refused, because its claims fit two tokens, {} and {}: an operator must make their \
                     bindings differ",
                    one.name, other.name
                );
                return fail(Code::Unauthenticated, detail);
            }
        };
        let caller = Caller::of_token(token).with_id_token(admitted(binding, claims)?);
        charge(id_token.issuer())?;
        // After a crash here, the ID token is used up and has opened nothing. The job can get another ID token.
        if !self.ledger.admit(usable).await? {
            return Err(refused(
                "jti",
                "is that of an ID token that was used before: get a new ID token",
            )
            .into());
        }
        let end = token.expires_at.unwrap_or(Timestamp::from_unix(i64::MAX));
        self.open_for(Holder::Token(token.name.clone()), caller, now, end)
    }

    async fn keys_of(
        &self,
        row: &Token,
        id_token: &IdToken,
        now: Timestamp,
    ) -> RequestResult<Arc<IssuerKeys>> {
        match &row.jwks {
            Some(jwks) => {
                let keys = IssuerKeys::parse(jwks.as_bytes());
                Ok(Arc::new(keys.map_err(|why| {
                    Refusal::new(Code::Busy, format!("the pinned keys can't be read: {why}"))
                })?))
            }
            None => {
                self.keys
                    .keys(id_token.issuer(), row.ca.as_deref(), id_token.kid(), now)
                    .await
            }
        }
    }
}
