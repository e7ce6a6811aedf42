//! Builds the table of decisions of bundles and logs, and makes each decision again.
//!
//! The module also writes the table as CSV (RFC 4180), in which no cell begins a formula of a spreadsheet.

use std::{
    borrow::Borrow,
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use crate::{
    AuditRow, BOUNDARY, COLUMNS, ChosenTrust, CommandResult, GRANT_COLUMNS, GlobalOptions,
    LogSource, PrintableText, RowPlace, RowVerdict, VERDICT,
    commands::{
        audit::{audit_output::AuditedLog, audit_row::pinned_words, open_work::grant_words},
        bundle_files::{FoundFiles, MOST_FILES},
        global::{is_address, open_log_without_key},
    },
    fail_check, fail_usage, grant_cells, is_log, join_bundles, joined, read_beginning,
};
use documents::{BlobDigest, MAX_BUNDLE_BYTES, Timestamp};
use reading::on_all_cores;
use verdict::{AuditEvent, GrantLine};

/// Maximum number of rows, so that the table has a bounded size in memory. If there are more rows, the table keeps open
/// rows first, then rows without a good result, then the newest rows.
pub const MOST_ROWS: usize = MOST_FILES;
/// Number of files that are verified between two reports of the progress.
const MOST_AT_ONCE: usize = 64;
/// Maximum number of skipped files that the page names. Further files are only counted.
const MOST_SKIPPED: usize = 1000;

/// A file that is no bundle.
pub struct SkippedFile {
    /// Name of the file.
    pub name: String,
    /// Reason.
    pub why: String,
}

/// The table, with everything that a page states about it.
#[derive(Default)]
pub struct AuditTable {
    /// Rows in the order of the table.
    pub rows: Vec<AuditRow>,
    /// Number of decisions that have no row, because there were too many.
    pub left_out: u64,
    /// Number of rows so far, including rows that were left out.
    pushed: usize,
    /// Files that are no bundles.
    pub skipped: Vec<SkippedFile>,
    /// Number of files that are no bundles.
    pub skipped_count: u64,
    /// The audited logs.
    pub logs: Vec<AuditedLog>,
    /// Logs that could not be judged, each with the reason. They have no row.
    pub unjudged: Vec<String>,
    /// Trusted rosters, joined with the older versions that the bundles contain.
    pub trust: Vec<ChosenTrust>,
    /// Trusted rosters, in words.
    trusted: Vec<String>,
}

/// Opens the log that the auditor named, without a key. Returns `None` for a bundle or a directory with bundles.
///
/// # Errors
/// Returns an error if there is no such file, or if the log can't be opened.
pub fn named_log(named: &str, global: &GlobalOptions) -> CommandResult<Option<LogSource>> {
    let path = Path::new(named);
    if is_address(named) || is_log(path) {
        return open_log_without_key(named, global).map(Some);
    }
    if path.is_dir() || path.is_file() {
        return Ok(None);
    }
    fail_usage(format!(
        "{} is no file and no directory: name a bundle, a directory with bundles, a directory that `countersign log \
         export` wrote, or the address of a boundary (http://... or https://...)",
        PrintableText::text(named)
    ))
}

impl AuditTable {
    /// Makes every decision of the evidence again. `evidence` has the named places, each with its log if the place is a
    /// log. `progress` gets the number of files that are verified, and the number of all files. A log that can't be
    /// judged, for example without a trusted roster, does not stop the other logs.
    pub fn of(
        evidence: &[(String, Option<LogSource>)],
        trust: &[ChosenTrust],
        progress: impl Fn(usize, usize),
    ) -> Self {
        let mut table = Self {
            trusted: trust.iter().map(pinned_words).collect(),
            ..Self::default()
        };
        let mut files = Vec::new();
        for (named, log) in evidence {
            let path = Path::new(named);
            match log {
                Some(log) => {
                    if let Err(failure) = table.add_log(log, named, trust) {
                        let named = PrintableText::text(named);
                        table.unjudged.push(format!("{named}: {}", failure.message));
                    }
                }
                None if path.is_dir() => {
                    let found = FoundFiles::below(path);
                    table.left_out += found.left_out;
                    found
                        .skipped
                        .iter()
                        .for_each(|(name, why)| table.skip(name, why));
                    files.extend(found.files);
                }
                None => files.push((
                    path.file_name()
                        .unwrap_or_default()
                        .to_string_lossy()
                        .into_owned(),
                    path.into(),
                )),
            }
        }
        let bytes = |(_, file): &(String, PathBuf)| {
            read_beginning(file, MAX_BUNDLE_BYTES).unwrap_or_default()
        };
        let trust = join_bundles(trust, files.iter().map(bytes));
        for (at, part) in files.chunks(MOST_AT_ONCE).enumerate() {
            progress(at * MOST_AT_ONCE, files.len());
            let verified = on_all_cores(part.to_vec(), |(name, file)| {
                (of_file(&name, &file, &trust), name)
            });
            for (result, name) in verified {
                table.add(&name, result);
            }
        }
        table.trust = trust;
        table.sort();
        table
    }

    /// Audits a log, and adds its rows. A log that can't be audited to its end adds no row.
    fn add_log(
        &mut self,
        place: &LogSource,
        named: &str,
        trust: &[ChosenTrust],
    ) -> CommandResult<()> {
        let number = self.logs.len();
        let mut push = |row| self.push(AuditRow { log: number, ..row });
        let log = AuditedLog::of(place, named, trust, |event| match event {
            AuditEvent::Decision(line) => push(AuditRow::of_decision(*line)),
            AuditEvent::Denial(line) => push(AuditRow::of_denial(*line)),
            AuditEvent::Review(line) => push(AuditRow::of_review(*line)),
            AuditEvent::Revocation(line) => push(AuditRow::of_revocation(*line)),
            AuditEvent::Finding(_) => {}
        });
        let log = log.inspect_err(|_| self.rows.retain(|row| row.log != number))?;
        let mut push = |row| self.push(AuditRow { log: number, ..row });
        let (open, done) = (&log.summary.reviews, &log.summary.reviewed);
        let states: BTreeMap<_, _> = open
            .iter()
            .chain(done)
            .map(|run| (run.receipt.as_str(), run))
            .collect();
        log.summary
            .open
            .iter()
            .for_each(|run| push(AuditRow::of_open(run.clone())));
        for row in self.rows.iter_mut().filter(|row| row.log == number) {
            if let Some(state) = states.get(&*row.receipt) {
                row.follow(state);
            }
            row.cells[BOUNDARY] = log
                .summary
                .name
                .as_ref()
                .map_or("", |name| name.as_str())
                .into();
        }
        self.logs.push(log);
        Ok(())
    }

    fn push(&mut self, row: AuditRow) {
        self.rows.push(AuditRow {
            number: self.pushed,
            ..row
        });
        self.pushed += 1;
        // The rows are selected rarely, because each selection sorts them.
        if self.rows.len() == 2 * MOST_ROWS {
            self.select(MOST_ROWS);
        }
    }

    /// Keeps the rows that an auditor needs most.
    fn select(&mut self, most: usize) {
        if self.rows.len() > most {
            self.rows.sort_by_key(AuditRow::need);
            self.left_out += (self.rows.len() - most) as u64;
            self.rows.truncate(most);
        }
    }

    /// Adds the row of a file, or the reason why the file has none. The caller sorts the table afterwards.
    pub fn add(&mut self, name: &str, result: Result<AuditRow, String>) {
        match result {
            Ok(row) => self.push(row),
            Err(why) => self.skip(name, &why),
        }
    }

    fn skip(&mut self, name: &str, why: &str) {
        self.skipped_count += 1;
        if self.skipped.len() < MOST_SKIPPED {
            self.skipped.push(SkippedFile {
                name: name.to_owned(),
                why: why.to_owned(),
            });
        }
    }

    /// Selects the rows of the table, and sorts them.
    pub fn sort(&mut self) {
        self.select(MOST_ROWS);
        self.rows.sort_by(AuditRow::order);
    }

    /// Returns the number of runs that leave something open.
    pub fn open_count(&self) -> usize {
        self.rows.iter().filter(|row| row.is_open).count()
    }

    /// Returns the grants of the logs, each with the last time of its log.
    pub fn grants(&self) -> Vec<(&GrantLine, Timestamp)> {
        self.logs
            .iter()
            .flat_map(|log| {
                log.summary
                    .grants
                    .iter()
                    .map(|line| (line, log.summary.until))
            })
            .collect()
    }

    /// Returns each reason why bundles are not decided although a roster is trusted, with its number of rows.
    pub fn undecided(&self) -> BTreeMap<&str, usize> {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        let of_bundles = self
            .rows
            .iter()
            .filter(|row| row.verdict == RowVerdict::Undecided && row.is_bundle());
        for row in of_bundles.filter(|_| !self.trust.is_empty()) {
            *counts.entry(&row.cells[VERDICT]).or_default() += 1;
        }
        counts
    }

    /// Returns the receipts that have several rows in the table, each with its number of rows.
    pub fn repeated(&self) -> Vec<(&str, usize)> {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for row in self.rows.iter().filter(|row| !row.receipt.is_empty()) {
            *counts.entry(&row.receipt).or_default() += 1;
        }
        counts.into_iter().filter(|(_, count)| *count > 1).collect()
    }

    /// Returns what a page states about the whole table, as names and values in printable ASCII.
    pub fn facts(&self) -> Vec<(&'static str, String)> {
        let shown = |text: &str| PrintableText::text(text).to_string();
        let mut facts = Vec::new();
        facts.push(("trusted roster", shown(&joined(&self.trusted))));
        for log in &self.logs {
            let summary = &log.summary;
            let mut verdict = log.verdict();
            if let (Some(name), Some(id)) = (&summary.name, &summary.boundary) {
                facts.push(("boundary", shown(&format!("{name} {id}"))));
                verdict = format!("{name}: {verdict}");
            }
            let version = summary
                .roster
                .map_or("unknown".to_owned(), |version| version.to_string());
            facts.push(("roster version", shown(&version)));
            facts.push((
                "log entries",
                format!("{}, until {}", summary.entries, summary.until),
            ));
            facts.push(("verdict", shown(&verdict)));
            facts.extend(
                summary
                    .grants
                    .iter()
                    .map(|line| ("grant", shown(&grant_words(line, summary.until)))),
            );
        }
        let bundles: Vec<&AuditRow> = self.rows.iter().filter(|row| row.is_bundle()).collect();
        if self.logs.is_empty() || !bundles.is_empty() {
            let versions: BTreeSet<String> = bundles
                .iter()
                .filter_map(|row| {
                    row.roster
                        .map(|roster| format!("{} ({})", roster.version, roster.digest))
                })
                .collect();
            facts.push(("roster version", shown(&joined(versions))));
            let count = |verdict| bundles.iter().filter(|row| row.verdict == verdict).count();
            let undecided = match count(RowVerdict::Undecided) {
                0 => String::new(),
                some => format!(", {some} not decided"),
            };
            facts.push((
                "verdict",
                format!(
                    "{} of {} verified{undecided}",
                    count(RowVerdict::Holds),
                    bundles.len()
                ),
            ));
        }
        facts.push(("rows", self.rows.len().to_string()));
        let failed = self
            .rows
            .iter()
            .filter(|row| row.verdict == RowVerdict::Fails)
            .count();
        facts.push(("failed", failed.to_string()));
        facts.push(("still open", self.open_count().to_string()));
        facts.push(("left out", self.left_out.to_string()));
        facts.push(("other files", self.skipped_count.to_string()));
        facts
    }
}

/// Reads a file and returns its row, or the reason why it is no bundle.
fn of_file(name: &str, path: &Path, trust: &[ChosenTrust]) -> Result<AuditRow, String> {
    // One byte more than the maximum lets the check `bundle` report a file that is too large.
    let bytes = read_beginning(path, MAX_BUNDLE_BYTES + 1).map_err(|failure| failure.message)?;
    let place = RowPlace::File(path.to_owned(), BlobDigest::of(&bytes));
    AuditRow::of_bundle(name, bytes, trust, place)
}

/// Reads the bundle of a row again, for the page of the row.
///
/// # Errors
/// Returns an error if the file can't be read, or has other bytes now.
pub fn read_again(path: &Path, digest: &BlobDigest) -> CommandResult<Vec<u8>> {
    let bytes = read_beginning(path, MAX_BUNDLE_BYTES + 1)?;
    if BlobDigest::of(&bytes) == *digest {
        return Ok(bytes);
    }
    fail_check(
        "the file has changed since the table was made: stop the program with Ctrl-C and start it again",
    )
}

/// Characters with which a spreadsheet begins a formula.
const FORMULA: [char; 6] = ['=', '+', '-', '@', '\t', '\r'];

/// Returns the rows as CSV with a header.
pub fn csv_table<'r>(rows: impl Iterator<Item = &'r AuditRow>) -> String {
    csv_of(&COLUMNS, rows.map(|row| &row.cells))
}

