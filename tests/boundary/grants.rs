//! Standing grants: drafts, signatures, uses, limits, revocation, and what the audits say.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::largest_authorizations::assert_established;
use crate::support::grants::{
    POLICY, arm, as_holder, bearer, draft, end, granted, payload, sign, start_after_the_kill,
    terms, try_use, used, wish,
};
use crate::support::people::{
    Key, alice, bob, carol, dora, envelope, frank, mallory, oscar, robot, sha256, statement,
};
use crate::support::wire::{Reply, pointers};
use crate::support::{SMALL, World, exited, id_of, runbook, said, said_at_exit, wait_for};

fn world() -> World {
    World::with(|setup| setup.policy = POLICY.to_owned())
}

#[test]
fn a_grant_runs_its_steps_without_new_signatures_of_approvers_until_its_uses_are_spent() {
    let mut world = world();
    let mut terms = terms();
    terms["max_uses"] = json!(3);
    let grant = granted(&world, &terms);
    let mut robot_bearer = bearer(&world, &robot());
    for (number, text) in [(1, "one"), (2, "two"), (3, "three")] {
        let finished = used(&world, &robot_bearer, &grant, text);
        assert_eq!(world.output(&finished, "stdout"), format!("{text}\n"));
        let receipt = world.receipt(&finished);
        assert_eq!(
            receipt["decision"]["approvers"],
            json!(["alice"]),
            "{receipt:#}"
        );
        let bundle: Value = serde_json::from_slice(&world.bundle(&finished)).expect("JSON");
        assert!(bundle["grant"].is_object() && bundle["proofs"]["grant"].is_string());
        world.assert_verified(&finished);
        let shown = world
            .wire
            .get(&format!("/v1/grants/{}", id_of(&grant)), &world.reader)
            .ok(200);
        assert_eq!(shown["uses"], number);
        if number == 2 {
            world.restart();
            robot_bearer = bearer(&world, &robot());
        }
    }
    let wish = wish(&grant, "say:echo", json!({"text": "four"}));
    let proposed = world
        .wire
        .post("/v1/proposals", &robot_bearer, &wish)
        .ok(201);
    world
        .sign(&proposed, &[&robot()])
        .refuses("grant-exhausted", "uses");
    assert_eq!(
        world.until(id_of(&proposed), "refused")["refusal"]["code"],
        "grant-exhausted"
    );
    let shown = world
        .wire
        .get(&format!("/v1/grants/{}", id_of(&grant)), &world.reader)
        .ok(200);
    assert_eq!(
        (&shown["status"], &shown["why"]["code"]),
        (&json!("unusable"), &json!("grant-exhausted"))
    );
    assert_eq!(world.count("grant"), 1);
    world.assert_audited();
}

#[test]
fn a_run_without_a_grant_is_never_the_waiting_use_of_a_grant() {
    let world = world();
    let grant = granted(&world, &terms());
    let robot_bearer = bearer(&world, &robot());
    let waiting = wish(&grant, "say:echo", json!({"text": "same"}));
    let waiting = world
        .wire
        .post("/v1/proposals", &robot_bearer, &waiting)
        .ok(201);
    let plain = json!({"step": "say:echo", "params": {"text": "same"}, "reason": "because"});
    let normal = world
        .wire
        .post("/v1/proposals", &robot_bearer, &plain)
        .ok(201);
    assert_ne!(id_of(&normal), id_of(&waiting));
    assert_eq!(normal["approvals"]["required"], 1, "{normal:#}");
    assert_eq!(
        id_of(
            &world
                .wire
                .post("/v1/proposals", &robot_bearer, &plain)
                .ok(200)
        ),
        id_of(&normal)
    );
}

/// Sends this number of calls at the same time. Returns how many ran, and how many found no use left.
pub(crate) fn race(
    world: &World,
    calls: usize,
    grant: &Value,
    call: impl Fn(&Value) -> Reply + Sync,
) -> (usize, usize) {
    let (ran, exhausted) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..calls {
            scope.spawn(|| {
                let wish = wish(grant, "say:echo", json!({"text": "go"}));
                // At most 20 proposals of a proposer wait.
                let reply = loop {
                    let reply = call(&wish);
                    if ![429, 503].contains(&reply.status) {
                        break reply;
                    }
                    std::thread::sleep(Duration::from_millis(50));
                };
                if reply.status == 409 {
                    reply.problem("grant-exhausted");
                    exhausted.fetch_add(1, Ordering::Relaxed);
                    return;
                }
                // The answer decides: no use is called approved, and then refused.
                assert!([200, 201].contains(&reply.status));
                let view = reply.json();
                let mut ended = view.clone();
                wait_for("the end", || {
                    ended = world.show(id_of(&view));
                    ended["status"] == "finished" || ended["status"] == "refused"
                });
                assert_eq!(ended["status"], "finished", "{view:#}: {ended:#}");
                ran.fetch_add(1, Ordering::Relaxed);
            });
        }
    });
    (ran.into_inner(), exhausted.into_inner())
}

#[test]
fn clients_at_the_same_time_get_each_use_once() {
    let world = world();
    let grant = granted(&world, &terms());
    let robot_bearer = bearer(&world, &robot());
    let ended = race(&world, 64, &grant, |wish| {
        try_use(&world, &robot_bearer, wish)
    });
    assert_eq!(ended, (10, 54));
    let uses: Vec<u64> = world
        .log()
        .iter()
        .filter(|(kind, _)| kind == "consumption")
        .flat_map(|(_, statement)| {
            statement["predicate"]["spent"]
                .as_array()
                .expect("items")
                .clone()
        })
        .map(|item| item["use"].as_u64().expect("a use"))
        .collect();
    assert_eq!(uses, (1..=10).collect::<Vec<u64>>());
    world.assert_audited();
}

