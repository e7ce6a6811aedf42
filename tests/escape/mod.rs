//! Plays scripts that try to get out, and finds out whether one did.
//!
//! A round is a process of its own: this test binary, started again as the one whom the scripts know as the service,
//! as whoever it is to be and with what a careless service has: a secret in its environment, an agent, and an
//! inheritable descriptor on a file outside.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(dead_code, unreachable_pub, reason = "each test binary uses another part of it")]

pub mod planted;

use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{PoisonError, RwLock, mpsc};
use std::time::{Duration, Instant};

use countersign::record::profile::{Layer, Limits, Profile, STRICT, Workdir};
use countersign::sandbox::cancel_flag::CancelFlag;
use countersign::sandbox::linux::{LinuxSandbox, Setup};
use countersign::sandbox::profile_check::Prepared;
use countersign::sandbox::unavailable::Unavailable;
use countersign::sandbox::{End, Plan, Report, Sandbox as _};
use serde::{Deserialize, Serialize};

use crate::support::host;
use planted::Planted;

/// One script that tries to get out.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Case {
    pub id: String,
    pub language: String,
    pub script: String,
    pub must: String,
    /// Where nothing holds it, by whom it gets out.
    #[serde(default)]
    pub bites: Bites,
    /// The one architecture whose calls it makes by number; any when it names the calls of each.
    #[serde(default)]
    pub machine: Option<String>,
}

/// Who gets out where nothing holds the script.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Bites {
    /// Anybody.
    User,
    /// The host's root.
    Root,
    /// Never to be tried unheld: `must` says why.
    Never,
    /// Perhaps, by what the kernel has.
    #[default]
    Some,
}

/// What holds the scripts of a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Held {
    Strict,
    BestEffort,
    Off,
    /// Landlock and nothing else.
    LandlockAlone,
    Nothing,
}

/// As whom the service of a round runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// As whoever runs the tests.
    Self_,
    /// As a user of no power.
    Ordinary,
    /// The same, where no user namespace can be made.
    WithoutUserNamespaces,
}

/// How one script ended.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Outcome {
    pub id: String,
    /// What got out; nothing when it was held.
    pub breaches: Vec<String>,
    /// Why the sandbox refused the run before it began.
    pub refused: Option<String>,
    /// The end, in words.
    pub end: String,
    /// Layers that the run's facts call missing.
    pub missing: Vec<String>,
}

/// A user id that nobody has.
const ORDINARY: u32 = 61_234;
/// By how much this machine is slower than those that the suite's times are meant for: the second kernel's is emulated.
fn slow() -> u64 {
    std::env::var("COUNTERSIGN_SLOW").ok().and_then(|times| times.parse().ok()).unwrap_or(1)
}

/// How long a whole round may take.
const ROUND: Duration = Duration::from_secs(900);
const ORDER: &str = "COUNTERSIGN_TEST_ESCAPES";

/// Scripts of the shared suite that make calls by their numbers on x86_64, which their file does not say.
const X86_64: [&str; 2] = ["ptrace-host", "dangerous-syscalls"];

/// The scripts of this project, and those of each directory in `COUNTERSIGN_CASES`, which this machine's architecture can play.
pub fn cases() -> Vec<Case> {
    let (played, others): (Vec<Case>, Vec<Case>) = all_cases().into_iter().partition(|case| {
        let x86_64 = X86_64.contains(&case.id.as_str()).then_some("x86_64");
        case.machine.as_deref().or(x86_64).is_none_or(|machine| machine == std::env::consts::ARCH)
    });
    for case in others {
        let reason = format!("it makes calls of another architecture, and this is {}", std::env::consts::ARCH);
        host::not_run(&format!("the escape {}", case.id), &reason);
    }
    played
}

