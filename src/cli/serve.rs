//! The `serve` command runs the boundary.

use std::{io::IsTerminal as _, net::SocketAddr, path::PathBuf};

use serde_json::json;
use tracing_subscriber::{
    EnvFilter, filter::filter_fn, layer::SubscriberExt as _, util::SubscriberInitExt as _,
};

use crate::{Config, ConfigArgs, LogFormat, Node, RunbookWatch, ServiceManager, Started};
use client::{
    CommandFailure, CommandResult, Exit, PrintableText, Terminal, fail_usage, value_words::counted,
};

/// Serve a boundary until SIGTERM; SIGHUP seals the runbooks again and takes a new certificate.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  countersign serve boundary-1
  countersign serve --config /etc/countersign/countersign.toml
  systemctl reload countersign        # SIGHUP: seal the runbooks as they are now, and take a new certificate
  systemctl restart countersign       # also takes the next roster and policy, once enough approvers have signed \
  (roster --help)")]
pub struct Args {
    /// The directory that `init` made; by default the working directory
    #[arg(conflicts_with = "config")]
    dir: Option<PathBuf>,
    #[command(flatten)]
    config: ConfigArgs,
    /// The address to listen on, instead of the configured address; port 0 takes a free port. If systemd passes a
    /// socket, the service uses this socket instead
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
    /// Allow other addresses than those of the loopback without TLS, for a proxy with TLS on another machine
    #[arg(long)]
    insecure_behind_proxy: bool,
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
pub fn run(args: &Args, terminal: &Terminal) -> CommandResult {
    // No thread may run yet, because `take` changes the environment.
    let manager = ServiceManager::take().map_err(CommandFailure::unreachable)?;
    let mut config = Config::load(&args.config.path(args.dir.as_deref()))?;
    if args.watch && config.database.node().is_some() {
        let why = "with several nodes, only `countersign seal` puts changed runbooks in force: use --watch-only";
        return fail_usage(why);
    }
    if let Some(listen) = args.listen {
        config.listen = listen;
    }
    config.insecure_behind_proxy |= args.insecure_behind_proxy;
    config
        .known_checkpoints
        .extend(args.known_checkpoints.iter().cloned());
    let log = config.log.format;
    begin_log(log);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        // Each run occupies a thread until its end, so readers need additional threads.
        .max_blocking_threads(config.limits.runs.saturating_add(READERS))
        .build()
        .map_err(|error| {
            CommandFailure::unreachable(format!("no threads can be started: {error}"))
        })?;
    runtime.block_on(async {
        let node = Node::open(config, manager).await?;
        announce(node.started(), terminal)?;
        node.serve(args.watched())
            .await
            .map_err(CommandFailure::unreachable)?;
        let ended = "ended: every run has its receipt";
        match log {
            LogFormat::Text => terminal.say(ended),
            LogFormat::Json => tracing::info!("{ended}"),
        }
        Ok(Exit::Done)
    })
}

/// Sends the log lines to the standard error. `COUNTERSIGN_LOG` selects the lines.
fn begin_log(format: LogFormat) {
    let lines = std::env::var("COUNTERSIGN_LOG")
        .ok()
        .filter(|lines| !lines.is_empty());
    let filter = lines
        .and_then(|lines| EnvFilter::try_new(lines).ok())
        .unwrap_or_else(|| EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_target(false);
    // The ids of requests and runs in spans are for programs, and make the lines too long for people.
    let spans = filter_fn(move |metadata| format == LogFormat::Json || !metadata.is_span());
    let log = tracing_subscriber::registry().with(filter).with(spans);
    let _ = match format {
        LogFormat::Text => log
            .with(lines.with_ansi(std::io::stderr().is_terminal()))
            .try_init(),
        LogFormat::Json => log
            .with(
                lines
                    .json()
                    .flatten_event(true)
                    .with_current_span(true)
                    .with_span_list(false),
            )
            .try_init(),
    };
}

/// Number of threads for reading the store and writing outputs, in addition to the threads of runs.
const READERS: usize = 128;

/// Prints the address, the identity and the sandbox of the boundary.
fn announce(started: &Started, terminal: &Terminal) -> CommandResult<()> {
    if terminal.json {
        return terminal.object(json!({ "started": started }));
    }
    let steps = counted(started.steps, "step");
    let mut text = format!(
        "countersign {} serves {}\n  listens   {}\n  boundary  {}\n  seal      {} ({steps})\n  roster    {}\n  sandbox   {}\n  control   {}\n",
        env!("CARGO_PKG_VERSION"),
        started.name,
        started.url,
        started.id,
        started.seal,
        started.roster,
        started.sandbox,
        PrintableText::file(&started.control),
    );
    if let Some(metrics) = &started.metrics {
        text += &format!("  metrics   {metrics}\n");
    }
    if started.recovered > 0 {
        text += &format!(
            "  recovered {} runs whose end is not known: their receipts have the outcome `unknown`\n",
            started.recovered
        );
    }
    for note in &started.notes {
        text += &format!("  note      {}\n", PrintableText::message(note));
    }
    if started.first {
        text += &format!(
            "The log begins now. Send this roster digest to everyone who verifies receipts, over a trusted channel, \
             so that they can pin it:\n  {}\n",
            started.roster
        );
    }
    terminal.put(text)
}
