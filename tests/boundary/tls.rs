//! TLS of the service, as openssl, curl and Python see it. The tests make all certificates with openssl.

mod certificates;
mod hostile;
mod renewal;

use std::io::Read as _;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Output};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::certified::{Certificates, HERE, Pair};
use crate::companion::{digits, page_until, person, review_path, sign_path};
use crate::support::pages::{Pages, form_of};
use crate::support::people::alice;
use crate::support::{World, assert_says, id_of, not_run, said, wait_for};

/// The lines of the configuration for the files that [`put`] writes.
const TLS: &str = "[tls]\ncertificate = \"tls/cert.pem\"\nkey = \"tls/key.pem\"\n";

/// A world with a certificate of a test CA for `localhost` and 127.0.0.1. Its service does not run yet.
fn prepared(config: &str) -> (World, Certificates) {
    let world = World::prepared(|setup| {
        setup.config = config.to_owned();
        setup.limits = "calls_per_second = 1000000".to_owned();
    });
    let authority = Certificates::new();
    put(&world, &authority.issue("first", "ca", HERE));
    (world, authority)
}

/// A running service with a certificate of the test CA.
fn serving() -> (World, Certificates) {
    let (mut world, authority) = prepared(TLS);
    world.start();
    (world, authority)
}

/// Returns the paths of a certificate and its key.
fn files(authority: &Certificates, name: &str) -> [String; 2] {
    ["pem", "key"].map(|end| {
        authority
            .path(&format!("{name}.{end}"))
            .to_str()
            .expect("UTF-8")
            .to_owned()
    })
}

fn put(world: &World, pair: &Pair) {
    world.write("b/tls/key.pem", &pair.key);
    world.write("b/tls/cert.pem", &pair.certificate);
}

fn port(world: &World) -> u16 {
    let url = world.started["url"].as_str().expect("a URL");
    url.strip_prefix("https://127.0.0.1:")
        .and_then(|port| port.parse().ok())
        .unwrap_or_else(|| panic!("{url}"))
}

fn connect(world: &World) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port(world))).expect("connected");
    stream
        .set_read_timeout(Some(Duration::from_secs(30)))
        .expect("a deadline");
    stream
}

/// Reads until the service closes the connection. A reset counts as the end.
fn rest(mut stream: TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut part = [0; 4096];
    loop {
        match stream.read(&mut part) {
            Ok(0) => return bytes,
            Ok(length) => bytes.extend_from_slice(&part[..length]),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return bytes,
            Err(error) => panic!("the service does not close the connection: {error}"),
        }
    }
}

/// Runs curl with the certificates of a CA. Returns the exit code and the output.
fn curl(
    world: &World,
    authority: &Certificates,
    words: &[&str],
    path: &str,
) -> (Option<i32>, String) {
    let mut command = world.command("curl");
    command
        .args(["-sS", "--max-time", "20", "--cacert"])
        .arg(authority.path("ca.pem"))
        .args(words);
    let output = command
        .arg(format!("https://localhost:{}{path}", port(world)))
        .output()
        .expect("curl");
    (output.status.code(), said(&output))
}

/// Returns the notes of `/ready`, also if the certificate is not valid.
fn notes(world: &World, authority: &Certificates) -> String {
    let (_, text) = curl(world, authority, &["-k"], "/ready");
    let ready: Value =
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    ready["notes"].to_string()
}

fn is_up(world: &World, authority: &Certificates) -> bool {
    curl(world, authority, &[], "/health") == (Some(0), "{\"status\":\"up\"}".to_owned())
}

/// Runs `openssl s_client`, which sends one request and prints the connection and the answer.
fn s_client(world: &World, words: &[&str]) -> Output {
    let script = "printf 'GET /health HTTP/1.1\\r\\nhost: localhost:%s\\r\\nconnection: close\\r\\n\\r\\n' \"$0\" | \
                  timeout 20 openssl s_client -connect 127.0.0.1:\"$0\" -ign_eof \"$@\" 2>&1";
    let mut command = Command::new("sh");
    command
        .args(["-c", script, &port(world).to_string()])
        .args(words)
        .output()
        .expect("openssl")
}

