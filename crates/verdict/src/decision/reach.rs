//! Finds the approvers whose signatures can count, so that the program can report an impossible quorum before people
//! sign.

use std::{collections::BTreeSet, fmt};

use crate::{QuorumRules, RuleSigner, SigningProgram, TrustedRoster};
use documents::{ForeignKey, GroupName, KeyId, Name, SshKey, Timestamp, joined};

/// Approvers of one roster, each with the groups for which the signature of this person could count.
pub struct EligibleApprovers(Vec<Person>);

struct Person {
    name: Name,
    /// Groups for which a key that is no passkey counts.
    groups: BTreeSet<GroupName>,
    /// Groups for which a passkey counts too, if policy has `passkeys`.
    by_passkey: BTreeSet<GroupName>,
    valid_after: Option<Timestamp>,
    valid_before: Option<Timestamp>,
}

/// The error for a quorum that no approvers can meet.
#[derive(Debug, PartialEq)]
pub struct OutOfReach {
    /// Minimum number of people from these groups.
    pub needed: u64,
    /// Groups that have too few members.
    pub from: BTreeSet<GroupName>,
    /// Members of these groups whose signatures could count.
    pub people: Vec<Name>,
}

impl EligibleApprovers {
    /// Returns the people who could approve under this roster with the keys for which `is_revoked` returns false.
    pub fn of(roster: &TrustedRoster, is_revoked: impl Fn(&KeyId) -> bool) -> Self {
        let people = roster.approvers().map(|approver| {
            let keys = approver
                .keys
                .iter()
                .filter_map(|line| SshKey::parse(line).ok());
            let keys: Vec<SshKey> = keys.filter(|key| !is_revoked(&key.keyid())).collect();
            // In a group with a presence rule, only the signatures of security keys count.
            let touches = keys.iter().any(SshKey::is_security_key);
            let counts = |group: &&GroupName| {
                !keys.is_empty() && (touches || roster.presence_rule(group).is_none())
            };
            let foreign = approver
                .keys
                .iter()
                .filter_map(|line| ForeignKey::parse(line).ok());
            let has_passkey = foreign
                .into_iter()
                .any(|key| key.passkey().is_some() && !is_revoked(&key.keyid()));
            Person {
                name: approver.name.clone(),
                groups: approver.groups.iter().filter(counts).cloned().collect(),
                by_passkey: approver
                    .groups
                    .iter()
                    .filter(|_| has_passkey)
                    .cloned()
                    .collect(),
                valid_after: approver.valid_after,
                valid_before: approver.valid_before,
            }
        });
        Self(people.collect())
    }

    /// Checks whether the people for whom `is_excluded` returns false can meet these rules at one moment between `from`
    /// and `until`, or at any moment from `from` on if there is no `until`.
    ///
    /// # Errors
    /// Returns an error with the required number of people, and the people who could sign.
    pub fn check_reach(
        &self,
        rules: &QuorumRules,
        is_excluded: impl Fn(&Name) -> bool,
        from: Timestamp,
        until: Option<Timestamp>,
    ) -> Result<(), OutOfReach> {
        let named = rules.groups();
        // A person without a key that can count, such as one with only revoked keys, counts for no group.
        let people = self.0.iter().filter(|person| !is_excluded(&person.name));
        let people: Vec<&Person> = people
            .filter(|person| {
                person
                    .signer(rules)
                    .groups
                    .iter()
                    .any(|group| named.contains(group))
            })
            .collect();
        // The number of valid people can grow only when the validity of a person begins, so check these moments.
        let begins = people.iter().filter_map(|person| person.valid_after);
        let begins = begins.filter(|at| *at > from && until.is_none_or(|until| *at < until));
        let mut best: Option<(u64, OutOfReach)> = None;
        for at in std::iter::once(from).chain(begins) {
            let valid = |person: &&Person| {
                person.valid_after.is_none_or(|after| after <= at)
                    && person.valid_before.is_none_or(|before| at < before)
            };
            let there: Vec<&Person> = people.iter().copied().filter(valid).collect();
            let mut signers: Vec<RuleSigner<'_>> =
                there.iter().map(|person| person.signer(rules)).collect();
            for at in rules.surplus_passkeys(&signers).into_iter().rev() {
                signers.remove(at);
            }
            let (missing, from) = rules.missing_of(&signers);
            if missing == 0 {
                return Ok(());
            }
            if best.as_ref().is_none_or(|(fewest, _)| missing < *fewest) {
                let of_these = there
                    .iter()
                    .filter(|person| !person.signer(rules).groups.is_disjoint(&from));
                let people: Vec<Name> = of_these.map(|person| person.name.clone()).collect();
                let needed = missing.saturating_add(people.len() as u64);
                best = Some((
                    missing,
                    OutOfReach {
                        needed,
                        from,
                        people,
                    },
                ));
            }
        }
        // The loop checked at least the moment `from`, so `best` has a value.
        best.map_or(Ok(()), |(_, out)| Err(out))
    }
}

