//! What a boundary answers to a signature.

use serde::Serialize;

use crate::{CommandResult, Exit, Terminal};
use documents::{Name, joined};
use wire::ApprovalsView;

/// Tells the answer of a boundary to a signature: the state of what was signed, and which groups must still sign.
pub fn told_signature(
    answer: &impl Serialize,
    approver: &Name,
    (id, status): (&str, &str),
    approvals: &ApprovalsView,
    terminal: &Terminal,
) -> CommandResult {
    let missing = joined(&approvals.missing, ", somebody of ");
    terminal.answer(answer, format!("signed by {approver}: {id} is {status}"))?;
    if !terminal.json && !missing.is_empty() {
        terminal.say(format!("still needed: somebody of {missing}"));
    }
    Ok(Exit::Done)
}
