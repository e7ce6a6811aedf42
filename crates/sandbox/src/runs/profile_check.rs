//! Checks whether this host can enforce a profile, before a nonce is spent.

use std::path::{Path, PathBuf};

use crate::{
    CodeInMemory, ExecutableFiles, HostId, HostProbe, NamePatterns, RunForm, SyscallFilter,
    Unavailable,
    isolation::{
        ids,
        mounts::Mounts,
        probe::level,
        profile_paths::{
            check_denied, check_overlays, check_paths, check_reached, check_sockets, check_trees,
        },
        step_paths, system_paths,
    },
    programs::listed_programs::{self, FoundLists},
};
use documents::{
    ISOLATED, Layer, Level, MAX_HOSTS, NetworkMode, Proc, Profile, ProgramList, STRICT, Workdir,
    check_host,
};

/// Checked profile, with the mechanisms that will enforce it.
#[derive(Debug)]
#[must_use]
pub struct Prepared {
    pub(crate) profile: Profile,
    pub(crate) form: RunForm,
    /// User of the host for the run, or `None` if the run has ids of its own.
    pub(crate) user: Option<HostId>,
    pub(crate) landlock: bool,
    pub(crate) filter: Option<SyscallFilter>,
    pub(crate) level: Level,
    pub(crate) layers: Vec<Layer>,
    /// The only files that the run may execute, or `None` if the run may execute every file that it can read.
    pub(crate) programs: Option<ExecutableFiles>,
    /// True if the run records its programs for a person who writes a list.
    pub(crate) learn: bool,
    /// True if the report keeps no output.
    pub(crate) stream: bool,
}

impl Prepared {
    /// Passes the output only to the function that receives it live. The report then has the number of bytes, but no
    /// output.
    pub fn streaming(self) -> Self {
        Self {
            stream: true,
            ..self
        }
    }

    /// Returns true if the run gets its own root file system.
    pub fn has_own_root(&self) -> bool {
        self.form == RunForm::Namespaces
    }

    /// Records each program that the run starts, for [`Report::learned`](crate::runs::Report).
    pub fn learning(self) -> Self {
        Self {
            learn: true,
            ..self
        }
    }

    /// Returns the uid and gid of the host user in `run_as`, or `None` if the run has ids of its own.
    pub fn host_ids(&self) -> Option<(u32, u32)> {
        self.user.map(|user| (user.uid, user.gid))
    }

    /// Restricts the run to the programs of a list.
    fn with_programs(
        mut self,
        list: &ProgramList,
        lists: &FoundLists,
    ) -> Result<Self, Unavailable> {
        if self.form != RunForm::Namespaces || !self.landlock || self.filter.is_none() {
            let why =
                "a list of programs needs the layers namespaces, landlock and seccomp".to_owned();
            return Err(Unavailable::Invalid { why });
        }
        let files = lists
            .files_of(list)
            .map_err(|why| Unavailable::Programs { why })?;
        self.layers.push(Layer::Programs);
        self.layers.sort_unstable();
        let compiles = listed_programs::compile_in_memory(&files.programs);
        let code = if compiles {
            CodeInMemory::NoFiles
        } else {
            CodeInMemory::MappedFiles
        };
        self.filter = self.filter.map(|filter| SyscallFilter { code, ..filter });
        self.programs = Some(files);
        Ok(self)
    }

    /// Returns the checked profile.
    pub fn profile(&self) -> &Profile {
        &self.profile
    }

    /// Returns the level that the run will have.
    pub fn level(&self) -> Level {
        self.level
    }

    /// Returns the layers that will be enforced, sorted.
    pub fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// Returns the layers of `strict` and of the profile that will not be enforced, sorted.
    pub fn missing(&self) -> Vec<Layer> {
        let mut expected: Vec<Layer> = STRICT
            .into_iter()
            .chain(self.profile.require.iter().copied())
            .collect();
        expected.retain(|layer| !self.layers.contains(layer));
        expected.sort_unstable();
        expected.dedup();
        expected
    }
}

