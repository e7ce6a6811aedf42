//! Builds the enforcement block of a receipt from observed facts.

use crate::{Confined, Controllers, NetworkContacts, Prepared, RunForm, isolation::confine};
use documents::{
    Capabilities, Enforcement, FilesystemFacts, HeldLimit, LandlockFacts, LandlockStatus, Level,
    LimitFacts, LimitHolder, Masks, NetworkMode, Root, STRICT, SeccompFacts, UNBOUNDED, Workdir,
};

/// Returns the enforcement block for a run that was not started.
pub fn nothing_enforced() -> Enforcement {
    Enforcement {
        level: Level::Off,
        layers: vec![],
        missing: STRICT.to_vec(),
        ns: None,
        landlock: None,
        seccomp: None,
        caps: None,
        fs: None,
        net: None,
        contacted: None,
        refused_hosts: None,
        limits: None,
        kill: None,
        left: None,
    }
}

/// Returns the layers and limits that were enforced, from the facts that the first process and the step's process
/// reported. `group` has the limits of the run's control group, if the run had one.
pub fn enforced(
    prepared: &Prepared,
    facts: &Confined,
    group: Option<Controllers>,
    contacts: Option<&NetworkContacts>,
    own_id: bool,
    left: u64,
) -> Enforcement {
    let profile = &prepared.profile;
    let held_by_group = group.unwrap_or_default();
    let own_root = prepared.form == RunForm::Namespaces;
    let (network, hosts) = (profile.network.mode, &profile.network.hosts);
    let own_network = own_root && network != NetworkMode::Host;
    let limits = &profile.limits;
    let held = |max: u64, by: LimitHolder| Some(HeldLimit { max, by });
    let names =
        |names: &[&str]| -> Vec<String> { names.iter().map(|&name| name.to_owned()).collect() };
    Enforcement {
        level: prepared.level,
        layers: prepared.layers.clone(),
        missing: prepared.missing(),
        ns: own_root.then(|| {
            let all: &[&str] = &["cgroup", "ipc", "mnt", "net", "pid", "user", "uts"];
            names(all)
                .into_iter()
                .filter(|name| own_network || name != "net")
                .collect()
        }),
        landlock: facts.landlock.map(|(abi, rules)| LandlockFacts {
            abi,
            status: LandlockStatus::Fully,
            rules,
        }),
        seccomp: facts.seccomp.clone().map(|sha256| SeccompFacts { sha256 }),
        caps: facts.bounded.then_some(Capabilities::None),
        fs: Some(FilesystemFacts {
            mode: profile.workdir,
            root: if own_root { Root::Own } else { Root::Host },
            masked: facts.masked,
            // Only the boundary knows earlier runs of the step, so it sets this field.
            masked_before: None,
            // Only a private copy is stable, so that no change on the host can reveal denied content to the run. After
            // a rename on the host, an overlay shows a denied file under its new name, which no mask hides. In
            // read-only paths, a mask is a mount, which disappears if the host replaces the masked file.
            deny: facts.masked.map(|_| {
                if profile.workdir == Workdir::Copy && profile.read.is_empty() {
                    Masks::Stable
                } else {
                    Masks::PointInTime
                }
            }),
        }),
        net: Some(match (own_network, own_root) {
            (true, _) => network,
            // The system-call filter allows Unix sockets only.
            (false, false) if facts.seccomp.is_some() && network != NetworkMode::Host => {
                NetworkMode::None
            }
            (false, _) => NetworkMode::Host,
        }),
        contacted: contacts.map(|contacts| {
            contacts
                .reached
                .iter()
                .map(|at| hosts[*at].clone())
                .collect()
        }),
        refused_hosts: contacts
            .map(NetworkContacts::refused_hosts)
            .filter(|refused| !refused.is_empty()),
        limits: Some(LimitFacts {
            cpu: if held_by_group.cpu {
                held(limits.cpu_milli, LimitHolder::Cgroup2)
            } else {
                held(confine::cpu_seconds(limits), LimitHolder::Rlimit)
            },
            // Writes to a live tree use the host's disk without a limit on their size.
            disk: if own_root && profile.workdir != Workdir::InPlace {
                held(limits.disk_bytes, LimitHolder::Tmpfs)
            } else {
                None
            },
            file: held(limits.file_bytes, LimitHolder::Rlimit),
            memory: held(
                limits.memory_bytes,
                if held_by_group.memory {
                    LimitHolder::Cgroup2
                } else {
                    LimitHolder::Rlimit
                },
            ),
            output: held(limits.output_bytes, LimitHolder::Service),
            // If the run shares its id with other processes, the limit applies to all processes with this id.
            processes: if held_by_group.pids {
                held(limits.processes, LimitHolder::Cgroup2)
            } else if facts.counted && (own_root || own_id) {
                held(limits.processes, LimitHolder::Rlimit)
            } else {
                None
            },
            // The memory limit of a control group includes all kinds of memory in `UNBOUNDED`.
            unbounded: (!held_by_group.memory).then(|| names(&UNBOUNDED)),
            wall: held(limits.wall_ms, LimitHolder::Service),
        }),
        kill: Some(names(match (group.is_some(), own_root) {
            (true, true) => &["cgroup.kill", "pidns"],
            (true, false) => &["cgroup.kill", "subreaper"],
            (false, true) => &["pidns"],
            (false, false) => &["subreaper"],
        })),
        left: (left > 0).then_some(left),
    }
}
