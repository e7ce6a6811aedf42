//! Attacks of a listed program on a closed list of programs. The attacks need additional programs on the host, so they run in
//! a mount namespace with planted programs.

use std::collections::BTreeSet;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::planted::{PlantedHost, PlantedRun, SBIN, User};
use crate::support::{World, assert_says, not_run, said};

/// Compiles a C file of this directory. Returns false if the compiler can't do this with these flags.
fn compiled(source: &str, flags: &[&str], to: &Path) -> bool {
    let source = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests")
        .join(source);
    let mut compiler = Command::new("cc");
    compiler
        .args(["-O1", "-w"])
        .args(flags)
        .arg("-o")
        .arg(to)
        .arg(source)
        .stderr(Stdio::null());
    compiler.status().expect("a C compiler").success()
}

/// Returns a run with the programs `canary` and `probe`. Only `probe` is listed.
fn with_probe(host: &PlantedHost) -> PlantedRun {
    let run = host.run(&["canary"]);
    let probe = run.path("sbin/probe");
    assert!(
        compiled("sandbox/probe.c", &["-static"], &probe)
            || compiled("sandbox/probe.c", &[], &probe)
    );
    run
}

/// A directory of the host that all users can write, with a planted program.
fn tree(host: &PlantedHost, run: &PlantedRun) -> String {
    let tree = run.path("tree");
    std::fs::create_dir(&tree).expect("a directory");
    std::fs::set_permissions(&tree, std::fs::Permissions::from_mode(0o777)).expect("mode");
    host.plant(&tree.join("canary"));
    tree.canonicalize().expect("real").display().to_string()
}

/// The attempts of the probe that succeeded. `None` if the probe did not end.
fn succeeded(output: &str) -> Option<BTreeSet<&str>> {
    let found = output
        .lines()
        .filter_map(|line| line.strip_prefix("SUCCEEDED "))
        .collect();
    output
        .lines()
        .any(|line| line == "the end")
        .then_some(found)
}

#[test]
fn no_system_call_of_a_listed_program_executes_or_maps_an_unlisted_program() {
    const NAME: &str = "no_system_call_of_a_listed_program_executes_or_maps_an_unlisted_program";
    let Some(host) = PlantedHost::new() else {
        return not_run(NAME, "this user cannot create a mount namespace");
    };
    for form in ["private", "copy", "overlay", "in-place"] {
        for user in [User::Same, User::Ordinary] {
            let run = with_probe(&host);
            let tree = tree(&host, &run);
            let attempt = |options: &[&str], program: &str| {
                let mut command = host.command(&run, &[], user);
                command.args([&host.program(), "sandbox"]);
                if form == "private" {
                    command.args(["--read", &tree]);
                } else {
                    command.args(["--write", &tree, "--workdir", form]);
                }
                command.args(options).args([
                    "--",
                    "probe",
                    program,
                    "/tmp",
                    "/dev/shm",
                    "/tmp/work",
                ]);
                // Without a list, the attempts in the tree would change the tree for the next run.
                let own = if options.is_empty() {
                    "/tmp"
                } else {
                    tree.as_str()
                };
                said(&command.arg(own).output().expect("unshare"))
            };
            let sbin = format!("{SBIN}/canary");
            let free = attempt(&[], &sbin);
            let worked = succeeded(&free).unwrap_or_else(|| panic!("{form} {user:?}: {free}"));
            let expected = [
                "execve",
                "execveat",
                "/proc/self/fd",
                "the program, mapped",
                "/tmp: copy",
                "/tmp: script",
            ];
            for name in
                expected
                    .iter()
                    .chain(&["/tmp: O_TMPFILE", "memfd", "anonymous memory, executable"])
            {
                assert!(
                    worked.contains(name),
                    "without a list, {name} succeeds: {form} {user:?}: {free}"
                );
            }
            for program in [&sbin, &format!("{tree}/canary")] {
                let text = attempt(&["--programs", "probe"], program);
                assert_eq!(
                    succeeded(&text),
                    Some(BTreeSet::new()),
                    "{form} {user:?} {program}: {text}"
                );
            }
        }
    }
}

