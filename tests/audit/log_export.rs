//! Tests of `log export` through the real binary: whole and incremental copies, interrupted exports and malicious
//! servers.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crate::history::{ALICE, BOB, BOUNDARY, BOUNDARY_2, Log, MALLORY, key};
use crate::second::python;
use crate::support::people::{Key, alice, bob, mallory};
use crate::support::{self, World, exited, people, wait_for};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use documents::{
    Note, SecretKey, TileKind, TilePath, WitnessKey, hex, merkle, push_entry, sign_note,
    split_entries,
};
use serde_json::{Value, json};

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
    assert_eq!(
        done.status.code(),
        Some(1),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
    assert_eq!(
        files(directory).get("checkpoint"),
        before.get("checkpoint"),
        "the copy's head was changed"
    );
    String::from_utf8(done.stderr).unwrap()
}

/// All files below a directory, by relative path.
fn files(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    fn walk(root: &Path, at: &Path, found: &mut BTreeMap<String, Vec<u8>>) {
        for entry in fs::read_dir(at).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(root, &path, found);
            } else {
                let name = path
                    .strip_prefix(root)
                    .unwrap()
                    .to_string_lossy()
                    .into_owned();
                found.insert(name, fs::read(&path).unwrap());
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(directory, directory, &mut found);
    found
}

/// Asserts that a copy is a complete tlog-tiles directory: every tile has its size, and the tiles give the root hash of
/// the checkpoint. Returns the size of the log.
fn check(directory: &Path, contents: bool) -> u64 {
    let files = files(directory);
    let note = String::from_utf8(files["checkpoint"].clone()).unwrap();
    let size: u64 = note.lines().nth(1).unwrap().parse().unwrap();
    let name = |level: &str, index: u64, width: u64| {
        let partial = if width < 256 {
            format!(".p/{width}")
        } else {
            String::new()
        };
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
                assert_eq!(
                    merkle::root(&hashes[at << (8 * level)..(at + 1) << (8 * level)]),
                    *hash
                );
            }
        }
        level += 1;
        if size >> (8 * level) == 0 {
            break;
        }
    }
    assert_eq!(
        note.lines().nth(2).unwrap(),
        STANDARD.encode(merkle::root(&hashes))
    );
    if contents {
        let mut entries = Vec::new();
        for index in 0..size.div_ceil(256) {
            let tile = &files[&name("entries", index, (size - index * 256).min(256))];
            entries.extend(
                split_entries(tile)
                    .unwrap()
                    .iter()
                    .map(|entry| merkle::leaf_hash(entry)),
            );
        }
        assert_eq!(entries, hashes);
    } else {
        assert!(
            files
                .keys()
                .all(|name| !name.contains("entries") && !name.contains("blob")),
            "{:?}",
            files.keys()
        );
    }
    size
}

fn directory(world: &World, name: &str) -> PathBuf {
    world.path(name)
}

/// Adds entries by denials, because a denial runs no step.
fn fill(world: &World, entries: u64) {
    for _ in 0..entries {
        let proposal = world.propose("plain:true", json!({}));
        world.deny(&proposal, &alice()).ok(200);
    }
}

