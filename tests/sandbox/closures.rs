//! A program does the same work with a list that contains only the program and its closure.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::listed_programs::loader;
use crate::support::{World, exited, not_run, said};

/// The directories in which a run finds programs.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Names of files that differ between two equal tasks: the index of git contains inode numbers and times.
const VOLATILE: [&str; 1] = ["index"];
/// Settings for git with which two equal tasks create equal files.
const GIT: &str = "export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@example.org GIT_COMMITTER_NAME=a \
                   GIT_COMMITTER_EMAIL=a@example.org GIT_AUTHOR_DATE=2026-01-01T00:00:00Z \
                   GIT_COMMITTER_DATE=2026-01-01T00:00:00Z GIT_CONFIG_COUNT=3 GIT_CONFIG_KEY_0=protocol.file.allow \
                   GIT_CONFIG_VALUE_0=always GIT_CONFIG_KEY_1=pack.threads GIT_CONFIG_VALUE_1=1 \
                   GIT_CONFIG_KEY_2=init.defaultBranch GIT_CONFIG_VALUE_2=main";

/// Tasks of one test.
struct Tasks {
    test: &'static str,
    /// The value of `--programs`.
    programs: &'static str,
    /// Options of both runs.
    options: Vec<String>,
}

impl Tasks {
    fn new(test: &'static str, programs: &'static str) -> Self {
        Self {
            test,
            programs,
            options: Vec::new(),
        }
    }

    /// Runs a script without a list and with a list, each in a new directory with the same path. Asserts that the exit
    /// code, the standard output and the created files are equal. `needs` are programs without which the task is not run.
    fn same(&self, needs: &[&str], script: &str) {
        let named = self.programs.split(',').filter(|name| !name.contains('{'));
        if let Some(missing) = named
            .chain(needs.iter().copied())
            .find(|name| !is_installed(name))
        {
            return not_run(
                self.test,
                &format!("{missing} is not installed in a system directory"),
            );
        }
        let world = World::prepared(|_| {});
        let dir = tempfile::Builder::new()
            .prefix("countersign-closures-")
            .tempdir()
            .expect("a directory");
        fs::set_permissions(dir.path(), Permissions::from_mode(0o711)).expect("mode");
        let tree = dir.path().canonicalize().expect("real").join("tree");
        let without = self.result(&world, &tree, &[], script);
        assert_eq!(
            without.0,
            Some(0),
            "{script}: the task fails without a list: {without:?}"
        );
        let with = self.result(&world, &tree, &["--programs", self.programs], script);
        assert_eq!(
            (with.0, &with.1),
            (without.0, &without.1),
            "{script}: {}",
            with.3
        );
        let names = |one: &Outcome| one.2.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&with), names(&without), "{script}: {}", with.3);
        for (path, (mode, content)) in &with.2 {
            let text = |content: &[u8]| String::from_utf8_lossy(content).into_owned();
            let (other_mode, other) = &without.2[path];
            assert!(
                (mode, content) == (other_mode, other),
                "{script}: {}: {mode:o} {:?}, without a list {other_mode:o} {:?}",
                path.display(),
                text(content),
                text(other)
            );
        }
    }

    /// Returns the exit code, the standard output, the created files and all output.
    fn result(&self, world: &World, tree: &Path, list: &[&str], script: &str) -> Outcome {
        if tree.exists() {
            fs::remove_dir_all(tree).expect("removed");
        }
        fs::create_dir(tree).expect("a directory");
        fs::set_permissions(tree, Permissions::from_mode(0o777)).expect("mode");
        let mut command = world.program(&["sandbox", "--workdir", "in-place", "--write"]);
        command
            .arg(tree)
            .args(&self.options)
            .args(list)
            .args(["--", "sh", "-c"]);
        let script = format!("set -e; umask 022; cd \"$0\"; {script}");
        let output = command.arg(script).arg(tree).output().expect("runs");
        let mut files = BTreeMap::new();
        collect(tree, &mut files);
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stdout).into_owned(),
            files,
            said(&output),
        )
    }
}

type Outcome = (
    Option<i32>,
    String,
    BTreeMap<PathBuf, (u32, Vec<u8>)>,
    String,
);

