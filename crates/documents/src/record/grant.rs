//! Grant: a signed authorization for several runs, with limits.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    Artifact, BoundaryRef, ContentDigest, GrantId, KeyId, MAX_GRANT_S, MAX_REASON_CHARS, MAX_USES,
    Malformed, Name, Parameter, ParameterType, Permission, Predicate, Profile, Statement,
    StepDigest, StepRef, Subject, Timestamp, check_by, check_count, check_range, check_subjects,
    record::{
        authorization::{check_permissions, check_reason},
        run_extensions::{MAX_ARTIFACTS, check_artifact_bytes},
    },
};

/// Maximum size of a grant's payload, in bytes. With signatures of 8,192 bytes in total, its log entry still fits into
/// a tile.
const MAX_GRANT_BYTES: usize = 36 << 10;
/// Maximum number of steps in one grant.
const MAX_STEPS: usize = 32;

/// An authorization for several runs, within limits. The grantee uses the grant without new signatures of approvers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// The only boundary at which the grant is valid.
    pub boundary: BoundaryRef,
    /// Id of the grant: `grt_` and a UUID of version 7.
    pub grant: GrantId,
    /// The party that may use the grant.
    pub grantee: Grantee,
    /// The steps that the grant permits, sorted by `ref`, each `ref` once.
    #[schemars(length(min = 1, max = MAX_STEPS))]
    pub steps: Vec<GrantedStep>,
    /// Maximum number of runs.
    #[schemars(range(min = 1, max = MAX_USES))]
    pub max_uses: u64,
    /// Maximum number of runs in a period of time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<GrantRate>,
    /// Which sessions the runs may use.
    pub session: GrantedSession,
    /// The uploaded files that the runs may receive, sorted by name.
    #[schemars(length(max = MAX_ARTIFACTS))]
    pub artifacts: Vec<Artifact>,
    /// Token, proposer or approver that asked for the grant.
    pub proposer: Name,
    /// Reason for the grant, as the proposer wrote it.
    #[schemars(length(max = MAX_REASON_CHARS))]
    pub reason: String,
    /// Time at which the statement was made.
    pub issued_at: Timestamp,
    /// The grant is valid from this time on.
    pub not_before: Timestamp,
    /// The grant is valid before this time, and no longer from this time on. At most 90 days after `issued_at`.
    pub expires_at: Timestamp,
}

/// The party that may use a grant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged, try_from = "GranteeFields")]
#[schemars(!try_from)]
pub enum Grantee {
    /// A proposer, whose key signs each use.
    Key(KeyGrantee),
    /// A token. The boundary signs each use: it says that the caller presented the token.
    Token(TokenGrantee),
}

/// A proposer that may use a grant, with one of its keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyGrantee {
    /// Name of the proposer in the roster.
    pub name: Name,
    /// Id of the only key with which the proposer may use the grant.
    pub key: KeyId,
}

/// A token that may use a grant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenGrantee {
    /// Name of the token.
    pub token: Name,
    /// Digest of what a caller must present, as the sealed entry of the token states it.
    pub credential: ContentDigest,
}

/// The fields of both forms. The error of an untagged enumeration would not name the field.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GranteeFields {
    name: Option<Name>,
    key: Option<KeyId>,
    token: Option<Name>,
    credential: Option<ContentDigest>,
}

impl TryFrom<GranteeFields> for Grantee {
    type Error = &'static str;

    fn try_from(fields: GranteeFields) -> Result<Self, Self::Error> {
        match (fields.name, fields.key, fields.token, fields.credential) {
            (Some(name), Some(key), None, None) => Ok(Self::Key(KeyGrantee { name, key })),
            (None, None, Some(token), Some(credential)) => {
                Ok(Self::Token(TokenGrantee { token, credential }))
            }
            _ => Err("expected `name` and `key` of a proposer, or `token` and `credential`"),
        }
    }
}

