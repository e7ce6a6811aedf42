//! Configuration of TLS connections of a client: the trusted authorities and the client certificate.
//!
//! The client checks the certificate and the name of each server. No option switches this check off.
//!
//! The file also makes TLS connections to a database server, and explains a failed TLS connection for the person who
//! started the client.

use std::{
    fmt,
    io::{self, ErrorKind},
    sync::Arc,
};

use rustls::{
    AlertDescription, CertificateError, ClientConfig, InconsistentKeys, InvalidMessage, OtherError,
    PeerIncompatible, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime},
    sign::CertifiedKey,
};
use time::OffsetDateTime;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use ureq::tls::{Certificate, ClientCert, PrivateKey, RootCerts, TlsConfig};

use crate::tls::server::{pem_certificates, read_key};

/// PEM text of a client certificate.
#[derive(Clone, Copy)]
pub struct ClientCertificatePem<'a> {
    /// The certificate, and then the certificates of the intermediate authorities.
    pub certificates: &'a [u8],
    /// The private key.
    pub key: &'a [u8],
}

/// Reason why the files of a user or of the system give no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ClientConfigError {
    /// The system has no list of certificate authorities, or the list can't be read.
    #[error("this system has no list of certificate authorities{0}")]
    NoSystemAuthorities(String),
    /// The PEM text of the authorities can't be used.
    #[error("{0}")]
    Authorities(String),
    /// The PEM text of the client certificate can't be used.
    #[error("{0}")]
    Certificate(String),
    /// The PEM text of the private key can't be used.
    #[error("{0}")]
    Key(String),
    /// The private key belongs to another certificate.
    #[error("the key does not belong to the certificate")]
    OtherKey,
}

/// Returns the configuration of a client. With `authorities`, the client trusts these authorities only. Without
/// `authorities`, the client trusts the authorities of the system. OpenSSL's variables `SSL_CERT_FILE` and
/// `SSL_CERT_DIR` replace the list of the system.
///
/// # Errors
/// Returns an error if a text contains nothing that can be used, or if the system has no list of authorities.
pub fn client_config(
    authorities: Option<&[u8]>,
    certificate: Option<ClientCertificatePem<'_>>,
) -> Result<TlsConfig, ClientConfigError> {
    let roots = authority_certificates(authorities)?;
    let certificate = certificate.map(client_certificate).transpose()?;
    Ok(TlsConfig::builder()
        .root_certs(RootCerts::from(roots.iter().map(owned).collect::<Vec<_>>()))
        .client_cert(certificate)
        .unversioned_rustls_crypto_provider(Arc::new(ring::default_provider()))
        .build())
}

/// Returns the certificates of `authorities`, or of the authorities of the system.
pub fn authority_certificates(
    authorities: Option<&[u8]>,
) -> Result<Vec<CertificateDer<'static>>, ClientConfigError> {
    match authorities {
        Some(pem) => named_authorities(pem),
        None => system_authorities(),
    }
}

fn named_authorities(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, ClientConfigError> {
    let found = pem_certificates(pem).map_err(ClientConfigError::Authorities)?;
    // Without this check, an unusable certificate would be skipped without a message.
    let mut store = RootCertStore::empty();
    for (at, certificate) in found.iter().enumerate() {
        store.add(certificate.clone()).map_err(|error| {
            ClientConfigError::Authorities(format!(
                "the certificate {} can't be used: {error}",
                at + 1
            ))
        })?;
    }
    Ok(found)
}

fn system_authorities() -> Result<Vec<CertificateDer<'static>>, ClientConfigError> {
    let loaded = rustls_native_certs::load_native_certs();
    if loaded.certs.is_empty() {
        let why = loaded
            .errors
            .first()
            .map_or_else(String::new, |error| format!(" ({error})"));
        return Err(ClientConfigError::NoSystemAuthorities(why));
    }
    Ok(loaded.certs)
}

fn client_certificate(pem: ClientCertificatePem<'_>) -> Result<ClientCert, ClientConfigError> {
    let (chain, _) = certified_pair(pem)?;
    let key =
        PrivateKey::from_pem(pem.key).map_err(|error| ClientConfigError::Key(error.to_string()))?;
    Ok(ClientCert::new_with_certs(
        &chain.iter().map(owned).collect::<Vec<_>>(),
        key,
    ))
}

