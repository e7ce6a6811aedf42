//! Nonces that a proposer chooses: a nonce carries the end of its window. The programs of a proposer choose nonces too.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::mcp::{Server, command, roster_file};
use crate::mcp_proxy::proxy;
use crate::support::grants::{self, POLICY, bearer, granted, terms};
use crate::support::people::{
    alice, end_of, envelope, nonce, nonce_until, now, proposal_id_until, robot, stamp, unix_of,
};
use crate::support::wire::{Reply, pointers};
use crate::support::{SMALL, World, assert_says, exited, id_of, people, runbook, said_at_exit};
use serde_json::{Value, json};

const DAY_S: i64 = 86_400;

fn wish(nonce: &str) -> Value {
    json!({"step": "plain:true", "params": {}, "reason": "because", "nonce": nonce})
}

fn propose(world: &World, nonce: &str) -> Reply {
    world.wire.post("/v1/proposals", &world.agent, &wish(nonce))
}

/// Makes a token that proposes until this time.
fn token_until(world: &World, end: i64) -> String {
    let token = json!({
        "name": "short", "owners": ["carol"], "scopes": ["propose"], "patterns": [], "expires_at": stamp(end),
    });
    world.create_token(&token).expect("a token")
}

/// Asserts that the attempt is refused as malformed at this place, and that nothing is stored or spent. Returns the
/// problem.
#[track_caller]
fn malformed(world: &World, place: &str, attempt: impl FnOnce() -> Reply) -> Value {
    let problem = world.unchanged(attempt).problem("malformed");
    assert_eq!(pointers(&problem), [place], "{problem:#}");
    assert_eq!(world.count("consumption"), 0);
    problem
}

/// Asserts that the nonce is refused because it ends too late. Returns the latest possible end, which a program can
/// read at the place of the refusal.
#[track_caller]
fn too_late(world: &World, attempt: impl FnOnce() -> Reply) -> i64 {
    let problem = malformed(world, "/nonce", attempt);
    let latest = problem["errors"][0]["detail"].as_str().expect("a time");
    assert_says(problem["detail"].as_str().expect("a detail"), latest);
    unix_of(latest)
}

#[test]
fn a_chosen_nonce_in_the_old_form_is_refused() {
    let world = World::new();
    for old in [
        // 16 random bytes, a nonce of version 0.2.0, one byte less, one byte more, and padding.
        "AQEBAQEBAQEBAQEBAQEBAQ",
        "AZqgsFwAQkJCQkJCQkJCQkJCQkJCQg",
        &nonce()[..31],
        &format!("{}AA", nonce()),
        &format!("{}=", &nonce()[..31]),
    ] {
        malformed(&world, "/nonce", || propose(&world, old));
    }
    let _ = propose(&world, &nonce()).ok(201);
}

#[test]
fn a_nonce_whose_end_has_passed_is_refused_with_the_advice_to_look_for_its_proposal_first() {
    let world = World::new();
    for end in [now() - 1, now(), 1] {
        let problem = malformed(&world, "/nonce", || propose(&world, &nonce_until(end)));
        let detail = problem["detail"].as_str().expect("a detail");
        assert_says(detail, "look for that proposal first");
        assert_says(detail, &stamp(end));
        // A program must not make a nonce again here: the first call may have made a proposal.
        let place = problem["errors"][0]["detail"].as_str().expect("a detail");
        assert!(place.parse::<documents::Timestamp>().is_err(), "{place}");
    }
}

#[test]
fn a_nonce_that_ends_after_24_hours_is_refused_with_exactly_the_latest_end_at_its_place() {
    let world = World::new();
    for end in [now() + DAY_S + 600, 7_258_118_400] {
        let before = now();
        let latest = too_late(&world, || propose(&world, &nonce_until(end)));
        assert!((before + DAY_S..=now() + DAY_S).contains(&latest));
    }
    // No document can state this end.
    malformed(&world, "/nonce", || propose(&world, &nonce_until(i64::MAX)));
    for end in [now() + 60, now() + DAY_S - 60] {
        let proposal = propose(&world, &nonce_until(end)).ok(201);
        assert_eq!(proposal["expires_at"], json!(stamp(end)), "{proposal:#}");
        assert_eq!(end_of(id_of(&proposal)), end);
    }
}

