//! Prints the output of an audit: findings, decisions, progress and the summary. The module also handles:
//!
//! - the trusted roster that is connected with the log, and the heads that were seen before
//! - the table of a whole log: every decision, every denial, every run without a receipt
//! - the entries of a log, read in order
//! - the comparison of the audited log with another copy of the log

use std::{
    collections::BTreeMap,
    io::{self, Write as _},
    time::{Duration, Instant},
};

use crate::{
    ChosenTrust, CommandFailure, CommandResult, DecidingRoster, DecisionFilter, Exit, LineTone,
    LogSource, OverdueReviews, PrintableText, Screen, Terminal,
    commands::audit::{
        decisions::{Row, table},
        open_work::grant_words,
    },
    contradicts_log,
    home::roster_versions::join,
    is_active, newest_of, newest_unconnected, now, open_lines, seem_same, trust_advice,
};
use documents::{
    Checkpoint, Frontier, MAX_MADE_BYTES, ReceiptId, RosterDigest, RosterVersion, TILE_WIDTH,
    Timestamp, hex, joined, merkle,
};
use verdict::{
    AuditEvent, Auditor, Chain, Expected, Finding, FindingKind, LogEntry, LoggedRosters, Pinned,
    SeenHead, Summary, VersionFacts, entry, rosters_in,
};

pub struct AuditOutput<'a> {
    terminal: &'a Terminal,
    buffer: Vec<u8>,
    findings: Vec<Finding>,
    filter: DecisionFilter,
    rows: Vec<Row>,
    /// Number of runs with each outcome, including runs that the filter leaves out.
    outcomes: BTreeMap<String, u64>,
    bar: Option<(Instant, u64)>,
}

impl<'a> AuditOutput<'a> {
    pub fn new(terminal: &'a Terminal, size: u64, filter: DecisionFilter) -> Self {
        let bar = terminal.err_is_terminal.then(|| (Instant::now(), size));
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
            self.terminal.put(std::mem::take(&mut self.buffer))?;
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
            return self.terminal.put(std::mem::take(&mut self.buffer));
        }
        if self.filter.table() {
            self.terminal.put(format!("{}\n", table(&self.rows)))?;
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
        let (tone, differs) = if finding.differs {
            (LineTone::Plain, " (differs)")
        } else {
            (LineTone::Bad, "")
        };
        let place = finding
            .entry
            .map_or_else(|| "the log".to_owned(), |entry| format!("entry {entry}"));
        let word = format!("{}{differs}", finding.what);
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
                finding.rests_on.word()
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
        let words = outcomes
            .iter()
            .map(|(outcome, count)| format!("{count} {outcome}"));
        screen.field("outcomes", joined(words, ", "));
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
        words += &format!(
            "; the entries before {} passed {when}, and --full reads them again",
            summary.from
        );
    }
    let open = joined(summary.not_checked.iter().map(|one| one.what.word()), ", ");
    if !open.is_empty() {
        words += &format!("; these checks were not possible for some decisions: {open}");
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
    let engines = summary.engines.iter().map(|engine| format!("{engine:?}"));
    format!(
        "nothing failed, but {differ}: this version of the program decides differently, and only the boundary \
         states that {} made the decision",
        joined(engines, ", ")
    )
}

/// Maximum number of findings that are printed for a person. Further findings are only counted.
pub const MOST_SHOWN: usize = 200;

/// Creates an auditor for the whole log. The auditor uses the newest trusted roster that is connected with the rosters
/// of the log.
pub fn begin(
    place: &LogSource,
    trust: &[ChosenTrust],
    expected: &Expected,
    size: u64,
) -> CommandResult<Result<Auditor, NotBegun>> {
    let first = place.entries(0, size)?.into_iter().next();
    let Some(first) = first else {
        return Err(said_no("the log is empty: there is nothing to audit"));
    };
    let versions = rosters_in([&first], place).map_err(|error| place.unreadable(error))?;
    if trust.is_empty() {
        let message = "there is no trusted roster: give one with --roster".to_owned();
        let chain = versions.and_then(|versions| Chain::unverified(&versions, MAX_MADE_BYTES).ok());
        let first = chain.and_then(|chain| chain.digest_of(1));
        return Ok(Err(NotBegun::Untrusted { message, first }));
    }
    let Some(versions) = versions else {
        let message = "the first entry is no readable seal, or its roster is missing or changed, so no later entry \
                       can be checked: get another copy of the log";
        return Ok(Err(NotBegun::Broken(Finding::at(
            FindingKind::SealedState,
            0,
            message,
        ))));
    };
    let new = |trust: &ChosenTrust, versions: &[RosterVersion]| {
        Auditor::new(trust.pinned.clone(), versions, expected.clone())
    };
    let mut joined = join(trust, &versions);
    let mut chosen = choose(&joined, |trust| new(trust, &versions));
    let mut longest = versions.clone();
    let broken = |why| NotBegun::Broken(Finding::at(FindingKind::RosterChain, 0, why));
    // A trusted roster may be newer than the roster in the first seal. Later seals of the log contain the versions
    // between these two rosters.
    if chosen.as_ref().map_or(true, may_be_newer)
        && let later = all_rosters(place, size)?
        && later.len() > versions.len()
    {
        drop(chosen);
        joined = join(trust, &later);
        chosen = choose(&joined, |trust| {
            new(trust, &later).or_else(|_| new(trust, &versions))
        });
        longest = later;
    }
    Ok(match chosen {
        Ok(deciding) => {
            let known: Vec<_> = [deciding.trust]
                .into_iter()
                .chain(deciding.unconnected.iter().copied())
                .collect();
            match contradicts_log(&known, &longest) {
                Some(why) => Err(broken(why)),
                None => Ok(left_to_newer(deciding)),
            }
        }
        Err(refused) => match refused.iter().find(|(_, error)| !error.is_of_trust()) {
            Some((_, error)) => Err(broken(error.to_string())),
            None => {
                let last = refused.last();
                // The message does not propose to trust the roster of the log, because an attacker could have replaced
                // this roster.
                Err(
                    match last.and_then(|(trust, _)| contradicts_log(&[*trust], &longest)) {
                        Some(why) => broken(why),
                        None => NotBegun::Untrusted {
                            message: last.map_or_else(String::new, |(trust, error)| {
                                format!("{}: {error}", trust.from)
                            }),
                            first: None,
                        },
                    },
                )
            }
        },
    })
}

pub fn choose<'t, E>(
    trust: &'t [ChosenTrust],
    mut begin: impl FnMut(&'t ChosenTrust) -> Result<Auditor, E>,
) -> Result<DecidingRoster<'t, Auditor>, Vec<(&'t ChosenTrust, E)>> {
    newest_of(trust, |trust| {
        begin(trust).map(|auditor| (VersionFacts::of(auditor.rosters().newest()), auditor))
    })
}

