//! Settings of the database server: the URL of the database and the table `[postgres]` of the configuration.
//!
//! The file also contains conversions from errors of the database to faults of the store, and the key of the lock that
//! excludes the other writers of a schema.

use std::fmt;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio_postgres::config::{ChannelBinding, Host, SslMode, TargetSessionAttrs};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Config, Error};

use crate::{Replicas, ServerTable, StoreFault, StoreResult, refused, waits};
use documents::{Name, sha256};
use wire::{ClientCertificatePem, DatabaseTls};

/// The schema of a URL without the parameter `schema`.
const SCHEMA: &str = "countersign";

/// Checked settings of the connections to one schema of a database.
#[derive(Debug, Clone)]
pub struct ServerSettings {
    /// All settings of a connection except the settings of the session.
    pub(super) config: Config,
    pub(super) tls: Option<DatabaseTls>,
    /// Name of the schema.
    pub schema: String,
    /// Name of this node.
    pub node: Name,
    /// What keeps a committed batch after the loss of the server.
    pub replicas: Replicas,
    /// Files of this host with secrets.
    pub private_files: Vec<PathBuf>,
    /// Start, identity and timeline of the server of the newest checked connection of this service. Connections that read
    /// must lead to the same server.
    pub(super) server: Arc<Mutex<String>>,
    /// True if each address of the server is a loopback address or a Unix socket.
    is_local: bool,
    /// The URL, which contains no secret.
    url: String,
}

impl PartialEq for ServerSettings {
    fn eq(&self, other: &Self) -> bool {
        let parts = |of: &Self| {
            (
                of.url.clone(),
                of.node.clone(),
                of.replicas,
                of.private_files.clone(),
            )
        };
        parts(self) == parts(other)
    }
}

impl Eq for ServerSettings {}

/// Shows the URL, which contains no secret.
impl fmt::Display for ServerSettings {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.url)
    }
}

impl ServerSettings {
    /// Reads `postgres://user@host1,host2:port/name?schema=…` and the files that `table` names.
    ///
    /// # Errors
    /// Returns a fault if the URL is not usable, if the connection would not be safe, or if a file cannot be read.
    pub fn new(url: &str, table: &ServerTable) -> StoreResult<Self> {
        let parsed = parameters(url)?;
        let mut config: Config = parsed.url.parse().map_err(|error| {
            refused(format!("the database URL cannot be read: {error}; {FORM}"))
        })?;
        if config.get_password().is_some() {
            return Err(refused(
                "the database URL contains a password, which other users can read; remove it from the URL, and write \
                 it into the file that `password_file` in [postgres] names",
            ));
        }
        if config.get_dbname().is_none_or(str::is_empty)
            || config.get_user().is_none_or(str::is_empty)
        {
            return Err(refused(format!(
                "the database URL has no user or no database name; {FORM}"
            )));
        }
        if let Some(path) = &table.password_file {
            let password = read_secret(path, "password_file")?;
            config.password(password.trim_ascii_end());
        }
        let local = |host: &Host| match host {
            Host::Tcp(name) => {
                name == "localhost"
                    || name
                        .parse()
                        .is_ok_and(|address: IpAddr| address.is_loopback())
            }
            Host::Unix(_) => true,
        };
        let sockets = config
            .get_hosts()
            .iter()
            .filter(|host| matches!(host, Host::Unix(_)))
            .count();
        if config.get_hosts().is_empty() {
            return Err(refused(format!("the database URL has no host; {FORM}")));
        }
        if sockets > 0 && sockets < config.get_hosts().len() {
            return Err(refused(
                "the database URL has both a Unix socket and a network host; use only one kind",
            ));
        }
        let is_local = config.get_hosts().iter().all(local);
        if sockets > 0 && parsed.tls == Some(true) {
            return Err(refused(
                "the database URL asks for TLS (sslmode), but a Unix socket has no TLS; remove `sslmode` from the URL, or name \
                 a host",
            ));
        }
        let encrypted =
            !is_local || sockets == 0 && (table.ca.is_some() || parsed.tls == Some(true));
        if encrypted && parsed.tls == Some(false) {
            return Err(refused(
                "the database URL switches TLS or the check of the certificate off (sslmode), which is allowed only on \
                 this machine; remove `sslmode` from the URL, and name the certificate authority with `ca` in [postgres]",
            ));
        }
        let tls = if encrypted {
            Some(encryption(table)?)
        } else {
            None
        };
        config
            .ssl_mode(if encrypted {
                SslMode::Require
            } else {
                SslMode::Disable
            })
            .channel_binding(ChannelBinding::Disable)
            .application_name(format!("countersign:{}", table.node))
            .connect_timeout(Duration::from_secs(5))
            .tcp_user_timeout(Duration::from_secs(20))
            .keepalives_idle(Duration::from_secs(10))
            .keepalives_interval(Duration::from_secs(3))
            .keepalives_retries(3);
        if config.get_hosts().len() > 1 {
            config.target_session_attrs(TargetSessionAttrs::ReadWrite);
        }
        let private_files = table
            .password_file
            .iter()
            .chain(&table.key)
            .cloned()
            .collect();
        let (node, replicas) = (table.node.clone(), table.replicas);
        let (schema, server, url) = (parsed.schema, Arc::default(), url.to_owned());
        Ok(Self {
            config,
            tls,
            schema,
            node,
            replicas,
            private_files,
            server,
            is_local,
            url,
        })
    }

