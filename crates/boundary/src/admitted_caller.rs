//! A caller that the ID token of a job admitted.

use std::sync::Arc;

use serde_json::Value;

use crossing::Refusal;
use documents::Code;

/// What an ID token says about a caller.
#[derive(Debug, Clone)]
pub struct AdmittedCaller {
    /// What the boundary says about the job, as JSON.
    pub job: Arc<str>,
    /// The parameters that a proposal of the job must have.
    pub bound: Vec<BoundParameter>,
}

/// A parameter whose value a claim states.
#[derive(Debug, Clone)]
pub struct BoundParameter {
    /// Name of the parameter.
    pub name: String,
    /// Name of the claim.
    pub claim: String,
    /// The value: a text, a number or a truth value.
    pub value: Value,
}

impl AdmittedCaller {
    /// Checks that the parameters have the values that the claims state. Returns what the boundary says about the job.
    ///
    /// # Errors
    /// Returns `invalid-params` for the first parameter that differs. The refusal does not repeat the given value, which may
    /// be a secret.
    pub fn check(&self, params: &Value) -> Result<Arc<str>, Refusal> {
        for BoundParameter { name, claim, value } in &self.bound {
            let given = &params[name.as_str()];
            // GitHub and GitLab state numbers as texts, but the parameter of a step may be a number.
            let as_text = || claim_text(given).is_some_and(|text| value.as_str() == Some(&text));
            if given != value && !as_text() {
                let detail = format!(
                    "the parameter must be {value}, which the claim `{claim}` of the job's ID token states"
                );
                let refusal = Refusal::new(Code::InvalidParams, format!("/{name}: {detail}"));
                return Err(refusal.at(format!("/params/{name}"), detail));
            }
        }
        Ok(self.job.clone())
    }
}

/// Returns the text of a string, and the JSON of a number or a truth value. Other values have no text.
pub fn claim_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_bound_parameter_has_exactly_the_text_of_the_claim() {
        let stated = |value: Value| AdmittedCaller {
            job: "{}".into(),
            bound: vec![BoundParameter {
                name: "n".into(),
                claim: "sha".into(),
                value,
            }],
        };
        let bound = |text: &str| stated(text.into());
        assert!(stated(json!(7)).check(&json!({"n": 7})).is_ok());
        assert!(
            stated(json!(7)).check(&json!({"n": "7"})).is_err(),
            "a number is no text"
        );
        assert!(
            stated(json!(true)).check(&json!({"n": "true"})).is_err(),
            "a truth value is no text"
        );
        for (value, good) in [
            ("ab", json!("ab")),
            ("7", json!(7)),
            ("7", json!("7")),
            ("true", json!(true)),
        ] {
            assert!(
                bound(value).check(&json!({"n": good, "other": 1})).is_ok(),
                "{value}"
            );
        }
        for bad in [
            json!("AB"),
            json!("ab "),
            json!(null),
            json!(["ab"]),
            json!({"ab": 1}),
            json!(1),
        ] {
            let refusal = bound("ab")
                .check(&json!({"n": bad}))
                .expect_err("another value");
            assert_eq!(
                (refusal.code, &*refusal.places[0].pointer),
                (Code::InvalidParams, "/params/n")
            );
        }
        assert!(
            bound("ab")
                .check(&json!({}))
                .is_err_and(|refusal| refusal.detail.contains("`sha`")),
            "no parameter"
        );
        assert!(bound("ab").check(&json!([])).is_err());
    }
}
