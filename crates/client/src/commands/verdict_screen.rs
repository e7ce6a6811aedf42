//! Draws the screen of a verdict: what was checked, with which inputs, and what a receipt states.

use std::path::Path;

use crate::{ChosenTrust, LineTone, PrintableText, Screen, now, outcome_words};
use documents::{
    BlobDigest, Executions, ProgramFacts, ProgramMode, SKEW_S, Status, Timestamp, joined,
    refused_parts, refused_words,
};
use verdict::{BundleReport, Check, CheckFinding, Facts, report};

/// Inputs of a verification, for the screen and the JSON. With the same inputs, another person can repeat the
/// verification.
pub struct VerdictInputs<'a> {
    /// The file of the bundle.
    pub place: &'a Path,
    /// Digest of the file.
    pub digest: BlobDigest,
    /// Roster that was trusted.
    pub trusted: &'a ChosenTrust,
    /// The report of the verification.
    pub report: &'a BundleReport,
    /// Time for which the bundle was verified.
    pub at: Option<Timestamp>,
}

impl VerdictInputs<'_> {
    /// Adds the inputs to the screen.
    pub fn state(&self, screen: &mut Screen) {
        screen.field("file", self.place.to_string_lossy());
        screen.field("file digest", self.digest.to_string());
        screen.field("trusted", format!("roster {}", self.report.trust.roster));
        screen.field("trust from", &self.trusted.from);
        let at = self.at.map_or_else(
            || "no time: times were only compared with each other".to_owned(),
            |at| format!("what is dated up to {at}"),
        );
        screen.field("judged", &at);
        screen.field("by", concat!("countersign ", env!("CARGO_PKG_VERSION")));
    }
}

/// Returns the verdict with all checks.
pub fn screen(basis: &VerdictInputs<'_>, other_roster: Option<&str>) -> Screen {
    let report = basis.report;
    let mut screen = Screen::default();
    screen.heading("Checks");
    // Summarize all checks that need the missing trusted roster in one line.
    let without_roster = |check: &&Check| check.detail.starts_with(WITHOUT_ROSTER);
    let lacking = report.checks.iter().filter(without_roster).count();
    let why = report
        .checks
        .iter()
        .find(without_roster)
        .map_or("", |check| &check.detail);
    let others = |screen: &mut Screen, prefix: &str| {
        if lacking > 0 {
            screen.push(
                LineTone::Faint,
                format!("  {prefix}{:<24} ", format!("{lacking} checks")),
                why,
            );
        }
    };
    for check in report.checks.iter().filter(|check| !without_roster(check)) {
        let tone = match check.finding {
            CheckFinding::Established => LineTone::Good,
            CheckFinding::Failed => LineTone::Bad,
            CheckFinding::NotChecked => LineTone::Faint,
        };
        let prefix = format!("  {:<12} {:<24} ", check.finding.word(), check.name.word());
        screen.push(tone, prefix, &check.detail);
    }
    others(&mut screen, "not checked  ");
    if let Some(facts) = &report.facts {
        screen.heading("What the receipt states");
        state(&mut screen, facts);
    }
    screen.heading("Whose word it is");
    for word in report::TrustBasis::ALL {
        let names = joined(
            report
                .checks
                .iter()
                .filter(|check| {
                    check.finding == CheckFinding::Established && check.rests_on == word
                })
                .map(|check| check.name),
            ", ",
        );
        if !names.is_empty() {
            screen.push(LineTone::Plain, format!("  {:<26} ", word.word()), names);
        }
    }
    screen.heading("Only the boundary's word");
    for line in &report.boundary_says {
        screen.say(LineTone::Plain, line);
    }
    screen.heading("Not checked");
    let open: Vec<_> = report
        .checks
        .iter()
        .filter(|check| check.finding == CheckFinding::NotChecked)
        .collect();
    for check in open.iter().copied().filter(|check| !without_roster(check)) {
        screen.push(
            LineTone::Plain,
            format!("  {:<24} ", check.name.word()),
            &check.detail,
        );
    }
    others(&mut screen, "");
    if open.is_empty() {
        screen.say(
            LineTone::Plain,
            "every check that is possible with a bundle was made",
        );
    }
    if !report.warnings.is_empty() {
        screen.heading("Mind");
        for line in &report.warnings {
            screen.say(LineTone::Bad, line);
        }
    }
    if let Some(facts) = &report.facts
        && basis.at.is_none()
        && facts.finished_at > now().plus(SKEW_S)
    {
        screen.say(
            LineTone::Bad,
            &format!(
                "By this machine's clock the run ended in the future ({}): compare the clocks.",
                facts.finished_at
            ),
        );
    }
    screen.heading("Verdict");
    basis.state(&mut screen);
    if report.verified {
        screen.field_in(LineTone::Good, "verdict", "verified");
    } else {
        let failed = joined(report.failed().map(|check| check.name), ", ");
        let (tone, words) = match report.undecided() {
            Some(missing) => (LineTone::Strong, format!("not decided: {missing}")),
            None if failed.is_empty() => (
                LineTone::Bad,
                "NOT VERIFIED, a required check could not be made".to_owned(),
            ),
            None => (LineTone::Bad, format!("NOT VERIFIED, failed: {failed}")),
        };
        screen.field_in(tone, "verdict", &words);
        if let Some(words) = other_roster {
            screen.field_in(tone, "because", words);
        }
    }
    screen
}