/// Returns true if another trusted roster may be a later version of this roster.
fn may_be_newer(deciding: &DecidingRoster<'_, Auditor>) -> bool {
    let newest = deciding.found.rosters().newest();
    deciding
        .unconnected
        .iter()
        .any(|trust| match &trust.pinned {
            Pinned::Digest(_) => true,
            Pinned::Roster(roster) => roster.version() > 1 && seem_same(roster, newest),
            Pinned::Chain(_) => false,
        })
}

/// Tells the auditor about a newer trusted roster that is not connected with the log. The auditor then leaves each
/// check that needs the newest roster *not checked*.
pub fn left_to_newer(deciding: DecidingRoster<'_, Auditor>) -> Auditor {
    let DecidingRoster {
        found: mut auditor,
        unconnected,
        ..
    } = deciding;
    let newer = newest_unconnected(&unconnected, |roster| {
        seem_same(roster, auditor.rosters().newest())
    });
    if let Some((trust, newer)) = newer {
        auditor.leave_to(newer, &trust.from);
    }
    auditor
}

/// Returns the versions of the roster in all seals of the log.
fn all_rosters(place: &LogSource, size: u64) -> CommandResult<Vec<RosterVersion>> {
    let mut found = LoggedRosters::default();
    each_entry(place, 0, size, |entry| {
        let read = found.entry(entry, place);
        read.map_err(|error| place.unreadable(error))
    })?;
    Ok(found.versions())
}

/// Reason why an audit could not begin.
pub enum NotBegun {
    /// There is no trusted roster, or no trusted roster is connected with the log.
    Untrusted {
        /// The reason.
        message: String,
        /// The first roster of the log.
        first: Option<RosterDigest>,
    },
    /// The first seal or its roster is invalid under every trusted roster.
    Broken(Finding),
}

