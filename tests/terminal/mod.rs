//! A test user with a separate home directory, and commands at a separate terminal.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test binary uses another part of it"
)]
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

use std::fs::{self, Permissions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use crate::support::KilledAtEnd;

/// The program under test.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_countersign");
/// Maximum duration of a wait, long enough for a slow machine.
const DEADLINE: Duration = Duration::from_secs(60);

/// A user with a home directory and a work directory.
pub struct Person {
    dir: tempfile::TempDir,
    /// The option of `countersign run` that requests a sandbox with the layers of this host.
    pub sandbox: &'static str,
}

impl Person {
    pub fn new() -> Self {
        let dir = tempfile::Builder::new()
            .prefix("countersign-run-test-")
            .tempdir()
            .expect("a directory");
        fs::set_permissions(dir.path(), Permissions::from_mode(0o711)).expect("mode");
        for below in ["home", "work", "tmp"] {
            fs::create_dir(dir.path().join(below)).expect("made");
        }
        // If root runs the test, the step runs with another user id, so other users need access to these directories.
        for below in ["work", "tmp"] {
            fs::set_permissions(dir.path().join(below), Permissions::from_mode(0o777))
                .expect("mode");
        }
        Self {
            dir,
            sandbox: "--sandbox",
        }
    }

    /// Makes the key that the commands of this person find.
    pub fn make_key(&self) {
        let made = self
            .command(&["key", "generate"])
            .output()
            .expect("started");
        assert!(
            made.status.success(),
            "{}",
            String::from_utf8_lossy(&made.stderr)
        );
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a file below the work directory.
    pub fn write(&self, name: &str, text: &str) {
        let path = self.path("work").join(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("directories");
        fs::write(path, text).expect("written");
    }

    /// Writes a runbook with these bash steps, each given as its attributes and its script.
    pub fn runbook(&self, name: &str, front: &str, steps: &[(&str, &str)]) {
        let mut text = format!("---\ncountersign: 1\n{front}\n---\n");
        for (attributes, script) in steps {
            text.push_str(&format!("\n```bash {{#{attributes}}}\n{script}\n```\n"));
        }
        self.write(name, &text);
    }

    /// Makes a command that runs the program in the work directory, without the environment of the test.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command
            .args(arguments)
            .current_dir(self.path("work"))
            .env_clear()
            .stdin(Stdio::null());
        command.envs(self.environment());
        command
    }

    fn environment(&self) -> Vec<(String, String)> {
        let path = std::env::var("PATH").unwrap_or_default();
        let home = self.path("home").to_string_lossy().into_owned();
        // Not the TMPDIR of the test, which contains the work directory: policy lets steps write below TMPDIR.
        let tmp = self.path("tmp").to_string_lossy().into_owned();
        [
            ("PATH", path),
            ("HOME", home),
            ("TMPDIR", tmp),
            ("USER", "pat".to_owned()),
            ("TERM", "xterm".to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .to_vec()
    }

    /// Runs `countersign run` with a sandbox, without a terminal.
    pub fn run(&self, arguments: &[&str]) -> Ran {
        self.run_with(arguments, &[])
    }

    pub fn run_with(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Ran {
        let mut command = self.command(&["run", self.sandbox]);
        command.args(arguments).envs(environment.iter().copied());
        Ran::of(command.output().expect("started"))
    }

    /// Runs `countersign run` without options for a sandbox, without a terminal.
    pub fn run_plain(&self, arguments: &[&str]) -> Ran {
        Ran::of(
            self.command(&["run"])
                .args(arguments)
                .output()
                .expect("started"),
        )
    }

    /// Starts `countersign run` with a sandbox at a separate terminal.
    pub fn at_terminal(&self, arguments: &[&str]) -> Terminal {
        self.at_terminal_with(arguments, &[])
    }

    pub fn at_terminal_with(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Terminal {
        let words: Vec<String> = [PROGRAM, "run", self.sandbox]
            .iter()
            .chain(arguments)
            .map(|word| format!("'{}'", word.replace('\'', "'\\''")))
            .collect();
        // `script` from util-linux creates the terminal and returns the exit code of the program.
        let mut command = Command::new("script");
        command.args(["-qefc", &format!("exec {}", words.join(" ")), "/dev/null"]);
        command
            .current_dir(self.path("work"))
            .env_clear()
            .envs(self.environment())
            .env("SHELL", "/bin/sh");
        command.envs(environment.iter().copied());
        Terminal::begin(command)
    }
}

/// The exit code and the output of a command.
#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Ran {
    pub fn of(output: Output) -> Self {
        Self {
            code: output.status.code(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    #[track_caller]
    pub fn ended(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{}\n{}", self.out, self.err);
        self
    }
}

/// A command at a terminal.
pub struct Terminal {
    child: KilledAtEnd,
    keys: Option<ChildStdin>,
    pieces: Receiver<Vec<u8>>,
    /// The raw output of the terminal.
    pub seen: Vec<u8>,
    read: usize,
}

impl Terminal {
    /// Starts `command`, which is `script` and creates a terminal.
    pub fn begin(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("script is needed");
        let mut out = child.stdout.take().expect("piped");
        let (to, pieces) = channel();
        std::thread::spawn(move || {
            let mut piece = [0; 4096];
            while let Ok(count @ 1..) = out.read(&mut piece) {
                if to.send(piece[..count].to_vec()).is_err() {
                    return;
                }
            }
        });
        let keys = child.stdin.take();
        Self {
            child: KilledAtEnd(child),
            keys,
            pieces,
            seen: Vec::new(),
            read: 0,
        }
    }

    /// Waits until the terminal shows `text` after the position where the last wait ended.
    #[track_caller]
    pub fn wait_for(&mut self, text: &str) -> &mut Self {
        let end = Instant::now() + DEADLINE;
        loop {
            let at = self.seen[self.read..]
                .windows(text.len())
                .position(|window| window == text.as_bytes());
            if let Some(at) = at {
                self.read += at + text.len();
                return self;
            }
            match self
                .pieces
                .recv_timeout(end.saturating_duration_since(Instant::now()))
            {
                Ok(piece) => self.seen.extend(piece),
                Err(_) => panic!("{text:?} was not shown:\n{}", self.text()),
            }
        }
    }

    pub fn types(&mut self, keys: &str) -> &mut Self {
        let input = self.keys.as_mut().expect("open");
        input
            .write_all(keys.as_bytes())
            .and_then(|()| input.flush())
            .expect("typed");
        self
    }

    /// Waits for a prompt and answers it.
    #[track_caller]
    pub fn answers(&mut self, keys: &str) -> &mut Self {
        self.wait_for("allow it? [")
            .wait_for("] ")
            .types(&format!("{keys}\n"))
    }

    /// Waits until the command has ended. Returns its exit code and the whole output.
    #[track_caller]
    pub fn end(mut self) -> (Option<i32>, String) {
        let end = Instant::now() + DEADLINE;
        // The input stays open until the program has ended: the terminal would pass the end of the input on as a key.
        while let Ok(piece) = self
            .pieces
            .recv_timeout(end.saturating_duration_since(Instant::now()))
        {
            self.seen.extend(piece);
        }
        assert!(Instant::now() < end, "it does not end:\n{}", self.text());
        drop(self.keys.take());
        let code = self.child.wait().expect("waited").code();
        (code, self.text())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.seen).replace('\r', "")
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

#[track_caller]
/// Whether a process exists that has this text as an argument.
pub fn lives(text: &str) -> bool {
    let entries = fs::read_dir("/proc").expect("/proc").flatten();
    entries
        .filter_map(|entry| fs::read(entry.path().join("cmdline")).ok())
        .any(|line| {
            line.split(|byte| *byte == 0)
                .any(|word| word == text.as_bytes())
        })
}

/// Reads a text file.
pub fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
