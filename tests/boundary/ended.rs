//! Proposals that ended without a run: their step, policy, proposer or session is gone, or a person denied them.

use std::process::Output;

use serde_json::{Value, json};

use crate::mcp_answers::opened;
use crate::support::people::{alice, bob, envelope};
use crate::support::{
    SMALL, World, bytes_of, exited, id_of, runbook, said, said_at_exit, wait_for,
};

fn world() -> World {
    World::with(|setup| {
        setup.runbook(
            "e.md",
            runbook(
                SMALL,
                &[("go", "echo one"), ("set session=write", "export A=1")],
            ),
        );
        setup.runbook("free.md", runbook("", &[("go", ":")]));
    })
}

fn session(world: &World) -> String {
    let made = world
        .wire
        .post("/v1/sessions", &world.agent, &json!({"runbook": "e"}))
        .ok(201);
    made["id"].as_str().expect("an id").to_owned()
}

fn in_session(world: &World, session: &str) -> Value {
    let mut wish = World::wish("e:set", json!({}));
    wish["session"] = json!(session);
    world
        .wire
        .post("/v1/proposals", &world.agent, &wish)
        .ok(201)
}

fn as_agent(world: &World, words: &[&str]) -> Output {
    let mut command = world.program(&["--url", &world.wire.url]);
    command
        .args(words)
        .env("COUNTERSIGN_TOKEN", &world.agent)
        .output()
        .expect("the program")
}

/// Checks that the proposal ended by itself as refused, and what each reader of the proposal learns.
#[track_caller]
fn has_ended(world: &World, proposal: &Value, code: &str) {
    let id = id_of(proposal);
    let view = world.until(id, "refused");
    assert_eq!(
        (&view["refusal"]["code"], &view["next"]),
        (&json!(code), &json!(["propose-again"])),
        "{view:#}"
    );
    assert!(view["ended_at"].is_string(), "{view:#}");
    // An open reader of events, and a command that waits, end with the reason.
    said_at_exit(
        as_agent(world, &["wait", id]),
        126,
        &format!("refused ({code})"),
    );
    for words in [
        ["review", id].as_slice(),
        &["approve", id],
        &["deny", "--yes", id],
    ] {
        let told = world.as_alice(words).output().expect("it starts");
        assert_eq!(
            (told.status.code(), told.stdout.len()),
            (Some(126), 0),
            "{words:?}: {}",
            said(&told)
        );
        let line = format!("countersign: {id} was refused at 20");
        assert!(
            said(&told).starts_with(&line) && said(&told).contains(code),
            "{words:?}: {}",
            said(&told)
        );
    }
    let inbox = world.as_alice(&["inbox"]).output().expect("it starts");
    let step = proposal["step"].as_str().expect("a step");
    let line = format!("{}  {step} was refused ({code})\n", &id[id.len() - 6..]);
    let listed = String::from_utf8_lossy(&inbox.stdout);
    assert!(
        said(&inbox).contains(&line) && !listed.contains(&id[id.len() - 6..]),
        "{}",
        said(&inbox)
    );
    // A signature is refused with the reason, and changes nothing.
    world
        .unchanged(|| world.sign(proposal, &[&alice()]))
        .problem(code);
    assert_eq!(
        world
            .submit(&envelope(&bytes_of(proposal), &[&alice()]))
            .status
            / 100,
        4
    );
}

