//! Everyday commands end under a closed list of programs as they end without a list.

use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use sandbox::program_path;

use crate::support::{World, not_run, said};

/// The programs that a program starts for its work. A path with `*` means all files that match.
const STARTED: [(&str, &str); 13] = [
    ("tar", "gzip,bzip2,xz,zstd"),
    ("gunzip", "gzip"),
    ("zcat", "gzip"),
    (
        "gcc",
        "as,ld,/usr/lib/gcc/*/*/cc1,/usr/lib/gcc/*/*/collect2,/usr/lib/gcc/*/*/lto-wrapper,/usr/lib/gcc/*/*/lto1,/usr/libexec/gcc/*/*/cc1,/usr/libexec/gcc/*/*/collect2",
    ),
    (
        "g++",
        "as,ld,/usr/lib/gcc/*/*/cc1plus,/usr/lib/gcc/*/*/collect2,/usr/lib/gcc/*/*/lto-wrapper,/usr/libexec/gcc/*/*/cc1plus,/usr/libexec/gcc/*/*/collect2",
    ),
    ("make", "sh"),
    ("npm", "node,sh"),
    (
        "git",
        "git-upload-pack,sh,/usr/lib/git-core/git,/usr/libexec/git-core/git,/usr/local/libexec/git-core/git,/usr/local/libexec/git-core/git-sh-i18n--envsubst",
    ),
    ("python3", "ldconfig"),
    ("sort", "gzip"),
    ("gpg", "gpg-agent,gpgconf,gpgsm"),
    ("zip", "unzip"),
    ("javac", "java"),
];

