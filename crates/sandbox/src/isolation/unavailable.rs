//! The reasons why this host can't enforce a profile.

use std::path::PathBuf;

use crate::Missing;
use documents::Layer;

/// The reason why this host can't enforce a profile.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// A required layer is missing on this host.
    #[error(
        "this host can't enforce the required layer {}: {}; fix it with: {}",
        .layer.word(),
        .missing.why,
        .missing.knob
    )]
    Layer {
        /// The missing layer.
        layer: Layer,
        /// Failed attempt, and the setting to change.
        missing: Missing,
    },
    /// The profile contradicts itself or contains a useless value.
    #[error("the profile can't be enforced: {why}")]
    Invalid {
        /// The contradiction or the useless value.
        why: String,
    },
    /// The programs of the list are not on this host as the list says, or a run can't get them.
    #[error("the list of programs can't be enforced: {why}")]
    Programs {
        /// The reason.
        why: String,
    },
    /// The run can't become the host user that the profile names.
    #[error("the step can't run as {name}: {why}")]
    User {
        /// Name of the user in the profile.
        name: String,
        /// The reason and its correction.
        why: String,
    },
    /// A run can't get this path of the profile.
    #[error("the profile's path {path} {why}")]
    Path {
        /// The path in the profile.
        path: String,
        /// The reason.
        why: String,
    },
    /// The run could reach a path of the private set.
    #[error("a step could reach the private path {private} through {through}")]
    Private {
        /// The path of the private set.
        private: PathBuf,
        /// Path of the profile, or property of the host, through which the run could reach it.
        through: String,
    },
    /// The run could write to a directory that no run may change.
    #[error(
        "a step could change {fixed} through {path}; remove {path} from the profile, or let the step work on a copy"
    )]
    Unwritable {
        /// The path of the profile.
        path: PathBuf,
        /// The directory that no run may change.
        fixed: PathBuf,
    },
    /// This host can't run any step.
    #[error("no step can be run on this host: {}; fix it with: {}", .missing.why, .missing.knob)]
    Broken {
        /// The failed attempt, and the setting to change.
        missing: Missing,
    },
    /// The run's own user id can't enter the directory for runs.
    #[error(
        "each run has its own user id, which can't enter {closed}; set the mode of this directory to 0711, or move \
         the directory for runs"
    )]
    Scratch {
        /// The directory that denies access, at or above the directory for runs.
        closed: PathBuf,
    },
}

impl Unavailable {
    /// Returns true if the reason remains until the host is changed and the service is restarted, because layers are
    /// probed only at the start. Any other reason (a path, a user, a directory's mode) may be gone at the next attempt.
    pub const fn is_of_the_host(&self) -> bool {
        match self {
            Self::Layer { .. } | Self::Broken { .. } => true,
            Self::Invalid { .. }
            | Self::Programs { .. }
            | Self::User { .. }
            | Self::Path { .. }
            | Self::Private { .. }
            | Self::Unwritable { .. }
            | Self::Scratch { .. } => false,
        }
    }
}
