//! Reads what a run left: files, outputs, the state of its shell and its work directory.
//!
//! A step can leave any names and file types, so each name is opened by itself, below an opened directory and without
//! following a link. All functions must be called after the end of the run.

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fmt,
    fs::File,
    io::{self, Read as _},
    os::{fd::OwnedFd, unix::ffi::OsStrExt as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::{
    fs::{Dir, FileType, Stat},
    io::Errno,
};
use unicode_normalization::UnicodeNormalization as _;

use crate::{
    RunDir, SessionTree,
    isolation::{
        opened::{kind_of, stat_at},
        remove::entries,
        run_places::{FILES, OUTPUTS, SESSION, STATE, VALUES},
        session_tree::{LeftDirectory, enter, open_file},
    },
};
use documents::{HiddenCharacter, OutputName, RelativePath};

/// Maximum number of files that a run can leave, and of directories.
pub const MAX_RESULT_FILES: usize = 1000;
/// Maximum number of directories above a file that a run leaves.
pub const MAX_RESULT_DEPTH: usize = 32;
/// Maximum size of the file `$RUNBOOK_OUTPUT`, and of the state of a shell, in bytes.
pub const MAX_RESULT_TEXT: u64 = 1 << 20;

/// What a run left. The files exist until this value, its captured files and its work directory are dropped.
#[derive(Debug)]
pub struct RunResults {
    root: Arc<OwnedFd>,
    /// True if the files and outputs of the run are captured.
    captures: bool,
    work: Option<Arc<SessionTree>>,
    on_disk: Option<Arc<RunDir>>,
}

/// Limits of the files of a run.
pub struct ResultLimits {
    /// Maximum number of files, and of directories. At most [`MAX_RESULT_FILES`] count.
    pub files: usize,
    /// Maximum size of all files together, in bytes.
    pub bytes: u64,
}

/// A file that a run left in `$COUNTERSIGN_OUTPUT`.
#[derive(Debug, Clone)]
pub struct CapturedFile {
    /// Path below the output directory.
    pub path: RelativePath,
    /// True if the owner may execute the file.
    pub executable: bool,
    /// Size in bytes.
    pub bytes: u64,
    root: Arc<OwnedFd>,
    _on_disk: Option<Arc<RunDir>>,
}

impl RunResults {
    /// Takes the directory with the results of a run.
    pub(crate) fn new(
        root: OwnedFd,
        captures: bool,
        work: Option<Arc<SessionTree>>,
        on_disk: Option<Arc<RunDir>>,
    ) -> Self {
        Self {
            root: Arc::new(root),
            captures,
            work,
            on_disk,
        }
    }

    /// Returns the files in `$COUNTERSIGN_OUTPUT`, sorted by path. Empty directories are left out. A run without
    /// [`Plan::results`](crate::runs::Plan) has no files.
    ///
    /// # Errors
    /// Returns the first file that breaks a rule, or that can't be read.
    pub fn files(&self, limits: &ResultLimits) -> Result<Vec<CapturedFile>, String> {
        if !self.captures {
            return Ok(Vec::new());
        }
        let failed = |error| unreadable(Path::new(FILES), error);
        let top = open_directory(&self.root, FILES).map_err(failed)?;
        let device = rustix::fs::fstat(&top.opened)
            .map_err(|error| failed(error.into()))?
            .st_dev;
        let limits = ResultLimits {
            files: limits.files.min(MAX_RESULT_FILES),
            ..*limits
        };
        let mut walk = Walk {
            results: self,
            limits,
            device,
            found: Vec::new(),
            directories: 0,
            bytes: 0,
        };
        walk.directory(&top.opened, Path::new(""), 0)?;
        let mut found = walk.found;
        found.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        let mut seen = BTreeSet::new();
        let twin = found
            .iter()
            .find(|file| !seen.insert(file.path.as_str().nfc().collect::<String>()));
        if let Some(file) = twin {
            let rule = "has the name of another file in another Unicode normal form, so both names look the same; use \
                        another name";
            return Err(refused(Path::new(file.path.as_str()), rule));
        }
        Ok(found)
    }

    /// Returns the outputs that the step wrote to `$RUNBOOK_OUTPUT` as lines `key=value`, sorted by key. If a key
    /// occurs twice, the last value counts. Blank lines and lines that begin with `#` are skipped, and blanks at the
    /// end of a line do not belong to the value.
    ///
    /// # Errors
    /// Returns the first line that has no `=`, or whose key is no [`OutputName`].
    pub fn outputs(&self) -> Result<Vec<(String, Vec<u8>)>, String> {
        if !self.captures {
            return Ok(Vec::new());
        }
        parse_outputs(
            &self
                .text(VALUES, OUTPUTS, "$RUNBOOK_OUTPUT")?
                .unwrap_or_default(),
        )
    }

    /// Returns the state of the shell, or `None` if the wrapper wrote no regular file of at most 1 MiB.
    pub fn session_state(&self) -> Option<Vec<u8>> {
        self.work.as_ref()?;
        self.text(SESSION, STATE, STATE).ok()?
    }

    /// Returns the private work directory of a run with a session, for the next run of the session.
    pub fn work(&self) -> Option<&Arc<SessionTree>> {
        self.work.as_ref()
    }

    /// Reads a small file of the results, which a run knows as `shown`. Returns `None` if there is no file of this name.
    fn text(&self, directory: &str, name: &str, shown: &str) -> Result<Option<Vec<u8>>, String> {
        let failed = |error: io::Error| unreadable(Path::new(shown), error);
        let directory = open_directory(&self.root, directory).map_err(failed)?;
        let stat = match stat_at(&directory.opened, name) {
            Err(Errno::NOENT) => return Ok(None),
            stat => stat.map_err(|error| failed(error.into()))?,
        };
        if kind_of(&stat) != FileType::RegularFile {
            return Err(format!("the file {shown} is not a regular file any more"));
        }
        let file = open_file(&directory.opened, Path::new(name), &stat).map_err(failed)?;
        let (mut file, mut bytes) = (file.take(MAX_RESULT_TEXT + 1), Vec::new());
        file.read_to_end(&mut bytes).map_err(failed)?;
        if bytes.len() as u64 > MAX_RESULT_TEXT {
            return Err(format!("the file {shown} is larger than 1 MiB; write less"));
        }
        Ok(Some(bytes))
    }
}

impl CapturedFile {
    /// Opens the content, which has [`CapturedFile::bytes`] bytes.
    ///
    /// # Errors
    /// Returns an error if the file can't be opened, for example if the service has too many open files.
    pub fn open(&self) -> Result<File, String> {
        let failed = |error: io::Error| unreadable(Path::new(self.path.as_str()), error);
        let mut parts: Vec<&str> = self.path.as_str().split('/').collect();
        let name = parts.pop().unwrap_or_default();
        // Keep the outer directories readable while the inner directories are opened.
        let mut above: Vec<LeftDirectory> = Vec::new();
        for part in std::iter::once(FILES).chain(parts) {
            let directory = above.last().map_or(&*self.root, |above| &above.opened);
            let below = open_directory(directory, part).map_err(failed)?;
            above.push(below);
        }
        let directory = above.last().map_or(&*self.root, |above| &above.opened);
        let stat = stat_at(directory, name);
        let stat = stat.map_err(|error| failed(error.into()))?;
        let same = kind_of(&stat) == FileType::RegularFile && size(&stat) == self.bytes;
        if !same {
            return Err(failed(io::Error::other(
                "the file has changed since the end of the run",
            )));
        }
        open_file(directory, Path::new(name), &stat).map_err(failed)
    }
}

/// A walk through the output directory.
struct Walk<'a> {
    results: &'a RunResults,
    limits: ResultLimits,
    /// The file system of the output directory.
    device: u64,
    found: Vec<CapturedFile>,
    directories: usize,
    bytes: u64,
}

