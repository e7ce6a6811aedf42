//! Measures a roster with many versions: `approve` near the newest version against version 2, a seal, bundles and audits.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use client::CommandResult;
use documents::SecretKey;
use serde::Serialize;
use serde_json::{Value, json};

use crate::database::ours;
use crate::floors::{broken, median};
use crate::service::{self, Service};
use crate::support::people::{self, Key};

#[derive(clap::Args)]
pub struct Args {
    /// Number of versions, each with a seal
    #[arg(long, default_value_t = 1000)]
    versions: u64,
    /// Number of approvers, each with two keys
    #[arg(long, default_value_t = 42)]
    approvers: usize,
    /// Number of pairs of `approve`, and of audits of each log
    #[arg(long, default_value_t = 7)]
    pairs: usize,
}

/// All results.
#[derive(Debug, Serialize)]
pub struct Measured {
    versions: u64,
    /// Size of one version in full, in bytes.
    version_bytes: usize,
    /// Size of the bundle of a run under the newest version, in bytes, and of its chain.
    bundle_bytes: usize,
    chain_bytes: usize,
    /// Bytes that the last seal added to an exported log, without its tiles.
    seal_bytes: u64,
    /// Milliseconds of `approve` at version 2, and at the newest version, whose tenth version before is pinned. Medians.
    approve_early_ms: f64,
    approve_late_ms: f64,
    /// Seconds of an audit at half of the versions, and at all. Medians.
    audit_half_s: f64,
    audit_whole_s: f64,
    /// Seconds of a start, and of a seal, with all versions.
    start_s: f64,
    seal_s: f64,
}

/// A boundary with an exact number of versions of its roster.
struct Boundary {
    dir: PathBuf,
    config: PathBuf,
    service: Service,
    /// The key of the only approver who signs.
    signer: Key,
    newest: Value,
    /// The digest of each version from version 1 on.
    digests: Vec<String>,
}

/// Measures everything in two boundaries: one stays at version 2.
///
/// # Errors
/// Returns an error if a boundary or a command fails.
pub fn measure(args: &Args) -> CommandResult<Measured> {
    let dir = tempfile::Builder::new()
        .prefix("countersign-bench-")
        .tempdir_in(".")
        .map_err(|error| broken(&error))?;
    let early = Boundary::start(&dir.path().join("early"), args.approvers)?;
    let mut late = Boundary::start(&dir.path().join("late"), args.approvers)?;
    let half = args.versions / 2;
    while late.version() < half {
        late.add()?;
    }
    let mirror = late.export("half")?;
    let audits = |mirror: &Path| {
        let all: CommandResult<Vec<f64>> = (0..args.pairs).map(|_| late.audit(mirror)).collect();
        all.map(median)
    };
    let audit_half_s = audits(&mirror)?;
    while late.version() + 1 < args.versions {
        late.add()?;
    }
    let mirror = late.export("whole")?;
    let before = blob_bytes(&mirror);
    let seal_s = late.add()?;
    let mirror = late.export("whole")?;
    let seal_bytes = blob_bytes(&mirror) - before;
    let audit_whole_s = {
        let all: CommandResult<Vec<f64>> = (0..args.pairs).map(|_| late.audit(&mirror)).collect();
        median(all?)
    };
    let (mut early_ms, mut late_ms) = (Vec::new(), Vec::new());
    let mut last = Value::Null;
    for _ in 0..args.pairs {
        early_ms.push(early.approve(0)?.0);
        let (took, proposal) = late.approve(10)?;
        late_ms.push(took);
        last = proposal;
    }
    let bundle = late.bundle(&last)?;
    let parsed: Value = serde_json::from_str(&bundle).map_err(|error| broken(&error))?;
    let config = late.config.clone();
    let token = late.service.token.clone();
    let version_bytes = people::payload_of(&late.newest).len();
    late.service.stop()?;
    let began = Instant::now();
    let service = service::serve(&config, token)?;
    let start_s = began.elapsed().as_secs_f64();
    service.stop()?;
    Ok(Measured {
        versions: args.versions,
        version_bytes,
        bundle_bytes: bundle.len(),
        chain_bytes: parsed["roster"].to_string().len(),
        seal_bytes,
        approve_early_ms: median(early_ms),
        approve_late_ms: median(late_ms),
        audit_half_s,
        audit_whole_s,
        start_s,
        seal_s,
    })
}

