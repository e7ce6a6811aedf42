//! `doctor --production`: each point that can fail is made to fail, and passes after the fix that the point names.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

use clap::Parser as _;
use client::Cli;
use countersign::WholeProgram;
use serde_json::{Value, json};

use crate::support::host::not_run;
use crate::support::people::{
    alice, envelope, key_revocation, now, oscar, stamp, unreachable_witness,
};
use crate::support::{DRAFT, SMALL, World, exited, merge, runbook, said};

/// Returns the findings of a point, each as `result: text`.
fn point(world: &World, name: &str) -> Vec<String> {
    let doctor = world
        .program(&["doctor", "--production", "--json"])
        .arg(world.path("b"))
        .output();
    findings(&doctor.expect("doctor"), name)
}

fn findings(output: &Output, name: &str) -> Vec<String> {
    let list: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", said(output)));
    let points = list["points"].as_array().expect("points");
    let failed = points.iter().any(|point| point["result"] == "fix");
    assert_eq!(output.status.code(), Some(i32::from(failed)), "{list}");
    for (index, point) in points.iter().enumerate() {
        assert_eq!(point["number"], index + 1);
        for finding in point["findings"].as_array().expect("findings") {
            assert_eq!(
                finding["result"] == "fix",
                finding["fix"].is_string(),
                "each failure names its fix: {finding}"
            );
            check_commands(finding["fix"].as_str().unwrap_or_default());
        }
    }
    let point = points
        .iter()
        .find(|point| point["point"] == name)
        .unwrap_or_else(|| panic!("no point {name}"));
    let text = |finding: &Value| {
        format!(
            "{}: {}",
            finding["result"].as_str().expect("a result"),
            finding["says"].as_str().expect("a text")
        )
    };
    point["findings"]
        .as_array()
        .expect("findings")
        .iter()
        .map(text)
        .collect()
}

/// Asserts that the program accepts each command of a fix, after the capital letters that stand for values.
#[track_caller]
fn check_commands(fix: &str) {
    let bare = fix
        .split('`')
        .step_by(2)
        .any(|text| text.contains("countersign ") && !text.contains("countersign.toml"));
    assert!(!bare, "a command without backticks: {fix}");
    for command in fix
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|command| command.starts_with("countersign "))
    {
        let words = command.split(' ').map(|word| word.trim_matches('\''));
        let words = words.map(|word| {
            if word == "NAME" || word == "NEW_NAME" {
                "dave"
            } else {
                word
            }
        });
        if let Err(error) = Cli::<WholeProgram>::try_parse_from(words) {
            panic!("{command}: {error}");
        }
    }
}

/// Adds lines to the configuration.
fn configure(world: &World, lines: &str) {
    let text = std::fs::read_to_string(world.path("b/countersign.toml")).expect("a configuration");
    world.write("b/countersign.toml", &format!("{lines}\n{text}"));
}

/// Removes the database, as a lost disk does.
fn lose_store(world: &World) {
    for suffix in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{suffix}", world.database().display()));
    }
}

#[track_caller]
fn assert_finding(found: &[String], begins: &str, contains: &str) {
    assert!(
        found
            .iter()
            .any(|one| one.starts_with(begins) && one.contains(contains)),
        "{begins} {contains}: {found:?}"
    );
}

#[track_caller]
fn assert_no_failure(found: &[String]) {
    assert!(!found.iter().any(|one| one.starts_with("fix")), "{found:?}");
}

