//! The ruling for one step: all lists and rules that apply to the step, each with its origin.
//!
//! The file also describes the rule behind a decision in words.

use std::{collections::BTreeMap, fmt, sync::Arc};

use crate::{
    Builtins, Closures, CompiledPattern, EmergencyRule, ListEntry, ListSide, Mode, PasskeysRule,
    PeopleRule, Policy, RuleOrigin, RunbookPath, SandboxRule, StandingRule, WithOrigin,
    policy::{file::RuleValues, lists::AllPermissionLists},
};
use documents::{Approvals, Limit, PermissionKind, Proc, Program, ProgramMode, StepRef};

/// The policy for one step, in which each value has its origin.
#[derive(Debug, Clone, PartialEq)]
pub struct Ruling {
    /// Mode for commands, paths and variables in no list.
    pub mode: WithOrigin<Mode>,
    /// Approval rule, or `None` if policy has no approval rule for the step.
    pub approvals: Option<WithOrigin<Approvals>>,
    /// Standing grants that policy permits for the step, or `None` if policy permits none.
    pub standing: Option<WithOrigin<StandingRule>>,
    /// Runs in an emergency that policy permits for the step, or `None` if policy permits none.
    pub emergency: Option<WithOrigin<EmergencyRule>>,
    /// The people who settle the unknown end of a run, or `None` if policy does not say.
    pub settle: Option<PeopleRule>,
    /// The passkeys that count, or `None` if none counts.
    pub passkeys: Option<PasskeysRule>,
    /// View of `/proc` for the run, or `None` if policy sets no view.
    pub proc: Option<WithOrigin<Proc>>,
    /// Limits that policy sets.
    pub limits: BTreeMap<Limit, WithOrigin<u64>>,
    /// Whether a run may execute only listed programs, or `None` if policy does not say.
    pub program_mode: Option<WithOrigin<ProgramMode>>,
    /// Programs that every list contains, with the rule that names each.
    pub programs: BTreeMap<Program, RuleOrigin>,
    /// Programs that other programs start.
    pub closures: Arc<Closures>,
    /// Host access that a step may declare.
    pub host: SandboxRule,
    /// Patterns of the policy file for this step, from the default, the overrides and the grants.
    pub written: AllPermissionLists,
    /// Built-in lists, without patterns if the policy contains `extends: none`.
    pub built_in: Arc<AllPermissionLists>,
}

impl Policy {
    /// Returns the ruling for `step` with the built-in lists of this program.
    pub fn ruling(&self, step: &StepRef) -> Ruling {
        resolve(self, Builtins::current(), step)
    }
}

/// Returns the ruling for `step`, computed as [`resolve_path`] describes.
pub fn resolve(policy: &Policy, builtins: &Builtins, step: &StepRef) -> Ruling {
    resolve_path(policy, builtins, &RunbookPath::of_ref(step.path()))
}

/// Returns the ruling for all steps of a runbook. The rule `default` applies first, then each matching override in
/// order, then each matching grant.
///
/// A later rule replaces the single values of an earlier rule, but only adds to its lists. A denied name stays denied,
/// even if another list allows it.
pub fn resolve_path(policy: &Policy, builtins: &Builtins, runbook: &RunbookPath) -> Ruling {
    let mut ruling = Ruling {
        // A policy without a mode asks a person.
        mode: WithOrigin {
            value: Mode::Prompted,
            origin: RuleOrigin::BuiltIn,
        },
        approvals: None,
        standing: None,
        emergency: None,
        settle: policy.settle().cloned(),
        passkeys: policy.passkeys(),
        proc: None,
        limits: BTreeMap::new(),
        program_mode: None,
        programs: BTreeMap::new(),
        closures: builtins.closures.clone(),
        host: SandboxRule::default(),
        written: AllPermissionLists::default(),
        built_in: if policy.file.extends.is_some() {
            Arc::new(AllPermissionLists::default())
        } else {
            builtins.lists.clone()
        },
    };
    let default = &policy.file.default;
    ruling.apply(default.values(), &RuleOrigin::Default);
    ruling.list(&policy.compiled.default, &RuleOrigin::Default);
    for (index, (pattern, rule, written)) in policy.overrides().enumerate() {
        if runbook.is_met_by(pattern) {
            let origin = RuleOrigin::Override(index, pattern.as_str().into());
            ruling.apply(rule.values(), &origin);
            ruling.list(written, &origin);
        }
    }
    for (index, (pattern, written)) in policy.compiled.grants.iter().enumerate() {
        if pattern
            .as_ref()
            .is_none_or(|pattern| runbook.is_met_by(pattern))
        {
            ruling.list(written, &RuleOrigin::Grant(index));
        }
    }
    ruling
}

