//! Receipts and recorded output, checked on this machine.

use std::sync::Arc;

use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{IntoResponse as _, Response};
use client::{
    Client, ColouredText, CommandFailure, CommandResult, Home, JudgedBundle, OutputPainter,
    trust_advice, with_any,
};
use documents::{Blake3Digest, ContentDigest, Outcome, ProposalId, ReceiptId, Stream};
use verdict::{ApprovedFacts, BundleReport, VerifyOptions};
use wire::ProposalView;

use crate::{BoundaryTrust, ReachedBoundary, proposal_of};

/// Maximum size of a stream that the page shows.
const MOST_SHOWN: u64 = 1 << 20;

/// A receipt that was checked as `countersign verify` does.
#[derive(Debug)]
pub struct CheckedReceipt {
    /// The report of all checks.
    pub report: BundleReport,
    /// Source of the trusted roster.
    pub trusted_from: String,
    /// The recorded output, by the name of its stream, or why it is not shown.
    pub output: Vec<(&'static str, Result<Vec<ColouredText>, String>)>,
}

/// Fetches the bundle of a receipt and the recorded output, and checks both.
///
/// # Errors
/// Returns why nothing could be verified.
pub fn check(
    trust: &BoundaryTrust,
    client: &Client,
    view: &ProposalView,
    receipt: &ReceiptId,
) -> Result<CheckedReceipt, String> {
    let bundle = client
        .bytes(&format!("/v1/receipts/{receipt}/bundle"))
        .map_err(|failure| failure.message)?;
    let trusted = trust.rosters().map_err(|failure| failure.message)?;
    let JudgedBundle {
        trusted, report, ..
    } = with_any(&bundle, &trusted, VerifyOptions::default()).map_err(|untrusted| {
        let advice = trust_advice(untrusted.first_roster, &Home::of_process().config_words());
        format!("{}; {advice}", untrusted.message)
    })?;
    if let Some(facts) = report.facts.as_deref() {
        let approved = facts.approved.as_ref();
        if approved.is_none_or(|approved| approved.receipt != *receipt)
            || receipt.proposal() != view.id
        {
            return Err(
                "the boundary returned the receipt of another run: don't trust this boundary"
                    .to_owned(),
            );
        }
        if let Some(what) =
            approved.and_then(|approved| contradiction(view, approved, &facts.outcome))
        {
            return Err(format!(
                "the receipt states another {what} than the boundary: don't trust this boundary"
            ));
        }
    }
    let mut output = Vec::new();
    if let Some(facts) = report.facts.as_ref().filter(|_| report.verified) {
        for (name, stream) in [
            ("standard output", &facts.output.stdout),
            ("standard error", &facts.output.stderr),
        ] {
            if stream.recorded > 0 {
                output.push((name, recorded(client, stream, view)));
            }
        }
    }
    Ok(CheckedReceipt {
        trusted_from: trusted.from.clone(),
        report,
        output,
    })
}

/// Sends the bundle of the receipt of a proposal, which `countersign verify` reads.
///
/// # Errors
/// Returns an error if the proposal has no receipt, or if the boundary does not give the bundle.
pub async fn sent_bundle(place: &Arc<ReachedBoundary>, id: ProposalId) -> CommandResult<Response> {
    let read = place.read(move |_, client| {
        let none = || CommandFailure::refused("the proposal has no receipt");
        let receipt = proposal_of(client, &id)?.receipt.ok_or_else(none)?;
        Ok((
            client.bytes(&format!("/v1/receipts/{receipt}/bundle"))?,
            receipt,
        ))
    });
    let (bytes, receipt) = read.await?;
    let saved = format!("attachment; filename=\"{receipt}.bundle.json\"");
    Ok((
        [
            (CONTENT_TYPE, "application/json".to_owned()),
            (CONTENT_DISPOSITION, saved),
        ],
        bytes,
    )
        .into_response())
}

/// Returns what the receipt states otherwise than the boundary.
fn contradiction(
    view: &ProposalView,
    approved: &ApprovedFacts,
    outcome: &Outcome,
) -> Option<&'static str> {
    let compared = [
        (
            "step",
            approved.step == view.step && approved.digest == view.step_digest,
        ),
        ("proposer", approved.proposer == view.proposer),
        ("reason", approved.reason == view.reason),
        ("parameters", approved.params == view.params),
        (
            "outcome",
            view.outcome.as_ref().is_none_or(|own| own == outcome),
        ),
    ];
    compared
        .into_iter()
        .find(|(_, is_same)| !is_same)
        .map(|(what, _)| what)
}

/// Fetches a recorded stream and compares it with the digests in the receipt.
fn recorded(
    client: &Client,
    stream: &Stream,
    view: &ProposalView,
) -> Result<Vec<ColouredText>, String> {
    if stream.recorded > MOST_SHOWN {
        return Err(format!(
            "the stream has {} bytes, which is too long for a page: run `countersign output {}`",
            stream.recorded, view.id
        ));
    }
    let bytes = client
        .bytes(&format!("/v1/outputs/{}", stream.blake3))
        .map_err(|failure| failure.message)?;
    if Blake3Digest::of(&bytes) != stream.blake3 || ContentDigest::of(&bytes) != stream.sha256 {
        return Err(
            "the output from the boundary does not match the digests in the receipt: don't use it"
                .to_owned(),
        );
    }
    let mut painter = OutputPainter::default();
    let mut parts = painter.feed(&bytes);
    parts.extend(painter.end());
    Ok(parts)
}
