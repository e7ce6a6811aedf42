//! The boundary of a test: a directory, a service with the real binary, people and tokens.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test binary uses another part of it"
)]
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

pub mod grants;
pub mod host;
pub mod nodes;
pub mod pages;
pub mod people;
pub mod poor;
pub mod postgres;
pub mod random;
pub mod reviews;
pub mod shim;
pub mod tokens;
pub mod uploads;
pub mod wire;

#[allow(unused_imports, reason = "each test file uses a part of it")]
pub use host::not_run;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, OpenOptions, Permissions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use documents::{merkle, split_entries};
use serde_json::{Value, json};

use people::{
    Key, alice, bob, boundary_key, carol, carol_too, dora, erin, frank, now, oscar, robot, stamp,
};
use wire::{Reply, Wire};

/// Returns standard output and then standard error of a program that ended.
pub fn said(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// Returns the output of a program, whose exit code must be this one.
#[track_caller]
pub fn exited(output: Output, code: i32) -> Output {
    assert_eq!(output.status.code(), Some(code), "{}", said(&output));
    output
}

/// Asserts the exit code of a program, and a part of what it said.
#[track_caller]
pub fn said_at_exit(output: Output, code: i32, words: &str) {
    assert_says(said(&exited(output, code)), words);
}

/// Asserts a part of a text.
#[track_caller]
pub fn assert_says(text: impl AsRef<str>, words: &str) {
    assert!(text.as_ref().contains(words), "{words}: {}", text.as_ref());
}

/// A program that is killed when the value is dropped.
pub struct KilledAtEnd(pub Child);

impl std::ops::Deref for KilledAtEnd {
    type Target = Child;

    fn deref(&self) -> &Child {
        &self.0
    }
}

impl std::ops::DerefMut for KilledAtEnd {
    fn deref_mut(&mut self) -> &mut Child {
        &mut self.0
    }
}

impl Drop for KilledAtEnd {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The program under test.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_countersign");

/// Returns the program that makes and serves a boundary. The tests of the client set the variable, because the client
/// has no boundary.
pub fn boundary_program() -> String {
    std::env::var("COUNTERSIGN_BOUNDARY_PROGRAM").unwrap_or_else(|_| program())
}

/// Returns the program of a world. `scripts/estate` can give a built one.
fn program() -> String {
    std::env::var("COUNTERSIGN_PROGRAM").unwrap_or_else(|_| PROGRAM.to_owned())
}

/// The draft of the first roster, before the log begins.
pub const DRAFT: &str = "b/boundary/roster.d/next.json";

/// Applies a merge patch (RFC 7396).
pub fn merge(into: &mut Value, patch: &Value) {
    let Some(entries) = patch.as_object() else {
        *into = patch.clone();
        return;
    };
    if !into.is_object() {
        *into = json!({});
    }
    for (key, value) in entries {
        if value.is_null() {
            into.as_object_mut().and_then(|object| object.remove(key));
        } else {
            merge(&mut into[key], value);
        }
    }
}

/// Configuration of a world.
pub struct Setup {
    pub name: String,
    pub policy: String,
    /// Additional text of `countersign.toml`.
    pub config: String,
    /// Files below `runbooks/`.
    pub runbooks: Vec<(String, String)>,
    /// Additional entries of the first roster, as a merge patch (RFC 7396).
    pub roster: Value,
    /// Additional lines below `[limits]`.
    pub limits: String,
    /// Environment of the service.
    pub env: Vec<(String, String)>,
    /// Words in front of the command line of the service, for example `unshare`.
    pub before: Vec<String>,
    /// Address of the listener.
    pub listen: String,
    /// More options of `serve`.
    pub options: Vec<String>,
    /// A directory that stays, and that may already have a boundary. Otherwise, the directory is temporary.
    pub dir: Option<PathBuf>,
}

impl Setup {
    pub fn runbook(&mut self, name: &str, text: impl Into<String>) {
        self.runbooks.retain(|(other, _)| other != name);
        self.runbooks.push((name.to_owned(), text.into()));
    }

    pub fn env(&mut self, name: &str, value: impl Into<String>) {
        self.env.push((name.to_owned(), value.into()));
    }
}

/// Returns a runbook with the steps `(id and attributes, script)` and additional front matter.
pub fn runbook(front: &str, steps: &[(&str, &str)]) -> String {
    let mut text = format!("---\ncountersign: 1\ntitle: Steps of a test\n{front}\n---\n");
    for (attributes, script) in steps {
        text.push_str(&format!("\n```bash {{#{attributes}}}\n{script}\n```\n"));
    }
    text
}

/// One approval of `ops` or `security`, unless the step requires more. The mode asks for no permissions, because other
/// tests cover permissions.
pub const POLICY: &str = "version: 1\nextends: none\ndefault:\n  mode: execute\n  approvals: {required: 1, from: [ops, security]}\n";

impl postgres::cluster::Cluster {
    /// Creates the tables of a boundary, with the program of this world.
    pub fn migrate(&self, world: &World) {
        let mut migrate = world.boundary_command(&["store", "migrate", &self.socket_url("owner")]);
        let output = migrate
            .args(["--service-role", "service"])
            .output()
            .expect("migrate");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

/// Small limits, so that many runs can run in parallel.
pub const SMALL: &str = "defaults: {timeout: 20s, memory: 64MiB, processes: 20}";

/// A boundary with its people, files and service.
pub struct World {
    dir: PathBuf,
    _temporary: Option<tempfile::TempDir>,
    pub setup: Setup,
    service: Option<Service>,
    pub wire: Wire,
    /// Output of `serve` at its start.
    pub started: Value,
    /// Token that proposes, owned by carol.
    pub agent: String,
    /// Token that reads everything.
    pub reader: String,
    /// Token that proposes and submits, owned by bob.
    pub courier: String,
}

struct Service {
    child: Child,
    _stdout: BufReader<ChildStdout>,
}

impl World {
    /// Exports the whole log into a directory of this name with `log export`.
    pub fn export(&self, name: &str) -> PathBuf {
        let directory = self.path(name);
        let mut command = self.program(&["log", "export", "--url", &self.wire.url]);
        let output = command
            .env("COUNTERSIGN_TOKEN", &self.reader)
            .arg(&directory)
            .output()
            .expect("export");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        directory
    }

    /// Creates a world with the usual steps.
    pub fn new() -> Self {
        Self::with(|_| {})
    }

    /// Creates a world with a changed setup.
    pub fn with(change: impl FnOnce(&mut Setup)) -> Self {
        let mut world = Self::prepared(change);
        world.start();
        world.make_tokens();
        world
    }

    /// Writes all files of a world, but starts no service.
    pub fn prepared(change: impl FnOnce(&mut Setup)) -> Self {
        let mut setup = Setup {
            name: "prod".to_owned(),
            policy: POLICY.to_owned(),
            config: String::new(),
            runbooks: Vec::new(),
            roster: json!({}),
            limits: String::new(),
            env: Vec::new(),
            before: Vec::new(),
            listen: "127.0.0.1:0".to_owned(),
            options: Vec::new(),
            dir: None,
        };
        let text = "params:\n  text: {type: string, default: hello, maxLength: 4000}\n";
        setup.runbook(
            "say.md",
            runbook(
                &format!("{text}{SMALL}"),
                &[("echo", "printf '%s\\n' \"$PARAM_TEXT\"")],
            ),
        );
        let plain = [
            ("true", ":"),
            ("fail", "exit 3"),
            ("wait", "echo started\nexec sleep 600"),
        ];
        setup.runbook("plain.md", runbook(SMALL, &plain));
        let two = format!("approvals: {{required: 2, from: [ops, security]}}\n{text}{SMALL}");
        setup.runbook(
            "two.md",
            runbook(&two, &[("go", "printf '%s\\n' \"$PARAM_TEXT\"")]),
        );
        let each =
            format!("approvals: {{required: 1, from: [ops, security], each: true}}\n{SMALL}");
        setup.runbook("each.md", runbook(&each, &[("go", ":")]));
        change(&mut setup);
        let make = || {
            tempfile::Builder::new()
                .prefix("countersign-test-")
                .tempdir()
                .expect("a directory")
        };
        let temporary = setup.dir.is_none().then(make);
        let dir = temporary.as_ref().map_or_else(
            || setup.dir.clone().expect("a path"),
            |made| made.path().to_owned(),
        );
        fs::create_dir_all(&dir).expect("a directory");
        fs::set_permissions(&dir, Permissions::from_mode(0o755)).expect("mode");
        let world = Self {
            dir,
            _temporary: temporary,
            setup,
            service: None,
            wire: Wire::new("http://127.0.0.1:1"),
            started: Value::Null,
            agent: String::new(),
            reader: String::new(),
            courier: String::new(),
        };
        if !world.path("b").exists() {
            world.initialise();
        }
        world
    }

    fn initialise(&self) {
        let home = self.path("b");
        let mut init = self.boundary_command(&["init", "--yes", "--name", &self.setup.name]);
        let made = init.arg(&home).output().expect("init");
        assert!(
            made.status.success(),
            "{}",
            String::from_utf8_lossy(&made.stderr)
        );
        // Keys come from fixed seeds instead of random numbers, and the runbooks come from the test.
        for sample in fs::read_dir(home.join("runbooks")).expect("runbooks") {
            fs::remove_file(sample.expect("a file").path()).expect("removed");
        }
        self.write(
            "b/boundary/key.pem",
            boundary_key().secret.to_pkcs8_v1_pem().as_str(),
        );
        self.write(DRAFT, &self.roster().to_string());
        self.write("b/boundary/policy.yaml", &self.setup.policy);
        let limits = &self.setup.limits;
        let config = format!(
            "name = \"{}\"\n{}\n[limits]\n{limits}\n",
            self.setup.name, self.setup.config
        );
        self.write("b/countersign.toml", &config);
        for (name, text) in &self.setup.runbooks {
            self.write(&format!("b/runbooks/{name}"), text);
        }
    }

    /// Returns the draft of the first roster.
    pub fn roster(&self) -> Value {
        let lines = |keys: &[Key]| -> Vec<String> {
            let lines = keys.iter().map(|key| key.ssh.line().to_owned());
            lines.collect()
        };
        let mut roster = json!({
            "name": "people", "version": 1, "threshold": 2, "policy": format!("sha256:{}", "0".repeat(64)),
            "approvers": {}, "groups": {"finance": {}, "ops": {}, "security": {}},
            "proposers": {"robot": {"owners": ["bob"], "keys": lines(&[robot()])}},
            "operators": {"oscar": {"keys": lines(&[oscar()])}},
            "boundaries": {&self.setup.name: {"keys": lines(&[boundary_key()])}},
            "witnesses": {},
        });
        for (keys, groups) in [
            (vec![alice()], &["ops"][..]),
            (vec![bob()], &["security"]),
            (vec![carol(), carol_too()], &["ops", "security"]),
            (vec![dora()], &["ops"]),
            (vec![frank()], &["finance"]),
            (vec![erin()], &["ops"]),
        ] {
            roster["approvers"][keys[0].name] = json!({"groups": groups, "keys": lines(&keys)});
        }
        roster["approvers"]["erin"]["valid_before"] = json!(stamp(now() - 86_400));
        merge(&mut roster, &self.setup.roster);
        roster
    }

    /// Changes the draft of the first roster.
    pub fn edit_draft(&self, edit: impl FnOnce(&mut Value)) {
        let text = fs::read_to_string(self.path(DRAFT)).expect("a draft");
        let mut draft = serde_json::from_str(&text).expect("JSON");
        edit(&mut draft);
        self.write(DRAFT, &draft.to_string());
    }

    pub fn make_tokens(&mut self) {
        self.agent = self.token("agent", &["carol"], &["propose"]);
        self.reader = self.token("reader", &[], &["read"]);
        self.courier = self.token("courier", &["bob"], &["propose"]);
    }

    // Files and processes

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    pub fn database(&self) -> PathBuf {
        self.path("b/boundary/countersign.db")
    }

    /// Writes a file that only its owner can write, and creates its directories.
    pub fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(path);
        file.and_then(|mut file| file.write_all(text.as_bytes()))
            .expect("written");
    }

    /// Returns a command for the program under test, with these arguments and its own home directory.
    pub fn program(&self, arguments: &[&str]) -> Command {
        let mut command = self.command(&program());
        command.args(arguments);
        command
    }

    /// Returns a command for the program of the boundary, for operators.
    pub fn boundary_command(&self, arguments: &[&str]) -> Command {
        let mut command = self.command(&boundary_program());
        command.args(arguments);
        command
    }

    /// Returns a command of alice with her key. She trusts the roster of this boundary.
    pub fn as_alice(&self, words: &[&str]) -> Command {
        self.write("alice.pem", alice().secret.to_pkcs8_v1_pem().as_str());
        let mut command = self.program(&["--url", &self.wire.url]);
        command.args(words).args([
            "--roster",
            self.started["roster"].as_str().expect("a digest"),
            "--key",
        ]);
        command.arg(self.path("alice.pem"));
        command
    }

    /// Returns a command that does not use the configuration of the current user.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        for name in [
            "COUNTERSIGN_CONFIG",
            "COUNTERSIGN_TRUST",
            "COUNTERSIGN_TOKEN",
            "COUNTERSIGN_URL",
            "SSH_AUTH_SOCK",
        ] {
            command.env_remove(name);
        }
        command
            .env("HOME", self.path("home"))
            .env_remove("XDG_CONFIG_HOME");
        command.stdin(Stdio::null());
        command
    }

    /// Returns the standard error of the service so far.
    pub fn service_log(&self) -> String {
        fs::read_to_string(self.path("serve.log")).unwrap_or_default()
    }

    pub fn start(&mut self) {
        self.try_start()
            .unwrap_or_else(|text| panic!("serve did not start: {text}"));
    }

    /// Starts the service. Returns its standard error if the service does not start.
    pub fn try_start(&mut self) -> Result<(), String> {
        assert!(self.service.is_none(), "it runs already");
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.path("serve.log"))
            .expect("a log");
        let before = log.metadata().expect("a size").len() as usize;
        let serve = [
            &*boundary_program(),
            "serve",
            "--listen",
            &self.setup.listen,
            "--json",
        ]
        .map(str::to_owned);
        let words: Vec<String> = self
            .setup
            .before
            .iter()
            .cloned()
            .chain(serve)
            .chain(self.setup.options.iter().cloned())
            .collect();
        let mut command = self.command(&words[0]);
        command
            .args(&words[1..])
            .arg(self.path("b"))
            .envs(self.setup.env.iter().cloned());
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .expect("serve");
        let mut stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        let (to, from) = mpsc::channel();
        std::thread::spawn(move || {
            let mut line = String::new();
            let read = stdout.read_line(&mut line);
            let _ = to.send((read.map(|_| line), stdout));
        });
        let (line, stdout) = match from.recv_timeout(Duration::from_secs(30)) {
            Ok(said) => said,
            Err(_) => {
                let _ = child.kill();
                let _ = child.wait();
                let said = self
                    .service_log()
                    .get(before..)
                    .unwrap_or_default()
                    .to_owned();
                // A node that waits for another node says why.
                assert!(
                    said.contains("not active: "),
                    "serve said nothing for 30 s:\n{said}"
                );
                return Err(said);
            }
        };
        let line = line.expect("UTF-8");
        let said: Value = serde_json::from_str(&line).unwrap_or_default();
        if said.get("started").is_none() {
            let _ = child.wait();
            return Err(format!(
                "{line}{}",
                self.service_log().get(before..).unwrap_or_default()
            ));
        }
        self.started = said["started"].clone();
        self.wire = Wire::new(self.started["url"].as_str().expect("a URL"));
        self.service = Some(Service {
            child,
            _stdout: stdout,
        });
        Ok(())
    }

    pub fn pid(&self) -> u32 {
        self.service.as_ref().expect("it runs").child.id()
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_raw(self.pid() as i32).expect("a process");
        rustix::process::kill_process(pid, signal).expect("a signal");
    }

    /// Waits until the service ends by itself. Returns the exit code, or `None` after a signal.
    pub fn ended(&mut self) -> Option<i32> {
        let mut service = self.service.take().expect("it runs");
        let mut status = None;
        wait_for("the service ends", || {
            status = service.child.try_wait().expect("a status");
            status.is_some()
        });
        status.expect("ended").code()
    }

    /// Stops the service with SIGTERM.
    pub fn stop(&mut self) {
        self.signal(rustix::process::Signal::TERM);
        assert_eq!(self.ended(), Some(0), "{}", self.service_log());
    }

    /// Kills the service with SIGKILL, as a crash does.
    pub fn kill9(&mut self) {
        self.signal(rustix::process::Signal::KILL);
        assert_eq!(self.ended(), None);
    }

    pub fn restart(&mut self) {
        self.stop();
        self.start();
    }

    /// Sends SIGHUP and waits for the seal with this number.
    pub fn reseal(&self, number: u64) {
        self.signal(rustix::process::Signal::HUP);
        wait_for("a new seal is in force", || {
            self.wire.peek("/ready").json()["seal"] == json!(number)
        });
    }

    /// Returns the number of the seal in force.
    pub fn seal(&self) -> u64 {
        self.wire.peek("/ready").json()["seal"]
            .as_u64()
            .expect("a number")
    }

    /// Sends a request over the control socket.
    pub fn control(&self, request: &Value) -> Result<Value, String> {
        let stream = UnixStream::connect(self.path("b/boundary/control.sock"))
            .map_err(|error| error.to_string())?;
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .expect("a deadline");
        (&stream)
            .write_all(format!("{request}\n").as_bytes())
            .map_err(|error| error.to_string())?;
        let mut line = String::new();
        BufReader::new(&stream)
            .read_line(&mut line)
            .map_err(|error| error.to_string())?;
        let mut answer: Value = serde_json::from_str(&line).map_err(|error| error.to_string())?;
        match answer
            .get("error")
            .or_else(|| answer["refused"].get("message"))
        {
            Some(error) => Err(error.as_str().expect("words").to_owned()),
            None => Ok(answer["ok"].take()),
        }
    }

    /// Creates a token and returns its secret.
    pub fn token(&self, name: &str, owners: &[&str], scopes: &[&str]) -> String {
        self.token_for(name, owners, scopes, &[])
    }

    pub fn token_for(
        &self,
        name: &str,
        owners: &[&str],
        scopes: &[&str],
        patterns: &[&str],
    ) -> String {
        let token = json!({"name": name, "owners": owners, "scopes": scopes, "patterns": patterns});
        self.create_token(&token).expect("a token")
    }

    // Requests

    /// Returns the body of a proposal that repeats no earlier one.
    pub fn wish(step: &str, params: Value) -> Value {
        json!({"step": step, "params": params, "reason": "because", "new": true})
    }

    /// Proposes with the agent's token.
    #[track_caller]
    pub fn propose(&self, step: &str, params: Value) -> Value {
        self.wire
            .post("/v1/proposals", &self.agent, &Self::wish(step, params))
            .ok(201)
    }

    pub fn show(&self, id: &str) -> Value {
        self.wire
            .get(&format!("/v1/proposals/{id}"), &self.reader)
            .ok(200)
    }

    /// Signs a proposal from the answer of the service, without a token.
    pub fn sign(&self, proposal: &Value, keys: &[&Key]) -> Reply {
        self.try_sign(proposal, keys).expect("an answer")
    }

    pub fn try_sign(&self, proposal: &Value, keys: &[&Key]) -> Result<Reply, String> {
        let payload = bytes_of(proposal);
        let signatures: Vec<Value> = keys.iter().map(|key| key.sign(&payload)).collect();
        let path = format!("/v1/proposals/{}/signatures", id_of(proposal));
        self.wire
            .try_post(&path, "", &json!({"signatures": signatures}))
    }

    pub fn deny(&self, proposal: &Value, key: &Key) -> Reply {
        self.try_deny(proposal, key).expect("an answer")
    }

    pub fn try_deny(&self, proposal: &Value, key: &Key) -> Result<Reply, String> {
        // The id comes from the statement, because a request to the service could fail if a test kills the service.
        let statement: Value = serde_json::from_slice(&bytes_of(proposal)).expect("a statement");
        let payload = people::denial(
            &statement["predicate"]["boundary"],
            &bytes_of(proposal),
            "no",
        );
        let path = format!("/v1/proposals/{}/denial", id_of(proposal));
        self.wire
            .try_post(&path, "", &people::envelope(&payload, &[key]))
    }

    /// Submits an envelope with the agent's token.
    pub fn submit(&self, envelope: &Value) -> Reply {
        self.submit_as(&self.agent, envelope)
    }

    pub fn submit_as(&self, token: &str, envelope: &Value) -> Reply {
        self.wire.post("/v1/authorizations", token, envelope)
    }

    /// Waits until the proposal is in this state and returns the proposal.
    #[track_caller]
    pub fn until(&self, id: &str, status: &str) -> Value {
        let deadline = Instant::now() + DEADLINE;
        // The first request does not wait, because the proposal may already be in this state.
        let mut wait = "0s";
        loop {
            let view = self
                .wire
                .get(&format!("/v1/proposals/{id}?wait={wait}"), &self.reader)
                .ok(200);
            wait = "1s";
            if view["status"] == status {
                return view;
            }
            let over = ["finished", "denied", "expired", "cancelled", "refused"];
            assert!(
                !over.iter().any(|over| view["status"] == *over),
                "waited for {status}: {view:#}"
            );
            assert!(
                Instant::now() < deadline,
                "waited in vain for {status}: {view:#}"
            );
        }
    }

    /// Proposes, signs and waits for the end of the run.
    #[track_caller]
    pub fn run(&self, step: &str, params: Value, keys: &[&Key]) -> Value {
        let proposal = self.propose(step, params);
        let signed = self.sign(&proposal, keys);
        assert_eq!(signed.status, 200, "{}", signed.text());
        self.until(id_of(&proposal), "finished")
    }

    /// Returns a recorded stream of a finished run.
    pub fn output(&self, finished: &Value, stream: &str) -> String {
        let receipt = self.receipt(finished);
        let stream = &receipt["output"][stream];
        if stream["recorded"] == 0 {
            return String::new();
        }
        let name = stream["blake3"].as_str().expect("a digest");
        let reply = self.wire.get(&format!("/v1/outputs/{name}"), &self.reader);
        assert_eq!(reply.status, 200, "{}", reply.text());
        String::from_utf8(reply.body).expect("UTF-8")
    }

    /// Returns the predicate of the receipt of a finished run.
    pub fn receipt(&self, finished: &Value) -> Value {
        let id = finished["receipt"]
            .as_str()
            .unwrap_or_else(|| panic!("no receipt: {finished:#}"));
        people::predicate_of(
            &self
                .wire
                .get(&format!("/v1/receipts/{id}"), &self.reader)
                .ok(200)["envelope"],
        )
    }

    /// Returns the envelope of the authorization of a finished run.
    pub fn authorization_of(&self, finished: &Value) -> Value {
        let id = finished["receipt"]
            .as_str()
            .unwrap_or_else(|| panic!("no receipt: {finished:#}"));
        let path = format!("/v1/receipts/{id}");
        self.wire.get(&path, &self.reader).ok(200)["authorization"].clone()
    }

    /// Returns the bundle of a finished run as bytes.
    pub fn bundle(&self, finished: &Value) -> Vec<u8> {
        let id = finished["receipt"]
            .as_str()
            .unwrap_or_else(|| panic!("no receipt: {finished:#}"));
        let reply = self
            .wire
            .get(&format!("/v1/receipts/{id}/bundle"), &self.reader);
        assert_eq!(reply.status, 200, "{}", reply.text());
        reply.body
    }

    /// Verifies a bundle offline with the pinned roster of this boundary. Returns exit code and report.
    pub fn verify(&self, bundle: &[u8]) -> (i32, Value) {
        self.verify_pinned(bundle, self.started["roster"].as_str().expect("a digest"))
    }

    pub fn verify_pinned(&self, bundle: &[u8], roster: &str) -> (i32, Value) {
        let file = tempfile::NamedTempFile::new_in(&self.dir).expect("a file");
        fs::write(file.path(), bundle).expect("written");
        let command = self
            .program(&["verify", "--json", "--roster", roster])
            .arg(file.path())
            .output();
        let output = command.expect("verify");
        let report = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| {
            panic!(
                "verify: {}{}",
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            )
        });
        (output.status.code().expect("a code"), report)
    }

    /// Asserts that offline verification establishes the bundle of a finished run.
    #[track_caller]
    pub fn assert_verified(&self, finished: &Value) {
        let (code, report) = self.verify(&self.bundle(finished));
        assert_eq!(code, 0, "{report:#}");
        assert_eq!(report["report"]["verified"], json!(true), "{report:#}");
    }

    /// Asserts that `audit`, with the pinned roster of this boundary, has no findings in the whole log.
    #[track_caller]
    pub fn assert_audited(&self) {
        let roster = self.started["roster"].as_str().expect("a digest");
        let mut audit = self.program(&[
            "audit",
            &self.wire.url,
            "--url",
            &self.wire.url,
            "--roster",
            roster,
        ]);
        let done = audit
            .env("COUNTERSIGN_TOKEN", &self.reader)
            .output()
            .expect("audit");
        assert!(done.status.success(), "{}", said(&done));
    }

    // Statements that a test writes

    /// Returns name, id and epoch of this boundary, as in statements.
    pub fn boundary(&self) -> Value {
        self.wire.get("/v1/registry", &self.reader).ok(200)["boundary"].clone()
    }

    /// Returns the predicate of a valid authorization of the agent.
    pub fn authorization(&self, step: &str, params: Value) -> Value {
        let sealed = self
            .wire
            .get(&format!("/v1/steps/{step}"), &self.reader)
            .ok(200);
        let source = sealed["definition"]["source"].as_str().expect("a source");
        let at = now();
        json!({
            "boundary": self.boundary(),
            "proposal": people::proposal_id_until(at + 3600),
            "nonce": people::nonce_until(at + 3600),
            "step": {"ref": step, "digest": sealed["digest"]},
            "params": params,
            "rendered": format!("sha256:{}", people::sha256(source.as_bytes())),
            "permissions": [],
            "sandbox": sealed["sandbox"],
            "proposer": "agent",
            "reason": "because",
            "issued_at": stamp(at),
            "not_before": stamp(at),
            "expires_at": stamp(at + 3600),
        })
    }

    // The log

    /// Returns the number of entries in the log.
    pub fn log_size(&self) -> u64 {
        let note = self.wire.peek("/log/checkpoint").text();
        note.lines()
            .nth(1)
            .expect("a size")
            .parse()
            .expect("a number")
    }

    /// Returns every entry with its kind and its statement. Asserts that their tree has the root of the checkpoint.
    pub fn log(&self) -> Vec<(String, Value)> {
        let note = self.wire.peek("/log/checkpoint").text();
        let size: u64 = note
            .lines()
            .nth(1)
            .expect("a size")
            .parse()
            .expect("a number");
        let entries = self.raw_entries(size);
        let hashes: Vec<_> = entries
            .iter()
            .map(|entry| merkle::leaf_hash(entry))
            .collect();
        let root = STANDARD.encode(merkle::root(&hashes));
        assert_eq!(
            note.lines().nth(2),
            Some(root.as_str()),
            "the checkpoint's root is that of its entries"
        );
        let entries = entries.iter().map(|entry| {
            let statement =
                people::statement_of(&serde_json::from_slice(entry).expect("an envelope"));
            let kind = statement["predicateType"].as_str().expect("a kind");
            let kind = kind
                .trim_start_matches("https://countersign.dev/")
                .trim_end_matches("/v1");
            (kind.to_owned(), statement)
        });
        entries.collect()
    }

    /// Returns the first entries from their tiles.
    pub fn raw_entries(&self, size: u64) -> Vec<Vec<u8>> {
        self.try_raw_entries(0, size).expect("the entries")
    }

    /// Returns the entries from `first` up to `size`. Returns an error if the connection breaks.
    pub fn try_raw_entries(&self, first: u64, size: u64) -> Result<Vec<Vec<u8>>, String> {
        let mut entries = Vec::new();
        for index in first / 256..size.div_ceil(256) {
            let path = format!("/log/tile/entries/{}", tile_of(index, size));
            let reply = self.wire.try_get(&path, &self.reader)?;
            assert_eq!(reply.status, 200, "{path}: {}", reply.text());
            let tile = split_entries(&reply.body).expect("an entries tile");
            let known = first.saturating_sub(index * 256) as usize;
            entries.extend(tile.into_iter().skip(known).map(<[u8]>::to_vec));
        }
        Ok(entries)
    }

    /// Returns the number of entries of this kind.
    pub fn count(&self, kind: &str) -> usize {
        self.log().iter().filter(|(of, _)| of == kind).count()
    }

    /// Asserts the rules of every history. A nonce has one consumption, each consumption has one later receipt, and
    /// times never decrease. Only runs in progress have no receipt.
    pub fn check_history(&self) {
        // A run can end between both reads. A receipt of a node that lost its role is shown within 5 seconds.
        let deadline = Instant::now() + Duration::from_secs(20);
        let mut counts = self.open_and_running();
        while counts.0 != counts.1 && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(50));
            counts = self.open_and_running();
        }
        assert_eq!(
            counts.0, counts.1,
            "consumptions without a receipt, and what runs"
        );
    }

    /// Checks the log. Returns the number of consumptions without a receipt, and of running proposals.
    fn open_and_running(&self) -> (usize, usize) {
        let log = self.log();
        let (mut nonces, mut items, mut receipts) =
            (BTreeSet::new(), BTreeMap::new(), BTreeMap::new());
        let mut at = String::new();
        for (index, (kind, statement)) in log.iter().enumerate() {
            let predicate = &statement["predicate"];
            if let Some(time) = predicate["at"].as_str() {
                assert!(*time >= *at, "entry {index} is dated before an earlier one");
                at = time.to_owned();
            }
            match kind.as_str() {
                "consumption" => {
                    for (item, spent) in predicate["spent"]
                        .as_array()
                        .expect("items")
                        .iter()
                        .enumerate()
                    {
                        assert!(
                            nonces.insert(spent["nonce"].clone().to_string()),
                            "a nonce was spent twice"
                        );
                        let place = spent["authorization"]["index"].as_u64().expect("a number");
                        let entry = &log[usize::try_from(place).expect("small")];
                        assert!(
                            place < index as u64 && entry.0 == "authorization",
                            "a consumption without its authorization before it"
                        );
                        items.insert((index as u64, item as u64), spent["authorization"].clone());
                    }
                }
                "receipt" => {
                    let of = &predicate["consumption"];
                    let place = (
                        of["index"].as_u64().expect("a number"),
                        of["item"].as_u64().expect("a number"),
                    );
                    assert!(place.0 < index as u64, "a receipt before its consumption");
                    assert_eq!(
                        items.get(&place),
                        Some(&predicate["authorization"]),
                        "of another consumption"
                    );
                    assert_eq!(
                        receipts.insert(place, index),
                        None,
                        "two receipts for one consumption"
                    );
                }
                _ => {}
            }
        }
        let open = items
            .keys()
            .filter(|place| !receipts.contains_key(*place))
            .count();
        (open, self.list("running").len())
    }

    /// Returns the proposals with this status.
    pub fn list(&self, status: &str) -> Vec<Value> {
        let page = self
            .wire
            .get(&format!("/v1/proposals?status={status}"), &self.reader)
            .ok(200);
        page["proposals"].as_array().expect("a list").clone()
    }

    /// Returns ids, states and signatures of the newest 100 proposals.
    pub fn proposals(&self) -> Vec<(String, String, u64)> {
        let page = self.wire.get("/v1/proposals", &self.reader).ok(200);
        let proposals = page["proposals"].as_array().expect("a list").iter();
        proposals
            .map(|one| {
                let have = one["approvals"]["have"].as_u64().expect("a number");
                (
                    id_of(one).to_owned(),
                    one["status"].as_str().expect("a status").to_owned(),
                    have,
                )
            })
            .collect()
    }

    /// Asserts that `attempt` stores nothing except the refusal: no proposal, no signature and no other log entry.
    pub fn unchanged<T>(&self, attempt: impl FnOnce() -> T) -> T {
        let (proposals, size) = (self.proposals(), self.log_size());
        let done = attempt();
        assert_eq!(
            self.proposals(),
            proposals,
            "a refused call changed a proposal"
        );
        for (kind, _) in self.log().iter().skip(size as usize) {
            assert_eq!(kind, "refusal", "a refused call left an entry");
        }
        assert_eq!(self.wire.peek("/health").status, 200, "the service goes on");
        done
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(service) = &mut self.service {
            let _ = service.child.kill();
            let _ = service.child.wait();
        }
        if std::thread::panicking() {
            let log = self.service_log();
            let lines: Vec<&str> = log.lines().collect();
            eprintln!(
                "---- the service's log\n{}\n----",
                lines[lines.len().saturating_sub(60)..].join("\n")
            );
        }
    }
}

