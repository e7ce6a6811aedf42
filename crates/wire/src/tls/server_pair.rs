//! The certificate and the key of the service, from their PEM files.

use std::fmt;
use std::sync::Arc;

use tokio_rustls::rustls::client::verify_server_name;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::{Error as PemReadError, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::server::{
    NoServerSessionStorage, ParsedCertificate, VerifierBuilderError, WebPkiClientVerifier,
};
use tokio_rustls::rustls::sign::{CertifiedKey, SingleCertAndKey};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{Error as RustlsError, InconsistentKeys, RootCertStore, ServerConfig};
use zeroize::Zeroizing;

use crate::{ValidTime, tls::certificate_fields::CertificateFields};
use documents::Timestamp;

/// The content of the files of `[tls]`.
#[derive(Clone, PartialEq, Eq)]
pub struct PairText {
    /// The certificate of the service, then the certificates of its issuers.
    pub certificate: Vec<u8>,
    /// The private key of the certificate.
    pub key: Zeroizing<Vec<u8>>,
    /// The certificates of `client_ca`. With them, only clients of this CA may connect.
    pub client_ca: Option<Vec<u8>>,
}

/// A file of `[tls]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PairFile {
    /// The certificate of the service.
    Certificate,
    /// The private key.
    Key,
    /// The CA of clients.
    ClientCa,
}

/// Reason why a pair can't be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PairFlaw {
    /// The file with the error.
    pub file: PairFile,
    /// The error, then the correction.
    pub message: String,
}

/// A certificate with its key, ready for connections. The key matches the certificate.
#[derive(Clone)]
pub struct ServerPair {
    pub(super) config: Arc<ServerConfig>,
    /// The certificate of the service, without those of its issuers.
    certificate: CertificateDer<'static>,
    valid: ValidTime,
}

impl ServerPair {
    /// Reads the files and checks that the key matches the certificate and that the certificate is valid now.
    ///
    /// # Errors
    /// Returns all reasons why the pair can't be used.
    pub fn check(text: &PairText, now: Timestamp) -> Result<Self, Vec<PairFlaw>> {
        let provider = Arc::new(ring::default_provider());
        let mut flaws = Vec::new();
        let mut keep = |file, message| flaws.push(PairFlaw { file, message });
        let chain = read_certificates(&text.certificate)
            .map_err(|message| keep(PairFile::Certificate, message))
            .ok();
        let valid = chain.as_ref().and_then(|(_, valid)| valid.objection(now));
        valid
            .into_iter()
            .for_each(|message| keep(PairFile::Certificate, message));
        let key = read_key(&text.key)
            .map_err(|message| keep(PairFile::Key, message))
            .ok();
        let pair =
            chain.zip(key).and_then(
                |((chain, valid), key)| match certify(chain, key, &provider) {
                    Ok(certified) => Some((certified.cert.first()?.clone(), certified, valid)),
                    Err((file, message)) => {
                        keep(file, message);
                        None
                    }
                },
            );
        let roots = text.client_ca.as_ref().map(|ca| read_roots(ca));
        let roots = roots
            .transpose()
            .map_err(|message| keep(PairFile::ClientCa, message))
            .ok();
        match (pair, roots) {
            (Some((certificate, certified, valid)), Some(roots)) if flaws.is_empty() => {
                match configure(provider, certified, roots) {
                    Ok(config) => Ok(Self {
                        config: Arc::new(config),
                        certificate,
                        valid,
                    }),
                    Err((file, message)) => Err(vec![PairFlaw { file, message }]),
                }
            }
            _ => Err(flaws),
        }
    }

    /// Returns true if the certificate is for this host, by the rules of TLS clients. `host` is a name or an IP address,
    /// with or without a port.
    pub fn is_for(&self, host: &str) -> bool {
        let without_port = host.rsplit_once(':').filter(|(name, port)| {
            port.parse::<u16>().is_ok() && (name.ends_with(']') || !name.contains(':'))
        });
        let name = without_port
            .map_or(host, |(name, _)| name)
            .trim_matches(['[', ']']);
        let (Ok(certificate), Ok(name)) = (
            ParsedCertificate::try_from(&self.certificate),
            ServerName::try_from(name),
        ) else {
            return false;
        };
        verify_server_name(&certificate, &name).is_ok()
    }

    /// Returns the time in which the certificate of the service is valid.
    pub const fn valid(&self) -> ValidTime {
        self.valid
    }
}

impl fmt::Debug for ServerPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerPair")
            .field("valid", &self.valid)
            .finish_non_exhaustive()
    }
}

type Flaw = (PairFile, String);

