//! Configuration: the limits and the sandbox level that a seal puts in force.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::record::enforcement::Level;
use crate::record::profile::{Layer, Limits};

/// The seal's `configuration` blob: what the boundary gives every run, and the most that a step may ask for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Configuration {
    /// Limits of runs.
    pub limits: ConfiguredLimits,
    /// The sandbox that every run gets.
    pub sandbox: ConfiguredSandbox,
}

/// Limits of runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConfiguredLimits {
    /// Those of a step that asks for nothing.
    pub default: Limits,
    /// The most that a step may ask for.
    pub maximum: Limits,
}

/// The sandbox that every run gets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConfiguredSandbox {
    /// The level that the operator chose.
    pub level: Level,
    /// The layers that it stands for on this host: they are what approvers sign.
    pub require: Vec<Layer>,
}
