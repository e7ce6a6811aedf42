//! User ids of runs. Two runs never have the same id at the same time.

use rustix::process;

use crate::HostId;
use documents::{check_user, locked};
use std::sync::Mutex;

/// First id of the high range, above all ids that distributions and systemd assign.
const HIGH: u32 = 2_000_000_000;
/// Number of user ids for the runs of one service.
const PER_SERVICE: u32 = 4096;
/// Number of services that can use the high range at the same time. The process id of a service determines its part of
/// the range.
const SERVICES: u32 = 65_536;
/// First id of the range in a container with few ids, below the reserved ids from 65534.
const LOW: u32 = 57_344;

/// The user ids for runs, from `base` on. `base` is `None` if the service may not change ids.
pub struct Ids {
    base: Option<u32>,
}

/// The ids in use, shared by all sandboxes of this process. The end of a run on the host's root file system kills all
/// processes with its id, so no two runs may have the same id.
static TAKEN: Taken = Taken::new();

/// The user ids that runs use at this time.
#[derive(Debug)]
struct Taken(Mutex<(u32, [bool; PER_SERVICE as usize])>);

impl Taken {
    const fn new() -> Self {
        Self(Mutex::new((0, [false; PER_SERVICE as usize])))
    }

    /// Takes a free id. A released id is reused as late as possible.
    fn take(&'static self, base: u32) -> Option<Id> {
        let mut taken = locked(&self.0);
        let (next, ids) = &mut *taken;
        let number = (0..PER_SERVICE)
            .map(|far| (*next + far) % PER_SERVICE)
            .find(|at| !ids[*at as usize])?;
        ids[number as usize] = true;
        *next = number + 1;
        Some(Id {
            base,
            number,
            of: self,
        })
    }
}

/// The user id of a run. No other run gets this id before the value is dropped.
#[derive(Debug)]
pub struct Id {
    base: u32,
    number: u32,
    of: &'static Taken,
}

impl Id {
    pub fn number(&self) -> u32 {
        self.base + self.number
    }
}

impl Drop for Id {
    fn drop(&mut self) {
        locked(&self.of.0).1[self.number as usize] = false;
    }
}

impl Ids {
    /// Reads the id maps of the service's user namespace. Only root can change to another id.
    pub fn of_this_process() -> Self {
        let root = process::geteuid().is_root();
        Self {
            base: if root {
                base(&Maps::of_this_process(), std::process::id())
            } else {
                None
            },
        }
    }

    pub fn available(&self) -> bool {
        self.base.is_some()
    }

    /// Returns a user id for a run, or `None` if the service may not change ids or 4096 runs use all ids.
    pub fn take(&self) -> Option<Id> {
        TAKEN.take(self.base?)
    }
}

/// Looks up a user of the host in `/etc/passwd`, and not in a directory server, which would be slow.
///
/// # Errors
/// Returns an error with the reason and a correction if a run can't use the id of this user.
pub fn of_user(name: &str) -> Result<HostId, String> {
    let users =
        std::fs::read_to_string("/etc/passwd").map_err(|error| format!("/etc/passwd: {error}"))?;
    let maps = Maps::of_this_process();
    let (uid, gid) = (process::geteuid().as_raw(), process::getegid().as_raw());
    find_user(name, &users, &maps, HostId { uid, gid })
}

fn find_user(name: &str, users: &str, maps: &Maps, service: HostId) -> Result<HostId, String> {
    check_user(name)?;
    let line = users
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .find(|fields| fields[0] == name);
    let Some(fields) = line else {
        return Err(format!(
            "/etc/passwd does not contain this user; create the user with `useradd --system {name}`, or name another \
             user"
        ));
    };
    let id = |at: usize| fields.get(at).and_then(|text| text.parse::<u32>().ok());
    let (Some(uid), Some(gid)) = (id(2), id(3)) else {
        return Err(
            "the line of this user in /etc/passwd has no valid ids; correct the line, or name another user".to_owned()
        );
    };
    if uid == 0 || gid == 0 {
        return Err(format!(
            "the user has the ids of root ({uid}:{gid}); name another user"
        ));
    }
    let user = HostId { uid, gid };
    if service.uid != 0 && user != service {
        return Err(format!(
            "the service runs as user {}, and only root can become another user; start the service as root, or as \
             {name}",
            service.uid
        ));
    }
    if service.uid == 0 && !(covers(&maps.uid, uid, 1) && covers(&maps.gid, gid, 1)) {
        return Err(format!(
            "this container has no ids {uid}:{gid}; map more ids into the container"
        ));
    }
    Ok(user)
}

/// The id maps of the service's user namespace (user_namespaces(7)).
struct Maps {
    uid: String,
    gid: String,
}

