//! The names of the programs that a step may execute.
//!
//! The names depend only on the sealed policy, the sealed lists and the sealed step definition, so approvers, boundary
//! and auditors derive the same names. Only the boundary knows the files of these names on its host.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::policy::applied_rule::AppliedRule;
use crate::policy::decide::{Decided, PolicyDecision, PolicyVerdict};
use crate::policy::origin::RuleOrigin;
use crate::policy::ruling::Ruling;
use crate::record::authorization::PermissionKind;
use crate::record::later_parts::ProgramMode;
use crate::record::later_words::{OWN_PROGRAMS, Program, listed_name};
use crate::record::step_definition::StepDefinition;

/// Names of the programs that a step may execute. A name is a file name, an absolute path or `{work}/**`. A closure may
/// also contain an absolute path with `*`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProgramNames {
    /// The interpreter of the step and the programs that the step declares. The host must have these programs.
    pub required: BTreeSet<Program>,
    /// The programs of the script, of policy and of the closures. The list leaves out a program that the host does not
    /// have.
    pub optional: BTreeSet<Program>,
}

impl ProgramNames {
    /// Returns true if the list of a run may contain this name, which is the last segment of a name or path.
    #[must_use]
    pub fn contains(&self, name: &Program) -> bool {
        self.required.iter().chain(&self.optional).any(|one| listed_name(one) == *name)
    }
}

/// Reason why a program is in the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProgramOrigin {
    /// The program is the interpreter of the step.
    Interpreter,
    /// The step declares the program.
    Step,
    /// The script names the program. The decision is `None` for a wrapper that the script names by its path.
    Script(Option<(PolicyVerdict, AppliedRule)>),
    /// Policy adds the program to every list.
    Policy(RuleOrigin),
    /// The named program starts the program.
    Closure(Program),
}

impl ProgramOrigin {
    /// Returns true if the host must have the program.
    #[must_use]
    pub const fn is_required(&self) -> bool {
        matches!(self, Self::Interpreter | Self::Step)
    }

    /// Returns the word for this origin in JSON.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Interpreter => "interpreter",
            Self::Step => "step",
            Self::Script(_) => "script",
            Self::Policy(_) => "policy",
            Self::Closure(_) => "closure",
        }
    }
}

impl fmt::Display for ProgramOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Interpreter => f.write_str("the interpreter"),
            Self::Step => f.write_str("declared by the step"),
            Self::Script(None) => f.write_str("the script"),
            Self::Script(Some((PolicyVerdict::Ask(_), rule))) => write!(f, "the script, asked: {rule}"),
            Self::Script(Some((_, rule))) => write!(f, "the script, allowed: {rule}"),
            Self::Policy(origin) => write!(f, "sandbox.programs.allow, {origin}"),
            Self::Closure(starter) => write!(f, "started by {starter}"),
        }
    }
}

/// Returns true if a run of the step may execute only listed programs: if policy says `listed`, or if the step declares
/// programs. Without a sandbox, there is no list.
#[must_use]
pub fn is_listed(ruling: &Ruling, step: &StepDefinition) -> bool {
    (is_listed_by_policy(ruling) || step.programs.is_some()) && step.sandbox.off_reason.is_none()
}

/// Returns true if policy allows only listed programs for every step to which the ruling applies.
#[must_use]
pub fn is_listed_by_policy(ruling: &Ruling) -> bool {
    ruling.program_mode.as_ref().is_some_and(|mode| mode.value == ProgramMode::Listed)
}

/// Returns the names of the programs that a step may execute, or `None` if the step may execute every program.
/// `decision` is the decision of policy about the step.
#[must_use]
pub fn program_names(ruling: &Ruling, step: &StepDefinition, decision: &PolicyDecision) -> Option<ProgramNames> {
    if !is_listed(ruling, step) {
        return None;
    }
    let mut names = ProgramNames::default();
    let declared = step.programs.as_deref().unwrap_or_default();
    for (name, origin) in program_origins(ruling, &step.interpreter, declared, decision) {
        if origin.is_required() {
            names.required.insert(name)
        } else {
            names.optional.insert(name)
        };
    }
    Some(names)
}

/// Returns the programs in the list of a step, each with its origin. `declared` has the programs that the step declares.
///
/// A program that the policy file denies is in no list, except the interpreter of the step: policy refuses a step whose
/// script or declaration names a denied program.
#[must_use]
pub fn program_origins(
    ruling: &Ruling,
    interpreter: &str,
    declared: &[Program],
    decision: &PolicyDecision,
) -> BTreeMap<Program, ProgramOrigin> {
    let deny = &ruling.written.of(PermissionKind::Run).deny;
    let may = |name: &Program| name.as_str() == OWN_PROGRAMS || deny.find_denied(name.as_str(), None).is_none();
    let mut origins: BTreeMap<Program, ProgramOrigin> = BTreeMap::new();
    origins.extend(interpreter.parse().ok().map(|name| (name, ProgramOrigin::Interpreter)));
    for name in declared {
        origins.entry(name.clone()).or_insert(ProgramOrigin::Step);
    }
    for (name, origin) in decision.decided.iter().flat_map(named_programs) {
        origins.entry(name).or_insert(origin);
    }
    for (name, origin) in ruling.programs.iter().filter(|(name, _)| may(name)) {
        origins.entry(name.clone()).or_insert_with(|| ProgramOrigin::Policy(origin.clone()));
    }
    let named: BTreeSet<Program> = origins.keys().cloned().collect();
    let started = ruling.closures.started_by(&named, may).into_iter();
    origins.extend(started.map(|(name, starter)| (name.clone(), ProgramOrigin::Closure(starter))));
    origins
}

/// Returns the wrappers of a command and the program that the decision is about.
fn named_programs(decided: &Decided) -> impl Iterator<Item = (Program, ProgramOrigin)> {
    let known = !matches!(decided.rule, AppliedRule::Function | AppliedRule::OnlyListed | AppliedRule::Unknown { .. });
    let is_run = decided.kind == PermissionKind::Run && decided.verdict != PolicyVerdict::Deny;
    let wrappers = decided.via.iter().map(|word| (word, None));
    let program = (known && is_run).then(|| (&decided.what, Some((decided.verdict, decided.rule.clone()))));
    let words = wrappers.chain(program).filter(|(word, _)| word.starts_with('/') || !word.contains('/'));
    words.filter_map(|(word, decision)| Some((word.parse().ok()?, ProgramOrigin::Script(decision))))
}
