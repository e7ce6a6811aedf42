//! Measures the service with a large registry: the time from the start to `/ready`, and the resident memory then.
//!
//! The benchmark generates 10,000 steps in 100 files, 2.8 MB, and starts the real service twice. The first start seals
//! the files; the second start also reads the sealed steps from the store.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use countersign::crypto::signature::SecretKey;
use countersign::crypto::ssh_key::SshKey;

const PROGRAM: &str = env!("CARGO_BIN_EXE_countersign");
const FILES: usize = 100;
const STEPS: usize = 100;
const POLICY: &str = "version: 1\ndefault: {mode: execute, approvals: {required: 1, from: [ops]}}\n";

fn main() {
    let dir = tempfile::tempdir().expect("a directory");
    let home = dir.path().join("home");
    let config = set_up(dir.path(), &home);
    let bytes: usize = (0..FILES)
        .map(|file| {
            let text = runbook(file);
            std::fs::write(home.join(format!("runbooks/file{file:03}.md")), &text).expect("a runbook");
            text.len()
        })
        .sum();
    println!("{} steps in {FILES} files, {:.1} MB", FILES * STEPS, bytes as f64 / 1e6);
    for start in ["first start", "second start"] {
        let service = Service::start(&config);
        println!("{start}: ready after {:.2} s, {:.1} MB resident", service.ready.as_secs_f64(), service.megabytes());
    }
}

/// A runbook whose parameter schema differs from the schemas of the other files.
fn runbook(file: usize) -> String {
    let mut text = format!(
        "---\ncountersign: 1\ntitle: File {file}\nparams:\n  host: {{type: string, pattern: \"^[a-z0-9-]{{1,{}}}$\"}}\n  \
         count: {{type: integer, minimum: 1, maximum: 100, default: 1}}\n  drain: {{type: boolean, default: true}}\n---\n",
        file + 10
    );
    for step in 0..STEPS {
        let _ = write!(
            text,
            "\n## Restart the service number {step}\n\nIt is drained first, and comes back by itself when it is healthy again.\n\n\
             ```bash {{#step{step:03}}}\nset -eu\nprintf 'restarting %s times %s\\n' \"$PARAM_HOST\" \"$PARAM_COUNT\"\n\
             systemctl restart \"service-{step}\"\nsystemctl status \"service-{step}\"\n```\n"
        );
    }
    text
}

/// Creates a boundary that listens on a free port.
fn set_up(dir: &Path, home: &Path) -> std::path::PathBuf {
    let key = SshKey::from_public(SecretKey::from_seed([0x5a; 32]).public(), "bench").expect("a key");
    let public = dir.join("bench.pub");
    std::fs::write(&public, format!("{}\n", key.line())).expect("a file");
    let init = Command::new(PROGRAM)
        .args(["init".as_ref(), home.as_os_str()])
        .args(["--name", "bench", "--yes", "--approver", &format!("bench={}", public.display())])
        .output()
        .expect("init");
    assert!(init.status.success(), "{}", String::from_utf8_lossy(&init.stderr));
    let config = home.join("countersign.toml");
    let settings = std::fs::read_to_string(&config).expect("a configuration");
    let settings =
        settings.replace("127.0.0.1:7433", "127.0.0.1:0").replace("level = \"strict\"", "level = \"best-effort\"");
    std::fs::write(&config, settings).expect("a configuration");
    std::fs::write(home.join("boundary/policy.yaml"), POLICY).expect("a policy");
    config
}

/// The running service. The service is killed when this value is dropped.
struct Service {
    child: Child,
    ready: Duration,
}

impl Service {
    fn start(config: &Path) -> Self {
        let begin = Instant::now();
        let mut child = Command::new(PROGRAM)
            .args(["serve".as_ref(), "--json".as_ref(), "--config".as_ref(), config.as_os_str()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the service");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("output")).read_line(&mut line).expect("a line");
        let started: serde_json::Value = serde_json::from_str(&line).expect("the address");
        let url = started["started"]["url"].as_str().expect("an address");
        ureq::get(format!("{url}/ready")).call().expect("ready");
        Self { child, ready: begin.elapsed() }
    }

    fn megabytes(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("its status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its memory");
        line.trim().trim_end_matches("kB").trim().parse::<f64>().expect("a number") * 1024.0 / 1e6
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
