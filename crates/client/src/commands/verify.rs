//! The `verify` command checks bundles offline against a roster that the user trusts.
//!
//! For several bundles, the command counts the results and lists them at the end.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde_json::json;

use crate::{
    ChosenTrust, CommandResult, DecidingRoster, Exit, LineTone, PrintableText, Screen, Terminal,
    TrustArgs, VerdictInputs, bundle_of, bundles_of,
    commands::verdict_screen::screen,
    fail_usage,
    home::roster_versions::{contradiction, is_later, seems_of, versions_in},
    join_bundles, newest_of, newest_unconnected, read_beginning, read_bundle, trust_advice,
};
use documents::{BlobDigest, MAX_BUNDLE_BYTES, Timestamp, joined};
use reading::time;
use verdict::{
    BundleReport, Chain, CheckFinding, CheckName, Facts, Pinned, TrustedRoster, Untrusted,
    VerifyOptions, VersionFacts, bundle_check, leave_to,
};

/// Check bundles offline: each check is established, failed or not checked. Nothing is fetched.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  countersign verify run.bundle.json --roster roster.json
  countersign verify run.bundle.json --roster sha256:…      the digest from the person who maintains the roster
  countersign verify bundles/ --roster rosters/ --quiet     all bundles of a directory, one line for each
  countersign verify *.bundle.json --json                   one JSON line for each bundle
  countersign verify - --at 2026-11-20T12:00:00Z < run.bundle.json
  countersign verify run.bundle.json --witness 2            two witnesses of the roster must have cosigned

If your roster is newer than the roster of a bundle, the versions between the two must be among the versions of --roster or \
in the other bundles. Otherwise the bundle is not decided: the program names the missing versions.

Exit codes: 0 every bundle is verified; 1 a check failed, or a file is no bundle; 2 a bundle is not decided, there is no \
trusted roster to check with, or a file can't be read. With several bundles, the highest code counts, and each bundle is \
reported.")]
pub struct Args {
    /// Files of bundles, directories with bundles, or - for the standard input
    #[arg(value_name = "FILE|DIR", required = true)]
    files: Vec<PathBuf>,
    /// Verify the bundles for this point in time, and refuse everything with a later date. Without this option, the
    /// times in a bundle are only compared with each other
    #[arg(long, value_name = "YYYY-MM-DDTHH:MM:SSZ", value_parser = time)]
    at: Option<Timestamp>,
    /// The number of distinct witnesses of the roster that must have cosigned the log
    #[arg(long, value_name = "K", default_value_t = 0)]
    witness: u64,
    /// Print one line for each bundle, and the summary. With --json, the option has no effect
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    trust: TrustArgs,
}

/// Verifies each file, even if an earlier file failed.
///
/// # Errors
/// Returns an error if the roster cannot be used, or if the output cannot be written. The result for a bundle reports
/// if the bundle is unreadable.
pub fn run(args: &Args, terminal: &Terminal) -> CommandResult {
    let from_input = args
        .files
        .iter()
        .filter(|path| *path == Path::new("-"))
        .count();
    if from_input > 1 {
        return fail_usage("the standard input can contain only one bundle: give `-` only once");
    }
    let given = args.trust.find()?;
    // The standard input can be read only once.
    let input = if from_input == 1 {
        Some(read_beginning(Path::new("-"), MAX_BUNDLE_BYTES + 1))
    } else {
        None
    };
    let (paths, skipped) = bundles_of(&args.files)?;
    let sources = paths
        .iter()
        .map(|path| match (&input, path == Path::new("-")) {
            (Some(Ok(bytes)), true) => bytes.clone(),
            _ => read_beginning(path, MAX_BUNDLE_BYTES).unwrap_or_default(),
        });
    let trust = join_bundles(&given, sources);
    // The clock of this machine may be wrong, which is no defect of the receipt. Therefore the verification only uses a
    // time that the user gives.
    let options = VerifyOptions {
        at: args.at,
        witnesses: args.witness,
    };
    let mut tally = Tally::default();
    let mut input = input;
    for path in &paths {
        let bytes = match input.take_if(|_| path == Path::new("-")) {
            Some(read) => read.and_then(|bytes| bundle_of(path, bytes)),
            None => read_bundle(path),
        };
        let one = match bytes {
            Ok(bytes) => verify(
                path,
                &bytes,
                &trust,
                options,
                &mut tally,
                (args.quiet, terminal),
            )?,
            Err(failure) => {
                let word = if failure.exit == Exit::CheckSaidNo {
                    "NOT VERIFIED"
                } else {
                    "not read"
                };
                let why = if args.quiet { &*failure.message } else { "" };
                tally.add(word, path, None, why);
                if terminal.json {
                    terminal.object(json!({
                        "file": path.to_string_lossy(), "verified": false, "exit": failure.exit.code(), "error": failure.message,
                    }))?;
                } else if !args.quiet {
                    terminal.fail(&failure);
                }
                failure.exit
            }
        };
        // Without a trusted roster the program cannot judge the bundle, so this result has a higher priority than a
        // failed check.
        tally.worst(one);
    }
    if !terminal.json && (args.quiet || paths.len() > 1 || !skipped.is_empty()) {
        terminal.show_lines(&tally.screen(&skipped))?;
    }
    Ok(tally.exit)
}

