//! Template and schema of `countersign.toml`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use documents::record::ident::BoundaryName;
use documents::record::later_words::SecretName;

/// Returns the configuration file that `init` writes. The template shows every default value.
#[must_use]
pub fn text(name: &BoundaryName) -> String {
    TEMPLATE.replace("@NAME@", name.as_str())
}

/// `countersign.toml`. Paths are relative to the file; what is left out has the default.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConfigurationFile {
    /// The boundary's name: `[a-z0-9.-]+(/[a-z0-9._-]+)*`, at most 40 characters.
    pub name: BoundaryName,
    /// Address and port of the HTTP interface, by default `127.0.0.1:7433`. Other addresses than those of the loopback
    /// need `tls` or `insecure_behind_proxy`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listen: Option<String>,
    /// Listen on other addresses than those of the loopback without TLS: by default `false`. Every start reports it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub insecure_behind_proxy: Option<bool>,
    /// The private directory of the service (0700): store, outputs, control socket. By default `boundary`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    /// The SQLite file, by default `countersign.db` in `data`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub database: Option<String>,
    /// Directories of runbooks, by default `runbooks`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runbooks: Option<Vec<String>>,
    /// Skip a runbook with an error, instead of refusing the seal: by default `false`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skip_invalid_runbooks: Option<bool>,
    /// The policy, by default `boundary/policy.yaml`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// The roster's source, by default `boundary/roster.toml`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub roster: Option<String>,
    /// The boundary's private key, PKCS#8 v1 PEM, by default `boundary/key.pem`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Host names, besides those of the loopback, under which clients call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hosts: Option<Vec<String>>,
    /// Serve the Model Context Protocol at `/mcp`: by default `false`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mcp: Option<bool>,
    /// Checkpoints kept elsewhere, or directories of `log export` with one: a store that is behind them is not served.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub known_checkpoints: Option<Vec<String>>,
    /// The certificate of the service and its key. Without this table, the service speaks plain HTTP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsTable>,
    /// Limits of runs and of the queue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limits: Option<LimitsTable>,
    /// How long what is no evidence is kept. Receipts, seals and the log are kept for ever.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retention: Option<RetentionTable>,
    /// The sandbox of every run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sandbox: Option<SandboxTable>,
    /// Secrets by name, each with one source and the steps that may get it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secrets: Option<BTreeMap<SecretName, SecretTable>>,
    /// Metrics for a monitoring system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metrics: Option<MetricsTable>,
    /// The log of the service on its standard error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log: Option<LogTable>,
}

/// Metrics for a monitoring system.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MetricsTable {
    /// Loopback address and port on which `/metrics` needs no token, for example `127.0.0.1:9464`. By default, only the
    /// HTTP interface has `/metrics`, for tokens with the scope `read`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listen: Option<String>,
}

/// The log of the service on its standard error.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LogTable {
    /// Format of the lines, by default `text`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<LogFormatWord>,
}

/// The formats of log lines.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormatWord {
    /// Lines for people.
    Text,
    /// One JSON object for each line.
    Json,
}

/// A secret: exactly one of `file`, `env` and `credential`, and `steps`.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SecretTable {
    /// A file that only the service can read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// A variable of the environment of the service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub env: Option<String>,
    /// A credential that systemd gives to the service (`LoadCredential=`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
    /// Patterns of the steps that may get the secret, for example `deploy/**` or `nginx:restart`.
    #[schemars(length(min = 1))]
    pub steps: Vec<String>,
}

/// TLS: `certificate` and `key`, or neither.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TlsTable {
    /// A PEM file: the certificate of the service, then the certificates of its issuers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
    /// A PEM file with the private key of the certificate, which only the service can read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// A PEM file with the certificates of a CA. Only clients with a certificate of this CA can connect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_ca: Option<String>,
}

