//! Tests that kill the service at every crash point and during runs, and tests with a failing disk or a moved clock.
// Only builds with debug assertions contain crash points.
#![cfg(debug_assertions)]

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use crate::support::people::{Key, alice, dora, envelope, erin, frank, now, oscar, stamp};
use crate::support::poor::poor_container;
use crate::support::shim::shim;
use crate::support::wire::Wire;
use crate::support::{
    SMALL, World, bytes_of, host::processes_with, id_of, people, runbook, wait_for,
};
use documents::merkle;
use serde_json::{Value, json};
use store::POINTS;

// Every crash point

/// The answers that clients received before the service died. All of them must be true after the restart.
#[derive(Default)]
struct Told {
    /// Each proposal in an answer of the service, with the last status that a client knows.
    proposals: Vec<(Value, &'static str)>,
    /// Submitted envelopes, each with the bundle that the service returned, if any.
    handed_in: Vec<(Value, Option<Value>)>,
    tokens: Vec<String>,
    /// Revocations that the service accepted.
    revocations: Vec<Value>,
    /// Checkpoints that a client read.
    heads: Vec<String>,
}

/// Performs one operation of each kind that writes. Returns the answers so far as `Err` if the service dies.
fn everything(world: &World, round: &str) -> Result<Told, Told> {
    let mut told = Told::default();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let over = Arc::new(AtomicBool::new(false));
    // One thread polls the checkpoint of the log during all operations.
    let watcher = {
        let (wire, seen, over) = (Wire::new(&world.wire.url), seen.clone(), over.clone());
        std::thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                match wire.try_call("GET", "/log/checkpoint", &[], None) {
                    Ok(reply) if reply.status == 200 => seen.lock().unwrap().push(reply.text()),
                    _ => break,
                }
                std::thread::sleep(std::time::Duration::from_millis(3));
            }
        })
    };
    let done = attempt(world, round, &mut told);
    over.store(true, Ordering::Relaxed);
    watcher.join().unwrap();
    told.heads = seen.lock().unwrap().clone();
    told.heads.dedup();
    if done.is_some() { Ok(told) } else { Err(told) }
}

