//! Runs `countersign demo` with the real binary, on this host and on a simulated host that cannot provide `strict`.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

const BINARY: &str = env!("CARGO_BIN_EXE_countersign");

fn lines(output: &Output) -> (bool, Vec<(String, String, String)>) {
    let text = String::from_utf8_lossy(&output.stdout);
    let told: Value = serde_json::from_str(&text).unwrap_or_else(|error| {
        panic!("{error}: {text}{}", String::from_utf8_lossy(&output.stderr))
    });
    let field = |line: &Value, name: &str| line[name].as_str().expect("text").to_owned();
    let lines = told["lines"].as_array().expect("lines");
    let lines = lines
        .iter()
        .map(|line| {
            (
                field(line, "state"),
                field(line, "what"),
                field(line, "found"),
            )
        })
        .collect();
    (told["as_told"] == true, lines)
}

#[test]
fn every_attack_of_the_demo_is_refused_with_its_code() {
    let output = Command::new(BINARY)
        .args(["--json", "demo"])
        .output()
        .expect("started");
    let (as_told, lines) = lines(&output);
    for (attack, code) in [
        ("the same approval again", "nonce-replayed"),
        ("a changed parameter under good signatures", "bad-signature"),
        ("one signature too few", "quorum-missing"),
        ("the same person twice, with two keys", "quorum-missing"),
        ("a stranger's key", "unknown-signer"),
        ("the agent's owner approves", "self-approval"),
        (
            "an edited runbook without a new seal",
            "the sealed bytes ran",
        ),
        (
            "an old approval, after a reseal of the edited runbook",
            "step-changed",
        ),
        ("one byte of the receipt flipped", "receipt-signature"),
        (
            "a step that reads an approver's key",
            "refused by the sandbox",
        ),
    ] {
        let found = lines
            .iter()
            .find(|(_, what, _)| what == attack)
            .unwrap_or_else(|| panic!("{attack}: {lines:?}"));
        assert!(found.0 == "as-told" && found.2.contains(code), "{found:?}");
    }
    assert!(as_told, "{lines:?}");
    assert_eq!(output.status.code(), Some(0));
}

/// The script simulates a container without user namespaces.
#[test]
fn the_demo_on_a_host_without_strict_isolation_names_the_missing_layer_and_the_setting() {
    let script = "echo 0 > /proc/sys/user/max_user_namespaces && exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["-Ur", "sh", "-c", script, "sh", BINARY, "--json", "demo"]);
    let output = command.output().expect("unshare (util-linux) is needed");
    let (as_told, lines) = lines(&output);
    let first = lines
        .iter()
        .position(|(state, ..)| state == "not-shown")
        .expect("what is missing");
    let serves = lines
        .iter()
        .position(|(_, what, _)| what == "a boundary serves")
        .expect("it goes on");
    assert!(first < serves, "{lines:?}");
    assert!(
        lines
            .iter()
            .any(|(_, what, found)| what == "strict: layer namespaces"
                && found.contains("max_user_namespaces"))
    );
    assert!(lines[serves].2.contains("best-effort"), "{lines:?}");
    assert!(
        lines.iter().all(|(state, ..)| state != "failed"),
        "{lines:?}"
    );
    assert!(!as_told);
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn stored_demo_files_can_be_verified_again_and_replace_no_files() {
    let dir = tempfile::tempdir().expect("a directory");
    let kept = dir.path().join("kept");
    let demo = || {
        Command::new(BINARY)
            .args(["demo", "--keep"])
            .arg(&kept)
            .output()
            .expect("started")
    };
    let output = demo();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.is_ascii(), "readable anywhere");
    assert!(!text.contains('\u{1b}'), "readable without colour");
    let verify = |bundle: &str| {
        let mut command = Command::new(BINARY);
        command
            .arg("verify")
            .arg(kept.join(bundle))
            .arg("--roster")
            .arg(kept.join("people/roster.json"));
        command.output().expect("started").status.code()
    };
    assert_eq!(
        (verify("run.bundle.json"), verify("flipped.bundle.json")),
        (Some(0), Some(1))
    );
    assert_eq!(
        demo().status.code(),
        Some(2),
        "a directory that exists is left alone"
    );
    assert!(
        Path::new(&kept)
            .join("boundary-home/boundary/key.pem")
            .exists()
    );
}
