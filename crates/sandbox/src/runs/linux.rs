//! The part of the sandbox in the service: it probes the host and requests runs from the helper.
mod trials;

use std::{
    fs::File,
    io::{self, Read as _},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    sync::OnceLock,
    time::Duration,
};

use rustix::fs::OFlags;

use crate::{
    AtStage as _, CancelFlag, Chunk, Descriptors, FollowedRun, HelperMessage, HostId, HostProbe,
    Id, Missing, PATIENCE, Plan, Prepared, ProbeFailures, ProgramRecorder, Report, RunDir, RunForm,
    RunRequest, SetupFailure, SetupStage, Start, Unavailable,
    isolation::{
        cgroup::{GroupParent, RunGroup},
        confine,
        helper::Helper,
        ids::Ids,
        leftovers, profile_paths, run_dir,
        run_places::RESULTS,
        secret_files::entry_of,
        step_files, step_paths,
    },
    planned_secret,
    programs::program_recorder::ProgramRules,
    protocol,
    relay::{Relay, Resolve},
    runs::{
        plan_check,
        profile_check::{self, HostSurroundings},
        run_contents,
        run_follower::{DEATH, LaunchedRun},
    },
};
use documents::{Layer, NetworkMode, Profile, StepFile, Workdir};

/// Path of this program, valid even if the file on disk is replaced.
const OWN_BINARY: &str = "/proc/self/exe";
/// Maximum time in which init must read its request.
const REQUEST: Duration = Duration::from_secs(10);

/// Paths that the sandbox needs from the service.
pub struct Setup {
    /// The binary of the helper, or `None` for the binary of this program.
    pub helper: Option<PathBuf>,
    /// Parent directory for the private directories of runs on the host's root file system. If the service is root,
    /// this directory and its parents must have at least the mode 0711. Only one service may use this directory,
    /// because the service deletes leftover files in it.
    pub scratch: PathBuf,
    /// Directory for recorded output beyond 1 MiB, in files without a name.
    pub spool: PathBuf,
    /// The private set, which no run may see (rule R9).
    pub private: Vec<PathBuf>,
    /// Directories of runbooks. No run may change these directories on the host, with any profile (rule R9).
    pub unwritable: Vec<PathBuf>,
}

/// The sandbox for Linux, with the strongest form that this host supports. This type tells what this host can enforce.
/// Only a [`Starter`](crate::runs::starter::Starter) and a [`LocalSandbox`](crate::runs::starter::LocalSandbox) start
/// runs.
pub struct LinuxSandbox {
    helper: Helper,
    /// The parent of the runs' control groups, or the reason why control groups can't be used.
    groups: Result<GroupParent, String>,
    spool: PathBuf,
    around: HostSurroundings,
    ids: Ids,
    probe: HostProbe,
    overlay: OnceLock<Option<Missing>>,
}

impl LinuxSandbox {
    /// Prepares the sandbox, for [`Self::open`] and [`LocalSandbox::open`](crate::runs::starter::LocalSandbox::open).
    pub(super) fn prepare(setup: &Setup) -> io::Result<Self> {
        let binary = setup.helper.as_deref().unwrap_or(Path::new(OWN_BINARY));
        let binary = File::open(binary).map_err(|error| {
            let advice = if setup.helper.is_none() {
                "mount /proc"
            } else {
                "configure the program that starts runs"
            };
            at(binary, &error, advice)
        })?;
        // Each run needs five descriptors, so the usual soft limit of 1024 would permit only two hundred runs.
        confine::raise_descriptor_limit();
        let usable = |path: &Path| {
            let advice = "make this path a directory that the service can use";
            path.canonicalize()
                .map_err(|error| at(path, &error, advice))
        };
        let scratch = usable(&setup.scratch)?;
        let mark = leftovers::mark(&scratch);
        let _ = leftovers::end(&mark)?;
        run_dir::sweep(&scratch);
        let ids = Ids::of_this_process();
        let own_id = ids.available();
        let mut sandbox = Self {
            groups: GroupParent::find(&mark),
            helper: Helper::new(binary, mark),
            spool: usable(&setup.spool)?,
            around: HostSurroundings::new(
                setup.private.iter().map(|path| real(path)).collect(),
                setup.unwritable.iter().map(|path| real(path)).collect(),
                scratch,
            ),
            ids,
            probe: HostProbe::conclude(&ProbeFailures::default(), own_id),
            overlay: OnceLock::new(),
        };
        sandbox.probe = sandbox.try_everything(own_id);
        sandbox.probe.cgroup = match &sandbox.groups {
            Ok(groups) if groups.controllers.any() => Ok(groups.controllers.names()),
            Ok(groups) => Err(groups.lacking().unwrap_or_default()),
            Err(why) => Err(why.clone()),
        };
        Ok(sandbox)
    }
}

