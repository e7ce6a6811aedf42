//! Ids, denials, rate limits and visibility of proposals.

use std::path::Path;
use std::process::Output;

use serde_json::{Value, json};

use crate::mcp::Server;
use crate::support::people::{self, Key, alice, bob, carol, dora, envelope, erin, frank, mallory};
use crate::support::{self, SMALL, World, bytes_of, exited, id_of, runbook, said, said_at_exit};

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs an approver's command in `directory`, with the approver's key and the trusted roster.
fn as_approver(
    world: &World,
    key: &Key,
    directory: &Path,
    command: &str,
    arguments: &[&str],
) -> Output {
    let file = format!("home/{}.pem", key.name);
    world.write(&file, key.secret.to_pkcs8_v1_pem().as_str());
    let mut program = world.program(&["--url", &world.wire.url, command]);
    program
        .args([
            "--roster",
            world.started["roster"].as_str().unwrap(),
            "--key",
        ])
        .arg(world.path(&file));
    program
        .args(arguments)
        .current_dir(directory)
        .output()
        .expect(command)
}

/// Runs a command with the agent's token.
fn as_agent(world: &World, arguments: &[&str]) -> Output {
    let mut program = world.program(&["--url", &world.wire.url]);
    program
        .args(arguments)
        .env("COUNTERSIGN_TOKEN", &world.agent)
        .output()
        .expect("the program")
}

/// An authorization of the agent with this id and its end, signed by alice.
fn signed_as(world: &World, step: &str, id: &str) -> Value {
    let mut predicate = world.authorization(step, json!({}));
    people::end_at(&mut predicate, people::end_of(id));
    predicate["proposal"] = json!(id);
    envelope(&people::authorization(&predicate), &[&alice()])
}

/// An unused proposal id with this ending.
fn id_ending(ending: &str) -> String {
    let id = people::proposal_id();
    format!("{}{ending}", &id[..id.len() - ending.len()])
}

// Ids on the command line

#[test]
fn an_id_is_never_read_as_the_name_of_a_file_in_the_working_directory() {
    let world = World::new();
    let (meant, planted) = (
        world.propose("plain:true", json!({})),
        world.propose("plain:fail", json!({})),
    );
    let directory = world.path("checkout");
    std::fs::create_dir(&directory).unwrap();
    let several = as_approver(&world, &alice(), &directory, "approve", &[]);
    assert!(
        said(&several).contains("name one proposal by the last 6 digits of its id"),
        "{}",
        said(&several)
    );
    let ending = &id_of(&meant)[id_of(&meant).len() - 6..];
    for name in [id_of(&meant), ending] {
        std::fs::write(
            directory.join(name),
            envelope(&bytes_of(&planted), &[]).to_string(),
        )
        .unwrap();
    }
    for name in [id_of(&meant), ending] {
        let review = as_approver(&world, &alice(), &directory, "review", &["--json", name]);
        let shown: Value =
            serde_json::from_slice(&review.stdout).unwrap_or_else(|_| panic!("{}", said(&review)));
        assert_eq!(shown["digest"], meant["digest"], "{name}");
    }
    exited(
        as_approver(&world, &alice(), &directory, "deny", &["--yes", ending]),
        0,
    );
    assert_eq!(world.show(id_of(&meant))["status"], "denied");
    assert_eq!(world.show(id_of(&planted))["status"], "pending");
    // An argument with a directory names a file.
    let file = format!("./{ending}");
    let review = as_approver(&world, &alice(), &directory, "review", &["--json", &file]);
    let shown: Value =
        serde_json::from_slice(&review.stdout).unwrap_or_else(|_| panic!("{}", said(&review)));
    assert_eq!(shown["digest"], planted["digest"]);
}

#[test]
fn an_approver_can_name_an_open_proposal_by_its_last_digits_even_if_closed_proposals_have_the_same_digits()
 {
    let world = World::new();
    let open = world.propose("plain:true", json!({}));
    let ending = &id_of(&open)[id_of(&open).len() - 6..];
    // A program that creates its own statements can choose the id. This proposal is newer, and its run has finished.
    world
        .submit(&signed_as(&world, "plain:true", &id_ending(ending)))
        .ok(200);
    let here = world.path("");
    let review = as_approver(&world, &alice(), &here, "review", &["--json", ending]);
    let shown: Value =
        serde_json::from_slice(&review.stdout).unwrap_or_else(|_| panic!("{}", said(&review)));
    assert_eq!(shown["digest"], open["digest"]);
    // The command `wait` also accepts closed proposals, so both proposals match: the command lists both and waits for
    // neither.
    let wait = exited(as_agent(&world, &["wait", ending]), 2);
    assert!(
        said(&wait).contains("2 proposals match") && said(&wait).contains(id_of(&open)),
        "{}",
        said(&wait)
    );
    exited(
        as_approver(&world, &alice(), &here, "deny", &["--yes", ending]),
        0,
    );
    assert_eq!(world.show(id_of(&open))["status"], "denied");
    // Both proposals are closed now.
    said_at_exit(
        as_approver(&world, &alice(), &here, "deny", &["--yes", ending]),
        2,
        "2 proposals match",
    );
    for short in [&ending[1..], "4f2a", "xyz123", "plan"] {
        let refused = exited(as_approver(&world, &alice(), &here, "review", &[short]), 2);
        assert!(
            said(&refused).contains("the last digits of an id (at least 6)"),
            "{}",
            said(&refused)
        );
    }
}