/// Facts about the service that the checks need.
pub struct HostSurroundings {
    /// The private set, as real paths.
    pub private: Vec<PathBuf>,
    /// Directories that no run may change, as real paths.
    unwritable: Vec<PathBuf>,
    /// Parent directory of the directories of runs on the host's root file system.
    pub scratch: PathBuf,
    /// The search for the files of lists.
    lists: FoundLists,
    /// A private path that every run would see, and the visible directory that overlaps with it.
    exposed: Option<(PathBuf, PathBuf)>,
}

impl HostSurroundings {
    /// Determines which private path every run would see on this host.
    pub fn new(private: Vec<PathBuf>, unwritable: Vec<PathBuf>, scratch: PathBuf) -> Self {
        let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let visible: Vec<PathBuf> = system_paths::always_visible().map(real).collect();
        let mounts = Mounts::of_this_process().unwrap_or_default();
        let exposed = private
            .iter()
            .find_map(|own| Some((own.clone(), overlap(&mounts, own, &visible)?.clone())));
        Self {
            private,
            unwritable,
            scratch,
            lists: FoundLists::default(),
            exposed,
        }
    }
}

/// Checks if `profile` can be enforced on the host that `probe` describes.
pub fn check(
    profile: &Profile,
    probe: &HostProbe,
    around: &HostSurroundings,
) -> Result<Prepared, Unavailable> {
    refuse_what_makes_no_sense(profile)?;
    let denied = NamePatterns::new(&profile.deny).map_err(|why| Unavailable::Invalid { why })?;
    let user = match profile.run_as.as_str() {
        ISOLATED => None,
        name => Some(ids::of_user(name).map_err(|why| Unavailable::Invalid {
            why: format!("the step can't run as {name}: {why}"),
        })?),
    };
    // Check namespaces first, because other layers depend on them.
    let mut required = profile.require.clone();
    required.sort_by_key(|layer| *layer != Layer::Namespaces);
    for layer in required {
        if let Some(missing) = probe.missing(layer) {
            return Err(Unavailable::Layer {
                layer,
                missing: missing.clone(),
            });
        }
    }
    if let Some(missing) = &probe.broken {
        return Err(Unavailable::Broken {
            missing: missing.clone(),
        });
    }
    check_paths(&profile.read)?;
    check_trees(profile)?;
    check_sockets(profile)?;
    check_denied(profile, &denied)?;
    let off = profile.off_reason.is_some();
    let form = if off { RunForm::Host } else { probe.form };
    let landlock = !off && probe.missing(Layer::Landlock).is_none();
    let filter =
        (!off && probe.missing(Layer::Seccomp).is_none()).then(|| SyscallFilter::of(form, profile));
    if form == RunForm::Host {
        check_host_form(profile, probe, around)?;
    }
    let mounts = if step_paths::named_paths(profile).next().is_none() {
        Mounts::default()
    } else {
        Mounts::of_this_process().map_err(|error| Unavailable::Invalid {
            why: format!("the mount table can't be read ({error}); mount /proc"),
        })?
    };
    keep_private(profile, probe, around, &mounts, form, landlock)?;
    keep_unwritable(profile, around, &mounts)?;
    if form == RunForm::Namespaces {
        check_overlays(profile, &mounts)?;
        check_reached(profile, probe)?;
    }
    let mut layers = if off { Vec::new() } else { probe.held() };
    // A run with access to the host's network does not have the layer `network`, even if policy allows this access.
    layers.retain(|layer| *layer != Layer::Network || profile.network.mode != NetworkMode::Host);
    let level = if off { Level::Off } else { level(&layers) };
    let prepared = Prepared {
        profile: profile.clone(),
        form,
        user,
        landlock,
        filter,
        level,
        layers,
        programs: None,
        learn: false,
        stream: false,
    };
    match &profile.programs {
        Some(list) => prepared.with_programs(list, &around.lists),
        None => Ok(prepared),
    }
}

/// Smallest memory limit with which a script starts. Bash alone needs 384 KiB of data. In a control group, the stack of
/// bash, the page tables and the run's first process count too. The other limits need no minimum, because an empty
/// script succeeds even with their smallest values, except with a time limit of about a millisecond.
pub const LEAST_MEMORY: u64 = 4 << 20;