fn attempt(world: &World, round: &str, told: &mut Told) -> Option<()> {
    let propose = |reason: &str, step: &str| {
        let mut wish = World::wish(step, json!({}));
        wish["reason"] = json!(format!("{round} {reason}"));
        wish["nonce"] = json!(people::nonce());
        let reply = world
            .wire
            .try_post("/v1/proposals", &world.agent, &wish)
            .ok()?;
        Some(reply.ok(201))
    };
    let sign = |proposal: &Value| Some(world.try_sign(proposal, &[&alice()]).ok()?.ok(200));
    // A seal: a new token changes the registry.
    let token =
        json!({"name": format!("t{round}"), "owners": [], "scopes": ["read"], "patterns": []});
    told.tokens.push(world.create_token(&token).ok()?);
    let denied = propose("denied", "plain:true")?;
    told.proposals.push((denied.clone(), "pending"));
    world.try_deny(&denied, &dora()).ok()?.ok(200);
    told.proposals.last_mut()?.1 = "denied";
    // A run with an online proposal and an online approval.
    let online = propose("online", "plain:true")?;
    told.proposals.push((online.clone(), "pending"));
    sign(&online)?;
    let path = format!("/v1/proposals/{}?wait=10s", id_of(&online));
    let bearer = format!("Bearer {}", world.reader);
    loop {
        let reply = world
            .wire
            .try_call("GET", &path, &[("authorization", &bearer)], None)
            .ok()?;
        if reply.ok(200)["status"] == "finished" {
            break;
        }
    }
    told.proposals.last_mut()?.1 = "finished";
    // A refusal: the proposal is already denied.
    world
        .wire
        .try_post(
            "/v1/authorizations",
            &world.agent,
            &envelope(&bytes_of(&denied), &[&alice()]),
        )
        .ok()?;
    // A run whose complete signed authorization arrives in one request.
    let mut predicate =
        serde_json::from_slice::<Value>(&bytes_of(&online)).unwrap()["predicate"].take();
    people::renew(&mut predicate);
    let whole = envelope(&people::authorization(&predicate), &[&alice()]);
    told.handed_in.push((whole.clone(), None));
    let reply = world
        .wire
        .try_post("/v1/authorizations", &world.agent, &whole)
        .ok()?;
    told.handed_in.last_mut()?.1 = Some(reply.ok(200));
    // A cancellation.
    let cancelled = propose("cancelled", "plain:true")?;
    told.proposals.push((cancelled.clone(), "pending"));
    let path = format!("/v1/proposals/{}/cancellation", id_of(&cancelled));
    world
        .wire
        .try_post(&path, &world.agent, &json!({}))
        .ok()?
        .ok(200);
    told.proposals.last_mut()?.1 = "cancelled";
    // A revocation. Each round revokes another key that no other operation uses.
    let key = if round == "1" { frank() } else { erin() };
    let payload = people::key_revocation(&predicate["boundary"], &key);
    let revocation = envelope(&payload, &[&oscar()]);
    world
        .wire
        .try_post("/v1/revocations", "", &revocation)
        .ok()?
        .ok(200);
    told.revocations.push(revocation);
    // The service logs the refusal in the background, after its answer. Give it 400 ms.
    let deadline = std::time::Instant::now() + std::time::Duration::from_millis(400);
    while std::time::Instant::now() < deadline {
        world.wire.try_call("GET", "/health", &[], None).ok()?;
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    Some(())
}

fn is_over(world: &World) -> bool {
    world.list("approved").is_empty() && world.list("running").is_empty()
}

/// Asserts that every answer in `told` is still true.
fn hold(world: &World, told: &Told, point: &str) {
    for secret in &told.tokens {
        assert_eq!(
            world.wire.get("/v1/registry", secret).status,
            200,
            "{point}: a token that was given away is gone"
        );
    }
    for revocation in &told.revocations {
        let again = world.wire.post("/v1/revocations", "", revocation).ok(200);
        assert_eq!(
            again["existing"], true,
            "{point}: an accepted revocation is gone"
        );
    }
    for (proposal, status) in &told.proposals {
        let view = world.show(id_of(proposal));
        assert_eq!(view["payload"], proposal["payload"], "{point}");
        // A pending proposal can have changed its status since the answer. A final status must stay the same.
        let allowed = match *status {
            "pending" => vec!["pending", "denied", "cancelled", "finished"],
            other => vec![other],
        };
        assert!(
            allowed.contains(&view["status"].as_str().unwrap()),
            "{point}: was {status}, is {view:#}"
        );
    }
    for (whole, bundle) in &told.handed_in {
        let id = people::predicate_of(whole)["proposal"]
            .as_str()
            .unwrap()
            .to_owned();
        let reply = world.wire.get(
            &format!("/v1/receipts/{}", id.replace("prp_", "rcp_")),
            &world.reader,
        );
        if let Some(bundle) = bundle {
            assert_eq!(
                reply.ok(200)["envelope"],
                bundle["receipt"],
                "{point}: a receipt that was seen is another one"
            );
        }
        // Submit the envelope again: it runs if it did not run before, and never a second time.
        let again = world.submit(whole);
        match reply.status {
            200 => {
                again.problem("nonce-replayed");
            }
            _ => {
                again.ok(200);
            }
        }
    }
    // Every checkpoint that a client read must be a prefix of the log.
    let head = |note: &str| -> (u64, merkle::Hash) {
        use base64::Engine as _;
        let root = base64::engine::general_purpose::STANDARD
            .decode(note.lines().nth(2).unwrap())
            .unwrap();
        (
            note.lines().nth(1).unwrap().parse().unwrap(),
            root.try_into().unwrap(),
        )
    };
    let leaves: Vec<_> = world
        .raw_entries(world.log_size())
        .iter()
        .map(|entry| merkle::leaf_hash(entry))
        .collect();
    for note in &told.heads {
        let (size, root) = head(note);
        let kept = leaves.get(..size as usize);
        assert_eq!(
            kept.map(merkle::root),
            Some(root),
            "{point}: a checkpoint that was seen is no beginning of the log"
        );
    }
    world.check_history();
}

/// Kills the service at one crash point and restarts it. Returns the number of receipts with the outcome `unknown`.
fn killed_at(point: &str) -> usize {
    let mut world = World::new();
    world.stop();
    world.setup.env("COUNTERSIGN_FAULT", point);
    let mut told = Told::default();
    if world.try_start().is_ok() {
        told = everything(&world, "1").unwrap_or_else(|told| told);
        assert_eq!(world.ended(), None, "{point} did not kill it");
    }
    world.setup.env.clear();
    world.start();
    wait_for("what was approved has run", || is_over(&world));
    hold(&world, &told, point);
    let unknown = unknown_receipts(&world);
    // After recovery, the service must accept all operations again.
    let more = everything(&world, "2").unwrap_or_else(|_| panic!("{point}: it died again"));
    hold(&world, &more, point);
    assert_eq!(
        unknown_receipts(&world).len(),
        unknown.len(),
        "{point}: only a crash leaves an unknown end"
    );
    for view in &unknown {
        world.assert_verified(view);
    }
    if let Some(finished) = world.list("finished").first() {
        world.assert_verified(finished);
    }
    unknown.len()
}

fn unknown_receipts(world: &World) -> Vec<Value> {
    let finished = world.list("finished").into_iter();
    finished
        .filter(|view| view["outcome"] == json!({"status": "unknown"}))
        .collect()
}

#[test]
fn promise_3_each_consumption_has_one_receipt_after_a_kill_at_any_point() {
    // Kill the service at the first occurrence of each crash point, and at some later occurrences in other operations.
    let more = [
        "before-consume-commit:2",
        "after-consume-commit:2",
        "after-receipt-commit:2",
        "before-advance-commit:2",
        "after-advance-commit:2",
        "after-advance-commit:3",
        "before-proposal-commit:3",
    ];
    let queue: Vec<String> = POINTS
        .iter()
        .map(|point| (*point).to_owned())
        .chain(more.map(str::to_owned))
        .collect();
    let queue = Arc::new(Mutex::new(queue));
    let unknown = Arc::new(Mutex::new(Vec::new()));
    let workers: Vec<_> = (0..4)
        .map(|_| {
            let (queue, unknown) = (queue.clone(), unknown.clone());
            std::thread::spawn(move || {
                loop {
                    let Some(point) = queue.lock().unwrap().pop() else {
                        break;
                    };
                    let count = killed_at(&point);
                    unknown.lock().unwrap().push((point, count));
                }
            })
        })
        .collect();
    for worker in workers {
        worker.join().unwrap();
    }
    let unknown = unknown.lock().unwrap();
    assert_eq!(unknown.len(), POINTS.len() + more.len());
    for (point, count) in unknown.iter() {
        // The outcome is unknown only if the service dies between the two commits of a run. The service writes refusals
        // and does its housekeeping in the background, so such a write can come between the two commits on a slow host.
        let (name, _) = point.split_once(':').unwrap_or((point, ""));
        let possible = match name.split('-').nth(1).unwrap() {
            "refusal" | "advance" | "prune" | "retire" => 0..=1,
            _ if ["after-consume-commit", "before-receipt-commit"].contains(&name) => 1..=1,
            _ => 0..=0,
        };
        assert!(
            possible.contains(count),
            "{point}: {count} runs with the outcome unknown, not {possible:?}"
        );
    }
}

// A crash during a step

fn mark(number: u32) -> String {
    format!("86397.{number}{}", std::process::id())
}

fn sleeping(mark: &str) -> String {
    let script = format!(
        "trap '' TERM HUP INT\n(setsid sleep {mark} > /dev/null 2>&1 &)\necho begun\nsleep {mark}"
    );
    runbook(SMALL, &[("sleep", &script)])
}

fn sleeper(number: u32) -> (World, String) {
    let mark = mark(number);
    (
        World::with(|setup| setup.runbook("s.md", sleeping(&mark))),
        mark,
    )
}

/// Like `sleeper`, on a host without namespaces.
fn poor_sleeper(test: &str, number: u32) -> Option<(World, String)> {
    let mark = mark(number);
    let mut world = World::prepared(|setup| {
        setup.config = "[sandbox]\nlevel = \"best-effort\"\n".to_owned();
        setup.runbook("s.md", sleeping(&mark));
    });
    if !poor_container(&mut world, test) {
        return None;
    }
    world.start();
    world.make_tokens();
    Some((world, mark))
}

fn begun(world: &World, step: &str) -> Value {
    let proposal = world.propose(step, json!({}));
    world.sign(&proposal, &[&alice()]).ok(200);
    let mut events = world.wire.lines(id_of(&proposal), &world.reader, 0);
    events
        .find(|event| event["type"] == "output")
        .expect("it begins");
    proposal
}

#[test]
fn an_interrupted_run_has_the_outcome_unknown_and_does_not_run_again() {
    let (mut world, mark) = sleeper(1);
    let proposal = begun(&world, "s:sleep");
    wait_for("both processes run", || processes_with(&mark).len() == 2);
    world.kill9();
    wait_for("everything of the run is dead", || {
        processes_with(&mark).is_empty()
    });
    world.start();
    assert_eq!(world.started["recovered"], 1);
    let finished = world.show(id_of(&proposal));
    assert_eq!(
        (&finished["status"], &finished["outcome"]),
        (&json!("finished"), &json!({"status": "unknown"}))
    );
    let receipt = world.receipt(&finished);
    assert_eq!(
        receipt["started_at"], receipt["finished_at"],
        "both are the time of recovery"
    );
    assert_eq!(
        receipt["sandbox"]["layers"],
        json!([]),
        "nothing is claimed that nobody saw"
    );
    world.assert_verified(&finished);
    let signed = envelope(&bytes_of(&proposal), &[&alice()]);
    world
        .unchanged(|| world.submit(&signed))
        .problem("nonce-replayed");
    assert!(processes_with(&mark).is_empty(), "it runs again");
    world.check_history();
    // Recovery ran once, so the next start has nothing to recover.
    world.restart();
    assert_eq!(world.started["recovered"], 0);
    assert_eq!(world.count("receipt"), 1);
}

/// The child processes of a process.
fn children(pid: u32) -> Vec<u32> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task"))
        .unwrap()
        .flatten();
    tasks
        .filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok())
        .flat_map(|text| {
            text.split_whitespace()
                .map(|pid| pid.parse().unwrap())
                .collect::<Vec<u32>>()
        })
        .collect()
}

