//! Lists what a log leaves open: runs that need a review, and grants that runs can still use. The module also makes the
//! table of all grants: who signed each grant, how often runs used the grant, and how the grant ended.

use crate::{LineTone, PrintableText, joined, review_state_words, value_words::counted};
use documents::{ReceiptId, Timestamp};
use verdict::{GrantLine, RunReviewState, Summary};

const DAY_S: i64 = 86_400;

/// Returns one line for each run that needs a review, and for each grant that is active at the end of the log. Revoked
/// keys that the roster still has are not here, because a warning of the summary names them.
pub fn open_lines(summary: &Summary) -> Vec<(LineTone, PrintableText)> {
    let reviews = summary
        .reviews
        .iter()
        .map(|run| (LineTone::Bad, review_line(run).into()));
    let grants = summary
        .grants
        .iter()
        .filter(|grant| is_active(grant, summary.until));
    let grants = grants.map(|grant| {
        let words = format!("grant {}", grant_words(grant, summary.until));
        (LineTone::Plain, words.into())
    });
    reviews.chain(grants).collect()
}

fn review_line(run: &RunReviewState) -> String {
    format!(
        "{} of {}, run at {} (entry {}): {}",
        run.receipt,
        run.step,
        run.at,
        run.entry,
        review_state_words(run)
    )
}

/// The runs that have waited longer for a review than the auditor accepts.
#[derive(Default)]
pub struct OverdueReviews {
    /// Receipts of these runs, in log order.
    pub receipts: Vec<ReceiptId>,
    /// Number of days that the auditor accepts.
    days: u32,
}

impl OverdueReviews {
    /// Returns the runs that began more than `days` days before `now`. Without a number of days, no run is overdue.
    pub fn of(summary: &Summary, days: Option<u32>, now: Timestamp) -> Self {
        let Some(days) = days else {
            return Self::default();
        };
        let late = |run: &&RunReviewState| now.unix() - run.at.unix() > i64::from(days) * DAY_S;
        let receipts = summary
            .reviews
            .iter()
            .filter(late)
            .map(|run| run.receipt.clone())
            .collect();
        Self { receipts, days }
    }

    /// Returns the line about these runs, if there are any.
    pub fn words(&self) -> Option<String> {
        (!self.receipts.is_empty()).then(|| {
            format!(
                "{} without a review began more than {} ago: {}",
                counted(self.receipts.len(), "run"),
                counted(self.days, "day"),
                joined(&self.receipts)
            )
        })
    }
}

/// Names of the columns of the table of grants.
pub const GRANT_COLUMNS: [&str; 8] = [
    "Grant",
    "Grantee",
    "Signed by",
    "Until",
    "Uses",
    "Last use",
    "Ended",
    "Evidence",
];

/// Returns the cells of a grant at the end of the log, in printable ASCII.
pub fn grant_cells(line: &GrantLine, at: Timestamp) -> [String; GRANT_COLUMNS.len()] {
    [
        line.grant.to_string(),
        line.grantee.to_string(),
        joined(&line.signers),
        line.until.to_string(),
        format!("{} of {}", line.uses, line.max_uses),
        line.last
            .map_or_else(|| "not used".to_owned(), |last| last.to_string()),
        end_words(line, at),
        format!("log entry {}, proposed by {}", line.entry, line.proposer),
    ]
    .map(|cell| PrintableText::text(&cell).to_string())
}

/// Describes a grant in one line, with the words of the table.
pub fn grant_words(line: &GrantLine, at: Timestamp) -> String {
    let [grant, grantee, signers, until, uses, last, end, evidence] = grant_cells(line, at);
    let last = if line.last.is_some() {
        format!("last use at {last}")
    } else {
        last
    };
    format!(
        "{grant} for {grantee}, signed by {signers} ({evidence}): {uses} uses, {last}, until {until}: {end}"
    )
}

/// Says whether and how a grant ended.
fn end_words(line: &GrantLine, at: Timestamp) -> String {
    if let Some(entry) = line.revoked {
        let by = line
            .revoked_by
            .as_ref()
            .map_or_else(String::new, |by| format!(" by {by}"));
        return format!("revoked{by} at entry {entry}");
    }
    if line.uses >= line.max_uses {
        return "exhausted".to_owned();
    }
    if at >= line.until {
        return "expired".to_owned();
    }
    if let Some(why) = &line.unusable {
        return format!("can't be used: {why}");
    }
    line.paused.map_or_else(
        || "active".to_owned(),
        |entry| format!("can't be used: nobody saw the end of the run at entry {entry}"),
    )
}

