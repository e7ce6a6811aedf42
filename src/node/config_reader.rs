//! Reads the values of `countersign.toml`, and checks the form of each value. All errors are reported together, each
//! with its line and column.

use std::{
    fmt::Display,
    net::SocketAddr,
    path::{Path, PathBuf},
    str::FromStr,
};

use crate::{
    Config, LISTEN, LogFormat, TlsTable,
    node::{
        config::{
            LimitsTable, LogTable, MetricsTable, PostgresTable, RetentionTable, RunLimits,
            SandboxTable, SecretTable, template,
        },
        toml_tree,
    },
    read_owned,
};
use boundary::{ConfiguredSecret, SecretSource};
use documents::{BoundaryName, Level, Limit, Limits, SecretName};
use reading::{
    FileProblem, LIMITS, Pattern, Problems, TextPlace, YamlFlaw, YamlKind, YamlNode, attributes,
    duration, yaml::unknown,
};
use store::{Database, Replicas, Retention, ServerTable};

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
        let (mut reader, tree) = Reader::new(path, text);
        let config = reader.config(&tree);
        reader.finish(config)
    }
}

/// A reader of one configuration file, with the errors that it has found.
pub struct Reader {
    pub file: PathBuf,
    directory: PathBuf,
    pub flaws: Vec<YamlFlaw>,
}

impl Reader {
    fn config(&mut self, tree: &YamlNode) -> Option<Config> {
        self.known(tree, "the configuration", Config::KEYS);
        let name = self.name(tree);
        let listen = self.address(tree, "listen", LISTEN);
        let data = self.path(tree, "data");
        let postgres = self.postgres(tree);
        let database = self.database(tree, &data, postgres.as_ref());
        let runbooks = self.paths(tree, "runbooks");
        if runbooks.is_empty() {
            let message = "no runbook directory is configured: name at least one directory";
            self.flaw(tree, "runbooks", message);
        }
        let retention = self.table(tree, "retention", RetentionTable::KEYS);
        let sandbox = self.table(tree, "sandbox", SandboxTable::KEYS);
        let log = self.table(tree, "log", LogTable::KEYS);
        Some(Config {
            runbooks,
            skip_invalid_runbooks: self.switch(tree, "skip_invalid_runbooks"),
            insecure_behind_proxy: self.switch(tree, "insecure_behind_proxy"),
            mcp: self.switch(tree, "mcp"),
            proxy: self.parsed(tree, "proxy"),
            hosts: self.hosts(tree),
            limits: self.limits(tree),
            retention: Retention {
                outputs_s: self.seconds(&retention, "outputs"),
                proposals_s: self.seconds(&retention, "proposals"),
                pack_s: self.seconds(&retention, "pack"),
            },
            sandbox: SandboxTable {
                level: self
                    .word(
                        &sandbox,
                        "level",
                        &[Level::Strict, Level::BestEffort],
                        Level::word,
                    )
                    .unwrap_or(Level::Strict),
            },
            known_checkpoints: self.paths(tree, "known_checkpoints"),
            secrets: self.secrets(tree),
            notify: self.notify(tree),
            metrics: MetricsTable {
                listen: self.metrics_listen(tree, listen),
            },
            log: LogTable {
                format: self
                    .word(&log, "format", &LogFormat::ALL, LogFormat::word)
                    .unwrap_or(LogFormat::Text),
            },
            policy: self.path(tree, "policy"),
            rosters: self.path(tree, "rosters"),
            bundles_from_roster: self.number(tree, "bundles_from_roster", 65_536),
            key: self.path(tree, "key"),
            tls: self.tls(tree),
            path: self.file.clone(),
            data,
            database: database?,
            postgres,
            name: name?,
            listen: listen?,
        })
    }

