//! What doctor says of this host: its sandbox, tried with real runs.

use crate::{
    DoctorFinding,
    cli::{
        doctor::finding::{fix, noted, ok},
        sandbox::{HostTrial, scratch},
    },
};
use documents::{Layer, Level, UNBOUNDED_WORDS};
use sandbox::{Attempt, LocalSandbox, Missing, attempts};

/// Finds the layers that this host supports, by setting up one sandbox.
pub fn host(wanted: Level) -> (Vec<DoctorFinding>, Option<HostTrial>) {
    let trial = match scratch("countersign-doctor-").and_then(HostTrial::open) {
        Ok(trial) => trial,
        Err(error) => {
            let says = format!("the sandbox can't be tried: {error}");
            return (vec![fix("sandbox", says)], None);
        }
    };
    let HostTrial { sandbox, scratch } = &trial;
    let tried = attempts::make(sandbox, &attempts::strongest(sandbox), scratch.path());
    let probe = sandbox.probe();
    let mut lines = Vec::new();
    for state in &probe.layers {
        let what = format!("layer {}", state.layer.word());
        lines.push(match &state.missing {
            None => ok(what, "held"),
            Some(missing) => {
                let says = format!("missing: {}; fix it with: {}", missing.why, missing.knob);
                if wanted == Level::Strict {
                    fix(what, says)
                } else {
                    noted(what, says)
                }
            }
        });
    }
    let level = probe.level();
    let says = match level {
        Level::Strict => "strict".to_owned(),
        other => format!(
            "{}; a boundary of level strict does not serve on this host, a boundary of level best-effort serves and \
             reports the missing layers",
            other.word()
        ),
    };
    lines.push(if wanted == Level::Strict && level != Level::Strict {
        fix("sandbox level", says)
    } else {
        ok("sandbox level", says)
    });
    lines.push(attempted(&tried, level));
    lines.push(match &probe.cgroup {
        Ok(names) => ok("limits", format!("{} of the whole run by a control group", names.join(", "))),
        Err(why) => noted(
            "limits",
            format!(
                "limits apply only to each process, because there is no control group for runs ({why}); with \
                 systemd, set Delegate=yes"
            ),
        ),
    });
    if !probe
        .cgroup
        .as_ref()
        .is_ok_and(|names| names.contains(&"memory"))
    {
        lines.push(noted(
            "memory",
            format!(
                "private memory of each process; nothing on this host limits {UNBOUNDED_WORDS} of a run: delegate \
                 the memory controller (systemd: Delegate=yes), or permit fewer parallel runs, so that the memory of \
                 the host is enough"
            ),
        ));
    }
    lines.extend(overlay(sandbox));
    if let Some(abi) = probe.landlock_abi {
        lines.push(ok("Landlock", format!("ABI {abi}")));
    }
    let what = "user id";
    lines.push(if probe.own_id {
        ok(what, "each run gets one")
    } else if probe.held().contains(&Layer::Namespaces) {
        ok(
            what,
            "runs have the user id of the service, and another id inside their user namespace",
        )
    } else {
        noted(what, SHARED_ID)
    });
    (lines, Some(trial))
}

/// Text of the note for a service that is not root, on a host without user namespaces.
pub const SHARED_ID: &str = "runs have the user id of the service: the other layers protect the content of its files, \
                         but a step can change the modes and times of these files, also of the boundary's key; run \
                         the service as root, or allow user namespaces";

/// Reports a host on which no run can have an overlay. If the host lacks the layer `filesystem`, another line already
/// reports the cause.
pub fn overlay(sandbox: &LocalSandbox) -> Option<DoctorFinding> {
    let has_root = sandbox.probe().held().contains(&Layer::Filesystem);
    let Missing { why, knob } = sandbox.overlay().filter(|_| has_root)?;
    Some(noted(
        "overlays",
        format!("runs can't have an overlay ({why}): {knob}"),
    ))
}

/// Reports each attempt to leave the sandbox that succeeded in a real step.
pub fn attempted(tried: &Result<Vec<Attempt>, String>, level: Level) -> DoctorFinding {
    let what = "attempts to get out";
    let attempts = match tried {
        Err(error) => return fix(what, format!("the attempts failed to start: {error}")),
        Ok(attempts) => attempts,
    };
    let of = |answer| {
        attempts
            .iter()
            .filter(move |attempt| attempt.answer == answer)
    };
    let got: Vec<&str> = of(attempts::AttemptResult::Got)
        .map(|attempt| attempt.what)
        .collect();
    let not_made: Vec<String> = of(attempts::AttemptResult::NotMade)
        .map(|attempt| format!("{} (no {})", attempt.what, attempt.needs))
        .collect();
    let mut says = format!("{} made by a real step", attempts.len() - not_made.len());
    says.push_str(&if got.is_empty() {
        ", all held".to_owned()
    } else {
        format!("; the step could: {}", got.join(", "))
    });
    if !not_made.is_empty() {
        says.push_str(&format!("; not made: {}", not_made.join(", ")));
    }
    match (got.is_empty(), not_made.is_empty()) {
        (true, true) => ok(what, says),
        // Only the level `strict` promises to stop every attempt.
        (false, _) if level == Level::Strict => fix(what, says),
        _ => noted(what, says),
    }
}