/// Those of every architecture.
pub fn all_cases() -> Vec<Case> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance");
    let listed = std::env::var_os("COUNTERSIGN_CASES").unwrap_or_default();
    let mut found: Vec<Case> = Vec::new();
    let directories = std::env::split_paths(&listed).filter(|path| !path.as_os_str().is_empty());
    for directory in std::iter::once(own).chain(directories) {
        for name in ["sandbox-escapes.json", "sandbox-escapes-own.json"] {
            let Ok(bytes) = std::fs::read(directory.join(name)) else { continue };
            let read: Vec<Case> = serde_json::from_slice(&bytes).expect("cases");
            for case in read {
                // A further directory may hold the same file.
                if !found.iter().any(|known| known.script == case.script) {
                    found.push(case);
                }
            }
        }
    }
    found
}

/// Scripts that nothing holds leave files on the host. No other round may look at the host at that time.
pub static HOST: RwLock<()> = RwLock::new(());

/// Plays every script in a process of its own, in which the test `name` of `escapes.rs` calls [`play_what_is_ordered`].
pub fn round(name: &str, who: Who, held: Held) -> Vec<Outcome> {
    round_over(name, who, held, Workdir::Copy)
}

/// The same with the work tree given in that way.
pub fn round_over(name: &str, who: Who, held: Held, workdir: Workdir) -> Vec<Outcome> {
    // A failed test poisons the lock, but the other rounds are still valid.
    let (_alone, _beside) = match held {
        Held::Off | Held::Nothing | Held::LandlockAlone => {
            (Some(HOST.write().unwrap_or_else(PoisonError::into_inner)), None)
        }
        Held::Strict | Held::BestEffort => (None, Some(HOST.read().unwrap_or_else(PoisonError::into_inner))),
    };
    let home = tempfile::Builder::new().prefix("countersign-escape-").tempdir().expect("a directory");
    let mode = |path: &Path, mode| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("mode");
    mode(home.path(), 0o755);
    let root = rustix::process::geteuid().is_root();
    let program = reachable(Path::new(env!("CARGO_BIN_EXE_countersign")), home.path(), "countersign");
    let test = reachable(&std::env::current_exe().expect("this test"), home.path(), "escapes");
    let canary = home.path().join("canary");
    let token = format!("CANARY-{:032x}", u128::from_le_bytes(random()));
    std::fs::write(&canary, format!("{token}\n")).expect("a file");
    mode(&canary, 0o644);
    let cases = home.path().join("cases.json");
    std::fs::write(&cases, serde_json::to_vec(&self::cases()).expect("JSON")).expect("a file");
    let order = Order { held, workdir, home: home.path().into(), token, program, cases };
    let mut words: Vec<String> = Vec::new();
    let mut say = |line: &[&str]| words.extend(line.iter().map(|&word| word.to_owned()));
    if who == Who::WithoutUserNamespaces {
        // In a user namespace in which no further one is allowed: for its processes a host without them.
        say(&["unshare", "--user", "--map-root-user", "bash", "-ec"]);
        say(&[
            "echo 0 > /proc/sys/user/max_user_namespaces; exec setpriv --bounding-set=-all --inh-caps=-all \"$@\"",
            "bash",
        ]);
    }
    if held == Held::Nothing && who == Who::Self_ && root {
        // Whatever a script does to mounts stays in here.
        say(&["unshare", "--mount"]);
    }
    // What a careless service has open.
    say(&["bash", "-c", "exec 99< \"$0\"; exec \"$@\"", canary.to_str().expect("UTF-8")]);
    say(&[test.to_str().expect("UTF-8"), "--exact", &format!("escapes::{name}"), "--nocapture", "--test-threads=1"]);
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).current_dir("/").stdin(Stdio::null());
    command.env(ORDER, serde_json::to_string(&order).expect("JSON"));
    command.env("CS_SECRET_ENV", "the service's own").env("SSH_AUTH_SOCK", "/tmp/no-agent");
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    if who != Who::Self_ && root {
        std::os::unix::fs::chown(home.path(), Some(ORDINARY), Some(ORDINARY)).expect("given away");
        command.uid(ORDINARY).gid(ORDINARY);
    }
    let mut child = command.spawn().expect("a round starts");
    let said = collect(&mut child, ROUND);
    let outcomes = std::fs::read(home.path().join("outcomes.json"));
    let outcomes = outcomes.unwrap_or_else(|_| panic!("the round {held:?} as {who:?} did not end:\n{}", said.1));
    serde_json::from_slice(&outcomes).expect("outcomes")
}