/// Adds the heads that are stored beside the log to what this audit expects, and returns a finding for each damaged
/// head.
pub fn expect_kept_heads(
    place: &LogSource,
    expected: &mut Expected,
) -> CommandResult<Vec<Finding>> {
    let mut damaged = Vec::new();
    for (name, note) in place.kept_heads()? {
        match SeenHead::parse(&note, format!("the stored head {name}")) {
            Ok(seen) if name.ends_with(&format!("/{}", seen.size)) => expected.heads.push(seen),
            Ok(seen) => {
                let why = format!(
                    "the stored head {name} is a head of {} entries: the name of its file was changed",
                    seen.size
                );
                damaged.push(Finding::whole(FindingKind::Checkpoint, why));
            }
            Err(why) => damaged.push(Finding::whole(
                FindingKind::Checkpoint,
                format!("the stored head {name} is invalid: {why}"),
            )),
        }
    }
    Ok(damaged)
}

impl NotBegun {
    /// Returns the result of the command.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Untrusted { .. } => Exit::NoTrust,
            Self::Broken(_) => Exit::CheckSaidNo,
        }
    }

    /// Returns the reason, as the command prints it.
    pub fn words(&self) -> String {
        match self {
            Self::Untrusted { message, first } => {
                format!(
                    "nothing was audited: {message}; {}",
                    trust_advice(*first, "log")
                )
            }
            Self::Broken(Finding { what, detail, .. }) => {
                format!("nothing was audited: entry 0, {what}: {detail}")
            }
        }
    }
}

/// Returns the size of the log in the head.
pub fn size_of(head: &str) -> CommandResult<u64> {
    let seen = SeenHead::parse(head, "the log");
    seen.map(|seen| seen.size)
        .map_err(|why| said_no(format!("the log's head: {why}")))
}

pub fn no_log(named: &str) -> CommandFailure {
    let shown = PrintableText::text(named);
    said_no(format!(
        "{shown} has no checkpoint, so this directory is no log, or an incomplete export"
    ))
}

pub fn said_no(message: impl std::fmt::Display) -> CommandFailure {
    CommandFailure::check_said_no(message)
}

/// Result of the audit of a whole log.
pub struct AuditedLog {
    /// Summary of the audit.
    pub summary: Summary,
    /// The first findings, at most as many as the command prints.
    pub findings: Vec<Finding>,
    /// Number of runs with each outcome.
    outcomes: BTreeMap<String, u64>,
}

impl AuditedLog {
    /// Audits the log as the command does, and passes each decision and each denial to `take`.
    ///
    /// # Errors
    /// Returns an error if the log can't be read, or if no trusted roster is connected with the log.
    pub fn of(
        place: &LogSource,
        named: &str,
        trust: &[ChosenTrust],
        mut take: impl FnMut(AuditEvent),
    ) -> CommandResult<Self> {
        let head = place.head()?.ok_or_else(|| no_log(named))?;
        let size = size_of(&head)?;
        let mut expected = Expected {
            now: Some(now()),
            ..Expected::default()
        };
        let damaged = expect_kept_heads(place, &mut expected)?;
        let mut auditor = match begin(place, trust, &expected, size)? {
            Ok(auditor) => auditor,
            Err(not_begun) => {
                return Err(CommandFailure::new(not_begun.exit(), not_begun.words()));
            }
        };
        let (mut findings, mut outcomes) = (Vec::new(), BTreeMap::new());
        let mut said = |events: Vec<AuditEvent>| {
            for event in events {
                match event {
                    AuditEvent::Finding(finding) if findings.len() < MOST_SHOWN => {
                        findings.push(*finding)
                    }
                    AuditEvent::Finding(_) => {}
                    other => {
                        if let AuditEvent::Decision(line) = &other {
                            *outcomes.entry(line.outcome.status.to_string()).or_default() += 1;
                        }
                        take(other);
                    }
                }
            }
        };
        each_entry(place, 0, size, |entry| {
            said(
                auditor
                    .entry(entry, place)
                    .map_err(|error| place.unreadable(error))?,
            );
            Ok(())
        })?;
        let (last, mut summary) = auditor
            .finish(&head, place)
            .map_err(|error| place.unreadable(error))?;
        said(last);
        for finding in damaged {
            summary.clean = false;
            summary.failures += 1;
            said(vec![AuditEvent::Finding(Box::new(finding))]);
        }
        Ok(Self {
            summary,
            findings,
            outcomes,
        })
    }

    /// Returns the lines that the command prints about the log.
    pub fn screen(&self) -> Screen {
        log_screen(&self.findings, &self.summary, &self.outcomes, None)
    }

    /// Returns the sentence that states the result.
    pub fn verdict(&self) -> String {
        verdict(&self.summary, None)
    }
}