#[test]
fn the_list_has_twelve_points_and_the_text_names_each_fix() {
    let world = World::prepared(|_| {});
    let output = world
        .program(&["doctor", "--production"])
        .arg(world.path("b"))
        .output()
        .expect("doctor");
    let text = said(&output);
    for (index, point) in [
        "network",
        "firewall",
        "certificate",
        "program",
        "isolation",
        "user",
        "tokens",
        "roster",
        "keys and files",
        "steps",
        "database",
        "operation",
    ]
    .iter()
    .enumerate()
    {
        let head = format!("{:>2}  {point} ", index + 1);
        assert!(
            text.lines().any(|line| line.starts_with(&head)),
            "{head}\n{text}"
        );
    }
    assert!(
        text.contains("of 12 points fail") && output.status.code() == Some(1),
        "{text}"
    );
    assert!(
        text.contains("next.json: the first start seals the roster"),
        "{text}"
    );
    let nowhere = world
        .program(&["doctor", "--production"])
        .current_dir(world.path(""))
        .output()
        .expect("doctor");
    assert!(nowhere.status.code() == Some(2) && said(&nowhere).contains("doctor --production DIR"));
}

#[test]
fn a_configured_level_below_strict_fails_the_point_isolation() {
    let world =
        World::prepared(|setup| setup.config = "[sandbox]\nlevel = \"best-effort\"\n".to_owned());
    assert_finding(
        &point(&world, "isolation"),
        "fix",
        "the configured sandbox level is best-effort",
    );
}

#[test]
fn a_store_of_root_fails_the_point_user() {
    let world = World::prepared(|_| {});
    let found = point(&world, "user");
    if !rustix::process::geteuid().is_root() {
        assert_finding(&found, "ok", "belongs to the ordinary user");
        return;
    }
    assert_finding(
        &found,
        "fix",
        "belongs to root, so the service runs as root",
    );
    // The user of the service gets other findings than root.
    std::fs::set_permissions(world.path("."), Permissions::from_mode(0o711)).expect("mode");
    let given = Command::new("chown")
        .args(["-R", "12345:12345"])
        .arg(world.path("b"))
        .status()
        .expect("chown");
    assert!(given.success());
    let doctor = |options: &[&str]| {
        let mut command = world.command("setpriv");
        command.args([
            "--reuid=12345",
            "--regid=12345",
            "--clear-groups",
            env!("CARGO_BIN_EXE_countersign"),
        ]);
        command
            .args(options)
            .arg(world.path("b"))
            .output()
            .expect("setpriv")
    };
    let output = doctor(&["doctor", "--production", "--json"]);
    assert_finding(
        &findings(&output, "user"),
        "ok",
        "belongs to the ordinary user 12345",
    );
    assert_no_failure(&findings(&output, "keys and files"));
    std::os::unix::fs::chown(world.path("b/boundary/key.pem"), Some(54_321), None).expect("chown");
    let output = doctor(&["doctor", "--production", "--json"]);
    assert_finding(
        &findings(&output, "keys and files"),
        "fix",
        "belongs to the user 54321",
    );
}

#[test]
fn a_token_for_all_steps_or_without_owner_or_without_end_fails_the_point_tokens() {
    let mut world = World::prepared(|_| {});
    assert_finding(&point(&world, "tokens"), "ok", "the log has not begun");
    world.start();
    assert_finding(&point(&world, "tokens"), "ok", "there are no valid tokens");
    let make = |world: &World, name: &str, owners: &[&str], patterns: &[&str], ends: bool| {
        let mut token = json!({"name": name, "owners": owners, "scopes": ["operate", "propose"], "patterns": patterns});
        if ends {
            token["expires_at"] = json!(stamp(now() + 90 * 86_400));
        }
        world.create_token(&token).expect("a token");
    };
    make(&world, "good", &["carol"], &["say:*"], true);
    assert_finding(
        &point(&world, "tokens"),
        "ok",
        "valid tokens: 1; each is valid for at most 365 days",
    );
    make(&world, "wide", &["carol"], &[], true);
    make(&world, "stars", &["carol"], &["**"], true);
    let long = json!({"name": "long", "owners": [], "scopes": ["read"], "patterns": [],
                      "expires_at": stamp(now() + 400 * 86_400)});
    world.create_token(&long).expect("a token");
    make(&world, "nobodys", &[], &["say:*"], true);
    make(&world, "endless", &["carol"], &["say:*"], false);
    // The result is the same with and without the service.
    for serves in [true, false] {
        let found = point(&world, "tokens");
        assert_finding(&found, "fix", "the token wide may propose every step");
        assert_finding(&found, "fix", "the token stars may propose every step");
        assert_finding(
            &found,
            "fix",
            "the token long is valid for more than 365 days",
        );
        assert_finding(&found, "fix", "the token nobodys has no owner");
        assert_finding(&found, "fix", "the token endless never expires");
        assert_eq!(found.len(), 5, "{found:?}");
        if serves {
            world.stop();
        }
    }
    world.start();
    for name in ["wide", "stars", "long", "nobodys", "endless"] {
        world
            .control(&json!({"do": "token-revoke", "name": name}))
            .expect("revoked");
    }
    assert_no_failure(&point(&world, "tokens"));
}

