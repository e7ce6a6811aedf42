//! The warning that a run masked names and the next run masked none.
//!
//! A deny pattern matches names. If a file is moved out of its pattern between two runs, the second run can read it.
//! The receipt of the second run then says that the run before masked names.

use crate::crossing::refusal::{Stopped, fault};
use crate::crossing::stored::receipt_of;
use crate::record::authorization::{Authorization, StepReference};
use crate::record::document::Statement;
use crate::record::enforcement::Enforcement;
use crate::record::envelope::{Base64, Envelope};
use crate::record::profile::Profile;
use crate::store::ledger::Ledger;
use crate::store::message::{ProposalQuery, StoredStatus};

/// How many earlier runs of the step are read. Some of them may have had another profile.
const LOOKED_AT: usize = 8;

/// The facts of a run. If this run masked no names, the facts include how many names the run before masked.
pub(super) fn with_masks_before(
    ledger: &Ledger,
    mut facts: Enforcement,
    step: &StepReference,
    authorization: &Envelope,
) -> Enforcement {
    if let Some(fs) = facts.fs.as_mut().filter(|fs| fs.masked == Some(0)) {
        match profile_of(authorization).and_then(|profile| masked_last(ledger, step, &profile)) {
            Ok(masked) => fs.masked_before = masked.filter(|masked| *masked > 0),
            // Only the warning is missing then. Write the receipt without it.
            Err(error) => tracing::warn!(?error, "the receipt of the step's last run can't be read"),
        }
        if let Some(before) = fs.masked_before {
            tracing::warn!(step = %step.reference, before, "deny patterns masked names in the last run, and none now");
        }
    }
    facts
}

/// The number of names that the last run of `step` under `profile` masked. If that run masked none and its receipt
/// warns, returns the number in the warning. So the warning stays until a run masks names again.
fn masked_last(ledger: &Ledger, step: &StepReference, profile: &Profile) -> Result<Option<u64>, Stopped> {
    let filter = ProposalQuery {
        statuses: vec![StoredStatus::Finished],
        ending: None,
        step: Some(step.reference.clone()),
        proposer: None,
        before: None,
        limit: LOOKED_AT,
    };
    for run in ledger.proposals(&filter).map_err(|error| fault(&error))?.proposals {
        let Some(receipt) = receipt_of(ledger, &run)? else { continue };
        let Some(fs) = receipt.sandbox.fs.as_ref() else { continue };
        let Some(masked) = fs.masked else { continue };
        if profile_of(&receipt.authorization)? == *profile {
            return Ok(Some(fs.masked_before.unwrap_or(masked)));
        }
    }
    Ok(None)
}

/// The profile that an authorization grants.
fn profile_of(authorization: &Envelope) -> Result<Profile, Stopped> {
    let payload = Base64::Strict.decode("/payload", &authorization.payload)?;
    Ok(Statement::<Authorization>::from_payload(&payload)?.predicate.sandbox)
}