/// In the process of a round: plays it. Otherwise does nothing and says so.
pub fn play_what_is_ordered() -> bool {
    let Ok(order) = std::env::var(ORDER) else { return false };
    let order: Order = serde_json::from_str(&order).expect("an order");
    let outcomes = order.play();
    std::fs::write(order.home.join("outcomes.json"), serde_json::to_vec(&outcomes).expect("JSON")).expect("written");
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
        let cases: Vec<Case> = serde_json::from_slice(&std::fs::read(&self.cases).expect("cases")).expect("cases");
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
            Outcome { id: case.id.clone(), breaches, refused: run.refused, end: run.end, missing: run.missing }
        });
        let mut outcomes: Vec<Outcome> = outcomes.collect();
        std::thread::sleep(Duration::from_secs(1));
        for outcome in &mut outcomes {
            let alive = planted.alive(&outcome.id);
            if !alive.is_empty() {
                outcome.breaches.push(format!("alive 1 s after its receipt: {alive:?}"));
                planted::end(&alive);
            }
        }
        outcomes
    }

    fn sandbox(&self, planted: &Planted) -> Option<LinuxSandbox> {
        if matches!(self.held, Held::LandlockAlone | Held::Nothing) {
            return None;
        }
        // With the sandbox off nothing but an id of its own keeps a run from the boundary's files; where there is none
        // such a boundary does not run the step. To see the suite bite, this one has nothing private then.
        let root = rustix::process::geteuid().is_root();
        let private = if self.held == Held::Off && !root { vec![] } else { vec![planted.boundary()] };
        let setup = Setup {
            helper: Some(self.program.clone()),
            scratch: planted.scratch(),
            spool: planted.spool(),
            private,
            unwritable: vec![planted.runbooks()],
        };
        Some(LinuxSandbox::new(&setup).expect("a sandbox"))
    }

    fn in_sandbox(&self, sandbox: &LinuxSandbox, planted: &Planted, case: &Case) -> Run {
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
        };
        let begun = Instant::now();
        let mut report = sandbox.run(prepared, plan, &mut |_| {}, &CancelFlag::new().expect("a flag"));
        let took = begun.elapsed();
        let mut said = format!("{:?}\n", report.enforcement);
        for capture in [&mut report.stdout, &mut report.stderr] {
            let mut bytes = Vec::new();
            capture.recorded.reader().expect("readable").read_to_end(&mut bytes).expect("readable");
            said.push_str(&String::from_utf8_lossy(&bytes));
        }
        let missing = report.enforcement.missing.iter().map(|layer| layer.word().to_owned()).collect();
        Run { said, end: format!("{:?}", report.end), missing, refused: None, report: Some(report), took }
    }

    /// The profile that the scripts are written for: the work tree may be written, `.env` in it is denied.
    fn prepare(&self, sandbox: &LinuxSandbox, planted: &Planted, case: &Case) -> Result<Prepared, Unavailable> {
        let mut profile = Profile { workdir: self.workdir, ..profile(&planted.work(), case) };
        if self.held == Held::Off || !sandbox.probe().held().contains(&Layer::Namespaces) {
            profile = Profile { write: vec![], deny: vec![], workdir: Workdir::Private, ..profile };
        }
        match self.held {
            Held::Off => (profile.require, profile.off_reason) = (vec![], Some("to see the suite bite".into())),
            Held::BestEffort => profile.require = vec![],
            _ => {}
        }
        sandbox.check(&profile)
    }

    fn unheld(&self, planted: &Planted, case: &Case) -> Run {
        let script = self.home.join("script");
        std::fs::write(&script, &case.script).expect("a script");
        let interpreter = if case.language == "python" { "/usr/bin/python3" } else { "/usr/bin/bash" };
        let alone = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tools/landlock_alone.py");
        // A shell between, for scripts that send signals to their parent.
        let mut command = Command::new("/usr/bin/bash");
        command.args(["-c", "trap : USR1; \"$@\"; exit $?", "bash"]);
        if self.held == Held::LandlockAlone {
            let tool = self.home.join("landlock_alone.py");
            if !tool.exists() {
                std::fs::copy(alone, &tool).expect("the tool");
            }
            command.arg("/usr/bin/python3").arg(tool).arg(planted.work()).arg(planted.tmp()).arg(&script).arg("--");
        }
        command.arg(interpreter).arg(&script).envs(planted.environment(&case.id, true));
        command.current_dir(planted.tmp()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.process_group(0);
        let begun = Instant::now();
        let mut child = command.spawn().expect("starts");
        let (status, said) = collect(&mut child, Duration::from_secs(limits(case).wall_ms / 1000));
        let end = match (status.code(), status.signal()) {
            (Some(code), _) => format!("Exited({code})"),
            (None, signal) => format!("Signalled({signal:?})"),
        };
        Run { said, end, missing: vec![], refused: None, report: None, took: begun.elapsed() }
    }
}

