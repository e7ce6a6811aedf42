//! `countersign policy` through the real binary, and the speed of its decisions.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::support::{assert_says, said};

const BINARY: &str = env!("CARGO_BIN_EXE_countersign");

fn run(dir: &Path, args: &[&str]) -> Output {
    Command::new(BINARY)
        .arg("policy")
        .args(args)
        .current_dir(dir)
        .stdin(Stdio::null())
        .output()
        .expect("started")
}

/// Returns the exit code and the whole output of the command.
fn answer(dir: &Path, args: &[&str]) -> (i32, String) {
    let output = run(dir, args);
    (output.status.code().expect("a code"), said(&output))
}

fn json(dir: &Path, args: &[&str]) -> Value {
    serde_json::from_slice(&run(dir, args).stdout).expect("JSON")
}

/// Creates a repository with these files.
fn repository(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::create_dir(dir.path().join(".git")).expect("made");
    for (name, content) in files {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        std::fs::write(path, content).expect("written");
    }
    dir
}

const RUNBOOK: &str = "---\ncountersign: 1\n---\n```bash {#look}\ngit status\n```\n\n```bash {#restart}\nsystemctl restart x\n```\n\n```python {#py}\nprint(1)\n```\n";

/// Returns the verdict of `policy explain` about a script.
fn verdict(dir: &Path, args: &[&str]) -> String {
    json(dir, &[&["explain", "--json"], args].concat())["verdict"]
        .as_str()
        .expect("a verdict")
        .to_owned()
}

#[test]
fn policy_explain_says_if_the_script_would_run() {
    let dir = repository(&[
        ("good.sh", "git status && npm test\n"),
        ("ask.sh", "git log | grep fix\n"),
        ("bad.sh", "git status\nif true; then rm x; fi\n"),
        ("broken.sh", "git log 'unterminated\n"),
        ("dynamic.sh", "$CMD x\n"),
        ("service.md", RUNBOOK),
        (
            ".rundownrc.yaml",
            "version: 1\ndefault: {run: {allow: [\"true\"]}}\n",
        ),
    ]);
    let explain = |args: &[&str]| answer(dir.path(), &[&["explain"], args].concat());
    let (code, said) = explain(&["good.sh"]);
    assert_eq!(code, 0, "{said}");
    assert!(
        said.contains("good.sh (bash): allowed") && said.contains(".rundownrc.yaml"),
        "{said}"
    );
    let (_, said) = explain(&["ask.sh"]);
    assert!(
        said.contains("would ask") && said.contains("run grep") && said.contains("ask.sh:1:11"),
        "{said}"
    );
    let (_, said) = explain(&["bad.sh"]);
    assert!(
        said.contains("DENIED")
            && said.contains("2:15")
            && said.contains("run.deny \"rm\", built in"),
        "{said}"
    );
    let (_, said) = explain(&["broken.sh"]);
    assert!(said.contains("DENIED") && said.contains("1:"), "{said}");
    let (_, said) = explain(&["service.md"]);
    for line in [
        "service:look (bash): allowed",
        "service:restart (bash): would ask",
        "service:py (python): allowed",
    ] {
        assert!(said.contains(line), "{said}");
    }
    // At a boundary, approvers answer a question. A built-in deny rule only asks there, but a written deny rule is final.
    for (file, terminal, boundary) in [
        ("good.sh", "allow", "allow"),
        ("ask.sh", "ask", "ask"),
        ("bad.sh", "deny", "ask"),
        ("dynamic.sh", "ask", "ask"),
        ("service.md", "ask", "ask"),
        ("broken.sh", "deny", "deny"),
    ] {
        assert_eq!(verdict(dir.path(), &[file]), terminal, "{file}");
        assert_eq!(
            verdict(dir.path(), &["--boundary", file]),
            boundary,
            "{file}"
        );
    }
    std::fs::write(
        dir.path().join("strict.yaml"),
        "version: 1\ndefault: {run: {deny: [rm]}}\n",
    )
    .expect("written");
    assert_eq!(
        verdict(
            dir.path(),
            &["--boundary", "--policy", "strict.yaml", "bad.sh"]
        ),
        "deny"
    );
    assert_eq!(explain(&["nothing.sh"]).0, 2);
}

