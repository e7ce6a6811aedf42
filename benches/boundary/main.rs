//! Measures crossings (`cargo bench --bench boundary -- crossing`) and sandboxed runs (`-- sandbox`), the output of runs
//! (`-- output`), TLS (`-- tls`), PostgreSQL (`-- database`), standing grants (`-- people`), many versions of a roster
//! (`-- rosters`), runs during other work (`-- loaded`) and long logs (`-- long`) on this machine.
//!
//! The speed of disks and of shared machines varies between runs. Therefore the benchmark also measures baselines in
//! the same run: synced writes, group commits of nonces alone, a server that does only the necessary work, and plain
//! spawns. The crossings of this benchmark start no process.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    missing_docs,
    unreachable_pub
)]

mod alone;
mod bare;
#[path = "../../tests/certified/mod.rs"]
mod certified;
mod clients;
mod database;
mod documents;
mod encrypted;
mod floors;
#[path = "../../tests/issuer/mod.rs"]
mod issuer;
mod ledger;
mod loaded;
mod long_log;
mod output;
mod people;
mod rosters;
mod sandbox;
mod scrape;
mod service;
#[path = "../../tests/support/mod.rs"]
mod support;

use std::fmt::Write as _;
use std::time::Duration;

use clap::{Args as ClapArgs, Parser, Subcommand};
use client::{CommandFailure, CommandResult, Exit, Terminal};
use serde::Serialize;

use crate::clients::{Load, Plan};
use crate::service::Service;

/// The program uses the same allocator. The boundary under test is a process of this executable.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measures this program on this machine.
#[derive(Parser)]
#[command(name = "cargo bench --bench boundary --")]
struct Args {
    #[command(subcommand)]
    what: What,
    /// Prints one JSON object.
    #[arg(long, global = true)]
    json: bool,
    /// `cargo bench` passes this option to every benchmark.
    #[arg(long, global = true, hide = true)]
    bench: bool,
}

#[derive(Subcommand)]
enum What {
    /// Measures crossings of a no-op step over HTTP, synced writes, group commits of nonces and a bare server; a
    /// sandboxed `true` and a plain spawn; the start and the memory
    Crossing(Crossing),
    /// Measures a sandboxed `true`, a plain spawn and bubblewrap alternately; runs per second; the memory of the helper
    Sandbox(sandbox::Args),
    /// Measures the output of runs: throughput against a plain pipe, delay from write to client, memory
    Output(output::Args),
    /// Measures crossings over TLS and over plain HTTP alternately; handshakes per second
    Tls(encrypted::Args),
    /// Measures a scrape of the metrics, with a small log and with a log of a million entries
    Scrape(scrape::Args),
    /// Measures a store in PostgreSQL against SQLite, with a slow network, after the end of a node, and with a long log
    Database(database::Args),
    /// Measures uses of standing grants against crossings, crossings with targets of messages against those without, and the
    /// admission of a CI job
    People(people::Args),
    /// Measures `approve`, a seal, bundles and audits with a thousand versions of the roster
    Rosters(rosters::Args),
    /// Measures crossings with runs in the sandbox, alone and during housekeeping, a backup, an audit and readers of output
    Loaded(loaded::Args),
    /// Makes a valid log of many runs in a new directory
    Log(long_log::Args),
    /// Measures starts, look-ups, crossings, audits and copies with a short and with a long log
    Long(long_log::LengthArgs),
    /// Serves the boundary under test, with a sandbox that starts no process
    #[command(hide = true)]
    Service(service::Args),
    /// Serves only the necessary work of a crossing
    #[command(hide = true)]
    Bare(bare::Args),
}

#[derive(Debug, ClapArgs)]
struct Crossing {
    /// Seconds of load for each number of clients.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Numbers of clients, measured one after the other.
    #[arg(long, value_name = "N,N", value_delimiter = ',', default_values_t = [1, 16, 64],
        value_parser = clap::value_parser!(u16).range(1..))]
    clients: Vec<u16>,
    /// Directory for the store, on the disk to measure. The default is the current directory.
    #[arg(long)]
    dir: Option<std::path::PathBuf>,
}

