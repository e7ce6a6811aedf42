//! The keys of the nodes of a boundary, and what a node may seal: a node signs only what its key may sign, and only
//! `countersign seal` puts the files of a node in force.

use std::fs;
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::nodes::{
    killed, lose_node_one, node, nodes, same_tokens, signed, standby, start, take_over,
};
use crate::support::people::{
    self, Key, alice, bob, boundary_key, canonical, sha256, statement, wrap,
};
use crate::support::postgres::until;
use crate::support::{KilledAtEnd, SMALL, World, exited, id_of, runbook, said};

/// The key of node two.
fn key_two() -> Key {
    Key::of("boundary", 41)
}

/// Gives node two a key of its own.
fn with_own_key(two: &World) {
    two.write(
        "b/boundary/key.pem",
        key_two().secret.to_pkcs8_v1_pem().as_str(),
    );
}

/// Signs version 2 of the roster, with the keys of both nodes, and puts its file on the host of this node.
fn sign_roster_with_both_keys(world: &World) {
    let first = fs::read(world.path("b/boundary/roster.d/1.json")).expect("version 1");
    let first: Value = serde_json::from_slice(&first).expect("an envelope");
    let mut tables = people::predicate_of(&first);
    tables["version"] = json!(2);
    tables["previous"] = json!(format!("sha256:{}", sha256(&people::payload_of(&first))));
    tables["boundaries"]["prod"]["keys"] = json!([boundary_key().ssh.line(), key_two().ssh.line()]);
    let subject = json!([{"name": "roster", "digest": {"sha256": sha256(&canonical(&tables))}}]);
    let payload = statement("roster", &subject, &tables);
    let mut signatures = vec![alice().sign(&payload), bob().sign(&payload)];
    signatures.sort_by_key(|signature| signature["keyid"].as_str().expect("a key id").to_owned());
    world.write(
        "b/boundary/roster.d/2.json",
        &wrap(&payload, signatures).to_string(),
    );
}

fn seal(world: &World) -> Output {
    let config = world.path("b");
    world
        .boundary_command(&["seal", "--json", "--config"])
        .arg(config)
        .output()
        .expect("seal")
}

/// Seals the files of this node. Returns the number of the seal.
fn sealed(world: &World) -> Value {
    let output = exited(seal(world), 0);
    let value: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(value["changed"], true, "{value}");
    value["seal"].clone()
}

/// Waits until the last reason why a node is not active contains this text.
#[track_caller]
fn until_reason(log: &Path, reason: &str) {
    until(reason, || {
        let log = fs::read_to_string(log).expect("a log");
        log.lines()
            .rfind(|line| line.contains("not active: "))
            .is_some_and(|line| line.contains(reason))
    });
}

/// Starts a node, and waits until it stands by for this reason.
fn stands_by(world: &World, reason: &str) -> KilledAtEnd {
    let log = fs::File::create(world.path("serve.log")).expect("a log");
    let mut serve = world.boundary_command(&["serve", "--listen", "127.0.0.1:0"]);
    let child = serve
        .arg(world.path("b"))
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .expect("serve");
    let waiting = KilledAtEnd(child);
    until_reason(&world.path("serve.log"), reason);
    waiting
}

fn signer_of(world: &World, finished: &Value) -> Value {
    world.receipt(finished)["boundary"]["keyid"].clone()
}

