//! The process between the service and a step.
//!
//! The service starts its own binary once per run; this is what that process does. It has one thread, becomes an
//! id of its own, makes the namespaces and stays as the one who watches: if the service dies, asks for it, or the
//! step ends, everything of the run is ended, and only when nothing is left does it say so.

use std::io::Read as _;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{DumpableBehavior, Pid, PidfdFlags, Signal, WaitOptions};

use crate::sandbox::confine;
use crate::sandbox::filesystem::{self, INNER_ID};
use crate::sandbox::protocol::{self, At, Failure, Form, KILL, Message, Request, Spent, Stage, StepEnd, TERMINATE};
use crate::sandbox::seccomp;
use crate::sandbox::syscalls::{self, Side};

/// How long a request may take to arrive.
const REQUEST_DEADLINE: Duration = Duration::from_secs(10);
/// How long a run may take to die: a process stuck in the kernel can't be waited for.
const KILL_DEADLINE: Duration = Duration::from_secs(30);
/// How often orphans of a run on the host's root are reaped.
const REAP_EVERY: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// What `main` does before anything else when its first argument is [`protocol::LAUNCH`]. Does nothing unless
/// its standard input is one end of a socket pair that its own parent made.
#[must_use]
pub fn main() -> ExitCode {
    let Some(mut control) = control() else {
        eprintln!("this is how countersign starts itself to run a step; it does nothing when started by hand");
        return ExitCode::from(2);
    };
    match launch(&mut control) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let _ = protocol::write_message(&mut control, &Message::Failed(failure));
            ExitCode::FAILURE
        }
    }
}

fn control() -> Option<UnixStream> {
    // Before anything of ours is open: whatever the service leaked ends here.
    syscalls::close_from(3).ok()?;
    let socket = std::io::stdin().as_fd().try_clone_to_owned().ok()?;
    let peer = rustix::net::sockopt::socket_peercred(&socket).ok()?;
    let ours = peer.uid == rustix::process::getuid() && Some(peer.pid) == rustix::process::getppid();
    ours.then(|| UnixStream::from(socket))
}

fn launch(control: &mut UnixStream) -> Result<(), Failure> {
    confine::silence(false)?;
    control.set_read_timeout(Some(REQUEST_DEADLINE)).at(Stage::Request, "set a deadline")?;
    let (request, source, params) = protocol::read_request(control).at(Stage::Request, "read the request")?;
    // The service keeps what it makes to itself; here modes are as they are written, since a run with an id of its own
    // has to read its script. The step gets the strict one again.
    rustix::process::umask(rustix::fs::Mode::empty());
    // Ctrl-C at the service's terminal is the service's; the run ends by its word.
    rustix::process::setsid().at(Stage::Processes, "begin a session")?;
    // Under memory pressure the run goes first, not the service. Refused by some hosts; then nothing is lost.
    let _ = std::fs::write("/proc/self/oom_score_adj", "500");
    let _ = syscalls::join_new_session_keyring();
    match request.form {
        Form::Namespaces => in_namespaces(control, &request, &source, &params),
        Form::Host => on_the_host(control, &request, &source, &params),
        Form::Sweep => {
            let begun = Instant::now();
            // They are nobody's children here, so their end can't be waited for, only looked for.
            let mut left = 0;
            if let Some(id) = request.own_id {
                kill_everything_of(id);
                left = living_of(id);
                while left > 0 && begun.elapsed() < KILL_DEADLINE {
                    std::thread::sleep(Duration::from_millis(2));
                    kill_everything_of(id);
                    left = living_of(id);
                }
            }
            report_empty(control, None, left);
            Ok(())
        }
    }
}

fn in_namespaces(control: &mut UnixStream, request: &Request, source: &[u8], params: &[u8]) -> Result<(), Failure> {
    if let Some(id) = request.own_id {
        confine::give_output_away(id)?;
        confine::take_id(id)?;
    }
    let (uid, gid) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    // /proc/self belongs to root while a process is not dumpable, as after a change of id; the maps are there.
    rustix::process::set_dumpable_behavior(DumpableBehavior::Dumpable).at(Stage::Identity, "become dumpable")?;
    unshare()?;
    for (file, line) in [
        ("setgroups", "deny".to_owned()),
        ("uid_map", format!("{INNER_ID} {uid} 1")),
        ("gid_map", format!("{INNER_ID} {gid} 1")),
    ] {
        std::fs::write(format!("/proc/self/{file}"), line)
            .at(Stage::UserNamespace, format!("write /proc/self/{file}"))?;
    }
    // No user namespace below the run's, so no way back to capabilities that the kernel would have to hold. Until
    // a system-call filter refuses it as well this is hygiene: a host whose /proc/sys is read-only goes without.
    let _ = std::fs::write("/proc/sys/user/max_user_namespaces", "0");
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).at(Stage::Identity, "become undumpable")?;
    rustix::system::sethostname(b"countersign").at(Stage::Namespaces, "name the host")?;
    // The other end stays open as long as this process lives.
    let (alive, life) = std::io::pipe().at(Stage::Processes, "make a pipe")?;
    let first = match syscalls::fork().at(Stage::Processes, "fork the first process")? {
        Side::Parent(first) => first,
        Side::Child => {
            drop(life);
            if let Err(failure) = init(control, alive.into(), request, source, params) {
                let _ = protocol::write_message(control, &Message::Failed(failure));
            }
            std::process::exit(0);
        }
    };
    drop(alive);
    confine::silence(true)?;
    let pidfd = rustix::process::pidfd_open(first, PidfdFlags::empty()).at(Stage::Processes, "watch the run")?;
    watch(control, &pidfd, None, |command| {
        let signal = if command == TERMINATE { Signal::TERM } else { Signal::KILL };
        let _ = rustix::process::pidfd_send_signal(&pidfd, signal);
    });
    // The first process of a pid namespace is reaped only after the kernel ended every other one in it.
    let status = rustix::process::waitpid(Some(first), WaitOptions::empty()).at(Stage::Processes, "wait")?;
    let init_signal = status.and_then(|(_, status)| status.terminating_signal());
    report_empty(control, init_signal, 0);
    drop(life);
    Ok(())
}