fn signal(pid: u32, signal: rustix::process::Signal) {
    rustix::process::kill_process(rustix::process::Pid::from_raw(pid as i32).unwrap(), signal)
        .unwrap();
}

/// The pids of the service's helper and of the first process of its only run.
fn helper_and_first(world: &World) -> (u32, u32) {
    let helpers = children(world.pid());
    assert_eq!(helpers.len(), 1, "one helper of a service");
    let firsts = children(helpers[0]);
    assert_eq!(firsts.len(), 1, "one first process of one run");
    (helpers[0], firsts[0])
}

#[test]
fn r6_leftover_processes_are_killed_before_the_service_starts() {
    let (world, mark) = sleeper(2);
    leftovers_are_killed_first(world, &mark);
}

/// Without namespaces, the kernel does not kill the run when its first process dies.
#[test]
fn r6_leftover_processes_are_killed_before_the_service_starts_without_namespaces() {
    let Some((world, mark)) = poor_sleeper(
        "r6_leftover_processes_are_killed_before_the_service_starts_without_namespaces",
        3,
    ) else {
        return;
    };
    leftovers_are_killed_first(world, &mark);
}

fn leftovers_are_killed_first(mut world: World, mark: &str) {
    let proposal = begun(&world, "s:sleep");
    // The helper and the first process would end the run when the service dies. SIGSTOP prevents this.
    let (helper, first) = helper_and_first(&world);
    signal(helper, rustix::process::Signal::STOP);
    signal(first, rustix::process::Signal::STOP);
    world.kill9();
    // Start the next service without the wrapper, as root of the host. A service in a second user
    // namespace could not signal the processes in the first one.
    world.setup.before.clear();
    // The receipt states that the run is over, so all processes must be dead before the receipt can be read.
    world.start();
    assert_eq!(
        processes_with(mark),
        [0; 0],
        "recovery signed a receipt for a run that still runs"
    );
    let finished = world.show(id_of(&proposal));
    assert_eq!(finished["outcome"], json!({"status": "unknown"}));
}

