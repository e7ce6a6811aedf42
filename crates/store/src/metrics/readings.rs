//! Values that the service reads from its state at each scrape.

use documents::{Code, Layer};

/// Values of all gauges at one scrape.
#[derive(Debug, Clone, Default)]
pub struct Readings {
    /// Number of runs whose nonce is spent and whose receipt is not durable yet.
    pub runs_active: u64,
    /// Number of approved runs that can't start, by the code of the reason.
    pub runs_held_up: Vec<(Code, u64)>,
    /// Number of proposals that wait for signatures.
    pub pending: u64,
    /// Number of proposals that have enough signatures and wait to run.
    pub approved: u64,
    /// Time since the approval of the oldest proposal that waits to run, in seconds, or 0 if no proposal waits to run.
    pub oldest_approved_s: i64,
    /// Number of entries of the log.
    pub log_entries: u64,
    /// Size of the database files, or `None` if the size can't be read.
    pub store_bytes: Option<u64>,
    /// Free space on the disk of `data`, or `None` if the free space can't be read.
    pub store_free_bytes: Option<u64>,
    /// Bytes by which store, outputs and uploads grow each day, or `None` if no growth was measured.
    pub growth_bytes_per_day: Option<u64>,
    /// Days for which the disk of `data` has space at this growth, or `None` if this is unknown.
    pub disk_lasts_days: Option<u64>,
    /// Each witness of the roster, with the age in seconds of the oldest entry that the witness has not cosigned.
    pub witness_age_s: Vec<(String, i64)>,
    /// The targets of messages.
    pub targets: Vec<TargetReading>,
    /// Number of the seal in force.
    pub seal_number: u64,
    /// Version of the roster in force.
    pub roster_version: u64,
    /// The TLS certificate of the service, or `None` without TLS.
    pub certificate: Option<CertificateReading>,
    /// Seconds by which the system clock is ahead of the time that has passed since the start. A negative value means
    /// that the clock is behind.
    pub clock_ahead_s: i64,
    /// Each layer of the sandbox level strict, with true if this host supports the layer.
    pub sandbox_layers: Vec<(Layer, bool)>,
    /// Number of receipts that this node keeps as files, because they came after the end of their runs in the log.
    pub late_receipts: u64,
    /// The nodes of the boundary, or `None` with a store in a file.
    pub nodes: Option<NodeReadings>,
}

/// State of a target of messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetReading {
    /// Name of the target.
    pub name: String,
    /// Number of events that the target has not got.
    pub behind: u64,
    /// Age in seconds of the event that the target does not accept, or 0.
    pub age_s: i64,
    /// Number of events that were given up.
    pub given_up: u64,
}

/// State of the nodes of a boundary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeReadings {
    /// Number of takeovers so far.
    pub term: u64,
    /// All nodes.
    pub nodes: Vec<NodeReading>,
}

/// State of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeReading {
    /// Name of the node.
    pub name: String,
    /// True if the node took over last.
    pub active: bool,
    /// True if an operator said that the node will never come back.
    pub lost: bool,
    /// Seconds since the last sign of the node, by the clock of the database.
    pub beat_age_s: i64,
    /// Number of its runs without a receipt.
    pub open_runs: u64,
}

/// State of the TLS certificate of the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CertificateReading {
    /// Time at which the served certificate expires, in seconds since 1970.
    pub expiry: i64,
    /// True if the files of the last look could not be taken, so that the old certificate is in force.
    pub reload_failed: bool,
}
