//! The PostgreSQL of this host: its programs, the user that runs them, and the directory of this test process.

use std::fs::{self, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use super::DATABASE;

/// The uid and gid of the servers if the tests run as root, because PostgreSQL refuses root.
pub const SERVER_USER: u32 = 65_534;

/// Waits until the test process has ended, also by SIGKILL: its end closes the pipe. Then stops all programs in the
/// directory, and removes the directory. SIGCONT is for the programs that a test stopped.
const KEEPER: &str = r#"
trap '' HUP INT TERM
read -r line
send() {
  found=
  for process in /proc/[0-9]*; do
    case "$(readlink "$process/cwd")" in
      "$1"|"$1"/*) found=yes; kill "-$2" "${process#/proc/}"; kill -CONT "${process#/proc/}" ;;
    esac
  done
}
for second in 1 2 3 4 5 6 7; do
  send "$1" QUIT
  [ -n "$found" ] || break
  sleep 1
done
send "$1" KILL
rm -rf "$1"
"#;

/// The programs of PostgreSQL, and a directory for all servers of this test process.
pub struct Installation {
    programs: PathBuf,
    root: bool,
    directory: PathBuf,
    numbers: AtomicU32,
    /// The shell that removes the directory when this test process ends. The shell is never waited for.
    _keeper: Child,
}

/// Returns the directory of the newest PostgreSQL of this host, or the reason why no server can run. The environment
/// variable `COUNTERSIGN_POSTGRES` names another directory with `initdb`.
pub fn programs() -> Result<PathBuf, String> {
    let complete = |path: &Path| {
        ["postgres", "initdb", "psql"]
            .iter()
            .all(|name| path.join(name).is_file())
    };
    let found = if let Some(named) = std::env::var_os("COUNTERSIGN_POSTGRES") {
        Some(PathBuf::from(named)).filter(|path| complete(path))
    } else {
        let versions = fs::read_dir("/usr/lib/postgresql")
            .into_iter()
            .flatten()
            .flatten();
        let major = |path: &PathBuf| path.parent()?.file_name()?.to_str()?.parse::<u32>().ok();
        let newest = versions
            .map(|entry| entry.path().join("bin"))
            .filter(|path| complete(path))
            .max_by_key(major);
        let path = std::env::var_os("PATH").unwrap_or_default();
        newest.or_else(|| std::env::split_paths(&path).find(|path| complete(path)))
    };
    let found = found.ok_or("there is no PostgreSQL server here (package postgresql)")?;
    if rustix::process::geteuid().is_root() && !Path::new("/usr/bin/setpriv").is_file() {
        return Err(
            "root cannot start PostgreSQL without /usr/bin/setpriv (package util-linux)".to_owned(),
        );
    }
    Ok(found)
}

impl Installation {
    /// Returns the installation that all tests of this process share.
    pub fn shared(programs: PathBuf) -> &'static Self {
        static SHARED: OnceLock<Installation> = OnceLock::new();
        SHARED.get_or_init(|| Self::new(programs))
    }

    fn new(programs: PathBuf) -> Self {
        let temporary = tempfile::Builder::new()
            .prefix("countersign-postgres-")
            .tempdir()
            .expect("a directory");
        let directory = temporary.keep();
        fs::set_permissions(&directory, Permissions::from_mode(0o755)).expect("mode");
        let root = rustix::process::geteuid().is_root();
        if root {
            chown(&directory, Some(SERVER_USER), Some(SERVER_USER)).expect("owner");
        }
        let mut keeper = as_server_user(root, Path::new("sh"));
        keeper
            .args(["-c", KEEPER, "keeper"])
            .arg(&directory)
            .current_dir("/")
            .stdin(Stdio::piped());
        // Ctrl-C sends SIGINT to the process group of the tests, and must not end the keeper.
        keeper
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0);
        let keeper = keeper.spawn().expect("sh");
        let new = Self {
            programs,
            root,
            directory,
            numbers: AtomicU32::new(0),
            _keeper: keeper,
        };
        new.initialise(&new.path("template"));
        new
    }

    /// Creates a data directory with the roles and the database.
    fn initialise(&self, data: &Path) {
        let options = [
            "-U",
            "super",
            "--auth=trust",
            "-E",
            "UTF8",
            "--locale=C",
            "--no-sync",
            "--no-instructions",
            "-D",
        ];
        self.run(self.command("initdb").args(options).arg(data), "");
        let role = |name: &str, more: &str| format!("{more} ROLE {name} LOGIN\n");
        let roles = role("super", "ALTER") + &role("owner", "CREATE") + &role("service", "CREATE");
        // A new database would be 300 more files in each copy.
        let database = format!(
            "ALTER DATABASE postgres RENAME TO {DATABASE}\nALTER DATABASE {DATABASE} OWNER TO owner\n"
        );
        // A server of one process: the end of a line ends a statement. `-F` skips fsync.
        let mut single = self.command("postgres");
        single
            .args(["--single", "-F", "-D"])
            .arg(data)
            .arg("template1");
        self.run(&mut single, &format!("{roles}{database}"));
    }

    /// Returns a path in the directory of this test process.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Returns a new path in the directory of this test process.
    pub fn new_path(&self, prefix: &str) -> PathBuf {
        self.path(&format!("{prefix}{}", self.numbers.fetch_add(1, Relaxed)))
    }

    /// Returns a free port of 127.0.0.1. The kernel gives no port of this range to an outgoing connection, so the port
    /// stays free while the server is stopped.
    pub fn free_port(&self) -> u16 {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        loop {
            let number = std::process::id()
                .wrapping_mul(97)
                .wrapping_add(NEXT.fetch_add(1, Relaxed));
            let port = 20_000 + (number % 12_000) as u16;
            if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
                return port;
            }
        }
    }

    /// Copies a directory with its owners.
    pub fn copy(&self, from: &Path, to: &Path) {
        self.run(
            self.command("cp")
                .args(["-a", "--reflink=auto", "--"])
                .arg(from)
                .arg(to),
            "",
        );
    }

    /// Returns a command of the user that runs the servers, without the environment of the tests. The program is one of
    /// PostgreSQL or, if PostgreSQL has none of this name, of the system.
    pub fn command(&self, program: &str) -> Command {
        let own = self.programs.join(program);
        let mut command = as_server_user(
            self.root,
            if own.is_file() {
                &own
            } else {
                Path::new(program)
            },
        );
        command
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("LC_ALL", "C")
            .env("HOME", &self.directory);
        command.current_dir(&self.directory).stdin(Stdio::null());
        command
    }

    /// Runs a command with this input, and returns its output. The test fails if the command fails.
    #[track_caller]
    pub fn run(&self, command: &mut Command, input: &str) -> String {
        let shown = format!("{command:?}");
        answer(command, input).unwrap_or_else(|message| panic!("{shown}: {message}"))
    }
}

/// Runs a command with this input. Returns its output, or its messages if it fails.
pub fn answer(command: &mut Command, input: &str) -> Result<String, String> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("started");
    // A program that ends early does not read its input. Its exit code tells why.
    let _ = child
        .stdin
        .take()
        .expect("a pipe")
        .write_all(input.as_bytes());
    let output = child.wait_with_output().expect("an end");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
    if output.status.success() {
        Ok(text(&output.stdout))
    } else {
        Err(text(&output.stderr))
    }
}

/// Returns a command of the user that runs the servers.
fn as_server_user(root: bool, program: &Path) -> Command {
    if !root {
        return Command::new(program);
    }
    let mut command = Command::new("/usr/bin/setpriv");
    command
        .args([
            &format!("--reuid={SERVER_USER}"),
            &format!("--regid={SERVER_USER}"),
            "--clear-groups",
            "--",
        ])
        .arg(program);
    command
}
