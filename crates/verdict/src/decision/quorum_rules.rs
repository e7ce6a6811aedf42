//! The approval rules of policy and of the step, and the number of people that each rule still lacks.

use std::collections::BTreeSet;

use crate::SigningProgram;
use documents::{Approvals, Code, GroupName, MAX_EACH_GROUPS};
use reading::PasskeysRule;

/// Approval rules. All rules must be met.
#[derive(Debug, Clone, PartialEq)]
pub struct QuorumRules {
    rules: Vec<Rule>,
    /// The passkeys that count, or `None` if none counts.
    passkeys: Option<PasskeysRule>,
}

/// The facts about a signer that the rules need.
#[derive(Clone, Copy)]
pub struct RuleSigner<'p> {
    /// The groups for which the signature counts.
    pub(super) groups: &'p BTreeSet<GroupName>,
    pub(super) program: SigningProgram,
}

#[derive(Debug, Clone, PartialEq)]
struct Rule {
    required: u64,
    from: BTreeSet<GroupName>,
    each: bool,
}

impl QuorumRules {
    /// Combines the rule of policy with the rule of the step. Both rules must be met, so a runbook can only add
    /// requirements. If the step names no group, its rule uses the groups of policy.
    ///
    /// # Errors
    /// Returns an error if a rule requires no person, or names no group or too many groups.
    pub fn combine(policy: Option<&Approvals>, step: &Approvals) -> Result<Self, RuleError> {
        let mut rules = Vec::with_capacity(2);
        if let Some(policy) = policy {
            rules.push(Rule::of("policy", policy, &policy.from)?);
        }
        match policy {
            Some(policy) if step.from.is_empty() => {
                if step.each == Some(true) {
                    return Err(RuleError::NoGroups { of: "the step" });
                }
                rules.push(Rule::of("the step", step, &policy.from)?);
            }
            _ => rules.push(Rule::of("the step", step, &step.from)?),
        }
        Ok(Self {
            rules,
            passkeys: None,
        })
    }

    /// Lets passkeys count under this rule of policy. Without this call, no passkey counts.
    pub fn with_passkeys(mut self, rule: Option<PasskeysRule>) -> Self {
        self.passkeys = rule;
        self
    }

    /// Returns the passkeys that count.
    pub(super) fn passkeys(&self) -> Option<PasskeysRule> {
        self.passkeys
    }

    /// Returns the rules for the signatures of a grant. No passkey signs a grant.
    #[must_use]
    pub fn of_grant(&self) -> Self {
        self.clone().with_passkeys(None)
    }

    /// Returns all groups that the rules name.
    pub fn groups(&self) -> BTreeSet<&GroupName> {
        self.rules.iter().flat_map(|rule| &rule.from).collect()
    }

