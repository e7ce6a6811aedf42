//! What a caller sends to propose a run.

use schemars::JsonSchema;
use serde::de::{Deserializer, Error as _};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use documents::{ArtifactName, ContentDigest, GrantId, Nonce, ReceiptId, SessionId, json};

/// `POST /v1/proposals`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
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
    /// Nonce that the caller chose. A call with a nonce repeats only a call with the same nonce.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nonce: Option<Nonce>,
    /// Length of the window in seconds: 1 to 86,400, by default 3,600.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_in_s: Option<i64>,
    /// Session in which the step runs. A step that declares a session needs one, and no other step takes one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionId>,
    /// Uploaded files that the run gets, at most 16.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub artifacts: Vec<ProposedArtifact>,
    /// Receipt of the plan that the step applies. A step that declares a plan needs one, and no other step takes one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan: Option<ReceiptId>,
    /// Standing grant under which the step runs. The proposal then needs a nonce, and only the signature of the grantee.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grant: Option<GrantId>,
    /// True for an emergency. Then the rule `emergency` of policy takes the place of its approval rule, and people must
    /// review the run afterwards.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub emergency: bool,
    /// `true` asks for another run, even if an earlier proposal asks for the same run. Without it, a repeated call is
    /// answered with the earlier proposal and `existing`. `false` together with a nonce: an earlier proposal with another
    /// nonce also counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new: Option<bool>,
}

/// An uploaded file that a run gets.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProposedArtifact {
    /// Name of the file in the run's directory `$COUNTERSIGN_ARTIFACTS`.
    pub name: ArtifactName,
    /// SHA-256 of the content, under which the file was uploaded.
    pub digest: ContentDigest,
}

fn no_params() -> Value {
    Value::Object(serde_json::Map::new())
}

/// Maximum length of a text that holds parameters, in bytes.
const MAX_TEXT_BYTES: usize = 256 << 10;
const EXPECTED: &str = "expected an object, like {\"n\": 5}";

/// Reads parameters. Some programs of agents send the object as a text, which is read as strictly as the object itself.
///
/// # Errors
/// Returns an error for a text that holds no object.
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
