//! The promises and the rules of a crossing, tested through the real binary over HTTP.

use std::io::Write as _;
use std::sync::{Arc, Barrier};

use crate::golden;
use crate::support::people::{
    CHALLENGE, Key, alice, bob, boundary_key, carol, dora, envelope, frank, mallory, now, oscar,
    robot, stamp, wrap,
};
use crate::support::tokens::credential;
use crate::support::{
    self, DRAFT, SMALL, World, assert_says, bytes_of, id_of, people, runbook, wait_for,
};
use documents::merkle;
use serde_json::{Value, json};

// Promise 1: no run without signatures

#[test]
fn promise_1_no_run_starts_without_enough_signatures() {
    let world = World::new();
    let everybody = [alice(), bob(), carol(), dora(), frank()];
    // Carol owns the token `agent`, and no rule names the group of frank, so the signatures of carol and frank do not
    // count.
    let group = |key: &Key| match key.name {
        "alice" | "dora" => Some("ops"),
        "bob" => Some("security"),
        _ => None,
    };
    let mut ran = 0;
    for set in 1_u32..1 << everybody.len() {
        let signers: Vec<&Key> = everybody
            .iter()
            .enumerate()
            .filter(|(at, _)| set >> at & 1 == 1)
            .map(|(_, key)| key)
            .collect();
        let counted: Vec<&str> = signers.iter().filter_map(|key| group(key)).collect();
        for (step, enough) in [
            ("plain:true", !counted.is_empty()),
            ("two:go", counted.len() >= 2),
            (
                "each:go",
                counted.contains(&"ops") && counted.contains(&"security"),
            ),
        ] {
            let params = if step == "two:go" {
                json!({"text": "x"})
            } else {
                json!({})
            };
            let payload = people::authorization(&world.authorization(step, params));
            let reply = world.submit(&envelope(&payload, &signers));
            let names: Vec<_> = signers.iter().map(|key| key.name).collect();
            assert_eq!(
                reply.status == 200,
                enough,
                "{step} signed by {names:?}: {}",
                reply.text()
            );
            if enough {
                ran += 1;
            } else {
                let of_self = signers.iter().any(|key| key.name == "carol");
                reply.problem(if of_self {
                    "self-approval"
                } else {
                    "quorum-missing"
                });
            }
        }
    }
    let spent: usize = (world.log().iter())
        .filter(|(kind, _)| kind == "consumption")
        .map(|(_, statement)| statement["predicate"]["spent"].as_array().unwrap().len())
        .sum();
    assert_eq!((spent, world.count("receipt")), (ran, ran));
    world.check_history();
}

#[test]
fn promise_1_signatures_cover_every_field() {
    let world = World::new();
    let payload =
        people::authorization(&world.authorization("say:echo", json!({"text": "as signed"})));
    let signature = alice().sign(&payload);
    let document: Value = serde_json::from_slice(&payload).unwrap();
    let mut variants = golden::mutants(&document);
    variants.retain(|variant| variant.what == "another type");
    assert!(variants.len() > 40, "{} places", variants.len());
    world.unchanged(|| {
        for variant in &variants {
            let reply = world.submit(&wrap(
                &people::canonical(&variant.value),
                vec![signature.clone()],
            ));
            assert_eq!(
                reply.json()["type"],
                "/problems/bad-signature",
                "{}: {}",
                variant.pointer,
                reply.text()
            );
        }
    });
    world.submit(&wrap(&payload, vec![signature])).ok(200);
}

// Promise 2: one nonce, one run

#[test]
fn promise_2_a_spent_nonce_is_refused_after_a_restart() {
    let mut world = World::new();
    let finished = world.run("plain:true", json!({}), &[&alice()]);
    let signed = envelope(&bytes_of(&finished), &[&alice()]);
    for power_cut in [false, true] {
        if power_cut {
            world.kill9()
        } else {
            world.stop()
        }
        world.start();
        let problem = world
            .unchanged(|| world.submit(&signed))
            .problem("nonce-replayed");
        assert_eq!(problem["receipt"], finished["receipt"]);
        world
            .unchanged(|| world.sign(&finished, &[&dora()]))
            .problem("wrong-state");
    }
    assert_eq!(world.count("receipt"), 1);
    world.check_history();
}

#[test]
fn promise_2_many_parallel_clients_with_one_nonce_cause_one_run() {
    let world = Arc::new(World::new());
    let payload = people::authorization(&world.authorization("say:echo", json!({"text": "once"})));
    let signed = Arc::new(envelope(&payload, &[&alice()]));
    let barrier = Arc::new(Barrier::new(64));
    let clients: Vec<_> = (0..64)
        .map(|_| {
            let (world, signed, barrier) = (world.clone(), signed.clone(), barrier.clone());
            std::thread::spawn(move || {
                barrier.wait();
                world.submit(&signed)
            })
        })
        .collect();
    let replies: Vec<_> = clients
        .into_iter()
        .map(|client| client.join().unwrap())
        .collect();
    let (ran, refused): (Vec<_>, Vec<_>) = replies.iter().partition(|reply| reply.status == 200);
    assert_eq!((ran.len(), refused.len()), (1, 63));
    let statement: Value = serde_json::from_slice(&payload).unwrap();
    let proposal = statement["predicate"]["proposal"].as_str().unwrap();
    for reply in refused {
        let problem = reply.problem("nonce-replayed");
        assert_eq!(
            problem["proposal"], proposal,
            "each links the run: {problem:#}"
        );
    }
    assert_eq!((world.count("consumption"), world.count("receipt")), (1, 1));
    let finished = world.show(proposal);
    assert_eq!(world.output(&finished, "stdout"), "once\n");
    world.check_history();
    world.assert_verified(&finished);
}

