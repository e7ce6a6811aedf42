//! The restrictions of the systemd unit that `init` writes.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use countersign::content;
use serde_json::json;

use crate::support::people::alice;
use crate::support::{PROGRAM, World, exited, host, said, said_at_exit};

/// Writes the unit of a usual installation. `init` leaves out settings that would hide the directory of the test.
fn unit(dir: &Path) -> PathBuf {
    let path = dir.join("countersign.service");
    let text = content::unit(
        Path::new("/srv/countersign"),
        Path::new("/usr/local/bin/countersign"),
    );
    std::fs::write(&path, text).expect("a unit");
    path
}

/// Runs `systemd-analyze security` of version 250 or later. Returns `None` if this host has no such program.
fn security(test: &str, options: &[&str], unit: &Path) -> Option<Output> {
    let ran = Command::new("systemd-analyze")
        .args(["security", "--offline=true"])
        .args(options)
        .arg(unit)
        .output();
    if ran.is_err() {
        host::not_run(test, "there is no systemd-analyze here");
    }
    ran.ok()
}

#[test]
fn the_exposure_of_the_systemd_unit_is_at_most_three_of_ten() {
    let dir = tempfile::tempdir().expect("a directory");
    let name = "the_exposure_of_the_systemd_unit_is_at_most_three_of_ten";
    // The threshold is an exposure from 0 to 100.
    let Some(scored) = security(name, &["--threshold=30"], &unit(dir.path())) else {
        return;
    };
    assert!(scored.status.success(), "{}", said(&scored));
}

/// `docs/operate.md` contains each restriction that the unit does not have, and no other restriction.
#[test]
fn operate_md_gives_the_reason_for_each_restriction_that_the_unit_lacks() {
    const NAME: &str = "operate_md_gives_the_reason_for_each_restriction_that_the_unit_lacks";
    let version = Command::new("systemd-analyze").arg("--version").output();
    let version = version.map(|output| said(&output)).unwrap_or_default();
    if !version.starts_with("systemd 252 ") {
        return host::not_run(
            NAME,
            "the table contains the lines of systemd 252, which is not installed here",
        );
    }
    let dir = tempfile::tempdir().expect("a directory");
    let Some(listed) = security(NAME, &["--json=short"], &unit(dir.path())) else {
        return;
    };
    let rows: serde_json::Value = serde_json::from_slice(&listed.stdout).expect("JSON");
    let open: BTreeSet<String> = rows
        .as_array()
        .expect("rows")
        .iter()
        .filter(|row| row["exposure"].is_string())
        .filter_map(|row| Some(row["name"].as_str()?.to_owned()))
        .collect();
    assert!(open.len() > 10, "{open:?}");
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/operate.md"))
        .expect("the page");
    let (_, table) = page
        .split_once("| restriction | reason |\n| --- | --- |\n")
        .expect("the table");
    let mut told = BTreeSet::new();
    for line in table.lines().take_while(|line| line.starts_with('|')) {
        let line = line.replace("\\|", "\u{1}");
        let cells: Vec<String> = line
            .split('|')
            .map(|cell| cell.trim().replace('\u{1}', "|"))
            .collect();
        assert!(cells[2].len() > 20, "{line}: no reason");
        for name in cells[1].split('`').skip(1).step_by(2) {
            assert!(told.insert(name.to_owned()), "{name} is in the table twice");
        }
    }
    assert_eq!(told, open);
}

