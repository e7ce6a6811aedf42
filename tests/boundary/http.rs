//! The HTTP protocol: events, waiting, hosts and origins, time limits, and probes.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::support::people::{alice, bob, dora, envelope};
use crate::support::wire::Wire;
use crate::support::{self, SMALL, World, bytes_of, exchange, id_of, people, runbook};
use serde_json::{Value, json};

// Events

const TALK: &str = "echo one\nsleep 0.1\necho two >&2\nsleep 0.1\nprintf '\\377\\376'\nsleep 0.1\nhead -c 100000 /dev/zero | tr '\\0' x\necho end";

#[test]
fn a_resumed_event_stream_has_the_same_events_as_a_live_stream() {
    let mut world = World::with(|setup| {
        let front = format!("approvals: {{required: 2, from: [ops, security]}}\n{SMALL}");
        setup.runbook("talk.md", runbook(&front, &[("go", TALK)]));
    });
    let proposal = world.propose("talk:go", json!({}));
    let id = id_of(&proposal).to_owned();
    // The readers of both formats start before the first signature. One reader is slow.
    let live: Vec<_> = (0..4)
        .map(|number| {
            let (wire, id, token) = (world.wire.clone(), id.clone(), world.reader.clone());
            std::thread::spawn(move || -> Vec<Value> {
                let slowly = |event: Value| {
                    if number == 3 {
                        std::thread::sleep(Duration::from_millis(30));
                    }
                    event
                };
                match number {
                    0 | 3 => wire.lines(&id, &token, 0).map(slowly).collect(),
                    _ => wire.server_sent(&id, &token, 0).collect(),
                }
            })
        })
        .collect();
    world.sign(&proposal, &[&alice()]).ok(200);
    world.sign(&proposal, &[&bob()]).ok(200);
    // This reader disconnects after each event and resumes the stream.
    let (wire, token) = (world.wire.clone(), world.reader.clone());
    let mut resumed: Vec<Value> = Vec::new();
    loop {
        let after = resumed
            .last()
            .map_or(0, |event| event["id"].as_u64().unwrap());
        let next = if after.is_multiple_of(2) {
            wire.lines(&id, &token, after).next()
        } else {
            wire.server_sent(&id, &token, after).next()
        };
        let Some(next) = next else { break };
        resumed.push(next);
    }
    let readers: Vec<Vec<Value>> = live
        .into_iter()
        .map(|reader| reader.join().unwrap())
        .collect();
    let first = &readers[0];
    // A short form of the events is compared first, so that the message of a failure is readable.
    let brief = |events: &[Value]| -> Vec<String> {
        let length = |event: &Value| {
            event["text"]
                .as_str()
                .or(event["base64"].as_str())
                .map_or(0, str::len)
        };
        events
            .iter()
            .map(|one| {
                format!(
                    "{} {} {} {}",
                    one["id"],
                    one["type"],
                    one["offset"],
                    length(one)
                )
            })
            .collect()
    };
    for other in readers.iter().chain([&resumed]) {
        assert_eq!(brief(other), brief(first));
        assert!(other == first);
    }
    // The event ids start at 1 and follow the order of the events.
    let kinds: Vec<String> = first
        .iter()
        .map(|event| match event["type"].as_str().unwrap() {
            "status" => event["status"].as_str().unwrap().to_owned(),
            kind => kind.to_owned(),
        })
        .collect();
    for (at, event) in first.iter().enumerate() {
        assert_eq!(event["id"], json!(at + 1));
    }
    assert_eq!(
        &kinds[..6],
        [
            "pending",
            "signature",
            "signature",
            "approved",
            "running",
            "output"
        ],
        "{kinds:?}"
    );
    let ends: Vec<&str> = kinds[kinds.len() - 3..]
        .iter()
        .map(String::as_str)
        .collect();
    assert!(
        ends.contains(&"exit") && ends.contains(&"finished") && ends.contains(&"receipt"),
        "{kinds:?}"
    );
    // The output events together contain the recorded streams.
    let finished = world.until(&id, "finished");
    let receipt = world.receipt(&finished);
    assert_eq!(first.last().unwrap()["receipt"], finished["receipt"]);
    for stream in ["stdout", "stderr"] {
        let mut whole = Vec::new();
        for event in first
            .iter()
            .filter(|event| event["type"] == "output" && event["stream"] == stream)
        {
            assert_eq!(event["offset"], json!(whole.len()));
            match event["text"].as_str() {
                Some(text) => whole.extend_from_slice(text.as_bytes()),
                None => {
                    use base64::Engine as _;
                    let text = event["base64"].as_str().unwrap();
                    whole.extend(
                        base64::engine::general_purpose::STANDARD
                            .decode(text)
                            .unwrap(),
                    );
                }
            }
        }
        let digest = format!("sha256:{}", people::sha256(&whole));
        assert_eq!(
            receipt["output"][stream]["sha256"],
            json!(digest),
            "{stream}"
        );
    }
    // Later readers get the same events, also after a restart.
    for restart in [false, true] {
        if restart {
            world.restart();
        }
        for after in [0, 1, 5, first.len() as u64 - 1, first.len() as u64, 9999] {
            let wanted: Vec<&Value> = first.iter().skip(after as usize).collect();
            let lines: Vec<Value> = world.wire.lines(&id, &world.reader, after).collect();
            assert_eq!(lines.iter().collect::<Vec<_>>(), wanted, "after {after}");
            let sent: Vec<Value> = world.wire.server_sent(&id, &world.reader, after).collect();
            assert_eq!(sent.iter().collect::<Vec<_>>(), wanted, "after {after}");
        }
    }
}

