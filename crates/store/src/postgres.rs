//! The store in a PostgreSQL database.
//!
//! A batch takes two round trips. The first round trip begins the transaction, takes a lock, and reads all that the
//! writer needs for its decisions. The second round trip writes all rows and commits. Unique keys exclude a second
//! writer: two batches cannot have the same number, the same leaf or the same nonce. The lock only avoids batches that
//! would fail.

#[macro_use]
pub(crate) mod link;

pub(crate) mod durability;
pub mod export;
pub mod import;
mod known_nodes;
pub mod nodes;
pub mod objects;
pub(crate) mod pool;
pub(crate) mod questions;
pub mod reads;
pub mod role;
pub mod schema;
pub(crate) mod server_identity;
pub mod settings;
mod statements;
#[cfg(test)]
pub mod tests;
mod writer_link;
pub(crate) mod writes;

use std::sync::atomic::Ordering;

use crate::{
    Answers, BatchRow, Commit, Link, OpenBatch, OtherWrites, Questions, Replicas, ServerRole,
    ServerSettings, Store, StoreFault, StoreHead, StoreReads, StoreResult, Writes, batch_id,
    postgres::{
        questions::{Begun, LastBatch},
        settings::unreachable,
        writer_link::{LOCK_ATTEMPTS, UnknownBatch, WriterLink},
    },
};
use documents::locked;

/// The connection that writes.
pub struct PostgresStore {
    settings: ServerSettings,
    /// The connection, unless it was lost.
    writer: Option<WriterLink>,
    /// The last batch that this store wrote or read. If the database has another last batch, another writer has
    /// committed.
    seen: LastBatch,
    /// The last batch that was read at the beginning of the current batch.
    last: LastBatch,
    /// True if the connection is new, and the writer has not read the state with this connection yet.
    is_new: bool,
    /// Number of changes of the server when the connection was made.
    changes: u64,
    /// The role of the active node. A test can open a store without a role.
    role: Option<ServerRole>,
    /// The term in which this node became active.
    term: i64,
    unknown: Option<UnknownBatch>,
    /// Id of the last durable batch of this writer, which stays while other writers commit.
    own: Option<Vec<u8>>,
    /// True if another node has taken over. This node may then only write the receipts of its own runs.
    only_receipts: bool,
    /// True between `begin` and the end of the batch.
    in_batch: bool,
}

/// Opens the store. The schema must exist, and is not changed.
///
/// # Errors
/// Returns a fault if the database cannot be reached, or if its server, its schema or its rows are not as they must be.
pub fn open(
    settings: ServerSettings,
    role: Option<ServerRole>,
) -> StoreResult<(PostgresStore, StoreReads)> {
    let reads = reads::readers(settings.clone());
    let mut store = PostgresStore {
        settings,
        writer: None,
        is_new: false,
        changes: 0,
        seen: LastBatch::default(),
        last: LastBatch::default(),
        term: 0,
        role,
        unknown: None,
        own: None,
        only_receipts: false,
        in_batch: false,
    };
    store.writer = Some(store.connect(true)?);
    store.head()?;
    store.term = store
        .role
        .as_ref()
        .map_or(store.seen.term, |role| role.watch.term);
    Ok((store, reads))
}

impl PostgresStore {
    /// Connects, with all checks. If this is not the first connection, no consumption is possible before the kept heads
    /// are compared and the writer has read the state of the boundary again.
    fn connect(&mut self, is_first: bool) -> StoreResult<WriterLink> {
        let before = self.server_changes();
        let writer = WriterLink::open(&self.settings)?;
        self.changes = before;
        if let Some(role) = &self.role {
            let server = server_identity::server_of(&writer.link)?;
            self.changes += role.watch.see(&server, is_first);
            *locked(&self.settings.server) = server;
        }
        self.is_new = !is_first;
        Ok(writer)
    }

    /// Returns the connection, and opens it again if it was lost. Within a batch a new connection would be outside of the
    /// transaction and without the lock, so that each statement of the batch would be committed alone.
    fn writer(&mut self) -> StoreResult<&WriterLink> {
        if self.in_batch {
            self.link()?;
        } else if self
            .writer
            .as_ref()
            .is_none_or(|writer| writer.link.is_lost())
        {
            self.writer = None;
            self.writer = Some(self.connect(false)?);
        }
        self.writer
            .as_ref()
            .ok_or_else(|| unreachable("writing", "there is no connection"))
    }

