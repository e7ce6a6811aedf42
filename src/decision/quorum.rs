//! Question: did enough people sign, and are they in the required groups?
//!
//! The rules of policy and of the step must both be met. The result depends only on the *set* of people whose
//! signatures count, and not on the order of the signatures. If a rule has `each`, a person in several groups counts
//! for only one of the groups.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use schemars::JsonSchema;
use serde::Serialize;

use crate::crypto::key_id::KeyId;
use crate::crypto::sshsig::Presence;
use crate::decision::exclusion::ExcludedSigners;
use crate::record::code::Code;
use crate::record::envelope::VerifiedSignature;
use crate::record::ident::{GroupName, Name};
use crate::record::roster::PresenceRule;
use crate::record::step_definition::{Approvals, MAX_EACH_GROUPS};
use crate::record::validity::Timestamp;
use crate::trust::trusted_roster::TrustedRoster;

/// Proof that enough distinct people signed. Only [`decide`] constructs this proof.
#[derive(Debug)]
#[must_use]
pub struct QuorumMet {
    approvers: Vec<Name>,
    groups: Vec<GroupName>,
    keys: BTreeSet<KeyId>,
}

impl QuorumMet {
    /// Returns the sorted names of the people who counted, as in a receipt's `decision.approvers`.
    #[must_use]
    pub fn approvers(&self) -> &[Name] {
        &self.approvers
    }

    /// Returns the sorted groups of the rules for which the approvers counted, as in a receipt's `decision.groups`.
    #[must_use]
    pub fn groups(&self) -> &[GroupName] {
        &self.groups
    }

    /// Returns true if the receipt embeds the signature of this key. The receipt embeds one signature for each person
    /// who counted towards the quorum.
    #[must_use]
    pub fn keeps(&self, keyid: &KeyId) -> bool {
        self.keys.contains(keyid)
    }
}

/// Rules that must all be met.
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
    /// requirements.
    ///
    /// If the step names no group, the groups of policy apply to the rule of the step.
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

    /// Returns all groups that the rules name.
    #[must_use]
    pub fn groups(&self) -> BTreeSet<&GroupName> {
        self.0.iter().flat_map(|rule| &rule.from).collect()
    }

    /// Returns the number of missing people and their groups, for the rule with the largest number of missing people.
    /// The argument `people` has, for each signer, the groups for which the signer counts.
    pub(super) fn missing_of(&self, people: &[&BTreeSet<GroupName>]) -> (u64, BTreeSet<GroupName>) {
        self.0.iter().map(|rule| rule.shortfall(people)).max_by_key(|(missing, _)| *missing).unwrap_or_default()
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
            // If the program ignored the second mention of a group, `each` would require too few people.
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

    /// Returns the number of missing people, and their groups. By Hall's theorem, the number of missing people is the
    /// largest shortfall of any set of groups. The shortfall is `required` times the number of groups, minus the number
    /// of counted people in at least one of these groups.
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
            Self::NoGroups { of } => write!(f, "the approvals rule of {of} names no group; name one in policy"),
            Self::GroupTwice { of } => write!(f, "the approvals rule of {of} names a group twice; name each once"),
            Self::TooManyGroups { of, found } => {
                write!(f, "the approvals rule of {of} asks each of {found} groups; name at most {MAX_EACH_GROUPS}")
            }
        }
    }
}

impl std::error::Error for RuleError {}

/// The signatures that count, and the signatures that do not count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignatureCount {
    counted: Vec<CountedSigner>,
    uncounted: Vec<UncountedSignature>,
}

/// A person whose signature counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CountedSigner {
    /// The person.
    pub name: Name,
    /// The key that made the counted signature.
    pub keyid: KeyId,
    /// The groups of the rules for which the signature counts.
    pub groups: BTreeSet<GroupName>,
}

/// A signature that does not count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UncountedSignature {
    /// The key.
    pub keyid: KeyId,
    /// The holder of the key, or a description of the key.
    pub holder: String,
    /// The reason.
    pub why: NotCounted,
}

