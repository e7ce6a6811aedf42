//! Writes of revocations.

use std::sync::Arc;

use crate::{
    Batch, EntryEvent, EventWrite, RevocationResult, RevocationWrite, StoreFault, StoredRevocation,
    TokenChange, WriteStop, Writer, change_tokens,
};
use documents::{LeafKind, RevokedSubject};

impl Writer {
    /// Appends a revocation, unless the log has one of the same subject. A second one would change nothing, and anybody
    /// who may sign one could fill the log.
    pub(super) fn revoke(
        &mut self,
        batch: &mut Batch<'_>,
        write: &RevocationWrite,
    ) -> Result<Result<RevocationResult, WriteStop>, StoreFault> {
        if self.head.seal.is_none() {
            return Ok(Err(WriteStop::NoSeal));
        }
        if let Some(known) = self
            .revoked
            .iter()
            .find(|known| known.subject == write.subject)
        {
            return Ok(Ok(RevocationResult {
                leaf: known.leaf,
                existing: true,
            }));
        }
        // A seal or a revocation can end the signer's right.
        if write.checked != self.checked() {
            return Ok(Err(WriteStop::Moved));
        }
        if let Err(stop) = self.check_leaf(&write.envelope, None) {
            return Ok(Err(stop));
        }
        if let Some(name) = write.token.clone() {
            // The token ends also in a new log, which a restore begins without this entry. A token that the host revoked
            // before stays as it is.
            batch.stepped = true;
            let revoke = TokenChange::Revoke { name, at: write.at };
            let _ = change_tokens(self.store.batch()?, &[revoke])?;
        }
        let leaf = self
            .append(batch, LeafKind::Revocation, write.envelope.clone())
            .index;
        let is_freeze = matches!(write.subject, RevokedSubject::Epoch(_));
        let event = if is_freeze {
            EntryEvent::Frozen
        } else {
            EntryEvent::Revocation
        };
        batch.event(write.at, EventWrite::Entry(event, leaf));
        Arc::make_mut(&mut self.revoked).push(StoredRevocation {
            subject: write.subject,
            leaf,
        });
        // A verdict with the earlier state version is repeated, and then meets the revocation.
        self.head.version += 1;
        Ok(Ok(RevocationResult {
            leaf,
            existing: false,
        }))
    }
}
