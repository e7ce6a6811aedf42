//! What each step shows now. The worker writes, and each open tab reads.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use client::terminal::exit::{CommandFailure, Exit};
use client::terminal::printable_text::PrintableText;
use client::terminal::streams::{AnswerButton, Audience};
use console::page::terminal_text::{ColouredText, OutputPainter};
use documents::record::stream_name::StreamName;
use sandbox::sessions::run_results::CapturedFile;
use serde_json::{Value, json};
use tokio::sync::watch;

/// Maximum size of the output that a page keeps of one run, in bytes.
const MAX_OUTPUT: usize = 2 << 20;
/// Maximum size of the events that are kept for a tab that connects again, in bytes.
const MAX_EVENTS: usize = 4 << 20;
/// Time for an answer. After this time the answer is no.
const PATIENCE: Duration = Duration::from_secs(30 * 60);

/// Index of a page and of a step on the page.
pub type PlaceOnPage = (usize, usize);

/// How the last run of a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StepState {
    /// The step has not run since the session began.
    #[default]
    Ready,
    /// The step waits or runs.
    Running,
    /// Exit code 0.
    Passed,
    /// Exit code 2, which holds nothing up.
    Warned,
    /// Any other end.
    Failed,
}

impl StepState {
    /// Returns the word for the style sheet and the script.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Running => "running",
            Self::Passed => "passed",
            Self::Warned => "warned",
            Self::Failed => "failed",
        }
    }
}

/// A question that waits for its answer.
#[derive(Debug, Clone)]
pub struct OpenQuestion {
    /// Number of the question.
    pub number: u64,
    /// Text of the question.
    pub text: String,
    /// Answers.
    pub buttons: Vec<AnswerButton>,
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
    bytes: usize,
    painters: [OutputPainter; 2],
    /// Facts about the last run, for example its sandbox and its outputs.
    pub facts: Vec<String>,
    /// Files that the last run left in `$COUNTERSIGN_OUTPUT`.
    pub files: Vec<CapturedFile>,
    /// Question that waits for its answer.
    pub question: Option<OpenQuestion>,
    /// What the person gave for the last run, by the names of the fields.
    pub given: BTreeMap<String, String>,
}

#[derive(Debug, Default)]
struct State {
    steps: BTreeMap<PlaceOnPage, ShownStep>,
    running: Option<PlaceOnPage>,
    before_question: String,
    asked: u64,
    answer: Option<(u64, String)>,
    events: VecDeque<(u64, String)>,
    events_bytes: usize,
}

/// What all steps show.
#[derive(Debug)]
pub struct Board {
    state: Mutex<State>,
    answered: Condvar,
    /// Number of the last event.
    last: watch::Sender<u64>,
}