/// The programs of a script, and the script.
const COMMANDS: [(&str, &str); 68] = [
    ("tar", "echo x > a; tar cf t.tar a; tar tf t.tar"),
    (
        "tar,gzip",
        "echo x > a; tar czf t.tgz a; rm -f a 2> /dev/null; tar xzf t.tgz -O",
    ),
    ("tar,xz", "echo x > a; tar cJf t.txz a && tar tJf t.txz"),
    (
        "tar,zstd",
        "echo x > a; tar --zstd -cf t.tzst a && tar --zstd -tf t.tzst",
    ),
    ("gzip", "echo x | gzip -9 | gzip -dc"),
    ("bzip2", "echo x | bzip2 | bzip2 -dc"),
    ("xz", "echo x | xz | xz -dc"),
    ("zstd", "echo x | zstd -q | zstd -dqc"),
    ("gzip,zcat", "echo x | gzip > a.gz; zcat a.gz"),
    ("zip,unzip", "echo x > a; zip -q a.zip a && unzip -p a.zip"),
    ("python3", "python3 -c 'print(sum(range(10)))'"),
    (
        "python3",
        "python3 -c 'import multiprocessing as m\nwith m.Pool(2) as p: print(p.map(abs, [-1, -2]))'",
    ),
    (
        "python3",
        "python3 -c 'from multiprocessing import shared_memory as s; m = s.SharedMemory(create=True, size=9); m.buf[0] = 7; print(m.buf[0]); m.close(); m.unlink()'",
    ),
    (
        "python3",
        "python3 -c 'import threading; t = [threading.Thread(target=print, args=(\"x\",)) for _ in range(4)]; [i.start() for i in t]; [i.join() for i in t]'",
    ),
    (
        "python3",
        "python3 -c 'import asyncio\nasync def f(): await asyncio.sleep(0); return 5\nprint(asyncio.run(f()))'",
    ),
    (
        "python3,ls",
        "python3 -c 'import subprocess; print(subprocess.run([\"ls\", \"-d\", \"/usr\"], capture_output=True).stdout)'",
    ),
    (
        "python3",
        "python3 -c 'import json, ssl, sqlite3, ctypes, hashlib, zlib, lzma, bz2, decimal; print(ssl.OPENSSL_VERSION, hashlib.sha256(b\"\").hexdigest())'",
    ),
    (
        "python3",
        "python3 -c 'import ctypes.util; print(ctypes.util.find_library(\"z\"))'",
    ),
    (
        "python3",
        "echo 'print(1)' > m.py; python3 -m py_compile m.py && python3 m.py",
    ),
    (
        "python3",
        "python3 -c 'import tempfile; f = tempfile.TemporaryFile(); f.write(b\"x\"); print(f.tell())'",
    ),
    (
        "node",
        "node -e 'console.log([1, 2, 3].map(x => x * 2).join())'",
    ),
    (
        "node",
        "node -e 'const { Worker } = require(\"worker_threads\"); new Worker(\"require(\\\"worker_threads\\\").parentPort.postMessage(4)\", { eval: true }).on(\"message\", console.log)'",
    ),
    (
        "node,ls",
        "node -e 'console.log(require(\"child_process\").execFileSync(\"ls\", [\"-d\", \"/usr\"]).toString())'",
    ),
    (
        "node",
        "node -e 'console.log(require(\"crypto\").createHash(\"sha256\").update(\"\").digest(\"hex\"))'",
    ),
    (
        "npm",
        "echo '{\"name\": \"x\", \"version\": \"1.0.0\", \"scripts\": {\"t\": \"echo it runs\"}}' > package.json; npm run -s t",
    ),
    (
        "perl",
        "perl -MList::Util=sum -e 'print sum(1 .. 9), \"\\n\"'",
    ),
    (
        "perl",
        "perl -MPOSIX -MData::Dumper -MDigest::SHA -e 'print floor(2.5), Dumper([1])'",
    ),
    (
        "awk",
        "printf '1 2\\n3 4\\n' | awk '{ s += $2 } END { print s }'",
    ),
    (
        "sed",
        "echo abc | sed -E 's/(b)/[\\1]/'; echo x > f; sed -i s/x/y/ f; read -r l < f; echo $l",
    ),
    (
        "gcc",
        "echo 'int main(void) { return 7; }' > x.c; gcc -O2 -Wall -c x.c && echo compiled && gcc x.o -o x && echo linked",
    ),
    (
        "gcc,ar,nm",
        "echo 'int f(void) { return 7; }' > x.c; gcc -c x.c && ar rcs x.a x.o && nm x.a",
    ),
    (
        "g++",
        "printf '#include <vector>\\nint main() { return std::vector<int>(3).size(); }\\n' > x.cc; g++ -c x.cc && echo compiled",
    ),
    (
        "gcc,{work}/**",
        "echo 'int main(void) { return 7; }' > x.c; gcc x.c -o x && ./x; echo $?",
    ),
    (
        "make,touch",
        "printf 'all: a b\\na b:\\n\\ttouch $@; echo made $@ | sort\\n' > Makefile; make -s all",
    ),
    (
        "make,touch",
        "printf 'all: a b c d\\na b c d:\\n\\t@touch $@\\n' > Makefile; make -j4 all; echo *",
    ),
    (
        "sqlite3",
        "sqlite3 x.db 'PRAGMA journal_mode = WAL; CREATE TABLE t (a); INSERT INTO t VALUES (5); SELECT a FROM t;'",
    ),
    (
        "openssl",
        "openssl genrsa -out k.pem 2048 2> /dev/null; openssl req -x509 -new -key k.pem -subj /CN=x -days 1 -out c.pem && openssl verify -CAfile c.pem c.pem",
    ),
    (
        "openssl",
        "printf x | openssl dgst -sha256; printf x | openssl enc -aes-256-cbc -pbkdf2 -k a | openssl enc -d -aes-256-cbc -pbkdf2 -k a",
    ),
    (
        "ssh-keygen",
        "ssh-keygen -q -t ed25519 -N '' -f k && ssh-keygen -y -f k > /dev/null && echo made",
    ),
    (
        "ssh-agent,ssh-add,ssh-keygen",
        "ssh-keygen -q -t ed25519 -N '' -C x -f k; eval \"$(ssh-agent -s)\" > /dev/null; ssh-add -q k && ssh-add -l | wc -l; ssh-agent -k > /dev/null",
    ),
    (
        "gpg",
        "export GNUPGHOME=$PWD; chmod 700 . 2> /dev/null; gpg --batch --quiet --passphrase '' --quick-generate-key x@y default default never 2> /dev/null; echo $?; echo x | gpg --batch -q -e -r x@y 2> /dev/null | gpg --batch -q -d 2> /dev/null",
    ),
    ("jq", "echo '{\"a\": [1, 2]}' | jq -c '.a | map(. * 2)'"),
    (
        "xargs,echo,sort",
        "printf '%s\\n' 1 2 3 4 | xargs -P4 -n1 echo | sort",
    ),
    (
        "find,grep",
        "mkdir d 2> /dev/null; echo x > d/f || echo x > f; find . -type f -exec grep -c '' {} +",
    ),
    ("sleep", "sleep 0.1 & p=$!; wait $p; echo $?; jobs"),
    ("cat", "cat <<E; cat <<'F'\n$((1 + 1))\nE\n$x\nF"),
    (
        "cat",
        "coproc cat; echo x >&${COPROC[1]}; read -r l <&${COPROC[0]}; echo $l",
    ),
    (
        "cat",
        "cat <(echo a) <(echo b); echo c > /dev/stderr; echo d > /dev/stdout",
    ),
    (
        "flock,true",
        "flock f -c 'echo locked'; flock -n f true; echo $?",
    ),
    ("true", "trap 'echo ended' EXIT; true"),
    (
        "diff,patch",
        "printf 'a\\nb\\n' > a; printf 'a\\nc\\n' > b; diff -u a b > p; patch -s a p; diff a b && echo same",
    ),
    ("ps", "ps -o comm= -p $$"),
    ("df,tail", "df --output=target /tmp | tail -1"),
    ("nproc,id,uname", "nproc > /dev/null && id -u && uname -s"),
    (
        "git",
        "git init -q r && cd r && git config user.email a@b && git config user.name a && echo x > f && git add f && git commit -qm x && git status --short && git log --format=%s",
    ),
    (
        "git",
        "git init -q r; cd r; git -c user.email=a@b -c user.name=a commit -q --allow-empty -m x; cd ..; git clone -q --no-hardlinks r s && git -C s log --format=%s",
    ),
    (
        "git,tar",
        "git init -q r; cd r; echo x > f; git add f; git -c user.email=a@b -c user.name=a commit -qm x; git archive HEAD | tar t",
    ),
    (
        "git",
        "git init -q r; cd r; for m in x y; do git -c user.email=a@b -c user.name=a commit -q --allow-empty -m $m; done; git rev-list --count HEAD; git stash list; git branch -q n; git gc -q; git fsck 2> /dev/null; echo $?",
    ),
    (
        "curl",
        "curl -sS file:///etc/hosts; curl -V > /dev/null; echo $?",
    ),
    (
        "javac,java",
        "echo 'class X { public static void main(String[] a) { System.out.println(6 * 7); } }' > X.java; javac X.java && java X",
    ),
    (
        "date,env,basename,dirname",
        "date -u -d @0 +%F; env -i A=b env; basename /a/b; dirname /a/b",
    ),
    (
        "cut,tr,head,tail,wc,sort,uniq",
        "printf '%s\\n' b:2 a:1 b:2 | sort | uniq -c | tr -s ' ' | cut -d' ' -f3 | head -1 | wc -c; printf x | tail -c1",
    ),
    (
        "cp,mv,mkdir,touch,ls,rm,chmod",
        "mkdir a; touch a/x; cp -r a b; mv b c; chmod 600 c/x; ls -1 c; rm -rf a c; ls",
    ),
    (
        "sha256sum,md5sum,base64,xxd",
        "printf x | sha256sum; printf x | md5sum; printf x | base64; printf x | xxd 2> /dev/null",
    ),
    (
        "timeout,sleep",
        "timeout 0.1 sleep 5; echo $?; timeout 5 sleep 0; echo $?",
    ),
    (
        "mktemp,stat,du,readlink,realpath",
        "f=$(mktemp); stat -c %s $f; realpath /usr/../usr; readlink -f /usr; du -s $f > /dev/null; echo $?",
    ),
    ("ldd,cat", "ldd /usr/bin/cat > /dev/null; echo $?"),
    (
        "busybox",
        "busybox echo x; busybox sh -c 'echo y | busybox cat'; busybox ls -d /usr",
    ),
];

