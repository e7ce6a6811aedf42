//! The client of Countersign with pages: the program `countersign-console`, without the service and the sandbox.
#![forbid(unsafe_code)]

use clap::Subcommand;
use client::{
    CommandResult, CommandSet, GlobalOptions, OpenStoredLog, SharedCommand, Terminal,
    program::main as run_program, registry, roster,
};
use console::command as pages;

/// The commands of the client, and the pages.
#[derive(Subcommand)]
enum ConsoleProgram {
    /// The commands of every program.
    #[command(flatten)]
    Shared(Box<SharedCommand>),
    /// Show the roster and the digest to pin, and change the roster
    Roster(roster::Args),
    /// List and show the steps of a boundary
    Registry(registry::Args),
    /// Decide in a browser on this machine, or check evidence there
    Console(pages::Args),
}

impl CommandSet for ConsoleProgram {
    const NAME: &'static str = "countersign-console";
    const VERSION: &'static str = concat!(
        env!("CARGO_PKG_VERSION"),
        " (client with pages, without a boundary)"
    );
    const FEATURES: &'static [&'static str] = &["client", "console"];
    const OPEN_STORE: Option<OpenStoredLog> = None;

    fn run(&self, global: &GlobalOptions, terminal: &Terminal) -> CommandResult {
        match self {
            Self::Shared(shared) => shared.run::<Self>(global, terminal),
            Self::Roster(args) => roster::run(args, global, terminal),
            Self::Registry(args) => registry::run(args, global, terminal),
            Self::Console(args) => pages::run(args, global, terminal),
        }
    }
}

fn main() -> std::process::ExitCode {
    run_program::<ConsoleProgram>(option_env!("COUNTERSIGN_COMMIT"))
}