fn verify(
    path: &Path,
    bytes: &[u8],
    trust: &[ChosenTrust],
    options: VerifyOptions,
    tally: &mut Tally,
    (quiet, terminal): (bool, &Terminal),
) -> CommandResult {
    let digest = BlobDigest::of(bytes);
    match with_any(bytes, trust, options) {
        Ok(judged) => {
            let JudgedBundle {
                trusted, report, ..
            } = &judged;
            let undecided = report.undecided();
            let (exit, word) = match (report.verified, &undecided) {
                (true, _) => (Exit::Done, VERIFIED),
                (false, Some(_)) => (Exit::NoTrust, UNDECIDED),
                (false, None) => (Exit::CheckSaidNo, "NOT VERIFIED"),
            };
            let failed = report.failed().map(|check| check.name.word());
            let why = undecided.unwrap_or_else(|| joined(failed, ", "));
            tally.add(word, path, report.facts.as_deref(), &why);
            if terminal.json {
                let mut line = json!({
                    "file": path.to_string_lossy(), "sha256": digest, "verified": report.verified, "exit": exit.code(),
                    "trusted": {"roster": report.trust.roster, "from": trusted.from}, "report": report,
                });
                if let Some(at) = options.at {
                    line["at"] = json!(at);
                }
                terminal.object(&line)?;
            } else if !quiet {
                terminal.show_lines(&judged_screen(path, bytes, &judged, options))?;
            }
            Ok(exit)
        }
        Err(untrusted) => {
            let why = if quiet { &*untrusted.message } else { "" };
            tally.add("no trust", path, None, why);
            let advice = advice(&untrusted);
            if terminal.json {
                terminal.object(json!({
                    "file": path.to_string_lossy(), "sha256": digest, "verified": false, "exit": Exit::NoTrust.code(),
                    "untrusted": untrusted, "advice": advice,
                }))?;
            } else if !quiet {
                terminal.say(unverified_words(path, &untrusted));
            }
            Ok(Exit::NoTrust)
        }
    }
}

/// Returns the lines that the command prints about a verified bundle.
pub fn judged_screen(
    path: &Path,
    bytes: &[u8],
    judged: &JudgedBundle<'_>,
    options: VerifyOptions,
) -> Screen {
    let JudgedBundle {
        trusted, report, ..
    } = judged;
    let basis = VerdictInputs {
        place: path,
        digest: BlobDigest::of(bytes),
        trusted,
        report,
        at: options.at,
    };
    screen(&basis, other_roster(bytes, trusted, report).as_deref())
}

/// Returns the words of the command about a bundle for which there is no trusted roster, with the advice.
pub fn unverified_words(path: &Path, untrusted: &Untrusted) -> String {
    let place = PrintableText::file(path);
    format!(
        "{place}: nothing was verified: {}; {}",
        untrusted.message,
        advice(untrusted)
    )
}

