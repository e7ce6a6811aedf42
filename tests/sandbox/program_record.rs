//! The record of the programs that a run started, and of those that its list refused.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use documents::{Limits, Profile, STRICT};
use sandbox::{CancelFlag, LocalSandbox, Setup};
use serde_json::{Value, json};

use crate::runs::plan;
use crate::support::host::on_host;
use crate::support::{World, exited, not_run, said};

/// Runs a command with `--json` and returns the report and the standard error.
fn report(command: &mut Command) -> (Value, String) {
    let output = command.output().expect("runs");
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    let report = serde_json::from_slice(&output.stdout);
    (
        report.unwrap_or_else(|error| panic!("{error}: {}", said(&output))),
        stderr,
    )
}

fn sandbox(world: &World, options: &[&str], command: &[&str]) -> (Value, String) {
    report(
        world
            .program(&["--json", "sandbox"])
            .args(options)
            .arg("--")
            .args(command),
    )
}

/// Returns the counted programs as an object from path to count.
fn named(facts: &Value, kind: &str) -> Value {
    let paths = facts[kind]["paths"]
        .as_array()
        .unwrap_or_else(|| panic!("no {kind}: {facts}"));
    let of = |one: &Value| {
        (
            one["path"].as_str().expect("a path").to_owned(),
            one["count"].clone(),
        )
    };
    Value::Object(paths.iter().map(of).collect())
}

fn real(path: &str) -> String {
    Path::new(path)
        .canonicalize()
        .expect("a program")
        .display()
        .to_string()
}

/// Compiles a C program into a new directory that all users can read.
fn compiled(source: &str, options: &[&str]) -> Option<(tempfile::TempDir, String)> {
    let dir = tempfile::Builder::new()
        .prefix("countersign-c-")
        .tempdir()
        .expect("a directory");
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).expect("mode");
    std::fs::write(dir.path().join("tool.c"), source).expect("a file");
    let made = Command::new("cc")
        .args(["-o", "tool", "tool.c"])
        .args(options)
        .current_dir(dir.path())
        .output();
    let path = dir
        .path()
        .canonicalize()
        .expect("real")
        .display()
        .to_string();
    made.is_ok_and(|made| made.status.success())
        .then_some((dir, path))
}

#[test]
fn each_refused_program_is_counted_by_its_real_path() {
    let world = World::prepared(|_| {});
    let id = real("/usr/bin/id");
    let own = "/tmp/work";
    for (script, refused) in [
        ("id; id; /usr/bin/id", json!({ &id: 3 })),
        ("exec -a ls /usr/bin/id", json!({ &id: 1 })),
        (
            "cd /usr/bin; ./id; ../bin/id; /usr/bin/../bin//id",
            json!({ &id: 3 }),
        ),
        (
            "/proc/self/root/usr/bin/id; cd /usr/bin; /proc/self/cwd/id; /proc/thread-self/cwd/id",
            json!({ &id: 3 }),
        ),
        (
            "ln -s /usr/bin/id a; ln -s ../work/a b; ln -s /proc/self/root/tmp/work/b c; ./c",
            json!({ &id: 1 }),
        ),
        (
            "echo $(id) `id` <(id); cat < <(id); trap id EXIT; (id)& wait",
            json!({ &id: 6 }),
        ),
        (
            "cp /usr/bin/ls copy; ./copy; ./copy",
            json!({ format!("{own}/copy"): 2 }),
        ),
        (
            "printf '#!/usr/bin/id\\n' > s; chmod +x s; ./s",
            json!({ format!("{own}/s"): 1 }),
        ),
        (
            "cp /usr/bin/ls /dev/shm/x; /dev/shm/x",
            json!({ "/dev/shm/x": 1 }),
        ),
        (
            "no-such-program; ./none; /usr/bin/none; /etc/hosts; /usr; ls/x; echo x > f; ./f",
            json!({}),
        ),
        ("ls -d / > /dev/null", json!({})),
    ] {
        let options = ["--programs", "bash,ls,cp,ln,chmod,cat"];
        let (report, stderr) = sandbox(
            &world,
            &options,
            &["bash", "-c", &format!("{{ {script}; }} 2>&1; true")],
        );
        let facts = &report["program_facts"];
        assert_eq!(named(facts, "refused"), refused, "{script}: {facts}");
        assert_eq!(
            (&facts["mode"], &facts["refused"]["more"]),
            (&json!("listed"), &json!(0)),
            "{facts}"
        );
        for path in refused.as_object().expect("an object").keys() {
            assert!(
                stderr.contains(&format!("tried to run {path}")),
                "{script}: {stderr}"
            );
        }
    }
}

