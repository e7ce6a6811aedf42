//! Determines the layers that a host supports, from the results of test runs.
//!
//! This file also defines the reasons why this host can't enforce a profile.

use std::{fs, path::PathBuf};

use crate::{RunForm, SetupFailure, SetupStage};
use documents::{Layer, Level, STRICT};

/// The layers and limits that this host supports.
pub struct HostProbe {
    /// State of each layer of [`STRICT`], in the same order.
    pub layers: Vec<LayerState>,
    /// The kernel's Landlock ABI, if Landlock is enabled.
    pub landlock_abi: Option<u64>,
    /// True if each run gets its own user id on the host. Otherwise runs have the user id of the service.
    pub own_id: bool,
    /// Names of the limits that control groups enforce, or the reason why they enforce none.
    pub cgroup: Result<Vec<&'static str>, String>,
    /// Reason why no run is possible, even without any layer, or `None` if runs are possible.
    pub broken: Option<Missing>,
    pub(crate) form: RunForm,
}

#[derive(Default)]
pub struct ProbeFailures {
    /// Failure of the namespaces or of the run's own root file system.
    pub namespaces: Option<SetupFailure>,
    pub landlock: Option<SetupFailure>,
    pub seccomp: Option<SetupFailure>,
}

/// The state of one layer on this host.
#[derive(Debug)]
pub struct LayerState {
    /// The layer.
    pub layer: Layer,
    /// Reason why the layer can't be enforced, or `None` if it can.
    pub missing: Option<Missing>,
}

/// The reason why a layer can't be enforced.
#[derive(Debug, Clone, PartialEq)]
pub struct Missing {
    /// The failed attempt with its error.
    pub why: String,
    /// The setting that the operator must change on this host.
    pub knob: String,
}

impl Missing {
    /// Returns the reason and the advice if the kernel can't mount an overlay for a run.
    pub(crate) fn overlay(failure: &SetupFailure) -> Self {
        Self {
            why: failure.to_string(),
            knob: "run `modprobe overlay`, or let steps work on a copy".into(),
        }
    }
}

impl HostProbe {
    /// Returns the layers that this host fully enforces, sorted.
    pub fn held(&self) -> Vec<Layer> {
        let held = self
            .layers
            .iter()
            .filter(|state| state.missing.is_none())
            .map(|state| state.layer);
        held.filter(|layer| *layer != Layer::Programs).collect()
    }

    /// Returns the strongest level that this host supports.
    pub fn level(&self) -> Level {
        level(&self.held())
    }

    /// Returns the reason why this host does not have the layer, or `None` if the host has the layer.
    pub fn missing(&self, layer: Layer) -> Option<&Missing> {
        self.layers
            .iter()
            .find(|state| state.layer == layer)?
            .missing
            .as_ref()
    }

    /// Marks all layers as missing if no run is possible on this host.
    pub(crate) fn broken(mut self, failure: Option<&SetupFailure>) -> Self {
        self.broken = failure.map(|failure| missing(failure, &Facts::of_this_host()));
        if let Some(broken) = &self.broken {
            for state in &mut self.layers {
                state.missing.get_or_insert_with(|| broken.clone());
            }
        }
        self
    }

    /// Derives the state of each layer from the failures of the test runs.
    pub(crate) fn conclude(lacking: &ProbeFailures, own_id: bool) -> Self {
        let host = Facts::of_this_host();
        let why = |failure: &Option<SetupFailure>| {
            failure.as_ref().map(|failure| missing(failure, &host))
        };
        let spaces = why(&lacking.namespaces);
        let state = |layer, missing| LayerState { layer, missing };
        let capabilities = spaces.as_ref().filter(|_| !own_id).map(|missing| Missing {
            why: format!(
                "a step would run under the service's own user id, because there are no namespaces: {}",
                missing.why
            ),
            knob: format!("{}; or run the service as root, so that each run gets its own user id", missing.knob),
        });
        Self {
            layers: vec![
                state(Layer::Capabilities, capabilities),
                state(Layer::Filesystem, spaces.clone()),
                state(Layer::Landlock, why(&lacking.landlock)),
                state(Layer::Namespaces, spaces.clone()),
                state(Layer::Network, spaces.clone()),
                state(
                    Layer::Programs,
                    spaces
                        .or_else(|| why(&lacking.landlock))
                        .or_else(|| why(&lacking.seccomp)),
                ),
                state(Layer::Seccomp, why(&lacking.seccomp)),
            ],
            landlock_abi: super::syscalls::landlock_abi()
                .ok()
                .and_then(|abi| abi.try_into().ok()),
            own_id,
            cgroup: Ok(Vec::new()),
            broken: None,
            form: if lacking.namespaces.is_some() {
                RunForm::Host
            } else {
                RunForm::Namespaces
            },
        }
    }
}

