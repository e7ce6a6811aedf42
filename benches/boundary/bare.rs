//! A server that does only the necessary work of a crossing, with the libraries of the boundary: HTTP, the documents,
//! and two commits of their bytes. The server checks no caller, no rule and no state. It writes no consumption leaf, no
//! tree and no proof, and starts no run. It stores neither proposals nor the data for recovery and for lists.

use std::convert::Infallible;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use axum::body::{Body, Bytes, to_bytes};
use axum::http::{Request, StatusCode};
use axum::response::Response;
use client::{CommandFailure, CommandResult, Exit};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use crate::alone::Rows;
use crate::documents::Documents;
use crate::service::Service;

/// Maximum size of a request body, in bytes.
const MAX_BODY_BYTES: usize = 1 << 20;

/// The bare server.
#[derive(clap::Args)]
pub struct Args {
    /// Bundle that the server sends as its answer
    bundle: PathBuf,
    /// Database file for the rows
    store: PathBuf,
}

/// Serves until the process is killed.
///
/// # Errors
/// Returns an error if the server cannot listen, or if the bundle cannot be read.
pub fn run(args: &Args) -> CommandResult {
    let bundle = Bytes::from(std::fs::read(&args.bundle).map_err(|error| broken(&error))?);
    let rows = Rows::open(&args.store).map_err(|fault| broken(&fault))?;
    let crossing = Arc::new(Crossing {
        documents: Documents::of(&bundle)?,
        rows,
        bundle,
    });
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| broken(&error))?;
    runtime
        .block_on(serve(crossing))
        .map_err(|error| broken(&error))?;
    Ok(Exit::Done)
}

struct Crossing {
    documents: Documents,
    rows: Rows,
    bundle: Bytes,
}

impl Crossing {
    async fn answer(&self, request: Request<Incoming>) -> Option<Bytes> {
        let body = to_bytes(Body::new(request.into_body()), MAX_BODY_BYTES)
            .await
            .ok()?;
        self.documents.read(&body).ok()?;
        let id = self.rows.claim(body.to_vec()).await?;
        let leaf = self.documents.write().ok()?;
        self.rows.end(id, leaf).await?;
        Some(self.bundle.clone())
    }
}

async fn serve(crossing: Arc<Crossing>) -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let crossing = crossing.clone();
        let service = service_fn(move |request| {
            let crossing = crossing.clone();
            async move {
                let answer = crossing.answer(request).await;
                let status = if answer.is_some() {
                    StatusCode::OK
                } else {
                    StatusCode::INTERNAL_SERVER_ERROR
                };
                let mut response = Response::new(Body::from(answer.unwrap_or_default()));
                *response.status_mut() = status;
                Ok::<_, Infallible>(response)
            }
        });
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

/// Starts a bare server that answers with `bundle` and stores its rows in `dir`.
pub fn start(dir: &Path, bundle: &[u8]) -> CommandResult<Service> {
    let answer = dir.join("bare-bundle.json");
    std::fs::write(&answer, bundle).map_err(|error| broken(&error))?;
    let program = std::env::current_exe().map_err(|error| broken(&error))?;
    let mut command = Command::new(program);
    command
        .arg("bare")
        .arg(&answer)
        .arg(dir.join("bare.db"))
        .stdin(Stdio::null());
    Service::spawn(command, String::new())
}

fn broken(error: &dyn std::fmt::Display) -> CommandFailure {
    CommandFailure::new(Exit::Unreachable, format!("the bare server: {error}"))
}
