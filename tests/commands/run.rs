//! `countersign run` through the real binary. Tests of questions use a terminal.

use std::fs;
use std::process::Command;

use serde_json::Value;

use crate::support::wait_for;
use crate::terminal::{PROGRAM, Person, lives, read};

/// Allows the commands of the scripts below, and denies one command explicitly.
const POLICY: &str = "version: 1\ndefault:\n  run: {allow: [printf, sleep, exit, kill, trap, ':', wait, 'true', cat, read], deny: [shred]}\n";

/// A person with this policy as a file.
fn person() -> Person {
    let person = Person::new();
    person.write("policy.yaml", POLICY);
    person
}

/// Returns the events of this type that `--json` printed, also between the questions at a terminal.
fn events(text: &str, kind: &str) -> Vec<Value> {
    let lines = text
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|event| event["type"] == kind).collect()
}

/// Returns the answers that `--json` printed.
fn answers(text: &str) -> Vec<(String, String)> {
    let word = |answer: &Value, name: &str| answer[name].as_str().expect("text").to_owned();
    events(text, "answer")
        .iter()
        .map(|answer| (word(answer, "question"), word(answer, "answer")))
        .collect()
}

#[test]
fn steps_run_in_order_with_given_and_default_parameters() {
    let person = person();
    let front = "params:\n  host: {type: string, default: web-1}\n  n: {type: integer, default: 1}";
    let steps = [
        ("first params=host", "printf 'one %s\\n' \"$PARAM_HOST\""),
        (
            "second",
            "printf 'two %s %s\\n' \"$PARAM_N\" \"$PARAM_HOST\"",
        ),
    ];
    person.runbook("deploy.md", front, &steps);
    let ran = person
        .run(&["deploy.md", "--policy", "policy.yaml", "-p", "n=3"])
        .ended(0);
    assert_eq!(ran.out, "one web-1\ntwo 3 web-1\n");
}

#[test]
fn a_run_needs_no_key_and_leaves_no_receipt() {
    let person = person();
    person.runbook("a.md", "", &[("one", "printf done")]);
    let run = ["a.md", "--policy", "policy.yaml"];
    let ran = person
        .run_with(&run, &[("COUNTERSIGN_KEY", "missing.pem")])
        .ended(0);
    assert_eq!(ran.out, "done", "{}", ran.err);
    assert_eq!(
        fs::read_dir(person.path("home")).expect("a home").count(),
        0,
        "the run writes nothing there"
    );
    for option in ["--log", "--no-receipt", "--key=a.pem", "--also-key=a.pub"] {
        assert!(
            person
                .run(&[&run[..], &[option]].concat())
                .ended(2)
                .err
                .contains("unexpected argument"),
            "{option}"
        );
    }
}

#[test]
fn only_the_named_step_runs_and_a_failed_step_ends_the_run_command() {
    let person = person();
    person.runbook(
        "a.md",
        "",
        &[
            ("one", "printf one; exit 7"),
            ("two", "printf two"),
            ("three", "printf three"),
        ],
    );
    let ran = person.run(&["a.md", "--policy", "policy.yaml"]).ended(7);
    assert_eq!(ran.out, "one");
    assert!(ran.err.contains("two, three"), "{}", ran.err);
    let ran = person
        .run(&["a.md:three", "--policy", "policy.yaml"])
        .ended(0);
    assert_eq!(ran.out, "three");
}

#[test]
fn the_run_command_has_the_exit_codes_of_a_shell() {
    let person = person();
    let steps = [
        ("seven", "exit 7"),
        ("late timeout=1s", "sleep 600"),
        ("killed", "kill -9 $$"),
        ("unlisted", "git status >/dev/null; tput"),
    ];
    person.runbook(
        "a.md",
        "params: {host: {type: string, default: x, pattern: \"^[a-z]+$\"}}",
        &steps,
    );
    for (arguments, code) in [
        (&["a.md:seven"][..], 7),
        (&["a.md:late"], 124),
        (&["a.md:killed"], 137),
        (&["a.md:unlisted"], 126),
        (&["a.md:none"], 127),
        (&["a.md:seven", "-p", "host=X"], 2),
        (&["a.md:seven", "-p", "host=-x"], 2),
        (&["a.md:seven", "-p", "hots=x"], 2),
        (&["none.md"], 2),
        (&["a"], 2),
    ] {
        person
            .run(&[arguments, &["--policy", "policy.yaml"]].concat())
            .ended(code);
    }
}

