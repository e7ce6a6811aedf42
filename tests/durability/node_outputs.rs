//! Large outputs, uploaded files and cosignatures of two nodes, which are rows of the database.

use std::process::Output;
use std::time::Duration;

use serde_json::{Value, json};

use crate::cosigner::{Witness, notes, vkey_of_log};
use crate::support::nodes::{nodes_with, same_tokens, start, take_over};
use crate::support::people::{alice, sha256};
use crate::support::postgres::cluster::Cluster;
use crate::support::postgres::until;
use crate::support::uploads::{proposed, upload};
use crate::support::wire::Reply;
use crate::support::{SMALL, Setup, World, exited, has, id_of, runbook, said, wait_for};

/// Number of bytes in a piece.
const PIECE: usize = 1 << 20;
const BIG: &str = "seq 1 500000";

/// The output of the step `s:big`, which has four pieces.
fn big() -> String {
    (1..=500_000).map(|line| format!("{line}\n")).collect()
}

fn steps(setup: &mut Setup) {
    let hashed = "cat \"$COUNTERSIGN_ARTIFACTS/file\" | sha256sum";
    let files = "head -c 40000000 /dev/urandom > \"$COUNTERSIGN_OUTPUT/large\"";
    setup.runbook(
        "s.md",
        runbook(
            SMALL,
            &[
                ("big", BIG),
                ("later", "sleep 3; seq 1 500000"),
                ("use", hashed),
                ("files timeout=60s", files),
            ],
        ),
    );
}

/// Returns the two nodes. Retention looks for old rows each second.
fn nodes(test: &str, retention: &str) -> Option<(Cluster, World, World)> {
    nodes_with(test, |setup| {
        steps(setup);
        setup.config = format!("[retention]\noutputs = \"{retention}\"\n");
    })
}

fn name_of(world: &World, finished: &Value) -> String {
    world.receipt(finished)["output"]["stdout"]["blake3"]
        .as_str()
        .expect("a digest")
        .to_owned()
}

fn get(world: &World, name: &str, range: &str) -> Reply {
    let bearer = format!("Bearer {}", world.reader);
    let headers = [("authorization", bearer.as_str()), ("range", range)];
    world
        .wire
        .call("GET", &format!("/v1/outputs/{name}"), &headers, None)
}

fn count(server: &Cluster, table: &str) -> usize {
    server
        .psql(&format!("SELECT count(*) FROM countersign.{table}"))
        .trim()
        .parse()
        .expect("a number")
}

/// Makes all pieces two hours older, because retention keeps pieces that a run or an upload has just written.
fn age(server: &Cluster) {
    server.psql("UPDATE countersign.piece SET at = at - interval '2 hours'");
}

fn store(world: &World, words: &[&str]) -> Output {
    let mut command = world.program(&["store", "--json", "--config"]);
    command
        .arg(world.path("b"))
        .args(words)
        .output()
        .expect("store")
}

