//! Stores of other versions: the use of a store of 0.2.0 with its first schema, and the refusal of unknown schemas.
//!
//! `tests/stores/README.md` describes how each fixture was made.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Output;

use super::packed_tiles::{fill_a_tile, tiles};
use crate::support::people::{self, Key, alice, bob, envelope};
use crate::support::{self, SMALL, World, exited, id_of, runbook, said, wait_for};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/stores")
        .join(name)
}

/// Copies a directory. The copies are private to their owner.
pub(super) fn copy_tree(world: &World, from: &Path, to: &str) {
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = format!("{to}/{}", entry.file_name().to_str().unwrap());
        if entry.path().is_dir() {
            copy_tree(world, &entry.path(), &to);
        } else {
            world.write(&to, "");
            fs::write(world.path(&to), fs::read(entry.path()).unwrap()).unwrap();
        }
    }
}

fn run(world: &World, arguments: &[&str]) -> Output {
    world
        .program(arguments)
        .args(["--url", "http://127.0.0.1:1"])
        .output()
        .unwrap()
}

/// Adds the steps of the fixture's boundary.
fn steps(setup: &mut support::Setup) {
    let line = "echo \"line $i of an output that is a file of its own\"";
    let large = format!("i=0; while [ $i -lt 1500 ]; do {line}; i=$((i+1)); done");
    setup.runbook("big.md", runbook(SMALL, &[("go", &large)]));
    setup.runbook(
        "both.md",
        runbook(SMALL, &[("go", "echo one\necho two >&2\necho three")]),
    );
}

/// Writes a file of the fixture.
fn keep(bytes: &[u8], name: &str) {
    let path = fixture("0.2.0").join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

fn keep_tree(from: &Path, to: &str) {
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = format!("{to}/{}", entry.file_name().to_str().unwrap());
        if entry.path().is_dir() {
            keep_tree(&entry.path(), &to)
        } else {
            keep(&fs::read(entry.path()).unwrap(), &to)
        }
    }
}

/// Makes `tests/stores/0.2.0`: a boundary with rows in every table except the table of full tiles, and with a log entry
/// of every kind.
fn write_0_2_0() {
    let mut world = World::with(steps);
    let small = world.run("say:echo", json!({"text": "kept"}), &[&alice()]);
    let large = world.run("big:go", json!({}), &[&alice()]);
    world.run("plain:fail", json!({}), &[&bob()]);
    world.run("both:go", json!({}), &[&alice()]);
    // A second roster version with two signatures, and the seal that states it.
    let grace = Key::of("grace", 40);
    world.write("grace.pub", &format!("{}\n", grace.ssh.line()));
    let (home, public) = (world.path("b"), world.path("grace.pub"));
    let mut add = world.program(&[
        "roster", "add", "approver", "grace", "--group", "ops", "--config",
    ]);
    exited(add.arg(&home).arg("--key").arg(public).output().unwrap(), 0);
    let draft = fs::read(world.path(support::DRAFT)).unwrap();
    let payload = people::roster_statement(&serde_json::from_slice(&draft).unwrap());
    world.write(
        "b/boundary/roster.d/2.json",
        &people::roster_version(&payload, &[&alice(), &bob()]).to_string(),
    );
    world.restart();
    assert_eq!(world.wire.peek("/ready").ok(200)["roster"]["version"], 2);
    let two = world.run("two:go", json!({"text": "both"}), &[&alice(), &bob()]);
    // Proposals of every status, a denial without a proposal, and a refusal.
    let denied = world.propose("plain:true", json!({}));
    world.deny(&denied, &alice()).ok(200);
    let early = people::authorization(&world.authorization("plain:true", json!({})));
    let denial = envelope(
        &people::denial(&world.boundary(), &early, "no"),
        &[&alice()],
    );
    world
        .wire
        .post(
            "/v1/denials",
            "",
            &json!({"payload": STANDARD.encode(&early), "denial": denial}),
        )
        .ok(200);
    let cancelled = world.propose("plain:fail", json!({}));
    world
        .wire
        .post(
            &format!("/v1/proposals/{}/cancellation", id_of(&cancelled)),
            &world.agent,
            &json!({}),
        )
        .ok(200);
    let whole = envelope(
        &people::authorization(&world.authorization("plain:true", json!({}))),
        &[&alice()],
    );
    world.submit(&whole).ok(200);
    world.submit(&whole).problem("nonce-replayed");
    let mut wish = World::wish("plain:true", json!({}));
    wish["expires_in_s"] = json!(1);
    let expired = world
        .wire
        .post("/v1/proposals", &world.agent, &wish)
        .ok(201);
    world.until(id_of(&expired), "expired");
    let half = world.propose("two:go", json!({"text": "one of two"}));
    world.sign(&half, &[&alice()]).ok(200);
    world.propose("two:go", json!({"text": "nobody yet"}));
    for (name, finished) in [("small", &small), ("large", &large), ("two", &two)] {
        keep(&world.bundle(finished), &format!("{name}.bundle.json"));
    }
    // A run that is open at the crash: the next start writes its receipt.
    let running = world.propose("plain:wait", json!({}));
    world.sign(&running, &[&alice()]).ok(200);
    world.until(id_of(&running), "running");
    wait_for("the head is kept", || {
        fs::read_to_string(world.path("b/boundary/checkpoint"))
            .is_ok_and(|kept| kept == world.wire.peek("/log/checkpoint").text())
    });
    world.kill9();
    let database = rusqlite::Connection::open(world.database()).unwrap();
    database
        .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
        .unwrap();
    drop(database);
    for name in [
        "countersign.toml",
        "boundary/policy.yaml",
        "boundary/checkpoint",
        "boundary/countersign.db",
    ] {
        keep(
            &fs::read(world.path("b").join(name)).unwrap(),
            &format!("b/{name}"),
        );
    }
    for name in ["runbooks", "boundary/roster.d", "boundary/outputs"] {
        keep_tree(&world.path("b").join(name), &format!("b/{name}"));
    }
}