/// All namespaces at once; when that fails, one by one, to name the one that this host refuses.
fn unshare() -> Result<(), Failure> {
    let all = libc::CLONE_NEWUSER
        | libc::CLONE_NEWNS
        | libc::CLONE_NEWPID
        | libc::CLONE_NEWNET
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWUTS
        | libc::CLONE_NEWCGROUP;
    let Err(error) = syscalls::unshare(all) else { return Ok(()) };
    for (flag, stage, name) in [
        (libc::CLONE_NEWUSER, Stage::UserNamespace, "user"),
        (libc::CLONE_NEWNS, Stage::Namespaces, "mount"),
        (libc::CLONE_NEWPID, Stage::Namespaces, "pid"),
        (libc::CLONE_NEWIPC, Stage::Namespaces, "ipc"),
        (libc::CLONE_NEWUTS, Stage::Namespaces, "uts"),
        (libc::CLONE_NEWCGROUP, Stage::Namespaces, "cgroup"),
        (libc::CLONE_NEWNET, Stage::NetworkNamespace, "network"),
    ] {
        syscalls::unshare(flag).at(stage, format!("make a {name} namespace"))?;
    }
    Err(error).at(Stage::Namespaces, "make all namespaces at once")
}

/// The first process of the run's pid namespace: makes the root, drops everything, starts the step, reaps until
/// the step ends. When it exits the kernel kills what is left.
fn init(
    control: &mut UnixStream,
    alive: OwnedFd,
    request: &Request,
    source: &[u8],
    params: &[u8],
) -> Result<(), Failure> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).at(Stage::Processes, "follow the launcher")?;
    // If the launcher died before that call, its end of the pipe is closed.
    let mut poll = [PollFd::new(&alive, PollFlags::IN)];
    let gone = rustix::event::poll(&mut poll, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }));
    if gone != Ok(0) {
        return Err(Failure::new(Stage::Processes, "the launcher died"));
    }
    syscalls::block_signals().at(Stage::Processes, "block signals")?;
    // A server and a client inside one run find each other.
    syscalls::bring_loopback_up().at(Stage::NetworkNamespace, "turn the loopback device on")?;
    let view = filesystem::own_root(request, source, params)?;
    confine::drop_privileges(None)?;
    // This process is held as well: what it starts later can't be less.
    let filter = request.filter.map(seccomp::confine).transpose()?;
    let (step, facts) = confine::start(request, &view, source, filter)?;
    confine::silence(true)?;
    protocol::write_message(control, &Message::Started(facts)).at(Stage::Processes, "report the start")?;
    loop {
        while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
            if pid == step {
                report_end(control, status);
                return Ok(());
            }
        }
        let Ok(arrived) = syscalls::next_signal() else { continue };
        // From inside of the namespace the step could only ask for its own end.
        if arrived.signal == Signal::TERM.as_raw() && arrived.sender == 0 && rustix::process::getpid().is_init() {
            syscalls::signal_all(Signal::TERM);
        }
    }
}