#[test]
fn openssl_and_curl_connect_with_tls_1_2_and_1_3() {
    let (mut world, authority) = serving();
    let root = authority.path("ca.pem");
    let root = root.to_str().expect("UTF-8");
    for (version, name) in [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")] {
        let words = [
            version,
            "-alpn",
            "h2,http/1.1",
            "-CAfile",
            root,
            "-verify_hostname",
            "localhost",
            "-verify",
            "3",
        ];
        let text = said(&s_client(&world, &words));
        for found in [
            name,
            "ALPN protocol: http/1.1",
            "Verify return code: 0 (ok)",
            "HTTP/1.1 200",
            "\"up\"",
        ] {
            assert!(text.contains(found), "{found}: {text}");
        }
    }
    for version in ["1.2", "1.3"] {
        assert!(
            curl(
                &world,
                &authority,
                &[&format!("--tlsv{version}"), "--tls-max", version],
                "/health"
            )
            .1
            .contains("up")
        );
    }
    // A change works as over plain HTTP, and the pages of the https origin may call the service.
    world.make_tokens();
    let body =
        json!({"step": "say:echo", "params": {"text": "x".repeat(4000)}, "reason": "because"})
            .to_string();
    let token = format!("authorization: Bearer {}", world.agent);
    let origin = |scheme: &str| format!("origin: {scheme}://localhost:{}", port(&world));
    let propose = |origin: &str| {
        let words = [
            "-H",
            &token,
            "-H",
            "content-type: application/json",
            "-H",
            origin,
            "-d",
            &body,
        ];
        curl(&world, &authority, &words, "/v1/proposals").1
    };
    assert!(
        propose(&origin("https")).contains("\"status\":\"pending\""),
        "{}",
        propose(&origin("https"))
    );
    assert!(propose(&origin("http")).contains("pages of other origins"));
    world.stop();
}

#[test]
fn wrong_names_unknown_cas_and_old_protocols_find_no_connection() {
    let (world, authority) = serving();
    authority.authority("other-ca", "Another authority");
    let other = authority.path("other-ca.pem");
    let wrong_name = format!("other.example:{}:127.0.0.1", port(&world));
    let mut command = world.command("curl");
    command
        .args(["-sS", "--resolve", &wrong_name, "--cacert"])
        .arg(authority.path("ca.pem"));
    let output = command
        .arg(format!("https://other.example:{}/health", port(&world)))
        .output()
        .expect("curl");
    assert!(
        said(&output).contains("no alternative certificate subject name"),
        "{}",
        said(&output)
    );
    let (code, text) = curl(
        &world,
        &authority,
        &["--cacert", other.to_str().expect("UTF-8")],
        "/health",
    );
    assert!(code == Some(60) && text.contains("certificate"), "{text}");
    for (words, alert) in [
        (
            &["-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0"][..],
            "SSL alert number",
        ),
        (
            &["-tls1", "-cipher", "DEFAULT@SECLEVEL=0"],
            "SSL alert number",
        ),
        (&["-alpn", "h2"], "alert no application protocol"),
        (
            &["-tls1_2", "-cipher", "AES256-SHA"],
            "alert handshake failure",
        ),
    ] {
        let text = said(&s_client(&world, words));
        assert!(
            text.contains(alert) && !text.contains("HTTP/1.1 200"),
            "{words:?}: {text}"
        );
    }
    assert!(is_up(&world, &authority));
}

#[test]
fn a_service_with_a_pair_that_cannot_be_used_does_not_start() {
    let (mut world, authority) = prepared(TLS);
    // All errors are reported together, with those of other files.
    world.write(
        "b/runbooks/broken.md",
        "---\ncountersign: 1\n---\n```bash {#a colour=red}\n:\n```\n",
    );
    let refused = |world: &mut World| world.try_start().expect_err("the service must not start");
    for case in certificates::unusable(&authority) {
        put(&world, &case.pair);
        if let Some(mode) = case.key_mode {
            std::fs::set_permissions(
                world.path("b/tls/key.pem"),
                std::fs::Permissions::from_mode(mode),
            )
            .expect("set");
        }
        let text = refused(&mut world);
        for words in case.words.iter().chain(&["broken.md"]) {
            assert!(text.contains(words), "{}: {words}: {text}", case.name);
        }
        assert!(
            !text.contains("BEGIN") || text.contains("(BEGIN"),
            "{}: {text}",
            case.name
        );
        std::fs::remove_file(world.path("b/tls/key.pem")).expect("removed");
    }
    assert_says(refused(&mut world), "key.pem: the file can't be read");
    world.write("b/tls/key.pem", &authority.issue("again", "ca", HERE).key);
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(world.path("b/tls/key.pem"), Some(4242), None).expect("chown");
        assert_says(
            refused(&mut world),
            "key.pem: the path belongs to user 4242",
        );
        std::os::unix::fs::chown(world.path("b/tls/key.pem"), Some(0), None).expect("chown");
    } else {
        not_run(
            "a_service_with_a_pair_that_cannot_be_used_does_not_start",
            "only root can make files of other users",
        );
    }
    world.setup.config.clear();
    put(&world, &authority.issue("good", "ca", HERE));
    std::fs::remove_file(world.path("b/runbooks/broken.md")).expect("removed");
    let doctor = said(
        &world
            .program(&["doctor"])
            .arg(world.path("b"))
            .output()
            .expect("doctor"),
    );
    assert!(
        doctor.contains("certificate") && doctor.contains("its key matches"),
        "{doctor}"
    );
    world.start();
    assert!(is_up(&world, &authority));
}

