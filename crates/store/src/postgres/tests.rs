//! Tests with a real PostgreSQL server. One server runs for all tests of the process, with a schema for each test.

#[path = "../../../../tests/support/host.rs"]
mod host;
mod network;
mod server_checks;
#[allow(dead_code, unreachable_pub, reason = "these tests use a part of it")]
#[path = "../../../../tests/support/postgres/mod.rs"]
mod servers;
mod statement_plans;
mod unknown_commits;

use std::{
    path::Path,
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use crate::{
    Link, Replicas, ServerSettings, ServerTable,
    postgres::{schema, tests::servers::cluster::Cluster},
};

/// Returns the server of this process, or `None` after a report if the host has no PostgreSQL.
pub fn server() -> Option<&'static Cluster> {
    static SERVER: OnceLock<Option<Cluster>> = OnceLock::new();
    let settings = "default_transaction_isolation = 'repeatable read'\nmax_connections = 300\nmax_wal_size = '200MB'";
    SERVER.get_or_init(|| start(settings)).as_ref()
}

/// Starts a server with additional lines of `postgresql.conf`.
fn start(settings: &str) -> Option<Cluster> {
    Cluster::start("the store with PostgreSQL", settings)
}

/// A table `[postgres]` of the configuration that names no file.
fn table(node: &str) -> ServerTable {
    ServerTable {
        node: node.parse().expect("name"),
        password_file: None,
        ca: None,
        certificate: None,
        key: None,
        replicas: Replicas::None,
    }
}

impl Cluster {
    /// Returns the settings of a role for a schema.
    fn settings_of(&self, role: &str, schema: &str, node: &str) -> ServerSettings {
        let url = format!("{}?schema={schema}", self.socket_url(role));
        ServerSettings::new(&url, &table(node)).expect("settings")
    }

    /// Creates a schema, and returns the settings of the service.
    pub fn new_schema(&self) -> ServerSettings {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let schema = format!("test_{}", NUMBER.fetch_add(1, Relaxed));
        let owner = self.settings_of("owner", &schema, "test");
        schema::migrate(&owner, "service", &mut |line| panic!("{line}")).expect("migrated");
        self.settings_of("service", &schema, "test")
    }
}

/// Executes statements as a role with all rights.
pub fn tamper(settings: &ServerSettings, sql: &str) {
    server()
        .expect("server")
        .psql(&format!("SET search_path = {};\n{sql}", settings.schema));
}

#[test]
fn the_listed_schema_is_the_migrated_schema() {
    let Some(server) = server() else { return };
    let settings = server.new_schema();
    let link = Link::open(&settings, "").expect("link");
    let found = schema::objects(&link, &settings.schema)
        .expect("objects")
        .join("\n")
        + "\n";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/postgres/0001_first.objects");
    if std::env::var_os("COUNTERSIGN_UPDATE_SCHEMA").is_some() {
        std::fs::write(&path, &found).expect("written");
    }
    assert_eq!(std::fs::read_to_string(&path).expect("read"), found);
}
