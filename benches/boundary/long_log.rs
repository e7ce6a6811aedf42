//! Makes a valid log of many runs with real signatures, and compares a short log with a long log.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use client::{CommandFailure, CommandResult};
use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use store::sqlite;

use crate::clients::{self, Plan};
use crate::database::{cluster, median, ours, point_to};
use crate::floors::broken;
use crate::ledger;
use crate::service::{self, Service};
use crate::support::people::{self, Key};
use crate::support::postgres::cluster::Cluster;
use crate::support::shim::shim;
use crate::support::{bytes_of, id_of};

#[derive(clap::Args)]
pub struct Args {
    /// Number of runs of the step `bench:often`, beside the few entries of other kinds
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    runs: u64,
    /// New directory for the boundary
    #[arg(long)]
    dir: PathBuf,
    /// Spreads the times of the entries evenly over this many days, which end now. Without this option, each entry has
    /// the time at which it is made
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=60))]
    days: Option<u16>,
}

#[derive(clap::Args)]
pub struct LengthArgs {
    /// Number of runs of the short log
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..))]
    short: u64,
    /// Number of runs of the long log
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    long: u64,
    /// Number of pairs with the short and with the long log
    #[arg(long, default_value_t = 5)]
    pairs: usize,
    /// Keeps the logs in PostgreSQL
    #[arg(long)]
    postgres: bool,
}

/// A boundary with a long log, which no service uses.
#[derive(Debug, Serialize, Deserialize)]
pub struct LongLog {
    pub config: PathBuf,
    /// Token of the proposer.
    token: String,
    /// Receipt of the first run with a plan. Nearly all other runs are later.
    planned: String,
}

/// The result of the comparison. All values are medians of the pairs, except those of `grows`.
#[derive(Debug, Serialize)]
pub struct Lengths {
    runs: [u64; 2],
    /// What a longer log must not change, in milliseconds. `by` is the median of the ratios of the pairs.
    same: Vec<Row>,
    /// What grows with the log, in seconds or MB. `by` is the growth for each run, in microseconds or bytes.
    grows: Vec<Row>,
}

/// Measured values with their names.
type Values = Vec<(&'static str, f64)>;

#[derive(Debug, Serialize)]
struct Row {
    what: &'static str,
    short: f64,
    long: f64,
    by: f64,
}

const RUNBOOK: &str = "---\ncountersign: 1\ntitle: Bench\n---\n\n```bash {#once}\ntrue\n```\n\n```bash {#often}\n:\n```\n\n\
    ```bash {#plan}\n:\n```\n\n```bash {#apply plan=plan}\ncat \"$COUNTERSIGN_ARTIFACTS/plan\"\n```\n\n\
    ```bash {#count session=write}\nexport COUNT=$((${COUNT:-0} + 1))\n```\n\n```bash {#wait timeout=600s}\nsleep 600\n```\n";
/// Each portion of this many runs begins with entries of other kinds.
const PORTION: u64 = 500;
const MOST_PORTIONS: u64 = 40;
/// Number of clients, and of concurrent runs that the configuration permits. A batch of the log has at most as many requests.
const CLIENTS: usize = 256;
/// Number of runs that a kill of the service interrupts.
const INTERRUPTED: usize = 8;
/// The variable of the shim library that names the file of a moved clock.
const CLOCK: &str = "SHIM_CLOCK_FILE";
/// Most seconds by which the clock of a service moves, so that no window of a run ends and the service trusts its
/// clock.
const AHEAD_S: u64 = 3000;
/// Seconds from the real time to the time of the logs that are compared. A start reads the entries of the last day.
const AGE_S: &str = "-259200";
/// Number of pairs before the measurement. Their starts read the whole log, until the low-water mark is that of a new run.
const BEFORE: usize = 2;
const LOOK_UPS: usize = 50;
const CROSSINGS: u64 = 200;

// A long log

/// Makes the log. With `--days`, another process makes it, because the clock of each process is moved from its start.
pub fn make(args: &Args) -> CommandResult<LongLog> {
    let Some(days) = args.days else {
        return fill(args, &Arc::default());
    };
    let span_s = i64::from(days) * 86_400;
    if let Some(path) = std::env::var_os(CLOCK) {
        let file = File::options().write(true).open(path);
        let clock = Clock {
            file: Some(file.map_err(|error| broken(&error))?),
            span_s,
            runs: args.runs,
            latest: Mutex::default(),
        };
        return fill(args, &Arc::new(clock));
    }
    let file = tempfile::NamedTempFile::new().map_err(|error| broken(&error))?;
    fs::write(file.path(), (-span_s).to_ne_bytes()).map_err(|error| broken(&error))?;
    apart(args, (CLOCK, file.path().as_os_str()))
}

/// Makes the log in another process, with this variable of the shim library.
fn apart(args: &Args, (name, value): (&str, &OsStr)) -> CommandResult<LongLog> {
    let shim = shim("the benchmark of a long log")
        .ok_or_else(|| broken(&"this host has no C compiler"))?;
    let mut make = Command::new(std::env::current_exe().map_err(|error| broken(&error))?);
    make.args(["log", "--json", "--runs", &args.runs.to_string(), "--dir"])
        .arg(&args.dir);
    if let Some(days) = args.days {
        make.args(["--days", &days.to_string()]);
    }
    let made = make
        .env("LD_PRELOAD", shim)
        .env(name, value)
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| broken(&error))?;
    serde_json::from_slice(&made.stdout).map_err(|error| broken(&error))
}