#[test]
fn each_started_program_is_counted_also_in_unusual_calls() {
    let world = World::prepared(|_| {});
    let python = real("/usr/bin/python3");
    for (script, started) in [
        (
            "import subprocess; [subprocess.run(['ls', '-d', '/']) for _ in range(3)]",
            3,
        ),
        (
            "import os; [os.waitpid(os.posix_spawn('/usr/bin/ls', ['ls', '-d', '/'], {}), 0) for _ in range(3)]",
            3,
        ),
        (
            "import os; os.execve(os.open('/usr/bin/ls', os.O_RDONLY), ['ls', '-d', '/'], {})",
            1,
        ),
        ("import os; os.system('exec ls -d /')", 1),
        (
            "import threading, os\ndef f():\n p = os.fork()\n if p == 0: os.execv('/usr/bin/ls', ['ls', '-d', '/'])\n os.waitpid(p, 0)\n\
             t = [threading.Thread(target=f) for _ in range(8)]\n[x.start() for x in t]; [x.join() for x in t]",
            8,
        ),
        // A directory descriptor, and a path at the end of the mapped memory.
        (
            "import os, ctypes\nc = ctypes.CDLL(None)\nn = 322 if os.uname().machine == 'x86_64' else 281\n\
             a = (ctypes.c_char_p * 4)(b'ls', b'-d', b'/', None)\nd = os.open('/usr', os.O_PATH)\n\
             p = os.fork()\nif p == 0: c.syscall(n, d, b'bin/ls', a, None, 0)\nos.waitpid(p, 0)\n\
             c.mmap.restype = ctypes.c_void_p\nm = c.mmap(None, ctypes.c_size_t(8192), 3, 0x22, -1, ctypes.c_size_t(0))\n\
             c.munmap(ctypes.c_void_p(m + 4096), ctypes.c_size_t(4096))\nt = b'/usr/bin/ls\\0'\n\
             ctypes.memmove(m + 4096 - len(t), t, len(t))\nc.execve(ctypes.c_void_p(m + 4096 - len(t)), a, None)",
            2,
        ),
    ] {
        let (report, stderr) = sandbox(
            &world,
            &["--programs", "python3,ls,sh"],
            &["python3", "-c", script],
        );
        let facts = &report["program_facts"];
        let found = named(facts, "started");
        assert_eq!(
            (&found[&real("/usr/bin/ls")], &found[&python]),
            (&json!(started), &json!(1)),
            "{script}: {stderr}"
        );
        assert_eq!(named(facts, "refused"), json!({}), "{script}: {facts}");
    }
    let script =
        "import os, sys\nif len(sys.argv) < 5: os.execv('/proc/self/exe', sys.orig_argv + ['x'])";
    let (report, _) = sandbox(
        &world,
        &["--programs", "python3"],
        &["python3", "-c", script],
    );
    let sh = real("/bin/sh");
    assert_eq!(
        named(&report["program_facts"], "started"),
        json!({ sh: 1, python: 5 }),
        "{report}"
    );
}

