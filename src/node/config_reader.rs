//! Parser of `countersign.toml`. It reports all errors together, each with its line and column.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::carried::sessions::IDLE;
use crate::node::config::{
    Config, ConfiguredSecret, KEYS, LIMIT_KEYS, LISTEN, LOG_KEYS, LogFormat, METRICS_KEYS, RETENTION_KEYS,
    SANDBOX_KEYS, SECRET_KEYS, SecretSource, ServerTlsFiles, TLS_KEYS, maximum,
};
use crate::node::file_problem::{FileProblem, Problems};
use crate::node::owned::read_owned;
use crate::node::{toml_tree, unit};
use crate::store::retention::Retention;
use documents::record::declared::Limit;
use documents::record::enforcement::Level;
use documents::record::ident::BoundaryName;
use documents::record::later_words::SecretName;
use documents::record::profile::Limits;
use documents::yaml::{TextPlace, YamlFlaw, YamlKind, YamlNode, not_yet, unknown};
use judgement::policy::patterns::Pattern;

impl Config {
    /// Reads the configuration file. The owner and the mode are checked on the open file descriptor, so that no process
    /// can replace the file after the check.
    ///
    /// # Errors
    /// Returns all errors of the file.
    pub fn load(path: &Path) -> Result<Self, Problems> {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let text = read_owned(&path)?;
        Self::read(&path, &text)
    }

    /// Parses the text of the configuration file at `path`. Relative paths in the text are relative to the directory of
    /// `path`.
    ///
    /// # Errors
    /// Returns all errors of the text, each with its line and column.
    pub fn read(path: &Path, text: &str) -> Result<Self, Problems> {
        let (tree, flaws) = toml_tree::read(text);
        let directory = path.parent().unwrap_or(Path::new("/")).to_owned();
        let mut reader = Reader { directory, flaws };
        let config = reader.config(path, &tree);
        match config {
            Some(config) if reader.flaws.is_empty() => Ok(config),
            _ => Err(Problems::new(reader.flaws.iter().map(|flaw| FileProblem::at(path, flaw)).collect())),
        }
    }
}

struct Reader {
    directory: PathBuf,
    flaws: Vec<YamlFlaw>,
}

impl Reader {
    fn config(&mut self, path: &Path, tree: &YamlNode) -> Option<Config> {
        self.known(tree, "the configuration", &KEYS);
        let name = self.text(tree, "name").map(|text| text.parse::<BoundaryName>());
        let name = match name {
            Some(Ok(name)) => Some(name),
            Some(Err(error)) => self.flaw(tree, "name", error.to_string()),
            None if tree.value("name").is_none() => {
                self.flaw(tree, "name", "`name` is missing: name the boundary".to_owned())
            }
            None => None,
        };
        let listen = self.text(tree, "listen").unwrap_or_else(|| LISTEN.to_owned());
        let listen = match listen.parse::<SocketAddr>() {
            Ok(address) => Some(address),
            Err(_) => self.flaw(tree, "listen", format!("{listen:?} is not an address with a port: write {LISTEN:?}")),
        };
        let data = self.path(tree, "data", "boundary");
        let database = self.database(tree, &data);
        let runbooks = self.list(tree, "runbooks", &["runbooks"]);
        let runbooks: Vec<PathBuf> = runbooks.iter().map(|text| self.directory.join(text)).collect();
        if runbooks.is_empty() {
            self.flaw::<()>(
                tree,
                "runbooks",
                "no runbook directory is configured: name at least one directory".to_owned(),
            );
        }
        let skip_invalid_runbooks = self.switch(tree, "skip_invalid_runbooks");
        let insecure_behind_proxy = self.switch(tree, "insecure_behind_proxy");
        let tls = self.tls(tree);
        let mcp = self.switch(tree, "mcp");
        let hosts = self.list(tree, "hosts", &[]);
        for host in &hosts {
            if host.is_empty() || !host.bytes().all(|c| c.is_ascii_alphanumeric() || b".-:[]".contains(&c)) {
                self.flaw::<()>(
                    tree,
                    "hosts",
                    format!(
                        "{host:?} is not a valid host name: write the name that clients send, for example \
                        box.lan:7433"
                    ),
                );
            }
        }
        let (limits, maximum) = self.limits(tree);
        let numbers = tree.value("limits").cloned().unwrap_or_else(empty);
        let sandbox = self.section(tree, "sandbox", &SANDBOX_KEYS);
        let level = match self.text(&sandbox, "level").as_deref() {
            None | Some("strict") => Some(Level::Strict),
            Some("best-effort") => Some(Level::BestEffort),
            Some("off") => self.flaw(
                &sandbox,
                "level",
                "`off` is not allowed as a boundary's level: write strict or best-effort".to_owned(),
            ),
            Some(other) => self.flaw(&sandbox, "level", unknown("level", other, &["strict", "best-effort"])),
        };
        let runs = usize::try_from(self.number(&numbers, "runs", 64, 4096)).unwrap_or(1);
        let pending = self.number(&numbers, "pending", 1000, 100_000);
        let pending_per_proposer = self.number(&numbers, "pending_per_proposer", 20, pending);
        let calls_per_second = self.number(&numbers, "calls_per_second", 1000, 1_000_000);
        let session_idle_s = self.session_idle(&numbers);
        let retention = self.retention(tree);
        let known_checkpoints = self.list(tree, "known_checkpoints", &[]);
        let known_checkpoints = known_checkpoints.iter().map(|text| self.directory.join(text)).collect();
        let secrets = self.secrets(tree);
        let metrics_listen = self.metrics_listen(tree, listen);
        let log = self.log_format(tree);
        let policy = self.path(tree, "policy", "boundary/policy.yaml");
        let roster = self.path(tree, "roster", "boundary/roster.toml");
        let key = self.path(tree, "key", "boundary/key.pem");
        Some(Config {
            path: path.to_owned(),
            data: data.clone(),
            database: database?,
            runbooks,
            skip_invalid_runbooks,
            policy,
            roster,
            key,
            insecure_behind_proxy,
            tls,
            hosts,
            limits,
            maximum,
            runs,
            pending,
            pending_per_proposer,
            calls_per_second,
            session_idle_s,
            name: name?,
            listen: listen?,
            level: level?,
            retention,
            known_checkpoints,
            mcp,
            secrets,
            metrics_listen,
            log,
        })
    }

