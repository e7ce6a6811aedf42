//! Common programs in a strict sandbox, many parallel runs, and changes that the host makes to a run's files.

use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use documents::{Level, Limits, Proc, Profile, STRICT, Workdir};
use sandbox::{CancelFlag, End, LocalSandbox, Plan, Setup};

use crate::runs::plan;
use crate::support;

struct Bench {
    home: tempfile::TempDir,
    sandbox: LocalSandbox,
}

impl Bench {
    fn new() -> Self {
        let home = tempfile::Builder::new()
            .prefix("countersign-programs-")
            .tempdir()
            .expect("a directory");
        std::fs::set_permissions(home.path(), std::fs::Permissions::from_mode(0o755))
            .expect("mode");
        for (name, mode) in [("scratch", 0o711), ("spool", 0o700), ("tree", 0o777)] {
            std::fs::create_dir(home.path().join(name)).expect("a directory");
            std::fs::set_permissions(
                home.path().join(name),
                std::fs::Permissions::from_mode(mode),
            )
            .expect("mode");
        }
        let sandbox = LocalSandbox::open(&Setup {
            helper: Some(env!("CARGO_BIN_EXE_countersign").into()),
            scratch: home.path().join("scratch"),
            spool: home.path().join("spool"),
            private: vec![],
            unwritable: vec![],
        })
        .expect("a sandbox");
        assert_eq!(
            sandbox.probe().level(),
            Level::Strict,
            "{:#?}",
            sandbox.probe().layers
        );
        Self { home, sandbox }
    }

    fn tree(&self) -> PathBuf {
        self.home.path().canonicalize().expect("real").join("tree")
    }

    /// Returns the end of the run and its output: first stdout, then stderr.
    fn run(&self, profile: &Profile, language: &str, script: &str) -> (End, String) {
        let prepared = self.sandbox.check(profile).expect("can be held");
        let env = vec![("TREE".into(), self.tree().display().to_string())];
        let plan = Plan {
            env,
            ..plan(language, script)
        };
        let mut report = self.sandbox.run(
            prepared,
            plan,
            &mut |_| {},
            &CancelFlag::new().expect("a flag"),
        );
        let mut said = String::new();
        for capture in [&mut report.stdout, &mut report.stderr] {
            let mut bytes = Vec::new();
            capture
                .recorded
                .reader()
                .expect("readable")
                .read_to_end(&mut bytes)
                .expect("readable");
            said.push_str(&String::from_utf8_lossy(&bytes));
        }
        (report.end, said)
    }
}

/// A profile without sandbox permissions. The timeout is long because the host may be busy.
fn profile() -> Profile {
    Profile::nothing(
        STRICT.to_vec(),
        Limits {
            wall_ms: 60_000,
            ..Limits::default()
        },
    )
}

/// Returns false and reports the test as not run if the program is not installed.
fn is_installed(test: &str, program: &str) -> bool {
    let there = ["/usr/bin", "/bin", "/usr/local/bin"]
        .iter()
        .any(|directory| Path::new(directory).join(program).exists());
    if !there {
        support::not_run(
            test,
            &format!("{program} is not installed in a system directory"),
        );
    }
    there
}

