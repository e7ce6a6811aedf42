//! The markup of the inbox, and parts of all pages of the companion.

use client::{
    CommandResult, end_of, freeze_words, grant_words, heaviest, held_up_words, parameter_words,
    step_words, time_left,
};
use documents::{Timestamp, visible};
use maud::{Markup, html};
use wire::{ProposalStatus, ProposalView};

use crate::{BoundaryInbox, BoundaryState, framed, plain, standing_words};

/// Maximum length of the parameters in a line of the inbox. The review shows all parameters.
const MOST_WORDS: usize = 160;
/// Number of last digits of an id in the inbox.
const ENDING: usize = 8;

/// Returns the path of a page about a proposal.
pub fn path_of(page: &str, boundary: usize, view: &ProposalView) -> String {
    format!("/b/{boundary}/{page}/{}", view.id)
}

/// Name of the page of the freeze.
pub const FREEZE: &str = "Freeze";

/// The pages of one boundary: their names, and the last part of their paths.
const SECTIONS: [(&str, &str); 6] = [
    ("Steps", "steps"),
    ("Sessions", "sessions"),
    ("Receipts", "receipts"),
    ("Open", "open"),
    ("Log", "log"),
    (FREEZE, "freeze"),
];

/// Place of a page in the navigation.
#[derive(Clone)]
pub struct NavPlace {
    /// Place of the boundary in the list. `None` if the page is about several boundaries.
    pub boundary: Option<usize>,
    /// Name of this page, if the navigation has a link to it.
    pub here: Option<&'static str>,
}

impl NavPlace {
    /// Returns the place of a page about one proposal, or about several proposals of one boundary.
    pub fn at(boundary: usize) -> Self {
        Self {
            boundary: Some(boundary),
            here: None,
        }
    }

    /// Returns the place in the navigation of the page `here` of this boundary.
    pub fn section(boundary: usize, here: &'static str) -> Self {
        Self {
            boundary: Some(boundary),
            here: Some(here),
        }
    }

    fn links(self) -> Markup {
        let link = |name: &'static str, path: &str| {
            html! { a href=(path) aria-current=[(self.here == Some(name)).then_some("page")] { (name) } }
        };
        html! {
            div.row role="navigation" aria-label="Pages" {
                (link("Inbox", "/"))
                @if let Some(at) = self.boundary {
                    @for (name, path) in SECTIONS { (link(name, &format!("/b/{at}/{path}"))) }
                }
            }
        }
    }
}

/// Returns a page about one proposal, or about several proposals of one boundary.
pub fn companion_page(at: usize, title: &str, main: Markup) -> Markup {
    live_page(NavPlace::at(at), title, main, false)
}

/// Returns a page. If `changes` is true, browsers without JavaScript load the page again.
pub fn live_page(place: NavPlace, title: &str, main: Markup, changes: bool) -> Markup {
    framed(title, None, &html! { (place.links()) (main) }, changes)
}

/// Returns a page of one section of a boundary.
pub fn section_page(at: usize, section: &'static str, title: &str, main: &Markup) -> Markup {
    let title = plain(title);
    let main = html! { h1 { (title) } (main) };
    live_page(NavPlace::section(at, section), &title, main, false)
}

/// Returns the last digits of the id.
pub fn id_end(view: &ProposalView) -> &str {
    end_of(view, ENDING)
}

/// Returns the name of a boundary. If the person chose another name, the boundary's own name follows in parentheses.
fn boundary_words(name: &str, state: &BoundaryState) -> String {
    let own = state.name.as_str();
    if name == own {
        plain(name)
    } else {
        plain(&format!("{name} ({own})"))
    }
}

type Read = CommandResult<BoundaryInbox>;

/// Returns the inbox of all boundaries, with `last` at its end.
pub fn inbox(all: &[(String, Read)], now: Timestamp, last: &Markup) -> Markup {
    let each = || {
        let read = all
            .iter()
            .enumerate()
            .map(|(at, (name, read))| (at, name.as_str(), read.as_ref().ok()));
        read.filter_map(|(at, name, read)| read.map(|read| (at, name, read)))
    };
    let group =
        |of: fn(&BoundaryInbox) -> &Vec<ProposalView>| -> Vec<(usize, &str, &ProposalView)> {
            each()
                .flat_map(|(at, name, read)| of(read).iter().map(move |view| (at, name, view)))
                .collect()
        };
    let mut mine = group(|read| &read.mine);
    mine.sort_by_key(|(_, _, view)| view.expires_at);
    let grants: Vec<_> = each()
        .flat_map(|(at, name, read)| read.grants.iter().map(move |grant| (at, name, grant)))
        .collect();
    let main = html! {
        h1 { "Inbox" }
        @for (name, read) in all {
            @if let Err(failure) = read {
                div.question role="note" { strong { (plain(name)) } ": not read. " (visible(&failure.message)) }
            }
        }
        @for (_, name, read) in each() {
            @if let Some(freeze) = &read.state.frozen {
                div.question role="note" { strong { (plain(name)) } ": " strong.bad { (freeze_words(freeze).as_str()) } }
            }
        }
        (table("Yours to move", "No proposal waits for your signature.", &mine, now, true))
        @for (at, name, grant) in &grants {
            p { a.strong href=(format!("/b/{at}/grant/{}", grant.id)) { "Review" } " " strong.bad { (grant_words(grant).as_str()) } " at " (plain(name)) }
        }
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
                    span.row {
                        @for (section, path) in SECTIONS {
                            a href=(format!("/b/{at}/{path}")) { (section) " of " (plain(name)) }
                        }
                    }
                }
            }
        }
        (last)
    };
    let title = match mine.len() + grants.len() {
        0 => "Inbox".to_owned(),
        waiting => format!("Inbox ({waiting})"),
    };
    let place = NavPlace {
        boundary: (all.len() == 1).then_some(0),
        here: Some("Inbox"),
    };
    live_page(place, &title, main, false)
}

fn table(
    title: &str,
    none: &str,
    rows: &[(usize, &str, &ProposalView)],
    now: Timestamp,
    pending: bool,
) -> Markup {
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
            a.strong href=(path_of(page, at, view)) { (verb) " " (step_words(view).as_str()) " …" (id_end(view)) }
            " at " (plain(name)) ", for " (plain(view.proposer.as_str()))
            @if pending {
                ", " (view.approvals.words()) ", " strong { (time_left(view, now)) " left" }
                @if !remark.as_str().is_empty() { ". Most important remark: " strong { (remark.as_str().trim_start_matches("! ")) } }
            } @else {
                ": " (standing_words(view))
                @if let Some(why) = &view.held_up { ". " (plain(&held_up_words(why))) }
            }
            div.hint { code { (parameter_words(view).cut(MOST_WORDS).as_str()) } }
        }
    }
}

/// Returns true if the page of the run changes by itself.
pub fn is_live(status: ProposalStatus) -> bool {
    matches!(status, ProposalStatus::Approved | ProposalStatus::Running)
}
