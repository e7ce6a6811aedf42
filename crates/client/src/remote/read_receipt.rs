//! Reads a receipt of the boundary, without a check of its signature, and explains what the lists of its run refused.

use crate::{
    Client, CommandFailure, CommandResult, ListPlace, OutputComplaints, Terminal, fail_refused,
    print_hints, refusal_lines,
};
use documents::{
    Authorization, AuthorizationDigest, Base64, ContentDigest, Envelope, Malformed, Predicate,
    Receipt, ReceiptId, Statement,
};
use wire::{ProposalView, ReceiptView};

/// A receipt with the digest of its payload, which a review names.
#[derive(Debug, Clone)]
pub struct ReadReceipt {
    /// The id that the caller asked for.
    pub id: ReceiptId,
    /// The receipt.
    pub receipt: Receipt,
    /// What the approvers signed.
    pub signed: Authorization,
    /// Digest of the receipt's payload, computed by this program.
    pub digest: ContentDigest,
    /// Why the end is unknown, in the words of the boundary.
    pub end_unknown_because: Option<String>,
}

impl ReadReceipt {
    /// Reads the receipt with this id.
    ///
    /// # Errors
    /// Returns an error if there is no such receipt, or if the boundary returns another document.
    pub fn fetch(client: &Client, id: &ReceiptId) -> CommandResult<Self> {
        Self::of(client.get(&format!("/v1/receipts/{id}"))?, id)
    }

    /// Reads the answer of the boundary about the receipt with this id.
    ///
    /// # Errors
    /// Returns an error if the answer is about another receipt, or can't be read.
    pub fn of(view: ReceiptView, id: &ReceiptId) -> CommandResult<Self> {
        let (receipt, digest) = signed_receipt(&view.envelope)?;
        let (payload, signed) =
            read_statement::<Authorization>(Base64::Strict, &view.authorization.payload)
                .map_err(odd)?;
        let signed = signed.predicate;
        if AuthorizationDigest::of(&payload) != receipt.authorization.digest {
            let detail = format!("the boundary returned an authorization that {id} does not name");
            return fail_refused(detail);
        }
        if signed.proposal != id.proposal() {
            let detail = format!(
                "this command asked for {id}, but the boundary returned the receipt of {}",
                signed.proposal
            );
            return fail_refused(detail);
        }
        Ok(Self {
            id: id.clone(),
            receipt,
            signed,
            digest,
            end_unknown_because: view.end_unknown_because,
        })
    }
}

/// Returns the receipt in an envelope, and the digest of its payload.
///
/// # Errors
/// Returns an error if the envelope contains no receipt.
pub fn signed_receipt(envelope: &Envelope) -> CommandResult<(Receipt, ContentDigest)> {
    let (payload, statement) =
        read_statement::<Receipt>(Base64::Strict, &envelope.payload).map_err(odd)?;
    Ok((statement.predicate, ContentDigest::of(&payload)))
}

/// Returns the decoded payload of an envelope, and the statement in it. No signature is checked.
///
/// # Errors
/// Returns an error if the payload is no base64, or contains no such statement.
pub fn read_statement<P: Predicate>(
    base64: Base64,
    payload: &str,
) -> Result<(Vec<u8>, Statement<P>), Malformed> {
    let payload = base64.decode("/payload", payload)?;
    let statement = Statement::from_payload(&payload)?;
    Ok((payload, statement))
}

/// Returns the predicate of the statement in a strictly encoded payload. No signature is checked.
pub fn read_predicate<P: Predicate>(payload: &str) -> Option<P> {
    let (_, statement) = read_statement(Base64::Strict, payload).ok()?;
    Some(statement.predicate)
}

/// Returns a line for each program and each host that the lists of a run refused, from the receipt of the run.
pub fn refusals_of_receipt(
    view: &ProposalView,
    receipt: &Receipt,
    complaints: &OutputComplaints,
) -> Vec<String> {
    let Some(mut signed) = read_predicate::<Authorization>(&view.payload) else {
        return Vec::new();
    };
    let _ = signed.sandbox.add_listed(&view.programs);
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
pub fn explain_refusals(
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
        .map(|receipt| refusals_of_receipt(view, &receipt, complaints))
        .unwrap_or_default();
    print_hints(&lines, terminal)
}

fn odd(error: Malformed) -> CommandFailure {
    CommandFailure::unreachable(format!("the boundary's receipt can't be read: {error}"))
}
