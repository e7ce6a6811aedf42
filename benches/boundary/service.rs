//! The boundary under test: the real service with a sandbox that starts no process for a step that does nothing.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use client::{CommandFailure, CommandResult, Exit};
use countersign::{Config, Node, ServiceManager};
use documents::{Enforcement, Name, SecretKey, SshKey};
use rustix::process::{Pid, Signal};
use sandbox::{End, Plan, Prepared, Report, Starter};
use serde_json::Value;
use tokio_rustls::rustls::ClientConfig;

use crate::floors::broken;

/// Seed of the key of the only approver.
pub const APPROVER: [u8; 32] = [0x5a; 32];

/// The boundary under test.
#[derive(clap::Args)]
pub struct Args {
    /// Configuration file of the boundary
    config: PathBuf,
}

/// Serves until the process is killed.
///
/// # Errors
/// Returns an error if the boundary cannot start.
pub fn run(args: &Args) -> CommandResult {
    let config = Config::load(&args.config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| broken(&error))?;
    runtime.block_on(async {
        let around = |starter: Starter| starter.with_reports(nothing);
        let node = Node::open_with(config, ServiceManager::default(), around)
            .await
            .map_err(|error| broken(&error))?;
        println!("{}", node.started().url);
        node.serve(None).await.map_err(|error| broken(&error))?;
        Ok(Exit::Done)
    })
}

/// Reports the script `:` without starting a process, and no other script.
fn nothing(prepared: &Prepared, plan: &Plan) -> Option<Report> {
    if plan.source.trim_ascii() != b":" {
        return None;
    }
    let nothing = Report::not_started(String::new());
    let enforcement = Enforcement {
        level: prepared.level(),
        layers: prepared.layers().to_vec(),
        missing: prepared.missing(),
        ..nothing.enforcement
    };
    Some(Report {
        end: End::Exited(0),
        enforcement,
        ..nothing
    })
}

/// A measured server in another process. The process is killed when this value is dropped.
pub struct Service {
    child: Child,
    pub address: String,
    pub token: String,
    pub ready_ms: f64,
    /// Configuration of clients, if the service has TLS.
    pub tls: Option<Arc<ClientConfig>>,
}

/// Returns the name of the proposer's token.
pub fn proposer() -> CommandResult<Name> {
    "bench-agent"
        .parse()
        .map_err(|error: documents::IdentError| CommandFailure::usage(error.to_string()))
}

/// Creates a boundary in `dir` and starts its service, with a sandbox that starts no process.
pub fn start(dir: &Path) -> CommandResult<Service> {
    let (config, token) = create(dir, RUNBOOK)?;
    let begin = Instant::now();
    let mut service = start_at(&config, &token)?;
    service.get("/ready")?;
    service.ready_ms = begin.elapsed().as_secs_f64() * 1e3;
    Ok(service)
}

/// Starts the service of a boundary, with a sandbox that starts no process.
pub fn start_at(config: &Path, token: &str) -> CommandResult<Service> {
    let mut command = Command::new(std::env::current_exe().map_err(|error| broken(&error))?);
    command
        .args(["service".as_ref(), config.as_os_str()])
        .stdin(Stdio::null());
    Service::spawn(command, token.to_owned())
}

/// Creates a boundary with this runbook in `dir` and starts the program's own service, with its sandbox.
pub fn start_program(dir: &Path, runbook: &str) -> CommandResult<Service> {
    let (config, token) = create(dir, runbook)?;
    serve(&config, token)
}

/// Starts the program's own service for an existing boundary.
pub fn serve(config: &Path, token: String) -> CommandResult<Service> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
    command
        .args([
            "serve".as_ref(),
            "--json".as_ref(),
            "--config".as_ref(),
            config.as_os_str(),
        ])
        .stdin(Stdio::null());
    started(command, token)
}

fn started(command: Command, token: String) -> CommandResult<Service> {
    let begin = Instant::now();
    let mut service = Service::spawn(command, token)?;
    service.get("/ready")?;
    service.ready_ms = begin.elapsed().as_secs_f64() * 1e3;
    Ok(service)
}