#[test]
fn policy_explain_of_a_policy_file_and_each_replaced_command_say_what_to_do() {
    let dir = repository(&[("countersign.policy.yaml", "version: 1\n")]);
    let (code, said) = answer(dir.path(), &["explain", "countersign.policy.yaml"]);
    assert!(
        code == 2 && said.contains("countersign policy show --policy countersign.policy.yaml"),
        "{said}"
    );
    let (code, said) = answer(dir.path(), &["check", "deploy.sh", "--boundary"]);
    assert!(
        code == 2 && said.contains("`countersign registry check FILE --policy POLICY`"),
        "{said}"
    );
    assert!(
        said.contains("`countersign policy explain SCRIPT`"),
        "{said}"
    );
    for (words, now) in [
        (
            &["import", "books"][..],
            "`countersign registry check DIR --write-policy FILE`",
        ),
        (&["check", "--dir", "."], "`countersign registry check DIR`"),
        (&["check", "x.sh"], "`countersign policy explain x.sh`"),
    ] {
        std::fs::write(dir.path().join("x.sh"), "git status\n").expect("written");
        let output = Command::new(BINARY)
            .arg("registry")
            .args(words)
            .current_dir(dir.path())
            .output()
            .expect("started");
        assert!(
            output.status.code() == Some(2) && crate::support::said(&output).contains(now),
            "{}",
            crate::support::said(&output)
        );
    }
}

#[test]
fn an_invalid_policy_is_refused_without_a_fallback() {
    let dir = repository(&[("good.sh", "git status\n")]);
    let explain = || answer(dir.path(), &["explain", "good.sh"]);
    assert_eq!(explain().0, 0);
    for (content, word) in [
        (
            "version: 1\ndefault: {run: {denny: [rm]}}\n",
            "did you mean \"deny\"?",
        ),
        ("version: 1\nversion: 1\n", "is already at"),
        ("a: &a [x]\nb: [*a, *a]\n", "anchors"),
        ("", "must be a map"),
        ("{", "not readable"),
        (
            "version: 1\ngrants: [{type: run, pattern: x, scope: session}]\n",
            "in memory",
        ),
    ] {
        std::fs::write(dir.path().join(".rundownrc"), content).expect("written");
        let (code, said) = explain();
        assert!(
            code == 2 && said.contains(word) && said.contains(".rundownrc"),
            "{content:?}: {code}: {said}"
        );
    }
}

#[test]
fn the_policy_is_the_nearest_file_in_the_parent_directories() {
    let deny = |name: &str| {
        format!("{{\"version\": 1, \"default\": {{\"run\": {{\"deny\": [\"{name}\"]}}}}}}\n")
    };
    let dir = repository(&[
        ("a/b/x.sh", "git status && npm test\n"),
        (".rundownrc.yml", &deny("npm")),
    ]);
    let said = || answer(&dir.path().join("a/b"), &["explain", "x.sh"]).1;
    let write = |name: &str, content: &str| {
        std::fs::write(dir.path().join(name), content).expect("written")
    };
    assert!(said().contains("run.deny \"npm\""), "{}", said());
    // The nearest directory has precedence, and one directory has a fixed order of names.
    let mut last = "git";
    for name in [
        ".rundownrc.yaml",
        ".rundownrc.json",
        ".rundownrc",
        "countersign.policy.yaml",
    ] {
        last = if last == "git" { "npm" } else { "git" };
        write(&format!("a/{name}"), &deny(last));
        assert!(
            said().contains(&format!("run.deny \"{last}\"")) && said().contains(name),
            "{name}: {}",
            said()
        );
    }
    // A package.json counts only if the file has a policy key.
    write(
        "a/b/package.json",
        "{\n\t\"name\": \"x\",\n\t\"version\": \"1.0.0\"\n}\n",
    );
    assert!(said().contains("countersign.policy.yaml"), "{}", said());
    write(
        "a/b/package.json",
        "{\n\t\"name\": \"x\",\n\t\"rundown\": {\"version\": 1, \"default\": {\"run\": {\"deny\": [\"git\"]}}}\n}\n",
    );
    assert!(
        said().contains("package.json") && said().contains("run.deny \"git\""),
        "{}",
        said()
    );
    write(
        "a/b/package.json",
        "{\n\t\"rundown\": {\"version\": 1, \"run\": 2}\n}\n",
    );
    assert!(
        said().contains("package.json:2:28: unknown key"),
        "{}",
        said()
    );
    // The program never executes a policy file that is code.
    for name in [
        "rundown.config.js",
        "rundown.config.cjs",
        "rundown.config.mjs",
    ] {
        write(&format!("a/b/{name}"), "export default {}\n");
        let (code, said) = answer(&dir.path().join("a/b"), &["explain", "x.sh"]);
        assert!(
            code == 2 && said.contains("the file is code") && said.contains(name),
            "{said}"
        );
        std::fs::remove_file(dir.path().join(format!("a/b/{name}"))).expect("removed");
    }
}

