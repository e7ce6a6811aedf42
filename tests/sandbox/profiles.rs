//! Sandbox permissions from the runbook and the policy to the receipt; `countersign sandbox`.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Stdio;

use crate::support::people::alice;
use crate::support::{self, POLICY, SMALL, World, assert_says, not_run, runbook, said};
use serde_json::{Value, json};

/// Creates a directory on the host with a plain file and with a file that the tests deny.
fn tree() -> (tempfile::TempDir, String) {
    let dir = tempfile::Builder::new()
        .prefix("countersign-tree-")
        .tempdir()
        .expect("a directory");
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o777)).expect("mode");
    for (name, text) in [("plain", "plain text\n"), (".env", "the secret\n")] {
        std::fs::write(dir.path().join(name), text).expect("a file");
        std::fs::set_permissions(
            dir.path().join(name),
            std::fs::Permissions::from_mode(0o666),
        )
        .expect("mode");
    }
    let path = dir
        .path()
        .canonicalize()
        .expect("real")
        .display()
        .to_string();
    (dir, path)
}

/// Returns the error of `serve` for a step with this declaration, under a policy with these sandbox permissions.
fn refused(declares: &str, allows: &str) -> String {
    let mut world = World::prepared(|setup| {
        setup.runbook(
            "host.md",
            runbook(SMALL, &[(&format!("go {declares}"), "true")]),
        );
        if !allows.is_empty() {
            setup.policy =
                format!("{POLICY}overrides:\n  - {{runbook: host, sandbox: {{{allows}}}}}\n");
        }
    });
    world
        .try_start()
        .expect_err("it does not serve")
        .replace("\\\"", "\"")
}

#[test]
fn a_declaration_that_policy_does_not_allow_is_an_error_at_the_seal_with_its_place() {
    let (_dir, tree) = tree();
    for (declares, write) in [
        (
            "network=host".to_owned(),
            "`- {runbook: \"host\", sandbox: {network: host}}`".to_owned(),
        ),
        (
            "network=api.example.com:443".to_owned(),
            "network: {allow: [\"api.example.com:443\"]}".to_owned(),
        ),
        (format!("read={tree}"), format!("read: [\"{tree}\"]")),
        (
            format!("write={tree} workdir=in-place"),
            format!("write: [\"{tree}\"]"),
        ),
        (
            "sandbox=off reason=\"needs the host's packages\"".to_owned(),
            "may_be_off: true".to_owned(),
        ),
        ("run-as=web".to_owned(), "run_as: web".to_owned()),
    ] {
        let text = refused(&declares, "");
        assert!(
            text.contains("host.md:7:11: host:go: the step declares") && text.contains(&write),
            "{declares}: {text}"
        );
    }
}

#[test]
fn a_missing_or_private_path_is_an_error_at_the_seal_with_its_place() {
    let (dir, tree) = tree();
    std::os::unix::fs::symlink(&tree, dir.path().join("link")).expect("a link");
    for (declares, allows, expected) in [
        (
            "read=/no/such/place".to_owned(),
            "read: [/no/such/place]".to_owned(),
            "/no/such/place can't be read",
        ),
        (
            format!("read={tree}/link"),
            format!("read: [\"{tree}\"]"),
            "write the real path",
        ),
        (
            format!("sockets={tree}/plain"),
            format!("sockets: [\"{tree}/plain\"]"),
            "is no socket",
        ),
        (
            "run-as=no-such-user".to_owned(),
            "run_as: no-such-user".to_owned(),
            "can't run as no-such-user: /etc/passwd does not contain this user",
        ),
    ] {
        let text = refused(&declares, &allows);
        assert!(
            text.contains("host.md:7:11: host:go: ") && text.contains(expected),
            "{declares}: {text}"
        );
    }
    // The directory above the boundary contains the private set.
    let mut world = World::prepared(|_| {});
    let above = world
        .path("")
        .canonicalize()
        .expect("real")
        .display()
        .to_string();
    let above = above.trim_end_matches('/').to_owned();
    world.write(
        "b/runbooks/host.md",
        &runbook(SMALL, &[(&format!("go read={above}"), "true")]),
    );
    world.write(
        "b/boundary/policy.yaml",
        &format!("{POLICY}overrides:\n  - {{runbook: host, sandbox: {{read: [\"{above}\"]}}}}\n"),
    );
    let text = world.try_start().expect_err("the private set is below it");
    assert!(
        text.contains("host.md:7:11: host:go: a step could reach"),
        "{text}"
    );
    let runbooks = format!("{above}/b/runbooks");
    let step = runbook(
        SMALL,
        &[(&format!("go write={runbooks} workdir=in-place"), "true")],
    );
    world.write("b/runbooks/host.md", &step);
    world.write(
        "b/boundary/policy.yaml",
        &format!(
            "{POLICY}overrides:\n  - {{runbook: host, sandbox: {{write: [\"{runbooks}\"], workdir: in-place}}}}\n"
        ),
    );
    assert_says(
        world.try_start().expect_err("no run writes a runbook"),
        "no run may write a runbook",
    );
}

