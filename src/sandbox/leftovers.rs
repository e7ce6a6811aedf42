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
    end_but(mark, own())
}

/// The same, but for the children of `service`.
fn end_but(mark: &str, service: i32) -> io::Result<usize> {
    let begun = Instant::now();
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

fn own() -> i32 {
    rustix::process::getpid().as_raw_nonzero().get()
}

fn signal(pid: i32, signal: Signal) -> Result<(), Errno> {
    rustix::process::kill_process(Pid::from_raw(pid).ok_or(Errno::SRCH)?, signal)
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
    fn only_marked_helpers_are_leftovers() {
        let mut other = std::process::Command::new("sleep").arg("30").spawn().expect("sleep");
        assert_eq!(end(&mark(Path::new("/nobody/s/runs"))).expect("nothing to end"), 0);
        assert!(other.try_wait().expect("a status").is_none(), "somebody else's process was ended");
        let _ = other.kill();
        let _ = other.wait();
    }

    /// The mark is no secret: every run can read it in the command line of its first process.
    #[test]
    fn another_users_process_with_the_mark_does_not_hold_a_start_up() {
        use std::os::unix::process::CommandExt as _;
        if !rustix::process::geteuid().is_root() {
            // Nobody else's process can be started; an ordinary user is what this is about.
            return;
        }
        let place = tempfile::tempdir().expect("a directory");
        let mark = mark(&place.path().join("runs"));
        let open = <std::fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o755);
        std::fs::set_permissions(place.path(), open).expect("mode");
        std::fs::write(place.path().join(LAUNCH), "for _ in $(seq 300); do sleep 0.1; done").expect("a script");
        let imitate = |user: u32| {
            let mut command = std::process::Command::new("sh");
            command.arg(LAUNCH).arg(&mark).current_dir(place.path()).uid(user).gid(user);
            let null = std::process::Stdio::null;
            command.stdin(null()).stdout(null()).stderr(null()).spawn().expect("sh")
        };
        let (mut theirs, mut ours) = (imitate(61_001), imitate(61_002));
        let pids = [&theirs, &ours].map(|child| i32::try_from(child.id()).expect("a pid"));
        while !pids.iter().all(|pid| is_helper(*pid, &mark)) {
            std::thread::sleep(PAUSE);
        }
        // Both are children of this process, which a start would leave alone.
        let counted = std::thread::scope(|scope| {
            let asking = scope.spawn(|| {
                let (uid, gid) = (rustix::process::Uid::from_raw(61_002), rustix::process::Gid::from_raw(61_002));
                rustix::thread::set_thread_res_gid(gid, gid, gid).expect("becomes an ordinary user");
                rustix::thread::set_thread_res_uid(uid, uid, uid).expect("becomes an ordinary user");
                let begun = Instant::now();
                let found = end_but(&mark, 0).expect("does not wait for another user's process");
                (found, begun.elapsed() < DEADLINE / 2)
            });
            asking.join().expect("no panic")
        });
        assert_eq!(counted, (1, true));
        assert!(theirs.try_wait().expect("a status").is_none(), "another user's process was ended");
        assert!(!ours.wait().expect("dead").success(), "its own is ended as ever");
        let _ = theirs.kill();
        let _ = theirs.wait();
    }
}
