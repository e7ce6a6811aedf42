//! The `serve` command runs the boundary.

use std::io::IsTerminal as _;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde_json::json;

use crate::cli::configured::ConfigArgs;
use crate::local::problems::problems;
use crate::node::config::Config;
use crate::node::runbook_watch::RunbookWatch;
use crate::node::serve::{Node, Started};
use crate::terminal::exit::{CommandFailure, Exit};
use crate::terminal::printable_text::PrintableText;
use crate::terminal::streams::Terminal;

/// Serve a boundary until SIGTERM; SIGHUP seals the runbooks again.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  countersign serve boundary-1
  countersign serve --config /etc/countersign/countersign.toml
  systemctl reload countersign        # SIGHUP: seal the runbooks as they are now
  systemctl restart countersign       # also takes the next roster and policy, once enough approvers have signed \
  (roster --help)")]
pub struct Args {
    /// The directory that `init` made; by default the working directory
    #[arg(conflicts_with = "config")]
    dir: Option<PathBuf>,
    #[command(flatten)]
    config: ConfigArgs,
    /// The address to listen on, instead of the configured address; port 0 takes a free port
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
    /// A file with a checkpoint of this log from another place, or a directory of `log export`; may be repeated. The
    /// boundary does not start if its store is older than this checkpoint
    #[arg(long = "known-checkpoint", value_name = "FILE")]
    known_checkpoints: Vec<PathBuf>,
    /// Seal the runbooks again after each change. Runbooks with an error leave the old seal in force
    #[arg(long)]
    watch: bool,
    /// Do not seal changed runbooks, but tell in the log and in /ready what differs from the seal
    #[arg(long, conflicts_with = "watch")]
    watch_only: bool,
}

impl Args {
    fn watched(&self) -> Option<RunbookWatch> {
        match (self.watch, self.watch_only) {
            (true, _) => Some(RunbookWatch::Seal),
            (_, true) => Some(RunbookWatch::Tell),
            _ => None,
        }
    }
}

/// Serves the boundary.
///
/// # Errors
/// Returns all problems that prevent the boundary from starting.
pub fn run(args: &Args, terminal: &Terminal) -> Result<Exit, CommandFailure> {
    let mut config = Config::load(&args.config.path(args.dir.as_deref())).map_err(problems)?;
    if let Some(listen) = args.listen {
        if !listen.ip().is_loopback() {
            return Err(CommandFailure::usage(format!(
                "{listen} is not a loopback address, and TLS is not supported by this version"
            )));
        }
        config.listen = listen;
    }
    config.known_checkpoints.extend(args.known_checkpoints.iter().cloned());
    let filter = tracing_subscriber::EnvFilter::try_from_env("COUNTERSIGN_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .try_init();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        // Each run occupies a thread until its end, so readers need additional threads.
        .max_blocking_threads(config.runs.saturating_add(READERS))
        .build()
        .map_err(|error| CommandFailure::new(Exit::Unreachable, format!("no threads can be started: {error}")))?;
    runtime.block_on(async {
        let node = Node::open(config).await.map_err(problems)?;
        announce(node.started(), terminal)?;
        node.serve(args.watched()).await.map_err(|error| CommandFailure::new(Exit::Unreachable, error.to_string()))?;
        terminal.say("ended: every run has its receipt");
        Ok(Exit::Done)
    })
}

/// Number of threads for reading the store and writing outputs, in addition to the threads of runs.
const READERS: usize = 128;

/// Prints the address, the identity and the sandbox of the boundary.
fn announce(started: &Started, terminal: &Terminal) -> Result<(), CommandFailure> {
    if terminal.json {
        return terminal.object(&json!({ "started": started }));
    }
    let steps = if started.steps == 1 { "1 step".to_owned() } else { format!("{} steps", started.steps) };
    let mut text = format!(
        "countersign {} serves {}\n  listens   {}\n  boundary  {}\n  seal      {} ({steps})\n  roster    {}\n  sandbox   {}\n  control   {}\n",
        env!("CARGO_PKG_VERSION"),
        started.name,
        started.url,
        started.id,
        started.seal,
        started.roster,
        started.sandbox,
        PrintableText::text(&started.control.to_string_lossy()).as_str(),
    );
    if started.recovered > 0 {
        text.push_str(&format!(
            "  recovered {} runs whose end is not known: their receipts have the outcome `unknown`\n",
            started.recovered
        ));
    }
    for note in &started.notes {
        text.push_str(&format!("  note      {}\n", PrintableText::text(note).as_str()));
    }
    if started.first {
        text.push_str(&format!(
            "The log begins now. Send this roster digest to everyone who verifies receipts, over a trusted channel, \
             so that they can pin it:\n  {}\n",
            started.roster
        ));
    }
    terminal.put(text.as_bytes())
}
