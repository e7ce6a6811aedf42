//! `countersign run` with Rundown workflows, through the real binary. Tests of questions use a terminal.

use std::fs;

use serde_json::Value;

use crate::terminal::{Person, Terminal};

/// Answers the question about this unit.
#[track_caller]
fn answer<'t>(terminal: &'t mut Terminal, unit: &str, answer: &str) -> &'t mut Terminal {
    terminal
        .wait_for(&format!("did {unit} pass? [y/n] "))
        .types(&format!("{answer}\n"))
}

const CHECKLIST: &str = "---\nname: checklist\n---\n# Release\n\n## 1. Announce\n- YES: CONTINUE\n- NO: GOTO Undo\n\n\
Tell the team.\n\n## 2. Look\n\n```bash prompt\nshred -u /tmp/x\n```\n\n## 3. Others\n- FAIL: RETRY 1 STOP \"not tested\"\n- \
smoke.runbook.md\n\n## Undo\n- PASS: STOP \"the release was undone\"\n\nUndo the release.\n";

#[test]
fn a_person_answers_each_unit_without_a_script() {
    let person = Person::new();
    person.write("list.runbook.md", CHECKLIST);
    person.write("smoke.runbook.md", "## 1. Look\n\n```bash\ntrue\n```\n");

    let mut terminal = person.at_terminal(&["list.runbook.md"]);
    terminal
        .wait_for("== 1 Announce")
        .wait_for("| Tell the team.");
    answer(&mut terminal, "1", "y")
        .wait_for("not run by this program")
        .wait_for("| shred -u /tmp/x");
    answer(&mut terminal, "2", "yes")
        .wait_for("another runbook, to run by itself: smoke.runbook.md");
    answer(&mut terminal, "3", "n");
    answer(&mut terminal, "3", "y");
    let (code, text) = terminal.end();
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("the workflow is complete"), "{text}");

    let mut terminal = person.at_terminal(&["list.runbook.md"]);
    answer(&mut terminal, "1", "no").wait_for("| Undo the release.");
    answer(&mut terminal, "Undo", "y");
    let (code, text) = terminal.end();
    assert_eq!(
        code,
        Some(1),
        "a stop is a failure, also after a pass: {text}"
    );
    assert!(
        text.contains("the workflow has stopped: the release was undone"),
        "{text}"
    );

    let mut terminal = person.at_terminal(&["list.runbook.md"]);
    answer(&mut terminal, "1", "maybe");
    answer(&mut terminal, "1", "");
    answer(&mut terminal, "1", "x").wait_for("| Undo the release.");
}

#[test]
fn a_question_to_a_person_is_refused_without_a_terminal() {
    let person = Person::new();
    person.write("list.runbook.md", CHECKLIST);
    person.write("smoke.runbook.md", "## 1. Look\n\n```bash\ntrue\n```\n");
    let ran = person.run(&["list.runbook.md"]).ended(126);
    assert!(
        ran.err.contains("1 is a question to a person"),
        "{}",
        ran.err
    );
    let ran = person.run(&["list.runbook.md", "-y", "--json"]).ended(126);
    let first: Value = serde_json::from_str(ran.out.lines().next().expect("a line")).expect("JSON");
    assert_eq!(
        (first["type"].as_str(), first["unit"].as_str()),
        (Some("unit"), Some("1"))
    );
    assert_eq!(
        (first["title"].as_str(), first["prompt"].as_str()),
        (Some("Announce"), Some("Tell the team."))
    );
    let mut terminal = person.at_terminal(&["list.runbook.md", "--non-interactive"]);
    terminal.wait_for("with --non-interactive");
    assert_eq!(terminal.end().0, Some(126));
}

const LOOP: &str = "## 1. All\n- FOR host IN {{ hosts }}\n\n### 1.1 Check\nIs {{ host }} up?\n";

