//! Bundle: a receipt with all that its verification needs, in one file.
//!
//! There is no trust in it: no keys but those of the roster, which counts only when a trusted one leads to it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::crypto::json;
use crate::record::document::Malformed;
use crate::record::envelope::Envelope;
use crate::record::step::MAX_DEFINITION_BYTES;

/// The media type that names format and version.
pub const MEDIA_TYPE: &str = "application/vnd.countersign.bundle.v1+json";
/// The largest bundle.
pub const MAX_BUNDLE_BYTES: usize = 4 << 20;

/// A receipt with all that its verification needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Bundle {
    /// Always `application/vnd.countersign.bundle.v1+json`.
    #[serde(rename = "mediaType")]
    #[schemars(extend("const" = MEDIA_TYPE))]
    pub media_type: String,
    /// The receipt.
    pub receipt: Envelope,
    /// The consumption that it names.
    pub consumption: Envelope,
    /// The seal that it names.
    pub seal: Envelope,
    /// The step's definition.
    #[schemars(with = "serde_json::Map<String, Value>")]
    pub step: Value,
    /// Its place in the registry.
    pub step_proof: StepProof,
    /// The policy in force.
    #[schemars(with = "serde_json::Map<String, Value>")]
    pub policy: Value,
    /// The built-in lists in force.
    #[schemars(with = "serde_json::Map<String, Value>")]
    pub builtins: Value,
    /// Every version of the roster from 1 to the seal's.
    #[schemars(length(min = 1))]
    pub roster: Vec<Envelope>,
    /// Three C2SP tlog-proof texts with one checkpoint.
    pub proofs: Proofs,
}

/// An RFC 6962 inclusion proof in the registry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StepProof {
    /// The step's place.
    pub index: u64,
    /// How many steps there are.
    pub size: u64,
    /// Bare lower-case hex.
    #[schemars(inner(regex(pattern = r"^[0-9a-f]{64}$")), length(max = 63))]
    pub hashes: Vec<String>,
}

/// The proofs that receipt, consumption and seal are in the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Proofs {
    /// Of the receipt.
    pub receipt: String,
    /// Of the consumption.
    pub consumption: String,
    /// Of the seal.
    pub seal: String,
}

impl Bundle {
    /// Reads a bundle, strictly. It need not be canonical.
    ///
    /// # Errors
    /// Says what is wrong and where.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let bundle: Self = json::parse_as(bytes, MAX_BUNDLE_BYTES)?;
        if bundle.media_type != MEDIA_TYPE {
            return Err(Malformed::at("/mediaType", format!("expected {MEDIA_TYPE:?}")));
        }
        for (pointer, value) in [("/step", &bundle.step), ("/policy", &bundle.policy), ("/builtins", &bundle.builtins)]
        {
            if !value.is_object() {
                return Err(Malformed::at(pointer, "expected an object"));
            }
        }
        if crate::crypto::canonical::to_canonical(&bundle.step).len() > MAX_DEFINITION_BYTES {
            return Err(Malformed::too_large("/step", format!("at most {MAX_DEFINITION_BYTES} bytes are allowed")));
        }
        Ok(bundle)
    }
}
