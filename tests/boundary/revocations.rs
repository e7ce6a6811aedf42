//! Signed revocations: the end of a key, of a token, and of everything (the freeze).

use std::process::Output;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::support::grants::as_holder;
use crate::support::host::on_host;
use crate::support::people::{
    CHALLENGE, Key, alice, authorization, bob, boundary_key, carol, carol_too, denial, dora,
    envelope, erin, frank, key_revocation, mallory, oscar, renew, revocation, robot, sha256,
    statement,
};
use crate::support::wire::Reply;
use crate::support::{
    SMALL, World, assert_says, bytes_of, exited, id_of, runbook, said, said_at_exit, wait_for,
};

fn of_key(world: &World, key: &Key) -> Vec<u8> {
    key_revocation(&world.boundary(), key)
}

fn of_token(world: &World, name: &str) -> Vec<u8> {
    revocation(&world.boundary(), "token", &sha256(name.as_bytes()))
}

pub(crate) fn of_epoch(world: &World) -> Vec<u8> {
    let boundary = world.boundary();
    revocation(
        &boundary,
        "epoch",
        &sha256(boundary["epoch"].as_str().expect("an epoch").as_bytes()),
    )
}

fn send(world: &World, payload: &[u8], signers: &[&Key]) -> Reply {
    world
        .wire
        .post("/v1/revocations", "", &envelope(payload, signers))
}

fn thaw(world: &World) -> Output {
    world
        .boundary_command(&["thaw", "--yes", "--config"])
        .arg(world.path("b"))
        .output()
        .expect("thaw")
}

fn runbooks() -> World {
    World::with(|setup| {
        // The step ignores the first signal, so that only a kill ends its tree.
        let tree = "trap '' TERM\n(trap '' TERM; exec -a countersign-frozen-child sleep 600) &\necho started\nwait\n";
        setup.runbook("tree.md", runbook(SMALL, &[("go", tree)]));
    })
}

#[test]
fn the_reason_of_a_freeze_in_a_refusal_is_escaped_once() {
    let world = World::new();
    let reason = "say \"no\" to C:\\temp\u{202e}";
    exited(
        as_holder(&world, &frank(), &["freeze", "--yes", "--reason", reason]),
        0,
    );
    let refused = world.program(&["propose", "plain:true", "--url", &world.wire.url]);
    let refused = { refused }
        .env("COUNTERSIGN_TOKEN", &world.agent)
        .output()
        .expect("started");
    let words = r#"with the reason "say \"no\" to C:\\temp\u{202e}": "#;
    said_at_exit(refused, 126, words);
}