#[test]
fn a_node_serves_the_large_output_of_a_killed_node_and_refuses_a_changed_piece() {
    let Some((server, mut one, two)) = nodes("the output of a killed node", "30d") else {
        return;
    };
    start(&mut one);
    let finished = one.run("s:big", json!({}), &[&alice()]);
    let outputs = std::fs::read_dir(one.path("b/boundary/outputs"))
        .expect("a directory")
        .count();
    assert_eq!(outputs, 0, "no file remains on the node");
    assert_eq!(count(&server, "piece"), big().len().div_ceil(PIECE));
    let mut two = take_over(&mut one, two);
    assert!(
        two.output(&finished, "stdout") == big(),
        "the bytes are the same"
    );
    two.assert_verified(&finished);
    two.assert_audited();
    let name = name_of(&two, &finished);
    for (first, last) in [
        (0, 0),
        (262_143, 262_144),
        (PIECE - 1, 2 * PIECE),
        (big().len() - 1, big().len() - 1),
    ] {
        let reply = get(&two, &name, &format!("bytes={first}-{last}"));
        assert_eq!(
            (reply.status, reply.text()),
            (206, big()[first..=last].to_owned()),
            "{first}-{last}"
        );
    }
    exited(store(&two, &["check"]), 0);
    // A second run with the same output writes the same rows.
    two.run("s:big", json!({}), &[&alice()]);
    assert_eq!(count(&server, "piece"), big().len().div_ceil(PIECE));
    server.psql(
        "UPDATE countersign.piece SET data = overlay(data placing 'x' from 9) WHERE number = 2",
    );
    let third = |world: &World| {
        get(
            world,
            &name,
            &format!("bytes={}-{}", 2 * PIECE, 2 * PIECE + 9),
        )
        .status
    };
    assert_eq!(
        (third(&two), get(&two, &name, "bytes=0-9").status),
        (500, 206),
        "only the changed piece is refused"
    );
    two.restart();
    assert_eq!(
        (third(&two), get(&two, &name, "bytes=0-9").status),
        (500, 500),
        "the output was not compared yet"
    );
    let checked = store(&two, &["check"]);
    assert!(
        checked.status.code() == Some(1) && said(&checked).contains(&name),
        "{}",
        said(&checked)
    );
    // The receipt is still valid evidence, and a later run with the same output repairs the piece.
    two.assert_verified(&finished);
    two.run("s:big", json!({}), &[&alice()]);
    assert!(
        two.output(&finished, "stdout") == big(),
        "the piece is repaired"
    );
    server.psql("DELETE FROM countersign.piece WHERE number = 3");
    two.restart();
    assert_eq!(
        get(&two, &name, "bytes=0-9").status,
        500,
        "a piece is missing"
    );
}

#[test]
fn a_file_that_was_uploaded_at_a_killed_node_is_used_by_a_run_at_another_node() {
    let Some((server, mut one, two)) = nodes("an uploaded file and a killed node", "30d") else {
        return;
    };
    start(&mut one);
    let file = big().into_bytes();
    let (digest, reply) = upload(&one, &one.agent, &file);
    assert_eq!(reply.ok(200)["bytes"], json!(file.len()));
    let artifacts = json!({"artifacts": [{"name": "file", "digest": digest}]});
    let proposal = proposed(&one, "s:use", artifacts.clone()).ok(201);
    let two = take_over(&mut one, two);
    let input = two.wire.get(
        &format!("/v1/proposals/{}/inputs/file", id_of(&proposal)),
        &two.reader,
    );
    assert!(
        input.status == 200 && input.body == file,
        "the approver reads the file"
    );
    two.sign(&proposal, &[&alice()]).ok(200);
    let finished = two.until(id_of(&proposal), "finished");
    assert_eq!(
        two.output(&finished, "stdout"),
        format!("{}  -\n", sha256(&file))
    );
    // Each proposer has its own files, even if the bytes are the same.
    let other = two.token("other", &["dora"], &["propose"]);
    let mut wish = World::wish("s:use", json!({}));
    wish["artifacts"] = artifacts["artifacts"].clone();
    two.wire
        .post("/v1/proposals", &other, &wish)
        .problem("not-found");
    // A changed piece is refused before the nonce is spent, and another upload repairs it.
    let proposal = proposed(&two, "s:use", artifacts).ok(201);
    let signed =
        crate::support::people::envelope(&crate::support::bytes_of(&proposal), &[&alice()]);
    server.psql("UPDATE countersign.piece SET data = 'x' WHERE number = 1");
    two.submit(&signed).problem("sandbox-unavailable");
    upload(&two, &two.agent, &file).1.ok(200);
    two.submit(&signed).ok(200);
    // The limits of a proposer hold for rows as for files.
    server.psql("UPDATE countersign.artifact SET bytes = 268435456");
    upload(&two, &two.agent, b"one more")
        .1
        .problem("rate-limited");
    server.psql("UPDATE countersign.artifact SET at = at - interval '3 days'");
    until("the upload is two days old", || {
        count(&server, "artifact") == 0
    });
    two.assert_audited();
}