#[test]
fn a_run_continues_if_the_submitter_disconnects() {
    let world = World::with(|setup| {
        setup.runbook(
            "slow.md",
            runbook(SMALL, &[("wait", "sleep 1; printf through")]),
        )
    });
    let proposal = world.propose("slow:wait", json!({}));
    let body = envelope(&bytes_of(&proposal), &[&alice()]).to_string();
    let mut client = std::net::TcpStream::connect(world.wire.address()).unwrap();
    let (host, token, length) = (world.wire.address(), &world.agent, body.len());
    write!(
        client,
        "POST /v1/authorizations HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {token}\r\n\
         content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    world.until(id_of(&proposal), "running");
    drop(client);
    let finished = world.until(id_of(&proposal), "finished");
    assert_eq!(
        finished["outcome"],
        json!({"exit_code": 0, "status": "succeeded"})
    );
    assert_eq!(world.output(&finished, "stdout"), "through");
}

#[test]
fn only_one_of_many_authorizations_with_one_nonce_runs() {
    let world = Arc::new(World::new());
    let base = world.authorization("plain:true", json!({}));
    let end = people::unix_of(base["expires_at"].as_str().unwrap());
    let barrier = Arc::new(Barrier::new(16));
    let clients: Vec<_> = (0..16)
        .map(|_| {
            let (world, barrier, mut predicate) = (world.clone(), barrier.clone(), base.clone());
            predicate["proposal"] = json!(people::proposal_id_until(end));
            std::thread::spawn(move || {
                let signed = envelope(&people::authorization(&predicate), &[&alice()]);
                barrier.wait();
                world.submit(&signed).status
            })
        })
        .collect();
    let ran = clients
        .into_iter()
        .map(|client| client.join().unwrap())
        .filter(|status| *status == 200)
        .count();
    assert_eq!((ran, world.count("receipt")), (1, 1));
    world.check_history();
}

// Promise 5: a run executes the registered step

const FIRST: &str = "printf 'the first\\n'";
const SECOND: &str = "printf 'the second\\n'";

#[test]
fn promise_5_an_edited_runbook_runs_in_its_sealed_form() {
    let world = World::with(|setup| setup.runbook("e.md", runbook(SMALL, &[("go", FIRST)])));
    let before = world.propose("e:go", json!({}));
    world.write("b/runbooks/e.md", &runbook(SMALL, &[("go", SECOND)]));
    world.write("b/runbooks/new.md", &runbook(SMALL, &[("go", SECOND)]));
    world.sign(&before, &[&alice()]).ok(200);
    let finished = world.until(id_of(&before), "finished");
    assert_eq!(world.output(&finished, "stdout"), "the first\n");
    let after = world.run("e:go", json!({}), &[&alice()]);
    assert_eq!(world.output(&after, "stdout"), "the first\n");
    let unsealed = world.wire.post(
        "/v1/proposals",
        &world.agent,
        &World::wish("new:go", json!({})),
    );
    unsealed.problem("unknown-step");
    world.assert_verified(&after);
    // The bundle contains the sealed definition of the step.
    let bundle: Value = serde_json::from_slice(&world.bundle(&after)).unwrap();
    assert!(
        bundle["step"]["source"]
            .as_str()
            .unwrap()
            .contains("the first")
    );
}

#[test]
fn a_step_that_was_changed_by_a_reseal_is_refused() {
    let world = World::with(|setup| setup.runbook("e.md", runbook(SMALL, &[("go", FIRST)])));
    let offered = world.propose("e:go", json!({}));
    let whole = envelope(
        &people::authorization(&world.authorization("e:go", json!({}))),
        &[&alice()],
    );
    let seal = world.seal();
    world.write("b/runbooks/e.md", &runbook(SMALL, &[("go", SECOND)]));
    world.reseal(seal + 1);
    world.until(id_of(&offered), "refused");
    let problem = world
        .unchanged(|| world.sign(&offered, &[&alice()]))
        .problem("step-changed");
    assert!(problem["detail"].as_str().unwrap().len() > 20);
    world
        .unchanged(|| world.submit(&whole))
        .problem("step-changed");
    let finished = world.run("e:go", json!({}), &[&alice()]);
    assert_eq!(world.output(&finished, "stdout"), "the second\n");
    assert_eq!(world.count("consumption"), 1);
    // A broken runbook does not change the seal in force.
    world.write(
        "b/runbooks/e.md",
        &runbook(
            "approvals: {required: 0, from: [ops]}",
            &[("go colour=red", SECOND)],
        ),
    );
    world.signal(rustix::process::Signal::HUP);
    wait_for("the broken runbook is reported", || {
        world.service_log().contains("not sealed")
    });
    assert_eq!(world.seal(), seal + 1);
    let finished = world.run("e:go", json!({}), &[&alice()]);
    assert_eq!(world.output(&finished, "stdout"), "the second\n");
    let log = world.service_log();
    assert!(
        log.contains("e.md:") && log.contains("colour") && log.contains("required"),
        "all errors at once: {log}"
    );
}

#[test]
fn a_changed_policy_file_and_a_draft_have_no_effect_and_ready_reports_the_policy() {
    let mut world = World::new();
    let offered = world.propose("plain:true", json!({}));
    let mut roster = world.roster();
    roster["approvers"]["alice"]["keys"] = json!([mallory().ssh.line()]);
    world.stop();
    world.write(DRAFT, &roster.to_string());
    world.write(
        "b/boundary/policy.yaml",
        "version: 1\ndefault: {mode: execute, approvals: {required: 1, from: [finance]}}\n",
    );
    let roster_before = world.started["roster"].clone();
    world.start();
    assert_eq!(
        world.started["roster"], roster_before,
        "the sealed roster stands"
    );
    let notes = world.wire.peek("/ready").ok(200)["notes"].to_string();
    assert!(notes.contains("the policy file"), "{notes}");
    let drift = world.wire.get("/v1/registry", &world.reader).ok(200)["seal"]["drift"].to_string();
    assert!(drift.contains("the policy file"), "{drift}");
    world
        .unchanged(|| world.sign(&offered, &[&mallory()]))
        .problem("unknown-signer");
    world
        .unchanged(|| world.sign(&offered, &[&frank()]))
        .problem("not-permitted-signer");
    world.sign(&offered, &[&alice()]).ok(200);
    let finished = world.until(id_of(&offered), "finished");
    world.assert_verified(&finished);
}

// Promise 8: receipts verify offline

#[test]
fn promise_8_a_bundle_can_be_verified_offline() {
    let mut world = World::new();
    let finished = world.run("two:go", json!({"text": "x"}), &[&alice(), &bob()]);
    let bundle = world.bundle(&finished);
    let online = world
        .wire
        .post_bytes("/v1/receipts/verify", &world.reader, &bundle)
        .ok(200);
    assert_eq!(online["verified"], true, "{online:#}");
    world.stop();
    let (code, report) = world.verify(&bundle);
    assert_eq!(
        (code, &report["report"]["verified"]),
        (0, &json!(true)),
        "{report:#}"
    );
    // The verification fails if another roster is pinned.
    let (code, report) = world.verify_pinned(&bundle, &format!("sha256:{}", "0".repeat(64)));
    assert!(
        code != 0 && report["report"]["verified"] != true,
        "{report:#}"
    );
    // The verification fails if any document of the bundle is replaced or changed.
    let text = String::from_utf8(bundle).unwrap();
    for (field, other) in [
        ("receipt", "consumption"),
        ("consumption", "seal"),
        ("seal", "receipt"),
    ] {
        let mut swapped: Value = serde_json::from_str(&text).unwrap();
        swapped[field] = swapped[other].clone();
        assert_eq!(
            world.verify(swapped.to_string().as_bytes()).0,
            1,
            "{field} replaced by {other}"
        );
    }
    let value: Value = serde_json::from_str(&text).unwrap();
    for field in ["receipt", "authorization", "consumption", "seal"] {
        let statement = people::statement_of(&value[field]);
        let mutant = golden::mutants(&statement["predicate"]).swap_remove(0);
        let mut forged = value.clone();
        let mut statement = statement.clone();
        statement["predicate"] = mutant.value;
        forged[field]["payload"] =
            wrap(&people::canonical(&statement), Vec::new())["payload"].take();
        assert_eq!(
            world.verify(forged.to_string().as_bytes()).0,
            1,
            "{field}{}",
            mutant.pointer
        );
    }
}

// Promise 9: one append-only history

#[test]
fn promise_9_the_log_is_append_only() {
    let mut world = World::new();
    let mut before = Vec::new();
    for round in 0..4 {
        world.run("plain:true", json!({}), &[&alice()]);
        let proposal = world.propose("plain:fail", json!({}));
        world.deny(&proposal, &dora()).ok(200);
        let size = world.log_size();
        let entries = world.raw_entries(size);
        assert!(
            entries.len() > before.len() && entries.starts_with(&before),
            "round {round}"
        );
        before = entries;
        if round % 2 == 0 {
            world.restart()
        } else {
            world.kill9();
            world.start()
        }
        assert_eq!(
            world.raw_entries(size),
            before,
            "a restart changed an entry"
        );
    }
    for method in ["PUT", "DELETE", "POST", "PATCH"] {
        for path in [
            "/log/checkpoint",
            "/log/tile/0/000.p/1",
            "/log/tile/entries/000.p/1",
        ] {
            let bearer = format!("Bearer {}", world.reader);
            let reply = world
                .wire
                .call(method, path, &[("authorization", &bearer)], Some(b""));
            assert_eq!(reply.status, 405, "{method} {path}");
        }
    }
}

fn note_of(note: &str) -> (u64, merkle::Hash) {
    use base64::Engine as _;
    let size = note.lines().nth(1).unwrap().parse().unwrap();
    let root = base64::engine::general_purpose::STANDARD
        .decode(note.lines().nth(2).unwrap())
        .unwrap();
    (size, root.try_into().unwrap())
}

#[test]
fn promise_9_consistency_proofs_hold_across_restarts() {
    let mut world = World::new();
    let mut notes = vec![world.wire.peek("/log/checkpoint").text()];
    for round in 0..3 {
        for _ in 0..2 {
            world.run("plain:true", json!({}), &[&alice()]);
            notes.push(world.wire.peek("/log/checkpoint").text());
        }
        if round == 1 {
            world.kill9();
            world.start()
        } else {
            world.restart()
        }
        notes.push(world.wire.peek("/log/checkpoint").text());
    }
    let key = boundary_key().secret.public();
    let origin = notes[0].lines().next().unwrap().to_owned();
    let id = world.boundary()["id"]
        .as_str()
        .unwrap()
        .trim_start_matches("sha256:")[..16]
        .to_owned();
    assert_eq!(origin, format!("prod/{id}"));
    for note in &notes {
        let parsed = documents::Note::parse(note).unwrap();
        let _ = documents::verify_note(&parsed, &origin, &key).expect("signed by the boundary");
    }
    let heads: Vec<_> = notes.iter().map(|note| note_of(note)).collect();
    for (at, (old, old_root)) in heads.iter().enumerate() {
        for (new, new_root) in &heads[at..] {
            assert!(old <= new, "a checkpoint went back");
            if old == new {
                assert_eq!(old_root, new_root, "two heads of one size");
                continue;
            }
            let proof = world
                .wire
                .peek(&format!("/log/proof/consistency/{old}/{new}"))
                .ok(200);
            let hashes: Vec<merkle::Hash> = proof["hashes"]
                .as_array()
                .unwrap()
                .iter()
                .map(unhex)
                .collect();
            let _ = merkle::verify_consistency(*old, old_root, *new, new_root, &hashes)
                .expect("consistent");
        }
    }
    // Entries, hash tiles and inclusion proofs match the last checkpoint.
    let (size, root) = *heads.last().unwrap();
    let leaves: Vec<_> = world
        .raw_entries(size)
        .iter()
        .map(|entry| merkle::leaf_hash(entry))
        .collect();
    let tile = world.wire.peek(&format!("/log/tile/0/000.p/{size}"));
    assert_eq!(tile.body, leaves.concat());
    assert_eq!(merkle::root(&leaves), root);
    for index in 0..size {
        let text = world.wire.peek(&format!("/log/proof/{index}")).text();
        let proof = documents::TlogProof::parse(&text).expect("a proof");
        assert_eq!(
            (proof.index, note_of(&proof.checkpoint)),
            (index, (size, root))
        );
        let _ =
            merkle::verify_inclusion(&leaves[index as usize], index, size, &proof.hashes, &root)
                .expect("included");
    }
}

fn unhex(text: &Value) -> merkle::Hash {
    documents::unhex32(text.as_str().unwrap()).unwrap()
}

#[test]
fn every_run_is_in_the_log() {
    let world = World::new();
    let mut finished = Vec::new();
    for step in ["plain:true", "plain:fail", "say:echo"] {
        finished.push(world.run(step, json!({}), &[&alice()]));
    }
    let log = world.log();
    for view in &finished {
        let digest = view["digest"].as_str().unwrap();
        let of = |wanted: &str| {
            log.iter().position(|(kind, statement)| {
                kind == wanted && statement.to_string().contains(&digest[7..])
            })
        };
        let (spent, receipt) = (of("consumption").unwrap(), of("receipt").unwrap());
        assert!(
            spent < receipt,
            "the nonce is spent before the receipt is written"
        );
        world.assert_verified(view);
    }
    assert_eq!(
        finished[1]["outcome"],
        json!({"status": "failed", "exit_code": 3})
    );
    world.check_history();
}

// Promise 10: secrets stay out of the log, the database and debug output

#[test]
fn promise_10_no_secret_is_in_the_log_or_the_database_or_debug_output() {
    let mut world = World::with(|setup| setup.env("COUNTERSIGN_LOG", "trace"));
    let finished = world.run("say:echo", json!({}), &[&alice()]);
    let guess = format!("cst_{}", "A".repeat(43));
    world
        .wire
        .get("/v1/registry", &guess)
        .problem("unauthenticated");
    world
        .wire
        .get(&format!("/v1/registry?token={guess}"), &world.reader)
        .problem("malformed");
    let admitted = admit(&world, &alice());
    world.wire.get("/v1/registry", &admitted).ok(200);
    let entries = world.raw_entries(world.log_size()).concat();
    let bundle = world.bundle(&finished);
    let secrets = [
        world.agent.clone(),
        world.reader.clone(),
        world.courier.clone(),
        admitted,
        guess,
    ];
    world.stop();
    let mut places = vec![
        ("the log".to_owned(), entries),
        ("a bundle".to_owned(), bundle),
    ];
    places.push((
        "the service's log".to_owned(),
        world.service_log().into_bytes(),
    ));
    for entry in std::fs::read_dir(world.path("b/boundary"))
        .unwrap()
        .map(Result::unwrap)
    {
        if entry.file_type().unwrap().is_file() && entry.file_name() != "key.pem" {
            places.push((
                entry.file_name().into_string().unwrap(),
                std::fs::read(entry.path()).unwrap(),
            ));
        }
    }
    let pem = std::fs::read_to_string(world.path("b/boundary/key.pem")).unwrap();
    let inner = pem.lines().nth(1).unwrap().to_owned();
    let seed = vec![99_u8; 32];
    for (place, bytes) in &places {
        let holds = |needle: &[u8]| bytes.windows(needle.len()).any(|window| window == needle);
        for secret in &secrets {
            assert!(
                !holds(secret.as_bytes()),
                "{place} holds the bearer {secret}"
            );
            assert!(
                !holds(&secret.as_bytes()[4..]),
                "{place} holds the bearer {secret} without its prefix"
            );
        }
        assert!(
            !holds(inner.as_bytes()) && !holds(&seed),
            "{place} holds the boundary's private key"
        );
    }
}

/// Answers a challenge with a key of the roster and returns the bearer secret.
fn admit(world: &World, key: &Key) -> String {
    let asked = world
        .wire
        .post("/v1/challenges", "", &json!({"keyid": key.keyid()}))
        .ok(200);
    let challenge = asked["challenge"].as_str().unwrap();
    let signature = key.sign_as(CHALLENGE, challenge.as_bytes());
    let answer = json!({"challenge": challenge, "signature": signature});
    let admitted = world
        .wire
        .post("/v1/challenges/answer", "", &answer)
        .ok(200);
    assert_eq!(admitted["name"], key.name);
    // The boundary accepts one answer per challenge.
    world
        .wire
        .post("/v1/challenges/answer", "", &answer)
        .problem("unauthenticated");
    admitted["bearer"].as_str().unwrap().to_owned()
}

#[test]
fn a_rostered_key_gives_read_access_only() {
    let world = World::new();
    world
        .wire
        .post("/v1/challenges", "", &json!({"keyid": mallory().keyid()}))
        .problem("unknown-signer");
    let asked = world
        .wire
        .post("/v1/challenges", "", &json!({"keyid": alice().keyid()}))
        .ok(200);
    let challenge = asked["challenge"].as_str().unwrap();
    assert!(
        challenge.contains(world.boundary()["id"].as_str().unwrap()),
        "it names the boundary: {challenge}"
    );
    let wrong = json!({"challenge": challenge, "signature": alice().sign(challenge.as_bytes())});
    world
        .wire
        .post("/v1/challenges/answer", "", &wrong)
        .problem("bad-signature");
    let bearer = admit(&world, &alice());
    let proposal = world.propose("plain:true", json!({}));
    world
        .wire
        .get(&format!("/v1/proposals/{}", id_of(&proposal)), &bearer)
        .ok(200);
    world
        .unchanged(|| {
            world.wire.post(
                "/v1/proposals",
                &bearer,
                &World::wish("plain:true", json!({})),
            )
        })
        .problem("forbidden");
    let cancel = format!("/v1/proposals/{}/cancellation", id_of(&proposal));
    world
        .unchanged(|| world.wire.post(&cancel, &bearer, &json!({})))
        .problem("forbidden");
    let operator = admit(&world, &oscar());
    assert_eq!(
        world.wire.post(&cancel, &operator, &json!({})).ok(200)["status"],
        "cancelled"
    );
}

#[test]
fn only_the_hash_of_a_token_is_stored() {
    let mut world = World::new();
    world.stop();
    let database = rusqlite::Connection::open(world.database()).unwrap();
    let stored: String = database
        .query_row("SELECT entry FROM token WHERE name = 'agent'", [], |row| {
            row.get(0)
        })
        .unwrap();
    let stored: Value = serde_json::from_str(&stored).unwrap();
    assert_eq!(stored["credential"], json!(credential(&world.agent)));
    let hex = people::sha256(world.agent.as_bytes());
    drop(database);
    world.start();
    let listed = world
        .control(&json!({"do": "token-list"}))
        .unwrap()
        .to_string();
    assert!(
        listed.contains("agent") && !listed.contains(&hex) && !listed.contains("cst_"),
        "{listed}"
    );
    let sealed = world.wire.get("/v1/registry", &world.reader).ok(200)["seal"]["tokens"]
        .as_str()
        .unwrap()
        .to_owned();
    let blob = world
        .wire
        .get(&format!("/log/blob/sha256/{}", &sealed[7..]), &world.reader)
        .text();
    assert!(blob.contains("\"agent\"") && !blob.contains(&hex), "{blob}");
    // A token name is never used twice.
    world
        .control(&json!({"do": "token-revoke", "name": "agent"}))
        .unwrap();
    let again = json!({"name": "agent", "owners": [], "scopes": ["propose"], "patterns": []});
    world.create_token(&again).expect_err("used before");
}

#[test]
fn a_revoked_token_gives_no_access_even_if_it_was_used_before() {
    let world = World::new();
    // The second request reads the cache that the first request fills. The cache is valid until the tokens change.
    for _ in 0..2 {
        world.wire.get("/v1/registry", &world.agent).ok(200);
    }
    world
        .control(&json!({"do": "token-revoke", "name": "agent"}))
        .unwrap();
    world
        .wire
        .get("/v1/registry", &world.agent)
        .problem("unauthenticated");
    world.wire.get("/v1/registry", &world.reader).ok(200);
}

#[test]
fn the_files_of_the_store_are_private() {
    use std::os::unix::fs::PermissionsExt as _;
    let mut world = World::new();
    world.run("plain:true", json!({}), &[&alice()]);
    let mode = |path: &std::path::Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&world.path("b/boundary")), 0o700);
    for entry in std::fs::read_dir(world.path("b/boundary"))
        .unwrap()
        .map(Result::unwrap)
    {
        let wanted = match entry.path() {
            // Versions of the roster are public: each user who can enter the parent directory may read the versions.
            path if path.ends_with("roster.d") => 0o755,
            path if path.is_dir() => 0o700,
            _ => 0o600,
        };
        assert_eq!(mode(&entry.path()), wanted, "{}", entry.path().display());
    }
    world.stop();
    for name in [
        "b/boundary",
        "b/boundary/countersign.db",
        "b/boundary/key.pem",
        "b/countersign.toml",
    ] {
        let path = world.path(name);
        let before = path.metadata().unwrap().permissions();
        let open = if path.is_dir() { 0o755 } else { 0o666 };
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(open)).unwrap();
        let said = world.try_start().expect_err(name);
        assert!(
            said.contains(name.rsplit('/').next().unwrap()),
            "{name}: {said}"
        );
        std::fs::set_permissions(&path, before).unwrap();
    }
    // The service uses the sealed roster. The service ignores a version of the roster that other users can write, and
    // reports the file.
    let roster = world.path("b/boundary/roster.d/1.json");
    std::fs::set_permissions(&roster, std::fs::Permissions::from_mode(0o666)).unwrap();
    world.start();
    assert_says(
        world.wire.peek("/ready").ok(200)["notes"].to_string(),
        "1.json",
    );
}

