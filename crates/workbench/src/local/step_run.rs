//! Runs one step: decision, questions and run, in this order.
//!
//! The file also copies the output of a step to the terminal.
//!
//! A separate thread writes this output. A slow reader or a paused terminal can delay the time limit and Ctrl-C only if
//! the bounded queue is full.

use std::{
    io::Write as _,
    sync::{
        Arc,
        mpsc::{SyncSender, sync_channel},
    },
    thread::JoinHandle,
    time::Instant,
};

use serde_json::json;

use crate::{
    ChosenStep, HostSandbox, LocalRules, LocalSecrets, Project, Question, SandboxChoice, Signals,
    StepPrograms, WalkSession, WalkStep, WorkingDirectory,
    local::{
        environment,
        step_programs::{NODE_PROGRAMS, denied_programs},
        walk_session::{StepSurroundings, files_note},
    },
};
use client::{
    CommandFailure, CommandResult, Exit, ListPlace, OutputComplaints, PrintableText, Terminal,
    fail_refused, outcome_words, print_hints, refusal_lines,
};
use crossing::{check_files, outcome_of, planned_files, secret_permits};
use documents::{Format, Layer, Outcome, StreamName, canonical};
use reading::{AnswerChoice, AnswerGiven, PolicyVerdict, Session, parameter_schema, plural};
use sandbox::{
    CancelFlag, Capture, Chunk, End, MAX_RESULT_FILES, OutputStream, PATH, Plan, PlannedFile,
    Prepared, ResultLimits, SecretMasks, StreamMasker,
};
use wire::Event;

/// Variables that the sandbox sets.
const OWN: [&str; 6] = [
    "PATH",
    "HOME",
    "TMPDIR",
    "LANG",
    "LC_ALL",
    "COUNTERSIGN_PARAMS",
];
/// Maximum number of attempts to read a valid answer. After the last attempt the permission is denied.
const TRIES: usize = 3;

/// State that the steps of a runbook share.
pub struct RunbookWalk<'a> {
    project: &'a Project,
    /// Policy and options of the runbook.
    pub rules: &'a LocalRules,
    hold: &'a HostSandbox,
    secrets: LocalSecrets,
    /// The signals to this command.
    pub signals: &'a Signals,
    session: Session,
    /// What the steps carry to the steps after them, or `None` if only one step runs.
    pub carried: Option<WalkSession>,
    /// True if each step works in a directory of its own, as in a test.
    pub private: bool,
    /// True if an earlier step has written to the terminal.
    wrote: bool,
    /// Working directory that was last printed for the person.
    told: Option<WorkingDirectory>,
    /// Line about the programs that was last printed for the person.
    told_programs: Option<String>,
    /// Line about programs that the list can't contain, as last printed for the person.
    told_not_added: Option<String>,
    /// Lines about refused programs, as last printed for the person.
    told_hints: Vec<String>,
    /// The terminal of the person.
    pub terminal: &'a Terminal,
}

impl<'a> RunbookWalk<'a> {
    /// Creates the state before the first step. With `carried`, the steps share this session.
    pub fn new(
        secrets: LocalSecrets,
        carried: Option<WalkSession>,
        project: &'a Project,
        rules: &'a LocalRules,
        hold: &'a HostSandbox,
        signals: &'a Signals,
        terminal: &'a Terminal,
    ) -> Self {
        Self {
            project,
            rules,
            hold,
            secrets,
            signals,
            session: Session::default(),
            carried,
            private: false,
            wrote: false,
            told: None,
            told_programs: None,
            told_not_added: None,
            told_hints: Vec::new(),
            terminal,
        }
    }
}

