//! Builds the file system view of a run.
//!
//! In namespaces, each run has a small root file system. It contains the system directories (mounted read-only), a few
//! files of `/etc`, a minimal `/dev`, a new `/proc`, private directories with a size limit, and the paths of the
//! profile. All other paths of the host are absent, including the private set.
//!
//! Without namespaces, a run uses the host's root file system. If the run has the layer `landlock`, the kernel then
//! allows only the system directories, a few files of `/etc`, a few devices, the private directories and the paths of
//! the profile.

pub(crate) mod host_view;
mod source;

use std::{
    fs, io,
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::{fs::symlink, net::UnixStream},
    },
    path::Path,
};

use rustix::mount::{self, MountFlags, MountPropagationFlags, OpenTreeFlags, UnmountFlags};

use crate::{
    AtStage as _, Disk, ExecutableFiles, HOME, NamePatterns, PathAccess, PathGrant, PutFiles,
    RunRequest, RunTexts, SYSTEM, SetupFailure, SetupResult, SetupStage, StepPaths, directory_at,
    file_at, host_paths, interpreter,
    isolation::{
        filesystem::source::{MOUNT_NO_DEV, MOUNT_NO_EXEC, MOUNT_READ_ONLY, Source},
        mounts::{below_root, clone_below, detach, seal, tmpfs},
        run_places::{self, SESSION_HOME},
        secret_files, step_files,
        step_paths::{gives_paths, work_of},
        syscalls,
        system_paths::Host,
        trees::{self, EmptyMountSources},
    },
    move_to,
};
use documents::{Proc, Workdir};

/// git's system configuration, created for a run that gets paths of the host.
pub const GIT_CONFIG: &str = "/etc/gitconfig";
/// Git configuration that accepts repositories of any owner, because git refuses repositories of another user ("dubious
/// ownership"). The approvers have allowed all repositories that a run can see. An environment variable is not enough,
/// because git does not pass `GIT_CONFIG_COUNT` to the process that serves a clone.
const GIT_TAKES_ALL: &[u8] = b"[safe]\n\tdirectory = *\n";
/// The devices that a run gets. None of them stores data.
const DEVICES: [&str; 5] = ["null", "zero", "full", "random", "urandom"];