#[test]
fn retention_deletes_the_pieces_of_an_output_and_no_piece_of_an_uploaded_file() {
    let Some((server, mut one, _two)) = nodes("the retention of pieces", "10s") else {
        return;
    };
    start(&mut one);
    upload(&one, &one.agent, b"kept").1.ok(200);
    let finished = one.run("s:big", json!({}), &[&alice()]);
    let name = name_of(&one, &finished);
    age(&server);
    std::thread::sleep(Duration::from_secs(6));
    assert_eq!(
        (
            get(&one, &name, "bytes=0-9").status,
            count(&server, "piece")
        ),
        (206, 5),
        "the output is still kept"
    );
    server.psql("UPDATE countersign.piece SET at = now()");
    wait_for("retention has ended", || {
        get(&one, &name, "bytes=0-9").status == 410
    });
    assert_eq!(
        count(&server, "piece"),
        5,
        "a piece that was just written can belong to a run that ends now"
    );
    age(&server);
    until("the pieces are deleted", || count(&server, "piece") == 1);
    std::thread::sleep(Duration::from_secs(6));
    assert_eq!(count(&server, "piece"), 1, "the uploaded file remains");
    one.assert_verified(&finished);
    exited(store(&one, &["check"]), 0);
}

#[test]
#[cfg(debug_assertions)]
fn a_node_that_is_killed_while_it_writes_pieces_leaves_pieces_that_retention_deletes() {
    let Some((server, mut one, mut two)) = nodes("a node that is killed at a piece", "4s") else {
        return;
    };
    one.setup.env("COUNTERSIGN_FAULT", "piece-written:2");
    start(&mut one);
    let proposal = one.propose("s:big", json!({}));
    one.sign(&proposal, &[&alice()]);
    assert_eq!(one.ended(), None, "a signal ends the node");
    assert_eq!(
        (count(&server, "piece"), count(&server, "output")),
        (2, 0),
        "no row names the pieces"
    );
    two.start();
    same_tokens(&one, &mut two);
    exited(store(&two, &["check"]), 0);
    age(&server);
    until("the pieces are deleted", || count(&server, "piece") == 0);
    assert!(
        two.show(id_of(&proposal))["status"] == "running",
        "the other node closes the run after its time limit"
    );
}

#[test]
fn the_large_output_of_a_run_that_ends_while_the_database_is_down_is_stored_later() {
    let Some((server, mut one, _two)) = nodes("a large output without a database", "30d") else {
        return;
    };
    start(&mut one);
    let proposal = one.propose("s:later", json!({}));
    one.sign(&proposal, &[&alice()]);
    one.until(id_of(&proposal), "running");
    server.stop_immediate();
    std::thread::sleep(Duration::from_secs(6));
    server.start_again();
    let path = format!("/v1/proposals/{}", id_of(&proposal));
    let mut finished = Value::Null;
    until("the receipt is stored", || {
        let reply = one.wire.get(&path, &one.reader);
        finished = if reply.status == 200 {
            reply.json()
        } else {
            Value::Null
        };
        finished["status"] == "finished"
    });
    assert!(
        one.output(&finished, "stdout") == big(),
        "the output is stored"
    );
}

