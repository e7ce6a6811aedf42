//! Tests of `audit` through the real binary, with honest logs and with logs that an attacker changed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use crate::history::{self, ALICE, BOB, BOUNDARY, CAROL, Log, MALLORY, predicate_of, t};
use crate::support::people::{alice, bob, dora};
use crate::support::{self, SMALL, World, bytes_of, runbook};
use documents::{Envelope, TileKind, TilePath, hex, merkle, push_entry, split_entries};
use serde_json::{Value, json};

/// The result of `audit --json`: its exit code, its lines and its standard error.
pub(super) struct Audited {
    pub(super) code: i32,
    pub(super) lines: Vec<Value>,
    pub(super) stderr: String,
}

impl Audited {
    pub(super) fn of(output: &Output) -> Self {
        let stdout = String::from_utf8(output.stdout.clone()).unwrap();
        let lines = stdout
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}")))
            .collect();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        Self {
            code: output.status.code().expect("a code"),
            lines,
            stderr,
        }
    }

    fn of_type(&self, kind: &str) -> Vec<&Value> {
        self.lines
            .iter()
            .filter(|line| line["type"] == kind)
            .collect()
    }

    pub(super) fn whats(&self) -> Vec<&str> {
        let mut whats: Vec<_> = self
            .of_type("finding")
            .iter()
            .map(|line| line["what"].as_str().unwrap())
            .collect();
        whats.sort_unstable();
        whats.dedup();
        whats
    }

    pub(super) fn summary(&self) -> &Value {
        let last = self
            .lines
            .last()
            .unwrap_or_else(|| panic!("nothing was printed: {}", self.stderr));
        assert_eq!(last["type"], "summary", "{last}");
        last
    }

    #[track_caller]
    fn clean(&self) {
        assert_eq!(self.code, 0, "{:#?}\n{}", self.lines, self.stderr);
        assert_eq!(
            (self.whats(), &self.summary()["clean"]),
            (vec![], &json!(true))
        );
    }

    #[track_caller]
    fn finds(&self, whats: &[&str]) {
        assert_eq!(
            (self.code, self.whats()),
            (1, whats.to_vec()),
            "{:#?}\n{}",
            self.lines,
            self.stderr
        );
        assert_eq!(self.summary()["clean"], json!(false));
    }
}

fn roster(world: &World) -> String {
    world.started["roster"]
        .as_str()
        .expect("a digest")
        .to_owned()
}

fn audit(world: &World, place: &Path, more: &[&str]) -> Audited {
    let output = world
        .program(&["audit", "--json", "--roster", &roster(world)])
        .args(more)
        .arg(place)
        .output();
    Audited::of(&output.expect("audit"))
}

