//! The requests and the markup for the pages of one boundary: its steps, sessions, ended proposals, open work, and the
//! head of its log.

use std::sync::Arc;

use axum::{
    Router,
    extract::{Form, Path, Query, State},
    response::Redirect,
    routing::{get, post},
};
use maud::{Markup, html};

use crate::{
    FormFields, NavPlace, PageAnswer, PageState, PlaceAndId, ReachedBoundary, Sent, SharedPages,
    companion::{
        requests::failed,
        views::{id_end, section_page},
    },
    companion_page, hidden, path_of, plain, plain_prose,
    proposal::reached::CheckedHead,
    standing_words,
};
use client::{
    Client, CommandFailure, CommandResult, Exit, HEADER, cells, details, fail_refused, more_words,
    outcome_words, rules, unsettled::needs,
};
use documents::{Code, ProposalId, SessionId, StepDigest, StepRef, joined, to_canonical, visible};
use wire::{
    GrantList, GrantView, ProposalList, RegistryView, SessionList, SessionView, StepView,
    UnsettledList, percent_encoded,
};

/// Number of proposals that one page of receipts reads.
const ON_PAGE: usize = 50;

/// Returns the routes. Only `end` changes something, and no route uses a key to sign a statement.
pub fn routes() -> Router<Arc<PageState>> {
    Router::new()
        .route("/b/{at}/steps", get(list_steps))
        .route("/b/{at}/step/{*step}", get(show_step))
        .route("/b/{at}/sessions", get(list_sessions))
        .route("/b/{at}/end/{id}", post(end_session))
        .route("/b/{at}/receipts", get(list_receipts))
        .route("/b/{at}/open", get(list_open))
        .route("/b/{at}/log", get(show_log))
}

/// Reads the data of a page, and returns the page. If the data can't be read, the page says why, and what the reader
/// can do.
async fn shown<T: Send + 'static>(
    own: &PageState,
    at: usize,
    section: &'static str,
    read: impl FnOnce(&ReachedBoundary, &Client) -> CommandResult<T> + Send + 'static,
    page: impl FnOnce(&str, &T) -> Markup,
) -> PageAnswer<Markup> {
    let place = own.place(at)?;
    let found = place.read(read).await.map_err(|failure| {
        let title = format!("{section} of {}: not read", place.shown_name());
        failed(
            NavPlace::section(at, section),
            &title,
            &failure,
            unread_advice(&failure),
        )
    })?;
    Ok(page(&place.read_name().await, &found))
}

async fn list_steps(State(own): SharedPages, Path(at): Path<usize>) -> PageAnswer<Markup> {
    let page = |name: &str, found: &RegistryView| steps(at, name, found);
    shown(
        &own,
        at,
        "Steps",
        |_, client| client.get("/v1/registry"),
        page,
    )
    .await
}

async fn show_step(
    State(own): SharedPages,
    Path((at, asked)): PlaceAndId<StepRef>,
) -> PageAnswer<Markup> {
    let read = move |_: &ReachedBoundary, client: &Client| {
        let view: StepView = client.get(&format!("/v1/steps/{asked}"))?;
        if StepDigest::of(&to_canonical(&view.definition)) == view.digest {
            return Ok(view);
        }
        let what = "the definition has another digest than the boundary says: don't trust this boundary, and tell its operator";
        fail_refused(what)
    };
    shown(&own, at, "Steps", read, |name, view| step(at, name, view)).await
}

async fn list_sessions(State(own): SharedPages, Path(at): Path<usize>) -> PageAnswer<Markup> {
    let page = |name: &str, found: &SessionList| sessions(&own, at, name, &found.sessions);
    shown(
        &own,
        at,
        "Sessions",
        |_, client| client.get("/v1/sessions"),
        page,
    )
    .await
}

