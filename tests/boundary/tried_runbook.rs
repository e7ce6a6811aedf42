//! `countersign try`: the whole story with a runbook of the user.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::support::host::{on_host, processes_with};
use crate::support::{PROGRAM, exited, said, wait_for};

const PAGE: &str = "---\ncountersign: 1\nparams:\n  who: {type: string, pattern: \"^[a-z]+$\"}\n  \
    n: {type: integer, default: 2}\n---\n\
    ```bash {#hello params=who,n}\necho \"hello $PARAM_WHO $PARAM_N\"\n```\n\n\
    ```bash {#warned params=\"\"}\nexit 2\n```\n\n\
    ```bash {#broken params=\"\"}\necho before; exit 3\n```\n\n\
    ```bash {#secret params=\"\" secrets=\"token=env:API_TOKEN\"}\necho secret\n```\n";

const MANY: &str = "---\ncountersign: 1\napprovals: {required: 2, from: [security, ops]}\n---\n\
    ```bash {#many}\necho many\n```\n";

struct Tried {
    home: tempfile::TempDir,
    temporary: tempfile::TempDir,
}

impl Tried {
    fn new(name: &str, page: &str) -> Self {
        let tried = Self {
            home: tempfile::tempdir().expect("a directory"),
            temporary: tempfile::tempdir().expect("a directory"),
        };
        // Runs with a user id of their own enter the directory.
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o711);
        std::fs::set_permissions(tried.temporary.path(), open).expect("permissions");
        tried.write(name, page);
        tried
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.home.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        std::fs::write(path, text).expect("a file");
    }

    /// Plays, and checks that nothing is left of the boundary and its keys.
    fn play(&self, words: &[&str]) -> Output {
        let own = |name: &String| !name.starts_with("kept");
        let before: Vec<String> = self.files().into_iter().filter(own).collect();
        let mut command = Command::new(PROGRAM);
        command
            .args(["--json", "try"])
            .args(words)
            .current_dir(self.home.path())
            .stdin(Stdio::null());
        command
            .env("HOME", self.home.path())
            .env("TMPDIR", self.temporary.path());
        let output = command.output().expect("runs");
        let left: Vec<_> = std::fs::read_dir(self.temporary.path())
            .expect("a directory")
            .flatten()
            .collect();
        assert!(left.is_empty(), "{left:?}: {}", said(&output));
        let after: Vec<String> = self.files().into_iter().filter(own).collect();
        assert_eq!(after, before, "{}", said(&output));
        output
    }

    fn files(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.home.path())
            .expect("a directory")
            .flatten();
        let mut names: Vec<String> = entries
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }
}

fn told(output: &Output) -> serde_json::Value {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    serde_json::from_str(text.lines().last().unwrap_or_default())
        .unwrap_or_else(|_| panic!("{}", said(output)))
}

#[test]
fn a_step_of_the_users_runbook_is_proposed_approved_run_and_verified_and_only_the_bundle_stays() {
    let tried = Tried::new("page.md", PAGE);
    tried.write("broken.md", "---\ncountersign: [\n---\n");
    let output = exited(
        tried.play(&[
            "page.md", "--step", "hello", "-p", "who=anna", "--keep", "kept",
        ]),
        0,
    );
    let told = told(&output);
    assert_eq!(
        (&told["step"], &told["verified"]),
        (&"page:hello".into(), &true.into()),
        "{told}"
    );
    assert_eq!(told["outcome"]["status"], "succeeded", "{told}");
    let kept = |name: &str| tried.home.path().join("kept").join(name);
    let verified = Command::new(PROGRAM)
        .arg("verify")
        .arg(kept("run.bundle.json"))
        .arg("--roster")
        .arg(kept("roster.json"))
        .output();
    exited(verified.expect("runs"), 0);
    assert_eq!(
        std::fs::read_dir(tried.home.path().join("kept"))
            .expect("a directory")
            .count(),
        2
    );
    let again = tried.play(&["page.md", "-p", "who=anna", "--keep", "kept"]);
    assert_eq!(
        again.status.code(),
        Some(2),
        "the directory is not new: {}",
        said(&again)
    );
}

#[test]
fn the_exit_code_of_try_is_that_of_the_run() {
    let tried = Tried::new("page.md", PAGE);
    tried.write("many.md", MANY);
    for (file, step, code) in [
        ("page.md", "warned", 2),
        ("page.md", "broken", 3),
        ("many.md", "many", 0),
    ] {
        let output = tried.play(&[file, "--step", step]);
        assert_eq!(
            output.status.code(),
            Some(code),
            "{step}: {}",
            said(&output)
        );
        assert_eq!(told(&output)["verified"], true, "{step}: {}", said(&output));
    }
    // One argument names the file and the step, as for `run`.
    let output = exited(tried.play(&["page.md:warned"]), 2);
    assert_eq!(told(&output)["step"], "page:warned", "{}", said(&output));
}

