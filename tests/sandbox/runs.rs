//! Real steps test the sandbox from inside.
//!
//! If a host cannot enforce a layer, the tests fail: [`Bench::strict`] panics and names the missing layer.

use std::io::Read as _;
use std::net::{TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::support::host::{not_run, on_host, user_of_the_host};
use crate::support::{assert_says, wait_for};
use documents::{
    HeldLimit, Layer, Level, LimitFacts, LimitHolder, Limits, Masks, Network, NetworkMode, Proc,
    Profile, STRICT, Workdir,
};
use sandbox::{
    Attempt, AttemptResult, CancelFlag, Chunk, End, LocalSandbox, Plan, Report, Setup, Unavailable,
    attempts,
};

pub(super) struct Bench {
    home: tempfile::TempDir,
    pub(super) sandbox: LocalSandbox,
}

impl Bench {
    fn new() -> Self {
        let home = tempfile::Builder::new()
            .prefix("countersign-test-")
            .tempdir()
            .expect("a directory");
        let open = |mode| std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(home.path(), open(0o755)).expect("mode");
        for (name, mode) in [
            ("scratch", 0o711),
            ("spool", 0o700),
            ("private", 0o755),
            ("runbooks", 0o777),
        ] {
            std::fs::create_dir(home.path().join(name)).expect("a directory");
            std::fs::set_permissions(home.path().join(name), open(mode)).expect("mode");
        }
        std::fs::write(home.path().join("private/key.pem"), "the secret").expect("a file");
        let sandbox = LocalSandbox::open(&Setup {
            helper: Some(env!("CARGO_BIN_EXE_countersign").into()),
            scratch: home.path().join("scratch"),
            spool: home.path().join("spool"),
            private: vec![home.path().join("private")],
            unwritable: vec![home.path().join("runbooks")],
        })
        .expect("a sandbox");
        Self { home, sandbox }
    }

    pub(super) fn strict() -> Self {
        let bench = Self::new();
        let probe = bench.sandbox.probe();
        assert_eq!(
            probe.level(),
            Level::Strict,
            "this host can't hold strict: {:#?}",
            probe.layers
        );
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn run(&self, plan: Plan) -> Report {
        self.run_with(&profile(), plan)
    }

    pub(super) fn run_with(&self, profile: &Profile, plan: Plan) -> Report {
        let prepared = self.sandbox.check(profile).expect("can be held");
        self.sandbox.run(
            prepared,
            plan,
            &mut |_| {},
            &CancelFlag::new().expect("a flag"),
        )
    }

    fn bash(&self, source: &str) -> Report {
        self.run(plan("bash", source))
    }
}

pub(super) fn profile() -> Profile {
    Profile::nothing(
        STRICT.to_vec(),
        Limits {
            wall_ms: 20_000,
            ..Limits::default()
        },
    )
}

pub(super) fn limited(change: impl FnOnce(&mut Limits)) -> Profile {
    let mut profile = profile();
    change(&mut profile.limits);
    profile
}

pub(super) fn plan(interpreter: &str, source: &str) -> Plan {
    Plan {
        interpreter: interpreter.into(),
        source: source.into(),
        env: vec![],
        params_json: b"{}".to_vec(),
        files: vec![],
        inputs: vec![],
        results: false,
        session: None,
        unreachable: [].into(),
        secrets: vec![],
    }
}

pub(super) fn out(report: &mut Report) -> String {
    let mut text = String::new();
    report
        .stdout
        .recorded
        .reader()
        .expect("readable")
        .read_to_string(&mut text)
        .expect("UTF-8");
    text
}

pub(super) fn err(report: &mut Report) -> String {
    let mut text = String::new();
    report
        .stderr
        .recorded
        .reader()
        .expect("readable")
        .read_to_string(&mut text)
        .expect("UTF-8");
    text
}

/// Returns what the script printed. The script must end with exit code 0.
pub(super) fn said(mut report: Report) -> String {
    let (text, complaints) = (out(&mut report), err(&mut report));
    assert_eq!(report.end, End::Exited(0), "{text}{complaints}");
    text.trim_end().to_owned()
}

/// Returns an argument for `sleep` that only one test of one process uses.
pub(super) fn mark(name: &str) -> String {
    let number = name
        .bytes()
        .fold(0_u32, |sum, byte| (sum * 31 + u32::from(byte)) % 10_000);
    format!("86399.{number:04}{}", std::process::id())
}

/// Returns the name of a test of this file for `--exact`: with the module, without the name of the binary.
fn exact(name: &str) -> String {
    let (_, module) = module_path!().split_once("::").expect("a module");
    format!("{module}::{name}")
}

// The end of a run

#[test]
fn the_exit_code_is_the_exit_code_of_the_step() {
    let bench = Bench::strict();
    for code in [0, 1, 2, 125, 126, 127, 137, 255] {
        assert_eq!(bench.bash(&format!("exit {code}")).end, End::Exited(code));
    }
    assert_eq!(bench.bash("kill -KILL $$").end, End::Signalled(9));
    assert_eq!(bench.bash("kill -SEGV $$").end, End::Signalled(11));
}

#[test]
fn a_strict_run_reports_the_enforced_layers() {
    let bench = Bench::strict();
    let report = bench.bash("true");
    let facts = report.enforcement;
    assert_eq!(
        (facts.level, facts.layers, facts.missing),
        (Level::Strict, STRICT.to_vec(), vec![])
    );
    assert!(
        facts
            .landlock
            .is_some_and(|landlock| landlock.abi >= 1 && landlock.rules > 5)
    );
    assert_eq!(facts.ns.map(|ns| ns.len()), Some(7));
    assert!(
        facts
            .limits
            .is_some_and(|limits| limits.disk.is_some() && limits.processes.is_some())
    );
    assert_eq!(facts.left, None);
    assert!(
        facts
            .seccomp
            .is_some_and(|filter| filter.sha256.len() == 64)
    );
    assert!(report.usage.memory_peak_bytes > 0);
}

#[test]
fn a_run_that_could_not_start_has_no_exit_code() {
    let bench = Bench::strict();
    for (interpreter, source, word) in [
        (
            "no-such-interpreter",
            "x",
            "no interpreter no-such-interpreter",
        ),
        ("bash", "#!/no/such/shebang\nexit 3", "/no/such/shebang"),
        ("bash", "#!relative\n", "absolute path"),
        ("/etc/hosts", "x", "no interpreter /etc/hosts"),
    ] {
        match bench.run(plan(interpreter, source)).end {
            End::NotStarted(why) => assert!(why.contains(word), "{why}"),
            other => panic!("{interpreter} {source:?}: {other:?}"),
        }
    }
    let bad = Plan {
        env: vec![("LD PRELOAD".into(), "x".into())],
        ..plan("sh", "exit 0")
    };
    assert!(matches!(bench.run(bad).end, End::NotStarted(_)));
    let mut vanished = profile();
    let directory = tempfile::tempdir().expect("a directory");
    vanished.read.push(
        directory
            .path()
            .canonicalize()
            .expect("real")
            .display()
            .to_string(),
    );
    let prepared = bench.sandbox.check(&vanished).expect("there");
    drop(directory);
    let flag = CancelFlag::new().expect("a flag");
    let report = bench
        .sandbox
        .run(prepared, plan("sh", "exit 0"), &mut |_| {}, &flag);
    assert!(
        matches!(&report.end, End::NotStarted(why) if why.contains("profile's path")),
        "{:?}",
        report.end
    );
    assert_eq!(report.enforcement.layers, []);
}

#[test]
fn a_step_can_clean_up_after_sigterm() {
    let bench = Bench::strict();
    let mut report = bench.run_with(
        &limited(|limits| limits.wall_ms = 500),
        plan(
            "bash",
            "trap 'echo tidied; exit 0' TERM; while :; do sleep 0.05; done",
        ),
    );
    assert_eq!(
        (report.end.clone(), out(&mut report).as_str()),
        (End::TimedOut, "tidied\n")
    );
}

#[test]
fn killing_the_helper_ends_all_processes_of_the_run() {
    let bench = Bench::strict();
    let mark = mark("killed");
    let script = format!("(setsid sleep {mark} &); sleep {mark}");
    std::thread::scope(|scope| {
        let run = scope.spawn(|| bench.bash(&script));
        wait_for("the step runs", || sleeper(&mark).is_some());
        let helper = helper_of(&mark);
        assert!(
            std::process::Command::new("kill")
                .args(["-9", &helper])
                .status()
                .expect("kill")
                .success()
        );
        let end = run.join().expect("no panic").end;
        assert!(matches!(end, End::Lost(_)), "{end:?}");
        wait_for("the run is gone", || !on_host(&mark));
    });
}

#[test]
fn the_death_of_the_service_ends_all_processes_of_a_run() {
    // The test starts itself again as a child process. The child is the service that dies.
    if let Ok(mark) = std::env::var("COUNTERSIGN_TEST_MARK") {
        Bench::strict().bash(&format!(
            "(setsid nohup sleep {mark} >/dev/null 2>&1 &); trap '' TERM; sleep {mark}"
        ));
        return;
    }
    let mark = mark("service");
    let mut service = std::process::Command::new(std::env::current_exe().expect("this test"))
        .args([
            "--exact",
            &exact("the_death_of_the_service_ends_all_processes_of_a_run"),
        ])
        .env("COUNTERSIGN_TEST_MARK", &mark)
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("starts");
    wait_for("the step runs", || sleeper(&mark).is_some());
    service.kill().expect("dies");
    service.wait().expect("dead");
    wait_for("the run is gone", || !on_host(&mark));
}

/// Returns the id of the process that sleeps for the marked time.
fn sleeper(mark: &str) -> Option<String> {
    let entries = std::fs::read_dir("/proc").expect("/proc").flatten();
    entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .find(|pid| {
            std::fs::read_to_string(format!("/proc/{pid}/cmdline"))
                .is_ok_and(|line| line.starts_with("sleep\0") && line.contains(mark))
        })
}

/// Returns the value of a key in /proc/PID/status (proc_pid_status(5)).
fn status(pid: &str, key: &str) -> String {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status
        .lines()
        .find_map(|line| line.strip_prefix(key))
        .unwrap_or_default()
        .trim()
        .to_owned()
}

/// Returns the process id of the helper that started the marked process.
fn helper_of(mark: &str) -> String {
    let mut pid = sleeper(mark).expect("the marked process");
    let me = std::process::id().to_string();
    loop {
        let parent = status(&pid, "PPid:");
        if parent == me {
            return pid;
        }
        assert!(
            !parent.is_empty() && parent != "1",
            "it is below this process"
        );
        pid = parent;
    }
}

#[test]
fn the_helper_accepts_no_requests_of_other_processes() {
    for input in [std::process::Stdio::null(), std::process::Stdio::piped()] {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_countersign"))
            .arg("__launch")
            .stdin(input)
            .output()
            .expect("starts");
        assert_eq!(output.status.code(), Some(2));
        assert!(String::from_utf8_lossy(&output.stderr).contains("started by hand"));
    }
}

// Output

// The environment of a step

#[test]
fn the_environment_is_exactly_the_approved_environment() {
    let bench = Bench::strict();
    let plan = Plan {
        env: vec![("PARAM_A".into(), "x y\nz".into())],
        ..plan("python", "import os\nprint(sorted(os.environ.items()))")
    };
    let expected = [
        ("COUNTERSIGN_PARAMS", "/run/step/params.json"),
        ("HOME", "/tmp/work"),
        ("LANG", "C.UTF-8"),
        ("LC_ALL", "C.UTF-8"),
        ("PARAM_A", "x y\\nz"),
        (
            "PATH",
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        ),
        ("PYTHONUNBUFFERED", "1"),
        ("TMPDIR", "/tmp"),
    ]
    .map(|(name, value)| format!("('{name}', '{value}')"))
    .join(", ");
    assert_eq!(said(bench.run(plan)), format!("[{expected}]"));
}

#[test]
fn python_writes_each_line_at_once_and_other_interpreters_get_no_variable_of_python() {
    let bench = Bench::strict();
    let script =
        "import os, sys\nprint(os.environ.get('PYTHONUNBUFFERED'), sys.stdout.write_through)";
    for (interpreter, script) in [
        ("python", script.to_owned()),
        ("python3", script.to_owned()),
        ("bash", format!("#!/usr/bin/env python3\n{script}")),
        ("bash", format!("#!/usr/bin/python3\n{script}")),
    ] {
        assert_eq!(
            said(bench.run(plan(interpreter, &script))),
            "1 True",
            "{interpreter}: {script}"
        );
    }
    assert_eq!(
        said(bench.bash("printf '%s' \"${PYTHONUNBUFFERED-none}\"")),
        "none"
    );
    let own = Plan {
        env: vec![("PYTHONUNBUFFERED".into(), String::new())],
        ..plan("python", script)
    };
    assert_eq!(
        said(bench.run(own)),
        " False",
        "a variable of the plan wins"
    );
}

#[test]
fn a_step_starts_with_default_signals_and_the_default_umask() {
    let bench = Bench::strict();
    let text = said(bench.bash("umask; exec cat /proc/self/status"));
    assert!(text.starts_with("0077\n"), "{text}");
    for line in text
        .lines()
        .filter(|line| line.starts_with("Sig") && !line.starts_with("SigQ"))
    {
        let set = line
            .split_whitespace()
            .nth(1)
            .and_then(|set| u64::from_str_radix(set, 16).ok())
            .expect("a set");
        // posix_spawn of glibc leaves the two internal signals 32 and 33 of glibc ignored.
        assert_eq!(set & !0x1_8000_0000, 0, "{line}");
    }
}

#[test]
fn each_interpreter_runs_a_script_in_its_language() {
    let bench = Bench::strict();
    assert_eq!(
        said(bench.bash("a=(1 2); echo ${#a[@]} $PWD")),
        "2 /tmp/work"
    );
    assert_eq!(said(bench.run(plan("sh", "echo $((1+1))"))), "2");
    assert_eq!(
        said(bench.run(plan("python3", "import ssl, json; print(json.dumps([1]))"))),
        "[1]"
    );
    assert_eq!(
        said(bench.run(plan("bash", "#!/usr/bin/env python3\nprint(6*7)"))),
        "42"
    );
    if Path::new("/usr/bin/node").exists() {
        assert_eq!(said(bench.run(plan("node", "console.log(6*7)"))), "42");
    } else {
        not_run("a step in node", "node is not installed in /usr/bin");
    }
}

#[test]
fn the_step_is_an_ordinary_user_without_capabilities() {
    let bench = Bench::strict();
    let text = said(
        bench.bash("id -u; id -un; hostname; grep -E '^(Cap|NoNewPrivs)' /proc/self/status; cat /proc/self/uid_map"),
    );
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines[..3], ["1000", "step", "countersign"], "{text}");
    for line in &lines[3..8] {
        assert!(
            line.starts_with("Cap") && line.ends_with("0000000000000000"),
            "{text}"
        );
    }
    assert_eq!(lines[8], "NoNewPrivs:\t1");
    let outer: u32 = lines[9]
        .split_whitespace()
        .nth(1)
        .and_then(|id| id.parse().ok())
        .expect("an id");
    assert_ne!(outer, 0);
    if bench.sandbox.probe().own_id {
        let other = said(bench.bash("cat /proc/self/uid_map"));
        assert_ne!(
            other.split_whitespace().nth(1),
            Some(outer.to_string().as_str()),
            "each run has its own id"
        );
    }
}

/// Commands that users try first, and files that most programs need.
#[test]
fn common_commands_find_their_files_in_the_sandbox() {
    let bench = Bench::strict();
    let listed = said(bench.bash(
        "ls /; ls /dev; find / -xdev -maxdepth 1 -type d > /tmp/found && echo found; ls /etc >/dev/null && echo etc",
    ));
    for name in ["bin", "dev", "etc", "usr", "null", "found"] {
        assert!(listed.lines().any(|line| line == name), "{name}: {listed}");
    }
    let name = "import socket\nprint(socket.gethostbyname(socket.gethostname()), socket.getfqdn())";
    assert_eq!(
        said(bench.run(plan("python", name))),
        "127.0.1.1 countersign"
    );
    // Other users may read new files of a live tree. Files in private directories stay private.
    let tree = plant(&bench);
    for (workdir, mask) in [
        (Workdir::InPlace, "0022"),
        (Workdir::Copy, "0077"),
        (Workdir::Overlay, "0077"),
    ] {
        assert_eq!(
            said(bench.run_with(&on_tree(&tree, workdir), plan("bash", "umask"))),
            mask,
            "{workdir:?}"
        );
    }
}

/// The owner of the tree is not the user of the step, and each git process checks the owner.
#[test]
fn git_works_in_a_tree_of_the_run() {
    let bench = Bench::strict();
    let tree = bench.path("tree");
    std::fs::create_dir(&tree).expect("a directory");
    let git = |arguments: &[&str]| {
        let mut git = std::process::Command::new("git");
        git.args(arguments)
            .current_dir(&tree)
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .output()
            .map(|done| done.status.success())
    };
    if git(&["init", "-q", "repository"]).is_err() {
        return not_run("git_works_in_a_tree_of_the_run", "there is no git here");
    }
    std::fs::write(tree.join("repository/file"), "text").expect("a file");
    let identity = [
        "-C",
        "repository",
        "-c",
        "user.name=a",
        "-c",
        "user.email=a@example.org",
    ];
    for rest in [&["add", "file"][..], &["commit", "-q", "-m", "first"]] {
        assert!(
            git(&[&identity[..], rest].concat()).expect("git"),
            "{rest:?}"
        );
    }
    let path = tree.canonicalize().expect("real").display().to_string();
    let script = "git -C repository log --format=%s && git clone -q repository /tmp/clone && ls /tmp/clone && git -C repository status --short";
    for workdir in [Workdir::Copy, Workdir::Overlay, Workdir::InPlace] {
        let given = Profile {
            deny: vec![],
            ..on_tree(&path, workdir)
        };
        assert_eq!(
            said(bench.run_with(&given, plan("bash", script))),
            "first\nfile",
            "{workdir:?}"
        );
    }
    let read = Profile {
        read: vec![path.clone()],
        write: vec![],
        deny: vec![],
        workdir: Workdir::Private,
        ..profile()
    };
    assert_eq!(
        said(bench.run_with(&read, plan("bash", &format!("cd {path} && {script}")))),
        "first\nfile"
    );
}

// Resources that a step must not reach

#[test]
fn a_run_sees_only_system_files_of_the_host() {
    let bench = Bench::strict();
    let canary = bench.path("canary");
    std::fs::write(&canary, "token").expect("a file");
    let mut hidden = vec![
        canary,
        bench.path("private/key.pem"),
        bench.path("scratch"),
        "/root".into(),
        "/home".into(),
    ];
    hidden.extend(
        [
            "/etc/shadow",
            "/etc/ssh",
            "/var/lib",
            "/sys",
            "/proc/sys",
            "/run/user",
            "/dev/vda",
            "/boot",
        ]
        .map(PathBuf::from),
    );
    for path in hidden {
        let path = path.display();
        let script = format!(
            "cat {path} || ls {path} || cat /proc/1/root{path} || cat /proc/$PPID/cwd{path}"
        );
        let mut report = bench.bash(&script);
        assert_ne!(report.end, End::Exited(0), "{path}");
        assert_eq!(out(&mut report), "", "{path}");
    }
}

#[test]
fn only_the_private_directories_can_be_written() {
    let bench = Bench::strict();
    let open = bench.path("open");
    std::fs::create_dir(&open).expect("a directory");
    std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o777)).expect("mode");
    let script = format!(
        "for d in / /usr /usr/bin /etc /dev /proc /run /run/step /var {}; do (echo x > $d/written) 2>/dev/null && echo $d; done; \
         chmod u+w /run/step/script 2>/dev/null && echo chmod; echo x > /tmp/a && echo x > ~/b && echo x > /dev/shm/c && echo done",
        open.display()
    );
    assert_eq!(said(bench.bash(&script)), "done");
    assert_eq!(std::fs::read_dir(&open).expect("a directory").count(), 0);
}