/// The helper dies first and the service dies directly after it, so neither can kill the run's processes.
#[test]
fn a_run_without_namespaces_ends_when_its_helper_and_the_service_are_killed() {
    const NAME: &str = "a_run_without_namespaces_ends_when_its_helper_and_the_service_are_killed";
    let Some((mut world, mark)) = poor_sleeper(NAME, 4) else {
        return;
    };
    let _ = begun(&world, "s:sleep");
    let (helper, _) = helper_and_first(&world);
    world.signal(rustix::process::Signal::STOP);
    signal(helper, rustix::process::Signal::KILL);
    world.kill9();
    wait_for("everything of the run is dead", || {
        processes_with(&mark).is_empty()
    });
}

#[test]
fn r5_no_signed_data_is_visible_before_it_is_written_to_the_disk() {
    // The service dies after it signed the receipt, but before the receipt is on disk: no client may see the exit. The
    // step sleeps after its output, so that the output reaches the listener before the service dies.
    let mut world = World::with(|setup| {
        setup.runbook(
            "slow.md",
            runbook(SMALL, &[("talk", "echo out; sleep 0.5")]),
        )
    });
    world.stop();
    world
        .setup
        .env("COUNTERSIGN_FAULT", "before-receipt-commit");
    world.start();
    let proposal = world.propose("slow:talk", json!({}));
    let events = world.wire.lines(id_of(&proposal), &world.reader, 0);
    let _ = world.try_sign(&proposal, &[&alice()]);
    let seen: Vec<String> = events
        .map(|event| event["type"].as_str().unwrap().to_owned())
        .collect();
    assert!(seen.contains(&"output".to_owned()), "{seen:?}");
    assert!(
        !seen.contains(&"exit".to_owned()) && !seen.contains(&"receipt".to_owned()),
        "{seen:?}"
    );
    assert_eq!(world.ended(), None);
    world.setup.env.clear();
    world.start();
    assert_eq!(
        world.show(id_of(&proposal))["outcome"],
        json!({"status": "unknown"})
    );
    // The service dies before the signed consumption is on disk: no client may see a run. After the restart the step
    // runs once.
    world.stop();
    world
        .setup
        .env("COUNTERSIGN_FAULT", "before-consume-commit");
    world.start();
    let proposal = world.propose("say:echo", json!({}));
    let events = world.wire.lines(id_of(&proposal), &world.reader, 0);
    let _ = world.try_sign(&proposal, &[&alice()]);
    let seen: Vec<Value> = events.collect();
    assert!(
        seen.iter()
            .all(|event| event["status"] != "running" && event["type"] != "output"),
        "{seen:?}"
    );
    assert_eq!(world.ended(), None);
    world.setup.env.clear();
    world.start();
    let finished = world.until(id_of(&proposal), "finished");
    assert_eq!(finished["outcome"]["status"], "succeeded");
    world.check_history();
}