#[test]
fn the_interpreter_of_a_script_is_recorded_like_a_program() {
    let world = World::prepared(|_| {});
    let run = |first_line: &str| {
        let script = format!("printf '#!{first_line}\\n' > s; chmod +x s; ./s; true");
        sandbox(
            &world,
            &["--programs", "bash,chmod,ls,{work}/**"],
            &["bash", "-c", &script],
        )
        .0["program_facts"]
            .take()
    };
    let facts = run("/usr/bin/ls -d");
    let found = named(&facts, "started");
    assert_eq!(
        (&found["/tmp/work/s"], &found[&real("/usr/bin/ls")]),
        (&json!(1), &json!(1)),
        "{facts}"
    );
    for first_line in ["/usr/bin/id", "../../usr/bin/id"] {
        let facts = run(first_line);
        assert_eq!(
            named(&facts, "refused"),
            json!({ real("/usr/bin/id"): 1 }),
            "{first_line}: {facts}"
        );
        assert!(named(&facts, "started")["/tmp/work/s"].is_null(), "{facts}");
    }
    assert_eq!(named(&run("/usr/bin/none"), "refused"), json!({}));
}

#[test]
fn a_static_program_is_recorded() {
    const NAME: &str = "a_static_program_is_recorded";
    let source = "#include <unistd.h>\nint main(int c, char **v) { if (c > 1) return 0; \
                  char *a[] = {\"x\", \"y\", 0}, *e[] = {0}; execve(\"/proc/self/exe\", a, e); return 1; }";
    let Some((_dir, tree)) = compiled(source, &["-static"]) else {
        return not_run(NAME, "cc can't link a static program here");
    };
    let world = World::prepared(|_| {});
    let tool = format!("{tree}/tool");
    let options = [
        "--write",
        &tree,
        "--workdir",
        "copy",
        "--programs",
        "{work}/**",
    ];
    let (report, stderr) = sandbox(&world, &options, &["sh", "-c", &tool]);
    assert_eq!(
        named(&report["program_facts"], "started")[&tool],
        2,
        "{report} {stderr}"
    );
    let (report, _) = sandbox(
        &world,
        &["--read", &tree, "--programs", "ls"],
        &["sh", "-c", &format!("{tool}; true")],
    );
    assert_eq!(
        named(&report["program_facts"], "refused"),
        json!({ tool: 1 }),
        "{report}"
    );
}

#[test]
fn a_run_that_tries_many_names_has_a_small_record() {
    let world = World::prepared(|_| {});
    let script = "import os\nfor n in range(1000):\n  try: os.execv('/usr/bin/none-%d' % n, ['x'])\n  except OSError: pass\n\
                  for n in range(40):\n  f = 'own-%02d' % n\n  open(f, 'w').write('#!/bin/sh\\n'); os.chmod(f, 0o755)\n  \
                  try: os.execv(f, [f])\n  except OSError: pass\n";
    let (report, stderr) = sandbox(
        &world,
        &["--programs", "python3"],
        &["python3", "-c", script],
    );
    let facts = &report["program_facts"];
    let refused = named(facts, "refused");
    let expected: Vec<String> = (0..8)
        .map(|number| format!("/tmp/work/own-{number:02}"))
        .collect();
    let found: Vec<&String> = refused.as_object().expect("an object").keys().collect();
    assert_eq!(
        (found, &facts["refused"]["more"]),
        (expected.iter().collect(), &json!(32)),
        "{facts}"
    );
    assert!(
        stderr.contains("refused other programs 32 times"),
        "{stderr}"
    );
    let script =
        "for n in $(seq 10 49); do printf '#!/bin/sh\\n' > own-$n; chmod +x own-$n; ./own-$n; done";
    let (report, _) = sandbox(
        &world,
        &["--programs", "chmod,seq,{work}/**"],
        &["sh", "-c", script],
    );
    let facts = &report["program_facts"];
    assert_eq!(
        facts["started"]["paths"].as_array().map(Vec::len),
        Some(16),
        "{facts}"
    );
    assert_eq!(
        named(facts, "started")[&real("/usr/bin/chmod")],
        40,
        "{facts}"
    );
}

