//! A PostgreSQL server of a test.

use std::fs::{self, OpenOptions};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::super::host::not_run;
use super::installation::{Installation, answer, programs};
use super::{DATABASE, until};

/// A server. Drop stops the server and removes its directory.
pub struct Cluster {
    installation: &'static Installation,
    directory: PathBuf,
    port: u16,
    /// Additional lines of `postgresql.conf`.
    settings: String,
    postmaster: Mutex<Option<Child>>,
    /// Processes that a test stopped with SIGSTOP.
    frozen: Mutex<Vec<u32>>,
}

/// A copy of a data directory.
pub struct Snapshot(PathBuf);

impl Cluster {
    /// Returns the directory of the newest PostgreSQL. If this host has none, reports the test as not run.
    /// `scripts/test --all` then fails.
    pub fn find(test: &str) -> Option<PathBuf> {
        programs().map_err(|reason| not_run(test, &reason)).ok()
    }

    /// Starts a server with additional lines of `postgresql.conf`. If this host has no PostgreSQL, reports the test as not
    /// run, and returns `None`.
    pub fn start(test: &str, settings: &str) -> Option<Self> {
        let installation = Installation::shared(Self::find(test)?);
        let new = Self::prepared(installation, settings.to_owned());
        installation.copy(&installation.path("template"), &new.data());
        new.configure();
        new.start_again();
        Some(new)
    }

    /// Creates the directory of a server.
    fn prepared(installation: &'static Installation, settings: String) -> Self {
        let directory = installation.new_path("server");
        installation.run(installation.command("mkdir").arg(&directory), "");
        let (postmaster, frozen) = (Mutex::new(None), Mutex::default());
        Self {
            installation,
            directory,
            port: installation.free_port(),
            settings,
            postmaster,
            frozen,
        }
    }

    fn configure(&self) {
        // The default of `log_line_prefix` lacks the name of the application.
        let settings = format!(
            "listen_addresses = '127.0.0.1'\nport = {}\nunix_socket_directories = '{}'\nshared_buffers = '16MB'\n\
             max_connections = 60\nfsync = on\nwal_level = replica\nlog_min_messages = info\n\
             log_line_prefix = '%m [%p] %a: '\nwal_retrieve_retry_interval = '200ms'\n{}\n",
            self.port,
            self.directory.display(),
            self.settings
        );
        fs::write(self.data().join("postgresql.conf"), settings).expect("the settings");
        fs::write(
            self.data().join("pg_hba.conf"),
            "local all all trust\nlocal replication super trust\nhost all all 127.0.0.1/32 trust\n",
        )
        .expect("the rules of access");
    }

    // Addresses

    pub fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    /// Returns the directory of the Unix socket.
    pub fn socket_directory(&self) -> &Path {
        &self.directory
    }

    /// Returns a free port of 127.0.0.1 for another service.
    pub fn free_port(&self) -> u16 {
        self.installation.free_port()
    }

    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    pub fn url(&self, role: &str) -> String {
        format!("postgres://{role}@{}/{DATABASE}", self.address())
    }

    pub fn socket_url(&self, role: &str) -> String {
        let socket = self.directory.display().to_string().replace('/', "%2F");
        format!("postgres://{role}@{socket}:{}/{DATABASE}", self.port)
    }

    /// Returns the lines of `countersign.toml` for a node with this database.
    pub fn config(&self, url: &str, node: &str) -> String {
        format!("database = \"{url}\"\n[postgres]\nnode = \"{node}\"\n")
    }

    // Statements

    /// Executes statements as `super`, each in its own transaction. Returns the rows.
    #[track_caller]
    pub fn psql(&self, sql: &str) -> String {
        self.try_psql("super", sql)
            .unwrap_or_else(|message| panic!("{sql}: {message}"))
    }

    /// Executes statements as this role. Returns the rows, or the messages of the first statement that failed.
    pub fn try_psql(&self, role: &str, sql: &str) -> Result<String, String> {
        answer(
            self.client("psql", role)
                .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1"]),
            sql,
        )
    }

    /// Returns a program of PostgreSQL that connects over the Unix socket.
    pub fn client(&self, program: &str, role: &str) -> Command {
        let mut command = self.installation.command(program);
        command
            .env("PGHOST", &self.directory)
            .env("PGPORT", self.port.to_string())
            .env("PGUSER", role);
        command
            .env("PGDATABASE", DATABASE)
            .env("PGSSLMODE", "disable")
            .env("PGGSSENCMODE", "disable");
        command
    }

    // The server