impl Maps {
    fn of_this_process() -> Self {
        let map =
            |name: &str| std::fs::read_to_string(format!("/proc/self/{name}")).unwrap_or_default();
        Self {
            uid: map("uid_map"),
            gid: map("gid_map"),
        }
    }
}

fn covers(map: &str, first: u32, count: u32) -> bool {
    map.lines().any(|line| {
        let mut fields = line
            .split_ascii_whitespace()
            .map(|field| field.parse::<u64>().unwrap_or(0));
        let (inside, _, length) = (
            fields.next().unwrap_or(0),
            fields.next(),
            fields.next().unwrap_or(0),
        );
        inside <= u64::from(first) && u64::from(first) + u64::from(count) <= inside + length
    })
}

fn base(maps: &Maps, process: u32) -> Option<u32> {
    let candidates = [HIGH + process % SERVICES * PER_SERVICE, LOW];
    candidates.into_iter().find(|&first| {
        covers(&maps.uid, first, PER_SERVICE) && covers(&maps.gid, first, PER_SERVICE)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_runs_never_have_the_same_id_at_the_same_time() {
        static TAKEN: Taken = Taken::new();
        let mut ids: Vec<Id> = (0..PER_SERVICE).filter_map(|_| TAKEN.take(HIGH)).collect();
        let numbers: std::collections::BTreeSet<u32> = ids.iter().map(Id::number).collect();
        assert_eq!((ids.len(), numbers.len()), (4096, 4096));
        assert!(
            numbers
                .iter()
                .all(|id| (HIGH..HIGH + PER_SERVICE).contains(id))
        );
        assert!(TAKEN.take(HIGH).is_none(), "all of them are in use");
        let free = ids.swap_remove(77).number();
        assert_eq!(TAKEN.take(HIGH).map(|id| id.number()), Some(free));
        drop(ids);
        // A released id is not assigned again immediately.
        let first = TAKEN.take(HIGH).map(|id| id.number());
        assert_ne!(TAKEN.take(HIGH).map(|id| id.number()), first);
    }

    #[test]
    fn only_mapped_ids_are_assigned() {
        let of = |uid: &str, gid: &str| {
            base(
                &Maps {
                    uid: uid.to_owned(),
                    gid: gid.to_owned(),
                },
                3,
            )
        };
        assert_eq!(of(WHOLE, WHOLE), Some(HIGH + 3 * PER_SERVICE));
        assert_eq!(of(WHOLE, CONTAINER), Some(LOW));
        assert_eq!(of(CONTAINER, CONTAINER), Some(LOW));
        assert_eq!(of("0 0 1", WHOLE), None);
        assert_eq!(of("", ""), None);
        assert!(HIGH.checked_add(SERVICES * PER_SERVICE).is_some());
    }

    #[test]
    fn no_run_becomes_root_and_only_a_service_of_root_runs_a_step_as_another_user() {
        let users = "root:x:0:0::/root:/bin/sh\ntoor:x:0:0::/:/bin/sh\noperator:x:11:0::/:/bin/sh\nweb:x:33:34::/:/bin/sh\n\
                     web2:x:70000:70000::/:/bin/sh\nbad:x:y:z::/:/bin/sh\nshort:x\n";
        let whole = Maps {
            uid: WHOLE.to_owned(),
            gid: WHOLE.to_owned(),
        };
        let container = Maps {
            uid: CONTAINER.to_owned(),
            gid: CONTAINER.to_owned(),
        };
        let (root, web) = (HostId { uid: 0, gid: 0 }, HostId { uid: 33, gid: 34 });
        assert_eq!(find_user("web", users, &whole, root), Ok(web));
        assert_eq!(find_user("web", users, &container, web), Ok(web), "itself");
        for (name, maps, service, why) in [
            ("root", &whole, root, "no step runs as root"),
            ("toor", &whole, root, "the user has the ids of root (0:0)"),
            (
                "operator",
                &whole,
                root,
                "the user has the ids of root (11:0)",
            ),
            ("we", &whole, root, "/etc/passwd does not contain this user"),
            ("bad", &whole, root, "has no valid ids"),
            ("short", &whole, root, "has no valid ids"),
            (
                "web2",
                &container,
                root,
                "this container has no ids 70000:70000",
            ),
            ("web2", &whole, web, "only root can become another user"),
            (
                "web",
                &whole,
                HostId { uid: 33, gid: 33 },
                "only root can become another user",
            ),
        ] {
            let refused = find_user(name, users, maps, service).expect_err(name);
            assert!(refused.contains(why), "{name}: {refused}");
        }
    }

    const WHOLE: &str = "         0          0 4294967295\n";
    const CONTAINER: &str = "0 100000 65536";
}