/// A boundary from a copy of the fixture, not started. Its key is a test key with a fixed seed.
pub(super) fn of_0_2_0(config: &str) -> World {
    of_0_2_0_in(None, config)
}

/// Does the same as [`of_0_2_0`] in a directory that stays.
pub(super) fn of_0_2_0_in(dir: Option<&Path>, config: &str) -> World {
    let mut world = World::prepared(|setup| {
        steps(setup);
        setup.dir = dir.map(Path::to_owned);
    });
    let key = fs::read(world.path("b/boundary/key.pem")).unwrap();
    fs::remove_dir_all(world.path("b")).unwrap();
    copy_tree(&world, &fixture("0.2.0/b"), "b");
    fs::set_permissions(world.path("b/boundary"), fs::Permissions::from_mode(0o700)).unwrap();
    world.write("b/boundary/key.pem", std::str::from_utf8(&key).unwrap());
    let kept = fs::read_to_string(world.path("b/countersign.toml")).unwrap();
    world.write(
        "b/countersign.toml",
        &kept.replacen("[limits]", &format!("{config}\n[limits]"), 1),
    );
    world.setup.config = config.to_owned();
    world
}

/// Starts the boundary and makes tokens, because the fixture contains only the digests of its tokens.
pub(super) fn serve(world: &mut World) {
    world.start();
    world.agent = world.token("later-agent", &["carol"], &["propose"]);
    world.reader = world.token("later-reader", &[], &["read"]);
}

fn sound(world: &World, more: &[&str]) {
    let home = world.path("b").to_str().unwrap().to_owned();
    exited(
        run(
            world,
            &[&["store", "--json", "check", "--config", &home], more].concat(),
        ),
        0,
    );
}

