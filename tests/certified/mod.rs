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
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use crate::support::{has, not_run};

/// Names of a server that a client on this machine can reach.
pub const HERE: &str = "subjectAltName=DNS:localhost,IP:127.0.0.1\nbasicConstraints=CA:FALSE\n";

/// Returns whether this host has the programs for tests with TLS.
pub fn able(test: &str) -> bool {
    let missing: Vec<&str> = ["python3", "openssl"].into_iter().filter(|program| !has(program)).collect();
    if !missing.is_empty() {
        not_run(test, &format!("there is no {} here", missing.join(" and ")));
    }
    missing.is_empty()
}

/// Authorities and certificates of a test. The file of NAME is `NAME.pem`, and its key is `NAME.key`.
pub struct Certificates(tempfile::TempDir);

impl Certificates {
    /// The certificates of all tests of this process. `ca` signed `server` and `client`, and `other-ca` signed nothing.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Certificates> = OnceLock::new();
        SHARED.get_or_init(|| {
            let made = Self::new();
            made.issue("server", "ca", HERE);
            made.issue("client", "ca", "basicConstraints=CA:FALSE\nextendedKeyUsage=clientAuth\n");
            made
        })
    }

    fn new() -> Self {
        let made = Self(tempfile::Builder::new().prefix("countersign-tls-").tempdir().expect("a directory"));
        fs::write(made.0.path().join("index.txt"), "").expect("written");
        let settings = "[ca]\ndefault_ca = here\n[here]\ndatabase = index.txt\nrand_serial = yes\npolicy = any\n\
             unique_subject = no\n[any]\ncommonName = supplied\n";
        fs::write(made.0.path().join("ca.cnf"), settings).expect("written");
        made.authority("ca", "Authority of a test");
        made.authority("other-ca", "Another authority");
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

    pub fn openssl(&self, words: &[&str]) {
        let mut command = Command::new("openssl");
        let done = command.args(words).current_dir(self.0.path()).stdin(Stdio::null()).output().expect("openssl");
        assert!(done.status.success(), "openssl {words:?}: {}", String::from_utf8_lossy(&done.stderr));
    }

    fn key(&self, name: &str) {
        let key = format!("{name}.key");
        self.openssl(&["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", &key]);
        fs::set_permissions(self.path(&key), Permissions::from_mode(0o600)).expect("mode");
    }

    /// Makes an authority, which is a certificate that signed itself.
    pub fn authority(&self, name: &str, subject: &str) {
        self.key(name);
        let (key, pem, subject) = (format!("{name}.key"), format!("{name}.pem"), format!("/CN={subject}"));
        let words = ["req", "-x509", "-new", "-key", &key, "-out", &pem, "-subj", &subject, "-days", "2"];
        self.openssl(&[&words[..], &["-addext", "keyUsage=keyCertSign,digitalSignature"]].concat());
    }

    /// Makes a certificate with these extensions, signed by an authority.
    pub fn issue(&self, name: &str, authority: &str, extensions: &str) {
        self.issue_for(name, authority, extensions, ("20200101000000Z", "20990101000000Z"));
    }

    /// Makes a certificate that is valid from the first time to the second time.
    pub fn issue_for(&self, name: &str, authority: &str, extensions: &str, (from, to): (&str, &str)) {
        self.key(name);
        let [key, request, pem, config] = ["key", "csr", "pem", "ext"].map(|end| format!("{name}.{end}"));
        self.openssl(&["req", "-new", "-key", &key, "-out", &request, "-subj", &format!("/CN={name}")]);
        fs::write(self.dir().join(&config), extensions).expect("written");
        let [ca, ca_key] = ["pem", "key"].map(|end| format!("{authority}.{end}"));
        let words = ["ca", "-batch", "-config", "ca.cnf", "-md", "sha256", "-notext", "-outdir", "."];
        let files = ["-in", &request, "-out", &pem, "-cert", &ca, "-keyfile", &ca_key, "-extfile", &config];
        self.openssl(&[&words[..], &files[..], &["-startdate", from, "-enddate", to]].concat());
    }

    /// Makes a certificate for a server that signed itself.
    pub fn self_signed(&self, name: &str, is_authority: &str) {
        self.key(name);
        let (key, pem) = (format!("{name}.key"), format!("{name}.pem"));
        fs::write(
            self.dir().join(format!("{name}.cnf")),
            format!(
                "[req]\ndistinguished_name = dn\nx509_extensions = own\n[dn]\n[own]\n\
                 basicConstraints = critical,{is_authority}\nsubjectAltName = DNS:localhost,IP:127.0.0.1\n"
            ),
        )
        .expect("written");
        let config = format!("{name}.cnf");
        let words = ["req", "-x509", "-new", "-key", &key, "-out", &pem, "-subj", "/CN=localhost", "-days", "2"];
        self.openssl(&[&words[..], &["-config", &config]].concat());
    }
}

/// A process that ends TLS in front of a plain port: `tests/tools/tls_proxy.py`.
pub struct TlsProxy {
    child: Child,
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
        command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tools/tls_proxy.py"));
        command.arg("--cert").arg(certificates.path(&format!("{name}.pem")));
        command.arg("--key").arg(certificates.path(&format!("{name}.key")));
        command.args(["--to", plain.trim_start_matches("http://")]).args(more).current_dir(certificates.dir());
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("python3");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("a pipe")).read_line(&mut line).expect("its port");
        let port = line.trim().parse().unwrap_or_else(|_| panic!("no port: {line:?}"));
        Self { child, port }
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

impl Drop for TlsProxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
