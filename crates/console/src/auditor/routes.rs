//! The requests of the browser. No route signs, and no route changes the evidence.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::body::to_bytes;
use axum::extract::{Path, Query, Request, State};
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{Html, IntoResponse as _, Redirect, Response};
use axum::routing::{get, post};
use client::{RowFilter, csv_grants, csv_table};
use tokio::sync::Semaphore;

use crate::{
    Door, KeptTable, OpenForms, TakenForm, UPLOAD_PATH,
    auditor::{multipart::SentForm, view::AuditorViews},
    problem,
};

/// Maximum size of one upload, in bytes.
pub(super) const MAX_UPLOAD: usize = 64 << 20;

/// What the routes need.
#[derive(Debug)]
pub(super) struct AuditorPages {
    /// The table.
    pub kept: KeptTable,
    /// The way in.
    pub door: Arc<Door>,
    /// Forms that nobody has sent.
    pub forms: OpenForms,
    /// One upload at a time, so that the memory for uploads is bounded.
    pub uploads: Semaphore,
}

type Fields = Query<BTreeMap<String, String>>;

/// Returns the routes.
pub(super) fn routes(pages: Arc<AuditorPages>) -> Router {
    Router::new()
        .route("/", get(index))
        .route("/row/{number}", get(row))
        .route("/log", get(log))
        .route("/decisions.csv", get(csv))
        .route("/grants.csv", get(grants))
        .route(UPLOAD_PATH, post(upload))
        .with_state(pages)
}

fn refuse(status: StatusCode, title: &str, what: &str) -> Response {
    (status, Html(problem(title, what).into_string())).into_response()
}

fn download(kind: &'static str, name: &'static str, text: String) -> Response {
    let disposition = format!("attachment; filename=\"{name}\"");
    (
        [
            (CONTENT_TYPE, kind.to_owned()),
            (CONTENT_DISPOSITION, disposition),
        ],
        text,
    )
        .into_response()
}

impl AuditorPages {
    fn views(&self) -> AuditorViews<'_> {
        AuditorViews {
            kept: &self.kept,
            door: &self.door,
            forms: &self.forms,
        }
    }
}

async fn index(State(pages): State<Arc<AuditorPages>>, Query(fields): Fields) -> Response {
    let filter = RowFilter::parse(&fields);
    let status = if filter.is_ok() {
        StatusCode::OK
    } else {
        StatusCode::BAD_REQUEST
    };
    (
        status,
        Html(pages.views().index(&fields, filter).into_string()),
    )
        .into_response()
}

async fn row(State(pages): State<Arc<AuditorPages>>, Path(number): Path<usize>) -> Response {
    match pages.views().row(number) {
        Some(page) => Html(page.into_string()).into_response(),
        None => refuse(
            StatusCode::NOT_FOUND,
            "No such row",
            "The table has no row with this number.",
        ),
    }
}

async fn log(State(pages): State<Arc<AuditorPages>>) -> Response {
    match pages.views().log() {
        Some(page) => Html(page.into_string()).into_response(),
        None => refuse(
            StatusCode::NOT_FOUND,
            "No log",
            "The table is about bundles, not about a log.",
        ),
    }
}

async fn csv(State(pages): State<Arc<AuditorPages>>, Query(fields): Fields) -> Response {
    match RowFilter::parse(&fields) {
        Ok(filter) => {
            let table = pages.kept.table();
            let text = csv_table(table.rows.iter().filter(|row| filter.takes(row)));
            download("text/csv; charset=utf-8", "decisions.csv", text)
        }
        Err(why) => refuse(StatusCode::BAD_REQUEST, "No table", &why),
    }
}

async fn grants(State(pages): State<Arc<AuditorPages>>) -> Response {
    let table = pages.kept.table();
    match table.logs.is_empty() {
        false => download(
            "text/csv; charset=utf-8",
            "grants.csv",
            csv_grants(&table.grants()),
        ),
        true => refuse(
            StatusCode::NOT_FOUND,
            "No log",
            "The table is about bundles, not about a log.",
        ),
    }
}

/// Adds the bundles of a form to the table.
async fn upload(
    State(pages): State<Arc<AuditorPages>>,
    headers: HeaderMap,
    request: Request,
) -> Response {
    let Ok(_one) = pages.uploads.try_acquire() else {
        let what = "Another upload has not ended. Wait for it, then send these files again.";
        return refuse(StatusCode::CONFLICT, "Not done", what);
    };
    let Ok(body) = to_bytes(request.into_body(), MAX_UPLOAD).await else {
        let what = "One upload can have at most 64 MiB, and it must arrive completely. Nothing was added. Send the files in \
            several uploads, or save them in a directory and name the directory in the command.";
        return refuse(StatusCode::PAYLOAD_TOO_LARGE, "Not done", what);
    };
    let kind = headers
        .get(CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok())
        .unwrap_or_default()
        .to_owned();
    let work = {
        let pages = pages.clone();
        move || add(&pages, &kind, &body)
    };
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(())) => Redirect::to("/").into_response(),
        Ok(Err(why)) => refuse(StatusCode::CONFLICT, "Not done", &why),
        Err(error) => refuse(
            StatusCode::INTERNAL_SERVER_ERROR,
            "Not done",
            &error.to_string(),
        ),
    }
}

fn add(pages: &AuditorPages, kind: &str, body: &[u8]) -> Result<(), String> {
    let form = SentForm::parse(kind, body)?;
    if TakenForm::take(
        &pages.door.form_key,
        &pages.forms,
        UPLOAD_PATH,
        &form.fields,
    )
    .is_none()
    {
        return Err("This form was sent before, or the page is old. Nothing was added. Load the page again.".to_owned());
    }
    pages.kept.upload(&form.files)
}
