//! The output of an audit: findings, decisions, progress and the summary.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::time::{Duration, Instant};

use crate::{
    CommandFailure, CommandResult, DecisionFilter, LineTone, OverdueReviews, Screen, Terminal,
    commands::audit::{
        decisions::{Row, table},
        grant_table::grant_words,
    },
    is_active, open_lines,
};
use documents::{ReceiptId, Timestamp, joined};
use verdict::{AuditEvent, Finding, Summary};

pub struct AuditOutput<'a> {
    terminal: &'a Terminal,
    buffer: Vec<u8>,
    findings: Vec<Finding>,
    filter: DecisionFilter,
    rows: Vec<Row>,
    /// Number of runs with each outcome, also of the runs that the filter leaves out.
    outcomes: BTreeMap<String, u64>,
    bar: Option<(Instant, u64)>,
}

impl<'a> AuditOutput<'a> {
    pub fn new(terminal: &'a Terminal, size: u64, filter: DecisionFilter) -> Self {
        let bar = terminal.err_is_terminal().then(|| (Instant::now(), size));
        Self {
            terminal,
            buffer: Vec::new(),
            findings: Vec::new(),
            filter,
            rows: Vec::new(),
            outcomes: BTreeMap::new(),
            bar,
        }
    }

    pub fn say(&mut self, said: Vec<AuditEvent>) -> CommandResult<()> {
        for one in said {
            if let AuditEvent::Decision(line) = &one {
                *self
                    .outcomes
                    .entry(line.outcome.status.to_string())
                    .or_default() += 1;
            }
            if !self.filter.takes(&one) {
                continue;
            }
            if self.terminal.json {
                self.line(&one)?;
            } else if self.filter.table() {
                self.rows.extend(Row::of(&one));
            }
            if let AuditEvent::Finding(finding) = one
                && self.findings.len() < MOST_SHOWN
            {
                self.findings.push(*finding);
            }
        }
        Ok(())
    }

    fn line(&mut self, value: &impl serde::Serialize) -> CommandResult<()> {
        serde_json::to_writer(&mut self.buffer, value).map_err(CommandFailure::unreachable)?;
        self.buffer.push(b'\n');
        if self.buffer.len() > 1 << 16 {
            self.terminal.put(&std::mem::take(&mut self.buffer))?;
        }
        Ok(())
    }

    pub fn progress(&mut self, read: u64) {
        const EVERY: Duration = Duration::from_millis(200);
        let Some((last, size)) = &mut self.bar else {
            return;
        };
        if read.is_multiple_of(64) && last.elapsed() >= EVERY {
            *last = Instant::now();
            let percent = read.saturating_mul(100) / (*size).max(1);
            let filled = usize::try_from(percent / 4).unwrap_or(0).min(25);
            let _ = write!(
                io::stderr(),
                "\r[{:<25}] {read} of {size} entries, {percent} % ",
                "#".repeat(filled)
            );
        }
    }

    pub fn end(
        &mut self,
        summary: &Summary,
        held: Option<Timestamp>,
        overdue: &OverdueReviews,
    ) -> CommandResult<()> {
        if self.bar.is_some() {
            let _ = write!(io::stderr(), "\r{:70}\r", "");
        }
        if self.terminal.json {
            let outcomes = std::mem::take(&mut self.outcomes);
            self.line(&Last {
                kind: "summary",
                summary,
                outcomes,
                overdue: &overdue.receipts,
            })?;
            return self.terminal.put(&std::mem::take(&mut self.buffer));
        }
        if self.filter.table() {
            self.terminal
                .put(format!("{}\n", table(&self.rows)).as_bytes())?;
        }
        let mut screen = log_screen(&self.findings, summary, &self.outcomes, held);
        if let Some(words) = overdue.words() {
            screen.field_in(LineTone::Bad, "OVERDUE", &words);
        }
        self.terminal.show(&screen)
    }
}

#[derive(serde::Serialize)]
struct Last<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(flatten)]
    summary: &'a Summary,
    /// Number of runs with each outcome.
    outcomes: BTreeMap<String, u64>,
    /// Receipts of the runs that have waited too long for a review.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    overdue: &'a [ReceiptId],
}

