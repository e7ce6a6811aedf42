//! The sandbox of this host, and the level that it must reach.

use std::sync::Arc;

use crate::{
    Config, InFile as _,
    node::{descriptors, private},
};
use documents::{Configuration, ConfiguredSandbox, Level, STRICT};
use reading::{FileProblem, Problems};
use sandbox::{HostProbe, LinuxSandbox, Setup, Starter};

/// Prepares the sandbox and finds out which layers this host supports.
///
/// # Errors
/// Returns an error if the sandbox's directories cannot be used.
pub fn sandbox(config: &Config) -> Result<(Arc<LinuxSandbox>, Starter), Problems> {
    // Check the limits before the probe of the sandbox, because without enough file descriptors the probe would report
    // missing layers.
    descriptors::check().at(&config.path)?;
    let setup = Setup {
        helper: None,
        scratch: config.scratch(),
        spool: config.spool(),
        private: private::set(config),
        unwritable: config.runbooks.clone(),
    };
    let opened = LinuxSandbox::open(&setup)
        .map_err(|error| format!("the sandbox can't be prepared: {error}"));
    Ok(opened.at(&setup.scratch)?)
}

/// Returns the services of this boundary that no run may reach, beside its own listeners: the database server, and all nodes
/// under the names by which clients call them.
pub fn unreachable_services(config: &Config) -> Vec<(String, u16)> {
    let nodes = config
        .hosts
        .iter()
        .map(|name| (name.clone(), config.listen.port()));
    config
        .database
        .addresses()
        .into_iter()
        .chain(nodes)
        .collect()
}

/// Returns a message for each layer of `strict` that this host lacks, with the reason and the correction.
pub fn missing(probe: &HostProbe) -> impl Iterator<Item = String> {
    probe
        .layers
        .iter()
        .filter(|state| STRICT.contains(&state.layer))
        .filter_map(|state| {
            let missing = state.missing.as_ref()?;
            Some(format!(
                "the layer {} is missing: {}; fix it with: {}",
                state.layer, missing.why, missing.knob
            ))
        })
}

/// Returns the configuration for the seal, with the layers that the level requires on this host.
///
/// # Errors
/// Returns an error if the configured level needs a layer that this host lacks.
pub fn configure(config: &Config, probe: &HostProbe) -> Result<Configuration, Problems> {
    let require = match config.sandbox.level {
        Level::Strict => {
            let advice = "or set `level = \"best-effort\"` under [sandbox], and runs get only the layers that this host supports";
            let lacking: Vec<FileProblem> = missing(probe)
                .map(|line| {
                    FileProblem::whole(
                        &config.path,
                        format!("[sandbox] level is strict, and {line}; {advice}"),
                    )
                })
                .collect();
            if !lacking.is_empty() {
                return Err(Problems::new(lacking));
            }
            STRICT.to_vec()
        }
        Level::BestEffort | Level::Off => probe.held(),
    };
    Ok(Configuration {
        limits: config.configured_limits(),
        sandbox: ConfiguredSandbox {
            level: config.sandbox.level,
            require,
        },
    })
}