#[test]
fn all_steps_that_cannot_be_sealed_are_reported_in_one_message_with_their_places() {
    let (_dir, tree) = tree();
    std::fs::create_dir(format!("{tree}/in")).expect("a directory");
    let steps = [
        format!("absent read={tree}/absent"),
        format!("nested read={tree} write={tree}/in workdir=copy"),
        "huge memory=999GiB".to_owned(),
        "tiny memory=1KiB".to_owned(),
        "fine".to_owned(),
    ];
    let steps: Vec<(&str, &str)> = steps.iter().map(|step| (step.as_str(), "true")).collect();
    let policy = format!(
        "{POLICY}overrides:\n  - {{runbook: host, sandbox: {{read: [\"{tree}\"], write: [\"{tree}\"], workdir: copy}}}}\n"
    );
    let mut world = World::prepared(|setup| {
        setup.runbook("host.md", runbook("", &steps));
        setup.policy.clone_from(&policy);
    });
    let all = [
        "host.md:7:11: host:absent: the profile's path",
        "host.md:11:11: host:nested: the profile's path",
        "host.md:15:11: host:huge: the step asks for memory_bytes",
        "host.md:19:11: host:tiny: the profile can't be enforced: the limit memory_bytes is 1024, which is too small for any \
         interpreter; use at least 4 MiB",
    ];
    let check = |text: &str| {
        for words in all {
            assert!(text.contains(words), "{words}: {text}");
        }
        assert!(
            !text.contains("host:fine") && !text.contains("toml: host.md"),
            "{text}"
        );
    };
    check(&world.try_start().expect_err("it does not serve"));
    // A later seal reports the same errors, and the old seal stays in force.
    world.write("b/runbooks/host.md", &runbook("", &[("fine", "true")]));
    world.start();
    let before = world.service_log().len();
    world.write("b/runbooks/host.md", &runbook("", &steps));
    world.signal(rustix::process::Signal::HUP);
    support::wait_for("the errors are told", || {
        world.service_log()[before..].contains("host:tiny")
    });
    check(&world.service_log()[before..]);
}

