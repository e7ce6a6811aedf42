//! `registry check`, `doctor`, `serve` and `seal` refuse the same files for the same reasons, and name all reasons at once.

use std::path::Path;

use serde_json::Value;

use crate::commands::operator::{Service, boundary, edit, must, run};
use crate::support::{exited, said};

/// A runbook with an error.
const BROKEN: &str = "---\ncountersign: 1\n---\n```bash {#a colour=red}\n:\n```\n";

/// Runbooks with the words of each reason for which a boundary refuses them.
fn refused() -> Vec<(&'static str, String, Vec<&'static str>)> {
    let page = |front: &str, block: &str, script: &str| {
        format!("---\ncountersign: 1\n{front}---\n```bash {{#a {block}}}\n{script}\n```\n")
    };
    let many: String = (0..65).map(|number| format!("tool{number}\n")).collect();
    vec![
        (
            "access.md",
            page(
                "",
                "read=/srv/conf,/srv/more network=a.example:443,b.example:443 sockets=/run/x.sock run-as=web",
                "true",
            ),
            vec![
                "read=/srv/conf,/srv/more",
                "read: [\"/srv/conf\", \"/srv/more\"]",
                "network: {allow: [\"a.example:443\", \"b.example:443\"]}",
                "sockets=/run/x.sock",
                "run-as=web",
                "no policy override for the path access allows that",
                "`- {runbook: \"access\", sandbox: {run_as: web}}`",
            ],
        ),
        (
            "net.md",
            page("", "network=host timeout=20h", "true"),
            vec!["network=host", "wall_ms"],
        ),
        (
            "live.md",
            page("", "write=/srv/data workdir=in-place", "true"),
            vec!["write=/srv/data", "workdir=in-place"],
        ),
        (
            "group.md",
            page("approvals: {from: [nogroup, nobody]}\n", "", "true"),
            vec!["no group nogroup", "no group nobody"],
        ),
        ("many.md", page("", "", &many), vec!["65 permissions"]),
    ]
}

fn write(home: &Path, files: &[(&'static str, String, Vec<&'static str>)]) {
    for (name, text, _) in files {
        std::fs::write(home.join("runbooks").join(name), text).expect("written");
    }
}

fn assert_names(text: &str, files: &[(&'static str, String, Vec<&'static str>)]) {
    for (name, _, words) in files {
        for words in words {
            assert!(
                text.lines()
                    .any(|line| line.contains(name) && line.contains(words)),
                "{name}: {words}\n{text}"
            );
        }
    }
}

#[test]
fn check_doctor_serve_and_seal_name_every_reason_of_the_files_at_once() {
    let (dir, home) = boundary();
    let files = refused();
    write(&home, &files);
    let policy = ["--policy", "b/boundary/policy.yaml", "--config", "b"];
    let check = |more: &[&str]| {
        run(
            dir.path(),
            &[&["registry", "check", "b/runbooks"], more].concat(),
        )
    };
    let told = said(&exited(check(&policy), 1));
    assert_names(&told, &files);
    let doctor = run(dir.path(), &["doctor", "b"]);
    assert_eq!(doctor.status.code(), Some(1));
    assert_names(&said(&doctor), &files);
    let serve = run(dir.path(), &["serve", "b", "--listen", "127.0.0.1:0"]);
    assert_eq!(serve.status.code(), Some(2));
    assert_names(&said(&serve), &files);
    // An error in one runbook does not hide the refused steps of the others.
    std::fs::write(home.join("runbooks/broken.md"), BROKEN).expect("written");
    for words in [
        &["serve", "b", "--listen", "127.0.0.1:0"][..],
        &[&["registry", "check", "b/runbooks"], &policy[..]].concat()[..],
    ] {
        let text = said(&run(dir.path(), words));
        assert!(text.contains("broken.md:4:"), "{text}");
        assert_names(&text, &files);
    }
    for (name, ..) in files
        .iter()
        .map(|(name, ..)| (*name, ()))
        .chain([("broken.md", ())])
    {
        std::fs::remove_file(home.join("runbooks").join(name)).expect("removed");
    }
    assert!(
        !said(&exited(check(&policy), 0)).contains("error"),
        "sound again"
    );
    // `seal` of a running boundary refuses the same files.
    let service = Service::start(dir.path());
    write(&home, &files);
    let seal = run(dir.path(), &["seal", "--config", "b"]);
    assert_ne!(seal.status.code(), Some(0));
    assert_names(&said(&seal), &files);
    std::fs::write(home.join("runbooks/broken.md"), BROKEN).expect("written");
    let text = said(&run(dir.path(), &["seal", "--config", "b"]));
    assert!(service.stop());
    assert!(text.contains("broken.md:4:"), "{text}");
    assert_names(&text, &files);
}