impl RunbookWalk<'_> {
    /// Runs one step to its end, with the outputs of earlier steps as parameters.
    ///
    /// # Errors
    /// Returns an error if a parameter is missing or does not fit, and the errors of [`Self::step`].
    pub fn walk_step(&mut self, step: &WalkStep) -> CommandResult {
        self.say_notes();
        let outputs = self.carried.as_ref().map(|carried| &carried.outputs);
        self.step(&step.choose(outputs)?)
    }

    /// Prints the notes about the step before.
    fn say_notes(&mut self) {
        if let Some(carried) = &mut self.carried {
            for note in std::mem::take(&mut carried.notes) {
                self.terminal.say(format!("note: {note}"));
            }
        }
    }

    /// Runs one step to its end.
    ///
    /// # Errors
    /// Returns an error if the step is denied or refused. No process was started in this case.
    pub fn step(&mut self, chosen: &ChosenStep) -> CommandResult {
        let definition = &chosen.step.definition;
        let ruling = self.rules.ruling();
        // The policy decides about the whole script before the first question, so the program asks no questions about a
        // script that the policy denies.
        let (decision, mut questions) = self.rules.decide(&ruling, chosen)?;
        let mut secrets = self.secrets.of_step(chosen, self.rules, &ruling)?;
        questions.append(&mut secrets.questions);
        let (wanted, probe) = (self.hold.wanted, self.hold.sandbox.probe());
        let host = (wanted, probe.missing(Layer::Programs));
        let mut programs = StepPrograms::of(
            self.rules,
            &ruling,
            definition,
            &decision,
            self.project,
            host,
        );
        let mut work = if self.private {
            WorkingDirectory::Private("each test has a directory of its own".to_owned())
        } else {
            let off = matches!(wanted, SandboxChoice::Off(_));
            let facts = (off, !definition.files.is_empty());
            WorkingDirectory::find(self.rules, &ruling, self.project, &probe.held(), facts)
        };
        let prepared = self.hold.check(
            &ruling,
            &definition.sandbox,
            self.rules,
            &mut work,
            &mut programs,
        )?;
        let files = files(chosen, &prepared, &work)?;
        let mut inherited = environment::inherit(std::env::vars_os(), &OWN, |name| {
            self.rules.variable(&ruling, name).verdict == PolicyVerdict::Allow
        });
        let withheld = inherited.withheld.clone();
        self.say_notes();
        let mut session = self
            .carried
            .as_ref()
            .map(|carried| carried.plan(&chosen.step))
            .transpose()?;
        if matches!(
            work,
            WorkingDirectory::InPlace { .. } | WorkingDirectory::Overlay { .. }
        ) && let Some(path) = node_path(definition.format, self.project)
        {
            session
                .get_or_insert_default()
                .env
                .push((b"PATH".to_vec(), path.into_bytes()));
        }
        self.ask_all(definition.reference.as_str(), &questions)?;
        let (secrets, masks) = secrets.read(prepared.has_own_root())?;
        let around = StepSurroundings {
            step: definition.reference.step().to_owned(),
            profile: prepared.profile().clone(),
            inherited: inherited.variables.clone(),
            scratch: self.hold.scratch().to_owned(),
            secret_variables: secrets
                .iter()
                .filter_map(|secret| secret.variable.clone())
                .collect(),
            masks,
        };
        if let Some(carried) = &mut self.carried {
            carried.apply(&mut inherited);
        }
        inherited
            .variables
            .retain(|(name, _)| !around.secret_variables.contains(name));
        let params = secret_permits::with_paths(&definition.params, chosen.params.value());
        let plan = Plan {
            interpreter: definition.interpreter.clone(),
            source: definition.source.clone().into_bytes(),
            env: inherited.with(parameter_schema::environment(&params))?,
            params_json: canonical::to_canonical(&params),
            files,
            inputs: vec![],
            results: true,
            session,
            secrets,
            unreachable: [].into(),
        };
        self.begin(chosen, &prepared, &withheld, work, &programs)?;
        self.wrote = true;
        self.run(prepared, plan, &around)
    }

    fn ask_all(&mut self, step: &str, questions: &[Question]) -> CommandResult<()> {
        let answers = self.rules.answers();
        for question in questions {
            let (terminal, wrote) = (self.terminal, self.wrote);
            let asked = || {
                if wrote {
                    calm();
                }
                ask(question, step, terminal)
            };
            let why = match self.session.answer(&question.asked, answers, asked) {
                AnswerGiven::Allowed(words) => {
                    if terminal.json {
                        terminal.object(json!({"type": "answer", "question": question.words(), "answer": words}))?;
                    }
                    continue;
                }
                AnswerGiven::Denied(why) => why.to_owned(),
                AnswerGiven::DeniedWithAll => {
                    format!(
                        "all {} that no list allows were denied in this session",
                        plural(question.asked.kind)
                    )
                }
            };
            let place = question.places.first().map_or("", |place| &place.at);
            let mut message = format!(
                "no part of {step} was run: {}: {} {} is denied: {why}",
                PrintableText::text(place),
                question.noun(),
                PrintableText::quoted(&question.asked.what)
            );
            if answers.nobody.is_some() {
                message.push_str(&advice(questions));
            }
            return fail_refused(message);
        }
        Ok(())
    }

    fn begin(
        &mut self,
        chosen: &ChosenStep,
        prepared: &Prepared,
        withheld: &[String],
        work: WorkingDirectory,
        programs: &StepPrograms,
    ) -> CommandResult<()> {
        let definition = &chosen.step.definition;
        let not_added = programs.not_added(prepared.profile());
        if not_added != self.told_not_added {
            not_added.iter().for_each(|line| self.terminal.say(line));
        }
        self.told_not_added = not_added;
        if self.terminal.json {
            return self.terminal.object(json!({
                "type": "step", "step": definition.reference, "digest": chosen.step.digest, "params": chosen.params.value(),
                "policy": self.rules.policy.digest(), "sandbox": prepared.level().word(), "layers": prepared.layers(),
                "workdir": work.word(), "programs": programs.json(prepared.profile()), "withheld": withheld,
            }));
        }
        if self.terminal.err_is_terminal {
            self.terminal.say(format!(
                "-- {} {} ({}; {})",
                definition.reference,
                chosen.step.digest,
                self.rules.from,
                self.hold.wanted.words()
            ));
            if !withheld.is_empty() {
                self.terminal.say(format!(
                    "-- variables that policy allows, but that no step inherits: {}",
                    withheld.join(", ")
                ));
            }
        }
        // Print the working directory of the step if it differs from the last printed one.
        let in_place = matches!(work, WorkingDirectory::InPlace { .. });
        if self.told.as_ref() != Some(&work) && (!in_place || self.terminal.err_is_terminal) {
            self.terminal
                .say(format!("note: the step {}", work.words()));
        }
        self.told = Some(work);
        let words = programs.words(prepared.profile());
        let always = matches!(programs, StepPrograms::Any(_));
        if words != self.told_programs && (always || self.terminal.err_is_terminal) {
            words.iter().for_each(|words| self.terminal.say(words));
        }
        self.told_programs = words;
        Ok(())
    }

    /// Runs the step. From here on, a failure of the step is an outcome and not an error.
    fn run(&mut self, prepared: Prepared, plan: Plan, around: &StepSurroundings) -> CommandResult {
        let odd = |error: std::io::Error| {
            CommandFailure::unreachable(format!("the run can't be started: {error}"))
        };
        let cancel = CancelFlag::new().map_err(odd)?;
        let mut live = OutputCopier::begin(self.terminal, &cancel, around.masks.as_ref())?;
        let (mut complaints, profile) = (OutputComplaints::default(), prepared.profile().clone());
        self.signals.run_begins(&cancel);
        let mut report = self.hold.sandbox.run(
            prepared,
            plan,
            &mut |chunk| {
                complaints.read(chunk.bytes);
                live.take(chunk);
            },
            &cancel,
        );
        if let Some(carried) = &mut self.carried {
            carried.take(&report, around);
        }
        if let Some(masks) = &around.masks {
            report.programs = report.programs.map(|facts| masks.without_paths(facts));
        }
        let outcome = outcome_of(&report.end);
        let limits = ResultLimits {
            files: MAX_RESULT_FILES,
            bytes: profile.limits.disk_bytes,
        };
        let loses_files = self
            .carried
            .as_ref()
            .is_none_or(|carried| carried.files.is_none());
        let results = report.results.as_ref().filter(|_| loses_files);
        let files_note = results.and_then(|results| files_note(results, &limits));
        let mut hints = complaints.host_lines(&report.enforcement, &profile);
        hints.extend(report.programs.iter().flat_map(|facts| {
            let denied = denied_programs(&self.rules.ruling(), facts);
            refusal_lines(
                facts,
                &profile,
                outcome.exit_code,
                &complaints,
                &ListPlace::Run(&denied),
            )
        }));
        if self.rules.was_changed(self.project) {
            self.terminal.say(
                "WARNING: the policy file found from this directory has changed since the step began: check it \
                 before you run anything else",
            );
        }
        let signal = self.signals.run_ended();
        // A signal ends the program also while nobody reads the output.
        let written = live.end(&report.stdout, &report.stderr);
        // The same advice after each step would hide the other lines.
        if hints != self.told_hints {
            print_hints(&hints, self.terminal)?;
            self.told_hints = hints;
        }
        if let Some(note) = files_note.filter(|_| outcome.exit_code.is_some()) {
            self.terminal.say(&note);
        }
        self.end(
            &outcome,
            &report.end,
            report.stdout.truncated || report.stderr.truncated,
        )?;
        written?;
        // The exit code tells the parent process about the signal. No further step begins.
        Ok(signal.map_or_else(|| Exit::of_outcome(&outcome), Exit::Signal))
    }

    fn end(&self, outcome: &Outcome, end: &End, cut: bool) -> CommandResult<()> {
        if let End::NotStarted(why) | End::Lost(why) = end {
            self.terminal.say(format!(
                "the step did not start, or its end is unknown: {why}"
            ));
        }
        if cut {
            self.terminal
                .say("the output is incomplete: the step wrote more than the limit output_bytes");
        }
        if self.terminal.json {
            self.terminal
                .object(json!({"type": "exit", "outcome": outcome}))?;
        } else if self.terminal.err_is_terminal {
            self.terminal.say(format!("-- {}", outcome_words(outcome)));
        }
        Ok(())
    }
}

