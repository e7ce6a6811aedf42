//! The paths that a step gets: its own, and those of its profile.

use std::path::PathBuf;

use crate::{PathGrant, RunRequest, isolation::run_places::RunPlaces};
use documents::{Profile, Workdir};

/// Paths and access rights of the step.
pub struct StepPaths {
    /// The directory in which the step starts.
    pub work: PathBuf,
    /// The step's home: its private directory, or with a session an empty directory.
    pub home: PathBuf,
    pub tmp: PathBuf,
    pub script: PathBuf,
    pub params: PathBuf,
    /// The paths that Landlock allows.
    pub grants: Vec<PathGrant>,
    /// Number of names that deny patterns masked, or `None` if the profile has no deny patterns.
    pub masked: Option<u64>,
    /// Paths of the inputs, the results and the session.
    pub places: RunPlaces,
    /// Numbers of the step's files that were created in its directory.
    pub new_files: Vec<u32>,
}

/// Path of the step's private directory in the run's own root file system.
pub const HOME: &str = "/tmp/work";

/// Returns the paths in the list `write` that exist on the host.
pub fn host_paths(write: &[String]) -> impl Iterator<Item = &str> {
    write
        .iter()
        .map(String::as_str)
        .filter(|path| *path != "{work}")
}

/// Returns all paths of the host that a profile names.
pub fn named_paths(profile: &Profile) -> impl Iterator<Item = &str> {
    profile
        .read
        .iter()
        .chain(&profile.sockets)
        .map(String::as_str)
        .chain(host_paths(&profile.write))
}

/// Returns true if the run gets paths of the host.
pub fn gives_paths(request: &RunRequest) -> bool {
    !request.profile.read.is_empty() || host_paths(&request.profile.write).next().is_some()
}

/// Returns the tree of the host in which the step starts (the first tree that the step may write), or `None` if the
/// step starts in a private directory.
pub fn begins_in(profile: &Profile) -> Option<&str> {
    if profile.workdir == Workdir::Private {
        None
    } else {
        host_paths(&profile.write).next()
    }
}

/// Returns the directory in which a step with its own root file system starts.
pub fn work_of(profile: &Profile) -> &str {
    begins_in(profile).unwrap_or(HOME)
}