#[test]
fn a_roster_that_one_person_can_change_fails_the_point_roster() {
    let world = World::prepared(|_| {});
    let found = point(&world, "roster");
    assert_finding(&found, "ok", "the next version needs 2 of 6 approvers");
    assert_finding(&found, "fix", "no group requires a security key");
    let source = world.roster();
    let roster = |patch: Value| {
        let mut changed = source.clone();
        merge(&mut changed, &patch);
        world.write(DRAFT, &changed.to_string());
        point(&world, "roster")
    };
    for (threshold, words) in [
        (0, "the roster is not guarded"),
        (1, "one approver alone can change the roster"),
        (6, "if one of them loses the key"),
    ] {
        let found = roster(json!({"threshold": threshold}));
        assert_finding(&found, "fix", words);
    }
    // A group with presence counts only if one of its members has a security key.
    let group = json!({"finance": {"presence": "required"}});
    assert_finding(
        &roster(json!({"groups": group})),
        "fix",
        "no group requires a security key",
    );
    let key = "sk-ssh-ed25519@openssh.com AAAAGnNrLXNzaC1lZDI1NTE5QG9wZW5zc2guY29tAAAAIOJ8Hc9wG0H6l0QGmcdFDdm8w1PpRbtyGqDLkJ\
               bYHzTRAAAABHNzaDo=";
    let greta = json!({"greta": {"groups": ["finance"], "keys": [key]}});
    let found = roster(json!({"groups": group, "approvers": greta}));
    assert_no_failure(&found);
    assert_finding(
        &found,
        "yours",
        "the group finance requires the touch of a security key",
    );
    assert_finding(&roster(json!({"version": null})), "fix", "not checked: ");
}

#[test]
fn a_file_that_others_can_read_or_write_fails_the_point_keys_and_files() {
    let mut world = World::prepared(|_| {});
    world.start();
    world.stop();
    assert_no_failure(&point(&world, "keys and files"));
    for (name, open, right) in [
        ("b/boundary/key.pem", 0o640, 0o600),
        ("b/boundary/countersign.db", 0o604, 0o600),
        ("b/boundary/policy.yaml", 0o666, 0o600),
        ("b/countersign.toml", 0o664, 0o600),
        ("b/boundary", 0o755, 0o700),
    ] {
        let set = |mode| {
            std::fs::set_permissions(world.path(name), Permissions::from_mode(mode)).expect("mode")
        };
        set(open);
        if name == "b/countersign.toml" {
            // The configuration can't be trusted, so there is no list.
            let output = world
                .program(&["doctor", "--production"])
                .arg(world.path("b"))
                .output()
                .expect("doctor");
            assert!(
                output.status.code() == Some(2) && said(&output).contains("countersign.toml"),
                "{}",
                said(&output)
            );
        } else {
            assert_finding(
                &point(&world, "keys and files"),
                "fix",
                &format!("mode {open:04o}"),
            );
        }
        set(right);
    }
    // A start needs no draft, but the next version of the roster comes from it.
    world.write(DRAFT, &world.roster().to_string());
    let draft = |mode| {
        std::fs::set_permissions(world.path(DRAFT), Permissions::from_mode(mode)).expect("mode");
        point(&world, "keys and files")
    };
    assert_finding(&draft(0o664), "fix", "next.json");
    assert_no_failure(&draft(0o600));
    world.write(DRAFT, "{");
    assert_finding(&draft(0o600), "fix", "next.json");
    std::fs::remove_file(world.path(DRAFT)).expect("removed");
    std::fs::remove_file(world.path("b/boundary/policy.yaml")).expect("removed");
    assert_finding(
        &point(&world, "keys and files"),
        "fix",
        "policy.yaml can't be checked",
    );
}

