//! The crossing, through which every run passes. Read [`cross`] first.
//!
//! Code outside of this crate can't create a stage. The service opens the store and the sandbox, and moves the
//! `Spender` of nonces and the `Starter` of runs into the crossing. Afterwards, no other code has these two values.
#![forbid(unsafe_code)]

mod boundary_key;
mod changes;
mod cross;
mod crossing_parts;
mod granted;
mod host_profile;
mod keep_results;
mod log_span;
mod masks;
mod recovery;
mod revoked;
mod run_end;
mod run_inputs;
mod stage;
mod step_files;
mod store_receipt;
mod unreachable_services;

mod carried;
mod seal;

pub use boundary_key::BoundaryKey;
pub use carried::{
    artifact_store::{ArtifactStore, Upload},
    capacity::{CapacityLimits, PROPOSAL_ROOM, Permit, busy},
    late_receipts::LateReceipts,
    live::{Cursor, NextPiece, Piece, Recording, RunsInProgress, SLICE},
    plans::{PLAN_ARTIFACT, PlanRun},
    recorded_outputs::{Outputs, free_bytes},
    secret_permits::{self, SecretPermits, SecretUse, sign_in_block, uses_of},
    sessions::{SessionFacts, SessionUser, Sessions, session_user},
};
pub use changes::Changes;
pub use cross::{Crossing, refusal_of};
pub use crossing_parts::CrossingParts;
pub use granted::refused;
pub use host_profile::{ListsOnHost, profile_on_host};
pub use log_span::{log_about, run_span};
pub use revoked::Freeze;
pub use run_end::outcome_of;
pub use seal::{
    logged_rosters::{LedgerBlobs, logged_rosters, sealed_rosters},
    refusal::{Fault, Refusal, RefusalCase, RequestResult, Stopped, fault, not_filled, refuse},
    seal_bounds::{SealBound, SealBounds},
    sealed::{
        BundleShare, CurrentSeal, SealContent, SealDraft, SealError, SealPredecessor, Sealed,
        lacks_boundary, revocations,
    },
    stored_documents::{authorization_at, authorization_entry, receipt_of, stored_receipt},
};
pub use stage::{
    Accepted, Admitted, BundleParts, Consumed, CrossingRequest, Receipted, VerifiedRequest,
};
pub use step_files::{check_files, planned_files};

pub(crate) use carried::{
    capacity::{Capacity, Patience},
    kept_results::{KeptResults, ResultsBasis},
    live::{OrderPosition, RecordedOutput, RunInProgress},
    recorded_outputs::RecordedRows,
};
pub(crate) use seal::carried_variables::CarriedVariables;
pub(crate) use stage::{Closing, Ran, ReceiptBasis, RecordedRun, RunInputs};