/// Result of a verification, with the roster that was used.
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
    let deciding = newest_of(trust, |trust| {
        match bundle_check::verify(bundle, &trust.audit, options) {
            Ok(report) if report.finding(CheckName::RosterChain) == CheckFinding::Established => {
                let unknown = VersionFacts {
                    version: 0,
                    digest: trust.pinned.digest(),
                };
                Ok((report.trust.newest.unwrap_or(unknown), report))
            }
            other => Err(Box::new(other)),
        }
    });
    match deciding {
        Ok(DecidingRoster {
            trust,
            found: mut report,
            mut unconnected,
        }) => {
            let versions = (!unconnected.is_empty()).then(|| versions_in(bundle));
            let versions = versions.flatten();
            let other = unconnected.iter().copied().find(|trust| {
                versions.as_ref().is_some_and(|versions| {
                    is_later(trust, versions)
                        && contradiction(versions, trust, "the bundle").is_some()
                })
            });
            if let Some(other) = other {
                let report = bundle_check::verify(bundle, &other.audit, options)?;
                return Ok(JudgedBundle {
                    trusted: other,
                    report,
                    unconnected: Vec::new(),
                });
            }
            if let Some((_, newer)) =
                newest_unconnected(&unconnected, |roster| is_of(roster, &report))
            {
                leave_to(newer, &mut report, options);
            }
            unconnected.retain(|trust| matches!(trust.pinned, Pinned::Digest(_)));
            Ok(JudgedBundle {
                trusted: trust,
                report,
                unconnected,
            })
        }
        Err(refused) => {
            let versions = versions_in(bundle);
            match refused
                .into_iter()
                .min_by_key(|(trust, result)| rank(trust, result, versions.as_ref()))
            {
                Some((trusted, result)) => (*result).map(|report| JudgedBundle {
                    trusted,
                    report,
                    unconnected: Vec::new(),
                }),
                None => {
                    match bundle_check::verify(bundle, &bundle_check::RosterTrust::Nothing, options)
                    {
                        Err(untrusted) => Err(untrusted),
                        Ok(_) => Err(Untrusted {
                            message: "no trusted roster".to_owned(),
                            first_roster: None,
                            last_roster: None,
                        }),
                    }
                }
            }
        }
    }
}

/// Returns the rank of a roster that is not connected with a bundle. The roster with the lowest rank explains the
/// result best: first a roster that contradicts a version in the bundle, then the roster that lacks the fewest
/// versions.
fn rank(
    trust: &ChosenTrust,
    result: &Result<BundleReport, Untrusted>,
    versions: Option<&Chain>,
) -> (u8, u64) {
    let contradicts = |versions| contradiction(versions, trust, "the bundle").is_some();
    if versions.is_some_and(contradicts) {
        return (0, 0);
    }
    let missing = result.as_ref().ok().and_then(|report| report.trust.missing);
    match (missing, trust.roster()) {
        (Some(missing), Some(roster))
            if versions.is_some_and(|versions| seems_of(versions, roster)) =>
        {
            (1, missing.last)
        }
        (Some(missing), _) => (3, missing.last),
        (None, _) => (2, 0),
    }
}

/// Returns true if a roster seems to belong to the bundle: it has the same name as the bundle's roster, or contains the
/// boundary's key that signed the receipt.
fn is_of(roster: &TrustedRoster, report: &BundleReport) -> bool {
    report.facts.as_ref().is_some_and(|facts| {
        roster.tables().name == facts.roster.name
            || roster
                .boundary_key(&facts.boundary.name, &facts.boundary.keyid)
                .is_some()
    })
}

/// Returns an explanation if the trusted roster and the roster of the bundle are not connected.
pub fn other_roster(bundle: &[u8], trusted: &ChosenTrust, report: &BundleReport) -> Option<String> {
    if report.finding(CheckName::RosterChain) == CheckFinding::Established {
        return None;
    }
    let versions = versions_in(bundle)?;
    if let Some(given) = trusted.pinned.newest() {
        let (given_name, own_name) = (&given.tables().name, &versions.last().tables().name);
        if given_name != own_name && !seems_of(&versions, given) {
            return Some(format!(
                "the trusted roster belongs to {given_name}, but the bundle belongs to {own_name}: verify the bundle with \
                 the roster of {own_name}"
            ));
        }
    }
    contradiction(&versions, trusted, "the bundle")
}

