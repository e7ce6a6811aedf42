//! One wish is one run: which calls repeat an earlier proposal, over HTTP, MCP and the command line.

use std::process::Output;

use serde_json::{Value, json};

use crate::mcp::{Server, post};
use crate::support::people::{self, alice, envelope};
use crate::support::reviews::{self, emergency};
use crate::support::wire::Reply;
use crate::support::wire::tool_call;
use crate::support::{SMALL, World, bytes_of, exited, id_of, runbook, said};

/// Runbooks like those of a service: one step changes it, one shows it.
fn world() -> World {
    World::with(|setup| {
        setup.config.push_str("mcp = true\n");
        let properties = "name: {type: string}, count: {type: integer, default: 5}, hard: {type: boolean, default: false}";
        let front = format!(
            "params: {{type: object, properties: {{{properties}}}, required: [name]}}\n{SMALL}"
        );
        setup.runbook(
            "service.md",
            runbook(
                &front,
                &[("restart", "echo \"$PARAM_NAME\""), ("status", "true")],
            ),
        );
    })
}

fn wish(step: &str) -> Value {
    json!({"step": step, "params": {"name": "shop"}, "reason": "p99 is up"})
}

fn propose(world: &World, wish: &Value) -> Reply {
    world.wire.post("/v1/proposals", &world.agent, wish)
}

/// Asserts that the call is answered with this proposal.
#[track_caller]
fn repeats(world: &World, wish: &Value, earlier: &Value) -> Value {
    let view = propose(world, wish).ok(200);
    assert_eq!(
        (&view["id"], &view["existing"]),
        (&earlier["id"], &json!(true)),
        "{view:#}"
    );
    view
}

/// Asserts that the call makes a new proposal.
#[track_caller]
fn is_new(world: &World, wish: &Value) -> Value {
    let view = propose(world, wish).ok(201);
    assert!(view.get("existing").is_none(), "{view:#}");
    view
}

fn cancel(world: &World, view: &Value) {
    let path = format!("/v1/proposals/{}/cancellation", id_of(view));
    world.wire.post(&path, &world.agent, &json!({})).ok(200);
}

#[test]
fn a_repeated_call_is_answered_with_the_earlier_proposal_and_its_status() {
    let world = world();
    let first = is_new(&world, &wish("service:restart"));
    repeats(&world, &wish("service:restart"), &first);
    world.sign(&first, &[&alice()]).ok(200);
    world.until(id_of(&first), "finished");
    let finished = repeats(&world, &wish("service:restart"), &first);
    assert_eq!(
        (&finished["status"], &finished["outcome"]["status"]),
        (&json!("finished"), &json!("succeeded"))
    );
    let wait = json!({"step": "plain:wait", "reason": "p99 is up"});
    let running = is_new(&world, &wait);
    world.sign(&running, &[&alice()]).ok(200);
    world.until(id_of(&running), "running");
    assert_eq!(repeats(&world, &wait, &running)["status"], "running");
    cancel(&world, &running);
    world.until(id_of(&running), "finished");
    assert_eq!(
        repeats(&world, &wait, &running)["outcome"]["status"],
        "cancelled"
    );
    let denied = is_new(&world, &wish("service:status"));
    world.deny(&denied, &alice()).ok(200);
    let view = repeats(&world, &wish("service:status"), &denied);
    assert_eq!(
        (&view["status"], &view["next"]),
        (&json!("denied"), &json!(["read-denials"])),
        "{view:#}"
    );
    let cancelled = is_new(&world, &wish("service:restart"));
    cancel(&world, &cancelled);
    assert_eq!(
        repeats(&world, &wish("service:restart"), &cancelled)["next"],
        json!(["propose-new"])
    );
    assert_eq!(world.count("consumption"), 2, "no call made a second run");
    // Nothing came of a proposal that expired, so the call is a new proposal.
    let mut short = wish("service:status");
    short["expires_in_s"] = json!(1);
    let expired = is_new(&world, &short);
    world.until(id_of(&expired), "expired");
    let again = is_new(&world, &wish("service:status"));
    assert_eq!(again["status"], "pending");
}