#[test]
fn the_point_steps_lists_each_step_that_reaches_beyond_the_sandbox() {
    let world = World::prepared(|setup| {
        setup.runbook(
            "open.md",
            runbook(
                "",
                &[
                    ("net network=host", "true"),
                    ("bare sandbox=off reason=\"a test\"", "true"),
                ],
            ),
        );
        setup.runbook(
            "snake.md",
            runbook("", &[("hiss", "ok")]).replace("```bash", "```python"),
        );
    });
    let found = point(&world, "steps");
    assert_finding(
        &found,
        "yours",
        "open:bare (may_be_off); open:net (network)",
    );
    assert_finding(&found, "yours", "steps use python");
    world.write(
        "b/runbooks/bad.md",
        &runbook("", &[("go", "true"), ("go", "true")]),
    );
    assert_finding(&point(&world, "steps"), "fix", "not checked: ");
}

#[test]
fn a_store_in_memory_or_a_damaged_store_fails_the_point_database() {
    let mut world = World::prepared(|_| {});
    world.start();
    world.stop();
    assert_finding(&point(&world, "database"), "ok", "SQLite ");
    std::fs::write(world.database(), "no database").expect("written");
    assert_finding(&point(&world, "database"), "fix", "countersign.db");
    let memory = Path::new("/dev/shm");
    if rustix::fs::statfs(memory).is_ok_and(|found| found.f_type == 0x0102_1994) {
        let there = tempfile::Builder::new()
            .prefix("countersign-test-")
            .tempdir_in(memory)
            .expect("a directory");
        let data = there.path().join("data");
        let world = World::prepared(|setup| {
            setup.config = format!(
                "data = \"{}\"\nkey = \"boundary/key.pem\"\n",
                data.display()
            );
        });
        assert_finding(
            &point(&world, "database"),
            "fix",
            "is on a tmpfs, which loses the log at a reboot",
        );
    } else {
        not_run(
            "doctor --production of a store in memory",
            "/dev/shm is no tmpfs here",
        );
    }
}

#[test]
fn a_missing_or_old_backup_fails_the_point_operation() {
    let mut world = World::prepared(|_| {});
    assert_finding(
        &point(&world, "operation"),
        "ok",
        "there is nothing to back up",
    );
    world.start();
    assert_finding(
        &point(&world, "operation"),
        "fix",
        "no backup of this log was made",
    );
    let mut backup = world.program(&["store", "--config"]);
    backup
        .arg(world.path("b/countersign.toml"))
        .arg("backup")
        .arg(world.path("copy"));
    let made = backup.output().expect("backup");
    assert!(
        made.status.success() && !said(&made).contains("\\n"),
        "{}",
        said(&made)
    );
    assert_finding(&point(&world, "operation"), "ok", "the last backup is of ");
    let written = std::fs::read_to_string(world.path("b/boundary/last-backup")).expect("a time");
    let (_, log) = written.split_once(' ').expect("a time and a log");
    world.write(
        "b/boundary/last-backup",
        &format!("2026-01-01T00:00:00Z {log}"),
    );
    assert_finding(
        &point(&world, "operation"),
        "fix",
        "2026-01-01T00:00:00Z, so it is older than a day",
    );
    world.write(
        "b/boundary/last-backup",
        &format!("2099-01-01T00:00:00Z {log}"),
    );
    assert_finding(
        &point(&world, "operation"),
        "fix",
        "2099-01-01T00:00:00Z, which is in the future",
    );
    world.write("b/boundary/last-backup", "nonsense");
    assert_finding(
        &point(&world, "operation"),
        "fix",
        "no backup of this log was made",
    );
    // A restore begins a new log, of which there is no backup yet.
    world.write("b/boundary/last-backup", &written);
    world.stop();
    std::fs::rename(world.database(), world.path("lost.db")).expect("moved");
    let mut restore = world.program(&["store", "restore", "--config"]);
    exited(
        restore
            .arg(world.path("b"))
            .arg(world.path("copy"))
            .output()
            .expect("restore"),
        0,
    );
    assert_finding(
        &point(&world, "operation"),
        "fix",
        "no backup of this log was made",
    );
}

