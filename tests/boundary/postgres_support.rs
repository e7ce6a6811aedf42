//! The PostgreSQL servers and the proxy of the tests behave as the other tests assume. A run needs as few round trips
//! to the server as the documentation says.

use std::time::Duration;

use serde_json::json;

use crate::support::World;
use crate::support::nodes::{signed, start};
use crate::support::postgres::cluster::Cluster;
use crate::support::postgres::proxy::{Proxy, Sent, Side};
use crate::support::postgres::until;

const TABLE: &str = "CREATE TABLE t(n int PRIMARY KEY)";

fn rows(server: &Cluster) -> String {
    server.psql("SELECT string_agg(n::text, ' ' ORDER BY n) FROM t")
}

/// Runs a script of pgbench once over the proxy, with prepared statements.
fn run(server: &Cluster, proxy: &Proxy, script: &str) -> bool {
    let file = server.socket_directory().join("script");
    std::fs::write(&file, script).expect("written");
    let mut pgbench = server.client("pgbench", "super");
    let program = pgbench
        .args(["-n", "-M", "prepared", "-t", "1", "-f"])
        .arg(&file)
        .arg(proxy.url("super"));
    program.output().expect("pgbench").status.success()
}

#[test]
fn the_proxy_cuts_before_and_after_a_commit() {
    let Some(server) = Cluster::start("the proxy cuts", "") else {
        return;
    };
    server.psql(TABLE);
    let proxy = Proxy::start(server.address());
    let (single, flight) = (
        "BEGIN;\nINSERT INTO t VALUES ($N);\nCOMMIT;",
        "\\startpipeline\nBEGIN;\nINSERT INTO t VALUES ($N);\nCOMMIT;\n\\endpipeline",
    );
    let mut expected = Vec::new();
    for (n, (side, script)) in [Side::Before, Side::After]
        .iter()
        .flat_map(|side| [(*side, single), (*side, flight)])
        .enumerate()
    {
        proxy.cut_at_commit(side, 1);
        assert!(
            !run(&server, &proxy, &script.replace("$N", &n.to_string())),
            "the client lost its connection"
        );
        if side == Side::After {
            expected.push(n.to_string());
        }
        until(&format!("{side:?} {script}"), || {
            rows(&server) == expected.join(" ")
        });
    }
    proxy.cut_at_random(7, 3);
    until("a random flight is cut", || {
        !run(&server, &proxy, "SELECT 1;")
    });
    proxy.no_cut();
    assert!(run(&server, &proxy, "SELECT 1;"));
}

#[test]
fn the_proxy_swallows_bytes() {
    let Some(server) = Cluster::start("the proxy swallows", "") else {
        return;
    };
    let proxy = Proxy::start(server.address());
    let connect = |limit: &str| {
        let mut psql = server.client("psql", "super");
        let output = psql
            .env("PGCONNECT_TIMEOUT", limit)
            .args(["-X", "-c", "SELECT 1", &proxy.url("super")])
            .output();
        String::from_utf8_lossy(&output.expect("psql").stderr).into_owned()
    };
    assert_eq!(connect("10"), "");
    proxy.black_hole(true);
    assert!(connect("2").contains("timeout expired"));
    proxy.black_hole(false);
    assert_eq!(connect("10"), "");
}

/// Returns what the writer of the service sends during this work. The writer is the connection with the commits.
fn of_writer(proxy: &Proxy, work: impl FnOnce()) -> Sent {
    let before = proxy.sent();
    work();
    let mut sum = Sent::default();
    for (at, after) in proxy.sent().into_iter().enumerate() {
        let before = before.get(at).copied().unwrap_or_default();
        let commits = after.commits - before.commits;
        if commits > 0 {
            sum.commits += commits;
            sum.flights += after.flights - before.flights;
        }
    }
    sum
}

#[test]
fn a_run_has_two_commits_and_each_batch_has_two_round_trips_to_postgresql() {
    let Some(server) = Cluster::start("round trips of a run", "") else {
        return;
    };
    let proxy = Proxy::start(server.address());
    let mut world = World::prepared(|setup| {
        setup.config = server.config(&proxy.url("service"), "one") + &setup.config;
    });
    server.migrate(&world);
    start(&mut world);
    let run = |text: &str| {
        let whole = signed(&world, text);
        of_writer(&proxy, || drop(world.submit(&whole).ok(200)))
    };
    // The first batches prepare their statements, and housekeeping may add a round trip to any run.
    let runs: Vec<Sent> = (0..12)
        .map(|number| run(&format!("run {number}")))
        .collect();
    let fewest = runs.iter().min_by_key(|sent| (sent.commits, sent.flights));
    let expected = Sent {
        flights: 4,
        commits: 2,
    };
    assert_eq!(fewest, Some(&expected), "{runs:?}");
    // Sixteen runs at once share their batches, because the writer waits for the server.
    let wholes: Vec<_> = (0..16)
        .map(|number| signed(&world, &format!("together {number}")))
        .collect();
    proxy.delay(Duration::from_millis(100));
    let sent = of_writer(&proxy, || {
        std::thread::scope(|scope| {
            for whole in &wholes {
                let world = &world;
                scope.spawn(move || world.submit(whole).ok(200));
            }
        });
    });
    proxy.delay(Duration::ZERO);
    assert!((2..=16).contains(&sent.commits), "{sent:?}");
    assert!(sent.flights < 3 * sent.commits, "{sent:?}");
    world.assert_verified(&world.run(
        "say:echo",
        json!({"text": "after"}),
        &[&crate::support::people::alice()],
    ));
    world.assert_audited();
}