#[test]
fn two_open_proposals_with_the_same_last_digits_are_listed_and_no_proposal_is_chosen() {
    let world = World::new();
    let ids = [id_ending("00004f2a9c"), id_ending("11114f2a9c")];
    let calls: Vec<_> = (ids.iter())
        .map(|id| {
            let (wire, agent, signed) = (
                world.wire.clone(),
                world.agent.clone(),
                signed_as(&world, "plain:wait", id),
            );
            std::thread::spawn(move || wire.post("/v1/authorizations", &agent, &signed).ok(200))
        })
        .collect();
    ids.iter().for_each(|id| {
        support::wait_for("it runs", || {
            world
                .wire
                .get(&format!("/v1/proposals/{id}"), &world.reader)
                .status
                == 200
        });
    });
    let here = world.path("");
    for command in ["review", "approve", "deny"] {
        let refused = exited(
            as_approver(&world, &alice(), &here, command, &["4F2A9C"]),
            2,
        );
        assert!(
            ids.iter().all(|id| said(&refused).contains(id)),
            "{}",
            said(&refused)
        );
        assert!(
            said(&refused).contains("name one proposal by more digits of its id"),
            "{}",
            said(&refused)
        );
    }
    for id in &ids {
        assert_eq!(world.show(id)["status"], "running");
        exited(
            as_approver(
                &world,
                &alice(),
                &here,
                "deny",
                &["--yes", &id[id.len() - 10..]],
            ),
            0,
        );
    }
    for call in calls {
        call.join().unwrap();
    }
}

#[test]
fn a_search_by_last_digits_finds_only_open_proposals_that_the_caller_may_see() {
    let world = World::new();
    let mine = world.propose("plain:true", json!({}));
    let over = world.propose("plain:fail", json!({}));
    world.deny(&over, &alice()).ok(200);
    let other = world
        .wire
        .post(
            "/v1/proposals",
            &world.courier,
            &World::wish("plain:true", json!({})),
        )
        .ok(201);
    let found = |query: &str, token: &str| -> Vec<String> {
        let page = world
            .wire
            .get(&format!("/v1/proposals?{query}"), token)
            .ok(200);
        page["proposals"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| id_of(one).to_owned())
            .collect()
    };
    let end = |proposal: &Value| id_of(proposal)[id_of(proposal).len() - 12..].to_owned();
    assert_eq!(
        found("status=open", &world.reader),
        [id_of(&other), id_of(&mine)]
    );
    assert_eq!(
        found(&format!("id_ends={}", end(&over)), &world.reader),
        [id_of(&over)]
    );
    assert!(
        found(
            &format!("id_ends={}&status=open", end(&over)),
            &world.reader
        )
        .is_empty()
    );
    assert_eq!(
        found(&format!("id_ends={}&status=open", end(&mine)), &world.agent),
        [id_of(&mine)]
    );
    assert!(
        found(&format!("id_ends={}", end(&other)), &world.agent).is_empty(),
        "another proposer's"
    );
    for bad in ["4f2a9", "4F2A9C", "prp_4f2a9c", "4f2a9c%25", ""] {
        world
            .wire
            .get(&format!("/v1/proposals?id_ends={bad}"), &world.reader)
            .problem("malformed");
    }
}

// Denials of statements that the boundary does not know

/// The body that denies a statement, which can be unknown to the boundary.
fn denial_of(world: &World, payload: &[u8], key: &Key) -> Value {
    let denial = envelope(&people::denial(&world.boundary(), payload, "no"), &[key]);
    json!({"denial": denial, "payload": envelope(payload, &[])["payload"]})
}

#[test]
fn a_statement_that_was_denied_before_the_boundary_knew_it_never_runs() {
    let mut world = World::new();
    let here = world.path("");
    let proposed = as_agent(
        &world,
        &[
            "propose",
            "two:go",
            "--offline",
            "--proposer",
            "agent",
            "-o",
            here.join("st.json").to_str().unwrap(),
        ],
    );
    assert!(proposed.status.success(), "{}", said(&proposed));
    let statement: Value =
        serde_json::from_slice(&std::fs::read(here.join("st.json")).unwrap()).unwrap();
    let payload = people::payload_of(&statement);
    let signed = envelope(&payload, &[&alice(), &bob()]);
    // Alice denies the signed statement before the boundary receives the statement.
    let denied = exited(
        as_approver(&world, &alice(), &here, "deny", &["--yes", "st.json"]),
        0,
    );
    let predicate = people::predicate_of(&statement);
    assert!(
        text(&denied.stdout).contains(predicate["expires_at"].as_str().unwrap()),
        "{}",
        said(&denied)
    );
    world.submit(&signed).problem("denied");
    // The denial is a log entry and stays in force after a restart and a crash.
    assert_eq!((world.count("denial"), world.count("consumption")), (1, 0));
    world.assert_audited();
    world.restart();
    world.submit(&signed).problem("denied");
    world.kill9();
    world.start();
    world.submit(&signed).problem("denied");
    std::fs::write(here.join("signed.json"), signed.to_string()).unwrap();
    exited(
        as_agent(
            &world,
            &["submit", here.join("signed.json").to_str().unwrap()],
        ),
        123,
    );
    // The same denial again adds no entry.
    let again = world
        .wire
        .post("/v1/denials", "", &denial_of(&world, &payload, &alice()))
        .ok(200);
    assert_eq!(
        (world.count("denial"), &again["kept_until"]),
        (1, &predicate["expires_at"])
    );
    assert!(again.get("status").is_none(), "{again:#}");
}

