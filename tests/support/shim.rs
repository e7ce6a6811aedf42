//! The library that makes a disk fail and a clock wrong.

use std::path::PathBuf;
use std::sync::Mutex;

use super::{has, not_run};

/// Builds the shim library, which moves clocks and makes syncs fail, once for all tests. Returns `None` without a
/// compiler.
pub fn shim(test: &str) -> Option<String> {
    static BUILT: Mutex<Option<PathBuf>> = Mutex::new(None);
    if !has("cc") {
        not_run(test, "there is no C compiler here");
        return None;
    }
    let mut built = BUILT.lock().unwrap();
    let path = built.get_or_insert_with(|| {
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("shim-{}.so", std::process::id()));
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/shim.c");
        let made = std::process::Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .arg(&path)
            .arg(source)
            .output();
        let made = made.expect("cc");
        assert!(
            made.status.success(),
            "{}",
            String::from_utf8_lossy(&made.stderr)
        );
        path
    });
    Some(path.to_str().unwrap().to_owned())
}
