//! What a host holds, found by doing it.

use std::fs;

use crate::record::enforcement::Level;
use crate::record::profile::{Layer, STRICT};
use crate::sandbox::protocol::{Failure, Form, Stage};

/// What this host holds.
#[derive(Debug, Clone)]
pub struct Probe {
    /// Each layer of [`STRICT`], in that order.
    pub layers: Vec<LayerState>,
    /// The kernel's Landlock ABI, if it has one enabled.
    pub landlock_abi: Option<u64>,
    /// Whether runs get a user id of their own on the host; otherwise it is the service's.
    pub own_id: bool,
    /// Which limits control groups hold, by the kernel's names; or why none does.
    pub cgroup: Result<Vec<&'static str>, String>,
    /// Why not even a run without any layer works here; nothing when it does.
    pub broken: Option<Missing>,
    pub(super) form: Form,
}

/// How parts of the set-up failed, those that did.
#[derive(Debug, Default)]
pub(super) struct Lacking {
    /// The form with namespaces and a root of its own.
    pub(super) namespaces: Option<Failure>,
    pub(super) landlock: Option<Failure>,
    pub(super) seccomp: Option<Failure>,
}

/// One layer on this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerState {
    /// Which.
    pub layer: Layer,
    /// Why it can't be held; nothing when it is.
    pub missing: Option<Missing>,
}

/// Why a layer can't be held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// What was tried and the error.
    pub why: String,
    /// What to change on this host.
    pub knob: String,
}

impl Missing {
    /// A kernel that mounts no overlay for a run, for that reason.
    pub(super) fn overlay(failure: &Failure) -> Self {
        Self { why: failure.to_string(), knob: "run `modprobe overlay`, or let steps work on a copy".into() }
    }
}

impl Probe {
    /// Layers that are held fully, sorted.
    #[must_use]
    pub fn held(&self) -> Vec<Layer> {
        self.layers.iter().filter(|state| state.missing.is_none()).map(|state| state.layer).collect()
    }

    /// The strongest level of this host.
    #[must_use]
    pub fn level(&self) -> Level {
        level(&self.held())
    }

    pub(super) fn missing(&self, layer: Layer) -> Option<&Missing> {
        self.layers.iter().find(|state| state.layer == layer)?.missing.as_ref()
    }

    /// A host on which nothing works, for that reason: no layer was seen to hold.
    pub(super) fn broken(mut self, failure: Option<&Failure>) -> Self {
        self.broken = failure.map(|failure| missing(failure, &Facts::of_this_host()));
        if let Some(broken) = &self.broken {
            for state in &mut self.layers {
                state.missing.get_or_insert_with(|| broken.clone());
            }
        }
        self
    }

    /// From what the trials said.
    pub(super) fn conclude(lacking: &Lacking, own_id: bool) -> Self {
        let host = Facts::of_this_host();
        let why = |failure: &Option<Failure>| failure.as_ref().map(|failure| missing(failure, &host));
        let spaces = why(&lacking.namespaces);
        let state = |layer, missing| LayerState { layer, missing };
        let capabilities = spaces.as_ref().filter(|_| !own_id).map(|missing| Missing {
            why: format!(
                "a step would run under the service's own user id, since there are no namespaces: {}",
                missing.why
            ),
            knob: format!("{}; or run the service as root, which then gives each run an id of its own", missing.knob),
        });
        Self {
            layers: vec![
                state(Layer::Capabilities, capabilities),
                state(Layer::Filesystem, spaces.clone()),
                state(Layer::Landlock, why(&lacking.landlock)),
                state(Layer::Namespaces, spaces.clone()),
                state(Layer::Network, spaces),
                state(Layer::Seccomp, why(&lacking.seccomp)),
            ],
            landlock_abi: super::syscalls::landlock_abi().ok().and_then(|abi| abi.try_into().ok()),
            own_id,
            cgroup: Ok(Vec::new()),
            broken: None,
            form: if lacking.namespaces.is_some() { Form::Host } else { Form::Namespaces },
        }
    }
}

/// The level that a set of held layers is.
pub(super) fn level(held: &[Layer]) -> Level {
    if STRICT.iter().all(|layer| held.contains(layer)) {
        Level::Strict
    } else if held.is_empty() {
        Level::Off
    } else {
        Level::BestEffort
    }
}

