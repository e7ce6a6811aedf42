//! The parts from which a crossing is built.

use std::sync::Arc;

use crate::carried::artifact_store::ArtifactStore;
use crate::carried::capacity::CapacityLimits;
use crate::carried::late_receipts::LateReceipts;
use crate::carried::live::RunsInProgress;
use crate::carried::recorded_outputs::Outputs;
use crate::carried::secret_permits::SecretPermits;
use crate::carried::sessions::Sessions;
use crate::crossing::boundary_key::BoundaryKey;
use crate::crossing::changes::Changes;
use crate::seal::current_seal::CurrentSeal;
use crate::store::ledger::Ledger;
use sandbox::runs::Sandbox;

/// Parts from which a [`crate::crossing::cross::Crossing`] is built.
pub struct CrossingParts {
    /// The store.
    pub ledger: Ledger,
    /// The sandbox.
    pub sandbox: Arc<dyn Sandbox>,
    /// The boundary's key.
    pub key: Arc<BoundaryKey>,
    /// The seal in force.
    pub seal: Arc<CurrentSeal>,
    /// The runs in progress.
    pub live: Arc<RunsInProgress>,
    /// Wakes the tasks that wait for a change of a proposal.
    pub changes: Arc<Changes>,
    /// The directory of large outputs and of spools.
    pub outputs: Outputs,
    /// The configured secrets.
    pub secrets: SecretPermits,
    /// Services that no run may reach, each with its port, beside the witnesses and the listeners of this
    /// process.
    pub services: Vec<(String, u16)>,
    /// Maximum numbers of concurrent runs and requests.
    pub limits: CapacityLimits,
    /// The sessions.
    pub sessions: Arc<Sessions>,
    /// The uploaded files.
    pub artifacts: ArtifactStore,
    /// The receipts that came too late.
    pub late: LateReceipts,
}
