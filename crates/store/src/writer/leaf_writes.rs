//! Appends leaves to the log: seals, refusals, and the leaves that the other writes make. Also notes ID tokens.

use std::sync::Arc;

use crate::{
    Batch, CheckedState, EntryEvent, EventFact, IdTokenUse, LeafRef, LeafRow, SealWrite,
    StoreResult, WriteStop, Writer, change_tokens, rare_changes::admit,
};
use documents::{Hash, LeafHash, LeafKind, MAX_ENTRY_BYTES, Timestamp, merkle};

impl Writer {
    pub fn seal<'m>(
        &mut self,
        batch: &mut Batch<'m>,
        write: &'m SealWrite,
    ) -> Result<LeafRef, WriteStop> {
        // A revocation can end the validity of a roster that this seal puts in force.
        self.check_unmoved(write.checked)?;
        self.check_leaf(&write.envelope, Some(write.at))?;
        if !write.tokens.is_empty() {
            batch.stepped = true;
            if let Some(name) = change_tokens(self.store.batch()?, &write.tokens)? {
                return Err(WriteStop::Token(name));
            }
        }
        self.head.last_at = write.at;
        let leaf = self.append(batch, LeafKind::Seal, &write.envelope[..]);
        batch.writes.seals.push((leaf.index, write.digest));
        let event = if write.thaws {
            EntryEvent::Thawed
        } else {
            EntryEvent::Seal
        };
        batch.event(write.at, EventFact::Entry(event, leaf.index));
        batch.writes.new_epoch |= write.new_epoch;
        batch.writes.blobs.extend(&write.blobs);
        if self.head.boundary.is_none() {
            // The first seal creates the boundary, and the digest of this seal becomes the boundary's id. The low-water
            // mark starts at the time of the first seal.
            self.head.boundary = Some(write.digest);
            self.anchor = (self.head.mark.max(write.at), (self.config.boottime)());
        }
        self.head.seal = Some(write.digest);
        self.head.version += 1;
        Ok(leaf)
    }

    /// Notes that an ID token was used. Returns false if the ID token was used before, or if its end is not later than the
    /// low-water mark, because a note about such an ID token can be deleted.
    pub fn admit(&mut self, batch: &mut Batch<'_>, used: &IdTokenUse) -> StoreResult<bool> {
        batch.stepped = true;
        Ok(used.expires_at > self.head.mark && admit(self.store.batch()?, used, self.head.mark)?)
    }

    pub fn refuse(
        &mut self,
        batch: &mut Batch<'_>,
        data: &Arc<[u8]>,
        at: Timestamp,
    ) -> Result<LeafRef, WriteStop> {
        self.check_sealed()?;
        self.check_leaf(data, Some(at))?;
        self.head.last_at = at;
        Ok(self.append(batch, LeafKind::Refusal, data.clone()))
    }

    pub fn check_sealed(&self) -> Result<(), WriteStop> {
        self.head.seal.map(drop).ok_or(WriteStop::NoSeal)
    }

    /// Checks that the state with which a document was checked is still in force.
    pub fn check_unmoved(&self, checked: CheckedState) -> Result<(), WriteStop> {
        if (checked.seal, checked.revocations) == (self.head.seal, self.revoked.len()) {
            Ok(())
        } else {
            Err(WriteStop::Moved)
        }
    }

    /// Checks the size and the date of a leaf. After a leap of the clock, a later date than that of the last leaf is
    /// refused.
    pub fn check_leaf(&self, data: &[u8], at: Option<Timestamp>) -> Result<(), WriteStop> {
        if data.len() > MAX_ENTRY_BYTES {
            return Err(WriteStop::TooLarge { bytes: data.len() });
        }
        if at.is_some_and(|at| at < self.head.last_at) {
            return Err(WriteStop::BackDated {
                last: self.head.last_at,
            });
        }
        if let Some(seconds) = at
            .filter(|at| *at > self.head.last_at)
            .and_then(|at| self.shared.clock_ahead(at))
        {
            return Err(WriteStop::ClockAhead { seconds });
        }
        Ok(())
    }

    pub fn append(
        &mut self,
        batch: &mut Batch<'_>,
        kind: LeafKind,
        data: impl Into<Arc<[u8]>>,
    ) -> LeafRef {
        let data = data.into();
        let hash = merkle::leaf_hash(&data);
        self.append_hashed(batch, kind, data, hash)
    }

    pub fn append_hashed(
        &mut self,
        batch: &mut Batch<'_>,
        kind: LeafKind,
        data: Arc<[u8]>,
        hash: Hash,
    ) -> LeafRef {
        self.edge.append(hash, &mut batch.writes.tiles);
        let index = self.head.size;
        self.head.size += 1;
        batch.writes.leaves.push(LeafRow {
            kind,
            at: self.head.last_at,
            hash,
            data,
        });
        LeafRef {
            index,
            hash: LeafHash::from_bytes(hash),
        }
    }
}
