//! Builds the rows of the table of decisions: cells of printable ASCII from a verified bundle or an audited log.
//!
//! The module also formats what the tables of an audit say about approvals, reviews and revocations.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::{
    ChosenTrust, JudgedBundle, PrintableText, bundle_of,
    commands::{bundle_files::looks_like_bundle, verify::other_roster},
    outcome_words, with_any,
};
use documents::{BlobDigest, RevokedSubject, Status, Timestamp, canonical};
use verdict::{
    BundleReport, CheckFinding, DecisionLine, DenialLine, EntryVerdict, Facts, FindingKind,
    OpenRun, ReviewedLine, RevocationLine, RunReviewState, UsedGrant, VerifyOptions, VersionFacts,
};

/// Names of the columns. The cells of a row have the same order.
pub const COLUMNS: [&str; 12] = [
    "Step",
    "Parameters",
    "Proposed by",
    "Approved by",
    "Grant",
    "Time",
    "Outcome",
    "Open, reviews",
    "Not checked",
    "Verdict",
    "Boundary",
    "Evidence",
];
/// Column of the standing grant that a run used.
pub const GRANT: usize = 4;
/// Column of the time.
pub const TIME: usize = 5;
/// Column of what a run leaves open, and of its reviews.
const OPEN: usize = 7;
/// Column of the verdict.
pub const VERDICT: usize = 9;
/// Column of the name of the boundary, empty if it is unknown. For a log, the cell is filled in after the whole log was
/// read.
pub const BOUNDARY: usize = 10;

/// Maximum number of columns of a cell. A longer text is cut, and the digest of the whole text follows.
const MOST_IN_CELL: usize = 600;
/// Word in a filter for the outcome of a run without a receipt.
pub const NO_RECEIPT: &str = "no_receipt";
documents::words! {
/// Result of a row, the same for bundles and logs.
pub enum RowVerdict {
    /// The bundle is verified, or the decision follows from the state before the decision.
    Holds = "holds",
    /// A check failed, or the decision does not follow from the state before the decision.
    Fails = "fails",
    /// Another program version made the decision, and this version would decide differently.
    Differs = "differs",
    /// There is no trusted roster, versions of the roster are missing, or the state before the decision could not be read.
    Undecided = "undecided",
    /// The nonce was spent, and no receipt follows in the log.
    Open = "open",
    /// A person denied a statement, so nothing ran.
    Denied = "denied",
    /// A person reviewed a run.
    Reviewed = "reviewed",
    /// A person revoked a grant, a key, a token or the epoch.
    Revoked = "revoked",
}
}

impl RowVerdict {
    /// Returns the meaning of the verdict in words.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Holds => "verified, or stands",
            Self::Fails => "failed",
            Self::Differs => "differs in this version",
            Self::Undecided => "not decided here",
            Self::Open => "no receipt in the log",
            Self::Denied => "denied by a person",
            Self::Reviewed => "review of a run by a person",
            Self::Revoked => "revocation by a person",
        }
    }
}

/// Place of the evidence for a row, to read it again for the page of the row.
#[derive(Clone)]
pub enum RowPlace {
    /// A bundle in a file, with the digest of the bytes that were verified.
    File(PathBuf, BlobDigest),
    /// A bundle in the file of uploads: first byte, length and digest.
    Upload(u64, usize, BlobDigest),
    /// A decision of an audited log, without its parameters.
    Decision(Box<DecisionLine>),
    /// A denial in an audited log.
    Denial(Box<DenialLine>),
    /// A review in an audited log.
    Review(Box<ReviewedLine>),
    /// A revocation in an audited log.
    Revocation(Box<RevocationLine>),
    /// A consumption without a receipt.
    Consumption(OpenRun),
}