#[test]
fn the_loader_maps_no_program_that_has_the_name_of_a_library_or_no_execute_bit() {
    const NAME: &str =
        "the_loader_maps_no_program_that_has_the_name_of_a_library_or_no_execute_bit";
    const PLACE: &str = "/usr/local/lib";
    let Some(host) = PlantedHost::new() else {
        return not_run(NAME, "this user cannot create a mount namespace");
    };
    if !Path::new(PLACE).is_dir() {
        return not_run(NAME, "this host has no /usr/local/lib");
    }
    let run = host.run(&[]);
    let libraries = run.path("lib");
    std::fs::create_dir_all(libraries.join("below")).expect("a directory");
    let marks = format!("-DMARKS=\"{}\"", host.marks());
    for (name, flags, mode) in [
        ("program", &[][..], 0o755),
        ("libprogram.so", &[], 0o755),
        ("program.so.1", &["-no-pie"], 0o644),
        ("program.so.bak", &[], 0o755),
        ("data", &[], 0o644),
        ("fixed", &["-no-pie"], 0o644),
        ("new\nline", &[], 0o644),
        ("below/libprogram.so", &[], 0o644),
        ("libstatic.so", &["-static-pie"], 0o644),
    ] {
        let path = libraries.join(name);
        assert!(
            compiled("shell/stub.c", &[flags, &[&marks]].concat(), &path) || name == "libstatic.so",
            "{name}"
        );
        if path.exists() {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("mode");
        }
    }
    let loader = crate::listed_programs::loader();
    let script = format!(
        "cd {PLACE}; for f in * below/*; do {loader} \"./$f\" && echo ran $f; done; echo the end"
    );
    let attempt = |options: &[&str], user: User| {
        let covers = [(libraries.as_path(), PLACE)];
        let mut command = host.sandbox(&run, &covers, user);
        said(
            &command
                .args(options)
                .args(["--", "bash", "-c", &script])
                .output()
                .expect("unshare"),
        )
    };
    for user in [User::Same, User::Ordinary] {
        let text = attempt(&["--programs", "bash"], user);
        assert!(
            text.contains("the end") && !text.contains("ran "),
            "{user:?}: {text}"
        );
        assert_eq!(run.marks(), BTreeSet::new(), "{user:?}: {text}");
    }
    let text = attempt(&[], User::Same);
    let ran = text.lines().filter(|line| line.starts_with("ran ")).count();
    assert!(
        ran >= 8 && !run.marks().is_empty(),
        "without a list, the loader starts these programs: {text}"
    );
}

#[test]
fn a_list_is_refused_if_a_program_between_libraries_has_a_name_that_no_request_can_contain() {
    const NAME: &str =
        "a_list_is_refused_if_a_program_between_libraries_has_a_name_that_no_request_can_contain";
    const PLACE: &str = "/usr/local/lib";
    let Some(host) = PlantedHost::new().filter(|_| Path::new(PLACE).is_dir()) else {
        return not_run(
            NAME,
            "this user cannot create a mount namespace with programs between libraries",
        );
    };
    let run = host.run(&[]);
    let libraries = run.path("lib");
    std::fs::create_dir(&libraries).expect("a directory");
    std::fs::write(libraries.join("library.so"), "").expect("a file");
    host.plant(&libraries.join(std::ffi::OsStr::from_bytes(b"odd\xff")));
    let mut command = host.sandbox(&run, &[(libraries.as_path(), PLACE)], User::Same);
    let text = said(
        &command
            .args(["--programs", "ls", "--", "ls", "-d", "/usr"])
            .output()
            .expect("unshare"),
    );
    assert!(
        text.contains("is not UTF-8") && !text.contains("/usr\n"),
        "{text}"
    );
}

#[test]
fn a_program_with_an_odd_name_and_a_setuid_program_are_not_executed() {
    const NAME: &str = "a_program_with_an_odd_name_and_a_setuid_program_are_not_executed";
    let Some(host) = PlantedHost::new() else {
        return not_run(NAME, "this user cannot create a mount namespace");
    };
    let run = host.run(&["listed", "set-user-id", "new\nline", " ", "-c", "*"]);
    let odd = run
        .path("sbin")
        .join(std::ffi::OsStr::from_bytes(b"odd\xff"));
    host.plant(&odd);
    std::fs::hard_link(run.path("sbin/listed"), run.path("sbin/hard")).expect("a link");
    std::os::unix::fs::symlink("new\nline", run.path("sbin/symbolic")).expect("a link");
    std::os::unix::fs::symlink("listed", run.path("sbin/other-name")).expect("a link");
    let mode = std::fs::Permissions::from_mode(0o4755);
    std::fs::set_permissions(run.path("sbin/set-user-id"), mode).expect("mode");
    let script = format!("for f in {SBIN}/*; do \"$f\"; done; echo the end");
    for user in [User::Same, User::Ordinary] {
        let mut command = host.sandbox(&run, &[], user);
        let text = said(
            &command
                .args(["--programs", "listed", "--", "bash", "-c", &script])
                .output()
                .expect("unshare"),
        );
        assert!(text.contains("the end"), "{text}");
        // A link to a listed program is another name of this program. The mark has the name of the file.
        assert_eq!(
            run.marks(),
            BTreeSet::from(["listed".to_owned()]),
            "{user:?}: {text}"
        );
        std::fs::remove_file(run.path("marks/listed")).expect("a mark");
    }
    let mut command = host.sandbox(&run, &[], User::Same);
    let text = said(
        &command
            .args(["--", "bash", "-c", &script])
            .output()
            .expect("unshare"),
    );
    assert_eq!(run.marks().len(), 8, "without a list: {text}");
}