// A failing disk and a wrong clock

#[test]
fn r5_after_a_failed_sync_the_process_ends() {
    let Some(shim) = shim("r5_after_a_failed_sync_the_process_ends") else {
        return;
    };
    let mut world = World::new();
    let broken = world.path("broken").to_str().unwrap().to_owned();
    world.stop();
    world.setup.env("LD_PRELOAD", shim);
    world.setup.env("SHIM_SYNC_FAILS", &broken);
    world.start();
    let first = world.run("plain:true", json!({}), &[&alice()]);
    let whole = envelope(
        &people::authorization(&world.authorization("plain:true", json!({}))),
        &[&alice()],
    );
    let size = world.log_size();
    std::fs::write(&broken, "").unwrap();
    let answer = world
        .wire
        .try_post("/v1/authorizations", &world.agent, &whole);
    assert!(
        answer.as_ref().map_or(true, |reply| reply.status >= 500),
        "nobody is told that it ran: {answer:?}"
    );
    let code = world.ended();
    assert_ne!(
        code,
        Some(0),
        "it must not go on, nor end as if all were well"
    );
    std::fs::remove_file(&broken).unwrap();
    world.start();
    assert!(world.log_size() >= size);
    assert_eq!(
        world.receipt(&world.show(id_of(&first)))["outcome"]["status"],
        "succeeded"
    );
    // SQLite wrote the commit and only its sync failed, so the next process finds the spent nonce.
    world.submit(&whole).problem("nonce-replayed");
    world.check_history();
}

#[test]
fn r7_no_expired_authorization_becomes_valid_if_the_clock_is_set_back() {
    let Some(shim) = shim("r7_no_expired_authorization_becomes_valid_if_the_clock_is_set_back")
    else {
        return;
    };
    let ahead = 7200;
    let mut world = World::prepared(|setup| {
        setup.env("LD_PRELOAD", shim);
        setup.env("SHIM_CLOCK", ahead.to_string());
    });
    world.start();
    world.make_tokens();
    // This authorization is valid by the real clock, but expired by the clock of the boundary.
    let mut predicate = world.authorization("plain:true", json!({}));
    people::end_at(&mut predicate, now() + 1800);
    let late = envelope(&people::authorization(&predicate), &[&alice()]);
    world.unchanged(|| world.submit(&late)).problem("expired");
    // The boundary consumes this authorization while its clock is two hours ahead.
    predicate = world.authorization("plain:fail", json!({}));
    for field in ["issued_at", "not_before"] {
        predicate[field] = json!(stamp(now() + ahead));
    }
    people::end_at(&mut predicate, now() + ahead + 600);
    let spent = envelope(&people::authorization(&predicate), &[&alice()]);
    world.submit(&spent).ok(200);
    world.stop();
    // Set the clock back by two hours, to the real time.
    world.setup.env.clear();
    world.start();
    world.unchanged(|| world.submit(&late)).problem("expired");
    world
        .unchanged(|| world.submit(&spent))
        .problem("nonce-replayed");
    let sizes = world.log_size();
    // New runs succeed. Their times are not earlier than the times in the log.
    let finished = world.run("plain:true", json!({}), &[&alice()]);
    assert_eq!(finished["outcome"]["status"], "succeeded");
    assert!(world.log_size() > sizes);
    world.check_history();
    world.assert_verified(&finished);
}