    /// Starts the server after `stop`, `kill9` or a crash. Waits until the server accepts connections.
    #[track_caller]
    pub fn start_again(&self) {
        let mut postmaster = self.postmaster.lock().expect("the lock");
        assert!(postmaster.is_none(), "the server runs already");
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let log = OpenOptions::new()
                .create(true)
                .append(true)
                .open(self.log_file())
                .expect("a log");
            let mut command = self.installation.command("postgres");
            command
                .arg("-D")
                .arg(self.data())
                .stdout(log.try_clone().expect("a log"))
                .stderr(log)
                .process_group(0);
            let mut child = command.spawn().expect("postgres");
            while child.try_wait().expect("a state").is_none() {
                if self.accepts_connections(child.id()) {
                    *postmaster = Some(child);
                    return;
                }
                assert!(
                    Instant::now() < deadline,
                    "the server did not start in 60 s: {}",
                    self.last_lines()
                );
                std::thread::sleep(Duration::from_millis(5));
            }
            // The processes of a killed postmaster can live on for a moment. Another program can use the port.
            let text = self.last_lines();
            let passes = ["shared memory block", "lock file", "in use"]
                .iter()
                .any(|cause| text.contains(cause));
            assert!(
                passes && Instant::now() < deadline,
                "the server did not start: {text}"
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Returns whether the file `postmaster.pid` says that this postmaster is ready. The first line is the process, the
    /// eighth line the state.
    fn accepts_connections(&self, pid: u32) -> bool {
        let text = fs::read_to_string(self.data().join("postmaster.pid")).unwrap_or_default();
        let line = |at: usize| text.lines().nth(at).unwrap_or_default().trim();
        line(0) == pid.to_string() && line(7) == "ready"
    }

    fn log_file(&self) -> PathBuf {
        self.directory.join("server.log")
    }

    fn last_lines(&self) -> String {
        let text = fs::read_to_string(self.log_file()).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }

    /// Stops the server as an operator does: connections end, and a checkpoint is written.
    pub fn stop(&self) {
        self.end(Signal::INT);
    }

    /// Stops the server at once, without a checkpoint.
    pub fn stop_immediate(&self) {
        self.end(Signal::QUIT);
    }

    /// Stops the server at once and starts it.
    pub fn restart_immediate(&self) {
        self.stop_immediate();
        self.start_again();
    }

    /// Kills the postmaster with SIGKILL. Its other processes notice that and end by themselves, idle ones at once.
    pub fn kill9(&self) {
        self.end(Signal::KILL);
    }

    fn end(&self, how: Signal) {
        let Some(mut child) = self.postmaster.lock().expect("the lock").take() else {
            return;
        };
        send(child.id(), how);
        // The postmaster waits for its processes, and a stopped process would never end.
        for pid in self.frozen.lock().expect("the lock").drain(..) {
            send(pid, Signal::CONT);
        }
        let deadline = Instant::now() + Duration::from_secs(30);
        while child.try_wait().expect("a state").is_none() {
            if Instant::now() > deadline {
                send(child.id(), Signal::QUIT);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Returns the processes that serve the connections whose application name begins with `prefix`.
    pub fn backends(&self, prefix: &str) -> Vec<u32> {
        let sql = format!(
            "SELECT pid FROM pg_stat_activity WHERE starts_with(application_name, '{prefix}')"
        );
        self.psql(&sql)
            .lines()
            .map(|line| line.parse().expect("a pid"))
            .collect()
    }

    /// Stops a process of the server until `sigcont`.
    pub fn sigstop(&self, pid: u32) {
        self.frozen.lock().expect("the lock").push(pid);
        send(pid, Signal::STOP);
    }

    pub fn sigcont(&self, pid: u32) {
        self.frozen
            .lock()
            .expect("the lock")
            .retain(|frozen| *frozen != pid);
        send(pid, Signal::CONT);
    }

    /// Ends a backend as `pg_terminate_backend` does.
    pub fn terminate(&self, pid: u32) {
        send(pid, Signal::TERM);
    }

    // Replicas and copies

    /// Starts a replica of this server. If it is synchronous, each COMMIT of this server waits for it from now on.
    pub fn replica(&self, name: &str, synchronous: bool) -> Self {
        let replica = Self::prepared(self.installation, self.settings.clone());
        replica.become_replica(self, name, synchronous);
        replica
    }

    /// Stops this server, and makes it a replica of `primary` with a new copy of its data.
    pub fn rebuild(&self, primary: &Self, name: &str) {
        self.end(Signal::QUIT);
        fs::remove_dir_all(self.data()).expect("removed");
        self.become_replica(primary, name, false);
    }

    fn become_replica(&self, primary: &Self, name: &str, synchronous: bool) {
        let mut copy = primary.client("pg_basebackup", "super");
        copy.env_remove("PGDATABASE").args([
            "-X",
            "stream",
            "-C",
            "-S",
            name,
            "-c",
            "fast",
            "-R",
            "--no-sync",
            "-D",
        ]);
        primary.installation.run(copy.arg(self.data()), "");
        self.configure();
        // The file has the settings that ALTER SYSTEM made on the primary, for example the names of its replicas.
        let socket = primary.directory.display();
        let settings = format!(
            "primary_conninfo = 'host={socket} port={} user=super application_name={name}'\n\
             primary_slot_name = '{name}'\n",
            primary.port
        );
        fs::write(self.data().join("postgresql.auto.conf"), settings).expect("the settings");
        self.start_again();
        if synchronous {
            primary.psql(&format!(
                "ALTER SYSTEM SET synchronous_standby_names = '{name}'; SELECT pg_reload_conf()"
            ));
        }
        let sql = format!(
            "SELECT state FROM pg_stat_replication WHERE application_name = '{name}' AND ('{synchronous}' = 'false' \
             OR sync_state IN ('sync', 'quorum')) AND replay_lsn >= pg_current_wal_flush_lsn()"
        );
        until(&format!("{name} is a replica"), || {
            primary.psql(&sql) == "streaming"
        });
    }

    /// Makes this replica a primary.
    pub fn promote(&self) {
        assert_eq!(self.psql("SELECT pg_promote(true, 60)"), "t");
    }

    /// Stops the server, copies its data directory, and starts the server again.
    pub fn snapshot(&self) -> Snapshot {
        self.stop();
        let copy = self.installation.new_path("snapshot");
        self.installation.copy(&self.data(), &copy);
        self.start_again();
        Snapshot(copy)
    }

    /// Takes the server back to the time of the copy. Its identity and its timeline stay the same.
    pub fn restore(&self, snapshot: &Snapshot) {
        self.stop_immediate();
        fs::remove_dir_all(self.data()).expect("removed");
        self.installation.copy(&snapshot.0, &self.data());
        self.start_again();
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "---- the log of the server at port {}\n{}\n----",
                self.port,
                self.last_lines()
            );
        }
        self.stop_immediate();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

impl Drop for Snapshot {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Sends a signal to a process, unless it has ended.
fn send(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, signal);
    }
}