#[test]
fn errors_in_the_runbook_are_reported_with_their_places() {
    let person = person();
    person.runbook("a.md", "titel: x", &[("one tilte=x", "true")]);
    let ran = person.run(&["a.md"]).ended(2);
    for place in ["a.md:3:1:", "a.md:6:15:"] {
        assert!(ran.err.contains(place), "{place}: {}", ran.err);
    }
    person.write("prose.md", "# Prose\n");
    person.run(&["prose.md"]).ended(2);
}

#[test]
fn each_answer_is_valid_for_its_stated_scope() {
    let person = person();
    let steps = [
        ("one", "tput 2>/dev/null; printf one"),
        ("two", "tput 2>/dev/null; tset 2>/dev/null; printf two"),
    ];
    person.runbook("a.md", "", &steps);
    let run = ["a.md", "--policy", "policy.yaml"];

    let mut terminal = person.at_terminal(&run);
    terminal
        .wait_for("a.md:7:1")
        .answers("o")
        .wait_for("one")
        .answers("d");
    let (code, text) = terminal.end();
    assert_eq!(code, Some(126), "{text}");
    assert!(
        text.contains("no list of the policy contains this item")
            && text.contains("you denied this"),
        "{text}"
    );
    assert!(text.contains("no part of a:two was run"), "{text}");

    let mut terminal = person.at_terminal(&[&run[..], &["--json"]].concat());
    terminal.answers("s").wait_for("\"tset\"").answers("o");
    let (code, text) = terminal.end();
    let given = [
        ("run tput (unlisted, a.md:7:1)", "allow this session"),
        (
            "run tput (unlisted, a.md:11:1)",
            "allowed earlier in this session",
        ),
        ("run tset (unlisted, a.md:11:19)", "allow once"),
    ];
    let given = given.map(|(question, answer)| (question.to_owned(), answer.to_owned()));
    assert_eq!((code, &answers(&text)[..]), (Some(0), &given[..]), "{text}");

    let mut terminal = person.at_terminal(&run);
    terminal.answers("a").wait_for("one").wait_for("two");
    let (code, text) = terminal.end();
    assert_eq!(
        (code, text.matches("allow it?").count()),
        (Some(0), 1),
        "{text}"
    );

    let mut terminal = person.at_terminal(&run);
    terminal.answers("n");
    assert_eq!(terminal.end().0, Some(126));

    let mut terminal = person.at_terminal(&run);
    terminal.answers("y").answers("").answers("\x1b[A");
    assert_eq!(terminal.end().0, Some(126), "what is no answer is a no");
}

#[test]
fn a_denied_command_after_an_allowed_command_stops_the_script_without_a_question() {
    let person = person();
    for script in [
        "tput; printf hi && shred x",
        "printf hi && rm x",
        "printf \"$(printf x; /bin/rm x)\"",
        "if true; then sudo -n true; fi",
    ] {
        person.runbook("a.md", "", &[("one", &format!("printf before\n{script}"))]);
        let (code, text) = person
            .at_terminal(&["a.md", "--policy", "policy.yaml"])
            .end();
        assert_eq!(code, Some(126), "{script}: {text}");
        assert!(
            !text.contains("allow it?") && !text.contains("before"),
            "{script}: {text}"
        );
        assert!(
            text.contains("a.md:8:") && text.contains("is denied"),
            "{script}: {text}"
        );
    }
}

#[test]
fn the_yes_option_allows_unlisted_commands_but_no_denied_or_unknown_commands() {
    let person = person();
    let steps = [
        ("unlisted", "tput 2>/dev/null; printf done"),
        ("denied", "tput; shred x"),
        ("builtin", "tput; rm x"),
        ("unknown", "printf x; $CMD"),
        ("setting", "PATH=/tmp:$PATH; printf x"),
    ];
    person.runbook("a.md", "", &steps);
    let run = |step: &str| person.run(&[&format!("a.md:{step}"), "-y", "--policy", "policy.yaml"]);
    assert_eq!(run("unlisted").ended(0).out, "done");
    for step in ["denied", "builtin", "unknown", "setting"] {
        assert_eq!(run(step).ended(126).out, "", "{step}");
    }
    // At a terminal, the program asks about what `-y` does not allow. Without a terminal, the program denies it.
    let mut terminal = person.at_terminal(&["a.md:unknown", "-y", "--policy", "policy.yaml"]);
    terminal.answers("o");
    assert_eq!(terminal.end().0, Some(0));
    let quiet = [
        "a.md:unlisted",
        "-y",
        "--non-interactive",
        "--policy",
        "policy.yaml",
    ];
    assert_eq!(person.run(&quiet).ended(0).out, "done");
    let ran = person
        .run(&["a.md:unlisted", "-y", "--json", "--policy", "policy.yaml"])
        .ended(0);
    assert_eq!(answers(&ran.out)[0].1, "allowed by -y");
}

