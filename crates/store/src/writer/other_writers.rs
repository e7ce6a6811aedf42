//! Takes over what other writers of the same database committed, and the state of a database with a new connection.

use std::time::{Duration, Instant};

use crate::{
    Answers, OpenProposals, OtherWrites, Questions, StoreFault, StoreResult, Subtrees, TreeEdge,
    Writer, WriterMessage, answer_idle, batch_questions::check_seal, check_state, read_revocations,
    tree::TileCache, waits,
};
use documents::locked;

/// Time for which callers wait for the result of a commit that the database did not confirm. After this time, the
/// callers get a fault, and the writer continues to ask the database.
const UNKNOWN_WAIT: Duration = Duration::from_secs(60);
/// Pause between two questions to the database about a commit that it did not confirm.
const UNKNOWN_PAUSE: Duration = Duration::from_millis(200);

impl Writer {
    /// Begins a batch. If the store has a new connection, reads the state again first, and returns the open proposals.
    pub fn begin(
        &mut self,
        asked: &Questions<'_>,
    ) -> StoreResult<(Answers, Option<OpenProposals>)> {
        let mut renewed = None;
        loop {
            if self.is_stale {
                renewed = Some(self.read_anew()?);
            }
            let answers = self
                .store
                .begin(self.head.size, asked)
                .inspect_err(|_| self.store.rollback())?;
            self.is_stale = answers.is_new;
            if !self.is_stale {
                return Ok((answers, renewed));
            }
            self.store.rollback();
        }
    }

    /// Takes over what other writers committed. Readers see these changes after the next commit of this writer, because
    /// a server that restarted can show a batch that its replicas do not have. A later commit shows that the batch is
    /// durable.
    pub fn follow(&mut self, others: OtherWrites) -> StoreResult<OpenProposals> {
        // These reads come first, because a failed read must leave the state as it was.
        let reads = &*self.shared.reads;
        let read = OpenProposals::read(reads).and_then(|open| Ok((open, read_revocations(reads)?)));
        let (open, revoked) = read.inspect_err(|_| self.store.rollback())?;
        check_seal(reads, &others.head)?;
        // The tiles that become complete here are dropped, because the other writer has already stored them.
        let mut stored = Vec::new();
        others
            .hashes
            .iter()
            .for_each(|hash| self.edge.append(*hash, &mut stored));
        self.head = others.head;
        self.revoked = revoked;
        self.take_held();
        Ok(open)
    }

    /// Reads the state of the boundary as a start does, because the store has a new connection. The earlier state only
    /// serves a comparison: the log must still contain each entry that this writer knows. Readers see the new state
    /// after the next commit, as in [`Self::follow`].
    pub fn read_anew(&mut self) -> StoreResult<OpenProposals> {
        const DURING: &str = "reading the state of the boundary again";
        let head = self.store.head()?;
        if head.size < self.head.size {
            return Err(waits(format!(
                "the database has {} log entries, but this service has written {}: the database went back to an earlier time. \
                 Put the newest state of the database back",
                head.size, self.head.size
            )));
        }
        let edge = TreeEdge::load(&mut *self.store, head.size)?;
        let (reads, tiles) = (&*self.shared.reads, TileCache::default());
        let tree = Subtrees::new(&edge, reads, &tiles);
        // The root of the earlier tree needs only hashes that are in memory.
        let known = self.edge.size();
        let earlier = Subtrees::new(&self.edge, reads, &tiles);
        if known > 0 && tree.root_at(known)? != earlier.root_at(known)? {
            return Err(StoreFault::broken(
                DURING,
                format!("the first {known} log entries have changed, which forks the log"),
            ));
        }
        let revoked = read_revocations(reads)?;
        let closed = check_state(&head, &tree, reads, &revoked)?;
        let open = OpenProposals::read(reads)?;
        open.check(reads)?;
        self.closed = closed;
        self.edge = edge;
        self.head = head;
        self.revoked = revoked;
        // Drop the cached tokens without a secret, so that the next reader reads them again.
        *locked(&self.shared.tokens) = None;
        self.take_held();
        Ok(open)
    }

    /// Pauses before the next attempt to reach the server. Callers get the fault after [`UNKNOWN_WAIT`].
    pub fn wait_for_server(
        &mut self,
        messages: &[WriterMessage],
        since: Instant,
        fault: &StoreFault,
    ) {
        while let Ok(message) = self.inbox.try_recv() {
            match message {
                WriterMessage::Ping(_) => answer_idle(&message, Ok(())),
                _ => self.held.push(message),
            }
        }
        if since.elapsed() >= UNKNOWN_WAIT {
            let (closes, others): (Vec<_>, Vec<_>) = self
                .held
                .drain(..)
                .partition(|message| matches!(message, WriterMessage::Close(_)));
            self.held = closes;
            messages
                .iter()
                .chain(&others)
                .for_each(|message| message.send(Some(fault)));
        }
        std::thread::sleep(UNKNOWN_PAUSE);
    }

    /// Takes the exclusive locks and the open emergencies out of the state of the store.
    pub fn take_held(&mut self) {
        self.exclusive = self.head.exclusive.drain(..).collect();
        self.emergencies = self.head.emergencies.drain(..).collect();
    }
}
