//! Exports the log of a real boundary and compares both auditors: the same decisions, and the same findings in damaged
//! copies.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::support::people::{alice, bob, dora};
use crate::support::{self, SMALL, World, runbook, wait_for};
use documents::{Checkpoint, sign_note};
use serde_json::{Value, json};

use crate::second;

/// The result of one auditor: whether it found no defect, the number of open runs, and a summary of each decision.
#[derive(Debug, PartialEq, Eq)]
struct History {
    clean: bool,
    open: usize,
    decisions: Vec<Value>,
}

fn ours(world: &World, copy: &Path) -> History {
    let roster = world.started["roster"].as_str().expect("a digest");
    let output = world
        .program(&["audit", "--json", "--roster", roster])
        .arg(copy)
        .output()
        .expect("audit");
    let lines: Vec<Value> = String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}")))
        .collect();
    let decision = |line: &Value| {
        let mut line = line.clone();
        line["outcome"] = line["outcome"]["status"].clone();
        words(&line)
    };
    let decisions = lines
        .iter()
        .filter(|line| line["type"] == "decision")
        .map(decision)
        .collect();
    let summary = lines.iter().find(|line| line["type"] == "summary");
    let open = summary
        .and_then(|summary| summary["open"].as_array())
        .map_or(0, Vec::len);
    assert_eq!(
        output.status.success(),
        summary.is_some_and(|summary| summary["clean"] == true)
    );
    History {
        clean: output.status.success(),
        open,
        decisions,
    }
}

fn theirs(world: &World, copy: &Path) -> History {
    let roster = world.started["roster"].as_str().expect("a digest");
    let output = second::python()
        .arg("audit")
        .arg(copy)
        .arg("--roster")
        .arg(roster)
        .output()
        .expect("python runs");
    let said: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    assert_eq!(output.status.success(), said["sound"] == true, "{said:#}");
    History {
        clean: output.status.success(),
        open: said["open"].as_array().map_or(0, Vec::len),
        decisions: said["decisions"]
            .as_array()
            .into_iter()
            .flatten()
            .map(words)
            .collect(),
    }
}

