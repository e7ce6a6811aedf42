//! JSON bodies of the HTTP interface, except the boundary's views.

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Number, Value};

use documents::{
    ContentDigest, Envelope, EnvelopeSignature, KeyId, Name, ProposalId, ReceiptId, Timestamp, json,
};

/// Returns the integer that a JSON number states exactly, also if it is written as `2.0`.
pub fn whole(number: &Number) -> Option<i64> {
    match number.as_i64() {
        Some(whole) => Some(whole).filter(|whole| whole.unsigned_abs() <= json::MAX_INTEGER),
        None => number.as_f64().and_then(json::whole_number),
    }
}

/// Converts a JSON value to a document, also for MCP, which may not use `crypto`.
///
/// # Errors
/// Returns a message that begins with the JSON pointer of the first value that does not fit the type.
pub fn of_value<T: DeserializeOwned>(value: &Value) -> Result<T, String> {
    json::typed(value).map_err(|error| error.to_string())
}

/// `POST /v1/proposals/{id}/signatures`: signatures of approvers.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Signatures {
    /// At most 16 signatures over the proposal's payload.
    pub signatures: Vec<EnvelopeSignature>,
}

/// `POST /v1/sessions`: a new session.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewSession {
    /// Runbook whose steps will use the session: the part of a step's ref before the colon.
    pub runbook: String,
}

/// `PUT /v1/artifacts/{digest}`: an uploaded file.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct StoredArtifact {
    /// SHA-256 of the file.
    pub digest: ContentDigest,
    /// Size in bytes.
    pub bytes: u64,
}

/// `POST /v1/denials`: denial of a statement that the boundary may not have.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StatementDenial {
    /// Denial of the statement, signed by one approver.
    pub denial: Envelope,
    /// Base64 of the statement's exact bytes. The boundary reads the step and the window in them.
    pub payload: String,
}

/// `POST /v1/challenges`: first request for read access with a key of the roster.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChallengeRequest {
    /// Key that will sign the challenge.
    pub keyid: KeyId,
}

/// Challenge that the key must sign, as the body of a DSSE message of type `application/vnd.countersign.challenge.v1`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Challenge {
    /// Text of one line: `countersign-challenge/v1 <boundary id> <random hex> <expires>`.
    pub challenge: String,
}

/// `POST /v1/challenges/answer`: the signed challenge.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChallengeAnswer {
    /// Challenge without changes.
    pub challenge: String,
    /// Key id and signature.
    pub signature: EnvelopeSignature,
}

/// Bearer token that is valid for some minutes. For a key, it permits reading, and for a proposer of the roster also
/// proposing. For an ID token, it has the rights of the token that the ID token opened.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Admission")]
pub struct AdmissionResponse {
    /// Bearer token, `cst_…`.
    pub bearer: String,
    /// Name of the key's holder in the roster, or of the token that the ID token opened.
    pub name: Name,
    /// The bearer token is valid before this time.
    pub expires_at: Timestamp,
}

/// Problem document (RFC 9457, `application/problem+json`).
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Problem {
    /// `/problems/<code>`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Title, which is the same for every problem of this type.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// Description of this problem, with the next action.
    pub detail: String,
    /// Places in the request that contain an error.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<ProblemError>,
    /// Receipt that answers the request, for callers who may read the receipt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub receipt: Option<ReceiptId>,
    /// Proposal that the problem concerns, for callers who may read the proposal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proposal: Option<ProposalId>,
    /// Id of a fault, under which the log of the service has details.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
}

/// Place in the request that contains an error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProblemError {
    /// JSON Pointer (RFC 6901) to the place.
    pub pointer: String,
    /// Description of the error.
    pub detail: String,
}

/// `GET /version`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Version {
    /// `countersign`.
    pub name: String,
    /// Version of the program.
    pub version: String,
    /// Version of the HTTP interface.
    pub api: String,
}

/// `GET /health`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Health")]
pub struct HealthResponse {
    /// Always `up`, because a service that is down does not answer.
    pub status: String,
}

/// `GET /log/proof/consistency/{old}/{new}`: consistency proof (RFC 6962 section 2.1.2).
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ConsistencyProof {
    /// The smaller size.
    pub old: u64,
    /// The larger size.
    pub new: u64,
    /// Hashes of the proof, each 64 lower-case hexadecimal digits.
    pub hashes: Vec<String>,
}