fn advice(untrusted: &Untrusted) -> String {
    trust_advice(untrusted.first_roster, "bundle")
}

/// Word of a verified bundle in the list.
pub const VERIFIED: &str = "verified";
/// Word of a bundle for which versions of the roster are missing.
pub const UNDECIDED: &str = "not decided";

/// Results of several bundles.
#[derive(Default)]
pub struct Tally {
    pub exit: Exit,
    lines: Vec<(&'static str, String, PrintableText)>,
    receipts: BTreeMap<String, usize>,
}

impl Tally {
    pub fn worst(&mut self, one: Exit) {
        if one.code() > self.exit.code() {
            self.exit = one;
        }
    }

    /// Adds a result. `why` is the reason if the bundle is not verified, and empty otherwise.
    pub fn add(&mut self, verdict: &'static str, path: &Path, facts: Option<&Facts>, why: &str) {
        let mut words = path.to_string_lossy().into_owned();
        if let Some(approved) = facts.and_then(|facts| facts.approved.as_ref()) {
            words = format!("{words}: {} of {}", approved.receipt, approved.step);
            if let Some(used) = &approved.grant {
                words = format!("{words}, under {}", used.words());
            }
            if approved.emergency {
                words += ", an EMERGENCY";
            }
            *self
                .receipts
                .entry(approved.receipt.to_string())
                .or_default() += 1;
        }
        if !why.is_empty() {
            words = format!("{words}: {why}");
        }
        let boundary = facts.map_or_else(String::new, |facts| facts.boundary.name.to_string());
        self.lines
            .push((verdict, boundary, PrintableText::text(&words)));
    }

    pub fn screen(&self, skipped: &[(String, String)]) -> Screen {
        let mut screen = Screen::default();
        screen.heading("All bundles");
        let width = self
            .lines
            .iter()
            .map(|(_, boundary, _)| boundary.len())
            .fold(8, usize::max);
        screen.push(
            LineTone::Faint,
            format!("  RESULT       {:<width$}  ", "BOUNDARY"),
            "FILE",
        );
        for (verdict, boundary, words) in &self.lines {
            let tone = match *verdict {
                VERIFIED => LineTone::Good,
                UNDECIDED => LineTone::Strong,
                _ => LineTone::Bad,
            };
            screen.push(
                tone,
                format!("  {verdict:<12} {boundary:<width$}  "),
                words.clone(),
            );
        }
        for (name, why) in skipped {
            screen.push(LineTone::Faint, "  other file   ", format!("{name}: {why}"));
        }
        for (receipt, times) in self.receipts.iter().filter(|(_, times)| **times > 1) {
            screen.say(
                LineTone::Bad,
                &format!(
                    "{times} of the bundles belong to the same run {receipt}: count this run once."
                ),
            );
        }
        let count = |word: &str| {
            self.lines
                .iter()
                .filter(|(verdict, ..)| *verdict == word)
                .count()
        };
        let undecided = match count(UNDECIDED) {
            0 => String::new(),
            some => format!(", {some} not decided"),
        };
        screen.say(
            LineTone::Plain,
            &format!(
                "{} of {} verified{undecided}",
                count(VERIFIED),
                self.lines.len()
            ),
        );
        screen
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::verdict_screen::{WITHOUT_ROSTER, program_words};
    use documents::Envelope;

    const BUNDLE: &[u8] = include_bytes!("../../../../tests/conformance/golden/valid/bundle.json");
    const ROSTER: &str = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../tests/conformance/golden/valid/roster.json"
    );

