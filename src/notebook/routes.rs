//! The requests of the browser.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;

use axum::Router;
use axum::body::Body;
use axum::extract::{Form, Path, Query, State};
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{Html, IntoResponse as _, Redirect, Response};
use axum::routing::{get, post};
use console::page::frame::problem;
use console::web::door::Door;
use console::web::one_use::OpenForms;
use tokio_stream::wrappers::ReceiverStream;

use crate::local::signals::Signals;
use crate::notebook::board::{Board, PlaceOnPage, file_path, file_words, id};
use crate::notebook::form::{CONFIRM, PREFIX, fields, given};
use crate::notebook::open_pages::{ListedFile, OpenPage};
use crate::notebook::shown_file::{ShownFile, read_image};
use crate::notebook::view::{Views, text_of_file};
use crate::notebook::worker::Order;

/// What the routes need.
#[derive(Debug)]
pub struct Notebook {
    /// The open files.
    pub files: Arc<Vec<ListedFile>>,
    /// The state of the steps.
    pub board: Arc<Board>,
    /// The way in.
    pub door: Arc<Door>,
    /// Forms that nobody has sent.
    pub forms: OpenForms,
    /// Orders to the worker.
    pub orders: SyncSender<Order>,
    /// Handler of signals, which stops a step.
    pub signals: Signals,
}

type Sent = Form<BTreeMap<String, String>>;

/// Returns the routes.
pub fn routes(notebook: Arc<Notebook>) -> Router {
    Router::new()
        .route("/", get(index))
        .route("/page/{page}/", get(page))
        .route("/page/{page}/image/{image}", get(image))
        .route("/page/{page}/file/{step}/{file}", get(file))
        .route("/page/{page}/run/{step}", post(run))
        .route("/page/{page}/walk", post(walk))
        .route("/page/{page}/reset", post(reset))
        .route("/stop", post(stop))
        .route("/answer/{number}/{letter}", post(answer))
        .route("/fresh", get(fresh))
        .route("/events", get(events))
        .fallback(async || refuse(StatusCode::NOT_FOUND, "No such page", "This program has no page at this address."))
        .with_state(notebook)
}

fn refuse(status: StatusCode, title: &str, what: &str) -> Response {
    (status, Html(problem(title, what).into_string())).into_response()
}

impl Notebook {
    fn page(&self, at: usize) -> Option<(&str, &OpenPage)> {
        let file = self.files.get(at)?;
        Some((&file.shown, file.page.as_ref().ok()?))
    }

    fn views(&self) -> Views<'_> {
        Views { door: &self.door, forms: &self.forms, board: &self.board }
    }

    /// Takes a form that a page of this program made for this path, once. Returns the refusal of any other form.
    fn take(&self, path: &str, sent: &BTreeMap<String, String>) -> Option<Response> {
        let field = |name: &str| sent.get(name).map_or("", String::as_str);
        let (number, seal) = (field("form"), field("seal"));
        if self.door.is_sealed(path, number, seal) && self.forms.take(number) {
            return None;
        }
        let what = "This form was sent before, or the page is old. Nothing was done. Load the page again.";
        Some(refuse(StatusCode::CONFLICT, "Not done", what))
    }

    fn order(&self, place: PlaceOnPage, sent: BTreeMap<String, String>, order: Order) -> Response {
        if let Err(running) = self.board.begin(place, sent) {
            let what =
                format!("Another step runs now, and only one step runs at a time: {}. Nothing was done.", id(running));
            return refuse(StatusCode::CONFLICT, "Not done", &what);
        }
        if self.orders.try_send(order).is_err() {
            return refuse(StatusCode::INTERNAL_SERVER_ERROR, "Not done", "The program ends. Start it again.");
        }
        Redirect::to(&format!("/page/{}/#{}", place.0, id(place))).into_response()
    }
}

