//! Every file below `tests/conformance/golden` is reproducible byte for byte. `COUNTERSIGN_WRITE_VECTORS=1` writes the
//! files.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::golden;

#[test]
fn newly_created_documents_equal_the_golden_documents() {
    let made = golden::made::files();
    assert_eq!(made, golden::made::files(), "the same bytes each time");
    let root = golden::own_vectors().join("golden");
    let mut kept = BTreeMap::new();
    read_below(&root, "", &mut kept);
    // The tests in reserved.rs and programs.rs write and read the directories `reserved` and `programs`.
    kept.retain(|path, _| path != "README.md" && !path.starts_with("reserved/") && !path.starts_with("programs/"));
    if std::env::var_os("COUNTERSIGN_WRITE_VECTORS").is_some() {
        for path in kept.keys().filter(|path| !made.contains_key(*path)) {
            fs::remove_file(root.join(path)).expect("removed");
        }
        for (path, bytes) in &made {
            fs::create_dir_all(root.join(path).parent().unwrap()).expect("a directory");
            fs::write(root.join(path), bytes).expect("written");
        }
        return;
    }
    let paths = kept.keys().chain(made.keys());
    let mut differ: Vec<&String> = paths.filter(|path| kept.get(*path) != made.get(*path)).collect();
    differ.sort();
    differ.dedup();
    assert!(differ.is_empty(), "run with COUNTERSIGN_WRITE_VECTORS=1 and read the difference of {differ:#?}");
}

fn read_below(directory: &Path, path: &str, found: &mut BTreeMap<String, Vec<u8>>) {
    for entry in fs::read_dir(directory).expect("a directory") {
        let entry = entry.expect("an entry");
        let name = entry.file_name().into_string().expect("text");
        let path = if path.is_empty() { name } else { format!("{path}/{name}") };
        if entry.file_type().expect("a type").is_dir() {
            read_below(&entry.path(), &path, found);
        } else {
            found.insert(path, fs::read(entry.path()).expect("a file"));
        }
    }
}
