//! The settings of a database server, the nodes that use the server, and a pool of connections that several threads
//! share.

use std::{
    path::PathBuf,
    sync::{Condvar, Mutex, PoisonError},
};

use crate::StoreResult;
use documents::{Name, locked};

/// Name of the file with the nodes that a node has seen, in the private directory of the node: one line for each node, with
/// its name and its key.
pub const KNOWN_NODES: &str = "nodes";

/// The reason why a node can't be active with its key.
pub struct KeyWait {
    /// The reason, for people.
    pub why: String,
    /// False if the roster in force lacks the key.
    pub is_in_force: bool,
}

/// Returns the reason why this node can't be active with its key, or `None`.
pub type KeyWaits<'a> = dyn FnMut() -> StoreResult<Option<KeyWait>> + 'a;

documents::words! {
    /// What keeps a committed batch after the loss of the database server.
    #[derive(Default)]
    pub enum Replicas {
        /// Nothing: the batch is on the disk of one server.
        #[default]
        None = "none",
        /// A commit waits for a synchronous replica.
        Synchronous = "synchronous",
        /// The storage below the server has copies. The program cannot check this statement of the operator.
        Storage = "storage",
    }
}

/// The table `[postgres]` of the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerTable {
    /// Name of this node.
    pub node: Name,
    /// File with the password.
    pub password_file: Option<PathBuf>,
    /// PEM file with the certificate authorities of the server, in place of the authorities of the system.
    pub ca: Option<PathBuf>,
    /// PEM file with the client certificate.
    pub certificate: Option<PathBuf>,
    /// PEM file with the private key of the client certificate.
    pub key: Option<PathBuf>,
    /// What keeps a committed batch after the loss of the server.
    pub replicas: Replicas,
}

/// What the active node knows about its role.
#[derive(PartialEq)]
pub enum RoleState {
    /// This node has the role.
    Held,
    /// This node can't confirm the role, for example because the checkpoints of all nodes must be compared. No run starts.
    /// The text names the reason, for the operator.
    Unconfirmed(String),
    /// Another node has taken over.
    Lost,
}

/// Returns the present state of the role.
pub type ReadRole = Box<dyn Fn() -> RoleState + Send + Sync>;

/// Result of an attempt to become the active node.
pub enum Turn<R> {
    /// This node is active, and has this role.
    Active(R),
    /// This node waits. The text names the reason, for the operator.
    Waits(String),
}

/// Result of a move of the log of an SQLite store.
pub enum MoveEnd {
    /// The log has this number of entries, and services can use the database now.
    Moved(u64),
    /// An earlier call has finished the move.
    WasFinished,
}

/// Idle connections, and the number of places that are in use or idle.
pub struct IdlePool<C> {
    most: usize,
    idle: Mutex<(Vec<C>, usize)>,
    returned: Condvar,
}

impl<C> IdlePool<C> {
    /// Makes a pool with at most `most` places.
    pub const fn new(most: usize) -> Self {
        Self {
            most,
            idle: Mutex::new((Vec::new(), 0)),
            returned: Condvar::new(),
        }
    }

    /// Returns a place with an idle connection if there is one. Otherwise, the caller may open a connection for the
    /// place. The call waits while all places are taken.
    pub fn place(&self) -> PlaceInPool<'_, C> {
        let mut idle = locked(&self.idle);
        loop {
            let connection = idle.0.pop();
            if connection.is_none() && idle.1 == self.most {
                idle = self
                    .returned
                    .wait(idle)
                    .unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            idle.1 += usize::from(connection.is_none());
            return PlaceInPool {
                pool: self,
                connection,
            };
        }
    }
}

/// The place of one caller in the pool. The end of the value returns the connection to the pool, also after a panic.
pub struct PlaceInPool<'p, C> {
    pool: &'p IdlePool<C>,
    pub connection: Option<C>,
}

impl<C> Drop for PlaceInPool<'_, C> {
    fn drop(&mut self) {
        let mut idle = locked(&self.pool.idle);
        match self.connection.take() {
            Some(connection) => idle.0.push(connection),
            None => idle.1 -= 1,
        }
        self.pool.returned.notify_one();
    }
}