/// Computes the root hash over the first `earlier` entries of a log of `size` entries.
pub fn root_at(place: &LogSource, size: u64, earlier: u64) -> CommandResult<merkle::Hash> {
    let mut tree = Frontier::default();
    for tile in 0..earlier.div_ceil(u64::from(TILE_WIDTH)) {
        let left = usize::try_from(earlier - tree.size()).unwrap_or(usize::MAX);
        for entry in place.entries(tile, size)?.iter().take(left) {
            tree.append(merkle::leaf_hash(entry));
        }
    }
    Ok(tree.root())
}

/// Calls `take` with each entry from number `from` up to `size`, in order.
pub fn each_entry(
    place: &LogSource,
    from: u64,
    size: u64,
    take: impl FnMut(&LogEntry) -> CommandResult<()>,
) -> CommandResult<()> {
    let width = u64::from(TILE_WIDTH);
    let tiles = (from / width..size.div_ceil(width)).map(|tile| {
        let skip = usize::try_from(from.saturating_sub(tile * width)).unwrap_or(usize::MAX);
        place
            .entries(tile, size)
            .map(|mut entries| entries.split_off(skip.min(entries.len())))
    });
    entry::each(tiles, take)
}

/// Checks with the tiles of a longer copy that the copy begins with the audited log.
pub fn compare(
    auditor: &Auditor,
    head: &str,
    other: &LogSource,
    seen: &SeenHead,
) -> CommandResult<Option<Finding>> {
    let there = match auditor.verify_head(&seen.note) {
        Ok(there) => Ok(there),
        Err(why) => later_head(auditor, other, seen)?
            .or_else(|_| by_its_own_seals(auditor, other, seen).ok_or(why)),
    };
    let (here, there) = match auditor
        .verify_head(head)
        .and_then(|here| Ok((here, there?)))
    {
        Ok(heads) => heads,
        Err(why) => {
            return Ok(Some(Finding::whole(
                FindingKind::Checkpoint,
                format!("{}: {why}", seen.from),
            )));
        }
    };
    let path = merkle::consistency_path(here.size, there.size, |level, index| {
        let part = other.subtree(level, index, there.size);
        part.map_err(|failure| CommandFailure {
            message: format!("{}: {}", seen.from, failure.message),
            ..failure
        })
    })?;
    let path = path.unwrap_or_default();
    Ok(
        match merkle::verify_consistency(here.size, &here.root, there.size, &there.root, &path) {
            Ok(_) => None,
            Err(error) => {
                let message = format!(
                    "{} has a head of {} entries, and these entries do not begin with the {} entries of this log \
                 ({error}): the boundary showed two histories, or one of the two copies was changed; keep both \
                 heads (here {})",
                    seen.from,
                    there.size,
                    here.size,
                    hex(&here.root)
                );
                Some(Finding::whole(FindingKind::Fork, message))
            }
        },
    )
}

/// Verifies the head of a longer copy of the log. If the boundary has a new key, the later seals of the longer copy
/// name this key.
fn later_head(
    auditor: &Auditor,
    other: &LogSource,
    seen: &SeenHead,
) -> CommandResult<Result<Checkpoint, String>> {
    let Some(mut later) = auditor.later() else {
        return Ok(Err("the log has no seal".to_owned()));
    };
    each_entry(other, auditor.size(), seen.size, |entry| {
        later
            .entry(entry, other)
            .map_err(|error| other.unreadable(error))
    })?;
    Ok(later.verify_head(&seen.note))
}

/// Verifies the head of another copy. If no key in the audited log verifies the head, the function reads the keys from
/// the seals of the other copy. Returns `None` if that copy is empty or cannot be read.
pub fn by_its_own_seals(
    auditor: &Auditor,
    other: &LogSource,
    seen: &SeenHead,
) -> Option<Checkpoint> {
    let mut later = auditor.other()?;
    let mut tree = Frontier::default();
    let read = each_entry(other, 0, seen.size, |entry| {
        tree.append(entry.hash());
        later
            .entry(entry, other)
            .map_err(|error| other.unreadable(error))
    });
    let head = read
        .ok()
        .and_then(|()| later.verify_head(&seen.note).ok())?;
    (head.root == tree.root()).then_some(head)
}

pub fn another_history(seen: &SeenHead) -> Finding {
    let message = format!(
        "{} has a head of {} entries with a valid signature, and the entries differ from this log: the boundary \
         showed two histories, or one of the two copies was changed; keep both heads",
        seen.from, seen.size
    );
    Finding::whole(FindingKind::Fork, message)
}

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
