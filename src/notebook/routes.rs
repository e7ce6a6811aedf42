//! The requests of the browser.

use std::collections::BTreeMap;
use std::path::{Component, Path as FilePath};
use std::sync::Arc;
use std::sync::mpsc::SyncSender;

use axum::Router;
use axum::body::Body;
use axum::extract::{Form, Path, Query, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{Html, IntoResponse as _, Redirect, Response};
use axum::routing::{get, post};
use console::page::frame::problem;
use console::web::door::Door;
use console::web::one_use::OpenForms;
use tokio_stream::wrappers::ReceiverStream;

use crate::local::signals::Signals;
use crate::notebook::board::{Board, PlaceOnPage, id};
use crate::notebook::form::{PREFIX, fields, given};
use crate::notebook::open_pages::{ListedFile, OpenPage};
use crate::notebook::view::Views;
use crate::notebook::worker::Order;

/// Maximum size of an image, in bytes.
const MAX_IMAGE: u64 = 5 << 20;

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

/// Reads an image below the directory of its page. The type comes from the bytes, so no other file is served.
fn read_image(directory: &FilePath, path: &str) -> Option<(&'static str, Vec<u8>)> {
    let path = FilePath::new(path);
    if path.components().any(|part| !matches!(part, Component::Normal(_) | Component::CurDir)) {
        return None;
    }
    let (directory, real) = (directory.canonicalize().ok()?, directory.join(path).canonicalize().ok()?);
    let metadata = real.metadata().ok().filter(|found| found.is_file() && found.len() <= MAX_IMAGE)?;
    let mut bytes = Vec::with_capacity(usize::try_from(metadata.len()).ok()?);
    if !real.starts_with(directory) {
        return None;
    }
    std::io::Read::read_to_end(&mut std::io::Read::take(std::fs::File::open(real).ok()?, MAX_IMAGE), &mut bytes)
        .ok()?;
    Some((image_type(&bytes)?, bytes))
}

/// Returns the type of an image from its first bytes.
fn image_type(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => Some("image/png"),
        [0xff, 0xd8, 0xff, ..] => Some("image/jpeg"),
        [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Some("image/gif"),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some("image/webp"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_images_below_the_directory_of_the_page_are_served() {
        let root = tempfile::tempdir().expect("a directory");
        let page = root.path().join("page");
        std::fs::create_dir(&page).expect("a directory");
        let png = b"\x89PNG\r\n\x1a\nrest";
        std::fs::write(page.join("a.png"), png).expect("a file");
        std::fs::write(page.join("text.png"), "no image").expect("a file");
        std::fs::write(root.path().join("secret.png"), png).expect("a file");
        std::os::unix::fs::symlink("../secret.png", page.join("link.png")).expect("a link");
        assert_eq!(read_image(&page, "a.png"), Some(("image/png", png.to_vec())));
        for path in ["text.png", "../secret.png", "link.png", "missing.png", "/etc/passwd", "."] {
            assert_eq!(read_image(&page, path), None, "{path}");
        }
    }
}
