//! How fast the data of a boundary grows, and how many days the disk lasts at this growth.
//!
//! Housekeeping measures the size of the data every few hours. A file in the private directory keeps the sizes of the
//! last days, so a restart of the service loses no size.

use std::{
    fmt, fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::Mutex,
};

use crossing::PROPOSAL_ROOM;
use documents::{SealDigest, Timestamp, locked};
use store::small_file;

const DAY_S: i64 = 86_400;
/// Time between two measurements, in seconds.
const EVERY_S: i64 = DAY_S / 4;
/// Number of days from whose sizes the growth is computed.
const DAYS: i64 = 7;
/// Maximum number of stored sizes: more than [`DAYS`] need, because a wrong clock may have written some of them.
const MOST_SIZES: usize = 60;
/// Maximum size of the file in bytes. [`MOST_SIZES`] sizes need less.
const MOST_BYTES: u64 = 1 << 14;

/// The size of the data at one time.
#[derive(Debug, PartialEq)]
struct DataSize {
    at: Timestamp,
    bytes: u64,
}

/// The sizes of the data in the last days.
pub struct DataGrowth {
    file: PathBuf,
    /// Id of the log. After a restore, the sizes of the earlier log say nothing about the new log.
    log: SealDigest,
    /// Directory of backups. Backups on the disk of the data grow like the data. `None` with a database server.
    backups: Option<PathBuf>,
    sizes: Mutex<Vec<DataSize>>,
}

/// The growth of the data.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MeasuredGrowth {
    /// Number of bytes by which the data grows each day, at least 1.
    pub bytes_per_day: u64,
    /// Number of whole days that the measurement covers, from 1 to 7.
    pub days: i64,
}

impl DataGrowth {
    /// Reads the sizes of this log from `file`. If the file can't be read, the measurement starts again.
    pub fn read(file: PathBuf, log: SealDigest, backups: Option<PathBuf>) -> Self {
        // Read only a regular file: reading a pipe could block forever, and a device has no end.
        let is_small =
            fs::metadata(&file).is_ok_and(|file| file.is_file() && file.len() <= MOST_BYTES);
        let text = if is_small {
            fs::read_to_string(&file).ok()
        } else {
            None
        };
        let sizes = text.and_then(|text| sizes_of(&text, &log));
        Self {
            file,
            log,
            backups,
            sizes: Mutex::new(sizes.unwrap_or_default()),
        }
    }

    /// Returns true if it is time to measure the data again.
    pub fn is_due(&self, now: Timestamp) -> bool {
        // A size from the future comes from a wrong clock.
        locked(&self.sizes)
            .last()
            .is_none_or(|last| last.at > now || now.unix() - last.at.unix() >= EVERY_S)
    }

    /// Stores the size of the data.
    ///
    /// # Errors
    /// Returns an error if the file can't be written. The size is then kept only until the end of this process.
    pub fn add(&self, now: Timestamp, bytes: u64) -> io::Result<()> {
        let mut sizes = locked(&self.sizes);
        sizes.retain(|size| size.at < now);
        sizes.push(DataSize { at: now, bytes });
        let surplus = sizes.len().saturating_sub(MOST_SIZES);
        sizes.drain(..surplus);
        let lines: String = sizes
            .iter()
            .map(|size| format!("{} {}\n", size.at, size.bytes))
            .collect();
        small_file::replace(&self.file, format!("{}\n{lines}", self.log).as_bytes())
    }

    /// Returns the number of backups on the disk of the data.
    fn copies(&self) -> u64 {
        let device = |path: &Path| fs::metadata(path).map(|found| found.dev()).ok();
        let entries = self
            .backups
            .iter()
            .filter_map(|backups| fs::read_dir(backups).ok())
            .flatten()
            .flatten();
        let backups = entries.map(|entry| entry.path().join("countersign.db"));
        backups
            .filter(|store| {
                device(store).is_some() && device(store) == self.file.parent().and_then(device)
            })
            .count() as u64
    }