    /// Returns the network addresses of the server, each with its port. A server with a Unix socket usually also
    /// listens on `localhost`.
    pub fn addresses(&self) -> Vec<(String, u16)> {
        let ports = match self.config.get_ports() {
            [] => &[5432][..],
            ports => ports,
        };
        let hosts = self.config.get_hosts().iter().zip(ports.iter().cycle());
        let of_network = |(host, port): (&Host, &u16)| match host {
            Host::Tcp(name) => (name.clone(), *port),
            Host::Unix(_) => ("localhost".to_owned(), *port),
        };
        hosts.map(of_network).collect()
    }

    /// Returns the URL for the owner of the database, whose name the operator fills in.
    pub(super) fn url_of_owner(&self) -> String {
        format!(
            "postgres://OWNER@{}",
            self.url.split_once('@').map_or("", |(_, rest)| rest)
        )
    }

    /// Returns true if each address of the server is a loopback address or a Unix socket.
    pub fn is_local(&self) -> bool {
        self.is_local
    }

    /// Returns the settings with the options of a session, which the server applies before the first statement. The
    /// option `countersign.session` shows that no pooler drops the options.
    pub(super) fn session(&self, options: &str) -> Config {
        let mut config = self.config.clone();
        config.options(format!(
            "-c countersign.session=on -c search_path={} {options}",
            self.schema
        ));
        config
    }

    /// Names the database in messages.
    pub(super) fn place(&self) -> String {
        let hosts: Vec<String> = self.config.get_hosts().iter().map(host_text).collect();
        format!(
            "{} at {}",
            self.config.get_dbname().unwrap_or_default(),
            hosts.join(",")
        )
    }
}

const FORM: &str = "the form is postgres://USER@HOST:PORT/DATABASE?schema=SCHEMA";

fn host_text(host: &Host) -> String {
    match host {
        Host::Tcp(name) => name.clone(),
        Host::Unix(path) => path.display().to_string(),
    }
}

/// A URL without the parameters of this program, and the values of these parameters.
struct Parameters {
    url: String,
    schema: String,
    /// Whether `sslmode` asks for TLS. A connection with TLS always checks the certificate and the name of the server.
    tls: Option<bool>,
}

fn parameters(url: &str) -> StoreResult<Parameters> {
    let (base, query) = url.split_once('?').unwrap_or((url, ""));
    let mut parsed = Parameters {
        url: String::new(),
        schema: SCHEMA.to_owned(),
        tls: None,
    };
    let mut kept = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=').unwrap_or((pair, "")) {
            ("schema", name) => name.clone_into(&mut parsed.schema),
            ("sslmode", "require" | "verify-ca" | "verify-full") => parsed.tls = Some(true),
            ("sslmode", "disable" | "allow" | "prefer") => parsed.tls = Some(false),
            ("host" | "port", _) => kept.push(pair),
            (other, _) => {
                return Err(refused(format!(
                    "the database URL has the parameter `{other}`, or a value of it, that this program does not know; the \
                     known parameters are schema, sslmode (disable, allow, prefer, require, verify-ca or verify-full), host \
                     and port"
                )));
            }
        }
    }
    let of_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    let schema = parsed.schema.as_bytes();
    if schema.len() > 63
        || !schema.first().is_some_and(u8::is_ascii_lowercase)
        || !schema.iter().copied().all(of_name)
    {
        return Err(refused(format!(
            "the schema name `{}` in the database URL is not usable; use at most 63 characters of a-z, 0-9 and `_`, with \
             a letter first",
            parsed.schema
        )));
    }
    let mark = if kept.is_empty() { "" } else { "?" };
    parsed.url = format!("{base}{mark}{}", kept.join("&"));
    Ok(parsed)
}

