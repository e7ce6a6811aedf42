//! What a run is given, and what it leaves: inputs, files, outputs, and the work directory of a session.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::support::host::{not_run, user_of_the_host};
use documents::{ContentDigest, Limits, Profile, STRICT, StepFile, Workdir};
use sandbox::{
    CancelFlag, CapturedFile, End, LocalSandbox, Plan, PlannedFile, PlannedInput, PlannedSession,
    Report, ResultLimits, RunResults, SESSION_STATE_FILE, SESSION_WRAPPER_FILE, SessionTree,
    SessionWrapper, Setup, WantedPrograms, list_of,
};

const LIMITS: ResultLimits = ResultLimits {
    files: 1000,
    bytes: 16 << 20,
};

struct Bench {
    home: tempfile::TempDir,
    sandbox: LocalSandbox,
}

impl Bench {
    fn new() -> Self {
        let home = tempfile::Builder::new()
            .prefix("countersign-results-")
            .tempdir()
            .expect("a directory");
        std::fs::set_permissions(home.path(), std::fs::Permissions::from_mode(0o711))
            .expect("mode");
        let scratch = home.path().join("scratch");
        std::fs::create_dir(&scratch).expect("a directory");
        std::fs::set_permissions(&scratch, std::fs::Permissions::from_mode(0o711)).expect("mode");
        let helper = Some(env!("CARGO_BIN_EXE_countersign").into());
        let setup = Setup {
            helper,
            spool: scratch.clone(),
            scratch,
            private: vec![],
            unwritable: vec![],
        };
        Self {
            sandbox: LocalSandbox::open(&setup).expect("a sandbox"),
            home,
        }
    }

    /// The profiles of the forms that a run has on this host, each with a name.
    fn profiles(&self) -> Vec<(&'static str, Profile)> {
        let strict = Profile::nothing(STRICT.to_vec(), limits());
        let strict = if self.sandbox.check(&strict).is_ok() {
            strict
        } else {
            Profile {
                require: vec![],
                ..strict
            }
        };
        // An ordinary user gives a run without the sandbox its own id, so nothing holds between them.
        let off = rustix::process::geteuid().is_root().then(|| ("off", off()));
        [("sandbox", strict)].into_iter().chain(off).collect()
    }

    fn strict(&self) -> Profile {
        self.profiles().swap_remove(0).1
    }

    fn run(&self, profile: &Profile, plan: Plan) -> Report {
        let prepared = self.sandbox.check(profile).expect("can be held");
        self.sandbox.run(
            prepared,
            plan,
            &mut |_| {},
            &CancelFlag::new().expect("a flag"),
        )
    }

    /// Returns the number of directories of runs that are left on the host.
    fn left(&self) -> usize {
        std::fs::read_dir(self.home.path().join("scratch"))
            .expect("a directory")
            .count()
    }
}

fn limits() -> Limits {
    Limits {
        wall_ms: 60_000,
        ..Limits::default()
    }
}

fn off() -> Profile {
    Profile {
        off_reason: Some("a test".into()),
        ..Profile::nothing(vec![], limits())
    }
}

fn plan(interpreter: &str, source: &str) -> Plan {
    Plan {
        interpreter: interpreter.into(),
        source: source.into(),
        env: vec![],
        params_json: b"{}".to_vec(),
        files: vec![],
        inputs: vec![],
        results: true,
        session: None,
        unreachable: [].into(),
        secrets: vec![],
    }
}

fn with(session: PlannedSession, plan: Plan) -> Plan {
    Plan {
        session: Some(session),
        ..plan
    }
}

fn on(tree: Option<&Arc<SessionTree>>) -> PlannedSession {
    PlannedSession {
        tree: tree.cloned(),
        ..PlannedSession::default()
    }
}

/// Returns what the script printed. The script must end with exit code 0.
fn said(report: &mut Report) -> String {
    let mut texts = [String::new(), String::new()];
    for (capture, text) in [&mut report.stdout, &mut report.stderr]
        .into_iter()
        .zip(&mut texts)
    {
        let mut bytes = Vec::new();
        capture
            .recorded
            .reader()
            .expect("readable")
            .read_to_end(&mut bytes)
            .expect("readable");
        *text = String::from_utf8_lossy(&bytes).into_owned();
    }
    assert_eq!(report.end, End::Exited(0), "{texts:?}");
    texts[0].trim_end().to_owned()
}

fn results(report: &Report) -> &RunResults {
    report
        .results
        .as_ref()
        .unwrap_or_else(|| panic!("results: {:?}", report.end))
}

fn work(report: &Report) -> &Arc<SessionTree> {
    results(report).work().expect("a work directory")
}

fn names(files: &[CapturedFile]) -> Vec<&str> {
    files.iter().map(|file| file.path.as_str()).collect()
}

fn text(file: &CapturedFile) -> String {
    let mut text = String::new();
    file.open()
        .expect("opens")
        .read_to_string(&mut text)
        .expect("UTF-8");
    assert_eq!(text.len() as u64, file.bytes);
    text
}

fn not_started(report: &Report) -> &str {
    assert!(report.results.is_none());
    match &report.end {
        End::NotStarted(why) => why,
        end => panic!("{end:?}"),
    }
}

fn input(name: &str, bytes: &[u8]) -> PlannedInput {
    use std::io::Write as _;
    let mut file = tempfile::tempfile().expect("a file");
    file.write_all(bytes).expect("writes");
    let digest = ContentDigest::of(bytes);
    PlannedInput {
        name: name.parse().expect("a name"),
        digest,
        bytes: bytes.len() as u64,
        file: Arc::new(file),
    }
}

fn step_file(path: &str, bytes: &[u8]) -> PlannedFile {
    let (size, digest) = (bytes.len() as u64, ContentDigest::of(bytes));
    PlannedFile {
        file: StepFile {
            path: path.to_owned(),
            bytes: size,
            digest,
            executable: false,
        },
        bytes: bytes.into(),
        in_tmp: false,
    }
}

// Inputs

