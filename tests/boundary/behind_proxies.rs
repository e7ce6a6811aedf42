//! The service and its clients with a proxy in between, and with checks of proxies and orchestrators.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::certified::{Certificates, TlsProxy};
use crate::issuer::Issuer;
use crate::proxies::number;
use crate::support::people::alice;
use crate::support::{POLICY, World, assert_says, exchange, exited, id_of, runbook, said};
use crate::tls_client::Recorder;

fn get(path: &str, host: Option<&str>) -> Vec<u8> {
    let host = host
        .map(|host| format!("host: {host}\r\n"))
        .unwrap_or_default();
    format!("GET {path} HTTP/1.1\r\n{host}connection: close\r\n\r\n").into_bytes()
}

#[test]
fn a_health_check_is_answered_for_every_host_and_after_too_many_calls_of_strangers() {
    let world = World::with(|setup| setup.limits = "calls_per_second = 10".to_owned());
    let (own, wrong) = (world.wire.address().to_owned(), "evil.example");
    while world.wire.peek("/version").status != 429 {}
    for path in ["/health", "/ready"] {
        for host in [Some(&*own), Some(wrong), Some("10.1.2.3:8080")] {
            let answer = exchange(&world.wire, &get(path, host));
            assert!(
                answer.starts_with("HTTP/1.1 200 "),
                "{path} {host:?}: {answer}"
            );
            // A stranger under another name learns nothing but the answer to the check.
            let (_, body) = answer.split_once("\r\n\r\n").expect("a body");
            match (path, host == Some(&*own)) {
                ("/ready", true) => assert!(body.contains("\"roster\""), "{body}"),
                ("/ready", false) => assert!(body.contains("{\"ready\":true}"), "{body}"),
                _ => assert!(body.contains("{\"status\":\"up\"}"), "{body}"),
            }
        }
        let page = format!(
            "GET {path} HTTP/1.1\r\nhost: {own}\r\norigin: http://{wrong}\r\nconnection: close\r\n\r\n"
        );
        assert!(
            !exchange(&world.wire, page.as_bytes()).contains("roster"),
            "a page of another origin"
        );
        let twice = format!(
            "GET {path} HTTP/1.1\r\nhost: {own}\r\nhost: {own}\r\nconnection: close\r\n\r\n"
        );
        assert!(
            exchange(&world.wire, twice.as_bytes()).starts_with("HTTP/1.1 400 "),
            "RFC 9112, section 3.2"
        );
        for method in ["POST", "PUT", "DELETE"] {
            let other = format!(
                "{method} {path} HTTP/1.1\r\nhost: {wrong}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            );
            assert!(
                exchange(&world.wire, other.as_bytes()).starts_with("HTTP/1.1 403 "),
                "{method}"
            );
        }
    }
    let refused = exchange(&world.wire, &get("/v1/registry", Some(wrong)));
    assert!(refused.starts_with("HTTP/1.1 403 "), "{refused}");
    assert_says(refused, "the boundary does not permit this request");
    let log = world.service_log();
    assert!(
        log.contains("host=\"evil.example\"") && log.contains("peer=127.0.0.1"),
        "{log}"
    );
}

#[test]
fn a_silent_stream_of_lines_has_a_sign_of_life() {
    let world = World::new();
    let proposal = world.propose("plain:true", json!({}));
    let mut stream = TcpStream::connect(world.wire.address()).expect("connected");
    stream
        .set_read_timeout(Some(Duration::from_secs(25)))
        .expect("a limit");
    let request = format!(
        "GET /v1/proposals/{}/events HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {}\r\naccept: application/x-ndjson\r\n\r\n",
        id_of(&proposal),
        world.wire.address(),
        world.reader
    );
    stream.write_all(request.as_bytes()).expect("sent");
    let (mut text, mut bytes) = (String::new(), [0; 4096]);
    // A chunk with one byte, a line feed.
    while !text.contains("\r\n1\r\n\n\r\n") {
        let read = stream.read(&mut bytes).expect("a sign of life");
        assert!(read > 0, "{text}");
        text.push_str(std::str::from_utf8(&bytes[..read]).expect("text"));
    }
}

/// A relay that ends each connection after this time, as a proxy with a short timeout does. Returns its URL.
fn relay(world: &World, life: Duration) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    let target = world.wire.address().to_owned();
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let Ok(service) = TcpStream::connect(&target) else {
                continue;
            };
            let pair = |from: &TcpStream, to: &TcpStream| {
                let (mut from, mut to) = (
                    from.try_clone().expect("a copy"),
                    to.try_clone().expect("a copy"),
                );
                std::thread::spawn(move || std::io::copy(&mut from, &mut to));
            };
            pair(&client, &service);
            pair(&service, &client);
            std::thread::spawn(move || {
                std::thread::sleep(life);
                let _ = client.shutdown(Shutdown::Both);
                let _ = service.shutdown(Shutdown::Both);
            });
        }
    });
    url
}

