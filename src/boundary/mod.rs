//! The boundary: the crossing and the parts around it.
//!
//! Each part holds what it needs and nothing else; this file puts them together.
pub mod admission;
pub mod denials;
pub mod dispatch;
pub mod events;
pub mod evidence;
pub mod health;
pub mod held_up;
pub mod housekeeping;
pub mod proposal_view;
pub mod proposals;
pub mod refusal_log;
pub mod sealing;
pub mod tokens;
pub mod view;
pub mod witnesses;

use std::sync::Arc;

use crate::boundary::admission::Admission;
use crate::boundary::evidence::Evidence;
use crate::boundary::health::Health;
use crate::boundary::housekeeping::Housekeeping;
use crate::boundary::proposals::Proposals;
use crate::boundary::refusal_log::RefusalLog;
use crate::boundary::sealing::Sealing;
use crate::boundary::witnesses::Witnessing;
use crate::crossing::boundary_key::BoundaryKey;
use crate::crossing::capacity::Limits;
use crate::crossing::changes::Changes;
use crate::crossing::cross::{self, Crossing};
use crate::crossing::current_seal::CurrentSeal;
use crate::crossing::live::Live;
use crate::crossing::outputs::Outputs;
use crate::crossing::sealed::Sealed;
use crate::crossing::surroundings::Surroundings;
use crate::sandbox::Sandbox;
use crate::store::ledger::Ledger;
use crate::store::message::Retention;

/// A boundary, by its parts.
#[derive(Clone)]
pub struct Boundary {
    /// The one way by which anything runs.
    pub crossing: Arc<Crossing>,
    /// Proposals: taken in, signed, denied, cancelled, sent across.
    pub proposals: Arc<Proposals>,
    /// Registry, receipts, bundles, outputs, the log: reads only.
    pub evidence: Arc<Evidence>,
    /// Who calls.
    pub admission: Arc<Admission>,
    /// New states.
    pub sealing: Arc<Sealing>,
    /// What an operator is told.
    pub health: Arc<Health>,
    /// Cosignatures over the log's head.
    pub witnesses: Arc<Witnessing>,
    /// What goes on beside the runs.
    pub housekeeping: Arc<Housekeeping>,
}

/// What a boundary is put together from.
pub struct Parts {
    /// The store.
    pub ledger: Ledger,
    /// The sandbox.
    pub sandbox: Arc<dyn Sandbox>,
    /// The boundary's key.
    pub key: BoundaryKey,
    /// The state in force.
    pub sealed: Sealed,
    /// Where large outputs and spools go.
    pub outputs: Outputs,
    /// How much may go on at one time.
    pub limits: Limits,
    /// How long what is no evidence is kept.
    pub retention: Retention,
    /// Logs that this one follows, at rest.
    pub closed: Vec<Ledger>,
    /// Time and randomness.
    pub surroundings: Surroundings,
}

impl Boundary {
    /// Puts a boundary together.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let Parts { ledger, sandbox, key, sealed, outputs, limits, retention, closed, surroundings } = parts;
        let (key, seal) = (Arc::new(key), Arc::new(CurrentSeal::new(sealed)));
        let (live, changes) = (Arc::new(Live::default()), Arc::new(Changes::default()));
        let crossing = Arc::new(Crossing::new(cross::Parts {
            ledger: ledger.clone(),
            sandbox: sandbox.clone(),
            key: key.clone(),
            seal: seal.clone(),
            live: live.clone(),
            changes: changes.clone(),
            outputs: outputs.clone(),
            limits,
        }));
        let refusals = Arc::new(RefusalLog::new(crossing.clone(), ledger.clone(), key.clone()));
        let witnesses = Arc::new(Witnessing::new(crossing.clone(), ledger.clone(), key.clone(), surroundings.clone()));
        let health = Arc::new(Health::new(crossing.clone(), ledger.clone(), sandbox.clone(), witnesses.clone()));
        let proposals = Arc::new(Proposals::new(proposals::Parts {
            crossing: crossing.clone(),
            ledger: ledger.clone(),
            live: live.clone(),
            changes: changes.clone(),
            sandbox: sandbox.clone(),
            refusals: refusals.clone(),
            retention,
            surroundings: surroundings.clone(),
        }));
        let evidence = Arc::new(Evidence::new(evidence::Parts {
            crossing: crossing.clone(),
            proposals: proposals.clone(),
            ledger: ledger.clone(),
            closed,
            key: key.clone(),
            witnesses: witnesses.clone(),
            health: health.clone(),
            retention,
        }));
        let admission = Arc::new(Admission::new(crossing.clone(), ledger.clone(), surroundings.clone()));
        let sealing = Arc::new(Sealing::new(sealing::Parts {
            crossing: crossing.clone(),
            ledger: ledger.clone(),
            surroundings,
            key,
            current: seal,
            sandbox,
            health: health.clone(),
        }));
        let housekeeping =
            Arc::new(Housekeeping { crossing: crossing.clone(), ledger, live, changes, outputs, refusals, retention });
        Self { crossing, proposals, evidence, admission, sealing, health, witnesses, housekeeping }
    }
}
