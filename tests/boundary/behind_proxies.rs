//! The service and its clients with a proxy in between, and with checks of proxies and orchestrators.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::people::alice;
use crate::support::{POLICY, World, assert_says, exchange, exited, id_of, runbook, said};

fn get(path: &str, host: Option<&str>) -> Vec<u8> {
    let host = host.map(|host| format!("host: {host}\r\n")).unwrap_or_default();
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
            assert!(answer.starts_with("HTTP/1.1 200 "), "{path} {host:?}: {answer}");
            // A stranger under another name learns nothing but the answer to the check.
            let (_, body) = answer.split_once("\r\n\r\n").expect("a body");
            match (path, host == Some(&*own)) {
                ("/ready", true) => assert!(body.contains("\"roster\""), "{body}"),
                ("/ready", false) => assert!(body.contains("{\"ready\":true}"), "{body}"),
                _ => assert!(body.contains("{\"status\":\"up\"}"), "{body}"),
            }
        }
        let page = format!("GET {path} HTTP/1.1\r\nhost: {own}\r\norigin: http://{wrong}\r\nconnection: close\r\n\r\n");
        assert!(!exchange(&world.wire, page.as_bytes()).contains("roster"), "a page of another origin");
        for method in ["POST", "PUT", "DELETE"] {
            let other =
                format!("{method} {path} HTTP/1.1\r\nhost: {wrong}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            assert!(exchange(&world.wire, other.as_bytes()).starts_with("HTTP/1.1 403 "), "{method}");
        }
    }
    let refused = exchange(&world.wire, &get("/v1/registry", Some(wrong)));
    assert!(refused.starts_with("HTTP/1.1 403 "), "{refused}");
    let log = world.service_log();
    assert!(log.contains("host=\"evil.example\"") && log.contains("peer=127.0.0.1"), "{log}");
}

#[test]
fn a_silent_stream_of_lines_has_a_sign_of_life() {
    let world = World::new();
    let proposal = world.propose("plain:true", json!({}));
    let mut stream = TcpStream::connect(world.wire.address()).expect("connected");
    stream.set_read_timeout(Some(Duration::from_secs(25))).expect("a limit");
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
            let Ok(service) = TcpStream::connect(&target) else { continue };
            let pair = |from: &TcpStream, to: &TcpStream| {
                let (mut from, mut to) = (from.try_clone().expect("a copy"), to.try_clone().expect("a copy"));
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
    let mut wait = wait.env("COUNTERSIGN_TOKEN", &world.reader).stderr(Stdio::piped()).spawn().expect("wait");
    // Earlier, the program gave up after seven breaks, which took 17 s with their pauses.
    let until = Instant::now() + Duration::from_secs(22);
    while Instant::now() < until {
        assert!(wait.try_wait().expect("a process").is_none(), "{:?}", wait.wait_with_output());
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
        ("HTTP/1.1 429 X\r\ncontent-length: 6\r\nconnection: close\r\n\r\n<html>", "a proxy refuses so many calls"),
        ("HTTP/1.1 502 X\r\ncontent-length: 6\r\nconnection: close\r\n\r\n<html>", "a proxy can't reach the boundary"),
        ("HTTP/1.1 503 X\r\ncontent-length: 6\r\nconnection: close\r\n\r\n<html>", "a proxy can't reach the boundary"),
        ("HTTP/1.1 504 X\r\ncontent-length: 6\r\nconnection: close\r\n\r\n<html>", "a proxy can't reach the boundary"),
        ("HTTP/1.1 200 X\r\ncontent-length: 6\r\nconnection: close\r\n\r\n<html>", "the answer is a web page"),
        (
            "HTTP/1.1 418 X\r\ncontent-length: 6\r\nconnection: close\r\n\r\n<html>",
            "check that the address is a boundary",
        ),
    ] {
        let (url, asked) = server(answer);
        let list = world.program(&["registry", "list", "--url", &url]).output().expect("it starts");
        assert_says(said(&exited(list, 125)), words);
        assert_eq!(asked.load(std::sync::atomic::Ordering::Relaxed), 1, "without Retry-After there is no second call");
    }
}

#[test]
fn a_call_that_can_be_repeated_is_repeated_once_after_the_pause_that_the_answer_asks_for() {
    let world = World::new();
    let answer = "HTTP/1.1 503 X\r\nretry-after: 1\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    let asked = |words: &[&str]| {
        let (url, asked) = server(answer);
        let mut command = world.program(words);
        exited(command.args(["--url", &url]).env("COUNTERSIGN_TOKEN", "cst_x").output().expect("it starts"), 125);
        asked.load(std::sync::atomic::Ordering::Relaxed)
    };
    assert_eq!(asked(&["registry", "list"]), 2, "a call that only reads");
    let nonce = "AZqgsFwAQkJCQkJCQkJCQkJCQkJCQg";
    assert_eq!(asked(&["propose", "plain:true", "--nonce", nonce, "--reason", "r"]), 2, "a call with its own nonce");
    assert_eq!(asked(&["propose", "plain:true", "--reason", "r"]), 1);
    assert_eq!(asked(&["cancel", "prp_019aa0b0-5c00-7000-8000-000000000001"]), 1);
}

#[test]
fn uploads_and_files_of_more_than_32_mib_are_reviewed_signed_and_fetched() {
    let world = World::with(|setup| {
        setup.policy = POLICY.to_owned();
        let script =
            "cp \"$COUNTERSIGN_ARTIFACTS/big\" \"$COUNTERSIGN_OUTPUT/big\"; cat \"$COUNTERSIGN_ARTIFACTS/big\"";
        let declares = "copy output=64MiB";
        setup
            .runbook("s.md", runbook("defaults: {timeout: 60s, memory: 256MiB, processes: 20}", &[(declares, script)]));
    });
    let bytes: Vec<u8> = (0..36_u32 << 20).map(|at| (at % 251) as u8).collect();
    world.write("big", "");
    fs::write(world.path("big"), &bytes).expect("written");
    let artifact = format!("big={}", world.path("big").display());
    let mut propose =
        world.program(&["propose", "s:copy", "--reason", "r", "--artifact", &artifact, "--json", "--url"]);
    let proposed = propose.arg(&world.wire.url).env("COUNTERSIGN_TOKEN", &world.agent).output().expect("it starts");
    let proposal: Value = serde_json::from_str(&said(&exited(proposed, 0))).expect("a proposal");
    let id = id_of(&proposal);
    let review = said(&exited(world.as_alice(&["review", id]).output().expect("it starts"), 0));
    assert!(!review.contains("NOT TO BE SIGNED"), "{review}");
    assert_eq!(world.sign(&proposal, &[&alice()]).status, 200);
    let finished = world.until(id, "finished");
    assert_eq!(finished["outcome"]["status"], "succeeded", "{finished:#}");
    let to = world.path("results");
    let mut output = world.program(&["output", id, "--url", &world.wire.url, "--files"]);
    exited(output.arg(&to).env("COUNTERSIGN_TOKEN", &world.reader).output().expect("it starts"), 0);
    assert!(fs::read(to.join("big")).expect("a file") == bytes);
    let mut output = world.program(&["output", id, "--url", &world.wire.url, "--stdout"]);
    let done = exited(output.env("COUNTERSIGN_TOKEN", &world.reader).output().expect("it starts"), 0);
    assert!(done.stdout == bytes, "{} bytes", done.stdout.len());
    world.assert_verified(&finished);
}
