//! The operator's commands through the real binary: init, serve, doctor, key, token, roster, registry.

use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::people::alice;
use crate::support::poor::poor_host;
use crate::support::{KilledAtEnd, World, assert_says, exited, host, said, said_at_exit};

const BINARY: &str = env!("CARGO_BIN_EXE_countersign");

pub(super) fn run(dir: &Path, args: &[&str]) -> Output {
    // If `serve` wrongly starts, the service would never end. `timeout` ends the service with exit code 124, so the
    // test fails.
    let mut command = Command::new("timeout");
    command.args([
        "-k",
        "5",
        if args.first() == Some(&"serve") {
            "60"
        } else {
            "0"
        },
        BINARY,
    ]);
    command.args(args).current_dir(dir).stdin(Stdio::null());
    for name in ["COUNTERSIGN_CONFIG", "COUNTERSIGN_TOKEN", "COUNTERSIGN_URL"] {
        command.env_remove(name);
    }
    command.output().expect("started")
}

pub(super) fn must(dir: &Path, args: &[&str]) -> Output {
    let output = run(dir, args);
    assert!(output.status.success(), "{args:?}: {}", said(&output));
    output
}

/// Creates a directory with keys of alice and bob and a boundary from `init`, with a sandbox level that every host
/// supports.
pub(super) fn boundary() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o711)).expect("set");
    for name in ["alice", "bob"] {
        must(
            dir.path(),
            &[
                "key",
                "generate",
                "--out",
                &format!("{name}.pem"),
                "--comment",
                name,
            ],
        );
    }
    must(
        dir.path(),
        &[
            "init",
            "b",
            "--yes",
            "--name",
            "test",
            "--approver",
            "alice=alice.pub",
            "--approver",
            "bob=bob.pub",
        ],
    );
    let home = dir.path().join("b");
    edit(
        &home.join("countersign.toml"),
        "level = \"strict\"",
        "level = \"best-effort\"",
    );
    (dir, home)
}

pub(super) fn edit(path: &Path, from: &str, to: &str) {
    let text = std::fs::read_to_string(path).expect("read");
    assert!(text.contains(from), "{text}");
    std::fs::write(path, text.replace(from, to)).expect("written");
}

pub(super) struct Service {
    child: KilledAtEnd,
    started: Value,
}

impl Service {
    pub(super) fn start(dir: &Path) -> Self {
        let mut child = Command::new(BINARY)
            .args(["--json", "serve", "b", "--listen", "127.0.0.1:0"])
            .current_dir(dir)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("started");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped"))
            .read_line(&mut line)
            .expect("read");
        let said: Value =
            serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
        Self {
            child: KilledAtEnd(child),
            started: said["started"].clone(),
        }
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_raw(self.child.id().cast_signed()).expect("a pid");
        rustix::process::kill_process(pid, signal).expect("sent");
    }