async fn list_receipts(
    State(own): SharedPages,
    Path(at): Path<usize>,
    Query(query): Query<FormFields>,
) -> PageAnswer<Markup> {
    let from = query.get("from").cloned();
    let mut path = format!("/v1/proposals?limit={ON_PAGE}");
    if let Some(from) = &from {
        path += &format!("&cursor={}", percent_encoded(from));
    }
    let page = |name: &str, found: &ProposalList| receipts(at, name, found, from.is_some());
    shown(
        &own,
        at,
        "Receipts",
        move |_, client| client.get(&path),
        page,
    )
    .await
}

async fn list_open(State(own): SharedPages, Path(at): Path<usize>) -> PageAnswer<Markup> {
    let read = |_: &ReachedBoundary, client: &Client| {
        Ok((
            client.get::<UnsettledList>("/v1/unsettled")?,
            client.get::<GrantList>("/v1/grants")?,
        ))
    };
    shown(&own, at, "Open", read, |name, (runs, grants)| {
        open_work(at, name, runs, &grants.grants)
    })
    .await
}

async fn show_log(State(own): SharedPages, Path(at): Path<usize>) -> PageAnswer<Markup> {
    let read = |place: &ReachedBoundary, client: &Client| {
        let (_, roster) = place.roster(client)?;
        place
            .hashes
            .check(&place.trust.rosters()?, roster.trusted(), client)
    };
    shown(&own, at, "Log", read, |name, head| log(at, name, head)).await
}

async fn end_session(
    State(own): SharedPages,
    Path((at, id)): PlaceAndId<SessionId>,
    Form(sent): Sent,
) -> PageAnswer<Redirect> {
    let place = own.place(at)?;
    own.take(&format!("/b/{at}/end/{id}"), &sent)?;
    let done = place.act(move |_, client| {
        client.post_nothing::<SessionView>(&format!("/v1/sessions/{id}/end"))
    });
    let back = format!("/b/{at}/sessions");
    done.await.map_err(|failure| {
        let way = html! { p { a href=(back) { "Back to the sessions" } } };
        failed(
            NavPlace::section(at, "Sessions"),
            "The session was not ended",
            &failure,
            way,
        )
    })?;
    Ok(Redirect::to(&back))
}

/// Returns the list of the steps of a boundary.
pub fn steps(at: usize, name: &str, registry: &RegistryView) -> Markup {
    let main = html! {
        @for drift in &registry.seal.drift { div.admonition role="note" { (plain(drift)) } }
        p.hint { "Seal " (registry.seal.number) ", registry root " code { (registry.seal.registry_root.to_string()) } }
        @if registry.steps.is_empty() { p { "The boundary has no step that you may see." } }
        div.wide tabindex="0" role="region" aria-label="Steps" {
            table {
                thead { tr { th scope="col" { "Step" } th scope="col" { "Approvals" } th scope="col" { "Title" } th scope="col" { "Digest" } th scope="col" { "Here" } } }
                tbody {
                    @for step in &registry.steps {
                        tr {
                            th scope="row" { a href=(format!("/b/{at}/step/{}", step.reference)) { (plain(step.reference.as_str())) } }
                            td { (plain(&rules(&step.approvals))) }
                            td { (plain_prose(&step.title)) }
                            td { code { (step.digest.to_string()) } }
                            td { @match &step.unavailable { Some(why) => { "can't run: " (plain(why)) } None => { "can run" } } }
                        }
                    }
                }
            }
        }
    };
    section_page(at, "Steps", &format!("Steps of {name}"), &main)
}

/// Returns the page of one step: its script, and its whole definition.
pub fn step(at: usize, name: &str, view: &StepView) -> Markup {
    let text = |field: &str| visible(view.definition[field].as_str().unwrap_or_default());
    let title = format!("{} at {}", text("ref"), plain(name));
    let main = html! {
        h1 { (title) }
        pre tabindex="0" { code { (text("source")) } }
        h2 { "The whole definition" }
        p { "Digest, computed by this program: " code { (view.digest.to_string()) } }
        pre.wrapped tabindex="0" aria-label="The whole definition" { (visible(&format!("{:#}", view.definition))) }
    };
    companion_page(at, &title, main)
}