/// Without a pid namespace this process is the one to whom orphans go: nothing can leave its family, however it
/// forks, so the run is over when it has no child any more.
fn on_the_host(control: &mut UnixStream, request: &Request, source: &[u8], params: &[u8]) -> Result<(), Failure> {
    let run_dir = request.run_dir.as_deref().map(Path::new);
    let run_dir = run_dir.ok_or_else(|| Failure::new(Stage::Request, "no directory for the run"))?;
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).at(Stage::Identity, "become undumpable")?;
    // Any value but none turns it on.
    rustix::process::set_child_subreaper(Some(rustix::process::getpid())).at(Stage::Processes, "adopt orphans")?;
    let view = filesystem::host_view(request, run_dir, source, params)?;
    let (step, facts) = confine::start(request, &view, source, None)?;
    confine::silence(true)?;
    let pidfd = rustix::process::pidfd_open(step, PidfdFlags::empty()).at(Stage::Processes, "watch the step")?;
    let started = protocol::write_message(control, &Message::Started(facts));
    let mut ended = None;
    if started.is_ok() {
        watch(control, &pidfd, Some((step, &mut ended)), |command| {
            let signal = if command == TERMINATE { Signal::TERM } else { Signal::KILL };
            let _ = rustix::process::pidfd_send_signal(&pidfd, signal);
            if command == TERMINATE {
                // The step is the leader of its session and group.
                let _ = rustix::process::kill_process_group(step, signal);
            }
        });
    }
    if let Some(status) = ended {
        report_end(control, status);
    }
    let left = end_family(step, request.own_id, control);
    // A tree that the step made hostile (very deep, say) at worst ends this process; the service sweeps later.
    let _ = std::env::set_current_dir("/");
    report_empty(control, None, left);
    let _ = std::fs::remove_dir_all(run_dir);
    Ok(())
}

/// Kills and reaps until no child is left. Answers how many could not be ended.
fn end_family(step: Pid, own_id: Option<u32>, control: &mut UnixStream) -> u64 {
    let begun = Instant::now();
    loop {
        if let Some(id) = own_id {
            kill_everything_of(id);
        }
        let children = children();
        for child in &children {
            // A child that was not waited for can't have given its id to a stranger.
            let _ = rustix::process::kill_process(*child, Signal::KILL);
        }
        loop {
            match rustix::process::wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) if pid == step => report_end(control, status),
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(_) => return 0,
            }
        }
        if begun.elapsed() > KILL_DEADLINE {
            return children.len() as u64;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Kills all processes of an id in one call, which nothing that forks can outrun. The id is the run's own.
fn kill_everything_of(id: u32) {
    match syscalls::fork() {
        Ok(Side::Child) => {
            let taken = confine::take_id(id).is_ok() && rustix::process::getuid().as_raw() == id && id != 0;
            if taken {
                syscalls::signal_all(Signal::KILL);
            }
            std::process::exit(0);
        }
        Ok(Side::Parent(killer)) => {
            let _ = rustix::process::waitpid(Some(killer), WaitOptions::empty());
        }
        Err(_) => {}
    }
}

/// How many processes of an id are not dead yet. Dead ones whose parent does not wait for them don't count.
fn living_of(id: u32) -> u64 {
    let uid = format!("\nUid:\t{id}\t");
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let statuses = entries.filter_map(|entry| std::fs::read_to_string(entry.path().join("status")).ok());
    statuses.filter(|status| status.contains(&uid) && !status.contains("\nState:\tZ")).count() as u64
}

fn children() -> Vec<Pid> {
    let me = rustix::process::getpid().as_raw_pid().to_string();
    let parent_is_me = |stat: &str| {
        // "pid (name) state ppid …", where the name may hold anything.
        stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1)).is_some_and(|parent| parent == me)
    };
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok().and_then(Pid::from_raw))
        .filter(|pid| std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| parent_is_me(&stat)))
        .collect()
}

/// Passes commands on until the watched process ended or the service is gone; then everything is killed. With
/// `reap`, waits for the family meanwhile and notes the step's status.
fn watch(
    control: &mut UnixStream,
    pidfd: &OwnedFd,
    mut reap: Option<(Pid, &mut Option<rustix::process::WaitStatus>)>,
    mut obey: impl FnMut(u8),
) {
    loop {
        if let Some((step, ended)) = &mut reap {
            while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
                if pid == *step {
                    **ended = Some(status);
                    return;
                }
            }
        }
        let mut fds = [PollFd::new(pidfd, PollFlags::IN), PollFd::new(control, PollFlags::IN)];
        let timeout = reap.is_some().then_some(&REAP_EVERY);
        if rustix::event::poll(&mut fds, timeout).is_err() {
            continue;
        }
        let (ended, spoke) = (!fds[0].revents().is_empty(), !fds[1].revents().is_empty());
        if ended {
            if reap.is_some() {
                continue;
            }
            return;
        }
        if spoke {
            let mut command = [0];
            // The end of the socket is the end of the service, and nothing outlives it.
            let command = match control.read(&mut command) {
                Ok(1) => command[0],
                _ => KILL,
            };
            obey(command);
            if command != TERMINATE {
                return;
            }
        }
    }
}

fn report_end(control: &mut UnixStream, status: rustix::process::WaitStatus) {
    let end = match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => StepEnd::Exited(code),
        (None, Some(signal)) => StepEnd::Signalled(signal),
        (None, None) => return,
    };
    let _ = protocol::write_message(control, &Message::Ended(end));
}

fn report_empty(control: &mut UnixStream, init_signal: Option<i32>, left: u64) {
    let (cpu_us, resident_peak) = syscalls::usage_of_children().unwrap_or_default();
    let _ = protocol::write_message(control, &Message::Empty(Spent { cpu_us, resident_peak, init_signal, left }));
}