/// Returns the level that a set of enforced layers reaches.
pub fn level(held: &[Layer]) -> Level {
    if STRICT.iter().all(|layer| held.contains(layer)) {
        Level::Strict
    } else if held.is_empty() {
        Level::Off
    } else {
        Level::BestEffort
    }
}

/// Settings of the host, used only for advice.
#[derive(Debug, Default)]
struct Facts {
    no_user_namespaces: Option<&'static str>,
    userns_clone_off: bool,
    apparmor_restricts: bool,
    seccomp: bool,
    lsm: Option<String>,
}

impl Facts {
    fn of_this_host() -> Self {
        let read = |path: &str| {
            fs::read_to_string(path)
                .ok()
                .map(|text| text.trim().to_owned())
        };
        let is = |path: &str, value: &str| read(path).as_deref() == Some(value);
        let exhausted = [
            "user.max_user_namespaces",
            "user.max_mnt_namespaces",
            "user.max_pid_namespaces",
            "user.max_net_namespaces",
            "user.max_ipc_namespaces",
            "user.max_uts_namespaces",
            "user.max_cgroup_namespaces",
        ];
        Self {
            no_user_namespaces: exhausted
                .into_iter()
                .find(|name| is(&format!("/proc/sys/{}", name.replace('.', "/")), "0")),
            userns_clone_off: is("/proc/sys/kernel/unprivileged_userns_clone", "0"),
            apparmor_restricts: is(
                "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
                "1",
            ),
            seccomp: read("/proc/self/status").is_some_and(|status| status.contains("Seccomp:\t2")),
            lsm: read("/sys/kernel/security/lsm"),
        }
    }
}

fn missing(failure: &SetupFailure, host: &Facts) -> Missing {
    let why = match (failure.stage, failure.errno, host.no_user_namespaces) {
        // The kernel's text for this error is "No space left on device", although no disk is full.
        (
            SetupStage::UserNamespace | SetupStage::Namespaces | SetupStage::NetworkNamespace,
            Some(libc::ENOSPC | libc::EUSERS),
            limit,
        ) => match limit {
            Some(limit) => format!("{}: the limit {limit} is 0", failure.what),
            None => format!(
                "{}: the maximum number of namespaces is reached",
                failure.what
            ),
        },
        _ => failure.to_string(),
    };
    Missing {
        why,
        knob: knob(failure, host),
    }
}