/// Returns the list of the sessions of a boundary.
pub fn sessions(own: &PageState, at: usize, name: &str, found: &[SessionView]) -> Markup {
    let run = |id: &ProposalId, words: &str| html! { a href=(format!("/b/{at}/run/{id}")) { (plain(words)) } };
    let main = html! {
        @if found.is_empty() {
            p { "No session is open. A session carries variables, the directory and files from run to run, and ends after 30 minutes without a run." }
        }
        ul.cards {
            @for one in found {
                li {
                    strong { (plain(&one.runbook)) } ", owner " (plain(one.creator.as_str())) ", "
                    @match &one.running {
                        Some(id) => { "a step runs: " (run(id, id.as_str())) }
                        None => { "ends in " (one.idle_left_s.div_ceil(60)) " min without a run" }
                    }
                    div.hint { code { (one.id.as_str()) } ", since " (one.created_at.to_string()) }
                    div.hint { "State " code { (one.state.to_string()) } }
                    @if !one.variables.is_empty() { div.hint { "Variables: " (plain(&one.variables.join(" "))) } }
                    details {
                        summary { "Runs: " (one.run_count) }
                        @if one.run_count > one.runs.len() as u64 { p { "The boundary lists the last " (one.runs.len()) "." } }
                        ul { @for one in one.runs.iter().rev() { li { (one.at.to_string()) " " (run(&one.proposal, one.step.as_str())) } } }
                    }
                    @let path = format!("/b/{at}/end/{}", one.id);
                    form method="post" action=(path) {
                        (hidden(&own.form_key, &path, &own.forms.issue(), one.id.as_str()))
                        button type="submit" aria-label=(format!("End the session {}", one.id)) { "End this session" }
                    }
                }
            }
        }
        @if !found.is_empty() { p.hint { "A session that ends loses its variables and files. Only its owner can end it, with the permission " code { "propose" } "." } }
    };
    section_page(at, "Sessions", &format!("Sessions of {name}"), &main)
}

/// Returns one page of the ended proposals of a boundary. `later` is true if newer proposals are on another page.
pub fn receipts(at: usize, name: &str, found: &ProposalList, later: bool) -> Markup {
    let ended: Vec<_> = found
        .proposals
        .iter()
        .filter(|view| view.status.has_ended())
        .collect();
    let older = found.cursor.as_deref();
    let main = html! {
        p.hint { "Ended proposals, the newest proposal first. The outcomes are the boundary's word: open a run to verify its receipt on this machine." }
        @if ended.is_empty() {
            p { @if older.is_some() { "No proposal of this page has ended." } @else { "No proposal that you may see has ended." } }
        }
        ul.cards {
            @for view in ended {
                li {
                    a.strong href=(path_of("run", at, view)) { (plain(view.step.as_str())) " …" (id_end(view)) }
                    ", for " (plain(view.proposer.as_str())) ": " (standing_words(view))
                    div.hint {
                        @if let Some(ended) = view.ended_at { (ended.to_string()) ", " }
                        @if view.receipt.is_some() { "with a receipt" } @else { "without a receipt, because nothing ran" }
                    }
                }
            }
        }
        div.row role="navigation" aria-label="Older and newer proposals" {
            @if later { a href=(format!("/b/{at}/receipts")) { "The newest proposals" } }
            @if let Some(from) = older { a href=(format!("/b/{at}/receipts?from={}", percent_encoded(from))) { "Older proposals" } }
        }
    };
    section_page(at, "Receipts", &format!("Receipts of {name}"), &main)
}