#[test]
fn a_store_of_0_2_0_is_checked_served_audited_backed_up_restored_pruned_and_packed() {
    if std::env::var_os("COUNTERSIGN_WRITE_VECTORS").is_some() {
        let _ = fs::remove_dir_all(fixture("0.2.0"));
        write_0_2_0();
    }
    let mut world = of_0_2_0("");
    let rows = |table: &str| -> i64 {
        let database = rusqlite::Connection::open(world.database()).unwrap();
        database
            .query_row(&format!("SELECT count(*) FROM {table}"), [], |row| {
                row.get(0)
            })
            .unwrap()
    };
    for table in [
        "state",
        "leaf",
        "checkpoint",
        "seal",
        "blob",
        "proposal",
        "payload",
        "crossing",
        "nonce",
        "signature",
        "denial",
        "output",
        "output_of",
        "output_order",
        "denial WHERE ahead = 1",
        "token",
    ] {
        assert!(rows(table) > 0, "no row: {table}");
    }
    for kind in 1..=5 {
        assert!(
            rows(&format!("leaf WHERE kind = {kind}")) > 0,
            "no entry of kind {kind}"
        );
    }
    sound(&world, &[]);
    // The bundles of both roster versions verify with the first roster version.
    for name in ["small", "large", "two"] {
        let bundle = fixture(&format!("0.2.0/{name}.bundle.json"));
        let roster = fixture("0.2.0/b/boundary/roster.d/1.json");
        let output = run(
            &world,
            &[
                "verify",
                bundle.to_str().unwrap(),
                "--roster",
                roster.to_str().unwrap(),
            ],
        );
        assert_eq!(output.status.code(), Some(0), "{name}: {}", said(&output));
    }
    // The service closes the open run with a receipt, keeps the finished runs and accepts new runs.
    let before = fs::read_to_string(fixture("0.2.0/b/boundary/checkpoint")).unwrap();
    serve(&mut world);
    let origin = world.wire.peek("/log/checkpoint").text();
    assert_eq!(origin.lines().next(), before.lines().next(), "the same log");
    let status = |world: &World, step: &str| -> Vec<String> {
        let page = world.wire.get("/v1/proposals", &world.reader).ok(200);
        let proposals = page["proposals"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|one| one["step"] == step);
        proposals
            .map(|one| one["status"].as_str().unwrap().to_owned())
            .collect()
    };
    wait_for("what was cut off has its receipt", || {
        status(&world, "plain:wait") == ["finished"]
    });
    world.assert_verified(&world.run("say:echo", json!({"text": "later"}), &[&alice()]));
    world.check_history();
    world.assert_audited();
    // Backup, and restore into a log that follows this log.
    let backup = world.path("backup").to_str().unwrap().to_owned();
    let home = world.path("b").to_str().unwrap().to_owned();
    exited(
        run(&world, &["store", "backup", "--config", &home, &backup]),
        0,
    );
    sound(&world, &[&backup]);
    let roster = world.started["roster"].as_str().unwrap().to_owned();
    world.stop();
    exited(run(&world, &["audit", &backup, "--roster", &roster]), 0);
    fs::remove_file(world.database()).unwrap();
    exited(
        run(
            &world,
            &[
                "store",
                "restore",
                "--config",
                &home,
                &backup,
                "--keep-tokens",
                "all",
            ],
        ),
        0,
    );
    world.start();
    world.assert_verified(&world.run("say:echo", json!({"text": "in the next log"}), &[&alice()]));
    // Pruning: outputs are deleted after their retention, and `store check` finds no defect.
    let mut world = of_0_2_0("[retention]\noutputs = \"1s\"\nproposals = \"1s\"\npack = \"1s\"\n");
    serve(&mut world);
    let outputs = |world: &World| -> i64 {
        let database = rusqlite::Connection::open(world.database()).unwrap();
        database
            .query_row("SELECT count(*) FROM output", [], |row| row.get(0))
            .unwrap()
    };
    wait_for("retention has ended", || outputs(&world) == 0);
    sound(&world, &[]);
    world.assert_audited();
    // Packing: the entries of both versions fill a tile. After the long pause of this boundary, the low-water mark reaches the
    // present at the next start.
    fill_a_tile(&world);
    world.restart();
    wait_for("the tile is packed", || tiles(&world) == 1);
    sound(&world, &[]);
    world.assert_audited();
}

#[test]
fn a_store_with_an_unknown_schema_is_refused_by_every_command_and_stays_unchanged() {
    // A build before 1.0 wrote schema 5.
    assert_schema_refused(5, "was made before 1.0");
    assert_schema_refused(99, "has schema 99, ");
}

fn assert_schema_refused(schema: u32, words: &str) {
    let mut world = of_0_2_0("");
    copy_tree(&world, &fixture("0.2.0/b/boundary"), "newer");
    for database in [world.database(), world.path("newer/countersign.db")] {
        let database = rusqlite::Connection::open(database).unwrap();
        let other = format!("CREATE TABLE other (one INTEGER); PRAGMA user_version = {schema}");
        database.execute_batch(&other).unwrap();
    }
    let bytes = |world: &World| {
        [world.database(), world.path("newer/countersign.db")].map(|path| fs::read(path).unwrap())
    };
    let before = bytes(&world);
    let told = |text: &str| text.contains(words);
    let refused = world.try_start().expect_err("another schema");
    assert!(told(&refused), "{refused}");
    let [home, newer, copy] =
        ["b", "newer", "copy"].map(|name| world.path(name).to_str().unwrap().to_owned());
    let roster = fixture("0.2.0/b/boundary/roster.d/1.json")
        .to_str()
        .unwrap()
        .to_owned();
    for (arguments, code) in [
        (vec!["doctor", &home], 1),
        (vec!["store", "check", "--config", &home], 2),
        (vec!["store", "check", "--config", &home, &newer], 2),
        (vec!["store", "backup", "--config", &home, &copy], 2),
        (vec!["token", "create", "late", "--config", &home], 2),
        (vec!["token", "list", "--config", &home], 2),
        (vec!["audit", &newer, "--roster", &roster], 2),
        (vec!["log", "export", &copy, "--from", &newer], 2),
    ] {
        let output = run(&world, &arguments);
        assert_eq!(
            output.status.code(),
            Some(code),
            "{arguments:?}: {}",
            said(&output)
        );
        assert!(told(&said(&output)), "{arguments:?}: {}", said(&output));
    }
    assert!(!world.path("copy").exists());
    assert!(
        bytes(&world) == before,
        "a refused store has the same bytes"
    );
    // A restore into an empty place needs a readable backup too.
    fs::remove_file(world.database()).unwrap();
    let output = run(&world, &["store", "restore", "--config", &home, &newer]);
    assert!(
        output.status.code() == Some(2) && told(&said(&output)),
        "{}",
        said(&output)
    );
    assert!(
        !world.database().exists(),
        "a refused restore writes no store"
    );
}
