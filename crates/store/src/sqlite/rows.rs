//! Comparison of a proposal's row with the signed documents.

use crate::{
    column_values::id_bytes, fault::StoreFault, fields::Fields, stored_status::StoredStatus,
};
use documents::{Authorization, Malformed, Statement, Timestamp, sha256};

pub(super) const COLUMNS: &str = "p.id, p.digest, p.nonce, p.request IS NOT NULL, p.step, p.step_digest, \
                                  p.params_digest, p.proposer, p.expires_at, p.status, p.created_at, p.approved_at, \
                                  p.started_at, p.ended_at, p.spent, p.detail";

/// Row of a proposal, whose values are not verified.
pub(super) struct ProposalRow {
    pub(super) id: Vec<u8>,
    pub(super) digest: Vec<u8>,
    pub(super) nonce: Vec<u8>,
    /// True if a request created the proposal, false if a complete envelope arrived.
    asked: bool,
    step: String,
    step_digest: Vec<u8>,
    params_digest: Vec<u8>,
    proposer: String,
    expires_at: i64,
    pub(super) status: u8,
    created_at: i64,
    approved_at: Option<i64>,
    started_at: Option<i64>,
    pub(super) ended_at: Option<i64>,
    pub(super) spent: Option<i64>,
    pub(super) detail: Option<Vec<u8>>,
}

impl ProposalRow {
    /// Reads a row that has the [`COLUMNS`].
    pub(super) fn read(row: &Fields<'_>) -> Result<Self, StoreFault> {
        Ok(Self {
            id: row.get(0)?,
            digest: row.get(1)?,
            nonce: row.get(2)?,
            asked: row.get(3)?,
            step: row.get(4)?,
            step_digest: row.get(5)?,
            params_digest: row.get(6)?,
            proposer: row.get(7)?,
            expires_at: row.get(8)?,
            status: row.get(9)?,
            created_at: row.get(10)?,
            approved_at: row.get(11)?,
            started_at: row.get(12)?,
            ended_at: row.get(13)?,
            spent: row.get(14)?,
            detail: row.get(15)?,
        })
    }

    pub(super) fn runs(&self) -> bool {
        self.status == StoredStatus::Running.number()
    }

    /// Returns the names of the columns that differ from the payload.
    ///
    /// # Errors
    /// Returns an error if the payload is no authorization.
    pub(super) fn against_payload(&self, payload: &[u8]) -> Result<Vec<&'static str>, Malformed> {
        let said = Statement::<Authorization>::from_payload(payload)?.predicate;
        let params = said.params_digest()?;
        let columns = [
            ("id", self.id == id_bytes(&said.proposal)),
            ("digest", self.digest == sha256(payload)),
            ("nonce", self.nonce == said.nonce.to_bytes()),
            ("step", self.step == said.step.reference.as_str()),
            (
                "step_digest",
                self.step_digest == said.step.digest.as_bytes(),
            ),
            ("params_digest", self.params_digest == params.as_bytes()),
            ("proposer", self.proposer == said.proposer.as_str()),
            ("expires_at", self.expires_at == said.expires_at.unix()),
            (
                "created_at",
                !self.asked || self.created_at == said.issued_at.unix(),
            ),
        ];
        Ok(columns
            .into_iter()
            .filter(|(_, same)| !same)
            .map(|(column, _)| column)
            .collect())
    }

    /// Returns the names of the columns that differ from the consumption at the time `at`.
    pub(super) fn against_consumption(&self, at: Timestamp) -> Vec<&'static str> {
        let at = at.unix();
        // The row of a submitted envelope is created at the consumption.
        let columns = [
            ("started_at", self.started_at == Some(at)),
            ("created_at", self.asked || self.created_at == at),
            (
                "approved_at",
                self.approved_at.is_some() && (self.asked || self.approved_at == Some(at)),
            ),
        ];
        columns
            .into_iter()
            .filter(|(_, same)| !same)
            .map(|(column, _)| column)
            .collect()
    }
}
