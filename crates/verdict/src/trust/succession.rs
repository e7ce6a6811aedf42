//! Signatures over the next version of a roster, and missing signatures.
//!
//! The next version needs signatures that reach the thresholds of both versions. This file verifies these signatures
//! and counts the people who signed. `trust::chain` makes all other checks of the next version.

use std::{collections::BTreeSet, fmt};

use crate::{ChainError, TrustedRoster};
use documents::{Base64, EnvelopeSignature, KeyId, Name, PAYLOAD_TYPE, first_of, pae, sshsig};

/// Signers of the next version, counted for the threshold of each of the two versions.
#[derive(Debug)]
pub struct SuccessionTallies {
    /// Signers for the threshold of the previous version.
    pub of_before: ThresholdTally,
    /// Signers for the threshold of the next version.
    pub of_next: ThresholdTally,
}

/// Progress towards the threshold of one version.
#[derive(Debug)]
pub struct ThresholdTally {
    /// Version whose approvers are counted.
    pub version: u64,
    /// Number of signers that the threshold of this version requires.
    pub required: u64,
    /// Approvers who signed, each listed once.
    pub signed: Vec<Name>,
    /// Other approvers whose signatures would count.
    pub could: Vec<Name>,
}

impl SuccessionTallies {
    /// Verifies `signatures` over the payload of `next`, and counts the people who signed.
    ///
    /// # Errors
    /// Returns an error for the first signature that is invalid, listed twice or superfluous, or whose signer may not
    /// sign. One such signature refuses the whole version.
    pub fn of(
        before: &TrustedRoster,
        next: &TrustedRoster,
        signatures: &[EnvelopeSignature],
    ) -> Result<Self, ChainError> {
        let counted = count(before, next, signatures)?;
        match needless(&counted) {
            None => {
                let names = |of: usize| counted.iter().filter_map(|one| one.names[of]).collect();
                Ok(Self {
                    of_before: ThresholdTally::new(before, &names(0)),
                    of_next: ThresholdTally::new(next, &names(1)),
                })
            }
            Some(at) => Err(counted[at].refuse(next)),
        }
    }

    /// Adds the signature `one` to the list `signatures`, which [`SuccessionTallies::of`] must have accepted. Removes
    /// and returns a signature that the new signature makes superfluous, for example of a person's new key if the old
    /// key counts for both versions.
    ///
    /// # Errors
    /// Returns an error if the new signature is invalid or superfluous. The list is then unchanged.
    pub fn join(
        before: &TrustedRoster,
        next: &TrustedRoster,
        signatures: &mut Vec<EnvelopeSignature>,
        one: EnvelopeSignature,
    ) -> Result<Vec<EnvelopeSignature>, ChainError> {
        let mut joined = signatures.clone();
        joined.push(one);
        let mut counted = count(before, next, &joined)?;
        let last = joined.len() - 1;
        if !adds(&counted, last) {
            return Err(counted[last].refuse(next));
        }
        let mut fallen = Vec::new();
        while let Some(at) = needless(&counted) {
            counted.remove(at);
            fallen.push(joined.remove(at));
        }
        *signatures = joined;
        Ok(fallen)
    }

    /// Returns true if a signature of this key is still missing: for the threshold of the version before, or for the
    /// threshold of the next version.
    pub fn lacks(&self, before: &TrustedRoster, next: &TrustedRoster, keyid: &KeyId) -> bool {
        [(before, &self.of_before), (next, &self.of_next)]
            .iter()
            .any(|(roster, tally)| {
                roster
                    .approver_of(keyid)
                    .is_some_and(|(approver, _)| !tally.signed.contains(&approver.name))
            })
    }

    /// Returns true if both thresholds are reached.
    pub fn is_complete(&self) -> bool {
        self.of_before.missing() == 0 && self.of_next.missing() == 0
    }
}

/// Valid signature, with its signer in the previous and in the next version.
struct Counted<'a> {
    keyid: KeyId,
    names: [Option<&'a Name>; 2],
}

impl Counted<'_> {
    fn refuse(&self, next: &TrustedRoster) -> ChainError {
        let who = self
            .names
            .iter()
            .flatten()
            .next()
            .map_or("somebody", |name| name.as_str());
        let why =
            format!("{who} already signed with another key, so this signature does not count");
        ChainError::Signature {
            version: next.version(),
            keyid: self.keyid,
            why,
        }
    }
}

