//! `/metrics`: who may read them, that each is documented, and that the numbers are true.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::support::people::{self, alice, bob, unreachable_witness};
use crate::support::wire::{Reply, Wire};
use crate::support::{World, assert_says, exchange, id_of, not_run, said, wait_for};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// A world with a listener for metrics.
fn monitored(change: impl FnOnce(&mut crate::support::Setup)) -> World {
    World::with(|setup| {
        setup.config = "[metrics]\nlisten = \"127.0.0.1:0\"".to_owned();
        change(setup);
    })
}

/// Returns the listener for metrics.
fn listener(world: &World) -> Wire {
    Wire::new(
        world.started["metrics"]
            .as_str()
            .expect("a URL")
            .trim_end_matches("/metrics"),
    )
}

fn scrape(world: &World) -> BTreeMap<String, f64> {
    listener(world).peek("/metrics").samples()
}

/// Returns the samples of one metric, by the value of its only label, without samples of value 0.
fn by_label(samples: &BTreeMap<String, f64>, metric: &str) -> BTreeMap<String, u64> {
    let of_metric = samples.iter().filter_map(|(sample, value)| {
        let labels = sample.strip_prefix(metric)?.strip_prefix('{')?;
        let (_, label) = labels.trim_end_matches('}').split_once('=')?;
        Some((label.trim_matches('"').to_owned(), *value as u64))
    });
    of_metric.filter(|(_, value)| *value > 0).collect()
}

#[test]
fn metrics_need_a_token_with_the_scope_read_for_all_steps() {
    let world = World::new();
    let limited = world.token_for("limited", &[], &["read"], &["plain:*"]);
    let operator = world.token("operator", &[], &["operate"]);
    world.wire.peek("/metrics").problem("unauthenticated");
    world
        .wire
        .get("/metrics", "cst_wrong")
        .problem("unauthenticated");
    for token in [&world.agent, &operator, &limited] {
        world.wire.get("/metrics", token).problem("forbidden");
    }
    assert_says(
        world.wire.get("/metrics", &limited).text(),
        "limited to some steps",
    );
    let reply = world.wire.get("/metrics", &world.reader);
    let media = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert_eq!(
        (reply.status, reply.header("content-type")),
        (200, Some(media))
    );
    assert_eq!(
        (
            reply.header("cache-control"),
            reply.header("x-content-type-options")
        ),
        (Some("no-store"), Some("nosniff"))
    );
    let samples = reply.samples();
    assert_eq!(
        samples["countersign_http_requests_total{route=\"/metrics\",code=\"403\"}"], 4.0,
        "{samples:#?}"
    );
    assert_eq!(
        by_label(&samples, "countersign_refusals_total")["forbidden"],
        4
    );
    world
        .wire
        .get("/metrics?token=x", &world.reader)
        .problem("malformed");
    let head = world.wire.call(
        "HEAD",
        "/metrics",
        &[("authorization", &format!("Bearer {}", world.reader))],
        None,
    );
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(
        world.started["metrics"],
        Value::Null,
        "no second listener is the default"
    );
}

