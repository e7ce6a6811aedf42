//! The pages of `countersign console --audit`:
//!
//! - the routes for the browser; no route signs, and no route changes the evidence
//! - the table that the pages share; uploaded bundles are in a file without a name, which the system removes with the
//!   process
//! - the reader of forms with files (RFC 7578)

use std::{
    fs::File,
    os::unix::fs::FileExt as _,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard},
};

use axum::{
    Router,
    body::to_bytes,
    extract::{Path, Query, Request, State},
    http::{HeaderMap, StatusCode, header::CONTENT_TYPE},
    response::{Redirect, Response},
    routing::{get, post},
};
use maud::Markup;
use tokio::sync::Semaphore;

use crate::{
    Door, FormFields, OpenForms, OpenOptions, PageAnswer, RefusedRequest, TakenForm, conflict,
    download, missing, serve_pages,
};
use client::{
    AuditRow, AuditTable, ChosenTrust, CommandFailure, CommandResult, GlobalOptions, RowFilter,
    RowPlace, Screen, Terminal, TrustArgs, bundles_of, csv_grants, csv_table, is_log, join_bundles,
    judged_screen, logs_below, named_log, read_again, unverified_words, with_any,
};
use documents::{BlobDigest, locked};
use verdict::VerifyOptions;

/// Repeats each decision of the evidence, and serves the table until a signal ends the program. If a log can't be
/// judged, for example without a trusted roster, a page says what to do.
///
/// # Errors
/// Returns an error if the evidence does not exist, if one of several places has no evidence, if the roster can't be
/// read, or if the port is taken.
pub fn run(
    named: &[String],
    trust: &TrustArgs,
    open: OpenOptions,
    global: &GlobalOptions,
    terminal: &Terminal,
) -> CommandResult {
    let trust = trust.find()?;
    let mut evidence = Vec::new();
    for place in named {
        let path = PathBuf::from(place);
        let places = match (bundles_of(std::slice::from_ref(&path)), logs_below(&path)) {
            // A directory without bundles, but with directories of logs, means all these logs.
            (Err(_), logs) if !logs.is_empty() => logs,
            // A single place can be an empty directory: the table is then empty, and bundles are uploaded into it.
            (Err(nothing), _) if named.len() > 1 && !is_log(&path) => return Err(nothing),
            _ => vec![path],
        };
        for one in places {
            let one = one.to_string_lossy().into_owned();
            let log = named_log(&one, global)?;
            evidence.push((one, log));
        }
    }
    terminal.say("making each decision again ...");
    let progress = |done: usize, all: usize| {
        if done > 0 {
            terminal.say(format!("{done} of {all} files"));
        }
    };
    let table = AuditTable::of(&evidence, &trust, progress);
    drop(evidence);
    table.unjudged.iter().for_each(|log| terminal.say(log));
    let file = tempfile::tempfile().map_err(|error| {
        CommandFailure::unreachable(format!(
            "the file for uploaded bundles can't be made: {error}"
        ))
    })?;
    serve_pages(open, terminal, |door| {
        let pages = AuditorPages {
            named: named.join(", "),
            trust,
            table: Mutex::new(table),
            uploads: Mutex::new((file, 0)),
            said: Mutex::default(),
            door,
            forms: OpenForms::default(),
            one_upload: Arc::new(Semaphore::new(1)),
        };
        routes(Arc::new(pages))
    })
}

/// Maximum size of one upload, in bytes.
pub const MAX_UPLOAD: usize = 64 << 20;

/// The table with its evidence, and the state that the routes need.
pub struct AuditorPages {
    /// The places that the auditor named.
    pub named: String,
    /// Trusted rosters.
    pub trust: Vec<ChosenTrust>,
    table: Mutex<AuditTable>,
    /// The file with the uploaded bundles, and its size.
    uploads: Mutex<(File, u64)>,
    /// A sentence about what the last upload added.
    said: Mutex<Option<String>>,
    /// The address of the pages, and the secrets that let a browser in.
    pub door: Arc<Door>,
    /// Forms that were not sent yet.
    pub forms: OpenForms,
    /// One upload at a time, so that the memory for uploads is bounded.
    one_upload: Arc<Semaphore>,
}

