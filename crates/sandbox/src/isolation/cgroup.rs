//! Creates a control group for each run, if the service may use cgroup v2.
//!
//! The first process of a run is created in its group (`CLONE_INTO_CGROUP`), so no process is moved into a control
//! group. The group limits memory, processes and CPU time of the whole run. The kernel counts exceeded limits of the
//! group and can kill all its processes. Without control groups, the limits apply to each process.

use std::{
    fs, io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};

use crate::isolation::opened::open;
use documents::Limits;

/// The parent directory of the control groups of runs.
pub struct GroupParent {
    parent: PathBuf,
    pub controllers: Controllers,
}

/// The limits that a control group enforces.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Controllers {
    pub memory: bool,
    pub pids: bool,
    pub cpu: bool,
}

impl Controllers {
    pub fn any(self) -> bool {
        self.memory || self.pids || self.cpu
    }

    /// Returns the names of the controllers in the kernel.
    pub fn names(self) -> Vec<&'static str> {
        [
            ("cpu", self.cpu),
            ("memory", self.memory),
            ("pids", self.pids),
        ]
        .into_iter()
        .filter_map(|(name, held)| held.then_some(name))
        .collect()
    }
}

/// Control group of one run. Dropping the value removes the group if it has no processes.
pub struct RunGroup {
    path: PathBuf,
    pub controllers: Controllers,
}

/// Counters of a group.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct GroupEvents {
    /// Number of processes that the kernel killed because the memory limit was reached.
    pub memory_kills: u64,
    /// Number of forks that the kernel refused because of the process limit.
    pub refused_processes: u64,
    /// Peak memory of the group, in bytes.
    pub memory_peak: Option<u64>,
    /// CPU time of all processes, in microseconds.
    pub cpu_us: Option<u64>,
}

/// Maximum time to wait for the end of an earlier service's processes.
const DEADLINE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(1);
/// Period of the CPU quota, in microseconds.
const PERIOD: u64 = 100_000;

static NEXT: AtomicU64 = AtomicU64::new(0);

impl GroupParent {
    /// Finds the control group of this process and creates the parent group for runs. Kills all runs of an earlier
    /// service. `mark` is part of the name of the parent group, so both services use the same parent group.
    ///
    /// # Errors
    /// Returns the reason as an error if no control groups can be used.
    pub fn find(mark: &str) -> Result<Self, String> {
        let mounts = fs::read_to_string("/proc/self/mountinfo")
            .map_err(|error| format!("read the mounts: {error}"))?;
        let (root, mount) = mount_of(&mounts).ok_or("cgroup v2 is not mounted on this host")?;
        let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let own = own
            .lines()
            .find_map(|line| line.strip_prefix("0::"))
            .ok_or("this process is not in a cgroup of version 2")?;
        let below = own
            .strip_prefix(root.as_str())
            .unwrap_or(own)
            .trim_start_matches('/');
        let base = mount.join(below);
        let parent = base.join(format!("countersign-{mark}"));
        end_leftovers(&parent)?;
        match fs::create_dir(&parent) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(format!(
                    "make the cgroup {}: {error}; delegate a cgroup to the service (systemd: Delegate=yes)",
                    parent.display()
                ));
            }
            _ => {}
        }
        let mut groups = Self {
            parent,
            controllers: Controllers::default(),
        };
        groups.controllers = enable(&base, &groups.parent, mark);
        Ok(groups)
    }

    /// Describes the missing controllers, or returns `None` if control groups enforce all limits.
    pub fn lacking(&self) -> Option<String> {
        let all = ["cpu", "memory", "pids"];
        let held = self.controllers.names();
        let missing: Vec<&str> = all
            .into_iter()
            .filter(|name| !held.contains(name))
            .collect();
        (!missing.is_empty()).then(|| {
            format!(
                "controllers that are not delegated to {}: {}",
                self.parent.display(),
                missing.join(", ")
            )
        })
    }

    /// Creates a control group with these limits.
    ///
    /// # Errors
    /// Fails if the group can't be created or a limit can't be set.
    pub fn make(&self, limits: &Limits) -> io::Result<RunGroup> {
        let path = self
            .parent
            .join(format!("run-{}", NEXT.fetch_add(1, Ordering::Relaxed)));
        fs::create_dir(&path)?;
        let group = RunGroup {
            path,
            controllers: self.controllers,
        };
        if self.controllers.memory {
            group.set("memory.max", &limits.memory_bytes.to_string())?;
            group.set("memory.oom.group", "1")?;
            // Kernels without swap accounting lack this file, although they may use swap.
            match group.set("memory.swap.max", "0") {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        if self.controllers.pids {
            // The first process of the run counts too.
            group.set("pids.max", &limits.processes.saturating_add(1).to_string())?;
        }
        if self.controllers.cpu {
            let quota = limits
                .cpu_milli
                .saturating_mul(PERIOD / 1000)
                .clamp(1000, 1 << 40);
            group.set("cpu.max", &format!("{quota} {PERIOD}"))?;
        }
        Ok(group)
    }
}

impl Drop for GroupParent {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.parent);
    }
}