#[test]
fn with_client_ca_only_clients_with_a_certificate_of_this_ca_connect() {
    let (mut world, authority) = prepared(&format!("{TLS}client_ca = \"tls/clients.pem\"\n"));
    world.write("b/tls/clients.pem", "no certificate");
    assert_says(
        world.try_start().expect_err("an unusable CA"),
        "clients.pem: the file contains no certificate",
    );
    authority.authority("clients", "Authority of clients");
    world.write("b/tls/clients.pem", &authority.read("clients.pem"));
    world.start();
    let right = authority.issue("right", "clients", HERE);
    authority.issue("wrong", "ca", HERE);
    authority.issue_for(
        "late",
        "clients",
        HERE,
        ("20200101000000Z", "20200201000000Z"),
    );
    let of = |name: &str, version: &str| {
        let [certificate, key] = files(&authority, name);
        let words = ["--cert", &certificate, "--key", &key, "--tls-max", version];
        curl(&world, &authority, &words, "/health")
    };
    for version in ["1.2", "1.3"] {
        let none = curl(&world, &authority, &["--tls-max", version], "/health");
        assert!(
            none.0 != Some(0) && none.1.contains("alert"),
            "{version}: {none:?}"
        );
        for name in ["wrong", "late"] {
            let refused = of(name, version);
            // The client gets the alert of the service, and not a reset.
            let words = ["alert", "SSL certificate verification failed"];
            assert!(
                words.iter().any(|words| refused.1.contains(words)),
                "{version}: {refused:?}"
            );
            assert!(
                refused.0 != Some(0) && !refused.1.contains("\"up\""),
                "{version}: {refused:?}"
            );
        }
        assert_eq!(
            of("right", version),
            (Some(0), "{\"status\":\"up\"}".to_owned()),
            "{version}"
        );
    }
    // The certificate names no caller: without a token, the answer is as before.
    let [certificate, key] = files(&authority, "right");
    let words = ["--cert", &certificate, "--key", &key];
    assert!(
        curl(&world, &authority, &words, "/v1/proposals")
            .1
            .contains("/problems/unauthenticated")
    );
    // 100 certificates are refused or ignored, and the service stays up.
    let chain = world.path("chain.pem");
    std::fs::write(&chain, right.certificate.repeat(100)).expect("written");
    let chain = chain.to_str().expect("UTF-8");
    assert_says(
        said(&s_client(
            &world,
            &["-cert", &certificate, "-key", &key, "-cert_chain", chain],
        )),
        "CONNECTED",
    );
    assert_eq!(of("right", "1.3").0, Some(0));
    // A new CA of clients is taken without a restart. Sessions of the old CA end.
    world.write("b/tls/clients.pem", &authority.read("ca.pem"));
    world.signal(Signal::HUP);
    wait_for("the new CA is in force", || of("wrong", "1.3").0 == Some(0));
    assert_ne!(of("right", "1.3").0, Some(0));
}

