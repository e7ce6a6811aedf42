//! Emergencies, unknown ends, and the reviews that close and settle them.

use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::support::grants::{arm, as_holder, bearer, granted, start_after_the_kill, terms, used};
use crate::support::people::{
    self, Key, alice, bob, carol, dora, envelope, erin, frank, mallory, oscar, robot, sha256,
};
use crate::support::reviews::{POLICY, emergency, lost, ran, review_of, reviewed, send};
use crate::support::{SMALL, World, id_of, runbook, said, wait_for};

/// A run with an unknown end is settled by two people.
const SETTLED_BY_TWO: &str = "version: 1\nextends: none\ndefault:\n  mode: execute\n  approvals: {required: 1, from: [ops, security]}\n  \
                              standing: {max_uses: 20, max_days: 7}\nsettle: {required: 2, from: [ops, security]}\n";

fn world(policy: &str) -> World {
    World::with(|setup| setup.policy = policy.to_owned())
}

fn unsettled(world: &World) -> Vec<Value> {
    let list = world.wire.get("/v1/unsettled", &world.reader).ok(200);
    list["runs"].as_array().expect("runs").clone()
}

#[test]
fn an_emergency_needs_the_rule_of_emergencies_and_stays_open_until_other_people_review_it() {
    let mut world = world(POLICY);
    let view = emergency(&world, "say:echo", json!({"text": "one"})).ok(201);
    assert_eq!(
        (&view["emergency"], &view["approvals"]["required"]),
        (&json!(true), &json!(1)),
        "{view:#}"
    );
    world.sign(&view, &[&bob()]).problem("not-permitted-signer");
    world.sign(&view, &[&carol()]).problem("self-approval");
    let _ = world.sign(&view, &[&alice()]).ok(200);
    let one = world.until(id_of(&view), "finished");
    world.assert_verified(&one);
    let two = ran(&world, "two");
    // The limit holds for new proposals, after a restart, and for envelopes that were signed before.
    world.restart();
    let refused = emergency(&world, "say:echo", json!({"text": "three"})).problem("policy-denied");
    let detail = refused["detail"].as_str().expect("a detail").to_owned();
    for run in [&one, &two] {
        assert!(
            detail.contains(run["receipt"].as_str().expect("a receipt")),
            "{detail}"
        );
    }
    let open = unsettled(&world);
    assert_eq!(open.len(), 2, "{open:#?}");
    assert_eq!(
        open[0]["review"],
        json!({"required": 1, "have": 0, "from": ["ops", "security"]})
    );
    // A person who signed the run may review it, but does not count.
    let own = reviewed(&world, &one, &alice(), "accepted", None).ok(200);
    assert_eq!(
        (&own["open"], &own["existing"]),
        (&json!(true), &json!(false)),
        "{own:#}"
    );
    emergency(&world, "say:echo", json!({"text": "three"})).problem("policy-denied");
    let closing = review_of(&world, &one, "rejected", None);
    let closing = envelope(&closing, &[&bob()]);
    let closed = send(&world, &one, &closing).ok(200);
    assert_eq!(closed["open"], false, "{closed:#}");
    // The same bytes again are no new entry, and a further review is not needed.
    let size = world.log_size();
    assert_eq!(send(&world, &one, &closing).ok(200)["existing"], true);
    reviewed(&world, &one, &dora(), "accepted", None).problem("wrong-state");
    assert_eq!(world.log_size(), size);
    let _ = ran(&world, "three");
    assert_eq!((world.count("review"), unsettled(&world).len()), (2, 2));
    world.assert_audited();
}