// Promise 11: bad input gets a clear error

#[test]
fn promise_11_broken_runbooks_are_reported_together() {
    let mut world = World::prepared(|setup| {
        setup.runbook(
            "a.md",
            runbook(
                "approvals: {required: 0, from: [ops]}",
                &[("go colour=red", ":"), ("go", ":")],
            ),
        );
        setup.runbook(
            "b.md",
            "---\ncountersign: 2\ntitle: Later\n---\n\n```bash {#x session=write}\n:\n```\n",
        );
        setup.policy = "version: 1\ndefault: {mode: sometimes}\n".to_owned();
        setup.config = "colour = \"red\"\n".to_owned();
    });
    let said = world
        .try_start()
        .expect_err("nothing of this may be served");
    assert!(
        said.contains("countersign.toml:") && said.contains("colour"),
        "{said}"
    );
    // The configuration names the other files, so its errors come first. The errors of all other files come together.
    world.write("b/countersign.toml", "name = \"prod\"\n");
    let said = world
        .try_start()
        .expect_err("nothing of this may be served");
    for place in [
        "a.md:",
        "b.md:",
        "policy.yaml:2:",
        "colour",
        "required",
        "sometimes",
        "session",
    ] {
        assert!(said.contains(place), "{place} is missing in:\n{said}");
    }
    assert!(
        !world.database().exists(),
        "no log begins with broken files"
    );
    for (name, text) in [
        ("b/runbooks/a.md", runbook(SMALL, &[("go", ":")])),
        ("b/runbooks/b.md", runbook(SMALL, &[("go", ":")])),
        ("b/boundary/policy.yaml", support::POLICY.to_owned()),
    ] {
        world.write(name, &text);
    }
    world.start();
}

