//! Recorded outputs, for callers who may read them.

use std::ops::Range;

use crate::{Caller, Evidence, evidence::RUNS_OF_OUTPUT, manifest_of, proposals::span};
use crossing::{Refusal, Stopped, fault, receipt_of};
use documents::{Blake3Digest, Code};
use store::{Ledger, Proposal};

impl Evidence {
    /// Returns the length of a recorded output in bytes.
    ///
    /// # Errors
    /// Returns `not-found` if the output does not exist, or if the caller may see no run that recorded the output. The
    /// refusal has the case `Gone` if the output is no longer stored.
    pub fn output_size(&self, caller: &Caller, digest: &Blake3Digest) -> Result<u64, Stopped> {
        Ok(self.output_in(caller, digest)?.1)
    }

    /// Returns the length of an output and the log that contains a run with this output.
    pub(super) fn output_in(
        &self,
        caller: &Caller,
        digest: &Blake3Digest,
    ) -> Result<(&Ledger, u64), Stopped> {
        let _ = caller.demand_name()?;
        let mut gone = None;
        for ledger in std::iter::once(&self.ledger).chain(&self.closed) {
            let mut before = None;
            loop {
                let runs =
                    ledger
                        .reads()
                        .runs_with_output(digest, before.as_ref(), RUNS_OF_OUTPUT)?;
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
            None => Err(Refusal::new(
                Code::NotFound,
                format!(
                    "there is no output {digest}, or this caller has no access \
                     to the output"
                ),
            )
            .into()),
        }
    }

    /// Returns the refusal for an output that is no longer stored. The refusal contains the facts about the output that
    /// the receipt states.
    pub(super) fn gone_output(
        &self,
        ledger: &Ledger,
        row: &Proposal,
        digest: &Blake3Digest,
    ) -> Result<Refusal, Stopped> {
        let id = row.core.id.receipt();
        let receipt = receipt_of(ledger, row)?;
        let receipt = receipt
            .ok_or_else(|| fault(&format!("the run of the output {digest} has no receipt")))?;
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
                    fault(&format!(
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
    ) -> Result<Vec<u8>, Stopped> {
        let (ledger, _) = self.output_in(caller, digest)?;
        let wanted = range.end.saturating_sub(range.start);
        let bytes = ledger.output(digest, range)?.unwrap_or_default();
        if bytes.len() as u64 == wanted {
            Ok(bytes)
        } else {
            Err(fault(&format!("the stored output {digest} is too short")))
        }
    }
}
