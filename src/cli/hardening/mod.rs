//! The hardening list of `doctor --production`: twelve points, each with its findings.

mod host;
mod operation;
mod people;
pub mod point_finding;
mod reach;
mod steps;
mod storage;

use serde::Serialize;

use crate::cli::hardening::point_finding::{PointFinding, PointResult};
use crate::node::config::Config;
use crate::node::files::BoundaryFiles;
use crate::record::enforcement::Level;
use crate::terminal::printable_text::PrintableText;

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

/// Checks all points of the list for a boundary. `held` is the sandbox level that this host supports.
#[must_use]
pub fn list(config: &Config, held: Level) -> Vec<HardeningPoint> {
    let files = BoundaryFiles::read(config);
    let found = [
        ("network", reach::network(config)),
        ("firewall", reach::firewall(config)),
        ("certificate", reach::certificate(config)),
        ("program", host::program()),
        ("isolation", host::isolation(config, held)),
        ("user", host::user(config)),
        ("tokens", people::tokens(config)),
        ("roster", people::roster(&files)),
        ("keys and files", host::keys_and_files(config)),
        ("steps", steps::check(&files)),
        ("database", storage::database(config)),
        ("operation", operation::check(config, &files)),
    ];
    let point = |(index, (point, findings)): (usize, (&'static str, Vec<PointFinding>))| HardeningPoint {
        number: index + 1,
        point,
        result: findings.iter().map(|finding| finding.result).max().unwrap_or(PointResult::Pass),
        findings,
    };
    found.into_iter().enumerate().map(point).collect()
}

/// Returns the list as text for a terminal.
#[must_use]
pub fn text(points: &[HardeningPoint]) -> String {
    let width = points.iter().map(|point| point.point.len()).max().unwrap_or(0);
    let mut text = String::new();
    for HardeningPoint { number, point, findings, .. } in points {
        for (index, finding) in findings.iter().enumerate() {
            let head = if index == 0 { format!("{number:>2}  {point:<width$}") } else { " ".repeat(width + 4) };
            let mark = match finding.result {
                PointResult::Pass => "pass ",
                PointResult::Fail => "FAIL ",
                PointResult::Yours => "yours",
            };
            text.push_str(&format!("{head}  {mark}  {}\n", PrintableText::text(&finding.says).as_str()));
            if let Some(fix) = &finding.fix {
                text.push_str(&format!("{}  fix    {}\n", " ".repeat(width + 4), PrintableText::text(fix).as_str()));
            }
        }
    }
    let failed = points.iter().filter(|point| point.result == PointResult::Fail).count();
    let count = |result| points.iter().flat_map(|point| &point.findings).filter(|one| one.result == result).count();
    text.push_str(&format!(
        "\n{failed} of {} points fail; {} findings are for you to check\n",
        points.len(),
        count(PointResult::Yours)
    ));
    text
}