#[test]
fn check_names_the_errors_of_roster_and_configuration_and_what_it_did_not_check() {
    let (dir, home) = boundary();
    let check = |more: &[&str]| {
        run(
            dir.path(),
            &[
                &[
                    "registry",
                    "check",
                    "b/runbooks",
                    "--policy",
                    "b/boundary/policy.yaml",
                ],
                more,
            ]
            .concat(),
        )
    };
    let page = "---\ncountersign: 1\napprovals: {required: 5, from: [ops]}\n---\n```bash {#a secrets=\"db=env:DB\" timeout=20h}\ntrue\n```\n";
    std::fs::write(home.join("runbooks/page.md"), page).expect("written");
    let told = said(&exited(check(&[]), 0));
    for words in [
        "not checked: groups and people of a roster",
        "limits and secrets of a boundary",
        "boundary's host",
    ] {
        assert!(told.contains(words), "{words}\n{told}");
    }
    assert!(
        told.contains("advice: page:a: the block needs the secret db"),
        "{told}"
    );
    assert!(
        told.contains("\nsound, as far as checked: ")
            && told.contains("programs (also of programs=)"),
        "{told}"
    );
    let told = said(&exited(check(&["--config", "b"]), 1));
    for words in [
        "page.md:5:",
        "wall_ms",
        "nobody can get them approved",
        "error: page:a: countersign.toml does not give the step the secret db",
    ] {
        assert!(told.contains(words), "{words}\n{told}");
    }
    assert!(
        !told.contains("groups and people")
            && !told.contains("advice: page:a: the block needs the secret db"),
        "{told}"
    );
    let json: Value =
        serde_json::from_slice(&check(&["--config", "b", "--json"]).stdout).expect("JSON");
    assert_eq!(
        (&json["sound"], json["not_checked"].as_array().map(Vec::len)),
        (&Value::from(false), Some(1)),
        "{json:#}"
    );
    // `doctor` says the same.
    let doctor = said(&run(dir.path(), &["doctor", "b"]));
    for words in [
        "wall_ms",
        "nobody can get them approved",
        "page:a: countersign.toml does not give",
    ] {
        assert!(doctor.contains(words), "{words}\n{doctor}");
    }
    let draft = home.join("boundary/roster.d/next.json");
    edit(&draft, "\"test\": {", "\"other\": {");
    assert!(
        said(&exited(check(&["--config", "b"]), 1)).contains("the roster has no boundary test")
    );
    let mut empty: Value =
        serde_json::from_slice(&std::fs::read(&draft).expect("a draft")).expect("JSON");
    for table in ["approvers", "groups"] {
        empty[table] = serde_json::json!({});
    }
    empty["threshold"] = Value::from(0);
    let write = |roster: &Value| {
        std::fs::write(dir.path().join("empty.json"), roster.to_string()).expect("written");
    };
    write(&empty);
    let told = said(&exited(check(&["--roster", "empty.json"]), 1));
    assert!(
        told.contains("the roster has no approver") && told.contains("no group ops"),
        "{told}"
    );
    empty["version"] = Value::from(0);
    write(&empty);
    exited(check(&["--roster", "empty.json"]), 2);
    must(dir.path(), &["registry", "check", "b/runbooks/service.md"]);
}