#[test]
fn the_metrics_listener_answers_only_metrics_and_only_under_its_own_host_names() {
    let world = monitored(|setup| setup.config.insert_str(0, "hosts = [\"box.lan\"]\n"));
    let own = listener(&world);
    assert!(!own.peek("/metrics").samples().is_empty());
    let head = own.call("HEAD", "/metrics", &[], None);
    assert_eq!((head.status, head.body.len()), (200, 0));
    for path in [
        "/",
        "/ready",
        "/v1/proposals",
        "/metrics/",
        "/metrics/x",
        "/log/checkpoint",
        "/openapi.json",
    ] {
        own.get(path, &world.reader).problem("not-found");
    }
    for method in ["POST", "PUT", "DELETE"] {
        let reply = own.call(method, "/metrics", &[], Some(b"x"));
        assert_eq!(
            (reply.status, reply.json()["type"].as_str()),
            (405, Some("about:blank")),
            "{method}"
        );
    }
    let port = own.address().rsplit_once(':').expect("a port").1;
    for (host, status) in [
        (format!("localhost:{port}"), 200),
        ("box.lan".to_owned(), 200),
        ("attacker.example".to_owned(), 403),
        (format!("attacker.example:{port}"), 403),
        (world.wire.address().to_owned(), 403),
    ] {
        let answer = exchange(
            &own,
            format!("GET /metrics HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes(),
        );
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{host}: {answer}"
        );
    }
    let origin = format!(
        "GET /metrics HTTP/1.1\r\nHost: localhost:{port}\r\nOrigin: http://attacker.example\r\n\r\n"
    );
    assert!(exchange(&own, origin.as_bytes()).starts_with("HTTP/1.1 403"));
    for garbage in [
        &b"\x16\x03\x01\x02\x00\x01\x00"[..],
        b"\r\n\r\n\r\n",
        b"GET\r\n\r\n",
        &[b'x'; 100_000],
    ] {
        let answer = exchange(&own, garbage);
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 4"),
            "{answer}"
        );
    }
    assert!(!own.peek("/metrics").samples().is_empty());
    world.wire.peek("/health").ok(200);
}

#[test]
fn scrapers_that_never_read_delay_neither_other_scrapers_nor_the_http_interface() {
    let mut world = monitored(|_| {});
    let own = listener(&world);
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {}\r\n\r\n", own.address());
    let connect = || {
        let stream = TcpStream::connect(own.address()).expect("a connection");
        stream.set_nonblocking(true).expect("nonblocking");
        stream
    };
    // The answers to these requests are larger than the buffers of a connection.
    let mut stalled: Vec<TcpStream> = (0..8)
        .map(|_| {
            let mut stream = connect();
            let _ = stream.write_all(request.repeat(400).as_bytes());
            stream
        })
        .collect();
    for _ in 0..20 {
        assert!(!own.peek("/metrics").samples().is_empty());
    }
    // There are more connections than places. The oldest idle connection gives its place to a new one.
    for _ in 0..40 {
        stalled.push(connect());
        assert_eq!(
            own.peek("/metrics").status,
            200,
            "{} connections",
            stalled.len()
        );
    }
    world.wire.peek("/ready").ok(200);
    world.run("plain:true", json!({}), &[&alice()]);
    drop(stalled);
    assert_eq!(own.peek("/metrics").status, 200);
    world.stop();
}

