//! Ids of runs: one that no user and no other run has.

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
        let map = |name: &str| std::fs::read_to_string(format!("/proc/self/{name}")).unwrap_or_default();
        let base = if rustix::process::geteuid().is_root() {
            base(&map("uid_map"), &map("gid_map"), std::process::id())
        } else {
            None
        };
        Self { base }
    }

    pub(super) fn available(&self) -> bool {
        self.base.is_some()
    }

    /// An id for a run; none as well where 4096 go on beside each other.
    pub(super) fn take(&self) -> Option<Id> {
        TAKEN.take(self.base?)
    }
}

fn base(uid_map: &str, gid_map: &str, process: u32) -> Option<u32> {
    let covers = |map: &str, first: u32, count: u32| {
        map.lines().any(|line| {
            let mut fields = line.split_ascii_whitespace().map(|field| field.parse::<u64>().unwrap_or(0));
            let (inside, _, length) = (fields.next().unwrap_or(0), fields.next(), fields.next().unwrap_or(0));
            inside <= u64::from(first) && u64::from(first) + u64::from(count) <= inside + length
        })
    };
    let candidates = [HIGH + process % SERVICES * PER_SERVICE, LOW];
    candidates.into_iter().find(|&first| covers(uid_map, first, PER_SERVICE) && covers(gid_map, first, PER_SERVICE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_id_is_given_to_two_runs_at_one_time() {
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
    fn ids_are_only_taken_where_they_are_mapped() {
        let whole = "         0          0 4294967295\n";
        let container = "0 100000 65536";
        assert_eq!(base(whole, whole, 3), Some(HIGH + 3 * PER_SERVICE));
        assert_eq!(base(whole, container, 3), Some(LOW));
        assert_eq!(base(container, container, 3), Some(LOW));
        assert_eq!(base("0 0 1", whole, 3), None);
        assert_eq!(base("", "", 3), None);
        assert!(HIGH.checked_add(SERVICES * PER_SERVICE).is_some());
    }
}
