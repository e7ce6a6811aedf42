//! Explains the programs and hosts that the lists of a boundary's run refused.

use crate::{
    Client, CommandResult, ListPlace, OutputComplaints, Terminal, print_hints, read_predicate,
    refusal_lines,
};
use documents::{Authorization, Receipt};
use wire::{ProposalView, ReceiptView};

/// Returns a line for each program and each host that the lists of a run refused, from the receipt of the run.
pub fn of_receipt(
    view: &ProposalView,
    receipt: &Receipt,
    complaints: &OutputComplaints,
) -> Vec<String> {
    let Some(signed) = read_predicate::<Authorization>(&view.payload) else {
        return Vec::new();
    };
    let place = ListPlace::Boundary(view.id.as_str());
    let mut lines = complaints.host_lines(&receipt.sandbox, &signed.sandbox);
    lines.extend(receipt.programs.iter().flat_map(|facts| {
        refusal_lines(
            facts,
            &signed.sandbox,
            receipt.outcome.exit_code,
            complaints,
            &place,
        )
    }));
    lines
}

/// Prints a line for each program and each host that the lists of a finished run refused. An unreadable receipt causes no
/// line.
///
/// # Errors
/// Returns an error if the standard output cannot be written.
pub fn explain(
    client: &Client,
    view: &ProposalView,
    complaints: &OutputComplaints,
    terminal: &Terminal,
) -> CommandResult<()> {
    let Some(id) = &view.receipt else {
        return Ok(());
    };
    let has_list = |signed: Authorization| {
        signed.sandbox.programs.is_some() || !signed.sandbox.network.hosts.is_empty()
    };
    if !read_predicate::<Authorization>(&view.payload).is_some_and(has_list) {
        return Ok(());
    }
    let Ok(found) = client.get::<ReceiptView>(&format!("/v1/receipts/{id}")) else {
        return Ok(());
    };
    let receipt = read_predicate::<Receipt>(&found.envelope.payload);
    let lines = receipt
        .map(|receipt| of_receipt(view, &receipt, complaints))
        .unwrap_or_default();
    print_hints(&lines, terminal)
}
