//! Measures crossings with runs in the sandbox, first alone, and then during other work: housekeeping, pruning, a backup, an audit
//! by URL and readers of output.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use client::{CommandFailure, CommandResult};
use serde::Serialize;
use serde_json::json;

use crate::clients::{self, Load, Plan};
use crate::floors::broken;
use crate::service::{self, Service};

#[derive(clap::Args)]
pub struct Args {
    /// Seconds of each load
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// Number of clients
    #[arg(long, default_value_t = 64)]
    clients: usize,
    /// Number of readers of the output of one run
    #[arg(long, default_value_t = 100)]
    readers: usize,
    /// Number of runs in the log before the measurement
    #[arg(long, default_value_t = 5000)]
    log: u64,
}

/// All results.
#[derive(Debug, Serialize)]
pub struct Report {
    alone: At,
    loaded: At,
    /// p99 with the other work, divided by the p50 with the other work.
    p99_by_p50: f64,
    readers: usize,
    backups: u64,
    audits: u64,
    proposals: u64,
}

/// Results of one load, in milliseconds.
#[derive(Debug, Serialize)]
struct At {
    crossings: u64,
    p50_ms: f64,
    p99_ms: f64,
    longest_ms: f64,
}

impl At {
    fn of(load: &Load) -> Self {
        let [p50_ms, p99_ms, longest_ms] = [0.5, 0.99, 1.0].map(|part| load.percentile(part) / 1e3);
        Self {
            crossings: load.crossings(),
            p50_ms,
            p99_ms,
            longest_ms,
        }
    }
}

/// A run that writes some lines ten times in a second for at most ten minutes.
const LINES: &str = "printf -v line '%079d' 0; for i in {1..6000}; do printf '%s\\n' \"$line\" \"$line\" \"$line\"; sleep 0.1; done";
/// Retention of seconds, so that housekeeping deletes outputs and proposals at each of its rounds.
const RETENTION: &str =
    "[retention]\noutputs = \"2s\"\nproposals = \"2s\"\n[sandbox]\nlevel = \"strict\"\n";
/// Most runs in the sandbox of any machine in a second.
const MOST_PER_S: u64 = 2000;

pub fn measure(args: &Args) -> CommandResult<Report> {
    let dir = tempfile::Builder::new()
        .prefix("countersign-bench-")
        .tempdir_in(".")
        .map_err(|error| broken(&error))?;
    let runbook = format!(
        "{}\n```bash {{#lines timeout=600s}}\n{LINES}\n```\n",
        service::RUNBOOK.replace("\n:\n", "\necho done\n")
    );
    let (config, token) = service::create(dir.path(), &runbook)?;
    let settings = fs::read_to_string(&config).map_err(|error| broken(&error))?;
    let (head, _) = settings
        .split_once("[sandbox]")
        .ok_or_else(|| broken(&"no [sandbox] in the configuration"))?;
    let limits = "[limits]\nruns = 100\ncalls_per_second = 1000000\npending = 100000\npending_per_proposer = 100000\n";
    fs::write(&config, format!("{head}{RETENTION}{limits}")).map_err(|error| broken(&error))?;
    let service = service::serve(&config, token)?;
    let plan = Plan::prepare(&service, "bench:noop")?;
    let time = Duration::from_secs(args.seconds.max(1));
    let load = || {
        clients::send(
            &service,
            &plan,
            args.clients,
            MOST_PER_S * args.seconds,
            time,
        )
    };
    let _ = clients::send(
        &service,
        &plan,
        args.clients,
        args.log,
        Duration::from_secs(600),
    )?;
    let alone = load()?;
    let over = AtomicBool::new(false);
    let done = [const { AtomicU64::new(0) }; 3];
    let lines = Plan::prepare(&service, "bench:lines")?;
    let (id, body) = lines.authorization()?;
    let again = |count: &AtomicU64, work: &dyn Fn() -> CommandResult<()>| {
        while !over.load(Ordering::Relaxed) {
            work()?;
            count.fetch_add(1, Ordering::Relaxed);
        }
        Ok::<(), CommandFailure>(())
    };
    let loaded = std::thread::scope(|scope| {
        scope.spawn(|| {
            let request = ureq::post(format!("http://{}/v1/authorizations", service.address));
            let request = request.header("Authorization", format!("Bearer {}", service.token));
            request
                .header("Content-Type", "application/json")
                .send(&body)
        });
        for _ in 0..args.readers {
            scope.spawn(|| read(&service, &id.to_string(), &over));
        }
        let work = [
            scope.spawn(|| again(&done[0], &|| back_up(&config))),
            scope.spawn(|| again(&done[1], &|| audit(&service, &config))),
            scope.spawn(|| again(&done[2], &|| propose(&service))),
        ];
        let loaded = load();
        over.store(true, Ordering::Relaxed);
        for one in work {
            one.join().map_err(|_| broken(&"a thread panicked"))??;
        }
        // The answer to the run of lines ends with the run.
        service.post(&format!("/v1/proposals/{id}/cancellation"), &json!({}))?;
        loaded
    })?;
    let [backups, audits, proposals] = done.map(AtomicU64::into_inner);
    let (alone, loaded) = (At::of(&alone), At::of(&loaded));
    Ok(Report {
        p99_by_p50: loaded.p99_ms / loaded.p50_ms,
        alone,
        loaded,
        readers: args.readers,
        backups,
        audits,
        proposals,
    })
}