#[test]
fn a_read_path_of_the_profile_is_visible_and_read_only() {
    let bench = Bench::strict();
    let data = bench.path("data");
    std::fs::create_dir(&data).expect("a directory");
    std::fs::write(data.join("file"), "content").expect("a file");
    for path in [&data, &data.join("file")] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o777)).expect("mode");
    }
    let mut profile = profile();
    profile
        .read
        .push(data.canonicalize().expect("real").display().to_string());
    let script = format!(
        "cat {0}/file; echo x > {0}/file || touch {0}/new || rm {0}/file || echo -held",
        data.display()
    );
    assert_eq!(
        said(bench.run_with(&profile, plan("bash", &script))),
        "content-held"
    );
    assert_eq!(
        std::fs::read_to_string(data.join("file")).expect("a file"),
        "content"
    );
}

#[test]
fn no_socket_of_the_host_can_be_reached() {
    use std::os::linux::net::SocketAddrExt as _;
    let bench = Bench::strict();
    let tcp = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let udp = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let path = bench.path("socket");
    let named = UnixListener::bind(&path).expect("a listener");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o777)).expect("mode");
    let name = format!("countersign-{}", std::process::id());
    let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).expect("a name");
    let unnamed = UnixListener::bind_addr(&address).expect("a listener");
    for listener in [&named, &unnamed] {
        listener.set_nonblocking(true).expect("non-blocking");
    }
    tcp.set_nonblocking(true).expect("non-blocking");
    udp.set_nonblocking(true).expect("non-blocking");
    let script = format!(
        r#"
import socket
def attempt(family, kind, address):
    try:
        s = socket.socket(family, kind); s.settimeout(2); s.connect(address); s.send(b"x"); s.recv(1); print("reached", address)
    except OSError: pass
attempt(socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", {}))
attempt(socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", {}))
attempt(socket.AF_INET, socket.SOCK_DGRAM, ("8.8.8.8", 53))
attempt(socket.AF_UNIX, socket.SOCK_STREAM, "{}")
attempt(socket.AF_UNIX, socket.SOCK_STREAM, "\0{name}")
print("done")
"#,
        tcp.local_addr().expect("an address").port(),
        udp.local_addr().expect("an address").port(),
        path.display(),
    );
    assert_eq!(said(bench.run(plan("python", &script))), "done");
    assert!(tcp.accept().is_err() && named.accept().is_err() && unnamed.accept().is_err());
    assert!(udp.recv(&mut [0; 8]).is_err());
}

#[test]
fn no_process_of_the_host_can_be_seen_or_signalled() {
    let bench = Bench::strict();
    let mut sleeper = std::process::Command::new("sleep")
        .arg("60")
        .spawn()
        .expect("starts");
    let script = format!(
        "kill -0 {0} && echo seen; kill -9 {0} && echo killed; kill -9 -1; kill -9 1; ls /proc | grep -c '^[0-9]'; true",
        sleeper.id()
    );
    let mut report = bench.bash(&script);
    let text = out(&mut report);
    assert!(!text.contains("seen") && !text.contains("killed"), "{text}");
    assert_eq!(sleeper.try_wait().expect("alive"), None);
    sleeper.kill().expect("ends");
    sleeper.wait().expect("ends");
}

#[test]
fn a_run_leaves_no_processes_and_files_behind() {
    let bench = Bench::strict();
    assert_eq!(
        said(bench.bash("echo x > ~/kept; echo x > /tmp/kept; ls -A ~")),
        "kept"
    );
    assert_eq!(
        said(bench.bash("ls -A ~ /tmp /dev/shm")),
        "/dev/shm:\n\n/tmp:\nwork\n\n/tmp/work:"
    );
    assert_eq!(
        std::fs::read_dir(bench.path("scratch"))
            .expect("a directory")
            .count(),
        0
    );
}

#[test]
fn proc_is_as_small_as_the_profile_requires() {
    let bench = Bench::strict();
    assert_ne!(bench.bash("cat /proc/meminfo").end, End::Exited(0));
    let mut whole = profile();
    whole.proc = Proc::Full;
    let script = "cat /proc/meminfo > /dev/null && (echo 1 > /proc/sys/kernel/hostname) 2>/dev/null || echo read-only";
    assert_eq!(
        said(bench.run_with(&whole, plan("bash", script))),
        "read-only"
    );
}

#[test]
fn a_run_cannot_create_a_namespace() {
    let bench = Bench::strict();
    let script = r#"
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
for flag in (0x10000000, 0x20000, 0x20000000, 0x40000000, 0x8000000, 0x4000000, 0x2000000):
    if libc.unshare(flag) == 0: print("made", hex(flag))
print("done")
"#;
    assert_eq!(said(bench.run(plan("python", script))), "done");
}

#[test]
fn a_server_and_a_client_inside_one_run_can_connect() {
    let bench = Bench::strict();
    let script = r#"
import socket, threading
s = socket.create_server(("127.0.0.1", 0))
def serve():
    c, _ = s.accept(); c.sendall(b"hello"); c.close()
threading.Thread(target=serve).start()
print(socket.create_connection(s.getsockname()).recv(9).decode())
"#;
    assert_eq!(said(bench.run(plan("python", script))), "hello");
}

#[test]
fn the_filter_refuses_system_calls_that_no_step_needs() {
    let bench = Bench::strict();
    let script = r#"
import ctypes, errno, os, socket
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
print(*[line.split()[1] for line in open("/proc/self/status") if line.startswith("Seccomp:")])
def call(name, *arguments):
    ctypes.set_errno(0)
    result = libc.syscall(*[ctypes.c_long(a) for a in arguments])
    print(name, errno.errorcode.get(ctypes.get_errno(), result))
call("io_uring", 425, 0, 0)
call("fsopen", 430, 0, 0)
call("clone3", 435, 0, 0)
call("new", 500)
for family, kind, protocol in [(40, 1, 0), (16, 3, 0), (2, 1, 262), (2, 3, 1), (38, 5, 0)]:
    try: socket.socket(family, kind, protocol); print("got", family)
    except OSError as error: print(errno.errorcode[error.errno])
os.mkfifo("/tmp/pipe"); print("pipe")
"#;
    assert_eq!(
        said(bench.run(plan("python", script))),
        "2\nio_uring ENOSYS\nfsopen EPERM\nclone3 ENOSYS\nnew ENOSYS\nEAFNOSUPPORT\nEAFNOSUPPORT\nEPROTONOSUPPORT\nESOCKTNOSUPPORT\nEAFNOSUPPORT\npipe"
    );
}

#[test]
fn a_step_sets_no_limits_of_another_process() {
    let bench = Bench::strict();
    // Without descriptors, pid 1 of the run could wait for no process and would busy-loop beyond every limit of CPU
    // time.
    let script = "ulimit -n 100 && ulimit -n; prlimit --nofile=50 true && echo own
prlimit --pid 1 --nofile=0 2>/dev/null || echo held; sleep 9 & prlimit --pid $! --cpu=1 2>/dev/null || echo held; taskset -p $! >/dev/null && echo seen";
    assert_eq!(said(bench.bash(script)), "100\nown\nheld\nheld\nseen");
}

/// The kernel has some memory pools once for the whole machine and counts other pools for each user.
#[test]
fn a_step_cannot_use_memory_pools_of_the_whole_machine() {
    let bench = Bench::strict();
    let script = r#"
import ctypes, errno, os, resource
L = ctypes.CDLL(None, use_errno=True)
L.syscall.restype = ctypes.c_long
other = os.uname().machine == "aarch64"
def answer(numbers, *arguments):
    ctypes.set_errno(0)
    made = L.syscall(numbers[other], *[ctypes.c_long(one) if isinstance(one, int) else one for one in arguments])
    return "made" if made >= 0 else errno.errorcode[ctypes.get_errno()]
context = ctypes.c_ulong(0)
print("io_setup", answer((206, 0), 128, ctypes.byref(context)))
print("io_submit", answer((209, 2), 0, 0, 0))
print("huge pages", answer((9, 222), 0, 2 << 20, 3, 0x40022, -1, 0), answer((319, 279), b"x", 4), answer((29, 194), 0, 2 << 20, 0o5600))
print("a stack aside", answer((9, 222), 0, 1 << 30, 3, 0x122, -1, 0))
print("mounts", answer((457, 457), 0, 0, 0, 0), answer((458, 458), 0, 0, 0, 0))
open("/tmp/work/file", "w").close()
print("whiteout", answer((316, 276), -100, b"/tmp/work/file", -100, b"/tmp/work/moved", 4))
for name, number in (("realtime", 14), ("nice", 13), ("signals", resource.RLIMIT_SIGPENDING)):
    print(name, *resource.getrlimit(number))
print("stack", resource.getrlimit(resource.RLIMIT_STACK)[1])
watched = [L.inotify_init() for _ in range(200)]
print("watches", sum(one >= 0 for one in watched))
"#;
    let expected = "io_setup ENOSYS\nio_submit ENOSYS\nhuge pages ENOMEM ENOMEM ENOMEM\na stack aside ENOMEM\nmounts EPERM EPERM\n\
                    whiteout EPERM\nrealtime 0 0\nnice 0 0\nsignals 1024 1024\nstack 67108864\nwatches 16";
    assert_eq!(said(bench.run(plan("python", script))), expected);
}

// Trees of the host

/// Creates a tree that all users may read and write, with a denied file that has two names.
fn plant(bench: &Bench) -> String {
    let tree = bench.path("tree");
    std::fs::create_dir_all(tree.join("deep/a")).expect("directories");
    std::fs::create_dir_all(tree.join("secrets")).expect("directories");
    for (name, text) in [
        (".env", "token"),
        ("deep/a/.env", "token"),
        ("secrets/key", "token"),
        ("plain", "plain"),
    ] {
        std::fs::write(tree.join(name), text).expect("a file");
    }
    std::fs::hard_link(tree.join(".env"), tree.join("deep/notes")).expect("a link");
    for name in [
        "",
        "deep",
        "deep/a",
        "secrets",
        ".env",
        "deep/a/.env",
        "secrets/key",
        "plain",
    ] {
        std::fs::set_permissions(tree.join(name), std::fs::Permissions::from_mode(0o777))
            .expect("mode");
    }
    tree.canonicalize().expect("real").display().to_string()
}

fn on_tree(tree: &str, workdir: Workdir) -> Profile {
    Profile {
        write: vec![tree.into()],
        deny: vec!["**/.env".into(), "secrets".into()],
        workdir,
        ..profile()
    }
}

/// Tries every way to read a denied name, then prints the other files.
const REACH: &str = "
for f in .env deep/a/.env deep/notes secrets/key; do
  cat $f && echo reached $f; dd if=$f && echo reached $f; cp $f copy && echo reached $f
  ln $f alias && cat alias; chmod 777 $f secrets; cat $f; mv $f moved && cat moved; (exec 3<>$f) && cat $f
done 2>/dev/null
ls secrets/* 2>/dev/null
rm -f copy alias moved; pwd; cat plain; echo changed > p2 && mv -f p2 plain; echo new > new; cat plain";

#[test]
fn a_copy_or_an_overlay_is_private_and_contains_no_denied_names() {
    let bench = Bench::strict();
    let tree = plant(&bench);
    for workdir in [Workdir::Copy, Workdir::Overlay] {
        let mut report = bench.run_with(&on_tree(&tree, workdir), plan("bash", REACH));
        let (text, complaints) = (out(&mut report), err(&mut report));
        assert_eq!(
            report.end,
            End::Exited(0),
            "{workdir:?}: {text}{complaints}"
        );
        assert_eq!(
            text,
            format!("{tree}\nplainchanged\n"),
            "{workdir:?} {complaints}"
        );
        let facts = report.enforcement.fs.expect("facts");
        // An overlay shows names that the host moves during the run, so its masks are only point-in-time.
        let held = if workdir == Workdir::Copy {
            Masks::Stable
        } else {
            Masks::PointInTime
        };
        assert_eq!(
            (facts.mode, facts.deny, facts.masked),
            (workdir, Some(held), Some(4))
        );
        assert!(
            report
                .enforcement
                .limits
                .is_some_and(|limits| limits.disk.is_some())
        );
        // The tree on the host is unchanged.
        assert_eq!(
            std::fs::read_to_string(Path::new(&tree).join("plain")).expect("a file"),
            "plain"
        );
        assert!(!Path::new(&tree).join("new").exists());
    }
}

#[test]
fn runbooks_are_never_writable_under_any_profile() {
    let bench = Bench::strict();
    let runbooks = bench.path("runbooks").canonicalize().expect("real");
    std::fs::create_dir(runbooks.join("ops")).expect("a directory");
    for path in [
        runbooks.clone(),
        runbooks.join("ops"),
        bench.home.path().canonicalize().expect("real"),
    ] {
        let live = Profile {
            write: vec![path.display().to_string()],
            workdir: Workdir::InPlace,
            ..profile()
        };
        let refused = bench.sandbox.check(&live).expect_err("refused");
        assert!(
            matches!(refused, Unavailable::Private { .. })
                || refused.to_string().contains("a step could change"),
            "{refused}"
        );
        // With `workdir=private`, the receipt would state that the run wrote no file of the host.
        let private = Profile {
            workdir: Workdir::Private,
            ..live
        };
        assert!(matches!(
            bench.sandbox.check(&private),
            Err(Unavailable::Invalid { .. })
        ));
    }
    let copy = Profile {
        write: vec![runbooks.display().to_string()],
        workdir: Workdir::Copy,
        ..profile()
    };
    assert_eq!(
        said(bench.run_with(&copy, plan("bash", "echo x > new && ls"))),
        "new\nops"
    );
    assert!(!runbooks.join("new").exists());
}

#[test]
fn a_live_tree_is_writable_and_its_denied_names_are_masked() {
    let bench = Bench::strict();
    let tree = plant(&bench);
    let mut report = bench.run_with(&on_tree(&tree, Workdir::InPlace), plan("bash", REACH));
    let (text, complaints) = (out(&mut report), err(&mut report));
    assert_eq!(report.end, End::Exited(0), "{text}{complaints}");
    assert_eq!(text, format!("{tree}\nplainchanged\n"));
    let facts = report.enforcement.fs.expect("facts");
    assert_eq!(
        (facts.mode, facts.deny, facts.masked),
        (Workdir::InPlace, Some(Masks::PointInTime), Some(4))
    );
    // No limit applies to the disk space of the host that the run uses.
    assert!(
        report
            .enforcement
            .limits
            .is_some_and(|limits| limits.disk.is_none() && limits.file.is_some())
    );
    assert_eq!(
        std::fs::read_to_string(Path::new(&tree).join("new")).expect("written"),
        "new\n"
    );
    for name in [".env", "deep/a/.env", "deep/notes", "secrets/key"] {
        assert_eq!(
            std::fs::read_to_string(Path::new(&tree).join(name)).expect("as it was"),
            "token",
            "{name}"
        );
    }
}

/// A mask covers one path. If a step could rename a directory above the masked name, the name would no longer match its
/// pattern, and the next run could read the file. A new directory at the old path would also get the mask of the denied
/// name.
#[test]
fn denied_names_in_a_live_tree_stay_in_place_between_runs() {
    let bench = Bench::strict();
    let tree = plant(&bench);
    let root = Path::new(&tree);
    std::fs::create_dir_all(root.join("conf/secrets/inner")).expect("directories");
    std::fs::create_dir(root.join("other")).expect("a directory");
    std::fs::write(root.join("conf/secrets/inner/db"), "token").expect("a file");
    std::fs::write(root.join("conf/plain"), "plain").expect("a file");
    for name in [
        "conf",
        "conf/secrets",
        "conf/secrets/inner",
        "conf/secrets/inner/db",
        "conf/plain",
        "other",
    ] {
        std::fs::set_permissions(root.join(name), std::fs::Permissions::from_mode(0o777))
            .expect("mode");
    }
    let script = r#"
import ctypes, os, shutil
L = ctypes.CDLL(None)
def tried(how):
    try: how()
    except OSError: pass
for name in ("conf", "conf/secrets", "deep", "deep/a"):
    tried(lambda: os.rename(name, name.replace("/", "-") + "-moved"))
    tried(lambda: os.rename("other", name))
    # RENAME_EXCHANGE
    L.renameat2(-100, name.encode(), -100, b"other", 2)
    tried(lambda: os.rmdir(name))
    tried(lambda: os.rename(name, "/tmp/work/moved"))
# All else of a live tree is the step's, in those directories too.
os.rename("conf/plain", "conf/renamed"); os.mkdir("deep/new"); os.rename("deep/new", "deep/newer"); shutil.move("plain", "deep/plain")
print(sorted(os.listdir(".")), os.listdir("deep/newer"), open("deep/plain").read())
"#;
    let read = "cat */secrets/inner/db conf*/*/inner/db conf-moved/inner/db deep*/a/.env deep*/.env other/* 2>/dev/null; true";
    for pattern in [
        "**/conf/secrets/**",
        &format!("{tree}/conf/secrets"),
        "conf/secrets/inner/*",
    ] {
        let live = Profile {
            deny: vec!["**/.env".into(), pattern.into()],
            ..on_tree(&tree, Workdir::InPlace)
        };
        let mut report = bench.run_with(&live, plan("python", script));
        let text = out(&mut report);
        let complaints = err(&mut report);
        assert_eq!(report.end, End::Exited(0), "{pattern}: {complaints}");
        assert_eq!(
            text, "['.env', 'conf', 'deep', 'other', 'secrets'] [] plain\n",
            "{pattern}"
        );
        let mut later = bench.run_with(&live, plan("bash", read));
        assert_eq!(out(&mut later), "", "{pattern}");
        let masked = |report: &Report| {
            report
                .enforcement
                .fs
                .as_ref()
                .and_then(|facts| facts.masked)
        };
        assert_eq!(
            (masked(&report), masked(&later)),
            (Some(4), Some(4)),
            "{pattern}"
        );
        for (name, to) in [("conf/renamed", "conf/plain"), ("deep/plain", "plain")] {
            std::fs::rename(root.join(name), root.join(to)).expect("as before");
        }
        std::fs::remove_dir(root.join("deep/newer")).expect("as before");
    }
    for name in [".env", "deep/a/.env", "conf/secrets/inner/db"] {
        assert_eq!(
            std::fs::read_to_string(root.join(name)).expect("as it was"),
            "token",
            "{name}"
        );
    }
}

