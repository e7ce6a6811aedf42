//! The `notify` command shows and tests the targets of messages.

use crate::{Config, ConfigArgs, ControlRequest, NodeStatus, ask_service};
use client::{CommandFailure, CommandResult, Exit, Terminal, fitted, with_header};
use documents::Name;

/// Show and test the targets of messages: [[notify]] in countersign.toml.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  countersign notify list
  countersign notify test phone

Run the command on the host of the boundary, while the service runs.")]
pub struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// List the targets: how many events each has not got, how many were given up, and what is wrong
    List,
    /// Send a test message to a target
    Test {
        /// The name of the target
        name: Name,
    },
}

/// Sends the request to the running boundary.
///
/// # Errors
/// Returns an error if no service runs, if there is no such target, or if the target does not take the message.
pub fn run(args: &Args, terminal: &Terminal) -> CommandResult {
    let config = args.config.load()?;
    match &args.command {
        Command::List => list(&config, terminal),
        Command::Test { name } => {
            let request = ControlRequest::NotifyTest { name: name.clone() };
            let value = ask_service(&config, &request)?.ok_or_else(|| no_service(&config))?;
            terminal.answer(&value, format!("{name} has the test message"))
        }
    }
}

fn no_service(config: &Config) -> CommandFailure {
    let path = config.path.display();
    CommandFailure::unreachable(format!(
        "no service runs here, and only the service sends messages: countersign serve --config {path}"
    ))
}

fn list(config: &Config, terminal: &Terminal) -> CommandResult {
    let status = NodeStatus::ask(config).map_err(CommandFailure::unreachable)?;
    let status = status.ok_or_else(|| no_service(config))?;
    let targets = status
        .monitoring
        .map(|monitoring| monitoring.targets)
        .unwrap_or_default();
    if terminal.json {
        terminal.object(serde_json::json!({ "targets": targets }))?;
        return Ok(Exit::Done);
    }
    if targets.is_empty() {
        terminal.say(format!("{} has no [[notify]]", config.path.display()));
        return Ok(Exit::Done);
    }
    let cells = targets.into_iter().map(|target| {
        [
            target.name.to_string(),
            target.kind,
            target.behind.to_string(),
            target.given_up.to_string(),
            target.trouble.unwrap_or_default(),
        ]
    });
    let rows = with_header(["NAME", "KIND", "BEHIND", "GIVEN UP", "TROUBLE"], cells);
    terminal.put(fitted(&rows, terminal.table_width(), 5))?;
    Ok(Exit::Done)
}
