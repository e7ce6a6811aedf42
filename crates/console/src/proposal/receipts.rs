//! Receipts and recorded output, checked on this machine, and the markup of a run: its state, its output, and its
//! receipt with all checks.
//!
//! The module also has a proposal's state in words, and the status of a page whose boundary fails to answer.

use std::sync::Arc;

use axum::{http::StatusCode, response::Response};
use maud::{Markup, html};

use crate::{
    BoundaryTrust, ReachedBoundary, coloured, download, hidden, plain, web::secrets::FormKey,
};
use client::{
    Client, ColouredText, CommandFailure, CommandResult, Exit, JudgedBundle, OutputPainter,
    PrintableText, denial_words, fail_refused, held_up_words, now, outcome_words, state_words,
    time_left, trust_advice, with_any,
};
use documents::{
    Blake3Digest, Code, ContentDigest, Outcome, ProposalId, ReceiptId, Status, Stream, joined,
    refused_parts, refused_words,
};
use verdict::{ApprovedFacts, BundleReport, CheckFinding, Facts, VerifyOptions};
use wire::{ProposalStatus, ProposalView};

/// Maximum size of a stream that the page shows.
const MOST_SHOWN: u64 = 1 << 20;

/// A receipt that was checked as `countersign verify` does.
pub struct CheckedReceipt {
    /// The report of all checks.
    pub report: BundleReport,
    /// Source of the trusted roster.
    pub trusted_from: String,
    /// The recorded output, by the name of its stream, or why it is not shown.
    pub output: Vec<(&'static str, Result<Vec<ColouredText>, String>)>,
}

/// A proposal, and its receipt, or the reason why the receipt could not be verified. `None` without a receipt.
pub type ReadRun = (ProposalView, Option<Result<CheckedReceipt, String>>);

/// Reads a proposal, and checks its receipt.
///
/// # Errors
/// Returns an error if the boundary does not return the proposal.
pub fn read_run(
    place: &ReachedBoundary,
    client: &Client,
    id: &ProposalId,
) -> CommandResult<ReadRun> {
    let view = proposal_of(client, id)?;
    let receipt = view
        .receipt
        .as_ref()
        .map(|receipt| check(&place.trust, client, &view, receipt));
    Ok((view, receipt))
}

/// Fetches the bundle of a receipt and the recorded output, and checks both.
///
/// # Errors
/// Returns the reason why nothing could be verified.
fn check(
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
        let advice = trust_advice(untrusted.first_roster, "boundary");
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

/// Answers with the bundle of a proposal's receipt, which `countersign verify` reads.
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
    let name = format!("{receipt}.bundle.json");
    Ok(download("application/json", &name, bytes))
}

/// Returns the first fact on which the receipt and the boundary's view differ.
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

/// Returns the state of a proposal in words, with the reasons of the people who denied it.
pub fn standing_words(view: &ProposalView) -> String {
    PrintableText::text(&state_words(view, outcome_words))
        .then(denial_words(&view.denials))
        .to_string()
}

/// Reads a proposal, and checks that the boundary returned this proposal.
///
/// # Errors
/// Returns an error if the boundary refuses, does not answer, or returns another proposal.
pub fn proposal_of(client: &Client, id: &ProposalId) -> CommandResult<ProposalView> {
    let view: ProposalView = client.get(&format!("/v1/proposals/{id}"))?;
    if view.id == *id {
        return Ok(view);
    }
    let what = format!(
        "this page asked for {id}, but the boundary returned {}: don't trust this boundary",
        view.id
    );
    fail_refused(what)
}

/// Returns the status of the page that shows this failure.
pub fn status_of(failure: &CommandFailure) -> StatusCode {
    match failure.exit {
        Exit::Unreachable => StatusCode::BAD_GATEWAY,
        _ if failure.has_code(Code::NotFound) => StatusCode::NOT_FOUND,
        _ if failure.has_code(Code::Forbidden) => StatusCode::FORBIDDEN,
        _ if failure.has_code(Code::Unauthenticated) => StatusCode::UNAUTHORIZED,
        _ => StatusCode::CONFLICT,
    }
}

/// What the page of a run needs.
pub struct RunView<'a> {
    /// Key of the authentication codes of the forms.
    pub form_key: &'a FormKey,
    /// Number of the form that stops the run.
    pub number: &'a str,
    /// Address of the events of the proposal.
    pub events_path: String,
    /// Address of the form that cancels the proposal.
    pub stop_path: String,
    /// Address of the review on which an approver denies, if these pages have one.
    pub review_path: Option<String>,
    /// Address of the bundle of the receipt.
    pub bundle_path: String,
    /// The proposal, as the boundary reports it.
    pub view: &'a ProposalView,
    /// The receipt, or the reason why it could not be verified. `None` without a receipt.
    pub receipt: Option<&'a Result<CheckedReceipt, String>>,
    /// True if the page changes by itself.
    pub live: bool,
}