/// The host does not have the mount options of the run, so any user of the host could execute such a file with the user
/// id of the step or of the service.
#[test]
fn a_step_leaves_no_setuid_file_in_a_live_tree() {
    let bench = Bench::strict();
    let tree = plant(&bench);
    let script = "
cp /usr/bin/true ran; cp /usr/bin/true late
for mode in 4755 2755 u+s g+s; do chmod $mode ran 2>/dev/null && echo got $mode; done
python3 -c 'import os
for how in (lambda: os.open(\"made\", os.O_CREAT | os.O_WRONLY, 0o4755), lambda: os.mknod(\"node\", 0o104755)):
    try: how(); print(\"got it\")
    except PermissionError: pass'
# All else about modes is as ever, and programs that would use openat2 do without.
mkdir open && chmod 1777 open && chmod 750 ran && mkdir -m 700 own && tar cf - plain | tar xf - -C own && install -m 755 /usr/bin/true tool && ./tool && stat -c %a ran own/plain tool";
    let live = Profile {
        deny: vec![],
        ..on_tree(&tree, Workdir::InPlace)
    };
    let said_live = said(bench.run_with(&live, plan("bash", script)));
    let lines: Vec<&str> = said_live.lines().collect();
    assert!(matches!(lines[..], ["750", _, "755"]), "{said_live}");
    let set_id: Vec<_> = std::fs::read_dir(&tree)
        .expect("the tree")
        .flatten()
        .filter(|entry| {
            entry
                .metadata()
                .is_ok_and(|found| found.permissions().mode() & 0o6000 != 0)
        })
        .map(|entry| entry.path())
        .collect();
    assert!(set_id.is_empty(), "{set_id:?}");
    // In a private directory, a file may have any mode, because no process outside of the run sees the file.
    assert_eq!(
        said(bench.bash("cp /usr/bin/true tool; chmod 4755 tool; stat -c %a tool")),
        "4755"
    );
}

#[test]
fn denied_names_in_readable_paths_are_masked() {
    let bench = Bench::strict();
    let tree = plant(&bench);
    let reads = Profile {
        write: vec![],
        read: vec![tree.clone()],
        workdir: Workdir::Private,
        ..on_tree(&tree, Workdir::Copy)
    };
    let script = format!(
        "cd {tree}; cat plain; cat .env deep/notes deep/a/.env secrets/key; echo x > plain; pwd"
    );
    let mut report = bench.run_with(&reads, plan("bash", &script));
    assert_eq!(out(&mut report), format!("plain{tree}\n"));
    assert_eq!(
        report.enforcement.fs.and_then(|facts| facts.deny),
        Some(Masks::PointInTime)
    );
}

/// A file that is denied under one name is also masked under its other hard-link names. A hard link is also masked if
/// the sandbox cannot find out whether another name of the file is denied.
#[test]
fn a_hard_link_to_a_denied_file_is_masked_in_every_directory_of_the_run() {
    let bench = Bench::strict();
    let tree = plant(&bench);
    let other = bench
        .path("other")
        .canonicalize()
        .unwrap_or_else(|_| bench.path("other"));
    std::fs::create_dir(&other).expect("a directory");
    let at = |name: &str| Path::new(&tree).join(name);
    std::fs::hard_link(at(".env"), other.join("notes")).expect("a link");
    std::fs::hard_link(at("plain"), at("deep/same")).expect("a link");
    // No user id of a run can read this directory, but every user can read the file in it.
    std::fs::hard_link(at("secrets/key"), at("deep/copy")).expect("a link");
    std::fs::set_permissions(at("secrets"), std::fs::Permissions::from_mode(0o700)).expect("mode");
    let script = format!(
        "cat {0}/notes; cat {tree}/deep/copy {tree}/deep/notes; cat {tree}/deep/same",
        other.display()
    );
    let read = other.canonicalize().expect("real").display().to_string();
    for workdir in [Workdir::Copy, Workdir::Overlay, Workdir::InPlace] {
        let both = Profile {
            read: vec![read.clone()],
            ..on_tree(&tree, workdir)
        };
        let mut report = bench.run_with(&both, plan("bash", &script));
        assert_eq!(
            (report.end.clone(), out(&mut report).as_str()),
            (End::Exited(0), "plain"),
            "{workdir:?}"
        );
        assert_eq!(
            report.enforcement.fs.and_then(|facts| facts.masked),
            Some(6),
            "{workdir:?}"
        );
    }
    // The profile names the hard link itself instead of the directory of the link.
    let file = Profile {
        read: vec![format!("{read}/notes"), tree.clone()],
        write: vec![],
        ..on_tree(&tree, Workdir::Copy)
    };
    let file = Profile {
        workdir: Workdir::Private,
        ..file
    };
    assert_eq!(
        out(&mut bench.run_with(&file, plan("bash", &script))),
        "plain"
    );
}

/// Otherwise one step could make every later run in the same tree fail, and each failed run would consume a nonce.
#[test]
fn a_very_deep_directory_of_a_step_does_not_prevent_later_runs() {
    let bench = Bench::strict();
    let tree = plant(&bench);
    let script = "import os\nfor name, depth in (('d', 300), ('x' * 200, 40)):\n    os.chdir(TREE)\n    for _ in range(depth): os.mkdir(name); os.chdir(name)";
    let script = format!("TREE = {tree:?}\n{script}");
    let live = on_tree(&tree, Workdir::InPlace);
    said(bench.run_with(&live, plan("python", &script)));
    for workdir in [Workdir::InPlace, Workdir::Overlay] {
        let mut report = bench.run_with(
            &on_tree(&tree, workdir),
            plan("bash", "cat plain; cat .env 2>/dev/null; true"),
        );
        assert_eq!(
            (report.end.clone(), out(&mut report).as_str()),
            (End::Exited(0), "plain"),
            "{workdir:?}"
        );
        assert_eq!(
            report.enforcement.fs.and_then(|facts| facts.masked),
            Some(6),
            "{workdir:?}"
        );
    }
}

#[test]
fn the_receipt_counts_masked_names_and_links_are_not_masked() {
    let bench = Bench::strict();
    let tree = plant(&bench);
    std::fs::create_dir(Path::new(&tree).join("links")).expect("a directory");
    std::os::unix::fs::symlink("../plain", Path::new(&tree).join("links/.env")).expect("a link");
    let script = format!("cat {tree}/links/.env 2>/dev/null; true");
    let run = |profile: Profile| {
        let mut report = bench.run_with(&profile, plan("bash", &script));
        (
            out(&mut report),
            report.enforcement.fs.and_then(|facts| facts.masked),
        )
    };
    // The target of a denied symbolic link has its own name, and no pattern denies that name.
    assert_eq!(
        run(on_tree(&tree, Workdir::InPlace)),
        ("plain".to_owned(), Some(4))
    );
    let reads = Profile {
        read: vec![tree.clone()],
        write: vec![],
        ..on_tree(&tree, Workdir::Private)
    };
    assert_eq!(run(reads), ("plain".to_owned(), Some(4)));
    // In a copy and in an overlay, the link does not exist.
    for workdir in [Workdir::Copy, Workdir::Overlay] {
        assert_eq!(
            run(on_tree(&tree, workdir)),
            (String::new(), Some(5)),
            "{workdir:?}"
        );
    }
}

/// This is why the receipt states `point-in-time` for an overlay.
#[test]
fn a_rename_on_the_host_is_visible_in_an_overlay_and_not_in_a_copy() {
    let bench = Bench::strict();
    let tree = plant(&bench);
    let at = |name: &str| Path::new(&tree).join(name);
    for (workdir, seen) in [(Workdir::Copy, false), (Workdir::Overlay, true)] {
        let text = std::thread::scope(|scope| {
            let script = "echo on; sleep 2; cat deep/a/moved; true";
            let run = scope
                .spawn(|| out(&mut bench.run_with(&on_tree(&tree, workdir), plan("bash", script))));
            std::thread::sleep(Duration::from_millis(1000));
            std::fs::rename(at("deep/a/.env"), at("deep/a/moved")).expect("moved");
            run.join().expect("no panic")
        });
        assert_eq!(text, if seen { "on\ntoken" } else { "on\n" }, "{workdir:?}");
        std::fs::rename(at("deep/a/moved"), at("deep/a/.env")).expect("moved");
    }
}

#[test]
fn a_file_moved_over_a_denied_name_on_the_host_is_not_visible_in_a_copy() {
    let bench = Bench::strict();
    let tree = plant(&bench);
    for workdir in [Workdir::Copy, Workdir::Overlay] {
        std::thread::scope(|scope| {
            let run = scope.spawn(|| {
                let script =
                    "echo on; for i in $(seq 40); do cat .env 2>/dev/null && echo reached; sleep 0.02; done; echo end";
                // A run may be refused while the host renames directories, but a later attempt must start.
                let deadline = Instant::now() + Duration::from_secs(30);
                loop {
                    let report = bench.run_with(&on_tree(&tree, workdir), plan("bash", script));
                    let moved = matches!(&report.end, End::NotStarted(why) if why.ends_with("; try again"));
                    if !moved || Instant::now() > deadline {
                        return said(report);
                    }
                }
            });
            while !run.is_finished() {
                let other = Path::new(&tree).join("other");
                std::fs::write(&other, "token").expect("a file");
                std::fs::set_permissions(&other, std::fs::Permissions::from_mode(0o777))
                    .expect("mode");
                std::fs::rename(&other, Path::new(&tree).join(".env")).expect("moved");
                std::thread::sleep(Duration::from_millis(30));
            }
            assert_eq!(run.join().expect("no panic"), "on\nend", "{workdir:?}");
        });
    }
}

#[test]
fn a_run_whose_directory_copy_is_larger_than_its_disk_limit_does_not_start() {
    let bench = Bench::strict();
    let tree = plant(&bench);
    std::fs::write(Path::new(&tree).join("large"), vec![0; 6 << 20]).expect("a file");
    let mut small = on_tree(&tree, Workdir::Copy);
    small.limits.disk_bytes = 4 << 20;
    let end = bench.run_with(&small, plan("sh", "exit 0")).end;
    assert!(
        matches!(&end, End::NotStarted(why) if why.contains("copy") && why.contains("No space")),
        "{end:?}"
    );
}

#[test]
fn a_declared_socket_of_the_host_can_be_reached_and_no_other() {
    use std::io::Write as _;
    let bench = Bench::strict();
    let open = |name: &str| {
        let path = bench.path(name);
        let listener = UnixListener::bind(&path).expect("a listener");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o777)).expect("mode");
        (
            listener,
            path.canonicalize().expect("real").display().to_string(),
        )
    };
    let ((declared, path), (other, other_path)) = (open("declared"), open("other"));
    std::thread::spawn(move || declared.accept().expect("a client").0.write_all(b"hello"));
    other.set_nonblocking(true).expect("non-blocking");
    let script = format!(
        "import socket\ns = socket.socket(socket.AF_UNIX); s.connect({path:?}); print(s.recv(9).decode())\n\
         try: socket.socket(socket.AF_UNIX).connect({other_path:?}); print('reached')\nexcept OSError: pass"
    );
    let sockets = Profile {
        sockets: vec![path.clone()],
        ..profile()
    };
    assert_eq!(
        said(bench.run_with(&sockets, plan("python", &script))),
        "hello"
    );
    assert!(other.accept().is_err());
}

#[test]
fn a_run_cannot_use_a_socket_in_a_readable_or_writable_directory() {
    let bench = Bench::strict();
    let tree = plant(&bench);
    let path = Path::new(&tree).join("deep/socket");
    let listener = UnixListener::bind(&path).expect("a listener");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o777)).expect("mode");
    listener.set_nonblocking(true).expect("non-blocking");
    let script = format!(
        "import socket\ntry: socket.socket(socket.AF_UNIX).connect({path:?}); print('reached')\nexcept OSError: print('held')"
    );
    let reads = Profile {
        read: vec![tree.clone()],
        ..profile()
    };
    let of = |workdir| Profile {
        write: vec![tree.clone()],
        workdir,
        ..profile()
    };
    for profile in [
        reads,
        of(Workdir::InPlace),
        of(Workdir::Copy),
        of(Workdir::Overlay),
    ] {
        assert_eq!(
            said(bench.run_with(&profile, plan("python", &script))),
            "held",
            "{:?}",
            profile.workdir
        );
    }
    assert!(listener.accept().is_err());
}