#[test]
fn an_export_is_a_complete_tlog_tiles_directory_and_later_exports_add_new_entries() {
    let world = World::new();
    let copy = directory(&world, "copy");
    world.run("plain:true", json!({}), &[&alice()]);
    let first = exported(&world, &copy, &[]);
    assert_eq!(
        (check(&copy, true), &first["before"]),
        (world.log_size(), &json!(0))
    );
    let before = files(&copy);
    assert_eq!(
        exported(&world, &copy, &[])["tiles"],
        json!(0),
        "nothing new"
    );
    assert_eq!(files(&copy), before);
    world.run("two:go", json!({}), &[&alice(), &bob()]);
    world.write(
        "b/runbooks/plain.md",
        &support::runbook(support::SMALL, &[("true", "true")]),
    );
    let seal = world.seal();
    world.reseal(seal + 1);
    let second = exported(&world, &copy, &[]);
    assert_eq!(
        (check(&copy, true), &second["before"]),
        (world.log_size(), &first["size"])
    );
    assert_eq!(
        second["blobs"],
        json!(2),
        "the new step and the new registry"
    );
    for (name, bytes) in before {
        assert!(
            name == "checkpoint" || files(&copy).get(&name) == Some(&bytes),
            "{name} was changed"
        );
    }
    // An export of the contents needs a token or a key in the roster. Anyone can export the hashes.
    let by_key = directory(&world, "by-key");
    world.write("alice.pem", alice().secret.to_pkcs8_v1_pem().as_str());
    let done = world
        .program(&["log", "export", "--url", &world.wire.url, "--key"])
        .arg(world.path("alice.pem"))
        .arg(&by_key)
        .output()
        .unwrap();
    assert!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
    assert_eq!(files(&by_key)["checkpoint"], files(&copy)["checkpoint"]);
    let stranger = world
        .program(&["log", "export", "--url", &world.wire.url])
        .arg(world.path("no"))
        .output()
        .unwrap();
    assert_eq!(stranger.status.code(), Some(126));
    let hashes = directory(&world, "hashes");
    exported(&world, &hashes, &["--hashes"]);
    check(&hashes, false);
    let audit = world
        .program(&[
            "audit",
            "--roster",
            world.started["roster"].as_str().unwrap(),
        ])
        .arg(&hashes)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&audit.stderr).into_owned();
    assert!(
        audit.status.code() == Some(1) && said.contains("a mirror of hashes"),
        "{said}"
    );
    assert!(
        refused(&world, &hashes, &[]).contains("hashes"),
        "a mirror of hashes does not become a copy half way"
    );
    assert!(refused(&world, &copy, &["--hashes"]).contains("contents"));
    let head = world
        .program(&["log", "checkpoint", "--url", &world.wire.url])
        .output()
        .unwrap();
    assert_eq!(head.stdout, files(&copy)["checkpoint"]);
}

#[test]
fn a_later_export_completes_tiles_and_continues_an_interrupted_export() {
    let world = World::new();
    let (copy, hashes) = (directory(&world, "copy"), directory(&world, "hashes"));
    fill(&world, 250);
    exported(&world, &copy, &[]);
    exported(&world, &hashes, &["--hashes"]);
    assert!(check(&copy, true) < 256);
    fill(&world, 40);
    // An export that is killed at any time leaves either the old copy or the complete new copy.
    let old = files(&copy);
    for delay in [0, 5, 10, 20, 40, 80, 160] {
        let mut child = exporting(&world, &copy, &[])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
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
    // A temporary file of a killed export. The temporary files of all exports are in this directory.
    plant(&copy, ".new-abcdef", b"begun");
    exported(&world, &copy, &[]);
    exported(&world, &hashes, &["--hashes"]);
    assert_eq!(check(&copy, true), check(&hashes, false));
    let left = files(&copy).into_keys().find(|name| name.contains(".new-"));
    assert_eq!(left, None, "a run that was killed leaves nothing for ever");
    assert!(
        copy.join("tile/0/000").is_file() && !copy.join("tile/0/000.p").exists(),
        "the whole tile takes its parts' place"
    );
    // A damaged tile of an interrupted export is fetched again.
    let again = directory(&world, "again");
    fs::create_dir_all(again.join("tile/entries")).unwrap();
    let mut garbage = files(&copy)["tile/entries/000"].clone();
    garbage[100] ^= 1;
    fs::write(again.join("tile/entries/000"), garbage).unwrap();
    exported(&world, &again, &[]);
    check(&again, true);
}

#[test]
fn a_copy_never_accepts_another_log_or_a_shorter_log_or_a_fork() {
    let mut world = World::new();
    let copy = directory(&world, "copy");
    world.stop();
    let database = world.database();
    let both = [database.clone(), database.with_extension("db-wal")];
    let backup: Vec<_> = both.iter().map(|file| fs::read(file).ok()).collect();
    world.start();
    world.run("plain:true", json!({}), &[&alice()]);
    exported(&world, &copy, &[]);
    // Restore the earlier store, so that the log is shorter than the copy.
    world.stop();
    let _ = fs::remove_file(database.with_extension("db-shm"));
    for (file, bytes) in both.iter().zip(backup) {
        match bytes {
            Some(bytes) => fs::write(file, bytes).unwrap(),
            None => drop(fs::remove_file(file)),
        }
    }
    if world.try_start().is_ok() {
        assert!(refused(&world, &copy, &[]).contains("the source has only"));
        // The log grows again, with different entries.
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
fn a_damaged_copy_is_reported_and_stays_unchanged() {
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
    // A directory that is not writable.
    let done = export(&world, Path::new("/proc/nowhere"), &[]);
    assert_eq!(done.status.code(), Some(2));
    wait_for("the service goes on", || {
        world.wire.peek("/health").status == 200
    });
}

// Malicious servers

type Files = BTreeMap<String, Vec<u8>>;

/// One log at two sizes, with contents and with hashes only.
struct Grown {
    old: Files,
    new: Files,
    old_hashes: Files,
    new_hashes: Files,
}

fn grown() -> &'static Grown {
    static GROWN: OnceLock<Grown> = OnceLock::new();
    GROWN.get_or_init(|| {
        let world = World::new();
        let (copy, hashes) = (directory(&world, "copy"), directory(&world, "hashes"));
        fill(&world, 250 - world.log_size());
        exported(&world, &copy, &[]);
        exported(&world, &hashes, &["--hashes"]);
        let (old, old_hashes) = (files(&copy), files(&hashes));
        fill(&world, 40);
        exported(&world, &copy, &[]);
        exported(&world, &hashes, &["--hashes"]);
        assert_eq!(check(&copy, true), 290);
        Grown {
            old,
            new: files(&copy),
            old_hashes,
            new_hashes: files(&hashes),
        }
    })
}

/// Serves these files as a log until the test ends.
fn serve(files: &Files) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let files = files.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let mut line = String::new();
            let mut reader = BufReader::new(&stream);
            let _ = reader.read_line(&mut line);
            let name = line
                .split(' ')
                .nth(1)
                .unwrap_or_default()
                .trim_start_matches("/log/")
                .to_owned();
            while reader.read_line(&mut line).is_ok_and(|read| read > 2) {}
            let (status, body) = files
                .get(&name)
                .map_or((404, &b""[..]), |body| (200, &body[..]));
            let head = format!(
                "HTTP/1.1 {status} x\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                body.len()
            );
            let _ = (&stream)
                .write_all(head.as_bytes())
                .and_then(|()| (&stream).write_all(body));
        }
    });
    url
}

