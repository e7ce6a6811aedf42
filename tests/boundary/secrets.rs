//! Secrets of the configuration: which runs get them, and that no other place contains them.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::support::people::{alice, sha256};
use crate::support::poor::poor_host;
use crate::support::wire::pointers;
use crate::support::{SMALL, World, bytes_of, id_of, runbook, said, wait_for};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// Values that no other text of a test contains.
const DB: &str = "c4n+ry/of?the \"db\" 7Qz";
const API: &str = "canary-of-the-api-Xy9";
const CRED: &str = "canary-of-the-credential-K2w";
const KEY: &str = "-----BEGIN CANARY KEY-----\nMIIEcanaryvQIBADANBgkqhkiG\n9w0BAQEFAAcanarySCBKcwggSj\n-----END CANARY KEY-----";

/// Prints the variable `$v` in each form.
const FORMS: &str = r#"
forms() {
  v=$1
  printf 'raw %s\n' "$v"
  printf '%s' "$v" | base64
  printf 'x%s' "$v" | base64 -w 12
  printf 'xy%s' "$v" | base64 -w 7 | tr '+/' '-_'
  printf '%s' "$v" | od -An -v -tx1
  printf '%s' "$v" | od -An -v -tx1 | tr -d ' \n' | tr 'a-f' 'A-F'; echo
  printf '%s' "$v" | od -An -v -tx1 | tr -d '\n' | sed 's/ /%/g'; echo
  printf '%s' "$v" | od -An -v -tx1 | tr -d '\n' | sed 's/ /\\u00/g'; echo
  printf '%s' "$v" | sed 's/ /+/g; s/?/%3f/g; s/\//%2F/g; s/"/%22/g'; echo
  printf '"%s"\n' "$(printf '%s' "$v" | sed 's/"/\\"/g; s/\//\\\//g')"
}
"#;

fn prepared(change: impl FnOnce(&mut crate::support::Setup)) -> World {
    let world = World::prepared(|setup| {
        setup.config = "[secrets.db]\nfile = \"boundary/secrets/db\"\nsteps = [\"deploy:*\"]\n\
             [secrets.tls]\nfile = \"boundary/secrets/tls\"\nsteps = [\"deploy:*\"]\n\
             [secrets.api]\nenv = \"API_OF_THE_SERVICE\"\nsteps = [\"deploy:*\"]\n\
             [secrets.cred]\ncredential = \"cred\"\nsteps = [\"deploy:**\"]\n\
             [secrets.\"aws.AWS_ACCESS_KEY_ID\"]\nenv = \"API_OF_THE_SERVICE\"\nsteps = [\"cloud:*\"]\n\
             [secrets.\"aws.AWS_REGION\"]\nenv = \"API_OF_THE_SERVICE\"\nsteps = [\"cloud:*\"]\n\
             [secrets.\"aws.AWS_SECRET_ACCESS_KEY\"]\nenv = \"API_OF_THE_SERVICE\"\nsteps = [\"cloud:*\"]\n"
            .to_owned();
        setup.env("API_OF_THE_SERVICE", format!("{API}\n"));
        let page = format!("params:\n  password: {{type: string, x-secret: true}}\n{SMALL}");
        setup.runbook("deploy.md", runbook(&page, STEPS));
        setup.runbook(
            "other.md",
            runbook(SMALL, &[("db secrets=\"db=env:DB\" params=\"\"", "true")]),
        );
        setup.runbook("cloud.mdx", "<AwsAuth id=\"aws\" />\n\n<Command id=\"who\" awsAuthId=\"aws\" command={`[ \"${#AWS_ACCESS_KEY_ID}\" = 21 ] && echo \"key $AWS_SECRET_ACCESS_KEY ${AWS_SESSION_TOKEN-unset}\"`} />\n".replace("${", "\\${"));
        change(setup);
    });
    world.write("b/boundary/secrets/db", &format!("{DB}\n"));
    world.write("b/boundary/secrets/tls", KEY);
    world.write("credentials/cred", CRED);
    world
}