/// Maximum duration of a self-test, in milliseconds.
const TRIAL_MS: u64 = 20_000;
/// Returns the number of system-call filters that this process already has, for example from a container runtime.
/// Kernels before 5.9 do not report the number of filters.
fn filters_here() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let count = status
        .lines()
        .find_map(|line| line.strip_prefix("Seccomp_filters:")?.trim().parse().ok());
    count.unwrap_or(0)
}

/// The self-test script tries actions that the sandbox must refuse.
///
/// On the host's root file system, Landlock refuses access to /proc, so the step's process itself checks capabilities,
/// `no_new_privs` and the filter before each run. In its own root file system, the step may list all directories, so
/// the script tests Landlock with an attempt to execute its own file.
const SELF_TEST: &str = r#"
[ -z "$AGAIN" ] || exit 0
cd "$HOME" && ( : > probe ) || { echo "the work directory can't be written"; exit 1; }
if [ "$FORM" = namespaces ]; then
  [ "$PPID" = 1 ] || { echo "the run's first process is not the first one of a pid namespace"; exit 1; }
  ( : > /usr/countersign-probe ) 2>/dev/null && { echo "/usr can be written"; exit 1; }
  true < /proc/self/status || { echo "its own status can't be read back"; exit 1; }
  while read -r key value; do
    case $key in Cap*:) [ "$value" = 0000000000000000 ] || { echo "capabilities are left: $key $value"; exit 1; } ;; esac
  done < /proc/self/status
fi
true < /proc/self/status && while read -r key value; do
  case $key in
    Seccomp:) [ -z "$FILTERS" ] || [ "$value" = 2 ] || { echo "no system-call filter holds"; exit 1; } ;;
    Seccomp_filters:) [ -z "$FILTERS" ] || [ "$value" = "$FILTERS" ] || { echo "the run's own system-call filter does not hold"; exit 1; } ;;
  esac
done < /proc/self/status
if [ "$FORM" = namespaces ]; then
  [ -z "$LANDLOCK" ] || ! AGAIN=yes "$0" 2>/dev/null || { echo "the script can be executed: Landlock does not hold"; exit 1; }
