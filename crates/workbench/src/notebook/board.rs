//! What each step and each session shows now. The worker writes this state, and each open tab reads it.

use console::FormFields;
use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Condvar, Mutex, PoisonError},
    time::{Duration, Instant},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::local::workflow_run::end_words;
use client::{AnswerButton, Audience, ColouredText, CommandResult, OutputPainter, PrintableText};
use documents::{Outcome, Status, StreamName, joined, locked};
use sandbox::CapturedFile;

/// Maximum size of the events that are kept for a tab that connects again, in bytes.
const MAX_EVENTS: usize = 4 << 20;
/// Time limit for an answer. After this time, the answer counts as no.
const PATIENCE: Duration = Duration::from_secs(30 * 60);

#[derive(Debug, Default)]
struct State {
    steps: BTreeMap<PlaceOnPage, ShownStep>,
    running: Option<PlaceOnPage>,
    before_question: String,
    asked: u64,
    answer: Option<(u64, String)>,
    events: VecDeque<(u64, String)>,
    events_bytes: usize,
    /// Facts about the session of each page.
    sessions: BTreeMap<usize, Vec<String>>,
}

/// What all steps show.
#[derive(Debug, Default)]
pub struct Board {
    state: Mutex<State>,
    answered: Condvar,
    /// Number of the last event.
    last: watch::Sender<u64>,
}

impl Board {
    /// Calls `read` with what a step shows.
    pub fn with<R>(&self, place: PlaceOnPage, read: impl FnOnce(&ShownStep) -> R) -> R {
        let mut state = locked(&self.state);
        read(state.steps.entry(place).or_default())
    }

    /// Returns the step that runs.
    pub fn running(&self) -> Option<PlaceOnPage> {
        locked(&self.state).running
    }

    /// Reserves the worker for a step.
    ///
    /// # Errors
    /// Returns the step that runs.
    pub fn begin(&self, place: PlaceOnPage, given: FormFields) -> Result<(), PlaceOnPage> {
        let mut state = locked(&self.state);
        if let Some(running) = state.running {
            return Err(running);
        }
        state.running = Some(place);
        state.steps.insert(place, ShownStep::running(given));
        self.event(&mut state, json!({"type": "begin", "at": id(place)}));
        drop(state);
        Ok(())
    }

    /// Shows the end of a run.
    pub fn end(&self, result: CommandResult, facts: Vec<String>, files: Vec<CapturedFile>) {
        let mut state = locked(&self.state);
        let Some(place) = state.running.take() else {
            return;
        };
        let view = state.steps.entry(place).or_default();
        let rest = view.end_output();
        view.question = None;
        view.facts.extend(facts);
        view.files = files;
        match result {
            Ok(exit) => {
                view.state = view.ended.unwrap_or(StepState::of_exit(exit.code()));
                if view.words.is_empty() {
                    view.words = format!("ended: exit code {}", exit.code());
                }
            }
            Err(failure) => {
                (view.state, view.words) = match (view.begun, &*view.words) {
                    (None, _) => (StepState::NotRun, format!("not run: {}", failure.message)),
                    (Some(_), "") => (StepState::Failed, failure.message.clone()),
                    (Some(_), words) => {
                        (StepState::Failed, format!("{words}; {}", failure.message))
                    }
                };
                if let Some(pass) = view
                    .passes
                    .last_mut()
                    .filter(|pass| pass.state == StepState::Running)
                {
                    (pass.state, pass.words) = (StepState::Failed, failure.message);
                }
            }
        }
        let files: Vec<[String; 2]> = view
            .files
            .iter()
            .enumerate()
            .map(|(at, file)| [file_path(place, at), file_words(file)])
            .collect();
        let event = json!({
            "type": "end", "at": id(place), "state": view.state.word(), "words": view.words, "facts": view.facts,
            "files": files,
        });
        if !rest.is_empty() {
            self.event(
                &mut state,
                json!({"type": "output", "at": id(place), "parts": pairs(&rest)}),
            );
        }
        self.event(&mut state, event);
    }

