//! Counters and histograms of the process, and the text of a scrape in the OpenMetrics format.
//!
//! The counters begin at 0 with the process and never decrease. Monitoring systems expect such counters, and detect a
//! restart by the lower values.
//!
//! Also contains the clock for the stages of a crossing, and the values that the service reads from its state at each
//! scrape.

use std::{
    fmt,
    sync::{Arc, Mutex, atomic::AtomicU64},
    time::{Duration, Instant},
};

use prometheus_client::{
    encoding::{
        EncodeLabelSet,
        text::{encode_eof, encode_registry},
    },
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram, info::Info},
    registry::{Metric, Registry, Unit},
};

use crate::{NodeState, NodesReport};
use documents::{Code, Layer, Status, locked};

/// Media type of a scrape (OpenMetrics 1.0).
pub const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Prefix of the name of each metric.
const PREFIX: &str = "countersign";

/// Upper bounds of the buckets for stages and batches, in seconds. The fastest stage takes some tens of microseconds.
/// The longest run takes an hour by default.
const STAGE_BUCKETS: [f64; 12] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1.0, 5.0, 30.0, 300.0, 3600.0,
];
const BATCH_BUCKETS: [f64; 9] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1.0, 5.0];
/// Upper bounds of the buckets for the number of messages in a batch, which has at most 256 messages.
const MESSAGE_BUCKETS: [f64; 9] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];
/// Upper bounds of the buckets for HTTP requests, in seconds. A client may wait for a change for about a minute.
const REQUEST_BUCKETS: [f64; 8] = [0.001, 0.0025, 0.01, 0.05, 0.25, 1.0, 10.0, 60.0];

/// Labels with one name. A scrape has few different label values.
type OneLabel = [(&'static str, &'static str); 1];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    route: &'static str,
    code: u16,
}

/// All counters and histograms of one service.
pub struct Metrics {
    registry: Registry,
    proposals: Family<OneLabel, Counter>,
    refusals: Family<OneLabel, Counter>,
    crossings: Family<OneLabel, Counter>,
    unknown: Counter,
    crossing_seconds: Family<OneLabel, Histogram>,
    batch_seconds: Histogram,
    batch_messages: Histogram,
    refused_connections: Counter,
    settled_commits: Counter,
    requests: Family<RequestLabels, Counter>,
    request_seconds: Family<OneLabel, Histogram>,
    /// Time at which the checkpoint outside the store last contained the whole log.
    checkpoint: Mutex<Instant>,
}

impl Default for Metrics {
    /// Creates all counters with the value 0. A counter with a closed list of label values has each value from the
    /// start, because an alert on an increase needs the value before the increase.
    fn default() -> Self {
        let mut registry = Registry::with_prefix(PREFIX);
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "Version of the program", build);
        let to = &mut registry;
        let metrics = Self {
            proposals: counter(to, "proposals", "Proposals that reached the status"),
            refusals: counter(
                to,
                "refusals",
                "Refused HTTP requests by the code of the answer",
            ),
            crossings: counter(to, "crossings", "Runs with a durable receipt, by outcome"),
            unknown: counter(to, "unknown", "Runs whose end the boundary did not see"),
            crossing_seconds: seconds(
                to,
                "crossing",
                "Duration of each completed stage of a crossing",
                Family::new_with_constructor(|| Histogram::new(STAGE_BUCKETS)),
            ),
            batch_seconds: seconds(
                to,
                "log_batch",
                "Duration of a batch of writes, with its durable commit",
                Histogram::new(BATCH_BUCKETS),
            ),
            batch_messages: registered(
                to,
                "log_batch_messages",
                "Number of writes in a batch, which share one durable commit",
                None,
                Histogram::new(MESSAGE_BUCKETS),
            ),
            refused_connections: counter(
                to,
                "connections_refused",
                "Connections above the maximum number, which were refused",
            ),
            settled_commits: counter(
                to,
                "settled_commits",
                "Commits that the database server confirmed later, or not at all, after a lost connection or a warning",
            ),
            requests: counter(
                to,
                "http_requests",
                "Answered HTTP requests, by the pattern of the route and the HTTP status code",
            ),
            request_seconds: seconds(
                to,
                "http",
                "Time until the head of the answer of an HTTP request, by the pattern of the route",
                Family::new_with_constructor(|| Histogram::new(REQUEST_BUCKETS)),
            ),
            registry,
            checkpoint: Mutex::new(Instant::now()),
        };
        for code in Code::ALL {
            let _ = metrics.refusals.get_or_create(&[("code", code.word())]);
        }
        for status in Status::ALL {
            let _ = metrics
                .crossings
                .get_or_create(&[("outcome", status.word())]);
        }
        for stage in CrossingStage::ALL {
            let _ = metrics
                .crossing_seconds
                .get_or_create(&[("stage", stage.word())]);
        }
        metrics
    }
}