/// The reason why a signature does not count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotCounted {
    /// The key does not belong to an approver in the roster.
    NoApprover,
    /// The approver is the proposer, or controls the proposer.
    Excluded,
    /// The validity of the approver has not begun.
    NotYetValid(Timestamp),
    /// The validity of the approver has ended.
    NoLongerValid(Timestamp),
    /// The approver is in no group that a rule names.
    InNoNamedGroup,
    /// The signature reports no touch. Every group in which the approver could count requires a security key with a
    /// touch.
    NotTouched,
    /// The security key did not verify the person. Every group in which the approver could count requires this
    /// verification.
    NotVerified,
    /// Another key of the same person also signed, and the signature of that key counts.
    SecondKey(KeyId),
}

impl fmt::Display for UncountedSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}) does not count: ", self.holder, self.keyid)?;
        match &self.why {
            NotCounted::NoApprover => f.write_str("no approver"),
            NotCounted::Excluded => f.write_str("is the proposer or controls the proposer"),
            NotCounted::NotYetValid(from) => write!(f, "valid only from {from}"),
            NotCounted::NoLongerValid(until) => write!(f, "no longer valid since {until}"),
            NotCounted::InNoNamedGroup => f.write_str("in no group that the rule names"),
            NotCounted::NotTouched => f.write_str("the group requires a security key with touch"),
            NotCounted::NotVerified => f.write_str(
                "the group requires a security key that verified the person (PIN or fingerprint); sign with one",
            ),
            NotCounted::SecondKey(first) => write!(f, "the same person signed with {first}"),
        }
    }
}

impl SignatureCount {
    /// Returns the people whose signatures count, sorted by key id.
    #[must_use]
    pub fn counted(&self) -> &[CountedSigner] {
        &self.counted
    }

    /// Returns the signatures that do not count, sorted by key id.
    #[must_use]
    pub fn uncounted(&self) -> &[UncountedSignature] {
        &self.uncounted
    }
}

/// Finds the signatures that count, at most one for each person. The person must be an approver who is valid at `at`,
/// who is not excluded, and who is in a group that a rule names. If the group requires a touch, the signature must
/// report a touch.
///
/// If a person signed with several keys, the function selects the key that counts for most groups. If several keys
/// count for the same number of groups, the function selects the key with the lowest id.
#[must_use]
pub fn count(
    signatures: &[VerifiedSignature],
    roster: &TrustedRoster,
    excluded: &ExcludedSigners,
    rules: &QuorumRules,
    at: Timestamp,
) -> SignatureCount {
    let named = rules.groups();
    let mut people: BTreeMap<Name, CountedSigner> = BTreeMap::new();
    let mut uncounted = Vec::new();
    for signature in signatures {
        let keyid = signature.keyid;
        let Some((approver, _)) = roster.approver_of(&keyid) else {
            let holder =
                roster.signer(&keyid).map_or_else(|| "a stranger".to_owned(), |(holder, _)| holder.to_string());
            uncounted.push(UncountedSignature { keyid, holder, why: NotCounted::NoApprover });
            continue;
        };
        let member: BTreeSet<_> = approver.groups.iter().filter(|group| named.contains(group)).collect();
        let serves = |rule| match rule {
            None => true,
            Some(PresenceRule::Required) => matches!(signature.presence, Presence::Touched | Presence::Verified),
            Some(PresenceRule::Verified) => signature.presence == Presence::Verified,
        };
        let groups: BTreeSet<GroupName> =
            member.iter().filter(|group| serves(roster.presence_rule(group))).map(|group| (*group).clone()).collect();
        let touch_serves = member.iter().any(|group| roster.presence_rule(group) == Some(PresenceRule::Required));
        let why = if excluded.contains(&approver.name) {
            Some(NotCounted::Excluded)
        } else if let Some(from) = approver.valid_after.filter(|from| at < *from) {
            Some(NotCounted::NotYetValid(from))
        } else if let Some(until) = approver.valid_before.filter(|until| at >= *until) {
            Some(NotCounted::NoLongerValid(until))
        } else if member.is_empty() {
            Some(NotCounted::InNoNamedGroup)
        } else if groups.is_empty() {
            Some(if touch_serves { NotCounted::NotTouched } else { NotCounted::NotVerified })
        } else {
            None
        };
        let holder = approver.name.to_string();
        if let Some(why) = why {
            uncounted.push(UncountedSignature { keyid, holder, why });
            continue;
        }
        let mut candidate = CountedSigner { name: approver.name.clone(), keyid, groups };
        match people.get_mut(&approver.name) {
            Some(kept) => {
                let rank = |one: &CountedSigner| (std::cmp::Reverse(one.groups.len()), one.keyid);
                if rank(&candidate) < rank(kept) {
                    std::mem::swap(kept, &mut candidate);
                }
                if candidate.keyid != kept.keyid {
                    uncounted.push(UncountedSignature {
                        keyid: candidate.keyid,
                        holder,
                        why: NotCounted::SecondKey(kept.keyid),
                    });
                }
            }
            None => {
                people.insert(approver.name.clone(), candidate);
            }
        }
    }
    // If a person signed with three keys, the reason for the first key may name the second key, although the third key
    // has replaced the second key.
    for set_aside in &mut uncounted {
        if let NotCounted::SecondKey(first) = &mut set_aside.why
            && let Some(kept) = people.values().find(|person| person.name.as_str() == set_aside.holder)
        {
            *first = kept.keyid;
        }
    }
    let mut counted: Vec<_> = people.into_values().collect();
    counted.sort_by_key(|person| person.keyid);
    uncounted.sort_by_key(|signature| signature.keyid);
    SignatureCount { counted, uncounted }
}

