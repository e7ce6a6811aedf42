//! The reason why a run could not start.

use std::{fmt, io};

use serde::{Deserialize, Serialize};

/// Stage and error because of which the step was not executed.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetupFailure {
    pub stage: SetupStage,
    pub what: String,
    pub errno: Option<i32>,
}

/// Result of a part of the set-up.
pub type SetupResult<T = ()> = Result<T, SetupFailure>;

/// The part of the set-up in which an error occurred, if the advice for this host depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum SetupStage {
    /// Any other part.
    Other,
    /// The answer of the helper to a request.
    Helper,
    UserNamespace,
    /// The id maps of the user namespace.
    Maps,
    Namespaces,
    NetworkNamespace,
    Mounts,
    Proc,
    Workdir,
    Limits,
    Landlock,
    Seccomp,
    Processes,
    /// A test of the host that did not end in time.
    Late,
}

impl SetupFailure {
    pub fn from_io(stage: SetupStage, what: impl Into<String>, error: io::Error) -> Self {
        let (what, errno) = (what.into(), error.raw_os_error());
        Self {
            stage,
            what: if errno.is_some() {
                what
            } else {
                format!("{what}: {error}")
            },
            errno,
        }
    }

    pub fn other(what: impl Into<String>) -> Self {
        Self::new(SetupStage::Other, what)
    }

    pub fn new(stage: SetupStage, what: impl Into<String>) -> Self {
        Self {
            stage,
            what: what.into(),
            errno: None,
        }
    }
}

impl fmt::Display for SetupFailure {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self.errno {
            Some(errno) => write!(f, "{}: {}", self.what, io::Error::from_raw_os_error(errno)),
            None => f.write_str(&self.what),
        }
    }
}

/// Adds the stage and the failed action to the error of a call.
pub trait AtStage<T> {
    fn doing(self, what: impl Into<String>) -> SetupResult<T>;
    fn at(self, stage: SetupStage, what: impl Into<String>) -> SetupResult<T>;
}

impl<T, E: Into<io::Error>> AtStage<T> for Result<T, E> {
    fn doing(self, what: impl Into<String>) -> SetupResult<T> {
        self.at(SetupStage::Other, what)
    }

    fn at(self, stage: SetupStage, what: impl Into<String>) -> SetupResult<T> {
        self.map_err(|error| SetupFailure::from_io(stage, what, error.into()))
    }
}
