//! What changes from one policy to the next: values, and verdicts on the steps of a boundary.

use std::time::Instant;

use serde_json::Value;

use crate::{
    Client, LineDifference, PATIENCE, PrintableText, leaves, review::compare::changed_places,
};
use documents::{
    Configuration, MAX_DEFINITION_BYTES, PolicyDigest, RegistryLeaf, StepDefinition, canonical_of,
    first_of, joined, json, merkle,
};
use reading::{
    Builtins, Policy, PolicyProfile, Ruling, profile_of_step, required_permissions::needs, resolve,
};
use wire::RegistryView;

/// Maximum number of steps that the sentence names.
const MOST_NAMED: usize = 20;

/// Reads a policy from the log of the boundary.
///
/// # Errors
/// Returns an error if the boundary can't be read or does not have the policy.
pub fn sealed_policy(client: &Client, digest: PolicyDigest) -> Result<Policy, String> {
    let bytes = client.blob(digest.as_bytes()).map_err(words)?;
    let value = json::parse(&bytes, bytes.len()).map_err(words)?;
    Policy::from_sealed(&value).map_err(|errors| joined(&errors, "; "))
}

fn words(error: impl ToString) -> String {
    error.to_string()
}

/// Returns every difference between the signed bytes of two policies.
pub fn differences(old: &Policy, new: &Policy) -> Vec<LineDifference> {
    let (before, after) = (lines(old), lines(new));
    let keys = |lines: &[(String, PrintableText)]| {
        lines.iter().map(|(key, _)| key.clone()).collect::<Vec<_>>()
    };
    let line = |(was, at): (bool, usize)| {
        let (_, text) = if was { &before[at] } else { &after[at] };
        LineDifference {
            was,
            number: None,
            text: text.clone(),
        }
    };
    changed_places(&keys(&before), &keys(&after))
        .into_iter()
        .map(line)
        .collect()
}

/// Returns the values of a policy in their order, each with a key for the comparison. The key has no positions of
/// entries, so that an added override does not change the keys of the later ones.
fn lines(policy: &Policy) -> Vec<(String, PrintableText)> {
    let value: Value = serde_json::from_slice(policy.canonical()).unwrap_or_default();
    let found = leaves(&value);
    let line = |(path, leaf): (String, &Value)| {
        let tokens: Vec<&str> = path
            .split(['.', '[', ']'])
            .filter(|token| !token.is_empty())
            .collect();
        let names: Vec<_> = tokens
            .iter()
            .filter(|token| token.parse::<usize>().is_err())
            .collect();
        let runbook = match tokens[..] {
            [list, at, ..] => at
                .parse::<usize>()
                .map_or(&Value::Null, |at| &value[list][at]["runbook"]),
            _ => &Value::Null,
        };
        let mut text =
            PrintableText::path(path.trim_start_matches('.')).then(PrintableText::value(leaf));
        // A person knows an override by its runbooks.
        if runbook.is_string() {
            text = text
                .and(" (runbook ")
                .then(PrintableText::value(runbook))
                .and(")");
        }
        (format!("{runbook} {names:?} {leaf}"), text)
    };
    found.into_iter().map(line).collect()
}

/// Returns a sentence about the steps of the seal whose verdict differs between two policies: people, permissions,
/// programs and sandbox. A step whose rules differ counts too if its definition can't be read.
///
/// # Errors
/// Returns an error if the boundary can't be read.
pub fn changed_steps(client: &Client, old: &Policy, new: &Policy) -> Result<String, String> {
    let view: RegistryView = client.get("/v1/registry").map_err(words)?;
    let bytes = client
        .blob(view.seal.configuration.as_bytes())
        .map_err(words)?;
    let given =
        PolicyProfile::of(&json::parse_as::<Configuration>(&bytes, bytes.len()).map_err(words)?);
    let (begun, mut hashes, mut changed, mut are_read) =
        (Instant::now(), Vec::new(), Vec::new(), true);
    for step in &view.steps {
        let leaf = RegistryLeaf {
            digest: step.digest,
            reference: step.reference.clone(),
        };
        hashes.push(merkle::leaf_hash(&canonical_of(&leaf).map_err(words)?));
        let [before, after] =
            [old, new].map(|policy| resolve(policy, Builtins::current(), &step.reference));
        if before == after {
            continue;
        }
        let bytes = if begun.elapsed() < PATIENCE {
            client.blob(step.digest.as_bytes()).ok()
        } else {
            None
        };
        match bytes.and_then(|bytes| json::parse_as(&bytes, MAX_DEFINITION_BYTES).ok()) {
            Some(step) if verdict(&before, &step, &given) == verdict(&after, &step, &given) => {
                continue;
            }
            Some(_) => {}
            None => are_read = false,
        }
        changed.push(&step.reference);
    }
    let is_proven = are_read && merkle::root(&hashes) == *view.seal.registry_root.as_bytes();
    let (count, all) = (changed.len(), view.steps.len());
    let word = if is_proven {
        ""
    } else {
        ", the boundary's word"
    };
    let between = if changed.is_empty() { "" } else { ": " };
    let named = first_of(&changed, MOST_NAMED);
    Ok(format!(
        "The verdict changes for {count} of {all} steps{word}{between}{named}"
    ))
}

/// Returns what policy decides about a step, without the origins of the rules.
fn verdict(
    ruling: &Ruling,
    step: &StepDefinition,
    given: &PolicyProfile,
) -> impl PartialEq + use<> {
    let needs = needs(ruling, step);
    let people = (
        ruling.approvals.as_ref().map(|rule| rule.value.clone()),
        ruling.people_rules(),
        ruling.passkeys,
    );
    (
        people,
        needs.permissions.ok(),
        needs.programs,
        profile_of_step(ruling, step, given).ok(),
    )
}
