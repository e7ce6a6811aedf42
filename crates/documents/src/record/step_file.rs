//! The files of a step: their entries in the definition, and the limits of their contents.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{ContentDigest, Malformed, RelativePath, check_by, check_count, check_range};

/// Maximum number of files in a step.
pub const MAX_FILES: usize = 256;
/// Maximum size of a file of a step, in bytes.
pub const MAX_FILE_BYTES: u64 = 1 << 20;
/// Maximum size of all files of a step together, in bytes. The first process of a run holds all files in memory.
pub const MAX_FILES_BYTES: u64 = 4 << 20;
/// Names under which a run has its script beside the files of the step. The second name is for `go run`.
pub const SCRIPT_NAMES: [&str; 2] = ["countersign-script", "countersign-script.go"];

/// A file that each run of a step receives. The definition contains the digest. A blob of the log contains the content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StepFile {
    /// Path, relative to the directory in which the step starts: 1 to 1,024 bytes, without `.` and `..` as segments.
    pub path: String,
    /// Size in bytes.
    #[schemars(range(max = MAX_FILE_BYTES))]
    pub bytes: u64,
    /// SHA-256 digest of the content.
    pub digest: ContentDigest,
    /// True if the run may execute the file.
    pub executable: bool,
}

/// Checks the files of a definition: number, sizes, paths and order.
///
/// # Errors
/// Returns the first file that breaks a rule.
pub fn check_files(files: &[StepFile]) -> Result<(), Malformed> {
    check_count("/step/files", files.len(), 0, MAX_FILES)?;
    for (at, file) in files.iter().enumerate() {
        if let Err(error) = file.path.parse::<RelativePath>() {
            return Err(Malformed::at(
                format!("/step/files/{at}/path"),
                error.to_string(),
            ));
        }
        check_range(
            &format!("/step/files/{at}/bytes"),
            file.bytes,
            0,
            MAX_FILE_BYTES,
        )?;
    }
    check_by("/step/files", files, |file| file.path.as_str())?;
    let bytes: u64 = files.iter().map(|file| file.bytes).sum();
    if bytes > MAX_FILES_BYTES {
        let message =
            format!("all files together have {bytes} bytes, at most {MAX_FILES_BYTES} are allowed");
        return Err(Malformed::at("/step/files", message));
    }
    match inside_a_file(files.iter().map(|file| file.path.as_str())) {
        None => Ok(()),
        Some((at, above)) => {
            let message = format!("the file {above:?} of this step is no directory");
            Err(Malformed::at(format!("/step/files/{at}/path"), message))
        }
    }
}

/// Returns the index of the first path that lies below another path, and this other path. A file is no directory, so a
/// step can't have both.
pub fn inside_a_file<'a>(paths: impl Iterator<Item = &'a str> + Clone) -> Option<(usize, &'a str)> {
    let all: BTreeSet<&str> = paths.clone().collect();
    let directories = |path: &'a str| path.match_indices('/').map(move |(end, _)| &path[..end]);
    paths
        .enumerate()
        .find_map(|(at, path)| Some((at, directories(path).find(|above| all.contains(above))?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, bytes: u64) -> StepFile {
        StepFile {
            path: path.to_owned(),
            bytes,
            digest: ContentDigest::of(b"x"),
            executable: false,
        }
    }

    #[test]
    fn files_outside_of_the_limits_are_malformed() {
        assert_eq!(check_files(&[]).err(), None);
        let at_the_limits: Vec<StepFile> = (0..4)
            .map(|at| file(&format!("f{at}"), MAX_FILE_BYTES))
            .collect();
        assert_eq!(check_files(&at_the_limits).err(), None);
        assert_eq!(
            check_files(&[
                file(".env", 0),
                file("a", 1),
                file("a-b/c", 1),
                file("b/a", 1)
            ])
            .err(),
            None
        );
        let many: Vec<StepFile> = (0..=MAX_FILES)
            .map(|at| file(&format!("f{at:03}"), 0))
            .collect();
        let together: Vec<StepFile> = (0..5)
            .map(|at| file(&format!("f{at}"), MAX_FILE_BYTES - at))
            .collect();
        for (files, pointer) in [
            (many, "/step/files"),
            (together, "/step/files"),
            (vec![file("a", MAX_FILE_BYTES + 1)], "/step/files/0/bytes"),
            (vec![file("../a", 0)], "/step/files/0/path"),
            (vec![file("/a", 0)], "/step/files/0/path"),
            (vec![file("a\nb", 0)], "/step/files/0/path"),
            (vec![file("", 0)], "/step/files/0/path"),
            (vec![file("a", 0), file("a", 0)], "/step/files/1"),
            (vec![file("b", 0), file("a", 0)], "/step/files/1"),
            (
                vec![file("a", 0), file("a-b", 0), file("a/b/c", 0)],
                "/step/files/2/path",
            ),
            (
                vec![file("a/b", 0), file("a/b-c", 0), file("a/b/c", 0)],
                "/step/files/2/path",
            ),
        ] {
            let error = check_files(&files).expect_err(pointer);
            assert_eq!(error.pointer, pointer, "{error}");
        }
    }
}