/// Decides whether the people who counted meet every rule.
///
/// # Errors
/// Returns an error with the number of missing people, their groups, the people who counted, and the signatures that
/// did not count.
pub fn decide(rules: &QuorumRules, count: &SignatureCount) -> Result<QuorumMet, QuorumError> {
    let progress = progress(rules, count);
    if progress.missing > 0 {
        return Err(QuorumError { progress, uncounted: count.uncounted.clone() });
    }
    let mut approvers: Vec<_> = count.counted.iter().map(|person| person.name.clone()).collect();
    approvers.sort();
    let groups: BTreeSet<_> = count.counted.iter().flat_map(|person| &person.groups).cloned().collect();
    Ok(QuorumMet {
        approvers,
        groups: groups.into_iter().collect(),
        keys: count.counted.iter().map(|person| person.keyid).collect(),
    })
}

/// The progress of the approvals, for people who wait.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "Progress")]
pub struct QuorumProgress {
    /// Minimum number of people that the rules require.
    pub required: u64,
    /// The groups that at least one rule names.
    pub from: Vec<GroupName>,
    /// Number of people whose signatures count.
    pub have: u64,
    /// Minimum number of people who are still missing, or 0 if every rule is met.
    pub missing: u64,
    /// The groups to which the missing people must belong.
    pub missing_from: Vec<GroupName>,
    /// The sorted names of the approvers whose signatures count.
    pub approvers: Vec<Name>,
}

/// Returns the current progress of the approvals.
#[must_use]
pub fn progress(rules: &QuorumRules, count: &SignatureCount) -> QuorumProgress {
    let mut missing = 0;
    let mut missing_from = BTreeSet::new();
    for rule in &rules.0 {
        let (of_rule, groups) = rule.shortfall(&groups_of(&count.counted));
        missing = missing.max(of_rule);
        missing_from.extend(groups);
    }
    let mut approvers: Vec<_> = count.counted.iter().map(|person| person.name.clone()).collect();
    approvers.sort();
    QuorumProgress {
        required: rules.0.iter().map(Rule::places).max().unwrap_or(u64::MAX),
        from: rules.groups().into_iter().cloned().collect(),
        have: count.counted.len() as u64,
        missing,
        missing_from: missing_from.into_iter().collect(),
        approvers,
    }
}

fn groups_of(counted: &[CountedSigner]) -> Vec<&BTreeSet<GroupName>> {
    counted.iter().map(|person| &person.groups).collect()
}