    /// Returns the connection of the current batch.
    fn link(&self) -> StoreResult<&Link> {
        let writer = self.writer.as_ref().filter(|writer| !writer.link.is_lost());
        writer
            .map(|writer| &writer.link)
            .ok_or_else(|| unreachable("writing a batch", "the connection was lost"))
    }

    /// Sends the first flight until this writer has the lock. If another holder of the lock is frozen for 5 s, its
    /// connection is ended.
    fn begun(&mut self, size: u64, questions: &Questions<'_>) -> StoreResult<Begun> {
        let mut attempt = 0;
        loop {
            let writer = self.writer()?;
            let fault = match questions::begin(&writer.link, writer.key, size, questions) {
                Ok(begun) => {
                    self.in_batch = true;
                    return Ok(begun);
                }
                Err(fault) => fault,
            };
            attempt += 1;
            self.in_batch = true;
            self.rollback();
            if !matches!(fault, StoreFault::Unreachable { .. }) || attempt == LOCK_ATTEMPTS {
                return Err(fault);
            }
            // The connection was lost while it was idle, or another writer held the lock for too long.
            if let Some(writer) = &self.writer {
                writer.end_frozen()?;
            }
        }
    }
}

const TAKEN_OVER: &str = "another node has taken over this boundary";

/// Returns true if the batch contains only receipts of runs and checkpoints.
fn is_receipts(writes: &Writes<'_>) -> bool {
    writes.leaves.len() == writes.ends.len()
        && writes.starts.is_empty()
        && writes.steps.is_empty()
        && writes.proposals.is_empty()
        && writes.signatures.is_empty()
        && writes.head.is_none()
}

impl Store for PostgresStore {
    fn head(&mut self) -> StoreResult<StoreHead> {
        let (head, last) = questions::read_head(&self.writer()?.link)?;
        self.seen = last;
        Ok(head)
    }

    fn connection(&mut self) -> StoreResult<&dyn OpenBatch> {
        Ok(&self.writer()?.link)
    }

    fn begin(&mut self, size: u64, questions: &Questions<'_>) -> StoreResult<Answers> {
        const DURING: &str = "beginning a batch";
        if self.unknown.is_some() {
            return Err(unreachable(
                DURING,
                "the result of the batch before is not known yet",
            ));
        }
        // After an error, the caller may have left a batch open.
        self.rollback();
        // If the connection that holds the role is new, it may lead to another server.
        if self.server_changes() != self.changes {
            self.writer = None;
        }
        let begun = self.begun(size, questions)?;
        if begun.head.size < size && !self.is_new {
            self.rollback();
            return Err(StoreFault::broken(
                DURING,
                format!(
                    "the database has {} log entries, but this service has written {size}: somebody restored or changed \
                     the database",
                    begun.head.size
                ),
            ));
        }
        let compared = self
            .role
            .as_ref()
            .is_none_or(|role| role.watch.compared.load(Ordering::SeqCst));
        self.only_receipts = begun.last.term != self.term;
        let asks_more = !questions.runs.is_empty()
            || !questions.new.is_empty()
            || !questions.denials.is_empty();
        let stop = if self.only_receipts
            && (asks_more || !questions.signed.is_empty() || questions.proposals.is_empty())
        {
            Some(TAKEN_OVER)
        } else if self.settings.replicas == Replicas::Synchronous && !begun.last.has_replicas {
            Some(
                "`synchronous_standby_names` of the server is empty, but `replicas` in [postgres] is \"synchronous\", so \
                 name the replicas there again, or change `replicas` and start this service again",
            )
        } else {
            None
        };
        if let Some(stop) = stop {
            self.rollback();
            return Err(unreachable(DURING, stop));
        }
        let no_runs = if compared {
            begun.last.lost.as_ref().map(|node| {
                format!(
                    "the node {node} is lost, and its newest checkpoint was not compared with the database after a change of \
                     the server, so entries after entry {} of {} may be missing. Look at tokens, denials and seals, and then \
                     run `countersign node lost {node}` on this host, which begins a new epoch",
                    begun.head.size.saturating_sub(1),
                    begun.head.last_at
                )
            })
        } else {
            Some("the database server restarted or the connection was lost, so the newest checkpoints of all nodes are compared first".to_owned())
        };
        let others =
            (begun.last.id != self.seen.id || begun.head.size != size).then_some(OtherWrites {
                head: begun.head,
                hashes: begun.hashes,
            });
        self.last = begun.last;
        Ok(Answers {
            is_new: std::mem::take(&mut self.is_new),
            others,
            // Only a node with a role compares its clock with the server. A test without a role has a clock of its own.
            no_runs,
            server_clock: self.role.as_ref().map(|_| begun.server_clock),
            ..begun.answers
        })
    }

