//! The lock of a runbook directory, and runbooks that are skipped because of an error.

use std::process::Output;

use crate::support::{SMALL, World, assert_says, exited, runbook, said, said_at_exit, wait_for};
use serde_json::{Value, json};

/// Runs `registry` on the runbooks of the boundary.
fn registry(world: &World, words: &[&str]) -> Output {
    let mut command = world.program(&["registry"]);
    command
        .env("COUNTERSIGN_TOKEN", &world.reader)
        .env("COUNTERSIGN_URL", &world.wire.url);
    command.args(words);
    if words[0] != "check" {
        command.arg("--dir");
    }
    command
        .arg(world.path("b/runbooks"))
        .output()
        .expect("runs")
}

#[track_caller]
fn lock(world: &World) {
    exited(registry(world, &["lock"]), 0);
}

fn notes(world: &World) -> String {
    world.wire.peek("/ready").json()["notes"].to_string()
}

fn edit(world: &World, from: &str, to: &str) {
    let path = world.path("b/runbooks/say.md");
    let text = std::fs::read_to_string(path).expect("a runbook");
    assert!(text.contains(from), "{text}");
    world.write("b/runbooks/say.md", &text.replace(from, to));
}

#[test]
fn a_boundary_with_a_lock_seals_an_edited_runbook_only_after_a_new_lock() {
    let mut world = World::new();
    lock(&world);
    let first = world.seal();
    edit(&world, "printf", "echo");
    world.signal(rustix::process::Signal::HUP);
    wait_for("the refusal is reported", || {
        notes(&world).contains("the last reseal failed")
    });
    let told = notes(&world);
    assert!(
        told.contains("say.md:") && told.contains("say:echo is sha256:"),
        "{told}"
    );
    assert_eq!(world.seal(), first);
    world.stop();
    let refused = world.try_start().expect_err("a step differs from the lock");
    assert!(
        refused.contains("say:echo is sha256:") && refused.contains("countersign registry lock"),
        "{refused}"
    );
    lock(&world);
    world.start();
    assert_eq!(world.seal(), first + 1);

    // A new step and a removed step also differ from the lock.
    world.write("b/runbooks/new.md", &runbook(SMALL, &[("one", ":")]));
    std::fs::remove_file(world.path("b/runbooks/two.md")).expect("removed");
    world.signal(rustix::process::Signal::HUP);
    wait_for("both differences are reported", || {
        let told = notes(&world);
        told.contains("new:one is not in countersign.lock")
            && told.contains("two:go is in countersign.lock, but in no runbook")
    });
    lock(&world);
    world.reseal(first + 2);
    wait_for("the note is gone", || {
        !notes(&world).contains("the last reseal failed")
    });
    world.write("b/runbooks/countersign.lock", "{}");
    world.signal(rustix::process::Signal::HUP);
    wait_for("a broken lock is reported", || {
        notes(&world).contains("the lock can't be read")
    });
}

#[test]
fn check_reports_the_lock_and_diff_names_the_changed_fields() {
    let world = World::new();
    let check = registry(&world, &["check"]);
    assert!(
        check.status.success() && said(&check).contains("no lock: "),
        "{}",
        said(&check)
    );
    lock(&world);
    let check = registry(&world, &["check", "--json"]);
    let told: Value = serde_json::from_slice(&check.stdout).expect("JSON");
    assert_eq!(
        (&told["sound"], &told["locks"][0]["lock"]),
        (&json!(true), &json!("agrees")),
        "{told:#}"
    );
    exited(registry(&world, &["diff"]), 0);

    edit(&world, "printf", "echo");
    edit(&world, "default: hello", "default: hi");
    world.write("b/runbooks/new.md", &runbook(SMALL, &[("one", ":")]));
    std::fs::remove_file(world.path("b/runbooks/two.md")).expect("removed");
    let diff = exited(registry(&world, &["diff"]), 1);
    assert_eq!(
        String::from_utf8_lossy(&diff.stdout),
        "added new:one\nchanged say:echo: params.properties.text, source\nremoved two:go\n"
    );
    world.write("b/runbooks/bad.mdx", "<Command/>");
    let check = registry(&world, &["check"]);
    let told = said(&check);
    assert_eq!(check.status.code(), Some(1), "{told}");
    for words in [
        "error: bad.mdx:1:1: <Command> has no id",
        "error: say.md:",
        "new:one is not in",
        "differs\n",
        "errors\n",
    ] {
        assert!(told.contains(words), "{words}\n{told}");
    }
    said_at_exit(registry(&world, &["lock"]), 1, "bad.mdx:1:1");
}

/// One bad page of each format, with the words of its first error.
const BAD: [(&str, &str, &str); 4] = [
    (
        "bad.md",
        "---\ncountersign: 2\n---\n```bash {#a timeout=0s}\ntrue\n```\n",
        "bad.md:2:14: ",
    ),
    (
        "page.mdx",
        "<Command/>\n",
        "page.mdx:1:1: <Command> has no id",
    ),
    (
        "walk.runbook.md",
        "# x\n",
        "walk.runbook.md:1:1: the runbook has no step",
    ),
    (
        "fence.md",
        "# Notes\n\n```runnable perl\nprint()\n```\n",
        "fence.md:3:13: unknown language",
    ),
];

fn with_bad_pages(config: &str) -> World {
    World::prepared(|setup| {
        config.clone_into(&mut setup.config);
        for (name, text, _) in BAD {
            setup.runbook(name, text);
        }
    })
}

