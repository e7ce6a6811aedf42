//! The list of programs of `countersign run`, and the words that explain a refused program.

use std::process::Command;

use serde_json::{Value, json};

use crate::support::people::alice;
use crate::support::{SMALL, World, assert_says, exited, id_of, not_run, runbook, said};
use crate::terminal::{PROGRAM, Person};

/// Allows the commands of the scripts below. No script names `id`, which prints `uid=`.
const ALLOW: &str = "run: {allow: [printf, cat, env, bash, echo, python, python3, 'true', chmod]}";
/// Starts `id`, but no reader of the script can know this.
const HIDDEN: &str = "import subprocess\nprint('begun', flush=True)\nsubprocess.run(['id'])";
/// Policy of a boundary whose steps start only listed programs.
const LISTED: &str = "version: 1\nextends: none\ndefault:\n  mode: execute\n  approvals: {required: 1, from: [ops]}\n  \
                      sandbox: {programs: {mode: listed}}\n";
/// Words that add `id` to the list of a step.
const ADD: &str = "programs=id to the block, or sandbox.programs.allow: [id] to the policy";

/// A person with a policy that allows the commands of the scripts.
fn person() -> Person {
    with_policy("")
}

fn with_policy(more: &str) -> Person {
    let person = Person::new();
    person.write(
        "policy.yaml",
        &format!("version: 1\ndefault:\n  {ALLOW}\n{more}"),
    );
    person
}

/// Writes a runbook with a Python step.
fn python(person: &Person, attributes: &str, script: &str) {
    person.write(
        "a.md",
        &format!("---\ncountersign: 1\n---\n\n```python {{#{attributes}}}\n{script}\n```\n"),
    );
}

/// Returns true if the text says which program the list refused. A host without a record of the refused programs can
/// only name the list as a possible reason.
fn names_the_program(text: &str) -> bool {
    text.contains("the step tried to run ")
}

/// Asserts that the text explains why the list refused `id`, on a host with or without a record of the refused programs.
#[track_caller]
fn assert_explained(text: &str, is_recorded: bool, add: &str) {
    let expected = if is_recorded {
        format!(
            "the step tried to run /usr/bin/id, but its list of programs does not have it: {add}"
        )
    } else {
        "the step may execute only the programs of its list".to_owned()
    };
    assert!(text.contains(&expected), "{text}");
}

#[test]
fn a_local_run_executes_only_the_programs_of_its_list() {
    let person = person();
    python(&person, "one", HIDDEN);
    let run = ["a.md", "--policy", "policy.yaml"];
    let ran = person.run_plain(&run).ended(1);
    assert_eq!(ran.out, "begun\n", "{}", ran.err);
    assert_explained(
        &ran.err,
        names_the_program(&ran.err),
        &format!("add --allow-run id to this command, {ADD}"),
    );
    // The words that the message advises.
    let ran = person
        .run_plain(&[&run[..], &["--allow-run", "id"]].concat())
        .ended(0);
    assert!(ran.out.contains("uid="), "{ran:?}");
    python(&person, "one programs=id", HIDDEN);
    assert!(
        person
            .run_plain(&[&run[..], &["-y"]].concat())
            .ended(0)
            .out
            .contains("uid=")
    );
    python(&person, "one", HIDDEN);
    person.write(
        "policy.yaml",
        &format!("version: 1\ndefault:\n  {ALLOW}\n  sandbox: {{programs: {{allow: [id]}}}}\n"),
    );
    assert!(person.run_plain(&run).ended(0).out.contains("uid="));
    let grant = "grants: [{type: run, pattern: id, scope: permanent}]\n";
    person.write(
        "policy.yaml",
        &format!("version: 1\ndefault:\n  {ALLOW}\n{grant}"),
    );
    assert!(person.run_plain(&run).ended(0).out.contains("uid="));
}