/// Returns the variable `PATH` with the programs that npm installed in the project, which Rundown puts first.
fn node_path(format: Format, project: &Project) -> Option<String> {
    let programs = project.cwd.join(NODE_PROGRAMS);
    let found = format == Format::Rundown && programs.is_dir();
    Some(format!(
        "{}:{PATH}",
        programs
            .to_str()
            .filter(|path| found && !path.contains(':'))?
    ))
}

/// Returns the files of a step for its plan.
///
/// # Errors
/// Returns an error if the files would remain in a directory of the host after the run.
fn files(
    chosen: &ChosenStep,
    prepared: &Prepared,
    work: &WorkingDirectory,
) -> CommandResult<Vec<PlannedFile>> {
    let refuse = |why: String| {
        let reference = &chosen.step.definition.reference;
        CommandFailure::refused(format!("{reference}: {}", PrintableText::text(&why)))
    };
    match check_files(&chosen.step.definition, prepared.profile()) {
        Err(_) if *work != WorkingDirectory::Declared => {
            return Err(refuse(format!(
                "the step has files, and this run {}, where the files would remain: run the step without --allow-write",
                work.words()
            )));
        }
        checked => checked.map_err(|error| refuse(error.to_string()))?,
    }
    planned_files(&chosen.step).map_err(|error| refuse(error.to_string()))
}

