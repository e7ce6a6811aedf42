//! Which boundary an operator's command is about: its `countersign.toml`.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::local::problems::problems;
use crate::node::config::{Config, FILE};
use crate::terminal::exit::CommandFailure;

/// Where the configuration is.
#[derive(Debug, Clone, Default, Args)]
pub struct ConfigArgs {
    /// countersign.toml, or its directory; by default that of the working directory
    #[arg(long, global = true, env = "COUNTERSIGN_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
}

impl ConfigArgs {
    /// The file that is meant. A directory means the file of the usual name in it.
    #[must_use]
    pub fn path(&self, directory: Option<&Path>) -> PathBuf {
        let path = directory.map(Path::to_owned).or_else(|| self.config.clone()).unwrap_or_else(|| FILE.into());
        if path.is_dir() { path.join(FILE) } else { path }
    }

    /// The configuration.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn load(&self) -> Result<Config, CommandFailure> {
        Config::load(&self.path(None)).map_err(problems)
    }
}
