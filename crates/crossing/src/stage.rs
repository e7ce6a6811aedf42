//! The stages of a crossing. Each stage has its own type, and the next stage consumes the value.
//!
//! A stage contains the results that the previous stage proved. Only the crossing can create a stage: the fields of a
//! stage are private to this crate, and a stage is not `Clone` and can't be parsed from bytes. So no check can be
//! skipped or forged, and no nonce is used for two runs.
//!
//! ```compile_fail,E0308
//! use crossing::{Accepted, Crossing};
//! async fn skip(crossing: &Crossing, accepted: Accepted) {
//!     let _ = crossing.consume(accepted).await; // `consume` needs a `Loaded`, which needs the verdict `Admitted`
//! }
//! ```
//! ```compile_fail,E0382
//! use crossing::{Consumed, Crossing};
//! async fn twice(crossing: &Crossing, consumed: Consumed) {
//!     crossing.run(consumed).await;
//!     crossing.run(consumed).await; // the first call has moved `consumed`, so one consumption causes one run
//! }
//! ```
//! ```compile_fail,E0451
//! use crossing::{Accepted, VerifiedRequest};
//! fn forge(accepted: Accepted) -> VerifiedRequest {
//!     VerifiedRequest { accepted } // the fields are private
//! }
//! ```
//! ```compile_fail,E0599
//! use crossing::Admitted;
//! fn copy(admitted: &Admitted) -> Admitted {
//!     admitted.clone() // a verdict can't be cloned
//! }
//! ```
//! ```compile_fail,E0277
//! use crossing::Admitted;
//! fn from_bytes(bytes: &[u8]) -> Admitted {
//!     serde_json::from_slice(bytes).unwrap() // a verdict can't be parsed from bytes
//! }
//! ```

use std::sync::Arc;

use crate::{
    CarriedVariables, KeptResults, RecordedOutput, ResultsBasis, RunInProgress, Sealed, SecretUse,
    carried::{capacity::Room, sessions::claim::SessionClaim},
};
use documents::{
    Authorization, BlobDigest, ContentDigest, Decision, Envelope, KeyId, Name, Profile,
    ProgramList, ProposalId, Receipt, SealDigest, SessionChange, SessionReference, Signed,
    StepReference, Timestamp, Verified,
};
use reading::RegisteredStep;
use sandbox::{Plan, PlannedInput, PlannedSession, Prepared, Report};
use store::{GrantClaim, SpentNonce};
use verdict::{
    AtThisBoundary, Authority, ExcludedSigners, MayPropose, NotRevoked, ParametersFit,
    PermissionsCovered, ProfileHolds, RunWindow, StepSealed, WithinWindow,
};

/// Input of a crossing: an envelope and the name of its sender.
pub struct CrossingRequest {
    /// The signed authorization.
    pub envelope: Envelope,
    /// The name of the token or proposer that sent the envelope. For a proposal, this is the proposer.
    pub handed_in_by: Name,
    /// True if the store has all signatures of the envelope, and therefore also the events about these signatures.
    pub stored: bool,
}

/// The envelope is well-formed, but its payload is not parsed yet.
#[must_use]
pub struct Accepted {
    pub(super) signed: Signed<Authorization>,
    pub(super) handed_in_by: Name,
    pub(super) stored: bool,
}

/// Every signature was verified with the roster of the contained state.
#[must_use]
pub struct VerifiedRequest {
    pub(super) accepted: Accepted,
    pub(super) document: Verified<Authorization>,
    pub(super) sealed: Arc<Sealed>,
    pub(super) version: u64,
}

/// Proof that the clock is not ahead of the log. Only `demand_clock` creates this proof.
#[must_use]
pub struct ClockTrusted(pub(super) ());

/// A run that people allowed: by their signatures, or by a grant.
pub struct AllowedRun {
    pub authority: Authority,
    /// The people whose signatures do not count.
    pub excluded: ExcludedSigners,
    /// The use of the grant that the run must claim.
    pub claim: Option<GrantClaim>,
    /// Maximum number of emergencies without a review, if the run is an emergency.
    pub emergency: Option<u64>,
    /// The people whose signatures count, each with the id of the key, if they came in a whole envelope.
    pub signers: Vec<(Name, KeyId)>,
}

