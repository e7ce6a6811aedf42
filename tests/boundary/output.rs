//! Output of a run while the run writes it: many readers, slow readers, late readers, and readers that reconnect.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use base64::Engine as _;
use serde_json::{Value, json};

use crate::support::people::{alice, sha256};
use crate::support::wire::Wire;
use crate::support::{SMALL, World, id_of, runbook, wait_for};

/// Limits for steps that write much output.
const MUCH: &str = "defaults: {timeout: 100s, memory: 64MiB, processes: 20}";

fn steps(front: &str, steps: &[(&str, &str)]) -> World {
    World::with(|setup| setup.runbook("s.md", runbook(front, steps)))
}

/// Proposes and signs the step, so that its run starts.
fn started(world: &World, step: &str) -> String {
    let proposal = world.propose(step, json!({}));
    world.sign(&proposal, &[&alice()]).ok(200);
    id_of(&proposal).to_owned()
}

fn bytes_of(event: &Value) -> Vec<u8> {
    match (event["text"].as_str(), event["base64"].as_str()) {
        (Some(text), None) => text.as_bytes().to_vec(),
        (None, Some(coded)) => base64::engine::general_purpose::STANDARD
            .decode(coded)
            .unwrap(),
        _ => panic!("a piece has text or base64: {event}"),
    }
}

/// Joins the pieces of a stream, and checks that no piece is lost or doubled.
fn joined(events: &[Value], stream: &str) -> Vec<u8> {
    let mut whole = Vec::new();
    for event in events
        .iter()
        .filter(|event| event["type"] == "output" && event["stream"] == stream)
    {
        assert_eq!(event["offset"], json!(whole.len()), "{stream}");
        whole.extend(bytes_of(event));
    }
    whole
}

fn assert_recorded(world: &World, id: &str, events: &[Value]) {
    let receipt = world.receipt(&world.until(id, "finished"));
    for stream in ["stdout", "stderr"] {
        let whole = joined(events, stream);
        assert_eq!(
            receipt["output"][stream]["recorded"],
            json!(whole.len()),
            "{stream}"
        );
        assert_eq!(
            receipt["output"][stream]["sha256"],
            json!(format!("sha256:{}", sha256(&whole))),
            "{stream}"
        );
    }
    for (before, event) in events.iter().enumerate() {
        assert_eq!(event["id"], json!(before + 1), "{event}");
    }
}

/// Opens an event stream and reads nothing.
fn open(wire: &Wire, id: &str, token: &str, accept: &str) -> TcpStream {
    let mut stream = TcpStream::connect(wire.address()).unwrap();
    let head = format!(
        "GET /v1/proposals/{id}/events HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {token}\r\naccept: {accept}\r\n\r\n",
        wire.address()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    stream
}

/// Reads from a stream until `found` holds for the text so far.
fn read_until(stream: &mut TcpStream, found: impl Fn(&str) -> bool) -> String {
    let mut text = String::new();
    let mut buffer = [0; 4096];
    while !found(&text) {
        let read = stream
            .read(&mut buffer)
            .unwrap_or_else(|error| panic!("{error}: {text}"));
        assert!(read > 0, "the stream ended: {text}");
        text.push_str(&String::from_utf8_lossy(&buffer[..read]));
    }
    text
}

fn peak_kib(world: &World) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", world.pid())).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .unwrap();
    line.split_ascii_whitespace()
        .nth(1)
        .unwrap()
        .parse()
        .unwrap()
}