impl Metrics {
    /// Counts proposals that reached a status. The change of the status must be durable.
    pub fn proposals(&self, status: &'static str, number: u64) {
        self.proposals
            .get_or_create(&[("status", status)])
            .inc_by(number);
    }

    /// Counts a refusal that the service sent as an answer.
    pub fn refusal(&self, code: Code) {
        self.refusals.get_or_create(&[("code", code.word())]).inc();
    }

    /// Counts the outcome of a run. The receipt must be durable.
    pub fn crossing(&self, outcome: Status) {
        self.crossings
            .get_or_create(&[("outcome", outcome.word())])
            .inc();
        if outcome == Status::Unknown {
            self.unknown.inc();
        }
    }

    /// Records the duration of a completed stage of a crossing.
    pub fn crossing_stage(&self, stage: CrossingStage, took: Duration) {
        self.crossing_seconds
            .get_or_create(&[("stage", stage.word())])
            .observe(took.as_secs_f64());
    }

    /// Records a batch of writes after its durable commit.
    pub fn batch(&self, messages: usize, took: Duration) {
        self.batch_messages.observe(messages as f64);
        self.batch_seconds.observe(took.as_secs_f64());
    }

    /// Counts a connection that was refused because the maximum number was reached.
    pub fn refused_connection(&self) {
        self.refused_connections.inc();
    }

    /// Counts a commit whose result was unknown for a time.
    pub fn settled_commit(&self) {
        self.settled_commits.inc();
    }

    /// Records an answered HTTP request. `route` must be a pattern of the route table.
    pub fn request(&self, route: &'static str, code: u16, took: Duration) {
        self.requests
            .get_or_create(&RequestLabels { route, code })
            .inc();
        self.request_seconds
            .get_or_create(&[("route", route)])
            .observe(took.as_secs_f64());
    }

    /// Records that the checkpoint outside the store contains the whole log now.
    pub fn checkpoint_is_current(&self) {
        *locked(&self.checkpoint) = Instant::now();
    }

    /// Returns the text of a scrape.
    ///
    /// # Errors
    /// Returns an error if a value can't be formatted.
    pub fn scrape(&self, readings: &Readings) -> Result<String, fmt::Error> {
        // Most scrapes have about 20 KB.
        let mut text = String::with_capacity(32 << 10);
        encode_registry(&mut text, &self.registry)?;
        let checkpoint = locked(&self.checkpoint).elapsed();
        encode_registry(&mut text, &gauges(readings, checkpoint))?;
        encode_eof(&mut text)?;
        Ok(text)
    }
}

/// Adds a metric to the registry.
fn registered<M: Metric + Clone>(
    registry: &mut Registry,
    name: &str,
    help: &str,
    unit: Option<Unit>,
    metric: M,
) -> M {
    match unit {
        Some(unit) => registry.register_with_unit(name, help, unit, metric.clone()),
        None => registry.register(name, help, metric.clone()),
    }
    metric
}

fn counter<M: Metric + Clone + Default>(registry: &mut Registry, name: &str, help: &str) -> M {
    registered(registry, name, help, None, M::default())
}

fn seconds<M: Metric + Clone>(registry: &mut Registry, name: &str, help: &str, metric: M) -> M {
    registered(registry, name, help, Some(Unit::Seconds), metric)
}

