//! The parsed configuration of a boundary (`countersign.toml`).
//!
//! The operator always names the file: the program never searches for a configuration.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::store::retention::Retention;
use documents::record::enforcement::Level;
use documents::record::ident::BoundaryName;
use documents::record::later_words::SecretName;
use documents::record::profile::Limits;
use judgement::registry::runbook_directories::{InvalidFiles, RunbookDirectories};

/// Name of the configuration file.
pub const FILE: &str = "countersign.toml";

/// The configuration of a boundary. All paths are absolute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Path of the configuration file itself.
    pub path: PathBuf,
    /// The boundary's name.
    pub name: BoundaryName,
    /// Address and port of the HTTP interface.
    pub listen: SocketAddr,
    /// The private directory of the service.
    pub data: PathBuf,
    /// Path of the SQLite database.
    pub database: PathBuf,
    /// Directories with runbooks.
    pub runbooks: Vec<PathBuf>,
    /// True if a runbook with an error is skipped, instead of preventing the seal.
    pub skip_invalid_runbooks: bool,
    /// Path of the policy file.
    pub policy: PathBuf,
    /// Path of `roster.toml`.
    pub roster: PathBuf,
    /// Path of the boundary's private key.
    pub key: PathBuf,
    /// True if the service may listen on other addresses than the loopback without TLS.
    pub insecure_behind_proxy: bool,
    /// Files of TLS. Without them, the service speaks plain HTTP.
    pub tls: Option<ServerTlsFiles>,
    /// Host names, besides the loopback names, that clients may send in `Host`.
    pub hosts: Vec<String>,
    /// True if the HTTP interface serves the Model Context Protocol at `/mcp`.
    pub mcp: bool,
    /// Limits of a step that declares no limits.
    pub limits: Limits,
    /// Highest limits that a step may declare.
    pub maximum: Limits,
    /// Maximum number of concurrent runs.
    pub runs: usize,
    /// Maximum number of proposals that may wait for signatures.
    pub pending: u64,
    /// Maximum number of proposals of one proposer that may wait for signatures.
    pub pending_per_proposer: u64,
    /// Maximum number of calls per second for one token. A key that signs gets a fifth of this rate. An IP address of
    /// callers without a token gets a tenth of this rate.
    pub calls_per_second: u64,
    /// Time without a proposal or a run after which a session ends, in seconds.
    pub session_idle_s: u64,
    /// The sandbox level.
    pub level: Level,
    /// Retention times of outputs and of old proposals. Receipts and log entries are never deleted.
    pub retention: Retention,
    /// Paths of checkpoint files outside the store, or of directories that contain such a file. The service refuses to
    /// serve a store that is older than one of these checkpoints.
    pub known_checkpoints: Vec<PathBuf>,
    /// The secrets, sorted by name.
    pub secrets: Vec<ConfiguredSecret>,
    /// Address of the listener for metrics without a token, or `None` for no such listener.
    pub metrics_listen: Option<SocketAddr>,
    /// Format of the log lines.
    pub log: LogFormat,
}

/// Format of the log lines of the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object for each line.
    Json,
}

/// Paths of the files of `[tls]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerTlsFiles {
    /// The certificate of the service, then the certificates of its issuers.
    pub certificate: PathBuf,
    /// The private key of the certificate.
    pub key: PathBuf,
    /// The CA of clients. With it, only clients with a certificate of this CA can connect.
    pub client_ca: Option<PathBuf>,
}

/// A secret of the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfiguredSecret {
    /// The name of the secret.
    pub name: SecretName,
    /// The place of the value.
    pub source: SecretSource,
    /// Patterns of the references of the steps that may get the secret. There is at least one, and each is valid.
    pub steps: Vec<String>,
}

/// Place of the value of a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// A private file.
    File(PathBuf),
    /// A variable of the environment of the service.
    Env(String),
    /// A credential that systemd gives to the service.
    Credential(String),
}

impl Config {
    /// Returns the runbook directories, which only root and the user of this process may be able to write.
    #[must_use]
    pub fn runbook_directories(&self) -> RunbookDirectories {
        let invalid = if self.skip_invalid_runbooks { InvalidFiles::Skipped } else { InvalidFiles::Refused };
        let owner = Some(rustix::process::geteuid().as_raw());
        RunbookDirectories { invalid, ..RunbookDirectories::strict(self.runbooks.clone(), owner) }
    }

    /// Returns the path of the control socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.data.join("control.sock")
    }

    /// Returns the path of the file with the last checkpoint that this boundary signed. The file is outside the store,
    /// so that the start of the service can detect a store that is older than this checkpoint.
    #[must_use]
    pub fn kept_checkpoint(&self) -> PathBuf {
        self.data.join("checkpoint")
    }

    /// Returns the directory of closed logs. A restore closes the old log.
    #[must_use]
    pub fn closed(&self) -> PathBuf {
        self.data.join("closed")
    }

    /// Returns the directory of large outputs.
    #[must_use]
    pub fn outputs(&self) -> PathBuf {
        self.data.join("outputs")
    }

    /// Returns the directory of uploaded files.
    #[must_use]
    pub fn artifacts(&self) -> PathBuf {
        self.data.join("artifacts")
    }

    /// Returns the directory of the output files of current runs.
    #[must_use]
    pub fn spool(&self) -> PathBuf {
        self.data.join("spool")
    }

    /// Returns the parent directory of the runs' working directories, for hosts on which a run cannot get its own root
    /// directory. A run with its own user id must be able to enter this directory, so it is outside the private
    /// directory.
    #[must_use]
    pub fn scratch(&self) -> PathBuf {
        self.path.parent().unwrap_or(Path::new("/")).join("runs")
    }
}

