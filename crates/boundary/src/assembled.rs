//! The parts of a boundary, and its metrics. Each part has access only to the parts that it needs.
//!
//! [`Monitoring`] reads the gauges from the state, and returns the text of a scrape.

use std::{
    sync::{Arc, Mutex, atomic::AtomicU64},
    time::Instant,
};

use serde::{Deserialize, Serialize};

use crate::{
    Admission, Caller, DataGrowth, Evidence, FetchDocument, Health, Proposals, RefusalLog, Sealing,
    SeenNodes, Surroundings, TargetStatus, ToldTargets, Witnessing,
    admission::Admissions,
    caller::SessionAccess,
    housekeeping::Housekeeping,
    oidc::id_token::{KeyCache, age},
};
use crossing::{ArtifactStore, Crossing, CrossingParts, RequestResult, fault};
use documents::{Code, STRICT, Timestamp, locked};
use sandbox::LinuxSandbox;
use store::{CertificateReading, Ledger, Metrics, Readings, Retention, TargetReading};

/// A boundary, with all its parts.
#[derive(Clone)]
pub struct Boundary {
    /// The only code that starts runs.
    pub crossing: Arc<Crossing>,
    /// Accepts proposals, signatures, denials and cancellations. Starts approved runs.
    pub proposals: Arc<Proposals>,
    /// Reads the registry, receipts, bundles, outputs and the log.
    pub evidence: Arc<Evidence>,
    /// Lets callers use their sessions.
    pub sessions: Arc<SessionAccess>,
    /// The directory of uploaded files.
    pub artifacts: ArtifactStore,
    /// Authenticates callers.
    pub admission: Arc<Admission>,
    /// Puts new seals in force.
    pub sealing: Arc<Sealing>,
    /// The health report for operators.
    pub health: Arc<Health>,
    /// Collects cosignatures of witnesses over checkpoints of the log.
    pub witnesses: Arc<Witnessing>,
    /// The state of the targets of messages.
    pub targets: Arc<ToldTargets>,
    /// The metrics of the service.
    pub monitoring: Arc<Monitoring>,
    /// The periodic work of the service.
    pub housekeeping: Arc<Housekeeping>,
}

