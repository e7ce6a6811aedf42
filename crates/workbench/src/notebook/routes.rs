//! The requests of the browser.

use std::sync::{Arc, Mutex, mpsc::SyncSender};

use axum::{
    Router,
    body::Body,
    extract::{Form, Path, Query, State},
    http::{
        HeaderMap, StatusCode,
        header::{ACCEPT, CONTENT_TYPE},
    },
    response::{IntoResponse as _, Redirect, Response},
    routing::{get, post},
};
use console::{
    Door, EventPart, FieldError, FormFields, OpenForms, PageAnswer, RefusedRequest, Sent, conflict,
    download, event_stream, last_event, missing, sent_text,
};
use documents::{locked, visible};
use maud::Markup;
use tokio_stream::wrappers::ReceiverStream;

use crate::{
    AuthorPreview, Board, CONFIRM, DIGEST, FormField, OpenFiles, PREFIX, PageStep, PlaceOnPage,
    RefusedStep, Signals, Views, WORKFLOW, confirmation_id, file_path, file_words,
    notebook::{
        board::id,
        form::{field_errors, fields, given},
        open_pages::ShownFile,
        view::{ShownPreview, text_of_file},
        worker::Order,
    },
};

/// What the routes need.
pub struct Notebook {
    /// The open files.
    pub files: Arc<OpenFiles>,
    /// The state of the steps.
    pub board: Arc<Board>,
    /// Secrets that let a browser in.
    pub door: Arc<Door>,
    /// Forms that nobody has sent.
    pub forms: OpenForms,
    /// Orders to the worker.
    pub orders: SyncSender<Order>,
    /// Handler of signals, which stops a step.
    pub signals: Signals,
    /// Names of the secrets that the command line gave, which a step can get.
    pub secrets: Vec<String>,
    /// True if a page loads again after a save.
    pub watches: bool,
    /// What the author sees before anybody is asked.
    pub preview: AuthorPreview,
    /// The last form with errors, until its step runs.
    pub refused: Mutex<Option<RefusedStep>>,
}

type Shared = State<Arc<Notebook>>;

/// Returns the routes.
pub fn routes(notebook: Arc<Notebook>) -> Router {
    Router::new()
        .route("/", get(index))
        .route("/page/{page}/", get(page))
        .route("/page/{page}/preview/", get(preview))
        .route("/page/{page}/preview/{step}", get(step_preview))
        .route("/page/{page}/image/{image}", get(image))
        .route("/page/{page}/link/{link}", get(link))
        .route("/page/{page}/file/{step}/{file}", get(file))
        .route("/page/{page}/run/{step}", post(run))
        .route("/page/{page}/walk", post(walk))
        .route("/page/{page}/reset", post(reset))
        .route("/stop", post(stop))
        .route("/answer/{number}/{letter}", post(answer))
        .route("/fresh", get(fresh))
        .route("/events", get(events))
        .with_state(notebook)
}

pub fn no_runbook() -> RefusedRequest {
    missing("No such runbook", "No runbook is open at this address.")
}

fn no_step() -> RefusedRequest {
    missing("No such step", "No step is open at this address.")
}