/// Without this check, the error appears only after the nonce is consumed.
#[test]
fn a_directory_that_no_run_can_get_is_an_error_at_the_seal() {
    let (_dir, tree) = tree();
    let closed = format!("{tree}/closed");
    std::fs::create_dir_all(format!("{closed}/in")).expect("a directory");
    std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o700)).expect("mode");
    // Only a run with its own user id has no access to the directory.
    if rustix::process::geteuid().is_root() {
        for (path, how) in [
            (closed.clone(), "look into"),
            (format!("{closed}/in"), "enter"),
        ] {
            let text = refused(&format!("read={path}"), &format!("read: [\"{path}\"]"));
            assert!(
                text.contains(&format!(
                    "can't be used: the user id of the run can't {how} {closed}"
                )),
                "{text}"
            );
        }
    } else {
        not_run(
            "a_directory_that_no_run_can_get_is_an_error_at_the_seal",
            "ids of its own need root",
        );
    }
    // An overlay cannot contain two file systems. A copy can.
    std::fs::create_dir(format!("{tree}/other")).expect("a directory");
    let world = World::prepared(|_| {});
    let program = world.program(&[]).get_program().to_owned();
    let mounted = r#"mount -t tmpfs none "$1/other" && exec "$2" sandbox --write "$1" --workdir overlay -- true"#;
    let mut command = world.command("unshare");
    if !rustix::process::geteuid().is_root() {
        command.args(["--user", "--map-current-user", "--keep-caps"]);
    }
    let tried = command
        .args(["--mount", "bash", "-c", mounted, "bash", &tree])
        .arg(program)
        .output()
        .expect("starts");
    let says = format!("contains another file system at {tree}/other");
    assert!(
        !tried.status.success() && said(&tried).contains(&says),
        "{}",
        said(&tried)
    );
}

/// A copy contains no sockets, and no process listens on a socket of an overlay, so the run would not get the socket of
/// the signed profile.
#[test]
fn a_declared_socket_is_reachable_in_every_kind_of_working_directory_or_refused_at_the_seal() {
    let (dir, tree) = tree();
    let path = format!("{tree}/app.sock");
    let listener = std::os::unix::net::UnixListener::bind(&path).expect("a listener");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o777)).expect("mode");
    std::thread::spawn(move || {
        use std::io::Write as _;
        for client in listener.incoming() {
            let _ = client.expect("a client").write_all(b"hello");
        }
    });
    let world = World::prepared(|_| {});
    let connect = format!(
        "import socket; s = socket.socket(socket.AF_UNIX); s.connect({path:?}); print(s.recv(9))"
    );
    let tried = |arguments: &[&str]| {
        let mut command = world.program(&["sandbox", "--socket", &path]);
        command
            .args(arguments)
            .args(["--", "python3", "-c", &connect])
            .current_dir(dir.path())
            .output()
            .expect("runs")
    };
    let reached: [&[&str]; 3] = [
        &[],
        &["--read", &tree],
        &["--write", &tree, "--workdir", "in-place"],
    ];
    for arguments in reached {
        let output = tried(arguments);
        assert_eq!(
            (output.status.code(), said(&output).as_str()),
            (Some(0), "b'hello'\n"),
            "{arguments:?}"
        );
    }
    for workdir in ["copy", "overlay"] {
        let says = format!("{path} is in {tree}, but the run gets a copy or an overlay");
        let output = tried(&["--write", &tree, "--workdir", workdir]);
        assert!(
            !output.status.success() && said(&output).contains(&says),
            "{workdir}: {}",
            said(&output)
        );
        let allows = format!("sockets: [\"{path}\"], write: [\"{tree}\"], workdir: in-place");
        let text = refused(
            &format!("sockets={path} write={tree} workdir={workdir}"),
            &allows,
        );
        assert!(
            text.contains("host.md:7:11: host:go: ") && text.contains(&says),
            "{workdir}: {text}"
        );
    }
}

