//! The approvals of a proposal.

use documents::{Approvals, GroupName, Name, RosteredApprover, joined};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Approvals that a proposal has and still needs.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
pub struct ApprovalsView {
    /// Approval rules. All rules must be met.
    pub rules: Vec<Approvals>,
    /// Minimum number of people that can meet all rules together.
    pub required: u64,
    /// Number of people whose signatures count so far.
    pub have: u64,
    /// People whose signatures count so far.
    pub approvers: Vec<Name>,
    /// Groups from which a signature is still needed.
    pub missing: Vec<GroupName>,
    /// People among them who signed with a passkey.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub by_passkey: Vec<Name>,
    /// True if a further person must sign with another key than a passkey, because passkeys alone meet no rule.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub own_program: bool,
    /// People whose signatures can't count: the proposer and the owners of the proposer's token.
    pub excluded: Vec<Name>,
}

impl ApprovalsView {
    /// Returns true if the signature of this person would count towards the quorum.
    pub fn need(&self, person: &RosteredApprover) -> bool {
        let counts =
            !self.excluded.contains(&person.name) && !self.approvers.contains(&person.name);
        counts
            && self
                .missing
                .iter()
                .any(|group| person.groups.contains(group))
    }

    /// Returns who has signed, and which groups still must sign.
    pub fn words(&self) -> String {
        let mut words = format!("{} of {} signatures", self.have, self.required);
        if !self.approvers.is_empty() {
            words.push_str(&format!(", by {}", joined(&self.approvers, ", ")));
        }
        if !self.by_passkey.is_empty() {
            words.push_str(&format!(
                ", with a passkey: {}",
                joined(&self.by_passkey, ", ")
            ));
        }
        if !self.missing.is_empty() {
            words.push_str(&format!(
                "; still needed: somebody of {}",
                joined(&self.missing, ", somebody of ")
            ));
        }
        if self.own_program {
            words.push_str(", with another key than a passkey");
        }
        words
    }
}
