//! Is it the step that was sealed, byte for byte?

use std::fmt;
use std::sync::Arc;

use serde_json::Value;

use crate::crypto::canonical;
use crate::crypto::digest::{RenderedDigest, StepDigest};
use crate::crypto::json;
use crate::record::authorization::Authorization;
use crate::record::document::Malformed;
use crate::record::ident::StepRef;
use crate::record::refusal::Code;
use crate::record::step::StepDefinition;

/// A step's definition and the digests over it. Made once at the seal, so that a crossing hashes nothing again.
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
    /// When it has no canonical form, or uses what comes with a later version.
    pub fn of(definition: Arc<StepDefinition>) -> Result<Self, StepError> {
        let bytes = canonical::canonical_of(&definition)
            .map_err(|error| StepError::Malformed(Malformed::at("/step", error.to_string())))?;
        definition.check_reserved().map_err(StepError::Malformed)?;
        let rendered = RenderedDigest::of(definition.source.as_bytes());
        Ok(Self { digest: StepDigest::of(&bytes), rendered, definition })
    }

    /// Reads and hashes a definition that was handed in.
    ///
    /// # Errors
    /// When it is not a definition, or uses what comes with a later version.
    pub fn parse(value: &Value) -> Result<Self, StepError> {
        let definition: StepDefinition = json::typed(value).map_err(|error| {
            let error = Malformed::from(error);
            StepError::Malformed(Malformed { pointer: format!("/step{}", error.pointer), ..error })
        })?;
        let hashed = Self::of(definition.into())?;
        // An optional field written as null would be read, and hashed as if it were left out.
        if hashed.digest != StepDigest::of(&canonical::to_canonical(value)) {
            return Err(StepError::Malformed(Malformed::at(
                "/step",
                "an optional field is written as null, leave it out",
            )));
        }
        Ok(hashed)
    }

    /// All that decides what runs.
    #[must_use]
    pub fn definition(&self) -> &StepDefinition {
        &self.definition
    }

    /// SHA-256 of the definition's canonical JSON.
    #[must_use]
    pub const fn digest(&self) -> StepDigest {
        self.digest
    }

    /// SHA-256 of the script after templates; without templates, of the source.
    #[must_use]
    pub const fn rendered(&self) -> RenderedDigest {
        self.rendered
    }
}

/// The signed step is this definition; only [`check_step`] makes it.
#[derive(Debug)]
#[must_use]
pub struct StepSealed(());

/// Checks that what was signed is the definition `sealed`: by ref, by digest, and the script that it gives.
///
/// # Errors
/// No such step, another definition, or another script.
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

/// Why it is not the sealed step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StepError {
    /// No step of this ref is sealed.
    Unknown {
        /// The ref that was signed.
        step: StepRef,
    },
    /// The sealed definition is another one.
    Changed {
        /// The step.
        step: StepRef,
        /// What was signed.
        signed: StepDigest,
        /// What is sealed.
        sealed: StepDigest,
    },
    /// The definition gives another script than was signed.
    OtherScript {
        /// What was signed.
        signed: RenderedDigest,
        /// What the definition gives.
        sealed: RenderedDigest,
    },
    /// Not a step's definition.
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
            Self::Unknown { step } => write!(f, "no step {step} is registered, see `countersign registry list`"),
            Self::Changed { step, signed, sealed } => {
                write!(f, "step {step} was signed as {signed}, sealed is {sealed}; propose it again")
            }
            Self::OtherScript { signed, sealed } => {
                write!(f, "the script was signed as {signed}, the definition gives {sealed}; propose it again")
            }
            Self::Malformed(malformed) if malformed.later => malformed.fmt(f),
            Self::Malformed(malformed) => write!(f, "not a step's definition: {malformed}"),
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
    fn the_signed_step_is_the_sealed_one() {
        let sealed = HashedStep::parse(&definition()).expect("golden definition");
        assert!(check_step(&authorization(), Some(&sealed)).is_ok());
    }

    #[test]
    fn an_edited_step_is_refused() {
        let mut edited = definition();
        edited["source"] = json!("true\n");
        let sealed = HashedStep::parse(&edited).expect("a definition");
        assert_eq!(check_step(&authorization(), Some(&sealed)).expect_err("edited").code(), Code::StepChanged);
    }

    #[test]
    fn a_step_that_is_not_there_is_unknown() {
        assert_eq!(check_step(&authorization(), None).expect_err("none").code(), Code::UnknownStep);
        let mut other = definition();
        other["ref"] = json!("nginx:stop");
        let sealed = HashedStep::parse(&other).expect("a definition");
        assert_eq!(check_step(&authorization(), Some(&sealed)).expect_err("other").code(), Code::UnknownStep);
    }

    #[test]
    fn another_script_under_the_same_definition_is_refused() {
        let mut signed = authorization();
        signed.rendered = RenderedDigest::of(b"true");
        let sealed = HashedStep::parse(&definition()).expect("golden definition");
        assert_eq!(check_step(&signed, Some(&sealed)).expect_err("script").code(), Code::ContextChanged);
    }

    #[test]
    fn what_can_not_be_hashed_or_rendered_is_refused() {
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
            ("programs", json!(["jq"])),
        ] {
            let error = refused(field, value);
            assert_eq!(error.code(), Code::LaterFeature);
            assert!(error.to_string().starts_with(&format!("later-feature /step/{field}: ")), "{error}");
        }
        assert!(matches!(refused("surprise", json!(1)), StepError::Malformed(_)));
        assert!(matches!(refused("exclusive", Value::Null), StepError::Malformed(_)));
    }
}
