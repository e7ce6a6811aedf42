//! Tests of `verify` with many bundles: one line or page for each bundle, and one exit code for all.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

use crate::support::{exited, said};

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/conformance/golden/");

fn verify(words: &[&str], input: Option<&str>) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
    command
        .arg("verify")
        .args(words)
        .current_dir(GOLDEN)
        .env_remove("COUNTERSIGN_TRUST")
        .env("HOME", "/nonexistent");
    command.env_remove("XDG_CONFIG_HOME");
    match input {
        Some(file) => command.stdin(File::open(Path::new(GOLDEN).join(file)).expect(file)),
        None => command.stdin(Stdio::null()),
    };
    command.output().expect("verify")
}

fn lines(output: &Output) -> Vec<Value> {
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).expect(line))
        .collect()
}

const ROSTER: [&str; 2] = ["--roster", "valid/roster.json"];
const GOOD: &str = "valid/bundle.json";
const ALSO: &str = "valid/bundle-sshsig.json";

fn refused() -> String {
    let index: Value = serde_json::from_slice(
        &std::fs::read(Path::new(GOLDEN).join("refused/index.json")).expect("index"),
    )
    .expect("JSON");
    let first = index
        .as_array()
        .expect("a list")
        .iter()
        .find(|entry| entry["roster"] == ROSTER[1]);
    first.expect("one")["file"]
        .as_str()
        .expect("a file")
        .to_owned()
}

const NOBODY: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000000";

#[test]
fn a_file_name_with_invalid_utf8_is_printed_with_escapes_and_does_not_stop_verify() {
    use std::os::unix::ffi::OsStrExt as _;
    let dir = tempfile::tempdir().expect("a directory");
    let odd = dir.path().join(std::ffi::OsStr::from_bytes(b"\xff.json"));
    std::fs::copy(Path::new(GOLDEN).join(GOOD), &odd).expect("copied");
    let run = |words: &[&std::ffi::OsStr]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
        command
            .args(words)
            .current_dir(GOLDEN)
            .env_remove("COUNTERSIGN_TRUST")
            .env("HOME", dir.path());
        command
            .env_remove("XDG_CONFIG_HOME")
            .stdin(Stdio::null())
            .output()
            .expect("runs")
    };
    let good = GOOD.as_ref();
    let three = [good, odd.as_os_str(), good];
    let words = ["verify", "--json", "--roster", "valid/roster.json"].map(std::ffi::OsStr::new);
    let output = run(&[&words[..], &three].concat());
    assert_eq!(
        (output.status.code(), lines(&output).len()),
        (Some(0), 3),
        "{}",
        said(&output)
    );
    assert!(
        lines(&output)[1]["file"]
            .as_str()
            .is_some_and(|name| name.ends_with("\u{fffd}.json"))
    );
    let missing = dir.path().join(std::ffi::OsStr::from_bytes(b"\xfe.json"));
    assert_eq!(
        lines(&run(&[&words[..], &[missing.as_os_str()]].concat())).len(),
        1
    );
    // `gate` rejects a roster in a checkout, so the test copies the roster to another directory.
    let roster = dir.path().join("roster.json");
    std::fs::copy(Path::new(GOLDEN).join(ROSTER[1]), &roster).expect("copied");
    let gate = [
        "gate",
        "--json",
        "--any-digest",
        "--any-params",
        "--boundary",
        NOBODY,
        "--step",
        "deploy/web:restart",
    ];
    let files = ["--roster".as_ref(), roster.as_os_str(), odd.as_os_str()];
    let output = run(&[&gate.map(std::ffi::OsStr::new)[..], &files].concat());
    assert_eq!(
        (output.status.code(), lines(&output).len()),
        (Some(1), 1),
        "{}",
        said(&output)
    );
    let key = dir.path().join(std::ffi::OsStr::from_bytes(b"\xfd.pem"));
    let output = run(&[
        "key".as_ref(),
        "generate".as_ref(),
        "--json".as_ref(),
        "--out".as_ref(),
        key.as_os_str(),
    ]);
    assert!(output.status.success() && key.exists(), "{}", said(&output));
    let home = dir.path().join(std::ffi::OsStr::from_bytes(b"\xfc"));
    let output = run(&[
        "init".as_ref(),
        home.as_os_str(),
        "--yes".as_ref(),
        "--json".as_ref(),
    ]);
    assert!(
        output.status.code().is_some_and(|code| code < 100),
        "{}",
        said(&output)
    );
}