#[test]
fn a_node_becomes_active_when_the_active_node_has_sealed_its_key() {
    let Some((_server, mut one, two)) = nodes("a key that is not sealed") else {
        return;
    };
    with_own_key(&two);
    start(&mut one);
    one.run("say:echo", json!({"text": "one"}), &[&alice()]);
    let log = two.path("serve.log");
    let starting = standby(two);
    let reason = format!(
        "the key {} of this node is not in the roster in force",
        key_two().keyid()
    );
    until_reason(&log, &reason);
    until_reason(&log, "run `countersign seal` at the active node");
    // Nobody is active now, and the role is free for node one.
    one.kill9();
    std::thread::sleep(Duration::from_secs(3));
    until_reason(&log, &reason);
    one.start();
    sign_roster_with_both_keys(&one);
    until("the operator is told", || {
        one.wire
            .peek("/ready")
            .text()
            .contains("run `countersign seal` at the active node")
    });
    assert_eq!(
        one.seal(),
        3,
        "each token has a seal, and the start has none"
    );
    assert_eq!(sealed(&one), 4);
    let ready = one.wire.peek("/ready").ok(200);
    assert_eq!(ready["roster"]["version"], 2, "{ready:#}");
    assert!(
        !ready["notes"].to_string().contains("countersign seal"),
        "{ready:#}"
    );
    let again: Value = serde_json::from_slice(&seal(&one).stdout).expect("JSON");
    assert_eq!(
        (&again["changed"], &again["seal"]),
        (&json!(false), &json!(4))
    );
    until_reason(&log, "standby of one");
    one.stop();
    let mut two = starting.join().expect("node two");
    same_tokens(&one, &mut two);
    let finished = two.run("say:echo", json!({"text": "two"}), &[&alice()]);
    assert_eq!(signer_of(&two, &finished), json!(key_two().keyid()));
    two.assert_audited();
}

#[test]
fn a_node_signs_the_receipts_of_a_killed_node_with_its_own_key_of_the_same_seal() {
    let Some((server, mut one, two)) = nodes("two keys of one seal") else {
        return;
    };
    with_own_key(&two);
    for world in [&one, &two] {
        let keys = json!([boundary_key().ssh.line(), key_two().ssh.line()]);
        world.edit_draft(|roster| roster["boundaries"][&world.setup.name]["keys"] = keys);
    }
    start(&mut one);
    let mut same_name = node(&server, "one", |_| {});
    let refused = same_name.try_start().expect_err("the name is in use");
    assert!(
        refused.contains("another process is the node `one` of this boundary"),
        "{refused}"
    );
    let before = one.run("say:echo", json!({"text": "one"}), &[&alice()]);
    let waiting = one.propose("plain:wait", json!({}));
    one.sign(&waiting, &[&alice()]);
    one.until(id_of(&waiting), "running");
    let two = take_over(&mut one, two);
    until("node one is lost", || lose_node_one(&two).status.success());
    let closed = two.until(id_of(&waiting), "finished");
    assert_eq!(closed["outcome"]["status"], "unknown");
    assert_eq!(signer_of(&two, &closed), json!(key_two().keyid()));
    assert_eq!(signer_of(&two, &before), json!(boundary_key().keyid()));
    [before, closed]
        .iter()
        .for_each(|finished| two.assert_verified(finished));
    two.assert_audited();
}

#[test]
fn a_node_with_a_later_key_waits_for_the_receipts_that_only_an_earlier_key_can_sign() {
    let Some((server, mut one, two)) = nodes("a later key") else {
        return;
    };
    with_own_key(&two);
    start(&mut one);
    let first_roster = one.started["roster"].clone();
    let waiting = one.propose("plain:wait", json!({}));
    one.sign(&waiting, &[&alice()]);
    one.until(id_of(&waiting), "running");
    sign_roster_with_both_keys(&one);
    sealed(&one);
    let standing = stands_by(
        &two,
        "only a node with an earlier key can sign the receipts of 1 open runs",
    );
    one.kill9();
    let lost = said(&lose_node_one(&two));
    assert!(
        lost.contains("without the node one no node could become active (two: "),
        "{lost}"
    );
    assert!(lost.contains("`countersign store restore`"), "{lost}");
    std::thread::sleep(Duration::from_secs(3));
    until_reason(&two.path("serve.log"), "the receipts of 1 open runs");
    // Node one is active at once, because node two does not hold the role.
    one.start();
    drop(standing);
    let closed = one.until(id_of(&waiting), "finished");
    assert_eq!(closed["outcome"]["status"], "unknown");
    assert_eq!(signer_of(&one, &closed), json!(boundary_key().keyid()));
    // The database has no checkpoint over this receipt, as after a crash directly after its commit.
    one.kill9();
    server.psql("DELETE FROM countersign.checkpoint");
    drop(stands_by(
        &two,
        "can sign a checkpoint over the receipt in log entry",
    ));
    let log = two.path("serve.log");
    let starting = standby(two);
    one.start();
    until("node one records a checkpoint without a request", || {
        fs::read_to_string(&log).is_ok_and(|log| log.trim_end().ends_with("standby of one"))
    });
    let mut two = killed(&mut one, starting);
    two.started["roster"] = first_roster;
    let finished = two.run("say:echo", json!({"text": "two"}), &[&alice()]);
    assert_eq!(signer_of(&two, &finished), json!(key_two().keyid()));
    [closed, finished]
        .iter()
        .for_each(|finished| two.assert_verified(finished));
    two.assert_audited();
}

