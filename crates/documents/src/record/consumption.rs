//! Consumption: the signed log entry that states which nonces are spent.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use crate::{
    AuthorizationDigest, ContentDigest, GrantUse, LeafHash, MAX_USES, Malformed, Name, Nonce,
    Predicate, SealDigest, SessionReference, Statement, Subject, Timestamp, check_end, check_range,
    check_subjects,
};

/// Maximum number of items in one consumption. Each bundle contains the whole consumption, so more items would make
/// many bundles larger.
pub const MAX_ITEMS: usize = 16;

/// The boundary's statement that nonces are spent. One consumption contains all or some of the nonces that the boundary
/// spent in one commit.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Consumption {
    /// Digest of the seal in force.
    pub seal: SealDigest,
    /// Time at which the nonces were spent. The window of each authorization is compared with this time.
    pub at: Timestamp,
    /// The spent authorizations, in the order of the subjects.
    #[schemars(length(min = 1, max = MAX_ITEMS))]
    pub spent: Vec<Spent>,
}

/// An authorization whose nonce is spent.
#[skip_serializing_none]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Spent {
    /// The log entry of the authorization. The entries of all authorizations are directly before the consumption, in the
    /// order of the items.
    pub authorization: AuthorizationRef,
    /// The nonce of the authorization. Its first 8 bytes are `expires_at` in seconds since 1970.
    pub nonce: Nonce,
    /// `expires_at` of the authorization.
    pub expires_at: Timestamp,
    /// Name of the token or proposer that submitted the envelope.
    pub handed_in_by: Name,
    /// The session of the authorization. Absent if the authorization has none.
    pub session: Option<SessionReference>,
    /// The grant of the authorization. Absent if the authorization has none.
    pub grant: Option<ContentDigest>,
    /// The number of this use of the grant: 1 for the first use.
    #[serde(default, rename = "use")]
    pub grant_use: Option<GrantUse>,
}

/// The log entry of an authorization.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AuthorizationRef {
    /// Digest of the payload of the authorization.
    pub digest: AuthorizationDigest,
    /// Index of the authorization's log entry, from 0.
    pub index: u64,
    /// Leaf hash of this log entry (RFC 6962).
    pub leaf: LeafHash,
}

impl Consumption {
    /// Returns the statement with one subject for each item.
    pub fn into_statement(self) -> Statement<Self> {
        let subjects = self.subjects();
        Statement::new(self, subjects)
    }

    /// Returns true if the authorization of this item is directly before the consumption, whose log entry has this index.
    pub fn is_directly_after(&self, item: usize, index: u64) -> bool {
        self.spent.get(item).is_some_and(|spent| {
            spent.authorization.index + (self.spent.len() - item) as u64 == index
        })
    }

    fn subjects(&self) -> Vec<Subject> {
        self.spent
            .iter()
            .map(|spent| Subject::new("authorization", spent.authorization.digest.as_bytes()))
            .collect()
    }
}

impl Predicate for Consumption {
    const KIND: &'static str = "consumption";
    const MAX_BYTES: usize = 16 << 10;

    fn check(&self, subjects: &[Subject]) -> Result<(), Malformed> {
        if self.spent.is_empty() || self.spent.len() > MAX_ITEMS {
            return Err(Malformed::at(
                "/predicate/spent",
                format!("expected 1 to {MAX_ITEMS} items"),
            ));
        }
        for (at, spent) in self.spent.iter().enumerate() {
            if self.spent[..at]
                .iter()
                .any(|before| before.authorization.digest == spent.authorization.digest)
            {
                let message = "this value is spent twice in one consumption";
                return Err(Malformed::at(
                    format!("/predicate/spent/{at}/authorization"),
                    message,
                ));
            }
            let nonce = format!("/predicate/spent/{at}/nonce");
            check_end(&nonce, &spent.nonce, spent.expires_at)?;
            if let Some(session) = &spent.session {
                session.check_end(&format!("/predicate/spent/{at}/session"), spent.expires_at)?;
            }
            if self.spent[..at]
                .iter()
                .any(|before| before.nonce == spent.nonce)
            {
                let message = "this value is spent twice in one consumption";
                return Err(Malformed::at(nonce, message));
            }
            let (lone, other) = match (&spent.grant, &spent.grant_use) {
                (Some(_), None) => ("grant", "use"),
                (None, Some(_)) => ("use", "grant"),
                (grant, used) => {
                    if let Some(used) = used.filter(|_| grant.is_some()) {
                        check_range(&format!("/predicate/spent/{at}/use"), used.0, 1, MAX_USES)?;
                    }
                    continue;
                }
            };
            return Err(Malformed::at(
                format!("/predicate/spent/{at}/{lone}"),
                format!(
                    "the item has `{lone}` without `{other}`: give both fields, or leave both out"
                ),
            ));
        }
        check_subjects(subjects, &self.subjects())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Envelope, EnvelopeSignature, MAX_ENTRY_BYTES, MAX_INTEGER, SecretKey, SshKey, canonical,
    };