/// Writes these files to a directory. The home directory beside it trusts no roster.
fn lay(files: &Files) -> (tempfile::TempDir, PathBuf) {
    let temp = tempfile::tempdir().unwrap();
    let copy = temp.path().join("copy");
    fs::create_dir(&copy).unwrap();
    for (name, bytes) in files {
        plant(&copy, name, bytes);
    }
    (temp, copy)
}

fn plant(copy: &Path, name: &str, bytes: &[u8]) {
    fs::create_dir_all(copy.join(name).parent().unwrap()).unwrap();
    fs::write(copy.join(name), bytes).unwrap();
}

fn export_from(url: &str, copy: &Path, more: &[&str]) -> Command {
    let mut command = Command::new(support::PROGRAM);
    command
        .env_clear()
        .env("HOME", copy.parent().unwrap())
        .stdin(Stdio::null());
    command
        .args(["log", "export", "--url", url])
        .args(more)
        .arg(copy);
    command
}

/// Exports to `copy`, and asserts that the export succeeds and the copy is complete.
#[track_caller]
fn taken(files: &Files, copy: &Path, more: &[&str]) {
    let done = export_from(&serve(files), copy, more).output().unwrap();
    assert!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
    check(copy, !more.contains(&"--hashes"));
    for (name, bytes) in files
        .iter()
        .filter(|(name, _)| !name.starts_with("checkpoints/"))
    {
        assert!(
            fs::read(copy.join(name)).as_ref().ok() == Some(bytes),
            "{name}"
        );
    }
}

/// Exports to `copy`, and asserts that the export fails for this reason and changes no file of the copy. Files beyond
/// the copy's checkpoint may be new.
#[track_caller]
fn not_taken(files_there: &Files, copy: &Path, more: &[&str], why: &str) {
    let before = files(copy);
    let done = export_from(&serve(files_there), copy, more)
        .output()
        .unwrap();
    let said = String::from_utf8(done.stderr).unwrap();
    assert_eq!(done.status.code(), Some(1), "{said}");
    assert!(said.contains(why), "{said}");
    let after = files(copy);
    assert_eq!(
        after.contains_key("checkpoint"),
        before.contains_key("checkpoint")
    );
    for (name, bytes) in &before {
        assert!(after.get(name) == Some(bytes), "{name} was changed");
    }
}

