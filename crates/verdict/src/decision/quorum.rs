//! Question: did enough people sign, and are they in the required groups?
//!
//! The rules of policy and of the step must both be met. The result depends only on the *set* of people whose
//! signatures count. If a rule has `each`, a person counts for only one group.

use std::{collections::BTreeSet, fmt};

use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    NotCounted, QuorumRules, RuleSigner, SignatureCount, UncountedSignature,
    decision::signature_count::CountedSigner,
};
use documents::{Code, GroupName, KeyId, Name, joined};

/// Proof that enough distinct people signed. Only [`decide`] constructs this proof.
#[derive(Debug)]
#[must_use]
pub struct QuorumMet {
    approvers: Vec<Name>,
    groups: Vec<GroupName>,
    keys: BTreeSet<KeyId>,
}

impl QuorumMet {
    /// Returns the same proof again, for each run under a grant.
    pub(super) fn copy(&self) -> Self {
        Self {
            approvers: self.approvers.clone(),
            groups: self.groups.clone(),
            keys: self.keys.clone(),
        }
    }

    /// Returns the sorted names of the people whose signatures counted, as in a receipt's `decision.approvers`.
    pub fn approvers(&self) -> &[Name] {
        &self.approvers
    }

    /// Returns the sorted groups for which these people counted, as in a receipt's `decision.groups`.
    pub fn groups(&self) -> &[GroupName] {
        &self.groups
    }

    /// Returns true if the log has the signature of this key. There is one such signature for each person who
    /// counted.
    pub fn keeps(&self, keyid: &KeyId) -> bool {
        self.keys.contains(keyid)
    }
}

/// Decides whether the counted people meet every rule.
///
/// # Errors
/// Returns an error with the progress of the approvals and the signatures that do not count.
pub fn decide(rules: &QuorumRules, count: &SignatureCount) -> Result<QuorumMet, QuorumError> {
    let progress = progress(rules, count);
    if progress.missing > 0 {
        return Err(QuorumError {
            progress,
            uncounted: count.uncounted().into(),
        });
    }
    let groups: BTreeSet<_> = count
        .counted()
        .iter()
        .flat_map(|person| &person.groups)
        .cloned()
        .collect();
    Ok(QuorumMet {
        approvers: progress.approvers,
        groups: groups.into_iter().collect(),
        keys: count.counted().iter().map(|person| person.keyid).collect(),
    })
}

/// Progress of the approvals, for people who wait.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "Progress")]
pub struct QuorumProgress {
    /// Minimum number of people that the rules require.
    pub required: u64,
    /// Groups in the rules.
    pub from: Vec<GroupName>,
    /// Number of people whose signatures count.
    pub have: u64,
    /// Minimum number of further people, or 0 if every rule is met.
    pub missing: u64,
    /// Groups to which the further people must belong.
    pub missing_from: Vec<GroupName>,
    /// The sorted names of the approvers whose signatures count.
    pub approvers: Vec<Name>,
    /// True if one of the missing people must sign with another key than a passkey, because policy does not accept passkeys
    /// alone (`passkeys.alone`).
    pub own_program: bool,
}

/// Returns the current progress of the approvals.
pub fn progress(rules: &QuorumRules, count: &SignatureCount) -> QuorumProgress {
    let mut missing = 0;
    let mut missing_from = BTreeSet::new();
    let signers = for_rules(count.counted());
    for (of_rule, groups) in rules.shortfalls(&signers) {
        missing = missing.max(of_rule);
        missing_from.extend(groups);
    }
    let mut approvers: Vec<_> = count
        .counted()
        .iter()
        .map(|person| person.name.clone())
        .collect();
    approvers.sort();
    QuorumProgress {
        required: rules.required(),
        from: rules.groups().into_iter().cloned().collect(),
        have: count.counted().len() as u64,
        missing,
        missing_from: missing_from.into_iter().collect(),
        approvers,
        own_program: !signers.is_empty() && rules.lacks_own_program(&signers),
    }
}

fn for_rules(counted: &[CountedSigner]) -> Vec<RuleSigner<'_>> {
    counted.iter().map(CountedSigner::for_rules).collect()
}

/// Drops signatures that the quorum does not need, until at most `most` are left, because an envelope has space for a
/// limited number of signatures.
pub fn fewest(rules: &QuorumRules, count: &SignatureCount, most: usize) -> Vec<KeyId> {
    let mut kept = count.counted().to_vec();
    for at in (0..kept.len()).rev() {
        if kept.len() <= most {
            break;
        }
        let one = kept.remove(at);
        if rules
            .shortfalls(&for_rules(&kept))
            .any(|(missing, _)| missing > 0)
        {
            kept.insert(at, one);
        }
    }
    kept.iter().map(|person| person.keyid).collect()
}