/// Asks the question until an answer is valid.
fn ask(question: &Question, step: &str, terminal: &Terminal) -> AnswerChoice {
    terminal.show_aside(&question.screen(step));
    for _ in 0..TRIES {
        let Ok(typed) = terminal.choose(
            &question.ask(),
            &question.buttons(),
            "answer beforehand with --allow-run",
        ) else {
            return AnswerChoice::Deny;
        };
        if let Some(choice) = question.choice(&typed) {
            return choice;
        }
        terminal.say(
            "the typed text is not one of the answers; without an answer the permission is denied",
        );
    }
    AnswerChoice::Deny
}

/// Resets the state that the output of an earlier step may have left in the terminal: alternate screen, colours,
/// character set and hidden cursor. Otherwise the question could be invisible.
fn calm() {
    if std::env::var_os("TERM").is_some_and(|term| term != "dumb") {
        let _ = std::io::stderr().write_all(b"\x1b[?1049l\x1b[!p\x1b[0m\x1b(B\x0f\x1b[?25h\r\n");
    }
}

fn advice(questions: &[Question]) -> String {
    let flags: Vec<String> = questions.iter().filter_map(Question::flag).collect();
    let mut advice = String::new();
    if !flags.is_empty() {
        advice.push_str(&format!(
            "; to allow what is asked here, add {}",
            flags.join(" ")
        ));
    }
    if flags.len() < questions.len() {
        advice.push_str(
            "; some commands can't be known before they run, and only a person at a terminal can allow \
            them",
        );
    }
    advice
}

/// Maximum number of pieces in the queue. A piece is one read from the pipe, at most 64 KiB.
const QUEUE: usize = 256;

