//! Tests of `store check`, `store backup`, `store restore` and of retention, also after manual changes to the store.

use std::path::Path;
use std::process::Output;

use crate::support::people::{alice, bob, envelope, now, stamp};
use crate::support::shim::shim;
use crate::support::{
    self, SMALL, World, assert_says, bytes_of, exited, id_of, people, runbook, said, said_at_exit,
    wait_for,
};
use serde_json::{Value, json};

pub(super) fn store(world: &World, arguments: &[&str]) -> Output {
    let mut command = world.program(&["store", "--json", "--config"]);
    command
        .arg(world.path("b"))
        .args(arguments)
        .output()
        .expect("store")
}

/// Runs `store check` and returns its exit code and one JSON report for each checked store.
pub(super) fn checked(world: &World, arguments: &[&str]) -> (i32, Vec<Value>) {
    let output = store(world, &[&["check"], arguments].concat());
    let lines = String::from_utf8(output.stdout.clone()).expect("UTF-8");
    let stores = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{}", said(&output))));
    (output.status.code().expect("a code"), stores.collect())
}

#[track_caller]
pub(super) fn assert_sound(world: &World, arguments: &[&str]) -> Vec<Value> {
    let (code, stores) = checked(world, arguments);
    for store in &stores {
        assert_eq!(
            (&store["defects"], &store["notes"]),
            (&json!([]), &json!([])),
            "{store:#}"
        );
    }
    assert_eq!(code, 0);
    stores
}

pub(super) fn must(output: Output) -> Value {
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", said(&output)))
}

fn sql(world: &World, statement: &str) -> usize {
    rusqlite::Connection::open(world.database())
        .unwrap()
        .execute(statement, [])
        .unwrap()
}

/// A boundary with one operation of each kind. One output is in a row of the database, one is in a file.
pub(super) fn busy() -> (World, Value, Value) {
    let world = World::with(|setup| {
        let large = "i=0; while [ $i -lt 3000 ]; do echo \"line $i of an output that is a file of its own\"; i=$((i+1)); done";
        setup.runbook("big.md", runbook(SMALL, &[("go", large)]));
        // Its output is a row of the database.
        setup.runbook(
            "wide.md",
            runbook(SMALL, &[("go", "head -c 45000 /dev/urandom | base64 -w0")]),
        );
    });
    let finished = world.run("say:echo", json!({"text": "kept"}), &[&alice()]);
    let large = world.run("big:go", json!({}), &[&alice()]);
    let denied = world.propose("plain:true", json!({}));
    world.deny(&denied, &alice()).ok(200);
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
    world.propose("two:go", json!({}));
    (world, finished, large)
}

/// A boundary with a finished run and a pending proposal, each with its own list of programs.
pub(super) fn listed() -> (World, Value, Value) {
    let world = World::with(|setup| {
        setup.policy = "version: 1\nextends: none\ndefault:\n  mode: execute\n  approvals: {required: 1, from: [ops]}\n  \
                        sandbox: {programs: {mode: listed, allow: [cat]}}\n"
            .to_owned();
        let steps = [
            ("plain", "printf 'ran\\n' | cat"),
            ("date programs=date", "date"),
        ];
        setup.runbook("list.md", runbook(SMALL, &steps));
    });
    let finished = world.run("list:plain", json!({}), &[&alice()]);
    // Only the view of a proposal has the list.
    let waiting = world.propose("list:date", json!({}));
    let waiting = world.until(id_of(&waiting), "pending");
    assert_ne!(list_of(&finished), list_of(&waiting));
    (world, finished, waiting)
}

/// Returns the list of programs of a proposal and its digest.
pub(super) fn list_of(proposal: &Value) -> (Vec<u8>, String) {
    let list = people::canonical(&proposal["programs"]);
    assert!(list.len() > 20, "no list: {proposal:#}");
    let digest = people::sha256(&list);
    (list, digest)
}

/// Asserts that the bundle of this run is verified and has the list of the run.
#[track_caller]
pub(super) fn assert_bundled_list(world: &World, finished: &Value) {
    let bundle = world.bundle(finished);
    let (code, report) = world.verify(&bundle);
    assert_eq!(code, 0, "{report:#}");
    let bundle: Value = serde_json::from_slice(&bundle).expect("JSON");
    assert_eq!(bundle["programs"], finished["programs"]);
}

// store check