#[test]
fn each_bundle_gets_a_line_and_the_worst_result_decides_the_exit_code() {
    let bad = refused();
    for (files, exit) in [
        (&[GOOD, ALSO][..], 0),
        (&[GOOD, &bad, ALSO], 1),
        (&[&bad, GOOD], 1),
        (&[GOOD, "nowhere.json", &bad], 2),
    ] {
        let output = verify(&[&["--json"], &ROSTER[..], files].concat(), None);
        assert_eq!(
            output.status.code(),
            Some(exit),
            "{files:?}: {}",
            said(&output)
        );
        let lines = lines(&output);
        assert_eq!(
            lines.len(),
            files.len(),
            "what comes after a bad one is verified too"
        );
        for (line, file) in lines.iter().zip(files) {
            assert_eq!(line["file"], json!(file));
            let good = [GOOD, ALSO].contains(file);
            assert_eq!(
                (&line["verified"], line["exit"] == 0),
                (&json!(good), good),
                "{line:#}"
            );
            if *file == "nowhere.json" {
                assert!(
                    line["error"]
                        .as_str()
                        .is_some_and(|error| error.contains("nowhere.json")),
                    "{line:#}"
                );
                continue;
            }
            assert_eq!(line["report"]["verified"], json!(good));
            assert!(
                line["sha256"]
                    .as_str()
                    .is_some_and(|digest| digest.starts_with("sha256:")),
                "{line:#}"
            );
            assert_eq!(line["trusted"]["roster"], line["report"]["trust"]["roster"]);
            for check in line["report"]["checks"].as_array().expect("checks") {
                assert!(check["rests_on"].is_string(), "{check:#}");
            }
        }
    }
}

