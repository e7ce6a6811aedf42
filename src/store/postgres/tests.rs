//! Tests with a real PostgreSQL server. One server runs for all tests of the process, with a schema for each test.

mod network;
mod server_checks;
mod statement_plans;
mod unknown_commits;

use std::fs::{OpenOptions, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::store::postgres::link::Link;
use crate::store::postgres::schema;
use crate::store::postgres::settings::ServerSettings;
use crate::store::server::{Replicas, ServerTable};

/// The uid and gid of the server if the tests run as root, because PostgreSQL refuses root.
const NOBODY: u32 = 65_534;

/// A running server.
pub(crate) struct Server {
    directory: PathBuf,
    port: u16,
    /// The shell that stops the server when the pipe to this process closes.
    _keeper: Child,
}

/// Returns the server of this process, or `None` after a report if the host has no PostgreSQL.
pub(crate) fn server() -> Option<&'static Server> {
    static SERVER: OnceLock<Option<Server>> = OnceLock::new();
    SERVER.get_or_init(|| start("", "-c default_transaction_isolation='repeatable read'", 5432)).as_ref()
}

fn not_run(reason: &str) {
    let line = format!("not run: the tests of the store with PostgreSQL: {reason}\n");
    eprint!("{line}");
    if let Some(file) = std::env::var_os("COUNTERSIGN_NOT_RUN") {
        let file = OpenOptions::new().append(true).create(true).open(file);
        file.and_then(|mut file| file.write_all(line.as_bytes())).expect("the report of what was not run");
    }
}

/// Returns the directory with the programs of the newest PostgreSQL server of this host. The variable
/// `COUNTERSIGN_POSTGRES` names another directory.
fn programs() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("COUNTERSIGN_POSTGRES") {
        return Some(named.into());
    }
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?.flatten();
    let major = |path: &Path| path.file_name()?.to_str()?.parse::<u32>().ok();
    let found = versions.map(|entry| entry.path()).filter(|path| path.join("bin/initdb").is_file());
    found.max_by_key(|path| major(path)).map(|path| path.join("bin"))
}

/// Starts a server with its own directory and options. A name that ends with `standby` makes a standby without a primary.
fn start(name: &str, options: &str, port: u16) -> Option<Server> {
    let Some(programs) = programs() else {
        not_run("there is no /usr/lib/postgresql/*/bin/initdb; install the package `postgresql`");
        return None;
    };
    let directory = std::env::temp_dir().join(format!("countersign-pg{name}-{}", std::process::id()));
    std::fs::create_dir(&directory).expect("directory");
    std::fs::set_permissions(&directory, Permissions::from_mode(0o700)).expect("mode");
    let root = rustix::process::geteuid().is_root();
    if root {
        chown(&directory, Some(NOBODY), Some(NOBODY)).expect("owner");
    }
    let data = directory.join("data");
    let script = format!(
        "cd {directory} && {programs}/initdb -D {data} -U super --auth=trust -E UTF8 --locale=C --no-sync >init.log 2>&1 && {signal} \
         {{ {programs}/postgres -D {data} -k {directory} -c listen_addresses= -c max_connections=300 \
         -c max_wal_size=200MB {options} >server.log 2>&1 & server=$!; }} && read -r line; \
         kill -QUIT $server; wait $server; cd / && rm -rf {directory}",
        directory = directory.display(),
        programs = programs.display(),
        data = data.display(),
        signal = if name.ends_with("standby") {
            format!("touch {}/standby.signal && ", data.display())
        } else {
            String::new()
        },
    );
    let mut command = Command::new(if root { "setpriv" } else { "sh" });
    if root {
        let id = NOBODY.to_string();
        command.args(["--reuid", &id, "--regid", &id, "--clear-groups", "--", "sh"]);
    }
    let keeper = command.args(["-c", &script]).stdin(Stdio::piped()).spawn().expect("sh");
    let server = Server { directory, port, _keeper: keeper };
    server.wait();
    Some(server)
}

impl Server {
    /// Returns the settings of a role for a schema.
    pub(crate) fn settings_of(&self, role: &str, database: &str, schema: &str, node: &str) -> ServerSettings {
        self.settings_at(&self.directory, role, database, schema, node)
    }

    /// Returns the settings of a role for a schema, with another directory of the Unix socket.
    fn settings_at(&self, directory: &Path, role: &str, database: &str, schema: &str, node: &str) -> ServerSettings {
        let socket = directory.display().to_string().replace('/', "%2F");
        let table = ServerTable {
            node: node.parse().expect("name"),
            password_file: None,
            ca: None,
            certificate: None,
            key: None,
            replicas: Replicas::None,
        };
        let url = format!("postgres://{role}@{socket}:{}/{database}?schema={schema}", self.port);
        ServerSettings::new(&url, &table).expect("settings")
    }

    /// Waits until the server accepts connections, and creates the roles and the database.
    fn wait(&self) {
        let settings = self.settings_of("super", "postgres", "public", "test");
        let begun = std::time::Instant::now();
        let link = loop {
            match Link::open(&settings, "") {
                Ok(link) => break link,
                Err(fault) => assert!(begun.elapsed().as_secs() < 60, "{fault}: {}", self.directory.display()),
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        };
        if self.directory.display().to_string().contains("standby") {
            return;
        }
        let sql = |sql: &str| link.script("preparing the server of the tests", sql).expect("sql");
        sql("CREATE ROLE owner LOGIN");
        sql("CREATE ROLE service LOGIN");
        sql("CREATE DATABASE boundary OWNER owner");
    }

    /// Returns a connection of a role with all rights.
    fn admin(&self, schema: &str) -> Link {
        Link::open(&self.settings_of("super", "boundary", schema, "admin"), "").expect("admin")
    }

    /// Creates a schema, and returns the settings of the service.
    pub(crate) fn schema(&self) -> ServerSettings {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let schema = format!("test_{}", NUMBER.fetch_add(1, Relaxed));
        let owner = self.settings_of("owner", "boundary", &schema, "test");
        schema::migrate(&owner, "service", &mut |line| panic!("{line}")).expect("migrated");
        self.settings_of("service", "boundary", &schema, "test")
    }
}

/// Executes statements as a role with all rights.
pub(crate) fn tamper(settings: &ServerSettings, sql: &str) {
    server().expect("server").admin(&settings.schema).script("changing rows by hand", sql).expect("sql");
}

/// Executes statements as the role of the settings.
fn tamper_at(settings: &ServerSettings, sql: &str) {
    Link::open(settings, "").expect("link").script("changing rows by hand", sql).expect("sql");
}

#[test]
fn the_listed_schema_is_the_migrated_schema() {
    let Some(server) = server() else { return };
    let settings = server.schema();
    let found = schema::objects(&server.admin(&settings.schema), &settings.schema).expect("objects").join("\n") + "\n";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/store/postgres/0001_first.objects");
    if std::env::var_os("COUNTERSIGN_UPDATE_SCHEMA").is_some() {
        std::fs::write(&path, &found).expect("written");
    }
    assert_eq!(std::fs::read_to_string(&path).expect("read"), found);
}

#[test]
fn each_statement_is_prepared_on_a_new_schema() {
    let Some(server) = server() else { return };
    let settings = server.schema();
    let (store, _) = crate::store::postgres::open(settings, None).expect("store");
    store.link().expect("link").query("testing", "SELECT 1", values![]).expect("answer");
}