/// The limits of a step that asks for nothing, in the words of a runbook's fence, and of the queue.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LimitsTable {
    /// The limits of a step that asks for nothing.
    #[serde(flatten)]
    pub of_a_run: RunLimits,
    /// The most that a step may ask for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub maximum: Option<RunLimits>,
    /// Runs at one time, by default 64.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 4096))]
    pub runs: Option<u64>,
    /// Proposals that may wait for signatures, by default 1000.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100_000))]
    pub pending: Option<u64>,
    /// As many may be of one proposer, by default 20.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub pending_per_proposer: Option<u64>,
    /// Calls of one token in a second, by default 1000. A key's signatures have a fifth of it, strangers of one address
    /// a tenth.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub calls_per_second: Option<u64>,
    /// Time without a proposal or a run after which a session ends: `30m` by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_idle: Option<String>,
}

/// How long what is no evidence is kept: `90d`, `12h`, `30s`.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RetentionTable {
    /// Recorded outputs, from the end of their run, by default `90d`. Their digests stay in the receipt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outputs: Option<String>,
    /// Proposals that never ran, and signatures beside those in receipts, from their end, by default `90d`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proposals: Option<String>,
}

/// Limits of a run.
#[derive(Debug, Serialize, JsonSchema)]
pub struct RunLimits {
    /// From start to the end of the whole process tree: `90s`, `5m`, `1h`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<String>,
    /// CPUs (`2`) or thousandths of one (`500m`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<TextOrNumber>,
    /// Memory without swap: `512MiB`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<String>,
    /// Processes and threads at one time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub processes: Option<TextOrNumber>,
    /// The largest file that may be written: `64MiB`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file_size: Option<String>,
    /// The room of the work directory: `1GiB`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk: Option<String>,
    /// Recorded output of both streams together: `10MiB`. The rest is counted only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
}

/// A count.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum TextOrNumber {
    /// As a number.
    Number(u64),
    /// As text.
    Text(String),
}

/// The sandbox of every run.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SandboxTable {
    /// `strict`, the default: a host that misses a layer does not serve. `best-effort`: runs get the layers that the host
    /// holds, approvers sign for those, receipts name what is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub level: Option<LevelWord>,
}

/// The sandbox levels that a boundary can have.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LevelWord {
    /// Every layer of this version.
    Strict,
    /// Those that the host holds.
    BestEffort,
}

const TEMPLATE: &str = r#"# Configuration of a Countersign boundary. Every key has its default value.
# Paths are relative to this file. Only the owner may write this file. `countersign doctor` checks the file.

# Name of the boundary. The roster ([[boundary]]), every authorization and the log's name contain this name.
name = "@NAME@"

# Address of the HTTP interface. Other addresses than those of the loopback need a certificate under [tls].
listen = "127.0.0.1:7433"
# true: other addresses are allowed without [tls], for a proxy with TLS on another machine. Anyone who can read the traffic
# between the proxy and the boundary can read tokens. Each start reports this setting.
insecure_behind_proxy = false
# Host names that clients may use, besides localhost, 127.0.0.1 and [::1]. Other names are refused (DNS rebinding).
hosts = []
# true: agents can use the Model Context Protocol at the path /mcp, with a token.
mcp = false

# Private directory (mode 0700): store, outputs, control socket. No runbook directory may lie in it or contain it.
data = "boundary"
# SQLite file of the store.
database = "boundary/countersign.db"
# The boundary's private key. It signs seals, consumptions, receipts and checkpoints, but never approvals.
key = "boundary/key.pem"
# Roster and policy. Both are sealed when the log begins. A later change of the files needs signatures to take effect.
roster = "boundary/roster.toml"
policy = "boundary/policy.yaml"

# Checkpoints of this log in other places (files, or directories of `log export`). A store that is older than one of them
# is an older copy, and the service refuses it.
known_checkpoints = []

# Directories of runbooks. Runbooks are sealed at start and at SIGHUP. Only the sealed content runs.
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
# with parameters and reasons, are kept for ever.
[retention]
outputs = "90d"
proposals = "90d"

