//! Tokens without their secrets, and the changes of tokens in a seal.

use std::fmt;

use crate::StoreFault;
use documents::{Name, Scope, Timestamp};
use wire::OidcBinding;

/// A change of the tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenChange {
    /// A new token, whose name was never used before, with the jobs whose ID tokens open it.
    Add(Token, Option<Box<OidcBinding>>),
    /// The revocation of a token.
    Revoke {
        /// Name of the token.
        name: Name,
        /// Time of the revocation.
        at: Timestamp,
    },
}

/// A token, without its secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    /// Name of the token.
    pub name: Name,
    /// SHA-256 digest of the secret, or random bytes for a token without a secret.
    pub secret: [u8; 32],
    /// Names of the owners.
    pub owners: Vec<Name>,
    /// Actions that the token allows.
    pub scopes: Vec<Scope>,
    /// Patterns of the steps to which the token is limited.
    pub patterns: Vec<String>,
    /// Time at which the token was created.
    pub created_at: Timestamp,
    /// Time at which the token expires.
    pub expires_at: Option<Timestamp>,
    /// Time at which the token was revoked.
    pub revoked_at: Option<Timestamp>,
}

/// The tokens without a secret, each with the jobs whose ID tokens open it.
pub type TokenBindings = Vec<(Name, OidcBinding)>;

/// An ID token that was used.
#[derive(Debug, Clone, Copy)]
pub struct IdTokenUse {
    /// Digest of the issuer and of the claim `jti`.
    pub digest: [u8; 32],
    /// The ID token is not valid from this time on.
    pub expires_at: Timestamp,
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token")
            .field("name", &self.name)
            .field("secret", &"[redacted]")
            .field("owners", &self.owners)
            .field("scopes", &self.scopes)
            .field("patterns", &self.patterns)
            .field("created_at", &self.created_at)
            .field("expires_at", &self.expires_at)
            .field("revoked_at", &self.revoked_at)
            .finish()
    }
}

/// Returns the text of a column with JSON.
pub fn json<T: serde::Serialize + ?Sized>(value: &T) -> Result<String, StoreFault> {
    serde_json::to_string(value).map_err(|error| StoreFault::database("writing a token", error))
}