/// Receives the output of a step, and passes it to the person.
pub struct OutputCopier {
    begun: Instant,
    queue: SyncSender<(StreamName, u64, u64, Vec<u8>)>,
    writer: JoinHandle<CommandResult<()>>,
    /// The state of the standard output, then that of the standard error.
    streams: [Tally; 2],
}

#[derive(Debug, Default)]
struct Tally {
    /// Number of bytes after the secrets were replaced.
    bytes: u64,
    masker: Option<StreamMasker>,
}

impl OutputCopier {
    /// Starts the writer thread. If the thread cannot write any more, it sets `cancel`.
    ///
    /// # Errors
    /// Returns an error if no thread can be started.
    pub fn begin(
        terminal: &Terminal,
        cancel: &CancelFlag,
        masks: Option<&Arc<SecretMasks>>,
    ) -> CommandResult<Self> {
        let (queue, pieces) = sync_channel::<(StreamName, u64, u64, Vec<u8>)>(QUEUE);
        let (terminal, cancel) = (terminal.clone(), cancel.clone());
        let writer = std::thread::Builder::new()
            .name("output".to_owned())
            .spawn(move || {
                let mut result = Ok(());
                for (stream, offset, elapsed_ms, bytes) in pieces {
                    if result.is_ok() {
                        result = write(&terminal, stream, offset, elapsed_ms, bytes);
                        if result.is_err() {
                            cancel.cancel();
                        }
                    }
                }
                result
            });
        let writer = writer.map_err(|error| {
            CommandFailure::unreachable(format!("the thread for output can't be started: {error}"))
        })?;
        let streams = [(); 2].map(|()| Tally {
            masker: masks.map(|masks| StreamMasker::new(masks.clone())),
            ..Tally::default()
        });
        Ok(Self {
            begun: Instant::now(),
            queue,
            writer,
            streams,
        })
    }

    /// Queues a piece of output, with a text in place of each secret.
    pub fn take(&mut self, chunk: Chunk<'_>) {
        let name = match chunk.stream {
            OutputStream::Stdout => StreamName::Stdout,
            OutputStream::Stderr => StreamName::Stderr,
        };
        let mut bytes = Vec::with_capacity(chunk.bytes.len());
        match &mut self.streams[name as usize].masker {
            Some(masker) => masker.push(chunk.bytes, &mut bytes),
            None => bytes.extend_from_slice(chunk.bytes),
        }
        self.send(name, bytes);
    }

    fn send(&mut self, name: StreamName, bytes: Vec<u8>) {
        if bytes.is_empty() {
            return;
        }
        let tally = &mut self.streams[name as usize];
        let offset = tally.bytes;
        tally.bytes += bytes.len() as u64;
        // The send cannot fail, because the writer thread lives as long as the queue.
        let elapsed_ms = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        let _ = self.queue.send((name, offset, elapsed_ms, bytes));
    }

    /// Queues the rest of the output after the run, and waits until all output is written.
    ///
    /// # Errors
    /// Returns an error if the output could not be written.
    pub fn end(mut self, stdout: &Capture, stderr: &Capture) -> CommandResult<()> {
        for (name, cut) in [
            (StreamName::Stdout, stdout.truncated),
            (StreamName::Stderr, stderr.truncated),
        ] {
            let mut rest = Vec::new();
            let masker = self.streams[name as usize].masker.as_mut();
            // The end of a cut stream may be the beginning of a secret.
            if let Some(masker) = masker.filter(|_| !cut) {
                masker.finish(&mut rest);
            }
            self.send(name, rest);
        }
        let Self { queue, writer, .. } = self;
        drop(queue);
        let panicked = |_| {
            Err(CommandFailure::unreachable(
                "the output could not be written",
            ))
        };
        writer.join().unwrap_or_else(panicked)
    }
}

/// Writes a piece of output: unchanged for a person, or as a JSON event for a program.
fn write(
    terminal: &Terminal,
    stream: StreamName,
    offset: u64,
    elapsed_ms: u64,
    bytes: Vec<u8>,
) -> CommandResult<()> {
    if terminal.json {
        return terminal.object(Event::output(stream, offset, Some(elapsed_ms), bytes));
    }
    match stream {
        StreamName::Stdout => terminal.put(&bytes),
        StreamName::Stderr => Ok(std::io::stderr().lock().write_all(&bytes)?),
    }
}
