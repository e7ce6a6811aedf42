//! Bundles whose chain of rosters begins with a later version, and the versions that a person fetches.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::roster_chain::Rosters as _;
use crate::mcp_proxy::proxy;
use crate::support::pages::Pages;
use crate::support::people::{Key, alice, bob, next_roster, roster_version};
use crate::support::wire::Reply;
use crate::support::{World, assert_says, exited, id_of, said, wait_for};

/// Puts versions of the roster in force, up to this version.
fn put_in_force(world: &mut World, last: u64) {
    for version in 2..=last {
        let payload = next_roster(&world.envelope_of(version - 1), |_| {});
        let signed = roster_version(&payload, &[&alice(), &bob()]);
        world.put_version(version, &signed);
    }
    world.restart();
    assert_eq!(world.in_force(), last, "{}", world.notes());
}

fn world_with_versions(last: u64) -> World {
    let mut world = World::new();
    put_in_force(&mut world, last);
    world
}

/// Asserts that a list of versions begins with this version in full, and ends with the last version.
#[track_caller]
fn assert_versions(world: &World, versions: &Value, first: u64, last: u64) {
    let found = versions.as_array().expect("a list");
    assert_eq!(found.len() as u64, last + 1 - first, "{versions:#}");
    assert_eq!(found[0], world.envelope_of(first), "{versions:#}");
}

/// Writes the bundle of a run, which begins with this version of the roster.
fn late_bundle(world: &World, finished: &Value, first: u64) -> PathBuf {
    let receipt = finished["receipt"].as_str().expect("a receipt");
    let path = format!("/v1/receipts/{receipt}/bundle?from_roster={first}");
    let bundle = world.wire.get(&path, &world.reader).ok(200);
    world.write("late.bundle.json", &bundle.to_string());
    world.path("late.bundle.json")
}

/// Makes a directory with these versions of the roster.
fn directory_of(world: &World, versions: &[u64]) -> String {
    let names: Vec<String> = versions.iter().map(u64::to_string).collect();
    let name = format!("versions-{}", names.join("-"));
    for version in versions {
        let text = world.envelope_of(*version).to_string();
        world.write(&format!("{name}/{version}.json"), &text);
    }
    world.path(&name).to_string_lossy().into_owned()
}

/// Runs a command and returns its output. Lines that the program broke are whole again.
fn run(world: &World, words: &[&str], bundle: &Path) -> (i32, String) {
    let output = world.program(words).arg(bundle).output().expect("started");
    let code = output.status.code().expect("a code");
    (
        code,
        said(&output)
            .split_whitespace()
            .filter(|word| *word != "+")
            .collect::<Vec<_>>()
            .join(" "),
    )
}

#[test]
fn propose_with_from_roster_writes_a_bundle_that_begins_with_this_version() {
    let world = world_with_versions(3);
    let bundle = world.path("proposed.bundle.json");
    let propose = |first: &str, bundle: &Path| -> Output {
        let mut command = world.program(&["--url", &world.wire.url, "propose", "plain:true"]);
        command
            .args([
                "--new",
                "--reason",
                "because",
                "--wait",
                "--from-roster",
                first,
                "--bundle",
            ])
            .arg(bundle)
            .env("COUNTERSIGN_TOKEN", &world.agent);
        command.output().expect("propose")
    };
    exited(propose("x", &bundle), 2);
    assert_eq!(world.list("pending").len(), 0);
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| propose("2", &bundle));
        wait_for("the proposal waits", || !world.list("pending").is_empty());
        world
            .sign(&world.show(id_of(&world.list("pending")[0])), &[&alice()])
            .ok(200);
        exited(waits.join().expect("joined"), 0);
    });
    let written = fs::read(&bundle).expect("a bundle");
    let read: Value = serde_json::from_slice(&written).expect("JSON");
    assert_versions(&world, &read["roster"], 2, 3);
    assert_eq!(world.verify_pinned(&written, &world.pinned(2)).0, 0);
    assert_eq!(world.verify_pinned(&written, &world.pinned(1)).0, 2);
}

