//! The names of the programs that a step may execute.
//!
//! The names depend only on the sealed policy, the sealed lists and the sealed step definition, so approvers, boundary
//! and auditors derive the same names. Only the boundary knows the files of these names on its host.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    fmt,
    sync::{Arc, Mutex},
};

use crate::{AppliedRule, Decided, ListEntry, PolicyDecision, PolicyVerdict, RuleOrigin, Ruling};
use documents::{OWN_PROGRAMS, PermissionKind, Program, ProgramMode, StepDefinition, locked};

/// Programs in every list of a new boundary. They read, compare and print text and names. None of them deletes or moves
/// files, changes permissions, reaches the network, or exists to start other programs (`find`, `xargs`).
pub const DEFAULT_TOOLS: [&str; 23] = [
    "awk", "basename", "cat", "cut", "date", "diff", "dirname", "expr", "grep", "head", "jq", "ls",
    "mkdir", "mktemp", "sed", "sleep", "sort", "stat", "tail", "tee", "tr", "uniq", "wc",
];

/// Names of the programs that a step may execute. A name is a file name, an absolute path or `{work}/**`. A closure may
/// also contain an absolute path with `*`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ProgramNames {
    /// The interpreter of the step and the programs that the step declares. The host must have these programs.
    pub required: BTreeSet<Program>,
    /// The programs of the script, of policy and of the closures. The list leaves out a program that the host does not
    /// have.
    pub optional: BTreeSet<Program>,
    /// For each program of a closure, a program that starts it.
    pub starters: BTreeMap<Program, Program>,
}

/// The names of several steps. Steps with the same names share them in memory.
#[derive(Debug, Default)]
pub struct SharedNames(Mutex<HashSet<Arc<ProgramNames>>>);

impl SharedNames {
    /// Returns equal names that are already stored, or stores these names.
    pub fn share(&self, names: ProgramNames) -> Arc<ProgramNames> {
        let mut known = locked(&self.0);
        if let Some(known) = known.get(&names) {
            return Arc::clone(known);
        }
        let names = Arc::new(names);
        known.insert(Arc::clone(&names));
        names
    }
}

/// Reason why a program is in the list.
pub enum ProgramOrigin {
    /// The program is the interpreter of the step.
    Interpreter,
    /// The step declares the program.
    Step,
    /// The script names the program. The decision is `None` for the first line of a script and for a wrapper.
    Script(Option<(PolicyVerdict, AppliedRule)>),
    /// Policy adds the program to every list.
    Policy(RuleOrigin),
    /// The named program starts the program.
    Closure(Program),
}

impl ProgramOrigin {
    /// Returns the word for this origin in JSON.
    pub fn word(&self) -> &'static str {
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
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Interpreter => f.write_str("the interpreter"),
            Self::Step => f.write_str("declared by the step"),
            Self::Script(None) => f.write_str("the script"),
            Self::Script(Some((PolicyVerdict::Ask(_), rule))) => {
                write!(f, "the script, asked: {rule}")
            }
            Self::Script(Some((_, rule))) => write!(f, "the script, allowed: {rule}"),
            Self::Policy(origin) => write!(f, "sandbox.programs.allow, {origin}"),
            Self::Closure(starter) => write!(f, "started by {starter}"),
        }
    }
}

/// Returns true if a run of the step may execute only listed programs: if policy says `listed`, or if the step declares
/// programs. Without a sandbox, there is no list.
pub fn is_listed(ruling: &Ruling, step: &StepDefinition) -> bool {
    (is_listed_by_policy(ruling) || step.programs.is_some()) && step.sandbox.off_reason.is_none()
}

/// Returns true if policy allows only listed programs for every step to which the ruling applies.
pub fn is_listed_by_policy(ruling: &Ruling) -> bool {
    ruling
        .program_mode
        .as_ref()
        .is_some_and(|mode| mode.value == ProgramMode::Listed)
}

/// Returns the programs that step, script and policy name, without the programs that these programs start.
pub fn named_in(
    ruling: &Ruling,
    step: &StepDefinition,
    decision: &PolicyDecision,
) -> BTreeSet<Program> {
    let declared = step.programs.as_deref().unwrap_or_default();
    named_origins(ruling, &step.interpreter, declared, &step.source, decision)
        .into_keys()
        .collect()
}

/// Adds the programs that the named programs start.
pub fn with_closures(
    ruling: &Ruling,
    step: &StepDefinition,
    named: &BTreeSet<Program>,
) -> ProgramNames {
    let declared = step.programs.iter().flatten().cloned();
    let required: BTreeSet<Program> = declared.chain(program_of(&step.interpreter)).collect();
    let starters = started_by(ruling, named);
    let optional = named
        .iter()
        .chain(starters.keys())
        .filter(|name| !required.contains(name))
        .cloned()
        .collect();
    ProgramNames {
        required,
        optional,
        starters,
    }
}