    fn limits(&mut self, tree: &YamlNode) -> LimitsTable {
        let keys: Vec<&str> = RunLimits::KEYS
            .iter()
            .chain(LimitsTable::KEYS)
            .copied()
            .collect();
        let table = self.table(tree, "limits", &keys);
        let (of_a_run, maximum) = self.run_limits(&table);
        let pending = self.number(&table, "pending", 100_000);
        LimitsTable {
            of_a_run,
            maximum,
            runs: usize::try_from(self.number(&table, "runs", 4096)).unwrap_or(1),
            pending,
            pending_per_proposer: self.number(&table, "pending_per_proposer", pending),
            calls_per_second: self.number(&table, "calls_per_second", 1_000_000),
            session_idle: self.seconds(&table, "session_idle"),
        }
    }

    /// Returns a reader of the file at `path`, and the values of the file. If `text` lacks a key, the value is that of
    /// the template, at the place `0:0`.
    pub fn new(path: &Path, text: &str) -> (Self, YamlNode) {
        let (mut tree, flaws) = toml_tree::read(text);
        let (defaults, _) = toml_tree::read(&template(""));
        add_defaults(&mut tree, &defaults);
        let directory = path.parent().unwrap_or(Path::new("/")).to_owned();
        (
            Self {
                file: path.to_owned(),
                directory,
                flaws,
            },
            tree,
        )
    }

    /// Returns the configuration if the reader has found no error.
    pub fn finish(self, config: Option<Config>) -> Result<Config, Problems> {
        match config {
            Some(config) if self.flaws.is_empty() => Ok(config),
            _ => Err(FileProblem::of_flaws(&self.file, self.flaws).into()),
        }
    }

    pub fn name(&mut self, tree: &YamlNode) -> Option<BoundaryName> {
        if !tree.value("name").is_some_and(is_written) {
            self.flaw(tree, "name", "`name` is missing: name the boundary");
            return None;
        }
        self.parsed(tree, "name")
    }

    pub fn address(&mut self, node: &YamlNode, key: &str, example: &str) -> Option<SocketAddr> {
        self.value(node, key, |text| {
            let wrong = |_| format!("{text:?} is not an address with a port: write {example:?}");
            text.parse().map_err(wrong)
        })
    }

    pub fn hosts(&mut self, tree: &YamlNode) -> Vec<String> {
        let hosts = self.list(tree, "hosts");
        for host in &hosts {
            if host.is_empty()
                || !host
                    .bytes()
                    .all(|c| c.is_ascii_alphanumeric() || b".-:[]".contains(&c))
            {
                self.flaw(
                    tree,
                    "hosts",
                    format!(
                        "{host:?} is not a valid host name: write the name that clients send, for example \
                        box.lan:7433"
                    ),
                );
            }
        }
        hosts
    }

    /// Returns the files of TLS, or `None` if the table is missing or empty.
    pub fn tls(&mut self, tree: &YamlNode) -> Option<TlsTable> {
        let section = self.table(tree, "tls", TlsTable::KEYS);
        if section.entries().is_empty() {
            return None;
        }
        for key in ["certificate", "key"] {
            if section.value(key).is_none() {
                let message = format!(
                    "[tls] has no `{key}`: name the files of the certificate and of its key, or neither file"
                );
                self.flaw(&section, key, message);
            }
        }
        Some(TlsTable {
            certificate: self.path(&section, "certificate"),
            key: self.path(&section, "key"),
            client_ca: self.optional_path(&section, "client_ca"),
        })
    }

    /// Returns the address of the listener for metrics, which needs no token and therefore must be a loopback address.
    pub fn metrics_listen(
        &mut self,
        tree: &YamlNode,
        listen: Option<SocketAddr>,
    ) -> Option<SocketAddr> {
        let section = self.table(tree, "metrics", MetricsTable::KEYS);
        let (text, address) = (
            self.text(&section, "listen")?,
            self.address(&section, "listen", "127.0.0.1:9464")?,
        );
        if Some(address) == listen && address.port() != 0 {
            let message =
                format!("{text:?} is also the address of the HTTP interface: write another port");
            self.flaw(&section, "listen", message);
            return None;
        }
        if !address.ip().is_loopback() {
            let message = format!(
                "{text:?} is not a loopback address, and this address needs no token: listen on a loopback address, \
                 or read /metrics of the HTTP interface with a token"
            );
            self.flaw(&section, "listen", message);
            return None;
        }
        Some(address)
    }

