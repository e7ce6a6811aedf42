//! The environment of the demo: a directory, people with keys, and a boundary in a separate process.

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader, Read as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;

use client::{
    Address, Client, CommandFailure, CommandResult, KeyArgs, Keys, Secret, TlsFiles, key,
};
use documents::ReceiptId;
use wire::ProposalView;
use workbench::Signals;

/// People of the demo, and the proposer with a key. Alice has two keys. No roster contains mallory.
const PEOPLE: [&str; 6] = ["alice", "alice-2", "bob", "carol", "mallory", "deploy-bot"];

pub struct DemoSetup {
    /// The boundary, which ends before the directory is deleted.
    service: Option<Service>,
    /// Temporary directory, which is deleted at the end unless `--keep` was given.
    _temporary: Option<tempfile::TempDir>,
    pub root: PathBuf,
    program: PathBuf,
    token: Option<Secret>,
    /// Handler of signals. A signal ends the boundary, and deletes the directory unless `--keep` was given.
    signals: Signals,
}

struct Service {
    child: Child,
    url: String,
}

impl DemoSetup {
    pub fn make(keep: Option<&Path>) -> CommandResult<Self> {
        let odd = |error: std::io::Error| {
            CommandFailure::usage(format!("the demo's directory can't be made: {error}"))
        };
        let (temporary, root) = match keep {
            Some(path) => {
                fs::create_dir(path).map_err(|error| {
                    CommandFailure::usage(format!(
                        "can't make {}: {error}; choose an unused name",
                        path.display()
                    ))
                })?;
                (None, path.canonicalize().map_err(odd)?)
            }
            None => {
                let temporary = tempfile::Builder::new()
                    .prefix("countersign-demo-")
                    .tempdir()
                    .map_err(odd)?;
                let root = temporary.path().canonicalize().map_err(odd)?;
                (Some(temporary), root)
            }
        };
        // On some hosts a run has its own user id but uses the root directory of the host, so other users must be able
        // to enter this directory.
        fs::set_permissions(&root, fs::Permissions::from_mode(0o711)).map_err(odd)?;
        let program = std::env::current_exe().map_err(odd)?;
        // The empty path names no directory, so nothing is deleted.
        let deleted = temporary.as_ref().map_or(Path::new(""), |_| &*root);
        let signals = Signals::listen(deleted)?;
        let world = Self {
            _temporary: temporary,
            root,
            program,
            service: None,
            token: None,
            signals,
        };
        for name in PEOPLE {
            let home = world.root.join("people").join(name);
            fs::create_dir_all(&home).map_err(odd)?;
            key::generate(&home.join("key.pem"), name)?;
        }
        Ok(world)
    }

    pub fn home(&self) -> PathBuf {
        self.root.join("boundary-home")
    }

    /// Returns the directory of the boundary, for the options of a command.
    pub fn home_text(&self) -> String {
        self.home().to_string_lossy().into_owned()
    }

    pub fn key(&self, name: &str) -> PathBuf {
        self.root.join("people").join(name).join("key.pem")
    }

    /// Returns the roster file that people and auditors trust. They receive the file directly, not from the boundary.
    pub fn roster(&self) -> PathBuf {
        self.root.join("people/roster.json")
    }

    /// Runs this program without environment variables that could name another boundary.
    pub fn program(&self, args: &[&str]) -> CommandResult<Output> {
        self.command(args)
            .output()
            .or_broken(&format!("countersign {} can't be started", args.join(" ")))
    }

