//! From a new process to the step.
//!
//! Everything that the process can't undo afterwards happens here, in this order: capabilities, id,
//! no_new_privs, system-call filter, resource limits, Landlock, descriptors, exec.

use std::ffi::CString;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustix::process::{Pid, Resource, Rlimit};
use rustix::thread::{CapabilitiesSecureBits, CapabilitySet, CapabilitySets};

use crate::record::profile::{NetworkMode, Workdir};
use crate::sandbox::filesystem::{self, StepPaths};
use crate::sandbox::grants;
use crate::sandbox::interpreter;
use crate::sandbox::protocol::{AtStage, Confined, HostId, RunForm, RunRequest, SetupFailure, SetupStage};
use crate::sandbox::seccomp;
use crate::sandbox::syscalls::{self, ForkSide};

/// Open descriptors of a step, at most: what most programs expect to have.
const DESCRIPTORS: u64 = 1024;
/// And at most this part of what the service and the helper may have, where they are the same user: descriptors in flight over
/// Unix sockets are counted for a whole user, and whoever sends some is refused while there are more than its own limit. So
/// steps are refused long before the two are, who begin runs by sending descriptors.
const PART: u64 = 4;

/// The largest stack of a process. `RLIMIT_DATA` counts no stack, and a hard limit that is inherited may be none. Compilers ask for
/// this much.
const STACK: u64 = 64 << 20;
/// Signals and timers that a run has queued: they are counted for a whole user, whose other programs make no timer while there
/// are too many.
const SIGNALS: u64 = 1024;

/// What holds the caller, and so the step, already.
pub(super) struct Confinement {
    /// Whether the capability bounding set is empty.
    pub(super) bounded: bool,
    /// The system-call filter.
    pub(super) seccomp: Option<String>,
}

/// Starts the step and waits until exec happened or something before it failed. `proxy` is the port of the service's proxy
/// on the run's own loopback, where there is one.
pub(super) fn start(
    request: &RunRequest,
    view: &StepPaths,
    source: &[u8],
    held: &Confinement,
    proxy: Option<u16>,
) -> Result<(Pid, Confined), SetupFailure> {
    let mut outcome = None;
    let step = syscalls::spawn(&mut || {
        let Err(failure) = become_step(request, view, source, held, proxy, &mut outcome);
        outcome = Some(Err(failure));
    })
    .at(SetupStage::Processes, "start the step's process")?;
    let facts = outcome.unwrap_or_else(|| {
        let why = "the step's process ended before it executed anything (out of memory perhaps)";
        Err(SetupFailure::new(SetupStage::Exec, why))
    })?;
    Ok((step, facts))
}

/// Empties the capability bounding set, and answers whether it is empty. Capabilities that are held stay.
pub(super) fn empty_bounding_set() -> Result<bool, SetupFailure> {
    let mut empty = true;
    for bit in 0..64 {
        let capability = CapabilitySet::from_bits_retain(1 << bit);
        match rustix::thread::remove_capability_from_bounding_set(capability) {
            Ok(()) => {}
            // There is none of that number, and none above it.
            Err(rustix::io::Errno::INVAL) => break,
            // An ordinary user may not; no_new_privs makes the bounding set meaningless then.
            Err(rustix::io::Errno::PERM) => {
                empty &= rustix::thread::capability_is_in_bounding_set(capability) != Ok(true);
            }
            Err(_) => return Err(SetupFailure::new(SetupStage::Capabilities, "empty the capability bounding set")),
        }
    }
    Ok(empty)
}