/// Collects all entries below a directory, each with its mode and its content or target.
fn collect(directory: &Path, into: &mut BTreeMap<PathBuf, (u32, Vec<u8>)>) {
    for entry in fs::read_dir(directory).expect("readable").flatten() {
        let (path, metadata) = (entry.path(), entry.metadata().expect("metadata"));
        let content = if metadata.is_dir() {
            collect(&path, into);
            Vec::new()
        } else if metadata.is_symlink() {
            fs::read_link(&path)
                .expect("a link")
                .into_os_string()
                .into_encoded_bytes()
        } else if VOLATILE.iter().any(|name| path.ends_with(name)) {
            Vec::new()
        } else {
            fs::read(&path).expect("a file")
        };
        into.insert(path, (metadata.permissions().mode(), content));
    }
}

fn is_installed(name: &str) -> bool {
    PATH.split(':')
        .any(|directory| Path::new(directory).join(name).is_file())
}

/// Serves the files of a directory on a port of loopback, until the test ends. Returns the URL.
fn serve(root: PathBuf) -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let root = root.clone();
            std::thread::spawn(move || answer(stream, &root));
        }
    });
    url
}

fn answer(mut stream: TcpStream, root: &Path) {
    let mut lines = BufReader::new(stream.try_clone().expect("a stream"))
        .lines()
        .map_while(Result::ok);
    let request = lines.next().unwrap_or_default();
    lines.take_while(|line| !line.is_empty()).for_each(drop);
    let path = request
        .split(' ')
        .nth(1)
        .unwrap_or_default()
        .split('?')
        .next()
        .unwrap_or_default();
    let (status, body) = match fs::read(root.join(path.trim_start_matches('/'))) {
        Ok(body) => ("200 OK", body),
        Err(_) => ("404 Not Found", Vec::new()),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    // The client may close the connection early.
    let _ = stream.write_all(&[head.as_bytes(), &body].concat());
}

#[test]
fn git_does_the_same_work_with_its_closure() {
    let tasks = Tasks::new("git_does_the_same_work_with_its_closure", "git");
    tasks.same(
        &[],
        &format!(
            "{GIT}; git init -q a; echo x > a/f; git -C a add f; git -C a commit -qm x; git clone -q \"file://$PWD/a\" b; \
             cd b; git submodule --quiet add \"file://$PWD/../a\" sub; git commit -qm sub; git submodule status; \
             git push -q origin HEAD:refs/heads/other; git ls-remote origin"
        ),
    );
    tasks.same(
        &[],
        &format!(
            "{GIT}; git init -q a; cd a; echo 0 > f; git add f; git commit -qm 0; for n in 1 2 3; do \
             git checkout -q -b b$n main; echo $n > f$n; git add f$n; git commit -qm $n; done; git checkout -q main; \
             git merge -q -m octopus b1 b2; git merge -q -s resolve -m resolve b3; git log --oneline; git stash list; \
             git rebase -q b3; git gc -q --prune=now; git fsck; git archive --format=tar.gz -o x.tar.gz HEAD"
        ),
    );
    tasks.same(
        &[],
        &format!(
            "{GIT}; git init -q a; cd a; for n in 0 1 2 3 4; do echo $n > f; git add f; git commit -qm $n; done; \
             git bisect start HEAD HEAD~4; git bisect run sh -c 'read n < f; [ $n -lt 3 ]'; git bisect reset; \
             git format-patch -q -1; git reset -q --hard HEAD~1; git am -q 0001*; \
             git -c alias.x='!echo alias' x; git worktree add -q ../w HEAD"
        ),
    );
}

/// Creates a repository with one commit in the file `f`, of the user who runs the tests.
fn repository(path: &Path) {
    let script = format!(
        "{GIT}; git init -q \"$0\" && cd \"$0\" && echo x > f && git add f && git commit -qm x && git update-server-info"
    );
    exited(
        Command::new("sh")
            .args(["-c", &script])
            .arg(path)
            .env("HOME", path)
            .output()
            .expect("sh"),
        0,
    );
}

#[test]
fn git_clones_over_http_with_its_closure() {
    const TEST: &str = "git_clones_over_http_with_its_closure";
    if !is_installed("git") {
        return not_run(TEST, "git is not installed in a system directory");
    }
    let dir = tempfile::tempdir().expect("a directory");
    repository(&dir.path().join("a"));
    let url = serve(dir.path().to_owned());
    let tasks = Tasks {
        options: vec!["--net".into(), "host".into()],
        ..Tasks::new(TEST, "git")
    };
    tasks.same(
        &[],
        &format!("{GIT}; git clone -q {url}/a/.git b; git -C b log --format=%s; git ls-remote {url}/a/.git"),
    );
}

#[test]
fn git_clones_over_ssh_with_its_closure() {
    const TEST: &str = "git_clones_over_ssh_with_its_closure";
    for program in ["git", "ssh", "ssh-keygen", "sshd"] {
        if !is_installed(program) {
            return not_run(
                TEST,
                &format!("{program} is not installed in a system directory"),
            );
        }
    }
    let dir = tempfile::Builder::new()
        .prefix("countersign-ssh-")
        .tempdir()
        .expect("a directory");
    fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).expect("mode");
    let at = |name: &str| dir.path().join(name).display().to_string();
    repository(&dir.path().join("a"));
    for name in ["client", "server"] {
        let done = Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-f", &at(name)])
            .output();
        assert!(done.expect("ssh-keygen").status.success());
    }
    let root = rustix::process::geteuid().is_root();
    let config = format!(
        "HostKey {}\nAuthorizedKeysFile {}\nPidFile none\nStrictModes no\nPermitRootLogin yes\nUsePAM no\n",
        at("server"),
        at("client.pub")
    );
    fs::write(at("config"), config).expect("a file");
    let port = serve_ssh(at("config"), root);
    let user = Command::new("id").arg("-un").output().expect("id");
    let host = format!("{}@127.0.0.1", String::from_utf8_lossy(&user.stdout).trim());
    let url = format!("ssh://{host}:{port}{}", at("a"));
    let ssh = format!(
        "ssh -F none -i {} -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null",
        at("client")
    );
    let probe = format!("{ssh} -o BatchMode=yes -p {port} {host} git --version");
    let login = Command::new("sh")
        .args(["-c", &probe])
        .output()
        .expect("sh");
    if !login.status.success() {
        return not_run(TEST, "the user of the tests can't log in over ssh");
    }
    // A run of root has its own user id and reads the key as a file of another user.
    fs::set_permissions(
        at("client"),
        Permissions::from_mode(if root { 0o644 } else { 0o600 }),
    )
    .expect("mode");
    let options = [
        "--net",
        "host",
        "--read",
        dir.path().to_str().expect("text"),
    ]
    .map(str::to_owned)
    .into();
    let tasks = Tasks {
        options,
        ..Tasks::new(TEST, "git")
    };
    tasks.same(
        &[],
        &format!(
            "{GIT}; export GIT_SSH_COMMAND='{ssh}'; git clone -q {url} b; git -C b log --format=%s"
        ),
    );
}

