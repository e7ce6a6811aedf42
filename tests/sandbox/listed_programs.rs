//! A run with a closed list of programs executes no other program.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

use crate::support::{World, assert_says, exited, not_run, said};

/// A program that no list of these tests contains. The program prints `uid=` if a script can start it.
const OTHER: &str = "/usr/bin/id";

fn tried(world: &World, options: &[&str], interpreter: &str, script: &str) -> Output {
    let mut command = world.program(&["sandbox"]);
    command
        .args(options)
        .args(["--", interpreter, "-c", script])
        .output()
        .expect("runs")
}

/// Asserts that the script ran to its end and that the other program did not start.
fn assert_refused(world: &World, options: &[&str], interpreter: &str, script: &str) {
    let output = tried(world, options, interpreter, script);
    let text = said(&output);
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(
        stdout.contains("the end") && !stdout.contains("uid="),
        "{interpreter} {script}: {text}"
    );
}

/// A directory of the host with a copy of the other program.
fn tree() -> (tempfile::TempDir, String) {
    let dir = tempfile::Builder::new()
        .prefix("countersign-tree-")
        .tempdir()
        .expect("a directory");
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o777)).expect("mode");
    std::fs::copy(OTHER, dir.path().join("other")).expect("a copy");
    let path = dir
        .path()
        .canonicalize()
        .expect("real")
        .display()
        .to_string();
    (dir, path)
}

/// The path of the dynamic loader, which can map a program without executing the program's file.
pub(crate) fn loader() -> &'static str {
    let known = ["/lib64/ld-linux-x86-64.so.2", "/lib/ld-linux-aarch64.so.1"];
    known
        .into_iter()
        .find(|path| Path::new(path).exists())
        .expect("a glibc host")
}

#[test]
fn a_program_that_the_list_does_not_contain_is_not_executed() {
    let world = World::prepared(|_| {});
    let options = ["--programs", "bash,ls,cp,ln,chmod,rm,mkdir"];
    let loader = loader();
    let library = "$(ls -d /usr/lib/*-linux-gnu/libz.so.1 /usr/lib64/libz.so.1 2>/dev/null)";
    for script in [
        "id".to_owned(),
        OTHER.to_owned(),
        format!("exec -a ls {OTHER} || true"),
        "PATH=/nowhere:/usr/bin; hash -p /usr/bin/id ls; ls".to_owned(),
        format!("cd /usr/bin; ./id; /proc/self/root{OTHER}; /proc/self/cwd/id"),
        format!("f=/usr/bin/i; ${{f}}d; eval \"${{f}}\"d; . {OTHER}"),
        format!("cp {OTHER} copy && ./copy"),
        format!("ln -s {OTHER} link; ./link; ln {OTHER} hard; ./hard"),
        format!("printf '#!{OTHER}\\n' > shebang; chmod +x shebang; ./shebang"),
        "printf '#!/bin/bash\\necho uid=\\n' > own; chmod +x own; ./own".to_owned(),
        "cp /bin/ls own; ./own; cp /bin/bash sh; ./sh -c 'echo uid='".to_owned(),
        "cp /bin/bash /dev/shm/sh; /dev/shm/sh -c 'echo uid='".to_owned(),
        format!("{loader} {OTHER}"),
        format!("cp /bin/bash own; {loader} ./own -c 'echo uid='"),
        format!(
            "cp {library} lib.so && LD_PRELOAD=./lib.so ls / > /dev/null 2> said; case $(<said) in *segment*) ;; *) echo uid=;; esac"
        ),
        format!(
            "for p in /usr/lib/git-core/* /usr/lib/openssh/* /usr/lib/*/utempter/* /usr/libexec/*; do [ -f $p ] && {loader} $p && echo uid=; done"
        ),
        "coproc id; read -r -t 1 line <&${COPROC[0]}; echo $line".to_owned(),
        "echo $(id) `id` <(id); cat < <(id); trap id EXIT; (id)& wait".to_owned(),
        "enable -f /usr/bin/id x; command id; builtin exec id".to_owned(),
    ] {
        assert_refused(
            &world,
            &options,
            "bash",
            &format!("( {script}; ) 2>/dev/null\necho the end"),
        );
    }
}

