//! The file of `audit --state`.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use super::whole_logs::{Audited, audit_log, written};
use crate::history::{ALICE, BOB, Log};
use serde_json::Value;

/// A log, the directory of the state, and the state after an audit of the log.
struct Audits {
    log: Log,
    home: tempfile::TempDir,
}

impl Audits {
    /// A log with two runs, and its audit.
    fn new() -> Self {
        let mut log = Log::new();
        log.run("nginx:restart", 10, &[ALICE]);
        log.run("nginx:restart", 20, &[BOB]);
        let audits = Self {
            log,
            home: tempfile::tempdir().unwrap(),
        };
        assert_eq!(audits.audit(&[]).code, 0);
        audits
    }

    fn state(&self) -> PathBuf {
        self.home.path().join("prod.audit")
    }

    fn kept(&self) -> Vec<u8> {
        fs::read(self.state()).unwrap()
    }

    fn put(&self, state: &[u8]) {
        let _ = fs::remove_file(self.state());
        fs::write(self.state(), state).unwrap();
    }

    fn audit(&self, more: &[&str]) -> Audited {
        let (copy, state) = (written(&self.log), self.state());
        let with_state = ["--json", "--state", state.to_str().unwrap()];
        let mut command = audit_log(&self.log, copy.path(), &[&with_state[..], more].concat());
        Audited::of(&command.env("HOME", self.home.path()).output().unwrap())
    }

    /// Audits the log from the first entry, although there is a state, and expects the reason.
    #[track_caller]
    fn begins_again(&self, why: &str) {
        let audited = self.audit(&[]);
        let expected = format!("The audit reads the log from the first entry, because {why}");
        assert!(audited.stderr.contains(&expected), "{}", audited.stderr);
        assert_eq!(
            (audited.code, audited.summary()["from"].as_u64()),
            (0, Some(0)),
            "{}",
            audited.stderr
        );
        // The audit has replaced the state.
        self.goes_on(self.log.size());
    }

    /// Audits the log from the entry `from`.
    #[track_caller]
    fn goes_on(&self, from: u64) {
        let audited = self.audit(&[]);
        assert_eq!(
            (audited.code, audited.summary()["from"].as_u64()),
            (0, Some(from)),
            "{}",
            audited.stderr
        );
        assert!(
            !audited.stderr.contains("first entry"),
            "{}",
            audited.stderr
        );
    }
}

/// Makes a file of 10 GB that needs no space on the disk.
fn huge(path: &Path, first: &[u8]) {
    let mut file = File::create(path).unwrap();
    file.write_all(first).unwrap();
    file.set_len(10 << 30).unwrap();
}

#[test]
fn an_audit_with_a_state_of_another_version_begins_again_and_says_why() {
    let mut audits = Audits::new();
    audits.log.run("nginx:restart", 30, &[ALICE]);
    audits.goes_on(7);
    let mut state: Value = serde_json::from_slice(&audits.kept()).unwrap();
    // Another version of the program saved the state.
    state["program"] = "countersign 0.3.0".into();
    audits.put(&serde_json::to_vec(&state).unwrap());
    audits.begins_again("another version of the program saved the state (countersign 0.3.0)");
}

#[test]
fn a_state_is_one_file() {
    let mut audits = Audits::new();
    audits.log.run("nginx:restart", 30, &[ALICE]);
    audits.goes_on(7);
    let files: Vec<_> = fs::read_dir(audits.home.path())
        .unwrap()
        .map(|file| file.unwrap().file_name())
        .collect();
    assert_eq!(files, ["prod.audit"]);
}

#[test]
fn a_state_of_10_gb_or_of_a_later_format_is_refused_and_left_unchanged() {
    let audits = Audits::new();
    let good = audits.kept();
    huge(&audits.state(), b"{");
    let audited = audits.audit(&[]);
    let said = format!("{:?}", audited.lines);
    assert!(
        audited.code == 2 && said.contains("is too large: name another file with --state"),
        "{said}"
    );
    assert_eq!(fs::metadata(audits.state()).unwrap().len(), 10 << 30);
    let mut state: Value = serde_json::from_slice(&good).unwrap();
    state["new_field"] = 1.into();
    let later = serde_json::to_vec(&state).unwrap();
    audits.put(&later);
    let audited = audits.audit(&[]);
    let said = format!("{:?}", audited.lines);
    assert!(
        audited.code == 2 && said.contains("is no state of an audit"),
        "{said}"
    );
    assert_eq!(audits.kept(), later);
}

#[test]
fn a_nonce_of_an_earlier_audit_is_found_again_through_the_state() {
    let mut audits = Audits::new();
    let clean = audits.log.clone();
    let first = audits.log.run("nginx:restart", 30, &[ALICE]);
    audits.goes_on(7);
    audits.log.run("nginx:restart", 40, &[ALICE]);
    audits.goes_on(10);
    let kept = audits.kept();
    let place = audits.log.consume(50, &[&first]);
    audits.log.receipt(place, &first);
    let audited = audits.audit(&[]);
    assert_eq!(
        (audited.code, audited.summary()["from"].as_u64()),
        (1, Some(13))
    );
    assert!(
        audited.whats().contains(&"double-use"),
        "{:?}",
        audited.whats()
    );
    assert_eq!(
        audits.kept(),
        kept,
        "a state is never moved by what does not hold"
    );
    // The state belongs to another history of the same boundary.
    audits.log = clean;
    audits.log.run("nginx:restart", 31, &[BOB]);
    for at in [41, 51] {
        audits.log.run("nginx:restart", at, &[BOB]);
    }
    let audited = audits.audit(&[]);
    assert!(
        audited.code == 1 && audited.whats().contains(&"fork"),
        "{:?}",
        audited.whats()
    );
}