#[test]
fn the_option_deny_all_has_priority_over_allow_all_and_allow_all_causes_a_warning() {
    let person = person();
    person.runbook("a.md", "", &[("one", "tput 2>/dev/null; printf done")]);
    let ran = person
        .run_plain(&["a.md", "--allow-all", "--deny-all"])
        .ended(126);
    assert!(!ran.err.contains("NO SANDBOX"), "{}", ran.err);
    let ran = person.run_plain(&["a.md", "--allow-all"]).ended(0);
    assert_eq!(ran.out, "done");
    assert!(
        ran.err.contains("NO POLICY") && ran.err.contains("NO SANDBOX"),
        "{}",
        ran.err
    );
    person.run_plain(&["a.md", "--deny-all"]).ended(126);
}

#[test]
fn without_a_terminal_a_question_is_a_denial_that_names_the_allowing_flags() {
    let person = person();
    person.runbook(
        "a.md",
        "",
        &[
            ("one", "tput 2>/dev/null; printf done"),
            ("two", "PATH=/opt/x:$PATH; $X"),
        ],
    );
    let run = |arguments: &[&str]| {
        person.run(&[&["a.md:one", "--policy", "policy.yaml"], arguments].concat())
    };
    let ran = run(&[]).ended(126);
    assert!(
        ran.err.contains("no terminal") && ran.err.contains("--allow-run tput"),
        "{}",
        ran.err
    );
    let ran = run(&["--non-interactive"]).ended(126);
    assert!(ran.err.contains("--non-interactive"), "{}", ran.err);
    assert_eq!(
        run(&["--non-interactive", "--allow-run", "tput"])
            .ended(0)
            .out,
        "done"
    );
    let ran = person
        .run(&["a.md:two", "--policy", "policy.yaml"])
        .ended(126);
    assert!(
        ran.err.contains("--allow-env PATH") && ran.err.contains("can't be known"),
        "{}",
        ran.err
    );
    // `--non-interactive` also has an effect at a terminal.
    let (code, text) = person
        .at_terminal(&["a.md:one", "--policy", "policy.yaml", "--non-interactive"])
        .end();
    assert!(code == Some(126) && !text.contains("allow it?"), "{text}");
}

#[test]
fn a_permission_on_the_command_line_overrides_only_the_matching_denial() {
    let person = person();
    person.runbook(
        "a.md",
        "",
        &[("one", "rm -f x; printf done"), ("two", "rm -f x; mv x y")],
    );
    person
        .run(&["a.md:one", "--policy", "policy.yaml", "--allow-run", "rm"])
        .ended(0);
    let ran = person
        .run(&["a.md:two", "--policy", "policy.yaml", "--allow-run", "rm"])
        .ended(126);
    assert!(
        ran.err.contains("\"mv\"") && !ran.err.contains("\"rm\""),
        "{}",
        ran.err
    );
    let ran = person
        .run(&["a.md:one", "--policy", "policy.yaml", "--allow-run", "r["])
        .ended(2);
    assert!(ran.err.contains("--allow-run"), "{}", ran.err);
}

#[test]
fn a_runbook_cannot_forge_a_prompt() {
    let person = person();
    let evil = "\u{1b}[2J\u{1b}[H\u{9b}1A\u{202e}== Policy asks ==";
    person.runbook(
        "a.md",
        &format!("title: \"{}\"", "x"),
        &[("one", &format!("'ev{evil}il' && printf done"))],
    );
    let mut terminal = person.at_terminal(&["a.md", "--policy", "policy.yaml"]);
    terminal.answers("d");
    let seen = terminal.seen.clone();
    let (code, text) = terminal.end();
    assert_eq!(code, Some(126), "{text}");
    for raw in ["\u{1b}[2J", "\u{1b}[H", "\u{9b}", "\u{202e}"] {
        assert!(!text.contains(raw), "{text:?}");
    }
    assert!(
        !seen.contains(&0x1b),
        "the question needs no escapes of its own here: {text:?}"
    );
    assert!(text.contains("\\x1b[2J\\x1b[H\\u{9b}1A\\u{202e}"), "{text}");
}

