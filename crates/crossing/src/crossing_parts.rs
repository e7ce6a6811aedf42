//! The parts from which a crossing is built.

use std::sync::Arc;

use crate::{
    ArtifactStore, BoundaryKey, CapacityLimits, Changes, CurrentSeal, LateReceipts, Outputs,
    RunsInProgress, SecretPermits, Sessions,
};
use sandbox::{LinuxSandbox, Starter};
use store::Spender;

/// Parts from which a [`crate::cross::Crossing`] is built.
pub struct CrossingParts {
    /// The value that can spend nonces, and the store.
    pub spender: Spender,
    /// The sandbox.
    pub sandbox: Arc<LinuxSandbox>,
    /// The value that can start runs.
    pub starter: Starter,
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
