//! Attacks on the real binary and overload: races, floods, full disks, and access to data of other callers.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::support::people::{alice, bob, carol, dora, envelope, now, stamp};
use crate::support::{SMALL, World, bytes_of, id_of, not_run, people, runbook, wait_for};
use serde_json::{Value, json};

/// The names of the tokens in the current seal.
fn sealed_tokens(world: &World) -> Vec<String> {
    let seal = world.wire.get("/v1/registry", &world.reader).ok(200)["seal"].clone();
    let digest = seal["tokens"]
        .as_str()
        .unwrap()
        .trim_start_matches("sha256:")
        .to_owned();
    let tokens = world
        .wire
        .get(&format!("/log/blob/sha256/{digest}"), &world.reader)
        .ok(200);
    tokens
        .as_array()
        .unwrap()
        .iter()
        .map(|token| token["name"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn parallel_creation_and_revocation_of_tokens_restores_no_token_and_loses_no_token() {
    let world = World::new();
    const MANY: usize = 12;
    for n in 0..MANY {
        world.token(&format!("old{n}"), &[], &["read"]);
    }
    std::thread::scope(|scope| {
        for n in 0..MANY {
            let world = &world;
            scope.spawn(move || world.token(&format!("new{n}"), &[], &["read"]));
            scope.spawn(move || {
                world
                    .control(&json!({"do": "token-revoke", "name": format!("old{n}")}))
                    .expect("revoked")
            });
        }
    });
    let mut expected: Vec<String> = (0..MANY).map(|n| format!("new{n}")).collect();
    expected.extend(["agent", "courier", "reader"].map(str::to_owned));
    let mut sealed = sealed_tokens(&world);
    expected.sort();
    sealed.sort();
    assert_eq!(sealed, expected);
}

/// Creates a token that expires after `seconds`.
fn short_token(world: &World, name: &str, seconds: i64) -> String {
    let token = json!({
        "name": name, "owners": ["carol"], "scopes": ["propose"], "patterns": [],
        "expires_at": stamp(now() + seconds),
    });
    world.create_token(&token).expect("a token")
}

#[test]
fn a_proposal_of_a_revoked_token_does_not_run() {
    let world = World::new();
    let short = short_token(&world, "short", 4);
    let wish = World::wish("two:go", json!({}));
    let online = world.wire.post("/v1/proposals", &short, &wish).ok(201);
    world.sign(&online, &[&alice()]).ok(200);
    let ends = online["expires_at"].as_str().expect("a time").to_owned();
    assert!(
        ends <= stamp(now() + 4),
        "the window ends with the token: {ends}"
    );
    let mut predicate = world.authorization("plain:true", json!({}));
    predicate["proposer"] = json!("short");
    let whole = envelope(&people::authorization(&predicate), &[&alice()]);
    wait_for("the token has ended", || {
        world.wire.get("/v1/registry", &short).status == 401
    });
    world
        .unchanged(|| world.sign(&online, &[&bob()]))
        .problem("expired");
    assert_eq!(
        world.show(id_of(&online))["status"],
        "expired",
        "nobody is asked to sign for an ended token"
    );
    world
        .unchanged(|| world.submit(&whole))
        .problem("forbidden");
    assert_eq!(world.count("consumption"), 0);
}

#[test]
fn a_reader_whose_token_is_revoked_receives_no_more_events() {
    let world = World::with(|setup| {
        let script = "for n in 1 2 3 4 5 6 7 8 9 10 11 12; do echo $n; sleep 0.5; done";
        setup.runbook("slow.md", runbook(SMALL, &[("go", script)]));
    });
    let spy = world.token("spy", &[], &["read"]);
    let proposal = world.propose("slow:go", json!({}));
    world.sign(&proposal, &[&alice()]).ok(200);
    let events: Vec<Value> = world
        .wire
        .lines(id_of(&proposal), &spy, 0)
        .inspect(|event| {
            if event["type"] == "output" && event["offset"] == 0 {
                world
                    .control(&json!({"do": "token-revoke", "name": "spy"}))
                    .expect("revoked");
            }
        })
        .collect();
    assert!(
        events.iter().any(|event| event["type"] == "output"),
        "{events:?}"
    );
    assert!(
        events.iter().all(|event| event["type"] != "exit"),
        "the stream went on: {events:?}"
    );
    let all: Vec<Value> = world
        .wire
        .lines(id_of(&proposal), &world.reader, 0)
        .collect();
    assert!(all.iter().any(|event| event["type"] == "exit"));
}

#[test]
fn a_denial_kills_a_run_even_after_its_step_was_resealed() {
    let world = World::new();
    let proposal = world.propose("plain:wait", json!({}));
    world.sign(&proposal, &[&alice()]).ok(200);
    world.until(id_of(&proposal), "running");
    let seal = world.seal();
    world.write(
        "b/runbooks/plain.md",
        &runbook(SMALL, &[("true", ":"), ("wait", "echo another")]),
    );
    world.reseal(seal + 1);
    world.deny(&proposal, &dora()).ok(200);
    let finished = world.until(id_of(&proposal), "finished");
    assert_eq!(finished["outcome"]["status"], "cancelled");
}

#[test]
fn a_denial_or_cancellation_during_a_start_is_never_lost() {
    let world = World::new();
    for round in 0..24_u64 {
        let mut wish = World::wish("plain:wait", json!({}));
        wish["nonce"] = json!(people::nonce());
        let proposal = world
            .wire
            .post("/v1/proposals", &world.agent, &wish)
            .ok(201);
        let id = id_of(&proposal).to_owned();
        std::thread::scope(|scope| {
            scope.spawn(|| world.try_sign(&proposal, &[&alice()]).expect("an answer"));
            scope.spawn(|| {
                std::thread::sleep(Duration::from_micros(round * 700));
                if round % 2 == 0 {
                    world.deny(&proposal, &dora()).ok(200);
                } else {
                    let path = format!("/v1/proposals/{id}/cancellation");
                    world.wire.post(&path, &world.agent, &json!({})).ok(200);
                }
            });
        });
        let over = |view: &Value| {
            ["denied", "cancelled", "finished"]
                .iter()
                .any(|over| view["status"] == *over)
        };
        wait_for("it is over", || over(&world.show(&id)));
        let view = world.show(&id);
        if view["status"] == "finished" {
            assert_eq!(
                view["outcome"]["status"], "cancelled",
                "round {round}: {view:#}"
            );
        }
    }
    world.check_history();
}

#[test]
fn a_refusal_never_names_a_run_of_another_caller() {
    let world = World::new();
    let finished = world.run("plain:true", json!({}), &[&alice()]);
    let whole = envelope(&bytes_of(&finished), &[&alice()]);
    let problem = world
        .unchanged(|| world.submit_as(&world.courier, &whole))
        .problem("nonce-replayed");
    assert!(
        !problem.to_string().contains("prp_") && !problem.to_string().contains("rcp_"),
        "{problem:#}"
    );
    let problem = world
        .unchanged(|| world.submit(&whole))
        .problem("nonce-replayed");
    assert_eq!(
        problem["receipt"], finished["receipt"],
        "its own proposer is shown"
    );
}

#[test]
fn challenges_of_unknown_callers_do_not_prevent_approvers_from_reading() {
    let world = World::with(|setup| setup.limits.push_str("calls_per_second = 1000000\n"));
    let stop = Arc::new(AtomicBool::new(false));
    // Four threads request 11,000 challenges and answer none. Open challenges must not block other callers.
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..2750 {
                    world
                        .wire
                        .post("/v1/challenges", "", &json!({"keyid": carol().keyid()}))
                        .ok(200);
                }
                stop.store(true, Ordering::Relaxed);
            });
        }
    });
    let asked = world
        .wire
        .post("/v1/challenges", "", &json!({"keyid": alice().keyid()}))
        .ok(200);
    let challenge = asked["challenge"].as_str().unwrap();
    let kind = "application/vnd.countersign.challenge.v1";
    // Bob's key cannot answer a challenge for alice's key.
    let relayed =
        json!({"challenge": challenge, "signature": bob().sign_as(kind, challenge.as_bytes())});
    world
        .wire
        .post("/v1/challenges/answer", "", &relayed)
        .problem("unauthenticated");
    let answer =
        json!({"challenge": challenge, "signature": alice().sign_as(kind, challenge.as_bytes())});
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let ask = || world.wire.post("/v1/challenges/answer", "", &answer).status;
        let asked: Vec<_> = (0..8).map(|_| scope.spawn(ask)).collect();
        asked.into_iter().map(|one| one.join().unwrap()).collect()
    });
    assert_eq!(
        statuses.iter().filter(|status| **status == 200).count(),
        1,
        "answered once: {statuses:?}"
    );
}