#[test]
fn a_statement_in_a_file_is_not_signed_if_it_was_denied_or_has_ended() {
    let mut world = World::new();
    let here = world.path("");
    let write = |name: &str, step: &str| {
        let path = here.join(name);
        let made = as_agent(
            &world,
            &[
                "propose",
                step,
                "--offline",
                "--proposer",
                "agent",
                "-o",
                path.to_str().unwrap(),
            ],
        );
        assert!(made.status.success(), "{}", said(&made));
        let statement: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        people::payload_of(&statement)
    };
    let denied = write("denied.json", "two:go");
    let ran = write("ran.json", "plain:true");
    write("open.json", "plain:true");
    let approve = |name: &str| {
        as_approver(
            &world,
            &alice(),
            &here,
            "approve",
            &[name, "-o", "signed.json"],
        )
    };
    world
        .wire
        .post("/v1/denials", "", &denial_of(&world, &denied, &bob()))
        .ok(200);
    world.submit(&envelope(&ran, &[&bob()])).ok(200);
    for (name, how) in [
        ("denied.json", " was denied by bob at 20"),
        ("ran.json", " ran and ended at 20"),
    ] {
        for command in ["review", "approve"] {
            let refused = match command {
                "review" => as_approver(&world, &alice(), &here, command, &[name]),
                _ => approve(name),
            };
            let told = text(&refused.stderr);
            assert_eq!(
                (refused.status.code(), refused.stdout.len()),
                (Some(126), 0),
                "{}",
                said(&refused)
            );
            assert!(
                told.contains(how) && told.ends_with(": nothing to sign\n"),
                "{command} {name}: {told}"
            );
        }
    }
    let told = text(&approve("open.json").stderr).to_owned();
    assert!(
        !told.contains("did not answer") && !told.contains("nothing to sign"),
        "{told}"
    );
    // Only a caller who can read all steps can ask for denials.
    let digest = format!("sha256:{}", people::sha256(&denied));
    let view = world
        .wire
        .get(&format!("/v1/denials/{digest}"), &world.reader)
        .ok(200);
    assert_eq!(
        (&view["digest"], &view["denials"][0]["approver"]),
        (&json!(digest), &json!("bob")),
        "{view:#}"
    );
    let limited = world.token_for("limited", &[], &["read"], &["say:*"]);
    for token in [&world.agent, &limited] {
        world
            .wire
            .get(&format!("/v1/denials/{digest}"), token)
            .problem("forbidden");
    }
    world
        .wire
        .get("/v1/denials/sha256:1", &world.reader)
        .problem("malformed");
    // If the boundary does not answer, the command prints a note and shows the review.
    world.stop();
    let told = as_approver(&world, &alice(), &here, "review", &["open.json"]);
    let note = "note: the boundary did not answer whether this statement was denied or has run: the boundary at ";
    assert!(
        text(&told.stderr).contains(note) && text(&told.stdout).contains("plain:true"),
        "{}",
        said(&told)
    );
}

#[test]
fn a_denial_kills_the_run_of_its_statement() {
    let world = World::new();
    let id = people::proposal_id();
    let signed = signed_as(&world, "plain:wait", &id);
    let (wire, agent, body) = (world.wire.clone(), world.agent.clone(), signed.clone());
    let call = std::thread::spawn(move || wire.post("/v1/authorizations", &agent, &body).ok(200));
    support::wait_for("it runs", || {
        world
            .wire
            .get(&format!("/v1/proposals/{id}"), &world.reader)
            .status
            == 200
    });
    let denial = denial_of(&world, &people::payload_of(&signed), &dora());
    let denied = world.wire.post("/v1/denials", "", &denial).ok(200);
    assert_eq!(
        (&denied["proposal"], &denied["status"]),
        (&json!(id), &json!("running"))
    );
    call.join().unwrap();
    assert_eq!(
        world.until(&id, "finished")["outcome"]["status"],
        "cancelled"
    );
    world
        .wire
        .post("/v1/denials", "", &denial)
        .problem("wrong-state");
}