#[test]
fn a_declared_profile_is_signed_and_enforced_and_repeated_in_the_receipt() {
    let (_dir, tree) = tree();
    let world = World::with(|setup| {
        let script = format!(
            "cat {tree}/plain; cat {tree}/.env; rm -f {tree}/.env; echo new > {tree}/made; ls -A {tree}; true"
        );
        let declares = format!("go write={tree} workdir=overlay network=api.example.com:443");
        setup.runbook("host.md", runbook(SMALL, &[(&declares, &script)]));
        setup.policy = format!(
            "{POLICY}overrides:\n  - {{runbook: host, sandbox: {{read: [\"{tree}\"], deny: [\"**/.env\"], network: {{allow: \
             [\"api.example.com:443\"]}}}}}}\n"
        );
    });
    let sealed = world.wire.get("/v1/steps/host:go", &world.reader).ok(200);
    assert_eq!(
        (
            &sealed["sandbox"]["write"],
            &sealed["sandbox"]["deny"],
            &sealed["sandbox"]["workdir"],
            &sealed["sandbox"]["network"]
        ),
        (
            &json!([tree]),
            &json!(["**/.env"]),
            &json!("overlay"),
            &json!({"mode": "allow", "hosts": ["api.example.com:443"]})
        )
    );
    let finished = world.run("host:go", json!({}), &[&alice()]);
    assert_eq!(
        world.output(&finished, "stdout"),
        "plain text\n.env\nmade\nplain\n"
    );
    let receipt: Value = world.receipt(&finished);
    let held = &receipt["sandbox"];
    assert_eq!(
        (&held["level"], &held["fs"]["mode"], &held["fs"]["deny"]),
        (&json!("strict"), &json!("overlay"), &json!("point-in-time"))
    );
    assert_eq!(
        (&held["net"], &held["contacted"]),
        (&json!("allow"), &json!([]))
    );
    assert_eq!(
        std::fs::read_dir(&tree).expect("the tree").count(),
        2,
        "nothing of it is on the host"
    );
    world.assert_verified(&finished);
    world.assert_audited();
}

/// Between the two runs, the host renames the denied file, so the second run may have read the file.
#[test]
fn a_receipt_reports_that_only_the_run_before_masked_names() {
    let (dir, tree) = tree();
    let world = World::with(|setup| {
        setup.runbook(
            "host.md",
            runbook(
                SMALL,
                &[(
                    &format!("go read={tree}"),
                    &format!("cat {tree}/other; true"),
                )],
            ),
        );
        setup.policy = format!(
            "{POLICY}overrides:\n  - {{runbook: host, sandbox: {{read: [\"{tree}\"], deny: [\"**/.env\"]}}}}\n"
        );
    });
    let fs = || {
        let finished = world.run("host:go", json!({}), &[&alice()]);
        world.assert_verified(&finished);
        let fs = world.receipt(&finished)["sandbox"]["fs"].clone();
        world.write(
            "bundle.json",
            std::str::from_utf8(&world.bundle(&finished)).expect("UTF-8"),
        );
        let roster = world.started["roster"].as_str().expect("a digest");
        let bundle = world.path("bundle.json").display().to_string();
        let shown = world
            .program(&["verify", "--roster", roster, &bundle])
            .output()
            .expect("runs");
        let warned = said(&shown)
            .contains("deny patterns hid 1 names in the previous run, but no name in this run");
        (fs["masked"].clone(), fs["masked_before"].clone(), warned)
    };
    assert_eq!(fs(), (json!(1), Value::Null, false));
    // The run before is found although many runs of another step followed.
    world.add_later_rows("other:go", 10_001);
    let step = world.wire.get("/v1/steps/host:go", &world.reader).ok(200);
    assert_eq!(step["last_success"]["runs"], 1, "{step:#}");
    std::fs::rename(dir.path().join(".env"), dir.path().join("other")).expect("moved");
    assert_eq!(fs(), (json!(0), json!(1), true));
    assert_eq!(
        fs(),
        (json!(0), json!(1), true),
        "the warning stays until names are masked again"
    );
    std::fs::rename(dir.path().join("other"), dir.path().join(".env")).expect("moved back");
    assert_eq!(fs(), (json!(1), Value::Null, false));
    world.assert_audited();
}

