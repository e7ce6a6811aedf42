//! Contents of the files of a step, and the rules for the files that a runbook names.

use std::sync::Arc;

use crate::RunbookFiles;
use documents::{
    ContentDigest, MAX_FILE_BYTES, MAX_FILES, MAX_FILES_BYTES, RelativePath, SCRIPT_NAMES,
    StepDefinition, StepFile, inside_a_file,
};

/// A file of a step with its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileContent {
    /// Entry of the definition.
    pub file: StepFile,
    /// The content, which several steps can share.
    pub bytes: Arc<[u8]>,
}

impl FileContent {
    /// Returns the file of these bytes.
    pub fn new(path: &str, bytes: Vec<u8>, executable: bool) -> Self {
        let file = StepFile {
            path: path.to_owned(),
            bytes: bytes.len() as u64,
            digest: ContentDigest::of(&bytes),
            executable,
        };
        Self {
            file,
            bytes: bytes.into(),
        }
    }
}

/// Writes the files into a definition, and returns their contents in the same order.
pub fn put_files(definition: &mut StepDefinition, files: &[FileContent]) -> Vec<Arc<[u8]>> {
    definition.files = files.iter().map(|one| one.file.clone()).collect();
    files.iter().map(|one| Arc::clone(&one.bytes)).collect()
}

/// Checks the path of a file that a runbook gives to its steps.
///
/// # Errors
/// Returns a message about a path that leaves the directory of the run, that is hidden, or that is the script.
pub fn check_file_path(path: &str) -> Result<(), String> {
    if let Err(error) = path.parse::<RelativePath>() {
        return Err(format!(
            "{path:?} can't be the path of a file of the step: {error}"
        ));
    }
    if path.split('/').any(|segment| segment.starts_with('.')) {
        return Err(format!(
            "{path:?} is hidden: programs read hidden files as settings, and settings can start programs that the script \
             does not name; use a name without a dot at its beginning"
        ));
    }
    if path
        .split('/')
        .next()
        .is_some_and(|first| SCRIPT_NAMES.contains(&first))
    {
        return Err(format!(
            "{path:?} is the path of the script in a run: rename the file"
        ));
    }
    Ok(())
}

/// Reads the files that the attribute `files=` names, separated by commas. The files are sorted by path.
///
/// # Errors
/// Returns a message about the first name that is no file of the runbook's directory, or about a limit.
pub fn named_files(text: &str, directory: &RunbookFiles) -> Result<Vec<FileContent>, String> {
    let mut found: Vec<FileContent> = Vec::new();
    for name in text.split(',').map(str::trim) {
        if name.is_empty() {
            return Err(
                "a name is empty: remove one comma, or write the path of a file".to_owned(),
            );
        }
        if found.len() == MAX_FILES {
            return Err(format!(
                "the step has more than {MAX_FILES} files: name fewer files"
            ));
        }
        if found.iter().any(|other| other.file.path == name) {
            return Err(format!("{name:?} is listed twice: name the file once"));
        }
        let (bytes, executable) = directory.content(name, MAX_FILE_BYTES)?;
        check_file_path(name)?;
        found.push(FileContent::new(name, bytes, executable));
    }
    check_files(&mut found)?;
    Ok(found)
}

/// Sorts the files of a step by path, and checks them together.
///
/// # Errors
/// Returns a message about two files that can't both exist, or about a limit.
pub fn check_files(found: &mut [FileContent]) -> Result<(), String> {
    found.sort_by(|a, b| a.file.path.cmp(&b.file.path));
    if let Some(pair) = found
        .windows(2)
        .find(|pair| pair[0].file.path == pair[1].file.path)
    {
        return Err(format!(
            "{:?} is a file of the page and in `files`: name one of the two",
            pair[0].file.path
        ));
    }
    if let Some((at, above)) = inside_a_file(found.iter().map(|one| one.file.path.as_str())) {
        let path = &found[at].file.path;
        return Err(format!(
            "{path:?} lies below the file {above:?} of the step: name one of the two"
        ));
    }
    let bytes: u64 = found.iter().map(|one| one.file.bytes).sum();
    if bytes > MAX_FILES_BYTES {
        return Err(format!(
            "the files of the step have {bytes} bytes together, and at most {MAX_FILES_BYTES} are allowed: name fewer or \
             smaller files"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_runbook_names_files_of_its_own_directory() {
        let home = tempfile::tempdir().expect("a directory");
        let at = |name: &str| home.path().join("runbooks").join(name);
        fs::create_dir_all(at("tool")).expect("directories");
        fs::write(home.path().join("outside"), "x").expect("a file");
        for (name, text) in [
            ("lib.sh", "f() { :; }\n"),
            ("tool/x.py", "print(1)\n"),
            (".env", ""),
            ("a b", ""),
        ] {
            fs::write(at(name), text).expect("a file");
        }
        fs::write(at("countersign-script"), "").expect("a file");
        fs::write(at("large"), vec![0; (1 << 20) + 1]).expect("a file");
        for number in 0..5 {
            fs::write(at(&format!("part{number}")), vec![0; 1 << 20]).expect("a file");
        }
        fs::set_permissions(at("tool/x.py"), fs::Permissions::from_mode(0o755))
            .expect("executable");
        std::os::unix::fs::symlink("../outside", at("out")).expect("a link");
        std::os::unix::fs::symlink("lib.sh", at("link.sh")).expect("a link");
        let files = RunbookFiles::new(at(""), None);
        let found = named_files("tool/x.py, lib.sh,a b,link.sh", &files).expect("files");
        let facts: Vec<(&str, u64, bool)> = found
            .iter()
            .map(|one| (one.file.path.as_str(), one.file.bytes, one.file.executable))
            .collect();
        assert_eq!(
            facts,
            [
                ("a b", 0, false),
                ("lib.sh", 11, false),
                ("link.sh", 11, false),
                ("tool/x.py", 9, true)
            ]
        );
        assert_eq!(&*found[1].bytes, b"f() { :; }\n");
        assert_eq!(found[1].file.digest, ContentDigest::of(b"f() { :; }\n"));
        let outside = home.path().join("outside").display().to_string();
        for (text, words) in [
            ("", "a name is empty"),
            ("lib.sh,,a b", "a name is empty"),
            ("lib.sh,lib.sh", "listed twice"),
            ("none.sh", "can't be read"),
            ("../outside", "not a path inside"),
            (&outside, "not a path inside"),
            ("out", "leads out of"),
            ("tool", "not a regular file"),
            ("./lib.sh", "can't be the path"),
            ("tool/../lib.sh", "not a path inside"),
            (".env", "is hidden"),
            ("countersign-script", "is the path of the script"),
            ("large", "larger than 1048576 bytes"),
            (
                "part0,part1,part2,part3,part4",
                "have 5242880 bytes together",
            ),
        ] {
            let error = named_files(text, &files).expect_err(text);
            assert!(error.contains(words), "{text}: {error}");
        }
        let many: Vec<String> = (0..=MAX_FILES).map(|number| format!("f{number}")).collect();
        many.iter()
            .for_each(|name| fs::write(at(name), "").expect("a file"));
        let error = named_files(&many.join(","), &files).expect_err("too many");
        assert!(error.contains("more than 256 files"), "{error}");
    }
}
