//! Where a command at the terminal works: repository and policy.
//!
//! The policy is looked for upward from the working directory, in the files that Rundown reads. Only `run` and `policy`
//! do so: a boundary serves under the file that its configuration names. What is found and can't be read refuses; nothing
//! falls back.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::home::named_file::read_bounded;
use crate::local::problems::problems;
use crate::node::problem::{FileProblem, Problems};
use crate::policy::file::{MAX_FILE_BYTES, Policy};
use crate::policy::paths::PathVariables;
use crate::terminal::exit::CommandFailure;
use crate::terminal::screen::PrintableText;

/// The surroundings of a command.
#[derive(Debug, Clone)]
pub struct Project {
    /// The working directory, without links.
    pub cwd: PathBuf,
    /// The nearest directory upward with a `.git`, else the working directory: what `{repo}` stands for.
    pub repo: PathBuf,
    /// The directory for temporary files, without links: what `{tmp}` stands for.
    pub tmp: PathBuf,
}

/// A policy and where it was found.
#[derive(Debug, Clone)]
pub struct FoundPolicy {
    /// The file; nothing when nobody wrote one.
    pub file: Option<PathBuf>,
    /// The policy.
    pub policy: Policy,
}

impl Project {
    /// The surroundings of this process.
    ///
    /// # Errors
    /// When the working directory can't be read.
    pub fn here() -> Result<Self, CommandFailure> {
        let unreadable =
            |error: io::Error| CommandFailure::usage(format!("the working directory can't be read: {error}"));
        let cwd = std::env::current_dir().and_then(|cwd| cwd.canonicalize()).map_err(unreadable)?;
        let repo = cwd.ancestors().find(|above| above.join(".git").exists()).unwrap_or(&cwd).to_owned();
        let tmp = cwd.join(std::env::temp_dir());
        let tmp = tmp.canonicalize().unwrap_or(tmp);
        // A rule for a place that is nowhere would deny nothing.
        if let Some(place) = [&repo, &tmp].into_iter().find(|place| place.to_str().is_none()) {
            let place = place.to_string_lossy();
            return Err(CommandFailure::usage(format!(
                "the path {} is not UTF-8, so no rule for it could be held: go to another directory",
                PrintableText::text(&place).as_str()
            )));
        }
        Ok(Self { cwd, repo, tmp })
    }

    /// What `{repo}` and `{tmp}` stand for.
    #[must_use]
    pub fn places(&self) -> Option<PathVariables> {
        PathVariables::new(self.repo.to_str()?, self.tmp.to_str()?)
    }

    /// The path by which overrides and grants know a runbook: relative to the repository where it lies in it.
    #[must_use]
    pub fn runbook(&self, file: &Path) -> String {
        let real = real_path(&self.cwd.join(file));
        real.strip_prefix(&self.repo).unwrap_or(&real).to_string_lossy().into_owned()
    }

    /// The policy: of the file that is named, else of the nearest one upward, else the untouched one.
    ///
    /// # Errors
    /// Everything wrong with the file, or that it is code.
    pub fn policy(&self, named: Option<&Path>) -> Result<FoundPolicy, CommandFailure> {
        if let Some(file) = named {
            let text = text(file)?;
            let policy = if file.file_name().is_some_and(|name| name == PACKAGE) {
                member(&text, file)?.ok_or_else(|| {
                    CommandFailure::usage(format!("{} has no {MEMBER:?}: name another file", file.display()))
                })?
            } else {
                Policy::load(&text).map_err(|errors| wrong(file, errors))?
            };
            return Ok(FoundPolicy { file: Some(file.to_owned()), policy });
        }
        for directory in self.cwd.ancestors() {
            if let Some(found) = in_directory(directory)? {
                return Ok(found);
            }
        }
        Ok(FoundPolicy { file: None, policy: Policy::untouched() })
    }
}

