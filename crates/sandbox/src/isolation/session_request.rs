//! The parts of a request for a run that describe its inputs and its session.

use serde::{Deserialize, Serialize};

use documents::{ArtifactName, ContentDigest};

/// Text that stands for the path of the state in a wrapper.
pub const SESSION_STATE_FILE: &str = "{state}";
/// Text that stands for the path of the file of a wrapper.
pub const SESSION_WRAPPER_FILE: &str = "{wrapper}";

/// An input of a run.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InputEntry {
    pub name: ArtifactName,
    pub bytes: u64,
    pub digest: ContentDigest,
}

/// What a run gets from its session.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SessionRequest {
    pub env_bytes: u64,
    /// Names of defaults that the run does not get.
    pub unset: Vec<Vec<u8>>,
    /// The directory in which the step starts, as bytes.
    pub cwd: Option<Vec<u8>>,
    /// True if the content of the work directory follows the inputs.
    pub tree: bool,
    pub wrapper: Option<WrapperRequest>,
}

/// The file through which a shell saves its state.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WrapperRequest {
    pub name: String,
    pub bytes: u64,
    pub env: Vec<(String, String)>,
    pub arguments: Option<Vec<String>>,
}
