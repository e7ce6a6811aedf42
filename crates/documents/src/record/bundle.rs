//! Bundle: one file with a receipt and everything that its verification needs, except the trusted roster.
//!
//! A bundle is not a source of trust: the keys in its rosters count only if the reader's pinned roster is connected
//! with these rosters.

use std::fmt;

use schemars::JsonSchema;
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{SeqAccess, Visitor, value::SeqAccessDeserializer},
};
use serde_json::Value;
use serde_with::skip_serializing_none;

use crate::{
    Base64, Envelope, Grant, ListedProgram, MAX_DEFINITION_BYTES, MAX_PROGRAMS, Malformed,
    Manifest, RosterVersion, Signed, TlogProof, json, to_canonical,
};

/// The media type of a bundle. The media type names the format and the version of the format.
pub const MEDIA_TYPE: &str = "application/vnd.countersign.bundle.v1+json";
/// Maximum size of a bundle in bytes.
pub const MAX_BUNDLE_BYTES: usize = 4 << 20;

/// Maximum total size in bytes of the payloads of rosters that a reader of one bundle makes again. Small differences can stand
/// for large payloads.
pub const MAX_MADE_BYTES: usize = 256 << 20;

/// A receipt with all data that its verification needs, except the roster that the verifier trusts.
#[skip_serializing_none]
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Bundle {
    /// Always `application/vnd.countersign.bundle.v1+json`.
    #[serde(rename = "mediaType")]
    #[schemars(extend("const" = MEDIA_TYPE))]
    pub media_type: String,
    /// The envelope of the receipt.
    pub receipt: Envelope,
    /// The envelope of the authorization, with the signatures that counted.
    pub authorization: Envelope,
    /// The envelope of the consumption that the receipt names.
    pub consumption: Envelope,
    /// The envelope of the seal that the receipt names.
    pub seal: Envelope,
    /// The definition of the step.
    #[schemars(with = "serde_json::Map<String, Value>")]
    pub step: Value,
    /// The proof that the step is in the sealed registry.
    pub step_proof: StepProof,
    /// The list of programs that the authorization names.
    #[schemars(length(min = 1, max = MAX_PROGRAMS), extend("uniqueItems" = true))]
    pub programs: Option<Vec<ListedProgram>>,
    /// The sealed policy.
    #[schemars(with = "serde_json::Map<String, Value>")]
    pub policy: Value,
    /// The sealed built-in lists.
    #[schemars(with = "serde_json::Map<String, Value>")]
    pub builtins: Value,
    /// The versions of the roster up to the version of the seal: the first in full, each later one as the difference from the
    /// version before. In the bundle of a plan, the number of the version of its seal, among those of the run's bundle.
    pub roster: BundledRosters,
    /// The proofs that the receipt, the authorization, the consumption and the seal are in the log.
    pub proofs: Proofs,
    /// The envelope of the grant that the run used. Present if the authorization names a grant.
    pub grant: Option<Envelope>,
    /// The files that the run left. Present if there is at least one file.
    pub manifest: Option<Manifest>,
    /// The bundle of the plan's receipt. It contains no `plan` and no versions of the roster. Present if the authorization has
    /// a plan.
    #[schemars(with = "Option<serde_json::Map<String, Value>>")]
    pub plan: Option<Box<Bundle>>,
}

/// The versions of the roster in a bundle.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum BundledRosters {
    /// The versions, from the first to the version of the seal.
    Versions(Vec<RosterVersion>),
    /// The number of a version in the bundle of the run that applied this plan.
    Number(#[schemars(range(min = 1))] u64),
}

impl BundledRosters {
    /// Returns the versions, which the bundle of a plan does not have.
    pub fn versions(&self) -> &[RosterVersion] {
        match self {
            Self::Versions(versions) => versions,
            Self::Number(_) => &[],
        }
    }
}

impl<'de> Deserialize<'de> for BundledRosters {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RostersVisitor)
    }
}

/// Reads either form. The error of an untagged enumeration would not name the place.
struct RostersVisitor;

impl<'de> Visitor<'de> for RostersVisitor {
    type Value = BundledRosters;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an array of versions, or the number of a version")
    }

    fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
        Ok(BundledRosters::Number(number))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Self::Value, A::Error> {
        Vec::deserialize(SeqAccessDeserializer::new(seq)).map(BundledRosters::Versions)
    }
}

/// The proof that a step is in the registry (inclusion proof, RFC 6962).
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StepProof {
    /// Index of the step's leaf, from 0.
    pub index: u64,
    /// Number of steps in the registry.
    pub size: u64,
    /// Hashes from the leaf up to the root, each 64 lower-case hexadecimal digits.
    #[schemars(inner(regex(pattern = r"^[0-9a-f]{64}$")), length(max = 63))]
    pub hashes: Vec<String>,
}

