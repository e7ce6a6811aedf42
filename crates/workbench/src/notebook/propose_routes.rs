//! The requests of the browser if a person proposes the steps. No route runs a step on this machine.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    extract::{Form, Path, Query, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse as _, Redirect, Response},
    routing::{get, post},
};
use client::{Client, CommandFailure, CommandResult, Exit, fail_refused, newest, now};
use console::{
    Door, FormFields, OpenForms, PageAnswer, ReachedBoundary, RefusedRequest, RunView, RunWatchers,
    Sent, TakenForm, conflict, framed, plain_prose, proposal_of, read_run, sent_bundle, status_of,
};
use documents::{ProposalId, Status, locked};
use maud::{Markup, html};
use wire::{ProposalStatus, ProposalView, RegistryView};

use crate::{
    CONFIRM, GivenWish, ListedFile, OpenFiles, OpenPage, PlaceOnPage, SealedBlock, SealedRunbook,
    SealedStep, WishProblems,
    notebook::{
        propose_view::{EarlierWish, ProposeViews, RefusedWish, failure_page, run_path},
        routes::no_runbook,
        view::file_list,
        wish::{CheckedWish, UNCONFIRMED},
    },
};

/// Number of proposals that a page reads.
const MOST_READ: usize = 50;

/// What the routes need. The type has nothing that runs a step, and nothing that signs.
pub struct ProposingNotebook {
    files: OpenFiles,
    place: Arc<ReachedBoundary>,
    door: Arc<Door>,
    forms: OpenForms,
    watchers: RunWatchers,
    /// The last step of each page that was not proposed, until a step of the page is proposed.
    refused: Mutex<BTreeMap<usize, RefusedWish>>,
}

impl ProposingNotebook {
    /// Takes the files, and the boundary with the token of the person.
    pub fn new(files: OpenFiles, place: ReachedBoundary, door: Arc<Door>) -> Self {
        let (forms, watchers, refused) = Default::default();
        Self {
            files,
            place: Arc::new(place),
            door,
            forms,
            watchers,
            refused,
        }
    }

    fn views(&self) -> ProposeViews<'_> {
        ProposeViews {
            door: &self.door,
            forms: &self.forms,
            now: now(),
        }
    }

    fn take(&self, path: &str, sent: &FormFields) -> PageAnswer<TakenForm> {
        let what = "This form was sent before, or it does not come from a page that this program made. This request proposed \
            and stopped nothing. Load the runbook again: each step lists its last proposals.";
        TakenForm::take(&self.door.form_key, &self.forms, path, sent).ok_or_else(|| conflict(what))
    }
}

type Shared = State<Arc<ProposingNotebook>>;

/// Returns the routes.
pub fn routes(own: Arc<ProposingNotebook>) -> Router {
    Router::new()
        .route("/", get(index))
        .route("/page/{page}/", get(page))
        .route("/page/{page}/image/{image}", get(image))
        .route("/page/{page}/link/{link}", get(link))
        .route("/page/{page}/propose", post(propose))
        .route("/run/{id}", get(run))
        .route("/run/{id}/apply", post(apply))
        .route("/run/{id}/events", get(events))
        .route("/run/{id}/bundle", get(bundle))
        .route("/run/{id}/stop", post(stop))
        .with_state(own)
}

fn failed(title: &str, failure: &CommandFailure, way: &str) -> RefusedRequest {
    RefusedRequest::with(
        status_of(failure),
        failure_page(title, &failure.message, way),
    )
}

async fn index(State(own): Shared) -> Response {
    let files = own.files.all();
    if files.len() == 1 {
        return Redirect::to("/page/0/").into_response();
    }
    file_list(&files, &html! {}).into_response()
}

/// Reads a file as it is saved now, because a boundary seals only the steps of a runbook, and not its prose.
async fn saved(own: &Arc<ProposingNotebook>, at: usize) -> PageAnswer<(ListedFile, Arc<OpenPage>)> {
    let files = own.clone();
    let file = tokio::task::spawn_blocking(move || files.files.saved(at))
        .await
        .ok()
        .flatten();
    let file = file.ok_or_else(no_runbook)?;
    match file.page.clone() {
        Ok(page) => Ok((file, page)),
        Err(_) => Err(RefusedRequest::with(
            StatusCode::CONFLICT,
            file_list(std::slice::from_ref(&file), &html! {}),
        )),
    }
}

