//! Creates the directories of a run for its inputs, its results and its session.
//!
//! In namespaces, the results are on a file system of their own. Its size limit is the limit of the run's private
//! files. The service gets a descriptor of this file system before the step starts, so the results survive the
//! namespaces of the run. The step sees only the directories of this file system. Each directory is a mount, so the
//! step can't rename the directory.

use std::{
    ffi::OsStr,
    fs::File,
    io::{self, Read, Write as _},
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::{ffi::OsStrExt as _, fs::chown, net::UnixStream},
    },
    path::{Path, PathBuf},
};

use rustix::{fs::OFlags, mount::MountFlags};

use crate::{
    AtStage, Disk, HelperMessage, InputEntry, PathAccess, PathGrant, RunRequest, RunTexts,
    SESSION_STATE_FILE, SESSION_WRAPPER_FILE, SetupFailure, SetupResult, SetupStage,
    WrapperRequest, directory_at,
    isolation::{
        mounts::{below_root, create_file, new_file, seal, tmpfs},
        opened::open,
        session_tree,
    },
    protocol,
};
use documents::{ContentDigest, Sha256Stream};

/// The directory of a run's results that `$COUNTERSIGN_OUTPUT` names.
pub const FILES: &str = "files";
/// The directory of a run's results with the file [`OUTPUTS`].
pub const VALUES: &str = "values";
/// The file that `$RUNBOOK_OUTPUT` names.
pub const OUTPUTS: &str = "outputs";
/// The directory of a run's results with the file [`STATE`].
pub const SESSION: &str = "session";
/// The file to which the wrapper of a session writes the state of the shell.
pub const STATE: &str = "state";
/// Directory of the inputs and of the wrapper in a run with its own root.
const STEP: &str = "/run/step";
/// Directory of the results in a run with its own root.
pub const RESULTS: &str = "/run/results";
/// Directory of the captured files in a run with its own root.
pub const OUTPUT: &str = "/run/results/files";
/// Temporary mount point of the file system with the results, relative to the new root.
const DISK: &str = "run/step/results";
/// Name of the directory with the inputs.
const ARTIFACTS: &str = "artifacts";
/// Name of the private work directory.
const WORK: &str = "work";
/// Private work directory, relative to the new root.
const WORK_PLACE: &str = "tmp/work";
/// Home directory of a run with a session and its own root.
pub const SESSION_HOME: &str = "/tmp/home";
/// Size of a page of memory, in bytes. The size of a file in memory is rounded up to whole pages.
const PAGE: u64 = 4096;

/// The paths of the run's inputs, results and session, as the run sees them.
#[derive(Default)]
pub struct RunPlaces {
    artifacts: Option<PathBuf>,
    results: Option<PathBuf>,
    state: Option<PathBuf>,
    wrapper: Option<PathBuf>,
    /// Home directory of a run with a session.
    pub home: Option<PathBuf>,
    /// Descriptor of the directory with the results, and of the work directory of a session.
    left: (Option<OwnedFd>, Option<OwnedFd>),
    pub grants: Vec<PathGrant>,
}

/// Creates the directories in a run with its own root, below the current directory. `options` are the mount options of
/// the run's private files.
pub fn in_own_root(
    request: &RunRequest,
    texts: &RunTexts,
    from: &mut UnixStream,
    options: &str,
    write: (MountFlags, PathAccess),
) -> SetupResult<RunPlaces> {
    let mut places = RunPlaces::default();
    if !request.inputs.is_empty() {
        let directory = Path::new(STEP).join(ARTIFACTS);
        mount_inputs(&request.inputs, below_root(&directory), from)?;
        places.artifacts = Some(directory);
    }
    if request.results || request.session.is_some() {
        results_in_own_root(&mut places, request, options, write)?;
    }
    if let Some(session) = &request.session {
        if session.tree {
            session_tree::receive(from, Path::new(WORK_PLACE), None)?;
        }
        make_directory(below_root(Path::new(SESSION_HOME)), None)?;
        places.home = Some(SESSION_HOME.into());
        if let Some(wrapper) = &session.wrapper {
            let path = wrapper_path(Path::new(STEP), wrapper);
            write_wrapper(below_root(&path), &texts.wrapper, 0o400)?;
            places.wrapper = Some(path);
        }
    }
    Ok(places)
}

/// Mounts a read-only file system with the inputs at `directory`.
fn mount_inputs(inputs: &[InputEntry], directory: &Path, from: &mut UnixStream) -> SetupResult {
    let pages: u64 = inputs
        .iter()
        .map(|input| input.bytes.div_ceil(PAGE) + 1)
        .sum();
    let options = format!(
        "mode=0755,size={},nr_inodes={}",
        (pages + 1) * PAGE,
        inputs.len() + 2
    );
    directory_at(directory, 0o755)?;
    tmpfs(directory, &options, MountFlags::NOEXEC)?;
    write_inputs(inputs, directory, from)?;
    seal(directory, libc::MOUNT_ATTR_RDONLY).at(SetupStage::Mounts, "mount the inputs of the run")
}

