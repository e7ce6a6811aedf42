//! A database that does not answer, is slow, is full, has no free connection, or was changed while the boundary serves.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::host::not_run;
use crate::support::nodes::{node, nodes_with, signed, start};
use crate::support::people::{alice, sha256};
use crate::support::postgres::cluster::Cluster;
use crate::support::postgres::installation::SERVER_USER;
use crate::support::postgres::proxy::Proxy;
use crate::support::postgres::until;
use crate::support::uploads::upload;
use crate::support::wire::Reply;
use crate::support::{SMALL, Setup, World, assert_says, bytes_of, id_of, runbook};

/// Returns a server with these settings, and the only node of its boundary.
fn only_node(test: &str, settings: &str) -> Option<(Cluster, World)> {
    let server = Cluster::start(test, settings)?;
    let one = node(&server, "one", |_| {});
    server.migrate(&one);
    Some((server, one))
}

fn submit(world: &World, envelope: &Value) -> Reply {
    world
        .wire
        .try_post("/v1/authorizations", &world.agent, envelope)
        .expect("an answer")
}

/// Asserts that this answer is a refusal that the caller can repeat, and returns its sentence.
#[track_caller]
fn busy(what: &str, reply: &Reply) -> String {
    assert_eq!(reply.status, 503, "{what}: {}", reply.text());
    assert!(
        reply.header("retry-after").is_some(),
        "{what}: {:?}",
        reply.headers
    );
    let code = if reply.text().contains("disk is full") {
        "busy"
    } else {
        "database"
    };
    reply.problem(code)["detail"]
        .as_str()
        .expect("a sentence")
        .to_owned()
}

/// Ends all connections of the service, so that it connects again.
fn end_connections(server: &Cluster) {
    server
        .backends("countersign:one")
        .into_iter()
        .for_each(|pid| server.terminate(pid));
    until("the connections have ended", || {
        server.backends("countersign:one").is_empty()
    });
}

/// Asserts that the service refuses this authorization for a reason that its log names.
fn assert_refused(world: &World, envelope: &Value, reason: &str) {
    let said = busy(reason, &submit(world, envelope));
    assert!(
        said.contains("the boundary's database can't be used now") && said.contains("again later"),
        "{said}"
    );
    assert!(
        world.service_log().contains(reason),
        "{}",
        world.service_log()
    );
}

/// Asserts that the service accepts this authorization at some time, and then never again.
fn assert_goes_on(world: &World, envelope: &Value) {
    until("the boundary goes on", || {
        submit(world, envelope).status == 200
    });
    // The connection of the role can be a moment later than the connection of the writer.
    until("the nonce is spent", || {
        submit(world, envelope).text().contains("nonce-replayed")
    });
}