/// All results. Times are in microseconds unless the name of the field states another unit.
#[derive(Debug, Serialize)]
struct Report {
    fdatasync_us: f64,
    documents_us: f64,
    nonces_per_s: f64,
    crossings: Vec<At>,
    plain_spawn_us: f64,
    sandboxed_us: f64,
    sandbox_level: String,
    ready_ms: f64,
    idle_rss_bytes: u64,
    loaded_rss_bytes: u64,
}

/// Results for one number of clients.
#[derive(Debug, Serialize)]
struct At {
    clients: usize,
    crossings: u64,
    per_s: f64,
    p50_us: f64,
    p99_us: f64,
    server_cpu_us: f64,
    of_documents: f64,
    bare_cpu_us: f64,
    of_bare: f64,
    syncs: f64,
    of_nonces: f64,
}

/// Duration of the load that warms up a server before its measurement.
const WARM: Duration = Duration::from_secs(1);

fn main() -> std::process::ExitCode {
    // The sandbox's helper is this executable and forks, so this check comes before any thread starts.
    if std::env::args_os()
        .nth(1)
        .is_some_and(|first| first == ::sandbox::LAUNCH)
    {
        return ::sandbox::launcher::main();
    }
    // Without a command, measure nothing, so that a plain `cargo bench` does not load the machine for a minute.
    if std::env::args_os().skip(1).all(|word| word == "--bench") {
        println!(
            "boundary: name what to measure: cargo bench --bench boundary -- crossing, database, people, rosters, sandbox, output, scrape, loaded, long, or tls"
        );
        return std::process::ExitCode::SUCCESS;
    }
    let args = Args::parse();
    let terminal = Terminal::new(args.json);
    match run(&args, &terminal) {
        Ok(exit) => std::process::ExitCode::from(exit.code()),
        Err(failure) => {
            terminal.fail(&failure);
            std::process::ExitCode::from(failure.exit.code())
        }
    }
}

fn run(args: &Args, terminal: &Terminal) -> CommandResult {
    match &args.what {
        What::Service(args) => service::run(args),
        What::Bare(args) => bare::run(args),
        What::Sandbox(args) => print(terminal, &sandbox::measure(args)?, sandbox::table),
        What::Tls(args) => print(terminal, &encrypted::measure(args)?, encrypted::table),
        What::Output(args) => print(terminal, &output::measure(args)?, output::table),
        What::Log(args) => print(terminal, &long_log::make(args)?, |made| {
            format!("{}\n", made.config.display())
        }),
        What::Database(args) => print(terminal, &database::measure(args)?, database::table),
        What::Long(args) => print(terminal, &long_log::compare(args)?, long_log::table),
        What::Loaded(args) => print(terminal, &loaded::measure(args)?, loaded::table),
        What::People(args) => print(terminal, &people::measure(args)?, people::table),
        What::Rosters(args) => print(terminal, &rosters::measure(args)?, rosters::table),
        What::Scrape(args) => print(terminal, &scrape::measure(args)?, |all| scrape::table(all)),
        What::Crossing(crossing) => print(terminal, &measure(crossing)?, table),
    }
}

/// Prints the report as JSON or as a table.
fn print<R: Serialize>(terminal: &Terminal, report: &R, table: fn(&R) -> String) -> CommandResult {
    if terminal.json {
        terminal.object(report)?;
    } else {
        terminal.put(table(report).as_bytes())?;
    }
    Ok(Exit::Done)
}