/// Known gap: masks cover only names that exist at the start of the run.
#[test]
fn a_socket_that_the_host_creates_later_is_reachable_in_a_host_path_but_not_in_a_copy() {
    let bench = Bench::strict();
    let tree = plant(&bench);
    let path = Path::new(&tree).join("late");
    let script = format!(
        "import socket, os, time\nprint('on', flush=True)\nfor _ in range(100):\n    if os.path.exists('{tree}/go'): break\n    time.sleep(0.05)\n\
         try: socket.socket(socket.AF_UNIX).connect({path:?}); print('reached')\nexcept OSError: print('held')"
    );
    let of = |workdir| Profile {
        write: vec![tree.clone()],
        workdir,
        ..profile()
    };
    let reads = Profile {
        read: vec![tree.clone()],
        ..profile()
    };
    for (profile, said) in [
        (reads, "reached"),
        (of(Workdir::InPlace), "reached"),
        (of(Workdir::Copy), "held"),
    ] {
        let text = std::thread::scope(|scope| {
            let run = scope.spawn(|| out(&mut bench.run_with(&profile, plan("python", &script))));
            std::thread::sleep(Duration::from_millis(700));
            let _listener = UnixListener::bind(&path).expect("a listener");
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o777)).expect("mode");
            std::fs::write(Path::new(&tree).join("go"), "").expect("a file");
            run.join().expect("no panic")
        });
        // In a copy, the file `go` never appears, so the script tries to connect after its last wait.
        assert_eq!(text, format!("on\n{said}\n"), "{:?}", profile.workdir);
        for name in ["late", "go"] {
            std::fs::remove_file(Path::new(&tree).join(name)).expect("removed");
        }
    }
}