#[test]
fn root_is_told_to_run_doctor_as_the_owner_of_the_files() {
    if !rustix::process::geteuid().is_root() {
        return not_run(
            "root_is_told_to_run_doctor_as_the_owner_of_the_files",
            "only root can give files away",
        );
    }
    let world = World::prepared(|_| {});
    let give = |name: &str, user| {
        std::os::unix::fs::chown(world.path(name), Some(user), None).expect("chown")
    };
    give("b/countersign.toml", 12_345);
    let doctor = |options: &[&str]| {
        world
            .program(options)
            .arg(world.path("b"))
            .output()
            .expect("doctor")
    };
    let text = said(&doctor(&["doctor"]));
    assert!(
        text.contains("sudo -u '#12345' countersign ...")
            && text.contains("if the service runs as root"),
        "{text}"
    );
    give("b/countersign.toml", 0);
    give("b/boundary", 12_345);
    for options in [&["doctor"][..], &["doctor", "--production"]] {
        let (output, found) = (
            doctor(options),
            "belongs to user 12345, so the service runs as this user",
        );
        let text = said(&output);
        assert!(
            !output.status.success() && text.contains(found) && !text.contains("chown"),
            "{text}"
        );
    }
}

#[test]
fn a_boundary_without_witness_or_kept_checkpoint_fails_the_point_operation() {
    let world = World::prepared(|_| {});
    let found = point(&world, "operation");
    assert_finding(
        &found,
        "fix",
        "no checkpoint from another place is configured",
    );
    assert_finding(&found, "fix", "the roster names no witness");
}

#[test]
fn the_fix_for_a_missing_checkpoint_names_the_address_of_the_service() {
    let world = World::prepared(|_| {});
    let text = || {
        said(
            &world
                .program(&["doctor", "--production"])
                .arg(world.path("b"))
                .output()
                .expect("doctor"),
        )
    };
    assert!(text().contains(
        "log export DIR --url http://localhost:7433` through a tunnel on another machine"
    ));
    configure(&world, "hosts = [\"boundary.example\"]");
    assert!(
        text().contains("log export DIR --url http://boundary.example:7433` on another machine")
    );
}

#[test]
fn a_silent_witness_or_an_unread_monitoring_fails_the_point_operation() {
    let mut world = World::prepared(|setup| setup.roster = unreachable_witness("silent.example/w"));
    assert_finding(
        &point(&world, "operation"),
        "yours",
        "the service does not answer here",
    );
    world.start();
    world.make_tokens();
    let found = point(&world, "operation");
    assert_finding(
        &found,
        "fix",
        "the witness silent.example/w has cosigned nothing",
    );
    assert_finding(&found, "fix", "nobody has read the metrics since the start");
    let scrape = world.wire.get("/metrics", &world.reader);
    assert_eq!(scrape.status, 200);
    assert_finding(
        &point(&world, "operation"),
        "ok",
        "a monitoring system read the metrics",
    );
}

