//! Tests of `store move`, `store migrate`, and of backup, check and restore of a store in PostgreSQL.

use std::path::Path;
use std::process::Output;

use crate::support::people::{alice, bob, envelope};
use crate::support::postgres::cluster::Cluster;
use crate::support::{World, assert_says, exited, id_of, people, said, said_at_exit, wait_for};
use serde_json::{Value, json};

use super::packed_tiles::{fill_a_tile, pack_soon, tiles};
use super::store_care::{
    assert_bundled_list, assert_sound, busy, checked, list_of, listed, must, store,
};
use super::stores::{of_0_2_0, serve};

/// Writes a configuration with this schema of the server.
fn configure(world: &World, server: &Cluster, schema: &str) {
    let url = format!("{}?schema={schema}", server.socket_url("service"));
    world.write(
        "b/countersign.toml",
        &format!("name = \"prod\"\ndatabase = \"{url}\"\n[limits]\n[postgres]\nnode = \"first\"\n"),
    );
}

/// Writes a configuration with the SQLite file.
fn configure_file(world: &World) {
    world.write("b/countersign.toml", "name = \"prod\"\n[limits]\n");
}

fn migrate(world: &World, server: &Cluster, schema: &str) -> Output {
    let url = format!("{}?schema={schema}", server.socket_url("owner"));
    world
        .program(&["store", "migrate", &url, "--service-role", "service"])
        .output()
        .expect("migrate")
}

/// Runs `store move`, and kills it at a crash point.
fn moved(world: &World, point: &str) -> Output {
    let mut command = world.program(&["store", "move", "--yes", "--config"]);
    command
        .arg(world.path("b"))
        .arg("--from")
        .arg(world.database())
        .env("COUNTERSIGN_FAULT", point);
    command.output().expect("store move")
}

#[track_caller]
fn refused(output: &Output, words: &str) {
    assert!(
        output.status.code().is_some_and(|code| code != 0),
        "{}",
        said(output)
    );
    assert!(said(output).contains(words), "{words}: {}", said(output));
}

/// Returns all rows of all tables of a backup, each as text, except the numbers of rows that SQLite chooses.
fn rows(backup: &Path) -> Vec<String> {
    let database = rusqlite::Connection::open(backup.join("countersign.db")).unwrap();
    let mut names = database
        .prepare("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")
        .unwrap();
    let names: Vec<String> = names
        .query_map([], |row| row.get(0))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    let mut found = Vec::new();
    for name in names {
        let mut statement = database.prepare(&format!("SELECT * FROM {name}")).unwrap();
        let columns = statement.column_count();
        let of_row = |row: &rusqlite::Row<'_>| {
            let cells: Vec<String> = (0..columns)
                .map(|at| format!("{:?}", row.get_ref(at).unwrap()))
                .collect();
            Ok(format!("{name} {}", cells.join(" ")))
        };
        found.extend(statement.query_map([], of_row).unwrap().map(Result::unwrap));
    }
    found.sort();
    found
}

#[track_caller]
fn assert_same_rows(one: &Path, other: &Path) {
    let (one, other) = (rows(one), rows(other));
    let different = one.iter().zip(&other).find(|(one, other)| one != other);
    assert!(
        different.is_none() && one.len() == other.len(),
        "{} and {} rows: {different:?}",
        one.len(),
        other.len()
    );
}

/// Returns the names and the bytes of the output files of a backup.
fn output_files(backup: &Path) -> Vec<(String, Vec<u8>)> {
    let directories = std::fs::read_dir(backup.join("outputs")).unwrap().flatten();
    let files =
        directories.flat_map(|directory| std::fs::read_dir(directory.path()).unwrap().flatten());
    let mut files: Vec<_> = files
        .map(|file| {
            (
                file.file_name().into_string().unwrap(),
                std::fs::read(file.path()).unwrap(),
            )
        })
        .collect();
    files.sort();
    files
}

fn backed_up(world: &World, name: &str) -> std::path::PathBuf {
    let path = world.path(name);
    must(store(world, &["backup", path.to_str().unwrap()]));
    path
}