#[test]
fn a_grant_is_logged_once_after_a_kill_at_each_point() {
    for point in [
        "before-grant-commit:1",
        "after-grant-commit:1",
        "before-grant-commit:2",
        "after-grant-commit:2",
    ] {
        let mut world = world();
        arm(&mut world, point);
        let try_draft = world
            .wire
            .try_post("/v1/grants", &world.agent, &json!({"draft": terms()}));
        let view = if let Ok(drafted) = try_draft {
            let view = drafted.ok(201);
            let signatures = json!({"signatures": [alice().sign(&payload(&view))]});
            assert!(
                world
                    .wire
                    .try_post(
                        &format!("/v1/grants/{}/signatures", id_of(&view)),
                        "",
                        &signatures
                    )
                    .is_err(),
                "{point}"
            );
            start_after_the_kill(&mut world, point);
            view
        } else {
            start_after_the_kill(&mut world, point);
            draft(&world, &terms()).ok(201)
        };
        let shown = world
            .wire
            .get(&format!("/v1/grants/{}", id_of(&view)), &world.reader)
            .ok(200);
        let logged = point == "after-grant-commit:2";
        assert_eq!(
            (&shown["status"] == "active", world.count("grant")),
            (logged, usize::from(logged)),
            "{point}"
        );
        if !logged {
            assert_eq!(sign(&world, &view, &[&alice()]).ok(200)["status"], "active");
        }
        let _ = used(&world, &bearer(&world, &robot()), &view, "go");
        assert_eq!(world.count("grant"), 1, "{point}");
        world.assert_audited();
    }
}

#[test]
fn each_use_is_spent_once_after_a_kill_at_each_point() {
    for point in [
        "before-consume-commit",
        "after-consume-commit",
        "before-receipt-commit",
        "after-receipt-commit",
    ] {
        let mut world = world();
        let mut terms = terms();
        terms["max_uses"] = json!(2);
        let grant = granted(&world, &terms);
        arm(&mut world, point);
        let wish = wish(&grant, "say:echo", json!({"text": "once"}));
        let proposed = world
            .wire
            .post("/v1/proposals", &bearer(&world, &robot()), &wish)
            .ok(201);
        let _ = world.try_sign(&proposed, &[&robot()]);
        start_after_the_kill(&mut world, point);
        let _ = world.sign(&proposed, &[&robot()]);
        wait_for("the end", || {
            world.show(id_of(&proposed))["status"] == "finished"
        });
        let robot_bearer = bearer(&world, &robot());
        let unseen = world.show(id_of(&proposed))["outcome"]["status"] == "unknown";
        assert_eq!(
            unseen,
            ["after-consume-commit", "before-receipt-commit"].contains(&point),
            "{point}"
        );
        if !unseen {
            let _ = used(&world, &robot_bearer, &grant, "twice");
        }
        // Nobody saw the end of a run, so the grant pauses. Otherwise all uses are spent.
        let code = if unseen {
            "grant-paused"
        } else {
            "grant-exhausted"
        };
        try_use(
            &world,
            &robot_bearer,
            &self::wish(&grant, "say:echo", json!({"text": "more"})),
        )
        .problem(code);
        let shown = world
            .wire
            .get(&format!("/v1/grants/{}", id_of(&grant)), &world.reader)
            .ok(200);
        assert_eq!(
            (&shown["status"], &shown["why"]["code"]),
            (&json!("unusable"), &json!(code)),
            "{point}"
        );
        assert_eq!(
            world.count("consumption"),
            if unseen { 1 } else { 2 },
            "{point}"
        );
        world.check_history();
        world.assert_audited();
    }
}

#[test]
fn a_use_that_the_grant_does_not_cover_is_refused_and_spends_no_nonce() {
    let world = world();
    let mut other = terms();
    other["rate"] = json!({"uses": 1, "seconds": 3600});
    let (grant, slow) = (granted(&world, &terms()), granted(&world, &other));
    let robot_bearer = bearer(&world, &robot());
    for (step, params, code) in [
        ("say:echo", json!({"text": "Capital"}), "not-granted"),
        ("say:echo", json!({"text": "toolongforit"}), "not-granted"),
        // The default of the step is not in the grant.
        ("say:echo", json!({"text": "two words"}), "not-granted"),
        ("plain:true", json!({}), "not-granted"),
    ] {
        let problem =
            try_use(&world, &robot_bearer, &wish(&grant, step, params.clone())).problem(code);
        assert!(
            problem.to_string().contains("/predicate/"),
            "{step} {params}: {problem}"
        );
    }
    // They wait for nobody, so they never use up the proposals that may wait.
    for _ in 0..20 {
        let wide = world.wire.post(
            "/v1/proposals",
            &robot_bearer,
            &wish(&grant, "say:echo", json!({"text": "Wide"})),
        );
        assert_eq!(wide.ok(201)["status"], "refused");
    }
    // Another key, and another proposer.
    let whole = wish(&grant, "say:echo", json!({"text": "go"}));
    let proposed = world
        .wire
        .post("/v1/proposals", &robot_bearer, &whole)
        .ok(201);
    for key in [alice(), carol(), oscar()] {
        world.sign(&proposed, &[&key]).problem("not-granted");
    }
    world
        .sign(&proposed, &[&mallory()])
        .problem("unknown-signer");
    world
        .sign(&proposed, &[&robot(), &alice()])
        .problem("malformed");
    let foreign = world
        .wire
        .post(
            "/v1/proposals",
            &world.agent,
            &wish(&grant, "say:echo", json!({"text": "go"})),
        )
        .ok(201);
    world.sign(&foreign, &[&robot()]).problem("not-granted");
    let mut without = wish(&grant, "say:echo", json!({"text": "go"}));
    without.as_object_mut().expect("a map").remove("nonce");
    world
        .wire
        .post("/v1/proposals", &robot_bearer, &without)
        .problem("malformed");
    let mut unknown = whole.clone();
    unknown["grant"] = json!("grt_019aa0b0-5c00-7000-8000-000000000001");
    world
        .wire
        .post("/v1/proposals", &robot_bearer, &unknown)
        .problem("not-granted");
    assert_eq!(world.count("consumption"), 0, "nothing was spent");
    let noted = |key: &Key| {
        let of_key = |(kind, entry): &(String, Value)| {
            kind == "refusal"
                && entry["predicate"]["principal"] == key.keyid()
                && entry["predicate"]["code"] == "not-granted"
        };
        world.log().iter().filter(|entry| of_key(entry)).count()
    };
    wait_for(
        "a log entry for each refused signature of a known key",
        || noted(&alice()) == 1 && noted(&robot()) >= 4,
    );
    // The same request again is the same run.
    assert_eq!(
        world
            .wire
            .post("/v1/proposals", &robot_bearer, &whole)
            .ok(200)["id"],
        proposed["id"]
    );
    let _ = world.sign(&proposed, &[&robot()]).ok(200);
    world.until(id_of(&proposed), "finished");
    let _ = used(&world, &robot_bearer, &slow, "first");
    let second = try_use(
        &world,
        &robot_bearer,
        &wish(&slow, "say:echo", json!({"text": "second"})),
    )
    .ok(200);
    assert_eq!(
        world.until(id_of(&second), "refused")["refusal"]["code"],
        "rate-limited"
    );
    world.assert_audited();
}