#[test]
fn the_point_operation_agrees_with_the_kernel_about_the_clock() {
    // Another reader of adjtimex(2). The test can't change the state of the host's clock.
    let script = "import ctypes\nb = ctypes.create_string_buffer(512)\nr = ctypes.CDLL(None).adjtimex(b)\n\
                  status = int.from_bytes(b.raw[40:44], 'little')\nprint(r != 5 and r >= 0 and status & 0x40 == 0)";
    let output = Command::new("python3")
        .args(["-c", script])
        .output()
        .expect("python");
    let synchronized = String::from_utf8_lossy(&output.stdout).trim() == "True";
    let world = World::prepared(|_| {});
    let (result, text) = if synchronized {
        ("ok", "is synchronized")
    } else {
        ("fix", "is not synchronized")
    };
    assert_finding(&point(&world, "operation"), result, text);
}

#[test]
fn only_a_checkpoint_from_another_place_that_the_start_accepts_passes_the_point_operation() {
    let mut world = World::with(|_| {});
    world.export("copy");
    world.write("garbage", "no checkpoint");
    let text = std::fs::read_to_string(world.path("b/countersign.toml")).expect("a configuration");
    let with = |world: &World, name: &str| {
        world.write("b/countersign.toml", &text);
        configure(
            world,
            &format!("known_checkpoints = [\"{}\"]", world.path(name).display()),
        );
        point(world, "operation")
    };
    assert_finding(
        &with(&world, "copy"),
        "ok",
        "each start compares the store with 1 checkpoints",
    );
    assert_finding(
        &with(&world, "b/boundary/checkpoint"),
        "fix",
        "no checkpoint from another place is configured",
    );
    for (name, words) in [
        ("nowhere", "the checkpoint can't be read"),
        ("garbage", "the file is no checkpoint"),
    ] {
        assert_finding(&with(&world, name), "fix", words);
        let plain = said(
            &world
                .program(&["doctor"])
                .arg(world.path("b"))
                .output()
                .expect("doctor"),
        );
        assert!(
            plain
                .lines()
                .any(|line| line.starts_with("FIX   checkpoint") && line.contains(words)),
            "{plain}"
        );
    }
    world.stop();
    assert!(
        world
            .try_start()
            .expect_err("a start")
            .contains("the file is no checkpoint")
    );
}

#[test]
fn the_sealed_roster_decides_and_not_a_draft() {
    let mut world = World::prepared(|setup| setup.roster = unreachable_witness("silent.example/w"));
    world.edit_draft(|draft| draft["threshold"] = json!(1));
    world.start();
    let mut draft = world.roster();
    draft["witnesses"] = json!({});
    world.write(DRAFT, &draft.to_string());
    for serves in [true, false] {
        assert_finding(
            &point(&world, "roster"),
            "fix",
            "one approver alone can change the roster",
        );
        assert_finding(
            &point(&world, "operation"),
            "ok",
            "1 witnesses in the roster",
        );
        let list = said(
            &world
                .program(&["doctor", "--production"])
                .arg(world.path("b"))
                .output()
                .expect("doctor"),
        );
        assert!(
            list.contains("let the approvers sign the version, then run `countersign seal`"),
            "{list}"
        );
        if serves {
            world.stop();
        }
    }
}

#[test]
fn the_points_network_and_firewall_judge_the_address_of_the_running_service() {
    let mut world = World::prepared(|setup| {
        setup.listen = "0.0.0.0:0".to_owned();
        setup.options = vec!["--insecure-behind-proxy".to_owned()];
    });
    assert_finding(
        &point(&world, "network"),
        "ok",
        "127.0.0.1:7433 is a loopback address",
    );
    world.start();
    assert_finding(
        &point(&world, "network"),
        "fix",
        "other machines can reach 0.0.0.0:",
    );
    assert_finding(&point(&world, "firewall"), "yours", "open port ");
    world.stop();
    assert_finding(
        &point(&world, "network"),
        "ok",
        "127.0.0.1:7433 is a loopback address",
    );
    configure(&world, "listen = \"0.0.0.0:7433\"");
    let found = point(&world, "network");
    assert_finding(&found, "fix", "other machines can reach 0.0.0.0:7433");
    assert_eq!(found.len(), 1, "one problem is reported once: {found:?}");
}

