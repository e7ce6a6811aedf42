//! The approval rules of policy and of the step, and the number of people that each rule still lacks.

use std::collections::BTreeSet;
use std::fmt;

use documents::record::code::Code;
use documents::record::ident::GroupName;
use documents::record::step_definition::{Approvals, MAX_EACH_GROUPS};

/// Approval rules. All rules must be met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuorumRules(Vec<Rule>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Rule {
    of: &'static str,
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
        Ok(Self(rules))
    }

    /// Adds `standing.approvals` of policy, which the signatures of a grant must meet too.
    ///
    /// # Errors
    /// Returns the errors of [`QuorumRules::combine`].
    pub fn with_standing(mut self, rule: Option<&Approvals>) -> Result<Self, RuleError> {
        if let Some(rule) = rule {
            self.0.push(Rule::of("standing grants in policy", rule, &rule.from)?);
        }
        Ok(self)
    }

    /// Returns all groups that the rules name.
    #[must_use]
    pub fn groups(&self) -> BTreeSet<&GroupName> {
        self.0.iter().flat_map(|rule| &rule.from).collect()
    }

    /// Returns the number of missing people and their groups, for the rule that lacks most people. `people` contains
    /// the groups for which each signer counts.
    pub(super) fn missing_of(&self, people: &[&BTreeSet<GroupName>]) -> (u64, BTreeSet<GroupName>) {
        self.shortfalls(people).max_by_key(|(missing, _)| *missing).unwrap_or_default()
    }

    /// Returns the number of missing people and their groups, for each rule.
    pub(super) fn shortfalls(
        &self,
        people: &[&BTreeSet<GroupName>],
    ) -> impl Iterator<Item = (u64, BTreeSet<GroupName>)> {
        self.0.iter().map(|rule| rule.shortfall(people))
    }

    /// Returns the minimum number of people that the rules require.
    pub(super) fn required(&self) -> u64 {
        self.0.iter().map(Rule::places).max().unwrap_or(u64::MAX)
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
            return Err(RuleError::TooManyGroups { of, found: groups.len() });
        }
        Ok(Self { of, required: rule.required, from: groups, each })
    }

    fn places(&self) -> u64 {
        if self.each { self.required.saturating_mul(self.from.len() as u64) } else { self.required }
    }

    /// Returns the number of missing people, and their groups. By Hall's theorem, this number is the largest shortfall
    /// of any set of groups. The shortfall of a set is `required` times the number of its groups, minus the number of
    /// counted people in at least one of its groups.
    fn shortfall(&self, counted: &[&BTreeSet<GroupName>]) -> (u64, BTreeSet<GroupName>) {
        let from: Vec<_> = self.from.iter().collect();
        if !self.each {
            let have = counted.iter().filter(|groups| from.iter().any(|group| groups.contains(*group))).count() as u64;
            let missing = self.required.saturating_sub(have);
            return (missing, if missing > 0 { self.from.clone() } else { BTreeSet::new() });
        }
        let masks: Vec<u32> = counted
            .iter()
            .map(|groups| {
                from.iter().enumerate().fold(0, |mask, (at, group)| mask | u32::from(groups.contains(*group)) << at)
            })
            .collect();
        let mut worst = (0_u64, 0_u32);
        for set in 1_u32..1 << from.len() {
            let have = masks.iter().filter(|mask| **mask & set != 0).count() as u64;
            let missing = self.required.saturating_mul(u64::from(set.count_ones())).saturating_sub(have);
            // If several sets have the same shortfall, the smallest set is the most precise answer.
            if missing > worst.0 || missing == worst.0 && missing > 0 && set.count_ones() < worst.1.count_ones() {
                worst = (missing, set);
            }
        }
        let groups =
            from.iter().enumerate().filter(|(at, _)| worst.1 >> at & 1 == 1).map(|(_, group)| (*group).clone());
        (worst.0, groups.collect())
    }
}

/// An invalid rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RuleError {
    /// The field `required` of the rule is 0.
    AsksNobody {
        /// The source of the rule (policy or step).
        of: &'static str,
    },
    /// The rule names no group.
    NoGroups {
        /// The source of the rule (policy or step).
        of: &'static str,
    },
    /// The rule names the same group twice.
    GroupTwice {
        /// The source of the rule (policy or step).
        of: &'static str,
    },
    /// The rule uses `each` with more groups than [`MAX_EACH_GROUPS`].
    TooManyGroups {
        /// The source of the rule (policy or step).
        of: &'static str,
        /// The number of groups.
        found: usize,
    },
}

impl RuleError {
    /// The stable code.
    #[must_use]
    pub const fn code(&self) -> Code {
        Code::PolicyDenied
    }
}

impl fmt::Display for RuleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AsksNobody { of } => {
                write!(f, "the approvals rule of {of} requires no person (required: 0); require at least one person")
            }
            Self::NoGroups { of } => write!(f, "the approvals rule of {of} names no group; name a group in the policy"),
            Self::GroupTwice { of } => {
                write!(f, "the approvals rule of {of} names a group twice; name each group once")
            }
            Self::TooManyGroups { of, found } => {
                write!(
                    f,
                    "the approvals rule of {of} requires approvals from each of {found} groups; name at most \
                     {MAX_EACH_GROUPS} groups"
                )
            }
        }
    }
}

impl std::error::Error for RuleError {}

#[cfg(test)]
pub(crate) mod tests {

    use super::*;

    pub(crate) fn rule(required: u64, from: &[&str], each: bool) -> Approvals {
        let from = from.iter().map(|group| group.parse().expect("group")).collect();
        Approvals { required, from, each: each.then_some(true) }
    }
}
