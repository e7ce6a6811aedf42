//! The parts of a request for a run that describe its inputs and its session.

use serde::{Deserialize, Serialize};

use documents::crypto::digest::ContentDigest;
use documents::record::later_words::ArtifactName;

/// Text that stands for the path of the state in a wrapper.
pub(super) const STATE_PLACEHOLDER: &str = "{state}";
/// Text that stands for the path of the file of a wrapper.
pub(super) const WRAPPER_PLACEHOLDER: &str = "{wrapper}";

/// An input of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct InputEntry {
    pub(super) name: ArtifactName,
    pub(super) bytes: u64,
    pub(super) digest: ContentDigest,
}

/// What a run gets from its session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SessionRequest {
    pub(super) env_bytes: u64,
    /// Names of defaults that the run does not get.
    pub(super) unset: Vec<Vec<u8>>,
    /// The directory in which the step starts, as bytes.
    pub(super) cwd: Option<Vec<u8>>,
    /// True if the content of the work directory follows the inputs.
    pub(super) tree: bool,
    pub(super) wrapper: Option<WrapperRequest>,
}

/// The file through which a shell saves its state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WrapperRequest {
    pub(super) name: String,
    pub(super) bytes: u64,
    pub(super) env: Vec<(String, String)>,
    pub(super) arguments: Option<Vec<String>>,
}