#[test]
fn a_loop_takes_its_list_from_the_command_line_or_from_a_file() {
    let person = Person::new();
    person.write("loop.runbook.md", LOOP);
    person.write("hosts.txt", "web-1\n\n  web-2  \n");
    person.write("hosts.json", "[\"web-1\", 7]");
    person.write("hosts.jsonl", "\"web-1\"\n7\n");
    for (list, second) in [
        ("hosts=web-1,web-2", "web-2"),
        ("hosts=file:hosts.txt", "web-2"),
        ("hosts=file:hosts.json", "7"),
        ("hosts=file:./hosts.jsonl", "7"),
    ] {
        let mut terminal = person.at_terminal(&["loop.runbook.md", "--var", list]);
        terminal
            .wait_for("1.1 Check (1 of 2: web-1)")
            .wait_for("| Is web-1 up?");
        answer(&mut terminal, "1.1", "y").wait_for(&format!("| Is {second} up?"));
        answer(&mut terminal, "1.1", "y");
        assert_eq!(terminal.end().0, Some(0), "{list}");
    }
    person.run(&["loop.runbook.md", "--var", "hosts="]).ended(0);
}

#[test]
fn a_list_outside_of_the_project_or_with_errors_is_refused() {
    let person = Person::new();
    person.write("loop.runbook.md", LOOP);
    person.write(
        "plain.md",
        "---\ncountersign: 1\n---\n```bash {#a}\ntrue\n```\n",
    );
    fs::write(person.path("outside.txt"), "web-1\n").expect("a file");
    std::os::unix::fs::symlink(person.path("outside.txt"), person.path("work/link.txt"))
        .expect("a link");
    person.write("object.json", "{\"a\": 1}");
    person.write("nested.jsonl", "\"a\"\n[1]\n");
    person.write("broken.json", "[\"a\"");
    person.write("many.txt", &"x\n".repeat(10_001));
    person.write("exact.txt", &"x\n".repeat(10_000));
    for (list, words) in [
        ("hosts=file:../outside.txt", "outside of the project"),
        ("hosts=file:link.txt", "outside of the project"),
        ("hosts=file:/etc/passwd", "outside of the project"),
        ("hosts=file:none.txt", "can't read"),
        ("hosts=file:.", "not a regular file"),
        ("hosts=file:object.json", "no JSON array"),
        ("hosts=file:nested.jsonl", "neither text nor a number"),
        ("hosts=file:broken.json", "not valid JSON"),
        ("hosts=file:many.txt", "more than 10000 items"),
        ("hosts=a,,b", "an item is empty"),
        ("host=a", "needs no such list; it needs hosts"),
        ("hosts", "expected NAME=a,b"),
    ] {
        let ran = person.run(&["loop.runbook.md", "--var", list]).ended(2);
        assert!(ran.err.contains(words), "{list}: {}", ran.err);
    }
    person
        .run(&["loop.runbook.md", "--var", "hosts=file:exact.txt"])
        .ended(126);
    let ran = person
        .run(&["loop.runbook.md", "--var", "hosts=a", "--var", "hosts=b"])
        .ended(2);
    assert!(ran.err.contains("given twice"), "{}", ran.err);
    let ran = person.run(&["loop.runbook.md"]).ended(2);
    assert!(
        ran.err.contains("needs the list hosts: add --var"),
        "{}",
        ran.err
    );
    let ran = person.run(&["loop.runbook.md", "-p", "host=a"]).ended(2);
    assert!(
        ran.err.contains("give the lists of its loops with --var"),
        "{}",
        ran.err
    );
    let ran = person.run(&["plain.md", "--var", "hosts=a"]).ended(2);
    assert!(
        ran.err.contains("--var is only for a whole workflow"),
        "{}",
        ran.err
    );
}

type Change<'a> = &'a dyn Fn(&Person);

