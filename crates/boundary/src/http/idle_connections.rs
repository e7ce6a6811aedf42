//! The connections without a request in progress. If all places are taken, a new connection takes the place of the one that
//! is idle for the longest time, so that a client that opens connections and sends nothing keeps nobody out.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use documents::locked;
use tokio::sync::Notify;

/// The number of a connection with a request in progress.
const BUSY: u64 = u64::MAX;

/// The idle connections of a listener, by the order in which they became idle.
#[derive(Debug, Default)]
pub(super) struct IdleConnections {
    next: AtomicU64,
    idle: Mutex<BTreeMap<u64, Arc<Notify>>>,
}

/// A connection. It is idle at first.
#[derive(Debug)]
pub(super) struct Connection {
    all: Arc<IdleConnections>,
    /// Number in the list while the connection is idle, otherwise `BUSY`.
    number: AtomicU64,
    end: Arc<Notify>,
}

impl IdleConnections {
    /// Adds a connection.
    pub(super) fn add(self: &Arc<Self>) -> Arc<Connection> {
        let added = Arc::new(Connection {
            all: self.clone(),
            number: AtomicU64::new(0),
            end: Arc::new(Notify::new()),
        });
        added.is_idle();
        added
    }

    /// Ends the connection that is idle for the longest time. Returns false if no connection is idle.
    pub(super) fn end_first(&self) -> bool {
        let first = locked(&self.idle).pop_first();
        first.inspect(|(_, end)| end.notify_one()).is_some()
    }
}

impl Connection {
    /// Notes that the last answer was sent.
    pub(super) fn is_idle(&self) {
        let number = self.all.next.fetch_add(1, Ordering::Relaxed);
        self.number.store(number, Ordering::Relaxed);
        locked(&self.all.idle).insert(number, self.end.clone());
    }

    /// Notes that a request arrived.
    pub(super) fn works(&self) {
        locked(&self.all.idle).remove(&self.number.swap(BUSY, Ordering::Relaxed));
    }

    /// Completes if the connection must give its place to another one.
    pub(super) async fn ended(&self) {
        loop {
            self.end.notified().await;
            // A request that arrived since the choice is answered first.
            if self.number.load(Ordering::Relaxed) != BUSY {
                return;
            }
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.works();
    }
}