fn refuse_what_makes_no_sense(profile: &Profile) -> Result<(), Unavailable> {
    let invalid = |why: &str| Err(Unavailable::Invalid { why: why.into() });
    let trees = step_paths::host_paths(&profile.write).count();
    if profile.workdir != Workdir::Private && trees == 0 {
        return invalid(
            "the work directory is a tree of the host, but `write` names no tree; add a tree to `write`, or use \
             \"private\"",
        );
    }
    if profile.workdir == Workdir::Private && trees > 0 {
        return invalid(
            "the work directory is private, but `write` names a tree of the host; use \"copy\", \"overlay\" or \
             \"in-place\"",
        );
    }
    if profile.network.mode != NetworkMode::Allow && !profile.network.hosts.is_empty() {
        return invalid(
            "the profile names network hosts, but the network mode is not \"allow\"; use \"allow\", or remove the \
             hosts",
        );
    }
    if profile.network.mode == NetworkMode::Allow && profile.network.hosts.is_empty() {
        return invalid(
            "the network mode is \"allow\", but the profile names no host; add a host, or use \"none\"",
        );
    }
    if profile.network.hosts.len() > MAX_HOSTS {
        return invalid(&format!(
            "the profile names more than {MAX_HOSTS} network hosts; name fewer hosts"
        ));
    }
    profile
        .network
        .hosts
        .iter()
        .try_for_each(|host| check_host(host))
        .map_err(|why| Unavailable::Invalid { why })?;
    if profile.network.mode == NetworkMode::Host && profile.require.contains(&Layer::Network) {
        return invalid(
            "the profile requires the layer network, but uses the network of the host; remove one of the two",
        );
    }
    let limits = &profile.limits;
    for (name, value) in [
        ("wall_ms", limits.wall_ms),
        ("cpu_milli", limits.cpu_milli),
        ("memory_bytes", limits.memory_bytes),
        ("processes", limits.processes),
        ("file_bytes", limits.file_bytes),
        ("disk_bytes", limits.disk_bytes),
        ("output_bytes", limits.output_bytes),
    ] {
        if value == 0 {
            return invalid(&format!("the limit {name} is 0; use a larger value"));
        }
    }
    if limits.memory_bytes < LEAST_MEMORY {
        return invalid(&format!(
            "the limit memory_bytes is {}, which is too small for any interpreter; use at least {} MiB",
            limits.memory_bytes,
            LEAST_MEMORY >> 20
        ));
    }
    match &profile.off_reason {
        Some(reason) if reason.trim().is_empty() => {
            invalid("off_reason is empty; write why the sandbox is off")
        }
        Some(_) if !profile.require.is_empty() => {
            invalid("the profile requires layers, but the sandbox is off; remove one of the two")
        }
        _ => Ok(()),
    }
}

fn check_host_form(
    profile: &Profile,
    probe: &HostProbe,
    around: &HostSurroundings,
) -> Result<(), Unavailable> {
    let copied = matches!(profile.workdir, Workdir::Copy | Workdir::Overlay);
    for (asks, what) in [
        (
            profile.network.mode == NetworkMode::Allow,
            "a network allow list",
        ),
        (profile.proc == Proc::Full, "proc \"full\""),
        (copied, "a work directory that is a copy or an overlay"),
        (!profile.deny.is_empty(), "a deny pattern"),
        (!profile.sockets.is_empty(), "a socket of the host"),
        // The run would share its id with other processes of the user, and its end would kill them all.
        (profile.run_as != ISOLATED, "a user of the host"),
    ] {
        if asks {
            return Err(match probe.missing(Layer::Namespaces) {
                Some(missing) => Unavailable::Layer {
                    layer: Layer::Namespaces,
                    missing: missing.clone(),
                },
                None => Unavailable::Invalid {
                    why: format!("{what} needs the sandbox, but the sandbox is off"),
                },
            });
        }
    }
    if probe.own_id {
        let closed = around
            .scratch
            .ancestors()
            .find(|directory| !others_may(directory, 0o001));
        if let Some(closed) = closed {
            return Err(Unavailable::Scratch {
                closed: closed.to_owned(),
            });
        }
    }
    Ok(())
}

