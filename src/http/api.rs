//! JSON bodies of the HTTP interface, except the boundary's views.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::crypto::key_id::KeyId;
use crate::record::envelope::{Envelope, EnvelopeSignature};
use crate::record::ident::{Name, ProposalId, ReceiptId};
use crate::record::validity::Timestamp;

/// `POST /v1/proposals/{id}/signatures`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Signatures {
    /// At most 16, over the proposal's payload.
    pub signatures: Vec<EnvelopeSignature>,
}

/// `POST /v1/denials`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StatementDenial {
    /// The denial of the statement, signed by one approver.
    pub denial: Envelope,
    /// Base64 of the statement's exact bytes: they say who may deny it and until when the denial is of use.
    pub payload: String,
}

/// `POST /v1/challenges`: begins reading with a rostered key.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChallengeRequest {
    /// The key that will sign.
    pub keyid: KeyId,
}

/// What the key has to sign: these bytes as the body of a DSSE message of type `application/vnd.countersign.challenge.v1`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Challenge {
    /// `countersign-challenge/v1 <boundary id> <random hex> <expires>`, one line.
    pub challenge: String,
}

/// `POST /v1/challenges/answer`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChallengeAnswer {
    /// The challenge as it was given.
    pub challenge: String,
    /// The key and its signature.
    pub signature: EnvelopeSignature,
}

/// A short-lived bearer that opens reading, and proposing for a rostered proposer.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Admission")]
pub struct AdmissionResponse {
    /// `cst_…`, valid for minutes.
    pub bearer: String,
    /// Whose it is.
    pub name: Name,
    /// When it ends.
    pub expires_at: Timestamp,
}

/// RFC 9457 `application/problem+json`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Problem {
    /// `/problems/<code>`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The same sentence for every occurrence.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What happened this time, and what to do.
    pub detail: String,
    /// Where in the request, by JSON pointer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<ProblemError>,
    /// The receipt that answers the question, for those who may read it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receipt: Option<ReceiptId>,
    /// The proposal that it is about, for those who may read it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proposal: Option<ProposalId>,
    /// For a fault: the id under which the service's log tells more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
}

/// One place of a refused request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProblemError {
    /// RFC 6901 pointer.
    pub pointer: String,
    /// What is wrong there.
    pub detail: String,
}

/// `GET /version`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Version {
    /// `countersign`.
    pub name: String,
    /// The program's version.
    pub version: String,
    /// The HTTP interface's version.
    pub api: String,
}

/// `GET /health`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Health")]
pub struct HealthResponse {
    /// Always `up`: who can say it, is.
    pub status: String,
}

/// `GET /log/proof/consistency/{old}/{new}` (RFC 6962 section 2.1.2).
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ConsistencyProof {
    /// The smaller size.
    pub old: u64,
    /// The larger size.
    pub new: u64,
    /// Bare lower-case hex.
    pub hashes: Vec<String>,
}
