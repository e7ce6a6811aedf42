//! Starts the service, up to the point at which it can serve. If the database server can't be used now, the node stands
//! by.

use std::sync::Arc;

use crate::{
    AssembledBoundary, BoundaryFiles, Config, InFile as _, Node, ServedCertificate, ServiceManager,
    Started, TakenChanges,
    node::{
        host_sandbox, listener, memory, open_store, places,
        serve::ServiceSignals,
        service_manager::Notifier,
        sockets::{self, BoundSockets},
        standby::Standby,
        start, watchdog,
    },
};
use boundary::{NoteSource, SeenNodes};
use client::now;
use crossing::Stopped;
use documents::Code;
use reading::{FileProblem, Problems};
use sandbox::Starter;

impl Node {
    /// Reads all files, waits for the role, locks the store, opens the sockets, and recovers interrupted runs.
    ///
    /// # Errors
    /// Returns all reasons why the boundary cannot start.
    pub async fn open(config: Config, manager: ServiceManager) -> Result<Self, Problems> {
        Self::open_with(config, manager, |starter| starter).await
    }

    /// Does the same as [`Node::open`], but passes the `Starter` through `around`. Benchmarks use this function.
    ///
    /// # Errors
    /// Returns all reasons why the boundary cannot start.
    pub async fn open_with(
        mut config: Config,
        mut manager: ServiceManager,
        around: impl Fn(Starter) -> Starter,
    ) -> Result<Self, Problems> {
        let mut opening = Some(watchdog::extend_opening(&manager.notifier));
        // New files must not be accessible to other users.
        places::hide_new_files();
        memory::make_private()
            .map_err(|error| format!("the memory of the service can't be made private: {error}"))
            .at(&config.path)?;
        let mut signals = ServiceSignals::listen(&config)?;
        start::check_clock(&config)?;
        let configured = config.listen;
        let passed = sockets::passed(&mut config, &mut manager)?;
        manager.notifier.status("reading the files and the store");
        let (mut files, certificate) = read_files(&config)?;
        // Take the lock before the cleanup, because another service may use these files.
        let nodes = seen_nodes(&config)?;
        let lock = open_store::lock_node(&config)?;
        let standby = Standby {
            config: &config,
            certificate: certificate.as_ref(),
            passed: passed.as_ref(),
            notifier: &manager.notifier,
            nodes: nodes.clone(),
            why: Arc::default(),
        };
        let mut ended = None;
        let (assembled, bound, role_state, recovered) = loop {
            let role = tokio::select! {
                role = standby.wait(&lock, &files.key, ended.take()) => role?,
                () = signals.ended() => {
                    let what = "a signal ended this node before it became the active node";
                    return Err(FileProblem::of_store(&config.database, what).into());
                }
            };
            let bind = async {
                let again = passed
                    .as_ref()
                    .map(std::net::TcpListener::try_clone)
                    .transpose();
                BoundSockets::bind(&config, again.at(&config.path)?)
            };
            let assembled = async {
                let role_state = Arc::new(role.state());
                let store = open_store::take_store(&config, role)?;
                let (sandbox, starter) = host_sandbox::sandbox(&config)?;
                let opened = (sandbox, around(starter));
                let takes = TakenChanges::Changes;
                let assembled = start::assemble(&config, opened, store, files, takes, bind).await?;
                Ok::<_, Problems>((assembled, role_state))
            };
            let assembled = assembled.await;
            drop(opening.take());
            // Values are dropped in the reverse order. If the start fails, the file of the control socket is deleted before
            // the lock is released, so that this process does not delete the file of the next service.
            let recovered = async {
                let ((assembled, bound), role_state) = assembled?;
                let recovered =
                    recover(&assembled, &config, &manager.notifier, &mut signals).await?;
                Ok::<_, Problems>((assembled, bound, role_state, recovered))
            };
            match recovered.await {
                Ok(active) => break active,
                Err(problems) if problems.can_pass() || is_unreachable(&config) => {
                    ended = Some(problems.to_string());
                    files = BoundaryFiles::read_to_serve(&config)?;
                }
                Err(problems) => return Err(problems),
            }
        };
        drop(standby);
        let boundary = &assembled.boundary;
        let mut notes = assembled.notes.clone();
        if let Some(nodes) = nodes {
            boundary.health.set_nodes(nodes, role_state.clone());
        }
        let of_listener = boundary
            .health
            .set(NoteSource::Listener, listener::notes(&config));
        of_listener.iter().for_each(|note| tracing::warn!("{note}"));
        notes.extend(of_listener);
        if config.listen != configured && configured.port() != 0 {
            notes.push(format!(
                "the socket that systemd passed is {}, so `listen` ({configured}) is not used",
                config.listen
            ));
        }
        let listeners = bound.listen(&config)?;
        memory::release_freed_memory();
        let state = boundary.crossing.state();
        let started = Started {
            url: format!(
                "{}://{}",
                if certificate.is_some() {
                    "https"
                } else {
                    "http"
                },
                listeners.http.local_addr().unwrap_or(config.listen)
            ),
            name: config.name.clone(),
            id: state.boundary.id,
            seal: state.seal.number,
            steps: state.registry.steps().len(),
            roster: state.roster.digest(),
            sandbox: assembled.level.to_string(),
            first: assembled.first,
            recovered,
            notes,
            control: config.socket(),
            metrics: listeners
                .metrics
                .as_ref()
                .and_then(|listener| listener.local_addr().ok())
                .map(|address| format!("http://{address}/metrics")),
        };
        Ok(Self {
            listeners,
            assembled,
            config,
            started,
            signals,
            certificate,
            manager,
            role_state,
        })
    }
}

