use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use super::*;
use crate::{GivenToRun, ShellState};

/// The shells of this host: the names of the programs, and the arguments with which each one runs a script.
const SHELLS: [&str; 3] = ["bash", "dash", "bash as sh"];

struct Ran {
    state: ShellState,
    output: Output,
    /// Output of the same script without a wrapper.
    plain: Output,
    captured: Vec<u8>,
}

impl Ran {
    fn code(&self) -> Option<i32> {
        self.output.status.code()
    }

    fn text(&self, name: &str) -> Option<String> {
        self.state
            .env
            .get(name.as_bytes())
            .map(|value| String::from_utf8_lossy(value).into_owned())
    }
}

/// Runs a script with its wrapper, and again without it. Both runs must have the same output and the same end.
fn run(shell: &str, script: &str) -> Ran {
    let ran = run_bytes(shell, script.as_bytes());
    let text = |output: &Output| {
        let both = [output.stdout.clone(), output.stderr.clone()].concat();
        // dash names a script that it reads with `.` twice. With `set -x`, bash also shows the call of the wrapper.
        let both = String::from_utf8_lossy(&both).replace("./script: ./script: ", "./script: ");
        // The shells quote in different ways.
        let both = both.replace("'\"'\"'", "'\\''");
        let both = both
            .replace(": ./script: ", ": ")
            .replace("eval: line", "exit trap: line");
        // The text of a trap runs through `eval`.
        let both = both
            .replace(" eval: NOSUCH", " NOSUCH")
            .replace(" eval: Syntax", " Syntax");
        both.lines()
            .filter(|line| !line.starts_with("+ __countersign"))
            .collect::<Vec<_>>()
            .join("\n")
    };
    assert_eq!(text(&ran.output), text(&ran.plain), "{shell}: {script}");
    assert_eq!(ran.output.status, ran.plain.status, "{shell}: {script}");
    ran
}

fn run_bytes(shell: &str, script: &[u8]) -> Ran {
    let directory = tempfile::tempdir().expect("a directory");
    let at = |name: &str| directory.path().join(name);
    let wrapper =
        wrapper_for(script, if shell == "bash" { "bash" } else { "sh" }).expect("a wrapper");
    std::fs::write(at("wrapper"), wrapper.content).expect("the wrapper");
    std::os::unix::fs::symlink("/bin/bash", at("sh")).expect("bash as sh");
    let program = if shell == "bash as sh" {
        at("sh")
    } else {
        PathBuf::from(shell)
    };
    let command = |work: &str| {
        std::fs::create_dir(at(work)).expect("the work directory");
        std::fs::write(at(work).join("script"), script).expect("the script");
        let mut command = Command::new("env");
        // A test program that runs in the background ignores these signals, and a shell would inherit this.
        command.arg("--default-signal=HUP,INT,QUIT").arg(&program);
        command
            .env_clear()
            .env("PATH", crate::isolation::interpreter::PATH)
            .env("GIVEN", "1")
            .env("LANG", "C.UTF-8");
        command.current_dir(at(work)).stdin(Stdio::null());
        command
    };
    let plain = command("plain")
        .arg("./script")
        .output()
        .expect("the shell");
    let mut wrapped = command("work");
    for (name, value) in &wrapper.env {
        let path = |placeholder: &str, name: &str| {
            value.replace(placeholder, at(name).to_str().expect("UTF-8"))
        };
        let value = path(SESSION_WRAPPER_FILE, "wrapper");
        wrapped.env(
            name,
            if value == SESSION_STATE_FILE {
                path(SESSION_STATE_FILE, "state")
            } else {
                value
            },
        );
    }
    let output = wrapped
        .args(wrapper.arguments.iter().flatten())
        .arg("./script")
        .output()
        .expect("the shell");
    let captured = std::fs::read(at("state")).unwrap_or_default();
    let work = at("work")
        .canonicalize()
        .expect("the work directory")
        .into_os_string()
        .into_encoded_bytes();
    let given = GivenToRun {
        env: BTreeMap::from([(b"GIVEN".to_vec(), b"1".to_vec())]),
        work: Some(work.clone()),
        directories: vec![b"/usr".to_vec()],
        ..GivenToRun::default()
    };
    let before = ShellState {
        env: BTreeMap::from([(b"BEFORE".to_vec(), b"1".to_vec())]),
        ..ShellState::default()
    };
    let mut state = before.after(&captured, &given).expect("a small state");
    // Paths without the random name of the directory.
    state.cwd = state
        .cwd
        .map(|cwd| match cwd.strip_prefix(work.as_slice()) {
            Some(rest) => [b"work", rest].concat(),
            None => cwd,
        });
    Ran {
        state,
        output,
        plain,
        captured,
    }
}

