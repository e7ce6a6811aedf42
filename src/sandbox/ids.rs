//! Ids of runs: one that no user and no other run has, or that of a user of the host.

use crate::record::host::check_user;
use crate::sandbox::protocol::HostId;
use std::sync::{Mutex, PoisonError};

/// Above what distributions and systemd give out.
const HIGH: u32 = 2_000_000_000;
/// Ids of one service at one time.
const PER_SERVICE: u32 = 4096;
/// Services that can use the high range beside each other (by their process id).
const SERVICES: u32 = 65_536;
/// In a container with few ids: below the reserved ones at 65534.
const LOW: u32 = 57_344;

/// Hands out ids; none where the service may not take another one.
#[derive(Debug)]
pub(super) struct Ids {
    base: Option<u32>,
}

/// One for the process: two sandboxes in it must not give one id to two runs, since the end of a run on the host's root is
/// the end of everything of its id.
static TAKEN: Taken = Taken::new();

/// Which of the ids runs have now.
#[derive(Debug)]
struct Taken(Mutex<(u32, [bool; PER_SERVICE as usize])>);

impl Taken {
    const fn new() -> Self {
        Self(Mutex::new((0, [false; PER_SERVICE as usize])))
    }

    /// One that no run has, and was not given back just now as far as there are others.
    fn take(&'static self, base: u32) -> Option<Id> {
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (next, ids) = &mut *taken;
        let number = (0..PER_SERVICE).map(|far| (*next + far) % PER_SERVICE).find(|at| !ids[*at as usize])?;
        ids[number as usize] = true;
        *next = number + 1;
        Some(Id { base, number, of: self })
    }
}

/// An id of a run, which no other run gets while this is there.
#[derive(Debug)]
pub(super) struct Id {
    base: u32,
    number: u32,
    of: &'static Taken,
}

impl Id {
    pub(super) fn number(&self) -> u32 {
        self.base + self.number
    }
}

impl Drop for Id {
    fn drop(&mut self) {
        self.of.0.lock().unwrap_or_else(PoisonError::into_inner).1[self.number as usize] = false;
    }
}

impl Ids {
    /// From the maps of the namespace that the service itself is in. Only root may become somebody else.
    pub(super) fn of_this_process() -> Self {
        let root = rustix::process::geteuid().is_root();
        Self { base: if root { base(&Maps::of_this_process(), std::process::id()) } else { None } }
    }

    pub(super) fn available(&self) -> bool {
        self.base.is_some()
    }

    /// An id for a run; none as well where 4096 go on beside each other.
    pub(super) fn take(&self) -> Option<Id> {
        TAKEN.take(self.base?)
    }
}

/// A user of this host, looked up in `/etc/passwd` alone: a directory server would be asked at every verdict.
///
/// # Errors
/// Why a run can't be this one, and what to do.
pub(super) fn of_user(name: &str) -> Result<HostId, String> {
    let users = std::fs::read_to_string("/etc/passwd").map_err(|error| format!("/etc/passwd: {error}"))?;
    let maps = Maps::of_this_process();
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    find_user(name, &users, &maps, HostId { uid, gid })
}

fn find_user(name: &str, users: &str, maps: &Maps, service: HostId) -> Result<HostId, String> {
    check_user(name)?;
    let line = users.lines().map(|line| line.split(':').collect::<Vec<_>>()).find(|fields| fields[0] == name);
    let Some(fields) = line else {
        return Err(format!("it is not in /etc/passwd; make it with `useradd --system {name}`, or name another"));
    };
    let id = |at: usize| fields.get(at).and_then(|text| text.parse::<u32>().ok());
    let (Some(uid), Some(gid)) = (id(2), id(3)) else {
        return Err("its line in /etc/passwd has no ids".to_owned());
    };
    if uid == 0 || gid == 0 {
        return Err(format!("its ids are root's ({uid}:{gid}); name another user"));
    }
    let user = HostId { uid, gid };
    if service.uid != 0 && user != service {
        return Err(format!(
            "the service is user {}, and only root becomes another one; start the service as root, or as {name}",
            service.uid
        ));
    }
    if service.uid == 0 && !(covers(&maps.uid, uid, 1) && covers(&maps.gid, gid, 1)) {
        return Err(format!("this container has no ids {uid}:{gid}; give it more of them"));
    }
    Ok(user)
}

/// Ids of the namespace that the service itself is in (user_namespaces(7)).
struct Maps {
    uid: String,
    gid: String,
}