impl Board {
    /// Returns a board on which no step has run.
    pub fn new() -> Self {
        Self { state: Mutex::default(), answered: Condvar::new(), last: watch::channel(0).0 }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls `read` with what a step shows.
    pub fn with<R>(&self, place: PlaceOnPage, read: impl FnOnce(&ShownStep) -> R) -> R {
        let mut state = self.lock();
        read(state.steps.entry(place).or_default())
    }

    /// Returns the step that runs.
    pub fn running(&self) -> Option<PlaceOnPage> {
        self.lock().running
    }

    /// Reserves the worker for a step. Returns the step that runs already, if one runs.
    ///
    /// # Errors
    /// Returns the step that runs.
    pub fn begin(&self, place: PlaceOnPage, given: BTreeMap<String, String>) -> Result<(), PlaceOnPage> {
        let mut state = self.lock();
        if let Some(running) = state.running {
            return Err(running);
        }
        state.running = Some(place);
        state.steps.insert(place, ShownStep { state: StepState::Running, given, ..ShownStep::default() });
        self.event(&mut state, json!({"type": "begin", "at": id(place)}));
        drop(state);
        Ok(())
    }

    /// Shows the end of a run.
    pub fn end(&self, result: Result<Exit, CommandFailure>, facts: Vec<String>, files: Vec<CapturedFile>) {
        let mut state = self.lock();
        let Some(place) = state.running.take() else { return };
        let view = state.steps.entry(place).or_default();
        let mut rest: Vec<ColouredText> = view.painters.iter_mut().flat_map(OutputPainter::end).collect();
        view.output.append(&mut rest);
        view.question = None;
        view.facts.extend(facts);
        view.files = files;
        match result {
            Ok(exit) => {
                view.state = match exit.code() {
                    0 => StepState::Passed,
                    2 => StepState::Warned,
                    _ => StepState::Failed,
                };
                if view.words.is_empty() {
                    view.words = format!("ended: exit code {}", exit.code());
                }
            }
            Err(failure) => (view.state, view.words) = (StepState::Failed, format!("not run: {}", failure.message)),
        }
        let files: Vec<[String; 2]> =
            view.files.iter().enumerate().map(|(at, file)| [file_path(place, at), file_words(file)]).collect();
        let event = json!({
            "type": "end", "at": id(place), "state": view.state.word(), "words": view.words, "facts": view.facts,
            "files": files,
        });
        self.event(&mut state, event);
    }

    /// Forgets what the steps of a page showed.
    pub fn reset(&self, page: usize) {
        let mut state = self.lock();
        state.steps.retain(|(at, _), _| *at != page);
        self.event(&mut state, json!({"type": "reload"}));
    }

    /// Gives the answer to a question. Returns false if the question no longer waits.
    pub fn answer(&self, number: u64, letter: &str) -> bool {
        let mut state = self.lock();
        let Some(place) = state.running else { return false };
        let view = state.steps.entry(place).or_default();
        let offered = view
            .question
            .as_ref()
            .is_some_and(|open| open.number == number && open.buttons.iter().any(|button| button.letter == letter));
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
        let state = self.lock();
        let first = state.events.front().map_or(self.last_event() + 1, |(first, _)| *first);
        if number + 1 < first {
            return None;
        }
        Some(state.events.iter().filter(|(at, _)| *at > number).cloned().collect())
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
        let mut state = self.lock();
        let Some(place) = state.running else { return };
        let event = change(state.steps.entry(place).or_default());
        if let Some(mut event) = event {
            event["at"] = id(place).into();
            self.event(&mut state, event);
        }
    }

    fn output(&self, stream: usize, bytes: &[u8]) {
        self.show(|view| {
            if view.bytes > MAX_OUTPUT {
                return None;
            }
            view.bytes += bytes.len();
            let mut parts = view.painters[stream].feed(bytes);
            if view.bytes > MAX_OUTPUT {
                let text = "\n(the page shows no more of this output)\n".to_owned();
                parts.push(ColouredText { class: "bold".to_owned(), text });
            }
            let event: Vec<[&str; 2]> = parts.iter().map(|part| [part.class.as_str(), part.text.as_str()]).collect();
            let event = json!({"type": "output", "parts": event});
            for part in parts {
                match view.output.last_mut().filter(|last| last.class == part.class) {
                    Some(last) => last.text.push_str(&part.text),
                    None => view.output.push(part),
                }
            }
            Some(event)
        });
    }

    fn fact(&self, fact: String) {
        self.show(|view| {
            let event = json!({"type": "fact", "text": fact});
            view.facts.push(fact);
            Some(event)
        });
    }
}

impl Default for Board {
    fn default() -> Self {
        Self::new()
    }
}

/// Returns the fragment of a step.
pub fn id((page, step): PlaceOnPage) -> String {
    format!("step-{page}-{step}")
}

/// Returns the path of a file of a step on this server.
pub fn file_path((page, step): PlaceOnPage, file: usize) -> String {
    format!("/page/{page}/file/{step}/{file}")
}

/// Returns the name and the size of a file for a reader.
pub fn file_words(file: &CapturedFile) -> String {
    format!("{} ({} bytes)", PrintableText::text(file.path.as_str()).as_str(), file.bytes)
}

impl Audience for Board {
    fn object(&self, value: Value) {
        let text = |field: &str| value[field].as_str().unwrap_or_default().to_owned();
        match value["type"].as_str().unwrap_or_default() {
            "output" => {
                let bytes = match value["text"].as_str() {
                    Some(text) => text.as_bytes().to_vec(),
                    None => BASE64_STANDARD.decode(text("base64")).unwrap_or_default(),
                };
                self.output(usize::from(value["stream"] == json!(StreamName::Stderr)), &bytes);
            }
            "step" => {
                self.fact(format!("sandbox: {}", text("sandbox")));
                self.fact(format!("directory: {}", text("workdir")));
                let listed = value["programs"]["list"].as_array();
                let names: Vec<&str> = listed.into_iter().flatten().filter_map(|one| one["name"].as_str()).collect();
                self.fact(match value["programs"]["why"].as_str() {
                    Some(why) => format!("programs: every program, because {why}"),
                    None => format!("programs that may run: {}", names.join(", ")),
                });
            }
            "answer" => self.fact(format!("{}: {}", text("question"), text("answer"))),
            "hint" => self.fact(text("text")),
            "exit" => {
                let outcome = serde_json::from_value(value["outcome"].clone());
                let words = outcome.map(|outcome| client::terminal::outcome_words::outcome_words(&outcome));
                self.show(|view| {
                    view.words = words.unwrap_or_default();
                    None
                });
            }
            "unit" => {
                let prompt = text("prompt");
                self.output(
                    0,
                    format!(
                        "== {} {}\n{prompt}{}",
                        text("unit"),
                        text("title"),
                        if prompt.is_empty() { "" } else { "\n" }
                    )
                    .as_bytes(),
                );
            }
            "workflow" => {
                self.output(0, format!("== the workflow ended: {} {}\n", text("end"), text("message")).as_bytes())
            }
            _ => {}
        }
    }

    fn say(&self, words: &str) {
        if self.running().is_some() {
            self.fact(words.trim_end().to_owned());
        }
    }

    fn before_question(&self, text: &str) {
        text.clone_into(&mut self.lock().before_question);
    }

    fn choose(&self, question: &str, choices: &[AnswerButton]) -> Option<String> {
        let mut state = self.lock();
        let place = state.running?;
        state.asked += 1;
        let number = state.asked;
        let before = std::mem::take(&mut state.before_question);
        let text = if before.is_empty() { question.to_owned() } else { before };
        let open = OpenQuestion { number, text, buttons: choices.to_vec() };
        let buttons: Vec<[&str; 2]> = choices.iter().map(|one| [one.letter, one.words.as_str()]).collect();
        let event =
            json!({"type": "question", "at": id(place), "number": number, "text": open.text, "buttons": buttons});
        state.steps.entry(place).or_default().question = Some(open);
        self.event(&mut state, event);
        let waits = |state: &mut State| state.answer.as_ref().is_none_or(|(answered, _)| *answered != number);
        let (mut state, _) =
            self.answered.wait_timeout_while(state, PATIENCE, waits).unwrap_or_else(PoisonError::into_inner);
        state.steps.entry(place).or_default().question = None;
        state.answer.take_if(|(answered, _)| *answered == number).map(|(_, letter)| letter)
    }
}