#[test]
fn a_freeze_ends_every_run_and_proposal_and_lasts_until_a_thaw_also_over_a_restart() {
    let mut world = runbooks();
    let running = world.propose("plain:wait", json!({}));
    world.sign(&running, &[&alice()]).ok(200);
    world.until(id_of(&running), "running");
    let waiting = world.propose("two:go", json!({}));
    world.sign(&waiting, &[&alice()]).ok(200);
    let elsewhere = world.authorization("plain:true", json!({}));
    let signed = envelope(&authorization(&elsewhere), &[&alice()]);
    let done = send(&world, &of_epoch(&world), &[&frank()]).ok(200);
    assert_eq!(
        (&done["existing"], &done["ended"], &done["stopped"]),
        (&json!(false), &json!(1), &json!(1)),
        "{done}"
    );
    let ended = world.until(id_of(&running), "finished");
    assert_eq!(ended["outcome"]["status"], "cancelled", "{ended:#}");
    assert_eq!(
        world.until(id_of(&waiting), "refused")["refusal"]["code"],
        "revoked"
    );
    let size = world.log_size();
    for round in ["before a restart", "after a restart"] {
        let refused = world.wire.post(
            "/v1/proposals",
            &world.agent,
            &World::wish("plain:true", json!({})),
        );
        let problem = refused.problem("revoked");
        let words = problem["detail"].as_str().expect("words");
        assert!(
            words.contains("frank froze this boundary") && words.contains("\"a test\""),
            "{round}: {words}"
        );
        world.submit(&signed).problem("revoked");
        world.sign(&waiting, &[&bob()]).problem("revoked");
        let ready = world.wire.peek("/ready");
        assert_eq!(ready.status, 503, "{round}");
        assert!(
            ready.text().contains("countersign thaw"),
            "{round}: {}",
            ready.text()
        );
        // No seal except a thaw ends the freeze.
        let _ = world.token(&format!("t{}", round.len()), &["bob"], &["read"]);
        assert_eq!(world.wire.peek("/ready").status, 503, "{round}");
        // The same revocation again adds no entry.
        let again = send(&world, &of_epoch(&world), &[&oscar()]).ok(200);
        assert_eq!(
            (&again["existing"], &again["index"]),
            (&json!(true), &done["index"]),
            "{round}"
        );
        // Reading and denials go on.
        world.assert_verified(&ended);
        assert_eq!(world.count("consumption"), 1, "{round}");
        world.restart();
    }
    let payload = denial(&world.boundary(), &bytes_of(&waiting), "no");
    let denial = json!({"denial": envelope(&payload, &[&alice()]), "payload": waiting["payload"]});
    world
        .wire
        .post("/v1/denials", "", &denial)
        .problem("wrong-state");
    exited(thaw(&world), 0);
    assert!(world.log_size() > size);
    assert_eq!(world.wire.peek("/ready").status, 200);
    // The audit still names the person and the words.
    let roster = world.started["roster"].as_str().expect("a digest");
    let mut audit = world.program(&[
        "audit",
        &world.wire.url,
        "--url",
        &world.wire.url,
        "--roster",
        roster,
        "--decisions",
    ]);
    let table = said(
        &audit
            .env("COUNTERSIGN_TOKEN", &world.reader)
            .output()
            .expect("audit"),
    );
    let row = table
        .lines()
        .find(|line| line.contains("frozen by"))
        .unwrap_or_else(|| panic!("{table}"));
    assert!(row.contains("frank") && row.contains("a test"), "{row}");
    // Everything that was signed before stays void, and a freeze of the old epoch does nothing.
    world.submit(&signed).problem("revoked");
    let finished = world.run("plain:true", json!({}), &[&alice()]);
    assert_eq!(finished["outcome"]["status"], "succeeded", "{finished:#}");
    let (code, refused) = (thaw(&world).status.code(), said(&thaw(&world)));
    assert!(
        code == Some(126) && refused.contains("not frozen"),
        "{refused}"
    );
    world.assert_audited();
}

#[test]
fn runs_finish_after_a_freeze_if_policy_says_so() {
    let world = World::with(|setup| {
        setup.policy = "version: 1\nextends: none\ndefault: {mode: execute, approvals: {required: 1, from: [ops]}}\nfreeze: {runs: finish}\n".to_owned();
        setup.runbook("slow.md", runbook(SMALL, &[("go", "sleep 1\necho done\n")]));
    });
    let running = world.propose("slow:go", json!({}));
    world.sign(&running, &[&alice()]).ok(200);
    world.until(id_of(&running), "running");
    let done = send(&world, &of_epoch(&world), &[&frank()]).ok(200);
    assert_eq!(done["stopped"], 0, "{done}");
    let ended = world.until(id_of(&running), "finished");
    assert_eq!(ended["outcome"]["status"], "succeeded", "{ended:#}");
    world
        .wire
        .post(
            "/v1/proposals",
            &world.agent,
            &World::wish("plain:true", json!({})),
        )
        .problem("revoked");
    world.assert_audited();
}

#[test]
fn a_freeze_kills_whole_trees_after_the_grace_of_the_step() {
    let world = runbooks();
    let running = world.propose("tree:go", json!({}));
    world.sign(&running, &[&alice()]).ok(200);
    wait_for("the tree runs", || on_host("countersign-frozen-child"));
    send(&world, &of_epoch(&world), &[&oscar()]).ok(200);
    world.until(id_of(&running), "finished");
    wait_for("the tree is dead", || !on_host("countersign-frozen-child"));
}

#[test]
fn a_freeze_of_an_earlier_epoch_is_refused() {
    let world = World::new();
    let old = of_epoch(&world);
    send(&world, &old, &[&alice()]).ok(200);
    assert!(thaw(&world).status.success());
    world
        .unchanged(|| send(&world, &old, &[&alice()]))
        .problem("revoked");
    assert_eq!(world.wire.peek("/ready").status, 200);
}