#[test]
fn a_listed_shell_that_tries_all_programs_of_the_host_starts_only_the_listed_programs() {
    const SCRIPT: &str =
        "for p in /usr/local/sbin/* /usr/local/bin/* /usr/sbin/* /usr/bin/* /usr/games/* /usr/libexec/* \
                          /usr/lib/*/* /usr/lib/*/*/*; do
        [ -d \"$p\" ] && continue
        tried=$((tried + 1)); \"$p\" --version > /dev/null 2>&1 < /dev/null; code=$?
        case $code in 126 | 127) ;; *) echo \"ran $p\" ;; esac
    done; echo \"tried $tried\"";
    let world = World::prepared(|_| {});
    let mut command = world.program(&["sandbox"]);
    command.args(["--programs", "bash,cat,ls", "--", "bash", "-c", SCRIPT]);
    let text = said(&command.output().expect("runs"));
    let real = |path: &str| Path::new(path).canonicalize().ok();
    let listed: Vec<Option<PathBuf>> = ["bash", "sh", "cat", "ls"]
        .map(|name| real(&format!("/usr/bin/{name}")))
        .to_vec();
    let ran: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("ran "))
        .collect();
    for path in &ran {
        let loader = path
            .rsplit('/')
            .next()
            .is_some_and(|name| name.starts_with("ld"));
        assert!(listed.contains(&real(path)) || loader, "{path} ran");
    }
    assert!(ran.len() >= 3, "the listed programs ran: {ran:?}");
    let tried: usize = text
        .lines()
        .find_map(|line| line.strip_prefix("tried ")?.parse().ok())
        .unwrap_or_else(|| panic!("{text}"));
    assert!(tried >= 300, "only {tried} programs");
}

