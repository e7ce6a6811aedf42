//! The `verify` command checks bundles offline against a roster that the user trusts.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::commands::verdict_screen::{VerdictInputs, screen};
use crate::home::directories::Home;
use crate::home::named_file::read_beginning;
use crate::home::trusted_rosters::{
    ChosenTrust, DecidingRoster, NewestRoster, TrustArgs, newest_of, newest_unconnected, trust_advice,
};
use crate::terminal::exit::{CommandFailure, Exit};
use crate::terminal::printable_text::PrintableText;
use crate::terminal::screen::{LineTone, Screen};
use crate::terminal::streams::Terminal;
use documents::crypto::digest::BlobDigest;
use documents::crypto::json;
use documents::record::bundle::{Bundle, MAX_BUNDLE_BYTES};
use documents::record::document::{Predicate as _, predicate_type};
use documents::record::envelope::{Base64, Envelope};
use documents::record::local_receipt::LocalReceipt;
use documents::record::validity::Timestamp;
use judgement::audit::bundle_check::{self, Untrusted, VerifyOptions};
use judgement::audit::report::{BundleReport, CheckFinding, CheckName, Facts};
use judgement::trust::chain::Pinned;
use judgement::trust::trusted_roster::TrustedRoster;

/// Check bundles offline: each check is established, failed or not checked. Nothing is fetched.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  countersign verify run.bundle.json --roster roster.json
  countersign verify run.bundle.json --roster sha256:…      the digest from the person who maintains the roster
  countersign verify *.bundle.json --json                   one line for each bundle
  countersign verify - --at 2026-11-20T12:00:00Z < run.bundle.json
  countersign verify run.bundle.json --witness 2            two witnesses of the roster must have cosigned

Exit codes: 0 every bundle is verified; 1 a check failed; 2 there is no trusted roster to check with, or a file can't be \
read. With several bundles, the highest code counts, and each bundle is reported.")]
pub struct Args {
    /// Files of bundles, or - for the standard input
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Verify the bundles for this point in time, and refuse everything with a later date. Without this option, the
    /// times in a bundle are only compared with each other
    #[arg(long, value_name = "YYYY-MM-DDTHH:MM:SSZ")]
    at: Option<Timestamp>,
    /// The number of distinct witnesses of the roster that must have cosigned the log
    #[arg(long, value_name = "K", default_value_t = 0)]
    witness: u64,
    #[command(flatten)]
    trust: TrustArgs,
}

/// Verifies each file, even if an earlier file failed.
///
/// # Errors
/// Returns an error if the roster cannot be used, or if the output cannot be written. The result for a bundle reports
/// if the bundle is unreadable.
pub fn run(args: &Args, terminal: &Terminal) -> Result<Exit, CommandFailure> {
    let from_input = args.files.iter().filter(|path| *path == Path::new("-")).count();
    if from_input > 1 {
        return Err(CommandFailure::usage("the standard input can contain only one bundle: give `-` only once"));
    }
    let trust = args.trust.find()?;
    // The clock of this machine may be wrong, which is no defect of the receipt. Therefore the verification only uses a
    // time that the user gives.
    let options = VerifyOptions { at: args.at, witnesses: args.witness };
    let mut tally = Tally::default();
    for path in &args.files {
        let one = match read_bundle(path) {
            Ok(bytes) => verify(path, &bytes, &trust, options, &mut tally, terminal)?,
            Err(failure) => {
                tally.add(if failure.exit == Exit::CheckSaidNo { "NOT VERIFIED" } else { "not read" }, path, None);
                if terminal.json {
                    terminal.object(&json!({
                        "file": path.to_string_lossy(), "verified": false, "exit": failure.exit.code(), "error": failure.message,
                    }))?;
                } else {
                    terminal.fail(&failure);
                }
                failure.exit
            }
        };
        // Without a trusted roster the program cannot judge the bundle, so this result has a higher priority than a
        // failed check.
        tally.worst(one);
    }
    if args.files.len() > 1 && !terminal.json {
        terminal.show_lines(&tally.screen())?;
    }
    Ok(tally.exit)
}

/// Reads a bundle file. A local receipt is another kind of document, which the function refuses.
///
/// # Errors
/// Returns an error if the file cannot be read, or if it is a local receipt.
pub fn read_bundle(path: &Path) -> Result<Vec<u8>, CommandFailure> {
    // One byte more than the maximum lets the check `bundle` report a file that is too large.
    bundle_of(path, read_beginning(path, MAX_BUNDLE_BYTES + 1)?)
}

