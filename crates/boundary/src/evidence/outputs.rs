//! Read access to recorded outputs and to the log, for callers who may read them.

use std::ops::Range;

use crate::{Caller, Evidence, evidence::RUNS_OF_OUTPUT, fail, manifest_of, proposals::span};
use crossing::{Refusal, RequestResult, fault, receipt_of, refuse};
use documents::{Blake3Digest, BlobDigest, Code, TilePath, TlogProof, merkle};
use store::{Ledger, Proposal};

/// Why a caller with a token for some steps can't read log entries and blobs.
const IN_LOG: &str = "the log contains all steps";

impl Evidence {
    /// Returns the length of a recorded output in bytes.
    ///
    /// # Errors
    /// Returns `not-found` if the output does not exist, or if the caller may see no run that recorded the output. The
    /// refusal has the case `Gone` if the output is no longer stored.
    pub fn output_size(&self, caller: &Caller, digest: &Blake3Digest) -> RequestResult<u64> {
        Ok(self.output_in(caller, digest)?.1)
    }

    /// Returns the length of an output and the log that contains a run with this output.
    pub fn output_in(
        &self,
        caller: &Caller,
        digest: &Blake3Digest,
    ) -> RequestResult<(&Ledger, u64)> {
        caller.demand_name()?;
        let mut gone = None;
        for ledger in std::iter::once(&self.ledger).chain(&self.closed) {
            let mut before = None;
            loop {
                let runs = ledger.runs_with_output(digest, before.as_ref(), RUNS_OF_OUTPUT)?;
                if let Some(run) = runs
                    .iter()
                    .find(|run| caller.may_see(&run.proposer, &run.step))
                {
                    if let Some(size) = ledger.output_size(digest)? {
                        return Ok((ledger, size));
                    }
                    gone = gone.or(ledger.proposal(&run.proposal)?.map(|row| (ledger, row)));
                    break;
                }
                match runs.last() {
                    Some(last) if runs.len() == RUNS_OF_OUTPUT => {
                        before = Some(last.proposal.clone())
                    }
                    _ => break,
                }
            }
        }
        match gone {
            Some((ledger, row)) => Err(self.gone_output(ledger, &row, digest)?.into()),
            None => fail(
                Code::NotFound,
                format!(
                    "there is no output {digest}, or this caller has no access \
                     to the output"
                ),
            ),
        }
    }

    /// Returns the refusal for an output that is no longer stored. The refusal contains the facts about the output that
    /// the receipt states.
    pub fn gone_output(
        &self,
        ledger: &Ledger,
        row: &Proposal,
        digest: &Blake3Digest,
    ) -> RequestResult<Refusal> {
        let id = row.core.id.receipt();
        let receipt = receipt_of(ledger, row)?;
        let receipt = receipt
            .ok_or_else(|| fault(format!("the run of the output {digest} has no receipt")))?;
        let streams = [
            ("stdout", &receipt.output.stdout),
            ("stderr", &receipt.output.stderr),
        ];
        let of = streams.iter().find(|(_, stream)| stream.blake3 == *digest);
        let (name, bytes, sha256) = match of {
            Some((name, stream)) => ((*name).to_owned(), stream.recorded, stream.sha256),
            None => {
                let manifest = manifest_of(ledger, &receipt)?;
                let entry = manifest.and_then(|manifest| {
                    manifest.0.into_iter().find(|entry| entry.blake3 == *digest)
                });
                let entry = entry.ok_or_else(|| {
                    fault(format!(
                        "the receipt {id} does not name the output {digest}"
                    ))
                })?;
                (
                    format!("file {:?}", entry.path.as_str()),
                    entry.bytes,
                    entry.sha256,
                )
            }
        };
        let detail = format!(
            "the {name} of {id}, {bytes} bytes, {digest}, {sha256}, is no longer stored: outputs are deleted {} after \
             their run; the receipt still proves what they were",
            span(self.retention.outputs_s)
        );
        Ok(Refusal::gone(detail).about(&row.core.id).with_receipt(id))
    }

