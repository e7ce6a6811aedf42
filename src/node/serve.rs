//! The service: start, recovery, requests and shutdown.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde_json::json;
use tokio::net::{TcpListener, UnixListener};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;

use crate::boundary::Boundary;
use crate::boundary::seen_nodes::SeenNodes;
use crate::http;
use crate::http::app::HttpConfig;
use crate::http::limit::Rates;
use crate::http::metrics_listener;
use crate::node::config::Config;
use crate::node::control::{self, ControlFile, ControlReply, ControlRequest, ServedAddress};
use crate::node::file_problem::{FileProblem, Problems};
use crate::node::files::BoundaryFiles;
use crate::node::host_lock::HostLock;
use crate::node::runbook_watch::{self, RunbookWatch};
use crate::node::served_certificate::ServedCertificate;
use crate::node::service_manager::{Notifier, ServiceManager};
use crate::node::sockets::{self, BoundSockets, Listeners};
use crate::node::start::{self, AssembledBoundary, TakenChanges};
use crate::node::{
    descriptors, host_sandbox, kept_checkpoint, listener, memory, notifying, open_store, roster_succession, standby,
    watchdog, witnessing,
};
use crate::seal::refusal::Stopped;
use crate::store::ledger::Ledger;
use crate::store::server::{ReadRole, RoleState};
use documents::crypto::digest::{RosterDigest, SealDigest};
use documents::record::ident::{BoundaryName, Nonce};
use sandbox::runs::Sandbox;
use sandbox::runs::linux::LinuxSandbox;
use wire::mcp::tool_calls::NewNonce;

/// A boundary that is ready to serve. The store is locked, interrupted runs have receipts, and the sockets are open.
pub struct Node {
    boundary: Boundary,
    ledger: Ledger,
    listener: TcpListener,
    metrics: Option<TcpListener>,
    control: UnixListener,
    /// Deletes the file of the control socket.
    control_file: ControlFile,
    config: Config,
    started: Started,
    signals: Signals,
    /// Newest roster version that had enough signatures at the start.
    newest_roster: u64,
    lock: HostLock,
    certificate: Option<ServedCertificate>,
    manager: ServiceManager,
    /// Returns the state of the role of this node.
    role_state: Arc<ReadRole>,
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
    /// URL of the listener for metrics, or `None` if the configuration has no such listener.
    pub metrics: Option<String>,
}

impl Node {
    /// Reads all files, locks the store, opens the sockets, and recovers interrupted runs.
    ///
    /// # Errors
    /// Returns all reasons why the boundary cannot start.
    pub async fn open(config: Config, manager: ServiceManager) -> Result<Self, Problems> {
        Self::open_with(config, manager, |sandbox| Arc::new(sandbox)).await
    }