/// Returns the gauges of one scrape. The gauges are not stored. So two scrapes at the same time can't mix their values,
/// and no scrape shows a witness that left the roster.
fn gauges(readings: &Readings, checkpoint: Duration) -> Registry {
    let mut registry = Registry::with_prefix(PREFIX);
    let mut plain = |name: &str, help: &str, unit: Option<Unit>, value: i64| {
        registered::<Gauge>(&mut registry, name, help, unit, Gauge::default()).set(value);
    };
    let seconds = || Some(Unit::Seconds);
    plain(
        "runs_active",
        "Runs with a spent nonce and without a durable receipt",
        None,
        number(readings.runs_active),
    );
    plain(
        "oldest_approved",
        "Time since the approval of the oldest proposal that waits to run, or 0",
        seconds(),
        readings.oldest_approved_s,
    );
    plain(
        "log_entries",
        "Entries of the log",
        None,
        number(readings.log_entries),
    );
    for (name, help, bytes) in [
        ("store", "Size of the database files", readings.store_bytes),
        (
            "store_free",
            "Free space on the disk of `data`",
            readings.store_free_bytes,
        ),
        (
            "growth_per_day",
            "Growth of store, outputs and uploads in the last 7 days",
            readings.growth_bytes_per_day,
        ),
    ] {
        if let Some(bytes) = bytes {
            plain(name, help, Some(Unit::Bytes), number(bytes));
        }
    }
    if let Some(days) = readings.disk_lasts_days {
        plain(
            "growth_days_left",
            "Days for which the disk of `data` has space at the growth of the last 7 days",
            None,
            number(days),
        );
    }
    plain(
        "seal_number",
        "Number of the seal in force",
        None,
        number(readings.seal_number),
    );
    plain(
        "roster_version",
        "Version of the roster in force",
        None,
        number(readings.roster_version),
    );
    plain(
        "clock_ahead",
        "Seconds by which the system clock is ahead of the time since the start (negative: behind)",
        seconds(),
        readings.clock_ahead_s,
    );
    plain(
        "late_receipts",
        "Receipts that came after the end of their runs in the log, and are kept as files of this node",
        None,
        number(readings.late_receipts),
    );
    if let Some(nodes) = &readings.nodes {
        plain(
            "node_term",
            "Number of takeovers since the log began",
            None,
            number(nodes.term),
        );
    }
    if let Some(certificate) = readings.certificate {
        plain(
            "certificate_expiry_timestamp",
            "Time at which the TLS certificate of the service expires",
            seconds(),
            certificate.expiry,
        );
        plain(
            "certificate_reload_failed",
            "1 if the files of the certificate can't be taken, so that the old certificate is in force",
            None,
            i64::from(certificate.reload_failed),
        );
    }
    let age: Gauge<f64, AtomicU64> = Gauge::default();
    age.set(checkpoint.as_secs_f64());
    registry.register_with_unit(
        "checkpoint_age",
        "Time since the checkpoint outside the store last contained the whole log",
        Unit::Seconds,
        age,
    );
    let mut labelled = |name: &str,
                        help: &str,
                        unit: Option<Unit>,
                        label: &'static str,
                        values: Vec<(String, i64)>| {
        let family: Family<[(&'static str, String); 1], Gauge> = Family::default();
        for (value, number) in values {
            family.get_or_create(&[(label, value)]).set(number);
        }
        registered(&mut registry, name, help, unit, family);
    };
    let waiting = vec![
        ("pending".to_owned(), number(readings.pending)),
        ("approved".to_owned(), number(readings.approved)),
    ];
    labelled(
        "proposals_waiting",
        "Proposals that wait for signatures, or to run",
        None,
        "status",
        waiting,
    );
    let held_up = readings
        .runs_held_up
        .iter()
        .map(|(code, runs)| (code.word().to_owned(), number(*runs)))
        .collect();
    labelled(
        "seal_bound_percent",
        "Percent of each bound that could stop a seal",
        None,
        "bound",
        readings.seal_bounds.clone(),
    );
    labelled(
        "runs_held_up",
        "Approved runs that can't start now, by the code of the reason",
        None,
        "code",
        held_up,
    );
    labelled(
        "witness_age",
        "Age of the oldest log entry that the witness has not cosigned, or 0",
        seconds(),
        "witness",
        readings.witness_age_s.clone(),
    );
    let of_targets = |value: fn(&TargetReading) -> i64| {
        readings
            .targets
            .iter()
            .map(|target| (target.name.clone(), value(target)))
            .collect()
    };
    labelled(
        "notify_backlog",
        "Events that the target of messages has not got",
        None,
        "target",
        of_targets(|target| number(target.behind)),
    );
    labelled(
        "notify_age",
        "Age of the event that the target of messages does not accept, or 0",
        seconds(),
        "target",
        of_targets(|target| target.age_s),
    );
    labelled(
        "notify_given_up",
        "Events that were given up, because the target of messages did not accept them",
        None,
        "target",
        of_targets(|target| number(target.given_up)),
    );
    if let Some(NodesReport { nodes, .. }) = &readings.nodes {
        labelled(
            "node_active",
            "1 if the node is the active node, which runs steps",
            None,
            "node",
            named(nodes.iter(), |node| i64::from(node.active)),
        );
        let there = nodes.iter().filter(|node| !node.lost);
        labelled(
            "node_beat_age",
            "Seconds since the last sign of the node, by the clock of the database, unless the node is lost",
            seconds(),
            "node",
            named(there, |node| node.beat_age_s),
        );
        labelled(
            "node_open_runs",
            "Runs of the node that have a spent nonce and no receipt",
            None,
            "node",
            named(nodes.iter(), |node| number(node.open_runs)),
        );
    }
    let layers = readings
        .sandbox_layers
        .iter()
        .map(|(layer, held)| (layer.word().to_owned(), i64::from(*held)));
    labelled(
        "sandbox_layer",
        "1 if this host supports the layer of the sandbox level strict",
        None,
        "layer",
        layers.collect(),
    );
    registry
}

fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn named<'n>(
    nodes: impl Iterator<Item = &'n NodeState>,
    value: impl Fn(&NodeState) -> i64,
) -> Vec<(String, i64)> {
    nodes
        .map(|node| (node.name.to_string(), value(node)))
        .collect()
}

/// Clock for the stages of one crossing. A stage that ends with a refusal is not recorded.
pub struct StageClock {
    metrics: Arc<Metrics>,
    began: Instant,
}

impl StageClock {
    /// Starts the first stage.
    pub fn start(metrics: Arc<Metrics>) -> Self {
        Self {
            metrics,
            began: Instant::now(),
        }
    }

    /// Records the duration of `stage`, which has just ended, and starts the next stage.
    pub fn end(&mut self, stage: CrossingStage) {
        self.metrics.crossing_stage(stage, self.began.elapsed());
        self.restart();
    }

    /// Starts the next stage without a record of the time until now.
    pub fn restart(&mut self) {
        self.began = Instant::now();
    }
}

/// Values of all gauges at one scrape.
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
    /// Each bound that could stop a seal, with the percent that are used.
    pub seal_bounds: Vec<(String, i64)>,
    /// The TLS certificate of the service, or `None` without TLS.
    pub certificate: Option<CertificateReading>,
    /// Seconds by which the system clock is ahead of the time since the start of the service. A negative value means
    /// that the clock is behind.
    pub clock_ahead_s: i64,
    /// Each layer of the sandbox level strict, with true if this host supports the layer.
    pub sandbox_layers: Vec<(Layer, bool)>,
    /// Number of receipts that this node keeps as files, because another node had already closed their runs in the log.
    pub late_receipts: u64,
    /// The nodes of the boundary, or `None` with a store in a file.
    pub nodes: Option<NodesReport>,
}

/// State of a target of messages.
pub struct TargetReading {
    /// Name of the target.
    pub name: String,
    /// Number of events that the target has not got.
    pub behind: u64,
    /// Age in seconds of the event that the target does not accept, or 0.
    pub age_s: i64,
    /// Number of events that the boundary gave up sending.
    pub given_up: u64,
}

/// State of the TLS certificate of the service.
#[derive(Clone, Copy)]
pub struct CertificateReading {
    /// Time at which the served certificate expires, in seconds since 1970.
    pub expiry: i64,
    /// True if the service could not load the newest certificate files, and therefore still uses the old certificate.
    pub reload_failed: bool,
}

documents::words! {
    /// Stage of a crossing, as in the label `stage`.
    pub enum CrossingStage {
        /// Decoding, verification and admission of a request.
        Verify = "verify",
        /// The durable commit that spends the nonce.
        Consume = "consume",
        /// The run in the sandbox.
        Run = "run",
        /// Writing and signing of the receipt, and its durable commit.
        Receipt = "receipt",
    }
}