    /// Returns the growth in the last 7 days: that of the data, and of the backups on the same disk. Returns `None` if
    /// the sizes cover less than a day, or if the data did not grow.
    pub fn measured(&self, now: Timestamp) -> Option<MeasuredGrowth> {
        let sizes = locked(&self.sizes);
        let mut counted = sizes
            .iter()
            .filter(|size| size.at <= now && size.at >= now.plus(-DAYS * DAY_S));
        let first = counted.next()?;
        let last = counted.next_back()?;
        let seconds = last.at.unix() - first.at.unix();
        let grown = u128::from(last.bytes.checked_sub(first.bytes)?);
        let grown = grown * u128::from(1 + self.copies());
        let per_day = grown * u128::try_from(DAY_S).ok()?
            / u128::try_from(seconds).ok().filter(|s| *s > 0)?;
        let bytes_per_day = u64::try_from(per_day).unwrap_or(u64::MAX);
        (seconds >= DAY_S && bytes_per_day > 0).then_some(MeasuredGrowth {
            bytes_per_day,
            days: seconds / DAY_S,
        })
    }
}

impl MeasuredGrowth {
    /// Returns the number of whole days after which the disk has too little space for proposals.
    pub fn lasts_days(&self, free_bytes: u64) -> u64 {
        free_bytes.saturating_sub(PROPOSAL_ROOM) / self.bytes_per_day
    }
}

impl fmt::Display for MeasuredGrowth {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Self {
            bytes_per_day,
            days,
        } = self;
        let (size, unit) = if *bytes_per_day < 1 << 20 {
            (bytes_per_day >> 10, "KiB")
        } else {
            (bytes_per_day >> 20, "MiB")
        };
        write!(
            f,
            "the growth of the last {days} days ({size} {unit} a day)"
        )
    }
}

