//! Command line use by people: tokens and keys together, token files, output in a log, and keys without this program.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::{Command, Output};

use crate::support::people::{alice, bob, mallory};
use crate::support::{
    self, PROGRAM, SMALL, World, assert_says, exited, has, id_of, not_run, runbook, said,
    said_at_exit,
};
use serde_json::{Value, json};

/// A world with the key files `alice.pem` and `mallory.pem`, and with its roster in `roster.json`.
fn world() -> World {
    let world = World::new();
    with_files(&world);
    world
}

fn with_files(world: &World) {
    for key in [alice(), mallory()] {
        world.write(
            &format!("{}.pem", key.name),
            key.secret.to_pkcs8_v1_pem().as_str(),
        );
    }
    let shown = world
        .program(&["roster", "show", "--json", "--config"])
        .arg(world.path("b"))
        .output()
        .unwrap();
    world.write("roster.json", &String::from_utf8(shown.stdout).unwrap());
}

/// Runs the program with this token in the environment and with this key.
fn at_terminal(world: &World, token: &str, key: &str, words: &[&str]) -> Output {
    let mut command = world.program(words);
    command
        .env("COUNTERSIGN_URL", &world.wire.url)
        .env("COUNTERSIGN_TOKEN", token);
    command
        .env("COUNTERSIGN_KEY", world.path(key))
        .env("COUNTERSIGN_TRUST", world.path("roster.json"));
    command.output().unwrap()
}

#[test]
fn a_token_in_the_environment_does_not_prevent_a_review() {
    let world = world();
    // Tokens that may not read everything for a review: an agent's token, a token for some steps, and a revoked token.
    let limited = world.token_for("limited", &[], &["read"], &["plain:*"]);
    let ended = world.token("ended", &[], &["read"]);
    world
        .control(&json!({"do": "token-revoke", "name": "ended"}))
        .unwrap();
    for token in [&world.agent, &world.courier, &limited, &ended] {
        let proposal = world.propose("say:echo", json!({"text": token}));
        let (id, digest) = (id_of(&proposal), proposal["digest"].as_str().unwrap());
        said_at_exit(
            at_terminal(&world, token, "alice.pem", &["inbox"]),
            0,
            "say:echo",
        );
        let shown = exited(at_terminal(&world, token, "alice.pem", &["review", id]), 0);
        assert!(
            !said(&shown).contains("could not be fetched"),
            "{}",
            said(&shown)
        );
        let approve = ["approve", id, "--yes", "--expect", digest];
        exited(at_terminal(&world, token, "alice.pem", &approve), 0);
        assert_eq!(
            world.receipt(&world.until(id, "finished"))["decision"]["approvers"],
            json!(["alice"])
        );
        let other = world.propose("plain:true", json!({}));
        exited(
            at_terminal(
                &world,
                token,
                "alice.pem",
                &["deny", id_of(&other), "--yes"],
            ),
            0,
        );
    }
    // If a token may read everything, the program uses the token and signs no challenge.
    let before = world.service_log().matches("/v1/challenges").count();
    let proposal = world.propose("plain:true", json!({}));
    exited(
        at_terminal(
            &world,
            &world.reader,
            "alice.pem",
            &["review", id_of(&proposal)],
        ),
        0,
    );
    assert_eq!(
        world.service_log().matches("/v1/challenges").count(),
        before
    );
}

#[test]
fn output_and_audit_and_export_can_use_a_key_instead_of_a_token() {
    let world = world();
    let proposal = world.propose("say:echo", json!({"text": "hello"}));
    let (id, digest) = (id_of(&proposal), proposal["digest"].as_str().unwrap());
    exited(
        at_terminal(
            &world,
            &world.agent,
            "alice.pem",
            &["approve", id, "--yes", "--expect", digest],
        ),
        0,
    );
    world.until(id, "finished");
    // The token of the courier gives no access to proposals of the agent.
    let copy = world.path("mirror-of-a-person");
    let commands = [
        &["output", id][..],
        &["log", "export", copy.to_str().unwrap()],
        &["audit", world.wire.url.as_str()],
    ];
    for words in commands {
        let stranger = at_terminal(&world, &world.courier, "mallory.pem", words);
        assert!(
            !stranger.status.success() && said(&stranger).contains("--key FILE"),
            "{}",
            said(&stranger)
        );
        let read = at_terminal(&world, &world.courier, "alice.pem", words);
        assert!(read.status.success(), "{words:?}: {}", said(&read));
    }
    // The agent's token is enough for the agent's own output, so no key signs a challenge.
    let before = world.service_log().matches("/v1/challenges").count();
    said_at_exit(
        at_terminal(&world, &world.agent, "alice.pem", &["output", id]),
        0,
        "hello",
    );
    assert_eq!(
        world.service_log().matches("/v1/challenges").count(),
        before
    );
}