fn encryption(table: &ServerTable) -> StoreResult<DatabaseTls> {
    let authorities = table
        .ca
        .as_deref()
        .map(|path| read(path, "ca"))
        .transpose()?;
    let pair = match (&table.certificate, &table.key) {
        (Some(certificate), Some(key)) => {
            Some((read(certificate, "certificate")?, read_secret(key, "key")?))
        }
        (None, None) => None,
        _ => {
            return Err(refused(
                "[postgres] has only one of `certificate` and `key`; set both, or remove both",
            ));
        }
    };
    let pem = pair
        .as_ref()
        .map(|(certificates, key)| ClientCertificatePem { certificates, key });
    DatabaseTls::new(authorities.as_deref(), pem).map_err(|error| {
        refused(format!(
            "TLS to the database cannot be set up: {error}; check the files in [postgres]"
        ))
    })
}

fn read(path: &Path, name: &str) -> StoreResult<Vec<u8>> {
    std::fs::read(path).map_err(|error| {
        refused(format!(
            "the file {} of `{name}` in [postgres] cannot be read: {error}",
            path.display()
        ))
    })
}

/// Reads a file that other users must not be able to read.
fn read_secret(path: &Path, name: &str) -> StoreResult<Vec<u8>> {
    let bytes = read(path, name)?;
    let mode = std::fs::metadata(path).map(|metadata| metadata.mode() & 0o777);
    if mode.is_ok_and(|mode| mode & 0o077 == 0) {
        return Ok(bytes);
    }
    let file = path.display();
    Err(refused(format!(
        "other users can read the file {file} of `{name}` in [postgres]; run: chmod 600 {file}"
    )))
}

/// Beginning of the reason if a connection pooler answers.
pub const POOLER: &str = "a connection pooler answers in place of PostgreSQL";

/// Returns the fault of a statement that failed before the commit, so that nothing of its batch is stored.
pub fn fault(during: &'static str, error: &Error) -> StoreFault {
    let Some(said) = error.as_db_error() else {
        return if error.is_closed()
            || std::error::Error::source(error)
                .is_some_and(<dyn std::error::Error>::is::<std::io::Error>)
        {
            unreachable(during, &words(error))
        } else {
            StoreFault::database(during, words(error))
        };
    };
    let code = said.code();
    let class = &code.code()[..2];
    if *code == SqlState::INVALID_SQL_STATEMENT_NAME {
        // A pooler gave the statements of this connection to another connection of the server.
        return refused(format!(
            "{during}: {POOLER} ({}); name the server itself in the URL",
            words(error)
        ));
    }
    if *code == SqlState::DISK_FULL {
        return StoreFault::Full { during };
    }
    // Another writer committed this leaf or this batch first.
    let conflicts =
        *code == SqlState::UNIQUE_VIOLATION && matches!(said.table(), Some("leaf" | "batch"));
    // 08, 53, 57: the connection, the limits of the server, and the administrator. The listed codes are timeouts, and a
    // server that became a standby.
    let passes = conflicts
        || matches!(class, "08" | "53" | "57")
        || [
            SqlState::LOCK_NOT_AVAILABLE,
            SqlState::READ_ONLY_SQL_TRANSACTION,
            SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT,
        ]
        .contains(code);
    if passes {
        unreachable(during, &words(error))
    } else {
        StoreFault::database(during, words(error))
    }
}

pub fn unreachable(during: &'static str, why: &str) -> StoreFault {
    waits(format!(
        "{during}: the database cannot be used now: {why}; try again later"
    ))
}

/// Returns the message of the server, or of the operating system.
pub fn words(error: &Error) -> String {
    if let Some(said) = error.as_db_error() {
        let detail = said
            .detail()
            .map(|detail| format!(" ({detail})"))
            .unwrap_or_default();
        return format!("{}{detail}", said.message());
    }
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

/// Returns 64 bits of a hash of the names of the database and of the schema.
pub fn lock_key(database: &str, schema: &str) -> i64 {
    let digest = sha256(format!("{database}\0{schema}").as_bytes());
    let mut key = [0; 8];
    key.copy_from_slice(&digest[..8]);
    i64::from_be_bytes(key)
}
