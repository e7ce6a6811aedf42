//! The markup of a run: its state, its output, and its receipt with all checks.

use client::{PrintableText, held_up_words, outcome_words, time_left};
use documents::{Name, Status, Timestamp, refused_parts, refused_words};
use maud::{Markup, html};
use verdict::{CheckFinding, Facts};
use wire::{ProposalStatus, ProposalView};

use crate::{CheckedReceipt, coloured, hidden, plain, standing_words, web::secrets::FormKey};

/// Addresses of what belongs to a run.
#[derive(Debug)]
pub struct RunAddresses {
    /// Events of the proposal.
    pub events: String,
    /// Form that cancels the proposal.
    pub stop: String,
    /// Review on which an approver denies, if these pages have one.
    pub review: Option<String>,
    /// Bundle of the receipt.
    pub bundle: String,
}

/// What the page of a run needs.
#[derive(Debug, Clone, Copy)]
pub struct RunView<'a> {
    /// Seals of the forms.
    pub form_key: &'a FormKey,
    /// Number of the form that stops the run.
    pub number: &'a str,
    /// Addresses of the page.
    pub links: &'a RunAddresses,
    /// The proposal, as the boundary reports it.
    pub view: &'a ProposalView,
    /// The receipt, or why it could not be verified. `None` without a receipt.
    pub receipt: Option<&'a Result<CheckedReceipt, String>>,
    /// True if the page changes by itself.
    pub live: bool,
    /// Time of the page.
    pub now: Timestamp,
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
                @if !view.status.has_ended() { dt { "Expires" } dd { (view.expires_at.to_string()) ", " (time_left(view, self.now)) " left" } }
                @if !view.approvals.excluded.is_empty() && !view.status.has_ended() {
                    dt { "Can't sign" } dd { (joined(&view.approvals.excluded)) ", because they made the proposal, or own its token" }
                }
                @if let Some(why) = &view.held_up { dt { "Held up" } dd { (plain(&held_up_words(why))) } }
            }
            section.step #run data-state=(state) aria-label="The run" {
                p role="status" { span.state { (view.status.word()) } }
                div id=[live.then_some("live")] data-events=[live.then_some(&self.links.events)] {
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
            @if view.receipt.is_some() { p { a href=(self.links.bundle) { "Download the bundle of the receipt" } } }
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
        let path = &self.links.stop;
        html! {
            h2 { "Stop" }
            @if let Some(review) = &self.links.review {
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

fn joined<'n>(names: impl IntoIterator<Item = &'n Name>) -> String {
    names
        .into_iter()
        .map(|name| name.as_str())
        .collect::<Vec<_>>()
        .join(", ")
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
                p { "The receipt states: " strong { (plain(&(outcome_words(&facts.outcome) + &refused_words(&refused_parts(&facts.outcome, facts.programs.as_ref()))))) } @if is_use(facts) { ", under a standing grant that these people signed: " } @else { ", approved by " } strong { (joined(facts.approvers.iter().map(|approver| &approver.name))) } "." }
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
                            th scope="row" { (check.name.word()) }
                            td.whole { @match check.finding {
                                CheckFinding::Established => span.good { (check.finding.words()) },
                                CheckFinding::Failed => strong.bad { (check.finding.words()) },
                                CheckFinding::NotChecked => (check.finding.words()),
                            } }
                            td { (check.rests_on.words()) }
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