#[test]
fn weak_keys_are_refused_in_the_roster() {
    use base64::Engine as _;
    let line = |material: &[u8; 32]| {
        let mut blob = Vec::new();
        for part in [&b"ssh-ed25519"[..], material] {
            blob.extend_from_slice(&(part.len() as u32).to_be_bytes());
            blob.extend_from_slice(part);
        }
        format!(
            "ssh-ed25519 {}",
            base64::engine::general_purpose::STANDARD.encode(blob)
        )
    };
    let mut one = [0; 32];
    one[0] = 1;
    let mut zero_not_canonical = [0xff; 32];
    zero_not_canonical[0] = 0xed;
    zero_not_canonical[31] = 0x7f;
    let shared = alice().ssh.line().to_owned();
    for (what, key) in [
        ("the neutral element", line(&one)),
        ("order 4", line(&[0; 32])),
        ("p written for 0", line(&zero_not_canonical)),
        ("another's key", shared),
    ] {
        let mut world = World::prepared(|setup| {
            setup.roster["approvers"]["zoe"] = json!({"groups": ["ops"], "keys": [key]});
        });
        assert_says(world.try_start().expect_err(what), "next.json");
        assert!(!world.database().exists());
    }
}

// Rule R1: order

#[test]
fn r1_an_online_and_an_offline_proposal_with_one_nonce_are_the_same_proposal() {
    let world = World::new();
    let offered = world.propose("plain:true", json!({}));
    let whole = envelope(&bytes_of(&offered), &[&alice()]);
    world.submit(&whole).ok(200);
    let view = world.show(id_of(&offered));
    assert_eq!(
        (&view["status"], &view["digest"]),
        (&json!("finished"), &offered["digest"])
    );
    assert_eq!(world.proposals().len(), 1, "one row by payload");
    world
        .unchanged(|| world.sign(&offered, &[&dora()]))
        .problem("wrong-state");
    // The boundary also creates a row, with the same views and events, for an authorization without an online proposal.
    let payload = people::authorization(&world.authorization("plain:fail", json!({})));
    world.submit(&envelope(&payload, &[&alice()])).ok(200);
    let statement: Value = serde_json::from_slice(&payload).unwrap();
    let id = statement["predicate"]["proposal"].as_str().unwrap();
    let view = world.show(id);
    assert_eq!(
        (&view["status"], &view["outcome"]["exit_code"]),
        (&json!("finished"), &json!(3))
    );
    let kinds: Vec<String> = world
        .wire
        .lines(id, &world.reader, 0)
        .map(|event| event["type"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(
        kinds.last().map(String::as_str),
        Some("receipt"),
        "{kinds:?}"
    );
    assert_eq!(world.proposals().len(), 2);
    // Alice signs online, and the envelope contains the signatures of alice and bob: the result is still one run.
    let mixed = world.propose("two:go", json!({}));
    world.sign(&mixed, &[&alice()]).ok(200);
    world
        .submit(&envelope(&bytes_of(&mixed), &[&alice(), &bob()]))
        .ok(200);
    world.check_history();
}

#[test]
fn r1_the_checks_of_a_crossing_are_made_in_the_documented_order() {
    let world = World::new();
    let good = world.authorization("two:go", json!({"text": "x"}));
    let mut bad = good.clone();
    bad["boundary"]["id"] = json!(format!("sha256:{}", "0".repeat(64)));
    bad["boundary"]["epoch"] = json!("0".repeat(32));
    bad["step"]["digest"] = json!(format!("sha256:{}", "0".repeat(64)));
    bad["params"] = json!({"colour": "red"});
    bad["sandbox"]["require"] = json!([]);
    people::end_at(&mut bad, now() - 1);
    let nonce = std::mem::replace(&mut bad["nonce"], good["nonce"].clone());
    bad["issued_at"] = json!(stamp(now() - 60));
    bad["not_before"] = json!(stamp(now() - 60));
    let submit = |predicate: &Value, keys: &[&Key]| {
        let reply = world.submit(&envelope(&people::authorization(predicate), keys));
        reply.json()["type"]
            .as_str()
            .unwrap_or("ran")
            .trim_start_matches("/problems/")
            .to_owned()
    };
    let forged = wrap(
        &people::authorization(&bad),
        vec![alice().sign(b"x"), mallory().sign(b"x")],
    );
    assert_eq!(
        world.submit(&forged).json()["type"],
        "/problems/unknown-signer",
        "before any cryptography"
    );
    let forged = wrap(&people::authorization(&bad), vec![alice().sign(b"x")]);
    assert_eq!(
        world.submit(&forged).json()["type"],
        "/problems/bad-signature",
        "before anything is read"
    );
    // After each correction, the next check fails.
    assert_eq!(submit(&bad, &[&alice()]), "malformed");
    bad["nonce"] = nonce;
    assert_eq!(submit(&bad, &[&alice()]), "wrong-boundary");
    bad["boundary"]["id"] = good["boundary"]["id"].clone();
    assert_eq!(submit(&bad, &[&alice()]), "revoked");
    bad["boundary"] = good["boundary"].clone();
    assert_eq!(submit(&bad, &[&alice()]), "step-changed");
    bad["step"] = good["step"].clone();
    assert_eq!(submit(&bad, &[&alice()]), "invalid-params");
    bad["params"] = good["params"].clone();
    assert_eq!(submit(&bad, &[&alice()]), "context-changed");
    bad["sandbox"] = good["sandbox"].clone();
    assert_eq!(submit(&bad, &[&alice()]), "quorum-missing");
    assert_eq!(submit(&bad, &[&alice(), &bob()]), "expired");
    for field in ["issued_at", "not_before", "expires_at", "nonce", "proposal"] {
        bad[field] = good[field].clone();
    }
    assert_eq!(submit(&bad, &[&alice(), &bob()]), "ran");
}

// Rule R2: decided again

#[test]
fn r2_a_changed_policy_is_refused_as_context_changed() {
    // The boundary resolves policy and configuration again at the crossing.
    let mut world = World::with(|setup| setup.runbook("free.md", runbook("", &[("go", ":")])));
    let offered = world.propose("free:go", json!({}));
    let whole = envelope(
        &people::authorization(&world.authorization("free:go", json!({}))),
        &[&alice()],
    );
    world.stop();
    world.write(
        "b/countersign.toml",
        "name = \"prod\"\n[limits]\nmemory = \"256MiB\"\n",
    );
    world.start();
    world
        .unchanged(|| world.submit(&whole))
        .problem("context-changed");
    let refused = world.until(id_of(&offered), "refused");
    assert_eq!(refused["refusal"]["code"], "context-changed", "{refused:#}");
    assert_eq!(world.count("consumption"), 0, "the nonce is not spent");
    let finished = world.run("free:go", json!({}), &[&alice()]);
    assert_eq!(world.receipt(&finished)["outcome"]["status"], "succeeded");
    world.assert_verified(&finished);
}

// Rule R3: no gap between check and use

#[test]
fn r3_a_denial_at_the_same_time_as_the_last_signature_either_prevents_the_run_or_kills_it() {
    let world = Arc::new(World::new());
    let (mut denied, mut ran) = (0, 0);
    for round in 0..40 {
        let step = if round % 4 == 3 {
            "plain:wait"
        } else {
            "plain:true"
        };
        let proposal = Arc::new(world.propose(step, json!({})));
        let barrier = Arc::new(Barrier::new(2));
        let denier = {
            let (world, proposal, barrier) = (world.clone(), proposal.clone(), barrier.clone());
            std::thread::spawn(move || {
                barrier.wait();
                if round % 2 == 0 {
                    std::thread::yield_now();
                }
                world.deny(&proposal, &dora())
            })
        };
        barrier.wait();
        let signed = world.sign(&proposal, &[&alice()]);
        let said_no = denier.join().unwrap();
        let id = id_of(&proposal).to_owned();
        let mut view = world.show(&id);
        wait_for("it is over", || {
            view = world.show(&id);
            ["denied", "finished"].contains(&view["status"].as_str().unwrap())
        });
        let digest = &view["digest"].as_str().unwrap()[7..];
        let entries = |wanted: &str| {
            world
                .log()
                .iter()
                .filter(|(kind, one)| kind == wanted && one.to_string().contains(digest))
                .count()
        };
        if view["status"] == "denied" {
            denied += 1;
            assert_eq!(
                (
                    entries("consumption"),
                    entries("receipt"),
                    entries("denial")
                ),
                (0, 0, 1)
            );
            assert_eq!(said_no.status, 200);
            assert!(view.get("receipt").is_none());
        } else {
            ran += 1;
            assert_eq!((entries("consumption"), entries("receipt")), (1, 1));
            signed.ok(200);
            let outcome = view["outcome"]["status"].as_str().unwrap();
            match said_no.status {
                // The denial arrives during the run, but the step can end before the kill.
                200 => assert!(["cancelled", "succeeded"].contains(&outcome), "{outcome}"),
                _ => {
                    said_no.problem("wrong-state");
                    assert_eq!(
                        outcome, "succeeded",
                        "a denial that came too late changed nothing"
                    );
                }
            }
            if step == "plain:wait" {
                assert_eq!(outcome, "cancelled", "nothing else ends it");
            }
        }
    }
    assert_eq!(denied + ran, 40);
    world.check_history();
}

#[test]
fn a_spent_nonce_is_refused_as_replayed_even_if_the_limit_of_runs_is_reached() {
    let world = World::with(|setup| setup.limits = "runs = 1".to_owned());
    let [spent, unspent] = ["", "again"].map(|_| {
        envelope(
            &people::authorization(&world.authorization("plain:true", json!({}))),
            &[&alice()],
        )
    });
    world.submit(&spent).ok(200);
    let running = world.propose("plain:wait", json!({}));
    world.sign(&running, &[&alice()]).ok(200);
    world.until(id_of(&running), "running");
    world.submit(&spent).problem("nonce-replayed");
    let refused = world.submit(&unspent);
    assert!(
        refused.text().contains("this request spent no nonce"),
        "{}",
        refused.text()
    );
    refused.problem("busy");
    world.deny(&running, &dora()).ok(200);
    world.until(id_of(&running), "finished");
    world.submit(&unspent).ok(200);
}

#[test]
fn a_denial_kills_a_running_step() {
    let world = World::new();
    let proposal = world.propose("plain:wait", json!({}));
    world.sign(&proposal, &[&alice()]).ok(200);
    world.until(id_of(&proposal), "running");
    world
        .unchanged(|| world.deny(&proposal, &frank()))
        .problem("not-permitted-signer");
    world
        .unchanged(|| world.deny(&proposal, &carol()))
        .problem("not-permitted-signer");
    world.deny(&proposal, &dora()).ok(200);
    let finished = world.until(id_of(&proposal), "finished");
    assert_eq!(finished["outcome"], json!({"status": "cancelled"}));
    world.assert_verified(&finished);
}

#[test]
fn r3_a_reseal_between_the_decision_and_the_consumption_is_detected() {
    // The step changes during the crossings. Each run must use the seal that the receipt names.
    let world = Arc::new(World::with(|setup| {
        setup.runbook("e.md", runbook(SMALL, &[("go", FIRST)]))
    }));
    let resealing = {
        let world = world.clone();
        std::thread::spawn(move || {
            for round in 0..12 {
                let source = format!("printf 'round {round}\\n'");
                world.write("b/runbooks/e.md", &runbook(SMALL, &[("go", &source)]));
                world.control(&json!({"do": "seal"})).expect("resealed");
            }
        })
    };
    let mut ran = Vec::new();
    while !resealing.is_finished() || ran.is_empty() {
        let reply = world.wire.post(
            "/v1/proposals",
            &world.agent,
            &World::wish("e:go", json!({})),
        );
        let proposal = reply.json();
        let reply = world.submit(&envelope(&bytes_of(&proposal), &[&alice()]));
        match reply.status {
            200 => ran.push(id_of(&proposal).to_owned()),
            status => {
                // After a reseal between each decision and its consumption, the boundary gives up and spends no nonce.
                let problem = reply.problem(if status == 503 {
                    "busy"
                } else {
                    "step-changed"
                });
                let word = if status == 503 {
                    "spent no nonce"
                } else {
                    "e:go"
                };
                assert!(problem["detail"].as_str().unwrap().contains(word));
                // The reseal may have ended the proposal already.
                let cancel = format!("/v1/proposals/{}/cancellation", id_of(&proposal));
                world.wire.post(&cancel, &world.agent, &json!({}));
            }
        }
    }
    resealing.join().unwrap();
    for id in ran {
        // The verifier compares step, registry, seal and consumption with each other.
        world.assert_verified(&world.show(&id));
    }
    world.check_history();
}

// Rule R4: no verdict at rest

#[test]
fn r4_a_database_row_that_was_written_by_hand_does_not_start_a_run() {
    let mut world = World::new();
    let bare = world.propose("plain:true", json!({}));
    let forged = world.propose("plain:fail", json!({}));
    let moved = world.propose("say:echo", json!({"text": "signed"}));
    let half = world.propose("two:go", json!({}));
    world.sign(&half, &[&alice()]).ok(200);
    world.stop();
    let database = rusqlite::Connection::open(world.database()).unwrap();
    let raw = |view: &Value| -> Vec<u8> {
        let hex: String = id_of(view)[4..].replace('-', "");
        (0..16)
            .map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap())
            .collect()
    };
    let sign = |view: &Value, key: &Key, sig: &[u8]| {
        database
            .execute(
                "INSERT INTO signature (proposal, keyid, number, person, presence, at, sig) VALUES (?, ?, 0, ?, 1, ?, ?)",
                rusqlite::params![raw(view), key.keyid(), key.name, now(), sig],
            )
            .unwrap();
    };
    // SQL approves proposals without a signature, with a forged one, with one over other bytes, and with one too few.
    sign(&forged, &alice(), &[7; 64]);
    let mut predicate: Value =
        serde_json::from_slice::<Value>(&bytes_of(&moved)).unwrap()["predicate"].take();
    sign(
        &moved,
        &alice(),
        &alice()
            .secret
            .sign(&people::pae(people::IN_TOTO, &bytes_of(&moved))),
    );
    predicate["params"]["text"] = json!("never signed");
    let other = people::authorization(&predicate);
    let digest: Vec<u8> = (0..32)
        .map(|at| u8::from_str_radix(&people::sha256(&other)[2 * at..2 * at + 2], 16).unwrap())
        .collect();
    database
        .execute(
            "UPDATE payload SET data = ? WHERE proposal = ?",
            rusqlite::params![other, raw(&moved)],
        )
        .unwrap();
    database
        .execute(
            "UPDATE proposal SET digest = ? WHERE id = ?",
            rusqlite::params![digest, raw(&moved)],
        )
        .unwrap();
    let all = [&bare, &forged, &moved, &half];
    for view in all {
        let sql = "UPDATE proposal SET status = 3, approved_at = ? WHERE id = ?";
        assert_eq!(
            database
                .execute(sql, rusqlite::params![now(), raw(view)])
                .unwrap(),
            1
        );
    }
    drop(database);
    world.start();
    for (view, code) in [
        (&bare, "quorum-missing"),
        (&forged, "bad-signature"),
        (&moved, "bad-signature"),
        (&half, "quorum-missing"),
    ] {
        let refused = world.until(id_of(view), "refused");
        assert_eq!(refused["refusal"]["code"], code, "{refused:#}");
    }
    assert_eq!((world.count("consumption"), world.count("receipt")), (0, 0));
    world.run("plain:true", json!({}), &[&alice()]);
}

// Rule R6: recovery

#[test]
fn r6_a_second_service_on_one_store_is_refused() {
    let mut world = World::new();
    let mut second = world.program(&["serve", "--listen", "127.0.0.1:0"]);
    let output = second.arg(world.path("b")).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && said.contains("in use by process"),
        "{said}"
    );
    assert!(
        said.contains(&world.pid().to_string()),
        "it names who holds it: {said}"
    );
    world.run("plain:true", json!({}), &[&alice()]);
    // The kernel releases the lock when the process ends.
    world.kill9();
    world.start();
    world.run("plain:true", json!({}), &[&alice()]);
}

