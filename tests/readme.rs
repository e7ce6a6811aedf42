//! Every command that README shows, run in its order through the real binary; every answer it shows, compared.
//!
//! The languages of its blocks say what is done with them: `sh` is run and must succeed; `console` is run line by line and
//! must end and print as shown (`# exits N` behind a command tells another code than 0); `http` is really asked and
//! answered; `json` is the receipt, decoded; `markdown` is put among the runbooks; `yaml` is a policy; `text` is nothing.
#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod shown;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use countersign::policy::file::Policy;
use countersign::record::code::Code;
use shown::{Block, Shown, bare, blocks, commands, differences, lines_fit};

const BINARY: &str = env!("CARGO_BIN_EXE_countersign");
/// The port that README shows; the boundary of the test listens on a free one.
const SHOWN_PORT: &str = "127.0.0.1:7433";
/// Where `approve` and `roster sign` ask. With the blank at its end, which is written by itself: an answer before it would
/// stand in front of it.
const QUESTIONS: [&str; 2] = ["f shows every field: ", "anything else stops: "];
/// What README gives the agent's commands, so that the approvers' commands in the same terminal do without.
const TOKEN: &str = "COUNTERSIGN_TOKEN_FILE=agent.token ";
/// How long anything may take on a slow machine.
const DEADLINE: Duration = Duration::from_secs(90);

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(file: &str) -> String {
    std::fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

#[test]
fn every_command_of_readme_does_what_it_shows() {
    let mut walk = Walk::begin();
    for block in blocks(&read("README.md")) {
        walk.take(&block);
    }
    walk.end();
}

#[test]
fn the_first_screen_has_its_commands_and_they_are_run_below() {
    let readme = read("README.md");
    let first = blocks(&readme).into_iter().next().expect("a block");
    let lines: Vec<&str> = first.text.lines().map(bare).collect();
    assert_eq!((first.line < 10, lines), (true, vec!["cargo run --release -- demo", "./scripts/test"]));
    let run: Vec<String> = blocks(&readme)
        .iter()
        .filter(|block| block.language == "console")
        .flat_map(|block| commands(block).into_iter().map(|shown| bare(&shown.command).replace(TOKEN, "")))
        .collect();
    for who in ["| an agent", "| an approver", "| an auditor", "| a CI job"] {
        let row = readme.lines().find(|line| line.starts_with(who)).unwrap_or_else(|| panic!("no row {who}"));
        let command = row.split('`').nth(1).expect("a command");
        assert!(run.iter().any(|ran| ran == command), "{command} is shown, but not run further down");
    }
}

#[test]
fn what_it_refuses_has_a_code_that_exists() {
    let readme = read("README.md");
    let rows = readme.lines().skip_while(|line| !line.starts_with("| it refuses")).skip(2);
    let codes: Vec<&str> = rows
        .take_while(|line| line.starts_with('|'))
        .filter_map(|line| line.trim_end_matches('|').rsplit('|').next().map(str::trim))
        .collect();
    assert!(codes.len() > 8, "{codes:?}");
    for code in codes {
        let word = code.trim_matches('`');
        let known = Code::ALL.iter().any(|code| code.word() == word);
        assert!(known || code == "`verify` exits 1" || code == "outcome `unknown`", "{code}");
    }
}

/// Also those in the text of the documents.
#[test]
fn every_command_that_a_document_names_exists_with_its_options() {
    let mut wrong = Vec::new();
    for file in ["README.md", "SECURITY.md", "CONTRIBUTING.md", "CHANGELOG.md", "keys/README.md"] {
        for span in read(file).split('`').skip(1).step_by(2).filter(|span| span.starts_with("countersign ")) {
            let words: Vec<&str> = span.split_whitespace().skip(1).collect();
            let subcommands = words.iter().take_while(|word| word.chars().all(|c| c.is_ascii_lowercase() || c == '-'));
            let subcommands: Vec<&&str> = subcommands.take_while(|word| !word.starts_with('-')).take(2).collect();
            let help = |count: usize| {
                let words = subcommands[..count].iter().map(|word| **word);
                let output = Command::new(BINARY).args(words).arg("--help").output().expect("started");
                output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
            };
            let Some(help) = (1..=subcommands.len()).rev().find_map(help) else {
                wrong.push(format!("{file}: `{span}` is no command"));
                continue;
            };
            let options = words.iter().filter(|word| word.starts_with("--") && word.len() > 2);
            wrong.extend(options.filter(|o| !help.contains(**o)).map(|o| format!("{file}: `{span}` has no {o}")));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn the_sample_roster_is_accepted() {
    let dir = tempfile::tempdir().expect("a directory");
    let run = |args: &[&str]| Command::new(BINARY).args(args).current_dir(dir.path()).output().expect("started");
    assert!(run(&["init", "b", "--name", "sample"]).status.success());
    std::fs::copy(root().join("keys/roster.toml"), dir.path().join("b/boundary/roster.toml")).expect("copied");
    let output = run(&["roster", "show", "--config", "b"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    for line in read("keys/roster.toml").lines().filter(|line| line.starts_with("name = ")) {
        assert!(text.contains(line.split('"').nth(1).expect("a name")), "{line}: {text}");
    }
    for name in ["alice", "bob", "carol", "operator", "boundary"] {
        let output = run(&["key", "show", &root().join("keys").join(name).with_extension("pub").to_string_lossy()]);
        let shown = String::from_utf8_lossy(&output.stdout).into_owned();
        let keyid = shown.lines().last().expect("a key id");
        assert!(text.contains(keyid), "keys/{name}.pub is not in keys/roster.toml");
    }
}

/// A reader on the way through README, with an empty home.
struct Walk {
    dir: tempfile::TempDir,
    strict: bool,
    /// `127.0.0.1:port` of the boundary.
    address: String,
    serve: Option<Running>,
    waiting: Vec<Running>,
    exchange: Exchange,
}

/// What the HTTP exchange has come to.
#[derive(Default)]
struct Exchange {
    id: String,
    payload: String,
    signatures: Vec<Value>,
    receipt: String,
    statement: Value,
}

/// A command that goes on while others are run.
struct Running {
    shown: Shown,
    child: Child,
    lines: Receiver<String>,
    seen: Vec<String>,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Walk {
    fn begin() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        // As a home is: a run without a root of its own has to pass.
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o711)).expect("set");
        for below in ["bin", "work", "home"] {
            std::fs::create_dir(dir.path().join(below)).expect("made");
        }
        std::os::unix::fs::symlink(BINARY, dir.path().join("bin/countersign")).expect("linked");
        let mut walk = Self {
            dir,
            strict: true,
            address: SHOWN_PORT.to_owned(),
            serve: None,
            waiting: Vec::new(),
            exchange: Exchange::default(),
        };
        let report = walk.bash("countersign --json doctor").output().expect("started");
        let report: Value = serde_json::from_slice(&report.stdout).expect("JSON");
        let mut lines = report["lines"].as_array().expect("lines").iter();
        walk.strict = lines.any(|line| line["what"] == "sandbox level" && line["holds"] == "ok");
        if !walk.strict {
            not_run("what README shows of a strict sandbox", "this host can't hold it; the rest ran at best-effort");
        }
        walk
    }

    fn work(&self) -> PathBuf {
        self.dir.path().join("work")
    }

    /// A command line with this binary as `countersign`, and nothing of the tester's own environment.
    fn bash(&self, script: &str) -> Command {
        let mut command = Command::new("bash");
        let path = std::env::var("PATH").unwrap_or_default();
        command.args(["-euc", script]).current_dir(self.work()).stdin(Stdio::null()).env_clear();
        command.env("PATH", format!("{}:{path}", self.dir.path().join("bin").display()));
        command.env("HOME", self.dir.path().join("home")).env("SHELL", "/bin/bash").env("TERM", "dumb");
        command.env("COUNTERSIGN_URL", format!("http://{}", self.address));
        command
    }

    fn take(&mut self, block: &Block) {
        let here = format!("README.md:{}", block.line);
        match block.language.as_str() {
            "sh" if block.text.contains("$PAYLOAD") => self.sign(block, &here),
            "sh" => self.script(block, &here),
            "console" => self.console(block, &here),
            "http" => self.http(block, &here),
            "json" => {
                let mut expected: Value = serde_json::from_str(&block.text).unwrap_or_else(|e| panic!("{here}: {e}"));
                if !self.strict {
                    expected["predicate"]["sandbox"] = self.exchange.statement["predicate"]["sandbox"].clone();
                }
                must_fit(&expected, &self.exchange.statement, &here);
            }
            "markdown" => {
                std::fs::create_dir_all(self.work().join("runbooks")).expect("made");
                std::fs::write(self.work().join("runbooks/cache.md"), &block.text).expect("written");
            }
            "yaml" => {
                let read = Policy::load(&block.text);
                assert!(read.is_ok(), "{here}: {:?}", read.err());
            }
            "text" => {}
            other => panic!("{here}: nobody checks {other:?}: see the head of tests/readme.rs"),
        }
    }

    fn script(&self, block: &Block, here: &str) {
        let mut script = String::new();
        for line in block.text.lines() {
            let command = bare(line);
            if command == "./scripts/test" {
                let mode = std::fs::metadata(root().join("scripts/test")).expect("it is there").permissions().mode();
                assert_eq!(mode & 0o111, 0o111, "this test is a part of it, so it is not run again");
                continue;
            }
            let line = line.replace("cargo run --release -- ", "countersign ");
            // Where strict can't be held, both say so with 1.
            let may_say_no = ["cargo run --release -- demo", "countersign doctor boundary-1"].contains(&command);
            if may_say_no && !self.strict {
                script.push_str(&format!("{} || [ $? -eq 1 ]\n", bare(&line)));
            } else {
                script.push_str(&format!("{line}\n"));
            }
        }
        let output = self.bash(&script).output().expect("started");
        let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
        assert!(output.status.success(), "{here}: {:?}\n{script}\n{said}", output.status);
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
        let mut exports = String::new();
        for shown in shown {
            if shown.command.starts_with("export ") {
                exports.push_str(&self.filled(bare(&shown.command)));
                exports.push('\n');
            } else if bare(&shown.command).starts_with("countersign serve") {
                self.start_serving(shown, here);
            } else if bare(&shown.command).ends_with("--wait") || shown.command.contains(" --wait ") {
                let script = format!("{exports}exec env {}", shown.command);
                let running = self.start(shown, &script, here);
                self.waiting.push(running);
            } else if ["countersign approve", "countersign roster sign"]
                .iter()
                .any(|word| bare(&shown.command).starts_with(word))
            {
                self.at_terminal(&exports, &shown, here);
            } else if !self.strict && bare(&shown.command).starts_with("countersign run") {
                // What it shows needs the whole sandbox.
            } else {
                // A host that holds less than strict holds what its runs had.
                let less = !self.strict && bare(&shown.command).starts_with("countersign gate");
                let less = if less { " --min-sandbox off" } else { "" };
                let command = format!("{exports}{{ {}{less}; }} 2>&1", bare(&shown.command));
                let (code, lines) = finish(self.bash(&command));
                self.compare(&shown, code, &lines, here);
            }
        }
    }

    /// A line in which README shortens what differs from boundary to boundary.
    fn filled(&self, line: &str) -> String {
        let Some((before, _)) = line.split_once("sha256:…") else { return line.to_owned() };
        let listed = self.bash("COUNTERSIGN_TOKEN_FILE=agent.token countersign --json registry list").output();
        let listed: Value = serde_json::from_slice(&listed.expect("started").stdout).expect("JSON");
        let steps = listed["steps"].as_array().expect("steps");
        let digest = steps.iter().find(|step| step["ref"] == "service:restart").map(|step| &step["digest"]);
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
        // What a host can't hold is one more remark of a review.
        let differs = !self.strict && bare(&shown.command).starts_with("countersign review");
        let says = lines_fit(&shown.output, &real) || shown.output.is_empty() || differs;
        assert!(says, "{here}: {}\nshown:\n{}\nreally:\n{text}", shown.command, shown.output.join("\n"));
    }

    /// A line as on the port that README shows, and for a run that begins a moment later.
    fn normal(&self, line: &str) -> String {
        let line = line.replace(&self.address, SHOWN_PORT);
        let ends = [" is running", " is finished"].into_iter().find_map(|end| line.strip_suffix(end));
        match ends {
            Some(begun) if line.starts_with("signed by ") => format!("{begun} is approved"),
            _ => line,
        }
    }

    /// Starts what goes on beside others; waits for the first line that README shows of it.
    fn start(&self, shown: Shown, script: &str, here: &str) -> Running {
        let (mut reader, writer) = std::io::pipe().expect("a pipe");
        let mut command = self.bash(script);
        command.stdout(writer.try_clone().expect("cloned")).stderr(writer);
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
                    if sender.send(String::from_utf8_lossy(&line[..end]).into_owned()).is_err() {
                        return;
                    }
                }
            }
        });
        let mut running = Running { shown, child, lines, seen: Vec::new() };
        running.read_until(1, here);
        running
    }

    fn start_serving(&mut self, shown: Shown, here: &str) {
        if !self.strict {
            let file = self.work().join("boundary-1/countersign.toml");
            let text = std::fs::read_to_string(&file).expect("read");
            let eased = text.replace("level = \"strict\"", "level = \"best-effort\"");
            std::fs::write(&file, eased).expect("written");
        }
        let command = shown.command.replace("countersign serve", "exec countersign serve --listen 127.0.0.1:0");
        let lines = shown.output.len();
        let mut serve = self.start(shown, &command, here);
        serve.read_until(lines, here);
        let listens = serve.seen.iter().find_map(|line| line.trim().strip_prefix("listens")).expect("an address");
        self.address = listens.trim().trim_start_matches("http://").to_owned();
        if self.strict {
            let seen: Vec<String> = serve.seen.iter().map(|line| self.normal(line)).collect();
            assert!(lines_fit(&serve.shown.output, &seen), "{here}: really\n{}", seen.join("\n"));
        }
        self.serve = Some(serve);
    }

    /// Waits for those who wait, and compares what they said.
    fn join(&mut self, here: &str) {
        for mut running in std::mem::take(&mut self.waiting) {
            running.read_until(usize::MAX, here);
            let code = running.child.wait().expect("waited").code();
            self.compare(&running.shown, code, &running.seen, here);
        }
    }

    /// Runs a command at a terminal of its own, and answers its question with the end of the digest that it showed.
    fn at_terminal(&self, exports: &str, shown: &Shown, here: &str) {
        let script = self.dir.path().join("command.sh");
        std::fs::write(&script, format!("{exports}export NO_COLOR=1\n{}\n", shown.command)).expect("written");
        let mut command = self.bash(&format!("exec script -qefc 'bash {}' /dev/null", script.display()));
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("script (bsdutils) is needed");
        let mut answer = child.stdin.take();
        let mut out = child.stdout.take().expect("piped");
        let (mut text, mut piece, began, mut asked) = (String::new(), [0; 4096], Instant::now(), false);
        while let Ok(count @ 1..) = out.read(&mut piece) {
            text.push_str(&String::from_utf8_lossy(&piece[..count]));
            if !asked && QUESTIONS.iter().any(|question| text.contains(question)) {
                asked = true;
                let digest = text.lines().rfind(|line| line.starts_with("  digest ")).expect("a digest");
                let digest = digest.trim();
                let typed = &digest[digest.len() - 8..];
                answer.as_mut().expect("piped").write_all(format!("{typed}\n").as_bytes()).expect("typed");
            }
            assert!(began.elapsed() < DEADLINE, "{here}: {}\n{text}", shown.command);
        }
        drop(answer);
        let code = child.wait().expect("waited").code();
        assert!(asked, "{here}: {} asked nothing\n{text}", shown.command);
        let lines: Vec<String> = text.replace('\r', "").lines().map(str::to_owned).collect();
        self.compare(shown, code, &lines, here);
    }

    /// The block that signs `$PAYLOAD`: as bob, as it stands there; and as alice, with her key.
    fn sign(&mut self, block: &Block, here: &str) {
        let alice = block.text.replace("bob.pem", "~/.config/countersign/key.pem").replace("bob.pub", "alice.pub");
        for script in [&block.text, &alice] {
            let output = self.bash(script).env("PAYLOAD", &self.exchange.payload).output().expect("started");
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            let why = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success(), "{here}: {said}{why}");
            // base64 -w0 ends without a newline.
            let (signature, keyid) = said.trim().split_once("SHA256:").unwrap_or_else(|| panic!("{here}: {said}"));
            let entry = json!({"keyid": format!("SHA256:{keyid}"), "sig": signature.trim()});
            self.exchange.signatures.push(entry);
        }
        self.exchange.signatures.sort_by_key(|entry| entry["keyid"].to_string());
    }

    fn http(&mut self, block: &Block, here: &str) {
        let (request, response) = block.text.split_once("HTTP/1.1 ").unwrap_or_else(|| panic!("{here}: no answer"));
        let token = std::fs::read_to_string(self.work().join("agent.token")).expect("a token");
        let (head, body) = request.trim_end().split_once("\n\n").unwrap_or((request.trim_end(), ""));
        let exchange = &self.exchange;
        let head =
            head.replace("prp_…", &exchange.id).replace("rcp_…", &exchange.receipt).replace("cst_…", token.trim());
        let (first, headers) = head.split_once('\n').unwrap_or((&head, ""));
        let body = if body.contains('…') {
            let shown: Value = serde_json::from_str(body).unwrap_or_else(|error| panic!("{here}: {error}"));
            let real = if first.contains("/signatures") {
                json!({"signatures": exchange.signatures})
            } else {
                exchange.statement["predicate"]["authorization"].clone()
            };
            must_fit(&shown, &real, here);
            real.to_string()
        } else {
            body.to_owned()
        };
        let headers: String = headers.lines().map(|line| format!("{line}\r\n")).collect();
        let message = format!(
            "{first} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n{body}",
            self.address,
            body.len()
        );
        let mut answer = self.ask(&message);
        // A run that has ended before it is waited for is the usual case; one that has not is asked for again.
        let began = Instant::now();
        while first.contains("?wait=") && !answer.contains("\"finished\"") && began.elapsed() < DEADLINE {
            answer = self.ask(&message);
        }
        let (shown_head, shown_body) = response.split_once("\n\n").unwrap_or_else(|| panic!("{here}: no body"));
        let (real_head, real_body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{here}: {answer}"));
        let mut shown_head = shown_head.lines();
        let status = shown_head.next().expect("a status");
        assert_eq!(real_head.lines().next(), Some(&*format!("HTTP/1.1 {status}")), "{here}: {real_body}");
        for header in shown_head {
            let there = real_head.lines().any(|line| line.eq_ignore_ascii_case(header));
            assert!(there, "{here}: {header} is not in\n{real_head}");
        }
        let shown: Value = serde_json::from_str(shown_body).unwrap_or_else(|error| panic!("{here}: {error}"));
        let mut real: Value = serde_json::from_str(real_body).unwrap_or_else(|error| panic!("{here}: {error}"));
        self.exchange.learn(&real);
        if shown["status"] == "approved" && ["running", "finished"].iter().any(|word| real["status"] == *word) {
            // It began before this answer was made.
            for name in ["status", "next"] {
                real[name] = shown[name].clone();
            }
            for name in ["outcome", "receipt"] {
                real.as_object_mut().expect("an object").remove(name);
            }
        }
        must_fit(&shown, &real, here);
    }

    fn ask(&self, message: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).expect("connected");
        stream.set_read_timeout(Some(DEADLINE)).expect("set");
        stream.write_all(message.as_bytes()).expect("asked");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("answered");
        answer
    }

    fn end(mut self) {
        self.join("the end");
        let mut serve = self.serve.take().expect("README starts a boundary");
        let pid = rustix::process::Pid::from_raw(serve.child.id().cast_signed()).expect("a pid");
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("sent");
        serve.read_until(usize::MAX, "the end");
        assert!(serve.child.wait().expect("waited").success(), "{:?}", serve.seen);
        assert!(!self.exchange.receipt.is_empty(), "README shows an exchange up to its receipt");
    }
}

