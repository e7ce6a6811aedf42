//! Measures a store in PostgreSQL: crossings against SQLite, a slow network, a takeover, a restart and a long log.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use client::CommandResult;
use rustix::process::Signal;
use serde::Serialize;

use crate::clients::{self, Plan};
use crate::floors::{self, broken};
use crate::scrape;
use crate::service::{self, Service};
use crate::support::postgres::cluster::Cluster;
use crate::support::postgres::proxy::Proxy;

#[derive(clap::Args)]
pub struct Args {
    /// Number of pairs with SQLite and with PostgreSQL
    #[arg(long, default_value_t = 5)]
    pairs: usize,
    /// Duration of each load in seconds
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Number of entries of the smaller log; the larger log has ten times as many
    #[arg(long, default_value_t = 100_000)]
    entries: u64,
}

/// All results, as medians of the pairs.
#[derive(Debug, Serialize)]
pub struct Compared {
    sqlite_per_s: f64,
    postgres_per_s: f64,
    /// Median of the ratios of the pairs.
    ratio: f64,
    one_client_us: f64,
    fdatasync_us: f64,
    /// One client, with a delay of 0.5 ms in each round trip to the database.
    delayed_us: f64,
    killed_ms: f64,
    frozen_ms: f64,
    restarted_ms: f64,
    small_ready_ms: f64,
    large_ready_ms: f64,
    /// The smaller log, with entries of the last day.
    newest_ready_ms: f64,
}

const CLIENTS: usize = 64;
/// Age of entries that a start does not read.
const OLD_S: i64 = 3 * 24 * 3600;
const WARM: Duration = Duration::from_secs(1);
const DELAY: Duration = Duration::from_micros(500);

pub fn measure(args: &Args) -> CommandResult<Compared> {
    let dir = tempfile::Builder::new()
        .prefix("countersign-bench-")
        .tempdir_in(".")
        .map_err(|error| broken(&error))?;
    let time = Duration::from_secs(args.seconds);
    let fdatasync_us = floors::fdatasync_us(dir.path())?;
    let (mut sqlite, mut postgres, mut ratios, mut alone) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let place = |name: &str| -> CommandResult<PathBuf> {
        let place = dir.path().join(name);
        fs::create_dir(&place).map_err(|error| broken(&error))?;
        Ok(place)
    };
    for pair in 0..args.pairs {
        let service = service::start(&place(&format!("sqlite-{pair}"))?)?;
        let first = per_s(&service, time)?;
        drop(service);
        let server = cluster()?;
        let service = started(&node(
            &place(&format!("postgres-{pair}"))?,
            &server.socket_url("service"),
            "one",
        )?)?;
        let second = per_s(&service, time)?;
        alone.push(one_client(&service, time)?);
        sqlite.push(first);
        postgres.push(second);
        ratios.push(second / first);
    }
    let server = cluster()?;
    let proxy = Proxy::start(server.address());
    proxy.delay(DELAY);
    let service = started(&node(&place("delayed")?, &proxy.url("service"), "one")?)?;
    let delayed_us = one_client(&service, time)?;
    drop(service);
    let killed_ms = taken_over(&place("killed")?, Signal::KILL)?;
    let frozen_ms = taken_over(&place("frozen")?, Signal::STOP)?;
    let restarted_ms = restarted(&place("restarted")?)?;
    let small_ready_ms = ready(&place("small")?, args.entries, OLD_S)?;
    let large_ready_ms = ready(&place("large")?, args.entries * 10, OLD_S)?;
    let newest_ready_ms = ready(&place("newest")?, args.entries, 0)?;
    Ok(Compared {
        sqlite_per_s: median(sqlite),
        postgres_per_s: median(postgres),
        ratio: median(ratios),
        one_client_us: median(alone),
        fdatasync_us,
        delayed_us,
        killed_ms,
        frozen_ms,
        restarted_ms,
        small_ready_ms,
        large_ready_ms,
        newest_ready_ms,
    })
}

/// Starts a server with the empty tables of a boundary.
pub fn cluster() -> CommandResult<Cluster> {
    let server = Cluster::start("the benchmark of PostgreSQL", "shared_buffers = '128MB'\n");
    let server = server.ok_or_else(|| broken(&"this host has no PostgreSQL"))?;
    ours(
        &[
            "store",
            "migrate",
            &server.socket_url("owner"),
            "--service-role",
            "service",
        ],
        None,
    )?;
    Ok(server)
}

/// Creates a boundary in `dir` whose store is the database at `url`. Returns its configuration file.
fn node(dir: &Path, url: &str, name: &str) -> CommandResult<PathBuf> {
    let (config, _) = service::create(dir, service::RUNBOOK)?;
    // The new boundary was sealed in SQLite, and the node begins another log.
    fs::remove_file(config.with_file_name("boundary").join("checkpoint"))
        .map_err(|error| broken(&error))?;
    point_to(&config, url, name)?;
    Ok(config)
}

pub fn point_to(config: &Path, url: &str, name: &str) -> CommandResult<()> {
    let text = fs::read_to_string(config).map_err(|error| broken(&error))?;
    let file = "database = \"boundary/countersign.db\"";
    let text = text
        .replace(file, &format!("database = \"{url}\""))
        .replace("# node = \"node-1\"", &format!("node = \"{name}\""));
    fs::write(config, text).map_err(|error| broken(&error))
}

/// Runs a command of the program. Returns its standard output.
pub fn ours(arguments: &[&str], config: Option<&Path>) -> CommandResult<String> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
    command.args(arguments);
    if let Some(config) = config {
        command.arg("--config").arg(config);
    }
    let output = command.output().map_err(|error| broken(&error))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    } else {
        Err(broken(&String::from_utf8_lossy(&output.stderr)))
    }
}