/// Returns the lines that the command prints about a whole log.
pub fn log_screen(
    findings: &[Finding],
    summary: &Summary,
    outcomes: &BTreeMap<String, u64>,
    held: Option<Timestamp>,
) -> Screen {
    let mut screen = Screen::default();
    if !findings.is_empty() {
        screen.heading("Findings");
    }
    for finding in findings {
        let tone = if finding.differs {
            LineTone::Plain
        } else {
            LineTone::Bad
        };
        let place = finding
            .entry
            .map_or_else(|| "the log".to_owned(), |entry| format!("entry {entry}"));
        let word = if finding.differs {
            format!("{} (differs)", finding.what)
        } else {
            finding.what.to_string()
        };
        let id = finding
            .id
            .as_ref()
            .map(|id| format!(" [{id}]"))
            .unwrap_or_default();
        let prefix = format!("  {place:<14} {word:<20} ");
        screen.push(
            tone,
            prefix,
            format!(
                "{}{id} - shown by {}",
                finding.detail,
                finding.rests_on.words()
            ),
        );
    }
    let all = summary.failures + summary.differences;
    if all > findings.len() as u64 {
        screen.say(
            LineTone::Bad,
            &format!(
                "and {} more: --json prints all",
                all - findings.len() as u64
            ),
        );
    }
    screen.heading("The log");
    if let (Some(name), Some(id)) = (&summary.name, &summary.boundary) {
        screen.field("boundary", format!("{name} {id}"));
    }
    let read = if summary.from > 0 {
        format!(", read from entry {} on", summary.from)
    } else {
        String::new()
    };
    screen.field(
        "entries",
        format!("{}, until {}{read}", summary.entries, summary.until),
    );
    let counts = &summary.counts;
    screen.field(
        "of these", format!(
            "{} seals, {} consumptions of {} nonces, {} receipts, {} denials, {} refusals, {} revocations, {} reviews",
            counts.seals,
            counts.consumptions,
            counts.spent,
            counts.receipts,
            counts.denials,
            counts.refusals,
            counts.revocations,
            counts.reviews
        ),
    );
    screen.field(
        "decisions",
        format!(
            "{} stand, {} fail, {} differ, {} undecided, {} open",
            counts.stand,
            counts.fail,
            counts.differ,
            counts.undecided,
            summary.open.len()
        ),
    );
    if !outcomes.is_empty() {
        let words: Vec<String> = outcomes
            .iter()
            .map(|(outcome, count)| format!("{count} {outcome}"))
            .collect();
        screen.field("outcomes", words.join(", "));
    }
    if let Some(version) = summary.roster {
        screen.field(
            "roster",
            format!(
                "version {version}, connected with the trusted {}",
                summary.trusted
            ),
        );
    }
    for witness in &summary.witnesses {
        screen.field(
            "cosigned by",
            format!(
                "{} at {}, by the clock of the witness",
                witness.name, witness.at
            ),
        );
    }
    for line in summary
        .grants
        .iter()
        .filter(|grant| !is_active(grant, summary.until))
    {
        screen.field("grant", grant_words(line, summary.until));
    }
    let open = open_lines(summary);
    if !open.is_empty() {
        screen.heading("Open");
    }
    for (tone, line) in open {
        screen.push(tone, "  ", line);
    }
    if !summary.not_checked.is_empty() {
        screen.heading("Not checked");
    }
    for one in &summary.not_checked {
        let words = format!("{} of {} decision(s): {}", one.what, one.decisions, one.why);
        screen.push(LineTone::Bad, "  ", &words);
    }
    screen.heading("What this rests on");
    for line in &summary.rests_on {
        screen.say(LineTone::Plain, line);
    }
    screen.heading("What it can't show");
    for line in &summary.not_shown {
        screen.say(LineTone::Faint, line);
    }
    if !summary.warnings.is_empty() {
        screen.heading("Mind");
        for line in &summary.warnings {
            screen.say(LineTone::Bad, line);
        }
    }
    screen.heading("Verdict");
    let whole = summary.engines.is_empty() && summary.not_checked.is_empty();
    let tone = match (summary.clean, whole) {
        (true, true) => LineTone::Good,
        (true, false) => LineTone::Plain,
        (false, _) => LineTone::Bad,
    };
    screen.field_in(tone, "verdict", verdict(summary, held));
    screen
}

/// Returns the sentence that states the result of an audit. An earlier audit checked the entries
/// before `summary.from`.
pub fn verdict(summary: &Summary, held: Option<Timestamp>) -> String {
    if !summary.clean {
        return format!("DOES NOT HOLD, {} findings", summary.failures);
    }
    let mut words = of_read(summary);
    if summary.from > 0 {
        let when = held.map_or_else(|| "at the last audit".to_owned(), |at| format!("at {at}"));
        words.push_str(&format!(
            "; the entries before {} passed {when}, and --full reads them again",
            summary.from
        ));
    }
    let open = joined(summary.not_checked.iter().map(|one| one.what.word()), ", ");
    if !open.is_empty() {
        words.push_str(&format!(
            "; these checks were not possible for some decisions: {open}"
        ));
    }
    words
}

fn of_read(summary: &Summary) -> String {
    if summary.engines.is_empty() {
        let which = if summary.from > 0 {
            format!("every entry from {} on", summary.from)
        } else {
            "every entry".to_owned()
        };
        return format!("{which} is correct, and every decision is confirmed");
    }
    let differ = match summary.counts.differ {
        0 => "a seal that no run used can't be read".to_owned(),
        1 => "1 decision differs".to_owned(),
        more => format!("{more} decisions differ"),
    };
    let engines: Vec<_> = summary
        .engines
        .iter()
        .map(|engine| format!("{engine:?}"))
        .collect();
    format!(
        "nothing failed, but {differ}: this version of the program decides differently, and only the boundary \
         states that {} made the decision",
        engines.join(", ")
    )
}

/// Maximum number of findings that are printed for a person. Further findings are only counted.
pub const MOST_SHOWN: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::audit::open_work::tests::summary;

    #[test]
    fn the_summary_lists_open_work_in_red_and_ended_grants_with_the_log() {
        let screen = log_screen(&[], &summary(), &BTreeMap::new(), None);
        let text = screen.paint(400, false);
        let (log, open) = text.split_once("== Open ==").expect("a heading");
        assert!(
            log.contains("  grant         grt_") && log.contains(": 2 of 2 uses"),
            "{text}"
        );
        assert!(
            open.contains("  grant grt_") && open.contains(": 1 of 2 uses"),
            "{text}"
        );
        assert!(
            screen
                .paint(400, true)
                .contains("\x1b[1;31m  rcp_019aa0b0-5c00-7000-8000-000000000001 of a:b"),
            "{text}"
        );
        let none = Summary {
            grants: Vec::new(),
            reviews: Vec::new(),
            ..summary()
        };
        assert!(
            !log_screen(&[], &none, &BTreeMap::new(), None)
                .paint(400, false)
                .contains("== Open ==")
        );
    }
}