/// What the host says about its own switches; only for the advice, never for the decision.
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
        let read = |path: &str| fs::read_to_string(path).ok().map(|text| text.trim().to_owned());
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
            apparmor_restricts: is("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1"),
            seccomp: read("/proc/self/status").is_some_and(|status| status.contains("Seccomp:\t2")),
            lsm: read("/sys/kernel/security/lsm"),
        }
    }
}

fn missing(failure: &Failure, host: &Facts) -> Missing {
    let why = match (failure.stage, failure.errno, host.no_user_namespaces) {
        // The kernel's words for it, "No space left on device", send readers to their disks.
        (
            Stage::UserNamespace | Stage::Namespaces | Stage::NetworkNamespace,
            Some(libc::ENOSPC | libc::EUSERS),
            limit,
        ) => match limit {
            Some(limit) => format!("{}: the limit {limit} is 0", failure.what),
            None => format!("{}: the limit of namespaces is reached", failure.what),
        },
        _ => failure.to_string(),
    };
    Missing { why, knob: knob(failure, host) }
}

fn knob(failure: &Failure, host: &Facts) -> String {
    use Stage::{Maps, Mounts, Namespaces, NetworkNamespace, Proc, UserNamespace};
    let in_a_user_namespace =
        matches!(failure.stage, UserNamespace | Maps | Namespaces | NetworkNamespace | Mounts | Proc);
    match (failure.stage, failure.errno) {
        (_, Some(libc::EMFILE)) => {
            "raise the limit of open files: ulimit -n in a shell, LimitNOFILE= in a unit of systemd".into()
        }
        (_, Some(libc::ENFILE)) => "raise the host's limit of open files: sysctl fs.file-max".into(),
        (Stage::Processes | Stage::Namespaces | Stage::Limits, Some(libc::EAGAIN)) => {
            "raise the limit of processes: ulimit -u in a shell, LimitNPROC= and TasksMax= in a unit of systemd, pids.max of a container".into()
        }
        (Stage::Landlock | Stage::Mounts, Some(libc::ENOENT)) => {
            "give the container or chroot of the service what every run is given: it is not there".into()
        }
        (Stage::Landlock, Some(libc::EOPNOTSUPP)) => match &host.lsm {
            Some(list) => format!("boot the kernel with lsm=landlock,{list}"),
            None => "add landlock to the kernel's lsm= boot parameter".into(),
        },
        (Stage::Landlock, Some(libc::ENOSYS | libc::EPERM | libc::EACCES)) if host.seccomp => {
            "this container's seccomp profile refuses Landlock: use one that allows landlock_create_ruleset, landlock_add_rule and landlock_restrict_self".into()
        }
        (Stage::Seccomp, Some(libc::EPERM | libc::EACCES)) if host.seccomp => {
            "this container's seccomp profile refuses another filter: use one that allows seccomp(2)".into()
        }
        (Stage::Seccomp, _) => "use a kernel built with CONFIG_SECCOMP_FILTER".into(),
        (Stage::Landlock, _) => "use a kernel of 5.13 or later built with CONFIG_SECURITY_LANDLOCK".into(),
        (Stage::UserNamespace | Stage::Namespaces | Stage::NetworkNamespace, Some(libc::ENOSPC | libc::EUSERS)) => {
            format!("sysctl -w {}=15000", host.no_user_namespaces.unwrap_or("user.max_user_namespaces"))
        }
        _ if in_a_user_namespace && host.userns_clone_off => {
            "sysctl -w kernel.unprivileged_userns_clone=1".into()
        }
        _ if in_a_user_namespace && host.apparmor_restricts => {
            "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0, or an AppArmor profile for countersign with the rule \"userns,\"".into()
        }
        (Stage::Workdir, _) => {
            "give the directory for runs and those above it mode 0711: runs have a user id of their own".into()
        }
        (Stage::Proc, _) => "this container's /proc is partly masked: start it with --security-opt systempaths=unconfined (Kubernetes: procMount: Unmasked)".into(),
        (Stage::UserNamespace | Stage::Namespaces | Stage::NetworkNamespace | Stage::Mounts, _) if host.seccomp => {
            "this container's seccomp profile refuses it: start it with a profile that allows unshare, mount, pivot_root (--security-opt seccomp=unconfined at the widest)".into()
        }
        (Stage::Maps, _) => {
            "the service's /proc must be writable and that of its own processes (unshare --mount-proc, bwrap --proc /proc); where it is root, it needs CAP_SETUID and CAP_SETGID".into()
        }
        (Stage::UserNamespace, Some(libc::EPERM)) => {
            "the service must not run in a chroot: the kernel makes no user namespace there; a container must allow unshare, mount and pivot_root".into()
        }
        (Stage::UserNamespace, Some(libc::EINVAL | libc::ENOSYS)) => "use a kernel built with CONFIG_USER_NS".into(),
        (Stage::Mounts, Some(libc::EINVAL)) => "the service must not run on an initramfs or in a chroot: pivot_root(2) refuses those".into(),
        _ => "run countersign doctor outside of containers and other sandboxes to see whether one of them refuses it".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(stage: Stage, errno: i32) -> Failure {
        Failure { stage, what: "try".into(), errno: Some(errno) }
    }

    #[test]
    fn each_refused_probe_names_the_setting_that_fixes_it() {
        let seccomp = Facts { seccomp: true, ..Facts::default() };
        let apparmor = Facts { apparmor_restricts: true, ..Facts::default() };
        let debian = Facts { userns_clone_off: true, ..Facts::default() };
        let lsm = Facts { lsm: Some("lockdown,yama".into()), ..Facts::default() };
        for (failed, host, word) in [
            (failure(Stage::UserNamespace, libc::ENOSPC), Facts::default(), "user.max_user_namespaces"),
            (failure(Stage::UserNamespace, libc::EPERM), debian, "unprivileged_userns_clone=1"),
            (failure(Stage::Mounts, libc::EACCES), apparmor, "apparmor_restrict_unprivileged_userns=0"),
            (failure(Stage::UserNamespace, libc::EPERM), seccomp, "seccomp"),
            (failure(Stage::Proc, libc::EPERM), Facts::default(), "systempaths=unconfined"),
            (failure(Stage::Landlock, libc::EOPNOTSUPP), lsm, "lsm=landlock,lockdown,yama"),
            (failure(Stage::Landlock, libc::ENOSYS), Facts::default(), "CONFIG_SECURITY_LANDLOCK"),
            (failure(Stage::Landlock, libc::ENOENT), Facts::default(), "not there"),
            (failure(Stage::Mounts, libc::ENOENT), Facts::default(), "not there"),
            (failure(Stage::Seccomp, libc::EINVAL), Facts::default(), "CONFIG_SECCOMP_FILTER"),
            (failure(Stage::Processes, libc::EMFILE), Facts::default(), "LimitNOFILE="),
            (failure(Stage::Processes, libc::EAGAIN), Facts::default(), "ulimit -u"),
            (failure(Stage::UserNamespace, libc::EPERM), Facts::default(), "chroot"),
            (failure(Stage::Maps, libc::EACCES), Facts::default(), "/proc"),
        ] {
            let knob = knob(&failed, &host);
            assert!(knob.contains(word), "{failed:?} {host:?}: {knob}");
        }
    }

    #[test]
    fn the_level_follows_from_the_available_layers() {
        assert_eq!(level(&STRICT), Level::Strict);
        assert_eq!(level(&STRICT[1..]), Level::BestEffort);
        assert_eq!(level(&[]), Level::Off);
    }

    #[test]
    fn the_consequences_of_missing_user_namespaces_are_reported() {
        let no = Lacking { namespaces: Some(failure(Stage::UserNamespace, libc::ENOSPC)), ..Lacking::default() };
        let root = Probe::conclude(&no, true);
        assert_eq!(root.held(), [Layer::Capabilities, Layer::Landlock, Layer::Seccomp]);
        let user = Probe::conclude(&no, false);
        assert_eq!((user.held(), user.level()), (vec![Layer::Landlock, Layer::Seccomp], Level::BestEffort));
        let capabilities = user.missing(Layer::Capabilities).expect("missing");
        assert!(capabilities.why.contains("the limit") && capabilities.knob.starts_with("sysctl"), "{capabilities:?}");
        assert!(user.missing(Layer::Namespaces).is_some_and(|missing| missing.why.contains("the limit")));
        assert_eq!(Probe::conclude(&Lacking::default(), false).level(), Level::Strict);
    }
}
