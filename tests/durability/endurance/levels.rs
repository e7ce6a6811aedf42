//! What a service needs: memory, descriptors, threads, processes and files.

use std::fmt;
use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use serde::{Deserialize, Serialize};

use crate::many_runs::{below, groups, trees};
use crate::support::{World, wait_for};

/// Each number with its name. A later round may need the level of the first round, this part more in per cent, and this
/// number more.
const NUMBERS: [(&str, u64, u64); 8] = [
    // Pages of no file. The caches of SQLite have at most 8 MB for each of five connections.
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
/// Time in which the lowest level is measured. An idle thread ends after 10 seconds.
const LEAST: Duration = Duration::from_secs(20);

#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Level([u64; NUMBERS.len()]);

impl fmt::Display for Level {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = NUMBERS
            .iter()
            .zip(self.0)
            .map(|((name, ..), number)| format!("{number} {name}"));
        to.write_str(&words.collect::<Vec<_>>().join(", "))
    }
}

impl Level {
    /// Waits until the service is back at the level of the first round. Returns the lowest level of some seconds.
    pub(super) fn settled(world: &World, first: Option<&Self>) -> Self {
        let began = Instant::now();
        let mut lowest = Self::of(world.pid(), world);
        loop {
            std::thread::sleep(Duration::from_millis(500));
            let now = Self::of(world.pid(), world);
            lowest = Self(std::array::from_fn(|at| lowest.0[at].min(now.0[at])));
            let high = first.map_or_else(Vec::new, |first| lowest.above(first));
            if high.is_empty() && began.elapsed() > LEAST {
                return lowest;
            }
            assert!(
                began.elapsed() < PATIENCE,
                "{high:?} did not come back:\n{now}\nafter the first round:\n{}",
                first.unwrap()
            );
        }
    }

    /// Returns the names of the numbers that are too high after the level `first`.
    fn above(&self, first: &Self) -> Vec<&'static str> {
        let each = NUMBERS.iter().zip(self.0.iter().zip(first.0));
        let high = each
            .filter(|((_, part, more), (now, first))| **now > first + first * part / 100 + more);
        high.map(|((name, ..), _)| *name).collect()
    }

    fn of(service: u32, world: &World) -> Self {
        let all: Vec<u32> = below(service)
            .into_iter()
            .map(|(pid, _)| pid)
            .chain([service])
            .collect();
        let memory = all.iter().map(|pid| status(*pid, "RssAnon:")).sum();
        let descriptors = all
            .iter()
            .map(|pid| fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count) as u64)
            .sum();
        let threads = all.iter().map(|pid| status(*pid, "Threads:")).sum();
        let wal = fs::metadata(world.database().with_extension("db-wal"))
            .map_or(0, |file| file.len() >> 10);
        let left = groups(world).len() + trees(world).len();
        Self([
            memory,
            descriptors,
            threads,
            all.len() as u64,
            zombies(&all),
            files(&world.path("b")),
            left as u64,
            wal,
        ])
    }
}

/// Returns a number of `/proc/PID/status`.
fn status(pid: u32, field: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(field))
        .unwrap_or("0");
    line.split_whitespace()
        .next()
        .and_then(|number| number.parse().ok())
        .unwrap_or(0)
}

/// Returns the number of ended children that no parent of these has reaped.
fn zombies(parents: &[u32]) -> u64 {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let stats = entries.filter_map(|entry| fs::read_to_string(entry.path().join("stat")).ok());
    let is_zombie = |stat: &String| {
        let mut fields = stat
            .rsplit_once(')')
            .map_or("", |(_, rest)| rest)
            .split_whitespace();
        fields.next() == Some("Z")
            && fields
                .next()
                .and_then(|of| of.parse().ok())
                .is_some_and(|of| parents.contains(&of))
    };
    stats.filter(is_zombie).count() as u64
}

/// Returns the number of files below a directory. The versions of the roster are kept for ever.
fn files(directory: &Path) -> u64 {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_name() != "roster.d")
        .map(|entry| {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                1 + files(&entry.path())
            } else {
                1
            }
        })
        .sum()
}

#[test]
fn a_process_that_keeps_memory_descriptors_children_and_files_is_above_its_first_level() {
    let world = World::prepared(|_| ());
    fs::create_dir_all(world.path("b/runs")).unwrap();
    let start = |script: &str| {
        Command::new("bash")
            .args(["-c", script])
            .process_group(0)
            .spawn()
            .unwrap()
    };
    let idle = start("exec sleep 60");
    let first = Level::of(idle.id(), &world);
    assert!(first.above(&first).is_empty());
    let left = start(
        "for n in 1 2 3 4 5 6 7; do sleep 60 & done; (head -c 99000000 /dev/zero; sleep 60) | tail &\n\
         (sleep 0.3) & exec sleep 60",
    );
    for number in 0..90 {
        world.write(&format!("b/left/{number}"), "");
    }
    fs::create_dir(world.path("b/runs/run-left")).unwrap();
    let wal = File::create(world.database().with_extension("db-wal")).unwrap();
    wal.set_len(90 << 20).unwrap();
    wait_for("each number is above the first level", || {
        Level::of(left.id(), &world).above(&first).len() == NUMBERS.len()
    });
    for mut group in [idle, left] {
        let _ = kill_process_group(Pid::from_child(&group), Signal::KILL);
        group.wait().unwrap();
    }
}