impl Boundary {
    /// Starts a boundary whose version 2 has this many approvers.
    fn start(dir: &Path, approvers: usize) -> CommandResult<Self> {
        fs::create_dir_all(dir).map_err(|error| broken(&error))?;
        let (config, token) = service::create(dir, service::RUNBOOK)?;
        let secret = SecretKey::from_seed(service::APPROVER);
        let pem = secret.to_pkcs8_v1_pem();
        fs::write(dir.join("bench.pem"), pem.as_str()).map_err(|error| broken(&error))?;
        let first = config.with_file_name("boundary").join("roster.d/1.json");
        let service = service::serve(&config, token)?;
        let first = fs::read(first).map_err(|error| broken(&error))?;
        let newest: Value = serde_json::from_slice(&first).map_err(|error| broken(&error))?;
        let digest = people::sha256(&people::payload_of(&newest));
        let mut boundary = Self {
            dir: dir.to_owned(),
            config,
            service,
            signer: Key::of("bench", service::APPROVER[0]),
            newest,
            digests: vec![format!("sha256:{digest}")],
        };
        boundary.put(|tables| {
            for number in 1..approvers {
                let line = |key: &str| people_line(&format!("{key} key of person {number}"));
                tables["approvers"][format!("person{number}")] =
                    json!({"groups": ["ops"], "keys": [line("first"), line("second")]});
            }
        })?;
        boundary.seal()?;
        Ok(boundary)
    }

    fn version(&self) -> u64 {
        self.digests.len() as u64
    }

    /// Writes the file of the next version.
    fn put(&mut self, edit: impl FnOnce(&mut Value)) -> CommandResult<()> {
        let payload = people::next_roster(&self.newest, edit);
        self.newest = people::roster_version(&payload, &[&self.signer]);
        self.digests
            .push(format!("sha256:{}", people::sha256(&payload)));
        let name = format!("boundary/roster.d/{}.json", self.version());
        fs::write(self.config.with_file_name(name), self.newest.to_string())
            .map_err(|error| broken(&error))
    }

    /// Puts the next version in force, which changes the policy. Returns the seconds of the seal.
    fn add(&mut self) -> CommandResult<f64> {
        let standing = json!({"max_uses": self.version(), "max_days": 1});
        let approvals = json!({"required": 1, "from": ["ops"]});
        let rule = json!({"mode": "execute", "approvals": approvals, "standing": standing});
        let policy = json!({"version": 1, "default": rule});
        let text = policy.to_string();
        let file = self.config.with_file_name("boundary/policy.yaml");
        fs::write(file, text).map_err(|error| broken(&error))?;
        let digest = people::sha256(&people::canonical(&policy));
        self.put(|tables| tables["policy"] = json!(format!("sha256:{digest}")))?;
        self.seal()
    }

    fn seal(&self) -> CommandResult<f64> {
        let began = Instant::now();
        ours(&["seal"], Some(&self.config))?;
        let took = began.elapsed().as_secs_f64();
        let ready = self.service.get("/ready")?;
        if ready["roster"]["version"] == json!(self.version()) {
            return Ok(took);
        }
        Err(broken(&format!(
            "version {} is not in force: {ready}",
            self.version()
        )))
    }

    fn url(&self) -> String {
        format!("http://{}", self.service.address)
    }