/// Verifies each signature and finds the person who signed.
fn count<'a>(
    before: &'a TrustedRoster,
    next: &'a TrustedRoster,
    signatures: &[EnvelopeSignature],
) -> Result<Vec<Counted<'a>>, ChainError> {
    let message = pae(PAYLOAD_TYPE, next.payload());
    let mut counted: Vec<Counted<'_>> = Vec::with_capacity(signatures.len());
    for signature in signatures {
        let keyid = signature.keyid;
        let refuse = |why: String| ChainError::Signature {
            version: next.version(),
            keyid,
            why,
        };
        let found = [before.approver_of(&keyid), next.approver_of(&keyid)];
        let (_, key) = found.iter().flatten().next().ok_or_else(|| {
            refuse(
                "the key belongs to no approver of this version or of the version before"
                    .to_owned(),
            )
        })?;
        if counted.iter().any(|known| known.keyid == keyid) {
            return Err(refuse("the signature is listed twice".to_owned()));
        }
        let sig = Base64::Strict
            .decode("/sig", &signature.sig)
            .map_err(|error| refuse(error.to_string()))?;
        let _proof =
            sshsig::verify(*key, &message, &sig).map_err(|error| refuse(error.to_string()))?;
        counted.push(Counted {
            keyid,
            names: found.map(|found| found.map(|(approver, _)| &approver.name)),
        });
    }
    Ok(counted)
}