#[test]
fn store_check_finds_manual_changes() {
    let (mut world, ..) = busy();
    let stores = assert_sound(&world, &[]);
    assert_eq!(stores[0]["counts"]["outputs"], 2);
    assert_eq!(
        stores[0]["boundary"], world.started["id"],
        "while it serves"
    );
    world.stop();
    assert_sound(&world, &[]);
    let sound = std::fs::read(world.database()).unwrap();
    let size = stores[0]["entries"].as_u64().unwrap() as usize;
    let cases: &[(&str, &str)] = &[
        (
            "DELETE FROM nonce WHERE nonce = (SELECT nonce FROM nonce LIMIT 1)",
            "could run again",
        ),
        (
            "UPDATE nonce SET spent = spent + 64 WHERE nonce = (SELECT nonce FROM nonce LIMIT 1)",
            "names another run",
        ),
        (
            "INSERT INTO nonce SELECT x'0123', spent, proposal FROM nonce LIMIT 1",
            "changed by hand",
        ),
        ("DELETE FROM leaf WHERE idx = 5", "it is missing"),
        (
            "DELETE FROM leaf WHERE idx = (SELECT max(idx) FROM leaf)",
            "the store is an older copy",
        ),
        (
            "UPDATE leaf SET data = CAST(replace(data, 'A', 'B') AS BLOB) WHERE kind = 3",
            "the hash of the entry does not match its bytes",
        ),
        ("UPDATE leaf SET kind = 4 WHERE kind = 3", "it is no denial"),
        (
            "UPDATE leaf SET at = at - 100 WHERE idx = 6",
            "but the signed entry is dated",
        ),
        (
            "UPDATE checkpoint SET root = zeroblob(32) WHERE size = (SELECT max(size) FROM checkpoint)",
            "differs from the log",
        ),
        (
            "UPDATE checkpoint SET note = replace(note, 'prod', 'prud')",
            "another log",
        ),
        ("DELETE FROM seal WHERE idx = 1", "table seal has no row"),
        ("DELETE FROM state", "the table `state` has no row"),
        (
            "UPDATE seal SET digest = zeroblob(32) WHERE idx = 1",
            "is not the seal",
        ),
        ("DELETE FROM blob WHERE rowid = 2", "is missing"),
        (
            "UPDATE blob SET data = x'7b7d' WHERE rowid = 1",
            "do not match its name",
        ),
        (
            "DELETE FROM denial",
            "could run although the authorization is denied",
        ),
        (
            "DELETE FROM proposal WHERE status = 1",
            "no row of a proposal names this consumption",
        ),
        (
            "UPDATE proposal SET status = 1 WHERE status = 4",
            "finished without a consumption",
        ),
        (
            "UPDATE proposal SET digest = zeroblob(32) WHERE status = 1",
            "differs from the consumption in the log",
        ),
        (
            "UPDATE proposal SET receipt = receipt - 1 WHERE status = 1",
            "receipt",
        ),
        (
            "UPDATE proposal SET status = 0, receipt = NULL WHERE status = 1",
            "which recovery needs, is missing",
        ),
        (
            "DELETE FROM payload",
            "the payload that approvers sign is missing",
        ),
        (
            "UPDATE payload SET data = x'00'",
            "does not match the digest of its proposal",
        ),
        (
            "UPDATE output SET data = x'00' WHERE data IS NOT NULL",
            "do not match its name",
        ),
        ("DELETE FROM output", "is missing although"),
        (
            "UPDATE token SET entry = replace(entry, '\"read\"', '\"operate\"')",
            "differs from the last seal",
        ),
        (
            "UPDATE token SET name = 'agent-2' WHERE name = 'agent'",
            "the entry of another token",
        ),
        (
            "UPDATE token SET jwks = '{}' WHERE name = 'agent'",
            "not those that the entry names",
        ),
        (
            "UPDATE token SET revoked_at = 5 WHERE name = 'agent'",
            "valid in the last seal",
        ),
        (
            "DELETE FROM token WHERE name = 'agent'",
            "but its row is missing",
        ),
        (
            "UPDATE state SET boundary = zeroblob(32)",
            "the boundary id is not",
        ),
        (
            "UPDATE state SET seal = boundary",
            "the seal in force is not",
        ),
    ];
    for (statement, words) in cases {
        std::fs::write(world.database(), &sound).unwrap();
        assert!(sql(&world, statement) > 0, "{statement} changes nothing");
        let (code, stores) = checked(&world, &[]);
        assert_eq!(code, 1, "{statement}: {stores:#?}");
        let told = stores[0]["defects"].to_string();
        assert!(told.contains(words), "{statement}: {told}");
    }
    // A truncated file, and a file that is not a database.
    let mut cut = sound.clone();
    cut.truncate(sound.len() / 2);
    std::fs::write(world.database(), &cut).unwrap();
    assert_eq!(
        store(&world, &["check"]).status.code(),
        Some(1),
        "a part of it is gone"
    );
    std::fs::write(world.database(), b"nothing").unwrap();
    assert_eq!(
        store(&world, &["check"]).status.code(),
        Some(2),
        "it can't be opened"
    );
    std::fs::write(world.database(), &sound).unwrap();
    let file = std::fs::read_dir(world.path("b/boundary/outputs"))
        .unwrap()
        .flatten()
        .find(|entry| entry.path().is_dir());
    let file = std::fs::read_dir(file.unwrap().path())
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[7] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    let (code, stores) = checked(&world, &[]);
    assert!(
        code == 1
            && stores[0]["defects"]
                .to_string()
                .contains("do not match its name"),
        "{stores:#?}"
    );
    assert!(size > 8);
}

#[test]
fn readers_and_backups_during_runs_get_a_consistent_state() {
    let world = World::with(|setup| {
        let large = "i=0; while [ $i -lt 1500 ]; do echo \"line $i of $PARAM_TEXT, an output that is a file of its own\"; i=$((i+1)); done";
        let front =
            format!("params:\n  text: {{type: string, default: hello, maxLength: 4000}}\n{SMALL}");
        setup.runbook("big.md", runbook(&front, &[("go", large)]));
        setup.config = "[retention]\noutputs = \"1s\"\nproposals = \"1s\"\n".to_owned();
    });
    let over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for runner in 0..2 {
            let (world, over) = (&world, &over);
            scope.spawn(move || {
                let mut number = 0;
                while !over.load(std::sync::atomic::Ordering::Relaxed) {
                    number += 1;
                    world.run(
                        "big:go",
                        json!({"text": format!("{runner} {number}")}),
                        &[&alice()],
                    );
                }
            });
        }
        let work = || {
            for round in 0..4 {
                let found = checked(&world, &[]).1;
                assert_eq!(found[0]["defects"], json!([]), "{found:#?}");
                let backup = world.path(&format!("backup-{round}"));
                let backup = backup.to_str().unwrap();
                must(store(&world, &["backup", backup]));
                let found = checked(&world, &[backup]).1;
                let defects = found[0]["defects"].as_array().unwrap();
                // Retention can delete an output during the copy. No other data may be missing.
                assert!(
                    defects.iter().all(|defect| defect["what"]
                        .as_str()
                        .unwrap()
                        .contains("is missing although")),
                    "{found:#?}"
                );
            }
        };
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        over.store(true, std::sync::atomic::Ordering::Relaxed);
        done.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
    world.check_history();
}

// Stores that were restored by hand