#[test]
fn a_query_for_versions_begins_with_the_nearest_version_and_refuses_what_is_no_number() {
    let world = world_with_versions(3);
    let finished = world.run("plain:true", json!({}), &[&alice()]);
    let receipt = finished["receipt"].as_str().expect("a receipt").to_owned();
    let bundle = |first: &str| {
        let path = format!("/v1/receipts/{receipt}/bundle?from_roster={first}");
        world.wire.get(&path, &world.reader)
    };
    let rosters = |first: &str| {
        let path = format!("/v1/rosters?from={first}");
        world.wire.get(&path, &world.reader)
    };
    let most = u64::MAX.to_string();
    for (asked, first) in [
        ("0", 1),
        ("1", 1),
        ("2", 2),
        ("3", 3),
        ("4", 3),
        ("65537", 3),
        (&*most, 3),
    ] {
        let found = bundle(asked);
        assert_versions(&world, &found.ok(200)["roster"], first, 3);
        // A person who trusts the first version of the bundle can verify it.
        assert_eq!(world.verify_pinned(&found.body, &world.pinned(first)).0, 0);
        assert_versions(&world, &rosters(asked).ok(200), first, 3);
    }
    let beyond = format!("{most}0");
    for asked in ["", "x", "-1", "1.5", "1%20", &beyond] {
        let refusals: [Reply; 2] = [bundle(asked), rosters(asked)];
        for refused in refusals {
            refused.problem("malformed");
        }
    }
}

#[test]
fn the_first_version_of_the_bundles_in_the_configuration_is_a_number_up_to_65536() {
    let mut world = world_with_versions(3);
    let config = fs::read_to_string(world.path("b/countersign.toml")).expect("a file");
    let set = |world: &World, first: &str| {
        let text = format!("bundles_from_roster = {first}\n{config}");
        world.write("b/countersign.toml", &text);
    };
    world.stop();
    for first in ["0", "65537", "-1", "\"2\""] {
        set(&world, first);
        let refused = world.try_start().expect_err("a wrong number");
        assert_says(refused, "bundles_from_roster");
    }
    // A boundary whose roster has fewer versions gives the last one, which every bundle needs.
    for (set_to, first) in [("2", 2), ("65536", 3)] {
        set(&world, set_to);
        world.start();
        let finished = world.run("plain:true", json!({}), &[&alice()]);
        let bundle = world.bundle(&finished);
        let read: Value = serde_json::from_slice(&bundle).expect("JSON");
        assert_versions(&world, &read["roster"], first, 3);
        assert_eq!(world.verify_pinned(&bundle, &world.pinned(first)).0, 0);
        assert_eq!(world.verify_pinned(&bundle, &world.pinned(1)).0, 2);
        // A call can ask for earlier versions than those of the configuration.
        let whole = late_bundle(&world, &finished, 1);
        let whole = fs::read(whole).expect("a bundle");
        assert_eq!(world.verify_pinned(&whole, &world.pinned(1)).0, 0);
        world.stop();
    }
}

