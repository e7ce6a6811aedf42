//! Lines of `doctor` about the nodes of a boundary with a PostgreSQL database.

use crate::{
    DoctorFinding, InspectedBoundary,
    cli::doctor::finding::{fix, noted, ok},
    node::start,
};
use boundary::silence;
use crossing::LateReceipts;
use store::{ConsumeStop, MOST_CLOCK_DIFFERENCE_S};

/// Reports the nodes, their clock, hanging server processes, and late receipts.
pub fn lines(boundary: &InspectedBoundary<'_>) -> Vec<DoctorFinding> {
    let what = "nodes";
    let late = LateReceipts::new(boundary.config.late_receipts()).note();
    let mut lines: Vec<DoctorFinding> = late
        .into_iter()
        .map(|note| fix("late receipts", note))
        .collect();
    let (Some(report), Some(me)) = (&boundary.nodes, boundary.config.database.node()) else {
        return lines;
    };
    let seconds = (start::surroundings().now)().unix() - report.clock.unix();
    if seconds.abs() > MOST_CLOCK_DIFFERENCE_S {
        lines.push(fix(
            "clock",
            ConsumeStop::ClocksDiffer { seconds }.to_string(),
        ));
    }
    lines.extend(report.hanging.iter().map(|hangs| fix(what, hangs.clone())));
    lines.extend(
        report
            .nodes
            .iter()
            .filter_map(silence)
            .map(|silent| fix(what, silent)),
    );
    let all: Vec<String> = report
        .nodes
        .iter()
        .map(|node| format!("{} {}", node.name, node.word()))
        .collect();
    let says = format!(
        "this node is {me}; {}",
        if all.is_empty() {
            "no node has started".to_owned()
        } else {
            all.join(", ")
        }
    );
    let others = report
        .nodes
        .iter()
        .filter(|node| !node.lost && node.name != *me)
        .count();
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