#[test]
fn the_list_of_runs_to_review_begins_with_emergencies_and_the_newest_and_counts_the_others() {
    let mut world = world(POLICY);
    let open = ran(&world, "one");
    let seen = lost(&mut world, &[&alice(), &bob()]);
    world.stop();
    // Rows of 1,200 later runs with an unknown end and the same receipt.
    let store = rusqlite::Connection::open(world.database()).expect("a store");
    store
        .execute_batch(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1200)
             INSERT INTO owed (proposal, receipt, emergency, unknown)
             SELECT unhex(format('01ffffff000070008000%012x', i)), receipt, 0, 1 FROM n, (SELECT receipt FROM owed WHERE unknown = 1);
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1200)
             INSERT INTO proposal (id, digest, nonce, step, step_digest, params_digest, proposer, expires_at, status, created_ms)
             SELECT unhex(format('01ffffff000070008000%012x', i)), digest, nonce, step, step_digest, params_digest, proposer,
             expires_at, status, created_ms + i FROM n, (SELECT p.* FROM proposal p JOIN owed o ON o.proposal = p.id WHERE unknown = 1)",
        )
        .expect("rows");
    drop(store);
    world.start();
    let list = world.wire.get("/v1/unsettled", &world.reader).ok(200);
    let listed: Vec<_> = list["runs"]
        .as_array()
        .expect("runs")
        .iter()
        .map(|run| run["proposal"].clone())
        .collect();
    let newest = |at: u32| json!(format!("prp_01ffffff-0000-7000-8000-{at:012x}"));
    assert_eq!((listed.len(), &list["more"]), (100, &json!(900)));
    assert_eq!(
        (&listed[0], &listed[1], &listed[99]),
        (&open["id"], &newest(1200), &newest(1102))
    );
    assert!(
        !listed.contains(&seen["id"]),
        "the oldest of many is one of the others"
    );
    let mut words = world.program(&["--url", &world.wire.url, "unsettled"]);
    let words = said(
        &words
            .env("COUNTERSIGN_TOKEN", &world.reader)
            .output()
            .expect("unsettled"),
    );
    assert!(
        words.contains("900 more runs need a review: review these first"),
        "{words}"
    );
}

#[test]
fn emergencies_at_the_same_time_never_exceed_the_limit() {
    let world = world(POLICY);
    let proposal = emergency(&world, "say:echo", json!({"text": "x"})).ok(201);
    let template = people::predicate_of(&json!({"payload": proposal["payload"]}));
    let (ran, denied) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..32 {
            scope.spawn(|| {
                let mut predicate = template.clone();
                people::renew(&mut predicate);
                let reply =
                    world.submit(&envelope(&people::authorization(&predicate), &[&alice()]));
                match reply.status {
                    200 => ran.fetch_add(1, Ordering::Relaxed),
                    _ => {
                        assert_eq!(
                            reply.json()["type"],
                            "/problems/policy-denied",
                            "{}",
                            reply.text()
                        );
                        // `review-run` takes the ids of receipts.
                        let detail = reply.json()["detail"].to_string();
                        assert!(
                            detail.contains(": rcp_") && !detail.contains("prp_"),
                            "{detail}"
                        );
                        denied.fetch_add(1, Ordering::Relaxed)
                    }
                };
            });
        }
    });
    assert_eq!((ran.into_inner(), denied.into_inner()), (2, 30));
    world.check_history();
    world.assert_audited();
}

