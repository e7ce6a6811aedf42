//! The service: start, recovery, requests and shutdown.

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
use crate::node::file_problem::{FileProblem, Problems};
use crate::node::files::BoundaryFiles;
use crate::node::host_lock::HostLock;
use crate::node::runbook_watch::{self, RunbookWatch};
use crate::node::start::{self, AssembledBoundary, TakenChanges};
use crate::node::{descriptors, kept_checkpoint, memory, roster_succession, witnessing};
use crate::record::ident::BoundaryName;
use crate::registry::runbook_directories::RunbookDirectories;
use crate::sandbox::Sandbox;
use crate::sandbox::linux::LinuxSandbox;
use crate::store::ledger::Ledger;

/// A boundary that is ready to serve. The store is locked, interrupted runs have receipts, and the sockets are open.
pub struct Node {
    boundary: Boundary,
    ledger: Ledger,
    listener: TcpListener,
    control: tokio::net::UnixListener,
    config: Config,
    started: Started,
    signals: Signals,
    /// Newest roster version that had enough signatures at the start.
    newest_roster: u64,
    lock: HostLock,
}

/// Signals to the service. The handlers are installed before the store is opened, so that no signal is lost.
struct Signals {
    hangup: Signal,
    end: Signal,
    interrupt: Signal,
}

/// Result of a start, for the operator.
#[derive(Debug, Clone, Serialize)]
pub struct Started {
    /// URL of the HTTP interface.
    pub url: String,
    /// Name of the boundary.
    pub name: BoundaryName,
    /// Id of the boundary.
    pub id: SealDigest,
    /// Number of the seal in force.
    pub seal: u64,
    /// Number of steps.
    pub steps: usize,
    /// Digest of the roster. Auditors pin this digest.
    pub roster: RosterDigest,
    /// Sandbox level that this host supports.
    pub sandbox: String,
    /// True if this start began the log.
    pub first: bool,
    /// Number of interrupted runs that got the outcome `unknown`.
    pub recovered: usize,
    /// Notes for the operator.
    pub notes: Vec<String>,
    /// Path of the control socket.
    pub control: PathBuf,
}

impl Node {
    /// Reads all files, locks the store, recovers interrupted runs, and opens the sockets.
    ///
    /// # Errors
    /// Returns all reasons why the boundary cannot start.
    pub async fn open(config: Config) -> Result<Self, Problems> {
        Self::open_with(config, |sandbox| Arc::new(sandbox)).await
    }

