//! The `node` command lists the nodes of a boundary, and notes that a node is lost.
//!
//! The file also opens the log of a store that no service uses, for other commands.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{
    Config, ConfigArgs, ControlRequest, InStore as _, ask_service,
    node::{handover, open_store},
};
use client::{
    CommandFailure, CommandResult, Exit, LogAtRest, LogSource, PrintableText, Terminal,
    fail_refused,
};
use documents::Name;
use store::StoredLog;

/// Time in which a node that stands by becomes the active node.
const TAKEOVER: Duration = Duration::from_secs(15);

/// List the nodes of a boundary, or say that a node will never come back.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  countersign node list
  countersign node lost db-host-2

Several services can use one PostgreSQL database. Only the active node serves, and the others stand by.")]
pub struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(clap::Subcommand)]
enum Command {
    /// List the nodes: which one is active, and when each gave its last sign
    List,
    /// Say that a node will never come back
    ///
    /// The active node then writes receipts with the outcome unknown for its open runs, and nobody waits for its newest
    /// checkpoint. If the node does come back, it shows its checkpoint again. The command is refused if only the key of
    /// this node can sign for the boundary.
    ///
    /// If the database can lack its newest entries, all earlier approvals must end before a run can start. On the host of
    /// the active node, the command then lists the tokens in force, because a lost revocation puts a token in force again,
    /// and asks whether to seal with a new epoch.
    Lost {
        /// Name of the node
        name: Name,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

/// Runs the subcommand.
///
/// # Errors
/// Returns an error if the configuration or the database cannot be used.
pub fn run(args: &Args, terminal: &Terminal) -> CommandResult {
    let config = args.config.load()?;
    let database = &config.database;
    if let Some(Command::Lost { name, yes }) = &args.command {
        handover::check_lost(&config, name)?;
        let needs_epoch = database.lose_node(name).in_store(database)?;
        terminal.say(format!("The node {name} is noted as lost."));
        if needs_epoch {
            begin_epoch(&config, name, *yes, terminal)?;
        }
        return Ok(Exit::Done);
    }
    let report = database
        .nodes()
        .map(|reader| reader.read())
        .transpose()
        .in_store(database)?;
    let nodes = report.as_ref().map_or(&[][..], |report| &report.nodes);
    if terminal.json {
        terminal.object(nodes)?;
        return Ok(Exit::Done);
    }
    if nodes.is_empty() {
        terminal.say("A SQLite store has no nodes: it belongs to one service.");
    }
    for node in nodes {
        let line = format!(
            "{:<20} {:<8} {}, {} open runs\n",
            node.name.as_str(),
            node.word(),
            node.last_sign(),
            node.open_runs
        );
        terminal.put(line)?;
    }
    report
        .iter()
        .flat_map(|report| &report.hanging)
        .for_each(|note| terminal.say(note));
    Ok(Exit::Done)
}

/// Ends all earlier approvals. Otherwise a nonce could count again if the database lost its consumption.
fn begin_epoch(config: &Config, lost: &Name, yes: bool, terminal: &Terminal) -> CommandResult<()> {
    terminal.say(
        "The database server restarted or changed since this node gave its last sign, so the database may lack its newest \
         entries. No run starts before a new epoch.",
    );
    let ask = |request| ask_service(config, &request);
    let elsewhere = || {
        CommandFailure::refused(format!(
            "no new epoch has begun, because no active node runs on this host: run `countersign node lost {lost}` on the \
                 host of the active node"
        ))
    };
    // A node that stands by becomes active only now.
    let until = Instant::now() + TAKEOVER;
    let mut tokens = ask(ControlRequest::TokenList)?;
    while tokens.is_none() && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(200));
        tokens = ask(ControlRequest::TokenList)?;
    }
    let tokens = tokens.ok_or_else(elsewhere)?;
    let in_force = |token: &&Value| token["revoked_at"].is_null();
    for token in tokens.as_array().into_iter().flatten().filter(in_force) {
        let name = token["name"].as_str().unwrap_or_default();
        terminal.say(format!(
            "In force: the token {name}. If it was revoked, end it: countersign token revoke {name}"
        ));
    }
    let question = "All earlier approvals end. Type yes to seal with a new epoch:";
    if !yes && terminal.ask(question, "or give --yes")? != "yes" {
        return fail_refused("nothing is sealed");
    }
    let sealed = ask(ControlRequest::Seal { new_epoch: true })?.ok_or_else(elsewhere)?;
    let number = &sealed["seal"];
    terminal.say(format!("seal {number} with a new epoch is in force"));
    Ok(())
}

/// Opens the log in a store directory that no service uses: a copy from `store backup`, or the old log after `store
/// restore`.
///
/// # Errors
/// Returns an error if the directory is not such a store, or if the log cannot be read.
pub fn stored_log(directory: &Path) -> CommandResult<LogSource> {
    let log = open_store::log_in(directory).map_err(|why| {
                CommandFailure::usage(format!(
            "the log in {} can't be read: {why}; name a directory that `countersign store backup` made, or one of \
             closed/ in the boundary's private directory",
            PrintableText::file(directory)
        ))
    })?;
    Ok(LogSource::Stored(Box::new(Readable(log))))
}

/// A stored log, as the client reads it.
#[derive(Debug)]
struct Readable(StoredLog);

impl LogAtRest for Readable {
    fn resource(&self, path: &str) -> Result<Option<Vec<u8>>, String> {
        self.0.resource(path).map_err(|fault| fault.to_string())
    }
}

#[cfg(test)]
mod stored_log_tests {
    use crate::node::places;
    #[test]
    fn the_client_knows_a_store_by_the_name_of_its_database() {
        assert_eq!(client::DATABASE, places::DATABASE);
    }
}