#[test]
fn an_emergency_that_policy_does_not_permit_is_refused_with_its_reason() {
    let world = world(POLICY);
    let long = json!({"step": "say:echo", "params": {"text": "x"}, "emergency": true, "expires_in_s": 601});
    world
        .wire
        .post("/v1/proposals", &world.agent, &long)
        .refuses("policy-denied", "600 s");
    let mut both = long.clone();
    both["grant"] = json!("grt_019aa0b0-5c00-7000-8000-000000000001");
    both["nonce"] = json!(people::nonce_until(people::now() + 60));
    both.as_object_mut().expect("a map").remove("expires_in_s");
    let answer = world.wire.post("/v1/proposals", &world.agent, &both).json();
    assert!(
        ["/problems/malformed", "/problems/not-granted"]
            .iter()
            .any(|kind| answer["type"] == *kind),
        "{answer:#}"
    );
    // A normal run of the same step is another proposal, and needs its two people.
    let urgent = emergency(&world, "say:echo", json!({"text": "same"})).ok(201);
    let normal = world.propose("say:echo", json!({"text": "same"}));
    assert_ne!(id_of(&urgent), id_of(&normal));
    assert_eq!(normal["approvals"]["required"], 2, "{normal:#}");
    let _ = world.sign(&normal, &[&alice()]).ok(200);
    assert_eq!(world.show(id_of(&normal))["status"], "pending");
    // Repeated proposals are the earlier ones of their kind.
    assert_eq!(
        id_of(&emergency(&world, "say:echo", json!({"text": "same"})).ok(200)),
        id_of(&urgent)
    );
    let wish = json!({"step": "say:echo", "params": {"text": "same"}, "reason": "because"});
    assert_eq!(
        id_of(
            &world
                .wire
                .post("/v1/proposals", &world.agent, &wish)
                .ok(200)
        ),
        id_of(&normal)
    );
    let plain = World::new();
    emergency(&plain, "say:echo", json!({"text": "x"})).refuses("policy-denied", "no emergency");
}

#[test]
fn a_review_that_breaks_a_rule_changes_nothing_and_is_refused_with_its_code() {
    let world = world(POLICY);
    let (one, two) = (ran(&world, "one"), ran(&world, "two"));
    let (known, other) = (
        review_of(&world, &one, "accepted", None),
        review_of(&world, &two, "accepted", None),
    );
    let edited = |change: &dyn Fn(&mut Value)| {
        let mut value: Value = serde_json::from_slice(&known).expect("JSON");
        change(&mut value);
        people::canonical(&value)
    };
    let normal = world.run("plain:true", json!({}), &[&alice(), &bob()]);
    let needless = review_of(&world, &normal, "accepted", None);
    for (payload, keys, code) in [
        (known.clone(), vec![mallory()], "unknown-signer"),
        (known.clone(), vec![frank()], "not-permitted-signer"),
        (known.clone(), vec![erin()], "not-permitted-signer"),
        (known.clone(), vec![carol()], "self-approval"),
        (known.clone(), vec![oscar()], "not-permitted-signer"),
        (known.clone(), vec![robot()], "not-permitted-signer"),
        (known.clone(), vec![], "malformed"),
        (known.clone(), vec![bob(), dora()], "malformed"),
        (other, vec![bob()], "malformed"),
        (
            edited(&|value| value["predicate"]["boundary"]["epoch"] = json!("0".repeat(32))),
            vec![bob()],
            "revoked",
        ),
        (
            edited(&|value| {
                value["predicate"]["boundary"]["id"] =
                    json!(format!("sha256:{}", sha256(b"another")))
            }),
            vec![bob()],
            "wrong-boundary",
        ),
        (
            edited(&|value| value["predicate"]["verdict"] = json!("maybe")),
            vec![bob()],
            "malformed",
        ),
        (
            edited(&|value| value["predicate"]["observed"] = json!("unknown")),
            vec![bob()],
            "malformed",
        ),
        (
            edited(&|value| value["predicate"]["more"] = json!(1)),
            vec![bob()],
            "malformed",
        ),
        (
            edited(&|value| value["subject"] = json!([])),
            vec![bob()],
            "malformed",
        ),
        (
            people::denial(&world.boundary(), b"x", "no"),
            vec![bob()],
            "malformed",
        ),
    ] {
        let keys: Vec<&Key> = keys.iter().collect();
        let _ = world.unchanged(|| send(&world, &one, &envelope(&payload, &keys)).problem(code));
    }
    let mut bad = envelope(&known, &[&bob()]);
    bad["signatures"][0]["sig"] = envelope(&known, &[&dora()])["signatures"][0]["sig"].clone();
    let _ = world.unchanged(|| send(&world, &one, &bad).problem("bad-signature"));
    let _ = world.unchanged(|| {
        send(&world, &normal, &envelope(&needless, &[&dora()])).problem("wrong-state")
    });
    assert_eq!(unsettled(&world).len(), 2);
    world.assert_audited();
}