#[test]
fn r7_approval_windows_end_even_if_the_clock_is_behind_the_log() {
    let Some(shim) = shim("r7_approval_windows_end_even_if_the_clock_is_behind_the_log") else {
        return;
    };
    let mut world = World::new();
    world.stop();
    world.setup.env("LD_PRELOAD", &shim);
    world.setup.env("SHIM_CLOCK", (40 * 86_400).to_string());
    world.start();
    world.run("plain:true", json!({}), &[&alice()]);
    world.stop();
    world.setup.env.clear();
    world.start();
    let wish = json!({"step": "plain:true", "params": {}, "reason": "short", "expires_in_s": 3, "new": true});
    let short = world
        .wire
        .post("/v1/proposals", &world.agent, &wish)
        .ok(201);
    world.until(id_of(&short), "expired");
    // `/ready` and `doctor` must report the wrong clock.
    let ready = world.wire.peek("/ready");
    assert_eq!(ready.status, 503, "{}", ready.text());
    let notes = ready.json()["notes"].to_string();
    assert!(
        notes.contains("the system clock") && notes.contains("s behind the boundary's own time"),
        "{notes}"
    );
    let doctor = world
        .program(&["doctor"])
        .arg(world.path("b"))
        .output()
        .expect("doctor");
    let said = String::from_utf8_lossy(&doctor.stdout).into_owned();
    let line = said
        .lines()
        .find(|line| line.contains("the system clock"))
        .unwrap_or_else(|| panic!("{said}"));
    assert!(
        line.starts_with("FIX ") && doctor.status.code() == Some(1),
        "{said}"
    );
    world.check_history();
}

#[test]
fn a_clock_before_1970_is_refused_at_the_start() {
    let Some(shim) = shim("a_clock_before_1970_is_refused_at_the_start") else {
        return;
    };
    let mut world = World::prepared(|setup| {
        setup.env("LD_PRELOAD", shim);
        setup.env("SHIM_CLOCK", (-now() - 86_400).to_string());
    });
    let refused = world.try_start().expect_err("nothing can be dated by it");
    assert!(
        refused.contains("the system clock is before 1970: correct the clock"),
        "{refused}"
    );
    assert!(!refused.contains("panicked"), "{refused}");
}

#[test]
fn r7_a_clock_that_jumps_ahead_only_delays_the_deletion_of_nonces() {
    let Some(shim) = shim("r7_a_clock_that_jumps_ahead_only_delays_the_deletion_of_nonces") else {
        return;
    };
    let mut world = World::new();
    let mut predicate = world.authorization("plain:true", json!({}));
    people::end_at(&mut predicate, now() + 3600);
    let signed = envelope(&people::authorization(&predicate), &[&alice()]);
    world.submit(&signed).ok(200);
    world.stop();
    // Move the clock 40 days ahead. If the service trusted this clock, it would delete the nonce.
    world.setup.env("LD_PRELOAD", &shim);
    world.setup.env("SHIM_CLOCK", (40 * 86_400).to_string());
    world.start();
    wait_for("the jump is reported", || {
        world
            .service_log()
            .contains("the clock is ahead of the low-water mark")
    });
    world.restart();
    world.stop();
    world.setup.env.clear();
    world.start();
    world
        .unchanged(|| world.submit(&signed))
        .problem("nonce-replayed");
    assert_eq!(world.count("receipt"), 1);
}

