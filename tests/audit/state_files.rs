//! The two files of `audit --state`: the state, and the short hashes of all nonces and proposals beside it.

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

    fn used(&self) -> PathBuf {
        self.home.path().join("prod.audit.used")
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
        let expected = format!(
            "The audit reads the log from the first entry, because {}",
            self.home.path().display()
        );
        let expected = [
            expected.clone(),
            expected.replace("because ", "because can't read "),
            expected.replace("because ", "because the content of "),
        ];
        assert!(
            expected.iter().any(|words| audited.stderr.contains(words))
                && audited.stderr.contains(why),
            "{}",
            audited.stderr
        );
        assert_eq!(
            (audited.code, audited.summary()["from"].as_u64()),
            (0, Some(0)),
            "{}",
            audited.stderr
        );
        // The audit has repaired the two files.
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

fn files_of(audits: &Audits) -> [Vec<u8>; 2] {
    [audits.state(), audits.used()].map(|path| fs::read(path).unwrap())
}

fn put(audits: &Audits, files: &[Vec<u8>; 2]) {
    for (path, bytes) in [audits.state(), audits.used()].into_iter().zip(files) {
        let _ = fs::remove_file(&path);
        fs::write(path, bytes).unwrap();
    }
}

/// Makes a file of 10 GB that needs no space on the disk.
fn huge(path: &Path, first: &[u8]) {
    let mut file = File::create(path).unwrap();
    file.write_all(first).unwrap();
    file.set_len(10 << 30).unwrap();
}

#[test]
fn an_audit_with_a_damaged_or_foreign_file_of_used_values_begins_again_and_says_why() {
    let mut audits = Audits::new();
    let old = files_of(&audits);
    audits.log.run("nginx:restart", 30, &[ALICE]);
    audits.goes_on(7);
    let good = files_of(&audits);
    assert_eq!(good[1].len(), 8 * 6, "16 bytes a run");
    assert_eq!(good[1][..old[1].len()], old[1][..], "an audit only appends");
    // Another boundary, and another log of the same boundary.
    let other = {
        let mut log = Log::new();
        log.entries.clear();
        log.epoch = "ab".repeat(16);
        log.reseal(0, |_| {});
        log.run("nginx:restart", 10, &[ALICE]);
        let other = Audits {
            log,
            home: tempfile::tempdir().unwrap(),
        };
        assert_eq!(other.audit(&[]).code, 0);
        fs::read(other.used()).unwrap()
    };
    let mut flipped = good[1].clone();
    flipped[4] ^= 1;
    let foreign = [&other[..], &[0; 64]].concat();
    for (bytes, why) in [
        (
            &good[1][..good[1].len() - 1],
            "is shorter than the state says",
        ),
        (&[][..], "is shorter than the state says"),
        (&old[1], "is shorter than the state says"),
        (&flipped, "is not the content that the state names"),
        (&foreign, "is not the content that the state names"),
        (&[b'x'; 200], "is not the content that the state names"),
    ] {
        put(&audits, &[good[0].clone(), bytes.to_vec()]);
        audits.begins_again(why);
    }
    put(&audits, &good);
    fs::remove_file(audits.used()).unwrap();
    audits.begins_again("No such file");
    fs::remove_file(audits.used()).unwrap();
    assert!(
        std::process::Command::new("mkfifo")
            .arg(audits.used())
            .status()
            .unwrap()
            .success()
    );
    audits.begins_again("is no file");
    put(&audits, &good);
    huge(&audits.used(), &good[1][..8]);
    audits.begins_again("is not the content that the state names");
    put(&audits, &good);
    let mut state: Value = serde_json::from_slice(&good[0]).unwrap();
    // Another version of the program saved the state.
    state["program"] = "countersign 0.3.0".into();
    put(
        &audits,
        &[serde_json::to_vec(&state).unwrap(), good[1].clone()],
    );
    let said = audits.audit(&[]).stderr;
    assert!(
        said.contains("because another version of the program saved the state (countersign 0.3.0)"),
        "{said}"
    );
    // A state that names more values than the file can have.
    let mut state: Value = serde_json::from_slice(&good[0]).unwrap();
    state["used_values"] = (1_u64 << 50).into();
    put(
        &audits,
        &[serde_json::to_vec(&state).unwrap(), good[1].clone()],
    );
    audits.begins_again("is shorter than the state says");
}

#[test]
fn a_state_of_10_gb_or_of_a_later_format_is_refused_and_left_unchanged() {
    let audits = Audits::new();
    let good = files_of(&audits);
    huge(&audits.state(), b"{");
    let audited = audits.audit(&[]);
    let said = format!("{:?}", audited.lines);
    assert!(
        audited.code == 2 && said.contains("is too large: name another file with --state"),
        "{said}"
    );
    assert_eq!(fs::metadata(audits.state()).unwrap().len(), 10 << 30);
    let mut state: Value = serde_json::from_slice(&good[0]).unwrap();
    state["new_field"] = 1.into();
    let later = serde_json::to_vec(&state).unwrap();
    put(&audits, &[later.clone(), good[1].clone()]);
    let audited = audits.audit(&[]);
    let said = format!("{:?}", audited.lines);
    assert!(
        audited.code == 2 && said.contains("is no state of an audit"),
        "{said}"
    );
    assert_eq!(fs::read(audits.state()).unwrap(), later);
}

#[test]
fn a_crash_between_the_two_writes_of_a_state_leaves_a_state_that_is_recognized() {
    let mut audits = Audits::new();
    let old = files_of(&audits);
    audits.log.run("nginx:restart", 30, &[ALICE]);
    audits.goes_on(7);
    let extended = files_of(&audits);
    // The hashes were appended, and the state was not replaced.
    put(&audits, &[old[0].clone(), extended[1].clone()]);
    audits.goes_on(7);
    assert_eq!(files_of(&audits)[1], extended[1]);
    // Only a part of the hashes was appended.
    put(
        &audits,
        &[
            old[0].clone(),
            extended[1][..extended[1].len() - 3].to_vec(),
        ],
    );
    audits.goes_on(7);
    assert_eq!(files_of(&audits)[1], extended[1]);
    // A whole audit has replaced the file, and the state was not replaced.
    assert_eq!(audits.audit(&["--full"]).code, 0);
    let full = files_of(&audits);
    put(&audits, &[extended[0].clone(), full[1].clone()]);
    if full[1] == extended[1] {
        audits.goes_on(10);
    } else {
        audits.begins_again("is not the content that the state names");
    }
}

#[test]
fn a_nonce_of_an_earlier_audit_is_found_again_through_the_two_files() {
    let mut audits = Audits::new();
    let clean = audits.log.clone();
    let first = audits.log.run("nginx:restart", 30, &[ALICE]);
    audits.goes_on(7);
    audits.log.run("nginx:restart", 40, &[ALICE]);
    audits.goes_on(10);
    let kept = files_of(&audits);
    let place = audits.log.consume(30 * 86_400, &[&first]);
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
        files_of(&audits),
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