#[test]
fn missing_versions_in_a_directory_decide_a_bundle_that_begins_later() {
    let world = world_with_versions(4);
    let finished = world.run("plain:true", json!({}), &[&alice()]);
    let bundle = late_bundle(&world, &finished, 4);
    let boundary = world.started["id"].as_str().expect("an id");
    let gate = [
        "gate",
        "--step",
        "plain:true",
        "--any-digest",
        "--any-params",
        "--max-age",
        "1d",
        "--boundary",
        boundary,
        "--allow-unchecked",
        "keys-still-rostered",
        "--allow-unchecked",
        "seal-in-force",
        "--allow-unchecked",
        "revocations",
        "--allow-unchecked",
        "witnesses",
    ];
    let decided = |versions: &[u64], code: i32, words: &str| {
        let roster = directory_of(&world, versions);
        let verify = ["verify", "--roster", &roster];
        let (verified, text) = run(&world, &verify, &bundle);
        assert_eq!(verified, code, "{versions:?}: {text}");
        assert_says(&text, words);
        let (passed, text) = run(
            &world,
            &[&gate[..], &["--roster", &roster]].concat(),
            &bundle,
        );
        assert_eq!(passed == 0, code == 0, "{versions:?}: {text}");
        let state = if code == 0 { "gate open" } else { "gate SHUT" };
        assert_says(&text, state);
        let mut console = world.program(&["console", "--roster", &roster, "--audit"]);
        console.arg(&bundle);
        let page = Pages::start(console).get("/").body;
        let holds = page.contains("data-verdict=\"holds\"");
        assert_eq!(holds, code == 0, "{versions:?}: {page}");
    };
    decided(&[1], 2, "versions 2 to 3 of the roster are missing");
    decided(&[1, 2], 2, "version 3 of the roster is missing");
    decided(&[1, 3], 0, "not checked");
    decided(&[1, 2, 3], 0, "not checked");
    decided(&[4], 0, "not checked");
}

/// What a person asked the boundary for, in order.
#[derive(Default)]
struct Asked(Mutex<Vec<String>>);

impl Asked {
    fn take(&self, begin: &str) -> Vec<String> {
        let all = std::mem::take(&mut *self.0.lock().expect("a lock"));
        let wanted = all.into_iter().filter(|line| line.starts_with(begin));
        wanted.collect()
    }
}

/// Returns the digests of the lists of versions that the seals of the log name.
fn blobs_of_rosters(world: &World) -> Vec<String> {
    let log = world.log();
    let seals = log.iter().filter(|(kind, _)| kind == "seal");
    let named = seals.filter_map(|(_, seal)| seal["predicate"]["rosters"].as_str());
    let blobs: Vec<String> = named
        .map(|digest| digest.trim_start_matches("sha256:").to_owned())
        .collect();
    assert!(!blobs.is_empty(), "no seal names versions");
    blobs
}

#[test]
fn a_person_fetches_only_the_versions_after_the_one_before_the_trusted_version() {
    let world = world_with_versions(5);
    let asked = Arc::new(Asked::default());
    let (noted, second) = (asked.clone(), world.envelope_of(3));
    let url = proxy(&world, move |request, status, body| {
        noted
            .0
            .lock()
            .expect("a lock")
            .push(request.line.to_owned());
        // The answer has no earlier version than the call asks for.
        if request.line.starts_with("GET /v1/rosters") {
            let versions: Value = serde_json::from_slice(&body).expect("JSON");
            assert_eq!(versions[0], second);
        }
        Some((status, body))
    });
    world.write("trusted.json", &world.envelope_of(4).to_string());
    let trusted = world.path("trusted.json").to_string_lossy().into_owned();
    let as_person = |words: &[&str], key: &Key| {
        let mut command = world.program(&["--url", &url]);
        command.args(words).args(["--roster", &trusted, "--key"]);
        command.arg(world.pem(key)).output().expect("started")
    };
    let proposal = world.propose("two:go", json!({}));
    let (id, digest) = (
        id_of(&proposal),
        proposal["digest"].as_str().expect("a digest"),
    );
    for words in [
        &["review", id][..],
        &["approve", id, "--yes", "--expect", digest],
    ] {
        exited(as_person(words, &alice()), 0);
        let lines = asked.take("GET ");
        let rosters = lines.iter().filter(|line| line.contains("/v1/rosters"));
        let rosters: Vec<&String> = rosters.collect();
        assert_eq!(rosters, ["GET /v1/rosters?from=3"], "{words:?}: {lines:#?}");
        for blob in blobs_of_rosters(&world) {
            assert!(!lines.iter().any(|line| line.contains(&blob)), "{lines:#?}");
        }
    }
}
