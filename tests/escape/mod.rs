//! Plays scripts that try to escape from the sandbox, and reports which of them succeed.
//!
//! Each round is a separate process: this test binary starts itself again as the service of the scripts. The service has
//! the user of the round and the mistakes of a careless service: a secret in its environment, an agent, and an
//! inheritable descriptor of a file outside of the sandbox.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test binary uses another part of it"
)]

pub mod planted;

use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{PoisonError, RwLock, mpsc};
use std::time::{Duration, Instant};

use documents::{Layer, Limits, Profile, STRICT, Workdir};
use sandbox::{
    CancelFlag, CapturedBytes, End, LocalSandbox, Plan, Prepared, Report, Setup, Unavailable,
};
use serde::{Deserialize, Serialize};

use crate::support::host;
use planted::Planted;

/// A script that tries to escape from the sandbox.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Case {
    pub id: String,
    pub language: String,
    pub script: String,
    pub must: String,
    /// The user with which the script escapes if no sandbox holds the script.
    #[serde(default)]
    pub bites: Bites,
    /// The architecture of the script's system call numbers. None if the script has the numbers of every architecture.
    #[serde(default)]
    pub machine: Option<String>,
}

/// The user with which a script escapes if no sandbox holds the script.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Bites {
    /// Any user.
    User,
    /// Only root of the host.
    Root,
    /// The script never runs without a sandbox. `must` contains the reason.
    Never,
    /// Unknown: the result depends on the kernel.
    #[default]
    Some,
}

/// The sandbox of the scripts in a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Held {
    Strict,
    BestEffort,
    Off,
    /// Only Landlock.
    LandlockAlone,
    Nothing,
}

/// The user of the service in a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// The user that runs the tests.
    Self_,
    /// An unprivileged user.
    Ordinary,
    /// An unprivileged user on a host that permits no user namespaces.
    WithoutUserNamespaces,
}

/// The end of one script.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Outcome {
    pub id: String,
    /// Descriptions of successful escapes. Empty if the sandbox held the script.
    pub breaches: Vec<String>,
    /// The reason why the sandbox refused the run.
    pub refused: Option<String>,
    /// The end of the run as text.
    pub end: String,
    /// The layers that the facts of the run report as missing.
    pub missing: Vec<String>,
}

/// A user id that no user of the host has.
const ORDINARY: u32 = 61_234;
/// Returns the factor by which this machine is slower than a usual machine. The second kernel of the tests runs in an
/// emulator.
fn slow() -> u64 {
    std::env::var("COUNTERSIGN_SLOW")
        .ok()
        .and_then(|times| times.parse().ok())
        .unwrap_or(1)
}

/// The maximum time of a round.
const ROUND: Duration = Duration::from_secs(900);
const ORDER: &str = "COUNTERSIGN_TEST_ESCAPES";

/// Scripts of the shared suite with system call numbers of x86_64. The file of the suite does not state the
/// architecture.
const X86_64: [&str; 2] = ["ptrace-host", "dangerous-syscalls"];

/// Returns the scripts that this machine's architecture can play: the scripts of this project and the scripts of each
/// directory in `COUNTERSIGN_CASES`.
pub fn cases() -> Vec<Case> {
    let (played, others): (Vec<Case>, Vec<Case>) = all_cases().into_iter().partition(|case| {
        let x86_64 = X86_64.contains(&case.id.as_str()).then_some("x86_64");
        case.machine
            .as_deref()
            .or(x86_64)
            .is_none_or(|machine| machine == std::env::consts::ARCH)
    });
    for case in others {
        let reason = format!(
            "it makes calls of another architecture, and this is {}",
            std::env::consts::ARCH
        );
        host::not_run(&format!("the escape {}", case.id), &reason);
    }
    played
}

/// Returns the scripts for all architectures.
pub fn all_cases() -> Vec<Case> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance");
    let listed = std::env::var_os("COUNTERSIGN_CASES").unwrap_or_default();
    let mut found: Vec<Case> = Vec::new();
    let directories = std::env::split_paths(&listed).filter(|path| !path.as_os_str().is_empty());
    for directory in std::iter::once(own).chain(directories) {
        for name in ["sandbox-escapes.json", "sandbox-escapes-own.json"] {
            let Ok(bytes) = std::fs::read(directory.join(name)) else {
                continue;
            };
            let read: Vec<Case> = serde_json::from_slice(&bytes).expect("cases");
            for case in read {
                // A directory in `COUNTERSIGN_CASES` may contain a copy of the same file.
                if !found.iter().any(|known| known.script == case.script) {
                    found.push(case);
                }
            }
        }
    }
    found
}

