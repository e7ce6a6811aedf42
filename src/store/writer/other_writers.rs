//! Takes over what other writers of the same database committed.

use crate::store::batch::OtherWrites;
use crate::store::fault::StoreFault;
use crate::store::open_proposals::OpenProposals;
use crate::store::stored_revocation::read_revocations;
use crate::store::writer::Writer;

impl Writer {
    /// Takes over what other writers committed. Readers see it after the next commit of this writer, because a server that
    /// restarted can show a batch that its replicas do not have. A later commit shows that the batch is durable.
    pub(super) fn follow(&mut self, others: OtherWrites) -> Result<OpenProposals, StoreFault> {
        // These reads come first, because a failed read must leave the state as it was.
        let reads = &*self.shared.reads;
        let read = OpenProposals::read(reads).and_then(|open| Ok((open, read_revocations(reads)?)));
        let (open, revoked) = read.inspect_err(|_| self.store.rollback())?;
        // The other writer has stored the complete tiles.
        let mut stored = Vec::new();
        others.hashes.iter().for_each(|hash| self.edge.append(*hash, &mut stored));
        self.head = others.head;
        self.revoked = revoked;
        self.take_held();
        Ok(open)
    }

    /// Takes the exclusive locks and the open emergencies out of the state of the store.
    pub(super) fn take_held(&mut self) {
        self.exclusive = self.head.exclusive.drain(..).collect();
        self.emergencies = self.head.emergencies.drain(..).collect();
    }
}
