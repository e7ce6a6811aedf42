//! A boundary that serves: opened, recovered, listening, drained.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::boundary::Boundary;
use crate::crossing::refusal::Stopped;
use crate::crypto::digest::{RosterDigest, SealDigest};
use crate::http;
use crate::http::app::HttpConfig;
use crate::http::limit::Rates;
use crate::node::config::Config;
use crate::node::control::{self, ControlReply, ControlRequest};
use crate::node::files::BoundaryFiles;
use crate::node::host_lock::HostLock;
use crate::node::problem::{FileProblem, Problems};
use crate::node::start::{self, AssembledBoundary, TakenChanges};
use crate::node::{descriptors, kept, succession, witnessing};
use crate::record::ident::BoundaryName;
use crate::sandbox::Sandbox;
use crate::sandbox::linux::LinuxSandbox;
use crate::store::ledger::Ledger;

/// A boundary that is about to serve: its store is locked, what a crash left is closed, its sockets are open.
pub struct Node {
    boundary: Boundary,
    ledger: Ledger,
    listener: TcpListener,
    control: tokio::net::UnixListener,
    config: Config,
    started: Started,
    signals: Signals,
    /// The newest version of the roster that the start found signed.
    newest_roster: u64,
    lock: HostLock,
}

/// What the service is told from outside. Watched from before the store is opened: a signal in between waits its turn.
struct Signals {
    hangup: Signal,
    end: Signal,
    interrupt: Signal,
}

/// What a start found, for the operator.
#[derive(Debug, Clone, Serialize)]
pub struct Started {
    /// Where HTTP listens.
    pub url: String,
    /// The boundary's name.
    pub name: BoundaryName,
    /// Its id.
    pub id: SealDigest,
    /// The seal in force.
    pub seal: u64,
    /// How many steps it has.
    pub steps: usize,
    /// What auditors pin.
    pub roster: RosterDigest,
    /// What this host's sandbox holds.
    pub sandbox: String,
    /// Whether the log begins with this start.
    pub first: bool,
    /// Runs whose end nobody saw, closed as `unknown`.
    pub recovered: usize,
    /// What an operator should know.
    pub notes: Vec<String>,
    /// The control socket.
    pub control: PathBuf,
}

impl Node {
    /// Reads every file, takes the store, recovers, then opens the sockets.
    ///
    /// # Errors
    /// Everything that keeps the boundary from starting, together.
    pub async fn open(config: Config) -> Result<Self, Problems> {
        Self::open_with(config, |sandbox| Arc::new(sandbox)).await
    }

    /// The same, with what `around` makes of the sandbox of this host.
    ///
    /// # Errors
    /// Everything that keeps the boundary from starting, together.
    pub async fn open_with(
        config: Config,
        around: impl FnOnce(LinuxSandbox) -> Arc<dyn Sandbox>,
    ) -> Result<Self, Problems> {
        // Whatever this process makes is its own.
        rustix::process::umask(rustix::fs::Mode::from_bits_truncate(0o077));
        let watch = |kind| {
            signal(kind).map_err(|error| FileProblem::whole(&config.path, format!("signals can't be watched: {error}")))
        };
        let mut signals = Signals {
            hangup: watch(SignalKind::hangup())?,
            end: watch(SignalKind::terminate())?,
            interrupt: watch(SignalKind::interrupt())?,
        };
        start::check_clock(&config)?;
        let files = BoundaryFiles::read(&config)?;
        // The lock comes before the sweep of what a service before left.
        let store = start::take_store(&config)?;
        let sandbox = around(start::sandbox(&config)?);
        let AssembledBoundary { boundary, ledger, level, first, notes, newest_roster, lock } =
            start::assemble(&config, sandbox, store, files, TakenChanges::Changes).await?;
        let broken = |stopped: Stopped| {
            FileProblem::whole(&config.database, format!("recovery failed, nothing was started: {stopped}"))
        };
        // The sandbox's sweep killed what was left; now their receipts, and only then requests (rule R6).
        let recovered = tokio::select! {
            recovered = boundary.crossing.recover() => recovered.map_err(broken)?,
            // A full disk keeps a receipt waiting without end. A run without a receipt gets one at the next start.
            _ = signals.end.recv() => return Err(stopped_in_recovery(&config).into()),
            _ = signals.interrupt.recv() => return Err(stopped_in_recovery(&config).into()),
        };
        let control = control::listen(&config.socket())?;
        let listener = listen(&config).await?;
        let state = boundary.crossing.state();
        let started = Started {
            url: format!("http://{}", listener.local_addr().unwrap_or(config.listen)),
            name: config.name.clone(),
            id: state.boundary.id,
            seal: state.seal.number,
            steps: state.registry.steps().len(),
            roster: state.roster.digest(),
            sandbox: level.word().to_owned(),
            first,
            recovered,
            notes,
            control: config.socket(),
        };
        Ok(Self { boundary, ledger, listener, control, config, started, signals, newest_roster, lock })
    }

    /// What the start found.
    #[must_use]
    pub const fn started(&self) -> &Started {
        &self.started
    }

