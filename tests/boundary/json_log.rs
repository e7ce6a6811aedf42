//! The log of the service as JSON lines, for programs.

use crate::support::people::alice;
use crate::support::{World, exchange, id_of, wait_for};
use serde_json::{Value, json};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

fn logged(format: &str, level: &str) -> World {
    World::with(|setup| {
        setup.config = format!("[log]\nformat = \"{format}\"");
        setup.env("COUNTERSIGN_LOG", level);
    })
}

/// Returns all lines of the log. Each line must be one JSON object.
fn lines(world: &World) -> Vec<Value> {
    let log = world.service_log();
    let lines = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")));
    lines
        .inspect(|line: &Value| {
            assert!(
                line["timestamp"].is_string() && line["level"].is_string(),
                "{line}"
            )
        })
        .collect()
}

/// Returns the lines of requests to this route.
fn requests(world: &World, route: &str) -> Vec<Value> {
    lines(world)
        .into_iter()
        .filter(|line| line["message"] == "request" && line["path"] == route)
        .collect()
}

fn propose_in_trace(world: &World, traceparent: &str) -> Value {
    let mut wish = World::wish("plain:true", json!({}));
    wish["nonce"] = json!(crate::support::people::nonce());
    let bearer = format!("Bearer {}", world.agent);
    let headers = [
        ("authorization", &*bearer),
        ("content-type", "application/json"),
        ("traceparent", traceparent),
    ];
    world
        .wire
        .call(
            "POST",
            "/v1/proposals",
            &headers,
            Some(wish.to_string().as_bytes()),
        )
        .ok(201)
}

#[test]
fn each_json_line_of_a_request_has_its_ids_and_lines_of_a_run_have_proposal_and_step() {
    let mut world = logged("json", "debug");
    let proposal = propose_in_trace(&world, &format!("00-{TRACE}-00f067aa0ba902b7-01"));
    assert_eq!(world.sign(&proposal, &[&alice()]).status, 200);
    world.until(id_of(&proposal), "finished");
    let made = requests(&world, "/v1/proposals");
    let [made] = &*made else { panic!("{made:?}") };
    assert_eq!(
        (&made["method"], &made["status"], &made["principal"]),
        (&json!("POST"), &json!(201), &json!("agent"))
    );
    let span = &made["span"];
    assert_eq!(
        (&span["trace_id"], &span["proposal"], &span["step"]),
        (&json!(TRACE), &proposal["id"], &json!("plain:true"))
    );
    let id = |line: &Value| {
        line["span"]["request_id"]
            .as_str()
            .expect("an id")
            .to_owned()
    };
    let hex = |text: &str| text.len() == 16 && text.bytes().all(|c| c.is_ascii_hexdigit());
    assert!(id(made).strip_prefix("req_").is_some_and(hex), "{made}");
    let signed = requests(&world, "/v1/proposals/{id}/signatures");
    assert_eq!(
        (&signed[0]["span"]["proposal"], &signed[0]["span"]["step"]),
        (&proposal["id"], &json!("plain:true"))
    );
    assert!(
        signed[0]["span"].get("trace_id").is_none() && id(&signed[0]) != id(made),
        "{signed:?}"
    );
    // The run belongs to no request.
    let ran: Vec<Value> = lines(&world)
        .into_iter()
        .filter(|line| line["message"] == "ran")
        .collect();
    assert_eq!(
        (&ran[0]["proposal"], &ran[0]["span"]["proposal"]),
        (&proposal["id"], &proposal["id"])
    );
    assert_eq!(
        (&ran[0]["span"]["step"], ran[0]["span"].get("request_id")),
        (&json!("plain:true"), None)
    );
    // A complete envelope runs within its request.
    let other = world.propose("two:go", json!({}));
    let envelope = crate::support::people::envelope(
        &crate::support::bytes_of(&other),
        &[&alice(), &crate::support::people::bob()],
    );
    assert_eq!(world.submit(&envelope).status, 200);
    let ran: Vec<Value> = lines(&world)
        .into_iter()
        .filter(|line| line["message"] == "ran")
        .collect();
    let submitted = requests(&world, "/v1/authorizations");
    assert_eq!(id(&ran[1]), id(&submitted[0]));
    assert_eq!(
        (&ran[1]["span"]["step"], &ran[1]["span"]["proposal"]),
        (&json!("two:go"), &other["id"])
    );
    // Only the line of a refused request has a code.
    world
        .wire
        .post(
            "/v1/proposals",
            &world.agent,
            &World::wish("plain:true", json!({"x": 1})),
        )
        .problem("invalid-params");
    let made = requests(&world, "/v1/proposals");
    assert_eq!(
        (made[0].get("code"), &made.last().expect("a line")["code"]),
        (None, &json!("invalid-params"))
    );
    // Requests of unknown paths and hosts have an id too.
    world.wire.peek("/nothing").problem("not-found");
    let unknown = requests(&world, "(no route)");
    assert!(!id(&unknown[0]).is_empty());
    world.stop();
    assert!(lines(&world).iter().any(|line| {
        line["message"]
            .as_str()
            .is_some_and(|text| text.starts_with("ended"))
    }));
}

