//! Configuration: the limits and the sandbox level that a seal puts in force.

use schemars::JsonSchema;
use schemars::{Schema, SchemaGenerator, json_schema};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use crate::{Layer, Level, Limits, STRICT};

/// The blob `configuration` of a seal: what the boundary gives every run, and what a step may ask for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Configuration {
    /// Limits of runs.
    pub limits: ConfiguredLimits,
    /// The sandbox of every run.
    pub sandbox: ConfiguredSandbox,
}

/// Limits of runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConfiguredLimits {
    /// Limits of a step that declares none.
    pub default: Limits,
    /// The largest limits that a step may declare.
    pub maximum: Limits,
}

impl Default for ConfiguredLimits {
    /// Returns the limits of a boundary whose configuration names none.
    fn default() -> Self {
        Self {
            default: Limits::default(),
            maximum: Limits {
                wall_ms: 3_600_000,
                cpu_milli: 4000,
                memory_bytes: 4 << 30,
                processes: 1000,
                file_bytes: 1 << 30,
                disk_bytes: 10 << 30,
                output_bytes: 100 << 20,
            },
        }
    }
}

/// The sandbox of every run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConfiguredSandbox {
    /// Level that the operator chose.
    pub level: Level,
    /// Layers that the level requires on this host. Approvers sign these layers.
    #[serde(deserialize_with = "layers_of_a_level")]
    #[schemars(schema_with = "schema_of_layers")]
    pub require: Vec<Layer>,
}

/// Reads layers of a level. The layer `programs` belongs to a list of programs and to no level.
fn layers_of_a_level<'de, D: Deserializer<'de>>(input: D) -> Result<Vec<Layer>, D::Error> {
    let layers = Vec::<Layer>::deserialize(input)?;
    if layers.contains(&Layer::Programs) {
        return Err(D::Error::custom("the layer `programs` belongs to no level"));
    }
    Ok(layers)
}

fn schema_of_layers(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "array", "items": {"type": "string", "enum": STRICT.map(Layer::word)}})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layer_of_a_list_of_programs_belongs_to_no_level() {
        let read = |layers: &str| {
            serde_json::from_str::<ConfiguredSandbox>(&format!(
                r#"{{"level":"strict","require":[{layers}]}}"#
            ))
        };
        assert!(read(r#""landlock","seccomp""#).is_ok());
        assert!(read(r#""landlock","programs""#).is_err());
    }
}
