//! What a log leaves open: runs without their reviews, and grants that somebody can still use.

use crate::terminal::printable_text::PrintableText;
use crate::terminal::screen::LineTone;
use documents::record::ident::ReceiptId;
use documents::record::validity::Timestamp;
use judgement::audit::finding::Summary;
use judgement::audit::people_lines::{GrantLine, NeededReview};

const DAY_S: i64 = 86_400;

/// Returns one line for each run that needs a review, and for each grant that is active at the end of the log. A warning of
/// the summary names the revoked keys that the roster still has.
#[must_use]
pub fn open_lines(summary: &Summary) -> Vec<(LineTone, PrintableText)> {
    let reviews = summary.reviews.iter().map(|run| (LineTone::Bad, PrintableText::text(&review_line(run))));
    let grants = summary.grants.iter().filter(|grant| is_active(grant, summary.until));
    let grants = grants.map(|grant| (LineTone::Plain, PrintableText::text(&format!("grant {}", grant_words(grant)))));
    reviews.chain(grants).collect()
}

fn review_line(run: &NeededReview) -> String {
    let what = match (run.emergency, run.unsettled) {
        (true, false) => "an EMERGENCY without its reviews",
        (true, true) => "an EMERGENCY without its reviews, and nobody has settled how it ended",
        (false, _) => "nobody has settled how the run ended",
    };
    let disputed = if run.disputed { " (DISPUTED: people say different things)" } else { "" };
    format!("{} of {}, run at {} (entry {}): {what}{disputed}", run.receipt, run.step, run.at, run.entry)
}

/// Returns true if a run can still use the grant at this time.
pub(super) fn is_active(grant: &GrantLine, at: Timestamp) -> bool {
    grant.revoked.is_none() && grant.uses < grant.max_uses && at < grant.until
}

/// Describes a grant and its uses.
pub(super) fn grant_words(line: &GrantLine) -> String {
    let last = line.last.map_or_else(|| "not used".to_owned(), |last| format!("last use at {last}"));
    let revoked = line.revoked.map_or_else(String::new, |entry| format!(", revoked at entry {entry}"));
    let paused = line.paused.map_or_else(String::new, |entry| format!(", paused since entry {entry}"));
    format!(
        "{} for {}, proposed by {} (entry {}): {} of {} uses, {last}, until {}{revoked}{paused}",
        line.grant, line.grantee, line.proposer, line.entry, line.uses, line.max_uses, line.until
    )
}

/// The runs that have waited longer for a review than the auditor accepts.
#[derive(Debug, Clone, Default)]
pub(super) struct OverdueReviews {
    /// Receipts of these runs, in log order.
    pub(super) receipts: Vec<ReceiptId>,
    /// Number of days that the auditor accepts.
    days: u32,
}

impl OverdueReviews {
    /// Returns the runs that began more than `days` days before `now`. Without a number of days, no run is overdue.
    pub(super) fn of(summary: &Summary, days: Option<u32>, now: Timestamp) -> Self {
        let Some(days) = days else { return Self::default() };
        let late = |run: &&NeededReview| now.unix() - run.at.unix() > i64::from(days) * DAY_S;
        let receipts = summary.reviews.iter().filter(late).map(|run| run.receipt.clone()).collect();
        Self { receipts, days }
    }

    /// Returns the line about these runs, if there are any.
    pub(super) fn words(&self) -> Option<String> {
        let names: Vec<&str> = self.receipts.iter().map(|receipt| receipt.as_str()).collect();
        let days = if self.days == 1 { "day" } else { "days" };
        let runs = if names.len() == 1 { "run" } else { "runs" };
        (!names.is_empty()).then(|| {
            format!(
                "{} {runs} without a review began more than {} {days} ago: {}",
                names.len(),
                self.days,
                names.join(", ")
            )
        })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use documents::crypto::digest::{ContentDigest, RosterDigest};
    use judgement::audit::finding::AuditCounts;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    fn run(end: u8, emergency: bool, unsettled: bool) -> NeededReview {
        NeededReview {
            receipt: format!("rcp_019aa0b0-5c00-7000-8000-00000000000{end}").parse().expect("an id"),
            step: "a:b".parse().expect("a step"),
            at: at("2026-11-20T09:00:00Z"),
            emergency,
            unsettled,
            disputed: unsettled,
            entry: 7,
        }
    }

    fn grant(change: impl FnOnce(&mut GrantLine)) -> GrantLine {
        let mut line = GrantLine {
            grant: "grt_019aa0b0-5c00-7000-8000-00000000000a".parse().expect("an id"),
            digest: ContentDigest::of(b"grant"),
            grantee: "deploy-bot".parse().expect("a name"),
            proposer: "carol".parse().expect("a name"),
            until: at("2026-11-28T09:00:00Z"),
            uses: 1,
            max_uses: 2,
            last: None,
            revoked: None,
            paused: Some(7),
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
            format!("rcp_019aa0b0-5c00-7000-8000-00000000000{end} of a:b, run at 2026-11-20T09:00:00Z (entry 7)")
        };
        assert_eq!(texts.len(), 3, "{texts:?}");
        assert_eq!(texts[0], format!("{}: an EMERGENCY without its reviews", run(1)));
        let disputed = "nobody has settled how the run ended (DISPUTED: people say different things)";
        assert_eq!(texts[1], format!("{}: {disputed}", run(2)));
        assert!(texts[2].starts_with("grant grt_") && texts[2].ends_with("paused since entry 7"), "{}", texts[2]);
        assert_eq!(
            lines.iter().map(|(tone, _)| *tone).collect::<Vec<_>>(),
            [LineTone::Bad, LineTone::Bad, LineTone::Plain]
        );
    }

    #[test]
    fn a_grant_is_active_until_its_end_its_last_use_or_its_revocation() {
        let now = at("2026-11-21T09:00:00Z");
        assert!(is_active(&grant(|_| {}), now));
        assert!(!is_active(&grant(|line| line.until = now), now));
        assert!(!is_active(&grant(|line| line.uses = 2), now));
        assert!(!is_active(&grant(|line| line.revoked = Some(5)), now));
    }

    #[test]
    fn a_run_is_overdue_only_after_the_given_number_of_days() {
        let overdue = |days, now: &str| OverdueReviews::of(&summary(), days, at(now));
        assert_eq!(overdue(Some(1), "2026-11-21T09:00:00Z").words(), None);
        let words = overdue(Some(1), "2026-11-21T09:00:01Z").words().expect("words");
        assert!(words.starts_with("2 runs without a review began more than 1 day ago: rcp_"), "{words}");
        assert!(overdue(None, "2036-11-21T09:00:01Z").receipts.is_empty());
    }
}