/// A row of the table.
#[derive(Clone)]
pub struct AuditRow {
    /// Number of the row, which stays the same when rows are added.
    pub number: usize,
    /// Cells in the order of [`COLUMNS`], with escapes.
    pub cells: [Box<str>; COLUMNS.len()],
    /// Result of the row.
    pub verdict: RowVerdict,
    /// Outcome for the filter, or an empty text if no receipt was established.
    pub outcome: &'static str,
    /// Time at which the nonce was spent, as far as the evidence shows it.
    pub at: Option<Timestamp>,
    /// True if nobody knows how the run ended, or if its reviews are missing.
    pub is_open: bool,
    /// Id of the receipt, or an empty text.
    pub receipt: Box<str>,
    /// Newest known version of the roster that decided about a bundle.
    pub roster: Option<VersionFacts>,
    /// Place of the evidence.
    pub place: RowPlace,
    /// Number of the audited log among the logs of the table, for the row of a log.
    pub log: usize,
}

/// Text of a cell without evidence.
const UNKNOWN: &str = "(not established)";
/// Text of a cell about a denial, whose authorization the log does not contain.
const NOT_IN_LOG: &str = "(not in the log)";
/// Text of a cell about an open run, which the audit decides only with its receipt.
const OPEN_RUN: &str = "(no receipt yet)";
/// Text of a cell of a review, which names only the receipt.
const IN_RECEIPT: &str = "(see the receipt)";
/// Text of a cell of a revocation, which belongs to no run.
const NO_RUN: &str = "(no run)";
/// Text of the column of grants for a run that people approved.
const NO_GRANT: &str = "none";

/// Returns external text for a cell.
fn cell(text: &str) -> Box<str> {
    cut_cell(&PrintableText::text(text), text.as_bytes())
}

fn params_cell(params: &Value) -> Box<str> {
    cut_cell(
        &PrintableText::json(params),
        &canonical::to_canonical(params),
    )
}

fn cut_cell(shown: &PrintableText, text: &[u8]) -> Box<str> {
    if shown.width() <= MOST_IN_CELL {
        return shown.as_str().into();
    }
    format!(
        "{} ({} bytes, {})",
        shown.cut(MOST_IN_CELL),
        text.len(),
        BlobDigest::of(text)
    )
    .into()
}

fn grant_cell(used: Option<&UsedGrant>) -> Box<str> {
    used.map_or_else(
        || NO_GRANT.into(),
        |used| cell(&format!("under {}", used.words())),
    )
}

impl AuditRow {
    /// Returns a row that belongs to no run, without its cells.
    fn without_run(place: RowPlace) -> Self {
        Self {
            number: 0,
            cells: std::array::from_fn(|_| NOTHING.into()),
            verdict: RowVerdict::Open,
            outcome: NO_RECEIPT,
            at: None,
            is_open: false,
            receipt: "".into(),
            roster: None,
            place,
            log: 0,
        }
    }

    /// Returns the row of a decision in a log.
    pub fn of_decision(mut line: DecisionLine) -> Self {
        let kinds = joined(line.findings.iter().map(|kind: &FindingKind| kind.word()));
        let (verdict, words) = match line.verdict {
            EntryVerdict::Stands => (RowVerdict::Holds, "stands".to_owned()),
            EntryVerdict::Differs => (RowVerdict::Differs, format!("differs: {kinds}")),
            EntryVerdict::Fails => (RowVerdict::Fails, format!("DOES NOT STAND: {kinds}")),
            EntryVerdict::Undecided => (RowVerdict::Undecided, "undecided".to_owned()),
        };
        let mut unchecked: Vec<&str> = line.unchecked.iter().map(|kind| kind.word()).collect();
        if verdict == RowVerdict::Undecided {
            unchecked.insert(0, "the decision");
        }
        let params = params_cell(&std::mem::take(&mut line.params));
        Self {
            cells: [
                cell(line.step.as_str()),
                params,
                cell(line.proposer.as_str()),
                cell(&approval_words(&joined(&line.approvers), line.emergency)),
                grant_cell(line.used_grant.as_ref()),
                cell(&line.at.to_string()),
                cell(&outcome_words(&line.outcome)),
                NOTHING.into(),
                cell(&joined(unchecked)),
                cell(&words),
                "".into(),
                cell(&format!("{}, log entry {}", line.receipt, line.entry)),
            ],
            verdict,
            outcome: line.outcome.status.word(),
            at: Some(line.at),
            receipt: line.receipt.as_str().into(),
            ..Self::without_run(RowPlace::Decision(Box::new(line)))
        }
    }