#[test]
fn a_backup_of_a_serving_node_contains_the_pieces_and_is_restored_into_another_schema() {
    let Some((server, mut one, _two)) = nodes("a backup with pieces", "30d") else {
        return;
    };
    start(&mut one);
    let finished = one.run("s:big", json!({}), &[&alice()]);
    let backup = one.path("backup");
    exited(store(&one, &["backup", backup.to_str().expect("UTF-8")]), 0);
    let hex = name_of(&one, &finished)
        .trim_start_matches("blake3:")
        .to_owned();
    let file = backup.join("outputs").join(&hex[..2]).join(&hex);
    assert!(
        std::fs::read(file).expect("a file") == big().into_bytes(),
        "the file has all bytes"
    );
    one.stop();
    let url = format!("{}?schema=second", server.socket_url("owner"));
    exited(
        one.program(&["store", "migrate", &url, "--service-role", "service"])
            .output()
            .expect("migrate"),
        0,
    );
    let config = std::fs::read_to_string(one.path("b/countersign.toml")).expect("a file");
    let service = server.socket_url("service");
    one.write(
        "b/countersign.toml",
        &config.replace(&service, &format!("{service}?schema=second")),
    );
    let known = one.path("b/boundary/nodes");
    let nodes = std::fs::read_to_string(&known).expect("the known nodes");
    one.write("b/boundary/nodes", &format!("{nodes}gone SHA256:gone\n"));
    exited(
        store(
            &one,
            &[
                "restore",
                backup.to_str().expect("UTF-8"),
                "--keep-tokens",
                "all",
            ],
        ),
        0,
    );
    // A node of the old log that is gone does not stop the new log.
    one.start();
    assert!(
        one.output(&finished, "stdout") == big(),
        "the closed log has the output"
    );
    let again = one.run("s:big", json!({}), &[&alice()]);
    assert!(
        one.output(&again, "stdout") == big(),
        "the new log has the output"
    );
}

#[test]
fn a_large_output_is_never_whole_in_the_memory_of_the_node() {
    let Some((server, mut one, _two)) = nodes("the memory of a large output", "30d") else {
        return;
    };
    start(&mut one);
    one.run("s:big", json!({}), &[&alice()]);
    let peak = || {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", one.pid())).expect("a status");
        let line = status
            .lines()
            .find(|line| line.starts_with("VmHWM:"))
            .expect("a peak")
            .to_owned();
        line.split_ascii_whitespace()
            .nth(1)
            .expect("a number")
            .parse::<usize>()
            .expect("a number")
    };
    let before = peak();
    let finished = one.run("s:files", json!({}), &[&alice()]);
    let id = finished["receipt"].as_str().expect("a receipt");
    let files = one
        .wire
        .get(&format!("/v1/receipts/{id}/files"), &one.reader)
        .ok(200);
    let name = files["files"][0]["blake3"]
        .as_str()
        .expect("a digest")
        .to_owned();
    let read = get(&one, &name, "bytes=0-");
    assert_eq!(
        (read.body.len(), sha256(&read.body)),
        (
            40_000_000,
            files["files"][0]["sha256"]
                .as_str()
                .expect("a digest")
                .trim_start_matches("sha256:")
                .to_owned()
        )
    );
    assert!(count(&server, "piece") > 39);
    let grown = peak().saturating_sub(before);
    assert!(grown < 24 << 10, "{grown} KiB");
}

#[test]
fn another_node_has_the_cosignatures_of_a_killed_node_and_of_no_changed_row() {
    if !has("python3") {
        return;
    }
    let mut witness = Witness::new(7);
    let entry = witness.entry();
    let with = |setup: &mut Setup| setup.roster.clone_from(&entry);
    let Some((server, mut one, two)) = nodes_with("stored cosignatures", with) else {
        return;
    };
    start(&mut one);
    witness.know(&vkey_of_log(&one));
    one.run("plain:true", json!({}), &[&alice()]);
    let checkpoint = |world: &World| world.wire.peek("/log/checkpoint").text();
    let line = format!("\u{2014} {} ", witness.name);
    let cosigned = |world: &World| checkpoint(world).contains(&line);
    until("the witness cosigns", || {
        cosigned(&one) && notes(&one).is_empty()
    });
    until("the cosignature is a row", || {
        count(&server, "cosignature") > 0
    });
    witness.stop();
    let mut two = take_over(&mut one, two);
    until("node two has read the cosignature", || cosigned(&two));
    // A row that somebody changed does not count.
    server.psql("UPDATE countersign.cosignature SET lines = overlay(lines placing 'AAAA' from length(lines) - 20)");
    two.restart();
    std::thread::sleep(Duration::from_secs(3));
    assert!(!cosigned(&two), "{}", checkpoint(&two));
}
