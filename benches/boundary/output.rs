//! Measures the output of runs while clients wait for it: throughput against a plain pipe, delay, and memory.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read as _};
use std::process::{Command, Stdio};
use std::sync::Barrier;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use client::CommandResult;
use serde::Serialize;
use serde_json::Value;

use crate::clients::Plan;
use crate::floors::{broken, median};
use crate::service::{self, Service};

#[derive(clap::Args)]
pub struct Args {
    /// Number of measurements of each kind; the results are medians
    #[arg(long, default_value_t = 7)]
    runs: usize,
    /// Number of additional readers of one run
    #[arg(long, default_value_t = 100)]
    readers: usize,
}

/// All results.
#[derive(Debug, Serialize)]
pub struct Report {
    zeros: Pace,
    lines: Pace,
    bulk: Pace,
    readers: usize,
    /// Milliseconds for the lines with the additional readers.
    readers_ms: f64,
    delay_p50_us: f64,
    delay_p99_us: f64,
    bytes_of_a_run: f64,
}

/// Medians of a command through a plain pipe and through the boundary, in milliseconds.
#[derive(Debug, Serialize)]
struct Pace {
    plain_ms: f64,
    /// Until the client has the last byte of the recorded output.
    output_ms: f64,
    /// Until the client has the exit code, which it gets after the output and the receipt are durable.
    exit_ms: f64,
}

const ZEROS: &str = "head -c 1G /dev/zero";
const LINES: &str =
    "printf -v line '%079d' 0; for ((i = 0; i < 131072; i++)); do echo \"$line\"; done";
const BULK: &str = "yes \"$(printf '%079d' 0)\" | head -c 10485760";
const CLOCK: &str = "for i in {1..1000}; do echo \"$EPOCHREALTIME\"; sleep 0.005; done";
const QUIET: &str = "head -c 10485760 /dev/zero | tr '\\0' x; sleep 8";
/// Number of concurrent runs whose memory is measured.
const WATCHED: usize = 32;

fn runbook() -> String {
    let mut text = "---\ncountersign: 1\ntitle: Bench\n---\n".to_owned();
    for (name, script) in [
        ("noop", ":"),
        ("zeros", ZEROS),
        ("lines", LINES),
        ("bulk", BULK),
        ("clock", CLOCK),
        ("quiet", QUIET),
    ] {
        let _ = write!(text, "\n```bash {{#{name} timeout=100s}}\n{script}\n```\n");
    }
    text
}

pub fn measure(args: &Args) -> CommandResult<Report> {
    let dir = tempfile::Builder::new()
        .prefix("countersign-bench-")
        .tempdir()
        .map_err(|error| broken(&error))?;
    std::fs::set_permissions(
        dir.path(),
        std::os::unix::fs::PermissionsExt::from_mode(0o711),
    )
    .map_err(|error| broken(&error))?;
    let service = service::start_program(dir.path(), &runbook())?;
    let noop = Plan::prepare(&service, "bench:noop")?;
    for _ in 0..3 {
        followed(&service, &noop, |_| ())?;
    }
    let zeros = pace(&service, args, "bench:zeros", ZEROS)?;
    let lines = pace(&service, args, "bench:lines", LINES)?;
    let bulk = pace(&service, args, "bench:bulk", BULK)?;
    let readers_ms = with_readers(&service, args.readers)?;
    let mut delays = delays(&service)?;
    delays.sort_by(f64::total_cmp);
    let percentile = |part: f64| {
        delays
            .get((delays.len() as f64 * part) as usize)
            .copied()
            .unwrap_or(f64::NAN)
    };
    Ok(Report {
        zeros,
        lines,
        bulk,
        readers: args.readers,
        readers_ms,
        delay_p50_us: percentile(0.5),
        delay_p99_us: percentile(0.99),
        bytes_of_a_run: memory(&service)?,
    })
}

/// Times from the request to the last byte of the output, and to the exit code.
struct Times {
    output: Duration,
    exit: Duration,
}

/// Runs the step, and passes each line of the stream to `see`.
fn followed(service: &Service, plan: &Plan, see: impl FnMut(&[u8])) -> CommandResult<Times> {
    let (_, body) = plan.authorization()?;
    submitted(service, &body, see)
}

fn submitted(service: &Service, body: &[u8], mut see: impl FnMut(&[u8])) -> CommandResult<Times> {
    let begin = Instant::now();
    let answer = ureq::post(format!("http://{}/v1/authorizations", service.address))
        .header("Authorization", format!("Bearer {}", service.token))
        .header("Content-Type", "application/json")
        .header("Accept", "application/x-ndjson")
        .send(body)
        .map_err(|error| broken(&error))?;
    let mut lines = BufReader::with_capacity(256 << 10, answer.into_body().into_reader());
    let (mut line, mut output, mut exit) = (Vec::new(), Duration::ZERO, None);
    while lines
        .read_until(b'\n', &mut line)
        .map_err(|error| broken(&error))?
        > 0
    {
        see(&line);
        let head = &line[..line.len().min(60)];
        let is = |kind: &[u8]| head.windows(kind.len()).any(|part| part == kind);
        if is(b"\"type\":\"output\"") {
            output = begin.elapsed();
        } else if is(b"\"type\":\"exit\"") {
            exit = Some(begin.elapsed());
        }
        line.clear();
    }
    exit.map(|exit| Times { output, exit })
        .ok_or_else(|| broken(&"the stream has no exit event"))
}

