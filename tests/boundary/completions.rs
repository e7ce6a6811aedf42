//! Completion of steps, runbooks, open proposals and boundaries in a shell.

use std::collections::BTreeSet;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::companion::{entry, list};
use crate::mcp_proxy::proxy;
use crate::support::people::alice;
use crate::support::{PROGRAM, World, exited, has_all, id_of, said};
use crate::terminal::Terminal;
use crate::tls_client::Recorder;

/// Returns a command of a person with an own key.pem and no token, in the directory of the world.
fn person(world: &World) -> Command {
    let mut command = world.command(PROGRAM);
    world.write(
        "home/.config/countersign/key.pem",
        alice().secret.to_pkcs8_v1_pem().as_str(),
    );
    command
        .current_dir(world.path(""))
        .env("COUNTERSIGN_URL", &world.wire.url);
    command
}

/// Calls the program as the script of bash does for the last of these words. Returns the values, and fails on any message.
fn completed(mut command: Command, words: &[&str]) -> BTreeSet<String> {
    let last = words.len().to_string();
    command.args(["--", "countersign"]).args(words);
    command
        .env("COMPLETE", "bash")
        .env("_CLAP_COMPLETE_INDEX", last)
        .env("_CLAP_IFS", "\n");
    let output = exited(command.output().expect("it starts"), 0);
    assert!(output.stderr.is_empty(), "{}", said(&output));
    let values = String::from_utf8(output.stdout).expect("UTF-8");
    values
        .lines()
        .filter(|line| !line.starts_with("--") && line.len() != 2)
        .map(str::to_owned)
        .collect()
}

/// Fails unless a call completes these values. A busy machine can delay a boundary beyond the patience of a completion, so
/// the call is made again.
fn assert_completes(expected: &BTreeSet<String>, found: impl Fn() -> BTreeSet<String>) {
    let mut last = found();
    for _ in 0..50 {
        if last == *expected {
            return;
        }
        last = found();
    }
    assert_eq!(last, *expected);
}

fn set<const N: usize>(values: [&str; N]) -> BTreeSet<String> {
    values.map(str::to_owned).into()
}

fn address(listener: &TcpListener) -> String {
    format!("http://{}", listener.local_addr().expect("an address"))
}

#[test]
fn steps_runbooks_open_proposals_and_boundaries_are_completed() {
    let world = World::new();
    let found = |words: &[&str]| completed(person(&world), words);
    let completes = |words: &[&str], expected: &BTreeSet<String>| {
        assert_completes(expected, || found(words));
    };
    completes(
        &["propose", "pl"],
        &set(["plain:true", "plain:fail", "plain:wait"]),
    );
    completes(&["propose", "plain:tr"], &set(["plain:true"]));
    for words in [
        &["registry", "show", "say:"][..],
        &["inbox", "--step", "say:"],
        &["grant", "draft", "s"],
    ] {
        completes(words, &set(["say:echo"]));
    }
    completes(
        &["session", "create", ""],
        &set(["each", "plain", "say", "two"]),
    );
    let (first, second) = (
        world.propose("plain:true", json!({})),
        world.propose("say:echo", json!({})),
    );
    let denied = world.propose("plain:fail", json!({}));
    world.deny(&denied, &alice()).ok(200);
    let open = set([id_of(&first), id_of(&second)]);
    for command in ["approve", "review", "deny", "wait", "cancel", "output"] {
        completes(&[command, "prp_"], &open);
        completes(&[command, id_of(&first)], &set([id_of(&first)]));
    }
    // A second id, and options before and after the words.
    completes(&["approve", id_of(&first), "--full", "p"], &open);
    let other = World::with(|setup| setup.name = "other".to_owned());
    let elsewhere = other.propose("plain:wait", json!({}));
    let id = |world: &World| {
        let registry = world.wire.get("/v1/registry", &world.reader).ok(200);
        registry["boundary"]["id"]
            .as_str()
            .expect("an id")
            .to_owned()
    };
    let entries = [("prod", &world), ("other", &other)]
        .map(|(name, of)| entry(&world, name, &of.wire.url, &id(of)));
    list(&world, &entries.concat());
    for words in [
        &["propose", "--boundary", ""][..],
        &["--boundary", ""],
        &["boundary", "remove", ""],
    ] {
        assert!(
            found(words).is_superset(&set(["other", "prod"])),
            "{words:?}: {:?}",
            found(words)
        );
    }
    let listed = |words: &[&str]| {
        let mut command = person(&world);
        command.env_remove("COUNTERSIGN_URL");
        completed(command, words)
    };
    assert_completes(&set([id_of(&elsewhere)]), || {
        listed(&["wait", "--boundary", "other", "prp_"])
    });
    // `approve` finds the boundary by the id.
    assert_completes(&(&open | &set([id_of(&elsewhere)])), || {
        listed(&["approve", "prp_"])
    });
}

