//! The service: start, recovery, requests and shutdown.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde_json::json;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tracing::{error, info, warn};

use crate::{
    AssembledBoundary, BoundaryFiles, Config, ControlReply, ControlRequest, InFile as _,
    InStore as _, RunbookWatch, ServedAddress, ServedCertificate, ServiceManager, TakenChanges,
    node::{
        control, descriptors, host_sandbox, kept_checkpoint, notifying, open_store, places,
        roster_succession, runbook_watch, service_manager::Notifier, sockets::Listeners, start,
        watchdog, witnessing,
    },
};
use boundary::{Boundary, HttpConfig, Rates, http, metrics_listener};
use documents::{BoundaryName, RosterDigest, SealDigest};
use reading::{FileProblem, Problems};
use store::{ReadRole, RoleState};

/// A boundary that is ready to serve. The store is locked, interrupted runs have receipts, and the sockets are open.
pub struct Node {
    // If the service never serves, the file of the control socket is deleted before the lock is released.
    pub(super) listeners: Listeners,
    pub(super) assembled: AssembledBoundary,
    pub(super) config: Config,
    pub(super) started: Started,
    pub(super) signals: ServiceSignals,
    pub(super) certificate: Option<ServedCertificate>,
    pub(super) manager: ServiceManager,
    /// Returns the state of the role of this node.
    pub(super) role_state: Arc<ReadRole>,
}

/// Signals to the service. The handlers are installed before the store is opened, so that no signal is lost.
pub struct ServiceSignals {
    pub hangup: Signal,
    pub end: Signal,
    pub interrupt: Signal,
}