impl Ruling {
    /// Returns the rules besides the approval rule that require signatures of people, each with its key in the policy.
    pub fn people_rules(&self) -> Vec<(&'static str, Approvals)> {
        let emergency = self.emergency.as_ref().map(|rule| &rule.value);
        let all = [
            emergency.map(|rule| ("emergency", rule.approvals())),
            emergency.map(|rule| ("emergency.review", rule.review.approvals())),
            self.settle
                .as_ref()
                .map(|rule| ("settle", rule.approvals())),
        ];
        all.into_iter().flatten().collect()
    }

    fn apply(&mut self, rule: RuleValues<'_>, origin: &RuleOrigin) {
        if let Some(value) = rule.mode {
            self.mode = WithOrigin {
                value,
                origin: origin.clone(),
            };
        }
        replace(&mut self.approvals, rule.approvals, origin);
        replace(&mut self.standing, rule.standing, origin);
        replace(&mut self.emergency, rule.emergency, origin);
        let Some(sandbox) = rule.sandbox else { return };
        self.host.add(sandbox);
        replace(&mut self.proc, sandbox.proc.as_ref(), origin);
        if let Some(rule) = &sandbox.programs {
            replace(&mut self.program_mode, rule.mode.as_ref(), origin);
            self.programs.extend(
                rule.allow
                    .iter()
                    .flatten()
                    .map(|name| (name.clone(), origin.clone())),
            );
        }
        for limit in Limit::ALL {
            let limits = sandbox.limits.as_ref();
            let origin = origin.clone();
            if let Some(value) = limits.and_then(|limits| limits.value(limit)) {
                self.limits.insert(limit, WithOrigin { value, origin });
            }
        }
    }

    fn list(&mut self, written: &[CompiledPattern], origin: &RuleOrigin) {
        for CompiledPattern { kind, side, listed } in written {
            self.written
                .add(*kind, *side, listed.clone(), origin.clone());
        }
    }
}

/// Replaces the value of earlier rules.
fn replace<T: Clone>(kept: &mut Option<WithOrigin<T>>, later: Option<&T>, origin: &RuleOrigin) {
    if let Some(value) = later {
        *kept = Some(WithOrigin {
            value: value.clone(),
            origin: origin.clone(),
        });
    }
}

/// Rule behind a decision.
#[derive(Clone, PartialEq, Eq)]
pub enum AppliedRule {
    /// A pattern in a list of the policy.
    Listed {
        /// Kind of the command, path or variable.
        kind: PermissionKind,
        /// List that contains the pattern.
        side: ListSide,
        /// The pattern as written.
        pattern: Arc<str>,
        /// Origin of the pattern.
        origin: RuleOrigin,
    },
    /// No list matches the name, so the mode decides.
    Unlisted {
        /// The mode with its origin.
        mode: WithOrigin<Mode>,
        /// True if a list allows the base name of the command, but the command's path is outside the program
        /// directories of the system.
        elsewhere: bool,
        /// True if `--deny-all` changed the answer to a denial.
        deny_all: bool,
    },
    /// A program that every list of the policy contains (`sandbox.programs.allow`).
    NamedProgram {
        /// The entry.
        name: Program,
        /// Origin of the entry.
        origin: RuleOrigin,
    },
    /// The programs that the command starts are not known before the run, but the kernel executes only the listed
    /// programs.
    OnlyListed,
    /// The command is not known before the run.
    Unknown {
        /// Reason, in words.
        why: &'static str,
        /// Mode, which may deny the command.
        mode: WithOrigin<Mode>,
        /// The pattern of a deny list, with the kind of the list, if the command is denied because the pattern may
        /// match it.
        denied: Option<(PermissionKind, ListEntry)>,
        /// True if `--deny-all` changed the answer to a denial.
        deny_all: bool,
    },
    /// A function that the script itself defines.
    Function,
    /// An assignment to a variable that can change later commands, with a value that changes none.
    Harmless,
    /// The option `--allow-all`.
    AllowAll,
}

