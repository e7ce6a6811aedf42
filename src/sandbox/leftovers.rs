//! What runs of an earlier service left: ended before anything is said about them (rule R6).
//!
//! A helper ends its runs when its service dies. One that can't, because it was stopped or frozen, is found here
//! by a mark in its command line and ended from outside, with all that it watched.

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Pid, Signal};

use crate::crypto::digest::{hex, sha256};
use crate::sandbox::protocol::LAUNCH;

/// How long leftovers may take to die: a process that is stuck in the kernel can't be waited for.
const DEADLINE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(2);

/// What helpers of the service with this directory carry in their command line. No path: runs can read it.
pub(super) fn mark(scratch: &Path) -> String {
    hex(&sha256(scratch.as_os_str().as_encoded_bytes()))[..32].to_owned()
}

/// Ends every run of an earlier service with this mark; gives how many there were.
///
/// # Errors
/// When one does not die: then nothing may say that it is over.
pub(super) fn end(mark: &str) -> io::Result<usize> {
    let (begun, service) = (Instant::now(), rustix::process::getpid().as_raw_nonzero().get());
    let all = processes();
    let helpers: Vec<&Process> = all
        .iter()
        // The first process of a run has its helper's command line: it is ended as that one's child.
        .filter(|one| is_helper(one.pid, mark) && one.parent != service && !is_helper(one.parent, mark))
        .collect();
    let mut ended = 0;
    for helper in &helpers {
        // While it stands still it neither starts anything nor hands a process id on, and orphans come to it. One that may
        // not be told to is another user's, who copied the mark: whatever this user's service began can be.
        if signal(helper.pid, Signal::STOP) == Err(Errno::PERM) {
            continue;
        }
        ended += 1;
        loop {
            let children: Vec<Process> =
                processes().into_iter().filter(|one| one.parent == helper.pid && !one.dead).collect();
            if children.is_empty() {
                break;
            }
            for child in &children {
                let _ = signal(child.pid, Signal::KILL);
            }
            wait(begun, helper.pid)?;
        }
        let _ = signal(helper.pid, Signal::KILL);
        while processes().iter().any(|one| one.pid == helper.pid && !one.dead && is_helper(one.pid, mark)) {
            wait(begun, helper.pid)?;
        }
        tracing::warn!(process = helper.pid, "a run of the service before was still there, and was ended");
    }
    Ok(ended)
}

fn wait(begun: Instant, helper: i32) -> io::Result<()> {
    if begun.elapsed() > DEADLINE {
        let text = format!("a run of the service before does not end (its helper is process {helper})");
        return Err(io::Error::new(io::ErrorKind::TimedOut, text));
    }
    std::thread::sleep(PAUSE);
    Ok(())
}

struct Process {
    pid: i32,
    parent: i32,
    dead: bool,
}

fn processes() -> Vec<Process> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            // proc_pid_stat(5): the name in parentheses may hold anything, the fields after it may not.
            let line = std::fs::read_to_string(entry.path().join("stat")).ok()?;
            let mut fields = line.rsplit_once(')')?.1.split_ascii_whitespace();
            let dead = matches!(fields.next()?, "Z" | "X");
            Some(Process { pid, parent: fields.next()?.parse().ok()?, dead })
        })
        .collect()
}

fn is_helper(pid: i32, mark: &str) -> bool {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let mut words = line.split(|byte| *byte == 0).skip(1);
    words.next() == Some(LAUNCH.as_bytes()) && words.next() == Some(mark.as_bytes())
}

fn signal(pid: i32, signal: Signal) -> Result<(), Errno> {
    rustix::process::kill_process(Pid::from_raw(pid).ok_or(Errno::SRCH)?, signal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marker_belongs_to_one_directory_without_naming_that_directory() {
        let one = mark(Path::new("/srv/countersign/runs"));
        assert_eq!(one.len(), 32);
        assert_ne!(one, mark(Path::new("/srv/countersign/run")));
        assert!(!one.contains('/'));
    }

    #[test]
    fn only_helpers_with_the_marker_are_leftovers() {
        let mut other = std::process::Command::new("sleep").arg("30").spawn().expect("sleep");
        assert_eq!(end(&mark(Path::new("/nobody/s/runs"))).expect("nothing to end"), 0);
        assert!(other.try_wait().expect("a status").is_none(), "somebody else's process was ended");
        let _ = other.kill();
        let _ = other.wait();
    }
}