#[test]
fn an_unknown_command_that_a_person_allows_can_start_only_listed_programs() {
    let person = person();
    person.runbook("a.md", "", &[("one", "$(printf i)d")]);
    let mut terminal = person.at_terminal(&["a.md", "--policy", "policy.yaml"]);
    terminal.answers("o");
    let (code, text) = terminal.end();
    assert_eq!(code, Some(126), "{text}");
    assert!(
        !text.contains("uid=") && text.contains("programs: bash, printf; nothing else"),
        "{text}"
    );
    assert_explained(
        &text,
        names_the_program(&text),
        &format!("add --allow-run id to this command, {ADD}"),
    );
}

#[test]
fn the_answer_allow_once_adds_the_program_to_the_list_of_this_run() {
    let person = person();
    person.runbook("a.md", "", &[("one", "id; printf done")]);
    let mut terminal = person.at_terminal(&["a.md", "--policy", "policy.yaml"]);
    terminal.answers("o");
    let (code, text) = terminal.end();
    assert!(code == Some(0) && text.contains("uid="), "{text}");
    assert!(
        text.contains("programs: bash, id, printf; nothing else"),
        "{text}"
    );
}

#[test]
fn every_program_can_run_only_if_policy_or_an_option_says_so() {
    let execute = "  mode: execute\n";
    let listed = "  mode: execute\n  sandbox: {programs: {mode: listed}}\n";
    let any = "  sandbox: {programs: {mode: any}}\n";
    for (policy, options, reason) in [
        (
            execute,
            &[][..],
            "programs: every program, because policy says mode: execute (default)",
        ),
        (
            any,
            &[],
            "programs: every program, because policy says sandbox.programs.mode: any (default)",
        ),
        (
            "",
            &["--allow-all", "--sandbox-strict"],
            "programs: every program, because of --allow-all",
        ),
        (
            "",
            &["--allow-all"],
            "--allow-all: NO SANDBOX. The step can start every program",
        ),
        (
            "",
            &["--no-sandbox"],
            "--no-sandbox: NO SANDBOX. The step can start every program",
        ),
    ] {
        let person = with_policy(policy);
        python(&person, "one", HIDDEN);
        let ran = person
            .run_plain(&[&["a.md", "--policy", "policy.yaml"], options].concat())
            .ended(0);
        assert!(
            ran.out.contains("uid=") && ran.err.contains(reason),
            "{ran:?}"
        );
        assert_eq!(ran.err.matches("every program").count(), 1, "{}", ran.err);
    }
    for (policy, attributes, options) in [
        (listed, "one", &[][..]),
        (execute, "one programs=cat", &[]),
        (execute, "one", &["--deny-all"]),
        (any, "one programs=cat", &[]),
    ] {
        let person = with_policy(policy);
        python(&person, attributes, HIDDEN);
        let ran = person
            .run_plain(&[&["a.md", "--policy", "policy.yaml"], options].concat())
            .ended(1);
        assert!(
            ran.out == "begun\n" && !ran.err.contains("every program"),
            "{policy} {options:?}: {ran:?}"
        );
    }
}

#[test]
fn a_program_of_the_project_can_run_if_the_script_names_its_path() {
    let person = person();
    for (name, text) in [
        ("tool", "#!/usr/bin/env python3\nprint('tool')\n"),
        ("other", "#!/bin/bash\necho other\n"),
    ] {
        person.write(name, text);
        std::fs::set_permissions(
            person.path("work").join(name),
            std::os::unix::fs::PermissionsExt::from_mode(0o755),
        )
        .expect("mode");
    }
    std::os::unix::fs::symlink("/usr/bin/cat", person.path("work/linked")).expect("a link");
    let absolute = person
        .path("work/tool")
        .canonicalize()
        .expect("real")
        .display()
        .to_string();
    let run = [
        "a.md",
        "--policy",
        "policy.yaml",
        "--allow-write",
        ".",
        "-y",
    ];
    for (script, words) in [
        ("./tool", "(the step starts ./tool)"),
        ("./tool && printf x | ./linked", "(the step starts ./tool)"),
        (
            absolute.as_str(),
            "{work}/**: every file in the directories that the step may write; nothing else",
        ),
        (
            "printf '#!/bin/bash\\necho built\\n' > built; env chmod +x built; ./built",
            "(the step starts ./built)",
        ),
    ] {
        person.runbook("a.md", "", &[("one", script)]);
        let (code, text) = person.at_terminal(&run).end();
        assert!(code == Some(0) && text.contains(words), "{script}: {text}");
    }
    // A program that the script does not name is refused, and the message names the words that allow it.
    python(
        &person,
        "one",
        "import subprocess\nsubprocess.run(['./other'])",
    );
    let ran = person.run_plain(&run).ended(1);
    assert_eq!(ran.out, "", "{}", ran.err);
    let add = "/other, but its list of programs does not have it: add programs=\"{work}/**\" to the block";
    assert!(
        ran.err.contains(add)
            || ran
                .err
                .contains("the step may execute only the programs of its list"),
        "{}",
        ran.err
    );
    python(
        &person,
        "one programs=\"{work}/**\"",
        "import subprocess\nsubprocess.run(['./other'])",
    );
    let ran = person
        .run_plain(&[&run[..], &["--allow-run", "bash"]].concat())
        .ended(0);
    assert_eq!(ran.out, "other\n", "{}", ran.err);
}