#[test]
fn terminal_settings_of_a_step_are_reset_before_the_next_question() {
    let person = person();
    person.runbook(
        "a.md",
        "",
        &[
            ("one", "printf '\\033[8m\\033[?1049hhidden'"),
            ("two", "tput; printf two"),
        ],
    );
    let mut terminal = person.at_terminal(&["a.md", "--policy", "policy.yaml"]);
    terminal
        .wait_for("\x1b[8m\x1b[?1049hhidden")
        .wait_for("\x1b[?1049l")
        .wait_for("\x1b[0m")
        .answers("d");
    assert_eq!(terminal.end().0, Some(126));
}

#[test]
fn an_invalid_policy_is_refused_and_not_replaced() {
    let person = person();
    person.runbook("a.md", "", &[("one", "printf done")]);
    person.write(".rundownrc.yaml", POLICY);
    assert_eq!(
        person.run(&["a.md"]).ended(0).out,
        "done",
        "the discovered one"
    );
    for bad in [
        "version: 1\ndefault: {run: {denny: [rm]}}\n",
        "version: 4\ndefault: {}\n",
        "{",
        "",
    ] {
        person.write("bad.yaml", bad);
        let ran = person.run(&["a.md", "--policy", "bad.yaml"]).ended(2);
        assert!(ran.err.contains("bad.yaml"), "{}", ran.err);
        person.write("below/.rundownrc", bad);
        let mut command = person.command(&["run", "--sandbox", "../a.md"]);
        let output = command
            .current_dir(person.path("work/below"))
            .output()
            .expect("started");
        assert_eq!(
            output.status.code(),
            Some(2),
            "{bad:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    person.run(&["a.md", "--policy", "none.yaml"]).ended(2);
}

#[test]
fn a_policy_override_applies_to_a_runbook_path_with_links_or_parent_directories() {
    let person = person();
    person.runbook("deploy/web.md", "", &[("one", "printf done")]);
    fs::create_dir(person.path("work/.git")).expect("made");
    std::os::unix::fs::symlink("deploy/web.md", person.path("work/safe.md")).expect("a link");
    let rule =
        format!("{POLICY}overrides: [{{runbook: \"deploy/**\", run: {{deny: [printf]}}}}]\n");
    person.write("policy.yaml", &rule);
    for file in [
        "deploy/web.md",
        "./deploy/web.md",
        "deploy/../deploy//web.md",
        "safe.md",
    ] {
        let ran = person.run(&[file, "--policy", "policy.yaml"]).ended(126);
        assert!(ran.err.contains("overrides[0]"), "{}", ran.err);
    }
    let absolute = person.path("work/deploy/web.md");
    person
        .run(&[&absolute.to_string_lossy(), "--policy", "policy.yaml"])
        .ended(126);
}

#[test]
fn a_run_uses_the_script_that_policy_checked_even_if_the_file_changes() {
    let person = person();
    let script = |word: &str| format!("tput 2>/dev/null; printf {word}");
    person.runbook("a.md", "", &[("one", &script("decided"))]);
    let mut terminal = person.at_terminal(&["a.md", "--policy", "policy.yaml"]);
    terminal.wait_for("allow it? [");
    person.runbook("a.md", "", &[("one", &script("changed"))]);
    terminal.wait_for("] ").types("o\n").wait_for("decided");
    let (code, text) = terminal.end();
    assert!(code == Some(0) && !text.contains("changed"), "{text}");
}

#[test]
fn a_step_inherits_only_allowed_variables_and_none_that_changes_executed_code() {
    let person = person();
    let names = [
        "CI",
        "MINE",
        "GITHUB_TOKEN",
        "LD_PRELOAD",
        "BASH_ENV",
        "ENV",
        "GIT_SSH_COMMAND",
        "NODE_OPTIONS",
        "SSH_AUTH_SOCK",
        "COUNTERSIGN_TOKEN",
        "PARAM_HOST",
        "PS4",
    ];
    let script: String = names
        .iter()
        .map(|name| format!("printf '%s\\n' \"{name}=${{{name}-}}\"\n"))
        .collect();
    person.runbook(
        "a.md",
        "params: {host: {type: string, default: web-1}}",
        &[("one", script.trim_end())],
    );
    let environment: Vec<(&str, &str)> = names.iter().map(|name| (*name, "/x")).collect();
    let run = |arguments: &[&str]| {
        let ran = person
            .run_with(
                &[&["a.md", "--policy", "policy.yaml"], arguments].concat(),
                &environment,
            )
            .ended(0);
        ran.out
            .lines()
            .filter(|line| line.ends_with("=/x") || line.starts_with("PARAM_"))
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(run(&[]), ["CI=/x", "PARAM_HOST=web-1"]);
    assert_eq!(
        run(&["--allow-env", "MINE,LD_PRELOAD,PARAM_HOST"]),
        ["CI=/x", "MINE=/x", "PARAM_HOST=web-1"]
    );
    assert_eq!(
        run(&["--allow-all"]),
        ["CI=/x", "MINE=/x", "GITHUB_TOKEN=/x", "PARAM_HOST=web-1"]
    );
}

#[test]
fn a_step_can_use_the_current_directory_only_as_policy_allows() {
    let person = person();
    person.write("data.txt", "old");
    person.write(".env", "secret");
    // The step writes a new file, because a step cannot change files of another owner in an overlay.
    let script = "cat data.txt .env 2>/dev/null; printf ' new' > made.txt; cat made.txt";
    person.runbook("a.md", "", &[("one", script)]);
    let made = person.path("work/made.txt");
    let ran = person.run(&["a.md", "--policy", "policy.yaml"]).ended(0);
    assert_eq!(
        (ran.out.as_str(), made.exists()),
        ("old new", false),
        "what it writes is discarded: {}",
        ran.err
    );
    assert!(
        ran.err.contains("overlay") && ran.err.contains("--allow-write ."),
        "{}",
        ran.err
    );
    let ran = person
        .run(&["a.md", "--policy", "policy.yaml", "--allow-write", "."])
        .ended(0);
    assert_eq!(
        (ran.out.as_str(), read(&made).as_str()),
        ("old new", " new"),
        "{}",
        ran.err
    );
    fs::remove_file(&made).expect("removed");
    person.write(
        "closed.yaml",
        &POLICY.replace(
            "default:\n",
            "default:\n  read: {deny: ['{repo}', '{repo}/**']}\n",
        ),
    );
    let ran = person.run(&["a.md", "--policy", "closed.yaml"]).ended(0);
    assert!(
        ran.out == " new" && !made.exists() && ran.err.contains("a separate empty directory"),
        "{ran:?}"
    );
    // Without a sandbox, the step can read and write all files of the person.
    let ran = person
        .run_plain(&["a.md", "--policy", "policy.yaml", "--no-sandbox"])
        .ended(0);
    assert_eq!(ran.out, "oldsecret new");
}

#[test]
fn a_step_gets_only_the_paths_of_the_command_line() {
    let person = person();
    for name in ["given", "other"] {
        person.write(&format!("../{name}/x"), name);
    }
    fs::set_permissions(
        person.path("given"),
        std::os::unix::fs::PermissionsExt::from_mode(0o777),
    )
    .expect("mode");
    let (given, other) = (person.path("given"), person.path("other"));
    let script = format!(
        "cat {0}/x {1}/x 2>/dev/null; (printf new > {0}/made) 2>/dev/null; true",
        given.display(),
        other.display()
    );
    person.runbook("a.md", "", &[("one", &script)]);
    let run = |arguments: &[&str]| {
        person.run(&[&["a.md", "--policy", "policy.yaml"], arguments].concat())
    };
    assert_eq!(run(&[]).ended(0).out, "");
    assert_eq!(run(&["--allow-read", "../given"]).ended(0).out, "given");
    assert!(!given.join("made").exists());
    let ran = run(&["--allow-write", "../given"]).ended(2);
    assert!(ran.err.contains("--allow-write ."), "{}", ran.err);
    assert_eq!(run(&["--allow-write", ".,../given"]).ended(0).out, "given");
    assert_eq!(read(&given.join("made")), "new");
    // A step can't get a directory that contains the keys of the person, so the step works in the given directory.
    person.make_key();
    fs::remove_file(given.join("made")).expect("removed");
    for name in ["a.md", "policy.yaml"] {
        fs::copy(
            person.path("work").join(name),
            person.path("home").join(name),
        )
        .expect("copied");
    }
    let mut command = person.command(&[
        "run",
        person.sandbox,
        "a.md",
        "--policy",
        "policy.yaml",
        "--allow-write",
        ".,../given",
    ]);
    let output = command
        .current_dir(person.path("home"))
        .output()
        .expect("started");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(
        (output.stdout.as_slice(), output.status.code()),
        (&b"given"[..], Some(0)),
        "{said}"
    );
    assert!(
        said.contains("works in") && said.contains("not in the current directory"),
        "{said}"
    );
    assert_eq!(read(&given.join("made")), "new");
    for wrong in ["../none", "../g*", "{repo}"] {
        run(&["--allow-read", wrong]).ended(2);
    }
}

#[test]
fn a_step_that_writes_a_policy_file_for_later_runs_is_reported() {
    let person = person();
    person.runbook(
        "a.md",
        "",
        &[(
            "one",
            "printf 'version: 1\\ndefault: {mode: execute}\\n' > .rundownrc",
        )],
    );
    let ran = person
        .run_plain(&["a.md", "--policy", "policy.yaml", "--no-sandbox"])
        .ended(0);
    assert!(
        ran.err
            .contains("WARNING: the policy file found from this directory has changed"),
        "{}",
        ran.err
    );
}

#[test]
fn no_step_can_see_the_keys_of_the_person() {
    let person = person();
    person.make_key();
    let key = person
        .path("home/.config/countersign/key.pem")
        .to_string_lossy()
        .into_owned();
    person.runbook(
        "a.md",
        "",
        &[("one", &format!("cat '{key}' 2>/dev/null || printf unseen"))],
    );
    assert_eq!(
        person
            .run(&["a.md", "--policy", "policy.yaml"])
            .ended(0)
            .out,
        "unseen"
    );
    // If the key is below the current directory, the step does not get the current directory.
    fs::copy(person.path("work/a.md"), person.path("home/a.md")).expect("copied");
    fs::copy(
        person.path("work/policy.yaml"),
        person.path("home/policy.yaml"),
    )
    .expect("copied");
    let mut command = person.command(&[
        "run",
        person.sandbox,
        "a.md",
        "--policy",
        "policy.yaml",
        "--allow-write",
        ".",
    ]);
    let output = command
        .current_dir(person.path("home"))
        .output()
        .expect("started");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(
        (output.stdout.as_slice(), output.status.code()),
        (&b"unseen"[..], Some(0)),
        "{said}"
    );
    assert!(said.contains("a separate empty directory"), "{said}");
}

#[test]
fn ctrl_c_ends_all_processes_of_the_step() {
    let person = person();
    let mark = format!("6{:09}", std::process::id());
    let script = format!(
        "trap '' INT TERM\nsleep {mark} &\n(sleep {mark} & sleep {mark}) &\nprintf began\nwait"
    );
    person.runbook("a.md", "", &[("one", &script), ("two", "printf further")]);
    let mut terminal = person.at_terminal(&["a.md", "--policy", "policy.yaml"]);
    terminal.wait_for("began");
    // The script prints `began` before its background processes have executed `sleep`.
    wait_for("its processes are seen", || lives(&mark));
    terminal.types("\x03");
    let (code, text) = terminal.end();
    assert_eq!(code, Some(130), "{text}");
    assert!(!text.contains("further") && !lives(&mark), "{text}");
    // The step did not fail: the signal also ended the command.
    assert!(
        text.contains("because signal 2 ended this command: two")
            && !text.contains("did not succeed"),
        "{text}"
    );
}

#[test]
fn ctrl_c_at_a_question_ends_the_program_before_any_run() {
    let person = person();
    person.runbook("a.md", "", &[("one", "tput")]);
    let mut terminal = person.at_terminal(&["a.md", "--policy", "policy.yaml"]);
    terminal.wait_for("] ").types("\x03");
    assert_eq!(terminal.end().0, Some(130));
}

#[test]
fn a_closed_output_pipe_ends_the_step() {
    let person = person();
    let mark = format!("7{:09}", std::process::id());
    person.runbook(
        "a.md",
        "",
        &[(
            "one",
            &format!("printf x\nsleep 1\nprintf y\nsleep 1\nprintf z\nsleep {mark}"),
        )],
    );
    let line = format!("'{PROGRAM}' run --sandbox a.md --policy policy.yaml | head -c 1");
    let mut command = Command::new("bash");
    command
        .args(["-c", &line])
        .current_dir(person.path("work"))
        .env("HOME", person.path("home"));
    let output = command
        .env_remove("XDG_STATE_HOME")
        .output()
        .expect("started");
    assert_eq!(output.stdout, b"x");
    assert!(!lives(&mark));
}

#[test]
fn the_json_output_of_run_has_the_same_event_format_as_the_boundary() {
    let person = person();
    person.runbook(
        "a.md",
        "",
        &[(
            "one",
            "tput 2>/dev/null; printf out; printf '\\377' >&2; exit 3",
        )],
    );
    let ran = person
        .run(&["a.md", "--policy", "policy.yaml", "-y", "--json"])
        .ended(3);
    let events: Vec<Value> = ran
        .out
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let of = |kind: &str| {
        events
            .iter()
            .filter(|event| event["type"] == kind)
            .collect::<Vec<_>>()
    };
    let types: Vec<&str> = events
        .iter()
        .map(|event| event["type"].as_str().expect("a type"))
        .collect();
    assert_eq!(
        (types[0], types[1], types.last()),
        ("answer", "step", Some(&"result")),
        "{types:?}"
    );
    assert_eq!(of("step")[0]["step"], "a:one");
    let out: Vec<_> = of("output")
        .iter()
        .map(|event| {
            (
                event["stream"].clone(),
                event["text"].clone(),
                event["base64"].clone(),
            )
        })
        .collect();
    assert!(
        out.contains(&("stdout".into(), "out".into(), Value::Null)),
        "{out:?}"
    );
    assert!(
        out.contains(&("stderr".into(), Value::Null, "/w==".into())),
        "{out:?}"
    );
    assert_eq!(
        of("exit")[0]["outcome"],
        serde_json::json!({"status": "failed", "exit_code": 3})
    );
    assert_eq!(of("result")[0]["exit"]["code"], 3);
    let ran = person
        .run(&["a.md", "--policy", "policy.yaml", "--json"])
        .ended(126);
    let refused: Value =
        serde_json::from_str(ran.out.lines().last().expect("a line")).expect("JSON");
    assert_eq!(refused["error"]["kind"], "refused");
}

#[test]
fn a_run_without_a_sandbox_is_announced() {
    let person = person();
    person.runbook("a.md", "", &[("one", "printf done")]);
    let ran = person
        .run_plain(&["a.md", "--policy", "policy.yaml", "--no-sandbox"])
        .ended(0);
    assert!(ran.err.contains("NO SANDBOX"), "{}", ran.err);
    let ran = person
        .run_plain(&["a.md", "--policy", "policy.yaml", "--no-sandbox", "--json"])
        .ended(0);
    assert_eq!(events(&ran.out, "step")[0]["sandbox"], "off");
    for both in [
        ["--no-sandbox", "--sandbox-strict"],
        ["--sandbox", "--no-sandbox"],
        ["--sandbox", "--sandbox-strict"],
    ] {
        person.run_plain(&[&["a.md"][..], &both].concat()).ended(2);
    }
}

#[test]
fn the_default_sandbox_level_is_strict_and_a_missing_layer_is_refused() {
    let person = person();
    person.runbook("a.md", "", &[("one", "printf done")]);
    let ran = person
        .run_plain(&["a.md", "--policy", "policy.yaml", "--json"])
        .ended(0);
    assert_eq!(events(&ran.out, "step")[0]["sandbox"], "strict");
    // A host that permits no further namespaces.
    let without_namespaces = |flag: &str| {
        let line = format!(
            "exec unshare -U -r sh -c 'echo 0 > /proc/sys/user/max_user_namespaces && echo unshared >&2 && \
             exec {PROGRAM} run a.md --policy policy.yaml {flag}'"
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
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        said.contains("unshared").then(|| {
            (
                output.status.code(),
                String::from_utf8_lossy(&output.stdout).into_owned(),
                said,
            )
        })
    };
    let Some((code, out, said)) = without_namespaces("") else {
        eprintln!("not run: a host without namespaces: unshare is refused here");
        return;
    };
    assert_eq!((code, out.as_str()), (Some(126), ""), "{said}");
    assert!(
        said.contains("required layer") && said.contains("--sandbox"),
        "{said}"
    );
    let (code, out, said) = without_namespaces("--sandbox").expect("as before");
    assert_eq!((code, out.as_str()), (Some(0), "done"), "{said}");
    assert!(
        said.contains("layer namespaces is missing") && said.contains("layer network is missing"),
        "{said}"
    );
}
