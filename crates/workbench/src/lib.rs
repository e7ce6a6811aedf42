//! A person's own machine: runbooks run at a terminal, and the notebook in a browser.
//!
//! - `local`: the command `countersign run`, and checks for authors of runbooks
//! - `notebook`: the command `countersign open`
#![forbid(unsafe_code)]

mod local;
mod notebook;

pub use local::{
    author_preview::{AuthorPreview, PreviewRules, SealedSteps},
    decide::{LocalRules, RuleArgs},
    host_sandbox::HostSandbox,
    local_secrets::LocalSecrets,
    project::{FoundPolicy, Project, real_program},
    runbook::{Runbook, WalkStep, how_to_write_a_step},
    runbook_check::{RunbookCheck, missing_programs, of_sound_files, uses_network},
    runbook_test::RunbookTests,
    sandbox_choice::{SandboxArgs, SandboxChoice},
    script_answer::{
        HEADS, JudgedScript, ScriptAnswer, heading, not_understood, to_json, word_of, worst,
    },
    signals::Signals,
    step_run::RunbookWalk,
    test_run::{TestResult, TestedRunbook},
    walk_session::WalkSession,
    workflow_run::WorkflowRun,
    workflow_walk::{LoopLists, NextUnit, WorkflowWalk},
};
pub use notebook::{
    board::Board,
    open_pages::{OpenFiles, PageRules},
    propose_routes::{self, ProposingNotebook},
    routes::{Notebook, routes},
    saved_files::{keep_looking, states_below},
    worker::Workshop,
};

pub(crate) use local::{
    author_preview::ComparedStep, decide::Question, runbook::ChosenStep,
    step_programs::StepPrograms, working_directory::WorkingDirectory,
};
pub(crate) use notebook::{
    board::{PlaceOnPage, ShownStep, StepState, WORKFLOW, file_path, file_words},
    form::{
        CONFIRM, DIGEST, FieldKind, FormField, PREFIX, RefusedStep, confirmation_id, field_inputs,
    },
    open_pages::{ListedFile, OpenPage, PageStep},
    sealed_runbook::{SealedBlock, SealedRunbook, SealedStep},
    view::Views,
    wish::{GivenWish, WishProblems},
};