#[test]
fn no_run_is_consumed_after_a_freeze_that_comes_during_many_requests() {
    let world = World::new();
    let like = world.authorization("plain:true", json!({}));
    let (frozen, refused) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                while !frozen.load(Ordering::Relaxed) || refused.load(Ordering::Relaxed) == 0 {
                    let mut other = like.clone();
                    renew(&mut other);
                    let reply = world.submit(&envelope(&authorization(&other), &[&alice()]));
                    if reply.status != 200 {
                        reply.problem("revoked");
                        refused.fetch_add(1, Ordering::Relaxed);
                        return;
                    }
                }
            });
        }
        wait_for("runs", || world.count("consumption") >= 8);
        send(&world, &of_epoch(&world), &[&oscar()]).ok(200);
        frozen.store(true, Ordering::Relaxed);
    });
    let log = world.log();
    let at = log
        .iter()
        .position(|(kind, _)| kind == "revocation")
        .expect("a revocation");
    assert!(
        log[at..].iter().all(|(kind, _)| kind != "consumption"),
        "{:?}",
        &log[at..]
    );
    assert!(refused.load(Ordering::Relaxed) > 0);
    world.assert_audited();
}

#[test]
fn the_signatures_of_a_revoked_key_count_nowhere_from_then_on() {
    let mut world = World::new();
    let proposal = world.propose("two:go", json!({}));
    world.sign(&proposal, &[&alice()]).ok(200);
    send(&world, &of_key(&world, &alice()), &[&oscar()]).ok(200);
    let view = world.show(id_of(&proposal));
    assert_eq!(view["approvals"]["have"], 0, "{view:#}");
    // Signatures that are made after the revocation are refused, and a complete envelope lacks one.
    let other = world.propose("plain:true", json!({}));
    world
        .unchanged(|| world.sign(&other, &[&alice()]))
        .problem("not-permitted-signer");
    let signed = |signers: &[&Key]| {
        envelope(
            &authorization(&world.authorization("plain:true", json!({}))),
            signers,
        )
    };
    world.submit(&signed(&[&alice()])).problem("quorum-missing");
    world.submit(&signed(&[&alice(), &dora()])).ok(200);
    // The key denies nothing, revokes nothing else, and opens no reading.
    world
        .unchanged(|| world.deny(&other, &alice()))
        .problem("not-permitted-signer");
    world
        .unchanged(|| send(&world, &of_epoch(&world), &[&alice()]))
        .problem("revoked");
    let challenge = world
        .wire
        .post("/v1/challenges", "", &json!({"keyid": alice().keyid()}))
        .ok(200);
    let text = challenge["challenge"].as_str().expect("a challenge");
    let signature = alice().sign_as(CHALLENGE, text.as_bytes());
    world
        .wire
        .post(
            "/v1/challenges/answer",
            "",
            &json!({"challenge": text, "signature": signature}),
        )
        .problem("revoked");
    // Two other people complete the quorum, also after a restart.
    world.restart();
    assert_eq!(world.show(id_of(&proposal))["approvals"]["have"], 0);
    let ready = world.wire.peek("/ready");
    assert!(
        ready.status == 200 && ready.text().contains("remove it in the next version"),
        "{}",
        ready.text()
    );
    world.sign(&proposal, &[&bob(), &dora()]).ok(200);
    let finished = world.until(id_of(&proposal), "finished");
    world.assert_verified(&finished);
    world.assert_audited();
}

#[test]
fn the_reading_of_a_key_ends_with_its_revocation_and_another_key_of_the_person_counts() {
    let world = World::new();
    let challenge = world
        .wire
        .post("/v1/challenges", "", &json!({"keyid": carol().keyid()}))
        .ok(200);
    let text = challenge["challenge"].as_str().expect("a challenge");
    let signature = carol().sign_as(CHALLENGE, text.as_bytes());
    let answer = json!({"challenge": text, "signature": signature});
    let admitted = world
        .wire
        .post("/v1/challenges/answer", "", &answer)
        .ok(200);
    let bearer = admitted["bearer"].as_str().expect("a bearer");
    world.wire.get("/v1/registry", bearer).ok(200);
    // A person revokes the own key with the same key.
    send(&world, &of_key(&world, &carol()), &[&carol()]).ok(200);
    world.wire.get("/v1/registry", bearer).problem("revoked");
    let token = world.token("other", &["bob"], &["propose"]);
    let proposal = world
        .wire
        .post(
            "/v1/proposals",
            &token,
            &World::wish("plain:true", json!({})),
        )
        .ok(201);
    world
        .unchanged(|| world.sign(&proposal, &[&carol()]))
        .problem("not-permitted-signer");
    world.sign(&proposal, &[&carol_too()]).ok(200);
    world.until(id_of(&proposal), "finished");
    world.assert_audited();
}

