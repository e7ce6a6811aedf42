//! Which boundary an operator's command is about: its `countersign.toml`.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::node::config::{Config, FILE};
use crate::node::problem::Problems;
use crate::terminal::exit::{Exit, Failure};

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
    pub fn load(&self) -> Result<Config, Failure> {
        Config::load(&self.path(None)).map_err(problems)
    }
}

/// A command that can't go on because of what the operator wrote.
#[must_use]
pub fn problems(problems: Problems) -> Failure {
    let places: Vec<_> = problems
        .list()
        .iter()
        .map(|problem| {
            serde_json::json!({"file": problem.file, "line": problem.line, "column": problem.column, "message": problem.message})
        })
        .collect();
    let count = places.len();
    let message = format!("{count} {} to fix:\n{problems}", if count == 1 { "thing" } else { "things" });
    Failure { problem: Some(serde_json::json!({ "errors": places })), ..Failure::new(Exit::Usage, message) }
}