fn knob(failure: &SetupFailure, host: &Facts) -> String {
    use SetupStage::{Maps, Mounts, Namespaces, NetworkNamespace, Proc, UserNamespace};
    let in_a_user_namespace = matches!(
        failure.stage,
        UserNamespace | Maps | Namespaces | NetworkNamespace | Mounts | Proc
    );
    match (failure.stage, failure.errno) {
        (_, Some(libc::EMFILE)) => {
            "raise the limit of open files: ulimit -n in a shell, LimitNOFILE= in a unit of systemd".into()
        }
        (SetupStage::Late, _) => {
            "call the command again when this host has less work: on an idle host, the test takes less than a second".into()
        }
        (_, Some(libc::ENFILE)) => "raise the host's limit of open files: sysctl fs.file-max".into(),
        (SetupStage::Processes | SetupStage::Namespaces | SetupStage::Limits, Some(libc::EAGAIN)) => {
            "raise the limit of processes: ulimit -u in a shell, LimitNPROC= and TasksMax= in a unit of systemd, pids.max of a container".into()
        }
        (SetupStage::Landlock | SetupStage::Mounts, Some(libc::ENOENT)) => {
            "add this path to the container or chroot of the service, because every run needs the path".into()
        }
        (SetupStage::Landlock, Some(libc::EOPNOTSUPP)) => match &host.lsm {
            Some(list) => format!("boot the kernel with lsm=landlock,{list}"),
            None => "add landlock to the kernel's lsm= boot parameter".into(),
        },
        (SetupStage::Landlock, Some(libc::ENOSYS | libc::EPERM | libc::EACCES)) if host.seccomp => {
            "this container's seccomp profile refuses Landlock: use one that allows landlock_create_ruleset, landlock_add_rule and landlock_restrict_self".into()
        }
        (SetupStage::Seccomp, Some(libc::EPERM | libc::EACCES)) if host.seccomp => {
            "this container's seccomp profile refuses another filter: use one that allows seccomp(2)".into()
        }
        (SetupStage::Seccomp, _) => "use a kernel built with CONFIG_SECCOMP_FILTER".into(),
        (SetupStage::Landlock, _) => "use a kernel of 5.13 or later built with CONFIG_SECURITY_LANDLOCK".into(),
        (SetupStage::UserNamespace | SetupStage::Namespaces | SetupStage::NetworkNamespace, Some(libc::ENOSPC | libc::EUSERS)) => {
            format!("sysctl -w {}=15000", host.no_user_namespaces.unwrap_or("user.max_user_namespaces"))
        }
        _ if in_a_user_namespace && host.userns_clone_off => {
            "sysctl -w kernel.unprivileged_userns_clone=1".into()
        }
        _ if in_a_user_namespace && host.apparmor_restricts => {
            "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0, or an AppArmor profile for countersign with the rule \"userns,\"".into()
        }
        (SetupStage::Workdir, _) => {
            "set the mode of the directory for runs, and of all directories above, to 0711: runs have their own user \
             id".into()
        }
        (SetupStage::Proc, _) => "the /proc of this container is partly masked: start the container with \
                                  --security-opt systempaths=unconfined (Kubernetes: procMount: Unmasked)".into(),
        (SetupStage::UserNamespace | SetupStage::Namespaces | SetupStage::NetworkNamespace | SetupStage::Mounts, _) if host.seccomp => {
            "this container's seccomp profile refuses this call: use a profile that allows unshare, mount and pivot_root (or --security-opt seccomp=unconfined, which allows all calls)".into()
        }
        (SetupStage::Maps, _) => {
            "give the service a writable /proc of its own pid namespace (unshare --mount-proc, bwrap --proc /proc); a service that is root also needs CAP_SETUID and CAP_SETGID".into()
        }
        (SetupStage::UserNamespace, Some(libc::EPERM)) => {
            "the service must not run in a chroot: the kernel makes no user namespace there; a container must allow unshare, mount and pivot_root".into()
        }
        (SetupStage::UserNamespace, Some(libc::EINVAL | libc::ENOSYS)) => "use a kernel built with CONFIG_USER_NS".into(),
        (SetupStage::Mounts, Some(libc::EINVAL)) => "the service must not run on an initramfs or in a chroot: \
                                                     pivot_root(2) does not work there".into(),
        _ => "run countersign doctor outside of containers and other sandboxes, to see whether a container refuses the \
              call".into(),
    }
}

/// The reason why this host can't enforce a profile.
#[derive(Debug, PartialEq, thiserror::Error)]
pub enum Unavailable {
    /// A required layer is missing on this host.
    #[error(
        "this host can't enforce the required layer {}: {}; fix it with: {}",
        .layer.word(),
        .missing.why,
        .missing.knob
    )]
    Layer {
        /// The missing layer.
        layer: Layer,
        /// Failed attempt, and the setting to change.
        missing: Missing,
    },
    /// The profile contradicts itself, contains a useless value, names a host user whom the run can't become, or lets the
    /// run write to a directory that no run may change.
    #[error("the profile can't be enforced: {why}")]
    Invalid {
        /// The reason and its correction.
        why: String,
    },
    /// A program of the list is missing or different on this host, or a run can't get it.
    #[error("the list of programs can't be enforced: {why}")]
    Programs {
        /// The reason.
        why: String,
    },
    /// A run can't get this path of the profile.
    #[error("the profile's path {path} {why}")]
    Path {
        /// The path in the profile.
        path: String,
        /// The reason.
        why: String,
    },
    /// The run could reach a path of the private set.
    #[error("a step could reach the private path {private} through {through}")]
    Private {
        /// The path of the private set.
        private: PathBuf,
        /// Path of the profile, or property of the host, through which the run could reach it.
        through: String,
    },
    /// This host can't run any step.
    #[error("no step can be run on this host: {}; fix it with: {}", .missing.why, .missing.knob)]
    Broken {
        /// The failed attempt, and the setting to change.
        missing: Missing,
    },
    /// The run's own user id can't enter the directory for runs.
    #[error(
        "each run has its own user id, which can't enter {closed}; set the mode of this directory to 0711, or move \
         the directory for runs"
    )]
    Scratch {
        /// The directory that denies access, at or above the directory for runs.
        closed: PathBuf,
    },
}

