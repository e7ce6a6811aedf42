//! The parts of a boundary. Each part has access only to the parts that it needs.

use std::sync::Arc;

use crate::{
    Admission, DataGrowth, Evidence, FetchDocument, Health, Monitoring, Proposals, RefusalLog,
    Sealing, Surroundings, ToldTargets, Witnessing, admission::Admissions,
    housekeeping::Housekeeping, oidc::key_cache::KeyCache, session_access::SessionAccess,
};
use crossing::{ArtifactStore, Crossing, CrossingParts};
use store::{Ledger, Retention};

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