#[test]
fn an_audit_of_a_boundary_has_no_failure_and_names_all_approvers() {
    let mut world = World::with(|setup| {
        setup.runbook("lock.md", runbook(SMALL, &[("go exclusive=db", ":")]));
    });
    let run = world.run("two:go", json!({"text": "hi"}), &[&alice(), &bob()]);
    world.run("plain:fail", json!({}), &[&dora()]);
    let denied = world.propose("plain:true", json!({}));
    world.deny(&denied, &dora()).ok(200);
    world.sign(&denied, &[&alice()]).problem("denied");
    let whole = people_envelope(&world);
    world.submit_as(&world.courier, &whole).ok(200);
    world
        .submit_as(&world.courier, &whole)
        .problem("nonce-replayed");
    let seal = world.seal();
    world.write(
        "b/runbooks/plain.md",
        &runbook(SMALL, &[("true", "true"), ("wait", "sleep 600")]),
    );
    world.reseal(seal + 1);
    world.run("lock:go", json!({}), &[&alice()]);
    world.run("lock:go", json!({}), &[&alice()]);
    let cancelled = world.propose("plain:wait", json!({}));
    world.sign(&cancelled, &[&alice()]).ok(200);
    world.until(support::id_of(&cancelled), "running");
    world.deny(&cancelled, &dora()).ok(200);
    world.until(support::id_of(&cancelled), "finished");
    let running = world.propose("plain:wait", json!({}));
    world.sign(&running, &[&alice()]).ok(200);
    world.until(support::id_of(&running), "running");
    let copy = world.export("copy");
    let audited = audit(&world, &copy, &[]);
    audited.clean();
    let summary = audited.summary();
    assert_eq!(
        (
            summary["open"].as_array().unwrap().len(),
            &summary["counts"]["stand"]
        ),
        (1, &json!(6)),
        "{summary:#}"
    );
    let first = audited.of_type("decision")[0];
    assert_eq!(
        (&first["receipt"], &first["approvers"]),
        (&run["receipt"], &json!(["alice", "bob"]))
    );
    assert_eq!(
        (&first["step"], &first["proposer"], &first["verdict"]),
        (&json!("two:go"), &json!("agent"), &json!("stands"))
    );
    assert_eq!(
        (&first["params"], &first["reason"]),
        (&json!({"text": "hi"}), &json!("because"))
    );
    let digest = format!("sha256:{}", support::people::sha256(br#"{"text":"hi"}"#));
    assert_eq!(first["params_digest"], json!(digest));
    // Audit the running boundary with a token, after a crash that leaves a receipt with the outcome `unknown`.
    world.kill9();
    world.start();
    let served = |world: &World| {
        let mut command = world.program(&[
            "audit",
            "--json",
            "--roster",
            &roster(world),
            "--url",
            &world.wire.url,
            &world.wire.url,
        ]);
        Audited::of(
            &command
                .env("COUNTERSIGN_TOKEN", &world.reader)
                .output()
                .unwrap(),
        )
    };
    let audited = served(&world);
    audited.clean();
    assert_eq!(
        audited.of_type("decision").last().unwrap()["outcome"]["status"],
        "unknown"
    );
    assert_eq!(audited.summary()["open"], json!([]));
    // The text output for people.
    let output = world
        .program(&["audit", "--roster", &roster(&world)])
        .arg(&copy)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success() && text.contains("every decision is confirmed"),
        "{text}"
    );
    assert!(
        text.bytes()
            .all(|c| c == b'\n' || (0x20..0x7f).contains(&c))
    );
}

/// A complete authorization of the agent with alice's signature. The courier submits it; bob owns the courier and
/// cannot approve it.
fn people_envelope(world: &World) -> Value {
    let predicate = world.authorization("plain:true", json!({}));
    support::people::envelope(&support::people::authorization(&predicate), &[&alice()])
}

#[test]
fn the_table_of_decisions_can_be_filtered_and_the_summary_counts_all_outcomes() {
    let world = World::new();
    world.run("two:go", json!({"text": "hi"}), &[&alice(), &bob()]);
    world.run("plain:fail", json!({}), &[&dora()]);
    let copy = world.export("copy");
    let table = |more: &[&str]| {
        let output = world
            .program(&["audit", "--roster", &roster(&world)])
            .args(more)
            .arg(&copy)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines()
            .take_while(|line| !line.is_empty())
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let all = table(&["--decisions"]);
    assert_eq!(all.len(), 3, "{all:#?}");
    assert!(all[0].starts_with("WHEN"), "{all:#?}");
    for words in [
        "two:go",
        r#"{"text":"hi"}"#,
        "because",
        "agent",
        "alice+bob",
        "succeeded",
        "rcp_",
    ] {
        assert!(all[1].contains(words), "{words}: {all:#?}");
    }
    assert!(
        all[2].contains("plain:fail") && all[2].contains("dora") && all[2].contains("failed"),
        "{all:#?}"
    );
    let steps = table(&["--step", "two:*"]);
    assert_eq!(
        (steps.len(), &steps[1].contains("two:go")),
        (2, &true),
        "{steps:#?}"
    );
    assert_eq!(table(&["--since", "1h"]).len(), 3);
    for none in [
        &["--since", "2999-01-01"][..],
        &["--until", "1h"],
        &["--outcome", "unknown"],
        &["--by", "carol"],
    ] {
        assert_eq!(table(none), ["no decision matches the options"], "{none:?}");
    }
    for (words, rows) in [
        (
            &["--until", "2999-01-01"][..],
            &["two:go", "plain:fail"][..],
        ),
        (&["--outcome", "failed"], &["plain:fail"]),
        (
            &["--outcome", "failed", "--outcome", "succeeded"],
            &["two:go", "plain:fail"],
        ),
        (&["--by", "bob"], &["two:go"]),
        (&["--by", "agent", "--outcome", "succeeded"], &["two:go"]),
    ] {
        let found = table(words);
        assert_eq!(found.len(), rows.len() + 1, "{words:?}: {found:#?}");
        assert!(
            rows.iter()
                .zip(&found[1..])
                .all(|(step, row)| row.contains(step)),
            "{words:?}: {found:#?}"
        );
    }
    let whole = world
        .program(&["audit", "--roster", &roster(&world), "--by", "bob"])
        .arg(&copy)
        .output()
        .unwrap();
    assert!(
        String::from_utf8_lossy(&whole.stdout).contains("outcomes      1 failed, 1 succeeded"),
        "{whole:?}"
    );
    let wrong = world
        .program(&["audit", "--outcome", "bad", "--roster", &roster(&world)])
        .arg(&copy)
        .output()
        .unwrap();
    assert_eq!(wrong.status.code(), Some(2), "{wrong:?}");
    // The same filter in the JSON output. The summary still counts all decisions.
    let audited = audit(&world, &copy, &["--step", "plain:*"]);
    let steps: Vec<_> = audited
        .of_type("decision")
        .iter()
        .map(|line| line["step"].clone())
        .collect();
    assert_eq!(
        (steps, &audited.summary()["counts"]["stand"]),
        (vec![json!("plain:fail")], &json!(2))
    );
    assert_eq!(
        audited.summary()["outcomes"],
        json!({"failed": 1, "succeeded": 1})
    );
}

#[test]
fn without_a_trusted_roster_nothing_is_audited_and_the_digest_is_reported() {
    let world = World::new();
    let copy = world.export("copy");
    let output = world
        .program(&["audit", "--json"])
        .arg(&copy)
        .output()
        .unwrap();
    let audited = Audited::of(&output);
    assert_eq!(
        (audited.code, &audited.lines[0]["type"]),
        (2, &json!("untrusted"))
    );
    assert_eq!(audited.lines[0]["first_roster"], json!(roster(&world)));
    let other = format!("sha256:{}", "a".repeat(64));
    let output = world
        .program(&["audit", "--json", "--roster", &other])
        .arg(&copy)
        .output()
        .unwrap();
    assert_eq!(Audited::of(&output).code, 2);
    // With another trusted roster, no message may offer to trust the roster of the log.
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    let said = world
        .program(&["audit", "--roster", &other])
        .arg(&copy)
        .output()
        .unwrap()
        .stderr;
    for told in [told, String::from_utf8_lossy(&said).into_owned()] {
        let ready = told.contains(&format!("--roster {}", roster(&world))) || told.contains("echo");
        assert!(
            !ready && told.contains("get the roster from the person who maintains it"),
            "{told}"
        );
    }
    for (place, code) in [("/nowhere", 2), ("/tmp", 1), ("http://127.0.0.1:1", 125)] {
        let output = world
            .program(&["audit", "--json", "--roster", &roster(&world), place])
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(code), "{place}");
    }
    let stranger = world
        .program(&[
            "audit",
            "--json",
            "--roster",
            &roster(&world),
            &world.wire.url,
        ])
        .output()
        .unwrap();
    assert_eq!(
        stranger.status.code(),
        Some(126),
        "{}",
        String::from_utf8_lossy(&stranger.stdout)
    );
    audit(
        &world,
        &copy,
        &["--boundary", &format!("sha256:{}", "b".repeat(64))],
    )
    .finds(&["boundary"]);
    let id = world.started["id"].as_str().unwrap();
    audit(&world, &copy, &["--boundary", id]).clean();
}

#[test]
fn the_stored_audit_state_detects_a_log_that_was_shortened_or_forked() {
    let mut world = World::new();
    let state = world.path("audit.state");
    let with_state = ["--state", state.to_str().unwrap()].map(str::to_owned);
    let with_state: Vec<&str> = with_state.iter().map(String::as_str).collect();
    world.run("plain:true", json!({}), &[&alice()]);
    let early = world.export("early");
    audit(&world, &early, &with_state).clean();
    let first: Value = serde_json::from_slice(&fs::read(&state).unwrap()).unwrap();
    let size = first["size"].as_u64().unwrap();
    world.run("two:go", json!({}), &[&alice(), &bob()]);
    let late = world.export("late");
    let audited = audit(&world, &late, &with_state);
    audited.clean();
    assert_eq!(
        (
            &audited.summary()["from"],
            audited.of_type("decision").len()
        ),
        (&json!(size), 1),
        "only what is new"
    );
    assert_eq!(
        audited.summary()["counts"]["stand"],
        json!(2),
        "and what was"
    );
    let full = audit(&world, &late, &[&with_state[..], &["--full"]].concat());
    full.clean();
    assert_eq!(full.of_type("decision").len(), 2);
    let kept = fs::read(&state).unwrap();
    // The earlier export lacks the last entries.
    let cut = audit(&world, &early, &with_state);
    cut.finds(&["cut"]);
    assert_eq!(
        fs::read(&state).unwrap(),
        kept,
        "a state is never moved by what does not hold"
    );
    // A copy with two exchanged entries, signed again with the boundary's key.
    let forked = Rewritten::of(&late);
    let mut entries = forked.entries.clone();
    entries.swap(1, 2);
    forked.write(&entries);
    let audited = audit(&world, &late, &with_state);
    assert_eq!(audited.code, 1);
    assert!(audited.whats().contains(&"fork"), "{:?}", audited.whats());
    assert_eq!(fs::read(&state).unwrap(), kept);
    // A damaged state is reported and never overwritten.
    fs::write(&state, b"{}").unwrap();
    assert_eq!(audit(&world, &early, &with_state).code, 2);
    assert_eq!(fs::read(&state).unwrap(), b"{}");
    fs::write(&state, &kept).unwrap();
    let other = World::new();
    let copy = other.export("copy");
    let output = other
        .program(&["audit", "--json", "--roster", &roster(&other), "--state"])
        .arg(&state)
        .arg(&copy)
        .output();
    let audited = Audited::of(&output.unwrap());
    assert!(
        audited.code == 1 && audited.whats().contains(&"boundary"),
        "{:?}",
        audited.lines
    );
    world.stop();
}

#[test]
fn two_copies_of_one_log_with_different_histories_are_reported_as_a_fork() {
    let world = World::new();
    world.run("plain:true", json!({}), &[&alice()]);
    let early = world.export("early");
    world.run("plain:true", json!({}), &[&alice()]);
    let late = world.export("late");
    let against =
        |one: &Path, other: &Path| audit(&world, one, &["--against", other.to_str().unwrap()]);
    against(&early, &late).clean();
    against(&late, &early).clean();
    against(&late, &late).clean();
    let rewritten = Rewritten::of(&early);
    let mut entries = rewritten.entries.clone();
    entries.truncate(entries.len() - 2);
    rewritten.write(&entries);
    against(&early, &late).clean();
    let last = entries.len() - 1;
    entries[last] = Rewritten::of(&late).entries.pop().unwrap();
    rewritten.write(&entries);
    for (one, other) in [(&early, &late), (&late, &early)] {
        let audited = against(one, other);
        assert!(
            audited.code == 1 && audited.whats().contains(&"fork"),
            "{:?}",
            audited.whats()
        );
    }
}

#[test]
fn a_checkpoint_of_size_zero_is_refused_for_comparison() {
    let mut log = Log::new();
    log.run("nginx:restart", 10, &[ALICE]);
    let copy = written(&log);
    let empty = tempfile::tempdir().unwrap();
    let nothing = documents::Checkpoint {
        origin: "other/0000000000000000".into(),
        size: 0,
        root: merkle::root(&[]),
    };
    fs::write(
        empty.path().join("checkpoint"),
        format!("{}\n\u{2014} other/0 AAAAAAAA\n", nothing.body()),
    )
    .unwrap();
    let against = ["--against", empty.path().to_str().unwrap()];
    for (place, more) in [(copy.path(), &against[..]), (empty.path(), &[])] {
        let done = audit_log(&log, place, more).output().unwrap();
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(
            done.status.code() == Some(1) && said.contains("has 0 entries"),
            "{said}"
        );
    }
}

/// An exported directory that an attacker with the boundary's key rewrites.
struct Rewritten {
    directory: PathBuf,
    origin: String,
    entries: Vec<Vec<u8>>,
}

impl Rewritten {
    fn of(directory: &Path) -> Self {
        let note = fs::read_to_string(directory.join("checkpoint")).unwrap();
        let mut lines = note.lines();
        let origin = lines.next().unwrap().to_owned();
        let size: u64 = lines.next().unwrap().parse().unwrap();
        let mut entries = Vec::new();
        for index in 0..size.div_ceil(256) {
            let width = u16::try_from((size - index * 256).min(256)).unwrap();
            let path = TilePath::new(TileKind::Entries, index, width).unwrap();
            let tile = fs::read(directory.join(path.to_string())).unwrap();
            entries.extend(
                split_entries(&tile)
                    .unwrap()
                    .into_iter()
                    .map(<[u8]>::to_vec),
            );
        }
        Self {
            directory: directory.to_owned(),
            origin,
            entries,
        }
    }

    fn write(&self, entries: &[Vec<u8>]) {
        // The attacker removes the earlier checkpoints, because they would reveal the rewritten copy.
        let _ = fs::remove_dir_all(self.directory.join("checkpoints"));
        let secret = &support::people::boundary_key().secret;
        write_tiles(&self.directory, entries);
        let hashes: Vec<_> = entries
            .iter()
            .map(|entry| merkle::leaf_hash(entry))
            .collect();
        let root = merkle::root(&hashes);
        let head = documents::Checkpoint {
            origin: self.origin.clone(),
            size: entries.len() as u64,
            root,
        };
        let sign = |text: &[u8]| Ok::<_, std::convert::Infallible>(secret.sign(text));
        let note =
            documents::sign_note(&head.body(), &self.origin, &secret.public(), sign).unwrap();
        fs::write(self.directory.join("checkpoint"), note.to_string()).unwrap();
    }
}

/// Writes the tiles of a log of at most 256 entries.
fn write_tiles(directory: &Path, entries: &[Vec<u8>]) {
    for (number, entries) in (0..).zip(entries.chunks(256)) {
        let width = u16::try_from(entries.len()).unwrap();
        let hashes: Vec<_> = entries
            .iter()
            .map(|entry| merkle::leaf_hash(entry))
            .collect();
        let mut tile = Vec::new();
        entries
            .iter()
            .for_each(|entry| push_entry(&mut tile, entry).unwrap());
        for (kind, bytes) in [
            (TileKind::Entries, &tile[..]),
            (TileKind::Hashes(0), hashes.as_flattened()),
        ] {
            let path = directory.join(TilePath::new(kind, number, width).unwrap().to_string());
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
    }
}

/// Writes a generated log to a directory.
pub(super) fn written(log: &Log) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    write_tiles(directory.path(), &log.entries);
    fs::create_dir_all(directory.path().join("blob/sha256")).unwrap();
    for (name, bytes) in &log.blobs {
        fs::write(directory.path().join("blob/sha256").join(hex(name)), bytes).unwrap();
    }
    fs::write(directory.path().join("checkpoint"), log.head()).unwrap();
    directory
}

fn audited(log: &Log) -> Audited {
    let directory = written(log);
    let mut command = std::process::Command::new(support::PROGRAM);
    command
        .args([
            "audit",
            "--json",
            "--roster",
            &log.roster_digest(1).to_string(),
        ])
        .arg(directory.path());
    Audited::of(
        &command
            .env("HOME", directory.path())
            .env_remove("XDG_CONFIG_HOME")
            .output()
            .unwrap(),
    )
}

#[test]
fn a_run_whose_authorization_is_not_directly_before_its_consumption_does_not_stand() {
    let mut log = Log::new();
    let of = log.approved("nginx:restart", 10, &[ALICE]);
    let item = json!({
        "authorization": log.authorize(&of), "nonce": of.predicate["nonce"],
        "expires_at": of.predicate["expires_at"], "handed_in_by": of.predicate["proposer"],
    });
    let stray = log.approved("nginx:restart", 10, &[ALICE]);
    drop(log.authorize(&stray));
    let place = log.consumption(10, &[item], |_| {});
    log.receipt(place, &of);
    let (_, summary) = log.audit();
    let counts = &summary.counts;
    assert_eq!((counts.receipts, counts.stand, counts.fail), (1, 0, 1));
}

#[test]
fn entries_written_with_a_stolen_boundary_key_are_found() {
    let honest = || {
        let mut log = Log::new();
        log.run("nginx:restart", 10, &[ALICE]);
        log.run("two:go", 20, &[ALICE, BOB]);
        log
    };
    audited(&honest()).clean();
    type Attack = fn(&mut Log);
    let attacks: &[(&str, Attack, &[&str])] = &[
        (
            "a row deleted",
            |log| drop(log.entries.remove(2)),
            &["authorization", "no-consumption"],
        ),
        (
            "a run without consumption",
            |log| {
                let of = log.approved("nginx:restart", 30, &[ALICE]);
                log.receipt(
                    history::Place {
                        index: 3,
                        item: 9,
                        at: 30,
                    },
                    &of,
                );
            },
            &["no-consumption"],
        ),
        (
            "a consumption that never got a receipt",
            |log| {
                let of = log.approved("nginx:restart", 30, &[ALICE]);
                log.consume(30, &[&of]);
                log.run("nginx:restart", 200_000, &[ALICE]);
            },
            &["no-receipt"],
        ),
        (
            "a nonce spent twice",
            |log| {
                let of = log.run("nginx:restart", 30, &[ALICE]);
                let place = log.consume(31, &[&of]);
                log.receipt(place, &of);
            },
            &["double-use"],
        ),
        (
            "two receipts for one consumption",
            |log| {
                let of = log.approved("nginx:restart", 30, &[ALICE]);
                let place = log.consume(30, &[&of]);
                log.receipt(place, &of);
                log.receipt_but(place, &of, |receipt| receipt["duration_ms"] = json!(1));
            },
            &["second-receipt"],
        ),
        (
            "a receipt before its consumption",
            |log| log.entries.swap(2, 3),
            &["authorization", "no-consumption"],
        ),
        (
            "an authorization after its consumption",
            |log| log.entries.swap(1, 2),
            &["authorization", "no-consumption"],
        ),
        (
            "an authorization without a consumption",
            |log| {
                let of = log.approved("nginx:restart", 30, &[ALICE]);
                drop(log.authorize(&of));
                log.refuse(30, |_| {});
            },
            &["authorization"],
        ),
        (
            "an authorization that two consumptions name",
            |log| {
                let named = predicate_of(&log.entries[2])["spent"][0].clone();
                log.consumption(30, &[named], |_| {});
            },
            &["authorization", "double-use"],
        ),
        (
            "an edited seal",
            |log| {
                log.reseal(30, |seal| seal["policy"] = seal["builtins"].clone());
            },
            &["roster-chain", "sealed-state"],
        ),
        (
            "a seal that goes back",
            |log| {
                log.reseal(30, |_| {});
                log.reseal(31, |seal| seal["number"] = json!(1));
            },
            &["seal-chain"],
        ),
        (
            "another decision than the state gives",
            |log| {
                let of = log.approved("two:go", 30, &[ALICE]);
                let place = log.consume(30, &[&of]);
                log.receipt_but(place, &of, |receipt| {
                    receipt["decision"]["approvers"] = json!(["alice", "bob"])
                });
            },
            &["quorum"],
        ),
        (
            "an approver whom nobody rostered",
            |log| drop(log.run("nginx:restart", 30, &[MALLORY])),
            &["approval-signatures"],
        ),
        (
            "the owner of the proposer counted",
            |log| {
                let of = log.approved("nginx:restart", 30, &[CAROL]);
                let place = log.consume(30, &[&of]);
                log.receipt_but(place, &of, |receipt| {
                    receipt["decision"]["excluded"] = json!(["agent"])
                });
            },
            &["excluded", "quorum"],
        ),
        (
            "expired when it ran",
            |log| {
                let of = log.approved("nginx:restart", 30, &[ALICE]);
                let place = log.consume(3630, &[&of]);
                log.receipt(place, &of);
            },
            &["window"],
        ),
        (
            "a receipt of other parameters",
            |log| {
                let of = log.approved("nginx:restart", 30, &[ALICE]);
                let other = log.approved_but("nginx:restart", 30, &[ALICE], |of| {
                    of["params"] = json!({"host": "db-1"})
                });
                let place = log.consume(30, &[&of]);
                log.receipt_but(place, &of, |receipt| {
                    receipt["authorization"]["digest"] = json!(history::reference(&other.payload));
                });
            },
            &["consumption"],
        ),
        (
            "a run that was denied",
            |log| {
                let of = log.approved("nginx:restart", 30, &[ALICE]);
                log.deny(&of, BOB);
                let place = log.consume(30, &[&of]);
                log.receipt(place, &of);
            },
            &["denied"],
        ),
        (
            "back-dated",
            |log| drop(log.run("nginx:restart", 15, &[ALICE])),
            &["time"],
        ),
        (
            "a roster that its people did not sign",
            |log| {
                log.sealed.roster["threshold"] = json!(0);
                log.roster(&[]);
                log.reseal(30, |_| {});
            },
            &["roster-chain"],
        ),
    ];
    for (name, attack, whats) in attacks {
        let mut log = honest();
        attack(&mut log);
        let audited = audited(&log);
        assert_eq!(
            (audited.code, audited.whats()),
            (1, whats.to_vec()),
            "{name}: {:#?}",
            audited.of_type("finding")
        );
        for finding in audited.of_type("finding") {
            assert!(
                finding["rests_on"].is_string() && finding["detail"].as_str().unwrap().len() > 10,
                "{name}: {finding}"
            );
        }
    }
    let stolen = honest();
    let directory = written(&stolen);
    fs::write(directory.path().join("checkpoint"), stolen.head_by(MALLORY)).unwrap();
    let mut command = std::process::Command::new(support::PROGRAM);
    command
        .args([
            "audit",
            "--json",
            "--roster",
            &stolen.roster_digest(1).to_string(),
        ])
        .arg(directory.path());
    Audited::of(&command.env("HOME", directory.path()).output().unwrap()).finds(&["checkpoint"]);
    let _ = (BOUNDARY, t(0));
}

/// A command for the audit of a generated log, without `--json`.
pub(super) fn audit_log(log: &Log, directory: &Path, more: &[&str]) -> std::process::Command {
    let mut command = std::process::Command::new(support::PROGRAM);
    command
        .args(["audit", "--roster", &log.roster_digest(1).to_string()])
        .args(more)
        .arg(directory);
    command.env("HOME", directory).env_remove("XDG_CONFIG_HOME");
    command
}

#[test]
fn decisions_that_differ_are_counted_and_the_program_version_is_named() {
    let mut log = Log::new();
    log.reseal(10, |seal| seal["engine"] = json!("countersign 9.9.9"));
    log.run("nginx:restart", 15, &[ALICE]);
    let honest = written(&log);
    let first = log.clone();
    let told = |directory: &Path, more: &[&str]| {
        let output = audit_log(&first, directory, more).output().unwrap();
        let words: Vec<String> = String::from_utf8(output.stdout)
            .unwrap()
            .split_whitespace()
            .map(str::to_owned)
            .collect();
        (output.status.code(), words.join(" "))
    };
    let (code, text) = told(honest.path(), &["--no-differences"]);
    assert!(
        code == Some(0) && text.contains("every decision is confirmed"),
        "{text}"
    );
    let of = log.approved_but("nginx:restart", 20, &[ALICE], |of| {
        of["sandbox"]["limits"]["wall_ms"] = json!(1)
    });
    let place = log.consume(20, &[&of]);
    log.receipt(place, &of);
    let differs = written(&log);
    let (code, text) = told(differs.path(), &[]);
    assert_eq!(code, Some(0), "{text}");
    assert!(
        !text.contains("every decision is confirmed") && text.contains("1 decision differs: "),
        "{text}"
    );
    assert!(
        text.contains("\"countersign 9.9.9\"") && text.contains("the boundary states that"),
        "{text}"
    );
    let state = differs.path().join("state");
    let with_state = ["--state", state.to_str().unwrap()];
    assert_eq!(told(differs.path(), &with_state).0, Some(0));
    let (code, text) = told(differs.path(), &with_state);
    assert!(
        code == Some(0) && text.contains("1 decision differs: ") && text.contains("9.9.9"),
        "gone on: {text}"
    );
    for more in [
        &["--no-differences"][..],
        &["--no-differences", with_state[0], with_state[1]],
    ] {
        let (code, text) = told(differs.path(), more);
        assert!(code == Some(1) && text.contains("DOES NOT HOLD"), "{text}");
    }
}

#[test]
fn several_logs_and_a_directory_of_logs_are_audited_one_after_the_other() {
    let mut log = Log::new();
    log.run("nginx:restart", 15, &[ALICE]);
    let all = tempfile::tempdir().unwrap();
    for name in ["one", "two"] {
        let copy = written(&log);
        fs::rename(copy.path(), all.path().join(name)).unwrap();
    }
    let text = |output: Output| String::from_utf8_lossy(&output.stdout).into_owned();
    let together = audit_log(&log, all.path(), &[]).output().unwrap();
    assert_eq!(together.status.code(), Some(0), "{together:?}");
    let shown = text(together);
    assert!(
        shown.contains("/one ==") && shown.contains("/two =="),
        "{shown}"
    );
    assert_eq!(
        shown.matches("every decision is confirmed").count(),
        2,
        "{shown}"
    );
    // A log that can't be read stops no other one, and the exit code says so.
    let nowhere = all.path().join("nowhere");
    let output = audit_log(&log, all.path(), &["--json", nowhere.to_str().unwrap()])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let lines: Vec<Value> = text(output)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let logs: Vec<&Value> = lines.iter().filter(|line| line["type"] == "log").collect();
    assert_eq!(logs.len(), 3, "{logs:#?}");
    let failure = lines
        .iter()
        .find(|line| line["error"].is_string())
        .expect("a failure");
    assert!(
        failure["error"]
            .as_str()
            .unwrap()
            .contains("is no directory"),
        "{failure:#}"
    );
    assert_eq!(failure["place"], nowhere.to_str().unwrap());
    assert_eq!(
        lines
            .iter()
            .filter(|line| line["type"] == "summary")
            .count(),
        2
    );
    // A forked copy is found behind a sound one.
    fs::write(all.path().join("two/checkpoint"), log.head_by(MALLORY)).unwrap();
    assert_eq!(
        audit_log(&log, all.path(), &[])
            .output()
            .unwrap()
            .status
            .code(),
        Some(1)
    );
    for option in [["--state", "s"], ["--against", "x"]] {
        let output = audit_log(&log, all.path(), &option).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        assert!(
            support::said(&output).contains("are for one log"),
            "{}",
            support::said(&output)
        );
    }
}

#[test]
fn copies_of_a_log_from_before_and_after_a_key_change_agree() {
    let rotate = |log: &mut Log| {
        log.sealed.roster["boundaries"]["prod"]["keys"] =
            json!([history::key(history::BOUNDARY_2).line()]);
        log.roster(&[ALICE, BOB]);
        log.key = history::BOUNDARY_2;
        log.reseal(40, |_| {});
        log.run("nginx:restart", 50, &[BOB]);
    };
    let mut log = Log::new();
    log.run("nginx:restart", 10, &[ALICE]);
    let before = log.clone();
    let early = written(&log);
    rotate(&mut log);
    let late = written(&log);
    let of = |directory: &Path, more: &[&str]| {
        Audited::of(
            &audit_log(&log, directory, more)
                .arg("--json")
                .output()
                .unwrap(),
        )
    };
    let against = |one: &Path, other: &Path| of(one, &["--against", other.to_str().unwrap()]);
    against(early.path(), late.path()).clean();
    against(late.path(), early.path()).clean();
    // The log is shorter than the log of the saved state, and does not contain the seal of the key that signed that
    // state.
    let state = late.path().join("state");
    let with_state = ["--state", state.to_str().unwrap()];
    of(late.path(), &with_state).clean();
    of(early.path(), &with_state).finds(&["cut"]);
    // A fork that the later key also signed.
    let mut fork = before.clone();
    fork.entries.truncate(1);
    fork.run("nginx:restart", 11, &[BOB]);
    rotate(&mut fork);
    let fork = written(&fork);
    against(early.path(), fork.path()).finds(&["fork"]);
    // The same with an unrotated copy of the same length and with a longer one.
    let mut unrotated = before.clone();
    while unrotated.size() < log.size() {
        unrotated.run("nginx:restart", 12, &[ALICE]);
    }
    let same = written(&unrotated);
    unrotated.run("nginx:restart", 60, &[ALICE]);
    let longer = written(&unrotated);
    for other in [&same, &longer] {
        for (one, other) in [(late.path(), other.path()), (other.path(), late.path())] {
            let audited = against(one, other);
            assert!(
                audited.code == 1 && audited.whats().contains(&"fork"),
                "{:#?}",
                audited.lines
            );
        }
    }
    // A checkpoint with a stranger's signature is refused.
    fs::write(late.path().join("checkpoint"), log.head_by(MALLORY)).unwrap();
    against(early.path(), late.path()).finds(&["checkpoint"]);
}

#[test]
fn the_audit_state_is_saved_only_after_all_findings_are_printed() {
    let mut log = Log::new();
    log.run("nginx:restart", 10, &[ALICE]);
    let directory = written(&log);
    let state = directory.path().join("state");
    for more in [&["--json"][..], &[]] {
        let full = fs::OpenOptions::new()
            .write(true)
            .open("/dev/full")
            .unwrap();
        let mut command = audit_log(&log, directory.path(), more);
        let output = command
            .args(["--state", state.to_str().unwrap()])
            .stdout(full)
            .output()
            .unwrap();
        assert!(!output.status.success() && !state.exists(), "{more:?}");
    }
}

#[test]
fn a_damaged_copy_of_a_log_is_reported_and_causes_no_panic() {
    let world = World::new();
    let run = world.run("plain:true", json!({}), &[&alice()]);
    let copy = world.export("copy");
    let size = world.log_size();
    let damage = |name: &str, code: i32, edit: &dyn Fn(&mut Vec<u8>)| {
        let path = copy.join(name);
        let good = fs::read(&path).unwrap();
        let mut bad = good.clone();
        edit(&mut bad);
        fs::write(&path, &bad).unwrap();
        let audited = audit(&world, &copy, &[]);
        fs::write(&path, good).unwrap();
        assert_eq!(audited.code, code, "{name}: {}", audited.stderr);
        audited
    };
    let entries = format!("tile/entries/000.p/{size}");
    damage(&entries, 1, &|bytes| bytes.truncate(bytes.len() / 2));
    damage(&entries, 1, &|bytes| bytes.clear());
    assert!(
        damage(&entries, 1, &|bytes| {
            let middle = bytes.len() - 500;
            bytes[middle] ^= 1;
        })
        .whats()
        .contains(&"root")
    );
    damage(&format!("tile/0/000.p/{size}"), 1, &|bytes| bytes[5] ^= 1).finds(&["tile"]);
    damage("checkpoint", 1, &|bytes| bytes.truncate(20));
    damage("checkpoint", 1, &|bytes| {
        *bytes = String::from_utf8_lossy(bytes)
            .replacen(&format!("\n{size}\n"), "\n3\n", 1)
            .into_bytes()
    });
    // Every file that cannot be read gives the exit code 2.
    for name in [entries.as_str(), "blob/sha256"] {
        let path = copy.join(name);
        let path = if path.is_dir() {
            fs::read_dir(path).unwrap().next().unwrap().unwrap().path()
        } else {
            path
        };
        let good = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert_eq!(audit(&world, &copy, &[]).code, 2, "{name}");
        fs::remove_dir(&path).unwrap();
        fs::write(&path, good).unwrap();
    }
    let blobs: Vec<_> = fs::read_dir(copy.join("blob/sha256"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    for blob in blobs {
        let good = fs::read(&blob).unwrap();
        fs::write(&blob, b"[1]").unwrap();
        let changed = audit(&world, &copy, &[]);
        fs::remove_file(&blob).unwrap();
        let missing = audit(&world, &copy, &[]);
        for audited in [changed, missing] {
            assert_eq!(audited.code, 1, "{}: {:?}", blob.display(), audited.lines);
        }
        fs::write(&blob, good).unwrap();
    }
    audit(&world, &copy, &[]).clean();
    drop((run, bytes_of as fn(&Value) -> Vec<u8>));
}

/// The result of `audit` for a user whose configuration directory contains these rosters, the first as `roster.json`.
fn audited_trusting(log: &Log, trusted: &[&Envelope], more: &[&str]) -> Audited {
    let (home, copy) = (tempfile::tempdir().unwrap(), written(log));
    let config = home.path().join(".config/countersign");
    fs::create_dir_all(config.join("rosters")).unwrap();
    for (at, roster) in trusted.iter().enumerate() {
        let name = if at == 0 {
            "roster.json".to_owned()
        } else {
            format!("rosters/{at}.json")
        };
        fs::write(config.join(name), roster.to_canonical().unwrap()).unwrap();
    }
    let mut command = std::process::Command::new(support::PROGRAM);
    command
        .args(["audit", "--json"])
        .args(more)
        .arg(copy.path())
        .env("HOME", home.path());
    Audited::of(
        &command
            .env_remove("XDG_CONFIG_HOME")
            .env_remove("COUNTERSIGN_TRUST")
            .output()
            .unwrap(),
    )
}

#[test]
fn an_audit_with_several_trusted_rosters_uses_the_newest_roster() {
    let mut log = Log::new();
    log.run("nginx:restart", 10, &[ALICE]);
    let early = log.clone();
    let next = |log: &mut Log, groups: Value| {
        log.sealed.roster["approvers"]["carol"]["groups"] = groups;
        log.roster(&[ALICE, BOB]);
    };
    next(&mut log, json!(["ops"]));
    log.reseal(20, |_| {});
    log.run("nginx:restart", 30, &[BOB]);
    let mut later = log.clone();
    next(&mut later, json!(["security"]));
    next(&mut later, json!([]));
    let mut branch = early.clone();
    next(&mut branch, json!([]));
    let [first, second] = [&log.rosters[0], &log.rosters[1]];
    let digest = |roster: &Envelope| {
        let payload =
            base64::Engine::decode(&base64::engine::general_purpose::STANDARD, &roster.payload)
                .unwrap();
        history::reference(&payload)
    };
    let warned = |audited: &Audited| audited.summary()["warnings"].to_string();
    // The order of the trusted rosters has no effect. The log is at the newest trusted version or one version before
    // it.
    for newest in [second, &later.rosters[2]] {
        for trusted in [[first, newest], [newest, first]] {
            let audited = audited_trusting(&log, &trusted, &[]);
            audited.clean();
            assert_eq!(audited.summary()["trusted"], digest(newest));
            assert!(!warned(&audited).contains("is trusted too"));
        }
    }
    // The trusted version 4 is too new for this log. The audit uses the older roster and warns about the newer one.
    let newest = &later.rosters[3];
    for trusted in [[first, newest], [newest, first]] {
        let audited = audited_trusting(&log, &trusted, &[]);
        audited.clean();
        assert_eq!(audited.summary()["trusted"], digest(first));
        let words = format!("version 4 of the roster ({}", digest(newest));
        assert!(
            warned(&audited).contains(&words) && warned(&audited).contains("is trusted too"),
            "{}",
            warned(&audited)
        );
        audited_trusting(&log, &trusted, &["--witness", "1"]).finds(&["witnesses"]);
    }
    // A trusted roster of another branch: the log continues with a version that this roster excludes.
    for trusted in [[first, &branch.rosters[1]], [&branch.rosters[1], first]] {
        let audited = audited_trusting(&log, &trusted, &[]);
        assert!(
            audited.code == 1 && audited.whats().contains(&"roster-chain"),
            "{:?}",
            audited.whats()
        );
        audited_trusting(&early, &trusted, &[]).clean();
    }
    // Continue from a state that was saved before the newer roster was trusted.
    let kept = tempfile::tempdir().unwrap();
    let state = kept.path().join("state");
    let state = ["--state", state.to_str().unwrap()];
    audited_trusting(&early, &[first], &state).clean();
    for trusted in [[first, second], [second, first]] {
        let saved = fs::read(state[1]).unwrap();
        let audited = audited_trusting(&log, &trusted, &state);
        audited.clean();
        assert_eq!(
            (&audited.summary()["trusted"], &audited.summary()["from"]),
            (&json!(digest(second)), &json!(early.size()))
        );
        fs::write(state[1], saved).unwrap();
    }
}

#[test]
fn a_token_or_key_is_sent_only_to_the_boundary_of_the_url() {
    use std::io::{BufRead as _, BufReader, Write as _};
    let world = World::new();
    world.write("alice.pem", alice().secret.to_pkcs8_v1_pem().as_str());
    // A mirror that asks for authentication, and offers a challenge of the real boundary to sign.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mirror = format!("http://{}", listener.local_addr().unwrap());
    let heard = std::sync::Arc::new(std::sync::Mutex::new(String::new()));
    let (head, hears) = (world.wire.peek("/log/checkpoint").text(), heard.clone());
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let lines = BufReader::new(&stream).lines().map_while(Result::ok);
            let asked: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
            let (status, body) = match asked[0].split(' ').nth(1) {
                Some("/log/checkpoint") => (200, head.clone()),
                Some("/v1/challenges") => (
                    200,
                    json!({"challenge": "countersign-challenge/v1 relayed"}).to_string(),
                ),
                _ => (401, String::new()),
            };
            hears.lock().unwrap().push_str(&asked.join("\n"));
            let reply = format!(
                "HTTP/1.1 {status} x\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                body.len()
            );
            let _ = (&stream).write_all(reply.as_bytes());
        }
    });
    let url = &world.wire.url;
    let run = |with: &str, more: &[&str]| {
        let mut command = world.program(&["audit", "--roster", &roster(&world), "--url", url]);
        match with {
            "token" => command.env("COUNTERSIGN_TOKEN", &world.reader),
            _ => command.env("COUNTERSIGN_KEY", world.path("alice.pem")),
        };
        command.args(more).output().unwrap()
    };
    let done = ["token", "key"].map(|with| {
        (
            run(with, &[url, "--against", &mirror]),
            run(with, &[&mirror]),
        )
    });
    let heard = heard.lock().unwrap().to_ascii_lowercase();
    assert!(
        heard.contains("get /log/checkpoint") && heard.contains("get /log/tile/entries/"),
        "{heard}"
    );
    assert!(
        !heard.contains("authorization") && !heard.contains("challenges"),
        "{heard}"
    );
    for (against, audited) in done {
        assert_eq!(
            against.status.code(),
            Some(0),
            "what is open is read: {}",
            String::from_utf8_lossy(&against.stderr)
        );
        let said = String::from_utf8_lossy(&audited.stderr).into_owned();
        assert!(
            audited.status.code() == Some(126) && said.contains(&format!("give --url {mirror}")),
            "{said}"
        );
    }
}