#[test]
fn a_run_reads_its_inputs_and_cannot_change_them() {
    let bench = Bench::new();
    let large: Vec<u8> = (0..3_000_000_u32).map(|n| n.to_le_bytes()[0]).collect();
    for (form, profile) in bench.profiles() {
        let inputs = vec![
            input("app.tar", &large),
            input("empty", b""),
            input("tool", b"#!/bin/sh\necho ran\n"),
        ];
        let script = "cd \"$COUNTERSIGN_ARTIFACTS\"; ls; stat -c %a,%s app.tar; sha256sum < app.tar | cut -c1-64
            for try in 'echo x > app.tar' 'echo x >> empty' 'rm tool' 'mv tool t' 'echo > new' ./tool 'chmod 755 tool'; do
                eval \"$try\" 2> /dev/null && echo \"done: $try\"; done; sh ./tool";
        let mut report = bench.run(
            &profile,
            Plan {
                inputs,
                ..plan("bash", script)
            },
        );
        let digest = ContentDigest::of(&large).hex();
        assert_eq!(
            said(&mut report),
            format!("app.tar\nempty\ntool\n444,3000000\n{digest}\nran"),
            "{form}"
        );
    }
    assert_eq!(bench.left(), 0);
}

#[test]
fn an_input_with_another_digest_or_size_starts_no_run() {
    let bench = Bench::new();
    for (form, profile) in bench.profiles() {
        let changed = PlannedInput {
            digest: ContentDigest::of(b"contenT"),
            ..input("app.tar", b"content")
        };
        let report = bench.run(
            &profile,
            Plan {
                inputs: vec![input("ok", b"x"), changed],
                ..plan("sh", "exit 0")
            },
        );
        let expected = "the content of the artifact app.tar does not have the signed digest";
        assert_eq!(not_started(&report), expected, "{form}");
        let longer = PlannedInput {
            bytes: 8,
            ..input("app.tar", b"content")
        };
        let shorter = PlannedInput {
            bytes: 6,
            ..input("app.tar", b"content")
        };
        for (size, other) in [(8, longer), (6, shorter)] {
            let report = bench.run(
                &profile,
                Plan {
                    inputs: vec![other],
                    ..plan("sh", "exit 0")
                },
            );
            let expected =
                format!("the artifact app.tar has 7 bytes, but its signed size is {size} bytes");
            assert_eq!(not_started(&report), expected, "{form}");
        }
    }
    let twice = bench.run(
        &bench.strict(),
        Plan {
            inputs: vec![input("a", b""), input("a", b"")],
            ..plan("sh", "")
        },
    );
    assert!(
        not_started(&twice).contains("two artifacts with the name a"),
        "{twice:?}"
    );
    assert_eq!(bench.left(), 0);
}

#[test]
fn inputs_of_the_maximum_size_arrive_and_larger_ones_start_no_run() {
    let bench = Bench::new();
    let sized = |name: &str, bytes: u64| {
        let file = tempfile::tempfile().expect("a file");
        file.set_len(bytes).expect("a size");
        let zeros = vec![0; usize::try_from(bytes).expect("fits")];
        PlannedInput {
            bytes,
            file: Arc::new(file),
            digest: ContentDigest::of(&zeros),
            ..input(name, b"")
        }
    };
    let inputs = vec![sized("a", (32 << 20) - 1), sized("b", (32 << 20) + 1)];
    let script = "cat $COUNTERSIGN_ARTIFACTS/* | wc -c; cd $COUNTERSIGN_ARTIFACTS; df -B1 --output=avail . | tail -1";
    let mut report = bench.run(
        &bench.strict(),
        Plan {
            inputs: inputs.clone(),
            ..plan("sh", script)
        },
    );
    assert!(said(&mut report).starts_with(&(64 << 20).to_string()));
    let inputs = [inputs, vec![input("c", b"x")]].concat();
    let report = bench.run(
        &bench.strict(),
        Plan {
            inputs,
            ..plan("sh", "exit 0")
        },
    );
    assert!(
        not_started(&report).contains("at most 67108864 are allowed"),
        "{report:?}"
    );
    let many = (0..17).map(|n| input(&format!("n{n}"), b"")).collect();
    let report = bench.run(
        &bench.strict(),
        Plan {
            inputs: many,
            ..plan("sh", "exit 0")
        },
    );
    assert!(
        not_started(&report).contains("17 artifacts, at most 16"),
        "{report:?}"
    );
}

// Files and outputs

#[test]
fn the_files_and_outputs_of_a_run_are_captured() {
    let bench = Bench::new();
    for (form, profile) in bench.profiles() {
        let script = "[ \"$COUNTERSIGN_OUTPUT\" = \"$RUNBOOKS_OUTPUT\" ] && [ \"$COUNTERSIGN_OUTPUT\" = \"$GENERATED_FILES\" ]
            cd \"$COUNTERSIGN_OUTPUT\"; mkdir -p a/b empty/inner; echo -n two > a/b/two; echo -n one > one; chmod 755 a/b/two
            echo -n hid > .hidden; echo -n dots > '...'; chmod 000 one a; echo 'x=1' >> $RUNBOOK_OUTPUT; echo 'y = 2 ' >> $RUNBOOK_OUTPUT; exit 2";
        let report = bench.run(&profile, plan("bash", script));
        assert_eq!(report.end, End::Exited(2), "{form}");
        let files = results(&report).files(&LIMITS).expect("captured");
        assert_eq!(
            names(&files),
            ["...", ".hidden", "a/b/two", "one"],
            "{form}"
        );
        let executable: Vec<bool> = files.iter().map(|file| file.executable).collect();
        assert_eq!(executable, [false, false, true, false]);
        assert_eq!(
            files.iter().map(text).collect::<Vec<_>>(),
            ["dots", "hid", "two", "one"]
        );
        let outputs = results(&report).outputs().expect("outputs");
        assert_eq!(
            outputs,
            [
                ("x".to_owned(), b"1".to_vec()),
                ("y".to_owned(), b" 2".to_vec())
            ],
            "{form}"
        );
        assert!(results(&report).work().is_none() && results(&report).session_state().is_none());
        // A file stays readable after the results.
        drop(report);
        assert_eq!(text(&files[3]), "one", "{form}");
    }
    assert_eq!(bench.left(), 0);
}