#[expect(
    dead_code,
    reason = "some results have no content: their existence is the proof"
)]
pub struct CheckResults {
    pub clock: ClockTrusted,
    pub place: AtThisBoundary,
    pub not_revoked: NotRevoked,
    pub may_propose: MayPropose,
    pub step: StepSealed,
    /// The step in the registry, with the contents of its files.
    pub registered: Arc<RegisteredStep>,
    pub parameters: ParametersFit,
    pub permissions: PermissionsCovered,
    pub profile: ProfileHolds,
    /// The list of programs on this host, which is the signed list.
    pub programs: Option<ProgramList>,
    /// The secrets that the run needs, without their values.
    pub secrets: Vec<SecretUse>,
    /// The variables that the session of the run carries.
    pub carried: Option<CarriedVariables>,
    pub sandbox: Prepared,
    pub allowed: AllowedRun,
    pub window: WithinWindow,
}

/// The verdict that the run is allowed under this state.
#[must_use]
pub struct Admitted {
    pub(super) verified: VerifiedRequest,
    pub(super) checks: CheckResults,
}

/// The run is allowed, and everything that the run gets is in memory or open.
#[must_use]
pub struct Loaded {
    pub(super) admitted: Admitted,
    pub(super) plan: Plan,
    pub(super) given: ResultsBasis,
    pub(super) window: RunWindow,
}

/// The nonce is spent, and the commit is durable. The step runs immediately or never.
#[must_use]
pub struct Consumed {
    pub(super) prepared: Prepared,
    pub(super) plan: Plan,
    pub(super) closing: Closing,
}

/// Part of the receipt that is known before the run.
pub struct ReceiptBasis {
    pub proposal: ProposalId,
    pub step: StepReference,
    pub session: Option<SessionReference>,
    pub grant: Option<ContentDigest>,
    pub profile: Profile,
    pub decision: Decision,
}

impl ReceiptBasis {
    pub(super) fn of(signed: &Authorization, decision: Decision) -> Self {
        Self {
            proposal: signed.proposal.clone(),
            step: signed.step.clone(),
            session: signed.session.clone(),
            grant: signed.grant,
            profile: signed.sandbox.clone(),
            decision,
        }
    }
}

/// The inputs of a run.
pub struct RunInputs {
    pub files: Vec<PlannedInput>,
    pub session: Option<PlannedSession>,
    /// The first time at which the plan is too old.
    pub plan_ends: Option<Timestamp>,
}

/// Input of a receipt, for a run that ended or that recovery found.
pub struct Closing {
    pub claim: SpentNonce,
    pub basis: ReceiptBasis,
    /// Capacity that was reserved before the nonce was spent. The capacity is released when the receipt is durable.
    pub room: Option<Room>,
    /// The session that the run uses. The session is free again when this value is dropped.
    pub session: Option<SessionClaim>,
    /// What decides which results of the run are kept.
    pub given: ResultsBasis,
    /// The change of the session, after the run.
    pub change: Option<SessionChange>,
}

/// The run has ended, or its end is unknown.
#[must_use]
pub struct Ran {
    pub(super) closing: Closing,
    pub(super) report: Box<Report>,
    /// `None` after a crash: the recording ended with the process.
    pub(super) recorded: Option<Box<RecordedRun>>,
    pub(super) started_at: Timestamp,
    pub(super) finished_at: Timestamp,
}

/// Recorded output and results of a run that this process started.
pub struct RecordedRun {
    pub output: RecordedOutput,
    pub recording: RunInProgress,
    pub kept: Arc<KeptResults>,
}

/// The receipt is written and signed, but not yet in the log.
#[must_use]
pub struct SignedReceipt {
    pub(super) closing: Closing,
    pub(super) receipt: Receipt,
    pub(super) envelope: Arc<[u8]>,
    pub(super) recorded: Option<Box<RecordedRun>>,
    /// The reason why the end of the run is unknown.
    pub(super) unknown: Option<String>,
}

/// The receipt is in the log.
#[must_use]
pub struct Receipted {
    /// The receipt's statement.
    pub statement: Box<Receipt>,
    /// The index of the receipt's log entry.
    pub index: u64,
    /// The parts of the receipt's bundle.
    pub parts: BundleParts,
}

/// Parts of a bundle that belong to one run.
pub struct BundleParts {
    /// The receipt's envelope.
    pub receipt: Arc<[u8]>,
    /// Index and bytes of the authorization's log entry.
    pub authorization: (u64, Arc<[u8]>),
    /// Index and bytes of the consumption's log entry.
    pub consumption: (u64, Arc<[u8]>),
    /// The seal in force.
    pub seal: SealDigest,
    /// The step.
    pub step: StepReference,
    /// Digest of the list of programs, if the run had one.
    pub programs: Option<BlobDigest>,
    /// Digest of the grant, if the run used one.
    pub grant: Option<ContentDigest>,
}
