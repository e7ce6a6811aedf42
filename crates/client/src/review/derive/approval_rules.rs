//! The approval rules of a run, normally and in an emergency.

use std::collections::BTreeSet;

use crate::{Derived, EmergencyApproval, ReviewFinding, ReviewSources};
use documents::{Approvals, Authorization, GroupName, Name};
use reading::Ruling;
use verdict::{KeyHolder, NotCounted, QuorumRules, rules_of_run};

const EMERGENCY: &str = "policy permits this emergency";

impl Derived {
    /// Finds the approval rules of the run, and checks that policy permits an emergency.
    pub(super) fn approval_rules(
        &mut self,
        signed: &Authorization,
        ruling: &Ruling,
        of_step: &Approvals,
    ) {
        let of_policy = ruling.approvals.as_ref().map(|rule| &rule.value);
        self.passkeys = ruling.passkeys;
        let normally = rules("policy asks", of_policy, of_step);
        if signed.emergency.is_none() {
            self.rules = normally;
            return;
        }
        let permitted = QuorumRules::combine(of_policy, of_step)
            .map_err(ReviewFinding::fails)
            .and_then(|usual| {
                rules_of_run(signed, &usual, ruling, of_step)
                    .map(drop)
                    .map_err(ReviewFinding::fails)
            });
        let _ = self.keep(EMERGENCY, permitted);
        if let Some(rule) = &ruling.emergency {
            self.rules = rules(
                "in an emergency, policy asks",
                Some(&rule.value.approvals()),
                of_step,
            );
            self.emergency = Some(EmergencyApproval {
                rule: rule.value.clone(),
                normally,
            });
        }
    }

    /// Returns why a further signature of this approver can't count for the run. The result is `None` if only the signature
    /// can show whether it counts.
    pub fn cannot_count(
        &self,
        sources: &ReviewSources,
        approver: &Name,
        by_passkey: bool,
    ) -> Option<NotCounted> {
        let (told, roster) = (sources.told.as_ref()?, sources.roster.roster()?);
        if told.excluded.contains(approver) {
            return Some(NotCounted::Excluded);
        }
        let most = self
            .passkeys
            .filter(|_| by_passkey && !told.by_passkey.contains(approver))?
            .most;
        // The rules in which a person counts, with the groups where a rule needs a person of each group.
        let places = |name: &Name| -> BTreeSet<(usize, Option<&GroupName>)> {
            let has = |group: &&GroupName| {
                roster
                    .approver(name)
                    .is_some_and(|person| person.groups.contains(group))
            };
            let rules = self.rules.iter().enumerate();
            let places = rules.flat_map(|(at, (_, rule))| {
                rule.from
                    .iter()
                    .filter(has)
                    .map(move |group| (at, (rule.each == Some(true)).then_some(group)))
            });
            places.collect()
        };
        // A passkey that counts in more rules could replace a counted passkey.
        let replaces_none = told
            .by_passkey
            .iter()
            .all(|other| places(approver).is_subset(&places(other)));
        (told.by_passkey.len() as u64 >= most && replaces_none).then_some(NotCounted::MorePasskeys)
    }

    /// Says who signed with a passkey, and which passkeys count by policy.
    pub(in crate::review) fn passkey_words(&self, sources: &ReviewSources) -> Vec<String> {
        let Some(roster) = sources.roster.roster() else {
            return Vec::new();
        };
        let by_passkey = |keyid| {
            roster
                .foreign_keys()
                .iter()
                .any(|(_, key)| key.keyid() == keyid)
        };
        let signed = self
            .signers
            .iter()
            .filter(|(_, keyid)| by_passkey(*keyid))
            .map(|(name, _)| name);
        let mut words = Vec::new();
        for name in signed.chain(sources.told.iter().flat_map(|told| &told.by_passkey)) {
            let own = |holder: &KeyHolder| matches!(holder, KeyHolder::Approver(holder) if holder == name);
            let keys = roster
                .foreign_keys()
                .iter()
                .filter(|(holder, _)| own(holder))
                .map(|(_, key)| key);
            let hosts: Vec<&str> = keys.filter_map(|key| Some(key.passkey()?.host())).collect();
            words.push(format!(
                "{name} signed with a passkey of {}",
                hosts.join(" or ")
            ));
        }
        if let Some(rule) = self.passkeys {
            let count = if rule.most == 1 {
                "1 passkey counts".to_owned()
            } else {
                format!("{} passkeys count", rule.most)
            };
            let alone = if rule.alone {
                ""
            } else {
                ", and each rule also needs a signature with another key"
            };
            words.push(format!("at most {count}{alone}"));
        }
        words
    }
}

/// Returns the rule of policy and the rule of the step. A step without groups uses the groups of policy.
fn rules(
    asks: &'static str,
    policy: Option<&Approvals>,
    step: &Approvals,
) -> Vec<(&'static str, Approvals)> {
    let own = match policy {
        Some(policy) if step.from.is_empty() => Approvals {
            required: step.required,
            from: policy.from.clone(),
            each: step.each,
        },
        _ => step.clone(),
    };
    policy
        .cloned()
        .map(|rule| (asks, rule))
        .into_iter()
        .chain([("the step asks", own)])
        .collect()
}