    /// Runs this program and returns the JSON that the program prints. A failure of the program is an error.
    pub fn ask(&self, args: &[&str]) -> CommandResult<Value> {
        let output = self.program(args)?;
        if !output.status.success() {
            let (out, err) = (
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr),
            );
            return Err(broken(&format!(
                "countersign {} ended with {}: {out}{err}",
                args.join(" "),
                output.status
            )));
        }
        serde_json::from_slice(&output.stdout).or_broken(&format!("countersign {}", args.join(" ")))
    }

    /// Runs a command of a person who trusts the roster of the demo, with the person's key.
    pub fn ask_as(&self, name: &str, args: &[&str]) -> CommandResult<Value> {
        let url = self
            .service
            .as_ref()
            .map(|service| service.url.clone())
            .unwrap_or_default();
        let (key, roster) = (self.key(name), self.roster());
        let trusts = matches!(args, ["grant" | "approve", ..]);
        let (key, roster) = (key.to_string_lossy(), roster.to_string_lossy());
        let trust: &[&str] = if trusts { &["--roster", &*roster] } else { &[] };
        self.ask(&[&["--json", "--url", &*url], args, &["--key", &*key], trust].concat())
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(args)
            .current_dir(&self.root)
            .stdin(Stdio::null());
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("COUNTERSIGN_") {
                command.env_remove(name);
            }
        }
        command
    }

    /// Starts the boundary, waits until it listens, and returns its announcement.
    pub fn serve(&mut self) -> CommandResult<Value> {
        const WHAT: &str = "the boundary can't be started";
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.root.join("serve.log"))
            .or_broken(WHAT)?;
        let mut command = self.command(&[
            "--json",
            "serve",
            &self.home_text(),
            "--listen",
            "127.0.0.1:0",
        ]);
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .or_broken(WHAT)?;
        self.signals.ends_too(Some(child.id()));
        let mut line = String::new();
        if let Some(out) = child.stdout.take() {
            BufReader::new(out.take(64 << 10))
                .read_line(&mut line)
                .or_broken(WHAT)?;
        }
        let said: Value = serde_json::from_str(&line).unwrap_or_default();
        let Some(url) = said["started"]["url"].as_str() else {
            self.signals.ends_too(None);
            let _ = child.wait();
            let why = said["error"]["message"]
                .as_str()
                .unwrap_or("it said nothing")
                .to_owned();
            return Err(broken(&format!("the boundary did not start: {why}")));
        };
        self.service = Some(Service {
            child,
            url: url.to_owned(),
        });
        Ok(said["started"].clone())
    }

    pub fn signal(&self, signal: rustix::process::Signal) -> CommandResult<()> {
        let pid = i32::try_from(self.running()?.child.id())
            .ok()
            .and_then(rustix::process::Pid::from_raw);
        let pid = pid.ok_or_else(|| broken("the boundary has no process id"))?;
        rustix::process::kill_process(pid, signal).or_broken("the boundary can't be signalled")
    }

    /// Stops the boundary with SIGTERM. Returns true if the boundary exited with success before the deadline.
    pub fn stop(&mut self) -> CommandResult<bool> {
        self.signal(rustix::process::Signal::TERM)?;
        self.signals.ends_too(None);
        let Some(mut service) = self.service.take() else {
            return Ok(false);
        };
        let deadline = Instant::now() + DEADLINE;
        loop {
            match service.child.try_wait() {
                Ok(Some(status)) => return Ok(status.success()),
                Ok(None) if Instant::now() < deadline => std::thread::sleep(POLL),
                _ => return Ok(false),
            }
        }
    }

    pub fn end(&mut self) {
        if self.service.is_some() {
            let _ = self.stop();
        }
    }

    pub fn hold_token(&mut self, secret: &str) {
        self.token = Some(Secret::new(secret));
    }

    pub fn agent(&self) -> CommandResult<Client> {
        self.client(self.token.clone(), None)
    }

    pub fn person(&self, name: &str) -> CommandResult<Client> {
        self.client(None, Some(self.key_args(name)))
    }

    fn client(&self, token: Option<Secret>, keys: Option<KeyArgs>) -> CommandResult<Client> {
        let address = Address::parse(&self.running()?.url)?;
        Client::new(address, &TlsFiles::default(), token, keys)
    }

    fn running(&self) -> CommandResult<&Service> {
        let service = self.service.as_ref();
        service.ok_or_else(|| broken("no boundary runs"))
    }

    pub fn keys(&self, name: &str) -> CommandResult<Keys> {
        self.key_args(name).find()
    }

    fn key_args(&self, name: &str) -> KeyArgs {
        KeyArgs {
            key: Some(self.key(name)),
            more: Vec::new(),
        }
    }

    pub fn log_tail(&self) -> String {
        let text = fs::read_to_string(self.root.join("serve.log")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(8)..].join("\n")
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Calls `look` repeatedly until `look` returns a value.
pub fn until<T>(
    what: &str,
    mut look: impl FnMut() -> CommandResult<Option<T>>,
) -> CommandResult<T> {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        if Instant::now() > deadline {
            return Err(broken(&format!("timed out while waiting for {what}")));
        }
        std::thread::sleep(POLL);
    }
}

/// Returns the id of the receipt of an ended run.
pub fn receipt(ended: &ProposalView) -> CommandResult<&ReceiptId> {
    let receipt = ended.receipt.as_ref();
    receipt.ok_or_else(|| broken("the run has no receipt"))
}

pub fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// An error that ends the demo.
pub trait OrBroken<T> {
    /// Names what failed.
    fn or_broken(self, what: &str) -> CommandResult<T>;
}

impl<T, E: std::fmt::Display> OrBroken<T> for Result<T, E> {
    fn or_broken(self, what: &str) -> CommandResult<T> {
        self.map_err(|error| broken(&format!("{what}: {error}")))
    }
}

pub fn broken(what: &str) -> CommandFailure {
    CommandFailure::unreachable(what.to_owned())
}

/// Time limit for each part of the demo.
const DEADLINE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(20);