impl Walk<'_> {
    fn directory(&mut self, directory: &OwnedFd, path: &Path, depth: usize) -> Result<(), String> {
        for name in self.names(directory, path)? {
            let below = path.join(&name);
            let stat = stat_at(directory, &name).map_err(|error| unreadable(&below, error))?;
            if stat.st_dev != self.device {
                return Err(not_regular(&below, "on another file system"));
            }
            match kind_of(&stat) {
                FileType::Directory => {
                    self.directories += 1;
                    if self.directories > self.limits.files {
                        return Err(self.too_many(&below));
                    }
                    if depth >= MAX_RESULT_DEPTH {
                        let rule = format!(
                            "has more than {MAX_RESULT_DEPTH} directories above it; use fewer directories"
                        );
                        return Err(refused(&below, &rule));
                    }
                    let opened = enter(directory, &name, &stat)
                        .map_err(|error| unreadable(&below, error))?;
                    self.directory(&opened.opened, &below, depth + 1)?;
                }
                FileType::RegularFile => self.file(&below, &stat)?,
                other => return Err(not_regular(&below, kind(other))),
            }
        }
        Ok(())
    }

    /// Returns the sorted names in a directory, so that the same files always give the same error.
    fn names(&self, directory: &OwnedFd, path: &Path) -> Result<Vec<PathBuf>, String> {
        let mut names = Vec::new();
        let listed = Dir::read_from(directory).map_err(|error| unreadable(path, error))?;
        for entry in entries(listed) {
            let entry = entry.map_err(|error| unreadable(path, error))?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            let name = PathBuf::from(name);
            // One directory can contain at most all files and all directories.
            if names.len() >= 2 * self.limits.files {
                return Err(self.too_many(&path.join(name)));
            }
            names.push(name);
        }
        names.sort_unstable();
        Ok(names)
    }

    /// Returns the reason for a file or directory beyond the maximum number.
    fn too_many(&self, path: &Path) -> String {
        let most = self.limits.files;
        let rule =
            format!("is one of more than {most} files or directories; write an archive instead");
        refused(path, &rule)
    }

    fn file(&mut self, path: &Path, stat: &Stat) -> Result<(), String> {
        if self.found.len() >= self.limits.files {
            return Err(self.too_many(path));
        }
        if stat.st_nlink > 1 {
            return Err(refused(path, "is a hard link; copy the file instead"));
        }
        let relative: Option<RelativePath> = path.to_str().and_then(|text| text.parse().ok());
        let rule = "has a name that is not UTF-8, contains a control character or is longer than 1,024 bytes with its \
                    directories; use another name";
        let relative = relative.ok_or_else(|| refused(path, rule))?;
        if relative.as_str().chars().any(is_misleading) {
            let rule = "has a name with an invisible character or a character that changes the reading direction; use another \
                        name";
            return Err(refused(path, rule));
        }
        let bytes = size(stat);
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes > self.limits.bytes {
            let most = self.limits.bytes;
            let rule = format!("exceeds {most} bytes for all files together; write less");
            return Err(refused(path, &rule));
        }
        self.found.push(CapturedFile {
            path: relative,
            executable: stat.st_mode & 0o100 != 0,
            bytes,
            root: self.results.root.clone(),
            _on_disk: self.results.on_disk.clone(),
        });
        Ok(())
    }
}

