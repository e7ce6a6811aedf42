//! A runbook file as the reader of its format gets it, and what the reader returns.

use std::{
    fs,
    io::Read as _,
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Component, Path, PathBuf},
};

use crate::{FoundStep, YamlFlaw};

/// Maximum size of a file that a runbook names, in bytes.
const MAX_NAMED_BYTES: u64 = 1 << 20;

/// Runbook file.
pub struct Page<'a> {
    /// First part of each step reference: the relative path without the ending of the format.
    pub name: &'a str,
    /// Content of the file.
    pub text: &'a str,
    /// Files in the runbook's directory.
    pub files: &'a RunbookFiles,
}

/// Steps of one runbook file.
#[derive(Debug, Default)]
pub struct ReadPage {
    /// The steps, in the order of the file.
    pub steps: Vec<FoundStep>,
    /// Facts about the file that a person should know and that are no errors, for example validations that are not
    /// checked, or attributes without effect.
    pub remarks: Vec<YamlFlaw>,
    /// Errors, sorted by place. A page with an error gives no step to a registry.
    pub flaws: Vec<YamlFlaw>,
}

impl ReadPage {
    /// Returns the page if it has no error.
    ///
    /// # Errors
    /// Returns all errors of the page.
    pub fn without_flaws(self) -> Result<Self, Vec<YamlFlaw>> {
        if self.flaws.is_empty() {
            Ok(self)
        } else {
            Err(self.flaws)
        }
    }

    /// Returns a page that can't be read.
    pub(super) fn of_flaws(flaws: Vec<YamlFlaw>) -> Self {
        Self {
            flaws,
            ..Self::default()
        }
    }
}

/// Files in the directory of a runbook and below it.
pub struct RunbookFiles {
    directory: PathBuf,
    owner: Option<u32>,
}

impl RunbookFiles {
    /// Gives access to the files of a directory. An empty path is the current directory. If `owner` is given, only this
    /// user and root may be able to write a file.
    pub fn new(directory: PathBuf, owner: Option<u32>) -> Self {
        let directory = if directory.as_os_str().is_empty() {
            PathBuf::from(".")
        } else {
            directory
        };
        Self { directory, owner }
    }

    /// Returns the directory of the runbook.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Reads a text file that a runbook names by its path relative to the directory of the runbook.
    ///
    /// # Errors
    /// Returns a message if the path leads out of the directory, also through a link, or if the file can't be read, is
    /// larger than 1 MiB, is not UTF-8, or can be written by another user.
    pub fn read(&self, relative: &str) -> Result<String, String> {
        let (bytes, _) = self.content(relative, MAX_NAMED_BYTES)?;
        String::from_utf8(bytes)
            .map_err(|_| format!("the file {relative:?} is not UTF-8: save the file as UTF-8"))
    }

    /// Reads a file, and returns true with its bytes if a user may execute the file.
    pub(super) fn content(
        &self,
        relative: &str,
        max_bytes: u64,
    ) -> Result<(Vec<u8>, bool), String> {
        let path = Path::new(relative);
        let plain = |part: Component| matches!(part, Component::Normal(_) | Component::CurDir);
        if relative.is_empty() || !path.components().all(plain) {
            return Err(format!(
                "{relative:?} is not a path inside of the runbook's directory: write a relative path without .."
            ));
        }
        let unreadable = |error: std::io::Error| {
            format!("the file {relative:?} can't be read ({error}): correct the path")
        };
        let directory = self.directory.canonicalize().map_err(unreadable)?;
        let real = directory.join(path).canonicalize().map_err(unreadable)?;
        if !real.starts_with(&directory) {
            return Err(format!(
                "{relative:?} is a link that leads out of the runbook's directory: copy the file to this place"
            ));
        }
        for place in real.ancestors().take_while(|place| *place != directory) {
            check_writers(self.owner, place)?;
        }
        let mut bytes = Vec::new();
        // Without O_NONBLOCK, opening a pipe would wait for a writer.
        let nonblocking = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
        let file = fs::OpenOptions::new()
            .read(true)
            .custom_flags(nonblocking)
            .open(&real)
            .map_err(unreadable)?;
        let found = file.metadata().map_err(unreadable)?;
        if !found.is_file() {
            return Err(format!("{relative:?} is not a regular file: name a file"));
        }
        file.take(max_bytes + 1)
            .read_to_end(&mut bytes)
            .map_err(unreadable)?;
        if bytes.len() as u64 > max_bytes {
            return Err(format!(
                "the file {relative:?} is larger than {max_bytes} bytes: make it smaller"
            ));
        }
        Ok((bytes, found.mode() & 0o111 != 0))
    }
}

/// Refuses a path that another user can write. A user who can write or replace a runbook controls the steps of the next
/// seal. If there is no `owner`, every user may write the path.
pub(super) fn check_writers(owner: Option<u32>, real: &Path) -> Result<(), String> {
    let (Some(owner), Ok(found)) = (owner, real.metadata()) else {
        return Ok(());
    };
    let path = real.display();
    if found.uid() != owner && found.uid() != 0 {
        return Err(format!(
            "the path belongs to user {}, who could change the runbooks: run `chown {owner} {path}`",
            found.uid()
        ));
    }
    if found.mode() & 0o022 != 0 {
        let mode = found.mode() & 0o7777;
        return Err(format!(
            "other users can write the path (mode {mode:04o}): run `chmod go-w {path}`"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runbook_reads_only_files_of_its_own_directory() {
        let home = tempfile::tempdir().expect("a directory");
        let runbook = home.path().join("runbook");
        fs::create_dir_all(runbook.join("scripts")).expect("directories");
        fs::write(home.path().join("outside"), "x").expect("a file");
        fs::write(runbook.join("scripts/a.sh"), "echo a\n").expect("a file");
        fs::write(runbook.join("large"), vec![0; (1 << 20) + 1]).expect("a file");
        std::os::unix::fs::symlink("../outside", runbook.join("link")).expect("a link");
        std::os::unix::fs::symlink("scripts/a.sh", runbook.join("inner")).expect("a link");
        let made = std::process::Command::new("mkfifo")
            .arg(runbook.join("pipe"))
            .status()
            .expect("mkfifo");
        assert!(made.success());
        let files = RunbookFiles::new(runbook.clone(), None);
        assert_eq!(files.read("./scripts/a.sh").expect("inside"), "echo a\n");
        assert_eq!(files.read("inner").expect("inside"), "echo a\n");
        let outside = runbook.join("../outside").display().to_string();
        for (path, words) in [
            ("../outside", "not a path inside"),
            ("scripts/../../outside", "not a path inside"),
            (&outside, "not a path inside"),
            ("", "not a path inside"),
            ("link", "leads out of"),
            ("none", "can't be read"),
            ("scripts", "not a regular file"),
            ("pipe", "not a regular file"),
            ("large", "larger than"),
        ] {
            let error = files.read(path).expect_err(path);
            assert!(error.contains(words), "{path}: {error}");
        }
        assert!(
            RunbookFiles::new(PathBuf::new(), None)
                .read("Cargo.toml")
                .is_ok(),
            "the current directory"
        );
        let other = RunbookFiles::new(runbook, Some(1_000_000));
        let owned_by_root = fs::metadata(home.path()).expect("metadata").uid() == 0;
        assert_eq!(
            other.read("scripts/a.sh").is_ok(),
            owned_by_root,
            "a file of another user is refused"
        );
    }
}