/// The error for too few signatures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuorumError {
    /// Progress of the approvals.
    pub progress: QuorumProgress,
    /// The signatures that did not count, each with the reason.
    pub uncounted: Box<[UncountedSignature]>,
}

impl QuorumError {
    /// Returns the stable code: `self-approval` if an excluded person signed, else `quorum-missing`.
    pub fn code(&self) -> Code {
        let of_self = self
            .uncounted
            .iter()
            .any(|signature| signature.why == NotCounted::Excluded);
        if of_self {
            Code::SelfApproval
        } else {
            Code::QuorumMissing
        }
    }
}

impl fmt::Display for QuorumError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let progress = &self.progress;
        write!(
            f,
            "{} of {} required approvals count; {} more needed from {}",
            progress.have,
            progress.required,
            progress.missing,
            joined(&progress.missing_from, ", ")
        )?;
        if progress.own_program {
            f.write_str("; one of them must sign with another key than a passkey (`passkeys.alone` of policy)")?;
        }
        for signature in &self.uncounted {
            write!(f, "; {signature}")?;
        }
        Ok(())
    }
}

impl std::error::Error for QuorumError {}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::Value;

    use super::*;
    use crate::{
        SigningProgram, TrustedRoster, count,
        decision::{
            quorum_rules::tests::rule,
            signature_count::tests::{ALICE, at, nobody, signed},
        },
    };
    use documents::{Approvals, Authorization, Statement};

    pub(crate) fn name(text: &str) -> Name {
        text.parse().expect("name")
    }

    /// The people of the tests: alice (ops), bob (security) and carol (both groups, two keys).
    pub(crate) fn roster() -> TrustedRoster {
        let payload =
            include_bytes!("../../../../tests/conformance/golden/valid/payload/roster.json");
        TrustedRoster::from_payload(payload).expect("golden roster")
    }

    pub(crate) fn authorization() -> Authorization {
        let payload =
            include_bytes!("../../../../tests/conformance/golden/valid/payload/authorization.json");
        Statement::from_payload(payload)
            .expect("golden authorization")
            .predicate
    }

    pub(crate) fn definition() -> Value {
        let bundle = include_bytes!("../../../../tests/conformance/golden/valid/bundle.json");
        let mut bundle: Value = serde_json::from_slice(bundle).expect("golden bundle");
        bundle["step"].take()
    }

    #[test]
    fn signatures_that_the_quorum_does_not_need_are_dropped() {
        let person = |n: u8, group: &str| {
            let key = documents::SecretKey::from_seed([n; 32]).public();
            let key = documents::SshKey::from_public(key, "").expect("a key");
            CountedSigner {
                name: name(&format!("p{n}")),
                keyid: key.keyid(),
                groups: [group.parse().expect("group")].into(),
                program: SigningProgram::Own,
            }
        };
        let mut counted: Vec<_> = (1..=20).map(|n| person(n, "ops")).collect();
        counted.push(person(99, "security"));
        let needed = counted[20].keyid;
        let count = SignatureCount::of(counted);
        let each = QuorumRules::combine(
            Some(&rule(1, &["ops", "security"], true)),
            &Approvals::unspecified(),
        )
        .expect("rules");
        let kept = fewest(&each, &count, 16);
        assert_eq!(kept.len(), 16);
        assert!(kept.contains(&needed), "the only one of security");
        assert_eq!(
            fewest(&each, &count, 1).len(),
            2,
            "never fewer than the rule needs"
        );
        assert_eq!(
            fewest(&each, &count, 100).len(),
            21,
            "nobody is left out without need"
        );
    }

    fn judge(
        policy: &Approvals,
        step: &Approvals,
        keys: &[&str],
    ) -> Result<QuorumMet, QuorumError> {
        let rules = QuorumRules::combine(Some(policy), step).expect("rules");
        decide(
            &rules,
            &count(&signed(keys), &roster(), &nobody(), &rules, at()),
        )
    }

    #[test]
    fn missing_approvers_are_named() {
        let error = judge(
            &rule(1, &["ops", "security"], true),
            &Approvals::unspecified(),
            &[ALICE],
        )
        .expect_err("bob");
        assert_eq!(
            error
                .progress
                .missing_from
                .iter()
                .map(GroupName::as_str)
                .collect::<Vec<_>>(),
            ["security"]
        );
        assert_eq!((error.progress.required, error.progress.have), (2, 1));
    }
}