#[test]
fn a_fork_bomb_of_short_programs_ends_at_its_time_limit() {
    let world = World::prepared(|_| {});
    let begun = Instant::now();
    let script = "for i in 1 2 3 4 5 6 7 8; do (while :; do ls -d /; id; done) > /dev/null 2>&1 & done; wait";
    let (report, _) = sandbox(
        &world,
        &["--timeout", "4", "--programs", "ls"],
        &["sh", "-c", script],
    );
    assert_eq!(report["end"], "TimedOut", "{report}");
    assert!(
        begun.elapsed() < Duration::from_secs(30),
        "{:?}",
        begun.elapsed()
    );
    let count =
        |kind: &str, path: &str| named(&report["program_facts"], kind)[&real(path)].as_u64();
    assert!(
        count("started", "/usr/bin/ls") > Some(0) && count("refused", "/usr/bin/id") > Some(0),
        "{report}"
    );
}

#[test]
fn a_run_can_be_cancelled_while_it_starts_programs() {
    let world = World::prepared(|_| {});
    let script =
        "trap '' TERM INT; echo begun; while :; do ls -d / & none; /none; done > /dev/null 2>&1";
    let mut command = world.program(&[
        "--json",
        "sandbox",
        "--programs",
        "ls",
        "--",
        "sh",
        "-c",
        script,
    ]);
    let mut run = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("runs");
    let mut stderr = run.stderr.take().expect("a pipe");
    // With `--json`, the output of the command goes to the standard error.
    let mut begun = [0; 5];
    std::io::Read::read_exact(&mut stderr, &mut begun).expect("the command has begun");
    let asked = Instant::now();
    let pid = rustix::process::Pid::from_child(&run);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("a signal");
    let output = run.wait_with_output().expect("ends");
    assert!(
        asked.elapsed() < Duration::from_secs(20),
        "{:?}",
        asked.elapsed()
    );
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(report["end"], "Cancelled", "{report}");
    assert!(report["program_facts"]["started"].is_object(), "{report}");
}

