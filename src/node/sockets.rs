//! The sockets of the service. The start takes all addresses before the first seal, because the seal of a roster can't
//! be taken back. It listens on the addresses only when the service is ready.

use std::net::SocketAddr;

use tempfile::TempPath;
use tokio::net::{TcpListener, TcpSocket, UnixListener};

use crate::{
    Config, ServiceManager,
    node::{control::ControlSocket, listener},
};
use reading::FileProblem;

/// The addresses of the service. They belong to this process, but clients can't connect before
/// [`BoundSockets::listen`]. Otherwise the service would execute requests whose clients no longer wait.
pub struct BoundSockets {
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
pub struct Listeners {
    pub http: TcpListener,
    pub metrics: Option<TcpListener>,
    pub control: UnixListener,
    pub control_file: TempPath,
}

impl BoundSockets {
    /// Takes all addresses.
    ///
    /// # Errors
    /// Returns an error if an address is not free.
    pub fn bind(
        config: &Config,
        passed: Option<std::net::TcpListener>,
    ) -> Result<Self, FileProblem> {
        let http = match passed {
            Some(listener) => HttpSocket::Passed(listener),
            None => HttpSocket::Bound(bind(config.listen).map_err(not_listening(
                config,
                "listen",
                config.listen,
            ))?),
        };
        let metrics = match config.metrics.listen {
            Some(address) => {
                let failed = not_listening(config, METRICS_LISTEN, address);
                Some((address, bind(address).map_err(failed)?))
            }
            None => None,
        };
        Ok(Self {
            http,
            metrics,
            control: ControlSocket::bind(&config.socket())?,
        })
    }

    /// Lets clients connect.
    ///
    /// # Errors
    /// Returns an error if another process has begun to listen on an address since [`BoundSockets::bind`].
    pub fn listen(self, config: &Config) -> Result<Listeners, FileProblem> {
        let http = match self.http {
            HttpSocket::Passed(listener) => TcpListener::from_std(listener),
            HttpSocket::Bound(socket) => listen(socket),
        };
        let http = http.map_err(not_listening(config, "listen", config.listen))?;
        let metrics = self.metrics.map(|(address, socket)| {
            listen(socket).map_err(not_listening(config, METRICS_LISTEN, address))
        });
        let (control, control_file) = self.control.listen()?;
        Ok(Listeners {
            http,
            metrics: metrics.transpose()?,
            control,
            control_file,
        })
    }
}

/// Takes an address. The kernel refuses the address if another process has it.
fn bind(address: SocketAddr) -> std::io::Result<TcpSocket> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()
    } else {
        TcpSocket::new_v6()
    }?;
    // Without this option, ended connections of an earlier service would occupy the address for a minute. If the option
    // stayed set, a second process could bind the address before this process listens.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.set_reuseaddr(false)?;
    Ok(socket)
}

fn listen(socket: TcpSocket) -> std::io::Result<TcpListener> {
    socket.set_reuseaddr(true)?;
    socket.listen(BACKLOG)
}

fn not_listening(
    config: &Config,
    setting: &str,
    address: SocketAddr,
) -> impl FnOnce(std::io::Error) -> FileProblem {
    move |error| {
        FileProblem::whole(
            &config.path,
            format!(
                "can't listen on {address} ({error}): end what listens there, or change `{setting}`"
            ),
        )
    }
}

/// Takes the listener that systemd passed, if any. Its address replaces `listen`, so that all rules for `listen` apply.
pub fn passed(
    config: &mut Config,
    manager: &mut ServiceManager,
) -> Result<Option<std::net::TcpListener>, FileProblem> {
    let refused = |message: String| FileProblem::whole(&config.path, message);
    let Some(listener) = manager.listener().map_err(refused)? else {
        return Ok(None);
    };
    let address = listener
        .local_addr()
        .map_err(not_listening(config, "listen", config.listen))?;
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
/// Maximum number of connections that wait until the service accepts them. The kernel reduces the number to
/// `net.core.somaxconn`, which has the same default value.
const BACKLOG: u32 = 4096;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn nobody_else_gets_an_address_before_the_service_listens() {
        let bound = bind("127.0.0.1:0".parse().expect("an address")).expect("a free port");
        let address = bound.local_addr().expect("an address");
        assert!(bind(address).is_err(), "a second service");
        assert!(
            tokio::net::TcpStream::connect(address).await.is_err(),
            "a client"
        );
        let listener = listen(bound).expect("the service listens");
        assert!(bind(address).is_err(), "a second service");
        // An ended connection does not occupy the address.
        let mut client = tokio::net::TcpStream::connect(address)
            .await
            .expect("a client");
        drop(listener.accept().await.expect("a connection"));
        let mut rest = Vec::new();
        let _ = tokio::io::AsyncReadExt::read_to_end(&mut client, &mut rest).await;
        // A burst of clients does not wait until the service accepts the first.
        let most = Duration::from_millis(500);
        let burst: Vec<_> = (0..300)
            .map(|_| std::net::TcpStream::connect_timeout(&address, most))
            .collect();
        assert!(
            burst.iter().all(Result::is_ok),
            "{:?}",
            burst.iter().find(|one| one.is_err())
        );
        drop((burst, client, listener));
        let next = bind(address).expect("the address is free");
        assert!(listen(next).is_ok());
    }
}