#[test]
fn a_run_without_results_has_no_output_directory() {
    let bench = Bench::new();
    for (form, profile) in bench.profiles() {
        let script = "env | grep -c -e OUTPUT -e GENERATED -e ARTIFACTS; ls -d /run/results 2>/dev/null; true";
        let mut report = bench.run(
            &profile,
            Plan {
                results: false,
                ..plan("sh", script)
            },
        );
        assert_eq!(said(&mut report), "0", "{form}");
        assert!(report.results.is_none());
        // A session alone captures nothing.
        let report = bench.run(
            &profile,
            with(
                on(None),
                Plan {
                    results: false,
                    ..plan("sh", "env; exit 0")
                },
            ),
        );
        assert!(results(&report).files(&LIMITS).expect("nothing").is_empty());
        assert!(results(&report).outputs().expect("nothing").is_empty());
    }
}

fn refused(bench: &Bench, profile: &Profile, limits: ResultLimits, script: &str) -> String {
    let script = format!("import os, socket\nos.chdir(os.environ['COUNTERSIGN_OUTPUT'])\n{script}");
    let report = bench.run(profile, plan("python", &script));
    assert_eq!(report.end, End::Exited(0), "{script}");
    results(&report).files(&limits).expect_err(&script)
}

#[test]
fn each_file_that_breaks_a_rule_is_named_and_nothing_is_captured() {
    let bench = Bench::new();
    for (form, profile) in bench.profiles() {
        for (script, path, rule) in [
            (
                "os.symlink('/etc/passwd', 'link')",
                "link",
                "is a symbolic link; write only",
            ),
            (
                "os.symlink('.', 'ok')",
                "ok",
                "is a symbolic link; write only",
            ),
            (
                "os.mkdir('d'); os.symlink('..', 'd/up')",
                "d/up",
                "is a symbolic link; write only",
            ),
            ("os.mkfifo('pipe')", "pipe", "is a named pipe; write only"),
            (
                "socket.socket(socket.AF_UNIX).bind('s')",
                "s",
                "is a socket; write only",
            ),
            ("open('a', 'w'); os.link('a', 'b')", "a", "is a hard link"),
            (
                "open(os.environ['HOME'] + '/x', 'w')\ntry: os.link(os.environ['HOME'] + '/x', 'b')\nexcept OSError: os.mkfifo('b')",
                "b",
                "is a named pipe; write only",
            ),
            (
                "open('a\\nb', 'w')",
                "a\\nb",
                "has a name that is not UTF-8",
            ),
            (
                "open('a\\u202eb\\u0085', 'w')",
                "a\\u{202e}b\\u{85}",
                "has a name that is not UTF-8",
            ),
            (
                "open(b'a\\xff', 'w')",
                "a\\xff",
                "has a name that is not UTF-8",
            ),
            (
                "os.mkdir(b'\\xfe'); open(b'\\xfe/a', 'w')",
                "\\xfe/a",
                "has a name that is not UTF-8",
            ),
            (
                "[open(f'{n:05}', 'w').close() for n in range(10_000)]",
                "",
                "is one of more than 1000 files",
            ),
            (
                "[open(f'{n:05}', 'w').close() for n in range(1_001)]",
                "01000",
                "is one of more than 1000 files",
            ),
            (
                "[os.mkdir(f'{n:05}') for n in range(1_001)]",
                "01000",
                "is one of more than 1000 files",
            ),
            (
                "os.makedirs('/'.join(['d'] * 33))",
                &["d"; 33].join("/"),
                "has more than 32 directories above it",
            ),
            (
                "for n in range(900): os.mkdir('d' * 100); os.chdir('d' * 100)",
                "",
                "has more than 32 directories above it",
            ),
            (
                "open('a', 'w').write('x' * 1000); open('b', 'w').write('x' * 1000)",
                "b",
                "exceeds 1999 bytes",
            ),
            (
                "open('sparse', 'w').truncate(1 << 25)",
                "sparse",
                "exceeds 1999 bytes",
            ),
        ] {
            // Without the sandbox, a hard link to a file of another directory works.
            if form == "off" && script.contains("HOME") {
                continue;
            }
            let found = refused(
                &bench,
                &profile,
                ResultLimits {
                    bytes: 1999,
                    ..LIMITS
                },
                script,
            );
            assert!(
                found.contains(&format!("\" in $COUNTERSIGN_OUTPUT {rule}"))
                    && (path.is_empty() || found.starts_with(&format!("the file \"{path}\" in "))),
                "{form}: {script}: {found}"
            );
        }
        // These are the largest that a run can leave.
        let script = "import os\nos.chdir(os.environ['COUNTERSIGN_OUTPUT'])\nd = '/'.join(['d'] * 32); os.makedirs(d)\n\
                      [open(f'{d}/{n:05}', 'w').close() for n in range(1000)]\nos.makedirs('e/f')";
        let report = bench.run(&profile, plan("python", script));
        assert_eq!(
            results(&report).files(&LIMITS).expect("captured").len(),
            1000
        );
        let fewer = ResultLimits {
            files: 999,
            ..LIMITS
        };
        assert!(results(&report).files(&fewer).is_err());
    }
    assert_eq!(bench.left(), 0);
}

#[test]
fn a_step_cannot_plant_a_device_or_move_its_output_directory() {
    let bench = Bench::new();
    let script = "cd $COUNTERSIGN_OUTPUT/..; mknod files/null c 1 3; mv files other; mv values other; rm -rf values; ln -s /etc x
        chmod 700 . ; mkdir new; : > new2; ls; exec 2>&1; echo x=1 > $RUNBOOK_OUTPUT; cat $RUNBOOK_OUTPUT";
    let mut report = bench.run(
        &bench.strict(),
        plan("bash", &script.replace("cd ", "exec 2>/dev/null; cd ")),
    );
    let said = said(&mut report);
    assert!(
        said.ends_with(
            "files\nvalues\ncat: /run/results/values/outputs: No such file or directory"
        ) || said.ends_with("x=1"),
        "{said}"
    );
    assert!(
        results(&report)
            .files(&LIMITS)
            .expect("captured")
            .is_empty()
    );
}

