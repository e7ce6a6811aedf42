//! Where a person stands: current directory, repository, temporary directory.

use std::path::{Path, PathBuf};

use crate::cli::exit::Failure;
use crate::cli::screen::Shown;

/// The directories that a run at a terminal is about, as real paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ground {
    /// The current directory: where a step works.
    pub(super) current: PathBuf,
    /// `{repo}` of policy: the work tree that the current directory lies in, else the current directory itself.
    pub(super) repository: PathBuf,
    /// `{tmp}` of policy.
    pub(super) temporary: PathBuf,
}

/// What marks the top of a work tree.
const MARKS: [&str; 4] = [".git", ".hg", ".jj", ".svn"];

impl Ground {
    /// That of this process.
    ///
    /// # Errors
    /// When there is no current directory.
    pub(super) fn of_process() -> Result<Self, Failure> {
        let current = std::env::current_dir().and_then(|path| path.canonicalize());
        let current = current.map_err(|error| Failure::usage(format!("there is no current directory: {error}")))?;
        let temporary = std::env::temp_dir();
        Ok(Self::at(current, temporary.canonicalize().unwrap_or(temporary)))
    }

    fn at(current: PathBuf, temporary: PathBuf) -> Self {
        let mark = |top: &&Path| MARKS.iter().any(|mark| top.join(mark).symlink_metadata().is_ok());
        let repository = current.ancestors().find(mark).unwrap_or(&current).to_owned();
        Self { repository, current, temporary }
    }

    /// The real path of a file, links followed: neither `./`, `..` nor a link escapes a rule for a path.
    ///
    /// # Errors
    /// When it is not there.
    pub(super) fn real(&self, file: &Path) -> Result<PathBuf, Failure> {
        self.current.join(file).canonicalize().map_err(|error| {
            Failure::usage(format!("can't read {}: {error}", Shown::text(&file.to_string_lossy()).as_str()))
        })
    }

    /// What overrides of policy know a runbook by: its path below the repository, with its ending; of one elsewhere its whole
    /// path without the first slash, which no pattern for the repository is meant for.
    pub(super) fn name_of(&self, real: &Path) -> String {
        let below = real.strip_prefix(&self.repository).unwrap_or_else(|_| real.strip_prefix("/").unwrap_or(real));
        below.to_string_lossy().into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runbook_is_known_by_its_real_path_below_the_repository() {
        let directory = tempfile::tempdir().expect("a directory");
        let top = directory.path().canonicalize().expect("real");
        for below in ["repo/.git", "repo/deploy", "repo/sub", "other"] {
            std::fs::create_dir_all(top.join(below)).expect("made");
        }
        for file in ["repo/deploy/web.md", "other/x.md"] {
            std::fs::write(top.join(file), "").expect("written");
        }
        std::os::unix::fs::symlink("../deploy/web.md", top.join("repo/sub/safe.md")).expect("a link");
        let ground = Ground::at(top.join("repo/sub"), "/tmp".into());
        assert_eq!(ground.repository, top.join("repo"));
        let name = |file: &str| ground.name_of(&ground.real(Path::new(file)).expect("there"));
        for file in ["../deploy/web.md", "./.././deploy/web.md", "safe.md", "../sub/../deploy/web.md"] {
            assert_eq!(name(file), "deploy/web.md", "{file}");
        }
        let outside = name("../../other/x.md");
        assert!(outside.ends_with("other/x.md") && !outside.starts_with("deploy") && !outside.starts_with('/'));
        assert!(ground.real(Path::new("none.md")).is_err());
        assert_eq!(Ground::at(top.join("other"), "/tmp".into()).repository, top.join("other"), "no work tree");
    }
}
