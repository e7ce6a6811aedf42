//! Context of a command at a terminal: the repository and the policy.
//!
//! The program searches for the policy in the working directory and its parents, in the same files as the program
//! Rundown. Only the commands `run`, `open`, `test` and `policy` search for a policy. A boundary uses the policy file
//! that its configuration names. If a policy file is unreadable, the command stops and uses no other file instead.

use std::{
    io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use client::{CommandFailure, CommandResult, PrintableText, fail_usage, read_bounded};
use reading::{FileProblem, MAX_FILE_BYTES, PathVariables, Policy};

/// Directories for the rules of a policy.
#[derive(Clone)]
pub struct Project {
    /// Working directory, with symbolic links resolved.
    pub cwd: PathBuf,
    /// Nearest directory with a `.git` entry, starting with the working directory, or the working directory if there is
    /// no such entry. The placeholder `{repo}` means this directory.
    pub repo: PathBuf,
    /// Directory for temporary files, with symbolic links resolved. The placeholder `{tmp}` means this directory.
    pub tmp: PathBuf,
    /// Directory of the runbooks that the person named, with symbolic links resolved.
    root: Option<PathBuf>,
}

/// Policy, with the path of its file.
pub struct FoundPolicy {
    /// Path of the policy file. The path is `None` for the built-in policy.
    pub file: Option<PathBuf>,
    /// The loaded policy.
    pub policy: Policy,
}

impl Project {
    /// Returns the directories of this process.
    ///
    /// # Errors
    /// Returns an error if the working directory cannot be read.
    pub fn here() -> CommandResult<Self> {
        let unreadable = |error: io::Error| {
            CommandFailure::usage(format!("the working directory can't be read: {error}"))
        };
        let cwd = std::env::current_dir()
            .and_then(|cwd| cwd.canonicalize())
            .map_err(unreadable)?;
        let repo = cwd
            .ancestors()
            .find(|above| above.join(".git").exists())
            .unwrap_or(&cwd)
            .to_owned();
        let tmp = cwd.join(std::env::temp_dir());
        let tmp = tmp.canonicalize().unwrap_or(tmp);
        // A rule about a path that is not UTF-8 would match nothing, so a deny rule would have no effect.
        if let Some(place) = [&repo, &tmp]
            .into_iter()
            .find(|place| place.to_str().is_none())
        {
            let place = place.to_string_lossy();
            return fail_usage(format!(
                "the path {} is not UTF-8, so no rule could match it: go to another directory",
                PrintableText::text(&place)
            ));
        }
        Ok(Self {
            cwd,
            repo,
            tmp,
            root: None,
        })
    }

    /// Returns the directories of this process. `root` is the directory to which the paths of runbooks are relative.
    ///
    /// # Errors
    /// Returns an error if the working directory or `root` cannot be read.
    pub fn with_root(root: Option<&Path>) -> CommandResult<Self> {
        let real = |root: &Path| {
            let real = root.canonicalize().ok().filter(|root| root.is_dir());
            real.ok_or_else(|| {
                CommandFailure::usage(format!(
                    "--root {}: name a directory that exists",
                    root.display()
                ))
            })
        };
        Ok(Self {
            root: root.map(real).transpose()?,
            ..Self::here()?
        })
    }

    /// Returns the values of the placeholders `{repo}` and `{tmp}`.
    pub fn places(&self) -> Option<PathVariables> {
        PathVariables::new(self.repo.to_str()?, self.tmp.to_str()?)
    }

    /// Returns the path of a runbook in the form that the `overrides` and grants of a policy use: relative to the
    /// directory that the person named, or else to the repository.
    ///
    /// # Errors
    /// Returns an error if the file is not below the named directory, because no override would match its path.
    pub fn runbook(&self, file: &Path) -> CommandResult<String> {
        let real = real_path(&self.cwd.join(file));
        let below = real.strip_prefix(self.root.as_ref().unwrap_or(&self.repo));
        if let (Some(root), Err(_)) = (&self.root, &below) {
            return fail_usage(format!(
                "{} is not below {}: name with --root the directory that the boundary has under `runbooks`",
                PrintableText::file(file),
                root.display()
            ));
        }
        Ok(below.unwrap_or(&real).to_string_lossy().into_owned())
    }

    /// Loads the policy from the named file. Without a named file, loads the nearest policy in the working directory
    /// and its parents, or else the built-in policy.
    ///
    /// # Errors
    /// Returns all errors in the policy file. A policy in a JavaScript file is also an error.
    pub fn policy(&self, named: Option<&Path>) -> CommandResult<FoundPolicy> {
        if let Some(file) = named {
            let text = text(file)?;
            let policy = if file.file_name().is_some_and(|name| name == PACKAGE) {
                member(&text, file)?.ok_or_else(|| {
                    CommandFailure::usage(format!(
                        "{} has no {MEMBER:?}: name another file",
                        file.display()
                    ))
                })?
            } else {
                Policy::load(&text).map_err(|errors| FileProblem::of_flaws(file, errors))?
            };
            return Ok(FoundPolicy {
                file: Some(file.to_owned()),
                policy,
            });
        }
        for directory in self.cwd.ancestors() {
            if let Some(found) = in_directory(directory)? {
                return Ok(found);
            }
        }
        Ok(FoundPolicy {
            file: None,
            policy: Policy::untouched(),
        })
    }
}

/// Loads the policy of one directory, if the directory contains a policy.
fn in_directory(directory: &Path) -> CommandResult<Option<FoundPolicy>> {
    for name in FILES {
        let file = directory.join(name);
        if is_there(&file)? {
            let policy = Policy::load(&text(&file)?)
                .map_err(|errors| FileProblem::of_flaws(&file, errors))?;
            return Ok(Some(FoundPolicy {
                file: Some(file),
                policy,
            }));
        }
    }
    for name in CODE {
        let file = directory.join(name);
        if is_there(&file)? {
            return Err(refuse(
                &file,
                "the file is code, and this program runs no code to read a policy: write the rules into \
                 .rundownrc.yaml beside the file and remove the file, or name a policy with --policy",
            ));
        }
    }
    let file = directory.join(PACKAGE);
    // Most files with the name `package.json` contain no policy, so owner and mode are checked only if the file
    // contains a policy.
    if !file.is_file() || !has_member(&file) {
        return Ok(None);
    }
    is_there(&file)?;
    Ok(member(&text(&file)?, &file)?.map(|policy| FoundPolicy {
        file: Some(file),
        policy,
    }))
}

/// Returns true if the file exists. Returns an error if another user owns the file or every user can write it.
fn is_there(file: &Path) -> CommandResult<bool> {
    match std::fs::symlink_metadata(file) {
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            return Ok(false);
        }
        Err(error) => {
            return Err(refuse(
                file,
                &format!(
                    "the file can't be read ({error}): correct the cause, or name a policy \
                 with --policy"
                ),
            ));
        }
        Ok(_) => {}
    }
    let metadata = std::fs::metadata(file).map_err(|error| {
        refuse(
            file,
            &format!(
                "the file can't be read ({error}): correct or remove the file, or name a policy with \
             --policy"
            ),
        )
    })?;
    if !metadata.is_file() {
        return Err(refuse(
            file,
            "the path is not a regular file: remove the path, or name a policy with --policy",
        ));
    }
    let own = rustix::process::geteuid().as_raw();
    if ![own, 0].contains(&metadata.uid()) {
        return Err(refuse(
            file,
            &format!(
                "the file belongs to another user ({}): check the file, then name the file with --policy",
                metadata.uid()
            ),
        ));
    }
    if metadata.mode() & 0o002 != 0 {
        return Err(refuse(
            file,
            "every user can write the file: run `chmod o-w` on the file, or name a policy with \
             --policy",
        ));
    }
    Ok(true)
}

