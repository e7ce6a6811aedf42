//! The data that a page shows for one step.

use std::collections::BTreeMap;
use std::time::Instant;

use client::{AnswerButton, ColouredText, OutputPainter};
use documents::{Outcome, Status};
use sandbox::CapturedFile;

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
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
    pub enum StepState {
        /// The step has not run since the session began.
        #[default]
        Ready = "ready",
        /// The step waits or runs.
        Running = "running",
        /// Exit code 0.
        Passed = "passed",
        /// Exit code 2, which holds nothing up.
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
    pub const fn of_outcome(outcome: &Outcome) -> Self {
        match outcome.status {
            Status::Succeeded => Self::Passed,
            Status::Warned => Self::Warned,
            Status::Cancelled => Self::Stopped,
            Status::NotStarted => Self::NotRun,
            Status::Failed | Status::TimedOut | Status::Killed | Status::Unknown => Self::Failed,
        }
    }

    /// Returns how a walk with this exit code ended.
    pub const fn of_exit(code: u8) -> Self {
        match code {
            0 => Self::Passed,
            2 => Self::Warned,
            _ => Self::Failed,
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
    /// How the outcome of the last run is shown, after the outcome is known.
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
    pub given: BTreeMap<String, String>,
}

impl ShownStep {
    /// Returns what a step shows when it begins with these values.
    pub fn running(given: BTreeMap<String, String>) -> Self {
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