    /// Returns true for the row of a bundle.
    pub fn is_bundle(&self) -> bool {
        matches!(self.place, RowPlace::File(..) | RowPlace::Upload(..))
    }

    /// Adds to the row what the reviews of the run say at the end of the log.
    pub(super) fn follow(&mut self, state: &RunReviewState) {
        self.cells[OPEN] = cell(&review_state_words(state));
        self.is_open = state.emergency || state.unsettled;
    }

    /// Creates the row of a denial. The log does not contain what was denied.
    pub fn of_denial(line: DenialLine) -> Self {
        let words = [
            format!("{} denied", line.approver),
            "denied, so nothing ran".to_owned(),
            format!("log entry {}", line.entry),
        ];
        let after = line.after;
        let place = RowPlace::Denial(Box::new(line));
        Self::of_document(place, (RowVerdict::Denied, after), NOT_IN_LOG, words)
    }

    /// Creates the row of a review, which names only the receipt of the run.
    pub fn of_review(line: ReviewedLine) -> Self {
        let reviewer = line
            .reviewer
            .as_ref()
            .map_or("(unknown)", |name| name.as_str());
        let words = [
            format!("{reviewer} reviewed"),
            review_words(&line),
            format!("{}, log entry {}", line.receipt, line.entry),
        ];
        let after = line.after;
        let place = RowPlace::Review(Box::new(line));
        let mut row = Self::of_document(place, (RowVerdict::Reviewed, after), IN_RECEIPT, words);
        row.cells[OPEN] = IN_RECEIPT.into();
        row
    }

    /// Creates the row of a revocation.
    pub fn of_revocation(line: RevocationLine) -> Self {
        let words = [
            format!("{} revoked", line.signer),
            revocation_words(&line),
            format!("log entry {}", line.entry),
        ];
        let (after, grant) = (line.after, line.grant.clone());
        let place = RowPlace::Revocation(Box::new(line));
        let mut row = Self::of_document(place, (RowVerdict::Revoked, after), NO_RUN, words);
        row.cells[GRANT] = grant.map_or_else(|| NO_GRANT.into(), |grant| cell(grant.as_str()));
        row
    }

    /// Creates the row of a document that is no run. The cells that only a run can fill contain the text `missing`.
    fn of_document(
        place: RowPlace,
        (verdict, after): (RowVerdict, Timestamp),
        missing: &'static str,
        [who, what, evidence]: [String; 3],
    ) -> Self {
        Self {
            cells: [
                missing.into(),
                missing.into(),
                missing.into(),
                cell(&who),
                missing.into(),
                cell(&format!("after {after}")),
                cell(&what),
                NOTHING.into(),
                NOTHING.into(),
                verdict.word().into(),
                "".into(),
                cell(&evidence),
            ],
            verdict,
            outcome: verdict.word(),
            at: Some(after),
            ..Self::without_run(place)
        }
    }

    /// Returns the row of a consumption without a receipt.
    pub fn of_open(run: OpenRun) -> Self {
        Self {
            cells: [
                OPEN_RUN.into(),
                OPEN_RUN.into(),
                OPEN_RUN.into(),
                OPEN_RUN.into(),
                OPEN_RUN.into(),
                cell(&run.at.to_string()),
                "no receipt yet".into(),
                "no receipt yet".into(),
                "the decision".into(),
                "still open".into(),
                "".into(),
                cell(&format!(
                    "log entry {}, item {}, authorization {}",
                    run.consumption, run.item, run.authorization
                )),
            ],
            at: Some(run.at),
            is_open: true,
            ..Self::without_run(RowPlace::Consumption(run))
        }
    }

    /// Verifies a bundle and returns its row.
    ///
    /// # Errors
    /// Returns the reason if the bytes are no bundle. Bytes that look like a damaged bundle have a row.
    pub fn of_bundle(
        name: &str,
        bytes: Vec<u8>,
        trust: &[ChosenTrust],
        place: RowPlace,
    ) -> Result<Self, String> {
        let looks_like_one = looks_like_bundle(name, &bytes);
        let bytes = bundle_of(Path::new(name), bytes).map_err(|failure| failure.message)?;
        if !looks_like_one {
            return Err(
                "no bundle: the file does not contain a receipt and a consumption".to_owned(),
            );
        }
        Ok(match with_any(&bytes, trust, VerifyOptions::default()) {
            Ok(judged) => Self::of_judged(name, &bytes, &judged, place),
            Err(untrusted) => {
                let words = format!("nothing was verified: {}", untrusted.message);
                Self::stated(
                    name,
                    None,
                    None,
                    ["everything", &words],
                    RowVerdict::Undecided,
                    place,
                )
            }
        })
    }

