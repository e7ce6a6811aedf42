//! Stores of earlier versions: the upgrade of a 0.1.0 store, which the service refuses, and the use of a 0.2.0 store.
//!
//! `tests/stores/README.md` describes how each fixture was made.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Output;

use crate::support::people::{self, Key, alice, bob, boundary_key, envelope};
use crate::support::{self, SMALL, World, id_of, runbook, said, wait_for};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use countersign::crypto::{merkle, note};
use serde_json::{Value, json};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stores").join(name)
}

/// Copies a directory. The copies are private to their owner.
fn copy_tree(world: &World, from: &Path, to: &str) {
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
    world.program(arguments).args(["--url", "http://127.0.0.1:1"]).output().unwrap()
}

/// A boundary with a store of 0.1.0, one output and a closed log that the store's log follows.
fn of_0_1_0() -> World {
    let world = World::prepared(|_| {});
    copy_tree(&world, &fixture("0.1.0/backup"), "b/boundary");
    world.write("b/boundary/outputs/76/76ac", "an output");
    world.write("b/boundary/closed/00112233/checkpoint", "a head");
    world
}

fn upgrade(world: &World, more: &[&str]) -> Output {
    let home = world.path("b").to_str().unwrap().to_owned();
    let mut arguments = vec!["store", "upgrade", "--config", &home];
    arguments.extend(more);
    world.program(&arguments).output().unwrap()
}

