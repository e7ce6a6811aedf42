//! The declarations of the parameters that a grant permits.

use serde_json::{Value, json};

use crate::GrantError;
use documents::{Grant, Malformed, Parameter, StepDefinition};
use reading::{ParameterSchema, escape};

/// The checked declarations of a grant. Only [`GrantedSchemas::of`] constructs this
/// value.
#[derive(Debug)]
pub struct GrantedSchemas(pub(super) Vec<ParameterSchema>);

impl GrantedSchemas {
    /// Checks the declaration of each step.
    ///
    /// # Errors
    /// Returns the first error, with a pointer into the payload of the grant.
    pub fn of(grant: &Grant) -> Result<Self, Malformed> {
        let schemas = grant.steps.iter().enumerate().map(|(at, granted)| {
            let at = place(at);
            // A grant adds no defaults to parameters, and can't restrict the value of a secret.
            let is_refused = |one: &Parameter| one.default.is_some() || one.secret.is_some();
            if granted.params.any(is_refused) {
                let message = "a grant has no `default` and no `x-secret`: remove them";
                let mut keys = granted.params.keys();
                return Err(match keys.find(|(_, one)| one.any(is_refused)) {
                    Some((name, _)) => Malformed::at(
                        format!("{at}/properties/{}", escape(name)),
                        format!("{message} from {name}"),
                    ),
                    None => Malformed::at(at, message),
                });
            }
            ParameterSchema::compile(&granted.params).map_err(|flaws| {
                let flaw = flaws.into_iter().next();
                flaw.map_or_else(
                    || Malformed::at(at.clone(), "the declaration is invalid"),
                    |flaw| Malformed::at(format!("{at}{}", flaw.pointer), flaw.message),
                )
            })
        });
        schemas.collect::<Result<_, _>>().map(Self)
    }

    /// Returns the schema of the step at this index of the grant.
    pub fn of_step(&self, at: usize) -> Option<&ParameterSchema> {
        self.0.get(at)
    }
}

/// Checks that at least one run of a step can use the grant. Only types, listed values and bounds are compared.
///
/// # Errors
/// Returns the first parameter for which no value satisfies both the grant and the step.
pub fn check_usable(
    grant: &Grant,
    index: usize,
    definition: &StepDefinition,
) -> Result<(), GrantError> {
    let (granted, step) = (&grant.steps[index].params, &grant.steps[index].reference);
    let unusable = |(name, own): &(&String, &Parameter)| {
        let of_step = definition.params.key(name);
        !of_step.is_some_and(|of_step| may_agree(own, of_step))
    };
    match granted.keys().find(unusable) {
        None => Ok(()),
        Some((name, _)) => Err(GrantError::not_covered(
            format!("{}/properties/{}", place(index), escape(name)),
            format!(
                "no run can use the grant, because the step {step} permits none of these values of {name}"
            ),
        )),
    }
}

/// Returns false if no value can satisfy both declarations. Patterns are not compared with each other.
fn may_agree(one: &Parameter, other: &Parameter) -> bool {
    let permits = |declared: &Parameter, value: &Value| {
        let name = "value".to_owned();
        let whole = Parameter::object([(name, declared.clone())].into(), Vec::new());
        ParameterSchema::compile(&whole)
            .is_ok_and(|whole| whole.complete(json!({"value": value})).is_ok())
    };
    if let Some(values) = one.choices.as_ref().or(other.choices.as_ref()) {
        return values
            .iter()
            .any(|value| permits(one, value) && permits(other, value));
    }
    let ((low, high), (other_low, other_high)) = (one.limits(), other.limits());
    let high = high.into_iter().chain(other_high).min();
    one.kind == other.kind
        && low
            .max(other_low)
            .is_none_or(|low| high.is_none_or(|high| low <= high))
}

/// Returns the pointer of the schema of a step.
pub fn place(at: usize) -> String {
    format!("/predicate/steps/{at}/params")
}

/// Returns the first parameter that only one of the two declarations names.
pub fn differing_name<'a>(granted: &'a Parameter, of_step: &'a Parameter) -> Option<&'a String> {
    let lacks = |all: &Parameter, name: &str| all.key(name).is_none();
    let mut of_both = of_step.keys().chain(granted.keys()).map(|(name, _)| name);
    of_both.find(|name| lacks(granted, name) || lacks(of_step, name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use documents::json::typed;

    #[test]
    fn a_default_or_a_secret_in_a_grant_is_an_error_at_its_parameter() {
        let payload =
            include_bytes!("../../../../tests/conformance/golden/documents/valid/grant.json");
        let value: Value = serde_json::from_slice(payload).expect("JSON");
        let grant: Grant = typed(&value["predicate"]).expect("a grant");
        let secret = json!({"type": "string", "x-secret": true});
        for host in [
            json!({"type": "string", "default": "a"}),
            json!({"type": "array", "items": secret}),
        ] {
            let params =
                json!({"type": "object", "properties": {"a": {"type": "string"}, "host": host}});
            let mut grant = grant.clone();
            grant.steps[0].params = typed(&params).expect("declared");
            let error = GrantedSchemas::of(&grant).expect_err("refused");
            assert_eq!(error.pointer, "/predicate/steps/0/params/properties/host");
            assert!(error.message.ends_with("remove them from host"), "{error}");
        }
    }

    #[test]
    fn a_parameter_without_a_common_value_is_found() {
        let text = json!({"type": "string", "pattern": "^[a-z]+$", "maxLength": 5});
        let number = json!({"type": "integer", "minimum": 3});
        let listed = json!({"type": "string", "enum": ["a", "b"]});
        for (one, other, agree) in [
            (json!({"type": "string"}), &text, true),
            (json!({"type": "integer"}), &text, false),
            (json!({"type": "string", "enum": ["shop"]}), &text, true),
            (json!({"type": "string", "enum": ["Shop"]}), &text, false),
            (json!({"type": "string", "enum": ["A", "b"]}), &text, true),
            (json!({"type": "string", "enum": ["A", "B"]}), &text, false),
            (
                json!({"type": "string", "enum": ["-a"]}),
                &json!({"type": "string"}),
                false,
            ),
            (json!({"type": "string", "minLength": 6}), &text, false),
            (
                json!({"type": "string", "pattern": "^[c-z]$"}),
                &listed,
                false,
            ),
            (
                json!({"type": "string", "pattern": "^[b-z]$"}),
                &listed,
                true,
            ),
            (
                json!({"type": "string", "pattern": "^[a-z]{1,3}$"}),
                &json!({"type": "string", "default": "hello"}),
                true,
            ),
            (json!({"type": "integer", "maximum": 3}), &number, true),
            (json!({"type": "integer", "maximum": 2}), &number, false),
            (
                json!({"type": "boolean"}),
                &json!({"type": "boolean"}),
                true,
            ),
            (
                json!({"type": "array", "items": {"type": "string"}, "maxItems": 1}),
                &json!({"type": "array", "items": {"type": "string"}, "minItems": 2}),
                false,
            ),
        ] {
            let declared = |value: &Value| -> Parameter { typed(value).expect("declared") };
            assert_eq!(
                may_agree(&declared(&one), &declared(other)),
                agree,
                "{one} {other}"
            );
        }
    }
}