#[test]
fn a_signal_ends_try_with_its_boundary_and_its_step_and_deletes_the_directory() {
    let time = format!("600.{}", std::process::id());
    let page = format!(
        "---\ncountersign: 1\n---\n```bash {{#long}}\nsleep {time} &\necho begun\nwait\n```\n"
    );
    let tried = Tried::new("page.md", &page);
    let mut command = Command::new(PROGRAM);
    command
        .args(["try", "page.md"])
        .current_dir(tried.home.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    let mut child = command
        .env("TMPDIR", tried.temporary.path())
        .spawn()
        .expect("the program");
    let lines = BufReader::new(child.stdout.take().expect("output")).lines();
    assert!(
        lines
            .map_while(Result::ok)
            .any(|line| line.contains("stdout | begun")),
        "the step never began"
    );
    let boundary = tried.temporary.path().to_string_lossy().into_owned();
    wait_for("the boundary and the step run", || {
        !processes_with(&boundary).is_empty() && on_host(&time)
    });
    // Only the program itself gets the signal.
    let pid = rustix::process::Pid::from_raw(i32::try_from(child.id()).expect("a number"))
        .expect("an id");
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("a signal");
    assert_eq!(child.wait().expect("an end").code(), Some(143));
    wait_for("the boundary has ended", || {
        processes_with(&boundary).is_empty()
    });
    wait_for("the step has ended", || !on_host(&time));
    let left: Vec<_> = std::fs::read_dir(tried.temporary.path())
        .expect("a directory")
        .flatten()
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_signal_to_the_demo_alone_ends_its_boundary_and_deletes_only_what_nobody_keeps() {
    use rustix::process::Signal;
    for (signal, code, keeps) in [
        (Signal::TERM, 143, false),
        (Signal::INT, 130, true),
        (Signal::TERM, 143, true),
    ] {
        let temporary = tempfile::tempdir().expect("a directory");
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o711);
        std::fs::set_permissions(temporary.path(), open).expect("permissions");
        let kept = temporary.path().join("kept");
        let mut command = Command::new(PROGRAM);
        command
            .arg("demo")
            .env("TMPDIR", temporary.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        if keeps {
            command.arg("--keep").arg(&kept);
        }
        let mut child = command.spawn().expect("the program");
        let mark = temporary.path().to_string_lossy().into_owned();
        let serves = || {
            let command =
                |id: &u32| std::fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
            processes_with(&mark)
                .iter()
                .any(|id| command(id).windows(7).any(|part| part == b"\0serve\0"))
        };
        wait_for("the boundary serves", serves);
        let pid = rustix::process::Pid::from_raw(i32::try_from(child.id()).expect("a number"))
            .expect("an id");
        rustix::process::kill_process(pid, signal).expect("a signal");
        assert_eq!(
            child.wait().expect("an end").code(),
            Some(code),
            "keeps: {keeps}"
        );
        wait_for("the boundary has ended", || {
            processes_with(&mark).is_empty()
        });
        let left = std::fs::read_dir(temporary.path())
            .expect("a directory")
            .count();
        assert_eq!(
            (left, kept.join("people/alice/key.pem").exists()),
            (usize::from(keeps), keeps)
        );
    }
}

#[test]
fn try_tells_a_person_each_stage_and_the_other_steps_of_the_file() {
    let tried = Tried::new("page.md", PAGE);
    let mut command = Command::new(PROGRAM);
    command
        .args(["try", "page.md", "-p", "who=anna"])
        .current_dir(tried.home.path())
        .stdin(Stdio::null());
    let output = command
        .env("TMPDIR", tried.temporary.path())
        .output()
        .expect("runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut rest = text.as_str();
    for stage in [
        "a boundary serves",
        "page:hello is proposed",
        "alice | ",
        "echo \"hello $PARAM_WHO $PARAM_N\"",
        "alice signs",
        "bob signs",
        "stdout | hello anna 2",
        "its receipt is in the log",
        "the bundle verifies against the pinned roster",
        "page:hello ended: succeeded, exit code 0",
        "The file has 4 steps",
    ] {
        let at = rest
            .find(stage)
            .unwrap_or_else(|| panic!("no {stage:?} in {rest} of {}", said(&output)));
        rest = &rest[at..];
    }
}

#[test]
fn try_refuses_a_page_with_errors_an_unknown_step_and_what_policy_does_not_allow_before_anybody_signs()
 {
    let tried = Tried::new("page.md", PAGE);
    tried.write("bad.md", &PAGE.replace("{#hello", "{#hello {"));
    tried.write(
        "network.md",
        "---\ncountersign: 1\n---\n```bash {#reach network=host}\ntrue\n```\n",
    );
    tried.write("prose.md", "# Only prose\n");
    for (words, code, expected) in [
        (&["bad.md"][..], 2, "bad.md:7:"),
        (&["prose.md"], 2, "contains no step"),
        (&["missing.md"], 2, "is no runbook"),
        (&["."], 2, "is no runbook"),
        (
            &["page.md", "--step", "none"],
            127,
            "it has hello, warned, broken, secret",
        ),
        (&["page.md", "-p", "who=ANNA"], 2, "does not match"),
        (
            &["page.md", "-p", "who=anna", "-p", "other=1"],
            2,
            "no such parameter",
        ),
        (&["page.md"], 2, "who"),
        (
            &["page.md", "--step", "secret", "--keep", "kept"],
            126,
            "and no secrets: use `countersign run`",
        ),
        (
            &["network.md", "--keep", "kept"],
            126,
            "no network and no secrets: use `countersign run`",
        ),
    ] {
        let output = tried.play(words);
        assert_eq!(
            output.status.code(),
            Some(code),
            "{words:?}: {}",
            said(&output)
        );
        assert!(
            said(&output).contains(expected),
            "{words:?}: {}",
            said(&output)
        );
        assert!(!tried.home.path().join("kept").exists(), "{words:?}");
    }
}

#[test]
fn try_copies_scripts_beside_the_runbook_and_no_other_runbook() {
    let tried = Tried::new(
        "web/runbook.mdx",
        "<Command id=\"up\" path=\"scripts/up.sh\" />\n",
    );
    tried.write("web/scripts/up.sh", "#!/bin/bash\necho it is up\n");
    tried.write("web/other.md", "---\ncountersign: [\n---\n");
    tried.write("web/.env", "SECRET=1\n");
    exited(tried.play(&["web/runbook.mdx"]), 0);
    assert!(Path::new(&tried.home.path().join("web/other.md")).exists());
}