fn upgraded(world: &World) -> Value {
    let output = upgrade(world, &["--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Asserts that the directory `0.1.0` contains everything of the old store, and that no temporary files remain.
fn assert_kept(world: &World) {
    let kept = world.path("b/boundary/0.1.0");
    let old = |path: PathBuf| -> (i64, Vec<(u64, Vec<u8>)>) {
        let database = rusqlite::Connection::open(path).unwrap();
        let schema = database.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
        let mut leaves = database.prepare("SELECT idx, data FROM leaf ORDER BY idx").unwrap();
        let leaves = leaves.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap().map(Result::unwrap);
        (schema, leaves.collect())
    };
    world.write("fixture.db", "");
    fs::copy(fixture("0.1.0/backup/countersign.db"), world.path("fixture.db")).unwrap();
    assert_eq!(old(kept.join("countersign.db")), old(world.path("fixture.db")));
    assert_eq!(fs::read_to_string(kept.join("outputs/76/76ac")).unwrap(), "an output");
    assert_eq!(fs::read_to_string(kept.join("closed/00112233/checkpoint")).unwrap(), "a head");
    let home = fs::read_dir(world.path("b/boundary")).unwrap();
    let mut names = home.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert!(!names.any(|name| name.contains("restoring")), "nothing is left of the way");
}

/// Asserts that the log of `world` follows the log of the fixture, whose last checkpoint is `note`.
fn assert_follows(world: &World, note: &str) {
    let (kind, first) = world.log().remove(0);
    let seal = &first["predicate"];
    assert_eq!((kind.as_str(), &seal["number"]), ("seal", &json!(0)));
    assert_eq!(seal["genesis"], json!({"follows": {"id": OLD_ID, "checkpoint": note}}));
    assert_eq!((seal["boundary"].get("id"), seal.get("previous")), (None, None));
}

const OLD_ID: &str = "sha256:2f6bf6d0e9dcca9beb55269187a7f3bea8814afeb6f59438bb993cad646546b5";

/// A checkpoint of the fixture's log, signed by `signer` under the name of the test boundary.
fn head_of_0_1_0(size: usize, signer: &Key) -> String {
    let database = rusqlite::Connection::open_with_flags(
        fixture("0.1.0/backup/countersign.db"),
        rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY,
    );
    let database = database.unwrap();
    let mut leaves = database.prepare("SELECT data FROM leaf ORDER BY idx").unwrap();
    let leaves = leaves.query_map([], |row| row.get::<_, Vec<u8>>(0)).unwrap();
    let hashes: Vec<_> = leaves.map(|data| merkle::leaf_hash(&data.unwrap())).take(size).collect();
    let origin = "prod/2f6bf6d0e9dcca9b";
    let body = format!("{origin}\n{size}\n{}\n", STANDARD.encode(merkle::root(&hashes)));
    let sign = |text: &[u8]| Ok::<_, ()>(signer.secret.sign(text));
    note::sign_note(&body, origin, &signer.secret.public(), sign).unwrap().to_string()
}

#[test]
fn a_store_of_version_0_1_0_is_refused_until_it_is_upgraded_to_a_new_log() {
    let mut world = of_0_1_0();
    copy_tree(&world, &fixture("0.1.0/backup"), "old");
    let refused = world.try_start().expect_err("a store of 0.1.0");
    let told = |said: &str| {
        said.contains("is a store of version 0.1.0, which this version can't use")
            && said.contains("Run `countersign store upgrade`")
            && !said.contains("malformed")
    };
    assert!(told(&refused), "{refused}");
    let [home, old, copy] = ["b", "old", "copy"].map(|name| world.path(name).to_str().unwrap().to_owned());
    let roster = fixture("0.1.0/roster.json").to_str().unwrap().to_owned();
    for (arguments, code) in [
        (vec!["doctor", &home], 1),
        (vec!["store", "check", "--config", &home], 2),
        (vec!["store", "check", "--config", &home, &old], 2),
        (vec!["store", "backup", "--config", &home, &copy], 2),
        (vec!["token", "create", "late", "--config", &home], 2),
        (vec!["audit", &old, "--roster", &roster], 2),
        (vec!["log", "export", &copy, "--from", &old], 2),
    ] {
        let output = run(&world, &arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", said(&output));
        assert!(told(&said(&output)), "{arguments:?}: {}", said(&output));
    }
    assert!(!world.path("copy").exists());
    // The upgrade to a new log.
    let note = fs::read_to_string(fixture("0.1.0/backup/checkpoint")).unwrap();
    let done = upgraded(&world);
    assert_eq!((&done["follows"], &done["entries"], &done["checkpoint"]), (&json!(OLD_ID), &json!(4), &json!(note)));
    // The key that signed the fixture no longer exists. The report must say that the checkpoint was not verified.
    assert_eq!(done["verified"], json!(false));
    assert!(done["notes"][0].as_str().unwrap().contains("was not verified"), "{done}");
    assert_kept(&world);
    assert_eq!(fs::read_to_string(world.path("b/boundary/0.1.0/checkpoint")).unwrap(), note);
    world.start();
    assert_eq!(world.started["id"], done["id"]);
    world.make_tokens();
    assert_follows(&world, &note);
    // A receipt of the new log names the id of the boundary, which is the digest of the first seal.
    let finished = world.run("plain:true", json!({}), &[&alice()]);
    world.assert_verified(&finished);
    let first = people::sha256(&people::canonical(&world.log()[0].1));
    assert_eq!(world.receipt(&finished)["boundary"]["id"], json!(format!("sha256:{first}")));
    let reported = world.started["roster"].as_str().unwrap();
    let audited = world
        .program(&["audit", "--json", &world.wire.url, "--url", &world.wire.url, "--roster", reported])
        .env("COUNTERSIGN_TOKEN", &world.reader)
        .output()
        .unwrap();
    assert!(audited.status.success(), "{}", said(&audited));
    let printed = String::from_utf8(audited.stdout).unwrap();
    let summary: Value = serde_json::from_str(printed.lines().last().unwrap()).unwrap();
    assert_eq!(summary["follows"], json!({"checkpoint": note, "id": OLD_ID}));
    // An authorization for the old log names the old id, so the boundary refuses the authorization.
    let mut spent = world.authorization("plain:true", json!({}));
    spent["boundary"]["id"] = json!(OLD_ID);
    world.submit(&envelope(&people::authorization(&spent), &[&alice()])).problem("wrong-boundary");
    // A second upgrade refuses, whether the service runs or not.
    let again = upgrade(&world, &[]);
    assert!(again.status.code() == Some(2) && said(&again).contains("is in use by process"), "{}", said(&again));
    world.stop();
    let again = upgrade(&world, &[]);
    assert_eq!(again.status.code(), Some(2), "{}", said(&again));
    assert!(
        said(&again).contains("is not a store of version 0.1.0, so there is nothing to upgrade"),
        "{}",
        said(&again)
    );
    sound(&world, &[]);
    // If the new store is lost, the operator must restore a backup. A second upgrade must not begin another log.
    fs::rename(world.database(), world.path("lost")).unwrap();
    let again = upgrade(&world, &[]);
    assert!(again.status.code() == Some(2) && said(&again).contains("store restore BACKUP"), "{}", said(&again));
    let refused = world.try_start().expect_err("a lost store");
    assert!(refused.contains("store restore BACKUP"), "{refused}");
    let restored = run(&world, &["store", "restore", "--config", &home, &old]);
    assert_eq!(restored.status.code(), Some(2), "{}", said(&restored));
    assert!(told(&said(&restored)), "{}", said(&restored));
}

#[test]
fn an_upgrade_prints_its_changes_on_the_terminal() {
    let world = of_0_1_0();
    let done = upgrade(&world, &[]);
    assert_eq!(done.status.code(), Some(0), "{}", said(&done));
    for part in [OLD_ID, "4 entries, now in ", "boundary/0.1.0\n", "was not verified", "countersign token create"] {
        assert!(said(&done).contains(part), "{part}: {}", said(&done));
    }
}

#[test]
fn an_upgrade_verifies_the_last_checkpoint_and_signs_a_checkpoint_of_the_whole_old_log() {
    for size in [4, 2] {
        let mut world = of_0_1_0();
        world.write("b/boundary/checkpoint", &head_of_0_1_0(size, &boundary_key()));
        if size == 2 {
            let database = rusqlite::Connection::open(world.database()).unwrap();
            database.execute("DELETE FROM checkpoint", []).unwrap();
        }
        let done = upgraded(&world);
        assert_eq!((&done["verified"], &done["notes"]), (&json!(true), &json!([])), "{size}");
        assert_eq!(done["checkpoint"], json!(head_of_0_1_0(4, &boundary_key())), "{size}");
        world.start();
        world.make_tokens();
        assert_follows(&world, &head_of_0_1_0(4, &boundary_key()));
    }
}

#[test]
fn an_impossible_upgrade_changes_nothing() {
    let world = of_0_1_0();
    let database = fs::read(fixture("0.1.0/backup/countersign.db")).unwrap();
    let checkpoint = fs::read_to_string(fixture("0.1.0/backup/checkpoint")).unwrap();
    let names = || {
        let home = fs::read_dir(world.path("b/boundary")).unwrap();
        let names = home.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.filter(|name| !name.ends_with("-shm") && !name.ends_with("-wal")).collect();
        names.sort();
        names.retain(|name| !["countersign.db.lock", "spool"].contains(&name.as_str()));
        names
    };
    let before = names();
    let set = |bytes: &[u8], note: &str| {
        for name in ["countersign.db", "countersign.db-wal", "countersign.db-shm"] {
            let _ = fs::remove_file(world.path("b/boundary").join(name));
        }
        world.write("b/boundary/countersign.db", "");
        fs::write(world.database(), bytes).unwrap();
        world.write("b/boundary/checkpoint", note);
    };
    let sql = |statement: &str| {
        set(&database, &checkpoint);
        rusqlite::Connection::open(world.database()).unwrap().execute_batch(statement).unwrap();
    };
    let refused = |words: &str| {
        let there = fs::read(world.database()).unwrap();
        let output = upgrade(&world, &[]);
        assert_eq!(output.status.code(), Some(2), "{words}: {}", said(&output));
        assert!(said(&output).contains(words), "{words}: {}", said(&output));
        assert!(fs::read(world.database()).unwrap() == there, "{words}: the database is another");
        assert_eq!(names(), before, "{words}");
    };
    set(b"no database", &checkpoint);
    refused("can't be opened");
    set(&database[..database.len() / 3], &checkpoint);
    refused("database disk image is malformed");
    set(b"", &checkpoint);
    refused("is not a store of this program");
    sql("PRAGMA user_version = 3");
    refused("is not a store of version 0.1.0, so there is nothing to upgrade");
    sql("CREATE TABLE more (one INTEGER)");
    refused("the schema was changed by hand (table more was added by hand)");
    sql("DELETE FROM leaf WHERE idx = 2");
    refused("the log entry 2 is missing");
    sql("UPDATE state SET boundary = zeroblob(32)");
    refused("the first log entry is not the seal whose digest is the boundary's id");
    sql("DELETE FROM state");
    refused("the first log entry is not the seal whose digest is the boundary's id");
    sql("UPDATE leaf SET data = CAST(data || ' ' AS BLOB) WHERE idx = 3");
    refused("of another log than the log in the old store");
    // Checkpoints that do not match the store.
    set(&database, &checkpoint.replacen("\n4\n", "\n5\n", 1));
    refused("the file is a checkpoint of 5 entries, but the old store has only 4");
    set(&database, &checkpoint.replace("2f6bf6d0e9dcca9b", "00112233445566ff"));
    refused("the file is a checkpoint of the log prod/00112233445566ff");
    set(&database, "no head");
    refused("the file is no checkpoint");
    // The text of one checkpoint with the signature of another checkpoint.
    let (of_4, of_2) = (head_of_0_1_0(4, &boundary_key()), head_of_0_1_0(2, &boundary_key()));
    let forged = format!("{}\n\n{}", of_4.split_once("\n\n").unwrap().0, of_2.split_once("\n\n").unwrap().1);
    set(&database, &forged);
    refused("the signature of this boundary's key is not valid");
    sql("DELETE FROM checkpoint");
    fs::remove_file(world.path("b/boundary/checkpoint")).unwrap();
    let output = upgrade(&world, &[]);
    assert!(said(&output).contains("there is no checkpoint of the old log"), "{}", said(&output));
    // An invalid policy, with which the new log cannot begin.
    set(&database, &checkpoint);
    world.write("b/boundary/policy.yaml", "version: none");
    refused("policy.yaml");
    world.write("b/boundary/policy.yaml", &world.setup.policy);
    sql("INSERT INTO crossing SELECT spent, id, zeroblob(32), NULL, x'', x'' FROM proposal");
    refused("runs without a receipt: 1. Start and stop the boundary once with the program of 0.1.0");
    let done = upgrade(&world, &["--accept-open-runs"]);
    assert_eq!(done.status.code(), Some(0), "{}", said(&done));
    assert!(said(&done).contains("runs of the old log without a receipt: 1"), "{}", said(&done));
    assert_kept(&world);
    // A second old store must not overwrite the first old store.
    fs::remove_file(world.database()).unwrap();
    set(&database, &checkpoint);
    let output = upgrade(&world, &[]);
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert!(said(&output).contains("this directory already contains an old store"), "{}", said(&output));
}

#[test]
#[cfg(debug_assertions)]
fn an_interrupted_upgrade_is_finished_by_the_same_command() {
    let old = "is a store of version 0.1.0";
    let interrupted = "was interrupted, and the old store is in this directory: run `countersign store upgrade` again";
    for (point, refusal) in [
        ("before-seal-commit", Some(old)),
        ("after-seal-commit", Some(old)),
        ("upgrade-old-store-kept", Some(interrupted)),
        ("upgrade-old-outputs-kept", Some(interrupted)),
        ("upgrade-new-log-in-place", None),
    ] {
        let mut world = of_0_1_0();
        let mut killed = world.program(&["store", "upgrade", "--config"]);
        let killed = killed.arg(world.path("b")).env("COUNTERSIGN_FAULT", point).output().unwrap();
        assert_eq!(killed.status.code(), None, "{point}: {}", said(&killed));
        if let Some(refusal) = refusal {
            let refused = world.try_start().expect_err(point);
            assert!(refused.contains(refusal), "{point}: {refused}");
            // Run the upgrade again, killed at the last crash point, and then to its end.
            let mut killed = world.program(&["store", "upgrade", "--config"]);
            killed.arg(world.path("b")).env("COUNTERSIGN_FAULT", "upgrade-old-outputs-kept");
            assert_eq!(killed.output().unwrap().status.code(), None, "{point}");
            upgraded(&world);
        } else {
            let again = upgrade(&world, &[]);
            assert!(said(&again).contains("there is nothing to upgrade"), "{point}: {}", said(&again));
        }
        assert_kept(&world);
        world.start();
        world.make_tokens();
        assert_follows(&world, &fs::read_to_string(fixture("0.1.0/backup/checkpoint")).unwrap());
        world.assert_verified(&world.run("plain:true", json!({}), &[&alice()]));
        world.assert_audited();
    }
}

// Stores of 0.2.0

/// Adds the steps of the fixture's boundary.
fn steps(setup: &mut support::Setup) {
    let line = "echo \"line $i of an output that is a file of its own\"";
    let large = format!("i=0; while [ $i -lt 1500 ]; do {line}; i=$((i+1)); done");
    setup.runbook("big.md", runbook(SMALL, &[("go", &large)]));
    setup.runbook("both.md", runbook(SMALL, &[("go", "echo one\necho two >&2\necho three")]));
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
        if entry.path().is_dir() { keep_tree(&entry.path(), &to) } else { keep(&fs::read(entry.path()).unwrap(), &to) }
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
    let mut add = world.program(&["roster", "add", "approver", "grace", "--group", "ops", "--config"]);
    let added = add.arg(&home).arg("--key").arg(public).output().unwrap();
    assert!(added.status.success(), "{}", said(&added));
    let version = world.path("b/boundary/roster.d/2.json");
    let drafted: Value = serde_json::from_slice(&fs::read(&version).unwrap()).unwrap();
    let payload = people::payload_of(&drafted);
    let mut signatures = [alice(), bob()].map(|key| key.sign(&payload)).to_vec();
    signatures.sort_by_key(|signature| signature["keyid"].to_string());
    world.write("b/boundary/roster.d/2.json", &people::wrap(&payload, signatures).to_string());
    world.restart();
    assert_eq!(world.wire.peek("/ready").ok(200)["roster"]["version"], 2);
    let two = world.run("two:go", json!({"text": "both"}), &[&alice(), &bob()]);
    // Proposals of every status, a denial without a proposal, and a refusal.
    let denied = world.propose("plain:true", json!({}));
    world.deny(&denied, &alice()).ok(200);
    let early = people::authorization(&world.authorization("plain:true", json!({})));
    let denial = envelope(&people::denial(&world.boundary(), &early, "no"), &[&alice()]);
    world.wire.post("/v1/denials", "", &json!({"payload": STANDARD.encode(&early), "denial": denial})).ok(200);
    let cancelled = world.propose("plain:fail", json!({}));
    world.wire.post(&format!("/v1/proposals/{}/cancellation", id_of(&cancelled)), &world.agent, &json!({})).ok(200);
    let whole = envelope(&people::authorization(&world.authorization("plain:true", json!({}))), &[&alice()]);
    world.submit(&whole).ok(200);
    world.submit(&whole).problem("nonce-replayed");
    let mut wish = World::wish("plain:true", json!({}));
    wish["expires_in_s"] = json!(1);
    let expired = world.wire.post("/v1/proposals", &world.agent, &wish).ok(201);
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
    database.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    drop(database);
    for name in [
        "countersign.toml",
        "boundary/roster.toml",
        "boundary/policy.yaml",
        "boundary/checkpoint",
        "boundary/countersign.db",
    ] {
        keep(&fs::read(world.path("b").join(name)).unwrap(), &format!("b/{name}"));
    }
    for name in ["runbooks", "boundary/roster.d", "boundary/outputs"] {
        keep_tree(&world.path("b").join(name), &format!("b/{name}"));
    }
}

/// A boundary from a copy of the fixture, not started. Its key is a test key with a fixed seed.
fn of_0_2_0(config: &str) -> World {
    let mut world = World::prepared(steps);
    let key = fs::read(world.path("b/boundary/key.pem")).unwrap();
    fs::remove_dir_all(world.path("b")).unwrap();
    copy_tree(&world, &fixture("0.2.0/b"), "b");
    fs::set_permissions(world.path("b/boundary"), fs::Permissions::from_mode(0o700)).unwrap();
    world.write("b/boundary/key.pem", std::str::from_utf8(&key).unwrap());
    let kept = fs::read_to_string(world.path("b/countersign.toml")).unwrap();
    world.write("b/countersign.toml", &kept.replacen("[limits]", &format!("{config}\n[limits]"), 1));
    world.setup.config = config.to_owned();
    world
}

/// Starts the boundary and makes tokens, because the fixture contains only the digests of its tokens.
fn serve(world: &mut World) {
    world.start();
    world.agent = world.token("later-agent", &["carol"], &["propose"]);
    world.reader = world.token("later-reader", &[], &["read"]);
}

fn sound(world: &World, more: &[&str]) {
    let home = world.path("b").to_str().unwrap().to_owned();
    let output = run(world, &[&["store", "--json", "check", "--config", &home], more].concat());
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
}

#[test]
fn a_store_of_0_2_0_is_checked_served_audited_backed_up_restored_and_pruned() {
    if std::env::var_os("COUNTERSIGN_WRITE_VECTORS").is_some() {
        let _ = fs::remove_dir_all(fixture("0.2.0"));
        write_0_2_0();
    }
    let mut world = of_0_2_0("");
    let rows = |table: &str| -> i64 {
        let database = rusqlite::Connection::open(world.database()).unwrap();
        database.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
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
        assert!(rows(&format!("leaf WHERE kind = {kind}")) > 0, "no entry of kind {kind}");
    }
    sound(&world, &[]);
    // The bundles of both roster versions verify with the first roster version.
    for name in ["small", "large", "two"] {
        let bundle = fixture(&format!("0.2.0/{name}.bundle.json"));
        let roster = fixture("0.2.0/b/boundary/roster.d/1.json");
        let output = run(&world, &["verify", bundle.to_str().unwrap(), "--roster", roster.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(0), "{name}: {}", said(&output));
    }
    // The service closes the open run with a receipt, keeps the finished runs and accepts new runs.
    let before = fs::read_to_string(fixture("0.2.0/b/boundary/checkpoint")).unwrap();
    serve(&mut world);
    let origin = world.wire.peek("/log/checkpoint").text();
    assert_eq!(origin.lines().next(), before.lines().next(), "the same log");
    let status = |world: &World, step: &str| -> Vec<String> {
        let page = world.wire.get("/v1/proposals", &world.reader).ok(200);
        let proposals = page["proposals"].as_array().unwrap().iter().filter(|one| one["step"] == step);
        proposals.map(|one| one["status"].as_str().unwrap().to_owned()).collect()
    };
    wait_for("what was cut off has its receipt", || status(&world, "plain:wait") == ["finished"]);
    world.assert_verified(&world.run("say:echo", json!({"text": "later"}), &[&alice()]));
    world.check_history();
    world.assert_audited();
    // Backup, and restore into a log that follows this log.
    let backup = world.path("backup").to_str().unwrap().to_owned();
    let home = world.path("b").to_str().unwrap().to_owned();
    let output = run(&world, &["store", "backup", "--config", &home, &backup]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    sound(&world, &[&backup]);
    let roster = world.started["roster"].as_str().unwrap().to_owned();
    world.stop();
    let output = run(&world, &["audit", &backup, "--roster", &roster]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    fs::remove_file(world.database()).unwrap();
    let output = run(&world, &["store", "restore", "--config", &home, &backup, "--keep-tokens", "all"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    world.start();
    world.assert_verified(&world.run("say:echo", json!({"text": "in the next log"}), &[&alice()]));
    // Pruning: outputs are deleted after their retention, and `store check` finds no defect.
    let mut world = of_0_2_0("[retention]\noutputs = \"1s\"\nproposals = \"1s\"\n");
    serve(&mut world);
    let outputs = |world: &World| -> i64 {
        let database = rusqlite::Connection::open(world.database()).unwrap();
        database.query_row("SELECT count(*) FROM output", [], |row| row.get(0)).unwrap()
    };
    wait_for("retention has ended", || outputs(&world) == 0);
    sound(&world, &[]);
    world.assert_audited();
}

#[test]
fn a_store_of_a_newer_version_is_refused_by_every_command_and_stays_unchanged() {
    let mut world = of_0_2_0("");
    copy_tree(&world, &fixture("0.2.0/b/boundary"), "newer");
    for database in [world.database(), world.path("newer/countersign.db")] {
        let database = rusqlite::Connection::open(database).unwrap();
        // A later version adds migrations, and with them tables.
        database.execute_batch("CREATE TABLE later (one INTEGER); PRAGMA user_version = 99").unwrap();
    }
    let bytes =
        |world: &World| [world.database(), world.path("newer/countersign.db")].map(|path| fs::read(path).unwrap());
    let before = bytes(&world);
    let told = |text: &str| text.contains("has schema 99") && text.contains("wrote the store");
    let refused = world.try_start().expect_err("a newer store");
    assert!(told(&refused), "{refused}");
    let [home, newer, copy] = ["b", "newer", "copy"].map(|name| world.path(name).to_str().unwrap().to_owned());
    let roster = fixture("0.2.0/b/boundary/roster.d/1.json").to_str().unwrap().to_owned();
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
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", said(&output));
        assert!(told(&said(&output)), "{arguments:?}: {}", said(&output));
    }
    assert!(!world.path("copy").exists());
    assert!(bytes(&world) == before, "a refused store has the same bytes");
    // A restore into an empty place needs a readable backup too.
    fs::remove_file(world.database()).unwrap();
    let output = run(&world, &["store", "restore", "--config", &home, &newer]);
    assert!(output.status.code() == Some(2) && told(&said(&output)), "{}", said(&output));
    assert!(!world.database().exists(), "a refused restore writes no store");
}