#[test]
fn a_listed_interpreter_cannot_execute_an_unlisted_program_from_memory() {
    let world = World::prepared(|_| {});
    let options = ["--programs", "python3,ls"];
    for script in [
        "import os; os.execv('/usr/bin/id', ['id'])",
        "import subprocess; subprocess.run(['id'])",
        "import os; os.posix_spawn('/usr/bin/id', ['id'], {})",
        "import os; f = os.memfd_create('x'); os.write(f, open('/usr/bin/ls', 'rb').read()); print('uid=')",
        "import ctypes; print('uid=' if ctypes.CDLL(None).syscall(319 if __import__('platform').machine() == 'x86_64' else 279, b'x', 0) >= 0 else '')",
        "import os; f = os.open('/usr/bin/id', os.O_PATH); os.execve(f, ['id'], {})",
        "import os, mmap; open('own', 'wb').write(open('/usr/bin/ls', 'rb').read()); \
         mmap.mmap(os.open('own', os.O_RDONLY), 4096, prot=mmap.PROT_READ | mmap.PROT_EXEC); print('uid=')",
        "import mmap, os; mmap.mmap(os.open('/usr/bin/id', os.O_RDONLY), 4096, prot=mmap.PROT_READ); print('uid=')",
    ] {
        let script = format!(
            "try:\n exec({script:?})\nexcept OSError as error: print(error)\nprint('the end', flush=True)"
        );
        assert_refused(&world, &options, "python3", &script);
    }
}

#[test]
fn the_loader_cannot_build_an_unlisted_program_in_memory_from_a_data_file() {
    const NAME: &str = "the_loader_cannot_build_an_unlisted_program_in_memory_from_a_data_file";
    if !cfg!(target_arch = "x86_64") {
        return not_run(NAME, "the file that attacks is made for x86-64");
    }
    let world = World::prepared(|_| {});
    let (dir, tree) = tree();
    let python = std::env::var_os("COUNTERSIGN_PYTHON").unwrap_or_else(|| "python3".into());
    let tool = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tools/anonymous_code.py");
    exited(
        Command::new(python)
            .arg(tool)
            .arg(OTHER)
            .arg(dir.path().join("data"))
            .output()
            .expect("python"),
        0,
    );
    std::fs::set_permissions(
        dir.path().join("data"),
        std::fs::Permissions::from_mode(0o644),
    )
    .expect("mode");
    let script = format!(
        "{} {tree}/data; cp {tree}/data own; {} ./own; echo the end",
        loader(),
        loader()
    );
    let without = said(&tried(&world, &["--read", &tree], "bash", &script));
    assert!(
        without.contains("uid="),
        "without a list the loader builds the program: {without}"
    );
    let options = ["--read", &tree, "--programs", "bash,cp"];
    assert_refused(&world, &options, "bash", &script);
    assert_refused(
        &world,
        &options,
        "bash",
        &format!("LD_PRELOAD={tree}/data cp --version; echo the end"),
    );
}

#[test]
fn a_program_between_shared_libraries_cannot_be_mapped_by_the_loader() {
    const NAME: &str = "a_program_between_shared_libraries_cannot_be_mapped_by_the_loader";
    let elf = |path: &Path| std::fs::read(path).is_ok_and(|bytes| bytes.starts_with(b"\x7fELF"));
    let executable = |path: &Path| {
        path.metadata()
            .is_ok_and(|at| at.is_file() && at.permissions().mode() & 0o111 != 0)
    };
    let mut programs = Vec::new();
    let entries = |path: &Path| {
        std::fs::read_dir(path)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
    };
    for directory in
        entries(Path::new("/usr/lib")).filter(|path| path.to_string_lossy().ends_with("-linux-gnu"))
    {
        for below in entries(&directory).filter(|path| path.is_dir() && !path.is_symlink()) {
            let found = entries(&below).filter(|path| !path.to_string_lossy().contains(".so"));
            programs.extend(found.filter(|path| executable(path) && elf(path)));
        }
    }
    if programs.is_empty() {
        return not_run(NAME, "this host has no program between shared libraries");
    }
    let world = World::prepared(|_| {});
    for program in programs {
        let script = format!("{} --verify {}; echo code=$?", loader(), program.display());
        let with = said(&tried(&world, &["--programs", "bash"], "bash", &script));
        assert!(with.contains("code=1"), "{}: {with}", program.display());
    }
}