#[test]
fn a_policy_file_that_others_can_write_is_not_discovered() {
    let dir = repository(&[("x.sh", "git status\n"), (".rundownrc", "version: 1\n")]);
    let file = dir.path().join(".rundownrc");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o666)).expect("set");
    let (code, said) = answer(dir.path(), &["explain", "x.sh"]);
    assert!(
        code == 2 && said.contains("every user can write the file"),
        "{said}"
    );
    assert_eq!(
        answer(dir.path(), &["explain", "--policy", ".rundownrc", "x.sh"]).0,
        0,
        "named, it is the caller's"
    );
    std::fs::remove_file(&file).expect("removed");
    std::os::unix::fs::symlink("nowhere", &file).expect("a link");
    assert_eq!(
        answer(dir.path(), &["explain", "x.sh"]).0,
        2,
        "a link that leads nowhere is no missing file"
    );
    std::fs::remove_file(&file).expect("removed");
    std::fs::create_dir(&file).expect("made");
    let (code, said) = answer(dir.path(), &["explain", "x.sh"]);
    assert!(code == 2 && said.contains("not a regular file"), "{said}");
}

#[test]
fn policy_explain_names_the_place_and_wrapper_and_rule_of_every_command() {
    let dir = repository(&[(
        "x.sh",
        "git ls-files | env xargs rm\nPATH=/x:$PATH make \"$(docker ps)\"\n",
    )]);
    let (code, said) = answer(dir.path(), &["explain", "x.sh"]);
    assert_eq!(code, 0);
    let line = |what: &str| {
        said.lines()
            .find(|line| line.contains(what))
            .unwrap_or_else(|| panic!("{what}: {said}"))
    };
    let rm = line("run rm ");
    assert!(
        rm.starts_with("x.sh:1:")
            && rm.contains("env > xargs")
            && rm.contains("DENIED")
            && rm.ends_with("run.deny \"rm\", built in"),
        "{rm}"
    );
    assert!(
        line("run git").contains("allowed") && line("run docker").contains("DENIED"),
        "{said}"
    );
    assert!(line("set PATH").contains("asked"), "{said}");
    assert!(
        said.contains("Policy can't read what an interpreter runs. The sandbox restricts it."),
        "{said}"
    );
    let columns: Vec<usize> = said
        .lines()
        .filter(|line| line.contains("run."))
        .filter_map(|line| line.find("run."))
        .collect();
    assert!(
        columns.len() > 2 && columns.windows(2).all(|pair| pair[0] == pair[1]),
        "not aligned: {said}"
    );
    let value = json(dir.path(), &["explain", "x.sh", "--json"]);
    let commands = value["scripts"][0]["commands"]
        .as_array()
        .expect("commands");
    let rm = commands.iter().find(|one| one["what"] == "rm").expect("rm");
    assert_eq!(
        (&rm["verdict"], &rm["line"]),
        (&Value::from("deny"), &Value::from(1))
    );
    assert_eq!(rm["via"], serde_json::json!(["env", "xargs"]));
}