    /// Returns the number of missing people and their groups, for the rule that lacks most people.
    pub(super) fn missing_of(&self, people: &[RuleSigner<'_>]) -> (u64, BTreeSet<GroupName>) {
        self.shortfalls(people)
            .max_by_key(|(missing, _)| *missing)
            .unwrap_or_default()
    }

    /// Returns the number of missing people and their groups, for each rule.
    pub(super) fn shortfalls(
        &self,
        people: &[RuleSigner<'_>],
    ) -> impl Iterator<Item = (u64, BTreeSet<GroupName>)> {
        let groups: Vec<&BTreeSet<GroupName>> = people.iter().map(|signer| signer.groups).collect();
        self.rules
            .iter()
            .map(move |rule| match rule.shortfall(&groups) {
                // Enough people signed, but all of them with passkeys.
                (0, _) if self.lacks_own(rule, people) => (1, rule.from.clone()),
                found => found,
            })
    }

    /// Returns true if a rule has no signature of an approver's own program, although policy demands one.
    pub(super) fn lacks_own_program(&self, people: &[RuleSigner<'_>]) -> bool {
        self.rules.iter().any(|rule| self.lacks_own(rule, people))
    }

    fn lacks_own(&self, rule: &Rule, people: &[RuleSigner<'_>]) -> bool {
        let own = |signer: &RuleSigner<'_>| {
            signer.program == SigningProgram::Own && !signer.groups.is_disjoint(&rule.from)
        };
        self.passkeys.is_some_and(|passkeys| !passkeys.alone) && !people.iter().any(own)
    }

    /// Returns the indexes of the signers whose passkeys do not count because policy permits only `passkeys.most`
    /// passkeys. The passkeys that reduce the number of missing people most still count, and among equal passkeys the
    /// earlier ones.
    pub(super) fn surplus_passkeys(&self, people: &[RuleSigner<'_>]) -> Vec<usize> {
        let by_passkey = |at: &usize| people[*at].program == SigningProgram::Browser;
        let (mut waiting, own): (Vec<usize>, Vec<usize>) = (0..people.len()).partition(by_passkey);
        let most = self
            .passkeys
            .map_or(0, |rule| usize::try_from(rule.most).unwrap_or(usize::MAX));
        let mut kept: Vec<RuleSigner<'_>> = own.into_iter().map(|at| people[at]).collect();
        for _ in 0..most.min(waiting.len()) {
            let missing_with = |at: usize| {
                let with: Vec<_> = kept.iter().copied().chain([people[at]]).collect();
                self.shortfalls(&with)
                    .map(|(missing, _)| missing)
                    .sum::<u64>()
            };
            let best = waiting
                .iter()
                .enumerate()
                .min_by_key(|(_, at)| missing_with(**at))
                .map_or(0, |(place, _)| place);
            kept.push(people[waiting.remove(best)]);
        }
        waiting
    }

    /// Returns the minimum number of people that the rules require.
    pub(super) fn required(&self) -> u64 {
        self.rules
            .iter()
            .map(Rule::places)
            .max()
            .unwrap_or(u64::MAX)
    }
}

impl Rule {
    fn of(of: &'static str, rule: &Approvals, from: &[GroupName]) -> Result<Self, RuleError> {
        let each = rule.each == Some(true);
        let groups: BTreeSet<_> = from.iter().cloned().collect();
        if rule.required == 0 {
            return Err(RuleError::AsksNobody { of });
        }
        if groups.is_empty() {
            return Err(RuleError::NoGroups { of });
        }
        if groups.len() < from.len() {
            // With a group that is named twice, `each` would require too few people.
            return Err(RuleError::GroupTwice { of });
        }
        if each && groups.len() as u64 > MAX_EACH_GROUPS {
            return Err(RuleError::TooManyGroups {
                of,
                found: groups.len(),
            });
        }
        Ok(Self {
            required: rule.required,
            from: groups,
            each,
        })
    }

    fn places(&self) -> u64 {
        if self.each {
            self.required.saturating_mul(self.from.len() as u64)
        } else {
            self.required
        }
    }

    /// Returns the number of missing people, and their groups. By Hall's theorem, this number is the largest shortfall
    /// of any set of groups. The shortfall of a set is `required` times the number of its groups, minus the number of
    /// counted people in at least one of its groups.
    fn shortfall(&self, counted: &[&BTreeSet<GroupName>]) -> (u64, BTreeSet<GroupName>) {
        let from: Vec<_> = self.from.iter().collect();
        if !self.each {
            let have = counted
                .iter()
                .filter(|groups| from.iter().any(|group| groups.contains(*group)))
                .count() as u64;
            let missing = self.required.saturating_sub(have);
            return (
                missing,
                if missing > 0 {
                    self.from.clone()
                } else {
                    BTreeSet::new()
                },
            );
        }
        let masks: Vec<u32> = counted
            .iter()
            .map(|groups| {
                from.iter().enumerate().fold(0, |mask, (at, group)| {
                    mask | u32::from(groups.contains(*group)) << at
                })
            })
            .collect();
        let mut worst = (0_u64, 0_u32);
        for set in 1_u32..1 << from.len() {
            let have = masks.iter().filter(|mask| **mask & set != 0).count() as u64;
            let missing = self
                .required
                .saturating_mul(u64::from(set.count_ones()))
                .saturating_sub(have);
            // If several sets have the same shortfall, the smallest set is the most precise answer.
            if missing > worst.0
                || missing == worst.0 && missing > 0 && set.count_ones() < worst.1.count_ones()
            {
                worst = (missing, set);
            }
        }
        let groups = from
            .iter()
            .enumerate()
            .filter(|(at, _)| worst.1 >> at & 1 == 1)
            .map(|(_, group)| (*group).clone());
        (worst.0, groups.collect())
    }
}

/// An invalid rule.
#[derive(Debug, thiserror::Error)]
pub enum RuleError {
    /// The field `required` of the rule is 0.
    #[error(
        "the approvals rule of {of} requires no person (required: 0); require at least one person"
    )]
    AsksNobody {
        /// The source of the rule (policy or step).
        of: &'static str,
    },
    /// The rule names no group.
    #[error("the approvals rule of {of} names no group; name a group in the policy")]
    NoGroups {
        /// The source of the rule (policy or step).
        of: &'static str,
    },
    /// The rule names the same group twice.
    #[error("the approvals rule of {of} names a group twice; name each group once")]
    GroupTwice {
        /// The source of the rule (policy or step).
        of: &'static str,
    },
    /// The rule uses `each` with more groups than [`MAX_EACH_GROUPS`].
    #[error(
        "the approvals rule of {of} requires approvals from each of {found} groups; name at most {MAX_EACH_GROUPS} \
         groups"
    )]
    TooManyGroups {
        /// The source of the rule (policy or step).
        of: &'static str,
        /// The number of groups.
        found: usize,
    },
}

impl RuleError {
    /// The stable code.
    pub fn code(&self) -> Code {
        Code::PolicyDenied
    }
}

#[cfg(test)]
pub(crate) mod tests {

    use super::*;

    pub(crate) fn rule(required: u64, from: &[&str], each: bool) -> Approvals {
        let from = from
            .iter()
            .map(|group| group.parse().expect("group"))
            .collect();
        Approvals {
            required,
            from,
            each: each.then_some(true),
        }
    }
}
