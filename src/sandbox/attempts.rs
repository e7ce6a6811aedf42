//! Attempts to get out, made by a real step: what `doctor` says of a host is tried, not concluded.

use std::io::Read as _;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use crate::record::profile::{Limits, Profile};
use crate::sandbox::cancel::CancelFlag;
use crate::sandbox::{End, Plan, Sandbox};

/// One attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attempt {
    /// What was tried, in words.
    pub what: &'static str,
    /// Whether it was held.
    pub held: bool,
}

/// What is tried, and a shell line that succeeds when it got out.
const ATTEMPTS: [(&str, &str); 12] = [
    ("read a file outside", r#"cat "$CANARY""#),
    ("read it by way of /proc", r#"cat "/proc/1/root$CANARY" || cat "/proc/$PPID/cwd/../../../../..$CANARY""#),
    ("write to an open directory outside", r#": > "$OPEN/got""#),
    ("write to the system's directories", ": > /usr/countersign-got"),
    ("see the service's process", r#"[ "$SERVICE" -gt 9 ] && kill -0 "$SERVICE""#),
    ("read the service's environment", r#"[ "$SERVICE" -gt 9 ] && cat "/proc/$SERVICE/environ""#),
    ("connect to a port of this host", r#"bash -c "exec 3<>/dev/tcp/127.0.0.1/$PORT""#),
    ("mount something", "mount -t tmpfs none /tmp"),
    ("make a user namespace", "unshare --user true"),
    ("make a device", "mknod /tmp/device b 8 0"),
    ("keep a capability", "grep -E '^Cap(Prm|Eff|Bnd|Amb):.*[1-9a-f]' /proc/self/status"),
    ("gain rights by executing", "grep '^NoNewPrivs:.*0' /proc/self/status"),
];

/// The longest that they may take together.
const WALL_MS: u64 = 30_000;

/// Makes all of them under the strongest that `sandbox` holds. In `place`, which belongs to the caller, a file and a
/// directory are planted that anybody may read and write.
///
/// # Errors
/// Why they could not be made.
pub fn make(sandbox: &dyn Sandbox, place: &Path) -> Result<Vec<Attempt>, String> {
    let broken = |error: &dyn std::fmt::Display| error.to_string();
    let (canary, open) = (place.join("canary"), place.join("open"));
    let planted = std::fs::write(&canary, "a canary").and_then(|()| std::fs::create_dir(&open));
    planted.map_err(|error| broken(&error))?;
    for (path, mode) in [(&canary, 0o644), (&open, 0o777)] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).map_err(|error| broken(&error))?;
    }
    let port = TcpListener::bind("127.0.0.1:0").map_err(|error| broken(&error))?;
    let number = port.local_addr().map_err(|error| broken(&error))?.port();
    let source: String = ATTEMPTS
        .iter()
        .enumerate()
        .map(|(at, (_, line))| format!("( {line} ) > /dev/null 2>&1 && echo 'got {at}'\n"))
        .chain(["echo end\n".to_owned()])
        .collect();
    let env = [
        ("CANARY", canary.display().to_string()),
        ("OPEN", open.display().to_string()),
        ("PORT", number.to_string()),
        ("SERVICE", std::process::id().to_string()),
    ];
    let plan = Plan {
        interpreter: "sh".into(),
        source: source.into_bytes(),
        env: env.map(|(name, value)| (name.to_owned(), value)).to_vec(),
        params_json: b"{}".to_vec(),
    };
    let prepared = sandbox.check(&profile(sandbox)).map_err(|error| broken(&error))?;
    let flag = CancelFlag::new().map_err(|error| broken(&error))?;
    let mut report = sandbox.run(prepared, plan, &mut |_| {}, &flag);
    let mut said = String::new();
    let read = report.stdout.recorded.reader().and_then(|mut reader| reader.read_to_string(&mut said));
    read.map_err(|error| broken(&error))?;
    // Whoever does not get to the end has not tried all.
    if report.end != End::Exited(0) || !said.ends_with("end\n") {
        return Err(format!("the step that tries ended as {:?}", report.end));
    }
    let got = |at: usize| said.lines().any(|line| line == format!("got {at}"));
    Ok(ATTEMPTS.iter().enumerate().map(|(at, (what, _))| Attempt { what, held: !got(at) }).collect())
}

fn profile(sandbox: &dyn Sandbox) -> Profile {
    Profile::nothing(sandbox.probe().held(), Limits { wall_ms: WALL_MS, ..Limits::default() })
}