/// Returns grants as CSV with a header, each at the last time of its log.
pub fn csv_grants(grants: &[(&GrantLine, Timestamp)]) -> String {
    csv_of(
        &GRANT_COLUMNS,
        grants.iter().map(|(line, until)| grant_cells(line, *until)),
    )
}

fn csv_of<C: AsRef<str>, const N: usize>(
    header: &[&str],
    rows: impl Iterator<Item = impl Borrow<[C; N]>>,
) -> String {
    rows.fold(csv_line(header), |out, row| out + &csv_line(row.borrow()))
}

fn csv_line(cells: &[impl AsRef<str>]) -> String {
    documents::joined(cells.iter().map(|cell| csv_cell(cell.as_ref())), ",") + "\r\n"
}

/// Returns a cell in quotes. A cell that would begin a formula gets an apostrophe, which spreadsheets show as text. Some
/// spreadsheets also split a line at semicolons, so what follows a semicolon counts as the beginning of a cell too.
pub fn csv_cell(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 3);
    out.push('"');
    let mut begins = true;
    for c in text.chars() {
        if begins && FORMULA.contains(&c) {
            out.push('\'');
        }
        if c == '"' {
            out.push('"');
        }
        out.push(c);
        // Some spreadsheets also evaluate a formula after spaces and quotes.
        begins = c == ';' || (begins && matches!(c, ' ' | '"'));
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_that_is_too_long_keeps_the_open_the_failed_and_the_newest_rows() {
        let row = |at: i64, verdict, outcome, is_open| AuditRow {
            number: 0,
            cells: std::array::from_fn(|_| "".into()),
            verdict,
            outcome,
            at: Some(Timestamp::from_unix(at)),
            is_open,
            receipt: "".into(),
            roster: None,
            place: RowPlace::File(PathBuf::new(), BlobDigest::of(b"")),
            log: 0,
        };
        let mut table = AuditTable::default();
        table.push(row(0, RowVerdict::Fails, "succeeded", false));
        table.push(row(1, RowVerdict::Open, "", true));
        table.push(row(2, RowVerdict::Holds, "unknown", false));
        table.push(row(3, RowVerdict::Holds, "failed", false));
        (4..10).for_each(|at| table.push(row(at, RowVerdict::Holds, "succeeded", false)));
        let numbers = |table: &AuditTable| {
            table
                .rows
                .iter()
                .map(|row| row.number)
                .collect::<BTreeSet<_>>()
        };
        table.select(6);
        assert_eq!(
            (numbers(&table), table.left_out),
            ([0, 1, 2, 3, 8, 9].into(), 4)
        );
        table.push(row(10, RowVerdict::Holds, "succeeded", false));
        table.select(3);
        assert_eq!((numbers(&table), table.left_out), ([0, 1, 2].into(), 8));
    }
}

