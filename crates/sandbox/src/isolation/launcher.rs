//! The processes between the service and a step: the helper, and the first process of each run.
//!
//! The service starts its own binary once as the helper. The helper has one thread, and clones the first process of
//! each run into new namespaces. The first process (init) builds the root file system, starts the step and reaps its
//! children. Init exits when the step ends, when the service requests the end of the run, or when the service dies. The
//! kernel then kills all other processes of the run, and the helper reports the end of the run to the service.

mod namespaces;
pub(crate) mod watch;

use std::{
    io::Read as _,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::net::UnixStream,
    },
    path::Path,
    process::ExitCode,
    time::{Duration, Instant},
};

use rustix::{
    event::{self, PollFd, PollFlags, Timespec},
    io::Errno,
    process::{self, DumpableBehavior, Pid, PidfdFlags, Signal, WaitOptions},
    stdio,
};

use crate::{
    AtStage as _, Descriptors, HelperMessage, HostId, RunForm, RunRequest, RunTexts, SetupFailure,
    SetupResult, SetupStage, SizeLimit, SpentResources, Start, TERMINATE,
    isolation::{
        confine::{self, Confinement},
        filesystem::{self, host_view},
        launcher::{
            namespaces::{namespaces, refused},
            watch::{
                KILL_DEADLINE, end_family, file_limit, kill_everything_of, living_of, report_empty,
                watch,
            },
        },
        protocol::receive_start,
        run_hosts, seccomp,
        syscalls::{self, Cloned, loopback},
        system_paths::{self, INNER_ID},
    },
    protocol, report_end,
};
use documents::NetworkMode;

/// Maximum time to wait for a request of the service.
const REQUEST_DEADLINE: Duration = Duration::from_secs(10);
/// The inotify limits of one run. By default, the kernel allows 128 instances for one user.
const INOTIFY: [(&str, &str); 2] = [
    ("/proc/sys/user/max_inotify_instances", "16"),
    ("/proc/sys/user/max_inotify_watches", "16384"),
];

