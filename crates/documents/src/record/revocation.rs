//! Revocation: the signed end of a grant, a key, a token or an epoch.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    BoundaryRef, ContentDigest, Epoch, KeyId, Malformed, Name, Predicate, Statement, Subject,
};

/// A statement that ends the validity of its only subject: a grant, a key, a token or an epoch.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Revocation {
    /// The boundary for which the revocation is valid.
    pub boundary: BoundaryRef,
    /// Reason for the revocation, as the signer wrote it.
    pub reason: String,
}

/// The only subject of a revocation.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum RevokedSubject {
    /// A grant, by the digest of its payload.
    Grant(ContentDigest),
    /// A key.
    Key(KeyId),
    /// A token, by the SHA-256 digest of its name.
    Token(ContentDigest),
    /// An epoch, by the SHA-256 digest of its 32 characters.
    Epoch(ContentDigest),
}

impl RevokedSubject {
    /// Returns the subject for the token with this name.
    pub fn token(name: &Name) -> Self {
        Self::Token(ContentDigest::of(name.as_str().as_bytes()))
    }

    /// Returns the subject for this epoch.
    pub fn epoch(epoch: &Epoch) -> Self {
        Self::Epoch(ContentDigest::of(epoch.as_str().as_bytes()))
    }

    fn read(subjects: &[Subject]) -> Result<Self, Malformed> {
        let [one] = subjects else {
            return Err(Malformed::at(
                "/subject",
                "expected exactly one subject: epoch, grant, key or token",
            ));
        };
        let of: fn([u8; 32]) -> Self = match &*one.name {
            "epoch" => |bytes| Self::Epoch(ContentDigest::from_bytes(bytes)),
            "grant" => |bytes| Self::Grant(ContentDigest::from_bytes(bytes)),
            "key" => |bytes| Self::Key(KeyId::from_bytes(&bytes)),
            "token" => |bytes| Self::Token(ContentDigest::from_bytes(bytes)),
            _ => {
                return Err(Malformed::at(
                    "/subject/0/name",
                    "expected epoch, grant, key or token",
                ));
            }
        };
        one.sha256()
            .map(of)
            .ok_or_else(|| Malformed::at("/subject/0/digest/sha256", "expected 64 hex digits"))
    }
}

impl fmt::Display for RevokedSubject {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Grant(digest) => write!(f, "grant {digest}"),
            Self::Key(keyid) => write!(f, "key {keyid}"),
            Self::Token(digest) => write!(f, "token with the digest {digest}"),
            Self::Epoch(digest) => write!(f, "epoch with the digest {digest}"),
        }
    }
}

impl Revocation {
    /// Makes the revocation of `subject`.
    pub fn of(self, subject: RevokedSubject) -> Statement<Self> {
        let subject = match subject {
            RevokedSubject::Grant(digest) => Subject::new("grant", digest.as_bytes()),
            RevokedSubject::Key(keyid) => Subject::new("key", &keyid.to_bytes()),
            RevokedSubject::Token(digest) => Subject::new("token", digest.as_bytes()),
            RevokedSubject::Epoch(digest) => Subject::new("epoch", digest.as_bytes()),
        };
        Statement::new(self, vec![subject])
    }
}

/// Returns the subject that the statement revokes.
///
/// # Errors
/// Returns an error if the subject is not exactly one grant, key, token or epoch.
pub fn revoked(statement: &Statement<Revocation>) -> Result<RevokedSubject, Malformed> {
    RevokedSubject::read(&statement.subject)
}

impl Predicate for Revocation {
    const KIND: &'static str = "revocation";
    const MAX_BYTES: usize = 8 << 10;

    fn check(&self, subjects: &[Subject]) -> Result<(), Malformed> {
        let subject = RevokedSubject::read(subjects)?;
        if matches!(subject, RevokedSubject::Epoch(_))
            && subject != RevokedSubject::epoch(&self.boundary.epoch)
        {
            return Err(Malformed::at(
                "/subject/0/digest",
                "this is not the digest of the boundary's epoch",
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_subject_of_a_golden_revocation_is_read_and_written_again() {
        macro_rules! golden {
            ($name:literal) => {
                &include_bytes!(concat!(
                    "../../../../tests/conformance/golden/documents/valid/revocation-",
                    $name
                ))[..]
            };
        }
        for (payload, word) in [
            (golden!("grant.json"), "grant sha256:"),
            (golden!("key.json"), "key SHA256:"),
            (golden!("token.json"), "token with the digest sha256:"),
            (golden!("epoch.json"), "epoch with the digest sha256:"),
        ] {
            let statement = Statement::<Revocation>::from_payload(payload).expect(word);
            let subject = revoked(&statement).expect(word);
            assert!(subject.to_string().starts_with(word), "{subject}");
            let again = statement
                .predicate
                .clone()
                .of(subject)
                .to_payload()
                .expect(word);
            assert_eq!(again, payload, "{word}");
            let saved = serde_json::to_vec(&subject).expect(word);
            assert_eq!(
                serde_json::from_slice::<RevokedSubject>(&saved).expect(word),
                subject
            );
        }
    }
}