#[test]
fn the_network_of_the_host_is_reachable_only_if_the_profile_allows_it() {
    let bench = Bench::strict();
    let tcp = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let port = tcp.local_addr().expect("an address").port();
    let script =
        format!("import socket\nsocket.create_connection(('127.0.0.1', {port})); print('reached')");
    let require = STRICT
        .into_iter()
        .filter(|layer| *layer != Layer::Network)
        .collect();
    let network = Network {
        mode: NetworkMode::Host,
        ..Network::NONE
    };
    let mut report = bench.run_with(
        &Profile {
            require,
            network,
            ..profile()
        },
        plan("python", &script),
    );
    assert_eq!(
        (report.end.clone(), out(&mut report).as_str()),
        (End::Exited(0), "reached\n")
    );
    let facts = report.enforcement;
    assert_eq!(
        (facts.level, facts.missing, facts.net),
        (
            Level::BestEffort,
            vec![Layer::Network],
            Some(NetworkMode::Host)
        )
    );
    assert!(facts.ns.is_some_and(|ns| !ns.contains(&"net".to_owned())));
}

// Limits

#[test]
fn a_fork_bomb_is_limited() {
    let bench = Bench::strict();
    let script = r#"
import os, time, signal
n = 0
try:
    for _ in range(300):
        if os.fork() == 0: time.sleep(30); os._exit(0)
        n += 1
except OSError as error: print("held", n < 64, n > 32)
"#;
    assert_eq!(
        said(bench.run_with(
            &limited(|limits| limits.processes = 64),
            plan("python", script)
        )),
        "held True True"
    );
    let bomb = limited(|limits| (limits.processes, limits.wall_ms) = (64, 1000));
    let end = bench
        .run_with(
            &bomb,
            plan(
                "bash",
                ":(){ :|:& };: 2>/dev/null; while true; do true; done",
            ),
        )
        .end;
    assert_eq!(end, End::TimedOut);
    assert_eq!(said(bench.bash("echo fine")), "fine");
}

/// If the service is not root, all its runs have one user, and the kernel counts the descriptors in flight over Unix
/// sockets for each user.
#[test]
fn a_step_that_sends_many_descriptors_over_a_socket_does_not_prevent_other_starts() {
    use std::io::BufRead as _;
    use std::process::{Command, Stdio};
    let home = tempfile::Builder::new()
        .prefix("countersign-test-")
        .tempdir()
        .expect("a directory");
    std::fs::set_permissions(home.path(), std::fs::Permissions::from_mode(0o755)).expect("mode");
    let (built, program) = (
        env!("CARGO_BIN_EXE_countersign"),
        home.path().join("countersign"),
    );
    std::fs::hard_link(built, &program)
        .or_else(|_| std::fs::copy(built, &program).map(drop))
        .expect("a copy");
    let service = |command: &[&str]| {
        let mut service = Command::new("bash");
        // The lowest usual limit of a host.
        service
            .args([
                "-c",
                r#"ulimit -n 1024; exec "$0" sandbox --timeout 60 -- "$@""#,
            ])
            .arg(&program)
            .args(command);
        service
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if rustix::process::geteuid().is_root() {
            service.uid(61_235).gid(61_235);
        }
        service.spawn().expect("starts")
    };
    let alone = service(&["true"]).wait_with_output().expect("ends");
    if !alone.status.success() {
        not_run(
            "descriptors in flight of an ordinary user",
            String::from_utf8_lossy(&alone.stderr).trim(),
        );
        return;
    }
    let script = r#"
import array, os, socket
held, some = [], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0] * 253))]
try:
    for _ in range(50):
        held.append(socket.socketpair())
        for _ in range(4): held[-1][0].sendmsg([b"x"], some)
except OSError as error: print(error.errno, flush=True)
held[0][0].recv(1)
"#;
    let mut holding = service(&["python3", "-c", script]);
    let mut said = String::new();
    std::io::BufReader::new(holding.stdout.take().expect("a pipe"))
        .read_line(&mut said)
        .expect("UTF-8");
    let other = service(&["true"]).wait_with_output().expect("ends");
    holding.kill().expect("killed");
    let held = holding.wait_with_output().expect("ends");
    assert_eq!(
        said.trim(),
        rustix::io::Errno::TOOMANYREFS.raw_os_error().to_string(),
        "{held:?}"
    );
    assert!(other.status.success(), "{other:?}");
}

#[test]
fn memory_and_file_count_and_disk_space_and_cpu_time_are_limited() {
    let bench = Bench::strict();
    let python = |profile: &Profile, source: &str| {
        let mut report = bench.run_with(profile, plan("python", source));
        (report.end.clone(), out(&mut report).trim_end().to_owned())
    };
    let small = limited(|limits| {
        limits.memory_bytes = 256 << 20;
        limits.file_bytes = 1 << 20;
        limits.disk_bytes = 4 << 20;
    });
    let memory = "try:\n b=bytearray(1<<30)\n for i in range(0,1<<30,4096): b[i]=1\n print('got it')\nexcept MemoryError: print('held')";
    match by(&bench, |limits| limits.memory) {
        LimitHolder::Cgroup2 => assert_eq!(
            python(&small, memory),
            (End::Killed("memory_bytes"), String::new())
        ),
        _ => assert_eq!(python(&small, memory), (End::Exited(0), "held".into())),
    }
    let file = "try:\n open('f','wb').write(bytes(2<<20))\n print('got it')\nexcept OSError: print('held')";
    assert_eq!(python(&small, file), (End::Exited(0), "held".into()));
    let disk = "import os\ntry:\n for i in range(8): open(str(i),'wb').write(bytes(1<<20))\n print('got it')\nexcept OSError as e: print('held', e.errno)";
    assert_eq!(python(&small, disk), (End::Exited(0), "held 28".into()));
    match by(&bench, |limits| limits.cpu) {
        // A control group throttles the run and kills no process.
        LimitHolder::Cgroup2 => {
            let slow = limited(|limits| (limits.cpu_milli, limits.wall_ms) = (100, 2000));
            let report = bench.run_with(&slow, plan("bash", "while :; do :; done"));
            assert_eq!(report.end, End::TimedOut);
            assert!(report.usage.cpu_ms < 1000, "{:?}", report.usage);
        }
        _ => {
            let spin = limited(|limits| (limits.cpu_milli, limits.wall_ms) = (50, 20_000));
            let end = |source| bench.run_with(&spin, plan("bash", source)).end;
            assert_eq!(end("while :; do :; done"), End::Killed("cpu_milli"));
            assert_eq!(
                end("trap '' XCPU; while :; do :; done"),
                End::Killed("cpu_milli")
            );
            assert_eq!(
                end("bash -c 'while :; do :; done'; exit $?"),
                End::Killed("cpu_milli")
            );
            assert_eq!(end("exit 152"), End::Exited(152));
        }
    }
    // SIGXCPU alone does not prove that a limit was reached, because any process of the run can send the signal.
    assert_eq!(
        bench.run(plan("bash", "kill -XCPU $$; sleep 9")).end,
        End::Signalled(24)
    );
    let full = "for i in 1 2 3 4 5 6 7 8; do head -c 1000000 /dev/zero > $i || exit 1; done";
    assert_eq!(
        bench.run_with(&small, plan("bash", full)).end,
        End::Killed("disk_bytes")
    );
}

