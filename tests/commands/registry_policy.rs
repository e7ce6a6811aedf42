//! `registry check` with a policy: what policy asks or refuses, advice for authors, and the draft of a policy.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::support::{PROGRAM, exited, said, said_at_exit};

const PAGE: &str = "# Deploy\n\n<Inputs id=\"in\">\n```yaml\nvariables:\n  - name: Host\n    type: string\n```\n</Inputs>\n\n\
    <Command id=\"fetch\" command=\"curl -sf https://a.example/x | jq .\" />\n\n\
    <Command id=\"copy\" inputsId=\"in\" command=\"dig {{ .inputs.Host }} > /var/log/names\" />\n\n\
    <Check id=\"told\" colour=\"red\" command={'test -n \"$API_TOKEN\"'} />\n\n\
    <Command id=\"odd\" command=\"$RUNNER --all\" />\n\n\
    <Command id=\"names\" command=\"cat x | tr '{{`{{.Names}}`}}' y\" />\n";
const BROKEN: &str = "<Command id=\"a\" command=\"true\" />\n\n<Command command=\"true\" />\n";
const INPUTS: &str = "<Inputs id=\"in\">\n```yaml\nvariables:\n  - name: N\n    type: odd\n```\n</Inputs>\n\n\
    <Command id=\"x\" inputsId=\"in\" command=\"true\" />\n\n<Command id=\"y\" inputsId=\"in\" command=\"true\" />\n\n\
    <Command id=\"z\" command=\"true\" />\n";
const SIGN_IN: &str = "<AwsAuth id=\"aws\" />\n\n<Command id=\"who\" awsAuthId=\"aws\" command=\"aws sts get-caller-identity\" />\n";
const RUNDOWN: &str = "# Release\n\n## 1. Build\n\n```bash\nmake all\n```\n";
const FENCES: &str = "# Notes\n\n```runnable python\nprint(1)\n```\n\n```runnable bash {#check}\n# see <pid>/cmdline\ngit status\n```\n\n\
    ```runnable golang {#tool}\npackage main\n```\n";
const OWN: &str = "---\ncountersign: 1\n---\n```bash {#a}\nxz --version\n```\n";

fn folder() -> tempfile::TempDir {
    let home = tempfile::tempdir().expect("a directory");
    fs::create_dir_all(home.path().join("books/deploy")).expect("directories");
    for (name, text) in [
        ("deploy/web.mdx", PAGE),
        ("broken.mdx", BROKEN),
        ("signed-in.mdx", SIGN_IN),
        ("release.runbook.md", RUNDOWN),
        ("fences.md", FENCES),
        ("inputs.mdx", INPUTS),
        ("own.md", OWN),
        ("README.md", "# Prose\n"),
    ] {
        fs::write(home.path().join("books").join(name), text).expect("a file");
    }
    home
}

fn run(home: &Path, words: &[&str]) -> Output {
    Command::new(PROGRAM)
        .args(words)
        .current_dir(home)
        .env("HOME", home)
        .output()
        .expect("runs")
}

#[test]
fn the_advice_about_each_block_is_reported_and_the_draft_names_its_programs() {
    let home = folder();
    let words = [
        "registry",
        "check",
        "books",
        "--write-policy",
        "draft.yaml",
        "--json",
    ];
    let output = run(home.path(), &words);
    assert_eq!(
        output.status.code(),
        Some(1),
        "two runbooks have errors: {}",
        said(&output)
    );
    let told: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let advice = |step: &str| {
        let lines = told["advice"]
            .as_array()
            .expect("lines")
            .iter()
            .filter_map(Value::as_str);
        lines
            .filter_map(|line| line.strip_prefix(&format!("{step}: ")))
            .collect::<Vec<_>>()
            .join("\n")
    };
    for (step, words) in [
        (
            "deploy/web:fetch",
            "curl can need the network, which the block does not declare",
        ),
        ("deploy/web:copy", "dig can need the network"),
        (
            "deploy/web:odd",
            "the programs at deploy/web.mdx:17:19 are known only when the script runs",
        ),
        ("fences:1", "policy can't read a script of python"),
        ("fences:check", "git can need the network"),
        ("fences:tool", "go builds a program in the work directory"),
        (
            "signed-in:who",
            "the block needs the secret aws.AWS_ACCESS_KEY_ID",
        ),
    ] {
        assert!(advice(step).starts_with(words), "{step}: {}", advice(step));
    }
    for step in [
        "deploy/web:names",
        "deploy/web:told",
        "release:1",
        "broken:a",
        "inputs:z",
        "own:a",
    ] {
        assert_eq!(advice(step), "", "{step}");
    }
    let errors = told["errors"].as_array().expect("errors");
    let broken = errors
        .iter()
        .find(|line| line["file"] == "broken.mdx")
        .expect("a line");
    assert!(
        broken["line"] == 3 && broken["message"].to_string().contains("add id="),
        "{broken}"
    );
    assert!(
        errors.iter().any(|line| line["file"] == "inputs.mdx"),
        "{errors:?}"
    );
    assert_eq!(
        (&told["sound"], &told["steps"], &told["scripts"]),
        (&json!(false), &json!(11), &json!([])),
        "{told:#}"
    );

    let draft = fs::read_to_string(home.path().join("draft.yaml")).expect("a file");
    for words in [
        "network: copy, fetch can need it. Write network=\"a.example:443\" into the tag",
        "      programs: {mode: listed}\n      # network: {allow: [\"a.example:443\"]}\n      # write: [\"/var/log\"]\n      # workdir: in-place\n",
        "secrets: the blocks name API_TOKEN",
        "\"/var/log/names\"",
        "network: who can need it. Write network=\"HOST:PORT\" into the tag",
        "network: check can need it. Write network=HOST:PORT into the braces of the block",
        "AWS_SECRET_ACCESS_KEY",
    ] {
        assert!(draft.contains(words), "{words}\n{draft}");
    }
    assert!(
        !draft.contains("broken") && !draft.contains("/cmdline"),
        "{draft}"
    );
    let remarks = told["remarks"].as_array().expect("remarks");
    let of_page = remarks
        .iter()
        .filter(|line| line["file"] == "deploy/web.mdx")
        .count();
    assert_eq!(
        of_page, 1,
        "one remark for each kind and page: {remarks:#?}"
    );
    let again = run(home.path(), &words);
    assert_eq!(
        again.status.code(),
        Some(2),
        "an existing file is not replaced: {}",
        said(&again)
    );
}