    #[test]
    fn a_bundle_is_verified_with_the_matching_roster_among_several() {
        let right = TrustArgs {
            roster: vec![ROSTER.to_owned()],
            ..TrustArgs::default()
        }
        .find()
        .expect("roster");
        let wrong = TrustArgs {
            roster: vec![format!("sha256:{}", "a".repeat(64))],
            ..TrustArgs::default()
        }
        .find()
        .expect("digest");
        let both = [wrong.clone(), right].concat();
        let JudgedBundle {
            trusted,
            report,
            unconnected,
        } = with_any(BUNDLE, &both, VerifyOptions::default()).expect("trusted");
        assert_eq!(
            unconnected.len(),
            1,
            "a digest that may be of a later version"
        );
        assert!(trusted.from.contains("roster.json"), "{}", trusted.from);
        assert_eq!(
            report
                .failed()
                .map(|check| check.name.word())
                .collect::<Vec<_>>(),
            Vec::<&str>::new()
        );
        assert!(report.verified);
        assert_eq!(
            report.finding(CheckName::RosterChain),
            CheckFinding::Established
        );
        let digest = BlobDigest::of(BUNDLE);
        let basis = VerdictInputs {
            place: Path::new("x"),
            digest,
            trusted,
            report: &report,
            at: None,
        };
        let printed = screen(&basis, None).paint(400, false);
        assert!(
            printed
                .bytes()
                .all(|c| c == b'\n' || (0x20..0x7f).contains(&c))
        );
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
        let approved = report
            .facts
            .as_mut()
            .and_then(|facts| facts.approved.as_mut());
        approved.expect("an authorization").emergency = true;
        let basis = VerdictInputs {
            place: Path::new("x"),
            digest,
            trusted,
            report: &report,
            at: None,
        };
        let printed = screen(&basis, None).paint(400, true);
        assert!(
            printed
                .contains("\x1b[1;31m  EMERGENCY     other people approved this run than normally"),
            "{printed}"
        );
        match with_any(BUNDLE, &wrong, VerifyOptions::default()) {
            Ok(judged) => assert!(!judged.report.verified),
            Err(untrusted) => assert!(untrusted.first_roster.is_some()),
        }
    }

    /// A trusted roster file with these changes of the golden roster.
    fn roster_with(from: &str, edit: impl FnOnce(&mut documents::Roster)) -> ChosenTrust {
        let first = TrustArgs {
            roster: vec![ROSTER.to_owned()],
            ..TrustArgs::default()
        }
        .find()
        .expect("roster")
        .remove(0);
        let Pinned::Roster(roster) = &first.pinned else {
            panic!("a file")
        };
        let mut tables = roster.tables().clone();
        tables.previous = Some(roster.digest());
        edit(&mut tables);
        let payload = tables
            .into_statement()
            .and_then(|statement| statement.to_payload())
            .expect("payload");
        let envelope = Envelope::new(&payload, Vec::new());
        ChosenTrust {
            pinned: Pinned::from_envelope(&envelope).expect("a roster"),
            audit: bundle_check::RosterTrust::Roster(serde_json::to_vec(&envelope).expect("JSON")),
            from: from.to_owned(),
            file: None,
        }
    }

    fn finding(bundle: &[u8], trust: &[ChosenTrust]) -> (bool, CheckFinding, CheckFinding) {
        let report = with_any(bundle, trust, VerifyOptions::default())
            .expect("trusted")
            .report;
        (
            report.verified,
            report.finding(CheckName::RosterChain),
            report.finding(CheckName::KeysStillRostered),
        )
    }

    #[test]
    fn a_bundle_with_another_roster_of_a_known_version_fails_by_name() {
        // The bundle contains versions 1 and 2, and the user trusts another version 2, or a version 3 after another 2.
        let bundle =
            include_bytes!("../../../../tests/conformance/golden/valid/bundle-roster-2.json");
        let first = TrustArgs {
            roster: vec![ROSTER.to_owned()],
            ..TrustArgs::default()
        }
        .find()
        .expect("roster")
        .remove(0);
        let branch = roster_with("branch", |tables| tables.version = 2);
        let after = roster_with("after", |tables| {
            tables.version = 3;
            tables.previous = Some(branch.pinned.digest());
        });
        let open = CheckFinding::Established;
        assert_eq!(
            finding(bundle, std::slice::from_ref(&first)),
            (true, open, open)
        );
        for trust in [
            vec![first.clone(), branch.clone()],
            vec![branch.clone(), first.clone()],
            vec![branch.clone()],
            vec![first.clone(), after.clone()],
            vec![after.clone(), first.clone()],
        ] {
            for trust in [join_bundles(&trust, std::iter::once(&bundle[..])), trust] {
                let judged = with_any(bundle, &trust, VerifyOptions::default()).expect("a report");
                assert!(!judged.report.verified && judged.report.undecided().is_none());
                let words = other_roster(bundle, judged.trusted, &judged.report).expect("words");
                assert!(
                    words.contains("the bundle has another version 2 of the roster"),
                    "{words}"
                );
            }
        }
    }

