//! From files to sealed steps: what a script would run, what a step is, and what policy asks.
//!
//! - `shell`: a parser for shell syntax that finds the commands of a script
//! - `template`: scripts with placeholders for parameters
//! - `registry`: the steps of the runbooks
//! - `policy`: the rules that decide about steps and commands
#![forbid(unsafe_code)]

mod policy;
mod registry;
mod shell;
mod template;

mod file_problem;

pub use file_problem::{FileProblem, Problems, lines_of};
pub use policy::{
    applied_rule::AppliedRule,
    builtins::{self, Builtins, CANONICAL},
    closures::Closures,
    decide::{
        Decided, DecisionPlace, Flags, Granted, PolicyDecision, PolicyVerdict, decide_command,
        decide_env, decide_path, decide_script, worst,
    },
    file::{self, MAX_FILE_BYTES, Mode, Policy, PolicyFile},
    host_access::check_deny,
    lists::{self, KINDS, ListEntry, ListSide},
    origin::{RuleOrigin, WithOrigin},
    paths::{PathVariables, RunbookPath, normalised},
    patterns::{CaseSensitivity, LeadingDots, Pattern},
    people_rules::{EmergencyRule, PasskeysRule, PeopleRule},
    policy_error::PolicyError,
    possible_names::check_program,
    profile_error::words_of,
    program_names::{
        DEFAULT_TOOLS, ProgramNames, ProgramOrigin, SharedNames, denial_of, is_listed,
        is_listed_by_policy, named_in, named_origins, not_listable, with_closures, with_started,
    },
    required_permissions::{self, MAX_SHOWN, PolicyDenied, decide_file, decide_step, is_read},
    ruling::{self, Ruling, resolve, resolve_path},
    session::{AnswerChoice, AnswerGiven, DefaultAnswers, Session, plural},
    signed_programs::{check_list, check_programs, moved, without_denied, without_list},
    step_profile::{PolicyProfile, RequiredLayers, effective, profile_of_step},
};
pub use registry::{
    FileSteps, Registry,
    attributes::{self, LIMITS},
    gruntwork::{self, OtherBlock},
    lock_file::{LOCK_FILE, LockFile},
    markdown,
    on_all_cores::on_all_cores,
    output_schema::output_schema,
    page::{Page, ReadPage, RunbookFiles},
    parameter_error::ParameterError,
    parameter_schema::{self, ParameterSchema, Params},
    prose_tree::{kind_of_element, original, prose_tree, text_attribute},
    registered_step::{RegisteredStep, StoredStep},
    registry_error::RegistryError,
    runbook_directories::{InvalidFiles, Locks, RunbookDirectories},
    rundown::{
        self, read_workflow,
        workflow::{
            Aggregation, FinalAction, LoopClause, LoopSource, MAX_ITERATIONS, UnitLabel,
            UnitScript, UnitTarget, Workflow, WorkflowStep, WorkflowUnit,
        },
    },
    runnable,
    schema_keywords::{SchemaFlaw, escape, pointer},
    script_remarks::script_remarks,
    session_names::session_names,
    step_differences::{changed_fields, differences},
    step_place::{ScriptOrigin, StepPlace},
};
pub use shell::{
    commands::{self, ReadLimit, comments, find_in},
    found::{FoundKind, NotUnderstood, ScriptFinding, ScriptPlace, Shell, UnknownPart},
    settings::TRUSTED,
};
pub use template::{
    flaw::{RenderError, TemplateFlaw},
    script_template::ScriptTemplate,
    step_template::{self, of_step},
};
