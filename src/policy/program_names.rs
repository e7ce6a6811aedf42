//! The names of the programs that a step may execute.
//!
//! The names depend only on the sealed policy, the sealed lists and the sealed step definition, so approvers, boundary
//! and auditors derive the same names. Only the boundary knows the files of these names on its host.

use std::collections::BTreeSet;

use crate::policy::decide::{AppliedRule, Decided, PolicyDecision, PolicyVerdict};
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

/// Returns true if a run of the step may execute only listed programs: if policy says `listed`, or if the step declares
/// programs. Without a sandbox, there is no list.
#[must_use]
pub fn is_listed(ruling: &Ruling, step: &StepDefinition) -> bool {
    let by_policy = ruling.program_mode.as_ref().is_some_and(|mode| mode.value == ProgramMode::Listed);
    (by_policy || step.programs.is_some()) && step.sandbox.off_reason.is_none()
}

/// Returns the names of the programs that a step may execute, or `None` if the step may execute every program.
/// `decision` is the decision of policy about the step.
#[must_use]
pub fn program_names(ruling: &Ruling, step: &StepDefinition, decision: &PolicyDecision) -> Option<ProgramNames> {
    is_listed(ruling, step).then(|| with_closures(ruling, step, &named_in(ruling, step, decision)))
}

/// Returns the programs that step, script and policy name, without the programs that these programs start.
#[must_use]
pub fn named_in(ruling: &Ruling, step: &StepDefinition, decision: &PolicyDecision) -> BTreeSet<Program> {
    let mut named = required_by(step);
    named.extend(first_line(&step.source));
    named.extend(decision.decided.iter().flat_map(named_programs));
    named.extend(ruling.programs.keys().filter(|name| !is_denied(ruling, name)).cloned());
    named
}

/// Adds the programs that the named programs start.
#[must_use]
pub fn with_closures(ruling: &Ruling, step: &StepDefinition, named: &BTreeSet<Program>) -> ProgramNames {
    let required = required_by(step);
    let mut optional = ruling.closures.expand(named);
    // A deny list of the policy file removes a program from the closure of another program.
    optional.retain(|name| !required.contains(name) && (named.contains(name) || !is_denied(ruling, name)));
    ProgramNames { required, optional }
}

/// Returns the interpreter of the step and the programs that the step declares.
fn required_by(step: &StepDefinition) -> BTreeSet<Program> {
    // The sandbox starts `python3` for this interpreter.
    let interpreter = if step.interpreter == "python" { "python3" } else { &step.interpreter };
    step.programs.iter().flatten().cloned().chain(interpreter.parse().ok()).collect()
}

/// Returns the program that the kernel starts for the first line of a script, for example `/usr/bin/env`.
fn first_line(source: &str) -> Option<Program> {
    let program = source.strip_prefix("#!")?.lines().next()?.split_ascii_whitespace().next()?;
    program.parse().ok().filter(|_| program.starts_with('/'))
}

/// Returns true if a deny list of the policy file has the program.
fn is_denied(ruling: &Ruling, name: &Program) -> bool {
    name.as_str() != OWN_PROGRAMS
        && ruling.written.of(PermissionKind::Run).deny.find_denied(name.as_str(), None).is_some()
}

/// Returns the program that a decision is about, and its wrappers.
fn named_programs(decided: &Decided) -> impl Iterator<Item = Program> {
    let known = !matches!(decided.rule, AppliedRule::Function | AppliedRule::Unknown { .. });
    let is_run = decided.kind == PermissionKind::Run && decided.verdict != PolicyVerdict::Deny;
    let words = decided.via.iter().chain((known && is_run).then_some(&decided.what));
    words.filter(|word| word.starts_with('/') || !word.contains('/')).filter_map(|word| word.parse().ok())
}