/// The clock of a new log. Without a file, this is the clock of the host.
#[derive(Default)]
struct Clock {
    /// The file whose seconds the shim library adds to the clock of the host, in this process and in those that it
    /// starts.
    file: Option<File>,
    /// Seconds from the first entry until now.
    span_s: i64,
    runs: u64,
    /// The latest run whose time the clock has reached. Clients can begin their runs in another order.
    latest: Mutex<u64>,
}

impl Clock {
    /// Returns the number of runs during which the clock moves by at most [`AHEAD_S`].
    fn at_once(&self) -> u64 {
        if self.file.is_none() {
            return u64::MAX;
        }
        (AHEAD_S * self.runs / self.span_s.unsigned_abs()).max(1)
    }

    /// Moves the clock to the time of the run with this number, from 1. The clock never goes back.
    fn reach(&self, run: u64) -> CommandResult<()> {
        let Some(file) = &self.file else {
            return Ok(());
        };
        let mut latest = self.latest.lock().expect("no thread has panicked");
        if run <= *latest {
            return Ok(());
        }
        *latest = run;
        let left = i128::from(self.span_s) * i128::from(self.runs - run) / i128::from(self.runs);
        let moved = -i64::try_from(left).map_err(|error| broken(&error))?;
        file.write_all_at(&moved.to_ne_bytes(), 0)
            .map_err(|error| broken(&error))
    }
}

fn fill(args: &Args, clock: &Arc<Clock>) -> CommandResult<LongLog> {
    fs::create_dir(&args.dir)
        .map_err(|error| broken(&format!("{}: {error}", args.dir.display())))?;
    let (config, token) = service::create_with(&args.dir, RUNBOOK, &policy(0), &[])?;
    let settings = fs::read_to_string(&config).map_err(|error| broken(&error))?;
    let settings = settings.replace("\nruns = 64\n", &format!("\nruns = {CLIENTS}\n"));
    fs::write(&config, settings).map_err(|error| broken(&error))?;
    let mut service = service::start_at(&config, &token)?;
    run(&service, "bench:once", json!({}))?;
    let plan = Arc::new(Plan::prepare(&service, "bench:often")?);
    let (portions, mut planned) = ((args.runs / PORTION).clamp(2, MOST_PORTIONS), String::new());
    let mut done = 0;
    for number in 0..portions {
        let receipt = other_entries(&service, &config, number)?;
        if number == 0 {
            planned = receipt;
        }
        // The start after a kill reads all entries of the last day. So kills are frequent only while the log is short.
        if (number + 1).is_power_of_two() {
            service = interrupted(service, &config)?;
        }
        let end = done + args.runs / portions + u64::from(number < args.runs % portions);
        while done < end {
            // A service refuses all runs if its clock is ahead of the time since its start by more than an hour.
            if clock.file.is_some() {
                service.stop()?;
                clock.reach(done + 1)?;
                service = service::start_at(&config, &token)?;
            }
            let count = (end - done).min(clock.at_once());
            let moving = clock.clone();
            clients::sign_and_send(&service, &plan, CLIENTS, count, move |number| {
                moving.reach(done + 1 + number)
            })?;
            done += count;
        }
    }
    service.stop()?;
    Ok(LongLog {
        config,
        token,
        planned,
    })
}

/// Returns a policy that differs for each number.
fn policy(number: u64) -> String {
    format!(
        "version: 1\ndefault: {{mode: execute, approvals: {{required: 1, from: [ops]}}, standing: {{max_uses: {}, max_days: 1}}}}\n",
        number + 1
    )
}

fn approver() -> Key {
    Key::of("bench", service::APPROVER[0])
}

