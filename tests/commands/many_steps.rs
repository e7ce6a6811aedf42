//! What the commands print about many runbooks: equal messages once, and tables that fit a terminal.

use std::fs;

use crate::support::{PROGRAM, World, exited, has, not_run, runbook, said};

/// Makes 8 runbooks in one directory, with one step each.
fn many(policy: &str) -> World {
    World::prepared(|setup| {
        setup.policy = policy.to_owned();
        setup.runbooks.clear();
        for at in 0..8 {
            setup.runbook(&format!("shop{at}.md"), runbook("", &[("restart", ":")]));
        }
    })
}

const POLICY: &str = "version: 1\nextends: none\ndefault:\n  mode: execute\n  approvals: {required: 1, from: [nobody]}\n";

#[test]
fn one_wrong_line_of_policy_is_one_line_with_three_places() {
    let world = many(POLICY);
    let (books, home) = (world.path("b/runbooks"), world.path("b"));
    let mut check = world.program(&["registry", "check", "--config"]);
    let check = said(&exited(
        check.arg(&home).arg(&books).output().expect("started"),
        1,
    ));
    let errors: Vec<&str> = check
        .lines()
        .filter(|line| line.contains("no group nobody"))
        .collect();
    let [line] = errors[..] else {
        panic!("one line: {check}")
    };
    for words in [
        "error: 8 places (",
        "shop0.md:",
        "shop0:restart, ",
        "shop2.md:",
        " and 5 more): ",
    ] {
        assert!(line.contains(words), "{words}: {line}");
    }
    assert!(
        !line.contains("shop3") && check.contains("9 errors"),
        "{check}"
    );
    let doctor = said(
        &world
            .program(&["doctor"])
            .arg(&home)
            .output()
            .expect("started"),
    );
    assert_eq!(
        doctor
            .lines()
            .filter(|line| line.contains("no group nobody"))
            .count(),
        1,
        "{doctor}"
    );
    let mut serve = world.program(&["serve"]);
    let refused = serve.arg(&home).output().expect("started");
    assert!(!refused.status.success());
    let refused = said(&refused);
    assert!(
        refused.contains("8 things to fix") && refused.lines().count() < 5,
        "{refused}"
    );
    // Three equal messages keep their lines, which an editor can open.
    for at in 3..8 {
        fs::remove_file(books.join(format!("shop{at}.md"))).expect("removed");
    }
    let mut check = world.program(&["registry", "check", "--config"]);
    let check = said(&exited(
        check.arg(&home).arg(&books).output().expect("started"),
        1,
    ));
    assert_eq!(
        check
            .lines()
            .filter(|line| line.starts_with("error: shop"))
            .count(),
        3,
        "{check}"
    );
}

#[test]
fn a_renamed_directory_with_a_lock_is_one_error_for_its_new_and_one_for_its_old_name() {
    let world = World::prepared(|setup| {
        for at in 0..8 {
            setup.runbook(
                &format!("ops/shop{at}.md"),
                runbook("", &[("restart", ":")]),
            );
        }
    });
    let books = world.path("b/runbooks");
    let lock = world
        .program(&["registry", "lock", "--dir"])
        .arg(&books)
        .output()
        .expect("started");
    exited(lock, 0);
    fs::rename(books.join("ops"), books.join("web")).expect("renamed");
    let check = said(&exited(
        world
            .program(&["registry", "check"])
            .arg(&books)
            .output()
            .expect("started"),
        1,
    ));
    let errors: Vec<&str> = check
        .lines()
        .filter(|line| line.starts_with("error: "))
        .collect();
    assert!(
        errors.len() == 2 && errors.iter().all(|line| line.contains("8 places (")),
        "{check}"
    );
    assert!(
        check.contains("countersign.lock: ops/shop0:restart, "),
        "{check}"
    );
}

#[test]
fn a_renamed_directory_is_one_line_of_diff_for_its_new_and_one_for_its_old_name() {
    let world = World::with(|setup| {
        for at in 0..8 {
            setup.runbook(
                &format!("ops/shop{at}.md"),
                runbook("", &[("restart", ":")]),
            );
        }
    });
    let books = world.path("b/runbooks");
    let diff = || {
        let mut diff = world.program(&["registry", "diff", "--url", &world.wire.url, "--dir"]);
        let done = diff
            .arg(&books)
            .env("COUNTERSIGN_TOKEN", &world.reader)
            .output()
            .expect("started");
        let shown = String::from_utf8_lossy(&done.stdout).into_owned();
        (shown, said(&exited(done, 1)))
    };
    fs::rename(books.join("ops"), books.join("web")).expect("renamed");
    let (shown, all) = diff();
    let lines = [
        "removed 8 steps, from ops/shop0:restart to ops/shop7:restart",
        "added 8 steps, from web/shop0:restart to web/shop7:restart",
    ];
    assert_eq!(shown.lines().collect::<Vec<_>>(), lines);
    assert!(all.contains("16 steps differ from seal"), "{all}");
    // A changed step keeps its own line, and so do three steps.
    fs::rename(books.join("web"), books.join("ops")).expect("renamed");
    for at in 0..3 {
        fs::remove_file(books.join(format!("ops/shop{at}.md"))).expect("removed");
    }
    fs::write(
        books.join("ops/shop7.md"),
        runbook("", &[("restart", "true")]),
    )
    .expect("written");
    let lines = [
        "removed ops/shop0:restart",
        "removed ops/shop1:restart",
        "removed ops/shop2:restart",
        "changed ops/shop7:restart: source",
    ];
    assert_eq!(diff().0.lines().collect::<Vec<_>>(), lines);
}