#[test]
fn the_draft_of_a_policy_is_accepted_and_allows_programs_only_after_a_person_decided() {
    let home = folder();
    let report = run(
        home.path(),
        &["registry", "check", "books", "--write-policy", "draft.yaml"],
    );
    let lines = String::from_utf8_lossy(&report.stdout).into_owned();
    assert!(
        lines.contains("error: broken.mdx:3:1: <Command> has no id"),
        "{lines}"
    );
    let draft = fs::read_to_string(home.path().join("draft.yaml")).expect("a file");
    for (runbook, wanted) in [
        ("deploy/web", &["curl", "dig", "jq"][..]),
        ("release", &["make"]),
        ("fences", &["git"]),
        ("signed-in", &["aws"]),
        ("own", &["xz"]),
    ] {
        for (policy, allows) in [
            (draft.clone(), false),
            (draft.replace("# run:", "run:"), true),
        ] {
            fs::write(home.path().join("draft.yaml"), policy).expect("written");
            let output = exited(
                run(
                    home.path(),
                    &["policy", "show", "--policy", "draft.yaml", runbook],
                ),
                0,
            );
            let shown = String::from_utf8_lossy(&output.stdout).into_owned();
            let rule = |name: &str| {
                let words = |line: &str| {
                    line.split_whitespace()
                        .map(str::to_owned)
                        .collect::<Vec<_>>()
                };
                let starts = ["run", "allow", name];
                shown.lines().any(|line| {
                    words(line).get(..3).is_some_and(|found| found == starts)
                        && line.contains("overrides")
                })
            };
            assert!(
                wanted.iter().all(|name| rule(name) == allows),
                "{runbook}, {allows}: {shown}"
            );
        }
    }
}

#[test]
fn a_check_with_a_policy_fails_only_if_policy_refuses_a_step() {
    let home = folder();
    fs::remove_file(home.path().join("books/broken.mdx")).expect("removed");
    fs::remove_file(home.path().join("books/inputs.mdx")).expect("removed");
    let policy = |text: &str| fs::write(home.path().join("p.yaml"), text).expect("written");
    let check = |path: &str| {
        let output = run(
            home.path(),
            &["registry", "check", path, "--policy", "p.yaml"],
        );
        (output.status.code(), said(&output))
    };
    policy("version: 1\ndefault: {approvals: {from: [ops]}}\n");
    let (code, said) = check("books");
    assert!(
        code == Some(0) && said.contains("deploy/web:fetch (bash): would ask\nPLACE "),
        "{said}"
    );
    assert!(
        said.contains("\ndeploy/web.mdx:11:21  run curl  ") && !said.contains("release:1 (bash)"),
        "{said}"
    );
    policy(
        "version: 1\ndefault: {approvals: {from: [ops]}}\noverrides: [{runbook: release, run: {deny: [make]}}]\n",
    );
    for (path, code) in [
        ("books", 1),
        ("books/release.runbook.md", 1),
        ("books/fences.md", 0),
    ] {
        let (found, said) = check(path);
        assert_eq!(found, Some(code), "{path}: {said}");
        assert_eq!(
            said.contains("release:1 (bash): DENIED"),
            code == 1,
            "{said}"
        );
    }
    let json = run(
        home.path(),
        &["registry", "check", "books", "--policy", "p.yaml", "--json"],
    );
    let told: Value = serde_json::from_slice(&json.stdout).expect("JSON");
    let release = told["scripts"]
        .as_array()
        .expect("steps")
        .iter()
        .find(|one| one["name"] == "release:1");
    assert_eq!(release.expect("a step")["verdict"], "deny", "{told:#}");
    policy("version: 1\ndefault: {run: {denny: [x]}}\n");
    assert_eq!(check("books").0, Some(2), "a wrong policy");
    let help = run(
        home.path(),
        &["registry", "check", "books", "--policy", "p.yaml", "--help"],
    );
    assert_eq!(
        help.status.code(),
        Some(2),
        "help is no yes: {}",
        crate::support::said(&help)
    );
}

#[test]
fn a_folder_that_does_not_exist_or_has_no_runbook_is_reported() {
    let home = tempfile::tempdir().expect("a directory");
    exited(run(home.path(), &["registry", "check", "nowhere"]), 1);
    assert_eq!(
        run(home.path(), &["registry", "check"]).status.code(),
        Some(2)
    );
    said_at_exit(
        run(
            home.path(),
            &["registry", "check", ".", "--write-policy", "draft.yaml"],
        ),
        0,
        "sound: 0 steps",
    );
    let draft = fs::read_to_string(home.path().join("draft.yaml")).expect("a file");
    assert!(draft.ends_with("version: 1\noverrides: []\n"), "{draft}");
}