/// Answers each connection to a port of loopback with a new sshd. Returns the port.
fn serve_ssh(config: String, root: bool) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let port = listener.local_addr().expect("an address").port();
    // An sshd of root needs the directory /run/sshd, which a host without a running service may not have.
    let script = "mount -t tmpfs none /run && mkdir /run/sshd && exec \"$0\" -i -e -f \"$1\"";
    let sshd = PATH
        .split(':')
        .map(|at| Path::new(at).join("sshd"))
        .find(|path| path.is_file())
        .expect("sshd");
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut command = if root {
                Command::new("unshare")
            } else {
                Command::new(&sshd)
            };
            if root {
                command
                    .args(["--mount", "sh", "-c", script])
                    .arg(&sshd)
                    .arg(&config);
            } else {
                command.args(["-i", "-e", "-f", &config]);
            }
            let input = OwnedFd::from(stream.try_clone().expect("a stream"));
            let _ = command
                .stdin(input)
                .stdout(OwnedFd::from(stream))
                .stderr(Stdio::null())
                .status();
        }
    });
    port
}

#[test]
fn gcc_does_the_same_work_with_its_closure() {
    let tasks = Tasks::new("gcc_does_the_same_work_with_its_closure", "gcc");
    let sources = "echo 'int f(void); int main(void) { return f(); }' > a.c; echo 'int f(void) { return 0; }' > b.c";
    tasks.same(
        &[],
        &format!("{sources}; gcc -Wall -O2 -g a.c b.c -o program; gcc -E a.c; gcc -S b.c"),
    );
    tasks.same(
        &["make"],
        &format!(
            "{sources}; gcc -frandom-seed=1 -flto=2 -flto-partition=max -O2 a.c b.c -o program"
        ),
    );
    tasks.same(
        &[],
        &format!(
            "{sources}; gcc -shared -fPIC b.c -o libb.so; gcc a.c -L. -lb -o program; echo 'template <class T> T f(T x) \
             {{ return x; }} int main() {{ return f(0); }}' > c.cc; gcc c.cc -c -o c.o; gcc -fuse-ld=bfd c.o -o c"
        ),
    );
}