#[test]
fn a_grant_goes_on_after_people_have_settled_how_its_run_ended() {
    let mut world = World::with(|setup| {
        setup.policy = SETTLED_BY_TWO.to_owned();
        let steps = [
            ("true", ":"),
            ("fail", "exit 3"),
            ("wait", "exec sleep 600"),
            ("status check=true", ":"),
        ];
        setup.runbook("plain.md", runbook(SMALL, &steps));
    });
    let mut wanted = terms();
    wanted["steps"] = json!([
        {"step": "say:echo", "params": {"type": "object", "properties": {"text": {"type": "string", "pattern": "^[a-z]{1,8}$"}}, "required": ["text"]}},
        {"step": "plain:wait", "params": {"type": "object", "properties": {}}},
    ]);
    let grant = granted(&world, &wanted);
    let start = |world: &World, bearer: &str| {
        let wish = json!({"step": "plain:wait", "params": {}, "grant": grant["id"], "nonce": people::nonce()});
        let view = world.wire.post("/v1/proposals", bearer, &wish).ok(201);
        let _ = world.sign(&view, &[&robot()]).ok(200);
        world.until(id_of(&view), "running")
    };
    let robot_bearer = bearer(&world, &robot());
    let started = [start(&world, &robot_bearer), start(&world, &robot_bearer)];
    world.kill9();
    world.start();
    let [one, two] = started.map(|view| world.until(id_of(&view), "finished"));
    assert_eq!(one["outcome"]["status"], "unknown");
    let robot_bearer = bearer(&world, &robot());
    let attempt = |world: &World| {
        let wish = json!({"step": "say:echo", "params": {"text": "go"}, "grant": grant["id"], "nonce": people::nonce()});
        let view = world
            .wire
            .post("/v1/proposals", &robot_bearer, &wish)
            .ok(201);
        world.sign(&view, &[&robot()]).problem("grant-paused");
        world.until(id_of(&view), "refused")["refusal"]["code"].clone()
    };
    assert_eq!(attempt(&world), "grant-paused");
    let open = unsettled(&world);
    assert_eq!(
        (&open[0]["grant"], &open[0]["settle"]["required"]),
        (&grant["id"], &json!(2)),
        "{open:#?}"
    );
    // Only a step whose author says that it is a check.
    assert_eq!(open[0]["steps"], json!(["plain:status"]), "{open:#?}");
    // Two people of the groups must agree. The proposer's owner is excluded, and the approver of the grant may settle.
    assert_eq!(
        reviewed(&world, &one, &alice(), "accepted", Some("succeeded")).ok(200)["unsettled"],
        true
    );
    assert_eq!(
        reviewed(&world, &one, &dora(), "rejected", Some("partly")).ok(200)["unsettled"],
        true
    );
    let of_one = unsettled(&world)
        .into_iter()
        .find(|run| run["receipt"] == one["receipt"])
        .expect("it is listed");
    assert_eq!(of_one["disputed"], true, "{of_one:#}");
    assert_eq!(attempt(&world), "grant-paused");
    let settled = reviewed(&world, &one, &dora(), "accepted", Some("succeeded")).ok(200);
    assert_eq!(
        (&settled["unsettled"], &settled["settled"]),
        (&json!(false), &json!("succeeded")),
        "{settled:#}"
    );
    let with_reason = |key: &Key, reason: &str, observed: &str| {
        let review = review_of(&world, &one, "accepted", Some(observed));
        let mut review: Value = serde_json::from_slice(&review).expect("JSON");
        review["predicate"]["reason"] = json!(reason);
        send(&world, &one, &envelope(&people::canonical(&review), &[key]))
    };
    with_reason(&dora(), "seen again", "succeeded").problem("wrong-state");
    // A different observation disputes what was settled, until people agree again.
    let disputed = reviewed(&world, &one, &alice(), "accepted", Some("failed")).ok(200);
    assert_eq!(
        (&disputed["unsettled"], &disputed["settled"]),
        (&json!(true), &Value::Null),
        "{disputed:#}"
    );
    let agreed = with_reason(&alice(), "seen twice", "succeeded").ok(200);
    assert_eq!(
        (&agreed["unsettled"], &agreed["settled"]),
        (&json!(false), &json!("succeeded")),
        "{agreed:#}"
    );
    // The same bytes again would not bring dora's earlier verdict back, so the boundary does not answer as if they did.
    reviewed(&world, &one, &dora(), "rejected", Some("partly"))
        .refuses("wrong-state", "with another reason");
    assert_eq!(
        reviewed(&world, &one, &dora(), "accepted", Some("succeeded")).ok(200)["existing"],
        true
    );
    // The other run still pauses the grant, also after a restart.
    world.restart();
    let robot_bearer = bearer(&world, &robot());
    let wish = json!({"step": "say:echo", "params": {"text": "go"}, "grant": grant["id"], "nonce": people::nonce()});
    let view = world
        .wire
        .post("/v1/proposals", &robot_bearer, &wish)
        .ok(201);
    world.sign(&view, &[&robot()]).problem("grant-paused");
    for key in [alice(), dora()] {
        let _ = reviewed(&world, &two, &key, "accepted", Some("failed")).ok(200);
    }
    assert!(unsettled(&world).is_empty());
    let _ = used(&world, &robot_bearer, &grant, "on");
    world.check_history();
    world.assert_audited();
}

