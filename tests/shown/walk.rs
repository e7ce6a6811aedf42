//! Runs the blocks of a page as a reader would.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use reading::Policy;
use serde_json::Value;

use crate::shown::exchange::Exchange;
use crate::shown::{BINARY, Block, Shown, bare, blocks, commands, lines_fit, must_fit, read, root};
use crate::support::postgres::cluster::Cluster;
use crate::support::{KilledAtEnd, not_run};

/// The address that the pages show. The boundary of the test listens on a free port.
const SHOWN_PORT: &str = "127.0.0.1:7433";
/// The prompts of `approve` and `roster sign`. The program writes the space at the end separately, so an earlier answer
/// would appear before the space.
const QUESTIONS: [&str; 2] = ["f fields: ", "anything else stops: "];
/// The command that ends the boundary in the background.
const STOP: &str = "kill %1; wait";
/// The command that ends the first of two nodes.
const STOP_FIRST: &str = "kill %1";
/// Maximum duration of a wait, long enough for a slow machine.
pub(super) const DEADLINE: Duration = Duration::from_secs(90);

/// The state of a reader who runs the blocks of a page, with a new home directory.
pub(crate) struct Walk {
    dir: tempfile::TempDir,
    /// Address of the boundary, as `127.0.0.1:PORT`.
    pub(super) address: String,
    /// The services in the background, in the order of their start.
    serves: Vec<Running>,
    /// The PostgreSQL server `db-1` and its replica `db-2`.
    servers: Vec<Cluster>,
    /// True from a section that needs a PostgreSQL server to its end, if this host has none.
    skips: bool,
    waiting: Vec<Running>,
    /// The variables that the page has set so far.
    variables: BTreeMap<String, String>,
    pub(super) exchange: Exchange,
}
/// A command that runs while the reader runs other commands.
struct Running {
    shown: Shown,
    child: KilledAtEnd,
    lines: Receiver<String>,
    seen: Vec<String>,
}

impl Walk {
    pub(crate) fn through(page: &str) {
        let mut walk = Self::begin();
        walk.play(page);
        walk.end();
    }