#[test]
fn only_an_eligible_approver_can_deny_a_statement_with_an_open_window() {
    let world = World::new();
    let predicate = world.authorization("plain:true", json!({}));
    let payload = people::authorization(&predicate);
    let post = |body: &Value| world.unchanged(|| world.wire.post("/v1/denials", "", body));
    for (key, code) in [
        (mallory(), "unknown-signer"),
        (frank(), "not-permitted-signer"),
        (erin(), "not-permitted-signer"),
        (carol(), "not-permitted-signer"),
    ] {
        post(&denial_of(&world, &payload, &key)).problem(code);
    }
    let mut forged = denial_of(&world, &payload, &alice());
    forged["denial"]["signatures"][0]["sig"] = bob().sign(b"x")["sig"].clone();
    post(&forged).problem("bad-signature");
    let mut other = denial_of(&world, &payload, &alice());
    other["payload"] = denial_of(&world, b"{}", &alice())["payload"].clone();
    post(&other).problem("malformed");
    post(&denial_of(&world, b"{}", &alice())).problem("malformed");
    let mut elsewhere = predicate.clone();
    elsewhere["boundary"]["id"] = json!(format!("sha256:{}", "0".repeat(64)));
    post(&denial_of(
        &world,
        &people::authorization(&elsewhere),
        &alice(),
    ))
    .problem("wrong-boundary");
    let mut over = predicate.clone();
    for field in ["issued_at", "not_before"] {
        over[field] = json!(people::stamp(people::now() - 100));
    }
    people::end_at(&mut over, people::now() - 1);
    post(&denial_of(&world, &people::authorization(&over), &alice())).problem("expired");
    // A reseal within the window can restore a removed step, so any approver can deny the statement.
    let mut gone = predicate.clone();
    gone["step"]["ref"] = json!("plain:gone");
    world
        .wire
        .post(
            "/v1/denials",
            "",
            &denial_of(&world, &people::authorization(&gone), &frank()),
        )
        .ok(200);
    world
        .wire
        .post("/v1/denials", "", &denial_of(&world, &payload, &dora()))
        .ok(200);
    world
        .submit(&envelope(&payload, &[&alice()]))
        .problem("denied");
}

// Rate limits

/// Creates a proposal and cancels the proposal.
fn propose_and_cancel(world: &World) -> support::wire::Reply {
    let mut wish = World::wish("plain:true", json!({}));
    wish["nonce"] = json!(people::nonce());
    let made = world.wire.post("/v1/proposals", &world.agent, &wish);
    if made.status == 201 {
        let path = format!("/v1/proposals/{}/cancellation", id_of(&made.json()));
        world.wire.post(&path, &world.agent, &json!({})).ok(200);
    }
    made
}

#[test]
fn a_token_that_proposes_too_often_gets_a_retry_time() {
    let world = World::new();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for number in 0..125 {
                    let made = propose_and_cancel(&world);
                    assert_eq!(made.status, 201, "{number}: {}", made.text());
                }
            });
        }
    });
    let refused = propose_and_cancel(&world);
    refused.problem("rate-limited");
    let wait: i64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!(
        (7000..=7200).contains(&wait),
        "an hour after a window of an hour: {wait}"
    );
    // The limit does not affect other tokens.
    world
        .wire
        .post(
            "/v1/proposals",
            &world.courier,
            &World::wish("plain:true", json!({})),
        )
        .ok(201);
}

#[test]
fn invalid_signatures_count_towards_the_rate_limit_of_their_sender() {
    // A key has a rate of two signatures a second with a burst of eight. A token has a rate of ten calls a second.
    let world = World::with(|setup| setup.limits = "calls_per_second = 10".to_owned());
    let proposal = world.propose("two:go", json!({}));
    let path = format!("/v1/proposals/{}/signatures", id_of(&proposal));
    let junk = json!({"signatures": [{"keyid": alice().keyid(), "sig": bob().sign(b"x")["sig"]}]});
    let (mut refused, mut limited) = (0, 0);
    for _ in 0..60 {
        let reply = world.wire.post(&path, &world.courier, &junk);
        if reply.status == 429 {
            limited += 1
        } else {
            refused += 1
        }
    }
    assert!(
        refused > 8 && limited > 0,
        "{refused} refused, {limited} limited: the sender pays"
    );
    // The invalid signatures do not count against alice's key.
    for reply in [
        world.sign(&proposal, &[&alice()]),
        world.sign(&proposal, &[&alice()]),
    ] {
        reply.ok(200);
    }
}

#[test]
fn a_valid_denial_is_never_rate_limited() {
    let world = World::with(|setup| setup.limits = "calls_per_second = 10".to_owned());
    let proposal = world.propose("two:go", json!({}));
    let signed = people::authorization(&world.authorization("plain:true", json!({})));
    let body = denial_of(&world, &signed, &alice());
    let boundary = world.boundary();
    let denial = |key: &Key| {
        envelope(
            &people::denial(&boundary, &bytes_of(&proposal), "no"),
            &[key],
        )
    };
    let mut bad = denial(&alice());
    bad["signatures"][0]["sig"] = bob().sign(b"x")["sig"].clone();
    let path = format!("/v1/proposals/{}/denial", id_of(&proposal));
    // Invalid denials use up the limit for anonymous calls from this address.
    support::wait_for("anonymous calls are limited", || {
        world.wire.post(&path, "", &bad).status == 429
    });
    assert_eq!(world.wire.post(&path, "", &bad).status, 429);
    world.wire.post(&path, "", &denial(&alice())).ok(200);
    assert_eq!(
        world
            .wire
            .post(
                "/v1/denials",
                "",
                &json!({"denial": bad, "payload": body["payload"]})
            )
            .status,
        429
    );
    world.wire.post("/v1/denials", "", &body).ok(200);
}

