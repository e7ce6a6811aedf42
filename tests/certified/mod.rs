//! Certificates from the openssl command line, and servers of other projects that end TLS in front of a plain port.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::expect_used,
    clippy::panic,
    reason = "shared by tests, which fail by panicking"
)]

use std::fs::{self, Permissions};
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::support::{KilledAtEnd, has_all};

/// Extensions of a certificate for a server that a client on this machine can reach.
pub const HERE: &str = "subjectAltName=DNS:localhost,IP:127.0.0.1\nbasicConstraints=CA:FALSE\n";

/// Extensions of an authority.
const AUTHORITY: &str =
    "basicConstraints=critical,CA:TRUE\nkeyUsage=keyCertSign,digitalSignature\n";

/// Returns `None` after a report if this host lacks the programs for tests with TLS.
pub fn able(test: &str) -> Option<()> {
    has_all(test, &["python3", "openssl"])
}

/// A certificate and its key, as PEM.
#[derive(Clone)]
pub struct Pair {
    pub certificate: String,
    pub key: String,
}

/// Authorities and certificates of a test. The file of NAME is `NAME.pem`, and its key is `NAME.key`.
pub struct Certificates(tempfile::TempDir);

impl Certificates {
    /// The certificates of all tests of this process. `ca` signed `server` and `client`, and `other-ca` signed nothing.
    pub fn shared() -> Option<&'static Self> {
        static SHARED: OnceLock<Option<Certificates>> = OnceLock::new();
        let shared = SHARED.get_or_init(|| {
            able("tests with TLS")?;
            let made = Self::new();
            made.authority("other-ca", "Another authority");
            made.issue("server", "ca", HERE);
            made.issue(
                "client",
                "ca",
                "basicConstraints=CA:FALSE\nextendedKeyUsage=clientAuth\n",
            );
            Some(made)
        });
        shared.as_ref()
    }

    /// A new authority `ca`.
    pub fn new() -> Self {
        let made = Self(
            tempfile::Builder::new()
                .prefix("countersign-tls-")
                .tempdir()
                .expect("a directory"),
        );
        made.authority("ca", "Authority of a test");
        made
    }

    pub fn dir(&self) -> &Path {
        self.0.path()
    }

    /// Returns the path of a file.
    pub fn path(&self, file: &str) -> PathBuf {
        let path = self.0.path().join(file);
        assert!(path.exists(), "{file}");
        path
    }

    /// Returns the content of a text file.
    pub fn read(&self, file: &str) -> String {
        fs::read_to_string(self.path(file)).expect("a text")
    }

    pub fn openssl(&self, words: &[&str]) {
        let mut command = Command::new("openssl");
        let done = command
            .args(words)
            .current_dir(self.0.path())
            .stdin(Stdio::null())
            .output()
            .expect("openssl");
        assert!(
            done.status.success(),
            "openssl {words:?}: {}",
            String::from_utf8_lossy(&done.stderr)
        );
    }

    /// Makes a key, and a request or (with `-x509`) a certificate that signed itself. Each name has a configuration and a
    /// database of its own, because tests make certificates at the same time.
    fn request(&self, name: &str, subject: &str, extensions: &str, more: &[&str]) {
        let config = format!(
            "[req]\ndistinguished_name=d\nx509_extensions=e\n[ca]\ndefault_ca=c\n[c]\ndatabase={name}.index\n\
             new_certs_dir=.\ndefault_md=sha256\npolicy=p\nrand_serial=yes\nx509_extensions=e\n\
             [p]\ncommonName=supplied\n[d]\n[e]\nsubjectKeyIdentifier=hash\n{extensions}"
        );
        fs::write(self.dir().join(format!("{name}.cnf")), config).expect("written");
        fs::write(self.dir().join(format!("{name}.index")), "").expect("written");
        let (config, key, subject) = (
            format!("{name}.cnf"),
            format!("{name}.key"),
            format!("/CN={subject}"),
        );
        let words = [
            "req",
            "-new",
            "-config",
            &config,
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
        ];
        self.openssl(
            &[
                &words[..],
                &["-nodes", "-keyout", &key, "-subj", &subject],
                more,
            ]
            .concat(),
        );
        fs::set_permissions(self.path(&key), Permissions::from_mode(0o600)).expect("mode");
    }

    /// Makes a certificate with these extensions that signed itself.
    pub fn self_signed(&self, name: &str, subject: &str, extensions: &str) {
        self.request(
            name,
            subject,
            extensions,
            &["-x509", "-days", "2", "-out", &format!("{name}.pem")],
        );
    }

    /// Returns a certificate in an older version of X.509. Its signature is wrong, but nobody comes so far.
    pub fn older_version(certificate: &str) -> String {
        const VERSION: [u8; 5] = [0xa0, 3, 2, 1, 2];
        let lines: String = certificate
            .lines()
            .filter(|line| !line.starts_with('-'))
            .collect();
        let mut der = STANDARD.decode(lines).expect("base64");
        let at = der
            .windows(VERSION.len())
            .position(|bytes| bytes == VERSION)
            .expect("the version");
        der[at + 4] = 1;
        format!(
            "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
            STANDARD.encode(der)
        )
    }

    /// Makes an authority, which is a certificate that signed itself.
    pub fn authority(&self, name: &str, subject: &str) {
        self.self_signed(name, subject, AUTHORITY);
    }

    /// Makes a certificate with these extensions, signed by an authority.
    pub fn issue(&self, name: &str, authority: &str, extensions: &str) -> Pair {
        self.issue_for(
            name,
            authority,
            extensions,
            ("20200101000000Z", "20990101000000Z"),
        )
    }

    /// Makes a certificate that is valid from the first time to the second time.
    pub fn issue_for(
        &self,
        name: &str,
        authority: &str,
        extensions: &str,
        (from, to): (&str, &str),
    ) -> Pair {
        let [key, request, pem, config] =
            ["key", "csr", "pem", "cnf"].map(|end| format!("{name}.{end}"));
        let [ca, ca_key] = ["pem", "key"].map(|end| format!("{authority}.{end}"));
        let extensions = format!("authorityKeyIdentifier=keyid\n{extensions}");
        self.request(name, name, &extensions, &["-out", &request]);
        let words = [
            "ca", "-batch", "-notext", "-config", &config, "-in", &request, "-out", &pem,
        ];
        let issuer = [
            "-cert",
            &ca,
            "-keyfile",
            &ca_key,
            "-startdate",
            from,
            "-enddate",
            to,
        ];
        self.openssl(&[&words[..], &issuer].concat());
        Pair {
            certificate: self.read(&pem),
            key: self.read(&key),
        }
    }
}