/// The commands of the backup unit keep two backups up to date in turn, and delete only old backups of earlier units, the newest
/// two never.
#[test]
fn the_backup_unit_updates_two_backups_in_turn_and_first_deletes_backups_of_more_than_thirty_days()
{
    let world = World::new();
    let home = world.path("b");
    let dated = [
        ("20191231T000000Z", 99),
        ("20200101T000000Z", 31),
        ("20200102T000000Z", 29),
        ("20200103T000000Z", 40),
        ("20200104T000000Z", 40),
        ("by-hand", 99),
    ];
    for (name, days) in dated {
        let old = home.join("backups").join(name);
        std::fs::create_dir_all(&old).expect("made");
        let age = std::time::SystemTime::now() - std::time::Duration::from_secs(days * 86_400);
        std::fs::File::open(&old)
            .and_then(|file| file.set_modified(age))
            .expect("dated");
    }
    let unit = content::backup_unit(&home, Path::new(PROGRAM));
    let lines: Vec<&str> = unit
        .lines()
        .filter_map(|line| line.strip_prefix("ExecStart"))
        .collect();
    assert_eq!(lines.len(), 3, "{unit}");
    // Nothing is deleted after a backup, because a full disk prevents the backup.
    assert!(
        lines[..2].iter().all(|line| line.starts_with("Pre=")),
        "{unit}"
    );
    let names = || {
        let entries = std::fs::read_dir(home.join("backups")).expect("backups");
        let mut kept: Vec<String> = entries
            .map(|entry| {
                entry
                    .expect("an entry")
                    .file_name()
                    .to_string_lossy()
                    .into_owned()
            })
            .collect();
        kept.sort();
        kept
    };
    let kept = [
        "20200102T000000Z",
        "20200103T000000Z",
        "20200104T000000Z",
        "a",
        "b",
        "by-hand",
    ];
    let head = |name: &str| {
        std::fs::read_to_string(home.join("backups").join(name).join("checkpoint"))
            .unwrap_or_default()
    };
    let mut before = [String::new(), String::new()];
    for day in 0..4 {
        world.run("say:echo", json!({"text": day.to_string()}), &[&alice()]);
        for line in &lines {
            // systemd replaces `%%` and `$$`, and reads quotes as a shell does.
            let command = line
                .split_once('=')
                .expect("a command")
                .1
                .replace("%%", "%")
                .replace("$$", "$");
            let ran = world
                .command("sh")
                .args(["-c", &command])
                .current_dir(&home)
                .output()
                .expect("sh");
            assert!(ran.status.success(), "{command}: {}", said(&ran));
        }
        let expected: Vec<&str> = kept
            .into_iter()
            .filter(|name| day > 0 || *name != "b")
            .collect();
        assert_eq!(names(), expected);
        let now = ["a", "b"].map(head);
        let changed = [0, 1].map(|at| now[at] != before[at]);
        assert_eq!(changed, [day % 2 == 0, day % 2 == 1], "day {day}");
        before = now;
        // The file times of the two updates must differ.
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let config = home.join("countersign.toml").to_string_lossy().into_owned();
    let mut check = world.program(&["store", "check", "--config", &config]);
    exited(
        check.arg(home.join("backups/b")).output().expect("check"),
        0,
    );
    let doctor = world
        .program(&["doctor", "--production"])
        .arg(&home)
        .output()
        .expect("doctor");
    assert!(
        said(&doctor).contains("the last backup is of"),
        "{}",
        said(&doctor)
    );
    // systemd loads both units.
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::write(dir.path().join("countersign-backup.service"), unit).expect("a unit");
    let timer = dir.path().join("countersign-backup.timer");
    std::fs::write(&timer, content::BACKUP_TIMER).expect("a unit");
    let Ok(looked) = Command::new("systemd-analyze")
        .args(["verify", "--recursive-errors=no"])
        .arg(&timer)
        .output()
    else {
        return host::not_run(
            "systemd loads the backup timer",
            "there is no systemd-analyze here",
        );
    };
    assert!(
        looked.status.success() && !said(&looked).contains("countersign-backup"),
        "{}",
        said(&looked)
    );
}

/// systemd loads the socket unit of `examples/systemd` together with the unit of the service.
#[test]
fn systemd_loads_the_socket_unit_of_the_examples() {
    let text = std::fs::read_to_string(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/examples/systemd/countersign.socket"
    ))
    .expect("the socket unit");
    let dir = tempfile::tempdir().expect("a directory");
    let service = content::unit(dir.path(), Path::new(PROGRAM));
    std::fs::write(dir.path().join("countersign.service"), service).expect("a unit");
    let socket = dir.path().join("countersign.socket");
    std::fs::write(&socket, text).expect("a unit");
    let looked = Command::new("systemd-analyze")
        .args(["verify", "--recursive-errors=no"])
        .arg(&socket)
        .output();
    let Ok(looked) = looked else {
        return host::not_run(
            "systemd_loads_the_socket_unit_of_the_examples",
            "there is no systemd-analyze here",
        );
    };
    assert!(
        looked.status.success() && !said(&looked).contains("countersign.socket"),
        "{}",
        said(&looked)
    );
}

