//! The requests of the browser. No route signs, and no route changes the evidence.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Router,
    body::to_bytes,
    extract::{Path, Query, Request, State},
    http::{
        HeaderMap, StatusCode,
        header::{CONTENT_DISPOSITION, CONTENT_TYPE},
    },
    response::{IntoResponse as _, Redirect, Response},
    routing::{get, post},
};
use client::{RowFilter, csv_grants, csv_table};
use maud::Markup;
use tokio::sync::Semaphore;

use crate::{
    Door, KeptTable, OpenForms, PageAnswer, RefusedRequest, TakenForm, UPLOAD_PATH,
    auditor::multipart::SentForm,
};

/// Maximum size of one upload, in bytes.
pub const MAX_UPLOAD: usize = 64 << 20;

/// What the routes need.
pub struct AuditorPages {
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
pub fn routes(pages: Arc<AuditorPages>) -> Router {
    Router::new()
        .route("/", get(index))
        .route("/row/{number}", get(row))
        .route("/log", get(log))
        .route("/decisions.csv", get(csv))
        .route("/grants.csv", get(grants))
        .route(UPLOAD_PATH, post(upload))
        .with_state(pages)
}

fn download(name: &str, text: String) -> Response {
    let disposition = format!("attachment; filename=\"{name}\"");
    (
        [
            (CONTENT_TYPE, "text/csv; charset=utf-8".to_owned()),
            (CONTENT_DISPOSITION, disposition),
        ],
        text,
    )
        .into_response()
}

async fn index(
    State(pages): State<Arc<AuditorPages>>,
    Query(fields): Fields,
) -> (StatusCode, Markup) {
    let filter = RowFilter::parse(&fields);
    let status = if filter.is_ok() {
        StatusCode::OK
    } else {
        StatusCode::BAD_REQUEST
    };
    (status, pages.index_page(&fields, filter))
}

async fn row(
    State(pages): State<Arc<AuditorPages>>,
    Path(number): Path<usize>,
) -> PageAnswer<Markup> {
    let what = "The table has no row with this number.";
    pages
        .row_page(number)
        .ok_or_else(|| RefusedRequest::new(StatusCode::NOT_FOUND, "No such row", what))
}

fn no_log() -> RefusedRequest {
    let what = "The table is about bundles, not about a log.";
    RefusedRequest::new(StatusCode::NOT_FOUND, "No log", what)
}

async fn log(State(pages): State<Arc<AuditorPages>>) -> PageAnswer<Markup> {
    pages.log_page().ok_or_else(no_log)
}

async fn csv(
    State(pages): State<Arc<AuditorPages>>,
    Query(fields): Fields,
) -> PageAnswer<Response> {
    let filter = RowFilter::parse(&fields)
        .map_err(|why| RefusedRequest::new(StatusCode::BAD_REQUEST, "No table", &why))?;
    let table = pages.kept.table();
    let rows = table.rows.iter().filter(|row| filter.takes(row));
    Ok(download("decisions.csv", csv_table(rows)))
}

async fn grants(State(pages): State<Arc<AuditorPages>>) -> PageAnswer<Response> {
    let table = pages.kept.table();
    if table.logs.is_empty() {
        return Err(no_log());
    }
    Ok(download("grants.csv", csv_grants(&table.grants())))
}

async fn upload(
    State(pages): State<Arc<AuditorPages>>,
    headers: HeaderMap,
    request: Request,
) -> PageAnswer<Redirect> {
    let refuse = |status, what: &str| RefusedRequest::new(status, "Not done", what);
    let Ok(_one) = pages.uploads.try_acquire() else {
        let what = "Another upload has not ended. Wait for it, then send these files again.";
        return Err(refuse(StatusCode::CONFLICT, what));
    };
    let Ok(body) = to_bytes(request.into_body(), MAX_UPLOAD).await else {
        let what = "One upload can have at most 64 MiB, and it must arrive completely. Nothing was added. Send the files in \
            several uploads, or save them in a directory and name the directory in the command.";
        return Err(refuse(StatusCode::PAYLOAD_TOO_LARGE, what));
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
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| refuse(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()))?
        .map_err(|why| refuse(StatusCode::CONFLICT, &why))?;
    Ok(Redirect::to("/"))
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