#[test]
fn promise_2_a_store_copy_restored_by_hand_is_not_served() {
    let (mut world, ..) = busy();
    world.stop();
    let copy = std::fs::read(world.database()).unwrap();
    world.start();
    let proposal = world.propose("say:echo", json!({"text": "after the copy"}));
    let whole = envelope(&bytes_of(&proposal), &[&alice()]);
    world.submit(&whole).ok(200);
    world.stop();
    let newest = std::fs::read(world.database()).unwrap();
    std::fs::write(world.database(), &copy).unwrap();
    let refused = world.try_start().expect_err("an older copy is not served");
    assert!(
        refused.contains("the store is an older copy") && refused.contains("store restore"),
        "{refused}"
    );
    let (code, stores) = checked(&world, &[]);
    assert!(
        code == 1 && stores[0]["defects"].to_string().contains("an older copy"),
        "{stores:#?}"
    );
    // `token create` opens the store too, so it must also refuse.
    exited(
        world
            .program(&["token", "create", "late", "--config"])
            .arg(world.path("b"))
            .output()
            .unwrap(),
        2,
    );
    // Without a store, the service must not begin a new log under the same name.
    std::fs::remove_file(world.database()).unwrap();
    assert_says(
        world.try_start().expect_err("no new log by accident"),
        "there is no store",
    );
    assert!(
        !world.database().exists(),
        "nothing is left that what is put back could be mixed with"
    );
    world.write("b/boundary/countersign.db", "");
    std::fs::write(world.database(), &newest).unwrap();
    world.start();
    world.submit(&whole).problem("nonce-replayed");
    world.check_history();
}

#[test]
fn a_store_older_than_an_external_checkpoint_is_not_served() {
    let mut world = World::new();
    world.run("plain:true", json!({}), &[&alice()]);
    world.stop();
    let all = |name: &str| std::fs::read(world.path("b/boundary").join(name)).unwrap();
    let (copy, head) = (all("countersign.db"), all("checkpoint"));
    world.start();
    world.run("plain:fail", json!({}), &[&alice()]);
    let newest = world.wire.peek("/log/checkpoint").text();
    world.stop();
    // The test restores the whole private directory, including its checkpoint. Only a checkpoint in another place
    // reveals the old state.
    std::fs::write(world.database(), &copy).unwrap();
    std::fs::write(world.path("b/boundary/checkpoint"), &head).unwrap();
    world.write("mirror/checkpoint", &newest);
    world.write("torn", "prod/00\n5\n");
    let serve = |known: &str| {
        let mut command = world.command("timeout");
        command.args([
            "20",
            support::PROGRAM,
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--known-checkpoint",
            known,
        ]);
        said(&command.arg(world.path("b")).output().unwrap())
    };
    for known in ["mirror", "mirror/checkpoint"] {
        let refused = serve(world.path(known).to_str().unwrap());
        assert!(
            refused.contains("this boundary signed a checkpoint") && refused.contains("older copy"),
            "{refused}"
        );
    }
    assert_says(
        serve(world.path("torn").to_str().unwrap()),
        "the file is no checkpoint",
    );
    assert_says(
        serve(world.path("nowhere").to_str().unwrap()),
        "the checkpoint can't be read",
    );
    let config = std::fs::read_to_string(world.path("b/countersign.toml")).unwrap();
    world.write(
        "b/countersign.toml",
        &format!("known_checkpoints = [\"../mirror\"]\n{config}"),
    );
    assert_says(
        world
            .try_start()
            .expect_err("the configuration names it as well"),
        "older copy",
    );
    // A different root hash at the same size: a fork.
    let mut lines: Vec<&str> = newest.lines().collect();
    let size = std::str::from_utf8(&head)
        .unwrap()
        .lines()
        .nth(1)
        .unwrap()
        .to_owned();
    lines[1] = &size;
    world.write("mirror/checkpoint", &format!("{}\n", lines.join("\n")));
    let refused = world.try_start().expect_err("a fork");
    assert!(
        refused.contains("differ from the checkpoint")
            && refused.contains("without a signature of this boundary's current key"),
        "{refused}"
    );
    // An older checkpoint of the same log is accepted.
    world.write("mirror/checkpoint", std::str::from_utf8(&head).unwrap());
    world.start();
}

#[test]
fn promise_2_a_nonce_row_deleted_by_hand_is_not_served() {
    let (mut world, ..) = busy();
    world.stop();
    sql(
        &world,
        "DELETE FROM nonce WHERE nonce = (SELECT nonce FROM nonce LIMIT 1)",
    );
    let refused = world.try_start().expect_err("it could run again");
    assert!(
        refused.contains("could run again") && refused.contains("store restore"),
        "{refused}"
    );
}

/// The test also changes the count of nonces and deletes the proposal, whose state would otherwise prevent a second
/// run.
#[test]
fn promise_2_a_missing_nonce_row_is_found_even_if_count_and_proposal_were_changed() {
    let mut world = World::new();
    let whole = envelope(
        &people::authorization(&world.authorization("plain:true", json!({}))),
        &[&alice()],
    );
    world.submit(&whole).ok(200);
    world.run("plain:true", json!({}), &[&bob()]);
    world.stop();
    let gone = "(SELECT nonce FROM nonce ORDER BY spent LIMIT 1)";
    sql(
        &world,
        &format!("DELETE FROM proposal WHERE nonce = {gone}"),
    );
    sql(&world, &format!("DELETE FROM nonce WHERE nonce = {gone}"));
    sql(&world, "UPDATE state SET nonces = nonces - 1");
    let refused = world.try_start().expect_err("it could run again");
    assert!(
        refused.contains("could run again") && refused.contains("store restore"),
        "{refused}"
    );
}

// Backup and restore