    /// Shows facts about the session of a page.
    pub fn session(&self, page: usize, facts: Vec<String>) {
        let mut state = locked(&self.state);
        self.event(
            &mut state,
            json!({"type": "session", "page": page, "facts": facts}),
        );
        state.sessions.insert(page, facts);
    }

    /// Returns the facts about the session of a page.
    pub fn session_facts(&self, page: usize) -> Vec<String> {
        locked(&self.state)
            .sessions
            .get(&page)
            .cloned()
            .unwrap_or_default()
    }

    /// Forgets what the steps of a page showed.
    pub fn reset(&self, page: usize) {
        let mut state = locked(&self.state);
        state.steps.retain(|(at, _), _| *at != page);
        state.sessions.remove(&page);
        self.event(&mut state, json!({"type": "reload", "page": page}));
    }

    /// Makes the tabs load a page again after the steps with these numbers have changed. What a changed step showed is
    /// removed, because the end of its earlier form says nothing about the new form.
    pub fn load_again(&self, page: usize, changed: &[usize]) {
        let mut state = locked(&self.state);
        let running = state.running;
        state.steps.retain(|place, _| {
            place.0 != page || !changed.contains(&place.1) || running == Some(*place)
        });
        self.event(&mut state, json!({"type": "reload", "page": page}));
    }

    /// Gives the answer to a question. Returns false if the question no longer waits.
    pub fn answer(&self, number: u64, letter: &str) -> bool {
        let mut state = locked(&self.state);
        let Some(place) = state.running else {
            return false;
        };
        let view = state.steps.entry(place).or_default();
        let offered = view.question.as_ref().is_some_and(|open| {
            open.number == number && open.buttons.iter().any(|button| button.letter == letter)
        });
        if offered {
            view.question = None;
            state.answer = Some((number, letter.to_owned()));
            self.event(&mut state, json!({"type": "answered", "at": id(place)}));
            self.answered.notify_all();
        }
        offered
    }

    /// Returns the number of the last event.
    pub fn last_event(&self) -> u64 {
        *self.last.borrow()
    }

    /// Returns a receiver that changes with each event.
    pub fn listen(&self) -> watch::Receiver<u64> {
        self.last.subscribe()
    }

    /// Returns the events after this number, or `None` if they are no longer kept.
    pub fn events_after(&self, number: u64) -> Option<Vec<(u64, String)>> {
        let state = locked(&self.state);
        let first = state
            .events
            .front()
            .map_or(self.last_event() + 1, |(first, _)| *first);
        if number + 1 < first {
            return None;
        }
        Some(
            state
                .events
                .iter()
                .filter(|(at, _)| *at > number)
                .cloned()
                .collect(),
        )
    }

    fn event(&self, state: &mut State, event: Value) {
        let (number, text) = (self.last_event() + 1, event.to_string());
        state.events_bytes += text.len();
        state.events.push_back((number, text));
        while state.events_bytes > MAX_EVENTS
            && let Some((_, oldest)) = state.events.pop_front()
        {
            state.events_bytes -= oldest.len();
        }
        self.last.send_replace(number);
    }

    fn show(&self, change: impl FnOnce(&mut ShownStep) -> Option<Value>) {
        let mut state = locked(&self.state);
        let Some(place) = state.running else { return };
        let event = change(state.steps.entry(place).or_default());
        if let Some(mut event) = event {
            event["at"] = id(place).into();
            self.event(&mut state, event);
        }
    }

    fn output(&self, stream: usize, bytes: &[u8]) {
        self.show(|view| {
            let parts = view.add_output(stream, bytes);
            (!parts.is_empty()).then(|| json!({"type": "output", "parts": pairs(&parts)}))
        });
    }

