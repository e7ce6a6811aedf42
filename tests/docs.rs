//! Every command that README and the pages of `docs/` show, run in their order through the real binary; every answer that
//! they show, compared.
//!
//! The word behind a fence says what is done with the block: `sh` is run and must succeed; `console` is run line by line and
//! must end and print as shown (`# exits N` behind a command names another exit code than 0); `http` is sent, and its answer
//! compared; `json` is the receipt, decoded; `yaml` is a policy; `text` and `toml` are not commands and nothing is done.
//! `file=PATH` behind the word writes the block to that file. `not run here: REASON` at the end of the line leaves the block
//! out; the reason is printed. Two comments, which readers do not see, prepare a page: `<!-- after PAGE -->` plays the blocks of
//! another page first, `<!-- run: COMMAND -->` runs a command whose output is not shown.
#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod shown;

use std::collections::BTreeMap;
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

use countersign::http::problem::status;
use countersign::policy::file::Policy;
use countersign::record::refusal::Code;
use shown::{Block, Shown, bare, blocks, commands, differences, lines_fit};

const BINARY: &str = env!("CARGO_BIN_EXE_countersign");
/// The port that the pages show; the boundary of the test listens on a free one.
const SHOWN_PORT: &str = "127.0.0.1:7433";
/// Where `approve` and `roster sign` ask. With the blank at its end, which is written by itself: an answer before it would
/// stand in front of it.
const QUESTIONS: [&str; 2] = ["f shows every field: ", "anything else stops: "];
/// How a reader ends the boundary that `&` put into the background.
const STOP: &str = "kill %1; wait";
/// What a page gives the agent's commands, so that the approvers' commands in the same terminal do without.
const TOKEN: &str = "COUNTERSIGN_TOKEN_FILE=agent.token ";
/// How long anything may take on a slow machine.
const DEADLINE: Duration = Duration::from_secs(90);

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(file: &str) -> String {
    std::fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// The pages with commands. Each is walked in a directory of its own, with a boundary of its own.
macro_rules! pages {
    ($($test:ident: $page:literal,)*) => {
        const PAGES: &[&str] = &[$($page),*];
        $(#[test]
        fn $test() {
            Walk::through($page);
        })*
    };
}

pages! {
    readme_does_what_it_shows: "README.md",
    quickstart_does_what_it_shows: "docs/quickstart.md",
    agents_does_what_it_shows: "docs/agents.md",
    approve_does_what_it_shows: "docs/approve.md",
    ci_does_what_it_shows: "docs/ci.md",
    audit_does_what_it_shows: "docs/audit.md",
    operate_does_what_it_shows: "docs/operate.md",
    rosters_does_what_it_shows: "docs/rosters.md",
    runbooks_does_what_it_shows: "docs/runbooks.md",
    policy_does_what_it_shows: "docs/policy.md",
    run_locally_does_what_it_shows: "docs/run-locally.md",
}

/// README, CONTRIBUTING, SECURITY and whatever lies in `docs/`.
fn all_pages() -> Vec<String> {
    let mut found: Vec<String> = ["README.md", "CONTRIBUTING.md", "SECURITY.md"].map(str::to_owned).to_vec();
    for entry in std::fs::read_dir(root().join("docs")).expect("docs/") {
        let name = entry.expect("an entry").file_name().into_string().expect("UTF-8");
        if name.ends_with(".md") {
            found.push(format!("docs/{name}"));
        }
    }
    found.sort();
    found
}

#[test]
fn every_command_block_is_run_or_says_why_not() {
    let (mut run, mut left) = (0, 0);
    for page in all_pages() {
        for block in blocks(&page, &read(&page)) {
            let hidden = block.language == "text" && block.text.lines().any(|line| line.starts_with("$ "));
            assert!(!hidden, "{}: a command in a `text` block: write `console`", block.here);
            match &block.not_run {
                Some(reason) => {
                    assert!(block.is_command() && reason.len() > 10, "{}: no reason: {reason:?}", block.here);
                    not_run(&block.here, reason);
                    left += 1;
                }
                None if block.is_command() => {
                    assert!(PAGES.contains(&page.as_str()), "{}: add {page} to PAGES in tests/docs.rs", block.here);
                    run += 1;
                }
                None => {}
            }
        }
    }
    assert!(run >= 35, "{run}");
    // Not `println!`, whose text the test harness keeps to itself.
    let _ = writeln!(std::io::stdout(), "command blocks of the pages: {run} run, {left} not run");
}

/// Each code of a refusal is in the table of the page for agents, with its status.
#[test]
fn the_page_for_agents_has_every_code_with_its_status() {
    let page = read("docs/agents.md");
    for code in Code::ALL {
        let (word, status) = (format!("`{}`", code.word()), status(*code).as_u16().to_string());
        let mut rows = page.lines().filter(|line| line.starts_with('|') && line.contains(&word));
        let there = rows.any(|row| row.split('|').nth(1).is_some_and(|statuses| statuses.contains(&status)));
        assert!(there, "no row with {word} and {status}");
    }
}

#[test]
fn readme_is_at_most_ten_kibibytes() {
    let size = read("README.md").len();
    assert!(size <= 10_240, "{size}: move what one reader needs to that reader's page in docs/");
}

#[test]
fn the_first_screen_has_its_commands_and_the_table_is_run() {
    let readme = read("README.md");
    let first = blocks("README.md", &readme).into_iter().next().expect("a block");
    let lines: Vec<&str> = first.text.lines().map(bare).collect();
    assert_eq!((first.line < 12, lines), (true, vec!["cargo run -- demo", "./scripts/test"]));
    let mut run = Vec::new();
    for page in PAGES {
        for block in blocks(page, &read(page)).iter().filter(|block| block.not_run.is_none()) {
            match block.language.as_str() {
                "console" => {
                    run.extend(commands(block).into_iter().map(|shown| bare(&shown.command).replace(TOKEN, "")))
                }
                "sh" => run.extend(block.text.lines().map(|line| bare(line).to_owned())),
                _ => {}
            }
        }
    }
    for who in ["| an agent", "| an approver", "| an auditor", "| a CI job", "| an operator"] {
        let row = readme.lines().find(|line| line.starts_with(who)).unwrap_or_else(|| panic!("no row {who}"));
        for command in row.split('`').skip(1).step_by(2) {
            assert!(run.iter().any(|ran| ran == command), "{command} is shown, but no page runs it");
        }
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
    assert_eq!(codes.len(), 6, "{codes:?}");
    for code in codes {
        let word = code.trim_matches('`');
        assert!(Code::ALL.iter().any(|code| code.word() == word), "{code}");
    }
}

#[test]
fn every_link_of_a_page_leads_somewhere() {
    let mut wrong = Vec::new();
    for page in all_pages() {
        let text = prose(&read(&page));
        for link in text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(link, _)| link) {
            if link.contains("://") {
                continue;
            }
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target =
                if file.is_empty() { root().join(&page) } else { root().join(&page).with_file_name("").join(file) };
            let there = match std::fs::read_to_string(&target) {
                Ok(text) => anchor.is_empty() || anchors(&text).iter().any(|known| known == anchor),
                Err(_) => target.exists() && anchor.is_empty(),
            };
            if !there {
                wrong.push(format!("{page}: {link}"));
            }
        }
    }
    assert!(wrong.is_empty(), "lead nowhere:\n{}", wrong.join("\n"));
}

/// A page without its fenced blocks and its code.
fn prose(page: &str) -> String {
    let mut fence: Option<&str> = None;
    let mut kept = String::new();
    for line in page.lines() {
        let ticks = &line[..line.chars().take_while(|c| *c == '`').count()];
        match fence {
            None if ticks.len() >= 3 => fence = Some(ticks),
            None => kept.extend(line.split('`').step_by(2).chain(["\n"])),
            Some(open) if line == open => fence = None,
            Some(_) => {}
        }
    }
    kept
}

/// What GitHub makes of the headings of a page.
fn anchors(page: &str) -> Vec<String> {
    let headings = page.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
    let word = |c: char| match c {
        ' ' | '-' => Some('-'),
        c if c.is_alphanumeric() || c == '_' => Some(c.to_ascii_lowercase()),
        _ => None,
    };
    headings.map(|heading| heading.chars().filter_map(word).collect()).collect()
}

/// Also those in the text of the documents.
#[test]
fn every_command_that_a_document_names_exists_with_its_options() {
    let mut wrong = Vec::new();
    let more = ["CHANGELOG.md", "keys/README.md", "examples/ci/README.md"].map(str::to_owned);
    for file in all_pages().into_iter().chain(more) {
        for span in read(&file).split('`').skip(1).step_by(2).filter(|span| span.starts_with("countersign ")) {
            let words: Vec<&str> = span.split_whitespace().skip(1).collect();
            if words.first().is_some_and(|word| word.chars().all(|c| c.is_ascii_uppercase())) {
                // It stands for something else, `countersign VERSION`.
                continue;
            }
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

/// A reader on the way through a page, with an empty home.
struct Walk {
    dir: tempfile::TempDir,
    strict: bool,
    /// `127.0.0.1:port` of the boundary.
    address: String,
    serve: Option<Running>,
    waiting: Vec<Running>,
    /// The variables that the reader's shell has by now.
    variables: BTreeMap<String, String>,
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
    fn through(page: &str) {
        let mut walk = Self::begin(page);
        walk.play(page);
        walk.end();
    }

    fn begin(page: &str) -> Self {
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
            variables: BTreeMap::new(),
            exchange: Exchange::default(),
        };
        let report = walk.bash("countersign --json doctor").output().expect("started");
        let report: Value = serde_json::from_slice(&report.stdout).expect("JSON");
        let mut lines = report["lines"].as_array().expect("lines").iter();
        walk.strict = lines.any(|line| line["what"] == "sandbox level" && line["holds"] == "ok");
        if !walk.strict {
            not_run(page, "what it shows of a strict sandbox: this host can't hold it; the rest ran at best-effort");
        }
        walk
    }

    fn play(&mut self, page: &str) {
        for block in blocks(page, &read(page)) {
            if block.not_run.is_none() {
                self.take(&block);
            }
        }
    }

    fn work(&self) -> PathBuf {
        self.dir.path().join("work")
    }

    /// A command line with this binary as `countersign`, and nothing of the tester's own environment.
    fn bash(&self, script: &str) -> Command {
        let mut command = Command::new("bash");
        let path = std::env::var("PATH").unwrap_or_default();
        let script = script.replace(SHOWN_PORT, &self.address);
        command.args(["-euc", &script]).current_dir(self.work()).stdin(Stdio::null()).env_clear();
        command.env("PATH", format!("{}:{path}", self.dir.path().join("bin").display()));
        command.env("HOME", self.dir.path().join("home")).env("SHELL", "/bin/bash").env("TERM", "dumb");
        command.env("COUNTERSIGN_URL", format!("http://{}", self.address)).envs(&self.variables);
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
                let mut expected: Value = serde_json::from_str(&block.text).unwrap_or_else(|e| panic!("{here}: {e}"));
                if !self.strict {
                    expected["predicate"]["sandbox"] = self.exchange.statement["predicate"]["sandbox"].clone();
                }
                must_fit(&expected, &self.exchange.statement, here);
            }
            "yaml" => {
                let read = Policy::load(&block.text);
                assert!(read.is_ok(), "{here}: {:?}", read.err());
            }
            "text" | "toml" => {}
            "markdown" => assert!(block.file.is_some(), "{here}: which file is it? `markdown file=PATH`"),
            other => panic!("{here}: nothing checks {other:?}: see the head of tests/docs.rs"),
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
            let line = line.replace("cargo run -- ", "countersign ");
            // Where strict can't be held, both say so with 1.
            let may_say_no = ["cargo run -- demo", "countersign doctor boundary-1"].contains(&command);
            if may_say_no && !self.strict {
                script.push_str(&format!("{} || [ $? -eq 1 ]\n", bare(&line)));
            } else {
                script.push_str(&format!("{line}\n"));
            }
        }
        if script.contains("python3 tests/")
            && self.bash("command -v python3").output().is_ok_and(|o| !o.status.success())
        {
            return not_run(here, "there is no python3 here");
        }
        // The reader is in a clone then.
        let script = script.replace("python3 tests/", &format!("python3 {}/tests/", root().display()));
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
        for mut shown in shown {
            if block.language == "run" {
                // Nothing is shown of it, so any output fits.
                shown.output = vec!["…".to_owned()];
            }
            let command = bare(&shown.command).to_owned();
            if command.starts_with("countersign serve") {
                self.start_serving(shown, here);
            } else if command == STOP {
                self.stop_serving(here);
            } else if let Some((name, _)) = command.trim_start_matches("export ").split_once('=')
                && !name.contains(' ')
                && !command.contains(" countersign ")
            {
                self.set(name, &shown, here);
            } else if command.ends_with("--wait") || command.contains(" --wait ") {
                let script = format!("exec env {command}");
                let running = self.start(shown, &script, here);
                self.waiting.push(running);
            } else if ["countersign approve", "countersign roster sign"].iter().any(|word| command.starts_with(word)) {
                self.at_terminal(&shown, here);
            } else if !self.strict
                && ["countersign run", "countersign sandbox"].iter().any(|word| command.starts_with(word))
            {
                // What it shows needs the whole sandbox.
            } else {
                // A host that holds less than strict holds what its runs had.
                let less = !self.strict && command.starts_with("countersign gate");
                let less = if less { " --min-sandbox off" } else { "" };
                let (code, lines) = finish(self.bash(&format!("{{ {command}{less}; }} 2>&1")));
                self.compare(&shown, code, &lines, here);
            }
        }
    }

    /// `NAME=VALUE`, where VALUE may be `$(COMMAND)`, or `sha256:…` for what the registry says.
    fn set(&mut self, name: &str, shown: &Shown, here: &str) {
        let file = self.dir.path().join("value");
        let line = self.filled(bare(&shown.command));
        let (code, lines) =
            finish(self.bash(&format!("exec 2>&1; {line}; printf %s \"${name}\" > {}", file.display())));
        self.compare(shown, code, &lines, here);
        self.variables.insert(name.to_owned(), std::fs::read_to_string(file).expect("a value"));
    }

    /// A line in which a page shortens what differs from boundary to boundary.
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
        // Notes tell what a host can't hold.
        let real = real.iter().filter(|line| self.strict || !line.starts_with("note: "));
        let real: Vec<String> = real.map(|line| self.normal(line)).collect();
        let text = real.join("\n");
        assert_eq!(code, Some(shown.exits), "{here}: {}\n{text}", shown.command);
        // What a host can't hold is one more remark of a review.
        let screens = ["countersign inbox", "countersign review", "countersign approve"];
        let differs = !self.strict && screens.iter().any(|screen| shown.command.starts_with(screen));
        let says = lines_fit(&shown.output, &real) || shown.output.is_empty() || differs;
        assert!(says, "{here}: {}\nshown:\n{}\nreally:\n{text}", shown.command, shown.output.join("\n"));
    }

    /// A line as on the port that the pages show, and for a run that begins a moment later.
    fn normal(&self, line: &str) -> String {
        let line = line.replace(&self.address, SHOWN_PORT);
        let ends = [" is running", " is finished"].into_iter().find_map(|end| line.strip_suffix(end));
        match ends {
            Some(begun) if line.starts_with("signed by ") => format!("{begun} is approved"),
            _ => line,
        }
    }

    /// Starts what goes on beside others; waits for its first line.
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
        assert!(self.serve.is_none(), "{here}: a boundary is served already: `{STOP}` first");
        if !self.strict {
            let file = self.work().join("boundary-1/countersign.toml");
            let text = std::fs::read_to_string(&file).expect("read");
            let eased = text.replace("level = \"strict\"", "level = \"best-effort\"");
            std::fs::write(&file, eased).expect("written");
        }
        let command = bare(&shown.command).replace("countersign serve", "exec countersign serve --listen 127.0.0.1:0");
        let command = command.trim_end_matches('&').to_owned();
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
    fn at_terminal(&self, shown: &Shown, here: &str) {
        let script = self.dir.path().join("command.sh");
        std::fs::write(&script, format!("export NO_COLOR=1\n{}\n", shown.command)).expect("written");
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

    fn stop_serving(&mut self, here: &str) {
        self.join(here);
        let mut serve = self.serve.take().unwrap_or_else(|| panic!("{here}: no boundary is served"));
        let pid = rustix::process::Pid::from_raw(serve.child.id().cast_signed()).expect("a pid");
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("sent");
        serve.read_until(usize::MAX, here);
        assert!(serve.child.wait().expect("waited").success(), "{here}: {:?}", serve.seen);
    }

    fn end(mut self) {
        self.join("the end");
        if self.serve.is_some() {
            self.stop_serving("the end");
        }
        let began = !self.exchange.id.is_empty();
        assert!(!began || !self.exchange.receipt.is_empty(), "an exchange over HTTP is shown up to its receipt");
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
