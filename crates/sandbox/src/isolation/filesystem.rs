//! Builds the file system view of a run.
//!
//! In namespaces, each run has a small root file system. It contains the system directories (mounted read-only), a few
//! files of `/etc`, a minimal `/dev`, a new `/proc`, and private directories with a size limit. All other paths of the
//! host are absent, including the private set.
//!
//! Without namespaces, a run uses the host's root file system, and Landlock allows only the same paths.

use std::fs;
use std::io::{self, ErrorKind, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, symlink};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::mount::{MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags};

use crate::isolation::denied_names::NamePatterns;
use crate::isolation::executable_files::ExecutableFiles;
use crate::isolation::grants::{PathAccess, PathGrant};
use crate::isolation::interpreter;
use crate::isolation::protocol::{AtStage, RunRequest, RunTexts, SetupFailure, SetupStage};
use crate::isolation::run_places::{self, RunPlaces, SESSION_HOME};
use crate::isolation::secret_files;
use crate::isolation::step_files::{self, PutFiles};
use crate::isolation::syscalls;
use crate::isolation::trees::{self, Disk, EmptyMountSources, RemovedTree};
use documents::record::profile::{Proc, Profile, Workdir};

/// Directories that programs need, mounted read-only. Symbolic links (`/bin` to `usr/bin`) are created as links.
pub(crate) const SYSTEM: [&str; 7] = ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"];
/// Directories of `/etc` that programs need, for alternatives and certificates.
const ETC_DIRECTORIES: [&str; 5] = [
    "/etc/alternatives",
    "/etc/ssl/certs",
    "/etc/pki/tls/certs",
    "/etc/pki/ca-trust/extracted",
    "/etc/crypto-policies",
];
/// Directory of JDKs. On Debian, the configuration of a JDK is in a directory such as `/etc/java-17-openjdk`.
const JDKS: &str = "/usr/lib/jvm";
/// Files of `/etc` that programs need. A run with its own root file system has private files for users, groups and
/// hosts.
const ETC_FILES: [&str; 5] =
    ["/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/localtime", "/etc/timezone", "/etc/ssl/openssl.cnf"];
/// Further files of `/etc` that only a run on the host's root file system reads from the host.
const ETC_HOST_FILES: [&str; 4] = ["/etc/passwd", "/etc/group", "/etc/nsswitch.conf", "/etc/hosts"];
/// git's system configuration, created for a run that gets paths of the host.
pub(crate) const GIT_CONFIG: &str = "/etc/gitconfig";
/// Git configuration that accepts repositories of any owner, because git refuses repositories of another user ("dubious
/// ownership"). The approvers have allowed all repositories that a run can see. An environment variable is not enough,
/// because git does not pass `GIT_CONFIG_COUNT` to the process that serves a clone.
const GIT_TAKES_ALL: &[u8] = b"[safe]\n\tdirectory = *\n";
/// Devices that store no data.
const DEVICES: [&str; 5] = ["null", "zero", "full", "random", "urandom"];

/// The run's user id in its user namespace. This id is neither root nor a user of the host.
pub(crate) const INNER_ID: u32 = 1000;
/// The run's host name.
pub(crate) const HOST_NAME: &str = "countersign";
/// Mount options of the tmpfs for the run's root file system. The tmpfs contains the script, the parameters and copies
/// of small files.
const ROOT_OPTIONS: &str = "mode=0755,size=16m,nr_inodes=4096";
/// Allowed range for the number of inodes in the work directory. Inodes use kernel memory, to which the size limit of
/// the directory does not apply.
const INODES: std::ops::RangeInclusive<u64> = 1024..=262_144;
/// Maximum size of a copied file of `/etc`, in bytes.
const MAX_COPY: u64 = 2 << 20;

