//! Points about the host: origin of the program, isolation of the machine, user of the service, modes of files.
//!
//! The file also has the point about steps with access to the host, and the point about the database: whether the store
//! is durable and private.

use std::{collections::BTreeSet, os::unix::fs::MetadataExt as _, path::Path};

use crate::{
    Config, DoctorFinding, InspectedBoundary,
    cli::doctor::host::{fail, pass, unread, yours},
    in_a_shell,
};
use client::{lock_digest, now};
use documents::{Level, StepDefinition, joined};
use reading::SandboxPermission;
use store::{Database, Replicas};

/// Reminds the operator to check where the program comes from.
pub fn program() -> Vec<DoctorFinding> {
    vec![yours(format!(
        "countersign {} with the dependencies of Cargo.lock {}: compare the digest with the release \
         (`countersign --version --long`, SHA256SUMS of the packages)",
        env!("CARGO_PKG_VERSION"),
        lock_digest()
    ))]
}

/// Checks the sandbox level, and whether the machine runs only this service. `is_sound` is true if `doctor`, which reports
/// each missing layer, reports no problem.
pub fn isolation(config: &Config, is_sound: bool) -> Vec<DoctorFinding> {
    let level = match config.sandbox.level {
        Level::Strict => is_sound.then(|| pass("runs have the sandbox level strict")),
        configured => Some(fail(
            format!("the configured sandbox level is {configured}"),
            "set `level = \"strict\"` in [sandbox] of countersign.toml",
        )),
    };
    level.into_iter().chain([machine()]).collect()
}

/// Finds out if the service is isolated in a container or a virtual machine.
fn machine() -> DoctorFinding {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    if Path::new("/.dockerenv").exists() || Path::new("/run/.containerenv").exists() {
        return yours("the service is in a container: run no other service in this container");
    }
    if read("/proc/cpuinfo")
        .lines()
        .any(|line| line.starts_with("flags") && line.contains(" hypervisor"))
    {
        return yours("the service is in a virtual machine: run no other service on this machine");
    }
    yours(
        "no container and no VM was found: give the boundary a separate machine, VM or container, so that an exploit \
         of the kernel reaches nothing else",
    )
}

/// Returns the path and the owner of the store. The owner of the store is taken as the user of the service.
fn store_owner(config: &Config) -> Option<(&Path, u32)> {
    let places = config.database.file().into_iter().chain([&*config.data]);
    places
        .into_iter()
        .find_map(|path| Some((path, path.metadata().ok()?.uid())))
}

/// Checks that the service does not run as root.
pub fn user(config: &Config) -> Vec<DoctorFinding> {
    vec![match store_owner(config) {
        None => yours("there is no store yet: run the service as a separate user"),
        Some((path, 0)) => fail(
            format!(
                "{} belongs to root, so the service runs as root",
                path.display()
            ),
            "set `User=` in the unit to a separate user, and run `chown -R USER DIR` on the directory of the boundary",
        ),
        Some((path, user)) => pass(format!(
            "{} belongs to the ordinary user {user}",
            path.display()
        )),
    }]
}

/// Checks that no run and no other user can reach the key and the private files. `is_sound` is true if `doctor`, which
/// checks the places of these files, reports no problem.
pub fn keys_and_files(config: &Config, is_sound: bool) -> Vec<DoctorFinding> {
    // The database does not exist before the first start.
    let database = config.database.file().filter(|path| path.exists());
    let paths = [&*config.key, &config.path, &config.policy, &config.rosters]
        .into_iter()
        .chain(database);
    let user =
        store_owner(config).map_or_else(|| rustix::process::geteuid().as_raw(), |(_, user)| user);
    let is_secret = |path: &Path| *path == config.key || Some(path) == database;
    let mut findings: Vec<DoctorFinding> = paths
        .filter_map(|path| open_to_others(path, user, is_secret(path)))
        .collect();
    if findings.is_empty() && is_sound {
        findings.push(pass(
            "no run and no other user can reach the key, the store, the policy or the roster",
        ));
    }
    findings.push(yours(format!(
        "keep a copy of {} apart from the backups of the store: a person who has both can continue the log",
        config.key.display()
    )));
    findings
}

/// Returns a failure if another user than `user` and root can write the file, or can read a secret file.
fn open_to_others(path: &Path, user: u32, secret: bool) -> Option<DoctorFinding> {
    let found = match path.metadata() {
        Ok(found) => found,
        Err(error) => {
            let says = format!("{} can't be checked ({error})", path.display());
            return Some(fail(
                says,
                "run `doctor` as the user of the service, and check the path",
            ));
        }
    };
    let mode = found.mode() & 0o7777;
    let bad = if secret { 0o077 } else { 0o022 };
    if mode & bad != 0 {
        let right = if secret { "600" } else { "go-w" };
        let says = format!("{} has mode {mode:04o}", path.display());
        Some(fail(
            says,
            format!("chmod {right} {}", in_a_shell(&path.to_string_lossy())),
        ))
    } else if found.uid() != user && found.uid() != 0 {
        let says = format!("{} belongs to the user {}", path.display(), found.uid());
        Some(fail(
            says,
            format!("chown {user} {}", in_a_shell(&path.to_string_lossy())),
        ))
    } else {
        None
    }
}

/// Lists the steps with access to the host, and the interpreters whose scripts policy can't read.
pub fn check(boundary: &InspectedBoundary<'_>) -> Vec<DoctorFinding> {
    let files = match &boundary.files {
        Err(problems) => return unread(boundary, problems.list()),
        Ok(files) => files,
    };
    let steps: Vec<&StepDefinition> = files
        .registry
        .steps()
        .map(|step| &*step.definition)
        .collect();
    vec![of_host(&steps), interpreters(&steps)]
}