#[test]
fn gcc_finds_its_programs_and_its_plugin_in_libexec() {
    const TEST: &str = "gcc_finds_its_programs_and_its_plugin_in_libexec";
    if !is_installed("gcc") {
        return not_run(TEST, "gcc is not installed in a system directory");
    }
    let asked = Command::new("gcc")
        .arg("-print-prog-name=cc1")
        .output()
        .expect("gcc");
    let cc1 = PathBuf::from(String::from_utf8_lossy(&asked.stdout).trim());
    let Ok(below) = cc1
        .parent()
        .expect("a directory")
        .strip_prefix("/usr/lib/gcc")
    else {
        return not_run(TEST, "the programs of this gcc are not below /usr/lib/gcc");
    };
    // The mount namespace has the programs only below /usr/libexec, as on other distributions.
    let script = "set -e; root=$(mktemp -d); mount -t tmpfs none $root; mkdir $root/gcc; mount --bind /usr/lib/gcc $root/gcc; \
                  mount -t tmpfs none /usr/libexec; mkdir /usr/libexec/gcc; mount --bind $root/gcc /usr/libexec/gcc; \
                  for f in cc1 collect2 lto-wrapper lto1 liblto_plugin.so; do mount --bind /dev/null /usr/lib/gcc/$1/$f; done; \
                  for list in '' '--programs gcc'; do $0 sandbox $list -- sh -ec 'echo \"int main(void) { return 0; }\" > a.c; \
                  gcc -B/usr/libexec/gcc/$0/ a.c -o a; gcc -B/usr/libexec/gcc/$0/ -flto a.c -o b; echo done' $1; done";
    let mut command = Command::new("unshare");
    command.args([
        "--user",
        "--map-root-user",
        "--mount",
        "sh",
        "-c",
        script,
        env!("CARGO_BIN_EXE_countersign"),
    ]);
    let output = command.arg(below).output().expect("unshare");
    if said(&output).contains("unshare failed") {
        return not_run(TEST, "this user can't create a user namespace");
    }
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "done\ndone\n",
        "{}",
        said(&output)
    );
}

#[test]
fn clang_does_the_same_work_with_its_closure() {
    let tasks = Tasks::new("clang_does_the_same_work_with_its_closure", "clang");
    tasks.same(
        &[],
        "echo 'int main(void) { return 0; }' > a.c; clang -O2 a.c -o a; clang -fno-integrated-as -c a.c -o a.o; clang -S a.c",
    );
}

#[test]
fn rustc_does_the_same_work_with_its_closure() {
    let tasks = Tasks::new("rustc_does_the_same_work_with_its_closure", "rustc");
    tasks.same(
        &["cc"],
        "echo 'fn main() {}' > a.rs; rustc a.rs -o a; rustc --print sysroot",
    );
}

#[test]
fn java_does_the_same_work_with_its_closure() {
    let tasks = Tasks::new("java_does_the_same_work_with_its_closure", "java");
    let class = "public class A { public static void main(String[] a) throws Exception { System.out.println(\
                 new ProcessBuilder(\"java\", \"-version\").start().waitFor()); } }";
    tasks.same(&["javac"], &format!("echo '{class}' > A.java; java A.java"));
}

#[test]
fn tar_does_the_same_work_with_its_closure() {
    let tasks = Tasks::new("tar_does_the_same_work_with_its_closure", "tar");
    for (option, program) in [
        ("z", "gzip"),
        ("J", "xz"),
        ("j", "bzip2"),
        ("-zstd", "zstd"),
        ("-lzip", "lzip"),
    ] {
        tasks.same(
            &[program],
            &format!(
                "echo x > a; echo y > b; tar -c -{option} -f x.tar --mtime=@0 --owner=0 --group=0 a b; tar -tf x.tar; \
                 tar -xf x.tar -O a"
            ),
        );
    }
}