    fn of_judged(name: &str, bytes: &[u8], judged: &JudgedBundle<'_>, place: RowPlace) -> Self {
        let report = &judged.report;
        let open: Vec<&str> = report
            .checks
            .iter()
            .filter(|check| check.finding == CheckFinding::NotChecked)
            .map(|check| check.name.word())
            .collect();
        let unchecked = if open.len() > MOST_NAMES {
            format!("{} checks", open.len())
        } else {
            joined(open)
        };
        let (verdict, words) = match report.undecided() {
            _ if report.verified => (RowVerdict::Holds, "verified".to_owned()),
            Some(missing) => (RowVerdict::Undecided, format!("not decided: {missing}")),
            None => (
                RowVerdict::Fails,
                failed_words(report, other_roster(bytes, judged.trusted, report)),
            ),
        };
        let (facts, newest) = (report.facts.as_deref(), report.trust.newest);
        Self::stated(name, facts, newest, [&unchecked, &words], verdict, place)
    }

    fn stated(
        name: &str,
        facts: Option<&Facts>,
        roster: Option<VersionFacts>,
        [unchecked, words]: [&str; 2],
        verdict: RowVerdict,
        place: RowPlace,
    ) -> Self {
        let approved = facts.and_then(|facts| facts.approved.as_ref());
        let at = facts.map(|facts| facts.consumed_at.unwrap_or(facts.started_at));
        let or_unknown = |text: Option<Box<str>>| text.unwrap_or_else(|| UNKNOWN.into());
        let receipt: Box<str> = approved
            .map_or("", |approved| approved.receipt.as_str())
            .into();
        let evidence = if receipt.is_empty() {
            name.to_owned()
        } else {
            format!("{receipt}, {name}")
        };
        let status = facts.map(|facts| facts.outcome.status);
        let is_open = status == Some(Status::Unknown);
        // The reviews of a run come after its receipt, so a bundle can't have them.
        let open = match (approved.is_some_and(|approved| approved.emergency), is_open) {
            (false, false) => NOTHING,
            (true, false) => "EMERGENCY: only the log has its reviews",
            (false, true) => "unknown end: only the log has its reviews",
            (true, true) => "EMERGENCY with an unknown end: only the log has its reviews",
        };
        Self {
            cells: [
                or_unknown(approved.map(|approved| cell(approved.step.as_str()))),
                or_unknown(approved.map(|approved| params_cell(&approved.params))),
                or_unknown(approved.map(|approved| cell(approved.proposer.as_str()))),
                or_unknown(facts.map(|facts| {
                    let names = joined(facts.approvers.iter().map(|approver| &approver.name));
                    cell(&approval_words(
                        &names,
                        approved.is_some_and(|approved| approved.emergency),
                    ))
                })),
                or_unknown(approved.map(|approved| grant_cell(approved.grant.as_ref()))),
                or_unknown(at.map(|at| cell(&at.to_string()))),
                or_unknown(facts.map(|facts| cell(&outcome_words(&facts.outcome)))),
                or_unknown(facts.map(|_| open.into())),
                cell(unchecked),
                cell(words),
                facts
                    .map_or("", |facts| facts.boundary.name.as_str())
                    .into(),
                cell(&evidence),
            ],
            verdict,
            outcome: status.map_or("", Status::word),
            at,
            is_open,
            receipt,
            roster,
            ..Self::without_run(place)
        }
    }

    /// Returns the sort key for the rows that an auditor needs most: open runs, then failed rows, then runs that did
    /// not succeed, then the newest rows.
    pub(super) fn need(&self) -> (bool, bool, bool, std::cmp::Reverse<Option<Timestamp>>) {
        let is_open = self.is_open || self.outcome == Status::Unknown.word();
        let is_good = [Status::Succeeded, Status::Warned]
            .map(Status::word)
            .contains(&self.outcome);
        (
            !is_open,
            self.verdict != RowVerdict::Fails,
            is_good,
            std::cmp::Reverse(self.at),
        )
    }

