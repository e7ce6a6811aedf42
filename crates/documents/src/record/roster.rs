//! Roster: the signed list of people, boundaries and their keys. It is the root of trust.
//!
//! This module defines the tables of a roster. `trust::trusted_roster` parses the keys and checks the rules.
//! `trust::chain` connects the versions of a roster.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::crypto::canonical;
use crate::crypto::digest::{PolicyDigest, RosterDigest, sha256};
use crate::crypto::ssh_key::{ForeignKey, SshKey, SshKeyError};
use crate::record::document::{Predicate, Statement, Subject, check_subjects};
use crate::record::ident::{BoundaryName, GroupName, Name};
use crate::record::later_parts::Runners;
use crate::record::malformed::Malformed;
use crate::record::reserved::{Reserved, below, read_typed};
use crate::record::validity::Timestamp;

/// Maximum size of a roster's payload, in bytes.
pub const MAX_ROSTER_BYTES: usize = 256 << 10;

/// Approvers and groups, proposers, operators, the boundaries' own keys, witnesses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Roster {
    /// What people call it.
    pub name: String,
    /// From 1, counting.
    #[schemars(range(min = 1))]
    pub version: u64,
    /// How many approvers must sign the next version; 0 is shown as *unguarded*.
    pub threshold: u64,
    /// Digest of the earlier version's payload.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<RosterDigest>,
    /// The policy that goes with it.
    pub policy: PolicyDigest,
    /// Who may approve.
    pub approver: Vec<Approver>,
    /// The groups that approvers belong to.
    pub group: Vec<Group>,
    /// Proposers with keys of their own.
    pub proposer: Vec<Proposer>,
    /// Who may cancel and revoke.
    pub operator: Vec<Operator>,
    /// The boundaries and their keys.
    pub boundary: Vec<RosteredBoundary>,
    /// Witnesses of checkpoints.
    pub witness: Vec<Witness>,
}

/// Somebody who may approve.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Approver {
    /// Unique among people and tokens.
    pub name: Name,
    /// Groups that this person belongs to.
    pub groups: Vec<GroupName>,
    /// OpenSSH public key lines.
    pub keys: Vec<String>,
    /// From when on signatures count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_after: Option<Timestamp>,
    /// From when on they no longer do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_before: Option<Timestamp>,
}

/// A group of approvers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// Its name.
    pub name: GroupName,
    /// Which signatures count for this group. Without it all that verify.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub presence: Option<PresenceRule>,
}

/// Whether a person must have touched the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PresenceRule {
    /// Only `sk-` signatures with the user-presence bit count.
    Required,
    /// Only `sk-` signatures with the user-presence and the user-verification bit count.
    Verified,
}

impl PresenceRule {
    /// Describes the keys that count under this rule.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Required => "security keys with touch",
            Self::Verified => "security keys that verified the person (PIN or fingerprint)",
        }
    }
}

/// A proposer with keys of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Proposer {
    /// Unique among people and tokens.
    pub name: Name,
    /// The people who control it: they count as the proposer.
    pub owners: Vec<Name>,
    /// OpenSSH public key lines.
    pub keys: Vec<String>,
}

/// Somebody who may cancel and revoke.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Operator {
    /// Unique among people and tokens.
    pub name: Name,
    /// OpenSSH public key lines.
    pub keys: Vec<String>,
}

/// A boundary and its keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RosteredBoundary {
    /// The name that its seals carry.
    pub name: BoundaryName,
    /// OpenSSH public key lines.
    pub keys: Vec<String>,
}

/// A witness of checkpoints (C2SP tlog-witness).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Witness {
    /// A note key name.
    pub name: String,
    /// Its note verifier key.
    pub vkey: String,
    /// Where it takes checkpoints.
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
        let bytes = canonical::canonical_of(self).map_err(|error| Malformed::at("/predicate", error.to_string()))?;
        Ok(vec![Subject::new("roster", &sha256(&bytes))])
    }
}

impl Predicate for Roster {
    const KIND: &'static str = "roster";
    const MAX_BYTES: usize = MAX_ROSTER_BYTES;
    const RESERVED: &'static [Reserved] = &[Reserved::field::<Runners>("runner")];

    fn check(&self, subjects: &[Subject]) -> Result<(), Malformed> {
        if self.version == 0 || (self.version == 1) != self.previous.is_none() {
            return Err(Malformed::at(
                "/predicate/version",
                "`previous` must be absent in version 1 and present in every later version",
            ));
        }
        check_subjects(subjects, &self.subjects()?)
    }

    fn check_reserved(statement: &mut Value) -> Result<(), Malformed> {
        // The subject is the digest of the whole predicate, including the reserved parts.
        let whole = Subject::new("roster", &sha256(&canonical::to_canonical(&statement["predicate"])));
        let subjects = read_typed::<Vec<Subject>>(&statement["subject"]).map_err(|error| below("/subject", error))?;
        check_subjects(&subjects, &[whole])?;
        let predicate = &statement["predicate"];
        let entries = |table: &'static str| predicate[table].as_array().into_iter().flatten();
        let mut keys: Vec<[u8; 32]> = Vec::new();
        for table in ["approver", "proposer", "operator", "boundary"] {
            let lines = entries(table).flat_map(|entry| entry["keys"].as_array().into_iter().flatten());
            // The parser of these tables reports an invalid key, so it is skipped here.
            keys.extend(lines.filter_map(|line| material(line.as_str().unwrap_or_default()).ok()));
        }
        for (at, runner) in entries("runner").enumerate() {
            let named = ["approver", "proposer", "operator"].into_iter().flat_map(entries);
            if named.into_iter().any(|person| person["name"] == runner["name"]) {
                return Err(Malformed::at(format!("/predicate/runner/{at}/name"), "a person already has this name"));
            }
            for (place, line) in runner["keys"].as_array().into_iter().flatten().enumerate() {
                let pointer = format!("/predicate/runner/{at}/keys/{place}");
                let line = line.as_str().unwrap_or_default();
                let key = material(line).map_err(|error| Malformed::at(&pointer, error.to_string()))?;
                if keys.contains(&key) {
                    return Err(Malformed::at(pointer, "this key is listed twice"));
                }
                keys.push(key);
            }
        }
        let mut rest = statement["predicate"].clone();
        if let Some(map) = rest.as_object_mut() {
            map.remove("runner");
        }
        statement["subject"] = serde_json::to_value([Subject::new("roster", &sha256(&canonical::to_canonical(&rest)))])
            .unwrap_or_default();
        Ok(())
    }
}

/// Returns the bytes that represent the key of a line in comparisons.
fn material(line: &str) -> Result<[u8; 32], SshKeyError> {
    match SshKey::parse(line) {
        Ok(key) => Ok(*key.material()),
        Err(SshKeyError::OtherType(_)) => ForeignKey::parse(line).map(|key| key.material()),
        Err(error) => Err(error),
    }
}