// Rule R8: self-approval

#[test]
fn r8_the_owner_of_a_token_cannot_approve_its_proposals() {
    let world = World::new();
    for (token, owner) in [(&world.agent, carol()), (&world.courier, bob())] {
        let proposal = world
            .wire
            .post(
                "/v1/proposals",
                token,
                &World::wish("plain:true", json!({})),
            )
            .ok(201);
        world
            .unchanged(|| world.sign(&proposal, &[&owner]))
            .problem("self-approval");
        let whole = envelope(&bytes_of(&proposal), &[&owner]);
        world
            .unchanged(|| world.submit_as(token, &whole))
            .problem("self-approval");
        world.sign(&proposal, &[&alice()]).ok(200);
        let finished = world.until(id_of(&proposal), "finished");
        let excluded = world.receipt(&finished)["decision"]["excluded"].to_string();
        assert!(excluded.contains(owner.name), "{excluded}");
    }
    // The owners of a proposer that has a key instead of a token cannot approve either.
    let robot_s = admit(&world, &robot());
    let proposal = world
        .wire
        .post(
            "/v1/proposals",
            &robot_s,
            &World::wish("plain:fail", json!({})),
        )
        .ok(201);
    assert_eq!(proposal["proposer"], "robot");
    world
        .unchanged(|| world.sign(&proposal, &[&bob()]))
        .problem("self-approval");
    world.sign(&proposal, &[&carol()]).ok(200);
    world.until(id_of(&proposal), "finished");
}