#[test]
fn a_run_ends_if_the_service_is_killed_while_programs_wait() {
    let world = World::prepared(|_| {});
    let mark = format!("killed-service-{}", std::process::id());
    let script =
        format!("echo begun; while :; do ls -d / & /none; wait; done > /dev/null 2>&1 # {mark}");
    let mut command = world.program(&["sandbox", "--programs", "ls", "--", "sh", "-c", &script]);
    let mut run = command
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("runs");
    let mut begun = [0; 5];
    std::io::Read::read_exact(&mut run.stdout.take().expect("a pipe"), &mut begun)
        .expect("the command has begun");
    assert!(on_host(&mark));
    run.kill().expect("killed");
    run.wait().expect("reaped");
    let until = Instant::now() + Duration::from_secs(30);
    while on_host(&mark) {
        assert!(Instant::now() < until, "a process of the run is left");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn the_thread_of_a_record_ends_with_its_run() {
    let home = tempfile::Builder::new()
        .prefix("countersign-record-")
        .tempdir()
        .expect("a directory");
    std::fs::set_permissions(home.path(), std::fs::Permissions::from_mode(0o711)).expect("mode");
    let place = home.path().to_owned();
    let helper = Some(env!("CARGO_BIN_EXE_countersign").into());
    let setup = Setup {
        helper,
        scratch: place.clone(),
        spool: place,
        private: vec![],
        unwritable: vec![],
    };
    let sandbox = LocalSandbox::open(&setup).expect("a sandbox");
    let profile = Profile::nothing(
        STRICT.to_vec(),
        Limits {
            wall_ms: 60_000,
            ..Limits::default()
        },
    );
    for _ in 0..8 {
        let prepared = sandbox.check(&profile).expect("can be held").learning();
        let plan = plan("sh", "ls -d /; id; no-such-program");
        let report = sandbox.run(
            prepared,
            plan,
            &mut |_| {},
            &CancelFlag::new().expect("a flag"),
        );
        assert_eq!(report.learned.expect("recorded").list, ["id", "ls"]);
    }
    let threads = || {
        let threads = std::fs::read_dir("/proc/self/task")
            .expect("threads")
            .flatten();
        let names =
            threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("comm")).ok());
        names
            .filter(|name| name.trim_end() == "program-record")
            .count()
    };
    let until = Instant::now() + Duration::from_secs(30);
    while threads() > 0 {
        assert!(Instant::now() < until, "{} threads are left", threads());
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_program_that_changes_its_path_during_the_call_deceives_only_the_record() {
    const NAME: &str = "a_program_that_changes_its_path_during_the_call_deceives_only_the_record";
    // A second thread exchanges two paths of equal length while the first thread executes them.
    let source = "#include <pthread.h>\n#include <string.h>\n#include <sys/wait.h>\n#include <unistd.h>\n\
        static volatile char path[] = \"/usr/bin/id\";\n\
        static void *flip(void *x) { for (;;) { path[9] = 'l'; path[10] = 's'; path[9] = 'i'; path[10] = 'd'; } }\n\
        int main(void) { pthread_t t; pthread_create(&t, 0, flip, 0); char *a[] = {\"x\", \"-d\", \"/\", 0}, *e[] = {0};\n\
        for (int i = 0; i < 400; i++) { if (!vfork()) { execve((char *)path, a, e); _exit(1); } wait(0); } return 0; }";
    let Some((_dir, tree)) = compiled(source, &["-O0", "-pthread"]) else {
        return not_run(NAME, "there is no C compiler here");
    };
    let world = World::prepared(|_| {});
    let tool = format!("{tree}/tool");
    let options = [
        "--write",
        &tree,
        "--workdir",
        "copy",
        "--programs",
        "ls,{work}/**",
    ];
    let (report, stderr) = sandbox(&world, &options, &["sh", "-c", &tool]);
    assert_eq!(report["end"], "Exited(0)", "{report}");
    let facts = &report["program_facts"];
    let sum = |kind: &str, path: &str| named(facts, kind)[&real(path)].as_u64().unwrap_or(0);
    let (ls, id) = (sum("started", "/usr/bin/ls"), sum("refused", "/usr/bin/id"));
    assert!(ls + id > 0 && ls + id <= 400, "{facts}");
    assert!(
        !stderr.contains("uid=") && !stderr.contains("/usr/bin/id: "),
        "id ran: {stderr}"
    );
    assert!(stderr.contains("/\n"), "ls ran: {stderr}");
}

#[test]
fn the_record_exists_only_for_a_run_with_a_list() {
    let world = World::prepared(|_| {});
    let script = "while read -r key value; do [ $key = Seccomp_filters: ] && echo filters=$value; done < /proc/self/status; id -u";
    let filters = |options: &[&str]| {
        let (report, stderr) = sandbox(&world, options, &["sh", "-c", script]);
        let line = stderr
            .lines()
            .find_map(|line| line.strip_prefix("filters="))
            .expect("a line");
        (line.parse::<u64>().expect("a number"), report)
    };
    let (without, report) = filters(&[]);
    assert!(
        report["program_facts"].is_null() && report["learned"].is_null(),
        "{report}"
    );
    let digest = report["sandbox"]["seccomp"]["sha256"].clone();
    let (with, report) = filters(&["--learn"]);
    assert_eq!(
        (with, &report["sandbox"]["seccomp"]["sha256"]),
        (without + 1, &digest),
        "{report}"
    );
    let (with, report) = filters(&["--programs", "id"]);
    assert_eq!(
        (with, &report["program_facts"]["listed"]),
        (without + 1, &json!(2)),
        "{report}"
    );
}

#[test]
fn a_learned_list_is_enough_for_the_same_command() {
    let world = World::prepared(|_| {});
    let script = "ls -d /; awk 1 < /dev/null; cp /bin/ls own; ./own -d /; sh -c :; none; true";
    let command = ["bash", "-c", script];
    let (report, _) = sandbox(&world, &["--learn"], &command);
    let list = report["learned"]["list"].as_array().expect("a list");
    let list: Vec<&str> = list
        .iter()
        .map(|entry| entry.as_str().expect("text"))
        .collect();
    for entry in ["awk", "bash", "cp", "ls", "sh", "{work}/**"] {
        assert!(list.contains(&entry), "{entry}: {list:?}");
    }
    assert!(
        !list.contains(&"none") && !list.contains(&"true"),
        "{list:?}"
    );
    assert_eq!(report["learned"]["more"], 0, "{report}");
    let (report, stderr) = sandbox(&world, &["--programs", &list.join(",")], &command);
    assert_eq!(
        named(&report["program_facts"], "refused"),
        json!({}),
        "{stderr}"
    );

    let text = said(
        &world
            .program(&["sandbox", "--learn", "--"])
            .args(command)
            .output()
            .expect("runs"),
    );
    let words = list.join(",");
    assert!(
        text.contains(&format!("--programs '{words}'"))
            && text.contains(&format!("programs=\"{words}\"")),
        "{text}"
    );
    let text = said(
        &world
            .program(&["sandbox", "--learn", "--", "id", "-u"])
            .output()
            .expect("runs"),
    );
    assert!(
        text.contains("--programs id\n") && text.contains(" programs=id\n"),
        "without the shell: {text}"
    );

    exited(
        world
            .program(&["sandbox", "--learn", "--programs", "ls", "--", "ls"])
            .output()
            .expect("runs"),
        2,
    );
    let (report, _) = sandbox(
        &world,
        &["--learn", "--profile", "off"],
        &["sh", "-c", "id -u; true"],
    );
    assert_eq!(report["learned"]["list"], json!(["id", "sh"]), "{report}");
}

#[test]
fn an_ordinary_user_gets_the_record_of_a_run() {
    const NAME: &str = "an_ordinary_user_gets_the_record_of_a_run";
    if !rustix::process::geteuid().is_root() {
        return not_run(NAME, "the other tests run as an ordinary user");
    }
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o777)).expect("mode");
    let program = dir.path().join("countersign");
    // A copy by this process could be busy in a process that another test starts at the same time.
    let copied = Command::new("cp")
        .arg(env!("CARGO_BIN_EXE_countersign"))
        .arg(&program)
        .status()
        .expect("cp");
    assert!(copied.success());
    let run = |options: &[&str]| {
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
            .arg(&program);
        command
            .args(["--json", "sandbox"])
            .args(options)
            .env("HOME", dir.path())
            .current_dir(dir.path());
        let script = "ls -d /; id; cd /usr/bin; ./id; cp ls /tmp/own; /tmp/own; /proc/self/root/usr/bin/id; true";
        report(command.args(["--", "sh", "-c", script]))
    };
    let (with_list, stderr) = run(&["--programs", "ls,cp"]);
    let facts = &with_list["program_facts"];
    assert_eq!(
        named(facts, "refused"),
        json!({ real("/usr/bin/id"): 3, "/tmp/own": 1 }),
        "{facts} {stderr}"
    );
    let (ls, cp, sh) = (real("/usr/bin/ls"), real("/usr/bin/cp"), real("/bin/sh"));
    assert_eq!(
        named(facts, "started"),
        json!({ ls: 1, cp: 1, sh: 2 }),
        "{facts}"
    );
    let (learned, stderr) = run(&["--learn"]);
    assert_eq!(
        learned["learned"]["list"],
        json!(["cp", "id", "ls", "sh", "{work}/**"]),
        "{stderr}"
    );
}