/// One script's run, however it was held.
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
    /// Of a script that is never run unheld.
    fn none() -> Self {
        Self { end: "not run".into(), ..Self::default() }
    }

    /// What the page of the suite asks of some scripts beyond what holds for all.
    fn breaches(&self, case: &Case, grown_kib: u64) -> Vec<String> {
        let mut found = Vec::new();
        let Some(report) = &self.report else { return found };
        match case.id.as_str() {
            "output-flood" => {
                let kept = report.stdout.recorded.len() + report.stderr.recorded.len();
                let cut =
                    report.stdout.truncated && report.stdout.bytes >= 50_000_000 && report.stderr.bytes == 10_000_000;
                if kept > 65_536 || !cut || grown_kib > 8192 || report.end != End::Exited(0) {
                    found.push(format!("kept {kept}, counted {cut}, grew by {grown_kib} KiB, {:?}", report.end));
                }
            }
            // Three seconds and one of grace; the rest is for a machine that is busy with other tests.
            "timeout-ignore-term" if report.end != End::TimedOut || self.took > Duration::from_secs(8 * slow()) => {
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

/// Limits of the suite's page.
fn limits(case: &Case) -> Limits {
    let wall_ms = slow() * if case.id == "timeout-ignore-term" { 3000 } else { 10_000 };
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

/// The program where any user can start it: as it stands, or a copy.
fn reachable(program: &Path, home: &Path, name: &str) -> PathBuf {
    let open = |path: &Path| path.metadata().is_ok_and(|found| found.permissions().mode() & 0o001 != 0);
    if program.ancestors().all(open) {
        return program.to_owned();
    }
    let copy = home.join(name);
    if std::fs::hard_link(program, &copy).is_err() {
        std::fs::copy(program, &copy).expect("a copy");
    }
    copy
}

/// Waits for the end of a process and of its output, at most so long; then its whole group is ended.
fn collect(child: &mut std::process::Child, most: Duration) -> (std::process::ExitStatus, String) {
    let (to, from) = mpsc::channel();
    let stdout = child.stdout.take().map(|pipe| Box::new(pipe) as Box<dyn std::io::Read + Send>);
    let stderr = child.stderr.take().map(|pipe| Box::new(pipe) as Box<dyn std::io::Read + Send>);
    for mut pipe in stdout.into_iter().chain(stderr) {
        let to = to.clone();
        std::thread::spawn(move || {
            let mut piece = [0; 65_536];
            // Kept up to a megabyte; read to the end.
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
    // What it left open may stay open; what was written is there.
    while let Ok(piece) = from.recv_timeout(Duration::from_millis(100)) {
        said.extend(piece);
    }
    (status, String::from_utf8_lossy(&said).into_owned())
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

pub fn random() -> [u8; 16] {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).expect("randomness");
    bytes
}
