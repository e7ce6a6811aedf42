//! Restricts a new process and executes the step.
//!
//! The restrictions can't be removed later. Their order is capabilities, id, `no_new_privs`, system-call filter,
//! resource limits, Landlock, descriptors, exec.

use std::{
    collections::BTreeMap,
    ffi::CString,
    os::{
        fd::{AsFd as _, BorrowedFd},
        unix::{
            ffi::{OsStrExt as _, OsStringExt as _},
            fs::{MetadataExt as _, fchown},
            net::UnixStream,
        },
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{FileType, OFlags},
    io::Errno,
    process::{self, Gid, Pid, Resource, Rlimit, Uid, WaitOptions},
    stdio,
    thread::{self, CapabilitiesSecureBits, CapabilitySet, CapabilitySets},
};

use crate::{
    AnnouncedPrograms, AtStage, Confined, ForkSide, HelperMessage, HostId, RunForm, RunRequest,
    RunTexts, SetupFailure, SetupResult, SetupStage, StepPaths, interpreter,
    isolation::{
        filesystem, grants,
        opened::{file_id, kind_of, open},
        run_places::{self, OF_RESULTS},
        seccomp, secret_files, step_files, step_paths, syscalls,
    },
    protocol,
};
use documents::{NetworkMode, Workdir};

/// Maximum number of open descriptors of a step, as most programs expect.
const DESCRIPTORS: u64 = 1024;
/// Divisor for the descriptor limit of a step that runs as the user of the service. The step's limit is the service's
/// limit divided by this number. The kernel counts the descriptors in flight over Unix sockets per user, and compares
/// the count with the limit of the sender. With a lower limit, a step can't use up the descriptors in flight that the
/// service and the helper need to start runs.
const PART: u64 = 4;

/// Maximum stack size of a process, in bytes. Compilers need this size. A limit is needed, because `RLIMIT_DATA` does
/// not count the stack and the inherited hard limit may be unlimited.
const STACK: u64 = 64 << 20;
/// Maximum number of queued signals and timers of a run. The kernel counts them per user, so without this limit a run
/// could prevent other programs of the user from creating timers.
const SIGNALS: u64 = 1024;

/// Restrictions of this process, which the step inherits.
pub struct Confinement {
    /// True if the capability bounding set is empty.
    pub bounded: bool,
    /// SHA-256 of the system-call filter, if one is installed.
    pub seccomp: Option<String>,
}

/// Starts the step, and waits until exec succeeded or an earlier call failed. If the programs of the run are recorded, the
/// step's process sends a listener for them to `control`.
pub fn start(
    request: &RunRequest,
    view: &StepPaths,
    texts: &RunTexts,
    held: &Confinement,
    control: &UnixStream,
) -> SetupResult<(Pid, Confined)> {
    let mut outcome = None;
    let step = syscalls::spawn(&mut || {
        let Err(failure) = become_step(request, view, texts, held, control, &mut outcome);
        outcome = Some(Err(failure));
    })
    .at(SetupStage::Processes, "start the step's process")?;
    let facts = outcome.unwrap_or_else(|| {
        let why = "the step's process ended before exec (perhaps out of memory)";
        Err(SetupFailure::other(why))
    })?;
    Ok((step, facts))
}

/// Empties the capability bounding set. Returns true if the set is empty. The current capabilities are kept.
pub fn empty_bounding_set() -> SetupResult<bool> {
    let mut empty = true;
    for bit in 0..64 {
        let capability = CapabilitySet::from_bits_retain(1 << bit);
        match thread::remove_capability_from_bounding_set(capability) {
            Ok(()) => {}
            // The kernel has no capability with this number or with a higher number.
            Err(Errno::INVAL) => break,
            // An ordinary user may not change the set. With `no_new_privs`, the set has no effect for this user.
            Err(Errno::PERM) => {
                empty &= thread::capability_is_in_bounding_set(capability) != Ok(true);
            }
            Err(_) => {
                return Err(SetupFailure::other("empty the capability bounding set"));
            }
        }
    }
    Ok(empty)
}

/// Drops all capabilities permanently. Changes to the user id `own_id`, if there is one.
pub fn drop_privileges(own_id: Option<u32>) -> SetupResult {
    let stage = SetupStage::Other;
    // With locked secure bits, neither a change of ids nor an executed file can add a capability. The bits also forbid
    // ambient capabilities.
    let bits = CapabilitiesSecureBits::NO_ROOT
        | CapabilitiesSecureBits::NO_ROOT_LOCKED
        | CapabilitiesSecureBits::NO_SETUID_FIXUP
        | CapabilitiesSecureBits::NO_SETUID_FIXUP_LOCKED
        | CapabilitiesSecureBits::KEEP_CAPS_LOCKED
        | CapabilitiesSecureBits::NO_CAP_AMBIENT_RAISE
        | CapabilitiesSecureBits::NO_CAP_AMBIENT_RAISE_LOCKED;
    let locked = thread::set_capabilities_secure_bits(bits);
    // On the host's root file system, an ordinary user may not set the secure bits and has no capabilities to drop.
    if locked.is_err_and(|error| error != Errno::PERM) {
        return Err(SetupFailure::new(stage, "lock the secure bits"));
    }
    if let Some(id) = own_id {
        give_away(
            [stdio::stdout(), stdio::stderr()],
            HostId { uid: id, gid: id },
        )?;
        take_id(id)?;
    }
    let none = CapabilitySets {
        effective: CapabilitySet::empty(),
        permitted: CapabilitySet::empty(),
        inheritable: CapabilitySet::empty(),
    };
    // The ambient set only contains permitted and inheritable capabilities, so it is empty too.
    thread::set_capabilities(None, none).at(stage, "drop all capabilities")?;
    thread::set_no_new_privs(true).at(stage, "set no_new_privs")?;
    let held = thread::capabilities(None).at(stage, "read the capabilities back")?;
    let sure = thread::no_new_privs().at(stage, "read no_new_privs back")?;
    if !sure || !(held.effective | held.permitted | held.inheritable).is_empty() {
        return Err(SetupFailure::new(
            stage,
            "the capabilities could not be dropped",
        ));
    }
    Ok(())
}

/// Gives the output pipes to the user `id` of the run, so that the step can open `/dev/stderr`. Other files do not
/// belong to the run and keep their owner.
pub fn give_away(output: [BorrowedFd<'_>; 2], id: HostId) -> SetupResult {
    let give = |stream: BorrowedFd<'_>| {
        if kind_of(&rustix::fs::fstat(stream)?) != FileType::Fifo {
            return Ok(());
        }
        fchown(stream, Some(id.uid), Some(id.gid))
    };
    let given = output.into_iter().try_for_each(give);
    given.doing("give the output pipes to the run's user")
}

/// Changes to the user and group `id`. In the run's own user namespace, the process keeps its capabilities.
pub fn become_id(id: u32) -> SetupResult {
    let (uid, gid) = (Uid::from_raw(id), Gid::from_raw(id));
    thread::set_thread_res_gid(gid, gid, gid)
        .and_then(|()| thread::set_thread_res_uid(uid, uid, uid))
        .doing(format!("become the run's id {id}"))
}

/// Changes to the id `id` and drops the supplementary groups.
pub fn take_id(id: u32) -> SetupResult {
    thread::set_thread_groups(&[]).doing("drop the supplementary groups")?;
    become_id(id)
}

/// Restricts this process and executes the step's program. The names of the enforced layers are written to `outcome`
/// just before exec.
fn become_step(
    request: &RunRequest,
    view: &StepPaths,
    texts: &RunTexts,
    held: &Confinement,
    control: &UnixStream,
    outcome: &mut Option<SetupResult<Confined>>,
) -> SetupResult<std::convert::Infallible> {
    process::setsid().at(SetupStage::Processes, "begin a session")?;
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
    enter_directory(request, view)?;
    let program = interpreter::program(&texts.source, &request.interpreter)?;
    if let (RunForm::Host, Some(filter)) = (request.form, request.filter) {
        facts.seccomp = Some(seccomp::confine(filter)?);
    }
    limit(request)?;
    facts.counted = request.group.pids || is_counted()?;
    if request.landlock {
        // A run on the host's root file system has no network namespace, so Landlock must also block TCP.
        let ports =
            request.form == RunForm::Host && request.profile.network.mode != NetworkMode::Host;
        facts.landlock = Some(grants::confine(&view.grants, ports)?);
    }
    // The run's id may belong to no user of the host, so other users must be able to read the files that the run
    // creates in a live tree.
    let kept_back = if request.profile.workdir == Workdir::InPlace {
        0o022
    } else {
        0o077
    };
    process::umask(rustix::fs::Mode::from_bits_retain(kept_back));
    let what = || format!("execute {}", program.path.display());
    let path = text(program.path.as_os_str().as_bytes(), what)?;
    let is_python = program.is_python();
    let mut arguments = vec![path.clone()];
    let of_wrapper = request
        .wrapper()
        .and_then(|wrapper| wrapper.arguments.as_ref());
    let before_script = match of_wrapper {
        Some(arguments) => arguments
            .iter()
            .map(|argument| view.places.fill(argument))
            .collect(),
        None => program
            .arguments
            .into_iter()
            .map(String::into_bytes)
            .collect::<Vec<_>>(),
    };
    for argument in before_script
        .iter()
        .map(Vec::as_slice)
        .chain([view.script.as_os_str().as_bytes()])
    {
        arguments.push(text(argument, what)?);
    }
    let environment = environment(request, view, texts, is_python)?;
    if request.record {
        announce_programs(
            &program.path,
            step_files::programs(&view.work, &request.files),
            control,
        )?;
    }
    // The helper has reset all signal handlers to their defaults. Programs expect to start with an empty mask.
    syscalls::mask_all_signals(libc::SIG_UNBLOCK).at(SetupStage::Processes, "unblock signals")?;
    syscalls::close_range(3, libc::CLOSE_RANGE_CLOEXEC)
        .at(SetupStage::Processes, "close descriptors")?;
    *outcome = Some(Ok(facts));
    Err(syscalls::execute(&path, &arguments, &environment)).doing(what())
}

/// Enters the directory in which the step starts.
fn enter_directory(request: &RunRequest, view: &StepPaths) -> SetupResult {
    let Some(directory) = run_places::session_cwd(request) else {
        return std::env::set_current_dir(&view.work)
            .at(SetupStage::Workdir, "enter the work directory");
    };
    let shown = directory.as_os_str().as_bytes().escape_ascii();
    let what = format!(
        "enter the directory {shown} of the session; reset the session, or start it in another directory"
    );
    std::env::set_current_dir(directory).at(SetupStage::Workdir, what)
}

/// Lets the service record the programs that this process and its future children execute. Without a listener from the
/// kernel, the run has no record.
fn announce_programs(
    next: &Path,
    of_step: impl Iterator<Item = PathBuf>,
    control: &UnixStream,
) -> SetupResult {
    let Ok(listener) = seccomp::announce_programs() else {
        return Ok(());
    };
    let of_step = of_step
        .map(|path| file_id(&path))
        .collect::<Result<_, _>>()
        .at(SetupStage::Workdir, "find the files of the step")?;
    let announced = AnnouncedPrograms {
        first: next.to_owned(),
        of_step,
    };
    // The kernel refuses each exec if no process has the listener, so the run can't start without the service.
    protocol::send_descriptor(
        control,
        &HelperMessage::Announcing(announced),
        listener.as_fd(),
    )
    .at(SetupStage::Seccomp, "hand on the listener for programs")
}

/// Variables of every run that its session can replace or remove.
const REPLACEABLE: [&[u8]; 3] = [b"PATH", b"LANG", b"LC_ALL"];

/// Variables by name.
type Variables = BTreeMap<Vec<u8>, Vec<u8>>;

/// Returns the environment of the step: the variables of every run, then those of the session, of the plan, of the
/// run's paths, of the secrets and of the session's wrapper. A later variable replaces an earlier variable with the
/// same name, but the session replaces only [`REPLACEABLE`] variables.
fn environment(
    request: &RunRequest,
    view: &StepPaths,
    texts: &RunTexts,
    is_python: bool,
) -> SetupResult<Vec<CString>> {
    let mut all = of_every_run(request, view);
    if is_python {
        // Without this variable, Python holds back output to a pipe until its buffer of 8 KiB is full.
        all.insert("PYTHONUNBUFFERED".into(), "1".into());
    }
    let unset = request.session.iter().flat_map(|session| &session.unset);
    for name in unset.filter(|name| REPLACEABLE.contains(&&name[..])) {
        all.remove(name);
    }
    for (name, value) in run_places::session_variables(texts) {
        let own = all.contains_key(name) && !REPLACEABLE.contains(&name);
        let reserved = name.starts_with(b"PARAM_") || name.starts_with(b"COUNTERSIGN_");
        if !own && !reserved && !OF_RESULTS.contains(&name) {
            all.insert(name.to_vec(), value.to_vec());
        }
    }
    all.extend(
        request
            .env
            .iter()
            .map(|(name, value)| (name.clone().into(), value.clone().into())),
    );
    let places = view.places.variables().into_iter();
    all.extend(places.map(|(name, path)| (name.into(), path.into_os_string().into_vec())));
    let secrets = secret_files::variables(request, texts);
    all.extend(secrets.map(|(name, value)| (name.as_bytes().to_vec(), value.to_vec())));
    let of_wrapper = request
        .wrapper()
        .into_iter()
        .flat_map(|wrapper| &wrapper.env);
    all.extend(of_wrapper.map(|(name, value)| (name.clone().into(), view.places.fill(value))));
    let line = |(name, value): (Vec<u8>, Vec<u8>)| {
        text(&[&name, &b"="[..], &value].concat(), || {
            format!("pass on the variable {}", name.escape_ascii())
        })
    };
    all.into_iter().map(line).collect()
}

fn of_every_run(request: &RunRequest, view: &StepPaths) -> Variables {
    let path = |path: &Path| path.as_os_str().as_bytes().to_vec();
    let mut all: Vec<(&str, Vec<u8>)> = vec![
        ("PATH", interpreter::PATH.into()),
        ("HOME", path(&view.home)),
        ("TMPDIR", path(&view.tmp)),
        ("LANG", "C.UTF-8".into()),
        ("LC_ALL", "C.UTF-8".into()),
        ("COUNTERSIGN_PARAMS", path(&view.params)),
    ];
    if request.form == RunForm::Namespaces && step_paths::gives_paths(request) {
        all.push(("GIT_CONFIG_SYSTEM", filesystem::GIT_CONFIG.into()));
    }
    all.into_iter()
        .map(|(name, value)| (name.into(), value))
        .collect()
}

fn text(bytes: &[u8], what: impl Fn() -> String) -> SetupResult<CString> {
    CString::new(bytes)
        .map_err(|_| SetupFailure::other(format!("{}: the text contains a NUL byte", what())))
}

/// Sets the resource limits of each process, unless the run's control group enforces these limits. `RLIMIT_DATA` limits
/// memory. `RLIMIT_AS` (address space) is not suitable, because programs such as node reserve much more address space
/// than they use.
fn limit(request: &RunRequest) -> SetupResult {
    let limits = &request.profile.limits;
    // The number of processes that the kernel counts in addition to the step's processes. If the run shares its user
    // id, the kernel counts all processes with this id, so only their total number can be limited.
    let beside = || match (request.form, request.own_id) {
        // The kernel counts the first process, but not the helper, which is outside the namespace.
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
        set(
            Resource::Data,
            limits.memory_bytes,
            limits.memory_bytes,
            "memory",
        )?;
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
        // The step would inherit higher limits from the service.
        (Resource::Rtprio, 0, "realtime priority"),
        (Resource::Nice, 0, "raised priority"),
    ] {
        set(resource, wanted, wanted, name)?;
    }
    let stack = process::getrlimit(Resource::Stack)
        .current
        .unwrap_or(u64::MAX);
    set(Resource::Stack, stack.min(STACK), STACK, "stack")?;
    if group.cpu {
        return Ok(());
    }
    let seconds = cpu_seconds(limits);
    // The kernel sends SIGXCPU at the soft limit and SIGKILL one second later, at the hard limit.
    set(
        Resource::Cpu,
        seconds,
        seconds.saturating_add(1),
        "CPU time",
    )
}

/// Tests whether the kernel enforces the limit of the number of processes: sets the limit to 0 and calls fork. For a
/// process whose real user is root on the host, the kernel never refuses a fork.
fn is_counted() -> SetupResult<bool> {
    let test = || {
        let limit = process::getrlimit(Resource::Nproc);
        let none = Rlimit {
            current: Some(0),
            ..limit
        };
        process::setrlimit(Resource::Nproc, none)?;
        let counted = match syscalls::fork() {
            Ok(ForkSide::Child) => syscalls::end(0),
            Ok(ForkSide::Parent(child)) => {
                process::waitpid(Some(child), WaitOptions::empty())?;
                false
            }
            Err(_) => true,
        };
        process::setrlimit(Resource::Nproc, limit)?;
        Ok::<_, Errno>(counted)
    };
    test().at(SetupStage::Limits, "test the limit of processes")
}

/// Returns the CPU limit of each process in seconds, computed from the wall time and the CPU share.
pub fn cpu_seconds(limits: &documents::Limits) -> u64 {
    limits
        .wall_ms
        .saturating_mul(limits.cpu_milli)
        .div_ceil(1_000_000)
        .max(1)
}

/// Raises the soft limit of open descriptors to the hard limit.
pub fn raise_descriptor_limit() {
    let limit = process::getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    let _ = process::setrlimit(Resource::Nofile, raised);
}

fn set(resource: Resource, soft: u64, hard: u64, name: &str) -> SetupResult {
    let ceiling = ceiling(resource);
    let limit = Rlimit {
        current: Some(soft.min(ceiling)),
        maximum: Some(hard.min(ceiling)),
    };
    process::setrlimit(resource, limit).at(SetupStage::Limits, format!("limit {name}"))
}

/// Returns the current hard limit of a resource.
fn ceiling(resource: Resource) -> u64 {
    process::getrlimit(resource).maximum.unwrap_or(u64::MAX)
}

fn processes_of_this_user() -> u64 {
    let me = process::getuid().as_raw();
    let threads = |entry: std::fs::DirEntry| {
        // Skip names that are not process ids. The link count of `task` is two plus the number of threads.
        let process = entry
            .file_name()
            .as_bytes()
            .first()
            .is_some_and(u8::is_ascii_digit);
        if process && entry.metadata().is_ok_and(|found| found.uid() == me) {
            std::fs::metadata(entry.path().join("task"))
                .map_or(0, |tasks| tasks.nlink().saturating_sub(2))
        } else {
            0
        }
    };
    std::fs::read_dir("/proc").map_or(0, |entries| entries.flatten().map(threads).sum())
}

/// Opens the null device as standard input, which all processes of the helper inherit.
pub fn read_nothing() -> SetupResult {
    open("/dev/null", OFlags::RDWR)
        .and_then(|null| stdio::dup2_stdin(&null))
        .at(SetupStage::Processes, "open /dev/null")
}

/// Replaces standard output and standard error of this process.
pub fn write_to([stdout, stderr]: [BorrowedFd<'_>; 2]) -> SetupResult {
    stdio::dup2_stdout(stdout)
        .and_then(|()| stdio::dup2_stderr(stderr))
        .at(
            SetupStage::Processes,
            "replace standard output and standard error",
        )
}
