//! Measures the limits of the machine: synced writes, group commits and spawns.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use client::{CommandFailure, CommandResult, Exit};
use documents::{Limits, Profile};
use sandbox::{CancelFlag, End, LocalSandbox, Plan, Setup};

use crate::alone;

/// Number of measurements of each kind. The results are medians.
const SYNCS: usize = 200;
const SPAWNS: usize = 100;

/// Returns the median time of a 4 KiB write with its fdatasync, in microseconds.
pub fn fdatasync_us(dir: &Path) -> CommandResult<f64> {
    let unsynced = |error: std::io::Error| {
        broken(&format!(
            "measuring fdatasync in {}: {error}",
            dir.display()
        ))
    };
    let file = File::create(dir.join("sync")).map_err(unsynced)?;
    let block = [1_u8; 4096];
    let mut times = Vec::with_capacity(SYNCS);
    for at in 0..SYNCS {
        let start = Instant::now();
        file.write_all_at(&block, (at * block.len()) as u64)
            .map_err(unsynced)?;
        file.sync_data().map_err(unsynced)?;
        times.push(start.elapsed().as_secs_f64() * 1e6);
    }
    Ok(median(times))
}

/// Returns the number of nonces per second that group commits store for `clients` concurrent clients.
pub fn nonces_per_s(dir: &Path, clients: usize, time: Duration) -> CommandResult<f64> {
    let path = dir.join("nonces.db");
    alone::nonces_a_second(&path, clients, time).map_err(|fault| broken(&fault))
}

/// Median times of plain and of sandboxed spawns, measured alternately.
pub struct Spawns {
    pub plain_us: f64,
    pub sandboxed_us: f64,
    pub level: String,
}

/// Measures plain and sandboxed spawns.
pub fn spawns(dir: &Path) -> CommandResult<Spawns> {
    let scratch = dir.join("scratch");
    std::fs::create_dir_all(&scratch).map_err(|error| broken(&error))?;
    let setup = Setup {
        helper: None,
        scratch: scratch.clone(),
        spool: scratch,
        private: Vec::new(),
        unwritable: Vec::new(),
    };
    let sandbox = LocalSandbox::open(&setup).map_err(|error| broken(&error))?;
    let profile = Profile::nothing(sandbox.probe().held(), Limits::default());
    let (mut plain, mut sandboxed) = (Vec::new(), Vec::new());
    for _ in 0..SPAWNS {
        let mut command = Command::new("/bin/true");
        plain.push(timed(|| {
            command
                .stdin(Stdio::null())
                .status()
                .map(drop)
                .map_err(|error| broken(&error))
        })?);
        sandboxed.push(timed(|| run_true(&sandbox, &profile))?);
    }
    Ok(Spawns {
        plain_us: median(plain),
        sandboxed_us: median(sandboxed),
        level: sandbox.probe().level().word().to_owned(),
    })
}

/// Runs `true` in the sandbox. With this shebang the kernel executes `/bin/true` directly, as in a plain spawn.
pub fn run_true(sandbox: &LocalSandbox, profile: &Profile) -> CommandResult<()> {
    let prepared = sandbox.check(profile).map_err(|error| broken(&error))?;
    let plan = Plan {
        interpreter: "sh".to_owned(),
        source: b"#!/bin/true\n".to_vec(),
        env: Vec::new(),
        params_json: b"{}".to_vec(),
        files: vec![],
        inputs: vec![],
        results: false,
        session: None,
        unreachable: [].into(),
        secrets: vec![],
    };
    let flag = CancelFlag::new().map_err(|error| broken(&error))?;
    match sandbox.run(prepared, plan, &mut |_| {}, &flag).end {
        End::Exited(0) => Ok(()),
        other => Err(broken(&format!("a sandboxed `true` ended as {other:?}"))),
    }
}

/// Returns the duration of `what` in microseconds.
pub fn timed(what: impl FnOnce() -> CommandResult<()>) -> CommandResult<f64> {
    let start = Instant::now();
    what()?;
    Ok(start.elapsed().as_secs_f64() * 1e6)
}

pub fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or(0.0)
}

pub fn broken(error: &dyn std::fmt::Display) -> CommandFailure {
    CommandFailure::new(Exit::Unreachable, error.to_string())
}