    /// Returns the files of TLS, or `None` if the table is missing or empty.
    fn tls(&mut self, tree: &YamlNode) -> Option<ServerTlsFiles> {
        let section = self.section(tree, "tls", &TLS_KEYS);
        if section.entries().is_empty() {
            return None;
        }
        for key in ["certificate", "key"] {
            if section.value(key).is_none() {
                let message =
                    format!("[tls] has no `{key}`: name the files of the certificate and of its key, or neither file");
                self.flaws.push(YamlFlaw::new(section.place, message));
            }
        }
        Some(ServerTlsFiles {
            certificate: self.path(&section, "certificate", "."),
            key: self.path(&section, "key", "."),
            client_ca: section.value("client_ca").is_some().then(|| self.path(&section, "client_ca", ".")),
        })
    }

    /// Returns the address of the listener for metrics, which needs no token and therefore must be a loopback address.
    fn metrics_listen(&mut self, tree: &YamlNode, listen: Option<SocketAddr>) -> Option<SocketAddr> {
        let section = self.section(tree, "metrics", &METRICS_KEYS);
        let text = self.text(&section, "listen")?;
        let message = match text.parse::<SocketAddr>() {
            Ok(address) if Some(address) == listen && address.port() != 0 => {
                format!("{text:?} is also the address of the HTTP interface: write another port")
            }
            Ok(address) if address.ip().is_loopback() => return Some(address),
            Ok(_) => format!(
                "{text:?} is not a loopback address, and this address needs no token: listen on a loopback address, or \
                 read /metrics of the HTTP interface with a token"
            ),
            Err(_) => format!("{text:?} is not an address with a port: write \"127.0.0.1:9464\""),
        };
        self.flaw(&section, "listen", message)
    }

    fn log_format(&mut self, tree: &YamlNode) -> LogFormat {
        let section = self.section(tree, "log", &LOG_KEYS);
        match self.text(&section, "format").as_deref() {
            None | Some("text") => LogFormat::Text,
            Some("json") => LogFormat::Json,
            Some(other) => {
                self.flaw(&section, "format", unknown("format", other, &["text", "json"])).unwrap_or(LogFormat::Text)
            }
        }
    }

