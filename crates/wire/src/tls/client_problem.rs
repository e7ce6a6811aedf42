//! The reason of a failed TLS connection, in words for the person who started the client.

use std::fmt;
use std::io::ErrorKind;

use rustls::pki_types::UnixTime;
use rustls::{AlertDescription, CertificateError, InvalidMessage, OtherError, PeerIncompatible};
use time::OffsetDateTime;

/// Reason why a client has no TLS connection to a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TlsProblem {
    /// No trusted authority signed the server's certificate.
    UnknownAuthority,
    /// The server's certificate is the certificate of an authority.
    AuthorityAsServer,
    /// The server's certificate is for other names. The list has these names.
    OtherName(Vec<String>),
    /// The server's certificate has expired, at this time if the library names the time.
    Expired(Option<UnixTime>),
    /// The server's certificate is not valid yet, but from this time on.
    NotYetValid(Option<UnixTime>),
    /// The server requires a client certificate.
    CertificateRequired,
    /// The server refused the client's certificate.
    CertificateRefused(String),
    /// The answer of the server is not TLS.
    NoTls,
    /// The server supports only versions before TLS 1.2.
    OldVersion,
    /// The server has no room for the connection, or has a fault.
    NoRoom,
    /// The server closed the connection without an answer.
    Closed,
    /// Another reason.
    Other(String),
}

impl fmt::Display for TlsProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let refused = "the connection was refused before any data was sent";
        match self {
            Self::UnknownAuthority => {
                write!(
                    f,
                    "no trusted certificate authority signed the server's certificate; {refused}"
                )
            }
            Self::AuthorityAsServer => write!(
                f,
                "the server's certificate is the certificate of an authority (CA:TRUE), not the certificate of a server; \
                 {refused}"
            ),
            Self::OtherName(names) if names.is_empty() => {
                write!(
                    f,
                    "the server's certificate has no name of a host (subjectAltName); {refused}"
                )
            }
            Self::OtherName(names) => {
                write!(
                    f,
                    "the server's certificate is for other names ({}); {refused}",
                    names.join(", ")
                )
            }
            Self::Expired(at) => write!(
                f,
                "the server's certificate has expired{}; {refused}",
                words(" on ", *at)
            ),
            Self::NotYetValid(from) => {
                write!(
                    f,
                    "the server's certificate is not valid yet{}; {refused}",
                    words(", but from ", *from)
                )
            }
            Self::CertificateRequired => f.write_str("the server requires a client certificate"),
            Self::CertificateRefused(why) => {
                write!(f, "the server refused the client certificate ({why})")
            }
            Self::NoTls => f.write_str("the server's answer is no TLS"),
            Self::OldVersion => f.write_str("the server supports no TLS 1.2 and no TLS 1.3"),
            Self::NoRoom => {
                f.write_str("the server has no room for this connection, or has a fault now")
            }
            Self::Closed => f.write_str("the server closed the TLS connection without an answer"),
            Self::Other(why) => write!(f, "the TLS connection failed: {why}"),
        }
    }
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
            CertificateError::Expired => Self::Expired(None),
            CertificateError::ExpiredContext { not_after, .. } => Self::Expired(Some(*not_after)),
            CertificateError::NotValidYet => Self::NotYetValid(None),
            CertificateError::NotValidYetContext { not_before, .. } => {
                Self::NotYetValid(Some(*not_before))
            }
            CertificateError::NotValidForName => Self::OtherName(Vec::new()),
            CertificateError::NotValidForNameContext { presented, .. } => {
                // The library shows a name as `DnsName("boundary.example")`.
                let bare = |name: &String| {
                    let inner = name
                        .split_once('(')
                        .and_then(|(_, rest)| rest.strip_suffix(')'));
                    inner.unwrap_or(name).trim_matches('"').to_owned()
                };
                Self::OtherName(presented.iter().map(bare).collect())
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

/// Returns the text `before` and the day, or an empty text if the time is unknown.
fn words(before: &str, time: Option<UnixTime>) -> String {
    let day = |time: UnixTime| {
        OffsetDateTime::from_unix_timestamp(i64::try_from(time.as_secs()).ok()?).ok()
    };
    time.and_then(day)
        .map_or_else(String::new, |time| format!("{before}{}", time.date()))
}
