//! Workflow of a Rundown file: its steps, and what follows after each result.

use std::fmt;

use crate::{DeclaredNeeds, TextPlace};

/// Maximum number of iterations of a loop, and of retries of a step. The limit bounds a run that nobody watches.
pub const MAX_ITERATIONS: u32 = 10_000;

/// Steps of one Rundown file.
pub struct Workflow {
    /// Text of the first H1 heading.
    pub title: Option<String>,
    /// Text before the first step.
    pub description: Option<String>,
    /// Steps in the order of the file.
    pub steps: Vec<WorkflowStep>,
}

/// Step of a workflow: an H2 heading with its content.
#[derive(Debug, PartialEq)]
pub struct WorkflowStep {
    /// Content of the step itself. A step with substeps has no script of its own.
    pub unit: WorkflowUnit,
    /// Loop over the substeps.
    pub repeat: Option<LoopClause>,
    /// Substeps in the order of the file.
    pub substeps: Vec<WorkflowUnit>,
}

/// Content of a step or of a substep.
#[derive(Debug, PartialEq)]
pub struct WorkflowUnit {
    /// Number, name or placeholder.
    pub label: UnitLabel,
    /// Place of the heading.
    pub place: TextPlace,
    /// Title after the label. The title is the label if the heading contains no other text.
    pub title: String,
    /// Text for the person.
    pub prompt: String,
    /// Blocks that the person sees and that are never run.
    pub shown: Vec<String>,
    /// Script to run.
    pub script: Option<UnitScript>,
    /// Other runbooks that the person runs, with the places of their names.
    pub runbooks: Vec<(TextPlace, String)>,
    /// Transitions that the file states, completed with the defaults. `None` if the file states no transition.
    pub transitions: Option<Transitions>,
}

/// Script of a unit.
#[derive(Debug, PartialEq)]
pub struct UnitScript {
    /// Id in the step reference, for example `1.2`.
    pub id: String,
    /// Place of the fence.
    pub fence: TextPlace,
    /// Program that runs the script.
    pub interpreter: String,
    /// Text of the script. A loop variable is already replaced by a variable of the environment.
    pub source: String,
    /// Needs that the block declares.
    pub needs: DeclaredNeeds,
}

/// Number, name or placeholder of a step or substep.
#[derive(Debug, Clone, PartialEq)]
pub enum UnitLabel {
    /// Number, from 1.
    Number(u32),
    /// `{N}` of a dynamic step, or `{n}` of a dynamic substep.
    Dynamic,
    /// Name, which is an identifier.
    Name(String),
}

impl UnitLabel {
    /// Returns the label of a substep as in the file.
    pub fn substep_text(&self) -> String {
        self.with_dynamic("{n}")
    }

    /// Returns the label, or `dynamic` for a placeholder.
    pub fn with_dynamic(&self, dynamic: &str) -> String {
        if *self == Self::Dynamic {
            dynamic.to_owned()
        } else {
            self.to_string()
        }
    }
}

impl fmt::Display for UnitLabel {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Dynamic => f.write_str("{N}"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// What follows after each result of a unit.
#[derive(Debug, Clone, PartialEq)]
pub struct Transitions {
    /// Rule for the result of a step with substeps.
    pub aggregation: Aggregation,
    /// Action after a pass.
    pub pass: TransitionAction,
    /// Action after a failure.
    pub fail: TransitionAction,
}

impl Default for Transitions {
    fn default() -> Self {
        let action = |then| TransitionAction {
            place: TextPlace::default(),
            retries: 0,
            then,
        };
        Self {
            aggregation: Aggregation::AllPass,
            pass: action(FinalAction::Continue),
            fail: action(FinalAction::Stop(None)),
        }
    }
}

/// Rule that makes one result from the results of all substeps.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Aggregation {
    /// `PASS ALL`, `FAIL ANY`: the step passes if all substeps pass.
    AllPass,
    /// `PASS ANY`, `FAIL ALL`: the step passes if at least one substep passes.
    AnyPasses,
}

/// Action of a transition.
#[derive(Debug, Clone, PartialEq)]
pub struct TransitionAction {
    /// Place of the line, or `0:0` for a default.
    pub place: TextPlace,
    /// Number of times that the unit is repeated before `then`.
    pub retries: u32,
    /// Action after the last retry.
    pub then: FinalAction,
}

/// Action that is no retry.
#[derive(Debug, Clone, PartialEq)]
pub enum FinalAction {
    /// Go to the next unit.
    Continue,
    /// End the workflow with success, with an optional message.
    Complete(Option<String>),
    /// End the workflow with failure, with an optional message.
    Stop(Option<String>),
    /// Go to a unit.
    Goto(UnitTarget),
    /// Begin the next instance of a dynamic step or substep. Without a target, the innermost dynamic unit is meant.
    NextInstance(Option<UnitTarget>),
}

/// Unit that a `GOTO` names.
#[derive(Debug, Clone, PartialEq)]
pub struct UnitTarget {
    /// Label of the step.
    pub step: UnitLabel,
    /// Label of the substep.
    pub substep: Option<UnitLabel>,
}

impl fmt::Display for UnitTarget {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match &self.substep {
            Some(substep) => write!(f, "{}.{}", self.step, substep.substep_text()),
            None => write!(f, "{}", self.step),
        }
    }
}

/// `FOR` line of a step.
#[derive(Debug, PartialEq)]
pub struct LoopClause {
    /// Place of the line.
    pub place: TextPlace,
    /// Variable with the value of the iteration.
    pub variable: Option<String>,
    /// Values of the iterations.
    pub source: LoopSource,
}

/// Values of a loop.
#[derive(Debug, Clone, PartialEq)]
pub enum LoopSource {
    /// Numbers from `first` to `last`, in either direction.
    Range {
        /// First number.
        first: u32,
        /// Last number.
        last: u32,
    },
    /// List that the person names on the command line with `--var`.
    List {
        /// Name of the list.
        name: String,
        /// Numbers of the first and the last item, from 1. `None` means all items.
        window: Option<(u32, u32)>,
    },
}
