//! Measures a run in the sandbox and a plain spawn, alternately in one measurement.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use client::CommandResult;
use documents::{IdentError, Limits, Network, NetworkMode, Profile, Program};
use sandbox::{LocalSandbox, Setup, WantedPrograms, list_of};
use serde::Serialize;

use crate::floors::{broken, median, run_true, timed};

#[derive(clap::Args)]
pub struct Args {
    /// Number of measurements of each kind; the results are medians
    #[arg(long, default_value_t = 200)]
    runs: usize,
    /// Megabytes of memory that this process uses in the second half of the measurement
    #[arg(long, default_value_t = 500)]
    resident: usize,
    /// Seconds for the measurement of runs per second
    #[arg(long, default_value_t = 3)]
    seconds: u64,
}

/// All results. Times are medians in microseconds.
#[derive(Debug, Serialize)]
pub struct Report {
    level: String,
    small: Turns,
    resident_mb: usize,
    resident: Turns,
    runs_per_s: f64,
    /// Anonymous memory of the helper after the runs.
    helper_own_bytes: u64,
    /// Resident memory of the helper after the runs. It includes pages of the executable file, which the helper and the
    /// service share. Their number depends on the kernel and on the size of its reads.
    helper_rss_bytes: u64,
}

/// Times of `true`, started in each of these ways alternately.
#[derive(Debug, Serialize)]
struct Turns {
    plain_us: f64,
    strongest_us: f64,
    /// With a list of programs in addition. `None` if this host can't enforce a list.
    listed_us: Option<f64>,
    /// With a list of four hosts in addition to `strongest_us`.
    hosts_us: f64,
    /// With the sandbox level `off`. `None` if this host refuses that level.
    off_us: Option<f64>,
    /// With bubblewrap, which does less. `None` if bubblewrap is not installed or cannot run.
    bubblewrap_us: Option<f64>,
}

pub fn measure(args: &Args) -> CommandResult<Report> {
    let home = tempfile::Builder::new()
        .prefix("countersign-bench-")
        .tempdir()
        .map_err(|error| broken(&error))?;
    std::fs::set_permissions(
        home.path(),
        std::os::unix::fs::PermissionsExt::from_mode(0o711),
    )
    .map_err(|error| broken(&error))?;
    let setup = Setup {
        helper: None,
        scratch: home.path().to_owned(),
        spool: home.path().to_owned(),
        private: Vec::new(),
        unwritable: Vec::new(),
    };
    let sandbox = LocalSandbox::open(&setup).map_err(|error| broken(&error))?;
    let small = turns(&sandbox, args.runs)?;
    let mut memory = vec![0_u8; args.resident << 20];
    // Writes to every page, because the kernel allocates a page only at the first write.
    memory.iter_mut().step_by(4096).for_each(|byte| *byte = 1);
    let resident = turns(&sandbox, args.runs)?;
    drop(std::hint::black_box(memory));
    let runs_per_s = throughput(&sandbox, Duration::from_secs(args.seconds.max(1)))?;
    let [helper_own_bytes, helper_rss_bytes] = helper_memory();
    Ok(Report {
        level: sandbox.probe().level().word().to_owned(),
        small,
        resident_mb: args.resident,
        resident,
        runs_per_s,
        helper_own_bytes,
        helper_rss_bytes,
    })
}

fn profile(sandbox: &LocalSandbox, off: bool) -> Profile {
    let require = if off {
        Vec::new()
    } else {
        sandbox.probe().held()
    };
    Profile {
        off_reason: off.then(|| "to measure it".to_owned()),
        ..Profile::nothing(require, Limits::default())
    }
}

/// Programs of the list, which most hosts have.
const LISTED: [&str; 30] = [
    "awk", "basename", "cat", "chmod", "cp", "cut", "date", "dd", "diff", "dirname", "env", "expr",
    "find", "grep", "head", "id", "ls", "mkdir", "mktemp", "mv", "sed", "seq", "sh", "sort",
    "stat", "tail", "touch", "tr", "true", "wc",
];

fn listed(sandbox: &LocalSandbox) -> CommandResult<Profile> {
    let names = LISTED
        .iter()
        .map(|name| name.parse().map_err(|error: IdentError| broken(&error)));
    let names: BTreeSet<Program> = names.collect::<Result<_, _>>()?;
    let (required, starters) = (BTreeSet::new(), BTreeMap::new());
    let wanted = WantedPrograms {
        required: &required,
        optional: &names,
        starters: &starters,
        is_host_user: false,
    };
    let list = list_of(&wanted).map_err(|error| broken(&error))?;
    Ok(profile(sandbox, false).with_programs(list))
}

fn with_hosts(sandbox: &LocalSandbox) -> Profile {
    let hosts = [
        "10.1.2.3:5432",
        "[fd00::1]:443",
        "api.example.com:443",
        "db.internal:5432",
    ]
    .map(str::to_owned);
    let network = Network {
        mode: NetworkMode::Allow,
        hosts: hosts.to_vec(),
        ..Network::NONE
    };
    Profile {
        network,
        ..profile(sandbox, false)
    }
}

