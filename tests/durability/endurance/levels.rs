//! What a service needs: memory, descriptors, threads, processes and files.

use std::fmt;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::many_runs::{below, groups, trees};
use crate::support::World;

/// Each number with its name. A later round may need the level of the first round, this part more in per cent, and this
/// number more.
const NUMBERS: [(&str, u64, u64); 8] = [
    // The size of the log and the moment of the last start change the memory.
    ("KiB of memory", 25, 64 << 10),
    ("descriptors", 0, 8),
    ("threads", 0, 6),
    ("processes", 0, 0),
    ("zombies", 0, 0),
    // A kept file of each upload, and the parts of the outputs that wait for their retention.
    ("files", 0, 80),
    ("control groups and directories of runs", 0, 0),
    // SQLite shortens the file to 62.5 MiB, and lengthens it while readers need old pages.
    ("KiB of the write-ahead log", 0, 70 << 10),
];
/// Time in which the service must come back to its level.
const PATIENCE: Duration = Duration::from_secs(120);

pub(super) struct Level([u64; NUMBERS.len()]);

impl fmt::Display for Level {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = NUMBERS.iter().zip(self.0).map(|((name, ..), number)| format!("{number} {name}"));
        to.write_str(&words.collect::<Vec<_>>().join(", "))
    }
}

impl Level {
    /// Waits until the service is back at the level of the first round. After the first round, returns the lowest level of
    /// some seconds.
    pub(super) fn settled(world: &World, first: Option<&Self>) -> Self {
        let began = Instant::now();
        let mut lowest = Self::of(world);
        loop {
            std::thread::sleep(Duration::from_millis(500));
            let now = Self::of(world);
            lowest = Self(std::array::from_fn(|at| lowest.0[at].min(now.0[at])));
            match first {
                None if began.elapsed() > Duration::from_secs(20) => return lowest,
                None => {}
                Some(first) => {
                    let most = |at: usize| first.0[at] + first.0[at] * NUMBERS[at].1 / 100 + NUMBERS[at].2;
                    let high: Vec<&str> =
                        (0..NUMBERS.len()).filter(|at| lowest.0[*at] > most(*at)).map(|at| NUMBERS[at].0).collect();
                    if high.is_empty() {
                        return lowest;
                    }
                    assert!(
                        began.elapsed() < PATIENCE,
                        "{high:?} did not come back:\n{now}\nafter the first round:\n{first}"
                    );
                }
            }
        }
    }

    fn of(world: &World) -> Self {
        let service = world.pid();
        let all: Vec<u32> = below(service).into_iter().map(|(pid, _)| pid).chain([service]).collect();
        let memory = all.iter().map(|pid| status(*pid, "VmRSS:")).sum();
        let descriptors =
            all.iter().map(|pid| fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count) as u64).sum();
        let threads = all.iter().map(|pid| status(*pid, "Threads:")).sum();
        let wal = fs::metadata(world.database().with_extension("db-wal")).map_or(0, |file| file.len() >> 10);
        let left = groups(world).len() + trees(world).len();
        Self([memory, descriptors, threads, all.len() as u64, zombies(&all), files(&world.path("b")), left as u64, wal])
    }
}

/// Returns a number of `/proc/PID/status`.
fn status(pid: u32, field: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(field)).unwrap_or("0");
    line.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// Returns the number of ended children that no parent of these has reaped.
fn zombies(parents: &[u32]) -> u64 {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let stats = entries.filter_map(|entry| fs::read_to_string(entry.path().join("stat")).ok());
    let is_zombie = |stat: &String| {
        let mut fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace();
        fields.next() == Some("Z")
            && fields.next().and_then(|of| of.parse().ok()).is_some_and(|of| parents.contains(&of))
    };
    stats.filter(is_zombie).count() as u64
}

/// Returns the number of files below a directory. The versions of the roster are kept for ever.
fn files(directory: &Path) -> u64 {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_name() != "roster.d")
        .map(|entry| if entry.file_type().is_ok_and(|kind| kind.is_dir()) { 1 + files(&entry.path()) } else { 1 })
        .sum()
}