/// Returns the bytes of a bundle that was read from `path`. The function refuses a local receipt.
///
/// # Errors
/// Returns an error if the bytes are a local receipt.
pub fn bundle_of(path: &Path, bytes: Vec<u8>) -> Result<Vec<u8>, CommandFailure> {
    // A local log has one envelope on each line.
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let envelope =
        json::parse_as::<Envelope>(line, MAX_BUNDLE_BYTES).or_else(|_| json::parse_as(&bytes, MAX_BUNDLE_BYTES));
    let payload = envelope.ok().and_then(|envelope| Base64::Lenient.decode("/payload", &envelope.payload).ok());
    let statement = payload.and_then(|payload| json::parse(&payload, MAX_BUNDLE_BYTES).ok());
    if statement.is_some_and(|statement| statement["predicateType"] == predicate_type(LocalReceipt::KIND)) {
        return Err(CommandFailure::new(
            Exit::CheckSaidNo,
            format!(
                "{} is a local receipt: a person signed it for their own run, without approvals. A local receipt is \
                 no evidence for other people; the owner checks it with `countersign run --log`",
                PrintableText::text(&path.to_string_lossy()).as_str()
            ),
        ));
    }
    Ok(bytes)
}

fn verify(
    path: &Path,
    bytes: &[u8],
    trust: &[ChosenTrust],
    options: VerifyOptions,
    tally: &mut Tally,
    terminal: &Terminal,
) -> Result<Exit, CommandFailure> {
    let digest = BlobDigest::of(bytes);
    match with_any(bytes, trust, options) {
        Ok(judged) => {
            let JudgedBundle { trusted, report, .. } = &judged;
            let exit = if report.verified { Exit::Done } else { Exit::CheckSaidNo };
            tally.add(if report.verified { "verified" } else { "NOT VERIFIED" }, path, report.facts.as_deref());
            if terminal.json {
                let mut line = json!({
                    "file": path.to_string_lossy(), "sha256": digest, "verified": report.verified, "exit": exit.code(),
                    "trusted": {"roster": report.trust.roster, "from": trusted.from}, "report": report,
                });
                if let Some(at) = options.at {
                    line["at"] = json!(at);
                }
                terminal.object(&line)?;
            } else {
                terminal.show_lines(&judged_screen(path, bytes, &judged, options))?;
            }
            Ok(exit)
        }
        Err(untrusted) => {
            tally.add("no trust", path, None);
            let advice = advice(&untrusted);
            if terminal.json {
                terminal.object(&json!({
                    "file": path.to_string_lossy(), "sha256": digest, "verified": false, "exit": Exit::NoTrust.code(),
                    "untrusted": untrusted, "advice": advice,
                }))?;
            } else {
                terminal.say(&unverified_words(path, &untrusted));
            }
            Ok(Exit::NoTrust)
        }
    }
}

/// Returns the lines that the command prints about a verified bundle.
#[must_use]
pub fn judged_screen(path: &Path, bytes: &[u8], judged: &JudgedBundle<'_>, options: VerifyOptions) -> Screen {
    let JudgedBundle { trusted, report, .. } = judged;
    let basis = VerdictInputs { place: path, digest: BlobDigest::of(bytes), trusted, report, at: options.at };
    screen(&basis, other_roster(bytes, trusted, report).as_deref())
}

/// Returns the words of the command about a bundle for which there is no trusted roster, with the advice.
#[must_use]
pub fn unverified_words(path: &Path, untrusted: &Untrusted) -> String {
    let place = PrintableText::text(&path.to_string_lossy());
    format!("{}: nothing was verified: {}; {}", place.as_str(), untrusted.message, advice(untrusted))
}

/// Result of a verification, with the roster that was used.
#[derive(Debug)]
pub struct JudgedBundle<'t> {
    /// Trusted roster that was used for the verification.
    pub trusted: &'t ChosenTrust,
    /// The report of the verification.
    pub report: BundleReport,
    /// Other trusted digests that are not connected with the bundle. Such a digest may belong to another roster, or to
    /// a later version of the same roster.
    pub unconnected: Vec<&'t ChosenTrust>,
}

