//! A service that packs the old entries of its log.

use std::collections::BTreeMap;
use std::path::Path;

use crate::support::people::alice;
use crate::support::{World, said, said_at_exit, wait_for};
use serde_json::{Value, json};

use super::store_care::{assert_sound, checked, must, store};

/// Number of packed tiles.
pub(super) fn tiles(world: &World) -> u64 {
    let database = rusqlite::Connection::open(world.database()).unwrap();
    database
        .query_row("SELECT count(*) FROM packed", [], |row| row.get(0))
        .unwrap()
}

/// Returns all files below a directory with their bytes.
pub(super) fn files(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(directory).unwrap().map(Result::unwrap) {
        let name = entry.file_name().into_string().unwrap();
        match entry.path().is_dir() {
            true => found.extend(
                files(&entry.path())
                    .into_iter()
                    .map(|(below, bytes)| (format!("{name}/{below}"), bytes)),
            ),
            false => drop(found.insert(name, std::fs::read(entry.path()).unwrap())),
        }
    }
    found
}

/// Entries, hash tile, bundle and export.
type Leaving = (Vec<Vec<u8>>, Vec<u8>, Vec<u8>, BTreeMap<String, Vec<u8>>);

fn leaving(world: &World, finished: &Value, name: &str) -> Leaving {
    let tile = world.wire.get("/log/tile/0/000", &world.reader).body;
    (
        world.raw_entries(world.log_size()),
        tile,
        world.bundle(finished),
        files(&world.export(name)),
    )
}

/// Fills a tile of the log. Returns the first run.
pub(super) fn fill_a_tile(world: &World) -> Value {
    let first = world.run("say:echo", json!({"text": "first"}), &[&alice()]);
    while world.log_size() < 260 {
        world.run("plain:true", json!({}), &[&alice()]);
    }
    first
}

/// The next start packs entries that are a second old.
pub(super) fn pack_soon(world: &World) {
    let config = std::fs::read_to_string(world.path("b/countersign.toml")).unwrap();
    world.write(
        "b/countersign.toml",
        &config.replacen("[limits]", "[retention]\npack = \"1s\"\n[limits]", 1),
    );
}

#[test]
fn old_entries_are_packed_and_all_bytes_that_leave_the_boundary_stay_equal() {
    let mut world = World::new();
    let first = fill_a_tile(&world);
    assert_eq!(tiles(&world), 0, "the entries are new");
    let before = leaving(&world, &first, "before");
    pack_soon(&world);
    world.stop();
    // Only builds with debug assertions contain crash points.
    let points: &[_] = if cfg!(debug_assertions) {
        &[("before-pack-commit", 0), ("after-pack-commit", 1)]
    } else {
        &[]
    };
    for (point, packed) in points {
        world.setup.env("COUNTERSIGN_FAULT", *point);
        world.start();
        assert_eq!(world.ended(), None, "{point}");
        world
            .setup
            .env
            .retain(|(name, _)| name != "COUNTERSIGN_FAULT");
        assert_eq!(tiles(&world), *packed, "{point}");
        assert_sound(&world, &[]);
    }
    world.start();
    wait_for("the tile is packed", || tiles(&world) == 1);
    assert!(leaving(&world, &first, "after") == before);
    world.assert_verified(&first);
    world.check_history();
    world.assert_audited();
    assert_sound(&world, &[]);
    let [roster, id] =
        ["roster", "id"].map(|name| world.started[name].as_str().unwrap().to_owned());
    // Backup, and restore with a new log.
    let backup = world.path("backup");
    must(store(&world, &["backup", backup.to_str().unwrap()]));
    assert_sound(&world, &[backup.to_str().unwrap()]);
    world.stop();
    std::fs::remove_file(world.database()).unwrap();
    let restored = must(store(
        &world,
        &["restore", backup.to_str().unwrap(), "--keep-tokens", "all"],
    ));
    let closed = restored["closed"].as_str().unwrap();
    for place in [backup.to_str().unwrap(), closed] {
        let arguments = [
            "audit",
            place,
            "--roster",
            &roster,
            "--boundary",
            &id,
            "--url",
            "http://127.0.0.1:1",
        ];
        let audited = world.program(&arguments).output().unwrap();
        assert_eq!(
            audited.status.code(),
            Some(0),
            "{place}: {}",
            said(&audited)
        );
    }
    world.start();
    world.assert_verified(&world.run("say:echo", json!({"text": "in the next log"}), &[&alice()]));
    world.stop();
    // A damaged packed tile of a backup is named, and the backup is not restored.
    let sound = std::fs::read(backup.join("countersign.db")).unwrap();
    for (statement, words) in [
        ("DELETE FROM packed", "packed tile 0, log entry 0"),
        (
            "INSERT INTO packed SELECT 7, data FROM packed",
            "the table has 2 rows, but the number of packed tiles is 1",
        ),
        (
            "UPDATE leaf SET data = x'00' WHERE idx = 100",
            "only 255 of its 256 entries are packed",
        ),
        (
            "UPDATE packed SET data = CAST(substr(data, 1, 300) || x'00' || substr(data, 302) AS BLOB)",
            "packed tile 0, log entry ",
        ),
    ] {
        std::fs::write(backup.join("countersign.db"), &sound).unwrap();
        let database = rusqlite::Connection::open(backup.join("countersign.db")).unwrap();
        database.execute_batch(statement).unwrap();
        drop(database);
        let (code, stores) = checked(&world, &[backup.to_str().unwrap()]);
        assert!(
            code == 1 && stores[0]["defects"].to_string().contains(words),
            "{statement}: {stores:#?}"
        );
    }
    std::fs::remove_file(world.database()).unwrap();
    said_at_exit(
        store(&world, &["restore", backup.to_str().unwrap()]),
        2,
        "nothing was restored",
    );
}

#[test]
fn an_operator_is_told_of_a_damaged_entry_that_keeps_old_entries_from_being_packed() {
    let mut world = World::new();
    pack_soon(&world);
    world.restart();
    world.run("plain:true", json!({}), &[&alice()]);
    let database = rusqlite::Connection::open(world.database()).unwrap();
    database
        .busy_timeout(std::time::Duration::from_secs(10))
        .unwrap();
    database
        .execute("UPDATE leaf SET data = x'00' WHERE idx = 1", [])
        .unwrap();
    drop(database);
    fill_a_tile(&world);
    wait_for("the note", || {
        world
            .wire
            .peek("/ready")
            .text()
            .contains("do not have their hashes, so they are not packed")
    });
    assert_eq!(tiles(&world), 0);
}
