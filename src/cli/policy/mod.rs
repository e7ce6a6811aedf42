//! The `policy` command shows how policy decides about a script, and shows the rules of policy.
pub mod answers;
mod show;

use client::{CommandResult, Terminal};

/// Show how policy decides about a script, and show the rules of policy.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Show what a script would run: every command with its line, and the rule that decides about it
    Explain(answers::Args),
    /// Show the rules in force for a step and the source of each rule
    Show(show::Args),
}

/// Explains or shows.
///
/// # Errors
/// Returns an error if the script or the policy cannot be read.
pub fn run(args: &Args, terminal: &Terminal) -> CommandResult {
    match &args.command {
        Command::Explain(args) => answers::run(args, terminal),
        Command::Show(args) => show::run(args, terminal),
    }
}