/// Starts the first node of a boundary, and gives the proposer a token.
fn started(config: &Path) -> CommandResult<Service> {
    let mut service = service::start_at(config, "")?;
    let name = service::proposer()?;
    let create = [
        "token",
        "create",
        name.as_str(),
        "--scope",
        "propose",
        "--scope",
        "read",
    ];
    service.token = ours(&create, Some(config))?;
    Ok(service)
}

fn per_s(service: &Service, time: Duration) -> CommandResult<f64> {
    let plan = Plan::prepare(service, "bench:noop")?;
    clients::load(service, &plan, CLIENTS, WARM)?;
    Ok(clients::load(service, &plan, CLIENTS, time)?.per_s())
}

/// Returns the median duration of a crossing of one client, in microseconds.
fn one_client(service: &Service, time: Duration) -> CommandResult<f64> {
    let plan = Plan::prepare(service, "bench:noop")?;
    clients::load(service, &plan, 1, WARM)?;
    Ok(clients::load(service, &plan, 1, time)?.percentile(0.5))
}

/// Returns the time from this signal to the active node until the first receipt of the other node, in milliseconds.
fn taken_over(dir: &Path, signal: Signal) -> CommandResult<f64> {
    let server = cluster()?;
    let config = node(dir, &server.socket_url("service"), "one")?;
    let active = started(&config)?;
    let plan = Plan::prepare(&active, "bench:noop")?;
    plan.exchange(&active)?;
    let second = dir.join("second");
    let home = config.parent().unwrap_or(dir);
    let copied = Command::new("cp")
        .arg("-a")
        .arg(home)
        .arg(&second)
        .status()
        .map_err(|error| broken(&error))?;
    if !copied.success() {
        return Err(broken(&"the directory of the first node cannot be copied"));
    }
    // The data of a node stays with the node, except for its key.
    for name in ["nodes", "node.lock", "checkpoint", "control.sock"] {
        let _ = fs::remove_file(second.join("boundary").join(name));
    }
    let config = second.join("countersign.toml");
    let text = fs::read_to_string(&config).map_err(|error| broken(&error))?;
    fs::write(&config, text.replace("node = \"one\"", "node = \"two\""))
        .map_err(|error| broken(&error))?;
    let token = active.token.clone();
    let starting = std::thread::spawn(move || service::start_at(&config, &token));
    std::thread::sleep(Duration::from_secs(3));
    let began = Instant::now();
    active.signal(signal)?;
    let second = starting.join().map_err(|_| broken(&"the second node"))??;
    plan.exchange(&second)?;
    Ok(began.elapsed().as_secs_f64() * 1e3)
}

/// Returns the time from the moment at which a restarted server accepts connections until the next receipt, in milliseconds.
fn restarted(dir: &Path) -> CommandResult<f64> {
    let server = cluster()?;
    let service = started(&node(dir, &server.socket_url("service"), "one")?)?;
    let plan = Plan::prepare(&service, "bench:noop")?;
    plan.exchange(&service)?;
    server.restart_immediate();
    let began = Instant::now();
    while plan.exchange(&service).is_err() {
        if began.elapsed() > Duration::from_secs(60) {
            return Err(broken(
                &"no receipt for 60 s after the restart of the database",
            ));
        }
    }
    Ok(began.elapsed().as_secs_f64() * 1e3)
}

/// Returns the time from the start of a node until it is ready, with a log of this number of entries, in milliseconds. The
/// entries are `age_s` seconds old.
fn ready(dir: &Path, entries: u64, age_s: i64) -> CommandResult<f64> {
    let server = cluster()?;
    let (config, token) = service::create(dir, service::RUNBOOK)?;
    service::serve(&config, token.clone())?.stop()?;
    scrape::fill(
        &config.with_file_name("boundary").join("countersign.db"),
        entries,
        age_s,
    )?;
    service::serve(&config, token.clone())?.stop()?;
    point_to(&config, &server.socket_url("service"), "one")?;
    let file = config.with_file_name("boundary").join("countersign.db");
    ours(
        &[
            "store",
            "move",
            "--yes",
            "--from",
            &file.display().to_string(),
        ],
        Some(&config),
    )?;
    let mut times = Vec::new();
    for _ in 0..5 {
        let service = service::serve(&config, token.clone())?;
        times.push(service.ready_ms);
        service.stop()?;
    }
    Ok(median(times))
}

pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

pub fn table(all: &Compared) -> String {
    let mut text = String::new();
    let mut line = |words: String| {
        let _ = writeln!(text, "{words}");
    };
    line(format!(
        "{CLIENTS} clients: SQLite {:.0} crossings/s, PostgreSQL {:.0}: {:.2} in the median of the pairs",
        all.sqlite_per_s, all.postgres_per_s, all.ratio
    ));
    line(format!("one fdatasync: {:.0} us", all.fdatasync_us));
    line(format!(
        "one client: p50 {:.0} us; with {} us more in each round trip {:.0} us",
        all.one_client_us,
        DELAY.as_micros(),
        all.delayed_us
    ));
    line(format!(
        "from the end of the active node to the next receipt: {:.0} ms killed, {:.0} ms frozen",
        all.killed_ms, all.frozen_ms
    ));
    line(format!(
        "from the restart of the database to the next receipt: {:.0} ms",
        all.restarted_ms
    ));
    line(format!(
        "start to ready: {:.0} ms, and {:.0} ms with ten times as many entries ({:.2})",
        all.small_ready_ms,
        all.large_ready_ms,
        all.large_ready_ms / all.small_ready_ms
    ));
    line(format!(
        "start to ready with the smaller log, all of it from the last day: {:.0} ms",
        all.newest_ready_ms
    ));
    text
}