    /// Shows the next unit of a workflow.
    fn unit(&self, unit: &Value) {
        let text = |field: &str| unit[field].as_str().unwrap_or_default();
        let list = |field: &str| {
            let items = unit[field].as_array().into_iter().flatten();
            items.filter_map(Value::as_str)
        };
        let mut heading = format!("{} {}", text("unit"), text("title"));
        if let (Some(number), Some(value)) = (unit["iteration"].as_u64(), unit["value"].as_str()) {
            heading.push_str(&format!(" (iteration {number}: {value})"));
        }
        let read = list("shown").map(|shown| format!("to read, not run by this program:\n{shown}"));
        let others =
            list("runbooks").map(|path| format!("another runbook, to run by itself: {path}"));
        let prompt = std::iter::once(text("prompt").to_owned())
            .chain(read)
            .chain(others);
        let prompt = joined(prompt.filter(|one| !one.is_empty()), "\n");
        self.show(|view| {
            let shown = view.begin_pass(text("unit"), heading, prompt);
            let pass = view.passes.last().filter(|_| shown)?;
            Some(json!({"type": "pass", "heading": pass.heading, "prompt": pass.prompt}))
        });
    }

    /// Shows how the visit of a unit ended.
    fn pass_ended(&self, state: StepState, words: String) {
        self.show(|view| {
            view.end_output();
            let pass = view
                .passes
                .last_mut()
                .filter(|pass| pass.state == StepState::Running)?;
            (pass.state, pass.words) = (state, words);
            Some(json!({"type": "passed", "state": state.word(), "words": pass.words}))
        });
    }

    fn fact(&self, fact: String) {
        self.show(|view| {
            // Each unit of a workflow has the same facts.
            if view.facts.contains(&fact) {
                return None;
            }
            let event = json!({"type": "fact", "text": fact});
            view.facts.push(fact);
            Some(event)
        });
    }
}

fn pairs(parts: &[ColouredText]) -> Vec<[&str; 2]> {
    parts
        .iter()
        .map(|part| [part.class.as_str(), part.text.as_str()])
        .collect()
}

/// Returns the path of a file of a step on this server.
pub fn file_path((page, step): PlaceOnPage, file: usize) -> String {
    format!("/page/{page}/file/{step}/{file}")
}

/// Returns the name and the size of a file for a reader.
pub fn file_words(file: &CapturedFile) -> String {
    format!(
        "{} ({} bytes)",
        PrintableText::text(file.path.as_str()),
        file.bytes
    )
}

impl Audience for Board {
    fn object(&self, value: Value) {
        let text = |field: &str| value[field].as_str().unwrap_or_default().to_owned();
        let is_of_workflow = self.running().is_some_and(|(_, step)| step == WORKFLOW);
        match value["type"].as_str().unwrap_or_default() {
            "output" => {
                let bytes = match value["text"].as_str() {
                    Some(text) => text.as_bytes().to_vec(),
                    None => BASE64_STANDARD.decode(text("base64")).unwrap_or_default(),
                };
                self.output(
                    usize::from(value["stream"] == json!(StreamName::Stderr)),
                    &bytes,
                );
            }
            "step" => {
                self.show(|view| {
                    view.begun = Some(Instant::now());
                    None
                });
                self.fact(format!("sandbox: {}", text("sandbox")));
                self.fact(format!("directory: {}", text("workdir")));
                let listed = value["programs"]["list"].as_array();
                let listed = listed.into_iter().flatten();
                let names = joined(listed.filter_map(|one| one["name"].as_str()), ", ");
                self.fact(match value["programs"]["why"].as_str() {
                    Some(why) => format!("programs: every program, because {why}"),
                    None => format!("programs that may run: {names}"),
                });
            }
            "answer" => {
                let (question, answer) = (text("question"), text("answer"));

                match answer.as_str() {
                    "yes" if is_of_workflow => {
                        self.pass_ended(StepState::Passed, "you said: it passed".to_owned())
                    }
                    "no" if is_of_workflow => {
                        self.pass_ended(StepState::Failed, "you said: it failed".to_owned())
                    }
                    _ => self.fact(format!("{question}: {answer}")),
                }
            }
            "hint" => self.fact(text("text")),
            "exit" => {
                let Ok(outcome) = serde_json::from_value::<Outcome>(value["outcome"].clone())
                else {
                    return;
                };
                let words = client::outcome_words(&outcome);
                if is_of_workflow {
                    return self.pass_ended(StepState::of_outcome(&outcome), words);
                }
                self.show(|view| {
                    view.ended = Some(StepState::of_outcome(&outcome));
                    view.words = match view.begun {
                        Some(begun) => {
                            format!("{words}, after {:.1} s", begun.elapsed().as_secs_f64())
                        }
                        None => words,
                    };
                    None
                });
            }
            "unit" => self.unit(&value),
            "workflow" => self.show(|view| {
                let words = end_words(&text("end"));
                let message = text("message");
                view.words = if message.is_empty() {
                    words.to_owned()
                } else {
                    format!("{words}: {message}")
                };
                None
            }),
            _ => {}
        }
    }