#[test]
fn an_unusable_key_is_no_error_if_no_secret_is_requested() {
    use std::os::unix::fs::PermissionsExt as _;
    let world = World::new();
    world.write("alice.pem", alice().secret.to_pkcs8_v1_pem().as_str());
    fs::set_permissions(world.path("alice.pem"), fs::Permissions::from_mode(0o666)).unwrap();
    let log = |more: &[&str]| {
        let mut command = world.program(&["log", "--url", &world.wire.url]);
        command
            .env("COUNTERSIGN_KEY", world.path("alice.pem"))
            .args(more)
            .arg(world.path("copy"))
            .output()
            .unwrap()
    };
    let head = world.program(&["log", "checkpoint", "--url", &world.wire.url]);
    let head = { head }
        .env("COUNTERSIGN_KEY", world.path("alice.pem"))
        .output()
        .unwrap();
    assert_eq!(
        head.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&head.stderr)
    );
    let hashes = log(&["export", "--hashes"]);
    assert_eq!(
        hashes.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&hashes.stderr)
    );
    fs::remove_dir_all(world.path("copy")).unwrap();
    let contents = log(&["export"]);
    assert!(
        String::from_utf8_lossy(&contents.stderr).contains("alice.pem"),
        "where it is needed, it is told"
    );
    assert_eq!(contents.status.code(), Some(2));
}

