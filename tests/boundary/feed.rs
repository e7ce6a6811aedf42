//! The events of the whole boundary: what they contain, who sees them, and that none is lost.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::grants::bearer;
use crate::support::people::{alice, bob, frank, key_revocation, oscar, revocation, sha256};
use crate::support::{World, id_of};

/// Returns the kinds of all stored events of a proposal, up to the last of `most` events.
fn kinds(world: &World, after: u64, most: usize) -> Vec<String> {
    let events = world
        .wire
        .feed(&format!("?after={after}"), &world.reader)
        .take(most);
    events
        .map(|event| event["kind"].as_str().expect("a kind").to_owned())
        .collect()
}

pub(crate) fn newest(world: &World) -> u64 {
    let refused = world
        .wire
        .get("/v1/events?after=99999999", &world.reader)
        .problem("not-found");
    let words = refused["detail"].as_str().expect("words");
    let (_, rest) = words.split_once("the newest is ").expect("a number");
    rest.split_once(')')
        .expect("the end")
        .0
        .parse()
        .expect("a number")
}

fn freeze(world: &World) {
    let boundary = world.boundary();
    let epoch = sha256(boundary["epoch"].as_str().expect("an epoch").as_bytes());
    let payload = revocation(&boundary, "epoch", &epoch);
    world
        .wire
        .post(
            "/v1/revocations",
            "",
            &crate::support::people::envelope(&payload, &[&frank()]),
        )
        .ok(200);
}

#[test]
fn each_change_is_an_event_in_the_order_of_the_commits_without_parameters_reason_and_output() {
    let world = World::new();
    let begin = newest(&world);
    let finished = world.run("say:echo", json!({"text": "a secret word"}), &[&alice()]);
    let denied = world.propose("two:go", json!({"text": "a secret word"}));
    world.deny(&denied, &bob()).ok(200);
    let cancelled = world.propose("plain:wait", json!({}));
    world
        .wire
        .post(
            &format!("/v1/proposals/{}/cancellation", id_of(&cancelled)),
            &world.agent,
            &json!({}),
        )
        .ok(200);
    let payload = key_revocation(&world.boundary(), &alice());
    world
        .wire
        .post(
            "/v1/revocations",
            "",
            &crate::support::people::envelope(&payload, &[&oscar()]),
        )
        .ok(200);
    freeze(&world);
    let thawed = world
        .boundary_command(&["thaw", "--yes", "--config"])
        .arg(world.path("b"))
        .output()
        .expect("thaw");
    assert!(thawed.status.success());
    let expected = [
        "proposal.pending",
        "proposal.signed",
        "proposal.approved",
        "proposal.running",
        "proposal.finished",
        "proposal.pending",
        "proposal.denied",
        "proposal.pending",
        "proposal.cancelled",
        "revocation",
        "frozen",
        "thawed",
    ];
    let events: Vec<Value> = world
        .wire
        .feed(&format!("?after={begin}"), &world.reader)
        .take(expected.len())
        .collect();
    let found: Vec<&str> = events
        .iter()
        .map(|event| event["kind"].as_str().expect("a kind"))
        .collect();
    assert_eq!(found, expected);
    for (place, event) in events.iter().enumerate() {
        assert_eq!(event["seq"], begin + 1 + place as u64, "{event}");
        assert!(!event.to_string().contains("secret word"), "{event}");
    }
    assert_eq!(
        events[1]["signed"],
        json!({"person": "alice", "keyid": alice().keyid()}),
        "{}",
        events[1]
    );
    assert_eq!(events[4]["proposal"], finished["id"]);
    assert_eq!(
        (
            &events[4]["outcome"],
            &events[4]["step"],
            &events[4]["proposer"]
        ),
        (&json!("succeeded"), &json!("say:echo"), &json!("agent"))
    );
    assert_eq!(
        events[9]["subject"],
        json!({"key": alice().keyid()}),
        "{}",
        events[9]
    );
    assert!(
        events[10]["entry"].as_u64() > events[9]["entry"].as_u64(),
        "{}",
        events[10]
    );
}

#[test]
fn a_reader_that_comes_back_misses_nothing_also_after_a_kill() {
    let mut world = World::new();
    let begin = newest(&world);
    let _ = world.run("plain:true", json!({}), &[&alice()]);
    let first: Vec<Value> = world
        .wire
        .feed(&format!("?after={begin}"), &world.reader)
        .take(3)
        .collect();
    let last = first[2]["seq"].as_u64().expect("a number");
    world.kill9();
    world.start();
    let rest = world
        .wire
        .stream("/v1/events", &world.reader, "text/event-stream", last);
    let text: Vec<String> = rest.lines().map_while(Result::ok).take(6).collect();
    assert_eq!(text[0], format!("id: {}", last + 1));
    assert_eq!(text[1], "event: proposal.running");
    assert_eq!(text[5], "event: proposal.finished");
    // New events come while the reader waits.
    let mut live = world.wire.feed("", &world.reader);
    let proposal = world.propose("plain:wait", json!({}));
    assert_eq!(live.next().expect("an event")["proposal"], proposal["id"]);
}