type Fields = Query<FormFields>;

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

/// Media type of the tables.
const CSV: &str = "text/csv; charset=utf-8";

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
        .ok_or_else(|| missing("No such row", what))
}

fn no_log() -> RefusedRequest {
    let what = "The table is about bundles, not about a log.";
    missing("No log", what)
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
    let table = pages.table();
    let rows = table.rows.iter().filter(|row| filter.takes(row));
    Ok(download(CSV, "decisions.csv", csv_table(rows)))
}

async fn grants(State(pages): State<Arc<AuditorPages>>) -> PageAnswer<Response> {
    let table = pages.table();
    if table.logs.is_empty() {
        return Err(no_log());
    }
    Ok(download(CSV, "grants.csv", csv_grants(&table.grants())))
}

async fn upload(
    State(pages): State<Arc<AuditorPages>>,
    headers: HeaderMap,
    request: Request,
) -> PageAnswer<Redirect> {
    let refuse = |status, what: &str| RefusedRequest::new(status, "Not done", what);
    let Ok(one) = pages.one_upload.clone().try_acquire_owned() else {
        let what = "Another upload has not ended. Wait for it, then send these files again.";
        return Err(conflict(what));
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
        move || {
            // Hold the permit until this upload is read, even if its browser no longer waits.
            let _one = one;
            add(&pages, &kind, &body)
        }
    };
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| refuse(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()))?
        .map_err(|why| conflict(&why))?;
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
    pages.upload(&form.files)
}

/// Path to which the upload form sends files.
pub const UPLOAD_PATH: &str = "/upload";
/// Maximum size of all uploaded bundles together, in bytes.
const MAX_UPLOADS: u64 = 512 << 20;

impl AuditorPages {
    /// Returns the table.
    pub fn table(&self) -> MutexGuard<'_, AuditTable> {
        locked(&self.table)
    }

    /// Returns what the last upload added, in words.
    pub fn said(&self) -> Option<String> {
        locked(&self.said).clone()
    }

    /// Verifies uploaded files and adds their rows.
    ///
    /// # Errors
    /// Returns the reason if the files can't be kept. In this case, no row was added.
    pub fn upload(&self, files: &[SentFile<'_>]) -> Result<(), String> {
        let mut uploads = locked(&self.uploads);
        let (file, end) = &mut *uploads;
        let all: u64 = files.iter().map(|sent| sent.bytes.len() as u64).sum();
        if *end + all > MAX_UPLOADS {
            return Err(format!(
                "all uploaded bundles together may have {MAX_UPLOADS} bytes: save the bundles in a directory, and name \
                 the directory in the command"
            ));
        }
        let trust = join_bundles(&self.known_trust(), files.iter().map(|sent| sent.bytes));
        let mut results = Vec::new();
        for sent in files {
            // A crash of the program leaves nothing behind, because the file has no name.
            file.write_all_at(sent.bytes, *end)
                .map_err(|error| format!("the upload can't be kept: {error}"))?;
            let place = RowPlace::Upload(*end, sent.bytes.len(), BlobDigest::of(sent.bytes));
            let result = AuditRow::of_bundle(&sent.name, sent.bytes.to_vec(), &trust, place);
            if result.is_ok() {
                *end += sent.bytes.len() as u64;
            }
            results.push((&sent.name, result));
        }
        let rows = results.iter().filter(|(_, result)| result.is_ok()).count();
        let mut table = self.table();
        table.trust = trust;
        for (name, result) in results {
            table.add(name, result);
        }
        table.sort();
        let words = format!(
            "The last upload added {rows} rows. {} of its files are no bundles.",
            files.len() - rows
        );
        *locked(&self.said) = Some(words);
        Ok(())
    }

    /// Verifies the bundle of a row again and returns what `countersign verify` prints. Returns `None` for a row of a
    /// log.
    pub fn verified_again(&self, name: &str, place: &RowPlace) -> Option<Result<Screen, String>> {
        let (shown, bytes) = match place {
            RowPlace::File(path, digest) => (
                path.as_path(),
                read_again(path, digest).map_err(|failure| failure.message),
            ),
            RowPlace::Upload(at, length, digest) => (
                std::path::Path::new(name),
                self.uploaded(*at, *length, digest),
            ),
            RowPlace::Decision(_)
            | RowPlace::Denial(_)
            | RowPlace::Review(_)
            | RowPlace::Revocation(_)
            | RowPlace::Consumption(_) => return None,
        };
        let trust = self.known_trust();
        Some(bytes.and_then(
            |bytes| match with_any(&bytes, &trust, VerifyOptions::default()) {
                Ok(judged) => Ok(judged_screen(
                    shown,
                    &bytes,
                    &judged,
                    VerifyOptions::default(),
                )),
                Err(untrusted) => Err(unverified_words(shown, &untrusted)),
            },
        ))
    }

    fn uploaded(&self, at: u64, length: usize, digest: &BlobDigest) -> Result<Vec<u8>, String> {
        let uploads = locked(&self.uploads);
        let mut bytes = vec![0; length];
        let read = uploads.0.read_exact_at(&mut bytes, at);
        if read.is_err() || BlobDigest::of(&bytes) != *digest {
            return Err("the uploaded bundle can't be read: upload it again".to_owned());
        }
        Ok(bytes)
    }

    /// Returns the trusted rosters, with the older versions that the bundles contain.
    fn known_trust(&self) -> Vec<ChosenTrust> {
        let table = self.table();
        if table.trust.is_empty() {
            self.trust.clone()
        } else {
            table.trust.clone()
        }
    }
}