/// Parses the file, whose first line is the id of the log. Returns `None` if a line is damaged or belongs to another
/// log.
fn sizes_of(text: &str, log: &SealDigest) -> Option<Vec<DataSize>> {
    let mut lines = text.lines();
    if lines.next()? != log.to_string() {
        return None;
    }
    let size = |line: &str| {
        let (at, bytes) = line.split_once(' ')?;
        Some(DataSize {
            at: at.parse().ok()?,
            bytes: bytes.parse().ok()?,
        })
    };
    let sizes = lines.map(size).collect::<Option<Vec<_>>>()?;
    sizes.is_sorted_by(|a, b| a.at < b.at).then_some(sizes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn at(hours: i64) -> Timestamp {
        Timestamp::from_unix(1_800_000_000 + hours * 3600)
    }

    /// Stores these sizes in MiB, and returns the growth after the last one, in MiB a day with its days.
    fn growth(sizes: &[(i64, u64)]) -> Option<(u64, i64)> {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("sizes");
        let log = SealDigest::of(b"log");
        for (hours, mib) in sizes {
            // A restart between two sizes loses none.
            DataGrowth::read(file.clone(), log, None)
                .add(at(*hours), mib * MIB)
                .expect("written");
        }
        let now = at(sizes.last().map_or(0, |size| size.0));
        let read = DataGrowth::read(file.clone(), log, None).measured(now);
        assert_eq!(
            DataGrowth::read(file, SealDigest::of(b"other"), None).measured(now),
            None,
            "the sizes of another log"
        );
        read.map(|found| (found.bytes_per_day / MIB, found.days))
    }

    #[test]
    fn the_growth_is_that_of_the_last_7_days() {
        let each_6_hours: Vec<(i64, u64)> = (0..80)
            .map(|n| (n * 6, if n < 40 { 0 } else { n as u64 * 10 }))
            .collect();
        assert_eq!(growth(&each_6_hours), Some((40, 7)));
        assert_eq!(growth(&[(0, 100), (24, 130)]), Some((30, 1)));
        assert_eq!(growth(&[(0, 100), (48, 130)]), Some((15, 2)));
    }

    #[test]
    fn there_is_no_growth_without_a_day_of_sizes_or_without_more_data() {
        assert_eq!(growth(&[]), None);
        assert_eq!(growth(&[(0, 100)]), None);
        assert_eq!(growth(&[(0, 100), (23, 200)]), None, "less than a day");
        assert_eq!(growth(&[(0, 100), (24, 100)]), None, "no growth");
        assert_eq!(
            growth(&[(0, 100), (24, 300), (30, 90)]),
            None,
            "the data shrank"
        );
        assert_eq!(
            growth(&[(0, 100), (24 * 8, 300)]),
            None,
            "no older size of the last 7 days"
        );
    }

    #[test]
    fn sizes_from_the_future_of_a_wrong_clock_do_not_count() {
        // One size was recorded while the clock was 300 days ahead.
        assert_eq!(
            growth(&[(0, 100), (24 * 300, 110), (6, 110), (24, 140)]),
            Some((40, 1))
        );
        let directory = tempfile::tempdir().expect("a directory");
        let growth = DataGrowth::read(directory.path().join("sizes"), SealDigest::of(b"log"), None);
        assert!(growth.is_due(at(0)));
        growth.add(at(0), 1).expect("written");
        assert!(!growth.is_due(at(5)) && growth.is_due(at(6)) && growth.is_due(at(-1)));
        growth.add(at(30), MIB).expect("written");
        assert_eq!(
            growth.measured(at(29)),
            None,
            "the clock is behind the last size"
        );
    }

    #[test]
    fn each_backup_on_the_disk_of_the_data_grows_as_the_data() {
        let directory = tempfile::tempdir().expect("a directory");
        let (file, backups) = (
            directory.path().join("sizes"),
            directory.path().join("backups"),
        );
        let log = SealDigest::of(b"log");
        for (hours, mib) in [(0, 100), (24, 130)] {
            DataGrowth::read(file.clone(), log, None)
                .add(at(hours), mib * MIB)
                .expect("written");
        }
        let per_day = || {
            let growth =
                DataGrowth::read(file.clone(), log, Some(backups.clone())).measured(at(24));
            growth.map(|found| found.bytes_per_day / MIB)
        };
        assert_eq!(per_day(), Some(30), "there are no backups");
        for (name, expected) in [("one", 60), ("two", 90)] {
            fs::create_dir_all(backups.join(name)).expect("a directory");
            fs::write(backups.join(name).join("countersign.db"), "").expect("written");
            assert_eq!(per_day(), Some(expected), "{name}");
        }
        // A backup on another disk, and a directory that is no backup.
        fs::create_dir_all(backups.join("elsewhere")).expect("a directory");
        std::os::unix::fs::symlink("/proc/version", backups.join("elsewhere/countersign.db"))
            .expect("a link");
        fs::create_dir_all(backups.join("other")).expect("a directory");
        assert_eq!(per_day(), Some(90));
    }

    #[test]
    fn a_damaged_file_begins_a_new_measurement() {
        let log = SealDigest::of(b"log");
        let good = format!("{log}\n{} 5\n{} 6\n", at(0), at(30));
        assert_eq!(sizes_of(&good, &log).map(|sizes| sizes.len()), Some(2));
        let (first, second) = (at(0).to_string(), at(30).to_string());
        let bad = [
            good.replace(" 6", " -6"),
            good.replace(" 6", " 99999999999999999999999"),
            good.replace(&second, &first),
            good.replace(&second, "yesterday"),
            good.replace(" 5\n", "\n"),
            good.lines().skip(1).collect(),
            String::new(),
        ];
        for bad in bad {
            assert_eq!(sizes_of(&bad, &log), None, "{bad}");
        }
    }

    #[test]
    fn a_full_disk_lasts_no_day() {
        let growth = MeasuredGrowth {
            bytes_per_day: MIB,
            days: 7,
        };
        assert_eq!(
            [0, PROPOSAL_ROOM, PROPOSAL_ROOM + 9 * MIB].map(|free| growth.lasts_days(free)),
            [0, 0, 9]
        );
        assert_eq!(
            growth.lasts_days(u64::MAX),
            (u64::MAX - PROPOSAL_ROOM) >> 20
        );
        assert_eq!(
            growth.to_string(),
            "the growth of the last 7 days (1 MiB a day)"
        );
    }
}
