//! `countersign.toml`: how a boundary is set up.
//!
//! Read only from where the operator says, never searched for. All flaws are reported together, each with its place.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::record::enforcement::Level;
use crate::record::ident::BoundaryName;
use crate::record::profile::Limits;
use crate::store::message::Retention;

/// The name of the file.
pub const FILE: &str = "countersign.toml";

/// How a boundary is set up; all paths absolute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The file it was read from.
    pub path: PathBuf,
    /// The boundary's name.
    pub name: BoundaryName,
    /// Where HTTP listens.
    pub listen: SocketAddr,
    /// The private directory of the service.
    pub data: PathBuf,
    /// The database's file.
    pub database: PathBuf,
    /// Where runbooks are.
    pub runbooks: Vec<PathBuf>,
    /// The policy's file.
    pub policy: PathBuf,
    /// The roster's source.
    pub roster: PathBuf,
    /// The boundary's private key.
    pub key: PathBuf,
    /// Names besides those of the loopback under which clients may call.
    pub hosts: Vec<String>,
    /// The limits of a step that asks for nothing.
    pub limits: Limits,
    /// The most that a step may ask for.
    pub maximum: Limits,
    /// Runs at one time.
    pub runs: usize,
    /// Proposals that may wait for signatures.
    pub pending: u64,
    /// As many may be of one proposer.
    pub pending_per_proposer: u64,
    /// Calls of one token in a second. A key's signatures have a fifth of it, strangers of one address a tenth.
    pub calls_per_second: u64,
    /// The sandbox level.
    pub level: Level,
    /// How long what is no evidence is kept.
    pub retention: Retention,
    /// Checkpoints kept elsewhere, or directories with one: a store that is behind them is not served.
    pub known_checkpoints: Vec<PathBuf>,
}

impl Config {
    /// The control socket's path.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.data.join("control.sock")
    }

    /// The last checkpoint that this boundary signed, beside the store and not in it: what the store must not be behind.
    #[must_use]
    pub fn kept_checkpoint(&self) -> PathBuf {
        self.data.join("checkpoint")
    }

    /// Where logs are kept that a restore has closed.
    #[must_use]
    pub fn closed(&self) -> PathBuf {
        self.data.join("closed")
    }

    /// Where `store upgrade` keeps the store of version 0.1.0.
    #[must_use]
    pub fn old_store(&self) -> PathBuf {
        self.data.join("0.1.0")
    }

    /// Where large outputs are.
    #[must_use]
    pub fn outputs(&self) -> PathBuf {
        self.data.join("outputs")
    }

    /// Where output is kept while a run goes on.
    #[must_use]
    pub fn spool(&self) -> PathBuf {
        self.data.join("spool")
    }

    /// Where runs have their directories on hosts that can't give them a root of their own: beside the private directory,
    /// because a run with a user id of its own must be able to enter it.
    #[must_use]
    pub fn scratch(&self) -> PathBuf {
        self.path.parent().unwrap_or(Path::new("/")).join("runs")
    }
}

/// The most that a step may ask for, unless the file says otherwise.
#[must_use]
pub fn maximum() -> Limits {
    Limits {
        wall_ms: 3_600_000,
        cpu_milli: 4000,
        memory_bytes: 4 << 30,
        processes: 1000,
        file_bytes: 1 << 30,
        disk_bytes: 10 << 30,
        output_bytes: 100 << 20,
    }
}

/// Where HTTP listens by default.
pub const LISTEN: &str = "127.0.0.1:7433";
/// The keys of the file.
pub const KEYS: [&str; 15] = [
    "name",
    "listen",
    "data",
    "database",
    "runbooks",
    "policy",
    "roster",
    "key",
    "hosts",
    "known_checkpoints",
    "tls",
    "limits",
    "retention",
    "sandbox",
    "secrets",
];
/// The keys of `[limits]`.
pub const LIMIT_KEYS: [&str; 12] = [
    "timeout",
    "cpu",
    "memory",
    "processes",
    "file_size",
    "disk",
    "output",
    "maximum",
    "runs",
    "pending",
    "pending_per_proposer",
    "calls_per_second",
];
/// The keys of `[retention]`.
pub const RETENTION_KEYS: [&str; 2] = ["outputs", "proposals"];
/// The keys of `[sandbox]`.
pub const SANDBOX_KEYS: [&str; 1] = ["level"];

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Config, Vec<String>> {
        Config::read(Path::new("/c/countersign.toml"), text).map_err(|problems| {
            problems
                .list()
                .iter()
                .map(|problem| format!("{}:{}: {}", problem.line, problem.column, problem.message))
                .collect()
        })
    }

    #[test]
    fn all_errors_are_reported_together_with_their_places() {
        let found = read(concat!(
            "name = \"Big Name\"\nlisten = \"0.0.0.0:7433\"\nrunbook = [\"a\"]\ndatabase = \"postgres://db/x\"\n",
            "[limits]\nmemory = \"2TB\"\nruns = 0\ncolour = 1\n[limits.maximum]\ntimeout = \"1m\"\n[sandbox]\nlevel = \"strct\"\n",
            "[tls]\ncert = \"a.pem\"\n[retention]\noutputs = \"soon\"\n"
        ))
        .expect_err("errors");
        let all = found.join("\n");
        for (place, words) in [
            ("1:8: ", "Big Name"),
            ("2:10: ", "loopback"),
            ("3:1: ", "did you mean \"runbooks\"?"),
            ("4:12: ", "a postgres database is not supported by this version"),
            ("6:10: ", "256MiB"),
            ("7:8: ", "from 1 to"),
            ("8:1: ", "unknown key in [limits]"),
            ("10:11: ", "above its maximum"),
            ("12:9: ", "did you mean \"strict\"?"),
            ("14:1: ", "`cert` in [tls] is not supported by this version"),
            ("16:11: ", "\"soon\" is no span of time"),
        ] {
            assert!(found.iter().any(|line| line.starts_with(place) && line.contains(words)), "{place}{words}\n{all}");
        }
        assert_eq!(found.len(), 11, "{all}");
    }

    #[test]
    fn paths_are_relative_to_the_file() {
        let config = read("name = \"a\"\ndata = \"d\"\nkey = \"/k.pem\"\nrunbooks = [\"x\", \"/y\"]\n").expect("read");
        assert_eq!(config.database, Path::new("/c/d/countersign.db"));
        assert_eq!(config.socket(), Path::new("/c/d/control.sock"));
        assert_eq!(config.key, Path::new("/k.pem"));
        assert_eq!(config.runbooks, [PathBuf::from("/c/x"), "/y".into()]);
    }

    #[test]
    fn a_level_of_off_and_a_missing_name_are_refused() {
        assert!(read("name = \"a\"\n[sandbox]\nlevel = \"off\"\n").is_err());
        assert!(read("").is_err_and(|found| found.iter().any(|line| line.contains("`name` is missing"))));
        assert!(read("name = \"a\"\ntls = true\n").is_err(), "a later section that is no section");
    }

    #[test]
    fn values_of_the_wrong_kind_cause_no_panic() {
        for key in KEYS {
            for value in ["1", "true", "\"\"", "[]", "[1]", "{}", "{a = 1}", "\"\\u0000\""] {
                let _ = read(&format!("name = \"a\"\n{key} = {value}\n"));
            }
        }
    }
}
