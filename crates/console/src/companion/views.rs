//! The markup of the inbox and of the list of steps, and parts of all pages of the companion.

use client::commands::inbox::{heaviest, parameter_words, time_left};
use client::commands::registry::printed::rules;
use client::remote::run_printer::held_up_words;
use client::terminal::exit::CommandFailure;
use documents::record::validity::Timestamp;
use maud::{Markup, html};
use wire::api::registry_view::RegistryView;
use wire::api::view::{ProposalStatus, ProposalView};

use crate::companion::inbox::BoundaryInbox;
use crate::page::frame::{FramedPage, framed};
use crate::proposal::proposal_words::{plain, signature_words, standing_words};
use crate::proposal::reached::BoundaryState;

/// Maximum length of the parameters in a line of the inbox. The review shows all of them.
const MOST_WORDS: usize = 160;
/// Number of last digits of an id in the inbox.
const ENDING: usize = 8;

/// Returns the path of a page about a proposal.
pub(super) fn path_of(page: &str, boundary: usize, view: &ProposalView) -> String {
    format!("/b/{boundary}/{page}/{}", view.id)
}

/// Returns a page of the companion.
pub(super) fn companion_page(title: &str, main: Markup, changes: bool) -> String {
    let main = html! {
        p.row { a href="/" { "Inbox" } }
        (main)
    };
    framed(&FramedPage { title: title.to_owned(), side: None, main, changes }).into_string()
}

fn id_end(view: &ProposalView) -> &str {
    let id = view.id.as_str();
    id.get(id.len().saturating_sub(ENDING)..).unwrap_or(id)
}

/// Returns the name of a boundary, with its own name if the person chose another one.
fn boundary_words(name: &str, state: &BoundaryState) -> String {
    let own = state.name.as_str();
    if name == own { plain(name) } else { plain(&format!("{name} ({own})")) }
}

type Read = Result<BoundaryInbox, CommandFailure>;

/// Returns the inbox over all boundaries.
pub(super) fn inbox(all: &[(String, Read)], now: Timestamp) -> String {
    let each = || {
        let read = all.iter().enumerate().map(|(at, (name, read))| (at, name.as_str(), read.as_ref().ok()));
        read.filter_map(|(at, name, read)| read.map(|read| (at, name, read)))
    };
    let group = |of: fn(&BoundaryInbox) -> &Vec<ProposalView>| -> Vec<(usize, &str, &ProposalView)> {
        each().flat_map(|(at, name, read)| of(read).iter().map(move |view| (at, name, view))).collect()
    };
    let mut mine = group(|read| &read.mine);
    mine.sort_by_key(|(_, _, view)| view.expires_at);
    let main = html! {
        h1 { "Inbox" }
        @for (name, read) in all {
            @if let Err(failure) = read {
                div.question role="note" { strong { (plain(name)) } ": not read. " (failure.message) }
            }
        }
        (table("Yours to move", "No proposal waits for your signature.", &mine, now, true))
        (table("Waiting for others", "No other proposal is pending.", &group(|read| &read.others), now, true))
        @for (at, name, read) in each() {
            @for (digest, views) in read.of_one_definition() {
                p {
                    a href=(format!("/b/{at}/compare/{digest}")) {
                        "Compare " (views.len()) " proposals of " (plain(views[0].step.as_str())) " at " (plain(name))
                    }
                }
            }
        }
        (table("Running", "No run is approved or running.", &group(|read| &read.running), now, false))
        (table("Finished today", "No run has ended today (UTC).", &group(|read| &read.ended), now, false))
        h2 { "Boundaries" }
        ul {
            @for (at, name, read) in each() {
                li {
                    strong { (boundary_words(name, &read.state)) } ": roster version " (read.state.roster) ", "
                    @if read.state.is_trusted { "trusted" } @else { strong { "not trusted" } ", so nothing can be signed there" }
                    ". "
                    @match &read.approver {
                        Ok(approver) => { "You are " (approver.as_str()) ". " }
                        Err(why) => { (why) ". " }
                    }
                    a href=(format!("/b/{at}/steps")) { "Steps of " (plain(name)) }
                }
            }
        }
    };
    let title = if mine.is_empty() { "Inbox".to_owned() } else { format!("Inbox ({})", mine.len()) };
    framed(&FramedPage { title, side: None, main, changes: false }).into_string()
}

fn table(title: &str, none: &str, rows: &[(usize, &str, &ProposalView)], now: Timestamp, pending: bool) -> Markup {
    html! {
        h2 { (title) " (" (rows.len()) ")" }
        @if rows.is_empty() {
            p { (none) }
        } @else {
            ul.cards {
                @for (at, name, view) in rows { (card(*at, name, view, now, pending)) }
            }
        }
    }
}

fn card(at: usize, name: &str, view: &ProposalView, now: Timestamp, pending: bool) -> Markup {
    let remark = heaviest(view);
    let page = if pending { "review" } else { "run" };
    let verb = if pending { "Review" } else { "Show" };
    html! {
        li {
            a.strong href=(path_of(page, at, view)) { (verb) " " (plain(view.step.as_str())) " …" (id_end(view)) }
            " at " (plain(name)) ", for " (plain(view.proposer.as_str()))
            @if pending {
                ", " (signature_words(view)) ", " strong { (time_left(view, now)) " left" }
                @if !remark.as_str().is_empty() { ". Most important remark: " strong { (remark.as_str().trim_start_matches("! ")) } }
            } @else {
                ": " (standing_words(view))
                @if let Some(why) = &view.held_up { ". " (plain(&held_up_words(why))) }
            }
            div.hint { code { (parameter_words(view).cut(MOST_WORDS).as_str()) } }
        }
    }
}

/// Returns the list of the steps of a boundary.
pub(super) fn steps(name: &str, registry: &RegistryView) -> String {
    let main = html! {
        h1 { "Steps of " (plain(name)) }
        @for drift in &registry.seal.drift { div.admonition role="note" { (plain(drift)) } }
        p.hint { "Seal " (registry.seal.number) ", registry root " code { (registry.seal.registry_root.to_string()) } }
        div.wide tabindex="0" role="region" aria-label="Steps" {
            table {
                thead { tr { th scope="col" { "Step" } th scope="col" { "Approvals" } th scope="col" { "Title" } th scope="col" { "Digest" } th scope="col" { "Here" } } }
                tbody {
                    @for step in &registry.steps {
                        tr {
                            th scope="row" { (plain(step.reference.as_str())) }
                            td { (plain(&rules(&step.approvals))) }
                            td { (plain(&step.title)) }
                            td { code { (step.digest.to_string()) } }
                            td { @match &step.unavailable { Some(why) => { "can't run: " (plain(why)) } None => { "can run" } } }
                        }
                    }
                }
            }
        }
    };
    companion_page(&format!("Steps of {}", plain(name)), main, false)
}

/// Returns true if the page of the run changes by itself.
pub(super) const fn is_live(status: ProposalStatus) -> bool {
    matches!(status, ProposalStatus::Approved | ProposalStatus::Running)
}
