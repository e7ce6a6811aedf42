//! Question: is the step identical to the sealed step?

use std::fmt;
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::crypto::digest::{RenderedDigest, StepDigest};
use crate::crypto::{canonical, json};
use crate::record::authorization::Authorization;
use crate::record::code::Code;
use crate::record::ident::StepRef;
use crate::record::malformed::Malformed;
use crate::record::reserved::check_no_null;
use crate::record::step_definition::StepDefinition;
use crate::registry::parameter_schema::ParameterSchema;
use crate::registry::schema_keywords::pointer;

/// The definition of a step, with its digests. The digests are computed once for a seal, so a crossing does not hash
/// the definition again.
#[derive(Debug, Clone)]
pub struct HashedStep {
    definition: Arc<StepDefinition>,
    digest: StepDigest,
    rendered: RenderedDigest,
}

impl HashedStep {
    /// Hashes a definition.
    ///
    /// # Errors
    /// Returns an error if the definition has no canonical form, or uses a feature of a later version.
    pub fn of(definition: Arc<StepDefinition>) -> Result<Self, StepError> {
        let bytes = canonical::canonical_of(&definition)
            .map_err(|error| StepError::Malformed(Malformed::at("/step", error.to_string())))?;
        definition
            .check_reserved()
            .map_err(|error| StepError::Malformed(broken_schema(&definition).unwrap_or(error)))?;
        let rendered = RenderedDigest::of(definition.source.as_bytes());
        Ok(Self { digest: StepDigest::of(&bytes), rendered, definition })
    }

    /// Parses and hashes a definition from a document.
    ///
    /// # Errors
    /// Returns an error if the value is not a definition, or uses a feature of a later version.
    pub fn parse(value: &Value) -> Result<Self, StepError> {
        let below =
            |error: Malformed| StepError::Malformed(Malformed { pointer: format!("/step{}", error.pointer), ..error });
        let definition: StepDefinition = json::typed(value).map_err(|error| below(error.into()))?;
        // The parser would treat an optional field with the value null as an absent field, so null is refused here.
        check_no_null(value, &definition).map_err(below)?;
        Self::of(definition.into())
    }

    /// Returns the definition.
    #[must_use]
    pub fn definition(&self) -> &StepDefinition {
        &self.definition
    }

    /// Returns the SHA-256 digest of the definition's canonical JSON.
    #[must_use]
    pub const fn digest(&self) -> StepDigest {
        self.digest
    }

    /// Returns the SHA-256 digest of the filled-in script, or of the source if the script has no templates.
    #[must_use]
    pub const fn rendered(&self) -> RenderedDigest {
        self.rendered
    }
}

/// Returns the first error in the parameter schema of a step that has parts of a later version. The check ignores every
/// `x-secret`. For any other step, the check of the parameters also checks the schema.
fn broken_schema(definition: &StepDefinition) -> Option<Malformed> {
    let mut schema = Value::clone(&definition.params);
    without_secrets(&mut schema);
    let flaws = ParameterSchema::compile(&schema).err()?;
    let flaw = flaws.into_iter().next()?;
    Some(Malformed::at(format!("/step/params{}", pointer(&flaw.path)), flaw.message))
}

fn without_secrets(schema: &mut Value) {
    let Some(map) = schema.as_object_mut() else { return };
    map.remove("x-secret");
    if let Some(items) = map.get_mut("items") {
        without_secrets(items);
    }
    for property in map.get_mut("properties").and_then(Value::as_object_mut).into_iter().flat_map(Map::values_mut) {
        without_secrets(property);
    }
}

/// Proof that the signed step has the sealed definition. Only [`check_step`] constructs this proof.
#[derive(Debug)]
#[must_use]
pub struct StepSealed(());

/// Checks that the signed step has the reference, the digest and the resulting script of the definition `sealed`.
///
/// # Errors
/// Returns an error if the step is unknown, or if its definition or its script differs.
pub fn check_step(signed: &Authorization, sealed: Option<&HashedStep>) -> Result<StepSealed, StepError> {
    let reference = &signed.step.reference;
    let Some(sealed) = sealed.filter(|sealed| sealed.definition.reference == *reference) else {
        return Err(StepError::Unknown { step: reference.clone() });
    };
    if sealed.digest != signed.step.digest {
        return Err(StepError::Changed { step: reference.clone(), signed: signed.step.digest, sealed: sealed.digest });
    }
    if sealed.rendered != signed.rendered {
        return Err(StepError::OtherScript { signed: signed.rendered, sealed: sealed.rendered });
    }
    Ok(StepSealed(()))
}