#[test]
fn r8_a_submission_is_no_approval() {
    let world = World::new();
    // Bob signs the agent's authorization and submits the envelope with bob's token, so bob's signature does not count.
    let mine = envelope(
        &people::authorization(&world.authorization("plain:true", json!({}))),
        &[&bob()],
    );
    world
        .unchanged(|| world.submit_as(&world.courier, &mine))
        .problem("self-approval");
    let receipt = people::predicate_of(&world.submit_as(&world.agent, &mine).ok(200)["receipt"]);
    assert_eq!(receipt["decision"]["handed_in_by"], "agent");
    let both = envelope(
        &people::authorization(&world.authorization("plain:true", json!({}))),
        &[&bob(), &alice()],
    );
    let bundle = world.submit_as(&world.courier, &both).ok(200);
    let receipt = people::predicate_of(&bundle["receipt"]);
    assert_eq!(
        receipt["decision"]["approvers"],
        json!(["alice"]),
        "{receipt:#}"
    );
    assert_eq!(
        receipt["decision"]["excluded"],
        json!(["agent", "bob", "carol", "courier"])
    );
    assert_eq!(receipt["decision"]["handed_in_by"], "courier");
    assert_eq!(
        bundle["authorization"]["signatures"]
            .as_array()
            .unwrap()
            .len(),
        1,
        "only what counts is logged"
    );
    // The boundary refuses a proposer with a revoked token, because the owners of the token are no longer known.
    let late = envelope(
        &people::authorization(&world.authorization("plain:true", json!({}))),
        &[&alice()],
    );
    world
        .control(&json!({"do": "token-revoke", "name": "agent"}))
        .unwrap();
    world.submit_as(&world.courier, &late).problem("forbidden");
}