    /// Does the same as [`Node::open`], but passes the sandbox through `around`. Benchmarks use this function.
    ///
    /// # Errors
    /// Returns all reasons why the boundary cannot start.
    pub async fn open_with(
        mut config: Config,
        mut manager: ServiceManager,
        around: impl FnOnce(LinuxSandbox) -> Arc<dyn Sandbox>,
    ) -> Result<Self, Problems> {
        let opening = watchdog::extend_opening(&manager.notifier);
        // New files must not be accessible to other users.
        rustix::process::umask(rustix::fs::Mode::from_bits_truncate(0o077));
        memory::make_private().map_err(|error| {
            FileProblem::whole(&config.path, format!("the memory of the service can't be made private: {error}"))
        })?;
        let watch = |kind| {
            signal(kind).map_err(|error| {
                FileProblem::whole(&config.path, format!("the signal handlers can't be installed: {error}"))
            })
        };
        let mut signals = Signals {
            hangup: watch(SignalKind::hangup())?,
            end: watch(SignalKind::terminate())?,
            interrupt: watch(SignalKind::interrupt())?,
        };
        start::check_clock(&config)?;
        let configured = config.listen;
        let passed = sockets::passed(&mut config, &mut manager)?;
        manager.notifier.status("reading the files and the store");
        let (files, certificate) = read_files(&config)?;
        // Take the lock before the cleanup, because another service may use these files.
        let nodes = seen_nodes(&config)?;
        let role = tokio::select! {
            role = standby::wait(&config, &files.key, certificate.as_ref(), passed.as_ref(), &manager.notifier, nodes.clone()) => role?,
            _ = signals.end.recv() => return Err(stopped_in_standby(&config).into()),
            _ = signals.interrupt.recv() => return Err(stopped_in_standby(&config).into()),
        };
        let role_state = Arc::new(role.state());
        let store = open_store::take_store(&config, role)?;
        let sandbox = around(host_sandbox::sandbox(&config)?);
        let (assembled, sockets) = start::assemble(&config, sandbox, store, files, TakenChanges::Changes, async {
            BoundSockets::bind(&config, passed)
        })
        .await?;
        let AssembledBoundary { boundary, ledger, level, first, mut notes, newest_roster, lock } = assembled;
        if let Some(nodes) = nodes {
            boundary.health.set_nodes(nodes, role_state.clone());
        }
        // Values are dropped in the reverse order. If the start fails, the file of the control socket must be deleted before
        // `lock` is released, so that this process does not delete the file of the next service.
        let bound = sockets;
        let listener_notes = listener::notes(&config);
        listener_notes.iter().for_each(|note| tracing::warn!("{note}"));
        boundary.health.add_notes(&listener_notes);
        notes.extend(listener_notes);
        if config.listen != configured && configured.port() != 0 {
            notes.push(format!(
                "the socket that systemd passed is {}, so `listen` ({configured}) is not used",
                config.listen
            ));
        }
        let broken = |stopped: Stopped| {
            FileProblem::of_store(&config.database, format!("recovery failed, nothing was started: {stopped}"))
        };
        // All processes of earlier runs were killed when the sandbox was prepared. Write the receipts of interrupted
        // runs before the first request (rule R6).
        manager.notifier.status("writing the receipts of interrupted runs");
        drop(opening);
        let recovered = tokio::select! {
            never = watchdog::extend(&manager.notifier, &ledger, None) => match never {},
            recovered = boundary.crossing.recover() => recovered.map_err(broken)?,
            // On a full disk the recovery waits without a time limit. The next start writes the missing receipts.
            _ = signals.end.recv() => return Err(stopped_in_recovery(&config).into()),
            _ = signals.interrupt.recv() => return Err(stopped_in_recovery(&config).into()),
        };
        let Listeners { http: listener, metrics, control, control_file } = bound.listen(&config)?;
        memory::release_freed_memory();
        let state = boundary.crossing.state();
        let started = Started {
            url: format!(
                "{}://{}",
                if certificate.is_some() { "https" } else { "http" },
                listener.local_addr().unwrap_or(config.listen)
            ),
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
            metrics: metrics
                .as_ref()
                .and_then(|listener| listener.local_addr().ok())
                .map(|address| format!("http://{address}/metrics")),
        };
        Ok(Self {
            boundary,
            ledger,
            listener,
            metrics,
            control,
            control_file,
            config,
            started,
            signals,
            newest_roster,
            lock,
            certificate,
            manager,
            role_state,
        })
    }

    /// Returns the result of the start, for the operator.
    #[must_use]
    pub const fn started(&self) -> &Started {
        &self.started
    }