#[test]
fn the_event_stream_ends_with_the_end_of_its_proposal() {
    let world = World::new();
    let denied = world.propose("two:go", json!({}));
    let cancelled = world.propose("plain:true", json!({}));
    let mut wish = World::wish("plain:fail", json!({}));
    wish["expires_in_s"] = json!(1);
    let expired = world
        .wire
        .post("/v1/proposals", &world.agent, &wish)
        .ok(201);
    world.sign(&denied, &[&alice()]).ok(200);
    world.deny(&denied, &dora()).ok(200);
    let path = format!("/v1/proposals/{}/cancellation", id_of(&cancelled));
    world.wire.post(&path, &world.agent, &json!({})).ok(200);
    let last = |proposal: &Value| {
        world
            .wire
            .lines(id_of(proposal), &world.agent, 0)
            .last()
            .unwrap()
    };
    let event = last(&denied);
    assert_eq!(
        (&event["status"], &event["code"]),
        (&json!("denied"), &json!("denied"))
    );
    assert_eq!(last(&cancelled)["status"], "cancelled");
    // A view shows an expiry at once. The event of an expiry comes with the next housekeeping.
    support::wait_for("it has expired", || {
        world.show(id_of(&expired))["status"] == "expired"
    });
    // `shape=simple` selects the event types that runbook tools share.
    let accept = [
        ("accept", "application/x-ndjson"),
        ("authorization", &format!("Bearer {}", world.agent)),
    ];
    let path = format!("/v1/proposals/{}/events?shape=simple", id_of(&denied));
    let simple = world.wire.call("GET", &path, &accept, None).text();
    assert!(
        simple.trim_end().ends_with("\"type\":\"error\"}") && simple.lines().count() == 1,
        "{simple}"
    );
    world
        .wire
        .call("GET", &path, &[accept[1], ("accept", "text/html")], None)
        .problem("malformed");
    world
        .wire
        .call("GET", &path, &[accept[1]], None)
        .problem("malformed");
    let bad = [accept[0], accept[1], ("last-event-id", "x")];
    let path = format!("/v1/proposals/{}/events", id_of(&denied));
    world
        .wire
        .call("GET", &path, &bad, None)
        .problem("malformed");
}