#[test]
fn the_receipt_claims_no_process_limit_that_the_kernel_does_not_enforce() {
    let script = "for n in 1 2 3 4 5 6 7 8 9 10 11 12; do sleep 2 & done 2>/dev/null; set -- $(jobs -p); echo $#";
    let limits = "defaults: {timeout: 20s, memory: 64MiB, processes: 6}";
    // The service runs first as root of a new user namespace, then as the user who runs the test.
    for before in [vec!["unshare", "--user", "--map-root-user"], vec![]] {
        let mut world = World::prepared(|setup| {
            setup.runbook("many.md", runbook(limits, &[("go", script)]));
            setup
                .config
                .push_str("[sandbox]\nlevel = \"best-effort\"\n");
            setup.before = before.iter().map(|word| (*word).to_owned()).collect();
        });
        if let Err(why) = world.try_start() {
            not_run(
                "the_receipt_claims_no_process_limit_that_the_kernel_does_not_enforce",
                &why,
            );
            continue;
        }
        world.make_tokens();
        let finished = world.run("many:go", json!({}), &[&alice()]);
        let started: Option<u32> = world.output(&finished, "stdout").trim().parse().ok();
        let claimed = &world.receipt(&finished)["sandbox"]["limits"]["processes"];
        let held = finished["outcome"]["status"] != "succeeded"
            || started.is_none_or(|started| started < 12);
        assert!(
            claimed.is_null() || held,
            "{before:?}: {claimed} is claimed, {started:?} started"
        );
        eprintln!(
            "{before:?}: claimed {claimed}, started {started:?} {}",
            finished["outcome"]
        );
    }
}