    /// Serves until SIGTERM or SIGINT, then waits for the current runs and closes the store. On SIGHUP the service
    /// reads the runbooks again and seals them; with several nodes it only tells what differs. `watch` states what the service does if a runbook changes without SIGHUP.
    ///
    /// # Errors
    /// Returns an error if the HTTP listener fails.
    pub async fn serve(self, watch: Option<RunbookWatch>) -> Result<(), Problems> {
        let Self {
            boundary,
            ledger,
            listener,
            metrics,
            control,
            control_file,
            config,
            started,
            signals,
            newest_roster,
            lock,
            certificate,
            manager,
            role_state,
        } = self;
        let Signals { hangup, mut end, mut interrupt } = signals;
        let broken =
            |error: &dyn std::fmt::Display| FileProblem::whole(&config.path, format!("serving ended: {error}"));
        let serving = format!("serving {} on {}", started.name, started.url);
        manager.notifier.ready(&serving);
        // Continue the proposals that had enough signatures but did not run before the last shutdown.
        let resumed = tokio::select! {
            resumed = boundary.proposals.resume() => resumed,
            never = watchdog::keep_alive(&manager, &ledger) => match never {},
        };
        resumed.map_err(|stopped| broken(&stopped))?;
        let watching = watch.map(|watch| {
            tokio::spawn(runbook_watch::keep_watching(boundary.clone(), config.runbook_directories(), watch))
        });
        let renewed = Arc::new(Notify::new());
        let tls = certificate.as_ref().map(ServedCertificate::server);
        let address = listener.local_addr().ok().map(|listen| ServedAddress { listen, tls: tls.is_some() });
        let renewing = certificate.map(|served| tokio::spawn(served.keep(boundary.clone(), renewed.clone())));
        let scraped = metrics.map(|listener| {
            let (monitoring, hosts) = (boundary.monitoring.clone(), config.hosts.clone());
            tokio::spawn(async move {
                if let Err(error) = metrics_listener::serve(listener, monitoring, &hosts).await {
                    tracing::error!("metrics are not served: {error}");
                }
            })
        });
        let beside = [
            tokio::spawn(control::serve(control, boundary.clone(), config.clone(), address)),
            tokio::spawn(reseal_on(
                hangup,
                boundary.clone(),
                config.clone(),
                renewed.clone(),
                (manager.notifier.clone(), serving),
            )),
            tokio::spawn(boundary.housekeeping.clone().keep_house()),
            tokio::spawn(boundary.proposals.clone().follow_sessions()),
            tokio::spawn(watch_rosters(boundary.clone(), config.clone(), newest_roster)),
            tokio::spawn(kept_checkpoint::keep(ledger.clone(), config.kept_checkpoint())),
            tokio::spawn(witnessing::keep_witnessed(boundary.clone())),
            tokio::spawn(close_overdue(boundary.clone(), config.database.node().is_some())),
        ];
        if let Err(error) = notifying::start(&boundary, &ledger, &config.notify) {
            tracing::error!("no messages are sent: {error}");
        }
        let rates = Rates::of_calls(config.limits.calls_per_second);
        let max_connections = descriptors::share(config.limits.runs).connections;
        let mcp = config.mcp.then_some(mcp_nonce as NewNonce);
        let settings =
            HttpConfig { allowed_hosts: config.hosts.clone(), max_connections, rates, drain: DRAIN, tls, mcp };
        let ending = Notify::new();
        let shutdown = async {
            tokio::select! {
                _ = end.recv() => tracing::info!("received a signal to end: refusing new requests and waiting for current runs"),
                _ = interrupt.recv() => tracing::info!("interrupted: refusing new requests and waiting for current runs"),
                () = role_ends(&role_state) => {
                    tracing::error!("another node has taken over: refusing new requests and waiting for current runs");
                }
            }
            manager.notifier.stopping();
            ending.notify_one();
        };
        let serve_and_drain = async {
            let served = http::serve(listener, boundary.clone(), settings, shutdown).await;
            for task in beside.into_iter().chain(watching).chain(renewing).chain(scraped) {
                task.abort();
            }
            drop(control_file);
            boundary.housekeeping.drain(DRAIN).await;
            served
        };
        let extend_end = async {
            ending.notified().await;
            watchdog::extend(&manager.notifier, &ledger, Some(LONGEST_END)).await
        };
        let served = tokio::select! {
            served = serve_and_drain => served,
            never = watchdog::keep_alive(&manager, &ledger) => match never {},
            never = extend_end => match never {},
        };
        if let Err(error) = kept_checkpoint::write(&ledger, &config.kept_checkpoint()) {
            tracing::error!("the last checkpoint can't be written: {error}");
        }
        // Release the host lock only after the store is closed.
        drop(lock);
        served.map_err(|error| broken(&error))?;
        if role_state() == RoleState::Lost {
            return Err(broken(&"another node has taken over: start this node again, as a standby").into());
        }
        Ok(())
    }
}

/// Writes the receipts of runs that other nodes started and can't end any more.
async fn close_overdue(boundary: Boundary, has_nodes: bool) {
    if !has_nodes {
        return;
    }
    let mut every = tokio::time::interval(OVERDUE_EVERY);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        every.tick().await;
        match boundary.crossing.close_overdue().await {
            Ok(0) => {}
            Ok(count) => tracing::warn!(count, "runs of other nodes got receipts with the outcome unknown"),
            Err(stopped) => tracing::error!("runs of other nodes can't be closed: {stopped}"),
        }
    }
}

