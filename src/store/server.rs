//! The settings of a database server, and the nodes that use it.

use std::path::PathBuf;

use crate::store::fault::StoreFault;
use documents::record::ident::Name;

/// Name of the file with the nodes that a node has seen, in the private directory of the node: one line for each node, with
/// its name and its key.
pub const KNOWN_NODES: &str = "nodes";

/// Returns the reason why this node can't be active with its key, or `None`.
pub type KeyWaits<'a> = dyn FnMut() -> Result<Option<String>, StoreFault> + 'a;

/// What keeps a committed batch after the loss of the database server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Replicas {
    /// Nothing: the batch is on the disk of one server.
    #[default]
    None,
    /// A commit waits for a synchronous replica.
    Synchronous,
    /// The storage below the server has copies. The program cannot check this statement of the operator.
    Storage,
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

/// A service of a boundary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeState {
    /// Name of the node.
    pub name: Name,
    /// Fingerprint of the node's key.
    pub keyid: String,
    /// Version of its program.
    pub version: String,
    /// Seconds since its last beat. A working node beats every five seconds.
    pub beat_age_s: i64,
    /// True if an operator said that the node will never come back.
    pub lost: bool,
    /// True if the node took over last.
    pub active: bool,
    /// Number of its runs without a receipt.
    pub open_runs: u64,
}

/// Result of a move of the log of an SQLite store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MoveEnd {
    /// The log has this number of entries, and the database can be served now.
    Moved(u64),
    /// An earlier call has finished the move.
    WasFinished,
}
