//! The signatures that count, at most one for each person, and the reasons why the others do not count.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    ExcludedSigners, PasskeyError, QuorumRules, RuleSigner, SigningProgram, TrustedRoster,
    signing_program,
};
use documents::{GroupName, KeyId, Name, Presence, PresenceRule, Timestamp, VerifiedSignature};

/// Signatures that count, and signatures that do not count.
pub struct SignatureCount {
    counted: Vec<CountedSigner>,
    uncounted: Vec<UncountedSignature>,
}

/// Person whose signature counts.
#[derive(Debug, Clone, PartialEq)]
pub struct CountedSigner {
    /// The person.
    pub name: Name,
    /// Key of the counted signature.
    pub keyid: KeyId,
    /// Groups for which the signature counts.
    pub groups: BTreeSet<GroupName>,
    /// The program in which the person signed.
    pub program: SigningProgram,
}

impl CountedSigner {
    pub(super) fn for_rules(&self) -> RuleSigner<'_> {
        RuleSigner {
            groups: &self.groups,
            program: self.program,
        }
    }
}

/// Signature that does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{holder} ({keyid}) does not count: {why}")]
pub struct UncountedSignature {
    /// The key.
    pub keyid: KeyId,
    /// Holder of the key, or a description of the key.
    pub holder: String,
    /// The reason.
    pub why: NotCounted,
}

/// The reason why a signature does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotCounted {
    /// The key does not belong to an approver in the roster.
    #[error("the signer is not an approver")]
    NoApprover,
    /// The key is revoked.
    #[error("the key is revoked")]
    Revoked,
    /// The approver is the proposer, or controls the proposer.
    #[error("the signer is the proposer or controls the proposer")]
    Excluded,
    /// The validity of the approver has not begun.
    #[error("the approver is valid only from {0}")]
    NotYetValid(Timestamp),
    /// The validity of the approver has ended.
    #[error("the approver is no longer valid since {0}")]
    NoLongerValid(Timestamp),
    /// The approver is in no group that a rule names.
    #[error("the approver is in no group that the rule names")]
    InNoNamedGroup,
    /// The signature reports no touch, but every group in which the approver could count requires a touch of a security
    /// key.
    #[error("the group requires a security key with touch")]
    NotTouched,
    /// The security key did not verify the person, but every group in which the approver could count requires this.
    #[error(
        "the group requires a security key that verified the person (PIN or fingerprint); sign with such a key"
    )]
    NotVerified,
    /// The signature of another key of the same person counts.
    #[error("the same person also signed with {0}")]
    SecondKey(KeyId),
    /// Policy does not let this passkey count.
    #[error(transparent)]
    Passkey(PasskeyError),
    /// As many other passkeys count as policy permits for one run.
    #[error(
        "as many other passkeys count as policy permits (`passkeys.most`); sign with another key"
    )]
    MorePasskeys,
}

impl SignatureCount {
    #[cfg(test)]
    pub(super) fn of(counted: Vec<CountedSigner>) -> Self {
        Self {
            counted,
            uncounted: Vec::new(),
        }
    }

    /// Returns the people whose signatures count, sorted by key id.
    pub fn counted(&self) -> &[CountedSigner] {
        &self.counted
    }

    /// Returns the people whose counted signatures are of passkeys.
    pub fn by_passkey(&self) -> impl Iterator<Item = &Name> {
        self.counted
            .iter()
            .filter(|person| person.program == SigningProgram::Browser)
            .map(|person| &person.name)
    }

    /// Returns the signatures that do not count, sorted by key id.
    pub fn uncounted(&self) -> &[UncountedSignature] {
        &self.uncounted
    }
}

/// Finds the signatures that count, at most one for each person. The person must be an approver who is valid at `at`,
/// not excluded, and in a group that a rule names. The signature must meet the presence rule of the group.
///
/// If a person signed with several keys, the key that counts for most groups is selected, among these a key that is no
/// passkey, and among these the key with the lowest id.
pub fn count(
    signatures: &[VerifiedSignature],
    roster: &TrustedRoster,
    excluded: &ExcludedSigners,
    rules: &QuorumRules,
    at: Timestamp,
) -> SignatureCount {
    count_unrevoked(signatures, roster, excluded, rules, at, |_| false)
}