/// Drops counted signatures that are not needed, until at most `most` signatures are left or all remaining signatures
/// are needed. An envelope has space for a limited number of signatures.
#[must_use]
pub fn fewest(rules: &QuorumRules, count: &SignatureCount, most: usize) -> Vec<KeyId> {
    let mut kept = count.counted.clone();
    for at in (0..kept.len()).rev() {
        if kept.len() <= most {
            break;
        }
        let one = kept.remove(at);
        if rules.0.iter().any(|rule| rule.shortfall(&groups_of(&kept)).0 > 0) {
            kept.insert(at, one);
        }
    }
    kept.iter().map(|person| person.keyid).collect()
}

/// The error for too few signatures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuorumError {
    /// The progress of the approvals, with the people who counted.
    pub progress: QuorumProgress,
    /// The signatures that did not count, each with the reason.
    pub uncounted: Vec<UncountedSignature>,
}

impl QuorumError {
    /// Returns the stable code, which is `self-approval` if an excluded person signed.
    #[must_use]
    pub fn code(&self) -> Code {
        let of_self = self.uncounted.iter().any(|signature| signature.why == NotCounted::Excluded);
        if of_self { Code::SelfApproval } else { Code::QuorumMissing }
    }
}

impl fmt::Display for QuorumError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |names: &[GroupName]| names.iter().map(GroupName::as_str).collect::<Vec<_>>().join(", ");
        let progress = &self.progress;
        write!(
            f,
            "{} of {} approvals count, {} more needed from {}",
            progress.have,
            progress.required,
            progress.missing,
            list(&progress.missing_from)
        )?;
        for signature in &self.uncounted {
            write!(f, "; {signature}")?;
        }
        Ok(())
    }
}

