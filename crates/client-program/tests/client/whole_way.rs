//! The work of proposers, approvers, auditors and CI with the client, against a boundary of the whole program.

use std::fs;
use std::path::Path;
use std::process::Output;

use crate::support::people::{Key, alice, bob, payload_of, sha256};
use crate::support::{World, id_of, said};
use serde_json::{Value, json};

/// Runs the client with the token of the agent.
fn agent(world: &World, words: &[&str]) -> Output {
    let mut command = world.program(words);
    command
        .args(["--url", &world.wire.url])
        .env("COUNTERSIGN_TOKEN", &world.agent)
        .output()
        .expect("it starts")
}

/// Runs the client with the key of a person who trusts the roster of this boundary.
fn person(world: &World, key: &Key, words: &[&str]) -> Output {
    let pem = format!("{}.pem", key.name);
    world.write(&pem, key.secret.to_pkcs8_v1_pem().as_str());
    let roster = world.started["roster"].as_str().expect("a digest");
    let mut command = world.program(words);
    command
        .args(["--url", &world.wire.url, "--roster", roster, "--key"])
        .arg(world.path(&pem));
    command.output().expect("it starts")
}

#[track_caller]
fn ended(output: &Output, code: i32) -> String {
    assert_eq!(output.status.code(), Some(code), "{}", said(output));
    said(output)
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

#[test]
fn a_run_is_proposed_and_approved_and_verified_and_audited_with_the_client_alone() {
    let world = World::new();
    let listed = ended(&agent(&world, &["registry", "list"]), 0);
    assert!(listed.contains("two:go"), "{listed}");
    assert!(ended(&agent(&world, &["registry", "show", "two:go"]), 0).contains("PARAM_TEXT"));
    let proposed = agent(
        &world,
        &["propose", "two:go", "-p", "text=from the client", "--json"],
    );
    ended(&proposed, 0);
    let proposal: Value = serde_json::from_slice(&proposed.stdout).expect("JSON");
    let (id, digest) = (
        id_of(&proposal),
        proposal["digest"].as_str().expect("a digest"),
    );

    let inbox = ended(&person(&world, &alice(), &["inbox"]), 0);
    assert!(inbox.contains(&id[id.len() - 6..]), "{inbox}");
    let review = ended(&person(&world, &alice(), &["review", id]), 0);
    assert!(
        review.contains("from the client") && review.contains("0 of 2"),
        "{review}"
    );
    let other = format!("sha256:{}", "0".repeat(64));
    ended(
        &person(
            &world,
            &alice(),
            &["approve", id, "--yes", "--expect", &other],
        ),
        126,
    );
    for key in [alice(), bob()] {
        ended(
            &person(&world, &key, &["approve", id, "--yes", "--expect", digest]),
            0,
        );
    }

    let bundle = world.path("run.bundle.json");
    let waited = ended(&agent(&world, &["wait", id, "--bundle", text(&bundle)]), 0);
    assert!(waited.contains("from the client\n"), "{waited}");
    assert!(ended(&agent(&world, &["output", id]), 0).contains("from the client"));
    let (code, report) = world.verify(&fs::read(&bundle).expect("a bundle"));
    assert_eq!(
        (code, &report["report"]["verified"]),
        (0, &json!(true)),
        "{report:#}"
    );
    let forged =
        fs::read_to_string(&bundle)
            .expect("a bundle")
            .replacen("\"sig\":\"A", "\"sig\":\"B", 1);
    let forged = if forged == fs::read_to_string(&bundle).expect("a bundle") {
        forged.replacen("\"sig\":\"", "\"sig\":\"A", 1)
    } else {
        forged
    };
    assert_ne!(world.verify(forged.as_bytes()).0, 0);

    world.assert_audited();
    let copy = world.export("copy");
    let roster = world.started["roster"].as_str().expect("a digest");
    let audited = world
        .program(&["audit", "--roster", roster])
        .arg(&copy)
        .output()
        .expect("it starts");
    assert!(ended(&audited, 0).contains("every entry is correct"));
    let blob = fs::read_dir(copy.join("blob/sha256"))
        .expect("blobs")
        .next()
        .expect("a blob")
        .expect("an entry");
    fs::write(blob.path(), "changed").expect("written");
    let audited = world
        .program(&["audit", "--roster", roster])
        .arg(&copy)
        .output()
        .expect("it starts");
    ended(&audited, 1);
    assert!(ended(&agent(&world, &["log", "checkpoint"]), 0).contains("\u{2014} "));
}

#[test]
fn a_denial_and_a_withdrawal_and_an_envelope_signed_elsewhere_work_with_the_client() {
    let world = World::new();
    let propose = |text: &str| {
        let output = agent(
            &world,
            &[
                "propose",
                "say:echo",
                "-p",
                &format!("text={text}"),
                "--json",
            ],
        );
        ended(&output, 0);
        serde_json::from_slice::<Value>(&output.stdout).expect("JSON")
    };
    let denied = propose("denied");
    ended(
        &person(
            &world,
            &alice(),
            &["deny", id_of(&denied), "--yes", "--reason", "no"],
        ),
        0,
    );
    ended(&agent(&world, &["wait", id_of(&denied)]), 123);
    let withdrawn = propose("withdrawn");
    ended(&agent(&world, &["cancel", id_of(&withdrawn)]), 0);
    ended(&agent(&world, &["wait", id_of(&withdrawn)]), 126);

    let (statement, signed) = (world.path("statement.json"), world.path("signed.json"));
    let words = [
        "propose",
        "say:echo",
        "-p",
        "text=offline",
        "--offline",
        "--proposer",
        "agent",
        "-o",
        text(&statement),
    ];
    ended(&agent(&world, &words), 0);
    let payload =
        payload_of(&serde_json::from_slice(&fs::read(&statement).expect("a file")).expect("JSON"));
    let digest = format!("sha256:{}", sha256(&payload));
    let words = [
        "approve",
        text(&statement),
        "--yes",
        "--expect",
        &digest,
        "-o",
        text(&signed),
    ];
    ended(&person(&world, &alice(), &words), 0);
    assert!(ended(&agent(&world, &["submit", text(&signed)]), 0).contains("offline"));
}

#[test]
fn approvers_sign_the_next_roster_with_the_client_and_the_boundary_takes_it() {
    let mut world = World::new();
    let made = world
        .program(&["key", "generate", "--out"])
        .arg(world.path("grace.pem"))
        .output()
        .expect("it starts");
    ended(&made, 0);
    let mut draft = world.boundary_command(&[
        "roster", "add", "approver", "grace", "--group", "ops", "--config",
    ]);
    let drafted = draft
        .arg(world.path("b"))
        .arg("--key")
        .arg(world.path("grace.pub"))
        .output()
        .expect("it starts");
    let drafted = ended(&drafted, 0);
    let first = drafted.lines().next().expect("a line");
    let (_, digest) = first.rsplit_once(' ').expect("a digest");
    let draft = world.path("b/boundary/roster.d/next.json");
    let version = world.path("b/boundary/roster.d/2.json");
    let mut files = Vec::new();
    for key in [alice(), bob()] {
        let file = world.path(&format!("from-{}.json", key.name));
        world.write(
            &format!("{}.pem", key.name),
            key.secret.to_pkcs8_v1_pem().as_str(),
        );
        let mut sign = world.program(&["roster", "sign", "--yes", "--expect", digest, "--roster"]);
        sign.arg(world.started["roster"].as_str().expect("a digest"))
            .arg("--key");
        sign.arg(world.path(&format!("{}.pem", key.name)))
            .arg("-o")
            .arg(&file)
            .arg(&draft);
        let signed = ended(&sign.output().expect("it starts"), 0);
        assert!(
            signed.contains(&format!("signed by {}", key.name)),
            "{signed}"
        );
        files.push(file);
    }
    let merged = world
        .program(&["roster", "merge"])
        .arg(&draft)
        .args(&files)
        .output()
        .expect("it starts");
    assert!(ended(&merged, 0).contains("the signatures are complete"));
    let shown = world
        .program(&["roster", "show"])
        .arg(&version)
        .output()
        .expect("it starts");
    let shown = ended(&shown, 0);
    assert!(shown.contains("grace") && shown.contains(digest), "{shown}");
    world.restart();
    assert_eq!(
        world.wire.peek("/ready").ok(200)["roster"]["version"],
        json!(2)
    );
}

#[test]
fn the_completions_of_the_client_offer_its_commands_and_the_steps_of_a_boundary() {
    let world = World::new();
    let script = ended(
        &world
            .program(&["completions", "bash"])
            .output()
            .expect("it starts"),
        0,
    );
    assert!(
        script.contains("COMPLETE=bash") && script.contains("complete -o bashdefault"),
        "{script}"
    );
    let mut call = world.program(&["--", "countersign", ""]);
    call.env("COMPLETE", "bash")
        .env("_CLAP_COMPLETE_INDEX", "1")
        .env("_CLAP_IFS", "\n");
    let words = ended(&call.output().expect("it starts"), 0);
    let has = |name: &str| words.lines().any(|word| word == name);
    assert!(
        has("propose") && ["serve", "doctor", "store"].iter().all(|name| !has(name)),
        "{words}"
    );
    let mut call = world.program(&["--", "countersign", "propose", "two"]);
    call.env("COUNTERSIGN_URL", &world.wire.url)
        .env("COUNTERSIGN_TOKEN", &world.agent);
    call.env("COMPLETE", "bash")
        .env("_CLAP_COMPLETE_INDEX", "2")
        .env("_CLAP_IFS", "\n");
    assert_eq!(ended(&call.output().expect("it starts"), 0), "two:go");
}