    fn commit(&mut self, writes: &Writes<'_>) -> Commit {
        let (Ok(id), Some(writer)) = (batch_id(), &self.writer) else {
            return Commit::NotDone(unreachable("writing a batch", "the connection was lost"));
        };
        if self.only_receipts && !is_receipts(writes) {
            self.rollback();
            return Commit::NotDone(unreachable("writing a batch", TAKEN_OVER));
        }
        let number = self.last.number + 1;
        let batch = BatchRow {
            number,
            term: self.term,
            node: self.settings.node.to_string(),
            id,
        };
        let result = writes::commit(&writer.link, writes, &batch);
        match result {
            Commit::Done(_) => {
                self.in_batch = false;
                self.own = Some(batch.id.clone());
                self.seen = LastBatch {
                    number,
                    id: Some(batch.id),
                    ..LastBatch::default()
                };
            }
            Commit::Unknown => {
                self.in_batch = false;
                self.unknown = Some(UnknownBatch {
                    id: batch.id,
                    term: self.term,
                    session: writer.session.clone(),
                });
                // After an unclear answer, this connection cannot be used any more.
                self.writer = None;
            }
            Commit::NotDone(_) => self.rollback(),
        }
        result
    }

    fn rollback(&mut self) {
        if !std::mem::take(&mut self.in_batch) {
            return;
        }
        let undone = self
            .link()
            .and_then(|link| link.script("undoing a batch", "ROLLBACK"));
        if undone.is_err() {
            self.writer = None;
        }
    }

    fn settle(&mut self) -> StoreResult<bool> {
        let Some(unknown) = self.unknown.clone() else {
            return Err(StoreFault::broken(
                "finding out whether a batch is stored",
                "no batch is unknown",
            ));
        };
        let node = self.settings.node.to_string();
        // Each attempt has a new connection, because an attempt can itself end without a clear answer.
        self.writer = None;
        let writer = self.connect(false)?;
        let settled = writer.settle(&unknown, &node, batch_id()?)?;
        let own = if settled.durable {
            Some(&unknown.id)
        } else {
            self.seen.id.as_ref()
        };
        // If another writer committed in between, `begin` must report its rows.
        let others = settled.before.as_ref() != own;
        let id = if others { None } else { Some(settled.last.1) };
        self.seen = LastBatch {
            number: settled.last.0,
            id,
            ..LastBatch::default()
        };
        self.unknown = None;
        self.writer = Some(writer);
        if settled.durable {
            self.own = Some(unknown.id);
        }
        Ok(settled.durable)
    }

    fn doubt(&mut self) {
        if let Some(id) = self.own.clone() {
            let session = self
                .writer
                .as_ref()
                .map(|writer| writer.session.clone())
                .unwrap_or_default();
            self.unknown = Some(UnknownBatch {
                id,
                term: self.term,
                session,
            });
        }
    }

    fn batch(&mut self) -> StoreResult<&dyn OpenBatch> {
        if self.only_receipts {
            return Err(unreachable("writing a batch", TAKEN_OVER));
        }
        Ok(self.link()?)
    }

    fn is_stale(&self) -> bool {
        self.is_new
            || self.server_changes() != self.changes
            || self
                .writer
                .as_ref()
                .is_none_or(|writer| writer.link.is_lost())
    }

    fn decided_at(&self) -> u64 {
        self.changes
    }

    fn server_changes(&self) -> u64 {
        self.role
            .as_ref()
            .map_or(0, |role| role.watch.changes.load(Ordering::SeqCst))
    }
}