impl Maps {
    fn of_this_process() -> Self {
        let map = |name: &str| std::fs::read_to_string(format!("/proc/self/{name}")).unwrap_or_default();
        Self { uid: map("uid_map"), gid: map("gid_map") }
    }
}

fn covers(map: &str, first: u32, count: u32) -> bool {
    map.lines().any(|line| {
        let mut fields = line.split_ascii_whitespace().map(|field| field.parse::<u64>().unwrap_or(0));
        let (inside, _, length) = (fields.next().unwrap_or(0), fields.next(), fields.next().unwrap_or(0));
        inside <= u64::from(first) && u64::from(first) + u64::from(count) <= inside + length
    })
}

fn base(maps: &Maps, process: u32) -> Option<u32> {
    let candidates = [HIGH + process % SERVICES * PER_SERVICE, LOW];
    candidates.into_iter().find(|&first| covers(&maps.uid, first, PER_SERVICE) && covers(&maps.gid, first, PER_SERVICE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_runs_never_have_one_user_id_at_the_same_time() {
        static TAKEN: Taken = Taken::new();
        let mut ids: Vec<Id> = (0..PER_SERVICE).filter_map(|_| TAKEN.take(HIGH)).collect();
        let numbers: std::collections::BTreeSet<u32> = ids.iter().map(Id::number).collect();
        assert_eq!((ids.len(), numbers.len()), (4096, 4096));
        assert!(numbers.iter().all(|id| (HIGH..HIGH + PER_SERVICE).contains(id)));
        assert!(TAKEN.take(HIGH).is_none(), "all of them are in use");
        let free = ids.swap_remove(77).number();
        assert_eq!(TAKEN.take(HIGH).map(|id| id.number()), Some(free));
        drop(ids);
        // One that was given back is not the next one at once.
        let first = TAKEN.take(HIGH).map(|id| id.number());
        assert_ne!(TAKEN.take(HIGH).map(|id| id.number()), first);
    }

    #[test]
    fn only_mapped_user_ids_are_used() {
        let of = |uid: &str, gid: &str| base(&Maps { uid: uid.to_owned(), gid: gid.to_owned() }, 3);
        assert_eq!(of(WHOLE, WHOLE), Some(HIGH + 3 * PER_SERVICE));
        assert_eq!(of(WHOLE, CONTAINER), Some(LOW));
        assert_eq!(of(CONTAINER, CONTAINER), Some(LOW));
        assert_eq!(of("0 0 1", WHOLE), None);
        assert_eq!(of("", ""), None);
        assert!(HIGH.checked_add(SERVICES * PER_SERVICE).is_some());
    }

    #[test]
    fn a_user_of_the_host_is_never_root_and_only_root_can_become_that_user() {
        let users = "root:x:0:0::/root:/bin/sh\ntoor:x:0:0::/:/bin/sh\noperator:x:11:0::/:/bin/sh\nweb:x:33:34::/:/bin/sh\n\
                     web2:x:70000:70000::/:/bin/sh\nbad:x:y:z::/:/bin/sh\nshort:x\n";
        let whole = Maps { uid: WHOLE.to_owned(), gid: WHOLE.to_owned() };
        let container = Maps { uid: CONTAINER.to_owned(), gid: CONTAINER.to_owned() };
        let (root, web) = (HostId { uid: 0, gid: 0 }, HostId { uid: 33, gid: 34 });
        assert_eq!(find_user("web", users, &whole, root), Ok(web));
        assert_eq!(find_user("web", users, &container, web), Ok(web), "itself");
        for (name, maps, service, why) in [
            ("root", &whole, root, "no step runs as root"),
            ("toor", &whole, root, "its ids are root's (0:0)"),
            ("operator", &whole, root, "its ids are root's (11:0)"),
            ("we", &whole, root, "not in /etc/passwd"),
            ("bad", &whole, root, "has no ids"),
            ("short", &whole, root, "has no ids"),
            ("web2", &container, root, "this container has no ids 70000:70000"),
            ("web2", &whole, web, "only root becomes another one"),
            ("web", &whole, HostId { uid: 33, gid: 33 }, "only root becomes another one"),
        ] {
            let refused = find_user(name, users, maps, service).expect_err(name);
            assert!(refused.contains(why), "{name}: {refused}");
        }
    }

    const WHOLE: &str = "         0          0 4294967295\n";
    const CONTAINER: &str = "0 100000 65536";
}
