//! Handler of SIGINT, SIGTERM and SIGHUP. A signal ends the current run.

use std::{
    fmt::Display,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use tokio::signal::unix::{SignalKind, signal};

use client::{CommandFailure, CommandResult, Exit};
use documents::locked;
use sandbox::CancelFlag;

/// Maximum number of attempts to delete the scratch directory.
const MOST_DELETIONS: usize = 100;

#[derive(Debug, Default)]
struct State {
    /// The run at this moment.
    running: Option<CancelFlag>,
    caught: Option<u8>,
    /// True if a person asked to stop a step that is prepared, but does not run yet.
    stop_asked: bool,
    /// Scratch directory, which is deleted when a signal ends the program.
    scratch: PathBuf,
    /// Process that works in the scratch directory, and that ends with the program.
    helper: Option<Pid>,
}

fn failed(what: impl Display) -> CommandFailure {
    CommandFailure::unreachable(format!("can't install the handler for Ctrl-C: {what}"))
}

/// Handler that is installed for SIGINT, SIGTERM and SIGHUP.
#[derive(Clone)]
pub struct Signals(Arc<Mutex<State>>);

impl Signals {
    /// Installs the handlers. If a signal ends the program, the handler also deletes `scratch`. After this call, these
    /// signals no longer have their default action.
    ///
    /// # Errors
    /// Returns an error if the handlers cannot be installed.
    pub fn listen(scratch: &Path) -> CommandResult<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(failed)?;
        let entered = runtime.enter();
        let handler =
            |kind| signal(kind).map_err(|_| failed("the system refused a signal handler"));
        let mut interrupt = handler(SignalKind::interrupt())?;
        let mut terminate = handler(SignalKind::terminate())?;
        let mut hangup = handler(SignalKind::hangup())?;
        drop(entered);
        let state = State {
            scratch: scratch.to_owned(),
            ..State::default()
        };
        let signals = Self(Arc::new(Mutex::new(state)));
        let heard = signals.clone();
        let waiting = async move {
            loop {
                let caught = tokio::select! {
                    _ = interrupt.recv() => 2,
                    _ = terminate.recv() => 15,
                    _ = hangup.recv() => 1,
                };
                heard.take(caught);
            }
        };
        std::thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || runtime.block_on(waiting))
            .map_err(failed)?;
        Ok(signals)
    }

    fn take(&self, signal: u8) {
        let mut state = locked(&self.0);
        match &state.running {
            None => end_program(&state, signal),
            Some(flag) => flag.cancel(),
        }
        state.caught.get_or_insert(signal);
    }

    /// If a signal has come since the start of the program, ends the program, like a signal while no step runs. If
    /// another thread already ends the program, this call blocks until the end.
    pub fn end_if_caught(&self) {
        let state = locked(&self.0);
        if let Some(signal) = state.caught {
            end_program(&state, signal);
        }
    }

    /// Sets the process that a signal ends together with the program. `None` means no process.
    pub fn ends_too(&self, helper: Option<u32>) {
        locked(&self.0).helper = helper.and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
    }

    /// After this call, signals cancel the given run.
    pub fn run_begins(&self, flag: &CancelFlag) {
        let mut state = locked(&self.0);
        state.running = Some(flag.clone());
        if std::mem::take(&mut state.stop_asked) {
            flag.cancel();
        }
    }

    /// After this call, signals end the program. Returns the first signal since the start of the program, if there was
    /// one.
    pub fn run_ended(&self) -> Option<u8> {
        let mut state = locked(&self.0);
        state.running = None;
        state.caught
    }

    /// Cancels the step that runs. If none runs yet, the next run is cancelled when it begins.
    pub fn stop_step(&self) {
        let mut state = locked(&self.0);
        match &state.running {
            None => state.stop_asked = true,
            Some(flag) => flag.cancel(),
        }
    }

    /// Forgets a stop that came after the end of the step it was meant for.
    pub fn forget_stop(&self) {
        locked(&self.0).stop_asked = false;
    }

    /// Returns the first signal since the start of the program, if there was one.
    pub fn caught(&self) -> Option<u8> {
        locked(&self.0).caught
    }
}

fn end_program(state: &State, signal: u8) -> ! {
    if let Some(helper) = state.helper {
        let _ = kill_process(helper, Signal::KILL);
    }
    // Processes of the helper may still write for a moment.
    for _ in 0..MOST_DELETIONS {
        if std::fs::remove_dir_all(&state.scratch).is_ok() || !state.scratch.exists() {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    std::process::exit(i32::from(Exit::Signal(signal).code()));
}