#[test]
fn output_arrives_with_stream_and_number_and_time_while_the_run_goes_on() {
    let script = "echo one\nsleep 1\necho two >&2\nsleep 600";
    let world = steps(
        "defaults: {timeout: 100s, memory: 64MiB, processes: 20}",
        &[("go", script)],
    );
    let id = started(&world, "s:go");
    let mut early = world.wire.lines(&id, &world.reader, 0);
    let one = early.find(|event| event["type"] == "output").unwrap();
    let two = early.next().unwrap();
    assert_eq!(
        (&one["stream"], &one["text"], &one["offset"]),
        (&json!("stdout"), &json!("one\n"), &json!(0))
    );
    assert_eq!(
        (&two["stream"], &two["text"], &two["offset"]),
        (&json!("stderr"), &json!("two\n"), &json!(0))
    );
    assert_eq!(two["id"].as_u64().unwrap(), one["id"].as_u64().unwrap() + 1);
    let between = two["elapsed_ms"].as_u64().unwrap() - one["elapsed_ms"].as_u64().unwrap();
    assert!((900..60_000).contains(&between), "{between} ms");
    assert_eq!(world.show(&id)["status"], "running");
    // A late reader gets the same pieces from the first byte.
    let late: Vec<Value> = world
        .wire
        .server_sent(&id, &world.reader, 0)
        .filter(|event| event["type"] == "output")
        .take(2)
        .collect();
    assert_eq!(late, [one.clone(), two.clone()]);
    let path = format!("/v1/proposals/{id}/cancellation");
    world.wire.post(&path, &world.agent, &json!({})).ok(200);
    world.until(&id, "finished");
    // The stored events are the same as the live events, also after a restart.
    let mut world = world;
    for restart in [false, true] {
        if restart {
            world.restart();
        }
        let stored: Vec<Value> = world.wire.lines(&id, &world.reader, 0).collect();
        assert!(stored.contains(&one) && stored.contains(&two), "{stored:?}");
    }
}

#[test]
fn a_reader_that_disconnects_during_fast_output_loses_and_doubles_no_piece() {
    let line = "0123456789".repeat(7) + "012345678";
    let script =
        format!("for i in 1 2 3 4 5 6 7 8; do yes {line} | head -c 1000000; echo next >&2; done");
    let world = steps(MUCH, &[("go", &script)]);
    let id = started(&world, "s:go");
    let whole = {
        let (wire, id, token) = (world.wire.clone(), id.clone(), world.reader.clone());
        std::thread::spawn(move || wire.lines(&id, &token, 0).collect::<Vec<Value>>())
    };
    let mut resumed: Vec<Value> = Vec::new();
    for take in (1..).map(|number| number * 7 % 31 + 1) {
        let after = resumed
            .last()
            .map_or(0, |event| event["id"].as_u64().unwrap());
        let before = resumed.len();
        if take % 2 == 0 {
            resumed.extend(world.wire.lines(&id, &world.reader, after).take(take));
        } else {
            resumed.extend(world.wire.server_sent(&id, &world.reader, after).take(take));
        }
        if resumed.len() == before {
            break;
        }
    }
    assert_recorded(&world, &id, &resumed);
    assert!(
        joined(&resumed, "stdout").len() == 8_000_000 && resumed.len() > 200,
        "{}",
        resumed.len()
    );
    assert!(
        whole.join().unwrap() == resumed,
        "both readers get the same events"
    );
}

#[test]
fn a_hundred_readers_get_all_output_of_one_run() {
    let script = "for i in 1 2 3 4 5; do head -c 200000 /dev/zero | tr '\\0' $i; echo $i >&2; sleep 0.1; done";
    let world = steps(MUCH, &[("go", script)]);
    let id = started(&world, "s:go");
    let readers: Vec<_> = (0..100)
        .map(|number| {
            let (wire, id, token) = (world.wire.clone(), id.clone(), world.reader.clone());
            std::thread::spawn(move || -> Vec<Value> {
                if number % 2 == 0 {
                    wire.lines(&id, &token, 0).collect()
                } else {
                    wire.server_sent(&id, &token, 0).collect()
                }
            })
        })
        .collect();
    let all: Vec<Vec<Value>> = readers
        .into_iter()
        .map(|reader| reader.join().unwrap())
        .collect();
    assert_recorded(&world, &id, &all[0]);
    assert!(all.iter().all(|events| *events == all[0]));
}