#[test]
fn doctor_shows_what_is_right_beside_the_errors_of_other_files() {
    let (dir, home) = boundary();
    let roster = home.join("boundary/roster.d/next.json");
    let draft = std::fs::read_to_string(&roster).expect("a draft");
    for text in [
        draft.replace("\"threshold\": 2", "\"threshold\": 9"),
        "{\"name\": ".to_owned(),
    ] {
        std::fs::write(&roster, text).expect("written");
        let doctor = said(&exited(run(dir.path(), &["doctor", "b"]), 1));
        for line in [
            "FIX   files ",
            "ok    runbooks ",
            "ok    policy ",
            "ok    disk ",
        ] {
            assert!(
                doctor.lines().any(|one| one.starts_with(line)),
                "{line}: {doctor}"
            );
        }
    }
    std::fs::write(home.join("boundary/policy.yaml"), "version: x\n").expect("written");
    let doctor = said(&exited(run(dir.path(), &["doctor", "b"]), 1));
    assert!(
        doctor.contains("next.json:")
            && doctor.contains("policy.yaml:")
            && !doctor.contains("ok    policy"),
        "{doctor}"
    );
}

#[test]
fn a_pattern_that_can_match_nothing_stops_doctor_serve_and_explain_with_its_place() {
    let (dir, home) = boundary();
    let policy = home.join("boundary/policy.yaml");
    let text = std::fs::read_to_string(&policy).expect("a policy");
    let line = text.lines().count() + 2;
    let rules = "overrides:\n  - runbook: \"service:restart\"\n    run: {deny: [\"git push\"], allow: [\"--force\"]}\n    env: {deny: [\"AWS-*\"]}\n\
                 grants:\n  - {type: run, pattern: \"curl -f\", scope: permanent}\n";
    std::fs::write(&policy, text + rules).expect("written");
    let places = [
        (line, "a runbook, not a step: write service"),
        (line + 1, "to deny every call of the program, write git"),
        (line + 1, "not an option"),
        (line + 2, "matches no variable"),
        (line + 4, "to allow every call of the program, write curl"),
    ];
    let explain = [
        "policy",
        "explain",
        "b/runbooks/service.md",
        "--policy",
        "b/boundary/policy.yaml",
    ];
    for words in [
        &["doctor", "b"][..],
        &["serve", "b", "--listen", "127.0.0.1:0"],
        &explain,
    ] {
        let told = run(dir.path(), words);
        assert!(
            [Some(1), Some(2)].contains(&told.status.code()),
            "{}",
            said(&told)
        );
        for (line, advice) in places {
            let place = format!("policy.yaml:{line}:");
            assert!(
                said(&told)
                    .lines()
                    .any(|one| one.contains(&place) && one.contains(advice)),
                "{advice}: {}",
                said(&told)
            );
        }
    }
}

