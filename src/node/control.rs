//! The control socket: tokens, seal and status for the operator.
//!
//! A request is one JSON object on one line, and the answer is one line, for example `{"do":"token-list"}` →
//! `{"ok":[…]}`, `{"refused":{"code":"…","message":"…"}}` or `{"error":"…"}`. Only root and the user of the service get
//! an answer (SO_PEERCRED).

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::SocketAddr,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    sync::Arc,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use serde_with::skip_serializing_none;
use tempfile::TempPath;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _},
    net::{UnixListener, UnixSocket, UnixStream},
};

use crate::{
    Config,
    node::{next_seal, notifying},
};
use boundary::{Boundary, MonitoringStatus, steps_without_parameter};
use crossing::Stopped;
use documents::{Code, Name, SealedToken};
use reading::FileProblem;
use wire::Ready;

/// A request on the control socket.
#[skip_serializing_none]
#[derive(Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case", deny_unknown_fields)]
pub enum ControlRequest {
    /// Create a token. The answer contains the audience for the ID tokens of a token that has no secret.
    TokenCreate {
        /// The new token.
        token: Box<SealedToken>,
        /// Keys of the issuer whose digest the token names.
        jwks: Option<String>,
        /// Certificate authorities of the issuer whose digest the token names.
        ca: Option<String>,
    },
    /// List all tokens, also revoked and expired tokens.
    TokenList,
    /// Revoke a token.
    TokenRevoke {
        /// Name of the token.
        name: Name,
    },
    /// Read all files of the operator again, and put their changes in force with a new seal. The answer states whether
    /// anything changed.
    Seal {
        /// True if all earlier approvals end with this seal.
        #[serde(default)]
        new_epoch: bool,
    },
    /// Return who froze the boundary, when and why, or `null`.
    Frozen,
    /// End a freeze with a new epoch.
    Thaw,
    /// Send a test message to a target of messages.
    NotifyTest {
        /// Name of the target.
        name: Name,
    },
    /// Return the content of `/ready`, and the notes that need an action of the operator.
    Status,
}

/// The answer to [`ControlRequest::Status`].
#[derive(Serialize, Deserialize)]
pub struct NodeStatus {
    /// Content of the HTTP answer to `/ready`.
    #[serde(flatten)]
    pub ready: Ready,
    /// Notes that need an action of the operator.
    #[serde(default)]
    pub must_fix: Vec<String>,
    /// Facts about the monitoring of the service.
    pub monitoring: Option<MonitoringStatus>,
    /// The address of the HTTP interface. A service of an earlier version does not report it.
    pub address: Option<ServedAddress>,
}

impl NodeStatus {
    /// Asks the running service for its status. Returns `None` if no service runs.
    ///
    /// # Errors
    /// Returns a message if the service doesn't answer.
    pub fn ask(config: &Config) -> Result<Option<Self>, String> {
        match ask(&config.socket(), &ControlRequest::Status).map_err(|problem| problem.to_string())? {
            None => Ok(None),
            Some(ControlReply::Ok(status)) => serde_json::from_value(status).map(Some).map_err(|error| {
                format!(
                    "the answer of the service can't be read ({error}): check that the service has the same version as \
                     this program"
                )
            }),
            Some(ControlReply::Error(message) | ControlReply::Refused { message, .. }) => Err(message),
        }
    }
}

/// The address on which a service listens. It differs from the configuration if an option or systemd gave the address.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub struct ServedAddress {
    /// Address and port.
    pub listen: SocketAddr,
    /// True if the address accepts only TLS.
    pub tls: bool,
}

/// An answer on the control socket.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ControlReply {
    /// Result of a successful request.
    Ok(Value),
    /// The boundary refused the request.
    Refused {
        /// Stable code of the reason.
        code: Code,
        /// The reason, and what to do.
        message: String,
    },
    /// Message of an internal failure, or about an unreadable request.
    Error(String),
}

/// Executes a request. `address` is `None` if no service runs.
pub async fn answer(
    boundary: &Boundary,
    config: &Config,
    address: Option<ServedAddress>,
    request: ControlRequest,
) -> ControlReply {
    let done = match request {
        ControlRequest::TokenCreate { token, jwks, ca } => {
            let warnings = steps_without_parameter(&token, &boundary.crossing.state());
            let made = boundary.sealing.create_token(*token, jwks, ca).await;
            made.map(|audience| json!({"audience": audience, "warnings": warnings}))
        }
        ControlRequest::TokenList => boundary.sealing.tokens().map(|tokens| json!(tokens)),
        ControlRequest::TokenRevoke { name } => boundary
            .sealing
            .revoke_token(&name)
            .await
            .map(|()| json!({ "revoked": name })),
        ControlRequest::Seal { new_epoch } => {
            next_seal::seal_files(config.clone(), boundary, new_epoch).await
        }
        ControlRequest::Frozen => boundary.health.frozen().map(|frozen| json!(frozen)),
        ControlRequest::Thaw => {
            let thawed = boundary.sealing.thaw().await;
            thawed.map(
                |void| json!({"seal": boundary.crossing.state().seal.number, "void_grants": void}),
            )
        }
        ControlRequest::NotifyTest { name } => notifying::test(boundary, config, &name)
            .await
            .map(|()| json!({ "told": name })),
        ControlRequest::Status => {
            let (ready, must_fix) = (boundary.health.ready(), boundary.health.must_fix());
            boundary.monitoring.status().map(|monitoring| {
                json!(NodeStatus {
                    ready,
                    must_fix,
                    monitoring: Some(monitoring),
                    address
                })
            })
        }
    };
    done.map_or_else(
        |stopped| match stopped {
            Stopped::Refused(refusal) => ControlReply::Refused {
                code: refusal.code,
                message: refusal.to_string(),
            },
            Stopped::Fault(_) => ControlReply::Error(stopped.to_string()),
        },
        ControlReply::Ok,
    )
}

