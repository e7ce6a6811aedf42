//! ID tokens of OpenID Connect: the jobs that open a token without a secret, and what the boundary says about such a job.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `POST /v1/admissions`: an ID token of a job.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IdTokenBody {
    /// ID token in the compact form of JWS, at most 16 KiB.
    pub id_token: String,
}

/// Binding of a token to the jobs whose ID tokens open it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OidcBinding {
    /// Issuer of the ID tokens: the value of the claim `iss`.
    pub issuer: String,
    /// Claims that an ID token must have, with their values.
    pub claims: BTreeMap<String, String>,
    /// Parameters that a proposal of the job must have, each with the claim that states the value.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub bind: BTreeMap<String, String>,
    /// Keys of the issuer as a JWK set. Without it, the boundary reads the keys from the issuer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwks: Option<String>,
    /// Certificate authorities of the issuer as PEM. Without it, the boundary trusts the authorities of its system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
}

/// Job that made a proposal, as the boundary read it from an ID token. No signature covers this.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AdmittedJob {
    /// Issuer of the ID token.
    pub issuer: String,
    /// Claims by which the token of the proposer chose the job, and claims that state a parameter.
    pub claims: BTreeMap<String, String>,
    /// Parameters that had to be equal to a claim, each with the claim.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub bind: BTreeMap<String, String>,
    /// Page of the job.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job: Option<String>,
}

/// Returns names with values in one line.
pub fn pairs(map: &BTreeMap<String, String>) -> String {
    map.iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect::<Vec<_>>()
        .join(", ")
}