impl Grantee {
    /// Returns the name of the proposer or of the token.
    pub fn name(&self) -> &Name {
        match self {
            Self::Key(grantee) => &grantee.name,
            Self::Token(grantee) => &grantee.token,
        }
    }

    /// Returns the name of the token, or `None` for a proposer with a key.
    pub fn token(&self) -> Option<&Name> {
        match self {
            Self::Key(_) => None,
            Self::Token(grantee) => Some(&grantee.token),
        }
    }

    /// Returns the only key that may use the grant, or `None` for a token.
    pub fn key(&self) -> Option<&KeyId> {
        match self {
            Self::Key(grantee) => Some(&grantee.key),
            Self::Token(_) => None,
        }
    }
}

impl fmt::Display for Grantee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(grantee) => grantee.name.fmt(f),
            Self::Token(grantee) => write!(f, "the token {}", grantee.token),
        }
    }
}

/// A step that a grant permits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GrantedStep {
    /// Ref of the step: `PATH:ID`.
    #[serde(rename = "ref")]
    pub reference: StepRef,
    /// Digest of the step's definition.
    pub digest: StepDigest,
    /// Declaration that the parameters of each run must satisfy, in addition to the declaration of the step: an object with
    /// every parameter of the step. A parameter with any value has only its `type`.
    pub params: Parameter,
    /// The permissions that policy requires and that the signatures grant.
    #[schemars(extend("uniqueItems" = true))]
    pub permissions: Vec<Permission>,
    /// The sandbox of each run.
    pub sandbox: Profile,
}

/// Maximum number of runs in a period of time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Rate")]
pub struct GrantRate {
    /// Maximum number of runs in the period. At most `max_uses`.
    #[schemars(range(min = 1, max = MAX_USES))]
    pub uses: u64,
    /// Length of the period in seconds.
    #[schemars(range(min = 1, max = MAX_GRANT_S))]
    pub seconds: u64,
}

words! {
    /// Which sessions the runs under a grant may use.
    #[derive(PartialOrd, Serialize, Deserialize, JsonSchema)]
    #[serde(rename_all = "lowercase")]
    pub enum GrantedSession {
        /// The runs use no session.
        None = "none",
        /// Each run uses a new session.
        Fresh = "fresh",
    }
}

impl Grant {
    /// Returns the statement with one subject for each step.
    pub fn into_statement(self) -> Statement<Self> {
        let subjects = self.subjects();
        Statement::new(self, subjects)
    }

    fn subjects(&self) -> Vec<Subject> {
        self.steps
            .iter()
            .map(|step| Subject::new(step.reference.as_str(), step.digest.as_bytes()))
            .collect()
    }
}

impl Predicate for Grant {
    const KIND: &'static str = "grant";
    const MAX_BYTES: usize = MAX_GRANT_BYTES;
    fn check(&self, subjects: &[Subject]) -> Result<(), Malformed> {
        check_count("/predicate/steps", self.steps.len(), 1, MAX_STEPS)?;
        check_by("/predicate/steps", &self.steps, |step| {
            step.reference.as_str()
        })?;
        for (at, step) in self.steps.iter().enumerate() {
            let pointer = format!("/predicate/steps/{at}");
            if step.params.kind != ParameterType::Object {
                return Err(Malformed::at(
                    format!("{pointer}/params"),
                    "expected a declaration of type object",
                ));
            }
            check_permissions(&format!("{pointer}/permissions"), &step.permissions)?;
            step.sandbox.check(&format!("{pointer}/sandbox"))?;
        }
        check_range("/predicate/max_uses", self.max_uses, 1, MAX_USES)?;
        if let Some(rate) = &self.rate {
            check_range("/predicate/rate/uses", rate.uses, 1, self.max_uses)?;
            check_range("/predicate/rate/seconds", rate.seconds, 1, MAX_GRANT_S)?;
        }
        check_count(
            "/predicate/artifacts",
            self.artifacts.len(),
            0,
            MAX_ARTIFACTS,
        )?;
        check_by("/predicate/artifacts", &self.artifacts, |artifact| {
            artifact.name.as_str()
        })?;
        check_artifact_bytes(&self.artifacts)
            .map_err(|error| error.below("/predicate/artifacts"))?;
        check_reason("/predicate/reason", &self.reason)?;
        if self.issued_at > self.not_before || self.not_before >= self.expires_at {
            return Err(Malformed::at(
                "/predicate/expires_at",
                "the times must be in the order issued_at, not_before, expires_at",
            ));
        }
        if self.expires_at.unix().abs_diff(self.issued_at.unix()) > MAX_GRANT_S {
            return Err(Malformed::at(
                "/predicate/expires_at",
                "a grant may last at most 90 days",
            ));
        }
        check_subjects(subjects, &self.subjects())
    }

