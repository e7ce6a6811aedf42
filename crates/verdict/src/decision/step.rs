//! Question: is the step identical to the sealed step?

use std::{borrow::Cow, sync::Arc};

use serde_json::Value;

use documents::{
    Authorization, Code, Malformed, RenderedDigest, SessionUse, StepDefinition, StepDigest,
    StepRef, canonical, check_no_null, joined, json,
};
use reading::{
    ParameterSchema, RegisteredStep, RenderError, ScriptTemplate, TemplateFlaw, output_schema,
    step_template,
};

/// The definition of a step, with its digests. The digests are computed once for a seal, so a crossing does not hash
/// the definition again.
#[derive(Debug, Clone)]
pub struct HashedStep {
    definition: Arc<StepDefinition>,
    schema: ParameterSchema,
    digest: StepDigest,
    rendered: RenderedDigest,
    /// Template of the script, or `None` after the template was filled in.
    template: Option<Arc<ScriptTemplate>>,
}

impl HashedStep {
    /// Hashes a definition.
    ///
    /// # Errors
    /// Returns an error if the definition has no canonical form, or breaks a rule of its format.
    pub fn of(definition: Arc<StepDefinition>) -> Result<Self, StepError> {
        let bytes = canonical::canonical_of(&definition)
            .map_err(|error| StepError::Malformed(Malformed::at("/step", error.to_string())))?;
        definition.check().map_err(StepError::Malformed)?;
        let schema = ParameterSchema::compile(&definition.params).map_err(|flaws| {
            let flaw = flaws.into_iter().next();
            let (pointer, message) = flaw
                .map(|one| (one.pointer, one.message))
                .unwrap_or_default();
            StepError::Malformed(Malformed::at(format!("/step/params{pointer}"), message))
        })?;
        let _outputs = output_schema(&definition.outputs).map_err(StepError::Malformed)?;
        let template = step_template::of_sealed_step(&definition)
            .map_err(StepError::Template)?
            .map(Arc::new);
        let rendered = RenderedDigest::of(definition.source.as_bytes());
        Ok(Self {
            digest: StepDigest::of(&bytes),
            schema,
            rendered,
            definition,
            template,
        })
    }

    /// Returns the step with the script that runs for these parameters: `definition().source` is the filled-in script. A
    /// step without a template is returned unchanged. The step digest stays the digest of the definition with the
    /// template.
    ///
    /// # Errors
    /// Returns the parameter whose value can't be written into the script.
    pub fn filled(&self, params: &Value) -> Result<Self, StepError> {
        self.filled_by(|template| template.render(params))
    }

    /// Returns the step with the script of a recorded run. The checks of this version do not apply, so every version
    /// returns the same script.
    ///
    /// # Errors
    /// Returns the reason why no version writes these parameters into the script.
    pub fn filled_recorded(&self, params: &Value) -> Result<Self, StepError> {
        self.filled_by(|template| template.render_recorded(params))
    }

    fn filled_by(
        &self,
        render: impl FnOnce(&ScriptTemplate) -> Result<String, RenderError>,
    ) -> Result<Self, StepError> {
        let Some(template) = &self.template else {
            return Ok(self.clone());
        };
        let definition = StepDefinition {
            source: render(template).map_err(StepError::Parameter)?,
            ..(*self.definition).clone()
        };
        let rendered = RenderedDigest::of(definition.source.as_bytes());
        Ok(Self {
            definition: definition.into(),
            schema: self.schema.clone(),
            digest: self.digest,
            rendered,
            template: None,
        })
    }

    /// Returns true if the script is a template that is not filled in.
    pub fn is_template(&self) -> bool {
        self.template.is_some()
    }

