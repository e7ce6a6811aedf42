//! The client: the program for proposers, approvers, auditors and CI.

use clap::Subcommand;

use crate::{
    CommandResult, CommandSet, GlobalOptions, OpenStoredLog, SharedCommand, Terminal, command, man,
    registry, roster,
};

/// The commands of the client.
#[derive(Debug, Subcommand)]
pub enum ClientProgram {
    /// The commands of every program.
    #[command(flatten)]
    Shared(Box<SharedCommand>),
    /// Show the roster and the digest to pin, and change the roster
    Roster(roster::Args),
    /// List and show the steps of a boundary
    Registry(registry::Args),
    /// Write a man page for each command
    #[command(hide = true)]
    Man(man::Args),
}

impl CommandSet for ClientProgram {
    const VERSION: &'static str =
        concat!(env!("CARGO_PKG_VERSION"), " (client, without a boundary)");
    const FEATURES: &'static [&'static str] = &["client"];
    const OPEN_STORE: Option<OpenStoredLog> = None;

    fn run(&self, global: &GlobalOptions, terminal: &Terminal) -> CommandResult {
        match self {
            Self::Shared(shared) => shared.run::<Self>(global, terminal),
            Self::Roster(args) => roster::run(args, global, terminal),
            Self::Registry(args) => registry::run(args, global, terminal),
            Self::Man(args) => man::run(args, command::<Self>(), terminal),
        }
    }
}