impl RunView<'_> {
    /// Returns the state, the output and the receipt.
    pub fn markup(&self) -> Markup {
        let (view, live) = (self.view, self.live);
        let state = match view.outcome.as_ref().map(|outcome| outcome.status) {
            Some(Status::Succeeded) => "passed",
            Some(Status::Warned) => "warned",
            Some(_) => "failed",
            None if view.status.has_ended() => "failed",
            None => "ready",
        };
        html! {
            dl.pairs {
                dt { "Proposal" } dd { code { (view.id.as_str()) } }
                dt { "State" } dd { strong { (standing_words(view)) } }
                dt { "Parameters" } dd { code { (PrintableText::json(&view.params)) } }
                @if !view.reason.is_empty() { dt { "Reason" } dd { (PrintableText::quoted_prose(&view.reason).as_str()) } }
                dt { "Digest" } dd { code { (view.digest.to_string()) } }
                @if let Some(receipt) = &view.receipt { dt { "Receipt" } dd { code { (receipt.to_string()) } } }
                dt { "Signatures" } dd { (view.approvals.words()) }
                dt { "Proposer" } dd { (plain(view.proposer.as_str())) }
                @if !view.status.has_ended() { dt { "Expires" } dd { (view.expires_at.to_string()) ", " (time_left(view, now())) " left" } }
                @if !view.approvals.excluded.is_empty() && !view.status.has_ended() {
                    dt { "Can't sign" } dd { (joined(&view.approvals.excluded, ", ")) ", because they made the proposal, or own its token" }
                }
                @if let Some(why) = &view.held_up { dt { "Held up" } dd { (plain(&held_up_words(why))) } }
            }
            section.step #run data-state=(state) aria-label="The run" {
                p role="status" { span.state { (view.status) } }
                div id=[live.then_some("live")] data-events=[live.then_some(&self.events_path)] {
                    @if live {
                        pre.output tabindex="0" aria-label="Output of the run" hidden {}
                        noscript { p { "The output appears here after the run has ended. This page loads itself again every 2 seconds." } }
                    }
                    ul.facts {}
                }
                (self.output())
            }
            (self.stop())
            (self.checks())
            @if view.receipt.is_some() { p { a href=(self.bundle_path) { "Download the bundle of the receipt" } } }
        }
    }

    fn output(&self) -> Markup {
        let Some(Ok(receipt)) = self.receipt else {
            return html! {};
        };
        html! {
            @for (name, parts) in &receipt.output {
                h2 { "The " (name) }
                @match parts {
                    Ok(parts) => pre.output tabindex="0" aria-label=(name) { (coloured(parts)) },
                    Err(why) => p { (plain(why)) },
                }
            }
            @if receipt.report.verified && receipt.output.is_empty() { p { "The run wrote no output." } }
        }
    }

    /// Returns the ways to stop a proposal that is not over.
    fn stop(&self) -> Markup {
        if self.view.status.has_ended() {
            return html! {};
        }
        let path = &self.stop_path;
        html! {
            h2 { "Stop" }
            @if let Some(review) = &self.review_path {
                p {
                    "An approver stops a proposal or a run with a denial: "
                    a href=(review) { "review and deny" } "."
                }
            }
            form method="post" action=(path) {
                (hidden(self.form_key, path, self.number, self.view.id.as_str()))
                p.hint { "Only the proposer " (plain(self.view.proposer.as_str())) " and operators can cancel." }
                button type="submit" { "Cancel" }
            }
        }
    }

    /// Returns the checks of the receipt, which this program made.
    fn checks(&self) -> Markup {
        match self.receipt {
            None if self.view.status == ProposalStatus::Finished => html! {
                h2 { "Receipt" }
                div.question role="note" { strong { "Nothing was verified: " } "the boundary names no receipt of this run." }
            },
            None => html! {},
            Some(Err(why)) => html! {
                h2 { "Receipt" }
                div.question role="note" { strong { "Not verified: " } (plain(why)) }
            },
            Some(Ok(receipt)) => checks(receipt),
        }
    }
}