    /// Returns the definition that policy reads before the parameters are known. If the script is a template, each
    /// placeholder has a harmless value.
    pub fn sample(&self) -> Cow<'_, StepDefinition> {
        match &self.template {
            None => Cow::Borrowed(&self.definition),
            Some(template) => Cow::Owned(template.sampled(&self.definition)),
        }
    }

    /// Returns the step of a registry, which has already been checked and hashed.
    pub fn registered(step: &RegisteredStep) -> Self {
        Self {
            digest: step.digest,
            schema: step.schema.clone(),
            rendered: RenderedDigest::of(step.definition.source.as_bytes()),
            definition: step.definition.clone(),
            template: step.template.clone(),
        }
    }

    /// Parses and hashes a definition from a document.
    ///
    /// # Errors
    /// Returns an error if the value is not a definition, or breaks a rule of its format.
    pub fn parse(value: &Value) -> Result<Self, StepError> {
        let below = |error: Malformed| StepError::Malformed(error.below("/step"));
        let definition: StepDefinition = json::typed(value).map_err(|error| below(error.into()))?;
        // The parser would treat an optional field with the value null as an absent field, so null is refused here.
        check_no_null(value, &definition).map_err(below)?;
        Self::of(definition.into())
    }

    /// Returns the definition.
    pub fn definition(&self) -> &StepDefinition {
        &self.definition
    }

    /// Returns the checked declaration of the parameters.
    pub fn schema(&self) -> &ParameterSchema {
        &self.schema
    }

    /// Returns the SHA-256 digest of the definition's canonical JSON.
    pub fn digest(&self) -> StepDigest {
        self.digest
    }

    /// Returns the SHA-256 digest of the filled-in script, or of the source if the script has no templates.
    pub fn rendered(&self) -> RenderedDigest {
        self.rendered
    }
}

/// Proof that the signed step has the sealed definition. Only [`check_step`] constructs this proof.
#[derive(Debug)]
#[must_use]
pub struct StepSealed(HashedStep);

impl StepSealed {
    /// Returns the step with the script that runs.
    pub fn step(&self) -> &HashedStep {
        &self.0
    }
}

/// Checks that the signed step has the reference, the digest and the resulting script of the definition `sealed`, and
/// that the authorization has a session and a plan exactly if the step asks for them. The values of a template must pass
/// the checks of this version.
///
/// # Errors
/// Returns an error if the reference, the definition or the script differs.
pub fn check_step(signed: &Authorization, sealed: &HashedStep) -> Result<StepSealed, StepError> {
    check(signed, sealed, HashedStep::filled)
}

/// Checks the step of a run that a boundary of any version allowed. The checks of this version on values do not apply.
///
/// # Errors
/// Returns the errors of [`check_step`].
pub fn check_recorded_step(
    signed: &Authorization,
    sealed: &HashedStep,
) -> Result<StepSealed, StepError> {
    check(signed, sealed, HashedStep::filled_recorded)
}

fn check(
    signed: &Authorization,
    sealed: &HashedStep,
    fill: fn(&HashedStep, &Value) -> Result<HashedStep, StepError>,
) -> Result<StepSealed, StepError> {
    let reference = &signed.step.reference;
    if sealed.definition.reference != *reference {
        return Err(StepError::Unknown {
            step: reference.clone(),
        });
    }
    if sealed.digest != signed.step.digest {
        return Err(StepError::Changed {
            step: reference.clone(),
            signed: signed.step.digest,
            sealed: sealed.digest,
        });
    }
    for (asked, given, part) in [
        (
            sealed.definition.session != SessionUse::None,
            signed.session.is_some(),
            "session",
        ),
        (
            sealed.definition.plan.is_some(),
            signed.plan.is_some(),
            "plan",
        ),
    ] {
        let step = reference.clone();
        match (asked, given) {
            (true, false) => return Err(StepError::MissingPart { step, part }),
            (false, true) => return Err(StepError::UnusedPart { step, part }),
            _ => {}
        }
    }
    let filled = fill(sealed, &signed.params)?;
    if filled.rendered != signed.rendered {
        return Err(StepError::OtherScript {
            signed: signed.rendered,
            sealed: filled.rendered,
        });
    }
    Ok(StepSealed(filled))
}

/// The reason why the signed step is not the sealed step.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StepError {
    /// The seal contains no step with this reference.
    #[error("no step {step} is registered; see `countersign registry list`")]
    Unknown {
        /// The signed reference.
        step: StepRef,
    },
    /// The digest of the sealed definition differs from the signed digest.
    #[error(
        "the signed definition of step {step} is {signed}, but the sealed definition is {sealed}; propose again"
    )]
    Changed {
        /// The step.
        step: StepRef,
        /// The signed digest.
        signed: StepDigest,
        /// The sealed digest.
        sealed: StepDigest,
    },
    /// The signed script differs from the script of the definition.
    #[error(
        "the signed script is {signed}, but the script in the definition is {sealed}; propose again"
    )]
    OtherScript {
        /// Digest of the signed script.
        signed: RenderedDigest,
        /// Digest of the script of the definition.
        sealed: RenderedDigest,
    },
    /// The authorization lacks a part that the step asks for.
    #[error("the step {step} needs a {part}, but the authorization names none; propose again")]
    MissingPart {
        /// The step.
        step: StepRef,
        /// `session` or `plan`.
        part: &'static str,
    },
    /// The authorization has a part that the step does not ask for.
    #[error("the authorization names a {part}, but the step {step} has none; propose again")]
    UnusedPart {
        /// The step.
        step: StepRef,
        /// `session` or `plan`.
        part: &'static str,
    },
    /// The value is not the definition of a step.
    #[error("the document is not the definition of a step: {0}")]
    Malformed(Malformed),
    /// The template of the script has flaws.
    #[error("the template of the script is invalid: {}", joined(.0, "; "))]
    Template(Vec<TemplateFlaw>),
    /// The value of a parameter can't be written into the script.
    #[error(
        "the template can't be filled in{}: {}",
        if .0.parameter.is_empty() { String::new() } else { format!(" with the parameter {}", .0.parameter) },
        .0.message
    )]
    Parameter(RenderError),
}

