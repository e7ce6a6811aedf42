//! The `policy explain` command prints every command of a script, with the rule that decides about it.

use std::path::PathBuf;

use serde_json::json;

use crate::cli::policy::source::{
    PolicySource, heading, heads, is_interpreter, not_understood, row, to_json, word_of, worst,
};
use crate::local::grant_options::GrantArgs;
use crate::policy::required_permissions::is_read;
use crate::terminal::exit::{CommandFailure, Exit};
use crate::terminal::streams::Terminal;
use crate::terminal::table::aligned;

/// Show every command of a script: its line, the wrappers through which it runs, and the rule that decides about it.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  countersign policy explain deploy.sh
  countersign policy explain runbooks/service.md --runbook deploy/service
  echo 'git log | xargs rm' | countersign policy explain -")]
pub(super) struct Args {
    /// A script, a runbook (*.md), or - for the standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    source: PolicySource,
}

pub(super) fn run(args: &Args, terminal: &Terminal) -> Result<Exit, CommandFailure> {
    let (held, flags) = args.source.hold(Some(&args.file), &GrantArgs::default())?;
    let answered = args.source.answer(&args.file, &held, &flags)?;
    if terminal.json {
        let scripts: Vec<_> = answered.iter().map(to_json).collect();
        let verdict = worst(answered.iter().map(|one| one.decision.verdict));
        terminal.object(&json!({"verdict": word_of(verdict), "policy": held.found.file, "scripts": scripts}))?;
        return Ok(Exit::Done);
    }
    terminal.line(&held.line())?;
    for (at, one) in answered.iter().enumerate() {
        if at > 0 {
            terminal.line("")?;
        }
        terminal.line(&heading(one))?;
        if let Some(message) = not_understood(one) {
            terminal.line(&format!("  {message}"))?;
            continue;
        }
        if !is_read(&one.interpreter) {
            terminal.line(
                "  policy can't read the commands in scripts of this interpreter, so only the sandbox restricts them",
            )?;
        }
        if one.decision.decided.is_empty() {
            terminal.line("  it starts no command")?;
            continue;
        }
        let rows: Vec<_> = std::iter::once(heads()).chain(one.decision.decided.iter().map(row)).collect();
        terminal.put(aligned(&rows).as_bytes())?;
    }
    let interpreters = answered.iter().flat_map(|one| &one.decision.decided).any(|one| is_interpreter(&one.what));
    if interpreters {
        terminal.line(
            "\nInterpreters execute their arguments and input, so the sandbox restricts them and this list does not.",
        )?;
    }
    Ok(Exit::Done)
}