/// The reason why the signed step is not the sealed step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StepError {
    /// The seal contains no step with this reference.
    Unknown {
        /// The signed reference.
        step: StepRef,
    },
    /// The digest of the sealed definition differs from the signed digest.
    Changed {
        /// The step.
        step: StepRef,
        /// The signed digest.
        signed: StepDigest,
        /// The sealed digest.
        sealed: StepDigest,
    },
    /// The signed script differs from the script of the definition.
    OtherScript {
        /// Digest of the signed script.
        signed: RenderedDigest,
        /// Digest of the script of the definition.
        sealed: RenderedDigest,
    },
    /// The value is not the definition of a step.
    Malformed(Malformed),
}

impl StepError {
    /// The stable code.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::Unknown { .. } => Code::UnknownStep,
            Self::Changed { .. } => Code::StepChanged,
            Self::OtherScript { .. } => Code::ContextChanged,
            Self::Malformed(malformed) => malformed.code(),
        }
    }
}

impl fmt::Display for StepError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown { step } => write!(f, "no step {step} is registered; see `countersign registry list`"),
            Self::Changed { step, signed, sealed } => {
                write!(
                    f,
                    "the signed definition of step {step} is {signed}, but the sealed definition is {sealed}; propose again"
                )
            }
            Self::OtherScript { signed, sealed } => {
                write!(f, "the signed script is {signed}, but the script in the definition is {sealed}; propose again")
            }
            Self::Malformed(malformed) if malformed.later => malformed.fmt(f),
            Self::Malformed(malformed) => write!(f, "the document is not the definition of a step: {malformed}"),
        }
    }
}

impl std::error::Error for StepError {}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::decision::quorum::tests::{authorization, definition};

    #[test]
    fn the_signed_step_must_be_the_sealed_step() {
        let sealed = HashedStep::parse(&definition()).expect("golden definition");
        assert!(check_step(&authorization(), Some(&sealed)).is_ok());
    }

    #[test]
    fn a_step_whose_definition_was_edited_is_refused() {
        let mut edited = definition();
        edited["source"] = json!("true\n");
        let sealed = HashedStep::parse(&edited).expect("a definition");
        assert_eq!(check_step(&authorization(), Some(&sealed)).expect_err("edited").code(), Code::StepChanged);
    }

    #[test]
    fn a_step_that_is_not_in_the_registry_is_refused_as_unknown() {
        assert_eq!(check_step(&authorization(), None).expect_err("none").code(), Code::UnknownStep);
        let mut other = definition();
        other["ref"] = json!("nginx:stop");
        let sealed = HashedStep::parse(&other).expect("a definition");
        assert_eq!(check_step(&authorization(), Some(&sealed)).expect_err("other").code(), Code::UnknownStep);
    }

    #[test]
    fn another_script_with_the_same_definition_is_refused() {
        let mut signed = authorization();
        signed.rendered = RenderedDigest::of(b"true");
        let sealed = HashedStep::parse(&definition()).expect("golden definition");
        assert_eq!(check_step(&signed, Some(&sealed)).expect_err("script").code(), Code::ContextChanged);
    }

    #[test]
    fn a_step_that_cannot_be_hashed_or_rendered_is_refused() {
        let refused = |field: &str, value: Value| {
            let mut other = definition();
            other[field] = value;
            HashedStep::parse(&other).expect_err(field)
        };
        for (field, value) in [
            ("template", json!("gruntwork")),
            ("format", json!("rundown")),
            ("session", json!("write")),
            ("secrets", json!([{"name": "db", "as": "file"}])),
            ("outputs", json!([{"name": "id", "schema": {"type": "string"}}])),
            ("plan", json!({"step": "own:files", "max_age_s": 600})),
            ("runs_on", json!(["web"])),
        ] {
            let error = refused(field, value);
            assert_eq!(error.code(), Code::LaterFeature);
            assert!(error.to_string().starts_with(&format!("later-feature /step/{field}: ")), "{error}");
        }
        assert!(matches!(refused("surprise", json!(1)), StepError::Malformed(_)));
        assert!(matches!(refused("exclusive", Value::Null), StepError::Malformed(_)));
    }
}