# Secrets that runs may get, by name. A value is in a file that only the service can read (file), in a variable of the
# service (env), or in a credential of systemd (credential). Only the steps that match a pattern of `steps` get the secret.
# A restart of the service puts changes in force. A changed value needs no restart.
[secrets]
# [secrets.db-password]
# file = "boundary/secrets/db-password"
# steps = ["deploy/**", "nginx:restart"]

# /metrics of the HTTP interface needs a token with the scope read. On this loopback address, /metrics needs no token.
[metrics]
# listen = "127.0.0.1:9464"

[log]
# Format of the log lines: text or json. The variable COUNTERSIGN_LOG selects the lines, for example warn or debug.
format = "text"

# TLS: the certificate (followed by the certificates of its issuers) and its key, as PEM files. The service takes new files
# without a restart. With `client_ca`, only clients with a certificate of this CA can connect.
[tls]
# certificate = "tls/fullchain.pem"
# key = "tls/privkey.pem"
# client_ca = "tls/clients.pem"
"#;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;
    use crate::node::config::{
        Config, KEYS, LIMIT_KEYS, LOG_KEYS, METRICS_KEYS, RETENTION_KEYS, SANDBOX_KEYS, SECRET_KEYS, TLS_KEYS, maximum,
    };
    use crate::node::{toml_tree, unit};
    use documents::record::enforcement::Level;
    use documents::record::profile::Limits;
    use documents::yaml::YamlNode;

    fn set<'a>(keys: impl IntoIterator<Item = &'a str>) -> BTreeSet<String> {
        keys.into_iter().map(str::to_owned).collect()
    }

    fn keys_of(node: Option<&YamlNode>) -> BTreeSet<String> {
        set(node.expect("a table").entries().iter().map(|(key, _)| key.name.as_str()))
    }

    fn properties<T: JsonSchema>() -> BTreeSet<String> {
        let schema = schemars::schema_for!(T).to_value();
        set(schema["properties"].as_object().expect("properties").keys().map(String::as_str))
    }

    #[test]
    fn template_parser_and_schema_have_the_same_keys() {
        let (tree, flaws) = toml_tree::read(&text(&"prod-1".parse().expect("a name")));
        assert_eq!(flaws, []);
        assert_eq!(keys_of(Some(&tree)), set(KEYS));
        assert_eq!(properties::<ConfigurationFile>(), set(KEYS));
        assert_eq!(keys_of(tree.value("limits")), set(LIMIT_KEYS));
        assert_eq!(properties::<LimitsTable>(), set(LIMIT_KEYS));
        let words = set(unit::LIMITS.iter().map(|(word, _)| *word));
        assert_eq!(keys_of(tree.value("limits").and_then(|limits| limits.value("maximum"))), words);
        assert_eq!(properties::<RunLimits>(), words);
        assert_eq!(keys_of(tree.value("sandbox")), set(SANDBOX_KEYS));
        assert_eq!(properties::<SandboxTable>(), set(SANDBOX_KEYS));
        assert_eq!(keys_of(tree.value("retention")), set(RETENTION_KEYS));
        assert_eq!(properties::<RetentionTable>(), set(RETENTION_KEYS));
        assert_eq!(properties::<SecretTable>(), set(SECRET_KEYS));
        assert_eq!(properties::<TlsTable>(), set(TLS_KEYS));
        assert_eq!(properties::<MetricsTable>(), set(METRICS_KEYS));
        assert_eq!(keys_of(tree.value("log")), set(LOG_KEYS));
        assert_eq!(properties::<LogTable>(), set(LOG_KEYS));
    }

    #[test]
    fn the_template_contains_the_default_values() {
        let name: BoundaryName = "prod-1".parse().expect("a name");
        let path = Path::new("/etc/countersign/countersign.toml");
        let written = Config::read(path, &text(&name)).expect("a configuration");
        assert_eq!(Config::read(path, "name = \"prod-1\"\n"), Ok(written.clone()));
        assert_eq!((written.limits, written.maximum), (Limits::default(), maximum()));
        assert_eq!(written.level, Level::Strict);
        assert_eq!(written.database, Path::new("/etc/countersign/boundary/countersign.db"));
    }
}
