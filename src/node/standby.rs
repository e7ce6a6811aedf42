//! A node that waits for the role of the active node, or for its database. It answers each request that it is not active.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{net::TcpListener, task::JoinHandle};

use crate::{
    Config, InFile as _, ServedCertificate, StandbyKey,
    node::{open_store, serve::ReadHeads, service_manager::Notifier},
};
use boundary::{SeenNodes, StandbyReason, standby};
use client::FileSigner;
use documents::{Code, locked};
use reading::{FileProblem, Problems};
use store::{NodeLock, Role, Turn};

/// Pause between two attempts to become the active node.
const PAUSE: Duration = Duration::from_secs(1);
/// Pause after a start that the database ended, so that requests get an answer meanwhile.
const LONG_PAUSE: Duration = Duration::from_secs(5);

/// What a waiting node answers with.
pub struct Standby<'a> {
    pub config: &'a Config,
    pub certificate: Option<&'a ServedCertificate>,
    /// The listener that systemd passed.
    pub passed: Option<&'a std::net::TcpListener>,
    pub notifier: &'a Notifier,
    pub nodes: Option<Arc<SeenNodes>>,
    /// The reason to wait, for the log and for `/ready`.
    pub why: Arc<Mutex<StandbyReason>>,
}

impl Standby<'_> {
    /// Waits until this node is the active node. Meanwhile it answers requests with 503. `ended` is the reason why the
    /// database ended the start before.
    ///
    /// # Errors
    /// Returns an error if the database is another one or was changed by hand, or if the address of the service is not free.
    pub async fn wait(
        &self,
        lock: &NodeLock,
        key: &FileSigner,
        ended: Option<String>,
    ) -> Result<Role, Problems> {
        let problem = |what: &dyn std::fmt::Display| {
            Problems::from(FileProblem::of_store(&self.config.database, what))
        };
        let mut candidate = open_store::candidate(self.config, lock, key)?;
        let mut sealed_key = StandbyKey::new(self.config, key);
        let mut heads = ReadHeads::new(self.config, key)?;
        let mut answering = None;
        if let Some(why) = ended {
            self.tell(Code::Database, why);
            answering = Some(self.answer().await?);
            tokio::time::sleep(LONG_PAUSE).await;
        }
        loop {
            let attempt = move || {
                let mut turn = candidate.attempt(&mut || sealed_key.waits());
                if matches!(turn, Ok(Turn::Waits(_))) {
                    turn = heads.keep().and(turn);
                }
                (turn, candidate, sealed_key, heads)
            };
            let mut attempt = tokio::task::spawn_blocking(attempt);
            // The database can take long to answer.
            let early = tokio::time::timeout(PAUSE, &mut attempt).await;
            if early.is_err() && answering.is_none() {
                answering = Some(self.answer().await?);
            }
            let done = match early {
                Ok(done) => done,
                Err(_) => attempt.await,
            };
            let turn;
            (turn, candidate, sealed_key, heads) = done.map_err(|error| problem(&error))?;
            match turn {
                Ok(Turn::Active(role)) => {
                    if let Some(task) = answering {
                        let task: JoinHandle<Infallible> = task;
                        task.abort();
                        // The listener must be closed before the service listens on the same address.
                        let _ = task.await;
                    }
                    return Ok(role);
                }
                Ok(Turn::Waits(why)) => self.tell(Code::Standby, why),
                Err(fault) if fault.is_unreachable() => {
                    self.tell(Code::Database, fault.to_string())
                }
                Err(fault) => return Err(problem(&fault)),
            }
            if answering.is_none() {
                answering = Some(self.answer().await?);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    fn tell(&self, code: Code, why: String) {
        let new = StandbyReason { code, why };
        let mut known = locked(&self.why);
        if *known != new {
            tracing::info!("not active: {}", new.why);
            self.notifier.ready(&format!("not active: {}", new.why));
            *known = new;
        }
    }

    /// Listens, and answers requests with the reason to wait.
    async fn answer(&self) -> Result<JoinHandle<Infallible>, FileProblem> {
        let config = self.config;
        let listener = match self.passed {
            Some(passed) => passed.try_clone().and_then(TcpListener::from_std),
            None => TcpListener::bind(config.listen).await,
        };
        let listener = listener
            .map_err(|error| format!("can't listen on {} ({error})", config.listen))
            .at(&config.path)?;
        let tls = self.certificate.map(ServedCertificate::server);
        Ok(tokio::spawn(standby::serve(
            listener,
            tls,
            self.why.clone(),
            self.nodes.clone(),
        )))
    }
}
