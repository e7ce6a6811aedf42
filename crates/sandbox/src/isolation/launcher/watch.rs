//! How the first process watches the step, and reports its end.

use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use crate::{
    HelperMessage, KILL, RunRequest, SizeLimit, SpentResources, StepEnd, StepPaths, TERMINATE,
    isolation::{filesystem::host_view, syscalls},
    protocol,
};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::process::{Pid, WaitOptions};

/// Exit code of a shell whose last command was ended by SIGXFSZ.
pub(super) const XFSZ_IN_A_SHELL: i32 = 128 + libc::SIGXFSZ;
/// Interval at which orphans of a run on the host's root file system are reaped.
pub(super) const REAP_EVERY: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 100_000_000,
};

/// Forwards commands of the service and reaps children until the step has ended. Returns the status of the step, or
/// `None` if the service requested the end of the run, or if the service or the helper has exited.
pub(super) fn watch(
    control: &mut UnixStream,
    helper: &UnixStream,
    pidfd: &OwnedFd,
    step: Pid,
    mut obey: impl FnMut(u8),
) -> Option<rustix::process::WaitStatus> {
    loop {
        while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
            if pid == step {
                return Some(status);
            }
        }
        let mut fds = [
            PollFd::new(pidfd, PollFlags::IN),
            PollFd::new(control, PollFlags::IN),
            PollFd::new(helper, PollFlags::IN),
        ];
        match rustix::event::poll(&mut fds, Some(&REAP_EVERY)) {
            Ok(_) => {}
            Err(Errno::INTR) => continue,
            // After an error of poll, the loop would no longer block and could not receive commands, so end the run.
            Err(_) => {
                obey(KILL);
                return None;
            }
        }
        let [ended, spoke, deserted] = [0, 1, 2].map(|at: usize| !fds[at].revents().is_empty());
        if !ended && deserted {
            // The run does not end in the normal way, and no other process can report an exit status, so close
            // the control socket without a report.
            let _ = control.shutdown(std::net::Shutdown::Both);
            obey(KILL);
            return None;
        }
        if !ended && spoke {
            let mut command = [0];
            // The socket is closed because the service has exited. End the run.
            let command = match control.read(&mut command) {
                Ok(1) => command[0],
                _ => KILL,
            };
            obey(command);
            if command != TERMINATE {
                return None;
            }
        }
    }
}

/// Returns the limit of the size of a file if SIGXFSZ ended the step and a file has exactly this size. A step can also
/// send this signal itself, or reach a lower limit that a script has set.
pub(super) fn file_limit(
    request: &RunRequest,
    view: &StepPaths,
    status: rustix::process::WaitStatus,
) -> Option<SizeLimit> {
    let signalled = status.terminating_signal() == Some(libc::SIGXFSZ)
        || status.exit_status() == Some(XFSZ_IN_A_SHELL);
    (signalled && host_view::has_file_of_size(view, request.profile.limits.file_bytes))
        .then_some(SizeLimit::File)
}

pub(crate) fn report_end(
    control: &mut UnixStream,
    status: rustix::process::WaitStatus,
    reached: Option<SizeLimit>,
) {
    let end = match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => StepEnd::Exited(code),
        (None, Some(signal)) => StepEnd::Signalled(signal),
        (None, None) => return,
    };
    let _ = protocol::write_message(control, &HelperMessage::Ended(end, reached));
}

pub(super) fn report_empty(control: &mut UnixStream, left: u64) {
    let (cpu_us, resident_peak) = syscalls::usage_of_children().unwrap_or_default();
    let _ = protocol::write_message(
        control,
        &HelperMessage::Empty(SpentResources {
            cpu_us,
            resident_peak,
            init_signal: None,
            left,
        }),
    );
}