    fn of(items: usize) -> Consumption {
        let spent = |item: usize| Spent {
            authorization: AuthorizationRef {
                digest: AuthorizationDigest::of(&item.to_be_bytes()),
                index: MAX_INTEGER,
                leaf: LeafHash::from_bytes([9; 32]),
            },
            nonce: nonce(item),
            expires_at: Timestamp::from_unix(0),
            handed_in_by: "n".repeat(64).parse().expect("a name"),
            session: None,
            grant: None,
            grant_use: None,
        };
        Consumption {
            seal: SealDigest::of(b""),
            at: Timestamp::from_unix(0),
            spent: (0..items).map(spent).collect(),
        }
    }

    fn nonce(item: usize) -> Nonce {
        Nonce::new(Timestamp::from_unix(0), [item as u8; 16])
    }

    #[test]
    fn a_consumption_of_most_items_with_the_longest_nonces_fits_into_a_log_entry() {
        let payload = of(MAX_ITEMS)
            .into_statement()
            .to_payload()
            .expect("within its size");
        let key = SshKey::from_public(SecretKey::from_seed([1; 32]).public(), "").expect("a key");
        let envelope = Envelope::new(
            &payload,
            vec![EnvelopeSignature::new(key.keyid(), &[255; 64])],
        );
        let leaf = canonical::canonical_of(&envelope).expect("canonical");
        assert!(leaf.len() <= MAX_ENTRY_BYTES, "{} bytes", leaf.len());
        assert!(of(MAX_ITEMS + 1).into_statement().to_payload().is_err());
    }

    #[test]
    fn sixteen_items_with_every_field_fit_into_a_log_entry() {
        let mut value = serde_json::to_value(of(16).into_statement()).expect("JSON");
        let digest = SealDigest::of(b"x").to_string();
        for item in value["predicate"]["spent"].as_array_mut().expect("items") {
            let more = serde_json::json!({
                "grant": digest, "use": 1000,
                "session": {"id": "ses_02000000-0000-7000-8000-000000000003", "state": digest},
            });
            item.as_object_mut()
                .expect("an item")
                .extend(more.as_object().expect("fields").clone());
        }
        let payload = canonical::to_canonical(&value);
        let read = Statement::<Consumption>::from_payload(&payload).expect("a consumption");
        assert_eq!(read.predicate.spent.len(), 16);
        assert!(
            payload.len() <= <Consumption as Predicate>::MAX_BYTES,
            "{} bytes",
            payload.len()
        );
    }

    #[test]
    fn one_consumption_never_spends_a_nonce_twice() {
        for (pointer, twice) in [
            (
                "/predicate/spent/1/nonce",
                (|spent| spent[1].nonce = spent[0].nonce.clone()) as fn(&mut Vec<Spent>),
            ),
            ("/predicate/spent/1/authorization", |spent| {
                spent[1].authorization = spent[0].authorization
            }),
        ] {
            let mut consumption = of(2);
            twice(&mut consumption.spent);
            assert_eq!(
                consumption
                    .into_statement()
                    .to_payload()
                    .expect_err("twice")
                    .pointer,
                pointer
            );
        }
    }
}