/// Returns true if one of the two counts would be lower without this signature. A person may need two keys, an old key
/// for the previous version and a new key for the next version, but a second key for the same version is superfluous.
fn adds(counted: &[Counted<'_>], at: usize) -> bool {
    (0..2).any(|of| {
        let name = counted[at].names[of];
        name.is_some()
            && counted
                .iter()
                .filter(|other| other.names[of] == name)
                .count()
                == 1
    })
}

/// Returns the index of a superfluous signature. The order of the signatures does not matter.
fn needless(counted: &[Counted<'_>]) -> Option<usize> {
    (0..counted.len()).find(|at| !adds(counted, *at))
}

impl ThresholdTally {
    fn new(roster: &TrustedRoster, signed: &BTreeSet<&Name>) -> Self {
        let could = roster
            .approvers()
            .filter(|person| !signed.contains(&person.name));
        Self {
            version: roster.version(),
            required: roster.tables().threshold,
            signed: signed.iter().map(|name| (*name).clone()).collect(),
            could: could
                .filter(|person| roster.can_sign(person))
                .map(|person| person.name.clone())
                .collect(),
        }
    }

    /// Returns the number of signatures that are still missing.
    pub fn missing(&self) -> u64 {
        self.required.saturating_sub(self.signed.len() as u64)
    }
}

/// Maximum number of names in a message. Further names are only counted.
const MOST_NAMED: usize = 16;

impl fmt::Display for ThresholdTally {
    /// Formats the tally, for example: `1 of 2 approvers of version 1 signed (alice), 1 more of bob, carol must`
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let names = |names: &[Name]| first_of(names, MOST_NAMED);
        if self.required == 0 {
            return write!(
                f,
                "version {} asks for no signature (unguarded)",
                self.version
            );
        }
        write!(
            f,
            "{} of {} approvers of version {} signed",
            self.signed.len(),
            self.required,
            self.version
        )?;
        if !self.signed.is_empty() {
            write!(f, " ({})", names(&self.signed))?;
        }
        match self.missing() {
            0 => Ok(()),
            missing => write!(f, ", {missing} more of {} must", names(&self.could)),
        }
    }
}

impl fmt::Display for SuccessionTallies {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}; {}", self.of_before, self.of_next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use documents::{Roster, SecretKey, SshKey};

    const ALICE: u8 = 1;
    const BOB: u8 = 2;

    fn roster(edit: impl Fn(&mut Roster)) -> TrustedRoster {
        let payload =
            include_bytes!("../../../../tests/conformance/golden/valid/payload/roster.json");
        let mut tables = TrustedRoster::from_payload(payload)
            .expect("golden")
            .tables()
            .clone();
        edit(&mut tables);
        let payload = tables
            .into_statement()
            .and_then(|statement| statement.to_payload())
            .expect("payload");
        TrustedRoster::from_payload(&payload).expect("roster")
    }

    fn sign(roster: &TrustedRoster, seed: u8) -> EnvelopeSignature {
        let secret = SecretKey::from_seed([seed; 32]);
        let keyid = SshKey::from_public(secret.public(), "")
            .expect("key")
            .keyid();
        EnvelopeSignature::new(keyid, &secret.sign(&pae(PAYLOAD_TYPE, roster.payload())))
    }

    #[test]
    fn missing_signatures_are_reported_for_both_versions() {
        let first = roster(|_| {});
        let next = roster(|tables| {
            tables.version = 2;
            tables.previous = Some(first.digest());
            tables.approvers.pop_first();
        });
        let nobody = SuccessionTallies::of(&first, &next, &[]).expect("counted");
        assert!(!nobody.is_complete());
        let half = SuccessionTallies::of(&first, &next, &[sign(&next, ALICE), sign(&next, BOB)])
            .expect("counted");
        let names = |names: &[Name]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(
            (names(&half.of_before.signed), half.of_before.missing()),
            (vec!["alice".into(), "bob".into()], 0)
        );
        assert_eq!(
            (names(&half.of_next.signed), half.of_next.missing()),
            (vec!["bob".into()], 1),
            "alice is gone"
        );
        assert_eq!(
            half.of_next.to_string(),
            "1 of 2 approvers of version 2 signed (bob), 1 more of carol must"
        );
        let lacks = |seed: u8| half.lacks(&first, &next, &sign(&next, seed).keyid);
        assert!(lacks(4) && lacks(6) && !lacks(ALICE) && !lacks(BOB) && !lacks(66));
        let twice = SuccessionTallies::of(&first, &next, &[sign(&next, BOB), sign(&next, BOB)])
            .expect_err("twice");
        assert!(twice.to_string().contains("is listed twice"), "{twice}");
        let (carol, too) = (sign(&next, 4), sign(&next, 6));
        let twice = SuccessionTallies::of(&first, &next, &[sign(&next, BOB), carol, too])
            .expect_err("carol's two keys");
        assert!(
            twice
                .to_string()
                .contains("carol already signed with another key"),
            "{twice}"
        );
        assert!(
            SuccessionTallies::of(&first, &next, &[sign(&first, BOB)]).is_err(),
            "a signature of something else"
        );
        assert!(
            SuccessionTallies::of(&first, &next, &[sign(&next, 66)]).is_err(),
            "of a stranger"
        );
    }

    #[test]
    fn the_order_of_roster_signatures_does_not_change_the_count() {
        let keys = |seeds: &[u8]| -> Vec<String> {
            let line = |seed: &u8| {
                SshKey::from_public(SecretKey::from_seed([*seed; 32]).public(), "").expect("key")
            };
            seeds
                .iter()
                .map(|seed| line(seed).line().to_owned())
                .collect()
        };
        let set_keys = |tables: &mut Roster, seeds: &[&[u8]]| {
            for (approver, seeds) in tables.approvers.values_mut().zip(seeds) {
                approver.keys = keys(seeds);
            }
        };
        let (one, other) = (21, 22);
        // Each case has the keys of alice in the previous version, her keys in the next version, and the keys of
        // another person in the next version.
        for (old, new, of_more, both, single) in [
            (&[one][..], &[other][..], &[][..], true, None),
            (&[one], &[one, other], &[], false, Some(one)),
            (&[other], &[one, other], &[], false, Some(other)),
            (&[one, other], &[other], &[], false, Some(other)),
            (&[one, other], &[one], &[other], true, None),
            (&[one, other], &[other], &[one], true, None),
        ] {
            let first = roster(|tables| {
                tables.threshold = 1;
                tables.approvers.retain(|name, _| name.as_str() == "alice");
                set_keys(tables, &[old]);
            });
            let next = roster(|tables| {
                tables.version = 2;
                tables.previous = Some(first.digest());
                tables.approvers.retain(|name, _| name.as_str() != "carol");
                set_keys(tables, &[new, of_more]);
                tables.threshold = 1 + u64::from(!of_more.is_empty());
            });
            for order in [[one, other], [other, one]] {
                let signatures = order.map(|seed| sign(&next, seed));
                assert_eq!(
                    SuccessionTallies::of(&first, &next, &signatures).is_ok(),
                    both,
                    "{old:?} {new:?} {order:?}"
                );
                let mut joined = Vec::new();
                for signature in signatures {
                    let _ = SuccessionTallies::join(&first, &next, &mut joined, signature);
                }
                let standing =
                    SuccessionTallies::of(&first, &next, &joined).expect("what was joined stands");
                assert!(
                    standing.is_complete(),
                    "{old:?} {new:?} {order:?}: {standing}"
                );
                assert_eq!((joined.len() == 2, single.is_some()), (both, !both));
                let needed = |seed: u8| sign(&next, seed).keyid;
                assert!(
                    single.is_none_or(|seed| joined[0].keyid == needed(seed)),
                    "{old:?} {new:?} {order:?}"
                );
            }
        }
    }
}