impl Boundary {
    /// Builds a boundary.
    pub fn new(
        parts: CrossingParts,
        retention: Retention,
        growth: DataGrowth,
        closed: Vec<Ledger>,
        surroundings: Surroundings,
        fetch: Arc<FetchDocument>,
    ) -> Self {
        let ledger = parts.spender.ledger();
        let (sandbox, key, seal) = (parts.sandbox.clone(), parts.key.clone(), parts.seal.clone());
        let (live, changes, sessions) = (
            parts.live.clone(),
            parts.changes.clone(),
            parts.sessions.clone(),
        );
        let (outputs, artifacts) = (parts.outputs.clone(), parts.artifacts.clone());
        let crossing = Arc::new(Crossing::new(parts));
        let growth = Arc::new(growth);
        let refusals = Arc::new(RefusalLog::new(
            crossing.clone(),
            ledger.clone(),
            key.clone(),
        ));
        let witnesses = Arc::new(Witnessing {
            crossing: crossing.clone(),
            ledger: ledger.clone(),
            key: key.clone(),
            witnesses: Default::default(),
            surroundings: surroundings.clone(),
            has_read: Default::default(),
        });
        let health = Arc::new(Health {
            crossing: crossing.clone(),
            ledger: ledger.clone(),
            sandbox: sandbox.clone(),
            witnesses: witnesses.clone(),
            growth: growth.clone(),
            notes: Default::default(),
            nodes: Default::default(),
        });
        let proposals = Arc::new(Proposals {
            crossing: crossing.clone(),
            ledger: ledger.clone(),
            live: live.clone(),
            changes: changes.clone(),
            held_up: Default::default(),
            sandbox: sandbox.clone(),
            refusals: refusals.clone(),
            retention,
            newest_ms: AtomicU64::default(),
            surroundings: surroundings.clone(),
            sessions: sessions.clone(),
            in_sessions: Default::default(),
            artifacts: artifacts.clone(),
            one_grant: Default::default(),
            one_review: Default::default(),
        });
        let evidence = Arc::new(Evidence {
            crossing: crossing.clone(),
            proposals: proposals.clone(),
            ledger: ledger.clone(),
            closed,
            key: key.clone(),
            witnesses: witnesses.clone(),
            health: health.clone(),
            proofs: Default::default(),
            retention,
        });
        let admission = Arc::new(Admission {
            crossing: crossing.clone(),
            ledger: ledger.clone(),
            keys: KeyCache::new(fetch),
            admissions: Admissions::new(surroundings.bytes()),
            surroundings: surroundings.clone(),
        });
        let targets = Arc::new(ToldTargets::default());
        let monitoring = Arc::new(Monitoring {
            started_at: crossing.now(),
            crossing: crossing.clone(),
            ledger: ledger.clone(),
            sandbox: sandbox.clone(),
            witnesses: witnesses.clone(),
            proposals: proposals.clone(),
            health: health.clone(),
            targets: targets.clone(),
            certificate: Default::default(),
            last_scrape: Default::default(),
        });
        Self {
            sealing: Arc::new(Sealing {
                crossing: crossing.clone(),
                ledger: ledger.clone(),
                surroundings: surroundings.clone(),
                key,
                current: seal,
                sandbox,
                health: health.clone(),
                proposals: proposals.clone(),
                one_at_a_time: Default::default(),
            }),
            housekeeping: Arc::new(Housekeeping {
                crossing: crossing.clone(),
                ledger,
                live,
                changes,
                outputs,
                artifacts: artifacts.clone(),
                sessions: sessions.clone(),
                refusals,
                retention,
                growth,
                health: health.clone(),
            }),
            sessions: Arc::new(SessionAccess {
                crossing: crossing.clone(),
                sessions,
                surroundings,
            }),
            crossing,
            proposals,
            evidence,
            artifacts,
            admission,
            health,
            witnesses,
            targets,
            monitoring,
        }
    }
}

/// Codes of refusals after which an approved run waits for another attempt.
const HOLDING: [Code; 3] = [Code::Busy, Code::Database, Code::SandboxUnavailable];

/// The facts about the monitoring of the service.
#[derive(Serialize, Deserialize)]
pub struct MonitoringStatus {
    /// Seconds since the last read of `/metrics`, or `None` if nobody has read the metrics since the start.
    pub last_scrape_s: Option<u64>,
    /// The witnesses of the roster.
    pub witnesses: Vec<WitnessStatus>,
    /// The targets of messages.
    #[serde(default)]
    pub targets: Vec<TargetStatus>,
}

/// The progress of a witness.
#[derive(Serialize, Deserialize)]
pub struct WitnessStatus {
    /// Name of the witness in the roster.
    pub name: String,
    /// Age in seconds of the oldest entry that the witness has not cosigned.
    pub age_s: i64,
    /// True if the witness has cosigned a checkpoint since the start of the service.
    pub has_cosigned: bool,
}

/// The metrics of the service.
pub struct Monitoring {
    pub(crate) crossing: Arc<Crossing>,
    pub(crate) ledger: Ledger,
    pub(crate) sandbox: Arc<LinuxSandbox>,
    pub(crate) witnesses: Arc<Witnessing>,
    pub(crate) proposals: Arc<Proposals>,
    pub(crate) health: Arc<Health>,
    pub(crate) targets: Arc<ToldTargets>,
    pub(crate) started_at: Timestamp,
    pub(crate) certificate: Mutex<Option<CertificateReading>>,
    pub(crate) last_scrape: Mutex<Option<Instant>>,
}

impl Monitoring {
    /// Stores the state of the TLS certificate of the service.
    pub fn set_certificate(&self, certificate: CertificateReading) {
        *locked(&self.certificate) = Some(certificate);
    }