impl Notebook {
    fn views(&self) -> Views<'_> {
        Views {
            door: &self.door,
            forms: &self.forms,
            board: &self.board,
            secrets: &self.secrets,
            watches: self.watches,
            refused: None,
            errors: &[],
        }
    }

    /// Returns true if a page of this program made the form for this path.
    fn is_own(&self, path: &str, sent: &FormFields) -> bool {
        let (number, seal) = (sent_text(sent, "form"), sent_text(sent, "seal"));
        self.door.form_key.is_sealed(path, number, seal)
    }

    /// Returns the form with its errors if something is wrong with it. The form can still be sent again.
    fn refused(
        &self,
        place: PlaceOnPage,
        step: &PageStep,
        sent: &FormFields,
    ) -> Option<RefusedStep> {
        let typed = parameters(sent.clone());
        let fields = fields(&step.step.definition.params, &self.secrets);
        let may_be_missing = !self.board.session_facts(place.0).is_empty();
        let mut errors = field_errors(place, &step.step, &fields, &typed, may_be_missing);
        for (at, text) in step.confirmations.iter().enumerate() {
            if !sent.contains_key(&format!("{CONFIRM}{at}")) {
                let message =
                    "the page asks for this confirmation before the step: tick the box".to_owned();
                errors.0.push(FieldError {
                    id: confirmation_id(place, at),
                    label: visible(text),
                    message,
                });
            }
        }
        (!errors.0.is_empty()).then_some(RefusedStep {
            place,
            sent: typed,
            errors,
        })
    }

    /// Takes a form that a page of this program made for this path, once. Refuses any other form.
    fn take(&self, path: &str, sent: &FormFields) -> PageAnswer<()> {
        let what =
            "This form was sent before, or the page is old. Nothing was done. Load the page again.";
        if self.is_own(path, sent) && self.forms.take(sent_text(sent, "form")).is_some() {
            return Ok(());
        }
        Err(conflict(what))
    }

    fn order(&self, place: PlaceOnPage, sent: FormFields, order: Order) -> PageAnswer<Redirect> {
        if let Err(running) = self.board.begin(place, sent) {
            let page = self.files.page(running.0);
            let name = page
                .as_ref()
                .and_then(|page| page.step(running.1))
                .map_or("the workflow", PageStep::name);
            let what = format!(
                "Not done: {name} runs now, and only one step runs at a time. Stop it, or wait."
            );
            return Err(conflict(&what));
        }
        self.signals.forget_stop();
        locked(&self.refused).take_if(|refused| refused.place == place);
        if self.orders.try_send(order).is_err() {
            let what = "The program ends. Start it again.";
            return Err(RefusedRequest::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "Not done",
                what,
            ));
        }
        Ok(to_step(place))
    }
}

/// Redirects to a step of a page.
fn to_step(place: PlaceOnPage) -> Redirect {
    Redirect::to(&format!("/page/{}/#{}", place.0, id(place)))
}

async fn index(State(notebook): Shared) -> Response {
    let files = notebook.files.all();
    if files.len() == 1 && files[0].page.is_ok() {
        return Redirect::to("/page/0/").into_response();
    }
    notebook.views().index(&files).into_response()
}

async fn page(State(notebook): Shared, Path(at): Path<usize>) -> PageAnswer<Markup> {
    let file = notebook.files.get(at).ok_or_else(no_runbook)?;
    Ok(match &file.page {
        Ok(page) => {
            // Only an author wants to know why no boundary would seal the file.
            let watched = notebook.watches.then(|| notebook.files.place(&file));
            let errors =
                watched.map_or_else(Vec::new, |place| notebook.preview.check(&place).errors);
            let refused = locked(&notebook.refused);
            let refused = refused.as_ref().filter(|refused| refused.place.0 == at);
            let views = Views {
                refused,
                errors: &errors,
                ..notebook.views()
            };
            views.notebook(at, &file, page)
        }
        Err(_) => notebook.views().index(&notebook.files.all()),
    })
}

async fn run(
    State(notebook): Shared,
    Path((at, number)): Path<PlaceOnPage>,
    headers: HeaderMap,
    Form(sent): Sent,
) -> PageAnswer<Response> {
    let page = notebook.files.page(at).ok_or_else(no_step)?;
    let step = page.step(number).ok_or_else(no_step)?;
    let path = format!("/page/{at}/run/{number}");
    let is_shown = sent
        .get(DIGEST)
        .is_some_and(|shown| *shown == step.step.digest.to_string());
    // A form with errors is not taken, so the person can correct the same form and send it again.
    if notebook.is_own(&path, &sent)
        && is_shown
        && let Some(refused) = notebook.refused((at, number), step, &sent)
    {
        *locked(&notebook.refused) = Some(refused);
        // The answer is a redirect, so that a browser that loads the page again does not send the form again. The
        // script of the page needs no redirect, because it loads the page itself.
        if headers
            .get(ACCEPT)
            .is_some_and(|wanted| wanted == "application/json")
        {
            return Ok(StatusCode::UNPROCESSABLE_ENTITY.into_response());
        }
        return Ok(to_step((at, number)).into_response());
    }
    notebook.take(&path, &sent)?;
    if !is_shown {
        let what = "The step was saved in another form after your browser loaded the page. Load the page again.";
        return Err(conflict(what));
    }
    let sent = parameters(sent);
    let given = given(
        &fields(&step.step.definition.params, &notebook.secrets),
        &sent,
    );
    let order = Order::Run(at, page.clone(), number, given);
    Ok(notebook.order((at, number), sent, order)?.into_response())
}

