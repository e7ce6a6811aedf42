//! From files to sealed steps: what a script would run, what a step is, and what policy asks.
//!
//! - [`yaml`]: YAML within the data model of JSON, with line numbers
//! - `written`: what people write: the sandbox of a step, approval rules, paths, durations
//! - `shell`: a parser for shell syntax that finds the commands of a script
//! - `template`: scripts with placeholders for parameters
//! - `registry`: the steps of the runbooks
//! - `policy`: the rules that decide about steps and commands
#![forbid(unsafe_code)]

mod policy;
mod registry;
mod shell;
mod template;
mod written;
pub mod yaml;

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
    possible_names::check_program,
    profile_error::words_of,
    program_names::{
        DEFAULT_TOOLS, ProgramNames, ProgramOrigin, SharedNames, denial_of, is_listed,
        is_listed_by_policy, named_in, named_origins, not_listable, with_closures, with_started,
    },
    required_permissions::{
        self, MAX_SHOWN, PolicyDenied, decide_at_boundary, decide_file, decide_step, is_read,
    },
    ruling::{self, Ruling, resolve, resolve_path},
    session::{AnswerChoice, AnswerGiven, DefaultAnswers, Session, plural},
    signed_programs::{check_list, check_programs, moved, without_denied, without_list},
    step_profile::{PolicyProfile, RequiredLayers, effective, profile_of_step},
};
pub use registry::{
    FileSteps, Registry,
    attributes::{self, LIMITS},
    file_problem::{FileProblem, Problems, lines_of},
    gruntwork::{self, OtherBlock},
    lock_file::{LOCK_FILE, LockFile},
    markdown,
    on_all_cores::on_all_cores,
    output_schema::output_schema,
    page::{Page, ReadPage, RunbookFiles},
    parameter_error::{ParameterError, escape},
    parameter_schema::{self, ParameterSchema, Params},
    prose_tree::{kind_of_element, original, prose_tree, text_attribute},
    registered_step::{RegisteredStep, StoredStep},
    runbook_directories::{InvalidFiles, Locks, RunbookDirectories},
    rundown::{
        self, read_workflow,
        workflow::{
            Aggregation, FinalAction, LoopClause, LoopSource, MAX_ITERATIONS, UnitLabel,
            UnitScript, UnitTarget, Workflow, WorkflowStep, WorkflowUnit,
        },
    },
    runnable,
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
pub use written::{
    allowed_sandbox::{ProgramsRule, SandboxRule},
    declared_sandbox::check_written_program,
    host_paths::split_patterns,
    sandbox_permission::{
        SandboxPermission, check_declared, listed_host, rule_entry, with_needed_word,
    },
    written_time::{duration, time},
};
pub use yaml::{Key, OtherFile, TextPlace, YamlFlaw, YamlKind, YamlNode, distance, nearest};

pub(crate) use policy::{
    file::CompiledPattern,
    lists::{ListedPattern, PatternList},
    patterns::PatternError,
    people_rules::{FreezeRule, StandingRule},
    profile_error::ProfileError,
};
pub(crate) use registry::{
    attributes::{FenceInfo, LINKS, PlacedText},
    declared_needs::DeclaredNeeds,
    declared_secrets::declared_secrets,
    directory_walk::{read_page, read_text},
    fenced_block::{FencedBlock, check_characters, fenced_blocks},
    found_step::{FoundStep, add_step},
    front_matter::FrontMatter,
    gruntwork::{elements::Element, notes::YamlSource, variable::Variable},
    markdown::check_file_name,
    registered_step::ScriptCheck,
    run_links::RunLinks,
    rundown::header::is_identifier,
    script_rules::{
        BYTE_ORDER_MARK, REFUSED_CHARACTERS, check_path, check_size, interpreter_of_shebang,
        step_ref,
    },
    shared_remarks::RemarkKind,
    shared_schemas::SharedSchemas,
    step_contents::{named_files, put_files},
    text_lines::TextLines,
};
pub(crate) use shell::{
    commands::ReadScript,
    found::UnknownReason,
    grammar::ListEnd,
    options::OptionGrammar,
    programs::{ArgumentReading, is_known, is_used_for},
    reasons::{
        CHANGES_READING, LOGIN, MAY_BE_OPTION, NO_TEXT, NOT_NAMED, READING, SEVERAL_WORDS,
        UNKNOWN_OPTION,
    },
    script_calls::{CallWord, ScriptCall, ScriptCalls},
    script_walk::{Context, NOT_FOUND, ScriptWalk, TextReader},
    syntax::{
        ByteOrigin, CommandList, CompoundCommand, Dialect, HOLE, MAX_DEPTH, Parser, Pipeline, Read,
        Redirect, Script, ShellNode, SimpleCommand, SyntaxFlaw, Word, WordPart,
    },
    traps::{is_trap, opens_index},
    words::{QuoteKind, WordBuilder, WordPosition},
    wrappers::{Done, WrapperCall},
};
pub(crate) use template::{
    code_reader::CodeLanguage,
    condition::{Condition, ValueName},
    shell_commands::SlotRule,
    shell_places::shell_places,
    shell_plan::Flaws,
    shell_quoting::TemplatePlace,
    shell_roles::{MARK_BYTES, MAX_SLOTS},
    syntax::TemplateNode,
    variant::Variant,
};
pub(crate) use written::{
    approval_rule::{approvals_among, read_approvals},
    declared_sandbox::network_of_rule,
    host_paths::check_pattern,
};
