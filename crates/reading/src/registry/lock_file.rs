//! The file `countersign.lock` of a runbook directory: the digests of the steps that may be sealed from this directory.
//!
//! The file also lists the differences between two registries.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{self, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::Path,
};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{Registry, RunbookFiles};
use documents::{StepDigest, StepRef, json};

/// Name of the file.
pub const LOCK_FILE: &str = "countersign.lock";

/// Maximum size of a lock file in bytes, enough for 100,000 steps.
const MAX_LOCK_BYTES: u64 = 16 << 20;

/// Content of a lock file: each step with its digest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockFile {
    version: u64,
    steps: BTreeMap<StepRef, StepDigest>,
}

impl LockFile {
    /// Returns the lock of these steps.
    pub fn of(steps: impl IntoIterator<Item = (StepRef, StepDigest)>) -> Self {
        Self {
            version: 1,
            steps: steps.into_iter().collect(),
        }
    }

    /// Reads the lock of a runbook directory, or returns `None` if the directory has no lock. If `owner` is given, only
    /// this user and root may be able to write the file.
    ///
    /// # Errors
    /// Returns a message if the file can't be read or is no lock.
    pub fn read(directory: &Path, owner: Option<u32>) -> Result<Option<Self>, String> {
        if directory
            .join(LOCK_FILE)
            .symlink_metadata()
            .is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
        {
            return Ok(None);
        }
        let files = RunbookFiles::new(directory.to_owned(), owner);
        let (bytes, _) = files.content(LOCK_FILE, MAX_LOCK_BYTES)?;
        let broken = |why: String| {
            format!("the lock can't be read ({why}): run `countersign registry lock` again")
        };
        let value = json::parse(&bytes, bytes.len()).map_err(|error| broken(error.to_string()))?;
        let lock: Self = json::typed(&value).map_err(|error| broken(error.to_string()))?;
        if lock.version != 1 {
            return Err(broken(format!(
                "version {}, and this program reads version 1",
                lock.version
            )));
        }
        Ok(Some(lock))
    }

    /// Writes the lock into a runbook directory. An existing lock is replaced atomically.
    ///
    /// # Errors
    /// Returns the error of the system.
    pub fn write(&self, directory: &Path) -> io::Result<()> {
        let mut text = serde_json::to_vec_pretty(self)?;
        text.push(b'\n');
        let mut file = tempfile::NamedTempFile::new_in(directory)?;
        file.write_all(&text)?;
        file.as_file()
            .set_permissions(fs::Permissions::from_mode(0o644))?;
        file.as_file().sync_all()?;
        file.persist(directory.join(LOCK_FILE))
            .map(drop)
            .map_err(|error| error.error)
    }

    /// Returns one message for each step that differs from the lock.
    pub fn objections(&self, steps: &BTreeMap<StepRef, StepDigest>) -> Vec<(StepRef, String)> {
        const ADVICE: &str = "review the change, then run `countersign registry lock`";
        let changed = steps
            .iter()
            .filter_map(|(step, digest)| match self.steps.get(step) {
                None => Some((step, format!("is not in {LOCK_FILE}"))),
                Some(locked) if locked != digest => {
                    Some((step, format!("is {digest}, and {LOCK_FILE} has {locked}")))
                }
                Some(_) => None,
            });
        let removed = self.steps.keys().filter(|step| !steps.contains_key(*step));
        let removed = removed.map(|step| (step, format!("is in {LOCK_FILE}, but in no runbook")));
        changed
            .chain(removed)
            .map(|(step, what)| (step.clone(), format!("{step} {what}: {ADVICE}")))
            .collect()
    }
}

/// Returns a text for each step in which two registries differ, sorted by the ref of the step.
pub fn differences(old: &Registry, new: &Registry) -> Vec<String> {
    let changed = new.steps().filter_map(|step| {
        let reference = &step.definition.reference;
        match old.get(reference) {
            None => Some((reference, "is new")),
            Some(before) if before.digest != step.digest => Some((reference, "changed")),
            Some(_) => None,
        }
    });
    let removed = old
        .steps()
        .map(|step| &step.definition.reference)
        .filter(|reference| new.get(reference).is_none())
        .map(|reference| (reference, "was removed"));
    let found: BTreeMap<&StepRef, &str> = changed.chain(removed).collect();
    found
        .into_iter()
        .map(|(step, what)| format!("{step} {what}"))
        .collect()
}

/// Returns the fields in which two definitions of a step differ, sorted, for example `params.properties.host`. A file
/// is a field, for example `files.lib.sh`.
pub fn changed_fields(old: &Value, new: &Value) -> Vec<String> {
    let mut found = Vec::new();
    add_changed(
        &with_files_by_path(old),
        &with_files_by_path(new),
        "",
        MAX_FIELD_DEPTH,
        &mut found,
    );
    found
}

