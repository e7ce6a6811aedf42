//! Ctrl-C and its like: they end a run and its whole tree, never a receipt that is being written.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};

use tokio::signal::unix::{SignalKind, signal};

use crate::sandbox::cancel::CancelFlag;
use crate::terminal::exit::{CommandFailure, Exit};

/// What a signal means now.
#[derive(Debug, Default)]
enum Now {
    /// Nothing runs: the program ends.
    #[default]
    Idle,
    /// A step runs: it is ended.
    Running(CancelFlag),
    /// A receipt is being written: the program ends after it.
    Finishing,
}

#[derive(Debug, Default)]
struct State {
    now: Now,
    caught: Option<u8>,
    /// Removed when a signal ends the program.
    scratch: PathBuf,
}

/// Listens for SIGINT, SIGTERM and SIGHUP.
#[derive(Debug, Clone)]
pub struct Signals(Arc<Mutex<State>>);

impl Signals {
    /// Begins to listen, and removes `scratch` when a signal ends the program; when this returns, no such signal ends the program by itself any more.
    ///
    /// # Errors
    /// When the program can't listen.
    pub fn listen(scratch: &Path) -> Result<Self, CommandFailure> {
        let failed = |what: String| CommandFailure::new(Exit::Unreachable, format!("can't listen for Ctrl-C: {what}"));
        let state = State { scratch: scratch.to_owned(), ..State::default() };
        let signals = Self(Arc::new(Mutex::new(state)));
        let heard = signals.clone();
        let (ready, listening) = mpsc::channel();
        let thread = std::thread::Builder::new().name("signals".to_owned());
        let thread = thread.spawn(move || {
            let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime,
                Err(error) => return drop(ready.send(Err(error.to_string()))),
            };
            runtime.block_on(async move {
                let kinds =
                    (signal(SignalKind::interrupt()), signal(SignalKind::terminate()), signal(SignalKind::hangup()));
                let (mut interrupt, mut terminate, mut hangup) = match kinds {
                    (Ok(a), Ok(b), Ok(c)) => (a, b, c),
                    _ => return drop(ready.send(Err("the system refuses a handler".to_owned()))),
                };
                let _ = ready.send(Ok(()));
                loop {
                    let caught = tokio::select! {
                        _ = interrupt.recv() => 2,
                        _ = terminate.recv() => 15,
                        _ = hangup.recv() => 1,
                    };
                    heard.take(caught);
                }
            });
        });
        thread.map_err(|error| failed(error.to_string()))?;
        listening.recv().map_err(|error| failed(error.to_string()))?.map_err(failed)?;
        Ok(signals)
    }

    fn take(&self, signal: u8) {
        let mut state = self.lock();
        match &state.now {
            Now::Idle => {
                let _ = std::fs::remove_dir_all(&state.scratch);
                std::process::exit(i32::from(Exit::Signal(signal).code()));
            }
            Now::Running(flag) => flag.cancel(),
            Now::Finishing => {}
        }
        state.caught.get_or_insert(signal);
    }

    /// From now on a signal ends this run.
    pub fn run_begins(&self, flag: &CancelFlag) {
        self.lock().now = Now::Running(flag.clone());
    }

    /// From now on a signal waits until [`Signals::all_is_written`].
    pub fn run_ended(&self) {
        self.lock().now = Now::Finishing;
    }

    /// From now on a signal ends the program. Gives one that came since the run began.
    pub fn all_is_written(&self) -> Option<u8> {
        let mut state = self.lock();
        state.now = Now::Idle;
        state.caught
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds this; if it did, what it guards is still whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