#[test]
fn parallel_audits_never_replace_a_shared_state_with_an_older_state() {
    let mut log = Log::new();
    log.run("nginx:restart", 10, &[ALICE]);
    let early = log.clone();
    log.run("nginx:restart", 20, &[ALICE]);
    let mut late = log.clone();
    late.run("nginx:restart", 30, &[BOB]);
    // A fork of the same length as `log`.
    let mut fork = early.clone();
    fork.run("nginx:restart", 21, &[BOB]);
    assert_eq!(fork.size(), log.size());
    let copy = written(&log);
    for (meanwhile, code, size, said) in [
        (&late, 0, late.size(), "another audit has saved a state of"),
        (&early, 0, log.size(), ""),
        (&log, 0, log.size(), ""),
        (&fork, 1, fork.size(), "FORK"),
    ] {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("state");
        let with_state = ["--state".to_owned(), file.to_str().unwrap().to_owned()];
        let with_state = [with_state[0].as_str(), with_state[1].as_str()];
        let other = written(meanwhile);
        let mut second = audit_log(meanwhile, other.path(), &with_state);
        let second = move || assert!(second.output().unwrap().status.success());
        let url = serve_after(copy.path().to_owned(), second);
        let done = audit_log(&log, Path::new(&url), &with_state)
            .env("HOME", home.path())
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(
            done.status.code() == Some(code) && told.contains(said),
            "{told}"
        );
        let kept: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        assert_eq!(kept["size"], json!(size), "{told}");
        if code == 1 {
            assert_eq!(
                kept["checkpoint"],
                json!(fork.head()),
                "it was left as it was"
            );
        }
    }
}