#[test]
fn a_review_without_read_access_reports_both_ways_to_get_access() {
    let world = world();
    let proposal = world.propose("say:echo", json!({"text": "x"}));
    // The agent may see its own proposal, but not the other data of a review. The boundary does not know the key.
    let shown = at_terminal(
        &world,
        &world.agent,
        "mallory.pem",
        &["review", id_of(&proposal)],
    );
    assert_ne!(shown.status.code(), Some(0), "{}", said(&shown));
    for part in [
        "the boundary knows none of your keys",
        "--key FILE",
        "the scope `read`",
    ] {
        assert!(said(&shown).contains(part), "{part}: {}", said(&shown));
    }
}

#[test]
fn registry_list_accepts_a_named_key_and_key_show_accepts_both_file_names() {
    let world = world();
    let key = world.path("alice.pem");
    for words in [&["registry", "list"][..], &["registry", "show", "say:echo"]] {
        let mut command = world.program(words);
        said_at_exit(
            command
                .args(["--url", &world.wire.url, "--key"])
                .arg(&key)
                .output()
                .unwrap(),
            0,
            "say:echo",
        );
    }
    let [plain, named] = [&["key", "show"][..], &["key", "show", "--key"]].map(|words| {
        let shown = exited(world.program(words).arg(&key).output().unwrap(), 0);
        said(&shown)
    });
    assert!(
        plain == named && plain.contains(&alice().keyid()),
        "{plain}"
    );
    assert_eq!(
        world
            .program(&["key", "show"])
            .output()
            .unwrap()
            .status
            .code(),
        Some(2)
    );
}

#[test]
fn an_empty_variable_counts_as_not_set() {
    let mut world = World::with(|setup| setup.env("COUNTERSIGN_LOG", ""));
    let variables = [
        "URL",
        "TOKEN",
        "TOKEN_FILE",
        "CACERT",
        "CERT",
        "CERT_KEY",
        "KEY",
        "TRUST",
        "CONFIG",
    ];
    world.write("agent.token", &world.agent);
    for words in [
        &["registry", "list"][..],
        &["propose", "plain:true", "--new"],
    ] {
        let mut command = world.program(&["--url", &world.wire.url]);
        command.envs(variables.map(|name| (format!("COUNTERSIGN_{name}"), "")));
        exited(
            command
                .args(words)
                .arg("--token-file")
                .arg(world.path("agent.token"))
                .output()
                .unwrap(),
            0,
        );
    }
    // The default of the variable applies: the boundary of this directory.
    let mut command = world.program(&["token", "list"]);
    said_at_exit(
        command
            .env("COUNTERSIGN_CONFIG", "")
            .current_dir(world.path("b"))
            .output()
            .unwrap(),
        0,
        "agent",
    );
    world.stop();
    assert!(
        world.service_log().contains("INFO"),
        "{}",
        world.service_log()
    );
}

#[test]
fn lists_with_digests_and_keys_fit_a_terminal_of_80_columns() {
    if !has("script") {
        return not_run(
            "lists_with_digests_and_keys_fit_a_terminal_of_80_columns",
            "there is no script(1) here",
        );
    }
    let world = world();
    let shown = |words: &str, columns: u32| {
        let mut command = world.command("script");
        let line = format!(
            "stty cols {columns}; exec '{PROGRAM}' --url {} {words}",
            world.wire.url
        );
        command
            .args(["-qefc", &line, "/dev/null"])
            .env("SHELL", "/bin/sh")
            .env("COUNTERSIGN_TOKEN", &world.agent);
        let output = exited(command.output().unwrap(), 0);
        said(&output).replace('\r', "")
    };
    for (words, part) in [
        ("registry list", "\n  sha256:"),
        ("roster show --config", "\n  SHA256:"),
    ] {
        let words = if part.contains("SHA") {
            format!("{words} {}", world.path("b").display())
        } else {
            words.to_owned()
        };
        let narrow = shown(&words, 76);
        assert!(
            narrow
                .lines()
                .all(|line| line.len() <= 76 || line.starts_with("seal ")),
            "{narrow}"
        );
        assert!(narrow.contains(part), "{narrow}");
        assert!(!shown(&words, 200).contains(part));
    }
}