#[test]
fn no_program_that_starts_other_programs_can_start_an_unlisted_program() {
    const NAME: &str = "no_program_that_starts_other_programs_can_start_an_unlisted_program";
    let Some(host) = PlantedHost::new() else {
        return not_run(NAME, "this user cannot create a mount namespace");
    };
    let mut played = 0;
    for (program, script) in [
        (
            "perl",
            "perl -e 'system(\"canary\"); system(\"canary; :\"); exec \"canary\"'",
        ),
        (
            "perl",
            "perl -e 'open my $f, \"|-\", \"canary\"; qx(canary); require \"syscall.ph\"'",
        ),
        (
            "awk",
            "awk 'BEGIN { system(\"canary\"); print | \"canary\"; \"canary\" | getline }'",
        ),
        (
            "python3",
            "python3 -c 'import os; os.execvp(\"canary\", [\"canary\"])'",
        ),
        (
            "python3",
            "python3 -c 'import subprocess; subprocess.run([\"canary\"])'; python3 -c 'import pty; pty.spawn(\"canary\")'",
        ),
        (
            "python3",
            "python3 -c 'import ctypes; c = ctypes.CDLL(None); c.system(b\"canary\"); c.execlp(b\"canary\", b\"canary\", None)'",
        ),
        (
            "node",
            "node -e 'require(\"child_process\").spawnSync(\"canary\"); require(\"child_process\").execSync(\"canary\")'",
        ),
        ("env", "env canary; env -S canary"),
        (
            "find",
            "find /tmp -maxdepth 0 -exec canary {} \\; -execdir canary {} +",
        ),
        (
            "xargs",
            "echo x | xargs canary; echo canary | xargs -n1 env",
        ),
        (
            "sed",
            "echo x | sed '1e canary'; sed -n 's/x/canary/e' <<< x",
        ),
        (
            "tar",
            "tar cf x -I canary /etc/hosts; tar cf y --checkpoint=1 --checkpoint-action=exec=canary /etc/hosts",
        ),
        (
            "make",
            "printf 'x:\\n\\tcanary\\n' | make -f -; make --eval '$(shell canary)'",
        ),
        (
            "git",
            "git -c alias.x='!canary' x; git --exec-path=/usr/local/sbin canary; cp /usr/bin/true git-canary; PATH=. git canary",
        ),
        (
            "timeout",
            "timeout 5 canary; nice canary; nohup canary; setsid canary; stdbuf -oL canary",
        ),
        (
            "sqlite3",
            "sqlite3 x '.shell canary'; sqlite3 x '.system canary'",
        ),
        ("gdb", "gdb -batch -ex 'shell canary' -ex 'run' canary"),
        ("strace", "strace canary; script -qc canary x"),
        (
            "busybox",
            "busybox sh -c canary; busybox env canary; busybox id; busybox xargs canary < /etc/hosts",
        ),
        (
            "gcc",
            "touch x.c; gcc -B /usr/local/sbin/ -wrapper canary x.c; gcc -fplugin=/usr/local/sbin/canary x.c",
        ),
        (
            "ssh",
            "ssh -o ProxyCommand=canary x; ssh -o LocalCommand=canary x",
        ),
        (
            "openssl",
            "openssl engine -t /usr/local/sbin/canary; LD_AUDIT=/usr/local/sbin/canary openssl version",
        ),
    ] {
        let mut words: Vec<&str> = [
            "env", "nice", "nohup", "setsid", "stdbuf", "script", "sh", "bash", "cp", "touch",
        ]
        .to_vec();
        words.push(program);
        let exists = |name: &&str| {
            ["/usr/bin", "/usr/local/bin"]
                .iter()
                .any(|dir| Path::new(dir).join(name).exists())
        };
        if !exists(&program) {
            not_run(
                NAME,
                &format!("{program} is not installed in a system directory"),
            );
            continue;
        }
        words.retain(exists);
        let list = words.join(",");
        let script = format!("cd; {{ {script}\n}} > /dev/null 2>&1; echo the end");
        let attempt = |list: Option<&str>, user: User| {
            let run = host.run(&["canary"]);
            let mut command = host.sandbox(&run, &[], user);
            if let Some(list) = list {
                command.args(["--programs", list]);
            }
            assert_says(
                said(
                    &command
                        .args(["--", "bash", "-c", &script])
                        .output()
                        .expect("unshare"),
                ),
                "the end",
            );
            run.marks()
        };
        played += usize::from(!attempt(None, User::Same).is_empty());
        for user in [User::Same, User::Ordinary] {
            assert_eq!(
                attempt(Some(&list), user),
                BTreeSet::new(),
                "{script}: {user:?}"
            );
        }
    }
    assert!(
        played >= 8,
        "without a list, only {played} of these programs start the unlisted program"
    );
}

#[test]
fn a_file_that_replaces_a_listed_program_before_the_start_makes_no_unlisted_program_executable() {
    const NAME: &str = "a_file_that_replaces_a_listed_program_before_the_start_makes_no_unlisted_program_executable";
    // The delay of the first open_tree(2) of each process leaves time between the search for the program and its mount.
    let delay = [
        "-f",
        "-o",
        "/dev/null",
        "-e",
        "trace=open_tree",
        "-e",
        "inject=open_tree:delay_enter=1500000:when=1",
    ];
    let traced = Command::new("strace")
        .args(delay)
        .arg("true")
        .output()
        .is_ok_and(|output| output.status.success());
    let Some(host) = PlantedHost::new().filter(|_| traced) else {
        return not_run(
            NAME,
            "there is no strace here, or this user cannot create a mount namespace",
        );
    };
    for replace in [
        "mv listed old; ln -s canary listed",
        "mv listed old; mkdir listed; cp canary listed/",
        "mv listed old",
    ] {
        let run = host.run(&["listed", "canary"]);
        let mut command = host.command(&run, &[], User::Same);
        command.arg("strace").args(delay).args([
            &host.program(),
            "sandbox",
            "--write",
            &host.marks(),
        ]);
        command.args([
            "--workdir",
            "in-place",
            "--explain",
            "--programs",
            "listed",
            "--",
            "sh",
            "-c",
        ]);
        command
            .arg("listed; canary; listed/canary")
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("unshare");
        let mut lines = std::io::BufRead::lines(std::io::BufReader::new(
            child.stderr.take().expect("a pipe"),
        ));
        // The program prints the level after it has found the listed programs.
        let printed =
            lines.find(|line| line.as_ref().is_ok_and(|line| line.contains("level here")));
        assert!(printed.is_some(), "{replace}");
        let status = Command::new("sh")
            .args(["-c", replace])
            .current_dir(run.path("sbin"))
            .status()
            .expect("sh");
        assert!(status.success(), "{replace}");
        let rest: Vec<String> = lines.map_while(Result::ok).collect();
        child.wait().expect("ended");
        assert_eq!(run.marks(), BTreeSet::new(), "{replace}: {rest:?}");
    }
}