fn pace(service: &Service, args: &Args, step: &str, script: &str) -> CommandResult<Pace> {
    let plan = Plan::prepare(service, step)?;
    let (mut plain, mut output, mut exit) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..args.runs.max(1) {
        plain.push(piped(script)?.as_secs_f64() * 1e3);
        let times = followed(service, &plan, |_| ())?;
        output.push(times.output.as_secs_f64() * 1e3);
        exit.push(times.exit.as_secs_f64() * 1e3);
    }
    Ok(Pace {
        plain_ms: median(plain),
        output_ms: median(output),
        exit_ms: median(exit),
    })
}

/// Runs the script and reads its output from a pipe.
fn piped(script: &str) -> CommandResult<Duration> {
    let begin = Instant::now();
    let mut child = Command::new("bash")
        .arg("-c")
        .arg(script)
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| broken(&error))?;
    let mut buffer = vec![0; 64 << 10];
    if let Some(mut output) = child.stdout.take() {
        while output.read(&mut buffer).map_err(|error| broken(&error))? > 0 {}
    }
    child.wait().map_err(|error| broken(&error))?;
    Ok(begin.elapsed())
}

/// Returns the milliseconds of the lines while `readers` more readers follow the same run.
fn with_readers(service: &Service, readers: usize) -> CommandResult<f64> {
    let plan = Plan::prepare(service, "bench:lines")?;
    let (id, body) = plan.authorization()?;
    std::thread::scope(|scope| {
        for _ in 0..readers {
            scope.spawn(|| {
                let deadline = Instant::now() + Duration::from_secs(10);
                while Instant::now() < deadline {
                    let answer = ureq::get(format!(
                        "http://{}/v1/proposals/{id}/events",
                        service.address
                    ))
                    .header("Authorization", format!("Bearer {}", service.token))
                    .header("Accept", "application/x-ndjson")
                    .call();
                    match answer {
                        Ok(answer) => {
                            let _ = std::io::copy(
                                &mut answer.into_body().into_reader(),
                                &mut std::io::sink(),
                            );
                            return;
                        }
                        // The proposal exists only after the submission.
                        Err(_) => std::thread::sleep(Duration::from_millis(5)),
                    }
                }
            });
        }
        submitted(service, &body, |_| ()).map(|times| times.exit.as_secs_f64() * 1e3)
    })
}

/// Returns the times from the write of a line to its arrival at the client, in microseconds.
fn delays(service: &Service) -> CommandResult<Vec<f64>> {
    let plan = Plan::prepare(service, "bench:clock")?;
    let mut delays = Vec::new();
    followed(service, &plan, |line| {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs_f64();
        let event: Value = serde_json::from_slice(line).unwrap_or_default();
        let written = event["text"]
            .as_str()
            .unwrap_or_default()
            .lines()
            .filter_map(|line| line.parse::<f64>().ok());
        delays.extend(written.map(|written| (now - written) * 1e6));
    })?;
    Ok(delays)
}

/// Returns the memory of the service for each watched run, in bytes.
fn memory(service: &Service) -> CommandResult<f64> {
    let plan = Plan::prepare(service, "bench:quiet")?;
    let bodies = (0..WATCHED)
        .map(|_| plan.authorization())
        .collect::<Result<Vec<_>, _>>()?;
    let before = service.memory();
    let arrived = Barrier::new(WATCHED + 1);
    let used = std::thread::scope(|scope| {
        for (_, body) in &bodies {
            scope.spawn(|| {
                let mut bytes = 0;
                let _ = submitted(service, body, |line| {
                    let earlier = bytes;
                    bytes += line.len();
                    if earlier < 10 << 20 && bytes >= 10 << 20 {
                        arrived.wait();
                    }
                });
            });
        }
        arrived.wait();
        service.memory()
    });
    Ok((used as f64 - before as f64) / WATCHED as f64)
}

pub fn table(report: &Report) -> String {
    let mut text = String::new();
    let mut line = |words: String| {
        let _ = writeln!(text, "{words}");
    };
    for (what, pace) in [
        ("1 GiB of zeros (10 MiB are recorded)", &report.zeros),
        ("10 MiB of lines, each with its own write", &report.lines),
        ("10 MiB of lines in large writes", &report.bulk),
    ] {
        let Pace {
            plain_ms,
            output_ms,
            exit_ms,
        } = pace;
        let (to_output, to_exit) = (plain_ms / output_ms, plain_ms / exit_ms);
        line(format!(
            "{what}: plain pipe {plain_ms:.1} ms; boundary: last output {output_ms:.1} ms ({to_output:.2} of the plain \
             speed), exit code {exit_ms:.1} ms ({to_exit:.2})"
        ));
    }
    line(format!(
        "10 MiB of lines with {} more readers: {:.1} ms",
        report.readers, report.readers_ms
    ));
    line(format!(
        "from write to client: p50 {:.0} us, p99 {:.0} us",
        report.delay_p50_us, report.delay_p99_us
    ));
    line(format!(
        "memory for each of {WATCHED} watched runs: {:.0} KB",
        report.bytes_of_a_run / 1e3
    ));
    text
}
