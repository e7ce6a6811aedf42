//! Requirements of the gate. The user must name each requirement that is weaker than the default.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use documents::{Layer, MAX_PARAMS_BYTES, SealDigest, StepDigest, StepRef, canonical, json};
use verdict::CheckName;

/// Requirements for a receipt. Each weaker requirement has its own variant or field.
#[derive(Debug, Clone)]
pub struct GateRequirements {
    /// Id of the boundary. The name of a boundary is not enough, because another boundary can have the same name.
    pub boundary: SealDigest,
    /// Step that must have run.
    pub step: StepRef,
    /// Definition of the step.
    pub digest: DigestRequirement,
    /// Parameters of the run.
    pub params: ParamsRequirement,
    /// Outcomes that the gate accepts.
    pub outcome: OutcomeRequirement,
    /// True if the gate accepts a run whose list refused a program although the exit code is 0.
    pub refused: bool,
    /// Layers that must have been active in the sandbox.
    pub sandbox: SandboxRequirement,
    /// Maximum age of the run.
    pub age: AgeLimit,
    /// Checks that may stay *not checked*.
    pub unchecked: BTreeSet<CheckName>,
    /// True if the gate accepts a run under a standing grant.
    pub granted: bool,
    /// True if the gate accepts a run in an emergency.
    pub emergency: bool,
    /// True if the gate accepts a roster version that needed no signatures.
    pub unguarded: bool,
}

/// Definitions of the step that the gate accepts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DigestRequirement {
    /// Only the definition with this digest.
    Exactly(StepDigest),
    /// Any definition that was registered under the name of the step.
    Any,
}

/// Parameters that the gate accepts.
#[derive(Debug, Clone, PartialEq)]
pub enum ParamsRequirement {
    /// Exact values of all parameters. The signed parameters contain the defaults of the step, so this object must
    /// contain the defaults too.
    Exactly(BTreeMap<String, GivenParameter>),
    /// Any signed parameters.
    Any,
}

/// Value that the gate demands for a parameter.
#[derive(Debug, Clone, PartialEq)]
pub enum GivenParameter {
    /// Value from a JSON file, with exactly this type.
    Value(Value),
    /// Text from the command line. A signed string must be equal to this text. A signed value of another type must be
    /// equal to this text as JSON. The schema of the step decides which type the value can have.
    Text(String),
}

/// Outcomes that the gate accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutcomeRequirement {
    /// Exit code 0 only.
    Succeeded,
    /// Exit code 0, or exit code 2 (success with a warning).
    SucceededOrWarned,
}

/// Layers that must have been active in the sandbox, besides the layers that the approvers required.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SandboxRequirement {
    /// All these layers.
    Layers(Vec<Layer>),
    /// At least one layer of any kind.
    Something,
    /// No layer.
    Nothing,
}

/// Maximum age of the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AgeLimit {
    /// At most this number of seconds.
    Seconds(i64),
    /// Any age.
    Any,
}

impl GivenParameter {
    pub(super) fn is(&self, signed: &Value) -> bool {
        match (self, signed) {
            (Self::Value(value), signed) => value == signed,
            (Self::Text(text), Value::String(signed)) => text == signed,
            (Self::Text(text), Value::Array(_) | Value::Object(_)) => {
                json::parse(text.as_bytes(), MAX_PARAMS_BYTES * 4)
                    .is_ok_and(|value| value == *signed)
            }
            // A number from the command line matches only in its exact JSON form. Text with a space beside a number
            // is not a number, and `propose -p` also refuses such text.
            (Self::Text(text), signed) => *text == written(signed),
        }
    }

    pub(super) fn written(&self) -> String {
        match self {
            Self::Value(value) => written(value),
            // The printer of the report escapes this text, so the text is not escaped here.
            Self::Text(text) if text.contains('"') => format!("'{text}'"),
            Self::Text(text) => format!("\"{text}\""),
        }
    }
}

pub fn written(value: &Value) -> String {
    String::from_utf8(canonical::to_canonical(value)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_required_number_matches_only_in_its_json_spelling() {
        let is = |text: &str, signed: Value| GivenParameter::Text(text.to_owned()).is(&signed);
        assert!(
            is("0", Value::from(0)) && is("-3", Value::from(-3)) && is("true", Value::from(true))
        );
        for odd in ["0 ", " 0", "\t0", "0\n", "00", "-0", "+0", "0.0", "0e0", ""] {
            assert!(!is(odd, Value::from(0)), "{odd:?}");
        }
        assert!(!is("true ", Value::from(true)));
        assert!(is("3", json!("3")) && !is("3 4", json!(3)));
        assert!(is("[1, 2]", json!([1, 2])) && is(" ", Value::from(" ")));
        assert!(
            !GivenParameter::Value(json!("3")).is(&json!(3))
                && !GivenParameter::Value(json!(3)).is(&json!("3"))
        );
    }
}