    pub fn secrets(&mut self, tree: &YamlNode) -> Vec<ConfiguredSecret> {
        let Some(section) = tree.value("secrets") else {
            return Vec::new();
        };
        if !matches!(section.kind, YamlKind::Map(_)) {
            let message = "`secrets` must be tables: write [secrets.NAME] for each secret";
            self.note(section.place, message);
        }
        let mut found: Vec<ConfiguredSecret> = Vec::new();
        for (key, secret) in section.entries() {
            match key.name.parse::<SecretName>() {
                Ok(name) => found.extend(self.secret(name, key.place, secret)),
                Err(error) => self.note(key.place, error.to_string()),
            }
        }
        found.sort_by(|a, b| a.name.cmp(&b.name));
        found
    }

    fn secret(
        &mut self,
        name: SecretName,
        place: TextPlace,
        node: &YamlNode,
    ) -> Option<ConfiguredSecret> {
        let what = format!("[secrets.{}]", name.as_str());
        self.known(node, &what, SecretTable::KEYS);
        let sources: Vec<SecretSource> = SOURCES
            .into_iter()
            .filter_map(|key| {
                let text = self.text(node, key)?;
                let is_name = text
                    .bytes()
                    .all(|c| c.is_ascii_alphanumeric() || b"._-".contains(&c))
                    && !matches!(text.as_str(), "" | "." | "..");
                let source = match key {
                    "file" if !text.is_empty() && !text.contains('\0') => {
                        SecretSource::File(self.directory.join(text))
                    }
                    "env" if is_name => SecretSource::Env(text),
                    "credential" if is_name => SecretSource::Credential(text),
                    _ => {
                        self.flaw(
                            node,
                            key,
                            format!("`{key}` of {what} is not a valid name or path"),
                        );
                        return None;
                    }
                };
                Some(source)
            })
            .collect();
        let given = SOURCES.iter().filter(|key| node.value(key).is_some());
        if given.count() != 1 {
            let message = format!("{what} needs exactly one of `file`, `env` and `credential`");
            self.note(place, message);
        }
        let steps = self.list(node, "steps");
        // A value of another type already has its error.
        let is_list = node
            .value("steps")
            .is_none_or(|steps| matches!(steps.kind, YamlKind::List(_)));
        if steps.is_empty() && is_list {
            let message = format!(
                "{what} names no step, so no run could get the secret: add `steps`, for example steps = [\"deploy/**\"]"
            );
            self.note(
                node.value("steps").map_or(place, |steps| steps.place),
                message,
            );
        }
        self.check_patterns(node, &steps);
        sources.into_iter().next().map(|source| ConfiguredSecret {
            name,
            source,
            steps,
        })
    }

    pub fn check_patterns(&mut self, node: &YamlNode, steps: &[String]) {
        for error in steps.iter().filter_map(|step| Pattern::parse(step).err()) {
            self.flaw(node, "steps", error.to_string());
        }
    }

    fn database(
        &mut self,
        tree: &YamlNode,
        data: &Path,
        postgres: Option<&ServerTable>,
    ) -> Option<Database> {
        // The default is relative to `data`.
        if !tree.value("database").is_some_and(is_written) {
            return Some(Database::File(data.join("countersign.db")));
        }
        let directory = self.directory.clone();
        self.value(tree, "database", |text| {
            Database::parse(text, &directory, postgres)
        })
    }