// Token files

#[test]
fn a_token_file_that_others_can_read_is_refused_with_the_correcting_command() {
    let world = World::new();
    world.write("agent.token", &format!("{}\n", world.agent));
    let file = world.path("agent.token");
    let list = || {
        let mut command =
            world.program(&["registry", "list", "--url", &world.wire.url, "--token-file"]);
        command.arg(&file).output().unwrap()
    };
    for mode in [0o640, 0o604, 0o644, 0o660, 0o602] {
        fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
        let refused = list();
        assert_eq!(
            refused.status.code(),
            Some(2),
            "{mode:o}: {}",
            said(&refused)
        );
        assert!(
            said(&refused).contains(&format!("run `chmod 600 {file:?}`")),
            "{}",
            said(&refused)
        );
        assert!(!said(&refused).contains("cst_"), "{}", said(&refused));
    }
    for mode in [0o600, 0o400] {
        fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
        assert!(list().status.success(), "{mode:o}");
    }
    // The program also checks the token file in the configuration directory.
    let own = world.path("home/.config/countersign/token");
    world.write("home/.config/countersign/token", &world.agent);
    fs::set_permissions(&own, Permissions::from_mode(0o644)).unwrap();
    said_at_exit(
        world
            .program(&["registry", "list", "--url", &world.wire.url])
            .output()
            .unwrap(),
        2,
        "chmod 600",
    );
    // No other user can open the pipe, so its mode does not matter.
    if has("bash") {
        let mut bash = world.command("bash");
        let line = "exec \"$0\" registry list --url \"$1\" --token-file <(printf %s \"$2\")";
        exited(
            bash.args(["-c", line, support::PROGRAM, &world.wire.url, &world.agent])
                .output()
                .unwrap(),
            0,
        );
    }
}

#[test]
fn a_token_is_written_to_a_new_file_that_only_its_user_can_read() {
    let world = World::new();
    let file = world.path("made.token");
    let create = |name: &str, more: &[&str]| {
        let mut command = world.program(&["token", "create", name, "--owner", "carol", "--config"]);
        command
            .arg(world.path("b"))
            .arg("--out")
            .arg(&file)
            .args(more)
            .output()
            .unwrap()
    };
    let made = create("made", &[]);
    assert!(
        made.status.success() && !said(&made).contains("cst_"),
        "{}",
        said(&made)
    );
    assert_eq!(fs::metadata(&file).unwrap().mode() & 0o7777, 0o600);
    let listed = world
        .program(&["registry", "list", "--url", &world.wire.url, "--token-file"])
        .arg(&file)
        .output();
    assert!(
        listed.as_ref().unwrap().status.success(),
        "{}",
        said(&listed.unwrap())
    );
    // The command does not replace an existing file and creates no token for it.
    let before = fs::read(&file).unwrap();
    said_at_exit(create("second", &[]), 2, "no token was made");
    assert_eq!(fs::read(&file).unwrap(), before);
    let listed = world
        .program(&["token", "list", "--config"])
        .arg(world.path("b"))
        .output()
        .unwrap();
    assert!(!said(&listed).contains("second"), "{}", said(&listed));
    // A refusal leaves no file.
    fs::remove_file(&file).unwrap();
    assert_eq!(
        create("made", &[]).status.code(),
        Some(126),
        "names are never used twice"
    );
    assert!(!file.exists());
    let made = create("third", &["--json"]);
    let line: Value =
        serde_json::from_slice(&made.stdout).unwrap_or_else(|_| panic!("{}", said(&made)));
    assert_eq!(
        line,
        json!({"token": line["token"], "file": file.to_str().unwrap()})
    );
    let help = said(
        &world
            .program(&["token", "create", "--help"])
            .output()
            .unwrap(),
    );
    assert!(
        ["propose:", "read:", "operate:"]
            .iter()
            .all(|scope| help.contains(scope)),
        "{help}"
    );
}

