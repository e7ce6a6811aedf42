//! The sockets of the service. A start takes all addresses before the first seal, because the seal of a roster can't be
//! taken back, and listens on them when the service is ready.

use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpSocket, UnixListener};

use crate::node::config::Config;
use crate::node::control::{ControlFile, ControlSocket};
use crate::node::file_problem::FileProblem;
use crate::node::listener;
use crate::node::service_manager::ServiceManager;

/// The addresses of the service. They belong to this process, but nobody can connect before [`BoundSockets::listen`].
/// Otherwise the service would execute requests whose clients no longer wait.
pub(super) struct BoundSockets {
    http: HttpSocket,
    metrics: Option<(SocketAddr, TcpSocket)>,
    control: ControlSocket,
}

enum HttpSocket {
    Bound(TcpSocket),
    /// systemd already listens.
    Passed(std::net::TcpListener),
}

/// The sockets of the service, on which it accepts connections.
pub(super) struct Listeners {
    pub(super) http: TcpListener,
    pub(super) metrics: Option<TcpListener>,
    pub(super) control: UnixListener,
    pub(super) control_file: ControlFile,
}

impl BoundSockets {
    /// Takes all addresses.
    ///
    /// # Errors
    /// Returns an error if an address is not free.
    pub(super) fn bind(config: &Config, passed: Option<std::net::TcpListener>) -> Result<Self, FileProblem> {
        let http = match passed {
            Some(listener) => HttpSocket::Passed(listener),
            None => HttpSocket::Bound(
                bind(config.listen).map_err(|error| not_listening(config, "listen", config.listen, &error))?,
            ),
        };
        let metrics = match config.metrics_listen {
            Some(address) => {
                check_apart(config, address)?;
                let failed = |error| not_listening(config, METRICS_LISTEN, address, &error);
                Some((address, bind(address).map_err(failed)?))
            }
            None => None,
        };
        Ok(Self { http, metrics, control: ControlSocket::bind(&config.socket())? })
    }

    /// Lets clients connect.
    ///
    /// # Errors
    /// Returns an error if another process listens on an address since [`BoundSockets::bind`].
    pub(super) fn listen(self, config: &Config) -> Result<Listeners, FileProblem> {
        let http = match self.http {
            HttpSocket::Passed(listener) => TcpListener::from_std(listener),
            HttpSocket::Bound(socket) => socket.listen(BACKLOG),
        };
        let http = http.map_err(|error| not_listening(config, "listen", config.listen, &error))?;
        let metrics = self.metrics.map(|(address, socket)| {
            socket.listen(BACKLOG).map_err(|error| not_listening(config, METRICS_LISTEN, address, &error))
        });
        let (control, control_file) = self.control.listen()?;
        Ok(Listeners { http, metrics: metrics.transpose()?, control, control_file })
    }
}

/// Takes an address. The kernel refuses the address if another process listens there.
fn bind(address: SocketAddr) -> std::io::Result<TcpSocket> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // Without this option, connections of an earlier service would occupy the address for a minute.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

/// Refuses the address for metrics if it is the address of the HTTP interface, which an option or systemd may have given.
fn check_apart(config: &Config, address: SocketAddr) -> Result<(), FileProblem> {
    let listen = config.listen;
    let is_same = listen.ip() == address.ip() || listen.ip().is_unspecified();
    if !is_same || listen.port() != address.port() || address.port() == 0 {
        return Ok(());
    }
    let message = format!("{address} ({METRICS_LISTEN}) is also the address of the HTTP interface: change one of them");
    Err(FileProblem::whole(&config.path, message))
}

fn not_listening(config: &Config, setting: &str, address: SocketAddr, error: &std::io::Error) -> FileProblem {
    FileProblem::whole(
        &config.path,
        format!("can't listen on {address} ({error}): end what listens there, or change `{setting}`"),
    )
}

/// Takes the listener that systemd passed, if any. Its address replaces `listen`, so that all rules for `listen` apply.
pub(super) fn passed(
    config: &mut Config,
    manager: &mut ServiceManager,
) -> Result<Option<std::net::TcpListener>, FileProblem> {
    let refused = |message: String| FileProblem::whole(&config.path, message);
    let Some(listener) = manager.listener().map_err(refused)? else { return Ok(None) };
    let address = listener.local_addr().map_err(|error| not_listening(config, "listen", config.listen, &error))?;
    config.listen = address;
    match listener::check(config) {
        None => Ok(Some(listener)),
        Some(problem) => Err(FileProblem {
            message: format!(
                "the socket that systemd passed (`ListenStream=` in the socket unit): {}",
                problem.message
            ),
            ..problem
        }),
    }
}

const METRICS_LISTEN: &str = "[metrics] listen";
/// Maximum number of connections that wait until the service accepts them. It is the value of the standard library.
const BACKLOG: u32 = 128;