#[test]
fn make_does_the_same_work_with_its_closure() {
    let tasks = Tasks::new("make_does_the_same_work_with_its_closure", "make");
    tasks.same(
        &[],
        "printf 'out: in\\n\\tread x < in; echo $$x > out\\n' > Makefile; echo 1 > in; make; make",
    );
    tasks.same(
        &[],
        "printf 'all:\\n\\t$(MAKE) -s -f Inner\\n' > Makefile; printf 'all: ; echo inner > out\\n' > Inner; make -s",
    );
    tasks.same(
        &[],
        "printf 'X := $(shell echo hi;)\\nall: a.x b.x\\n%%.x: ; echo $(X) $* > $@\\n' > Makefile; make -s -j2; make -n",
    );
}

#[test]
fn python_does_the_same_work_with_its_closure() {
    let tasks = Tasks::new("python_does_the_same_work_with_its_closure", "python3");
    tasks.same(&[], "python3 -c 'import json, hashlib; print(json.dumps({\"a\": hashlib.sha256(b\"\").hexdigest()}))'");
    tasks.same(
        &[],
        "python3 -c 'import ctypes.util; print(ctypes.util.find_library(\"c\"))'",
    );
    tasks.same(
        &[],
        "python3 -m venv --without-pip v; v/bin/python -c 'import subprocess, sys; open(\"out\", \"w\").write(sys.prefix); \
         subprocess.check_call([sys.executable, \"-c\", \"print(6 * 7)\"])'",
    );
}

#[test]
fn node_does_the_same_work_with_its_closure() {
    let tasks = Tasks::new("node_does_the_same_work_with_its_closure", "node");
    tasks.same(
        &[],
        "node -e 'require(\"fs\").writeFileSync(\"out\", JSON.stringify({a: 6 * 7}))'",
    );
    tasks.same(
        &[],
        "node -e 'console.log(require(\"child_process\").execSync(\"echo hi\").toString())'",
    );
    tasks.same(
        &[],
        "node -e 'const c = require(\"child_process\"); console.log(c.execFileSync(process.execPath, [\"-p\", \"1+1\"]).toString())'",
    );
}

#[test]
fn npm_does_the_same_work_with_its_closure() {
    let tasks = Tasks::new("npm_does_the_same_work_with_its_closure", "npm");
    let package =
        r#"{"name": "x", "version": "1.0.0", "scripts": {"x": "echo hi > out; node -p 1+1"}}"#;
    tasks.same(
        &["node"],
        &format!("echo '{package}' > package.json; npm run --silent x"),
    );
    tasks.same(
        &["node"],
        &format!("echo '{package}' > package.json; npm pack --silent"),
    );
    tasks.same(
        &["node"],
        &format!(
            "mkdir_() {{ node -e 'require(\"fs\").mkdirSync(\"y\")'; }}; mkdir_; echo '{package}' > y/package.json; \
             echo '{{\"name\": \"z\"}}' > package.json; npm install --silent --offline --no-audit ./y; npm ls --parseable"
        ),
    );
}

#[test]
fn perl_does_the_same_work_with_its_closure() {
    let tasks = Tasks::new("perl_does_the_same_work_with_its_closure", "perl");
    tasks.same(&[], "perl -MPOSIX -e 'print floor(7.9), \"\\n\"'");
    tasks.same(
        &[],
        "echo b > in; echo a >> in; perl -i -pe 's/a/c/' in; perl -e 'print sort <>' in",
    );
    tasks
        .same(&[], "perl -e 'print `echo one; echo two`; open my $f, \">\", \"out\"; print $f join \",\", glob \"*\"'");
}

#[test]
fn ssh_does_the_same_work_with_its_closure() {
    let tasks = Tasks::new("ssh_does_the_same_work_with_its_closure", "ssh");
    tasks.same(&[], "ssh -V; ssh -Q cipher");
    tasks.same(&[], "ssh -F none -G -p 2222 someone@host.example");
    // A shell starts the second ssh.
    tasks.same(
        &[],
        "ssh -F none -J 127.0.0.1:9 -o BatchMode=yes host.example 2>&1 || echo code=$?",
    );
    Tasks::new("ssh_does_the_same_work_with_its_closure", "ssh-keygen").same(
        &[],
        "ssh-keygen -q -t ed25519 -N '' -f /tmp/key; ssh-keygen -y -f /tmp/key > /tmp/other; ssh-keygen -l -f /tmp/other > /tmp/l; \
         read bits rest < /tmp/l; echo $bits",
    );
}