/// The proofs that the receipt, the authorization, the consumption and the seal are in the log. Each proof is a C2SP
/// tlog-proof, and all contain the same checkpoint.
#[skip_serializing_none]
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Proofs {
    /// The proof for the receipt.
    pub receipt: String,
    /// The proof for the authorization.
    pub authorization: String,
    /// The proof for the consumption.
    pub consumption: String,
    /// The proof for the seal.
    pub seal: String,
    /// The proof for the grant. Present if the bundle has a grant.
    pub grant: Option<String>,
}

impl Bundle {
    /// Reads a bundle strictly. The bytes need not be canonical JSON.
    ///
    /// # Errors
    /// Returns the error and its place in the document.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let value = json::parse(bytes, MAX_BUNDLE_BYTES)?;
        let bundle: Self = json::typed(&value).map_err(|error| {
            let mut error = Malformed::from(error);
            if value.get("receipt").is_some() && value.get("authorization").is_none() {
                error.message += "; a bundle made before 1.0 has no authorization";
            }
            error
        })?;
        bundle.check(&value, false)?;
        Ok(bundle)
    }

    /// Checks the rules that the types cannot express.
    fn check(&self, value: &Value, is_plan: bool) -> Result<(), Malformed> {
        let is_number = matches!(self.roster, BundledRosters::Number(_));
        if is_number != is_plan {
            let expected = match is_plan {
                true => {
                    "expected the number of a version, because the bundle of the run has the versions"
                }
                false => "expected an array of versions",
            };
            return Err(Malformed::at("/roster", expected));
        }
        if self.media_type != MEDIA_TYPE {
            return Err(Malformed::at(
                "/mediaType",
                format!("expected {MEDIA_TYPE:?}"),
            ));
        }
        for (pointer, value) in [
            ("/step", &self.step),
            ("/policy", &self.policy),
            ("/builtins", &self.builtins),
        ] {
            if !value.is_object() {
                return Err(Malformed::at(pointer, "expected an object"));
            }
        }
        if to_canonical(&self.step).len() > MAX_DEFINITION_BYTES {
            return Err(Malformed::too_large(
                "/step",
                format!("at most {MAX_DEFINITION_BYTES} bytes are allowed"),
            ));
        }
        for field in ["grant", "manifest", "plan", "programs"] {
            if value.get(field).is_some_and(Value::is_null) {
                return Err(Malformed::at(
                    format!("/{field}"),
                    "this optional field is null: leave the field out",
                ));
            }
        }
        if let Some(manifest) = &self.manifest {
            manifest.check().map_err(|error| error.below("/manifest"))?;
        }
        self.check_grant(value)?;
        let Some(plan) = &self.plan else {
            return Ok(());
        };
        if plan.plan.is_some() {
            return Err(Malformed::at(
                "/plan/plan",
                "the bundle of a plan cannot contain another plan",
            ));
        }
        plan.check(&value["plan"], true)
            .map_err(|error| error.below("/plan"))
    }

    /// Checks the form of the grant, and that its proof has the checkpoint of the other proofs.
    fn check_grant(&self, value: &Value) -> Result<(), Malformed> {
        if value["proofs"].get("grant").is_some_and(Value::is_null) {
            return Err(Malformed::at(
                "/proofs/grant",
                "this optional field is null: leave the field out",
            ));
        }
        let (grant, proof) = match (&self.grant, &self.proofs.grant) {
            (Some(grant), Some(proof)) => (grant, proof),
            (Some(_), None) => {
                return Err(Malformed::at(
                    "/grant",
                    "the bundle has a grant without its proof",
                ));
            }
            (None, Some(_)) => {
                return Err(Malformed::at(
                    "/proofs/grant",
                    "the bundle has a proof without its grant",
                ));
            }
            (None, None) => return Ok(()),
        };
        check_grant_document(grant).map_err(|error| error.below("/grant"))?;
        let proof =
            TlogProof::parse(proof).map_err(|error| Malformed::at("/proofs/grant", error))?;
        if TlogProof::parse(&self.proofs.receipt)
            .is_ok_and(|receipt| receipt.checkpoint == proof.checkpoint)
        {
            return Ok(());
        }
        Err(Malformed::at(
            "/proofs/grant",
            "the checkpoint of this proof differs from the checkpoint of the other proofs",
        ))
    }
}

/// Checks that an envelope contains a complete grant. Signatures are not checked.
fn check_grant_document(envelope: &Envelope) -> Result<(), Malformed> {
    let signed = Signed::<Grant>::from_envelope(envelope, Base64::Strict)?;
    match signed.check_document() {
        Ok(_) => Ok(()),
        Err(error) if error.pointer.starts_with("/signatures") => Err(error),
        Err(error) => Err(error.below("/payload")),
    }
}
