//! The markup of a run: its state, its output, and its receipt with all checks.

use client::remote::run_printer::held_up_words;
use documents::record::receipt::Status;
use judgement::audit::report::CheckFinding;
use maud::{Markup, html};
use wire::api::view::ProposalView;

use crate::companion::receipts::CheckedReceipt;
use crate::companion::views::{
    NavPlace, companion_page, hidden, is_live, path_of, plain, signature_words, standing_words,
};
use crate::page::terminal_text::coloured;
use crate::web::door::Door;

/// What the page of a run needs.
#[derive(Debug, Clone, Copy)]
pub(super) struct RunView<'a> {
    /// Seals of the forms.
    pub(super) door: &'a Door,
    /// Number of the form that stops the run.
    pub(super) number: &'a str,
    /// Place of the boundary in the list.
    pub(super) boundary: usize,
    /// Name of the boundary.
    pub(super) name: &'a str,
    /// The proposal, as the boundary reports it.
    pub(super) view: &'a ProposalView,
    /// The receipt, or why it could not be verified. `None` without a receipt.
    pub(super) receipt: Option<&'a Result<CheckedReceipt, String>>,
}

impl RunView<'_> {
    /// Returns the page.
    pub(super) fn page(&self) -> String {
        let view = self.view;
        let live = is_live(view.status);
        let events = path_of("events", self.boundary, view);
        let title = format!("{} at {}", plain(view.step.as_str()), plain(self.name));
        let state = match view.outcome.as_ref().map(|outcome| outcome.status) {
            Some(Status::Succeeded) => "passed",
            Some(Status::Warned) => "warned",
            Some(_) => "failed",
            None if view.status.has_ended() => "failed",
            None => "ready",
        };
        let main = html! {
            h1 { (title) }
            dl.pairs {
                dt { "Proposal" } dd { code { (view.id.as_str()) } }
                dt { "State" } dd { strong { (standing_words(view)) } }
                dt { "Signatures" } dd { (signature_words(view)) }
                dt { "Proposer" } dd { (plain(view.proposer.as_str())) }
                dt { "Expires" } dd { (view.expires_at.to_string()) }
                @if let Some(why) = &view.held_up { dt { "Held up" } dd { (plain(&held_up_words(why))) } }
            }
            section.step #run data-state=(state) aria-label="The run" {
                p role="status" { span.state { (view.status.word()) } }
                div id=[live.then_some("live")] data-events=[live.then_some(events)] {
                    @if live {
                        pre.output tabindex="0" aria-label="Output of the run" hidden {}
                        noscript { p { "The output appears here after the run has ended. This page loads itself again every 2 seconds." } }
                    }
                    ul.facts {}
                    div.files {}
                    div.asks {}
                }
                (self.output())
            }
            (self.stop())
            (self.checks())
        };
        companion_page(NavPlace::at(self.boundary), &title, main, live)
    }

    fn output(&self) -> Markup {
        let Some(Ok(receipt)) = self.receipt else { return html! {} };
        html! {
            @for (name, parts) in &receipt.output {
                h3 { "The " (name) }
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
        let path = path_of("stop", self.boundary, self.view);
        html! {
            h2 { "Stop" }
            p {
                "An approver stops a proposal or a run with a denial: "
                a href=(path_of("review", self.boundary, self.view)) { "review and deny" } "."
            }
            form method="post" action=(path) {
                (hidden(self.door, &path, self.number, self.view.id.as_str()))
                button type="submit" { "Cancel as the proposer or an operator" }
            }
        }
    }

    /// Returns the checks of the receipt, which this program made.
    fn checks(&self) -> Markup {
        match self.receipt {
            None => html! {},
            Some(Err(why)) => html! {
                h2 { "Receipt" }
                div.question role="note" { strong { "Not verified: " } (plain(why)) }
            },
            Some(Ok(receipt)) => checks(receipt),
        }
    }
}

fn checks(receipt: &CheckedReceipt) -> Markup {
    let report = &receipt.report;
    html! {
        h2 { "Receipt" }
        @if report.verified {
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

/// Advice if a boundary refuses to cancel.
pub(super) const CANCEL_ADVICE: &str =
    "only the proposer and operators can cancel: to stop this proposal as an approver, deny it on its review page";