fn words(line: &Value) -> Value {
    let fields = [
        "receipt",
        "at",
        "proposer",
        "step",
        "params",
        "params_digest",
        "reason",
        "approvers",
        "outcome",
        "entry",
    ];
    fields
        .iter()
        .map(|field| ((*field).to_owned(), line[*field].clone()))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

#[test]
fn an_invalid_first_seal_is_reported_as_a_finding_and_a_foreign_roster_as_missing_trust() {
    let world = World::new();
    world.run("plain:true", json!({}), &[&alice()]);
    let copy = world.export("copy");
    let codes = |roster: &str| {
        let ours = world
            .program(&["audit", "--roster", roster])
            .arg(&copy)
            .output()
            .expect("audit");
        let theirs = second::python()
            .arg("audit")
            .arg(&copy)
            .arg("--roster")
            .arg(roster)
            .output()
            .expect("python runs");
        (ours.status.code().unwrap(), theirs.status.code().unwrap())
    };
    let roster = world.started["roster"]
        .as_str()
        .expect("a digest")
        .to_owned();
    assert_eq!(codes(&roster), (0, 0));
    assert_eq!(
        codes(&format!("sha256:{}", "a".repeat(64))),
        (2, 2),
        "a roster of another boundary"
    );
    let blob = copy
        .join("blob/sha256")
        .join(roster.trim_start_matches("sha256:"));
    let entries = copy.join(format!("tile/entries/000.p/{}", world.log_size()));
    // Bytes within the roster, within the payload of entry 0, and at its start.
    for (file, at) in [(&blob, 40), (&entries, 200), (&entries, 2)] {
        let good = fs::read(file).unwrap();
        let mut bad = good.clone();
        bad[at] = if bad[at] == b'A' { b'B' } else { b'A' };
        fs::write(file, bad).unwrap();
        assert_eq!(codes(&roster), (1, 1), "{} {at}", file.display());
        fs::write(file, &good).unwrap();
    }
    fs::remove_file(&blob).unwrap();
    assert_eq!(codes(&roster), (1, 1), "no roster beside the log");
}

#[test]
fn both_auditors_agree_on_the_log_of_a_real_boundary() {
    let mut world = World::new();
    world.run(
        "two:go",
        json!({"text": "\u{e4} \"x\""}),
        &[&alice(), &bob()],
    );
    world.run("plain:fail", json!({}), &[&dora()]);
    let denied = world.propose("plain:true", json!({}));
    world.deny(&denied, &dora()).ok(200);
    let seal = world.seal();
    world.write(
        "b/runbooks/plain.md",
        &runbook(SMALL, &[("true", "true"), ("wait", "sleep 600")]),
    );
    world.reseal(seal + 1);
    world.run("plain:true", json!({}), &[&alice()]);
    let running = world.propose("plain:wait", json!({}));
    world.sign(&running, &[&alice()]).ok(200);
    world.until(support::id_of(&running), "running");
    let copy = world.export("copy");
    let (first, second) = (ours(&world, &copy), theirs(&world, &copy));
    assert_eq!(first, second);
    assert_eq!(
        (first.clean, first.open, first.decisions.len()),
        (true, 1, 3),
        "{first:#?}"
    );
    // After a crash the open run has the receipt `unknown`.
    world.kill9();
    world.start();
    let copy = world.export("copy");
    let (first, second) = (ours(&world, &copy), theirs(&world, &copy));
    assert_eq!(first, second);
    assert_eq!((first.clean, first.open), (true, 0), "{first:#?}");
    assert_eq!(first.decisions.last().unwrap()["outcome"], "unknown");

    // Both auditors must find every damage to the copy.
    for (at, file) in files(&copy).into_iter().enumerate() {
        let all = ["flipped", "cut", "gone", "pipe"];
        // Each blob is damaged in one way. The checkpoint and the tiles are damaged in every way.
        for what in if at < 3 {
            &all[..]
        } else {
            &all[at % 4..=at % 4]
        } {
            let what = *what;
            let kept = fs::read(&file).unwrap();
            match what {
                "flipped" => {
                    let mut bytes = kept.clone();
                    let middle = bytes.len() / 2;
                    bytes[middle] ^= 1;
                    fs::write(&file, bytes).unwrap();
                }
                "cut" => fs::write(&file, &kept[..kept.len() - 1]).unwrap(),
                "gone" => fs::remove_file(&file).unwrap(),
                // A FIFO without a writer.
                _ => {
                    fs::remove_file(&file).unwrap();
                    assert!(
                        std::process::Command::new("mkfifo")
                            .arg(&file)
                            .status()
                            .unwrap()
                            .success()
                    );
                }
            }
            let roster = world.started["roster"].as_str().unwrap();
            let mut our_own = world.program(&["audit", "--json", "--roster", roster]);
            our_own.arg(&copy);
            let mut the_second = second::python();
            the_second
                .arg("audit")
                .arg(&copy)
                .arg("--roster")
                .arg(roster);
            // An auditor computes the hash tiles from the entries, so a missing hash tile is no defect.
            let sound = what == "gone" && file.components().any(|part| part.as_os_str() == "0");
            for auditor in [our_own, the_second] {
                assert_eq!(finds_nothing(auditor), sound, "{} {what}", file.display());
            }
            let _ = fs::remove_file(&file);
            fs::write(&file, kept).unwrap();
        }
    }
    assert!(
        ours(&world, &copy).clean && theirs(&world, &copy).clean,
        "all put back"
    );
}

#[test]
fn every_stored_head_of_a_copy_is_compared_with_its_entries() {
    let world = World::new();
    world.run("plain:true", json!({}), &[&alice()]);
    let copy = world.export("copy");
    world.run("plain:true", json!({}), &[&alice()]);
    let copy = {
        assert_eq!(world.export("copy"), copy);
        copy
    };
    let mut heads: Vec<_> = fs::read_dir(copy.join("checkpoints"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    heads.sort_by_key(|path| {
        path.file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .parse::<u64>()
            .unwrap()
    });
    assert!(heads.len() >= 2, "{heads:?}");
    assert!(
        ours(&world, &copy).clean && theirs(&world, &copy).clean,
        "as it was written"
    );
    let early = heads[0].clone();
    let kept = fs::read_to_string(&early).unwrap();
    let lines: Vec<&str> = kept.lines().collect();
    let other_root = kept.replace(lines[2], "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=");
    // A fork: a checkpoint of the same size with a different root hash, signed by the boundary's key.
    let (origin, secret) = (lines[0], &support::people::boundary_key().secret);
    let fork = Checkpoint {
        origin: origin.to_owned(),
        size: lines[1].parse().unwrap(),
        root: [7; 32],
    };
    let sign = |text: &[u8]| Ok::<_, std::convert::Infallible>(secret.sign(text));
    let fork = sign_note(&fork.body(), origin, &secret.public(), sign)
        .unwrap()
        .to_string();
    let longer = Checkpoint {
        origin: origin.to_owned(),
        size: 9_999,
        root: [7; 32],
    };
    let longer = sign_note(&longer.body(), origin, &secret.public(), sign)
        .unwrap()
        .to_string();
    let size = lines[1];
    for (what, name, text) in [
        ("garbage", size, "no note".to_owned()),
        ("empty", size, String::new()),
        ("another root, not signed", size, other_root),
        ("a fork", size, fork),
        ("an end that is missing", "9999", longer),
        ("another name", "9998", kept.clone()),
    ] {
        let file = copy.join("checkpoints").join(name);
        fs::write(&file, text).unwrap();
        assert!(!ours(&world, &copy).clean, "{what}");
        assert!(
            !theirs(&world, &copy).clean,
            "{what}, to the second auditor"
        );
        fs::remove_file(&file).unwrap();
        fs::write(&early, &kept).unwrap();
    }
    assert!(
        ours(&world, &copy).clean && theirs(&world, &copy).clean,
        "all put back"
    );
}

/// Runs an auditor, which must end, and returns whether its exit code is 0.
fn finds_nothing(mut auditor: std::process::Command) -> bool {
    let quiet = auditor.stdout(Stdio::null()).stderr(Stdio::null());
    let mut running = quiet.spawn().expect("an auditor");
    let mut status = None;
    wait_for("the audit ends", || {
        status = running.try_wait().expect("a status");
        status.is_some()
    });
    status.expect("ended").success()
}

/// All files of a copy that an auditor reads, without the partial tiles of earlier sizes.
fn files(copy: &Path) -> Vec<PathBuf> {
    let head = fs::read_to_string(copy.join("checkpoint")).unwrap();
    let size = head.lines().nth(1).unwrap().to_owned();
    let mut found = vec![copy.join("checkpoint")];
    found.push(copy.join(format!("tile/0/000.p/{size}")));
    found.push(copy.join(format!("tile/entries/000.p/{size}")));
    for entry in fs::read_dir(copy.join("blob/sha256")).unwrap() {
        found.push(entry.unwrap().path());
    }
    found
}

#[test]
fn both_auditors_accept_the_golden_log_and_report_its_unchecked_parts() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance/golden/valid");
    let roster = golden.join("roster.json");
    let home = tempfile::tempdir().expect("a directory");
    let audit = |more: &[&str]| {
        let mut command = std::process::Command::new(support::PROGRAM);
        command
            .arg("audit")
            .args(more)
            .arg("--roster")
            .arg(&roster)
            .arg(golden.join("log"))
            .env("HOME", home.path());
        let output = command.output().expect("audit");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).expect("text")
    };
    let lines = audit(&["--json"]);
    let lines: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let [decision, denial, summary] = &lines[..] else {
        panic!("{lines:#?}")
    };
    let words_of = |name: &str| denial[name].as_str().unwrap_or_default();
    assert_eq!(
        (words_of("type"), words_of("reason")),
        ("denial", "not during the freeze")
    );
    assert_eq!(
        (&decision["verdict"], &decision["unchecked"]),
        (&json!("stands"), &json!(["sandbox"]))
    );
    assert_eq!(
        (
            &summary["clean"],
            &summary["counts"]["stand"],
            &summary["differences"]
        ),
        (&json!(true), &json!(1), &json!(0))
    );
    let of = |list: &Value| -> Vec<(Value, Value)> {
        list.as_array()
            .expect("a list")
            .iter()
            .map(|one| (one["what"].clone(), one["decisions"].clone()))
            .collect()
    };
    // The second auditor does not parse scripts.
    let expected = ["permissions", "sandbox"].map(|what| (json!(what), json!(1)));
    assert_eq!(of(&summary["not_checked"]), expected[1..]);
    assert!(
        summary["not_checked"][0]["why"]
            .as_str()
            .is_some_and(|why| why.contains("configuration")),
        "{summary:#}"
    );
    let shown = audit(&[]);
    for words in [
        "== Not checked ==",
        "sandbox of 1 decision(s)",
        "these checks were not",
    ] {
        assert!(shown.contains(words), "{words}: {shown}");
    }
    let output = second::python()
        .arg("audit")
        .arg(golden.join("log"))
        .arg("--roster")
        .arg(&roster)
        .output();
    let said: Value = serde_json::from_slice(&output.expect("python runs").stdout).expect("JSON");
    assert_eq!(
        (&said["sound"], of(&said["not_checked"])),
        (&json!(true), expected.to_vec()),
        "{said:#}"
    );
    assert_eq!(
        words(decision)["receipt"],
        words(&said["decisions"][0])["receipt"]
    );
}