#[test]
fn a_moved_log_is_the_same_log() {
    let Some(server) = Cluster::start("a moved log is the same log", "") else {
        return;
    };
    let (mut world, finished, large) = busy();
    let whole = envelope(
        &people::authorization(&world.authorization("plain:true", json!({}))),
        &[&alice()],
    );
    world.submit(&whole).ok(200);
    world.stop();
    let before = assert_sound(&world, &[]);
    let old = backed_up(&world, "old");
    assert!(migrate(&world, &server, "s").status.success());
    configure(&world, &server, "s");
    let output = exited(moved(&world, ""), 0);
    for words in [
        "There is no way back except a backup",
        "100 % of",
        "entries is now in postgres://",
    ] {
        assert!(said(&output).contains(words), "{words}: {}", said(&output));
    }
    let after = assert_sound(&world, &[]);
    for field in ["boundary", "entries", "root", "counts"] {
        assert_eq!(before[0][field], after[0][field], "{field}");
    }
    // The files of the old store are no longer needed: the outputs are rows.
    let outputs = output_files(&world.path("old"));
    assert_eq!(outputs.len(), 1);
    std::fs::remove_dir_all(world.path("b/boundary/outputs")).unwrap();
    let new = backed_up(&world, "new");
    assert_same_rows(&new, &old);
    assert_eq!(output_files(&new), outputs);
    assert_sound(&world, &[new.to_str().unwrap()]);
    // No program serves the old file.
    refused(
        &store(&world, &["check", world.database().to_str().unwrap()]),
        "was moved to postgres://",
    );
    configure_file(&world);
    let message = world.try_start().expect_err("the old file is marked");
    assert!(
        message.contains("was moved to postgres://") && message.contains("never served again"),
        "{message}"
    );
    refused(&moved(&world, ""), "names an SQLite file");
    configure(&world, &server, "s");
    said_at_exit(moved(&world, ""), 0, "An earlier call has finished");
    // The database has everything that the service needs. It serves output files of its own node, which a backup has.
    for (name, bytes) in &outputs {
        std::fs::create_dir_all(world.path(&format!("b/boundary/outputs/{}", &name[..2]))).unwrap();
        std::fs::write(
            world.path(&format!("b/boundary/outputs/{}/{name}", &name[..2])),
            bytes,
        )
        .unwrap();
    }
    world.start();
    assert_eq!(world.started["id"], before[0]["boundary"]);
    world.submit(&whole).problem("nonce-replayed");
    assert_eq!(world.output(&finished, "stdout"), "kept\n");
    assert!(
        world
            .output(&large, "stdout")
            .ends_with("line 2999 of an output that is a file of its own\n")
    );
    world.run("two:go", json!({"text": "moved"}), &[&alice(), &bob()]);
    assert_sound(&world, &[]);
    let serving = backed_up(&world, "serving");
    assert_sound(&world, &[serving.to_str().unwrap()]);
    world.assert_audited();
    world.stop();
}

#[test]
fn a_moved_log_has_the_lists_of_programs_of_runs_and_of_pending_proposals() {
    let Some(server) = Cluster::start("a move of lists of programs", "") else {
        return;
    };
    let (mut world, finished, waiting) = listed();
    world.stop();
    let old = backed_up(&world, "old");
    assert!(migrate(&world, &server, "s").status.success());
    configure(&world, &server, "s");
    exited(moved(&world, ""), 0);
    assert_same_rows(&backed_up(&world, "new"), &old);
    world.start();
    assert_bundled_list(&world, &finished);
    assert_eq!(world.sign(&waiting, &[&alice()]).status, 200);
    let ran = world.until(id_of(&waiting), "finished");
    assert_bundled_list(&world, &ran);
    assert_sound(&world, &[]);
    let mirror = world.export("mirror");
    for run in [&finished, &ran] {
        let (list, digest) = list_of(run);
        let blob = mirror.join(format!("blob/sha256/{digest}"));
        assert_eq!(std::fs::read(blob).unwrap(), list);
    }
    world.assert_audited();
    world.stop();
}