#[test]
fn too_little_space_for_a_proposal_fails_the_point_operation() {
    let test = "too_little_space_for_a_proposal_fails_the_point_operation";
    let world = World::prepared(|_| {});
    let key = world.path("b/boundary/key.pem");
    let mount = "cp -a \"$0/boundary\" \"$0/../kept\" && mount -t tmpfs -o size=3m,mode=700 tmpfs \"$0/boundary\" && \
                 cp -a \"$0/../kept/.\" \"$0/boundary\" && exec \"$@\"";
    let mut doctor = world.command("unshare");
    doctor
        .args(["--mount", "sh", "-c", mount])
        .arg(world.path("b"))
        .arg(env!("CARGO_BIN_EXE_countersign"));
    let output = doctor
        .args(["doctor", "--production", "--json"])
        .arg(world.path("b"))
        .output()
        .expect("unshare");
    if output.stdout.is_empty() {
        return not_run(test, &said(&output));
    }
    assert!(key.exists());
    let found = findings(&output, "operation");
    assert_finding(&found, "fix", "MiB are free, and 16 MiB must stay free");
}

#[test]
fn each_problem_of_doctor_fails_the_list() {
    let mut world = World::prepared(|setup| {
        setup.roster = json!({"groups": {"finance": {"presence": "required"}}});
        let front = format!("approvals: {{required: 1, from: [finance]}}\n{SMALL}");
        setup.runbook("pay.md", runbook(&front, &[("go", ":")]));
    });
    // Frank of `finance` has no security key.
    let nobody = "proposals of pay:go are refused, because nobody can get them approved";
    assert_finding(&point(&world, "roster"), "fix", nobody);
    world.start();
    assert_finding(&point(&world, "operation"), "fix", nobody);
    world.stop();
    assert_finding(&point(&world, "roster"), "fix", nobody);
    world.write("b/secret", "a long secret");
    let limits =
        std::fs::read_to_string(world.path("b/countersign.toml")).expect("a configuration");
    world.write(
        "b/countersign.toml",
        &format!("{limits}[secrets.db]\nfile = \"secret\"\nsteps = [\"say:*\"]\n"),
    );
    assert_no_failure(&point(&world, "keys and files"));
    std::fs::set_permissions(world.path("b/secret"), Permissions::from_mode(0o644)).expect("mode");
    assert_finding(
        &point(&world, "keys and files"),
        "fix",
        "the secret db can't be read",
    );
    world.write("b/boundary/policy.yaml", "version: nonsense");
    assert_finding(&point(&world, "keys and files"), "fix", "policy.yaml");
}

#[test]
fn doctor_reports_what_the_next_start_refuses() {
    let mut world = World::with(|setup| setup.runbook("pay.md", runbook(SMALL, &[("go", ":")])));
    world.stop();
    let refused = |world: &mut World, words: &str| {
        let output = world
            .program(&["doctor"])
            .arg(world.path("b"))
            .output()
            .expect("doctor");
        assert!(
            said(&output).contains(words) && output.status.code() == Some(1),
            "{words}: {}",
            said(&output)
        );
        let start = world.try_start().expect_err("a start");
        assert!(start.contains(words), "{words}: {start}");
    };
    let accepted = |world: &mut World| {
        let output = world
            .program(&["doctor"])
            .arg(world.path("b"))
            .output()
            .expect("doctor");
        world.start();
        world.stop();
        let text = said(&output);
        assert!(!text.contains("FIX "), "{text}");
        text
    };
    let good = std::fs::read_to_string(world.path("b/runbooks/pay.md")).expect("a runbook");
    let front = format!("approvals: {{required: 1, from: [nosuch]}}\n{SMALL}");
    world.write("b/runbooks/pay.md", &runbook(&front, &[("go", ":")]));
    refused(&mut world, "the roster has no group nosuch");
    // What the service leaves out at its start is no problem, and limits count as the next start reads them.
    let settings =
        std::fs::read_to_string(world.path("b/countersign.toml")).expect("a configuration");
    configure(&world, "skip_invalid_runbooks = true");
    let said = accepted(&mut world);
    assert!(
        said.contains("skipped: ") && said.contains("the roster has no group nosuch"),
        "{said}"
    );
    world.write(
        "b/countersign.toml",
        &settings.replace("[limits]\n", "[limits]\nmaximum.timeout = \"3h\"\n"),
    );
    world.write(
        "b/runbooks/pay.md",
        &good.replace("{#go", "{#go timeout=2h"),
    );
    accepted(&mut world);
    world.write("b/countersign.toml", &settings);
    world.write("b/runbooks/pay.md", &good);
    for name in ["countersign.db", "countersign.db.lock"] {
        let path = world.path("b/boundary").join(name);
        std::fs::set_permissions(&path, Permissions::from_mode(0o644)).expect("mode");
        refused(&mut world, &format!("chmod 600 {}", path.display()));
        std::fs::set_permissions(&path, Permissions::from_mode(0o600)).expect("mode");
    }
    world.start();
}