#[test]
fn the_text_of_a_script_cannot_send_control_characters_to_the_terminal() {
    let dir = repository(&[(
        "x.sh",
        "'\u{1b}[2Jgit\u{202e}' x\n'a\nDENIED b' y\n$X\u{1b}]0;t\u{7}\n",
    )]);
    let (_, said) = answer(dir.path(), &["explain", "x.sh"]);
    assert!(!said.contains(['\u{1b}', '\u{202e}', '\u{7}']), "{said:?}");
    assert!(
        said.lines().all(|line| !line.starts_with("DENIED")),
        "{said}"
    );
}

#[test]
fn policy_show_prints_the_source_of_each_rule() {
    let policy = "version: 1\ndefault: {mode: prompted, run: {deny: [jq]}, approvals: {required: 2, from: [ops]}}\noverrides: [{runbook: \"deploy/**\", mode: execute, run: {allow: [kubectl]}}]\ngrants: [{type: run, pattern: curl, scope: permanent}]\n";
    let dir = repository(&[("countersign.policy.yaml", policy)]);
    let (code, said) = answer(dir.path(), &["show", "./deploy/../deploy/x.md:restart"]);
    assert_eq!(code, 0, "{said}");
    let line = |what: &str| {
        said.lines()
            .find(|line| line.contains(what))
            .unwrap_or_else(|| panic!("{what}: {said}"))
    };
    assert!(
        line("mode").contains("execute, overrides[0] (deploy/**)"),
        "{said}"
    );
    assert!(
        line(" jq ").ends_with("default") && line(" kubectl ").contains("allow"),
        "{said}"
    );
    assert!(line(" curl ").ends_with("grants[0]"), "{said}");
    assert!(
        line(" sudo ").ends_with("built in") && said.contains("  /usr\n"),
        "{said}"
    );
    let plain = json(dir.path(), &["show", "--json"]);
    assert_eq!(plain["mode"]["value"], "prompted");
    assert!(
        plain["rules"]
            .as_array()
            .expect("rules")
            .iter()
            .any(|rule| rule["pattern"] == "{repo}/**")
    );
    assert!(
        plain["always_readable"]
            .as_array()
            .is_some_and(|paths| !paths.is_empty())
    );
}

#[test]
fn policy_show_warns_of_interpreters_and_of_patterns_that_match_everything() {
    let policy = "version: 1\ndefault: {run: {allow: [\"*\", bash, python3.11, git]}}\n";
    let dir = repository(&[("countersign.policy.yaml", policy)]);
    let shown = answer(dir.path(), &["show"]).1;
    let said: String = shown
        .lines()
        .filter(|line| line.starts_with("warning: "))
        .collect();
    for word in [
        "\"*\" (default) allows everything",
        "\"bash\" (default)",
        "\"python3.11\"",
    ] {
        assert!(said.contains(word), "{word}: {said}");
    }
    assert!(!said.contains("\"git\""), "{said}");
}

#[test]
fn the_policy_override_is_selected_by_the_path_in_the_repository() {
    let policy = "version: 1\ndefault: {mode: execute}\noverrides: [{runbook: \"community/**\", mode: deny}]\n";
    let dir = repository(&[
        (".rundownrc", policy),
        ("community/.x/a.sh", "jq .\n"),
        ("b.sh", "jq .\n"),
    ]);
    std::os::unix::fs::symlink("community/.x", dir.path().join("mine")).expect("a link");
    let verdict = |directory: &str, file: &str| verdict(&dir.path().join(directory), &[file]);
    assert_eq!(verdict("", "b.sh"), "allow");
    for (directory, file) in [
        ("", "community/.x/a.sh"),
        ("", "./community/../community/.x/a.sh"),
        ("community", ".x/a.sh"),
        ("", "mine/a.sh"),
    ] {
        assert_eq!(verdict(directory, file), "deny", "{directory} {file}");
    }
}