#[test]
fn every_metric_is_in_the_file_of_alerts_and_each_metric_of_this_file_is_scraped() {
    let Some(python) = std::env::var_os("COUNTERSIGN_PYTHON") else {
        return not_run(
            "every_metric_is_in_the_file_of_alerts_and_each_metric_of_this_file_is_scraped",
            "COUNTERSIGN_PYTHON names no Python that has prometheus-client; scripts/test sets it",
        );
    };
    let world = monitored(|setup| {
        setup.roster = unreachable_witness("witness.example/w1");
        setup.config.push_str(
            "\n[[notify]]\nname = \"x\"\nkind = \"slack\"\nurl = \"http://127.0.0.1:9/\"\n",
        );
    });
    world.run("plain:true", json!({}), &[&alice()]);
    let text = listener(&world).peek("/metrics").text();
    let mut parser = Command::new(python)
        .arg(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/tools/metrics.py"
        ))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("Python");
    parser
        .stdin
        .take()
        .expect("a pipe")
        .write_all(text.as_bytes())
        .expect("written");
    let parsed = parser.wait_with_output().expect("it ends");
    assert!(
        parsed.status.success(),
        "{}\n{text}",
        String::from_utf8_lossy(&parsed.stderr)
    );
    let families: Vec<Value> = serde_json::from_slice(&parsed.stdout).expect("JSON");
    let (mut scraped, mut labels) = (BTreeSet::new(), BTreeSet::new());
    for family in &families {
        let (name, kind) = (
            family["name"].as_str().expect("a name"),
            family["type"].as_str().expect("a type"),
        );
        assert!(
            family["help"].as_str().is_some_and(|help| help.len() > 15),
            "{family:#}"
        );
        let suffix = match kind {
            "counter" => "_total",
            "info" => "_info",
            _ => "",
        };
        scraped.insert(format!("{name}{suffix}"));
        for sample in family["samples"].as_array().expect("samples") {
            let of_sample = sample[1].as_object().expect("labels").keys();
            labels.extend(of_sample.map(|label| format!("{name}{suffix}{{{label}=")));
        }
    }
    let alerts = std::fs::read_to_string(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/examples/prometheus/alerts.yml"
    ))
    .expect("the alerts");
    // An alert with a wrong label never fires.
    let wrong: Vec<&str> = alerts
        .split(|c: char| c.is_whitespace() || c == '(')
        .filter_map(|word| word.split_inclusive('=').next())
        .filter(|word| word.starts_with("countersign_") && word.contains('{'))
        .filter(|word| !labels.contains(&word.replace('~', "")))
        .collect();
    assert!(wrong.is_empty(), "{wrong:?} not in {labels:?}");
    let known: BTreeSet<String> = alerts
        .split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .filter(|word| word.starts_with("countersign_"))
        .map(|word| word.trim_end_matches("_bucket").to_owned())
        // tests/boundary/tls/renewal.rs, node_reports.rs and data_growth.rs read these metrics.
        .filter(|word| {
            !["certificate_", "node_", "growth_"]
                .iter()
                .any(|name| word[12..].starts_with(name))
        })
        .collect();
    assert!(known.len() > 20, "{known:#?}");
    let unknown: Vec<_> = scraped.difference(&known).collect();
    let missing: Vec<_> = known.difference(&scraped).collect();
    assert_eq!(
        (unknown, missing),
        (Vec::new(), Vec::new()),
        "(not in examples/prometheus/alerts.yml, not in the scrape)"
    );
}