/// This store has rows in every table, an older schema, and a run that was open at a crash.
#[test]
fn a_store_of_0_2_0_with_an_open_run_is_moved() {
    let Some(server) = Cluster::start("a move of a store of 0.2.0", "") else {
        return;
    };
    let mut world = of_0_2_0("");
    let old = backed_up(&world, "old");
    let size = checked(&world, &[old.to_str().unwrap()]).1[0]["entries"].clone();
    assert!(migrate(&world, &server, "s").status.success());
    let before = std::fs::read_to_string(world.path("b/countersign.toml")).unwrap();
    configure(&world, &server, "s");
    exited(moved(&world, ""), 0);
    assert!(assert_sound(&world, &[])[0]["entries"] == size);
    assert_eq!(
        server.psql("SELECT node, deadline > 0 FROM s.crossing"),
        "first|t"
    );
    serve(&mut world);
    wait_for("the open run has its receipt", || {
        server.psql("SELECT count(*) FROM s.crossing") == "0"
    });
    let page = world.wire.get("/v1/proposals", &world.reader).ok(200);
    let open = page["proposals"]
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["step"] == "plain:wait")
        .unwrap();
    assert_eq!(open["status"], "finished", "{page:#}");
    world.check_history();
    world.assert_audited();
    assert_sound(&world, &[]);
    world.stop();
    // The mark stops a service with the old configuration.
    world.write("b/countersign.toml", &before);
    assert!(
        world
            .try_start()
            .expect_err("the old file is marked")
            .contains("was moved to postgres://")
    );
}

#[test]
#[cfg(debug_assertions)]
fn an_interrupted_move_goes_on_and_only_one_store_can_be_served() {
    let Some(server) = Cluster::start("an interrupted move", "") else {
        return;
    };
    let (mut world, ..) = busy();
    world.stop();
    assert!(migrate(&world, &server, "first").status.success());
    configure(&world, &server, "first");
    assert_eq!(moved(&world, "move-rows-copied").status.code(), None);
    assert!(migrate(&world, &server, "s").status.success());
    let mut entries = Value::Null;
    let fingerprint = || server.psql("SELECT encode(seal, 'hex') FROM s.state");
    let mut seen = Vec::new();
    for (number, point) in [
        ("move-begun", true),
        ("move-group-copied:1", true),
        ("move-group-copied:6", true),
        ("move-group-copied:1", true),
        ("move-group-copied:9", true),
        ("move-rows-copied", true),
        ("move-old-log-marked", false),
        ("move-old-log-marked", false),
    ]
    .iter()
    .enumerate()
    {
        let (point, old_opens) = point;
        configure(&world, &server, "s");
        let killed = moved(&world, point);
        assert_eq!(
            killed.status.code(),
            None,
            "{number} {point}: {}",
            said(&killed)
        );
        seen.push(fingerprint());
        let message = world
            .try_start()
            .expect_err("the schema has only a part of the log");
        assert!(
            message.contains("is unfinished"),
            "{number} {point}: {message}"
        );
        refused(&store(&world, &["check"]), "is unfinished");
        configure_file(&world);
        if *old_opens {
            let report = assert_sound(&world, &[]);
            // A service that goes on with the old store changes rows that the move has copied.
            if number == 2 || number == 4 {
                world.start();
                world.run("plain:true", json!({}), &[&alice()]);
                let open = world.propose("two:go", json!({"text": number.to_string()}));
                world.deny(&open, &alice()).ok(200);
                world.stop();
            }
            entries = assert_sound(&world, &[])[0]["entries"].clone();
            assert!(entries.as_u64() >= report[0]["entries"].as_u64());
        } else {
            assert_says(
                world.try_start().expect_err("the old file is marked"),
                "was moved to postgres://",
            );
        }
    }
    // The move copies rows again only after the old store was served. The third of these moves was killed before it had
    // compared the tables to which rows are only added.
    let again: Vec<bool> = seen.windows(2).map(|pair| pair[0] != pair[1]).collect();
    assert_eq!(again, [false, false, false, true, true, false, false]);
    // An earlier move into another schema must not get the log a second time.
    configure(&world, &server, "first");
    refused(&moved(&world, ""), "set `database` to the first of the two");
    assert!(
        world
            .try_start()
            .expect_err("a part of the log")
            .contains("is unfinished")
    );
    configure(&world, &server, "s");
    let killed = moved(&world, "move-finished");
    assert_eq!(killed.status.code(), None, "{}", said(&killed));
    assert!(moved(&world, "").status.success());
    assert_eq!(assert_sound(&world, &[])[0]["entries"], entries);
    world.start();
    world.run("plain:true", json!({}), &[&alice()]);
    world.assert_audited();
    assert_sound(&world, &[]);
}