    /// Proposes a run and signs it with `approve`, which trusts the version that is `behind` the newest. Returns the milliseconds of
    /// the command and the proposal.
    fn approve(&self, behind: usize) -> CommandResult<(f64, Value)> {
        let wish = json!({"step": "bench:noop", "params": {}, "reason": "A measurement."});
        let proposal = self.service.post("/v1/proposals", &wish)?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let id = text(&proposal["id"]);
        let digest = text(&proposal["digest"]);
        let trusted = &self.digests[self.digests.len() - 1 - behind];
        let key = self.dir.join("bench.pem");
        let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
        command.args([
            "approve", &id, "--yes", "--expect", &digest, "--roster", trusted,
        ]);
        command.args(["--url", &self.url(), "--key"]).arg(key);
        command.env("COUNTERSIGN_TOKEN", &self.service.token);
        command.env("COUNTERSIGN_HOME", &self.dir);
        command.stdin(Stdio::null());
        let began = Instant::now();
        let output = command.output().map_err(|error| broken(&error))?;
        let took = began.elapsed().as_secs_f64() * 1e3;
        if !output.status.success() {
            return Err(broken(&String::from_utf8_lossy(&output.stderr)));
        }
        Ok((took, proposal))
    }

    fn bundle(&self, proposal: &Value) -> CommandResult<String> {
        let id = proposal["id"].as_str().unwrap_or_default();
        loop {
            let view = self.service.get(&format!("/v1/proposals/{id}"))?;
            if let Some(receipt) = view["receipt"].as_str() {
                return self.service.text(&format!("/v1/receipts/{receipt}/bundle"));
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }

    fn export(&self, name: &str) -> CommandResult<PathBuf> {
        let mirror = self.dir.join(name);
        let place = mirror.display().to_string();
        let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
        command.args([
            "log",
            "export",
            &place,
            "--url",
            &self.url(),
            "--roster",
            &self.digests[0],
        ]);
        command.env("COUNTERSIGN_TOKEN", &self.service.token);
        let output = command.output().map_err(|error| broken(&error))?;
        if output.status.success() {
            return Ok(mirror);
        }
        Err(broken(&String::from_utf8_lossy(&output.stderr)))
    }

    /// Returns the seconds of an audit with version 1 pinned.
    fn audit(&self, mirror: &Path) -> CommandResult<f64> {
        let began = Instant::now();
        let place = mirror.display().to_string();
        ours(&["audit", &place, "--roster", &self.digests[0]], None)?;
        Ok(began.elapsed().as_secs_f64())
    }
}

fn people_line(text: &str) -> String {
    let secret = SecretKey::from_seed(documents::sha256(text.as_bytes()));
    let key = documents::SshKey::from_public(secret.public(), "person");
    key.map(|key| key.line().to_owned()).unwrap_or_default()
}

/// Returns the size of all blobs of an exported log.
fn blob_bytes(mirror: &Path) -> u64 {
    let files = fs::read_dir(mirror.join("blob/sha256"))
        .into_iter()
        .flatten();
    let sizes = files.filter_map(|file| Some(file.ok()?.metadata().ok()?.len()));
    sizes.sum()
}

pub fn table(all: &Measured) -> String {
    let Measured {
        versions,
        version_bytes,
        bundle_bytes,
        chain_bytes,
        seal_bytes,
        approve_early_ms,
        approve_late_ms,
        audit_half_s,
        audit_whole_s,
        start_s,
        seal_s,
    } = all;
    let ratio = approve_late_ms / approve_early_ms;
    let half = versions / 2;
    format!(
        "{versions} versions of a roster of {version_bytes} bytes, each with a seal\n\
         bundle: {bundle_bytes} bytes, of these {chain_bytes} for the roster\n\
         the last seal: {seal_bytes} bytes stored, {:.0} ms; a start: {:.0} ms\n\
         approve: {approve_early_ms:.1} ms at version 2, {approve_late_ms:.1} ms at version {versions} with version {} pinned: {ratio:.2}\n\
         audit: {audit_half_s:.2} s at version {half}, {audit_whole_s:.2} s at version {versions}: {:.2}\n",
        seal_s * 1e3,
        start_s * 1e3,
        versions - 10,
        audit_whole_s / audit_half_s,
    )
}