/// Shows what approvers would see of a runbook.
async fn preview(State(notebook): Shared, Path(at): Path<usize>) -> PageAnswer<Markup> {
    let shown = tokio::task::spawn_blocking(move || {
        let file = notebook.files.get(at)?;
        let check = notebook.preview.check(&notebook.files.place(&file));
        Some(
            notebook
                .views()
                .preview(at, &file, &check, &notebook.preview),
        )
    });
    shown.await.ok().flatten().ok_or_else(no_step)
}

/// Shows what approvers would see of one step with the given values.
async fn step_preview(
    State(notebook): Shared,
    Path((at, number)): Path<PlaceOnPage>,
    Query(query): Query<FormFields>,
) -> PageAnswer<Markup> {
    let shown = tokio::task::spawn_blocking(move || {
        let file = notebook.files.get(at)?;
        let page = file.page.clone().ok()?;
        let name = page.step(number)?.name().to_owned();
        let steps = notebook
            .preview
            .steps(&notebook.files.place(&file), &file.shown);
        let gone = || "the file no longer has this step".to_owned();
        let found = steps.and_then(|steps| {
            let mut steps = steps.into_iter();
            let own = steps.find(|step| step.definition.reference.step() == name);
            own.ok_or_else(gone)
        });
        let sent = parameters(query);
        let step = (number, name);
        let shown = match found {
            Err(why) => ShownPreview {
                step,
                fields: Vec::new(),
                policy: notebook.preview.rules().from.clone(),
                preview: Err(why),
                compared: None,
            },
            Ok(found) => {
                let fields = fields(&found.definition.params, &notebook.secrets);
                let values: FormFields = fields
                    .iter()
                    .map(|field| (field.name.clone(), value_of(field, &sent)))
                    .collect();
                ShownPreview {
                    step,
                    policy: notebook.preview.rules_for(&found).from.clone(),
                    preview: notebook.preview.step(&found, &given(&fields, &values)),
                    compared: notebook.preview.compare(&found),
                    fields: fields
                        .into_iter()
                        .map(|field| (field.clone(), values[&field.name].clone()))
                        .collect(),
                }
            }
        };
        Some(notebook.views().step_preview(at, &file, &shown))
    });
    shown.await.ok().flatten().ok_or_else(no_step)
}

/// Returns the value of a field for a preview: the given value, or the default, or else an example.
fn value_of(field: &FormField, sent: &FormFields) -> String {
    sent.get(&field.name)
        .or(field.default.as_ref())
        .cloned()
        .unwrap_or_else(|| field.example())
}

/// Returns the parameters of a form by their names.
pub fn parameters(sent: FormFields) -> FormFields {
    let named = sent.into_iter();
    named
        .filter_map(|(name, value)| Some((name.strip_prefix(PREFIX)?.to_owned(), value)))
        .collect()
}

async fn walk(
    State(notebook): Shared,
    Path(at): Path<usize>,
    Form(sent): Sent,
) -> PageAnswer<Redirect> {
    let page = notebook
        .files
        .page(at)
        .filter(|page| page.runbook.workflow.is_some())
        .ok_or_else(|| missing("No such workflow", "No workflow is open at this address."))?;
    notebook.take(&format!("/page/{at}/walk"), &sent)?;
    let sent = parameters(sent);
    let lists = sent_text(&sent, "lists").split_whitespace();
    let lists = lists.map(str::to_owned).collect();
    notebook.order((at, WORKFLOW), sent, Order::Walk(at, page, lists))
}

async fn reset(
    State(notebook): Shared,
    Path(at): Path<usize>,
    Form(sent): Sent,
) -> PageAnswer<Redirect> {
    notebook.take(&format!("/page/{at}/reset"), &sent)?;
    if notebook.board.running().is_some() || notebook.orders.try_send(Order::Reset(at)).is_err() {
        let what = "A step runs now. Stop it first, then begin a new session.";
        return Err(conflict(what));
    }
    Ok(Redirect::to(&format!("/page/{at}/")))
}

async fn stop(State(notebook): Shared, Form(sent): Sent) -> PageAnswer<Redirect> {
    notebook.take("/stop", &sent)?;
    notebook.signals.stop_step();
    Ok(back(&notebook))
}

