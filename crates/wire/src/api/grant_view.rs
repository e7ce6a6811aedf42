//! Standing grants, as the HTTP API shows them.

use documents::{
    Artifact, Code, ContentDigest, Envelope, Grant, GrantId, GrantRate, GrantedSession, Grantee,
    Parameter, Timestamp,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{ApprovalsView, RefusalView};

/// `POST /v1/grants`: a draft, or a grant that was made elsewhere. Exactly one of the two fields is present.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GrantRequest {
    /// The terms of a grant that the boundary shall draft.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub draft: Option<DraftTerms>,
    /// A grant with its signatures.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub envelope: Option<Envelope>,
}

/// The terms of a draft. The boundary adds the definitions, the permissions and the sandbox of the steps, and the times.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DraftTerms {
    /// The proposer that may use the grant, with the only key for it.
    pub grantee: Grantee,
    /// The steps, in any order.
    #[schemars(length(min = 1, max = 32))]
    pub steps: Vec<DraftStep>,
    /// Maximum number of runs.
    pub max_uses: u64,
    /// Maximum number of runs in a period of time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<GrantRate>,
    /// Which sessions the runs may use. By default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<GrantedSession>,
    /// The uploaded files that the runs may receive.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub artifacts: Vec<Artifact>,
    /// Reason for the grant.
    #[serde(default)]
    pub reason: String,
    /// Seconds from now to the end of the grant, at most 30 days.
    pub expires_in_s: i64,
}

/// A step of a draft.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DraftStep {
    /// Ref of the step: `PATH:ID`.
    pub step: documents::StepRef,
    /// Declaration that the parameters of each run must satisfy. It names each parameter of the step.
    pub params: Parameter,
}

documents::words! {
    /// Status of a grant.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
    #[serde(rename_all = "lowercase")]
    pub enum GrantStatus {
        /// The draft waits for signatures.
        Pending = "pending",
        /// The grant is in the log, and can be used.
        Active = "active",
        /// No run can use the grant now. `why` has the reason.
        Unusable = "unusable",
    }
}

/// All facts about one grant.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct GrantView {
    /// Id of the grant.
    pub id: GrantId,
    /// Status of the grant.
    pub status: GrantStatus,
    /// Digest of the payload. A run and a revocation name this digest.
    pub digest: ContentDigest,
    /// Base64 of the exact bytes to sign.
    pub payload: String,
    /// The terms in the payload.
    pub grant: Grant,
    /// Approvals that the grant has and still needs: the rules of all its steps together.
    pub approvals: ApprovalsView,
    /// Time at which the boundary got the grant.
    pub created_at: Timestamp,
    /// Index of the grant's log entry.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index: Option<u64>,
    /// Number of uses so far.
    pub uses: u64,
    /// Time of the last use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_use_at: Option<Timestamp>,
    /// Why no run can use the grant now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<RefusalView>,
}

impl GrantView {
    /// Returns true if no run can ever use the grant again.
    pub fn is_over(&self) -> bool {
        let over = [Code::GrantExhausted, Code::Revoked, Code::Expired];
        self.why
            .as_ref()
            .is_some_and(|why| over.contains(&why.code))
    }
}

/// `GET /v1/grants`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct GrantList {
    /// The drafts and the grants whose end has not come, in the order of their ends. The boundary reads only
    /// the first 1,000 of them.
    pub grants: Vec<GrantView>,
}