#[test]
fn a_revoked_token_opens_nothing_and_its_proposals_end() {
    let mut world = World::new();
    let token = world.token("short", &["bob"], &["propose"]);
    let wish = World::wish("plain:true", json!({}));
    let (own, other) = (
        world.wire.post("/v1/proposals", &token, &wish).ok(201),
        world.propose("plain:wait", json!({})),
    );
    let mut elsewhere = world.authorization("plain:true", json!({}));
    elsewhere["proposer"] = json!("short");
    let elsewhere = envelope(&authorization(&elsewhere), &[&alice()]);
    let done = send(&world, &of_token(&world, "short"), &[&bob()]).ok(200);
    assert_eq!(done["ended"], 1, "{done}");
    for _ in 0..2 {
        world
            .wire
            .post("/v1/proposals", &token, &wish)
            .problem("unauthenticated");
        assert_eq!(
            world.until(id_of(&own), "refused")["refusal"]["code"],
            "revoked"
        );
        assert_eq!(world.show(id_of(&other))["status"], "pending");
        // Another token hands the statement in.
        world.submit(&elsewhere).problem("revoked");
        let tokens = world.control(&json!({"do": "token-list"})).expect("tokens");
        let short = tokens
            .as_array()
            .expect("a list")
            .iter()
            .find(|one| one["name"] == "short")
            .expect("the token");
        assert!(short["revoked_at"].is_string(), "{tokens:#}");
        world.restart();
    }
    assert!(
        world
            .control(&json!({"do": "token-revoke", "name": "short"}))
            .is_err()
    );
    world.assert_audited();
    // A row that was changed by hand gives the token no access, and the check of the store names it.
    world.stop();
    let store = rusqlite::Connection::open(world.database()).expect("a store");
    store
        .execute(
            "UPDATE token SET revoked_at = NULL WHERE name = 'short'",
            [],
        )
        .expect("changed");
    drop(store);
    let checked = world
        .program(&["store", "check", "--config"])
        .arg(world.path("b/countersign.toml"))
        .output();
    assert_says(
        said(&checked.expect("it starts")),
        "row short: the log revokes the token",
    );
    world.start();
    world
        .wire
        .post("/v1/proposals", &token, &wish)
        .problem("unauthenticated");
}

#[test]
fn only_the_people_of_the_format_may_revoke() {
    let world = World::new();
    let boundary = world.boundary();
    let mut elsewhere = boundary.clone();
    elsewhere["id"] = json!(format!("sha256:{}", "0".repeat(64)));
    let mut earlier = boundary.clone();
    earlier["epoch"] = json!("0".repeat(32));
    let (key, token, epoch) = (
        of_key(&world, &alice()),
        of_token(&world, "agent"),
        of_epoch(&world),
    );
    let size = world.log_size();
    for (payload, signer, code) in [
        // A key: only its holder with the same key, or an operator.
        (&key, bob(), "not-permitted-signer"),
        (&key, robot(), "not-permitted-signer"),
        (&key, mallory(), "unknown-signer"),
        (
            &of_key(&world, &carol()),
            carol_too(),
            "not-permitted-signer",
        ),
        (&of_key(&world, &mallory()), oscar(), "not-found"),
        (&of_key(&world, &boundary_key()), oscar(), "wrong-state"),
        // A token: only an owner or an operator.
        (&token, alice(), "not-permitted-signer"),
        (&of_token(&world, "nobody"), oscar(), "not-found"),
        // The epoch: only an approver or an operator.
        (&epoch, robot(), "not-permitted-signer"),
        (&epoch, boundary_key(), "not-permitted-signer"),
        (
            &revocation(&elsewhere, "token", &sha256(b"agent")),
            oscar(),
            "wrong-boundary",
        ),
        (
            &revocation(&earlier, "token", &sha256(b"agent")),
            oscar(),
            "revoked",
        ),
        (
            &revocation(&boundary, "epoch", &sha256(b"another epoch")),
            oscar(),
            "malformed",
        ),
        (
            &revocation(&boundary, "grant", &sha256(b"a grant")),
            oscar(),
            "not-found",
        ),
        (
            &revocation(&boundary, "person", &sha256(b"alice")),
            oscar(),
            "malformed",
        ),
    ] {
        send(&world, payload, &[&signer]).problem(code);
    }
    send(&world, &key, &[&alice(), &oscar()]).problem("malformed");
    send(&world, &key, &[]).problem("malformed");
    let mut forged = envelope(&key, &[&alice()]);
    forged["signatures"][0]["sig"] = envelope(&token, &[&alice()])["signatures"][0]["sig"].clone();
    world
        .wire
        .post("/v1/revocations", "", &forged)
        .problem("bad-signature");
    let large = statement(
        "revocation",
        &json!([{"name": "token", "digest": {"sha256": sha256(b"agent")}}]),
        &json!({"boundary": boundary, "reason": "x".repeat(8192)}),
    );
    send(&world, &large, &[&oscar()]).problem("too-large");
    assert_eq!(
        world.log_size(),
        size,
        "no refused revocation is in the log"
    );
    // The approver whose membership has ended may still freeze: a freeze only stops.
    send(&world, &epoch, &[&erin()]).ok(200);
    world.assert_audited();
}

