//! Status of a proposal, as the HTTP API and the commands show it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::api::view::{ApprovalsView, ProposalStatus, ProposalView, RefusalView};
use crate::boundary::proposals::{Proposals, verified_of, view_status};
use crate::crossing::refusal::{Stopped, fault};
use crate::crossing::sealed::Sealed;
use crate::crossing::stored_documents::receipt_of;
use crate::crypto::json;
use crate::decision::exclusion::ExcludedSigners;
use crate::decision::quorum;
use crate::decision::signature_count::{self, SignatureCount};
use crate::record::authorization::Authorization;
use crate::record::code::Code;
use crate::record::document::Statement;
use crate::record::ident::ProposalId;
use crate::record::receipt::{Outcome, Status};
use crate::store::stored_proposal::Proposal;
use crate::store::stored_status::StoredStatus;

impl Proposals {
    /// Builds the view of a proposal for a caller. The calling function must already have checked that the caller may
    /// see the proposal.
    pub(super) fn view(&self, row: &Proposal) -> Result<ProposalView, Stopped> {
        let id = &row.core.id;
        let payload = self.payload(id)?;
        let statement = Statement::<Authorization>::from_payload(&payload)?;
        let signed = &statement.predicate;
        let sealed = self.crossing.state();
        let status = if row.status.waits() && self.crossing.now() >= row.core.expires_at {
            ProposalStatus::Expired
        } else {
            view_status(row.status)
        };
        let mut approvals = self.approvals(id, signed, &sealed)?;
        let mut next = Vec::new();
        let mut offer = |word: &str| next.push(word.to_owned());
        match status {
            ProposalStatus::Pending => ["wait", "sign", "deny", "cancel"].into_iter().for_each(&mut offer),
            ProposalStatus::Approved => ["wait", "deny", "cancel"].into_iter().for_each(&mut offer),
            ProposalStatus::Running => ["wait", "events", "deny", "cancel"].into_iter().for_each(&mut offer),
            ProposalStatus::Finished => ["receipt", "bundle", "events"].into_iter().for_each(&mut offer),
            ProposalStatus::Denied | ProposalStatus::Expired | ProposalStatus::Cancelled | ProposalStatus::Refused => {
                offer("propose-again");
            }
        }
        let detail: Option<Value> = row.detail.as_ref().and_then(|detail| json::parse(detail, detail.len()).ok());
        let (mut outcome, mut refusal) = (None::<Outcome>, None::<RefusalView>);
        match row.status {
            StoredStatus::Finished => {
                outcome = detail.and_then(|detail| json::typed(&detail).ok());
                if outcome.as_ref().is_some_and(|outcome| outcome.status == Status::Cancelled)
                    && !self.ledger.denials(&row.core.digest).map_err(|e| fault(&e))?.is_empty()
                {
                    refusal = Some(self.denied_by(row)?);
                }
                // A submitted envelope has no stored signatures, and the signatures of an old proposal were deleted.
                // Only the receipt still names the approvers.
                if approvals.have == 0
                    && let Some(receipt) = receipt_of(&self.ledger, row)?
                {
                    let decision = receipt.decision;
                    approvals.have = decision.approvers.len() as u64;
                    approvals.approvers = decision.approvers;
                    approvals.excluded = decision.excluded;
                    approvals.missing.clear();
                }
            }
            StoredStatus::Denied => refusal = Some(self.denied_by(row)?),
            _ => refusal = detail.and_then(|detail| json::typed(&detail).ok()),
        }
        Ok(ProposalView {
            id: id.clone(),
            status,
            next,
            step: signed.step.reference.clone(),
            step_digest: signed.step.digest,
            params: signed.params.clone(),
            params_digest: row.core.params_digest,
            proposer: signed.proposer.clone(),
            reason: signed.reason.clone(),
            digest: row.core.digest,
            payload: STANDARD.encode(&payload),
            approvals,
            created_at: row.created_at,
            expires_at: signed.expires_at,
            ended_at: row.ended_at,
            outcome,
            receipt: row.receipt.map(|_| id.receipt()),
            refusal,
            held_up: self.held_up.of(id).filter(|_| status == ProposalStatus::Approved),
            existing: false,
        })
    }

    /// Returns a refusal with the name of the approver who denied the proposal. The reason that the approver gave is in
    /// the log, for callers with the scope `read` for all steps.
    pub(super) fn denied_by(&self, row: &Proposal) -> Result<RefusalView, Stopped> {
        let denials = self.ledger.denials(&row.core.digest).map_err(|e| fault(&e))?;
        let names: Vec<&str> = denials.iter().map(|denial| denial.approver.as_str()).collect();
        Ok(RefusalView { code: Code::Denied, detail: format!("denied by {}", names.join(", ")) })
    }

    fn approvals(&self, id: &ProposalId, signed: &Authorization, sealed: &Sealed) -> Result<ApprovalsView, Stopped> {
        // The seal in force contains another definition of the step, so the signed statement can't run any more and no
        // rule applies.
        let Ok((held, excluded)) = self.quorum_of(sealed, signed) else {
            return Ok(ApprovalsView {
                rules: Vec::new(),
                required: 0,
                have: 0,
                approvers: Vec::new(),
                missing: Vec::new(),
                excluded: Vec::new(),
            });
        };
        let count = self.count(id, held, &excluded, sealed)?;
        let progress = quorum::progress(&held.rules, &count);
        Ok(ApprovalsView {
            rules: held.approvals.to_vec(),
            required: progress.required,
            have: progress.have,
            approvers: progress.approvers,
            missing: progress.missing_from,
            excluded: excluded.names(),
        })
    }

    /// Counts the stored signatures under the approval rules in force.
    pub(super) fn count(
        &self,
        id: &ProposalId,
        held: &crate::decision::in_force::StepInForce,
        excluded: &ExcludedSigners,
        sealed: &Sealed,
    ) -> Result<SignatureCount, Stopped> {
        let stored = self.ledger.signatures(id).map_err(|e| fault(&e))?;
        let signatures: Vec<_> = stored.iter().map(verified_of).collect();
        Ok(signature_count::count(&signatures, &sealed.roster, excluded, &held.rules, self.crossing.now()))
    }
}