/// Scripts without a sandbox leave files on the host, so no other round may inspect the host at the same time.
pub static HOST: RwLock<()> = RwLock::new(());

/// Plays every script in a separate process. In this process, the test `name` of `escapes.rs` calls
/// [`play_what_is_ordered`].
pub fn round(name: &str, who: Who, held: Held) -> Vec<Outcome> {
    round_over(name, who, held, Workdir::Copy)
}

/// Plays a round whose work tree has this kind of working directory.
pub fn round_over(name: &str, who: Who, held: Held, workdir: Workdir) -> Vec<Outcome> {
    // A failed test poisons the lock, but the other rounds are still valid.
    let (_alone, _beside) = match held {
        Held::Off | Held::Nothing | Held::LandlockAlone => (
            Some(HOST.write().unwrap_or_else(PoisonError::into_inner)),
            None,
        ),
        Held::Strict | Held::BestEffort => (
            None,
            Some(HOST.read().unwrap_or_else(PoisonError::into_inner)),
        ),
    };
    let home = tempfile::Builder::new()
        .prefix("countersign-escape-")
        .tempdir()
        .expect("a directory");
    let mode = |path: &Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("mode")
    };
    mode(home.path(), 0o755);
    let root = rustix::process::geteuid().is_root();
    let program = reachable(
        Path::new(env!("CARGO_BIN_EXE_countersign")),
        home.path(),
        "countersign",
    );
    let test = reachable(
        &std::env::current_exe().expect("this test"),
        home.path(),
        "escapes",
    );
    let canary = home.path().join("canary");
    let token = format!("CANARY-{:032x}", u128::from_le_bytes(random()));
    std::fs::write(&canary, format!("{token}\n")).expect("a file");
    mode(&canary, 0o644);
    let cases = home.path().join("cases.json");
    std::fs::write(&cases, serde_json::to_vec(&self::cases()).expect("JSON")).expect("a file");
    let order = Order {
        held,
        workdir,
        home: home.path().into(),
        token,
        program,
        cases,
    };
    let mut words: Vec<String> = Vec::new();
    let mut say = |line: &[&str]| words.extend(line.iter().map(|&word| word.to_owned()));
    if who == Who::WithoutUserNamespaces {
        // A user namespace that permits no further user namespaces is like a host without user namespaces.
        say(&["unshare", "--user", "--map-root-user", "bash", "-ec"]);
        say(&[
            "echo 0 > /proc/sys/user/max_user_namespaces; exec setpriv --bounding-set=-all --inh-caps=-all \"$@\"",
            "bash",
        ]);
    }
    if held == Held::Nothing && who == Who::Self_ && root {
        // Changes of mounts stay in this mount namespace.
        say(&["unshare", "--mount"]);
    }
    // The open descriptor of a careless service.
    say(&[
        "bash",
        "-c",
        "exec 99< \"$0\"; exec \"$@\"",
        canary.to_str().expect("UTF-8"),
    ]);
    say(&[
        test.to_str().expect("UTF-8"),
        "--exact",
        &format!("strict::{name}"),
        "--nocapture",
        "--test-threads=1",
    ]);
    let mut command = Command::new(&words[0]);
    command
        .args(&words[1..])
        .current_dir("/")
        .stdin(Stdio::null());
    command.env(ORDER, serde_json::to_string(&order).expect("JSON"));
    command
        .env("CS_SECRET_ENV", "the service's own")
        .env("SSH_AUTH_SOCK", "/tmp/no-agent");
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    if who != Who::Self_ && root {
        std::os::unix::fs::chown(home.path(), Some(ORDINARY), Some(ORDINARY)).expect("given away");
        command.uid(ORDINARY).gid(ORDINARY);
    }
    let mut child = command.spawn().expect("a round starts");
    let said = collect(&mut child, ROUND);
    let outcomes = std::fs::read(home.path().join("outcomes.json"));
    let outcomes = outcomes
        .unwrap_or_else(|_| panic!("the round {held:?} as {who:?} did not end:\n{}", said.1));
    serde_json::from_slice(&outcomes).expect("outcomes")
}