    #[test]
    fn a_bundle_that_lacks_a_roster_version_is_not_decided_and_never_failed() {
        let third = roster_with("third", |tables| tables.version = 3);
        let judged = with_any(
            BUNDLE,
            std::slice::from_ref(&third),
            VerifyOptions::default(),
        )
        .expect("a report");
        assert_eq!(
            judged.report.undecided().as_deref(),
            Some("version 2 of the roster is missing")
        );
        assert_eq!(judged.report.failed().count(), 0);
        // With version 1 too, only the newest keys stay open.
        let first = TrustArgs {
            roster: vec![ROSTER.to_owned()],
            ..TrustArgs::default()
        }
        .find()
        .expect("roster")
        .remove(0);
        let both = finding(BUNDLE, &[third, first]);
        assert_eq!(
            both,
            (true, CheckFinding::Established, CheckFinding::NotChecked)
        );
    }

    #[test]
    fn a_roster_of_another_boundary_is_reported_once() {
        let right = TrustArgs {
            roster: vec![ROSTER.to_owned()],
            ..TrustArgs::default()
        }
        .find()
        .expect("roster")
        .remove(0);
        let Pinned::Roster(roster) = &right.pinned else {
            panic!("a file")
        };
        for (name, says) in [
            (
                "b2",
                format!(
                    "the trusted roster belongs to b2, but the bundle belongs to {}",
                    roster.tables().name
                ),
            ),
            (
                roster.tables().name.as_str(),
                "the bundle has another version 1 of the roster (sha256:".to_owned(),
            ),
        ] {
            let other = roster_with("other", |tables| {
                (tables.version, tables.previous) = (1, None);
                tables.name = name.to_owned();
                tables.threshold = 1;
                if name == "b2" {
                    let (_, keys) = tables.boundaries.pop_first().expect("a boundary");
                    let other = "b2".parse().expect("a name");
                    tables.boundaries.insert(other, keys);
                }
            });
            let judged = with_any(
                BUNDLE,
                std::slice::from_ref(&other),
                VerifyOptions::default(),
            )
            .expect("a report");
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
            assert!(
                printed.contains(&format!("because       {says}")),
                "{printed}"
            );
            assert_eq!(printed.matches(WITHOUT_ROSTER).count(), 2, "{printed}");
            assert!(printed.contains("not checked  33 checks"), "{printed}");
        }
    }

    #[test]
    fn the_programs_of_a_run_are_shown_with_complete_paths_and_counts() {
        let words = |facts: serde_json::Value| {
            program_words(&serde_json::from_value(facts).expect("facts"))
        };
        let paths =
            |path: &str, more: u64| json!({"paths": [{"path": path, "count": 2}], "more": more});
        let none = json!({"paths": [], "more": 0});
        for (facts, expected) in [
            (
                json!({"mode": "listed", "listed": 3, "started": paths("/usr/bin/jq", 4), "refused": paths("/tmp/work/jq", 0)}),
                "3 listed; started /usr/bin/jq (2), others (4); refused /tmp/work/jq (2)",
            ),
            (
                json!({"mode": "listed", "listed": 1, "started": none}),
                "1 listed; started none; refused not recorded",
            ),
            (
                json!({"mode": "any", "listed": 0}),
                "every program can start; started not recorded; refused not recorded",
            ),
        ] {
            assert_eq!(words(facts), expected);
        }
    }
}
