//! Read access to the results of runs, and to the plans that runs applied.

use crate::{
    Caller, Evidence, RosterPart, blob_text, envelope_in, evidence::Within,
    logged_documents::predicate, manifest_of, proposals::span,
};
use crossing::{PlanRun, Refusal, RequestResult, authorization_at, fault};
use documents::{OUTPUTS_PATH, Receipt, ReceiptId, StepDefinition, json};
use wire::ReceiptFiles;

impl Evidence {
    /// Returns the files and outputs that a run left.
    ///
    /// # Errors
    /// Returns `not-found` if the receipt does not exist or the caller may not see the receipt. The refusal has the
    /// case `Gone` if the outputs are no longer stored.
    pub fn files(&self, caller: &Caller, id: &ReceiptId) -> RequestResult<ReceiptFiles> {
        let (logged, log) = self.receipt_in(caller, id)?;
        let receipt: Receipt = predicate(&logged.envelope)?;
        let manifest =
            manifest_of(log.ledger(), &receipt)?.map_or_else(Vec::new, |manifest| manifest.0);
        let outputs = match manifest
            .iter()
            .find(|entry| entry.path.as_str() == OUTPUTS_PATH)
        {
            None => serde_json::Map::new(),
            Some(entry) => {
                let bytes = log.ledger().output(&entry.blake3, 0..entry.bytes)?;
                let bytes = bytes.ok_or_else(|| {
                    let kept = span(self.retention.outputs_s);
                    Refusal::gone(format!(
                        "the outputs of {id} are no longer stored: they are deleted {kept} after the run"
                    ))
                })?;
                json::parse_as(&bytes, bytes.len()).map_err(fault)?
            }
        };
        let authorization = authorization_at(log.ledger(), &receipt.authorization)?;
        Ok(ReceiptFiles {
            step: authorization.step.reference,
            files: manifest,
            outputs,
        })
    }

    /// Returns the bundle of the plan that a run applied, with the version of its roster, or `None` for a run without a plan.
    pub fn plan_bundle(
        &self,
        log: Within<'_>,
        receipt: &Receipt,
    ) -> RequestResult<Option<(Vec<u8>, u64)>> {
        let signed = authorization_at(log.ledger(), &receipt.authorization)?;
        let Some(plan) = &signed.plan else {
            return Ok(None);
        };
        let params = signed.params_digest()?;
        for ledger in std::iter::once(log.ledger()).chain(&self.closed) {
            let definition: StepDefinition = {
                let text = blob_text(ledger, *signed.step.digest.as_bytes())?;
                json::parse_as(text.as_bytes(), text.len()).map_err(fault)?
            };
            let Some(step) = &definition.plan else {
                continue;
            };
            let Some(found) = PlanRun::find(ledger, step, &signed, &params, receipt.started_at)?
            else {
                continue;
            };
            let row = ledger.proposal(&found.proposal)?;
            let Some(index) = row.and_then(|row| row.receipt) else {
                continue;
            };
            let within = if std::ptr::eq(ledger, log.ledger()) {
                log
            } else {
                Within::Closed(ledger)
            };
            let envelope = envelope_in(ledger, index)?;
            return self
                .stored_bundle(within, index, &envelope, &found.receipt, RosterPart::Number)
                .map(Some);
        }
        Err(fault(format!(
            "the run of the plan {} is not stored",
            plan.receipt
        )))
    }
}