#[test]
fn readers_that_never_read_neither_slow_a_run_nor_use_much_memory() {
    let world = steps(
        MUCH,
        &[("go", "head -c 1000000000 /dev/zero; echo end >&2")],
    );
    let alone = world.run("s:go", json!({}), &[&alice()]);
    let before = peak_kib(&world);
    let proposal = world.propose("s:go", json!({}));
    let id = id_of(&proposal);
    let held: Vec<TcpStream> = (0..100)
        .map(|number| {
            let accept = ["application/x-ndjson", "text/event-stream"][number % 2];
            let mut stream = open(&world.wire, id, &world.reader, accept);
            read_until(&mut stream, |text| text.contains("pending"));
            stream
        })
        .collect();
    world.sign(&proposal, &[&alice()]).ok(200);
    let mut finished = Value::Null;
    wait_for("the run is over", || {
        finished = world.show(id);
        finished["status"] == "finished"
    });
    // The kernel buffers a few megabytes for each reader, so most readers are still blocked now.
    let ms = |finished: &Value| world.receipt(finished)["duration_ms"].as_u64().unwrap();
    let (alone, watched) = (ms(&alone), ms(&finished));
    assert!(
        watched < 3 * alone + 3000,
        "{watched} ms with readers, {alone} ms without"
    );
    let grown = peak_kib(&world).saturating_sub(before);
    assert!(grown < 64 << 10, "100 readers used {grown} KiB");
    drop(held);
    // The output is truncated, and the events say so before the end.
    let events: Vec<Value> = world.wire.lines(id, &world.reader, 0).collect();
    assert_recorded(&world, id, &events);
    let at = events
        .iter()
        .position(|event| event["type"] == "truncated")
        .unwrap();
    assert_eq!(
        (&events[at]["stream"], &events[at]["bytes"]),
        (&json!("stdout"), &json!(1_000_000_000))
    );
    assert_eq!(
        events[at]["recorded"],
        json!(joined(&events, "stdout").len())
    );
    assert!(
        events[at..].iter().any(|event| event["type"] == "exit"),
        "{:?}",
        &events[at..]
    );
}

#[test]
fn more_than_a_thousand_readers_get_503_with_a_time_to_try_again() {
    let world = World::new();
    let proposal = world.propose("plain:true", json!({}));
    let id = id_of(&proposal);
    let answered = |stream: &mut TcpStream| read_until(stream, |text| text.contains("\r\n\r\n"));
    let refused = |token: &str, who: &str| {
        let answer = read_until(
            &mut open(&world.wire, id, token, "text/event-stream"),
            |text| text.starts_with("HTTP/1.1 200") || text.ends_with('}'),
        );
        for part in [
            "HTTP/1.1 503",
            "retry-after: 5",
            "/problems/busy",
            who,
            "?wait=",
        ] {
            assert!(answer.contains(part), "{part}: {answer}");
        }
    };
    let mut readers: Vec<TcpStream> = Vec::new();
    // One caller gets at most a tenth of the places.
    let tokens = [1, 2, 3, 4, 5, 6, 7, 8, 9]
        .map(|number| world.token(&format!("reader-{number}"), &[], &["read"]));
    for token in tokens.iter().chain([&world.reader]) {
        for _ in 0..100 {
            let mut reader = open(&world.wire, id, token, "text/event-stream");
            let head = answered(&mut reader);
            assert!(
                head.starts_with("HTTP/1.1 200"),
                "{} readers: {head}",
                readers.len()
            );
            readers.push(reader);
        }
        refused(token, "this caller has too many readers");
    }
    refused(&world.agent, "the boundary has too many readers");
    // Other requests still find a connection, and a disconnected reader frees its place.
    world
        .wire
        .get(&format!("/v1/proposals/{id}?wait=1s"), &world.reader)
        .ok(200);
    drop(readers.pop());
    let mut another = None;
    wait_for("a place is free", || {
        let mut reader = open(&world.wire, id, &world.reader, "text/event-stream");
        let free = answered(&mut reader).starts_with("HTTP/1.1 200");
        another = free.then_some(reader);
        free
    });
    world.sign(&proposal, &[&alice()]).ok(200);
    for reader in readers.iter_mut().chain(&mut another) {
        read_until(reader, |text| text.contains("event: receipt"));
    }
}