/// Creates a boundary in `dir`. Returns its configuration file and the token of the proposer.
pub fn create(dir: &Path, runbook: &str) -> CommandResult<(PathBuf, String)> {
    create_with(dir, runbook, POLICY, &[])
}

/// Creates a boundary with this policy and this further entry of the roster, as words for `roster add`. See [`create`].
pub fn create_with(
    dir: &Path,
    runbook: &str,
    policy: &str,
    entry: &[&str],
) -> CommandResult<(PathBuf, String)> {
    let home = dir.join("boundary-home");
    let io = |error: std::io::Error| {
        CommandFailure::new(
            Exit::Unreachable,
            format!("setting the boundary up: {error}"),
        )
    };
    let secret = SecretKey::from_seed(APPROVER);
    let key = SshKey::from_public(secret.public(), "bench")
        .map_err(|error| CommandFailure::usage(error.to_string()))?;
    let public = dir.join("bench.pub");
    std::fs::write(&public, format!("{}\n", key.line())).map_err(io)?;
    let program = env!("CARGO_BIN_EXE_countersign");
    let ours = |arguments: &[&std::ffi::OsStr]| -> CommandResult<String> {
        let output = Command::new(program).args(arguments).output().map_err(io)?;
        if output.status.success() {
            Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
        } else {
            Err(CommandFailure::new(
                Exit::Unreachable,
                String::from_utf8_lossy(&output.stderr).into_owned(),
            ))
        }
    };
    let mut approver = std::ffi::OsString::from("bench=");
    approver.push(&public);
    ours(&[
        "init".as_ref(),
        home.as_os_str(),
        "--name".as_ref(),
        "bench".as_ref(),
        "--yes".as_ref(),
        "--approver".as_ref(),
        &approver,
    ])?;
    let config = home.join("countersign.toml");
    let settings = std::fs::read_to_string(&config).map_err(io)?;
    let settings = settings
        .replace("127.0.0.1:7433", "127.0.0.1:0")
        .replace("level = \"strict\"", "level = \"best-effort\"")
        .replace("calls_per_second = 1000", "calls_per_second = 1000000");
    std::fs::write(&config, settings).map_err(io)?;
    std::fs::write(home.join("boundary/policy.yaml"), policy).map_err(io)?;
    if !entry.is_empty() {
        let words = ["roster", "--config"].map(std::ffi::OsStr::new);
        let add = [config.as_os_str(), "add".as_ref()];
        let entry: Vec<_> = entry.iter().map(std::ffi::OsStr::new).collect();
        ours(&[&words[..], &add, &entry].concat())?;
    }
    std::fs::write(home.join("runbooks/bench.md"), runbook).map_err(io)?;
    let name = proposer()?;
    let token = ours(&[
        "token".as_ref(),
        "--config".as_ref(),
        config.as_os_str(),
        "create".as_ref(),
        name.as_str().as_ref(),
        "--scope".as_ref(),
        "propose".as_ref(),
        "--scope".as_ref(),
        "read".as_ref(),
    ])?;
    Ok((config, token))
}

impl Service {
    /// Starts a server that prints its address as the first line.
    pub fn spawn(mut command: Command, token: String) -> CommandResult<Self> {
        let io = |error: std::io::Error| {
            CommandFailure::new(
                Exit::Unreachable,
                format!("starting what is measured: {error}"),
            )
        };
        let child = command.stdout(Stdio::piped()).spawn().map_err(io)?;
        let mut service = Self {
            child,
            address: String::new(),
            token,
            ready_ms: 0.0,
            tls: None,
        };
        let (mut line, mut started) = (String::new(), Value::Null);
        // The program prints JSON, also while it stands by, and the other servers print only their address.
        for read in service
            .child
            .stdout
            .take()
            .into_iter()
            .flat_map(|stdout| BufReader::new(stdout).lines())
        {
            line = read.map_err(io)?;
            started = serde_json::from_str(&line).unwrap_or_default();
            if started.is_null() || !started["started"].is_null() {
                break;
            }
        }
        let url = started["started"]["url"].as_str().unwrap_or(&line);
        let url = url.trim();
        let address = url
            .strip_prefix("https://")
            .or_else(|| url.strip_prefix("http://"))
            .unwrap_or(url);
        service.address = address.to_owned();
        if service.address.is_empty() {
            let what = command
                .get_args()
                .take(1)
                .map(|word| word.to_string_lossy())
                .collect::<Vec<_>>()
                .join(" ");
            return Err(CommandFailure::new(
                Exit::Unreachable,
                format!("`{what}` did not start"),
            ));
        }
        Ok(service)
    }

