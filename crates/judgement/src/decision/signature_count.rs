//! The signatures that count, at most one for each person, and the reasons why the others do not count.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::decision::exclusion::ExcludedSigners;
use crate::decision::quorum_rules::QuorumRules;
use crate::trust::trusted_roster::TrustedRoster;
use documents::crypto::key_id::KeyId;
use documents::crypto::sshsig::Presence;
use documents::record::envelope::VerifiedSignature;
use documents::record::ident::{GroupName, Name};
use documents::record::roster::PresenceRule;
use documents::record::validity::Timestamp;

/// Signatures that count, and signatures that do not count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignatureCount {
    counted: Vec<CountedSigner>,
    uncounted: Vec<UncountedSignature>,
}

/// Person whose signature counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CountedSigner {
    /// The person.
    pub name: Name,
    /// Key of the counted signature.
    pub keyid: KeyId,
    /// Groups for which the signature counts.
    pub groups: BTreeSet<GroupName>,
}

/// Signature that does not count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UncountedSignature {
    /// The key.
    pub keyid: KeyId,
    /// Holder of the key, or a description of the key.
    pub holder: String,
    /// The reason.
    pub why: NotCounted,
}

/// The reason why a signature does not count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotCounted {
    /// The key does not belong to an approver in the roster.
    NoApprover,
    /// The key is revoked.
    Revoked,
    /// The approver is the proposer, or controls the proposer.
    Excluded,
    /// The validity of the approver has not begun.
    NotYetValid(Timestamp),
    /// The validity of the approver has ended.
    NoLongerValid(Timestamp),
    /// The approver is in no group that a rule names.
    InNoNamedGroup,
    /// The signature reports no touch, but every group in which the approver could count requires a touch of a security
    /// key.
    NotTouched,
    /// The security key did not verify the person, but every group in which the approver could count requires this.
    NotVerified,
    /// The signature of another key of the same person counts.
    SecondKey(KeyId),
}

impl fmt::Display for UncountedSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}) does not count: ", self.holder, self.keyid)?;
        match &self.why {
            NotCounted::NoApprover => f.write_str("the signer is not an approver"),
            NotCounted::Revoked => f.write_str("the key is revoked"),
            NotCounted::Excluded => f.write_str("the signer is the proposer or controls the proposer"),
            NotCounted::NotYetValid(from) => write!(f, "the approver is valid only from {from}"),
            NotCounted::NoLongerValid(until) => write!(f, "the approver is no longer valid since {until}"),
            NotCounted::InNoNamedGroup => f.write_str("the approver is in no group that the rule names"),
            NotCounted::NotTouched => f.write_str("the group requires a security key with touch"),
            NotCounted::NotVerified => f.write_str(
                "the group requires a security key that verified the person (PIN or fingerprint); sign with such a key",
            ),
            NotCounted::SecondKey(first) => write!(f, "the same person also signed with {first}"),
        }
    }
}

impl SignatureCount {
    #[cfg(test)]
    pub(super) const fn of(counted: Vec<CountedSigner>) -> Self {
        Self { counted, uncounted: Vec::new() }
    }

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
/// not excluded, and in a group that a rule names. The signature must meet the presence rule of the group.
///
/// If a person signed with several keys, the key that counts for most groups is selected, and among these the key with
/// the lowest id.
#[must_use]
pub fn count(
    signatures: &[VerifiedSignature],
    roster: &TrustedRoster,
    excluded: &ExcludedSigners,
    rules: &QuorumRules,
    at: Timestamp,
) -> SignatureCount {
    count_unrevoked(signatures, roster, excluded, rules, at, |_| false)
}

/// Does the same as [`count`], but no signature of a key counts for which `is_revoked` returns true.
#[must_use]
pub fn count_unrevoked(
    signatures: &[VerifiedSignature],
    roster: &TrustedRoster,
    excluded: &ExcludedSigners,
    rules: &QuorumRules,
    at: Timestamp,
    is_revoked: impl Fn(&KeyId) -> bool,
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
        let why = if is_revoked(&keyid) {
            Some(NotCounted::Revoked)
        } else if excluded.contains(&approver.name) {
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
    // If a person signed with three keys, the reason for the first key may name the second key, which the third key has
    // replaced.
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

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::decision::exclusion::{self, Tokens};
    use crate::decision::quorum::tests::{name, roster};
    use crate::decision::quorum_rules::tests::rule;
    use documents::record::step_definition::Approvals;

    pub(crate) const ALICE: &str = "SHA256:fe85JkIjo8VPe+XqXJGH5Mau1EMFdK1OdKvJUFicyA8";
    pub(crate) const BOB: &str = "SHA256:4A9jyZBOhnKZvcGQ6TRFbf5Gymb41AfYvYaVmWHD+G4";
    pub(crate) const CAROL: &str = "SHA256:vxu9sT7+WkqIPG3kOwohja2DmYBjKw903FLEcS+Xb6o";
    pub(crate) const CAROL_2: &str = "SHA256:0u/o6v5dG9kGuyEnxv7IH6j0Ao57dIDrUruSyZqTrXo";
    pub(crate) const OSCAR: &str = "SHA256:z/fSv0Z0RZS+Lccbc6ZoOWwt/fbj1VFJGSBKQbo4icE";

    pub(crate) fn signed(keys: &[&str]) -> Vec<VerifiedSignature> {
        keys.iter()
            .map(|key| VerifiedSignature {
                keyid: key.parse().expect("key id"),
                presence: Presence::Unknown,
                sig: Vec::new(),
            })
            .collect()
    }

    pub(crate) fn nobody() -> ExcludedSigners {
        exclusion::judge(&name("ci-agent"), &name("ci-agent"), Tokens::Unknown, &roster()).expect("known")
    }

    pub(crate) fn at() -> Timestamp {
        "2026-11-20T09:40:00Z".parse().expect("time")
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
        let edit = |change: fn(&mut documents::record::roster::Roster)| {
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
        let touch = edit(|tables| tables.group[0].presence = Some(PresenceRule::Required));
        assert_eq!(why(&[ALICE], &touch), [NotCounted::NotTouched]);
    }

    #[test]
    fn a_signature_of_a_revoked_key_does_not_count_and_another_key_of_the_person_does() {
        let rules = QuorumRules::combine(Some(&rule(1, &["ops"], false)), &Approvals::unspecified()).expect("rules");
        let counted = |keys: &[&str], revoked: &str| {
            let revoked: KeyId = revoked.parse().expect("key id");
            let is_revoked = |keyid: &KeyId| *keyid == revoked;
            let count = count_unrevoked(&signed(keys), &roster(), &nobody(), &rules, at(), is_revoked);
            let names: Vec<_> = count.counted().iter().map(|person| person.keyid.to_string()).collect();
            (names, count.uncounted().iter().map(|signature| signature.why.clone()).collect::<Vec<_>>())
        };
        assert_eq!(counted(&[ALICE], ALICE), (vec![], vec![NotCounted::Revoked]));
        assert_eq!(counted(&[ALICE], CAROL), (vec![ALICE.to_owned()], vec![]));
        // Without the revocation, the key with the lowest id counts.
        assert_eq!(counted(&[CAROL, CAROL_2], CAROL_2), (vec![CAROL.to_owned()], vec![NotCounted::Revoked]));
        assert_eq!(counted(&[OSCAR], OSCAR), (vec![], vec![NotCounted::NoApprover]), "no approver in any case");
    }

    #[test]
    fn a_signature_with_a_touch_is_preferred_to_a_signature_without_a_touch() {
        let mut tables = roster().tables().clone();
        tables.group[1].presence = Some(PresenceRule::Required);
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
}
