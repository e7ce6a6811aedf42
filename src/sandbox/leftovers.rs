//! What runs of an earlier service left: ended before anything is said about them (rule R6).
//!
//! A launcher ends its run when its service dies. One that can't, because it was stopped or frozen, is found here
//! by a mark in its command line and ended from outside, with all that it watched.

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

use crate::crypto::digest::{hex, sha256};
use crate::sandbox::protocol::LAUNCH;

/// How long leftovers may take to die: a process that is stuck in the kernel can't be waited for.
const DEADLINE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(2);

/// What launchers of the service with this directory carry in their command line. No path: runs can read it.
pub(super) fn mark(scratch: &Path) -> String {
    hex(&sha256(scratch.as_os_str().as_encoded_bytes()))[..32].to_owned()
}

/// Ends every run of an earlier service with this mark; gives how many there were.
///
/// # Errors
/// When one does not die: then nothing may say that it is over.
pub(super) fn end(mark: &str) -> io::Result<usize> {
    let begun = Instant::now();
    let all = processes();
    let launchers: Vec<&Process> = all
        .iter()
        // The first process of a run has its launcher's command line: it is ended as that one's child.
        .filter(|one| is_launcher(one.pid, mark) && one.parent != own() && !is_launcher(one.parent, mark))
        .collect();
    for launcher in &launchers {
        // While it stands still it neither starts anything nor hands a process id on, and orphans come to it.
        signal(launcher.pid, Signal::STOP);
        loop {
            let children: Vec<Process> =
                processes().into_iter().filter(|one| one.parent == launcher.pid && !one.dead).collect();
            if children.is_empty() {
                break;
            }
            children.iter().for_each(|child| signal(child.pid, Signal::KILL));
            wait(begun, launcher.pid)?;
        }
        signal(launcher.pid, Signal::KILL);
        while processes().iter().any(|one| one.pid == launcher.pid && !one.dead && is_launcher(one.pid, mark)) {
            wait(begun, launcher.pid)?;
        }
        tracing::warn!(process = launcher.pid, "a run of the service before was still there, and was ended");
    }
    Ok(launchers.len())
}

fn wait(begun: Instant, launcher: i32) -> io::Result<()> {
    if begun.elapsed() > DEADLINE {
        let text = format!("a run of the service before does not end (its launcher is process {launcher})");
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

fn is_launcher(pid: i32, mark: &str) -> bool {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let mut words = line.split(|byte| *byte == 0).skip(1);
    words.next() == Some(LAUNCH.as_bytes()) && words.next() == Some(mark.as_bytes())
}

fn own() -> i32 {
    rustix::process::getpid().as_raw_nonzero().get()
}

fn signal(pid: i32, signal: Signal) {
    // An error means that it is gone, or another user's who copied the mark: both are looked at again.
    if let Some(pid) = Pid::from_raw(pid) {
        let _ = rustix::process::kill_process(pid, signal);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_of_one_directory_and_names_none() {
        let one = mark(Path::new("/srv/countersign/runs"));
        assert_eq!(one.len(), 32);
        assert_ne!(one, mark(Path::new("/srv/countersign/run")));
        assert!(!one.contains('/'));
    }

    #[test]
    fn only_marked_launchers_are_leftovers() {
        let mut other = std::process::Command::new("sleep").arg("30").spawn().expect("sleep");
        assert_eq!(end(&mark(Path::new("/nobody/s/runs"))).expect("nothing to end"), 0);
        assert!(other.try_wait().expect("a status").is_none(), "somebody else's process was ended");
        let _ = other.kill();
        let _ = other.wait();
    }
}
