//! The control socket: tokens, reseal and status, for whoever may enter the private directory.
//!
//! One JSON object a line, one answer a line: `{"do":"token-list"}` → `{"ok":[…]}` or `{"error":"…"}`. The kernel says who is
//! at the other end; only root and the service's own user are answered.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};

use crate::boundary::Boundary;
use crate::boundary::view::Ready;
use crate::node::problem::FileProblem;
use crate::record::ident::Name;
use crate::record::token::SealedToken;

/// What may be asked.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case", deny_unknown_fields)]
pub enum ControlRequest {
    /// Make a token; the answer is its secret.
    TokenCreate {
        /// What it shall be.
        token: SealedToken,
    },
    /// All tokens ever.
    TokenList,
    /// End a token.
    TokenRevoke {
        /// Its name.
        name: Name,
    },
    /// Read the runbooks again and seal them; the answer says whether anything changed.
    Reseal,
    /// What `/ready` says, and which of its notes an operator must act on.
    Status,
}

/// The answer to [`ControlRequest::Status`].
#[derive(Debug, Serialize, Deserialize)]
pub struct NodeStatus {
    /// What `/ready` says.
    #[serde(flatten)]
    pub ready: Ready,
    /// Those of its notes that an operator must act on.
    #[serde(default)]
    pub must_fix: Vec<String>,
}

/// An answer.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ControlReply {
    /// Done.
    Ok(Value),
    /// Not done, and why.
    Error(String),
}

/// Does what is asked.
pub async fn answer(boundary: &Boundary, runbooks: &[PathBuf], request: ControlRequest) -> ControlReply {
    let done = match request {
        ControlRequest::TokenCreate { token } => boundary.sealing.create_token(token).await.map(Value::from),
        ControlRequest::TokenList => boundary.sealing.tokens().map(|tokens| json!(tokens)),
        ControlRequest::TokenRevoke { name } => {
            boundary.sealing.revoke_token(&name).await.map(|()| json!({ "revoked": name }))
        }
        ControlRequest::Reseal => boundary
            .sealing
            .reseal(runbooks.to_vec(), rustix::process::geteuid().as_raw())
            .await
            .map(|changed| json!({ "changed": changed, "seal": boundary.crossing.state().seal.number })),
        ControlRequest::Status => {
            Ok(json!(NodeStatus { must_fix: boundary.health.must_fix(), ready: boundary.health.ready() }))
        }
    };
    done.map_or_else(|stopped| ControlReply::Error(stopped.to_string()), ControlReply::Ok)
}

/// Opens the socket, replacing one that a service before left: the store's lock says that it is gone.
///
/// # Errors
/// When the directory can't be written.
pub fn listen(path: &Path) -> Result<UnixListener, FileProblem> {
    let failed = |error: std::io::Error| {
        FileProblem::whole(path, format!("the control socket can't be opened ({error}): check the directory"))
    };
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let listener = UnixListener::bind(path).map_err(failed)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
    Ok(listener)
}

/// Answers until the task is dropped.
pub async fn serve(listener: UnixListener, boundary: Boundary, runbooks: Vec<PathBuf>) {
    let own = rustix::process::geteuid().as_raw();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // No descriptors are left: others must end first.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        // Who connected, by the kernel's word (SO_PEERCRED); the socket's mode alone could be changed.
        if !stream.peer_cred().is_ok_and(|peer| peer.uid() == own || peer.uid() == 0) {
            tracing::warn!("a stranger connected to the control socket");
            continue;
        }
        let (boundary, runbooks) = (boundary.clone(), runbooks.clone());
        tokio::spawn(async move {
            let _ = tokio::time::timeout(DEADLINE, converse(stream, &boundary, &runbooks)).await;
        });
    }
}

async fn converse(stream: UnixStream, boundary: &Boundary, runbooks: &[PathBuf]) -> std::io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut line = String::new();
    tokio::io::BufReader::new(read.take(MAX_LINE)).read_line(&mut line).await?;
    let answer = match serde_json::from_str::<ControlRequest>(&line) {
        Ok(request) => answer(boundary, runbooks, request).await,
        Err(error) => ControlReply::Error(format!("the request can't be read: {error}")),
    };
    let mut bytes = serde_json::to_vec(&answer)?;
    bytes.push(b'\n');
    write.write_all(&bytes).await
}

/// Asks the service whose control socket this is; nothing when no service listens there.
///
/// # Errors
/// When there is one and it does not answer.
pub fn ask(path: &Path, request: &ControlRequest) -> Result<Option<ControlReply>, FileProblem> {
    let Ok(stream) = std::os::unix::net::UnixStream::connect(path) else { return Ok(None) };
    let failed = |error: std::io::Error| {
        FileProblem::whole(path, format!("the boundary did not answer ({error}): look at its log"))
    };
    let converse = || {
        stream.set_read_timeout(Some(DEADLINE))?;
        stream.set_write_timeout(Some(DEADLINE))?;
        let mut line = serde_json::to_vec(request)?;
        line.push(b'\n');
        (&stream).write_all(&line)?;
        let mut reply = String::new();
        BufReader::new((&stream).take(MAX_ANSWER)).read_line(&mut reply)?;
        Ok(serde_json::from_str(&reply)?)
    };
    converse().map(Some).map_err(failed)
}

/// A reseal of many runbooks takes a while; nothing here takes longer.
const DEADLINE: Duration = Duration::from_secs(60);
/// The longest request: a token with many patterns.
const MAX_LINE: u64 = 64 << 10;
/// The longest answer: a list of many tokens.
const MAX_ANSWER: u64 = 64 << 20;