#[test]
fn reviews_follow_the_rules_of_the_run_after_a_new_seal() {
    let mut world = world(POLICY);
    let one = ran(&world, "one");
    let run = lost(&mut world, &[&alice(), &bob()]);
    assert_eq!(run["outcome"]["status"], "unknown");
    // The steps of the runs are no longer sealed. Their old definitions and the old policy decide.
    for name in ["say", "plain"] {
        std::fs::remove_file(world.path(&format!("b/runbooks/{name}.md"))).expect("removed");
    }
    world.reseal(world.seal() + 1);
    assert_eq!(
        reviewed(&world, &one, &bob(), "accepted", None).ok(200)["open"],
        false
    );
    assert_eq!(
        reviewed(&world, &run, &dora(), "accepted", Some("failed")).ok(200)["settled"],
        "failed"
    );
    assert!(unsettled(&world).is_empty());
    world.assert_audited();
}

#[test]
fn a_review_is_logged_once_after_a_kill_at_each_point() {
    for point in ["before-review-commit", "after-review-commit"] {
        let mut world = world(POLICY);
        let run = lost(&mut world, &[&alice(), &bob()]);
        let review = envelope(
            &review_of(&world, &run, "accepted", Some("failed")),
            &[&dora()],
        );
        arm(&mut world, point);
        let id = run["receipt"].as_str().expect("a receipt");
        assert!(
            world
                .wire
                .try_post(&format!("/v1/receipts/{id}/reviews"), "", &review)
                .is_err(),
            "{point}"
        );
        start_after_the_kill(&mut world, point);
        assert_eq!(
            unsettled(&world).is_empty(),
            point.starts_with("after"),
            "{point}"
        );
        let again = send(&world, &run, &review).ok(200);
        assert_eq!(
            (&again["existing"], &again["settled"]),
            (&json!(point.starts_with("after")), &json!("failed"))
        );
        assert_eq!(world.count("review"), 1, "{point}");
        world.assert_audited();
    }
}