#[test]
fn only_approvers_who_count_can_sign_a_grant_and_never_its_owners() {
    let world = world();
    let view = draft(&world, &terms()).ok(201);
    // Bob owns the grantee, carol owns the proposer, frank is in another group.
    for (key, code) in [
        (bob(), "self-approval"),
        (carol(), "self-approval"),
        (frank(), "not-permitted-signer"),
        (robot(), "not-permitted-signer"),
        (oscar(), "not-permitted-signer"),
        (mallory(), "unknown-signer"),
    ] {
        sign(&world, &view, &[&key]).problem(code);
    }
    let forged =
        json!({"signatures": [{"keyid": alice().keyid(), "sig": alice().sign(b"another")["sig"]}]});
    world
        .wire
        .post(
            &format!("/v1/grants/{}/signatures", id_of(&view)),
            "",
            &forged,
        )
        .problem("bad-signature");
    assert_eq!(world.count("grant"), 0);
    assert_eq!(sign(&world, &view, &[&dora()]).ok(200)["status"], "active");
    sign(&world, &view, &[&alice()]).problem("wrong-state");
    // A step with its own rule needs all of them, and policy adds one more.
    let mut two = terms();
    two["max_uses"] = json!(2);
    two["steps"][0]["step"] = json!("two:go");
    let view = draft(&world, &two).ok(201);
    assert_eq!(
        sign(&world, &view, &[&alice()]).ok(200)["status"],
        "pending"
    );
    let signed = sign(&world, &view, &[&dora()]).ok(200);
    assert_eq!(
        (&signed["status"], &signed["approvals"]["have"]),
        (&json!("active"), &json!(2)),
        "{signed:#}"
    );
    world.assert_audited();
}

#[test]
fn a_draft_that_is_wider_than_policy_or_names_not_each_parameter_is_refused() {
    let world = World::with(|setup| {
        setup.policy = POLICY.to_owned();
        setup.runbook(
            "key.md",
            runbook(
                &format!("params:\n  key: {{type: string, x-secret: true}}\n{SMALL}"),
                &[("go", ":")],
            ),
        );
    });
    let with = |pointer: &str, value: Value| {
        let mut terms = terms();
        *terms
            .pointer_mut(pointer)
            .unwrap_or_else(|| panic!("{pointer}")) = value;
        terms
    };
    let mut two = terms();
    two["steps"][0]["step"] = json!("two:go");
    for (terms, code) in [
        (with("/max_uses", json!(21)), "policy-denied"),
        (with("/max_uses", json!(0)), "malformed"),
        (with("/expires_in_s", json!(8 * 86_400)), "policy-denied"),
        (with("/expires_in_s", json!(0)), "malformed"),
        (two, "policy-denied"),
        (
            with(
                "/steps/0/params",
                json!({"type": "object", "properties": {}}),
            ),
            "not-granted",
        ),
        (
            with(
                "/steps/0/params/properties/text",
                json!({"type": "string", "pattern": "[a-z]"}),
            ),
            "malformed",
        ),
        (
            with("/steps/0/params/properties/text", json!({"type": "number"})),
            "malformed",
        ),
        (with("/steps/0/step", json!("none:go")), "unknown-step"),
        (
            with("/grantee/key", json!(alice().keyid())),
            "unknown-signer",
        ),
        (with("/grantee/name", json!("alice")), "unknown-signer"),
        (with("/steps", json!([])), "malformed"),
    ] {
        let refused = draft(&world, &terms);
        assert!(refused.problem(code).to_string().len() > 60, "{terms}");
    }
    let mut secret = terms();
    secret["steps"][0] = json!({"step": "key:go", "params": {"type": "object", "properties": {"key": {"type": "string", "x-secret": true}}, "required": ["key"]}});
    let refused = draft(&world, &secret);
    assert!([400, 422].contains(&refused.status), "{}", refused.text());
    world
        .wire
        .post("/v1/grants", "", &json!({"draft": terms()}))
        .problem("unauthenticated");
    world
        .wire
        .post("/v1/grants", &world.reader, &json!({"draft": terms()}))
        .problem("forbidden");
    world
        .wire
        .post("/v1/grants", &world.agent, &json!({}))
        .problem("malformed");
    assert_eq!(
        world.wire.get("/v1/grants", &world.reader).ok(200)["grants"],
        json!([])
    );
    // A policy without `standing` permits none.
    let none = World::with(|setup| {
        setup.policy =
            "version: 1\nextends: none\ndefault:\n  mode: execute\n  approvals: {required: 1, from: [ops]}\n".to_owned()
    });
    draft(&none, &terms()).problem("policy-denied");
}

#[test]
fn a_draft_that_its_proposer_takes_back_is_never_signed() {
    let world = world();
    let (draft, active) = (draft(&world, &terms()).ok(201), granted(&world, &terms()));
    let path = |grant: &Value| format!("/v1/grants/{}/cancellation", id_of(grant));
    let cancel = |grant: &Value, token: &str| world.wire.post(&path(grant), token, &json!({}));
    cancel(&draft, &world.reader).problem("forbidden");
    cancel(&draft, &bearer(&world, &alice())).problem("forbidden");
    cancel(&draft, "").problem("unauthenticated");
    cancel(&active, &world.agent).problem("wrong-state");
    let ended = cancel(&draft, &world.agent).ok(200);
    assert_eq!(
        (&ended["status"], &ended["why"]["code"]),
        (&json!("unusable"), &json!("expired")),
        "{ended:#}"
    );
    assert_eq!(
        cancel(&draft, &world.agent).ok(200)["status"],
        "unusable",
        "the same again"
    );
    sign(&world, &draft, &[&alice()]).problem("wrong-state");
    let listed = world.wire.get("/v1/grants", &world.reader).ok(200);
    assert_eq!(
        listed["grants"].as_array().expect("grants").len(),
        1,
        "{listed:#}"
    );
    assert_eq!(world.count("grant"), 1);
}

