//! The service's side: starts launchers, reads pipes, keeps deadlines.

use std::fs::File;
use std::io::{self, PipeReader, Read as _, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::OFlags;

use crate::record::enforcement::{
    Capabilities, Enforcement, FilesystemFacts, Held, Holder, LandlockFacts, LandlockStatus, Level, LimitFacts, Root,
};
use crate::record::profile::{Limits, NetworkMode, Proc, Profile, Workdir};
use crate::sandbox::cancel::CancelFlag;
use crate::sandbox::capture::{Chunk, Recorder, Stream};
use crate::sandbox::confine;
use crate::sandbox::filesystem;
use crate::sandbox::ids::Ids;
use crate::sandbox::interpreter;
use crate::sandbox::probe::{Probe, STRICT};
use crate::sandbox::profile::{self, Prepared, Surroundings, Unavailable};
use crate::sandbox::protocol::{
    self, Confined, Failure, Form, KILL, LAUNCH, MAX_TEXT, Message, Request, Spent, Stage, StepEnd, TERMINATE,
};
use crate::sandbox::{End, Plan, Report, Sandbox, Usage};

/// How long a step may tidy up after SIGTERM before all of its run is killed.
pub const GRACE: Duration = Duration::from_millis(750);
/// How long a killed run may take to be gone (a process stuck in the kernel can't be ended).
const DEATH: Duration = Duration::from_secs(30);
/// How long a launcher may take to read its request.
const REQUEST: Duration = Duration::from_secs(10);
/// The longest wall time that is reckoned with.
const LONGEST: Duration = Duration::from_secs(366 * 86_400);
/// Bytes of output read at one time.
const BUFFER: usize = 64 << 10;
/// What a pipe can hold at most, so that draining a dead run's pipes ends.
const PIPE: usize = 1 << 20;
/// Environment of one run: the kernel's limit for one string is 128 KiB.
const MAX_ENV: usize = 100 << 10;
/// What every run has; a plan can't replace it.
const OWN_ENV: [&str; 6] = ["PATH", "HOME", "TMPDIR", "LANG", "LC_ALL", "COUNTERSIGN_PARAMS"];

/// Where things are on this host.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The launcher's binary; nothing means this program's own.
    pub launcher: Option<PathBuf>,
    /// Where runs that have no root of their own get a private directory each. It and the directories above it
    /// must let others pass (0711) when the service is root. Belongs to one service alone: leftovers are removed.
    pub scratch: PathBuf,
    /// Where recorded output beyond 1 MiB is kept while a run goes on, in files without a name.
    pub spool: PathBuf,
    /// The boundary's own files and directories, which no run may see (rule R9).
    pub private: Vec<PathBuf>,
}

/// The sandbox of Linux, in the strongest form that this host holds.
#[derive(Debug)]
pub struct LinuxSandbox {
    /// Opened once: what starts is this binary, whatever replaces it on disk.
    launcher: File,
    spool: PathBuf,
    around: Surroundings,
    ids: Ids,
    probe: Probe,
}

impl LinuxSandbox {
    /// Prepares and probes: a whole run or two, some tens of milliseconds.
    ///
    /// # Errors
    /// When the launcher can't be opened or a directory does not exist.
    pub fn new(setup: &Setup) -> io::Result<Self> {
        let launcher = File::open(setup.launcher.as_deref().unwrap_or(Path::new("/proc/self/exe")))?;
        let scratch = setup.scratch.canonicalize()?;
        sweep(&scratch);
        let ids = Ids::of_this_process();
        let own_id = ids.available();
        let mut sandbox = Self {
            launcher,
            spool: setup.spool.canonicalize()?,
            around: Surroundings { private: setup.private.iter().map(|path| real(path)).collect(), scratch },
            ids,
            probe: Probe::conclude(None, None, own_id),
        };
        sandbox.probe = sandbox.try_everything(own_id);
        Ok(sandbox)
    }

    /// The whole set-up with a script that checks from inside; then, for what failed, what is left.
    fn try_everything(&self, own_id: bool) -> Probe {
        let namespaces = match self.trial(Form::Namespaces, true) {
            Ok(()) => return Probe::conclude(None, None, own_id),
            Err(failure) if failure.stage == Stage::Landlock => {
                let namespaces = self.trial(Form::Namespaces, false).err();
                return Probe::conclude(namespaces.as_ref(), Some(&failure), own_id);
            }
            Err(failure) => failure,
        };
        // On the host's root a failure other than Landlock's says that Landlock is of no use either.
        let landlock = self.trial(Form::Host, true).err();
        Probe::conclude(Some(&namespaces), landlock.as_ref(), own_id)
    }