/// Reads the events of the run of lines until the run ends.
fn read(service: &Service, id: &str, over: &AtomicBool) {
    while !over.load(Ordering::Relaxed) {
        let answer = ureq::get(format!(
            "http://{}/v1/proposals/{id}/events",
            service.address
        ))
        .header("Authorization", format!("Bearer {}", service.token))
        .header("Accept", "application/x-ndjson")
        .call();
        match answer {
            Ok(answer) => drop(std::io::copy(
                &mut answer.into_body().into_reader(),
                &mut std::io::sink(),
            )),
            // The proposal exists only after the submission.
            Err(_) => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}

fn program(command: &mut Command) -> CommandResult<()> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| broken(&error))?;
    if output.status.success() {
        Ok(())
    } else {
        Err(broken(&String::from_utf8_lossy(&output.stderr)))
    }
}

fn back_up(config: &Path) -> CommandResult<()> {
    let copy =
        tempfile::tempdir_in(config.parent().unwrap_or(config)).map_err(|error| broken(&error))?;
    let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
    program(
        command
            .args(["store", "backup", "--config"])
            .arg(config)
            .arg(copy.path().join("copy")),
    )
}

fn audit(service: &Service, config: &Path) -> CommandResult<()> {
    let (url, roster) = (
        format!("http://{}", service.address),
        config.with_file_name("boundary/roster.d/1.json"),
    );
    let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
    command
        .args(["audit", &url, "--url", &url, "--roster"])
        .arg(roster)
        .env("COUNTERSIGN_TOKEN", &service.token);
    program(&mut command)
}

/// Makes a proposal that expires, and that housekeeping then deletes.
fn propose(service: &Service) -> CommandResult<()> {
    let wish = json!({"step": "bench:noop", "params": {}, "reason": "bench", "new": true, "expires_in_s": 1});
    std::thread::sleep(Duration::from_millis(10));
    service.post("/v1/proposals", &wish).map(drop)
}

pub fn table(all: &Report) -> String {
    let line = |name: &str, at: &At| {
        format!(
            "{name}: {} crossings, p50 {:.0} ms, p99 {:.0} ms, longest {:.0} ms\n",
            at.crossings, at.p50_ms, at.p99_ms, at.longest_ms
        )
    };
    format!(
        "{}{}p99 / p50 with the other work: {:.2}\nother work: {} backups, {} audits, {} proposals that expired, {} readers\n",
        line("alone", &all.alone),
        line("with other work", &all.loaded),
        all.p99_by_p50,
        all.backups,
        all.audits,
        all.proposals,
        all.readers
    )
}
