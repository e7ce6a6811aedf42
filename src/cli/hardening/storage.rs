//! The point about the database: whether the store is durable and private.

use std::path::Path;

use crate::{
    DoctorFinding, InspectedBoundary,
    cli::doctor::finding::{fail, pass, yours},
    node::start,
};
use store::{Database, Replicas};

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
            let grows = boundary
                .growth((start::surroundings().now)())
                .map(|growth| format!(" at {growth}"));
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