    fn say(&self, words: &str) {
        if self.running().is_some() {
            self.fact(words.trim_end().to_owned());
        }
    }

    fn before_question(&self, text: &str) {
        text.clone_into(&mut locked(&self.state).before_question);
    }

    fn choose(&self, question: &str, choices: &[AnswerButton]) -> Option<String> {
        let mut state = locked(&self.state);
        let place = state.running?;
        state.asked += 1;
        let number = state.asked;
        let before = std::mem::take(&mut state.before_question);
        let question = question.strip_suffix(" [y/n]").unwrap_or(question);
        let text = if before.is_empty() {
            question.to_owned()
        } else {
            before
        };
        let open = OpenQuestion {
            number,
            text,
            buttons: choices.to_vec(),
        };
        let buttons: Vec<[&str; 2]> = choices
            .iter()
            .map(|one| [one.letter, one.words.as_str()])
            .collect();
        let event = json!({"type": "question", "at": id(place), "number": number, "text": open.text, "buttons": buttons});
        state.steps.entry(place).or_default().question = Some(open);
        self.event(&mut state, event);
        let waits = |state: &mut State| {
            state
                .answer
                .as_ref()
                .is_none_or(|(answered, _)| *answered != number)
        };
        let (mut state, _) = self
            .answered
            .wait_timeout_while(state, PATIENCE, waits)
            .unwrap_or_else(PoisonError::into_inner);
        state.steps.entry(place).or_default().question = None;
        state
            .answer
            .take_if(|(answered, _)| *answered == number)
            .map(|(_, letter)| letter)
    }
}

/// Maximum size of the output that a page keeps of one run, in bytes.
const MAX_OUTPUT: usize = 2 << 20;
/// Maximum number of visits that a page shows of one walk.
const MAX_PASSES: usize = 10_000;

/// Index of a page, and number of a step on the page.
pub type PlaceOnPage = (usize, usize);

/// Number of the whole workflow of a page.
pub const WORKFLOW: usize = usize::MAX;

/// Returns the fragment of a step.
pub fn id((page, step): PlaceOnPage) -> String {
    if step == WORKFLOW {
        format!("workflow-{page}")
    } else {
        format!("step-{page}-{step}")
    }
}

documents::words! {
    /// How the last run of a step ended.
    #[derive(Default)]
    pub enum StepState {
        /// The step has not run since the session began.
        #[default]
        Ready = "ready",
        /// The step waits or runs.
        Running = "running",
        /// Exit code 0.
        Passed = "passed",
        /// Exit code 2: success with a warning.
        Warned = "warned",
        /// Any other end of a process.
        Failed = "failed",
        /// A person stopped the step.
        Stopped = "stopped",
        /// Nothing ran.
        NotRun = "not-run",
    }
}

impl StepState {
    /// Returns how a run with this outcome ended.
    pub fn of_outcome(outcome: &Outcome) -> Self {
        match outcome.status {
            Status::Succeeded => Self::Passed,
            Status::Warned => Self::Warned,
            Status::Cancelled => Self::Stopped,
            Status::NotStarted => Self::NotRun,
            Status::Failed | Status::TimedOut | Status::Killed | Status::Unknown => Self::Failed,
        }
    }

    /// Returns how a walk with this exit code ended.
    pub fn of_exit(code: u8) -> Self {
        match code {
            0 => Self::Passed,
            2 => Self::Warned,
            _ => Self::Failed,
        }
    }
}