/// Returns true for a character that a browser or a mail program does not show as a character of a name.
fn is_misleading(c: char) -> bool {
    matches!(
        HiddenCharacter::of(c),
        Some(HiddenCharacter::Direction | HiddenCharacter::Invisible)
    ) || matches!(c, '\u{2028}' | '\u{2029}')
}

fn open_directory(at: &OwnedFd, name: &str) -> io::Result<LeftDirectory> {
    enter(at, Path::new(name), &stat_at(at, name)?)
}

fn size(stat: &Stat) -> u64 {
    u64::try_from(stat.st_size).unwrap_or(u64::MAX)
}

fn kind(kind: FileType) -> &'static str {
    match kind {
        FileType::Symlink => "a symbolic link",
        FileType::Fifo => "a named pipe",
        FileType::Socket => "a socket",
        FileType::BlockDevice | FileType::CharacterDevice => "a device",
        _ => "a file of an unknown kind",
    }
}

/// Returns the reason for a file or directory in `$COUNTERSIGN_OUTPUT` that breaks a rule.
fn refused(path: &Path, rule: &str) -> String {
    let path = escaped(path);
    format!("the file \"{path}\" in $COUNTERSIGN_OUTPUT {rule}")
}

fn not_regular(path: &Path, kind: &str) -> String {
    let rule = format!("is {kind}; write only regular files and directories");
    refused(path, &rule)
}

