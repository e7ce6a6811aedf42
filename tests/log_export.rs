//! A log copied as a static tlog-tiles directory, through the real binary: whole, in steps, interrupted, attacked.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use countersign::crypto::merkle;
use serde_json::{Value, json};
use support::people::{alice, bob};
use support::{World, wait_for};

fn export(world: &World, directory: &Path, more: &[&str]) -> Output {
    exporting(world, directory, more).output().expect("export")
}

fn exporting(world: &World, directory: &Path, more: &[&str]) -> Command {
    let mut command = world.program(&["log", "export", "--url", &world.wire.url]);
    command.args(more).arg(directory);
    if !more.contains(&"--hashes") {
        command.env("COUNTERSIGN_TOKEN", &world.reader);
    }
    command
}

#[track_caller]
fn exported(world: &World, directory: &Path, more: &[&str]) -> Value {
    let more: Vec<&str> = more.iter().copied().chain(["--json"]).collect();
    let done = export(world, directory, &more);
    assert!(
        done.status.success(),
        "{}{}",
        String::from_utf8_lossy(&done.stdout),
        String::from_utf8_lossy(&done.stderr)
    );
    serde_json::from_slice(&done.stdout).expect("JSON")
}

#[track_caller]
fn refused(world: &World, directory: &Path, more: &[&str]) -> String {
    let before = files(directory);
    let done = export(world, directory, more);
    assert_eq!(done.status.code(), Some(1), "{}", String::from_utf8_lossy(&done.stderr));
    assert_eq!(files(directory).get("checkpoint"), before.get("checkpoint"), "the copy's head was changed");
    String::from_utf8(done.stderr).unwrap()
}

