//! Properties of the host, and tests that the host cannot run.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::expect_used,
    reason = "each test file uses a part of it, and fails by panicking"
)]

use std::fs::{File, OpenOptions};
use std::io::Write as _;

/// Reports that a test, or a part of a test, could not run on this host. `scripts/test` prints the report.
pub fn not_run(name: &str, reason: &str) {
    let line = format!("not run: {name}: {reason}\n");
    eprint!("{line}");
    if let Some(file) = std::env::var_os("COUNTERSIGN_NOT_RUN") {
        let file = OpenOptions::new().append(true).create(true).open(file);
        file.and_then(|mut file: File| file.write_all(line.as_bytes()))
            .expect("the report of what was not run");
    }
}

/// Returns name, user id and group id of a host user for a run. If the tests do not run as root, returns the current
/// user.
pub fn user_of_the_host() -> (String, u32, u32) {
    let me = rustix::process::geteuid().as_raw();
    let users = std::fs::read_to_string("/etc/passwd").expect("users");
    let fields = users
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>());
    let ids = |fields: &[&str]| {
        Some((
            fields.get(2)?.parse::<u32>().ok()?,
            fields.get(3)?.parse::<u32>().ok()?,
        ))
    };
    let mut users =
        fields.filter_map(|fields| ids(&fields).map(|(uid, gid)| (fields[0].to_owned(), uid, gid)));
    let fits = |(_, uid, gid): &(String, u32, u32)| {
        if me == 0 {
            *uid > 0 && *gid > 0 && uid != gid
        } else {
            *uid == me
        }
    };
    users.find(fits).expect("a user in /etc/passwd")
}

/// Returns the processes of this host whose command line contains the mark.
pub fn processes_with(mark: &str) -> Vec<u32> {
    let processes = std::fs::read_dir("/proc").expect("/proc").flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid: &u32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.windows(mark.len())
            .any(|window| window == mark.as_bytes())
    })
    .collect()
}

/// Returns whether a process of this host has the mark in its command line.
pub fn on_host(mark: &str) -> bool {
    !processes_with(mark).is_empty()
}