#[test]
fn a_host_without_a_listener_runs_the_command_without_a_record() {
    const NAME: &str = "a_host_without_a_listener_runs_the_command_without_a_record";
    // The kernel gives a process only one listener, and this program already has one.
    let source = "#include <linux/filter.h>\n#include <linux/seccomp.h>\n#include <sys/prctl.h>\n#include <sys/syscall.h>\n\
        #include <unistd.h>\n\
        int main(int c, char **v) { struct sock_filter all[] = {{0x06, 0, 0, SECCOMP_RET_ALLOW}};\n\
        struct sock_fprog program = {1, all}; if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)) return 3;\n\
        int listener = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &program);\n\
        if (listener < 0 || dup(listener) < 0) return 3; execv(v[1], v + 1); return 3; }";
    let Some((_dir, tree)) = compiled(source, &[]) else {
        return not_run(NAME, "there is no C compiler here");
    };
    let world = World::prepared(|_| {});
    let run = |options: &[&str]| {
        let mut command = Command::new(format!("{tree}/tool"));
        command
            .arg(env!("CARGO_BIN_EXE_countersign"))
            .args(["--json", "sandbox"])
            .args(options);
        report(
            command
                .args(["--", "sh", "-c", "ls -d /; id; true"])
                .env("HOME", world.path("")),
        )
    };
    let (with_list, stderr) = run(&["--programs", "ls"]);
    assert_eq!(
        (&with_list["end"], &with_list["program_facts"]),
        (&json!("Exited(0)"), &json!({"mode": "listed", "listed": 2}))
    );
    assert!(
        stderr.contains("this host did not record") && !stderr.contains("uid="),
        "{stderr}"
    );
    let (learned, stderr) = run(&["--learn"]);
    assert_eq!(
        (&learned["end"], &learned["learned"]),
        (&json!("Exited(0)"), &Value::Null),
        "{stderr}"
    );
}