fn propose(service: &Service, step: &str, more: Value) -> CommandResult<Value> {
    let mut wish = json!({"step": step, "params": {}, "reason": "bench", "new": true});
    wish.as_object_mut()
        .expect("an object")
        .extend(more.as_object().expect("an object").clone());
    service.post("/v1/proposals", &wish)
}

/// Proposes and signs a run, and waits for its end. Returns the id of its receipt.
fn run(service: &Service, step: &str, more: Value) -> CommandResult<String> {
    let proposed = propose(service, step, more)?;
    let path = format!("/v1/proposals/{}", id_of(&proposed));
    let signatures = json!({"signatures": [approver().sign(&bytes_of(&proposed))]});
    service.post(&format!("{path}/signatures"), &signatures)?;
    loop {
        let view = service.get(&format!("{path}?wait=10s"))?;
        if let Some(receipt) = view["receipt"].as_str() {
            return Ok(receipt.to_owned());
        }
    }
}

/// Appends a denial, a run with a plan, a session of two runs, a version of the roster and two seals. Returns the receipt of
/// the run with the plan.
fn other_entries(service: &Service, config: &Path, number: u64) -> CommandResult<String> {
    let denied = propose(service, "bench:once", json!({}))?;
    let payload = bytes_of(&denied);
    let statement: Value = serde_json::from_slice(&payload).map_err(|error| broken(&error))?;
    let denial = people::denial(&statement["predicate"]["boundary"], &payload, "bench");
    let path = format!("/v1/proposals/{}/denial", id_of(&denied));
    service.post(&path, &people::envelope(&denial, &[&approver()]))?;
    let plan = run(service, "bench:plan", json!({}))?;
    let planned = run(service, "bench:apply", json!({"plan": plan}))?;
    let session = service.post("/v1/sessions", &json!({"runbook": "bench"}))?;
    for _ in 0..2 {
        run(service, "bench:count", json!({"session": session["id"]}))?;
    }
    service.post(&format!("/v1/sessions/{}/end", id_of(&session)), &json!({}))?;
    let boundary = config.with_file_name("boundary");
    fs::write(boundary.join("policy.yaml"), policy(number + 1)).map_err(|error| broken(&error))?;
    ours(&["roster", "set"], Some(config))?;
    let file = boundary.join(format!("roster.d/{}.json", number + 2));
    let draft = fs::read(boundary.join("roster.d/next.json")).map_err(|error| broken(&error))?;
    let draft: Value = serde_json::from_slice(&draft).map_err(|error| broken(&error))?;
    let payload = people::roster_statement(&draft);
    let version = people::envelope(&payload, &[&approver()]);
    fs::write(&file, version.to_string()).map_err(|error| broken(&error))?;
    ours(&["seal"], Some(config))?;
    let changed = service::RUNBOOK.replace("\n:\n", &format!("\necho {number}\n"));
    fs::write(config.with_file_name("runbooks/changed.md"), changed)
        .map_err(|error| broken(&error))?;
    ours(&["seal"], Some(config))?;
    Ok(planned)
}

/// Kills the service during runs, and starts the service again. The start records that the end of these runs is unknown.
fn interrupted(service: Service, config: &Path) -> CommandResult<Service> {
    let plan = Plan::prepare(&service, "bench:wait")?;
    std::thread::scope(|scope| {
        for _ in 0..INTERRUPTED {
            scope.spawn(|| plan.exchange(&service));
        }
        while !service
            .text("/metrics")?
            .contains(&format!("\ncountersign_runs_active {INTERRUPTED}\n"))
        {
            std::thread::sleep(Duration::from_millis(5));
        }
        service.signal(Signal::KILL)
    })?;
    let token = service.token.clone();
    drop(service);
    service::start_at(config, &token)
}

// The comparison

/// A log of the comparison.
struct Measured {
    log: LongLog,
    runs: u64,
    made_s: f64,
    server: Option<Cluster>,
}

