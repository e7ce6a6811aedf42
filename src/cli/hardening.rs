//! The hardening list of `doctor --production`. Each point of the list passes, fails, or must be checked by the
//! operator.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use serde::Serialize;

use crate::node::config::Config;
use crate::node::files::BoundaryFiles;
use crate::node::private;
use crate::record::enforcement::Level;
use crate::record::sandbox_permission::SandboxPermission;
use crate::record::step_definition::StepDefinition;

/// One point of the list.
#[derive(Debug, Serialize)]
pub struct HardeningPoint {
    /// The state of the point.
    pub stands: PointResult,
    /// The name of the point.
    pub what: &'static str,
    /// The result and the advice.
    pub says: String,
}

/// The state of a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PointResult {
    /// The check succeeded.
    Pass,
    /// The check failed.
    Fail,
    /// The program cannot check this point, so the operator must check it.
    Yours,
}

/// Checks all points of the list for a boundary. `held` is the sandbox level that this host supports.
#[must_use]
pub fn list(config: &Config, held: Level) -> Vec<HardeningPoint> {
    let files = BoundaryFiles::read(config);
    let mut points = vec![listening(config)];
    let mut say = |stands, what, says: String| points.push(HardeningPoint { stands, what, says });
    let either = |good: bool| if good { PointResult::Pass } else { PointResult::Fail };
    say(
        PointResult::Yours,
        "proxy",
        "if clients use other machines, put a reverse proxy with TLS in front of this service, and add its name to \
         `hosts`"
            .into(),
    );
    let (stands, says) = not_root(config);
    say(stands, "not root", says);
    say(
        either(config.level == Level::Strict && held == Level::Strict),
        "sandbox",
        format!("configured: {}; this host holds: {}", config.level.word(), held.word()),
    );
    let (stands, says) = machine();
    say(stands, "container or VM", says);
    let found = private::check(config);
    say(
        either(found.is_empty()),
        "private set",
        if found.is_empty() {
            "no run can reach the key, the store, the configuration, the policy or the roster".into()
        } else {
            found.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
        },
    );
    let open: Vec<String> = [&config.key, &config.path, &config.policy, &config.roster, &config.database]
        .into_iter()
        // The first start creates the database.
        .filter(|path| **path != config.database || path.exists())
        .filter_map(|path| open_to_others(path, *path == config.key || *path == config.database))
        .collect();
    say(
        either(open.is_empty()),
        "modes of keys and files",
        if open.is_empty() { "closed to others".into() } else { open.join("; ") },
    );
    match &files {
        Err(problems) => {
            let first = problems.list().first().map(ToString::to_string).unwrap_or_default();
            say(
                PointResult::Fail,
                "files",
                format!(
                    "the files can't be read, so the points below are not checked: \
             {first}"
                ),
            );
        }
        Ok(files) => {
            match &files.roster {
                Ok(roster) => {
                    let tables = roster.tables();
                    let (threshold, people) = (tables.threshold, tables.approver.len());
                    say(
                        either(threshold > 0),
                        "roster guarded",
                        if threshold > 0 {
                            format!("the next version needs {threshold} of {people} approvers")
                        } else {
                            "threshold 0: anyone who can write the file decides who may approve; set `threshold`".into()
                        },
                    );
                    say(
                        either(people > 1),
                        "more than one approver",
                        if people > 1 {
                            format!("{people} approvers")
                        } else {
                            format!(
                                "only {people}: if an approver is absent or loses the key, no run can be approved; add \
                                 an approver"
                            )
                        },
                    );
                    let witnesses = tables.witness.len();
                    say(
                        either(witnesses > 0),
                        "witnesses",
                        if witnesses > 0 {
                            format!("{witnesses} in the roster")
                        } else {
                            "none: nobody detects a boundary that shows two histories or an old history; add a \
                             [[witness]] table to the roster"
                                .into()
                        },
                    );
                }
                Err(problems) => {
                    let first = problems.first().map(ToString::to_string).unwrap_or_default();
                    say(PointResult::Fail, "roster guarded", format!("the roster can't be read: {first}"));
                }
            }
            let steps: Vec<&StepDefinition> = files.registry.steps().map(|step| &*step.definition).collect();
            let (stands, says) = interpreters(&steps);
            say(stands, "allowed interpreters", says);
            let (stands, says) = of_host(&steps);
            say(stands, "steps that need the host", says);
        }
    }
    let days = |seconds: i64| seconds / 86_400;
    let kept = config.retention;
    say(
        PointResult::Pass,
        "retention",
        format!(
            "outputs {} days, proposals {} days; receipts, seals and the log are never deleted: watch the free space",
            days(kept.outputs_s),
            days(kept.proposals_s)
        ),
    );
    say(
        if config.known_checkpoints.is_empty() { PointResult::Yours } else { PointResult::Pass },
        "backups",
        if config.known_checkpoints.is_empty() {
            "run `countersign store backup` to another machine, and test `store restore`; name the checkpoint of a \
             copy under `known_checkpoints`, so that the boundary refuses an older store"
                .into()
        } else {
            format!(
                "each start compares the store with {} checkpoints from other places",
                config.known_checkpoints.len()
            )
        },
    );
    say(
        PointResult::Yours,
        "monitoring",
        "poll /ready, and run `countersign audit` with --state on another machine".into(),
    );
    points
}