#[test]
fn a_malformed_traceparent_is_ignored_and_never_logged() {
    let world = logged("json", "debug");
    for bad in [
        "canary5108",
        "00-canary5108canary5108canary5108ca-00f067aa0ba902b7-01",
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-canary5108",
    ] {
        propose_in_trace(&world, bad);
    }
    let made = requests(&world, "/v1/proposals");
    assert_eq!(made.len(), 6);
    assert!(
        made.iter()
            .all(|line| line["span"].get("trace_id").is_none()),
        "{made:?}"
    );
    let log = world.service_log();
    assert!(
        !log.contains("canary5108") && !log.to_lowercase().contains(TRACE),
        "{log}"
    );
}

#[test]
fn no_log_line_contains_a_token_a_parameter_a_reason_or_other_text_of_a_request() {
    const CANARY: &str = "canary9326";
    for format in ["json", "text"] {
        let mut world = logged(format, "trace,hyper=off,ureq=off");
        let mut wish = World::wish("say:echo", json!({"text": CANARY}));
        wish["reason"] = json!(CANARY);
        let proposal = world
            .wire
            .post("/v1/proposals", &world.agent, &wish)
            .ok(201);
        assert_eq!(world.sign(&proposal, &[&alice()]).status, 200);
        world.until(id_of(&proposal), "finished");
        let bearer = format!("Bearer cst_{CANARY}");
        world
            .wire
            .get("/v1/registry", &format!("cst_{CANARY}"))
            .problem("unauthenticated");
        world.wire.call(
            "GET",
            "/v1/registry",
            &[("authorization", &bearer), ("traceparent", CANARY)],
            None,
        );
        world
            .wire
            .peek(&format!("/ready?{CANARY}={CANARY}"))
            .problem("malformed");
        world
            .wire
            .peek(&format!("/{CANARY}/{CANARY}"))
            .problem("not-found");
        world
            .wire
            .post_bytes("/v1/proposals", &world.agent, CANARY.as_bytes())
            .problem("malformed");
        world
            .wire
            .post(
                "/v1/proposals",
                &world.agent,
                &World::wish(&format!("{CANARY}:x"), json!({})),
            )
            .problem("unknown-step");
        // The line of a refused request names its Host, unless it is a token or no host.
        for host in [
            format!("cst_{CANARY}"),
            "x".repeat(261) + CANARY,
            format!("\u{fc}{CANARY}"),
        ] {
            exchange(
                &world.wire,
                format!("GET / HTTP/1.1\r\nHost: {host}\r\nx: {CANARY}\r\n\r\n").as_bytes(),
            );
        }
        exchange(
            &world.wire,
            format!("cst_{CANARY} / HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes(),
        );
        world.stop();
        let log = world.service_log();
        assert!(log.contains("request"), "{log}");
        for secret in [CANARY, &*world.agent, &*world.reader, "cst_"] {
            assert!(!log.contains(secret), "{format}: {secret}: {log}");
        }
    }
}

#[test]
fn a_request_with_an_unknown_method_is_logged_as_other_and_changes_nothing() {
    let world = logged("json", "debug");
    let host = world.wire.address();
    for method in ["PROPFIND".to_owned(), "get".to_owned(), "A".repeat(30_000)] {
        let answer = exchange(
            &world.wire,
            format!("{method} /v1/proposals HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes(),
        );
        assert!(answer.starts_with("HTTP/1.1 405"), "{answer}");
    }
    world.wire.call("PATCH", "/v1/proposals", &[], None);
    let all: Vec<Value> = lines(&world)
        .into_iter()
        .filter(|line| line["message"] == "request")
        .collect();
    let of = |method: &str| {
        all.iter()
            .filter(|line| line["method"] == method)
            .collect::<Vec<_>>()
    };
    assert!(
        of("(other)").iter().all(|line| line["level"] == "DEBUG"),
        "{all:?}"
    );
    assert_eq!(
        (of("(other)").len(), of("PATCH")[0]["level"].as_str()),
        (3, Some("INFO")),
        "{all:?}"
    );
    assert!(world.service_log().lines().all(|line| line.len() < 1000));
}

#[test]
fn the_text_format_has_no_ids_of_requests_and_no_spans() {
    let world = logged("text", "debug");
    let proposal = propose_in_trace(&world, &format!("00-{TRACE}-00f067aa0ba902b7-01"));
    assert_eq!(world.sign(&proposal, &[&alice()]).status, 200);
    world.until(id_of(&proposal), "finished");
    let mut log = String::new();
    wait_for("the run is logged", || {
        log = world.service_log();
        log.contains(" ran ")
    });
    let lines: Vec<&str> = log.lines().collect();
    let request = lines
        .iter()
        .find(|line| line.contains("path=\"/v1/proposals\""))
        .expect("a line");
    let (_, after) = request.split_once(" INFO ").expect("a level");
    assert!(
        after
            .trim_start()
            .starts_with("request method=POST path=\"/v1/proposals\" status=201 us="),
        "{request}"
    );
    assert!(after.ends_with("principal=\"agent\""), "{request}");
    let ran = lines
        .iter()
        .find(|line| line.contains(" ran "))
        .expect("a line");
    let (_, after) = ran.split_once(" INFO ").expect("a level");
    assert!(
        after
            .trim_start()
            .starts_with(&format!("ran proposal={} end=", id_of(&proposal))),
        "{ran}"
    );
    assert!(
        !log.contains("req_")
            && !log.contains(TRACE)
            && !log.contains("request{")
            && !log.contains("run{"),
        "{log}"
    );
}
