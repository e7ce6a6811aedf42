//! The processes between the service and a step: helper and init.
//!
//! The service starts its own binary once; this is what that process, the helper, does. It is small, has one thread, and
//! clones the first process of each run into its namespaces. That one (init) makes the root, starts the step and stays as
//! the one who reaps: if the service dies, asks for it, or the step ends, it ends, and the kernel ends everything with
//! it. The helper says so to the service only then.
//!
//! Namespaces take a while to be made, the network's above all. So with root's rights the helper keeps one first process
//! that nobody has asked for yet, with namespaces and nothing else: it has no run's descriptor, and no id. A run takes it, and
//! nobody takes it again.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::process::{DumpableBehavior, Pid, PidfdFlags, Resource, Rlimit, Signal, WaitOptions};

use crate::record::profile::NetworkMode;
use crate::sandbox::confine::{self, Confinement};
use crate::sandbox::filesystem::{self, INNER_ID};
use crate::sandbox::protocol::{
    self, AtStage, HelperMessage, HostId, KILL, RunForm, RunRequest, SetupFailure, SetupStage, SpentResources, Start,
    StepEnd, TERMINATE,
};
use crate::sandbox::seccomp;
use crate::sandbox::syscalls::{self, Cloned, ForkSide};

/// How long a request may take to arrive.
const REQUEST_DEADLINE: Duration = Duration::from_secs(10);
/// How long a run may take to die: a process stuck in the kernel can't be waited for.
const KILL_DEADLINE: Duration = Duration::from_secs(30);
/// How often orphans of a run on the host's root are reaped.
const REAP_EVERY: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// What one run may have of inotify: by default a user has 128 instances.
const INOTIFY: [(&str, &str); 2] =
    [("/proc/sys/user/max_inotify_instances", "16"), ("/proc/sys/user/max_inotify_watches", "16384")];

/// What `main` does before anything else when its first argument is [`protocol::LAUNCH`]. Does nothing unless
/// its standard input is one end of a socket pair that its own parent made.
#[must_use]
pub fn main() -> ExitCode {
    let Some(service) = service() else {
        eprintln!("this is how countersign starts itself to run steps; it does nothing when started by hand");
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
    // Before anything of ours is open: whatever the service leaked ends here.
    syscalls::close_from(3).ok()?;
    let socket = std::io::stdin().as_fd().try_clone_to_owned().ok()?;
    let peer = rustix::net::sockopt::socket_peercred(&socket).ok()?;
    let ours = peer.uid == rustix::process::getuid() && Some(peer.pid) == rustix::process::getppid();
    ours.then_some(socket)
}

/// A run that was begun.
struct Begun {
    process: Pid,
    /// To say on that its tree is dead; none where its process says that itself.
    control: Option<UnixStream>,
    /// Closed with this process, so that a run knows that nobody waits for it any more.
    _life: UnixStream,
}

/// A first process that waits to be given what is its run's. When this is dropped it ends.
struct First {
    process: Pid,
    pidfd: OwnedFd,
    handover: UnixStream,
}

/// One that waits without a run, and how the host's mounts were when it was cloned.
///
/// Not every run gets one. A run with a control group is born in that, which is made for it alone and with its limits, and nothing
/// is ever moved into a group. An ordinary user's would have to wait as a process that others of this user may look into. Both
/// clone when they are asked, which costs little more.
struct Spare {
    first: First,
    mounts: File,
}

impl Spare {
    fn new() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            // It would be dumpable (see `clone_first`).
            return None;
        }
        // Opened before it is cloned: every mount from now on is seen.
        let mounts = File::open("/proc/self/mountinfo").ok()?;
        let start = Start { form: RunForm::Namespaces, host_id: None, own_network: true };
        Some(Self { first: clone_first(&start, None).ok()?, mounts })
    }

    /// Whether such a one does for a run: it has all namespaces, and was born in the helper's control group.
    fn fits(start: &Start, grouped: bool) -> bool {
        start.form == RunForm::Namespaces && start.own_network && !grouped
    }

    /// The process, if nothing was mounted since, nor taken away: it may not have the one, and keeps the other in use. A
    /// change is told once (proc_pid_mounts(5): as an exceptional event), so whoever hears of one drops the spare.
    fn fresh(self) -> Option<First> {
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        let changed = rustix::event::poll(&mut [PollFd::new(&self.mounts, PollFlags::PRI)], Some(&now));
        (changed == Ok(0)).then_some(self.first)
    }
}

