//! The rules: what a step is, what policy asks, who may approve, and whether a history is sound.
//!
//! - `shell`: a parser for shell syntax that finds the commands of a script
//! - `template`: scripts with placeholders for parameters
//! - `registry`: the steps of the runbooks
//! - `policy`: the rules that decide about steps and commands
//! - `trust`: the people and their public keys
//! - `decision`: pure functions that compute a verdict from the sealed state and an envelope
//! - `audit`: offline verification
#![forbid(unsafe_code)]

mod audit;
mod decision;
mod policy;
mod registry;
mod shell;
mod template;
mod trust;

pub use audit::{
    bundle_check::{self, RosterTrust, Untrusted, VerifyOptions, verify},
    entry::{self, LogEntry},
    evidence_files::{EvidenceFiles, Unreadable},
    finding::{
        AuditCounts, AuditEvent, DecisionLine, EntryVerdict, Finding, FindingKind, OpenRun, Summary,
    },
    gate::{self, GateReport, RequirementResult, may_be_unchecked},
    gate_requirements::{
        AgeLimit, DigestRequirement, GateRequirements, GivenParameter, OutcomeRequirement,
        ParamsRequirement, SandboxRequirement,
    },
    history::{Auditor, Expected, rosters_in},
    newer_roster::leave_to,
    people_lines::{DenialLine, GrantLine, ReviewedLine, RevocationLine, RunReviewState},
    report::{self, ApprovedFacts, BundleReport, Check, CheckFinding, CheckName, Facts, UsedGrant},
    saved_audit::SavedAudit,
    seen_head::SeenHead,
};
pub use decision::{
    Objection,
    emergency::rules_of_run,
    exclusion::{self, ExcludedSigners, Tokens},
    grant_error::GrantError,
    granted_parameters::check_usable,
    grants::{
        Authority, Covered, GrantContext, PreparedGrant, Stands, check_grantee, covers,
        grant_rules, judge_excluded, revocable, stands, verify_grant,
    },
    in_force::{
        StepInForce, StepsInForce, parse_scripts, share_needs, steps_in_force, steps_to_seal,
    },
    parameters::{ParametersError, ParametersFit, check_parameters},
    passkeys::{SigningProgram, signing_program},
    permissions::{
        PermissionsCovered, PermissionsError, ProfileHolds, check_permissions, check_profile,
    },
    place::{AtThisBoundary, check_place},
    plan::{PlanFacts, PlannedRun, check_plan},
    quorum,
    quorum_rules::QuorumRules,
    reach::EligibleApprovers,
    reviews::{
        CountedReview, ReviewContext, ReviewError, ReviewOpinion, ReviewRules, RunReviews,
        Settlement, check_reviewer, excluded_words,
    },
    revocations::{
        NotRevoked, RevocableGrant, RevocationContext, Revocations, RevokedRun, check_may_revoke,
        check_not_revoked,
    },
    sealed_tokens::{MayPropose, SealedTokens},
    signature_count::{self, NotCounted, SignatureCount, count, count_unrevoked},
    step::{HashedStep, StepError, StepSealed, check_step},
    window::{RunWindow, TimeLimits, WindowBounds, WithinWindow, check_window},
};
pub use policy::{
    applied_rule::AppliedRule,
    builtins::{self, Builtins, CANONICAL},
    closures::Closures,
    decide::{
        Decided, DecisionPlace, Flags, Granted, PolicyDecision, PolicyVerdict, decide_command,
        decide_env, decide_path, decide_script, worst,
    },
    file::{self, Mode, Policy, PolicyFile},
    host_access::check_deny,
    lists::{KINDS, ListEntry, ListSide, word},
    origin::{RuleOrigin, WithOrigin},
    paths::{PathVariables, RunbookPath, normalised},
    patterns::{CaseSensitivity, LeadingDots, Pattern},
    people_rules::{EmergencyRule, PasskeysRule, PeopleRule},
    policy_error::PolicyError,
    possible_names::check_program,
    profile_error::words_of,
    program_names::{
        DEFAULT_TOOLS, ProgramNames, ProgramOrigin, denial_of, is_listed, is_listed_by_policy,
        named_in, named_origins, not_listable, with_closures, with_started,
    },
    required_permissions::{
        self, MAX_SHOWN, PolicyDenied, decide_file, decide_step, is_read, needs,
    },
    ruling::{self, Ruling, resolve, resolve_path},
    sandbox_rule::LATER_KEYS,
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
        self, read, read_workflow,
        workflow::{
            Aggregation, FinalAction, LoopClause, LoopSource, MAX_ITERATIONS, UnitLabel,
            UnitScript, UnitTarget, Workflow, WorkflowStep, WorkflowUnit,
        },
    },
    runnable,
    schema_keywords::pointer,
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
    flaw::TemplateFlaw,
    script_template::ScriptTemplate,
    step_template::{self, of_step},
    template_rules::TemplateRules,
};
pub use trust::{
    chain::{Chain, Pinned, payload_of},
    chain_error::ChainError,
    open_signer::open_signer,
    signer::{FileSigner, Signer, write_public_key, write_secret_key},
    ssh::SshKeygenSigner,
    ssh_agent,
    succession::{SuccessionTallies, ThresholdTally},
    trusted_roster::{KeyHolder, RosterError, TrustedRoster},
    version_file::{self, FileWritten},
};
