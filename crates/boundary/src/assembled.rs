//! The parts of a boundary. Each part has access only to the parts that it needs.

use std::sync::Arc;

use crate::{
    Admission, DataGrowth, Evidence, FetchDocument, Health, Monitoring, Proposals, RefusalLog,
    Sealing, Surroundings, ToldTargets, Witnessing, artifact_access::ArtifactAccess,
    housekeeping::Housekeeping, session_access::SessionAccess,
};
use crossing::{
    ArtifactStore, BoundaryKey, CapacityLimits, Changes, Crossing, CrossingParts, CurrentSeal,
    LateReceipts, Outputs, RunsInProgress, Sealed, SecretPermits, Sessions,
};
use sandbox::{LinuxSandbox, Starter};
use store::{Ledger, Retention, Spender, StoredRevocation};

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
    /// Takes uploaded files.
    pub artifacts: Arc<ArtifactAccess>,
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

/// The parts from which a boundary is built.
pub struct BoundaryParts {
    /// The value that can spend nonces, and the store.
    pub spender: Spender,
    /// The sandbox.
    pub sandbox: Arc<LinuxSandbox>,
    /// The value that can start runs.
    pub starter: Starter,
    /// The boundary's key.
    pub key: BoundaryKey,
    /// The state in force.
    pub sealed: Sealed,
    /// Revocations of keys in closed logs.
    pub earlier: Vec<StoredRevocation>,
    /// The directory of large outputs and of spools.
    pub outputs: Outputs,
    /// The directory of uploaded files.
    pub artifacts: ArtifactStore,
    /// The receipts that came too late.
    pub late: LateReceipts,
    /// The sessions.
    pub sessions: Arc<Sessions>,
    /// The configured secrets.
    pub secrets: SecretPermits,
    /// Services that no run may reach, each with its port.
    pub services: Vec<(String, u16)>,
    /// Maximum numbers of concurrent runs and requests.
    pub limits: CapacityLimits,
    /// The times for which data that is not evidence is stored.
    pub retention: Retention,
    /// The sizes of the data in the last days.
    pub growth: DataGrowth,
    /// Closed logs that the current log continues.
    pub closed: Vec<Ledger>,
    /// Time and randomness.
    pub surroundings: Surroundings,
    /// Reads a document of an issuer of ID tokens.
    pub fetch: Arc<FetchDocument>,
}

impl Boundary {
    /// Builds a boundary.
    pub fn new(parts: BoundaryParts) -> Self {
        let BoundaryParts {
            spender,
            sandbox,
            starter,
            key,
            sealed,
            earlier,
            outputs,
            secrets,
            services,
            artifacts,
            late,
            sessions,
            limits,
            retention,
            growth,
            closed,
            surroundings,
            fetch,
        } = parts;
        let ledger = spender.ledger();
        let growth = Arc::new(growth);
        let (key, seal) = (Arc::new(key), Arc::new(CurrentSeal::new(sealed, earlier)));
        let (live, changes) = (
            Arc::new(RunsInProgress::default()),
            Arc::new(Changes::default()),
        );
        let crossing = Arc::new(Crossing::new(CrossingParts {
            spender,
            sandbox: sandbox.clone(),
            starter,
            key: key.clone(),
            seal: seal.clone(),
            live: live.clone(),
            changes: changes.clone(),
            outputs: outputs.clone(),
            secrets,
            services,
            limits,
            sessions: sessions.clone(),
            artifacts: artifacts.clone(),
            late,
        }));
        let refusals = Arc::new(RefusalLog::new(
            crossing.clone(),
            ledger.clone(),
            key.clone(),
        ));
        let witnesses = Arc::new(Witnessing::new(
            crossing.clone(),
            ledger.clone(),
            key.clone(),
            surroundings.clone(),
        ));
        let health = Arc::new(Health::new(
            crossing.clone(),
            ledger.clone(),
            sandbox.clone(),
            witnesses.clone(),
            growth.clone(),
        ));
        let proposals = Arc::new(Proposals::new(crate::proposals::ProposalsParts {
            crossing: crossing.clone(),
            ledger: ledger.clone(),
            live: live.clone(),
            changes: changes.clone(),
            sandbox: sandbox.clone(),
            refusals: refusals.clone(),
            retention,
            surroundings: surroundings.clone(),
            sessions: sessions.clone(),
            artifacts: artifacts.clone(),
        }));
        let evidence = Arc::new(Evidence::new(crate::evidence::EvidenceParts {
            crossing: crossing.clone(),
            proposals: proposals.clone(),
            ledger: ledger.clone(),
            closed,
            key: key.clone(),
            witnesses: witnesses.clone(),
            health: health.clone(),
            retention,
        }));
        let admission = Arc::new(Admission::new(
            crossing.clone(),
            ledger.clone(),
            surroundings.clone(),
            fetch,
        ));
        let targets = Arc::new(ToldTargets::default());
        let monitoring = Arc::new(Monitoring::new(
            crossing.clone(),
            ledger.clone(),
            sandbox.clone(),
            witnesses.clone(),
            proposals.clone(),
            health.clone(),
            targets.clone(),
        ));
        let surroundings_of_sessions = surroundings.clone();
        let sealing = Arc::new(Sealing::new(crate::sealing::SealingParts {
            crossing: crossing.clone(),
            ledger: ledger.clone(),
            surroundings,
            key,
            current: seal,
            sandbox,
            health: health.clone(),
            proposals: proposals.clone(),
        }));
        let housekeeping = Arc::new(Housekeeping {
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
        });
        let artifacts = Arc::new(ArtifactAccess::new(crossing.clone(), artifacts));
        let sessions = Arc::new(SessionAccess::new(
            crossing.clone(),
            sessions,
            surroundings_of_sessions,
        ));
        Self {
            crossing,
            proposals,
            evidence,
            sessions,
            artifacts,
            admission,
            sealing,
            health,
            witnesses,
            targets,
            monitoring,
            housekeeping,
        }
    }
}