    /// Returns the bytes in the range `range` of a recorded output. The caller gives a range because a whole output may
    /// be too large for memory.
    ///
    /// # Errors
    /// Returns the same refusals as [`Self::output_size`]. Returns a fault if the output ends before the end of
    /// `range`.
    pub fn output(
        &self,
        caller: &Caller,
        digest: &Blake3Digest,
        range: Range<u64>,
    ) -> RequestResult<Vec<u8>> {
        let (ledger, _) = self.output_in(caller, digest)?;
        let wanted = range.end.saturating_sub(range.start);
        let bytes = ledger.output(digest, range)?.unwrap_or_default();
        if bytes.len() as u64 == wanted {
            Ok(bytes)
        } else {
            Err(fault(format!("the stored output {digest} is too short")))
        }
    }
}

impl Evidence {
    /// Returns the newest signed checkpoint of the log, with its cosignatures.
    ///
    /// # Errors
    /// Returns an error if the log can't be read.
    pub fn checkpoint(&self) -> RequestResult<String> {
        let checkpoint = self.ledger.checkpoint()?;
        checkpoint
            .map(|row| self.witnesses.with_cosignatures(row))
            .ok_or_else(|| refuse(Code::NotFound, "the log is empty"))
    }

    /// Returns a hash tile of the log. All callers may read hash tiles.
    ///
    /// # Errors
    /// Returns `not-found` if the tile is beyond the end of the log.
    pub fn tile(&self, path: &TilePath) -> RequestResult<Vec<u8>> {
        self.ledger
            .tile(path)?
            .ok_or_else(|| refuse(Code::NotFound, "the log has no such tile"))
    }

    /// Returns a tile of log entries, for callers with the scope `read` for all steps.
    ///
    /// # Errors
    /// Returns `forbidden` if the caller may not read, and `not-found` if the tile is beyond the end of the log.
    pub fn entries(&self, caller: &Caller, path: &TilePath) -> RequestResult<Vec<u8>> {
        caller.demand_read_of_all(IN_LOG)?;
        self.tile(path)
    }

    /// Returns the proof that an entry is in the log, with the checkpoint of the log. All callers may read the proof.
    ///
    /// # Errors
    /// Returns `not-found` if the entry is beyond the end of the log.
    pub fn inclusion_proof(&self, index: u64) -> RequestResult<String> {
        let checkpoint = self.ledger.checkpoint()?;
        let beyond = || refuse(Code::NotFound, format!("the log has no entry {index} yet"));
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
    pub fn consistency_proof(&self, old: u64, new: u64) -> RequestResult<Vec<merkle::Hash>> {
        let detail = format!(
            "there is no proof from {old} to {new} entries: the first size must be at most the \
             second size, and the second size at most the size of the log"
        );
        let path = self.ledger.consistency(old, new)?;
        path.ok_or_else(|| refuse(Code::NotFound, detail))
    }

    /// Returns a blob of the log, for callers with the scope `read` for all steps. A caller who may see a step of the
    /// seal in force also gets the files of this step.
    ///
    /// # Errors
    /// Returns `forbidden` if the caller may not read, and `not-found` if the log names no such blob.
    pub fn blob(&self, caller: &Caller, digest: &BlobDigest) -> RequestResult<Vec<u8>> {
        match caller.demand_read_of_all(IN_LOG) {
            Err(_) if self.has_file(caller, digest) => {}
            answer => answer?,
        }
        let blob = self.ledger.blob(digest)?;
        blob.ok_or_else(|| refuse(Code::NotFound, format!("there is no blob {digest}")))
    }

    /// Returns true if a step that the caller may see has a file with this digest.
    pub fn has_file(&self, caller: &Caller, digest: &BlobDigest) -> bool {
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
