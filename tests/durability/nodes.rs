//! Two nodes of one boundary with a PostgreSQL database: the standby, the takeover, and databases that restart or go back.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::nodes::{
    killed, lose_node_one, nodes, same_tokens, signed, standby, start, take_over,
};
use crate::support::people::{self, alice};
use crate::support::postgres::until;
use crate::support::{World, assert_says, id_of};

fn listed(world: &World) -> Vec<Value> {
    let config = world.path("b");
    let output = world
        .boundary_command(&["node", "list", "--json", "--config"])
        .arg(config)
        .output()
        .expect("nodes");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).expect("JSON")
}

#[test]
fn a_standby_takes_over_with_the_same_log_when_the_active_node_is_killed() {
    let Some((_server, mut one, two)) = nodes("a standby that takes over") else {
        return;
    };
    start(&mut one);
    let before = one.run("say:echo", json!({"text": "one"}), &[&alice()]);
    let spent = signed(&one, "again");
    one.submit(&spent).ok(200);
    let waiting = one.propose("plain:wait", json!({}));
    one.sign(&waiting, &[&alice()]);
    one.until(id_of(&waiting), "running");
    let starting = standby(two);
    let states: Vec<(Value, Value)> = listed(&one)
        .iter()
        .map(|node| (node["name"].clone(), node["active"].clone()))
        .collect();
    assert_eq!(
        states,
        [(json!("one"), json!(true)), (json!("two"), json!(false))]
    );
    let began = Instant::now();
    let two = killed(&mut one, starting);
    assert!(
        began.elapsed() < Duration::from_secs(20),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(two.started["id"], one.started["id"], "the log is the same");
    two.assert_verified(&two.show(id_of(&before)));
    two.submit(&spent).problem("nonce-replayed");
    two.assert_verified(&two.run("say:echo", json!({"text": "two"}), &[&alice()]));
    // The run of the killed node can still be in progress for all that node two knows.
    assert_eq!(two.show(id_of(&waiting))["status"], "running");
    let lost = || lose_node_one(&two).status.success();
    assert!(
        !lost() || began.elapsed() > Duration::from_secs(10),
        "the node gave a sign just now"
    );
    until("the operator can say that the node is lost", lost);
    let closed = two.until(id_of(&waiting), "finished");
    assert_eq!(closed["outcome"]["status"], "unknown");
    two.assert_audited();
}

#[test]
fn promise_2_nothing_is_consumed_after_a_restart_of_the_database_before_all_checkpoints_are_compared()
 {
    let Some((server, mut one, mut two)) = nodes("a restarted database and an absent node") else {
        return;
    };
    start(&mut two);
    two.run("say:echo", json!({}), &[&alice()]);
    two.kill9();
    one.start();
    same_tokens(&two, &mut one);
    let approved = signed(&one, "after the restart");
    server.restart_immediate();
    // The service reaches the server again in this time, but node two has not shown its checkpoint.
    let restarted = Instant::now();
    while restarted.elapsed() < Duration::from_secs(12) {
        let reply = one
            .wire
            .try_post("/v1/authorizations", &one.agent, &approved)
            .expect("an answer");
        assert_eq!(reply.status, 503, "{}", reply.text());
        std::thread::sleep(Duration::from_millis(100));
    }
    let ready = one
        .wire
        .try_post(
            "/v1/proposals",
            &one.agent,
            &World::wish("say:echo", json!({})),
        )
        .expect("an answer");
    assert_eq!(ready.status, 201, "other writes go on: {}", ready.text());
    let starting = standby(two);
    until("the checkpoints are compared", || {
        one.submit(&approved).status == 200
    });
    one.kill9();
    drop(starting.join().expect("node two"));
}

#[test]
fn a_run_that_the_database_confirms_too_late_does_not_start() {
    let Some((server, mut one, _two)) = nodes("a late confirmation") else {
        return;
    };
    start(&mut one);
    one.run("say:echo", json!({}), &[&alice()]);
    let approved = signed(&one, "late");
    let backends = server.backends("countersign:one");
    backends.iter().for_each(|pid| server.sigstop(*pid));
    let reply = std::thread::scope(|scope| {
        let submitted = scope.spawn(|| {
            one.wire
                .try_post("/v1/authorizations", &one.agent, &approved)
        });
        std::thread::sleep(Duration::from_secs(22));
        backends.iter().for_each(|pid| server.sigcont(*pid));
        submitted.join().expect("no panic")
    });
    assert!(
        reply.is_ok_and(|reply| reply.status >= 500),
        "the run was confirmed after 22 s"
    );
    assert!(
        one.list("finished").len() == 1,
        "no second run has a receipt"
    );
}

#[test]
fn promise_2_a_database_that_went_back_runs_nothing_before_a_new_epoch() {
    let Some((server, mut one, mut two)) = nodes("a database that went back") else {
        return;
    };
    start(&mut one);
    one.run("say:echo", json!({}), &[&alice()]);
    let earlier = server.snapshot();
    until("the service reads the copied server", || {
        one.wire.get("/v1/steps/say:echo", &one.reader).status == 200
    });
    let spent = signed(&one, "again");
    until("the service uses the copied server", || {
        one.submit(&spent).status == 200
    });
    one.kill9();
    server.restore(&earlier);
    let refused = one.try_start().expect_err("refused");
    assert!(
        refused.contains("the database went back to an earlier time"),
        "{refused}"
    );
    // The other node was not there, and asks for the checkpoint of the first one.
    server.restart_immediate();
    let starting = std::thread::spawn(move || two.try_start().map(|()| two));
    std::thread::sleep(Duration::from_secs(4));
    assert!(
        !starting.is_finished(),
        "node two waits for the checkpoint of node one"
    );
    let said = || String::from_utf8_lossy(&lose_node_one(&one).stderr).into_owned();
    until(
        "node one is noted as lost, and the next step is said",
        || said().contains("`countersign node lost one` on the host of the active node"),
    );
    let mut two = starting
        .join()
        .expect("no panic")
        .expect("node two is active");
    same_tokens(&one, &mut two);
    let fresh = signed(&two, "fresh");
    for envelope in [&spent, &fresh] {
        let reply = two.submit(envelope);
        assert_eq!(
            reply.status,
            503,
            "no run starts before a new epoch: {}",
            reply.text()
        );
    }
    assert!(
        two.wire
            .get("/ready", &two.reader)
            .text()
            .contains("the loss of the database server"),
        "no replica"
    );
    until("the health report says why", || {
        let ready = two.wire.get("/ready", &two.reader);
        ready.status == 503 && ready.text().contains("countersign node lost one")
    });
    let again = |more: &[&str]| {
        let mut command = two.boundary_command(&["node", "lost", "one"]);
        command.args(more).arg("--config").arg(two.path("b"));
        command.output().expect("node lost")
    };
    let unasked = again(&[]);
    assert!(!unasked.status.success(), "nobody has said yes");
    assert_says(&*String::from_utf8_lossy(&unasked.stderr), "--yes");
    assert_eq!(
        two.submit(&fresh).status,
        503,
        "no epoch begins without a yes"
    );
    let output = again(&["--yes"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.success() && said.contains("token revoke agent"),
        "{said}"
    );
    for envelope in [&spent, &fresh] {
        assert!(
            two.submit(envelope).status >= 400,
            "the approvals of the earlier epoch have ended"
        );
    }
    two.assert_verified(&two.run("say:echo", json!({"text": "new epoch"}), &[&alice()]));
    assert_says(
        one.try_start().expect_err("refused"),
        "went on without this node",
    );
    std::fs::rename(one.path("b/boundary/checkpoint"), one.path("evidence")).expect("moved");
    take_over(&mut two, one).assert_audited();
}

#[test]
fn promise_2_a_node_waits_for_a_node_that_the_database_does_not_name_any_more() {
    let Some((server, one, mut two)) = nodes("a database from before the first start of a node")
    else {
        return;
    };
    start(&mut two);
    two.stop();
    let earlier = server.snapshot();
    two.start();
    let starting = standby(one);
    let known = two.path("b/boundary/nodes");
    let host_of_two = two.path("b");
    until("node two knows node one", || {
        std::fs::read_to_string(&known).is_ok_and(|text| text.contains("one SHA256:"))
    });
    let mut one = killed(&mut two, starting);
    let spent = signed(&one, "once");
    assert_eq!(one.submit(&spent).status, 200);
    one.kill9();
    server.restore(&earlier);
    let starting = standby(two);
    std::thread::sleep(Duration::from_secs(4));
    assert!(
        !starting.is_finished(),
        "node two waits for the checkpoint of node one"
    );
    let nodes = listed(&one);
    assert_eq!(
        (&nodes[0]["name"], &nodes[0]["lost"]),
        (&json!("one"), &json!(false)),
        "{nodes:?}"
    );
    assert_says(
        &*String::from_utf8_lossy(&lose_node_one(&one).stderr),
        "on the host of the active node",
    );
    // On its host, node two becomes active while the command waits, or is active already.
    let mut lost = one.boundary_command(&["node", "lost", "one", "--yes", "--config"]);
    let lost = lost.arg(host_of_two).output().expect("node lost");
    let said = String::from_utf8_lossy(&lost.stderr).into_owned();
    assert!(
        lost.status.success() && said.contains("with a new epoch is in force"),
        "{said}"
    );
    let mut two = starting.join().expect("node two is active");
    same_tokens(&one, &mut two);
    assert!(
        matches!(two.submit(&spent).status, 400..500),
        "the approvals of the earlier epoch have ended"
    );
}

/// Freezes the active node during a run. Returns the proposal of the run, and the second node, which is active.
fn take_over_during_a_run(one: &mut World, two: World) -> (Value, World) {
    start(one);
    let waiting = one.propose("plain:wait", json!({}));
    one.sign(&waiting, &[&alice()]);
    one.until(id_of(&waiting), "running");
    // The nonce is spent. The step starts a moment later.
    std::thread::sleep(Duration::from_secs(2));
    one.signal(rustix::process::Signal::STOP);
    let mut two = standby(two).join().expect("node two");
    same_tokens(one, &mut two);
    (waiting, two)
}

#[test]
fn a_receipt_that_comes_after_its_run_was_closed_is_kept_as_a_file_and_told() {
    let Some((_server, mut one, two)) = nodes("a late receipt") else {
        return;
    };
    let (waiting, two) = take_over_during_a_run(&mut one, two);
    until("the operator says that node one is lost", || {
        lose_node_one(&two).status.success()
    });
    assert_eq!(
        two.until(id_of(&waiting), "finished")["outcome"]["status"],
        "unknown"
    );
    one.signal(rustix::process::Signal::CONT);
    let file = one
        .path("b/boundary/late-receipts")
        .join(format!("{}.json", id_of(&waiting).replace("prp_", "rcp_")));
    until("the late receipt is a file", || file.exists());
    let envelope: Value =
        serde_json::from_slice(&std::fs::read(file).expect("a file")).expect("JSON");
    let outcome = people::predicate_of(&envelope)["outcome"]["status"].clone();
    assert!(outcome != "unknown", "{outcome}");
    two.assert_audited();
}

#[test]
fn the_idle_active_node_shows_the_receipt_that_a_node_without_its_role_writes() {
    let Some((_server, mut one, two)) = nodes("a receipt of the earlier active node") else {
        return;
    };
    let (waiting, two) = take_over_during_a_run(&mut one, two);
    assert_eq!(two.show(id_of(&waiting))["status"], "running");
    // Node two records its first checkpoint after a second.
    std::thread::sleep(Duration::from_secs(3));
    one.signal(rustix::process::Signal::CONT);
    let closed = two.until(id_of(&waiting), "finished");
    assert!(
        closed["outcome"]["status"] != "unknown",
        "node one has seen the end: {closed}"
    );
    // Node two writes nothing meanwhile.
    let began = Instant::now();
    until("the log of node two has the receipt", || {
        two.count("receipt") == 1
    });
    assert!(
        began.elapsed() < Duration::from_secs(15),
        "housekeeping, every 20 s, is not the first to show it"
    );
    two.assert_verified(&closed);
    two.assert_audited();
}