    fn check_signatures(&self, keyids: &[&KeyId]) -> Result<(), Malformed> {
        if keyids.is_empty() {
            return Err(Malformed::at(
                "/signatures",
                "found no signature: approvers sign a grant",
            ));
        }
        match keyids.windows(2).position(|pair| pair[0] >= pair[1]) {
            None => Ok(()),
            Some(before) => Err(Malformed::at(
                format!("/signatures/{}", before + 1),
                "the signatures are not sorted by key id, or a key occurs twice",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Base64, Envelope, EnvelopeSignature, MAX_ENTRY_BYTES, MAX_SIGNATURES, SecretKey, Signed,
        SshKey, canonical,
    };

    fn keyid(seed: usize) -> KeyId {
        let seed = u8::try_from(seed).expect("few");
        SshKey::from_public(SecretKey::from_seed([seed; 32]).public(), "")
            .expect("a key")
            .keyid()
    }

    #[test]
    fn the_signatures_of_a_grant_are_sorted_and_each_key_signs_once() {
        let mut ids: Vec<KeyId> = (1..4).map(keyid).collect();
        ids.sort();
        let payload =
            include_bytes!("../../../../tests/conformance/golden/documents/valid/grant.json");
        let check = |ids: &[KeyId]| {
            let signatures: Vec<_> = ids
                .iter()
                .map(|keyid| EnvelopeSignature::new(*keyid, &[1; 64]))
                .collect();
            let signed = Signed::<Grant>::from_parts(payload, &signatures, Base64::Strict)
                .expect("an envelope");
            signed
                .check_document()
                .map(drop)
                .map_err(|error| error.pointer)
        };
        assert_eq!(check(&ids), Ok(()));
        assert_eq!(check(&ids[..1]), Ok(()));
        assert_eq!(check(&[]), Err("/signatures".to_owned()));
        assert_eq!(check(&[ids[1], ids[0]]), Err("/signatures/1".to_owned()));
        assert_eq!(
            check(&[ids[0], ids[1], ids[1]]),
            Err("/signatures/2".to_owned())
        );
    }

    proptest::proptest! {
        #[test]
        fn the_largest_grant_fits_into_a_log_entry_for_every_division_of_8192_bytes_between_its_signatures(
            mut sizes in proptest::collection::vec(0_usize..=8192, MAX_SIGNATURES),
        ) {
            // Any split of 8192 bytes: sizes that are too large are shortened, and the last size gets the rest.
            let mut left = 8192;
            for size in &mut sizes {
                *size = (*size).min(left);
                left -= *size;
            }
            sizes[MAX_SIGNATURES - 1] += left;
            let signatures =
                sizes.iter().enumerate().map(|(at, size)| EnvelopeSignature::new(keyid(at + 1), &vec![255; *size]));
            let envelope = Envelope::new(&vec![b'x'; MAX_GRANT_BYTES], signatures.collect());
            let leaf = canonical::canonical_of(&envelope).expect("canonical");
            proptest::prop_assert!(leaf.len() <= MAX_ENTRY_BYTES, "{} bytes", leaf.len());
        }
    }
}