#[test]
fn a_caller_sees_only_the_events_that_its_rights_cover() {
    let world = World::new();
    let begin = newest(&world);
    let own = world.token_for("own", &["bob"], &["propose"], &[]);
    let some = world.token_for("some", &["bob"], &["read"], &["two:*"]);
    let one = world.propose("plain:wait", json!({}));
    let two = world.propose("two:go", json!({}));
    let three = world
        .wire
        .post("/v1/proposals", &own, &World::wish("say:echo", json!({})))
        .ok(201);
    freeze(&world);
    let first = |token: &str| {
        let event = world
            .wire
            .feed(&format!("?after={begin}"), token)
            .next()
            .expect("an event");
        event["proposal"].as_str().map(str::to_owned)
    };
    // Each new token is a seal.
    assert_eq!(
        kinds(&world, begin, 3),
        ["seal", "seal", "proposal.pending"]
    );
    assert_eq!(first(&own).as_deref(), three["id"].as_str());
    assert_eq!(first(&some).as_deref(), two["id"].as_str());
    assert_eq!(first(&world.agent).as_deref(), one["id"].as_str());
    // The freeze ends each proposal, and these tokens see only the end of theirs.
    let of = |token: &str| -> Vec<Value> {
        world
            .wire
            .feed(&format!("?after={begin}"), token)
            .take(2)
            .collect()
    };
    for (token, proposal) in [(&own, &three), (&some, &two)] {
        let events = of(token);
        assert_eq!(
            (&events[1]["kind"], &events[1]["proposal"]),
            (&json!("proposal.refused"), &proposal["id"])
        );
        assert_eq!(events[1]["code"], "revoked");
    }
    world.wire.peek("/v1/events").problem("unauthenticated");
}

#[test]
fn for_me_are_the_proposals_that_my_signature_can_move() {
    let world = World::new();
    let begin = newest(&world);
    let (ops, security, finance) = (
        bearer(&world, &alice()),
        bearer(&world, &bob()),
        bearer(&world, &frank()),
    );
    let plain = world.propose("plain:wait", json!({}));
    let two = world.propose("two:go", json!({}));
    world.sign(&two, &[&alice()]).ok(200);
    let ended = world.propose("plain:true", json!({}));
    world.deny(&ended, &alice()).ok(200);
    let last = world.propose("each:go", json!({}));
    let of = |token: &str, most| -> Vec<Value> {
        let events = world
            .wire
            .feed(&format!("?after={begin}&for=me"), token)
            .take(most);
        events.map(|event| event["proposal"].clone()).collect()
    };
    // Alice has signed `two`, which is the event about her signature, and has denied one.
    assert_eq!(
        of(&ops, 3),
        [plain["id"].clone(), two["id"].clone(), last["id"].clone()]
    );
    assert_eq!(
        of(&security, 3),
        [plain["id"].clone(), two["id"].clone(), last["id"].clone()]
    );
    // Frank is in no group of these steps, so the first event that concerns him is the freeze.
    freeze(&world);
    assert_eq!(of(&finance, 1), [Value::Null]);
    world
        .wire
        .get("/v1/events?for=me", &world.agent)
        .problem("forbidden");
    for (query, words) in [
        ("?for=you", "only `me`"),
        ("?after=x", "only a number"),
        ("?since=1", "since"),
    ] {
        let problem = world
            .wire
            .get(&format!("/v1/events{query}"), &world.reader)
            .problem("malformed");
        assert!(problem.to_string().contains(words), "{problem}");
    }
}

#[test]
fn inbox_watch_shows_a_proposal_at_once_also_after_a_restart() {
    let mut world = World::new();
    world.setup.listen = world.wire.address().to_owned();
    let mut inbox = world.as_alice(&["inbox", "--watch", "--json"]);
    let mut inbox = inbox
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    let mut lines = BufReader::new(inbox.stdout.take().expect("stdout")).lines();
    let mut shown = || -> Value {
        serde_json::from_str(&lines.next().expect("a line").expect("text")).expect("JSON")
    };
    let first = world.propose("plain:wait", json!({}));
    assert_eq!(shown()["id"], first["id"]);
    let began = Instant::now();
    let second = world.propose("say:echo", json!({}));
    assert_eq!(shown()["id"], second["id"]);
    // Without events, the command looks every 10 seconds.
    assert!(
        began.elapsed() < Duration::from_secs(8),
        "{:?}",
        began.elapsed()
    );
    world.restart();
    let third = world.propose("plain:true", json!({}));
    assert_eq!(shown()["id"], third["id"]);
    inbox.kill().expect("killed");
    inbox.wait().expect("ended");
}
