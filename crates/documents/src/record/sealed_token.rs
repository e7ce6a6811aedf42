//! Tokens, as a seal names them.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use crate::{ContentDigest, Malformed, Name, Timestamp, canonical};

/// A token, as a seal names it. The blob `tokens` of a seal is the sorted array of these entries.
#[skip_serializing_none]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SealedToken {
    /// Name of the token, which is the `proposer` of its proposals. A name is never used again after its token was
    /// removed.
    pub name: Name,
    /// People who control the token. Their signatures do not count for its proposals.
    pub owners: Vec<Name>,
    /// What the token permits, sorted.
    pub scopes: Vec<Scope>,
    /// Globs for the refs of the steps that the token may propose, sorted. An empty list means all steps.
    pub patterns: Vec<String>,
    /// The token is valid before this time, and no longer from this time on.
    pub expires_at: Option<Timestamp>,
    /// Digest of what a caller must present: of the SHA-256 digest of the secret, or of the canonical JSON of `oidc`.
    /// Grants to the token name it.
    pub credential: ContentDigest,
    /// The jobs whose ID tokens open the token, which then has no secret.
    pub oidc: Option<OidcBinding>,
}

/// The jobs whose ID tokens (OpenID Connect) open a token.
#[skip_serializing_none]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OidcBinding {
    /// Issuer of the ID tokens: the value of the claim `iss`.
    pub issuer: String,
    /// Claims that an ID token must have, with their values.
    pub claims: BTreeMap<String, String>,
    /// Parameters that a proposal of the job must have, each with the claim that states the value.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("minProperties" = 1))]
    pub bind: BTreeMap<String, String>,
    /// Digest of the issuer's keys, a JWK set. Without it, the boundary reads the keys from the issuer.
    pub jwks: Option<ContentDigest>,
    /// Digest of the issuer's certificate authorities as PEM. Without it, the boundary trusts the authorities of its
    /// system.
    pub ca: Option<ContentDigest>,
}

impl SealedToken {
    /// Returns the credential of a token whose secret has this digest. The credential is public, and nobody can compute
    /// the secret or its digest from it.
    pub fn of_secret(digest: &[u8; 32]) -> ContentDigest {
        ContentDigest::of(digest)
    }

    /// Returns the digests of the files of the issuer: its keys, and its certificate authorities.
    pub fn files(&self) -> [Option<ContentDigest>; 2] {
        self.oidc
            .as_ref()
            .map_or([None; 2], |oidc| [oidc.jwks, oidc.ca])
    }

    /// Checks that the credential is that of the binding, if there is one.
    ///
    /// # Errors
    /// Returns an error if the credential is another one.
    pub fn check(&self) -> Result<(), Malformed> {
        match &self.oidc {
            Some(binding) if binding.credential()? != self.credential => Err(Malformed::at(
                "/credential",
                format!(
                    "the credential of the token {} is not the digest of its binding",
                    self.name
                ),
            )),
            _ => Ok(()),
        }
    }
}

impl OidcBinding {
    /// Returns the credential of a token with this binding.
    ///
    /// # Errors
    /// Returns an error if the binding has no canonical form.
    pub fn credential(&self) -> Result<ContentDigest, Malformed> {
        let bytes = canonical::canonical_of(self).map_err(|error| Malformed::at("/oidc", error))?;
        Ok(ContentDigest::of(&bytes))
    }
}

words! {
    /// What a token permits.
    #[derive(PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
    #[serde(rename_all = "lowercase")]
    pub enum Scope {
        /// Read all proposals, receipts and outputs, and cancel proposals.
        Operate = "operate",
        /// Propose runs, and read the token's own proposals.
        Propose = "propose",
        /// Read everything.
        Read = "read",
    }
}