#[test]
fn gauges_show_the_state_at_the_scrape_also_after_a_crash() {
    let mut world = monitored(|setup| {
        setup.limits = "runs = 1".to_owned();
        setup.roster = unreachable_witness("witness.example/w1");
    });
    let mut propose = |step| world.propose(step, json!({}));
    let [running, held, pending] = ["plain:wait", "plain:true", "two:go"].map(&mut propose);
    assert_eq!(world.sign(&running, &[&alice()]).status, 200);
    world.until(id_of(&running), "running");
    assert_eq!(world.sign(&held, &[&alice()]).status, 200);
    wait_for("the second run is held up", || {
        world.show(id_of(&held)).get("held_up").is_some()
    });
    let now = scrape(&world);
    let waiting = by_label(&now, "countersign_proposals_waiting");
    assert_eq!(
        waiting,
        BTreeMap::from([("pending".to_owned(), 1), ("approved".to_owned(), 1)])
    );
    assert_eq!(
        by_label(&now, "countersign_runs_held_up"),
        BTreeMap::from([("busy".to_owned(), 1)])
    );
    assert_eq!(
        now["countersign_runs_held_up{code=\"sandbox-unavailable\"}"],
        0.0
    );
    assert_eq!(now["countersign_runs_active"], 1.0);
    let bounds = by_label(&now, "countersign_seal_bound_percent");
    let names: Vec<&str> = bounds.keys().map(String::as_str).collect();
    let all = [
        "bundle",
        "roster",
        "roster_payloads",
        "roster_versions",
        "rosters",
        "steps",
        "tokens",
    ];
    assert_eq!(names, all);
    assert!(
        bounds.values().all(|used| (1..80).contains(used)),
        "{bounds:?}"
    );
    assert_eq!(now["countersign_log_entries"], world.log_size() as f64);
    assert_eq!(
        (
            now["countersign_seal_number"],
            now["countersign_roster_version"]
        ),
        (world.seal() as f64, 1.0)
    );
    assert!(
        now["countersign_store_bytes"] > 4096.0 && now["countersign_store_free_bytes"] > 1e6,
        "{now:#?}"
    );
    assert!(
        now["countersign_clock_ahead_seconds"].abs() < 60.0
            && now["countersign_checkpoint_age_seconds"] < 30.0
    );
    assert_eq!(now["countersign_build_info{version=\"0.2.0\"}"], 1.0);
    let strict = world.started["sandbox"] == "strict";
    let layers = by_label(&now, "countersign_sandbox_layer");
    assert_eq!(layers.len() == 6, strict, "{layers:?}");
    assert!(
        now.contains_key("countersign_witness_age_seconds{witness=\"witness.example/w1\"}"),
        "{now:#?}"
    );
    wait_for("the age of the oldest approved run grows", || {
        scrape(&world)["countersign_oldest_approved_seconds"] > 0.0
    });
    wait_for("the witness falls behind", || {
        scrape(&world)["countersign_witness_age_seconds{witness=\"witness.example/w1\"}"] > 0.0
    });
    // The run without an end gets the outcome `unknown`. Then the next run starts.
    world.kill9();
    world.start();
    world.until(id_of(&held), "finished");
    let now = scrape(&world);
    assert_eq!(
        by_label(&now, "countersign_proposals_waiting"),
        BTreeMap::from([("pending".to_owned(), 1)])
    );
    assert_eq!(
        (
            now["countersign_runs_active"],
            now["countersign_oldest_approved_seconds"]
        ),
        (0.0, 0.0)
    );
    assert_eq!(by_label(&now, "countersign_runs_held_up"), BTreeMap::new());
    let outcomes = BTreeMap::from([("unknown".to_owned(), 1), ("succeeded".to_owned(), 1)]);
    assert_eq!(by_label(&now, "countersign_crossings_total"), outcomes);
    assert_eq!(now["countersign_unknown_total"], 1.0);
    world
        .wire
        .post(
            &format!("/v1/proposals/{}/cancellation", id_of(&pending)),
            &world.agent,
            &json!({}),
        )
        .ok(200);
    assert_eq!(
        by_label(&scrape(&world), "countersign_proposals_waiting"),
        BTreeMap::new()
    );
}

/// The answers that the clients of a test saw, by what they mean for the metrics.
#[derive(Default)]
struct Seen {
    /// HTTP answers by route and status.
    answers: BTreeMap<(&'static str, u16), u64>,
    /// Refusals by code.
    refusals: BTreeMap<String, u64>,
    /// Proposals that reached a status.
    statuses: BTreeMap<String, u64>,
}

impl Seen {
    fn note(&mut self, route: &'static str, reply: &Reply) {
        *self.answers.entry((route, reply.status)).or_default() += 1;
        if reply.status >= 400 {
            let kind = reply.json()["type"].as_str().expect("a type").to_owned();
            *self
                .refusals
                .entry(kind.trim_start_matches("/problems/").to_owned())
                .or_default() += 1;
        }
    }