#[test]
fn a_program_that_only_asks_whether_a_file_is_executable_makes_no_record() {
    let world = World::prepared(|_| {});
    let which = "import shutil, sys; sys.exit(0 if shutil.which('nl') else 127)";
    let list = ["--programs", "python3"];
    let (report, stderr) = sandbox(&world, &list, &["python3", "-c", which]);
    assert_eq!(
        (&report["end"], &report["program_facts"]["refused"]["paths"]),
        (&json!("Exited(127)"), &json!([]))
    );
    let reason = "the command may execute only the programs of its list, which may be the reason for the failure";
    assert!(
        stderr.contains(reason) && stderr.contains("add --programs NAME"),
        "{stderr}"
    );
    for (options, code) in [(&list[..], "0"), (&list[..], "2"), (&[], "127")] {
        let (_, stderr) = sandbox(
            &world,
            options,
            &["python3", "-c", &format!("exit({code})")],
        );
        assert!(!stderr.contains(reason), "{options:?}: {stderr}");
    }
}

#[test]
fn one_line_has_the_words_for_all_refused_programs() {
    let world = World::prepared(|_| {});
    let script = "id; nl /dev/null; od /dev/null; true";
    let (_, stderr) = sandbox(&world, &["--programs", "ls"], &["sh", "-c", script]);
    assert_eq!(stderr.matches("tried to run").count(), 1, "{stderr}");
    let words = stderr
        .split("does not have them: add ")
        .nth(1)
        .and_then(|rest| rest.lines().next());
    assert_eq!(words, Some("--programs id,nl,od"), "{stderr}");
    let added: Vec<&str> = words.unwrap_or_default().split(' ').collect();
    let (report, stderr) = sandbox(
        &world,
        &[&["--programs", "ls"], &added[..]].concat(),
        &["sh", "-c", script],
    );
    assert_eq!(
        named(&report["program_facts"], "refused"),
        json!({}),
        "{stderr}"
    );
}

