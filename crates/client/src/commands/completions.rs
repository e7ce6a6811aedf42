//! The `completions` command prints a completion script for a shell.

use clap_complete::Shell;

use crate::terminal::exit::{CommandFailure, Exit};
use crate::terminal::streams::Terminal;

/// Print a completion script for a shell.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  countersign completions bash > ~/.local/share/bash-completion/completions/countersign
  countersign completions zsh > ~/.zfunc/_countersign")]
pub struct Args {
    /// The name of the shell
    shell: Shell,
}

/// Prints the script.
///
/// # Errors
/// Returns an error if the standard output cannot be written.
pub fn run(args: &Args, command: &mut clap::Command, terminal: &Terminal) -> Result<Exit, CommandFailure> {
    let mut script = Vec::new();
    let name = command.get_name().to_owned();
    clap_complete::generate(args.shell, command, name, &mut script);
    terminal.put(&script)?;
    Ok(Exit::Done)
}