async fn answer(
    State(notebook): Shared,
    Path((number, letter)): Path<(u64, String)>,
    Form(sent): Sent,
) -> PageAnswer<Redirect> {
    notebook.take(&format!("/answer/{number}/{letter}"), &sent)?;
    if !notebook.board.answer(number, &letter) {
        let what = "The question no longer waits for an answer.";
        return Err(conflict(what));
    }
    Ok(back(&notebook))
}

/// Redirects to the step that runs, or else to the first page.
fn back(notebook: &Notebook) -> Redirect {
    let running = notebook.board.running();
    running.map_or_else(|| Redirect::to("/"), to_step)
}

/// Returns the hidden fields of a new form for a path, as JSON. A form works once, so each run needs a new form.
async fn fresh(State(notebook): Shared, Query(query): Query<FormFields>) -> Response {
    let number = notebook.forms.issue();
    let seal = notebook
        .door
        .form_key
        .seal(sent_text(&query, "path"), &number);
    let fields = serde_json::json!({"form": number, "seal": seal}).to_string();
    ([(CONTENT_TYPE, "application/json")], fields).into_response()
}

/// Streams what happens.
async fn events(
    State(notebook): Shared,
    Query(query): Query<FormFields>,
    headers: HeaderMap,
) -> Response {
    let after = last_event(&headers, &query);
    let mut after = after.unwrap_or_else(|| notebook.board.last_event());
    let (send, receive) = tokio::sync::mpsc::channel::<EventPart>(16);
    tokio::spawn(async move {
        let mut changes = notebook.board.listen();
        loop {
            changes.borrow_and_update();
            let text = match notebook.board.events_after(after) {
                Some(events) => {
                    after = events.last().map_or(after, |(number, _)| *number);
                    events
                        .iter()
                        .map(|(number, event)| format!("id: {number}\ndata: {event}\n\n"))
                        .collect()
                }
                None => {
                    after = notebook.board.last_event();
                    format!("id: {after}\ndata: {{\"type\":\"reload\"}}\n\n")
                }
            };
            if !String::is_empty(&text) && send.send(Ok(text)).await.is_err() {
                return;
            }
            tokio::select! {
                changed = changes.changed() => if changed.is_err() { return },
                () = send.closed() => return,
            }
        }
    });
    event_stream(receive)
}

async fn image(
    State(notebook): Shared,
    Path((at, image)): Path<PlaceOnPage>,
) -> PageAnswer<Response> {
    notebook.files.page(at).ok_or_else(no_runbook)?.image(image)
}

async fn link(
    State(notebook): Shared,
    Path((at, link)): Path<PlaceOnPage>,
) -> PageAnswer<Redirect> {
    let page = notebook.files.page(at).ok_or_else(no_runbook)?;
    notebook.files.follow(&page, link)
}

/// Shows or sends a file that a step left in `$COUNTERSIGN_OUTPUT`.
async fn file(
    State(notebook): Shared,
    Path((page, step, at)): Path<(usize, usize, usize)>,
    Query(query): Query<FormFields>,
) -> PageAnswer<Response> {
    let place = (page, step);
    let found = notebook
        .board
        .with(place, |view| view.files.get(at).cloned());
    let none = "The last run of the step left no file at this address.";
    let found = found.ok_or_else(|| missing("No such file", none))?;
    let (path, words) = (file_path(place, at), file_words(&found));
    let wanted = query.contains_key("download");
    let unread = |status, error: &dyn std::fmt::Display| {
        RefusedRequest::new(status, "The file can't be read", &error.to_string())
    };
    let read = tokio::task::spawn_blocking(move || ShownFile::read(&found, wanted))
        .await
        .map_err(|error| unread(StatusCode::INTERNAL_SERVER_ERROR, &error))?
        .map_err(|error| unread(StatusCode::GONE, &error))?;
    Ok(match read {
        ShownFile::Image(kind, bytes) => ([(CONTENT_TYPE, kind)], bytes).into_response(),
        ShownFile::Text(text) => text_of_file(place, &path, &words, &text).into_response(),
        ShownFile::Download(name, stream) => {
            let content = Body::from_stream(ReceiverStream::new(stream));
            download("application/octet-stream", &name, content)
        }
    })
}
