//! Chooses the working directory of a step under the policy.
//!
//! If the policy allows writes in the current directory, the step works there. If the policy allows only reads, the
//! step works in an overlay of the current directory, and its changes are discarded. Otherwise the step gets an empty
//! directory, or the first directory of `--allow-write`. Paths below the directory that the policy denies are masked.

use std::{
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use crate::{LocalRules, Project};
use client::{CommandResult, fail_usage};
use documents::{Layer, PermissionKind, Profile, Workdir};
use reading::Ruling;

/// Working directory of a step.
#[derive(PartialEq)]
pub enum WorkingDirectory {
    /// The current directory itself.
    InPlace {
        /// Path of the directory.
        directory: String,
        /// Patterns of masked paths below the directory.
        deny: Vec<String>,
    },
    /// An overlay of the current directory, so that the changes of the step are discarded.
    Overlay {
        /// Path of the directory.
        directory: String,
        /// Patterns of masked paths below the directory.
        deny: Vec<String>,
        /// True if the step would get the directory itself, but has files, which would remain there.
        has_files: bool,
    },
    /// A new empty directory, with the reason.
    Private(String),
    /// The first directory of `--allow-write`, because the step cannot get the current directory.
    Given {
        /// Path of the directory.
        directory: String,
        /// Reason why the step cannot get the current directory.
        why: String,
    },
    /// A directory that the step declares and the policy allows.
    Declared,
}

impl WorkingDirectory {
    /// Chooses the working directory. `held` lists the sandbox layers of this host. `off` is true if the sandbox is
    /// disabled. `has_files` is true if the step has files, which must not remain in the current directory.
    pub fn find(
        rules: &LocalRules,
        ruling: &Ruling,
        project: &Project,
        held: &[Layer],
        (off, has_files): (bool, bool),
    ) -> Self {
        let Some(directory) = project.cwd.to_str().map(str::to_owned) else {
            return Self::Private("the path of the current directory is not UTF-8".to_owned());
        };
        if !may_enter(&project.cwd) {
            return Self::Private(format!(
                "a step that root starts runs under another user id, which can't enter {directory} (other users need \
                 the permissions r and x on the path)"
            ));
        }
        if off && has_files {
            return Self::Private(
                "the step has files, which would remain in the current directory".to_owned(),
            );
        }
        if off {
            return Self::InPlace {
                directory,
                deny: Vec::new(),
            };
        }
        if !rules.allows_path(ruling, PermissionKind::Read, &directory) {
            return Self::Private(format!("policy does not let the step read {directory}"));
        }
        // Overlays and masks need the layer `namespaces`.
        if !held.contains(&Layer::Namespaces) {
            return Self::Private(
                "without namespaces the sandbox can't hide the paths that policy denies".to_owned(),
            );
        }
        let deny = rules.denied_paths(ruling);
        let writable = rules.allows_path(ruling, PermissionKind::Write, &directory);
        if writable && (!has_files || !rules.args.allow_write.is_empty()) {
            Self::InPlace { directory, deny }
        } else {
            Self::Overlay {
                directory,
                deny,
                has_files: writable,
            }
        }
    }

    /// Sets the working directory in the profile, unless the step declares its own directories.
    ///
    /// # Errors
    /// Returns an error if the step cannot get a path from the command line together with this working directory.
    pub fn put(&mut self, profile: &mut Profile, rules: &LocalRules) -> CommandResult<()> {
        if profile.workdir != Workdir::Private
            || !profile.read.is_empty()
            || !profile.write.is_empty()
        {
            *self = Self::Declared;
            return Ok(());
        }
        let [read, write] = &rules.elsewhere;
        let text = |path: &PathBuf| path.to_string_lossy().into_owned();
        if let (Some(path), Self::Overlay { .. }) = (write.first(), &*self) {
            return fail_usage(format!(
                "--allow-write {}: the files are kept only if the current directory is writable too: add \
                 --allow-write .",
                path.display()
            ));
        }
        profile.read.extend(read.iter().map(text));
        profile.read.sort();
        profile.read.dedup();
        let (workdir, directory, deny) = match self {
            Self::InPlace { directory, deny } => (Workdir::InPlace, directory, deny),
            Self::Overlay {
                directory, deny, ..
            } => (Workdir::Overlay, directory, deny),
            Self::Private(why) => {
                // The directories of `--allow-write` belong to the host, so the working directory must not be reported
                // as private.
                if let Some(first) = write.first() {
                    profile.workdir = Workdir::InPlace;
                    profile.write = write.iter().map(text).collect();
                    *self = Self::Given {
                        directory: text(first),
                        why: std::mem::take(why),
                    };
                }
                return Ok(());
            }
            Self::Given { .. } | Self::Declared => return Ok(()),
        };
        profile.workdir = workdir;
        // The run starts in the first directory of this list.
        profile.write = std::iter::once(directory.clone())
            .chain(write.iter().map(text))
            .collect();
        profile.deny.extend(deny.iter().cloned());
        profile.deny.sort();
        profile.deny.dedup();
        Ok(())
    }

    /// Returns a description for the person.
    pub fn words(&self) -> String {
        match self {
            Self::InPlace { directory, .. } => format!("works in {directory}"),
            Self::Overlay {
                directory,
                has_files: true,
                ..
            } => {
                format!(
                    "works in an overlay of {directory}, because the step has files, which would remain in the directory \
                     itself: the files that the step writes there are discarded"
                )
            }
            Self::Overlay { directory, .. } => {
                format!(
                    "works in an overlay of {directory}: the files that the step writes there are discarded \
                     (--allow-write . keeps them)"
                )
            }
            Self::Private(why) => format!("works in a separate empty directory: {why}"),
            Self::Given { directory, why } => {
                format!("works in {directory} (--allow-write), not in the current directory: {why}")
            }
            Self::Declared => "gets the paths of the host that the step declares".to_owned(),
        }
    }

    /// Returns the name of the kind for JSON output.
    pub fn word(&self) -> &'static str {
        match self {
            Self::InPlace { .. } | Self::Given { .. } => "in-place",
            Self::Overlay { .. } => "overlay",
            Self::Private(_) => "private",
            Self::Declared => "declared",
        }
    }
}

/// Returns true if the step's user id may enter the directory. For a person who is root, the step has another user id.
fn may_enter(directory: &Path) -> bool {
    if !rustix::process::geteuid().is_root() {
        return true;
    }
    let others = |path: &Path, bits: u32| {
        path.metadata()
            .is_ok_and(|found| found.mode() & bits == bits)
    };
    others(directory, 0o005)
        && directory
            .ancestors()
            .skip(1)
            .all(|above| others(above, 0o001))
}
