//! Reasons of the database server that end without the service: each node waits for their end, tells the reason in
//! `/ready`, and goes on by itself. A changed database ends the process.

use std::fs;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::nodes::{node, nodes, nodes_with, signed, standby, start};
use crate::support::people::alice;
use crate::support::postgres::cluster::Cluster;
use crate::support::postgres::until;
use crate::support::wire::Wire;
use crate::support::{KilledAtEnd, World, id_of, runbook};

/// A node that a test started before its database can be used.
struct Waiting {
    wire: Wire,
    serve: KilledAtEnd,
}

impl Waiting {
    fn start(server: &Cluster, world: &World) -> Self {
        Self::on(server.free_port(), world)
    }

    fn on(port: u16, world: &World) -> Self {
        let mut command =
            world.boundary_command(&["serve", "--listen", &format!("127.0.0.1:{port}")]);
        let log = fs::File::create(world.path("serve.log")).expect("a log");
        let child = command
            .arg(world.path("b"))
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("serve");
        Self {
            wire: Wire::new(&format!("http://127.0.0.1:{port}")),
            serve: KilledAtEnd(child),
        }
    }

    /// Waits until `/ready` answers with 503, this type of problem and this reason.
    #[track_caller]
    fn tells(&self, kind: &str, reason: &str) {
        until(&format!("/ready says {kind}: {reason}"), || {
            let Ok(reply) = self.wire.try_call("GET", "/ready", &[], None) else {
                return false;
            };
            assert_eq!(reply.status, 503, "{}", reply.text());
            let problem: Value = serde_json::from_str(&reply.text()).unwrap_or_default();
            problem["type"] == json!(format!("/problems/{kind}")) && reply.text().contains(reason)
        });
        assert_eq!(
            self.wire
                .try_call("GET", "/health", &[], None)
                .expect("an answer")
                .status,
            200
        );
    }

    fn is_active(&self) {
        until("the node is active", || {
            self.wire
                .try_call("GET", "/ready", &[], None)
                .is_ok_and(|reply| reply.status == 200)
        });
    }

    fn stop(mut self) {
        let pid = rustix::process::Pid::from_raw(self.serve.id() as i32).expect("a process");
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("a signal");
        assert!(
            self.serve.wait().expect("a status").success(),
            "the service ends without an error"
        );
    }
}

/// Asserts that the serving node says in `/ready` that it can't work, with this reason, and that its calls get the type
/// `database`.
#[track_caller]
fn tells(world: &World, reason: &str) {
    until(&format!("/ready says {reason}"), || {
        let ready = world.wire.peek("/ready");
        ready.status == 503 && ready.text().contains(reason)
    });
    let refused = world.wire.try_post(
        "/v1/proposals",
        &world.agent,
        &World::wish("say:echo", json!({"text": reason})),
    );
    refused.expect("an answer").problem("database");
}

#[track_caller]
fn goes_on(world: &World, text: &str) {
    until("the boundary reads its database", || {
        world.wire.get("/v1/steps/say:echo", &world.reader).status == 200
    });
    let envelope = signed(world, text);
    // A node that stops to serve can reset the connection. The same envelope can be handed in again.
    let submit = || {
        world
            .wire
            .try_post("/v1/authorizations", &world.agent, &envelope)
    };
    until("the boundary goes on", || {
        submit().is_ok_and(|reply| reply.status == 200)
    });
    until("/ready says so", || world.wire.peek("/ready").status == 200);
}

fn end_connections(server: &Cluster, node: &str) {
    server
        .backends(&format!("countersign:{node}"))
        .into_iter()
        .for_each(|pid| server.terminate(pid));
}