#[test]
fn wait_goes_on_while_a_proxy_ends_each_connection_and_the_status_can_be_read() {
    let world = World::with(|setup| setup.config = "hosts = [\"127.0.0.1\"]\n".to_owned());
    let proposal = world.propose("plain:true", json!({}));
    let url = relay(&world, Duration::from_millis(300));
    let mut wait = world.program(&["wait", id_of(&proposal), "--url", &url]);
    let mut wait = wait
        .env("COUNTERSIGN_TOKEN", &world.reader)
        .stderr(Stdio::piped())
        .spawn()
        .expect("wait");
    // Earlier, the program gave up after seven breaks, which took 17 s with their pauses.
    let until = Instant::now() + Duration::from_secs(22);
    while Instant::now() < until {
        assert!(
            wait.try_wait().expect("a process").is_none(),
            "{:?}",
            wait.wait_with_output()
        );
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(world.sign(&proposal, &[&alice()]).status, 200);
    exited(wait.wait_with_output().expect("it ends"), 0);
}

/// A server that gives one answer to everything. Returns its URL and the number of requests so far.
fn server(answer: &'static str) -> (String, std::sync::Arc<std::sync::atomic::AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    let asked = std::sync::Arc::<std::sync::atomic::AtomicUsize>::default();
    let count = asked.clone();
    std::thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            let mut bytes = [0; 4096];
            let _ = client.read(&mut bytes);
            count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let _ = client.write_all(answer.as_bytes());
        }
    });
    (url, asked)
}

#[test]
fn an_answer_of_a_proxy_is_told_by_what_it_is() {
    let world = World::new();
    for (answer, words) in [
        (
            "HTTP/1.1 413 X\r\ncontent-length: 6\r\nconnection: close\r\n\r\n<html>",
            "a proxy refuses the size of the request",
        ),
        (
            "HTTP/1.1 429 X\r\ncontent-length: 6\r\nconnection: close\r\n\r\n<html>",
            "a proxy refuses so many calls",
        ),
        (
            "HTTP/1.1 502 X\r\ncontent-length: 6\r\nconnection: close\r\n\r\n<html>",
            "a proxy can't reach the boundary",
        ),
        (
            "HTTP/1.1 503 X\r\ncontent-length: 6\r\nconnection: close\r\n\r\n<html>",
            "a proxy can't reach the boundary",
        ),
        (
            "HTTP/1.1 504 X\r\ncontent-length: 6\r\nconnection: close\r\n\r\n<html>",
            "a proxy can't reach the boundary",
        ),
        (
            "HTTP/1.1 200 X\r\ncontent-length: 6\r\nconnection: close\r\n\r\n<html>",
            "the answer is a web page",
        ),
        (
            "HTTP/1.1 400 X\r\ncontent-length: 6\r\nconnection: close\r\n\r\n<html>",
            "write https:// if it begins with http://",
        ),
        (
            "HTTP/1.1 418 X\r\ncontent-length: 6\r\nconnection: close\r\n\r\n<html>",
            "check that the address is a boundary",
        ),
    ] {
        let (url, asked) = server(answer);
        let list = world
            .program(&["registry", "list", "--url", &url])
            .output()
            .expect("it starts");
        assert_says(said(&exited(list, 125)), words);
        assert_eq!(
            asked.load(std::sync::atomic::Ordering::Relaxed),
            1,
            "without Retry-After there is no second call"
        );
    }
}

