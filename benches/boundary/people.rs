//! Measures what people decide once against what they decide each time: uses of standing grants and crossings, messages
//! to targets, a freeze, and the admission of a CI job.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use client::CommandResult;
use documents::{Nonce, SecretKey, SshKey};
use serde::Serialize;
use serde_json::json;

use crate::clients::{self, Plan};
use crate::floors::broken;
use crate::issuer::Issuer;
use crate::service::{self, Service};

#[derive(clap::Args)]
pub struct Args {
    /// Number of pairs of loads
    #[arg(long, default_value_t = 5)]
    pairs: usize,
    /// Duration of each load in seconds
    #[arg(long, default_value_t = 3)]
    seconds: u64,
    /// Number of further grants in force for the last pairs
    #[arg(long, default_value_t = 10_000)]
    grants: usize,
}

/// All results. The ratios are medians of the pairs.
#[derive(Debug, Serialize)]
pub struct Measured {
    /// p50 of a use with one client, divided by the p50 of a crossing.
    one_client: f64,
    /// p50 of a use with 64 clients, divided by the p50 of a crossing.
    many_clients: f64,
    /// The same for the CPU time of the server.
    cpu: f64,
    /// p50 of a use with one client and many further grants, divided by the p50 without them.
    among_grants: f64,
    /// Crossings per second with three targets, divided by those without a target.
    with_targets: f64,
    /// Milliseconds from the answer to a proposal until its message arrives.
    told_ms: f64,
    /// Milliseconds from the freeze until the last receipt of 64 runs in the sandbox.
    frozen_ms: f64,
    /// Milliseconds for the admission of a job by an ID token (RS256), with the keys of the issuer in memory, p50.
    admitted_ms: f64,
}

/// Seed of the key of the proposer that uses the grants.
pub const GRANTEE: [u8; 32] = [0x5b; 32];
pub const GRANTEE_NAME: &str = "bench-robot";
const CLIENTS: usize = 64;
const WARM: Duration = Duration::from_secs(1);
const POLICY: &str = "version: 1\ndefault: {mode: execute, approvals: {required: 1, from: [ops]}, standing: {max_uses: 1000, max_days: 1}}\n";

pub fn measure(args: &Args) -> CommandResult<Measured> {
    let dir = tempfile::Builder::new()
        .prefix("countersign-bench-")
        .tempdir_in(".")
        .map_err(|error| broken(&error))?;
    let time = Duration::from_secs(args.seconds.max(1));
    let quiet = started(&dir.path().join("quiet"), "")?;
    let plan = Plan::prepare(&quiet, "bench:noop")?;
    let (mut one, mut many, mut cpu, mut of_targets) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut alone = Vec::new();
    for _ in 0..args.pairs {
        let (crossing, _) = warmed(&quiet, &plan, 1, time)?;
        let (used, _) = crate::loaded(&quiet, &plan.under_grants(&quiet, MOST_ALONE)?, 1, time)?;
        one.push(used.percentile(0.5) / crossing.percentile(0.5));
        alone.push(used.percentile(0.5));
        let (crossing, crossing_cpu) = warmed(&quiet, &plan, CLIENTS, time)?;
        let (used, used_cpu) = crate::loaded(
            &quiet,
            &plan.under_grants(&quiet, MOST_USES)?,
            CLIENTS,
            time,
        )?;
        many.push(used.percentile(0.5) / crossing.percentile(0.5));
        cpu.push(used_cpu / crossing_cpu);
    }
    for _ in 0..args.grants {
        let _ = plan.grant(&quiet)?;
    }
    let mut among = Vec::new();
    for _ in 0..args.pairs {
        let (used, _) = crate::loaded(&quiet, &plan.under_grants(&quiet, MOST_ALONE)?, 1, time)?;
        among.push(used.percentile(0.5));
    }
    drop(quiet);
    let plain = started(&dir.path().join("plain"), "")?;
    let (sender, told) = channel();
    let targets: String = (0..3)
        .map(|number| target(number, &sender))
        .collect::<Result<_, _>>()?;
    let telling = started(&dir.path().join("telling"), &targets)?;
    let told_ms = delay(&telling, &told)?;
    let (plain_plan, telling_plan) = (
        Plan::prepare(&plain, "bench:noop")?,
        Plan::prepare(&telling, "bench:noop")?,
    );
    for _ in 0..args.pairs {
        let (without, _) = warmed(&plain, &plain_plan, CLIENTS, time)?;
        let (with, _) = warmed(&telling, &telling_plan, CLIENTS, time)?;
        of_targets.push(with.per_s() / without.per_s());
    }
    Ok(Measured {
        one_client: median(one),
        many_clients: median(many),
        cpu: median(cpu),
        among_grants: median(among) / median(alone),
        with_targets: median(of_targets),
        told_ms,
        frozen_ms: frozen(&dir.path().join("frozen"))?,
        admitted_ms: admitted(&dir.path().join("admitted"))?,
    })
}

/// Freezes a boundary with 64 runs in the sandbox. Returns the time until the last receipt, in milliseconds.
fn frozen(dir: &std::path::Path) -> CommandResult<f64> {
    fs::create_dir(dir).map_err(|error| broken(&error))?;
    let service = service::start_program(dir, &service::RUNBOOK.replace("\n:\n", "\nsleep 100\n"))?;
    let plan = Plan::prepare(&service, "bench:noop")?;
    std::thread::scope(|scope| {
        let runs: Vec<_> = (0..CLIENTS)
            .map(|_| scope.spawn(|| plan.exchange(&service)))
            .collect();
        let running =
            |metrics: &str| metrics.contains(&format!("\ncountersign_runs_active {CLIENTS}\n"));
        while !running(&service.text("/metrics")?) {
            std::thread::sleep(Duration::from_millis(100));
        }
        std::thread::sleep(WARM);
        let began = Instant::now();
        service.post("/v1/revocations", &plan.freeze()?)?;
        for run in runs {
            let _bundle = run.join().map_err(|_| broken(&"a client"))??;
        }
        Ok(began.elapsed().as_secs_f64() * 1e3)
    })
}