#[test]
fn an_empty_name_in_a_list_is_explained() {
    let world = World::prepared(|_| {});
    for list in ["id,", ",id", "id,,ls"] {
        let output = exited(
            world
                .program(&["sandbox", "--programs", list, "--", "id"])
                .output()
                .expect("runs"),
            2,
        );
        assert!(
            said(&output).contains("--programs: an empty name between commas: remove one comma"),
            "{list}"
        );
    }
}

#[test]
fn no_list_is_learned_from_a_command_that_did_not_start() {
    let world = World::prepared(|_| {});
    let learn = |command: &[&str]| {
        said(
            &world
                .program(&["sandbox", "--learn", "--"])
                .args(command)
                .output()
                .expect("runs"),
        )
    };
    let text = learn(&["no-such-program"]);
    assert!(
        text.contains("the command did not start, so there is no list"),
        "{text}"
    );
    let incomplete = "the command ended with an error, so the list may be incomplete";
    assert!(
        !text.contains(incomplete) && !learn(&["id"]).contains(incomplete),
        "{text}"
    );
    let text = learn(&["id", "--no-such-option"]);
    assert!(
        text.contains("--programs id\n") && text.contains(incomplete),
        "{text}"
    );
}

#[test]
fn a_learned_list_leaves_out_what_its_programs_start() {
    const NAME: &str = "a_learned_list_leaves_out_what_its_programs_start";
    if [&["gcc", "--version"], &["make", "--version"]]
        .iter()
        .any(|one| Command::new(one[0]).arg(one[1]).output().is_err())
    {
        return not_run(NAME, "there is no gcc or no make here");
    }
    let world = World::prepared(|_| {});
    let dir = tempfile::Builder::new()
        .prefix("countersign-make-")
        .tempdir()
        .expect("a directory");
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).expect("mode");
    let tree = dir
        .path()
        .canonicalize()
        .expect("real")
        .display()
        .to_string();
    std::fs::write(dir.path().join("tool.c"), "int main(void) { return 0; }").expect("a file");
    let makefile = "all:\n\tgcc -o tool tool.c\n\t./tool\n\tls -d /\n";
    std::fs::write(dir.path().join("Makefile"), makefile).expect("a file");
    let options = ["--write", &tree, "--workdir", "copy"];
    let (report, stderr) = sandbox(&world, &[&options[..], &["--learn"]].concat(), &["make"]);
    assert_eq!(
        report["learned"]["list"],
        json!(["gcc", "ls", "make", "{work}/**"]),
        "{report} {stderr}"
    );
    let list = ["--programs", "gcc,ls,make,{work}/**"];
    let (report, stderr) = sandbox(&world, &[&options[..], &list].concat(), &["make"]);
    assert_eq!(report["end"], "Exited(0)", "{stderr}");
}

#[test]
fn the_examples_of_the_help_work() {
    let world = World::prepared(|_| {});
    let help = said(
        &world
            .program(&["sandbox", "--help"])
            .output()
            .expect("runs"),
    );
    let dir = tempfile::Builder::new()
        .prefix("countersign-help-")
        .tempdir()
        .expect("a directory");
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).expect("mode");
    let script = dir.path().join("deploy.sh");
    std::fs::write(&script, "#!/bin/sh\ngit --version\n").expect("a file");
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).expect("mode");
    let examples: Vec<&str> = help
        .lines()
        .map(str::trim)
        .filter(|line| line.ends_with("-- ./deploy.sh"))
        .collect();
    assert_eq!(examples.len(), 2, "{help}");
    for example in examples {
        let line = example.replacen("countersign", env!("CARGO_BIN_EXE_countersign"), 1);
        let output = Command::new("sh")
            .args(["-c", &line])
            .current_dir(dir.path())
            .output()
            .expect("runs");
        let text = said(&output);
        assert!(
            output.status.success() && text.contains("git version"),
            "{example}: {text}"
        );
    }
}
