//! The hardening list of `doctor --production`: twelve points, each with its findings.

mod host;
mod operation;
mod people;
pub mod point_finding;
mod reach;
mod steps;
mod storage;

use serde::Serialize;

use crate::{InspectedBoundary, PointFinding, PointResult, cli::hardening::point_finding::fail};
use client::PrintableText;
use documents::Level;

/// One point of the hardening list.
#[derive(Debug, Serialize)]
pub struct HardeningPoint {
    /// Number of the point, from 1 to 12.
    pub number: usize,
    /// Name of the point.
    pub point: &'static str,
    /// The worst result of the findings: a failure, then a finding for the operator.
    pub result: PointResult,
    /// The findings. Each point has at least one finding.
    pub findings: Vec<PointFinding>,
}

/// Checks all points of the list for a boundary. `held` is the sandbox level that this host supports. `to_fix` contains
/// the problems that `doctor` reports without `--production`, each with the name of its line. They fail the list too,
/// because they stop or disturb the service.
pub(super) fn list(
    boundary: &InspectedBoundary<'_>,
    held: Level,
    to_fix: &[(&str, &str)],
) -> Vec<HardeningPoint> {
    let (config, address) = (boundary.config, boundary.address());
    let is_sound = !to_fix
        .iter()
        .any(|(line, _)| point_of(line) == Some("keys and files"));
    let found = [
        ("network", reach::network(address)),
        ("firewall", reach::firewall(address)),
        ("certificate", reach::certificate(config)),
        ("program", host::program()),
        ("isolation", host::isolation(boundary, held)),
        ("user", host::user(config)),
        ("tokens", people::tokens(boundary)),
        ("roster", people::roster(boundary)),
        ("keys and files", host::keys_and_files(config, is_sound)),
        ("steps", steps::check(boundary)),
        ("database", storage::database(boundary)),
        ("operation", operation::check(boundary)),
    ];
    let point = |(index, (point, mut findings)): (usize, (&'static str, Vec<PointFinding>))| {
        // If the point `network` fails, the line `listener` reports the same problem in other words.
        let has_failed = findings
            .iter()
            .any(|finding| finding.result == PointResult::Fail);
        let is_new =
            |line: &str| point_of(line) == Some(point) && (line != "listener" || !has_failed);
        for (_, says) in to_fix.iter().filter(|(line, _)| is_new(line)) {
            if !findings.iter().any(|finding| finding.says == *says) {
                if says.contains(" is revoked: ") {
                    findings.push(fail(*says, boundary.roster_fix("remove this key")));
                    continue;
                }
                // A message ends with what to do, after a colon.
                let (says, fix) = says
                    .rsplit_once(": ")
                    .unwrap_or((says, "correct this before real runs"));
                findings.push(fail(says, fix));
            }
        }
        let result = findings
            .iter()
            .map(|finding| finding.result)
            .max()
            .unwrap_or(PointResult::Pass);
        HardeningPoint {
            number: index + 1,
            point,
            result,
            findings,
        }
    };
    found.into_iter().enumerate().map(point).collect()
}

/// Returns the point for a line of `doctor`, or `None` if the list needs no such line.
fn point_of(line: &str) -> Option<&'static str> {
    Some(match line {
        // The point `operation` checks more than this line: also the growth of the log.
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
    let width = points
        .iter()
        .map(|point| point.point.len())
        .max()
        .unwrap_or(0);
    let mut text = String::new();
    for HardeningPoint {
        number,
        point,
        findings,
        ..
    } in points
    {
        for (index, finding) in findings.iter().enumerate() {
            let head = if index == 0 {
                format!("{number:>2}  {point:<width$}")
            } else {
                " ".repeat(width + 4)
            };
            let mark = match finding.result {
                PointResult::Pass => "pass ",
                PointResult::Fail => "FAIL ",
                PointResult::Yours => "yours",
            };
            text.push_str(&format!(
                "{head}  {mark}  {}\n",
                PrintableText::message(&finding.says).as_str()
            ));
            if let Some(fix) = &finding.fix {
                text.push_str(&format!(
                    "{}  fix    {}\n",
                    " ".repeat(width + 4),
                    PrintableText::message(fix).as_str()
                ));
            }
        }
    }
    let failed = points
        .iter()
        .filter(|point| point.result == PointResult::Fail)
        .count();
    let count = |result| {
        points
            .iter()
            .flat_map(|point| &point.findings)
            .filter(|one| one.result == result)
            .count()
    };
    text.push_str(&format!(
        "\n{failed} of {} points fail; {} findings are for you to check\n",
        points.len(),
        count(PointResult::Yours)
    ));
    text
}