    fn postgres(&mut self, tree: &YamlNode) -> Option<ServerTable> {
        let section = self.table(tree, "postgres", PostgresTable::KEYS);
        if section.entries().is_empty() {
            return None;
        }
        if section.value("node").is_none() {
            let message = "[postgres] has no `node`: name this node, with another name for each service of the boundary";
            self.flaw(&section, "node", message);
            return None;
        }
        Some(ServerTable {
            node: self.parsed(&section, "node")?,
            password_file: self.optional_path(&section, "password_file"),
            ca: self.optional_path(&section, "ca"),
            certificate: self.optional_path(&section, "certificate"),
            key: self.optional_path(&section, "key"),
            replicas: self
                .word(&section, "replicas", &Replicas::ALL, Replicas::word)
                .unwrap_or_default(),
        })
    }

    /// Returns the limits of a step that declares none, and the highest limits that a step may declare.
    pub fn run_limits(&mut self, section: &YamlNode) -> (Limits, Limits) {
        let words = LIMITS.map(|(word, _)| word);
        let above = section.value("maximum").cloned().unwrap_or_else(empty);
        self.known(&above, "[limits.maximum]", &words);
        let (limits, maximum) = (self.measure(section), self.measure(&above));
        for (word, limit) in LIMITS {
            if limit.value(&limits) > limit.value(&maximum) {
                let place = if section.value(word).is_some_and(is_written) {
                    section
                } else {
                    &above
                };
                self.flaw(
                    place,
                    word,
                    format!("the default of {word} is above its maximum: lower it, or raise limits.maximum.{word}"),
                );
            }
        }
        (limits, maximum)
    }

    fn measure(&mut self, section: &YamlNode) -> Limits {
        let mut limits = Limits::default();
        for (word, limit) in LIMITS {
            let Some(node) = section.value(word) else {
                continue;
            };
            // A limit that is a number without a unit may also be a TOML integer.
            let text = match &node.kind {
                YamlKind::Integer(number) if matches!(limit, Limit::Processes | Limit::Cpu) => {
                    Some(number.to_string())
                }
                _ => node
                    .text(&format!("`{word}`"), &mut self.flaws)
                    .map(str::to_owned),
            };
            match text.map(|text| attributes::limit(limit, &text)) {
                Some(Ok(value)) => *limit.of(&mut limits) = value,
                Some(Err(message)) => self.note(node.place, message),
                None => {}
            }
        }
        limits
    }

    /// Returns a table of the file.
    pub fn table(&mut self, tree: &YamlNode, name: &str, keys: &[&str]) -> YamlNode {
        let table = tree.value(name).cloned().unwrap_or_else(empty);
        self.known(&table, &format!("[{name}]"), keys);
        table
    }

    pub fn known(&mut self, node: &YamlNode, what: &str, keys: &[&str]) {
        node.closed_map(what, keys, &mut self.flaws);
    }

    pub fn text(&mut self, node: &YamlNode, key: &str) -> Option<String> {
        node.value(key)?
            .text(&format!("`{key}`"), &mut self.flaws)
            .map(str::to_owned)
    }

    /// Returns the value that stands for the word of a key.
    pub fn word<T: Copy>(
        &mut self,
        node: &YamlNode,
        key: &str,
        all: &[T],
        word: fn(T) -> &'static str,
    ) -> Option<T> {
        self.value(node, key, |text| {
            let found = all.iter().copied().find(|value| word(*value) == text);
            let names = || all.iter().map(|value| word(*value)).collect::<Vec<_>>();
            found.ok_or_else(|| unknown(key, text, &names()))
        })
    }

    /// Returns the value of a key, which the type of the value parses.
    pub fn parsed<T: FromStr<Err: Display>>(&mut self, node: &YamlNode, key: &str) -> Option<T> {
        self.value(node, key, str::parse)
    }

    /// Returns the value that `parse` makes of the text.
    fn value<T, E: Display>(
        &mut self,
        node: &YamlNode,
        key: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let parsed = parse(&self.text(node, key)?);
        parsed
            .map_err(|error| self.flaw(node, key, error.to_string()))
            .ok()
    }

    pub fn optional_path(&mut self, node: &YamlNode, key: &str) -> Option<PathBuf> {
        node.value(key).is_some().then(|| self.path(node, key))
    }