    /// Sends a GET request and parses the JSON of the answer.
    pub fn get(&self, path: &str) -> CommandResult<Value> {
        let broken = |error: &dyn std::fmt::Display| {
            CommandFailure::new(Exit::Unreachable, format!("{path}: {error}"))
        };
        serde_json::from_str(&self.text(path)?).map_err(|error| broken(&error))
    }

    /// Sends a GET request. Returns the text of the answer.
    pub fn text(&self, path: &str) -> CommandResult<String> {
        let broken = |error: &dyn std::fmt::Display| {
            CommandFailure::new(Exit::Unreachable, format!("{path}: {error}"))
        };
        let mut answer = ureq::get(format!("http://{}{path}", self.address))
            .header("Authorization", format!("Bearer {}", self.token))
            .call()
            .map_err(|error| broken(&error))?;
        answer
            .body_mut()
            .read_to_string()
            .map_err(|error| broken(&error))
    }

    /// Sends a POST request with a JSON body. Returns the JSON of the answer, or null. The error of a refused request has the
    /// text of the answer.
    pub fn post(&self, path: &str, body: &Value) -> CommandResult<Value> {
        let broken = |error: &dyn std::fmt::Display| {
            CommandFailure::new(Exit::Unreachable, format!("{path}: {error}"))
        };
        let request = ureq::post(format!("http://{}{path}", self.address))
            .config()
            .http_status_as_error(false)
            .build();
        let request = request.header("Authorization", format!("Bearer {}", self.token));
        let sent = request
            .header("Content-Type", "application/json")
            .send(body.to_string());
        let mut answer = sent.map_err(|error| broken(&error))?;
        let text = answer
            .body_mut()
            .read_to_string()
            .map_err(|error| broken(&error))?;
        if answer.status().is_success() {
            Ok(serde_json::from_str(&text).unwrap_or_default())
        } else {
            Err(broken(&text))
        }
    }

    /// Returns the CPU time that the server has used (proc(5), `stat`).
    pub fn usage(&self) -> Duration {
        let stat =
            std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap_or_default();
        let fields: Vec<&str> = stat
            .rsplit_once(')')
            .map_or("", |(_, rest)| rest)
            .split_whitespace()
            .collect();
        let ticks: u64 = [11, 12]
            .iter()
            .filter_map(|at| fields.get(*at)?.parse::<u64>().ok())
            .sum();
        Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
    }

    /// Ends the server as systemd does, and waits for its end.
    pub fn stop(mut self) -> CommandResult<()> {
        self.signal(Signal::TERM)?;
        self.child.wait().map(drop).map_err(|error| broken(&error))
    }

    /// Sends a signal to the server.
    pub fn signal(&self, signal: Signal) -> CommandResult<()> {
        rustix::process::kill_process(Pid::from_child(&self.child), signal)
            .map_err(|error| broken(&error))
    }

    /// Returns the resident memory of the server, in bytes.
    pub fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))
            .unwrap_or_default();
        let kib = status.lines().find_map(|line| {
            line.strip_prefix("VmRSS:")?
                .trim()
                .strip_suffix("kB")?
                .trim()
                .parse::<u64>()
                .ok()
        });
        kib.unwrap_or(0) * 1024
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const POLICY: &str =
    "version: 1\ndefault: {mode: execute, approvals: {required: 1, from: [ops]}}\n";
pub const RUNBOOK: &str = "---\ncountersign: 1\ntitle: Bench\n---\n\n```bash {#noop}\n:\n```\n";