    fn trial(&self, form: Form, landlock: bool) -> Result<(), Failure> {
        let profile = Profile {
            require: vec![],
            read: vec![],
            write: vec![],
            deny: vec![],
            workdir: Workdir::Private,
            network: crate::record::profile::Network { mode: NetworkMode::None, hosts: vec![] },
            sockets: vec![],
            proc: Proc::Minimal,
            run_as: "isolated".into(),
            limits: Limits { wall_ms: TRIAL_MS, ..Limits::default() },
            off_reason: None,
        };
        let prepared = Prepared { profile, form, landlock, level: Level::Strict, layers: STRICT.to_vec() };
        let plan = Plan {
            interpreter: "sh".into(),
            source: SELF_TEST.into(),
            env: vec![
                ("SERVICE".into(), std::process::id().to_string()),
                ("FORM".into(), if form == Form::Namespaces { "namespaces" } else { "host" }.into()),
            ],
            params_json: b"{}".to_vec(),
        };
        let Ok(cancel) = CancelFlag::new() else {
            return Err(Failure::new(Stage::Request, "no descriptor is left"));
        };
        let mut said = Vec::new();
        let mut run = Run::new(&self.spool, &prepared.profile.limits);
        self.attempt(&mut run, &prepared, &plan, &mut |chunk| said.extend_from_slice(chunk.bytes), &cancel);
        match (run.failure, run.step) {
            (Some(failure), _) => Err(failure),
            (None, Some(StepEnd::Exited(0))) => Ok(()),
            (None, end) => Err(Failure::new(
                Stage::Namespaces,
                format!("the self-test inside failed ({end:?}): {}", String::from_utf8_lossy(&said).trim()),
            )),
        }
    }
}

/// The longest that a self-test may take.
const TRIAL_MS: u64 = 20_000;
/// Run inside: what a step must not be able to do.
const SELF_TEST: &str = r#"
cd "$HOME" && ( : > probe ) || { echo "the work directory can't be written"; exit 1; }
if [ "$FORM" = namespaces ]; then
  kill -0 "$SERVICE" 2>/dev/null && [ "$SERVICE" -gt 9 ] && { echo "the service's process is in view"; exit 1; }
  ( : > /usr/countersign-probe ) 2>/dev/null && { echo "/usr can be written"; exit 1; }
  while read -r key value; do
    case $key in Cap*:) [ "$value" = 0000000000000000 ] || { echo "capabilities are left: $key $value"; exit 1; } ;; esac
  done < /proc/self/status
fi
exit 0
"#;

impl Sandbox for LinuxSandbox {
    fn probe(&self) -> &Probe {
        &self.probe
    }

    fn check(&self, profile: &Profile) -> Result<Prepared, Unavailable> {
        profile::check(profile, &self.probe, &self.around)
    }