/// Adds to the named programs the programs that they start.
pub fn with_started(
    ruling: &Ruling,
    mut origins: BTreeMap<Program, ProgramOrigin>,
) -> BTreeMap<Program, ProgramOrigin> {
    let started = started_by(ruling, &origins.keys().cloned().collect()).into_iter();
    origins.extend(started.map(|(name, starter)| (name, ProgramOrigin::Closure(starter))));
    origins
}

/// Returns the programs that the named programs start and that policy does not deny, each with its starter.
fn started_by(ruling: &Ruling, named: &BTreeSet<Program>) -> BTreeMap<Program, Program> {
    ruling
        .closures
        .started_by(named, |name| !is_denied(ruling, name))
}

/// Returns the programs that script, step and policy name, each with its origin. `declared` has the programs that the
/// step declares.
///
/// No list contains a program that the policy file denies, except the interpreter of the step. Policy refuses a step
/// whose script or declaration names a denied program.
pub fn named_origins(
    ruling: &Ruling,
    interpreter: &str,
    declared: &[Program],
    source: &str,
    decision: &PolicyDecision,
) -> BTreeMap<Program, ProgramOrigin> {
    let mut origins: BTreeMap<Program, ProgramOrigin> = BTreeMap::new();
    origins.extend(program_of(interpreter).map(|name| (name, ProgramOrigin::Interpreter)));
    for name in declared {
        origins.entry(name.clone()).or_insert(ProgramOrigin::Step);
    }
    // The decisions about the interpreter and the declared programs have no place in the script.
    let found = decision
        .decided
        .iter()
        .filter(|decided| decided.place.is_some());
    let in_script = first_line(source)
        .map(|name| (name, ProgramOrigin::Script(None)))
        .into_iter();
    for (name, origin) in in_script.chain(found.flat_map(named_programs)) {
        origins.entry(name).or_insert(origin);
    }
    for (name, origin) in ruling
        .programs
        .iter()
        .filter(|(name, _)| !is_denied(ruling, name))
    {
        origins
            .entry(name.clone())
            .or_insert_with(|| ProgramOrigin::Policy(origin.clone()));
    }
    origins
}

/// Returns the program that the sandbox starts for an interpreter.
pub fn program_of(interpreter: &str) -> Option<Program> {
    let program = match interpreter {
        "python" => "python3",
        "javascript" => "node",
        other => other,
    };
    program.parse().ok()
}

/// Returns the program that the kernel starts for the first line of a script, for example `/usr/bin/env`.
fn first_line(source: &str) -> Option<Program> {
    let program = source
        .strip_prefix("#!")?
        .lines()
        .next()?
        .split_ascii_whitespace()
        .next()?;
    program
        .parse()
        .ok()
        .filter(|_| program.starts_with('/') && !program.contains('*'))
}

/// Returns true if a deny list of the policy file has the program.
fn is_denied(ruling: &Ruling, name: &Program) -> bool {
    name.as_str() != OWN_PROGRAMS && denial_of(ruling, name.as_str()).is_some()
}

/// Returns the entry of the policy file that denies a program.
pub fn denial_of<'a>(ruling: &'a Ruling, name: &str) -> Option<&'a ListEntry> {
    ruling
        .written
        .of(PermissionKind::Run)
        .deny
        .find_denied(name, None)
}

/// Returns the commands of a script that no list can contain, because no document can contain their names.
pub fn not_listable(decision: &PolicyDecision) -> BTreeSet<&str> {
    let found = decision.decided.iter().filter(|one| is_program(one));
    let words = found
        .flat_map(|one| one.via.iter().chain([&one.what]))
        .map(String::as_str);
    // A relative path is a file of the run, and `{work}/**` can allow this file.
    let words = words.filter(|word| word.starts_with('/') || !word.contains('/'));
    words
        .filter(|word| word.parse::<Program>().is_err())
        .collect()
}

/// Returns true if the decision allows a program to start, at least with a signature, and its name is known before the
/// run.
fn is_program(decided: &Decided) -> bool {
    let known = !matches!(
        decided.rule,
        AppliedRule::Function | AppliedRule::OnlyListed | AppliedRule::Unknown { .. }
    );
    known && decided.kind == PermissionKind::Run && decided.verdict != PolicyVerdict::Deny
}

/// Returns the wrappers of a command and the program that the decision is about.
fn named_programs(decided: &Decided) -> impl Iterator<Item = (Program, ProgramOrigin)> {
    let wrappers = decided.via.iter().map(|word| (word, None));
    let program =
        is_program(decided).then(|| (&decided.what, Some((decided.verdict, decided.rule.clone()))));
    // Only a closure may contain `*`. In a script, `*` is either unknown before the run or an ordinary character.
    let words = wrappers
        .chain(program)
        .filter(|(word, _)| !word.contains('*'));
    let words = words.filter(|(word, _)| word.starts_with('/') || !word.contains('/'));
    words.filter_map(|(word, decision)| Some((word.parse().ok()?, ProgramOrigin::Script(decision))))
}