    pub fn path(&mut self, node: &YamlNode, key: &str) -> PathBuf {
        let Some(text) = self.text(node, key) else {
            return self.directory.clone();
        };
        if text.is_empty() || text.contains('\0') {
            self.flaw(
                node,
                key,
                format!("`{key}` is not a valid path: write a path, relative to this file"),
            );
        }
        self.directory.join(text)
    }

    pub fn paths(&mut self, node: &YamlNode, key: &str) -> Vec<PathBuf> {
        self.list(node, key)
            .iter()
            .map(|text| self.directory.join(text))
            .collect()
    }

    pub fn list(&mut self, node: &YamlNode, key: &str) -> Vec<String> {
        let what = format!("`{key}`");
        let items = node
            .value(key)
            .and_then(|value| value.list(&what, &mut self.flaws))
            .unwrap_or_default();
        items
            .iter()
            .filter_map(|item| item.text(&what, &mut self.flaws).map(str::to_owned))
            .collect()
    }

    /// Returns the tables of a list of tables.
    pub fn items(&mut self, list: &YamlNode, message: &str) -> Vec<YamlNode> {
        match &list.kind {
            YamlKind::List(items)
                if items
                    .iter()
                    .all(|item| matches!(item.kind, YamlKind::Map(_))) =>
            {
                items.clone()
            }
            _ => {
                self.note(list.place, message);
                Vec::new()
            }
        }
    }

    pub fn switch(&mut self, node: &YamlNode, key: &str) -> bool {
        match node.value(key).map(|value| &value.kind) {
            Some(YamlKind::Boolean(on)) => *on,
            _ => {
                self.flaw(node, key, format!("`{key}` must be true or false"));
                false
            }
        }
    }

    /// Returns a number from 1 to `most`. A default above `most` becomes `most`.
    pub fn number(&mut self, node: &YamlNode, key: &str, most: u64) -> u64 {
        let Some(value) = node.value(key) else {
            return most;
        };
        match value.kind {
            YamlKind::Integer(number) if !is_written(value) => number.unsigned_abs().min(most),
            YamlKind::Integer(number) if number > 0 && number.unsigned_abs() <= most => {
                number.unsigned_abs()
            }
            _ => {
                self.note(
                    value.place,
                    format!("`{key}` must be a number from 1 to {most}"),
                );
                most
            }
        }
    }

    /// Returns a duration in seconds.
    pub fn seconds(&mut self, node: &YamlNode, key: &str) -> i64 {
        self.value(node, key, duration).unwrap_or_default()
    }

    /// Records an error at the value of a key, or at the table if the file has no such key.
    pub fn flaw(&mut self, node: &YamlNode, key: &str, message: impl Into<String>) {
        let place = node
            .value(key)
            .filter(|value| is_written(value))
            .unwrap_or(node)
            .place;
        self.note(place, message);
    }

    /// Records an error at a place.
    pub fn note(&mut self, place: TextPlace, message: impl Into<String>) {
        self.flaws.push(YamlFlaw::new(place, message));
    }
}

/// Keys for the source of a secret. Each secret has exactly one of these keys.
const SOURCES: [&str; 3] = ["file", "env", "credential"];

fn empty() -> YamlNode {
    YamlNode {
        place: TextPlace::default(),
        kind: YamlKind::Map(Vec::new()),
    }
}

/// Returns true if the value is in the file, and not a default.
fn is_written(node: &YamlNode) -> bool {
    node.place != TextPlace::default()
}

/// Adds each key of `defaults` that the map does not have.
fn add_defaults(node: &mut YamlNode, defaults: &YamlNode) {
    let YamlKind::Map(entries) = &mut node.kind else {
        return;
    };
    for (key, default) in defaults.entries() {
        match entries.iter_mut().find(|(known, _)| known.name == key.name) {
            Some((_, value)) => add_defaults(value, default),
            None => entries.push((key.clone(), YamlNode::of_json(&default.to_json()))),
        }
    }
}
