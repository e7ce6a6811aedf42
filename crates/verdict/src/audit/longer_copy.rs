//! Verifies the signed head of another copy of the audited log.

use std::sync::Arc;

use crate::{
    EntryParts, EvidenceFiles, LogEntry, Rosters, TrustedRoster, Unreadable,
    audit::seal_in_force::verify as verify_seal, verify_head,
};
use documents::{Base64, BoundaryRef, Checkpoint, Predicate, Seal, Signed};

/// Verifies the checkpoint of another copy of the log. The seals of the other copy name the keys of the boundary. Only
/// seals are checked.
#[derive(Debug)]
pub struct LongerCopy {
    pub(super) boundary: BoundaryRef,
    pub(super) roster: Arc<TrustedRoster>,
    pub(super) rosters: Rosters,
}

impl LongerCopy {
    /// Reads the next entry of the other copy.
    ///
    /// # Errors
    /// Returns an error if a file that the entry names can't be read.
    pub fn entry(
        &mut self,
        entry: &LogEntry,
        beside: &dyn EvidenceFiles,
    ) -> Result<(), Unreadable> {
        let Ok(EntryParts {
            signatures,
            payload,
        }) = entry.parts()
        else {
            return Ok(());
        };
        if entry.kind() != Some(Seal::KIND) {
            return Ok(());
        }
        let Ok(signed) = Signed::<Seal>::from_parts(payload, signatures, Base64::Strict) else {
            return Ok(());
        };
        if let Ok((seal, roster)) = verify_seal(payload, signed, &mut self.rosters, beside)?
            && seal.predicate().boundary.id == Some(self.boundary.id)
            && seal.predicate().boundary.name == self.boundary.name
            && roster.version() >= self.roster.version()
        {
            self.roster = roster;
        }
        Ok(())
    }

    /// Verifies the checkpoint of the other copy with the keys that the boundary has at the end of this copy.
    ///
    /// # Errors
    /// Returns the reason why the checkpoint is not valid.
    pub fn verify_head(&self, note: &str) -> Result<Checkpoint, String> {
        verify_head(note, &self.boundary, &self.roster)
    }
}