#[test]
fn a_backup_of_a_running_boundary_can_be_restored_into_a_new_log_that_names_the_old_log() {
    let (mut world, finished, large) = busy();
    let (waiting, spent) = (
        world.propose("plain:wait", json!({})),
        world.authorization("plain:true", json!({})),
    );
    let spent = envelope(&people::authorization(&spent), &[&alice()]);
    world.submit(&spent).ok(200);
    let old = world.started["id"].as_str().unwrap().to_owned();
    let old_bundle = world.bundle(&finished);
    let backup = world.path("backup");
    let backup = backup.to_str().unwrap();
    // Other runs continue during the backup.
    let made = std::thread::scope(|scope| {
        let runs = scope.spawn(|| {
            for _ in 0..5 {
                world.run("plain:true", json!({}), &[&bob()]);
            }
        });
        let made = must(store(&world, &["backup", backup]));
        runs.join().unwrap();
        made
    });
    assert_eq!((&made["id"], &made["outputs"]), (&json!(old), &json!(1)));
    let note = made["checkpoint"].as_str().unwrap().to_owned();
    assert_eq!(note.lines().nth(1).unwrap(), made["entries"].to_string());
    assert!(made["bytes"].as_u64().unwrap() > 100_000);
    said_at_exit(store(&world, &["backup", backup]), 2, "exists already");
    assert_sound(&world, &[backup]);
    // All files of the backup are private, and the log continues in place.
    private(Path::new(backup));
    world.run("say:echo", json!({"text": "after"}), &[&alice()]);
    world.stop();
    let newest = std::fs::read_to_string(world.path("b/boundary/checkpoint")).unwrap();
    let refused = store(&world, &["restore", backup]);
    assert!(
        refused.status.code() == Some(2) && said(&refused).contains("a store exists already"),
        "{}",
        said(&refused)
    );
    for name in ["countersign.db", "outputs"] {
        let from = world.path("b/boundary").join(name);
        std::fs::rename(&from, world.path(&format!("lost-{name}"))).unwrap();
    }
    // A refused start leaves an empty store, which does not block the restore.
    let config = std::fs::read_to_string(world.path("b/countersign.toml")).unwrap();
    std::fs::create_dir(world.path("kept")).unwrap();
    std::fs::rename(
        world.path("b/boundary/checkpoint"),
        world.path("kept/checkpoint"),
    )
    .unwrap();
    world.write(
        "b/countersign.toml",
        &format!("known_checkpoints = [\"../kept/checkpoint\"]\n{config}"),
    );
    let refused = world.try_start().expect_err("a lost store");
    assert!(world.database().exists(), "{refused}");
    world.write("b/countersign.toml", &config);
    std::fs::rename(
        world.path("kept/checkpoint"),
        world.path("b/boundary/checkpoint"),
    )
    .unwrap();
    let restored = must(store(&world, &["restore", backup, "--keep-tokens", "all"]));
    assert_eq!(restored["follows"], json!(old));
    assert_eq!(
        restored["checkpoint"],
        json!(newest),
        "the last that is known, not the backup's"
    );
    let sizes: Vec<u64> = [&newest, &note]
        .map(|note| note.lines().nth(1).unwrap().parse().unwrap())
        .into();
    assert_eq!(restored["lost"], json!(sizes[0] - sizes[1]));
    assert_sound(&world, &[]);
    world.start();
    assert_eq!(world.started["id"], restored["id"]);
    assert_ne!(world.started["id"], json!(old));
    // The format of the genesis seal is `{follows: {id, checkpoint}}`, number 0, no id and no previous seal.
    let (kind, first) = world.log().remove(0);
    let seal = &first["predicate"];
    assert_eq!((kind.as_str(), &seal["number"]), ("seal", &json!(0)));
    assert_eq!(
        seal["genesis"],
        json!({"follows": {"id": old, "checkpoint": newest}})
    );
    assert_eq!(
        (seal["boundary"].get("id"), seal.get("previous")),
        (None, None)
    );
    // The kept tokens stay valid, pending proposals are void, and spent nonces stay spent.
    assert_eq!(world.list("pending"), [Value::Null; 0]);
    world.submit(&spent).problem("wrong-boundary");
    world
        .submit(&envelope(&bytes_of(&waiting), &[&alice()]))
        .problem("wrong-boundary");
    let mut same_nonce = world.authorization("plain:true", json!({}));
    let spent = people::predicate_of(&spent);
    people::end_at(
        &mut same_nonce,
        people::end_of(spent["proposal"].as_str().unwrap()),
    );
    same_nonce["nonce"] = spent["nonce"].clone();
    let same_nonce = envelope(&people::authorization(&same_nonce), &[&alice()]);
    world.submit(&same_nonce).problem("nonce-replayed");
    // Old receipts, bundles and outputs are still available and still verify, and so do those of the new log.
    assert_eq!(world.output(&finished, "stdout"), "kept\n");
    assert!(world.output(&large, "stdout").len() > 65_536);
    let bundle = world.bundle(&finished);
    for bundle in [&bundle, &old_bundle] {
        let (code, report) = world.verify(bundle);
        assert_eq!(
            (code, &report["report"]["verified"]),
            (0, &json!(true)),
            "{report:#}"
        );
    }
    let parsed: Value = serde_json::from_slice(&bundle).unwrap();
    let origin = note.lines().next().unwrap();
    assert!(
        parsed["proofs"]["receipt"]
            .as_str()
            .unwrap()
            .contains(origin),
        "under a checkpoint of its own log"
    );
    world.assert_verified(&world.run("say:echo", json!({"text": "new"}), &[&alice()]));
    world.check_history();
    world.assert_audited();
    // A mirror with a checkpoint of the old log does not stop the start, because the new log names the old log. A
    // backup of the new log contains the old log.
    world.stop();
    world.write("mirror/checkpoint", &newest);
    let config = std::fs::read_to_string(world.path("b/countersign.toml")).unwrap();
    world.write(
        "b/countersign.toml",
        &format!("known_checkpoints = [\"../mirror\"]\n{config}"),
    );
    let second = world.path("second");
    must(store(&world, &["backup", second.to_str().unwrap()]));
    std::fs::remove_file(world.database()).unwrap();
    let third = must(store(
        &world,
        &["restore", second.to_str().unwrap(), "--keep-tokens", "all"],
    ));
    assert_eq!(third["follows"], restored["id"]);
    world.start();
    assert_eq!(world.output(&finished, "stdout"), "kept\n", "two logs back");
    assert_eq!(assert_sound(&world, &[]).len(), 3);
}

