//! The processes that a run leaves: how they are found, killed and reaped.

use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use crate::{
    ForkSide,
    isolation::{confine, leftovers::processes, syscalls},
    report_end,
};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions};

/// Maximum time to wait for the end of a run. The kernel can't kill a process that is stuck in a system call.
pub(super) const KILL_DEADLINE: Duration = Duration::from_secs(30);
/// Kills and reaps children until none is left. Returns the number of children that did not end within the time limit.
pub(super) fn end_family(step: Pid, own_id: Option<u32>, control: &mut UnixStream) -> u64 {
    let begun = Instant::now();
    loop {
        let left = reap_family(step, control);
        if let Some(id) = own_id.filter(|id| someone_is(*id)) {
            kill_everything_of(id);
        }
        if !left {
            return 0;
        }
        // Kill single children only now, because reading all processes of the host takes longest.
        let children = children();
        for child in &children {
            // The process id of a child that was not reaped is not reused.
            let _ = rustix::process::kill_process(*child, Signal::KILL);
        }
        if begun.elapsed() > KILL_DEADLINE {
            return children.len() as u64;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Reaps all dead children and returns true if living children remain.
pub(super) fn reap_family(step: Pid, control: &mut UnixStream) -> bool {
    loop {
        match rustix::process::wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) if pid == step => report_end(control, status, None),
            Ok(Some(_)) => {}
            Ok(None) => return true,
            Err(_) => return false,
        }
    }
}

/// Returns true if a process has the user id `id`. Otherwise getpriority(2) returns ESRCH.
pub(super) fn someone_is(id: u32) -> bool {
    rustix::process::getpriority_user(rustix::process::Uid::from_raw(id)) != Err(Errno::SRCH)
}

/// Kills all processes of the run's own user id with one kill(2) call, so that a forking process can't escape.
pub(super) fn kill_everything_of(id: u32) {
    match syscalls::fork() {
        Ok(ForkSide::Child) => {
            let taken =
                confine::take_id(id).is_ok() && rustix::process::getuid().as_raw() == id && id != 0;
            if taken {
                syscalls::signal_all(Signal::KILL);
            }
            syscalls::end(0);
        }
        Ok(ForkSide::Parent(killer)) => {
            let _ = rustix::process::waitpid(Some(killer), WaitOptions::empty());
        }
        Err(_) => {}
    }
}

/// Returns the number of processes with the user id `id`, without zombies.
pub(super) fn living_of(id: u32) -> u64 {
    let uid = format!("\nUid:\t{id}\t");
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let statuses =
        entries.filter_map(|entry| std::fs::read_to_string(entry.path().join("status")).ok());
    statuses
        .filter(|status| status.contains(&uid) && !status.contains("\nState:\tZ"))
        .count() as u64
}

pub(super) fn children() -> Vec<Pid> {
    let me = rustix::process::getpid().as_raw_pid();
    let mine = processes().into_iter().filter(|one| one.parent == me);
    mine.filter_map(|one| Pid::from_raw(one.pid)).collect()
}
