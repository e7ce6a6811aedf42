//! The `--config` option of the commands for operators. It selects a boundary by its `countersign.toml`.
//!
//! The file also reads what `doctor` inspects: the files and the store of a boundary, and the status of its service.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::{
    BoundaryFiles, Config, FILE, NodeStatus, ServedAddress, StoredState, in_a_shell,
    node::{rosters, stored_state},
    read_policy,
};
use boundary::{DataGrowth, MeasuredGrowth};
use client::CommandResult;
use crossing::{Sealed, free_bytes};
use documents::{Roster, Timestamp};
use reading::{FileProblem, Problems};
use store::NodesReport;
use verdict::TrustedRoster;

/// Options that name the configuration file.
#[derive(Args)]
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
    pub fn load(&self) -> CommandResult<Config> {
        Ok(Config::load(&self.path(None))?)
    }
}

/// A boundary that `doctor` inspects.
pub struct InspectedBoundary<'a> {
    pub config: &'a Config,
    pub files: Result<BoundaryFiles, Problems>,
    pub stored: Result<StoredState, Problems>,
    /// The sealed roster, because a draft is not in force. Before the first start, this is the roster with which the log will
    /// begin.
    pub roster: Result<TrustedRoster, Problems>,
    /// Status of the running service, or `None` if no service runs.
    pub status: Result<Option<NodeStatus>, String>,
    /// The nodes, or `None` if the store is a file or if the database can't be read.
    pub nodes: Option<NodesReport>,
}

impl<'a> InspectedBoundary<'a> {
    /// Reads the files and the store, and asks the service for its status.
    pub fn read(config: &'a Config) -> Self {
        let (files, stored) = (BoundaryFiles::read(config), stored_state::read(config));
        let roster = match &stored {
            Ok(StoredState {
                sealed: Some(sealed),
                ..
            }) => Ok(TrustedRoster::clone(&sealed.roster)),
            Ok(_) => rosters::newest(config, read_policy(config).ok().as_ref())
                .map(|newest| newest.last().clone())
                .map_err(Problems::from),
            Err(problems) => Err(problems.clone()),
        };
        // An unreadable database is a problem of the store.
        let nodes = stored
            .as_ref()
            .ok()
            .and_then(|_| config.database.nodes()?.read().ok());
        Self {
            config,
            files,
            stored,
            roster,
            status: NodeStatus::ask(config),
            nodes,
        }
    }

    /// Returns the state in force, or `None` before the first start.
    pub fn sealed(&self) -> Option<&Sealed> {
        self.stored.as_ref().ok()?.sealed.as_ref()
    }

    /// Returns the sealed roster, or before the first start the roster with which the log will begin.
    pub fn roster(&self) -> Result<&Roster, &[FileProblem]> {
        let roster = self.roster.as_ref();
        roster.map(TrustedRoster::tables).map_err(Problems::list)
    }

    /// Returns a command line with the `--config` of this boundary, for the text of a fix.
    pub fn command(&self, words: &str) -> String {
        format!(
            "`countersign {words} --config {}`",
            in_a_shell(&self.config.path.to_string_lossy())
        )
    }

    /// Returns the fix for a flaw of the roster.
    pub fn roster_fix(&self, change: &str) -> String {
        let draft = rosters::draft_path(self.config);
        let draft = draft.display();
        if self.sealed().is_none() {
            return format!("{change} in {draft}: the first start seals the roster");
        }
        let set = self.command("roster set");
        let then = self.config.puts_in_force();
        format!(
            "{set} writes {draft}; {change} there; let the approvers sign the version, then {then}"
        )
    }

    /// Returns the free space of the disk of `data` in bytes. Before the first start `data` may not exist, so this is the
    /// disk of its nearest existing parent.
    pub fn free_space(&self) -> Result<u64, String> {
        let data = &self.config.data;
        let place = data.ancestors().find(|path| path.is_dir());
        let place = place.ok_or_else(|| format!("there is no {}", data.display()))?;
        free_bytes(place).map_err(|error| {
            format!(
                "the free space of {} can't be read: {error}",
                place.display()
            )
        })
    }

    /// Returns the growth that the service measured in the last days.
    pub fn growth(&self, now: Timestamp) -> Option<MeasuredGrowth> {
        DataGrowth::read(
            self.config.data_sizes(),
            self.sealed()?.boundary.id,
            self.config.backups(),
        )
        .measured(now)
    }

    /// Returns the address of the running service. If no service runs, this is the configured address.
    pub fn address(&self) -> ServedAddress {
        let running = self
            .status
            .as_ref()
            .ok()
            .and_then(|status| status.as_ref()?.address);
        running.unwrap_or(ServedAddress {
            listen: self.config.listen,
            tls: self.config.tls.is_some(),
        })
    }
}