#[test]
fn the_output_for_many_bundles_ends_with_a_summary_that_counts_each_run_once() {
    let output = verify(
        &[&ROSTER[..], &[GOOD, GOOD, &refused(), "nowhere.json"]].concat(),
        None,
    );
    let text = said(&output);
    assert_eq!(output.status.code(), Some(2), "{text}");
    for part in [
        "== All bundles ==",
        "  RESULT       BOUNDARY  FILE",
        "  verified     prod-eu   valid/bundle.json: rcp_",
        "  NOT VERIFIED           refused/",
        "  not read               nowhere.json",
        "2 of 4 verified",
        "belong to the same run rcp_",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert_eq!(
        text.matches("  verified     prod-eu   ").count(),
        2,
        "{text}"
    );
    let one = said(&verify(&[&ROSTER[..], &[GOOD]].concat(), None));
    assert!(!one.contains("== All bundles =="), "{one}");
}

#[test]
fn the_output_of_verify_contains_all_data_to_repeat_the_verification() {
    let output = verify(
        &[&ROSTER[..], &[GOOD, "--at", "2026-11-20T12:00:00Z"]].concat(),
        None,
    );
    let text = said(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    let sum = Command::new("sha256sum")
        .arg(Path::new(GOLDEN).join(GOOD))
        .output()
        .expect("sha256sum");
    let sum = String::from_utf8_lossy(&sum.stdout)[..64].to_owned();
    for part in [
        &*sum,
        "trusted       roster sha256:5f3ee154",
        "trust from    --roster valid/roster.json",
        "judged        what is dated up to 2026-11-20T12:00:00Z",
        "== Whose word it is ==",
        "== Only the boundary's word ==",
        "== Not checked ==",
        "verdict       verified",
    ] {
        assert!(
            text.replace("\n              + ", "").contains(part),
            "{part}: {text}"
        );
    }
    assert!(
        text.bytes()
            .all(|c| c == b'\n' || (0x20..0x7f).contains(&c)),
        "it can be pasted anywhere"
    );
}

#[test]
fn the_standard_input_is_one_bundle() {
    let output = exited(
        verify(&[&ROSTER[..], &["--json", "-", ALSO]].concat(), Some(GOOD)),
        0,
    );
    assert_eq!(lines(&output)[0]["file"], "-");
    assert_eq!(
        verify(&[&ROSTER[..], &["-", "-"]].concat(), Some(GOOD))
            .status
            .code(),
        Some(2)
    );
    let empty = verify(&[&ROSTER[..], &["--json", "-"]].concat(), None);
    assert_eq!(
        (empty.status.code(), &lines(&empty)[0]["verified"]),
        (Some(1), &json!(false))
    );
}

#[test]
fn a_bundle_that_is_dated_after_the_time_option_is_refused() {
    let at = |time: &str| {
        let output = verify(
            &[&ROSTER[..], &["--json", GOOD, "--at", time]].concat(),
            None,
        );
        let line = lines(&output).pop().unwrap_or_default();
        let failed: Vec<String> = line["report"]["checks"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|check| check["finding"] == "failed")
            .map(|check| check["name"].as_str().expect("a name").to_owned())
            .collect();
        (output.status.code(), failed)
    };
    assert_eq!(
        at("2026-11-20T09:00:00Z"),
        (Some(1), vec!["window".to_owned()])
    );
    assert_eq!(at("2026-11-20T09:40:01Z"), (Some(0), vec![]));
    assert_eq!(
        at("2036-11-20T00:00:00Z"),
        (Some(0), vec![]),
        "a receipt does not grow old"
    );
    assert_eq!(
        at("2026-11-20T10:40:01+01:00"),
        (Some(0), vec![]),
        "the same time with an offset"
    );
    for bad in ["yesterday", "2026-11-20", "2026-11-20T09:40:01"] {
        assert_eq!(at(bad).0, Some(2), "{bad}");
    }
}

#[test]
fn verify_without_a_trusted_roster_reports_the_first_roster_digest_of_every_bundle() {
    let output = verify(&["--json", GOOD, ALSO], None);
    assert_eq!(output.status.code(), Some(2));
    let lines = lines(&output);
    assert_eq!(lines.len(), 2);
    for line in lines {
        assert_eq!(
            (&line["verified"], &line["exit"]),
            (&json!(false), &json!(2)),
            "{line:#}"
        );
        assert!(
            line["untrusted"]["first_roster"]
                .as_str()
                .is_some_and(|digest| digest.starts_with("sha256:"))
        );
        assert!(line["report"].is_null(), "nothing was verified");
    }
}

#[test]
fn a_bundle_without_the_required_number_of_cosignatures_is_refused() {
    let output = exited(
        verify(
            &[&ROSTER[..], &["--json", GOOD, "--witness", "1"]].concat(),
            None,
        ),
        1,
    );
    let line = lines(&output).remove(0);
    let check = line["report"]["checks"]
        .as_array()
        .expect("checks")
        .last()
        .expect("one")
        .clone();
    assert_eq!(
        (&check["name"], &check["finding"]),
        (&json!("witnesses"), &json!("failed"))
    );
}

#[test]
fn a_bundle_of_more_than_4_mib_fails_its_first_check() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("large.json");
    let mut large = std::fs::read(Path::new(GOLDEN).join(GOOD)).expect("a bundle");
    large.resize(4 << 20, b' ');
    let check = |bytes: &[u8]| {
        std::fs::write(&path, bytes).expect("written");
        verify(
            &[&ROSTER[..], &["--json", path.to_str().expect("text")]].concat(),
            None,
        )
    };
    assert_eq!(check(&large).status.code(), Some(0), "exactly 4 MiB");
    large.push(b' ');
    let output = exited(check(&large), 1);
    let told = lines(&output);
    let failed: Vec<&str> = told[0]["report"]["checks"]
        .as_array()
        .expect("checks")
        .iter()
        .filter(|check| check["finding"] == "failed")
        .filter_map(|check| check["name"].as_str())
        .collect();
    assert_eq!(failed, ["bundle"], "{}", said(&output));
}
