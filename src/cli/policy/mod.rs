//! `policy`: what the rules say of a script, and what they are.
mod check;
mod explain;
mod show;
mod source;

use crate::terminal::exit::{CommandFailure, Exit};
use crate::terminal::streams::Terminal;

/// What the rules say of a script, and what they are.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Say by the exit code whether a script or runbook would run
    Check(check::Args),
    /// Show every command of a script, where it stands, and which rule decides it
    Explain(explain::Args),
    /// Show the rules in force, each with where it comes from
    Show(show::Args),
}

/// Checks, explains or shows.
///
/// # Errors
/// When script or policy can't be read.
pub fn run(args: &Args, terminal: &Terminal) -> Result<Exit, CommandFailure> {
    match &args.command {
        Command::Check(args) => check::run(args, terminal),
        Command::Explain(args) => explain::run(args, terminal),
        Command::Show(args) => show::run(args, terminal),
    }
}
