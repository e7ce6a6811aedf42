//! Findings of `doctor` about this host: `doctor` tries its sandbox with real runs.
//!
//! The file also has the type of a finding, for both lists of `doctor`.
//!
//! The file also has the findings about the nodes of a boundary with a PostgreSQL database.

use serde::Serialize;

use crate::{
    InspectedBoundary,
    cli::sandbox::{HostTrial, scratch},
};
use boundary::silence;
use client::{PrintableText, now};
use crossing::LateReceipts;
use documents::{Layer, Level, UNBOUNDED_WORDS, joined};
use reading::FileProblem;
use sandbox::{Attempt, LocalSandbox, Missing, attempts};
use store::{ConsumeStop, MOST_CLOCK_DIFFERENCE_S};

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
    let tried = attempts::make(sandbox, &attempts::strongest(sandbox), scratch.path())
        .map_err(|error| error.to_string());
    let probe = sandbox.probe();
    let mut lines = Vec::new();
    for state in &probe.layers {
        let what = format!("layer {}", state.layer);
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
            "{other}; a boundary of level strict does not serve on this host, a boundary of level best-effort serves and \
             reports the missing layers"
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
    let got = joined(
        of(attempts::AttemptResult::Got).map(|attempt| attempt.what),
        ", ",
    );
    let missed = of(attempts::AttemptResult::NotMade);
    let made = attempts.len() - missed.clone().count();
    let not_made = joined(
        missed.map(|attempt| format!("{} (no {})", attempt.what, attempt.needs)),
        ", ",
    );
    let mut says = format!("{made} made by a real step");
    says += &if got.is_empty() {
        ", all held".to_owned()
    } else {
        format!("; the step could: {got}")
    };
    if !not_made.is_empty() {
        says += &format!("; not made: {not_made}");
    }
    match (got.is_empty(), not_made.is_empty()) {
        (true, true) => ok(what, says),
        // Only the level `strict` promises to stop every attempt.
        (false, _) if level == Level::Strict => fix(what, says),
        _ => noted(what, says),
    }
}

/// One finding.
#[derive(Serialize)]
pub struct DoctorFinding {
    /// What the finding means for the operator.
    pub result: FindingResult,
    /// What was checked. Empty in the hardening list, whose points have names.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub what: String,
    /// What was found.
    pub says: String,
    /// The command or the change that fixes a failure, if `says` does not name it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}

documents::words! {
    /// What a finding means for the operator, from the best to the worst.
    #[derive(PartialOrd, Ord, Serialize)]
    #[serde(rename_all = "lowercase")]
    pub enum FindingResult {
        /// The check succeeded.
        Ok = "ok",
        /// The operator should know this.
        Note = "note",
        /// The program cannot check this, so the operator must check it.
        Yours = "yours",
        /// The operator must fix the problem.
        Fix = "FIX",
    }
}

impl DoctorFinding {
    /// Returns the text of a finding for a terminal, behind its mark and its name.
    pub fn row(&self, head: &str) -> String {
        let says = PrintableText::message(&self.says);
        let mut row = format!("{head}  {}\n", says.as_str());
        if let Some(fix) = &self.fix {
            let fix = PrintableText::message(fix);
            row += &format!("{:width$}  {}\n", "", fix.as_str(), width = head.len());
        }
        row
    }
}

pub fn found(
    result: FindingResult,
    what: impl Into<String>,
    says: impl Into<String>,
) -> DoctorFinding {
    DoctorFinding {
        result,
        what: what.into(),
        says: says.into(),
        fix: None,
    }
}

pub fn ok(what: impl Into<String>, says: impl Into<String>) -> DoctorFinding {
    found(FindingResult::Ok, what, says)
}

pub fn noted(what: impl Into<String>, says: impl Into<String>) -> DoctorFinding {
    found(FindingResult::Note, what, says)
}

pub fn fix(what: impl Into<String>, says: impl Into<String>) -> DoctorFinding {
    found(FindingResult::Fix, what, says)
}

/// Returns a finding for each of these problems.
pub fn fixes<S: Into<String>>(
    what: &str,
    problems: impl IntoIterator<Item = S>,
) -> impl Iterator<Item = DoctorFinding> {
    problems.into_iter().map(move |says| fix(what, says))
}

pub fn pass(says: impl Into<String>) -> DoctorFinding {
    ok("", says)
}

pub fn yours(says: impl Into<String>) -> DoctorFinding {
    found(FindingResult::Yours, "", says)
}

pub fn fail(says: impl Into<String>, fix: impl Into<String>) -> DoctorFinding {
    DoctorFinding {
        fix: Some(fix.into()),
        ..found(FindingResult::Fix, "", says)
    }
}

/// Reports files that can't be read, so that their point is not checked.
pub fn unread(boundary: &InspectedBoundary<'_>, problems: &[FileProblem]) -> Vec<DoctorFinding> {
    let fix = format!("{} lists the problems", boundary.command("doctor"));
    let one = |problem: &FileProblem| fail(format!("not checked: {problem}"), &*fix);
    problems.iter().take(1).map(one).collect()
}

/// Reports the nodes, their clock, hanging server processes, and late receipts.
pub fn lines(boundary: &InspectedBoundary<'_>) -> Vec<DoctorFinding> {
    let what = "nodes";
    let late = LateReceipts::new(boundary.config.late_receipts()).note();
    let mut lines: Vec<DoctorFinding> = fixes("late receipts", late).collect();
    let (Some(report), Some(me)) = (&boundary.nodes, boundary.config.database.node()) else {
        return lines;
    };
    let seconds = now().unix() - report.clock.unix();
    if seconds.abs() > MOST_CLOCK_DIFFERENCE_S {
        lines.push(fix(
            "clock",
            ConsumeStop::ClocksDiffer { seconds }.to_string(),
        ));
    }
    lines.extend(fixes(what, &report.hanging));
    lines.extend(fixes(what, report.nodes.iter().filter_map(silence)));
    let nodes = report.nodes.iter();
    let mut all = joined(
        nodes
            .clone()
            .map(|node| format!("{} {}", node.name, node.word())),
        ", ",
    );
    if all.is_empty() {
        all = "no node has started".to_owned();
    }
    let says = format!("this node is {me}; {all}");
    let others = nodes.filter(|node| !node.lost && node.name != *me).count();
    lines.push(match others {
        0 => noted(
            what,
            format!("{says}; without a second node, nobody takes over if this host is lost"),
        ),
        _ => ok(what, says),
    });
    lines
}

/// Returns true if the service of this node stands by. Such a service has no control socket.
pub fn stands_by(boundary: &InspectedBoundary<'_>) -> bool {
    let nodes = boundary.nodes.iter().flat_map(|report| &report.nodes);
    nodes
        .filter(|node| node.word() == "standby")
        .any(|node| Some(&node.name) == boundary.config.database.node())
}