#[test]
fn after_another_step_or_other_parameters_the_same_call_is_a_new_run() {
    let world = world();
    let mut of_blog = wish("service:status");
    of_blog["params"]["name"] = json!("blog");
    for between in [wish("service:restart"), of_blog] {
        let first = is_new(&world, &wish("service:status"));
        is_new(&world, &between);
        let second = is_new(&world, &wish("service:status"));
        assert_ne!(first["id"], second["id"]);
        repeats(&world, &wish("service:status"), &second);
        is_new(&world, &wish("service:restart"));
    }
    // What another proposer asks for changes nothing.
    let mine = is_new(&world, &wish("service:status"));
    let other = world
        .wire
        .post("/v1/proposals", &world.courier, &wish("service:status"))
        .ok(201);
    assert_ne!(mine["id"], other["id"]);
    repeats(&world, &wish("service:status"), &mine);
}

#[test]
fn calls_that_mean_the_same_are_one_proposal() {
    let world = world();
    let first = is_new(&world, &wish("service:restart"));
    let digest = first["step_digest"].as_str().unwrap();
    for same in [
        r#"{"reason":"p99 is up","params":{"name":"shop"},"step":"service:restart"}"#.to_owned(),
        r#"{"step":"service:restart","params":{"hard":false,"name":"shop","count":5}}"#.to_owned(),
        r#"{"step":"service:restart","params":{"name":"sh\u006fp"},"expires_in_s":60,"new":false}"#
            .to_owned(),
        format!(r#"{{"step":"service:restart@{digest}","params":{{"name":"shop"}}}}"#),
    ] {
        let view = world
            .wire
            .post_bytes("/v1/proposals", &world.agent, same.as_bytes())
            .ok(200);
        assert_eq!(
            (&view["id"], &view["existing"]),
            (&first["id"], &json!(true)),
            "{same}"
        );
    }
    let other = json!({"step": "service:restart", "params": {"name": "shop", "count": 6}});
    is_new(&world, &other);
    // Calls at the same time are one proposal too.
    let answers: Vec<Value> = std::thread::scope(|scope| {
        let calls: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    world
                        .wire
                        .clone()
                        .post("/v1/proposals", &world.agent, &wish("service:restart"))
                        .json()
                })
            })
            .collect();
        calls.into_iter().map(|call| call.join().unwrap()).collect()
    });
    assert!(
        answers.iter().all(|view| view["id"] == answers[0]["id"]),
        "{answers:#?}"
    );
    assert_eq!(
        answers
            .iter()
            .filter(|view| view["existing"] == true)
            .count(),
        7
    );
    assert_ne!(answers[0]["id"], first["id"]);
}

#[test]
fn another_reason_is_not_taken_and_the_answer_says_so() {
    let world = world();
    let first = is_new(&world, &wish("service:restart"));
    assert!(
        repeats(&world, &wish("service:restart"), &first)
            .get("reason_not_taken")
            .is_none()
    );
    let mut other = wish("service:restart");
    other["reason"] = json!("the shop is slow");
    let view = repeats(&world, &other, &first);
    assert_eq!(
        (&view["reason"], &view["reason_not_taken"]),
        (&json!("p99 is up"), &json!(true)),
        "{view:#}"
    );
    other["new"] = json!(true);
    let second = is_new(&world, &other);
    assert_ne!(second["id"], first["id"]);
    // The newest proposal of the run is the one that is repeated.
    repeats(&world, &wish("service:restart"), &second);
}

#[test]
fn a_repetition_is_recognized_after_a_restart_and_after_a_crash() {
    let mut world = world();
    let pending = is_new(&world, &wish("service:restart"));
    world.restart();
    repeats(&world, &wish("service:restart"), &pending);
    world.kill9();
    world.start();
    repeats(&world, &wish("service:restart"), &pending);
    world.sign(&pending, &[&alice()]).ok(200);
    world.until(id_of(&pending), "finished");
    world.restart();
    repeats(&world, &wish("service:restart"), &pending);
    assert_eq!(world.count("consumption"), 1);
    world.check_history();
}