#[test]
fn a_call_that_can_be_repeated_is_repeated_once_after_the_pause_that_the_answer_asks_for() {
    let world = World::new();
    let answer =
        "HTTP/1.1 503 X\r\nretry-after: 1\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    let asked = |words: &[&str]| {
        let (url, asked) = server(answer);
        let mut command = world.program(words);
        exited(
            command
                .args(["--url", &url])
                .env("COUNTERSIGN_TOKEN", "cst_x")
                .output()
                .expect("it starts"),
            125,
        );
        asked.load(std::sync::atomic::Ordering::Relaxed)
    };
    assert_eq!(asked(&["registry", "list"]), 2, "a call that only reads");
    let nonce = crate::support::people::nonce();
    assert_eq!(
        asked(&["propose", "plain:true", "--nonce", &nonce, "--reason", "r"]),
        2,
        "a call with its own nonce"
    );
    assert_eq!(asked(&["propose", "plain:true", "--reason", "r"]), 1);
    assert_eq!(
        asked(&["cancel", "prp_019aa0b0-5c00-7000-8000-000000000001"]),
        1
    );
}

#[test]
fn uploads_and_files_of_more_than_32_mib_are_reviewed_signed_and_fetched() {
    let world = World::with(|setup| {
        setup.policy = POLICY.to_owned();
        let script = "cp \"$COUNTERSIGN_ARTIFACTS/big\" \"$COUNTERSIGN_OUTPUT/big\"; cat \"$COUNTERSIGN_ARTIFACTS/big\"";
        let declares = "copy output=64MiB";
        setup.runbook(
            "s.md",
            runbook(
                "defaults: {timeout: 60s, memory: 256MiB, processes: 20}",
                &[(declares, script)],
            ),
        );
    });
    let bytes: Vec<u8> = (0..36_u32 << 20).map(|at| (at % 251) as u8).collect();
    world.write("big", "");
    fs::write(world.path("big"), &bytes).expect("written");
    let artifact = format!("big={}", world.path("big").display());
    let mut propose = world.program(&[
        "propose",
        "s:copy",
        "--reason",
        "r",
        "--artifact",
        &artifact,
        "--json",
        "--url",
    ]);
    let proposed = propose
        .arg(&world.wire.url)
        .env("COUNTERSIGN_TOKEN", &world.agent)
        .output()
        .expect("it starts");
    let proposal: Value = serde_json::from_str(&said(&exited(proposed, 0))).expect("a proposal");
    let id = id_of(&proposal);
    let review = said(&exited(
        world.as_alice(&["review", id]).output().expect("it starts"),
        0,
    ));
    assert!(!review.contains("NOT TO BE SIGNED"), "{review}");
    assert_eq!(world.sign(&proposal, &[&alice()]).status, 200);
    let finished = world.until(id, "finished");
    assert_eq!(finished["outcome"]["status"], "succeeded", "{finished:#}");
    let to = world.path("results");
    let mut output = world.program(&["output", id, "--url", &world.wire.url, "--files"]);
    exited(
        output
            .arg(&to)
            .env("COUNTERSIGN_TOKEN", &world.reader)
            .output()
            .expect("it starts"),
        0,
    );
    assert!(fs::read(to.join("big")).expect("a file") == bytes);
    let mut output = world.program(&["output", id, "--url", &world.wire.url, "--stdout"]);
    let done = exited(
        output
            .env("COUNTERSIGN_TOKEN", &world.reader)
            .output()
            .expect("it starts"),
        0,
    );
    assert!(done.stdout == bytes, "{} bytes", done.stdout.len());
    world.assert_verified(&finished);
}