    fn run(&self, prepared: Prepared, plan: Plan, live: &mut dyn FnMut(Chunk<'_>), cancel: &CancelFlag) -> Report {
        let mut run = Run::new(&self.spool, &prepared.profile.limits);
        match invalid(&plan) {
            Some(why) => run.failure = Some(Failure::new(Stage::Request, why)),
            None => self.attempt(&mut run, &prepared, &plan, live, cancel),
        }
        run.report(&prepared, self.probe.own_id)
    }
}

impl LinuxSandbox {
    /// Starts a launcher and follows it until nothing of the run is left.
    fn attempt(
        &self,
        run: &mut Run,
        prepared: &Prepared,
        plan: &Plan,
        live: &mut dyn FnMut(Chunk<'_>),
        cancel: &CancelFlag,
    ) {
        let run_dir = match (prepared.form == Form::Host).then(|| self.make_run_dir()).transpose() {
            Ok(run_dir) => run_dir,
            Err(error) => return run.not_started(format!("make a directory for the run: {error}")),
        };
        let own_id = self.ids.next();
        let request = Request {
            form: prepared.form,
            landlock: prepared.landlock,
            own_id,
            interpreter: plan.interpreter.clone(),
            env: plan.env.clone(),
            read: prepared.profile.read.clone(),
            whole_proc: prepared.profile.proc == Proc::Full,
            limits: prepared.profile.limits.clone(),
            run_dir: run_dir.as_ref().map(|path| path.display().to_string()),
            source_bytes: plan.source.len() as u64,
            params_bytes: plan.params_json.len() as u64,
        };
        match self.launch() {
            Ok(mut launched) => {
                let sent = protocol::write_request(&mut launched.control, &request, &plan.source, &plan.params_json);
                match sent {
                    Ok(()) => run.follow(&mut launched, live, cancel),
                    Err(error) => {
                        let _ = launched.child.kill();
                        run.not_started(format!("hand the request to the launcher: {error}"));
                    }
                }
                // Closed before the wait: a launcher that still listens ends everything at this.
                drop(launched.control);
                if run.stuck {
                    // It is waited for where nobody waits, so that it does not stay a zombie for ever.
                    std::thread::spawn(move || launched.child.wait());
                } else {
                    let _ = launched.child.wait();
                }
            }
            Err(error) => run.not_started(format!("start the launcher: {error}")),
        }
        if let Some(run_dir) = run_dir {
            if run.spent.is_none() && run.failure.is_none() {
                // The launcher was killed: what it watched is ended by the run's own id, where it had one.
                self.end_leftovers(own_id, request);
            }
            let _ = std::fs::remove_dir_all(run_dir);
        }
    }

    fn launch(&self) -> io::Result<Launched> {
        let (control, theirs) = UnixStream::pair()?;
        let (stdout, stdout_writer) = io::pipe()?;
        let (stderr, stderr_writer) = io::pipe()?;
        for reader in [&stdout, &stderr] {
            rustix::fs::fcntl_setfl(reader, OFlags::NONBLOCK)?;
        }
        control.set_write_timeout(Some(REQUEST))?;
        // Nothing here may turn posix_spawn into fork: no pre_exec, no uid, no process group.
        let child = Command::new(format!("/proc/self/fd/{}", self.launcher.as_raw_fd()))
            .arg0("countersign")
            .arg(LAUNCH)
            .env_clear()
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::from(stdout_writer))
            .stderr(Stdio::from(stderr_writer))
            .spawn()?;
        Ok(Launched { child, control, stdout, stderr })
    }

    fn make_run_dir(&self) -> io::Result<PathBuf> {
        let directory = tempfile::Builder::new().prefix(RUN_DIR).tempdir_in(&self.around.scratch)?;
        std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o711))?;
        Ok(directory.keep())
    }

    fn end_leftovers(&self, own_id: Option<u32>, run: Request) {
        if own_id.is_none() {
            return;
        }
        let request = Request { form: Form::Sweep, source_bytes: 0, params_bytes: 0, ..run };
        let swept = self.launch().and_then(|mut launched| {
            protocol::write_request(&mut launched.control, &request, b"", b"")?;
            launched.child.wait()
        });
        if let Err(error) = swept {
            tracing::error!(%error, "the processes of a run whose launcher was killed could not be ended");
        }
    }
}

const RUN_DIR: &str = "run-";

/// Removes what runs of an earlier service left.
fn sweep(scratch: &Path) {
    for entry in std::fs::read_dir(scratch).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(RUN_DIR) {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

/// The real path of `path`; where it does not exist yet, of the part that does.
fn real(path: &Path) -> PathBuf {
    let existing = path.ancestors().find_map(|ancestor| ancestor.canonicalize().ok().map(|real| (ancestor, real)));
    match existing {
        Some((ancestor, real)) => path.strip_prefix(ancestor).map_or_else(
            |_| path.to_owned(),
            |rest| {
                if rest.as_os_str().is_empty() { real.clone() } else { real.join(rest) }
            },
        ),
        None => path.to_owned(),
    }
}

fn invalid(plan: &Plan) -> Option<String> {
    if !interpreter::is_name(&plan.interpreter) {
        return Some(format!("{:?} is not the name of an interpreter", plan.interpreter));
    }
    for (name, text) in [("script", &plan.source), ("parameter object", &plan.params_json)] {
        if text.len() as u64 > MAX_TEXT {
            return Some(format!("the {name} is larger than 1 MiB"));
        }
    }
    let mut names = std::collections::BTreeSet::new();
    for (name, value) in &plan.env {
        let word = name.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_');
        if !word || name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
            return Some(format!("{name:?} is not the name of an environment variable"));
        }
        if OWN_ENV.contains(&name.as_str()) {
            return Some(format!("the environment variable {name} is the sandbox's own"));
        }
        if !names.insert(name) {
            return Some(format!("the environment variable {name} stands there twice"));
        }
        if value.contains('\0') {
            return Some(format!("the environment variable {name} holds a NUL"));
        }
    }
    let bytes: usize = plan.env.iter().map(|(name, value)| name.len() + value.len() + 2).sum();
    (bytes > MAX_ENV).then(|| "the environment is larger than 100 KiB".to_owned())
}

struct Launched {
    child: Child,
    control: UnixStream,
    stdout: PipeReader,
    stderr: PipeReader,
}

/// Why a run is being ended from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    TimedOut,
    Cancelled,
}

