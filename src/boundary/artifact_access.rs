//! Callers upload files for runs, and readers read them before they sign.

use std::fs::File;
use std::sync::Arc;

use crate::crossing::artifact_store::{ArtifactStore, Upload};
use crate::crossing::caller::Caller;
use crate::crossing::cross::Crossing;
use crate::crossing::refusal::{Refusal, Stopped, fault};
use crate::crypto::digest::ContentDigest;
use crate::record::code::Code;
use crate::record::token::Scope;

/// Takes and returns uploaded files.
pub struct ArtifactAccess {
    crossing: Arc<Crossing>,
    store: ArtifactStore,
}

impl ArtifactAccess {
    /// Builds the value from its parts.
    #[must_use]
    pub const fn new(crossing: Arc<Crossing>, store: ArtifactStore) -> Self {
        Self { crossing, store }
    }

    /// Begins an upload of the caller.
    ///
    /// # Errors
    /// Returns `unauthenticated` or `forbidden` for a caller who may not propose, `busy` if the disk is almost full, and
    /// `rate-limited` if the caller has too many artifacts.
    pub fn begin(&self, caller: &Caller) -> Result<Upload, Stopped> {
        let name = caller.demand(Scope::Propose, None)?;
        self.crossing.capacity().demand_disk()?;
        self.store.begin(name)
    }

    /// Returns an artifact with its size. A caller gets the own artifacts, and a caller with the scope `read` for all
    /// steps gets all artifacts.
    ///
    /// # Errors
    /// Returns `not-found` if the artifact does not exist or the caller may not see the artifact.
    pub fn open(&self, caller: &Caller, digest: &ContentDigest) -> Result<(File, u64), Stopped> {
        let all = (caller.may(Scope::Read) || caller.may(Scope::Operate)) && !caller.is_limited();
        let found = match caller.name() {
            Some(name) => match self.store.open(name, digest) {
                Ok(None) if all => self.store.open_any(digest),
                found => found,
            },
            None => Ok(None),
        };
        found.map_err(|error| fault(&error))?.ok_or_else(|| {
            let detail = format!(
                "there is no artifact {digest}, or this caller has no access to it: artifacts are deleted with the outputs \
                 of runs"
            );
            Refusal::new(Code::NotFound, detail).into()
        })
    }
}