/// One entry per script: the program that must be in a system directory, the language, the script, the last line that
/// the script prints, and whether the script needs the whole of /proc (`full`).
const PROGRAMS: &[(&str, &str, &str, &str, bool)] = &[
    (
        "bash",
        "bash",
        "a=(1 2 3); shopt -s extglob; [[ ${#a[@]} == 3 ]] && echo ok",
        "ok",
        false,
    ),
    ("dash", "sh", "dash -c 'echo $((6*7))'", "42", false),
    (
        "python3",
        "python",
        "import threading\nr=[]\nt=[threading.Thread(target=r.append,args=(i,)) for i in range(8)]\n[x.start() for x in t]; [x.join() for x in t]\nprint(len(r))",
        "8",
        false,
    ),
    (
        "python3",
        "python",
        "import multiprocessing as m\nif __name__=='__main__':\n    with m.get_context('fork').Pool(2) as p: print(sum(p.map(abs,[-1,-2,-3])))",
        "6",
        false,
    ),
    (
        "python3",
        "python",
        "import sqlite3\nc=sqlite3.connect('x.db'); c.execute('create table t(a)'); c.execute('insert into t values(7)'); c.commit(); print(c.execute('select a from t').fetchone()[0])",
        "7",
        false,
    ),
    (
        "python3",
        "bash",
        "/usr/bin/python3 -m venv --without-pip v && v/bin/python -c 'import sys; print(sys.prefix != sys.base_prefix)'",
        "True",
        false,
    ),
    (
        "node",
        "node",
        "const {execSync}=require('child_process'); new Promise(r=>setTimeout(r,5)).then(()=>console.log(execSync('echo ok').toString().trim()))",
        "ok",
        false,
    ),
    (
        "git",
        "bash",
        "git init -q a && cd a && git -c user.name=a -c user.email=a@b commit -q --allow-empty -m x && cd .. && git clone -q a b 2>/dev/null && git -C b log --oneline | wc -l",
        "1",
        false,
    ),
    (
        "tar",
        "bash",
        "mkdir d && echo hi > d/f && tar czf a.tgz d && rm -r d && tar xzf a.tgz && cat d/f",
        "hi",
        false,
    ),
    ("gzip", "bash", "echo hi | gzip -9 | gzip -d", "hi", false),
    (
        "find",
        "bash",
        "mkdir -p a/b && touch a/b/c && find a -name c -newermt 2000-01-01 | wc -l",
        "1",
        false,
    ),
    (
        "xargs",
        "bash",
        "seq 10 | xargs -P 4 -n 2 echo | wc -l",
        "5",
        false,
    ),
    (
        "sort",
        "bash",
        "seq 400000 | sort -R -S 1M | sort -n -S 1M -T /tmp | tail -1",
        "400000",
        false,
    ),
    (
        "awk",
        "bash",
        "seq 5 | awk '{s+=$1} END {print s}'",
        "15",
        false,
    ),
    (
        "sed",
        "bash",
        "echo abc > f && sed -i s/b/x/ f && cat f",
        "axc",
        false,
    ),
    (
        "jq",
        "bash",
        "echo '{\"a\":[1,2]}' | jq -c '.a|add'",
        "3",
        false,
    ),
    (
        "make",
        "bash",
        "printf 'all: x\\n\\t@cat x\\nx:\\n\\t@echo made > x\\n' > Makefile && make -s -j2",
        "made",
        false,
    ),
    (
        "gcc",
        "bash",
        "echo 'int puts(const char*); int main(void){puts(\"built\");return 0;}' > a.c && gcc -O1 a.c -o a && ./a",
        "built",
        false,
    ),
    (
        "ssh-keygen",
        "bash",
        "ssh-keygen -q -t ed25519 -N '' -f k && ssh-keygen -lf k.pub | grep -c ED25519",
        "1",
        false,
    ),
    (
        "openssl",
        "bash",
        "openssl genpkey -algorithm ed25519 -out k.pem && echo hi > m && openssl pkeyutl -sign -inkey k.pem -rawin -in m | wc -c",
        "64",
        false,
    ),
    ("date", "bash", "date -u -d @0 +%Y", "1970", false),
    (
        "nproc",
        "bash",
        "[ \"$(nproc)\" -ge 1 ] && echo ok",
        "ok",
        false,
    ),
    ("free", "bash", "free -m | grep -c Mem", "1", true),
    ("ps", "bash", "ps -e > list && grep -c bash list", "1", true),
    (
        "mktemp",
        "bash",
        "f=$(mktemp) && d=$(mktemp -d) && [ -f \"$f\" ] && [ -d \"$d\" ] && echo ok",
        "ok",
        false,
    ),
    (
        "bash",
        "bash",
        "diff <(echo a) <(echo a) && paste <(echo x) <(echo y)",
        "x\ty",
        false,
    ),
    ("bash", "bash", "cat <<EOT\n$((1+1))\nEOT", "2", false),
    (
        "bash",
        "bash",
        "for i in 1 2 3; do sleep 0.0$i & done; wait; jobs; echo waited",
        "waited",
        false,
    ),
    (
        "python3",
        "python",
        "import socket,threading\ns=socket.create_server(('127.0.0.1',0))\nthreading.Thread(target=lambda:s.accept()[0].sendall(b'hello')).start()\nprint(socket.create_connection(s.getsockname()).recv(9).decode())",
        "hello",
        false,
    ),
    (
        "mkfifo",
        "bash",
        "mkfifo p && (echo through > p &) && cat p",
        "through",
        false,
    ),
    (
        "flock",
        "bash",
        "exec 9> l; flock 9 && flock -n l true || echo locked",
        "locked",
        false,
    ),
    (
        "perl",
        "bash",
        "perl -MList::Util=sum -e 'print sum(1..4), \"\\n\"'",
        "10",
        false,
    ),
    (
        "go",
        "bash",
        "mkdir m && cd m && printf 'package main\\nfunc main(){println(\"go\")}\\n' > a.go && GOCACHE=/tmp/c GOPATH=/tmp/g go run a.go 2>&1",
        "go",
        false,
    ),
];