/// A world whose `outputs` directory is on a disk of 30 MB.
fn on_a_small_disk(test: &str, config: &str) -> Option<World> {
    let mount = "for last; do :; done; d=$last/boundary/outputs; mkdir -p $d && chmod 700 $d && \\
                 mount -t tmpfs -o size=30m,mode=700 tmpfs $d && exec \"$@\"";
    let front = "defaults: {timeout: 60s, memory: 64MiB, processes: 20, output: 400KiB}";
    let mut world = World::prepared(|setup| {
        setup.runbook(
            "big.md",
            runbook(
                front,
                &[("go", "head -c 300000 /dev/zero | tr '\\0' x; sleep 2")],
            ),
        );
        setup.before = ["unshare", "--mount", "sh", "-c", mount, "sh"]
            .map(str::to_owned)
            .to_vec();
        setup.config.push_str(config);
    });
    if let Err(why) = world.try_start() {
        not_run(test, &why);
        return None;
    }
    world.make_tokens();
    Some(world)
}

/// The path of the directory `outputs` in the mount namespace of the service.
fn outputs_of_the_service(world: &World) -> std::path::PathBuf {
    let outputs = world.path("b/boundary/outputs");
    let root = std::path::Path::new("/proc")
        .join(world.pid().to_string())
        .join("root");
    root.join(outputs.strip_prefix("/").unwrap())
}

#[test]
fn an_almost_full_disk_is_reported_by_ready_and_log_and_doctor() {
    let test = "an_almost_full_disk_is_reported_by_ready_and_log_and_doctor";
    // Housekeeping checks the free space of the disk. A short retention makes housekeeping frequent.
    let Some(world) = on_a_small_disk(test, "[retention]\noutputs = \"2s\"\n") else {
        return;
    };
    let filled = outputs_of_the_service(&world).join("fill");
    assert_eq!(world.wire.peek("/ready").status, 200);
    std::fs::write(&filled, vec![0; 20 << 20]).unwrap();
    world
        .wire
        .post(
            "/v1/proposals",
            &world.agent,
            &World::wish("plain:true", json!({})),
        )
        .problem("busy");
    let ready = world.wire.peek("/ready");
    let notes = ready.json()["notes"].to_string();
    assert!(
        ready.status == 503 && notes.contains("16 MiB are needed") && notes.contains("free space"),
        "{notes}"
    );
    let told = || {
        world
            .service_log()
            .matches("the disk of the store is almost full")
            .count()
    };
    wait_for("the log tells it", || told() == 1);
    let doctor = world
        .program(&["doctor"])
        .arg(world.path("b"))
        .output()
        .expect("doctor");
    let said = String::from_utf8_lossy(&doctor.stdout).into_owned();
    assert!(
        said.lines()
            .any(|line| line.starts_with("FIX ") && line.contains("16 MiB are needed")),
        "{said}"
    );
    std::fs::remove_file(&filled).unwrap();
    assert_eq!(world.wire.peek("/ready").status, 200);
    wait_for("its end is told", || {
        world
            .service_log()
            .contains("the disk of the store has free space again")
    });
    world
        .wire
        .post(
            "/v1/proposals",
            &world.agent,
            &World::wish("plain:true", json!({})),
        )
        .ok(201);
    assert_eq!(told(), 1, "one line when it begins");
}