/// Runs the helper. The program's `main` calls this function before anything else if the first argument is
/// [`protocol::LAUNCH`]. The helper starts only if standard input is a socket that the parent process created.
pub fn main() -> ExitCode {
    let Some(service) = service() else {
        eprintln!(
            "countersign starts itself with this argument to run steps; it does nothing when started by hand"
        );
        return ExitCode::from(2);
    };
    match serve(&service) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("countersign: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn service() -> Option<OwnedFd> {
    // The service may have leaked descriptors, so close them before this process opens its own.
    syscalls::close_range(3, 0).ok()?;
    let socket = std::io::stdin().as_fd().try_clone_to_owned().ok()?;
    let peer = rustix::net::sockopt::socket_peercred(&socket).ok()?;
    let ours = peer.uid == process::getuid() && Some(peer.pid) == process::getppid();
    ours.then_some(socket)
}

/// A run that was started.
struct Begun {
    process: Pid,
    /// Socket on which the helper reports that all processes of the run are dead, or `None` if the first process
    /// reports this.
    control: Option<UnixStream>,
    /// The kernel closes this socket when the helper dies, so that the run notices this.
    _life: UnixStream,
}

/// First process that waits for the descriptors of its run. Dropping this value ends the process.
struct First {
    process: Pid,
    pidfd: OwnedFd,
    handover: UnixStream,
}

/// Starts runs and reports their ends, without waiting for a particular run. When the service closes its socket, this
/// function returns, the helper exits, and all runs end.
fn serve(service: &OwnedFd) -> SetupResult {
    confine::read_nothing()?;
    syscalls::reset_signals();
    // Clear the umask, because a run with its own id must be able to read its script. The step later gets a strict
    // umask.
    process::umask(rustix::fs::Mode::empty());
    // Begin a new session, so that Ctrl-C at the service's terminal does not reach the runs. The service ends the runs
    // itself.
    process::setsid().at(SetupStage::Processes, "begin a session")?;
    let _ = syscalls::join_new_session_keyring();
    process::set_dumpable_behavior(DumpableBehavior::NotDumpable).doing("become undumpable")?;
    if process::geteuid().is_root() {
        // An ordinary user, or root in a container with few capabilities, may not drop the supplementary groups. The
        // process then keeps them.
        let _ = rustix::thread::set_thread_groups(&[]);
    }
    // Each run needs two descriptors, and a thousand runs at one time are possible.
    confine::raise_descriptor_limit();
    // Blocked signals can be read from a descriptor.
    syscalls::mask_all_signals(libc::SIG_BLOCK).at(SetupStage::Processes, "block signals")?;
    let signals = syscalls::signal_descriptor().at(SetupStage::Processes, "wait for signals")?;
    // If the first process of a run without a pid namespace is killed, its children become children of the helper. The
    // next start of the service then finds them. Any argument except `None` makes this process a subreaper (prctl(2)).
    process::set_child_subreaper(Some(process::getpid()))
        .at(SetupStage::Processes, "adopt orphans")?;
    seccomp::prepare();
    let mut runs: Vec<Begun> = Vec::new();
    // Release the memory of the start-up code, because the helper does not need this code again.
    syscalls::forget_files();
    loop {
        let mut fds = [
            PollFd::new(service, PollFlags::IN),
            PollFd::new(&signals, PollFlags::IN),
        ];
        if event::poll(&mut fds, None).is_err() {
            continue;
        }
        let [asked, died] = [0, 1].map(|at: usize| !fds[at].revents().is_empty());
        if died {
            syscalls::drain(&signals);
            while let Some(dead) = syscalls::reap_any() {
                let Some(at) = runs.iter().position(|run| run.process == dead.process) else {
                    continue;
                };
                if let Some(mut control) = runs.swap_remove(at).control {
                    let spent = SpentResources {
                        cpu_us: dead.cpu_us,
                        resident_peak: dead.resident_peak,
                        init_signal: dead.signal,
                        left: 0,
                    };
                    let _ = protocol::write_message(&mut control, &HelperMessage::Empty(spent));
                }
            }
        }
        if asked {
            match receive_start(service) {
                Ok(Some((start, descriptors))) => runs.extend(begin(&start, descriptors)),
                // Ignore a packet that can't be parsed, although service and helper are the same binary. Its sockets
                // are closed, so the service notices the error.
                Err(error) if error.kind() == std::io::ErrorKind::InvalidData => {}
                Ok(None) | Err(_) => return Ok(()),
            }
        }
    }
}

/// Starts a run. An error is reported on the run's control socket.
fn begin(start: &Start, descriptors: Descriptors) -> Option<Begun> {
    let begun = try_begin(start, &descriptors);
    let mut control = UnixStream::from(descriptors.control);
    match begun {
        Ok(First {
            process, handover, ..
        }) => {
            let control = (start.form == RunForm::Namespaces).then_some(control);
            Some(Begun {
                process,
                control,
                _life: handover,
            })
        }
        Err(failure) => {
            let _ = protocol::write_message(&mut control, &HelperMessage::Failed(failure));
            None
        }
    }
}

fn try_begin(start: &Start, descriptors: &Descriptors) -> SetupResult<First> {
    let outputs = [descriptors.stdout.as_fd(), descriptors.stderr.as_fd()];
    if let Some(id) = start.host_id
        && start.form == RunForm::Namespaces
    {
        confine::give_away(outputs, id)?;
    }
    let first = clone_first(start, descriptors.cgroup.as_ref().map(AsFd::as_fd))?;
    first.hand_over(start, descriptors)?;
    Ok(first)
}

/// Clones a first process, which then waits for the descriptors of its run.
fn clone_first(start: &Start, cgroup: Option<BorrowedFd<'_>>) -> SetupResult<First> {
    let own_namespaces = start.form == RunForm::Namespaces;
    let (handover, theirs) =
        UnixStream::pair().at(SetupStage::Processes, "make a pair of sockets")?;
    let dumpable = |how| process::set_dumpable_behavior(how).doing("change dumpability");
    let maps_are_ours = !own_namespaces || process::geteuid().is_root();
    if !maps_are_ours {
        // Root owns the files in /proc of a process that is not dumpable, so an ordinary user could not write its
        // `uid_map` and `gid_map`.
        dumpable(DumpableBehavior::Dumpable)?;
    }
    let flags = if own_namespaces {
        namespaces(start.own_network)
    } else {
        0
    };
    let cloned = syscalls::clone_process(flags, cgroup);
    if matches!(cloned, Ok(Cloned::Child)) {
        // Close all inherited descriptors. The standard streams are the null device and may stay open.
        let Ok(handover) = syscalls::keep_only(theirs.as_fd()) else {
            syscalls::end(1)
        };
        first_process(start, &handover.into());
    }
    if !maps_are_ours {
        dumpable(DumpableBehavior::NotDumpable)?;
    }
    match cloned {
        Ok(Cloned::Parent { process, pidfd }) => Ok(First {
            process,
            pidfd,
            handover,
        }),
        Ok(Cloned::Child) => syscalls::end(1),
        Err(error) => Err(refused(start, cgroup.is_some(), error)),
    }
}

impl First {
    /// Writes the id maps of the process and sends the descriptors of its run.
    fn hand_over(&self, start: &Start, descriptors: &Descriptors) -> SetupResult {
        if start.form == RunForm::Namespaces {
            let HostId { uid, gid } = start.host_id.unwrap_or_else(|| HostId {
                uid: process::getuid().as_raw(),
                gid: process::getgid().as_raw(),
            });
            for (file, line) in [
                ("setgroups", "deny".to_owned()),
                ("uid_map", format!("{INNER_ID} {uid} 1")),
                ("gid_map", format!("{INNER_ID} {gid} 1")),
            ] {
                std::fs::write(format!("/proc/{}/{file}", self.process), line)
                    .at(SetupStage::Maps, format!("write the run's {file}"))?;
            }
        }
        let Descriptors {
            control,
            stdout,
            stderr,
            ..
        } = descriptors;
        protocol::send_descriptor(control, &HelperMessage::Cloned, self.pidfd.as_fd())
            .at(SetupStage::Processes, "hand on the run")?;
        let all = [stdout.as_fd(), stderr.as_fd(), control.as_fd()];
        protocol::hand_over(&self.handover, all).at(SetupStage::Processes, "let the run begin")
    }
}

/// Executes the first process of a run, from its start to its exit.
fn first_process(start: &Start, handover: &UnixStream) -> ! {
    // The helper writes the id maps at the same time.
    let ahead = get_ahead(start);
    // Without its descriptors the run can't start, and no socket exists for a report.
    let Ok(Some([stdout, stderr, control])) = protocol::take_over(handover) else {
        syscalls::end(0)
    };
    let mut control = UnixStream::from(control);
    let done = confine::write_to([stdout.as_fd(), stderr.as_fd()])
        .and(ahead)
        .and_then(|bounded| {
            drop((stdout, stderr));
            if start.form == RunForm::Namespaces {
                return init(&mut control, handover, start, bounded);
            }
            process::setsid().at(SetupStage::Processes, "begin a session")?;
            // A step without a system-call filter could use the keyring, so runs must not share one.
            let _ = syscalls::join_new_session_keyring();
            if start.form == RunForm::Sweep {
                follow_helper(handover)?;
                return sweep(&mut control, start);
            }
            on_the_host(&mut control, handover, start)
        });
    if let Err(failure) = done {
        let _ = protocol::write_message(&mut control, &HelperMessage::Failed(failure));
    }
    syscalls::end(0);
}

/// Performs the set-up steps that do not depend on the run. Returns true if the capability bounding set is empty.
fn get_ahead(start: &Start) -> SetupResult<bool> {
    // Under memory pressure, the kernel must kill the run before the service. Some hosts refuse this, so errors are
    // ignored.
    let _ = std::fs::write("/proc/self/oom_score_adj", "500");
    if start.form != RunForm::Namespaces {
        return Ok(false);
    }
    // Forbid nested user namespaces, because they give new capabilities to a process. The system-call filter forbids
    // them too, so a read-only /proc/sys is no problem.
    let _ = std::fs::write("/proc/sys/user/max_user_namespaces", "0");
    // The kernel also counts inotify watches per user of the host. Without a limit, a run with the user of the service
    // could use up all watches of this user.
    for (name, most) in INOTIFY {
        let _ = std::fs::write(name, most);
    }
    rustix::system::sethostname(system_paths::HOST_NAME.as_bytes())
        .at(SetupStage::Namespaces, "name the host")?;
    // Enable the loopback device, so that a server and a client in the same run can connect.
    if start.own_network {
        loopback::bring_up().at(SetupStage::NetworkNamespace, "turn the loopback device on")?;
    }
    confine::empty_bounding_set()
}

/// Makes the kernel kill this process when the helper dies. A change of the user id clears this setting, so call this
/// function after the last change of the id.
fn follow_helper(handover: &UnixStream) -> SetupResult {
    process::set_parent_process_death_signal(Some(Signal::KILL))
        .at(SetupStage::Processes, "follow the helper")?;
    // The helper may have died before the prctl call. Its end of the socket is then closed.
    let mut poll = [PollFd::new(handover, PollFlags::IN)];
    let gone = event::poll(&mut poll, Some(&Timespec::default()));
    if gone == Ok(0) {
        Ok(())
    } else {
        Err(SetupFailure::new(SetupStage::Processes, "the helper died"))
    }
}

fn read_request(control: &mut UnixStream, start: &Start) -> SetupResult<(RunRequest, RunTexts)> {
    control
        .set_read_timeout(Some(REQUEST_DEADLINE))
        .doing("set a deadline")?;
    let read = protocol::read_request(control).doing("read the request")?;
    control
        .set_read_timeout(None)
        .doing("take the deadline off")?;
    // The helper cloned this process for one kind of run. A request for another kind would have fewer layers than its
    // receipt states.
    let asked = &read.0;
    let same = match start.form {
        // The helper has already written the id into the maps of this process.
        RunForm::Namespaces => {
            start.own_network == (asked.profile.network.mode != NetworkMode::Host)
        }
        RunForm::Host | RunForm::Sweep => asked.own_id == start.host_id.map(|id| id.uid),
    };
    if asked.form != start.form || !same {
        return Err(SetupFailure::other(
            "the request does not match the process that was cloned for the run",
        ));
    }
    Ok(read)
}

fn sweep(control: &mut UnixStream, start: &Start) -> SetupResult {
    let begun = Instant::now();
    // The processes of the run are not children of this process, so this process can only poll for their end.
    let mut left = 0;
    if let Some(HostId { uid: id, .. }) = start.host_id {
        loop {
            kill_everything_of(id);
            left = living_of(id);
            if left == 0 || begun.elapsed() >= KILL_DEADLINE {
                break;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
    report_empty(control, left);
    Ok(())
}

/// Runs the first process of the run's pid namespace. Init builds the root, drops its privileges, starts the step, and
/// reaps children until the step ends.
fn init(
    control: &mut UnixStream,
    handover: &UnixStream,
    start: &Start,
    bounded: bool,
) -> SetupResult {
    // At this point, the helper has written the id maps.
    confine::become_id(INNER_ID)?;
    follow_helper(handover)?;
    process::set_dumpable_behavior(DumpableBehavior::NotDumpable).doing("become undumpable")?;
    let (request, texts) = read_request(control, start)?;
    run_hosts::listen(&request.profile.network.hosts, control)?;
    let mut view = filesystem::own_root(&request, &texts, control)?;
    let new_files = std::mem::take(&mut view.new_files);
    view.places.send(control, new_files)?;
    confine::drop_privileges(None)?;
    // The filter applies to this process and all its children.
    let held = Confinement {
        bounded,
        seccomp: request.filter.map(seccomp::confine).transpose()?,
    };
    let signals = syscalls::signal_descriptor().at(SetupStage::Processes, "wait for signals")?;
    let (step, facts) = confine::start(&request, &view, &texts, &held, control)?;
    // Only the step may write to the run's output.
    confine::write_to([stdio::stdin(); 2])?;
    protocol::write_message(control, &HelperMessage::Started(facts))
        .at(SetupStage::Processes, "report the start")?;
    loop {
        while let Ok(Some((pid, status))) = process::wait(WaitOptions::NOHANG) {
            if pid == step {
                let disk = || host_view::disk_is_full().then_some(SizeLimit::Disk);
                report_end(
                    control,
                    status,
                    file_limit(&request, &view, status).or_else(disk),
                );
                return Ok(());
            }
        }
        let mut fds = [
            PollFd::new(&signals, PollFlags::IN),
            PollFd::new(control, PollFlags::IN),
        ];
        match event::poll(&mut fds, None) {
            Ok(_) => {}
            Err(Errno::INTR) => continue,
            // After an error of poll, the loop would no longer block and could not receive commands, so end the run.
            Err(_) => return Ok(()),
        }
        let (signalled, spoke) = (!fds[0].revents().is_empty(), !fds[1].revents().is_empty());
        if signalled {
            syscalls::drain(&signals);
        }
        if spoke {
            let mut command = [0];
            match control.read(&mut command) {
                Ok(1) if command[0] == TERMINATE => syscalls::signal_all(Signal::TERM),
                // The socket is closed because the service has exited. End the run.
                _ => return Ok(()),
            }
        }
    }
}

/// Runs the first process of a run without a pid namespace. This process is the subreaper of the run, so it becomes the
/// parent of all orphans of the run, and the run has ended when this process has no children. This process must survive
/// the helper's death, because its children would otherwise continue to run, so it does not call `follow_helper`. When
/// the helper dies, this process ends the run and exits.
fn on_the_host(control: &mut UnixStream, helper: &UnixStream, start: &Start) -> SetupResult {
    let (request, texts) = read_request(control, start)?;
    let request = &request;
    let run_dir = request.run_dir.as_deref().map(Path::new);
    let run_dir = run_dir.ok_or_else(|| SetupFailure::other("no directory for the run"))?;
    process::set_dumpable_behavior(DumpableBehavior::NotDumpable).doing("become undumpable")?;
    // Any argument except `None` makes this process a subreaper.
    process::set_child_subreaper(Some(process::getpid()))
        .at(SetupStage::Processes, "adopt orphans")?;
    let mut view = host_view::host_view(request, run_dir, &texts, control)?;
    let new_files = std::mem::take(&mut view.new_files);
    view.places.send(control, new_files)?;
    let held = Confinement {
        bounded: false,
        seccomp: None,
    };
    let (step, facts) = confine::start(request, &view, &texts, &held, control)?;
    let watched = (|| {
        // The step's process shared this memory and changed its user id. The change may have made this process
        // dumpable.
        process::set_dumpable_behavior(DumpableBehavior::NotDumpable).doing("stay undumpable")?;
        confine::write_to([stdio::stdin(); 2])?;
        let pidfd = process::pidfd_open(step, PidfdFlags::empty())
            .at(SetupStage::Processes, "watch the step")?;
        protocol::write_message(control, &HelperMessage::Started(facts))
            .at(SetupStage::Processes, "report the start")?;
        Ok::<_, SetupFailure>(pidfd)
    })();
    // The step already runs. After an error above, end the run, but send no `Failed`, because `Failed` means that the
    // step was not executed.
    let ended = if let Ok(pidfd) = &watched {
        watch(control, helper, pidfd, step, |command| {
            let signal = if command == TERMINATE {
                Signal::TERM
            } else {
                Signal::KILL
            };
            let _ = process::pidfd_send_signal(pidfd, signal);
            if command == TERMINATE {
                // The step is the leader of its session and process group.
                let _ = process::kill_process_group(step, signal);
            }
        })
    } else {
        None
    };
    if let Some(status) = ended {
        report_end(control, status, file_limit(request, &view, status));
    }
    let left = end_family(step, request.own_id, control);
    report_empty(control, left);
    Ok(())
}
