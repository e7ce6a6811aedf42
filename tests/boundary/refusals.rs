//! Refusals through the real binary: what the answer says, and what happens next. `problems.rs` plays the vectors of each code.

use crate::support::people::{alice, bob, carol, carol_too, dora, envelope, mallory, stamp, wrap};
use crate::support::wire::pointers;
use crate::support::{self, SMALL, World, bytes_of, id_of, people, runbook, wait_for};
use serde_json::{Value, json};

// Malformed requests

#[test]
fn malformed_bodies_are_refused_with_their_place() {
    let world = World::new();
    for (body, pointer) in [
        (r#"{"step":7}"#, "/step"),
        (r#"{"step":"plain:true","colour":"red"}"#, "/colour"),
        (r#"{"step":"no colon"}"#, "/step"),
        (r#"{"step":"plain:true@sha256:00"}"#, "/step"),
        (r#"{"step":"plain:true","nonce":"short"}"#, "/nonce"),
        (r#"{"step":"plain:true","expires_in_s":0}"#, "/expires_in_s"),
        (
            r#"{"step":"plain:true","expires_in_s":86401}"#,
            "/expires_in_s",
        ),
        (
            r#"{"step":"plain:true","expires_in_s":-1}"#,
            "/expires_in_s",
        ),
        (r#"{"step":"plain:true","session":"ses_x"}"#, "/session"),
    ] {
        let reply = world.unchanged(|| {
            world
                .wire
                .post_bytes("/v1/proposals", &world.agent, body.as_bytes())
        });
        let problem = reply.problem("malformed");
        assert!(
            pointers(&problem).iter().any(|given| given == pointer),
            "{body}: {problem:#}"
        );
    }
}

#[test]
fn an_envelope_in_base64url_without_padding_is_accepted() {
    use base64::Engine as _;
    let world = World::new();
    let mut signed = envelope(
        &people::authorization(&world.authorization("plain:true", json!({}))),
        &[&alice()],
    );
    let payload = people::payload_of(&signed);
    signed["payload"] = json!(base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(payload));
    world.submit(&signed).ok(200);
}

#[test]
fn a_signature_with_line_breaks_gets_a_remedy_and_a_signature_over_the_payload_is_recognized() {
    use base64::Engine as _;
    let world = World::new();
    let proposal = world.propose("plain:true", json!({}));
    let path = format!("/v1/proposals/{}/signatures", id_of(&proposal));
    let over_payload =
        base64::engine::general_purpose::STANDARD.encode(alice().secret.sign(&bytes_of(&proposal)));
    let wrong = json!({"signatures": [{"keyid": alice().keyid(), "sig": over_payload}]});
    let problem = world
        .unchanged(|| world.wire.post(&path, "", &wrong))
        .problem("bad-signature");
    assert!(
        problem["detail"]
            .as_str()
            .unwrap()
            .contains("over the payload alone: sign the DSSE message"),
        "{problem:#}"
    );
    let mut signature = alice().sign(&bytes_of(&proposal));
    let whole = signature["sig"].as_str().unwrap().to_owned();
    signature["sig"] = json!(format!("{}\r\n{}\n", &whole[..76], &whole[76..]));
    let wrapped = json!({"signatures": [&signature]});
    let problem = world
        .unchanged(|| world.wire.post(&path, "", &wrapped))
        .problem("malformed");
    assert_eq!(pointers(&problem), ["/signatures/0/sig"]);
    assert!(
        problem["detail"]
            .as_str()
            .unwrap()
            .contains("write it in one line"),
        "{problem:#}"
    );
    signature["sig"] = json!(whole);
    let view = world
        .wire
        .post(&path, "", &json!({"signatures": [signature]}))
        .ok(200);
    assert_eq!(view["approvals"]["have"], 1, "{view:#}");
    world.assert_verified(&world.until(id_of(&proposal), "finished"));
}

#[test]
fn a_body_without_a_length_is_refused_when_it_is_too_large() {
    let world = World::new();
    // Without a Content-Length header, the boundary counts the bytes while they arrive.
    let head = format!(
        "POST /v1/proposals HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\n\
         transfer-encoding: chunked\r\n\r\n",
        world.wire.address(),
        world.agent
    );
    let mut request = head.into_bytes();
    for _ in 0..65 {
        request.extend_from_slice(b"4000\r\n");
        request.extend_from_slice(&[b' '; 0x4000]);
        request.extend_from_slice(b"\r\n");
    }
    let answer = support::exchange(&world.wire, &request);
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
}

// The step and its parameters

#[test]
fn a_proposal_of_an_unknown_step_is_refused() {
    let world = World::new();
    for step in ["plain:nothing", "nowhere:true", "plain.md:true"] {
        let wish = World::wish(step, json!({}));
        let reply = world.unchanged(|| world.wire.post("/v1/proposals", &world.agent, &wish));
        assert_eq!(pointers(&reply.problem("unknown-step")), ["/step"]);
        world
            .wire
            .get(&format!("/v1/steps/{step}"), &world.reader)
            .problem("unknown-step");
    }
    // Rule R10: the log gets one refusal entry of the principal for each request.
    let noted = || {
        let of_agent = |(kind, entry): &(String, serde_json::Value)| {
            let said = &entry["predicate"];
            kind == "refusal" && said["code"] == "unknown-step" && said["principal"] == "agent"
        };
        world.log().iter().filter(|entry| of_agent(entry)).count()
    };
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while noted() < 3 && std::time::Instant::now() < deadline {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    assert_eq!(noted(), 3);
    let mut predicate = world.authorization("plain:true", json!({}));
    predicate["step"]["ref"] = json!("plain:nothing");
    let signed = envelope(&people::authorization(&predicate), &[&alice()]);
    world
        .unchanged(|| world.submit(&signed))
        .problem("unknown-step");
}

#[test]
fn a_script_that_differs_from_the_sealed_script_is_refused() {
    let world = World::new();
    let mut predicate = world.authorization("plain:true", json!({}));
    predicate["rendered"] = json!(format!("sha256:{}", people::sha256(b"rm -rf /")));
    let signed = envelope(&people::authorization(&predicate), &[&alice()]);
    let reply = world.unchanged(|| world.submit(&signed));
    let problem = reply.json();
    let code = problem["type"]
        .as_str()
        .unwrap()
        .trim_start_matches("/problems/")
        .to_owned();
    assert!(
        ["step-changed", "context-changed"].contains(&&*code),
        "{problem:#}"
    );
    reply.problem(&code);
}

#[test]
fn the_refusal_invalid_params_lists_every_place() {
    let world = World::with(|setup| {
        let front = format!(
            "params:\n  host: {{type: string, pattern: \"^[a-z]{{1,8}}$\"}}\n  count: {{type: integer, minimum: 1, default: 1}}\n{SMALL}"
        );
        setup.runbook("p.md", runbook(&front, &[("go", ":")]));
    });
    for (params, places) in [
        (json!({}), vec!["/params/host"]),
        (
            json!({"host": "UPPER", "count": 0}),
            vec!["/params/count", "/params/host"],
        ),
        (json!({"host": "a", "more": 1}), vec!["/params/more"]),
        (json!({"host": 1}), vec!["/params/host"]),
        (json!({"host": "web\n"}), vec!["/params/host"]),
        (json!({"host": "a", "count": "1"}), vec!["/params/count"]),
    ] {
        let wish = World::wish("p:go", params);
        let problem = world
            .unchanged(|| world.wire.post("/v1/proposals", &world.agent, &wish))
            .problem("invalid-params");
        let mut found = pointers(&problem);
        found.sort();
        assert_eq!(found, places, "{problem:#}");
    }
    // A signed statement must contain all parameters: the boundary never adds a default to a signed statement.
    let predicate = world.authorization("p:go", json!({"host": "a"}));
    let signed = envelope(&people::authorization(&predicate), &[&alice()]);
    let problem = world
        .unchanged(|| world.submit(&signed))
        .problem("invalid-params");
    assert_eq!(pointers(&problem), ["/params/count"], "{problem:#}");
}

#[test]
fn a_parameter_with_a_leading_dash_is_refused_as_invalid_params() {
    let world = World::with(|setup| {
        let front = format!(
            "params:\n  plain: {{type: string, default: a}}\n  flags: {{type: string, default: a, x-leading-dash: true}}\n{SMALL}"
        );
        setup.runbook(
            "p.md",
            runbook(&front, &[("go", "printf '%s' \"$PARAM_FLAGS\"")]),
        );
    });
    let wish = World::wish("p:go", json!({"plain": "--upload-pack=sh"}));
    let problem = world
        .unchanged(|| world.wire.post("/v1/proposals", &world.agent, &wish))
        .problem("invalid-params");
    assert_eq!(pointers(&problem), ["/params/plain"]);
    let finished = world.run("p:go", json!({"flags": "-n"}), &[&alice()]);
    assert_eq!(world.output(&finished, "stdout"), "-n");
}

#[test]
fn approval_for_other_parameters_is_refused() {
    let world = World::new();
    let predicate = world.authorization("say:echo", json!({"text": "harmless"}));
    let signature = alice().sign(&people::authorization(&predicate));
    let mut other = predicate.clone();
    other["params"] = json!({"text": "harmful"});
    let forged = wrap(&people::authorization(&other), vec![signature.clone()]);
    world
        .unchanged(|| world.submit(&forged))
        .problem("bad-signature");
    // The signature is also invalid for another proposal.
    let one = world.propose("say:echo", json!({"text": "harmful"}));
    let path = format!("/v1/proposals/{}/signatures", id_of(&one));
    let body = json!({"signatures": [signature]});
    world
        .unchanged(|| world.wire.post(&path, "", &body))
        .problem("bad-signature");
    // The signed parameters still run.
    let answer = world.submit(&wrap(
        &people::authorization(&predicate),
        vec![alice().sign(&people::authorization(&predicate))],
    ));
    let run = people::predicate_of(&answer.ok(200)["authorization"]);
    assert_eq!(run["params"], json!({"text": "harmless"}));
}

// The boundary that the authorization names

#[test]
fn approval_for_another_boundary_of_the_same_name_is_refused() {
    let (one, other) = (World::new(), World::new());
    assert_eq!(one.boundary()["name"], other.boundary()["name"]);
    let proposal = one.propose("plain:true", json!({}));
    let signed = envelope(&bytes_of(&proposal), &[&alice()]);
    let problem = other
        .unchanged(|| other.submit(&signed))
        .problem("wrong-boundary");
    assert!(
        problem.get("proposal").is_none(),
        "another boundary's proposal is nothing here: {problem:#}"
    );
    one.submit(&signed).ok(200);
}

// The signers

#[test]
fn a_signature_of_a_key_outside_the_roster_is_refused() {
    let world = World::new();
    let proposal = world.propose("plain:true", json!({}));
    let reply = world.unchanged(|| world.sign(&proposal, &[&mallory()]));
    reply.problem("unknown-signer");
    world
        .unchanged(|| world.sign(&proposal, &[&alice(), &mallory()]))
        .problem("unknown-signer");
    let signed = envelope(
        &people::authorization(&world.authorization("plain:true", json!({}))),
        &[&mallory()],
    );
    world
        .unchanged(|| world.submit(&signed))
        .problem("unknown-signer");
    world
        .unchanged(|| world.deny(&proposal, &mallory()))
        .problem("unknown-signer");
    // The signature of an unknown key creates no log entry.
    assert_eq!(world.list("pending").len(), 1);
    let refusals = world.log().into_iter().filter(|(kind, statement)| {
        kind == "refusal" && statement["predicate"]["principal"] == mallory().keyid().as_str()
    });
    assert_eq!(
        refusals.count(),
        0,
        "a stranger's signature is worth no entry"
    );
}

#[test]
fn one_invalid_signature_refuses_all_signatures_of_a_request() {
    let world = World::new();
    let proposal = world.propose("plain:true", json!({}));
    let payload = bytes_of(&proposal);
    let path = format!("/v1/proposals/{}/signatures", id_of(&proposal));
    // If one signature is invalid, the boundary refuses the whole request and stores none of its signatures.
    let body = json!({"signatures": [dora().sign(&payload), alice().sign(b"x")]});
    world
        .unchanged(|| world.wire.post(&path, "", &body))
        .problem("bad-signature");
    assert_eq!(world.show(id_of(&proposal))["approvals"]["have"], 0);
}

#[test]
fn two_signatures_of_one_person_count_once() {
    // Carol has two keys and does not own the token `free`.
    let world = World::new();
    let token = world.token("free", &[], &["propose"]);
    let wish = World::wish("two:go", json!({}));
    let proposal = world.wire.post("/v1/proposals", &token, &wish).ok(201);
    world
        .unchanged(|| world.sign(&proposal, &[&carol(), &carol_too()]))
        .problem("not-permitted-signer");
    let view = world.sign(&proposal, &[&carol()]).ok(200);
    assert_eq!(
        (&view["status"], &view["approvals"]["have"]),
        (&json!("pending"), &json!(1)),
        "{view:#}"
    );
    let _ = world.sign(&proposal, &[&carol_too()]);
    assert_eq!(world.show(id_of(&proposal))["approvals"]["have"], 1);
    let signed = envelope(&bytes_of(&proposal), &[&carol(), &carol_too()]);
    world
        .wire
        .post("/v1/authorizations", &token, &signed)
        .problem("quorum-missing");
    assert_eq!(
        world.sign(&proposal, &[&carol()]).ok(200)["approvals"]["have"],
        1
    );
    world.sign(&proposal, &[&alice()]).ok(200);
    let finished = world.until(id_of(&proposal), "finished");
    let receipt = world.receipt(&finished);
    assert_eq!(receipt["decision"]["approvers"], json!(["alice", "carol"]));
    assert_eq!(
        world.authorization_of(&finished)["signatures"]
            .as_array()
            .unwrap()
            .len(),
        2,
        "one signature a person"
    );
    world.assert_verified(&finished);
}

// The window

#[test]
fn a_proposal_without_enough_approvals_expires_at_the_end_of_its_window() {
    let world = World::new();
    let mut wish = World::wish("plain:true", json!({}));
    wish["expires_in_s"] = json!(1);
    let proposal = world
        .wire
        .post("/v1/proposals", &world.agent, &wish)
        .ok(201);
    wait_for("it has expired", || {
        world.show(id_of(&proposal))["status"] == "expired"
    });
    let problem = world
        .unchanged(|| world.sign(&proposal, &[&alice()]))
        .problem("expired");
    assert!(
        problem["detail"]
            .as_str()
            .unwrap()
            .contains("propose the step again")
    );
    world
        .unchanged(|| world.submit(&envelope(&bytes_of(&proposal), &[&alice()])))
        .problem("expired");
    world.check_history();
}

// Spent nonces

#[test]
fn a_spent_nonce_is_refused_as_nonce_replayed_and_the_answer_links_the_run() {
    let world = World::new();
    let proposal = world.propose("plain:true", json!({}));
    let signed = envelope(&bytes_of(&proposal), &[&alice()]);
    let bundle = world.submit(&signed).ok(200);
    let receipt = format!("rcp_{}", id_of(&proposal).trim_start_matches("prp_"));
    for _ in 0..3 {
        let problem = world
            .unchanged(|| world.submit(&signed))
            .problem("nonce-replayed");
        assert_eq!(
            (&problem["receipt"], &problem["proposal"]),
            (&json!(receipt), &proposal["id"]),
            "{problem:#}"
        );
    }
    // A caller who cannot read the run gets no link to the run.
    let problem = world
        .submit_as(&world.courier, &signed)
        .problem("nonce-replayed");
    assert!(
        problem.get("receipt").is_none() && problem.get("proposal").is_none(),
        "{problem:#}"
    );
    assert!(bundle["receipt"].is_object());
    assert_eq!((world.count("consumption"), world.count("receipt")), (1, 1));
}

#[test]
fn the_same_nonce_with_another_expiry_is_refused() {
    let world = World::new();
    let mut predicate = world.authorization("plain:true", json!({}));
    world
        .submit(&envelope(&people::authorization(&predicate), &[&alice()]))
        .ok(200);
    let end = people::unix_of(predicate["expires_at"].as_str().unwrap());
    let mut longer = predicate.clone();
    longer["expires_at"] = json!(stamp(end + 3600));
    let longer = envelope(&people::authorization(&longer), &[&alice()]);
    let problem = world
        .unchanged(|| world.submit(&longer))
        .problem("malformed");
    assert_eq!(pointers(&problem), ["/predicate/nonce"], "{problem:#}");
    for (field, value) in [
        ("proposal", json!(people::proposal_id_until(end))),
        ("reason", json!("another")),
        ("params", json!({})),
    ] {
        predicate[field] = value;
        let signed = envelope(&people::authorization(&predicate), &[&alice()]);
        world
            .unchanged(|| world.submit(&signed))
            .problem("nonce-replayed");
    }
    assert_eq!(world.count("receipt"), 1);
}

// Policy and sandbox

#[test]
fn a_step_that_policy_denies_is_refused_although_all_approvers_signed() {
    let world = World::with(|setup| {
        setup
            .policy
            .push_str("overrides:\n  - {runbook: \"closed/**\", mode: deny}\n");
        setup.runbook("closed/door.md", runbook(SMALL, &[("open", ":")]));
    });
    let wish = World::wish("closed/door:open", json!({}));
    world
        .unchanged(|| world.wire.post("/v1/proposals", &world.agent, &wish))
        .problem("policy-denied");
    let predicate = world.authorization("closed/door:open", json!({}));
    let signed = envelope(
        &people::authorization(&predicate),
        &[&alice(), &bob(), &dora()],
    );
    world
        .unchanged(|| world.submit(&signed))
        .problem("policy-denied");
    assert_eq!(world.count("consumption"), 0);
}

// Limits

#[test]
fn a_refusal_as_busy_leaves_the_nonce_unspent() {
    let world = World::with(|setup| setup.limits = "runs = 1".to_owned());
    let running = world.propose("plain:wait", json!({}));
    world.sign(&running, &[&alice()]).ok(200);
    world.until(id_of(&running), "running");
    let signed = envelope(
        &people::authorization(&world.authorization("plain:true", json!({}))),
        &[&alice()],
    );
    world
        .unchanged(|| world.submit(&signed))
        .refuses("busy", "spent no nonce");
    // An online proposal with enough approvals waits until the other run ends.
    let waiting = world.propose("plain:true", json!({}));
    world.sign(&waiting, &[&alice()]).ok(200);
    let view = world.until(id_of(&waiting), "approved");
    assert_eq!(view["next"], json!(["wait", "deny", "cancel"]));
    let cancel = format!("/v1/proposals/{}/cancellation", id_of(&running));
    world.wire.post(&cancel, &world.agent, &json!({})).ok(200);
    assert_eq!(
        world.until(id_of(&running), "finished")["outcome"]["status"],
        "cancelled"
    );
    assert_eq!(
        world.until(id_of(&waiting), "finished")["outcome"]["status"],
        "succeeded"
    );
    world.submit(&signed).ok(200);
    world.check_history();
}

#[test]
fn an_exclusive_step_makes_other_runs_of_its_name_wait() {
    let world = World::with(|setup| {
        let steps = [
            ("hold exclusive=one", "exec sleep 600"),
            ("next exclusive=one", ":"),
            ("free exclusive=two", ":"),
        ];
        setup.runbook("x.md", runbook(SMALL, &steps));
    });
    let holder = world.propose("x:hold", json!({}));
    world.sign(&holder, &[&alice()]).ok(200);
    world.until(id_of(&holder), "running");
    let next = world.propose("x:next", json!({}));
    world.sign(&next, &[&alice()]).ok(200);
    let whole = envelope(
        &people::authorization(&world.authorization("x:next", json!({}))),
        &[&alice()],
    );
    world.submit(&whole).problem("busy");
    world.run("x:free", json!({}), &[&alice()]);
    assert_eq!(world.show(id_of(&next))["status"], "approved");
    world.deny(&holder, &dora()).ok(200);
    assert_eq!(
        world.until(id_of(&holder), "finished")["outcome"]["status"],
        "cancelled"
    );
    world.until(id_of(&next), "finished");
}

#[test]
fn a_wait_for_an_exclusive_name_that_outlasts_the_authorization_ends_as_expired() {
    let world = World::with(|setup| {
        let steps = [
            ("hold exclusive=one", "exec sleep 600"),
            ("next exclusive=one", ":"),
        ];
        setup.runbook("x.md", runbook(SMALL, &steps));
    });
    let holder = world.propose("x:hold", json!({}));
    world.sign(&holder, &[&alice()]).ok(200);
    world.until(id_of(&holder), "running");
    let mut wish = World::wish("x:next", json!({}));
    wish["expires_in_s"] = json!(2);
    let next = world
        .wire
        .post("/v1/proposals", &world.agent, &wish)
        .ok(201);
    world.sign(&next, &[&alice()]).ok(200);
    let expired = world.until(id_of(&next), "expired");
    assert_eq!(expired["receipt"], Value::Null, "{expired:#}");
    world.deny(&holder, &dora()).ok(200);
    world.until(id_of(&holder), "finished");
    assert_eq!(
        world.count("consumption"),
        1,
        "the nonce of the expired run is not spent"
    );
    world.check_history();
}

// Access

#[test]
fn a_proposal_of_another_caller_gets_the_same_answer_as_a_proposal_that_does_not_exist() {
    let world = World::new();
    let mine = world.propose("plain:true", json!({}));
    let id = id_of(&mine);
    let other = people::proposal_id();
    let hidden = world
        .wire
        .get(&format!("/v1/proposals/{id}"), &world.courier)
        .problem("not-found");
    let nothing = world
        .wire
        .get(&format!("/v1/proposals/{other}"), &world.courier)
        .problem("not-found");
    assert_eq!(
        hidden["detail"].as_str().unwrap().replace(id, "ID"),
        nothing["detail"].as_str().unwrap().replace(&other, "ID")
    );
    assert_eq!(
        world.wire.get("/v1/proposals", &world.courier).ok(200)["proposals"],
        json!([])
    );
}

#[test]
fn promise_11_bad_input_leaves_no_trace_in_the_store() {
    let world = World::new();
    let good = envelope(
        &people::authorization(&world.authorization("plain:true", json!({}))),
        &[&alice()],
    );
    let text = good.to_string().into_bytes();
    // A truncated or changed envelope never causes a fault, a run or a row.
    let mut step = 0;
    let tried = world.unchanged(|| {
        let mut tried = 0;
        for at in (0..text.len()).step_by(97) {
            step += 1;
            let mut bad = text.clone();
            if step % 2 == 0 {
                bad.truncate(at)
            } else {
                bad[at] ^= 0x15
            }
            let reply = world
                .wire
                .post_bytes("/v1/authorizations", &world.agent, &bad);
            assert!(
                (400..500).contains(&reply.status),
                "{}: {}",
                reply.status,
                reply.text()
            );
            assert!(
                reply.json()["type"]
                    .as_str()
                    .unwrap()
                    .starts_with("/problems/")
            );
            tried += 1;
        }
        tried
    });
    assert!(tried > 10);
    assert_eq!(world.count("consumption"), 0);
    world.submit(&good).ok(200);
    world.check_history();
}

#[test]
fn an_authorization_with_a_session_artifacts_or_a_plan_is_refused_and_spends_no_nonce() {
    let world = World::new();
    let digest = format!("sha256:{}", "1".repeat(64));
    let session = json!({"id": "ses_02000000-0000-7000-8000-000000000003", "state": digest});
    let artifacts = json!([{"name": "app.tar", "digest": digest, "bytes": 3}]);
    for (part, value, code) in [
        ("session", session, "context-changed"),
        (
            "plan",
            json!({"receipt": digest, "output": digest}),
            "context-changed",
        ),
        ("artifacts", artifacts, "sandbox-unavailable"),
    ] {
        let mut predicate = world.authorization("plain:true", json!({}));
        predicate[part] = value;
        let payload = people::authorization(&predicate);
        let problem = world
            .unchanged(|| world.submit(&envelope(&payload, &[&alice()])))
            .problem(code);
        assert!(
            problem.to_string().contains(part.trim_end_matches('s')),
            "{problem:#}"
        );
    }
    assert_eq!(world.count("consumption"), 0);
}