/// Does the same as [`count`], but a signature does not count if `is_revoked` returns true for its key.
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
        let Some((approver, _)) = roster.statement_approver(&keyid) else {
            let holder = roster
                .statement_signer(&keyid)
                .map_or_else(|| "a stranger".to_owned(), |(holder, _)| holder.to_string());
            uncounted.push(UncountedSignature {
                keyid,
                holder,
                why: NotCounted::NoApprover,
            });
            continue;
        };
        let member: BTreeSet<_> = approver
            .groups
            .iter()
            .filter(|group| named.contains(group))
            .collect();
        let serves = |rule| match rule {
            None => true,
            Some(PresenceRule::Required) => {
                matches!(signature.presence, Presence::Touched | Presence::Verified)
            }
            Some(PresenceRule::Verified) => signature.presence == Presence::Verified,
        };
        let groups: BTreeSet<GroupName> = member
            .iter()
            .filter(|group| serves(roster.presence_rule(group)))
            .map(|group| (*group).clone())
            .collect();
        let touch_serves = member
            .iter()
            .any(|group| roster.presence_rule(group) == Some(PresenceRule::Required));
        let program = signing_program(&signature.sig, rules.passkeys());
        let why = if is_revoked(&keyid) {
            Some(NotCounted::Revoked)
        } else if excluded.contains(&approver.name) {
            Some(NotCounted::Excluded)
        } else if let Err(error) = program {
            Some(NotCounted::Passkey(error))
        } else if let Some(from) = approver.valid_after.filter(|from| at < *from) {
            Some(NotCounted::NotYetValid(from))
        } else if let Some(until) = approver.valid_before.filter(|until| at >= *until) {
            Some(NotCounted::NoLongerValid(until))
        } else if member.is_empty() {
            Some(NotCounted::InNoNamedGroup)
        } else if groups.is_empty() {
            Some(if touch_serves {
                NotCounted::NotTouched
            } else {
                NotCounted::NotVerified
            })
        } else {
            None
        };
        let holder = approver.name.to_string();
        if let Some(why) = why {
            uncounted.push(UncountedSignature { keyid, holder, why });
            continue;
        }
        let program = program.unwrap_or(SigningProgram::Browser);
        let mut candidate = CountedSigner {
            name: approver.name.clone(),
            keyid,
            groups,
            program,
        };
        match people.get_mut(&approver.name) {
            Some(kept) => {
                let rank = |one: &CountedSigner| {
                    (std::cmp::Reverse(one.groups.len()), one.program, one.keyid)
                };
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
            && let Some(kept) = people
                .values()
                .find(|person| person.name.as_str() == set_aside.holder)
        {
            *first = kept.keyid;
        }
    }
    let mut counted: Vec<_> = people.into_values().collect();
    counted.sort_by_key(|person| person.keyid);
    let signers: Vec<_> = counted.iter().map(CountedSigner::for_rules).collect();
    // The indexes are ascending, so remove from the end.
    for at in rules.surplus_passkeys(&signers).into_iter().rev() {
        let person = counted.remove(at);
        let (keyid, holder) = (person.keyid, person.name.to_string());
        uncounted.push(UncountedSignature {
            keyid,
            holder,
            why: NotCounted::MorePasskeys,
        });
    }
    uncounted.sort_by_key(|signature| signature.keyid);
    SignatureCount { counted, uncounted }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::{
        Tokens,
        decision::{
            quorum::tests::{name, roster},
            quorum_rules::tests::rule,
        },
        exclusion,
    };
    use base64::Engine as _;
    use documents::{Approvals, Approver, ForeignKey, Group, PASSKEY, Roster};
    use reading::PasskeysRule;

    pub(crate) const ALICE: &str = "SHA256:fe85JkIjo8VPe+XqXJGH5Mau1EMFdK1OdKvJUFicyA8";
    pub(crate) const BOB: &str = "SHA256:4A9jyZBOhnKZvcGQ6TRFbf5Gymb41AfYvYaVmWHD+G4";
    pub(crate) const CAROL: &str = "SHA256:vxu9sT7+WkqIPG3kOwohja2DmYBjKw903FLEcS+Xb6o";
    pub(crate) const CAROL_2: &str = "SHA256:0u/o6v5dG9kGuyEnxv7IH6j0Ao57dIDrUruSyZqTrXo";
    pub(crate) const OSCAR: &str = "SHA256:z/fSv0Z0RZS+Lccbc6ZoOWwt/fbj1VFJGSBKQbo4icE";

    fn alice(tables: &mut Roster) -> &mut Approver {
        tables.approvers.values_mut().next().expect("alice")
    }

    fn of_group<'a>(tables: &'a mut Roster, group: &str) -> &'a mut Group {
        let name = group.parse().expect("a name");
        tables.groups.get_mut(&name).expect("a group")
    }

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
        exclusion::judge(
            &name("ci-agent"),
            &name("ci-agent"),
            Tokens::Unknown,
            &roster(),
        )
        .expect("known")
    }

    pub(crate) fn at() -> Timestamp {
        "2026-11-20T09:40:00Z".parse().expect("time")
    }

    #[test]
    fn an_approver_whose_signature_does_not_count_is_reported_with_the_reason() {
        let rules =
            QuorumRules::combine(Some(&rule(1, &["ops"], false)), &Approvals::unspecified())
                .expect("rules");
        let why = |keys: &[&str], roster: &TrustedRoster| {
            let counted = count(&signed(keys), roster, &nobody(), &rules, at());
            counted
                .uncounted()
                .iter()
                .map(|signature| signature.why.clone())
                .collect::<Vec<_>>()
        };
        assert_eq!(why(&[OSCAR], &roster()), [NotCounted::NoApprover]);
        assert_eq!(why(&[BOB], &roster()), [NotCounted::InNoNamedGroup]);
        assert_eq!(
            why(&[CAROL, CAROL_2], &roster()),
            [NotCounted::SecondKey(CAROL_2.parse().expect("lowest"))]
        );
        let edit = |change: fn(&mut documents::Roster)| {
            let mut tables = roster().tables().clone();
            change(&mut tables);
            let payload = tables
                .into_statement()
                .and_then(|statement| statement.to_payload())
                .expect("payload");
            TrustedRoster::from_payload(&payload).expect("roster")
        };
        let over = edit(|tables| alice(tables).valid_before = "2026-11-20T09:40:00Z".parse().ok());
        assert_eq!(why(&[ALICE], &over), [NotCounted::NoLongerValid(at())]);
        let early = edit(|tables| alice(tables).valid_after = "2026-11-20T09:40:01Z".parse().ok());
        assert_eq!(
            why(&[ALICE], &early),
            [NotCounted::NotYetValid(at().plus(1))]
        );
        let just = edit(|tables| alice(tables).valid_after = "2026-11-20T09:40:00Z".parse().ok());
        assert!(why(&[ALICE], &just).is_empty());
        let touch = edit(|tables| of_group(tables, "ops").presence = Some(PresenceRule::Required));
        assert_eq!(why(&[ALICE], &touch), [NotCounted::NotTouched]);
    }

    /// A roster in which each approver also has a passkey, and the key ids of the passkeys.
    pub(crate) fn with_passkeys() -> (TrustedRoster, Vec<String>) {
        let mut tables = roster().tables().clone();
        let mut keyids = Vec::new();
        for (at, approver) in tables.approvers.values_mut().enumerate() {
            let mut blob = Vec::new();
            let point = [&[4][..], &[u8::try_from(at).expect("small"); 64]].concat();
            for part in [PASSKEY.as_bytes(), b"nistp256", &point, b"desk.example"] {
                blob.extend_from_slice(&u32::try_from(part.len()).expect("short").to_be_bytes());
                blob.extend_from_slice(part);
            }
            let line = format!(
                "{PASSKEY} {}",
                base64::engine::general_purpose::STANDARD.encode(&blob)
            );
            keyids.push(
                ForeignKey::parse(&line)
                    .expect("a line")
                    .keyid()
                    .to_string(),
            );
            approver.keys.push(line);
        }
        let payload = tables
            .into_statement()
            .and_then(|statement| statement.to_payload())
            .expect("payload");
        (
            TrustedRoster::from_payload(&payload).expect("roster"),
            keyids,
        )
    }

    /// Signatures of passkeys, which count as verified by the caller.
    fn by_passkeys(keyids: &[&str], synced: bool) -> Vec<VerifiedSignature> {
        let put = |out: &mut Vec<u8>, part: &[u8]| {
            out.extend_from_slice(&u32::try_from(part.len()).expect("short").to_be_bytes());
            out.extend_from_slice(part);
        };
        let (mut numbers, mut inner, mut sig) =
            (Vec::new(), Vec::new(), b"SSHSIG\0\0\0\x01".to_vec());
        put(&mut numbers, &[1]);
        put(&mut numbers, &[1]);
        put(&mut inner, format!("webauthn-{PASSKEY}").as_bytes());
        put(&mut inner, &numbers);
        inner.extend_from_slice(&[if synced { 0x0d } else { 0x05 }, 0, 0, 0, 0]);
        (0..3).for_each(|_| put(&mut inner, b""));
        for part in [&b""[..], b"countersign", b"", b"sha256", &inner] {
            put(&mut sig, part);
        }
        let of = |keyid: &&str| VerifiedSignature {
            keyid: keyid.parse().expect("key id"),
            presence: Presence::Verified,
            sig: sig.clone(),
        };
        keyids.iter().map(of).collect()
    }

    #[test]
    fn policy_limits_the_passkeys_that_count() {
        let (roster, keyids) = with_passkeys();
        let [alice, bob, carol] = [0, 1, 2].map(|at| keyids[at].as_str());
        let of = |from: &[&str], each, passkeys| {
            let rules = QuorumRules::combine(Some(&rule(1, from, each)), &Approvals::unspecified())
                .expect("rules");
            rules.with_passkeys(passkeys)
        };
        let passkeys = |most, alone| {
            Some(PasskeysRule {
                most,
                alone,
                synced: true,
            })
        };
        let counted = |rules: &QuorumRules, signatures: &[VerifiedSignature]| {
            let count = count(signatures, &roster, &nobody(), rules, at());
            let keys: Vec<String> = count
                .counted()
                .iter()
                .map(|person| person.keyid.to_string())
                .collect();
            let progress = crate::decision::quorum::progress(rules, &count);
            (
                keys,
                count
                    .uncounted()
                    .iter()
                    .map(|one| one.why.clone())
                    .collect::<Vec<_>>(),
                progress,
            )
        };
        // Without `passkeys`, none counts.
        let (keys, why, _) = counted(&of(&["ops"], false, None), &by_passkeys(&[alice], false));
        assert_eq!(
            (keys.len(), &why[..]),
            (0, &[NotCounted::Passkey(PasskeyError::NoRule)][..])
        );
        let unsynced = Some(PasskeysRule {
            most: 1,
            alone: true,
            synced: false,
        });
        let (_, why, _) = counted(&of(&["ops"], false, unsynced), &by_passkeys(&[alice], true));
        assert_eq!(why, [NotCounted::Passkey(PasskeyError::Synced)]);
        assert_eq!(
            counted(
                &of(&["ops"], false, unsynced),
                &by_passkeys(&[alice], false)
            )
            .2
            .missing,
            0
        );
        // A passkey alone meets no rule, unless policy says so.
        let (keys, _, progress) = counted(
            &of(&["ops"], false, passkeys(1, false)),
            &by_passkeys(&[alice], true),
        );
        assert_eq!(
            (keys.len(), progress.missing, progress.own_program),
            (1, 1, true)
        );
        assert_eq!(
            progress
                .missing_from
                .iter()
                .map(GroupName::as_str)
                .collect::<Vec<_>>(),
            ["ops"]
        );
        let (_, _, progress) = counted(
            &of(&["ops"], false, passkeys(1, true)),
            &by_passkeys(&[alice], true),
        );
        assert_eq!((progress.missing, progress.own_program), (0, false));
        // An own key of the same person is preferred for the same groups.
        let both = [by_passkeys(&[alice], true), signed(&[ALICE])].concat();
        let (keys, why, progress) = counted(&of(&["ops"], false, passkeys(1, false)), &both);
        assert_eq!((keys, progress.missing), (vec![ALICE.to_owned()], 0));
        assert_eq!(
            why,
            [NotCounted::SecondKey(ALICE.parse().expect("a key id"))]
        );
        // Above the limit, the passkey counts that the rules need.
        let each = of(&["ops", "security"], true, passkeys(1, false));
        for (needed, other) in [(bob, alice), (carol, alice)] {
            let all = [signed(&[ALICE]), by_passkeys(&[needed], true)].concat();
            assert_eq!(counted(&each, &all).2.missing, 0, "{needed} beside {other}");
        }
        let two = of(&["ops", "security"], true, passkeys(1, true));
        let (keys, why, progress) = counted(&two, &by_passkeys(&[alice, bob, carol], true));
        assert_eq!((keys.len(), progress.missing), (1, 1), "{keys:?}");
        assert_eq!(why, [NotCounted::MorePasskeys, NotCounted::MorePasskeys]);
        let two = of(&["ops", "security"], true, passkeys(2, true));
        assert_eq!(
            counted(&two, &by_passkeys(&[alice, bob, carol], true))
                .2
                .missing,
            0
        );
    }

    #[test]
    fn a_signature_of_a_revoked_key_does_not_count_and_another_key_of_the_person_does() {
        let rules =
            QuorumRules::combine(Some(&rule(1, &["ops"], false)), &Approvals::unspecified())
                .expect("rules");
        let counted = |keys: &[&str], revoked: &str| {
            let revoked: KeyId = revoked.parse().expect("key id");
            let is_revoked = |keyid: &KeyId| *keyid == revoked;
            let count = count_unrevoked(
                &signed(keys),
                &roster(),
                &nobody(),
                &rules,
                at(),
                is_revoked,
            );
            let names: Vec<_> = count
                .counted()
                .iter()
                .map(|person| person.keyid.to_string())
                .collect();
            (
                names,
                count
                    .uncounted()
                    .iter()
                    .map(|signature| signature.why.clone())
                    .collect::<Vec<_>>(),
            )
        };
        assert_eq!(
            counted(&[ALICE], ALICE),
            (vec![], vec![NotCounted::Revoked])
        );
        assert_eq!(counted(&[ALICE], CAROL), (vec![ALICE.to_owned()], vec![]));
        // Without the revocation, the key with the lowest id counts.
        assert_eq!(
            counted(&[CAROL, CAROL_2], CAROL_2),
            (vec![CAROL.to_owned()], vec![NotCounted::Revoked])
        );
        assert_eq!(
            counted(&[OSCAR], OSCAR),
            (vec![], vec![NotCounted::NoApprover]),
            "no approver in any case"
        );
    }

    #[test]
    fn a_signature_with_a_touch_is_preferred_to_a_signature_without_a_touch() {
        let mut tables = roster().tables().clone();
        of_group(&mut tables, "security").presence = Some(PresenceRule::Required);
        let payload = tables
            .into_statement()
            .and_then(|statement| statement.to_payload())
            .expect("payload");
        let roster = TrustedRoster::from_payload(&payload).expect("roster");
        let rules = QuorumRules::combine(
            Some(&rule(1, &["ops", "security"], false)),
            &Approvals::unspecified(),
        )
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