/// Writes the inputs, whose contents the service sends one after the other.
fn write_inputs(inputs: &[InputEntry], directory: &Path, from: &mut UnixStream) -> SetupResult {
    for input in inputs {
        let digest = create_file(&directory.join(input.name.as_str()), 0o444)
            .and_then(|file| copy_and_hash(from, file, input.bytes))
            .at(
                SetupStage::Workdir,
                format!("copy the artifact {}", input.name),
            )?;
        if digest != input.digest {
            let why = format!(
                "the content of the artifact {} does not have the signed digest",
                input.name
            );
            return Err(SetupFailure::new(SetupStage::Workdir, why));
        }
    }
    Ok(())
}

fn copy_and_hash(from: &mut UnixStream, mut to: File, bytes: u64) -> io::Result<ContentDigest> {
    let (mut hash, mut buffer, mut left) = (Sha256Stream::default(), vec![0; 64 << 10], bytes);
    while left > 0 {
        let now = buffer
            .len()
            .min(usize::try_from(left).unwrap_or(usize::MAX));
        from.read_exact(&mut buffer[..now])?;
        hash.update(&buffer[..now]);
        to.write_all(&buffer[..now])?;
        left -= now as u64;
    }
    Ok(ContentDigest::from_bytes(hash.finish()))
}

fn results_in_own_root(
    places: &mut RunPlaces,
    request: &RunRequest,
    options: &str,
    (flags, access): (MountFlags, PathAccess),
) -> SetupResult {
    let results = Path::new(RESULTS);
    directory_at(below_root(results), 0o755)?;
    let disk = Disk::mount(DISK, options, flags)?;
    for name in directories(request) {
        let target = results.join(name);
        make_directory(below_root(&target), None)?;
        disk.bind(name, below_root(&target))?;
        places.grants.push(PathGrant::new(target, access));
    }
    if request.session.is_some() {
        disk.bind(WORK, Path::new(WORK_PLACE))?;
    }
    open_results(
        places,
        request,
        results,
        [&disk.path(""), &disk.path(WORK)],
        None,
    )?;
    disk.detach()
}

/// Creates the file for the outputs of a run, and opens the directories that the service gets: the results and the work
/// directory. The results are at `kept` for this process, and at `results` for the step.
fn open_results(
    places: &mut RunPlaces,
    request: &RunRequest,
    results: &Path,
    [kept, work]: [&Path; 2],
    owner: Option<u32>,
) -> SetupResult {
    let mut open_all = || {
        if request.results {
            let outputs = kept.join(VALUES).join(OUTPUTS);
            new_file(&outputs, b"", 0o600)?;
            chown(&outputs, owner, owner)?;
            places.results = Some(results.to_owned());
        }
        if request.session.is_some() {
            places.state = Some(results.join(SESSION).join(STATE));
            places.left.1 = Some(open(work, DIRECTORY_TO_READ)?);
        }
        places.left.0 = Some(open(kept, DIRECTORY_TO_READ)?);
        Ok::<_, io::Error>(())
    };
    open_all().at(
        SetupStage::Mounts,
        "open the directory for the results of the run",
    )
}

const DIRECTORY_TO_READ: OFlags = OFlags::DIRECTORY.union(OFlags::NOFOLLOW);

/// Returns the names of a run's directories for results.
fn directories(request: &RunRequest) -> impl Iterator<Item = &'static str> {
    let captured = if request.results {
        &[FILES, VALUES][..]
    } else {
        &[]
    };
    captured
        .iter()
        .copied()
        .chain(request.session.as_ref().map(|_| SESSION))
}

/// Creates the directories in the private directory of a run on the host. The private directory is the current
/// directory. The user `request.own_id` owns the directories that the step may write.
pub fn on_the_host(
    request: &RunRequest,
    run_dir: &Path,
    texts: &RunTexts,
    from: &mut UnixStream,
) -> SetupResult<RunPlaces> {
    let (mut places, owner) = (RunPlaces::default(), request.own_id);
    let mut grants = Vec::new();
    let mut grant = |path, access| grants.push(PathGrant::new(path, access));
    if !request.inputs.is_empty() {
        directory_at(Path::new(ARTIFACTS), 0o755)?;
        write_inputs(&request.inputs, Path::new(ARTIFACTS), from)?;
        grant(run_dir.join(ARTIFACTS), PathAccess::Read);
        places.artifacts = Some(run_dir.join(ARTIFACTS));
    }
    if request.results || request.session.is_some() {
        results_on_the_host(&mut places, request, run_dir)?;
    }
    if let Some(session) = &request.session {
        if session.tree {
            session_tree::receive(from, Path::new(WORK), owner)?;
        }
        make_directory(Path::new("home"), owner)?;
        grant(run_dir.join("home"), PathAccess::Write);
        places.home = Some(run_dir.join("home"));
        if let Some(wrapper) = &session.wrapper {
            let path = wrapper_path(run_dir, wrapper);
            write_wrapper(
                &path,
                &texts.wrapper,
                if owner.is_some() { 0o444 } else { 0o400 },
            )?;
            grant(path.clone(), PathAccess::Read);
            places.wrapper = Some(path);
        }
    }
    places.grants.extend(grants);
    Ok(places)
}