#[test]
fn the_list_of_programs_of_a_run_is_in_copies_backups_and_restored_logs() {
    let (mut world, finished, waiting) = listed();
    let (list, digest) = list_of(&finished);
    let blob = format!("blob/sha256/{digest}");
    let backup = world.path("backup");
    let backup = backup.to_str().unwrap();
    must(store(&world, &["backup", backup]));
    assert_sound(&world, &[backup]);
    // Only the list of a run is a blob: nobody knows whether the other proposal will run.
    let mirror = world.export("mirror");
    assert_eq!(std::fs::read(mirror.join(&blob)).unwrap(), list);
    let of_waiting = format!("blob/sha256/{}", list_of(&waiting).1);
    assert!(!mirror.join(of_waiting).exists());
    world.assert_audited();
    world.stop();
    std::fs::remove_file(world.database()).unwrap();
    must(store(&world, &["restore", backup, "--keep-tokens", "all"]));
    world.start();
    assert_sound(&world, &[]);
    assert_bundled_list(&world, &finished);
    assert_bundled_list(&world, &world.run("list:date", json!({}), &[&alice()]));
    // The list of the old run is no blob of the new log.
    let mirror = world.export("new-mirror");
    assert!(!mirror.join(&blob).exists());
    world.assert_audited();
    // A copy without the list can't be audited.
    let old = world.path("mirror");
    std::fs::remove_file(old.join(&blob)).unwrap();
    let roster = world.started["roster"].as_str().unwrap();
    let mut audit = world.program(&["audit", old.to_str().unwrap(), "--roster", roster]);
    exited(audit.output().unwrap(), 1);
}

/// Issue 37: the restore took the date of its first entry for a leap of the clock.
#[test]
fn a_log_that_is_days_ahead_of_the_clock_can_be_restored() {
    let Some(shim) = shim("a_log_that_is_days_ahead_of_the_clock_can_be_restored") else {
        return;
    };
    let mut world = World::with(|setup| {
        setup.env("LD_PRELOAD", shim);
        setup.env("SHIM_CLOCK", (2 * 86_400).to_string());
    });
    world.run("plain:true", json!({}), &[&alice()]);
    world.stop();
    let backup = world.path("backup");
    must(store(&world, &["backup", backup.to_str().unwrap()]));
    std::fs::remove_file(world.database()).unwrap();
    must(store(
        &world,
        &["restore", backup.to_str().unwrap(), "--keep-tokens", "all"],
    ));
    world.setup.env.clear();
    world.start();
    world.assert_verified(&world.run("plain:true", json!({}), &[&alice()]));
    world.check_history();
    world.assert_audited();
}

#[test]
fn a_restored_token_is_void_unless_the_operator_keeps_it() {
    let mut world = World::new();
    let ends = |days: i64| stamp(now() + days * 86_400);
    let made = |name: &str, owners: &[&str], patterns: &[&str], ends: String| {
        let token = json!({"name": name, "owners": owners, "scopes": ["propose"], "patterns": patterns, "expires_at": ends});
        world.create_token(&token).expect("a token")
    };
    let stolen = made(
        "stolen",
        &["carol"],
        &["plain:*", "say:{echo,e'}"],
        ends(30),
    );
    let other = made("other", &["dora"], &[], ends(30));
    made("early", &[], &[], ends(30));
    // A token of jobs has no secret, so its line has the same jobs.
    let token = json!({"name": "jobs", "owners": ["carol"], "scopes": ["propose"], "patterns": []});
    let oidc =
        json!({"issuer": "https://i.example", "claims": {"sub": "a b"}, "bind": {"commit": "sha"}});
    world.create_token_of_jobs(&token, &oidc).expect("a token");
    world
        .control(&json!({"do": "token-revoke", "name": "early"}))
        .expect("revoked");
    let backup = world.path("backup");
    let backup = backup.to_str().unwrap();
    must(store(&world, &["backup", backup]));
    world
        .control(&json!({"do": "token-revoke", "name": "stolen"}))
        .expect("revoked");
    let answers = |world: &World, token: &str| world.wire.get("/v1/registry", token).status == 200;
    let restore = |world: &World, options: &[&str]| {
        let _ = std::fs::rename(world.database(), world.path("lost"));
        let mut command = world.program(&["store", "restore", "--config"]);
        command
            .arg(world.path("b"))
            .arg(backup)
            .args(options)
            .output()
            .expect("store")
    };
    // Without the option, no secret of the backup is valid, and each token that was not revoked has its line.
    world.stop();
    let restored = restore(&world, &[]);
    let told = String::from_utf8(restored.stdout.clone()).expect("UTF-8");
    assert!(
        restored.status.success() && told.contains("tokens    0 kept, 6 void"),
        "{}",
        said(&restored)
    );
    assert!(
        told.contains(&format!(
            "  stolen  owners: carol  ends: {}",
            &ends(30)[..10]
        )),
        "{told}"
    );
    let line = "--scope propose --oidc https://i.example --claim 'sub=a b' --bind 'commit=sha'\n";
    assert!(
        told.contains("token create jobs ") && told.contains(line),
        "{told}"
    );
    assert!(
        told.contains("  reader  owners: none  ends: never") && !told.contains("early"),
        "{told}"
    );
    world.start();
    for token in [&stolen, &other, &world.agent, &world.reader] {
        assert!(!answers(&world, token), "the secret of a void token");
    }
    // The line makes a new secret with the same rights and the same end.
    let line = told
        .lines()
        .find(|line| line.contains("token create stolen"))
        .expect("a line")
        .trim();
    let program = world
        .program(&[])
        .get_program()
        .to_str()
        .unwrap()
        .to_owned();
    let line = line
        .replacen("countersign", &program, 1)
        .replace("stolen-new.token", world.path("new").to_str().unwrap());
    let output = world
        .command("sh")
        .args(["-c", &line])
        .output()
        .expect("a shell");
    assert!(output.status.success(), "{line}: {}", said(&output));
    let secret = std::fs::read_to_string(world.path("new")).unwrap();
    assert!(answers(&world, secret.trim()) && !answers(&world, &stolen));
    let tokens = world.control(&json!({"do": "token-list"})).expect("tokens");
    let of = |name: &str| {
        tokens
            .as_array()
            .unwrap()
            .iter()
            .find(|token| token["name"] == name)
            .cloned()
    };
    let token = of("stolen").expect("the new token");
    assert_eq!(
        (&token["owners"], &token["patterns"]),
        (&json!(["carol"]), &json!(["plain:*", "say:{echo,e'}"]))
    );
    assert!(
        token["expires_at"].as_str().unwrap() <= ends(30).as_str(),
        "{token}"
    );
    assert!(
        of("early").is_some_and(|token| token["revoked_at"].is_string()) && of("other").is_none(),
        "{tokens}"
    );
    // A name that the backup lacks restores nothing.
    world.stop();
    for name in ["early", "nobody"] {
        let refused = restore(&world, &["--keep-tokens", &format!("agent,{name}")]);
        assert!(
            refused.status.code() == Some(2) && !world.database().exists(),
            "{}",
            said(&refused)
        );
        let words = format!(
            "no valid token {name}, so nothing was restored: its valid tokens are agent, courier, jobs"
        );
        assert!(said(&refused).contains(&words), "{}", said(&refused));
    }
    let restored = restore(&world, &["--keep-tokens", "agent,reader"]);
    assert!(
        said(&restored).contains("tokens    2 kept, 4 void"),
        "{}",
        said(&restored)
    );
    world.start();
    assert!(answers(&world, &world.agent) && answers(&world, &world.reader));
    assert!(!answers(&world, &stolen) && !answers(&world, &other));
    world.run("plain:true", json!({}), &[&alice()]);
    let again = json!({"name": "agent", "owners": [], "scopes": ["read"], "patterns": []});
    world
        .create_token(&again)
        .expect_err("the name of a kept token stays in use");
    world.assert_audited();
    world.stop();
    let restored = restore(&world, &["--keep-tokens", "all"]);
    assert!(
        said(&restored).contains("tokens    6 kept, 0 void"),
        "{}",
        said(&restored)
    );
    world.start();
    assert!(
        answers(&world, &stolen) && answers(&world, &other),
        "the operator answers for this choice"
    );
    let tokens = world.control(&json!({"do": "token-list"})).expect("tokens");
    assert!(
        tokens
            .as_array()
            .unwrap()
            .iter()
            .any(|token| token["oidc"] == oidc),
        "{tokens}"
    );
}

