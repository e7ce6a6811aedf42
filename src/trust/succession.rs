//! Succession: who signed a next version, who is missing.
//!
//! A version follows the one before when the threshold of both signed it. Here the signatures are verified and
//! counted by people; whether the version may follow at all is `trust::chain`.

use std::collections::BTreeSet;
use std::fmt;

use crate::crypto::signature::{PAYLOAD_TYPE, pae};
use crate::crypto::sshsig;
use crate::record::envelope::{Base64, EnvelopeSignature};
use crate::record::ident::Name;
use crate::trust::chain::ChainError;
use crate::trust::roster::TrustedRoster;

/// Who signed a next version, as both versions count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// By the version before.
    pub of_before: Tally,
    /// By the next version itself.
    pub of_next: Tally,
}

/// The signatures that one version's threshold asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tally {
    /// The version whose approvers count.
    pub version: u64,
    /// Its threshold.
    pub required: u64,
    /// Approvers who signed, each once.
    pub signed: Vec<Name>,
    /// Its other approvers, whose signatures would count.
    pub could: Vec<Name>,
}

impl Standing {
    /// Verifies `signatures` over the payload of `next` and counts whose they are.
    ///
    /// # Errors
    /// The first signature that is of nobody who may sign, stands twice or does not verify: the version is refused then,
    /// whoever else signed it.
    pub fn of(
        before: &TrustedRoster,
        next: &TrustedRoster,
        signatures: &[EnvelopeSignature],
    ) -> Result<Self, ChainError> {
        let message = pae(PAYLOAD_TYPE, next.payload());
        let (mut of_before, mut of_next, mut keys) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for signature in signatures {
            let refuse = |why: String| ChainError::Signature { version: next.version(), keyid: signature.keyid, why };
            let (old, new) = (before.approver_of(&signature.keyid), next.approver_of(&signature.keyid));
            let (_, key) = old
                .or(new)
                .ok_or_else(|| refuse("not the key of an approver of this version or the one before".to_owned()))?;
            if !keys.insert(signature.keyid) {
                return Err(refuse("it stands twice".to_owned()));
            }
            let sig = Base64::Strict.decode("/sig", &signature.sig).map_err(|error| refuse(error.to_string()))?;
            let _proof = sshsig::verify(key, &message, &sig).map_err(|error| refuse(error.to_string()))?;
            // One signature a person, as everywhere: a second one would count for nothing.
            for (found, names) in [(old, &mut of_before), (new, &mut of_next)] {
                if let Some((approver, _)) = found
                    && !names.insert(&approver.name)
                {
                    return Err(refuse(format!("{} signed it with another key already", approver.name)));
                }
            }
        }
        Ok(Self { of_before: Tally::new(before, &of_before), of_next: Tally::new(next, &of_next) })
    }

    /// Whether both thresholds are met.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.of_before.missing() == 0 && self.of_next.missing() == 0
    }

    /// Whether this person's signature would bring the version further.
    #[must_use]
    pub fn needs(&self, name: &Name) -> bool {
        [&self.of_before, &self.of_next].iter().any(|tally| tally.missing() > 0 && tally.could.contains(name))
    }
}

impl Tally {
    fn new(roster: &TrustedRoster, signed: &BTreeSet<&Name>) -> Self {
        let could = roster.tables().approver.iter().filter(|person| !signed.contains(&person.name));
        Self {
            version: roster.version(),
            required: roster.tables().threshold,
            signed: signed.iter().map(|name| (*name).clone()).collect(),
            could: could.filter(|person| !person.keys.is_empty()).map(|person| person.name.clone()).collect(),
        }
    }

    /// How many more must sign.
    #[must_use]
    pub fn missing(&self) -> u64 {
        self.required.saturating_sub(self.signed.len() as u64)
    }
}

/// More names than this are counted, not told.
const MOST_NAMED: usize = 16;

impl fmt::Display for Tally {
    /// `1 of 2 approvers of version 1 signed (alice), 1 more of bob, carol must`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = |names: &[Name]| {
            let shown = names.iter().take(MOST_NAMED).map(Name::as_str).collect::<Vec<_>>().join(", ");
            match names.len().saturating_sub(MOST_NAMED) {
                0 => shown,
                more => format!("{shown} and {more} others"),
            }
        };
        if self.required == 0 {
            return write!(f, "version {} asks for no signature (unguarded)", self.version);
        }
        write!(f, "{} of {} approvers of version {} signed", self.signed.len(), self.required, self.version)?;
        if !self.signed.is_empty() {
            write!(f, " ({})", names(&self.signed))?;
        }
        match self.missing() {
            0 => Ok(()),
            missing => write!(f, ", {missing} more of {} must", names(&self.could)),
        }
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.of_before, self.of_next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::signature::SecretKey;
    use crate::crypto::sshsig::SshKey;
    use crate::record::roster::Roster;

    const ALICE: u8 = 1;
    const BOB: u8 = 2;

    fn roster(edit: impl Fn(&mut Roster)) -> TrustedRoster {
        let payload = include_bytes!("../../tests/conformance/golden/valid/payload/roster.json");
        let mut tables = TrustedRoster::from_payload(payload).expect("golden").tables().clone();
        edit(&mut tables);
        let payload = tables.into_statement().and_then(|statement| statement.to_payload()).expect("payload");
        TrustedRoster::from_payload(&payload).expect("roster")
    }

    fn sign(roster: &TrustedRoster, seed: u8) -> EnvelopeSignature {
        let secret = SecretKey::from_seed([seed; 32]);
        let keyid = SshKey::from_public(secret.public(), "").expect("key").keyid();
        EnvelopeSignature::new(keyid, &secret.sign(&pae(PAYLOAD_TYPE, roster.payload())))
    }

    #[test]
    fn what_is_missing_is_told_by_both_versions() {
        let first = roster(|_| {});
        let next = roster(|tables| {
            tables.version = 2;
            tables.previous = Some(first.digest());
            tables.approver.remove(0);
        });
        let nobody = Standing::of(&first, &next, &[]).expect("counted");
        assert!(!nobody.is_complete());
        let half = Standing::of(&first, &next, &[sign(&next, ALICE), sign(&next, BOB)]).expect("counted");
        let names = |names: &[Name]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!((names(&half.of_before.signed), half.of_before.missing()), (vec!["alice".into(), "bob".into()], 0));
        assert_eq!((names(&half.of_next.signed), half.of_next.missing()), (vec!["bob".into()], 1), "alice is gone");
        assert_eq!(half.of_next.to_string(), "1 of 2 approvers of version 2 signed (bob), 1 more of carol must");
        assert!(half.needs(&"carol".parse().expect("name")) && !half.needs(&"alice".parse().expect("name")));
        let twice = Standing::of(&first, &next, &[sign(&next, BOB), sign(&next, BOB)]).expect_err("twice");
        assert!(twice.to_string().contains("stands twice"), "{twice}");
        let (carol, too) = (sign(&next, 4), sign(&next, 6));
        let twice = Standing::of(&first, &next, &[sign(&next, BOB), carol, too]).expect_err("carol's two keys");
        assert!(twice.to_string().contains("carol signed it with another key already"), "{twice}");
        assert!(Standing::of(&first, &next, &[sign(&first, BOB)]).is_err(), "a signature of something else");
        assert!(Standing::of(&first, &next, &[sign(&next, 66)]).is_err(), "of a stranger");
    }
}