/// A root certificate of version 1, as old CAs have it: without extensions.
const OLD_ROOT: &str = "-----BEGIN CERTIFICATE-----\n\
    MIIBMjCB2QIUMQYlCOPha77bNCvkOjsng6+MGNwwCgYIKoZIzj0EAwIwGzEZMBcG\n\
    A1UEAwwQT2xkIENBIG9mIGEgdGVzdDAgFw0yNjExMjIxNjU4MDFaGA8yMTI2MTAy\n\
    OTE2NTgwMVowGzEZMBcGA1UEAwwQT2xkIENBIG9mIGEgdGVzdDBZMBMGByqGSM49\n\
    AgEGCCqGSM49AwEHA0IABMv6qwyBCHHkt+m4EgszeKzffc63ARcd91aoBBRZcMUI\n\
    97+nyrZWBYlSMKzQbJbuTAtzBTYpNnf1IJ+hCCrR780wCgYIKoZIzj0EAwIDSAAw\n\
    RQIgSfYNmslAmVdu4gV9vf1vSntDAUPHA5u5CFU5vbWLMw0CIQCsQQostgFyw44W\n\
    lA3sb0su2Drv52rujX7FJempK4MV2A==\n\
    -----END CERTIFICATE-----\n";

#[test]
fn a_client_ca_that_is_no_ca_is_refused_and_the_old_one_stays_in_force() {
    let (mut world, authority) = prepared(&format!("{TLS}client_ca = \"tls/clients.pem\"\n"));
    authority.authority("clients", "Authority of clients");
    let right = authority.issue("right", "clients", HERE);
    let refusal = "clients.pem: certificate 1 of the file is not the certificate of a CA";
    // The service would refuse all clients, because no certificate can have such an issuer.
    world.write("b/tls/clients.pem", &right.certificate);
    let text = world.try_start().expect_err("the certificate of a client");
    assert!(text.contains(refusal), "{text}");
    world.write("b/tls/clients.pem", OLD_ROOT);
    world.start();
    let [certificate, key] = files(&authority, "right");
    let clients = authority.read("clients.pem");
    let is_up = |world: &World| {
        curl(
            world,
            &authority,
            &["--cert", &certificate, "--key", &key],
            "/health",
        )
        .0 == Some(0)
    };
    assert!(!is_up(&world));
    world.write("b/tls/clients.pem", &clients);
    world.signal(Signal::HUP);
    wait_for("the new CA is in force", || is_up(&world));
    world.write("b/tls/clients.pem", &(clients + &right.certificate));
    world.signal(Signal::HUP);
    let refusal = refusal.replace("certificate 1", "certificate 2");
    wait_for("the log names the certificate", || {
        world.service_log().contains(&refusal)
    });
    assert!(
        world
            .service_log()
            .contains("continues with the old certificate")
            && is_up(&world),
        "{}",
        world.service_log()
    );
}

#[test]
fn with_client_ca_no_session_is_resumed() {
    // A resumed session has no check of the client certificate, which may have expired since.
    for client_ca in ["", "client_ca = \"tls/clients.pem\"\n"] {
        let (mut world, authority) = prepared(&format!("{TLS}{client_ca}"));
        world.write("b/tls/clients.pem", &authority.read("ca.pem"));
        world.start();
        authority.issue("client", "ca", HERE);
        let [certificate, key] = files(&authority, "client");
        for version in ["-tls1_2", "-tls1_3"] {
            let session = world.path(&format!("session{version}"));
            let words = [version, "-cert", &certificate, "-key", &key];
            let connect = |option: &str| {
                let words = [&words[..], &[option, session.to_str().expect("UTF-8")]].concat();
                said(&s_client(&world, &words))
            };
            let first = connect("-sess_out");
            assert!(
                first.contains("New, TLSv1") && first.contains("HTTP/1.1 200"),
                "{version}: {first}"
            );
            // Without a session, openssl writes no file.
            let resumed = session.exists() && connect("-sess_in").contains("Reused, TLSv1");
            assert_eq!(resumed, client_ca.is_empty(), "{version} {client_ca}");
        }
    }
}