/// What was asked of a run that should end.
#[derive(Debug, Clone, Copy)]
enum Asked {
    Nothing,
    ToEnd(Instant),
    ToDie(Instant),
}

/// What is known of a run so far.
struct Run {
    begun: Instant,
    deadline: Instant,
    recorder: Recorder,
    confined: Option<Confined>,
    failure: Option<Failure>,
    step: Option<StepEnd>,
    spent: Option<Spent>,
    why: Option<Why>,
    lost: Option<String>,
    stuck: bool,
}

impl Run {
    fn new(spool: &Path, limits: &Limits) -> Self {
        let begun = Instant::now();
        let wall = Duration::from_millis(limits.wall_ms).min(LONGEST);
        Self {
            begun,
            deadline: begun + wall,
            recorder: Recorder::new(limits.output_bytes, spool),
            confined: None,
            failure: None,
            step: None,
            spent: None,
            why: None,
            lost: None,
            stuck: false,
        }
    }

    fn not_started(&mut self, why: String) {
        self.failure = Some(Failure::new(Stage::Request, why));
    }

    /// Reads everything that comes until the launcher says that nothing is left, or is gone itself.
    fn follow(&mut self, launched: &mut Launched, live: &mut dyn FnMut(Chunk<'_>), cancel: &CancelFlag) {
        let mut received = Vec::new();
        let mut asked = Asked::Nothing;
        let mut open = [true, true];
        let mut buffer = vec![0; BUFFER];
        if let Err(error) = launched.control.set_nonblocking(true) {
            self.lost = Some(format!("read from the launcher: {error}"));
            return;
        }
        loop {
            asked = self.keep_deadline(asked, &mut launched.control);
            let wake = match asked {
                Asked::Nothing => self.deadline,
                Asked::ToEnd(at) => at + GRACE,
                Asked::ToDie(at) if at.elapsed() > DEATH => {
                    self.stuck = true;
                    break;
                }
                Asked::ToDie(at) => at + DEATH,
            };
            let ready = wait(launched, open, matches!(asked, Asked::Nothing).then_some(cancel), wake);
            if ready.cancelled {
                self.ask(&mut asked, Why::Cancelled, &mut launched.control);
            }
            for (index, stream) in [Stream::Stdout, Stream::Stderr].into_iter().enumerate() {
                if ready.output[index] {
                    let reader = if index == 0 { &launched.stdout } else { &launched.stderr };
                    open[index] = self.read(stream, reader, &mut buffer, live) != Got::End;
                }
            }
            if ready.control && !self.hear(&mut launched.control, &mut received) {
                break;
            }
            if self.spent.is_some() {
                break;
            }
        }
        self.drain(launched, &mut buffer, live);
    }

    fn ask(&mut self, asked: &mut Asked, why: Why, control: &mut UnixStream) {
        self.why = Some(why);
        *asked = Asked::ToEnd(Instant::now());
        let _ = control.write_all(&[TERMINATE]);
    }

    fn keep_deadline(&mut self, mut asked: Asked, control: &mut UnixStream) -> Asked {
        match asked {
            // A step that has ended by itself is not timed out while its family is being ended.
            Asked::Nothing if Instant::now() >= self.deadline && self.step.is_none() => {
                self.ask(&mut asked, Why::TimedOut, control);
            }
            Asked::Nothing if Instant::now() >= self.deadline + GRACE => {
                asked = Asked::ToDie(Instant::now());
                let _ = control.write_all(&[KILL]);
            }
            Asked::ToEnd(at) if at.elapsed() >= GRACE => {
                asked = Asked::ToDie(Instant::now());
                let _ = control.write_all(&[KILL]);
            }
            _ => {}
        }
        asked
    }

    /// Whether there may be more to hear.
    fn hear(&mut self, control: &mut UnixStream, received: &mut Vec<u8>) -> bool {
        let mut buffer = [0; 4096];
        match control.read(&mut buffer) {
            Ok(0) => return false,
            Ok(read) => received.extend_from_slice(&buffer[..read]),
            Err(error) => return matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted),
        }
        loop {
            match protocol::take_message(received) {
                Ok(Some(Message::Started(facts))) => self.confined = Some(facts),
                Ok(Some(Message::Failed(failure))) => self.failure = Some(failure),
                Ok(Some(Message::Ended(end))) => self.step = Some(end),
                Ok(Some(Message::Empty(spent))) => self.spent = Some(spent),
                Ok(None) => return true,
                Err(error) => {
                    self.lost = Some(format!("the launcher said something unreadable: {error}"));
                    return false;
                }
            }
        }
    }