/// Completes when another node has taken over.
async fn role_ends(role: &ReadRole) {
    while role() != RoleState::Lost {
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// Begins to read the nodes of the boundary. Returns `None` with a store in a file.
fn seen_nodes(config: &Config) -> Result<Option<Arc<SeenNodes>>, FileProblem> {
    let database = &config.database;
    let (Some(me), Some(replicas), Some(reader)) = (database.node(), database.replicas(), database.nodes()) else {
        return Ok(None);
    };
    let seen = SeenNodes::watch(me, replicas, reader);
    seen.map(Some).map_err(|error| FileProblem::of_store(database, format!("no thread can be started: {error}")))
}

fn stopped_in_standby(config: &Config) -> FileProblem {
    FileProblem::of_store(&config.database, "a signal ended this node before it became the active node")
}

/// Executes one request of the control socket directly on the store, if no service runs. Returns the answer and notes
/// for the operator. Interrupted runs are not recovered, because only a service may do so (rule R6). Only a request to
/// seal puts changed files in force.
///
/// # Errors
/// Returns all reasons why the boundary could not start, also if another process has locked the store.
pub fn answer_offline(config: Config, request: ControlRequest) -> Result<(ControlReply, Vec<String>), Problems> {
    rustix::process::umask(rustix::fs::Mode::from_bits_truncate(0o077));
    if matches!(request, ControlRequest::TokenList) && !open_store::has_log(&config)? {
        // A read request must not begin a log.
        return Ok((ControlReply::Ok(json!([])), Vec::new()));
    }
    start::check_clock(&config)?;
    let files = BoundaryFiles::read(&config)?;
    let role = open_store::role_of_command(&config, &files.key)?;
    let store = open_store::take_store(&config, role)?;
    let sandbox = Arc::new(host_sandbox::sandbox(&config)?);
    let broken = |error: &dyn std::fmt::Display| Problems::from(FileProblem::of_store(&config.database, error));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| broken(&error))?;
    runtime.block_on(async {
        let AssembledBoundary { boundary, ledger, lock: _lock, .. } =
            start::assemble(&config, sandbox, store, files, TakenChanges::Nothing, std::future::ready(Ok(()))).await?.0;
        let answer = control::answer(&boundary, &config, None, request).await;
        kept_checkpoint::write(&ledger, &config.kept_checkpoint()).map_err(|error| broken(&error))?;
        ledger.close().await.map_err(|fault| broken(&fault))?;
        Ok((answer, boundary.health.notes()))
    })
}

/// Reads all files of the operator. The errors of all files are reported together.
fn read_files(config: &Config) -> Result<(BoundaryFiles, Option<ServedCertificate>), Problems> {
    let certificate = ServedCertificate::open(config, (start::surroundings().now)());
    let mut problems: Vec<FileProblem> = listener::check(config).into_iter().collect();
    problems.extend(certificate.as_ref().err().into_iter().flatten().cloned());
    match (BoundaryFiles::read_to_serve(config), certificate) {
        (Ok(files), Ok(certificate)) if problems.is_empty() => {
            files
                .runbook_errors
                .iter()
                .for_each(|error| tracing::warn!("the runbooks of this node have an error: {error}"));
            Ok((files, certificate))
        }
        (files, _) => {
            problems.extend(files.err().iter().flat_map(|found| found.list().to_vec()));
            Err(Problems::new(problems))
        }
    }
}

fn stopped_in_recovery(config: &Config) -> FileProblem {
    let what = "a signal ended the start before all interrupted runs had their receipts: the next start writes them";
    FileProblem::of_store(&config.database, what)
}

async fn reseal_on(
    mut hangup: Signal,
    boundary: Boundary,
    config: Config,
    renewed: Arc<Notify>,
    (notifier, serving): (Notifier, String),
) {
    while hangup.recv().await.is_some() {
        notifier.reloading();
        renewed.notify_one();
        if config.database.node().is_some() {
            // A signal that is meant for the certificate must not seal the files of one node.
            boundary.sealing.tell_differences(config.runbook_directories()).await;
            notifier.ready(&serving);
            continue;
        }
        match boundary.sealing.reseal(config.runbook_directories()).await {
            Ok(true) => tracing::info!(seal = boundary.crossing.state().seal.number, "runbooks sealed anew"),
            Ok(false) => tracing::info!("runbooks are as sealed"),
            Err(stopped) => tracing::error!("{stopped}"),
        }
        notifier.ready(&serving);
    }
}

/// Notes newly signed versions of the roster while the service runs. They take effect at the next start or seal.
async fn watch_rosters(boundary: Boundary, config: Config, newest: u64) {
    let mut every = tokio::time::interval(ROSTERS_EVERY);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut told = Vec::new();
    loop {
        every.tick().await;
        let (state, config) = (boundary.crossing.state(), config.clone());
        let in_force = state.roster.version();
        let look = move || roster_succession::notes_while_serving(&config, &state.rosters, newest);
        if let Ok(notes) = tokio::task::spawn_blocking(look).await {
            if notes != told {
                notes.iter().for_each(|note| tracing::info!("{note}"));
                told.clone_from(&notes);
            }
            boundary.health.set_roster_notes(in_force, notes);
        }
    }
}

/// Interval between two searches for runs of other nodes whose time limits have passed.
const OVERDUE_EVERY: Duration = Duration::from_secs(5);
/// Interval between two searches for new roster files.
const ROSTERS_EVERY: Duration = Duration::from_secs(2);
/// Maximum time at shutdown for runs in progress. After this time the service cancels them and writes their receipts.
const DRAIN: Duration = Duration::from_secs(30);
/// Maximum time at shutdown for which the service requests more time from systemd. A normal shutdown takes at most twice
/// [`DRAIN`]. If the disk is full, the receipts of the cancelled runs can't be written. systemd then kills the service,
/// and the next start writes these receipts.
const LONGEST_END: Duration = Duration::from_secs(120);

/// Makes the nonce of a proposal that arrives at `/mcp`.
fn mcp_nonce() -> Result<Nonce, String> {
    let surroundings = start::surroundings();
    let mut random = [0; 16];
    (surroundings.random)(&mut random);
    Ok(Nonce::new((surroundings.millis)(), random))
}