/// The steps of docs/postgresql.md: stop db-1, promote db-2, go on, make db-1 a replica of db-2.
#[test]
fn two_nodes_wait_while_the_database_fails_over_and_go_on_with_the_promoted_server() {
    let Some(db_1) = Cluster::start("a failover of the database", "") else {
        return;
    };
    let db_2 = db_1.replica("db_2", true);
    let url = format!(
        "postgres://service@{},{}/countersign",
        db_1.address(),
        db_2.address()
    );
    let node = |name: &str| {
        World::prepared(|setup| {
            setup.config = db_1.config(&url, name) + "replicas = \"synchronous\"\n" + &setup.config;
        })
    };
    let (mut one, two) = (node("one"), node("two"));
    db_1.migrate(&one);
    start(&mut one);
    let finished = one.run("say:echo", json!({}), &[&alice()]);
    let waiting = Waiting::start(&db_2, &two);
    waiting.tells("standby", "standby of one");
    // db-2 has no list of replicas, because db-1 got its list after the copy.
    db_2.psql("ALTER SYSTEM SET synchronous_standby_names = 'ANY 1 (*)'");
    db_2.psql("SELECT pg_reload_conf()");
    db_1.stop_immediate();
    tells(&one, "database");
    waiting.tells("database", "no server of the URL takes writes");
    db_2.promote();
    // No commit is possible before db-1 is back as a replica.
    std::thread::sleep(Duration::from_secs(2));
    assert_ne!(one.wire.peek("/ready").status, 200);
    db_1.rebuild(&db_2, "db_1");
    // The node that reaches the promoted server first has the role. The other one stands by, or ends if it had the role.
    let serves = |wire: &Wire| {
        wire.try_call("GET", "/ready", &[], None)
            .is_ok_and(|reply| reply.status == 200)
    };
    until("a node has its replica", || {
        serves(&one.wire) || serves(&waiting.wire)
    });
    if serves(&one.wire) {
        goes_on(&one, "after the failover");
        waiting.tells("standby", "standby of one");
        one.kill9();
    } else {
        let _code = one.ended();
    }
    waiting.is_active();
    let ready = waiting
        .wire
        .try_call("GET", "/ready", &[], None)
        .expect("an answer");
    assert_eq!(ready.status, 200, "{}", ready.text());
    waiting.stop();
    one.start();
    one.assert_verified(&one.show(id_of(&finished)));
    one.assert_audited();
}