    pub(super) fn stop(mut self) -> bool {
        self.signal(rustix::process::Signal::TERM);
        let deadline = Instant::now() + Duration::from_secs(20);
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait().expect("waited") {
                return status.success();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        false
    }
}

/// systemd checks the unit file that `init` writes, for directories whose names need escapes.
#[test]
fn systemd_loads_the_unit_that_init_writes() {
    const NAME: &str = "systemd_loads_the_unit_that_init_writes";
    let systemd = |words: &[&str], unit: &Path| {
        Command::new("systemd-analyze")
            .args(words)
            .arg(unit)
            .output()
    };
    let dir = tempfile::tempdir().expect("a directory");
    for name in [
        "plain",
        "a b",
        "per%cent",
        "quo\"te",
        "back\\slash",
        "dol$lar",
    ] {
        must(dir.path(), &["init", name, "--yes", "--name", "test"]);
        let unit = dir.path().join(name).join("countersign.service");
        let Ok(looked) = systemd(&["verify", "--recursive-errors=no"], &unit) else {
            host::not_run(NAME, "there is no systemd-analyze here");
            return;
        };
        // The unit file asks the operator to create the account, so the check ignores the missing account.
        let told: Vec<String> = said(&looked).lines().map(str::to_owned).collect();
        let wrong: Vec<&String> = told
            .iter()
            .filter(|line| line.contains("countersign.service"))
            .collect();
        assert!(
            looked.status.success() && wrong.is_empty(),
            "{name}: {told:?}"
        );
    }
}

#[test]
fn openssl_reads_the_key_files_of_this_program() {
    let dir = tempfile::tempdir().expect("a directory");
    must(dir.path(), &["key", "generate", "--out", "k.pem"]);
    let openssl = Command::new("openssl")
        .args(["pkey", "-in", "k.pem", "-pubout"])
        .current_dir(dir.path())
        .output()
        .expect("openssl is needed");
    assert!(
        openssl.status.success() && said(&openssl).contains("BEGIN PUBLIC KEY"),
        "{}",
        said(&openssl)
    );
    let ssh = Command::new("ssh-keygen")
        .args(["-lf", "k.pub"])
        .current_dir(dir.path())
        .output();
    let shown = said(&must(dir.path(), &["key", "show", "k.pem"]));
    let keyid = shown.lines().last().expect("a key id");
    assert!(
        said(&ssh.expect("ssh-keygen is needed")).contains(keyid),
        "{shown}"
    );
    assert_eq!(
        std::fs::metadata(dir.path().join("k.pem"))
            .expect("there")
            .mode()
            & 0o777,
        0o600
    );
    assert_eq!(
        run(dir.path(), &["key", "generate", "--out", "k.pem"])
            .status
            .code(),
        Some(2),
        "never replaced"
    );
}

#[test]
fn a_token_is_made_through_the_socket_and_without_a_service_through_the_store() {
    let (dir, home) = boundary();
    let dir = dir.path();
    assert_says(
        said(&must(
            dir,
            &[
                "token", "create", "early", "--config", "b", "--owner", "alice",
            ],
        )),
        "cst_",
    );
    let service = Service::start(dir);
    assert_eq!(
        service.started["first"], false,
        "the store began with the first token"
    );
    let socket = std::fs::metadata(home.join("boundary/control.sock")).expect("a socket");
    assert_eq!(socket.mode() & 0o777, 0o600);
    let made = must(
        dir,
        &[
            "--json",
            "token",
            "create",
            "late",
            "--config",
            "b",
            "--owner",
            "bob",
            "--scope",
            "read",
            "--expires",
            "1h",
        ],
    );
    let made: Value = serde_json::from_slice(&made.stdout).expect("JSON");
    let secret = made["secret"].as_str().expect("a secret").to_owned();
    assert!(secret.starts_with("cst_") && secret.len() > 40);
    // The new token works at once.
    let url = service.started["url"].as_str().expect("a URL").to_owned();
    let mut list = Command::new(BINARY);
    list.args(["registry", "list", "--url", &url])
        .env("COUNTERSIGN_TOKEN", &secret);
    said_at_exit(list.output().expect("started"), 0, "host:report");
    let ownerless = |name: &str, scope: &str| {
        let made = must(
            dir,
            &["token", "create", name, "--config", "b", "--scope", scope],
        );
        said(&made).contains("has no owner, so every approver may approve its proposals")
    };
    assert!(
        ownerless("scraper", "read") != ownerless("agent", "propose"),
        "only proposals need an owner"
    );
    let again = run(
        dir,
        &["token", "create", "late", "--config", "b", "--owner", "bob"],
    );
    assert_eq!(
        again.status.code(),
        Some(126),
        "names are never used twice: {}",
        said(&again)
    );
    exited(
        run(
            dir,
            &[
                "token", "create", "other", "--config", "b", "--owner", "nobody",
            ],
        ),
        2,
    );
    must(dir, &["token", "revoke", "early", "--config", "b"]);
    assert!(service.stop(), "it ends well");
    assert!(!home.join("boundary/control.sock").exists());
    let listed = said(&must(dir, &["token", "list", "--config", "b"]));
    let row = |name: &str| {
        listed
            .lines()
            .find(|line| line.starts_with(name))
            .unwrap_or_else(|| panic!("{listed}"))
            .to_owned()
    };
    assert!(
        row("early").contains("revoked") && row("late").contains("valid"),
        "{listed}"
    );
    assert!(!listed.contains("cst_"), "a secret is shown once");
}

#[test]
fn a_token_pattern_that_never_matches_or_misses_directories_is_refused() {
    let (dir, _) = boundary();
    for (pattern, words) in [
        ("**:*", "** is no whole segment: write ** for every step"),
        ("deploy/web**:x", "** is no whole segment"),
        ("host", "is the name of no step: write PATH:STEP"),
        ("host:a:b", "is the name of no step"),
        ("/host:report", "the pattern has an empty segment"),
    ] {
        let refused = run(
            dir.path(),
            &[
                "token", "create", "t", "--config", "b", "--owner", "alice", "--step", pattern,
            ],
        );
        assert!(
            refused.status.code() == Some(2) && said(&refused).contains(words),
            "{pattern}: {}",
            said(&refused)
        );
    }
    for (number, pattern) in [
        "**",
        "**/*:*",
        "host:report",
        "host:*",
        "host/**",
        "{a,b}:x",
    ]
    .iter()
    .enumerate()
    {
        let name = format!("t{number}");
        must(
            dir.path(),
            &[
                "token", "create", &name, "--config", "b", "--owner", "alice", "--step", pattern,
            ],
        );
    }
}

#[test]
fn a_token_whose_name_looks_like_a_person_is_refused() {
    let (dir, _) = boundary();
    for name in ["a1ice", "alice.", "b0b", "bob_-"] {
        let refused = run(
            dir.path(),
            &["token", "create", name, "--config", "b", "--owner", "alice"],
        );
        let told = said(&refused);
        assert!(
            refused.status.code() == Some(2) && told.contains(&format!("{name} looks like ")),
            "{name}: {told}"
        );
    }
    must(
        dir.path(),
        &[
            "token",
            "create",
            "bob-agent",
            "--config",
            "b",
            "--owner",
            "alice",
        ],
    );
}

#[test]
fn a_private_key_or_two_keys_in_place_of_a_public_key_are_told_with_what_to_give() {
    let (dir, _) = boundary();
    let read = |name: &str| std::fs::read_to_string(dir.path().join(name)).expect("a file");
    std::fs::write(
        dir.path().join("both.pub"),
        read("alice.pub") + &read("bob.pub"),
    )
    .expect("written");
    std::fs::write(
        dir.path().join("noted.pub"),
        format!("# of bob\n\n{}", read("bob.pub")),
    )
    .expect("written");
    for (file, words) in [
        (
            "alice.pem",
            "this is a private key: give the file with its public key, usually FILE.pub",
        ),
        ("both.pub", "2 lines"),
    ] {
        let init = [
            "init",
            "c",
            "--yes",
            "--name",
            "t",
            "--approver",
            &format!("zoe={file}"),
        ]
        .map(str::to_owned);
        let add = [
            "roster", "add", "approver", "zoe", "--key", file, "--config", "b",
        ]
        .map(str::to_owned);
        for words_of in [&init[..], &add] {
            let refused = run(
                dir.path(),
                &words_of.iter().map(String::as_str).collect::<Vec<_>>(),
            );
            assert!(
                refused.status.code() == Some(2) && said(&refused).contains(words),
                "{words_of:?}: {}",
                said(&refused)
            );
        }
    }
    assert!(!dir.path().join("c").exists());
    must(
        dir.path(),
        &[
            "init",
            "c",
            "--yes",
            "--name",
            "t",
            "--approver",
            "zoe=noted.pub",
        ],
    );
}

#[test]
fn serve_reports_every_error_of_every_file_and_does_not_start() {
    let (dir, home) = boundary();
    edit(
        &home.join("countersign.toml"),
        "level = \"best-effort\"",
        "level = \"best-effort\"\ncolour = \"red\"",
    );
    let output = run(dir.path(), &["serve", "b"]);
    assert_eq!(output.status.code(), Some(2));
    let text = std::fs::read_to_string(home.join("countersign.toml")).expect("read");
    let line = text
        .lines()
        .position(|line| line.starts_with("colour"))
        .expect("the line")
        + 1;
    let words = format!("countersign.toml:{line}:1: unknown key in [sandbox]");
    assert!(said(&output).contains(&words), "{words}: {}", said(&output));
    edit(&home.join("countersign.toml"), "\ncolour = \"red\"", "");
    std::fs::write(
        home.join("runbooks/bad.md"),
        "---\ncountersign: 1\ntitle: x\n---\n```bash {#a colour=red}\n:\n```\n",
    )
    .expect("written");
    edit(
        &home.join("boundary/policy.yaml"),
        "mode: prompted",
        "mode: sometimes",
    );
    edit(
        &home.join("boundary/roster.d/next.json"),
        "\"threshold\": 2",
        "\"threshold\": 7",
    );
    std::fs::set_permissions(
        home.join("boundary/key.pem"),
        std::fs::Permissions::from_mode(0o644),
    )
    .expect("set");
    let output = run(dir.path(), &["serve", "b"]);
    let text = said(&output);
    for words in [
        "bad.md:5:",
        "policy.yaml:",
        "next.json:",
        "chmod 600",
        "4 things to fix",
    ] {
        assert!(text.contains(words), "{words}\n{text}");
    }
    assert!(
        !home.join("boundary/countersign.db").exists(),
        "nothing was begun"
    );
    let doctor = run(dir.path(), &["doctor", "b"]);
    assert_eq!(doctor.status.code(), Some(1));
    for words in ["bad.md:5:", "policy.yaml:", "next.json:", "chmod 600"] {
        assert!(said(&doctor).contains(words), "{words}\n{}", said(&doctor));
    }
}

#[test]
fn doctor_names_the_steps_that_this_host_can_not_run_before_the_first_start() {
    let name = "doctor_names_the_steps_that_this_host_can_not_run_before_the_first_start";
    let (dir, _) = boundary();
    let mut world = World::prepared(|_| {});
    if !poor_host(&mut world, name) {
        return;
    }
    let (program, before) = world.setup.before.split_first().expect("words");
    let mut command = Command::new(program);
    let doctor = command
        .args(before)
        .args([BINARY, "doctor", "b"])
        .current_dir(dir.path())
        .output()
        .expect("started");
    assert_eq!(doctor.status.code(), Some(1), "{}", said(&doctor));
    let text = said(&doctor);
    let line = text
        .lines()
        .find(|line| line.starts_with("FIX   steps"))
        .unwrap_or_else(|| panic!("{text}"));
    assert!(
        line.contains("service:restart") && line.contains("are refused: "),
        "{line}"
    );
    // On a host with all layers, the same files need nothing.
    assert!(said(&must(dir.path(), &["doctor", "b"])).contains("Nothing to fix."));
}

#[test]
fn files_name_the_link_by_which_the_program_was_started() {
    let dir = tempfile::tempdir().expect("a directory");
    let link = dir.path().join("countersign");
    std::os::unix::fs::symlink(BINARY, &link).expect("a link");
    std::fs::write(dir.path().join("agent.token"), "").expect("written");
    let path = format!("{}:/usr/bin:/bin", dir.path().display());
    for (program, expected) in [
        ("countersign", &*link),
        (link.to_str().expect("UTF-8"), &link),
        (BINARY, Path::new(BINARY)),
    ] {
        let run = |words: &[&str]| {
            let mut command = Command::new(program);
            command
                .args(words)
                .current_dir(dir.path())
                .env("PATH", &path)
                .env("HOME", dir.path())
                .env_remove("COUNTERSIGN_TOKEN");
            exited(command.output().expect("started"), 0)
        };
        run(&["init", "b", "--yes", "--name", "test"]);
        let unit =
            std::fs::read_to_string(dir.path().join("b/countersign.service")).expect("a unit");
        assert!(
            unit.contains(&format!("ExecStart=\"{}\" serve", expected.display())),
            "{unit}"
        );
        let printed = run(&[
            "mcp",
            "--print-config",
            "claude",
            "--token-file",
            "agent.token",
        ]);
        let block: Value = serde_json::from_slice(&printed.stdout).expect("JSON");
        assert_eq!(
            block["mcpServers"]["countersign"]["command"]
                .as_str()
                .map(Path::new),
            Some(expected)
        );
        std::fs::remove_dir_all(dir.path().join("b")).expect("removed");
    }
}

#[test]
fn changed_roster_files_need_signatures_and_sighup_seals_changed_runbooks() {
    let (dir, home) = boundary();
    let service = Service::start(dir.path());
    assert_eq!(
        (&service.started["seal"], &service.started["first"]),
        (&Value::from(0), &Value::from(true))
    );
    let second = run(dir.path(), &["serve", "b", "--listen", "127.0.0.1:0"]);
    assert_eq!(second.status.code(), Some(2), "one service a store");
    assert!(
        said(&second).contains("in use by process"),
        "{}",
        said(&second)
    );
    std::fs::remove_file(home.join("runbooks/long.md")).expect("removed");
    service.signal(rustix::process::Signal::HUP);
    let steps = || said(&run(dir.path(), &["doctor", "b"]));
    let deadline = Instant::now() + Duration::from_secs(10);
    while !steps().contains("serves seal 1") {
        assert!(Instant::now() < deadline, "{}", steps());
    }
    assert!(service.stop());
    let sealed = service_roster(dir.path());
    edit(
        &home.join("boundary/policy.yaml"),
        "required: 2",
        "required: 1",
    );
    let service = Service::start(dir.path());
    assert_eq!(
        service.started["roster"].as_str(),
        Some(&*sealed),
        "the sealed roster stands"
    );
    let notes = service.started["notes"].to_string();
    assert!(
        notes.contains("policy file") && notes.contains("countersign roster set"),
        "{notes}"
    );
    assert_eq!(service.started["seal"], 1, "nothing new is sealed: {notes}");
    assert!(service.stop());
}

fn service_roster(dir: &Path) -> String {
    let service = Service::start(dir);
    let roster = service.started["roster"]
        .as_str()
        .expect("a digest")
        .to_owned();
    assert!(service.stop());
    roster
}

#[test]
fn a_boundary_without_possible_approvers_is_not_started() {
    let dir = tempfile::tempdir().expect("a directory");
    must(dir.path(), &["init", "b", "--yes", "--name", "test"]);
    edit(
        &dir.path().join("b/countersign.toml"),
        "level = \"strict\"",
        "level = \"best-effort\"",
    );
    let output = run(dir.path(), &["serve", "b", "--listen", "127.0.0.1:0"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        said(&output).contains("no run could be approved"),
        "{}",
        said(&output)
    );
    assert_says(
        said(&must(dir.path(), &["roster", "show", "--config", "b"])),
        "UNGUARDED",
    );
}

#[test]
fn the_roster_is_shown_with_its_witnesses() {
    let (dir, home) = boundary();
    let key = documents::SecretKey::from_seed([21; 32]).public();
    let vkey = documents::WitnessKey::new("w.example/1", key).vkey();
    let witness = format!("{{\"vkey\": \"{vkey}\", \"url\": \"http://127.0.0.1:1\"}}");
    let set = [
        "roster",
        "--config",
        "b",
        "set",
        "witnesses/w.example~11",
        &witness,
    ];
    must(dir.path(), &set);
    assert!(home.join("boundary/roster.d/next.json").exists());
    let shown = said(&must(dir.path(), &["roster", "show", "--config", "b"]));
    let line = shown
        .lines()
        .find(|line| line.starts_with("witness"))
        .unwrap_or_else(|| panic!("{shown}"));
    assert_eq!(
        line.split_whitespace().collect::<Vec<_>>(),
        ["witness", "w.example/1", "at", "http://127.0.0.1:1", &vkey]
    );
}

#[test]
fn the_strict_level_is_refused_with_the_missing_layer_and_the_setting_to_change() {
    let (dir, home) = boundary();
    edit(
        &home.join("countersign.toml"),
        "level = \"best-effort\"",
        "level = \"strict\"",
    );
    let script = "echo 0 > /proc/sys/user/max_user_namespaces && exec \"$@\"";
    let mut command = Command::new("unshare");
    command
        .args([
            "-Ur",
            "sh",
            "-c",
            script,
            "sh",
            BINARY,
            "serve",
            "b",
            "--listen",
            "127.0.0.1:0",
        ])
        .current_dir(dir.path());
    let output = command.output().expect("unshare (util-linux) is needed");
    let text = said(&output);
    if text.contains("unshare failed") {
        eprintln!(
            "NOT RUN strict_is_refused_with_layer_and_setting…: this host makes no user namespaces to begin with"
        );
        return;
    }
    assert_eq!(output.status.code(), Some(2), "{text}");
    for words in [
        "the layer namespaces is missing",
        "max_user_namespaces",
        "best-effort",
    ] {
        assert!(text.contains(words), "{words}\n{text}");
    }
}

#[test]
fn a_copied_boundary_directory_is_not_served_together_with_the_original() {
    let (dir, home) = boundary();
    let service = Service::start(dir.path());
    // The service creates and removes files, so `cp` fails if a file disappears during the copy.
    let copied = (0..50).any(|_| {
        let _ = std::fs::remove_dir_all(dir.path().join("copy"));
        let copy = Command::new("cp")
            .args(["-a", "b", "copy"])
            .current_dir(dir.path())
            .stderr(Stdio::null())
            .status();
        copy.expect("cp").success()
    });
    assert!(copied, "no copy was whole");
    // The message names the other service, although its address is taken too.
    let address = service.started["url"]
        .as_str()
        .and_then(|url| url.strip_prefix("http://"))
        .expect("an address");
    let refused = run(dir.path(), &["serve", "copy", "--listen", address]);
    let text = said(&refused);
    assert_eq!(refused.status.code(), Some(2), "{text}");
    let original = home.join("boundary").canonicalize().expect("real");
    let copy = dir
        .path()
        .join("copy/boundary")
        .canonicalize()
        .expect("real");
    for words in [
        &*original.to_string_lossy(),
        &*copy.to_string_lossy(),
        "two histories",
        "countersign init",
    ] {
        assert!(text.contains(words), "{words}\n{text}");
    }
    // A command that writes to the log also refuses the copy.
    let token = run(dir.path(), &["token", "create", "late", "--config", "copy"]);
    assert!(
        !token.status.success() && said(&token).contains("two histories"),
        "{}",
        said(&token)
    );
    // After the end of the original service, one of the two directories may continue.
    assert!(service.stop());
    must(dir.path(), &["token", "create", "late", "--config", "copy"]);
}

#[test]
fn a_locked_boundary_directory_names_the_process_that_has_the_lock() {
    use std::os::linux::net::SocketAddrExt as _;
    let (dir, _home) = boundary();
    let service = Service::start(dir.path());
    let id = service.started["id"]
        .as_str()
        .and_then(|id| id.strip_prefix("sha256:"))
        .expect("an id")
        .to_owned();
    assert!(service.stop());
    let name = std::os::unix::net::SocketAddr::from_abstract_name(format!("countersign/{id}"))
        .expect("a name");
    let squatter = std::os::unix::net::UnixListener::bind_addr(&name).expect("bound");
    let refused = said(&run(dir.path(), &["serve", "b", "--listen", "127.0.0.1:0"]));
    let holder = format!(
        "process {} of user {}",
        std::process::id(),
        rustix::process::geteuid().as_raw()
    );
    assert!(
        refused.contains(&holder) && refused.contains("end it"),
        "{refused}"
    );
    drop(squatter);
    assert!(Service::start(dir.path()).stop());
}

#[test]
fn the_url_of_a_database_server_needs_the_name_of_this_node() {
    let (dir, home) = boundary();
    edit(
        &home.join("countersign.toml"),
        "database = \"boundary/countersign.db\"",
        "database = \"postgres://h/d\"",
    );
    assert_says(
        said(&run(dir.path(), &["serve", "b"])),
        "needs the table [postgres] with `node`",
    );
}

#[test]
fn the_registry_command_reports_every_error_in_runbook_files_with_its_place() {
    let dir = tempfile::tempdir().expect("a directory");
    let book =
        |step: &str| format!("---\ncountersign: 1\ntitle: x\n---\n```bash {{{step}}}\n:\n```\n");
    for (name, step) in [
        ("a.md", "#a colour=red"),
        ("b.md", "#b timeout=never"),
        ("c.md", "#c"),
    ] {
        std::fs::write(dir.path().join(name), book(step)).expect("written");
    }
    for words in [
        &["registry", "list", "--dir", "."][..],
        &["registry", "check", "."],
    ] {
        let output = run(dir.path(), words);
        assert_eq!(output.status.code(), Some(1));
        let text = said(&output);
        assert!(
            text.contains("a.md:5:") && text.contains("b.md:5:"),
            "{text}"
        );
    }
    std::fs::remove_file(dir.path().join("a.md")).expect("removed");
    std::fs::remove_file(dir.path().join("b.md")).expect("removed");
    assert!(said(&must(dir.path(), &["registry", "list", "--dir", "."])).contains("c:c"));
    assert!(
        said(&must(
            dir.path(),
            &["registry", "show", "c:c", "--dir", "."]
        ))
        .contains("Script")
    );
    assert_eq!(
        run(dir.path(), &["registry", "show", "c:d", "--dir", "."])
            .status
            .code(),
        Some(127)
    );
}

#[test]
fn registry_check_warns_of_declared_programs_that_this_host_lacks() {
    let dir = tempfile::tempdir().expect("a directory");
    let step = "---\ncountersign: 1\n---\n```bash {#one programs=\"cat,no-such-tool,{work}/**\"}\n:\n```\n```bash {#two programs=no-such-tool}\n:\n```\n";
    std::fs::write(dir.path().join("a.md"), step).expect("written");
    let output = must(dir.path(), &["registry", "check", "."]);
    let line = "warning: this host has no program no-such-tool, so a boundary on this host refuses a:one, a:two: install the \
                program, or remove it from programs=\n";
    assert_eq!(
        String::from_utf8_lossy(&output.stdout)
            .matches(line)
            .count(),
        1,
        "{}",
        said(&output)
    );
    assert_eq!(
        said(&output).matches("warning: ").count(),
        1,
        "{}",
        said(&output)
    );
    let output = must(dir.path(), &["registry", "check", ".", "--json"]);
    let value: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let missing = serde_json::json!([{"program": "no-such-tool", "steps": ["a:one", "a:two"]}]);
    assert_eq!(value["missing_programs"], missing, "{value}");
}

/// The test runs the commands below "Next:" unchanged, except for the port and for `approve`, which asks a person.
#[test]
fn the_commands_that_init_prints_work_without_changes() {
    let world = World::prepared(|_| {});
    let here = world.path("fresh");
    std::fs::create_dir(&here).expect("made");
    world.write("fresh/alice.pem", alice().secret.to_pkcs8_v1_pem().as_str());
    world.write("fresh/alice.pub", alice().ssh.line());
    let home = here.join("home");
    let shell = |line: &str, url: &str| {
        let mut command = world.command("sh");
        let program = std::path::Path::new(env!("CARGO_BIN_EXE_countersign"))
            .parent()
            .expect("a directory");
        let path = format!(
            "{}:{}",
            program.display(),
            std::env::var("PATH").unwrap_or_default()
        );
        command
            .args(["-c", line])
            .current_dir(&here)
            .env("PATH", path)
            .env("HOME", &home);
        command
            .env_remove("XDG_CONFIG_HOME")
            .env("COUNTERSIGN_URL", url)
            .env("COUNTERSIGN_KEY", here.join("alice.pem"));
        command
    };
    let made = shell(
        "countersign init 'my boundary' --yes --name prod/eu --approver alice=alice.pub",
        "",
    )
    .output();
    let made = exited(made.expect("it starts"), 0);
    let config = here.join("my boundary/countersign.toml");
    let text = std::fs::read_to_string(&config).expect("a configuration");
    std::fs::write(&config, text.replace("127.0.0.1:7433", "127.0.0.1:0")).expect("written");
    let next = String::from_utf8_lossy(&made.stdout).into_owned();
    let commands: Vec<&str> = next
        .lines()
        .filter_map(|line| line.strip_prefix("       "))
        .collect();
    assert_eq!(commands.len(), 7, "{next}");
    let (mut serving, mut url) = (None, String::new());
    for command in commands {
        if command.contains(" serve ") {
            let mut child = shell(&format!("exec {command}"), "")
                .stdout(std::process::Stdio::piped())
                .spawn()
                .expect("it starts");
            let mut lines = BufReader::new(child.stdout.take().expect("a pipe"))
                .lines()
                .map_while(Result::ok);
            let listens = lines
                .find(|line| line.trim().starts_with("listens"))
                .expect("it listens");
            url = listens
                .split_whitespace()
                .last()
                .expect("an address")
                .to_owned();
            serving = Some((child, lines));
            continue;
        }
        let output = shell(&command.replace(" approve", " review"), &url)
            .output()
            .expect("it starts");
        assert!(output.status.success(), "{command}: {}", said(&output));
    }
    let (mut child, _) = serving.expect("it serves");
    child.kill().expect("killed");
    child.wait().expect("ended");
}

#[test]
fn a_signal_while_the_host_is_probed_leaves_no_directory() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut command = Command::new(BINARY);
    command
        .args(["sandbox", "--profile", "off", "--", "sleep", "30"])
        .env("TMPDIR", dir.path());
    let mut sandbox = command.stdout(Stdio::null()).spawn().expect("started");
    let entries = || {
        std::fs::read_dir(dir.path())
            .expect("a directory")
            .flatten()
    };
    // The command sets this mode directly before it probes the host.
    let is_probed = || {
        entries().any(|entry| {
            entry
                .metadata()
                .is_ok_and(|data| data.mode() & 0o777 == 0o711)
        })
    };
    let end = Instant::now() + Duration::from_secs(30);
    while !is_probed() {
        assert!(Instant::now() < end, "no directory");
        std::hint::spin_loop();
    }
    let process = rustix::process::Pid::from_child(&sandbox);
    rustix::process::kill_process(process, rustix::process::Signal::INT).expect("sent");
    let status = sandbox.wait().expect("ended");
    assert_eq!(status.code(), Some(130), "{status}");
    assert_eq!(entries().count(), 0);
}