#[test]
fn a_state_follows_its_link_and_an_unwritable_state_is_reported_before_the_audit() {
    let mut log = Log::new();
    log.run("nginx:restart", 10, &[ALICE]);
    let copy = written(&log);
    let (link, target) = (copy.path().join("link"), copy.path().join("states/prod"));
    fs::create_dir(copy.path().join("states")).unwrap();
    fs::write(&target, "").unwrap();
    std::os::unix::fs::symlink("states/prod", &link).unwrap();
    fs::remove_file(&target).unwrap();
    let state = |path: &Path| {
        audit_log(&log, copy.path(), &["--state", path.to_str().unwrap()])
            .output()
            .unwrap()
    };
    for lost in [&link, &copy.path().join("nowhere/state")] {
        let done = state(lost);
        assert_eq!(
            (done.status.code(), done.stdout),
            (Some(2), vec![]),
            "{}",
            String::from_utf8_lossy(&done.stderr)
        );
    }
    assert_eq!(state(&target).status.code(), Some(0));
    let before = fs::read(&target).unwrap();
    log.run("nginx:restart", 20, &[ALICE]);
    let copy_later = written(&log);
    let done = audit_log(
        &log,
        copy_later.path(),
        &["--state", link.to_str().unwrap()],
    )
    .output()
    .unwrap();
    let (said, told) = (
        String::from_utf8_lossy(&done.stdout),
        String::from_utf8_lossy(&done.stderr),
    );
    assert!(
        done.status.success() && link.is_symlink() && fs::read(&target).unwrap() != before,
        "{told}"
    );
    // The audit did not read the earlier entries again, so its output must not claim that every entry is correct.
    assert!(
        !said.contains("every entry is correct") && said.contains("--full"),
        "{said}"
    );
}