    fn reached(&mut self, status: &str) {
        *self.statuses.entry(status.to_owned()).or_default() += 1;
    }
}

#[test]
fn the_counters_equal_what_64_clients_saw_and_never_decrease() {
    const PROPOSE: &str = "/v1/proposals";
    const SIGN: &str = "/v1/proposals/{id}/signatures";
    const CANCEL: &str = "/v1/proposals/{id}/cancellation";
    const DENY: &str = "/v1/proposals/{id}/denial";
    // The wrong tokens would use up the rate limit of callers without a token, and some runs would not get signatures.
    let limits = "pending_per_proposer = 1000\ncalls_per_second = 100000";
    let world = monitored(|setup| setup.limits = limits.to_owned());
    let began = scrape(&world);
    let seen = Mutex::new(Seen::default());
    let note = |route, reply: &Reply| seen.lock().expect("a lock").note(route, reply);
    let reached = |status: &str| seen.lock().expect("a lock").reached(status);
    let over = AtomicBool::new(false);
    let client = |number: usize| {
        // The client sends a wrong token, an unknown step, and an invalid body.
        note(PROPOSE, &world.wire.post(PROPOSE, "cst_wrong", &json!({})));
        note(
            PROPOSE,
            &world
                .wire
                .post(PROPOSE, &world.agent, &World::wish("plain:none", json!({}))),
        );
        note(PROPOSE, &world.wire.post_bytes(PROPOSE, &world.agent, b"{"));
        let mut wish = World::wish(
            ["plain:true", "plain:fail", "two:go"][number % 3],
            json!({}),
        );
        wish["nonce"] = json!(people::nonce());
        let made = world.wire.post(PROPOSE, &world.agent, &wish);
        note(PROPOSE, &made);
        if made.status != 201 {
            return;
        }
        reached("pending");
        let proposal = made.json();
        match number % 4 {
            0 => {
                let path = format!("/v1/proposals/{}/cancellation", id_of(&proposal));
                for _ in 0..2 {
                    let cancelled = world.wire.post(&path, &world.agent, &json!({}));
                    note(CANCEL, &cancelled);
                    if cancelled.status == 200 && cancelled.json()["status"] == "cancelled" {
                        reached("cancelled");
                    }
                }
            }
            1 => {
                let denied = world.deny(&proposal, &alice());
                note(DENY, &denied);
                if denied.status < 300 {
                    reached("denied");
                }
            }
            _ => {
                let mut wrong = proposal.clone();
                wrong["payload"] = json!(STANDARD.encode(b"{}"));
                note(SIGN, &world.sign(&wrong, &[&alice()]));
                let signed = world.sign(&proposal, &[&alice(), &bob()]);
                note(SIGN, &signed);
                if signed.status == 200 {
                    reached("approved");
                }
            }
        }
    };
    std::thread::scope(|scope| {
        let scraper = scope.spawn(|| {
            let mut before = began.clone();
            let mut scrapes = 0;
            while !over.load(Ordering::SeqCst) {
                let now = scrape(&world);
                assert_no_decrease(&before, &now);
                before = now;
                scrapes += 1;
            }
            scrapes
        });
        // The scraper also ends if this test fails.
        let end = AtEnd(&over);
        let clients: Vec<_> = (0..64)
            .map(|number| scope.spawn(move || client(number)))
            .collect();
        let ended: Vec<_> = clients.into_iter().map(|client| client.join()).collect();
        wait_for("all runs have ended", || world.list("open").is_empty());
        drop(end);
        assert!(ended.into_iter().all(|client| client.is_ok()));
        assert!(scraper.join().expect("no counter decreased") > 3);
    });
    let now = scrape(&world);
    let mut seen = seen.into_inner().expect("a lock");
    let mut outcomes: BTreeMap<String, u64> = BTreeMap::new();
    for (_, receipt) in world.log().iter().filter(|(kind, _)| kind == "receipt") {
        let outcome = receipt["predicate"]["outcome"]["status"]
            .as_str()
            .expect("a status");
        *outcomes.entry(outcome.to_owned()).or_default() += 1;
        seen.reached("running");
        seen.reached("finished");
    }
    assert!(
        outcomes["succeeded"] > 5 && outcomes["failed"] > 5,
        "{outcomes:?}"
    );
    assert_eq!(by_label(&now, "countersign_crossings_total"), outcomes);
    assert_eq!(by_label(&now, "countersign_proposals_total"), seen.statuses);
    // The check of the log and of the open proposals sends requests that are not refused.
    assert!(seen.refusals.len() > 3, "{:?}", seen.refusals);
    assert_eq!(by_label(&now, "countersign_refusals_total"), seen.refusals);
    for ((route, code), count) in &seen.answers {
        let sample =
            format!("countersign_http_requests_total{{route=\"{route}\",code=\"{code}\"}}");
        // `list` also reads the route of the proposals.
        let count = if (*route, *code) == (PROPOSE, 200) {
            continue;
        } else {
            *count
        };
        assert_eq!(now.get(&sample), Some(&(count as f64)), "{sample}");
    }
    let runs: u64 = outcomes.values().sum();
    for stage in ["verify", "consume", "run", "receipt"] {
        let count = now[&format!("countersign_crossing_seconds_count{{stage=\"{stage}\"}}")] as u64;
        // The state may change after a verdict. The crossing then verifies the envelope again.
        assert!(
            if stage == "verify" {
                count >= runs
            } else {
                count == runs
            },
            "{stage}: {count} of {runs}"
        );
    }
    let batches = now["countersign_log_batch_seconds_count"];
    assert!(
        batches > 0.0 && now["countersign_log_batch_messages_sum"] >= batches,
        "{now:#?}"
    );
    world.assert_audited();
}

struct AtEnd<'a>(&'a AtomicBool);