/// The same tile with one changed byte in one entry.
fn other_entry(tile: &[u8], at: usize) -> Vec<u8> {
    let mut other = Vec::new();
    for (index, entry) in split_entries(tile).unwrap().into_iter().enumerate() {
        let mut entry = entry.to_vec();
        if index == at {
            entry[100] ^= 1;
        }
        push_entry(&mut other, &entry).unwrap();
    }
    other
}

/// The checkpoint of a copy, signed by another key under the same name.
fn signed_by(key: &Key, note: &[u8]) -> Vec<u8> {
    let note = Note::parse(std::str::from_utf8(note).unwrap()).unwrap();
    let (text, public) = (note.unverified_text(), key.secret.public());
    let origin = text.lines().next().unwrap();
    let signed = sign_note(text, origin, &public, |bytes| {
        Ok::<_, Infallible>(key.secret.sign(bytes))
    });
    signed.unwrap().to_string().into_bytes()
}

#[test]
fn no_server_can_change_an_entry_of_the_copy() {
    let Grown {
        old,
        new,
        old_hashes,
        new_hashes,
    } = grown();
    let bad = other_entry(&new["tile/entries/000"], 5);
    let mut lying = new.clone();
    lying.insert("tile/entries/000".into(), bad.clone());
    let (_temp, copy) = lay(old);
    not_taken(&lying, &copy, &[], "FORK");
    assert_eq!(&files(&copy), old, "nothing was written at all");
    let mut lying = new_hashes.clone();
    lying.get_mut("tile/0/000").unwrap()[5 * 32] ^= 1;
    let (_temp, copy) = lay(old_hashes);
    not_taken(&lying, &copy, &["--hashes"], "FORK");
    assert_eq!(&files(&copy), old_hashes, "nothing was written at all");
    // An interrupted export left the changed tile before the export checked the tile.
    let (_temp, copy) = lay(old);
    plant(&copy, "tile/entries/000", &bad);
    taken(new, &copy, &[]);
    let (_temp, copy) = lay(old_hashes);
    let mut bad = new_hashes["tile/0/000"].clone();
    bad[5 * 32] ^= 1;
    plant(&copy, "tile/0/000", &bad);
    taken(new_hashes, &copy, &["--hashes"]);
}

#[test]
fn an_invalid_file_of_an_interrupted_export_is_fetched_again() {
    let Grown {
        old,
        new,
        old_hashes,
        new_hashes,
    } = grown();
    for (more, name, begun, there) in [
        (&[][..], "tile/entries/000", old, new),
        (&["--hashes"][..], "tile/0/000", old_hashes, new_hashes),
    ] {
        let good = &there[name];
        let short = match more {
            [] => good.len() - 2 - split_entries(good).unwrap()[255].len(),
            _ => 255 * 32,
        };
        for bad in [
            vec![],
            good[..good.len() - 7].to_vec(),
            good[..short].to_vec(),
            vec![7; good.len()],
        ] {
            for base in [&Files::new(), begun] {
                let (_temp, copy) = lay(base);
                plant(&copy, name, &bad);
                taken(there, &copy, more);
            }
        }
        // A file that is larger than any tile, and a FIFO without a writer.
        let (_temp, copy) = lay(begun);
        plant(&copy, name, b"");
        fs::File::options()
            .write(true)
            .open(copy.join(name))
            .unwrap()
            .set_len(18 << 20)
            .unwrap();
        taken(there, &copy, more);
        let (_temp, copy) = lay(begun);
        fifo(&copy.join(name));
        taken(there, &copy, more);
    }
}

fn fifo(path: &Path) {
    let made = Command::new("mkfifo").arg(path).status().unwrap();
    assert!(made.success());
}