/// Paths and access rights of the step.
pub(crate) struct StepPaths {
    /// The directory in which the step starts.
    pub(crate) work: PathBuf,
    /// The step's home: its private directory, or with a session an empty directory.
    pub(crate) home: PathBuf,
    pub(crate) tmp: PathBuf,
    pub(crate) script: PathBuf,
    pub(crate) params: PathBuf,
    /// The paths that Landlock allows.
    pub(crate) grants: Vec<PathGrant>,
    /// Number of names that deny patterns masked, or `None` if the profile has no deny patterns.
    pub(crate) masked: Option<u64>,
    /// Paths of the inputs, the results and the session.
    pub(crate) places: RunPlaces,
    /// Numbers of the step's files that were created in its directory.
    pub(crate) new_files: Vec<u32>,
}

/// Returns the paths of the host that every run can see, with any profile.
pub(crate) fn always_visible() -> impl Iterator<Item = &'static Path> {
    SYSTEM.into_iter().chain(etc_directories()).chain(ETC_FILES).chain(ETC_HOST_FILES).map(Path::new)
}

fn etc_directories() -> impl Iterator<Item = &'static str> {
    static JAVA: LazyLock<Vec<String>> = LazyLock::new(|| java_directories(Path::new(JDKS)));
    ETC_DIRECTORIES.into_iter().chain(JAVA.iter().map(String::as_str))
}

/// Returns the configuration directory of each JDK, for example `/etc/java-17-openjdk` for `java-17-openjdk-amd64`.
fn java_directories(jdks: &Path) -> Vec<String> {
    let name = |entry: io::Result<fs::DirEntry>| {
        let name = entry.ok()?.file_name().into_string().ok()?;
        let version = name.strip_prefix("java-")?.split_once("-openjdk")?.0;
        let plain = !version.is_empty() && version.bytes().all(|c| c.is_ascii_digit());
        plain.then(|| format!("/etc/java-{version}-openjdk"))
    };
    let mut found: Vec<String> = fs::read_dir(jdks).into_iter().flatten().filter_map(name).collect();
    found.sort_unstable();
    found.dedup();
    found
}

/// Returns true if a run has its own file at this path instead of the host's file.
pub(crate) fn is_made_for_each_run(path: &Path) -> bool {
    ETC_HOST_FILES.iter().any(|own| path == Path::new(own))
}

