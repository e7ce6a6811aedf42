//! Tokens, made as `countersign token create` makes them: no secret leaves the test, only the digest of its digest.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{World, people};

/// Returns an unused secret.
pub fn secret() -> String {
    let random = Sha256::digest(people::nonce());
    format!("cst_{}", URL_SAFE_NO_PAD.encode(random))
}

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", people::sha256(bytes))
}

/// Returns the credential of a token with this secret.
pub fn credential(secret: &str) -> String {
    digest(&Sha256::digest(secret))
}

/// Returns the request that creates this token with this secret.
pub fn request(token: &Value, secret: &str) -> Value {
    let mut token = token.clone();
    token["credential"] = credential(secret).into();
    json!({"do": "token-create", "token": token})
}

/// Returns the entry of this token, if the ID tokens that `oidc` describes open it. In `oidc`, `jwks` and `ca` are the
/// texts of the issuer's files.
pub fn entry_of_jobs(token: &Value, oidc: &Value) -> Value {
    let (mut token, mut oidc) = (token.clone(), oidc.clone());
    for file in ["jwks", "ca"] {
        if let Some(text) = oidc.get(file).and_then(Value::as_str).map(str::to_owned) {
            oidc[file] = digest(text.as_bytes()).into();
        }
    }
    token["credential"] = digest(&people::canonical(&oidc)).into();
    token["oidc"] = oidc;
    token
}

impl World {
    /// Creates this token with a new secret, and returns the secret.
    pub fn create_token(&self, token: &Value) -> Result<String, String> {
        let secret = secret();
        self.control(&request(token, &secret)).map(|_| secret)
    }

    /// Creates this token, which ID tokens open as in [`entry_of_jobs`], and returns their audience.
    pub fn create_token_of_jobs(&self, token: &Value, oidc: &Value) -> Result<String, String> {
        let mut request = json!({"do": "token-create", "token": entry_of_jobs(token, oidc)});
        for file in ["jwks", "ca"] {
            if let Some(text) = oidc.get(file) {
                request[file] = text.clone();
            }
        }
        let made = self.control(&request)?;
        let audience = made["audience"].as_str().expect("an audience");
        Ok(audience.to_owned())
    }
}