    fn secrets(&mut self, tree: &YamlNode) -> Vec<ConfiguredSecret> {
        let Some(section) = tree.value("secrets") else { return Vec::new() };
        if !matches!(section.kind, YamlKind::Map(_)) {
            let message = "`secrets` must be tables: write [secrets.NAME] for each secret";
            self.flaws.push(YamlFlaw::new(section.place, message));
        }
        let mut found: Vec<ConfiguredSecret> = Vec::new();
        for (key, secret) in section.entries() {
            match key.name.parse::<SecretName>() {
                Ok(name) => found.extend(self.secret(name, key.place, secret)),
                Err(error) => self.flaws.push(YamlFlaw::new(key.place, error.to_string())),
            }
        }
        found.sort_by(|a, b| a.name.as_str().cmp(b.name.as_str()));
        found
    }

    fn secret(&mut self, name: SecretName, place: TextPlace, node: &YamlNode) -> Option<ConfiguredSecret> {
        let what = format!("[secrets.{}]", name.as_str());
        self.known(node, &what, &SECRET_KEYS);
        let sources: Vec<SecretSource> = ["file", "env", "credential"]
            .into_iter()
            .filter_map(|key| {
                let text = self.text(node, key)?;
                let is_name = text.bytes().all(|c| c.is_ascii_alphanumeric() || b"._-".contains(&c))
                    && !matches!(text.as_str(), "" | "." | "..");
                let source = match key {
                    "file" if !text.is_empty() && !text.contains('\0') => SecretSource::File(self.directory.join(text)),
                    "env" if is_name => SecretSource::Env(text),
                    "credential" if is_name => SecretSource::Credential(text),
                    _ => return self.flaw(node, key, format!("`{key}` of {what} is not a valid name or path")),
                };
                Some(source)
            })
            .collect();
        let count = ["file", "env", "credential"].iter().filter(|key| node.value(key).is_some()).count();
        if count != 1 {
            let message = format!("{what} needs exactly one of `file`, `env` and `credential`");
            self.flaws.push(YamlFlaw::new(place, message));
        }
        let steps = self.list(node, "steps", &[]);
        // A value of another type already has its error.
        let is_list = node.value("steps").is_none_or(|steps| matches!(steps.kind, YamlKind::List(_)));
        if steps.is_empty() && is_list {
            let message = format!(
                "{what} names no step, so no run could get the secret: add `steps`, for example steps = [\"deploy/**\"]"
            );
            self.flaws.push(YamlFlaw::new(node.value("steps").map_or(place, |steps| steps.place), message));
        }
        for pattern in &steps {
            if let Err(error) = Pattern::parse(pattern) {
                self.flaw::<()>(node, "steps", error.to_string());
            }
        }
        sources.into_iter().next().map(|source| ConfiguredSecret { name, source, steps })
    }

    fn database(&mut self, tree: &YamlNode, data: &Path) -> Option<PathBuf> {
        let Some(text) = self.text(tree, "database") else { return Some(data.join("countersign.db")) };
        match text
            .split_once("://")
            .map(|(scheme, _)| scheme)
            .or_else(|| text.split_once(':').map(|(scheme, _)| scheme))
        {
            None => Some(self.directory.join(text)),
            Some("sqlite") => {
                let rest = text.trim_start_matches("sqlite:").trim_start_matches("//");
                Some(self.directory.join(rest))
            }
            Some(scheme) => self.flaw(
                tree,
                "database",
                format!("{}, or name a SQLite file", not_yet(&format!("a {scheme} database"))),
            ),
        }
    }

    fn retention(&mut self, tree: &YamlNode) -> Retention {
        let section = self.section(tree, "retention", &RETENTION_KEYS);
        let mut span = |key: &str, default: i64| match self.text(&section, key).map(|text| unit::seconds(&text)) {
            Some(Ok(seconds)) => seconds,
            Some(Err(message)) => self.flaw(&section, key, message).unwrap_or(default),
            None => default,
        };
        let Retention { outputs_s, proposals_s } = Retention::DEFAULT;
        Retention { outputs_s: span("outputs", outputs_s), proposals_s: span("proposals", proposals_s) }
    }

    /// Returns the time without a proposal or a run after which a session ends, in seconds.
    fn session_idle(&mut self, limits: &YamlNode) -> u64 {
        let default = IDLE.as_secs();
        match self.text(limits, "session_idle").map(|text| unit::seconds(&text)) {
            Some(Ok(seconds)) => u64::try_from(seconds).unwrap_or(default),
            Some(Err(message)) => self.flaw(limits, "session_idle", message).unwrap_or(default),
            None => default,
        }
    }