    /// Returns the facts about the monitoring that `doctor --production` checks.
    ///
    /// # Errors
    /// Returns a fault if the log can't be read.
    pub fn status(&self) -> RequestResult<MonitoringStatus> {
        let last_scrape = *locked(&self.last_scrape);
        Ok(MonitoringStatus {
            last_scrape_s: last_scrape.map(|at| at.elapsed().as_secs()),
            witnesses: self.witness_status(self.crossing.now())?,
            targets: self.targets.status(self.ledger.newest_event()?),
        })
    }

    /// Returns the counters of the service.
    pub fn metrics(&self) -> &Arc<Metrics> {
        self.ledger.metrics()
    }

    /// Returns the text of a scrape for a caller with the scope `read`.
    ///
    /// # Errors
    /// Returns `forbidden` if the caller lacks the scope, or has the scope for some steps only, because the metrics are
    /// about all steps.
    pub fn scrape_for(&self, caller: &Caller) -> RequestResult<String> {
        caller.demand_read_of_all("metrics are about all steps")?;
        self.scrape()
    }

    /// Returns the text of a scrape. No value needs a query whose duration grows with the number of stored rows.
    ///
    /// # Errors
    /// Returns a fault if the store can't be read.
    pub fn scrape(&self) -> RequestResult<String> {
        *locked(&self.last_scrape) = Some(Instant::now());
        self.metrics().scrape(&self.readings()?).map_err(fault)
    }

    fn readings(&self) -> RequestResult<Readings> {
        let (sealed, now) = (self.crossing.state(), self.crossing.now());
        let open = self.ledger.open_proposals();
        let held = self.sandbox.probe().held();
        let growth = self.health.growth();
        Ok(Readings {
            runs_active: open.running,
            runs_held_up: self.proposals.held_up(&HOLDING),
            pending: open.pending,
            approved: open.approved,
            oldest_approved_s: open.oldest_approved.map_or(0, |at| age(at, now)),
            log_entries: self.ledger.state().size,
            store_bytes: self.ledger.bytes().ok(),
            store_free_bytes: self.crossing.capacity().free_bytes(),
            growth_bytes_per_day: growth.map(|(growth, _)| growth.bytes_per_day),
            disk_lasts_days: growth.and_then(|(_, days)| days),
            witness_age_s: self
                .witness_status(now)?
                .into_iter()
                .map(|one| (one.name, one.age_s))
                .collect(),
            targets: self
                .targets
                .status(self.ledger.newest_event()?)
                .into_iter()
                .map(|t| TargetReading {
                    age_s: t.waits_since.map_or(0, |since| age(since, now)),
                    name: t.name.to_string(),
                    behind: t.behind,
                    given_up: t.given_up,
                })
                .collect(),
            seal_number: sealed.seal.number,
            roster_version: sealed.roster.version(),
            seal_bounds: (sealed.bounds().0.iter())
                .map(|bound| (bound.name.to_owned(), bound.percent as i64))
                .collect(),
            certificate: *locked(&self.certificate),
            clock_ahead_s: self.ledger.clock_ahead_s(),
            sandbox_layers: STRICT
                .iter()
                .map(|layer| (*layer, held.contains(layer)))
                .collect(),
            late_receipts: self.crossing.late_receipts().count() as u64,
            nodes: self.health.nodes().and_then(SeenNodes::report),
        })
    }

    /// Returns the progress of each witness of the roster. The cosignatures are not stored, so an age counts from the
    /// start of the service at the earliest.
    fn witness_status(&self, now: Timestamp) -> RequestResult<Vec<WitnessStatus>> {
        let status = |(name, cosigned)| {
            let waiting = self.ledger.leaf(cosigned)?;
            let since = waiting.map(|leaf| leaf.at.max(self.started_at));
            let age_s = since.map_or(0, |since| age(since, now));
            Ok(WitnessStatus {
                name,
                age_s,
                has_cosigned: cosigned > 0,
            })
        };
        self.witnesses
            .cosigned_sizes()
            .into_iter()
            .map(status)
            .collect()
    }
}
