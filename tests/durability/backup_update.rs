//! Tests of `store backup --onto`, which brings an earlier backup up to date.

use std::collections::BTreeMap;
use std::path::Path;

use rusqlite::types::Value as Cell;
use serde_json::{Value, json};

use super::packed_tiles::{files, fill_a_tile, pack_soon, tiles};
use super::store_care::{assert_sound, busy, checked, must, store};
use crate::support::nodes::{node, start};
use crate::support::people::{alice, bob};
use crate::support::postgres::cluster::Cluster;
use crate::support::shim::shim;
use crate::support::{SMALL, World, id_of, runbook, said, said_at_exit, wait_for};

/// Returns all rows of all tables, each table sorted.
fn rows(database: &Path) -> BTreeMap<String, Vec<String>> {
    let db = rusqlite::Connection::open(database).unwrap();
    let mut tables = db
        .prepare("SELECT name FROM sqlite_schema WHERE type = 'table'")
        .unwrap();
    let tables: Vec<String> = tables
        .query_map([], |row| row.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    let read = |table: String| {
        let mut statement = db.prepare(&format!("SELECT * FROM \"{table}\"")).unwrap();
        let columns = statement.column_count();
        let row = |row: &rusqlite::Row<'_>| {
            Ok((0..columns)
                .map(|at| row.get(at))
                .collect::<Result<Vec<Cell>, _>>())
        };
        let mut found: Vec<String> = statement
            .query_map([], row)
            .unwrap()
            .map(|row| format!("{:?}", row.unwrap().unwrap()))
            .collect();
        found.sort();
        (table, found)
    };
    tables.into_iter().map(read).collect()
}

/// Asserts that the updated backup has the same rows and files as a whole backup that is made now.
#[track_caller]
fn assert_whole(world: &World, updated: &str, name: &str) {
    let whole = world.path(name);
    let made = must(store(world, &["backup", whole.to_str().unwrap()]));
    let (found, expected) = (
        rows(&Path::new(updated).join("countersign.db")),
        rows(&whole.join("countersign.db")),
    );
    for (table, rows) in &expected {
        assert_eq!(&found[table], rows, "{table}");
    }
    assert_eq!(found.len(), expected.len());
    let [found, expected] = [Path::new(updated), &whole].map(|dir| {
        let mut found = files(dir);
        found.retain(|name, _| name != "countersign.db");
        found
    });
    assert_eq!(found, expected);
    assert_eq!(made["added"], made["entries"]);
    assert_sound(world, &[updated]);
}

/// Changes rows of every kind after a backup: open proposals end, tokens are revoked, and new runs and outputs follow.
fn go_on(world: &World, waiting: &[Value]) {
    world.sign(&waiting[0], &[&alice()]).ok(200);
    world.until(id_of(&waiting[0]), "finished");
    world.deny(&waiting[1], &bob()).ok(200);
    let cancelled = format!("/v1/proposals/{}/cancellation", id_of(&waiting[2]));
    world
        .wire
        .post(&cancelled, &world.agent, &json!({}))
        .ok(200);
    world.run("big:go", json!({}), &[&alice()]);
    // More than the page cache of SQLite holds, so that an interrupted update has written to the file.
    for number in 0..50 {
        world.run(
            "say:echo",
            json!({"text": format!("after {number}")}),
            &[&alice()],
        );
        world.run("wide:go", json!({}), &[&alice()]);
    }
    world.propose("plain:true", json!({}));
    let token = json!({"name": "later", "owners": [], "scopes": ["read"], "patterns": [], "expires_at": null});
    world.create_token(&token).expect("a token");
    world
        .control(&json!({"do": "token-revoke", "name": "later"}))
        .expect("revoked");
}

