//! Watches the step from the first process, and reports the end of the step.
//!
//! This file also finds, kills and reaps the processes that a step leaves.

use std::{
    io::Read as _,
    os::{fd::OwnedFd, unix::net::UnixStream},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec},
    io::Errno,
    process::{self, Pid, Signal, WaitOptions},
};

use crate::{
    ForkSide, HelperMessage, KILL, RunRequest, SizeLimit, SpentResources, StepEnd, StepPaths,
    TERMINATE,
    isolation::{confine, filesystem::host_view, leftovers::processes, syscalls},
    protocol,
};

/// Exit code of a shell whose last command was ended by SIGXFSZ.
pub const XFSZ_IN_A_SHELL: i32 = 128 + libc::SIGXFSZ;
/// Interval at which orphans of a run on the host's root file system are reaped.
pub const REAP_EVERY: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 100_000_000,
};

/// Forwards commands of the service and reaps children until the step has ended. Returns the status of the step, or
/// `None` if the service requested the end of the run, or if the service or the helper has exited.
pub fn watch(
    control: &mut UnixStream,
    helper: &UnixStream,
    pidfd: &OwnedFd,
    step: Pid,
    mut obey: impl FnMut(u8),
) -> Option<process::WaitStatus> {
    loop {
        while let Ok(Some((pid, status))) = process::wait(WaitOptions::NOHANG) {
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

/// Returns the file-size limit if SIGXFSZ ended the step and a file has exactly this size. A step can also send this
/// signal itself, or reach a lower limit that a script has set.
pub fn file_limit(
    request: &RunRequest,
    view: &StepPaths,
    status: process::WaitStatus,
) -> Option<SizeLimit> {
    let signalled = status.terminating_signal() == Some(libc::SIGXFSZ)
        || status.exit_status() == Some(XFSZ_IN_A_SHELL);
    (signalled && host_view::has_file_of_size(view, request.profile.limits.file_bytes))
        .then_some(SizeLimit::File)
}

pub fn report_end(
    control: &mut UnixStream,
    status: process::WaitStatus,
    reached: Option<SizeLimit>,
) {
    let end = match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => StepEnd::Exited(code),
        (None, Some(signal)) => StepEnd::Signalled(signal),
        (None, None) => return,
    };
    let _ = protocol::write_message(control, &HelperMessage::Ended(end, reached));
}

pub fn report_empty(control: &mut UnixStream, left: u64) {
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

/// Maximum time to wait for the end of a run. The kernel can't kill a process that is stuck in a system call.
pub const KILL_DEADLINE: Duration = Duration::from_secs(30);
/// Kills and reaps children until none is left. Returns the number of children that did not end within the time limit.
pub fn end_family(step: Pid, own_id: Option<u32>, control: &mut UnixStream) -> u64 {
    let begun = Instant::now();
    loop {
        let left = reap_family(step, control);
        if let Some(id) = own_id.filter(|id| someone_is(*id)) {
            kill_everything_of(id);
        }
        if !left {
            return 0;
        }
        // Kill the children one by one only now, because this reads all processes of the host and takes longest.
        let children = children();
        for child in &children {
            // A child's process id is not reused before the child is reaped.
            let _ = process::kill_process(*child, Signal::KILL);
        }
        if begun.elapsed() > KILL_DEADLINE {
            return children.len() as u64;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Reaps all dead children and returns true if living children remain.
pub fn reap_family(step: Pid, control: &mut UnixStream) -> bool {
    loop {
        match process::wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) if pid == step => report_end(control, status, None),
            Ok(Some(_)) => {}
            Ok(None) => return true,
            Err(_) => return false,
        }
    }
}

/// Returns true if a process has the user id `id`. Otherwise getpriority(2) returns ESRCH.
pub fn someone_is(id: u32) -> bool {
    process::getpriority_user(process::Uid::from_raw(id)) != Err(Errno::SRCH)
}

/// Kills all processes of the run's own user id with one kill(2) call, so that a forking process can't escape.
pub fn kill_everything_of(id: u32) {
    match syscalls::fork() {
        Ok(ForkSide::Child) => {
            let taken = confine::take_id(id).is_ok() && process::getuid().as_raw() == id && id != 0;
            if taken {
                syscalls::signal_all(Signal::KILL);
            }
            syscalls::end(0);
        }
        Ok(ForkSide::Parent(killer)) => {
            let _ = process::waitpid(Some(killer), WaitOptions::empty());
        }
        Err(_) => {}
    }
}

/// Returns the number of processes with the user id `id`, without zombies.
pub fn living_of(id: u32) -> u64 {
    let uid = format!("\nUid:\t{id}\t");
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let statuses =
        entries.filter_map(|entry| std::fs::read_to_string(entry.path().join("status")).ok());
    statuses
        .filter(|status| status.contains(&uid) && !status.contains("\nState:\tZ"))
        .count() as u64
}

pub fn children() -> Vec<Pid> {
    let me = process::getpid().as_raw_pid();
    let mine = processes().into_iter().filter(|one| one.parent == me);
    mine.filter_map(|one| Pid::from_raw(one.pid)).collect()
}