#[test]
fn a_runbook_of_this_directory_and_its_steps_are_completed_without_a_boundary() {
    let world = World::new();
    let found = |words: &[&str]| {
        let mut command = person(&world);
        command
            .current_dir(world.path("b/runbooks"))
            .env("COUNTERSIGN_URL", "http://127.0.0.1:1");
        completed(command, words)
    };
    assert_eq!(found(&["run", "pl"]), set(["plain.md"]));
    assert_eq!(
        found(&["run", "plain.md:"]),
        set(["plain.md:true", "plain.md:fail", "plain.md:wait"])
    );
    assert_eq!(found(&["run", "./plain.md:w"]), set(["./plain.md:wait"]));
    assert_eq!(found(&["run", "none.md:"]), set([]));
    assert_eq!(found(&["open", "sa"]), set(["say.md"]));
    assert_eq!(found(&["audit", "sa"]), set(["say.md"]));
}

#[test]
fn a_boundary_that_is_down_or_never_answers_completes_nothing_and_holds_nobody_up() {
    let world = World::new();
    let proposal = world.propose("plain:true", json!({}));
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    // This boundary answers all but the challenge, to which the usual limits of reading do not apply.
    let halting = proxy(&world, |asked, status, body| {
        if asked.line.contains("/v1/challenges") {
            std::thread::sleep(Duration::from_secs(20));
        }
        Some((status, body))
    });
    let strange = Recorder::new(
        "127.0.0.1",
        "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\n<html>",
    );
    let strange = format!("http://127.0.0.1:{}", strange.port);
    let found = |url: &str, words: &[&str]| {
        let begun = Instant::now();
        let mut command = person(&world);
        command.env("COUNTERSIGN_URL", url);
        (completed(command, words), begun.elapsed())
    };
    for url in [
        &address(&silent),
        "http://127.0.0.1:1",
        &halting,
        &strange,
        "nonsense",
        "http://none.invalid",
    ] {
        for words in [["propose", "p"], ["wait", "p"]] {
            let (values, time) = found(url, &words);
            assert_eq!(values, set([]), "{url}");
            println!("{url}: {time:?}");
            // The goal is 0.2 s, which other tests on this machine can delay.
            assert!(time < Duration::from_secs(3), "{url}: {time:?}");
        }
    }
    assert_eq!(found(&address(&silent), &["compl"]).0, set(["completions"]));
    // Of all boundaries of the list, those that answer are shown.
    let registry = world.wire.get("/v1/registry", &world.reader).ok(200);
    let id = registry["boundary"]["id"].as_str().expect("an id");
    let entries = [
        ("silent", address(&silent)),
        ("prod", world.wire.url.clone()),
    ];
    list(
        &world,
        &entries
            .map(|(name, url)| entry(&world, name, &url, id))
            .concat(),
    );
    assert_completes(&set([id_of(&proposal)]), || {
        let mut command = person(&world);
        command.env_remove("COUNTERSIGN_URL");
        completed(command, &["approve", "p"])
    });
}

#[test]
fn a_hostile_boundary_puts_only_plain_names_into_the_line() {
    let world = World::new();
    let proposal = world.propose("plain:true", json!({}));
    let names = [
        "plain:true;rm -rf ~",
        "plain:true\\nplain:rm",
        "plain:\\u001b[2J",
        "$(reboot):true",
        "plain:`reboot`",
        "plain:true|sh",
        "plain:a b",
        "-plain:true",
        "--yes:true",
        "pl*:true",
        "plain:\\u202etrue",
        "../plain:true",
        "prp_$(reboot)",
    ];
    for name in names {
        let answered = proxy(&world, move |_, status, body| {
            let text = String::from_utf8(body)
                .expect("UTF-8")
                .replace("plain:true", name);
            Some((status, text.into_bytes()))
        });
        let id = id_of(&proposal).to_owned();
        let renamed = proxy(&world, move |_, status, body| {
            let text = String::from_utf8(body).expect("UTF-8").replace(&id, name);
            Some((status, text.into_bytes()))
        });
        for (url, words) in [
            (&answered, ["propose", ""]),
            (&answered, ["session", ""]),
            (&renamed, ["approve", ""]),
        ] {
            let mut command = person(&world);
            command.env("COUNTERSIGN_URL", url);
            let words = if words[0] == "session" {
                vec!["session", "create", ""]
            } else {
                words.to_vec()
            };
            for value in completed(command, &words) {
                let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-/:".contains(c);
                assert!(
                    value.chars().all(is_plain) && !value.starts_with('-'),
                    "{name}: {value:?}"
                );
                assert!(
                    !value.contains("rm") && !value.contains(".."),
                    "{name}: {value:?}"
                );
            }
        }
    }
}