/// Maximum number of files in one form.
pub const MAX_FILES: usize = 2000;
/// Maximum size of the head of a part, in bytes.
const MAX_HEAD: usize = 8 << 10;

/// A file of a form.
pub struct SentFile<'b> {
    /// Name of the file, as the browser sent it. For a file of a directory, the path below the directory.
    pub name: String,
    /// Contents of the file.
    pub bytes: &'b [u8],
}

/// The fields and files of a form.
#[derive(Default)]
pub struct SentForm<'b> {
    /// Fields by their names.
    pub fields: FormFields,
    /// Files in the order of the form.
    pub files: Vec<SentFile<'b>>,
}

impl<'b> SentForm<'b> {
    /// Reads the body of a request with this `Content-Type`.
    ///
    /// # Errors
    /// Returns the reason if the body is no complete form, or has too many files.
    pub fn parse(content_type: &str, body: &'b [u8]) -> Result<Self, String> {
        let broken = || "the form did not arrive completely: send it again".to_owned();
        let boundary = content_type
            .strip_prefix("multipart/form-data;")
            .and_then(|rest| rest.trim().strip_prefix("boundary="))
            .map(|boundary| boundary.trim_matches('"'))
            .filter(|boundary| (1..=70).contains(&boundary.len()))
            .ok_or_else(broken)?;
        let first = format!("--{boundary}");
        let delimiter = format!("\r\n{first}");
        let mut form = Self::default();
        let mut rest = body.strip_prefix(first.as_bytes()).ok_or_else(broken)?;
        loop {
            if rest == b"--" || rest == b"--\r\n" {
                return Ok(form);
            }
            rest = rest.strip_prefix(b"\r\n").ok_or_else(broken)?;
            let head_end =
                find(&rest[..rest.len().min(MAX_HEAD)], b"\r\n\r\n").ok_or_else(broken)?;
            let head = String::from_utf8_lossy(&rest[..head_end]).into_owned();
            rest = &rest[head_end + 4..];
            let length = find(rest, delimiter.as_bytes()).ok_or_else(broken)?;
            let bytes = &rest[..length];
            rest = &rest[length + delimiter.len()..];
            let name = parameter(&head, "name").ok_or_else(broken)?;
            match parameter(&head, "filename") {
                // A browser sends an empty file if the person chose none.
                Some(file) if file.is_empty() && bytes.is_empty() => {}
                Some(_) if form.files.len() >= MAX_FILES => {
                    return Err(format!(
                        "one form can have {MAX_FILES} files: send the others in a further form"
                    ));
                }
                Some(file) => {
                    let below = file
                        .split_once('/')
                        .map_or(file.as_str(), |(_, below)| below);
                    form.files.push(SentFile {
                        name: below.to_owned(),
                        bytes,
                    });
                }
                None => {
                    form.fields
                        .insert(name, String::from_utf8_lossy(bytes).into_owned());
                }
            }
        }
    }
}