#[test]
fn a_backup_that_is_brought_up_to_date_has_the_rows_and_files_of_a_whole_backup() {
    let (mut world, ..) = busy();
    let waiting = [0, 1, 2]
        .map(|number| world.propose("say:echo", json!({"text": format!("waits {number}")})));
    // A run that has not ended at the time of the backup.
    let runs = world.propose("plain:wait", json!({}));
    world.sign(&runs, &[&alice()]).ok(200);
    world.until(id_of(&runs), "running");
    let open = world.propose("two:go", json!({"text": "open"}));
    let backup = world.path("backup");
    let backup = backup.to_str().unwrap();
    let first = must(store(&world, &["backup", backup]));
    // While the service runs, other runs go on.
    let updated = std::thread::scope(|scope| {
        let runs = scope.spawn(|| go_on(&world, &waiting));
        let updated = must(store(&world, &["backup", "--onto", backup]));
        runs.join().unwrap();
        updated
    });
    assert_sound(&world, &[backup]);
    assert!(updated["entries"].as_u64() >= first["entries"].as_u64());
    let wide = world.run("wide:go", json!({}), &[&alice()]);
    let random = world.output(&wide, "stdout").into_bytes()[1000..1100].to_vec();
    let updated = must(store(&world, &["backup", "--onto", backup]));
    let file = std::fs::read(world.path("backup/countersign.db")).unwrap();
    assert!(file.windows(100).any(|at| at == random));
    world.sign(&open, &[&alice()]).ok(200);
    // A file that no row names, as an interrupted update leaves it.
    std::fs::create_dir_all(world.path("backup/outputs/ab")).unwrap();
    world.write(&format!("backup/outputs/ab/{}", "ab".repeat(32)), "nothing");
    // A file of a person.
    world.write("backup/outputs/ab/note.txt", "kept");
    // Outputs and proposals are deleted after their retention.
    world.stop();
    let config = std::fs::read_to_string(world.path("b/countersign.toml")).unwrap();
    world.write(
        "b/countersign.toml",
        &format!("{config}\n[retention]\noutputs = \"1s\"\nproposals = \"1s\"\n"),
    );
    world.start();
    wait_for("retention has ended", || {
        rows(&world.database())["output"].is_empty()
    });
    world.stop();
    let second = must(store(&world, &["backup", "--onto", backup]));
    assert_eq!(
        second["added"].as_u64(),
        Some(second["entries"].as_u64().unwrap() - updated["entries"].as_u64().unwrap())
    );
    std::fs::remove_file(world.path("backup/outputs/ab/note.txt"))
        .expect("the update keeps files that are no outputs");
    assert_whole(&world, backup, "whole");
    let file = std::fs::read(world.path("backup/countersign.db")).unwrap();
    assert!(
        !file.windows(100).any(|at| at == random),
        "no byte of a deleted output stays in the file"
    );
    // Nothing new.
    let third = must(store(&world, &["backup", "--onto", backup]));
    assert_eq!(
        (&third["added"], &third["checkpoint"]),
        (&json!(0), &second["checkpoint"])
    );
    assert_whole(&world, backup, "whole again");
    // A restored log, and a backup of it, which has the closed log.
    std::fs::remove_file(world.database()).unwrap();
    must(store(&world, &["restore", backup, "--keep-tokens", "all"]));
    world.start();
    let next = world.path("next");
    let next = next.to_str().unwrap();
    must(store(&world, &["backup", next]));
    world.run("say:echo", json!({"text": "in the new log"}), &[&alice()]);
    world.stop();
    must(store(&world, &["backup", "--onto", next]));
    assert_whole(&world, next, "next whole");
    said_at_exit(
        store(&world, &["backup", "--onto", backup]),
        2,
        "another log",
    );
}

