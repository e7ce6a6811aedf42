//! The `node` command lists the nodes of a boundary, and notes that a node is lost.

use serde_json::json;

use crate::{cli::configured::ConfigArgs, node::handover};
use client::{CommandFailure, Exit, Terminal};
use documents::Name;
use reading::FileProblem;
use workbench::problems;

/// List the nodes of a boundary, or say that a node will never come back.
#[derive(Debug, clap::Args)]
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

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// List the nodes: which one is active, and when each gave its last sign
    List,
    /// Say that a node will never come back
    ///
    /// The active node then writes receipts with the outcome unknown for its open runs, and nobody waits for its newest
    /// checkpoint. If the node does come back, it shows its checkpoint again. The command is refused if only the key of
    /// this node can sign for the boundary.
    Lost {
        /// Name of the node
        name: Name,
    },
}

/// Runs the subcommand.
///
/// # Errors
/// Returns an error if the configuration or the database cannot be used.
pub fn run(args: &Args, terminal: &Terminal) -> Result<Exit, CommandFailure> {
    let config = args.config.load()?;
    let problem = |fault| problems(FileProblem::of_store(&config.database, fault).into());
    if let Some(Command::Lost { name }) = &args.command {
        handover::check_lost(&config, name).map_err(|found| problems(found.into()))?;
        let needs_epoch = config.database.lose_node(name).map_err(problem)?;
        terminal.say(&format!("The node {name} is noted as lost."));
        if needs_epoch {
            terminal.say(
                "The database server restarted or changed since this node gave its last sign, so the database may lack its newest \
                 entries. The boundary serves, but no run starts before `countersign seal --new-epoch`, which first shows what \
                 to look at.",
            );
        }
        return Ok(Exit::Done);
    }
    let report = config
        .database
        .nodes()
        .map(|reader| reader.read())
        .transpose()
        .map_err(problem)?;
    let nodes = report.as_ref().map_or(&[][..], |report| &report.nodes);
    if terminal.json {
        let rows: Vec<_> = nodes
            .iter()
            .map(|node| {
                json!({
                    "name": node.name, "key": node.keyid, "version": node.version, "active": node.active,
                    "lost": node.lost, "beat_age_s": node.beat_age_s, "open_runs": node.open_runs,
                })
            })
            .collect();
        terminal.object(&rows)?;
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
        terminal.put(line.as_bytes())?;
    }
    report
        .iter()
        .flat_map(|report| &report.hanging)
        .for_each(|note| terminal.say(note));
    Ok(Exit::Done)
}