#[test]
fn r7_no_token_and_no_window_ends_while_the_clock_is_ahead() {
    let Some(shim) = shim("r7_no_token_and_no_window_ends_while_the_clock_is_ahead") else {
        return;
    };
    let mut world = World::new();
    let mark = world.path("ahead").to_str().unwrap().to_owned();
    world.stop();
    world.setup.env("LD_PRELOAD", &shim);
    world.setup.env("SHIM_CLOCK", (400 * 86_400).to_string());
    world.setup.env("SHIM_CLOCK_WHILE", &mark);
    world.start();
    let token = json!({"name": "short", "owners": [], "scopes": ["read"], "patterns": [], "expires_at": stamp(now() + 600)});
    let short = &world.create_token(&token).unwrap();
    let proposal = world.propose("plain:true", json!({}));
    let path = format!("/v1/proposals/{}", id_of(&proposal));
    std::fs::write(&mark, "").unwrap();
    wait_for("the leap is seen", || {
        world.wire.peek("/ready").status == 503
    });
    assert_eq!(world.wire.get(&path, short).ok(200)["status"], "pending");
    let late = json!({"name": "late", "owners": [], "scopes": ["read"], "patterns": []});
    let refused = world
        .create_token(&late)
        .expect_err("its end would be wrong");
    assert!(refused.contains("ahead"), "{refused}");
    world
        .control(&json!({"do": "token-revoke", "name": "courier"}))
        .expect("a stolen token can be revoked");
    let challenge = world
        .wire
        .post("/v1/challenges", "", &json!({"keyid": alice().keyid()}))
        .ok(200)["challenge"]
        .clone();
    let signature = alice().sign_as(people::CHALLENGE, challenge.as_str().unwrap().as_bytes());
    let answer = json!({"challenge": challenge, "signature": signature});
    let admitted = world
        .wire
        .post("/v1/challenges/answer", "", &answer)
        .ok(200);
    assert!(
        admitted["expires_at"].as_str().unwrap() < stamp(now() + 700).as_str(),
        "{admitted}"
    );
    world
        .unchanged(|| world.submit(&envelope(&bytes_of(&proposal), &[&alice()])))
        .problem("busy");
    std::fs::remove_file(&mark).unwrap();
    world.wire.get(&path, short).ok(200);
    world.sign(&proposal, &[&alice()]).ok(200);
    world.until(id_of(&proposal), "finished");
    world.check_history();
    world.assert_audited();
}

#[test]
fn r5_a_disk_that_becomes_read_only_ends_the_service_without_data_loss() {
    let Some(shim) = shim("r5_a_disk_that_becomes_read_only_ends_the_service_without_data_loss")
    else {
        return;
    };
    let mut world = World::with(|setup| {
        setup.runbook(
            "s.md",
            runbook(SMALL, &[("short", "echo begun\nsleep 1\necho done")]),
        );
    });
    let mark = world.path("read-only").to_str().unwrap().to_owned();
    world.stop();
    world.setup.env("LD_PRELOAD", shim);
    world.setup.env("SHIM_READ_ONLY", &mark);
    world.start();
    let first = world.run("plain:true", json!({}), &[&alice()]);
    let open = begun(&world, "s:short");
    let size = world.log_size();
    std::fs::write(&mark, "").unwrap();
    // The service cannot store the end of the run, so it must not report an end.
    assert_ne!(
        world.ended(),
        Some(0),
        "it must not go on, nor end as if all were well"
    );
    let refused = world
        .try_start()
        .expect_err("it does not start on such a disk");
    assert!(
        refused.contains("ead-only") || refused.contains("readonly"),
        "{refused}"
    );
    std::fs::remove_file(&mark).unwrap();
    assert_sound(&world);
    world.start();
    assert!(world.log_size() > size);
    assert_eq!(
        world.receipt(&world.show(id_of(&first)))["outcome"]["status"],
        "succeeded"
    );
    assert_eq!(
        world.show(id_of(&open))["outcome"],
        json!({"status": "unknown"})
    );
    world.run("plain:true", json!({}), &[&alice()]);
    world.check_history();
    world.assert_audited();
    assert_sound(&world);
}

/// Asserts that `store check` finds no defect.
#[track_caller]
fn assert_sound(world: &World) {
    let checked = world
        .program(&["store", "check", "--config"])
        .arg(world.path("b"))
        .output()
        .expect("store check");
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&checked.stdout),
        String::from_utf8_lossy(&checked.stderr)
    );
    assert!(
        checked.status.success() && said.contains("no defect"),
        "{said}"
    );
}

