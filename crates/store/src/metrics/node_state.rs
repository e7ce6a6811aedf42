//! The nodes of a boundary, as the database and the metrics show them.

use documents::{Name, Timestamp};
use serde::Serialize;

/// A service of a boundary.
#[derive(Clone, Serialize)]
pub struct NodeState {
    /// Name of the node.
    pub name: Name,
    /// Fingerprint of the node's key.
    #[serde(rename = "key")]
    pub keyid: String,
    /// Version of the node's program.
    pub version: String,
    /// Seconds since the node's last beat. A working node beats every five seconds.
    pub beat_age_s: i64,
    /// True if an operator said that the node will never come back.
    pub lost: bool,
    /// True if the node took over last.
    pub active: bool,
    /// Number of the node's runs without a receipt.
    pub open_runs: u64,
}

impl NodeState {
    /// Seconds without a beat after which a node counts as silent.
    pub const SILENT_S: i64 = 15;

    /// Returns a text about the last beat of the node. After a database went back to an earlier time, it may contain no
    /// beat of a node that another node has seen.
    pub fn last_sign(&self) -> String {
        if self.version.is_empty() {
            "no sign in this database".to_owned()
        } else {
            format!("last sign {} s ago", self.beat_age_s)
        }
    }

    /// Returns `active`, `standby`, `silent` or `lost`.
    pub fn word(&self) -> &'static str {
        match (self.lost, self.is_silent(), self.active) {
            (true, ..) => "lost",
            (_, true, _) => "silent",
            (.., true) => "active",
            _ => "standby",
        }
    }

    /// Returns true if the last beat of the node is too old, and no operator said that the node is lost.
    pub fn is_silent(&self) -> bool {
        !self.lost && self.beat_age_s >= Self::SILENT_S
    }
}

/// The nodes of a boundary at one time.
#[derive(Clone)]
pub struct NodesReport {
    /// All nodes by name.
    pub nodes: Vec<NodeState>,
    /// Number of takeovers so far.
    pub term: u64,
    /// The clock of the server.
    pub clock: Timestamp,
    /// One text for each server process that seems to hang and stops all nodes. The text names the node and the remedy.
    pub hanging: Vec<String>,
}