#[test]
fn a_step_that_runs_as_a_user_of_the_host_writes_as_that_user() {
    let (dir, tree) = tree();
    let (user, uid, _) = support::host::user_of_the_host();
    let world = World::with(|setup| {
        let declares = format!("go write={tree} workdir=in-place run-as={user}");
        setup.runbook(
            "host.md",
            runbook(SMALL, &[(&declares, &format!("echo made > {tree}/made"))]),
        );
        setup.policy = format!(
            "{POLICY}overrides:\n  - {{runbook: host, sandbox: {{write: [\"{tree}\"], workdir: in-place, run_as: {user}}}}}\n"
        );
    });
    let sealed = world.wire.get("/v1/steps/host:go", &world.reader).ok(200);
    assert_eq!(sealed["sandbox"]["run_as"], user.as_str());
    let finished = world.run("host:go", json!({}), &[&alice()]);
    assert_eq!(
        finished["outcome"],
        json!({"exit_code": 0, "status": "succeeded"})
    );
    let made = dir.path().join("made").metadata().expect("made");
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&made), uid);
    assert_eq!(world.receipt(&finished)["sandbox"]["level"], "strict");
    world.assert_verified(&finished);
}

#[test]
fn a_runbook_that_others_can_write_is_neither_served_nor_sealed() {
    let mut world =
        World::prepared(|setup| setup.runbook("deep/there.md", runbook(SMALL, &[("go", "true")])));
    let mode = |world: &World, name: &str, mode| {
        std::fs::set_permissions(world.path(name), std::fs::Permissions::from_mode(mode))
            .expect("mode");
    };
    for (name, open, ordinary) in [
        ("b/runbooks/say.md", 0o666, 0o644),
        ("b/runbooks/deep", 0o777, 0o755),
        ("b/runbooks", 0o775, 0o755),
    ] {
        mode(&world, name, open);
        let says = world.try_start().expect_err("it does not serve");
        assert!(
            says.contains(&format!("other users can write the path (mode {open:04o})")),
            "{says}"
        );
        assert!(says.contains("1 thing to fix"), "said once: {says}");
        let doctor = world
            .program(&["doctor", "--production"])
            .arg(world.path("b"))
            .output()
            .expect("doctor");
        assert!(
            said(&doctor).contains("FIX    not checked: "),
            "{}",
            said(&doctor)
        );
        mode(&world, name, ordinary);
    }
    world.start();
    let before = world.seal();
    world.write("b/runbooks/new.md", &runbook(SMALL, &[("go", "true")]));
    mode(&world, "b/runbooks/new.md", 0o662);
    let says = world
        .control(&json!({"do": "seal"}))
        .expect_err("it is not sealed");
    assert!(
        says.contains("new.md:1:1: other users can write the path"),
        "{says}"
    );
    assert_eq!(world.seal(), before);
    mode(&world, "b/runbooks/new.md", 0o644);
    world.reseal(before + 1);
}