/// Runs a command. Returns its output, and the peak of its memory in KiB.
fn with_peak(mut command: std::process::Command) -> (std::process::Output, u64) {
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let status = format!("/proc/{}/status", child.id());
    let watching = std::thread::spawn(move || {
        let mut peak = 0;
        // A process that ended has no such line.
        while let Some(now) = fs::read_to_string(&status).ok().and_then(|text| {
            let line = text
                .lines()
                .find(|line| line.starts_with("VmHWM:"))?
                .to_owned();
            line.split_ascii_whitespace().nth(1)?.parse().ok()
        }) {
            peak = now;
            std::thread::sleep(Duration::from_millis(2));
        }
        peak
    });
    let mut out = Vec::new();
    child
        .stdout
        .take()
        .expect("a pipe")
        .read_to_end(&mut out)
        .expect("read");
    let mut output = child.wait_with_output().expect("it ends");
    output.stdout = out;
    (output, watching.join().expect("a peak"))
}

#[test]
fn an_output_of_100_mib_is_fetched_and_verified_with_at_most_64_mib_more_memory() {
    let count = number("COUNTERSIGN_OUTPUT_MIB", 100) << 20;
    let world = World::with(|setup| {
        let step = (
            "much output=100MiB",
            format!("yes 0123456789 | head -c {count}"),
        );
        let limits = "defaults: {timeout: 300s, memory: 256MiB, processes: 20}";
        setup.runbook("s.md", runbook(limits, &[(step.0, &step.1)]));
    });
    let small = world.run("say:echo", json!({}), &[&alice()]);
    let proposal = world.propose("s:much", json!({}));
    assert_eq!(world.sign(&proposal, &[&alice()]).status, 200);
    let mut wait = world.program(&["wait", id_of(&proposal), "--url", &world.wire.url]);
    let (waited, waiting) = with_peak({
        wait.env("COUNTERSIGN_TOKEN", &world.reader);
        wait
    });
    exited(waited, 0);
    let finished = world.until(id_of(&proposal), "finished");
    assert_eq!(
        world.receipt(&finished)["output"]["stdout"]["recorded"],
        json!(count)
    );
    let print = |id: &str| {
        let mut output = world.program(&["output", id, "--url", &world.wire.url, "--stdout"]);
        output.env("COUNTERSIGN_TOKEN", &world.reader);
        let (output, peak) = with_peak(output);
        (exited(output, 0).stdout, peak)
    };
    let (_, usual) = print(id_of(&small));
    let (bytes, peak) = print(id_of(&proposal));
    assert!(
        bytes.len() as u64 == count
            && bytes
                .chunks(11)
                .all(|line| b"0123456789\n".starts_with(line))
    );
    for peak in [waiting, peak] {
        assert!(
            usual > 0 && peak < usual + (64 << 10),
            "{peak} KiB, and {usual} KiB for a small output"
        );
    }
    world.assert_verified(&finished);
}

