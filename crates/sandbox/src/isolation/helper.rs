//! Starts the helper process of the service, sends requests to the helper, and restarts a dead helper.

use std::{
    fs::File,
    io,
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::process::CommandExt as _,
    },
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt::Timeout};

use crate::{Descriptors, LAUNCH, Start, isolation::protocol::send_start};
use documents::locked;

/// The current helper process, and the data to start a new one.
pub struct Helper {
    /// Open file of the binary. Each helper executes this file, even if the file on disk is replaced.
    binary: File,
    /// Unique text in the helper's command line, by which a later service finds leftover helpers.
    mark: String,
    running: Mutex<Option<Arc<Running>>>,
}

/// A helper process, which is killed on drop. The death of a helper ends all its runs.
pub struct Running {
    socket: OwnedFd,
    /// Child process, taken when this value is dropped.
    child: Option<Child>,
    /// Time of the latest message of the helper about any run.
    heard: Mutex<Instant>,
}

impl Helper {
    pub fn new(binary: File, mark: String) -> Self {
        Self {
            binary,
            mark,
            running: Mutex::new(None),
        }
    }

    /// Requests a run and returns the helper that received the request. The caller must keep the returned value until
    /// the run has ended. The helper reports on the control socket of the run, which the kernel closes if the helper
    /// dies.
    ///
    /// # Errors
    /// Fails if no helper can be started or reached. No run was started in this case.
    pub fn begin(&self, start: &Start, descriptors: &Descriptors) -> io::Result<Arc<Running>> {
        let mut running = locked(&self.running);
        if let Some(helper) = running.as_ref() {
            match send_start(&helper.socket, start, descriptors) {
                Ok(()) => return Ok(helper.clone()),
                // The packet was not sent and started no run, so it may be sent again.
                Err(error) if is_gone(&error) => *running = None,
                // The helper and its runs are alive, so keep the helper. Only this request fails.
                Err(error) => return Err(error),
            }
        }
        let helper = Arc::new(self.start()?);
        send_start(&helper.socket, start, descriptors)?;
        *running = Some(helper.clone());
        Ok(helper)
    }

    /// Stops sending requests to this helper. Its runs continue.
    pub fn replace(&self, silent: &Arc<Running>) {
        let mut running = locked(&self.running);
        if running
            .as_ref()
            .is_some_and(|helper| Arc::ptr_eq(helper, silent))
        {
            *running = None;
        }
    }

    fn start(&self) -> io::Result<Running> {
        let (socket, theirs) = rustix::net::socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )?;
        // A helper that reads no requests is treated like a dead helper.
        rustix::net::sockopt::set_socket_timeout(&socket, Timeout::Send, Some(PATIENCE))?;
        // Use no option that makes std call fork instead of posix_spawn, such as pre_exec, uid or process group.
        let child = Command::new(format!("/proc/self/fd/{}", self.binary.as_raw_fd()))
            .arg0("countersign")
            .args([LAUNCH, &self.mark])
            .env_clear()
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        Ok(Running {
            socket,
            child: Some(child),
            heard: Mutex::new(Instant::now()),
        })
    }
}

impl Running {
    /// Records that the helper sent a message.
    pub fn hear(&self) {
        *locked(&self.heard) = Instant::now();
    }

    /// Returns the time of the helper's latest message.
    pub fn heard(&self) -> Instant {
        *locked(&self.heard)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let Some(mut child) = self.child.take() else {
            return;
        };
        let _ = child.kill();
        for _ in 0..SOON {
            if !matches!(child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        // The process is stuck in the kernel or frozen. Wait for the process in another thread, so that no receipt is
        // delayed.
        let _ = std::thread::Builder::new()
            .name("helper-end".to_owned())
            .spawn(move || child.wait());
    }
}

/// Maximum time in which the helper must read a packet or start the next queued run. Both take only milliseconds, so a
/// helper that is silent for this time counts as stopped or stuck.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Time to wait for the end of a killed helper, in milliseconds. Most helpers end within this time.
const SOON: u32 = 200;

/// Returns true if the error means that the helper receives no more packets. Other errors concern only one packet. An
/// example is `ETOOMANYREFS`, if a step of the same user has too many descriptors in flight.
fn is_gone(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, NotConnected, TimedOut, WouldBlock};
    // `TimedOut` and `WouldBlock` mean that the helper did not read the packet within `PATIENCE`.
    matches!(
        error.kind(),
        BrokenPipe | ConnectionReset | NotConnected | TimedOut | WouldBlock
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_helper_is_replaced_only_if_it_receives_no_packets() {
        let gone = |errno| is_gone(&io::Error::from_raw_os_error(errno));
        assert!(
            [libc::EPIPE, libc::ECONNRESET, libc::ENOTCONN, libc::EAGAIN]
                .into_iter()
                .all(gone)
        );
        let not = [
            libc::ETOOMANYREFS,
            libc::ENOBUFS,
            libc::ENOMEM,
            libc::EMFILE,
            libc::EMSGSIZE,
            libc::EPERM,
        ];
        assert!(!not.into_iter().any(gone));
    }
}