/// The list for a command: the programs, and the programs that these programs start on this host.
fn list_for(programs: &str) -> String {
    let mut names: Vec<String> = vec!["bash".to_owned(), "sh".to_owned()];
    for name in programs
        .split(',')
        .chain(["rm", "cat", "sort", "wc", "chmod", "mkdir"])
    {
        names.push(name.to_owned());
        for (_, started) in STARTED.iter().filter(|(starter, _)| *starter == name) {
            names.extend(started.split(',').flat_map(matching));
        }
    }
    names.retain(|name| name == "{work}/**" || program_path(name).is_some());
    names.join(",")
}

/// Replaces each `*` of a path by the names of this host.
fn matching(path: &str) -> Vec<String> {
    let Some((before, after)) = path.split_once("/*") else {
        return vec![path.to_owned()];
    };
    let entries = std::fs::read_dir(before).into_iter().flatten().flatten();
    entries
        .flat_map(|entry| matching(&format!("{}{after}", entry.path().display())))
        .collect()
}

#[test]
fn everyday_commands_end_under_a_list_as_they_end_without_a_list() {
    const NAME: &str = "everyday_commands_end_under_a_list_as_they_end_without_a_list";
    let world = World::prepared(|_| {});
    let program = world.program(&[]).get_program().to_owned();
    let (next, played, different) = (
        AtomicUsize::new(0),
        AtomicUsize::new(0),
        Mutex::new(Vec::new()),
    );
    let missing = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism()
            .map_or(2, usize::from)
            .min(4)
        {
            scope.spawn(|| {
                while let Some((programs, script)) =
                    COMMANDS.get(next.fetch_add(1, Ordering::Relaxed))
                {
                    let absent =
                        |name: &&str| !name.starts_with('{') && program_path(name).is_none();
                    if let Some(name) = programs.split(',').find(absent) {
                        missing
                            .lock()
                            .expect("no panic")
                            .push(format!("{name} is not installed in a system directory"));
                        continue;
                    }
                    let list = list_for(programs);
                    let run = |options: &[&str]| {
                        let mut command = Command::new(&program);
                        command
                            .args(["sandbox", "--timeout", "60"])
                            .args(options)
                            .args(["--", "bash", "-c", script]);
                        command.env("HOME", world.path("")).output().expect("runs")
                    };
                    let (any, listed) = (run(&[]), run(&["--programs", &list]));
                    let same =
                        (any.status.code(), &any.stdout) == (listed.status.code(), &listed.stdout);
                    if !same || any.stdout.is_empty() {
                        let text = format!(
                            "{script}\nwithout a list:\n{}with {list}:\n{}",
                            said(&any),
                            said(&listed)
                        );
                        different.lock().expect("no panic").push(text);
                    }
                    played.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    for reason in missing.into_inner().expect("no panic") {
        not_run(NAME, &reason);
    }
    let played = played.into_inner();
    println!("{played} of {} commands were compared", COMMANDS.len());
    let different = different.into_inner().expect("no panic");
    assert!(
        different.is_empty(),
        "{} commands:\n{}",
        different.len(),
        different.join("\n---\n")
    );
    assert!(played >= 20, "only {played} commands");
}