#[test]
fn the_sandbox_command_runs_a_command_with_a_profile() {
    let (dir, tree) = tree();
    let world = World::prepared(|_| {});
    let run = |arguments: &[&str]| {
        let mut command = world.program(&["sandbox"]);
        command
            .args(arguments)
            .current_dir(dir.path())
            .output()
            .expect("runs")
    };
    let plain = run(&["--", "sh", "-c", "id -un; exit 7"]);
    assert_eq!(
        (plain.status.code(), said(&plain).as_str()),
        (Some(7), "step\n")
    );
    let hidden = run(&["--", "cat", &format!("{tree}/plain")]);
    assert_ne!(hidden.status.code(), Some(0), "{}", said(&hidden));
    let read = run(&[
        "--read",
        ".",
        "--deny",
        "**/.env",
        "--",
        "cat",
        &format!("{tree}/plain"),
        &format!("{tree}/.env"),
    ]);
    assert!(
        said(&read).contains("plain text") && !said(&read).contains("the secret"),
        "{}",
        said(&read)
    );
    // A deny pattern for a directory also covers a path in the directory that the profile names.
    std::fs::create_dir(dir.path().join("pub")).expect("a directory");
    for denied in [
        tree.clone(),
        format!(
            "**/{}",
            Path::new(&tree).file_name().expect("a name").display()
        ),
    ] {
        let below = run(&[
            "--read",
            "pub",
            "--deny",
            &denied,
            "--",
            "ls",
            &format!("{tree}/pub"),
        ]);
        let says = format!("is in {tree}, which a pattern of the same profile denies");
        assert!(
            !below.status.success() && said(&below).contains(&says),
            "{}",
            said(&below)
        );
    }
    let written = run(&[
        "--write",
        ".",
        "--",
        "sh",
        "-c",
        &format!("echo x > {tree}/new && ls {tree}"),
    ]);
    assert!(said(&written).contains("new"), "{}", said(&written));
    assert!(!dir.path().join("new").exists(), "an overlay by default");
    let explained = run(&["--explain", "--net", "a.example:443"]);
    for words in [
        "network: only \"a.example:443\"",
        "level here: strict",
        "required layers: capabilities, filesystem",
    ] {
        assert!(
            said(&explained).contains(words),
            "{words}: {}",
            said(&explained)
        );
    }
    let wrong = run(&["--write", ".", "--workdir", "live", "--", "true"]);
    assert!(
        said(&wrong).contains("--workdir: unknown value of workdir: \"live\""),
        "{}",
        said(&wrong)
    );
    let json = run(&["--json", "--", "true"]);
    let json: Value = serde_json::from_slice(&json.stdout).expect("JSON");
    assert_eq!(json["sandbox"]["level"], "strict");
    world.write("signed.json", &json["profile"].to_string());
    let file = world.path("signed.json").display().to_string();
    assert_eq!(
        run(&["--profile", &file, "--", "true"]).status.code(),
        Some(0)
    );
    for option in [
        &["--read", "."][..],
        &["--write", "."],
        &["--deny", "**/.env"],
        &["--net", "none"],
        &["--full-proc"],
    ]
    .into_iter()
    .chain([
        &["--run-as", "nobody"][..],
        &["--timeout", "9"],
        &["--workdir", "copy"],
        &["--socket", "."],
    ]) {
        let both = run(&[&["--profile", &file], option, &["--", "true"]].concat());
        let says = format!("{} can't be combined with {file}", option[0]);
        assert!(
            both.status.code() == Some(2) && said(&both).contains(&says),
            "{option:?}: {}",
            said(&both)
        );
    }
    let mut short = json["profile"].clone();
    short["limits"]["output_bytes"] = 10.into();
    world.write("signed.json", &short.to_string());
    let cut = run(&["--profile", &file, "--", "echo", "hello to all"]);
    assert_eq!(cut.stdout, b"hello to a");
    assert!(
        said(&cut).contains("the first 10 of 13 bytes"),
        "{}",
        said(&cut)
    );
    let cut = run(&["--json", "--profile", &file, "--", "echo", "hello to all"]);
    let cut: Value = serde_json::from_slice(&cut.stdout).expect("JSON");
    assert_eq!(
        cut["stdout"],
        serde_json::json!({"bytes": 13, "truncated": true})
    );
    let off = run(&["--profile", "off", "--", "true"]);
    assert!(
        said(&off).starts_with("THE SANDBOX IS OFF"),
        "{}",
        said(&off)
    );
    let full = std::fs::File::options()
        .write(true)
        .open("/dev/full")
        .expect("/dev/full");
    let full = world
        .program(&["sandbox", "--", "echo", "hi"])
        .stdout(full)
        .output()
        .expect("runs");
    assert!(
        full.status.code() == Some(125) && said(&full).contains("No space left"),
        "{}",
        said(&full)
    );
    assert_eq!(
        run(&["--timeout", "1", "--", "sleep", "30"]).status.code(),
        Some(124)
    );
    for (arguments, word) in [
        (&["--"][..], "the command is missing"),
        (
            &["--profile", "paranoid", "--", "true"],
            "neither strict, best-effort or off",
        ),
        (
            &["--read", "/no/such", "--", "true"],
            "name an existing path",
        ),
        (
            &["--deny", "**", "--read", ".", "--", "true"],
            "matches everything",
        ),
        (
            &["--net", "169.254.169.254:80", "--", "true"],
            "no step may reach",
        ),
        (&["--run-as", "root", "--", "true"], "no step runs as root"),
    ] {
        let output = run(arguments);
        assert!(
            output.status.code() == Some(2) && said(&output).contains(word),
            "{arguments:?}: {}",
            said(&output)
        );
    }
}

