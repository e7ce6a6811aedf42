//! Attempts to get out, made by a real step: what `doctor` says of a host is tried, not concluded.

use std::io::{self, Read as _};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::{Mutex, PoisonError, mpsc};

use crate::record::profile::{Limits, Profile};
use crate::sandbox::cancel::CancelFlag;
use crate::sandbox::{End, Plan, Sandbox};

/// One attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attempt {
    /// What was tried, in words.
    pub what: &'static str,
    /// What it takes: a program, or a file that can be read. Empty where the shell alone does it.
    pub needs: &'static str,
    /// What came of it.
    pub answer: AttemptResult,
}

/// What came of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttemptResult {
    /// It got out.
    Got,
    /// It was made, and refused.
    Held,
    /// It could not be made, and says nothing.
    NotMade,
}

/// What is tried, what that takes, and a shell line that succeeds when it got out. Builtins wherever there is one: a program that
/// is missing was not held. No special builtin has a redirection: where that is refused, some shells end.
const ATTEMPTS: [(&str, &str, &str); 12] = [
    ("read a file outside", "", r#"read -r line < "$CANARY""#),
    (
        "read it by way of /proc",
        "",
        r#"read -r line < "/proc/1/root$CANARY" || read -r line < "/proc/$PPID/cwd/../../../../..$CANARY""#,
    ),
    ("write to an open directory outside", "", r#"true > "$OPEN/got""#),
    ("write to the system's directories", "", "true > /usr/countersign-got"),
    ("see the service's process", "", r#"kill -0 "$SERVICE""#),
    ("read the service's environment", "", r#"true < "/proc/$SERVICE/environ""#),
    ("connect to a port of this host", "bash", r#"bash -c "exec 3<>/dev/tcp/127.0.0.1/$PORT""#),
    ("mount something", "mount", "mount -t tmpfs none /tmp"),
    ("make a user namespace", "unshare", "unshare --user sh -c :"),
    ("make a device", "mknod", "mknod /tmp/device b 8 0"),
    ("keep a capability", "/proc/self/status", "is 'Cap[PEBA]*:' '*[1-9a-f]*'"),
    ("gain rights by executing", "/proc/self/status", "is 'NoNewPrivs:' 0"),
];

/// What the lines use: whether a line of the process's own status has that key and that value.
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

/// The longest that they may take together.
const WALL_MS: u64 = 30_000;

/// The strongest profile that `sandbox` holds, with nothing of the host in it.
#[must_use]
pub fn strongest(sandbox: &dyn Sandbox) -> Profile {
    Profile::nothing(sandbox.probe().held(), Limits { wall_ms: WALL_MS, ..Limits::default() })
}

/// Makes all of them under `profile`. In `place`, which belongs to the caller, a file and a directory are planted that
/// anybody may read and write.
///
/// # Errors
/// Why they could not be made.
pub fn make(sandbox: &dyn Sandbox, profile: &Profile, place: &Path) -> Result<Vec<Attempt>, String> {
    let broken = |error: &dyn std::fmt::Display| error.to_string();
    let (canary, open) = (place.join("canary"), place.join("open"));
    let planted = std::fs::write(&canary, "a canary\n").and_then(|()| std::fs::create_dir(&open));
    planted.map_err(|error| broken(&error))?;
    for (path, mode) in [(&canary, 0o644), (&open, 0o777)] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).map_err(|error| broken(&error))?;
    }
    let port = TcpListener::bind("127.0.0.1:0").map_err(|error| broken(&error))?;
    let number = port.local_addr().map_err(|error| broken(&error))?.port();
    let prepared = sandbox.check(profile).map_err(|error| broken(&error))?;
    let flag = CancelFlag::new().map_err(|error| broken(&error))?;
    let report = with_a_high_number(|service| {
        let env = [
            ("CANARY", canary.display().to_string()),
            ("OPEN", open.display().to_string()),
            ("PORT", number.to_string()),
            ("SERVICE", service.to_string()),
        ];
        let plan = Plan {
            interpreter: "sh".into(),
            source: script().into_bytes(),
            env: env.map(|(name, value)| (name.to_owned(), value)).to_vec(),
            params_json: b"{}".to_vec(),
        };
        sandbox.run(prepared, plan, &mut |_| {}, &flag)
    });
    let mut report = report.map_err(|error| broken(&error))?;
    let mut said = String::new();
    let read = report.stdout.recorded.reader().and_then(|mut reader| reader.read_to_string(&mut said));
    read.map_err(|error| broken(&error))?;
    // Whoever does not get to the end has not tried all.
    if report.end != End::Exited(0) || !said.ends_with("end\n") {
        return Err(format!("the step that tries ended as {:?}", report.end));
    }
    answers(&said).ok_or_else(|| "the step that tries did not tell of each attempt".to_owned())
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
    std::iter::once(FUNCTIONS.to_owned()).chain(lines).chain(["echo end\n".to_owned()]).collect()
}

fn answers(said: &str) -> Option<Vec<Attempt>> {
    let answer = |at: usize| {
        [("got", AttemptResult::Got), ("held", AttemptResult::Held), ("not made", AttemptResult::NotMade)]
            .into_iter()
            .find_map(|(word, answer)| said.lines().any(|line| line == format!("{word} {at}")).then_some(answer))
    };
    let each = ATTEMPTS.iter().enumerate();
    each.map(|(at, &(what, needs, _))| Some(Attempt { what, needs, answer: answer(at)? })).collect()
}

/// Hands on a number by which this process can be seen and signalled, and which no process of a run has in a pid
/// namespace of the run's own: its own number, or where that is too low, as in a container, that of a thread.
fn with_a_high_number<T>(then: impl FnOnce(u32) -> T) -> io::Result<T> {
    let over = Mutex::new(());
    std::thread::scope(|scope| {
        // Threads wait for this, and end when it is dropped.
        let _going_on = over.lock().unwrap_or_else(PoisonError::into_inner);
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

/// The step is one of the first processes of such a namespace, and it looks for the service before it has started others.
const LOW: u32 = 9;
