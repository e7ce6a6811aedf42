//! Callers upload files for runs.

use std::sync::Arc;

use crate::Caller;
use crossing::{ArtifactStore, Crossing, Stopped, Upload};
use documents::{ContentDigest, Scope};

/// Takes uploaded files.
pub struct ArtifactAccess {
    crossing: Arc<Crossing>,
    store: ArtifactStore,
}

impl ArtifactAccess {
    /// Builds the value from its parts.
    pub const fn new(crossing: Arc<Crossing>, store: ArtifactStore) -> Self {
        Self { crossing, store }
    }

    /// Begins an upload of the caller.
    ///
    /// # Errors
    /// Returns `unauthenticated` or `forbidden` for a caller who may not propose, `busy` if the disk is almost full, and
    /// `rate-limited` if the caller has too many artifacts.
    pub fn begin(&self, caller: &Caller, digest: &ContentDigest) -> Result<Upload, Stopped> {
        let name = caller.demand(Scope::Propose, None)?;
        self.crossing.capacity().demand_disk()?;
        self.store.begin(name, digest)
    }
}