/// Begins runs and waits for their ends. Never waits for one of them alone: many go on beside each other. The end of
/// the service's socket is the end of the service: this process ends, and with it every run.
fn serve(service: &OwnedFd) -> Result<(), SetupFailure> {
    confine::read_nothing()?;
    syscalls::reset_signals();
    // The service keeps what it makes to itself; here modes are as they are written, since a run with an id of its own
    // has to read its script. The step gets the strict one again.
    rustix::process::umask(rustix::fs::Mode::empty());
    // Ctrl-C at the service's terminal is the service's; runs end by its word.
    rustix::process::setsid().at(SetupStage::Processes, "begin a session")?;
    let _ = syscalls::join_new_session_keyring();
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .at(SetupStage::Identity, "become undumpable")?;
    if rustix::process::geteuid().is_root() {
        // An ordinary user may not. In a container with few rights this may fail too; then the groups stay.
        let _ = rustix::thread::set_thread_groups(&[]);
    }
    // Two descriptors a run, and a thousand runs are not too many.
    let files = rustix::process::getrlimit(Resource::Nofile);
    let _ = rustix::process::setrlimit(Resource::Nofile, Rlimit { current: files.maximum, ..files });
    syscalls::block_signals().at(SetupStage::Processes, "block signals")?;
    let signals = syscalls::signal_descriptor().at(SetupStage::Processes, "wait for signals")?;
    // Whatever a run without a pid namespace leaves when its first process is killed comes here, where the next start of the
    // service finds it. Any value but none turns it on.
    rustix::process::set_child_subreaper(Some(rustix::process::getpid())).at(SetupStage::Processes, "adopt orphans")?;
    seccomp::prepare();
    let mut runs: Vec<Begun> = Vec::new();
    let mut spare: Option<Spare> = None;
    // What began it is not needed again.
    syscalls::forget_files();
    loop {
        let mut fds = vec![PollFd::new(service, PollFlags::IN), PollFd::new(&signals, PollFlags::IN)];
        fds.extend(spare.as_ref().map(|spare| PollFd::new(&spare.mounts, PollFlags::PRI)));
        if rustix::event::poll(&mut fds, None).is_err() {
            spare = None;
            continue;
        }
        let happened = |at: usize| fds.get(at).is_some_and(|fd| !fd.revents().is_empty());
        let (asked, died, mounted) = (happened(0), happened(1), happened(2));
        if mounted {
            spare = None;
        }
        if died {
            syscalls::drain(&signals);
            while let Some(dead) = syscalls::reap_any() {
                if spare.as_ref().is_some_and(|spare| spare.first.process == dead.process) {
                    spare = None;
                }
                let Some(at) = runs.iter().position(|run| run.process == dead.process) else { continue };
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
            match protocol::receive_start(service) {
                Ok(Some((start, descriptors))) => {
                    let fits = Spare::fits(&start, descriptors.cgroup.is_some());
                    let first = if fits { spare.take().and_then(Spare::fresh) } else { None };
                    runs.extend(begin(&start, descriptors, first));
                    // The next run is probably one like this.
                    if fits && spare.is_none() {
                        spare = Spare::new();
                    }
                }
                // Unreadable: from the same binary, so something is very wrong. What was asked sees its sockets close.
                Err(error) if error.kind() == std::io::ErrorKind::InvalidData => {}
                Ok(None) | Err(_) => return Ok(()),
            }
        }
    }
}

/// Gives a run its first process, `ready` if that takes it. What fails is said on the run's own socket.
fn begin(start: &Start, descriptors: protocol::Descriptors, ready: Option<First>) -> Option<Begun> {
    let protocol::Descriptors { control, stdout, stderr, cgroup } = descriptors;
    let mut control = UnixStream::from(control);
    match try_begin(start, &control, [stdout.as_fd(), stderr.as_fd()], cgroup.as_ref(), ready) {
        Ok(First { process, handover, .. }) => {
            let control = (start.form == RunForm::Namespaces).then_some(control);
            Some(Begun { process, control, _life: handover })
        }
        Err(failure) => {
            let _ = protocol::write_message(&mut control, &HelperMessage::Failed(failure));
            None
        }
    }
}

fn try_begin(
    start: &Start,
    control: &UnixStream,
    outputs: [BorrowedFd<'_>; 2],
    cgroup: Option<&OwnedFd>,
    ready: Option<First>,
) -> Result<First, SetupFailure> {
    if let Some(id) = start.host_id
        && start.form == RunForm::Namespaces
    {
        confine::give_away(outputs, id)?;
    }
    // One that does not take it ends without having done anything.
    if let Some(first) = ready
        && first.hand_over(start, control, outputs).is_ok()
    {
        return Ok(first);
    }
    let first = clone_first(start, cgroup.map(AsFd::as_fd))?;
    first.hand_over(start, control, outputs)?;
    Ok(first)
}

/// Clones a first process, which waits to be given what is its run's.
fn clone_first(start: &Start, cgroup: Option<BorrowedFd<'_>>) -> Result<First, SetupFailure> {
    let own_namespaces = start.form == RunForm::Namespaces;
    let (handover, theirs) = UnixStream::pair().at(SetupStage::Processes, "make a pair of sockets")?;
    let dumpable = |how| rustix::process::set_dumpable_behavior(how).at(SetupStage::Identity, "change dumpability");
    let maps_are_ours = !own_namespaces || rustix::process::geteuid().is_root();
    if !maps_are_ours {
        // /proc/<pid> belongs to root while a process is not dumpable; the maps are there.
        dumpable(DumpableBehavior::Dumpable)?;
    }
    let flags = if own_namespaces { namespaces(start.own_network) } else { 0 };
    let cloned = syscalls::clone_process(flags, cgroup);
    if matches!(cloned, Ok(Cloned::Child)) {
        // The helper's standard streams are the null device. Nothing else that it has is for a run.
        let Ok(handover) = syscalls::keep_only(theirs.as_fd()) else { syscalls::end(1) };
        first_process(start, &handover.into());
    }
    if !maps_are_ours {
        dumpable(DumpableBehavior::NotDumpable)?;
    }
    match cloned {
        Ok(Cloned::Parent { process, pidfd }) => Ok(First { process, pidfd, handover }),
        Ok(Cloned::Child) => syscalls::end(1),
        Err(error) => Err(refused(start, cgroup.is_some(), error)),
    }
}

impl First {
    /// Lets it begin a run.
    fn hand_over(&self, start: &Start, control: &UnixStream, outputs: [BorrowedFd<'_>; 2]) -> Result<(), SetupFailure> {
        if start.form == RunForm::Namespaces {
            let HostId { uid, gid } = start.host_id.unwrap_or_else(|| HostId {
                uid: rustix::process::getuid().as_raw(),
                gid: rustix::process::getgid().as_raw(),
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
        let [stdout, stderr] = outputs;
        protocol::send_descriptor(control, &HelperMessage::Cloned, self.pidfd.as_fd())
            .at(SetupStage::Processes, "hand on the run")?;
        protocol::hand_over(&self.handover, [stdout, stderr, control.as_fd()])
            .at(SetupStage::Processes, "let the run begin")
    }
}

/// The namespaces of a run.
fn namespaces(network: bool) -> libc::c_int {
    libc::CLONE_NEWUSER
        | libc::CLONE_NEWNS
        | libc::CLONE_NEWPID
        | if network { libc::CLONE_NEWNET } else { 0 }
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWUTS
        | libc::CLONE_NEWCGROUP
}

/// Why a process could not be cloned: which of the namespaces this host refuses, tried one by one in another process.
fn refused(start: &Start, cgroup: bool, error: std::io::Error) -> SetupFailure {
    if start.form != RunForm::Namespaces {
        return SetupFailure::from_io(SetupStage::Processes, "clone the first process", error);
    }
    let Ok((reader, mut writer)) = std::io::pipe() else {
        return SetupFailure::from_io(SetupStage::Namespaces, "make all namespaces at once", error);
    };
    match syscalls::fork() {
        Ok(ForkSide::Child) => {
            if let Err(failure) = unshare_each(start.own_network) {
                let _ = protocol::write_message(&mut writer, &HelperMessage::Failed(failure));
            }
            syscalls::end(0);
        }
        Ok(ForkSide::Parent(child)) => {
            drop(writer);
            let mut received = Vec::new();
            let _ = reader.take(4096).read_to_end(&mut received);
            let _ = rustix::process::waitpid(Some(child), WaitOptions::empty());
            if let Ok(Some(HelperMessage::Failed(failure))) = protocol::take_message(&mut received) {
                return failure;
            }
        }
        Err(_) => {}
    }
    let what = if cgroup { "make all namespaces at once in the run's cgroup" } else { "make all namespaces at once" };
    SetupFailure::from_io(SetupStage::Namespaces, what, error)
}

fn unshare_each(network: bool) -> Result<(), SetupFailure> {
    for (flag, stage, name) in [
        (libc::CLONE_NEWUSER, SetupStage::UserNamespace, "user"),
        (libc::CLONE_NEWNS, SetupStage::Namespaces, "mount"),
        (libc::CLONE_NEWPID, SetupStage::Namespaces, "pid"),
        (libc::CLONE_NEWIPC, SetupStage::Namespaces, "ipc"),
        (libc::CLONE_NEWUTS, SetupStage::Namespaces, "uts"),
        (libc::CLONE_NEWCGROUP, SetupStage::Namespaces, "cgroup"),
        (libc::CLONE_NEWNET, SetupStage::NetworkNamespace, "network"),
    ] {
        if network || flag != libc::CLONE_NEWNET {
            syscalls::unshare(flag).at(stage, format!("make a {name} namespace"))?;
        }
    }
    Ok(())
}

/// The first process of a run, from its first moment to its end.
fn first_process(start: &Start, handover: &UnixStream) -> ! {
    let ahead = get_ahead(start);
    // Without it there is no run, and nobody to tell.
    let Ok(Some([stdout, stderr, control])) = protocol::take_over(handover) else { syscalls::end(0) };
    let mut control = UnixStream::from(control);
    let done = confine::write_to([stdout.as_fd(), stderr.as_fd()]).and(ahead).and_then(|bounded| {
        drop((stdout, stderr));
        if start.form == RunForm::Namespaces {
            return init(&mut control, handover, start, bounded);
        }
        rustix::process::setsid().at(SetupStage::Processes, "begin a session")?;
        // Without the filter a step can use it: not one that runs share.
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

/// What needs nothing of the run yet. Answers whether the capability bounding set is empty.
fn get_ahead(start: &Start) -> Result<bool, SetupFailure> {
    // Under memory pressure the run goes first, not the service. Refused by some hosts; then nothing is lost.
    let _ = std::fs::write("/proc/self/oom_score_adj", "500");
    if start.form != RunForm::Namespaces {
        return Ok(false);
    }
    // No user namespace below the run's, so no way back to capabilities that the kernel would have to hold. The
    // system-call filter refuses it as well: a host whose /proc/sys is read-only goes without.
    let _ = std::fs::write("/proc/sys/user/max_user_namespaces", "0");
    // Watches of files are counted for whom the run is on the host too: a service that is not root would have none left.
    for (name, most) in INOTIFY {
        let _ = std::fs::write(name, most);
    }
    rustix::system::sethostname(filesystem::HOST_NAME.as_bytes()).at(SetupStage::Namespaces, "name the host")?;
    // A server and a client inside one run find each other.
    if start.own_network {
        syscalls::bring_loopback_up().at(SetupStage::NetworkNamespace, "turn the loopback device on")?;
    }
    confine::empty_bounding_set()
}

/// Whatever ends the helper ends this process. To be asked for after the last change of id, which undoes it.
fn follow_helper(handover: &UnixStream) -> Result<(), SetupFailure> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .at(SetupStage::Processes, "follow the helper")?;
    // If the helper died before that call, its end of the socket is closed.
    let mut poll = [PollFd::new(handover, PollFlags::IN)];
    let gone = rustix::event::poll(&mut poll, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }));
    if gone == Ok(0) { Ok(()) } else { Err(SetupFailure::new(SetupStage::Processes, "the helper died")) }
}

fn read_request(control: &mut UnixStream, start: &Start) -> Result<(RunRequest, Vec<u8>, Vec<u8>), SetupFailure> {
    control.set_read_timeout(Some(REQUEST_DEADLINE)).at(SetupStage::Request, "set a deadline")?;
    let read = protocol::read_request(control).at(SetupStage::Request, "read the request")?;
    control.set_read_timeout(None).at(SetupStage::Request, "take the deadline off")?;
    // The process was cloned for that; in another one the run would be held by less than its receipt says.
    let asked = &read.0;
    let same = match start.form {
        // Its id is what the helper has written into its maps.
        RunForm::Namespaces => start.own_network == (asked.profile.network.mode != NetworkMode::Host),
        RunForm::Host | RunForm::Sweep => asked.own_id == start.host_id.map(|id| id.uid),
    };
    if asked.form != start.form || !same {
        return Err(SetupFailure::new(SetupStage::Request, "the request is not for what this process was cloned for"));
    }
    Ok(read)
}

fn sweep(control: &mut UnixStream, start: &Start) -> Result<(), SetupFailure> {
    let begun = Instant::now();
    // They are nobody's children here, so their end can't be waited for, only looked for.
    let mut left = 0;
    if let Some(HostId { uid: id, .. }) = start.host_id {
        kill_everything_of(id);
        left = living_of(id);
        while left > 0 && begun.elapsed() < KILL_DEADLINE {
            std::thread::sleep(Duration::from_millis(2));
            kill_everything_of(id);
            left = living_of(id);
        }
    }
    report_empty(control, left);
    Ok(())
}

/// The first process of the run's pid namespace: makes the root, drops everything, starts the step, reaps until
/// the step ends. When it exits the kernel kills what is left.
fn init(control: &mut UnixStream, handover: &UnixStream, start: &Start, bounded: bool) -> Result<(), SetupFailure> {
    // The helper has written the maps by now.
    confine::take_inner_id(INNER_ID)?;
    follow_helper(handover)?;
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .at(SetupStage::Identity, "become undumpable")?;
    let (request, source, params) = read_request(control, start)?;
    let proxy = if request.profile.network.mode == NetworkMode::Allow { Some(listen(control)?) } else { None };
    let view = filesystem::own_root(&request, &source, &params)?;
    confine::drop_privileges(None)?;
    // This process is held as well: what it starts later can't be less.
    let held = Confinement { bounded, seccomp: request.filter.map(seccomp::confine).transpose()? };
    let signals = syscalls::signal_descriptor().at(SetupStage::Processes, "wait for signals")?;
    let (step, facts) = confine::start(&request, &view, &source, &held, proxy)?;
    // The run's output is the step's alone.
    confine::write_to([rustix::stdio::stdin(); 2])?;
    protocol::write_message(control, &HelperMessage::Started(facts)).at(SetupStage::Processes, "report the start")?;
    loop {
        while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
            if pid == step {
                report_end(control, status, filesystem::disk_is_full());
                return Ok(());
            }
        }
        let mut fds = [PollFd::new(&signals, PollFlags::IN), PollFd::new(control, PollFlags::IN)];
        match rustix::event::poll(&mut fds, None) {
            Ok(_) => {}
            Err(Errno::INTR) => continue,
            // Whoever can't wait would turn in circles and hear nobody: the run ends.
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
                // The end of the socket is the end of the service, and nothing outlives it.
                _ => return Ok(()),
            }
        }
    }
}

/// Opens a port on the run's own loopback and hands the listener to the service: whoever connects inside talks to the
/// service's proxy, which looks names up and connects outside. Answers the port.
fn listen(control: &UnixStream) -> Result<u16, SetupFailure> {
    let what = "open the port of the network's allow list";
    let listener =
        std::net::TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).at(SetupStage::NetworkNamespace, what)?;
    let port = listener.local_addr().at(SetupStage::NetworkNamespace, what)?.port();
    protocol::send_descriptor(control, &HelperMessage::Listening, listener.as_fd())
        .at(SetupStage::NetworkNamespace, what)?;
    Ok(port)
}

/// Without a pid namespace this process is the one to whom orphans go: nothing can leave its family, however it
/// forks, so the run is over when it has no child any more. It may not die with the helper, as `follow_helper` has it: it would
/// leave its family behind. It hears of the helper's end and ends the run first.
fn on_the_host(control: &mut UnixStream, helper: &UnixStream, start: &Start) -> Result<(), SetupFailure> {
    let (request, source, params) = read_request(control, start)?;
    let (request, source, params) = (&request, source.as_slice(), params.as_slice());
    let run_dir = request.run_dir.as_deref().map(Path::new);
    let run_dir = run_dir.ok_or_else(|| SetupFailure::new(SetupStage::Request, "no directory for the run"))?;
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .at(SetupStage::Identity, "become undumpable")?;
    // Any value but none turns it on.
    rustix::process::set_child_subreaper(Some(rustix::process::getpid())).at(SetupStage::Processes, "adopt orphans")?;
    let view = filesystem::host_view(request, run_dir, source, params)?;
    let held = Confinement { bounded: false, seccomp: None };
    let (step, facts) = confine::start(request, &view, source, &held, None)?;
    let watched = (|| {
        // The step's process shared this one's memory while it changed its id, which may have made that dumpable.
        rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
            .at(SetupStage::Identity, "stay undumpable")?;
        confine::write_to([rustix::stdio::stdin(); 2])?;
        let pidfd =
            rustix::process::pidfd_open(step, PidfdFlags::empty()).at(SetupStage::Processes, "watch the step")?;
        protocol::write_message(control, &HelperMessage::Started(facts))
            .at(SetupStage::Processes, "report the start")?;
        Ok::<_, SetupFailure>(pidfd)
    })();
    // It runs already: what fails now is no failed start, and the run is ended like any other.
    let ended = if let Ok(pidfd) = &watched {
        watch(control, helper, pidfd, step, |command| {
            let signal = if command == TERMINATE { Signal::TERM } else { Signal::KILL };
            let _ = rustix::process::pidfd_send_signal(pidfd, signal);
            if command == TERMINATE {
                // The step is the leader of its session and group.
                let _ = rustix::process::kill_process_group(step, signal);
            }
        })
    } else {
        None
    };
    if let Some(status) = ended {
        report_end(control, status, false);
    }
    let left = end_family(step, request.own_id, control);
    report_empty(control, left);
    Ok(())
}

/// Kills and reaps until no child is left. Answers how many could not be ended.
fn end_family(step: Pid, own_id: Option<u32>, control: &mut UnixStream) -> u64 {
    let begun = Instant::now();
    loop {
        let left = reap_family(step, control);
        if let Some(id) = own_id.filter(|id| someone_is(*id)) {
            kill_everything_of(id);
        }
        if !left {
            return 0;
        }
        // Only now: a look at every process of the host takes longer than all else that the end of a run does.
        let children = children();
        for child in &children {
            // A child that was not waited for can't have given its id to a stranger.
            let _ = rustix::process::kill_process(*child, Signal::KILL);
        }
        if begun.elapsed() > KILL_DEADLINE {
            return children.len() as u64;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Takes note of every child that is dead. Answers whether there is another one.
fn reap_family(step: Pid, control: &mut UnixStream) -> bool {
    loop {
        match rustix::process::wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) if pid == step => report_end(control, status, false),
            Ok(Some(_)) => {}
            Ok(None) => return true,
            Err(_) => return false,
        }
    }
}

/// Whether any process has that id: only then has it a priority.
fn someone_is(id: u32) -> bool {
    rustix::process::getpriority_user(rustix::process::Uid::from_raw(id)) != Err(Errno::SRCH)
}

/// Kills all processes of an id in one call, which nothing that forks can outrun. The id is the run's own.
fn kill_everything_of(id: u32) {
    match syscalls::fork() {
        Ok(ForkSide::Child) => {
            let taken = confine::take_id(id).is_ok() && rustix::process::getuid().as_raw() == id && id != 0;
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

/// Passes commands on and reaps until the step has ended, and answers how; nothing when all is to be killed first, or the
/// service or the helper is gone.
fn watch(
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
            // Whoever can't wait would turn in circles and hear nobody: the run ends.
            Err(_) => {
                obey(KILL);
                return None;
            }
        }
        let [ended, spoke, deserted] = [0, 1, 2].map(|at: usize| !fds[at].revents().is_empty());
        if !ended && deserted {
            // How the step ended is nobody's word but this one's: the service hears of no end.
            let _ = control.shutdown(std::net::Shutdown::Both);
            obey(KILL);
            return None;
        }
        if !ended && spoke {
            let mut command = [0];
            // The end of the socket is the end of the service, and nothing outlives it.
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

fn report_end(control: &mut UnixStream, status: rustix::process::WaitStatus, disk_full: bool) {
    let end = match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => StepEnd::Exited(code),
        (None, Some(signal)) => StepEnd::Signalled(signal),
        (None, None) => return,
    };
    let _ = protocol::write_message(control, &HelperMessage::Ended(end, disk_full));
}

fn report_empty(control: &mut UnixStream, left: u64) {
    let (cpu_us, resident_peak) = syscalls::usage_of_children().unwrap_or_default();
    let _ = protocol::write_message(
        control,
        &HelperMessage::Empty(SpentResources { cpu_us, resident_peak, init_signal: None, left }),
    );
}