impl Exchange {
    fn learn(&mut self, answer: &Value) {
        let text = |name: &str| answer[name].as_str().unwrap_or_default().to_owned();
        if text("id").starts_with("prp_") {
            (self.id, self.payload) = (text("id"), text("payload"));
        }
        if text("receipt").starts_with("rcp_") {
            self.receipt = text("receipt");
        }
        if let Some(payload) = answer["envelope"]["payload"].as_str() {
            self.statement = serde_json::from_slice(&STANDARD.decode(payload).expect("base64")).expect("JSON");
        }
    }
}

impl Running {
    /// Reads until so many lines were seen, or the end.
    fn read_until(&mut self, count: usize, here: &str) {
        let end = Instant::now() + DEADLINE;
        while self.seen.len() < count {
            match self.lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(line) => self.seen.push(line),
                Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => return,
                Err(error) => panic!("{here}: {}: {error}\n{}", self.shown.command, self.seen.join("\n")),
            }
        }
    }
}

fn finish(mut command: Command) -> (Option<i32>, Vec<String>) {
    let output = command.output().expect("started");
    (output.status.code(), String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect())
}

fn must_fit(shown: &Value, real: &Value, here: &str) {
    let mut found = Vec::new();
    differences(shown, real, "", &mut found);
    assert!(found.is_empty(), "{here}:\n{}", found.join("\n"));
}

fn not_run(what: &str, why: &str) {
    let line = format!("not run: {what}: {why}\n");
    if let Some(file) = std::env::var_os("COUNTERSIGN_NOT_RUN") {
        let mut file = std::fs::File::options().append(true).create(true).open(file).expect("opened");
        file.write_all(line.as_bytes()).expect("written");
    }
    eprint!("{line}");
}