#[test]
fn a_gate_stays_shut_for_an_emergency_unless_it_is_told_otherwise() {
    let world = world(POLICY);
    let finished = ran(&world, "one");
    world.write(
        "bundle.json",
        &String::from_utf8(world.bundle(&finished)).expect("text"),
    );
    let word = |value: &Value| value.as_str().expect("text").to_owned();
    let (id, roster) = (
        word(&world.boundary()["id"]),
        word(&world.started["roster"]),
    );
    let gate = |more: &[&str]| {
        let file = world.path("bundle.json").display().to_string();
        let base = [
            "gate",
            &file,
            "--roster",
            &roster,
            "--boundary",
            &id,
            "--step",
            "say:echo",
            "--any-digest",
            "-p",
            "text=one",
        ];
        let done = world
            .program(&[&base[..], more].concat())
            .output()
            .expect("gate");
        (done.status.code(), said(&done))
    };
    let (code, words) = gate(&[]);
    assert_eq!(code, Some(1), "{words}");
    assert!(words.contains("--allow-emergency"), "{words}");
    let (code, words) = gate(&["--allow-emergency"]);
    assert_eq!(code, Some(0), "{words}");
}

#[test]
fn the_people_of_an_emergency_can_deny_it_and_one_that_nobody_could_close_does_not_run() {
    // Only dora and alice are of `ops` and not excluded. A person who signs does not count as a reviewer.
    let policy = |review: &str| {
        format!(
            "version: 1\nextends: none\ndefault:\n  mode: execute\n  approvals: {{required: 1, from: [security, ops]}}\n  \
             emergency: {{required: 1, from: [finance], max_unreviewed: 1, max_window_s: 600, review: {review}}}\n"
        )
    };
    let world = world(&policy("{required: 2, from: [ops]}"));
    let view = emergency(&world, "say:echo", json!({"text": "x"})).ok(201);
    let _ = world.deny(&view, &frank()).ok(200);
    assert_eq!(world.show(id_of(&view))["status"], "denied");
    let view = emergency(&world, "say:echo", json!({"text": "y"})).ok(201);
    let _ = world.sign(&view, &[&frank()]).ok(200);
    let _ = world.until(id_of(&view), "finished");
    world.assert_audited();

    let impossible = self::world(&policy("{required: 3, from: [ops]}"));
    emergency(&impossible, "say:echo", json!({"text": "x"}))
        .refuses("quorum-missing", "only 2 can");
    // With alice as its approver, only dora could review the run.
    let two_of_ops = policy("{required: 2, from: [ops]}").replace("from: [finance]", "from: [ops]");
    let world = self::world(&two_of_ops);
    emergency(&world, "say:echo", json!({"text": "x"}))
        .refuses("quorum-missing", "there are only 2");
    // Frank can approve it and can't review it. With alice as its approver, only dora could review the run.
    let world = self::world(&two_of_ops.replace("from: [ops], max", "from: [ops, finance], max"));
    let view = emergency(&world, "say:echo", json!({"text": "x"})).ok(201);
    let _ = world.sign(&view, &[&alice()]).ok(200);
    assert_eq!(
        world.until(id_of(&view), "refused")["refusal"]["code"],
        "quorum-missing"
    );
    assert_eq!(world.count("consumption"), 0);
}

#[test]
fn a_review_counts_only_if_its_signer_was_an_approver_at_the_newest_time_of_the_log() {
    // An auditor knows no other time. The membership of gina begins after the run.
    let gina = Key::of("gina", 20);
    let begin = people::now() + 6;
    let world = World::with(|setup| {
        setup.policy = POLICY.to_owned();
        setup.roster["approvers"]["gina"] = json!({"groups": ["ops"], "keys": [gina.ssh.line()], "valid_after": people::stamp(begin)});
    });
    let run = ran(&world, "one");
    assert!(people::now() < begin, "the run came before the membership");
    crate::support::wait_for("the membership", || people::now() > begin);
    reviewed(&world, &run, &gina, "accepted", None).problem("not-permitted-signer");
    let _ = ran(&world, "two");
    assert_eq!(
        reviewed(&world, &run, &gina, "accepted", None).ok(200)["open"],
        false
    );
    world.assert_audited();
}