fn is_before(ran: &Ran) -> bool {
    ran.text("BEFORE").as_deref() == Some("1")
}

#[test]
fn exported_variables_survive_with_every_sign() {
    for shell in SHELLS {
        let ran = run(
            shell,
            "export A=\"one\ntwo\n\" B='\"'\"'\"'`$x${y}\\\\!*[' C= D=\"$(printf '\\377\\376\\t\\033')\" if=1\nE=not; F=later\nexport F\n",
        );
        let value = |name: &str| ran.state.env.get(name.as_bytes()).map(Vec::as_slice);
        assert_eq!(value("A"), Some(b"one\ntwo\n".as_slice()), "{shell}");
        assert_eq!(value("B"), Some(b"\"'`$x${y}\\\\!*[".as_slice()), "{shell}");
        assert_eq!(value("C"), Some(b"".as_slice()), "{shell}");
        assert_eq!(value("D"), Some(b"\xff\xfe\t\x1b".as_slice()), "{shell}");
        assert_eq!(value("if"), Some(b"1".as_slice()), "{shell}");
        assert_eq!(
            (value("E"), value("F")),
            (None, Some(b"later".as_slice())),
            "{shell}"
        );
        assert_eq!(ran.state.env.len(), 6, "{shell}: {:?}", ran.state.env);
        assert!(
            ran.state.unset.is_empty() && ran.state.cwd.is_none(),
            "{shell}"
        );
    }
}

#[test]
fn removed_variables_and_the_directory_survive() {
    for shell in SHELLS {
        let ran = run(shell, "unset GIVEN; mkdir -p 'a\nb'; cd 'a\nb'");
        assert_eq!(
            ran.state.unset.iter().collect::<Vec<_>>(),
            [b"GIVEN"],
            "{shell}"
        );
        assert_eq!(
            ran.state.cwd.as_deref(),
            Some(b"work/a\nb".as_slice()),
            "{shell}"
        );
        assert_eq!(
            run(shell, "cd /usr/bin").state.cwd.as_deref(),
            Some(b"/usr/bin".as_slice()),
            "{shell}"
        );
        assert_eq!(
            run(shell, "cd /").state.cwd.as_deref(),
            Some(b"/".as_slice()),
            "{shell}"
        );
        // The next run would not see this directory.
        assert_eq!(run(shell, "cd /var").state.cwd, None, "{shell}");
        assert_eq!(
            run(shell, "mkdir gone; cd gone; rmdir ../gone; export A=1")
                .state
                .cwd,
            None,
            "{shell}"
        );
        assert!(
            run(shell, "unset PATH; export A=1").state.unset.is_empty(),
            "{shell}"
        );
        assert_eq!(
            run(shell, "unset PATH; export A=1").text("A").as_deref(),
            Some("1"),
            "{shell}"
        );
        assert_eq!(
            run(shell, "PATH=/usr/bin:/bin").text("PATH").as_deref(),
            Some("/usr/bin:/bin"),
            "{shell}"
        );
        for path in ["$PATH:/tmp", "", ":", "$PATH:", "."] {
            assert_eq!(
                run(shell, &format!("PATH={path}")).text("PATH"),
                None,
                "{shell}: {path}"
            );
        }
    }
    assert_eq!(run("bash", "export -n GIVEN").state.unset.len(), 1);
}

#[test]
fn the_end_of_a_script_keeps_its_exit_code_and_the_state() {
    for shell in SHELLS {
        for (script, code) in [
            ("export A=1; exit 7", 7),
            ("f() { exit 7; }\nexport A=1; f; export A=2", 7),
            ("set -e; export A=1; false; export A=2", 1),
            (
                "set -eu; export A=1; cd /nonexistent; export A=2",
                if shell == "dash" { 2 } else { 1 },
            ),
            (
                "export A=1; return 4; ",
                if shell == "dash" { 4 } else { 2 },
            ),
            ("export A=1; false", 1),
            ("export A=1; nosuchprogram", 127),
            ("export A=1; (exit 3)", 3),
            (
                "export A=1; set -f; set -C; set -o noclobber; unset IFS; exit 9",
                9,
            ),
            ("export A=1; sleep 0.01 & true", 0),
            ("export A=1; set -o posix 2>/dev/null; true", 0),
            ("readonly A=1; export A", 0),
        ] {
            if shell == "dash" && script.contains("posix")
                || shell == "bash as sh" && script.contains("return")
            {
                continue;
            }
            let ran = run(shell, script);
            assert_eq!(
                (ran.code(), ran.text("A").as_deref()),
                (Some(code), Some("1")),
                "{shell}: {script}"
            );
        }
        let unset = run(shell, "set -u\nexport A=1\necho \"$NOSUCH\"\n");
        assert_eq!(unset.text("A").as_deref(), Some("1"), "{shell}");
        let syntax = run(shell, "export A=1\nif\n");
        assert_ne!(syntax.code(), Some(0), "{shell}");
    }
}