#[test]
fn every_get_route_answers_database_while_the_database_is_down() {
    let big = |setup: &mut Setup| setup.runbook("s.md", runbook(SMALL, &[("big", "seq 1 50000")]));
    let Some((server, mut one, _two)) = nodes_with("reading without a database", big) else {
        return;
    };
    start(&mut one);
    let finished = one.run("s:big", json!({}), &[&alice()]);
    let waiting = one.propose("plain:true", json!({}));
    one.deny(&waiting, &alice()).ok(200);
    let (file, authorization) = (b"a file", sha256(&bytes_of(&waiting)));
    upload(&one, &one.agent, file).1.ok(200);
    let output = one.receipt(&finished)["output"]["stdout"]["blake3"]
        .as_str()
        .expect("a digest")
        .to_owned();
    let (id, receipt) = (
        id_of(&finished),
        finished["receipt"].as_str().expect("a receipt"),
    );
    let roster = one.wire.get("/ready", &one.reader).json()["roster"]["digest"]
        .as_str()
        .unwrap_or("sha256:0")
        .to_owned();
    let paths = [
        "/v1/registry".to_owned(),
        "/v1/steps/s:big".to_owned(),
        "/v1/proposals".to_owned(),
        format!("/v1/proposals/{id}"),
        format!("/v1/proposals/{id}/events"),
        format!("/v1/proposals/{id}/inputs/none"),
        format!("/v1/artifacts/sha256:{}", sha256(file)),
        format!("/v1/denials/sha256:{authorization}"),
        format!("/v1/outputs/{output}"),
        format!("/v1/receipts/{receipt}"),
        format!("/v1/receipts/{receipt}/bundle"),
        format!("/v1/receipts/{receipt}/files"),
        "/v1/sessions".to_owned(),
        "/log/checkpoint".to_owned(),
        "/log/tile/0/000".to_owned(),
        "/log/tile/entries/000".to_owned(),
        "/log/entries/000".to_owned(),
        "/log/proof/0".to_owned(),
        "/log/proof/consistency/1/2".to_owned(),
        format!("/log/blob/sha256/{}", roster.trim_start_matches("sha256:")),
        "/metrics".to_owned(),
        "/ready".to_owned(),
        "/health".to_owned(),
        "/version".to_owned(),
        "/openapi.json".to_owned(),
    ];
    let before: Vec<u16> = paths
        .iter()
        .map(|path| one.wire.get(path, &one.reader).status)
        .collect();
    server.stop_immediate();
    let mut refused = 0;
    for path in &paths {
        let reply = one.wire.get(path, &one.reader);
        if reply.status >= 500 && path != "/ready" {
            refused += 1;
            let said = busy(path, &reply);
            assert!(
                said.contains("database") && said.contains("again"),
                "{path}: {said}"
            );
        }
    }
    assert!(refused > 9, "{refused}");
    server.start_again();
    for (path, before) in paths.iter().zip(before) {
        until(&format!("{path} answers as before"), || {
            one.wire.get(path, &one.reader).status == before
        });
    }
    // The rows can be read, but no connection for the pieces of a large output can be made.
    one.restart();
    assert_eq!(one.show(id)["status"], "finished");
    server.psql("ALTER ROLE service CONNECTION LIMIT 1");
    server.psql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query ~ 'artifact|piece|cosignature' \
         AND usename = 'service'",
    );
    let path = format!("/v1/outputs/{output}");
    assert_says(busy(&path, &one.wire.get(&path, &one.reader)), "database");
    server.psql("ALTER ROLE service CONNECTION LIMIT -1");
    assert_eq!(one.output(&finished, "stdout").lines().count(), 50_000);
}