#[test]
fn the_proposer_and_the_submitter_must_both_have_the_right_to_propose_the_step() {
    let world = World::new();
    let narrow = world.token_for("narrow", &["dora"], &["propose"], &["say:*"]);
    let robot_s = admit(&world, &robot());
    let handed_in = |proposer: &str, token: &str, step: &str| {
        let params = if step == "say:echo" {
            json!({"text": "x"})
        } else {
            json!({})
        };
        let mut predicate = world.authorization(step, params);
        predicate["proposer"] = json!(proposer);
        world.submit_as(
            token,
            &envelope(&people::authorization(&predicate), &[&alice()]),
        )
    };
    for (proposer, token, words) in [
        (
            "reader",
            &world.agent,
            "reader does not have the scope propose for plain:true",
        ),
        (
            "narrow",
            &world.agent,
            "narrow does not have the scope propose for plain:true",
        ),
        (
            "agent",
            &narrow,
            "narrow does not have the scope propose for plain:true",
        ),
        (
            "agent",
            &world.reader,
            "reader does not have the scope propose",
        ),
        (
            "dora",
            &world.agent,
            "dora is neither a sealed token nor a proposer of the roster",
        ),
        (
            "ghost",
            &world.agent,
            "ghost is neither a sealed token nor a proposer of the roster",
        ),
    ] {
        world
            .unchanged(|| handed_in(proposer, token, "plain:true"))
            .refuses("forbidden", words);
    }
    assert_eq!(world.count("consumption"), 0);
    handed_in("narrow", &narrow, "say:echo").ok(200);
    for (proposer, token) in [
        ("agent", &world.courier),
        ("robot", &world.agent),
        ("agent", &robot_s),
    ] {
        handed_in(proposer, token, "plain:true").ok(200);
    }
    world.assert_audited();
}

