//! The server side of TLS. The certificate can be replaced while connections exist.
//!
//! The file also reads the certificate and the key of the service from their PEM files, and the fields of a certificate
//! that rustls does not expose.
//!
//! These fields decide only what a message says, and whether a file of `[tls]` is accepted. rustls checks the
//! certificates of a connection.

use std::{
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::net::TcpStream;
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        Error as RustlsError, InconsistentKeys, RootCertStore, ServerConfig,
        client::verify_server_name,
        crypto::{CryptoProvider, ring},
        pki_types::{
            CertificateDer, PrivateKeyDer, ServerName,
            pem::{Error as PemReadError, PemObject},
        },
        server::{
            NoServerSessionStorage, ParsedCertificate, VerifierBuilderError, WebPkiClientVerifier,
        },
        sign::{CertifiedKey, SingleCertAndKey},
        version::{TLS12, TLS13},
    },
    server::TlsStream,
};
use zeroize::Zeroizing;

use documents::{Timestamp, locked};

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
        locked(&self.current).valid
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
        let valid = pair.valid;
        self.server.replace(pair);
        self.text = text;
        Ok(Some(valid))
    }
}

/// The content of the files of `[tls]`.
#[derive(PartialEq)]
pub struct PairText {
    /// The certificate of the service, then the certificates of its issuers.
    pub certificate: Vec<u8>,
    /// The private key of the certificate.
    pub key: Zeroizing<Vec<u8>>,
    /// The certificates of `client_ca`. If present, only clients with a certificate of this CA may connect.
    pub client_ca: Option<Vec<u8>>,
}

/// A file of `[tls]`.
#[derive(PartialEq)]
pub enum PairFile {
    /// The certificate of the service.
    Certificate,
    /// The private key.
    Key,
    /// The CA of clients.
    ClientCa,
}

/// Reason why a pair can't be used.
pub struct PairFlaw {
    /// The file with the error.
    pub file: PairFile,
    /// The error, then the correction.
    pub message: String,
}

/// A certificate with its key, ready for connections. The key matches the certificate.
pub struct ServerPair {
    pub(super) config: Arc<ServerConfig>,
    /// The certificate of the service, without those of its issuers.
    certificate: CertificateDer<'static>,
    /// The time in which the certificate of the service is valid.
    pub valid: ValidTime,
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

/// Refuses a certificate of the service that the clients of Countersign would refuse.
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

/// Returns the certificates of a PEM text, at least one.
pub(super) fn pem_certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, PemReadError>>()
        .map_err(|error| pem_words(&error))?;
    if chain.is_empty() {
        Err(NO_CERTIFICATE.to_owned())
    } else {
        Ok(chain)
    }
}