impl Drop for AtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Asserts that no counter of `before` is gone or smaller. The samples of a histogram are counters too.
fn assert_no_decrease(before: &BTreeMap<String, f64>, now: &BTreeMap<String, f64>) {
    for (sample, value) in before {
        let name = sample.split('{').next().expect("a name");
        if ["_total", "_count", "_sum", "_bucket"]
            .iter()
            .any(|suffix| name.ends_with(suffix))
        {
            assert!(
                now.get(sample).is_some_and(|now| now >= value),
                "{sample}: {value}, then {:?}",
                now.get(sample)
            );
        }
    }
}

#[test]
fn no_label_of_a_metric_contains_text_of_a_request() {
    const CANARY: &str = "canary7061";
    let world = monitored(|_| {});
    let step = format!("{CANARY}:true");
    let mut wish = World::wish("plain:true", json!({CANARY: CANARY}));
    wish["reason"] = json!(CANARY);
    world
        .wire
        .post("/v1/proposals", &world.agent, &wish)
        .problem("invalid-params");
    world
        .wire
        .post(
            "/v1/proposals",
            &world.agent,
            &World::wish(&step, json!({})),
        )
        .problem("unknown-step");
    let named = world.token(CANARY, &["carol"], &["propose"]);
    let mut wish = World::wish("say:echo", json!({"text": CANARY}));
    wish["reason"] = json!(CANARY);
    let proposal = world.wire.post("/v1/proposals", &named, &wish).ok(201);
    assert_eq!(world.sign(&proposal, &[&alice()]).status, 200);
    world.until(id_of(&proposal), "finished");
    world.wire.peek(&format!("/{CANARY}")).problem("not-found");
    world
        .wire
        .get(&format!("/v1/steps/{CANARY}:x"), &world.reader)
        .problem("unknown-step");
    exchange(
        &world.wire,
        format!("{CANARY} /v1/proposals HTTP/1.1\r\nHost: {CANARY}\r\n\r\n").as_bytes(),
    );
    exchange(
        &world.wire,
        format!("GET / HTTP/1.1\r\nHost: {CANARY}\r\n{CANARY}: {CANARY}\r\n\r\n").as_bytes(),
    );
    let text = listener(&world).peek("/metrics").text();
    for word in [CANARY, "agent", "alice", "say", "plain", id_of(&proposal)] {
        assert!(!text.contains(word), "{word}: {text}");
    }
    // A request with an unknown method or path adds no label.
    let routes: BTreeSet<&str> = text
        .split("route=\"")
        .skip(1)
        .filter_map(|rest| rest.split('"').next())
        .collect();
    let known: BTreeSet<&str> = boundary::routes().map(|route| route.path).collect();
    let unknown: Vec<_> = routes.difference(&known).collect();
    assert_eq!(unknown, [&"(no route)"]);
}

