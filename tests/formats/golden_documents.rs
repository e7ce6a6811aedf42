//! The golden documents: every file below `tests/conformance/golden` has the digest in its list `SHA256SUMS`, and follows
//! from the others.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use documents::{hex, sha256};

use crate::golden;

#[test]
fn every_golden_document_is_in_the_list_of_digests() {
    let root = golden::own_vectors().join("golden");
    let list = fs::read_to_string(root.join("SHA256SUMS")).expect("the list");
    let listed: BTreeMap<String, String> = (list.lines())
        .map(|line| line.split_once("  ").expect("a digest and a path"))
        .map(|(digest, path)| (path.to_owned(), digest.to_owned()))
        .collect();
    let mut found = BTreeMap::new();
    read_below(&root, "", &mut found);
    found.retain(|path, _| path != "README.md" && path != "SHA256SUMS");
    let paths = listed.keys().chain(found.keys());
    let differ: Vec<&String> = paths
        .filter(|path| listed.get(*path) != found.get(*path))
        .collect();
    assert!(
        differ.is_empty(),
        "only scripts/golden changes golden documents, but these differ from SHA256SUMS: {differ:#?}"
    );
    assert!(listed.len() >= 365, "{}", listed.len());
}

#[test]
fn the_script_writes_the_same_golden_documents_again() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/golden");
    let interpreter = std::env::var_os("COUNTERSIGN_PYTHON").unwrap_or_else(|| "python3".into());
    let output = Command::new(interpreter)
        .arg("-I")
        .arg(script)
        .arg("--check")
        .output()
        .expect("Python runs the script");
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

fn read_below(directory: &Path, path: &str, found: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(directory).expect("a directory") {
        let entry = entry.expect("an entry");
        let name = entry.file_name().into_string().expect("text");
        let path = if path.is_empty() {
            name
        } else {
            format!("{path}/{name}")
        };
        if entry.file_type().expect("a type").is_dir() {
            read_below(&entry.path(), &path, found);
        } else {
            found.insert(path, hex(&sha256(&fs::read(entry.path()).expect("a file"))));
        }
    }
}
