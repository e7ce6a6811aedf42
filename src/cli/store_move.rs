//! The command `store move` moves the log of an SQLite store into a PostgreSQL database.

use std::path::PathBuf;

use serde_json::json;

use crate::{Config, node::stored_state::move_store};
use client::{CommandResult, Exit, Terminal, fail_usage};
use store::MoveEnd;

#[derive(clap::Args)]
pub struct Move {
    /// The SQLite file of this boundary. `database` in countersign.toml already names the new database
    #[arg(long, value_name = "FILE")]
    from: PathBuf,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

/// Moves the log.
///
/// # Errors
/// Returns an error if a store cannot be used. The same command then continues the move.
pub fn run(args: &Move, config: &Config, terminal: &Terminal) -> CommandResult {
    let from = args.from.display().to_string();
    let to = config.database.to_string();
    terminal.say(format!(
        "This command moves the log of {from} to {to}. There is no way back except a backup: at the end, the old file is \
         marked, and no version of this program serves it again. If the command is interrupted, run it again."
    ));
    if !args.yes {
        let answer = terminal.ask("Type `yes` to begin:", "give --yes")?;
        if answer != "yes" {
            return fail_usage("the answer was not `yes`, so nothing was moved");
        }
    }
    let mut told = None;
    let mut progress = |done: u64, all: u64| {
        let percent = done.min(all).saturating_mul(100) / all.max(1);
        // A log file gets one line for each tenth.
        let step = if terminal.err_is_terminal { 1 } else { 10 };
        if told != Some(percent / step) {
            told = Some(percent / step);
            terminal.say(format!("{percent} % of {all} rows are copied"));
        }
    };
    let end = move_store(config, &args.from, &mut progress)?;
    let entries = match end {
        MoveEnd::Moved(entries) => Some(entries),
        MoveEnd::WasFinished => None,
    };
    if terminal.json {
        terminal.object(json!({"from": from, "to": to, "entries": entries}))?;
        return Ok(Exit::Done);
    }
    terminal.say(&match entries {
        Some(entries) => format!(
            "The log of {entries} entries is now in {to}. Start the service, then make a backup with `countersign store \
             backup`. After the backup, {from} can be deleted."
        ),
        None => format!("An earlier call has finished this move: the log is in {to}. Nothing was changed."),
    });
    Ok(Exit::Done)
}