#[test]
fn the_list_of_steps_takes_a_pattern_and_fits_80_columns() {
    if !has("script") {
        return not_run(
            "the_list_of_steps_takes_a_pattern_and_fits_80_columns",
            "there is no script(1) here",
        );
    }
    let long =
        "params:\n  host: {type: string}\napprovals: {required: 2, from: [ops, security, finance]}";
    let world = World::with(|setup| {
        let title = "Restart the checkout service of the shop and wait until it answers again";
        let text = runbook(long, &[("restart-one-by-one", ":")]).replace("Steps of a test", title);
        setup.runbook("platform/databases/postgres/failover.md", text);
    });
    let shown = |words: &str, columns: u32| {
        let mut command = world.command("script");
        let line = format!(
            "stty cols {columns}; exec '{PROGRAM}' --url {} {words}",
            world.wire.url
        );
        command
            .args(["-qefc", &line, "/dev/null"])
            .env("SHELL", "/bin/sh")
            .env("COUNTERSIGN_TOKEN", &world.reader);
        said(&exited(command.output().expect("started"), 0)).replace('\r', "")
    };
    let narrow = shown("registry list", 80);
    assert!(
        narrow
            .lines()
            .all(|line| line.len() <= 80 || line.starts_with("seal ")),
        "{narrow}"
    );
    assert!(
        narrow.contains("platform/databases/postgres/failover:restart-one-by-one")
            && narrow.contains("plain:true")
    );
    let dir = world.path("b/runbooks").to_string_lossy().into_owned();
    for words in [
        "registry list 'platform/**'".to_owned(),
        format!("registry list --dir {dir} 'platform/**'"),
    ] {
        let some = shown(&words, 200);
        assert!(
            some.contains("failover:restart")
                && some.contains("answers again")
                && !some.contains("plain:"),
            "{some}"
        );
    }
    let one = world.program(&[
        "registry",
        "list",
        "plain:t*",
        "--json",
        "--url",
        &world.wire.url,
    ]);
    let one = { one }
        .env("COUNTERSIGN_TOKEN", &world.reader)
        .output()
        .expect("started");
    let told: serde_json::Value = serde_json::from_slice(&exited(one, 0).stdout).expect("JSON");
    assert_eq!(told["steps"].as_array().expect("a list").len(), 1, "{told}");
    exited(
        world
            .program(&["registry", "list", "a[", "--url", &world.wire.url])
            .output()
            .expect("started"),
        2,
    );
}

#[test]
fn policy_show_and_explain_name_the_path_and_each_override_that_matches_with_its_line() {
    let dir = tempfile::tempdir().expect("a directory");
    let policy = "version: 1\noverrides:\n  - runbook: 'web/**'\n    mode: execute\n  - runbook: 'deploy/**'\n    mode: execute\n  \
                  - {runbook: '**/shop', mode: prompted}\n";
    fs::write(dir.path().join("p.yaml"), policy).expect("written");
    fs::create_dir(dir.path().join("deploy")).expect("made");
    fs::write(
        dir.path().join("deploy/shop.md"),
        "---\ncountersign: 1\n---\n```bash {#x}\ngit log\n```\n",
    )
    .expect("written");
    let call = |words: &[&str]| {
        let mut command = std::process::Command::new(PROGRAM);
        said(
            &command
                .args(words)
                .args(["--policy", "p.yaml"])
                .current_dir(dir.path())
                .output()
                .expect("started"),
        )
    };
    let explain = call(&["policy", "explain", "deploy/shop.md", "--root", "."]);
    let wanted = [
        "path: deploy/shop, matched by 2 of 3 overrides",
        "override: line 5, overrides[1] (deploy/**)",
        "override: line 7, overrides[2] (**/shop)",
    ];
    for line in wanted {
        assert!(
            explain.lines().any(|said| said == line),
            "{line}\n{explain}"
        );
    }
    let show = call(&["policy", "show", "deploy/shop:x"]);
    for line in wanted {
        let (name, value) = line.split_once(": ").expect("a name and a value");
        assert!(
            show.lines()
                .any(|said| said.starts_with(&format!("  {name} ")) && said.ends_with(value)),
            "{line}\n{show}"
        );
    }
    assert!(call(&["policy", "show", "other:x"]).contains("other, matched by 0 of 3 overrides"));
}