#[test]
fn a_call_with_its_own_nonce_repeats_only_a_call_with_this_nonce() {
    let world = World::with(|setup| {
        setup.runbook(
            "s.md",
            runbook(SMALL, &[("set session=write", "export A=1")]),
        )
    });
    let mut own = wish("plain:true");
    own["params"] = json!({});
    let plain = is_new(&world, &own);
    own["nonce"] = json!(people::nonce());
    let with_nonce = is_new(&world, &own);
    repeats(&world, &own, &with_nonce);
    let mut other_reason = own.clone();
    other_reason["reason"] = json!("another");
    assert_eq!(
        repeats(&world, &other_reason, &with_nonce)["reason_not_taken"],
        true
    );
    let mut other_step = own.clone();
    other_step["step"] = json!("plain:fail");
    world
        .unchanged(|| propose(&world, &other_step))
        .problem("nonce-replayed");
    // With `new: false`, an earlier proposal with another nonce also counts.
    own["nonce"] = json!(people::nonce());
    own["new"] = json!(false);
    repeats(&world, &own, &with_nonce);
    assert_ne!(plain["id"], with_nonce["id"]);
    // The same call stays the same run after the run has changed its session.
    let session = world
        .wire
        .post("/v1/sessions", &world.agent, &json!({"runbook": "s"}))
        .ok(201)["id"]
        .clone();
    let in_session = json!({"step": "s:set", "session": session, "nonce": people::nonce()});
    let first = is_new(&world, &in_session);
    world.sign(&first, &[&alice()]).ok(200);
    world.until(id_of(&first), "finished");
    repeats(&world, &in_session, &first);
    // Without a nonce, the run in the changed session is another run.
    let of_state = json!({"step": "s:set", "session": session});
    assert_ne!(is_new(&world, &of_state)["id"], first["id"]);
}

#[test]
fn what_is_handed_in_signed_repeats_nothing_and_is_repeated_by_nothing() {
    let world = World::new();
    let own = json!({"step": "plain:true", "reason": "because"});
    let pending = is_new(&world, &own);
    let issued = people::predicate_of(&json!({"payload": pending["payload"]}));
    let begin = people::unix_of(issued["issued_at"].as_str().expect("a time"));
    let whole = |seconds: i64| {
        let mut predicate = issued.clone();
        people::end_at(&mut predicate, begin + seconds);
        envelope(&people::authorization(&predicate), &[&alice()])
    };
    for _ in 0..2 {
        world.submit(&whole(3600)).ok(200);
    }
    assert_eq!(world.count("consumption"), 2);
    repeats(&world, &own, &pending);
    // An id with the latest possible end hides no proposal.
    world.submit(&whole(86_400)).ok(200);
    repeats(&world, &own, &pending);
}

#[test]
fn an_emergency_and_a_normal_proposal_never_repeat_each_other() {
    let world = World::with(|setup| {
        setup.policy = reviews::POLICY.replace("max_unreviewed: 2", "max_unreviewed: 1");
    });
    let urgent = || emergency(&world, "say:echo", json!({"text": "x"}));
    let normal = json!({"step": "say:echo", "params": {"text": "x"}, "reason": "fire"});
    let first = urgent().ok(201);
    let calm = is_new(&world, &normal);
    assert_eq!(urgent().ok(200)["id"], first["id"]);
    repeats(&world, &normal, &calm);
    world.sign(&first, &[&alice()]).ok(200);
    world.until(id_of(&first), "finished");
    // A new emergency would be refused, because this one has no review yet.
    let again = urgent().ok(200);
    assert_eq!(
        (&again["id"], &again["status"]),
        (&first["id"], &json!("finished")),
        "{again:#}"
    );
    emergency(&world, "say:echo", json!({"text": "y"})).refuses("policy-denied", "review");
}