#[test]
fn a_start_and_a_serving_node_wait_for_the_end_of_each_reason_of_the_server() {
    let Some(server) = Cluster::start("reasons of the server", "") else {
        return;
    };
    let mut one = World::prepared(|setup| {
        setup.config = server.config(&server.url("service"), "one")
            + "replicas = \"synchronous\"\n"
            + &setup.config;
    });
    server.migrate(&one);
    let _replica = server.replica("r1", true);
    let reload = "SELECT pg_reload_conf()";
    for (number, (breaks, repairs, reason)) in [
        (
            "ALTER ROLE service NOLOGIN",
            "ALTER ROLE service LOGIN",
            "is not permitted to log in",
        ),
        (
            "ALTER ROLE service SET default_transaction_read_only = on",
            "ALTER ROLE service RESET default_transaction_read_only",
            "default_transaction_read_only = on",
        ),
        (
            "ALTER SYSTEM SET synchronous_standby_names = ''",
            "ALTER SYSTEM SET synchronous_standby_names = 'r1'",
            "has no synchronous replica",
        ),
        (
            "ALTER SYSTEM SET full_page_writes = off",
            "ALTER SYSTEM SET full_page_writes = on",
            "has `full_page_writes` off",
        ),
        (
            "ALTER ROLE service SUPERUSER",
            "ALTER ROLE service NOSUPERUSER",
            "is opened as the superuser `service`",
        ),
        (
            "GRANT UPDATE ON countersign.leaf TO service",
            "REVOKE UPDATE ON countersign.leaf FROM service",
            "has the right UPDATE",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let (breaks, repairs) = (
            || _ = (server.psql(breaks), server.psql(reload)),
            || _ = (server.psql(repairs), server.psql(reload)),
        );
        breaks();
        let waiting = Waiting::start(&server, &one);
        waiting.tells("database", reason);
        repairs();
        waiting.is_active();
        waiting.stop();
        if number == 0 {
            start(&mut one);
        } else {
            one.start();
        }
        breaks();
        end_connections(&server, "one");
        tells(&one, reason);
        repairs();
        goes_on(&one, reason);
        one.stop();
    }
    server.stop();
    let waiting = Waiting::start(&server, &one);
    waiting.tells("database", "cannot be reached");
    server.start_again();
    waiting.is_active();
    server.stop_immediate();
    until("/ready says that the database is gone", || {
        waiting
            .wire
            .try_call("GET", "/ready", &[], None)
            .is_ok_and(|reply| reply.status == 503)
    });
    server.start_again();
    waiting.is_active();
    waiting.stop();
    one.start();
    one.assert_audited();
}

#[test]
fn a_second_process_of_one_node_waits_for_the_end_of_the_first() {
    let Some((server, mut one, two)) = nodes("two processes of one node") else {
        return;
    };
    start(&mut one);
    let config = fs::read_to_string(two.path("b/countersign.toml")).expect("a file");
    two.write("b/countersign.toml", &config.replace("\"two\"", "\"one\""));
    let waiting = Waiting::start(&server, &two);
    waiting.tells("database", "another process is the node `one`");
    one.kill9();
    waiting.is_active();
    waiting.stop();
}

#[test]
fn a_database_that_went_back_is_waited_for_until_its_newest_state_is_back() {
    let Some((server, mut one, _two)) = nodes("an older state for some time") else {
        return;
    };
    start(&mut one);
    one.run("say:echo", json!({}), &[&alice()]);
    let earlier = server.snapshot();
    goes_on(&one, "newer");
    let newest = server.snapshot();
    server.restore(&earlier);
    tells(&one, "went back to an earlier time");
    // A start waits too.
    one.kill9();
    let waiting = Waiting::start(&server, &one);
    waiting.tells("database", "the database went back to an earlier time");
    server.restore(&newest);
    waiting.is_active();
    waiting.stop();
    one.start();
    one.assert_audited();
}

#[test]
fn another_schema_a_changed_row_and_a_fork_end_a_serving_process() {
    let leaf = "(SELECT max(idx) FROM countersign.leaf WHERE kind = 3)";
    for (change, reason) in [
        ("ALTER TABLE countersign.leaf ADD COLUMN more text".to_owned(), "was added by hand"),
        (format!("UPDATE countersign.leaf SET data = data || '\\x20' WHERE idx = {leaf}"), "do not match the tree"),
        (format!("UPDATE countersign.leaf SET hash = sha256('') WHERE idx = {leaf}"), "forks the log"),
        ("DELETE FROM countersign.nonce".to_owned(), "has no row"),
        (
            "UPDATE countersign.state SET seal = (SELECT digest FROM countersign.seal ORDER BY idx LIMIT 1)".to_owned(),
            "another seal than the last seal of the log",
        ),
    ] {
        let Some(server) = Cluster::start("a changed database", "") else { return };
        let mut one = node(&server, "one", |_| {});
        server.migrate(&one);
        start(&mut one);
        one.run("say:echo", json!({}), &[&alice()]);
        server.psql(&change);
        end_connections(&server, "one");
        let ended = one.ended();
        assert!(ended != Some(0) && one.service_log().contains(reason), "{change}: {ended:?}: {}", one.service_log());
        let refused = one.try_start().expect_err("refused");
        assert!(!refused.contains("not active: "), "a start does not wait for this: {refused}");
    }
}

/// No database is needed: the first attempt to connect to this server ends after seconds.
#[test]
fn a_start_answers_before_the_first_attempt_to_connect_has_ended() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!(
        "postgres://service@{}/countersign",
        silent.local_addr().expect("an address")
    );
    let world = World::prepared(|setup| {
        setup.config =
            format!("database = \"{url}\"\n[postgres]\nnode = \"one\"\nreplicas = \"none\"\n")
                + &setup.config;
    });
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .expect("a port")
        .local_addr()
        .expect("an address")
        .port();
    Waiting::on(port, &world).tells("standby", "it is starting");
}