pub fn compare(args: &LengthArgs) -> CommandResult<Lengths> {
    let dir = tempfile::Builder::new()
        .prefix("countersign-bench-")
        .tempdir_in(".")
        .map_err(|error| broken(&error))?;
    let make = |name: &str, runs: u64| Measured::make(&dir.path().join(name), runs, args.postgres);
    let logs = [make("short", args.short)?, make("long", args.long)?];
    let mut pairs = Vec::new();
    for pair in 0..BEFORE + args.pairs.max(1) {
        if pair == BEFORE {
            logs.iter().try_for_each(Measured::prune)?;
        }
        pairs.push([logs[0].round()?, logs[1].round()?]);
    }
    let same = (0..pairs[0][0].len()).map(|at| {
        let of = |value: &dyn Fn(&[Values; 2]) -> f64| {
            median(pairs[BEFORE..].iter().map(value).collect())
        };
        let [short, long] = [0, 1].map(|log| of(&|pair| pair[log][at].1));
        Row {
            what: pairs[0][0][at].0,
            short,
            long,
            by: of(&|pair| pair[1][at].1 / pair[0][at].1),
        }
    });
    let same = same.collect();
    let [short, long] = [0, 1].map(|log| {
        let first_s = pairs[0][log][0].1 / 1e3;
        let mut grows = vec![
            ("making the log, s", logs[log].made_s),
            ("start, all runs of the last day, s", first_s),
        ];
        grows.extend(logs[log].grows(dir.path())?);
        Ok::<_, CommandFailure>(grows)
    });
    let more = args.long as f64 - args.short as f64;
    let grows = short?
        .into_iter()
        .zip(long?)
        .map(|((what, short), (_, long))| {
            let by = (long - short) * 1e6 / more;
            Row {
                what,
                short,
                long,
                by,
            }
        });
    Ok(Lengths {
        runs: [args.short, args.long],
        same,
        grows: grows.collect(),
    })
}

impl Measured {
    /// Makes an old log. With PostgreSQL, the log is made in SQLite, which is faster, and then moved.
    fn make(dir: &Path, runs: u64, postgres: bool) -> CommandResult<Self> {
        let began = Instant::now();
        let args = Args {
            runs,
            dir: dir.to_owned(),
            days: None,
        };
        let log = apart(&args, ("SHIM_CLOCK", AGE_S.as_ref()))?;
        let made_s = began.elapsed().as_secs_f64();
        let mut server = None;
        if postgres {
            let new = cluster()?;
            point_to(&log.config, &new.socket_url("service"), "one")?;
            let file = log.config.with_file_name("boundary/countersign.db");
            ours(
                &[
                    "store",
                    "move",
                    "--yes",
                    "--from",
                    &file.display().to_string(),
                ],
                Some(&log.config),
            )?;
            let _ = fs::remove_file(file);
            server = Some(new);
        }
        Ok(Self {
            log,
            runs,
            made_s,
            server,
        })
    }

    /// Deletes the expired nonces in SQLite, because a start counts all nonces.
    fn prune(&self) -> CommandResult<()> {
        let file = self.log.config.with_file_name("boundary/countersign.db");
        if self.server.is_some() {
            return Ok(());
        }
        let (store, reads) = sqlite::open(&file).map_err(|error| broken(&error))?;
        let log = ledger::open(store, reads, &file, (countersign::surroundings().now)());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .map_err(|error| broken(&error))?;
        let prune = || runtime.block_on(log.prune(100_000));
        while prune().map_err(|error| broken(&error))?.deleted > 0 {}
        Ok(())
    }

    /// Measures a start, look-ups and new crossings, each in milliseconds.
    fn round(&self) -> CommandResult<Values> {
        let began = Instant::now();
        let service = service::start_at(&self.log.config, &self.log.token)?;
        service.get("/ready")?;
        let mut found = vec![("start until ready", began.elapsed().as_secs_f64() * 1e3)];
        let size = service
            .text("/log/checkpoint")?
            .lines()
            .nth(1)
            .and_then(|size| size.parse::<u64>().ok());
        let (size, planned) = (
            size.ok_or_else(|| broken(&"a head without a size"))?,
            &self.log.planned,
        );
        let (middle, tile) = (size / 2, size / 512);
        let tile = if tile < 1000 {
            format!("{tile:03}")
        } else {
            format!("x{:03}/{:03}", tile / 1000, tile % 1000)
        };
        let agent: ureq::Agent = ureq::Agent::config_builder().build().into();
        for (what, path) in [
            ("receipt", format!("/v1/receipts/{planned}")),
            (
                "bundle of a run with a plan",
                format!("/v1/receipts/{planned}/bundle"),
            ),
            ("one entry", format!("/log/tile/entries/{tile}.p/1")),
            ("tile of 256 entries", format!("/log/tile/entries/{tile}")),
            ("inclusion proof", format!("/log/proof/{middle}")),
            (
                "consistency proof",
                format!("/log/proof/consistency/{middle}/{size}"),
            ),
            (
                "step with its last successful run",
                "/v1/steps/bench:once".to_owned(),
            ),
            (
                "list of 100 proposals",
                "/v1/proposals?limit=100".to_owned(),
            ),
            ("metrics", "/metrics".to_owned()),
        ] {
            let url = format!("http://{}{path}", service.address);
            let once = || {
                let (began, request) = (Instant::now(), agent.get(&url));
                let answer = request
                    .header("Authorization", format!("Bearer {}", service.token))
                    .call();
                answer
                    .and_then(|mut answer| answer.body_mut().read_to_vec())
                    .map_err(|e| broken(&format!("{path}: {e}")))?;
                Ok::<_, CommandFailure>(began.elapsed().as_secs_f64() * 1e3)
            };
            found.push((
                what,
                median((0..LOOK_UPS).map(|_| once()).collect::<Result<_, _>>()?),
            ));
        }
        if service.get("/v1/steps/bench:once")?["last_success"].is_null() {
            return Err(broken(&"the last successful run of bench:once is missing"));
        }
        let plan = Plan::prepare(&service, "bench:often")?;
        let load = clients::send(&service, &plan, 1, CROSSINGS, Duration::MAX)?;
        found.push(("crossing of one client", load.percentile(0.5) / 1e3));
        service.stop()?;
        Ok(found)
    }