fn certify(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, Flaw> {
    let key = provider.key_provider.load_private_key(key).map_err(|_| {
        let message = "TLS can't use this kind of key: use an ECDSA key (P-256 or P-384), an RSA key of 2048 to 8192 \
                       bits, or an Ed25519 key";
        (PairFile::Key, message.to_owned())
    })?;
    let certified = CertifiedKey::new(chain, key);
    match certified.keys_match() {
        Ok(()) => Ok(certified),
        Err(RustlsError::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {
            let message = "the key does not belong to the first certificate in the certificate file: put the \
                           certificate of the service first, then the certificates of its issuers, and name its key";
            Err((PairFile::Key, message.to_owned()))
        }
        Err(error) => Err((
            PairFile::Certificate,
            format!("TLS can't use the certificate ({error}): issue a new one"),
        )),
    }
}

fn configure(
    provider: Arc<CryptoProvider>,
    certified: CertifiedKey,
    roots: Option<RootCertStore>,
) -> Result<ServerConfig, Flaw> {
    let checks_clients = roots.is_some();
    let clients = match roots {
        None => WebPkiClientVerifier::no_client_auth(),
        Some(roots) => {
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
                .build()
                .map_err(|error: VerifierBuilderError| (PairFile::ClientCa, error.to_string()))?
        }
    };
    let builder = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(|error| (PairFile::Certificate, error.to_string()))?;
    let mut config = builder
        .with_client_cert_verifier(clients)
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    if checks_clients {
        // A resumed session has no check of the client certificate, which may have expired since.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
    }
    Ok(config)
}

/// Reads the certificates of the service and its issuers. Returns also the validity of the first certificate.
fn read_certificates(pem: &[u8]) -> Result<(Vec<CertificateDer<'static>>, ValidTime), String> {
    let chain = pem_certificates(pem)?;
    let mut first = None;
    for (number, certificate) in (1..).zip(&chain) {
        let fields = parse(certificate, number)?;
        if number == 1 {
            check_of_service(&fields)?;
            first = Some(fields.valid);
        }
    }
    first
        .map(|valid| (chain, valid))
        .ok_or_else(|| NO_CERTIFICATE.to_owned())
}

/// Refuses a first certificate that the clients of Countersign refuse.
fn check_of_service(certificate: &CertificateFields) -> Result<(), String> {
    if !certificate.has_version_3 {
        return Err(
            "the first certificate does not have version 3, which TLS needs: issue it again with an extension, \
                    for example `openssl x509 -req ... -extfile FILE` with the line `subjectAltName=DNS:NAME`"
                .to_owned(),
        );
    }
    if certificate.is_ca {
        return Err("the first certificate is the certificate of a CA (CA:TRUE), which the clients of Countersign \
                    refuse: put the certificate of the service (CA:FALSE) first; if there is none, issue one with this CA"
            .to_owned());
    }
    Ok(())
}

fn parse(certificate: &CertificateDer<'_>, number: usize) -> Result<CertificateFields, String> {
    CertificateFields::parse(certificate).ok_or_else(|| {
        format!("certificate {number} of the file is malformed: write the file again")
    })
}

fn pem_certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, PemReadError>>()
        .map_err(|error| pem_words(&error))?;
    if chain.is_empty() {
        Err(NO_CERTIFICATE.to_owned())
    } else {
        Ok(chain)
    }
}

fn read_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, String> {
    PrivateKeyDer::from_pem_slice(pem).map_err(|error| match error {
        PemReadError::NoItemsFound => {
            let message = "the file contains no private key in PEM form (BEGIN PRIVATE KEY): name the file of the key; \
                           if the key has a password, remove it: `openssl pkey -in FILE -out FILE2`, then \
                           `chmod 600 FILE2`";
            message.to_owned()
        }
        error => pem_words(&error),
    })
}

fn read_roots(pem: &[u8]) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for (number, certificate) in (1..).zip(pem_certificates(pem)?) {
        if !parse(&certificate, number)?.is_ca {
            return Err(format!(
                "certificate {number} of the file is not the certificate of a CA (CA:TRUE), so it admits no client: \
                 name a file that contains only CAs, which sign the certificates of clients"
            ));
        }
        roots.add(certificate).map_err(|error| {
            format!("certificate {number} of the file can't be used as a CA ({error}): name the file of the CA")
        })?;
    }
    Ok(roots)
}

/// Returns a message without the content of the file, because the file may contain a key.
fn pem_words(error: &PemReadError) -> String {
    let what = match error {
        PemReadError::MissingSectionEnd { .. } => {
            "an END line is missing, as in a file that is only half written"
        }
        PemReadError::Base64Decode(_) => "the text between BEGIN and END is not base64",
        _ => "a BEGIN or END line is malformed",
    };
    format!("the file is not PEM ({what}): write the file again")
}

const NO_CERTIFICATE: &str = "the file contains no certificate in PEM form (BEGIN CERTIFICATE): name the file of the certificate";