fn is_use(facts: &Facts) -> bool {
    facts
        .approved
        .as_ref()
        .is_some_and(|approved| approved.grant.is_some())
}

fn checks(receipt: &CheckedReceipt) -> Markup {
    let report = &receipt.report;
    html! {
        h2 { "Receipt" }
        @if report.verified {
            @if let Some(facts) = &report.facts {
                p { "The receipt states: " strong { (plain(&(outcome_words(&facts.outcome) + &refused_words(&refused_parts(&facts.outcome, facts.programs.as_ref()))))) } @if is_use(facts) { ", under a standing grant that these people signed: " } @else { ", approved by " } strong { (joined(facts.approvers.iter().map(|approver| &approver.name), ", ")) } "." }
                @for line in &facts.refused_hosts { div.admonition role="note" { (plain(line)) } }
            }
            p { strong.good { "Verified on this machine" } ", with the roster " code { (report.trust.roster.to_string()) } " (" (plain(&receipt.trusted_from)) ")." }
        } @else {
            div.question role="note" { strong { "NOT VERIFIED. " } "A check failed, or a required check could not be made." }
        }
        @for warning in &report.warnings { div.admonition role="note" { (plain(warning)) } }
        div.wide tabindex="0" role="region" aria-label="Checks of the receipt" {
            table {
                thead { tr { th scope="col" { "Check" } th scope="col" { "Result" } th scope="col" { "Rests on" } th scope="col" { "Detail" } } }
                tbody {
                    @for check in &report.checks {
                        tr {
                            th scope="row" { (check.name) }
                            td.whole { @match check.finding {
                                CheckFinding::Established => span.good { (check.finding) },
                                CheckFinding::Failed => strong.bad { (check.finding) },
                                CheckFinding::NotChecked => (check.finding),
                            } }
                            td { (check.rests_on) }
                            td { (plain(&check.detail)) }
                        }
                    }
                }
            }
        }
        h3 { "Only the boundary's word" }
        ul { @for line in &report.boundary_says { li { (plain(line)) } } }
    }
}

#[cfg(test)]
mod proposal_words_tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_page_names_the_refused_program_beside_the_success() {
        let digest = format!("sha256:{}", "0".repeat(64));
        let view = json!({
            "id": "prp_019aa0b0-5c00-7000-8000-000000000001", "status": "finished", "next": [], "step": "a:b", "step_digest": digest,
            "params": {}, "params_digest": digest, "proposer": "agent", "reason": "", "digest": digest, "payload": "",
            "created_at": "2026-11-20T09:30:00Z", "expires_at": "2026-11-20T10:30:00Z",
            "approvals": {"rules": [], "required": 1, "have": 1, "approvers": [], "missing": [], "excluded": []},
            "outcome": {"status": "succeeded", "exit_code": 0}, "refused": [{"name": "/usr/bin/jq", "add": "programs=jq"}],
        });
        let mut view: ProposalView = serde_json::from_value(view).expect("a view");
        let words = "succeeded, exit code 0; refused: /usr/bin/jq (add programs=jq to the block)";
        assert_eq!(standing_words(&view), words);
        view.refused.clear();
        assert_eq!(standing_words(&view), "succeeded, exit code 0");
    }
}