/// Serves a directory at `/log/` as a static mirror, until the test ends.
fn serve(directory: PathBuf) -> String {
    serve_after(directory, || ())
}

/// Like `serve`, but runs `first` before the server sends the first entries.
fn serve_after(directory: PathBuf, first: impl FnOnce() + Send + 'static) -> String {
    let mut first = Some(first);
    use std::io::{BufRead as _, BufReader, Write as _};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let mut lines = BufReader::new(&stream).lines().map_while(Result::ok);
            let asked = lines.next().unwrap_or_default();
            let _rest = lines.take_while(|line| !line.is_empty()).count();
            let path = asked
                .split(' ')
                .nth(1)
                .and_then(|path| path.strip_prefix("/log/"))
                .unwrap_or("nothing")
                .to_owned();
            if path.starts_with("tile/entries")
                && let Some(first) = first.take()
            {
                first();
            }
            let (status, body) = match fs::read(directory.join(path)) {
                Ok(body) => ("200 OK", body),
                Err(_) => ("404 Not Found", Vec::new()),
            };
            let head = format!(
                "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                body.len()
            );
            let _ = (&stream).write_all(&[head.into_bytes(), body].concat());
        }
    });
    url
}

#[test]
fn tiles_of_a_mirror_are_compared_like_tiles_of_a_directory() {
    let mut log = Log::new();
    log.run("nginx:restart", 10, &[ALICE]);
    let copy = written(&log);
    let url = serve(copy.path().to_owned());
    let roster = log.roster_digest(1).to_string();
    let audit = || {
        let mut command = std::process::Command::new(support::PROGRAM);
        command
            .args(["audit", "--json", "--roster", &roster, &url])
            .env("HOME", copy.path());
        Audited::of(
            &command
                .env_remove("XDG_CONFIG_HOME")
                .env_remove("COUNTERSIGN_TOKEN")
                .output()
                .unwrap(),
        )
    };
    audit().clean();
    let tile = copy.path().join(format!("tile/0/000.p/{}", log.size()));
    let mut bytes = fs::read(&tile).unwrap();
    bytes[40] ^= 1;
    fs::write(&tile, bytes).unwrap();
    audit().finds(&["tile"]);
    // The audit accepts a missing hash tile.
    fs::remove_file(&tile).unwrap();
    audit().clean();
}
