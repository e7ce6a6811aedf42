//! The service's side of the helper: starts it, asks it, starts it again when it is dead.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::net::sockopt::Timeout;
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use crate::sandbox::protocol::{self, Descriptors, LAUNCH, Start};

/// The process that begins runs, and what is needed to start it.
#[derive(Debug)]
pub(super) struct Helper {
    /// Opened once: what starts is this binary, whatever replaces it on disk.
    binary: File,
    /// By which a later service finds helpers and runs that outlived this one.
    mark: String,
    running: Mutex<Option<Arc<Running>>>,
}

/// A helper's process. Ended when it is asked for nothing more and no run of it is left: its end is the end of whatever it
/// began.
#[derive(Debug)]
pub(super) struct Running {
    socket: OwnedFd,
    /// There until this is dropped.
    child: Option<Child>,
    /// When it last gave a sign of life, on any run.
    heard: Mutex<Instant>,
}

impl Helper {
    pub(super) fn new(binary: File, mark: String) -> Self {
        Self { binary, mark, running: Mutex::new(None) }
    }

    /// Asks for a run. What becomes of it is said on its own socket; if the helper dies, its end closes. Gives the helper that
    /// was asked, to be held as long as the run lives.
    ///
    /// # Errors
    /// When no helper can be started, or asked: then nothing was begun.
    pub(super) fn begin(&self, start: &Start, descriptors: &Descriptors) -> io::Result<Arc<Running>> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(helper) = running.as_ref() {
            match protocol::send_start(&helper.socket, start, descriptors) {
                Ok(()) => return Ok(helper.clone()),
                // A packet that could not be sent began nothing, so it may be sent again.
                Err(error) if is_gone(&error) => *running = None,
                // It lives, and with it the runs that it began: this one can't be begun now.
                Err(error) => return Err(error),
            }
        }
        let helper = Arc::new(self.start()?);
        protocol::send_start(&helper.socket, start, descriptors)?;
        *running = Some(helper.clone());
        Ok(helper)
    }

    /// Asks this one for nothing more. The runs that it began go on.
    pub(super) fn replace(&self, silent: &Arc<Running>) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if running.as_ref().is_some_and(|helper| Arc::ptr_eq(helper, silent)) {
            *running = None;
        }
    }

    fn start(&self) -> io::Result<Running> {
        let (socket, theirs) =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        // A helper that does not listen is as good as a dead one.
        rustix::net::sockopt::set_socket_timeout(&socket, Timeout::Send, Some(PATIENCE))?;
        // Nothing here may turn posix_spawn into fork: no pre_exec, no uid, no process group.
        let child = Command::new(format!("/proc/self/fd/{}", self.binary.as_raw_fd()))
            .arg0("countersign")
            .args([LAUNCH, &self.mark])
            .env_clear()
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        Ok(Running { socket, child: Some(child), heard: Mutex::new(Instant::now()) })
    }
}

impl Running {
    /// Notes a sign of life.
    pub(super) fn hear(&self) {
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// When the last one came.
    pub(super) fn heard(&self) -> Instant {
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        let _ = child.kill();
        for _ in 0..SOON {
            if !matches!(child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        // Stuck in the kernel, or frozen: nobody's receipt waits for that.
        let _ = std::thread::Builder::new().name("helper-end".to_owned()).spawn(move || child.wait());
    }
}

/// How long it may take to take a packet, or to begin the next of the runs that wait: it does nothing that takes more than
/// milliseconds. One that is silent for longer is stopped or stuck.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// Milliseconds in which one that was killed is usually dead.
const SOON: u32 = 200;

/// Whether that says that nobody listens any more. Anything else is of this one packet: `ETOOMANYREFS` say, where a step of
/// the same user keeps descriptors in flight.
fn is_gone(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, NotConnected, TimedOut, WouldBlock};
    // The last two: it was not taken within PATIENCE.
    matches!(error.kind(), BrokenPipe | ConnectionReset | NotConnected | TimedOut | WouldBlock)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_errors_of_a_dead_helper_end_its_runs() {
        let gone = |errno| is_gone(&io::Error::from_raw_os_error(errno));
        assert!([libc::EPIPE, libc::ECONNRESET, libc::ENOTCONN, libc::EAGAIN].into_iter().all(gone));
        let not = [libc::ETOOMANYREFS, libc::ENOBUFS, libc::ENOMEM, libc::EMFILE, libc::EMSGSIZE, libc::EPERM];
        assert!(!not.into_iter().any(gone));
    }
}
