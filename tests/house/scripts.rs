//! Checks that a script refuses wrong arguments before it builds or writes anything.
use std::path::Path;
use std::process::Command;

#[test]
fn make_log_refuses_each_text_that_is_no_number_of_runs_or_days() {
    let directory = tempfile::tempdir().unwrap();
    let (new, root) = (
        directory.path().join("log"),
        Path::new(env!("CARGO_MANIFEST_DIR")),
    );
    let refused = |runs: &str, new: &Path, words: &str| {
        let output = Command::new(root.join("scripts/make-log"))
            .arg(runs)
            .arg(new)
            .output()
            .expect("bash");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(
            (output.status.code(), said.as_str()),
            (Some(2), format!("scripts/make-log: {words}\n").as_str())
        );
    };
    for runs in [
        "0",
        "00",
        "01",
        "-1",
        "+1",
        "1.5",
        "1e3",
        "ten",
        "",
        " 1",
        "1\n2",
        "1000000000",
        "99999999999999999999",
    ] {
        refused(
            runs,
            &new,
            &format!("\"{runs}\" is not a number of runs: give a whole number from 1 to 999999999"),
        );
    }
    for days in ["0", "01", "61", "-1", "1.5", "ten", "", " 1", "1\n2", "100"] {
        let output = Command::new(root.join("scripts/make-log"))
            .args(["--days", days, "1"])
            .arg(&new)
            .output()
            .expect("bash");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let words = format!("\"{days}\" is not a number of days: give a whole number from 1 to 60");
        assert_eq!(
            (output.status.code(), said.as_str()),
            (Some(2), format!("scripts/make-log: {words}\n").as_str())
        );
    }
    assert!(!new.exists());
    let there = directory.path().canonicalize().unwrap();
    refused(
        "1",
        &there,
        &format!("{} exists already: name a new directory", there.display()),
    );
}