#[test]
fn without_an_end_of_the_shell_the_state_before_holds() {
    for shell in SHELLS {
        for script in [
            "export A=1; exec true",
            "export A=1; kill -9 $$",
            "export A=1; exec sh -c 'export A=2'",
        ] {
            let ran = run(shell, script);
            assert!(
                is_before(&ran) && ran.text("A").is_none(),
                "{shell}: {script}: {:?}",
                ran.state
            );
        }
        // The first record is complete, because the trap runs after it.
        let ran = run(shell, "trap 'export A=2; kill -9 $$' EXIT; export A=1");
        assert_eq!(ran.text("A").as_deref(), Some("1"), "{shell}");
    }
}

#[test]
fn a_limit_of_the_script_for_files_does_not_change_its_end() {
    for shell in SHELLS {
        let trap = "trap 'echo bye' EXIT; ";
        let large =
            "trap 'echo large' XFSZ; trap 'head -c 9 /etc/passwd > f; echo x > g; echo $?' EXIT; ";
        for (before, state) in [
            ("", "ulimit -f 0"),
            (trap, "ulimit -f 0"),
            (trap, "ulimit -S -f 0"),
            (large, "ulimit -f 0"),
        ] {
            let ran = run(shell, &format!("{before}export A=1; {state}; exit 16"));
            assert!(
                ran.code() == Some(16) && is_before(&ran),
                "{shell}: {before}{state}: {:?}",
                ran.state
            );
        }
    }
}

#[test]
fn the_traps_of_a_script_run_as_usual() {
    for shell in SHELLS {
        for (script, value) in [
            (
                "trap 'echo bye $?; export A=2' EXIT; export A=1; exit 3",
                "2",
            ),
            ("trap 'echo bye $?; export A=2' 0; export A=1; false", "2"),
            ("trap 'export A=2; exit 5' EXIT; export A=1; exit 3", "2"),
            ("trap 'export A=2; exit' EXIT; export A=1; exit 3", "2"),
            (
                "trap 'echo one' EXIT; trap 'echo two' EXIT; export A=1",
                "1",
            ),
            ("trap 'echo one' EXIT; trap - EXIT; export A=1", "1"),
            ("trap 'echo one' EXIT; trap EXIT; export A=1", "1"),
            ("trap 'echo one' EXIT; trap 0; export A=1", "1"),
            ("trap 'echo one' EXIT; trap '' EXIT; export A=1", "1"),
            (
                "trap 'echo one' EXIT INT TERM; trap - INT; trap; export A=1",
                "1",
            ),
            (
                "trap -- 'echo \"it'\"'\"'s\"' EXIT INT; trap; export A=1",
                "1",
            ),
            (
                "f() { trap 'echo $1 $# $?' EXIT; }; set -- a b; f c; export A=1; exit 2",
                "1",
            ),
            (
                "export A=1; (trap 'echo sub' EXIT; export A=2; exit 4); echo $?",
                "1",
            ),
            (
                "trap 'echo main' EXIT; export A=1; (export A=2; exit 4); echo $?",
                "1",
            ),
            (
                "trap 'echo main' EXIT; export A=1; (trap 'echo sub' EXIT; export A=2); echo $?",
                "1",
            ),
            (
                "trap 'echo main' EXIT; export A=1; x=$(export A=2; echo in); echo $x",
                "1",
            ),
            ("set -e; trap 'echo bye $?' EXIT; export A=1; false", "1"),
            ("set -e; trap 'false; export A=2' EXIT; export A=1", "1"),
            (
                "set -u; trap 'echo $NOSUCH; export A=2' EXIT; export A=1",
                "1",
            ),
            (
                "trap 'trap \"echo second\" EXIT; echo first' EXIT; export A=1",
                "1",
            ),
            (
                "trap 'echo term; exit 6' TERM; export A=1; kill -TERM $$; export A=2",
                "1",
            ),
            ("trap 'echo usr' USR1; trap; kill -USR1 $$; export A=1", "1"),
            ("trap 'if' EXIT; export A=1", "1"),
            ("trap", ""),
        ] {
            // In POSIX mode, bash handles these errors in another way if `eval` or a file is around them.
            let differs = ["trap EXIT;", "NOSUCH", "trap 'if'"]
                .iter()
                .any(|part| script.contains(part));
            if shell == "bash as sh" && differs {
                continue;
            }
            let ran = run(shell, script);
            assert_eq!(
                ran.text("A").unwrap_or_default(),
                value,
                "{shell}: {script}"
            );
        }
    }
}

