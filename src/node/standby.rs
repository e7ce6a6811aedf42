//! A node that waits for the role of the active node, or for its database. The node answers each request with the error
//! that it is not active.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use tokio::{net::TcpListener, task::JoinHandle};

use crate::{
    Config, InFile as _, ServedCertificate, StandbyKey,
    node::{kept_checkpoint, open_store, service_manager::Notifier, start},
};
use boundary::{SeenNodes, StandbyReason, standby};
use client::FileSigner;
use documents::{Code, SealDigest, SshKey, locked, note};
use reading::{FileProblem, Problems};
use store::{
    Ledger, LedgerConfig, NodeLock, Role, StoreReads, StoreResult, Turn, refused, root_of,
};

/// Pause between two attempts to become the active node.
const PAUSE: Duration = Duration::from_secs(1);
/// Pause after the database ended a start. Meanwhile the node answers requests.
const LONG_PAUSE: Duration = Duration::from_secs(5);

/// The parts of a node that waits and answers requests.
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
    /// database ended the previous start.
    ///
    /// # Errors
    /// Returns an error if the database can be reached but not used, or if the address of the service is not free.
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
            // The database can take longer to answer, and requests need an answer meanwhile.
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

/// Pause between two reads. The pause between two signs of life of a node is the same.
const READ_PAUSE: Duration = Duration::from_secs(5);

/// Reads the newest signed checkpoint of the log on a node that stands by, and stores it on the disk of this node. The
/// node then detects a database that loses these entries, even if the other nodes lost their files.
pub struct ReadHeads {
    config: Config,
    settings: LedgerConfig,
    reads: Option<Arc<StoreReads>>,
    /// The keys of the boundary in the roster of this seal.
    keys: Option<(SealDigest, Vec<SshKey>)>,
    read_at: Option<Instant>,
}

impl ReadHeads {
    pub fn new(config: &Config, key: &FileSigner) -> Result<Self, Problems> {
        let settings = open_store::settings(config, key)?;
        Ok(Self {
            config: config.clone(),
            settings,
            reads: None,
            keys: None,
            read_at: None,
        })
    }

    /// Stores the newest checkpoint, if a key of the boundary signed it and the log has its root.
    ///
    /// # Errors
    /// Returns a fault if the log does not contain the kept checkpoint, or can't be read.
    pub fn keep(&mut self) -> StoreResult {
        if self.read_at.is_some_and(|at| at.elapsed() < READ_PAUSE) {
            return Ok(());
        }
        self.read_at = Some(Instant::now());
        let reads = match &self.reads {
            Some(reads) => reads.clone(),
            None => self.reads.insert(self.config.database.at_rest()?.0).clone(),
        };
        let (Some(row), Some(seal)) = (reads.checkpoint()?, reads.seals()?.last().copied()) else {
            return Ok(());
        };
        let path = self.config.kept_checkpoint();
        if let Ok((_, kept)) = kept_checkpoint::read(&path) {
            if kept.size >= row.size {
                return Ok(());
            }
            // The newer checkpoint must not hide that the log lost entries of the kept checkpoint.
            if root_of(&reads, kept.size)? != Some(kept.root) {
                return Err(refused(format!(
                    "the log does not contain the checkpoint in {}",
                    path.display()
                )));
            }
        }
        if self
            .keys
            .as_ref()
            .is_none_or(|(digest, _)| *digest != seal.digest)
        {
            let (reads, head) = self.config.database.at_rest()?;
            let ledger = Ledger::at_rest(reads, head, self.settings.clone(), None)?;
            let sealed =
                start::read_seal(&self.config, &ledger, seal.index, None).map_err(refused)?;
            let keys = sealed.roster.boundary_keys(&self.config.name).to_vec();
            self.keys = Some((seal.digest, keys));
        }
        let keys = self.keys.iter().flat_map(|(_, keys)| keys);
        let is_signed = kept_checkpoint::parse(&row.note).is_ok_and(|(note, seen)| {
            (seen.size, seen.root) == (row.size, row.root)
                && keys
                    .into_iter()
                    .any(|key| note::verify_note(&note, &seen.origin, key.public()).is_ok())
        });
        if is_signed && root_of(&reads, row.size)? == Some(row.root) {
            kept_checkpoint::keep_newer(&path, &row)
                .map_err(|error| refused(format!("{}: {error}", path.display())))?;
        }
        Ok(())
    }
}