#[test]
fn curl_does_the_same_work_with_its_closure() {
    let dir = tempfile::tempdir().expect("a directory");
    fs::write(dir.path().join("page"), "a page\n").expect("a file");
    let url = serve(dir.path().to_owned());
    let options = vec!["--net".into(), "host".into()];
    let tasks = Tasks {
        options,
        ..Tasks::new("curl_does_the_same_work_with_its_closure", "curl")
    };
    tasks.same(&[], &format!("curl -sS -D head -o body {url}/page"));
    tasks.same(
        &[],
        &format!(
            "curl -sS -w '%{{http_code}}' {url}/page {url}/none; curl -f -sS {url}/none || echo $?"
        ),
    );
    tasks.same(&[], "echo local > f; curl -sS \"file://$PWD/f\"");
}

#[test]
fn jq_does_the_same_work_with_its_closure() {
    let tasks = Tasks::new("jq_does_the_same_work_with_its_closure", "jq");
    tasks.same(&[], "echo '{\"a\": [1, 2, 3]}' | jq '.a | add'");
    tasks.same(&[], "jq -n '[range(5)] | map(. * 2)' > out; jq -c . out");
    tasks.same(
        &[],
        "jq -rn --arg x y '\"\\($x) \\(\"a,b\" | split(\",\") | length)\"'",
    );
}

#[test]
fn core_utilities_do_the_same_work_with_their_closures() {
    const TEST: &str = "core_utilities_do_the_same_work_with_their_closures";
    Tasks::new(TEST, "sort,uniq,wc,tr").same(
        &[],
        "printf 'b\\na\\nb\\n' | sort | uniq -c | tr a-z A-Z; echo x | wc -c",
    );
    Tasks::new(TEST, "mkdir,cp,mv,ln,chmod,ls,rm")
        .same(&[], "mkdir -p a/b; echo x > a/b/c; cp -r a d; mv d/b e; ln -s e/c l; chmod 700 e; rm -r a; ls -R");
    Tasks::new(TEST, "sha256sum,head,cut,cat,seq,env").same(
        &[],
        "seq 9 > n; head -n 3 n | cut -c1 > m; cat n m | sha256sum; env -i X=1 cat m",
    );
}

#[test]
fn a_closure_opens_no_other_program_in_the_directories_of_its_programs() {
    const TEST: &str = "a_closure_opens_no_other_program_in_the_directories_of_its_programs";
    let world = World::prepared(|_| {});
    for name in ["git", "gcc", "clang"] {
        if !is_installed(name) {
            not_run(
                TEST,
                &format!("{name} is not installed in a system directory"),
            );
            continue;
        }
        let output = world
            .program(&["sandbox", "--json", "--explain", "--programs", name])
            .output()
            .expect("runs");
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let entries = report["programs"].as_array().expect("a list").iter();
        let listed: Vec<PathBuf> = entries
            .map(|one| {
                Path::new(one["path"].as_str().expect("text"))
                    .canonicalize()
                    .expect("real")
            })
            .collect();
        let mut others: Vec<String> = listed
            .iter()
            .filter_map(|path| {
                path.parent()
                    .filter(|directory| !PATH.split(':').any(|at| *directory == Path::new(at)))
            })
            .flat_map(|directory| fs::read_dir(directory).expect("readable").flatten())
            .map(|entry| entry.path())
            .filter(|path| {
                !path.is_symlink() && path.is_file() && !path.to_string_lossy().contains(".so")
            })
            .filter(|path| {
                path.metadata()
                    .is_ok_and(|found| found.permissions().mode() & 0o111 != 0)
            })
            .filter(|path| !listed.contains(path))
            .map(|path| path.display().to_string())
            .collect();
        others.sort();
        others.dedup();
        if others.is_empty() {
            not_run(
                TEST,
                &format!("{name} has no other programs in the directories of its programs"),
            );
            continue;
        }
        let script = format!(
            "for p in {}; do {} --verify $p && echo mapped $p; $p --version && echo started $p; done; echo the end",
            others.join(" "),
            loader()
        );
        let output = world
            .program(&["sandbox", "--programs", name, "--", "sh", "-c", &script])
            .output()
            .expect("runs");
        assert_eq!(
            String::from_utf8_lossy(&output.stdout),
            "the end\n",
            "{name}: {}",
            said(&output)
        );
    }
}
