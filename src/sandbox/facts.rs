//! What was enforced, from what was established.

use crate::record::enforcement::{
    Capabilities, Enforcement, FilesystemFacts, HeldLimit, LandlockFacts, LandlockStatus, Level, LimitFacts,
    LimitHolder, Masks, Root, SeccompFacts, UNBOUNDED,
};
use crate::record::profile::STRICT;
use crate::record::profile::{NetworkMode, Profile, Workdir};
use crate::sandbox::cgroup::Controllers;
use crate::sandbox::confine;
use crate::sandbox::network::NetworkContacts;
use crate::sandbox::profile::Prepared;
use crate::sandbox::protocol::{Confined, RunForm};

/// The block of a run that never was.
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
        turned_away: None,
        limits: None,
        kill: None,
        left: None,
    }
}

/// What was enforced, by what the run's first process and the step's own established.
/// `group` are the limits of the run's control group, where it had one.
pub(super) fn enforced(
    prepared: &Prepared,
    facts: &Confined,
    group: Option<Controllers>,
    contacts: Option<&NetworkContacts>,
    own_id: bool,
    left: u64,
) -> Enforcement {
    let held_by_group = group.unwrap_or_default();
    let own_root = prepared.form == RunForm::Namespaces;
    let network = prepared.profile.network.mode;
    let own_network = own_root && network != NetworkMode::Host;
    let limits = &prepared.profile.limits;
    let held = |max: u64, by: LimitHolder| Some(HeldLimit { max, by });
    let names = |names: &[&str]| -> Vec<String> { names.iter().map(|&name| name.to_owned()).collect() };
    Enforcement {
        level: prepared.level,
        layers: prepared.layers.clone(),
        missing: prepared.missing(),
        ns: own_root.then(|| {
            let all: &[&str] = &["cgroup", "ipc", "mnt", "net", "pid", "user", "uts"];
            names(all).into_iter().filter(|name| own_network || name != "net").collect()
        }),
        landlock: facts.landlock.map(|(abi, rules)| LandlockFacts { abi, status: LandlockStatus::Fully, rules }),
        seccomp: facts.seccomp.clone().map(|sha256| SeccompFacts { sha256 }),
        caps: facts.bounded.then_some(Capabilities::None),
        fs: Some(FilesystemFacts {
            mode: prepared.profile.workdir,
            root: if own_root { Root::Own } else { Root::Host },
            masked: facts.masked,
            // The boundary knows of earlier runs.
            masked_before: None,
            deny: facts.masked.map(|_| if stable(&prepared.profile) { Masks::Stable } else { Masks::PointInTime }),
        }),
        net: Some(match (own_network, own_root) {
            (true, _) => network,
            // Under a filter that leaves Unix sockets only.
            (false, false) if facts.seccomp.is_some() && network != NetworkMode::Host => NetworkMode::None,
            (false, _) => NetworkMode::Host,
        }),
        contacted: contacts.map(|contacts| contacts.reached.iter().cloned().collect()),
        turned_away: contacts.map(|contacts| contacts.refused).filter(|refused| *refused > 0),
        limits: Some(LimitFacts {
            cpu: if held_by_group.cpu {
                held(limits.cpu_milli, LimitHolder::Cgroup2)
            } else {
                held(confine::cpu_seconds(limits), LimitHolder::Rlimit)
            },
            // What is written to a live tree is the host's disk's, which nothing here bounds.
            disk: if own_root && prepared.profile.workdir != Workdir::InPlace {
                held(limits.disk_bytes, LimitHolder::Tmpfs)
            } else {
                None
            },
            file: held(limits.file_bytes, LimitHolder::Rlimit),
            memory: held(
                limits.memory_bytes,
                if held_by_group.memory { LimitHolder::Cgroup2 } else { LimitHolder::Rlimit },
            ),
            output: held(limits.output_bytes, LimitHolder::Service),
            // Under an id that others have as well the limit is of their sum.
            processes: if held_by_group.pids {
                held(limits.processes, LimitHolder::Cgroup2)
            } else if facts.counted && (own_root || own_id) {
                held(limits.processes, LimitHolder::Rlimit)
            } else {
                None
            },
            // A control group's memory limit counts all of these.
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

/// Whether nothing that the host does brings denied content back: in a copy there is nothing to bring. An overlay shows the
/// host's tree as it is, and what is renamed there has a name that nothing hides. Over what may only be read masks are
/// mounts, and those are dropped with the file that they cover.
fn stable(profile: &Profile) -> bool {
    profile.workdir == Workdir::Copy && profile.read.is_empty()
}