#[test]
fn a_full_disk_loses_no_receipt_and_no_approval() {
    let Some(world) = on_a_small_disk("a_full_disk_loses_no_receipt_and_no_approval", "") else {
        return;
    };
    let outputs = outputs_of_the_service(&world);
    let nonce = || {
        let mut wish = World::wish("big:go", json!({}));
        wish["nonce"] = json!(people::nonce());
        world.wire.post("/v1/proposals", &world.agent, &wish)
    };
    let (first, second) = (nonce().ok(201), nonce().ok(201));
    world.sign(&first, &[&alice()]).ok(200);
    wait_for("it runs", || {
        world.show(id_of(&first))["status"] == "running"
    });
    // After one second, the service has read the output of the step. Storing the output needs disk space again.
    std::thread::sleep(Duration::from_secs(1));
    let filled = outputs.join("fill");
    let mut fill = std::fs::File::create(&filled).unwrap();
    while fill.write_all(&[0; 4096]).is_ok() {}
    drop(fill);
    nonce().problem("busy");
    // The log has the line before the next round of housekeeping.
    assert_eq!(
        world
            .service_log()
            .matches("the disk of the store is almost full")
            .count(),
        1
    );
    world.sign(&second, &[&alice()]).ok(200);
    wait_for("the receipt waits", || {
        world
            .service_log()
            .contains("a receipt waits until it can be stored")
    });
    assert_eq!(world.show(id_of(&first))["status"], "running");
    assert_eq!(world.show(id_of(&second))["status"], "approved");
    std::fs::remove_file(&filled).unwrap();
    for proposal in [&first, &second] {
        let finished = world.until(id_of(proposal), "finished");
        assert_eq!(finished["outcome"]["status"], "succeeded");
        assert_eq!(world.output(&finished, "stdout").len(), 300_000);
    }
    world.check_history();
}

#[test]
fn on_a_full_disk_every_write_is_refused_as_busy() {
    let mut world = World::new();
    let waiting: Vec<Value> = (0..6)
        .map(|_| {
            let mut wish = World::wish("plain:true", json!({}));
            wish["nonce"] = json!(people::nonce());
            world
                .wire
                .post("/v1/proposals", &world.agent, &wish)
                .ok(201)
        })
        .collect();
    let [denied, signed, cancelled, handed_in, ..] = waiting.as_slice() else {
        panic!("six")
    };
    world.stop();
    let mount = "for last; do :; done; d=$last/boundary; s=$last/small; mkdir $s && mount -t tmpfs -o size=40m,mode=700 tmpfs $s && \\
                 cp -a $d/. $s/ && mount --bind $s $d && exec \"$@\"";
    world.setup.before = ["unshare", "--mount", "sh", "-c", mount, "sh"]
        .map(str::to_owned)
        .to_vec();
    if let Err(why) = world.try_start() {
        return not_run("on_a_full_disk_every_write_is_refused_as_busy", &why);
    }
    let filled = outputs_of_the_service(&world).with_file_name("fill");
    let mut fill = std::fs::File::create(&filled).unwrap();
    while fill.write_all(&[0; 4096]).is_ok() {}
    drop(fill);
    let (agent, courier) = (world.agent.clone(), world.courier.clone());
    let cancel = || {
        world.wire.post(
            &format!("/v1/proposals/{}/cancellation", id_of(cancelled)),
            &agent,
            &json!({}),
        )
    };
    let submit = || world.submit_as(&courier, &envelope(&bytes_of(handed_in), &[&alice()]));
    let propose = || {
        world.wire.post(
            "/v1/proposals",
            &world.agent,
            &World::wish("say:echo", json!({})),
        )
    };
    let mut answers = [
        ("propose", propose()),
        ("deny", world.deny(denied, &alice())),
        ("sign", world.sign(signed, &[&alice()])),
        ("cancel", cancel()),
        ("submit", submit()),
    ];
    for (what, answer) in &mut answers {
        assert_eq!(answer.status, 503, "{what}: {}", answer.text());
        let problem = answer.problem("busy");
        let detail = problem["detail"].as_str().unwrap();
        assert!(
            detail.contains("free space") && detail.contains("try again"),
            "{what}: {detail}"
        );
        assert!(
            !detail.contains("disk") || detail.matches("disk").count() == 1,
            "said once: {what}: {detail}"
        );
    }
    for proposal in &waiting {
        assert_eq!(
            world.show(id_of(proposal))["status"],
            "pending",
            "nothing was changed"
        );
    }
    std::fs::remove_file(&filled).unwrap();
    assert_eq!(world.deny(denied, &alice()).ok(200)["status"], "denied");
    world.sign(signed, &[&alice()]).ok(200);
    world.until(id_of(signed), "finished");
    assert_eq!(cancel().ok(200)["status"], "cancelled");
    assert_eq!(submit().status, 200);
    propose().ok(201);
    world.assert_audited();
}