#[test]
fn a_submitted_envelope_is_answered_with_its_bundle_and_the_command_prints_the_output_of_the_run() {
    let world = World::new();
    let fresh = || {
        envelope(
            &people::authorization(&world.authorization("say:echo", json!({"text": "hi"}))),
            &[&alice()],
        )
    };
    let (bearer, whole) = (format!("Bearer {}", world.agent), fresh());
    // Lines are only for `GET /v1/proposals/{id}/events`.
    let headers = [
        ("accept", "application/x-ndjson"),
        ("authorization", bearer.as_str()),
        ("content-type", "application/json"),
    ];
    let submit = || {
        world.wire.call(
            "POST",
            "/v1/authorizations",
            &headers,
            Some(whole.to_string().as_bytes()),
        )
    };
    let reply = submit();
    let media = "application/vnd.countersign.bundle.v1+json";
    assert_eq!(
        (reply.status, reply.header("content-type")),
        (200, Some(media))
    );
    let (code, report) = world.verify(reply.text().as_bytes());
    assert_eq!(code, 0, "{report:#}");
    submit().problem("nonce-replayed");
    let (file, bundle) = (world.path("signed.json"), world.path("run.bundle.json"));
    std::fs::write(&file, fresh().to_string()).unwrap();
    let mut command = world.program(&[
        "submit",
        file.to_str().unwrap(),
        "--bundle",
        bundle.to_str().unwrap(),
    ]);
    let done = command
        .args(["--url", &world.wire.url])
        .env("COUNTERSIGN_TOKEN", &world.agent)
        .output()
        .unwrap();
    assert_eq!(
        (done.status.code(), &done.stdout[..]),
        (Some(0), &b"hi\n"[..]),
        "{done:?}"
    );
    let (code, report) = world.verify(&std::fs::read(&bundle).unwrap());
    assert_eq!(code, 0, "{report:#}");
}

// Waiting

#[test]
fn a_request_that_waits_is_answered_at_a_change_or_at_its_time_limit() {
    let world = World::new();
    let proposal = world.propose("two:go", json!({}));
    let path = format!("/v1/proposals/{}", id_of(&proposal));
    let get = |query: &str| world.wire.get(&format!("{path}{query}"), &world.reader);
    // If a wait times out, the proposal stays pending.
    let began = Instant::now();
    let view = get("?wait=1s").ok(200);
    assert_eq!(view["status"], "pending");
    assert!(
        began.elapsed() >= Duration::from_secs(1),
        "{:?}",
        began.elapsed()
    );
    let waiting = {
        let (wire, path, token) = (world.wire.clone(), path.clone(), world.reader.clone());
        std::thread::spawn(move || {
            (
                wire.get(&format!("{path}?wait=55s"), &token).ok(200),
                Instant::now(),
            )
        })
    };
    world.sign(&proposal, &[&alice()]).ok(200);
    world.deny(&proposal, &dora()).ok(200);
    let denied = Instant::now();
    let (view, answered) = waiting.join().unwrap();
    assert_eq!(view["status"], "denied");
    assert!(answered.saturating_duration_since(denied) < Duration::from_secs(5));
    // A request for a closed proposal is answered immediately.
    let began = Instant::now();
    assert_eq!(get("?wait=55").ok(200)["next"], json!(["read-denials"]));
    assert!(began.elapsed() < Duration::from_secs(5));
    for bad in [
        "?wait=",
        "?wait=1m",
        "?wait=-1",
        "?wait=1.5s",
        "?wait=1&wait=2",
        "?until=1",
        "?wait",
    ] {
        get(bad).problem("malformed");
    }
}

