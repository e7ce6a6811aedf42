//! Where a step works: what policy lets it have of the current directory.
//!
//! With its `write` rules the directory itself, with its `read` rules alone an overlay of it, in which what the step writes
//! is discarded; else an empty directory, or the first one that the command line lets it write. What `read` and `write` deny is masked below it.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::local::decide::LocalRules;
use crate::local::project::Project;
use crate::policy::ruling::Ruling;
use crate::record::authorization::PermissionKind;
use crate::record::profile::{Layer, Profile, Workdir};
use crate::terminal::exit::CommandFailure;

/// Where a step works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WorkingDirectory {
    /// In the current directory itself.
    InPlace {
        /// Which.
        directory: String,
        /// Patterns that stay out of reach below it.
        deny: Vec<String>,
    },
    /// In an overlay of it.
    Overlay {
        /// Which.
        directory: String,
        /// Patterns that stay out of reach below it.
        deny: Vec<String>,
    },
    /// In an empty directory of its own, and why.
    Private(String),
    /// In the first directory that the command line lets it write, since it can't have the current one, and why.
    Given {
        /// Which.
        directory: String,
        /// Why not in the current one.
        why: String,
    },
    /// As the step declares, and policy allows it.
    Declared,
}

impl WorkingDirectory {
    /// What policy and this host come to. `held` are the layers that will be held; none means that the sandbox is off.
    pub fn find(rules: &LocalRules, ruling: &Ruling, project: &Project, held: &[Layer], off: bool) -> Self {
        let Some(directory) = project.cwd.to_str().map(str::to_owned) else {
            return Self::Private("the name of the current directory is no text".to_owned());
        };
        if !may_enter(&project.cwd) {
            return Self::Private(format!(
                "a step of root's runs under an id of its own, which can't enter {directory} (others need r and x on the way)"
            ));
        }
        if off {
            return Self::InPlace { directory, deny: Vec::new() };
        }
        if !rules.allows_path(ruling, PermissionKind::Read, &directory) {
            return Self::Private(format!("policy does not let it read {directory}"));
        }
        // Neither an overlay nor a mask without them.
        if !held.contains(&Layer::Namespaces) {
            return Self::Private("without namespaces what policy denies could not be kept from it".to_owned());
        }
        let deny = rules.denied_paths(ruling);
        if rules.allows_path(ruling, PermissionKind::Write, &directory) {
            Self::InPlace { directory, deny }
        } else {
            Self::Overlay { directory, deny }
        }
    }

    /// Puts it into a profile. A step that declares what it needs of the host gets that and nothing else.
    ///
    /// # Errors
    /// When the command line gives paths that can't be given beside it.
    pub fn put(&mut self, profile: &mut Profile, rules: &LocalRules) -> Result<(), CommandFailure> {
        if profile.workdir != Workdir::Private || !profile.read.is_empty() || !profile.write.is_empty() {
            *self = Self::Declared;
            return Ok(());
        }
        let (read, write) = rules.elsewhere();
        let text = |path: &PathBuf| path.to_string_lossy().into_owned();
        if let (Some(path), Self::Overlay { .. }) = (write.first(), &*self) {
            return Err(CommandFailure::usage(format!(
                "--allow-write {}: what is written stays there only if the current directory may be written too: add \
                 --allow-write .",
                path.display()
            )));
        }
        profile.read.extend(read.iter().map(text));
        profile.read.sort();
        profile.read.dedup();
        let (workdir, directory, deny) = match self {
            Self::InPlace { directory, deny } => (Workdir::InPlace, directory, deny),
            Self::Overlay { directory, deny } => (Workdir::Overlay, directory, deny),
            Self::Private(why) => {
                // What is written to the host is never said to be private.
                if let Some(first) = write.first() {
                    profile.workdir = Workdir::InPlace;
                    profile.write = write.iter().map(text).collect();
                    *self = Self::Given { directory: text(first), why: std::mem::take(why) };
                }
                return Ok(());
            }
            Self::Given { .. } | Self::Declared => return Ok(()),
        };
        profile.workdir = workdir;
        // The first one is where it begins.
        profile.write = std::iter::once(directory.clone()).chain(write.iter().map(text)).collect();
        profile.deny.extend(deny.iter().cloned());
        profile.deny.sort();
        profile.deny.dedup();
        Ok(())
    }

    /// Puts the directory alone into a profile that holds nothing back.
    pub fn put_off(&self, profile: &mut Profile) {
        if let Self::InPlace { directory, .. } = self {
            profile.workdir = Workdir::InPlace;
            profile.write = vec![directory.clone()];
        }
    }

    /// In words.
    pub fn words(&self) -> String {
        match self {
            Self::InPlace { directory, .. } => format!("works in {directory}"),
            Self::Overlay { directory, .. } => {
                format!(
                    "works in an overlay of {directory}: what it writes there is discarded (--allow-write . keeps it)"
                )
            }
            Self::Private(why) => format!("works in an empty directory of its own: {why}"),
            Self::Given { directory, why } => {
                format!("works in {directory} (--allow-write), not in the current directory: {why}")
            }
            Self::Declared => "has of the host what it declares".to_owned(),
        }
    }

    /// The word of the profile.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::InPlace { .. } | Self::Given { .. } => "in-place",
            Self::Overlay { .. } => "overlay",
            Self::Private(_) => "private",
            Self::Declared => "declared",
        }
    }
}

/// Whether the id that a step gets may be in the directory: where the person is root, any other one.
fn may_enter(directory: &Path) -> bool {
    if !rustix::process::geteuid().is_root() {
        return true;
    }
    let others = |path: &Path, bits: u32| path.metadata().is_ok_and(|found| found.mode() & bits == bits);
    others(directory, 0o005) && directory.ancestors().skip(1).all(|above| others(above, 0o001))
}