/// If the start ignored SIGTERM, only SIGKILL could stop the service.
#[test]
fn a_start_that_waits_for_disk_space_ends_at_sigterm_and_the_next_start_writes_the_receipt() {
    let test =
        "a_start_that_waits_for_disk_space_ends_at_sigterm_and_the_next_start_writes_the_receipt";
    let mut world = World::new();
    let proposal = world.propose("plain:wait", json!({}));
    world.sign(&proposal, &[&alice()]).ok(200);
    world.until(id_of(&proposal), "running");
    world.kill9();
    // The service sees a copy of its directory on a full disk.
    let mount = "for last; do :; done; mkdir -p $last/small && mount -t tmpfs -o size=64m,mode=700 tmpfs $last/small && \
                 cp -a $last/boundary/. $last/small && { cat /dev/zero > $last/small/fill; mount --bind $last/small $last/boundary; } && \
                 exec \"$@\"";
    let log = std::fs::File::create(world.path("small.log")).unwrap();
    let mut command = world.command("unshare");
    command.args([
        "--mount",
        "sh",
        "-c",
        mount,
        "sh",
        env!("CARGO_BIN_EXE_countersign"),
        "serve",
        "--listen",
        "127.0.0.1:0",
    ]);
    command
        .arg(world.path("b"))
        .stdout(log.try_clone().unwrap())
        .stderr(log);
    let mut service = command.spawn().unwrap();
    let told = || std::fs::read_to_string(world.path("small.log")).unwrap();
    wait_for("the receipt waits", || {
        told().contains("a receipt waits until it can be stored")
            || service.try_wait().unwrap().is_some()
    });
    if told().contains("unshare: ") || told().contains("mount: ") {
        return not_run(test, &told());
    }
    let pid = rustix::process::Pid::from_child(&service);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    while service.try_wait().unwrap().is_none() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(20));
    }
    let ended = service.try_wait().unwrap();
    let _ = service.kill();
    assert_eq!(
        ended.and_then(|status| status.code()),
        Some(2),
        "{}",
        told()
    );
    assert!(told().contains("the next start writes them"), "{}", told());
    world.start();
    assert_eq!(
        world.until(id_of(&proposal), "finished")["outcome"]["status"],
        "unknown"
    );
    world.check_history();
}

#[test]
fn a_large_output_is_read_whole_and_in_parts() {
    let script = "head -c 3000000 /dev/zero | tr '\\0' x; printf end";
    let world = World::with(|setup| setup.runbook("large.md", runbook(SMALL, &[("go", script)])));
    let finished = world.run("large:go", json!({}), &[&alice()]);
    let receipt = world.receipt(&finished);
    let name = receipt["output"]["stdout"]["blake3"].as_str().unwrap();
    let path = format!("/v1/outputs/{name}");
    let whole = world.wire.get(&path, &world.reader);
    assert_eq!(
        (
            whole.status,
            whole.body.len(),
            whole.header("content-length")
        ),
        (200, 3_000_003, Some("3000003"))
    );
    assert!(whole.body.ends_with(b"xend"));
    let bearer = format!("Bearer {}", world.reader);
    for (range, status, length) in [
        ("bytes=-3", 206, 3),
        ("bytes=10-600009", 206, 600_000),
        ("bytes=3000003-", 416, 0),
        ("bytes=0-", 206, 3_000_003),
    ] {
        let part = world.wire.call(
            "GET",
            &path,
            &[("authorization", &bearer), ("range", range)],
            None,
        );
        assert_eq!((part.status, part.body.len()), (status, length), "{range}");
    }
    world.wire.get(&path, &world.courier).problem("not-found");
}
