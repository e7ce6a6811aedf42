//! The stages of a crossing: one type each, consumed by value.
//!
//! A stage holds what the stage before it proved. Its fields are private, it is neither `Clone` nor readable from
//! bytes, and only the crossing makes one, so that a check can't be skipped, repeated or forged:
//!
//! ```compile_fail,E0308
//! use countersign::crossing::{cross::Crossing, stage::Accepted};
//! async fn skip(crossing: &Crossing, accepted: Accepted) {
//!     let _ = crossing.consume(accepted).await; // expected `Admitted`: signatures and rules are unchecked
//! }
//! ```
//! ```compile_fail,E0382
//! use countersign::crossing::{cross::Crossing, stage::Consumed};
//! async fn twice(crossing: &Crossing, consumed: Consumed) {
//!     crossing.run(consumed).await;
//!     crossing.run(consumed).await; // use of moved value: one consumption, one run
//! }
//! ```
//! ```compile_fail,E0451
//! use countersign::crossing::stage::{Accepted, Verified};
//! fn forge(accepted: Accepted) -> Verified {
//!     Verified { accepted } // private fields, and more of them
//! }
//! ```
//! ```compile_fail,E0599
//! use countersign::crossing::stage::Admitted;
//! fn copy(admitted: &Admitted) -> Admitted {
//!     admitted.clone() // a verdict is not cloned
//! }
//! ```
//! ```compile_fail,E0277
//! use countersign::crossing::stage::Admitted;
//! fn from_bytes(bytes: &[u8]) -> Admitted {
//!     serde_json::from_slice(bytes).unwrap() // a verdict is never at rest
//! }
//! ```

use std::sync::Arc;

use crate::crossing::caller::Caller;
use crate::crossing::capacity::Room;
use crate::crossing::live::{Living, Recorded};
use crate::crossing::refusal::Stopped;
use crate::crossing::sealed::Sealed;
use crate::crypto::digest::{AuthorizationDigest, SealDigest};
use crate::decision::exclusion::Excluded;
use crate::decision::parameters::ParametersFit;
use crate::decision::permissions::{PermissionsCovered, ProfileHolds};
use crate::decision::place::AtThisBoundary;
use crate::decision::quorum::QuorumMet;
use crate::decision::step::StepSealed;
use crate::decision::window::WithinWindow;
use crate::record::authorization::{Authorization, StepReference};
use crate::record::envelope::{self, Envelope, Signed};
use crate::record::ident::{Name, ProposalId, ReceiptId, StepRef};
use crate::record::receipt::{Outcome, Receipt};
use crate::record::token::Scope;
use crate::record::validity::Timestamp;
use crate::sandbox::profile::Prepared;
use crate::sandbox::{Plan, Report};
use crate::store::message;

/// What wants to cross: bytes of an envelope, and who handed them in.
#[derive(Debug, Clone)]
pub struct Request {
    /// The authorization with its signatures.
    pub envelope: Envelope,
    /// The token or proposer that handed it in: for a proposal, the one that proposed it.
    pub handed_in_by: Name,
    /// The steps that it may be for: those of the token that handed it in.
    pub caller: Option<Caller>,
}

/// Well-formed from the outside; nothing of it is readable yet.
#[must_use]
pub struct Accepted {
    signed: Signed<Authorization>,
    handed_in_by: Name,
    caller: Option<Caller>,
}

impl Accepted {
    pub(super) const fn new(signed: Signed<Authorization>, handed_in_by: Name, caller: Option<Caller>) -> Self {
        Self { signed, handed_in_by, caller }
    }

    pub(super) const fn signed(&self) -> &Signed<Authorization> {
        &self.signed
    }
}

/// Every signature verified, under the roster of this state.
#[must_use]
pub struct Verified {
    accepted: Accepted,
    document: envelope::Verified<Authorization>,
    sealed: Arc<Sealed>,
    version: u64,
}

impl Verified {
    pub(super) const fn new(
        accepted: Accepted,
        document: envelope::Verified<Authorization>,
        sealed: Arc<Sealed>,
        version: u64,
    ) -> Self {
        Self { accepted, document, sealed, version }
    }

    pub(super) const fn document(&self) -> &envelope::Verified<Authorization> {
        &self.document
    }

    pub(super) const fn sealed(&self) -> &Arc<Sealed> {
        &self.sealed
    }

    pub(super) const fn handed_in_by(&self) -> &Name {
        &self.accepted.handed_in_by
    }

    /// Asks whether the caller may hand in runs of this step. A proposal's own caller was asked when it was proposed.
    pub(super) fn demand_scope(&self, step: &StepRef) -> Result<ScopeHeld, Stopped> {
        if let Some(caller) = &self.accepted.caller {
            let _ = caller.demand(Scope::Propose, Some(step))?;
        }
        Ok(ScopeHeld(()))
    }
}

/// The clock is not ahead of the log; only `demand_clock` makes it.
#[derive(Debug)]
#[must_use]
pub struct ClockTrusted(pub(super) ());

/// The caller's token allows this step; only `demand_scope` makes it.
#[derive(Debug)]
#[must_use]
pub struct ScopeHeld(());