/// Returns the private key of a PEM text.
pub(super) fn read_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, String> {
    PrivateKeyDer::from_pem_slice(pem).map_err(|error| match error {
        PemReadError::NoItemsFound | PemReadError::Base64Decode(_)
            if String::from_utf8_lossy(pem).contains("ENCRYPTED") =>
        {
            "the private key is encrypted: write it without a password (`openssl pkey -in FILE -out FILE2`, then \
             `chmod 600 FILE2`), and name this file"
                .to_owned()
        }
        PemReadError::NoItemsFound => {
            "the file contains no private key in PEM form (BEGIN PRIVATE KEY): name the file of the key".to_owned()
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

/// Some fields of a certificate (RFC 5280, section 4.1).
#[derive(Debug, PartialEq)]
pub struct CertificateFields {
    /// Whether the certificate has version 3, which has extensions.
    pub has_version_3: bool,
    /// Whether the certificate is the certificate of a CA.
    pub is_ca: bool,
    /// The time in which the certificate is valid.
    pub valid: ValidTime,
}

/// The time in which a certificate is valid.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ValidTime {
    /// First second of the validity.
    pub not_before: Timestamp,
    /// Last second of the validity.
    pub not_after: Timestamp,
}

impl ValidTime {
    /// Returns the reason why the certificate is not valid now, or `None` if it is valid.
    pub fn objection(self, now: Timestamp) -> Option<String> {
        if now > self.not_after {
            Some(format!(
                "the certificate expired at {}: renew the certificate",
                self.not_after
            ))
        } else if now < self.not_before {
            Some(format!(
                "the certificate is not valid before {}, and it is {now} now: correct the clock, or name a certificate \
                 that is valid now",
                self.not_before
            ))
        } else {
            None
        }
    }
}

impl CertificateFields {
    /// Reads the fields from DER. Returns `None` if the certificate is malformed.
    pub fn parse(der: &[u8]) -> Option<Self> {
        let mut certificate = Elements(whole(der, SEQUENCE)?);
        let mut content = Elements(certificate.take(SEQUENCE)?);
        let _algorithm = certificate.take(SEQUENCE)?;
        let _signature = certificate.take(BIT_STRING)?;
        certificate.end()?;
        let version = content
            .take_if(VERSION)?
            .map_or(Some(&[0][..]), |version| whole(version, INTEGER))?;
        let _serial = content.take(INTEGER)?;
        let _algorithm = content.take(SEQUENCE)?;
        let issuer = content.take(SEQUENCE)?;
        let mut validity = Elements(content.take(SEQUENCE)?);
        let valid = ValidTime {
            not_before: validity.take_time()?,
            not_after: validity.take_time()?,
        };
        validity.end()?;
        let subject = content.take(SEQUENCE)?;
        let _key = content.take(SEQUENCE)?;
        let _issuer_id = content.take_if(ISSUER_ID)?;
        let _subject_id = content.take_if(SUBJECT_ID)?;
        let is_ca = match content.take_if(EXTENSIONS)? {
            // A root of version 1 has no extensions, which could say that it is a CA.
            None => issuer == subject,
            Some(extensions) => has_ca_extension(whole(extensions, SEQUENCE)?)?,
        };
        content.end()?;
        matches!(version, [0..=2]).then_some(Self {
            has_version_3: version == [2],
            is_ca,
            valid,
        })
    }
}

/// Returns true if the extension "basic constraints" says CA:TRUE. A certificate has each extension at most once.
fn has_ca_extension(extensions: &[u8]) -> Option<bool> {
    let mut extensions = Elements(extensions);
    let mut found = None;
    while !extensions.0.is_empty() {
        let mut extension = Elements(extensions.take(SEQUENCE)?);
        let id = extension.take(OBJECT_ID)?;
        let _critical = extension.take_if(BOOLEAN)?;
        let value = extension.take(OCTET_STRING)?;
        extension.end()?;
        if id == BASIC_CONSTRAINTS {
            let mut limits = Elements(whole(value, SEQUENCE)?);
            let is_ca = limits.take_if(BOOLEAN)?.map_or(Some(&[0][..]), Some)?;
            let _path_length = limits.take_if(INTEGER)?;
            limits.end()?;
            if found.replace(is_ca == [0xff]).is_some() || !matches!(is_ca, [0 | 0xff]) {
                return None;
            }
        }
    }
    Some(found.unwrap_or(false))
}

/// Returns the content of the only element in these bytes.
fn whole(bytes: &[u8], tag: u8) -> Option<&[u8]> {
    let mut elements = Elements(bytes);
    let content = elements.take(tag)?;
    elements.end().map(|()| content)
}

/// The elements of DER that were not read yet (X.690, section 8.1). Each element has a tag, a length and a content.
struct Elements<'d>(&'d [u8]);

impl<'d> Elements<'d> {
    /// Returns the content of the next element, which must have this tag.
    fn take(&mut self, tag: u8) -> Option<&'d [u8]> {
        let [found, length, rest @ ..] = self.0 else {
            return None;
        };
        let (length, rest) = match *length {
            short @ 0..=0x7f => (usize::from(short), rest),
            // The number of bytes of the length. No certificate needs more than three.
            long @ 0x81..=0x83 => {
                let (bytes, rest) = rest.split_at_checked(usize::from(long - 0x80))?;
                let length = bytes
                    .iter()
                    .fold(0, |sum, byte| sum << 8 | usize::from(*byte));
                // DER has only one form of a length: the shortest.
                let is_shortest = bytes[0] != 0 && length > 0x7f;
                (is_shortest.then_some(length)?, rest)
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        (*found == tag).then_some(content)
    }

    /// Returns the content of the next element if the element has this tag.
    fn take_if(&mut self, tag: u8) -> Option<Option<&'d [u8]>> {
        if self.0.first() == Some(&tag) {
            self.take(tag).map(Some)
        } else {
            Some(None)
        }
    }

    /// Reads a time. A time of two digits for the year is in the years 1950 to 2049.
    fn take_time(&mut self) -> Option<Timestamp> {
        let (century, digits) = match self.take_if(UTC_TIME)? {
            Some(time) => (if *time.first()? < b'5' { "20" } else { "19" }, time),
            None => ("", self.take(GENERALIZED_TIME)?),
        };
        let text = format!("{century}{}", std::str::from_utf8(digits).ok()?);
        let part = |from: usize, to: usize| text.get(from..to);
        let (date, time) = (
            [part(0, 4)?, part(4, 6)?, part(6, 8)?],
            [part(8, 10)?, part(10, 12)?, part(12, 14)?],
        );
        let zone = text.get(14..)?;
        format!("{}T{}{zone}", date.join("-"), time.join(":"))
            .parse()
            .ok()
    }

    fn end(&self) -> Option<()> {
        self.0.is_empty().then_some(())
    }
}

const BOOLEAN: u8 = 0x01;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const OBJECT_ID: u8 = 0x06;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const ISSUER_ID: u8 = 0x81;
const SUBJECT_ID: u8 = 0x82;
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;
/// The object identifier 2.5.29.19.
const BASIC_CONSTRAINTS: [u8; 3] = [0x55, 0x1d, 0x13];

#[cfg(test)]
mod certificate_fields_tests {
    use super::*;

    fn element(tag: u8, content: &[u8]) -> Vec<u8> {
        let length = match u8::try_from(content.len()) {
            Ok(short @ 0..=0x7f) => vec![short],
            Ok(byte) => vec![0x81, byte],
            Err(_) => [
                &[0x82][..],
                &u16::try_from(content.len()).expect("short").to_be_bytes(),
            ]
            .concat(),
        };
        [&[tag], &length[..], content].concat()
    }

    fn sequence(parts: &[&[u8]]) -> Vec<u8> {
        element(SEQUENCE, &parts.concat())
    }

    /// The extension "basic constraints" with this content.
    fn limits(content: &[u8]) -> Vec<u8> {
        let value = element(OCTET_STRING, &element(SEQUENCE, content));
        sequence(&[
            &element(OBJECT_ID, &BASIC_CONSTRAINTS),
            &element(BOOLEAN, &[0xff]),
            &value,
        ])
    }

    struct Parts {
        version: Vec<u8>,
        issuer: Vec<u8>,
        times: [Vec<u8>; 2],
        after_key: Vec<u8>,
    }

    impl Parts {
        fn with_extensions(extensions: &[&[u8]]) -> Self {
            let times = [
                element(UTC_TIME, b"260102030405Z"),
                element(GENERALIZED_TIME, b"20510102030405Z"),
            ];
            let after_key = element(EXTENSIONS, &sequence(extensions));
            Self {
                version: element(VERSION, &element(INTEGER, &[2])),
                issuer: vec![1; 200],
                times,
                after_key,
            }
        }

        fn encode(&self) -> Vec<u8> {
            let content = sequence(&[
                &self.version,
                &element(INTEGER, &[7]),
                &sequence(&[]),
                &element(SEQUENCE, &self.issuer),
                &sequence(&[&self.times[0], &self.times[1]]),
                &element(SEQUENCE, &[2; 300]),
                &sequence(&[]),
                &self.after_key,
            ]);
            sequence(&[&content, &sequence(&[]), &element(BIT_STRING, &[0, 9])])
        }

        fn read(&self) -> Option<CertificateFields> {
            CertificateFields::parse(&self.encode())
        }
    }

    fn is_ca(extensions: &[&[u8]]) -> Option<bool> {
        Parts::with_extensions(extensions)
            .read()
            .map(|fields| fields.is_ca)
    }

    #[test]
    fn the_fields_of_a_certificate_are_read() {
        let other = sequence(&[
            &element(OBJECT_ID, &[0x55, 0x1d, 0x11]),
            &element(OCTET_STRING, &[1]),
        ]);
        let read = Parts::with_extensions(&[&other])
            .read()
            .expect("the fields");
        let time = |text: &str| text.parse().expect("a time");
        let valid = ValidTime {
            not_before: time("2026-01-02T03:04:05Z"),
            not_after: time("2051-01-02T03:04:05Z"),
        };
        assert_eq!(
            read,
            CertificateFields {
                has_version_3: true,
                is_ca: false,
                valid
            }
        );
    }

    #[test]
    fn the_extension_basic_constraints_or_a_root_of_version_1_is_a_ca() {
        let (yes, no) = (element(BOOLEAN, &[0xff]), element(BOOLEAN, &[0]));
        assert_eq!(is_ca(&[&limits(&yes)]), Some(true));
        assert_eq!(
            is_ca(&[&limits(&[&yes[..], &element(INTEGER, &[0])].concat())]),
            Some(true)
        );
        assert_eq!(is_ca(&[&limits(&[])]), Some(false));
        assert_eq!(is_ca(&[&limits(&no)]), Some(false));
        for malformed in [
            limits(&element(BOOLEAN, &[1])),
            limits(&element(BOOLEAN, &[])),
            limits(&element(4, &[])),
        ] {
            assert_eq!(is_ca(&[&malformed]), None);
        }
        assert_eq!(
            is_ca(&[&limits(&no), &limits(&yes)]),
            None,
            "the extension occurs twice"
        );
        let mut root = Parts::with_extensions(&[]);
        (root.version, root.after_key) = (Vec::new(), Vec::new());
        assert!(
            root.read()
                .is_some_and(|fields| !fields.has_version_3 && !fields.is_ca)
        );
        root.issuer = vec![2; 300];
        assert!(
            root.read()
                .is_some_and(|fields| !fields.has_version_3 && fields.is_ca)
        );
    }

    #[test]
    fn only_the_versions_1_to_3_are_read() {
        let mut parts = Parts::with_extensions(&[]);
        for (version, has_version_3) in [
            (&[0][..], Some(false)),
            (&[1], Some(false)),
            (&[2], Some(true)),
        ] {
            parts.version = element(VERSION, &element(INTEGER, version));
            assert_eq!(
                parts.read().map(|fields| fields.has_version_3),
                has_version_3
            );
        }
        for version in [&[3][..], &[], &[0, 2], &[0xff]] {
            parts.version = element(VERSION, &element(INTEGER, version));
            assert_eq!(parts.read(), None, "{version:?}");
        }
    }

    #[test]
    fn a_time_has_only_the_two_forms_of_rfc_5280() {
        let time = |tag: u8, text: &str| {
            Elements(&element(tag, text.as_bytes()))
                .take_time()
                .map(|time| time.to_string())
        };
        for (tag, text, expected) in [
            (UTC_TIME, "700101000000Z", "1970-01-01T00:00:00Z"),
            (UTC_TIME, "991231235959Z", "1999-12-31T23:59:59Z"),
            (UTC_TIME, "000229000000Z", "2000-02-29T00:00:00Z"),
            (UTC_TIME, "491231235959Z", "2049-12-31T23:59:59Z"),
            (GENERALIZED_TIME, "20500101000000Z", "2050-01-01T00:00:00Z"),
            (GENERALIZED_TIME, "99991231235959Z", "9999-12-31T23:59:59Z"),
        ] {
            assert_eq!(time(tag, text).as_deref(), Some(expected));
        }
        for (tag, text) in [
            (UTC_TIME, ""),
            (UTC_TIME, "2601020304Z"),
            (UTC_TIME, "260102030405"),
            (UTC_TIME, "260102030405+0000"),
            (UTC_TIME, "261302030405Z"),
            (UTC_TIME, "260230030405Z"),
            (UTC_TIME, "26010203040\u{e9}Z"),
            (UTC_TIME, "20260102030405Z"),
            (GENERALIZED_TIME, "260102030405Z"),
            (GENERALIZED_TIME, "20260102030405.5Z"),
            (GENERALIZED_TIME, "20260102240405Z"),
            (OCTET_STRING, "260102030405Z"),
        ] {
            assert_eq!(time(tag, text), None, "{text}");
        }
    }

    #[test]
    fn a_cut_or_changed_certificate_is_refused_or_read_without_a_panic() {
        let yes = element(BOOLEAN, &[0xff]);
        let good = Parts::with_extensions(&[&limits(&yes)]).encode();
        assert!(CertificateFields::parse(&good).is_some());
        for end in 0..good.len() {
            assert_eq!(
                CertificateFields::parse(&good[..end]),
                None,
                "cut after {end} bytes"
            );
        }
        assert_eq!(
            CertificateFields::parse(&[&good[..], &[0]].concat()),
            None,
            "a byte after the end"
        );
        let mut refused = 0;
        for at in 0..good.len() {
            for bit in 0..8 {
                let mut changed = good.clone();
                changed[at] ^= 1 << bit;
                refused += usize::from(CertificateFields::parse(&changed).is_none());
            }
        }
        assert!(refused > 400, "{refused}");
    }

    #[test]
    fn a_length_has_only_its_shortest_form() {
        let take = |bytes: &[u8]| Elements(bytes).take(OCTET_STRING).map(<[u8]>::len);
        let with = |head: &[u8], length: usize| [head, &vec![0; length]].concat();
        assert_eq!(take(&[4, 0]), Some(0));
        assert_eq!(take(&with(&[4, 0x7f], 0x7f)), Some(0x7f));
        assert_eq!(take(&with(&[4, 0x81, 0x80], 0x80)), Some(0x80));
        assert_eq!(take(&with(&[4, 0x82, 1, 0], 0x100)), Some(0x100));
        assert_eq!(take(&with(&[4, 0x83, 1, 0, 0], 0x1_0000)), Some(0x1_0000));
        for malformed in [
            &[][..],
            &[4],
            &[4, 0x80],
            &[4, 0x81],
            &[4, 0x81, 0x7f],
            &[4, 0x82, 0, 0x80],
            &[4, 0xff],
        ] {
            assert_eq!(take(&with(malformed, 0)), None);
        }
        assert_eq!(take(&with(&[4, 0x84, 0, 0, 0, 1], 1)), None);
        assert_eq!(take(&with(&[4, 0x81, 0x7f], 0x7f)), None);
        assert_eq!(take(&with(&[4, 0x82, 0, 0x80], 0x80)), None);
        assert_eq!(take(&[5, 0]), None);
    }
}
