//! The client over TLS, against servers of other projects: which servers it trusts, what it sends to whom, and what it
//! says when a connection fails.

use std::fs::{self, Permissions};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{IpAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use serde_json::json;

use crate::certified::{Certificates, HERE, TlsProxy};
use crate::support::people::alice;
use crate::support::{PROGRAM, World, exited, has, id_of, not_run, said, wait_for};

/// A token that no boundary knows. Tests search for it in the bytes that a server received.
const TOKEN: &str = "cst_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// The digest of a roster or a statement that nobody has.
const PINNED: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000000";

/// A plain server that records the bytes of each connection, and gives each request the same answer.
pub(crate) struct Recorder {
    pub(crate) port: u16,
    seen: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Recorder {
    pub(crate) fn new(host: &str, answer: &'static str) -> Self {
        let listener = TcpListener::bind((host, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let kept = seen.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let kept = kept.clone();
                std::thread::spawn(move || record(stream, &kept, answer));
            }
        });
        Self { port, seen }
    }

    pub(crate) fn text(&self) -> String {
        let seen = self.seen.lock().unwrap();
        seen.iter()
            .map(|bytes| String::from_utf8_lossy(bytes).into_owned() + "\n")
            .collect()
    }
}

fn record(mut stream: TcpStream, seen: &Mutex<Vec<Vec<u8>>>, answer: &str) {
    let at = {
        let mut seen = seen.lock().unwrap();
        seen.push(Vec::new());
        seen.len() - 1
    };
    let mut buffer = [0; 4096];
    while let Ok(read) = stream.read(&mut buffer)
        && read > 0
    {
        let complete = {
            let seen = &mut seen.lock().unwrap()[at];
            seen.extend(&buffer[..read]);
            seen.windows(4).any(|end| end == b"\r\n\r\n")
        };
        if complete && stream.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

pub(crate) const NOTHING: &str =
    "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

/// A command of a person with an empty home and no settings.
fn program(words: &[&str]) -> Command {
    static HOME: std::sync::OnceLock<tempfile::TempDir> = std::sync::OnceLock::new();
    let mut command = Command::new(PROGRAM);
    command.env_clear().env(
        "HOME",
        HOME.get_or_init(|| tempfile::tempdir().unwrap()).path(),
    );
    command.args(words).stdin(Stdio::null());
    command
}

/// Runs a read of a proposal with a token against `url`. Returns the exit code and the message.
fn read(url: &str, cacert: Option<&Path>, more: &[(&str, &Path)]) -> (Option<i32>, String) {
    let mut command = program(&[
        "--url",
        url,
        "output",
        "prp_0198c0de-0000-7000-8000-000000000000",
    ]);
    command.env("COUNTERSIGN_TOKEN", TOKEN);
    if let Some(cacert) = cacert {
        command.arg("--cacert").arg(cacert);
    }
    for (name, value) in more {
        match name.strip_prefix("--") {
            Some(_) => command.arg(name).arg(value),
            None => command.env(name, value),
        };
    }
    let output = command.output().unwrap();
    (output.status.code(), said(&output))
}

/// A problem document of a boundary, so that a client that reached the server reports `not-found`.
const UNKNOWN: &str = "HTTP/1.1 404 Not Found\r\ncontent-type: application/problem+json\r\ncontent-length: 114\r\n\r\n\
     {\"type\":\"/problems/not-found\",\"title\":\"no such proposal here\",\"status\":404,\"detail\":\"the test server knows none\"}\n";

fn reached((code, text): &(Option<i32>, String)) -> bool {
    assert_ne!(*code, Some(0), "{text}");
    assert!(!text.contains(TOKEN), "{text}");
    text.contains("no such proposal here")
}

#[test]
fn a_client_trusts_only_a_valid_certificate_of_a_trusted_authority_for_the_name_of_the_server() {
    let Some(made) = Certificates::shared() else {
        return;
    };
    made.issue(
        "elsewhere",
        "ca",
        "subjectAltName=DNS:boundary.example,DNS:*.b.example,IP:192.0.2.9\n",
    );
    made.issue("nameless", "ca", "basicConstraints=CA:FALSE\n");
    made.issue_for(
        "expired",
        "ca",
        HERE,
        ("20200101000000Z", "20210203000000Z"),
    );
    made.issue_for("future", "ca", HERE, ("20980304000000Z", "20990101000000Z"));
    made.issue(
        "for-clients",
        "ca",
        &format!("{HERE}extendedKeyUsage=clientAuth\n"),
    );
    let names = "subjectAltName=DNS:localhost,IP:127.0.0.1\nbasicConstraints=critical,CA:TRUE\n";
    made.self_signed("own-authority", "localhost", names);
    made.self_signed("own", "localhost", HERE);
    made.authority("same-name-ca", "Authority of a test");
    made.issue(
        "between",
        "ca",
        "basicConstraints=critical,CA:TRUE\nkeyUsage=keyCertSign\n",
    );
    let below = made.issue("below", "between", HERE);
    fs::write(
        made.dir().join("chained.pem"),
        below.certificate + &made.read("between.pem"),
    )
    .unwrap();
    fs::write(made.dir().join("chained.key"), below.key).unwrap();

    let server = Recorder::new("127.0.0.1", UNKNOWN);
    let plain = format!("127.0.0.1:{}", server.port);
    let file = |name: &str| made.path(name);
    let (ca, none) = (file("ca.pem"), None);
    for (certificate, cacert, expected) in [
        ("server", none, "no trusted certificate authority signed"),
        (
            "server",
            Some("other-ca.pem"),
            "no authority in the file of --cacert",
        ),
        (
            "server",
            Some("same-name-ca.pem"),
            "no trusted certificate authority signed",
        ),
        (
            "own",
            Some("ca.pem"),
            "no trusted certificate authority signed",
        ),
        (
            "own-authority",
            Some("ca.pem"),
            "is the certificate of an authority (CA:TRUE)",
        ),
        (
            "own-authority",
            Some("own-authority.pem"),
            "is the certificate of an authority (CA:TRUE)",
        ),
        (
            "elsewhere",
            Some("ca.pem"),
            "for other names (boundary.example, *.b.example, 192.0.2.9)",
        ),
        (
            "nameless",
            Some("ca.pem"),
            "has no name of a host (subjectAltName)",
        ),
        ("expired", Some("ca.pem"), "has expired on 2021-02-03"),
        (
            "future",
            Some("ca.pem"),
            "is not valid yet, but from 2098-03-04",
        ),
        ("for-clients", Some("ca.pem"), "can't be used"),
        (
            "below",
            Some("ca.pem"),
            "no trusted certificate authority signed",
        ),
    ] {
        let proxy = TlsProxy::new(made, certificate, &plain);
        let answer = read(&proxy.url(), cacert.map(file).as_deref(), &[]);
        if cacert.is_none()
            && answer
                .1
                .contains("this system has no list of certificate authorities")
        {
            not_run(
                "the authorities of the system",
                "this host has no list of certificate authorities",
            );
            continue;
        }
        assert!(
            answer.1.contains(expected) && answer.0 == Some(125),
            "{certificate} {cacert:?}: {answer:?}"
        );
        assert!(
            answer.1.contains("before any data was sent") || certificate == "for-clients",
            "{answer:?}"
        );
    }
    assert_eq!(
        server.text(),
        "",
        "a server got data before the client trusted it"
    );
    for (certificate, cacert) in [
        ("server", "ca.pem"),
        ("own", "own.pem"),
        ("chained", "ca.pem"),
        ("below", "between.pem"),
    ] {
        let proxy = TlsProxy::new(made, certificate, &plain);
        for url in [proxy.url(), proxy.named_url()] {
            let answer = read(&url, Some(&file(cacert)), &[]);
            assert!(reached(&answer), "{certificate}: {answer:?}");
        }
    }
    // The variables of Countersign and of OpenSSL.
    let proxy = TlsProxy::new(made, "server", &plain);
    assert!(reached(&read(
        &proxy.url(),
        None,
        &[("COUNTERSIGN_CACERT", &ca)]
    )));
    assert!(reached(&read(
        &proxy.url(),
        None,
        &[("SSL_CERT_FILE", &ca)]
    )));
    // `--cacert` replaces the authorities of the system.
    let other = file("other-ca.pem");
    assert!(!reached(&read(
        &proxy.url(),
        Some(&other),
        &[("SSL_CERT_FILE", &ca)]
    )));
    let both = made.dir().join("both.pem");
    fs::write(
        &both,
        [fs::read(&other).unwrap(), fs::read(&ca).unwrap()].concat(),
    )
    .unwrap();
    assert!(reached(&read(&proxy.url(), Some(&both), &[])));
    // A server of another version, and a server with only one version.
    for (version, expected) in [("1.1", false), ("1.2", true), ("1.3", true)] {
        let proxy = TlsProxy::with(made, "server", &plain, &["--version", version]);
        let answer = read(&proxy.url(), Some(&ca), &[]);
        assert_eq!(reached(&answer), expected, "{version}: {answer:?}");
        let explained = ["no TLS 1.2 and no TLS 1.3", "closed the TLS connection"]
            .iter()
            .any(|w| answer.1.contains(w));
        assert!(expected || explained, "{answer:?}");
    }
    assert!(!server.text().is_empty());
}

#[test]
fn unusable_files_for_tls_are_refused_with_their_name_before_a_connection() {
    let Some(made) = Certificates::shared() else {
        return;
    };
    let server = Recorder::new("127.0.0.1", UNKNOWN);
    let url = format!("https://127.0.0.1:{}", server.port);
    let write = |name: &str, bytes: &[u8]| {
        let path = made.dir().join(name);
        fs::write(&path, bytes).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        path
    };
    let good = fs::read(made.path("client.pem")).unwrap();
    let empty = write("empty", b"");
    let noise = write("noise", &[0xff; 3000]);
    let cut = write("cut", &good[..good.len() / 2]);
    let hollow = write(
        "hollow",
        b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    );
    let large = write("large", &vec![b'\n'; (1 << 20) + 1]);
    let open = write("open.key", &fs::read(made.path("client.key")).unwrap());
    fs::set_permissions(&open, Permissions::from_mode(0o640)).unwrap();
    made.openssl(&[
        "pkey",
        "-in",
        "client.key",
        "-aes256",
        "-passout",
        "pass:x",
        "-out",
        "encrypted.key",
    ]);
    fs::set_permissions(made.path("encrypted.key"), Permissions::from_mode(0o600)).unwrap();
    let (ca, cert, key) = (
        made.path("ca.pem"),
        made.path("client.pem"),
        made.path("client.key"),
    );
    let (other_key, encrypted) = (made.path("server.key"), made.path("encrypted.key"));
    let missing = made.dir().join("missing");
    let old_version = write(
        "old-version",
        Certificates::older_version(&made.read("client.pem")).as_bytes(),
    );
    let cases: &[(&[(&str, &Path)], &str)] = &[
        (&[("--cacert", &missing)], "missing"),
        (&[("--cacert", made.dir())], "can't read"),
        (&[("--cacert", &empty)], "the file contains no certificate"),
        (&[("--cacert", &key)], "the file contains no certificate"),
        (&[("--cacert", &noise)], "--cacert"),
        (&[("--cacert", &cut)], "--cacert"),
        (&[("--cacert", &hollow)], "the certificate 1 can't be used"),
        (&[("--cacert", &large)], "is larger than"),
        (&[("COUNTERSIGN_CACERT", &missing)], "missing"),
        (
            &[("SSL_CERT_FILE", &missing)],
            "--cacert FILE (COUNTERSIGN_CACERT)",
        ),
        (&[("--cert", &cert)], "needs its private key"),
        (&[("COUNTERSIGN_CERT", &cert)], "needs its private key"),
        (&[("--cert-key", &key)], "name the file of the certificate"),
        (
            &[("--cert", &cert), ("--cert-key", &other_key)],
            "the key does not belong to the certificate",
        ),
        (
            &[("--cert", &cert), ("--cert-key", &empty)],
            "the file contains no private key",
        ),
        (&[("--cert", &cert), ("--cert-key", &open)], "chmod 600"),
        (
            &[("--cert", &cert), ("--cert-key", &encrypted)],
            "is encrypted",
        ),
        (&[("--cert", &cert), ("--cert-key", &missing)], "missing"),
        (&[("--cert", &hollow), ("--cert-key", &key)], "--cert"),
        (
            &[("--cert", &old_version), ("--cert-key", &key)],
            "does not have version 3, which TLS needs",
        ),
        (&[("--cert", &noise), ("--cert-key", &key)], "--cert"),
    ];
    for (files, expected) in cases {
        let cacert = (!files.iter().any(|(name, _)| {
            name.contains("CA") || name.contains("cacert") || name.contains("SSL")
        }))
        .then_some(&*ca);
        let (code, text) = read(&url, cacert, files);
        assert!(
            code == Some(2) && text.contains(expected) && !text.contains("panicked"),
            "{files:?}: {code:?} {text}"
        );
    }
    assert_eq!(server.text(), "");
    // Plain HTTP needs none of the files.
    let plain = format!("http://127.0.0.1:{}", server.port);
    assert!(reached(&read(
        &plain,
        Some(&missing),
        &[("COUNTERSIGN_CERT", &missing)]
    )));
}

#[test]
fn a_client_certificate_admits_to_a_server_that_requires_one_and_no_mirror_gets_it() {
    let Some(made) = Certificates::shared() else {
        return;
    };
    let clients = "basicConstraints=CA:FALSE\nextendedKeyUsage=clientAuth\n";
    made.issue("unknown-client", "other-ca", clients);
    made.issue_for(
        "old-client",
        "ca",
        clients,
        ("20200101000000Z", "20210203000000Z"),
    );
    let server = Recorder::new("127.0.0.1", UNKNOWN);
    let plain = format!("127.0.0.1:{}", server.port);
    let ca = made.path("ca.pem");
    for version in ["1.2", "1.3"] {
        let proxy = TlsProxy::with(
            made,
            "server",
            &plain,
            &["--client-ca", "ca.pem", "--version", version],
        );
        let with = |name: &str| {
            let (cert, key) = (
                made.path(&format!("{name}.pem")),
                made.path(&format!("{name}.key")),
            );
            read(
                &proxy.url(),
                Some(&ca),
                &[("--cert", &cert), ("--cert-key", &key)],
            )
        };
        let before = server.text();
        let (code, text) = read(&proxy.url(), Some(&ca), &[]);
        assert!(
            code == Some(125) && text.contains("client certificate") && text.contains("--cert"),
            "{version}: {text}"
        );
        for (name, expected) in [("unknown-client", "authority"), ("old-client", "expired")] {
            let (code, text) = with(name);
            let known = text.contains(expected) || text.contains("which authority must sign");
            assert!(
                code == Some(125) && known && text.contains("--cert"),
                "{version} {name}: {text}"
            );
        }
        assert_eq!(server.text(), before, "{version}: a request went through");
        let answer = with("client");
        assert!(reached(&answer), "{version}: {answer:?}");
        // A mirror is another server than the boundary of --url, and gets no certificate and no token.
        let (cert, key) = (made.path("client.pem"), made.path("client.key"));
        let mut audit = program(&["audit", &proxy.url(), "--roster", PINNED]);
        audit
            .arg("--cacert")
            .arg(&ca)
            .arg("--cert")
            .arg(&cert)
            .arg("--cert-key")
            .arg(&key);
        let output = audit.env("COUNTERSIGN_TOKEN", TOKEN).output().unwrap();
        let text = said(&output);
        assert!(
            !output.status.success() && text.contains("client certificate"),
            "{version}: {text}"
        );
    }
}

#[test]
fn a_redirect_is_not_followed_and_no_other_server_gets_the_token() {
    let Some(made) = Certificates::shared() else {
        return;
    };
    let other = Recorder::new("127.0.0.1", NOTHING);
    let other_tls = TlsProxy::new(made, "server", &format!("127.0.0.1:{}", other.port));
    for target in [other_tls.url(), format!("http://127.0.0.1:{}", other.port)] {
        for status in ["302 Found", "308 Permanent Redirect"] {
            let answer =
                format!("HTTP/1.1 {status}\r\nlocation: {target}/x\r\ncontent-length: 0\r\n\r\n");
            let first = Recorder::new("127.0.0.1", answer.leak());
            let proxy = TlsProxy::new(made, "server", &format!("127.0.0.1:{}", first.port));
            let (code, text) = read(&proxy.url(), Some(&made.path("ca.pem")), &[]);
            assert!(
                code == Some(125) && text.contains("redirect to") && text.contains(&target),
                "{code:?} {text}"
            );
            assert!(
                first
                    .text()
                    .contains(&format!("authorization: Bearer {TOKEN}")),
                "{}",
                first.text()
            );
        }
    }
    assert_eq!(other.text(), "");
}

#[test]
fn proxies_of_the_environment_get_no_connection() {
    let Some(made) = Certificates::shared() else {
        return;
    };
    let server = Recorder::new("127.0.0.1", UNKNOWN);
    let tls = TlsProxy::new(made, "server", &format!("127.0.0.1:{}", server.port));
    let proxy = Recorder::new("127.0.0.1", NOTHING);
    let url = format!("http://127.0.0.1:{}", proxy.port);
    let names = [
        "HTTPS_PROXY",
        "https_proxy",
        "ALL_PROXY",
        "all_proxy",
        "HTTP_PROXY",
        "http_proxy",
    ];
    let variables: Vec<(&str, &Path)> = names.iter().map(|name| (*name, Path::new(&url))).collect();
    assert!(reached(&read(
        &tls.url(),
        Some(&made.path("ca.pem")),
        &variables
    )));
    assert_eq!(proxy.text(), "");
}

#[test]
fn a_wrong_scheme_is_explained() {
    let Some(made) = Certificates::shared() else {
        return;
    };
    let world = World::new();
    let ca = made.path("ca.pem");
    let (code, text) = read(
        &world.wire.url.replace("http://", "https://"),
        Some(&ca),
        &[],
    );
    assert!(
        code == Some(125) && text.contains("the server's answer is no TLS"),
        "{text}"
    );
    assert!(text.contains("begins with http://"), "{text}");
    let proxy = TlsProxy::new(made, "server", world.wire.address());
    let (code, text) = read(&proxy.url().replace("https://", "http://"), None, &[]);
    assert!(
        code == Some(125) && text.contains("begins with https://"),
        "{text}"
    );
    // A server that closes each connection.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || listener.incoming().for_each(drop));
    let (code, text) = read(&url, Some(&ca), &[]);
    assert!(
        code == Some(125) && text.contains("closed the TLS connection without an answer"),
        "{text}"
    );
}

/// Returns an address of this machine that is not a loopback address.
fn outer_address() -> Option<IpAddr> {
    // The connection of a UDP socket sends no packet.
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    socket
        .local_addr()
        .ok()
        .map(|address| address.ip())
        .filter(|ip| !ip.is_loopback() && !ip.is_unspecified())
}

#[test]
fn plain_http_to_another_machine_gets_no_token_no_signature_and_no_document() {
    let name = "plain_http_to_another_machine_gets_no_token_no_signature_and_no_document";
    let Some(address) = outer_address() else {
        return not_run(name, "this host has no address except the loopback");
    };
    let refusal = "HTTP/1.1 401 Unauthorized\r\ncontent-type: application/problem+json\r\ncontent-length: 96\r\n\r\n\
         {\"type\":\"/problems/unauthenticated\",\"title\":\"no\",\"status\":401,\"detail\":\"no token, no key of it\"}";
    let server = Recorder::new("0.0.0.0", refusal);
    let url = format!("http://{address}:{}", server.port);
    let dir = tempfile::tempdir().unwrap();
    let (token, key, file) = (
        dir.path().join("token"),
        dir.path().join("key.pem"),
        dir.path().join("file"),
    );
    fs::write(&token, TOKEN).unwrap();
    fs::write(&key, alice().secret.to_pkcs8_v1_pem().as_bytes()).unwrap();
    fs::write(&file, "{}").unwrap();
    for path in [&token, &key] {
        fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
    }
    let file = file.to_str().unwrap();
    let id = "prp_0198c0de-0000-7000-8000-000000000000";
    let commands: &[&[&str]] = &[
        &["propose", "say:echo", "-p", "text=unencrypted"],
        &["wait", id],
        &["output", id],
        &["cancel", id],
        &["inbox"],
        &["review", id],
        &["approve", id, "--yes", "--expect", PINNED],
        &["deny", id, "--reason", "unencrypted"],
        &["log", "export", file],
        &["audit", &url, "--roster", PINNED],
    ];
    let advised = |output: &std::process::Output| {
        let text = said(output);
        output.status.code() == Some(2) && text.contains("https://") && text.contains("ssh -N -L")
    };
    for words in commands {
        for (variable, value) in [
            ("COUNTERSIGN_TOKEN", TOKEN),
            ("COUNTERSIGN_TOKEN_FILE", token.to_str().unwrap()),
        ] {
            let output = program(words)
                .args(["--url", &url])
                .env(variable, value)
                .output()
                .unwrap();
            assert!(advised(&output), "{words:?} {variable}: {}", said(&output));
        }
    }
    assert_eq!(server.text(), "", "a command connected before it refused");
    // With a key, a command may read, but neither signs a challenge nor sends a document.
    for words in commands.iter().filter(|words| !matches!(words[0], "log")) {
        let output = program(words)
            .args(["--url", &url])
            .env("COUNTERSIGN_KEY", &key)
            .output()
            .unwrap();
        assert!(!output.status.success(), "{words:?}: {}", said(&output));
    }
    let seen = server.text();
    for secret in [
        "authorization",
        "challenges",
        "POST",
        "PUT",
        "unencrypted",
        "cst_",
    ] {
        assert!(!seen.contains(secret), "{secret}: {seen}");
    }
    assert!(seen.contains("GET /"), "no command connected: {seen}");
}

#[test]
fn a_mirror_on_another_machine_is_read_over_plain_http_without_credentials() {
    let name = "a_mirror_on_another_machine_is_read_over_plain_http_without_credentials";
    let Some(address) = outer_address() else {
        return not_run(name, "this host has no address except the loopback");
    };
    if !has("python3") {
        return not_run(name, "there is no python3 here");
    }
    let world = World::new();
    world.run("say:echo", json!({"text": "x"}), &[&alice()]);
    fs::create_dir(world.path("site")).unwrap();
    world.export("site/log");
    let mut mirror = Command::new("python3");
    mirror
        .args([
            "-u",
            "-m",
            "http.server",
            "0",
            "--bind",
            "0.0.0.0",
            "--directory",
        ])
        .arg(world.path("site"));
    let mut mirror = mirror
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(mirror.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let port = line
        .split("port ")
        .nth(1)
        .and_then(|rest| rest.split(' ').next())
        .unwrap_or_else(|| panic!("{line}"));
    let mut audit = world.program(&["audit", &format!("http://{address}:{port}")]);
    audit.args(["--roster", world.started["roster"].as_str().unwrap()]);
    let output = audit
        .env("COUNTERSIGN_TOKEN", &world.reader)
        .output()
        .unwrap();
    let _ = mirror.kill();
    let _ = mirror.wait();
    assert!(output.status.success(), "{}", said(&output));
}

#[test]
fn every_command_of_a_run_works_over_tls() {
    let Some(made) = Certificates::shared() else {
        return;
    };
    let world = World::with(|setup| {
        let front = "defaults: {timeout: 100s, memory: 64MiB, processes: 20}";
        let step = "wc -c < \"$COUNTERSIGN_ARTIFACTS/big\"; exec sleep 600";
        setup.config = "hosts = [\"localhost\"]\n".to_owned();
        setup.runbook("tls.md", crate::support::runbook(front, &[("count", step)]));
    });
    let proxy = TlsProxy::new(made, "server", world.wire.address());
    let (url, ca) = (proxy.named_url(), made.path("ca.pem"));
    let command = |words: &[&str], token: &str| {
        let mut command = world.program(words);
        command
            .args(["--url", &url])
            .arg("--cacert")
            .arg(&ca)
            .env("COUNTERSIGN_TOKEN", token);
        command
    };
    let run = |words: &[&str], token: &str| {
        let output = command(words, token).output().unwrap();
        assert!(output.status.success(), "{words:?}: {}", said(&output));
        String::from_utf8(output.stdout).unwrap()
    };
    let big = world.path("big");
    fs::write(&big, vec![b'x'; 3_000_000]).unwrap();
    let artifact = format!("big={}", big.display());
    let mut waiting = command(
        &["propose", "tls:count", "--artifact", &artifact, "--wait"],
        &world.agent,
    );
    let mut waiting = waiting
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut id = String::new();
    wait_for("the proposal is there", || {
        match world.list("pending").first() {
            Some(proposal) => {
                id = id_of(proposal).to_owned();
                true
            }
            None => false,
        }
    });
    // Alice reads with her key: the challenge and its answer go over TLS.
    let digest = world.show(&id)["digest"].as_str().unwrap().to_owned();
    world.write("alice.pem", alice().secret.to_pkcs8_v1_pem().as_str());
    let roster = world.started["roster"].as_str().unwrap();
    let mut approve = world.program(&[
        "approve", &id, "--yes", "--expect", &digest, "--roster", roster, "--url", &url,
    ]);
    let output = approve
        .arg("--cacert")
        .arg(&ca)
        .arg("--key")
        .arg(world.path("alice.pem"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", said(&output));
    // Both readers get the output while the run goes on.
    let mut follower = command(&["output", "-f", &id], &world.reader);
    let mut follower = follower
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    for stream in [
        follower.stdout.take().unwrap(),
        waiting.stdout.take().unwrap(),
    ] {
        let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
        assert!(
            lines.any(|line| line.trim() == "3000000"),
            "the output did not arrive"
        );
    }
    assert_eq!(world.show(&id)["status"], "running");
    run(&["cancel", &id], &world.agent);
    world.until(&id, "finished");
    let _ = (follower.wait().unwrap(), waiting.wait().unwrap());
    let bundle = world.path("tls.bundle.json");
    let waited = command(
        &["wait", &id, "--bundle", bundle.to_str().unwrap()],
        &world.agent,
    )
    .output()
    .unwrap();
    assert!(bundle.exists(), "{}", said(&waited));
    assert!(!run(&["log", "checkpoint"], &world.reader).is_empty());
    let copy = world.path("copy");
    run(&["log", "export", copy.to_str().unwrap()], &world.reader);
    run(&["audit", &url, "--roster", roster], &world.reader);
    run(
        &[
            "audit",
            copy.to_str().unwrap(),
            "--against",
            &url,
            "--roster",
            roster,
        ],
        &world.reader,
    );
    assert!(run(&["registry", "list"], &world.reader).contains("tls:count"));
}

#[test]
fn a_boundary_with_client_ca_serves_the_commands_that_have_a_client_certificate() {
    let Some(made) = Certificates::shared() else {
        return;
    };
    let mut world = World::prepared(|setup| {
        setup.config =
            "[tls]\ncertificate = \"tls/cert.pem\"\nkey = \"tls/key.pem\"\nclient_ca = \"tls/ca.pem\"\n".to_owned();
    });
    for (file, from) in [
        ("cert.pem", "server.pem"),
        ("key.pem", "server.key"),
        ("ca.pem", "ca.pem"),
    ] {
        world.write(
            &format!("b/tls/{file}"),
            &fs::read_to_string(made.path(from)).unwrap(),
        );
    }
    world.start();
    world.make_tokens();
    let address = world.started["url"].as_str().unwrap().to_owned();
    let url = address.replace("127.0.0.1", "localhost");
    let command = |words: &[&str], client: Option<&str>| {
        let mut command = world.program(words);
        command
            .args(["--url", &url])
            .arg("--cacert")
            .arg(made.path("ca.pem"));
        if let Some(name) = client {
            command.arg("--cert").arg(made.path(&format!("{name}.pem")));
            command
                .arg("--cert-key")
                .arg(made.path(&format!("{name}.key")));
        }
        command
    };
    made.issue(
        "outsider",
        "other-ca",
        "basicConstraints=CA:FALSE\nextendedKeyUsage=clientAuth\n",
    );
    made.issue(
        "for-servers",
        "ca",
        "basicConstraints=CA:FALSE\nextendedKeyUsage=serverAuth\n",
    );
    let propose = ["propose", "say:echo", "-p", "text=over-tls", "--json"];
    for (client, expected) in [
        (None, "the server requires a client certificate"),
        (Some("outsider"), "the server refused"),
        (Some("for-servers"), "its extendedKeyUsage lacks clientAuth"),
    ] {
        let output = command(&propose, client)
            .env("COUNTERSIGN_TOKEN", &world.agent)
            .output()
            .unwrap();
        let text = said(&output);
        assert!(
            output.status.code() == Some(125) && text.contains(expected) && text.contains("--cert"),
            "{text}"
        );
    }
    // A client certificate names nobody, so a token or a key is still necessary.
    let output = command(&["inbox", "--all"], Some("client"))
        .env("COUNTERSIGN_TOKEN", TOKEN)
        .output()
        .unwrap();
    assert!(!output.status.success(), "{}", said(&output));
    let run = |words: &[&str], token: &str| {
        let output = command(words, Some("client"))
            .env("COUNTERSIGN_TOKEN", token)
            .output()
            .unwrap();
        assert!(output.status.success(), "{words:?}: {}", said(&output));
        String::from_utf8(output.stdout).unwrap()
    };
    let proposed: serde_json::Value = serde_json::from_str(&run(&propose, &world.agent)).unwrap();
    let proposal = proposed.get("proposal").unwrap_or(&proposed);
    let id = id_of(proposal);
    world.write("alice.pem", alice().secret.to_pkcs8_v1_pem().as_str());
    let (roster, digest) = (
        world.started["roster"].as_str().unwrap(),
        proposal["digest"].as_str().unwrap(),
    );
    let mut approve = command(
        &[
            "approve", id, "--yes", "--expect", digest, "--roster", roster,
        ],
        Some("client"),
    );
    exited(
        approve
            .arg("--key")
            .arg(world.path("alice.pem"))
            .output()
            .unwrap(),
        0,
    );
    assert!(run(&["wait", id], &world.agent).contains("over-tls"));
    run(&["audit", &url, "--roster", roster], &world.reader);
    let (code, text) = read(&address.replace("https://", "http://"), None, &[]);
    assert!(code != Some(0) && text.contains("https://"), "{text}");
}
