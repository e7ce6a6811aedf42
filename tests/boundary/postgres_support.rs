//! The PostgreSQL servers and the proxy of the tests behave as the other tests assume.

use crate::support::postgres::cluster::Cluster;
use crate::support::postgres::proxy::{Proxy, Side};
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