#[test]
fn lists_are_filtered_and_paged() {
    let world = World::new();
    let mut ids: Vec<String> = Vec::new();
    for number in 0..5 {
        ids.push(id_of(&world.propose("say:echo", json!({"text": number.to_string()}))).to_owned());
    }
    let other = world
        .wire
        .post(
            "/v1/proposals",
            &world.courier,
            &World::wish("plain:true", json!({})),
        )
        .ok(201);
    let list = |query: &str, token: &str| {
        let page = world
            .wire
            .get(&format!("/v1/proposals{query}"), token)
            .ok(200);
        let of = page["proposals"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| id_of(one).to_owned())
            .collect::<Vec<_>>();
        (of, page["cursor"].as_str().map(str::to_owned))
    };
    ids.reverse();
    assert_eq!(
        list("", &world.agent).0,
        ids,
        "newest first, one's own only"
    );
    assert_eq!(list("?step=plain%3Atrue", &world.reader).0, [id_of(&other)]);
    assert_eq!(
        list("?proposer=courier&status=pending", &world.reader).0,
        [id_of(&other)]
    );
    assert!(list("?proposer=courier", &world.agent).0.is_empty());
    assert!(list("?status=finished", &world.reader).0.is_empty());
    let (mut seen, mut cursor) = (Vec::new(), None::<String>);
    for _ in 0..4 {
        let query = cursor.map_or_else(
            || "?limit=2".to_owned(),
            |cursor| format!("?limit=2&cursor={cursor}"),
        );
        let (page, next) = list(&query, &world.agent);
        seen.extend(page);
        cursor = next;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(seen, ids);
    for bad in [
        "?status=done",
        "?limit=0",
        "?limit=101",
        "?cursor=x",
        "?step=x",
        "?colour=red",
    ] {
        world
            .wire
            .get(&format!("/v1/proposals{bad}"), &world.reader)
            .problem("malformed");
    }
}

#[test]
fn pages_of_proposals_go_by_creation_although_windows_differ() {
    let world = World::new();
    let propose = |seconds: i64| {
        let mut wish = World::wish("plain:true", json!({}));
        wish["expires_in_s"] = json!(seconds);
        let proposal = world
            .wire
            .post("/v1/proposals", &world.agent, &wish)
            .ok(201);
        // The next one is created in a later millisecond.
        std::thread::sleep(Duration::from_millis(2));
        id_of(&proposal).to_owned()
    };
    let windows = [86_000, 600, 3600, 300, 7200, 60, 80_000];
    let mut ids: Vec<String> = windows.into_iter().map(propose).collect();
    let mut by_id = ids.clone();
    ids.reverse();
    by_id.sort();
    assert_ne!(ids, by_id);
    by_id.reverse();
    assert_ne!(ids, by_id, "the order of the ids is that of the ends");
    for filter in [
        "",
        "&step=plain%3Atrue",
        "&proposer=agent",
        "&status=pending",
    ] {
        for limit in [1, 2, 3, 100] {
            let (mut seen, mut more) = (Vec::new(), String::new());
            loop {
                let path = format!("/v1/proposals?limit={limit}{filter}{more}");
                let page = world.wire.get(&path, &world.reader).ok(200);
                let of = page["proposals"].as_array().unwrap().iter();
                seen.extend(of.map(|one| id_of(one).to_owned()));
                let Some(cursor) = page["cursor"].as_str() else {
                    break;
                };
                more = format!("&cursor={cursor}");
                assert!(seen.len() < 2 * ids.len(), "{filter}: {seen:?}");
            }
            assert_eq!(seen, ids, "{filter}, {limit} on a page");
        }
    }
    // A later proposal with a long window is on no later page.
    let page = world
        .wire
        .get("/v1/proposals?limit=3", &world.reader)
        .ok(200);
    let cursor = page["cursor"].as_str().unwrap();
    let newest = propose(82_000);
    let path = format!("/v1/proposals?limit=100&cursor={cursor}");
    let rest = world.wire.get(&path, &world.reader).ok(200);
    let rest: Vec<&str> = rest["proposals"]
        .as_array()
        .unwrap()
        .iter()
        .map(id_of)
        .collect();
    assert_eq!(rest, ids[3..]);
    let first = world
        .wire
        .get("/v1/proposals?limit=1", &world.reader)
        .ok(200);
    assert_eq!(id_of(&first["proposals"][0]), newest);
}

// Hosts, origins and tokens

fn get(wire: &Wire, path: &str, headers: &str) -> String {
    exchange(
        wire,
        format!("GET {path} HTTP/1.1\r\n{headers}\r\n").as_bytes(),
    )
}

#[test]
fn requests_of_other_hosts_and_origins_are_refused() {
    let world = World::with(|setup| setup.config = "hosts = [\"box.lan:7433\"]\n".to_owned());
    let port = world.wire.address().rsplit(':').next().unwrap().to_owned();
    let auth = format!("authorization: Bearer {}\r\n", world.reader);
    for good in [
        format!("host: 127.0.0.1:{port}\r\n{auth}"),
        format!("Host: LOCALHOST:{port}\r\n{auth}"),
        format!("host: box.lan:7433\r\n{auth}"),
        format!("host: localhost:{port}\r\norigin: http://localhost:{port}\r\n{auth}"),
    ] {
        let answer = get(&world.wire, "/v1/registry", &good);
        assert!(answer.starts_with("HTTP/1.1 200 "), "{good}{answer}");
        let head = answer.to_ascii_lowercase();
        assert!(!head.contains("access-control-allow"), "there is no CORS");
    }
    for bad in [
        format!("host: evil.example:{port}\r\n{auth}"),
        format!("host: evil.example\r\nx-forwarded-host: localhost:{port}\r\n{auth}"),
        format!("host: localhost\r\n{auth}"),
        format!("host: localhost:{port}\r\norigin: http://evil.example\r\n{auth}"),
        format!("host: localhost:{port}\r\norigin: null\r\n{auth}"),
        format!("host: box.lan\r\n{auth}"),
        auth.clone(),
    ] {
        let answer = get(&world.wire, "/v1/registry", &bad);
        assert!(
            answer.starts_with("HTTP/1.1 403 ") || answer.starts_with("HTTP/1.1 400 "),
            "{bad}{answer}"
        );
        assert!(!answer.contains("plain:true"), "nothing is told: {answer}");
    }
    // The rule also applies without a token: a page of another origin cannot send a signature.
    let proposal = world.propose("plain:true", json!({}));
    let body = json!({"signatures": [alice().sign(&bytes_of(&proposal))]}).to_string();
    let answer = exchange(
        &world.wire,
        format!(
            "POST /v1/proposals/{}/signatures HTTP/1.1\r\nhost: localhost:{port}\r\norigin: http://evil.example\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            id_of(&proposal),
            body.len()
        )
        .as_bytes(),
    );
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    assert_eq!(world.show(id_of(&proposal))["status"], "pending");
    // The service refuses each content type that a web page can send to another origin without a preflight request.
    for kind in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
    ] {
        let path = format!("/v1/proposals/{}/signatures", id_of(&proposal));
        let refused = world.wire.call(
            "POST",
            &path,
            &[("content-type", kind)],
            Some(body.as_bytes()),
        );
        let problem = refused.problem("malformed");
        assert_eq!(
            (refused.status, refused.header("accept")),
            (415, Some("application/json")),
            "{problem}"
        );
        assert!(
            problem["detail"]
                .as_str()
                .is_some_and(|detail| detail.contains("curl: `--json`")),
            "{problem}"
        );
    }
    // The service also refuses the content type of `curl -d` for a call that needs no body.
    let (path, bearer) = (
        format!("/v1/proposals/{}/cancellation", id_of(&proposal)),
        format!("Bearer {}", world.agent),
    );
    let form = [
        ("authorization", &*bearer),
        ("content-type", "application/x-www-form-urlencoded"),
    ];
    assert_eq!(
        world.wire.call("POST", &path, &form, Some(b"{}")).status,
        415
    );
    assert_eq!(world.show(id_of(&proposal))["status"], "pending");
}