#[test]
fn the_backup_command_explains_the_checkpoint_that_it_prints() {
    let world = World::new();
    let mut command = world.program(&["store", "backup", "--config"]);
    let made = exited(
        command
            .arg(world.path("b"))
            .arg(world.path("backup"))
            .output()
            .expect("store"),
        0,
    );
    let printed = String::from_utf8(made.stdout.clone()).expect("UTF-8");
    let note = std::fs::read_to_string(world.path("backup/checkpoint")).unwrap();
    assert_eq!(printed.split_once('\n').expect("two lines").1, note);
    let said = String::from_utf8_lossy(&made.stderr).into_owned();
    assert!(
        said.contains("The note above is the signed checkpoint of the log at this moment"),
        "{said}"
    );
}

#[test]
fn a_closed_log_and_a_backup_are_exported_and_audited_without_the_boundary() {
    let (mut world, ..) = busy();
    let roster = world.started["roster"].as_str().unwrap().to_owned();
    let old = world.started["id"].as_str().unwrap().to_owned();
    let backup = world.path("backup");
    must(store(&world, &["backup", backup.to_str().unwrap()]));
    world.stop();
    std::fs::remove_file(world.database()).unwrap();
    let restored = must(store(&world, &["restore", backup.to_str().unwrap()]));
    let closed = restored["closed"].as_str().unwrap();
    // The commands run without the service and without a token.
    let run = |arguments: &[&str]| {
        let mut command = world.program(arguments);
        command
            .args(["--url", "http://127.0.0.1:1"])
            .env_remove("COUNTERSIGN_TOKEN")
            .output()
            .unwrap()
    };
    let entries = restored["entries"].as_u64().unwrap();
    for (number, from) in [closed, backup.to_str().unwrap()].into_iter().enumerate() {
        let before = std::fs::read(Path::new(from).join("countersign.db")).unwrap();
        let copy = world.path(&format!("copy-{number}"));
        let copy = copy.to_str().unwrap();
        let done = must(run(&["log", "export", copy, "--from", from, "--json"]));
        assert_eq!(
            (&done["size"], &done["before"]),
            (&json!(entries), &json!(0)),
            "{done}"
        );
        let hashes = format!("{copy}-hashes");
        must(run(&[
            "log", "export", &hashes, "--hashes", "--from", from, "--json",
        ]));
        for place in [copy, from] {
            let audited = run(&["audit", place, "--roster", &roster, "--boundary", &old]);
            assert_eq!(
                audited.status.code(),
                Some(0),
                "{place}: {}",
                said(&audited)
            );
        }
        exited(
            run(&["audit", copy, "--roster", &roster, "--against", from]),
            0,
        );
        assert_eq!(
            std::fs::read(Path::new(from).join("countersign.db")).unwrap(),
            before,
            "nothing is changed"
        );
    }
    // Triggers in the database do not affect the audit, because the audit compares the entries with the signed head.
    let database = rusqlite::Connection::open(backup.join("countersign.db")).unwrap();
    database
        .execute_batch("CREATE TRIGGER t AFTER INSERT ON nonce BEGIN DELETE FROM nonce; END")
        .unwrap();
    drop(database);
    exited(
        run(&["audit", backup.to_str().unwrap(), "--roster", &roster]),
        0,
    );
    assert_eq!(checked(&world, &[backup.to_str().unwrap()]).0, 1);
    // `log export` refuses a backup whose checkpoint does not match its entries.
    let note = std::fs::read_to_string(backup.join("checkpoint")).unwrap();
    std::fs::write(
        backup.join("checkpoint"),
        note.replacen(&format!("\n{entries}\n"), "\n3\n", 1),
    )
    .unwrap();
    exited(
        run(&[
            "log",
            "export",
            world.path("no").to_str().unwrap(),
            "--from",
            backup.to_str().unwrap(),
        ]),
        1,
    );
    said_at_exit(
        run(&[
            "log",
            "export",
            "no",
            "--from",
            world.path("b").to_str().unwrap(),
        ]),
        2,
        "store backup",
    );
}