#[test]
fn policy_does_not_allow_a_first_line_that_it_cannot_parse() {
    let lines = [
        "#!/usr/bin/env -S sh -c pwn",
        "#!/tmp/evil/bash",
        "#!bash",
        "#!/bin/bash -c",
        "#!/bin/bash --rcfile=x",
        "#!/bin/bash -el",
        "#!/usr/bin/env PATH=x bash",
        "#! /usr/bin/env ./bash",
    ];
    for line in lines {
        let dir = repository(&[("x.sh", &format!("{line}\ngit status\n"))]);
        assert_ne!(verdict(dir.path(), &["x.sh"]), "allow", "{line}");
    }
    for line in [
        "#!/bin/bash",
        "#!/usr/bin/env bash",
        "#!/bin/sh -eu",
        "#! /bin/dash",
        "# no first line",
    ] {
        let dir = repository(&[("x.sh", &format!("{line}\ngit status\n"))]);
        assert_eq!(verdict(dir.path(), &["x.sh"]), "allow", "{line}");
    }
}

#[test]
fn the_boundary_denies_a_denied_system_path_under_each_of_its_names() {
    let policy = "version: 1\nextends: none\ndefault: {mode: execute, run: {allow: [cd], deny: [/usr/bin/dd]}}\n";
    for name in [
        "dd",
        "/usr/bin/dd",
        "/bin/dd",
        "/bin/../bin/dd",
        "/proc/self/root/usr/bin/dd",
        "./dd",
    ] {
        let dir = repository(&[
            ("x.sh", &format!("{name} x\n")),
            ("countersign.policy.yaml", policy),
        ]);
        let said = json(dir.path(), &["explain", "--boundary", "--json", "x.sh"]);
        assert_eq!(said["verdict"], "deny", "{name}: {said}");
    }
}

