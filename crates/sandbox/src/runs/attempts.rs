//! Makes escape attempts with a real step, for `doctor`.

use std::{
    error::Error,
    io::{self, Read as _},
    net::TcpListener,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    sync::{Mutex, mpsc},
};

use crate::{CancelFlag, End, LinuxSandbox, Plan};
use documents::{Limits, Profile, locked};

/// One escape attempt and its result.
#[derive(Debug)]
pub struct Attempt {
    /// Short description of the attempt.
    pub what: &'static str,
    /// The program or the readable file that the attempt needs, or an empty text if the shell is enough.
    pub needs: &'static str,
    /// Result of the attempt.
    pub answer: AttemptResult,
}

/// The result of an escape attempt.
#[derive(Debug, Clone, PartialEq)]
pub enum AttemptResult {
    /// The attempt succeeded, so the step escaped.
    Got,
    /// The sandbox refused the attempt.
    Held,
    /// The attempt could not be made, so its result is unknown.
    NotMade,
}

/// The attempts, each with a description, a requirement, and a shell line that succeeds if the step escapes. The lines
/// use shell builtins if possible, because an attempt with a missing program proves nothing. No line uses a special
/// builtin (such as `exec`) with a redirection, because some shells exit if such a redirection fails.
const ATTEMPTS: [(&str, &str, &str); 12] = [
    ("read a file outside", "", r#"read -r line < "$CANARY""#),
    (
        "read the same file through /proc",
        "",
        r#"read -r line < "/proc/1/root$CANARY" || read -r line < "/proc/$PPID/cwd/../../../../..$CANARY""#,
    ),
    (
        "write to an open directory outside",
        "",
        r#"true > "$OPEN/got""#,
    ),
    (
        "write to the system's directories",
        "",
        "true > /usr/countersign-got",
    ),
    ("see the service's process", "", r#"kill -0 "$SERVICE""#),
    (
        "read the service's environment",
        "",
        r#"true < "/proc/$SERVICE/environ""#,
    ),
    (
        "connect to a port of this host",
        "bash",
        r#"bash -c "exec 3<>/dev/tcp/127.0.0.1/$PORT""#,
    ),
    ("mount something", "mount", "mount -t tmpfs none /tmp"),
    ("make a user namespace", "unshare", "unshare --user sh -c :"),
    ("make a device", "mknod", "mknod /tmp/device b 8 0"),
    (
        "keep a capability",
        "/proc/self/status",
        "is 'Cap[PEBA]*:' '*[1-9a-f]*'",
    ),
    (
        "gain rights by executing",
        "/proc/self/status",
        "is 'NoNewPrivs:' 0",
    ),
];

/// Shell functions of the attempts. `is` checks a line of `/proc/self/status`. `tell` prints the result of an
/// attempt.
const FUNCTIONS: &str = r#"
is() {
  while read -r key value; do
    case $key in $1) case $value in $2) return 0 ;; esac ;; esac
  done < /proc/self/status
  return 1
}
tell() {
  case $1 in
    0) echo "got $2" ;;
    126 | 127) echo "not made $2" ;;
    *) echo "held $2" ;;
  esac
}
"#;

/// Maximum time of all attempts together, in milliseconds.
const WALL_MS: u64 = 30_000;

/// Returns the strongest profile that `sandbox` supports, without paths of the host.
pub fn strongest(sandbox: &LinuxSandbox) -> Profile {
    Profile::nothing(
        sandbox.probe().held(),
        Limits {
            wall_ms: WALL_MS,
            ..Limits::default()
        },
    )
}

/// Makes all attempts under `profile`. Their targets are a readable file and a writable directory in `place`, which
/// this function creates.
///
/// # Errors
/// Returns the reason as an error if the attempts could not be made.
pub fn make(
    sandbox: &LinuxSandbox,
    profile: &Profile,
    place: &Path,
) -> Result<Vec<Attempt>, Box<dyn Error>> {
    let (canary, open) = (place.join("canary"), place.join("open"));
    std::fs::write(&canary, "a canary\n")?;
    std::fs::create_dir(&open)?;
    for (path, mode) in [(&canary, 0o644), (&open, 0o777)] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    }
    let port = TcpListener::bind("127.0.0.1:0")?;
    let number = port.local_addr()?.port();
    let prepared = sandbox.check(profile)?;
    let flag = CancelFlag::new()?;
    let mut report = with_a_high_number(|service| {
        let env = [
            ("CANARY", canary.display().to_string()),
            ("OPEN", open.display().to_string()),
            ("PORT", number.to_string()),
            ("SERVICE", service.to_string()),
        ];
        sandbox.run(prepared, Plan::shell(script(), env), &mut |_| {}, &flag)
    })?;
    let mut said = String::new();
    report.stdout.recorded.reader()?.read_to_string(&mut said)?;
    // A step that ended early has not made all escape attempts.
    if report.end != End::Exited(0) || !said.ends_with("end\n") {
        return Err(format!(
            "the step that makes the attempts ended with {:?}",
            report.end
        )
        .into());
    }
    answers(&said).ok_or_else(|| "the step did not report the result of each attempt".into())
}

fn script() -> String {
    let lines = ATTEMPTS.iter().enumerate().map(|(at, (_, needs, line))| {
        let there = match *needs {
            "" => "true".to_owned(),
            path if path.starts_with('/') => format!("true < {path}"),
            program => format!("command -v {program}"),
        };
        format!("if {{ {there}; }} > /dev/null 2>&1; then {{ {line}; }} > /dev/null 2>&1; tell $? {at}; else tell 127 {at}; fi\n")
    });
    std::iter::once(FUNCTIONS.to_owned())
        .chain(lines)
        .chain(["echo end\n".to_owned()])
        .collect()
}

fn answers(said: &str) -> Option<Vec<Attempt>> {
    let answer = |at: usize| {
        [
            ("got", AttemptResult::Got),
            ("held", AttemptResult::Held),
            ("not made", AttemptResult::NotMade),
        ]
        .into_iter()
        .find_map(|(word, answer)| {
            said.lines()
                .any(|line| line == format!("{word} {at}"))
                .then_some(answer)
        })
    };
    let each = ATTEMPTS.iter().enumerate();
    each.map(|(at, &(what, needs, _))| {
        Some(Attempt {
            what,
            needs,
            answer: answer(at)?,
        })
    })
    .collect()
}

/// Calls `then` with the id of a process or a thread of this program that is too high to exist in the pid namespace of
/// a run. In a container, the id of this program may be too low. Then the function starts threads until one thread has a
/// high id.
fn with_a_high_number<T>(then: impl FnOnce(u32) -> T) -> io::Result<T> {
    let over = Mutex::new(());
    std::thread::scope(|scope| {
        // The threads wait for this lock, and end when they get it.
        let _going_on = locked(&over);
        let mut number = std::process::id();
        while number <= LOW {
            let (tell, told) = mpsc::channel();
            let over = &over;
            std::thread::Builder::new().spawn_scoped(scope, move || {
                let _ = tell.send(rustix::thread::gettid().as_raw_pid().unsigned_abs());
                drop(over.lock());
            })?;
            number = told.recv().map_err(io::Error::other)?;
        }
        Ok(then(number))
    })
}

/// Highest process id that a step may already use in the pid namespace of its run.
const LOW: u32 = 9;
