//! Follows one run: reads its pipes and enforces its deadline.
mod run_end;

use std::{
    io::{self, PipeReader, Write as _},
    net::{Shutdown, TcpListener},
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::net::UnixStream,
    },
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec},
    process::Signal,
};

use crate::{
    CancelFlag, Chunk, Confined, Controllers, HelperMessage, KILL, NetworkContacts, OutputStream,
    PATIENCE, ProgramRecorder, RunForm, RunResults, SetupFailure, SetupStage, SizeLimit,
    SpentResources, StepEnd, TERMINATE,
    isolation::{cgroup::GroupEvents, confine, helper::Running},
    protocol,
    relay::{Relay, Resolve},
    runs::capture::Recorder,
};
use documents::{AllowedHost, Limits};

/// Time that a step has after SIGTERM to clean up, before the whole run is killed.
pub const GRACE: Duration = Duration::from_millis(750);
/// Maximum time that a killed run may take to end. The kernel can't kill a process that is stuck in a system call.
pub const DEATH: Duration = Duration::from_secs(30);
/// Maximum wall time, so that the computation of the deadline can't overflow.
const LONGEST: Duration = Duration::from_secs(366 * 86_400);
/// Part of the CPU limit (in thousandths) that a run must have used, so that a signal means an exceeded limit. The
/// kernel enforces `RLIMIT_CPU` by sampled ticks but reports measured time. On a shared CPU, the two differ by 12 % or
/// more.
const CPU_COUNTED: u64 = 750;
/// Maximum size of one read of output, in bytes.
const BUFFER: usize = 64 << 10;
/// Maximum size of a pipe, in bytes. After the end of a run, at most this much is read from each pipe, so that the loop
/// ends.
const PIPE: usize = 1 << 20;

/// A run that the helper was asked to start.
pub struct LaunchedRun {
    pub helper: Arc<Running>,
    pub control: UnixStream,
    pub stdout: PipeReader,
    pub stderr: PipeReader,
}

impl LaunchedRun {
    fn outputs(&self) -> [(OutputStream, &PipeReader); 2] {
        [
            (OutputStream::Stdout, &self.stdout),
            (OutputStream::Stderr, &self.stderr),
        ]
    }
}

/// The reason why the service ends a run.
#[derive(Debug, Clone, Copy)]
enum Why {
    TimedOut,
    Cancelled,
}

/// The service's latest request to end the run.
enum Asked {
    Nothing,
    ToEnd(Instant),
    ToDie(Instant),
}

pub struct FollowedRun {
    begun: Instant,
    deadline: Instant,
    /// CPU limit of each process in seconds, used if no control group limits CPU time.
    cpu_seconds: u64,
    pub recorder: Recorder,
    confined: Option<Confined>,
    /// The failure that prevented the start of the run.
    pub failure: Option<SetupFailure>,
    pub step: Option<StepEnd>,
    /// Resources that the run used, set when all its processes are dead.
    pub spent: Option<SpentResources>,
    why: Option<Why>,
    lost: Option<String>,
    /// Descriptor of the helper's latest message.
    descriptor: Option<OwnedFd>,
    /// The first process of the run.
    process: Option<OwnedFd>,
    /// Time at which the first process was seen dead. The helper must report this within a time limit.
    dead: Option<Instant>,
    /// With `RunForm::Namespaces`, killing the first process kills the whole run.
    pub form: RunForm,
    /// Counters of the run's control group, if it had one.
    pub seen: Option<(Controllers, GroupEvents)>,
    /// The size limit that the run had reached when the step ended, if any.
    reached: Option<SizeLimit>,
    /// Hosts of the list if the network mode is an allow list, until the relay serves them.
    pub hosts: Option<(Vec<AllowedHost>, Resolve)>,
    /// Listeners that have arrived so far, for the first hosts of the list.
    listeners: Vec<TcpListener>,
    pub relay: Option<Relay>,
    /// The hosts to which the run connected, and the hosts to which it could not connect.
    pub contacts: Option<NetworkContacts>,
    /// Records the programs of the run, if the run has a record.
    pub programs: Option<ProgramRecorder>,
    /// Directory with the results of the run.
    pub results: Option<OwnedFd>,
    /// Private work directory of a run with a session, and the numbers of the step's new files in it.
    pub work: Option<(OwnedFd, Vec<u32>)>,
    /// What the run left, set when the run has ended.
    pub left: Option<RunResults>,
    /// True if the processes of the run did not end within the time limit.
    pub stuck: bool,
    /// True if the helper sent no message within the time limit.
    pub silent: bool,
}