#[test]
fn a_revoked_grant_runs_nothing_any_more() {
    let mut world = world();
    let (one, two, three) = (
        granted(&world, &terms()),
        granted(&world, &terms()),
        granted(&world, &terms()),
    );
    let robot_bearer = bearer(&world, &robot());
    let _ = used(&world, &robot_bearer, &one, "before");
    let waiting = world
        .wire
        .post(
            "/v1/proposals",
            &robot_bearer,
            &wish(&one, "say:echo", json!({"text": "go"})),
        )
        .ok(201);
    end(&world, &one, &frank()).problem("not-permitted-signer");
    end(&world, &one, &bob()).ok(200);
    end(&world, &two, &robot()).ok(200);
    end(&world, &three, &oscar()).ok(200);
    assert_eq!(
        world.until(id_of(&waiting), "refused")["refusal"]["code"],
        "revoked"
    );
    for round in 0..2 {
        let robot_bearer = bearer(&world, &robot());
        for grant in [&one, &two, &three] {
            try_use(
                &world,
                &robot_bearer,
                &wish(grant, "say:echo", json!({"text": "after"})),
            )
            .problem("revoked");
            let shown = world
                .wire
                .get(&format!("/v1/grants/{}", id_of(grant)), &world.reader)
                .ok(200);
            assert_eq!(
                (&shown["status"], &shown["why"]["code"]),
                (&json!("unusable"), &json!("revoked")),
                "round {round}"
            );
        }
        world.restart();
    }
    assert_eq!(world.count("consumption"), 1);
    world.assert_audited();
}

#[test]
fn a_grant_for_new_sessions_never_runs_in_a_session_that_another_run_used() {
    let world = World::with(|setup| {
        setup.policy = POLICY.to_owned();
        setup.runbook("s.md", runbook(SMALL, &[("go session=write", "true")]));
    });
    let mut terms = terms();
    terms["steps"] = json!([{"step": "s:go", "params": {"type": "object", "properties": {}}}]);
    terms["session"] = json!("any");
    draft(&world, &terms).problem("malformed");
    terms["session"] = json!("fresh");
    let fresh = granted(&world, &terms);
    terms["session"] = json!("none");
    let none = granted(&world, &terms);
    let robot_bearer = bearer(&world, &robot());
    let begin = || {
        world
            .wire
            .post("/v1/sessions", &robot_bearer, &json!({"runbook": "s"}))
            .ok(201)["id"]
            .clone()
    };
    let inside = |grant: &Value, session: &Value| {
        let mut wish = wish(grant, "s:go", json!({}));
        wish["session"] = session.clone();
        wish
    };
    let (one, two) = (begin(), begin());
    let first = try_use(&world, &robot_bearer, &inside(&fresh, &one)).ok(200);
    world.until(id_of(&first), "finished");
    try_use(&world, &robot_bearer, &inside(&fresh, &one)).problem("not-granted");
    try_use(&world, &robot_bearer, &inside(&none, &two)).problem("not-granted");
    // A run that people approved used the session too.
    let mut approved = World::wish("s:go", json!({}));
    approved["session"] = two.clone();
    let approved = world
        .wire
        .post("/v1/proposals", &robot_bearer, &approved)
        .ok(201);
    world.sign(&approved, &[&alice()]).ok(200);
    world.until(id_of(&approved), "finished");
    try_use(&world, &robot_bearer, &inside(&fresh, &two)).problem("not-granted");
    assert_eq!(world.count("consumption"), 2);
    world.assert_audited();
}

#[test]
fn a_grant_is_decided_again_at_each_use() {
    let mut world = world();
    let grant = granted(&world, &terms());
    let robot_bearer = bearer(&world, &robot());
    let _ = used(&world, &robot_bearer, &grant, "before");
    // Another definition of the step.
    let text = "params:\n  text: {type: string, default: hello, maxLength: 4000}\n";
    world.write(
        "b/runbooks/say.md",
        &runbook(
            &format!("{text}{SMALL}"),
            &[("echo", "printf 'other %s\\n' \"$PARAM_TEXT\"")],
        ),
    );
    world.reseal(world.seal() + 1);
    let after = try_use(
        &world,
        &robot_bearer,
        &wish(&grant, "say:echo", json!({"text": "after"})),
    );
    after.problem("step-changed");
    // The former definition is granted again.
    world.write(
        "b/runbooks/say.md",
        &runbook(
            &format!("{text}{SMALL}"),
            &[("echo", "printf '%s\\n' \"$PARAM_TEXT\"")],
        ),
    );
    world.reseal(world.seal() + 1);
    let _ = used(&world, &robot_bearer, &grant, "again");
    // The key of the only signer.
    let payload = crate::support::people::key_revocation(&world.boundary(), &alice());
    world
        .wire
        .post("/v1/revocations", "", &envelope(&payload, &[&oscar()]))
        .ok(200);
    try_use(
        &world,
        &robot_bearer,
        &wish(&grant, "say:echo", json!({"text": "after"})),
    )
    .problem("quorum-missing");
    world.restart();
    let robot_bearer = bearer(&world, &robot());
    try_use(
        &world,
        &robot_bearer,
        &wish(&grant, "say:echo", json!({"text": "after"})),
    )
    .problem("quorum-missing");
    world.assert_audited();
}

#[test]
fn a_grant_that_was_signed_elsewhere_is_taken_as_a_whole() {
    let world = world();
    let view = draft(&world, &terms()).ok(201);
    let mut elsewhere = view["grant"].clone();
    elsewhere["grant"] = json!("grt_019aa0b0-5c00-7000-8000-000000000001");
    let subjects = json!([{"name": "say:echo", "digest": {"sha256": elsewhere["steps"][0]["digest"].as_str().expect("a digest").trim_start_matches("sha256:")}}]);
    let of = |grant: &Value| statement("grant", &subjects, grant);
    let send = |payload: &[u8], keys: &[&Key]| {
        let mut keys = keys.to_vec();
        keys.sort_by_key(|key| key.keyid());
        world.wire.post(
            "/v1/grants",
            &world.agent,
            &json!({"envelope": envelope(payload, &keys)}),
        )
    };
    let taken = send(&of(&elsewhere), &[&alice()]).ok(201);
    assert_eq!(
        (&taken["status"], &taken["id"]),
        (&json!("active"), &elsewhere["grant"]),
        "{taken:#}"
    );
    // The same grant again is the same.
    assert_eq!(
        send(&of(&elsewhere), &[&alice()]).ok(201)["index"],
        taken["index"]
    );
    let mut changed = elsewhere.clone();
    changed["max_uses"] = json!(11);
    send(&of(&changed), &[&alice()]).problem("wrong-state");
    changed["grant"] = json!("grt_019aa0b0-5c00-7000-8000-000000000002");
    send(&of(&changed), &[&bob()]).problem("self-approval");
    // A signature that can't count is refused, as at `/signatures`, and not dropped.
    send(&of(&changed), &[&alice(), &oscar()]).problem("not-permitted-signer");
    send(&of(&changed), &[&alice(), &robot()]).problem("not-permitted-signer");
    let mut foreign = changed.clone();
    foreign["boundary"]["epoch"] = json!("0".repeat(32));
    send(&of(&foreign), &[&alice()]).problem("revoked");
    foreign["boundary"]["id"] = json!(format!("sha256:{}", sha256(b"another")));
    send(&of(&foreign), &[&alice()]).problem("wrong-boundary");
    let robot_bearer = bearer(&world, &robot());
    let _ = used(&world, &robot_bearer, &taken, "go");
    world.assert_audited();
}