#[test]
fn a_token_in_a_url_is_refused() {
    let world = World::new();
    for query in [
        format!("token={}", world.reader),
        format!("access_token={}", world.reader),
        format!("x={}", world.reader),
    ] {
        let problem = world
            .wire
            .get(&format!("/v1/registry?{query}"), &world.reader)
            .problem("malformed");
        assert!(
            problem["detail"]
                .as_str()
                .unwrap()
                .contains("revoke the token")
        );
        assert!(
            !problem.to_string().contains(&world.reader),
            "and not repeated"
        );
    }
    assert!(!world.service_log().contains(&world.reader));
}

#[test]
fn invalid_http_does_not_stop_the_service() {
    let world = World::new();
    let host = format!("host: {}\r\n", world.wire.address());
    let many: String = (0..200).map(|n| format!("x-{n}: y\r\n")).collect();
    let long = format!("x: {}\r\n", "y".repeat(70_000));
    for request in [
        "\0\0\0\0\r\n\r\n".to_owned(),
        format!("GET / HTTP/9.9\r\n{host}\r\n"),
        format!("GET http://evil.example/v1/registry HTTP/1.1\r\n{host}\r\n"),
        format!("GET /{} HTTP/1.1\r\n{host}\r\n", "a".repeat(100_000)),
        format!(
            "GET /v1/steps/%ff%fe HTTP/1.1\r\n{host}authorization: Bearer {}\r\n\r\n",
            world.reader
        ),
        format!("GET /health HTTP/1.1\r\n{host}{host}\r\n"),
        format!("GET /health HTTP/1.1\r\n{host}{many}\r\n"),
        format!("GET /health HTTP/1.1\r\n{host}{long}\r\n"),
        format!(
            "POST /v1/proposals HTTP/1.1\r\n{host}content-length: 5\r\ncontent-length: 6\r\n\r\nhello"
        ),
        format!(
            "POST /v1/proposals HTTP/1.1\r\n{host}content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"
        ),
        format!("POST /v1/proposals HTTP/1.1\r\n{host}transfer-encoding: chunked\r\n\r\nzz\r\n"),
        "\u{16}\u{3}\u{1}\u{2}\0\u{1}\0\u{1}\u{fc}".to_owned(),
    ] {
        let mut stream = TcpStream::connect(world.wire.address()).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_millis(300)))
            .unwrap();
        let _ = stream.write_all(request.as_bytes());
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer);
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 4"),
            "{request:.100}: {answer}"
        );
    }
    world.wire.peek("/health").ok(200);
    world.run("plain:true", json!({}), &[&alice()]);
}