    /// Order of the table: open runs, then failed rows, then rows without a time, then the newest decisions.
    pub fn order(&self, other: &Self) -> std::cmp::Ordering {
        let key = |row: &Self| {
            (
                !row.is_open,
                row.verdict != RowVerdict::Fails,
                row.at.is_some(),
                std::cmp::Reverse(row.at),
            )
        };
        key(self)
            .cmp(&key(other))
            .then_with(|| self.cells.last().cmp(&other.cells.last()))
    }
}

/// Maximum number of checks that a cell names.
const MOST_NAMES: usize = 8;

/// Returns the reason why a bundle is not verified: the first failed check, and the names of some others.
fn failed_words(report: &BundleReport, other_roster: Option<String>) -> String {
    let mut failed = report.failed();
    let Some(first) = failed.next() else {
        return "NOT VERIFIED: a required check could not be made".to_owned();
    };
    let why = other_roster.unwrap_or_else(|| first.detail.clone());
    let others: Vec<&str> = failed.map(|check| check.name.word()).collect();
    let also = match others.len() {
        0 => String::new(),
        count if count > MOST_NAMES => format!("; {count} other checks failed too"),
        _ => format!("; failed too: {}", others.join(", ")),
    };
    format!("NOT VERIFIED: {}: {why}{also}", first.name.word())
}

/// Returns the digest of a trusted roster, and its version if the person has the roster itself.
pub fn pinned_words(trust: &ChosenTrust) -> String {
    let version = trust.pinned.newest().map_or_else(String::new, |roster| {
        format!("version {} ", roster.version())
    });
    format!("{version}{}", trust.pinned.digest())
}

/// Text of an empty list.
pub const NOTHING: &str = "nothing";

/// Joins names and other words.
pub fn joined<T: ToString>(names: impl IntoIterator<Item = T>) -> String {
    match documents::joined(names, ", ") {
        none if none.is_empty() => NOTHING.to_owned(),
        names => names,
    }
}

/// Returns the approvers of a run, with the mark of an emergency.
pub fn approval_words(names: &str, is_emergency: bool) -> String {
    if is_emergency {
        format!("{names} (EMERGENCY)")
    } else {
        names.to_owned()
    }
}

/// Describes what a review says.
pub fn review_words(line: &ReviewedLine) -> String {
    let reviewer = line
        .reviewer
        .as_ref()
        .map_or("an unknown person", |name| name.as_str());
    let observed = line
        .observed
        .map_or_else(String::new, |end| format!(", observed: {}", end.word()));
    format!("run {} by {reviewer}{observed}", line.verdict.word())
}

/// Describes what the reviews of a run say, and what is still open.
pub fn review_state_words(run: &RunReviewState) -> String {
    let emergency = match (run.emergency, run.reviewed_by.is_empty()) {
        (true, _) => Some("EMERGENCY: unreviewed".to_owned()),
        (false, false) => Some(format!(
            "EMERGENCY: reviewed by {}",
            joined(&run.reviewed_by)
        )),
        (false, true) => None,
    };
    let end = match (run.disputed, run.unsettled, run.settled) {
        (true, ..) => Some("DISPUTED, so not settled".to_owned()),
        (false, true, _) => Some("not settled".to_owned()),
        (false, false, Some(end)) => Some(format!(
            "settled as {} by {}",
            end.word(),
            joined(&run.settled_by)
        )),
        (false, false, None) => None,
    };
    documents::joined(emergency.into_iter().chain(end), "; ")
}

/// Describes what a revocation ended, and who signed it.
pub fn revocation_words(line: &RevocationLine) -> String {
    let what = match (&line.token, &line.grant, line.subject) {
        (Some(name), ..) => format!("token {name} revoked"),
        (_, Some(grant), _) => format!("grant {grant} revoked"),
        (.., RevokedSubject::Epoch(_)) => "frozen".to_owned(),
        (.., subject) => format!("{subject} revoked"),
    };
    format!("{what} by {}", line.signer)
}