fn results_on_the_host(
    places: &mut RunPlaces,
    request: &RunRequest,
    run_dir: &Path,
) -> SetupResult {
    let results = run_dir.join("results");
    directory_at(&results, 0o711)?;
    for name in directories(request) {
        make_directory(&results.join(name), request.own_id)?;
        places
            .grants
            .push(PathGrant::new(results.join(name), PathAccess::Write));
    }
    let kept = [&results, Path::new(WORK)];
    open_results(places, request, &results, kept, request.own_id)
}

impl RunPlaces {
    /// Sends the descriptors of the results to the service. `new` are the numbers of the step's files that were created
    /// in the work directory.
    pub fn send(&mut self, control: &UnixStream, new: Vec<u32>) -> SetupResult {
        let (results, work) = std::mem::take(&mut self.left);
        let results = results.map(|results| (HelperMessage::Results, results));
        let work = work.map(|work| (HelperMessage::Work(new), work));
        results
            .into_iter()
            .chain(work)
            .try_for_each(|(message, left)| {
                protocol::send_descriptor(control, &message, left.as_fd())
            })
            .at(SetupStage::Processes, "hand on the results of the run")
    }

    /// Returns the variables of the step that contain these paths.
    pub fn variables(&self) -> Vec<(&'static str, PathBuf)> {
        let mut all = Vec::new();
        all.extend(
            self.artifacts
                .iter()
                .map(|path| ("COUNTERSIGN_ARTIFACTS", path.clone())),
        );
        if let Some(results) = &self.results {
            for name in ["COUNTERSIGN_OUTPUT", "RUNBOOKS_OUTPUT", "GENERATED_FILES"] {
                all.push((name, results.join(FILES)));
            }
            all.push(("RUNBOOK_OUTPUT", results.join(VALUES).join(OUTPUTS)));
        }
        all
    }

    /// Replaces the placeholders in a text of the wrapper.
    pub fn fill(&self, text: &str) -> Vec<u8> {
        let path = |path: &Option<PathBuf>| {
            path.as_ref()
                .map_or(String::new(), |path| path.display().to_string())
        };
        text.replace(SESSION_WRAPPER_FILE, &path(&self.wrapper))
            .replace(SESSION_STATE_FILE, &path(&self.state))
            .into()
    }
}

/// Names of the variables that contain paths of results. A session never sets these variables, because their values may
/// come from another run of the session.
pub const OF_RESULTS: [&[u8]; 3] = [b"RUNBOOKS_OUTPUT", b"GENERATED_FILES", b"RUNBOOK_OUTPUT"];

/// Returns the variables of a session, each as name and value.
pub fn session_variables(texts: &RunTexts) -> impl Iterator<Item = (&[u8], &[u8])> {
    texts
        .session_env
        .split(|byte| *byte == 0)
        .filter_map(|line| {
            let equals = line.iter().position(|byte| *byte == b'=')?;
            Some((&line[..equals], &line[equals + 1..]))
        })
}

/// Returns the directory in which a run with a session starts, or `None` for the usual directory.
pub fn session_cwd(request: &RunRequest) -> Option<&Path> {
    let cwd = request.session.as_ref()?.cwd.as_deref()?;
    Some(Path::new(OsStr::from_bytes(cwd)))
}

fn wrapper_path(above: &Path, wrapper: &WrapperRequest) -> PathBuf {
    above.join(SESSION).join(&wrapper.name)
}

fn write_wrapper(path: &Path, content: &[u8], mode: u32) -> SetupResult {
    if let Some(directory) = path.parent() {
        directory_at(directory, 0o755)?;
    }
    new_file(path, content, mode).at(SetupStage::Mounts, "write the wrapper of the session")
}

fn make_directory(path: &Path, owner: Option<u32>) -> SetupResult {
    directory_at(path, 0o700)?;
    chown(path, owner, owner).at(SetupStage::Mounts, format!("give away {}", path.display()))
}