/// Gives up every capability for ever. In a user namespace this is all of them; with `own_id` the process also
/// becomes that id.
pub(super) fn drop_privileges(own_id: Option<u32>) -> Result<(), SetupFailure> {
    let stage = SetupStage::Capabilities;
    // Locked: no id and no executed file gives a capability back, and none can be made ambient.
    let bits = CapabilitiesSecureBits::NO_ROOT
        | CapabilitiesSecureBits::NO_ROOT_LOCKED
        | CapabilitiesSecureBits::NO_SETUID_FIXUP
        | CapabilitiesSecureBits::NO_SETUID_FIXUP_LOCKED
        | CapabilitiesSecureBits::KEEP_CAPS_LOCKED
        | CapabilitiesSecureBits::NO_CAP_AMBIENT_RAISE
        | CapabilitiesSecureBits::NO_CAP_AMBIENT_RAISE_LOCKED;
    let locked = rustix::thread::set_capabilities_secure_bits(bits);
    // An ordinary user on the host's root may not, and has nothing to give back.
    if locked.is_err_and(|error| error != rustix::io::Errno::PERM) {
        return Err(SetupFailure::new(stage, "lock the secure bits"));
    }
    if let Some(id) = own_id {
        give_away([rustix::stdio::stdout(), rustix::stdio::stderr()], HostId { uid: id, gid: id })?;
        take_id(id)?;
    }
    let none = CapabilitySets {
        effective: CapabilitySet::empty(),
        permitted: CapabilitySet::empty(),
        inheritable: CapabilitySet::empty(),
    };
    // The ambient set can only hold what is permitted and inheritable, so it is empty now as well.
    rustix::thread::set_capabilities(None, none).at(stage, "drop all capabilities")?;
    rustix::thread::set_no_new_privs(true).at(stage, "set no_new_privs")?;
    let held = rustix::thread::capabilities(None).at(stage, "read the capabilities back")?;
    let sure = rustix::thread::no_new_privs().at(stage, "read no_new_privs back")?;
    if !sure || !(held.effective | held.permitted | held.inheritable).is_empty() {
        return Err(SetupFailure::new(stage, "capabilities did not stay dropped"));
    }
    Ok(())
}