fn state(screen: &mut Screen, facts: &Facts) {
    if let Some(approved) = &facts.approved {
        if approved.emergency {
            let words = "other people approved this run than normally; only the whole log shows whether people reviewed it";
            screen.field_in(LineTone::Bad, "EMERGENCY", words);
        }
        screen.field("receipt", approved.receipt.as_str());
        screen.field("step", format!("{} {}", approved.step, approved.digest));
        screen.field("parameters", PrintableText::json(&approved.params));
        screen.field("proposer", approved.proposer.as_str());
        screen.field("reason", PrintableText::quoted_prose(&approved.reason));
    }
    let grant = facts
        .approved
        .as_ref()
        .and_then(|approved| approved.grant.as_ref());
    if let Some(grant) = grant {
        let words = format!(
            "{} {}: nobody approved this run itself",
            grant.grant, grant.digest
        );
        screen.field("under grant", &words);
    }
    let signed = if grant.is_some() {
        "grant signed"
    } else {
        "approved by"
    };
    for approver in &facts.approvers {
        let groups = joined(&approver.groups, ", ");
        let passkey = approver
            .passkey
            .as_ref()
            .map(|host| format!(", a passkey of {host}"))
            .unwrap_or_default();
        let key = approver
            .keyid
            .map(|keyid| format!(" with {keyid}{passkey}"))
            .unwrap_or_default();
        screen.field(signed, format!("{} of {groups}{key}", approver.name));
    }
    let refused = refused_words(&refused_parts(&facts.outcome, facts.programs.as_ref()));
    screen.field("outcome", outcome_words(&facts.outcome) + &refused);
    let ran = match facts.outcome.status {
        Status::Unknown => format!(
            "nobody saw the end; the boundary noted this at {}",
            facts.finished_at
        ),
        _ => format!("{} to {}", facts.started_at, facts.finished_at),
    };
    screen.field("ran", &ran);
    for (name, stream) in [
        ("stdout", &facts.output.stdout),
        ("stderr", &facts.output.stderr),
    ] {
        let cut = if stream.truncated {
            ", the rest was not recorded"
        } else {
            ""
        };
        screen.field(
            name,
            format!(
                "{} of {} bytes{cut}, {}",
                stream.recorded, stream.bytes, stream.sha256
            ),
        );
    }
    let layers = match &facts.sandbox.layers[..] {
        [] => "NOTHING".to_owned(),
        layers => joined(layers, ", "),
    };
    screen.field("sandbox held", layers);
    if let Some(warning) = facts.sandbox.warning() {
        screen.field_in(LineTone::Bad, "WARNING", &warning);
    }
    if let Some(programs) = &facts.programs {
        screen.field("programs", program_words(programs));
    }
    for line in &facts.refused_hosts {
        screen.field("network", line);
    }
    screen.field(
        "boundary",
        format!("{} {}", facts.boundary.name, facts.boundary.id),
    );
    screen.field(
        "roster",
        format!(
            "{} version {} {}{}",
            facts.roster.name,
            facts.roster.version,
            facts.roster.digest,
            if facts.roster.guarded {
                ""
            } else {
                " UNGUARDED"
            }
        ),
    );
}

/// Returns the number of listed programs, and the started and the refused programs with their counts. The paths are
/// complete, because a run can start a file of its own directory that has the name of a system program.
pub fn program_words(facts: &ProgramFacts) -> String {
    let list = match facts.mode {
        ProgramMode::Listed => format!("{} listed", facts.listed),
        ProgramMode::Any => "every program can start".to_owned(),
    };
    format!(
        "{list}; started {}; refused {}",
        execution_words(&facts.started),
        execution_words(&facts.refused)
    )
}

fn execution_words(executions: &Option<Executions>) -> String {
    let Some(Executions { paths, more }) = executions else {
        return "not recorded".to_owned();
    };
    let named = paths
        .iter()
        .map(|one| format!("{} ({})", one.path, one.count));
    let others = (*more > 0).then(|| format!("others ({more})"));
    let words = joined(named.chain(others), ", ");
    if words.is_empty() {
        "none".to_owned()
    } else {
        words
    }
}

/// Beginning of the detail of each check that was not made because the check `roster-chain` is not established.
pub const WITHOUT_ROSTER: &str = "because roster-chain ";