/// Returns the certificates and the private key of a client, after checking that they belong together.
pub fn certified_pair(
    pem: ClientCertificatePem<'_>,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), ClientConfigError> {
    let chain = pem_certificates(pem.certificates).map_err(ClientConfigError::Certificate)?;
    let key = read_key(pem.key).map_err(ClientConfigError::Key)?;
    // With the key of another certificate, ureq would panic at the first connection.
    CertifiedKey::from_der(chain.clone(), key.clone_key(), &ring::default_provider()).map_err(
        |error| match error {
            rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                ClientConfigError::OtherKey
            }
            rustls::Error::InvalidCertificate(error) => {
                ClientConfigError::Certificate(certificate_words(&error.to_string()))
            }
            other => ClientConfigError::Key(format!("the private key can't be used: {other}")),
        },
    )?;
    Ok((chain, key))
}

fn certificate_words(error: &str) -> String {
    // rustls has no error variant for this case, so the text of the error is searched for webpki's name of the case.
    if error.contains("UnsupportedCertVersion") {
        return "the certificate does not have version 3, which TLS needs: ask for a new one, issued with an extension, \
                for example `openssl x509 -req ... -extfile FILE` with the line `extendedKeyUsage=clientAuth`"
            .to_owned();
    }
    format!("the certificate can't be used: {error}")
}

fn owned(certificate: &CertificateDer<'_>) -> Certificate<'static> {
    Certificate::from_der(certificate).to_owned()
}

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
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("DatabaseTls")
    }
}

/// Reason why a client has no TLS connection to a server.
#[derive(Debug, thiserror::Error)]
pub enum TlsProblem {
    /// No trusted authority signed the server's certificate.
    #[error(
        "no trusted certificate authority signed the server's certificate; the connection was refused before any data was sent"
    )]
    UnknownAuthority,
    /// The server's certificate is the certificate of an authority.
    #[error(
        "the server's certificate is the certificate of an authority (CA:TRUE), not the certificate of a server; the connection was refused before any data was sent"
    )]
    AuthorityAsServer,
    /// The server's certificate is for other names, or for no name. The text states the names.
    #[error("the server's certificate {0}; the connection was refused before any data was sent")]
    OtherName(String),
    /// The server's certificate has expired. The text has the day, if the library names the time.
    #[error(
        "the server's certificate has expired{0}; the connection was refused before any data was sent"
    )]
    Expired(String),
    /// The server's certificate is not valid yet. The text states the first valid day.
    #[error(
        "the server's certificate is not valid yet{0}; the connection was refused before any data was sent"
    )]
    NotYetValid(String),
    /// The server requires a client certificate.
    #[error("the server requires a client certificate")]
    CertificateRequired,
    /// The server refused the client's certificate.
    #[error("the server refused the client certificate ({0})")]
    CertificateRefused(String),
    /// The answer of the server is not TLS.
    #[error("the server's answer is no TLS")]
    NoTls,
    /// The server supports only versions before TLS 1.2.
    #[error("the server supports no TLS 1.2 and no TLS 1.3")]
    OldVersion,
    /// The server has no capacity for the connection, or has a fault.
    #[error("the server has no room for this connection, or has a fault now")]
    NoRoom,
    /// The server closed the connection without an answer.
    #[error("the server closed the TLS connection without an answer")]
    Closed,
    /// Another reason.
    #[error("the TLS connection failed: {0}")]
    Other(String),
}

impl TlsProblem {
    /// Returns the problem behind an error of a request over TLS, or `None` if the error has no connection with TLS.
    pub fn of(error: &ureq::Error) -> Option<Self> {
        match error {
            ureq::Error::Rustls(error) => Some(Self::of_rustls(error)),
            ureq::Error::Io(error) => {
                match error.get_ref().and_then(|inner| inner.downcast_ref()) {
                    Some(error) => Some(Self::of_rustls(error)),
                    // A server that refuses the client may close the connection before the client has read the reason.
                    None => matches!(
                        error.kind(),
                        ErrorKind::UnexpectedEof
                            | ErrorKind::ConnectionReset
                            | ErrorKind::BrokenPipe
                            | ErrorKind::ConnectionAborted
                    )
                    .then_some(Self::Closed),
                }
            }
            ureq::Error::Tls(why) => Some(Self::Other((*why).to_owned())),
            _ => None,
        }
    }

