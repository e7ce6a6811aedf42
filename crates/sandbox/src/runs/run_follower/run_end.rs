//! The end of a run, and its report.

use std::{path::Path, sync::Arc};

use crate::{
    End, FollowedRun, Plan, Prepared, ProgramRecorder, Report, RunDir, RunResults, SessionTree,
    SizeLimit, StepEnd, interpreter,
    programs::program_recorder::nothing_recorded,
    runs::{
        RunUsage, enforcement_facts,
        run_follower::{CPU_COUNTED, Why},
    },
};

impl FollowedRun {
    /// Keeps what an ended run left. `work` is the path of its private work directory in the run. If a process may still
    /// be `alive`, nothing is kept, and the next start of the service deletes the directory `run_dir`.
    pub fn keep_results(&mut self, plan: &Plan, work: &Path, run_dir: Option<RunDir>, alive: bool) {
        let (results, left) = (self.results.take(), self.work.take());
        if alive {
            run_dir.into_iter().for_each(RunDir::keep);
            return;
        }
        let Some(results) = results.filter(|_| self.may_have_begun()) else {
            return;
        };
        let on_disk = run_dir.map(Arc::new);
        let tree = left.map(|(directory, new)| {
            let tree = SessionTree::new(directory, work.to_owned(), on_disk.clone());
            let script = interpreter::script_beside_files(&plan.interpreter);
            let names = std::iter::once(script)
                .chain(plan.files.iter().map(|planned| planned.file.path.as_str()));
            for (_, name) in (0..).zip(names).filter(|(number, _)| new.contains(number)) {
                tree.remove(name);
            }
            Arc::new(tree)
        });
        self.left = Some(RunResults::new(results, plan.results, tree, on_disk));
    }

    pub fn report(self, prepared: &Prepared, own_id: bool) -> Report {
        let end = self.end();
        let spent = self.spent.unwrap_or_default();
        let left = if self.stuck { 1 } else { spent.left };
        let confined = self.confined.as_ref();
        let enforcement = match (&end, confined) {
            (End::NotStarted(_), _) | (_, None) => enforcement_facts::nothing_enforced(),
            (_, Some(confined)) => enforcement_facts::enforced(
                prepared,
                confined,
                self.seen.map(|(held, _)| held),
                self.contacts.as_ref(),
                own_id,
                left,
            ),
        };
        let recorder = confined.and(self.programs.as_ref());
        let list = confined.and(prepared.programs.as_ref());
        let programs = list.map(|list| {
            recorder.map_or_else(|| nothing_recorded(list.listed), ProgramRecorder::facts)
        });
        let learned = recorder
            .filter(|_| prepared.learn)
            .and_then(ProgramRecorder::learned);
        let results = self.left.filter(|_| !matches!(end, End::NotStarted(_)));
        let duration_ms = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        let (stdout, stderr) = self.recorder.finish();
        let seen = self.seen.map(|(_, seen)| seen).unwrap_or_default();
        let usage = RunUsage {
            cpu_ms: seen.cpu_us.unwrap_or(spent.cpu_us).div_ceil(1000),
            memory_peak_bytes: seen.memory_peak.unwrap_or(spent.resident_peak),
        };
        Report {
            end,
            stdout,
            stderr,
            usage,
            enforcement,
            programs,
            learned,
            results,
            duration_ms,
        }
    }

    pub(super) fn end(&self) -> End {
        match &self.failure {
            Some(failure) if self.confined.is_some() => return End::Lost(failure.to_string()),
            Some(failure) => return End::NotStarted(failure.to_string()),
            None => {}
        }
        if let Some(lost) = &self.lost {
            return End::Lost(lost.clone());
        }
        // The run was ended during its set-up by the service, the kernel or a process of the host, so the service does
        // not know whether the step ran and which layers were enforced.
        if self.confined.is_none() {
            return End::Lost("the run ended before it reported its start".to_owned());
        }
        let seen = self.seen.map(|(_, seen)| seen).unwrap_or_default();
        let failed = self.step.is_none_or(|step| step != StepEnd::Exited(0));
        match self.why {
            Some(Why::TimedOut) => return End::TimedOut,
            Some(Why::Cancelled) => return End::Cancelled,
            None => {}
        }
        let byte = |number: i32| u8::try_from(number).unwrap_or(u8::MAX);
        match self.step {
            _ if failed && seen.memory_kills > 0 => End::Killed("memory_bytes"),
            // The kernel refused to create a process, and the step failed later. The cause is unknown, so report the
            // limit.
            Some(StepEnd::Exited(_)) if failed && seen.refused_processes > 0 => {
                End::Killed("processes")
            }
            // A shell exits with this code if SIGXCPU killed its child.
            Some(StepEnd::Exited(XCPU_IN_A_SHELL)) if self.ran_out_of_cpu(libc::SIGXCPU) => {
                End::Killed("cpu_milli")
            }
            Some(_) if failed && self.reached == Some(SizeLimit::File) => End::Killed("file_bytes"),
            Some(StepEnd::Exited(_)) if failed && self.reached.is_some() => {
                End::Killed("disk_bytes")
            }
            Some(StepEnd::Exited(code)) => End::Exited(byte(code)),
            Some(StepEnd::Signalled(signal)) if self.ran_out_of_cpu(signal) => {
                End::Killed("cpu_milli")
            }
            Some(StepEnd::Signalled(signal)) => End::Signalled(byte(signal)),
            None => match self.spent.and_then(|spent| spent.init_signal) {
                Some(signal) => End::Signalled(byte(signal)),
                None => End::Lost("the run's first process ended without a report".into()),
            },
        }
    }

    /// Returns true if `signal` means that a process exceeded the CPU limit. Any process can send this signal, so the
    /// run must also have used enough CPU time.
    pub(super) fn ran_out_of_cpu(&self, signal: i32) -> bool {
        let seconds = match signal {
            libc::SIGXCPU => self.cpu_seconds,
            // The kernel sends SIGKILL one second after the first SIGXCPU.
            libc::SIGKILL => self.cpu_seconds.saturating_add(1),
            _ => return false,
        };
        let (held, seen) = self.seen.unwrap_or_default();
        let spent = self
            .spent
            .unwrap_or_default()
            .cpu_us
            .max(seen.cpu_us.unwrap_or(0));
        // A control group throttles CPU time and sends no signal.
        !held.cpu && spent >= seconds.saturating_mul(1000 * CPU_COUNTED)
    }
}

/// Exit code of a shell whose last command was killed by SIGXCPU.
pub const XCPU_IN_A_SHELL: i32 = 128 + libc::SIGXCPU;
