//! What a review is made of, as it was gathered.

use serde_json::Value;

use crate::crypto::digest::StepDigest;
use crate::crypto::sshsig::KeyId;
use crate::record::authorization::Permission;
use crate::record::envelope::{Envelope, EnvelopeSignature};
use crate::record::ident::Name;
use crate::record::profile::Profile;
use crate::trust::roster::TrustedRoster;

/// Everything that a review is made of, as it was gathered: none of it is believed.
#[derive(Debug, Clone, Default)]
pub struct ReviewSources {
    /// The bytes that a signature would cover.
    pub payload: Vec<u8>,
    /// The step's definition, by the digest in the payload.
    pub definition: Option<Vec<u8>>,
    /// The seal in force.
    pub seal: Option<Envelope>,
    /// The policy that the seal names.
    pub policy: Option<Vec<u8>>,
    /// The built-in lists that the seal names.
    pub builtins: Option<Vec<u8>>,
    /// The configuration that the seal names.
    pub configuration: Option<Vec<u8>>,
    /// Whom to believe.
    pub roster: RosterSource,
    /// Signatures that stand in a file.
    pub signatures: Vec<EnvelopeSignature>,
    /// How far the boundary says the quorum is.
    pub told: Option<ReportedState>,
    /// The last run of this step that succeeded, as the boundary tells it.
    pub last: Option<LastRun>,
    /// Whether the boundary could be asked for it.
    pub asked_last: bool,
    /// The key that the approver would sign with.
    pub mine: Option<KeyId>,
    /// What could not be had, and why.
    pub missing: Vec<String>,
}

/// The roster that the review goes by.
#[derive(Debug, Clone, Default)]
pub enum RosterSource {
    /// There is none at all.
    #[default]
    None,
    /// The approver's own, and where it is from.
    Trusted(Box<TrustedRoster>, String),
    /// The boundary's: a word, not trust.
    BoundarysWord(Box<TrustedRoster>),
}

impl RosterSource {
    /// The roster, trusted or not.
    #[must_use]
    pub fn roster(&self) -> Option<&TrustedRoster> {
        match self {
            Self::None => None,
            Self::Trusted(roster, _) | Self::BoundarysWord(roster) => Some(roster),
        }
    }

    /// The roster, when the approver trusts it.
    #[must_use]
    pub fn trusted(&self) -> Option<&TrustedRoster> {
        match self {
            Self::Trusted(roster, _) => Some(roster),
            Self::None | Self::BoundarysWord(_) => None,
        }
    }
}

/// What the boundary tells of a pending proposal.
#[derive(Debug, Clone, Default)]
pub struct ReportedState {
    /// Its status, in one word.
    pub status: String,
    /// Why it is approved and has not begun.
    pub held_up: Option<String>,
    /// People whose signatures it counts.
    pub approvers: Vec<Name>,
    /// Groups from which it still needs somebody.
    pub missing: Vec<String>,
    /// Who it says can't count.
    pub excluded: Vec<Name>,
    /// The fewest people that it needs.
    pub required: u64,
}

/// The last run of a step that succeeded, as the boundary tells it.
#[derive(Debug, Clone)]
pub struct LastRun {
    /// Its receipt's id.
    pub receipt: String,
    /// When it ended.
    pub finished_at: String,
    /// The digest of what ran.
    pub digest: StepDigest,
    /// What ran, where it could be had.
    pub definition: Option<Vec<u8>>,
    /// With which parameters.
    pub params: Value,
    /// How many runs of the step succeeded.
    pub runs: u64,
    /// In which sandbox, where its receipt could be had.
    pub profile: Option<Profile>,
    /// With which permissions, where its receipt could be had.
    pub permissions: Option<Vec<Permission>>,
    /// How many denied names were masked, where its receipt says so.
    pub masked: Option<u64>,
    /// How many names the run before it masked, where its receipt warns that this one masked none.
    pub masked_before: Option<u64>,
}