#[test]
fn bash_keeps_its_other_traps_and_shows_them() {
    for script in [
        "trap 'echo err $LINENO' ERR\nfalse\ntrap -p\ntrap - ERR\nfalse\ntrap -p\n",
        "set -E\ntrap 'echo err $LINENO' ERR\nf() { false; }\nf\ntrap - ERR\nf\n",
        "f() { local x=1; trap 'echo return $x; trap - RETURN' RETURN; x=2; echo in f; }\nf\ng() { echo g; }\ng\n",
        "trap 'echo debug $BASH_COMMAND' DEBUG\ntrue\ntrue two\n",
        "cleanup() { local code=$?; echo $code $BASH_COMMAND $# $LINENO; export A=2; exit $code; }\ntrap cleanup EXIT\n\nexit 3\n",
        "trap 'echo bye' EXIT\nold=$(trap -p EXIT)\necho \"$old\"\ntrap 'echo new' EXIT\neval \"$old\"\ntrap -p EXIT INT\n",
        "trap 'echo bye' EXIT\n(trap -p; trap 'echo int' INT; trap -p)\n",
        "trap -l | head -1; trap -p; trap --; trap -- 'true' INT; trap; trap 2; trap -p INT EXIT\n",
        "set -o posix\ntrap 'echo bye' EXIT\nexit 3\n",
        "set -o posix\nf() { trap 'echo return; trap - RETURN' RETURN; }\nf\ng() { echo g; }\ng\n",
        "set -x\ntrap 'true' INT\nfalse\nexit 2\n",
        "set -eo pipefail; shopt -s extdebug; f() { echo f; }; f; false | true",
        "alias ls=echo; ls >/dev/null; unalias -a; shopt expand_aliases; type -t trap >/dev/null; echo $BASH_ENV $COUNTERSIGN_SESSION $- $0 $#",
        "echo one\nnosuchprogram\nf() {\n  nosuchprogram\n}\nf\n. ./nosuchfile\necho $((1/0))\n",
    ] {
        let ran = run("bash", &format!("export A=1\n{script}"));
        assert!(!is_before(&ran), "{script}");
    }
    let ran = run(
        "bash",
        "set -o posix\ntrap 'export A=2; exit 4' EXIT\nexit 3",
    );
    assert_eq!((ran.code(), ran.text("A").as_deref()), (Some(4), Some("2")));
}

#[test]
fn an_error_of_trap_names_the_line_of_the_script() {
    let script = "export A=1\nf() {\n  trap 'echo bye' EXIT NOSUCH INT\n  echo $?\n  trap -p\n}\nf\ntrap -Z\ntrap -p NO\n";
    let ran = run_bytes("bash", script.as_bytes());
    let errors = "./script: line 3: trap: wrong option or signal: -- echo bye NOSUCH\n\
                  ./script: line 8: trap: wrong option or signal: -Z\n\
                  ./script: line 9: trap: wrong option or signal: -p NO\n";
    assert_eq!(String::from_utf8_lossy(&ran.output.stderr), errors);
    assert_eq!(
        String::from_utf8_lossy(&ran.output.stdout),
        "1\ntrap -- 'echo bye' EXIT\ntrap -- 'echo bye' SIGINT\nbye\n"
    );
    assert_eq!(
        (ran.output.status, ran.output.stdout),
        (ran.plain.status, ran.plain.stdout)
    );
    assert_eq!(ran.state.env.get(b"A".as_slice()), Some(&b"1".to_vec()));
}

#[test]
fn functions_of_the_script_change_nothing() {
    for shell in SHELLS {
        for name in [
            "printf", "builtin", "cd", "pwd", "command", "read", "unset_", "local_", "declare",
        ] {
            let ran = run(
                shell,
                &format!("{name}() {{ echo mine; exit 9; }}; export A=1"),
            );
            assert_eq!(
                (ran.text("A").as_deref(), ran.code()),
                (Some("1"), Some(0)),
                "{shell}: {name}"
            );
        }
    }
    for name in ["exit", "export", "unset", "set", "eval", "return"] {
        let ran = run("bash", &format!("export A=1; {name}() {{ echo mine; }}"));
        assert_eq!(
            (ran.text("A").as_deref(), ran.code()),
            (Some("1"), Some(0)),
            "{name}"
        );
    }
    let ran = run(
        "bash",
        "exit() { echo mine; builtin exit \"$@\"; }; trap 'export A=2; exit 5' EXIT; export A=1",
    );
    assert_eq!((ran.text("A").as_deref(), ran.code()), (Some("1"), Some(5)));
}

