//! The configuration of a boundary (`countersign.toml`): its keys, their defaults, and the file that `init` writes.
//!
//! A key is a field of a table, a line of the reader (`config_reader.rs`), and a line of the template, which contains
//! the default value. The operator always names the file: the program never searches for a configuration.
//!
//! The file also has the type of the targets of messages (`[[notify]]` in `countersign.toml`), and the traits that turn
//! an error into a problem of a file or of the store.
//!
//! Errors as problems of a file or of the store.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;

use boundary::{ConfiguredSecret, NoticeFilter};
use documents::{BoundaryName, ConfiguredLimits, Level, Limits, Name, SecretName};
use reading::{FileProblem, InvalidFiles, Pattern, RunbookDirectories};
use store::{Database, Replicas, Retention, ServerTable, StoreResult};
use wire::{FeedKind, ProxyAddress};

/// Name of the configuration file.
pub const FILE: &str = "countersign.toml";
/// Default address of the HTTP interface.
pub const LISTEN: &str = "127.0.0.1:7433";

/// Declares a table of the file, with its schema and the names of its keys.
macro_rules! table {
    ($(#[$of_table:meta])* pub struct $table:ident {
        $($(#[$of_key:meta])* pub $key:ident: $value:ty,)*
    } $(and { $($(#[$of_other:meta])* pub $other:ident: $other_value:ty,)* })?) => {
        $(#[$of_table])*
        #[derive(Debug, Clone, PartialEq, Eq, JsonSchema)]
        #[schemars(deny_unknown_fields)]
        pub struct $table {
            $($(#[$of_key])* pub $key: $value,)*
            $($($(#[$of_other])* pub $other: $other_value,)*)?
        }

        impl $table {
            pub(super) const KEYS: &[&str] = &[$(stringify!($key)),*];
        }
    };
}

table! {
    /// The file `countersign.toml`. Paths are relative to the directory of the file. An absent field has its default.
    pub struct Config {
        /// Name of the boundary: `[a-z0-9.-]+(/[a-z0-9._-]+)*`, at most 40 characters.
        pub name: BoundaryName,
        /// Address and port of the HTTP interface, by default `127.0.0.1:7433`. An address outside of the loopback
        /// interface needs `tls` or `insecure_behind_proxy`.
        #[schemars(with = "Option<String>")]
        pub listen: SocketAddr,
        /// With `true`, the service listens on addresses outside of the loopback interface without TLS, and warns at every
        /// start. By default `false`.
        #[schemars(with = "Option<bool>")]
        pub insecure_behind_proxy: bool,
        /// Private directory of the service (mode 0700) for the store, the outputs and the control socket. By default
        /// `boundary`.
        #[schemars(with = "Option<String>")]
        pub data: PathBuf,
        /// The SQLite file, by default `countersign.db` in `data`, or a schema of a PostgreSQL database:
        /// `postgres://USER@HOST:PORT/DATABASE?schema=SCHEMA`. A URL needs `[postgres]`.
        #[schemars(with = "Option<String>")]
        pub database: Database,
        /// Directories with runbooks, by default `runbooks`.
        #[schemars(with = "Option<Vec<String>>")]
        pub runbooks: Vec<PathBuf>,
        /// With `true`, the service skips a runbook that has an error. With `false`, the default, the service does not
        /// start. With PostgreSQL, it starts with the runbooks of the last seal.
        #[schemars(with = "Option<bool>")]
        pub skip_invalid_runbooks: bool,
        /// Path of the policy, by default `boundary/policy.yaml`.
        #[schemars(with = "Option<String>")]
        pub policy: PathBuf,
        /// Directory of the versions of the roster and of the draft, by default `boundary/roster.d`.
        #[schemars(with = "Option<String>")]
        pub rosters: PathBuf,
        /// The first version of the roster in the bundles of this boundary, by default 1. Those who trust an earlier version
        /// need the versions in between to verify such a bundle.
        #[schemars(with = "Option<u64>", range(min = 1, max = 65_536))]
        pub bundles_from_roster: u64,
        /// Private key of the boundary (PEM, PKCS#8 version 1), by default `boundary/key.pem`.
        #[schemars(with = "Option<String>")]
        pub key: PathBuf,
        /// Host names under which clients call the service, in addition to those of the loopback interface.
        #[schemars(with = "Option<Vec<String>>")]
        pub hosts: Vec<String>,
        /// With `true`, the service has the Model Context Protocol at `/mcp`. By default `false`.
        #[schemars(with = "Option<bool>")]
        pub mcp: bool,
        /// Files with checkpoints that are stored elsewhere, or directories of `log export`. If the store is older than
        /// such a checkpoint, the service does not start.
        #[schemars(with = "Option<Vec<String>>")]
        pub known_checkpoints: Vec<PathBuf>,
        /// HTTP proxy for requests of the service over TLS: to issuers of ID tokens, witnesses and targets of messages. The
        /// environment never names a proxy.
        pub proxy: Option<ProxyAddress>,
        /// Certificate and key of the service. Without this table, the service uses HTTP without TLS.
        pub tls: Option<TlsTable>,
        /// The PostgreSQL database, if `database` is its URL.
        #[schemars(with = "Option<PostgresTable>")]
        pub postgres: Option<ServerTable>,
        /// Limits of runs and of the queue.
        #[schemars(with = "Option<LimitsTable>")]
        pub limits: LimitsTable,
        /// How long the service keeps data that is not evidence. The service never deletes receipts, seals and the log.
        #[schemars(with = "Option<RetentionTable>")]
        pub retention: Retention,
        /// The sandbox of every run.
        #[schemars(with = "Option<SandboxTable>")]
        pub sandbox: SandboxTable,
        /// The secrets by name. Each secret has one source and the steps that may use it.
        #[schemars(with = "Option<BTreeMap<SecretName, SecretTable>>")]
        pub secrets: Vec<ConfiguredSecret>,
        /// The targets of messages, in their order.
        #[schemars(with = "Option<Vec<NotifyTable>>")]
        pub notify: Vec<NotifyTable>,
        /// Metrics for a monitoring system.
        #[schemars(with = "Option<MetricsTable>")]
        pub metrics: MetricsTable,
        /// Messages of the service on its standard error.
        #[schemars(with = "Option<LogTable>")]
        pub log: LogTable,
    } and {
        /// Path of the configuration file itself. All paths are absolute.
        #[schemars(skip)]
        pub path: PathBuf,
    }
}

table! {
    /// The connection to a PostgreSQL database. Needs `node`.
    pub struct PostgresTable {
        /// Name of this node. Each service of the boundary has a name of its own.
        pub node: Name,
        /// File with the password. Only the service may read the file.
        pub password_file: Option<PathBuf>,
        /// PEM file with the certificate authorities of the server. By default those of the system.
        pub ca: Option<PathBuf>,
        /// PEM file with the certificate of this client. Needs `key`.
        pub certificate: Option<PathBuf>,
        /// PEM file with the private key of this client. Only the service may read the file.
        pub key: Option<PathBuf>,
        /// What keeps a committed run after the loss of the server: `none` (the default), `synchronous` (a synchronous
        /// replica), or `storage` (the storage below the server, which the operator vouches for).
        #[schemars(with = "Option<ReplicasWord>")]
        pub replicas: Replicas,
    }
}

/// What keeps a committed run after the loss of the database server.
#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case")]
#[expect(dead_code, reason = "only its schema is used")]
enum ReplicasWord {
    /// Nothing.
    None,
    /// A synchronous replica.
    Synchronous,
    /// The storage below the server.
    Storage,
}

table! {
    /// Metrics for a monitoring system.
    pub struct MetricsTable {
        /// Loopback address and port on which `/metrics` needs no token, for example `127.0.0.1:9464`. Without this field,
        /// `/metrics` is part of the HTTP interface and needs a token with the scope `read`.
        pub listen: Option<SocketAddr>,
    }
}

table! {
    /// Messages of the service on its standard error.
    pub struct LogTable {
        /// Format of the messages, by default `text`.
        #[schemars(with = "Option<LogFormat>")]
        pub format: LogFormat,
    }
}

documents::words! {
    /// Format of the service's messages.
    #[derive(JsonSchema)]
    #[schemars(rename = "LogFormatWord", rename_all = "kebab-case")]
    pub enum LogFormat {
        /// Lines for people.
        Text = "text",
        /// One JSON object on each line.
        Json = "json",
    }
}

table! {
    /// A secret. Needs `steps`, and exactly one of `file`, `env` and `credential`.
    pub struct SecretTable {
        /// File with the value. Only the service may read the file.
        pub file: Option<String>,
        /// Environment variable of the service with the value.
        pub env: Option<String>,
        /// Name of a credential that systemd gives to the service (`LoadCredential=`).
        pub credential: Option<String>,
        /// Patterns of the steps that may use the secret, for example `deploy/**` or `nginx:restart`.
        #[schemars(length(min = 1))]
        pub steps: Vec<String>,
    }
}

table! {
    /// TLS of the service. Needs `certificate` and `key`.
    pub struct TlsTable {
        /// PEM file with the certificate of the service, followed by the certificates of its issuers.
        #[schemars(with = "Option<String>")]
        pub certificate: PathBuf,
        /// PEM file with the private key of the certificate. Only the service may read the file.
        #[schemars(with = "Option<String>")]
        pub key: PathBuf,
        /// PEM file with certificates of a CA. If present, only clients with a certificate of this CA can connect.
        pub client_ca: Option<PathBuf>,
    }
}

table! {
    /// Limits of a step that declares none, in the notation of runbooks, and limits of the queue.
    pub struct LimitsTable {
        /// The largest limits that a step may declare.
        #[schemars(with = "Option<RunLimits>")]
        pub maximum: Limits,
        /// Number of runs at the same time, by default 64.
        #[schemars(with = "Option<u64>", range(min = 1, max = 4096))]
        pub runs: usize,
        /// Number of proposals that may wait for signatures, by default 1000.
        #[schemars(with = "Option<u64>", range(min = 1, max = 100_000))]
        pub pending: u64,
        /// Number of proposals of one proposer that may wait for signatures, by default 20.
        #[schemars(with = "Option<u64>", range(min = 1))]
        pub pending_per_proposer: u64,
        /// Requests of one token in a second, by default 1000. Signatures of one key may use a fifth of this number, and
        /// callers without a token from one address a tenth.
        #[schemars(with = "Option<u64>", range(min = 1, max = 1_000_000))]
        pub calls_per_second: u64,
        /// A session ends after this time without a proposal and without a run. By default `30m`.
        #[schemars(with = "Option<String>")]
        pub session_idle: i64,
    } and {
        /// The limits of a step that asks for nothing.
        #[schemars(flatten, with = "RunLimits")]
        pub of_a_run: Limits,
    }
}

table! {
    /// How long the service keeps data that is not evidence, for example `90d`, `12h` or `30s`.
    pub struct RetentionTable {
        /// How long recorded outputs stay after the end of their run, by default `90d`. The receipt keeps their digests.
        #[schemars(with = "Option<String>")]
        pub outputs: i64,
        /// How long proposals that never ran, and signatures that are in no receipt, stay after the end of the proposal.
        /// By default `90d`.
        #[schemars(with = "Option<String>")]
        pub proposals: i64,
        /// Age from which log entries are stored in compressed form in an SQLite file, by default `30d`. Their bytes stay.
        #[schemars(with = "Option<String>")]
        pub pack: i64,
    }
}

table! {
    /// Limits of a run.
    pub struct RunLimits {
        /// Time from the start of the run until all its processes have ended, for example `90s`, `5m` or `1h`.
        pub timeout: Option<String>,
        /// CPUs (`2`), or thousandths of one CPU (`500m`).
        pub cpu: Option<TextOrNumber>,
        /// Memory without swap, for example `512MiB`.
        pub memory: Option<String>,
        /// Number of processes and threads at the same time.
        pub processes: Option<TextOrNumber>,
        /// Size of the largest file that the run may write, for example `64MiB`.
        pub file_size: Option<String>,
        /// Size of the work directory, for example `1GiB`.
        pub disk: Option<String>,
        /// Recorded output of both streams together, for example `10MiB`. The boundary counts further bytes and does not
        /// record them.
        pub output: Option<String>,
    }
}

/// A number, or a text with a number and its unit.
#[expect(dead_code, reason = "only its schema is used")]
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema)]
#[schemars(untagged)]
pub enum TextOrNumber {
    /// A number.
    Number(u64),
    /// A text, for example `500m`.
    Text(String),
}

table! {
    /// The sandbox of every run.
    pub struct SandboxTable {
        /// With `strict`, the default, the service does not start on a host that lacks a layer. With `best-effort`, runs
        /// get the layers that the host has. Approvers sign these layers, and receipts name the missing layers.
        #[schemars(with = "Option<LevelWord>")]
        pub level: Level,
    }
}

/// The sandbox level of a boundary.
#[expect(dead_code, reason = "only its schema is used")]
#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case")]
pub enum LevelWord {
    /// The host must have all layers.
    Strict,
    /// Runs get the layers that the host has.
    BestEffort,
}

impl Config {
    /// Returns the advice how to put changed files in force.
    pub fn puts_in_force(&self) -> &'static str {
        match self.database.node() {
            None => "run `countersign seal`",
            Some(_) => "run `countersign seal` at the active node",
        }
    }

    /// Returns the runbook directories. Only root and the user of this process may have write access to them.
    pub fn runbook_directories(&self) -> RunbookDirectories {
        let invalid = if self.skip_invalid_runbooks {
            InvalidFiles::Skipped
        } else {
            InvalidFiles::Refused
        };
        let owner = Some(rustix::process::geteuid().as_raw());
        RunbookDirectories {
            invalid,
            ..RunbookDirectories::strict(self.runbooks.clone(), owner)
        }
    }

    /// Returns the limits for the seal.
    pub fn configured_limits(&self) -> ConfiguredLimits {
        ConfiguredLimits {
            default: self.limits.of_a_run.clone(),
            maximum: self.limits.maximum.clone(),
        }
    }
}

/// Returns the configuration file that `init` writes. The file shows every default value, and the reader takes the value
/// of an absent key from it.
pub fn template(name: &str) -> String {
    TEMPLATE.replace("@NAME@", name).replace("@LISTEN@", LISTEN)
}

const TEMPLATE: &str = r#"# Configuration of a Countersign boundary. Every key has its default value.
# Paths are relative to this file. Only the owner may write this file. `countersign doctor` checks the file.

# Name of the boundary. The roster, every authorization and the log's name contain this name.
name = "@NAME@"

# Address of the HTTP interface. Other addresses than those of the loopback need a certificate under [tls].
listen = "@LISTEN@"
# true: other addresses are allowed without [tls], for a proxy with TLS on another machine. Anyone who can read the traffic
# between the proxy and the boundary can read tokens. Each start reports this setting.
insecure_behind_proxy = false
# Host names that clients may use, besides localhost, 127.0.0.1 and [::1]. Other names are refused (DNS rebinding).
hosts = []
# true: agents can use the Model Context Protocol at the path /mcp, with a token.
mcp = false

# HTTP proxy for the service's own requests over TLS: to issuers of ID tokens, witnesses and targets of messages.
# proxy = "http://proxy.example:3128"

# Private directory (mode 0700): store, outputs, control socket. No runbook directory may lie in it or contain it.
data = "boundary"
# SQLite file of the store.
database = "boundary/countersign.db"
# The boundary's private key. It signs seals, consumptions, receipts and checkpoints, but never approvals.
key = "boundary/key.pem"
# The versions of the roster with the draft next.json, and the policy. Draft and policy are sealed when the log begins. A
# later change needs signatures to take effect.
rosters = "boundary/roster.d"
# Bundles begin with this version of the roster. A person who trusts an earlier one needs the versions in between.
bundles_from_roster = 1
policy = "boundary/policy.yaml"

# Checkpoints of this log in other places (files, or directories of `log export`). A store that is older than one of them
# is an older copy, and the service refuses it.
known_checkpoints = []

# Directories of runbooks. Only the sealed content runs. With SQLite, runbooks are sealed at start and at SIGHUP. With
# PostgreSQL, the first start and `countersign seal` seal them.
runbooks = ["runbooks"]
# true: the other runbooks are sealed if a runbook has an error. The notes of `serve` and `/ready` name each skipped file.
skip_invalid_runbooks = false

[sandbox]
# strict: the service does not start if the host lacks a layer. best-effort: runs get the layers that the host supports.
# Approvers then sign for these layers, and receipts name the missing layers.
level = "strict"

[limits]
# Limits of a step that declares none. A runbook can declare other limits with the same keys.
timeout = "5m"
cpu = 1
memory = "512MiB"
processes = 100
file_size = "64MiB"
disk = "1GiB"
output = "10MiB"
# Maximum number of concurrent runs. Each run needs six open files.
runs = 64
# Maximum number of proposals that wait for signatures, in total and of one proposer.
pending = 1000
pending_per_proposer = 20
# Calls per second of one token. The signatures of one key get a fifth of this rate. Callers without a token get a tenth
# per address.
calls_per_second = 1000
# A session ends after this time without a proposal or a run.
session_idle = "30m"

# Highest limits that a step may declare.
[limits.maximum]
timeout = "1h"
cpu = 4
memory = "4GiB"
processes = 1000
file_size = "1GiB"
disk = "10GiB"
output = "100MiB"

# Retention of outputs (after their run), and of proposals that never ran (after their end). Receipts, seals and the log,
# with parameters and reasons, are kept for ever. Log entries older than `pack` are compressed in the SQLite file.
[retention]
outputs = "90d"
proposals = "90d"
pack = "30d"

# Secrets that runs may get, by name. A value is in a file that only the service can read (file), in a variable of the
# service (env), or in a credential of systemd (credential). Only the steps that match a pattern of `steps` get the secret.
# A restart of the service puts changes in force. A changed value needs no restart.
[secrets]
# [secrets.db-password]
# file = "boundary/secrets/db-password"
# steps = ["deploy/**", "nginx:restart"]

# Messages when a signature is wanted. docs/operate.md has the kinds and the other keys. A restart puts changes in force.
# [[notify]]
# name = "phone"
# kind = "ntfy"
# url = "https://ntfy.example/TOPIC"
# for = ["alice", "ops"]
# after = "10m"

# /metrics of the HTTP interface needs a token with the scope read. On this loopback address, /metrics needs no token.
[metrics]
# listen = "127.0.0.1:9464"

[log]
# Format of the log lines: text or json. The variable COUNTERSIGN_LOG selects the lines, for example warn or debug.
format = "text"

# For `database = "postgres://countersign@db-1/countersign"`: the name of this node, and how to connect. docs/postgresql.md has
# the steps. replicas: "none", "synchronous" (each commit waits for a replica) or "storage".
[postgres]
# node = "node-1"
# password_file = "database/password"
# ca = "database/ca.pem"
# certificate = "database/client.pem"
# key = "database/client.key"
# replicas = "none"

# TLS: the certificate (followed by the certificates of its issuers) and its key, as PEM files. The service takes new files
# without a restart. With `client_ca`, only clients with a certificate of this CA can connect.
[tls]
# certificate = "tls/fullchain.pem"
# key = "tls/privkey.pem"
# client_ca = "tls/clients.pem"
"#;

/// A target of messages.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct NotifyTable {
    /// Name of the target: a new name begins with the newest event.
    pub name: Name,
    /// Form of the messages.
    pub kind: TargetKind,
    /// Address: `https://` (or `http://` on this host); for `ntfy` with the topic as the last part; for `mail`
    /// `mailto:PERSON@HOST`. A target of the kind `slack` may have its address in `secret` instead.
    pub url: Option<String>,
    /// Private file. For `cloudevents`: one or two lines with `whsec_` and base64, which sign each message. For `ntfy`: an
    /// access token. For `slack`: the address.
    pub secret: Option<PathBuf>,
    /// Kinds of events, for example `proposal.pending`, or `proposal.*`. By default all for `cloudevents`, and for people
    /// those that need them.
    #[schemars(with = "Option<Vec<String>>")]
    pub events: Vec<FeedKind>,
    /// Patterns of steps, for example `deploy/**`. By default all steps.
    #[schemars(with = "Option<Vec<String>>")]
    pub steps: Vec<String>,
    /// Approvers and groups: the target gets only proposals that their signatures can move. Approvers: the target also gets
    /// each signature in their names. Proposers: the target gets the ends of their proposals.
    #[schemars(rename = "for", with = "Option<Vec<String>>")]
    pub people: Vec<String>,
    /// The target gets only proposals that still wait after this time, for example `10m`.
    #[schemars(with = "Option<String>")]
    pub after: Option<i64>,
    /// PEM file with the certificate authorities of the target. By default those of the system.
    pub ca: Option<PathBuf>,
    /// Address of a desk: `https://HOST` or `https://HOST:PORT`. Each message about a proposal that waits then ends with the
    /// address of its review at the desk.
    pub desk: Option<String>,
}

documents::words! {
    /// Form of the messages of a target.
    #[derive(JsonSchema)]
    #[schemars(rename_all = "lowercase")]
    pub enum TargetKind {
        /// CloudEvents 1.0, signed as Standard Webhooks 1.0.0 say.
        CloudEvents = "cloudevents",
        /// An incoming webhook of Slack, or of a service with the same form.
        Slack = "slack",
        /// A topic of ntfy.
        Ntfy = "ntfy",
        /// Mail through `/usr/sbin/sendmail`.
        Mail = "mail",
    }
}

impl NotifyTable {
    pub(super) const KEYS: &[&str] = &[
        "name", "kind", "url", "secret", "events", "steps", "for", "after", "ca", "desk",
    ];

    /// Returns the events that the target wants.
    pub fn filter(&self) -> NoticeFilter {
        NoticeFilter {
            events: self.events.clone(),
            // The reader has parsed the patterns already.
            steps: self
                .steps
                .iter()
                .filter_map(|pattern| Pattern::parse(pattern).ok())
                .collect(),
            people: self.people.clone(),
            after_s: self.after,
            to_people: self.kind != TargetKind::CloudEvents,
            desk: self.desk.clone(),
        }
    }
}

/// Returns the address of the server and the topic.
pub fn ntfy_topic(url: &str) -> Option<(&str, &str)> {
    let (server, topic) = url.rsplit_once('/')?;
    let known = !topic.is_empty()
        && topic
            .bytes()
            .all(|c| c.is_ascii_alphanumeric() || b"_-".contains(&c));
    (known && server.contains("://")).then_some((server, topic))
}

/// Turns an error into a problem of a file.
pub trait InFile<T> {
    /// Names the file, or another path, to which the error belongs.
    fn at(self, path: &Path) -> Result<T, FileProblem>;
}

impl<T, E: Display> InFile<T> for Result<T, E> {
    fn at(self, path: &Path) -> Result<T, FileProblem> {
        self.map_err(|error| FileProblem::whole(path, error.to_string()))
    }
}

/// Turns a fault into a problem of its store.
pub trait InStore<T> {
    /// Names the store. A node waits if its database server can't be used now.
    fn in_store(self, database: &Database) -> Result<T, FileProblem>;
}

impl<T> InStore<T> for StoreResult<T> {
    fn in_store(self, database: &Database) -> Result<T, FileProblem> {
        self.map_err(|fault| FileProblem {
            can_pass: fault.is_unreachable(),
            ..FileProblem::of_store(database, fault)
        })
    }
}

#[cfg(test)]
mod tests;
