//! Comparisons of what this program derives with what was signed.

use crate::ReviewFinding;
use documents::{
    Authorization, Layer, Limits, Profile, RenderedDigest, StepDefinition, joined, json,
};
use reading::{ParameterSchema, PolicyProfile, RequiredLayers};
use serde_json::Value;

pub fn parameters(
    definition: &StepDefinition,
    signed: &Authorization,
) -> Result<(), ReviewFinding> {
    let schema = ParameterSchema::compile(&definition.params)
        .map_err(|flaws| ReviewFinding::fails(joined(&flaws, "; ")))?;
    let checked = schema.check(&signed.params).map(drop);
    checked.map_err(|errors| ReviewFinding::fails(joined(&errors, "; ")))
}

/// Compares the script with the signed digest.
pub fn rendered(
    script: Result<&str, &String>,
    signed: &Authorization,
) -> Result<(), ReviewFinding> {
    let script = script.map_err(ReviewFinding::fails)?;
    if RenderedDigest::of(script.as_bytes()) == signed.rendered {
        Ok(())
    } else {
        Err(ReviewFinding::fails(
            "the signed script differs from the shown script",
        ))
    }
}

/// Returns the default limits, the maximum limits and the sandbox level of the sealed configuration.
pub fn configured(bytes: &[u8]) -> Result<PolicyProfile, String> {
    let value = json::parse(bytes, bytes.len()).map_err(|error| error.to_string())?;
    let limits = |which: &str| -> Result<Limits, String> {
        json::typed(&value["limits"][which])
            .map_err(|error| format!("the configuration's limits: {error}"))
    };
    let level = match value["sandbox"]["level"].as_str() {
        Some("strict") => RequiredLayers::Strict,
        Some(_) => RequiredLayers::BestEffort(
            json::typed::<Vec<Layer>>(&value["sandbox"]["require"])
                .map_err(|error| format!("the configuration's layers: {error}"))?,
        ),
        None => return Err("the configuration names no sandbox level".to_owned()),
    };
    Ok(PolicyProfile {
        level,
        limits: limits("default")?,
        maximum: limits("maximum")?,
    })
}

/// Lists the fields in which two profiles differ.
pub fn differences(derived: &Profile, signed: &Profile) -> String {
    let (derived, signed) = (serde_json::to_value(derived), serde_json::to_value(signed));
    let (Ok(Value::Object(derived)), Ok(Value::Object(signed))) = (derived, signed) else {
        return "in their form".to_owned();
    };
    let mut names: Vec<&String> = derived
        .keys()
        .chain(signed.keys())
        .filter(|key| derived.get(*key) != signed.get(*key))
        .collect();
    names.sort();
    names.dedup();
    names
        .iter()
        .map(|name| {
            let side = |map: &serde_json::Map<String, Value>| {
                map.get(*name)
                    .map_or("nothing".to_owned(), Value::to_string)
            };
            format!(
                "the derived {name} is {}, the signed {name} is {}",
                side(&derived),
                side(&signed)
            )
        })
        .collect::<Vec<_>>()
        .join("; ")
}