/// A disk of 24 MiB, which only root can make.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(directory: PathBuf) -> Option<Self> {
        let options = format!("size=24m,mode=700,uid={SERVER_USER},gid={SERVER_USER}");
        std::fs::create_dir(&directory).ok()?;
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "tmpfs"])
            .arg(&directory)
            .status();
        mount
            .is_ok_and(|status| status.success())
            .then(|| Self(directory))
    }

    /// Fills the disk until the returned file is removed.
    fn fill(&self) -> PathBuf {
        let path = self.0.join("fill");
        let mut file = std::fs::File::create(&path).expect("a file");
        while file.write_all(&[0; 4096]).is_ok() {}
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

#[test]
fn nothing_is_consumed_while_the_tablespace_is_full() {
    const TEST: &str = "a full tablespace";
    if !rustix::process::geteuid().is_root() {
        return not_run(TEST, "only root can make a disk for the server");
    }
    let Some((server, mut one)) = only_node(TEST, "") else {
        return;
    };
    let Some(disk) = SmallDisk::mount(server.socket_directory().join("small")) else {
        return not_run(TEST, "root of this host may not mount a disk");
    };
    server.psql(&format!(
        "CREATE TABLESPACE small LOCATION '{}'",
        disk.0.display()
    ));
    let moves = server.psql(
        "SELECT format('ALTER %s %s SET TABLESPACE small;', CASE relkind WHEN 'r' THEN 'TABLE' ELSE 'INDEX' END, \
         oid::regclass) FROM pg_class WHERE relnamespace = 'countersign'::regnamespace AND relkind IN ('r', 'i')",
    );
    server.psql(&moves);
    start(&mut one);
    let before = one.run("say:echo", json!({}), &[&alice()]);
    let filled = disk.fill();
    let envelopes: Vec<Value> = (0..8)
        .map(|number| signed(&one, &format!("{number} {}", "x".repeat(900))))
        .collect();
    let statuses = std::thread::scope(|scope| {
        let submit_one = |envelope| {
            let reply = submit(&one, envelope);
            if reply.status != 200 {
                assert!(
                    busy("submit", &reply).contains("disk is full"),
                    "{}",
                    reply.text()
                );
            }
            reply.status
        };
        // The last pages of the tables can have room for some consumptions. The receipts of these runs wait for space.
        let submitted: Vec<_> = envelopes
            .iter()
            .map(|envelope| scope.spawn(move || submit_one(envelope)))
            .collect();
        until("some requests are refused", || {
            submitted.iter().filter(|one| one.is_finished()).count() > 2
        });
        std::fs::remove_file(&filled).expect("removed");
        submitted
            .into_iter()
            .map(|one| one.join().expect("no panic"))
            .collect::<Vec<u16>>()
    });
    for (envelope, status) in envelopes.iter().zip(statuses) {
        if status == 200 {
            submit(&one, envelope).problem("nonce-replayed");
        } else {
            assert_goes_on(&one, envelope);
        }
    }
    one.assert_verified(&one.show(id_of(&before)));
    assert_eq!(one.list("finished").len(), 9);
    one.assert_audited();
    one.stop();
    server.stop();
}

/// Triggers return the code of a full disk to chosen rows, so that a receipt finds no space after its consumption.
#[test]
fn nothing_is_consumed_and_receipts_wait_while_the_disk_of_the_server_is_full() {
    let Some((server, mut one)) = only_node("a full disk", "") else {
        return;
    };
    start(&mut one);
    let before = one.run("say:echo", json!({}), &[&alice()]);
    let full_for = |kinds: &str| {
        server.psql(&format!(
            "CREATE FUNCTION public.full() RETURNS trigger LANGUAGE plpgsql AS \
             'BEGIN RAISE EXCEPTION USING ERRCODE = ''53100'', MESSAGE = ''No space left on device''; END'; \
             CREATE TRIGGER t BEFORE INSERT ON countersign.leaf FOR EACH ROW WHEN (NEW.kind IN ({kinds})) \
             EXECUTE FUNCTION public.full()"
        ));
    };
    let make_space = || _ = server.psql("DROP FUNCTION public.full() CASCADE");
    let [refused, waiting] = ["refused", "waiting"].map(|text| signed(&one, text));
    full_for("2, 3");
    let reply = submit(&one, &refused);
    assert!(
        busy("submit", &reply).contains("disk is full"),
        "{}",
        reply.text()
    );
    make_space();
    assert_goes_on(&one, &refused);
    full_for("3");
    std::thread::scope(|scope| {
        let submitted = scope.spawn(|| submit(&one, &waiting));
        let runs = "SELECT count(*) FROM countersign.crossing";
        until("the nonce is spent", || server.psql(runs) == "1");
        std::thread::sleep(Duration::from_secs(2));
        assert_eq!(server.psql(runs), "1", "the receipt waits for space");
        make_space();
        assert_eq!(submitted.join().expect("no panic").status, 200);
    });
    submit(&one, &waiting).problem("nonce-replayed");
    one.assert_verified(&one.show(id_of(&before)));
    assert_eq!(one.list("finished").len(), 3);
    one.assert_audited();
}

#[test]
fn a_server_without_free_connections_is_waited_for_at_the_start_and_later() {
    let Some((server, mut one)) = only_node("no free connections", "max_connections = 18") else {
        return;
    };
    // Three connections are for superusers.
    let hold = |count: usize| -> Vec<Child> {
        let sleeper = || {
            server
                .client("psql", "owner")
                .args(["-qc", "SELECT pg_sleep(600)"])
                .stderr(Stdio::null())
                .spawn()
        };
        let held: Vec<Child> = (0..count).map(|_| sleeper().expect("psql")).collect();
        let all = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'owner' AND query LIKE 'SELECT pg_sleep%'";
        until("all are connected", || {
            server.psql(all) == count.to_string()
        });
        held
    };
    let release = |held: Vec<Child>| {
        server
            .psql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'owner'");
        for mut one in held {
            one.wait().expect("ended");
        }
    };
    let held = hold(9);
    let refused = one.try_start().expect_err("too few connections");
    let reason = "free connections, and the service needs 8; raise `max_connections` of the server";
    assert!(refused.contains(reason), "{refused}");
    release(held);
    start(&mut one);
    one.run("say:echo", json!({}), &[&alice()]);
    let later = signed(&one, "later");
    server.psql("ALTER ROLE service CONNECTION LIMIT 0");
    end_connections(&server);
    assert_refused(&one, &later, "too many connections for role");
    server.psql("ALTER ROLE service CONNECTION LIMIT -1");
    assert_goes_on(&one, &later);
    // Its own connections do not count.
    let held = hold(7);
    end_connections(&server);
    assert_goes_on(&one, &signed(&one, "few connections"));
    release(held);
    one.assert_audited();
}

#[test]
fn one_second_of_latency_only_makes_the_boundary_slower() {
    let Some(server) = Cluster::start("one second of latency", "") else {
        return;
    };
    let proxy = Proxy::start(server.address());
    let mut one = World::prepared(|setup| {
        setup.config = server.config(&proxy.url("service"), "one") + &setup.config
    });
    server.migrate(&one);
    start(&mut one);
    one.run("say:echo", json!({}), &[&alice()]);
    let slow = signed(&one, "slow");
    proxy.delay(Duration::from_secs(1));
    submit(&one, &slow).ok(200);
    submit(&one, &slow).problem("nonce-replayed");
    proxy.delay(Duration::ZERO);
    one.assert_audited();
}

#[test]
fn a_default_of_the_server_changes_nothing_or_is_named() {
    let Some((server, mut one)) = only_node("defaults of the server", "") else {
        return;
    };
    for default in [
        "default_transaction_isolation = 'serializable'",
        "search_path = 'pg_catalog'",
        "statement_timeout = '1ms'",
        "client_encoding = 'SQL_ASCII'",
        "default_transaction_read_only = on",
    ] {
        server.psql(&format!("ALTER ROLE service SET {default}"));
    }
    let reason = "has `default_transaction_read_only = on`, so it takes no writes; end this setting of the server";
    let refused = one.try_start().expect_err("read-only");
    assert!(refused.contains(reason), "{refused}");
    server.psql("ALTER ROLE service RESET default_transaction_read_only");
    start(&mut one);
    one.run("say:echo", json!({}), &[&alice()]);
    let later = signed(&one, "later");
    server.psql("ALTER ROLE service SET default_transaction_read_only = on");
    end_connections(&server);
    assert_refused(&one, &later, reason);
    server.psql("ALTER ROLE service RESET default_transaction_read_only");
    assert_goes_on(&one, &later);
    one.assert_audited();
}

#[test]
fn nothing_is_consumed_without_synchronous_replicas_on_the_first_server_or_on_a_promoted_one() {
    let Some(primary) = Cluster::start("removed replicas", "") else {
        return;
    };
    let replica = primary.replica("r1", true);
    // The first server of the URL is down, and the second one is a standby.
    let url = format!(
        "postgres://service@127.0.0.1:9,{},{}/countersign",
        replica.address(),
        primary.address()
    );
    let mut one = World::prepared(|setup| {
        setup.config = primary.config(&url, "one") + "replicas = \"synchronous\"\n" + &setup.config;
    });
    primary.migrate(&one);
    start(&mut one);
    one.run("say:echo", json!({}), &[&alice()]);
    let [later, last] = ["later", "last"].map(|text| signed(&one, text));
    primary.psql("ALTER SYSTEM RESET synchronous_standby_names; SELECT pg_reload_conf()");
    until("the server has no replicas", || {
        primary.psql("SHOW synchronous_standby_names").is_empty()
    });
    let reason = "`synchronous_standby_names` of the server is empty, but `replicas` in [postgres] is \"synchronous\"";
    until("the service refuses", || {
        submit(&one, &signed(&one, "before")).status != 200
    });
    assert_refused(&one, &later, reason);
    primary.psql("ALTER SYSTEM SET synchronous_standby_names = 'r1'; SELECT pg_reload_conf()");
    assert_goes_on(&one, &later);
    let finished = one.run(
        "say:echo",
        json!({"text": "before the promotion"}),
        &[&alice()],
    );
    primary.stop_immediate();
    replica.promote();
    until("the promoted server is named", || {
        assert_eq!(submit(&one, &last).status, 503);
        one.service_log()
            .contains("has no synchronous replica, but `replicas` in [postgres] is \"synchronous\"")
    });
    let _second = replica.replica("r2", true);
    assert_goes_on(&one, &last);
    submit(&one, &later).problem("nonce-replayed");
    one.assert_verified(&one.show(id_of(&finished)));
    one.assert_audited();
}