    fn limits(&mut self, tree: &YamlNode) -> (Limits, Limits) {
        let section = self.section(tree, "limits", &LIMIT_KEYS);
        let mut limits = Limits::default();
        self.measure(&section, &mut limits);
        let mut maximum = maximum();
        let above = section.value("maximum").cloned().unwrap_or_else(empty);
        let words: Vec<&str> = unit::LIMITS.iter().map(|(word, _)| *word).collect();
        self.known(&above, "[limits.maximum]", &words);
        self.measure(&above, &mut maximum);
        for (word, limit) in unit::LIMITS {
            if limit.value(&limits) > limit.value(&maximum) {
                let place = if section.value(word).is_some() { &section } else { &above };
                self.flaw::<()>(
                    place,
                    word,
                    format!("the default of {word} is above its maximum: lower it, or raise limits.maximum.{word}"),
                );
            }
        }
        (limits, maximum)
    }

    fn measure(&mut self, section: &YamlNode, limits: &mut Limits) {
        for (word, limit) in unit::LIMITS {
            let Some(node) = section.value(word) else { continue };
            // A limit that is a number without a unit may also be a TOML integer.
            let text = match &node.kind {
                YamlKind::Integer(number) if matches!(limit, Limit::Processes | Limit::Cpu) => Some(number.to_string()),
                _ => node.text(&format!("`{word}`"), &mut self.flaws).map(str::to_owned),
            };
            match text.map(|text| unit::limit(limit, &text)) {
                Some(Ok(value)) => *limit.of(limits) = value,
                Some(Err(message)) => self.flaws.push(YamlFlaw::new(node.place, message)),
                None => {}
            }
        }
    }

    /// Returns a table of the file, or an empty table if the file has no such table.
    fn section(&mut self, tree: &YamlNode, name: &str, keys: &[&str]) -> YamlNode {
        let section = tree.value(name).cloned().unwrap_or_else(empty);
        self.known(&section, &format!("[{name}]"), keys);
        section
    }

    fn known(&mut self, node: &YamlNode, what: &str, keys: &[&str]) {
        node.closed_map(what, keys, &[], &mut self.flaws);
    }

    fn text(&mut self, node: &YamlNode, key: &str) -> Option<String> {
        node.value(key)?.text(&format!("`{key}`"), &mut self.flaws).map(str::to_owned)
    }

    fn path(&mut self, node: &YamlNode, key: &str, default: &str) -> PathBuf {
        let text = self.text(node, key).unwrap_or_else(|| default.to_owned());
        if text.is_empty() || text.contains('\0') {
            self.flaw::<()>(node, key, format!("`{key}` is not a valid path: write a path, relative to this file"));
        }
        self.directory.join(text)
    }

    fn list(&mut self, node: &YamlNode, key: &str, default: &[&str]) -> Vec<String> {
        let Some(value) = node.value(key) else { return default.iter().map(|&text| text.to_owned()).collect() };
        let what = format!("`{key}`");
        let Some(items) = value.list(&what, &mut self.flaws) else { return Vec::new() };
        let items = items.to_vec();
        items.iter().filter_map(|item| item.text(&what, &mut self.flaws).map(str::to_owned)).collect()
    }

    /// Returns the value of a key that is false by default.
    fn switch(&mut self, node: &YamlNode, key: &str) -> bool {
        match node.value(key).map(|value| &value.kind) {
            None => false,
            Some(YamlKind::Boolean(on)) => *on,
            Some(_) => self.flaw(node, key, format!("`{key}` must be true or false")).unwrap_or_default(),
        }
    }

    fn number(&mut self, node: &YamlNode, key: &str, default: u64, most: u64) -> u64 {
        let Some(value) = node.value(key) else { return default.min(most) };
        match value.kind {
            YamlKind::Integer(number) if number > 0 && number.unsigned_abs() <= most => number.unsigned_abs(),
            _ => {
                self.flaws.push(YamlFlaw::new(value.place, format!("`{key}` must be a number from 1 to {most}")));
                default
            }
        }
    }

    /// Records an error at the value of a key, or at the table if the key is missing. Always returns `None`.
    fn flaw<T>(&mut self, node: &YamlNode, key: &str, message: String) -> Option<T> {
        self.flaws.push(YamlFlaw::new(node.value(key).unwrap_or(node).place, message));
        None
    }
}

fn empty() -> YamlNode {
    YamlNode { place: documents::yaml::TextPlace { line: 1, column: 1 }, kind: YamlKind::Map(Vec::new()) }
}