#[test]
fn common_programs_work_in_a_strict_sandbox() {
    let bench = Bench::new();
    let mut wrong = Vec::new();
    for (program, language, script, expected, full) in PROGRAMS {
        if !is_installed("common_programs_work_in_a_strict_sandbox", program) {
            continue;
        }
        let profile = Profile {
            proc: if *full { Proc::Full } else { Proc::Minimal },
            ..profile()
        };
        let (end, said) = bench.run(&profile, language, script);
        if end != End::Exited(0) || said.lines().last() != Some(*expected) {
            wrong.push(format!("{program}: {script}\n  {end:?} {said}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(PROGRAMS.len() >= 30);
}

/// In a live tree, the step's files stay on the host, so the seccomp filter refuses more system calls.
#[test]
fn common_programs_work_in_a_live_tree() {
    let bench = Bench::new();
    let live = Profile {
        write: vec![bench.tree().display().to_string()],
        workdir: Workdir::InPlace,
        ..profile()
    };
    let mut wrong = Vec::new();
    let wanted = [
        "git",
        "tar",
        "gzip",
        "find",
        "sort",
        "sed",
        "make",
        "ssh-keygen",
        "mktemp",
        "mkfifo",
        "flock",
        "perl",
    ];
    for (number, (program, language, script, expected, full)) in PROGRAMS.iter().enumerate() {
        // Each script has its own directory in the tree. Of the Python scripts, only those that create files run here.
        let python = *language == "python" && script.contains("sqlite3");
        if *full || !(wanted.contains(program) || python || script.contains("venv")) {
            continue;
        }
        if !is_installed("common_programs_work_in_a_live_tree", program) {
            continue;
        }
        let script = match *language {
            "python" => format!("import os; os.mkdir('{number}'); os.chdir('{number}')\n{script}"),
            _ => format!("mkdir {number} && cd {number}\n{script}"),
        };
        let (end, said) = bench.run(&live, language, &script);
        if end != End::Exited(0) || said.lines().last() != Some(*expected) {
            wrong.push(format!("{program}: {script}\n  {end:?} {said}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(
        std::fs::read_dir(bench.tree()).expect("the tree").count() >= 8,
        "too few are installed"
    );
}

#[test]
fn two_parallel_steps_cannot_see_each_other() {
    let bench = Bench::new();
    let mut profile = profile();
    (profile.write, profile.workdir) = (vec![bench.tree().display().to_string()], Workdir::Overlay);
    profile.proc = Proc::Full;
    let script = r#"
import os, socket, time
mine = open("/proc/self/stat").read().split()[0]
open(os.environ["TREE"] + "/of-one", "x").close()
open("/tmp/of-one", "x").close(); open("/dev/shm/of-one", "x").close()
server = socket.create_server(("127.0.0.1", 7171))
name = socket.socket(socket.AF_UNIX); name.bind("\0of-one"); name.listen()
time.sleep(1.0)
print(sorted(n for n in os.listdir("/tmp") if not n.startswith("countersign-")), sorted(os.listdir("/dev/shm")), sorted(os.listdir(os.environ["TREE"])), len([p for p in os.listdir("/proc") if p.isdigit()]))
"#;
    let said: Vec<_> = std::thread::scope(|scope| {
        let runs: Vec<_> = (0..2)
            .map(|_| scope.spawn(|| bench.run(&profile, "python", script)))
            .collect();
        runs.into_iter()
            .map(|run| run.join().expect("no panic"))
            .collect()
    });
    for (end, said) in said {
        // Both runs can create the same names. Each run sees only its own files and two processes: pid 1 and itself.
        assert_eq!(end, End::Exited(0), "{said}");
        assert_eq!(said, "['of-one', 'work'] ['of-one'] ['of-one'] 2\n");
    }
    assert_eq!(
        std::fs::read_dir(bench.tree()).expect("the tree").count(),
        0,
        "nothing of it is on the host"
    );
}

/// The host replaces a denied file while a run reads the file. A copy and an overlay must not show the file.
#[test]
fn a_run_cannot_access_a_denied_file_that_the_host_replaces() {
    let bench = Bench::new();
    let secret = bench.tree().join(".env");
    for workdir in [Workdir::Copy, Workdir::Overlay] {
        std::fs::write(&secret, "the secret").expect("a file");
        let mut profile = profile();
        (profile.write, profile.workdir) = (vec![bench.tree().display().to_string()], workdir);
        profile.deny = vec!["**/.env".into()];
        let script = "echo begun > /dev/stderr; for i in $(seq 60); do cat \"$TREE/.env\" 2>/dev/null; sleep 0.01; done; echo done";
        let (end, said) = std::thread::scope(|scope| {
            let run = scope.spawn(|| bench.run(&profile, "bash", script));
            for number in 0..60 {
                let new = bench.tree().join("new");
                std::fs::write(&new, format!("the secret {number}")).expect("a file");
                std::fs::rename(&new, &secret).expect("replaced");
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
            run.join().expect("no panic")
        });
        assert_eq!(
            (end, said.contains("secret"), said.contains("done")),
            (End::Exited(0), false, true),
            "{workdir:?}: {said}"
        );
    }
}

#[test]
fn five_hundred_parallel_runs_all_end_with_the_correct_outcome() {
    let bench = Bench::new();
    let profile = Profile {
        limits: Limits {
            memory_bytes: 256 << 20,
            ..profile().limits
        },
        ..profile()
    };
    let (width, each) = (50, 10);
    std::thread::scope(|scope| {
        let runs: Vec<_> = (0..width)
            .map(|lane| {
                let (bench, profile) = (&bench, &profile);
                scope.spawn(move || {
                    for number in 0..each {
                        let code = (lane * each + number) % 200;
                        let (end, said) =
                            bench.run(profile, "sh", &format!("echo {lane}-{number}; exit {code}"));
                        assert_eq!(
                            (end, said),
                            (End::Exited(code as u8), format!("{lane}-{number}\n"))
                        );
                    }
                })
            })
            .collect();
        for run in runs {
            run.join().expect("no panic");
        }
    });
    assert_eq!(
        std::fs::read_dir(bench.home.path().join("scratch"))
            .expect("scratch")
            .count(),
        0
    );
}