// Output in a log

#[test]
fn escaped_output_cannot_control_a_terminal_or_a_ci_system() {
    let script = "printf '::add-mask::x\\n##vso[task.setvariable variable=a]b\\n\\033]52;c;eA==\\007\\n'\n\
                  printf '  ::error::no\\n' >&2";
    let world = World::with(|setup| setup.runbook("odd.md", runbook(SMALL, &[("go", script)])));
    let finished = world.run("odd:go", json!({}), &[&alice()]);
    let id = id_of(&finished);
    let print = |words: &[&str]| {
        let mut command = world.program(words);
        command
            .args([id, "--url", &world.wire.url])
            .env("COUNTERSIGN_TOKEN", &world.agent)
            .output()
            .unwrap()
    };
    for command in ["output", "wait"] {
        let raw = print(&[command]);
        assert!(
            said(&raw).contains("\n##vso[") && raw.stdout.starts_with(b"::add-mask"),
            "{}",
            said(&raw)
        );
        let escaped = print(&[command, "--escape"]);
        let text = said(&escaped);
        assert!(
            escaped.status.success() && text.contains("setvariable") && text.contains("add-mask"),
            "{text}"
        );
        assert!(!text.contains("##vso["), "{text}");
        assert!(
            text.bytes()
                .all(|byte| byte == b'\n' || (0x20..0x7f).contains(&byte)),
            "{text:?}"
        );
        assert!(
            text.lines()
                .all(|line| !line.trim_start().starts_with("::")),
            "{text}"
        );
    }
    assert_eq!(
        print(&["output", "--escape", "--raw"]).status.code(),
        Some(2)
    );
    assert_eq!(
        print(&["output", "--escape", "--json"]).status.code(),
        Some(2)
    );
}

// Approval without this program

#[test]
fn the_example_approves_and_denies_with_only_openssl_and_curl() {
    let test = "the_example_approves_and_denies_with_only_openssl_and_curl";
    let missing: Vec<&str> = ["bash", "openssl", "curl", "sed", "sha256sum"]
        .into_iter()
        .filter(|one| !has(one))
        .collect();
    if !missing.is_empty() {
        return not_run(test, &format!("there is no {} here", missing.join(" and ")));
    }
    let world = World::new();
    fs::create_dir(world.path("desk")).unwrap();
    world.write("desk/bob.pem", bob().secret.to_pkcs8_v1_pem().as_str());
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/openssl/decide");
    let run = |proposal: &Value, word: &str| {
        let mut decide = world.command("bash");
        decide
            .arg(&example)
            .arg(word)
            .current_dir(world.path("desk"));
        decide
            .env("URL", &world.wire.url)
            .env("ID", id_of(proposal))
            .env("KEY", "bob.pem")
            .env("KEYID", bob().keyid());
        said(&exited(decide.output().unwrap(), 0))
    };
    let decide = |proposal: &Value, word: &str| {
        run(proposal, "show");
        assert_eq!(
            fs::read(world.path("desk/statement.json")).unwrap(),
            support::bytes_of(proposal)
        );
        run(proposal, word)
    };
    let wanted = world.propose(
        "say:echo",
        json!({"text": "\"payload\":\"x\" \"boundary\":{}"}),
    );
    let answer = decide(&wanted, "approve");
    assert!(!answer.contains("/problems/"), "{answer}");
    let finished = world.until(id_of(&wanted), "finished");
    assert_eq!(
        world.receipt(&finished)["decision"]["approvers"],
        json!(["bob"])
    );
    let unwanted = world.propose("two:go", json!({"text": "\"boundary\":{}"}));
    assert_says(decide(&unwanted, "deny"), "\"denied\"");
    assert_eq!(world.show(id_of(&unwanted))["status"], "denied");
    // `key show` prints the roster line of a key from openssl.
    let made = Command::new("bash")
        .args([
            "-ec",
            "openssl genpkey -algorithm ed25519 -out bob2.pem; chmod 600 bob2.pem",
        ])
        .current_dir(world.path("desk"))
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", said(&made));
    let shown = world
        .program(&["key", "show"])
        .arg(world.path("desk/bob2.pem"))
        .output()
        .unwrap();
    assert!(
        said(&shown).starts_with("ssh-ed25519 AAAA"),
        "{}",
        said(&shown)
    );
}