/// Plays the round and returns true in the process of a round. Returns false in every other process.
pub fn play_what_is_ordered() -> bool {
    let Ok(order) = std::env::var(ORDER) else {
        return false;
    };
    let order: Order = serde_json::from_str(&order).expect("an order");
    let outcomes = order.play();
    std::fs::write(
        order.home.join("outcomes.json"),
        serde_json::to_vec(&outcomes).expect("JSON"),
    )
    .expect("written");
    true
}

#[derive(Debug, Serialize, Deserialize)]
struct Order {
    held: Held,
    workdir: Workdir,
    home: PathBuf,
    token: String,
    program: PathBuf,
    cases: PathBuf,
}

impl Order {
    fn play(&self) -> Vec<Outcome> {
        let cases: Vec<Case> =
            serde_json::from_slice(&std::fs::read(&self.cases).expect("cases")).expect("cases");
        // Files get exactly the modes in this code. No other test runs in this process.
        rustix::process::umask(rustix::fs::Mode::empty());
        let planted = Planted::new(&self.home, &self.token);
        let sandbox = self.sandbox(&planted);
        let outcomes = cases.iter().map(|case| {
            planted.renew();
            let before = resident_kib();
            let run = match &sandbox {
                Some(sandbox) => self.in_sandbox(sandbox, &planted, case),
                None if case.bites == Bites::Never && self.held == Held::Nothing => Run::none(),
                None => self.unheld(&planted, case),
            };
            let mut breaches = planted.breaches(&run.said);
            breaches.extend(run.breaches(case, resident_kib().saturating_sub(before)));
            Outcome {
                id: case.id.clone(),
                breaches,
                refused: run.refused,
                end: run.end,
                missing: run.missing,
            }
        });
        let mut outcomes: Vec<Outcome> = outcomes.collect();
        std::thread::sleep(Duration::from_secs(1));
        for outcome in &mut outcomes {
            let alive = planted.alive(&outcome.id);
            if !alive.is_empty() {
                outcome
                    .breaches
                    .push(format!("alive 1 s after its receipt: {alive:?}"));
                planted::end(&alive);
            }
        }
        outcomes
    }

    fn sandbox(&self, planted: &Planted) -> Option<LocalSandbox> {
        if matches!(self.held, Held::LandlockAlone | Held::Nothing) {
            return None;
        }
        // With the sandbox off, only a separate user id keeps a run away from private files. If no such id is
        // available, the boundary refuses the step. This sandbox then has no private files, so that the scripts run and
        // can escape.
        let root = rustix::process::geteuid().is_root();
        let private = if self.held == Held::Off && !root {
            vec![]
        } else {
            vec![planted.boundary()]
        };
        let setup = Setup {
            helper: Some(self.program.clone()),
            scratch: planted.scratch(),
            spool: planted.spool(),
            private,
            unwritable: vec![planted.runbooks()],
        };
        Some(LocalSandbox::open(&setup).expect("a sandbox"))
    }

    fn in_sandbox(&self, sandbox: &LocalSandbox, planted: &Planted, case: &Case) -> Run {
        let prepared = match self.prepare(sandbox, planted, case) {
            Ok(prepared) => prepared,
            Err(refused) => {
                return Run {
                    said: String::new(),
                    end: "refused".into(),
                    missing: sandbox
                        .probe()
                        .layers
                        .iter()
                        .filter(|state| state.missing.is_some())
                        .map(|state| state.layer.word().into())
                        .collect(),
                    refused: Some(refused.to_string()),
                    report: None,
                    took: Duration::ZERO,
                };
            }
        };
        let plan = Plan {
            interpreter: case.language.clone(),
            source: case.script.clone().into_bytes(),
            env: planted.environment(&case.id, self.held == Held::Off),
            params_json: b"{}".to_vec(),
            files: vec![],
            inputs: vec![],
            results: false,
            session: None,
            unreachable: [].into(),
            secrets: vec![],
        };
        let begun = Instant::now();
        let mut report = sandbox.run(
            prepared,
            plan,
            &mut |_| {},
            &CancelFlag::new().expect("a flag"),
        );
        let took = begun.elapsed();
        let mut said = format!("{:?}\n", report.enforcement);
        for capture in [&mut report.stdout, &mut report.stderr] {
            let mut bytes = Vec::new();
            capture
                .recorded
                .reader()
                .expect("readable")
                .read_to_end(&mut bytes)
                .expect("readable");
            said.push_str(&String::from_utf8_lossy(&bytes));
        }
        let missing = report
            .enforcement
            .missing
            .iter()
            .map(|layer| layer.word().to_owned())
            .collect();
        Run {
            said,
            end: format!("{:?}", report.end),
            missing,
            refused: None,
            report: Some(report),
            took,
        }
    }