impl std::error::Error for QuorumError {}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;
    use crate::decision::exclusion::{self, Tokens};
    use crate::record::authorization::Authorization;
    use crate::record::document::Statement;

    pub(crate) fn name(text: &str) -> Name {
        text.parse().expect("name")
    }

    /// The people of the tests: alice (ops), bob (security) and carol (both groups, two keys).
    pub(crate) fn roster() -> TrustedRoster {
        let payload = include_bytes!("../../tests/conformance/golden/valid/payload/roster.json");
        TrustedRoster::from_payload(payload).expect("golden roster")
    }

    pub(crate) fn authorization() -> Authorization {
        let payload = include_bytes!("../../tests/conformance/golden/valid/payload/authorization.json");
        Statement::from_payload(payload).expect("golden authorization").predicate
    }

    pub(crate) fn definition() -> Value {
        let bundle = include_bytes!("../../tests/conformance/golden/valid/bundle.json");
        let mut bundle: Value = serde_json::from_slice(bundle).expect("golden bundle");
        bundle["step"].take()
    }

    const ALICE: &str = "SHA256:fe85JkIjo8VPe+XqXJGH5Mau1EMFdK1OdKvJUFicyA8";
    const BOB: &str = "SHA256:4A9jyZBOhnKZvcGQ6TRFbf5Gymb41AfYvYaVmWHD+G4";
    const CAROL: &str = "SHA256:vxu9sT7+WkqIPG3kOwohja2DmYBjKw903FLEcS+Xb6o";
    const CAROL_2: &str = "SHA256:0u/o6v5dG9kGuyEnxv7IH6j0Ao57dIDrUruSyZqTrXo";
    const OSCAR: &str = "SHA256:z/fSv0Z0RZS+Lccbc6ZoOWwt/fbj1VFJGSBKQbo4icE";

    fn rule(required: u64, from: &[&str], each: bool) -> Approvals {
        let from = from.iter().map(|group| group.parse().expect("group")).collect();
        Approvals { required, from, each: each.then_some(true) }
    }

    fn signed(keys: &[&str]) -> Vec<VerifiedSignature> {
        keys.iter()
            .map(|key| VerifiedSignature {
                keyid: key.parse().expect("key id"),
                presence: Presence::Unknown,
                sig: Vec::new(),
            })
            .collect()
    }

    fn nobody() -> ExcludedSigners {
        exclusion::judge(&name("ci-agent"), &name("ci-agent"), Tokens::Unknown, &roster()).expect("known")
    }

    fn at() -> Timestamp {
        "2026-11-20T09:40:00Z".parse().expect("time")
    }

    #[test]
    fn signatures_that_the_quorum_does_not_need_are_dropped() {
        let person = |n: u8, group: &str| {
            let key = crate::crypto::signature::SecretKey::from_seed([n; 32]).public();
            let key = crate::crypto::ssh_key::SshKey::from_public(key, "").expect("a key");
            CountedSigner {
                name: name(&format!("p{n}")),
                keyid: key.keyid(),
                groups: [group.parse().expect("group")].into(),
            }
        };
        let mut counted: Vec<_> = (1..=20).map(|n| person(n, "ops")).collect();
        counted.push(person(99, "security"));
        let needed = counted[20].keyid;
        let count = SignatureCount { counted, uncounted: Vec::new() };
        let each =
            QuorumRules::combine(Some(&rule(1, &["ops", "security"], true)), &Approvals::unspecified()).expect("rules");
        let kept = fewest(&each, &count, 16);
        assert_eq!(kept.len(), 16);
        assert!(kept.contains(&needed), "the only one of security");
        assert_eq!(fewest(&each, &count, 1).len(), 2, "never fewer than the rule needs");
        assert_eq!(fewest(&each, &count, 100).len(), 21, "nobody is left out without need");
    }

    fn judge(policy: &Approvals, step: &Approvals, keys: &[&str]) -> Result<QuorumMet, QuorumError> {
        let rules = QuorumRules::combine(Some(policy), step).expect("rules");
        decide(&rules, &count(&signed(keys), &roster(), &nobody(), &rules, at()))
    }

    #[test]
    fn one_approver_for_each_of_two_groups_requires_two_people() {
        let each = rule(1, &["ops", "security"], true);
        let met = judge(&each, &rule(1, &["ops"], false), &[ALICE, BOB]).expect("met");
        assert_eq!(met.approvers(), [name("alice"), name("bob")]);
        assert_eq!(met.groups().iter().map(GroupName::as_str).collect::<Vec<_>>(), ["ops", "security"]);
        for too_few in [&[ALICE][..], &[BOB], &[CAROL], &[CAROL, CAROL_2], &[]] {
            let error = judge(&each, &rule(1, &["ops"], false), too_few).expect_err("one person");
            assert_eq!(error.code(), Code::QuorumMissing);
            assert_eq!(error.progress.missing, if too_few.is_empty() { 2 } else { 1 });
        }
        assert!(judge(&each, &rule(1, &["ops"], false), &[CAROL, BOB]).is_ok(), "carol for ops");
        assert!(judge(&each, &rule(1, &["ops"], false), &[CAROL, ALICE]).is_ok(), "carol for security");
    }

    #[test]
    fn missing_approvers_are_named() {
        let error = judge(&rule(1, &["ops", "security"], true), &Approvals::unspecified(), &[ALICE]).expect_err("bob");
        assert_eq!(error.progress.missing_from.iter().map(GroupName::as_str).collect::<Vec<_>>(), ["security"]);
        assert_eq!((error.progress.required, error.progress.have), (2, 1));
    }

    #[test]
    fn without_an_each_rule_the_approvers_may_come_from_any_group() {
        let two = rule(2, &["ops", "security"], false);
        assert!(judge(&two, &Approvals::unspecified(), &[ALICE, CAROL]).is_ok());
        assert!(judge(&two, &Approvals::unspecified(), &[CAROL, CAROL_2]).is_err(), "two keys, one person");
    }

    #[test]
    fn the_approval_rules_of_policy_and_step_must_both_be_met() {
        let (ops, security) = (rule(1, &["ops"], false), rule(1, &["security"], false));
        assert!(judge(&ops, &security, &[ALICE]).is_err());
        assert!(judge(&ops, &security, &[BOB]).is_err());
        assert!(judge(&ops, &security, &[ALICE, BOB]).is_ok());
        assert!(judge(&ops, &security, &[CAROL]).is_ok(), "two rules, not two places");
        assert!(judge(&ops, &rule(2, &[], false), &[ALICE]).is_err(), "two of whom policy names");
        assert!(judge(&ops, &rule(2, &[], false), &[ALICE, BOB]).is_err(), "bob is not whom policy names");
        assert!(judge(&ops, &rule(2, &[], false), &[ALICE, CAROL]).is_ok());
    }

    #[test]
    fn approval_rules_that_require_no_person_are_errors() {
        let ops = rule(1, &["ops"], false);
        let refused =
            |policy: Option<&Approvals>, step: &Approvals| QuorumRules::combine(policy, step).expect_err("refused");
        assert_eq!(refused(Some(&rule(0, &["ops"], false)), &ops), RuleError::AsksNobody { of: "policy" });
        assert_eq!(refused(Some(&ops), &rule(0, &["ops"], false)), RuleError::AsksNobody { of: "the step" });
        assert_eq!(refused(Some(&rule(1, &[], false)), &ops), RuleError::NoGroups { of: "policy" });
        assert_eq!(refused(None, &Approvals::unspecified()), RuleError::NoGroups { of: "the step" });
        assert_eq!(refused(Some(&ops), &rule(1, &[], true)), RuleError::NoGroups { of: "the step" });
        assert_eq!(refused(Some(&rule(1, &["a", "a"], true)), &ops), RuleError::GroupTwice { of: "policy" });
        let nine = rule(1, &["a", "b", "c", "d", "e", "f", "g", "h", "i"], true);
        assert_eq!(refused(Some(&nine), &ops), RuleError::TooManyGroups { of: "policy", found: 9 });
        assert!(QuorumRules::combine(None, &ops).is_ok());
    }

    #[test]
    fn an_excluded_approver_does_not_count_and_is_named() {
        let rules = QuorumRules::combine(Some(&rule(1, &["ops"], false)), &Approvals::unspecified()).expect("rules");
        let excluded = nobody().with(&[name("alice")]);
        let counted = count(&signed(&[ALICE]), &roster(), &excluded, &rules, at());
        let error = decide(&rules, &counted).expect_err("self-approval");
        assert_eq!(error.code(), Code::SelfApproval);
        assert!(decide(&rules, &count(&signed(&[ALICE, CAROL]), &roster(), &excluded, &rules, at())).is_ok());
    }

    #[test]
    fn an_approver_whose_signature_does_not_count_is_reported_with_the_reason() {
        let rules = QuorumRules::combine(Some(&rule(1, &["ops"], false)), &Approvals::unspecified()).expect("rules");
        let why = |keys: &[&str], roster: &TrustedRoster| {
            let counted = count(&signed(keys), roster, &nobody(), &rules, at());
            counted.uncounted().iter().map(|signature| signature.why.clone()).collect::<Vec<_>>()
        };
        assert_eq!(why(&[OSCAR], &roster()), [NotCounted::NoApprover]);
        assert_eq!(why(&[BOB], &roster()), [NotCounted::InNoNamedGroup]);
        assert_eq!(why(&[CAROL, CAROL_2], &roster()), [NotCounted::SecondKey(CAROL_2.parse().expect("lowest"))]);
        let edit = |change: fn(&mut crate::record::roster::Roster)| {
            let mut tables = roster().tables().clone();
            change(&mut tables);
            let payload = tables.into_statement().and_then(|statement| statement.to_payload()).expect("payload");
            TrustedRoster::from_payload(&payload).expect("roster")
        };
        let over = edit(|tables| tables.approver[0].valid_before = "2026-11-20T09:40:00Z".parse().ok());
        assert_eq!(why(&[ALICE], &over), [NotCounted::NoLongerValid(at())]);
        let early = edit(|tables| tables.approver[0].valid_after = "2026-11-20T09:40:01Z".parse().ok());
        assert_eq!(why(&[ALICE], &early), [NotCounted::NotYetValid(at().plus(1))]);
        let just = edit(|tables| tables.approver[0].valid_after = "2026-11-20T09:40:00Z".parse().ok());
        assert!(why(&[ALICE], &just).is_empty());
        let touch = edit(|tables| tables.group[0].presence = Some(crate::record::roster::PresenceRule::Required));
        assert_eq!(why(&[ALICE], &touch), [NotCounted::NotTouched]);
    }

    #[test]
    fn a_signature_with_a_touch_is_preferred_to_a_signature_without_a_touch() {
        let mut tables = roster().tables().clone();
        tables.group[1].presence = Some(crate::record::roster::PresenceRule::Required);
        let payload = tables.into_statement().and_then(|statement| statement.to_payload()).expect("payload");
        let roster = TrustedRoster::from_payload(&payload).expect("roster");
        let rules = QuorumRules::combine(Some(&rule(1, &["ops", "security"], false)), &Approvals::unspecified())
            .expect("rules");
        let mut signatures = signed(&[CAROL_2, CAROL]);
        signatures[1].presence = Presence::Touched;
        for _ in 0..2 {
            let counted = count(&signatures, &roster, &nobody(), &rules, at());
            assert_eq!(counted.counted()[0].keyid.to_string(), CAROL);
            signatures.reverse();
        }
    }

    /// Tries all assignments of people to the required approvals, one by one.
    fn fills(places: &[usize], people: &[u32], taken: u32) -> bool {
        let Some((group, rest)) = places.split_first() else { return true };
        people.iter().enumerate().any(|(at, groups)| {
            groups >> group & 1 == 1 && taken >> at & 1 == 0 && fills(rest, people, taken | 1 << at)
        })
    }

    fn person(at: usize, groups: u32) -> CountedSigner {
        let all = ["a", "b", "c", "d"];
        CountedSigner {
            name: name(&format!("p{at}")),
            keyid: ALICE.parse().expect("key id"),
            groups: (0..4).filter(|bit| groups >> bit & 1 == 1).map(|bit| all[bit].parse().expect("group")).collect(),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]
        #[test]
        fn an_each_rule_is_met_only_if_one_person_can_be_assigned_to_each_required_signature(
            people in prop::collection::vec(0_u32..16, 0..7),
            groups in 1_usize..4,
            required in 1_usize..3,
        ) {
            let names = ["a", "b", "c", "d"];
            let rules = QuorumRules::combine(Some(&rule(required as u64, &names[..groups], true)), &Approvals::unspecified()).expect("rules");
            let counted: Vec<_> = people.iter().enumerate().map(|(at, mask)| person(at, *mask)).collect();
            let places: Vec<_> = (0..groups).flat_map(|group| std::iter::repeat_n(group, required)).collect();
            let (missing, from) = rules.0[0].shortfall(&groups_of(&counted));
            prop_assert_eq!(missing == 0, fills(&places, &people, 0));
            prop_assert_eq!(missing == 0, from.is_empty());
            // The test adds the missing number of people, each of them in all groups. Then the quorum must be met.
            let mut helped = people.clone();
            helped.extend(std::iter::repeat_n(15, missing as usize));
            prop_assert!(fills(&places, &helped, 0));
            if missing > 0 {
                helped.pop();
                prop_assert!(!fills(&places, &helped, 0));
            }
        }

        #[test]
        fn the_quorum_verdict_depends_only_on_the_set_of_people(
            keys in prop::sample::subsequence(vec![ALICE, BOB, CAROL, CAROL_2, OSCAR], 0..=5).prop_shuffle(),
            required in 1_u64..4,
            each in any::<bool>(),
        ) {
            let rules = QuorumRules::combine(Some(&rule(required, &["ops", "security"], each)), &Approvals::unspecified()).expect("rules");
            let one = count(&signed(&keys), &roster(), &nobody(), &rules, at());
            let mut sorted = keys.clone();
            sorted.sort_unstable();
            prop_assert_eq!(&one, &count(&signed(&sorted), &roster(), &nobody(), &rules, at()));
            prop_assert_eq!(one.counted().len() + one.uncounted().len(), keys.len());
            // An additional signature never breaks a met quorum.
            if decide(&rules, &one).is_ok() {
                let mut more = keys.clone();
                more.extend([ALICE, BOB, CAROL].iter().filter(|key| !keys.contains(*key)));
                prop_assert!(decide(&rules, &count(&signed(&more), &roster(), &nobody(), &rules, at())).is_ok());
            }
        }
    }
}