#[test]
fn a_chosen_nonce_beyond_the_end_of_the_token_is_refused_with_this_end() {
    let world = World::new();
    let end = now() + 600;
    let short = token_until(&world, end);
    let propose = |nonce: &str| world.wire.post("/v1/proposals", &short, &wish(nonce));
    assert_eq!(too_late(&world, || propose(&nonce_until(end + 1))), end);
    let proposal = propose(&nonce_until(end)).ok(201);
    assert_eq!(proposal["expires_at"], json!(stamp(end)), "{proposal:#}");
}

#[test]
fn a_chosen_nonce_beyond_the_end_of_the_grant_is_refused_with_this_end() {
    let world = World::with(|setup| setup.policy = POLICY.to_owned());
    let mut short = terms();
    short["expires_in_s"] = json!(600);
    let grant = granted(&world, &short);
    let end = unix_of(grant["grant"]["expires_at"].as_str().expect("a time"));
    let robot_bearer = bearer(&world, &robot());
    let mut wish = grants::wish(&grant, "say:echo", json!({"text": "go"}));
    wish["nonce"] = json!(nonce_until(end + 1));
    let latest = too_late(&world, || {
        world.wire.post("/v1/proposals", &robot_bearer, &wish)
    });
    assert_eq!(latest, end);
    wish["nonce"] = json!(nonce_until(end));
    let proposal = world
        .wire
        .post("/v1/proposals", &robot_bearer, &wish)
        .ok(201);
    assert_eq!(proposal["expires_at"], json!(stamp(end)), "{proposal:#}");
    let _ = world.sign(&proposal, &[&robot()]).ok(200);
    world.until(id_of(&proposal), "finished");
    world.assert_audited();
}

#[test]
fn a_chosen_nonce_beyond_the_end_of_the_session_is_refused_with_this_end() {
    let world = World::with(|setup| {
        let steps = [("set session=write", "export A=1")];
        setup.runbook("s.md", runbook(SMALL, &steps));
    });
    // The id of a session carries the end of the session. A session of a boundary ends after 7 days, so this id is
    // invented.
    let end = now() + 600;
    let session = proposal_id_until(end).replace("prp_", "ses_");
    let propose = |end: i64| {
        let mut wish = wish(&nonce_until(end));
        wish["step"] = json!("s:set");
        wish["session"] = json!(session);
        world.wire.post("/v1/proposals", &world.agent, &wish)
    };
    assert_eq!(too_late(&world, || propose(end + 1)), end);
    // This end is good, and then the boundary finds no such session.
    propose(end).problem("not-found");
    assert_eq!(world.count("consumption"), 0);
}

#[test]
fn a_chosen_nonce_beside_a_window_is_refused() {
    let world = World::new();
    for seconds in [1, 3600] {
        let mut wish = wish(&nonce());
        wish["expires_in_s"] = json!(seconds);
        malformed(&world, "/expires_in_s", || {
            world.wire.post("/v1/proposals", &world.agent, &wish)
        });
    }
}

#[test]
fn an_envelope_whose_nonce_or_id_has_another_end_is_refused() {
    let world = World::new();
    let good = world.authorization("plain:true", json!({}));
    let end = unix_of(good["expires_at"].as_str().expect("a time"));
    let submit =
        |predicate: &Value| world.submit(&envelope(&people::authorization(predicate), &[&alice()]));
    let both = "both must be the same time";
    let bits = "the first 48 bits of the id must be expires_at in milliseconds";
    for other in [end - 1, end + 1, 0, 7_258_118_400] {
        let (nonce, id) = (nonce_until(other), proposal_id_until(other));
        for (change, place, words) in [
            (json!({"nonce": nonce}), "/predicate/nonce", both),
            (json!({"proposal": id}), "/predicate/proposal", bits),
            // The nonce is checked first.
            (
                json!({"nonce": nonce, "proposal": id}),
                "/predicate/nonce",
                both,
            ),
            (
                json!({"expires_at": stamp(other)}),
                "/predicate/nonce",
                both,
            ),
        ] {
            let mut predicate = good.clone();
            let map = predicate.as_object_mut().expect("a map");
            map.extend(change.as_object().expect("a map").clone());
            let problem = malformed(&world, place, || submit(&predicate));
            assert_says(problem["detail"].as_str().expect("a detail"), words);
        }
    }
    // An id of the same second, but not of the same millisecond.
    let mut predicate = good.clone();
    let millis = format!("{:012x}", end * 1000 + 1);
    let id = good["proposal"].as_str().expect("an id");
    predicate["proposal"] = json!(format!(
        "prp_{}-{}{}",
        &millis[..8],
        &millis[8..],
        &id[17..]
    ));
    malformed(&world, "/predicate/proposal", || submit(&predicate));
    let _ = submit(&good).ok(200);
    assert_eq!(world.count("consumption"), 1);
    world.assert_audited();
}

