//! Reads the runbooks of the project Rundown, if `COUNTERSIGN_PEERS` names a folder with its files at commit 664cb67.

use std::path::{Path, PathBuf};

use countersign::registry::rundown::read_workflow;

use crate::host::not_run;

/// Returns the folder with the files of Rundown, or reports that the test can't run.
fn peer(test: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("COUNTERSIGN_PEERS").map(PathBuf::from);
    let found = folder.filter(|folder| folder.join("runbooks/patterns").is_dir());
    if found.is_none() {
        not_run(test, "COUNTERSIGN_PEERS names no folder with the files of Rundown");
    }
    found
}

fn runbooks(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(runbooks(&path));
        } else if path.to_string_lossy().ends_with(".runbook.md") {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn errors(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).expect("a runbook");
    let flaws = read_workflow(&text).err().unwrap_or_default();
    flaws.iter().map(|flaw| format!("{}:{flaw}", path.display())).collect()
}

#[test]
fn every_pattern_of_rundown_is_read_and_every_invalid_runbook_is_refused() {
    let Some(folder) = peer("every_pattern_of_rundown_is_read_and_every_invalid_runbook_is_refused") else { return };
    let valid = runbooks(&folder.join("runbooks/patterns"));
    assert_eq!(valid.len(), 56);
    let refused: Vec<String> = valid.iter().flat_map(|path| errors(path)).collect();
    assert!(refused.is_empty(), "{}", refused.join("\n"));
    let invalid = runbooks(&folder.join("packages/parser/fixtures/conformance/invalid"));
    assert_eq!(invalid.len(), 20);
    for path in invalid {
        let errors = errors(&path);
        assert!(!errors.is_empty(), "{} is read", path.display());
        eprintln!("{}", errors.join("\n"));
    }
}