impl Person {
    /// Returns the signer with the most groups for which a signature of this person can count.
    fn signer(&self, rules: &QuorumRules) -> RuleSigner<'_> {
        let by_passkey = rules.passkeys().is_some() && !self.by_passkey.is_empty();
        let program = if by_passkey && self.groups.is_empty() {
            SigningProgram::Browser
        } else {
            SigningProgram::Own
        };
        RuleSigner {
            groups: if by_passkey {
                &self.by_passkey
            } else {
                &self.groups
            },
            program,
        }
    }
}

impl fmt::Display for OutOfReach {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let groups = joined(&self.from, ", ");
        let people = joined(&self.people, ", ");
        let (approvals, needed) = if self.needed == 1 {
            ("approval", "is")
        } else {
            ("approvals", "are")
        };
        write!(
            f,
            "{} {approvals} of {groups} {needed} needed, but at most {} can approve",
            self.needed,
            self.people.len()
        )?;
        if people.is_empty() {
            Ok(())
        } else {
            write!(f, " ({people})")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decision::{quorum::tests::roster, signature_count::tests::with_passkeys};
    use documents::Approvals;
    use reading::PasskeysRule;

    const NOW: Timestamp = Timestamp::from_unix(1_800_000_000);

    fn rules(required: u64, from: &[&str], each: bool) -> QuorumRules {
        let from = from
            .iter()
            .map(|group| group.parse().expect("a group"))
            .collect();
        let step = Approvals {
            required,
            from,
            each: each.then_some(true),
        };
        QuorumRules::combine(None, &step).expect("rules")
    }

    #[test]
    fn a_quorum_must_be_reachable_with_the_approvers_who_are_not_excluded() {
        let roster = roster();
        let eligible = EligibleApprovers::of(&roster, |_| false);
        let of_ops: Vec<Name> = roster
            .approvers()
            .filter(|person| {
                person
                    .groups
                    .iter()
                    .any(|group| group.as_str() == "ops" && roster.presence_rule(group).is_none())
            })
            .filter(|person| person.valid_after.is_none_or(|after| after <= NOW))
            .filter(|person| person.valid_before.is_none_or(|before| NOW < before))
            .map(|person| person.name.clone())
            .collect();
        let all = of_ops.len() as u64;
        assert!(all > 0, "the roster of the tests has people of ops");
        assert_eq!(
            eligible.check_reach(
                &rules(all, &["ops"], false),
                |_| false,
                NOW,
                Some(NOW.plus(1))
            ),
            Ok(())
        );
        let one_too_many = eligible.check_reach(
            &rules(all + 1, &["ops"], false),
            |_| false,
            NOW,
            Some(NOW.plus(1)),
        );
        assert_eq!(one_too_many.expect_err("out of reach").people, of_ops);
        let first = &of_ops[0];
        let without = eligible.check_reach(
            &rules(all, &["ops"], false),
            |name| name == first,
            NOW,
            Some(NOW.plus(1)),
        );
        let without = without.expect_err("out of reach");
        assert!(!without.people.contains(first) && without.needed == all);
        assert!(
            without.to_string().contains("of ops are needed"),
            "{without}"
        );
    }

    #[test]
    fn a_person_with_only_a_passkey_can_approve_if_policy_lets_it_count() {
        let (roster, _) = with_passkeys();
        let only_passkeys = EligibleApprovers::of(&roster, |keyid| roster.signer(keyid).is_some());
        let all = EligibleApprovers::of(&roster, |_| false);
        let reach = |eligible: &EligibleApprovers, required, passkeys: Option<(u64, bool)>| {
            let passkeys = passkeys.map(|(most, alone)| PasskeysRule {
                most,
                alone,
                synced: true,
            });
            let rules = rules(required, &["ops"], false).with_passkeys(passkeys);
            eligible.check_reach(&rules, |_| false, NOW, None).is_ok()
        };
        assert!(!reach(&only_passkeys, 1, None) && reach(&all, 1, None));
        assert!(!reach(&only_passkeys, 1, Some((1, false))) && reach(&all, 1, Some((1, false))));
        assert!(reach(&only_passkeys, 1, Some((1, true))));
        assert!(
            !reach(&only_passkeys, 2, Some((1, true))) && reach(&only_passkeys, 2, Some((2, true)))
        );
    }
}