fn private(path: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    let metadata = std::fs::metadata(path).unwrap();
    assert_eq!(
        metadata.permissions().mode() & 0o077,
        0,
        "{}",
        path.display()
    );
    if metadata.is_dir() {
        std::fs::read_dir(path)
            .unwrap()
            .for_each(|entry| private(&entry.unwrap().path()));
    }
}

#[test]
fn a_damaged_or_foreign_backup_is_refused_without_leftover_files() {
    let (mut world, ..) = busy();
    let backup = world.path("backup");
    must(store(&world, &["backup", backup.to_str().unwrap()]));
    world.stop();
    let database = backup.join("countersign.db");
    let sound = std::fs::read(&database).unwrap();
    std::fs::rename(world.database(), world.path("lost")).unwrap();
    let head = std::fs::read(world.path("b/boundary/checkpoint")).unwrap();
    let refused = |words: &str| {
        said_at_exit(
            store(&world, &["restore", backup.to_str().unwrap()]),
            2,
            words,
        );
        assert!(!world.database().exists(), "{words}");
        assert!(!world.path("b/boundary/restoring").exists(), "{words}");
        assert_eq!(
            std::fs::read(world.path("b/boundary/checkpoint")).unwrap(),
            head,
            "{words}"
        );
    };
    let tamper = |statement: &str| {
        std::fs::write(&database, &sound).unwrap();
        rusqlite::Connection::open(&database)
            .unwrap()
            .execute_batch(statement)
            .unwrap();
    };
    tamper("DELETE FROM nonce");
    refused("could run again");
    tamper("UPDATE leaf SET data = CAST(replace(data, 'A', 'B') AS BLOB) WHERE idx = 3");
    refused("defects, the first: ");
    // A changed entry with a changed stored hash.
    tamper("UPDATE leaf SET data = CAST(data || ' ' AS BLOB), hash = zeroblob(32) WHERE idx = 2");
    refused("defects");
    std::fs::write(&database, &sound[..sound.len() / 3]).unwrap();
    refused("");
    std::fs::write(&database, b"no database").unwrap();
    refused("can't be opened");
    std::fs::remove_file(&database).unwrap();
    refused("can't be copied");
    std::fs::write(&database, &sound).unwrap();
    // A backup of a boundary with a different name.
    let config = std::fs::read_to_string(world.path("b/countersign.toml")).unwrap();
    world.write(
        "b/countersign.toml",
        &config.replacen("\"prod\"", "\"stage\"", 1),
    );
    refused("");
    world.write("b/countersign.toml", &config);
    // The service must not treat an interrupted restore as a new boundary.
    std::fs::create_dir(world.path("b/boundary/restoring")).unwrap();
    assert_says(
        world.try_start().expect_err("half a restore"),
        "was interrupted",
    );
    must(store(
        &world,
        &["restore", backup.to_str().unwrap(), "--keep-tokens", "all"],
    ));
    world.start();
    world.run("plain:true", json!({}), &[&alice()]);
}

#[test]
#[cfg(debug_assertions)]
fn an_interrupted_restore_is_finished_by_another_restore() {
    let (mut world, finished, _) = busy();
    let backup = world.path("backup");
    let backup = backup.to_str().unwrap();
    must(store(&world, &["backup", backup]));
    world.stop();
    for point in ["restore-old-log-kept", "restore-new-log-in-place"] {
        let _ = std::fs::remove_file(world.database());
        let mut killed = world.program(&["store", "--config"]);
        killed
            .arg(world.path("b"))
            .args(["restore", backup])
            .env("COUNTERSIGN_FAULT", point);
        assert_eq!(killed.output().unwrap().status.code(), None, "{point}");
        assert_says(
            world.try_start().expect_err("half a restore is not served"),
            "was interrupted",
        );
    }
    let refused = store(&world, &["restore", backup]);
    assert!(
        said(&refused).contains("a store exists already"),
        "{}",
        said(&refused)
    );
    std::fs::rename(world.database(), world.path("half")).unwrap();
    must(store(&world, &["restore", backup, "--keep-tokens", "all"]));
    world.start();
    assert_eq!(world.output(&finished, "stdout"), "kept\n");
    world.run("plain:true", json!({}), &[&alice()]);
    assert_sound(&world, &[]);
    let names: Vec<String> = std::fs::read_dir(world.path("b/boundary"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.contains("restoring"))
        .collect();
    assert_eq!(names, [""; 0], "nothing is left of it");
}

// A disk that rejects writes

#[test]
fn output_that_cannot_be_written_to_the_disk_is_dropped_but_the_receipt_is_written() {
    let (world, _, large) = busy();
    let name = world.receipt(&large)["output"]["stdout"]["blake3"]
        .as_str()
        .unwrap()
        .replace("blake3:", "");
    // A file blocks the directory of the output, so the write fails with an error that more disk space would not solve.
    let directory = world.path("b/boundary/outputs").join(&name[..2]);
    std::fs::remove_dir_all(&directory).unwrap();
    std::fs::write(&directory, "in the way").unwrap();
    let again = world.run("big:go", json!({}), &[&alice()]);
    assert_eq!(again["outcome"]["status"], "succeeded");
    assert!(
        world
            .service_log()
            .contains("the output of the run is lost, but the receipt will be written")
    );
    world.assert_verified(&again);
    world.check_history();
    let (code, stores) = checked(&world, &[]);
    assert!(
        code == 1 && stores[0]["defects"].to_string().contains(&name),
        "and the check names it: {stores:#?}"
    );
}

// Retention

#[test]
fn thousands_of_expired_nonces_are_removed_soon_after_a_start() {
    let mut world = World::new();
    world.run("plain:true", json!({}), &[&alice()]);
    world.stop();
    let more = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000) \
         INSERT INTO nonce SELECT unhex(printf('%016x', 1) || hex(randomblob(16))), 64, randomblob(16) FROM n";
    assert_eq!(sql(&world, more), 20_000);
    sql(&world, "UPDATE state SET nonces = nonces + 20000");
    world.start();
    let count = || {
        let database = rusqlite::Connection::open(world.database()).unwrap();
        database
            .query_row("SELECT count(*) FROM nonce", [], |row| row.get::<_, u64>(0))
            .unwrap()
    };
    // One round of 1000 nonces every 20 seconds would need more than six minutes.
    wait_for("the expired nonces are removed", || count() <= 1000);
}