/// A process that ends TLS in front of a plain port: `tests/tools/tls_proxy.py`.
pub struct TlsProxy {
    child: KilledAtEnd,
    /// The port on the loopback.
    pub port: u16,
}

impl TlsProxy {
    /// Starts a server with the certificate `name` in front of `plain`, which is `host:port` or a URL.
    pub fn new(certificates: &Certificates, name: &str, plain: &str) -> Self {
        Self::with(certificates, name, plain, &[])
    }

    pub fn with(certificates: &Certificates, name: &str, plain: &str, more: &[&str]) -> Self {
        let mut command = Command::new("python3");
        command.arg(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/tools/tls_proxy.py"
        ));
        command
            .arg("--cert")
            .arg(certificates.path(&format!("{name}.pem")));
        command
            .arg("--key")
            .arg(certificates.path(&format!("{name}.key")));
        command
            .args(["--to", plain.trim_start_matches("http://")])
            .args(more)
            .current_dir(certificates.dir());
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("a pipe"))
            .read_line(&mut line)
            .expect("its port");
        let port = line
            .trim()
            .parse()
            .unwrap_or_else(|_| panic!("no port: {line:?}"));
        Self {
            child: KilledAtEnd(child),
            port,
        }
    }

    /// The address of the server, with the IP address of the loopback.
    pub fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    /// The address of the server, with the name of the loopback.
    pub fn named_url(&self) -> String {
        format!("https://localhost:{}", self.port)
    }
}