#[test]
fn files_of_the_host_are_not_executable_in_any_working_directory_if_the_list_is_closed() {
    let world = World::prepared(|_| {});
    let (_dir, tree) = tree();
    let script = format!(
        "cd {tree}; ./other; {} ./other; cp other more 2>/dev/null && ./more; echo the end",
        loader()
    );
    for options in [
        &["--read", &tree][..],
        &["--write", &tree, "--workdir", "copy"],
        &["--write", &tree, "--workdir", "overlay"],
        &["--write", &tree, "--workdir", "in-place"],
    ] {
        let without = said(&tried(&world, options, "bash", &script));
        assert!(
            without.contains("uid="),
            "without a list the program starts: {options:?}: {without}"
        );
        assert_refused(
            &world,
            &[options, &["--programs", "bash,cp"]].concat(),
            "bash",
            &script,
        );
    }
}

#[test]
fn a_run_may_execute_its_own_files_only_if_the_list_says_so() {
    let world = World::prepared(|_| {});
    let own = "printf '#!/bin/bash\\necho it runs\\n' > own; chmod +x own; ./own; cp /bin/ls ls; ./ls -d /";
    let programs = ["--programs", "bash,chmod,cp,ls,{work}/**"];
    assert_says(said(&tried(&world, &programs, "bash", own)), "it runs\n/\n");
    assert_refused(
        &world,
        &programs,
        "bash",
        &format!(
            "cp {OTHER} copy; ./copy; {} {OTHER}; id; echo the end",
            loader()
        ),
    );
    let (_dir, tree) = tree();
    let options = [
        "--write",
        &tree,
        "--workdir",
        "copy",
        "--programs",
        "bash,{work}/**",
    ];
    let text = said(&tried(
        &world,
        &options,
        "bash",
        &format!("cd {tree}; ./other"),
    ));
    assert!(text.contains("uid="), "the tree is the run's own: {text}");
    let options = ["--read", &tree, "--programs", "bash,{work}/**"];
    assert_refused(
        &world,
        &options,
        "bash",
        &format!("cd {tree}; ./other; echo the end"),
    );
}

#[test]
fn an_ordinary_user_can_run_a_command_with_a_closed_list() {
    if !rustix::process::geteuid().is_root() {
        return not_run(
            "an_ordinary_user_can_run_a_command_with_a_closed_list",
            "the other tests run as one",
        );
    }
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o777)).expect("mode");
    let program = dir.path().join("countersign");
    std::fs::copy(env!("CARGO_BIN_EXE_countersign"), &program).expect("a copy");
    let output = Command::new("setpriv")
        .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
        .arg(&program)
        .args([
            "sandbox",
            "--programs",
            "ls",
            "--",
            "sh",
            "-c",
            "ls -d /usr; id; echo the end",
        ])
        .env("HOME", dir.path())
        .current_dir(dir.path())
        .output()
        .expect("setpriv");
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "/usr\nthe end\n",
        "{}",
        said(&output)
    );
}

#[test]
fn common_programs_work_with_a_closed_list() {
    let world = World::prepared(|_| {});
    for (programs, script, words) in [
        (
            "python3",
            "python3 -c 'import ssl, json, ctypes, sqlite3; print(\"fine\")'",
            "fine",
        ),
        ("perl", "perl -MPOSIX -e 'print floor(7.9)'", "7"),
        ("git", "git init -q x && git -C x status", "No commits yet"),
        ("curl", "curl --version", "libcurl"),
        ("node", "node -e 'console.log(6 * 7)'", "42"),
        (
            "tar,gzip",
            "tar czf x.tar.gz /etc/hosts 2>/dev/null && tar tf x.tar.gz",
            "etc/hosts",
        ),
        ("ldd,cat", "ldd --version", "ldd"),
    ] {
        let first = programs.split(',').next().unwrap_or_default();
        if !Path::new("/usr/bin").join(first).exists()
            && !Path::new("/usr/local/bin").join(first).exists()
        {
            not_run(
                "common_programs_work_with_a_closed_list",
                &format!("{first} is not installed in a system directory"),
            );
            continue;
        }
        let text = said(&tried(&world, &["--programs", programs], "sh", script));
        assert!(text.contains(words), "{programs}: {text}");
    }
}