fn of_host(steps: &[&StepDefinition]) -> DoctorFinding {
    let open = steps.iter().filter_map(|step| {
        let holes = SandboxPermission::ALL
            .into_iter()
            .filter(|one| one.is_hole(&step.sandbox));
        let holes = joined(holes.map(SandboxPermission::rule_key), ", ");
        (!holes.is_empty()).then(|| format!("{} ({holes})", step.reference))
    });
    let open = joined(open, "; ");
    if open.is_empty() {
        return pass(
            "no step turns the sandbox off, writes in place, uses a socket, has another user, or uses the whole network",
        );
    }
    yours(format!(
        "policy opens the sandbox for {open}: require two approvals for these steps"
    ))
}

fn interpreters(steps: &[&StepDefinition]) -> DoctorFinding {
    let names: BTreeSet<&str> = steps.iter().map(|step| step.interpreter.as_str()).collect();
    let general = names.iter().filter(|name| !matches!(**name, "bash" | "sh"));
    let general = joined(general, ", ");
    if general.is_empty() {
        return pass(format!(
            "the interpreters are {}, and policy can read their commands",
            joined(names, ", ")
        ));
    }
    yours(format!(
        "steps use {general}: policy can't read their scripts, so only the sandbox restricts them; remember this when you \
         approve such steps"
    ))
}

/// Checks the store.
pub fn database(boundary: &InspectedBoundary<'_>) -> Vec<DoctorFinding> {
    let mut findings = match &boundary.config.database {
        Database::File(path) => {
            vec![file_system(
                path.ancestors()
                    .find(|path| path.exists())
                    .unwrap_or(Path::new("/")),
            )]
        }
        Database::Server(server) => {
            let mut findings = vec![replicas(boundary.config.database.replicas())];
            let grows = boundary.growth(now()).map(|growth| format!(" at {growth}"));
            findings.push(yours(format!(
                "this program can't see the disk of the database server: watch its free space{}",
                grows.unwrap_or_default()
            )));
            if server.is_local() {
                findings.push(yours(
                    "the database is on the machine of this node (unless a tunnel listens there): no other node can go on \
                     if this machine is lost",
                ));
            }
            findings.extend(second_node(boundary));
            findings
        }
    };
    // `doctor` reports a store that can't be read.
    findings.extend(
        boundary
            .stored
            .as_ref()
            .ok()
            .map(|stored| match &stored.ledger {
                None => yours("there is no store yet: run this list again after the first start"),
                Some(ledger) => pass(format!(
                    "{} with a log of {} entries; the service waits until each write is durable",
                    boundary.config.database.version(),
                    ledger.state().size
                )),
            }),
    );
    findings
}

/// Tells whether another node can take over. `doctor` reports nodes that give no sign.
fn second_node(boundary: &InspectedBoundary<'_>) -> Option<DoctorFinding> {
    let nodes = boundary
        .nodes
        .as_ref()?
        .nodes
        .iter()
        .filter(|node| !node.lost);
    let others = nodes
        .filter(|node| Some(&node.name) != boundary.config.database.node())
        .count();
    Some(match others {
        0 => yours(
            "there is no second node: if this host is lost, nobody takes over (docs/postgresql.md, Two nodes)",
        ),
        _ => pass(format!("{others} other nodes can take over")),
    })
}

/// Tells what keeps a committed run after the loss of the database server.
fn replicas(replicas: Option<Replicas>) -> DoctorFinding {
    match replicas {
        Some(Replicas::Synchronous) => pass("each commit waits for a synchronous replica"),
        Some(Replicas::Storage) => yours(
            "`replicas = \"storage\"`: the storage below the database server must have copies",
        ),
        Some(Replicas::None) | None => fail(
            "the loss of the database server loses the newest runs (`replicas` in [postgres] is \"none\")",
            "configure a synchronous replica on the server, and set `replicas = \"synchronous\"`",
        ),
    }
}

/// Checks that the file system keeps synchronized data and its locks work.
fn file_system(path: &Path) -> DoctorFinding {
    let place = path.display();
    let kind = match rustix::fs::statfs(path) {
        Ok(found) => found.f_type as u32,
        Err(error) => {
            return fail(
                format!("the file system of {place} can't be read ({error})"),
                "check the path",
            );
        }
    };
    let move_it = "move `data` to a directory on a local disk: stop the service, move the directory, change `data` in \
                   countersign.toml";
    if let Some((_, name)) = IN_MEMORY.iter().find(|(magic, _)| *magic == kind) {
        return fail(
            format!("{place} is on a {name}, which loses the log at a reboot"),
            move_it,
        );
    }
    if let Some((_, name)) = ON_A_NETWORK.iter().find(|(magic, _)| *magic == kind) {
        return fail(
            format!(
                "{place} is on {name}, where the locks of SQLite and its synchronous writes are not reliable"
            ),
            move_it,
        );
    }
    if kind == OVERLAY {
        return yours(format!(
            "{place} is on an overlay: use a volume, if a new container would begin without this data"
        ));
    }
    pass(format!("{place} is on a local disk"))
}

// File-system types of statfs(2), from linux/magic.h and the sources of the file systems.
const IN_MEMORY: [(u32, &str); 2] = [(0x0102_1994, "tmpfs"), (0x8584_58f6, "ramfs")];
const ON_A_NETWORK: [(u32, &str); 7] = [
    (0x6969, "NFS"),
    (0x517b, "SMB"),
    (0xff53_4d42, "CIFS"),
    (0xfe53_4d42, "SMB"),
    (0x0102_1997, "9p"),
    (0x6573_5546, "FUSE"),
    (0x00c3_6400, "Ceph"),
];
const OVERLAY: u32 = 0x794c_7630;