/// Checks that the run can't reach the private set: no private path is mounted into the run's root or granted by
/// Landlock. Without both layers, the modes of private paths must exclude the run's id.
fn keep_private(
    profile: &Profile,
    probe: &HostProbe,
    around: &HostSurroundings,
    mounts: &Mounts,
    form: RunForm,
    landlock: bool,
) -> Result<(), Unavailable> {
    // `check_paths` has checked that the paths of a profile are real paths.
    let named: Vec<PathBuf> = step_paths::named_paths(profile)
        .map(PathBuf::from)
        .collect();
    if let Some((private, through)) = &around.exposed {
        return Err(Unavailable::Private {
            private: private.clone(),
            through: moved_from(through),
        });
    }
    for private in &around.private {
        let reached = |through: String| {
            Err(Unavailable::Private {
                private: private.clone(),
                through,
            })
        };
        if let Some(path) = overlap(mounts, private, &named) {
            return reached(moved_from(path));
        }
        if form == RunForm::Host && around.scratch.starts_with(private) {
            return reached(format!(
                "the directory for runs {}; move one of the two",
                around.scratch.display()
            ));
        }
        let hidden =
            form == RunForm::Namespaces || landlock || (probe.own_id && closed_to_others(private));
        if !hidden {
            let who = if probe.own_id {
                "its mode, which gives access to other users; remove the access with chmod"
            } else {
                "the user id of the service; require namespaces or Landlock, or run the service as root"
            };
            return reached(who.into());
        }
    }
    Ok(())
}

/// Names a path of the profile that overlaps a private path, with the correction.
fn moved_from(path: &Path) -> String {
    format!(
        "{}; move the private path, or remove {} from the profile",
        path.display(),
        path.display()
    )
}

/// Refuses a run that could change a runbook, because the next seal would make the changed steps executable.
fn keep_unwritable(
    profile: &Profile,
    around: &HostSurroundings,
    mounts: &Mounts,
) -> Result<(), Unavailable> {
    if matches!(profile.workdir, Workdir::Copy | Workdir::Overlay) {
        return Ok(());
    }
    let live: Vec<PathBuf> = step_paths::host_paths(&profile.write)
        .map(PathBuf::from)
        .collect();
    match around
        .unwritable
        .iter()
        .find_map(|fixed| Some((fixed, overlap(mounts, fixed, &live)?)))
    {
        Some((fixed, path)) => Err(Unavailable::Invalid {
            why: format!(
                "a step could change {0} through {1}; remove {1} from the profile, or let the step work on a copy",
                fixed.display(),
                path.display()
            ),
        }),
        None => Ok(()),
    }
}

/// Returns the first of `paths` that contains `private` or is inside it, even through another mount.
fn overlap<'a>(mounts: &Mounts, private: &Path, paths: &'a [PathBuf]) -> Option<&'a PathBuf> {
    paths.iter().find(|path| mounts.overlap(path, private))
}

/// Returns true if the mode of the path or of a parent directory excludes other users.
fn closed_to_others(path: &Path) -> bool {
    !path.exists()
        || !others_may(path, 0o007)
        || path
            .ancestors()
            .skip(1)
            .any(|directory| !others_may(directory, 0o001))
}

