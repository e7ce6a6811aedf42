//! The parts of a request for a run that describe its inputs and its session.

use serde::{Deserialize, Serialize};

use documents::{ArtifactName, ContentDigest};

/// Text that stands for the path of the state in a wrapper.
pub(crate) const STATE_PLACEHOLDER: &str = "{state}";
/// Text that stands for the path of the file of a wrapper.
pub(crate) const WRAPPER_PLACEHOLDER: &str = "{wrapper}";

/// An input of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct InputEntry {
    pub(crate) name: ArtifactName,
    pub(crate) bytes: u64,
    pub(crate) digest: ContentDigest,
}

/// What a run gets from its session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SessionRequest {
    pub(crate) env_bytes: u64,
    /// Names of defaults that the run does not get.
    pub(crate) unset: Vec<Vec<u8>>,
    /// The directory in which the step starts, as bytes.
    pub(crate) cwd: Option<Vec<u8>>,
    /// True if the content of the work directory follows the inputs.
    pub(crate) tree: bool,
    pub(crate) wrapper: Option<WrapperRequest>,
}

/// The file through which a shell saves its state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WrapperRequest {
    pub(crate) name: String,
    pub(crate) bytes: u64,
    pub(crate) env: Vec<(String, String)>,
    pub(crate) arguments: Option<Vec<String>>,
}