#[test]
fn entries_that_were_packed_after_a_backup_are_packed_in_it_by_the_next_update() {
    let mut world = World::new();
    fill_a_tile(&world);
    let backup = world.path("backup");
    let backup = backup.to_str().unwrap();
    must(store(&world, &["backup", backup]));
    pack_soon(&world);
    world.restart();
    wait_for("the tile is packed", || tiles(&world) == 1);
    world.run("plain:true", json!({}), &[&alice()]);
    world.stop();
    // The store is damaged: the backup keeps its intact entries.
    let damage = || {
        let database = rusqlite::Connection::open(world.database()).unwrap();
        let bytes: Vec<u8> = database
            .query_row("SELECT data FROM packed", [], |row| row.get(0))
            .unwrap();
        let flipped: Vec<u8> = bytes
            .iter()
            .zip(0..)
            .map(|(byte, at)| byte ^ u8::from(at == 2000))
            .collect();
        database
            .execute("UPDATE packed SET data = ?1", [flipped])
            .unwrap();
    };
    damage();
    let refused = store(&world, &["backup", "--onto", backup]);
    assert_eq!(refused.status.code(), Some(2), "{}", said(&refused));
    assert!(
        said(&refused).contains("packed tile 0") && said(&refused).contains("store check"),
        "{}",
        said(&refused)
    );
    let (code, found) = checked(&world, &[backup]);
    assert_eq!((code, &found[0]["defects"]), (0, &json!([])), "{found:#?}");
    damage();
    must(store(&world, &["backup", "--onto", backup]));
    assert_whole(&world, backup, "whole");
}

#[test]
#[cfg(debug_assertions)]
fn an_interrupted_update_leaves_the_earlier_backup() {
    let (mut world, ..) = busy();
    let waiting = [0, 1, 2]
        .map(|number| world.propose("say:echo", json!({"text": format!("waits {number}")})));
    let backup = world.path("backup");
    let backup = backup.to_str().unwrap();
    must(store(&world, &["backup", backup]));
    let database = world.path("backup/countersign.db");
    let earlier = rows(&database);
    go_on(&world, &waiting);
    world.stop();
    let killed = |world: &World| {
        let mut killed = world.program(&["store", "--config"]);
        killed
            .arg(world.path("b"))
            .args(["backup", "--onto", backup])
            .env("COUNTERSIGN_FAULT", "backup-rows-copied");
        assert_eq!(killed.output().unwrap().status.code(), None);
        assert!(world.path("backup/countersign.db-journal").exists());
    };
    killed(&world);
    // Readers that change nothing say what happened.
    let refused = store(&world, &["check", backup]);
    let told = said(&refused);
    assert!(
        refused.status.code() == Some(2) && told.contains("being brought up to date"),
        "{told}"
    );
    // The next update undoes the interrupted one first.
    must(store(&world, &["backup", "--onto", backup]));
    assert_whole(&world, backup, "whole");
    // A restore of a torn backup uses its earlier state, and does not change the backup.
    world.start();
    world.run("big:go", json!({}), &[&bob()]);
    world.stop();
    let earlier_state = rows(&database);
    assert_ne!(earlier_state, earlier);
    killed(&world);
    let torn = std::fs::read(&database).unwrap();
    std::fs::remove_file(world.database()).unwrap();
    std::fs::remove_dir_all(world.path("b/boundary/outputs")).unwrap();
    let restored = must(store(&world, &["restore", backup, "--keep-tokens", "all"]));
    assert_eq!(restored["entries"], json!(earlier_state["leaf"].len()));
    assert_eq!(std::fs::read(&database).unwrap(), torn);
    assert_sound(&world, &[]);
    world.start();
    world.run("plain:true", json!({}), &[&alice()]);
}