#[test]
fn the_outputs_are_never_read_through_a_link() {
    let bench = Bench::new();
    for (form, profile) in bench.profiles() {
        for (script, expected) in [
            (
                "rm $RUNBOOK_OUTPUT; ln -s /etc/passwd $RUNBOOK_OUTPUT",
                Err("the file $RUNBOOK_OUTPUT is not a regular file any more"),
            ),
            (
                "rm $RUNBOOK_OUTPUT; mkfifo $RUNBOOK_OUTPUT",
                Err("is not a regular file any more"),
            ),
            (
                "rm $RUNBOOK_OUTPUT; mkdir $RUNBOOK_OUTPUT",
                Err("is not a regular file any more"),
            ),
            (
                "head -c 1048577 /dev/zero > $RUNBOOK_OUTPUT",
                Err("the file $RUNBOOK_OUTPUT is larger than 1 MiB; write less"),
            ),
            (
                "echo nothing >> $RUNBOOK_OUTPUT",
                Err("line 1 of $RUNBOOK_OUTPUT has no `=`"),
            ),
            ("rm $RUNBOOK_OUTPUT", Ok(0)),
            (
                "echo a=1 > new; mv new $RUNBOOK_OUTPUT; chmod 000 $RUNBOOK_OUTPUT",
                Ok(1),
            ),
        ] {
            let report = bench.run(&profile, plan("bash", script));
            let found = results(&report).outputs();
            match expected {
                Ok(count) => assert_eq!(found.expect("outputs").len(), count, "{form}: {script}"),
                Err(why) => {
                    let error = found.expect_err(script);
                    assert!(error.contains(why), "{form}: {script}: {error}");
                }
            }
        }
    }
}

#[test]
fn a_full_quota_ends_the_run_and_its_results_are_readable() {
    let bench = Bench::new();
    let mut profile = bench.strict();
    profile.limits.disk_bytes = 4 << 20;
    let script = "cd $COUNTERSIGN_OUTPUT; echo -n kept > first; head -c 8000000 /dev/zero > full";
    let report = bench.run(&profile, plan("sh", script));
    assert_eq!(report.end, End::Killed("disk_bytes"));
    let files = results(&report).files(&LIMITS).expect("captured");
    assert_eq!(
        (names(&files), text(&files[0])),
        (vec!["first", "full"], "kept".to_owned())
    );
    // The number of files is limited too, because each needs memory of the kernel.
    let script = "import os\nos.chdir(os.environ['COUNTERSIGN_OUTPUT'])\nfor n in range(100_000): open(str(n), 'w').close()";
    let report = bench.run(&profile, plan("python", script));
    assert_eq!(report.end, End::Killed("disk_bytes"));
    let refused = results(&report).files(&LIMITS).expect_err("too many");
    assert!(refused.contains("more than 1000 files"), "{refused}");
}

#[test]
fn a_run_that_is_killed_leaves_results_and_its_work_directory() {
    let bench = Bench::new();
    let write =
        "echo -n part > $COUNTERSIGN_OUTPUT/part; echo a=1 > $RUNBOOK_OUTPUT; echo work > here";
    for (form, profile) in bench.profiles() {
        let timed = Profile {
            limits: Limits {
                wall_ms: 1500,
                ..profile.limits
            },
            ..profile.clone()
        };
        for (script, profile, end) in [
            (format!("{write}; kill -9 $$"), &profile, End::Signalled(9)),
            (
                format!("cd $PWD; {write}; trap '' TERM; sleep 60 & wait; sleep 60"),
                &timed,
                End::TimedOut,
            ),
        ] {
            let begun = Instant::now();
            let report = bench.run(profile, with(on(None), plan("bash", &script)));
            assert!(begun.elapsed() < Duration::from_secs(20), "{form}");
            assert_eq!(report.end, end, "{form}");
            assert_eq!(
                text(&results(&report).files(&LIMITS).expect("captured")[0]),
                "part"
            );
            assert_eq!(results(&report).outputs().expect("outputs").len(), 1);
            let mut next = bench.run(
                profile,
                with(on(Some(work(&report))), plan("sh", "cat here")),
            );
            assert_eq!(said(&mut next), "work", "{form}");
        }
    }
    let cancel = CancelFlag::new().expect("a flag");
    let prepared = bench.sandbox.check(&bench.strict()).expect("can be held");
    let script = format!("{write}; echo begun; sleep 60");
    let report = bench.sandbox.run(
        prepared,
        plan("bash", &script),
        &mut |_| cancel.cancel(),
        &cancel,
    );
    assert_eq!(
        (
            &report.end,
            results(&report).files(&LIMITS).expect("captured").len()
        ),
        (&End::Cancelled, 1)
    );
    drop(report);
    assert_eq!(bench.left(), 0);
}

#[test]
fn a_step_inherits_no_descriptor_of_its_results_and_inputs() {
    let bench = Bench::new();
    let script = "import os\nprint(sorted(os.listdir('/proc/self/fd')))";
    let inputs = vec![input("a", b"x")];
    let first = bench.run(&bench.strict(), with(on(None), plan("sh", "echo x > y")));
    let again = with(
        on(Some(work(&first))),
        Plan {
            inputs,
            ..plan("python", script)
        },
    );
    // The last descriptor is that of the listing itself.
    assert_eq!(
        said(&mut bench.run(&bench.strict(), again)),
        "['0', '1', '2', '3']"
    );
}

// Sessions