/// Verifies a bundle with the trusted roster that is connected with the bundle and leads to the newest version. If an
/// even newer trusted roster is not connected with the bundle, the checks that need the newest roster are not made.
///
/// # Errors
/// Returns an error if there is no usable trusted roster.
pub fn with_any<'t>(
    bundle: &[u8],
    trust: &'t [ChosenTrust],
    options: VerifyOptions,
) -> Result<JudgedBundle<'t>, Untrusted> {
    let deciding = newest_of(trust, |trust| match bundle_check::verify(bundle, &trust.audit, options) {
        Ok(report) if report.finding(CheckName::RosterChain) == CheckFinding::Established => {
            let newest = report.trust.newest.as_ref();
            let unknown = NewestRoster { version: 0, digest: trust.pinned.digest() };
            let newest =
                newest.map_or(unknown, |newest| NewestRoster { version: newest.version, digest: newest.digest });
            Ok((newest, report))
        }
        other => Err(Box::new(other)),
    });
    match deciding {
        Ok(DecidingRoster { trust, found: mut report, mut unconnected }) => {
            if let Some((_, newer)) = newest_unconnected(&unconnected, |roster| is_of(roster, &report)) {
                bundle_check::leave_to(newer, &mut report, options);
            }
            unconnected.retain(|trust| matches!(trust.pinned, Pinned::Digest(_)));
            Ok(JudgedBundle { trusted: trust, report, unconnected })
        }
        Err(refused) => match refused.into_iter().next() {
            Some((trusted, result)) => result.map(|report| JudgedBundle { trusted, report, unconnected: Vec::new() }),
            None => match bundle_check::verify(bundle, &bundle_check::RosterTrust::Nothing, options) {
                Err(untrusted) => Err(untrusted),
                Ok(_) => {
                    Err(Untrusted { message: "no trusted roster".to_owned(), first_roster: None, last_roster: None })
                }
            },
        },
    }
}

/// Returns true if a roster seems to belong to the bundle: it has the same name as the bundle's roster, or contains the
/// boundary's key that signed the receipt.
fn is_of(roster: &TrustedRoster, report: &BundleReport) -> bool {
    report.facts.as_ref().is_some_and(|facts| {
        roster.tables().name == facts.roster.name
            || roster.boundary_key(&facts.boundary.name, &facts.boundary.keyid).is_some()
    })
}

/// Returns an explanation if the check `roster-chain` failed because the bundle belongs to another roster.
#[must_use]
pub fn other_roster(bundle: &[u8], trusted: &ChosenTrust, report: &BundleReport) -> Option<String> {
    if report.finding(CheckName::RosterChain) != CheckFinding::Failed {
        return None;
    }
    let Pinned::Roster(given) = &trusted.pinned else { return None };
    let bundle = json::parse_as::<Bundle>(bundle, MAX_BUNDLE_BYTES).ok()?;
    let Ok(Pinned::Roster(own)) = Pinned::from_envelope(bundle.roster.first()?) else { return None };
    let (given, own) = (&given.tables().name, &own.tables().name);
    Some(if given == own {
        format!(
            "the trusted roster and the roster of the bundle are both named {own}, and neither is a later \
             version of the other"
        )
    } else {
        format!(
            "the trusted roster belongs to {given}, but the bundle belongs to {own}: verify the bundle with the \
         roster of {own}"
        )
    })
}

fn advice(untrusted: &Untrusted) -> String {
    let advice = trust_advice(untrusted.first_roster, &Home::of_process().config_words());
    advice
        .replace("the boundary names the roster", "the bundle begins with the roster")
        .replace("than this boundary", "than this bundle")
}

struct Tally {
    exit: Exit,
    lines: Vec<(&'static str, PrintableText)>,
    receipts: BTreeMap<String, usize>,
}

impl Default for Tally {
    fn default() -> Self {
        Self { exit: Exit::Done, lines: Vec::new(), receipts: BTreeMap::new() }
    }
}

impl Tally {
    fn worst(&mut self, one: Exit) {
        if one.code() > self.exit.code() {
            self.exit = one;
        }
    }

    fn add(&mut self, verdict: &'static str, path: &Path, facts: Option<&Facts>) {
        let mut words = path.to_string_lossy().into_owned();
        if let Some(approved) = facts.and_then(|facts| facts.approved.as_ref()) {
            words = format!("{words}: {} of {}", approved.receipt, approved.step);
            if let Some(used) = &approved.grant {
                let number = used.use_number.unwrap_or_default();
                words = format!("{words}, under standing grant {}, use {number} of {}", used.grant, used.max_uses);
            }
            if approved.emergency {
                words.push_str(", an EMERGENCY");
            }
            *self.receipts.entry(approved.receipt.as_str().to_owned()).or_default() += 1;
        }
        self.lines.push((verdict, PrintableText::text(&words)));
    }