#[test]
fn the_sandbox_command_names_the_option_for_a_missing_access() {
    let world = World::prepared(|_| {});
    let run = |arguments: &[&str]| {
        said(
            &world
                .program(&["sandbox"])
                .args(arguments)
                .output()
                .expect("runs"),
        )
    };
    let net =
        "python3 -c 'import urllib.request as r; r.urlopen(\"http://example.org\")' || exit 6";
    let words = "the run reaches only the hosts and ports that `network=` or --net names: if it needs another, add name:port";
    assert_says(run(&["--", "sh", "-c", net]), words);
    assert_says(
        run(&["--", "cat", "/proc/meminfo"]),
        "give --full-proc to show the rest",
    );
    assert!(run(&["--full-proc", "--", "cat", "/proc/meminfo"]).contains("MemTotal"));
    // The run has no route to other numbers, and nothing listens at other ports.
    for (at, why) in [
        ("10.77.0.9/443", "Network is unreachable"),
        ("10.77.0.8/444", "Connection refused"),
    ] {
        let said = run(&[
            "--net",
            "10.77.0.8:443",
            "--",
            "bash",
            "-c",
            &format!("exec 3<>/dev/tcp/{at}"),
        ]);
        assert_says(&said, why);
        assert_says(&said, words);
    }
    assert!(
        !run(&[
            "--profile",
            "off",
            "--",
            "sh",
            "-c",
            "echo Connection refused >&2"
        ])
        .contains("--net")
    );
    // The shell continues after the limit, so the exit code of the command does not show the limit.
    let words = "a program of the command reached the limit file_bytes: a file has at most 67108864 bytes here";
    for script in [
        "head -c 100000000 /dev/zero > /tmp/large; echo on",
        "head -c 100000000 /dev/zero > /tmp/large | cat; echo 'File too large' >&2",
    ] {
        let text = run(&["--", "bash", "-c", script]);
        assert!(text.contains(words), "{script}: {text}");
    }
    let fine = run(&["--", "sh", "-c", "echo /proc/meminfo; exit 3"]);
    assert_eq!(fine, "/proc/meminfo\n");
    // The first example in the help of `countersign sandbox`.
    let listed = run(&["--", "ls", "-la", "/"]);
    assert!(
        listed.contains("usr") && !listed.contains("denied"),
        "{listed}"
    );
}

/// Files in an overlay keep their owner. If the service is root, the run has a user id that owns no file of the host.
#[test]
fn the_sandbox_command_explains_why_files_of_another_owner_cannot_be_changed() {
    if !rustix::process::geteuid().is_root() {
        return not_run(
            "the_sandbox_command_explains_why_files_of_another_owner_cannot_be_changed",
            "ids of its own need root",
        );
    }
    let (_dir, tree) = tree();
    let inner = format!("{tree}/inner");
    std::fs::create_dir(&inner).expect("a directory");
    std::fs::set_permissions(&inner, std::fs::Permissions::from_mode(0o755)).expect("mode");
    let world = World::prepared(|_| {});
    let tried = |workdir: &str, script: &str| {
        let arguments = [
            "sandbox",
            "--write",
            &inner,
            "--workdir",
            workdir,
            "--",
            "sh",
            "-c",
            script,
        ];
        said(&world.program(&arguments).output().expect("runs"))
    };
    std::fs::create_dir(format!("{inner}/.git")).expect("a directory");
    let index = "echo new > .git/index.lock";
    for workdir in ["overlay", "in-place"] {
        let text = tried(workdir, index);
        let told = text.contains(&format!("{inner} belongs to another user"))
            && text.contains("--workdir copy");
        assert!(
            text.contains("ermission denied") && told,
            "{workdir}: {text}"
        );
    }
    assert_eq!(tried("copy", index), "", "what it says helps");
    assert_eq!(tried("overlay", "echo new > new && cat new"), "new\n");
}