/// A question that waits for its answer.
#[derive(Debug)]
pub struct OpenQuestion {
    /// Number of the question.
    pub number: u64,
    /// Text of the question.
    pub text: String,
    /// Answers.
    pub buttons: Vec<AnswerButton>,
}

/// One visit of a unit of a workflow.
#[derive(Debug, Default)]
pub struct ShownPass {
    /// Label of the unit, for example `2.1`.
    pub label: String,
    /// Label and title of the unit, the value of its loop, and the number of the visit.
    pub heading: String,
    /// What the person reads before the unit.
    pub prompt: String,
    /// How the visit ended.
    pub state: StepState,
    /// The end in words.
    pub words: String,
    /// Output of the visit.
    pub output: Vec<ColouredText>,
}

/// What a step shows.
#[derive(Debug, Default)]
pub struct ShownStep {
    /// How the last run ended.
    pub state: StepState,
    /// The end in words.
    pub words: String,
    /// Output of the last run.
    pub output: Vec<ColouredText>,
    /// Visits of the last walk through a workflow.
    pub passes: Vec<ShownPass>,
    bytes: usize,
    painters: [OutputPainter; 2],
    /// State that shows the outcome of the last run, as soon as the outcome is known.
    pub ended: Option<StepState>,
    /// Start of the process of the last run.
    pub begun: Option<Instant>,
    /// Facts about the last run, for example its sandbox and its outputs.
    pub facts: Vec<String>,
    /// Files that the last run left in `$COUNTERSIGN_OUTPUT`.
    pub files: Vec<CapturedFile>,
    /// Question that waits for its answer.
    pub question: Option<OpenQuestion>,
    /// What the person gave for the last run, by the names of the fields.
    pub given: FormFields,
}

impl ShownStep {
    /// Returns what a step shows when it begins with these values.
    pub fn running(given: FormFields) -> Self {
        Self {
            state: StepState::Running,
            given,
            ..Self::default()
        }
    }

    /// Adds output, and returns the part that the page shows.
    pub fn add_output(&mut self, stream: usize, bytes: &[u8]) -> Vec<ColouredText> {
        if self.bytes > MAX_OUTPUT {
            return Vec::new();
        }
        self.bytes += bytes.len();
        let mut parts = self.painters[stream].feed(bytes);
        if self.bytes > MAX_OUTPUT {
            let text = "\n(the page shows no more of this output)\n".to_owned();
            parts.push(ColouredText {
                class: "bold".to_owned(),
                text,
            });
        }
        self.append(parts.clone());
        parts
    }

    /// Adds the rest of the output, which could be the beginning of an escape sequence.
    pub fn end_output(&mut self) -> Vec<ColouredText> {
        let rest: Vec<ColouredText> = self
            .painters
            .iter_mut()
            .flat_map(OutputPainter::end)
            .collect();
        self.painters = Default::default();
        self.append(rest.clone());
        rest
    }

    fn append(&mut self, parts: Vec<ColouredText>) {
        let output = self
            .passes
            .last_mut()
            .map_or(&mut self.output, |pass| &mut pass.output);
        for part in parts {
            match output.last_mut().filter(|last| last.class == part.class) {
                Some(last) => last.text.push_str(&part.text),
                None => output.push(part),
            }
        }
    }

    /// Adds a visit of a unit. Returns false if the page shows no further visit.
    pub fn begin_pass(&mut self, label: &str, heading: String, prompt: String) -> bool {
        self.end_output();
        if self.passes.len() >= MAX_PASSES {
            return false;
        }
        let visits = self
            .passes
            .iter()
            .filter(|pass| pass.label == label)
            .count();
        let heading = if visits == 0 {
            heading
        } else {
            format!("{heading} (visit {})", visits + 1)
        };
        self.passes.push(ShownPass {
            label: label.to_owned(),
            heading,
            prompt,
            state: StepState::Running,
            ..ShownPass::default()
        });
        true
    }
}