async fn page(State(own): Shared, Path(at): Path<usize>) -> PageAnswer<Markup> {
    let (file, page) = saved(&own, at).await?;
    let asked = page.clone();
    let read = own.place.read(move |_, client| {
        Ok((
            SealedRunbook::read(client, &asked)?,
            newest(client, &[], MOST_READ, None)?,
        ))
    });
    let way = format!("/page/{at}/");
    let read = read.await;
    let refused = locked(&own.refused);
    let refused = refused.get(&at);
    let (sealed, proposals) = read.map_err(|failure| {
        let mut message = failure.message;
        for why in refused
            .iter()
            .flat_map(|(_, earlier)| &earlier.problems.whole)
        {
            message = format!("{why}\n{message}");
        }
        failed(
            "The boundary was not read",
            &CommandFailure { message, ..failure },
            &way,
        )
    })?;
    Ok(own
        .views()
        .runbook(at, (&file, &page), &sealed, &proposals, refused))
}

async fn image(State(own): Shared, Path((at, image)): Path<PlaceOnPage>) -> PageAnswer<Response> {
    saved(&own, at).await?.1.image(image)
}

async fn link(State(own): Shared, Path((at, link)): Path<PlaceOnPage>) -> PageAnswer<Redirect> {
    let (_, page) = saved(&own, at).await?;
    own.files.follow(&page, link)
}

async fn propose(
    State(own): Shared,
    Path(at): Path<usize>,
    Form(sent): Sent,
) -> PageAnswer<Redirect> {
    let (_, page) = saved(&own, at).await?;
    let form = own.take(&format!("/page/{at}/propose"), &sent)?;
    let (asked, wanted, wish) = (page.clone(), form.contents.clone(), GivenWish::of(&sent));
    let done = own.place.act(move |_, client| {
        let mut sealed = SealedRunbook::read(client, &asked)?;
        let same = |block: &SealedBlock| matches!(block, SealedBlock::Sealed(step, _) if step.exact() == wanted);
        let name = sealed.blocks.iter().find(|(_, block)| same(block)).map(|(name, _)| name.clone());
        let found = name.and_then(|name| sealed.blocks.remove_entry(&name));
        let Some((name, SealedBlock::Sealed(step, _))) = found else {
            let what = "the step is sealed in another form now, or the file no longer has it. Nothing was proposed: load the \
                runbook again, and read the step that is sealed now";
            return fail_refused(what);
        };
        let confirmations = asked.steps.iter().find(|one| one.name() == name).map_or(0, |one| one.confirmations.len());
        let problems = if (0..confirmations).all(|one| wish.sent.contains_key(&format!("{CONFIRM}{one}"))) {
            match CheckedWish::check(&step, &wish) {
                Ok(checked) => match checked.propose(client) {
                    Ok(view) => return Ok(Proposed::Made(Box::new(view))),
                    Err(failure) => WishProblems::of_failure(failure),
                },
                Err(problems) => *problems,
            }
        } else {
            let what = "Nothing was proposed: the page asks for a confirmation before this step. Tick its box.".to_owned();
            WishProblems { whole: vec![what], ..WishProblems::default() }
        };
        Ok(Proposed::Not(Box::new((name, EarlierWish { wish, problems }))))
    });
    match done
        .await
        .map_err(|failure| failed("Not proposed", &failure, &format!("/page/{at}/")))?
    {
        Proposed::Made(view) => {
            locked(&own.refused).remove(&at);
            Ok(after(&view))
        }
        Proposed::Not(found) => {
            locked(&own.refused).insert(at, *found);
            // If the page were the answer to the form, a browser that loads it again would send the form again.
            Ok(Redirect::to(&format!("/page/{at}/")))
        }
    }
}

/// Result of a form.
enum Proposed {
    Made(Box<ProposalView>),
    Not(Box<RefusedWish>),
}

/// Redirects to the page of a proposal. `?known` says that the boundary had the same proposal already.
fn after(view: &ProposalView) -> Redirect {
    let known = if view.existing { "?known" } else { "" };
    Redirect::to(&format!("{}{known}", run_path(&view.id)))
}

