//! `verify`: checks bundles offline against a roster that the user trusts.

use std::path::PathBuf;

use serde_json::json;

use crate::audit::bundle::{Options, Untrusted, verify};
use crate::audit::report::{BundleReport, CheckName, Facts, Finding};
use crate::cli::exit::{Exit, Failure};
use crate::cli::follow::outcome_words;
use crate::cli::review::gather::trust_advice;
use crate::cli::review::now;
use crate::cli::screen::{Screen, Shown, Tone};
use crate::cli::talk::Talk;
use crate::cli::trust::{Home, Trust, TrustArgs, read_bounded};
use crate::record::bundle::MAX_BUNDLE_BYTES;
use crate::record::validity::SKEW_S;

/// Check bundles offline: each check is established, failed or not checked. Nothing is fetched.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  countersign verify run.bundle.json --roster roster.json
  countersign verify run.bundle.json --roster sha256:…      the digest that the keeper of the roster tells you
  countersign verify *.bundle.json --json                   with the roster of your configuration directory

Exit codes: 0 every bundle is verified; 1 a check failed; 2 there is no trusted roster to check with.")]
pub struct Args {
    /// Bundles; - is the standard input
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    #[command(flatten)]
    trust: TrustArgs,
}

/// Verifies each file.
///
/// # Errors
/// When a file can't be read, or the roster can't be used.
pub fn run(args: &Args, talk: &Talk) -> Result<Exit, Failure> {
    let trust = args.trust.find()?;
    let mut exit = Exit::Done;
    for path in &args.files {
        let bytes = read_bounded(path, MAX_BUNDLE_BYTES)?;
        let place = Shown::text(&path.to_string_lossy());
        let one = match with_any(&bytes, &trust) {
            Ok(report) => {
                if talk.json {
                    talk.object(&json!({"file": path, "report": report}))?;
                } else {
                    talk.show(&screen(&place, &report))?;
                }
                if report.verified { Exit::Done } else { Exit::CheckSaidNo }
            }
            Err(untrusted) => {
                let advice = advice(&untrusted);
                if talk.json {
                    talk.object(&json!({"file": path, "untrusted": untrusted, "advice": advice}))?;
                } else {
                    talk.say(&format!("{}: nothing was verified: {}; {advice}", place.as_str(), untrusted.message));
                }
                Exit::NoTrust
            }
        };
        // No trust is worse than a failed check: it says nothing at all about the bundle.
        if one.code() > exit.code() {
            exit = one;
        }
    }
    Ok(exit)
}

/// Verifies with the trusted roster, or the one of several that the bundle's rosters are connected with.
fn with_any(bundle: &[u8], trust: &[Trust]) -> Result<BundleReport, Untrusted> {
    // Times are compared with each other: this machine's clock may be wrong, which is no fault of the receipt.
    let options = Options::default();
    let mut first = None;
    for trust in trust {
        let result = verify(bundle, &trust.audit, options);
        if let Ok(report) = &result
            && report.finding(CheckName::RosterChain) == Finding::Established
        {
            return result;
        }
        first.get_or_insert(result);
    }
    first.unwrap_or_else(|| verify(bundle, &crate::audit::bundle::Trust::Nothing, options))
}

fn advice(untrusted: &Untrusted) -> String {
    let advice = trust_advice(untrusted.first_roster, &Home::of_process().config_words());
    advice
        .replace("the boundary names the roster", "the bundle begins with the roster")
        .replace("than this boundary", "than this bundle")
}

fn screen(place: &Shown, report: &BundleReport) -> Screen {
    let mut screen = Screen::default();
    screen.heading("Checks");
    for check in &report.checks {
        let tone = match check.finding {
            Finding::Established => Tone::Good,
            Finding::Failed => Tone::Bad,
            Finding::NotChecked => Tone::Faint,
        };
        let prefix = format!("  {:<12} {:<24} ", check.finding.words(), check.name.word());
        screen.push(tone, prefix, Shown::text(&check.detail));
    }
    if let Some(facts) = &report.facts {
        screen.heading("What the receipt states");
        state(&mut screen, facts);
    }
    if !report.boundary_says.is_empty() {
        screen.heading("Only the boundary's word");
        for line in &report.boundary_says {
            screen.say(Tone::Plain, line);
        }
    }
    if !report.warnings.is_empty() {
        screen.heading("Mind");
        for line in &report.warnings {
            screen.say(Tone::Bad, line);
        }
    }
    if let Some(facts) = &report.facts
        && facts.finished_at > now().plus(SKEW_S)
    {
        screen.say(
            Tone::Bad,
            &format!(
                "By this machine's clock the run ended in the future ({}): compare the clocks.",
                facts.finished_at
            ),
        );
    }
    screen.heading("Verdict");
    screen.field("file", place);
    if report.verified {
        screen.field_in(Tone::Good, "verdict", &Shown::text("verified"));
    } else {
        let failed: Vec<_> = report.failed().map(|check| check.name.word()).collect();
        let why = if failed.is_empty() {
            "a needed check could not be made".to_owned()
        } else {
            format!("failed: {}", failed.join(", "))
        };
        screen.field_in(Tone::Bad, "verdict", &Shown::text(&format!("NOT VERIFIED, {why}")));
    }
    screen
}