impl RunGroup {
    /// Opens the directory of the group, so that a process can be created in the group.
    pub fn open(&self) -> io::Result<OwnedFd> {
        Ok(open(&self.path, OFlags::DIRECTORY)?)
    }

    /// Kills all processes of the group and waits until the group is empty. Returns the number of processes that did
    /// not end within the time `most`.
    pub fn end(&self, most: Duration) -> u64 {
        let begun = Instant::now();
        while !self.is_empty() {
            let _ = self.set("cgroup.kill", "1");
            if begun.elapsed() > most {
                let left = fs::read_to_string(self.path.join("cgroup.procs")).unwrap_or_default();
                return left.lines().count().max(1) as u64;
            }
            std::thread::sleep(PAUSE);
        }
        0
    }

    pub fn seen(&self) -> GroupEvents {
        let read = |name: &str| fs::read_to_string(self.path.join(name)).unwrap_or_default();
        let value = |text: &str, key: &str| -> Option<u64> {
            text.lines().find_map(|line| {
                line.strip_prefix(key)?
                    .strip_prefix(' ')?
                    .trim()
                    .parse()
                    .ok()
            })
        };
        GroupEvents {
            memory_kills: value(&read("memory.events"), "oom_kill").unwrap_or(0),
            refused_processes: value(&read("pids.events"), "max").unwrap_or(0),
            memory_peak: read("memory.peak").trim().parse().ok(),
            cpu_us: value(&read("cpu.stat"), "usage_usec"),
        }
    }

    fn is_empty(&self) -> bool {
        match fs::read_to_string(self.path.join("cgroup.events")) {
            Ok(events) => events.contains("populated 0"),
            // A deleted group is empty. If the file can't be read for another reason (for example, no free descriptor),
            // the group may still have processes.
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        }
    }

    fn set(&self, name: &str, value: &str) -> io::Result<()> {
        fs::OpenOptions::new()
            .write(true)
            .open(self.path.join(name))
            .and_then(|mut file| io::Write::write_all(&mut file, value.as_bytes()))
    }
}

impl Drop for RunGroup {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.path);
    }
}

/// Returns the root and the mount point of cgroup v2.
fn mount_of(mountinfo: &str) -> Option<(String, PathBuf)> {
    mountinfo.lines().find_map(|line| {
        // The file system type is the first field after " - " (proc_pid_mountinfo(5)).
        let (before, after) = line.split_once(" - ")?;
        let mut fields = before.split(' ').skip(3);
        let (root, place) = (fields.next()?, fields.next()?);
        let root = if root == "/" { "" } else { root };
        after
            .starts_with("cgroup2 ")
            .then(|| (root.to_owned(), PathBuf::from(place)))
    })
}

