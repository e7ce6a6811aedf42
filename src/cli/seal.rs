//! The `seal` command puts changed files in force.

use serde_json::Value;

use crate::{
    Config, ConfigArgs, ControlReply, ControlRequest,
    node::{control, serve},
};
use client::{CommandFailure, CommandResult, Exit, Terminal};

/// Put changed files in force with a new seal.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  countersign seal
  countersign seal --config /etc/countersign

With a PostgreSQL database, only this command puts changed runbooks, signed rosters, policies and limits in force. Run it on
the host of the active node, whose files it seals. A changed countersign.toml needs a restart of this node before. With a
SQLite database, a start of the service seals too.")]
pub struct Args {
    #[command(flatten)]
    config: ConfigArgs,
}

/// Sends the request to the running boundary, or seals in the store if no boundary runs.
///
/// # Errors
/// Returns an error if a file has an error, or if another node is active. The old seal then stays in force.
pub fn run(args: &Args, terminal: &Terminal) -> CommandResult {
    let config = args.config.load()?;
    let value = ask(&config, ControlRequest::Seal { new_epoch: false })?;
    if !terminal.json {
        for note in texts(&value["notes"]) {
            terminal.say(format!("not sealed: {note}"));
        }
        texts(&value["bounds"]).for_each(|note| terminal.say(note));
    }
    let state = if value["changed"] == true {
        "now in force"
    } else {
        "in force as before"
    };
    terminal.answer(&value, format!("seal {} is {state}", value["seal"]))
}

/// Returns the texts of a list.
pub fn texts(list: &Value) -> impl Iterator<Item = &str> {
    let items = list.as_array().into_iter().flatten();
    items.filter_map(Value::as_str)
}

/// Sends a request to the running boundary, or answers it from the store if no boundary runs.
pub fn ask(config: &Config, request: ControlRequest) -> CommandResult<Value> {
    Ok(answer(config, request)?.0)
}

/// Returns the answer to a request, and the notes of the start if no boundary runs.
pub fn answer(
    config: &Config,
    request: ControlRequest,
) -> CommandResult<(Value, Option<Vec<String>>)> {
    if let Some(value) = ask_service(config, &request)? {
        return Ok((value, None));
    }
    let (answer, notes) = serve::answer_offline(config.clone(), request)?;
    Ok((value_of(answer)?, Some(notes)))
}

/// Sends a request to the running boundary. Returns `None` if no boundary runs.
pub fn ask_service(config: &Config, request: &ControlRequest) -> CommandResult<Option<Value>> {
    let answer = control::ask(&config.socket(), request)?;
    answer.map(value_of).transpose()
}

fn value_of(answer: ControlReply) -> CommandResult<Value> {
    match answer {
        ControlReply::Ok(value) => Ok(value),
        ControlReply::Refused { code, message } => {
            Err(CommandFailure::new(Exit::of_code(code), message))
        }
        ControlReply::Error(message) => Err(CommandFailure::unreachable(message)),
    }
}