    fn of_rustls(error: &rustls::Error) -> Self {
        match error {
            rustls::Error::InvalidCertificate(error) => Self::of_certificate(error),
            rustls::Error::AlertReceived(alert) => Self::of_alert(*alert),
            rustls::Error::InvalidMessage(
                InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion,
            ) => Self::NoTls,
            rustls::Error::PeerIncompatible(PeerIncompatible::ServerDoesNotSupportTls12Or13) => {
                Self::OldVersion
            }
            other => Self::Other(other.to_string()),
        }
    }

    fn of_certificate(error: &CertificateError) -> Self {
        match error {
            // The last two errors mean that a trusted authority has the same name, but another key.
            CertificateError::UnknownIssuer
            | CertificateError::BadSignature
            | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
                Self::UnknownAuthority
            }
            CertificateError::Expired => Self::Expired(String::new()),
            CertificateError::ExpiredContext { not_after, .. } => {
                Self::Expired(words(" on ", *not_after))
            }
            CertificateError::NotValidYet => Self::NotYetValid(String::new()),
            CertificateError::NotValidYetContext { not_before, .. } => {
                Self::NotYetValid(words(", but from ", *not_before))
            }
            CertificateError::NotValidForName => Self::OtherName(NO_NAME.to_owned()),
            CertificateError::NotValidForNameContext { presented, .. } => {
                // The library shows a name as `DnsName("boundary.example")`.
                let bare = |name: &String| {
                    let inner = name
                        .split_once('(')
                        .and_then(|(_, rest)| rest.strip_suffix(')'));
                    inner.unwrap_or(name).trim_matches('"').to_owned()
                };
                let names: Vec<String> = presented.iter().map(bare).collect();
                Self::OtherName(match names.is_empty() {
                    true => NO_NAME.to_owned(),
                    false => format!("is for other names ({})", names.join(", ")),
                })
            }
            CertificateError::Other(OtherError(inner))
                if inner.to_string() == "CaUsedAsEndEntity" =>
            {
                Self::AuthorityAsServer
            }
            other => Self::Other(format!("the server's certificate can't be used: {other}")),
        }
    }

    fn of_alert(alert: AlertDescription) -> Self {
        match alert {
            AlertDescription::CertificateRequired | AlertDescription::NoCertificate => {
                Self::CertificateRequired
            }
            AlertDescription::UnknownCA => {
                Self::CertificateRefused("the server does not trust its authority".to_owned())
            }
            AlertDescription::CertificateExpired => {
                Self::CertificateRefused("it has expired".to_owned())
            }
            AlertDescription::CertificateRevoked => {
                Self::CertificateRefused("it is revoked".to_owned())
            }
            AlertDescription::UnsupportedCertificate => Self::CertificateRefused(
                "it is not for clients: its extendedKeyUsage lacks clientAuth".to_owned(),
            ),
            AlertDescription::BadCertificate
            | AlertDescription::CertificateUnknown
            | AlertDescription::AccessDenied => Self::CertificateRefused(format!("{alert:?}")),
            AlertDescription::ProtocolVersion => Self::OldVersion,
            AlertDescription::InternalError => Self::NoRoom,
            // With TLS 1.2, OpenSSL refuses a client without a certificate in this way.
            other => Self::Other(format!("the server refused the connection ({other:?})")),
        }
    }
}

const NO_NAME: &str = "has no name of a host (subjectAltName)";

/// Returns the text `before` and the day, or an empty text if the time is beyond the calendar.
fn words(before: &str, time: UnixTime) -> String {
    let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    OffsetDateTime::from_unix_timestamp(seconds)
        .map_or_else(|_| String::new(), |time| format!("{before}{}", time.date()))
}
