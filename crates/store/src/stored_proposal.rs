//! Proposals and their signatures: requests, queries and results.

use std::sync::Arc;

use crate::{StatusDetail, StoreFault, StoredStatus};
use documents::{
    Authorization, AuthorizationDigest, KeyId, Malformed, Name, Nonce, ParamsDigest, Presence,
    ProposalId, ProposalIdEnding, StepDigest, StepRef, Timestamp,
};

/// Seconds after the end of a run, a denial or a cancellation in which the same call is a repetition.
const REPEATS_FOR_S: i64 = 600;
/// Number of the newest proposals of a proposer with which a call is compared. Proposals of the same step with the same
/// parameters can differ, for example in their sessions.
pub const MOST_COMPARED: usize = 4;
/// Milliseconds by which the clocks of two nodes may differ.
const MAX_CLOCK_DIFFERENCE_MS: u64 = 60_000;

/// The fields of an authorization that are columns in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthorizationCore {
    /// Id of the proposal.
    pub id: ProposalId,
    /// Digest of the payload.
    pub digest: AuthorizationDigest,
    /// Nonce that the run spends.
    pub nonce: Nonce,
    /// Reference of the step.
    pub step: StepRef,
    /// Digest of the step.
    pub step_digest: StepDigest,
    /// Digest of the parameters.
    pub params_digest: ParamsDigest,
    /// Name of the proposer.
    pub proposer: Name,
    /// End of the window.
    pub expires_at: Timestamp,
}

impl AuthorizationCore {
    /// Returns the fields of an authorization. `payload` has its bytes.
    ///
    /// # Errors
    /// Returns an error if the parameters have no canonical form.
    pub fn of(authorization: &Authorization, payload: &[u8]) -> Result<Self, Malformed> {
        Ok(Self {
            id: authorization.proposal.clone(),
            digest: AuthorizationDigest::of(payload),
            nonce: authorization.nonce.clone(),
            step: authorization.step.reference.clone(),
            step_digest: authorization.step.digest,
            params_digest: authorization.params_digest()?,
            proposer: authorization.proposer.clone(),
            expires_at: authorization.expires_at,
        })
    }
}

/// A proposal to store.
#[derive(Debug, Clone)]
pub struct NewProposal {
    /// Fields of the authorization.
    pub core: AuthorizationCore,
    /// Payload that the approvers sign.
    pub payload: Arc<[u8]>,
    /// Digest of the run that the call asks for, by which a repeated call is recognized.
    pub request: [u8; 32],
    /// True if the caller chose the nonce, which then identifies a repeated request.
    pub chosen_nonce: bool,
    /// True if the call is answered with an earlier proposal that asks for the same run.
    pub may_repeat: bool,
    /// Time of the proposal.
    pub created_at: Timestamp,
    /// What the boundary says about the job that made the proposal, as JSON.
    pub admitted: Option<Arc<str>>,
}

impl NewProposal {
    /// Returns the proposal that this call repeats. `newest` are the newest proposals of the same proposer, newest first.
    pub fn repeated(&self, newest: impl IntoIterator<Item = Proposal>) -> Option<Proposal> {
        let is_same_step = |earlier: &Proposal| {
            let core = &earlier.core;
            core.step_digest == self.core.step_digest
                && core.params_digest == self.core.params_digest
        };
        // After another step or other parameters, the call is a new wish.
        let mut since = newest
            .into_iter()
            .take_while(is_same_step)
            .filter(|_| self.may_repeat);
        let earlier = since.find(|earlier| earlier.request == Some(self.request))?;
        let is_repeated = match earlier.status {
            StoredStatus::Pending | StoredStatus::Approved => {
                self.created_at < earlier.core.expires_at
            }
            StoredStatus::Running => true,
            StoredStatus::Finished | StoredStatus::Denied | StoredStatus::Cancelled => earlier
                .ended_at
                .is_some_and(|ended| self.created_at < ended.plus(REPEATS_FOR_S)),
            // Nothing ran, and nobody said no.
            StoredStatus::Expired | StoredStatus::Refused => false,
        };
        is_repeated.then_some(earlier)
    }

    /// Returns an id after those of all earlier proposals. A program that makes its own statements can choose a later id,
    /// which must not count as the newest proposal for years.
    pub fn last_id(&self) -> ProposalId {
        ProposalId::new(
            self.core
                .id
                .millis()
                .saturating_add(MAX_CLOCK_DIFFERENCE_MS),
            [0; 10],
        )
    }

    /// Returns the proposal as the store will return it.
    pub fn as_pending(&self) -> Proposal {
        Proposal {
            core: self.core.clone(),
            request: Some(self.request),
            status: StoredStatus::Pending,
            created_at: self.created_at,
            approved_at: None,
            started_at: None,
            ended_at: None,
            consumption: None,
            receipt: None,
            detail: None,
        }
    }
}

/// The result of the attempt to store a new proposal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProposeResult {
    /// The proposal is stored.
    New,
    /// The same proposal, returned here, was already stored.
    Same(Box<Proposal>),
    /// A different proposal already has this nonce or id.
    Conflict(Box<Proposal>),
    /// This proposer has too many stored proposals that ended and have no signature.
    TooManyKept {
        /// Maximum number of unsigned proposals of one proposer.
        most: u64,
        /// Time at which the first of the unsigned proposals can be deleted.
        until: Timestamp,
    },
    /// Too many proposals are pending.
    TooMany {
        /// Maximum number of pending proposals.
        most: u64,
        /// True if the limit is for one proposer, false if the limit is for all proposers.
        of_proposer: bool,
    },
}