#[test]
fn an_idle_stream_of_server_sent_events_has_heartbeats() {
    let world = World::new();
    let proposal = world.propose("plain:true", json!({}));
    let mut reader = open(
        &world.wire,
        id_of(&proposal),
        &world.reader,
        "text/event-stream",
    );
    let began = Instant::now();
    read_until(&mut reader, |text| text.contains(": keep-alive\n\n"));
    assert!(
        began.elapsed() < Duration::from_secs(25),
        "{:?}",
        began.elapsed()
    );
}

#[test]
fn the_simple_shape_joins_a_character_that_arrives_in_two_pieces() {
    let world = steps(
        SMALL,
        &[(
            "go",
            "printf 'a\\303'; sleep 0.5; printf '\\251\\n'; exit 3",
        )],
    );
    let id = started(&world, "s:go");
    let bearer = format!("Bearer {}", world.reader);
    let accept = [
        ("accept", "application/x-ndjson"),
        ("authorization", &*bearer),
    ];
    let read = || {
        world
            .wire
            .call(
                "GET",
                &format!("/v1/proposals/{id}/events?shape=simple"),
                &accept,
                None,
            )
            .text()
    };
    let live = read();
    let lines: Vec<Value> = live
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let text: String = lines
        .iter()
        .filter_map(|line| line["data"].as_str())
        .collect();
    assert_eq!(
        (&*text, lines.last().unwrap()),
        ("a\u{e9}\n", &json!({"type": "exit", "exitCode": 3})),
        "{live}"
    );
    assert_eq!(read(), live, "the stored output gives the same lines");
}

#[test]
fn background_processes_that_hold_the_pipe_open_do_not_delay_the_end() {
    let world = steps(MUCH, &[("go", "(sleep 60; echo late) & echo on; exit 2")]);
    let began = Instant::now();
    let id = started(&world, "s:go");
    let events: Vec<Value> = world.wire.lines(&id, &world.reader, 0).collect();
    assert!(
        began.elapsed() < Duration::from_secs(30),
        "{:?}",
        began.elapsed()
    );
    assert_recorded(&world, &id, &events);
    assert_eq!(joined(&events, "stdout"), b"on\n");
    let exit = events.iter().find(|event| event["type"] == "exit").unwrap();
    assert_eq!(exit["outcome"], json!({"status": "warned", "exit_code": 2}));
}

#[test]
fn the_output_command_prints_binary_output_unchanged_and_live() {
    let script =
        "printf '\\000\\001\\377\\n'; sleep 1; head -c 20000000 /dev/zero | tr '\\0' '\\376'";
    let world = steps(MUCH, &[("go", script)]);
    let id = started(&world, "s:go");
    let command = |words: &[&str]| {
        let mut command = world.program(words);
        command
            .env("COUNTERSIGN_TOKEN", &world.reader)
            .args(["--url", &world.wire.url]);
        command.output().expect("output")
    };
    let followed = command(&["output", &id, "-f"]);
    let receipt = world.receipt(&world.until(&id, "finished"));
    let digest = receipt["output"]["stdout"]["sha256"].as_str().unwrap();
    let told = String::from_utf8_lossy(&followed.stderr).into_owned();
    assert!(
        told.contains("standard output: 10485760 of 20000004 bytes were recorded"),
        "{told}"
    );
    for printed in [
        followed.stdout,
        command(&["output", &id, "-f"]).stdout,
        command(&["output", &id]).stdout,
    ] {
        assert_eq!(printed.len(), 10 << 20);
        assert_eq!(format!("sha256:{}", sha256(&printed)), digest);
    }
}