    /// Prepares the profile that the scripts expect: the work tree is writable, and `.env` in the tree is denied.
    fn prepare(
        &self,
        sandbox: &LocalSandbox,
        planted: &Planted,
        case: &Case,
    ) -> Result<Prepared, Unavailable> {
        let mut profile = Profile {
            workdir: self.workdir,
            ..profile(&planted.work(), case)
        };
        if self.held == Held::Off || !sandbox.probe().held().contains(&Layer::Namespaces) {
            profile = Profile {
                write: vec![],
                deny: vec![],
                workdir: Workdir::Private,
                ..profile
            };
        }
        match self.held {
            Held::Off => {
                (profile.require, profile.off_reason) =
                    (vec![], Some("to see the suite bite".into()))
            }
            Held::BestEffort => profile.require = vec![],
            _ => {}
        }
        sandbox.check(&profile)
    }

    fn unheld(&self, planted: &Planted, case: &Case) -> Run {
        let script = self.home.join("script");
        std::fs::write(&script, &case.script).expect("a script");
        let interpreter = if case.language == "python" {
            "/usr/bin/python3"
        } else {
            "/usr/bin/bash"
        };
        let alone = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tools/landlock_alone.py");
        // A shell is the parent of the script, because some scripts send signals to their parent.
        let mut command = Command::new("/usr/bin/bash");
        command.args(["-c", "trap : USR1; \"$@\"; exit $?", "bash"]);
        if self.held == Held::LandlockAlone {
            let tool = self.home.join("landlock_alone.py");
            if !tool.exists() {
                std::fs::copy(alone, &tool).expect("the tool");
            }
            command
                .arg("/usr/bin/python3")
                .arg(tool)
                .arg(planted.work())
                .arg(planted.tmp())
                .arg(&script)
                .arg("--");
        }
        command
            .arg(interpreter)
            .arg(&script)
            .envs(planted.environment(&case.id, true));
        command
            .current_dir(planted.tmp())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command.process_group(0);
        let begun = Instant::now();
        let mut child = command.spawn().expect("starts");
        let (status, said) = collect(&mut child, Duration::from_secs(limits(case).wall_ms / 1000));
        let end = match (status.code(), status.signal()) {
            (Some(code), _) => format!("Exited({code})"),
            (None, signal) => format!("Signalled({signal:?})"),
        };
        Run {
            said,
            end,
            missing: vec![],
            refused: None,
            report: None,
            took: begun.elapsed(),
        }
    }
}

/// The run of one script, with or without a sandbox.
#[derive(Default)]
struct Run {
    said: String,
    end: String,
    missing: Vec<String>,
    refused: Option<String>,
    report: Option<Report>,
    took: Duration,
}

impl Run {
    /// The result of a script that never runs without a sandbox.
    fn none() -> Self {
        Self {
            end: "not run".into(),
            ..Self::default()
        }
    }