#[test]
fn a_loop_stops_if_its_file_changes() {
    let person = Person::new();
    person.write("loop.runbook.md", LOOP);
    let same_content = |person: &Person| {
        fs::remove_file(person.path("work/hosts.txt")).expect("removed");
        person.write("other.txt", "web-1\nweb-2\n");
        std::os::unix::fs::symlink("other.txt", person.path("work/hosts.txt")).expect("a link");
    };
    let changes: [(&str, Change<'_>); 3] = [
        ("a later line", &|person| {
            person.write("hosts.txt", "web-1\nweb-9\n")
        }),
        ("no file", &|person| {
            fs::remove_file(person.path("work/hosts.txt")).expect("removed")
        }),
        ("another file with the same content", &same_content),
    ];
    for (what, change) in changes {
        let _ = fs::remove_file(person.path("work/hosts.txt"));
        person.write("hosts.txt", "web-1\nweb-2\n");
        let mut terminal =
            person.at_terminal(&["loop.runbook.md", "--var", "hosts=file:hosts.txt"]);
        terminal.wait_for("did 1.1 pass? [y/n] ");
        change(&person);
        terminal
            .types("y\n")
            .wait_for("has changed since the workflow began");
        let (code, text) = terminal.end();
        assert_eq!(
            (code, text.contains("web-9")),
            (Some(126), false),
            "{what}: {text}"
        );
    }
}

#[test]
fn errors_in_a_rundown_runbook_are_reported_with_their_places() {
    let person = Person::new();
    person.write("bad.runbook.md", "## 1. A\n- PASS: NEXT\n\n## 3. B\n");
    let ran = person.run(&["bad.runbook.md"]).ended(2);
    assert!(
        ran.err
            .contains("bad.runbook.md:2:3: NEXT belongs to a newer version of Rundown"),
        "{}",
        ran.err
    );
    assert!(
        ran.err
            .contains("bad.runbook.md:4:1: the step has the number 3, but 2 follows here"),
        "{}",
        ran.err
    );
}

/// Policy that allows the commands of the script below.
const POLICY: &str = "version: 1\ndefault:\n  run: {allow: [printf, exit]}\n";
const SHIP: &str = "## 1. Build\n- FAIL: RETRY 1 GOTO Undo\n\n```bash\nprintf 'build '; exit 3\n```\n\n## Undo\n- PASS: GOTO \
2\n\n```sh\nprintf 'undo '\n```\n\n## 2. All\n- FOR host IN {{ hosts }}\n- FAIL: STOP \"not all hosts\"\n\n### 2.1 Deploy\n- FAIL: \
CONTINUE\n\n```bash\nprintf '%s ' {{host}} \"$PARAM_HOST\"; exit 4\n```\n";

#[test]
fn a_workflow_runs_its_scripts_and_follows_the_transitions() {
    let person = Person::new();
    person.write("policy.yaml", POLICY);
    person.write("ship.runbook.md", SHIP);
    let run = [
        "ship.runbook.md",
        "--policy",
        "policy.yaml",
        "--var",
        "hosts=a b,$(c)",
    ];
    let ran = person.run(&run).ended(4);
    assert_eq!(
        ran.out, "build build undo a b a b $(c) $(c) ",
        "a value is never read as a script"
    );
    let number = [
        "ship.runbook.md",
        "--policy",
        "policy.yaml",
        "--var",
        "hosts=a[$(c)]",
    ];
    let refused = person.run(&number).ended(2);
    assert!(refused.err.contains("does not fit"), "{}", refused.err);
    assert!(
        ran.err.contains("the workflow has stopped: not all hosts"),
        "{}",
        ran.err
    );
    let ran = person
        .run(&["ship.runbook.md:Undo", "--policy", "policy.yaml"])
        .ended(0);
    assert_eq!(ran.out, "undo ");
    let ran = person
        .run(&[
            "ship.runbook.md:2.1",
            "--policy",
            "policy.yaml",
            "-p",
            "host=x",
        ])
        .ended(4);
    assert_eq!(ran.out, "x x ");
    let ran = person
        .run(&[
            "ship.runbook.md",
            "--policy",
            "policy.yaml",
            "--var",
            "hosts=ok,-x",
        ])
        .ended(2);
    assert!(
        ran.out.is_empty()
            && ran
                .err
                .contains("the value \"-x\" of the loop does not fit"),
        "{}",
        ran.err
    );
}

#[test]
fn a_gruntwork_step_that_needs_a_secret_is_refused_at_a_terminal_too() {
    let person = Person::new();
    person.write(
        "page.mdx",
        "<AwsAuth id=\"aws\" />\n\n<Command id=\"a\" awsAuthId=\"aws\" command=\"echo ran\" />\n",
    );
    let ran = person.run(&["page.mdx"]).ended(2);
    assert!(
        ran.err.contains("page:a needs the secret aws.") && !ran.out.contains("ran"),
        "{} {}",
        ran.out,
        ran.err
    );
}
