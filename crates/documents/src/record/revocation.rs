//! Revocation: the signed end of a grant, a key, a token or an epoch. Only a later version uses this document.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::crypto::digest::sha256;
use crate::record::authorization::BoundaryRef;
use crate::record::document::{Predicate, Subject};
use crate::record::malformed::Malformed;

/// A statement that ends the validity of its only subject: a grant, a key, a token or an epoch. Reserved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Revocation {
    /// The boundary for which the revocation is valid.
    pub boundary: BoundaryRef,
    /// Reason for the revocation, as the signer wrote it.
    pub reason: String,
}

/// The names of subjects that a revocation can end.
const SUBJECTS: [&str; 4] = ["epoch", "grant", "key", "token"];

impl Predicate for Revocation {
    const KIND: &'static str = "revocation";
    const MAX_BYTES: usize = 8 << 10;

    fn check(&self, subjects: &[Subject]) -> Result<(), Malformed> {
        let [one] = subjects else {
            return Err(Malformed::at("/subject", "expected exactly one subject: epoch, grant, key or token"));
        };
        if !SUBJECTS.contains(&&*one.name) {
            return Err(Malformed::at("/subject/0/name", "expected epoch, grant, key or token"));
        }
        let digest = one.sha256().ok_or_else(|| Malformed::at("/subject/0/digest/sha256", "expected 64 hex digits"))?;
        if one.name == "epoch" && digest != sha256(self.boundary.epoch.as_str().as_bytes()) {
            return Err(Malformed::at("/subject/0/digest", "this is not the digest of the boundary's epoch"));
        }
        Ok(())
    }
}