fn as_person(world: &World, key: &Key, words: &[&str]) -> Output {
    let file = format!("{}.pem", key.name);
    world.write(&file, key.secret.to_pkcs8_v1_pem().as_str());
    let mut command = world.program(&["--url", &world.wire.url]);
    command
        .args(words)
        .arg("--key")
        .arg(world.path(&file))
        .output()
        .expect("it starts")
}

#[test]
fn revoke_and_freeze_sign_with_the_key_that_may_and_say_what_ended() {
    let world = World::new();
    let _ = world.token("ci-bot", &["bob"], &["propose"]);
    let id = alice().keyid();
    exited(as_person(&world, &bob(), &["revoke", &id, "--yes"]), 126);
    exited(
        as_person(&world, &mallory(), &["revoke", &id, "--yes"]),
        126,
    );
    let own = exited(
        as_person(
            &world,
            &alice(),
            &["revoke", &id, "--yes", "--reason", "lost"],
        ),
        0,
    );
    assert!(
        String::from_utf8_lossy(&own.stdout)
            .starts_with(&format!("the key {id} is revoked (log entry"))
    );
    let file = world.path("revocation.json");
    let name = file.to_str().expect("a path");
    exited(
        as_person(
            &world,
            &bob(),
            &["revoke", "token:ci-bot", "--yes", "-o", name],
        ),
        0,
    );
    let size = world.log_size();
    // The file needs neither a key nor a token. Another seal drops the token, and the same revocation is still no error.
    for round in 0..2 {
        exited(
            world
                .program(&["--url", &world.wire.url, "revoke", name])
                .output()
                .expect("it starts"),
            0,
        );
        if round == 0 {
            assert_eq!(world.log_size(), size + 1);
            let _ = world.token("more", &["bob"], &["read"]);
        }
    }
    assert_eq!(world.count("revocation"), 2);
    for odd in ["grt_1", "alice", "token:", "SHA256:short"] {
        assert_eq!(
            as_person(&world, &bob(), &["revoke", odd, "--yes"])
                .status
                .code(),
            Some(2),
            "{odd}"
        );
    }
    let frozen = exited(as_person(&world, &bob(), &["freeze", "--yes", "--json"]), 0);
    let answer: Value = serde_json::from_slice(&frozen.stdout).expect("JSON");
    assert!(
        answer["subject"]["epoch"].is_string() && answer["existing"] == false,
        "{answer}"
    );
    world.assert_audited();
}

