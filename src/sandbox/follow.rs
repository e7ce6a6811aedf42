//! Follows one run: reads pipes, keeps the deadline.

use std::io::{self, PipeReader, Write as _};
use std::net::{Shutdown, TcpListener};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::Signal;

use crate::record::profile::Limits;
use crate::sandbox::cancel::CancelFlag;
use crate::sandbox::capture::{Chunk, Recorder, Stream};
use crate::sandbox::cgroup::{Controllers, Seen};
use crate::sandbox::confine;
use crate::sandbox::facts;
use crate::sandbox::helper::{PATIENCE, Running};
use crate::sandbox::network::Contacts;
use crate::sandbox::profile::Prepared;
use crate::sandbox::protocol::{self, Confined, Failure, Form, KILL, Message, Spent, Stage, StepEnd, TERMINATE};
use crate::sandbox::{End, Report, Usage};

/// How long a step may tidy up after SIGTERM before all of its run is killed.
pub const GRACE: Duration = Duration::from_millis(750);
/// How long a killed run may take to be gone (a process stuck in the kernel can't be ended).
pub(super) const DEATH: Duration = Duration::from_secs(30);
/// The longest wall time that is reckoned with.
const LONGEST: Duration = Duration::from_secs(366 * 86_400);
/// How many thousandths of a limit of CPU time must have been spent where the kernel says that it was reached. It limits by
/// ticks, each for whoever is found at work, and tells by the time of work: beside others that differs by an eighth and more.
const CPU_COUNTED: u64 = 750;
/// Bytes of output read at one time.
const BUFFER: usize = 64 << 10;
/// What a pipe can hold at most, so that draining a dead run's pipes ends.
const PIPE: usize = 1 << 20;

/// A run at work.
pub(super) struct Launched {
    /// Who was asked for it.
    pub(super) helper: Arc<Running>,
    pub(super) control: UnixStream,
    pub(super) stdout: PipeReader,
    pub(super) stderr: PipeReader,
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

/// Takes the listener to which every connection of a run comes.
pub(super) type Egress = Box<dyn FnOnce(TcpListener) + Send>;

/// What is known of a run so far.
pub(super) struct Run {
    begun: Instant,
    deadline: Instant,
    /// CPU seconds of each process, where no control group holds CPU.
    cpu_seconds: u64,
    recorder: Recorder,
    confined: Option<Confined>,
    /// Why nothing was executed.
    pub(super) failure: Option<Failure>,
    /// How the step ended.
    pub(super) step: Option<StepEnd>,
    /// Stands when the tree is dead.
    pub(super) spent: Option<Spent>,
    why: Option<Why>,
    lost: Option<String>,
    /// What came last with a message.
    descriptor: Option<OwnedFd>,
    /// The first process of the run.
    process: Option<OwnedFd>,
    /// Since when that one is known to be dead, which is when the helper has to say so.
    dead: Option<Instant>,
    /// What that one's end ends.
    pub(super) form: Form,
    /// What the run's control group saw, where it had one.
    pub(super) seen: Option<(Controllers, Seen)>,
    disk_full: bool,
    /// Serves the port on the run's own loopback where the network is an allow list. Called once, must not block.
    pub(super) egress: Option<Egress>,
    /// What that let it reach.
    pub(super) contacts: Option<Contacts>,
    /// Whether the tree could not be ended in time.
    pub(super) stuck: bool,
    /// Whether the helper owes a word on this run.
    pub(super) silent: bool,
}

impl Run {
    pub(super) fn new(spool: &Path, limits: &Limits) -> Self {
        let begun = Instant::now();
        let wall = Duration::from_millis(limits.wall_ms).min(LONGEST);
        Self {
            begun,
            deadline: begun + wall,
            cpu_seconds: confine::cpu_seconds(limits),
            recorder: Recorder::new(limits.output_bytes, spool),
            confined: None,
            failure: None,
            step: None,
            spent: None,
            why: None,
            lost: None,
            descriptor: None,
            process: None,
            dead: None,
            form: Form::Namespaces,
            seen: None,
            disk_full: false,
            egress: None,
            contacts: None,
            stuck: false,
            silent: false,
        }
    }