#[test]
fn a_refused_program_is_explained_with_the_option_that_allows_it() {
    let world = World::prepared(|_| {});
    let text = said(&tried(&world, &["--programs", "ls"], "sh", "id; ls -d /"));
    assert!(
        text.contains(&format!("tried to run {OTHER}, but")) && text.contains("add --programs id"),
        "{text}"
    );
    let text = said(&tried(&world, &["--programs", OTHER], "sh", "id"));
    assert!(
        text.contains("uid=") && !text.contains("does not have it"),
        "{text}"
    );
    let output = tried(&world, &["--json", "--programs", OTHER], "sh", "true");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(
        report["programs"][0],
        serde_json::json!({"name": "id", "path": OTHER})
    );
    let output = tried(&world, &["--json"], "sh", "true");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert!(
        report["profile"]["programs"].is_null(),
        "without a list: {report}"
    );
}

#[test]
fn a_list_with_an_unknown_program_or_without_its_layers_is_refused() {
    let world = World::prepared(|_| {});
    for (options, words) in [
        (
            &["--programs", "no-such-program"][..],
            "this host has no program no-such-program in /usr/local/sbin",
        ),
        (
            &["--programs", "./x"],
            "\"./x\" is neither the name of a program, nor an absolute path, nor {work}/**",
        ),
        (
            &["--programs", "/etc/passwd"],
            "/etc/passwd is not an executable file: name a program",
        ),
        (
            &["--programs", "/usr/lib"],
            "/usr/lib is a directory: name a program",
        ),
        (
            &["--programs", "ls", "--profile", "off"],
            "the profile requires layers, but the sandbox is off",
        ),
    ] {
        let output = tried(&world, options, "sh", "echo it runs");
        let text = said(&output);
        assert!(
            text.contains(words) && !text.contains("it runs"),
            "{options:?}: {text}"
        );
    }
    for path in ["/usr", "/usr/bin", "/usr/lib"] {
        let text = said(&tried(
            &world,
            &["--read", path, "--programs", "ls"],
            "sh",
            "ls -d /usr; id",
        ));
        assert!(
            text.starts_with("/usr\n") && !text.contains("uid="),
            "the list is also valid below {path}: {text}"
        );
    }
    let (_dir, tree) = tree();
    let output = tried(
        &world,
        &["--read", &tree, "--programs", &format!("{tree}/other")],
        "sh",
        "echo it runs",
    );
    assert!(
        said(&output).contains("outside of the system directories"),
        "{}",
        said(&output)
    );
}

#[test]
fn a_host_whose_kernel_starts_an_interpreter_without_landlock_refuses_every_list() {
    const NAME: &str =
        "a_host_whose_kernel_starts_an_interpreter_without_landlock_refuses_every_list";
    let world = World::prepared(|_| {});
    // Since Linux 6.7, a user namespace has binfmt_misc entries of its own.
    let register = "mount -t binfmt_misc none /proc/sys/fs/binfmt_misc && \
                    echo ':countersign:E::countersign::/usr/bin/id:F' > /proc/sys/fs/binfmt_misc/register";
    let in_namespace = |script: &str| {
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
        command
            .env("HOME", world.path(""))
            .output()
            .expect("unshare")
    };
    if !in_namespace(register).status.success() {
        return not_run(NAME, "this kernel has no binfmt_misc for a user namespace");
    }
    let refused = in_namespace(&format!(
        "{register} && exec \"$0\" sandbox --programs ls -- ls -d /usr"
    ));
    let text = said(&refused);
    assert!(
        text.contains("binfmt_misc entry countersign") && !text.contains("/usr\n"),
        "{text}"
    );
}

#[test]
fn a_host_without_user_namespaces_refuses_every_list() {
    const NAME: &str = "a_host_without_user_namespaces_refuses_every_list";
    const SCRIPT: &str =
        "echo 0 > /proc/sys/user/max_user_namespaces || exit 99; exec \"$0\" \"$@\"";
    let world = World::prepared(|_| {});
    let attempt = |options: &[&str]| {
        let mut command = Command::new("unshare");
        command.args([
            "--user",
            "--map-root-user",
            "sh",
            "-c",
            SCRIPT,
            env!("CARGO_BIN_EXE_countersign"),
            "sandbox",
        ]);
        command
            .args(options)
            .args(["--", "sh", "-c", "echo it runs"])
            .env("HOME", world.path(""));
        command.output().expect("unshare")
    };
    let without = attempt(&["--profile", "best-effort"]);
    if !said(&without).contains("it runs") {
        return not_run(NAME, "this host has no user namespaces to begin with");
    }
    for level in ["best-effort", "strict"] {
        let text = said(&attempt(&["--profile", level, "--programs", "ls"]));
        assert!(
            !text.contains("it runs") && text.contains("namespaces"),
            "{level}: {text}"
        );
    }
}