fn measure(args: &Crossing) -> CommandResult<Report> {
    let here = args
        .dir
        .clone()
        .unwrap_or_else(|| std::path::PathBuf::from("."));
    let dir = tempfile::Builder::new()
        .prefix("countersign-bench-")
        .tempdir_in(&here)
        .map_err(|error| {
            CommandFailure::usage(format!(
                "no directory for the store in {}: {error}; name another with --dir",
                here.display()
            ))
        })?;
    let service = service::start(dir.path())?;
    let idle_rss_bytes = service.memory();
    let plan = clients::Plan::prepare(&service, "bench:noop")?;
    let time = Duration::from_secs(args.seconds.max(1));
    let mut crossings = Vec::new();
    let (mut fdatasync_us, mut documents_us) = (Vec::new(), Vec::new());
    let mut nonces_per_s = 0.0;
    for count in args.clients.iter().copied().map(usize::from) {
        // The directory is deleted before the boundary is measured, so that write-back of its pages is not measured.
        let floor = tempfile::tempdir_in(dir.path()).map_err(|error| floors::broken(&error))?;
        let sync = floors::fdatasync_us(floor.path())?;
        let nonces = floors::nonces_per_s(floor.path(), count, time.min(Duration::from_secs(3)))?;
        let documents = documents::cpu_us(&service, &plan, Duration::from_secs(1))?;
        // Both servers are warm, and the bare server answers with the boundary's bundle: the answers are equally long.
        let warm = clients::load(&service, &plan, count, WARM)?;
        let bare = bare::start(floor.path(), &warm.bundle)?;
        let _ = clients::load(&bare, &plan, count, WARM)?;
        let (_, bare_cpu_us) = loaded(&bare, &plan, count, time)?;
        drop((bare, floor));
        let (load, server_cpu_us) = loaded(&service, &plan, count, time)?;
        crossings.push(At {
            clients: count,
            crossings: load.crossings(),
            per_s: load.per_s(),
            p50_us: load.percentile(0.5),
            p99_us: load.percentile(0.99),
            server_cpu_us,
            of_documents: server_cpu_us / documents,
            bare_cpu_us,
            of_bare: server_cpu_us / bare_cpu_us,
            syncs: load.percentile(0.5) / sync,
            of_nonces: load.per_s() / nonces,
        });
        fdatasync_us.push(sync);
        documents_us.push(documents);
        nonces_per_s = nonces;
    }
    let loaded_rss_bytes = service.memory();
    let ready_ms = service.ready_ms;
    drop(service);
    let spawned = floors::spawns(dir.path())?;
    Ok(Report {
        fdatasync_us: mean(&fdatasync_us),
        documents_us: mean(&documents_us),
        nonces_per_s,
        crossings,
        plain_spawn_us: spawned.plain_us,
        sandboxed_us: spawned.sandboxed_us,
        sandbox_level: spawned.level,
        ready_ms,
        idle_rss_bytes,
        loaded_rss_bytes,
    })
}

/// Runs the load. Returns its results and the CPU microseconds of the server per crossing.
fn loaded(
    service: &Service,
    plan: &Plan,
    count: usize,
    time: Duration,
) -> CommandResult<(Load, f64)> {
    let before = service.usage();
    let load = clients::load(service, plan, count, time)?;
    let used = service.usage() - before;
    let each = used.as_secs_f64() * 1e6 / load.crossings().max(1) as f64;
    Ok((load, each))
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

fn table(report: &Report) -> String {
    let mut text = String::new();
    let mut line = |words: String| {
        let _ = writeln!(text, "{words}");
    };
    line(format!(
        "this disk: one fdatasync {:.0} us; nonces alone, committed in groups by {} clients: {:.0}/s",
        report.fdatasync_us,
        report.crossings.last().map_or(0, |at| at.clients),
        report.nonces_per_s
    ));
    line(format!(
        "these cores, both at work: a crossing's documents alone (read, verified, written, signed, hashed) {:.0} us\n",
        report.documents_us
    ));
    line("clients  crossings/s  p50 us   p99 us  server CPU us  of documents  of a bare server  p50 in syncs  of nonce-only".to_owned());
    for at in &report.crossings {
        line(format!(
            "{:>7}  {:>11.0}  {:>6.0}  {:>7.0}  {:>13.1}  {:>12.1}  {:>16.2}  {:>12.1}  {:>13.2}",
            at.clients,
            at.per_s,
            at.p50_us,
            at.p99_us,
            at.server_cpu_us,
            at.of_documents,
            at.of_bare,
            at.syncs,
            at.of_nonces
        ));
    }
    line(format!(
        "\na run of `true`: plain {:.0} us, sandboxed ({}) {:.0} us: {:.0} us more",
        report.plain_spawn_us,
        report.sandbox_level,
        report.sandboxed_us,
        report.sandboxed_us - report.plain_spawn_us
    ));
    line(format!("start to /ready: {:.0} ms", report.ready_ms));
    line(format!(
        "memory: {:.1} MB idle, {:.1} MB after the load",
        report.idle_rss_bytes as f64 / 1e6,
        report.loaded_rss_bytes as f64 / 1e6
    ));
    text
}