fn unreadable(path: &Path, error: impl fmt::Display) -> String {
    let path = escaped(path);
    format!("\"{path}\" of the run's results can't be read: {error}")
}

/// Returns the path with escapes for control characters, invisible characters and bytes that are not UTF-8.
fn escaped(path: &Path) -> String {
    let bytes = path.as_os_str().as_bytes();
    std::str::from_utf8(bytes).map_or_else(
        |_| bytes.escape_ascii().to_string(),
        |text| text.escape_debug().to_string(),
    )
}

fn parse_outputs(bytes: &[u8]) -> Result<Vec<(String, Vec<u8>)>, String> {
    let mut found = std::collections::BTreeMap::new();
    for (number, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let line = line.trim_ascii();
        if line.is_empty() || line.starts_with(b"#") {
            continue;
        }
        let wrong = |rule: &str| format!("line {} of $RUNBOOK_OUTPUT {rule}", number + 1);
        let equals = line.iter().position(|byte| *byte == b'=');
        let (key, value) =
            line.split_at(equals.ok_or_else(|| wrong("has no `=`; write key=value"))?);
        let key = std::str::from_utf8(key.trim_ascii())
            .ok()
            .and_then(|key| key.parse::<OutputName>().ok());
        let key = key.ok_or_else(|| {
            wrong("has a key with other characters than letters, digits, `_` and `-`, or of more than 64 bytes")
        })?;
        found.insert(key.to_string(), value[1..].to_vec());
    }
    Ok(found.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_are_lines_of_key_and_value_of_which_the_last_counts() {
        let found =
            parse_outputs(b"# comment = 1\n\na=1\r\n b = x=y \nu=\xff\na=2\nempty=\nlast=z")
                .expect("outputs");
        let found: Vec<(&str, &[u8])> = found
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_slice()))
            .collect();
        let expected: [(&str, &[u8]); 5] = [
            ("a", b"2"),
            ("b", b" x=y"),
            ("empty", b""),
            ("last", b"z"),
            ("u", b"\xff"),
        ];
        assert_eq!(found, expected);
        assert!(parse_outputs(b"").expect("no outputs").is_empty());
    }

    #[test]
    fn a_bad_output_line_is_named_by_its_number() {
        let long = format!("{}=1", "k".repeat(65));
        for (text, at) in [
            ("a=1\n\nnothing\nb", 3),
            ("=x", 1),
            ("a b=1", 1),
            ("ok=1\n\u{e4}=1", 2),
            (&long, 1),
        ] {
            let error = parse_outputs(text.as_bytes()).expect_err(text);
            assert!(
                error.starts_with(&format!("line {at} of ")),
                "{text}: {error}"
            );
        }
    }

    #[test]
    fn a_path_in_an_error_has_no_special_characters() {
        let shown = |bytes: &[u8]| escaped(Path::new(OsStr::from_bytes(bytes)));
        assert_eq!(shown(b"a\n\x1b[1m"), "a\\n\\u{1b}[1m");
        assert_eq!(shown("a\u{202e}b/ä".as_bytes()), "a\\u{202e}b/ä");
        assert_eq!(shown(b"a\xff\"\n"), "a\\xff\\\"\\n");
    }
}