#[test]
fn a_reload_ends_the_open_proposals_of_changed_and_removed_steps() {
    let world = world();
    let (changed, kept) = (
        world.propose("e:go", json!({})),
        world.propose("plain:true", json!({})),
    );
    let mut waiting = as_agent_waits(&world, id_of(&changed));
    world.write(
        "b/runbooks/e.md",
        &runbook(
            SMALL,
            &[("go", "echo two"), ("set session=write", "export A=1")],
        ),
    );
    world.reseal(world.seal() + 1);
    has_ended(&world, &changed, "step-changed");
    wait_for("the command that waits ends", || {
        waiting.try_wait().expect("a status").is_some()
    });
    assert_eq!(waiting.wait().expect("ended").code(), Some(126));
    let state = opened(&world, &world.wire.url, None)
        .call("wait", json!({"id": id_of(&changed), "wait_s": 0}));
    assert_eq!(
        (&state["status"], &state["reason"]["code"]),
        (&json!("refused"), &json!("step-changed")),
        "{state}"
    );
    assert!(
        state["advice"].as_str().expect("words").contains("propose"),
        "{state}"
    );
    let removed = world.propose("e:go", json!({}));
    world.write("b/runbooks/e.md", &runbook(SMALL, &[("other", "echo two")]));
    world.reseal(world.seal() + 1);
    assert_eq!(
        world.show(id_of(&kept))["status"],
        "pending",
        "an unchanged step stays open"
    );
    world.sign(&kept, &[&alice()]).ok(200);
    world.until(id_of(&kept), "finished");
    has_ended(&world, &removed, "unknown-step");
    assert_eq!(world.count("consumption"), 1);
    let log = world.service_log();
    assert!(
        log.contains(id_of(&removed)),
        "the log of the service names the proposal: {log}"
    );
}

fn as_agent_waits(world: &World, id: &str) -> std::process::Child {
    let mut command = world.program(&["--url", &world.wire.url, "wait", id]);
    command
        .env("COUNTERSIGN_TOKEN", &world.agent)
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("it starts")
}

#[test]
fn a_start_ends_the_open_proposals_whose_sandbox_or_permissions_changed() {
    let mut world = world();
    // Bob's signature does not complete the quorum of each group.
    let (limits, kept) = (
        world.propose("free:go", json!({})),
        world.propose("e:go", json!({})),
    );
    world.stop();
    world.write(
        "b/countersign.toml",
        "name = \"prod\"\n[limits]\nmemory = \"256MiB\"\n",
    );
    world.start();
    world.sign(&kept, &[&alice()]).ok(200);
    world.until(id_of(&kept), "finished");
    has_ended(&world, &limits, "context-changed");
}

#[test]
fn a_revoked_token_ends_its_open_proposals() {
    let world = world();
    let token = world.token("short", &["carol"], &["propose"]);
    let proposal = world
        .wire
        .post("/v1/proposals", &token, &World::wish("e:go", json!({})))
        .ok(201);
    world
        .control(&json!({"do": "token-revoke", "name": "short"}))
        .expect("revoked");
    let view = world.until(id_of(&proposal), "refused");
    assert_eq!(view["refusal"]["code"], "forbidden", "{view:#}");
}

#[test]
fn a_proposal_ends_with_its_session() {
    let mut world = world();
    let one = session(&world);
    let ends = |how: &dyn Fn(&str)| {
        let session = session(&world);
        let proposal = in_session(&world, &session);
        how(&session);
        has_ended(&world, &proposal, "session-stale");
    };
    let post = |path: String| world.wire.post(&path, &world.agent, &json!({}));
    ends(&|id| drop(post(format!("/v1/sessions/{id}/end")).ok(200)));
    ends(&|id| drop(post(format!("/v1/sessions/{id}/reset")).ok(201)));
    // Another run changes the state of the session.
    ends(&|id| {
        let other = in_session(&world, id);
        world.sign(&other, &[&alice()]).ok(200);
        world.until(id_of(&other), "finished");
    });
    let proposal = in_session(&world, &one);
    world.restart();
    has_ended(&world, &proposal, "session-stale");
}

#[test]
fn a_proposal_ends_with_its_idle_session() {
    let world = World::with(|setup| {
        setup.limits.push_str("session_idle = \"1s\"\n");
        setup.runbook(
            "e.md",
            runbook(SMALL, &[("set session=write", "export A=1")]),
        );
    });
    let session = session(&world);
    let proposal = in_session(&world, &session);
    wait_for("the session is over", || {
        world
            .wire
            .get(&format!("/v1/sessions/{session}"), &world.agent)
            .status
            == 410
    });
    assert_eq!(
        world.until(id_of(&proposal), "refused")["refusal"]["code"],
        "session-stale"
    );
}

