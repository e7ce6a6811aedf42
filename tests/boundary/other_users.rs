//! Other users of the host can neither provide the key of a boundary nor prevent the start of a boundary. One test runs
//! the sandbox as an ordinary user, with a directory that this user can enter but not list.

use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::support::{PROGRAM, World, not_run, people, wait_for};

/// The user id of the service, and the user id of another user. Neither user has a name.
const OURS: u32 = 4242;
const THEIRS: u32 = 4243;

/// Returns whether the test runs as root, because only root can start processes of other users.
fn is_root(test: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        not_run(test, "only root can be another user, or give a file to one");
    }
    root
}

fn others_can_start_it() -> bool {
    let open = |path: &Path| {
        path.metadata()
            .is_ok_and(|found| found.permissions().mode() & 0o001 != 0)
    };
    Path::new(PROGRAM).ancestors().all(open)
}

#[test]
fn a_key_of_another_user_is_refused() {
    if !is_root("a_key_of_another_user_is_refused") {
        return;
    }
    let mut world = World::prepared(|_| {});
    let key = world.path("b/boundary/key.pem");
    chown(&key, Some(THEIRS), None).unwrap();
    let said = world
        .try_start()
        .expect_err("it does not serve with that key");
    assert!(
        said.contains("belongs to user 4243, not to user 0 or root") && said.contains("chown 0"),
        "{said}"
    );
    chown(&key, Some(0), None).unwrap();
    world.start();
}

/// The process mark of a helper is not secret: each run can read the mark in the command line of its first process.
#[test]
fn a_process_of_another_user_with_the_process_mark_does_not_prevent_a_start() {
    const NAME: &str = "a_process_of_another_user_with_the_process_mark_does_not_prevent_a_start";
    if !is_root(NAME) {
        return;
    }
    if !others_can_start_it() {
        return not_run(
            NAME,
            "other users can't start the program where it was built",
        );
    }
    let mut world = World::prepared(|setup| {
        setup.before = ["setpriv", "--reuid=4242", "--regid=4242", "--clear-groups"]
            .map(str::to_owned)
            .to_vec();
    });
    let given = Command::new("chown")
        .arg("-R")
        .arg(format!("{OURS}:{OURS}"))
        .arg(world.path("."))
        .status();
    assert!(given.unwrap().success());
    world.start();
    // The command line of the helper contains a subcommand and then the mark.
    let helper =
        std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", world.pid())).unwrap();
    let helper = std::fs::read_to_string(format!("/proc/{}/cmdline", helper.trim())).unwrap();
    let words: Vec<&str> = helper.split('\0').skip(1).take(2).collect();
    let scratch = world.path("b/runs").canonicalize().unwrap();
    assert_eq!(
        words[1],
        &people::sha256(scratch.as_os_str().as_encoded_bytes())[..32]
    );
    world.stop();
    world.write(
        &format!("imitation/{}", words[0]),
        "for _ in $(seq 900); do sleep 0.1; done",
    );
    for (name, mode) in [
        ("imitation", 0o755),
        (&*format!("imitation/{}", words[0]), 0o644),
    ] {
        std::fs::set_permissions(world.path(name), std::fs::Permissions::from_mode(mode)).unwrap();
    }
    let imitate = |user: u32| -> Child {
        let mut command = Command::new("sh");
        command
            .args(&words)
            .current_dir(world.path("imitation"))
            .uid(user)
            .gid(user);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    };
    let (mut theirs, mut ours) = (imitate(THEIRS), imitate(OURS));
    for child in [&theirs, &ours] {
        let line =
            || std::fs::read_to_string(format!("/proc/{}/cmdline", child.id())).unwrap_or_default();
        wait_for("it looks like a helper", || {
            line().starts_with(&format!("sh\0{}\0", words.join("\0")))
        });
    }
    // If the start waited for the process of the other user, the start would fail after 30 s.
    world.start();
    assert!(
        theirs.try_wait().unwrap().is_none(),
        "another user's process was ended"
    );
    assert!(!ours.wait().unwrap().success(), "its own is ended as ever");
    let _ = theirs.kill();
    let _ = theirs.wait();
}

/// An unreadable directory can contain a file that the deny pattern matches, so the run cannot access the directory at
/// all.
#[test]
fn a_run_cannot_access_an_unreadable_directory_if_a_deny_pattern_applies() {
    const NAME: &str = "a_run_cannot_access_an_unreadable_directory_if_a_deny_pattern_applies";
    if !is_root(NAME) {
        return;
    }
    if !others_can_start_it() {
        return not_run(
            NAME,
            "other users can't start the program where it was built",
        );
    }
    let home = tempfile::tempdir().unwrap();
    std::fs::set_permissions(home.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let deep = home.path().join("deep");
    std::fs::create_dir(&deep).unwrap();
    for name in [".env", "notes"] {
        std::fs::write(deep.join(name), format!("in {name}\n")).unwrap();
    }
    let reads = |mode: u32| {
        std::fs::set_permissions(&deep, std::fs::Permissions::from_mode(mode)).unwrap();
        let mut command = Command::new(PROGRAM);
        command.args([
            "sandbox",
            "--read",
            home.path().to_str().unwrap(),
            "--deny",
            "**/.env",
        ]);
        command
            .args(["--", "cat", deep.join("notes").to_str().unwrap()])
            .current_dir("/")
            .uid(OURS)
            .gid(OURS);
        let done = command.output().unwrap();
        (
            done.status.success(),
            String::from_utf8_lossy(&done.stdout).into_owned(),
        )
    };
    assert_eq!(reads(0o755), (true, "in notes\n".to_owned()));
    // With mode 0711, a process outside of the sandbox can still open the file by its name.
    assert_eq!(reads(0o711), (false, String::new()));
}
