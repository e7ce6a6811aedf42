//! Roster: the signed list of people, boundaries and their keys. The roster is the root of trust.
//!
//! This module defines the tables of a roster. `trust::trusted_roster` parses the keys and checks the rules.
//! `trust::chain` connects the versions of a roster.
//!
//! The file also defines the configuration of a person or of a desk (`config.toml` in the configuration directory).

use std::{collections::BTreeMap, ops::Deref};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use crate::{
    BoundaryName, GroupName, Malformed, Name, PolicyDigest, Predicate, RosterDigest, Statement,
    Subject, Timestamp, canonical, check_subjects, sha256,
};

/// Maximum size of a roster's payload, in bytes.
pub const MAX_ROSTER_BYTES: usize = 256 << 10;

/// The signed list of people, programs and their public keys. A verifier trusts one version of the roster, and derives
/// all other trust from it.
#[skip_serializing_none]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Roster {
    /// Name of the roster for people. Any text.
    pub name: String,
    /// Number of this version: 1, then one more in each version.
    #[schemars(range(min = 1))]
    pub version: u64,
    /// Number of approvers who must sign the next version. With 0, the next version needs no signature, and the roster
    /// is *unguarded*.
    pub threshold: u64,
    /// Digest of the payload of the previous version. Absent in version 1.
    pub previous: Option<RosterDigest>,
    /// Digest of the policy that belongs to this version.
    pub policy: PolicyDigest,
    /// The people who may approve runs, by name. No other approver, proposer, operator or token has such a name.
    pub approvers: BTreeMap<Name, Approver>,
    /// The groups of approvers, by name.
    pub groups: BTreeMap<GroupName, Group>,
    /// Proposers that have their own keys, by name. No other approver, proposer, operator or token has such a name.
    pub proposers: BTreeMap<Name, Proposer>,
    /// The people who may read everything and cancel runs, by name. No other approver, proposer, operator or token has such a
    /// name.
    pub operators: BTreeMap<Name, KeyList>,
    /// The boundaries and their keys, by the name that the seals of the boundary contain.
    #[schemars(extend("propertyNames" = {"maxLength": 40}))]
    pub boundaries: BTreeMap<BoundaryName, KeyList>,
    /// The witnesses that sign checkpoints of the log, by the name in their signatures: not empty, without whitespace, control
    /// characters and `+`.
    pub witnesses: BTreeMap<String, Witness>,
}

/// A person who may approve runs.
#[skip_serializing_none]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Approver {
    /// Groups of the approver. Each group is in `groups` of the roster.
    pub groups: Vec<GroupName>,
    /// Public keys of the approver, as lines in the format of OpenSSH.
    pub keys: Vec<String>,
    /// Signatures count from this time on. If absent, there is no such limit.
    pub valid_after: Option<Timestamp>,
    /// Signatures count before this time, and no longer from this time on. If absent, there is no such limit.
    pub valid_before: Option<Timestamp>,
}

/// An approver of a roster, with the name.
#[derive(Debug, Clone, PartialEq)]
pub struct RosteredApprover {
    /// Name of the approver.
    pub name: Name,
    /// Entry of the roster.
    pub entry: Approver,
}

impl Deref for RosteredApprover {
    type Target = Approver;

    fn deref(&self) -> &Approver {
        &self.entry
    }
}

/// A group of approvers.
#[skip_serializing_none]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// Which signatures count for this group. If absent, every valid signature counts.
    pub presence: Option<PresenceRule>,
}

words! {
    /// What a security key must prove, so that a signature counts.
    #[derive(Serialize, Deserialize, JsonSchema)]
    #[serde(rename_all = "lowercase")]
    pub enum PresenceRule {
        /// A person touched the security key: only signatures of `sk-` keys with the flag 0x01 (user presence) count.
        Required = "security keys with touch",
        /// The security key checked a PIN or a fingerprint: only signatures of `sk-` keys with the flags 0x01 (user
        /// presence) and 0x04 (user verification) count.
        Verified = "security keys that verified the person (PIN or fingerprint)",
    }
}

/// A proposer that has its own keys.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Proposer {
    /// Names of the people who control the proposer. Their signatures do not count for its proposals.
    pub owners: Vec<Name>,
    /// Public keys of the proposer, as lines in the format of OpenSSH.
    pub keys: Vec<String>,
}

/// The keys of an operator or of a boundary.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyList {
    /// Public keys, as lines in the format of OpenSSH.
    pub keys: Vec<String>,
}

/// A witness that signs checkpoints of the log (C2SP tlog-witness).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Witness {
    /// Public key of the witness as `NAME+HEX+BASE64` (C2SP signed-note). HEX is 8 lower-case hexadecimal digits.
    pub vkey: String,
    /// Address to which the boundary sends checkpoints. Begins with `https://` or `http://`.
    pub url: String,
}

impl Roster {
    /// Returns the statement, whose subject is the digest of the canonical predicate.
    ///
    /// # Errors
    /// Returns an error if the roster cannot be written as canonical JSON.
    pub fn into_statement(self) -> Result<Statement<Self>, Malformed> {
        let subjects = self.subjects()?;
        Ok(Statement::new(self, subjects))
    }

    fn subjects(&self) -> Result<Vec<Subject>, Malformed> {
        let bytes =
            canonical::canonical_of(self).map_err(|error| Malformed::at("/predicate", error))?;
        Ok(vec![Subject::new("roster", &sha256(&bytes))])
    }
}

impl Predicate for Roster {
    const KIND: &'static str = "roster";
    const MAX_BYTES: usize = MAX_ROSTER_BYTES;

    fn check(&self, subjects: &[Subject]) -> Result<(), Malformed> {
        if self.version == 0 || (self.version == 1) != self.previous.is_none() {
            return Err(Malformed::at(
                "/predicate/version",
                "`previous` must be absent in version 1 and present in every later version",
            ));
        }
        check_subjects(subjects, &self.subjects()?)
    }
}

/// What a person, or the operator of a desk, chose for all commands.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UserConfiguration {
    /// What screens and pages show.
    #[serde(default)]
    pub display: DisplayConfiguration,
}

/// What screens and pages show.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DisplayConfiguration {
    /// Names of the scripts whose letters prose shows: `Latin`, `Greek`, `Cyrillic` and so on, by their names in Unicode, or
    /// `Chinese`, `Japanese` and `Korean` for all scripts of the language. All other letters beyond ASCII are escapes.
    /// Without the list, the scripts are Latin and the script of the locale.
    pub scripts: Option<Vec<String>>,
}