/// Returns true if a `package.json` contains a policy. Invalid JSON counts as a file without a policy.
fn has_member(file: &Path) -> bool {
    let text = read_bounded(file, MAX_FILE_BYTES * 4).unwrap_or_default();
    serde_json::from_slice::<serde_json::Value>(&text)
        .is_ok_and(|package| package.get(MEMBER).is_some())
}

fn member(text: &str, file: &Path) -> CommandResult<Option<Policy>> {
    let policy = Policy::load_member(text, MEMBER);
    Ok(policy.map_err(|errors| FileProblem::of_flaws(file, errors))?)
}

fn text(file: &Path) -> CommandResult<String> {
    let bytes = read_bounded(file, MAX_FILE_BYTES)?;
    String::from_utf8(bytes)
        .map_err(|_| refuse(file, "the file is not UTF-8: save the file as UTF-8"))
}

fn refuse(file: &Path, message: &str) -> CommandFailure {
    FileProblem::whole(file, message).into()
}

/// Resolves the symbolic links in the existing part of a path. The rest of the path is normalized as text.
pub fn real_path(path: &Path) -> PathBuf {
    for above in path.ancestors() {
        let Ok(real) = above.canonicalize() else {
            continue;
        };
        let rest = path.strip_prefix(above).unwrap_or(Path::new(""));
        let whole = real.join(rest);
        return whole
            .to_str()
            .map_or_else(|| whole.clone(), |text| reading::normalised(text).into());
    }
    path.to_owned()
}

/// Returns the real path of a program, for [`reading::Flags::real`]. The argument is an absolute path.
pub fn real_program(name: &str) -> Option<String> {
    Path::new(name)
        .canonicalize()
        .ok()?
        .into_os_string()
        .into_string()
        .ok()
}

/// Names of policy files, in the order of their priority.
const FILES: [&str; 5] = [
    "countersign.policy.yaml",
    ".rundownrc",
    ".rundownrc.json",
    ".rundownrc.yaml",
    ".rundownrc.yml",
];
/// Names of configuration files whose policy is JavaScript code, which this program does not run.
const CODE: [&str; 3] = [
    "rundown.config.js",
    "rundown.config.cjs",
    "rundown.config.mjs",
];
const PACKAGE: &str = "package.json";
const MEMBER: &str = "rundown";