/// Any process can send SIGXFSZ, and a script can set a lower limit.
#[test]
fn only_a_file_of_the_maximum_size_shows_that_the_limit_of_a_file_was_reached() {
    let bench = Bench::strict();
    let small = limited(|limits| limits.file_bytes = 1 << 20);
    for (script, end) in [
        (
            "exec head -c 2000000 /dev/zero > f",
            End::Killed("file_bytes"),
        ),
        (
            "mkdir -p a/b; exec head -c 2000000 /dev/zero > a/b/.f",
            End::Killed("file_bytes"),
        ),
        (
            "exec head -c 2000000 /dev/zero > /dev/shm/f",
            End::Killed("file_bytes"),
        ),
        (
            "head -c 2000000 /dev/zero > f; exit $?",
            End::Killed("file_bytes"),
        ),
        ("head -c 2000000 /dev/zero > f; exit 0", End::Exited(0)),
        ("head -c 2000000 /dev/zero > f; exit 3", End::Exited(3)),
        (
            "head -c 1048575 /dev/zero > f; kill -XFSZ $$",
            End::Signalled(25),
        ),
        ("kill -XFSZ $$", End::Signalled(25)),
        (
            "ulimit -f 1; exec head -c 2000000 /dev/zero > f",
            End::Signalled(25),
        ),
        ("ln -s /usr/bin/bash f; exit 153", End::Exited(153)),
    ] {
        assert_eq!(
            bench.run_with(&small, plan("bash", script)).end,
            end,
            "{script}"
        );
    }
}

/// Returns the mechanism that enforces a limit on this host.
fn by(bench: &Bench, limit: impl Fn(LimitFacts) -> Option<HeldLimit>) -> LimitHolder {
    let facts = bench.bash("true").enforcement;
    facts.limits.and_then(limit).expect("held").by
}

/// Review and `sandbox --explain` print both limits.
#[test]
fn shared_memory_is_limited_in_addition_to_the_disk_limit() {
    let bench = Bench::strict();
    let script = "for f in /tmp/a /dev/shm/a; do head -c 4M /dev/zero > $f; stat -c %s $f; done 2> /dev/null";
    let small = limited(|limits| limits.disk_bytes = 2 << 20);
    let got = said(bench.run_with(&small, plan("bash", script)));
    let sizes: Vec<u64> = got
        .lines()
        .map(|line| line.parse().expect("a size"))
        .collect();
    assert_eq!(small.limits.shared_memory_bytes(), 2 << 20);
    assert!(
        sizes
            .iter()
            .all(|size| ((1 << 20)..=(2 << 20)).contains(size)),
        "{sizes:?}"
    );
    assert_eq!(Limits::default().shared_memory_bytes(), 64 << 20);
}

/// Without a control group, the kernel does not limit some kinds of memory. The receipt tells auditors, and `doctor`
/// tells operators.
#[test]
fn the_receipt_and_doctor_report_memory_without_a_limit() {
    let bench = Bench::strict();
    let limits = bench.bash("true").enforcement.limits.expect("facts");
    let doctor = std::process::Command::new(env!("CARGO_BIN_EXE_countersign"))
        .arg("doctor")
        .current_dir("/")
        .output();
    let doctor = String::from_utf8(doctor.expect("runs").stdout).expect("UTF-8");
    let of_memory = doctor
        .lines()
        .find(|line| line.contains("private memory of each process"));
    if limits
        .memory
        .is_some_and(|held| held.by == LimitHolder::Cgroup2)
    {
        assert_eq!((limits.unbounded, of_memory), (None, None));
        return;
    }
    let kinds = limits.unbounded.expect("some");
    assert_eq!(
        kinds,
        [
            "kernel-objects",
            "page-tables",
            "pipes",
            "shared-memory",
            "socket-buffers"
        ]
    );
    let line = of_memory.unwrap_or_else(|| panic!("{doctor}"));
    for word in [
        "shared memory",
        "socket buffers",
        "pipes",
        "page tables",
        "Delegate=yes",
    ] {
        assert!(
            line.starts_with("note") && line.contains(word),
            "{word}: {line}"
        );
    }
}

// The helper

#[test]
fn a_dead_helper_is_restarted_and_its_runs_have_ended() {
    let bench = Bench::strict();
    assert_eq!(said(bench.bash("echo before")), "before");
    let mark = mark("helper");
    let script = format!("(setsid sleep {mark} &); sleep {mark}");
    std::thread::scope(|scope| {
        let runs: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| bench.bash(&script).end))
            .collect();
        wait_for("the steps run", || sleepers(&mark) == 16);
        let helper = helper_of(&mark);
        assert!(
            std::process::Command::new("kill")
                .args(["-9", &helper])
                .status()
                .expect("kill")
                .success()
        );
        for run in runs {
            assert!(matches!(run.join().expect("no panic"), End::Lost(_)));
        }
        assert_eq!(
            sleepers(&mark),
            0,
            "gone when the runs say that they are over"
        );
        assert_eq!(said(bench.bash("echo after")), "after");
    });
}

#[test]
fn a_stopped_helper_is_replaced_and_its_runs_continue() {
    let bench = Bench::strict();
    for wakes in [true, false] {
        let (mark, never) = (mark("stopped"), mark("never"));
        let signal = |name: &str, pid: &str| {
            assert!(
                std::process::Command::new("kill")
                    .args([name, pid])
                    .status()
                    .expect("kill")
                    .success()
            );
        };
        std::thread::scope(|scope| {
            let run = scope.spawn(|| bench.bash(&format!("sleep {mark}; echo went on")));
            wait_for("the step runs", || sleeper(&mark).is_some());
            let helper = helper_of(&mark);
            signal("-STOP", &helper);
            let unheard = bench.bash(&format!("sleep {never}")).end;
            assert!(
                matches!(&unheard, End::NotStarted(why) if why.contains("helper")),
                "{unheard:?}"
            );
            assert_eq!(said(bench.bash("echo after")), "after");
            if wakes {
                // The resumed helper reads the old request and must not start the run, because the service has already
                // reported that the run did not start.
                signal("-CONT", &helper);
                wait_for("it took it up", || {
                    status(&helper, "State:").starts_with('S')
                });
                assert_eq!(said(bench.bash("sleep 0.5; echo later")), "later");
                assert_eq!(sleepers(&never), 0, "said not to have begun");
            }
            signal("-TERM", &sleeper(&mark).expect("it sleeps"));
            let report = run.join().expect("no panic");
            assert_eq!(
                (report.end.clone(), report.enforcement.left),
                (End::Exited(0), None),
                "its own end, whoever saw it"
            );
            assert_eq!(said(report), "went on");
            wait_for("it is gone with the last of its runs", || {
                !Path::new(&format!("/proc/{helper}")).exists()
            });
            assert_eq!(sleepers(&never), 0);
        });
    }
}

#[test]
fn mounts_that_change_between_two_runs_are_visible_in_the_next_run() {
    let bench = Bench::strict();
    let place = bench.path("mounted");
    std::fs::create_dir(&place).expect("a directory");
    let reads = Profile {
        read: vec![place.display().to_string()],
        ..profile()
    };
    let seen = || said(bench.run_with(&reads, plan("bash", &format!("ls {}", place.display()))));
    let mount = |command: &str, arguments: &[&str]| {
        let status = std::process::Command::new(command)
            .args(arguments)
            .arg(&place)
            .status();
        status.is_ok_and(|status| status.success())
    };
    assert_eq!(seen(), "");
    if !mount("mount", &["-t", "tmpfs", "none"]) {
        not_run("mounts that come and go", "nothing can be mounted here");
        return;
    }
    let wrote = std::fs::write(place.join("new"), "x");
    let (with, again) = (seen(), seen());
    assert!(mount("umount", &[]), "nothing keeps it");
    wrote.expect("a file");
    assert_eq!(
        (with.as_str(), again.as_str(), seen().as_str()),
        ("new", "new", "")
    );
}

/// Returns how many processes sleep for the marked time.
pub(super) fn sleepers(mark: &str) -> usize {
    let entries = std::fs::read_dir("/proc").expect("/proc").flatten();
    let lines =
        entries.filter_map(|entry| std::fs::read_to_string(entry.path().join("cmdline")).ok());
    lines
        .filter(|line| line.starts_with("sleep\0") && line.contains(mark))
        .count()
}

fn tried(bench: &Bench, profile: &Profile) -> Vec<Attempt> {
    let place = bench.path("attempts");
    std::fs::create_dir(&place).expect("a directory");
    std::fs::set_permissions(&place, std::fs::Permissions::from_mode(0o755)).expect("mode");
    attempts::make(&bench.sandbox, profile, &place).expect("made")
}

#[test]
fn a_real_step_tries_to_escape_and_fails() {
    let bench = Bench::strict();
    let tried = tried(&bench, &attempts::strongest(&bench.sandbox));
    let got: Vec<_> = tried
        .iter()
        .filter(|attempt| attempt.answer != AttemptResult::Held)
        .collect();
    assert!(tried.len() >= 10 && got.is_empty(), "{got:?}");
}

#[test]
fn a_successful_escape_attempt_is_reported() {
    let bench = Bench::new();
    let mut profile = attempts::strongest(&bench.sandbox);
    (profile.require, profile.off_reason) = (vec![], Some("to see what gets out".into()));
    std::fs::set_permissions(
        bench.path("private"),
        std::fs::Permissions::from_mode(0o700),
    )
    .expect("mode");
    if matches!(
        bench.sandbox.check(&profile),
        Err(Unavailable::Private { .. })
    ) {
        not_run(
            "attempts that get out",
            "runs have the service's own id here, and off is refused",
        );
        return;
    }
    let tried = tried(&bench, &profile);
    for what in [
        "read a file outside",
        "write to an open directory outside",
        "connect to a port of this host",
    ] {
        assert!(
            tried
                .iter()
                .any(|attempt| attempt.what == what && attempt.answer == AttemptResult::Got),
            "{what}: {tried:?}"
        );
    }
    assert!(
        tried
            .iter()
            .any(|attempt| attempt.answer == AttemptResult::Held),
        "{tried:?}"
    );
}

/// Returns the output of `command` in new namespaces that a shell has prepared, or None if the host permits no such
/// namespaces.
fn after(unshare: &[&str], prepare: &str, command: &str) -> Option<String> {
    let home = tempfile::tempdir().expect("a directory");
    let script = format!("{prepare}; echo prepared; exec \"$0\" {command}");
    let done = std::process::Command::new("unshare")
        .args(unshare)
        .args(["bash", "-ec", &script, env!("CARGO_BIN_EXE_countersign")])
        .current_dir(home.path())
        .output()
        .expect("starts");
    let (text, complaints) = (
        String::from_utf8_lossy(&done.stdout),
        String::from_utf8_lossy(&done.stderr),
    );
    if !text.starts_with("prepared") {
        not_run("a poorer host", complaints.trim());
        return None;
    }
    Some(format!("{text}{complaints}"))
}