impl FollowedRun {
    /// Returns true if the run or its helper did not answer in time.
    pub fn is_late(&self) -> bool {
        self.silent || matches!(self.why, Some(Why::TimedOut))
    }

    pub fn new(spool: &Path, limits: &Limits) -> Self {
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
            form: RunForm::Namespaces,
            seen: None,
            reached: None,
            hosts: None,
            listeners: Vec::new(),
            relay: None,
            contacts: None,
            programs: None,
            results: None,
            work: None,
            left: None,
            stuck: false,
            silent: false,
        }
    }

    /// Reads all output and messages until the helper reports that the run has no processes, or until the helper has
    /// exited.
    pub fn follow(
        &mut self,
        launched: &mut LaunchedRun,
        live: &mut dyn FnMut(Chunk<'_>),
        cancel: &CancelFlag,
    ) {
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
                // The helper starts only one run at a time, so a queued run counts as lost only if the helper has
                // started no other run since the request.
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
            let ready = wait(
                launched,
                open,
                matches!(asked, Asked::Nothing).then_some(cancel),
                process,
                wake,
            );
            if ready.dead {
                self.dead = Some(Instant::now());
            }
            if ready.cancelled {
                self.ask(&mut asked, Why::Cancelled, &mut launched.control);
            }
            for (index, (stream, reader)) in launched.outputs().into_iter().enumerate() {
                if ready.output[index] {
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

    /// Stops waiting for a helper that is stopped or stuck. After this, the helper can't start the queued run.
    fn give_up(&mut self, launched: &mut LaunchedRun, received: &mut Vec<u8>) {
        self.silent = true;
        // The helper reports each run before starting it. On a closed socket this report fails, so the run is not
        // started.
        if launched.control.shutdown(Shutdown::Both).is_ok() {
            // Read the messages from before the shutdown.
            while self.hear(launched, received) {}
        }
        if self.process.is_none() && self.failure.is_none() {
            let seconds = PATIENCE.as_secs();
            let why = format!(
                "the helper sent no message for {seconds} s, so the service replaces the helper; try again"
            );
            self.failure = Some(SetupFailure::new(SetupStage::Helper, why));
        }
    }

    fn ask(&mut self, asked: &mut Asked, why: Why, control: &mut UnixStream) {
        self.why = Some(why);
        *asked = Asked::ToEnd(Instant::now());
        let _ = control.write_all(&[TERMINATE]);
    }

    fn keep_deadline(&mut self, mut asked: Asked, control: &mut UnixStream) -> Asked {
        match asked {
            // A step that exited within its wall time is not timed out while its remaining processes end.
            Asked::Nothing if Instant::now() >= self.deadline && self.step.is_none() => {
                self.ask(&mut asked, Why::TimedOut, control);
            }
            Asked::Nothing if Instant::now() < self.deadline + GRACE => {}
            Asked::ToEnd(at) if at.elapsed() < GRACE => {}
            Asked::ToDie(_) => {}
            Asked::Nothing | Asked::ToEnd(_) => {
                asked = Asked::ToDie(Instant::now());
                self.kill(control);
            }
        }
        asked
    }

    /// Reads and applies the messages of the helper. Returns false if no more messages can arrive.
    fn hear(&mut self, launched: &mut LaunchedRun, received: &mut Vec<u8>) -> bool {
        let mut buffer = [0; 4096];
        match protocol::receive(&launched.control, &mut buffer) {
            Ok((0, _)) => return false,
            Ok((read, mut descriptors)) => {
                received.extend_from_slice(&buffer[..read]);
                self.descriptor = descriptors.pop().or(self.descriptor.take());
            }
            Err(error) => {
                return matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                );
            }
        }
        loop {
            let message = match protocol::take_message(received) {
                Ok(Some(message)) => message,
                Ok(None) => return true,
                Err(error) => {
                    self.lost = Some(format!(
                        "the run's first process sent an unreadable message: {error}"
                    ));
                    return false;
                }
            };
            match message {
                HelperMessage::Cloned => {
                    launched.helper.hear();
                    (self.process, self.dead) = (self.descriptor.take(), None);
                }
                HelperMessage::Listening => {
                    self.listeners
                        .extend(self.descriptor.take().map(TcpListener::from));
                    let count = self.listeners.len();
                    if let Some((hosts, resolve)) =
                        self.hosts.take_if(|(hosts, _)| hosts.len() == count)
                    {
                        let listeners = std::mem::take(&mut self.listeners);
                        // Without a relay, the listeners are closed and the run can't reach any host.
                        self.relay = Relay::serve(listeners, hosts, resolve)
                            .inspect_err(|error| {
                                tracing::error!(%error, "the connections of a run to its hosts can't be served");
                            })
                            .ok();
                    }
                }
                HelperMessage::Announcing(announced) => {
                    if let (Some(listener), Some(recorder)) =
                        (self.descriptor.take(), &mut self.programs)
                    {
                        recorder.begin(listener, announced);
                    }
                }
                HelperMessage::Results => self.results = self.descriptor.take(),
                HelperMessage::Work(new) => {
                    self.work = self.descriptor.take().map(|work| (work, new))
                }
                HelperMessage::Started(facts) => self.confined = Some(facts),
                HelperMessage::Failed(failure) => self.failure = Some(failure),
                HelperMessage::Ended(end, reached) => {
                    (self.step, self.reached) = (Some(end), reached)
                }
                HelperMessage::Empty(spent) => self.spent = Some(spent),
            }
        }
    }

    fn read(
        &mut self,
        stream: OutputStream,
        reader: &PipeReader,
        buffer: &mut [u8],
        live: &mut dyn FnMut(Chunk<'_>),
    ) -> Got {
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

    /// Reads the output that is left in the pipes, at most `PIPE` bytes, because a process may still write.
    fn drain(
        &mut self,
        launched: &LaunchedRun,
        buffer: &mut [u8],
        live: &mut dyn FnMut(Chunk<'_>),
    ) {
        for (stream, reader) in launched.outputs() {
            let mut room = PIPE;
            while room > 0 {
                match self.read(stream, reader, buffer, live) {
                    Got::Bytes(read) => room = room.saturating_sub(read),
                    Got::Nothing | Got::End => break,
                }
            }
        }
    }

    /// Kills the run. In a pid namespace, the death of the first process kills all others. On the host's root file
    /// system, the other processes would survive, so the first process must kill them.
    fn kill(&self, control: &mut UnixStream) {
        let _ = control.write_all(&[KILL]);
        if self.form == RunForm::Namespaces
            && let Some(process) = &self.process
        {
            let _ = rustix::process::pidfd_send_signal(process, Signal::KILL);
        }
    }

    /// Returns true if the step's program may have been executed.
    pub fn may_have_begun(&self) -> bool {
        self.failure.is_none() || self.confined.is_some()
    }

    /// Ends a run whose helper sends no more reports. Afterwards, the first process is dead or the run is marked as
    /// stuck.
    pub fn end_by_force(&mut self) {
        let Some(process) = &self.process else { return };
        let kill = || {
            let _ = rustix::process::pidfd_send_signal(process, Signal::KILL);
        };
        if self.form == RunForm::Namespaces {
            kill();
        }
        let most = if self.stuck { Duration::ZERO } else { DEATH };
        // In a pid namespace, the first process dies last. On the host's root file system, the first process kills the
        // others when its control socket closes, and then exits.
        if !is_dead_within(process, most) {
            self.stuck = true;
            kill();
        }
    }
}

#[derive(PartialEq)]
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

/// Waits at most `most` for the end of a process. Returns true if it has ended.
fn is_dead_within(process: &OwnedFd, most: Duration) -> bool {
    let until = Instant::now() + most;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let mut poll = [PollFd::new(process, PollFlags::IN)];
        match rustix::event::poll(&mut poll, Timespec::try_from(left).ok().as_ref()) {
            Ok(ready) => return ready > 0,
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return false,
        }
    }
}

/// Waits until a descriptor is readable, the process is dead, or the time `wake` is reached.
fn wait(
    launched: &LaunchedRun,
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
    // Round up, because otherwise the loop would poll without blocking during the last millisecond.
    let left = wake.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
    let _ = rustix::event::poll(&mut fds, Timespec::try_from(left).ok().as_ref());
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
    use crate::{End, SetupStage};

    #[test]
    fn a_run_that_ends_during_its_set_up_is_reported_as_lost() {
        // The service, a process of the host, or the kernel (out of memory) may end the run.
        for (why, memory_kills) in [
            (Some(Why::Cancelled), 0),
            (Some(Why::TimedOut), 0),
            (None, 0),
            (None, 1),
        ] {
            let mut run = FollowedRun::new(Path::new("/nonexistent"), &Limits::default());
            run.why = why;
            run.seen = Some((
                Controllers::default(),
                GroupEvents {
                    memory_kills,
                    ..GroupEvents::default()
                },
            ));
            run.spent = Some(SpentResources {
                init_signal: Some(libc::SIGKILL),
                ..SpentResources::default()
            });
            // The receipt names no enforced layer, so the outcome must not state that the step ran.
            assert!(matches!(run.end(), End::Lost(_)), "{why:?}");
            run.failure = Some(SetupFailure::other("nothing was executed"));
            assert!(matches!(run.end(), End::NotStarted(_)), "{why:?}");
        }
    }

    #[test]
    fn a_process_counts_as_dead_only_after_its_end() {
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .expect("sleep");
        let pid = rustix::process::Pid::from_child(&child);
        let process = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty())
            .expect("a pidfd");
        assert!(!is_dead_within(&process, Duration::from_millis(20)));
        child.kill().expect("killed");
        assert!(is_dead_within(&process, Duration::from_secs(30)));
        child.wait().expect("reaped");
        assert!(
            is_dead_within(&process, Duration::ZERO),
            "also when it is reaped"
        );
    }

    #[test]
    fn a_run_that_fails_after_exec_is_reported_as_started() {
        let mut run = FollowedRun::new(Path::new("/nonexistent"), &Limits::default());
        run.failure = Some(SetupFailure::new(SetupStage::Processes, "watch the step"));
        assert!(matches!(run.end(), End::NotStarted(_)) && !run.may_have_begun());
        run.confined = Some(Confined {
            landlock: None,
            seccomp: None,
            bounded: true,
            masked: None,
            counted: true,
        });
        assert!(matches!(run.end(), End::Lost(_)) && run.may_have_begun());
    }

    #[test]
    fn a_signal_counts_as_the_cpu_limit_only_if_the_cpu_time_was_used() {
        let end = |signal, cpu_us, cpu| {
            let limits = Limits {
                wall_ms: 2000,
                cpu_milli: 1000,
                ..Limits::default()
            };
            let mut run = FollowedRun::new(Path::new("/nonexistent"), &limits);
            run.confined = Some(Confined {
                landlock: None,
                seccomp: None,
                bounded: true,
                masked: None,
                counted: true,
            });
            run.step = Some(StepEnd::Signalled(signal));
            run.spent = Some(SpentResources {
                cpu_us,
                ..SpentResources::default()
            });
            run.seen = Some((
                Controllers {
                    cpu,
                    ..Controllers::default()
                },
                GroupEvents::default(),
            ));
            run.end()
        };
        assert_eq!(end(libc::SIGXCPU, 4_000, false), End::Signalled(24));
        assert_eq!(
            end(libc::SIGXCPU, 1_990_000, false),
            End::Killed("cpu_milli")
        );
        assert_eq!(
            end(libc::SIGXCPU, 1_760_000, false),
            End::Killed("cpu_milli"),
            "seen beside other work"
        );
        assert_eq!(end(libc::SIGXCPU, 1_990_000, true), End::Signalled(24));
        // Here the step ignored SIGXCPU.
        assert_eq!(end(libc::SIGKILL, 2_000_000, false), End::Signalled(9));
        assert_eq!(
            end(libc::SIGKILL, 3_000_000, false),
            End::Killed("cpu_milli")
        );
        assert_eq!(end(libc::SIGTERM, 3_000_000, false), End::Signalled(15));
    }

    #[test]
    fn a_shell_exit_code_counts_as_the_cpu_limit_only_if_the_cpu_time_was_used() {
        let end = |code, cpu_us, cpu| {
            let limits = Limits {
                wall_ms: 2000,
                cpu_milli: 1000,
                ..Limits::default()
            };
            let mut run = FollowedRun::new(Path::new("/nonexistent"), &limits);
            run.confined = Some(Confined {
                counted: true,
                ..Confined::default()
            });
            run.step = Some(StepEnd::Exited(code));
            run.spent = Some(SpentResources {
                cpu_us,
                ..SpentResources::default()
            });
            run.seen = Some((
                Controllers {
                    cpu,
                    ..Controllers::default()
                },
                GroupEvents::default(),
            ));
            run.end()
        };
        assert_eq!(end(152, 1_990_000, false), End::Killed("cpu_milli"));
        assert_eq!(end(152, 4_000, false), End::Exited(152));
        assert_eq!(end(152, 1_990_000, true), End::Exited(152));
        assert_eq!(end(153, 1_990_000, false), End::Exited(153));
    }
}