// Rule R9: private set

#[test]
fn r9_the_service_does_not_start_if_the_private_set_is_below_the_runbooks() {
    for (config, said_of) in [
        ("runbooks = [\".\"]", "this path is private"),
        ("runbooks = [\"boundary\"]", "this path is private"),
        (
            "runbooks = [\"runbooks\", \"boundary/more\"]",
            "runbooks can't be in the private directory",
        ),
        (
            "key = \"runbooks/key.pem\"",
            "but is in the runbook directory",
        ),
        (
            "database = \"runbooks/c.db\"",
            "but is in the runbook directory",
        ),
        (
            "policy = \"runbooks/p.yaml\"",
            "but is in the runbook directory",
        ),
        ("database = \"/usr/share/c.db\"", "which every step sees"),
    ] {
        let mut world = World::prepared(|setup| setup.config = config.to_owned());
        std::fs::create_dir_all(world.path("b/boundary/more")).unwrap();
        world.write(
            "b/runbooks/key.pem",
            boundary_key().secret.to_pkcs8_v1_pem().as_str(),
        );
        world.write("b/runbooks/p.yaml", support::POLICY);
        let said = world.try_start().expect_err(config);
        assert!(said.contains(said_of), "{config}: {said}");
        assert!(!world.database().exists());
    }
}

// Rule R10: cost of refusals

#[test]
fn r10_refusals_beyond_the_budget_are_only_counted() {
    let mut world = World::new();
    let mut predicate = world.authorization("plain:true", json!({}));
    predicate["boundary"]["epoch"] = json!("0".repeat(32));
    let signed = envelope(&people::authorization(&predicate), &[&alice()]);
    for _ in 0..70 {
        world.submit(&signed).problem("revoked");
    }
    for _ in 0..5 {
        world
            .wire
            .post_bytes("/v1/authorizations", &world.agent, b"{}")
            .problem("malformed");
        world
            .wire
            .post("/v1/authorizations", "cst_x", &json!({}))
            .problem("unauthenticated");
    }
    let mut singles = 0;
    wait_for("sixty refusals are logged", || {
        singles = world.count("refusal");
        singles >= 60
    });
    // Each principal has a separate budget.
    world.submit_as(&world.courier, &signed).problem("revoked");
    wait_for("it is logged", || world.count("refusal") == 61);
    world.restart();
    let refusals: Vec<Value> = world
        .log()
        .into_iter()
        .filter(|(kind, _)| kind == "refusal")
        .map(|(_, one)| one["predicate"].clone())
        .collect();
    let (summaries, singles): (Vec<_>, Vec<_>) =
        refusals.iter().partition(|one| one.get("counts").is_some());
    assert_eq!((singles.len(), summaries.len()), (61, 1), "{summaries:#?}");
    assert_eq!(summaries[0]["counts"]["revoked"], 10, "{summaries:#?}");
    let digest = people::sha256(&people::authorization(&predicate));
    for one in singles {
        assert_eq!(one["code"], "revoked");
        assert!(["agent", "courier"].contains(&one["principal"].as_str().unwrap()));
        assert!(
            !one.to_string().contains("because"),
            "digests instead of text"
        );
    }
    assert!(
        world.log().iter().any(|(kind, one)| kind == "refusal"
            && one["subject"][0]["digest"]["sha256"] == json!(digest))
    );
}

#[test]
fn more_people_may_sign_than_an_envelope_can_contain() {
    let people: Vec<Key> = (100..117)
        .map(|seed| Key::of(format!("p{seed}").leak(), seed))
        .collect();
    let world = World::with(|setup| {
        for key in &people {
            setup.roster["approvers"][key.name] =
                json!({"groups": ["ops"], "keys": [key.ssh.line()]});
        }
    });
    let proposal = world.propose("each:go", json!({}));
    for key in &people {
        let signed = world.sign(&proposal, &[key]);
        assert_eq!(signed.status, 200, "{}", signed.text());
    }
    assert_eq!(world.sign(&proposal, &[&bob()]).status, 200);
    let finished = world.until(id_of(&proposal), "finished");
    let approvers = world.receipt(&finished)["decision"]["approvers"].clone();
    assert_eq!(
        approvers.as_array().map(Vec::len),
        Some(16),
        "as many as an envelope holds: {approvers}"
    );
    assert!(
        approvers
            .as_array()
            .is_some_and(|names| names.contains(&json!("bob"))),
        "the only one of security"
    );
    world.assert_verified(&finished);
}