/// Returns the page of open work: the runs that need a review, in the words of `countersign unsettled`, and the grants,
/// in the words of `countersign grant list`.
pub fn open_work(
    at: usize,
    name: &str,
    UnsettledList { runs, more }: &UnsettledList,
    grants: &[GrantView],
) -> Markup {
    let main = html! {
        h2 { "Runs that people must review" }
        @if runs.is_empty() { p { "No run needs a review." } }
        ul.cards {
            @for run in runs {
                li {
                    a.strong href=(format!("/b/{at}/run/{}", run.proposal)) { (plain(run.step.as_str())) }
                    ", for " (plain(run.proposer.as_str())) ", " (run.at.to_string())
                    @if let Some(outcome) = &run.outcome { ": " (outcome_words(outcome)) }
                    div { strong.bad { (plain(&needs(run))) } }
                    @for line in details(&[run], "") { div.hint { (line.as_str()) } }
                    @if let Some(receipt) = &run.receipt { a href=(format!("/b/{at}/review-run/{receipt}")) { "Review this run" } }
                }
            }
        }
        @if *more > 0 { p { (more_words(*more)) } }
        h2 { "Standing grants" }
        @if grants.is_empty() { p { "There are no grants." } }
        @else {
            div.wide tabindex="0" role="region" aria-label="Standing grants" {
                table {
                    thead { tr { @for column in HEADER { th scope="col" { (column) } } } }
                    tbody {
                        @for grant in grants {
                            @let [id, others @ ..] = cells(grant);
                            tr {
                                th scope="row" { a href=(format!("/b/{at}/grant/{id}")) { (id) } }
                                @for cell in others { td { (plain(&cell)) } }
                            }
                        }
                    }
                }
            }
            p.hint { "The page of a grant shows what it permits, and how to sign a draft or to end a grant." }
        }
    };
    section_page(at, "Open", &format!("Open work of {name}"), &main)
}

/// Returns the head of the log, and what this program verified.
pub fn log(at: usize, name: &str, head: &CheckedHead) -> Markup {
    let main = html! {
        dl.pairs {
            dt { "Log" } dd { code { (plain(&head.checkpoint.origin)) } }
            dt { "Entries" } dd { (head.checkpoint.size) }
            dt { "Root" } dd { code { (head.root()) } }
            dt { "Signature" } dd {
                @match head.roster {
                    Some(version) => { strong.good { "Verified on this machine" } ": a key of this boundary in version " (version) " of the roster that you trust" }
                    None => { strong.bad { "Not verified" } ": you trust no roster for this boundary" }
                }
                @if head.more_signatures > 0 { "; " (head.more_signatures) " more signature lines, not checked here" }
            }
            dt { "Consistency" } dd {
                @match head.before {
                    0 => { "Nothing to compare: this is the first head that this program has seen. Its entries have this root." }
                    before => { strong.good { "Consistent" } " with the head of " (before) " entries, the newest that this program had verified" }
                }
            }
        }
        h2 { "The signed head" }
        pre.wrapped tabindex="0" aria-label="The signed head" { (plain_lines(&head.note)) }
        p { "The page compares heads only until the program ends, and checks no entry. To keep a head, to copy the log and to check each entry, use these commands:" }
        ul {
            li { code { "countersign log checkpoint" } }
            li { code { "countersign log export mirror/" } }
            li { code { "countersign audit mirror/" } }
        }
    };
    section_page(at, "Log", &format!("Log of {name}"), &main)
}

/// Returns the lines of a signed note. A signature line begins with an em dash (C2SP signed-note).
fn plain_lines(text: &str) -> String {
    let line = |line: &str| match line.strip_prefix("\u{2014} ") {
        Some(signature) => format!("\u{2014} {}", plain(signature)),
        None => plain(line),
    };
    joined(text.lines().map(line), "\n")
}

/// Returns what a person can do if a page of a boundary can't be read.
pub fn unread_advice(failure: &CommandFailure) -> Markup {
    let refused = [Code::Forbidden, Code::Unauthenticated]
        .iter()
        .any(|code| failure.has_code(*code));
    html! {
        @if refused {
            p { "This page needs the permission " code { "read" } " for all steps. The key of an approver has it. A token has it if an operator made it with " code { "--scope read" } "." }
        } @else if failure.exit == Exit::Unreachable {
            p { "The boundary did not give a usable answer. Load this page again, or ask the operator of the boundary. Nothing was changed." }
        }
    }
}