/// Output pipes belong to whoever writes to them, so that `/dev/stderr` can be opened. Pipes only: anything else
/// is not the run's.
pub(super) fn give_away(output: [BorrowedFd<'_>; 2], id: HostId) -> Result<(), SetupFailure> {
    let what = "give the output pipes away";
    for stream in output {
        let mode = rustix::fs::fstat(stream).at(SetupStage::Identity, what)?.st_mode;
        if rustix::fs::FileType::from_raw_mode(mode) == rustix::fs::FileType::Fifo {
            let (uid, gid) = (rustix::fs::Uid::from_raw(id.uid), rustix::fs::Gid::from_raw(id.gid));
            rustix::fs::fchown(stream, Some(uid), Some(gid)).at(SetupStage::Identity, what)?;
        }
    }
    Ok(())
}

/// Becomes the one id of this process's user namespace. Capabilities in it stay.
pub(super) fn take_inner_id(id: u32) -> Result<(), SetupFailure> {
    let what = "become the run's id";
    let (uid, gid) = (rustix::process::Uid::from_raw(id), rustix::process::Gid::from_raw(id));
    rustix::thread::set_thread_res_gid(gid, gid, gid).at(SetupStage::Identity, what)?;
    rustix::thread::set_thread_res_uid(uid, uid, uid).at(SetupStage::Identity, what)
}

/// Becomes an id of its own, without supplementary groups.
pub(super) fn take_id(id: u32) -> Result<(), SetupFailure> {
    let what = || format!("become the run's own id {id}");
    let (uid, gid) = (rustix::process::Uid::from_raw(id), rustix::process::Gid::from_raw(id));
    rustix::thread::set_thread_groups(&[]).at(SetupStage::Identity, what())?;
    rustix::thread::set_thread_res_gid(gid, gid, gid).at(SetupStage::Identity, what())?;
    rustix::thread::set_thread_res_uid(uid, uid, uid).at(SetupStage::Identity, what())
}

/// What holds it is noted in `outcome` just before it executes the step's program.
fn become_step(
    request: &RunRequest,
    view: &StepPaths,
    source: &[u8],
    held: &Confinement,
    proxy: Option<u16>,
    outcome: &mut Option<Result<Confined, SetupFailure>>,
) -> Result<std::convert::Infallible, SetupFailure> {
    rustix::process::setsid().at(SetupStage::Processes, "begin a session")?;
    let mut facts = Confined {
        landlock: None,
        seccomp: held.seccomp.clone(),
        masked: view.masked,
        bounded: held.bounded,
        counted: false,
    };
    if request.form == RunForm::Host {
        facts.bounded = empty_bounding_set()?;
        drop_privileges(request.own_id)?;
    }
    std::env::set_current_dir(&view.work).at(SetupStage::Workdir, "enter the work directory")?;
    let program = interpreter::program(source, &request.interpreter)?;
    if let (RunForm::Host, Some(filter)) = (request.form, request.filter) {
        facts.seccomp = Some(seccomp::confine(filter)?);
    }
    limit(request)?;
    facts.counted = request.group.pids || is_counted()?;
    if request.landlock {
        // Where nothing but Landlock stands between the step and the network, and the profile does not give it.
        let ports = request.form == RunForm::Host && request.profile.network.mode != NetworkMode::Host;
        facts.landlock = Some(grants::confine(&view.grants, ports)?);
    }
    // In a live tree others are to read what the step made: its id may be one that nobody has on the host.
    let kept_back = if request.profile.workdir == Workdir::InPlace { 0o022 } else { 0o077 };
    rustix::process::umask(rustix::fs::Mode::from_bits_retain(kept_back));
    let what = || format!("execute {}", program.path.display());
    let path = text(program.path.as_os_str().as_bytes(), what)?;
    let mut arguments = vec![path.clone()];
    for argument in program.arguments.iter().map(String::as_bytes).chain([view.script.as_os_str().as_bytes()]) {
        arguments.push(text(argument, what)?);
    }
    let environment = environment(request, view, proxy)?;
    // The helper has set all dispositions to what is usual.
    syscalls::unblock_signals().at(SetupStage::Processes, "unblock signals")?;
    syscalls::close_on_exec_from(3).at(SetupStage::Processes, "close descriptors")?;
    *outcome = Some(Ok(facts));
    Err(syscalls::execute(&path, &arguments, &environment)).at(SetupStage::Exec, what())
}

/// The step's environment: what every run has, and what the plan adds.
fn environment(request: &RunRequest, view: &StepPaths, proxy: Option<u16>) -> Result<Vec<CString>, SetupFailure> {
    let path = |path: &Path| path.as_os_str().as_bytes().to_vec();
    let mut all: Vec<(&str, Vec<u8>)> = vec![
        ("PATH", interpreter::PATH.into()),
        ("HOME", path(&view.home)),
        ("TMPDIR", path(&view.tmp)),
        ("LANG", "C.UTF-8".into()),
        ("LC_ALL", "C.UTF-8".into()),
        ("COUNTERSIGN_PARAMS", path(&view.params)),
    ];
    // What the plan names stands there once, as the plan has it.
    let mut add = |name, value| {
        all.retain(|(other, _)| *other != name);
        all.push((name, value));
    };
    if let Some(port) = proxy {
        for name in ["HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"] {
            add(name, format!("http://127.0.0.1:{port}").into_bytes());
        }
        for name in ["NO_PROXY", "no_proxy"] {
            add(name, "localhost,127.0.0.1".into());
        }
    }
    if request.form == RunForm::Namespaces && filesystem::gives_paths(request) {
        add("GIT_CONFIG_SYSTEM", filesystem::GIT_CONFIG.into());
    }
    for (name, value) in &request.env {
        add(name, value.clone().into_bytes());
    }
    let line = |(name, value): (&str, Vec<u8>)| {
        text(&[name.as_bytes(), b"=", value.as_slice()].concat(), || format!("pass on the variable {name}"))
    };
    all.into_iter().map(line).collect()
}

fn text(bytes: &[u8], what: impl Fn() -> String) -> Result<CString, SetupFailure> {
    CString::new(bytes).map_err(|_| SetupFailure::new(SetupStage::Exec, format!("{}: there is a NUL in it", what())))
}

/// Resource limits of each process, hard ones, as far as the run's control group does not hold them. Memory by data and not by address space: programs such as node
/// reserve far more address space than they use.
fn limit(request: &RunRequest) -> Result<(), SetupFailure> {
    let limits = &request.profile.limits;
    // In the run's user namespace init is counted as well. On the host's root an id of its own
    // has only the run's processes; a shared one all of that user's, so only a bound of their sum is possible.
    let beside = || match (request.form, request.own_id) {
        // Init alone: the helper is outside.
        (RunForm::Namespaces, _) => 1,
        (_, Some(_)) => 0,
        (_, None) => processes_of_this_user(),
    };
    let group = request.group;
    if !group.pids {
        let most = limits.processes.saturating_add(beside());
        set(Resource::Nproc, most, most, "processes")?;
    }
    if !group.memory {
        set(Resource::Data, limits.memory_bytes, limits.memory_bytes, "memory")?;
    }
    let descriptors = match request.own_id {
        Some(_) => DESCRIPTORS,
        None => DESCRIPTORS.min(ceiling(Resource::Nofile) / PART),
    };
    for (resource, wanted, name) in [
        (Resource::Fsize, limits.file_bytes, "file size"),
        (Resource::Core, 0, "core dumps"),
        (Resource::Nofile, descriptors, "descriptors"),
        (Resource::Memlock, 64 << 10, "locked memory"),
        (Resource::Msgqueue, 819_200, "message queues"),
        (Resource::Sigpending, SIGNALS, "queued signals"),
        // The service may have been given some of these for itself.
        (Resource::Rtprio, 0, "realtime priority"),
        (Resource::Nice, 0, "raised priority"),
    ] {
        set(resource, wanted, wanted, name)?;
    }
    let stack = rustix::process::getrlimit(Resource::Stack).current.unwrap_or(u64::MAX);
    set(Resource::Stack, stack.min(STACK), STACK, "stack")?;
    if group.cpu {
        return Ok(());
    }
    let seconds = cpu_seconds(limits);
    // One second between the signal that tells and the one that kills.
    set(Resource::Cpu, seconds, seconds.saturating_add(1), "CPU time")
}

/// Whether the limit of processes is held: the kernel counts, but never refuses, those of the host's root, whatever
/// their id is in here and however few capabilities they have. Found by asking for one where none is allowed.
fn is_counted() -> Result<bool, SetupFailure> {
    let what = "try the limit of processes";
    let limit = rustix::process::getrlimit(Resource::Nproc);
    rustix::process::setrlimit(Resource::Nproc, Rlimit { current: Some(0), ..limit }).at(SetupStage::Limits, what)?;
    let counted = match syscalls::fork() {
        Ok(ForkSide::Child) => syscalls::end(0),
        Ok(ForkSide::Parent(child)) => {
            rustix::process::waitpid(Some(child), rustix::process::WaitOptions::empty())
                .at(SetupStage::Limits, what)?;
            false
        }
        Err(_) => true,
    };
    rustix::process::setrlimit(Resource::Nproc, limit).at(SetupStage::Limits, what)?;
    Ok(counted)
}

/// CPU seconds of each process: what its share of the wall time comes to.
pub(super) fn cpu_seconds(limits: &crate::record::profile::Limits) -> u64 {
    limits.wall_ms.saturating_mul(limits.cpu_milli).div_ceil(1_000_000).max(1)
}

fn set(resource: Resource, soft: u64, hard: u64, name: &str) -> Result<(), SetupFailure> {
    let ceiling = ceiling(resource);
    let limit = Rlimit { current: Some(soft.min(ceiling)), maximum: Some(hard.min(ceiling)) };
    rustix::process::setrlimit(resource, limit).at(SetupStage::Limits, format!("limit {name}"))
}

/// What may not be exceeded.
fn ceiling(resource: Resource) -> u64 {
    rustix::process::getrlimit(resource).maximum.unwrap_or(u64::MAX)
}

fn processes_of_this_user() -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    let me = rustix::process::getuid().as_raw();
    let threads = |entry: std::fs::DirEntry| {
        // Most names that are no process's are not looked at; a directory has a link for itself, its name and each one in it.
        let process = entry.file_name().as_bytes().first().is_some_and(u8::is_ascii_digit);
        if process && entry.metadata().is_ok_and(|found| found.uid() == me) {
            std::fs::metadata(entry.path().join("task")).map_or(0, |tasks| tasks.nlink().saturating_sub(2))
        } else {
            0
        }
    };
    std::fs::read_dir("/proc").map_or(0, |entries| entries.flatten().map(threads).sum())
}

/// Makes the null device standard input. For the helper: whatever comes from it begins with that.
pub(super) fn read_nothing() -> Result<(), SetupFailure> {
    let what = "open /dev/null";
    let null = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null").at(SetupStage::Processes, what)?;
    rustix::stdio::dup2_stdin(&null).at(SetupStage::Processes, what)
}

/// Makes these standard output and standard error.
pub(super) fn write_to([stdout, stderr]: [BorrowedFd<'_>; 2]) -> Result<(), SetupFailure> {
    let what = "take the run's standard output and error";
    rustix::stdio::dup2_stdout(stdout).at(SetupStage::Processes, what)?;
    rustix::stdio::dup2_stderr(stderr).at(SetupStage::Processes, what)
}