/// Adds rows to the old store, so that each kind of table has more rows than one group.
fn add_rows(world: &World) {
    let database = rusqlite::Connection::open(world.database()).unwrap();
    let numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 9000)";
    for statement in [
        // The database sorts these texts by another rule than by their bytes.
        "INSERT INTO signature SELECT x'00', char(i % 997 + 33) || i, i, 'é', 1, -i, zeroblob(0) FROM n",
        "INSERT INTO output_of SELECT zeroblob(32), CAST(i AS BLOB) FROM n",
        "INSERT INTO nonce SELECT unhex(printf('0000003afff00000%032x', i)), -1, zeroblob(16) FROM n",
        "INSERT INTO blob SELECT CAST(i AS BLOB), zeroblob(700) FROM n",
        "INSERT INTO token SELECT char(i % 997 + 33) || '_' || i, '{}', NULL, NULL, i, 1 FROM n",
        "INSERT INTO denial SELECT CAST(i AS BLOB), char(i % 97 + 33), i, i, i % 2 FROM n",
    ] {
        database
            .execute(
                &statement.replace("SELECT", &format!("{numbers} SELECT")),
                [],
            )
            .unwrap();
    }
    database
        .execute("UPDATE state SET nonces = (SELECT count(*) FROM nonce)", [])
        .unwrap();
    // Output files whose last piece is full, not full, or missing.
    for length in [2 << 20, (2 << 20) + 1, 3_000_000] {
        let bytes = vec![(length % 251) as u8; length];
        let name = blake3::hash(&bytes);
        let directory = world.path(&format!("b/boundary/outputs/{}", &name.to_hex()[..2]));
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::write(directory.join(name.to_hex().as_str()), bytes).unwrap();
        let sql = "INSERT INTO output VALUES (?1, ?2, 7, NULL)";
        database.execute(sql, (name.as_bytes(), length)).unwrap();
    }
}

#[test]
#[cfg(debug_assertions)]
fn a_killed_move_goes_on_after_the_last_group() {
    let Some(server) = Cluster::start("a killed move", "") else {
        return;
    };
    let (mut world, ..) = busy();
    world.stop();
    add_rows(&world);
    let old = backed_up(&world, "old");
    assert!(migrate(&world, &server, "s").status.success());
    configure(&world, &server, "s");
    let mut kills = 0;
    let mut done = 0;
    let last = loop {
        let output = moved(&world, "move-group-copied:5");
        if output.status.success() {
            break output;
        }
        assert_eq!(output.status.code(), None, "{}", said(&output));
        let count = "SELECT (SELECT count(*) FROM s.proposal) + (SELECT count(*) FROM s.signature) \
                     + (SELECT count(*) FROM s.nonce) + (SELECT count(*) FROM s.output_of) \
                     + (SELECT count(*) FROM s.token) + (SELECT count(*) FROM s.piece)";
        let now: u64 = server.psql(count).parse().unwrap();
        assert!(now >= done && kills < 30, "{now} after {done}");
        (done, kills) = (now, kills + 1);
    };
    assert!(kills > 3, "only {kills} times killed: {}", said(&last));
    std::fs::remove_dir_all(world.path("b/boundary/outputs")).unwrap();
    let new = backed_up(&world, "new");
    assert_same_rows(&new, &old);
    assert_eq!(output_files(&new), output_files(&old));
}