    /// Reads everything that comes until the helper says that nothing is left, or is gone itself.
    pub(super) fn follow(&mut self, launched: &mut Launched, live: &mut dyn FnMut(Chunk<'_>), cancel: &CancelFlag) {
        let mut received = Vec::new();
        let mut asked = Asked::Nothing;
        let mut open = [true, true];
        let asked_at = Instant::now();
        let mut buffer = vec![0; BUFFER];
        if let Err(error) = launched.control.set_nonblocking(true) {
            self.lost = Some(format!("read from the run's first process: {error}"));
            return;
        }
        loop {
            asked = self.keep_deadline(asked, &mut launched.control);
            let mut wake = match asked {
                Asked::Nothing if self.step.is_some() => self.deadline + GRACE,
                Asked::Nothing => self.deadline,
                Asked::ToEnd(at) => at + GRACE,
                Asked::ToDie(at) if at.elapsed() > DEATH => {
                    self.stuck = self.dead.is_none();
                    break;
                }
                Asked::ToDie(at) => at + DEATH,
            };
            let owed = match &self.process {
                // It takes one after the other: whoever waits has been forgotten only when no other was begun either.
                None => Some(launched.helper.heard().max(asked_at)),
                Some(_) => self.dead,
            };
            if let Some(since) = owed {
                if since.elapsed() > PATIENCE {
                    self.give_up(launched, &mut received);
                    break;
                }
                wake = wake.min(since + PATIENCE);
            }
            let process = self.process.as_ref().filter(|_| self.dead.is_none());
            let ready = wait(launched, open, matches!(asked, Asked::Nothing).then_some(cancel), process, wake);
            if ready.dead {
                self.dead = Some(Instant::now());
            }
            if ready.cancelled {
                self.ask(&mut asked, Why::Cancelled, &mut launched.control);
            }
            for (index, stream) in [Stream::Stdout, Stream::Stderr].into_iter().enumerate() {
                if ready.output[index] {
                    let reader = if index == 0 { &launched.stdout } else { &launched.stderr };
                    open[index] = self.read(stream, reader, &mut buffer, live) != Got::End;
                }
            }
            if ready.control && !self.hear(launched, &mut received) {
                break;
            }
            if self.spent.is_some() {
                break;
            }
        }
        self.drain(launched, &mut buffer, live);
    }

    /// Waits no longer for a helper that is stopped or stuck. What it has not begun it can't begin after this.
    fn give_up(&mut self, launched: &mut Launched, received: &mut Vec<u8>) {
        self.silent = true;
        // It says that it begins a run before it does, and from now on it can't say so.
        if launched.control.shutdown(Shutdown::Both).is_ok() {
            // What it has said before, and then the end.
            while self.hear(launched, received) {}
        }
        if self.process.is_none() && self.failure.is_none() {
            let seconds = PATIENCE.as_secs();
            let why = format!("have the helper begin it: nothing was heard of it for {seconds} s, it is replaced");
            self.failure = Some(Failure::new(Stage::Helper, why));
        }
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
                self.kill(control);
            }
            Asked::ToEnd(at) if at.elapsed() >= GRACE => {
                asked = Asked::ToDie(Instant::now());
                self.kill(control);
            }
            _ => {}
        }
        asked
    }