#[test]
fn a_new_read_access_of_a_key_ends_the_oldest_read_access_of_this_key() {
    let world = World::new();
    let admit = || {
        let asked = world
            .wire
            .post("/v1/challenges", "", &json!({"keyid": alice().keyid()}))
            .ok(200);
        let challenge = asked["challenge"].as_str().unwrap();
        let signature = alice().sign_as(people::CHALLENGE, challenge.as_bytes());
        let answer = json!({"challenge": challenge, "signature": signature});
        let admitted = world
            .wire
            .post("/v1/challenges/answer", "", &answer)
            .ok(200);
        admitted["bearer"].as_str().unwrap().to_owned()
    };
    let bearers: Vec<String> = (0..102).map(|_| admit()).collect();
    let reads = |bearer: &String| world.wire.get("/v1/registry", bearer).status;
    assert_eq!((reads(&bearers[0]), reads(&bearers[1])), (401, 401));
    assert_eq!((reads(&bearers[2]), reads(&bearers[101])), (200, 200));
}

#[test]
fn a_repeated_proposal_is_reported_as_existing_with_its_reason() {
    let world = World::new();
    let wish = |reason: &str| json!({"step": "plain:true", "reason": reason});
    let first = world
        .wire
        .post("/v1/proposals", &world.agent, &wish("one"))
        .ok(201);
    assert!(first.get("existing").is_none(), "{first:#}");
    let again = world
        .wire
        .post("/v1/proposals", &world.agent, &wish("two"))
        .ok(200);
    assert_eq!(
        (&again["existing"], &again["id"], &again["reason"]),
        (&json!(true), &first["id"], &json!("one"))
    );
    assert!(
        world.show(id_of(&first)).get("existing").is_none(),
        "it is said to who proposed"
    );
    let told = exited(
        as_agent(&world, &["propose", "plain:true", "--reason", "two"]),
        0,
    );
    let expected = format!(
        "the same proposal exists already: {}, with the reason \"one\"",
        id_of(&first)
    );
    assert!(
        text(&told.stderr).contains(&expected) && text(&told.stderr).contains("--new"),
        "{}",
        said(&told)
    );
    assert_eq!(text(&told.stdout).trim(), id_of(&first));
    let new = as_agent(
        &world,
        &["propose", "plain:true", "--reason", "two", "--new"],
    );
    assert!(
        new.status.success() && !text(&new.stderr).contains("already"),
        "{}",
        said(&new)
    );
    assert_ne!(text(&new.stdout).trim(), id_of(&first));
    assert_eq!(world.list("pending").len(), 2);
}

#[test]
fn proposals_lists_the_own_proposals_of_a_token_with_their_results() {
    let world = World::new();
    world.run("say:echo", json!({"text": "ran"}), &[&alice()]);
    let denied = world.propose("plain:true", json!({}));
    world.deny(&denied, &alice()).ok(200);
    world.propose("two:go", json!({"text": "x".repeat(100)}));
    world
        .wire
        .post(
            "/v1/proposals",
            &world.courier,
            &World::wish("plain:fail", json!({})),
        )
        .ok(201);
    let listed = |words: &[&str]| {
        let output = exited(as_agent(&world, &[&["proposals"], words].concat()), 0);
        text(&output.stdout)
    };
    let rows: Vec<String> = listed(&[])
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    assert_eq!(
        rows.len(),
        4,
        "the other token's proposal is not listed: {rows:?}"
    );
    for (row, parts) in rows.iter().zip([
        &["ID PROPOSED BY STEP PARAMETERS RESULT"][..],
        &[
            "agent two:go {\"text\":\"xxx",
            "... pending, 0 of 2 signatures",
        ],
        &[
            &id_of(&denied)[id_of(&denied).len() - 6..],
            "agent plain:true {}",
            "denied: denied by alice",
        ],
        &["agent say:echo {\"text\":\"ran\"} succeeded, exit code 0"],
    ]) {
        assert!(
            parts.iter().all(|part| row.contains(part)),
            "{parts:?}: {row}"
        );
    }
    assert_eq!(listed(&["--limit", "2"]).lines().count(), 3);
    assert!(
        listed(&["--status", "open"]).contains("two:go")
            && listed(&["--step", "say:echo"]).contains("succeeded")
    );
    let json: Value = serde_json::from_str(&listed(&["--status", "denied", "--json"])).unwrap();
    assert_eq!(
        (
            json["proposals"].as_array().unwrap().len(),
            &json["proposals"][0]["id"]
        ),
        (1, &denied["id"])
    );
    said_at_exit(
        as_agent(&world, &["proposals", "--status", "running"]),
        0,
        "there are no such proposals",
    );
    assert_eq!(
        as_agent(&world, &["proposals", "--status", "over"])
            .status
            .code(),
        Some(2)
    );
}

// Refused proposals

