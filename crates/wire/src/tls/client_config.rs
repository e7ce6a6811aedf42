//! Configuration of TLS connections of a client: the trusted authorities and the client certificate.
//!
//! The client checks the certificate and the name of each server. No option switches this check off.

use std::fmt;
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{InconsistentKeys, RootCertStore};
use ureq::tls::{Certificate, ClientCert, PrivateKey, RootCerts, TlsConfig};

/// PEM text of a client certificate.
#[derive(Clone, Copy)]
pub struct ClientCertificatePem<'a> {
    /// The certificate, and then the certificates of the intermediate authorities.
    pub certificates: &'a [u8],
    /// The private key.
    pub key: &'a [u8],
}

/// Reason why the files of a user or of the system give no configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientConfigError {
    /// The system has no list of certificate authorities, or the list can't be read.
    NoSystemAuthorities(String),
    /// The PEM text of the authorities can't be used.
    Authorities(String),
    /// The PEM text of the client certificate can't be used.
    Certificate(String),
    /// The PEM text of the private key can't be used.
    Key(String),
    /// The private key belongs to another certificate.
    OtherKey,
}

impl fmt::Display for ClientConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSystemAuthorities(why) => {
                write!(f, "this system has no list of certificate authorities{why}")
            }
            Self::Authorities(why) | Self::Certificate(why) | Self::Key(why) => f.write_str(why),
            Self::OtherKey => f.write_str("the key does not belong to the certificate"),
        }
    }
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
    let found = certificates(pem).map_err(ClientConfigError::Authorities)?;
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
    let chain = certificates(pem.certificates).map_err(ClientConfigError::Certificate)?;
    let unusable =
        |error: String| ClientConfigError::Key(format!("the private key can't be used: {error}"));
    let missing = || {
        let text = String::from_utf8_lossy(pem.key);
        ClientConfigError::Key(if text.contains("ENCRYPTED") {
            "the private key is encrypted: write it without a passphrase (`openssl pkey -in FILE -out FILE2`), into a \
             file of mode 0600"
                .to_owned()
        } else {
            "there is no private key in PEM (BEGIN PRIVATE KEY) in the file".to_owned()
        })
    };
    let key = PrivateKeyDer::from_pem_slice(pem.key).map_err(|_| missing())?;
    // With the key of another certificate, ureq would panic at the first connection.
    CertifiedKey::from_der(chain.clone(), key.clone_key(), &ring::default_provider()).map_err(
        |error| match error {
            rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                ClientConfigError::OtherKey
            }
            rustls::Error::InvalidCertificate(error) => {
                ClientConfigError::Certificate(certificate_words(&error.to_string()))
            }
            other => unusable(other.to_string()),
        },
    )?;
    Ok((chain, key))
}

fn certificate_words(error: &str) -> String {
    // webpki's word inside an error that rustls does not type.
    if error.contains("UnsupportedCertVersion") {
        return "the certificate does not have version 3, which TLS needs: ask for a new one, issued with an extension, \
                for example `openssl x509 -req ... -extfile FILE` with the line `extendedKeyUsage=clientAuth`"
            .to_owned();
    }
    format!("the certificate can't be used: {error}")
}

/// Returns the certificates of a PEM text.
fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(found) if found.is_empty() => {
            Err("there is no certificate in PEM (BEGIN CERTIFICATE) in the file".to_owned())
        }
        Ok(found) => Ok(found),
        Err(error) => Err(format!("the file is no valid PEM: {error}")),
    }
}

fn owned(certificate: &CertificateDer<'_>) -> Certificate<'static> {
    Certificate::from_der(certificate).to_owned()
}