#[test]
fn unknown_paths_and_queries_are_answered_with_a_problem_document() {
    let world = World::new();
    for path in ["/v1/nothing", "/log/tile/0/1", "/log/tile/0/999"] {
        world.wire.get(path, &world.reader).problem("not-found");
    }
    let proposal = world.propose("plain:true", json!({}));
    let path = format!("/v1/proposals/{}", id_of(&proposal));
    for query in ["?limit=0", "?status=odd", "?color=red", "/x"] {
        world
            .wire
            .get(&format!("/v1/proposals{query}"), &world.reader)
            .problem("malformed");
    }
    for query in ["?wait=soon", "/events?shape=simple"] {
        world
            .wire
            .get(&format!("{path}{query}"), &world.reader)
            .problem("malformed");
    }
    let signature = json!({"keyid": format!("SHA256:{}", "A".repeat(43)), "sig": "AAAA"});
    let sign = |count: usize| {
        let body = json!({"signatures": vec![signature.clone(); count]});
        world.wire.post(&format!("{path}/signatures"), "", &body)
    };
    sign(0).problem("malformed");
    sign(17).problem("too-large");
}

#[test]
fn pages_without_secrets_need_no_token_and_all_others_say_so() {
    let world = World::new();
    for path in [
        "/health",
        "/ready",
        "/version",
        "/openapi.json",
        "/log/checkpoint",
        "/log/tile/0/000.p/1",
        "/log/proof/0",
    ] {
        let reply = world.wire.peek(path);
        assert_eq!(
            (reply.status, reply.header("x-content-type-options")),
            (200, Some("nosniff")),
            "{path}"
        );
    }
    assert_eq!(
        world.wire.peek("/openapi.json").ok(200),
        boundary::openapi()
    );
    for path in ["/v1/registry", "/log/tile/entries/000", "/log/entries/000"] {
        let reply = world.wire.peek(path);
        reply.problem("unauthenticated");
        assert!(
            reply
                .header("www-authenticate")
                .is_some_and(|value| value.starts_with("Bearer")),
            "{path}"
        );
    }
}