async fn index(State(notebook): State<Arc<Notebook>>) -> Response {
    if notebook.files.len() == 1 && notebook.page(0).is_some() {
        return Redirect::to("/page/0/").into_response();
    }
    Html(notebook.views().index(&notebook.files).into_string()).into_response()
}

async fn page(State(notebook): State<Arc<Notebook>>, Path(at): Path<usize>) -> Response {
    let Some((shown, page)) = notebook.page(at) else {
        return refuse(StatusCode::NOT_FOUND, "No such runbook", "No runbook is open at this address.");
    };
    Html(notebook.views().notebook(at, shown, page).into_string()).into_response()
}

async fn run(
    State(notebook): State<Arc<Notebook>>,
    Path((at, step)): Path<(usize, usize)>,
    Form(sent): Sent,
) -> Response {
    let Some(definition) = notebook.page(at).and_then(|(_, page)| page.definition(step)) else {
        return refuse(StatusCode::NOT_FOUND, "No such step", "The runbook has no step at this address.");
    };
    if let Some(refused) = notebook.take(&format!("/page/{at}/run/{step}"), &sent) {
        return refused;
    }
    let asked = notebook.page(at).map_or(0, |(_, page)| page.confirmations[step].len());
    if !(0..asked).all(|one| sent.contains_key(&format!("{CONFIRM}{one}"))) {
        let what = "The page asks for a confirmation before this step. Tick its box, then run the step.";
        return refuse(StatusCode::CONFLICT, "Not done", what);
    }
    let sent = parameters(sent);
    let order = Order::Run(at, step, given(&fields(&definition.params), &sent));
    notebook.order((at, step), sent, order)
}

/// Returns the parameters of a form by their names.
fn parameters(sent: BTreeMap<String, String>) -> BTreeMap<String, String> {
    let named = sent.into_iter();
    named.filter_map(|(name, value)| Some((name.strip_prefix(PREFIX)?.to_owned(), value))).collect()
}

async fn walk(State(notebook): State<Arc<Notebook>>, Path(at): Path<usize>, Form(sent): Sent) -> Response {
    let Some((_, page)) = notebook.page(at).filter(|(_, page)| page.runbook.workflow.is_some()) else {
        return refuse(StatusCode::NOT_FOUND, "No such workflow", "No workflow is open at this address.");
    };
    if let Some(refused) = notebook.take(&format!("/page/{at}/walk"), &sent) {
        return refused;
    }
    let place = (at, page.steps.len());
    let sent = parameters(sent);
    let lists = sent.get("lists").map_or("", String::as_str).split_whitespace().map(str::to_owned).collect();
    notebook.order(place, sent, Order::Walk(at, lists))
}

async fn reset(State(notebook): State<Arc<Notebook>>, Path(at): Path<usize>, Form(sent): Sent) -> Response {
    if let Some(refused) = notebook.take(&format!("/page/{at}/reset"), &sent) {
        return refused;
    }
    if notebook.board.running().is_some() || notebook.orders.try_send(Order::Reset(at)).is_err() {
        return refuse(StatusCode::CONFLICT, "Not done", "A step runs now. Stop it first, then begin a new session.");
    }
    Redirect::to(&format!("/page/{at}/")).into_response()
}

async fn stop(State(notebook): State<Arc<Notebook>>, Form(sent): Sent) -> Response {
    if let Some(refused) = notebook.take("/stop", &sent) {
        return refused;
    }
    notebook.signals.stop_step();
    Redirect::to(&back(&notebook)).into_response()
}

async fn answer(
    State(notebook): State<Arc<Notebook>>,
    Path((number, letter)): Path<(u64, String)>,
    Form(sent): Sent,
) -> Response {
    if let Some(refused) = notebook.take(&format!("/answer/{number}/{letter}"), &sent) {
        return refused;
    }
    if !notebook.board.answer(number, &letter) {
        return refuse(StatusCode::CONFLICT, "Not done", "The question no longer waits for an answer.");
    }
    Redirect::to(&back(&notebook)).into_response()
}

