//! The `--config` option of the commands for operators. It selects a boundary by its `countersign.toml`.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::{Config, FILE};
use client::CommandFailure;
use workbench::problems;

/// Options that name the configuration file.
#[derive(Debug, Clone, Default, Args)]
pub struct ConfigArgs {
    /// The file countersign.toml, or its directory. The default is the file in the working directory
    #[arg(long, global = true, env = "COUNTERSIGN_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
}

impl ConfigArgs {
    /// Returns the path of the configuration file. If the path is a directory, the file is `countersign.toml` in that
    /// directory.
    pub fn path(&self, directory: Option<&Path>) -> PathBuf {
        let path = directory
            .map(Path::to_owned)
            .or_else(|| self.config.clone())
            .unwrap_or_else(|| FILE.into());
        if path.is_dir() { path.join(FILE) } else { path }
    }

    /// Reads the configuration.
    ///
    /// # Errors
    /// Returns all errors in the configuration.
    pub fn load(&self) -> Result<Config, CommandFailure> {
        Config::load(&self.path(None)).map_err(problems)
    }
}