async fn run(
    State(own): Shared,
    Path(id): Path<ProposalId>,
    Query(query): Query<FormFields>,
) -> PageAnswer<Markup> {
    let known = query.contains_key("known");
    let (path, asked) = (run_path(&id), id.clone());
    let read = own.place.read(move |place, client| {
        let (view, receipt) = read_run(place, client, &asked)?;
        let applies = applying(client, &view)?;
        Ok((view, receipt, applies))
    });
    let (view, receipt, applies) = read
        .await
        .map_err(|failure| failed("Not read", &failure, &path))?;
    let (number, have) = (own.forms.issue(), view.approvals.have);
    let live = !view.status.has_ended();
    let shown = RunView {
        form_key: &own.door.form_key,
        number: &number,
        events_path: format!("{path}/events?have={have}"),
        stop_path: format!("{path}/stop"),
        review_path: None,
        bundle_path: format!("{path}/bundle"),
        view: &view,
        receipt: receipt.as_ref(),
        live,
    };
    let title = own.place.title_of(&view).await;
    let main = html! {
        p.row { a href="/" { "Runbooks" } }
        h1 { (title) }
        @if known {
            div.admonition role="note" {
                "The same proposal was open already, with the reason " q { (plain_prose(&view.reason)) } ", so no second one was made."
            }
        }
        @if view.status == ProposalStatus::Pending {
            p { "The proposal waits for people. They sign with " code { "countersign console" } " or " code { "countersign approve " (view.id.as_str()) } ". You can close this page: its address stays, and the runbook links to it." }
        }
        (shown.markup())
        (own.views().applies(&view, &applies))
    };
    Ok(framed(&title, None, &main, live))
}

/// Returns the steps of the same runbook that apply the plan of this run. A run that did not succeed leaves no plan.
fn applying(client: &Client, view: &ProposalView) -> CommandResult<Vec<SealedStep>> {
    let succeeded = view
        .outcome
        .as_ref()
        .is_some_and(|outcome| outcome.status == Status::Succeeded);
    if !succeeded || view.receipt.is_none() {
        return Ok(Vec::new());
    }
    let registry: RegistryView = client.get("/v1/registry")?;
    let listed = registry
        .steps
        .iter()
        .filter(|step| step.reference.path() == view.step.path());
    // A step that can't be read has no button. The page of the runbook says why.
    let steps = listed.filter_map(|step| SealedStep::read(client, step).ok());
    Ok(steps
        .filter(|step| {
            step.definition
                .plan
                .as_ref()
                .is_some_and(|plan| plan.step == view.step)
        })
        .collect())
}

async fn apply(
    State(own): Shared,
    Path(id): Path<ProposalId>,
    Form(sent): Sent,
) -> PageAnswer<Redirect> {
    let path = run_path(&id);
    let form = own.take(&format!("{path}/apply"), &sent)?;
    let done = own.place.act(move |_, client| {
        let plan = proposal_of(client, &id)?;
        let step = applying(client, &plan)?
            .into_iter()
            .find(|step| step.exact() == form.contents);
        let (Some(step), Some(receipt)) = (step, plan.receipt.clone()) else {
            let what =
                "the step is sealed in another form now. Nothing was proposed: load the page again";
            return fail_refused(what);
        };
        CheckedWish::apply(&step, receipt, &plan.params, &GivenWish::of(&sent)).propose(client)
    });
    match done.await {
        Ok(view) => Ok(after(&view)),
        Err(failure) if failure.exit == Exit::Unreachable => {
            let message = format!("{}. {UNCONFIRMED}", failure.message);
            Err(failed(
                "Not confirmed",
                &CommandFailure { message, ..failure },
                &path,
            ))
        }
        Err(failure) => Err(failed("Not proposed", &failure, &path)),
    }
}

async fn events(
    State(own): Shared,
    Path(id): Path<ProposalId>,
    Query(query): Query<FormFields>,
    headers: HeaderMap,
) -> Response {
    own.watchers.answer(own.place.clone(), id, &query, &headers)
}

async fn bundle(State(own): Shared, Path(id): Path<ProposalId>) -> PageAnswer<Response> {
    let path = run_path(&id);
    sent_bundle(&own.place, id)
        .await
        .map_err(|failure| failed("Not read", &failure, &path))
}

async fn stop(
    State(own): Shared,
    Path(id): Path<ProposalId>,
    Form(sent): Sent,
) -> PageAnswer<Redirect> {
    let path = run_path(&id);
    own.take(&format!("{path}/stop"), &sent)?;
    let done = own.place.act(move |_, client| {
        client.post_nothing::<ProposalView>(&format!("/v1/proposals/{id}/cancellation"))
    });
    done.await
        .map_err(|failure| failed("Not cancelled", &failure, &path))?;
    Ok(Redirect::to(&path))
}