/// A common deployment asks only about programs that no list allows.
#[test]
fn a_common_deployment_needs_permissions_only_for_its_programs() {
    let script = "#!/usr/bin/env bash
set -euo pipefail
trap 'echo \"deploy of $APP failed\" >&2' ERR
cd \"$REPO\"
export TAG=\"$VERSION\"
retry() {
  local n=$1
  shift
  until \"$@\"; do
    n=$((n - 1))
    [ \"$n\" -gt 0 ] || return 1
  done
}
version=$(git describe --tags)
echo \"deploying $version\"
retry 3 docker push \"registry/$APP:$TAG\"
while IFS= read -r host; do
  if [ \"$(curl -s \"https://$host/health\")\" != ok ]; then
    echo \"$host is down\" >&2
    exit 1
  fi
done < hosts.txt
";
    let dir = repository(&[("deploy.sh", script)]);
    let value = json(
        dir.path(),
        &["explain", "--boundary", "--json", "deploy.sh"],
    );
    let commands = value["scripts"][0]["commands"]
        .as_array()
        .expect("commands");
    let asked: Vec<&str> = commands
        .iter()
        .filter(|one| one["verdict"] != "allow")
        .filter_map(|one| one["what"].as_str())
        .collect();
    assert_eq!(asked, ["docker", "curl"], "{value}");
}

/// Returns a directory with `deploy.sh` and the policy file that `init` writes.
fn new_boundary() -> tempfile::TempDir {
    let dir = repository(&[("deploy.sh", include_str!("../support/deploy.sh"))]);
    let init = Command::new(BINARY)
        .args(["init", "b", "--name", "prod", "--yes"])
        .current_dir(dir.path())
        .output();
    assert!(init.expect("started").status.success());
    dir
}

#[test]
fn a_deployment_under_the_policy_of_init_asks_about_at_most_four_programs() {
    let dir = new_boundary();
    let args = [
        "explain",
        "--boundary",
        "--json",
        "--policy",
        "b/boundary/policy.yaml",
        "deploy.sh",
    ];
    let value = json(dir.path(), &args);
    let commands = value["scripts"][0]["commands"]
        .as_array()
        .expect("commands");
    let asked: std::collections::BTreeSet<&str> = commands
        .iter()
        .filter(|one| one["verdict"] != "allow")
        .filter_map(|one| one["what"].as_str())
        .collect();
    // docs/policy.md gives the reason for each question.
    assert_eq!(
        asked.into_iter().collect::<Vec<_>>(),
        ["curl", "docker", "kubectl"],
        "{value}"
    );
    assert!(
        commands.iter().all(|one| one["verdict"] != "deny"),
        "{value}"
    );
    let page = include_str!("../../docs/policy.md");
    for name in ["curl", "docker", "kubectl"] {
        assert!(page.contains(&format!("| `{name}` | ")), "{name}");
    }
}

#[test]
fn policy_explain_shows_the_list_of_programs_with_the_origin_of_each() {
    let dir = new_boundary();
    let args = |more: &[&'static str]| {
        [
            &[
                "explain",
                "--boundary",
                "--policy",
                "b/boundary/policy.yaml",
            ],
            more,
        ]
        .concat()
    };
    let (_, said) = answer(dir.path(), &args(&["deploy.sh"]));
    let line = |origin: &str| {
        let found = said
            .lines()
            .find_map(|line| line.strip_prefix(origin)?.strip_prefix("  "));
        found
            .unwrap_or_else(|| panic!("{origin}: {said}"))
            .trim()
            .split(", ")
            .collect::<Vec<_>>()
    };
    assert!(said.contains("only these programs can start"), "{said}");
    assert_eq!(line("the interpreter"), ["bash"]);
    assert_eq!(
        line("the script, allowed: run.allow \"git\", built in"),
        ["git"]
    );
    assert_eq!(
        line("the script, asked: run.deny \"docker\", built in"),
        ["docker"]
    );
    assert_eq!(
        line("the script, allowed: sandbox.programs.allow \"sed\", default"),
        ["sed"]
    );
    assert!(
        line("sandbox.programs.allow, default").contains(&"awk"),
        "{said}"
    );
    assert!(line("started by git").contains(&"ssh"), "{said}");
    let value = json(dir.path(), &args(&["--json", "deploy.sh"]));
    let programs = value["scripts"][0]["programs"].as_array().expect("a list");
    let of = |name: &str| {
        programs
            .iter()
            .find(|one| one["name"] == name)
            .unwrap_or_else(|| panic!("{name}: {value}"))
    };
    for (name, from) in [
        ("bash", "interpreter"),
        ("git", "script"),
        ("awk", "policy"),
        ("ssh", "closure"),
    ] {
        assert_eq!(of(name)["from"], from, "{name}");
    }
    assert_eq!(of("ssh")["origin"], "started by git");
    // A step can declare programs, also under a policy without a list.
    let step = "---\ncountersign: 1\n---\n```bash {#a programs=jq}\ngit log\n```\n\n```bash {#b}\ngit log\n```\n";
    std::fs::write(dir.path().join("steps.md"), step).expect("written");
    let value = json(dir.path(), &["explain", "--boundary", "--json", "steps.md"]);
    let programs = value["scripts"][0]["programs"].as_array().expect("a list");
    assert!(
        programs
            .iter()
            .any(|one| one["name"] == "jq" && one["from"] == "step"),
        "{value}"
    );
    assert!(value["scripts"][1].get("programs").is_none(), "{value}");
}

#[test]
fn policy_explain_says_why_every_program_can_start() {
    let step =
        |more: &str| format!("---\ncountersign: 1\n---\n```bash {{#a{more}}}\ngit log\n```\n");
    let dir = repository(&[
        (
            "none.yaml",
            "version: 1\ndefault: {sandbox: {programs: {allow: [jq]}}}\n",
        ),
        (
            "any.yaml",
            "version: 1\ndefault: {sandbox: {programs: {mode: any}}}\n",
        ),
        (
            "listed.yaml",
            "version: 1\ndefault: {sandbox: {programs: {mode: listed}}}\n",
        ),
        ("execute.yaml", "version: 1\ndefault: {mode: execute}\n"),
        ("x.sh", "git log\n"),
        ("make.sh", "make x\n"),
        ("rm.sh", "rm x\n"),
        ("off.md", &step(" sandbox=off reason=\"no sandbox\"")),
        ("declared.md", &step(" programs=jq")),
    ]);
    let explain = |arguments: &[&str]| answer(dir.path(), &[&["explain"], arguments].concat()).1;
    let every = |arguments: &[&str]| {
        let said = explain(arguments);
        said.lines()
            .find(|line| line.contains("every program can start"))
            .map(str::to_owned)
    };
    let at_boundary = |policy, file| every(&["--boundary", "--policy", policy, file]);
    let line = |why: &str| Some(format!("every program can start: {why}"));
    let any = "policy says sandbox.programs.mode: any (default)";
    assert_eq!(at_boundary("any.yaml", "x.sh"), line(any));
    let unused = "policy has no sandbox.programs.mode, so sandbox.programs.allow has no effect";
    assert_eq!(at_boundary("none.yaml", "x.sh"), line(unused));
    assert_eq!(
        at_boundary("execute.yaml", "x.sh"),
        line("policy has no sandbox.programs.mode")
    );
    assert_eq!(
        at_boundary("listed.yaml", "off.md"),
        line("the step declares sandbox=off")
    );
    for (policy, file) in [("listed.yaml", "x.sh"), ("none.yaml", "declared.md")] {
        assert_eq!(at_boundary(policy, file), None, "{policy} {file}");
    }
    // At a terminal, a step has a list also if policy has no mode for programs.
    assert_eq!(every(&["--policy", "any.yaml", "x.sh"]), line(any));
    assert_eq!(
        every(&["--policy", "execute.yaml", "x.sh"]),
        line("policy says mode: execute (default)")
    );
    assert_says(
        explain(&["--policy", "none.yaml", "x.sh"]),
        "`countersign run` uses this list of programs",
    );
    assert_eq!(every(&["rm.sh"]), None);
    let said = explain(&["--boundary", "--policy", "listed.yaml", "make.sh"]);
    assert!(
        said.ends_with("runs. The kernel still starts only the programs above.\n"),
        "{said}"
    );
}

#[test]
fn policy_asks_about_unknown_words_but_not_about_unknown_programs_of_a_closed_list() {
    let policy =
        |mode: &str| format!("version: 1\ndefault: {{sandbox: {{programs: {{mode: {mode}}}}}}}\n");
    let dir = repository(&[
        ("listed.yaml", &policy("listed")),
        ("any.yaml", &policy("any")),
        ("cmd.sh", "\"$CMD\" x\neval \"$TEXT\"\nbash ./more.sh\n"),
        ("ssh.sh", "ssh \"$HOST\" uptime\n"),
        ("remote.sh", "ssh -- \"$HOST\" \"$CMD\"\n"),
    ]);
    let unknown = |policy: &str, script: &str| {
        let value = json(
            dir.path(),
            &[
                "explain",
                "--boundary",
                "--json",
                "--policy",
                policy,
                script,
            ],
        );
        let commands = value["scripts"][0]["commands"]
            .as_array()
            .expect("commands")
            .clone();
        commands
            .iter()
            .filter(|one| one["why"] == "unknown")
            .count()
    };
    for (script, listed, any) in [("cmd.sh", 0, 3), ("ssh.sh", 1, 1), ("remote.sh", 2, 2)] {
        assert_eq!(
            (unknown("listed.yaml", script), unknown("any.yaml", script)),
            (listed, any),
            "{script}"
        );
    }
    let (_, said) = answer(
        dir.path(),
        &["explain", "--boundary", "--policy", "listed.yaml", "ssh.sh"],
    );
    assert!(said.contains("write `--` before the word"), "{said}");
}

#[test]
fn policy_show_prints_the_mode_and_the_names_of_programs_with_their_origin() {
    let policy = "version: 1\ndefault: {sandbox: {programs: {mode: listed, allow: [awk, jq]}}}\noverrides: [{runbook: \"deploy/**\", sandbox: {programs: {allow: [kubectl]}}}]\n";
    let dir = repository(&[("countersign.policy.yaml", policy)]);
    let (code, said) = answer(dir.path(), &["show", "deploy/x:restart"]);
    assert_eq!(code, 0, "{said}");
    let has = |line: &str| {
        said.lines()
            .any(|one| one.split_whitespace().eq(line.split_whitespace()))
    };
    for line in [
        "programs listed, default",
        "programs awk, jq, default",
        "programs kubectl, overrides[0] (deploy/**)",
    ] {
        assert!(has(line), "{line}: {said}");
    }
    let value = json(dir.path(), &["show", "--json", "deploy/x.md"]);
    assert_eq!(
        value["programs"]["mode"],
        serde_json::json!({"value": "listed", "origin": "default"}),
        "{value}"
    );
    let kubectl = serde_json::json!({"name": "kubectl", "origin": "overrides[0] (deploy/**)"});
    assert_eq!(value["programs"]["allow"][2], kubectl, "{value}");
    let dir = repository(&[("countersign.policy.yaml", "version: 1\n")]);
    let value = json(dir.path(), &["show", "--json"]);
    assert_eq!(
        value["programs"],
        serde_json::json!({"mode": null, "allow": []}),
        "{value}"
    );
}

#[test]
fn policy_explain_names_a_program_that_no_list_can_contain() {
    let long = "x".repeat(129);
    let dir = repository(&[
        (
            "listed.yaml",
            "version: 1\ndefault: {sandbox: {programs: {mode: listed}}}\n",
        ),
        ("long.sh", &format!("printf a; {long}; {long} b\n")),
        ("short.sh", &format!("{}\n", &long[1..])),
    ]);
    let explain = |more: &[&str]| {
        [&["explain", "--boundary", "--policy", "listed.yaml"], more]
            .concat()
            .join(" ")
    };
    let lines = |file: &str| {
        let said = answer(dir.path(), &explain(&[file]).split(' ').collect::<Vec<_>>()).1;
        said.lines()
            .filter(|line| line.starts_with("no list can contain"))
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let expected = format!(
        "no list can contain the program {long}, so the program can't start: its name must have at most 128 bytes and no \
         control characters"
    );
    assert_eq!(lines("long.sh"), [expected]);
    assert_eq!(lines("short.sh"), [""; 0]);
    let value = json(
        dir.path(),
        &explain(&["--json", "long.sh"])
            .split(' ')
            .collect::<Vec<_>>(),
    );
    assert_eq!(
        value["scripts"][0]["not_listable"],
        serde_json::json!([long]),
        "{value}"
    );
}

#[test]
fn policy_explain_shows_the_list_of_a_local_run_where_policy_has_no_mode_for_programs() {
    let dir = repository(&[
        (
            "policy.yaml",
            "version: 1\ndefault: {run: {allow: [tar]}}\n",
        ),
        ("x.sh", "tar c x\n"),
    ]);
    let said = answer(dir.path(), &["explain", "--policy", "policy.yaml", "x.sh"]).1;
    assert!(
        said.contains("only these programs can start") && said.contains("started by tar"),
        "{said}"
    );
    assert!(
        said.contains(
            "`countersign run` uses this list of programs; at a boundary every program can start"
        ),
        "{said}"
    );
    let said = answer(
        dir.path(),
        &["explain", "--boundary", "--policy", "policy.yaml", "x.sh"],
    )
    .1;
    assert!(
        !said.contains("started by tar") && said.contains("every program can start"),
        "{said}"
    );
}

#[test]
fn the_help_of_each_command_that_finds_a_policy_names_the_file_that_it_looks_for_first() {
    for command in [&["run"][..], &["open"], &["policy", "explain"]] {
        let help = said(
            &Command::new(BINARY)
                .args(command)
                .arg("--help")
                .output()
                .expect("started"),
        );
        let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(
            help.contains("countersign.policy.yaml, .rundownrc"),
            "{command:?}: {help}"
        );
    }
}