    fn read(&mut self, stream: Stream, reader: &PipeReader, buffer: &mut [u8], live: &mut dyn FnMut(Chunk<'_>)) -> Got {
        match rustix::io::read(reader, &mut *buffer) {
            Ok(0) => Got::End,
            Ok(read) => {
                if let Some(chunk) = self.recorder.take(stream, &buffer[..read]) {
                    live(chunk);
                }
                Got::Bytes(read)
            }
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Got::Nothing,
            Err(_) => Got::End,
        }
    }

    /// What the dead left in the pipes. Nobody writes any more, so this ends; if somebody does, it ends as well.
    fn drain(&mut self, launched: &Launched, buffer: &mut [u8], live: &mut dyn FnMut(Chunk<'_>)) {
        for (stream, reader) in [(Stream::Stdout, &launched.stdout), (Stream::Stderr, &launched.stderr)] {
            let mut room = PIPE;
            while room > 0 {
                match self.read(stream, reader, buffer, live) {
                    Got::Bytes(read) => room = room.saturating_sub(read),
                    Got::Nothing | Got::End => break,
                }
            }
        }
    }

    fn report(self, prepared: &Prepared, own_id: bool) -> Report {
        let end = self.end();
        let spent = self.spent.unwrap_or_default();
        let left = if self.stuck { 1 } else { spent.left };
        let enforcement = match (&end, &self.confined) {
            (End::NotStarted(_), _) | (_, None) => nothing_enforced(),
            (_, Some(facts)) => enforced(prepared, facts, own_id, left),
        };
        let duration_ms = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        let (stdout, stderr, order) = self.recorder.finish();
        let usage = Usage { cpu_ms: spent.cpu_us.div_ceil(1000), memory_peak_bytes: spent.resident_peak };
        Report { end, stdout, stderr, order, usage, enforcement, duration_ms }
    }

    fn end(&self) -> End {
        if let Some(failure) = &self.failure {
            return End::NotStarted(failure.to_string());
        }
        if let Some(lost) = &self.lost {
            return End::Lost(lost.clone());
        }
        match (self.why, self.step, self.spent) {
            (Some(Why::TimedOut), ..) => End::TimedOut,
            (Some(Why::Cancelled), ..) => End::Cancelled,
            (None, Some(StepEnd::Exited(code)), _) => End::Exited(u8::try_from(code).unwrap_or(u8::MAX)),
            (None, Some(StepEnd::Signalled(libc::SIGXCPU)), _) => End::Killed("cpu_milli"),
            (None, Some(StepEnd::Signalled(libc::SIGXFSZ)), _) => End::Killed("file_bytes"),
            (None, Some(StepEnd::Signalled(signal)), _) => End::Signalled(u8::try_from(signal).unwrap_or(u8::MAX)),
            (None, None, Some(Spent { init_signal: Some(signal), .. })) => {
                End::Signalled(u8::try_from(signal).unwrap_or(u8::MAX))
            }
            (None, None, _) => End::Lost("the launcher ended without a word".into()),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Got {
    Bytes(usize),
    Nothing,
    End,
}

struct Ready {
    output: [bool; 2],
    control: bool,
    cancelled: bool,
}

/// Waits until something can be read or the time has come.
fn wait(launched: &Launched, open: [bool; 2], cancel: Option<&CancelFlag>, wake: Instant) -> Ready {
    let mut fds = vec![PollFd::new(&launched.control, PollFlags::IN)];
    if let Some(cancel) = cancel {
        fds.push(PollFd::from_borrowed_fd(cancel.as_fd(), PollFlags::IN));
    }
    let first_output = fds.len();
    for (reader, _) in [(&launched.stdout, open[0]), (&launched.stderr, open[1])].iter().filter(|(_, open)| *open) {
        fds.push(PollFd::new(*reader, PollFlags::IN));
    }
    // Rounded up, or the last millisecond would be spent turning in circles.
    let left = wake.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
    let timeout =
        Timespec { tv_sec: left.as_secs().try_into().unwrap_or(i64::MAX), tv_nsec: left.subsec_nanos().into() };
    let _ = rustix::event::poll(&mut fds, Some(&timeout));
    let ready = |index: usize| fds.get(index).is_some_and(|fd| !fd.revents().is_empty());
    Ready {
        control: ready(0),
        cancelled: cancel.is_some() && ready(1),
        output: [open[0] && ready(first_output), open[1] && ready(first_output + usize::from(open[0]))],
    }
}

fn nothing_enforced() -> Enforcement {
    Enforcement {
        level: Level::Off,
        layers: vec![],
        missing: STRICT.to_vec(),
        ns: None,
        landlock: None,
        seccomp: None,
        caps: None,
        fs: None,
        net: None,
        limits: None,
        kill: None,
        left: None,
    }
}

/// What was enforced, by what the launcher and the step's own process established.
fn enforced(prepared: &Prepared, facts: &Confined, own_id: bool, left: u64) -> Enforcement {
    let own_root = prepared.form == Form::Namespaces;
    let limits = &prepared.profile.limits;
    let held = |max: u64, by: Holder| Some(Held { max, by });
    let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
    Enforcement {
        level: prepared.level,
        layers: prepared.layers.clone(),
        missing: prepared.missing(),
        ns: own_root.then(|| names(&["cgroup", "ipc", "mnt", "net", "pid", "user", "uts"])),
        landlock: facts.landlock.map(|(abi, rules)| LandlockFacts { abi, status: LandlockStatus::Fully, rules }),
        seccomp: None,
        caps: facts.bounded.then_some(Capabilities::None),
        fs: Some(FilesystemFacts {
            mode: Workdir::Private,
            root: if own_root { Root::Own } else { Root::Host },
            masked: None,
            deny: None,
        }),
        net: Some(if own_root { NetworkMode::None } else { NetworkMode::Host }),
        limits: Some(LimitFacts {
            cpu: held(confine::cpu_seconds(limits), Holder::Rlimit),
            disk: if own_root { held(limits.disk_bytes, Holder::Tmpfs) } else { None },
            file: held(limits.file_bytes, Holder::Rlimit),
            memory: held(limits.memory_bytes, Holder::Rlimit),
            output: held(limits.output_bytes, Holder::Service),
            processes: if own_root || own_id { held(limits.processes, Holder::Rlimit) } else { None },
            wall: held(limits.wall_ms, Holder::Service),
        }),
        kill: Some(names(if own_root { &["pidns"] } else { &["subreaper"] })),
        left: (left > 0).then_some(left),
    }
}

/// The programs' search path inside of a run.
#[must_use]
pub fn search_path() -> &'static str {
    interpreter::PATH
}

/// The id that a step has inside of its own user namespace.
#[must_use]
pub fn inner_id() -> u32 {
    filesystem::INNER_ID
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> Plan {
        Plan { interpreter: "sh".into(), source: b"exit 0".to_vec(), env: vec![], params_json: b"{}".to_vec() }
    }

    #[test]
    fn malformed_plans_are_refused_before_anything_starts() {
        let env = |name: &str, value: &str| Plan { env: vec![(name.into(), value.into())], ..plan() };
        assert_eq!(invalid(&env("PARAM_A", "any\nthing=")), None);
        for (bad, word) in [
            (env("", "x"), "not the name"),
            (env("A=B", "x"), "not the name"),
            (env("1A", "x"), "not the name"),
            (env("PATH", "/tmp"), "sandbox's own"),
            (env("A", "x\0y"), "NUL"),
            (env("A", &"x".repeat(MAX_ENV)), "100 KiB"),
            (Plan { env: vec![("A".into(), "1".into()), ("A".into(), "2".into())], ..plan() }, "twice"),
            (Plan { interpreter: "bash -c x".into(), ..plan() }, "interpreter"),
            (Plan { source: vec![0; (1 << 20) + 1], ..plan() }, "1 MiB"),
        ] {
            assert!(invalid(&bad).is_some_and(|why| why.contains(word)), "{word}");
        }
    }

    #[test]
    fn a_private_path_that_does_not_exist_yet_is_still_private() {
        let home = tempfile::tempdir().expect("a directory");
        let base = home.path().canonicalize().expect("real");
        std::os::unix::fs::symlink(&base, base.join("link")).expect("a link");
        assert_eq!(real(&base.join("link/key/new.pem")), base.join("key/new.pem"));
        assert_eq!(real(&base), base);
    }
}