#[test]
fn freeze_all_stops_each_boundary_that_answers_and_names_the_others() {
    let (one, two) = (World::new(), World::new());
    let key = one.path("bob.pem");
    one.write("bob.pem", bob().secret.to_pkcs8_v1_pem().as_str());
    let list = format!(
        "[[boundary]]\nname = \"one\"\nurl = \"{}\"\n[[boundary]]\nname = \"gone\"\nurl = \"http://127.0.0.1:1\"\n\
         [[boundary]]\nname = \"two\"\nurl = \"{}\"\n",
        one.wire.url, two.wire.url
    );
    crate::companion::list(&one, &list);
    for wrong in [
        ["freeze", "--boundary", "all", "--yes", "-o", "freeze.json"].as_slice(),
        &["freeze", "--all", "--boundary", "two", "--yes"],
    ] {
        let refused = one
            .program(wrong)
            .arg("--key")
            .arg(&key)
            .output()
            .expect("it starts");
        assert_eq!(
            (refused.status.code(), two.count("revocation")),
            (Some(2), 0),
            "{wrong:?}: {}",
            said(&refused)
        );
    }
    let mut command = one.program(&["freeze", "--all", "--yes", "--reason", "stop", "--key"]);
    let done = exited(command.arg(&key).output().expect("it starts"), 1);
    let out = String::from_utf8_lossy(&done.stdout);
    for name in ["one", "two"] {
        assert!(
            out.contains(&format!("== {name} ==\nthe boundary is frozen")),
            "{out}"
        );
    }
    assert!(said(&done).contains("gone: NOT frozen"), "{}", said(&done));
    for world in [&one, &two] {
        world
            .wire
            .post(
                "/v1/proposals",
                &world.agent,
                &World::wish("plain:true", json!({})),
            )
            .problem("revoked");
    }
}

#[test]
fn a_revoked_key_and_a_revoked_token_stay_revoked_in_the_new_log_of_a_restore() {
    let mut world = World::new();
    let token = world.token("short", &["bob"], &["propose"]);
    send(&world, &of_key(&world, &alice()), &[&alice()]).ok(200);
    send(&world, &of_token(&world, "short"), &[&bob()]).ok(200);
    world.stop();
    let backup = world.path("backup").to_str().expect("a path").to_owned();
    let store = |words: &[&str]| {
        let done = world
            .program(words)
            .arg("--config")
            .arg(world.path("b/countersign.toml"))
            .output()
            .expect("it starts");
        assert!(done.status.success(), "{words:?}: {}", said(&done));
    };
    store(&["store", "check"]);
    store(&["store", "backup", &backup]);
    for name in ["countersign.db", "countersign.db-wal", "countersign.db-shm"] {
        let _ = std::fs::remove_file(world.path("b/boundary").join(name));
    }
    store(&["store", "restore", &backup, "--keep-tokens", "all"]);
    world.start();
    assert_eq!(world.count("revocation"), 0, "a new log");
    world
        .wire
        .post(
            "/v1/proposals",
            &token,
            &World::wish("plain:true", json!({})),
        )
        .problem("unauthenticated");
    let proposal = world.propose("plain:true", json!({}));
    world
        .sign(&proposal, &[&alice()])
        .problem("not-permitted-signer");
    // The revocation can be signed again, for the auditors of the new log.
    let again = send(&world, &of_key(&world, &alice()), &[&alice()]).ok(200);
    assert_eq!(again["existing"], false, "{again}");
    world.sign(&proposal, &[&dora()]).ok(200);
    world.until(id_of(&proposal), "finished");
    world.assert_audited();
}

#[test]
fn no_denial_of_a_key_comes_after_its_revocation_in_the_log() {
    let world = World::new();
    let (boundary, like) = (
        world.boundary(),
        world.authorization("plain:true", json!({})),
    );
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    let mut other = like.clone();
                    renew(&mut other);
                    let bytes = authorization(&other);
                    let statement = STANDARD.encode(&bytes);
                    let payload = denial(&boundary, &bytes, "no");
                    let body =
                        json!({"denial": envelope(&payload, &[&alice()]), "payload": statement});
                    let _ = world.wire.try_post("/v1/denials", "", &body);
                }
            });
        }
        wait_for("denials", || world.count("denial") >= 8);
        send(&world, &of_key(&world, &alice()), &[&oscar()]).ok(200);
        over.store(true, Ordering::Relaxed);
    });
    let log = world.log();
    let at = log
        .iter()
        .position(|(kind, _)| kind == "revocation")
        .expect("a revocation");
    assert!(
        log[at..].iter().all(|(kind, _)| kind != "denial"),
        "{:?}",
        &log[at..]
    );
    world.assert_audited();
}