/// Every file below a directory.
fn files(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    fn walk(root: &Path, at: &Path, found: &mut BTreeMap<String, Vec<u8>>) {
        for entry in fs::read_dir(at).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(root, &path, found);
            } else {
                let name = path.strip_prefix(root).unwrap().to_string_lossy().into_owned();
                found.insert(name, fs::read(&path).unwrap());
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(directory, directory, &mut found);
    found
}

/// Holds that a copy is a whole tlog-tiles directory: every tile of its size, and the root of its head.
fn check(directory: &Path, contents: bool) -> u64 {
    let files = files(directory);
    let note = String::from_utf8(files["checkpoint"].clone()).unwrap();
    let size: u64 = note.lines().nth(1).unwrap().parse().unwrap();
    let name = |level: &str, index: u64, width: u64| {
        let partial = if width < 256 { format!(".p/{width}") } else { String::new() };
        format!("tile/{level}/{index:03}{partial}")
    };
    let (mut level, mut hashes): (u32, Vec<merkle::Hash>) = (0, Vec::new());
    loop {
        let entries = size >> (8 * level);
        let mut of_level = Vec::new();
        for index in 0..entries.div_ceil(256) {
            let tile = &files[&name(&level.to_string(), index, (entries - index * 256).min(256))];
            of_level.extend(tile.as_chunks::<32>().0.to_vec());
        }
        assert_eq!(of_level.len() as u64, entries);
        if level == 0 {
            hashes = of_level;
        } else {
            for (at, hash) in of_level.iter().enumerate() {
                assert_eq!(merkle::root(&hashes[at << (8 * level)..(at + 1) << (8 * level)]), *hash);
            }
        }
        level += 1;
        if size >> (8 * level) == 0 {
            break;
        }
    }
    assert_eq!(note.lines().nth(2).unwrap(), STANDARD.encode(merkle::root(&hashes)));
    if contents {
        let mut entries = Vec::new();
        for index in 0..size.div_ceil(256) {
            let tile = &files[&name("entries", index, (size - index * 256).min(256))];
            entries.extend(merkle::split_entries(tile).unwrap().iter().map(|entry| merkle::leaf_hash(entry)));
        }
        assert_eq!(entries, hashes);
    } else {
        assert!(files.keys().all(|name| !name.contains("entries") && !name.contains("blob")), "{:?}", files.keys());
    }
    size
}

fn directory(world: &World, name: &str) -> PathBuf {
    world.path(name)
}

/// Many entries: a denial is one, and runs nothing.
fn fill(world: &World, entries: u64) {
    for _ in 0..entries {
        let proposal = world.propose("plain:true", json!({}));
        world.deny(&proposal, &alice()).ok(200);
    }
}

#[test]
fn an_export_is_a_whole_tlog_tiles_directory_and_grows_by_what_is_new() {
    let world = World::new();
    let copy = directory(&world, "copy");
    world.run("plain:true", json!({}), &[&alice()]);
    let first = exported(&world, &copy, &[]);
    assert_eq!((check(&copy, true), &first["before"]), (world.log_size(), &json!(0)));
    let before = files(&copy);
    assert_eq!(exported(&world, &copy, &[])["tiles"], json!(0), "nothing new");
    assert_eq!(files(&copy), before);
    world.run("two:go", json!({}), &[&alice(), &bob()]);
    world.write("b/runbooks/plain.md", &support::runbook(support::SMALL, &[("true", "true")]));
    let seal = world.seal();
    world.reseal(seal + 1);
    let second = exported(&world, &copy, &[]);
    assert_eq!((check(&copy, true), &second["before"]), (world.log_size(), &first["size"]));
    assert_eq!(second["blobs"], json!(2), "the new step and the new registry");
    for (name, bytes) in before {
        assert!(name == "checkpoint" || files(&copy).get(&name) == Some(&bytes), "{name} was changed");
    }
    // A rostered key reads as a token does; nobody else gets contents, and everybody the hashes.
    let by_key = directory(&world, "by-key");
    world.write("alice.pem", alice().secret.to_pkcs8_v1_pem().as_str());
    let done = world
        .program(&["log", "export", "--url", &world.wire.url, "--key"])
        .arg(world.path("alice.pem"))
        .arg(&by_key)
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    assert_eq!(files(&by_key)["checkpoint"], files(&copy)["checkpoint"]);
    let stranger = world.program(&["log", "export", "--url", &world.wire.url]).arg(world.path("no")).output().unwrap();
    assert_eq!(stranger.status.code(), Some(126));
    let hashes = directory(&world, "hashes");
    exported(&world, &hashes, &["--hashes"]);
    check(&hashes, false);
    assert!(refused(&world, &hashes, &[]).contains("hashes"), "a mirror of hashes does not become a copy half way");
    assert!(refused(&world, &copy, &["--hashes"]).contains("contents"));
    let head = world.program(&["log", "checkpoint", "--url", &world.wire.url]).output().unwrap();
    assert_eq!(head.stdout, files(&copy)["checkpoint"]);
}

#[test]
fn tiles_are_completed_and_an_interrupted_export_is_taken_up() {
    let world = World::new();
    let (copy, hashes) = (directory(&world, "copy"), directory(&world, "hashes"));
    fill(&world, 250);
    exported(&world, &copy, &[]);
    exported(&world, &hashes, &["--hashes"]);
    assert!(check(&copy, true) < 256);
    fill(&world, 40);
    // Killed at any moment, it leaves the copy that was there, or the new one.
    let old = files(&copy);
    for delay in [0, 5, 10, 20, 40, 80, 160] {
        let mut child = exporting(&world, &copy, &[]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(delay));
        let _ = child.kill();
        child.wait().unwrap();
        let now = files(&copy);
        if now["checkpoint"] == old["checkpoint"] {
            for (name, bytes) in &old {
                assert_eq!(now.get(name), Some(bytes), "{name}");
            }
        } else {
            check(&copy, true);
        }
    }
    exported(&world, &copy, &[]);
    exported(&world, &hashes, &["--hashes"]);
    assert_eq!(check(&copy, true), check(&hashes, false));
    assert!(
        copy.join("tile/0/000").is_file() && !copy.join("tile/0/000.p").exists(),
        "the whole tile takes its parts' place"
    );
    // Whatever an interrupted run left that does not fit is fetched again.
    let again = directory(&world, "again");
    fs::create_dir_all(again.join("tile/entries")).unwrap();
    let mut garbage = files(&copy)["tile/entries/000"].clone();
    garbage[100] ^= 1;
    fs::write(again.join("tile/entries/000"), garbage).unwrap();
    exported(&world, &again, &[]);
    check(&again, true);
}

#[test]
fn a_copy_never_takes_another_log_a_shorter_one_or_a_fork() {
    let mut world = World::new();
    let copy = directory(&world, "copy");
    world.stop();
    let database = world.database();
    let both = [database.clone(), database.with_extension("db-wal")];
    let backup: Vec<_> = both.iter().map(|file| fs::read(file).ok()).collect();
    world.start();
    world.run("plain:true", json!({}), &[&alice()]);
    exported(&world, &copy, &[]);
    // The store of before is put back: the log is shorter.
    world.stop();
    let _ = fs::remove_file(database.with_extension("db-shm"));
    for (file, bytes) in both.iter().zip(backup) {
        match bytes {
            Some(bytes) => fs::write(file, bytes).unwrap(),
            None => drop(fs::remove_file(file)),
        }
    }
    if world.try_start().is_ok() {
        assert!(refused(&world, &copy, &[]).contains("there are only"));
        // It grows again, into another history.
        world.run("plain:true", json!({}), &[&bob()]);
        assert!(refused(&world, &copy, &[]).contains("FORK"));
        world.run("plain:true", json!({}), &[&bob()]);
        assert!(refused(&world, &copy, &[]).contains("forked"));
    }
    let other = World::new();
    assert!(refused(&other, &copy, &[]).contains("another directory"));
    check(&copy, true);
}

#[test]
fn a_damaged_copy_is_told_and_left_alone() {
    let world = World::new();
    let copy = directory(&world, "copy");
    exported(&world, &copy, &[]);
    let size = check(&copy, true);
    world.run("plain:true", json!({}), &[&alice()]);
    let tile = copy.join(format!("tile/0/000.p/{size}"));
    let good = fs::read(&tile).unwrap();
    for bad in [vec![], good[32..].to_vec(), vec![0; good.len()]] {
        fs::write(&tile, bad).unwrap();
        assert!(refused(&world, &copy, &[]).contains("damaged"));
    }
    fs::write(&tile, &good).unwrap();
    fs::write(copy.join("checkpoint"), "garbage").unwrap();
    assert!(refused(&world, &copy, &[]).contains("damaged"));
    // A directory that can't be written to.
    let done = export(&world, Path::new("/proc/nowhere"), &[]);
    assert_eq!(done.status.code(), Some(2));
    wait_for("the service goes on", || world.wire.peek("/health").status == 200);
}
