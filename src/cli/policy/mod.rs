//! The `policy` command shows how policy decides about a script, and shows the rules of policy.
mod check;
mod explain;
mod show;
mod source;

use client::terminal::exit::{CommandFailure, Exit};
use client::terminal::streams::Terminal;

/// Show how policy decides about a script, and show the rules of policy.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Check if a script or runbook would run; the exit code is the result
    Check(check::Args),
    /// Show every command of a script with its line, and the rule that decides about it
    Explain(explain::Args),
    /// Show the rules in force and the source of each rule
    Show(show::Args),
}

/// Checks, explains or shows.
///
/// # Errors
/// Returns an error if the script or the policy cannot be read.
pub fn run(args: &Args, terminal: &Terminal) -> Result<Exit, CommandFailure> {
    match &args.command {
        Command::Check(args) => check::run(args, terminal),
        Command::Explain(args) => explain::run(args, terminal),
        Command::Show(args) => show::run(args, terminal),
    }
}