/// Returns true if a run can still use the grant at this time.
pub fn is_active(grant: &GrantLine, at: Timestamp) -> bool {
    grant.revoked.is_none()
        && grant.uses < grant.max_uses
        && at < grant.until
        && grant.unusable.is_none()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use documents::{ContentDigest, ObservedEnd, RosterDigest};
    use verdict::AuditCounts;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    fn run(end: u8, emergency: bool, unsettled: bool) -> RunReviewState {
        RunReviewState {
            receipt: format!("rcp_019aa0b0-5c00-7000-8000-00000000000{end}")
                .parse()
                .expect("an id"),
            step: "a:b".parse().expect("a step"),
            at: at("2026-11-20T09:00:00Z"),
            emergency,
            unsettled,
            disputed: unsettled,
            reviewed_by: Vec::new(),
            settled: None,
            settled_by: Vec::new(),
            entry: 7,
        }
    }

    fn grant(change: impl FnOnce(&mut GrantLine)) -> GrantLine {
        let mut line = GrantLine {
            grant: "grt_019aa0b0-5c00-7000-8000-00000000000a"
                .parse()
                .expect("an id"),
            digest: ContentDigest::of(b"grant"),
            grantee: "deploy-bot".parse().expect("a name"),
            proposer: "carol".parse().expect("a name"),
            signers: ["alice", "bob"]
                .map(|name| name.parse().expect("a name"))
                .to_vec(),
            until: at("2026-11-28T09:00:00Z"),
            uses: 1,
            max_uses: 2,
            last: None,
            revoked: None,
            revoked_by: None,
            paused: Some(7),
            unusable: None,
            entry: 3,
        };
        change(&mut line);
        line
    }

    /// Returns the summary of a log with an emergency, a run whose end is unknown, and a grant.
    pub(in crate::commands::audit) fn summary() -> Summary {
        Summary {
            clean: true,
            name: None,
            boundary: None,
            entries: 9,
            from: 0,
            until: at("2026-11-21T09:00:00Z"),
            roster: None,
            trusted: RosterDigest::of(b"roster"),
            witnesses: Vec::new(),
            counts: AuditCounts::default(),
            open: Vec::new(),
            grants: vec![grant(|_| {}), grant(|line| line.uses = 2)],
            reviews: vec![run(1, true, false), run(2, false, true)],
            reviewed: Vec::new(),
            failures: 0,
            differences: 0,
            not_checked: Vec::new(),
            engines: Vec::new(),
            follows: None,
            rests_on: Vec::new(),
            not_shown: Vec::new(),
            warnings: Vec::new(),
        }
    }

    #[test]
    fn the_open_work_has_runs_without_reviews_in_red_and_grants_that_can_be_used() {
        let lines = open_lines(&summary());
        let texts: Vec<&str> = lines.iter().map(|(_, text)| text.as_str()).collect();
        let run = |end: u8| {
            format!(
                "rcp_019aa0b0-5c00-7000-8000-00000000000{end} of a:b, run at 2026-11-20T09:00:00Z (entry 7)"
            )
        };
        assert_eq!(texts.len(), 3, "{texts:?}");
        assert_eq!(texts[0], format!("{}: EMERGENCY: unreviewed", run(1)));
        assert_eq!(texts[1], format!("{}: DISPUTED, so not settled", run(2)));
        assert!(
            texts[2].starts_with("grant grt_")
                && texts[2].ends_with("the end of the run at entry 7"),
            "{}",
            texts[2]
        );
        assert_eq!(
            lines.iter().map(|(tone, _)| *tone).collect::<Vec<_>>(),
            [LineTone::Bad, LineTone::Bad, LineTone::Plain]
        );
    }

    #[test]
    fn the_words_of_a_reviewed_run_name_who_reviewed_and_who_settled_it() {
        let mut done = run(1, false, false);
        assert_eq!(review_state_words(&done), "");
        done.reviewed_by = vec!["bob".parse().expect("a name")];
        assert_eq!(review_state_words(&done), "EMERGENCY: reviewed by bob");
        done.settled = Some(ObservedEnd::NotStarted);
        done.settled_by = ["alice", "dora"]
            .map(|name| name.parse().expect("a name"))
            .to_vec();
        let words = "EMERGENCY: reviewed by bob; settled as not started by alice, dora";
        assert_eq!(review_state_words(&done), words);
        assert_eq!(
            review_state_words(&run(2, true, true)),
            "EMERGENCY: unreviewed; DISPUTED, so not settled"
        );
    }

    #[test]
    fn a_grant_ends_with_its_window_its_last_use_or_its_revocation() {
        let now = at("2026-11-21T09:00:00Z");
        let ended =
            |change: fn(&mut GrantLine)| grant_words(&grant(change), at("2026-11-21T09:00:00Z"));
        let words = ended(|line| line.paused = None);
        assert!(
            words.contains("for deploy-bot, signed by alice, bob (log entry 3, proposed by carol)"),
            "{words}"
        );
        assert!(
            words.ends_with("1 of 2 uses, not used, until 2026-11-28T09:00:00Z: active"),
            "{words}"
        );
        assert!(ended(|line| line.until = at("2026-11-21T09:00:00Z")).ends_with(": expired"));
        assert!(ended(|line| line.uses = 2).ends_with(": exhausted"));
        let revoked = ended(|line| {
            (line.revoked, line.revoked_by) = (Some(5), Some("operator oscar".to_owned()))
        });
        assert!(
            revoked.ends_with(": revoked by operator oscar at entry 5"),
            "{revoked}"
        );
        assert!(is_active(&grant(|_| {}), now));
        assert!(!is_active(&grant(|line| line.until = now), now));
        assert!(!is_active(&grant(|line| line.uses = 2), now));
        assert!(!is_active(&grant(|line| line.revoked = Some(5)), now));
    }

    #[test]
    fn a_run_is_overdue_only_after_the_given_number_of_days() {
        let overdue = |days, now: &str| OverdueReviews::of(&summary(), days, at(now));
        assert_eq!(overdue(Some(1), "2026-11-21T09:00:00Z").words(), None);
        let words = overdue(Some(1), "2026-11-21T09:00:01Z")
            .words()
            .expect("words");
        assert!(
            words.starts_with("2 runs without a review began more than 1 day ago: rcp_"),
            "{words}"
        );
        assert!(overdue(None, "2036-11-21T09:00:01Z").receipts.is_empty());
    }
}
