//! The two types that start runs: one for a boundary, one for runs without a boundary.

use std::{io, ops::Deref, sync::Arc};

use crate::{CancelFlag, Chunk, LinuxSandbox, Plan, Prepared, Report, Setup};

/// The only value that can start the runs of a boundary. An opened sandbox has exactly one: [`LinuxSandbox::open`] is the only
/// constructor, and the type can't be cloned.
#[must_use]
pub struct Starter {
    sandbox: Arc<LinuxSandbox>,
    instead: Option<Box<Instead>>,
}

/// A function that reports some runs without starting them.
type Instead = dyn Fn(&Prepared, &Plan) -> Option<Report> + Send + Sync;

impl LinuxSandbox {
    /// Prepares the sandbox of a boundary, and returns the sandbox and its [`Starter`]. The sandbox probes the host with one or
    /// two test runs, which takes some tens of milliseconds.
    ///
    /// # Errors
    /// Fails if the helper's binary can't be opened, if a directory does not exist, or if a run of an earlier service
    /// does not end.
    pub fn open(setup: &Setup) -> io::Result<(Arc<Self>, Starter)> {
        let sandbox = Arc::new(Self::prepare(setup)?);
        let starter = Starter {
            sandbox: Arc::clone(&sandbox),
            instead: None,
        };
        Ok((sandbox, starter))
    }
}

impl Starter {
    /// Starts no process for a run if `instead` returns a report of the run. With this function, benchmarks measure a
    /// boundary without its runs.
    pub fn with_reports(
        self,
        instead: impl Fn(&Prepared, &Plan) -> Option<Report> + Send + Sync + 'static,
    ) -> Self {
        Self {
            instead: Some(Box::new(instead)),
            ..self
        }
    }

    /// Runs a step and returns when the whole process tree of the run is dead, except for the processes that
    /// [`Enforcement::left`](documents::Enforcement::left) counts. The function blocks, and several threads may call it at the same
    /// time. A failure is returned as an [`End`](crate::runs::End), never as an error.
    ///
    /// `live` receives the output in the order of arrival, while it is recorded. `live` must return quickly, because
    /// the deadline and `cancel` are checked only between its calls.
    pub fn run(
        &self,
        prepared: Prepared,
        plan: Plan,
        live: &mut dyn FnMut(Chunk<'_>),
        cancel: &CancelFlag,
    ) -> Report {
        let instead = self.instead.as_ref();
        instead
            .and_then(|instead| instead(&prepared, &plan))
            .unwrap_or_else(|| self.sandbox.run(prepared, plan, live, cancel))
    }
}

/// A sandbox that starts runs without a boundary: at a person's terminal, and in trials of a host.
pub struct LocalSandbox(LinuxSandbox);

impl LocalSandbox {
    /// Prepares the sandbox and probes the host.
    ///
    /// # Errors
    /// Fails as [`LinuxSandbox::open`].
    pub fn open(setup: &Setup) -> io::Result<Self> {
        LinuxSandbox::prepare(setup).map(Self)
    }

    /// Runs a step, as [`Starter::run`].
    pub fn run(
        &self,
        prepared: Prepared,
        plan: Plan,
        live: &mut dyn FnMut(Chunk<'_>),
        cancel: &CancelFlag,
    ) -> Report {
        self.0.run(prepared, plan, live, cancel)
    }
}

impl Deref for LocalSandbox {
    type Target = LinuxSandbox;

    fn deref(&self) -> &LinuxSandbox {
        &self.0
    }
}
