//! What was enforced, from what was established.

use crate::record::enforcement::{
    Capabilities, Enforcement, FilesystemFacts, Held, Holder, LandlockFacts, LandlockStatus, Level, LimitFacts, Root,
    SeccompFacts,
};
use crate::record::profile::STRICT;
use crate::record::profile::{NetworkMode, Workdir};
use crate::sandbox::confine;
use crate::sandbox::profile::Prepared;
use crate::sandbox::protocol::{Confined, Form};

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
        limits: None,
        kill: None,
        left: None,
    }
}

/// What was enforced, by what the launcher and the step's own process established.
pub(super) fn enforced(prepared: &Prepared, facts: &Confined, own_id: bool, left: u64) -> Enforcement {
    let own_root = prepared.form == Form::Namespaces;
    let limits = &prepared.profile.limits;
    let held = |max: u64, by: Holder| Some(Held { max, by });
    let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
    Enforcement {
        level: prepared.level,
        layers: prepared.layers.clone(),
        missing: prepared.missing(),
        ns: own_root.then(|| names(&["cgroup", "ipc", "mnt", "net", "pid", "user", "uts"])),
        landlock: facts.landlock.map(|(abi, rules)| LandlockFacts { abi, status: LandlockStatus::Fully, rules }),
        seccomp: facts.seccomp.clone().map(|sha256| SeccompFacts { sha256 }),
        caps: facts.bounded.then_some(Capabilities::None),
        fs: Some(FilesystemFacts {
            mode: Workdir::Private,
            root: if own_root { Root::Own } else { Root::Host },
            masked: None,
            deny: None,
        }),
        net: Some(if own_root || facts.seccomp.is_some() { NetworkMode::None } else { NetworkMode::Host }),
        limits: Some(LimitFacts {
            cpu: held(confine::cpu_seconds(limits), Holder::Rlimit),
            disk: if own_root { held(limits.disk_bytes, Holder::Tmpfs) } else { None },
            file: held(limits.file_bytes, Holder::Rlimit),
            memory: held(limits.memory_bytes, Holder::Rlimit),
            output: held(limits.output_bytes, Holder::Service),
            // Under an id that others have as well the limit is of their sum.
            processes: if facts.counted && (own_root || own_id) {
                held(limits.processes, Holder::Rlimit)
            } else {
                None
            },
            wall: held(limits.wall_ms, Holder::Service),
        }),
        kill: Some(names(if own_root { &["pidns"] } else { &["subreaper"] })),
        left: (left > 0).then_some(left),
    }
}