/// Maximum duration of any operation.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// Waits until `condition` is true.
#[track_caller]
pub fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Returns a proposal's id.
pub fn id_of(proposal: &Value) -> &str {
    proposal["id"]
        .as_str()
        .unwrap_or_else(|| panic!("no proposal: {proposal:#}"))
}

/// Returns the path of a tile of a log with this size; see C2SP tlog-tiles.
pub fn tile_of(index: u64, size: u64) -> String {
    let width = size.saturating_sub(index * 256).min(256);
    let partial = if width < 256 {
        format!(".p/{width}")
    } else {
        String::new()
    };
    let thousands = if index < 1000 {
        String::new()
    } else {
        format!("x{:03}/", index / 1000)
    };
    format!("{thousands}{:03}{partial}", index % 1000)
}

/// Returns the signed bytes of a proposal.
pub fn bytes_of(proposal: &Value) -> Vec<u8> {
    STANDARD
        .decode(proposal["payload"].as_str().expect("a payload"))
        .expect("base64")
}

/// Returns true if a program is on the path.
pub fn has(program: &str) -> bool {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&paths).any(|path| Path::new(&path).join(program).is_file())
}

/// Returns `None` after a report if one of these programs is not installed.
pub fn has_all(test: &str, programs: &[&str]) -> Option<()> {
    let missing: Vec<&str> = programs
        .iter()
        .copied()
        .filter(|program| !has(program))
        .collect();
    if missing.is_empty() {
        return Some(());
    }
    not_run(test, &format!("there is no {} here", missing.join(" and ")));
    None
}

/// Sends these bytes over a new connection. Returns the answer when the answer is complete, the connection closes or no
/// more data arrives.
pub fn exchange(wire: &Wire, request: &[u8]) -> String {
    use std::io::Read as _;
    let mut stream = std::net::TcpStream::connect(wire.address()).expect("a connection");
    stream
        .set_read_timeout(Some(Duration::from_secs(15)))
        .expect("a deadline");
    // The other side may answer and close the connection before it has read the whole request.
    let _ = stream.write_all(request);
    let mut answer = Vec::new();
    let mut piece = [0; 4096];
    while let Ok(length @ 1..) = stream.read(&mut piece) {
        answer.extend_from_slice(&piece[..length]);
        if is_whole(&answer) {
            break;
        }
    }
    String::from_utf8_lossy(&answer).into_owned()
}

/// Returns true if an answer with a length is complete.
fn is_whole(answer: &[u8]) -> bool {
    let text = String::from_utf8_lossy(answer);
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    let length = head.lines().find_map(|line| {
        line.to_ascii_lowercase()
            .strip_prefix("content-length: ")?
            .parse()
            .ok()
    });
    length.is_some_and(|length: usize| body.len() >= length)
}