    /// Does the same as [`Node::open`], but passes the sandbox through `around`. Benchmarks use this function.
    ///
    /// # Errors
    /// Returns all reasons why the boundary cannot start.
    pub async fn open_with(
        config: Config,
        around: impl FnOnce(LinuxSandbox) -> Arc<dyn Sandbox>,
    ) -> Result<Self, Problems> {
        // New files must not be accessible to other users.
        rustix::process::umask(rustix::fs::Mode::from_bits_truncate(0o077));
        memory::make_private().map_err(|error| {
            FileProblem::whole(&config.path, format!("the memory of the service can't be made private: {error}"))
        })?;
        let watch = |kind| {
            signal(kind).map_err(|error| {
                FileProblem::whole(
                    &config.path,
                    format!(
                        "the signal handlers can't be \
                installed: {error}"
                    ),
                )
            })
        };
        let mut signals = Signals {
            hangup: watch(SignalKind::hangup())?,
            end: watch(SignalKind::terminate())?,
            interrupt: watch(SignalKind::interrupt())?,
        };
        start::check_clock(&config)?;
        let files = BoundaryFiles::read(&config)?;
        // Take the lock before the cleanup, because another service may use these files.
        let store = start::take_store(&config)?;
        let sandbox = around(start::sandbox(&config)?);
        let AssembledBoundary { boundary, ledger, level, first, notes, newest_roster, lock } =
            start::assemble(&config, sandbox, store, files, TakenChanges::Changes).await?;
        let broken = |stopped: Stopped| {
            FileProblem::whole(&config.database, format!("recovery failed, nothing was started: {stopped}"))
        };
        // All processes of earlier runs were killed when the sandbox was prepared. Write the receipts of interrupted
        // runs before the first request (rule R6).
        let recovered = tokio::select! {
            recovered = boundary.crossing.recover() => recovered.map_err(broken)?,
            // On a full disk the recovery waits without a time limit. The next start writes the missing receipts.
            _ = signals.end.recv() => return Err(stopped_in_recovery(&config).into()),
            _ = signals.interrupt.recv() => return Err(stopped_in_recovery(&config).into()),
        };
        memory::release_freed_memory();
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

    /// Returns the result of the start, for the operator.
    #[must_use]
    pub const fn started(&self) -> &Started {
        &self.started
    }

    /// Serves until SIGTERM or SIGINT, then waits for the current runs and closes the store. On SIGHUP the service
    /// reads the runbooks again and seals them. `watch` states what the service does if a runbook changes without SIGHUP.
    ///
    /// # Errors
    /// Returns an error if the HTTP listener fails.
    pub async fn serve(self, watch: Option<RunbookWatch>) -> Result<(), Problems> {
        let Self { boundary, ledger, listener, control, config, signals, newest_roster, lock, .. } = self;
        let Signals { hangup, mut end, mut interrupt } = signals;
        let broken =
            |error: &dyn std::fmt::Display| FileProblem::whole(&config.path, format!("serving ended: {error}"));
        // Continue the proposals that had enough signatures but did not run before the last shutdown.
        boundary.proposals.resume().await.map_err(|stopped| broken(&stopped))?;
        let watching = watch.map(|watch| {
            tokio::spawn(runbook_watch::keep_watching(boundary.clone(), config.runbook_directories(), watch))
        });
        let beside = [
            tokio::spawn(control::serve(control, boundary.clone(), config.runbook_directories())),
            tokio::spawn(reseal_on(hangup, boundary.clone(), config.runbook_directories())),
            tokio::spawn(boundary.housekeeping.clone().keep_house()),
            tokio::spawn(watch_rosters(boundary.clone(), config.clone(), newest_roster)),
            tokio::spawn(kept_checkpoint::keep(ledger.clone(), config.kept_checkpoint())),
            tokio::spawn(witnessing::keep_witnessed(boundary.clone())),
        ];
        let rates = Rates::of_calls(config.calls_per_second);
        let max_connections = descriptors::share(config.runs).connections;
        let face = HttpConfig { allowed_hosts: config.hosts.clone(), max_connections, rates, drain: DRAIN };
        let shutdown = async move {
            tokio::select! { _ = end.recv() => {}, _ = interrupt.recv() => {} }
            tracing::info!("received a signal to end: refusing new requests and waiting for current runs");
        };
        let served = http::serve(listener, boundary.clone(), face, shutdown).await;
        for task in beside.into_iter().chain(watching) {
            task.abort();
        }
        let _ = std::fs::remove_file(config.socket());
        boundary.housekeeping.drain(DRAIN).await;
        if let Err(error) = kept_checkpoint::write(&ledger, &config.kept_checkpoint()) {
            tracing::error!("the last checkpoint can't be written: {error}");
        }
        // Release the host lock only after the store is closed.
        drop(lock);
        served.map_err(|error| broken(&error))?;
        Ok(())
    }
}

/// Executes one request of the control socket directly on the store, if no service runs. Returns the answer and notes
/// for the operator. Interrupted runs are not recovered, because only a service may do so (rule R6). Changed files are
/// not put in force, because only a start of the service may do so.
///
/// # Errors
/// Returns all reasons why the boundary could not start, also if another process has locked the store.
pub fn answer_offline(config: Config, request: ControlRequest) -> Result<(ControlReply, Vec<String>), Problems> {
    rustix::process::umask(rustix::fs::Mode::from_bits_truncate(0o077));
    if matches!(request, ControlRequest::TokenList) && !start::has_store(&config)? {
        // A read request must not begin a log.
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
        let answer = control::answer(&boundary, &config.runbook_directories(), request).await;
        kept_checkpoint::write(&ledger, &config.kept_checkpoint()).map_err(|error| broken(&error))?;
        ledger.close().await.map_err(|fault| broken(&fault))?;
        Ok((answer, boundary.health.notes()))
    })
}

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

async fn reseal_on(mut hangup: Signal, boundary: Boundary, runbooks: RunbookDirectories) {
    while hangup.recv().await.is_some() {
        match boundary.sealing.reseal(runbooks.clone()).await {
            Ok(true) => tracing::info!(seal = boundary.crossing.state().seal.number, "runbooks sealed anew"),
            Ok(false) => tracing::info!("runbooks are as sealed"),
            Err(stopped) => tracing::error!("{stopped}"),
        }
    }
}

/// Looks for newly signed versions of the roster while the service runs. They take effect at the next start, so the
/// operator only gets a note.
async fn watch_rosters(boundary: Boundary, config: Config, newest: u64) {
    let mut every = tokio::time::interval(ROSTERS_EVERY);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut told = Vec::new();
    loop {
        every.tick().await;
        let (state, config) = (boundary.crossing.state(), config.clone());
        let look = move || roster_succession::notes_while_serving(&config, &state.rosters, newest);
        if let Ok(notes) = tokio::task::spawn_blocking(look).await {
            if notes != told {
                notes.iter().for_each(|note| tracing::info!("{note}"));
                told.clone_from(&notes);
            }
            boundary.health.set_roster_notes(notes);
        }
    }
}

/// Interval between two searches for new roster files.
const ROSTERS_EVERY: Duration = Duration::from_secs(2);
/// Maximum time at shutdown for runs in progress. After this time the service cancels them and writes their receipts.
const DRAIN: Duration = Duration::from_secs(30);