fn started(mut world: World) -> World {
    let credentials = world.path("credentials").display().to_string();
    world.setup.env("CREDENTIALS_DIRECTORY", credentials);
    world.start();
    world.make_tokens();
    world
}

const ALL: &str =
    "secrets=\"db=file:DB_FILE,tls=file:TLS_KEY,api=env:API_TOKEN,cred=env:CRED\" params=\"\"";

const STEPS: &[(&str, &str)] = &[
    (
        "seen secrets=\"db=file:DB_FILE,api=env:API_TOKEN,cred\" params=\"\"",
        SEEN,
    ),
    (
        "param",
        "printf '%s\\n' \"$PARAM_PASSWORD\"; wc -c < \"$PARAM_PASSWORD\"; cat \"$COUNTERSIGN_PARAMS\"",
    ),
    ("plain params=\"\"", "ls /run/step; env | grep -c API_TOKEN"),
];

const SEEN: &str = r#"[ "$DB_FILE" = /run/step/secrets/db ] || exit 3
stat -c '%a %n' /run/step/secrets /run/step/secrets/*
wc -c < "$DB_FILE"
wc -c < /run/step/secrets/cred
printf '%s' "$API_TOKEN" | wc -c
: > /run/step/secrets/new || echo "not written"
: > "$DB_FILE" || echo "not changed"
grep ' /run/step/secrets ' /proc/self/mountinfo | grep -o -- '- ramfs'
ulimit -c"#;

/// Returns each file below a directory whose bytes contain a form of a canary, and the form.
fn found_in(directory: &Path) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut waiting = vec![directory.to_owned()];
    while let Some(next) = waiting.pop() {
        for entry in fs::read_dir(&next).into_iter().flatten().flatten() {
            let kind = entry.file_type().expect("a kind");
            if kind.is_dir() {
                waiting.push(entry.path());
            } else if kind.is_file() {
                let bytes = fs::read(entry.path()).unwrap_or_default();
                found.extend(leaks(&bytes).map(|form| (entry.path(), form)));
            }
        }
    }
    found
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Returns the forms of canaries that the bytes contain.
fn leaks(bytes: &[u8]) -> impl Iterator<Item = String> + use<> {
    let text = String::from_utf8_lossy(bytes).into_owned();
    let squeezed: String = text.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    let squeezed = squeezed.replace('-', "+").replace('_', "/");
    let mut forms = Vec::new();
    for canary in [DB, API, CRED].into_iter().chain(KEY.lines()) {
        let url: String = canary.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let unicode: String = canary
            .bytes()
            .map(|byte| format!("\\u{byte:04x}"))
            .collect();
        for form in [
            canary.to_owned(),
            canary.replace(' ', "+"),
            url,
            unicode,
            canary.replace('"', "\\\""),
        ] {
            forms.push((text.contains(&form), form));
        }
        for form in [
            hex(canary.as_bytes()),
            hex(canary.as_bytes()).to_uppercase(),
        ] {
            forms.push((squeezed.contains(&form), form));
        }
        for before in 0..3 {
            // The digits that depend only on the canary.
            let all = STANDARD.encode([&vec![b'x'; before], canary.as_bytes()].concat());
            let first = [0, 2, 3][before];
            let form: String = all
                .chars()
                .skip(first)
                .take((canary.len() * 8 - 6) / 6 - 1)
                .collect();
            forms.push((squeezed.contains(&form), form));
        }
    }
    forms
        .into_iter()
        .filter_map(|(found, form)| found.then_some(form))
}

#[track_caller]
fn assert_no_leak(what: &str, bytes: &[u8]) {
    let found: Vec<String> = leaks(bytes).collect();
    assert!(
        found.is_empty(),
        "{what} contains {found:?}:\n{}",
        String::from_utf8_lossy(bytes)
    );
}

/// Returns the command lines of all processes.
fn command_lines() -> Vec<u8> {
    let processes = fs::read_dir("/proc").expect("processes").flatten();
    processes
        .flat_map(|process| fs::read(process.path().join("cmdline")).unwrap_or_default())
        .collect()
}

#[test]
fn a_run_gets_its_secrets_as_private_files_and_variables() {
    let world = started(prepared(|_| {}));
    assert!(
        world.started["notes"]
            .as_array()
            .expect("notes")
            .iter()
            .all(|note| !note.to_string().contains("secret db can't"))
    );
    let finished = world.run("deploy:seen", json!({}), &[&alice()]);
    let expected = format!(
        "500 /run/step/secrets\n400 /run/step/secrets/cred\n400 /run/step/secrets/db\n{}\n{}\n{}\n\
         not written\nnot changed\n- ramfs\n0\n",
        DB.len(),
        CRED.len(),
        API.len()
    );
    let output = world.output(&finished, "stdout");
    assert_eq!(output, expected, "{}", world.output(&finished, "stderr"));
    world.assert_verified(&finished);
    let proposal = world.propose("deploy:seen", json!({}));
    let review = world
        .as_alice(&["review", id_of(&proposal)])
        .output()
        .expect("review");
    let text = said(&review);
    assert!(review.status.success(), "{text}");
    let line = text
        .lines()
        .find(|line| line.trim_start().starts_with("secrets"))
        .unwrap_or_else(|| panic!("{text}"));
    assert!(
        line.contains("api in the variable API_TOKEN; cred as a file; db as a file"),
        "{text}"
    );
    let digest = format!("sha256:{}", sha256(&bytes_of(&proposal)));
    let approved = world
        .as_alice(&["approve", id_of(&proposal), "--yes", "--expect", &digest])
        .output()
        .expect("approve");
    assert!(approved.status.success(), "{}", said(&approved));
    world.until(id_of(&proposal), "finished");
    let finished = world.run(
        "deploy:param",
        json!({"password": {"secret": "db"}}),
        &[&alice()],
    );
    let expected = format!(
        "/run/step/secrets/db\n{}\n{{\"password\":\"/run/step/secrets/db\"}}",
        DB.len()
    );
    assert_eq!(world.output(&finished, "stdout"), expected);
    world.assert_verified(&finished);
    // Another step gets nothing.
    let finished = world.run("deploy:plain", json!({}), &[&alice()]);
    assert!(
        !world.output(&finished, "stdout").contains("secrets"),
        "{}",
        world.output(&finished, "stdout")
    );
    // The sign-in block of a Gruntwork page. AWS_SESSION_TOKEN is not configured, so the run goes without it.
    let finished = world.run("cloud:who", json!({}), &[&alice()]);
    assert_eq!(
        world.output(&finished, "stdout"),
        "key [secret aws.AWS_ACCESS_KEY_ID] unset\n",
        "{finished:#}"
    );
    world.assert_audited();
}

#[test]
fn promise_10_no_secret_of_a_run_is_in_the_log_the_store_an_answer_or_a_command_line() {
    let print = format!(
        "{FORMS}\nforms \"$(cat \"$DB_FILE\")\"\nforms \"$API_TOKEN\" >&2\nforms \"$CRED\"\nforms \"$(cat \"$TLS_KEY\")\"\nwhile read -r line; do echo \"> $line\"; done < \"$TLS_KEY\"\nsed 's/$/\\r/' \"$TLS_KEY\"\nenv\ncat \"$DB_FILE\" \"$TLS_KEY\""
    );
    let split = "printf '%s' \"${API_TOKEN:0:9}\"; sleep 0.4; printf '%s\\n' \"${API_TOKEN:9}\"; for c in $(grep -o . <<< \"$CRED\"); do printf '%s' \"$c\"; done; echo; echo end";
    let failing = "cd /tmp/work\nprintf '#!/bin/sh\\nexit 0\\n' > \"$CRED\"; chmod +x \"$CRED\"; ./\"$CRED\"\nls\n\"$CRED\" 2>&1\nset -u; : \"${nothing:?$API_TOKEN}\"";
    let killed = "printf '%s' \"$API_TOKEN\"; printf '%s' \"$CRED\" >&2; exec sleep 60";
    let core = "ulimit -c unlimited; echo \"$API_TOKEN\" > note; kill -SEGV $$";
    let attempts = "exec /bin/sleep 1";
    let steps = [
        (format!("print {ALL}"), print),
        (format!("split {ALL}"), split.to_owned()),
        (format!("failing {ALL}"), failing.to_owned()),
        (format!("killed timeout=1s {ALL}"), killed.to_owned()),
        (format!("core {ALL}"), core.to_owned()),
        (format!("argv {ALL}"), attempts.to_owned()),
    ];
    let world = started(prepared(|setup| {
        let steps: Vec<(&str, &str)> = steps
            .iter()
            .map(|(a, b)| (a.as_str(), b.as_str()))
            .collect();
        let page = format!("params:\n  password: {{type: string, x-secret: true}}\n{SMALL}");
        setup.runbook("deploy.md", runbook(&page, &steps));
    }));
    let mut answers = Vec::new();
    for step in ["print", "split", "failing", "killed", "core", "argv"] {
        let proposal = world.propose(&format!("deploy:{step}"), json!({}));
        let id = id_of(&proposal).to_owned();
        answers.extend(proposal.to_string().into_bytes());
        assert_eq!(world.sign(&proposal, &[&alice()]).status, 200);
        let mut streamed = Vec::new();
        for event in world.wire.lines(&id, &world.reader, 0) {
            if step == "argv" {
                assert_no_leak("a command line", &command_lines());
            }
            let coded = event["base64"]
                .as_str()
                .map(|coded| STANDARD.decode(coded).expect("base64"));
            streamed
                .extend(coded.unwrap_or_else(|| event["text"].as_str().unwrap_or_default().into()));
            answers.extend(event.to_string().into_bytes());
        }
        assert_no_leak(&format!("the stream of {step}"), &streamed);
        assert!(
            step == "argv" || step == "core" || streamed.windows(8).any(|part| part == b"[secret "),
            "{step}"
        );
        let finished = world.until(&id, "finished");
        let receipt = world.receipt(&finished);
        for stream in ["stdout", "stderr"] {
            let output = world.output(&finished, stream);
            assert_no_leak(&format!("{stream} of {step}"), output.as_bytes());
            let redactions = receipt["output"][stream]["redactions"]
                .as_u64()
                .expect("a count");
            assert_eq!(
                output.matches("[secret ").count() as u64,
                redactions,
                "{step}: {output}"
            );
            answers.extend(output.into_bytes());
        }
        let redacted = |stream: &str| {
            receipt["output"][stream]["redactions"]
                .as_u64()
                .expect("a count")
        };
        match step {
            "print" => assert!(
                redacted("stdout") > 30 && redacted("stderr") >= 10,
                "{receipt:#}"
            ),
            "split" => assert_eq!(
                world.output(&finished, "stdout"),
                "[secret api]\n[secret cred]\nend\n"
            ),
            "failing" => {
                assert_eq!(receipt["outcome"]["status"], "failed", "{receipt:#}");
                assert!(
                    world
                        .output(&finished, "stderr")
                        .contains("nothing: [secret api]")
                );
            }
            "killed" => {
                assert_eq!(receipt["outcome"]["status"], "timed_out", "{receipt:#}");
                assert_eq!((redacted("stdout"), redacted("stderr")), (1, 1));
            }
            "core" => assert_eq!(receipt["outcome"]["signal"], 11, "{receipt:#}"),
            _ => {}
        }
        world.assert_verified(&finished);
        answers.extend(world.bundle(&finished));
        answers.extend(world.show(&id).to_string().into_bytes());
        answers.extend(receipt.to_string().into_bytes());
    }
    for path in [
        "/v1/registry",
        "/v1/proposals",
        "/ready",
        "/metrics",
        "/health",
    ] {
        answers.extend(world.wire.get(path, &world.reader).text().into_bytes());
    }
    assert_no_leak("an answer", &answers);
    assert_no_leak("the log", format!("{:?}", world.log()).as_bytes());
    assert_no_leak("the service's messages", world.service_log().as_bytes());
    world.assert_audited();
    fs::remove_dir_all(world.path("b/boundary/secrets")).expect("removed");
    fs::remove_dir_all(world.path("credentials")).expect("removed");
    assert_eq!(found_in(&world.path(".")), []);
    // Root reads every process. Other users can't read the memory or the environment of the service.
    let status = fs::metadata(format!("/proc/{}/environ", world.pid())).expect("a process");
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&status), 0);
    let limits = fs::read_to_string(format!("/proc/{}/limits", world.pid())).expect("limits");
    let core = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"))
        .expect("a limit");
    assert_eq!(
        core.split_whitespace().collect::<Vec<_>>()[4..6],
        ["0", "0"],
        "{core}"
    );
}

#[test]
fn output_that_is_cut_inside_of_a_secret_ends_before_the_secret() {
    let script =
        "printf 'x%.0s' {1..90}; printf '%s and more\\n' \"$API_TOKEN\"; printf 'y%.0s' {1..90}";
    let world = started(prepared(|setup| {
        let page = format!("params:\n  password: {{type: string, x-secret: true}}\n{SMALL}");
        let cut = format!("cut output=100B {ALL}");
        setup.runbook("deploy.md", runbook(&page, &[(&cut, script)]));
    }));
    let finished = world.run("deploy:cut", json!({}), &[&alice()]);
    assert_eq!(world.output(&finished, "stdout"), "x".repeat(90));
    let receipt = world.receipt(&finished);
    assert_eq!(
        receipt["output"]["stdout"]["truncated"], true,
        "{receipt:#}"
    );
    world.assert_verified(&finished);
    world.assert_audited();
}

#[test]
fn a_secret_that_is_not_configured_for_a_step_is_refused_by_name() {
    let world = started(prepared(|_| {}));
    let notes = world.started["notes"].to_string();
    assert!(
        notes.contains("other:db") && notes.contains("does not give the step the secret db"),
        "{notes}"
    );
    let config = world.path("b/countersign.toml").display().to_string();
    let runbooks = world.path("b/runbooks").display().to_string();
    let check = world
        .program(&["registry", "check", &runbooks, "--config", &config])
        .output()
        .expect("check");
    assert_eq!(check.status.code(), Some(1), "{}", said(&check));
    assert_eq!(
        said(&check).matches("error: ").count(),
        1,
        "{}",
        said(&check)
    );
    for lines in [
        said(&check),
        said(
            &world
                .program(&["doctor"])
                .arg(world.path("b"))
                .output()
                .expect("doctor"),
        ),
    ] {
        assert!(
            lines.contains("other:db: countersign.toml does not give the step the secret db: add"),
            "{lines}"
        );
    }
    for (step, params, name, at) in [
        ("other:db", json!({}), "db", "/step"),
        (
            "deploy:param",
            json!({"password": {"secret": "aws.AWS_REGION"}}),
            "aws.AWS_REGION",
            "/params",
        ),
        (
            "deploy:param",
            json!({"password": {"secret": "none"}}),
            "none",
            "/params",
        ),
    ] {
        let wish = World::wish(step, params);
        let problem = world
            .unchanged(|| world.wire.post("/v1/proposals", &world.agent, &wish))
            .problem("sandbox-unavailable");
        let detail = problem["detail"].as_str().expect("text");
        assert!(
            detail.starts_with(&format!("{step} needs the secret {name}, which")),
            "{detail}"
        );
        assert_eq!(pointers(&problem), [at]);
    }
}

#[test]
fn a_secret_that_disappears_after_the_proposal_is_refused_before_the_nonce() {
    let mut world = started(prepared(|_| {}));
    let proposal = world.propose("deploy:seen", json!({}));
    let file = world.path("b/boundary/secrets/db");
    let break_file = |how: &str| match how {
        "gone" => fs::remove_file(&file).expect("removed"),
        "open" => fs::set_permissions(&file, Permissions::from_mode(0o644)).expect("mode"),
        _ => fs::write(&file, "c4n+r\n").expect("written"),
    };
    for (how, words) in [
        ("open", "chmod 600"),
        ("short", "the value has 5 bytes"),
        ("gone", "create the file"),
    ] {
        break_file(how);
        let envelope = world.authorization("deploy:seen", json!({}));
        let payload = crate::support::people::authorization(&envelope);
        let envelope = crate::support::people::envelope(&payload, &[&alice()]);
        let problem = world
            .unchanged(|| world.submit(&envelope))
            .problem("sandbox-unavailable");
        let detail = problem["detail"].as_str().expect("text");
        assert!(
            detail.starts_with("the secret db can't be read") && detail.contains(words),
            "{how}: {detail}"
        );
        assert!(!detail.contains("c4n"), "{detail}");
        if how == "open" {
            fs::set_permissions(&file, Permissions::from_mode(0o600)).expect("mode");
        }
    }
    assert_eq!(world.count("consumption"), 0);
    // The configuration no longer allows the secret: the signed proposal does not run.
    world.write("b/boundary/secrets/db", DB);
    let config = fs::read_to_string(world.path("b/countersign.toml")).expect("a configuration");
    world.write(
        "b/countersign.toml",
        &config.replacen("steps = [\"deploy:*\"]", "steps = [\"deploy:param\"]", 1),
    );
    world.restart();
    assert_eq!(world.sign(&proposal, &[&alice()]).status, 200);
    let id = id_of(&proposal).to_owned();
    wait_for("the run is held up", || {
        world.show(&id)["held_up"]
            .to_string()
            .contains("needs the secret db")
    });
    assert_eq!(
        (
            world.show(&id)["status"].as_str(),
            world.count("consumption")
        ),
        (Some("approved"), 0)
    );
    // With the old configuration, the same proposal runs.
    world.write("b/countersign.toml", &config);
    world.restart();
    world.until(&id, "finished");
    assert_eq!(world.count("consumption"), 1);
}

#[test]
fn r9_a_secret_in_a_runbook_directory_prevents_the_start() {
    let mut world = prepared(|setup| {
        setup.config = setup.config.replace("boundary/secrets/tls", "runbooks/tls")
    });
    let text = world.try_start().expect_err("refused");
    assert!(
        text.contains("runbooks/tls") && text.contains("this path is private"),
        "{text}"
    );
}

#[test]
fn a_secret_that_cannot_be_read_is_named_at_the_start() {
    let world = prepared(|_| {});
    fs::set_permissions(
        world.path("b/boundary/secrets/tls"),
        Permissions::from_mode(0o640),
    )
    .expect("mode");
    let doctor = |world: &World| {
        let output = world
            .program(&["doctor", "--json"])
            .arg(world.path("b"))
            .output()
            .expect("doctor");
        serde_json::from_slice::<Value>(&output.stdout).expect("JSON")["lines"].to_string()
    };
    let lines = doctor(&world);
    assert!(
        lines.contains("tls can't be read") && lines.contains("chmod 600"),
        "{lines}"
    );
    let world = started(world);
    let notes = world.started["notes"].to_string();
    assert!(
        notes.contains("the secret tls can't be read") && notes.contains("chmod 600"),
        "{notes}"
    );
    assert!(!notes.contains("the secret db can't"), "{notes}");
    wait_for("the service answers", || {
        world.wire.peek("/health").status == 200
    });
}

#[test]
fn a_secret_file_needs_a_run_with_its_own_root_file_system() {
    let mut world = prepared(|setup| {
        setup.config = format!("[sandbox]\nlevel = \"best-effort\"\n{}", setup.config);
    });
    if !poor_host(
        &mut world,
        "a_secret_file_needs_a_run_with_its_own_root_file_system",
    ) {
        return;
    }
    let world = started(world);
    let wish = World::wish("deploy:seen", json!({}));
    let problem = world
        .unchanged(|| world.wire.post("/v1/proposals", &world.agent, &wish))
        .problem("sandbox-unavailable");
    assert!(
        problem["detail"]
            .as_str()
            .expect("text")
            .contains("own root file system"),
        "{problem:#}"
    );
}