/// A restriction that strict runs do not need to lose must be in the unit, and each reason in the table must be true.
#[test]
fn strict_runs_work_under_the_systemd_unit_and_not_under_the_restrictions_that_it_lacks() {
    const NAME: &str =
        "strict_runs_work_under_the_systemd_unit_and_not_under_the_restrictions_that_it_lacks";
    if !rustix::process::geteuid().is_root() {
        return host::not_run(NAME, "only root can make the mounts of the unit");
    }
    let python = Path::new("/usr/bin/python3");
    let library = Command::new(python)
        .args(["-c", "import ctypes; ctypes.CDLL('libseccomp.so.2')"])
        .output();
    if !library.is_ok_and(|output| output.status.success()) {
        return host::not_run(NAME, "there is no python3 with libseccomp here");
    }
    if Command::new("systemd-analyze")
        .arg("--version")
        .output()
        .is_err()
    {
        return host::not_run(NAME, "there is no systemd-analyze here");
    }
    let dir = tempfile::tempdir().expect("a directory");
    let unit = unit(dir.path());
    // A directory that no setting of the unit hides.
    let program = tempfile::Builder::new()
        .prefix("countersign-test-")
        .tempfile_in("/var/lib")
        .expect("a file");
    std::fs::copy(PROGRAM, program.path()).expect("a copy of the program");
    std::fs::set_permissions(
        program.path(),
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )
    .expect("mode");
    // The kernel executes no file that is open for writing.
    let program = program.into_temp_path();
    let run = |with: &str, script: &str| {
        let mut command = Command::new(python);
        command
            .arg(concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/scripts/unit-settings"
            ))
            .arg(&unit);
        command.args(["--user", "daemon", "--without", "ReadWritePaths"]);
        if !with.is_empty() {
            command.args(["--with", with]);
        }
        command
            .args(["--", "sh", "-c", script, "sh"])
            .arg(&program)
            .env("HOME", "/tmp")
            .current_dir("/");
        command.output().expect("python")
    };
    // The sandbox opens the path of `--write` with openat2.
    let strict = "mkdir /tmp/d && exec \"$1\" sandbox --write /tmp/d --workdir in-place -- sh -c 'echo held; : > file'";
    said_at_exit(run("", strict), 0, "held");
    for lacking in [
        "RestrictNamespaces=user mnt pid net ipc uts cgroup",
        "SystemCallFilter=~@mount",
        "SystemCallFilter=~@privileged",
        "RestrictSUIDSGID=yes",
        "ProtectKernelTunables=yes",
        "ProtectKernelLogs=yes",
        "ProtectHostname=yes",
    ] {
        let broken = run(lacking, strict);
        assert!(
            !broken.status.success() && !said(&broken).contains("held"),
            "{lacking}: {}",
            said(&broken)
        );
    }
    // The restrictions are in force.
    for (action, message) in [
        (": > /usr/file", "Read-only file system"),
        (": > /srv/file", "Read-only file system"),
        ("ls /root", "Permission denied"),
        ("nice true", "Operation not permitted"),
        (
            "setarch --addr-no-randomize true",
            "Operation not permitted",
        ),
        ("cat /dev/kmsg", "No such file"),
    ] {
        let refused = said(&run("", action));
        assert!(refused.contains(message), "{action}: {refused}");
    }
}
