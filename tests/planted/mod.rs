//! A mount namespace in which the host has additional programs.
//!
//! Each additional program is a copy of `tests/shell/stub.c`, and creates a file with its own name in a directory of marks.
//! So a test can plant programs in `/usr/local/sbin`, where a list of programs can name them, without a change of the host.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test binary uses another part of it"
)]
#![allow(clippy::expect_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The first directory in which runs search programs. It is empty on most hosts.
pub const SBIN: &str = "/usr/local/sbin";
/// A directory with a link `canary` to the planted program `canary`. Scripts of the vectors use this path.
pub const OPT: &str = "/opt/x";
const NOBODY: &str = "65534";

/// The user of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum User {
    /// The user of the test.
    Same,
    /// An ordinary user, if the test runs as root.
    Ordinary,
}

/// Stub programs, and a place for the marks of each run.
pub struct PlantedHost {
    folder: tempfile::TempDir,
}

/// The files of one run.
pub struct PlantedRun {
    folder: tempfile::TempDir,
}

impl PlantedHost {
    /// Compiles the stub program. Returns `None` on a host where this user cannot create a mount namespace.
    pub fn new() -> Option<Self> {
        let folder = tempfile::Builder::new()
            .prefix("countersign-planted-")
            .tempdir()
            .expect("a directory");
        let made = Self { folder };
        for name in ["", "marks", "opt", "opt/x"] {
            directory(&made.path(name), 0o755);
        }
        symlink(format!("{SBIN}/canary"), made.path("opt/x/canary")).expect("a link");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/shell/stub.c");
        let marks = format!("-DMARKS=\"{}\"", made.marks());
        let compiled = |flags: &[&str]| {
            let mut compiler = Command::new("cc");
            compiler
                .args(flags)
                .args(["-O1", &marks, "-o"])
                .arg(made.path("stub"))
                .arg(&source);
            compiler
                .stderr(Stdio::null())
                .status()
                .expect("a C compiler")
                .success()
        };
        assert!(compiled(&["-static"]) || compiled(&[]), "stub.c compiles");
        std::fs::copy(env!("CARGO_BIN_EXE_countersign"), made.path("countersign")).expect("a copy");
        let run = made.run(&[]);
        let status = made
            .command(&run, &[], User::Same)
            .arg("true")
            .stderr(Stdio::null())
            .status();
        status.is_ok_and(|status| status.success()).then_some(made)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Path of the program under test. All users can execute it.
    pub fn program(&self) -> String {
        self.path("countersign").display().to_string()
    }

    /// The directory into which a planted program writes its mark.
    pub fn marks(&self) -> String {
        self.folder
            .path()
            .canonicalize()
            .expect("real")
            .join("marks")
            .display()
            .to_string()
    }

    /// Copies the stub program. All copies are different files, because a list of programs names files.
    pub fn plant(&self, at: &Path) {
        std::fs::copy(self.path("stub"), at).expect("a copy");
        std::fs::set_permissions(at, std::fs::Permissions::from_mode(0o555)).expect("mode");
    }

    /// Creates a run with these programs in [`SBIN`].
    pub fn run(&self, names: &[&str]) -> PlantedRun {
        let folder = tempfile::tempdir_in(self.folder.path()).expect("a directory");
        let run = PlantedRun { folder };
        for (name, mode) in [("", 0o755), ("sbin", 0o755), ("marks", 0o777)] {
            directory(&run.path(name), mode);
        }
        for name in names {
            self.plant(&run.path("sbin").join(name));
        }
        run
    }

    /// Returns a command in the mount namespace of a run. `covers` are pairs of a file or directory, and a path of the host
    /// on which the namespace shows it. The caller adds the program and its arguments.
    pub fn command(&self, run: &PlantedRun, covers: &[(&Path, &str)], user: User) -> Command {
        const SCRIPT: &str = "while [ \"$1\" != -- ]; do mount --bind \"$1\" \"$2\" || exit 99; shift 2; done; shift; exec \"$@\"";
        let root = rustix::process::geteuid().is_root();
        let mut command = Command::new("unshare");
        command.args(if root {
            &["--mount"][..]
        } else {
            &["--user", "--map-root-user", "--mount"]
        });
        command.args(["sh", "-c", SCRIPT, "sh"]);
        let (sbin, marks, opt) = (run.path("sbin"), run.path("marks"), self.path("opt"));
        let usual = [
            (sbin.as_path(), SBIN),
            (marks.as_path(), &*self.marks()),
            (opt.as_path(), "/opt"),
        ];
        for (source, target) in usual.iter().chain(covers) {
            command.arg(source).arg(target);
        }
        command
            .arg("--")
            .env("HOME", self.folder.path())
            .current_dir("/")
            .stdin(Stdio::null());
        if root && user == User::Ordinary {
            command.args([
                "setpriv",
                "--reuid",
                NOBODY,
                "--regid",
                NOBODY,
                "--clear-groups",
            ]);
        }
        command
    }

    /// Returns a `countersign sandbox` command with the marks of the run. The caller adds more options and the command.
    pub fn sandbox(&self, run: &PlantedRun, covers: &[(&Path, &str)], user: User) -> Command {
        let mut command = self.command(run, covers, user);
        let marks = self.marks();
        command.args([
            &self.program(),
            "sandbox",
            "--write",
            &marks,
            "--workdir",
            "in-place",
            "--read",
            OPT,
        ]);
        command
    }
}

impl PlantedRun {
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The names of all planted programs that were executed.
    pub fn marks(&self) -> BTreeSet<String> {
        let entries = std::fs::read_dir(self.path("marks"))
            .expect("marks")
            .flatten();
        entries
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect()
    }
}

fn directory(path: &Path, mode: u32) {
    std::fs::create_dir_all(path).expect("a directory");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("mode");
}
