//! TEMP
use crate::crypto::digest::{AuthorizationDigest, ContentDigest};
use crate::sandbox::SessionWrapper;
use std::collections::{BTreeMap, BTreeSet};
/// x
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SessionState {
    /// e
    pub env: BTreeMap<Vec<u8>, Vec<u8>>,
    /// c
    pub cwd: Option<Vec<u8>>,
    /// u
    pub unset: BTreeSet<Vec<u8>>,
}
impl SessionState {
    /// d
    pub fn digest(
        &self,
        _salt: &[u8; 32],
        _p: Option<&ContentDigest>,
        _a: Option<&AuthorizationDigest>,
    ) -> ContentDigest {
        ContentDigest::of(b"")
    }
    /// a
    pub fn after(&self, _c: &[u8]) -> Result<SessionState, String> {
        Err(String::new())
    }
}
/// w
pub fn wrapper_for(_i: &str) -> Option<SessionWrapper> {
    None
}