/// Mount options of the tmpfs for the run's root file system. The tmpfs contains the script, the parameters and copies
/// of small files.
const ROOT_OPTIONS: &str = "mode=0755,size=16m,nr_inodes=4096";
/// Allowed range for the number of inodes in the work directory. Inodes use kernel memory, to which the size limit of
/// the directory does not apply.
const INODES: std::ops::RangeInclusive<u64> = 1024..=262_144;
/// Builds the root file system of a run and changes into it. Only the first process of a new mount namespace may call
/// this function. The contents of the inputs and of the session's work directory arrive over `control`.
pub fn own_root(
    request: &RunRequest,
    texts: &RunTexts,
    control: &mut UnixStream,
) -> SetupResult<StepPaths> {
    mount::mount_change(
        "/",
        MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
    )
    .at(SetupStage::Mounts, "make mounts private")?;
    // Open all source paths before a mount covers a path of the host.
    let host = Host::look(
        if request.session.is_some() {
            SESSION_HOME
        } else {
            HOME
        },
        &request.profile.network,
    );
    let listed = request.programs.as_ref();
    // With a closed list of programs, no mount is executable except those of the listed programs and of libraries.
    let (root_flags, no_exec, signed) = if listed.is_some() {
        (MountFlags::NOEXEC, MOUNT_NO_EXEC, PathAccess::SignedRead)
    } else {
        (MountFlags::empty(), 0, PathAccess::Signed)
    };
    // If the list contains `{work}/**`, the directories that the run may write are executable too.
    let (own_flags, own_no_exec, write) = if listed.is_some_and(|listed| !listed.own) {
        (
            MountFlags::NOEXEC,
            MOUNT_NO_EXEC,
            PathAccess::WriteNoExecute,
        )
    } else {
        (MountFlags::empty(), 0, PathAccess::Write)
    };
    let mut sources = Vec::new();
    for path in &host.directories {
        sources.push(Source::take(
            path,
            MOUNT_READ_ONLY | MOUNT_NO_DEV | no_exec,
        )?);
    }
    let over_system = listed.map(ExecutablePlaces::take).transpose()?;
    for name in DEVICES {
        let path = format!("/dev/{name}");
        sources.push(Source::take(&path, MOUNT_READ_ONLY | MOUNT_NO_EXEC)?);
    }
    let profile = &request.profile;
    let mut deny = NamePatterns::new(&profile.deny).map_err(SetupFailure::other)?;
    deny.sockets = profile.sockets.iter().map(Into::into).collect();
    let closed = Source::open("/dev/null")?;
    let mut shown = Vec::new();
    for path in profile.read.iter().chain(&profile.sockets) {
        shown.push(Source::take_real(
            path,
            MOUNT_READ_ONLY | MOUNT_NO_DEV | no_exec,
        )?);
    }
    let mut trees = Vec::new();
    for path in host_paths(&profile.write) {
        match profile.workdir {
            Workdir::Private | Workdir::InPlace => {
                shown.push(Source::take_real(path, MOUNT_NO_DEV | own_no_exec)?);
            }
            Workdir::Copy | Workdir::Overlay => trees.push((path, Source::open_real(path)?)),
        }
    }

    let base = ["/tmp", "/mnt", "/usr"]
        .into_iter()
        .find(|base| Path::new(base).is_dir())
        .unwrap_or("/");
    tmpfs(base, ROOT_OPTIONS, root_flags)?;
    std::env::set_current_dir(base).at(SetupStage::Mounts, "enter the new root")?;
    for directory in [
        "dev", "dev/shm", "proc", "tmp", "run", "run/step", "etc", "var",
    ] {
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
    let disk = if trees.is_empty() {
        tmpfs("tmp", &sized, own_flags)?;
        None
    } else {
        let disk = Disk::mount("run/step/disk", &sized, own_flags)?;
        disk.bind("tmp", Path::new("tmp"))?;
        Some(disk)
    };
    tmpfs(
        "dev/shm",
        &format!(
            "mode=0700,size={},nr_inodes=1024",
            limits.shared_memory_bytes()
        ),
        quiet,
    )?;
    directory_at("tmp/work", 0o700)?;
    let mut places = run_places::in_own_root(request, texts, control, &sized, (own_flags, write))?;
    let options = if profile.proc == Proc::Full {
        None
    } else {
        Some(c"subset=pid")
    };
    mount::mount("proc", "proc", "proc", quiet, options)
        .at(SetupStage::Proc, "mount a fresh /proc")?;
    for source in &sources {
        source.put()?;
    }
    for source in &shown {
        source.put()?;
    }
    // A path of the profile may contain a system directory, so the mounts of `ExecutablePlaces` are attached last.
    if let Some(places) = over_system {
        places.attach()?;
    }
    let masked = if shown.is_empty() && trees.is_empty() {
        0
    } else {
        let things = EmptyMountSources::new(closed)?;
        hide_what_is_denied(profile.workdir, &deny, disk, &trees, &shown, things)?
    };
    let work = Path::new(work_of(profile));
    let PutFiles {
        script: beside_files,
        new: new_files,
    } = step_files::mount(request, texts, work)?;
    step_files::link(request, work, Path::new("tmp"))?;
    // With "." for both names, pivot_root(2) stacks the old root on the new one, so that the old root can be unmounted
    // immediately.
    rustix::process::pivot_root(".", ".").at(SetupStage::Mounts, "change to the new root")?;
    mount::unmount(".", UnmountFlags::DETACH).at(SetupStage::Mounts, "detach the host's root")?;
    std::env::set_current_dir("/").at(SetupStage::Mounts, "enter the new root")?;
    seal("/", MOUNT_READ_ONLY).at(SetupStage::Mounts, "seal the new root")?;

    let mut grants = std::mem::take(&mut places.grants);
    grant_paths(&mut grants, request, &host, signed, write);
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

/// Adds the paths of the new root that Landlock allows, except the places of the run. `signed` is the access to the
/// paths that the profile only reads, and `write` is the access to the paths that the run may change.
fn grant_paths(
    grants: &mut Vec<PathGrant>,
    request: &RunRequest,
    host: &Host,
    signed: PathAccess,
    write: PathAccess,
) {
    let profile = &request.profile;
    let mut grant = |path: &Path, access| grants.push(PathGrant::new(path, access));
    // The run may list its root, which contains only paths that the profile allows.
    grant("/".as_ref(), PathAccess::List);
    match &request.programs {
        None => {
            for path in host.directories.iter().filter(|path| SYSTEM.contains(path)) {
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
            for path in step_files::programs(Path::new(work_of(profile)), &request.files) {
                grant(&path, PathAccess::ReadExecute);
            }
        }
    }
    for path in &profile.read {
        grant(path.as_ref(), signed);
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
}

/// The mounts that lie over the system directories of a run with a closed list of programs. The order is: directories with
/// libraries (executable), the unlisted programs in these directories (not executable), and the listed programs
/// (executable).
struct ExecutablePlaces<'a> {
    /// An executable mount of [`USR`], from which the mounts of all paths below it are cloned. A clone has the flags of its
    /// source, so each path needs only two system calls.
    usr: Source,
    /// Each path, the mount of the path if the path is not below [`USR`], and true if the mount must forbid execution.
    paths: Vec<(&'a Path, Option<Source>, bool)>,
}

/// Directory that contains most programs of a host.
const USR: &str = "/usr";
/// Temporary mount point of the executable mount of [`USR`], relative to the new root.
const USR_PLACE: &str = "run/step/usr";

impl<'a> ExecutablePlaces<'a> {
    fn take(listed: &'a ExecutableFiles) -> SetupResult<Self> {
        let mut paths = Vec::new();
        for (all, is_closed) in [
            (&listed.libraries, false),
            (&listed.closed, true),
            (&listed.programs, false),
        ] {
            for path in all {
                let text = path.to_str().ok_or_else(|| {
                    SetupFailure::new(SetupStage::Mounts, "a program's path is not UTF-8")
                })?;
                let no_exec = if is_closed { MOUNT_NO_EXEC } else { 0 };
                let source = || Source::take(text, MOUNT_READ_ONLY | MOUNT_NO_DEV | no_exec);
                let own = if path.starts_with(USR) {
                    None
                } else {
                    Some(source()?)
                };
                paths.push((path.as_path(), own, is_closed));
            }
        }
        Ok(Self {
            usr: Source::take(USR, MOUNT_READ_ONLY | MOUNT_NO_DEV)?,
            paths,
        })
    }

    fn attach(&self) -> SetupResult {
        directory_at(USR_PLACE, 0o700)?;
        move_to(&self.usr.mount, USR_PLACE)?;
        let how = OpenTreeFlags::AT_RECURSIVE | OpenTreeFlags::AT_SYMLINK_NOFOLLOW;
        for (path, own, is_closed) in &self.paths {
            let cloned;
            let mount = if let Some(own) = own {
                &own.mount
            } else {
                let bound = || {
                    let below = path.strip_prefix(USR).unwrap_or(path);
                    let cloned = clone_below(&self.usr.mount, below, how)?;
                    if *is_closed {
                        syscalls::set_mount_flags(cloned.as_fd(), MOUNT_NO_EXEC, true)?;
                    }
                    Ok::<_, io::Error>(cloned)
                };
                cloned = bound().at(SetupStage::Mounts, format!("bind {}", path.display()))?;
                &cloned
            };
            move_to(mount, below_root(path))?;
        }
        // The clones remain. After this, no path of the run leads to the executable mount itself.
        detach(USR_PLACE, "detach the executable mount")
    }
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
) -> SetupResult<u64> {
    let of_trees = trees
        .iter()
        .map(|(path, tree)| (tree.as_fd(), Path::new(*path)));
    let seen = shown
        .iter()
        .map(|source| {
            let target = Path::new(&source.target);
            let allowed = Path::new("/").join(target);
            let what = format!("look for denied names in {}", allowed.display());
            Ok((trees::open_beneath(target).doing(what)?, allowed))
        })
        .collect::<SetupResult<Vec<_>>>()?;
    let roots: Vec<_> = of_trees
        .chain(
            seen.iter()
                .map(|(root, path)| (root.as_fd(), path.as_path())),
        )
        .collect();
    let surely = workdir == Workdir::Copy;
    let mut found = deny.find(&roots, surely)?;
    let mut absent = 0;
    if let Some(disk) = disk {
        for (number, ((path, tree), denied)) in trees.iter().zip(&found).enumerate() {
            let (path, name) = (Path::new(path), format!("tree-{number}"));
            let target = below_root(path);
            fs::create_dir_all(target).at(
                SetupStage::Mounts,
                format!("make room for {}", path.display()),
            )?;
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
        let mut gone = false;
        let found = found.iter().skip(trees.len());
        for ((source, (_, path)), denied) in shown.iter().zip(&seen).zip(found) {
            let target = Path::new(&source.target);
            if source.writable {
                gone |= trees::fix(target, path, denied, &mut things)?;
            }
            gone |= trees::cover(target, path, denied, &mut things)?;
        }
        Ok(gone)
    })?;
    Ok(absent + (things.covered() - over_trees))
}