// The programs of a proposer

#[test]
fn propose_by_mcp_ends_with_the_token_and_a_repeated_call_is_the_same_proposal() {
    let mut world = World::new();
    let end = now() + 1200;
    world.agent = token_until(&world, end);
    // A gateway answers in place of the boundary after the boundary has made the proposal.
    let lossy = Arc::new(AtomicBool::new(false));
    let lost = lossy.clone();
    let url = proxy(&world, move |asked, status, body| {
        let is_made = asked.line == "POST /v1/proposals" && status < 300;
        let is_lost = is_made && lost.load(Ordering::SeqCst);
        Some(if is_lost {
            (502, b"lost".to_vec())
        } else {
            (status, body)
        })
    });
    let mut server = Server::start(command(&world, &url, &["--roster", &roster_file(&world)]));
    server.open();
    // With `new`, only the nonce shows that a call is a repetition.
    let mut propose = |text: &str, is_lost: bool| {
        lossy.store(is_lost, Ordering::SeqCst);
        let params = json!({"text": text});
        server.call(
            "propose",
            json!({"step": "say:echo", "params": params, "reason": "once", "new": true}),
        )
    };
    let first = propose("one", false);
    let unanswered = propose("two", true);
    assert_eq!(
        unanswered["problem"]["code"], "unreachable",
        "{unanswered:#}"
    );
    let second = propose("two", false);
    for (made, is_repeated) in [(&first, false), (&second, true)] {
        assert_eq!(
            (&made["status"], &made["expires_at"]),
            (&json!("pending"), &json!(stamp(end))),
            "{made:#}"
        );
        assert_eq!(made["existing"] == true, is_repeated, "{made:#}");
    }
    assert_eq!(world.proposals().len(), 2);
    // The server compares the receipt with the nonce that it sent last.
    world.sign(&world.show(id_of(&first)), &[&alice()]).ok(200);
    let state = server.call("wait", json!({"id": first["id"]}));
    assert_eq!(
        (&state["status"], &state["verified"]),
        (&json!("finished"), &json!(true)),
        "{state:#}"
    );
}

#[test]
fn propose_offline_refuses_a_nonce_whose_end_is_not_within_24_hours_and_otherwise_takes_its_end() {
    let world = World::new();
    let file = world.path("statement.json");
    let propose = |nonce: &str| {
        let words = [
            "propose",
            "plain:true",
            "--offline",
            "--proposer",
            "agent",
            "--nonce",
            nonce,
            "-o",
        ];
        let mut program = world.program(&["--url", &world.wire.url]);
        program
            .args(words)
            .arg(&file)
            .env("COUNTERSIGN_TOKEN", &world.agent);
        program.output().expect("the program")
    };
    for end in [1, now() - 1, now() + DAY_S + 600, 7_258_118_400] {
        said_at_exit(
            propose(&nonce_until(end)),
            2,
            &format!("the nonce ends at {}", stamp(end)),
        );
        assert!(!file.exists(), "{end}");
    }
    // 16 random bytes, a nonce of version 0.2.0, and one character less.
    for old in [
        "AQEBAQEBAQEBAQEBAQEBAQ",
        "AZqgsFwAQkJCQkJCQkJCQkJCQkJCQg",
        &nonce()[..31],
    ] {
        said_at_exit(propose(old), 2, "--nonce");
        assert!(!file.exists(), "{old}");
    }
    let end = now() + 600;
    let nonce = nonce_until(end);
    exited(propose(&nonce), 0);
    let written = std::fs::read(&file).expect("a file");
    let statement: Value = serde_json::from_slice(&written).expect("JSON");
    let signed = people::predicate_of(&statement);
    assert_eq!(
        (&signed["nonce"], &signed["expires_at"]),
        (&json!(nonce), &json!(stamp(end))),
        "{signed:#}"
    );
    assert_eq!(end_of(signed["proposal"].as_str().expect("an id")), end);
    let _ = world
        .submit(&envelope(&people::payload_of(&statement), &[&alice()]))
        .ok(200);
}