/// Writes the receipts of interrupted runs before the first request (rule R6). All processes of earlier runs were killed
/// when the sandbox was prepared.
async fn recover(
    assembled: &AssembledBoundary,
    config: &Config,
    notifier: &Notifier,
    signals: &mut ServiceSignals,
) -> Result<usize, FileProblem> {
    notifier.status("writing the receipts of interrupted runs");
    let broken = |stopped: Stopped| FileProblem {
        can_pass: matches!(&stopped, Stopped::Refused(refusal) if refusal.code == Code::Database),
        ..FileProblem::of_store(
            &config.database,
            format!("recovery failed, nothing was started: {stopped}"),
        )
    };
    tokio::select! {
        never = watchdog::extend(notifier, &assembled.ledger, None) => match never {},
        recovered = assembled.boundary.crossing.recover() => recovered.map_err(broken),
        // On a full disk the recovery waits without a time limit. The next start writes the missing receipts.
        () = signals.ended() => {
            let what = "a signal ended the start before all interrupted runs had their receipts: the next start writes them";
            Err(FileProblem::of_store(&config.database, what))
        }
    }
}

/// Returns true if the database server can't be used now, so that a failed start is tried again.
fn is_unreachable(config: &Config) -> bool {
    config.database.file().is_none()
        && config
            .database
            .at_rest()
            .is_err_and(|fault| fault.is_unreachable())
}

/// Begins to read the nodes of the boundary. Returns `None` if the store is a file.
fn seen_nodes(config: &Config) -> Result<Option<Arc<SeenNodes>>, FileProblem> {
    let database = &config.database;
    let (Some(me), Some(replicas), Some(reader)) =
        (database.node(), database.replicas(), database.nodes())
    else {
        return Ok(None);
    };
    let seen = SeenNodes::watch(me, replicas, reader);
    seen.map(Some).map_err(|error| {
        FileProblem::of_store(database, format!("no thread can be started: {error}"))
    })
}

/// Reads all files of the operator. The errors of all files are reported together.
fn read_files(config: &Config) -> Result<(BoundaryFiles, Option<ServedCertificate>), Problems> {
    let certificate = ServedCertificate::open(config, now());
    let mut problems: Vec<FileProblem> = listener::check(config).into_iter().collect();
    problems.extend(certificate.as_ref().err().into_iter().flatten().cloned());
    match (BoundaryFiles::read_to_serve(config), certificate) {
        (Ok(files), Ok(certificate)) if problems.is_empty() => {
            files.runbook_errors.iter().for_each(|error| {
                tracing::warn!("the runbooks of this node have an error: {error}")
            });
            Ok((files, certificate))
        }
        (files, _) => {
            problems.extend(files.err().iter().flat_map(|found| found.list().to_vec()));
            Err(Problems::new(problems))
        }
    }
}