/// Returns the default maximum limits of a step.
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

/// Default address of the HTTP interface.
pub const LISTEN: &str = "127.0.0.1:7433";
/// Keys of the configuration file.
pub const KEYS: [&str; 20] = [
    "name",
    "listen",
    "insecure_behind_proxy",
    "data",
    "database",
    "runbooks",
    "skip_invalid_runbooks",
    "policy",
    "roster",
    "key",
    "hosts",
    "mcp",
    "known_checkpoints",
    "tls",
    "limits",
    "retention",
    "sandbox",
    "secrets",
    "metrics",
    "log",
];
/// Keys of the table `[limits]`.
pub const LIMIT_KEYS: [&str; 13] = [
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
    "session_idle",
];
/// Keys of the table `[retention]`.
pub const RETENTION_KEYS: [&str; 2] = ["outputs", "proposals"];
/// Keys of a table `[secrets.NAME]`.
pub const SECRET_KEYS: [&str; 4] = ["file", "env", "credential", "steps"];
/// Keys of the table `[tls]`.
pub const TLS_KEYS: [&str; 3] = ["certificate", "key", "client_ca"];
/// Keys of the table `[sandbox]`.
pub const SANDBOX_KEYS: [&str; 1] = ["level"];
/// Keys of the table `[metrics]`.
pub const METRICS_KEYS: [&str; 1] = ["listen"];
/// Keys of the table `[log]`.
pub const LOG_KEYS: [&str; 1] = ["format"];

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
    fn all_errors_of_a_configuration_are_reported_with_their_places() {
        let found = read(concat!(
            "name = \"Big Name\"\nlisten = \"localhost\"\nrunbook = [\"a\"]\ndatabase = \"postgres://db/x\"\n",
            "[limits]\nmemory = \"2TB\"\nruns = 0\ncolour = 1\n[limits.maximum]\ntimeout = \"1m\"\n[sandbox]\nlevel = \"strct\"\n",
            "[tls]\ncert = \"a.pem\"\n[retention]\noutputs = \"soon\"\n"
        ))
        .expect_err("errors");
        let all = found.join("\n");
        for (place, words) in [
            ("1:8: ", "Big Name"),
            ("2:10: ", "is not an address with a port"),
            ("3:1: ", "did you mean \"runbooks\"?"),
            ("4:12: ", "a postgres database is not supported by this version"),
            ("6:10: ", "256MiB"),
            ("7:8: ", "from 1 to"),
            ("8:1: ", "unknown key in [limits]"),
            ("10:11: ", "above its maximum"),
            ("12:9: ", "did you mean \"strict\"?"),
            ("13:1: ", "[tls] has no `certificate`"),
            ("13:1: ", "[tls] has no `key`"),
            ("14:1: ", "unknown key in [tls]"),
            ("16:11: ", "\"soon\" is not a duration"),
        ] {
            assert!(found.iter().any(|line| line.starts_with(place) && line.contains(words)), "{place}{words}\n{all}");
        }
        assert_eq!(found.len(), 13, "{all}");
    }

    #[test]
    fn each_secret_has_one_source_and_names_its_steps() {
        let config = read(concat!(
            "name = \"a\"\n[secrets.tls]\ncredential = \"tls-key\"\nsteps = [\"nginx:*\"]\n",
            "[secrets.\"aws.KEY\"]\nenv = \"KEY\"\nsteps = [\"a:b\"]\n",
            "[secrets.db]\nfile = \"s/db\"\nsteps = [\"deploy/**\", \"x:y\"]\n"
        ))
        .expect("a configuration");
        let names: Vec<&str> = config.secrets.iter().map(|secret| secret.name.as_str()).collect();
        assert_eq!(names, ["aws.KEY", "db", "tls"]);
        assert_eq!(config.secrets[1].source, SecretSource::File("/c/s/db".into()));
        assert_eq!(config.secrets[2].source, SecretSource::Credential("tls-key".to_owned()));
        assert_eq!(config.secrets[1].steps, ["deploy/**", "x:y"]);
        for (table, words) in [
            (
                "[secrets.db]\nsteps = [\"a:b\"]",
                "2:10: [secrets.db] needs exactly one of `file`, `env` and `credential`",
            ),
            ("[secrets.db]\nfile = \"a\"\nenv = \"B\"\nsteps = [\"a:b\"]", "needs exactly one of"),
            ("[secrets.db]\nfile = \"a\"", "names no step"),
            ("[secrets.db]\nfile = \"a\"\nsteps = []", "names no step"),
            ("[secrets.db]\nfile = \"a\"\nsteps = [\"[\"]", "pattern"),
            ("[secrets.db]\nfile = \"\"\nsteps = [\"a:b\"]", "`file` of [secrets.db] is not a valid"),
            ("[secrets.db]\ncredential = \"../a\"\nsteps = [\"a:b\"]", "`credential` of [secrets.db] is not a valid"),
            ("[secrets.db]\nfiles = \"a\"\nsteps = [\"a:b\"]", "did you mean \"file\"?"),
            ("[secrets.\"a b\"]\nfile = \"a\"\nsteps = [\"a:b\"]", "a secret's name"),
            ("[secrets]\ndb = \"file\"", "[secrets.db]"),
            ("secrets = true", "write [secrets.NAME] for each secret"),
        ] {
            let found = read(&format!("name = \"a\"\n{table}\n")).expect_err(table);
            assert!(found.iter().any(|line| line.contains(words)), "{table}: {found:?}");
        }
    }

    #[test]
    fn metrics_are_served_on_a_loopback_address_only_and_the_log_has_two_formats() {
        let config = read("name = \"a\"\n").expect("a configuration");
        assert_eq!((config.metrics_listen, config.log), (None, LogFormat::Text));
        let config =
            read("name = \"a\"\n[metrics]\nlisten = \"[::1]:9464\"\n[log]\nformat = \"json\"\n").expect("read");
        assert_eq!((config.metrics_listen, config.log), ("[::1]:9464".parse().ok(), LogFormat::Json));
        for (table, words) in [
            ("[metrics]\nlisten = \"0.0.0.0:9464\"", "3:10: \"0.0.0.0:9464\" is not a loopback address"),
            ("[metrics]\nlisten = \"127.0.0.1\"", "3:10: \"127.0.0.1\" is not an address with a port"),
            (
                "[metrics]\nlisten = \"127.0.0.1:7433\"",
                "3:10: \"127.0.0.1:7433\" is also the address of the HTTP interface",
            ),
            ("[metrics]\nlistens = \"127.0.0.1:1\"", "did you mean \"listen\"?"),
            ("[metrics]\nlisten = 9464", "3:10: "),
            ("[log]\nformat = \"jsno\"", "did you mean \"json\"?"),
            ("log = \"json\"", "2:7: "),
        ] {
            let found = read(&format!("name = \"a\"\n{table}\n")).expect_err(table);
            assert!(found.iter().any(|line| line.contains(words)), "{table}: {found:?}");
        }
    }

    #[test]
    fn relative_paths_start_at_the_directory_of_the_configuration() {
        let config = read("name = \"a\"\ndata = \"d\"\nkey = \"/k.pem\"\nrunbooks = [\"x\", \"/y\"]\n").expect("read");
        assert_eq!(config.database, Path::new("/c/d/countersign.db"));
        assert_eq!(config.socket(), Path::new("/c/d/control.sock"));
        assert_eq!(config.key, Path::new("/k.pem"));
        assert_eq!(config.runbooks, [PathBuf::from("/c/x"), "/y".into()]);
    }

    #[test]
    fn a_configuration_with_the_level_off_or_without_a_name_is_refused() {
        assert!(read("name = \"a\"\n[sandbox]\nlevel = \"off\"\n").is_err());
        assert!(read("").is_err_and(|found| found.iter().any(|line| line.contains("`name` is missing"))));
    }

    #[test]
    fn tls_needs_a_certificate_and_its_key() {
        let of = |table: &str| read(&format!("name = \"a\"\n[tls]\n{table}"));
        assert_eq!(of("").expect("an empty table").tls, None);
        let files = of("certificate = \"c.pem\"\nkey = \"/k.pem\"\n").expect("a pair").tls.expect("files");
        assert_eq!((files.certificate, files.key), ("/c/c.pem".into(), "/k.pem".into()));
        assert_eq!(files.client_ca, None);
        for (table, words) in [
            ("certificate = \"c.pem\"", "2:1: [tls] has no `key`"),
            ("key = \"k.pem\"", "2:1: [tls] has no `certificate`"),
            ("client_ca = \"ca.pem\"", "2:1: [tls] has no `certificate`"),
            ("certificate = \"\"\nkey = \"k\"", "3:15: `certificate` is not a valid path"),
            ("certificate = \"c\"\nkey = 1", "4:7: "),
            ("certificates = \"c\"", "did you mean \"certificate\"?"),
        ] {
            let found = of(table).expect_err(table);
            assert!(found.iter().any(|line| line.contains(words)), "{table}: {found:?}");
        }
        assert!(read("name = \"a\"\ntls = true\n").is_err());
        assert!(read("name = \"a\"\ninsecure_behind_proxy = 1\n").is_err());
    }

    #[test]
    fn values_of_a_wrong_type_never_cause_a_panic() {
        for key in KEYS {
            for value in ["1", "true", "\"\"", "[]", "[1]", "{}", "{a = 1}", "\"\\u0000\""] {
                let _ = read(&format!("name = \"a\"\n{key} = {value}\n"));
            }
        }
    }
}
