//! What a step declares about other runs: its session, its outputs for later steps, its plan, and that it is a check.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::{FileProblem, RegisteredStep, registry::attributes::limit, yaml::unknown};
use documents::{
    Limit, OUTPUT_TYPES, Parameter, SessionUse, StepDefinition, StepOutput, StepPlan, StepRef,
};

/// Age that a plan may have if the step declares none, in seconds.
const PLAN_AGE_S: u64 = 3600;

/// Links of a step to other runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunLinks {
    session: Option<SessionUse>,
    outputs: Vec<StepOutput>,
    plan: Option<String>,
    plan_age_s: Option<u64>,
    check: bool,
}

impl RunLinks {
    /// Adds the attribute with this name, which is one of [`LINKS`](crate::registry::attributes::LINKS).
    ///
    /// # Errors
    /// Returns a message that names the error in the text.
    pub fn add(&mut self, name: &str, text: &str) -> Result<(), String> {
        match name {
            "session" => {
                self.session = Some(match text {
                    "read" => SessionUse::Read,
                    "write" => SessionUse::Write,
                    other => return Err(unknown("value of session", other, &["read", "write"])),
                });
            }
            "check" if text == "true" => self.check = true,
            "check" => return Err(unknown("value of check", text, &["true"])),
            "outputs" => self.outputs = outputs(text)?,
            "plan" => self.plan = Some(text.to_owned()),
            _ => {
                let millis = limit(Limit::Wall, text)?;
                if millis % 1000 > 0 {
                    return Err(format!(
                        "{text:?} is not a whole number of seconds: write for example 30m"
                    ));
                }
                self.plan_age_s = Some(millis / 1000);
            }
        }
        Ok(())
    }

    /// Writes the links into the definition of their step. A plan without a path is a step of the same runbook.
    ///
    /// # Errors
    /// Returns a message if the attributes do not fit together.
    pub fn put(self, step: &mut StepDefinition) -> Result<(), String> {
        step.session = self.session.unwrap_or(SessionUse::None);
        step.outputs = self.outputs;
        step.check = self.check;
        step.plan = match (self.plan, self.plan_age_s) {
            (None, None) => None,
            (None, Some(_)) => {
                return Err("`plan-max-age` has no effect without `plan`: add plan=STEP".to_owned());
            }
            (Some(text), age) => {
                let text = if text.contains(':') {
                    text
                } else {
                    format!("{}:{text}", step.reference.path())
                };
                let planned: StepRef = text
                    .parse()
                    .map_err(|_| format!("{text:?} is no step: write plan=ID or plan=path:ID"))?;
                if planned == step.reference {
                    return Err("a step can't be its own plan: name another step".to_owned());
                }
                Some(StepPlan {
                    step: planned,
                    max_age_s: age.unwrap_or(PLAN_AGE_S),
                })
            }
        };
        Ok(())
    }
}

/// Returns an error for each step whose plan is no registered step, or takes other parameters. The parameters of a plan and
/// of the step that applies it are equal, so both have the same names.
pub fn plan_errors(steps: &BTreeMap<StepRef, Arc<RegisteredStep>>) -> Vec<FileProblem> {
    let names = |step: &RegisteredStep| -> BTreeSet<String> {
        let keys = step.definition.params.keys();
        keys.map(|(name, _)| name.clone()).collect()
    };
    let objection = |step: &RegisteredStep| {
        let plan = step.definition.plan.as_ref()?;
        match steps.get(&plan.step) {
            None => Some(format!(
                "the plan {} is no registered step: check the name in `plan`",
                plan.step
            )),
            Some(planned) if names(planned) != names(step) => Some(format!(
                "{} plans this step, but takes other parameters: give both steps the same `params`",
                plan.step
            )),
            Some(_) => None,
        }
    };
    let found = steps
        .values()
        .filter_map(|step| Some((step.place.as_ref()?, objection(step)?)));
    found
        .map(|(place, message)| FileProblem::of_step(place, message))
        .collect()
}

/// Reads a list of outputs, `url, count:integer`. The type of an output is `string` if the list states none.
fn outputs(text: &str) -> Result<Vec<StepOutput>, String> {
    let mut found: Vec<StepOutput> = Vec::new();
    for part in text.split(',').map(str::trim) {
        let (name, kind) = part.split_once(':').unwrap_or((part, "string"));
        let kind = OUTPUT_TYPES
            .into_iter()
            .find(|one| one.word() == kind)
            .ok_or_else(|| {
                unknown(
                    "type of an output",
                    kind,
                    &OUTPUT_TYPES.map(|one| one.word()),
                )
            })?;
        let name = name.parse().map_err(|_| {
            format!(
                "{name:?} can't be the name of an output: use letters, digits, _ and -, and begin with a letter or _"
            )
        })?;
        if found.iter().any(|other| other.name == name) {
            return Err(format!(
                "the output {:?} is listed twice: name the output once",
                name.as_str()
            ));
        }
        found.push(StepOutput {
            name,
            schema: Parameter::new(kind),
        });
    }
    found.sort_by(|one, other| one.name.as_str().cmp(other.name.as_str()));
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_are_sorted_and_have_a_type() {
        let found = outputs("url, count:integer,Done:boolean").expect("outputs");
        let facts: Vec<_> = found
            .iter()
            .map(|one| (one.name.as_str(), one.schema.kind.word()))
            .collect();
        assert_eq!(
            facts,
            [("Done", "boolean"), ("count", "integer"), ("url", "string")]
        );
        for (text, words) in [
            ("", "\"\" can't be the name"),
            ("a,a", "listed twice"),
            ("a:number", "unknown type of an output: \"number\""),
            ("1a", "begin with a letter"),
            ("a b", "can't be the name"),
        ] {
            assert!(
                outputs(text).is_err_and(|message| message.contains(words)),
                "{text:?}"
            );
        }
    }

    #[test]
    fn values_of_the_attributes_are_checked() {
        for (name, text, words) in [
            ("session", "on", "unknown value of session: \"on\""),
            ("plan-max-age", "soon", "\"soon\" is not valid"),
            ("plan-max-age", "1500ms", "whole number of seconds"),
            ("plan-max-age", "0s", "is zero"),
        ] {
            assert!(
                RunLinks::default()
                    .add(name, text)
                    .is_err_and(|message| message.contains(words)),
                "{name}={text}"
            );
        }
    }
}