#[test]
fn the_files_of_a_node_are_sealed_by_countersign_seal_and_never_by_its_start() {
    let Some((_server, mut one, two)) = nodes("files that differ") else {
        return;
    };
    start(&mut one);
    let seal_of_one = one.seal();
    let changed = |word: &str| runbook(SMALL, &[("echo", &format!("echo {word}"))]);
    two.write("b/runbooks/say.md", &changed("two"));
    two.write(
        "b/boundary/policy.yaml",
        &two.setup.policy.replace("required: 1", "required: 2"),
    );
    let watch = two
        .boundary_command(&["serve", "--watch"])
        .arg(two.path("b"))
        .output()
        .expect("serve");
    assert!(
        !watch.status.success() && said(&watch).contains("only `countersign seal`"),
        "{}",
        said(&watch)
    );
    let mut two = take_over(&mut one, two);
    let notes = || two.wire.peek("/ready").ok(200)["notes"].to_string();
    let differs = "this node differs from the seal in force, which stays in force: the runbooks (say:echo changed); `countersign seal`";
    assert!(
        two.started["notes"].to_string().contains(differs) && notes().contains(differs),
        "{}",
        two.started
    );
    assert!(
        notes().contains("the sealed policy stays in force"),
        "{}",
        notes()
    );
    // A reload does not seal either.
    two.signal(Signal::HUP);
    until("the reload is done", || {
        notes().contains("say:echo changed; run `countersign seal`")
    });
    assert_eq!(two.seal(), seal_of_one);
    assert_eq!(
        two.output(&two.run("say:echo", json!({}), &[&alice()]), "stdout"),
        "hello\n"
    );
    // The command is for the host of the active node.
    let standing = stands_by(&one, "standby of two");
    assert!(said(&seal(&one)).contains("run this command on the host of the active node"));
    drop(standing);
    assert_eq!(sealed(&two), seal_of_one + 1);
    assert!(
        !notes().contains("say:echo") && notes().contains("the sealed policy"),
        "{}",
        notes()
    );
    assert_eq!(
        two.output(&two.run("say:echo", json!({}), &[&alice()]), "stdout"),
        "two\n"
    );
    // The command also seals while no service runs.
    two.stop();
    two.write("b/runbooks/say.md", &changed("three"));
    assert_eq!(sealed(&two), seal_of_one + 2);
    two.start();
    assert_eq!(two.seal(), seal_of_one + 2);
    assert_eq!(
        two.output(&two.run("say:echo", json!({}), &[&alice()]), "stdout"),
        "three\n"
    );
    two.assert_audited();
}

#[test]
fn a_service_whose_key_was_never_in_force_keeps_no_node_waiting() {
    let Some((server, mut one, stranger)) = nodes("a service of another boundary") else {
        return;
    };
    with_own_key(&stranger);
    start(&mut one);
    one.run("say:echo", json!({"text": "one"}), &[&alice()]);
    drop(stands_by(&stranger, "is not in the roster in force"));
    assert_eq!(
        server.psql("SELECT string_agg(name, ',') FROM countersign.node"),
        "one"
    );
    let envelope = signed(&one, "after the restart");
    server.restart_immediate();
    until("the boundary goes on without the other service", || {
        one.submit(&envelope).status == 200
    });
    one.assert_audited();
}