/// The control socket before it accepts connections.
pub struct ControlSocket {
    socket: UnixSocket,
    /// Deletes the socket's file when it is dropped.
    file: TempPath,
}

impl ControlSocket {
    /// Makes the file of the control socket. An existing socket file belongs to an earlier service and is deleted,
    /// because this process holds the store's lock.
    ///
    /// # Errors
    /// Returns an error if the directory cannot be written.
    pub fn bind(path: &Path) -> Result<Self, FileProblem> {
        let failed = |error| unopened(path, &error);
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(failed(error));
            }
            _ => {}
        }
        let socket = UnixSocket::new_stream().map_err(failed)?;
        socket.bind(path).map_err(failed)?;
        let file = TempPath::try_from_path(path).map_err(failed)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
        Ok(Self { socket, file })
    }

    /// Lets clients connect.
    ///
    /// # Errors
    /// Returns an error if the process has no free file descriptor.
    pub fn listen(self) -> Result<(UnixListener, TempPath), FileProblem> {
        let listener = self
            .socket
            .listen(BACKLOG)
            .map_err(|error| unopened(&self.file, &error))?;
        Ok((listener, self.file))
    }
}

fn unopened(path: &Path, error: &std::io::Error) -> FileProblem {
    FileProblem::whole(
        path,
        format!("the control socket can't be opened ({error}): check the directory"),
    )
}

/// Answers requests until the task is dropped.
pub async fn serve(
    listener: UnixListener,
    boundary: Boundary,
    config: Config,
    address: Option<ServedAddress>,
) {
    let config = Arc::new(config);
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // The process has no free file descriptor, so wait until other connections have closed.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        // The kernel reports the user of the peer (SO_PEERCRED). The mode of the socket file alone is not safe, because
        // it can be changed.
        if !is_trusted(&stream) {
            tracing::warn!("refused a connection of another user to the control socket");
            continue;
        }
        let (boundary, config) = (boundary.clone(), config.clone());
        tokio::spawn(async move {
            let _ =
                tokio::time::timeout(DEADLINE, converse(stream, &boundary, &config, address)).await;
        });
    }
}

/// Returns true if the process at the other end runs as the user of this process or as root.
pub fn is_trusted(stream: &UnixStream) -> bool {
    let own = rustix::process::geteuid().as_raw();
    let peer = stream.peer_cred();
    peer.is_ok_and(|peer| peer.uid() == own || peer.uid() == 0)
}

async fn converse(
    stream: UnixStream,
    boundary: &Boundary,
    config: &Config,
    address: Option<ServedAddress>,
) -> std::io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut line = String::new();
    tokio::io::BufReader::new(read.take(MAX_LINE))
        .read_line(&mut line)
        .await?;
    let answer = match serde_json::from_str::<ControlRequest>(&line) {
        Ok(request) => answer(boundary, config, address, request).await,
        Err(error) => ControlReply::Error(format!("the request can't be read: {error}")),
    };
    let mut bytes = serde_json::to_vec(&answer)?;
    bytes.push(b'\n');
    write.write_all(&bytes).await
}

/// Sends a request to the service on this control socket. Returns `None` if no service listens.
///
/// # Errors
/// Returns an error if a service listens but does not answer.
pub fn ask(path: &Path, request: &ControlRequest) -> Result<Option<ControlReply>, FileProblem> {
    let Ok(stream) = std::os::unix::net::UnixStream::connect(path) else {
        return Ok(None);
    };
    let failed = |error: std::io::Error| {
        FileProblem::whole(
            path,
            format!("the boundary did not answer ({error}): read its log"),
        )
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

/// Maximum number of connections that wait until the service accepts them.
const BACKLOG: u32 = 128;
/// Time limit of one request. The slowest request seals many runbooks.
const DEADLINE: Duration = Duration::from_secs(60);
/// Maximum size of a request in bytes, enough for a token with many patterns and with the files of an issuer.
const MAX_LINE: u64 = 256 << 10;
/// Maximum size of an answer in bytes, enough for a list of many tokens.
const MAX_ANSWER: u64 = 64 << 20;