/// Returns the median time of `POST /v1/admissions` over a new connection, in milliseconds.
fn admitted(dir: &std::path::Path) -> CommandResult<f64> {
    const CLAIMS: [&str; 4] = [
        "--claim",
        "repository_id=1234",
        "--claim",
        "repository_owner_id=56",
    ];
    fs::create_dir(dir).map_err(|error| broken(&error))?;
    let (config, token) = service::create_with(dir, service::RUNBOOK, POLICY, &[])?;
    let issuer = Issuer::new();
    let mut create = Command::new(env!("CARGO_BIN_EXE_countersign"));
    create
        .args(["token", "create", "ci", "--oidc", &issuer.url])
        .args(CLAIMS);
    create
        .arg("--ca")
        .arg(issuer.certificates.path("ca.pem"))
        .arg("--config")
        .arg(&config);
    let made = create.output().map_err(|error| broken(&error))?;
    let audience = String::from_utf8_lossy(&made.stdout).trim().to_owned();
    if !made.status.success() {
        return Err(broken(&String::from_utf8_lossy(&made.stderr)));
    }
    let service = service::start_at(&config, &token)?;
    let mut times = Vec::new();
    for _ in 0..ADMISSIONS {
        let body = json!({"id_token": issuer.id_token(&audience, &json!({}))});
        let began = Instant::now();
        service.post("/v1/admissions", &body)?;
        times.push(began.elapsed().as_secs_f64() * 1e3);
    }
    Ok(median(times))
}

/// Number of admissions. The first one also reads the keys of the issuer.
const ADMISSIONS: usize = 201;
/// Number of grants for the uses of one load. Each grant permits 1,000 uses.
const MOST_ALONE: usize = 4;
const MOST_USES: usize = 16;

/// Starts a boundary whose policy permits grants, with further lines of its configuration.
fn started(dir: &std::path::Path, targets: &str) -> CommandResult<Service> {
    fs::create_dir(dir).map_err(|error| broken(&error))?;
    let key = SshKey::from_public(SecretKey::from_seed(GRANTEE).public(), "robot")
        .map_err(|error| broken(&error))?;
    let roster = ["proposer", GRANTEE_NAME, "--key", key.line()];
    let (config, token) = service::create_with(dir, service::RUNBOOK, POLICY, &roster)?;
    let lines = fs::read_to_string(&config).map_err(|error| broken(&error))?;
    fs::write(&config, format!("{lines}\n{targets}")).map_err(|error| broken(&error))?;
    service::start_at(&config, &token)
}

fn warmed(
    service: &Service,
    plan: &Plan,
    count: usize,
    time: Duration,
) -> CommandResult<(clients::Load, f64)> {
    let _ = clients::load(service, plan, count, WARM)?;
    crate::loaded(service, plan, count, time)
}

/// Starts a server that takes messages and tells when each comes. Returns the lines of the configuration.
fn target(number: usize, told: &Sender<Instant>) -> CommandResult<String> {
    let listener = TcpListener::bind("127.0.0.1:0").map_err(|error| broken(&error))?;
    let port = listener
        .local_addr()
        .map_err(|error| broken(&error))?
        .port();
    let told = told.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let told = told.clone();
            std::thread::spawn(move || {
                while take(&stream).is_some_and(|()| told.send(Instant::now()).is_ok()) {}
            });
        }
    });
    Ok(format!(
        "[[notify]]\nname = \"target-{number}\"\nkind = \"slack\"\nurl = \"http://127.0.0.1:{port}/hook\"\n"
    ))
}

fn take(mut stream: &TcpStream) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
        if let Some(told) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = told.trim().parse().ok()?;
        }
        if line.trim().is_empty() {
            break;
        }
    }
    reader.read_exact(&mut vec![0; length]).ok()?;
    stream
        .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        .ok()
}

/// Returns the median time from the answer to a proposal until its first message, in milliseconds.
fn delay(service: &Service, told: &Receiver<Instant>) -> CommandResult<f64> {
    let mut delays = Vec::new();
    let around = countersign::surroundings();
    for _ in 0..15 {
        while told.recv_timeout(Duration::from_millis(300)).is_ok() {}
        let nonce = Nonce::new((around.now)().plus(3600), around.bytes());
        let wish = json!({"step": "bench:noop", "params": {}, "reason": "bench", "nonce": nonce});
        service.post("/v1/proposals", &wish)?;
        let answered = Instant::now();
        let first = told
            .recv_timeout(Duration::from_secs(10))
            .map_err(|error| broken(&error))?;
        delays.push(first.saturating_duration_since(answered).as_secs_f64() * 1e3);
    }
    Ok(median(delays))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

pub fn table(all: &Measured) -> String {
    format!(
        "a use of a standing grant, p50: {:.2} of a crossing with one client, {:.2} with 64 clients (server CPU {:.2})\n\
         a use among many further grants, p50: {:.2} of a use without them\n\
         crossings/s with three targets: {:.2} of those without\n\
         from the answer to a proposal until its message: {:.1} ms\n\
         from a freeze until the last receipt of 64 runs: {:.0} ms\n\
         admission of a job by an ID token, p50: {:.2} ms\n",
        all.one_client,
        all.many_clients,
        all.cpu,
        all.among_grants,
        all.with_targets,
        all.told_ms,
        all.frozen_ms,
        all.admitted_ms
    )
}