impl Unavailable {
    /// Returns true if the reason remains until the host is changed and the service is restarted, because layers are
    /// probed only at the start. Any other reason (a path, a user, a directory's mode) may be gone at the next attempt.
    pub fn is_of_the_host(&self) -> bool {
        match self {
            Self::Layer { .. } | Self::Broken { .. } => true,
            Self::Invalid { .. }
            | Self::Programs { .. }
            | Self::Path { .. }
            | Self::Private { .. }
            | Self::Scratch { .. } => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(stage: SetupStage, errno: i32) -> SetupFailure {
        SetupFailure {
            stage,
            what: "try".into(),
            errno: Some(errno),
        }
    }

    #[test]
    fn each_failed_sandbox_probe_names_the_setting_to_change() {
        let seccomp = Facts {
            seccomp: true,
            ..Facts::default()
        };
        let apparmor = Facts {
            apparmor_restricts: true,
            ..Facts::default()
        };
        let debian = Facts {
            userns_clone_off: true,
            ..Facts::default()
        };
        let lsm = Facts {
            lsm: Some("lockdown,yama".into()),
            ..Facts::default()
        };
        for (failed, host, word) in [
            (
                failure(SetupStage::UserNamespace, libc::ENOSPC),
                Facts::default(),
                "user.max_user_namespaces",
            ),
            (
                failure(SetupStage::UserNamespace, libc::EPERM),
                debian,
                "unprivileged_userns_clone=1",
            ),
            (
                failure(SetupStage::Mounts, libc::EACCES),
                apparmor,
                "apparmor_restrict_unprivileged_userns=0",
            ),
            (
                failure(SetupStage::UserNamespace, libc::EPERM),
                seccomp,
                "seccomp",
            ),
            (
                failure(SetupStage::Proc, libc::EPERM),
                Facts::default(),
                "systempaths=unconfined",
            ),
            (
                failure(SetupStage::Landlock, libc::EOPNOTSUPP),
                lsm,
                "lsm=landlock,lockdown,yama",
            ),
            (
                failure(SetupStage::Landlock, libc::ENOSYS),
                Facts::default(),
                "CONFIG_SECURITY_LANDLOCK",
            ),
            (
                failure(SetupStage::Landlock, libc::ENOENT),
                Facts::default(),
                "add this path",
            ),
            (
                failure(SetupStage::Mounts, libc::ENOENT),
                Facts::default(),
                "add this path",
            ),
            (
                failure(SetupStage::Seccomp, libc::EINVAL),
                Facts::default(),
                "CONFIG_SECCOMP_FILTER",
            ),
            (
                failure(SetupStage::Processes, libc::EMFILE),
                Facts::default(),
                "LimitNOFILE=",
            ),
            (
                SetupFailure::new(SetupStage::Late, "try"),
                Facts::default(),
                "when this host has less work",
            ),
            (
                failure(SetupStage::Processes, libc::EAGAIN),
                Facts::default(),
                "ulimit -u",
            ),
            (
                failure(SetupStage::UserNamespace, libc::EPERM),
                Facts::default(),
                "chroot",
            ),
            (
                failure(SetupStage::Maps, libc::EACCES),
                Facts::default(),
                "/proc",
            ),
        ] {
            let knob = knob(&failed, &host);
            assert!(knob.contains(word), "{failed:?} {host:?}: {knob}");
        }
    }

    #[test]
    fn the_level_follows_from_the_enforced_layers() {
        assert_eq!(level(&STRICT), Level::Strict);
        assert_eq!(level(&STRICT[1..]), Level::BestEffort);
        assert_eq!(level(&[]), Level::Off);
    }

    #[test]
    fn a_host_without_user_namespaces_reports_the_missing_layers() {
        let no = ProbeFailures {
            namespaces: Some(failure(SetupStage::UserNamespace, libc::ENOSPC)),
            ..ProbeFailures::default()
        };
        let root = HostProbe::conclude(&no, true);
        assert_eq!(
            root.held(),
            [Layer::Capabilities, Layer::Landlock, Layer::Seccomp]
        );
        let user = HostProbe::conclude(&no, false);
        assert_eq!(
            (user.held(), user.level()),
            (vec![Layer::Landlock, Layer::Seccomp], Level::BestEffort)
        );
        let capabilities = user.missing(Layer::Capabilities).expect("missing");
        assert!(
            capabilities.why.contains("the maximum number")
                && capabilities.knob.starts_with("sysctl"),
            "{capabilities:?}"
        );
        assert!(
            user.missing(Layer::Namespaces)
                .is_some_and(|missing| missing.why.contains("the maximum number"))
        );
        assert_eq!(
            HostProbe::conclude(&ProbeFailures::default(), false).level(),
            Level::Strict
        );
    }
}