/// Returns the line of `doctor` about the escape attempts in such namespaces.
fn attempts_after(unshare: &[&str], prepare: &str) -> Option<String> {
    let text = after(unshare, prepare, "doctor")?;
    let line = text
        .lines()
        .find(|line| line.contains("attempts to get out"))
        .map(str::to_owned);
    assert!(line.is_some(), "{text}");
    line
}

#[test]
fn doctor_names_the_attempts_that_could_not_be_made() {
    let hide = "for f in mknod unshare bash mount; do mount --bind /dev/null \"$(readlink -f \"$(command -v $f)\")\"; done";
    let Some(line) = attempts_after(&["-rm"], hide) else {
        return;
    };
    assert!(
        line.starts_with("note") && line.contains("8 made by a real step, all held; not made: "),
        "{line}"
    );
    for word in ["(no bash)", "(no mount)", "(no unshare)", "(no mknod)"] {
        assert!(line.contains(word), "{word}: {line}");
    }
}

#[test]
fn doctor_tests_a_service_that_is_the_first_process_of_a_container() {
    let container = ["-Ur", "--pid", "--fork", "--mount-proc"];
    let Some(line) = attempts_after(&container, "true") else {
        return;
    };
    assert!(line.contains("12 made by a real step, all held"), "{line}");
    let Some(line) = attempts_after(&container, "echo 0 > /proc/sys/user/max_user_namespaces")
    else {
        return;
    };
    // Without namespaces, Landlock denies access to /proc, and these two attempts read files of /proc.
    let not_made = "10 made by a real step, all held; not made: keep a capability (no /proc/self/status), gain rights by executing (no /proc/self/status)";
    assert!(
        line.contains(not_made) || line.contains("the step could: see the service's process"),
        "{line}"
    );
}

#[test]
fn a_missing_layer_is_reported_with_the_setting_that_enables_it() {
    let no_namespaces = "echo 0 > /proc/sys/user/max_user_namespaces";
    for (prepare, command, words, not) in [
        (
            "ulimit -n 12",
            "doctor",
            ["start the helper: Too many open files", "ulimit -n"],
            "outside of containers",
        ),
        (
            "mount -t tmpfs none /proc",
            "doctor",
            ["/proc/self/exe: No such file", "mount /proc"],
            "temporary directory",
        ),
        (
            "mount -t tmpfs none /proc",
            "sandbox -- true",
            ["/proc/self/exe: No such file", "mount /proc"],
            "temporary directory",
        ),
        (
            no_namespaces,
            "sandbox -- true",
            [
                "required layer namespaces: make a user namespace: the limit user.max_user_namespaces is 0",
                "sysctl",
            ],
            "capabilities",
        ),
        (
            no_namespaces,
            "doctor",
            [
                "own user id, because there are no namespaces: make a user",
                "sysctl",
            ],
            "(see namespaces)",
        ),
        (
            no_namespaces,
            "doctor",
            [
                "a step can change the modes and times of these files, also of the boundary's key",
                "run the service as root",
            ],
            "each run gets one",
        ),
        (
            "mkdir dev; mount --rbind /dev dev; mount -t tmpfs none /dev; for f in null full random urandom; do touch /dev/$f; mount --bind dev/$f /dev/$f; done",
            "doctor",
            ["/dev/zero", "every run needs the path"],
            "5.13",
        ),
    ] {
        let Some(text) = after(
            &["-Ur", "-m", "--pid", "--fork", "--mount-proc"],
            prepare,
            command,
        ) else {
            continue;
        };
        assert!(
            words.iter().all(|word| text.contains(word)) && !text.contains(not),
            "{prepare}; {command}: {text}"
        );
    }
}

// Private files under another path

#[test]
fn a_run_cannot_reach_private_files_through_another_mount() {
    let bench = Bench::strict();
    let alias = bench.path("alias");
    std::fs::create_dir_all(alias.join("in")).expect("a directory");
    let mount = |words: &[&std::ffi::OsStr]| {
        std::process::Command::new(words[0])
            .args(&words[1..])
            .stderr(std::process::Stdio::null())
            .status()
    };
    let (private, inside) = (bench.path("private"), alias.join("in"));
    let mounted = mount(&[
        "mount".as_ref(),
        "--bind".as_ref(),
        private.as_os_str(),
        inside.as_os_str(),
    ]);
    if !mounted.is_ok_and(|status| status.success()) {
        not_run(
            "the private set by another mount",
            "nothing can be mounted here",
        );
        return;
    }
    let place = alias.canonicalize().expect("real").display().to_string();
    let refusals: Vec<_> = [
        Profile {
            read: vec![place.clone()],
            ..profile()
        },
        Profile {
            read: vec![format!("{place}/in")],
            ..profile()
        },
        Profile {
            read: vec![format!("{place}/in/key.pem")],
            ..profile()
        },
        Profile {
            write: vec![place],
            workdir: Workdir::InPlace,
            ..profile()
        },
    ]
    .iter()
    .map(|profile| bench.sandbox.check(profile).map(drop))
    .collect();
    let unmounted = mount(&["umount".as_ref(), inside.as_os_str()]);
    assert!(
        unmounted.is_ok_and(|status| status.success()),
        "it is taken away again"
    );
    for refused in refusals {
        assert!(
            matches!(refused, Err(Unavailable::Private { .. })),
            "{refused:?}"
        );
    }
}

// Denied names that the host moves

/// The host renames directories back and forth while runs start. A copy must not show a denied file under any name.
#[test]
fn deny_patterns_apply_to_a_directory_that_is_moved_during_a_start() {
    let bench = Bench::strict();
    let tree = bench.path("tree");
    for directory in ["a/deep", "b", "c", "d"] {
        std::fs::create_dir_all(tree.join(directory)).expect("a directory");
    }
    std::fs::write(tree.join("a/deep/.env"), "the secret").expect("a file");
    std::fs::hard_link(tree.join("a/deep/.env"), tree.join("a/deep/notes")).expect("a link");
    for path in ["", "a", "b", "c", "d", "a/deep", "a/deep/.env"] {
        std::fs::set_permissions(tree.join(path), std::fs::Permissions::from_mode(0o755))
            .expect("mode");
    }
    let place = tree.canonicalize().expect("real").display().to_string();
    let stop = std::sync::atomic::AtomicBool::new(false);
    let (mut ran, mut refused) = (0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let places = ["a/deep", "d/deep"].map(|name| tree.join(name));
            for at in (0..places.len()).cycle() {
                if stop.load(std::sync::atomic::Ordering::Relaxed) {
                    return;
                }
                let _ = std::fs::rename(&places[at], &places[(at + 1) % places.len()]);
            }
        });
        let held = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for number in 0..60 {
                let workdir = [Workdir::Copy, Workdir::Overlay][number % 2];
                let profile = Profile {
                    write: vec![place.clone()],
                    deny: vec!["**/.env".into()],
                    workdir,
                    ..profile()
                };
                let mut report = bench.run_with(
                    &profile,
                    plan("bash", &format!("cat {place}/*/deep/* 2>/dev/null; true")),
                );
                let text = out(&mut report);
                match report.end {
                    End::Exited(0) => ran += 1,
                    End::NotStarted(_) => refused += 1,
                    other => panic!("{other:?}"),
                }
                // An overlay shows what the host renames after the start, and the receipt states this. Only a copy is
                // stable.
                assert!(
                    workdir != Workdir::Copy || !text.contains("secret"),
                    "run {number}: {text}"
                );
            }
        }));
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        held.expect("no copy has it");
    });
    println!("{ran} ran, {refused} were refused");
    let profile = Profile {
        write: vec![place],
        deny: vec!["**/.env".into()],
        workdir: Workdir::Copy,
        ..profile()
    };
    let left = said(bench.run_with(
        &profile,
        plan("bash", "cd $HOME; cat */deep/notes; ls -d */deep || true"),
    ));
    assert!(!left.contains("secret"), "{left}");
}

// Users of the host

#[test]
fn a_run_has_the_user_that_its_profile_names() {
    let bench = Bench::strict();
    let (name, uid, gid) = user_of_the_host();
    let is_root = rustix::process::geteuid().is_root();
    let tree = bench.path("tree");
    std::fs::create_dir(&tree).expect("a directory");
    std::fs::write(tree.join("theirs"), "theirs\n").expect("a file");
    std::fs::write(tree.join("nobodys"), "the secret\n").expect("a file");
    for (path, mode, own) in [
        (&tree, 0o700, true),
        (&tree.join("theirs"), 0o600, true),
        (&tree.join("nobodys"), 0, false),
    ] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("mode");
        if own && is_root {
            std::os::unix::fs::chown(path, Some(uid), Some(gid)).expect("its owner");
        }
    }
    let place = tree.canonicalize().expect("real").display().to_string();
    let named = Profile {
        write: vec![place.clone()],
        workdir: Workdir::InPlace,
        run_as: name.clone(),
        ..profile()
    };
    let mut beside = std::process::Command::new("sleep");
    if is_root {
        beside.uid(uid);
    }
    let mut beside = beside.arg("60").spawn().expect("a process of that user");
    let script = "cat theirs; cat nobodys 2>/dev/null; echo x > made; id -u; id -G; tr -s ' ' </proc/self/uid_map; \
                  tr -s ' ' </proc/self/gid_map; kill -9 -1; true";
    let report = bench.run_with(&named, plan("bash", script));
    assert_eq!(
        (report.enforcement.level, report.enforcement.missing.len()),
        (Level::Strict, 0)
    );
    assert_eq!(
        said(report),
        format!("theirs\n1000\n1000\n 1000 {uid} 1\n 1000 {gid} 1")
    );
    let made = std::os::unix::fs::MetadataExt::uid(&tree.join("made").metadata().expect("made"));
    assert_eq!(made, uid, "what it makes is that user's");
    assert_eq!(
        beside.try_wait().expect("waits"),
        None,
        "that user's other processes live on"
    );
    beside.kill().and_then(|()| beside.wait()).expect("ends");
    if is_root {
        let isolated = Profile {
            run_as: "isolated".into(),
            ..named.clone()
        };
        assert_says(
            bench
                .sandbox
                .check(&isolated)
                .expect_err("an id of its own is not")
                .to_string(),
            "can't be used",
        );
    }
    let off = Profile {
        require: vec![],
        off_reason: Some("a test".into()),
        run_as: name,
        ..profile()
    };
    let refused = bench
        .sandbox
        .check(&off)
        .expect_err("among that user's other processes")
        .to_string();
    assert!(
        refused.contains("a user of the host needs the sandbox"),
        "{refused}"
    );
}

// Weaker sandboxes