/// A stored proposal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal {
    /// Fields of the authorization.
    pub core: AuthorizationCore,
    /// Digest of the run that the call asked for, or `None` for a submitted envelope.
    pub request: Option<[u8; 32]>,
    /// Status of the proposal.
    pub status: StoredStatus,
    /// Time at which the proposal arrived.
    pub created_at: Timestamp,
    /// Time at which the quorum was met.
    pub approved_at: Option<Timestamp>,
    /// Time of the consumption.
    pub started_at: Option<Timestamp>,
    /// Time at which the proposal reached its final status.
    pub ended_at: Option<Timestamp>,
    /// Leaf index and item number of the consumption.
    pub consumption: Option<(u64, u32)>,
    /// Leaf index of the receipt.
    pub receipt: Option<u64>,
    /// Details of the status.
    pub detail: Option<StatusDetail>,
}

/// A verified signature over the payload of a proposal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// Id of the key.
    pub keyid: KeyId,
    /// Name of the person who has the key.
    pub person: Name,
    /// Presence of a person (touch, PIN), as a security key states it.
    pub presence: Presence,
    /// Signature bytes, raw or in the SSHSIG format.
    pub sig: Vec<u8>,
    /// Time at which the signature arrived at the boundary.
    pub at: Timestamp,
}

/// A change of a proposal's status, other than the start and the end of a run.
#[derive(Debug, Clone)]
pub struct ProposalStep {
    /// Id of the proposal.
    pub proposal: ProposalId,
    /// Statuses that permit the change. An empty list permits every status from which `to` is reachable.
    pub from: Vec<StoredStatus>,
    /// New status: approved, denied, expired, cancelled or refused.
    pub to: StoredStatus,
    /// Time of the change.
    pub at: Timestamp,
    /// Details of the proposal's new status.
    pub detail: StatusDetail,
}

/// The reasons why a proposal keeps its status.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AdvanceStop {
    /// The proposal does not exist.
    #[error("the proposal does not exist")]
    Unknown,
    /// The current status of the proposal does not allow the change.
    #[error("the proposal is already {0}")]
    WrongState(StoredStatus),
    /// The store failed.
    #[error(transparent)]
    Fault(#[from] StoreFault),
}

/// Conditions for a list of proposals.
#[derive(Debug, Clone, Default)]
pub struct ProposalQuery {
    /// Statuses of the proposals. An empty list of statuses means all statuses.
    pub statuses: Vec<StoredStatus>,
    /// Last characters of the id of the proposal.
    pub ending: Option<ProposalIdEnding>,
    /// Reference of the step.
    pub step: Option<StepRef>,
    /// Name of the proposer.
    pub proposer: Option<Name>,
    /// Only proposals that are older than this proposal.
    pub before: Option<ProposalId>,
    /// Maximum number of proposals.
    pub limit: usize,
}

/// The rows that a list of proposals reads by decreasing id, each with an index. All other conditions are checked for each
/// row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProposalSource {
    All,
    OfStep,
    OfProposer,
    /// Proposals that wait for signatures or for their run.
    Open,
    Running,
    OpenOrRunning,
    /// Proposals that ended without a run.
    Stopped,
}

impl ProposalQuery {
    /// Returns the rows to read, and the name of their step or of their proposer.
    pub fn source(&self) -> (ProposalSource, Option<&str>) {
        use StoredStatus::{Approved, Cancelled, Denied, Expired, Pending, Refused, Running};
        let only = |some: &[StoredStatus]| {
            !self.statuses.is_empty() && self.statuses.iter().all(|status| some.contains(status))
        };
        if only(&[Pending, Approved]) {
            (ProposalSource::Open, None)
        } else if only(&[Running]) {
            (ProposalSource::Running, None)
        } else if only(&[Pending, Approved, Running]) {
            (ProposalSource::OpenOrRunning, None)
        } else if only(&[Denied, Expired, Cancelled, Refused]) {
            (ProposalSource::Stopped, None)
        } else if let Some(step) = &self.step {
            (ProposalSource::OfStep, Some(step.as_str()))
        } else if let Some(proposer) = &self.proposer {
            (ProposalSource::OfProposer, Some(proposer.as_str()))
        } else {
            (ProposalSource::All, None)
        }
    }

    /// Returns true if the proposal meets all conditions except those on its id.
    pub fn wants(&self, found: &Proposal) -> bool {
        (self.statuses.is_empty() || self.statuses.contains(&found.status))
            && self
                .step
                .as_ref()
                .is_none_or(|step| *step == found.core.step)
            && self
                .proposer
                .as_ref()
                .is_none_or(|proposer| *proposer == found.core.proposer)
    }
}

/// Conditions for finished runs of one step with one outcome.
#[derive(Debug, Clone)]
pub struct RunQuery {
    /// Reference of the step.
    pub step: StepRef,
    /// Outcome of the runs.
    pub outcome: RunOutcome,
    /// Digest of the parameters.
    pub params: Option<ParamsDigest>,
    /// Name of the proposer.
    pub proposer: Option<Name>,
    /// Only runs that ended at or after this time, and at or before the second time.
    pub ended: (Timestamp, Timestamp),
    /// Number of runs to leave out, from the newest on.
    pub skip: usize,
    /// Maximum number of runs.
    pub limit: usize,
}

/// The outcomes that the store has an index for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunOutcome {
    /// The step exited with the code 0.
    Succeeded,
    /// The boundary did not see the end of the run.
    Unknown,
}

/// A page of proposals, the newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProposalPage {
    /// Matching proposals. A page before the last page can have fewer proposals than the limit.
    pub proposals: Vec<Proposal>,
    /// Position at which the next page begins, or `None` after the last page.
    pub next: Option<ProposalId>,
}