    /// Whether there may be more to hear.
    fn hear(&mut self, launched: &mut Launched, received: &mut Vec<u8>) -> bool {
        let mut buffer = [0; 4096];
        match protocol::receive(&launched.control, &mut buffer) {
            Ok((0, _)) => return false,
            Ok((read, descriptor)) => {
                received.extend_from_slice(&buffer[..read]);
                self.descriptor = descriptor.or(self.descriptor.take());
            }
            Err(error) => return matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted),
        }
        loop {
            match protocol::take_message(received) {
                Ok(Some(Message::Cloned)) => {
                    launched.helper.hear();
                    (self.process, self.dead) = (self.descriptor.take(), None);
                }
                Ok(Some(Message::Listening)) => {
                    // Without anybody to serve it the port is closed, and nothing gets out.
                    if let (Some(listener), Some(egress)) = (self.descriptor.take(), self.egress.take()) {
                        egress(listener.into());
                    }
                }
                Ok(Some(Message::Started(facts))) => self.confined = Some(facts),
                Ok(Some(Message::Failed(failure))) => self.failure = Some(failure),
                Ok(Some(Message::Ended(end, full))) => (self.step, self.disk_full) = (Some(end), full),
                Ok(Some(Message::Empty(spent))) => self.spent = Some(spent),
                Ok(None) => return true,
                Err(error) => {
                    self.lost = Some(format!("the run's first process said something unreadable: {error}"));
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

    /// Kills the run from outside: its first process, and with it all that it is the first of. On the host's root that one is
    /// told to do it: nobody else can, and its own end would free the others.
    fn kill(&self, control: &mut UnixStream) {
        let _ = control.write_all(&[KILL]);
        if self.form == Form::Namespaces
            && let Some(process) = &self.process
        {
            let _ = rustix::process::pidfd_send_signal(process, Signal::KILL);
        }
    }

    /// Whether the step may have been executed.
    pub(super) fn may_have_begun(&self) -> bool {
        self.failure.is_none() || self.confined.is_some()
    }

    /// Ends a run whose helper was not heard of again, or has nothing more to say: what was its first process is dead when
    /// this returns, or the run is said to be stuck.
    pub(super) fn end_by_force(&mut self) {
        let Some(process) = &self.process else { return };
        let kill = || {
            let _ = rustix::process::pidfd_send_signal(process, Signal::KILL);
        };
        if self.form == Form::Namespaces {
            kill();
        }
        let most = if self.stuck { Duration::ZERO } else { DEATH };
        // Dead: the kernel lets the first of a pid namespace die last, and on the host's root it ends the others first, since
        // nobody listens to it any more.
        if !is_dead_within(process, most) {
            self.stuck = true;
            kill();
        }
    }

    pub(super) fn report(self, prepared: &Prepared, own_id: bool) -> Report {
        let end = self.end();
        let spent = self.spent.unwrap_or_default();
        let left = if self.stuck { 1 } else { spent.left };
        let enforcement = match (&end, &self.confined) {
            (End::NotStarted(_), _) | (_, None) => facts::nothing_enforced(),
            (_, Some(confined)) => {
                let group = self.seen.map(|(held, _)| held);
                facts::enforced(prepared, confined, group, self.contacts.as_ref(), own_id, left)
            }
        };
        let duration_ms = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        let (stdout, stderr, order) = self.recorder.finish();
        let seen = self.seen.map(|(_, seen)| seen).unwrap_or_default();
        let usage = Usage {
            cpu_ms: seen.cpu_us.unwrap_or(spent.cpu_us).div_ceil(1000),
            memory_peak_bytes: seen.memory_peak.unwrap_or(spent.resident_peak),
        };
        Report { end, stdout, stderr, order, usage, enforcement, duration_ms }
    }

    fn end(&self) -> End {
        match &self.failure {
            Some(failure) if self.confined.is_some() => return End::Lost(failure.to_string()),
            Some(failure) => return End::NotStarted(failure.to_string()),
            None => {}
        }
        if let Some(lost) = &self.lost {
            return End::Lost(lost.clone());
        }
        // It was ended while it was set up, by us, by the kernel or by somebody on the host: the step may have run for a
        // moment, or not at all, and held by what is not known.
        if self.confined.is_none() {
            return End::Lost("it was ended before it could say that it had begun".to_owned());
        }
        let seen = self.seen.map(|(_, seen)| seen).unwrap_or_default();
        let failed = self.step.is_none_or(|step| step != StepEnd::Exited(0));
        match (self.why, self.step, self.spent) {
            (None, ..) if failed && seen.memory_kills > 0 => End::Killed("memory_bytes"),
            (Some(Why::TimedOut), ..) => End::TimedOut,
            (Some(Why::Cancelled), ..) => End::Cancelled,
            // It went on after it was refused, and failed: of that or of something else, nobody can say. What stood in its way
            // is the better word.
            (None, Some(StepEnd::Exited(_)), _) if failed && seen.refused_processes > 0 => End::Killed("processes"),
            // A shell whose child ran out of it says so with its own exit code.
            (None, Some(StepEnd::Exited(XCPU_IN_A_SHELL)), _) if self.ran_out_of_cpu(libc::SIGXCPU) => {
                End::Killed("cpu_milli")
            }
            (None, Some(StepEnd::Exited(_)), _) if failed && self.disk_full => End::Killed("disk_bytes"),
            (None, Some(StepEnd::Exited(code)), _) => End::Exited(u8::try_from(code).unwrap_or(u8::MAX)),
            (None, Some(StepEnd::Signalled(signal)), _) if self.ran_out_of_cpu(signal) => End::Killed("cpu_milli"),
            // Whoever sends that to itself is told of a limit that it did not reach: nothing counted could tell.
            (None, Some(StepEnd::Signalled(libc::SIGXFSZ)), _) => End::Killed("file_bytes"),
            (None, Some(StepEnd::Signalled(signal)), _) => End::Signalled(u8::try_from(signal).unwrap_or(u8::MAX)),
            (None, None, Some(Spent { init_signal: Some(signal), .. })) => {
                End::Signalled(u8::try_from(signal).unwrap_or(u8::MAX))
            }
            (None, None, _) => End::Lost("the run's first process ended without a word".into()),
        }
    }
}

/// What shells exit with when that signal ended their last command.
const XCPU_IN_A_SHELL: i32 = 128 + libc::SIGXCPU;

impl Run {
    /// Whether that signal is the kernel's word that a process had no CPU time left. Anybody can send it: so the time that the
    /// run spent has to be that much.
    fn ran_out_of_cpu(&self, signal: i32) -> bool {
        let seconds = match signal {
            libc::SIGXCPU => self.cpu_seconds,
            // A step that goes on after the first signal is killed a second later.
            libc::SIGKILL => self.cpu_seconds.saturating_add(1),
            _ => return false,
        };
        let (held, seen) = self.seen.unwrap_or_default();
        let spent = self.spent.unwrap_or_default().cpu_us.max(seen.cpu_us.unwrap_or(0));
        // A control group slows down, and sends nothing.
        !held.cpu && spent >= seconds.saturating_mul(1000 * CPU_COUNTED)
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
    dead: bool,
}

/// Whether a process dies in that time. Nothing but its end counts as that, whatever interrupts the waiting.
fn is_dead_within(process: &OwnedFd, most: Duration) -> bool {
    let until = Instant::now() + most;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let seconds = left.as_secs().try_into().unwrap_or(i64::MAX);
        let timeout = Timespec { tv_sec: seconds, tv_nsec: left.subsec_nanos().into() };
        match rustix::event::poll(&mut [PollFd::new(process, PollFlags::IN)], Some(&timeout)) {
            Ok(ready) => return ready > 0,
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return false,
        }
    }
}

/// Waits until something can be read, the process is dead, or the time has come.
fn wait(
    launched: &Launched,
    open: [bool; 2],
    cancel: Option<&CancelFlag>,
    process: Option<&OwnedFd>,
    wake: Instant,
) -> Ready {
    let mut fds = vec![PollFd::new(&launched.control, PollFlags::IN)];
    let mut add = |fd| {
        fds.push(PollFd::from_borrowed_fd(fd, PollFlags::IN));
        fds.len() - 1
    };
    let cancel = cancel.map(|cancel| add(cancel.as_fd()));
    let process = process.map(|process| add(process.as_fd()));
    let stdout = open[0].then(|| add(launched.stdout.as_fd()));
    let stderr = open[1].then(|| add(launched.stderr.as_fd()));
    // Rounded up, or the last millisecond would be spent turning in circles.
    let left = wake.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
    let timeout =
        Timespec { tv_sec: left.as_secs().try_into().unwrap_or(i64::MAX), tv_nsec: left.subsec_nanos().into() };
    let _ = rustix::event::poll(&mut fds, Some(&timeout));
    let ready = |at: Option<usize>| at.is_some_and(|at| !fds[at].revents().is_empty());
    Ready {
        control: ready(Some(0)),
        cancelled: ready(cancel),
        dead: ready(process),
        output: [ready(stdout), ready(stderr)],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::protocol::Stage;

    #[test]
    fn a_run_that_ends_during_setup_has_neither_a_start_nor_an_end_time() {
        // By the service, and by who knows whom: somebody on the host, or the kernel for want of memory.
        for (why, memory_kills) in [(Some(Why::Cancelled), 0), (Some(Why::TimedOut), 0), (None, 0), (None, 1)] {
            let mut run = Run::new(Path::new("/nonexistent"), &Limits::default());
            run.why = why;
            run.seen = Some((Controllers::default(), Seen { memory_kills, ..Seen::default() }));
            run.spent = Some(Spent { init_signal: Some(libc::SIGKILL), ..Spent::default() });
            // Its receipt holds no layer: an outcome that says it ran would be one without its sandbox.
            assert!(matches!(run.end(), End::Lost(_)), "{why:?}");
            run.failure = Some(Failure::new(Stage::Request, "nothing was executed"));
            assert!(matches!(run.end(), End::NotStarted(_)), "{why:?}");
        }
    }

    #[test]
    fn a_process_counts_as_dead_only_after_its_end() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().expect("sleep");
        let pid = rustix::process::Pid::from_child(&child);
        let process = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).expect("a pidfd");
        assert!(!is_dead_within(&process, Duration::from_millis(20)));
        child.kill().expect("killed");
        assert!(is_dead_within(&process, Duration::from_secs(30)));
        child.wait().expect("reaped");
        assert!(is_dead_within(&process, Duration::ZERO), "also when it is reaped");
    }

    #[test]
    fn a_failure_after_exec_is_no_failed_start() {
        let mut run = Run::new(Path::new("/nonexistent"), &Limits::default());
        run.failure = Some(Failure::new(Stage::Processes, "watch the step"));
        assert!(matches!(run.end(), End::NotStarted(_)) && !run.may_have_begun());
        run.confined = Some(Confined { landlock: None, seccomp: None, bounded: true, masked: None, counted: true });
        assert!(matches!(run.end(), End::Lost(_)) && run.may_have_begun());
    }

    #[test]
    fn a_signal_counts_as_a_cpu_limit_only_if_the_cpu_time_was_spent() {
        let end = |signal, cpu_us, cpu| {
            let limits = Limits { wall_ms: 2000, cpu_milli: 1000, ..Limits::default() };
            let mut run = Run::new(Path::new("/nonexistent"), &limits);
            run.confined = Some(Confined { landlock: None, seccomp: None, bounded: true, masked: None, counted: true });
            run.step = Some(StepEnd::Signalled(signal));
            run.spent = Some(Spent { cpu_us, ..Spent::default() });
            run.seen = Some((Controllers { cpu, ..Controllers::default() }, Seen::default()));
            run.end()
        };
        assert_eq!(end(libc::SIGXCPU, 4_000, false), End::Signalled(24));
        assert_eq!(end(libc::SIGXCPU, 1_990_000, false), End::Killed("cpu_milli"));
        assert_eq!(end(libc::SIGXCPU, 1_760_000, false), End::Killed("cpu_milli"), "seen beside other work");
        assert_eq!(end(libc::SIGXCPU, 1_990_000, true), End::Signalled(24));
        // One that did not heed the first.
        assert_eq!(end(libc::SIGKILL, 2_000_000, false), End::Signalled(9));
        assert_eq!(end(libc::SIGKILL, 3_000_000, false), End::Killed("cpu_milli"));
        assert_eq!(end(libc::SIGTERM, 3_000_000, false), End::Signalled(15));
    }

    #[test]
    fn a_shell_exit_code_counts_as_a_cpu_limit_only_if_the_cpu_time_was_spent() {
        let end = |code, cpu_us, cpu| {
            let limits = Limits { wall_ms: 2000, cpu_milli: 1000, ..Limits::default() };
            let mut run = Run::new(Path::new("/nonexistent"), &limits);
            run.confined = Some(Confined { counted: true, ..Confined::default() });
            run.step = Some(StepEnd::Exited(code));
            run.spent = Some(Spent { cpu_us, ..Spent::default() });
            run.seen = Some((Controllers { cpu, ..Controllers::default() }, Seen::default()));
            run.end()
        };
        assert_eq!(end(152, 1_990_000, false), End::Killed("cpu_milli"));
        assert_eq!(end(152, 4_000, false), End::Exited(152));
        assert_eq!(end(152, 1_990_000, true), End::Exited(152));
        assert_eq!(end(153, 1_990_000, false), End::Exited(153));
    }
}