    /// Measures what takes longer with a longer log, in seconds or MB.
    fn grows(&self, dir: &Path) -> CommandResult<Values> {
        let bytes = |path: &Path| fs::metadata(path).map_or(0.0, |file| file.len() as f64);
        let store = self.log.config.with_file_name("boundary/countersign.db");
        let store = match &self.server {
            Some(server) => server
                .psql("SELECT pg_database_size(current_database())")
                .parse()
                .unwrap_or(f64::NAN),
            None => bytes(&store),
        };
        let mut found = vec![("store, MB", store / 1e6)];
        let [copy, mirror, state] =
            ["copy", "mirror", "state"].map(|name| dir.join(format!("{name}-{}", self.runs)));
        let [copy_text, mirror_text, state_text] =
            [&copy, &mirror, &state].map(|path| path.display().to_string());
        let config = self.log.config.display().to_string();
        if self.server.is_none() {
            found.push((
                "store backup, s",
                timed(&["store", "backup", &copy_text, "--config", &config], "")?.0,
            ));
            fs::remove_dir_all(copy).map_err(|error| broken(&error))?;
        }
        let service = service::start_at(&self.log.config, &self.log.token)?;
        let roster = self
            .log
            .config
            .with_file_name("boundary/roster.d/1.json")
            .display()
            .to_string();
        let url = format!("http://{}", service.address);
        let export = [
            "log",
            "export",
            &mirror_text,
            "--url",
            &url,
            "--roster",
            &roster,
        ];
        found.push(("log export, s", timed(&export, &service.token)?.0));
        service.stop()?;
        let audit = [
            "audit",
            &mirror_text,
            "--roster",
            &roster,
            "--state",
            &state_text,
        ];
        let ((first_s, first_mb), (later_s, later_mb)) = (timed(&audit, "")?, timed(&audit, "")?);
        found.extend([
            ("first audit, s", first_s),
            ("memory of the first audit, MB", first_mb),
        ]);
        found.extend([
            ("audit with nothing new, s", later_s),
            ("memory of this audit, MB", later_mb),
        ]);
        found.push(("state of the audit, MB", bytes(&state) / 1e6));
        fs::remove_dir_all(mirror).map_err(|error| broken(&error))?;
        Ok(found)
    }
}

/// Runs a command of the program. Returns its duration in seconds, and the peak of its memory in MB.
fn timed(arguments: &[&str], token: &str) -> CommandResult<(f64, f64)> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    if !token.is_empty() {
        command.env("COUNTERSIGN_TOKEN", token);
    }
    let (began, mut peak) = (Instant::now(), 0.0);
    let mut child = command.spawn().map_err(|error| broken(&error))?;
    loop {
        let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let kib = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix("kB"));
        peak = kib
            .and_then(|kib| kib.trim().parse::<f64>().ok())
            .map_or(peak, |kib| kib * 1024.0 / 1e6);
        match child.try_wait().map_err(|error| broken(&error))? {
            Some(status) if status.success() => return Ok((began.elapsed().as_secs_f64(), peak)),
            Some(status) => return Err(broken(&format!("{arguments:?}: {status}"))),
            None => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}

pub fn table(all: &Lengths) -> String {
    let mut text = format!(
        "{} and {} runs, ms, and the ratio\n",
        all.runs[0], all.runs[1]
    );
    for Row {
        what,
        short,
        long,
        by,
    } in &all.same
    {
        let _ = writeln!(text, "{what}: {short:.2}, {long:.2}: {by:.2}");
    }
    text += "what grows, and the growth for each run in us or bytes\n";
    for Row {
        what,
        short,
        long,
        by,
    } in &all.grows
    {
        let _ = writeln!(text, "{what}: {short:.2}, {long:.2}: {by:.1}");
    }
    text
}
