//! Reads runbooks and policy files, and finds what a step contains, which commands its script would run, and what
//! policy requires.
//!
//! - [`yaml`]: YAML within the data model of JSON, with line numbers
//! - `written`: the sandbox of a step, approval rules, paths and durations, as people write them
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
    builtins::{self, Builtins, CANONICAL, Closures},
    decide::{
        Decided, DecisionPlace, Flags, Granted, PolicyDecision, PolicyVerdict, decide_command,
        decide_env, decide_path, decide_script, worst,
    },
    file::{
        self, EmergencyRule, MAX_FILE_BYTES, Mode, PasskeysRule, PeopleRule, Policy, PolicyFile,
    },
    host_access::check_deny,
    lists::{
        self, ListEntry, ListSide, PathVariables, RuleOrigin, RunbookPath, WithOrigin, normalised,
    },
    patterns::{CaseSensitivity, LeadingDots, Pattern},
    possible_names::check_program,
    program_names::{
        DEFAULT_TOOLS, ProgramNames, ProgramOrigin, SharedNames, denial_of, is_listed,
        is_listed_by_policy, named_in, named_origins, not_listable, with_closures, with_started,
    },
    required_permissions::{
        self, DenialGround, MAX_SHOWN, PolicyDenied, decide_at_boundary, decide_file, decide_step,
        is_read,
    },
    ruling::{self, AppliedRule, Ruling, resolve, resolve_path},
    session::{AnswerChoice, AnswerGiven, DefaultAnswers, Session, plural},
    signed_programs::{check_list, check_programs, without_denied, without_list},
    step_profile::{PolicyProfile, effective, profile_of_step},
};
pub use registry::{
    FileSteps, Registry,
    attributes::{self, LIMITS},
    evaluate::{ParameterError, escape},
    file_problem::{FileProblem, Problems, lines_of},
    found_step::{ScriptOrigin, StepPlace},
    gruntwork::{self, OtherBlock},
    lock_file::{LOCK_FILE, LockFile, changed_fields, differences},
    markdown,
    on_all_cores::on_all_cores,
    page::{Page, ReadPage, RunbookFiles},
    parameter_schema::{self, ParameterSchema, Params},
    prose_tree::{kind_of_element, original, prose_tree, text_attribute},
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
    step_contents::{RegisteredStep, StoredStep, output_schema},
};
pub use shell::{
    commands::{self, ReadLimit, comments, find_in},
    found::{FoundKind, NotUnderstood, ScriptFinding, Shell, UnknownPart},
    settings::TRUSTED,
};
pub use template::{
    script_template::ScriptTemplate,
    step_template::{self, of_step},
    syntax::{RenderError, TemplateFlaw},
};
pub use written::{
    declared_sandbox::{ProgramsRule, SandboxRule, check_written_program, duration, time},
    sandbox_permission::{
        SandboxPermission, check_declared, listed_host, rule_entry, split_patterns,
        with_needed_word,
    },
};
pub use yaml::{
    Key, OtherFile, TextPlace, YamlFlaw, YamlKind, YamlNode, distance, nearest,
    text_lines::TextLines,
};

pub(crate) use policy::{
    file::{CompiledPattern, FreezeRule, StandingRule},
    lists::{ListedPattern, PatternList},
    patterns::PatternError,
};
pub(crate) use registry::{
    attributes::{FenceInfo, LINKS, PlacedText},
    declared_needs::DeclaredNeeds,
    directory_walk::{read_page, read_text},
    fence_remarks::RemarkKind,
    fenced_block::{FencedBlock, check_characters, fenced_blocks},
    found_step::{FoundStep, add_step, plain_definition},
    front_matter::FrontMatter,
    gruntwork::elements::{Element, Variable, YamlSource},
    script_remarks::{
        BYTE_ORDER_MARK, REFUSED_CHARACTERS, check_path, check_size, interpreter_of_shebang,
        shebang, step_ref,
    },
    step_contents::{ScriptCheck, SharedSchemas, named_files, put_files},
};
pub(crate) use shell::{
    commands::ReadScript,
    found::UnknownReason,
    grammars::ListEnd,
    options::OptionGrammar,
    programs::{ArgumentReading, base_name, is_known, is_used_for},
    script_walk::{
        CHANGES_READING, CallWord, Context, LOGIN, MAY_BE_OPTION, NO_TEXT, NOT_FOUND, NOT_NAMED,
        READING, SEVERAL_WORDS, ScriptCall, ScriptCalls, ScriptWalk, TextReader, UNKNOWN_OPTION,
    },
    syntax::{
        ByteOrigin, CommandList, CompoundCommand, Dialect, HOLE, MAX_DEPTH, Parser, Pipeline, Read,
        Redirect, Script, ShellNode, SimpleCommand, SyntaxFlaw, Word, WordPart, is_name,
    },
    traps::{is_trap, opens_index},
    words::{QuoteKind, WordBuilder, WordPosition},
    wrappers::{Done, WrapperCall},
};
pub(crate) use template::{
    code_reader::CodeLanguage,
    shell_commands::SlotRule,
    shell_places::shell_places,
    shell_plan::Flaws,
    shell_quoting::TemplatePlace,
    shell_roles::{MARK_BYTES, MAX_SLOTS},
    syntax::{Condition, TemplateNode, ValueName},
    variant::Variant,
};
pub(crate) use written::{
    declared_sandbox::{approvals_among, choice, network_of_rule, read_approvals},
    sandbox_permission::check_pattern,
};
pub(crate) use yaml::{noted, refuse};