fn listening(config: &Config) -> HardeningPoint {
    let loopback = config.listen.ip().is_loopback();
    HardeningPoint {
        stands: if loopback { PointResult::Pass } else { PointResult::Fail },
        what: "loopback or TLS",
        says: if loopback {
            format!("{} is a loopback address", config.listen)
        } else {
            format!(
                "other machines can reach {} without encryption: listen on 127.0.0.1 behind a TLS proxy",
                config.listen
            )
        },
    }
}

/// Checks that the service does not run as root. The owner of the store counts as the user of the service.
fn not_root(config: &Config) -> (PointResult, String) {
    let store = [&config.database, &config.data].into_iter().find_map(|path| Some((path, path.metadata().ok()?.uid())));
    match store {
        None => (PointResult::Yours, "there is no store yet: run the service as a separate user".into()),
        Some((path, 0)) => (
            PointResult::Fail,
            format!(
                "{} belongs to root, so the service runs as root: run it as a separate user (`User=` in the unit \
                 that `init` wrote); runs then use user namespaces",
                path.display()
            ),
        ),
        Some((path, user)) => (
            PointResult::Pass,
            format!(
                "{} belongs to the ordinary user {user}, so the service runs as \
         this user",
                path.display()
            ),
        ),
    }
}

/// Checks that the service is isolated in a container or a virtual machine.
fn machine() -> (PointResult, String) {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    if Path::new("/.dockerenv").exists() || Path::new("/run/.containerenv").exists() {
        return (PointResult::Pass, "a container".into());
    }
    if read("/proc/cpuinfo").lines().any(|line| line.starts_with("flags") && line.contains(" hypervisor")) {
        return (PointResult::Pass, "a virtual machine: run no other services on this machine".into());
    }
    let says = "no container and no VM was found: give the boundary a separate machine, VM or container, so that an \
         exploit of the kernel reaches nothing else";
    (PointResult::Yours, says.into())
}

fn open_to_others(path: &Path, secret: bool) -> Option<String> {
    let found = match path.metadata() {
        Ok(found) => found,
        Err(error) => return Some(format!("{} can't be checked ({error})", path.display())),
    };
    let (mode, me) = (found.mode() & 0o7777, rustix::process::geteuid().as_raw());
    let bad = if secret { 0o077 } else { 0o022 };
    if mode & bad != 0 {
        Some(format!(
            "{} has mode {mode:04o}: run `chmod {}` on this file",
            path.display(),
            if secret { "600" } else { "go-w" }
        ))
    } else if found.uid() != me && found.uid() != 0 {
        Some(format!(
            "{} belongs to the user {}: change the owner to the user of the service",
            path.display(),
            found.uid()
        ))
    } else {
        None
    }
}

fn interpreters(steps: &[&StepDefinition]) -> (PointResult, String) {
    let mut names: Vec<&str> = steps.iter().map(|step| step.interpreter.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    let general: Vec<&str> = names.iter().copied().filter(|name| !matches!(*name, "bash" | "sh")).collect();
    if general.is_empty() {
        return (PointResult::Pass, format!("{} only, and policy can read their commands", names.join(", ")));
    }
    let says = format!(
        "steps use {}: policy can't read their scripts, so only the sandbox restricts them; remember this when you \
         approve such steps",
        general.join(", ")
    );
    (PointResult::Yours, says)
}

fn of_host(steps: &[&StepDefinition]) -> (PointResult, String) {
    let needs = |step: &&&StepDefinition| SandboxPermission::ALL.iter().any(|one| one.is_hole(&step.sandbox));
    let named: Vec<&str> = steps.iter().filter(needs).map(|step| step.reference.as_str()).collect();
    if named.is_empty() {
        (
            PointResult::Pass,
            "none: no step turns the sandbox off, writes in place, uses a socket, or uses the whole \
         network"
                .into(),
        )
    } else {
        (
            PointResult::Yours,
            format!(
                "{}: policy opens the sandbox for each of these steps; require two approvals for them",
                named.join(", ")
            ),
        )
    }
}