#[test]
fn with_root_run_explain_and_check_compare_the_path_of_the_boundary() {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::create_dir_all(dir.path().join("books/db")).expect("made");
    std::fs::create_dir(dir.path().join(".git")).expect("made");
    let data = dir
        .path()
        .canonicalize()
        .expect("a path")
        .join("data")
        .display()
        .to_string();
    std::fs::create_dir(&data).expect("made");
    let page = format!("---\ncountersign: 1\n---\n```bash {{#x read={data}}}\nprintf ran\n```\n");
    std::fs::write(dir.path().join("books/db/main.md"), page).expect("written");
    let policy = format!(
        "version: 1\ndefault: {{approvals: {{from: [ops]}}}}\noverrides:\n  - runbook: \"db/**\"\n    sandbox: {{read: [{data}]}}\n"
    );
    std::fs::write(dir.path().join("p.yaml"), policy).expect("written");
    let call = |words: &[&str]| run(dir.path(), &[words, &["--policy", "p.yaml"]].concat());
    let start = ["run", "books/db/main.md:x", "-y", "--sandbox"];
    let refused = said(&exited(call(&start), 126));
    assert!(
        refused.contains("compared its overrides with the path books/db/main")
            && refused.contains("--root DIR"),
        "{refused}"
    );
    assert!(
        said(&exited(
            call(&[&start[..], &["--root", "books"]].concat()),
            0
        ))
        .contains("ran")
    );
    let explain = ["policy", "explain", "books/db/main.md"];
    assert!(
        said(&call(&explain)).contains("path: books/db/main, matched by 0 of 1 overrides"),
        "{}",
        said(&call(&explain))
    );
    let rooted = call(&[&explain[..], &["--root", "books"]].concat());
    assert!(
        said(&rooted).contains("path: db/main, matched by 1 of 1 overrides"),
        "{}",
        said(&rooted)
    );
    let json = call(&[&explain[..], &["--root", "books", "--json"]].concat());
    assert_eq!(
        serde_json::from_slice::<Value>(&json.stdout).expect("JSON")["path"],
        "db/main"
    );
    for path in ["books/db", "books/db/main.md"] {
        let check = ["registry", "check", path];
        assert!(
            said(&exited(call(&check), 1))
                .contains("no policy override for the path main allows that")
        );
        let rooted = call(&[&check[..], &["--root", "books"]].concat());
        assert!(said(&exited(rooted, 0)).contains(": 1 step"));
    }
    for words in [&start[..], &explain, &["registry", "check", "books/db"]] {
        let outside = call(&[words, &["--root", ".git"]].concat());
        assert!(
            said(&outside).contains("not below") && outside.status.code() != Some(0),
            "{}",
            said(&outside)
        );
        assert!(
            !call(&[words, &["--root", "nowhere"]].concat())
                .status
                .success()
        );
    }
}

#[test]
fn check_and_doctor_name_denied_steps_and_rules_of_policy_that_too_few_people_can_meet() {
    let (dir, home) = boundary();
    std::fs::write(
        home.join("runbooks/page.md"),
        "---\ncountersign: 1\n---\n```bash {#a}\nmake all\n```\n",
    )
    .expect("written");
    let policy = |people: u64| {
        let text = format!(
            "version: 1\nextends: none\ndefault:\n  mode: execute\n  run: {{deny: [make]}}\n  approvals: {{required: 1, from: [ops]}}\n  \
             standing: {{max_uses: 5, max_days: 1}}\n  emergency: {{required: 1, \
             from: [ops], max_unreviewed: 2, max_window_s: 600, review: {{required: {people}, from: [ops]}}}}\n\
             settle: {{required: {people}, from: [ops]}}\n"
        );
        std::fs::write(home.join("boundary/policy.yaml"), text).expect("written");
    };
    policy(9);
    // The configuration names the policy.
    let check = said(&exited(
        run(
            dir.path(),
            &["registry", "check", "b/runbooks", "--config", "b"],
        ),
        1,
    ));
    let doctor = said(&exited(run(dir.path(), &["doctor", "b"]), 1));
    for words in ["`emergency.review`", "`settle`"] {
        let words = format!("nobody can meet {words} of the policy for escape:try");
        let is_named = |text: &str| {
            text.lines().any(|line| {
                line.contains(&words)
                    && line.contains(": 9 approvals of ops are needed, but at most ")
            })
        };
        assert!(
            is_named(&check) && is_named(&doctor),
            "{words}\n{check}\n{doctor}"
        );
    }
    assert!(check.contains("page:a (bash): DENIED"), "{check}");
    let denied = "proposals of page:a are refused: policy denies what this step does";
    assert!(
        doctor.contains(denied) && !doctor.contains("Nothing to fix"),
        "{doctor}"
    );
    policy(1);
    let doctor = said(&exited(run(dir.path(), &["doctor", "b"]), 1));
    assert!(
        doctor.contains(denied) && !doctor.contains("approvals of ops"),
        "{doctor}"
    );
    std::fs::remove_file(home.join("runbooks/page.md")).expect("removed");
    exited(
        run(
            dir.path(),
            &["registry", "check", "b/runbooks", "--config", "b"],
        ),
        0,
    );
    assert!(said(&exited(run(dir.path(), &["doctor", "b"]), 0)).contains("Nothing to fix."));
}