    /// Serves until SIGTERM or SIGINT, then finishes what runs and closes the store. SIGHUP seals the runbooks anew.
    ///
    /// # Errors
    /// When the listener fails.
    pub async fn serve(self) -> Result<(), Problems> {
        let Self { boundary, ledger, listener, control, config, signals, newest_roster, lock, .. } = self;
        let Signals { hangup, mut end, mut interrupt } = signals;
        let broken =
            |error: &dyn std::fmt::Display| FileProblem::whole(&config.path, format!("serving ended: {error}"));
        // What was signed before the last end, and was not run, takes its way now.
        boundary.proposals.resume().await.map_err(|stopped| broken(&stopped))?;
        let beside = [
            tokio::spawn(control::serve(control, boundary.clone(), config.runbooks.clone())),
            tokio::spawn(reseal_on(hangup, boundary.clone(), config.runbooks.clone())),
            tokio::spawn(boundary.housekeeping.clone().keep_house()),
            tokio::spawn(watch_rosters(boundary.clone(), config.clone(), newest_roster)),
            tokio::spawn(kept::keep(ledger.clone(), config.kept_checkpoint())),
            tokio::spawn(witnessing::keep_witnessed(boundary.clone())),
        ];
        let rates = Rates::of_calls(config.calls_per_second);
        let max_connections = descriptors::share(config.runs).connections;
        let face = HttpConfig { allowed_hosts: config.hosts.clone(), max_connections, rates, drain: DRAIN };
        let shutdown = async move {
            tokio::select! { _ = end.recv() => {}, _ = interrupt.recv() => {} }
            tracing::info!("asked to end: taking no more requests, finishing what runs");
        };
        let served = http::serve(listener, boundary.clone(), face, shutdown).await;
        for task in beside {
            task.abort();
        }
        let _ = std::fs::remove_file(config.socket());
        boundary.housekeeping.drain(DRAIN).await;
        if let Err(error) = kept::write(&ledger, &config.kept_checkpoint()) {
            tracing::error!("the last checkpoint is not kept: {error}");
        }
        // Only now: the store is closed.
        drop(lock);
        served.map_err(|error| broken(&error))?;
        Ok(())
    }
}

/// Answers one request of the control socket where no service runs, with the store itself, and gives what an operator should
/// know then. Recovers nothing: only a
/// service does (rule R6). Puts nothing in force but what is asked for: a version of the roster that is signed, runbooks
/// and settings wait for a start, which says what it takes.
///
/// # Errors
/// Everything that would keep the boundary from starting, and that another process holds the store.
pub fn answer_offline(config: Config, request: ControlRequest) -> Result<(ControlReply, Vec<String>), Problems> {
    rustix::process::umask(rustix::fs::Mode::from_bits_truncate(0o077));
    if matches!(request, ControlRequest::TokenList) && !start::has_store(&config)? {
        // A question begins no log.
        return Ok((ControlReply::Ok(json!([])), Vec::new()));
    }
    start::check_clock(&config)?;
    let files = BoundaryFiles::read(&config)?;
    let store = start::take_store(&config)?;
    let sandbox = Arc::new(start::sandbox(&config)?);
    let broken =
        |error: &dyn std::fmt::Display| Problems::from(FileProblem::whole(&config.database, error.to_string()));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| broken(&error))?;
    runtime.block_on(async {
        let AssembledBoundary { boundary, ledger, lock: _lock, .. } =
            start::assemble(&config, sandbox, store, files, TakenChanges::Nothing).await?;
        let answer = control::answer(&boundary, &config.runbooks, request).await;
        kept::write(&ledger, &config.kept_checkpoint()).map_err(|error| broken(&error))?;
        ledger.close().await.map_err(|fault| broken(&fault))?;
        Ok((answer, boundary.health.notes()))
    })
}

/// A signal while recovery writes receipts.
fn stopped_in_recovery(config: &Config) -> FileProblem {
    let what = "a signal ended the start before all interrupted runs had their receipts: the next start writes them";
    FileProblem::whole(&config.database, what.to_owned())
}

async fn listen(config: &Config) -> Result<TcpListener, FileProblem> {
    TcpListener::bind(config.listen).await.map_err(|error| {
        FileProblem::whole(
            &config.path,
            format!("can't listen on {} ({error}): end what listens there, or change `listen`", config.listen),
        )
    })
}

async fn reseal_on(mut hangup: Signal, boundary: Boundary, runbooks: Vec<PathBuf>) {
    while hangup.recv().await.is_some() {
        match boundary.sealing.reseal(runbooks.clone(), rustix::process::geteuid().as_raw()).await {
            Ok(true) => tracing::info!(seal = boundary.crossing.state().seal.number, "runbooks sealed anew"),
            Ok(false) => tracing::info!("runbooks are as sealed"),
            Err(stopped) => tracing::error!("{stopped}"),
        }
    }
}

/// Looks for versions of the roster that people sign while the boundary serves: they wait for a start, and are told.
async fn watch_rosters(boundary: Boundary, config: Config, newest: u64) {
    let mut every = tokio::time::interval(ROSTERS_EVERY);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut told = Vec::new();
    loop {
        every.tick().await;
        let (state, config) = (boundary.crossing.state(), config.clone());
        let look = move || succession::notes_while_serving(&config, &state.rosters, newest);
        if let Ok(notes) = tokio::task::spawn_blocking(look).await {
            if notes != told {
                notes.iter().for_each(|note| tracing::info!("{note}"));
                told.clone_from(&notes);
            }
            boundary.health.set_roster_notes(notes);
        }
    }
}

/// How often files of later rosters are looked for: a note may be as old.
const ROSTERS_EVERY: Duration = Duration::from_secs(2);
/// How long runs may take to end by themselves at shutdown; then they are cancelled, and get their receipts too.
const DRAIN: Duration = Duration::from_secs(30);
