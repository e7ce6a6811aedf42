//! A CA that issues certificates with openssl, and pairs that a service can't use.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Start and end of the validity of most certificates.
pub(super) const NOW: (&str, &str) = ("20240101000000Z", "20991231235959Z");

/// A CA in its own directory.
pub(super) struct Authority {
    dir: PathBuf,
}

/// A certificate and its key, as PEM.
#[derive(Clone)]
pub(super) struct Pair {
    at: PathBuf,
    pub(super) certificate: String,
    pub(super) key: String,
}

impl Pair {
    /// Returns the path of the certificate (`pem`) or of the key (`key`).
    pub(super) fn path(&self, extension: &str) -> String {
        self.at.with_extension(extension).to_str().expect("UTF-8").to_owned()
    }
}

const EC: [&str; 5] = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];

impl Authority {
    pub(super) fn new(dir: PathBuf) -> Self {
        fs::create_dir_all(&dir).expect("a directory");
        let authority = Self { dir };
        let shown = authority.dir.display();
        let config = format!(
            "[ca]\ndefault_ca = c\n[c]\ndatabase = {shown}/index\nnew_certs_dir = {shown}\ndefault_md = sha256\n\
             policy = p\ncertificate = {shown}/ca.pem\nprivate_key = {shown}/ca.key\nunique_subject = no\n\
             rand_serial = yes\nx509_extensions = e\n[p]\ncommonName = supplied\n\
             [e]\nsubjectAltName = DNS:localhost, IP:127.0.0.1\nbasicConstraints = CA:FALSE\n\
             [req]\ndistinguished_name = d\n[d]\n"
        );
        authority.write("ca.cnf", &config);
        authority.write("index", "");
        let mut words = vec!["req", "-config", "ca.cnf", "-x509", "-keyout", "ca.key", "-out", "ca.pem"];
        words.extend(["-subj", "/CN=CA of a test", "-days", "3650", "-addext", "basicConstraints=critical,CA:TRUE"]);
        authority.openssl(&[&words[..], &EC].concat());
        authority
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    pub(super) fn certificate(&self) -> String {
        self.read("ca.pem")
    }

    /// Issues a certificate for `localhost` with this validity.
    pub(super) fn issue(&self, name: &str, (start, end): (&str, &str)) -> Pair {
        let [key, request, certificate] = ["key", "csr", "pem"].map(|extension| format!("{name}.{extension}"));
        let mut words = vec!["req", "-config", "ca.cnf", "-new", "-keyout", &key, "-out", &request];
        words.extend(["-subj", "/CN=localhost"]);
        self.openssl(&[&words[..], &EC].concat());
        let words = ["ca", "-batch", "-notext", "-config", "ca.cnf", "-in", &request, "-out", &certificate];
        self.openssl(&[&words[..], &["-startdate", start, "-enddate", end]].concat());
        Pair { at: self.path(name), certificate: self.read(&certificate), key: self.read(&key) }
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).expect("read")
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("written");
    }

    fn openssl(&self, words: &[&str]) {
        openssl(&self.dir, words);
    }
}

fn openssl(dir: &Path, words: &[&str]) {
    let output = Command::new("openssl").args(words).current_dir(dir).output().expect("openssl");
    assert!(output.status.success(), "{words:?}: {}", crate::support::said(&output));
}

/// A pair that a service can't use.
pub(super) struct Unusable {
    pub(super) name: &'static str,
    pub(super) pair: Pair,
    /// Mode of the key file, if it is not 0600.
    pub(super) key_mode: Option<u32>,
    /// Words of the message.
    pub(super) words: &'static [&'static str],
}

/// Returns a pair for each reason.
pub(super) fn unusable(authority: &Authority) -> Vec<Unusable> {
    let (good, other) = (authority.issue("good", NOW), authority.issue("other", NOW));
    openssl(&authority.dir, &["pkcs8", "-topk8", "-in", "good.key", "-out", "locked.key", "-passout", "pass:secret"]);
    let case = |name, words| Unusable { name, pair: good.clone(), key_mode: None, words };
    let with_key =
        |name, key: &str, words| Unusable { pair: Pair { key: key.to_owned(), ..good.clone() }, ..case(name, words) };
    let with_certificate =
        |name, certificate: String, words| Unusable { pair: Pair { certificate, ..good.clone() }, ..case(name, words) };
    let half = |text: &str| text[..text.len() / 2].to_owned();
    let twice = format!("{}{}", good.certificate, half(&authority.certificate()));
    let expired = authority.issue("expired", ("20200101000000Z", "20200201000000Z"));
    let early = authority.issue("early", ("20980101000000Z", "20991231235959Z"));
    let body = good.certificate.replace("MI", "AB");
    vec![
        with_key("mismatch", &other.key, &["key.pem: the key does not belong to the first certificate"]),
        with_key("no key", "", &["key.pem: the file contains no private key"]),
        with_key("half a key", &half(&good.key), &["key.pem: the file is not PEM", "half written"]),
        with_key(
            "a certificate for a key",
            &good.certificate,
            &["key.pem: the file contains a certificate and no key"],
        ),
        Unusable {
            key_mode: Some(0o644),
            ..with_key("swapped", &good.certificate, &["key.pem: the file contains a certificate and no key"])
        },
        with_key("locked key", &authority.read("locked.key"), &["A key with a password can't be used"]),
        with_certificate("no certificate", String::new(), &["cert.pem: the file contains no certificate"]),
        with_certificate("garbage", "\0\u{7f}garbage".to_owned(), &["cert.pem: the file contains no certificate"]),
        with_certificate("half a certificate", half(&good.certificate), &["cert.pem: the file is not PEM"]),
        with_certificate("half an issuer", twice, &["cert.pem: the file is not PEM"]),
        with_certificate("damaged", body, &["cert.pem: certificate 1 of the file is malformed"]),
        with_certificate(
            "issuer first",
            format!("{}{}", authority.certificate(), good.certificate),
            &["key.pem: the key does not belong to the first certificate"],
        ),
        Unusable { pair: expired, ..case("expired", &["cert.pem: the certificate expired at 2020-02-01T00:00:00Z"]) },
        Unusable { pair: early, ..case("early", &["cert.pem: the certificate is not valid before 2098-01-01"]) },
        Unusable { key_mode: Some(0o644), ..case("open", &["key.pem: other users can read the key (mode 0644)"]) },
        Unusable { key_mode: Some(0o640), ..case("group", &["key.pem: other users can read the key (mode 0640)"]) },
    ]
}