#[test]
fn a_completion_asks_nobody_for_a_passphrase_and_sends_nothing_to_another_boundary() {
    let world = World::new();
    let other = Recorder::new(
        "127.0.0.1",
        "HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n",
    );
    let url = format!("http://127.0.0.1:{}", other.port);
    // After an error, the rest of the line could name another boundary.
    for words in [
        &["propose", "--nonsense", "--url", &world.wire.url, "p"][..],
        &["propose", "--wait=oops", "--url", &world.wire.url, "p"],
        &["registry", "--dir", "runbooks", "show", "p"],
        &["propose", "--help", "p"],
        &["gate", "--step", "p"],
        &["audit", "--step", "p"],
    ] {
        let mut command = person(&world);
        command
            .env("COUNTERSIGN_URL", &url)
            .env("COUNTERSIGN_TOKEN", &world.agent);
        assert_eq!(completed(command, words), set([]), "{words:?}");
        assert_eq!(other.text(), "", "{words:?}");
    }
    let mut command = person(&world);
    command
        .env("COUNTERSIGN_URL", &url)
        .env("COUNTERSIGN_TOKEN", &world.agent);
    completed(command, &["propose", "p"]);
    assert!(
        other.text().contains(&world.agent),
        "the line names this boundary: {}",
        other.text()
    );
    // An SSH key could ask, so it is not used, with or without a passphrase.
    let Some(()) = has_all("a_completion_asks_nobody", &["ssh-keygen", "script"]) else {
        return;
    };
    for passphrase in ["", "correct horse"] {
        let ssh = world.path("home/.ssh");
        let _ = fs::remove_dir_all(&ssh);
        fs::create_dir_all(&ssh).expect("a directory");
        let key = ssh.join("id_ed25519");
        let mut make = world.command("ssh-keygen");
        exited(
            make.args(["-q", "-t", "ed25519", "-N", passphrase, "-f"])
                .arg(&key)
                .output()
                .expect("it starts"),
            0,
        );
        let asked = Recorder::new(
            "127.0.0.1",
            "HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n",
        );
        let line = format!(
            "COMPLETE=bash _CLAP_COMPLETE_INDEX=2 COUNTERSIGN_URL=http://127.0.0.1:{} COUNTERSIGN_KEY={} exec {PROGRAM} -- \
             countersign approve prp_",
            asked.port,
            key.display()
        );
        let mut script = world.command("script");
        script
            .args(["-qefc", &line, "/dev/null"])
            .env("SHELL", "/bin/sh");
        assert_eq!(
            Terminal::begin(script).end(),
            (Some(0), String::new()),
            "{passphrase:?}"
        );
        assert!(
            asked.text().contains("GET /v1/proposals") && !asked.text().contains("challenge"),
            "{}",
            asked.text()
        );
    }
}

#[test]
fn the_variable_of_the_scripts_changes_no_other_call() {
    let world = World::new();
    let with = |words: &[&str]| {
        person(&world)
            .args(words)
            .env("COMPLETE", "bash")
            .output()
            .expect("it starts")
    };
    assert_eq!(
        with(&["gate", "none.json", "--step", "a:b"]).status.code(),
        Some(2)
    );
    assert_eq!(with(&["verify", "none.json"]).status.code(), Some(2));
    assert!(said(&exited(with(&["--version"]), 0)).starts_with("countersign "));
}

#[test]
fn bash_completes_words_with_colons_and_quotes_what_it_adds() {
    let Some(()) = has_all("bash_completes_words", &["bash", "script"]) else {
        return;
    };
    let world = World::new();
    let bin = std::path::Path::new(PROGRAM)
        .parent()
        .expect("a directory")
        .to_string_lossy()
        .into_owned();
    world.write("work/odd name;reboot.md", "x");
    let names = world.path("work");
    fs::set_permissions(&names, fs::Permissions::from_mode(0o700)).expect("mode");
    let mut bash = world.command("script");
    bash.args([
        "-qefc",
        "stty cols 200; exec bash --norc --noprofile -i",
        "/dev/null",
    ])
    .current_dir(&names);
    bash.envs(
        person(&world)
            .get_envs()
            .filter_map(|(name, value)| Some((name, value?))),
    );
    bash.env("SHELL", "/bin/sh")
        .env("TERM", "dumb")
        .env("PS1", "$ ")
        .env("INPUTRC", "/dev/null");
    bash.env(
        "PATH",
        format!("{bin}:{}", std::env::var("PATH").unwrap_or_default()),
    );
    let mut shell = Terminal::begin(bash);
    shell
        .wait_for("$ ")
        .types("source <(countersign completions bash); echo read\\y\n")
        .wait_for("ready")
        .wait_for("$ ");
    for (typed, whole) in [
        (
            "countersign propose plain:tr",
            "countersign propose plain:true ",
        ),
        ("countersign propose say", "countersign propose say:echo "),
        (
            "countersign registry show --json two:",
            "countersign registry show --json two:go ",
        ),
        (
            "countersign --url=$COUNTERSIGN_URL propose",
            "countersign --url=$COUNTERSIGN_URL propose ",
        ),
        (
            "countersign run ../b/runbooks/plain.md:t",
            "countersign run ../b/runbooks/plain.md:true ",
        ),
        (
            "countersign verify od",
            "countersign verify odd\\ name\\;reboot.md ",
        ),
        ("countersign compl", "countersign completions "),
    ] {
        // The terminal shows what is typed and what bash adds. Then the line is deleted.
        shell
            .types(&format!("{typed}\t"))
            .wait_for(whole)
            .types("\x15");
    }
    shell.types("exit\n");
    assert_eq!(shell.end().0, Some(0));
}