/// A proxy for CONNECT. It records the first line of each connection. A target whose name begins with `internal` is a port
/// of this machine that only the proxy knows.
struct ConnectProxy {
    url: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl ConnectProxy {
    fn new(internal: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let seen = asked.clone();
        std::thread::spawn(move || {
            for mut client in listener.incoming().flatten() {
                let (mut head, mut byte) = (Vec::new(), [0]);
                while !head.ends_with(b"\r\n\r\n")
                    && client.read(&mut byte).is_ok_and(|read| read == 1)
                {
                    head.push(byte[0]);
                }
                let head = String::from_utf8_lossy(&head).into_owned();
                let line = head.lines().next().unwrap_or_default().to_owned();
                let target = line.split(' ').nth(1).unwrap_or_default().to_owned();
                seen.lock().expect("lock").push(line);
                let target = if target.starts_with("internal") {
                    format!("127.0.0.1:{internal}")
                } else {
                    target
                };
                let Ok(server) = TcpStream::connect(&target) else {
                    let _ = client.write_all(b"HTTP/1.1 502 No\r\ncontent-length: 0\r\n\r\n");
                    continue;
                };
                let _ = client.write_all(b"HTTP/1.1 200 Connected\r\n\r\n");
                for (from, to) in [(&client, &server), (&server, &client)] {
                    let (mut from, mut to) = (
                        from.try_clone().expect("a copy"),
                        to.try_clone().expect("a copy"),
                    );
                    std::thread::spawn(move || {
                        let _ = std::io::copy(&mut from, &mut to);
                        let _ = to.shutdown(Shutdown::Write);
                    });
                }
            }
        });
        Self { url, asked }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("lock").clone()
    }
}

#[test]
fn a_client_reaches_a_boundary_through_a_named_proxy_and_checks_its_certificate_there() {
    let Some(made) = Certificates::shared() else {
        return;
    };
    let world = World::with(|setup| {
        setup.config = "hosts = [\"internal.example\", \"localhost\"]\n".to_owned()
    });
    made.issue("internal", "ca", "subjectAltName=DNS:internal.example\n");
    let tls = TlsProxy::new(made, "internal", world.wire.address());
    let proxy = ConnectProxy::new(tls.port);
    let ca = made.path("ca.pem");
    let list = |words: &[&str]| {
        let mut command = world.program(&["registry", "list"]);
        command
            .args(words)
            .env("COUNTERSIGN_CACERT", &ca)
            .env("COUNTERSIGN_TOKEN", &world.reader);
        command.output().expect("it starts")
    };
    let url = "https://internal.example:9999";
    exited(list(&["--url", url, "--proxy", &proxy.url]), 0);
    assert_eq!(proxy.asked(), ["CONNECT internal.example:9999 HTTP/1.1"]);
    // The certificate is for another name, or nobody listens there.
    let other = list(&[
        "--url",
        "https://internal.other.example:9999",
        "--proxy",
        &proxy.url,
    ]);
    assert_says(said(&exited(other, 125)), "internal.example");
    let gone = list(&["--url", "https://127.0.0.1:1", "--proxy", &proxy.url]);
    assert_says(
        said(&exited(gone, 125)),
        "the connection goes through the proxy of --proxy",
    );
    let no_proxy = list(&["--url", url, "--proxy", "http://127.0.0.1:1"]);
    assert_says(
        said(&exited(no_proxy, 125)),
        "the connection goes through the proxy of --proxy",
    );
    assert_eq!(proxy.asked().len(), 3);
    // Only TLS goes through a proxy, and only an address of HTTP names one.
    exited(list(&["--url", &world.wire.url, "--proxy", &proxy.url]), 0);
    assert_eq!(proxy.asked().len(), 3);
    for wrong in [
        "socks5://127.0.0.1:1",
        "127.0.0.1:3128",
        "https://127.0.0.1:1",
    ] {
        assert_says(
            said(&exited(list(&["--url", url, "--proxy", wrong]), 2)),
            "such as http://proxy.example:3128",
        );
    }
    // The environment names no proxy, and a failed connection says so.
    let mut command = world.program(&["registry", "list", "--url", "https://127.0.0.1:1"]);
    let output = command
        .env("HTTPS_PROXY", &proxy.url)
        .output()
        .expect("it starts");
    assert_says(
        said(&exited(output, 125)),
        "HTTPS_PROXY is set, but this program uses a proxy only if --proxy names it",
    );
    assert_eq!(proxy.asked().len(), 3);
}

#[test]
fn the_list_of_boundaries_keeps_the_proxy_of_a_boundary() {
    let Some(made) = Certificates::shared() else {
        return;
    };
    let world = World::with(|setup| setup.config = "hosts = [\"internal.example\"]\n".to_owned());
    made.issue(
        "internal-listed",
        "ca",
        "subjectAltName=DNS:internal.example\n",
    );
    let tls = TlsProxy::new(made, "internal-listed", world.wire.address());
    let proxy = ConnectProxy::new(tls.port);
    let roster = world.started["roster"]
        .as_str()
        .expect("a digest")
        .to_owned();
    let mut add = world.program(&[
        "boundary",
        "add",
        "far",
        "--url",
        "https://internal.example",
        "--proxy",
        &proxy.url,
    ]);
    add.arg("--cacert")
        .arg(made.path("ca.pem"))
        .args(["--roster", &roster]);
    world.write("reader.token", &world.reader);
    add.arg("--token-file").arg(world.path("reader.token"));
    exited(
        add.env_remove("COUNTERSIGN_URL")
            .output()
            .expect("it starts"),
        0,
    );
    let before = proxy.asked().len();
    let list = world
        .program(&["registry", "list", "--boundary", "far"])
        .env_remove("COUNTERSIGN_URL")
        .output();
    exited(list.expect("it starts"), 0);
    assert!(
        proxy.asked().len() > before
            && proxy.asked()[before] == "CONNECT internal.example:443 HTTP/1.1"
    );
    // A proxy of the command line replaces that of the list, also for all boundaries.
    let asked = proxy.asked().len();
    for which in ["far", "all"] {
        let words = [
            "inbox",
            "--boundary",
            which,
            "--proxy",
            "http://127.0.0.1:1",
        ];
        let output = world.program(&words).env_remove("COUNTERSIGN_URL").output();
        assert_says(
            said(&output.expect("it starts")),
            "the connection goes through the proxy of --proxy",
        );
    }
    assert_eq!(proxy.asked().len(), asked);
}

#[test]
fn the_service_asks_issuers_and_targets_of_messages_through_the_configured_proxy() {
    let Some(made) = Certificates::shared() else {
        return;
    };
    let hook = Recorder::new(
        "127.0.0.1",
        "HTTP/1.1 204 X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
    );
    made.issue(
        "internal-hook",
        "ca",
        "subjectAltName=DNS:internal.hook.example\n",
    );
    let tls = TlsProxy::new(made, "internal-hook", &format!("127.0.0.1:{}", hook.port));
    let proxy = ConnectProxy::new(tls.port);
    let target = "[[notify]]\nname = \"chat\"\nkind = \"slack\"\nurl = \"https://internal.hook.example/x\"\n";
    let prepared = |config: String| {
        let world = World::prepared(|setup| {
            setup.config = config;
            let params = "params:\n  commit: {type: string, pattern: \"^[0-9a-f]{40}$\"}\n";
            setup.runbook(
                "deploy.md",
                runbook(params, &[("web", "printf '%s\\n' \"$PARAM_COMMIT\"")]),
            );
        });
        world.write("b/ca.pem", &made.read("ca.pem"));
        world
    };
    let mut world = prepared(format!(
        "proxy = \"{}\"\n{target}ca = \"ca.pem\"\n",
        proxy.url
    ));
    world.start();
    let test = |world: &World| {
        let mut command = world.boundary_command(&["notify", "test", "chat", "--config"]);
        command.arg(world.path("b")).output().expect("it starts")
    };
    exited(test(&world), 0);
    assert_eq!(
        proxy.asked(),
        ["CONNECT internal.hook.example:443 HTTP/1.1"]
    );
    assert!(hook.text().contains("POST /x HTTP/1.1"), "{}", hook.text());
    // The certificate is checked through the proxy.
    let mut world = prepared(format!(
        "proxy = \"{}\"\n{}",
        proxy.url,
        target.replace("hook", "other")
    ));
    world.start();
    exited(test(&world), 126);
    assert_eq!(hook.text().matches("POST /x").count(), 1);
    let issuer = Issuer::new();
    let audience = crate::oidc::ci(&world, &issuer);
    crate::oidc::admit(&world, &issuer.id_token(&audience, &json!({}))).ok(200);
    let connect = issuer.url.replace("https://", "CONNECT ") + " HTTP/1.1";
    assert!(
        proxy.asked().contains(&connect),
        "{:?}, {connect}",
        proxy.asked()
    );
    // Without a setting, the environment has no effect, and a note says so.
    let mut world = World::prepared(|setup| {
        setup.config = target.to_owned();
        setup.env("HTTPS_PROXY", &proxy.url);
    });
    let before = proxy.asked().len();
    world.start();
    assert_says(
        world.started["notes"].to_string(),
        "HTTPS_PROXY is set, but this program uses a proxy only if `proxy`",
    );
    exited(test(&world), 126);
    assert_eq!(proxy.asked().len(), before);
    let flaw = World::prepared(|setup| setup.config = "proxy = \"socks5://a:1\"\n".to_owned());
    let check = flaw
        .boundary_command(&["doctor", "--config"])
        .arg(flaw.path("b"))
        .output()
        .expect("it starts");
    assert_says(said(&check), "such as http://proxy.example:3128");
}
