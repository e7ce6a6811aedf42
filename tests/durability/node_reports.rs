//! What an operator sees of the nodes: `/ready`, the metrics, `node list` and `doctor`.

use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::support::nodes::{nodes, nodes_with, start, take_over};
use crate::support::people::alice;
use crate::support::postgres::cluster::Cluster;
use crate::support::postgres::proxy::{Proxy, Side};
use crate::support::postgres::until;
use crate::support::shim::shim;
use crate::support::wire::{Reply, Wire};
use crate::support::{KilledAtEnd, World, assert_says, id_of, not_run, runbook, said};

/// Starts a service that stands by, and waits until it answers at this port.
fn serve_beside(world: &World, port: u16) -> (KilledAtEnd, Wire) {
    let mut command = world.boundary_command(&["serve", "--listen", &format!("127.0.0.1:{port}")]);
    let child = command
        .arg(world.path("b"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("serve");
    let (standby, wire) = (
        KilledAtEnd(child),
        Wire::new(&format!("http://127.0.0.1:{port}")),
    );
    until("the standby answers", || {
        wire.try_call("GET", "/health", &[], None)
            .is_ok_and(|reply| reply.status == 200)
    });
    (standby, wire)
}

/// Returns the answer of `/ready`. A test that asks often meets the limit of requests, and waits.
fn ready(world: &World) -> Reply {
    loop {
        let reply = world.wire.peek("/ready");
        if reply.status != 429 {
            return reply;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
}

/// Returns name and state of each node.
fn states(ready: &Reply) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let nodes = ready.json()["nodes"]["nodes"]
        .as_array()
        .unwrap_or_else(|| panic!("{}", ready.text()))
        .clone();
    nodes
        .iter()
        .map(|node| (text(&node["name"]), text(&node["state"])))
        .collect()
}

fn pair(name: &str, state: &str) -> (String, String) {
    (name.to_owned(), state.to_owned())
}

fn doctor(world: &World, options: &[&str]) -> String {
    let mut command = world.boundary_command(&["doctor"]);
    said(
        &command
            .args(options)
            .arg(world.path("b"))
            .output()
            .expect("doctor"),
    )
}

fn metrics_of(world: &World) -> std::collections::BTreeMap<String, f64> {
    Wire::new(
        world.started["metrics"]
            .as_str()
            .expect("a URL")
            .trim_end_matches("/metrics"),
    )
    .peek("/metrics")
    .samples()
}

#[test]
fn ready_and_metrics_and_doctor_name_the_nodes_and_what_a_silent_node_blocks() {
    let watched = |setup: &mut crate::support::Setup| {
        setup.config = "[metrics]\nlisten = \"127.0.0.1:0\"\n".to_owned()
    };
    let Some((server, mut one, two)) = nodes_with("reports about nodes", watched) else {
        return;
    };
    start(&mut one);
    until("the active node is named", || {
        states(&ready(&one)) == [pair("one", "active")]
    });
    let (plain, production) = (doctor(&one, &[]), doctor(&one, &["--production"]));
    assert!(
        plain.contains("note  nodes") && plain.contains("without a second node, nobody takes over"),
        "{plain}"
    );
    for expected in [
        "there is no second node",
        "on the machine of this node",
        "FIX    the loss of the database server",
    ] {
        assert!(production.contains(expected), "{production}");
    }
    let (service, wire) = serve_beside(&two, server.free_port());
    let both = [pair("one", "active"), pair("two", "standby")];
    until("the standby is named", || {
        ready(&one).status == 200 && states(&ready(&one)) == both
    });
    let view = ready(&one).json()["nodes"].clone();
    assert_eq!(
        (&view["node"], &view["replicas"]),
        (&json!("one"), &json!("none"))
    );
    let detail = || {
        wire.peek("/ready").json()["detail"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    until("the standby names the nodes", || {
        detail().contains("two: standby, last sign ")
    });
    let text = detail();
    for expected in [
        "standby of one",
        "this node: two",
        "replicas: none",
        "one: active, last sign ",
    ] {
        assert!(text.contains(expected), "{text}");
    }
    assert_says(
        doctor(&one, &[]),
        "this node is one; one active, two standby",
    );
    assert!(
        doctor(&two, &[]).contains("this node stands by"),
        "{}",
        doctor(&two, &[])
    );
    if let Some(shim) = shim("doctor names clocks that differ") {
        let mut other = one.boundary_command(&["doctor"]);
        other
            .arg(one.path("b"))
            .env("LD_PRELOAD", shim)
            .env("SHIM_CLOCK", "60");
        let text = said(&other.output().expect("doctor"));
        assert!(
            text.contains("FIX   clock") && text.contains("synchronize both clocks"),
            "{text}"
        );
    }
    let samples = metrics_of(&one);
    let of = |metric: &str, node: &str| {
        samples
            .get(&format!("countersign_node_{metric}{{node=\"{node}\"}}"))
            .copied()
    };
    assert_eq!(
        (
            of("active", "one"),
            of("active", "two"),
            of("open_runs", "two")
        ),
        (Some(1.0), Some(0.0), Some(0.0))
    );
    assert!(
        of("beat_age_seconds", "two").is_some_and(|age| age < 60.0),
        "{samples:#?}"
    );
    assert_eq!(samples["countersign_node_term"], 1.0);
    let alerts = std::fs::read_to_string(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/examples/prometheus/alerts.yml"
    ))
    .expect("the alerts");
    let names: std::collections::BTreeSet<&str> = samples
        .keys()
        .filter(|sample| sample.starts_with("countersign_node_"))
        .map(|sample| sample.split('{').next().expect("a name"))
        .collect();
    for name in &names {
        assert!(
            alerts.contains(name),
            "examples/prometheus/alerts.yml does not name {name}"
        );
    }
    assert_eq!(names.len(), 4, "each metric of nodes has samples");
    drop(service);
    until("the silent node is told", || {
        let ready = ready(&one);
        ready.status == 200
            && states(&ready)[1] == pair("two", "silent")
            && ready.text().contains("node lost two")
    });
    let plain = doctor(&one, &[]);
    assert!(
        plain.contains("FIX   nodes") && plain.contains("the node two is silent (last sign"),
        "{plain}"
    );
    assert!(metrics_of(&one)["countersign_node_beat_age_seconds{node=\"two\"}"] >= 15.0);
    server.restart_immediate();
    until("the missing checkpoint is told, and whose it is", || {
        let ready = ready(&one);
        ready.status == 503 && ready.text().contains("are compared first: start two")
    });
    let mut lost = one.boundary_command(&["node", "lost", "two", "--config"]);
    let lost = lost.arg(one.path("b")).output().expect("node lost");
    let said = String::from_utf8_lossy(&lost.stderr).into_owned();
    assert!(
        !lost.status.success() && said.contains("The node two is noted as lost"),
        "nobody said yes to a new epoch: {said}"
    );
    until("the lost node is told", || {
        let ready = ready(&one);
        ready.text().contains("countersign node lost two")
            && states(&ready)[1] == pair("two", "lost")
    });
    assert!(
        !metrics_of(&one).contains_key("countersign_node_beat_age_seconds{node=\"two\"}"),
        "a lost node is silent"
    );
}

/// Holds the lock of the log in a server process that then hangs.
fn hang(server: &Cluster) -> (Child, u32) {
    let key = "SELECT pg_advisory_xact_lock(('x' || left(encode(sha256(convert_to(current_database(), 'UTF8') || '\\x00' || \
               convert_to('countersign', 'UTF8')), 'hex'), 16))::bit(64)::bigint), pg_sleep(600)";
    let mut holder: Command = server.client("psql", "service");
    let holder = holder
        .env("PGAPPNAME", "countersign:two")
        .args(["-X", "-q", "-c", key]);
    let holder = holder
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("psql");
    let sleeping = "SELECT pid FROM pg_stat_activity WHERE application_name = 'countersign:two' AND wait_event = 'PgSleep'";
    until("the process has the lock", || {
        !server.psql(sleeping).is_empty()
    });
    let pid = server.psql(sleeping).parse().expect("a pid");
    server.sigstop(pid);
    (holder, pid)
}

#[test]
fn ready_names_a_hanging_server_process_and_its_node() {
    let Some((server, mut one, _two)) = nodes("a hanging server process") else {
        return;
    };
    start(&mut one);
    one.run("say:echo", json!({}), &[&alice()]);
    let (mut holder, pid) = hang(&server);
    let named = format!("the server process {pid} of the node two holds the lock of the log");
    until("the process is named", || {
        ready(&one).status == 503 && ready(&one).text().contains(&named)
    });
    let mut list = one.boundary_command(&["node", "list", "--config"]);
    let list = said(&list.arg(one.path("b")).output().expect("node list"));
    assert!(
        list.contains(&named) && list.contains(&format!("kill -CONT {pid}")),
        "{list}"
    );
    server.sigcont(pid);
    server.terminate(pid);
    let _ = holder.wait();
    until("the boundary is ready again", || ready(&one).status == 200);
    one.assert_verified(&one.run("say:echo", json!({"text": "after"}), &[&alice()]));
    // A database that hangs as a whole is told too.
    let backends = server.backends("countersign:one");
    backends.iter().for_each(|pid| server.sigstop(*pid));
    until("a database without an answer is told", || {
        let ready = ready(&one);
        ready.status == 503 && ready.text().contains("the database has not answered for")
    });
    backends.iter().for_each(|pid| server.sigcont(*pid));
    until("the boundary is ready once more", || {
        ready(&one).status == 200
    });
}

#[test]
fn a_standby_names_the_hanging_server_process_that_keeps_the_role() {
    let Some((server, mut one, two)) = nodes("a hanging holder of the role") else {
        return;
    };
    start(&mut one);
    let (_service, wire) = serve_beside(&two, server.free_port());
    let backends = server.backends("countersign:one");
    backends.iter().for_each(|pid| server.sigstop(*pid));
    one.kill9();
    let detail = || {
        wire.peek("/ready").json()["detail"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    until("the process is named", || {
        detail().contains("keeps the role of the active node")
    });
    let text = detail();
    assert!(
        backends
            .iter()
            .any(|pid| text.contains(&format!("run `kill -CONT {pid}`"))),
        "{text}"
    );
    backends.iter().for_each(|pid| server.sigcont(*pid));
    until("the standby takes over", || {
        wire.try_call("GET", "/ready", &[], None)
            .is_ok_and(|reply| reply.status == 200)
    });
}

#[test]
fn a_standby_starts_and_takes_over_with_errors_in_its_own_runbooks_and_says_so() {
    let Some((_server, mut one, mut two)) = nodes("errors in the runbooks of a standby") else {
        return;
    };
    let broken = runbook("", &[("go", "true"), ("go", "true")]);
    two.write("b/runbooks/bad.md", &broken);
    assert_says(
        two.try_start()
            .expect_err("the first start begins the log with these runbooks"),
        "bad.md",
    );
    start(&mut one);
    let two = take_over(&mut one, two);
    let why = "the sealed runbooks stay in force: ";
    assert!(
        ready(&two).text().contains(why) && two.service_log().contains("bad.md"),
        "{}",
        ready(&two).text()
    );
    two.assert_verified(&two.run("say:echo", json!({"text": "sealed"}), &[&alice()]));
    let mut seal = two.boundary_command(&["seal", "--config"]);
    let seal = seal.arg(two.path("b")).output().expect("seal");
    assert!(
        !seal.status.success() && said(&seal).contains("bad.md"),
        "{}",
        said(&seal)
    );
}

#[test]
fn doctor_names_late_receipts_and_an_unsafe_connection_to_the_database() {
    let Some((_server, one, two)) = nodes("doctor of a node") else {
        return;
    };
    one.write("b/boundary/late-receipts/rcp_1.json", "{}");
    let plain = doctor(&one, &[]);
    assert!(
        plain.contains("FIX   late receipts") && plain.contains("b/boundary/late-receipts"),
        "{plain}"
    );
    assert!(doctor(&one, &["--production"]).contains("1 receipts came too late"));
    let text = std::fs::read_to_string(two.path("b/countersign.toml")).expect("a configuration");
    two.write("b/password", "secret");
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    std::fs::set_permissions(two.path("b/password"), open).expect("mode");
    two.write(
        "b/countersign.toml",
        &text.replace(
            "node = \"two\"",
            "node = \"two\"\npassword_file = \"password\"",
        ),
    );
    let plain = doctor(&two, &[]);
    assert!(
        plain.contains("FIX   configuration") && plain.contains("chmod 600"),
        "{plain}"
    );
    let url = text
        .lines()
        .find(|line| line.starts_with("database = "))
        .expect("a URL");
    let remote = "database = \"postgres://service@db.example/countersign?sslmode=disable\"";
    two.write("b/countersign.toml", &text.replace(url, remote));
    let plain = doctor(&two, &[]);
    assert!(
        plain.contains("FIX   configuration") && plain.contains("switches TLS"),
        "{plain}"
    );
}

#[test]
fn a_node_needs_space_only_for_what_it_writes_itself() {
    let mount = "for last; do :; done; d=$last/boundary/outputs; mkdir -p $d && chmod 700 $d && \
                 mount -t tmpfs -o size=30m,mode=700 tmpfs $d && exec \"$@\"";
    let small = |setup: &mut crate::support::Setup| {
        let front = "defaults: {timeout: 60s, memory: 64MiB, processes: 20, output: 8MiB}";
        setup.runbook("big.md", runbook(front, &[("go", "true")]));
        setup.before = ["unshare", "--mount", "sh", "-c", mount, "sh"]
            .map(str::to_owned)
            .to_vec();
    };
    let test = "a_node_needs_space_only_for_what_it_writes_itself";
    let Some((_server, mut one, _two)) = nodes_with(test, small) else {
        return;
    };
    if let Err(why) = one.try_start() {
        return not_run(test, &why);
    }
    one.make_tokens();
    let proposal = one.propose("big:go", json!({}));
    let root = std::path::Path::new("/proc")
        .join(one.pid().to_string())
        .join("root");
    let outputs = one.path("b/boundary/outputs");
    let filled = root
        .join(outputs.strip_prefix("/").expect("a path"))
        .join("fill");
    // 12 MiB are enough for the output of a run, which becomes rows of the database, but not for new proposals.
    std::fs::write(&filled, vec![0; 18 << 20]).expect("written");
    let told = ready(&one);
    let why = "the disk of `data` on this node is almost full";
    assert!(
        told.status == 503 && told.text().contains(why),
        "{}",
        told.text()
    );
    assert!(
        told.text().contains("16 MiB for checkpoints and uploads"),
        "{}",
        told.text()
    );
    one.wire
        .post(
            "/v1/proposals",
            &one.agent,
            &World::wish("big:go", json!({})),
        )
        .problem("busy");
    one.sign(&proposal, &[&alice()]).ok(200);
    assert_eq!(
        one.until(id_of(&proposal), "finished")["outcome"]["status"],
        "succeeded"
    );
}

#[test]
fn a_commit_that_is_settled_after_a_lost_connection_is_counted() {
    let Some(server) = Cluster::start("a settled commit", "") else {
        return;
    };
    let proxy = Proxy::start(server.address());
    let mut one =
        World::prepared(|setup| setup.config = server.config(&proxy.url("service"), "one"));
    server.migrate(&one);
    start(&mut one);
    let settled =
        || one.wire.get("/metrics", &one.reader).samples()["countersign_settled_commits_total"];
    assert_eq!(settled(), 0.0);
    until("a settled commit is counted", || {
        proxy.cut_at_commit(Side::After, 1);
        one.assert_verified(&one.run("say:echo", json!({}), &[&alice()]));
        settled() >= 1.0
    });
}