fn turns(sandbox: &LocalSandbox, runs: usize) -> CommandResult<Turns> {
    let (strongest, off) = (profile(sandbox, false), profile(sandbox, true));
    let off_runs = sandbox.check(&off).is_ok();
    let bubblewrap = spawn(bubblewrapped().stderr(Stdio::null())).is_ok();
    let listed = listed(sandbox)?;
    let listed_runs = sandbox.check(&listed).is_ok();
    let hosts = with_hosts(sandbox);
    let mut times = [const { Vec::new() }; 6];
    for _ in 0..runs.max(1) {
        times[0].push(timed(|| spawn(&mut Command::new("/bin/true")))?);
        times[1].push(timed(|| run_true(sandbox, &strongest))?);
        if off_runs {
            times[2].push(timed(|| run_true(sandbox, &off))?);
        }
        if bubblewrap {
            times[3].push(timed(|| spawn(&mut bubblewrapped()))?);
        }
        if listed_runs {
            times[4].push(timed(|| run_true(sandbox, &listed))?);
        }
        times[5].push(timed(|| run_true(sandbox, &hosts))?);
    }
    let [plain, strongest, off, bubblewrap, listed, hosts] = times;
    let some = |times: Vec<f64>| (!times.is_empty()).then(|| median(times));
    Ok(Turns {
        plain_us: median(plain),
        strongest_us: median(strongest),
        listed_us: some(listed),
        hosts_us: median(hosts),
        off_us: some(off),
        bubblewrap_us: some(bubblewrap),
    })
}

fn bubblewrapped() -> Command {
    let mut command = Command::new("bwrap");
    command.args([
        "--unshare-all",
        "--die-with-parent",
        "--ro-bind",
        "/usr",
        "/usr",
        "--proc",
        "/proc",
    ]);
    for name in ["bin", "lib", "lib64"] {
        command.args(["--symlink", &format!("usr/{name}"), &format!("/{name}")]);
    }
    command.args(["--dev", "/dev", "--tmpfs", "/tmp", "/bin/true"]);
    command
}

fn spawn(command: &mut Command) -> CommandResult<()> {
    let ended = command
        .stdin(Stdio::null())
        .status()
        .map_err(|error| broken(&error))?;
    if ended.success() {
        Ok(())
    } else {
        Err(broken(&format!("{command:?} ended with {ended}")))
    }
}

fn throughput(sandbox: &LocalSandbox, time: Duration) -> CommandResult<f64> {
    let profile = profile(sandbox, false);
    let (count, start) = (AtomicU64::new(0), Instant::now());
    let worker = || -> CommandResult<()> {
        while start.elapsed() < time {
            run_true(sandbox, &profile)?;
            count.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        // Two threads for each of two cores: one thread waits while the run of the other thread executes.
        let workers: Vec<_> = (0..4).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().try_for_each(|worker| {
            worker
                .join()
                .unwrap_or_else(|_| Err(broken(&"a thread panicked")))
        })
    })?;
    Ok(count.load(Ordering::Relaxed) as f64 / start.elapsed().as_secs_f64())
}

/// Returns the anonymous and the resident memory of this process's helper, in bytes. The helper is the child of this
/// process.
fn helper_memory() -> [u64; 2] {
    let me = format!("\nPPid:\t{}\n", std::process::id());
    let statuses = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut statuses =
        statuses.filter_map(|entry| std::fs::read_to_string(entry.path().join("status")).ok());
    let status = statuses
        .find(|status| status.contains(&me))
        .unwrap_or_default();
    ["RssAnon:", "VmRSS:"].map(|name| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok())
            .unwrap_or(0)
            * 1024
    })
}

pub fn table(report: &Report) -> String {
    let mut text = String::new();
    for (name, turns) in [
        ("a small service".to_owned(), &report.small),
        (
            format!("{} MB resident", report.resident_mb),
            &report.resident,
        ),
    ] {
        let over = |us: f64| format!("{us:.0} us ({:+.0})", us - turns.plain_us);
        let or = |us: Option<f64>, why: &str| us.map_or_else(|| why.to_owned(), over);
        let _ = writeln!(
            text,
            "{name}: `true` plain {:.0} us, {} {}, with {} listed programs {}, with 4 listed hosts {}, off {}, \
             bubblewrap {}",
            turns.plain_us,
            report.level,
            over(turns.strongest_us),
            LISTED.len(),
            or(turns.listed_us, "refused here"),
            over(turns.hosts_us),
            or(turns.off_us, "refused here"),
            or(turns.bubblewrap_us, "not installed, or refused here"),
        );
    }
    let _ = writeln!(
        text,
        "two cores: {:.0} runs/s; the helper holds {:.1} MB, {:.1} MB with pages of the program that the service has too",
        report.runs_per_s,
        report.helper_own_bytes as f64 / 1e6,
        report.helper_rss_bytes as f64 / 1e6
    );
    text
}
