//! Bundle: one file with a receipt and everything that its verification needs, except the trusted roster.
//!
//! A bundle is not a source of trust: the keys in its rosters count only if the reader's pinned roster is connected
//! with these rosters.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::crypto::json;
use crate::crypto::note::TlogProof;
use crate::record::document::Predicate;
use crate::record::envelope::{Base64, Envelope, Signed};
use crate::record::grant::Grant;
use crate::record::later_parts::Manifest;
use crate::record::malformed::Malformed;
use crate::record::reserved::below;
use crate::record::run_report::RunReport;
use crate::record::step_definition::MAX_DEFINITION_BYTES;

/// The media type of a bundle. The media type names the format and the version of the format.
pub const MEDIA_TYPE: &str = "application/vnd.countersign.bundle.v1+json";
/// Maximum size of a bundle in bytes.
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
    /// The grant that the run used. Reserved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<Envelope>,
    /// The files that the run left. Present if there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<Manifest>,
    /// The bundle of the plan's receipt, without a plan of its own. Present if the authorization names a plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<serde_json::Map<String, Value>>")]
    pub plan: Option<Box<Bundle>>,
    /// What the runner signed of the run. Reserved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<Envelope>,
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
    /// Of the grant. Reserved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<String>,
}

impl Bundle {
    /// Reads a bundle strictly. The bytes need not be canonical JSON.
    ///
    /// # Errors
    /// Returns the error and its place in the document.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let value = json::parse(bytes, MAX_BUNDLE_BYTES)?;
        let bundle: Self = json::typed(&value).map_err(Malformed::from)?;
        match bundle.check(&value)? {
            Some(pointer) => Err(Malformed::later(pointer)),
            None => Ok(bundle),
        }
    }

    /// Checks the rules that the types cannot express. Returns the pointer of the first reserved part.
    fn check(&self, value: &Value) -> Result<Option<String>, Malformed> {
        if self.media_type != MEDIA_TYPE {
            return Err(Malformed::at("/mediaType", format!("expected {MEDIA_TYPE:?}")));
        }
        for (pointer, value) in [("/step", &self.step), ("/policy", &self.policy), ("/builtins", &self.builtins)] {
            if !value.is_object() {
                return Err(Malformed::at(pointer, "expected an object"));
            }
        }
        if crate::crypto::canonical::to_canonical(&self.step).len() > MAX_DEFINITION_BYTES {
            return Err(Malformed::too_large("/step", format!("at most {MAX_DEFINITION_BYTES} bytes are allowed")));
        }
        for field in ["grant", "manifest", "plan", "report"] {
            if value[field].is_null() && value.get(field).is_some() {
                return Err(Malformed::at(format!("/{field}"), "this optional field is null: leave the field out"));
            }
        }
        if let Some(manifest) = &self.manifest {
            manifest.check().map_err(|error| below("/manifest", error))?;
        }
        let later = self.check_reserved(value)?;
        let Some(plan) = &self.plan else { return Ok(later) };
        if plan.plan.is_some() {
            return Err(Malformed::at("/plan/plan", "the bundle of a plan cannot contain another plan"));
        }
        let below_plan = plan.check(&value["plan"]).map_err(|error| below("/plan", error))?;
        Ok(later.into_iter().chain(below_plan.map(|pointer| format!("/plan{pointer}"))).min())
    }

    /// Reads the parts of later versions strictly. Returns the pointer of the first one.
    fn check_reserved(&self, value: &Value) -> Result<Option<String>, Malformed> {
        if value["proofs"].get("grant").is_some_and(Value::is_null) {
            return Err(Malformed::at("/proofs/grant", "this optional field is null: leave the field out"));
        }
        match (&self.grant, &self.proofs.grant) {
            (Some(_), None) => return Err(Malformed::at("/grant", "the bundle has a grant without its proof")),
            (None, Some(_)) => return Err(Malformed::at("/proofs/grant", "the bundle has a proof without its grant")),
            _ => {}
        }
        let mut used = Vec::new();
        if let Some(grant) = &self.grant {
            check_envelope::<Grant>(grant).map_err(|error| below("/grant", error))?;
            used.push("/grant");
        }
        if let Some(proof) = &self.proofs.grant {
            let proof = TlogProof::parse(proof).map_err(|error| Malformed::at("/proofs/grant", error.to_string()))?;
            let same = TlogProof::parse(&self.proofs.seal).is_ok_and(|seal| seal.checkpoint == proof.checkpoint);
            if !same {
                return Err(Malformed::at(
                    "/proofs/grant",
                    "the checkpoint of this proof differs from the checkpoint of the other proofs",
                ));
            }
            used.push("/proofs/grant");
        }
        if let Some(report) = &self.report {
            check_envelope::<RunReport>(report).map_err(|error| below("/report", error))?;
            if report.signatures.len() != 1 {
                return Err(Malformed::at("/report/signatures", "expected one signature, by the runner"));
            }
            used.push("/report");
        }
        Ok(used.into_iter().min().map(str::to_owned))
    }
}

/// Checks that an envelope contains a complete document of a reserved kind. Signatures are not checked.
fn check_envelope<P: Predicate>(envelope: &Envelope) -> Result<(), Malformed> {
    let signed = Signed::<P>::from_envelope(envelope, Base64::Strict)?;
    match signed.check_document() {
        Err(error) if !error.later => Err(below("/payload", error)),
        _ => Ok(()),
    }
}