#[test]
fn the_first_line_of_a_script_can_name_env() {
    let person = person();
    person.runbook("a.md", "", &[("one", "#!/usr/bin/env bash\nprintf done")]);
    assert_eq!(
        person
            .run_plain(&["a.md", "--policy", "policy.yaml"])
            .ended(0)
            .out,
        "done"
    );
    let world = World::with(|setup| {
        setup.policy = LISTED.to_owned();
        setup.runbook(
            "list.md",
            runbook(SMALL, &[("env", "#!/usr/bin/env bash\nprintf done")]),
        );
    });
    let finished = world.run("list:env", json!({}), &[&alice()]);
    assert_eq!(world.output(&finished, "stdout"), "done");
    world.assert_verified(&finished);
}

#[test]
fn a_program_that_no_list_can_contain_is_refused_before_the_run() {
    let person = person();
    let tool = person.path("tools/tool");
    person.write("../tools/tool", "#!/bin/bash\necho tool\n");
    std::fs::set_permissions(&tool, std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .expect("mode");
    let tool = tool.canonicalize().expect("real").display().to_string();
    person.runbook("a.md", "", &[("one", &format!("printf before; {tool}"))]);
    let run = ["a.md", "--policy", "policy.yaml", "-y"];
    // A run does not see the program, as before.
    let ran = person.run_plain(&run).ended(127);
    assert_eq!(ran.out, "before", "{}", ran.err);
    let ran = person
        .run_plain(&[&run[..], &["--allow-read", "../tools"]].concat())
        .ended(126);
    assert!(
        ran.out.is_empty() && ran.err.contains("sandbox: {programs: {mode: any}}"),
        "{ran:?}"
    );
    person.write(
        "policy.yaml",
        &format!("version: 1\ndefault:\n  {ALLOW}\n  sandbox: {{programs: {{mode: any}}}}\n"),
    );
    let ran = person
        .run_plain(&[&run[..], &["--allow-read", "../tools"]].concat())
        .ended(0);
    assert_eq!(ran.out, "beforetool\n", "{}", ran.err);
    person.runbook("a.md", "", &[("one programs=no-such-program", "printf x")]);
    let ran = person.run_plain(&run).ended(126);
    assert!(
        ran.out.is_empty() && ran.err.contains("this host has no program no-such-program"),
        "{ran:?}"
    );
}

#[test]
fn a_best_effort_host_without_namespaces_says_that_every_program_can_run() {
    const NAME: &str = "a_best_effort_host_without_namespaces_says_that_every_program_can_run";
    let person = person();
    python(&person, "one", HIDDEN);
    let line = format!(
        "exec unshare -U -r sh -c 'echo 0 > /proc/sys/user/max_user_namespaces && echo unshared >&2 && \
         exec {PROGRAM} run a.md --policy policy.yaml --sandbox'"
    );
    let mut command = Command::new("bash");
    command
        .args(["-c", &line])
        .current_dir(person.path("work"))
        .env("HOME", person.path("home"));
    let output = command
        .env_remove("XDG_STATE_HOME")
        .output()
        .expect("started");
    let text = said(&output);
    if !text.contains("unshared") {
        return not_run(NAME, "unshare is refused here");
    }
    assert!(output.status.success() && text.contains("uid="), "{text}");
    assert_eq!(
        text.matches(
            "programs: every program, because this host can't enforce a list of programs: "
        )
        .count(),
        1,
        "{text}"
    );
    assert!(!text.contains("the sandbox layer programs"), "{text}");
}

#[test]
fn wait_and_output_explain_a_refused_program() {
    let world = World::with(|setup| {
        setup.policy =
            "version: 1\nextends: none\ndefault:\n  mode: execute\n  approvals: {required: 1, from: [ops]}\n  \
                        sandbox: {programs: {mode: listed}}\n"
                .to_owned();
        setup.runbook(
            "list.md",
            runbook(SMALL, &[("hidden", "word=$(printf i)d\n\"$word\"")]),
        );
    });
    let proposal = world.propose("list:hidden", json!({}));
    assert_eq!(world.sign(&proposal, &[&alice()]).status, 200);
    let id = id_of(&proposal);
    let is_recorded = world.receipt(&world.until(id, "finished"))["programs"]
        .get("refused")
        .is_some();
    let tried = |words: &[&str]| {
        let mut command = world.program(words);
        command
            .env("COUNTERSIGN_URL", &world.wire.url)
            .env("COUNTERSIGN_TOKEN", &world.agent);
        command.output().expect("started")
    };
    let waited = exited(tried(&["wait", id]), 126);
    for output in [
        &waited,
        &tried(&["output", id]),
        &tried(&["output", id, "-f"]),
    ] {
        let text = said(output);
        assert_explained(
            &text,
            is_recorded,
            &format!("add {ADD}, unless policy denies it"),
        );
        assert!(!text.contains("--allow-run"), "{text}");
    }
    let answer = tried(&["output", id, "--json"]);
    let answer: Value = serde_json::from_slice(&answer.stdout).expect("JSON");
    assert_explained(
        answer["hints"][0].as_str().expect("a hint"),
        is_recorded,
        &format!("add {ADD}"),
    );
    assert_says(said(&tried(&["wait", id, "--json"])), "\"type\":\"hint\"");
}

#[test]
fn a_program_that_policy_denies_is_not_advised_for_the_list() {
    let person = Person::new();
    person.write(
        "policy.yaml",
        "version: 1\ndefault:\n  run: {allow: [python, python3], deny: [id]}\n",
    );
    python(&person, "one", HIDDEN);
    let run = ["a.md", "--policy", "policy.yaml"];
    let ran = person.run_plain(&run).ended(1);
    if names_the_program(&ran.err) {
        let only = "policy denies it (run.deny \"id\", default), so only the option --allow-run id of this command adds it";
        assert!(
            ran.err.contains(only) && !ran.err.contains("programs=id"),
            "{}",
            ran.err
        );
    }
    assert!(
        person
            .run_plain(&[&run[..], &["--allow-run", "id"]].concat())
            .ended(0)
            .out
            .contains("uid=")
    );
}

#[test]
fn a_failed_step_without_a_recorded_refusal_names_its_list_as_a_possible_reason() {
    let which = "import shutil, sys\nsys.exit(0 if shutil.which('id') else 127)";
    let reason = "the step may execute only the programs of its list, which may be the reason for the failure";
    let person = person();
    python(&person, "one", which);
    let ran = person
        .run_plain(&["a.md", "--policy", "policy.yaml"])
        .ended(127);
    assert!(
        ran.err.contains(reason) && ran.err.contains("--allow-run NAME"),
        "{}",
        ran.err
    );
    let world = World::with(|setup| {
        setup.policy = LISTED.to_owned();
        setup.runbook(
            "list.md",
            format!("---\ncountersign: 1\n---\n\n```python {{#which}}\n{which}\n```\n"),
        );
    });
    let proposal = world.propose("list:which", json!({}));
    assert_eq!(world.sign(&proposal, &[&alice()]).status, 200);
    let id = id_of(&proposal);
    world.until(id, "finished");
    for (command, code) in [("wait", 127), ("output", 0)] {
        let mut command = world.program(&[command, id]);
        command
            .env("COUNTERSIGN_URL", &world.wire.url)
            .env("COUNTERSIGN_TOKEN", &world.agent);
        let output = command.output().expect("started");
        assert_eq!(output.status.code(), Some(code), "{}", said(&output));
        assert!(
            said(&output).contains(reason) && said(&output).contains("programs=NAME"),
            "{}",
            said(&output)
        );
    }
}

#[test]
fn doctor_and_the_registry_report_programs_that_this_host_lacks() {
    let mut world = World::with(|setup| {
        setup.policy =
            "version: 1\nextends: none\ndefault:\n  mode: execute\n  approvals: {required: 1, from: [ops]}\n  \
                        sandbox: {programs: {mode: listed}}\n"
                .to_owned();
        setup.runbook(
            "list.md",
            runbook(
                SMALL,
                &[
                    ("lacks", "cd /; no-such-tool; printf x"),
                    ("has", "cat /dev/null"),
                ],
            ),
        );
    });
    let doctor = |world: &World| {
        said(
            &world
                .program(&["doctor"])
                .arg(world.path("b"))
                .output()
                .expect("started"),
        )
    };
    let text = doctor(&world);
    assert!(
        text.contains("layer programs")
            && text.contains("this host does not have no-such-tool of list:lacks;"),
        "{text}"
    );
    world.write(
        "b/runbooks/list.md",
        &runbook(SMALL, &[("needs programs=no-such-tool", "no-such-tool")]),
    );
    let text = doctor(&world);
    let line = text
        .lines()
        .find(|line| line.contains("no-such-tool"))
        .unwrap_or_default();
    assert!(
        line.starts_with("FIX") && line.contains("list:needs"),
        "{text}"
    );
    world.stop();
}

#[test]
fn an_empty_name_in_a_list_of_programs_is_reported_as_empty() {
    let person = person();
    for list in ["id,", ",id", "\"id, ,cat\""] {
        person.runbook("a.md", "", &[(&format!("one programs={list}"), "printf x")]);
        let ran = person.run_plain(&["a.md"]).ended(2);
        assert!(
            ran.err.contains("a name is empty: remove one comma"),
            "{list}: {}",
            ran.err
        );
    }
}

#[test]
fn the_line_about_the_programs_names_the_command_that_shows_all() {
    let person = Person::new();
    person.write(
        "policy.yaml",
        "version: 1\ndefault: {run: {allow: [tar]}}\n",
    );
    person.runbook("a.md", "", &[("one", "tar --version")]);
    let (code, text) = person
        .at_terminal(&["a.md", "--policy", "policy.yaml"])
        .end();
    assert_eq!(code, Some(0), "{text}");
    assert!(
        text.contains("that these start (`countersign policy explain` shows them); nothing else"),
        "{text}"
    );
}

#[test]
fn a_program_of_allow_run_that_is_not_on_the_list_is_named() {
    let person = person();
    person.runbook("a.md", "", &[("one", "printf x"), ("two", "printf y")]);
    let run = ["a.md", "--policy", "policy.yaml", "--allow-run"];
    let ran = person
        .run_plain(
            &[
                &run[..],
                &["cat,cd,nosuchprog,/opt/x,/proc/self/exe,./own,w*"],
            ]
            .concat(),
        )
        .ended(0);
    let lines: Vec<&str> = ran
        .err
        .lines()
        .filter(|line| line.contains("--allow-run"))
        .collect();
    assert_eq!(lines.len(), 1, "{}", ran.err);
    for words in [
        "note: --allow-run adds no program to the list: this host has no program nosuchprog in /",
        "; this host has no program /opt/x: ",
        " is outside of the system directories, so no run can see it",
    ] {
        assert!(lines[0].contains(words), "{words}: {}", ran.err);
    }
    for name in ["cat", " cd", "own", "w*"] {
        assert!(
            !lines[0].contains(&format!("{name} in ")),
            "{name}: {}",
            ran.err
        );
    }
    let ran = person.run_plain(&[&run[..], &["cat,cd"]].concat()).ended(0);
    assert!(!ran.err.contains("--allow-run"), "{}", ran.err);
}