else
  set -- /*
  [ -z "$LANDLOCK" ] || [ "$1" = "/*" ] || { echo "the root can be listed: Landlock does not hold"; exit 1; }
fi
exit 0
"#;

impl LinuxSandbox {
    /// Returns the layers that this host supports. The probe performs the whole set-up once instead of comparing
    /// version numbers.
    pub fn probe(&self) -> &HostProbe {
        &self.probe
    }

    /// Checks whether this host can enforce `profile`, before a nonce is spent.
    ///
    /// # Errors
    /// Returns the first requirement that this host can't meet, and how the operator can meet it.
    pub fn check(&self, profile: &Profile) -> Result<Prepared, Unavailable> {
        let prepared = profile_check::check(profile, &self.probe, &self.around)?;
        if prepared.form == RunForm::Namespaces
            && profile.workdir == Workdir::Overlay
            && let Some(missing) = self.overlay()
        {
            profile_paths::without_overlays(profile, missing)?;
        }
        Ok(prepared)
    }

    /// Runs a step, as [`Starter::run`](crate::runs::starter::Starter::run).
    pub(super) fn run(
        &self,
        prepared: Prepared,
        plan: Plan,
        live: &mut dyn FnMut(Chunk<'_>),
        cancel: &CancelFlag,
    ) -> Report {
        let mut run = FollowedRun::new(&self.spool, &prepared.profile.limits);
        run.recorder.stream = prepared.stream;
        let no_list =
            prepared.profile.require.contains(&Layer::Programs) && prepared.programs.is_none();
        let why = plan_check::invalid(&plan, &prepared.profile.limits)
            .or_else(|| planned_secret::invalid(&plan.secrets, prepared.has_own_root()))
            .or_else(|| {
                let why = "the profile requires a list of programs, but has no list";
                no_list.then(|| why.to_owned())
            });
        match why {
            Some(why) => run.failure = Some(SetupFailure::other(why)),
            None => self.attempt(&mut run, &prepared, &plan, live, cancel),
        }
        run.report(&prepared, self.probe.own_id)
    }

    /// Requests a run from the helper and follows the run until the run has no processes.
    fn attempt(
        &self,
        run: &mut FollowedRun,
        prepared: &Prepared,
        plan: &Plan,
        live: &mut dyn FnMut(Chunk<'_>),
        cancel: &CancelFlag,
    ) {
        run.form = prepared.form;
        let run_dir = (prepared.form == RunForm::Host).then(|| RunDir::make(&self.around.scratch));
        let run_dir = run_dir.transpose().doing("make a directory for the run");
        let Ok(mut run_dir) = run_dir.map_err(|failure| run.failure = Some(failure)) else {
            return;
        };
        let wants_id = prepared.user.is_none() && self.ids.available();
        let id = wants_id.then(|| self.ids.take()).flatten();
        if id.is_none() && wants_id {
            let why = "give the run its own user id: too many runs are active; try again later";
            run.failure = Some(SetupFailure::other(why));
            return;
        }
        let own_id = id.as_ref().map(Id::number);
        let group = self.group(prepared);
        let files = plan.step_files();
        run.programs = program_rules(prepared, &files, run_dir.as_ref().map(RunDir::path))
            .and_then(ProgramRecorder::start);
        let work_in_run = run_dir.as_ref().map_or(step_paths::HOME.into(), |run_dir| {
            run_dir.path().join("work")
        });
        let request = RunRequest {
            form: prepared.form,
            landlock: prepared.landlock,
            filter: prepared.filter,
            own_id,
            interpreter: plan.interpreter.clone(),
            env: plan.env.clone(),
            profile: prepared.profile.clone(),
            programs: prepared.programs.clone(),
            record: run.programs.is_some(),
            group: group
                .as_ref()
                .map(|group| group.controllers)
                .unwrap_or_default(),
            run_dir: run_dir
                .as_ref()
                .map(|run_dir| run_dir.path().display().to_string()),
            source_bytes: plan.source.len() as u64,
            params_bytes: plan.params_json.len() as u64,
            files,
            files_in_tmp: plan.files.iter().any(|planned| planned.in_tmp),
            inputs: plan.inputs.iter().map(run_contents::entry).collect(),
            results: plan.results,
            session: plan
                .session
                .as_ref()
                .map(|session| run_contents::session(session, &work_in_run)),
            secrets: plan.secrets.iter().map(entry_of).collect(),
        };
        let start = Start {
            form: prepared.form,
            host_id: prepared
                .user
                .or(own_id.map(|id| HostId { uid: id, gid: id })),
            own_network: prepared.profile.network.mode != NetworkMode::Host,
        };
        if prepared.profile.network.mode == NetworkMode::Allow {
            let hosts = prepared.profile.network.allowed().collect();
            run.hosts = Some((hosts, Resolve::system(plan.unreachable.clone())));
        }
        let begun = self
            .begin(&start, group.as_ref())
            .at(SetupStage::Processes, "start the helper");
        match begun {
            Ok(mut launched) => {
                let sent = run_contents::send(&mut launched.control, &request, plan);
                // If the run could not be started, the helper reports the reason and closes the socket.
                run.follow(&mut launched, live, cancel);
                if let Err(not_sent) = sent
                    && (not_sent.is_own || run.failure.is_none())
                {
                    run.failure = Some(not_sent.failure);
                }
                if run.silent {
                    tracing::warn!("the helper is stopped or stuck, and a new one replaces it");
                    self.helper.replace(&launched.helper);
                }
                // The helper ends a run whose control socket closes.
                drop(launched);
            }
            Err(failure) => run.failure = Some(failure),
        }
        // The first process may still be exiting after the report, so the control group may not be empty yet.
        if run.spent.is_none() || group.is_some() {
            run.end_by_force();
        }
        run.contacts = run.relay.take().map(Relay::finish);
        let grouped = group.is_some();
        if let Some(group) = group {
            if group.end(DEATH) > 0 {
                run.stuck = true;
            }
            run.seen = Some((group.controllers, group.seen()));
        }
        if run_dir.is_some() && run.spent.is_none() && run.may_have_begun() {
            // The first process of the run was killed. Kill the other processes by the run's user id or its control
            // group.
            let left = match own_id {
                Some(id) => self.end_leftovers(id),
                None => u64::from(!grouped),
            };
            run.stuck |= left > 0;
        }
        let alive = run.stuck || run.spent.is_some_and(|spent| spent.left > 0);
        let id = match run_dir.as_mut() {
            Some(run_dir) => {
                run_dir.hold(id);
                None
            }
            None => id,
        };
        run.keep_results(plan, &work_in_run, run_dir, alive);
        if alive {
            // Living processes may still use this user id. If it were reused, the end of one run would kill processes
            // of the other.
            std::mem::forget(id);
        }
    }

    fn begin(&self, start: &Start, group: Option<&RunGroup>) -> io::Result<LaunchedRun> {
        let (control, theirs) = UnixStream::pair()?;
        let (stdout, stdout_writer) = io::pipe()?;
        let (stderr, stderr_writer) = io::pipe()?;
        for reader in [&stdout, &stderr] {
            rustix::fs::fcntl_setfl(reader, OFlags::NONBLOCK)?;
        }
        control.set_write_timeout(Some(REQUEST))?;
        let descriptors = Descriptors {
            control: theirs.into(),
            stdout: stdout_writer.into(),
            stderr: stderr_writer.into(),
            cgroup: group.map(RunGroup::open).transpose()?,
        };
        let helper = self.helper.begin(start, &descriptors)?;
        Ok(LaunchedRun {
            helper,
            control,
            stdout,
            stderr,
        })
    }

    /// Creates a control group if it can enforce a limit, or if no pid namespace contains the processes of the run.
    fn group(&self, prepared: &Prepared) -> Option<RunGroup> {
        let groups = self.groups.as_ref().ok()?;
        if !groups.controllers.any() && prepared.form == RunForm::Namespaces {
            return None;
        }
        groups
            .make(&prepared.profile.limits)
            .inspect_err(|error| tracing::warn!(%error, "a run has no control group"))
            .ok()
    }

    /// Kills all processes with the user id `own_id`. Returns the number of processes that are still alive, or 1 if the
    /// number is unknown.
    fn end_leftovers(&self, own_id: u32) -> u64 {
        let host_id = Some(HostId {
            uid: own_id,
            gid: own_id,
        });
        let start = Start {
            form: RunForm::Sweep,
            host_id,
            own_network: true,
        };
        let swept = self.begin(&start, None).and_then(|mut launched| {
            // The helper sends one message when the processes have ended, and then closes its socket.
            launched.control.set_read_timeout(Some(DEATH + PATIENCE))?;
            let mut said = Vec::new();
            launched.control.read_to_end(&mut said)?;
            while let Some(message) = protocol::take_message(&mut said)? {
                if let HelperMessage::Empty(spent) = message {
                    return Ok(spent.left);
                }
            }
            Err(io::Error::other(
                "the helper did not report whether a process of the run is left",
            ))
        });
        swept.unwrap_or_else(|error| {
            tracing::error!(%error, "the processes of a run whose first process was killed could not be ended");
            1
        })
    }
}

/// Returns the rules by which the programs of a run are recorded, or `None` if the run has no record.
fn program_rules(
    prepared: &Prepared,
    files: &[StepFile],
    run_dir: Option<&Path>,
) -> Option<ProgramRules> {
    let profile = &prepared.profile;
    let own = run_dir.map_or_else(
        || vec!["/tmp".into(), RESULTS.into()],
        |run_dir| vec![run_dir.to_owned()],
    );
    let writable = step_paths::host_paths(&profile.write)
        .map(PathBuf::from)
        .chain(own)
        .collect();
    match &prepared.programs {
        Some(list) => {
            let work = Path::new(step_paths::work_of(profile));
            let programs = step_files::programs(work, files).collect();
            Some(ProgramRules::listed(list, writable, programs))
        }
        None => prepared
            .learn
            .then(|| ProgramRules::any(profile.read.iter().map(PathBuf::from).collect(), writable)),
    }
}

fn at(path: &Path, error: &io::Error, advice: &str) -> io::Error {
    io::Error::new(
        error.kind(),
        format!("{}: {error}; {advice}", path.display()),
    )
}

/// Resolves symbolic links in the existing part of `path`.
fn real(path: &Path) -> PathBuf {
    let existing = path
        .ancestors()
        .find_map(|ancestor| ancestor.canonicalize().ok().map(|real| (ancestor, real)));
    match existing {
        Some((ancestor, real)) => path.strip_prefix(ancestor).map_or(path.to_owned(), |rest| {
            real.components().chain(rest.components()).collect()
        }),
        None => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_private_path_is_protected_before_it_exists() {
        let home = tempfile::tempdir().expect("a directory");
        let base = home.path().canonicalize().expect("real");
        std::os::unix::fs::symlink(&base, base.join("link")).expect("a link");
        assert_eq!(
            real(&base.join("link/key/new.pem")),
            base.join("key/new.pem")
        );
        assert_eq!(real(&base), base);
    }
}