fn others_may(path: &Path, bits: u32) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    path.metadata().is_ok_and(|found| found.mode() & bits != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ProbeFailures, SetupFailure, SetupStage};
    use documents::Limits;

    fn profile() -> Profile {
        Profile::nothing(STRICT.to_vec(), Limits::default())
    }

    fn strong() -> HostProbe {
        HostProbe::conclude(&ProbeFailures::default(), true)
    }

    fn poor(own_id: bool) -> HostProbe {
        let failure = SetupFailure {
            stage: SetupStage::UserNamespace,
            what: "try".into(),
            errno: Some(libc::ENOSPC),
        };
        HostProbe::conclude(
            &ProbeFailures {
                namespaces: Some(failure),
                ..ProbeFailures::default()
            },
            own_id,
        )
    }

    fn around(private: &[&Path]) -> HostSurroundings {
        HostSurroundings::new(
            private.iter().map(|&path| path.to_owned()).collect(),
            vec![],
            "/".into(),
        )
    }

    fn refusal(change: impl FnOnce(&mut Profile)) -> String {
        let mut changed = profile();
        change(&mut changed);
        check(&changed, &strong(), &around(&[]))
            .expect_err("refused")
            .to_string()
    }

    #[test]
    fn a_step_never_runs_as_root_or_as_an_unknown_user() {
        let text = refusal(|profile| profile.run_as = "root".into());
        assert!(
            text.contains("can't run as root: no step runs as root"),
            "{text}"
        );
        let text = refusal(|profile| profile.run_as = "no-such-user".into());
        assert!(
            text.contains("no-such-user: /etc/passwd does not contain this user"),
            "{text}"
        );
    }

    #[test]
    fn profiles_that_contradict_themselves_are_refused() {
        for (text, why) in [
            (refusal(|p| p.workdir = Workdir::Copy), "names no tree"),
            (refusal(|p| p.workdir = Workdir::InPlace), "names no tree"),
            (
                refusal(|p| p.write.push("/srv".into())),
                "the work directory is private",
            ),
            (refusal(|p| p.deny.push("[a".into())), "is not closed"),
            (
                refusal(|p| p.network.mode = NetworkMode::Host),
                "remove one",
            ),
            (
                refusal(|p| p.network.hosts.push("a:1".into())),
                "is not \"allow\"",
            ),
            (
                refusal(|p| p.network.mode = NetworkMode::Allow),
                "names no host",
            ),
            (refusal(|p| p.sockets.push("/usr".into())), "is no socket"),
            (
                refusal(|p| (p.write, p.workdir) = (vec!["/usr/local".into()], Workdir::Copy)),
                "belongs to the operating system",
            ),
            (
                refusal(|p| (p.write, p.workdir) = (vec!["/no/such\nplace".into()], Workdir::Copy)),
                "can't be read",
            ),
            (
                refusal(|p| (p.read, p.deny) = (vec!["/usr".into()], vec!["/usr".into()])),
                "denied by a pattern",
            ),
            (
                refusal(|p| (p.read, p.deny) = (vec!["/usr/lib".into()], vec!["/usr".into()])),
                "is in /usr, which",
            ),
            (
                refusal(|p| (p.read, p.deny) = (vec!["/usr/lib".into()], vec!["**/usr".into()])),
                "is in /usr, which",
            ),
        ] {
            assert!(text.contains(why), "{text}");
        }
        let home = tempfile::tempdir().expect("a directory");
        let base = home
            .path()
            .canonicalize()
            .expect("real")
            .display()
            .to_string();
        let both = refusal(|p| {
            (p.read, p.write, p.workdir) = (vec![base.clone()], vec![base.clone()], Workdir::Copy);
        });
        assert!(both.contains("another path of the profile"), "{both}");
    }

    #[test]
    fn limits_of_zero_and_contradictions_are_refused() {
        assert!(refusal(|p| p.limits.wall_ms = 0).contains("wall_ms is 0"));
        assert!(refusal(|p| p.limits.output_bytes = 0).contains("output_bytes is 0"));
        assert!(refusal(|p| p.limits.memory_bytes = LEAST_MEMORY - 1).contains("at least 4 MiB"));
        assert!(refusal(|p| p.off_reason = Some("because".into())).contains("remove one"));
        assert!(
            refusal(|p| (p.require, p.off_reason) = (vec![], Some(" ".into())))
                .contains("off_reason is empty")
        );
    }

    #[test]
    fn a_missing_required_layer_is_refused_with_the_setting_to_change() {
        let error = check(&profile(), &poor(true), &around(&[])).expect_err("refused");
        assert!(
            matches!(
                &error,
                Unavailable::Layer {
                    layer: Layer::Namespaces,
                    ..
                }
            ),
            "{error:?}"
        );
        assert!(
            error.to_string().contains("user.max_user_namespaces"),
            "{error}"
        );
    }

    #[test]
    fn missing_optional_layers_are_reported() {
        let weak = Profile {
            require: vec![Layer::Landlock],
            ..profile()
        };
        let prepared = check(&weak, &poor(true), &around(&[])).expect("held");
        assert_eq!(prepared.level(), Level::BestEffort);
        assert_eq!(
            prepared.missing(),
            [Layer::Filesystem, Layer::Namespaces, Layer::Network]
        );
        let prepared = check(&weak, &strong(), &around(&[])).expect("held");
        assert_eq!(
            (prepared.level(), prepared.missing()),
            (Level::Strict, vec![])
        );
    }

    #[test]
    fn a_run_without_its_own_root_directory_must_be_able_to_enter_its_working_directory() {
        use std::os::unix::fs::PermissionsExt as _;
        let closed = tempfile::tempdir().expect("a directory");
        std::fs::set_permissions(closed.path(), std::fs::Permissions::from_mode(0o700))
            .expect("mode");
        let around =
            HostSurroundings::new(vec![], vec![], closed.path().canonicalize().expect("real"));
        let weak = Profile {
            require: vec![Layer::Landlock],
            ..profile()
        };
        assert!(matches!(
            check(&weak, &poor(true), &around),
            Err(Unavailable::Scratch { .. })
        ));
        assert!(
            check(&weak, &poor(false), &around).is_ok(),
            "the service's own id can"
        );
        assert!(
            check(&weak, &strong(), &around).is_ok(),
            "a root of its own needs no directory"
        );
        let full = Profile {
            proc: Proc::Full,
            ..weak
        };
        assert!(matches!(
            check(&full, &poor(false), &around),
            Err(Unavailable::Layer { .. })
        ));
    }

    #[test]
    fn no_run_can_see_the_private_set() {
        let home = tempfile::tempdir().expect("a directory");
        let base = home.path().canonicalize().expect("real");
        let private = base.join("boundary");
        std::fs::create_dir(&private).expect("a directory");
        let reads = |path: &Path| Profile {
            read: vec![path.display().to_string()],
            ..profile()
        };
        for read in [&base, &private] {
            let refused =
                check(&reads(read), &strong(), &around(&[&private])).expect_err("refused");
            assert!(matches!(refused, Unavailable::Private { .. }), "{refused}");
        }
        let inside = private.join("runbooks");
        std::fs::create_dir(&inside).expect("a directory");
        assert!(check(&reads(&inside), &strong(), &around(&[&private])).is_err());
        assert!(
            check(
                &profile(),
                &strong(),
                &around(&[Path::new("/usr/local/boundary")])
            )
            .is_err()
        );
        assert!(check(&profile(), &strong(), &around(&[&private])).is_ok());
    }

    #[test]
    fn without_a_sandbox_the_file_modes_of_the_private_set_must_exclude_other_users() {
        use std::os::unix::fs::PermissionsExt as _;
        let home = tempfile::tempdir().expect("a directory");
        std::fs::set_permissions(home.path(), std::fs::Permissions::from_mode(0o755))
            .expect("mode");
        let private = home.path().canonicalize().expect("real").join("boundary");
        std::fs::create_dir(&private).expect("a directory");
        let off = Profile {
            require: vec![],
            off_reason: Some("host tools".into()),
            ..profile()
        };
        let mode = |mode| {
            std::fs::set_permissions(&private, std::fs::Permissions::from_mode(mode)).expect("mode")
        };
        mode(0o755);
        assert!(matches!(
            check(&off, &strong(), &around(&[&private])),
            Err(Unavailable::Private { .. })
        ));
        mode(0o700);
        let prepared = check(&off, &strong(), &around(&[&private])).expect("held");
        assert_eq!((prepared.level(), prepared.layers()), (Level::Off, &[][..]));
        assert!(
            check(&off, &poor(false), &around(&[&private])).is_err(),
            "the service's own id can read it"
        );
    }
}