#[test]
fn the_exit_code_tells_wrong_input_from_the_no_of_people_and_from_a_refusal() {
    let world = World::with(|setup| {
        setup.runbook(
            "need.md",
            runbook(
                &format!("params:\n  n: {{type: integer}}\n{SMALL}"),
                &[("go", ":")],
            ),
        );
    });
    world.write("wrong.json", "{\"n\": \"x\"}");
    world.write("broken.json", "{");
    let (wrong, broken) = (world.path("wrong.json"), world.path("broken.json"));
    let (wrong, broken) = (wrong.to_str().unwrap(), broken.to_str().unwrap());
    let unknown = people::proposal_id();
    let narrow = world.token_for("narrow", &[], &["propose"], &["say:*"]);
    let pending = |step: &str| {
        let proposal = world.propose(step, json!({}));
        (id_of(&proposal).to_owned(), proposal)
    };
    let (denied, proposal) = pending("plain:true");
    world.deny(&proposal, &alice()).ok(200);
    let (stopped, proposal) = pending("plain:wait");
    world.sign(&proposal, &[&alice()]).ok(200);
    support::wait_for("it runs", || world.show(&stopped)["status"] == "running");
    world.deny(&proposal, &alice()).ok(200);
    let (withdrawn, _) = pending("plain:true");
    assert!(as_agent(&world, &["cancel", &withdrawn]).status.success());
    for (words, code, kind) in [
        (&["propose", "need:go"][..], 2, "usage"),
        (&["propose", "need:go", "--params", wrong], 2, "usage"),
        (&["propose", "need:go", "--params", broken], 2, "usage"),
        (&["propose", "need:go", "-p", "n=x"], 2, "usage"),
        (&["propose", "need:go", "-p", "other=1"], 2, "usage"),
        (&["propose", "no step"], 2, "usage"),
        (&["wait", &unknown], 2, "usage"),
        (&["output", &unknown], 2, "usage"),
        (&["cancel", &unknown], 2, "usage"),
        (&["wait", "00000f"], 2, "usage"),
        (&["submit", wrong], 2, "usage"),
        (&["wait", &denied], 123, "denied"),
        (&["wait", &stopped], 123, "denied"),
        (&["wait", &withdrawn], 126, "refused"),
        (&["propose", "plain:nothing"], 127, "unknown-step"),
        (
            &["propose", "plain:true", "--token", &narrow],
            126,
            "refused",
        ),
    ] {
        let mut command = world.program(&["--json", "--url", &world.wire.url]);
        if !words.contains(&"--token") {
            command.env("COUNTERSIGN_TOKEN", &world.agent);
        }
        let output = command.args(words).output().unwrap();
        assert_eq!(
            output.status.code(),
            Some(code),
            "{words:?}: {}",
            said(&output)
        );
        assert!(
            said(&output).contains(&format!("\"kind\":\"{kind}\"")),
            "{words:?}: {}",
            said(&output)
        );
    }
    // A denial of a run is no cancellation by the proposer.
    let told = as_agent(&world, &["wait", &stopped]);
    assert!(
        said(&told).contains("cancelled: denied by alice"),
        "{}",
        said(&told)
    );
    for (words, code) in [
        (["token", "revoke", "nobody"], 2),
        (["token", "revoke", "agent"], 0),
        (["token", "revoke", "agent"], 2),
    ] {
        let output = world
            .program(&words)
            .arg("--config")
            .arg(world.path("b/countersign.toml"))
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(code), "{}", said(&output));
    }
}

#[test]
fn a_step_that_the_token_may_not_use_is_refused_with_the_patterns_of_the_token() {
    let world = World::new();
    let narrow = world.token_for("narrow", &[], &["propose"], &["host:*", "say:*"]);
    // The answer is the same for a step that does not exist.
    for step in ["plain:true", "plain:nothing"] {
        let shown = world
            .wire
            .get(&format!("/v1/steps/{step}"), &narrow)
            .problem("forbidden");
        let proposed = world
            .wire
            .post("/v1/proposals", &narrow, &World::wish(step, json!({})))
            .problem("forbidden");
        assert_eq!(shown["detail"], proposed["detail"]);
        for words in [
            &["propose", step, "-p", "x=1"][..],
            &["propose", step],
            &["registry", "show", step],
        ] {
            let mut command = world.program(&["--url", &world.wire.url]);
            let output = command
                .args(words)
                .env("COUNTERSIGN_TOKEN", &narrow)
                .output()
                .unwrap();
            assert_eq!(
                output.status.code(),
                Some(126),
                "{words:?}: {}",
                said(&output)
            );
            for part in [
                &format!("narrow may not use {step}"),
                "only for host:*, say:*",
                &format!("--step '{step}'"),
            ] {
                assert!(said(&output).contains(part), "{part}: {}", said(&output));
            }
        }
    }
}