/// Alternatives in braces are one pattern, both on the command line and in a runbook.
#[test]
fn a_list_of_deny_patterns_is_split_only_at_commas_outside_of_braces() {
    let (_dir, tree) = tree();
    for name in ["a", "q", "z"] {
        std::fs::create_dir(format!("{tree}/{name}")).expect("a directory");
        std::fs::write(format!("{tree}/{name}/key"), format!("of {name}\n")).expect("a file");
    }
    let world = World::prepared(|_| {});
    let tried = |deny: &[&str]| {
        let mut command = world.program(&["sandbox", "--read", &tree]);
        for pattern in deny {
            command.args(["--deny", pattern]);
        }
        let script = format!("cd {tree}; cat a/key q/key z/key plain .env 2>/dev/null");
        let output = command
            .args(["--", "sh", "-c", &script])
            .output()
            .expect("runs");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert_eq!(tried(&["**/{a,q}/key"]), "of z\nplain text\nthe secret\n");
    assert_eq!(tried(&["**/{a,q}/key,**/.env"]), "of z\nplain text\n");
    assert_eq!(tried(&["**/a/key", "**/.env"]), "of q\nof z\nplain text\n");
    assert_says(
        refused(
            &format!("read={tree} deny=\"**/{{a,q\""),
            &format!("read: [\"{tree}\"]"),
        ),
        "not closed",
    );
}

/// With control characters, the output of a step could imitate messages of this program on the terminal.
#[test]
fn the_sandbox_command_escapes_control_characters_on_a_terminal() {
    let world = World::prepared(|_| {});
    let arguments = ["sandbox", "--", "printf", r"\033[2Jgone\000"];
    let piped = world.program(&arguments).output().expect("runs");
    assert_eq!(piped.stdout, b"\x1b[2Jgone\0");
    let mut command = vec![
        world
            .program(&[])
            .get_program()
            .to_string_lossy()
            .into_owned(),
    ];
    command.extend(arguments.map(|word| format!("'{word}'")));
    let terminal = std::process::Command::new("script")
        .args(["-qec", &command.join(" "), "/dev/null"])
        .stdin(Stdio::null())
        .output();
    let Ok(terminal) = terminal else {
        return not_run(
            "the_sandbox_command_escapes_control_characters_on_a_terminal",
            "there is no script(1) here",
        );
    };
    let text = said(&terminal);
    assert!(
        !text.contains('\x1b') && text.contains("gone") && text.contains("1b"),
        "{text:?}"
    );
}

#[test]
fn a_sandbox_trial_that_is_killed_from_outside_leaves_no_files() {
    use std::io::Read as _;
    let temporary = tempfile::Builder::new()
        .prefix("countersign-test-")
        .tempdir()
        .expect("a directory");
    std::fs::set_permissions(temporary.path(), std::fs::Permissions::from_mode(0o711))
        .expect("mode");
    let world = World::prepared(|_| {});
    let mut command = world.program(&["sandbox", "--", "sh", "-c", "echo begun; sleep 600"]);
    let mut child = command
        .env("TMPDIR", temporary.path())
        .stdout(Stdio::piped())
        .spawn()
        .expect("starts");
    let mut begun = [0; 5];
    child
        .stdout
        .as_mut()
        .expect("piped")
        .read_exact(&mut begun)
        .expect("it runs");
    assert!(temporary.path().read_dir().expect("a directory").count() > 0);
    let process = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(process, rustix::process::Signal::TERM).expect("signalled");
    assert_eq!(child.wait().expect("ends").code(), Some(143));
    assert_eq!(temporary.path().read_dir().expect("a directory").count(), 0);
}