#[test]
fn a_lost_store_fails_and_does_not_look_like_a_new_boundary() {
    let mut world = World::prepared(|_| {});
    world.start();
    world.stop();
    lose_store(&world);
    let lost = "there is no store, but this boundary signed a checkpoint of";
    let plain = world
        .program(&["doctor"])
        .arg(world.path("b"))
        .output()
        .expect("doctor");
    assert!(
        said(&plain).contains(lost) && plain.status.code() == Some(1),
        "{}",
        said(&plain)
    );
    assert_finding(&point(&world, "database"), "fix", lost);
    assert_finding(&point(&world, "tokens"), "fix", "not checked: ");
    assert_finding(
        &point(&world, "operation"),
        "yours",
        "the store can't be read, so its backup is not checked",
    );
    let text = said(
        &world
            .program(&["doctor", "--production"])
            .arg(world.path("b"))
            .output()
            .expect("doctor"),
    );
    assert!(
        text.contains("`countersign store restore BACKUP`") && !text.contains("store backup DIR"),
        "{text}"
    );
    assert!(world.try_start().expect_err("a start").contains(lost));
}

#[test]
fn the_fix_for_a_revoked_key_of_the_roster_is_the_command_that_removes_it() {
    let world = World::new();
    let payload = key_revocation(&world.boundary(), &alice());
    world
        .wire
        .post("/v1/revocations", "", &envelope(&payload, &[&oscar()]))
        .ok(200);
    let list = said(
        &world
            .program(&["doctor", "--production"])
            .arg(world.path("b"))
            .output()
            .expect("doctor"),
    );
    let told = format!("the key {} of approver alice is revoked", alice().keyid());
    // The running service says it at once, and not only after the next seal.
    let ready = world.wire.peek("/ready").text().to_owned();
    assert!(ready.contains(&told), "{ready}");
    assert!(
        list.contains(&told) && list.contains("remove this key there"),
        "{list}"
    );
    assert!(!list.contains("do what the message says"), "{list}");
}

#[test]
fn a_changed_byte_far_inside_a_bundle_is_named_with_what_to_do() {
    let world = World::new();
    let bundle = world.bundle(&world.run("plain:true", json!({}), &[&alice()]));
    let mut changed: Value = serde_json::from_slice(&bundle).expect("JSON");
    changed["builtins"]["more"] = json!(1);
    let pinned = world.started["roster"]
        .as_str()
        .expect("a digest")
        .to_owned();
    let (code, report) = world.verify_pinned(changed.to_string().as_bytes(), &pinned);
    let words = "the field `builtins` of the bundle (lists of programs) is not what the seal names: the bundle was changed, so \
                 get it again";
    assert!(
        code == 1 && report.to_string().contains(words),
        "{report:#}"
    );
}