#[test]
fn a_grant_is_drafted_signed_used_and_revoked_on_the_command_line() {
    let world = world();
    let agent = |words: &[&str]| {
        let roster = world.started["roster"]
            .as_str()
            .expect("a digest")
            .to_owned();
        let mut command = world.program(&["--url", &world.wire.url]);
        command
            .args(words)
            .args(["--roster", &roster])
            .env("COUNTERSIGN_TOKEN", &world.agent);
        command.output().expect("it starts")
    };
    let key = robot().keyid();
    let limits = [
        "--grantee",
        "robot",
        "--grantee-key",
        &key,
        "--uses",
        "5",
        "--rate",
        "3/1h",
        "--for",
        "7d",
    ];
    let draft =
        |more: &[&str]| agent(&[&["grant", "draft", "say:echo"], &limits[..], more].concat());
    // Each parameter must be named.
    said_at_exit(draft(&[]), 2, "these parameters are not named: text");
    for twice in [
        ["--any", "text", "--match", "text=^a$"],
        ["-p", "text=a", "-p", "text=b"],
    ] {
        said_at_exit(draft(&twice), 2, "named twice");
    }
    let made = exited(draft(&["--match", "text=^[a-z]{1,8}$"]), 0);
    let id = String::from_utf8_lossy(&made.stdout).trim().to_owned();
    let shown = as_holder(&world, &alice(), &["review", &id]);
    let text = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert_eq!(shown.status.code(), Some(0), "{}", said(&shown));
    assert!(
        text.starts_with("== STANDING GRANT: nobody is asked again =="),
        "{text}"
    );
    for words in [
        "may run WITHOUT ASKING",
        "up to 5 times, at most 3 in 1 h 0 min",
        "== changes ==",
        "what varies text: each value of",
        "5 uses a day, 5 in all\n",
        &format!("countersign revoke {id}"),
        "printf '%s\\n' \"$PARAM_TEXT\"",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    assert!(!text.contains("predicate.max_uses"), "{text}");
    let full = said(&as_holder(&world, &alice(), &["review", &id, "--full"]));
    // The screen says how much time is left, which can change between two commands.
    let again = as_holder(&world, &alice(), &["review", &id]).stdout;
    let ends = [text, String::from_utf8_lossy(&again).into_owned()];
    assert!(
        full.contains("predicate.max_uses") && ends.iter().any(|text| full.ends_with(text)),
        "{full}"
    );
    let inbox = |key: &Key| said(&as_holder(&world, key, &["inbox"]));
    assert!(
        inbox(&alice()).contains("STANDING GRANT for robot: 5 runs of say:echo"),
        "{}",
        inbox(&alice())
    );
    assert!(
        inbox(&bob()).contains("nothing waits for your signature"),
        "bob owns robot: {}",
        inbox(&bob())
    );
    let view = world
        .wire
        .get(&format!("/v1/grants/{id}"), &world.reader)
        .ok(200);
    let digest = view["digest"].as_str().expect("a digest");
    let other = format!("sha256:{}", "0".repeat(64));
    exited(
        as_holder(
            &world,
            &alice(),
            &["approve", &id, "--yes", "--expect", &other],
        ),
        126,
    );
    let owner = as_holder(
        &world,
        &bob(),
        &["approve", &id, "--yes", "--expect", digest],
    );
    assert!(said(&owner).contains("self-approval"), "{}", said(&owner));
    let signed = as_holder(
        &world,
        &alice(),
        &[
            "approve",
            &format!("grt_{}", &id[id.len() - 8..]),
            "--yes",
            "--expect",
            digest,
        ],
    );
    assert!(
        signed.status.success() && said(&signed).contains("is active"),
        "{}",
        said(&signed)
    );
    assert!(
        inbox(&alice()).contains("nothing waits for your signature"),
        "{}",
        inbox(&alice())
    );
    exited(
        as_holder(
            &world,
            &dora(),
            &["approve", &id, "--yes", "--expect", digest],
        ),
        126,
    );
    let used = as_holder(
        &world,
        &robot(),
        &[
            "propose",
            "say:echo",
            "-p",
            "text=night",
            "--grant",
            &id,
            "--wait",
        ],
    );
    assert!(
        used.status.success() && said(&used).contains("night"),
        "{}",
        said(&used)
    );
    let newest = world.wire.get("/v1/proposals", &world.reader).ok(200)["proposals"][0].take();
    world.write(
        "use.json",
        &String::from_utf8(world.bundle(&newest)).expect("JSON"),
    );
    let file = world.path("use.json").display().to_string();
    let verified = said(&agent(&["verify", &file]));
    assert!(
        verified.contains("nobody approved this run itself"),
        "{verified}"
    );
    assert!(
        verified.contains("grant signed  alice") && !verified.contains("approved by"),
        "{verified}"
    );
    let wide = as_holder(
        &world,
        &robot(),
        &[
            "propose",
            "say:echo",
            "-p",
            "text=two words",
            "--grant",
            &id,
            "--wait",
        ],
    );
    assert!(said(&wide).contains("not-granted"), "{}", said(&wide));
    let listed = as_holder(&world, &alice(), &["grant", "list"]);
    assert!(said(&listed).contains("1 of 5"), "{}", said(&listed));
    assert!(
        said(&used).contains(", under a standing grant"),
        "{}",
        said(&used)
    );
    // The grantee may neither read the roster of the boundary nor the steps of others, but can draft, use and revoke.
    let shown = world
        .boundary_command(&["roster", "show", "--json", "--config"])
        .arg(world.path("b"))
        .output();
    world.write(
        "pinned.json",
        &String::from_utf8_lossy(&shown.expect("it starts").stdout),
    );
    let pinned = world.path("pinned.json").display().to_string();
    let mut by_grantee = world.program(&[
        "--url",
        &world.wire.url,
        "grant",
        "draft",
        "say:echo",
        "--grantee",
        "robot",
    ]);
    by_grantee.args([
        "-p", "text=a,b", "--uses", "1", "--for", "1d", "--roster", &pinned, "--key",
    ]);
    exited(
        by_grantee
            .arg(world.path("robot.pem"))
            .output()
            .expect("it starts"),
        0,
    );
    // The key that the boundary has admitted is the key of the grantee: no roster is needed.
    let mut by_own_key = world.program(&["--json", "--url", &world.wire.url, "grant", "draft"]);
    by_own_key.args(["say:echo", "--grantee", "robot", "-p", "text=own"]);
    by_own_key.args(["--uses", "1", "--for", "1d", "--key"]);
    let drafted = said(&exited(
        by_own_key
            .arg(world.path("robot.pem"))
            .output()
            .expect("it starts"),
        0,
    ));
    assert!(
        drafted.contains(&robot().ssh.keyid().to_string()),
        "{drafted}"
    );
    let ended = as_holder(&world, &robot(), &["revoke", &id, "--yes"]);
    assert!(
        said(&ended).contains(&format!("the grant {id} is revoked")),
        "{}",
        said(&ended)
    );
    let after = as_holder(
        &world,
        &robot(),
        &[
            "propose",
            "say:echo",
            "-p",
            "text=late",
            "--grant",
            &id,
            "--wait",
        ],
    );
    assert!(said(&after).contains("revoked"), "{}", said(&after));
    world.assert_audited();
    // The roster is not for proposers, but each may end its own key.
    exited(
        as_holder(
            &world,
            &robot(),
            &["revoke", &robot().keyid(), "--yes", "--reason", "lost"],
        ),
        0,
    );
}

#[test]
fn a_draft_from_the_history_permits_exactly_what_people_approved() {
    let world = world();
    let both = world.token("both", &["carol"], &["propose", "read"]);
    let draft = |step: &str| {
        let roster = world.started["roster"]
            .as_str()
            .expect("a digest")
            .to_owned();
        let mut command =
            world.program(&["--url", &world.wire.url, "--json", "grant", "draft", step]);
        command.args([
            "--grantee",
            "robot",
            "--from-history",
            "30d",
            "--uses",
            "5",
            "--for",
            "7d",
            "--roster",
            &roster,
        ]);
        command
            .env("COUNTERSIGN_TOKEN", &both)
            .output()
            .expect("it starts")
    };
    let none = draft("say:echo");
    assert!(
        said(&none).contains("no run of say:echo has ended"),
        "{}",
        said(&none)
    );
    // A credential that sees only some of the runs gives no draft.
    let history = [
        "grant",
        "draft",
        "say:echo",
        "--grantee",
        "robot",
        "--from-history",
        "30d",
        "--uses",
        "5",
        "--for",
        "7d",
    ];
    let by_grantee = as_holder(
        &world,
        &robot(),
        &[&history[..], &["--grantee-key", &robot().keyid()]].concat(),
    );
    assert!(
        !by_grantee.status.success() && said(&by_grantee).contains("scope read"),
        "{}",
        said(&by_grantee)
    );
    let query = "/v1/proposals?all=true&step=say:echo";
    world
        .wire
        .get(query, &world.agent)
        .refuses("forbidden", "scope read");
    let limited = world.token_for("limited", &["carol"], &["read"], &["plain:*"]);
    world.wire.get(query, &limited).problem("forbidden");
    world.wire.get(query, &world.reader).ok(200);
    world
        .wire
        .get("/v1/proposals?all=true", &world.reader)
        .problem("malformed");
    for text in ["shop", "cart", "shop"] {
        let _ = world.run("say:echo", json!({"text": text}), &[&alice()]);
    }
    let made = exited(draft("say:echo"), 0);
    let view: Value = serde_json::from_slice(&made.stdout).expect("JSON");
    assert_eq!(
        view["grant"]["steps"][0]["params"]["properties"]["text"],
        json!({"type": "string", "enum": ["cart", "shop"]})
    );
    let _ = world.run("plain:fail", json!({}), &[&alice()]);
    let failed = draft("plain:fail");
    assert!(
        said(&failed).contains("ended with failed"),
        "{}",
        said(&failed)
    );
    let denied = world.propose("say:echo", json!({"text": "no"}));
    world.deny(&denied, &alice()).ok(200);
    assert!(said(&draft("say:echo")).contains("was denied"));
}

#[test]
fn an_approver_can_draft_a_grant_and_then_does_not_count() {
    let world = world();
    for text in ["shop", "cart"] {
        let _ = world.run("say:echo", json!({"text": text}), &[&alice()]);
    }
    let history = [
        "grant",
        "draft",
        "say:echo",
        "--grantee",
        "robot",
        "--from-history",
        "30d",
        "--uses",
        "5",
        "--for",
        "7d",
    ];
    let made = exited(as_holder(&world, &alice(), &history), 0);
    assert!(
        said(&made).contains("your signature does not count"),
        "{}",
        said(&made)
    );
    let id = String::from_utf8_lossy(&made.stdout).trim().to_owned();
    let view = world
        .wire
        .get(&format!("/v1/grants/{id}"), &world.reader)
        .ok(200);
    assert_eq!(view["grant"]["proposer"], "alice");
    assert!(
        view["approvals"]["excluded"]
            .as_array()
            .expect("names")
            .contains(&json!("alice")),
        "{view:#}"
    );
    sign(&world, &view, &[&alice()]).problem("self-approval");
    let active = sign(&world, &view, &[&dora()]).ok(200);
    assert_eq!(active["status"], "active");
    let finished = used(&world, &bearer(&world, &robot()), &active, "shop");
    assert!(
        world.receipt(&finished)["decision"]["excluded"]
            .as_array()
            .expect("names")
            .contains(&json!("alice"))
    );
    world.assert_verified(&finished);
    world.check_history();
    world.assert_audited();
    // Operators and tokens without `propose` still can't.
    for bearer in [bearer(&world, &oscar()), world.reader.clone()] {
        world
            .wire
            .post("/v1/grants", &bearer, &json!({"draft": terms()}))
            .problem("forbidden");
    }
}

#[test]
fn the_screen_of_a_grant_has_the_lines_and_remarks_of_a_run_of_its_step() {
    let world = World::with(|setup| {
        setup.policy = format!(
            "{POLICY}  - {{runbook: deploy, sandbox: {{network: host, read: [/usr/share]}}}}\n"
        );
        setup.config =
            "[secrets.api-token]\nenv = \"TOKEN_OF_THE_TEST\"\nsteps = [\"deploy:*\"]\n".to_owned();
        setup.env("TOKEN_OF_THE_TEST", "a secret of the test");
        let release = "release network=host read=/usr/share secrets=\"api-token=env:API_TOKEN\" title=\"Release\"";
        let params = format!("params:\n  service: {{type: string, maxLength: 40}}\n{SMALL}");
        setup.runbook(
            "deploy.md",
            runbook(&params, &[(release, "echo \"$PARAM_SERVICE\"")]),
        );
    });
    let grant_of = |schema: Value| {
        let mut terms = terms();
        let params =
            json!({"type": "object", "properties": {"service": schema}, "required": ["service"]});
        terms["steps"] = json!([{"step": "deploy:release", "params": params}]);
        draft(&world, &terms).ok(201)
    };
    let shown = |words: &[&str]| {
        // Without the marks of wrapped lines.
        let text = said(&as_holder(&world, &alice(), words));
        text.split_whitespace()
            .filter(|word| *word != "+")
            .collect::<Vec<_>>()
            .join(" ")
    };
    let denied = world.propose("deploy:release", json!({"service": "web"}));
    world.deny(&denied, &alice()).ok(200);
    let run = world.propose("deploy:release", json!({"service": "shop"}));
    let of_run = shown(&["review", id_of(&run)]);
    let bounded = grant_of(json!({"type": "string", "pattern": "^(shop|cart)$"}));
    let of_grant = shown(&["review", id_of(&bounded)]);
    for line in [
        "api-token in the variable API_TOKEN",
        "network: every network that the host can reach",
        "the step runs even if the sandbox lacks these layers: network",
        "reads on the host",
        "title \"Release\"",
        "no success of this step is known",
        "may run",
        "20 s, 64 MiB",
    ] {
        assert_eq!(
            (of_run.contains(line), of_grant.contains(line)),
            (true, true),
            "{line}: {of_run}\n{of_grant}"
        );
    }
    assert!(!of_grant.contains("no bounds"), "{of_grant}");
    assert!(
        of_grant.contains("0 with an unknown end; 1 proposals were denied (all proposers;"),
        "{of_grant}"
    );
    // The decision is last.
    let place = |words: &str| {
        of_grant
            .rfind(words)
            .unwrap_or_else(|| panic!("{words}: {of_grant}"))
    };
    assert!(
        place("echo \"$PARAM_SERVICE\"") < place("== STANDING GRANT"),
        "{of_grant}"
    );
    let free = shown(&[
        "review",
        id_of(&grant_of(json!({"type": "string", "pattern": "^.*$"}))),
    ]);
    let words = "some values of deploy:release have no bounds, and the runs reach a network, files of the host";
    assert!(
        free.contains(words)
            && free.contains("10 uses a day, 10 in all; some values have no bounds"),
        "{free}"
    );
}

#[test]
fn one_grant_of_checks_and_a_change_shows_the_checks_apart_and_runs_each_step() {
    let world = World::with(|setup| {
        setup.policy = POLICY.to_owned();
        setup.config =
            "[secrets.api-token]\nenv = \"TOKEN_OF_THE_TEST\"\nsteps = [\"probe:*\"]\n".to_owned();
        setup.env("TOKEN_OF_THE_TEST", "a secret of the test");
        let steps = [
            ("disk check=true", "echo disk"),
            ("restart", "echo restart"),
            (
                "status check=true secrets=\"api-token=env:API_TOKEN\"",
                "echo status",
            ),
        ];
        setup.runbook("probe.md", runbook(SMALL, &steps));
    });
    let names = ["probe:disk", "probe:restart", "probe:status"];
    let mut wanted = terms();
    let params = json!({"type": "object", "properties": {}});
    wanted["steps"] = json!(names.map(|step| json!({"step": step, "params": params})));
    let view = draft(&world, &wanted).ok(201);
    let shown = as_holder(&world, &alice(), &["review", id_of(&view)]);
    let text = String::from_utf8_lossy(&shown.stdout).into_owned();
    let place = |words: &str| {
        text.rfind(words)
            .unwrap_or_else(|| panic!("{words}: {text}"))
    };
    let can = "can change what these hosts and secrets let it change";
    let places = [
        "== checks, says their author ==",
        "  step        probe:disk\n",
        "  step        probe:status\n",
        "api-token in the variable API_TOKEN",
        can,
        "== changes ==",
        "  step        probe:restart\n",
        "== all runs together ==",
        "10 uses a day, 10 in all\n",
    ]
    .map(place);
    assert!(places.is_sorted(), "{text}");
    assert_eq!(text.matches(can).count(), 1, "{text}");
    let grant = sign(&world, &view, &[&alice()]).ok(200);
    let robot_bearer = bearer(&world, &robot());
    for step in names {
        let started = try_use(&world, &robot_bearer, &wish(&grant, step, json!({}))).ok(200);
        let finished = world.until(id_of(&started), "finished");
        assert_eq!(finished["outcome"]["status"], "succeeded", "{finished:#}");
    }
    world.assert_audited();
}

/// Returns the policy of the page for approvers, which also permits the host that a check reads.
fn policy_of_the_page() -> String {
    let page = include_str!("../../docs/approve.md");
    let (_, section) = page
        .split_once("## Read under one grant")
        .expect("the section");
    let (_, block) = section.split_once("```yaml\n").expect("a policy");
    let (policy, _) = block.split_once("```").expect("its end");
    format!(
        "{policy}  - {{runbook: incident, sandbox: {{network: {{allow: [\"queue.internal:443\"]}}}}}}\n"
    )
}

/// A boundary with the policy of the page for approvers and 33 checks. Each check has a secret and a host.
fn incident() -> World {
    World::with(|setup| {
        setup.policy = policy_of_the_page();
        setup.limits = "calls_per_second = 1000000".to_owned();
        setup.config =
            "[secrets.queue-reader]\nenv = \"TOKEN_OF_THE_TEST\"\nsteps = [\"incident:*\"]\n"
                .to_owned();
        setup.env("TOKEN_OF_THE_TEST", "a secret of the test");
        let declared =
            "check=true secrets=\"queue-reader=env:QUEUE_TOKEN\" network=queue.internal:443";
        let steps: Vec<(String, String)> = (0..33)
            .map(|at| {
                (
                    format!("check-{at:02} {declared}"),
                    format!("echo check {at:02}"),
                )
            })
            .collect();
        let steps: Vec<(&str, &str)> = steps
            .iter()
            .map(|(words, script)| (&**words, &**script))
            .collect();
        setup.runbook("incident.md", runbook(SMALL, &steps));
    })
}

/// Returns the terms of a grant for the first checks, as on the page for approvers.
fn checks(number: usize) -> Value {
    let params = json!({"type": "object", "properties": {}});
    let step = |at| json!({"step": format!("incident:check-{at:02}"), "params": params});
    let mut wanted = terms();
    wanted["steps"] = (0..number).map(step).collect();
    wanted["max_uses"] = json!(2000);
    wanted["rate"] = json!({"uses": 50, "seconds": 3600});
    wanted["expires_in_s"] = json!(90 * 86_400);
    wanted
}

#[test]
fn one_grant_of_32_checks_with_a_secret_and_a_host_runs_each_check_and_33_are_refused() {
    let world = incident();
    let robot_bearer = bearer(&world, &robot());
    let mut finished = Vec::new();
    for number in [12, 32] {
        let view = draft(&world, &checks(number)).ok(201);
        let shown = as_holder(&world, &alice(), &["review", id_of(&view)]);
        let text = String::from_utf8_lossy(&shown.stdout).into_owned();
        let (_, checks) = text
            .split_once("== checks, says their author ==")
            .unwrap_or_else(|| panic!("no checks: {text}"));
        let steps = checks.matches("  step        incident:check-").count();
        assert_eq!(steps, number, "{text}");
        assert!(!text.contains("== changes =="), "{text}");
        assert!(text.contains("1,200 uses a day, 2,000 in all"), "{text}");
        assert_eq!(
            sign(&world, &view, &[&alice()]).ok(200)["status"],
            "pending"
        );
        let grant = sign(&world, &view, &[&dora()]).ok(200);
        assert_eq!(grant["status"], "active", "{grant:#}");
        for at in 0..number {
            let step = format!("incident:check-{at:02}");
            let started = try_use(&world, &robot_bearer, &wish(&grant, &step, json!({}))).ok(200);
            let run = world.until(id_of(&started), "finished");
            assert_eq!(world.output(&run, "stdout"), format!("check {at:02}\n"));
            finished.push(run);
        }
        // The grant does not have the next check.
        let next = format!("incident:check-{number:02}");
        let refused = try_use(&world, &robot_bearer, &wish(&grant, &next, json!({})));
        refused.refuses("not-granted", "/predicate/step/ref: ");
    }
    let refused = world.unchanged(|| draft(&world, &checks(33)));
    let problem = refused.problem("malformed");
    assert_eq!(pointers(&problem), ["/predicate/steps"], "{problem:#}");
    assert_eq!(world.count("grant"), 2);
    let last = [finished[11].clone(), finished[43].clone()];
    assert_established(&world, &last);
}

#[test]
fn policy_may_permit_a_grant_of_100000_uses_in_90_days_and_no_more() {
    let policy = POLICY.replace(
        "max_uses: 20, max_days: 7",
        "max_uses: 100000, max_days: 90",
    );
    let world = World::with(|setup| setup.policy = policy);
    let with = |field: &str, value: u64| {
        let mut terms = terms();
        terms["max_uses"] = json!(100_000);
        terms["expires_in_s"] = json!(90 * 86_400);
        terms["rate"] = json!({"uses": 50_000, "seconds": 30 * 86_400});
        terms[field] = json!(value);
        draft(&world, &terms)
    };
    let view = with("max_uses", 100_000).ok(201);
    assert_eq!(view["status"], "pending", "{view:#}");
    let _ = with("max_uses", 100_001).problem("malformed");
    let _ = with("expires_in_s", 90 * 86_400 + 1).problem("malformed");
    let grant = sign(&world, &view, &[&alice()]).ok(200);
    let robot_bearer = bearer(&world, &robot());
    let _ = used(&world, &robot_bearer, &grant, "one");
    world.assert_audited();
}

#[test]
fn a_grant_that_no_run_can_use_is_refused_with_its_place() {
    let world = world();
    for schema in [
        json!({"type": "integer"}),
        json!({"type": "string", "enum": ["x".repeat(4001)]}),
        json!({"type": "string", "enum": ["-a", "-b"], "x-leading-dash": true}),
        json!({"type": "string", "minLength": 4001}),
    ] {
        let mut terms = terms();
        terms["steps"][0]["params"]["properties"]["text"] = schema.clone();
        let problem = draft(&world, &terms).problem("not-granted");
        let pointer = &problem["errors"][0]["pointer"];
        assert_eq!(
            pointer, "/predicate/steps/0/params/properties/text",
            "{schema}: {problem:#}"
        );
    }
}

#[test]
fn a_draft_that_needs_more_approvals_than_people_can_give_is_refused() {
    let world = World::with(|setup| {
        setup.policy = POLICY.replace("required: 1", "required: 9");
    });
    draft(&world, &terms()).refuses("quorum-missing", "9 approvals of ");
    assert_eq!(
        world.wire.get("/v1/grants", &world.reader).ok(200)["grants"],
        json!([])
    );
}

#[test]
fn a_grant_that_ended_is_not_revoked() {
    let world = world();
    let mut terms = terms();
    terms["expires_in_s"] = json!(3);
    let grant = granted(&world, &terms);
    let id = id_of(&grant).to_owned();
    let status = || world.wire.get(&format!("/v1/grants/{id}"), &world.agent);
    wait_for("the end of the grant", || {
        status().json()["status"] != "active"
    });
    let before = world.log().len();
    let refused = as_holder(&world, &robot(), &["revoke", &id, "--yes"]);
    assert!(
        !refused.status.success() && said(&refused).contains("ended at"),
        "{}",
        said(&refused)
    );
    assert_eq!(world.log().len(), before, "nothing is logged");
}