#[test]
fn the_service_listens_on_other_addresses_only_with_tls_or_behind_a_proxy() {
    let (mut world, _) = prepared(TLS);
    world.setup.listen = "0.0.0.0:0".to_owned();
    world.start();
    assert!(
        world.started["url"]
            .as_str()
            .expect("a URL")
            .starts_with("https://0.0.0.0:"),
        "{}",
        world.started
    );
    assert!(
        world.started["notes"]
            .to_string()
            .contains("`hosts` is empty"),
        "{}",
        world.started["notes"]
    );
    world.stop();
    let without = std::fs::read_to_string(world.path("b/countersign.toml"))
        .expect("read")
        .replace(TLS, "");
    world.write("b/countersign.toml", &without);
    let text = world.try_start().expect_err("no TLS");
    assert!(
        text.contains("0.0.0.0:0 is not a loopback address")
            && text.contains("insecure_behind_proxy"),
        "{text}"
    );
    let doctor = |world: &World| {
        said(
            &world
                .program(&["doctor"])
                .arg(world.path("b"))
                .output()
                .expect("doctor"),
        )
    };
    let listen = format!("listen = \"0.0.0.0:0\"\n{without}");
    world.write("b/countersign.toml", &listen);
    assert!(
        doctor(&world).contains("FIX   listener"),
        "{}",
        doctor(&world)
    );
    world.setup.options = vec!["--insecure-behind-proxy".to_owned()];
    world.start();
    world.stop();
    world.setup.options.clear();
    world.write(
        "b/countersign.toml",
        &format!("insecure_behind_proxy = true\n{listen}"),
    );
    world.start();
    let note = "the service listens on 0.0.0.0:0 without TLS";
    assert!(
        world.started["notes"].to_string().contains(note),
        "{}",
        world.started["notes"]
    );
    assert_eq!(
        world.service_log().matches(note).count(),
        2,
        "each start reports it: {}",
        world.service_log()
    );
    assert!(
        doctor(&world).contains("insecure_behind_proxy is set"),
        "{}",
        doctor(&world)
    );
    let url = world.started["url"]
        .as_str()
        .expect("a URL")
        .replace("0.0.0.0", "127.0.0.1");
    let ready = said(
        &world
            .command("curl")
            .args(["-sS", &format!("{url}/ready")])
            .output()
            .expect("curl"),
    );
    assert!(ready.contains(note), "{ready}");
}

#[test]
fn a_shutdown_ends_encrypted_connections_with_close_notify() {
    let (mut world, authority) = serving();
    // Python raises an error at the end of a connection without close_notify.
    let script = "import socket, ssl, sys\n\
        context = ssl.create_default_context(cafile=sys.argv[2])\n\
        s = context.wrap_socket(socket.create_connection(('127.0.0.1', int(sys.argv[1]))), server_hostname='localhost', \
        suppress_ragged_eofs=False)\n\
        s.sendall(b'GET /health HTTP/1.1\\r\\nhost: localhost:%d\\r\\n\\r\\n' % int(sys.argv[1]))\n\
        print(s.recv(9999)[:15].decode(), flush=True)\n\
        print('end', s.recv(9999), flush=True)\n";
    let mut client = world.command("python3");
    client
        .args(["-c", script, &port(&world).to_string()])
        .arg(authority.path("ca.pem"));
    let mut client = client
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("python3");
    let mut first = [0; 16];
    client
        .stdout
        .as_mut()
        .expect("a pipe")
        .read_exact(&mut first)
        .expect("an answer");
    assert_eq!(&first, b"HTTP/1.1 200 OK\n");
    world.stop();
    let output = client.wait_with_output().expect("ended");
    assert!(said(&output).contains("end b''"), "{}", said(&output));
}

#[test]
fn an_approver_elsewhere_signs_watches_and_verifies_on_pages_over_tls() {
    let (mut world, authority) = serving();
    world.make_tokens();
    let (url, ca) = (
        format!("https://localhost:{}", port(&world)),
        authority.path("ca.pem"),
    );
    let mut command =
        world.program(&["propose", "plain:true", "--json", "--url", &url, "--cacert"]);
    let proposed = command
        .arg(&ca)
        .env("COUNTERSIGN_TOKEN", &world.agent)
        .output()
        .expect("it starts");
    let proposal: Value =
        serde_json::from_slice(&proposed.stdout).unwrap_or_else(|_| panic!("{}", said(&proposed)));
    // Without the authority of the boundary, no page shows anything of it.
    let without = Pages::start(person(&world, &alice(), &["console", "--url", &url]));
    without
        .get(&review_path(&proposal))
        .says(502, "certificate");
    let mut command = person(&world, &alice(), &["console", "--url", &url]);
    command.arg("--cacert").arg(&ca);
    let pages = Pages::start(command);
    let review = pages.get(&review_path(&proposal)).body;
    let form =
        form_of(&review, &sign_path(&proposal)).unwrap_or_else(|| panic!("no form: {review}"));
    assert_eq!(
        pages
            .post(
                &sign_path(&proposal),
                &format!("{form}&digits={}", digits(&proposal))
            )
            .status,
        303
    );
    page_until(
        &pages,
        &format!("/b/0/run/{}", id_of(&proposal)),
        "Verified on this machine",
    );
}
