//! The configuration of a person or of a desk: the file `config.toml` in the configuration directory.

use schemars::JsonSchema;
use serde::Deserialize;

/// What a person, or the operator of a desk, chose for all commands.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UserConfiguration {
    /// What screens and pages show.
    #[serde(default)]
    pub display: DisplayConfiguration,
}

/// What screens and pages show.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DisplayConfiguration {
    /// Names of the scripts whose letters prose shows: `Latin`, `Greek`, `Cyrillic` and so on, by their names in Unicode, or
    /// `Chinese`, `Japanese` and `Korean` for all scripts of the language. All other letters beyond ASCII are escapes.
    /// Without the list, the scripts are Latin and the script of the locale.
    pub scripts: Option<Vec<String>>,
}
