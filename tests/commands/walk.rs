//! `countersign run FILE`: what the steps of a walk carry to the steps after them, through the real binary.

use std::fs;

use crate::terminal::Person;

/// Lets a step write the current directory.
const OPEN: &str =
    "version: 1\ndefault: {mode: execute, write: {allow: ['{repo}', '{repo}/**']}}\n";
/// A step works in an overlay of the current directory.
const OVERLAY: &str = "version: 1\ndefault: {run: {allow: [mkdir, cd, export, printf]}}\n";
/// A step works in a directory of its own.
const CLOSED: &str =
    "version: 1\ndefault: {mode: execute, read: {deny: ['{repo}', '{repo}/**']}}\n";

const WALK: &str = r#"---
countersign: 1
params:
  account: {type: string}
  other: {type: string, default: none}
---
```bash {#one params=other}
export REGION="eu
'west' \"\$x" GONE=1 HOST_SET=changed
unset HOST_GONE
mkdir made; cd made; printf 'text' > file
trap 'export FROM_TRAP=$?' EXIT
printf 'account=%s\n' "12 34" >> "$RUNBOOK_OUTPUT"
```

```sh {#two params=account}
printf '%s|' "$REGION" "$FROM_TRAP" "$PARAM_ACCOUNT" "$HOST_SET" "${HOST_GONE-none}" "$(cat file)" "${PWD##*/}"
unset GONE
trap 'exit 0' EXIT
export FROM_SH="it's"
```

```python {#three params=other}
import os
print(os.environ["FROM_SH"], os.environ.get("GONE"), os.path.basename(os.getcwd()), end="|")
os.environ["FROM_SH"] = "python"
os.chdir("..")
```

```bash {#four params=other}
printf '%s|' "$FROM_SH" "${PWD##*/}" "${BASH_ENV-none}" "${COUNTERSIGN_SESSION-none}"
```
"#;

fn person(policy: &str) -> Person {
    let person = Person::new();
    person.write("policy.yaml", policy);
    person
}

fn run(person: &Person, arguments: &[&str]) -> crate::terminal::Ran {
    let host = [("HOST_SET", "1"), ("HOST_GONE", "1")];
    let own = [
        "--policy",
        "policy.yaml",
        "--allow-env",
        "HOST_SET,HOST_GONE",
    ];
    person.run_with(&[arguments, &own].concat(), &host)
}

