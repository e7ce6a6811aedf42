//! Consumption: the signed log entry that nonces were spent.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::crypto::digest::{AuthorizationDigest, SealDigest};
use crate::record::document::{Malformed, Predicate, Statement, Subject, check_subjects};
use crate::record::ident::Nonce;
use crate::record::validity::Timestamp;

/// The most items of one consumption: so that its leaf fits into a tile entry.
pub const MAX_ITEMS: usize = 64;

/// One leaf per group commit: everything that was spent in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Consumption {
    /// The seal in force.
    pub seal: SealDigest,
    /// The time that windows are judged by.
    pub at: Timestamp,
    /// What was spent, in the order of the subjects.
    pub spent: Vec<Spent>,
}

/// One authorization whose nonce is spent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Spent {
    /// Its payload's digest.
    pub authorization: AuthorizationDigest,
    /// Its nonce.
    pub nonce: Nonce,
    /// Its end of validity.
    pub expires_at: Timestamp,
}

impl Consumption {
    /// The statement with a subject per item.
    #[must_use]
    pub fn into_statement(self) -> Statement<Self> {
        let subjects = self.subjects();
        Statement::new(self, subjects)
    }

    fn subjects(&self) -> Vec<Subject> {
        self.spent.iter().map(|spent| Subject::new("authorization", spent.authorization.as_bytes())).collect()
    }
}

impl Predicate for Consumption {
    const KIND: &'static str = "consumption";
    const MAX_BYTES: usize = 36 << 10;

    fn check(&self, subjects: &[Subject]) -> Result<(), Malformed> {
        if self.spent.is_empty() || self.spent.len() > MAX_ITEMS {
            return Err(Malformed::at("/predicate/spent", format!("expected 1 to {MAX_ITEMS} items")));
        }
        for (at, spent) in self.spent.iter().enumerate() {
            if self.spent[..at].iter().any(|before| before.nonce == spent.nonce) {
                return Err(Malformed::at(format!("/predicate/spent/{at}/nonce"), "spent twice in one consumption"));
            }
        }
        check_subjects(subjects, &self.subjects())
    }
}
