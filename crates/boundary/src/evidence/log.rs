//! The log, for callers who may read it.

use crate::{Caller, Evidence, evidence::demand_read};
use crossing::{Refusal, Stopped};
use documents::{BlobDigest, Code, TilePath, TlogProof, merkle};

impl Evidence {
    /// Returns the newest signed checkpoint of the log, with its cosignatures.
    ///
    /// # Errors
    /// Returns an error if the log can't be read.
    pub fn checkpoint(&self) -> Result<String, Stopped> {
        let checkpoint = self.ledger.checkpoint()?;
        checkpoint
            .map(|row| self.witnesses.with_cosignatures(row))
            .ok_or_else(|| Refusal::new(Code::NotFound, "the log is empty").into())
    }

    /// Returns a hash tile of the log. All callers may read hash tiles.
    ///
    /// # Errors
    /// Returns `not-found` if the tile is beyond the end of the log.
    pub fn tile(&self, path: &TilePath) -> Result<Vec<u8>, Stopped> {
        self.ledger
            .tile(path)?
            .ok_or_else(|| Refusal::new(Code::NotFound, "the log has no such tile").into())
    }

    /// Returns a tile of log entries, for callers with the scope `read` for all steps.
    ///
    /// # Errors
    /// Returns `forbidden` if the caller may not read, and `not-found` if the tile is beyond the end of the log.
    pub fn entries(&self, caller: &Caller, path: &TilePath) -> Result<Vec<u8>, Stopped> {
        demand_read(caller)?;
        self.tile(path)
    }

    /// Returns the proof that an entry is in the log, with the checkpoint of the log. All callers may read the proof.
    ///
    /// # Errors
    /// Returns `not-found` if the entry is beyond the end of the log.
    pub fn inclusion_proof(&self, index: u64) -> Result<String, Stopped> {
        let checkpoint = self.ledger.checkpoint()?;
        let beyond = || {
            Stopped::from(Refusal::new(
                Code::NotFound,
                format!("the log has no entry {index} yet"),
            ))
        };
        let checkpoint = checkpoint.ok_or_else(beyond)?;
        let hashes = self
            .ledger
            .inclusion(index, checkpoint.size)?
            .ok_or_else(beyond)?;
        Ok(TlogProof {
            index,
            hashes,
            checkpoint: self.witnesses.with_cosignatures(checkpoint),
        }
        .to_string())
    }

    /// Returns the proof that the first `old` entries of the log with `new` entries form the log with `old` entries.
    /// All callers may read the proof.
    ///
    /// # Errors
    /// Returns `not-found` if the log has fewer than `new` entries, or if `old` is larger than `new`.
    pub fn consistency_proof(&self, old: u64, new: u64) -> Result<Vec<merkle::Hash>, Stopped> {
        let detail = format!(
            "there is no proof from {old} to {new} entries: the first size must be at most the \
             second size, and the second size at most the size of the log"
        );
        let path = self.ledger.consistency(old, new)?;
        path.ok_or_else(|| Refusal::new(Code::NotFound, detail).into())
    }

    /// Returns a blob of the log, for callers with the scope `read` for all steps. A caller who may see a step of the seal
    /// in force also gets the files of this step.
    ///
    /// # Errors
    /// Returns `forbidden` if the caller may not read, and `not-found` if the log names no such blob.
    pub fn blob(&self, caller: &Caller, digest: &BlobDigest) -> Result<Vec<u8>, Stopped> {
        match demand_read(caller) {
            Err(_) if self.has_file(caller, digest) => {}
            answer => answer?,
        }
        let blob = self.ledger.reads().blob(digest)?;
        blob.ok_or_else(|| {
            Refusal::new(Code::NotFound, format!("there is no blob {digest}")).into()
        })
    }

    /// Returns true if a step that the caller may see has a file with this digest.
    pub(super) fn has_file(&self, caller: &Caller, digest: &BlobDigest) -> bool {
        let sealed = self.crossing.state();
        sealed.registry.steps().any(|step| {
            step.definition
                .files
                .iter()
                .any(|file| file.digest.as_bytes() == digest.as_bytes())
                && caller.may_know(&step.definition.reference)
        })
    }
}