    fn screen(&self) -> Screen {
        let mut screen = Screen::default();
        screen.heading("All bundles");
        for (verdict, words) in &self.lines {
            let tone = if *verdict == "verified" { LineTone::Good } else { LineTone::Bad };
            screen.push(tone, format!("  {verdict:<12} "), words.clone());
        }
        for (receipt, times) in self.receipts.iter().filter(|(_, times)| **times > 1) {
            screen.say(
                LineTone::Bad,
                &format!(
                    "{times} of the bundles belong to the same run {receipt}: count this \
                     run once."
                ),
            );
        }
        let verified = self.lines.iter().filter(|(verdict, _)| *verdict == "verified").count();
        screen.say(LineTone::Plain, &format!("{verified} of {} verified", self.lines.len()));
        screen
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::verdict_screen::{WITHOUT_ROSTER, program_words};

    const BUNDLE: &[u8] = include_bytes!("../../../../tests/conformance/golden/valid/bundle.json");
    const ROSTER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/conformance/golden/valid/roster.json");

    #[test]
    fn a_bundle_is_verified_with_the_matching_roster_among_several() {
        let right = TrustArgs { roster: Some(ROSTER.to_owned()), ..TrustArgs::default() }.find().expect("roster");
        let wrong = TrustArgs { roster: Some(format!("sha256:{}", "a".repeat(64))), ..TrustArgs::default() }
            .find()
            .expect("digest");
        let both = [wrong.clone(), right].concat();
        let JudgedBundle { trusted, report, unconnected } =
            with_any(BUNDLE, &both, VerifyOptions::default()).expect("trusted");
        assert_eq!(unconnected.len(), 1, "a digest that may be of a later version");
        assert!(trusted.from.contains("roster.json"), "{}", trusted.from);
        assert_eq!(report.failed().map(|check| check.name.word()).collect::<Vec<_>>(), Vec::<&str>::new());
        assert!(report.verified);
        assert_eq!(report.finding(CheckName::RosterChain), CheckFinding::Established);
        let digest = BlobDigest::of(BUNDLE);
        let basis = VerdictInputs { place: Path::new("x"), digest, trusted, report: &report, at: None };
        let printed = screen(&basis, None).paint(400, false);
        assert!(printed.bytes().all(|c| c == b'\n' || (0x20..0x7f).contains(&c)));
        assert!(printed.contains("verdict       verified"), "{printed}");
        // An auditor can paste this result: it contains the inputs, the evidence for each statement, and the checks
        // that were not made.
        for part in [
            format!("file digest   {digest}"),
            format!("trusted       roster {}", report.trust.roster),
            "the approvers' signatures  authorization-document".to_owned(),
            "== Not checked ==\n  seal-in-force".to_owned(),
            "== Only the boundary's word ==".to_owned(),
        ] {
            assert!(printed.contains(&part), "{part}: {printed}");
        }
        assert!(!printed.contains("EMERGENCY"), "{printed}");
        let mut report = report;
        let approved = report.facts.as_mut().and_then(|facts| facts.approved.as_mut());
        approved.expect("an authorization").emergency = true;
        let basis = VerdictInputs { place: Path::new("x"), digest, trusted, report: &report, at: None };
        let printed = screen(&basis, None).paint(400, true);
        assert!(
            printed.contains("\x1b[1;31m  EMERGENCY     other people approved this run than normally"),
            "{printed}"
        );
        match with_any(BUNDLE, &wrong, VerifyOptions::default()) {
            Ok(judged) => assert!(!judged.report.verified),
            Err(untrusted) => assert!(untrusted.first_roster.is_some()),
        }
    }

    #[test]
    fn a_trusted_version_of_another_branch_leaves_checks_of_the_newest_roster_open() {
        // The bundle contains versions 1 and 2. A user who trusts another version 2 of the same version 1 gets a
        // message.
        let bundle = include_bytes!("../../../../tests/conformance/golden/valid/bundle-roster-2.json");
        let first =
            TrustArgs { roster: Some(ROSTER.to_owned()), ..TrustArgs::default() }.find().expect("roster").remove(0);
        let Pinned::Roster(roster) = &first.pinned else { panic!("a file") };
        let mut tables = roster.tables().clone();
        tables.version = 2;
        tables.previous = Some(roster.digest());
        let payload = tables.into_statement().and_then(|statement| statement.to_payload()).expect("payload");
        let envelope = documents::record::envelope::Envelope::new(&payload, Vec::new());
        let branch = ChosenTrust {
            pinned: Pinned::from_envelope(&envelope).expect("a roster"),
            audit: bundle_check::RosterTrust::Roster(serde_json::to_vec(&envelope).expect("JSON")),
            from: "branch".to_owned(),
            file: None,
        };
        let findings = |trust: &[ChosenTrust], witnesses: u64| {
            let judged = with_any(bundle, trust, VerifyOptions { at: None, witnesses }).expect("trusted");
            let report = judged.report;
            (
                report.finding(CheckName::KeysStillRostered),
                report.trust.newest.map(|newest| newest.digest),
                report.verified,
            )
        };
        let (before, newest, verified) = findings(std::slice::from_ref(&first), 0);
        assert!(before == CheckFinding::Established && verified);
        assert_ne!(newest, Some(branch.pinned.digest()));
        for both in [[first.clone(), branch.clone()], [branch.clone(), first.clone()]] {
            let told = (CheckFinding::NotChecked, Some(branch.pinned.digest()), true);
            assert_eq!(findings(&both, 0), told);
        }
        let alone = with_any(bundle, std::slice::from_ref(&branch), VerifyOptions::default()).expect("a report");
        assert!(!alone.report.verified);
    }

    #[test]
    fn a_roster_of_another_boundary_is_reported_once() {
        let right =
            TrustArgs { roster: Some(ROSTER.to_owned()), ..TrustArgs::default() }.find().expect("roster").remove(0);
        let Pinned::Roster(roster) = &right.pinned else { panic!("a file") };
        for (name, says) in [
            ("b2", format!("the trusted roster belongs to b2, but the bundle belongs to {}", roster.tables().name)),
            (
                roster.tables().name.as_str(),
                "the trusted roster and the roster of the bundle are both named".to_owned(),
            ),
        ] {
            let mut tables = roster.tables().clone();
            tables.name = name.to_owned();
            tables.threshold = 1;
            let payload = tables.into_statement().and_then(|statement| statement.to_payload()).expect("payload");
            let envelope = Envelope::new(&payload, Vec::new());
            let other = ChosenTrust {
                pinned: Pinned::from_envelope(&envelope).expect("a roster"),
                audit: bundle_check::RosterTrust::Roster(serde_json::to_vec(&envelope).expect("JSON")),
                from: "other".to_owned(),
                file: None,
            };
            let judged = with_any(BUNDLE, std::slice::from_ref(&other), VerifyOptions::default()).expect("a report");
            let words = other_roster(BUNDLE, judged.trusted, &judged.report).expect("words");
            let digest = BlobDigest::of(BUNDLE);
            let basis = VerdictInputs {
                place: Path::new("x"),
                digest,
                trusted: judged.trusted,
                report: &judged.report,
                at: None,
            };
            let printed = screen(&basis, Some(&words)).paint(400, false);
            assert!(printed.contains(&format!("because       {says}")), "{printed}");
            assert_eq!(printed.matches(WITHOUT_ROSTER).count(), 2, "{printed}");
            assert!(printed.contains("not checked  33 checks"), "{printed}");
        }
    }

    #[test]
    fn the_programs_of_a_run_are_shown_with_complete_paths_and_counts() {
        let words = |facts: serde_json::Value| program_words(&serde_json::from_value(facts).expect("facts"));
        let paths = |path: &str, more: u64| json!({"paths": [{"path": path, "count": 2}], "more": more});
        let none = json!({"paths": [], "more": 0});
        for (facts, expected) in [
            (
                json!({"mode": "listed", "listed": 3, "started": paths("/usr/bin/jq", 4), "refused": paths("/tmp/work/jq", 0)}),
                "3 listed; started /usr/bin/jq (2), others (4); refused /tmp/work/jq (2)",
            ),
            (json!({"mode": "listed", "listed": 1, "started": none}), "1 listed; started none; refused not recorded"),
            (
                json!({"mode": "any", "listed": 0}),
                "every program can start; started not recorded; refused not recorded",
            ),
        ] {
            assert_eq!(words(facts), expected);
        }
    }
}