#[test]
fn many_variables_and_odd_scripts_are_no_problem() {
    for shell in SHELLS {
        let many = run(
            shell,
            "i=0; while [ $i -lt 5000 ]; do export \"V$i=value $i\"; i=$((i+1)); done",
        );
        assert_eq!(
            (many.state.env.len(), many.text("V4999").as_deref()),
            (5000, Some("value 4999")),
            "{shell}"
        );
        assert_eq!(
            run(shell, "export A=1\r\nexport B=2\r\n")
                .text("A")
                .as_deref(),
            Some("1\r"),
            "{shell}"
        );
        assert_eq!(
            run(shell, "#!/bin/sh -eu\nset +x\nexport A=1 # no newline")
                .text("A")
                .as_deref(),
            Some("1"),
            "{shell}"
        );
        assert_eq!(run(shell, "").state, ShellState::default(), "{shell}");
        assert_eq!(
            run(shell, "exec >&- 2>&-; export A=1").text("A").as_deref(),
            Some("1"),
            "{shell}"
        );
        assert_eq!(run(shell, "set -a; A=1; B=2").state.env.len(), 2, "{shell}");
    }
}

#[test]
fn variables_that_change_which_code_runs_are_not_carried() {
    let script = "ls() { echo evil; }; export -f ls; export MAKEFILES=x BASH_ENV=x ENV=x LD_PRELOAD= PS4=x IFS=x \
                  GIT_SSH=x https_proxy=x All_Proxy=x PYTHONPATH=x XDG_CONFIG_HOME=x HOME=/x TMPDIR=/x PARAM_A=1 \
                  COUNTERSIGN_X=1 RUNBOOK_OUTPUT=x SHLVL=9 A=1";
    let ran = run("bash", script);
    assert_eq!(ran.state.env.into_keys().collect::<Vec<_>>(), [b"A"]);
    assert!(!ran.captured.is_empty());
}

#[test]
fn a_damaged_record_changes_nothing() {
    let good = run("bash", "export A=1").captured;
    let state = |bytes: &[u8]| {
        ShellState::default()
            .after(bytes, &GivenToRun::default())
            .expect("a small state")
    };
    assert!(state(&good).env.contains_key(b"A".as_slice()));
    for length in 0..good.len() - 1 {
        assert_eq!(state(&good[..length]), ShellState::default(), "{length}");
    }
    for at in 0..good.len() {
        let mut bytes = good.clone();
        bytes[at] ^= 0x24;
        let _ = state(&bytes);
    }
}

#[test]
fn a_wrapper_is_chosen_by_the_first_line_and_the_interpreter() {
    let name = |source: &str, interpreter: &str| {
        wrapper_for(source.as_bytes(), interpreter).map(|one| one.name)
    };
    for (source, interpreter, expected) in [
        ("true", "bash", Some("session.bash")),
        ("true", "sh", Some("session.sh")),
        ("true", "/bin/dash", Some("session.sh")),
        ("1", "python", None),
        ("true", "zsh", None),
        ("#!/usr/bin/env bash\n", "sh", Some("session.bash")),
        ("#!/bin/bash -eu\n", "sh", Some("session.bash")),
        ("#!/usr/bin/env -S bash -e -x\n", "sh", Some("session.bash")),
        ("#!/bin/sh\n", "bash", Some("session.sh")),
        ("#!/usr/bin/python3\n", "bash", None),
        ("#!/bin/bash -v\n", "bash", None),
        ("#!/bin/bash --posix\n", "bash", None),
        ("#!/bin/bash -p\n", "bash", None),
        ("#!/usr/bin/env -i bash\n", "bash", None),
        ("#!/usr/bin/env -S A=1 bash\n", "bash", None),
        ("#!bash\n", "bash", None),
    ] {
        assert_eq!(name(source, interpreter), expected, "{source}");
    }
    let arguments = wrapper_for(b"#!/usr/bin/env -S sh -e\n", "bash").and_then(|one| one.arguments);
    assert_eq!(arguments.expect("arguments")[..2], ["-S sh -e", "-c"]);
    assert!(Path::new("/bin/bash").exists());
}
