//! The service's side of the helper: starts it, asks it, starts it again when it is dead.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

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
    running: Mutex<Option<Running>>,
}

#[derive(Debug)]
struct Running {
    socket: OwnedFd,
    child: Child,
}

impl Helper {
    pub(super) fn new(binary: File, mark: String) -> Self {
        Self { binary, mark, running: Mutex::new(None) }
    }

    /// Asks for a run. What becomes of it is said on its own socket; if the helper dies, its end closes.
    ///
    /// # Errors
    /// When no helper can be started, or asked: then nothing was begun.
    pub(super) fn begin(&self, start: &Start, descriptors: &Descriptors) -> io::Result<()> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(helper) = running.as_ref() {
            match protocol::send_start(&helper.socket, start, descriptors) {
                Ok(()) => return Ok(()),
                // A packet that could not be sent began nothing, so it may be sent again.
                Err(error) if is_gone(&error) => end(running.take()),
                // It lives, and with it the runs that it began: this one can't be begun now.
                Err(error) => return Err(error),
            }
        }
        let helper = self.start()?;
        protocol::send_start(&helper.socket, start, descriptors)?;
        *running = Some(helper);
        Ok(())
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
        Ok(Running { socket, child })
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        let running = self.running.get_mut().unwrap_or_else(PoisonError::into_inner);
        end(running.take());
    }
}

/// How long it may take to take a packet: it does nothing that takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(10);

/// Whether that says that nobody listens any more. Anything else is of this one packet: `ETOOMANYREFS` say, where a step of
/// the same user keeps descriptors in flight.
fn is_gone(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, NotConnected, TimedOut, WouldBlock};
    // The last two: it was not taken within PATIENCE.
    matches!(error.kind(), BrokenPipe | ConnectionReset | NotConnected | TimedOut | WouldBlock)
}

/// Its end is the end of whatever it began.
fn end(helper: Option<Running>) {
    if let Some(Running { socket, mut child }) = helper {
        drop(socket);
        let _ = child.kill();
        let _ = child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_helper_that_is_gone_is_ended_with_its_runs() {
        let gone = |errno| is_gone(&io::Error::from_raw_os_error(errno));
        assert!([libc::EPIPE, libc::ECONNRESET, libc::ENOTCONN, libc::EAGAIN].into_iter().all(gone));
        let not = [libc::ETOOMANYREFS, libc::ENOBUFS, libc::ENOMEM, libc::EMFILE, libc::EMSGSIZE, libc::EPERM];
        assert!(!not.into_iter().any(gone));
    }
}