#[test]
fn a_wrong_path_of_a_step_is_answered_with_a_step_that_the_token_may_see() {
    let world = World::new();
    let narrow = world.token_for("narrow", &[], &["propose"], &["say:*"]);
    let detail = |path: &str, token: &str, code: &str| {
        let proposed = world
            .wire
            .post("/v1/proposals", token, &World::wish(path, json!({})))
            .problem(code);
        let shown = world
            .wire
            .get(&format!("/v1/steps/{path}"), token)
            .problem(code);
        assert_eq!(shown["detail"], proposed["detail"]);
        proposed["detail"].as_str().unwrap().to_owned()
    };
    for path in ["runbooks/say.md:echo", "say.md:echo", "runbooks/say:echo"] {
        assert!(
            detail(path, &narrow, "forbidden").starts_with("did you mean say:echo? "),
            "{path}"
        );
        assert!(
            detail(path, &world.agent, "unknown-step").ends_with("did you mean say:echo?"),
            "{path}"
        );
    }
    let hidden = detail("runbooks/plain.md:true", &narrow, "forbidden");
    assert!(!hidden.contains("did you mean"), "{hidden}");
}

#[test]
fn a_text_that_names_only_a_runbook_is_answered_with_its_steps() {
    let world = World::new();
    let narrow = world.token_for("narrow", &[], &["propose"], &["plain:wait", "say:*"]);
    let mut server = Server::opened(&world, &world.wire.url);
    for (path, token, hint) in [
        (
            "plain",
            &world.agent,
            "did you mean plain:fail, plain:true or plain:wait? ",
        ),
        (
            "runbooks/plain.md",
            &world.agent,
            "did you mean plain:fail, plain:true or plain:wait? ",
        ),
        (
            "plian",
            &world.agent,
            "did you mean plain:fail, plain:true or plain:wait? ",
        ),
        ("plain", &narrow, "did you mean plain:wait? "),
    ] {
        let proposed = world
            .wire
            .post("/v1/proposals", token, &World::wish(path, json!({})))
            .problem("malformed");
        let shown = world
            .wire
            .get(&format!("/v1/steps/{path}"), token)
            .problem("malformed");
        for problem in [&proposed, &shown] {
            assert!(
                problem["detail"].as_str().unwrap().starts_with(hint),
                "{path}: {problem}"
            );
        }
        if *token == world.agent {
            let told = server.call("get_step", json!({"step": path}))["problem"].clone();
            assert!(
                told["detail"].as_str().unwrap().starts_with(hint),
                "{path}: {told}"
            );
        }
    }
    let unknown = world
        .wire
        .get("/v1/steps/nothing", &world.agent)
        .problem("malformed");
    assert!(
        !unknown["detail"].as_str().unwrap().contains("did you mean"),
        "{unknown}"
    );
}

#[test]
fn a_token_in_quotes_is_not_sent() {
    let world = World::new();
    world.write("quoted.token", &format!("\"{}\"\n", world.agent));
    let mut command =
        world.program(&["--url", &world.wire.url, "registry", "list", "--token-file"]);
    let refused = exited(command.arg(world.path("quoted.token")).output().unwrap(), 2);
    assert!(
        said(&refused).contains("the given text is no token"),
        "{}",
        said(&refused)
    );
}

#[test]
fn a_key_without_a_role_is_refused_with_the_version_of_the_roster() {
    let foreign = people::foreign_line("phone.example");
    let world = World::with(|setup| {
        setup.roster["approvers"]["zoe"] = json!({"groups": ["ops"], "keys": [foreign]});
    });
    let proposal = world.propose("plain:true", json!({}));
    for (command, arguments) in [
        ("inbox", &[][..]),
        ("review", &[id_of(&proposal)]),
        ("approve", &[id_of(&proposal)]),
    ] {
        let refused = exited(
            as_approver(&world, &mallory(), &world.path(""), command, arguments),
            126,
        );
        let keyid = mallory().keyid();
        for part in [
            &*format!("the key {keyid} is in no role of roster version 1"),
            "mallory.pem",
            "--key FILE",
        ] {
            assert!(said(&refused).contains(part), "{part}: {}", said(&refused));
        }
    }
    // The roster contains a key of a type that this version can't verify.
    let mut signature =
        people::envelope(&bytes_of(&proposal), &[&alice()])["signatures"][0].clone();
    signature["keyid"] = json!(documents::ForeignKey::parse(&foreign).unwrap().keyid());
    let path = format!("/v1/proposals/{}/signatures", id_of(&proposal));
    let problem = world
        .wire
        .post(&path, "", &json!({"signatures": [signature]}))
        .problem("unknown-signer");
    let detail = problem["detail"].as_str().unwrap();
    assert!(
        detail.contains("of approver zoe") && detail.contains("can't verify its type sk-ecdsa"),
        "{detail}"
    );
}