#[test]
fn a_repeated_propose_over_mcp_is_one_proposal_on_both_transports() {
    let world = world();
    let mut server = Server::opened(&world, &world.wire.url);
    let made = server.call("propose", wish("service:restart"));
    assert!(
        made["status"] == "pending" && made.get("existing").is_none(),
        "{made}"
    );
    let again = server.call("propose", wish("service:restart"));
    assert_eq!(
        (&again["id"], &again["existing"]),
        (&made["id"], &json!(true)),
        "{again}"
    );
    assert!(
        again["advice"].as_str().unwrap().contains("`new: true`"),
        "{again}"
    );
    let over_http = |arguments: Value| {
        post(&world, &world.agent, &tool_call("propose", arguments))["result"]["structuredContent"]
            .clone()
    };
    assert_eq!(over_http(wish("service:restart"))["id"], made["id"]);
    repeats(&world, &wish("service:restart"), &world.show(id_of(&made)));
    let mut restarted = Server::opened(&world, &world.wire.url);
    let mut other = wish("service:restart");
    other["reason"] = json!("another");
    let again = restarted.call("propose", other.clone());
    assert_eq!(
        (&again["id"], &again["existing"]),
        (&made["id"], &json!(true)),
        "{again}"
    );
    assert!(
        again["advice"]
            .as_str()
            .unwrap()
            .contains("reason was not taken"),
        "{again}"
    );
    // A request that the client cancels may have made its proposal.
    restarted.send(
        &tool_call("propose", wish("service:status"))
            .to_string()
            .replace("\"id\":1,", "\"id\":77,"),
    );
    let cancelled =
        json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 77}});
    restarted.send(&cancelled.to_string());
    restarted.until_pong(78);
    let after = server.call("propose", wish("service:status"));
    assert_eq!(over_http(wish("service:status"))["id"], after["id"]);
    let of_status = world
        .wire
        .get("/v1/proposals?step=service:status", &world.reader)
        .ok(200);
    let of_status = of_status["proposals"].as_array().unwrap().len();
    assert_eq!(
        of_status, 1,
        "the cancelled request and its repetition are one proposal"
    );
    let mut new = wish("service:status");
    new["new"] = json!(true);
    let second = server.call("propose", new.clone());
    assert!(
        second["id"] != after["id"] && second.get("existing").is_none(),
        "{second}"
    );
    let third = over_http(new);
    assert!(
        third["id"] != second["id"] && third["id"] != after["id"],
        "{third}"
    );
}

#[test]
fn no_answer_about_a_denied_run_advises_to_propose() {
    let world = world();
    let mut server = Server::opened(&world, &world.wire.url);
    let made = server.call("propose", wish("service:restart"));
    world.deny(&world.show(id_of(&made)), &alice()).ok(200);
    for answer in [
        server.call("wait", json!({"id": made["id"]})),
        server.call("propose", wish("service:restart")),
    ] {
        let advice = answer["advice"].as_str().unwrap();
        assert!(
            advice.contains("`people_said`") && advice.contains("do not propose"),
            "{advice}"
        );
        assert!(
            !advice.contains("new: true") && answer["status"] == "denied",
            "{answer}"
        );
    }
    assert_eq!(world.show(id_of(&made))["next"], json!(["read-denials"]));
    // A person who stops a run also says no.
    let running = is_new(&world, &json!({"step": "plain:wait", "reason": "x"}));
    world.sign(&running, &[&alice()]).ok(200);
    world.until(id_of(&running), "running");
    world.deny(&running, &alice()).ok(200);
    assert_eq!(
        world.until(id_of(&running), "finished")["next"][0],
        "read-denials"
    );
}

fn as_agent(world: &World, words: &[&str]) -> Output {
    let mut program = world.program(&["--url", &world.wire.url]);
    exited(
        program
            .args(words)
            .env("COUNTERSIGN_TOKEN", &world.agent)
            .output()
            .expect("the program"),
        0,
    )
}

#[test]
fn a_repeated_command_is_one_proposal_unless_it_says_new() {
    let world = world();
    let words = [
        "propose",
        "service:restart",
        "-p",
        "name=shop",
        "--reason",
        "p99 is up",
    ];
    let id_in = |output: &Output| String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let first = id_in(&as_agent(&world, &words));
    let again = as_agent(&world, &[&words[..], &["-p", "count=5"]].concat());
    assert_eq!(id_in(&again), first);
    let other = as_agent(
        &world,
        &[
            "propose",
            "service:restart",
            "-p",
            "name=shop",
            "--reason",
            "slow",
        ],
    );
    assert!(
        said(&other).contains("your reason was not taken") && said(&other).contains("--new"),
        "{}",
        said(&other)
    );
    assert_eq!(id_in(&other), first);
    world.sign(&world.show(&first), &[&alice()]).ok(200);
    world.until(&first, "finished");
    let after = as_agent(&world, &[&words[..], &["--wait"]].concat());
    assert!(
        said(&after).contains(&first) && said(&after).contains("shop"),
        "{}",
        said(&after)
    );
    let new = id_in(&as_agent(&world, &[&words[..], &["--new"]].concat()));
    assert_ne!(new, first);
    assert_eq!(world.count("consumption"), 1);
}

