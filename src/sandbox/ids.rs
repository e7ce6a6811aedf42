//! Ids of runs: one that no user and no other run has.

use std::sync::atomic::{AtomicU32, Ordering};

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

/// One count for the process: two sandboxes in it must not give one id to two runs, since the end of a run on the
/// host's root is the end of everything of its id.
static NEXT: AtomicU32 = AtomicU32::new(0);

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

    /// The next id. Two runs have one only when more than 4096 go on beside each other.
    pub(super) fn next(&self) -> Option<u32> {
        self.base.map(|base| base + NEXT.fetch_add(1, Ordering::Relaxed) % PER_SERVICE)
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