#[test]
fn outputs_are_deleted_after_their_retention_and_their_digests_remain() {
    let mut world = World::prepared(|setup| {
        let large = "i=0; while [ $i -lt 3000 ]; do echo \"line $i of an output that is a file of its own\"; i=$((i+1)); done";
        setup.runbook("big.md", runbook(SMALL, &[("go", large)]));
        setup.config = "[retention]\noutputs = \"3s\"\nproposals = \"3s\"\n".to_owned();
    });
    world.start();
    world.make_tokens();
    let finished = world.run("say:echo", json!({"text": "soon gone"}), &[&alice()]);
    let large = world.run("big:go", json!({}), &[&alice()]);
    assert_eq!(world.output(&finished, "stdout"), "soon gone\n");
    let gone: Vec<Value> = ["denied", "cancelled", "expired"]
        .into_iter()
        .map(|how| {
            let mut wish = World::wish("plain:true", json!({}));
            wish["expires_in_s"] = json!(if how == "expired" { 1 } else { 2 });
            let proposal = world
                .wire
                .post("/v1/proposals", &world.agent, &wish)
                .ok(201);
            match how {
                "denied" => drop(world.deny(&proposal, &alice()).ok(200)),
                "cancelled" => {
                    let path = format!("/v1/proposals/{}/cancellation", id_of(&proposal));
                    world.wire.post(&path, &world.agent, &json!({})).ok(200);
                }
                _ => {}
            }
            proposal
        })
        .collect();
    // Retention must keep this cancelled proposal, because its window stays open for an hour and its row prevents a
    // run.
    let open = world.propose("plain:fail", json!({}));
    world
        .wire
        .post(
            &format!("/v1/proposals/{}/cancellation", id_of(&open)),
            &world.agent,
            &json!({}),
        )
        .ok(200);
    let waiting = world.propose("two:go", json!({}));
    let receipts = [world.receipt(&finished), world.receipt(&large)];
    let names = receipts.each_ref().map(|receipt| {
        receipt["output"]["stdout"]["blake3"]
            .as_str()
            .unwrap()
            .to_owned()
    });
    let get = |name: &str, token: &str| world.wire.get(&format!("/v1/outputs/{name}"), token);
    wait_for("retention has ended", || {
        names
            .iter()
            .all(|name| get(name, &world.reader).status == 410)
    });
    for (receipt, name) in receipts.iter().zip(&names) {
        let problem = get(name, &world.reader).json();
        assert_eq!(
            (&problem["type"], &problem["status"]),
            (&json!("/problems/not-found"), &json!(410))
        );
        let detail = problem["detail"].as_str().unwrap();
        let stream = &receipt["output"]["stdout"];
        for field in ["blake3", "sha256"] {
            assert!(detail.contains(stream[field].as_str().unwrap()), "{detail}");
        }
        assert!(problem["receipt"].is_string());
        assert_eq!(
            get(name, &world.courier).status,
            404,
            "whoever may not see the run learns nothing"
        );
    }
    let directory = world.path("b/boundary/outputs");
    wait_for("the file is gone", || {
        std::fs::read_dir(&directory)
            .unwrap()
            .flatten()
            .all(|entry| {
                std::fs::read_dir(entry.path()).map_or(true, |mut files| files.next().is_none())
            })
    });
    // The receipt, the bundle, the view and the events remain. The view reads the approvers from the receipt.
    world.assert_verified(&finished);
    let view = world.show(id_of(&finished));
    assert_eq!(
        (&view["status"], &view["approvals"]["approvers"]),
        (&json!("finished"), &json!(["alice"]))
    );
    let last = world
        .wire
        .lines(id_of(&finished), &world.reader, 0)
        .last()
        .unwrap();
    assert_eq!(last["type"], "receipt");
    // Proposals that never ran are deleted, and the API answers 410. A proposal whose window is still open remains.
    for proposal in &gone {
        let path = format!("/v1/proposals/{}", id_of(proposal));
        wait_for("it is deleted", || {
            world.wire.get(&path, &world.reader).status == 410
        });
        assert_eq!(
            world.wire.get(&path, &world.reader).json()["type"],
            "/problems/not-found"
        );
        let late = world.submit(&envelope(&bytes_of(proposal), &[&alice()]));
        assert_eq!(late.status, 422, "{}", late.text());
    }
    assert_eq!(world.show(id_of(&open))["status"], "cancelled");
    world
        .submit(&envelope(&bytes_of(&open), &[&alice()]))
        .problem("wrong-state");
    assert_eq!(world.show(id_of(&waiting))["status"], "pending");
    // An unknown id with an end during this log may have been deleted. An id with another end was never stored.
    for (end, status) in [(now() + 3600, 404), (now() - 1, 410), (1, 404)] {
        let path = format!("/v1/proposals/{}", people::proposal_id_until(end));
        assert_eq!(world.wire.get(&path, &world.reader).status, status, "{end}");
    }
    // The store keeps the same bytes again after a new run.
    let again = world.run("big:go", json!({}), &[&alice()]);
    assert!(world.output(&again, "stdout").len() > 65_536);
    assert_sound(&world, &[]);
    world.assert_audited();
    world.check_history();
}