#[test]
fn a_directory_that_is_no_backup_of_this_log_is_refused_and_not_changed() {
    let (world, ..) = busy();
    let other = World::new();
    let foreign = world.path("foreign");
    must(store(&other, &["backup", foreign.to_str().unwrap()]));
    let backup = world.path("backup");
    must(store(&world, &["backup", backup.to_str().unwrap()]));
    let change = |name: &str, change: &dyn Fn(&rusqlite::Connection)| {
        let path = world.path(name);
        std::fs::create_dir(&path).unwrap();
        std::fs::copy(backup.join("countersign.db"), path.join("countersign.db")).unwrap();
        change(&rusqlite::Connection::open(path.join("countersign.db")).unwrap());
    };
    change("longer", &|db| {
        let sql = "INSERT INTO leaf SELECT idx + 100000, kind, at, hash, data FROM leaf";
        db.execute(sql, []).unwrap();
    });
    change("changed", &|db| {
        db.execute(
            "UPDATE leaf SET hash = zeroblob(32), data = zeroblob(9) WHERE idx = 2",
            [],
        )
        .unwrap();
    });
    change("old", &|db| {
        db.pragma_update(None, "user_version", 3).unwrap()
    });
    change("newer", &|db| {
        db.pragma_update(None, "user_version", 99).unwrap()
    });
    change("wal", &|db| {
        db.pragma_update(None, "journal_mode", "wal").unwrap();
    });
    std::fs::create_dir(world.path("empty")).unwrap();
    world.write("text/countersign.db", "no database");
    let cases = [
        ("foreign", "another log"),
        ("longer", "later state"),
        ("changed", "another log"),
        ("old", "was made before 1.0"),
        ("newer", "has schema 99"),
        ("wal", "in use and no backup"),
        ("empty", "does not exist"),
        ("text", "no"),
        ("missing", "no backup to bring up to date"),
        ("b/boundary", "own directory"),
    ];
    for (name, words) in cases {
        let path = world.path(name);
        let before = path.join("countersign.db");
        let before = (name != "b/boundary").then(|| std::fs::read(&before).ok());
        let refused = store(&world, &["backup", "--onto", path.to_str().unwrap()]);
        assert!(
            refused.status.code() == Some(2) && said(&refused).contains(words),
            "{name}: {}",
            said(&refused)
        );
        if let Some(before) = before {
            assert_eq!(
                std::fs::read(path.join("countersign.db")).ok(),
                before,
                "{name}"
            );
        }
    }
    // A full disk.
    if let Some(shim) = shim("an update of a backup on a full disk") {
        world.run("big:go", json!({}), &[&bob()]);
        let before = rows(&backup.join("countersign.db"));
        world.write("full", "");
        let mut full = world.program(&["store", "--config"]);
        full.arg(world.path("b"))
            .args(["backup", "--onto"])
            .arg(&backup);
        let full = full
            .env("LD_PRELOAD", shim)
            .env("SHIM_FULL", world.path("full"))
            .output()
            .expect("store");
        assert!(
            full.status.code() == Some(2) && said(&full).contains("the disk of the backup is full"),
            "{}",
            said(&full)
        );
        assert_eq!(rows(&backup.join("countersign.db")), before);
        assert_sound(&world, &[backup.to_str().unwrap()]);
    }
    // Two updates at one time.
    let locked = rusqlite::Connection::open(backup.join("countersign.db")).unwrap();
    locked.execute_batch("BEGIN IMMEDIATE").unwrap();
    said_at_exit(
        store(&world, &["backup", "--onto", backup.to_str().unwrap()]),
        2,
        "locked",
    );
    drop(locked);
    must(store(
        &world,
        &["backup", "--onto", backup.to_str().unwrap()],
    ));
    assert_eq!(checked(&world, &[backup.to_str().unwrap()]).0, 0);
}

#[test]
fn a_backup_of_a_postgresql_store_is_brought_up_to_date() {
    let Some(server) = Cluster::start("a backup of PostgreSQL that is brought up to date", "")
    else {
        return;
    };
    let large = "i=0; while [ $i -lt 3000 ]; do echo \"line $i of an output that is a file of its own\"; i=$((i+1)); done";
    let mut one = node(&server, "one", |setup| {
        setup.runbook("big.md", runbook(SMALL, &[("go", large)]))
    });
    server.migrate(&one);
    start(&mut one);
    one.run("big:go", json!({}), &[&alice()]);
    let waiting = one.propose("say:echo", json!({"text": "waits"}));
    let backup = one.path("backup");
    let backup = backup.to_str().unwrap();
    must(store(&one, &["backup", backup]));
    // More entries than a hash tile has.
    one.sign(&waiting, &[&alice()]).ok(200);
    one.until(id_of(&waiting), "finished");
    for number in 0..140 {
        one.run(
            "say:echo",
            json!({"text": format!("after {number}")}),
            &[&alice()],
        );
    }
    one.stop();
    let made = must(store(&one, &["backup", "--onto", backup]));
    assert!(made["added"].as_u64().unwrap() > 256);
    assert_whole(&one, backup, "whole");
}