    /// Checks the additional requirements of the suite's page for some scripts.
    fn breaches(&self, case: &Case, grown_kib: u64) -> Vec<String> {
        let mut found = Vec::new();
        let Some(report) = &self.report else {
            return found;
        };
        match case.id.as_str() {
            "output-flood" => {
                let size = |recorded: &CapturedBytes| match recorded {
                    CapturedBytes::Memory(bytes) => bytes.len() as u64,
                    CapturedBytes::Spooled { bytes, .. } => *bytes,
                };
                let kept = size(&report.stdout.recorded) + size(&report.stderr.recorded);
                let cut = report.stdout.truncated
                    && report.stdout.bytes >= 50_000_000
                    && report.stderr.bytes == 10_000_000;
                if kept > 65_536 || !cut || grown_kib > 8192 || report.end != End::Exited(0) {
                    found.push(format!(
                        "kept {kept}, counted {cut}, grew by {grown_kib} KiB, {:?}",
                        report.end
                    ));
                }
            }
            // Three seconds of timeout and one second of grace. The other seconds are for a busy machine.
            "timeout-ignore-term"
                if report.end != End::TimedOut || self.took > Duration::from_secs(8 * slow()) =>
            {
                found.push(format!("{:?} after {:?}", report.end, self.took));
            }
            _ => {}
        }
        if let End::NotStarted(why) | End::Lost(why) = &report.end {
            found.push(format!("it did not run: {why}"));
        }
        found
    }
}

/// The limits on the suite's page.
fn limits(case: &Case) -> Limits {
    let wall_ms = slow()
        * if case.id == "timeout-ignore-term" {
            3000
        } else {
            10_000
        };
    Limits {
        wall_ms,
        processes: 64,
        memory_bytes: 256 << 20,
        output_bytes: 64 << 10,
        file_bytes: 64 << 20,
        ..Limits::default()
    }
}

fn profile(work: &Path, case: &Case) -> Profile {
    Profile {
        write: vec![work.display().to_string()],
        deny: vec!["**/.env".into()],
        workdir: Workdir::Copy,
        ..Profile::nothing(STRICT.to_vec(), limits(case))
    }
}

/// Returns the program if every user can start the program, or else a copy that every user can start.
fn reachable(program: &Path, home: &Path, name: &str) -> PathBuf {
    let open = |path: &Path| {
        path.metadata()
            .is_ok_and(|found| found.permissions().mode() & 0o001 != 0)
    };
    if program.ancestors().all(open) {
        return program.to_owned();
    }
    let copy = home.join(name);
    if std::fs::hard_link(program, &copy).is_err() {
        std::fs::copy(program, &copy).expect("a copy");
    }
    copy
}

/// Waits for the end of a process and of its output. After the maximum time, kills the process group.
fn collect(child: &mut std::process::Child, most: Duration) -> (std::process::ExitStatus, String) {
    let (to, from) = mpsc::channel();
    let stdout = child
        .stdout
        .take()
        .map(|pipe| Box::new(pipe) as Box<dyn std::io::Read + Send>);
    let stderr = child
        .stderr
        .take()
        .map(|pipe| Box::new(pipe) as Box<dyn std::io::Read + Send>);
    for mut pipe in stdout.into_iter().chain(stderr) {
        let to = to.clone();
        std::thread::spawn(move || {
            let mut piece = [0; 65_536];
            // Reads the whole output, but keeps at most one megabyte.
            let mut left: usize = 1 << 20;
            while let Ok(length @ 1..) = pipe.read(&mut piece) {
                let kept = length.min(left);
                left -= kept;
                if kept > 0 && to.send(piece[..kept].to_vec()).is_err() {
                    return;
                }
            }
        });
    }
    drop(to);
    let deadline = Instant::now() + most;
    let mut said = Vec::new();
    let status = loop {
        if let Some(status) = child.try_wait().expect("a status") {
            break status;
        }
        if Instant::now() >= deadline {
            let group = rustix::process::Pid::from_child(child);
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
            let _ = child.kill();
        }
        if let Ok(piece) = from.recv_timeout(Duration::from_millis(20)) {
            said.extend(piece);
        }
    };
    // A leftover process may keep the pipe open, but the written output is complete.
    while let Ok(piece) = from.recv_timeout(Duration::from_millis(100)) {
        said.extend(piece);
    }
    (status, String::from_utf8_lossy(&said).into_owned())
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("status");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .expect("VmRSS");
    line.trim()
        .trim_end_matches(" kB")
        .parse()
        .expect("a number")
}

pub fn random() -> [u8; 16] {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).expect("randomness");
    bytes
}