/// A wrapper as a shell has it: its file says where the state goes.
fn wrapper(arguments: Option<&[&str]>) -> SessionWrapper {
    SessionWrapper {
        name: "wrapper.sh",
        content: b"trap 'printf \"%s\" \"$PWD:$HELLO\" > \"$STATE_FILE\"' EXIT\n",
        env: [
            ("BASH_ENV", SESSION_WRAPPER_FILE),
            ("STATE_FILE", SESSION_STATE_FILE),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec(),
        arguments: arguments.map(|all| all.iter().map(|&one| one.to_owned()).collect()),
    }
}

#[test]
fn a_session_carries_its_work_directory_with_links_and_modes() {
    let bench = Bench::new();
    let make = "mkdir -p a/b; echo one > a/one; echo tool > a/b/tool; chmod 750 a/b/tool; ln -s a/one link; ln -s /etc/none dead
        mkdir locked; echo in > locked/in; chmod 000 locked; mkfifo pipe; : > $'new\\nline'; touch -d @1000000000 a/one; pwd";
    let check = "cat link; stat -c %a a/b/tool locked; readlink dead; chmod 700 locked; cat locked/in; ls -A | wc -l
        stat -c %Y a/one; cat a/one >> a/one; pwd";
    // Each pair is a run and the next run of the session.
    let profiles = bench.profiles();
    for (before, first) in &profiles {
        for (after, second) in &profiles {
            let mut report = bench.run(first, with(on(None), plan("bash", make)));
            let place = said(&mut report);
            let mut next = bench.run(second, with(on(Some(work(&report))), plan("bash", check)));
            let found = said(&mut next);
            let expected = "one\n750\n0\n/etc/none\nin\n6\n1000000000\n";
            assert_eq!(
                found
                    .strip_prefix(expected)
                    .map(Path::new)
                    .map(Path::is_absolute),
                Some(true),
                "{before} {after} {place} {found}"
            );
            // A run changes its own copy only.
            let mut again = bench.run(second, with(on(Some(work(&report))), plan("bash", check)));
            assert!(said(&mut again).starts_with(expected), "{before} {after}");
            assert!(
                results(&next)
                    .work()
                    .expect("a work directory")
                    .bytes()
                    .expect("counts")
                    >= 8192
            );
        }
    }
    assert_eq!(bench.left(), 0);
}

#[test]
fn a_session_is_carried_between_users() {
    let bench = Bench::new();
    let (name, _, _) = user_of_the_host();
    let isolated = bench.strict();
    let named = Profile {
        run_as: name,
        ..isolated.clone()
    };
    if bench.sandbox.check(&named).is_err() {
        return not_run(
            "a_session_is_carried_between_users",
            "no run can have another user here",
        );
    }
    let mut tree = None;
    for (number, profile) in [&isolated, &named, &named, &isolated, &off(), &isolated]
        .into_iter()
        .enumerate()
    {
        let script = "cat list 2>/dev/null; echo x >> list; chmod 600 list; [ -z \"$(find . ! -user $(id -u))\" ] || echo foreign";
        let mut report = bench.run(profile, with(on(tree.as_ref()), plan("bash", script)));
        assert_eq!(said(&mut report).lines().count(), number);
        tree = Some(work(&report).clone());
    }
}

#[test]
fn a_tree_that_exceeds_the_quota_of_the_next_run_starts_no_run() {
    let bench = Bench::new();
    let report = bench.run(
        &bench.strict(),
        with(on(None), plan("sh", "head -c 6000000 /dev/zero > big")),
    );
    let mut small = bench.strict();
    small.limits.disk_bytes = 4 << 20;
    let next = bench.run(&small, with(on(Some(work(&report))), plan("sh", "exit 0")));
    assert!(
        not_started(&next).contains("larger than the limit disk_bytes"),
        "{:?}",
        next.end
    );
    let mut next = bench.run(
        &bench.strict(),
        with(on(Some(work(&report))), plan("sh", "wc -c < big")),
    );
    assert_eq!(said(&mut next), "6000000");
    // A session cannot exceed its quota in one run either.
    let script = "head -c 6000000 /dev/zero > big";
    let full = bench.run(&small, with(on(None), plan("sh", script)));
    assert_eq!(full.end, End::Killed("disk_bytes"));
    // A directory that is too deep is an error, and not a crash.
    let script = "import os\nfor n in range(2000): os.mkdir('d'); os.chdir('d')";
    let deep = bench.run(&bench.strict(), with(on(None), plan("python", script)));
    let next = bench.run(
        &bench.strict(),
        with(on(Some(work(&deep))), plan("sh", "exit 0")),
    );
    assert!(
        not_started(&next).contains("more than 128 levels"),
        "{:?}",
        next.end
    );
    assert!(
        results(&deep)
            .work()
            .expect("a work directory")
            .bytes()
            .is_err()
    );
}

#[test]
fn inputs_and_trees_that_exceed_the_memory_limit_start_no_run() {
    let bench = Bench::new();
    let mut small = bench.strict();
    small.limits.memory_bytes = 32 << 20;
    let large = tempfile::tempfile().expect("a file");
    large.set_len(30 << 20).expect("a size");
    let large = PlannedInput {
        bytes: 30 << 20,
        file: Arc::new(large),
        ..input("large", b"")
    };
    let report = bench.run(
        &small,
        Plan {
            inputs: vec![large],
            ..plan("sh", "exit 0")
        },
    );
    assert!(
        not_started(&report).contains("the limit memory_bytes is 33554432"),
        "{:?}",
        report.end
    );
    if !bench
        .sandbox
        .probe()
        .cgroup
        .as_ref()
        .is_ok_and(|names| format!("{names:?}").contains("memory"))
    {
        return not_run(
            "a tree that exceeds the memory limit",
            "this host has no control group for memory",
        );
    }
    let script = "head -c 60000000 /dev/zero > big";
    let report = bench.run(&bench.strict(), with(on(None), plan("sh", script)));
    let next = bench.run(&small, with(on(Some(work(&report))), plan("sh", "exit 0")));
    let expected =
        "copy the work directory of the session; the limit memory_bytes may be too small";
    assert!(not_started(&next).contains(expected), "{:?}", next.end);
}

#[test]
fn the_home_of_a_session_is_empty_in_each_run() {
    let bench = Bench::new();
    for (form, profile) in bench.profiles() {
        let script = "ls -A \"$HOME\"; [ \"$HOME\" != \"$PWD\" ] && [ -w \"$HOME\" ]; echo $?; echo x > .zshenv; echo x > \"$HOME/.zshenv\"";
        let first = bench.run(&profile, with(on(None), plan("sh", script)));
        let mut next = bench.run(
            &profile,
            with(
                on(Some(work(&first))),
                plan("sh", &format!("{script}; ls -A")),
            ),
        );
        assert_eq!(said(&mut next), "0\n.zshenv", "{form}");
    }
    let strict = bench.strict();
    let home = |plan| said(&mut bench.run(&strict, plan));
    assert_eq!(
        home(with(
            on(None),
            plan("bash", "echo $HOME $(getent passwd $(id -u))")
        )),
        "/tmp/home step:x:1000:1000::/tmp/home:/bin/sh"
    );
    assert_eq!(
        home(plan("bash", "echo $HOME $PWD")),
        "/tmp/work /tmp/work",
        "without a session"
    );
    // No file of a work directory is code of an interpreter at its start.
    let plant = "v=$(python3 -c 'import sys; print(\"%d.%d\" % sys.version_info[:2])')
        mkdir -p .local/lib/python$v/site-packages; echo 'print(\"planted\")' > .local/lib/python$v/site-packages/usercustomize.py";
    let planted = bench.run(&strict, with(on(None), plan("bash", plant)));
    assert_eq!(planted.end, End::Exited(0));
    assert_eq!(
        home(with(
            on(Some(work(&planted))),
            plan("python3", "print('ok')")
        )),
        "ok"
    );
    assert_eq!(
        home(plan(
            "bash",
            &format!("{plant}; printf '#!/bin/sh\n' > x; exit 0")
        )),
        ""
    );
    let same_run = plan(
        "python",
        "import sys, site\nprint(sys.flags.no_user_site, site.ENABLE_USER_SITE)",
    );
    assert_eq!(home(same_run), "1 False");
    if Path::new("/usr/bin/zsh").exists() {
        assert_eq!(home(plan("zsh", "[[ -o norcs ]] && echo norcs")), "norcs");
    }
}

#[test]
fn a_session_gives_variables_and_never_those_of_the_sandbox() {
    let bench = Bench::new();
    let pair = |name: &str, value: &[u8]| (name.as_bytes().to_vec(), value.to_vec());
    for (form, profile) in bench.profiles() {
        let mut env = vec![
            pair("ODD", b"a\nb\xff"),
            pair("PATH", b"/usr/bin:/bin"),
            pair("LANG", b"C"),
            pair("a.b", b""),
        ];
        for name in [
            "HOME",
            "TMPDIR",
            "PARAM_A",
            "PARAM_NEW",
            "COUNTERSIGN_PARAMS",
            "COUNTERSIGN_OUTPUT",
            "COUNTERSIGN_NEW",
            "RUNBOOK_OUTPUT",
            "GENERATED_FILES",
            "RUNBOOKS_OUTPUT",
        ] {
            env.push(pair(name, b"evil"));
        }
        let session = PlannedSession {
            env,
            ..PlannedSession::default()
        };
        let script = "import os\ne = os.environb\nprint(e[b'ODD'], e[b'PATH'].decode(), e[b'LANG'].decode(), e[b'PARAM_A'].decode(), b'a.b' in e, sorted(n for n in e if e[n] == b'evil'))";
        let own = vec![("PARAM_A".to_owned(), "1".to_owned())];
        let mut report = bench.run(
            &profile,
            with(
                session.clone(),
                Plan {
                    env: own,
                    ..plan("python3", script)
                },
            ),
        );
        assert_eq!(
            said(&mut report),
            "b'a\\nb\\xff' /usr/bin:/bin C 1 True []",
            "{form}"
        );
        let script = "import os\nprint(sorted(n for n in os.environ if os.environ[n] == 'evil'))";
        let mut report = bench.run(
            &profile,
            with(
                session,
                Plan {
                    results: false,
                    ..plan("python3", script)
                },
            ),
        );
        assert_eq!(said(&mut report), "[]", "{form}: without results");
    }
    for (env, why) in [
        (pair("A=B", b""), "no variable can have"),
        (pair("", b"x"), "no variable can have"),
        (pair("A", b"x\0y"), "no variable can have"),
        (pair("A", &[b'x'; 128 << 10]), "larger than 128 KiB"),
    ] {
        let session = PlannedSession {
            env: vec![env],
            ..PlannedSession::default()
        };
        let report = bench.run(&bench.strict(), with(session, plan("sh", "exit 0")));
        assert!(
            not_started(&report).contains(why),
            "{why}: {:?}",
            report.end
        );
    }
    let large: Vec<_> = (0..8)
        .map(|n| pair(&format!("V{n}"), &[b'x'; (128 << 10) - 6]))
        .collect();
    let session = PlannedSession {
        env: large[..7].to_vec(),
        ..PlannedSession::default()
    };
    assert_eq!(
        said(&mut bench.run(&bench.strict(), with(session, plan("sh", "echo ${#V6}")))),
        "131066"
    );
    let session = PlannedSession {
        env: [large, vec![pair("V9", &[b'x'; 60])]].concat(),
        ..PlannedSession::default()
    };
    assert!(
        not_started(&bench.run(&bench.strict(), with(session, plan("sh", "exit 0"))))
            .contains("1 MiB")
    );
}

#[test]
fn a_session_starts_in_its_directory_or_not_at_all() {
    let bench = Bench::new();
    let profiles = bench.profiles();
    for (before, first) in &profiles {
        for (after, second) in &profiles {
            let mut report = bench.run(first, with(on(None), plan("sh", "mkdir sub; cd sub; pwd")));
            let cwd = Some(said(&mut report).into_bytes());
            let session = PlannedSession {
                cwd,
                ..on(Some(work(&report)))
            };
            let mut next = bench.run(
                second,
                with(
                    session.clone(),
                    plan("sh", "basename $PWD; ls -d ../sub; rmdir ../sub"),
                ),
            );
            assert_eq!(said(&mut next), "sub\n../sub", "{before} {after}");
            let gone = bench.run(
                second,
                with(
                    PlannedSession {
                        tree: Some(work(&next).clone()),
                        ..session
                    },
                    plan("sh", "exit 0"),
                ),
            );
            let why = not_started(&gone);
            assert!(
                why.contains("/sub of the session") && why.contains("reset the session"),
                "{before} {after}: {why}"
            );
        }
    }
    for (cwd, why) in [
        (&b"/no/such"[..], "No such file"),
        (b"/etc/passwd", "Not a directory"),
        (b"relative", "no absolute path"),
        (b"/proc/1/root", "/proc/1/root"),
    ] {
        let session = PlannedSession {
            cwd: Some(cwd.to_vec()),
            ..PlannedSession::default()
        };
        let report = bench.run(&bench.strict(), with(session, plan("sh", "exit 0")));
        assert!(
            not_started(&report).contains(why),
            "{why}: {:?}",
            report.end
        );
    }
    let session = PlannedSession {
        cwd: Some(b"/usr/lib".to_vec()),
        ..PlannedSession::default()
    };
    assert_eq!(
        said(&mut bench.run(&bench.strict(), with(session, plan("sh", "pwd")))),
        "/usr/lib"
    );
}

#[test]
fn the_wrapper_of_a_session_writes_its_state() {
    let bench = Bench::new();
    for (form, profile) in bench.profiles() {
        let state = |plan: Plan, arguments: Option<&[&str]>| {
            let session = PlannedSession {
                wrapper: Some(wrapper(arguments)),
                ..PlannedSession::default()
            };
            let report = bench.run(&profile, with(session, plan));
            let state = results(&report).session_state();
            (
                report.end.clone(),
                state.map(|state| String::from_utf8_lossy(&state).into_owned()),
            )
        };
        for interpreter in ["bash", "#!/bin/bash", "#!/usr/bin/env bash"] {
            let source = "cd /usr; HELLO=world; exit 3";
            let plan = match interpreter {
                "bash" => plan("bash", source),
                shebang => plan("python", &format!("{shebang}\n{source}")),
            };
            assert_eq!(
                state(plan, None),
                (End::Exited(3), Some("/usr:world".to_owned())),
                "{form} {interpreter}"
            );
        }
        // The path of the script is `$0` of the text.
        let start = ["-c", ". \"$BASH_ENV\"; . \"$0\""];
        let found = state(plan("sh", "cd /usr/lib; HELLO=sh; false"), Some(&start));
        assert_eq!(
            found,
            (End::Exited(1), Some("/usr/lib:sh".to_owned())),
            "{form}"
        );
        let changed = state(
            plan(
                "bash",
                "echo evil > $BASH_ENV || chmod 777 $BASH_ENV && echo evil > $BASH_ENV; exit 0",
            ),
            None,
        );
        assert!(
            changed.1.is_some_and(|state| state.ends_with(':')),
            "{form}: the step can't change the wrapper"
        );
        for script in [
            "trap - EXIT; ln -s /etc/passwd $STATE_FILE",
            "trap - EXIT; mkfifo $STATE_FILE",
            "trap - EXIT; mkdir $STATE_FILE",
            "trap - EXIT; head -c 1048577 /dev/zero > $STATE_FILE",
            "trap - EXIT",
            "kill -9 $$",
        ] {
            assert_eq!(
                state(plan("bash", script), None).1,
                None,
                "{form}: {script}"
            );
        }
    }
    let bad = SessionWrapper {
        name: "../wrapper",
        ..wrapper(None)
    };
    let session = PlannedSession {
        wrapper: Some(bad),
        ..PlannedSession::default()
    };
    assert!(
        not_started(&bench.run(&bench.strict(), with(session, plan("sh", ""))))
            .contains("no plain name")
    );
}

#[test]
fn the_files_of_a_step_are_not_left_in_the_session() {
    let bench = Bench::new();
    for (form, profile) in bench.profiles() {
        let files = vec![
            step_file("lib/tool.sh", b"echo tool"),
            step_file("notes", b"sealed"),
        ];
        let script = "cat lib/tool.sh notes; echo x > lib/own; ls lib";
        let first = bench.run(&profile, with(on(None), plan("sh", "echo mine > notes")));
        let mut second = bench.run(
            &profile,
            with(
                on(Some(work(&first))),
                Plan {
                    files,
                    ..plan("sh", script)
                },
            ),
        );
        assert_eq!(said(&mut second), "echo toolsealedown\ntool.sh", "{form}");
        let list = "find . ! -name . | sort";
        let mut third = bench.run(&profile, with(on(Some(work(&second))), plan("sh", list)));
        let expected = if form == "off" {
            "./lib\n./lib/own"
        } else {
            "./lib\n./lib/own\n./notes"
        };
        assert_eq!(said(&mut third), expected, "{form}");
    }
}

/// The first process of a run on the host's root file system may be root, so it must not follow a link of the session.
#[test]
fn a_file_of_a_step_is_never_written_through_a_link_of_the_session() {
    let bench = Bench::new();
    let outside = bench.home.path().join("outside");
    std::fs::create_dir(&outside).expect("a directory");
    std::fs::write(outside.join("victim"), "host").expect("a file");
    std::fs::set_permissions(&outside, std::fs::Permissions::from_mode(0o777)).expect("mode");
    for (form, profile) in bench.profiles() {
        let plant = format!(
            "ln -s {0} lib; ln -s {0}/victim notes; ln -s {0}/new countersign-script",
            outside.display()
        );
        let planted = bench.run(&profile, with(on(None), plan("sh", &plant)));
        for (file, starts) in [("notes", true), ("lib/victim", false), ("lib/new", false)] {
            let files = vec![step_file(file, b"sealed")];
            let report = bench.run(
                &profile,
                with(
                    on(Some(work(&planted))),
                    Plan {
                        files,
                        ..plan("sh", "exit 0")
                    },
                ),
            );
            assert_eq!(
                report.end == End::Exited(0),
                starts,
                "{form} {file}: {:?}",
                report.end
            );
        }
        assert_eq!(
            std::fs::read_to_string(outside.join("victim")).expect("a file"),
            "host",
            "{form}"
        );
        assert_eq!(
            std::fs::read_dir(&outside).expect("a directory").count(),
            1,
            "{form}"
        );
    }
}

#[test]
fn a_session_that_works_on_a_copy_keeps_its_own_directory() {
    let bench = Bench::new();
    let tree = bench.home.path().join("tree");
    std::fs::create_dir(&tree).expect("a directory");
    std::fs::set_permissions(&tree, std::fs::Permissions::from_mode(0o755)).expect("mode");
    std::fs::write(tree.join("host"), "host\n").expect("a file");
    let place = tree.canonicalize().expect("real").display().to_string();
    for workdir in [Workdir::Copy, Workdir::Overlay] {
        let profile = Profile {
            write: vec![place.clone()],
            workdir,
            ..bench.strict()
        };
        if bench.sandbox.check(&profile).is_err() {
            not_run("a session on an overlay", "this host mounts none");
            continue;
        }
        let script = "pwd; cat host; cat /tmp/work/mine 2>/dev/null; echo mine >> /tmp/work/mine";
        let mut first = bench.run(&profile, with(on(None), plan("sh", script)));
        assert_eq!(said(&mut first), format!("{place}\nhost"), "{workdir:?}");
        let mut next = bench.run(&profile, with(on(Some(work(&first))), plan("sh", script)));
        assert_eq!(
            said(&mut next),
            format!("{place}\nhost\nmine"),
            "{workdir:?}"
        );
    }
}

#[test]
fn a_list_of_programs_also_holds_in_the_output_and_in_a_session() {
    let bench = Bench::new();
    let list = |names: &[&str]| {
        let required = &names
            .iter()
            .map(|name| name.parse().expect("a name"))
            .collect();
        let (optional, starters) = (&BTreeSet::new(), &BTreeMap::new());
        list_of(&WantedPrograms {
            required,
            optional,
            starters,
            is_host_user: false,
        })
        .expect("a list")
    };
    let script = "#!/bin/bash\nfor d in $COUNTERSIGN_OUTPUT $PWD; do cp /usr/bin/true $d/t; chmod 755 $d/t; $d/t && echo ran; done 2>/dev/null; true";
    for (names, expected) in [
        (&["bash", "chmod", "cp", "true"][..], ""),
        (&["bash", "chmod", "cp", "true", "{work}/**"], "ran\nran"),
    ] {
        let profile = bench.strict().with_programs(list(names));
        let mut report = bench.run(&profile, with(on(None), plan("bash", script)));
        assert_eq!(said(&mut report), expected, "{names:?}");
    }
}

// Weaker hosts

/// Without namespaces, a run is on the host's root file system, where Landlock restricts it.
#[test]
fn without_namespaces_a_run_has_results_and_a_session() {
    const NAME: &str = "results::without_namespaces_a_run_has_results_and_a_session";
    if std::env::var_os("COUNTERSIGN_TEST_RESULTS").is_none() {
        for held in [
            "exec \"$@\"",
            "exec setpriv --bounding-set=-all --inh-caps=-all \"$@\"",
        ] {
            let held = format!("echo 0 > /proc/sys/user/max_user_namespaces; {held}");
            let done = std::process::Command::new("unshare")
                .args(["--user", "--map-root-user", "bash", "-ec", &held, "bash"])
                .arg(std::env::current_exe().expect("this test"))
                .args(["--exact", NAME, "--nocapture"])
                .env("COUNTERSIGN_TEST_RESULTS", "here")
                .output()
                .expect("starts");
            let text = String::from_utf8_lossy(&done.stdout).into_owned()
                + &String::from_utf8_lossy(&done.stderr);
            assert!(done.status.success() && text.contains("1 passed"), "{text}");
        }
        return;
    }
    let bench = Bench::new();
    let weak = Profile {
        require: vec![],
        ..Profile::nothing(vec![], limits())
    };
    let tree: Option<Arc<SessionTree>> = None;
    let script = "cat $COUNTERSIGN_ARTIFACTS/a; echo -n x > $COUNTERSIGN_OUTPUT/f; echo a=1 >> $RUNBOOK_OUTPUT; mkdir -p d; echo y >> d/y
        (echo z > $COUNTERSIGN_ARTIFACTS/a) 2>/dev/null; (echo z > ${COUNTERSIGN_OUTPUT%/files}/z) 2>/dev/null; cd d; exit 4";
    let session = PlannedSession {
        wrapper: Some(wrapper(None)),
        ..on(tree.as_ref())
    };
    let inputs = vec![input("a", b"input")];
    let first = bench.run(
        &weak,
        with(
            session.clone(),
            Plan {
                inputs: inputs.clone(),
                ..plan("bash", script)
            },
        ),
    );
    assert_eq!(first.end, End::Exited(4));
    assert_eq!(
        names(&results(&first).files(&LIMITS).expect("captured")),
        ["f"]
    );
    assert_eq!(results(&first).outputs().expect("outputs").len(), 1);
    let state =
        String::from_utf8(results(&first).session_state().expect("a state")).expect("UTF-8");
    let cwd = Some(state.trim_end_matches(':').as_bytes().to_vec());
    let session = PlannedSession {
        cwd,
        tree: Some(work(&first).clone()),
        ..session
    };
    let mut next = bench.run(
        &weak,
        with(
            session,
            Plan {
                inputs,
                ..plan("bash", "cat y; ls -A $HOME; cat $COUNTERSIGN_ARTIFACTS/a")
            },
        ),
    );
    assert_eq!(said(&mut next), "y\ninput");
    drop((first, next));
    assert_eq!(bench.left(), 0);
}

/// An ordinary user may not read each file that a run with the same id leaves.
#[test]
fn an_ordinary_user_captures_results_and_carries_a_session() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let tests = [
        "captured",
        "links_and_modes",
        "breaks_a_rule",
        "through_a_link",
        "in_its_directory",
        "its_inputs",
        "wrapper",
    ];
    let done = std::process::Command::new("setpriv")
        .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
        .arg(std::env::current_exe().expect("this test"))
        .args(tests)
        .args([
            "--nocapture",
            "--skip",
            "runs::",
            "--skip",
            "programs",
            "--skip",
            "profiles::",
            "--skip",
            "everyday::",
        ])
        .args([
            "--skip",
            "closures::",
            "--skip",
            "listed_attacks::",
            "--skip",
            "program_record::",
        ])
        .output()
        .expect("starts");
    let text =
        String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr);
    if text.contains("ermission denied") && !text.contains("running") {
        return not_run(
            "an_ordinary_user_captures_results_and_carries_a_session",
            "this user can't execute the test",
        );
    }
    assert!(
        done.status.success() && !text.contains(" 0 passed"),
        "{text}"
    );
    println!("{text}");
}

#[test]
fn the_results_are_deleted_with_their_last_owner() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let bench = Bench::new();
    let report = bench.run(
        &off(),
        with(
            on(None),
            plan("sh", "echo x > $COUNTERSIGN_OUTPUT/x; echo x > y"),
        ),
    );
    let (tree, files) = (
        work(&report).clone(),
        results(&report).files(&LIMITS).expect("captured"),
    );
    drop(report);
    assert_eq!(bench.left(), 1);
    assert_eq!(text(&files[0]), "x\n");
    drop(files);
    assert_eq!(bench.left(), 1, "the session needs its directory");
    drop(tree);
    assert_eq!(bench.left(), 0);
}