#[test]
fn a_settled_run_is_disputed_by_one_later_observation_and_its_grant_pauses_again() {
    let mut world = World::with(|setup| setup.policy = crate::support::grants::POLICY.to_owned());
    let mut wanted = terms();
    wanted["steps"]
        .as_array_mut()
        .expect("steps")
        .push(json!({"step": "plain:wait", "params": {"type": "object", "properties": {}}}));
    let grant = granted(&world, &wanted);
    let run = |world: &World, step: &str, params: Value| {
        let wish =
            json!({"step": step, "params": params, "grant": grant["id"], "nonce": people::nonce()});
        let view = world
            .wire
            .post("/v1/proposals", &bearer(world, &robot()), &wish)
            .ok(201);
        (world.sign(&view, &[&robot()]), view)
    };
    let (_, view) = run(&world, "plain:wait", json!({}));
    let _ = world.until(id_of(&view), "running");
    world.kill9();
    world.start();
    let lost = world.until(id_of(&view), "finished");
    let echo = |world: &World| run(world, "say:echo", json!({"text": "go"})).0;
    echo(&world).problem("grant-paused");
    assert_eq!(
        reviewed(&world, &lost, &alice(), "accepted", Some("failed")).ok(200)["settled"],
        "failed"
    );
    let _ = echo(&world).ok(200);
    // One later observation pauses the grant, also after a restart.
    assert_eq!(
        reviewed(&world, &lost, &dora(), "rejected", Some("succeeded")).ok(200)["unsettled"],
        true
    );
    assert_eq!(unsettled(&world)[0]["disputed"], true);
    echo(&world).problem("grant-paused");
    world.restart();
    echo(&world).problem("grant-paused");
    // The key of the other observer is revoked, so only the word of alice counts from her next review on.
    let payload = people::key_revocation(&world.boundary(), &dora());
    world
        .wire
        .post("/v1/revocations", "", &envelope(&payload, &[&oscar()]))
        .ok(200);
    echo(&world).problem("grant-paused");
    assert_eq!(
        reviewed(&world, &lost, &alice(), "rejected", Some("failed")).ok(200)["settled"],
        "failed"
    );
    let _ = echo(&world).ok(200);
    wait_for("no run in progress", || {
        world.list("running").is_empty() && world.list("approved").is_empty()
    });
    world.check_history();
    world.assert_audited();
}

#[test]
fn an_emergency_is_accepted_or_rejected_only_by_its_own_option() {
    let mut world = World::with(|setup| {
        setup.policy = POLICY.to_owned();
        setup.runbook("s.md", runbook(SMALL, &[("wait", "exec sleep 600")]));
    });
    let view = emergency(&world, "s:wait", json!({})).ok(201);
    let _ = world.sign(&view, &[&alice()]).ok(200);
    world.until(id_of(&view), "running");
    world.kill9();
    world.start();
    let finished = world.until(id_of(&view), "finished");
    let receipt = finished["receipt"].as_str().expect("a receipt");
    let review = |more: &[&str]| {
        let words = [
            "review-run",
            receipt,
            "--observed",
            "failed",
            "--reason",
            "the service was killed",
            "--yes",
        ];
        said(&as_holder(&world, &bob(), &[&words, more].concat()))
    };
    let refused = review(&[]);
    assert!(
        refused.contains("was an emergency: give --accept or --reject"),
        "{refused}"
    );
    assert_eq!(world.count("review"), 0);
    let done = review(&["--reject"]);
    assert!(
        done.contains("the end of the run is settled: failed"),
        "{done}"
    );
    world.assert_audited();
}

