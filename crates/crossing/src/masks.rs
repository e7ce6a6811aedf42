//! Warning for a run without masked names, if deny patterns masked names in the previous run of the step.
//!
//! A deny pattern is compared with names, not with the content of files. If a file is renamed between two runs and no
//! deny pattern matches the new name, the second run can read the file. The receipt of a run without masked names
//! states the number of names that the previous run masked.

use crate::{RequestResult, authorization_at, receipt_of};
use documents::{Enforcement, Profile, StepReference};
use store::{Ledger, ProposalQuery, ProposalStatus};

/// Maximum number of earlier receipts of the step that are read, because receipts of runs with another profile are skipped.
const LOOKED_AT: usize = 8;

/// Returns the enforcement facts of a run. If this run masked no names, the facts contain the number of names that the
/// previous run masked.
pub fn with_masks_before(
    ledger: &Ledger,
    mut facts: Enforcement,
    step: &StepReference,
    profile: &Profile,
) -> Enforcement {
    if let Some(fs) = facts.fs.as_mut().filter(|fs| fs.masked == Some(0)) {
        match masked_last(ledger, step, profile) {
            Ok(masked) => fs.masked_before = masked.filter(|masked| *masked > 0),
            // If the earlier receipt can't be read, the new receipt lacks the warning.
            Err(error) => {
                tracing::warn!(?error, "the receipt of the step's last run can't be read")
            }
        }
        if let Some(before) = fs.masked_before {
            tracing::warn!(step = %step.reference, before, "deny patterns hid names from the last run, but hide no \
                 names from this run");
        }
    }
    facts
}

/// Returns the number of names that the last run of `step` under `profile` masked. If the receipt of the last run
/// contains the warning, the function returns the number in the warning, so the warning remains in receipts until a run
/// masks names again.
fn masked_last(
    ledger: &Ledger,
    step: &StepReference,
    profile: &Profile,
) -> RequestResult<Option<u64>> {
    let filter = ProposalQuery {
        statuses: vec![ProposalStatus::Finished],
        ending: None,
        step: Some(step.reference.clone()),
        proposer: None,
        before: None,
        limit: LOOKED_AT,
    };
    for run in ledger.proposals(&filter)?.proposals {
        let Some(receipt) = receipt_of(ledger, &run)? else {
            continue;
        };
        let Some(fs) = receipt.sandbox.fs.as_ref() else {
            continue;
        };
        let Some(masked) = fs.masked else { continue };
        if authorization_at(ledger, &receipt.authorization)?.sandbox == *profile {
            return Ok(Some(fs.masked_before.unwrap_or(masked)));
        }
    }
    Ok(None)
}