#[test]
fn variables_directory_files_and_outputs_are_carried_from_step_to_step() {
    let expected =
        "eu\n'west' \"$x|0|12 34|changed|none|text|made|it's None made|it's|made|none|none|";
    for policy in [OPEN, CLOSED] {
        let person = person(policy);
        person.write("walk.md", WALK);
        let ran = run(&person, &["walk.md"]).ended(0);
        assert_eq!(ran.out, expected, "{}", ran.err);
        // A value of the person has priority over an output.
        if policy == OPEN {
            fs::remove_dir_all(person.path("work/made")).expect("removed");
        }
        let ran = run(&person, &["walk.md", "-p", "account=own"]).ended(0);
        assert_eq!(ran.out, expected.replace("12 34", "own"), "{}", ran.err);
    }
    let person = person(OPEN);
    person.write("walk.md", WALK);
    let host = [("HOST_SET", "1"), ("HOST_GONE", "1")];
    let mut command =
        person.command(&["run", "walk.md", "--no-sandbox", "--policy", "policy.yaml"]);
    let output = command
        .args(["--allow-env", "HOST_SET,HOST_GONE"])
        .envs(host)
        .output()
        .expect("started");
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        expected,
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn one_named_step_has_no_session() {
    let person = person(OPEN);
    person.runbook(
        "a.md",
        "",
        &[
            ("one", "declare -F; export A=1"),
            ("two", "printf '%s' \"${A-none}\""),
        ],
    );
    assert_eq!(run(&person, &["a.md:one"]).ended(0).out, "");
    assert_eq!(run(&person, &["a.md:two"]).ended(0).out, "none");
    assert!(run(&person, &["a.md"]).ended(0).out.ends_with('1'));
}

#[test]
fn a_directory_that_was_not_kept_stops_the_walk_before_the_next_step() {
    let person = person(OVERLAY);
    person.runbook(
        "a.md",
        "",
        &[("one", "mkdir made; cd made"), ("two", "printf ran")],
    );
    let ran = run(&person, &["a.md"]).ended(126);
    assert!(
        ran.out.is_empty() && ran.err.contains("no part of a:two was run"),
        "{ran:?}"
    );
    assert!(
        ran.err.contains("work/made") && ran.err.contains("--allow-write"),
        "{}",
        ran.err
    );
    person.runbook(
        "b.md",
        "",
        &[
            (
                "one",
                "mkdir \"$TMPDIR/deep\"; cd \"$TMPDIR/deep\"; export A=1",
            ),
            ("two", "printf '%s %s' \"$A\" \"${PWD##*/}\""),
        ],
    );
    let ran = run(&person, &["b.md"]).ended(0);
    assert_eq!(ran.out, "1 work", "{}", ran.err);
    assert!(ran.err.contains("which no other step sees"), "{}", ran.err);
    person.runbook(
        "c.md",
        "",
        &[("one", "cd /"), ("two", "printf '%s' \"$PWD\"")],
    );
    let ran = run(&person, &["c.md"]).ended(0);
    assert!(
        ran.out == "/" && !ran.err.contains("no other step"),
        "{ran:?}"
    );
}

#[test]
fn a_step_that_fails_stops_the_walk_and_the_message_names_the_next_step() {
    let person = person(OPEN);
    person.runbook(
        "a.md",
        "",
        &[("one", "exit 7"), ("two", "true"), ("three", "true")],
    );
    let ran = run(&person, &["a.md"]).ended(7);
    let words = "not run, because the previous step did not succeed: two, three; to go on in a new session: countersign run \
                 a.md --from two";
    assert!(ran.err.contains(words), "{}", ran.err);
}

#[test]
fn outputs_of_a_failed_step_and_missing_outputs_end_the_walk() {
    let person = person(OPEN);
    let front = "params:\n  account: {type: integer}\n  other: {type: string, default: none}";
    let walk = |first: &str| {
        person.runbook(
            "a.md",
            front,
            &[
                ("one params=other", first),
                ("two params=account", "printf \"$PARAM_ACCOUNT\""),
            ],
        );
        run(&person, &["a.md"])
    };
    assert_eq!(
        walk("echo account=12 >> \"$RUNBOOK_OUTPUT\"").ended(0).out,
        "12"
    );
    let ran = walk("printf one; : \"$RUNBOOK_OUTPUT\"").ended(2);
    assert_eq!(ran.out, "one");
    assert!(
        ran.err.contains("no earlier step wrote it as an output")
            && ran.err.contains("-p account="),
        "{}",
        ran.err
    );
    let ran = walk("echo account=many >> \"$RUNBOOK_OUTPUT\"").ended(2);
    assert!(ran.err.contains("account"), "{}", ran.err);
    let ran = walk("echo 'no key' >> \"$RUNBOOK_OUTPUT\"").ended(2);
    assert!(
        ran.err
            .contains("the outputs of one are left out: line 1 of $RUNBOOK_OUTPUT"),
        "{}",
        ran.err
    );
    // No step can write the parameter, so nothing runs at all.
    let ran = walk("printf one").ended(2);
    assert!(
        ran.out.is_empty() && ran.err.contains("\"account\" is missing"),
        "{ran:?}"
    );
}

#[test]
fn a_gruntwork_template_gets_the_output_of_an_earlier_block() {
    let person = person(OPEN);
    let page = "<Command id=\"make-it\" command={`\nexport NAME=\"a b\"\necho 'account-id=$(reboot) \"x' >> \"$RUNBOOK_OUTPUT\"\n`} />\n\n\
                <Check id=\"use\" command={`\nprintf '%s|' {{ .outputs.make-it.account-id }} \"$NAME\"\n`} />\n";
    person.write("page.mdx", page);
    let ran = run(&person, &["page.mdx"]).ended(0);
    assert_eq!(ran.out, "$(reboot) \"x|a b|", "{}", ran.err);
    let ran = run(&person, &["page.mdx:use"]).ended(2);
    assert!(
        ran.err.contains("outputs_make_it_account_id"),
        "{}",
        ran.err
    );
}

#[test]
fn a_workflow_carries_its_variables_only_if_the_person_asks_for_it() {
    let person = person(OPEN);
    person.write(
        "a.runbook.md",
        "## 1. One\n- FAIL: CONTINUE\n\n```bash\nexport A=1; exit 3\n```\n\n## 2. Two\n- FAIL: CONTINUE\n\n```bash\n\
         export A=2; kill -9 $$\n```\n\n## 3. Three\n\n```bash\nprintf '%s' \"$A\"\n```\n",
    );
    let ran = run(&person, &["a.runbook.md", "--allow-run", "kill", "--carry"]).ended(0);
    assert_eq!(ran.out, "1", "also from a step that failed: {}", ran.err);
    assert_eq!(
        run(&person, &["a.runbook.md", "--allow-run", "kill"])
            .ended(0)
            .out,
        ""
    );
}

#[test]
fn each_step_of_rundown_and_of_runnable_fences_begins_in_the_directory_of_the_call() {
    // The second try of step 1 and the second item of step 3 change to the same directory again.
    let workflow = "## 1. Try\n- FAIL: RETRY 2 STOP\n\n```bash\ncd packages/foo && export A=1 && test -e ../tried || { : > \
                    ../tried; exit 1; }\n```\n\n## 2. Look\n\n```bash\nprintf '%s ' \"${PWD##*/}\" \"${A-none}\" \
                    \"$HOST_SET\"\n```\n\n## 3. All\n- FOR dir IN {{ dirs }}\n\n### 3.1 Enter\n\n```bash\ncd {{ dir }} && \
                    pwd >> /dev/null && basename \"$PWD\"\n```\n";
    let fences = "```runnable bash\ncd packages/foo; export A=1; : > made\n```\n\n```runnable bash\nprintf '%s ' \
                  \"${PWD##*/}\" \"${A-none}\" packages/foo/made packages/foo/m*\n```\n";
    let person = person(OPEN);
    for (name, text, list, expected) in [
        (
            "m.runbook.md",
            workflow,
            "dirs=packages/foo,packages/foo",
            "work none 1 foo\nfoo\n",
        ),
        (
            "notes.md",
            fences,
            "",
            "work none packages/foo/made packages/foo/made ",
        ),
    ] {
        person.write(name, text);
        person.write("packages/foo/x", "");
        let chmod = std::process::Command::new("chmod")
            .args(["-R", "a+rwX"])
            .arg(person.path("work/packages"))
            .status();
        assert!(chmod.expect("chmod").success());
        let list = if list.is_empty() {
            vec![]
        } else {
            vec!["--var", list]
        };
        let ran = run(&person, &[&[name][..], &list].concat()).ended(0);
        assert_eq!(ran.out, expected, "{name}: {}", ran.err);
        fs::remove_dir_all(person.path("work/packages")).expect("removed");
    }
    // Files last in a directory of its own, too.
    let person = self::person(CLOSED);
    person.write(
        "n.md",
        "```runnable bash\n: > made; export A=1\n```\n\n```runnable bash\nprintf '%s' m* \"${A-}\"\n```\n",
    );
    assert_eq!(run(&person, &["n.md"]).ended(0).out, "made");
}

#[test]
fn a_rundown_step_finds_the_programs_of_node_modules_first() {
    let person = person(OPEN);
    person.write(
        "node_modules/.bin/jest",
        "#!/bin/sh\nprintf 'jest of the project'\n",
    );
    let chmod = std::process::Command::new("chmod")
        .args(["-R", "a+rx"])
        .arg(person.path("work/node_modules"))
        .status();
    assert!(chmod.expect("chmod").success());
    person.write("a.runbook.md", "## 1. Test\n\n```bash\njest\n```\n");
    for options in [&["--policy", "policy.yaml"][..], &["-y"]] {
        for name in ["a.runbook.md", "a.runbook.md:1"] {
            let ran = person.run(&[&[name], options].concat()).ended(0);
            assert_eq!(
                ran.out, "jest of the project",
                "{name} {options:?}: {}",
                ran.err
            );
        }
    }
    person.runbook("plain.md", "", &[("one", "jest")]);
    run(&person, &["plain.md"]).ended(127);
}

#[test]
fn a_warning_ends_no_walk() {
    let person = person(OPEN);
    person.write(
        "page.mdx",
        "<Check id=\"warns\" command=\"exit 2\" />\n\n<Command id=\"after\" command=\"printf after\" />\n",
    );
    assert_eq!(
        run(&person, &["page.mdx"]).ended(2).out,
        "after",
        "the exit code still tells of the warning"
    );
    person.runbook(
        "a.md",
        "",
        &[
            ("warns", "exit 2"),
            ("fails", "exit 3"),
            ("after", "printf after"),
        ],
    );
    assert_eq!(run(&person, &["a.md"]).ended(3).out, "");
}

#[test]
fn a_walk_from_a_later_step_begins_in_a_new_session() {
    let person = person(OPEN);
    let page = "---\ncountersign: 1\nparams:\n  n: {type: string}\n  m: {type: string}\n---\n```bash {#one params=m}\nexport A=one; \
                cd /usr; echo n=12 >> \"$RUNBOOK_OUTPUT\"\n```\n\n```bash {#two params=n}\nprintf 'two:%s:%s ' \"$A\" \
                \"$PARAM_N\"; export A=two\n```\n\n```bash {#three params=\"\"}\nprintf 'three:%s ' \"$A\"\n```\n";
    person.write("a.md", page);
    let walk = |arguments: &[&str]| run(&person, &[&["a.md"], arguments].concat());
    assert_eq!(walk(&["-p", "m=x"]).ended(0).out, "two:one:12 three:two ");
    // The parameter of the first step is not needed, and the output of an earlier command is not kept.
    let ran = walk(&["--from", "two"]).ended(2);
    assert!(
        ran.out.is_empty() && ran.err.contains("\"n\" is missing"),
        "{ran:?}"
    );
    assert_eq!(
        walk(&["--from", "two", "-p", "n=1"]).ended(0).out,
        "two::1 three:two "
    );
    assert_eq!(walk(&["--from", "three"]).ended(0).out, "three: ");
    assert!(
        walk(&["--from", "five"])
            .ended(127)
            .err
            .contains("it has one, two, three")
    );
    assert!(
        !person.path("home/.local").exists(),
        "no session stays on the disk"
    );
    person.write("w.runbook.md", "## 1. A\n\n```bash\ntrue\n```\n");
    let ran = run(&person, &["w.runbook.md", "--from", "1"]).ended(2);
    assert!(
        ran.err.contains("a workflow begins at its first step"),
        "{}",
        ran.err
    );
}

#[test]
fn large_variables_and_files_of_outputs_are_reported() {
    let person = person(OPEN);
    let first =
        "export A=1 BIG=$(printf '%0200000d' 1); printf x > \"$COUNTERSIGN_OUTPUT/made.txt\"";
    person.runbook(
        "a.md",
        "",
        &[("one", first), ("two", "printf '%s' \"${A-none}\"")],
    );
    let ran = run(&person, &["a.md"]).ended(0);
    assert_eq!(ran.out, "none", "{}", ran.err);
    assert!(
        ran.err
            .contains("the exported variable BIG has 200005 bytes"),
        "{}",
        ran.err
    );
    assert!(
        ran.err
            .contains("keeps no files of $COUNTERSIGN_OUTPUT: made.txt"),
        "{}",
        ran.err
    );
}