#[test]
fn several_runs_of_one_cause_are_reviewed_with_one_command() {
    let mut world = World::with(|setup| {
        let front = format!("params:\n  number: {{type: integer}}\n{SMALL}");
        setup.runbook("s.md", runbook(&front, &[("wait", "exec sleep 600")]));
    });
    let started = [1, 2].map(|number| {
        let view = world.propose("s:wait", json!({"number": number}));
        let _ = world.sign(&view, &[&alice()]).ok(200);
        world.until(id_of(&view), "running")
    });
    world.kill9();
    world.start();
    let ids = started.map(|view| {
        let finished = world.until(id_of(&view), "finished");
        finished["receipt"].as_str().expect("a receipt").to_owned()
    });
    let as_alice = |words: &[&str]| {
        let mut command = world.program(&["--url", &world.wire.url]);
        world.write("alice.pem", alice().secret.to_pkcs8_v1_pem().as_str());
        said(
            &command
                .args(words)
                .arg("--key")
                .arg(world.path("alice.pem"))
                .output()
                .expect("it starts"),
        )
    };
    let listed = as_alice(&["unsettled"]);
    assert_eq!(
        listed.matches("countersign review-run").count(),
        1,
        "{listed}"
    );
    assert!(
        ids.iter().all(|id| listed.contains(id.as_str())),
        "{listed}"
    );
    let [one, two] = ids;
    let words = [
        "--observed",
        "failed",
        "--reason",
        "the service was killed",
        "--yes",
    ];
    let done = as_alice(&[&["review-run", &one, &two][..], &words].concat());
    assert_eq!(
        done.matches("the end of the run is settled: failed")
            .count(),
        2,
        "{done}"
    );
    assert!(unsettled(&world).is_empty());
    assert_eq!(world.count("review"), 2);
    world.assert_audited();
}

#[test]
fn a_person_who_can_not_review_a_run_is_told_before_the_question() {
    let world = world(POLICY);
    let finished = ran(&world, "one");
    let receipt = finished["receipt"].as_str().expect("a receipt");
    // The program has no terminal, so a question would be an error with another exit code.
    let told = as_holder(
        &world,
        &carol(),
        &["review-run", receipt, "--accept", "--reason", "seen"],
    );
    assert!(
        said(&told).contains("carol proposed the run or drafted its grant, or "),
        "{}",
        said(&told)
    );
    assert_eq!((told.status.code(), world.count("review")), (Some(126), 0));
    let may = as_holder(
        &world,
        &dora(),
        &["review-run", receipt, "--accept", "--reason", "seen"],
    );
    assert!(said(&may).contains("--yes"), "{}", said(&may));
}

#[test]
fn a_restore_names_the_runs_without_their_review_and_the_new_log_has_no_grant_and_takes_no_review_of_them()
 {
    let mut world = World::with(|setup| {
        setup.policy = POLICY.replace(
            "approvals: {required: 2",
            "standing: {max_uses: 20, max_days: 7}\n  approvals: {required: 1",
        );
    });
    let _ = granted(&world, &terms());
    let finished = ran(&world, "one");
    let receipt = finished["receipt"].as_str().expect("a receipt").to_owned();
    let review = envelope(&review_of(&world, &finished, "accepted", None), &[&dora()]);
    world.stop();
    let store = |words: &[&str]| {
        let done = world
            .program(words)
            .arg("--config")
            .arg(world.path("b/countersign.toml"))
            .output()
            .expect("starts");
        said(&crate::support::exited(done, 0))
    };
    let backup = world.path("backup").to_str().expect("a path").to_owned();
    let _ = store(&["store", "backup", &backup]);
    for name in ["countersign.db", "countersign.db-wal", "countersign.db-shm"] {
        let _ = std::fs::remove_file(world.path("b/boundary").join(name));
    }
    let told = store(&["store", "restore", &backup, "--keep-tokens", "all"]);
    assert!(
        told.contains(&format!(
            "people can no longer settle or review the run of {receipt}"
        )),
        "{told}"
    );
    assert!(told.contains("standing grants, are void"), "{told}");
    world.start();
    assert_eq!(
        world.wire.get("/v1/grants", &world.reader).ok(200)["grants"],
        json!([])
    );
    assert!(unsettled(&world).is_empty());
    let refused = send(&world, &finished, &review);
    assert!(refused.status >= 400, "{}", refused.text());
    assert_eq!(world.count("review"), 0);
}
