//! Ends runs of an earlier service before their receipts are written (rule R6).
//!
//! A helper ends its runs when its service dies, unless the helper is stopped or frozen. This module finds such helpers
//! by a text in their command line, and kills them with their children.

use std::{
    io,
    path::Path,
    time::{Duration, Instant},
};

use rustix::{
    io::Errno,
    process::{Pid, Signal},
};

use crate::LAUNCH;
use documents::{hex, sha256};

/// Maximum time to wait for the end of leftover processes. The kernel can't kill a process that is stuck in a system
/// call.
const DEADLINE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(2);

/// Returns the text that marks the command line of all helpers of a service with the directory `scratch`. Every process
/// can read this text, so it contains a hash of the path.
pub fn mark(scratch: &Path) -> String {
    hex(&sha256(scratch.as_os_str().as_encoded_bytes()))[..32].to_owned()
}

/// Ends all runs of an earlier service, whose helpers have the text `mark` in their command line. Returns the number of
/// these helpers.
///
/// # Errors
/// Fails if a process does not end. The service must then not report the runs as ended.
pub fn end(mark: &str) -> io::Result<usize> {
    let (begun, service) = (
        Instant::now(),
        rustix::process::getpid().as_raw_nonzero().get(),
    );
    let all = processes();
    let helpers: Vec<&Process> = all
        .iter()
        // The first process of a run has the same command line as its helper, and is killed later as the helper's
        // child.
        .filter(|one| {
            is_helper(one.pid, mark) && one.parent != service && !is_helper(one.parent, mark)
        })
        .collect();
    let mut ended = 0;
    for helper in &helpers {
        // A stopped helper starts no processes, gets the orphans of its runs as children, and does not reap, so the
        // process ids of its children are not reused. If SIGSTOP returns EPERM, the process belongs to another user who
        // copied the text, so skip it.
        if signal(helper.pid, Signal::STOP) == Err(Errno::PERM) {
            continue;
        }
        ended += 1;
        loop {
            let children: Vec<Process> = processes()
                .into_iter()
                .filter(|one| one.parent == helper.pid && !one.dead)
                .collect();
            if children.is_empty() {
                break;
            }
            for child in &children {
                let _ = signal(child.pid, Signal::KILL);
            }
            wait(begun, helper.pid)?;
        }
        let _ = signal(helper.pid, Signal::KILL);
        while processes()
            .iter()
            .any(|one| one.pid == helper.pid && !one.dead && is_helper(one.pid, mark))
        {
            wait(begun, helper.pid)?;
        }
        tracing::warn!(
            process = helper.pid,
            "a run of an earlier service was still alive, and was killed"
        );
    }
    Ok(ended)
}

fn wait(begun: Instant, helper: i32) -> io::Result<()> {
    if begun.elapsed() > DEADLINE {
        let text =
            format!("a run of an earlier service does not end (its helper is process {helper})");
        return Err(io::Error::new(io::ErrorKind::TimedOut, text));
    }
    std::thread::sleep(PAUSE);
    Ok(())
}

pub struct Process {
    pub pid: i32,
    pub parent: i32,
    dead: bool,
}

pub fn processes() -> Vec<Process> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            // A process may set its name in the parentheses to any bytes, so parse the fields after the last
            // parenthesis (proc_pid_stat(5)).
            let line = std::fs::read(entry.path().join("stat")).ok()?;
            let line = String::from_utf8_lossy(&line);
            let mut fields = line.rsplit_once(')')?.1.split_ascii_whitespace();
            let dead = matches!(fields.next()?, "Z" | "X");
            Some(Process {
                pid,
                parent: fields.next()?.parse().ok()?,
                dead,
            })
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
    fn the_process_mark_differs_for_each_directory_and_contains_no_path() {
        let one = mark(Path::new("/srv/countersign/runs"));
        assert_eq!(one.len(), 32);
        assert_ne!(one, mark(Path::new("/srv/countersign/run")));
        assert!(!one.contains('/'));
    }

    #[test]
    fn a_process_whose_name_is_no_text_is_listed() {
        let script = "printf '\\377)' > /proc/$$/comm; echo named; read line";
        let mut child = std::process::Command::new("/bin/sh")
            .args(["-c", script])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .expect("sh");
        let named = &mut [0; 6];
        let mut output = child.stdout.take().expect("a pipe");
        std::io::Read::read_exact(&mut output, named).expect("it says so");
        let pid = i32::try_from(child.id()).expect("a pid");
        let parent = i32::try_from(std::process::id()).expect("a pid");
        let listed = processes();
        let _ = child.kill();
        let _ = child.wait();
        let found = listed.iter().find(|one| one.pid == pid);
        assert_eq!(found.map(|one| one.parent), Some(parent));
    }

    #[test]
    fn only_processes_with_the_mark_of_the_boundary_are_killed() {
        let mut other = std::process::Command::new("sleep")
            .arg("30")
            .spawn()
            .expect("sleep");
        assert_eq!(
            end(&mark(Path::new("/nobody/s/runs"))).expect("nothing to end"),
            0
        );
        assert!(
            other.try_wait().expect("a status").is_none(),
            "somebody else's process was ended"
        );
        let _ = other.kill();
        let _ = other.wait();
    }
}