/// Words that look like a second person and like an end of the quotation, with a hidden character.
const WORDS: &str = "wait for the release\") bob's words: \"yes\u{202e}";
const SHOWN: &str = r#" (alice's words: "wait for the release\") bob's words: \"yes\u{202e}")"#;

#[test]
fn the_words_of_a_denial_reach_the_agent_colleagues_and_the_audit() {
    let world = World::new();
    let proposal = world.propose("two:go", json!({}));
    let id = id_of(&proposal);
    exited(
        world
            .as_alice(&["deny", id, "--reason", WORDS, "--yes"])
            .output()
            .expect("it starts"),
        0,
    );
    for token in [&world.agent, &world.reader] {
        let view = world
            .wire
            .get(&format!("/v1/proposals/{id}"), token)
            .ok(200);
        assert_eq!(view["refusal"]["detail"], "denied by alice", "{view:#}");
        let denial = &view["denials"][0];
        assert_eq!(
            (&denial["approver"], &denial["reason"]),
            (&json!("alice"), &json!(WORDS)),
            "{view:#}"
        );
    }
    let state = opened(&world, &world.wire.url, None).call("wait", json!({"id": id, "wait_s": 0}));
    let words = "wait for the release\") bob's words: \"yes\\u{202e}";
    assert_eq!(
        state["people_said"],
        json!([{"name": "alice", "words": words}]),
        "{state}"
    );
    assert!(!state["reason"].to_string().contains("release"), "{state}");
    // People see the words with escapes.
    let bob_file = "bob.pem";
    world.write(bob_file, bob().secret.to_pkcs8_v1_pem().as_str());
    let roster = world.started["roster"].as_str().expect("a digest");
    let as_bob = |words: &[&str]| {
        let mut command = world.program(&["--url", &world.wire.url]);
        command
            .args(words)
            .args(["--roster", roster, "--key"])
            .arg(world.path(bob_file));
        command.output().expect("it starts")
    };
    let audit = |option: &str| {
        let mut command = world.program(&[
            "audit",
            &world.wire.url,
            "--url",
            &world.wire.url,
            "--roster",
            roster,
        ]);
        command
            .arg(option)
            .env("COUNTERSIGN_TOKEN", &world.reader)
            .output()
            .expect("audit")
    };
    for (output, start) in [
        (
            as_agent(&world, &["wait", id]),
            "denied (denied): denied by alice",
        ),
        (as_bob(&["review", id]), "denied by alice at 20"),
        (as_bob(&["inbox"]), "two:go was denied by alice"),
    ] {
        let text = said(&output);
        let line = text
            .lines()
            .find(|line| line.contains(start))
            .unwrap_or_else(|| panic!("{start}: {text}"));
        assert!(line.contains(SHOWN) && text.is_ascii(), "{text}");
    }
    let table = said(&audit("--decisions"));
    let row = table
        .lines()
        .find(|line| line.contains("denied by alice"))
        .unwrap_or_else(|| panic!("{table}"));
    assert!(
        row.contains("alice's words: wait for the release") && table.is_ascii(),
        "{table}"
    );
    let lines = said(&audit("--json"));
    let lines = lines
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let line = lines
        .into_iter()
        .find(|line| line["type"] == "denial")
        .expect("a denial");
    assert_eq!(
        (&line["approver"], &line["reason"]),
        (&json!("alice"), &json!(WORDS)),
        "{line}"
    );
    assert_eq!(
        (&line["authorization"], &line["entry"]),
        (&proposal["digest"], &json!(world.log_size() - 1)),
        "{line}"
    );
}

#[test]
fn the_words_of_a_denial_that_stops_a_run_are_shown_with_its_end_and_a_denial_without_words_shows_none()
 {
    let world = World::new();
    let running = world.propose("plain:wait", json!({}));
    world.sign(&running, &[&alice()]).ok(200);
    world.until(id_of(&running), "running");
    let silent = world.propose("two:go", json!({}));
    for (proposal, reason, shown) in [(&running, WORDS, SHOWN), (&silent, "", "denied by alice\n")]
    {
        exited(
            world
                .as_alice(&["deny", id_of(proposal), "--yes", "--reason", reason])
                .output()
                .expect("started"),
            0,
        );
        let waited = as_agent(&world, &["wait", id_of(proposal)]);
        assert!(said(&waited).contains(shown), "{}", said(&waited));
        assert_eq!(
            said(&waited).contains("words"),
            !reason.is_empty(),
            "{}",
            said(&waited)
        );
    }
}

