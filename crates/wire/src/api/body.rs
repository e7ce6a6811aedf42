//! JSON bodies of the HTTP interface, except the boundary's views.
//!
//! The file also encodes text for the query of an address, and explains answers that a proxy or another server sent in
//! place of the boundary.

use schemars::JsonSchema;
use serde::{
    Deserialize, Serialize,
    de::{DeserializeOwned, Deserializer, Error as _},
};
use serde_json::{Map, Number, Value};
use serde_with::skip_serializing_none;

use documents::{
    ArtifactName, ContentDigest, Envelope, EnvelopeSignature, GrantId, KeyId, Name, Nonce,
    ProposalId, ReceiptId, SessionId, Timestamp, json,
};

/// Returns the integer that is equal to a JSON number, also if the number is written as `2.0`.
pub fn whole(number: &Number) -> Option<i64> {
    match number.as_i64() {
        Some(whole) => Some(whole).filter(|whole| whole.unsigned_abs() <= json::MAX_INTEGER),
        None => number.as_f64().and_then(json::whole_number),
    }
}

/// Converts a JSON value to a document. The module `mcp` calls this function, because it may not use `crypto` itself.
///
/// # Errors
/// Returns a message that begins with the JSON pointer of the first value that does not fit the type.
pub fn of_value<T: DeserializeOwned>(value: &Value) -> Result<T, String> {
    json::typed(value).map_err(|error| error.to_string())
}

/// `POST /v1/proposals/{id}/signatures`: signatures of approvers.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Signatures {
    /// At most 16 signatures over the proposal's payload.
    pub signatures: Vec<EnvelopeSignature>,
}

/// `POST /v1/sessions`: a new session.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewSession {
    /// Runbook whose steps will use the session: the part of a step's ref before the colon.
    pub runbook: String,
}

/// `PUT /v1/artifacts/{digest}`: an uploaded file.
#[derive(Serialize, Deserialize, JsonSchema)]
pub struct StoredArtifact {
    /// SHA-256 of the file.
    pub digest: ContentDigest,
    /// Size in bytes.
    pub bytes: u64,
}

/// `POST /v1/denials`: denial of a statement that the boundary may not have.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StatementDenial {
    /// Denial of the statement, signed by one approver.
    pub denial: Envelope,
    /// Base64 of the statement's exact bytes. The boundary reads the step and the window in them.
    pub payload: String,
}

/// `POST /v1/challenges`: first request for read access with a key of the roster.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChallengeRequest {
    /// Key that will sign the challenge.
    pub keyid: KeyId,
}

/// The DSSE payload type of a challenge. Because of this payload type, a signature over a challenge is never valid for
/// a statement.
pub const CHALLENGE_TYPE: &str = "application/vnd.countersign.challenge.v1";

/// Challenge that the key must sign, as the body of a DSSE message of type `application/vnd.countersign.challenge.v1`.
#[derive(Serialize, Deserialize, JsonSchema)]
pub struct Challenge {
    /// Text of one line: `countersign-challenge/v1 <boundary id> <random hex> <expires>`.
    pub challenge: String,
}

/// `POST /v1/challenges/answer`: the signed challenge.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChallengeAnswer {
    /// Challenge without changes.
    pub challenge: String,
    /// Key id and signature.
    pub signature: EnvelopeSignature,
}

/// Bearer token that is valid for some minutes. For a key, it permits reading, and for a proposer of the roster also
/// proposing. For an ID token, it has the rights of the token that the ID token opened.
#[derive(Serialize, Deserialize, JsonSchema)]
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
#[skip_serializing_none]
#[derive(Default, Serialize, Deserialize, JsonSchema)]
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
    pub receipt: Option<ReceiptId>,
    /// Proposal that the problem concerns, for callers who may read the proposal.
    pub proposal: Option<ProposalId>,
    /// Id of a fault, under which the log of the service has details.
    pub fault: Option<String>,
}

/// Place in the request that contains an error.
#[derive(Serialize, Deserialize, JsonSchema)]
pub struct ProblemError {
    /// JSON Pointer (RFC 6901) to the place.
    pub pointer: String,
    /// Description of the error.
    pub detail: String,
}

/// `GET /version`.
#[derive(Serialize, Deserialize, JsonSchema)]
pub struct Version {
    /// `countersign`.
    pub name: String,
    /// Version of the program.
    pub version: String,
    /// Version of the HTTP interface.
    pub api: String,
}

/// `GET /health`.
#[derive(Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Health")]
pub struct HealthResponse {
    /// Always `up`, because a service that is down does not answer.
    pub status: String,
}

/// `GET /log/proof/consistency/{old}/{new}`: consistency proof (RFC 6962 section 2.1.2).
#[derive(Serialize, Deserialize, JsonSchema)]
pub struct ConsistencyProof {
    /// The smaller size.
    pub old: u64,
    /// The larger size.
    pub new: u64,
    /// Hashes of the proof, each 64 lower-case hexadecimal digits.
    pub hashes: Vec<String>,
}