#[test]
fn a_copy_directory_that_contains_a_pipe_does_not_block_the_export() {
    let (_temp, copy) = lay(&Files::new());
    fifo(&copy.join("checkpoint"));
    let url = serve(&grown().new);
    for mut command in [export_from(&url, &copy, &[]), {
        let mut audit = Command::new(support::PROGRAM);
        audit
            .env("HOME", copy.parent().unwrap())
            .arg("audit")
            .arg(&copy);
        audit
    }] {
        let mut child = command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut ended = None;
        let deadline = Instant::now() + Duration::from_secs(10);
        while ended.is_none() && Instant::now() < deadline {
            ended = child.try_wait().unwrap();
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = child.kill();
        child.wait().unwrap();
        assert!(ended.is_some_and(|status| !status.success()), "{ended:?}");
    }
}

#[test]
fn a_head_without_a_boundary_signature_is_refused_and_every_head_is_stored() {
    let Grown {
        old,
        new,
        old_hashes,
        new_hashes,
    } = grown();
    let mallory = mallory();
    let mut lying = new.clone();
    lying.insert("checkpoint".into(), signed_by(&mallory, &new["checkpoint"]));
    // Also copies without earlier checkpoints.
    let without = |copy: &Files| -> Files {
        copy.iter()
            .filter(|(name, _)| !name.starts_with("checkpoints/"))
            .map(|(a, b)| (a.clone(), b.clone()))
            .collect()
    };
    for base in [&Files::new(), old, &without(old)] {
        let (_temp, copy) = lay(base);
        not_taken(&lying, &copy, &[], "has no valid signature");
        taken(new, &copy, &[]);
        assert_eq!(files(&copy)["checkpoints/290"], new["checkpoint"]);
        if let Some(earlier) = base.get("checkpoint") {
            assert_eq!(&files(&copy)["checkpoints/250"], earlier);
        }
    }
    // With a trusted roster, only the boundary of this roster is accepted.
    let genesis: Value =
        serde_json::from_slice(split_entries(&new["tile/entries/000"]).unwrap()[0]).unwrap();
    let seal: Value = serde_json::from_slice(
        &STANDARD
            .decode(genesis["payload"].as_str().unwrap())
            .unwrap(),
    )
    .unwrap();
    let roster = seal["predicate"]["roster"].as_str().unwrap();
    let (_temp, copy) = lay(&Files::new());
    let other = format!("sha256:{}", "a".repeat(64));
    not_taken(new, &copy, &["--roster", &other], "trusted");
    taken(new, &copy, &["--roster", roster]);
    // Without contents, the only roster is the one that the user names. The export keeps the earlier checkpoint.
    lying = new_hashes.clone();
    lying.insert("checkpoint".into(), signed_by(&mallory, &new["checkpoint"]));
    let (temp, copy) = lay(old_hashes);
    let payload = STANDARD.encode(&new[&format!("blob/sha256/{}", &roster[7..])]);
    let envelope = json!({"payload": payload, "payloadType": people::IN_TOTO, "signatures": []});
    let file = temp.path().join("roster.json");
    fs::write(&file, envelope.to_string()).unwrap();
    not_taken(
        &lying,
        &copy,
        &["--hashes", "--roster", file.to_str().unwrap()],
        "has no valid signature",
    );
    taken(
        new_hashes,
        &copy,
        &["--hashes", "--roster", file.to_str().unwrap()],
    );
    let (_temp, copy) = lay(&without(old_hashes));
    taken(&lying, &copy, &["--hashes"]);
    assert_eq!(
        files(&copy)["checkpoints/250"],
        old["checkpoint"],
        "what shows the fork is not lost"
    );
    // A killed export saw a different checkpoint of this size.
    let (_temp, copy) = lay(old);
    let other = String::from_utf8(old["checkpoint"].clone())
        .unwrap()
        .replacen("\n250\n", "\n290\n", 1);
    plant(&copy, "checkpoints/290", other.as_bytes());
    not_taken(new, &copy, &[], "FORK");
    // If no trusted roster leads to the roster of this boundary, the message asks for `--roster`. A digest in
    // `--roster` has precedence.
    let (temp, copy) = lay(&Files::new());
    let config = temp.path().join(".config/countersign");
    fs::create_dir_all(&config).unwrap();
    fs::write(config.join("trust"), format!("sha256:{}\n", "b".repeat(64))).unwrap();
    not_taken(new, &copy, &[], "give --roster");
    taken(new, &copy, &["--roster", roster]);
}

/// The files of a generated log of at most 256 entries, with a checkpoint that this key signed.
fn made(log: &Log, signer: u8) -> Files {
    let hashes: Vec<_> = log
        .entries
        .iter()
        .map(|entry| merkle::leaf_hash(entry))
        .collect();
    let mut tile = Vec::new();
    log.entries
        .iter()
        .for_each(|entry| push_entry(&mut tile, entry).unwrap());
    let path = |kind| {
        TilePath::new(kind, 0, u16::try_from(hashes.len()).unwrap())
            .unwrap()
            .to_string()
    };
    let blobs = log
        .blobs
        .iter()
        .map(|(name, bytes)| (format!("blob/sha256/{}", hex(name)), bytes.clone()));
    let tiles = [
        (path(TileKind::Entries), tile),
        (path(TileKind::Hashes(0)), hashes.as_flattened().to_vec()),
    ];
    blobs
        .chain(tiles)
        .chain([("checkpoint".to_owned(), log.head_by(signer).into_bytes())])
        .collect()
}

#[test]
fn a_copy_accepts_the_boundary_key_of_a_later_roster_and_refuses_the_key_of_an_older_roster() {
    let mut log = Log::new();
    log.run("nginx:restart", 10, &[ALICE]);
    let old = made(&log, BOUNDARY);
    log.sealed.roster["boundaries"]["prod"]["keys"] = json!([key(BOUNDARY_2).line()]);
    let mut stranger = log.clone();
    log.roster(&[ALICE, BOB]);
    log.key = BOUNDARY_2;
    log.reseal(40, |_| {});
    let sealed = made(&log, BOUNDARY_2);
    let (_temp, copy) = lay(&old);
    not_taken(&made(&log, BOUNDARY), &copy, &[], "has no valid signature");
    // A roster that its approvers did not sign gives no trusted key.
    stranger.sealed.roster["boundaries"]["prod"]["keys"] = json!([key(MALLORY).line()]);
    stranger.roster(&[MALLORY]);
    stranger.key = MALLORY;
    stranger.reseal(40, |_| {});
    let (_temp, copy) = lay(&old);
    not_taken(&made(&stranger, MALLORY), &copy, &[], "does not continue");
    // The refused exports left only files beyond the copy.
    taken(&sealed, &copy, &[]);
    // An attacker with the old key signs a seal under the old roster, and a checkpoint.
    let mut back = log.clone();
    let first = log.roster_digest(1).to_string();
    back.key = BOUNDARY;
    back.reseal(50, |seal| {
        seal["roster"] = json!(first);
        seal.as_object_mut().unwrap().remove("rosters");
    });
    let (_temp, copy) = lay(&sealed);
    not_taken(&made(&back, BOUNDARY), &copy, &[], "does not continue");
    log.run("nginx:restart", 60, &[ALICE]);
    let (fresh, later) = (made(&log, BOUNDARY_2), log.roster_digest(2).to_string());
    taken(&fresh, &copy, &[]);
    // A new copy: both roster versions lead to this log. A user who trusts the later version rejects a log that ends
    // before this version.
    for trusted in [log.roster_digest(1).to_string(), later.clone()] {
        let (_temp, copy) = lay(&Files::new());
        taken(&fresh, &copy, &["--roster", &trusted]);
    }
    let (_temp, copy) = lay(&Files::new());
    not_taken(&old, &copy, &["--roster", &later], "does not continue");
}

/// Signs `count` versions of the roster in which all comments of an operator's keys are new, so that each patch has
/// about 250,000 bytes.
fn large_versions(log: &mut Log, count: usize) {
    for _ in 0..count {
        let letter = char::from(b'a' + u8::try_from(log.rosters.len() % 26).unwrap());
        let key = |number: u32| {
            let blob = [&b"\0\0\0\x01x"[..], &number.to_be_bytes()].concat();
            format!(
                "x {} {}",
                STANDARD.encode(blob),
                letter.to_string().repeat(950)
            )
        };
        let keys: Vec<String> = (0..256).map(key).collect();
        log.sealed.roster["operators"]["many"] = json!({"keys": keys});
        log.roster(&[ALICE, BOB]);
    }
}

#[test]
fn an_export_and_both_auditors_read_seals_with_many_large_versions() {
    let mut log = Log::new();
    // The log follows another one: its first seal names all versions until then.
    (log.entries, log.blobs, log.named) = (Vec::new(), BTreeMap::new(), (0, None));
    large_versions(&mut log, 72);
    log.reseal(0, |_| {});
    let of_part = |log: &Log| log.blobs.values().map(Vec::len).max().unwrap();
    assert!(of_part(&log) > 17 << 20, "{}", of_part(&log));
    log.run("nginx:restart", 10, &[ALICE]);
    large_versions(&mut log, 22);
    let before = log.blobs.clone();
    log.reseal(40, |_| {});
    let mut new = log
        .blobs
        .iter()
        .filter(|(digest, _)| !before.contains_key(*digest));
    assert!(new.any(|(_, blob)| blob.len() > 5 << 20));
    log.run("nginx:restart", 50, &[BOB]);
    // The trusted version is the last one, which only the later seal has.
    let trusted = log.roster_digest(log.rosters.len()).to_string();
    let (temp, copy) = lay(&Files::new());
    let files = made(&log, BOUNDARY);
    taken(&files, &copy, &["--roster", &trusted]);
    let mut ours = Command::new(support::PROGRAM);
    ours.env("HOME", temp.path()).env_remove("XDG_CONFIG_HOME");
    for mut command in [ours, python()] {
        let words = ["audit", copy.to_str().unwrap(), "--roster", &trusted];
        exited(command.args(words).output().unwrap(), 0);
    }
}

/// The same files with cosignatures of the witnesses with these seeds. All keys here are test keys.
fn cosigned_by(seeds: &[u8], files: &Files) -> Files {
    let plain = Note::parse(std::str::from_utf8(&files["checkpoint"]).unwrap()).unwrap();
    let cosigned = seeds.iter().fold(plain.clone(), |note, seed| {
        let secret = SecretKey::from_seed([*seed; 32]);
        let key = WitnessKey::new(&format!("w.example/{seed}"), secret.public());
        let line = key.cosign(&plain, 1_763_632_800, |message| {
            Ok::<_, Infallible>(secret.sign(message))
        });
        note.with(line.unwrap()).unwrap()
    });
    files
        .clone()
        .into_iter()
        .chain([("checkpoint".to_owned(), cosigned.to_string().into_bytes())])
        .collect()
}

#[test]
fn an_export_of_an_unchanged_log_adds_new_cosignatures() {
    let mut log = Log::new();
    log.run("nginx:restart", 10, &[ALICE]);
    let witness = |seed: u8| {
        let vkey = WitnessKey::new(
            &format!("w.example/{seed}"),
            SecretKey::from_seed([seed; 32]).public(),
        )
        .vkey();
        json!({"vkey": vkey, "url": "http://127.0.0.1:1"})
    };
    log.sealed.roster["witnesses"] =
        json!({"w.example/21": witness(21), "w.example/22": witness(22)});
    log.roster(&[ALICE, BOB]);
    log.reseal(40, |_| {});
    let plain = made(&log, BOUNDARY);
    let kept = format!("checkpoints/{}", log.size());
    let (_temp, copy) = lay(&Files::new());
    let roster = log.roster_digest(1).to_string();
    let trusting = ["--roster", roster.as_str()];
    taken(&plain, &copy, &trusting);
    let audited = |witnesses: &str| {
        let mut audit = Command::new(support::PROGRAM);
        audit
            .env_clear()
            .args(["audit", "--roster", &roster, "--witness", witnesses])
            .arg(&copy);
        audit.output().unwrap().status.code()
    };
    assert_eq!(audited("1"), Some(1), "no witness yet");
    let both = cosigned_by(&[21, 22], &plain);
    taken(&cosigned_by(&[21], &plain), &copy, &trusting);
    assert_eq!((audited("1"), audited("2")), (Some(0), Some(1)));
    let done = export_from(&serve(&both), &copy, &["--json"])
        .output()
        .unwrap();
    let done: Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(
        (&done["cosignatures"], &done["tiles"]),
        (&json!(1), &json!(0)),
        "{done}"
    );
    assert_eq!(
        (audited("2"), &files(&copy)[&kept]),
        (Some(0), &both["checkpoint"])
    );
    // Fewer, missing or invalid cosignatures do not remove the stored cosignatures.
    let mut bad = both.clone();
    let text = String::from_utf8(both["checkpoint"].clone()).unwrap();
    let other =
        String::from_utf8(cosigned_by(&[21], &made(&Log::new(), BOUNDARY))["checkpoint"].clone())
            .unwrap();
    let line = |text: &str| {
        text.lines()
            .find(|line| line.contains("w.example/21"))
            .unwrap()
            .to_owned()
    };
    bad.insert(
        "checkpoint".into(),
        text.replace(&line(&text), &line(&other)).into_bytes(),
    );
    for fewer in [
        &plain,
        &cosigned_by(&[22], &plain),
        &bad,
        &cosigned_by(&[21, 22, 23, 24], &plain),
    ] {
        let done = export_from(&serve(fewer), &copy, &[]).output().unwrap();
        assert!(
            done.status.success(),
            "{}",
            String::from_utf8_lossy(&done.stderr)
        );
        assert!(files(&copy)["checkpoint"] == both["checkpoint"]);
    }
    // The signer and the trusted roster are checked even if the log has no new entries.
    let wrong = format!("sha256:{}", "a".repeat(64));
    not_taken(&plain, &copy, &["--roster", &wrong], "trusted");
    let mut lying = plain.clone();
    lying.insert("checkpoint".into(), log.head_by(MALLORY).into_bytes());
    not_taken(&lying, &copy, &[], "has no valid signature");
    // A mirror of hashes that came from a stranger is checked against the roster later.
    let only_hashes = |files: &Files| -> Files {
        let contents = |name: &str| name.contains("entries") || name.starts_with("blob");
        files
            .iter()
            .filter(|(name, _)| !contents(name))
            .map(|(name, bytes)| (name.clone(), bytes.clone()))
            .collect()
    };
    let (temp, copy) = lay(&Files::new());
    taken(&only_hashes(&lying), &copy, &["--hashes"]);
    let payload = &plain[&format!("blob/sha256/{}", &log.roster_digest(2).to_string()[7..])];
    let envelope = json!({"payload": STANDARD.encode(payload), "payloadType": people::IN_TOTO, "signatures": []});
    let file = temp.path().join("roster.json");
    fs::write(&file, envelope.to_string()).unwrap();
    let trusting = ["--hashes", "--roster", file.to_str().unwrap()];
    not_taken(
        &only_hashes(&lying),
        &copy,
        &trusting,
        "has no valid signature",
    );
    taken(&only_hashes(&both), &copy, &trusting);
    assert_eq!(files(&copy)[&kept], both["checkpoint"]);
}

#[test]
fn a_second_export_to_the_same_directory_is_refused() {
    let Grown { old, new, .. } = grown();
    let (_temp, copy) = lay(old);
    let held = fs::File::open(&copy).unwrap();
    held.lock().unwrap();
    let url = serve(new);
    let done = export_from(&url, &copy, &[]).output().unwrap();
    assert_eq!(
        done.status.code(),
        Some(125),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
    assert!(String::from_utf8_lossy(&done.stderr).contains("another export"));
    assert_eq!(&files(&copy), old);
    drop(held);
    let mut running: Vec<_> = (0..4)
        .map(|_| {
            export_from(&url, &copy, &[])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap()
        })
        .collect();
    let ended: Vec<_> = running
        .iter_mut()
        .map(|child| child.wait().unwrap().code())
        .collect();
    assert!(
        ended.contains(&Some(0)) && ended.iter().all(|code| [Some(0), Some(125)].contains(code)),
        "{ended:?}"
    );
    assert_eq!(check(&copy, true), 290);
}

#[test]
fn a_tile_that_contains_only_zeros_is_refused() {
    let Grown { old, new, .. } = grown();
    let mut lying = new.clone();
    lying.insert("tile/entries/000".into(), vec![0; 16 << 20]);
    for base in [&Files::new(), old] {
        let (_temp, copy) = lay(base);
        not_taken(&lying, &copy, &[], "no tile of entries");
    }
}

#[test]
fn an_interrupted_copy_with_contents_does_not_become_a_copy_of_hashes() {
    let Grown {
        new, new_hashes, ..
    } = grown();
    for left in [
        "tile/entries/000",
        new.keys().find(|name| name.starts_with("blob/")).unwrap(),
    ] {
        let (_temp, copy) = lay(&Files::new());
        plant(&copy, left, &new[left]);
        not_taken(new_hashes, &copy, &["--hashes"], "contents");
        taken(new, &copy, &[]);
    }
}