#[test]
fn an_unknown_step_is_refused_with_a_suggestion() {
    let world = World::new();
    let refused = |token: &str| {
        let reply = world
            .wire
            .post("/v1/proposals", token, &World::wish("plain:tru", json!({})));
        reply.problem("unknown-step")["detail"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    assert!(
        refused(&world.agent).ends_with("did you mean plain:true?"),
        "{}",
        refused(&world.agent)
    );
    let step = world
        .wire
        .get("/v1/steps/plain:tru", &world.reader)
        .problem("unknown-step");
    assert!(
        step["detail"]
            .as_str()
            .unwrap()
            .ends_with("did you mean plain:true?"),
        "{step}"
    );
    said_at_exit(
        as_agent(&world, &["propose", "plain:tru"]),
        127,
        "did you mean plain:true?",
    );
    // The suggestion names no step that the token cannot see.
    let narrow = world.token_for("narrow", &[], &["propose"], &["plain:tru", "say:*"]);
    assert!(
        refused(&narrow).ends_with("see `GET /v1/registry`"),
        "{}",
        refused(&narrow)
    );
}

#[test]
fn an_overlong_reason_is_refused_with_the_documented_limit() {
    let world = World::new();
    let wish = |length: usize| json!({"step": "plain:true", "reason": "x".repeat(length)});
    let problem = world
        .wire
        .post("/v1/proposals", &world.agent, &wish(1025))
        .problem("too-large");
    let detail = problem["detail"].as_str().unwrap();
    assert!(
        detail.contains("1025 characters") && detail.contains("at most 1024"),
        "{detail}"
    );
    world
        .wire
        .post("/v1/proposals", &world.agent, &wish(1024))
        .ok(201);
}

#[test]
fn a_token_cannot_have_the_name_of_the_boundary() {
    let world = World::new();
    let token = json!({"name": "prod", "owners": [], "scopes": ["propose"], "patterns": []});
    let refused = world.create_token(&token).expect_err("the boundary's name");
    assert!(
        refused.contains("prod is the boundary's own name"),
        "{refused}"
    );
}

#[test]
fn r10_a_restart_gives_no_new_budget_for_logged_refusals() {
    let mut world = World::new();
    let refused = |world: &World, times: usize| {
        for _ in 0..times {
            world
                .wire
                .post(
                    "/v1/proposals",
                    &world.agent,
                    &World::wish("plain:gone", json!({})),
                )
                .problem("unknown-step");
        }
    };
    let of_agent = |world: &World| {
        let log = world.log();
        log.iter()
            .filter(|(_, statement)| statement["predicate"]["principal"] == "agent")
            .count()
    };
    let hour = people::now() / 3600;
    refused(&world, 70);
    support::wait_for("the budget is spent", || of_agent(&world) >= 60);
    world.kill9();
    world.start();
    refused(&world, 5);
    world.restart();
    refused(&world, 5);
    // The restart writes a summary entry, which shows that the boundary has counted the refusals.
    world.restart();
    // Each hour has a separate budget, so the check applies only if the hour is the same.
    if people::now() / 3600 == hour {
        assert_eq!(of_agent(&world), 60);
        assert!(
            world.count("refusal") > 60,
            "what is counted only is summed up"
        );
    }
}

#[test]
fn a_run_is_visible_only_to_its_proposer_and_to_readers_and_operators_of_its_step() {
    let world = World::new();
    let finished = world.run("say:echo", json!({"text": "not for everyone"}), &[&alice()]);
    let (id, receipt) = (id_of(&finished), finished["receipt"].as_str().unwrap());
    let output = world.receipt(&finished)["output"]["stdout"]["blake3"]
        .as_str()
        .unwrap()
        .to_owned();
    let paths = [
        format!("/v1/proposals/{id}"),
        format!("/v1/proposals/{id}/events"),
        format!("/v1/receipts/{receipt}"),
        format!("/v1/receipts/{receipt}/bundle"),
        format!("/v1/outputs/{output}"),
    ];
    let token = |name: &str, scope: &str, pattern: &str| {
        world.token_for(name, &["alice"], &[scope], &[pattern])
    };
    let allowed = [
        world.agent.clone(),
        world.reader.clone(),
        token("say-reader", "read", "say:*"),
        token("say-operator", "operate", "say:*"),
    ];
    let others = [
        world.courier.clone(),
        token("say-proposer", "propose", "say:*"),
        token("plain-reader", "read", "plain:*"),
        token("plain-operator", "operate", "plain:*"),
    ];
    for path in &paths {
        for bearer in &allowed {
            assert_eq!(world.wire.get(path, bearer).status, 200, "{path}");
        }
        for bearer in &others {
            world.wire.get(path, bearer).problem("not-found");
        }
    }
}

#[test]
fn wait_says_that_the_file_of_the_bundle_exists() {
    let world = World::new();
    let done = world.run("say:echo", json!({"text": "x"}), &[&alice()]);
    let bundle = world.path("there.json");
    std::fs::write(&bundle, "kept").expect("written");
    let mut command = world.program(&["--url", &world.wire.url, "wait", id_of(&done), "--bundle"]);
    let output = command
        .arg(&bundle)
        .env("COUNTERSIGN_TOKEN", &world.agent)
        .output()
        .expect("wait");
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(125), "{text}");
    let expected = format!(
        "there.json: File exists (os error 17); choose another name; to get the bundle, run `countersign wait {} --bundle FILE`",
        id_of(&done)
    );
    assert!(
        text.contains("the run succeeded, but its bundle was not written: can't write "),
        "{text}"
    );
    assert!(
        text.contains(&expected) && !text.contains("fetched"),
        "{text}"
    );
    assert_eq!(std::fs::read_to_string(&bundle).expect("readable"), "kept");
}