#[test]
fn without_the_setting_one_bad_page_prevents_the_start() {
    let refused = with_bad_pages("").try_start().expect_err("bad pages");
    assert!(
        BAD.iter().all(|(_, _, words)| refused.contains(words)),
        "{refused}"
    );
}

#[test]
fn with_the_setting_bad_pages_are_skipped_and_named() {
    let mut world = with_bad_pages("skip_invalid_runbooks = true");
    world.start();
    world.make_tokens();
    world.propose("plain:true", json!({}));
    let (started, ready, log) = (
        world.started["notes"].to_string(),
        notes(&world),
        world.service_log(),
    );
    let doctor = said(
        &world
            .program(&["doctor"])
            .arg(world.path("b"))
            .output()
            .expect("runs"),
    );
    for (name, _, words) in BAD {
        for told in [&started, &ready, &log, &doctor] {
            assert!(told.contains(words), "{words}\n{told}");
        }
        assert_eq!(
            ready.matches(name).count(),
            1,
            "only the first error is told: {ready}"
        );
    }

    let first = world.seal();
    world.write("b/runbooks/bad.md", &runbook(SMALL, &[("one", ":")]));
    world.reseal(first + 1);
    world.propose("bad:one", json!({}));
    wait_for("the repaired file is not named", || {
        !notes(&world).contains("bad.md")
    });
    assert!(notes(&world).contains("page.mdx"), "{}", notes(&world));

    // Two files with the same step are both skipped.
    world.write(
        "b/runbooks/bad.mdx",
        "<Command id=\"one\" command=\"true\" />\n\n<Command id=\"two\" command=\"true\" />\n",
    );
    world.reseal(first + 2);
    for step in ["bad:one", "bad:two"] {
        let wish = World::wish(step, json!({}));
        world
            .wire
            .post("/v1/proposals", &world.agent, &wish)
            .problem("unknown-step");
    }
    wait_for("both files are named", || {
        let told = notes(&world);
        told.contains("the step bad:one is also at bad.mdx:1:")
            && told.contains("the step bad:one already exists at bad.md:")
    });
    world.propose("plain:fail", json!({}));
}

/// Two pages that are valid, but that this host and this policy do not allow.
const NOT_ALLOWED: [(&str, &str); 2] = [
    (
        "absent.md",
        "---\ncountersign: 1\n---\n```bash {#a read=/nowhere/at/all}\ntrue\n```\n",
    ),
    (
        "network.md",
        "---\ncountersign: 1\n---\n```bash {#a network=host}\ntrue\n```\n",
    ),
];

#[test]
fn with_the_setting_a_page_that_host_or_policy_do_not_allow_is_skipped_unless_a_lock_exists() {
    let mut world = World::prepared(|setup| {
        "skip_invalid_runbooks = true".clone_into(&mut setup.config);
        NOT_ALLOWED
            .iter()
            .for_each(|(name, text)| setup.runbook(name, *text));
    });
    world.start();
    world.make_tokens();
    world.propose("plain:true", json!({}));
    for (name, _) in NOT_ALLOWED {
        assert!(
            world.started["notes"].to_string().contains(name),
            "{name}: {}",
            world.started["notes"]
        );
        assert_eq!(
            notes(&world).matches(&format!("{name}:4:")).count(),
            1,
            "{}",
            notes(&world)
        );
    }
    let first = world.seal();
    world.write(
        "b/runbooks/network.md",
        &NOT_ALLOWED[1].1.replace(" network=host", ""),
    );
    world.reseal(first + 1);
    world.propose("network:a", json!({}));
    assert!(
        notes(&world).contains("absent.md") && !notes(&world).contains("network.md"),
        "{}",
        notes(&world)
    );
    world.stop();
    world.start();
    assert!(
        world.started["notes"].to_string().contains("absent.md"),
        "{}",
        world.started["notes"]
    );
    assert_eq!(
        world.seal(),
        first + 1,
        "a start without changes writes no seal"
    );
    world.stop();

    std::fs::remove_file(world.path("b/runbooks/absent.md")).expect("removed");
    lock(&world);
    world.write("b/runbooks/absent.md", NOT_ALLOWED[0].1);
    assert_says(world.try_start().expect_err("a lock exists"), "absent.md");
}

#[test]
fn a_locked_step_cannot_be_skipped() {
    let mut world =
        World::with(|setup| "skip_invalid_runbooks = true".clone_into(&mut setup.config));
    lock(&world);
    let first = world.seal();
    world.write("b/runbooks/say.md", "---\ncountersign: 2\n---\n");
    world.signal(rustix::process::Signal::HUP);
    wait_for("the refusal is reported", || {
        let told = notes(&world);
        told.contains("say:echo is in countersign.lock, but in no runbook")
            && told.contains("say.md:2:14")
    });
    assert_eq!(world.seal(), first);
    world.stop();
    assert_says(
        world.try_start().expect_err("a locked step is missing"),
        "say:echo is in countersign.lock",
    );
}

#[test]
fn a_runbook_that_another_user_can_write_is_not_skipped() {
    use std::os::unix::fs::PermissionsExt as _;
    let mut world =
        World::prepared(|setup| "skip_invalid_runbooks = true".clone_into(&mut setup.config));
    std::fs::set_permissions(
        world.path("b/runbooks/say.md"),
        std::fs::Permissions::from_mode(0o666),
    )
    .expect("mode");
    assert_says(
        world.try_start().expect_err("another user can write"),
        "other users can write the path",
    );
}
