//! TLS of a connection to a database server.
//!
//! The client checks the certificate and the name of the server. No option switches this check off.

use std::fmt;
use std::io;
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;

use crate::{
    ClientCertificatePem, ClientConfigError,
    tls::client_config::{authority_certificates, certified_pair},
};

/// An encrypted connection to a database server.
pub type DatabaseStream<S> = tokio_rustls::client::TlsStream<S>;

/// Makes encrypted connections to database servers.
#[derive(Clone)]
pub struct DatabaseTls(TlsConnector);

impl DatabaseTls {
    /// Trusts `authorities` only, or the authorities of the system without `authorities`.
    ///
    /// # Errors
    /// Returns an error if a text contains nothing that can be used, or if the system has no list of authorities.
    pub fn new(
        authorities: Option<&[u8]>,
        certificate: Option<ClientCertificatePem<'_>>,
    ) -> Result<Self, ClientConfigError> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(authority_certificates(authorities)?);
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| ClientConfigError::Authorities(error.to_string()))?
            .with_root_certificates(roots);
        let config = match certificate {
            Some(pem) => {
                let (chain, key) = certified_pair(pem)?;
                builder
                    .with_client_auth_cert(chain, key)
                    .map_err(|error| ClientConfigError::Certificate(error.to_string()))?
            }
            None => builder.with_no_client_auth(),
        };
        Ok(Self(TlsConnector::from(Arc::new(config))))
    }

    /// Performs the handshake with the server `host`. The caller sets the deadline.
    ///
    /// # Errors
    /// Returns an error if the certificate of the server is not valid for `host`, or if the handshake fails.
    pub async fn connect<S>(self, stream: S, host: String) -> io::Result<DatabaseStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let name =
            ServerName::try_from(host).map_err(|error| io::Error::other(error.to_string()))?;
        self.0.connect(name, stream).await
    }
}

impl fmt::Debug for DatabaseTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DatabaseTls")
    }
}
