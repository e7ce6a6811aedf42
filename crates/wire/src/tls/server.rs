//! The server side of TLS. The certificate can be replaced while connections exist.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::{PairText, ServerPair, ValidTime};
use documents::locked;

/// An encrypted connection from a client.
pub type EncryptedStream = TlsStream<TcpStream>;

/// Bytes that end a connection before its handshake: the alert `internal_error`. A client reports this alert, and not
/// a lost connection.
pub const ALERT: [u8; 7] = [0x15, 0x03, 0x03, 0x00, 0x02, 0x02, 0x50];

/// The certificate in force.
pub struct TlsServer {
    current: Mutex<ServerPair>,
}

impl TlsServer {
    /// Serves this pair.
    pub const fn new(pair: ServerPair) -> Self {
        Self {
            current: Mutex::new(pair),
        }
    }

    /// Serves this pair to new connections. Existing connections continue with their pair. Sessions of the old pair
    /// cannot be resumed, because a client of an old `client_ca` would pass without a check.
    pub fn replace(&self, pair: ServerPair) {
        *locked(&self.current) = pair;
    }

    /// Performs the handshake. The caller sets the deadline.
    ///
    /// # Errors
    /// Returns an error if the client ends the connection, or if client and service have no version, cipher or
    /// certificate in common. An alert is written to the returned stream.
    pub async fn accept(
        &self,
        stream: TcpStream,
    ) -> Result<EncryptedStream, (io::Error, TcpStream)> {
        let config = locked(&self.current).config.clone();
        TlsAcceptor::from(config)
            .accept(stream)
            .into_fallible()
            .await
    }

    /// Returns the time in which the served certificate is valid.
    pub fn valid(&self) -> ValidTime {
        locked(&self.current).valid()
    }
}

/// A server with the content of its files, which a program reads again every few seconds.
pub struct RenewedServer {
    text: PairText,
    server: Arc<TlsServer>,
}

impl RenewedServer {
    /// Interval between two looks at the files.
    pub const EVERY: Duration = Duration::from_secs(5);

    /// Checks the content of the files, and serves the pair.
    ///
    /// # Errors
    /// Returns the error of the check.
    pub fn new<E>(
        text: PairText,
        check: impl FnOnce(&PairText) -> Result<ServerPair, E>,
    ) -> Result<Self, E> {
        let server = Arc::new(TlsServer::new(check(&text)?));
        Ok(Self { text, server })
    }

    /// Returns the server side of TLS with the certificate in force.
    pub fn server(&self) -> Arc<TlsServer> {
        self.server.clone()
    }

    /// Serves the pair of new content. The comparison uses the content of the files, because a renewal may replace a symbolic
    /// link. Returns the time in which a new certificate is valid, or `None` if the content is the same.
    ///
    /// # Errors
    /// Returns the error of the check. The old certificate then stays in force.
    pub fn take<E>(
        &mut self,
        text: PairText,
        check: impl FnOnce(&PairText) -> Result<ServerPair, E>,
    ) -> Result<Option<ValidTime>, E> {
        if text == self.text {
            return Ok(None);
        }
        let pair = check(&text)?;
        let valid = pair.valid();
        self.server.replace(pair);
        self.text = text;
        Ok(Some(valid))
    }
}

impl fmt::Debug for TlsServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsServer")
            .field("valid", &self.valid())
            .finish_non_exhaustive()
    }
}