/// Makes a proposal of `say:echo` by a command with these options. Returns the proposal and the seconds of its window.
fn proposed(world: &World, options: &[&str]) -> (Value, i64) {
    let words = ["propose", "say:echo", "-p", "text=x", "--reason", "fire"];
    let made = as_agent(world, &[&words[..], options].concat());
    let view = world.show(String::from_utf8_lossy(&made.stdout).trim());
    let at = |field: &str| people::unix_of(view[field].as_str().expect("a time"));
    let window = at("expires_at") - at("created_at");
    (view, window)
}

#[test]
fn a_command_with_new_makes_a_second_emergency_with_the_window_of_emergencies() {
    let world = World::with(|setup| {
        setup.policy = reviews::POLICY.replace("max_window_s: 600", "max_window_s: 900");
    });
    let (first, window) = proposed(&world, &["--emergency"]);
    assert_eq!(window, 900);
    let (second, window) = proposed(&world, &["--emergency", "--new"]);
    assert_eq!((window, &second["emergency"]), (900, &json!(true)));
    assert_ne!(first["id"], second["id"]);
    // Without `--new`, the answer is the newest emergency.
    assert_eq!(proposed(&world, &["--emergency"]).0["id"], second["id"]);
    assert_eq!(world.proposals().len(), 2);
}

#[test]
fn a_command_with_new_takes_a_window_of_up_to_a_day() {
    let world = World::new();
    let (first, window) = proposed(&world, &[]);
    assert_eq!(window, 3600);
    let (second, window) = proposed(&world, &["--new", "--expires", "1d"]);
    assert_eq!(window, 86_400);
    assert_ne!(first["id"], second["id"]);
}

#[test]
fn the_review_and_the_inbox_remark_that_the_same_run_is_also_pending_or_succeeded() {
    let world = world();
    let done = is_new(&world, &wish("service:restart"));
    world.sign(&done, &[&alice()]).ok(200);
    world.until(id_of(&done), "finished");
    let one = is_new(
        &world,
        &World::wish("service:restart", json!({"name": "shop"})),
    );
    let other = world
        .wire
        .post("/v1/proposals", &world.courier, &wish("service:restart"))
        .ok(201);
    let unlike = is_new(
        &world,
        &World::wish("service:restart", json!({"name": "blog"})),
    );
    world.write("alice.pem", alice().secret.to_pkcs8_v1_pem().as_str());
    let as_alice = |words: &[&str]| {
        let mut program = world.program(&["--url", &world.wire.url]);
        program.args(words).args([
            "--roster",
            world.started["roster"].as_str().unwrap(),
            "--key",
        ]);
        said(&exited(
            program
                .arg(world.path("alice.pem"))
                .output()
                .expect("the program"),
            0,
        ))
    };
    let end = |view: &Value| id_of(view)[id_of(view).len() - 6..].to_owned();
    let review = as_alice(&["review", id_of(&one)]);
    assert!(
        review.contains(&format!(
            "the same run is also pending (prp_...{})",
            end(&other)
        )),
        "{review}"
    );
    assert!(
        review.contains("the same run succeeded ") && review.contains(" ago (prp_..."),
        "{review}"
    );
    assert!(!as_alice(&["review", id_of(&unlike)]).contains("the same run"));
    let inbox = as_alice(&["inbox"]);
    let row = |view: &Value| {
        inbox
            .lines()
            .find(|line| line.contains(&end(view)))
            .unwrap_or_default()
            .to_owned()
    };
    assert!(
        row(&one).contains("! same-run") && row(&other).contains("! same-run"),
        "{inbox}"
    );
    assert!(!row(&unlike).contains("same-run"), "{inbox}");
    as_alice(&["deny", id_of(&other), "--yes", "--reason", "not now"]);
    let review = as_alice(&["review", id_of(&one)]);
    assert!(!review.contains("is also pending"), "{review}");
    assert!(
        review.contains("the same run was denied ") && review.contains(&end(&other)),
        "{review}"
    );
    // The proposer gets no remark about other runs, and the bytes to sign are those of the proposal.
    assert!(
        world
            .wire
            .get(&format!("/v1/proposals/{}", id_of(&one)), &world.agent)
            .ok(200)
            .get("same_runs")
            .is_none()
    );
    assert_eq!(bytes_of(&world.show(id_of(&one))), bytes_of(&one));
}