#[test]
fn r7_a_clock_that_is_set_a_year_forward_and_back_causes_no_contradiction_in_the_log() {
    let Some(shim) =
        shim("r7_a_clock_that_is_set_a_year_forward_and_back_causes_no_contradiction_in_the_log")
    else {
        return;
    };
    const YEAR: i64 = 365 * 86_400;
    let mut world = World::new();
    let first = world.run("say:echo", json!({"text": "now"}), &[&alice()]);
    let mut spent = Vec::new();
    let mut dates = Vec::new();
    for clock in [0, YEAR, 0, -YEAR, YEAR, 0] {
        world.stop();
        assert_sound(&world);
        world.setup.env.clear();
        world.setup.env("LD_PRELOAD", &shim);
        world.setup.env("SHIM_CLOCK", clock.to_string());
        world.start();
        assert_eq!(world.started["recovered"], 0);
        let ran = world.run(
            "say:echo",
            json!({"text": format!("run {}", spent.len())}),
            &[&alice()],
        );
        assert_eq!(ran["outcome"]["status"], "succeeded");
        world.assert_verified(&ran);
        dates.push(
            world.receipt(&ran)["finished_at"]
                .as_str()
                .unwrap()
                .to_owned(),
        );
        spent.push(envelope(&bytes_of(&ran), &[&alice()]));
        // An authorization that was spent under any of these clocks is refused as replayed or expired.
        for again in &spent {
            let refused = world.submit(again).json()["type"]
                .as_str()
                .unwrap_or("it ran")
                .to_owned();
            assert!(
                ["/problems/nonce-replayed", "/problems/expired"].contains(&&*refused),
                "{clock}: {refused}"
            );
        }
        world.check_history();
        world.assert_audited();
        assert_sound(&world);
    }
    assert!(dates.is_sorted(), "{dates:?}");
    assert_eq!(world.count("receipt"), spent.len() + 1, "nothing ran twice");
    world.assert_verified(&world.show(id_of(&first)));
}

// An orderly shutdown

#[test]
fn after_sigterm_the_service_waits_for_its_runs_and_writes_their_receipts() {
    let mut world = World::with(|setup| {
        setup.runbook(
            "s.md",
            runbook(SMALL, &[("short", "echo begun\nsleep 1.5\necho done")]),
        );
    });
    let proposal = begun(&world, "s:short");
    let waiting = {
        let (wire, token) = (world.wire.clone(), world.reader.clone());
        let path = format!("/v1/proposals/{}?wait=50s", id_of(&proposal));
        std::thread::spawn(move || wire.get(&path, &token))
    };
    let whole = envelope(
        &people::authorization(&world.authorization("s:short", json!({}))),
        &[&alice()],
    );
    let handing_in = {
        let (wire, token) = (world.wire.clone(), world.agent.clone());
        std::thread::spawn(move || wire.post("/v1/authorizations", &token, &whole))
    };
    wait_for("both run", || world.list("running").len() == 2);
    let began = std::time::Instant::now();
    world.signal(rustix::process::Signal::TERM);
    // The long poll returns the current state of the proposal, not an error.
    let view = waiting.join().unwrap().ok(200);
    assert!(
        ["running", "finished"].contains(&view["status"].as_str().unwrap()),
        "{view:#}"
    );
    assert!(
        handing_in.join().unwrap().ok(200)["receipt"].is_object(),
        "what was handed in gets its answer"
    );
    assert_eq!(world.ended(), Some(0), "{}", world.service_log());
    assert!(
        began.elapsed().as_secs() < 20,
        "it waits for what runs, and no longer"
    );
    assert!(world.wire.try_call("GET", "/health", &[], None).is_err());
    world.start();
    assert_eq!(world.started["recovered"], 0);
    let finished = world.show(id_of(&proposal));
    assert_eq!(
        finished["outcome"],
        json!({"status": "succeeded", "exit_code": 0})
    );
    assert_eq!(world.output(&finished, "stdout"), "begun\ndone\n");
    world.check_history();
}

#[test]
fn an_approved_proposal_runs_after_the_next_start() {
    // The service is killed after the quorum but before the claim of the runs. No approved run is lost or runs twice.
    let mut world = World::with(|setup| setup.limits = "runs = 1".to_owned());
    let holder = begun(&world, "plain:wait");
    let waiting: Vec<Value> = ["plain:true", "plain:fail"]
        .iter()
        .map(|step| {
            let proposal = world.propose(step, json!({}));
            world.sign(&proposal, &[&alice() as &Key]).ok(200);
            proposal
        })
        .collect();
    assert_eq!(world.list("approved").len(), 2);
    world.kill9();
    world.start();
    assert_eq!(
        world.show(id_of(&holder))["outcome"],
        json!({"status": "unknown"})
    );
    for proposal in &waiting {
        world.until(id_of(proposal), "finished");
    }
    assert_eq!(world.count("receipt"), 3);
    world.check_history();
}