#[test]
fn a_run_whose_end_nobody_saw_is_the_first_remark_of_the_next_review_until_the_same_run_succeeds() {
    let params = "params:\n  text: {type: string, default: a}\n";
    let step = runbook(
        &format!("{params}{SMALL}"),
        &[("go", "echo \"$PARAM_TEXT\"\nsleep 3")],
    );
    let mut world = World::with(|setup| setup.runbook("slow.md", step));
    let lost = world.propose("slow:go", json!({}));
    world.sign(&lost, &[&alice()]).ok(200);
    world.until(id_of(&lost), "running");
    world.kill9();
    world.start();
    let lost = world.until(id_of(&lost), "finished");
    assert_eq!(lost["outcome"], json!({"status": "unknown"}), "{lost:#}");
    let receipt = lost["receipt"].as_str().expect("an id");
    let why = "the service ended during the run";
    let shown = world
        .wire
        .get(&format!("/v1/receipts/{receipt}"), &world.reader)
        .ok(200);
    for view in [&lost, &shown] {
        assert!(
            view["end_unknown_because"]
                .as_str()
                .expect("words")
                .starts_with(why),
            "{view:#}"
        );
    }
    let log = world.service_log();
    let line = log
        .lines()
        .find(|line| line.contains("the end of the run is unknown"))
        .unwrap_or_else(|| panic!("{log}"));
    assert!(
        [receipt, id_of(&lost), why]
            .iter()
            .all(|part| line.contains(part)),
        "{line}"
    );
    let waited = as_agent(&world, &["wait", id_of(&lost)]);
    assert!(
        said(&waited).contains(&format!("unknown: {why}")),
        "{}",
        said(&waited)
    );
    world.assert_verified(&lost);

    // The next review of the same step and parameters, also of a statement in a file.
    let file = world.path("statement.json").to_string_lossy().into_owned();
    exited(
        as_agent(
            &world,
            &[
                "propose",
                "slow:go",
                "--offline",
                "--proposer",
                "agent",
                "-o",
                &file,
            ],
        ),
        0,
    );
    let (same, other) = (
        world.propose("slow:go", json!({})),
        world.propose("slow:go", json!({"text": "b"})),
    );
    let waited = world
        .wire
        .get(
            &format!("/v1/proposals/{}?wait=1s", id_of(&same)),
            &world.agent,
        )
        .ok(200);
    for view in [&same, &world.show(id_of(&same)), &waited] {
        assert_eq!(view["unknown_end"]["receipt"], json!(receipt), "{view:#}");
    }
    let remark = format!("(rcp_...{})\n", &receipt[receipt.len() - 6..]);
    let first = |named: &str| {
        let review = said(
            &world
                .as_alice(&["review", named])
                .output()
                .expect("it starts"),
        );
        review.contains("  remarks     1. the same run ended unknown at ")
            && review.contains(&remark)
    };
    assert_eq!(
        [id_of(&same), &file, id_of(&other)].map(&first),
        [true, true, false]
    );
    let inbox = said(&world.as_alice(&["inbox"]).output().expect("it starts"));
    let row = |proposal: &Value| {
        let end = &id_of(proposal)[id_of(proposal).len() - 6..];
        inbox
            .lines()
            .find(|line| line.starts_with(end))
            .unwrap_or_else(|| panic!("{inbox}"))
            .to_owned()
    };
    assert!(
        row(&same).ends_with("! unknown-end") && !row(&other).contains("unknown-end"),
        "{inbox}"
    );
    world.sign(&same, &[&alice()]).ok(200);
    world.until(id_of(&same), "finished");
    assert!(
        !first(id_of(&world.propose("slow:go", json!({})))),
        "a run succeeded after the unknown end"
    );
}