#[cfg(test)]
mod csv_table_tests {
    use proptest::prelude::*;

    use super::*;

    /// Returns the cells of a line of CSV.
    fn read(line: &str, separator: char) -> Vec<String> {
        let (mut cells, mut quoted, mut now) = (Vec::new(), false, String::new());
        let mut rest = line.chars().peekable();
        while let Some(c) = rest.next() {
            match c {
                '"' if quoted && rest.peek() == Some(&'"') => {
                    rest.next();
                    now.push('"');
                }
                '"' => quoted = !quoted,
                c if c == separator && !quoted => cells.push(std::mem::take(&mut now)),
                c => now.push(c),
            }
        }
        cells.push(now);
        cells
    }

    #[test]
    fn a_cell_that_would_begin_a_formula_gets_an_apostrophe() {
        for bad in [
            "=1+1", "+1", "-1", "@x", "\tx", "\rx", " =1", "\"=1", "\"\" @x",
        ] {
            assert!(csv_cell(bad).contains('\''), "{bad:?}");
        }
        assert_eq!(
            csv_cell("=HYPERLINK(\"http://x\")"),
            "\"'=HYPERLINK(\"\"http://x\"\")\""
        );
        assert_eq!(csv_cell("a;=1"), "\"a;'=1\"");
        assert_eq!(csv_cell("{\"a\":-1}"), "\"{\"\"a\"\":-1}\"");
    }

    proptest! {
        #[test]
        fn every_cell_can_be_read_again_and_none_begins_a_formula(cells in prop::collection::vec("[-=+@;, \"'a\\t\\r]{0,12}", 1..6)) {
            let line = csv_line(&cells);
            let found = read(line.trim_end_matches("\r\n"), ',');
            prop_assert_eq!(found.len(), cells.len());
            for (found, cell) in found.iter().zip(&cells) {
                prop_assert!(!found.starts_with(FORMULA), "{:?}", found);
                prop_assert_eq!(found.replace('\'', ""), cell.replace('\'', ""));
            }
            for part in line.trim_end_matches("\r\n").split(';') {
                prop_assert!(!part.trim_matches([' ', '"']).starts_with(FORMULA), "{:?}", part);
            }
        }
    }
}