/// Returns the page of the step that runs, or else the first page.
fn back(notebook: &Notebook) -> String {
    notebook.board.running().map_or("/".to_owned(), |place| format!("/page/{}/#{}", place.0, id(place)))
}

/// Returns the hidden fields of a new form for a path, as JSON. A form works once, and a step can run again and again.
async fn fresh(State(notebook): State<Arc<Notebook>>, Query(query): Query<BTreeMap<String, String>>) -> Response {
    let number = notebook.forms.issue();
    let seal = notebook.door.seal(query.get("path").map_or("", String::as_str), &number);
    let fields = serde_json::json!({"form": number, "seal": seal}).to_string();
    ([(CONTENT_TYPE, "application/json")], fields).into_response()
}

/// Streams what happens, as server-sent events (HTML Living Standard, section 9.2).
async fn events(
    State(notebook): State<Arc<Notebook>>,
    Query(query): Query<BTreeMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    let last = headers.get("last-event-id").and_then(|value| value.to_str().ok()).map(str::to_owned);
    let after = last.or_else(|| query.get("after").cloned()).and_then(|text| text.parse::<u64>().ok());
    let mut after = after.unwrap_or_else(|| notebook.board.last_event());
    let (send, receive) = tokio::sync::mpsc::channel::<Result<String, std::convert::Infallible>>(16);
    tokio::spawn(async move {
        let mut changes = notebook.board.listen();
        loop {
            changes.borrow_and_update();
            let text = match notebook.board.events_after(after) {
                Some(events) => {
                    after = events.last().map_or(after, |(number, _)| *number);
                    events.iter().map(|(number, event)| format!("id: {number}\ndata: {event}\n\n")).collect()
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
    ([(CONTENT_TYPE, "text/event-stream")], Body::from_stream(ReceiverStream::new(receive))).into_response()
}

async fn image(State(notebook): State<Arc<Notebook>>, Path((at, image)): Path<(usize, usize)>) -> Response {
    let found =
        notebook.page(at).and_then(|(_, page)| read_image(page.runbook.real.parent()?, page.images.get(image)?));
    match found {
        Some((kind, bytes)) => ([(CONTENT_TYPE, kind)], bytes).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

/// Shows or sends a file that a step left in `$COUNTERSIGN_OUTPUT`.
async fn file(
    State(notebook): State<Arc<Notebook>>,
    Path((page, step, at)): Path<(usize, usize, usize)>,
    Query(query): Query<BTreeMap<String, String>>,
) -> Response {
    let place = (page, step);
    let Some(found) = notebook.board.with(place, |view| view.files.get(at).cloned()) else {
        return refuse(StatusCode::NOT_FOUND, "No such file", "The last run of the step left no file at this address.");
    };
    let (path, words) = (file_path(place, at), file_words(&found));
    let wanted = query.contains_key("download");
    let read = tokio::task::spawn_blocking(move || ShownFile::read(&found, wanted)).await;
    match read {
        Ok(Ok(ShownFile::Image(kind, bytes))) => ([(CONTENT_TYPE, kind)], bytes).into_response(),
        Ok(Ok(ShownFile::Text(text))) => Html(text_of_file(place, &path, &words, &text).into_string()).into_response(),
        Ok(Ok(ShownFile::Download(name, stream))) => {
            let named = format!("attachment; filename=\"{name}\"");
            let headers = [(CONTENT_TYPE, "application/octet-stream".to_owned()), (CONTENT_DISPOSITION, named)];
            (headers, Body::from_stream(ReceiverStream::new(stream))).into_response()
        }
        Ok(Err(error)) => refuse(StatusCode::GONE, "The file can't be read", &error.to_string()),
        Err(error) => refuse(StatusCode::INTERNAL_SERVER_ERROR, "The file can't be read", &error.to_string()),
    }
}