/// `POST /v1/proposals`.
#[skip_serializing_none]
#[derive(Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Propose {
    /// `path:step`, or `path:step@sha256:…` to accept only one definition.
    pub step: String,
    /// Parameters. The boundary adds defaults for missing parameters. A text that holds the object is accepted too.
    #[serde(default = "no_params", deserialize_with = "params")]
    #[schemars(with = "serde_json::Map<String, Value>")]
    pub params: Value,
    /// Reason for the run, for the approvers.
    #[serde(default)]
    pub reason: String,
    /// Nonce that the caller chose. Its end is the end of the window, at most 24 hours from now and not after the end of the
    /// token or of the grant. A call with a nonce repeats only a call with the same nonce.
    pub nonce: Option<Nonce>,
    /// Length of the window in seconds: 1 to 86,400, by default 3,600. Left out with a nonce.
    pub expires_in_s: Option<i64>,
    /// Session in which the step runs. A step that declares a session needs one, and no other step takes one.
    pub session: Option<SessionId>,
    /// Uploaded files that the run gets, at most 16.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub artifacts: Vec<ProposedArtifact>,
    /// Receipt of the plan that the step applies. A step that declares a plan needs one, and no other step takes one.
    pub plan: Option<ReceiptId>,
    /// Standing grant under which the step runs. The proposal then needs a nonce, and only the signature of the grantee.
    pub grant: Option<GrantId>,
    /// True for an emergency. Then the rule `emergency` of policy takes the place of its approval rule, and people must
    /// review the run afterwards.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub emergency: bool,
    /// `true` asks for another run, even if an earlier proposal asks for the same run. Without it, a repeated call is
    /// answered with the earlier proposal and `existing`. `false` together with a nonce: an earlier proposal with another
    /// nonce also counts.
    pub new: Option<bool>,
}

/// An uploaded file that a run gets.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProposedArtifact {
    /// Name of the file in the run's directory `$COUNTERSIGN_ARTIFACTS`.
    pub name: ArtifactName,
    /// SHA-256 of the content, under which the file was uploaded.
    pub digest: ContentDigest,
}

fn no_params() -> Value {
    Value::Object(Map::new())
}

/// Maximum length of a text that contains parameters, in bytes.
const MAX_TEXT_BYTES: usize = 256 << 10;
const EXPECTED: &str = "expected an object, like {\"n\": 5}";

/// Reads parameters. Some programs of agents send the object as a text, which is read as strictly as the object itself.
///
/// # Errors
/// Returns an error for a text that contains no object.
pub fn params<'de, D: Deserializer<'de>>(reader: D) -> Result<Value, D::Error> {
    let given = Value::deserialize(reader)?;
    let Value::String(text) = &given else {
        return Ok(given);
    };
    match json::parse_written(text.as_bytes(), MAX_TEXT_BYTES) {
        Ok(held) if held.is_object() => Ok(held),
        Ok(_) => Err(D::Error::custom(format_args!("{EXPECTED}, not text"))),
        Err(error) => Err(D::Error::custom(format_args!(
            "{EXPECTED}, not text; the text is no object: {error}"
        ))),
    }
}

/// Reads parameters like [`params`], and accepts only an object.
///
/// # Errors
/// Returns an error for any other value.
pub fn params_object<'de, D: Deserializer<'de>>(reader: D) -> Result<Map<String, Value>, D::Error> {
    match params(reader)? {
        Value::Object(params) => Ok(params),
        _ => Err(D::Error::custom(EXPECTED)),
    }
}

/// Writes a text so that each query of an address can contain it (RFC 3986, section 2.1).
pub fn percent_encoded(text: &str) -> String {
    let one = |byte: u8| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            char::from(byte).to_string()
        } else {
            format!("%{byte:02X}")
        }
    };
    text.bytes().map(one).collect()
}

/// Returns true if a proxy answers with this status while the boundary can't be reached for a short time, or after too many
/// calls.
pub fn may_pass(status: u16) -> bool {
    matches!(status, 429 | 502 | 503 | 504)
}

/// Returns a message about an answer that is no document of a boundary: what the answer means, and what to do next.
pub fn foreign_answer(status: u16, body: &[u8]) -> String {
    let is_page = body.trim_ascii_start().starts_with(b"<");
    let meaning = match status {
        413 => {
            "a proxy refuses the size of the request: ask the operator of the proxy for a larger limit"
        }
        429 => "a proxy refuses so many calls: try again some seconds later",
        502..=504 => {
            "a proxy can't reach the boundary, which may be restarting: try again some seconds later"
        }
        200..=299 if is_page => {
            "the answer is a web page, such as the login page of a proxy: check the address, and ask the operator of the proxy \
             to let the calls of programs pass"
        }
        400 if is_page => {
            "a proxy refuses the request: check the address, and write https:// if it begins with http://"
        }
        _ => "the answer is no document of a boundary: check that the address is a boundary",
    };
    format!("status {status}: {meaning}")
}