impl fmt::Display for AppliedRule {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let deny_all = match self {
            Self::Listed {
                kind,
                side,
                pattern,
                origin,
            } => {
                return write!(f, "{kind}.{side} {pattern:?}, {origin}");
            }
            Self::Unlisted {
                mode,
                elsewhere,
                deny_all,
            } => {
                f.write_str("not listed")?;
                if *elsewhere {
                    f.write_str(" (a list allows this name, but only in system directories)")?;
                }
                write!(f, ", mode {}, {}", mode.value, mode.origin)?;
                *deny_all
            }
            Self::Unknown {
                why,
                mode,
                denied,
                deny_all,
            } => {
                write!(f, "unknown: {why}")?;
                if let Some((kind, ListEntry { listed, origin })) = denied {
                    write!(
                        f,
                        "; policy denies commands: {kind}.deny {:?}, {origin}",
                        listed.text()
                    )?;
                }
                if mode.value == Mode::Deny {
                    write!(f, ", mode deny, {}", mode.origin)?;
                }
                *deny_all
            }
            Self::NamedProgram { name, origin } => {
                return write!(f, "sandbox.programs.allow {:?}, {origin}", name.as_str());
            }
            Self::OnlyListed => return f.write_str("only listed programs can start"),
            Self::Function => return f.write_str("a function of this script"),
            Self::Harmless => return f.write_str("the value changes no command"),
            Self::AllowAll => return f.write_str("--allow-all"),
        };
        f.write_str(if deny_all {
            "; --deny-all denies it"
        } else {
            ""
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ruling(policy: &str, step: &str) -> Ruling {
        resolve(
            &Policy::load(policy).expect("a policy"),
            Builtins::current(),
            &step.parse().expect("a ref"),
        )
    }

    const POLICY: &str = "
version: 1
default: {mode: prompted, approvals: {from: [ops]}, sandbox: {limits: {wall_ms: 1000}}}
overrides:
  - {runbook: \"deploy/**\", mode: execute, approvals: {required: 2, from: [sre, security], each: true}}
  - {runbook: \"deploy/old*\", mode: deny, sandbox: {limits: {memory_bytes: 5}, proc: full}}
  - {runbook: \"**/oldest\", mode: prompted}
";

    #[test]
    fn every_matching_override_applies_and_the_later_override_wins() {
        let plain = ruling(POLICY, "nginx:restart");
        assert_eq!(
            (plain.mode.value, &plain.mode.origin),
            (Mode::Prompted, &RuleOrigin::Default)
        );
        let old = ruling(POLICY, "deploy/old:x");
        assert_eq!(old.mode.origin.to_string(), "overrides[1] (deploy/old*)");
        assert_eq!(old.mode.value, Mode::Deny);
        let approvals = old.approvals.expect("approvals");
        assert_eq!(
            (approvals.value.required, approvals.origin.to_string()),
            (2, "overrides[0] (deploy/**)".to_owned())
        );
        assert_eq!(
            old.limits[&Limit::Wall],
            WithOrigin {
                value: 1000,
                origin: RuleOrigin::Default
            }
        );
        assert_eq!(old.limits[&Limit::Memory].value, 5);
        assert_eq!(old.proc.map(|proc| proc.value), Some(Proc::Full));
        assert_eq!(
            ruling(POLICY, "deploy/oldest:x").mode.value,
            Mode::Prompted,
            "the last override has the last word"
        );
    }

    #[test]
    fn an_empty_policy_selects_the_prompted_mode() {
        let nothing = ruling("version: 1\ndefault: {}\n", "a:b");
        assert_eq!(
            nothing.mode,
            WithOrigin {
                value: Mode::Prompted,
                origin: RuleOrigin::BuiltIn
            }
        );
        assert_eq!(nothing.approvals, None);
    }
}