#[test]
fn refused_connections_are_counted_and_reported_once_a_minute() {
    // A quarter of the files are connections.
    let world = monitored(|setup| {
        setup.before = ["prlimit", "--nofile=256:256"].map(str::to_owned).to_vec()
    });
    let name = "countersign_connections_refused_total";
    assert_eq!(scrape(&world)[name], 0.0);
    // Each of these connections has a request in progress, whose body does not end.
    let head = format!(
        "POST /v1/proposals HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n\
         Content-Length: 100\r\n\r\n{{",
        world.wire.address(),
        world.agent
    );
    let connect = || {
        let mut stream = TcpStream::connect(world.wire.address()).expect("connected");
        // A refused connection can be closed already.
        let _ = stream.write_all(head.as_bytes());
        stream
    };
    let mut held: Vec<TcpStream> = (0..64).map(|_| connect()).collect();
    std::thread::sleep(std::time::Duration::from_millis(500));
    held.extend((0..16).map(|_| connect()));
    let is_refused = |mut stream: &TcpStream| {
        stream
            .set_read_timeout(Some(std::time::Duration::from_secs(9)))
            .expect("a deadline");
        stream.read(&mut [0; 12]).is_ok_and(|length| length > 0)
    };
    assert!(held[64..].iter().all(is_refused));
    // A connection of the start may not have ended before these connections.
    assert!(
        (16.0..30.0).contains(&scrape(&world)[name]),
        "{}",
        scrape(&world)[name]
    );
    let log = world.service_log();
    assert_eq!(log.matches("refused a connection").count(), 1, "{log}");
    assert!(log.contains("WARN") && log.contains("most=64"), "{log}");
}

/// Connections that send nothing, a part of a head, or a request and then nothing, give their places to later connections.
#[test]
fn idle_connections_keep_nobody_out() {
    let world = monitored(|setup| {
        setup.before = ["prlimit", "--nofile=256:256"].map(str::to_owned).to_vec()
    });
    let whole = format!(
        "GET /health HTTP/1.1\r\nHost: {}\r\n\r\n",
        world.wire.address()
    );
    for sent in ["", "GET /health HT", whole.as_str()] {
        let connect = |_| {
            let mut stream = TcpStream::connect(world.wire.address()).expect("connected");
            stream.write_all(sent.as_bytes()).expect("sent");
            stream
        };
        let held: Vec<TcpStream> = (0..200).map(connect).collect();
        for _ in 0..20 {
            assert_eq!(world.wire.peek("/health").status, 200, "{sent:?}");
        }
        drop(held);
    }
    // Each of the three rounds has 136 connections too many. A busy machine may have 64 requests in progress for a moment.
    assert!(scrape(&world)["countersign_connections_refused_total"] < 10.0);
}

#[test]
fn a_start_that_cannot_listen_names_the_address_and_begins_no_log() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let for_metrics =
        World::prepared(|setup| setup.config = format!("[metrics]\nlisten = \"{address}\""));
    let main = World::prepared(|setup| setup.listen = address.clone());
    let mut refused = [for_metrics, main].map(|mut world| {
        assert_says(
            world.try_start().expect_err("the port is taken"),
            &format!("can't listen on {address}"),
        );
        world
    });
    // Other commands do not begin the log either. An edited roster is still version 1.
    for world in &refused {
        for words in [
            &["token", "list", "--config"][..],
            &["roster", "set", "--config"],
        ] {
            let output = world
                .program(words)
                .arg(world.path("b"))
                .output()
                .expect("a command");
            assert!(output.status.success(), "{words:?}: {}", said(&output));
        }
        assert!(
            !world.path("b/boundary/checkpoint").exists()
                && !world.path("b/boundary/control.sock").exists()
        );
    }
    drop(taken);
    // The start that begins the log tells the operator to send the digest of the roster.
    for world in &mut refused {
        world.start();
        assert_eq!(world.started["first"], json!(true), "{}", world.started);
        world.stop();
    }
}