/// Enables the available controllers for the control groups of runs.
fn enable(base: &Path, parent: &Path, mark: &str) -> Controllers {
    let hand_down = |group: &Path, name: &str| {
        let file = group.join("cgroup.subtree_control");
        let held = || {
            fs::read_to_string(&file)
                .is_ok_and(|held| held.split_whitespace().any(|one| one == name))
        };
        // In a group with processes, the kernel still enables cpu and pids, but makes the group threaded, and no
        // process can be created below a threaded group. Only the root group, which has no type, may have both
        // processes and controllers.
        let free = || {
            !group.join("cgroup.type").exists()
                || fs::read_to_string(group.join("cgroup.procs"))
                    .is_ok_and(|processes| processes.is_empty())
        };
        held() || (free() && fs::write(&file, format!("+{name}")).is_ok() && held())
    };
    let both = |name: &str| hand_down(base, name) && hand_down(parent, name);
    let there = fs::read_to_string(base.join("cgroup.controllers")).unwrap_or_default();
    let there = |name: &str| there.split_whitespace().any(|one| one == name);
    if ["memory", "pids", "cpu"]
        .into_iter()
        .any(|name| there(name) && !hand_down(base, name))
    {
        // A group with processes can't enable controllers for its children. If this service is the only process of its
        // group, it moves itself into a child group.
        let alone = fs::read_to_string(base.join("cgroup.procs"))
            .is_ok_and(|processes| processes.trim() == std::process::id().to_string());
        let aside = base.join(format!("countersign-service-{mark}"));
        if alone && (fs::create_dir(&aside).is_ok() || aside.is_dir()) {
            let _ = fs::write(aside.join("cgroup.procs"), "0");
        }
    }
    Controllers {
        memory: there("memory") && both("memory"),
        pids: there("pids") && both("pids"),
        cpu: there("cpu") && both("cpu"),
    }
}

fn end_leftovers(parent: &Path) -> Result<(), String> {
    let entries = fs::read_dir(parent).into_iter().flatten().flatten();
    for path in entries
        .map(|entry| entry.path())
        .filter(|path| path.is_dir())
    {
        let left = RunGroup {
            path,
            controllers: Controllers::default(),
        };
        if left.end(DEADLINE) > 0 {
            return Err(format!(
                "a run of an earlier service does not end ({})",
                left.path.display()
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mount_point_of_cgroup_v2_is_found_among_other_mounts() {
        let mounts = "\
31 24 0:26 / /sys/fs/cgroup/pids rw,relatime shared:9 - cgroup cgroup rw,pids
32 24 0:27 / /sys/fs/cgroup/unified rw,relatime shared:10 - cgroup2 cgroup2 rw,nsdelegate
";
        assert_eq!(
            mount_of(mounts),
            Some((String::new(), "/sys/fs/cgroup/unified".into()))
        );
        let inside = "32 24 0:27 /box /sys/fs/cgroup rw - cgroup2 cgroup rw";
        assert_eq!(
            mount_of(inside),
            Some(("/box".into(), "/sys/fs/cgroup".into()))
        );
        assert_eq!(mount_of("x y z"), None);
    }

    #[test]
    fn the_counters_of_a_control_group_are_read_from_its_files() {
        let home = tempfile::tempdir().expect("a directory");
        for (name, text) in [
            (
                "memory.events",
                "low 0\noom 1\noom_kill 3\noom_group_kill 1\n",
            ),
            ("pids.events", "max 7\n"),
            ("memory.peak", "4096\n"),
            ("cpu.stat", "usage_usec 1500\nuser_usec 1000\n"),
            ("cgroup.events", "populated 0\nfrozen 0\n"),
        ] {
            fs::write(home.path().join(name), text).expect("a file");
        }
        let group = RunGroup {
            path: home.path().to_owned(),
            controllers: Controllers::default(),
        };
        let seen = GroupEvents {
            memory_kills: 3,
            refused_processes: 7,
            memory_peak: Some(4096),
            cpu_us: Some(1500),
        };
        assert_eq!(group.seen(), seen);
        assert_eq!(group.end(Duration::ZERO), 0);
        fs::write(home.path().join("cgroup.events"), "populated 1\n").expect("a file");
        fs::write(home.path().join("cgroup.procs"), "5\n6\n").expect("a file");
        assert_eq!(group.end(Duration::ZERO), 2);
        // A group counts as not empty if this file is unreadable, and as empty if the file is missing.
        fs::remove_file(home.path().join("cgroup.events")).expect("removed");
        fs::create_dir(home.path().join("cgroup.events")).expect("a directory");
        assert_eq!(group.end(Duration::ZERO), 2);
        fs::remove_dir(home.path().join("cgroup.events")).expect("removed");
        assert_eq!(group.end(Duration::ZERO), 0);
        std::mem::forget(group);
    }
}