#[test]
fn an_error_of_a_file_of_the_node_ends_a_start_while_the_database_is_down() {
    let Some((server, one, _two)) = nodes("an error of a file") else {
        return;
    };
    server.stop();
    one.write("b/boundary/key.pem", "no key");
    let output = one
        .boundary_command(&["serve", "--listen", "127.0.0.1:0"])
        .arg(one.path("b"))
        .output()
        .expect("serve");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        !output.status.success() && said.contains("key.pem"),
        "{said}"
    );
}

#[test]
fn a_standby_and_an_active_node_change_places_after_the_database_was_down() {
    let Some((server, mut one, two)) = nodes("a restart of all") else {
        return;
    };
    start(&mut one);
    let starting = standby(two);
    server.stop_immediate();
    one.kill9();
    server.start_again();
    // The killed node must show its newest checkpoint first.
    std::thread::sleep(Duration::from_secs(3));
    assert!(
        !starting.is_finished(),
        "node two waits for the checkpoint of node one"
    );
    let waiting = Waiting::start(&server, &one);
    let two = starting.join().expect("node two");
    waiting.tells("standby", "standby of two");
    drop((waiting, two));
}

#[test]
fn promise_2_a_connection_that_is_lost_while_the_start_of_a_run_waits_for_its_replica_ends_no_process()
 {
    let Some(server) = Cluster::start("a connection that is lost in a commit", "") else {
        return;
    };
    let replica = server.replica("replica", true);
    let mut one = node(&server, "one", |setup| {
        setup.config = "replicas = \"synchronous\"\n".to_owned()
    });
    server.migrate(&one);
    start(&mut one);
    one.run("say:echo", json!({}), &[&alice()]);
    let waits = "SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND application_name LIKE 'countersign:one%'";
    for round in ["first", "second", "third"] {
        let envelope = signed(&one, round);
        replica.stop();
        std::thread::scope(|scope| {
            let submitted = scope.spawn(|| {
                one.wire
                    .try_post("/v1/authorizations", &one.agent, &envelope)
            });
            until("the commit waits for its replica", || {
                !server.psql(waits).is_empty()
            });
            server
                .psql(waits)
                .lines()
                .for_each(|pid| server.terminate(pid.parse().expect("a pid")));
            replica.start_again();
            let _ = submitted.join().expect("no panic");
        });
        goes_on(&one, &format!("after the {round} lost connection"));
    }
    until("each run has ended", || one.list("running").is_empty());
    one.assert_audited();
}

#[test]
fn promise_3_no_run_of_a_serving_node_is_closed_as_unknown_while_its_receipt_waits() {
    let Some((server, mut one, _two)) = nodes_with("a receipt that waits for long", |setup| {
        let front = "defaults: {timeout: 2s, memory: 64MiB, processes: 20}";
        setup.runbook("short.md", runbook(front, &[("run", "echo done")]));
    }) else {
        return;
    };
    start(&mut one);
    let proposal = one.propose("short:run", json!({}));
    // Only a receipt with output needs this table. The active node closes a run whose end nobody saw 30 s after its time limit.
    let hold = "DO $$ BEGIN LOCK TABLE countersign.output_order; PERFORM pg_sleep(45); END $$";
    std::thread::scope(|scope| {
        let held = scope.spawn(|| server.psql(hold));
        let locks = "SELECT count(*) FROM pg_locks WHERE relation = 'countersign.output_order'::regclass AND granted";
        until("the table is locked", || server.psql(locks) != "0");
        one.sign(&proposal, &[&alice()]);
        held.join().expect("no panic");
    });
    let finished = one.until(id_of(&proposal), "finished");
    assert_eq!(finished["outcome"]["status"], "succeeded", "{finished:#}");
    one.assert_verified(&finished);
    assert!(
        !one.path("b/boundary/late-receipts").exists(),
        "no receipt came too late"
    );
    one.assert_audited();
}