    fn begin() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        // A run without a separate root file system must be able to traverse this directory.
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o711)).expect("set");
        for below in ["bin", "work", "home"] {
            std::fs::create_dir(dir.path().join(below)).expect("made");
        }
        std::os::unix::fs::symlink(BINARY, dir.path().join("bin/countersign")).expect("linked");
        Self {
            dir,
            address: SHOWN_PORT.to_owned(),
            serves: Vec::new(),
            servers: Vec::new(),
            skips: false,
            waiting: Vec::new(),
            variables: BTreeMap::new(),
            exchange: Exchange::default(),
        }
    }

    fn play(&mut self, page: &str) {
        for block in blocks(page, &read(page)) {
            if block.language == "server" {
                self.change_servers(&block);
            } else if block.not_run.is_none() && !self.skips {
                self.take(&block);
            }
        }
    }

    /// Starts or ends the PostgreSQL servers of the page.
    fn change_servers(&mut self, block: &Block) {
        match (&*block.text, self.servers.first()) {
            ("database server", _) => {
                self.servers.extend(Cluster::start(&block.here, ""));
                self.skips = self.servers.is_empty();
                if let Some(server) = self.servers.first() {
                    // The role and the database that each new server has, as on the host of a reader.
                    server.psql("CREATE ROLE postgres SUPERUSER LOGIN");
                    let mut psql = server.client("psql", "super");
                    psql.env("PGDATABASE", "template1")
                        .args(["-c", "ALTER DATABASE countersign RENAME TO postgres"]);
                    assert!(
                        psql.output().expect("psql").status.success(),
                        "{}",
                        block.here
                    );
                }
            }
            ("replica", Some(server)) => {
                let replica = server.replica("db_2", false);
                self.servers.push(replica);
            }
            ("replica", None) => assert!(self.skips, "{}: no server", block.here),
            _ => {
                // A replica ends before its primary server.
                while self.servers.pop().is_some() {}
                self.skips = false;
            }
        }
    }

    pub(super) fn work(&self) -> PathBuf {
        self.dir.path().join("work")
    }

    /// Makes a command that runs `script` in bash, with this binary as `countersign`, without the test's environment.
    pub(super) fn bash(&self, script: &str) -> Command {
        let mut command = Command::new("bash");
        let path = std::env::var("PATH").unwrap_or_default();
        // A reader runs commands with paths below `tests/` and `examples/` in a clone of the repository.
        let script = script
            .replace(" tests/", &format!(" {}/tests/", root().display()))
            .replace(" examples/", &format!(" {}/examples/", root().display()));
        let mut script = script.replace(SHOWN_PORT, &self.address);
        for (server, name) in self.servers.iter().zip(["db-1", "db-2"]) {
            script = script.replace(name, &server.address().to_string());
        }
        command
            .args(["-euc", &script])
            .current_dir(self.work())
            .stdin(Stdio::null())
            .env_clear();
        command.env(
            "PATH",
            format!("{}:{path}", self.dir.path().join("bin").display()),
        );
        command
            .env("HOME", self.dir.path().join("home"))
            .env("SHELL", "/bin/bash")
            .env("TERM", "dumb");
        command
            .env("COUNTERSIGN_URL", format!("http://{}", self.address))
            .envs(&self.variables);
        if let Some(server) = self.servers.first() {
            command
                .env("PGHOST", "127.0.0.1")
                .env("PGPORT", server.address().port().to_string());
            command.env("PGUSER", "postgres");
        }
        command
    }

    fn take(&mut self, block: &Block) {
        let here = block.here.as_str();
        if let Some(file) = &block.file {
            let file = self.work().join(file);
            std::fs::create_dir_all(file.parent().expect("a directory")).expect("made");
            std::fs::write(&file, &block.text).expect("written");
        }
        match block.language.as_str() {
            "after" => self.play(&block.text),
            "sh" if block.text.contains("$PAYLOAD") => self.sign(block, here),
            "sh" => self.script(block, here),
            "console" | "run" => self.console(block, here),
            "http" => self.http(block, here),
            "json" => {
                let expected: Value =
                    serde_json::from_str(&block.text).unwrap_or_else(|e| panic!("{here}: {e}"));
                must_fit(&expected, &self.exchange.statement, here);
            }
            "yaml" => {
                let read = Policy::load(&block.text);
                assert!(read.is_ok(), "{here}: {:?}", read.err());
            }
            "text" | "toml" => {}
            "markdown" => assert!(
                block.file.is_some(),
                "{here}: which file is it? `markdown file=PATH`"
            ),
            other => {
                panic!("{here}: nothing checks {other:?}: see the head of tests/docs/pages.rs")
            }
        }
    }

    fn script(&self, block: &Block, here: &str) {
        let mut script = String::new();
        for line in block.text.lines() {
            let command = bare(line);
            if command == "./scripts/test" {
                let mode = std::fs::metadata(root().join("scripts/test"))
                    .expect("it is there")
                    .permissions()
                    .mode();
                assert_eq!(
                    mode & 0o111,
                    0o111,
                    "this test is a part of it, so it is not run again"
                );
                continue;
            }
            let line = line.replace("cargo run -- ", "countersign ");
            script.push_str(&format!("{line}\n"));
        }
        if script.contains("python3 ")
            && self
                .bash("command -v python3")
                .output()
                .is_ok_and(|o| !o.status.success())
        {
            return not_run(here, "there is no python3 here");
        }
        let output = self.bash(&script).output().expect("started");
        let said = [output.stdout, output.stderr]
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .concat();
        assert!(
            output.status.success(),
            "{here}: {:?}\n{script}\n{said}",
            output.status
        );
    }

    fn console(&mut self, block: &Block, here: &str) {
        let shown = commands(block);
        let of_approver = |shown: &Shown| {
            let word = shown.command.split_whitespace().nth(1).unwrap_or_default();
            ["inbox", "review", "approve", "deny"].contains(&word)
        };
        if !shown.iter().all(of_approver) {
            self.join(here);
        }
        for mut shown in shown {
            if block.language == "run" {
                // The page does not show the output of this command, so any output is correct.
                shown.output = vec!["…".to_owned()];
            }
            let command = bare(&shown.command).to_owned();
            if command.starts_with("countersign serve") {
                self.start_serving(shown, here);
            } else if command == STOP {
                self.stop_serving(here);
                assert!(
                    self.serves.is_empty(),
                    "{here}: `wait` would wait for the other node"
                );
            } else if command == STOP_FIRST {
                self.stop_serving(here);
                self.read_address(3, here);
            } else if let Some((name, _)) = command.trim_start_matches("export ").split_once('=')
                && !name.contains(' ')
                && !command.contains(" countersign ")
            {
                self.set(name, &shown, here);
            } else if command.ends_with("--wait") || command.contains(" --wait ") {
                let script = format!("exec env {command}");
                let mut running = self.start(shown, &script);
                running.read_until(1, here);
                self.waiting.push(running);
            } else if ["countersign approve", "countersign roster sign"]
                .iter()
                .any(|word| command.starts_with(word))
            {
                self.at_terminal(&shown, here);
            } else {
                let (code, lines) = finish(self.bash(&format!("{{ {command}; }} 2>&1")));
                self.compare(&shown, code, &lines, here);
            }
        }
    }

    /// Runs `NAME=VALUE`. VALUE may be `$(COMMAND)`, or `sha256:…` for a digest from the registry.
    fn set(&mut self, name: &str, shown: &Shown, here: &str) {
        let file = self.dir.path().join("value");
        let line = self.filled(bare(&shown.command));
        let (code, lines) = finish(self.bash(&format!(
            "exec 2>&1; {line}; printf %s \"${name}\" > {}",
            file.display()
        )));
        self.compare(shown, code, &lines, here);
        self.variables.insert(
            name.to_owned(),
            std::fs::read_to_string(file).expect("a value"),
        );
    }

    /// Replaces a shortened digest in a line by the digest of this boundary.
    fn filled(&self, line: &str) -> String {
        let Some((before, _)) = line.split_once("sha256:…") else {
            return line.to_owned();
        };
        let listed = self
            .bash("COUNTERSIGN_TOKEN_FILE=agent.token countersign --json registry list")
            .output();
        let listed: Value = serde_json::from_slice(&listed.expect("started").stdout).expect("JSON");
        let steps = listed["steps"].as_array().expect("steps");
        let digest = steps
            .iter()
            .find(|step| step["ref"] == "service:restart")
            .map(|step| &step["digest"]);
        let value = match before {
            "export BOUNDARY=" => &listed["boundary"]["id"],
            "export DIGEST=" => digest.expect("the step"),
            other => panic!("what stands for … in {other:?}?"),
        };
        format!("{before}{}", value.as_str().expect("a digest"))
    }

    fn compare(&self, shown: &Shown, code: Option<i32>, real: &[String], here: &str) {
        let real: Vec<String> = real.iter().map(|line| self.normal(line)).collect();
        let text = real.join("\n");
        assert_eq!(code, Some(shown.exits), "{here}: {}\n{text}", shown.command);
        let says = lines_fit(&shown.output, &real) || shown.output.is_empty();
        assert!(
            says,
            "{here}: {}\nshown:\n{}\nreally:\n{text}",
            shown.command,
            shown.output.join("\n")
        );
    }

    /// Returns a line as the pages show it: with the shown address, and with a run that has not started yet.
    fn normal(&self, line: &str) -> String {
        let line = line.replace(&self.address, SHOWN_PORT);
        let ends = [" is running", " is finished"]
            .into_iter()
            .find_map(|end| line.strip_suffix(end));
        match ends {
            Some(begun) if line.starts_with("signed by ") => format!("{begun} is approved"),
            _ => line,
        }
    }

    /// Starts a command that runs while other commands run.
    fn start(&self, shown: Shown, script: &str) -> Running {
        let (mut reader, writer) = std::io::pipe().expect("a pipe");
        let mut command = self.bash(script);
        command
            .stdout(writer.try_clone().expect("cloned"))
            .stderr(writer);
        let child = command.spawn().expect("started");
        drop(command);
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            let mut held = Vec::new();
            let mut piece = [0; 4096];
            while let Ok(count @ 1..) = reader.read(&mut piece) {
                held.extend_from_slice(&piece[..count]);
                while let Some(end) = held.iter().position(|byte| *byte == b'\n') {
                    let line: Vec<u8> = held.drain(..=end).collect();
                    if sender
                        .send(String::from_utf8_lossy(&line[..end]).into_owned())
                        .is_err()
                    {
                        return;
                    }
                }
            }
        });
        Running {
            shown,
            child: KilledAtEnd(child),
            lines,
            seen: Vec::new(),
        }
    }

    fn start_serving(&mut self, shown: Shown, here: &str) {
        // A standby says nothing before it takes over.
        let stands_by = shown.output.is_empty();
        assert!(
            self.serves.is_empty() || stands_by,
            "{here}: a boundary is served already: `{STOP}` first"
        );
        let command = bare(&shown.command).replace(
            "countersign serve",
            "exec countersign serve --listen 127.0.0.1:0",
        );
        let command = command.trim_end_matches('&').to_owned();
        let lines = shown.output.len();
        let serve = self.start(shown, &command);
        self.serves.push(serve);
        if !stands_by {
            self.read_address(lines, here);
            let serve = &self.serves[0];
            let seen: Vec<String> = serve.seen.iter().map(|line| self.normal(line)).collect();
            assert!(
                lines_fit(&serve.shown.output, &seen),
                "{here}: really\n{}",
                seen.join("\n")
            );
        }
    }

    /// Reads this number of lines of the first service, and takes its address from them.
    fn read_address(&mut self, lines: usize, here: &str) {
        let log = self.serves[0]
            .shown
            .command
            .split_once("2> ")
            .map(|(_, rest)| self.work().join(bare(rest.trim_end_matches(" &"))));
        let serve = &mut self.serves[0];
        serve.read_until(lines, here);
        let listens = serve
            .seen
            .iter()
            .find_map(|line| line.trim().strip_prefix("listens"))
            .unwrap_or_else(|| {
                let log = log.and_then(|log| std::fs::read_to_string(log).ok());
                panic!(
                    "{here}: no address in {:?}\n{}",
                    serve.seen,
                    log.unwrap_or_default()
                )
            });
        self.address = listens
            .trim()
            .rsplit('/')
            .next()
            .expect("an address")
            .to_owned();
    }

    /// Waits until the commands with `--wait` have ended, and compares their output.
    fn join(&mut self, here: &str) {
        for mut running in std::mem::take(&mut self.waiting) {
            running.read_until(usize::MAX, here);
            let code = running.child.wait().expect("waited").code();
            self.compare(&running.shown, code, &running.seen, here);
        }
    }

    /// Runs a command at a separate terminal, and answers its prompt with the end of the shown digest.
    fn at_terminal(&self, shown: &Shown, here: &str) {
        let script = self.dir.path().join("command.sh");
        std::fs::write(&script, format!("export NO_COLOR=1\n{}\n", shown.command))
            .expect("written");
        let mut command = self.bash(&format!(
            "exec script -qefc 'bash {}' /dev/null",
            script.display()
        ));
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("script (bsdutils) is needed");
        let mut answer = child.stdin.take();
        let mut out = child.stdout.take().expect("piped");
        let (mut text, mut piece, began, mut asked) =
            (String::new(), [0; 4096], Instant::now(), false);
        while let Ok(count @ 1..) = out.read(&mut piece) {
            text.push_str(&String::from_utf8_lossy(&piece[..count]));
            if !asked && QUESTIONS.iter().any(|question| text.contains(question)) {
                asked = true;
                let digest = text
                    .lines()
                    .rfind(|line| line.starts_with("  digest "))
                    .expect("a digest");
                let digest = digest.trim();
                let typed = &digest[digest.len() - 8..];
                answer
                    .as_mut()
                    .expect("piped")
                    .write_all(format!("{typed}\n").as_bytes())
                    .expect("typed");
            }
            assert!(
                began.elapsed() < DEADLINE,
                "{here}: {}\n{text}",
                shown.command
            );
        }
        drop(answer);
        let code = child.wait().expect("waited").code();
        assert!(asked, "{here}: {} asked nothing\n{text}", shown.command);
        let lines: Vec<String> = text.replace('\r', "").lines().map(str::to_owned).collect();
        self.compare(shown, code, &lines, here);
    }

    fn stop_serving(&mut self, here: &str) {
        self.join(here);
        assert!(!self.serves.is_empty(), "{here}: no boundary is served");
        let mut serve = self.serves.remove(0);
        let pid = rustix::process::Pid::from_raw(serve.child.id().cast_signed()).expect("a pid");
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("sent");
        serve.read_until(usize::MAX, here);
        assert!(
            serve.child.wait().expect("waited").success(),
            "{here}: {:?}",
            serve.seen
        );
    }

    fn end(mut self) {
        self.join("the end");
        while !self.serves.is_empty() {
            self.stop_serving("the end");
        }
        let began = !self.exchange.id.is_empty();
        assert!(
            !began || !self.exchange.receipt.is_empty(),
            "an exchange over HTTP is shown up to its receipt"
        );
    }
}
impl Running {
    /// Reads until `count` lines have arrived or the output ends.
    fn read_until(&mut self, count: usize, here: &str) {
        let end = Instant::now() + DEADLINE;
        while self.seen.len() < count {
            match self
                .lines
                .recv_timeout(end.saturating_duration_since(Instant::now()))
            {
                Ok(line) => self.seen.push(line),
                Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => return,
                Err(error) => panic!(
                    "{here}: {}: {error}\n{}",
                    self.shown.command,
                    self.seen.join("\n")
                ),
            }
        }
    }
}
fn finish(mut command: Command) -> (Option<i32>, Vec<String>) {
    let output = command.output().expect("started");
    (
        output.status.code(),
        String::from_utf8_lossy(&output.stdout)
            .lines()
            .map(str::to_owned)
            .collect(),
    )
}