impl ServiceSignals {
    /// Waits until a signal ends the service.
    pub async fn ended(&mut self) {
        tokio::select! {
            _ = self.end.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// Installs the handlers.
    pub fn listen(config: &Config) -> Result<Self, FileProblem> {
        let watch = |kind| {
            signal(kind)
                .map_err(|error| format!("the signal handlers can't be installed: {error}"))
                .at(&config.path)
        };
        Ok(Self {
            hangup: watch(SignalKind::hangup())?,
            end: watch(SignalKind::terminate())?,
            interrupt: watch(SignalKind::interrupt())?,
        })
    }
}

/// Result of a start, for the operator.
#[derive(Serialize)]
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
    /// Returns the result of the start, for the operator.
    pub fn started(&self) -> &Started {
        &self.started
    }

    /// Serves until SIGTERM or SIGINT, then waits for the current runs and closes the store. On SIGHUP the service
    /// reads the runbooks again and seals them; with several nodes it only reports what differs. `watch` states what
    /// the service does if a runbook changes without SIGHUP.
    ///
    /// # Errors
    /// Returns an error if the HTTP listener fails.
    pub async fn serve(self, watch: Option<RunbookWatch>) -> Result<(), Problems> {
        let Self {
            listeners,
            assembled,
            config,
            started,
            signals,
            certificate,
            manager,
            role_state,
        } = self;
        let AssembledBoundary {
            boundary, ledger, ..
        } = &assembled;
        let ServiceSignals {
            hangup,
            mut end,
            mut interrupt,
        } = signals;
        let serving = format!("serving {} on {}", started.name, started.url);
        manager.notifier.ready(&serving);
        // Continue the proposals that had enough signatures but did not run before the last shutdown.
        let resumed = tokio::select! {
            resumed = boundary.proposals.resume() => resumed,
            never = watchdog::keep_alive(&manager, ledger) => match never {},
        };
        resumed
            .map_err(|stopped| format!("serving ended: {stopped}"))
            .at(&config.path)?;
        let mut beside = JoinSet::new();
        if let Some(watch) = watch {
            beside.spawn(runbook_watch::keep_watching(
                boundary.clone(),
                config.runbook_directories(),
                watch,
            ));
        }
        let renewed = Arc::new(Notify::new());
        let tls = certificate.as_ref().map(ServedCertificate::server);
        let address = listeners
            .http
            .local_addr()
            .ok()
            .map(|listen| ServedAddress {
                listen,
                tls: tls.is_some(),
            });
        if let Some(served) = certificate {
            beside.spawn(served.keep(boundary.clone(), renewed.clone()));
        }
        if let Some(listener) = listeners.metrics {
            let (monitoring, hosts) = (boundary.monitoring.clone(), config.hosts.clone());
            beside.spawn(async move {
                if let Err(error) = metrics_listener::serve(listener, monitoring, &hosts).await {
                    error!("metrics are not served: {error}");
                }
            });
        }
        beside.spawn(control::serve(
            listeners.control,
            boundary.clone(),
            config.clone(),
            address,
        ));
        beside.spawn(reseal_on(
            hangup,
            boundary.clone(),
            config.clone(),
            renewed.clone(),
            (manager.notifier.clone(), serving),
        ));
        beside.spawn(boundary.housekeeping.clone().keep_house());
        beside.spawn(boundary.proposals.clone().follow_sessions());
        beside.spawn(watch_rosters(
            boundary.clone(),
            config.clone(),
            assembled.newest_roster,
        ));
        beside.spawn(kept_checkpoint::keep(
            ledger.clone(),
            config.kept_checkpoint(),
        ));
        beside.spawn(witnessing::keep_witnessed(
            boundary.clone(),
            config.proxy.clone(),
        ));
        if config.database.node().is_some() {
            beside.spawn(close_overdue(boundary.clone()));
        }
        if let Err(error) = notifying::start(boundary, ledger, &config) {
            error!("no messages are sent: {error}");
        }
        let rates = Rates::of_calls(config.limits.calls_per_second);
        let max_connections = descriptors::share(config.limits.runs).connections;
        let settings = HttpConfig {
            allowed_hosts: config.hosts.clone(),
            max_connections,
            rates,
            drain: DRAIN,
            tls,
            mcp: config.mcp,
        };
        let ending = Notify::new();
        let shutdown = async {
            tokio::select! {
                _ = end.recv() => info!("received a signal to end: refusing new requests and waiting for current runs"),
                _ = interrupt.recv() => info!("interrupted: refusing new requests and waiting for current runs"),
                () = role_ends(&role_state) => {
                    error!("another node has taken over: refusing new requests and waiting for current runs");
                }
            }
            manager.notifier.stopping();
            ending.notify_one();
        };
        let serve_and_drain = async {
            let served = http::serve(listeners.http, boundary.clone(), settings, shutdown).await;
            beside.abort_all();
            drop(listeners.control_file);
            boundary.housekeeping.drain(DRAIN).await;
            served
        };
        let extend_end = async {
            ending.notified().await;
            watchdog::extend(&manager.notifier, ledger, Some(LONGEST_END)).await
        };
        let served = tokio::select! {
            served = serve_and_drain => served,
            never = watchdog::keep_alive(&manager, ledger) => match never {},
            never = extend_end => match never {},
        };
        if let Err(error) = kept_checkpoint::write(ledger, &config.kept_checkpoint()) {
            error!("the last checkpoint can't be written: {error}");
        }
        // Release the host lock only after the store is closed.
        drop(assembled);
        served
            .map_err(|error| format!("serving ended: {error}"))
            .at(&config.path)?;
        if role_state() == RoleState::Lost {
            let why =
                "serving ended: another node has taken over: start this node again, as a standby";
            return Err(FileProblem::whole(&config.path, why).into());
        }
        Ok(())
    }
}

/// Writes the receipts of runs that other nodes started and can't end any more.
async fn close_overdue(boundary: Boundary) {
    let mut every = watchdog::every(OVERDUE_EVERY);
    loop {
        every.tick().await;
        match boundary.crossing.close_overdue().await {
            Ok(0) => {}
            Ok(count) => warn!(
                count,
                "runs of other nodes got receipts with the outcome unknown"
            ),
            Err(stopped) => error!("runs of other nodes can't be closed: {stopped}"),
        }
    }
}

/// Completes when another node has taken over.
async fn role_ends(role: &ReadRole) {
    while role() != RoleState::Lost {
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// Executes one request of the control socket directly on the store, if no service runs. Returns the answer and notes
/// for the operator. Interrupted runs are not recovered, because only a service may do so (rule R6). Only a request to
/// seal puts changed files in force.
///
/// # Errors
/// Returns all reasons why the boundary could not start, also if another process has locked the store.
pub fn answer_offline(
    config: Config,
    request: ControlRequest,
) -> Result<(ControlReply, Vec<String>), Problems> {
    places::hide_new_files();
    if matches!(request, ControlRequest::TokenList) && !open_store::has_log(&config)? {
        // A read request must not begin a log.
        return Ok((ControlReply::Ok(json!([])), Vec::new()));
    }
    start::check_clock(&config)?;
    let files = BoundaryFiles::read(&config)?;
    let role = open_store::role_of_command(&config, &files.key)?;
    let store = open_store::take_store(&config, role)?;
    let opened_sandbox = host_sandbox::sandbox(&config)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .at(&config.path)?;
    runtime.block_on(async {
        let AssembledBoundary {
            boundary,
            ledger,
            lock: _lock,
            ..
        } = start::assemble(
            &config,
            opened_sandbox,
            store,
            files,
            TakenChanges::Nothing,
            std::future::ready(Ok(())),
        )
        .await?
        .0;
        let answer = control::answer(&boundary, &config, None, request).await;
        let kept = config.kept_checkpoint();
        kept_checkpoint::write(&ledger, &kept).at(&kept)?;
        ledger.close().await.in_store(&config.database)?;
        Ok((answer, boundary.health.notes()))
    })
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
            // With several nodes, SIGHUP must not seal the files of one node: the signal may be meant only for the
            // certificate.
            boundary
                .sealing
                .tell_differences(config.runbook_directories())
                .await;
            notifier.ready(&serving);
            continue;
        }
        match boundary.sealing.reseal(config.runbook_directories()).await {
            Ok(true) => info!(
                seal = boundary.crossing.state().seal.number,
                "runbooks sealed again"
            ),
            Ok(false) => info!("runbooks are as sealed"),
            Err(stopped) => error!("{stopped}"),
        }
        notifier.ready(&serving);
    }
}

/// Notes newly signed versions of the roster while the service runs. They take effect at the next start or seal.
async fn watch_rosters(boundary: Boundary, config: Config, newest: u64) {
    let mut every = watchdog::every(ROSTERS_EVERY);
    let mut told = Vec::new();
    loop {
        every.tick().await;
        let (state, config) = (boundary.crossing.state(), config.clone());
        let in_force = state.roster.version();
        let look = move || roster_succession::notes_while_serving(&config, &state.rosters, newest);
        if let Ok(notes) = tokio::task::spawn_blocking(look).await {
            if notes != told {
                notes.iter().for_each(|note| info!("{note}"));
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