/// Returns the first position of `wanted`, which begins with a carriage return.
fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    let mut from = 0;
    while let Some(at) = bytes[from..].iter().position(|byte| *byte == b'\r') {
        from += at;
        if bytes[from..].starts_with(wanted) {
            return Some(from);
        }
        from += 1;
    }
    None
}

/// Returns a parameter of the field `Content-Disposition`. Browsers write quotes and line ends in it as percent escapes
/// (HTML Living Standard, section 4.10.22.8).
fn parameter(head: &str, name: &str) -> Option<String> {
    let line = head.split("\r\n").find(|line| {
        line.to_ascii_lowercase()
            .starts_with("content-disposition: form-data")
    })?;
    let (_, rest) = line.split_once(&format!("; {name}=\""))?;
    let (value, _) = rest.split_once('"')?;
    Some(
        value
            .replace("%22", "\"")
            .replace("%0D", "\r")
            .replace("%0A", "\n"),
    )
}

#[cfg(test)]
mod multipart_tests {
    use proptest::prelude::*;

    use super::*;

    fn body(parts: &[(&str, &[u8])]) -> Vec<u8> {
        let mut body = Vec::new();
        for (head, bytes) in parts {
            body.extend_from_slice(
                format!("--x1\r\nContent-Disposition: form-data; {head}\r\n\r\n").as_bytes(),
            );
            body.extend_from_slice(bytes);
            body.extend_from_slice(b"\r\n");
        }
        body.extend_from_slice(b"--x1--\r\n");
        body
    }

    const KIND: &str = "multipart/form-data; boundary=x1";

    #[test]
    fn fields_and_files_of_a_form_are_read_unchanged() {
        let body = body(&[
            ("name=\"form\"", b"7"),
            (
                "name=\"files\"; filename=\"a%22b.json\"\r\nContent-Type: application/json",
                b"{\"a\":\r\n--x\r\n1}",
            ),
            ("name=\"folder\"; filename=\"top/below/c.json\"", b""),
            ("name=\"files\"; filename=\"\"", b""),
        ]);
        let form = SentForm::parse(KIND, &body).expect("a form");
        assert_eq!(form.fields["form"], "7");
        let names: Vec<&str> = form.files.iter().map(|file| file.name.as_str()).collect();
        assert_eq!(names, ["a\"b.json", "below/c.json"]);
        assert_eq!(form.files[0].bytes, b"{\"a\":\r\n--x\r\n1}");
    }

    #[test]
    fn an_incomplete_form_and_a_form_with_too_many_files_are_refused() {
        let whole = body(&[("name=\"files\"; filename=\"a\"", b"x")]);
        for end in 0..whole.len() - 2 {
            assert!(SentForm::parse(KIND, &whole[..end]).is_err(), "{end}");
        }
        assert!(SentForm::parse("application/json", &whole).is_err());
        let many = vec![("name=\"files\"; filename=\"a\"", &b"x"[..]); MAX_FILES + 1];
        assert!(SentForm::parse(KIND, &body(&many)).is_err());
        assert!(SentForm::parse(KIND, &body(&many[1..])).is_ok());
    }

    proptest! {
        #[test]
        fn no_body_causes_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = SentForm::parse(KIND, &bytes);
            let _ = SentForm::parse(KIND, &[b"--x1\r\n", &bytes[..]].concat());
        }
    }
}