/// Builds the root file system of a run and changes into it. Only the first process of a new mount namespace may call
/// this function. The contents of the inputs and of the session's work directory arrive over `control`.
pub(crate) fn own_root(
    request: &RunRequest,
    texts: &RunTexts,
    control: &mut UnixStream,
) -> Result<StepPaths, SetupFailure> {
    rustix::mount::mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .at(SetupStage::Mounts, "make mounts private")?;
    // Open all source paths before a mount covers a path of the host.
    let host = Host::look(if request.session.is_some() { SESSION_HOME } else { HOME });
    let listed = request.programs.as_ref();
    // With a closed list of programs, no mount is executable except those of the listed programs and of libraries.
    let no_exec = if listed.is_some() { MOUNT_NO_EXEC } else { 0 };
    // If the list contains `{work}/**`, the directories that the run may write are executable too.
    let own_no_exec = listed.is_some_and(|listed| !listed.own);
    let mut sources = Vec::new();
    for path in &host.directories {
        sources.push(Source::take(path, MOUNT_READ_ONLY | MOUNT_NO_DEV | no_exec)?);
    }
    let over_system = listed.map(ExecutablePlaces::take).transpose()?;
    for name in DEVICES {
        let path = format!("/dev/{name}");
        sources.push(Source::take(&path, MOUNT_READ_ONLY | MOUNT_NO_EXEC)?);
    }
    let profile = &request.profile;
    let deny = NamePatterns::new(&profile.deny).map_err(|why| SetupFailure::new(SetupStage::Deny, why))?;
    let deny = deny.with_sockets(&profile.sockets);
    let closed = Source::open("/dev/null")?;
    let mut shown = Vec::new();
    for path in profile.read.iter().chain(&profile.sockets) {
        shown.push(Source::take_real(path, MOUNT_READ_ONLY | MOUNT_NO_DEV | no_exec)?);
    }
    let mut trees = Vec::new();
    for path in host_paths(&profile.write) {
        match profile.workdir {
            Workdir::Private | Workdir::InPlace => {
                let flags = if own_no_exec { MOUNT_NO_DEV | MOUNT_NO_EXEC } else { MOUNT_NO_DEV };
                shown.push(Source::take_real(path, flags)?);
            }
            Workdir::Copy | Workdir::Overlay => trees.push((path, Source::open_real(path)?)),
        }
    }

    let base = ["/tmp", "/mnt", "/usr"].into_iter().find(|base| Path::new(base).is_dir()).unwrap_or("/");
    tmpfs(base, ROOT_OPTIONS, if listed.is_some() { MountFlags::NOEXEC } else { MountFlags::empty() })?;
    std::env::set_current_dir(base).at(SetupStage::Mounts, "enter the new root")?;
    for directory in ["dev", "dev/shm", "proc", "tmp", "run", "run/step", "etc", "var"] {
        directory_at(directory, 0o755)?;
    }
    host.put()?;
    if gives_paths(request) {
        file_at(GIT_CONFIG.trim_start_matches('/'), GIT_TAKES_ALL, 0o444)?;
    }
    for (name, target) in [
        ("dev/fd", "/proc/self/fd"),
        ("dev/stdin", "/proc/self/fd/0"),
        ("dev/stdout", "/proc/self/fd/1"),
        ("dev/stderr", "/proc/self/fd/2"),
        ("var/tmp", "../tmp"),
    ] {
        symlink(target, name).at(SetupStage::Mounts, format!("link {name}"))?;
    }
    let script = interpreter::script_name(&request.interpreter);
    file_at(&format!("run/step/{script}"), &texts.source, 0o500)?;
    file_at("run/step/params.json", &texts.params, 0o400)?;
    secret_files::mount(request, texts)?;
    let quiet = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    let limits = &profile.limits;
    let inodes = (limits.disk_bytes / 4096).clamp(*INODES.start(), *INODES.end());
    let sized = format!("mode=0700,size={},nr_inodes={inodes}", limits.disk_bytes);
    let own_flags = if own_no_exec { MountFlags::NOEXEC } else { MountFlags::empty() };
    let disk = if trees.is_empty() {
        tmpfs("tmp", &sized, own_flags)?;
        None
    } else {
        let disk = Disk::mount("run/step/disk", own_flags, |place| tmpfs(place, &sized, own_flags))?;
        disk.bind("tmp", Path::new("tmp"))?;
        Some(disk)
    };
    tmpfs("dev/shm", &format!("mode=0700,size={},nr_inodes=1024", limits.shared_memory_bytes()), quiet)?;
    directory_at("tmp/work", 0o700)?;
    let write = if own_no_exec { PathAccess::WriteNoExecute } else { PathAccess::Write };
    let mut places = run_places::in_own_root(request, texts, control, &sized, (own_flags, write))?;
    let options = if profile.proc == Proc::Full { None } else { Some(c"subset=pid") };
    rustix::mount::mount("proc", "proc", "proc", quiet, options).at(SetupStage::Proc, "mount a fresh /proc")?;
    for source in &sources {
        source.put()?;
    }
    for source in &shown {
        source.put()?;
    }
    // A path of the profile may contain a system directory, so the executable places are attached last.
    if let Some(places) = over_system {
        places.attach()?;
    }
    let masked = if shown.is_empty() && trees.is_empty() {
        0
    } else {
        hide_what_is_denied(profile.workdir, &deny, disk, &trees, &shown, EmptyMountSources::new(closed)?)?
    };
    let work = Path::new(work_of(profile));
    let PutFiles { script: beside_files, new: new_files } = step_files::mount(request, texts, work)?;
    step_files::link(request, work, Path::new("tmp"))?;
    // With "." for both names, pivot_root(2) stacks the old root on the new one, so that the old root can be unmounted
    // immediately.
    rustix::process::pivot_root(".", ".").at(SetupStage::Mounts, "change to the new root")?;
    rustix::mount::unmount(".", UnmountFlags::DETACH).at(SetupStage::Mounts, "detach the host's root")?;
    std::env::set_current_dir("/").at(SetupStage::Mounts, "enter the new root")?;
    let root = rustix::fs::open("/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .at(SetupStage::Mounts, "open the new root")?;
    syscalls::set_mount_flags(root.as_fd(), MOUNT_READ_ONLY, false).at(SetupStage::Mounts, "seal the new root")?;

    let mut grants = std::mem::take(&mut places.grants);
    let mut grant = |path: &Path, access| grants.push(PathGrant { path: path.into(), access });
    // The run may list its root, which contains only paths that the profile allows.
    grant("/".as_ref(), PathAccess::List);
    match listed {
        None => {
            for path in host.directories.into_iter().filter(|path| SYSTEM.contains(path)) {
                grant(path.as_ref(), PathAccess::ReadExecute);
            }
        }
        Some(listed) => {
            for path in &listed.readable {
                grant(path, PathAccess::Read);
            }
            for path in &listed.programs {
                grant(path, PathAccess::ReadExecute);
            }
            for path in step_files::programs(work, &request.files) {
                grant(&path, PathAccess::ReadExecute);
            }
        }
    }
    for path in &profile.read {
        grant(path.as_ref(), if listed.is_some() { PathAccess::SignedRead } else { PathAccess::Signed });
    }
    for path in host_paths(&profile.write) {
        grant(path.as_ref(), write);
    }
    for path in ["/etc", "/run/step", "/proc"] {
        grant(path.as_ref(), PathAccess::Read);
    }
    for name in DEVICES {
        grant(format!("/dev/{name}").as_ref(), PathAccess::Device);
    }
    for path in ["/tmp", "/dev/shm"] {
        grant(path.as_ref(), write);
    }
    Ok(StepPaths {
        work: work.into(),
        home: places.home.clone().unwrap_or_else(|| HOME.into()),
        masked: (!profile.deny.is_empty() || masked > 0).then_some(masked),
        tmp: "/tmp".into(),
        script: beside_files.unwrap_or_else(|| Path::new("/run/step").join(script)),
        params: "/run/step/params.json".into(),
        grants,
        places,
        new_files,
    })
}

/// The mounts that lie over the system directories of a run with a closed list of programs. The order is: directories with
/// libraries (executable), the unlisted programs in these directories (not executable), and the listed programs
/// (executable).
struct ExecutablePlaces<'a> {
    /// An executable mount of [`USR`], from which the mounts of all paths below it are cloned. A clone has the flags of its
    /// source, so each path needs only two system calls.
    usr: Source,
    /// Each path, its mount if it is not below [`USR`], and whether its mount forbids execution.
    paths: Vec<(&'a Path, Option<Source>, bool)>,
}

/// Directory that contains most programs of a host.
const USR: &str = "/usr";
/// Temporary place of the executable mount of [`USR`], relative to the new root.
const USR_PLACE: &str = "run/step/usr";

impl<'a> ExecutablePlaces<'a> {
    fn take(listed: &'a ExecutableFiles) -> Result<Self, SetupFailure> {
        let mut paths = Vec::new();
        for (all, is_closed) in [(&listed.libraries, false), (&listed.closed, true), (&listed.programs, false)] {
            for path in all {
                let text = path
                    .to_str()
                    .ok_or_else(|| SetupFailure::new(SetupStage::Mounts, "a program's path is not UTF-8"))?;
                let no_exec = if is_closed { MOUNT_NO_EXEC } else { 0 };
                let source = || Source::take(text, MOUNT_READ_ONLY | MOUNT_NO_DEV | no_exec);
                let own = if path.starts_with(USR) { None } else { Some(source()?) };
                paths.push((path.as_path(), own, is_closed));
            }
        }
        Ok(Self { usr: Source::take(USR, MOUNT_READ_ONLY | MOUNT_NO_DEV)?, paths })
    }

    fn attach(&self) -> Result<(), SetupFailure> {
        directory_at(USR_PLACE, 0o700)?;
        move_to(&self.usr.mount, USR_PLACE)?;
        let flags = OpenTreeFlags::OPEN_TREE_CLONE
            | OpenTreeFlags::OPEN_TREE_CLOEXEC
            | OpenTreeFlags::AT_RECURSIVE
            | OpenTreeFlags::AT_SYMLINK_NOFOLLOW;
        for (path, own, is_closed) in &self.paths {
            let cloned;
            let mount = if let Some(own) = own {
                &own.mount
            } else {
                let what = || format!("bind {}", path.display());
                let below = path.strip_prefix(USR).unwrap_or(path);
                cloned = rustix::mount::open_tree(&self.usr.mount, below, flags).at(SetupStage::Mounts, what())?;
                if *is_closed {
                    syscalls::set_mount_flags(cloned.as_fd(), MOUNT_NO_EXEC, true).at(SetupStage::Mounts, what())?;
                }
                &cloned
            };
            move_to(mount, path.strip_prefix("/").unwrap_or(path))?;
        }
        // The clones stay. No other path leads to the executable mount.
        rustix::mount::unmount(USR_PLACE, UnmountFlags::DETACH)
            .at(SetupStage::Mounts, "detach the executable mount")?;
        fs::remove_dir(USR_PLACE).at(SetupStage::Mounts, "remove the place of the executable mount")
    }
}

/// Attaches a mount over an existing path, relative to the new root.
fn move_to(mount: &OwnedFd, target: impl AsRef<Path>) -> Result<(), SetupFailure> {
    let target = target.as_ref();
    rustix::mount::move_mount(mount, "", CWD, target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
        .at(SetupStage::Mounts, format!("attach {}", target.display()))
}

/// Creates the private trees without denied names, and masks denied names in the trees of the host that are mounted
/// directly (`shown`). Returns the number of denied names: those found in private trees, and those masked in other
/// trees.
fn hide_what_is_denied(
    workdir: Workdir,
    deny: &NamePatterns,
    disk: Option<Disk>,
    trees: &[(&str, OwnedFd)],
    shown: &[Source],
    mut things: EmptyMountSources,
) -> Result<u64, SetupFailure> {
    let of_trees = trees.iter().map(|(path, tree)| (tree.as_fd(), Path::new(*path)));
    let seen = shown
        .iter()
        .map(|source| Ok((trees::open_shown(Path::new(&source.target))?, Path::new("/").join(&source.target))))
        .collect::<Result<Vec<_>, SetupFailure>>()?;
    let roots: Vec<_> = of_trees.chain(seen.iter().map(|(root, path)| (root.as_fd(), path.as_path()))).collect();
    let surely = workdir == Workdir::Copy;
    let mut found = deny.find(&roots, surely)?;
    let mut absent = 0;
    if let Some(disk) = disk {
        for (number, ((path, tree), denied)) in trees.iter().zip(&found).enumerate() {
            let (path, name) = (Path::new(path), format!("tree-{number}"));
            let target = path.strip_prefix("/").unwrap_or(path);
            fs::create_dir_all(target).at(SetupStage::Mounts, format!("make room for {}", path.display()))?;
            if workdir == Workdir::Copy {
                disk.copy(&name, tree, path, deny, denied)?;
                disk.bind(&name, target)?;
            } else {
                disk.overlay(&name, tree, path, target, denied)?;
            }
            // The content of denied files and directories is already hidden. Mask the denied names that still exist.
            trees::cover(target, path, denied, &mut things)?;
            absent += denied.names.len() as u64;
        }
        disk.detach()?;
    }
    let over_trees = things.covered();
    trees::settle(|turn| {
        if turn > 0 {
            found = deny.find(&roots, surely)?;
        }
        let mut gone = RemovedTree::Nothing;
        for (source, denied) in shown.iter().zip(found.iter().skip(trees.len())) {
            let (target, path) = (Path::new(&source.target), Path::new("/").join(&source.target));
            if source.writable {
                gone = gone.or(trees::fix(target, &path, denied, &mut things)?);
            }
            gone = gone.or(trees::cover(target, &path, denied, &mut things)?);
        }
        Ok(gone)
    })?;
    Ok(absent + (things.covered() - over_trees))
}

/// Creates the files in the run's private directory `run_dir` on the host, and returns the paths that Landlock allows.
/// The user `own_id` owns the step's directories. The service's user owns the script and the parameters.
pub(crate) fn host_view(
    request: &RunRequest,
    run_dir: &Path,
    texts: &RunTexts,
    control: &mut UnixStream,
) -> Result<StepPaths, SetupFailure> {
    let owner = request.own_id;
    std::env::set_current_dir(run_dir).at(SetupStage::Workdir, "enter the run's directory")?;
    let readable = if owner.is_some() { 0o444 } else { 0o400 };
    let (script, parameters) = (interpreter::script_name(&request.interpreter), "params.json");
    file_at(script, &texts.source, readable)?;
    file_at(parameters, &texts.params, readable)?;
    for name in ["work", "tmp"] {
        directory_at(name, 0o700)?;
        if owner.is_some() {
            std::os::unix::fs::chown(name, owner, owner).at(SetupStage::Mounts, format!("give away {name}"))?;
        }
    }
    let mut places = run_places::on_the_host(request, run_dir, texts, control)?;
    let mut grants = std::mem::take(&mut places.grants);
    let mut grant = |path: PathBuf, access| grants.push(PathGrant { path, access });
    for path in SYSTEM {
        if Path::new(path).is_dir() {
            grant(path.into(), PathAccess::ReadExecute);
        }
    }
    for path in &request.profile.read {
        grant(path.into(), PathAccess::Signed);
    }
    for path in host_paths(&request.profile.write) {
        grant(path.into(), PathAccess::Write);
    }
    for path in etc_directories().chain(ETC_FILES).chain(ETC_HOST_FILES) {
        if Path::new(path).exists() {
            grant(path.into(), PathAccess::Read);
        }
    }
    for name in DEVICES {
        grant(format!("/dev/{name}").into(), PathAccess::Device);
    }
    grant(run_dir.join(script), PathAccess::Read);
    grant(run_dir.join(parameters), PathAccess::Read);
    grant(run_dir.join("work"), PathAccess::Write);
    grant(run_dir.join("tmp"), PathAccess::Write);
    let work = run_dir.join("work");
    let PutFiles { script: beside_files, new: new_files } = step_files::write(request, texts, &work, owner)?;
    step_files::link(request, &work, Path::new("tmp"))?;
    Ok(StepPaths {
        home: places.home.clone().unwrap_or_else(|| work.clone()),
        work: begins_in(&request.profile).map_or(work, PathBuf::from),
        masked: None,
        tmp: run_dir.join("tmp"),
        script: beside_files.unwrap_or_else(|| run_dir.join(script)),
        params: run_dir.join(parameters),
        grants,
        places,
        new_files,
    })
}

/// Returns true if a writable file system of this run is full. Only the first process of a run may call this function.
pub(crate) fn disk_is_full() -> bool {
    // The work directory of a session is on the file system of the results.
    ["/tmp", HOME, run_places::OUTPUT]
        .into_iter()
        .any(|path| rustix::fs::statvfs(path).is_ok_and(|found| found.f_bavail == 0 || found.f_ffree == 0))
}

/// Maximum number of files whose size is compared with a limit.
const MAX_SEEN: usize = 100_000;

/// Returns true if a file in a directory that the step may write has exactly this size. At most [`MAX_SEEN`] files are
/// compared.
pub(crate) fn has_file_of_size(view: &StepPaths, bytes: u64) -> bool {
    let writable = |access| matches!(access, PathAccess::Write | PathAccess::WriteNoExecute);
    let trees = view.grants.iter().filter(|grant| writable(grant.access));
    let mut rest: Vec<PathBuf> = trees.map(|grant| grant.path.clone()).collect();
    let mut seen = 0;
    while let Some(directory) = rest.pop() {
        // `DirEntry::metadata` follows no link.
        for (path, found) in
            fs::read_dir(directory).into_iter().flatten().flatten().map(|one| (one.path(), one.metadata()))
        {
            seen += 1;
            match found {
                _ if seen > MAX_SEEN => return false,
                Ok(found) if found.is_dir() => rest.push(path),
                Ok(found) if found.is_file() && found.len() == bytes => return true,
                _ => {}
            }
        }
    }
    false
}

/// Path of the step's private directory in the run's own root file system.
pub(crate) const HOME: &str = "/tmp/work";

/// Returns the paths in the list `write` that exist on the host.
pub(crate) fn host_paths(write: &[String]) -> impl Iterator<Item = &str> {
    write.iter().map(String::as_str).filter(|path| *path != "{work}")
}

/// Returns all paths of the host that a profile names.
pub(crate) fn named_paths(profile: &Profile) -> impl Iterator<Item = &str> {
    profile.read.iter().chain(&profile.sockets).map(String::as_str).chain(host_paths(&profile.write))
}

/// Returns true if the run gets paths of the host.
pub(crate) fn gives_paths(request: &RunRequest) -> bool {
    !request.profile.read.is_empty() || host_paths(&request.profile.write).next().is_some()
}

/// Returns the first tree of the host in which the step works and starts, if there is one.
fn begins_in(profile: &Profile) -> Option<&str> {
    if profile.workdir == Workdir::Private { None } else { host_paths(&profile.write).next() }
}

/// Returns the directory in which a step with its own root file system starts.
pub(crate) fn work_of(profile: &Profile) -> &str {
    begins_in(profile).unwrap_or(HOME)
}

const MOUNT_READ_ONLY: u64 = libc::MOUNT_ATTR_RDONLY;
const MOUNT_NO_DEV: u64 = libc::MOUNT_ATTR_NODEV;
const MOUNT_NO_EXEC: u64 = libc::MOUNT_ATTR_NOEXEC;

/// A mount that was cloned from the host and is not attached yet.
struct Source {
    mount: OwnedFd,
    directory: bool,
    /// True for a live tree, which the step may write.
    writable: bool,
    /// Mount point, relative to the new root.
    target: String,
}

impl Source {
    fn take(path: &str, flags: u64) -> Result<Self, SetupFailure> {
        Self::copy(&Self::open(path)?, path, flags, SetupStage::Mounts)
    }

    fn open(path: &str) -> Result<OwnedFd, SetupFailure> {
        rustix::fs::open(path, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
            .at(SetupStage::Mounts, format!("open {path}"))
    }

    fn take_real(path: &str, flags: u64) -> Result<Self, SetupFailure> {
        Self::copy(&Self::open_real(path)?, path, flags, SetupStage::ReadPath)
    }

    /// Opens a path of the profile. The path must still be the real path that was signed.
    fn open_real(path: &str) -> Result<OwnedFd, SetupFailure> {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        rustix::fs::openat2(CWD, path, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS)
            .at(SetupStage::ReadPath, format!("open the profile's path {path}"))
    }

    fn copy(opened: &OwnedFd, path: &str, flags: u64, stage: SetupStage) -> Result<Self, SetupFailure> {
        let what = || format!("bind {path}");
        let kind = rustix::fs::fstat(opened).at(stage, what())?.st_mode;
        let mount = rustix::mount::open_tree(
            opened,
            "",
            OpenTreeFlags::OPEN_TREE_CLONE
                | OpenTreeFlags::OPEN_TREE_CLOEXEC
                | OpenTreeFlags::AT_RECURSIVE
                | OpenTreeFlags::AT_EMPTY_PATH,
        )
        .at(stage, what())?;
        // Set the mount flags before attaching the mount, so that it is never writable in the run.
        syscalls::set_mount_flags(mount.as_fd(), flags | libc::MOUNT_ATTR_NOSUID, true).at(stage, what())?;
        let directory = rustix::fs::FileType::from_raw_mode(kind) == rustix::fs::FileType::Directory;
        let writable = flags & MOUNT_READ_ONLY == 0;
        Ok(Self { mount, directory, writable, target: path.trim_start_matches('/').to_owned() })
    }

    /// Creates the mount point, and attaches the mount there.
    fn put(&self) -> Result<(), SetupFailure> {
        let make = |target: &Path| {
            if self.directory { fs::create_dir(target) } else { fs::File::create_new(target).map(drop) }
        };
        match with_parents(&self.target, make) {
            // The mount covers an existing path.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
            made => made,
        }
        .at(SetupStage::Mounts, format!("make room for {}", self.target))?;
        move_to(&self.mount, &self.target)
    }
}

/// The paths of the host that every run sees, read once.
struct Host {
    /// Directories to mount.
    directories: Vec<&'static str>,
    /// Links to create.
    links: Vec<(&'static str, PathBuf)>,
    /// Small files to copy.
    files: Vec<(&'static str, Vec<u8>)>,
}

impl Host {
    fn look(home: &str) -> Self {
        let mut host = Self { directories: Vec::new(), links: Vec::new(), files: Vec::new() };
        for path in SYSTEM.into_iter().chain(etc_directories()).chain(ETC_FILES) {
            let Ok(found) = fs::symlink_metadata(path) else { continue };
            if found.is_symlink() {
                host.links.extend(fs::read_link(path).map(|target| (path, target)));
            } else if found.is_dir() && !ETC_FILES.contains(&path) {
                host.directories.push(path);
            } else if found.is_file() && found.len() <= MAX_COPY {
                // A file that this process may not read is left out.
                host.files.extend(fs::read(path).map(|bytes| (path, bytes)));
            }
        }
        let users = format!(
            "root:x:0:0:root:/:/bin/sh\nstep:x:{INNER_ID}:{INNER_ID}::{home}:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n"
        );
        let groups = format!("root:x:0:\nstep:x:{INNER_ID}:\nnogroup:x:65534:\n");
        host.files.extend([
            ("/etc/passwd", users.into_bytes()),
            ("/etc/group", groups.into_bytes()),
            ("/etc/nsswitch.conf", b"passwd: files\ngroup: files\nhosts: files\n".into()),
            ("/etc/hosts", format!("127.0.0.1 localhost\n::1 localhost\n127.0.1.1 {HOST_NAME}\n").into_bytes()),
        ]);
        host
    }

    /// Creates links and files below the working directory, which is the new root of the run.
    fn put(&self) -> Result<(), SetupFailure> {
        for (path, target) in &self.links {
            let name = path.trim_start_matches('/');
            with_parents(name, |place| symlink(target, place)).at(SetupStage::Mounts, format!("link {name}"))?;
        }
        for (path, bytes) in &self.files {
            let name = path.trim_start_matches('/');
            with_parents(name, |place| new_file(place, bytes, 0o444))
                .at(SetupStage::Mounts, format!("write {name}"))?;
        }
        Ok(())
    }
}

fn with_parents(name: &str, make: impl Fn(&Path) -> io::Result<()>) -> io::Result<()> {
    let place = Path::new(name);
    match make(place) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            place.parent().map_or(Ok(()), fs::create_dir_all)?;
            make(place)
        }
        made => made,
    }
}

fn tmpfs(target: &str, options: &str, more: MountFlags) -> Result<(), SetupFailure> {
    let what = || format!("mount a tmpfs at {target}");
    let options = std::ffi::CString::new(options).map_err(|_| SetupFailure::new(SetupStage::Mounts, what()))?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV | more;
    rustix::mount::mount("tmpfs", target, "tmpfs", flags, options.as_c_str()).at(SetupStage::Mounts, what())
}

fn directory_at(path: &str, mode: u32) -> Result<(), SetupFailure> {
    fs::DirBuilder::new().mode(mode).create(path).at(SetupStage::Mounts, format!("make the directory {path}"))
}

fn file_at(path: &str, bytes: &[u8], mode: u32) -> Result<(), SetupFailure> {
    new_file(Path::new(path), bytes, mode).at(SetupStage::Mounts, format!("write {path}"))
}

fn new_file(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?.write_all(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_of_each_jdk_is_found_by_its_name() {
        let home = tempfile::tempdir().expect("a directory");
        for name in [
            "java-17-openjdk-amd64",
            "java-1.17.0-openjdk-amd64",
            "openjdk-17",
            "java-21-openjdk-arm64",
            "java-8-oracle",
            "java--openjdk",
        ] {
            fs::create_dir(home.path().join(name)).expect("a directory");
        }
        assert_eq!(java_directories(home.path()), ["/etc/java-17-openjdk", "/etc/java-21-openjdk"]);
        assert!(java_directories(&home.path().join("none")).is_empty());
    }
}