fn with_files_by_path(definition: &Value) -> Value {
    let mut definition = definition.clone();
    if let Some(Value::Array(files)) = definition.get_mut("files") {
        // The text of a file's fields, so that the fields of one file are not listed one by one.
        let by_path = |file: &Value| {
            (
                file["path"].as_str().unwrap_or_default().to_owned(),
                file.to_string().into(),
            )
        };
        definition["files"] = files.iter().map(by_path).collect::<Map<_, _>>().into();
    }
    definition
}

fn add_changed(old: &Value, new: &Value, path: &str, depth: usize, found: &mut Vec<String>) {
    let (Value::Object(before), Value::Object(after)) = (old, new) else {
        return found.push(path.to_owned());
    };
    if depth == 0 {
        return found.push(path.to_owned());
    }
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    for name in names
        .into_iter()
        .filter(|name| before.get(*name) != after.get(*name))
    {
        let inner = if path.is_empty() {
            name.clone()
        } else {
            format!("{path}.{name}")
        };
        let (old, new) = (
            before.get(name).unwrap_or(&Value::Null),
            after.get(name).unwrap_or(&Value::Null),
        );
        add_changed(old, new, &inner, depth - 1, found);
    }
}

/// Maximum number of names in a field, enough to name one parameter.
const MAX_FIELD_DEPTH: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(of: &[(&str, &[u8])]) -> BTreeMap<StepRef, StepDigest> {
        of.iter()
            .map(|(step, text)| (step.parse().expect("a ref"), StepDigest::of(text)))
            .collect()
    }

    #[test]
    fn a_lock_is_read_as_it_was_written_and_names_each_difference() {
        let home = tempfile::tempdir().expect("a directory");
        assert_eq!(LockFile::read(home.path(), None), Ok(None));
        let before = steps(&[("a:one", b"1"), ("a:two", b"2"), ("b:three", b"3")]);
        let lock = LockFile::of(before.clone());
        lock.write(home.path()).expect("written");
        assert_eq!(LockFile::read(home.path(), None), Ok(Some(lock.clone())));
        assert_eq!(lock.objections(&before), []);
        let found: Vec<String> = lock
            .objections(&steps(&[
                ("a:one", b"other"),
                ("a:two", b"2"),
                ("a:new", b"4"),
            ]))
            .into_iter()
            .map(|(_, message)| message)
            .collect();
        assert_eq!(found.len(), 3, "{found:?}");
        for (message, words) in
            found
                .iter()
                .zip(["a:new is not in", "a:one is sha256:", "b:three is in"])
        {
            assert!(message.starts_with(words), "{message}");
        }
    }

    #[test]
    fn a_broken_lock_is_an_error() {
        let home = tempfile::tempdir().expect("a directory");
        for (text, words) in [
            ("", "can't be read"),
            ("{\"steps\":{}}", "version"),
            ("{\"version\":2,\"steps\":{}}", "version 2"),
            ("{\"version\":1,\"steps\":{\"x\":\"y\"}}", "can't be read"),
            ("{\"version\":1,\"steps\":{},\"steps\":{}}", "can't be read"),
        ] {
            fs::write(home.path().join(LOCK_FILE), text).expect("a file");
            let error = LockFile::read(home.path(), None).expect_err(text);
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}

#[cfg(test)]
mod step_differences_tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_changed_fields_of_a_definition_are_named() {
        let old = json!({"source": "a", "title": "t", "params": {"properties": {"host": {"default": 1}}, "type": "object"}});
        let mut new = old.clone();
        assert_eq!(changed_fields(&old, &new), [""; 0]);
        new["source"] = "b".into();
        new["params"]["properties"]["host"]["default"] = 2.into();
        new["params"]["properties"]["port"] = json!({});
        new["exclusive"] = "x".into();
        new["files"] = json!([{"path": "a.sh", "digest": 1}, {"path": "b/c.sh", "digest": 2}]);
        let fields = [
            "exclusive",
            "files",
            "params.properties.host",
            "params.properties.port",
            "source",
        ];
        assert_eq!(changed_fields(&old, &new), fields);
        assert_eq!(changed_fields(&new, &old), fields);
        let mut newer = new.clone();
        newer["files"] = json!([{"path": "a.sh", "digest": 1}, {"path": "b/c.sh", "digest": 3}, {"path": "d", "digest": 4}]);
        assert_eq!(changed_fields(&new, &newer), ["files.b/c.sh", "files.d"]);
    }
}