#[test]
fn a_move_needs_an_empty_schema_and_a_store_that_nobody_uses() {
    let Some(server) = Cluster::start("a refused move", "") else {
        return;
    };
    let (mut world, ..) = busy();
    configure(&world, &server, "s");
    refused(&moved(&world, ""), "in use by process");
    configure_file(&world);
    world.stop();
    let old = std::fs::read(world.database()).unwrap();
    world.start();
    world.run("plain:true", json!({}), &[&alice()]);
    world.stop();
    configure(&world, &server, "s");
    refused(&moved(&world, ""), "countersign store migrate");
    // A schema of another program, a half-made schema and an existing schema are not migrated.
    server.psql("CREATE SCHEMA s AUTHORIZATION owner; CREATE TABLE s.t (n int)");
    refused(&migrate(&world, &server, "s"), "already has tables");
    refused(
        &moved(&world, ""),
        "other tables or an unfinished migration",
    );
    server.psql("DROP TABLE s.t");
    assert!(migrate(&world, &server, "s").status.success());
    refused(&migrate(&world, &server, "s"), "already has tables");
    server.psql("ALTER TABLE s.leaf ADD COLUMN more int");
    refused(&moved(&world, ""), "column leaf.more was added by hand");
    server.psql("ALTER TABLE s.leaf DROP COLUMN more; INSERT INTO s.blob VALUES ('x', 'y')");
    refused(&moved(&world, ""), "already has another log");
    server.psql("DELETE FROM s.blob");
    let nobody = world
        .program(&["store", "move", "--config"])
        .arg(world.path("b"))
        .arg("--from")
        .arg(world.database())
        .output();
    refused(&nobody.unwrap(), "give --yes");
    // An old copy of the store has forgotten spent nonces.
    let new = std::fs::read(world.database()).unwrap();
    std::fs::write(world.database(), old).unwrap();
    refused(&moved(&world, ""), "the store is an older copy");
    std::fs::write(world.database(), new).unwrap();
    assert!(moved(&world, "").status.success());
    // A changed row, and a lost spent nonce.
    server.psql("UPDATE s.leaf SET at = at - 100 WHERE idx = 6");
    let (code, stores) = checked(&world, &[]);
    assert!(
        code == 1
            && stores[0]["defects"]
                .to_string()
                .contains("but the signed entry is dated"),
        "{stores:#?}"
    );
    server.psql("UPDATE s.leaf SET at = at + 100 WHERE idx = 6; DELETE FROM s.nonce");
    let (code, stores) = checked(&world, &[]);
    assert!(
        code == 1 && stores[0]["defects"].to_string().contains("could run again"),
        "{stores:#?}"
    );
}

#[test]
fn a_backup_is_restored_into_a_schema() {
    let Some(server) = Cluster::start("a restore into a schema", "") else {
        return;
    };
    let (mut world, finished, _) = busy();
    let backup = backed_up(&world, "backup");
    let backup = backup.to_str().unwrap();
    world.stop();
    assert!(migrate(&world, &server, "s").status.success());
    configure(&world, &server, "s");
    if cfg!(debug_assertions) {
        let mut killed = world.program(&["store", "--config"]);
        killed
            .arg(world.path("b"))
            .args(["restore", backup])
            .env("COUNTERSIGN_FAULT", "move-group-copied:3");
        assert_eq!(killed.output().unwrap().status.code(), None);
        assert!(
            world
                .try_start()
                .expect_err("half a restore is not served")
                .contains("is unfinished")
        );
        refused(
            &store(&world, &["restore", backup]),
            "drop the schema, run `countersign store migrate`",
        );
        server.psql("DROP SCHEMA s CASCADE");
        assert!(migrate(&world, &server, "s").status.success());
    }
    let restored = must(store(&world, &["restore", backup, "--keep-tokens", "all"]));
    refused(
        &store(&world, &["restore", backup]),
        "a restore never replaces a store",
    );
    world.start();
    assert_eq!(
        (&world.started["id"], world.output(&finished, "stdout")),
        (&restored["id"], "kept\n".to_owned())
    );
    world.run("plain:true", json!({}), &[&alice()]);
    assert_sound(&world, &[]);
    let second = backed_up(&world, "second");
    assert_sound(&world, &[second.to_str().unwrap()]);
    world.stop();
    // The backup of PostgreSQL has the format of SQLite.
    configure_file(&world);
    std::fs::remove_file(world.database()).unwrap();
    must(store(
        &world,
        &["restore", second.to_str().unwrap(), "--keep-tokens", "all"],
    ));
    world.start();
    assert_eq!(world.output(&finished, "stdout"), "kept\n");
    assert_sound(&world, &[]);
}

#[test]
fn packed_entries_become_rows_in_a_move() {
    let Some(server) = Cluster::start("packed entries become rows in a move", "") else {
        return;
    };
    let mut world = World::new();
    let first = fill_a_tile(&world);
    let entries = world.raw_entries(world.log_size());
    world.stop();
    pack_soon(&world);
    world.start();
    wait_for("the tile is packed", || tiles(&world) == 1);
    world.stop();
    assert!(migrate(&world, &server, "s").status.success());
    configure(&world, &server, "s");
    exited(moved(&world, ""), 0);
    assert_sound(&world, &[]);
    world.start();
    assert!(world.raw_entries(entries.len() as u64) == entries);
    world.assert_verified(&first);
    world.assert_audited();
}
