//! Signed log entries about refusals.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use crate::{
    BoundaryName, Code, InputDigest, Malformed, Predicate, SealDigest, Statement, Subject,
    Timestamp, canonical, only_subject,
};

/// A refusal in the log: of one input, or a summary of one hour. The statement never contains text of the input.
#[skip_serializing_none]
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Refusal")]
pub struct RefusalStatement {
    /// The boundary that refused. Writers always write this field. Readers accept a refusal without it, because the
    /// first published example of the format has no such field. The log and the key of the signature also identify the
    /// boundary.
    pub boundary: Option<RefusingBoundary>,
    /// Reason for the refusal of one input.
    pub code: Option<Code>,
    /// Place in the refused input (JSON Pointer). The pointer contains only names of fields that the format defines.
    pub pointer: Option<String>,
    /// Name of the token, or id of the key, that sent the input.
    pub principal: Option<String>,
    /// Summary of one hour: the number of refusals for each code, without those that have their own log entry.
    #[schemars(extend("propertyNames" = {"$ref": "#/$defs/Code"}, "minProperties" = 1))]
    pub counts: Option<BTreeMap<Code, u64>>,
    /// Time of the refusal, or of the summary.
    pub at: Timestamp,
}

/// The boundary that refused.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RefusingBoundary {
    /// Name of the boundary.
    pub name: BoundaryName,
    /// Id of the boundary: the digest of the first seal of its log.
    pub id: SealDigest,
}

impl RefusalStatement {
    /// Makes the refusal of one input.
    pub fn one(
        boundary: RefusingBoundary,
        code: Code,
        pointer: Option<String>,
        principal: String,
        at: Timestamp,
        input: InputDigest,
    ) -> Statement<Self> {
        let refusal = Self {
            boundary: Some(boundary),
            code: Some(code),
            pointer,
            principal: Some(principal),
            counts: None,
            at,
        };
        Statement::new(refusal, vec![Subject::new("input", input.as_bytes())])
    }

    /// Makes a summary of refusals that were only counted. The subject of the summary is the digest of the counts.
    ///
    /// # Errors
    /// Never returns an error in practice, because the counts are integers.
    pub fn summary(
        boundary: RefusingBoundary,
        counts: BTreeMap<Code, u64>,
        at: Timestamp,
    ) -> Result<Statement<Self>, Malformed> {
        let input = counts_digest(&counts)?;
        let refusal = Self {
            boundary: Some(boundary),
            code: None,
            pointer: None,
            principal: None,
            counts: Some(counts),
            at,
        };
        Ok(Statement::new(
            refusal,
            vec![Subject::new("input", input.as_bytes())],
        ))
    }
}

fn counts_digest(counts: &BTreeMap<Code, u64>) -> Result<InputDigest, Malformed> {
    let bytes = canonical::canonical_of(counts)
        .map_err(|error| Malformed::at("/predicate/counts", error))?;
    Ok(InputDigest::of(&bytes))
}

impl Predicate for RefusalStatement {
    const KIND: &'static str = "refusal";
    const MAX_BYTES: usize = 8 << 10;

    fn check(&self, subjects: &[Subject]) -> Result<(), Malformed> {
        let input = only_subject(subjects, "input")?;
        match (&self.code, &self.principal, &self.counts) {
            (Some(_), Some(_), None) => Ok(()),
            (None, None, Some(counts)) if self.pointer.is_none() && !counts.is_empty() => {
                if counts.values().any(|count| *count == 0) {
                    Err(Malformed::at(
                        "/predicate/counts",
                        "a count must be above 0: leave out the codes that did not occur",
                    ))
                } else if counts_digest(counts)?.as_bytes() == &input {
                    Ok(())
                } else {
                    Err(Malformed::at(
                        "/subject/0/digest",
                        "the digest of the subject is not the digest of the counts",
                    ))
                }
            }
            _ => Err(Malformed::at(
                "/predicate",
                "expected `code` and `principal`, or only `counts`",
            )),
        }
    }
}