/// The policy of one directory, if it has one.
fn in_directory(directory: &Path) -> Result<Option<FoundPolicy>, CommandFailure> {
    for name in FILES {
        let file = directory.join(name);
        if is_there(&file)? {
            let policy = Policy::load(&text(&file)?).map_err(|errors| wrong(&file, errors))?;
            return Ok(Some(FoundPolicy { file: Some(file), policy }));
        }
    }
    for name in CODE {
        let file = directory.join(name);
        if is_there(&file)? {
            return Err(refuse(
                &file,
                "it is code, which is not run to learn what may run: write its rules into .rundownrc.yaml beside it and remove it, or name a policy with --policy",
            ));
        }
    }
    let file = directory.join(PACKAGE);
    // Most have none: they are not looked at any closer.
    if !file.is_file() || !has_member(&file) {
        return Ok(None);
    }
    is_there(&file)?;
    Ok(member(&text(&file)?, &file)?.map(|policy| FoundPolicy { file: Some(file), policy }))
}

/// Whether the file is there; an error when it is, and others decide what stands in it.
fn is_there(file: &Path) -> Result<bool, CommandFailure> {
    match std::fs::symlink_metadata(file) {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(false);
        }
        Err(error) => {
            return Err(refuse(file, &format!("it can't be read ({error}): fix that, or name a policy with --policy")));
        }
        Ok(_) => {}
    }
    let metadata = std::fs::metadata(file).map_err(|error| {
        refuse(file, &format!("it can't be read ({error}): fix or remove it, or name a policy with --policy"))
    })?;
    if !metadata.is_file() {
        return Err(refuse(file, "it is not a regular file: remove it, or name a policy with --policy"));
    }
    let own = rustix::process::geteuid().as_raw();
    if ![own, 0].contains(&metadata.uid()) {
        return Err(refuse(
            file,
            &format!("it belongs to user {}, who is not you: look at it, then name it with --policy", metadata.uid()),
        ));
    }
    if metadata.mode() & 0o002 != 0 {
        return Err(refuse(file, "everybody can write it: run `chmod o-w` on it, or name a policy with --policy"));
    }
    Ok(true)
}

/// Whether a `package.json` speaks of policy. One that is no JSON does not: nobody could read it.
fn has_member(file: &Path) -> bool {
    let text = read_bounded(file, MAX_FILE_BYTES * 4).unwrap_or_default();
    serde_json::from_slice::<serde_json::Value>(&text).is_ok_and(|package| package.get(MEMBER).is_some())
}

fn member(text: &str, file: &Path) -> Result<Option<Policy>, CommandFailure> {
    Policy::load_member(text, MEMBER).map_err(|errors| wrong(file, errors))
}

fn text(file: &Path) -> Result<String, CommandFailure> {
    let bytes = read_bounded(file, MAX_FILE_BYTES)?;
    String::from_utf8(bytes).map_err(|_| refuse(file, "it is not UTF-8: save it as UTF-8"))
}

fn wrong(file: &Path, errors: Vec<crate::policy::file::PolicyError>) -> CommandFailure {
    let list = errors.into_iter().map(|error| FileProblem {
        file: file.display().to_string(),
        line: error.line,
        column: error.column,
        message: error.message,
    });
    problems(Problems::new(list.collect()))
}

fn refuse(file: &Path, message: &str) -> CommandFailure {
    problems(FileProblem::whole(file, message).into())
}

/// A path without links as far as it exists, and by its letters from there on.
#[must_use]
pub fn real_path(path: &Path) -> PathBuf {
    for above in path.ancestors() {
        let Ok(real) = above.canonicalize() else { continue };
        let rest = path.strip_prefix(above).unwrap_or(Path::new(""));
        let whole = real.join(rest);
        return whole.to_str().map_or_else(|| whole.clone(), |text| crate::policy::paths::normalised(text).into());
    }
    path.to_owned()
}

/// The real path of a program named by an absolute path: what [`crate::policy::decide::Flags::real`] asks for.
#[must_use]
pub fn real_program(name: &str) -> Option<String> {
    Path::new(name).canonicalize().ok()?.into_os_string().into_string().ok()
}

/// Files with a policy, the first before the others.
const FILES: [&str; 5] =
    ["countersign.policy.yaml", ".rundownrc", ".rundownrc.json", ".rundownrc.yaml", ".rundownrc.yml"];
/// Files whose policy only their code knows.
const CODE: [&str; 3] = ["rundown.config.js", "rundown.config.cjs", "rundown.config.mjs"];
const PACKAGE: &str = "package.json";
const MEMBER: &str = "rundown";