fn state(screen: &mut Screen, facts: &Facts) {
    if let Some(approved) = &facts.approved {
        screen.field("receipt", &Shown::text(approved.receipt.as_str()));
        screen.field("step", &Shown::text(&format!("{} {}", approved.step, approved.digest)));
        screen.field("parameters", &Shown::text(&approved.params.to_string()));
        screen.field("proposer", &Shown::text(approved.proposer.as_str()));
        screen.field("reason", &Shown::quoted(&approved.reason));
    }
    for approver in &facts.approvers {
        let groups: Vec<_> = approver.groups.iter().map(|group| group.as_str()).collect();
        let key = approver.keyid.map(|keyid| format!(" with {keyid}")).unwrap_or_default();
        screen.field("approved by", &Shown::text(&format!("{} of {}{key}", approver.name, groups.join(", "))));
    }
    screen.field("outcome", &Shown::text(&outcome_words(&facts.outcome)));
    screen.field("ran", &Shown::text(&format!("{} to {}", facts.started_at, facts.finished_at)));
    for (name, stream) in [("stdout", &facts.output.stdout), ("stderr", &facts.output.stderr)] {
        let cut = if stream.truncated { ", the rest was not recorded" } else { "" };
        screen.field(
            name,
            &Shown::text(&format!("{} of {} bytes{cut}, {}", stream.recorded, stream.bytes, stream.sha256)),
        );
    }
    let layers: Vec<_> = facts.sandbox.layers.iter().map(|layer| layer.word()).collect();
    screen
        .field("sandbox held", &Shown::text(&if layers.is_empty() { "NOTHING".to_owned() } else { layers.join(", ") }));
    screen.field("boundary", &Shown::text(&format!("{} {}", facts.boundary.name, facts.boundary.id)));
    screen.field(
        "roster",
        &Shown::text(&format!(
            "{} version {} {}{}",
            facts.roster.name,
            facts.roster.version,
            facts.roster.digest,
            if facts.roster.guarded { "" } else { " UNGUARDED" }
        )),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUNDLE: &[u8] = include_bytes!("../../tests/conformance/golden/valid/bundle.json");
    const ROSTER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/conformance/golden/valid/roster.json");

    #[test]
    fn a_bundle_is_verified_with_the_right_roster_among_several() {
        let right = TrustArgs { roster: Some(ROSTER.to_owned()) }.find().expect("roster");
        let wrong = TrustArgs { roster: Some(format!("sha256:{}", "a".repeat(64))) }.find().expect("digest");
        let both = [wrong.clone(), right].concat();
        let report = with_any(BUNDLE, &both).expect("trusted");
        assert_eq!(report.failed().map(|check| check.name.word()).collect::<Vec<_>>(), Vec::<&str>::new());
        assert!(report.verified);
        assert_eq!(report.finding(CheckName::RosterChain), Finding::Established);
        let printed = screen(&Shown::text("x"), &report).paint(100, false);
        assert!(printed.bytes().all(|c| c == b'\n' || (0x20..0x7f).contains(&c)));
        assert!(printed.contains("verdict       verified"), "{printed}");
        match with_any(BUNDLE, &wrong) {
            Ok(report) => assert!(!report.verified),
            Err(untrusted) => assert!(untrusted.first_roster.is_some()),
        }
    }

    #[test]
    fn without_trust_nothing_is_verified_and_the_digest_is_told() {
        let untrusted = with_any(BUNDLE, &[]).expect_err("no trust");
        let digest = untrusted.first_roster.expect("seen").to_string();
        assert!(advice(&untrusted).contains(&digest));
    }
}