#[test]
fn a_method_that_a_path_does_not_support_is_refused() {
    let world = World::new();
    let reply = world.wire.call("DELETE", "/v1/registry", &[], None);
    assert_eq!(
        (reply.status, reply.header("content-type")),
        (405, Some("application/problem+json"))
    );
    assert!(
        reply
            .header("allow")
            .is_some_and(|allow| allow.contains("GET")),
        "{:?}",
        reply.headers
    );
    assert_eq!(world.wire.call("HEAD", "/health", &[], None).status, 200);
}

#[test]
fn a_connection_with_a_slow_request_head_is_closed_and_delays_no_other_caller() {
    let world = World::new();
    let mut slow: Vec<TcpStream> = (0..20)
        .map(|_| TcpStream::connect(world.wire.address()).unwrap())
        .collect();
    let began = Instant::now();
    for stream in &mut slow {
        stream.write_all(b"GET /health HTTP/1.1\r\nhost: ").unwrap();
        stream
            .set_read_timeout(Some(Duration::from_millis(20)))
            .unwrap();
    }
    let mut closed = 0;
    while closed < slow.len() {
        assert!(
            began.elapsed() < Duration::from_secs(25),
            "{closed} of 20 were closed"
        );
        for stream in &mut slow {
            // Single bytes do not extend the time limit.
            let _ = stream.write_all(b"a");
        }
        slow.retain_mut(|stream| {
            let mut answer = [0; 512];
            match stream.read(&mut answer) {
                Ok(0) => false,
                Ok(_) => true,
                Err(error) => matches!(
                    error.kind(),
                    std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
                ),
            }
        });
        closed = 20 - slow.len();
        if slow.is_empty() {
            break;
        }
        world.wire.peek("/health").ok(200);
    }
    world.run("plain:true", json!({}), &[&alice()]);
}

// Probes

#[test]
fn health_probes_report_the_current_state() {
    let world = World::new();
    assert_eq!(world.wire.peek("/health").ok(200), json!({"status": "up"}));
    let mut ready = world.wire.peek("/ready").ok(200);
    let roster = ready
        .as_object_mut()
        .unwrap()
        .remove("roster")
        .expect("a roster");
    assert_eq!(
        (&roster["version"], &roster["guarded"]),
        (&json!(1), &json!(true))
    );
    assert_eq!(
        ready,
        json!({"ready": true, "sandbox": "strict", "seal": 3, "notes": []})
    );
    assert_eq!(world.wire.peek("/version").ok(200)["name"], "countersign");
    let described = world.wire.peek("/openapi.json").ok(200);
    assert!(described["openapi"].as_str().unwrap().starts_with("3.1"));
    // The description contains these paths.
    let paths = described["paths"].as_object().unwrap();
    for path in [
        "/v1/proposals",
        "/v1/authorizations",
        "/v1/receipts/{id}/bundle",
        "/log/checkpoint",
        "/ready",
    ] {
        assert!(paths.contains_key(path), "{path}");
    }
    let registry = world.wire.get("/v1/registry", &world.agent).ok(200);
    let steps: Vec<&str> = registry["steps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| s["ref"].as_str().unwrap())
        .collect();
    assert_eq!(
        steps,
        [
            "each:go",
            "plain:fail",
            "plain:true",
            "plain:wait",
            "say:echo",
            "two:go"
        ]
    );
    let step = world.wire.get("/v1/steps/two:go", &world.agent).ok(200);
    assert_eq!(step["definition"]["ref"], "two:go");
    assert_eq!(
        step["digest"].as_str().unwrap(),
        format!(
            "sha256:{}",
            people::sha256(&people::canonical(&step["definition"]))
        )
    );
}