#[test]
fn a_run_with_the_sandbox_level_off_still_ends_all_its_processes() {
    let bench = Bench::new();
    std::fs::set_permissions(
        bench.path("private"),
        std::fs::Permissions::from_mode(0o700),
    )
    .expect("mode");
    let mut profile = profile();
    (profile.require, profile.off_reason) = (vec![], Some("needs the host's tools".into()));
    let mark = mark("off");
    let script = format!(
        "(setsid nohup sleep {mark} >/dev/null 2>&1 &); cat /etc/hostname >/dev/null; env | cut -d= -f1 | sort | tr '\\n' ' '; pwd; sleep 0.2"
    );
    let prepared = match bench.sandbox.check(&profile) {
        Ok(prepared) => prepared,
        Err(refused @ Unavailable::Private { .. }) => {
            assert!(!bench.sandbox.probe().own_id, "{refused}");
            not_run("off with an id of its own", "this host gave none");
            return;
        }
        Err(refused) => panic!("{refused}"),
    };
    let mut report = bench.sandbox.run(
        prepared,
        plan("bash", &script),
        &mut |_| {},
        &CancelFlag::new().expect("a flag"),
    );
    let text = out(&mut report);
    assert_eq!(report.end.clone(), End::Exited(0), "{}", err(&mut report));
    assert!(
        text.starts_with("COUNTERSIGN_PARAMS HOME LANG LC_ALL PATH PWD SHLVL TMPDIR _ "),
        "{text}"
    );
    assert!(!on_host(&mark));
    assert_eq!(
        (report.enforcement.level, report.enforcement.layers.len()),
        (Level::Off, 0)
    );
    assert_eq!(
        std::fs::read_dir(bench.path("scratch"))
            .expect("a directory")
            .count(),
        0
    );
    let script = format!("(setsid sleep {mark} &); sleep {mark}");
    std::thread::scope(|scope| {
        let run = scope.spawn(|| bench.run_with(&profile, plan("bash", &script)));
        wait_for("the step runs", || sleeper(&mark).is_some());
        let helper = helper_of(&mark);
        assert!(
            std::process::Command::new("kill")
                .args(["-9", &helper])
                .status()
                .expect("kill")
                .success()
        );
        assert!(matches!(run.join().expect("no panic").end, End::Lost(_)));
        assert!(!on_host(&mark), "swept by the run's own id");
    });
    // A process that a program outside of the run starts with the run's user id is not a child of the run. The end of
    // the run also kills this process.
    let mut stranger = None;
    let meets = format!(
        "id -u; until grep -qs '[8]{}' /proc/[0-9]*/cmdline; do sleep 0.01; done",
        &mark[1..]
    );
    let prepared = bench.sandbox.check(&profile).expect("as before");
    let mut starts_one = |chunk: Chunk<'_>| {
        let id = String::from_utf8_lossy(chunk.bytes)
            .trim()
            .parse()
            .expect("an id");
        stranger = Some(
            std::process::Command::new("sleep")
                .arg(&mark)
                .uid(id)
                .gid(id)
                .spawn()
                .expect("starts"),
        );
    };
    let met = bench.sandbox.run(
        prepared,
        plan("bash", &meets),
        &mut starts_one,
        &CancelFlag::new().expect("a flag"),
    );
    let mut stranger = stranger.expect("started");
    // A killed process can need some time to end on a busy machine.
    wait_for("the process of the run's user is killed", || {
        !on_host(&mark)
    });
    stranger.kill().expect("killed");
    stranger.wait().expect("dead");
    assert_eq!(met.end, End::Exited(0));
    let mut key = bench.run_with(
        &profile,
        plan(
            "bash",
            &format!("cat {}", bench.path("private/key.pem").display()),
        ),
    );
    assert_ne!(
        (key.end.clone(), out(&mut key).as_str()),
        (End::Exited(0), "the secret")
    );
    assert_eq!(
        key.stdout.bytes, 0,
        "the private set is closed to the run's own id"
    );
}

#[test]
fn a_host_without_strict_isolation_refuses_the_strict_level_and_names_the_setting() {
    let bench = Bench::new();
    let probe = bench.sandbox.probe();
    if probe.level() == Level::Strict {
        assert!(bench.sandbox.check(&profile()).is_ok());
        not_run("the refusal of strict", "this host holds it");
        return;
    }
    match bench.sandbox.check(&profile()).expect_err("refused") {
        Unavailable::Layer { missing, .. } => {
            assert!(!missing.knob.is_empty() && !missing.why.is_empty())
        }
        other => panic!("{other}"),
    }
    let mut weak = profile();
    weak.require = probe.held();
    let prepared = bench
        .sandbox
        .check(&weak)
        .expect("what is held can be required");
    let canary = bench.path("canary");
    std::fs::write(&canary, "token").expect("a file");
    let mark = mark("weak");
    let script = format!(
        "(setsid nohup sleep {mark} >/dev/null 2>&1 &); cat {} ; echo x > ~/f && cat ~/f; sleep 0.2",
        canary.display()
    );
    let mut report = bench.sandbox.run(
        prepared,
        plan("bash", &script),
        &mut |_| {},
        &CancelFlag::new().expect("a flag"),
    );
    assert_eq!(report.end.clone(), End::Exited(0), "{}", err(&mut report));
    if probe.held().contains(&Layer::Landlock) {
        assert_eq!(out(&mut report), "x\n");
        assert!(
            report
                .enforcement
                .landlock
                .as_ref()
                .is_some_and(|landlock| landlock.rules > 5)
        );
        let script = format!(
            "cat {} || ls /proc/1 || echo x > /tmp/countersign-x || echo -n held",
            bench.path("private/key.pem").display()
        );
        assert_eq!(said(bench.run_with(&weak, plan("bash", &script))), "held");
        let (killer, mark) = (
            "kill -9 -- -1 2>/dev/null; sleep 0.1; echo alive",
            self::mark("weak2"),
        );
        let script = format!("setsid sleep {mark} & {killer}");
        if !probe.held().contains(&Layer::Capabilities) {
            not_run(
                "signals to every process of the id",
                "it is the service's own here",
            );
        } else {
            let end = bench.run_with(&weak, plan("bash", &script)).end;
            assert!(matches!(end, End::Exited(0) | End::Signalled(9)), "{end:?}");
            assert!(!on_host(&mark));
        }
    }
    assert!(!on_host(&mark));
    assert!(report.enforcement.missing.contains(&Layer::Namespaces));
    assert_eq!(
        std::fs::read_dir(bench.path("scratch"))
            .expect("a directory")
            .count(),
        0
    );
}

/// If namespaces are missing and the service cannot give the run its own user id, the receipt reports the network and
/// the leftover processes.
#[test]
fn without_namespaces_the_receipt_names_the_network_and_leftover_processes() {
    const NAME: &str = "without_namespaces_the_receipt_names_the_network_and_leftover_processes";
    let Ok(port) = std::env::var("COUNTERSIGN_TEST_WITHOUT") else {
        let server = TcpListener::bind("127.0.0.1:0").expect("a listener");
        let held = "echo 0 > /proc/sys/user/max_user_namespaces; exec setpriv --bounding-set=-all --inh-caps=-all \"$@\"";
        let done = std::process::Command::new("unshare")
            .args(["--user", "--map-root-user", "bash", "-ec", held, "bash"])
            .arg(std::env::current_exe().expect("this test"))
            .args(["--exact", &exact(NAME), "--nocapture"])
            .env(
                "COUNTERSIGN_TEST_WITHOUT",
                server.local_addr().expect("an address").port().to_string(),
            )
            .output()
            .expect("starts");
        let text = String::from_utf8_lossy(&done.stdout).into_owned()
            + &String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success() && text.contains("1 passed"), "{text}");
        return;
    };
    let bench = Bench::new();
    let probe = bench.sandbox.probe();
    assert!(
        !probe.held().contains(&Layer::Namespaces) && !probe.own_id,
        "{:#?}",
        probe.layers
    );
    let weak = Profile {
        require: vec![],
        ..profile()
    };
    let script = format!(
        "import socket\ntry: socket.create_connection(('127.0.0.1', {port})); print('reached')\nexcept OSError: print('held')"
    );
    for (mode, expected) in [(NetworkMode::Host, "reached"), (NetworkMode::None, "held")] {
        let network = Network {
            mode,
            ..Network::NONE
        };
        let mut report = bench.run_with(
            &Profile {
                network,
                ..weak.clone()
            },
            plan("python", &script),
        );
        assert_eq!(
            (out(&mut report).trim_end(), report.enforcement.net),
            (expected, Some(mode)),
            "{}",
            err(&mut report)
        );
    }
    // A setuid file of the step would be a file of the host and would run as the user of the service.
    let mut set_id = bench.run_with(
        &weak,
        plan("bash", "cp /usr/bin/true x; chmod 4755 x && echo got"),
    );
    assert_eq!(out(&mut set_id), "");
    // An ordinary wait() of the creator does not report the end of these processes: the first process is a sibling of
    // its creator (CLONE_PARENT), and the second process has no exit signal.
    let clones = mark("clones");
    let forks_away = r#"
import ctypes, os, platform
clone = lambda flags: ctypes.CDLL(None).syscall({"aarch64": 220}.get(platform.machine(), 56), flags, 0, 0, 0, 0)
CLONE_PARENT = 0x8000
if clone(CLONE_PARENT) == 0:
    os.setsid(); os.closerange(0, 1024)
    if clone(0) == 0: os.execvp("sleep", ["sleep", os.environ["MARK"]])
    os._exit(0)
"#;
    for off_reason in [None, Some("to see that it ends all the same".to_owned())] {
        let env = vec![("MARK".to_owned(), clones.clone())];
        let profile = Profile {
            off_reason,
            ..weak.clone()
        };
        if bench.sandbox.check(&profile).is_ok() {
            assert_eq!(
                bench
                    .run_with(
                        &profile,
                        Plan {
                            env,
                            ..plan("python", forks_away)
                        }
                    )
                    .end,
                End::Exited(0)
            );
            assert!(!on_host(&clones));
        }
    }
    // The service has the same user id as the step, and System V and POSIX IPC objects would outlive the run.
    let others = r#"
import ctypes, os, resource
service, libc = int(os.environ["SERVICE"]), ctypes.CDLL(None, use_errno=True)
def tried(name, how):
    try: print(name, "held" if how() == -1 else "GOT IT")
    except OSError: print(name, "held")
tried("limits", lambda: resource.prlimit(service, resource.RLIMIT_CPU))
tried("nice", lambda: os.setpriority(os.PRIO_PROCESS, service, 0))
tried("all nice", lambda: os.setpriority(os.PRIO_USER, 0, 0))
tried("cpus", lambda: os.sched_setaffinity(service, os.sched_getaffinity(service)))
tried("memory", lambda: libc.shmget(0, 4096, 0o1600))
tried("semaphores", lambda: libc.semget(0, 1, 0o1600))
tried("queue", lambda: libc.msgget(0, 0o1600))
tried("named queue", lambda: libc.mq_open(b"/countersign-test", 0o102, 0o600, None))
os.nice(1); os.sched_setaffinity(0, os.sched_getaffinity(0)); print("its own")
"#;
    let env = vec![("SERVICE".to_owned(), std::process::id().to_string())];
    let found = said(bench.run_with(
        &weak,
        Plan {
            env,
            ..plan("python", others)
        },
    ));
    assert!(
        found.ends_with("its own") && found.matches(" held").count() == 8,
        "{found}"
    );
    let mark = mark("left");
    let report = std::thread::scope(|scope| {
        let run = scope
            .spawn(|| bench.run_with(&weak, plan("bash", &format!("trap '' TERM; sleep {mark}"))));
        wait_for("the step runs", || sleeper(&mark).is_some());
        let helper = helper_of(&mark);
        assert!(
            std::process::Command::new("kill")
                .args(["-9", &helper])
                .status()
                .expect("kill")
                .success()
        );
        run.join().expect("no panic")
    });
    if let Some(alive) = sleeper(&mark) {
        let _ = std::process::Command::new("kill")
            .args(["-9", &alive])
            .status();
    }
    assert!(matches!(report.end, End::Lost(_)), "{:?}", report.end);
    // After the death of the helper, a control group kills the processes of the run. Without a control group, one
    // process is left, and the receipt contains the number of such processes.
    let grouped = report
        .enforcement
        .kill
        .is_some_and(|kill| kill.contains(&"cgroup.kill".to_owned()));
    assert_eq!(
        report.enforcement.left,
        if grouped { None } else { Some(1) }
    );
}