impl StepError {
    /// The stable code.
    pub fn code(&self) -> Code {
        match self {
            Self::Unknown { .. } => Code::UnknownStep,
            Self::Changed { .. } => Code::StepChanged,
            Self::OtherScript { .. } | Self::MissingPart { .. } | Self::UnusedPart { .. } => {
                Code::ContextChanged
            }
            Self::Malformed(malformed) => malformed.code(),
            Self::Template(_) => Code::Malformed,
            Self::Parameter(_) => Code::InvalidParams,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::decision::quorum::tests::{authorization, definition};

    #[test]
    fn a_step_whose_definition_was_edited_is_refused() {
        let mut edited = definition();
        edited["source"] = json!("true\n");
        let sealed = HashedStep::parse(&edited).expect("a definition");
        assert_eq!(
            check_step(&authorization(), &sealed)
                .expect_err("edited")
                .code(),
            Code::StepChanged
        );
    }

    #[test]
    fn a_step_with_another_reference_is_refused_as_unknown() {
        let mut other = definition();
        other["ref"] = json!("nginx:stop");
        let sealed = HashedStep::parse(&other).expect("a definition");
        assert_eq!(
            check_step(&authorization(), &sealed)
                .expect_err("other")
                .code(),
            Code::UnknownStep
        );
    }

    #[test]
    fn an_authorization_has_a_session_and_a_plan_exactly_if_the_step_asks_for_them() {
        let digest = "sha256:0000000000000000000000000000000000000000000000000000000000000000";
        let session = json!({"id": "ses_02000000-0000-7000-8000-000000000003", "state": digest});
        let plan = json!({"receipt": digest, "output": digest});
        for (part, of_step, of_authorization) in [
            ("session", json!("read"), session),
            ("plan", json!({"step": "nginx:plan", "max_age_s": 60}), plan),
        ] {
            let plain = HashedStep::parse(&definition()).expect("a definition");
            let mut asking = definition();
            asking[part] = of_step;
            let asking = HashedStep::parse(&asking).expect("a definition");
            let mut given = serde_json::to_value(authorization()).expect("JSON");
            given[part] = of_authorization;
            for (sealed, has_part, fits) in [
                (&plain, false, true),
                (&plain, true, false),
                (&asking, false, false),
                (&asking, true, true),
            ] {
                let mut signed = authorization();
                if has_part {
                    signed = serde_json::from_value(given.clone()).expect("an authorization");
                }
                signed.step.digest = sealed.digest();
                let found = check_step(&signed, sealed).err();
                let expected = (!fits).then_some(Code::ContextChanged);
                assert_eq!(
                    found.as_ref().map(StepError::code),
                    expected,
                    "{part}: {found:?}"
                );
            }
        }
    }

    fn template(source: &str) -> HashedStep {
        let mut step = definition();
        (step["template"], step["source"]) = (json!("gruntwork"), json!(source));
        HashedStep::parse(&step).expect("a definition")
    }

    #[test]
    fn the_signed_script_of_a_template_is_the_script_for_the_signed_parameters() {
        let sealed = template("echo {{ .host }}\n");
        let mut signed = authorization();
        (signed.step.digest, signed.params) = (sealed.digest(), json!({"host": "it's; rm -rf /"}));
        let filled = sealed
            .filled(&signed.params)
            .expect("a value for every place");
        assert_eq!(filled.definition().source, "echo 'it'\\''s; rm -rf /'\n");
        assert_eq!(
            (filled.digest(), filled.is_template()),
            (sealed.digest(), false)
        );
        signed.rendered = filled.rendered();
        assert_eq!(
            check_step(&signed, &sealed)
                .expect("the script")
                .step()
                .rendered(),
            filled.rendered()
        );
        signed.params = json!({"host": "web-2"});
        assert_eq!(
            check_step(&signed, &sealed).expect_err("other").code(),
            Code::ContextChanged
        );
        for (host, words) in [
            (json!("-rf"), "host"),
            (json!("a\0b"), "host"),
            (json!({}), "host"),
        ] {
            signed.params = json!({"host": host});
            let error = check_step(&signed, &sealed).expect_err("no place");
            assert_eq!(error.code(), Code::InvalidParams, "{host}");
            assert!(error.to_string().contains(words), "{error}");
        }
        // A verifier only compares the text.
        signed.params = json!({"host": "-rf"});
        signed.rendered = RenderedDigest::of(b"echo '-rf'\n");
        assert!(check_recorded_step(&signed, &sealed).is_ok());
        signed.rendered = RenderedDigest::of(b"echo -rf\n");
        let error = check_recorded_step(&signed, &sealed).expect_err("another script");
        assert_eq!(error.code(), Code::ContextChanged);
    }

    /// Each line has a value, at `{}`, in a place that the registry or the boundary refuses.
    const REFUSED_PLACES: &str = r#"
        docker exec web {}
        docker exec -it --user app web {}
        docker compose exec web {}
        docker run --rm image {}
        podman exec web {}
        nerdctl exec web {}
        lxc exec web {}
        kubectl exec web {}
        ip netns exec web {}
        machinectl shell web {}
        heroku run {}
        poetry run {}
        bundle exec {}
        consul exec {}
        perf record {}
        entr {}
        firejail {}
        rlwrap {}
        julia {}
        R -e {}
        powershell {}
        salt web cmd.run {}
        cmd /c {}
        nc -e {} web 80
        dialog --exec {}
        aws ssm send-command --parameters {}
        az vm run-command invoke --scripts {}
        make deploy VERSION={}
        count={}; echo $((count * 2))
        entr -c {}
        heroku run -r staging {}
        firejail --noprofile {}
        echo `date # {}
        set -- {}; "$@"
    "#;

    #[test]
    fn a_place_that_is_refused_now_still_verifies_in_a_bundle() {
        let mut tried = 0;
        for line in REFUSED_PLACES.lines().filter(|line| line.contains("{}")) {
            let mut step = definition();
            step["template"] = json!("gruntwork");
            step["source"] = json!(format!(
                "{}\n",
                line.trim().replace("{}", "{{ .inputs.V }}")
            ));
            step["params"] = json!({"type": "object", "properties": {"V": {"type": "string"}}});
            let step = HashedStep::parse(&step).expect(line);
            let params = json!({"V": "a; x=5"});
            assert!(step.filled_recorded(&params).is_ok(), "{line}");
            let refused =
                step_template::of_step(step.definition()).is_err() || step.filled(&params).is_err();
            assert!(refused, "{line}");
            tried += 1;
        }
        assert_eq!(tried, 34);
    }

    #[test]
    fn policy_reads_all_branches_of_a_template_before_the_parameters_are_known() {
        let sealed = template("{{ if eq .host \"a\" }}one {{ .host }}{{ else }}two{{ end }}\n");
        let sample = sealed.sample();
        assert!(
            sample.source.contains("one ") && sample.source.contains("two\n"),
            "{}",
            sample.source
        );
        assert!(!sample.source.contains("{{"), "{}", sample.source);
    }

    #[test]
    fn a_step_that_cannot_be_hashed_or_rendered_is_refused() {
        let refused = |field: &str, value: Value| {
            let mut other = definition();
            other[field] = value;
            HashedStep::parse(&other).expect_err(field)
        };
        assert!(matches!(
            refused("surprise", json!(1)),
            StepError::Malformed(_)
        ));
        assert!(matches!(
            refused("exclusive", Value::Null),
            StepError::Malformed(_)
        ));
        // The field is there only if it is true.
        assert!(matches!(
            refused("check", json!(false)),
            StepError::Malformed(_)
        ));
        assert!(matches!(
            refused("check", Value::Null),
            StepError::Malformed(_)
        ));
        let mut check = definition();
        check["check"] = json!(true);
        let (plain, check) = (HashedStep::parse(&definition()), HashedStep::parse(&check));
        let digest = |step: Result<HashedStep, StepError>| step.expect("a step").digest();
        assert_ne!(digest(plain), digest(check));
    }
}