/// What every question left behind: an `Admitted` can't be made without all of the answers.
#[expect(dead_code, reason = "some answers carry nothing but that they were given")]
pub(super) struct Answers {
    pub(super) clock: ClockTrusted,
    pub(super) place: AtThisBoundary,
    pub(super) scope: ScopeHeld,
    pub(super) step: StepSealed,
    pub(super) plan: Plan,
    pub(super) exclusive: Option<String>,
    pub(super) parameters: ParametersFit,
    pub(super) permissions: PermissionsCovered,
    pub(super) profile: ProfileHolds,
    pub(super) sandbox: Prepared,
    pub(super) excluded: Excluded,
    pub(super) quorum: QuorumMet,
    pub(super) window: WithinWindow,
}

/// It may run, under this state: the verdict.
#[must_use]
pub struct Admitted {
    verified: Verified,
    answers: Answers,
    window: crate::store::message::Window,
}

impl Admitted {
    pub(super) const fn new(verified: Verified, answers: Answers, window: crate::store::message::Window) -> Self {
        Self { verified, answers, window }
    }

    pub(super) const fn document(&self) -> &envelope::Verified<Authorization> {
        &self.verified.document
    }

    pub(super) const fn sealed(&self) -> &Arc<Sealed> {
        &self.verified.sealed
    }

    pub(super) const fn version(&self) -> u64 {
        self.verified.version
    }

    pub(super) const fn window(&self) -> crate::store::message::Window {
        self.window
    }

    pub(super) const fn handed_in_by(&self) -> &Name {
        &self.verified.accepted.handed_in_by
    }

    pub(super) const fn quorum(&self) -> &QuorumMet {
        &self.answers.quorum
    }

    pub(super) const fn excluded(&self) -> &Excluded {
        &self.answers.excluded
    }

    pub(super) const fn parameters(&self) -> &ParametersFit {
        &self.answers.parameters
    }

    pub(super) const fn exclusive(&self) -> Option<&String> {
        self.answers.exclusive.as_ref()
    }

    /// Back to the bytes: what it was judged under is no longer in force.
    pub(super) fn again(self) -> Accepted {
        self.verified.accepted
    }
}

/// Its nonce is spent, durably: it runs now, or never.
#[must_use]
pub struct Consumed {
    admitted: Admitted,
    claim: message::Consumed,
    basis: ReceiptBasis,
    room: Room,
}

/// What the receipt embeds, fixed before the run.
#[derive(Debug, Clone)]
pub(super) struct ReceiptBasis {
    pub(super) proposal: ProposalId,
    pub(super) authorization: AuthorizationDigest,
    pub(super) step: StepReference,
    pub(super) envelope: Envelope,
    pub(super) decision: crate::record::receipt::Decision,
}

impl Consumed {
    pub(super) const fn new(admitted: Admitted, claim: message::Consumed, basis: ReceiptBasis, room: Room) -> Self {
        Self { admitted, claim, basis, room }
    }

    pub(super) const fn admitted(&self) -> &Admitted {
        &self.admitted
    }

    pub(super) const fn claim(&self) -> &message::Consumed {
        &self.claim
    }

    /// Takes apart what the run needs and what the receipt needs.
    pub(super) fn into_run(self) -> (Prepared, Plan, Closing) {
        let Self { admitted, claim, basis, room } = self;
        (admitted.answers.sandbox, admitted.answers.plan, Closing { claim, basis, room: Some(room) })
    }
}

/// What is needed to write a receipt, for a run that just ended and for one that recovery found.
pub(super) struct Closing {
    pub(super) claim: message::Consumed,
    pub(super) basis: ReceiptBasis,
    /// Held until the receipt is durable: its room was reserved before the nonce was spent.
    pub(super) room: Option<Room>,
}

/// It ran, or it is known that nobody saw how.
#[must_use]
pub struct Ran {
    pub(super) closing: Closing,
    pub(super) end: Ended,
    pub(super) started_at: Timestamp,
    pub(super) finished_at: Timestamp,
}

/// How a run ended.
pub(super) enum Ended {
    /// The sandbox saw it.
    Seen {
        /// What it says.
        report: Box<Report>,
        /// What the run wrote.
        recorded: Box<Recorded>,
        /// Where its bytes are.
        recording: Living,
    },
    /// Nobody saw it: the service ended in between.
    Unseen,
}

/// Its receipt is written and signed, and not yet in the log.
#[must_use]
pub struct SignedReceipt {
    pub(super) closing: Closing,
    pub(super) receipt: Receipt,
    pub(super) envelope: Arc<[u8]>,
    pub(super) recorded: Option<(Box<Recorded>, Living)>,
}

/// It is in the log.
#[derive(Debug, Clone)]
#[must_use]
pub struct Receipted {
    /// The proposal.
    pub proposal: ProposalId,
    /// Its receipt.
    pub receipt: ReceiptId,
    /// How the run ended.
    pub outcome: Outcome,
    /// The receipt's log entry.
    pub index: u64,
    /// What its bundle is made of.
    pub parts: BundleParts,
}

/// What a bundle is made of besides what its seal has in common.
#[derive(Debug, Clone)]
pub struct BundleParts {
    /// The receipt's envelope.
    pub receipt: Arc<[u8]>,
    /// The consumption's log entry: where it stands, and the entry.
    pub consumption: (u64, Arc<[u8]>),
    /// The seal in force.
    pub seal: SealDigest,
    /// The step.
    pub step: StepReference,
}
