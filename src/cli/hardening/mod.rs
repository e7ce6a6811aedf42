//! The hardening list of `doctor --production`: twelve points, each with its findings.

mod host;
mod operation;
mod people;

use serde::Serialize;

use crate::{DoctorFinding, FindingResult, InspectedBoundary, cli::doctor::host::fail};

/// One point of the hardening list.
#[derive(Serialize)]
pub struct HardeningPoint {
    /// Number of the point, from 1 to 12.
    number: usize,
    /// Name of the point.
    point: &'static str,
    /// The worst result of the findings.
    pub result: FindingResult,
    /// The findings. Each point has at least one finding.
    findings: Vec<DoctorFinding>,
}

/// Checks all points of the list for a boundary. `to_fix` contains the problems that `doctor` reports without
/// `--production`. They fail the list too, because they stop or disturb the service.
pub fn list(boundary: &InspectedBoundary<'_>, to_fix: &[DoctorFinding]) -> Vec<HardeningPoint> {
    let (config, address) = (boundary.config, boundary.address());
    let is_sound = |point| {
        let mut found = to_fix.iter();
        !found.any(|found| point_of(&found.what) == Some(point))
    };
    let found = [
        ("network", operation::network(address)),
        ("firewall", operation::firewall(address)),
        ("certificate", operation::certificate(config)),
        ("program", host::program()),
        ("isolation", host::isolation(config, is_sound("isolation"))),
        ("user", host::user(config)),
        ("tokens", people::tokens(boundary)),
        ("roster", people::roster(boundary)),
        (
            "keys and files",
            host::keys_and_files(config, is_sound("keys and files")),
        ),
        ("steps", host::check(boundary)),
        ("database", host::database(boundary)),
        ("operation", operation::check(boundary)),
    ];
    let point = |(index, (point, mut findings)): (usize, (&'static str, Vec<DoctorFinding>))| {
        // If the point `network` fails, the line `listener` reports the same problem in other words.
        let has_failed = findings
            .iter()
            .any(|finding| finding.result == FindingResult::Fix);
        let is_new =
            |line: &str| point_of(line) == Some(point) && (line != "listener" || !has_failed);
        for DoctorFinding { says, .. } in to_fix.iter().filter(|found| is_new(&found.what)) {
            if findings.iter().any(|finding| finding.says == *says) {
                continue;
            }
            findings.push(if says.contains(" is revoked: ") {
                fail(says, boundary.roster_fix("remove this key"))
            } else {
                // A message ends with what to do, after a colon.
                let (says, fix) = says
                    .rsplit_once(": ")
                    .unwrap_or((says, "correct this before real runs"));
                fail(says, fix)
            });
        }
        let results = findings.iter().map(|finding| finding.result);
        HardeningPoint {
            number: index + 1,
            point,
            result: results.max().unwrap_or(FindingResult::Ok),
            findings,
        }
    };
    found.into_iter().enumerate().map(point).collect()
}

/// Returns the point for a line of `doctor`, or `None` if the list needs no such line.
fn point_of(line: &str) -> Option<&'static str> {
    Some(match line {
        // The point `operation` has its own check of the free space, which includes the growth of the data.
        "disk" => return None,
        "listener" => "network",
        "certificate" => "certificate",
        "sandbox" | "sandbox level" | "attempts to get out" => "isolation",
        _ if line.starts_with("layer ") => "isolation",
        "roster" | "quorum" => "roster",
        "programs" | "access" | "steps" => "steps",
        "store" => "database",
        "checkpoint" | "service" | "nodes" | "clock" | "late receipts" => "operation",
        _ => "keys and files",
    })
}

/// Returns the list as text for a terminal.
pub fn text(points: &[HardeningPoint]) -> String {
    let names = points.iter().map(|point| point.point.len());
    let width = names.max().unwrap_or(0);
    let mut text = String::new();
    for point in points {
        let mut head = format!("{:>2}  {:<width$}", point.number, point.point);
        for finding in &point.findings {
            text += &finding.row(&format!("{head}  {:<5}", finding.result.word()));
            head = " ".repeat(head.len());
        }
    }
    let failed = points
        .iter()
        .filter(|point| point.result == FindingResult::Fix);
    let yours = points
        .iter()
        .flat_map(|point| &point.findings)
        .filter(|one| one.result == FindingResult::Yours);
    text + &format!(
        "\n{} of {} points fail; {} findings are for you to check",
        failed.count(),
        points.len(),
        yours.count()
    )
}
