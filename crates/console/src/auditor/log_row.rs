//! What a page shows about one row of an audited log.

use client::{
    AuditRow, AuditTable, LineTone, PrintableText, RowPlace, Screen, approval_words, joined,
    outcome_words, program_words, review_words, revocation_words,
};
use verdict::{DecisionLine, DenialLine, Finding, ReviewedLine, RevocationLine};

/// Returns everything that the audit found about a row, or `None` for the row of a bundle.
pub fn log_row(table: &AuditTable, row: &AuditRow) -> Option<Screen> {
    let mut screen = Screen::default();
    let entries = match &row.place {
        RowPlace::Decision(line) => {
            decision(&mut screen, line);
            vec![line.entry, line.consumption]
        }
        RowPlace::Denial(line) => {
            denial(&mut screen, line);
            vec![line.entry]
        }
        RowPlace::Review(line) => {
            review(&mut screen, line);
            vec![line.entry]
        }
        RowPlace::Revocation(line) => {
            revocation(&mut screen, line);
            vec![line.entry]
        }
        RowPlace::Consumption(run) => {
            screen.heading("A run without a receipt");
            screen.field("spent at", run.at.to_string());
            screen.field("authorization", run.authorization.to_string());
            screen.field(
                "consumption",
                format!("item {} of log entry {}", run.item, run.consumption),
            );
            screen.say(
                LineTone::Plain,
                "The log has only the digest of what was approved. Ask the boundary for the bundle, or audit a newer copy of \
                 the log.",
            );
            vec![run.consumption]
        }
        RowPlace::File(..) | RowPlace::Upload(..) => return None,
    };
    screen.heading("Findings");
    let all = table
        .logs
        .get(row.log)
        .into_iter()
        .flat_map(|log| &log.findings);
    let found: Vec<&Finding> = all
        .filter(|finding| finding.entry.is_some_and(|entry| entries.contains(&entry)))
        .collect();
    for finding in &found {
        let word = if finding.differs { " (differs)" } else { "" };
        let words = format!("{} - shown by {}", finding.detail, finding.rests_on);
        screen.push(
            LineTone::Plain,
            format!("  {}{word} ", finding.what),
            &words,
        );
    }
    if found.is_empty() {
        screen.say(LineTone::Plain, "none at the entries of this row");
    }
    Some(screen)
}

/// Adds the words of a person.
fn reason(screen: &mut Screen, whose: &str, reason: &str) {
    let whose = PrintableText::text(whose).and("'s words: ");
    screen.field("reason", whose.then(PrintableText::quoted_prose(reason)));
}

fn decision(screen: &mut Screen, line: &DecisionLine) {
    screen.heading("What was approved");
    screen.field("step", format!("{} {}", line.step, line.step_digest));
    screen.field("parameters", line.params_digest.to_string());
    screen.field("proposer", line.proposer.as_str());
    screen.field("reason", PrintableText::quoted_prose(&line.reason));
    screen.field(
        "approved by",
        approval_words(&joined(&line.approvers), line.emergency),
    );
    if let Some(used) = &line.used_grant {
        screen.field("under", format!("{} {}", used.words(), used.digest));
    }
    screen.field("groups", joined(&line.groups));
    screen.field("handed in by", line.handed_in_by.as_str());
    screen.field("authorization", line.authorization.to_string());
    screen.heading("What came of it");
    screen.field("nonce spent", line.at.to_string());
    screen.field("outcome", outcome_words(&line.outcome));
    if let Some(programs) = &line.programs {
        screen.field("programs", program_words(programs));
    }
    screen.field("receipt", line.receipt.as_str());
    screen.field(
        "log entries",
        format!(
            "consumption {} item {}, receipt {}",
            line.consumption, line.item, line.entry
        ),
    );
    screen.field("seal", format!("number {}", line.seal));
    screen.heading("Not checked");
    for what in &line.unchecked {
        screen.say(LineTone::Plain, what.word());
    }
    if line.unchecked.is_empty() {
        screen.say(
            LineTone::Plain,
            "every question about this decision has an answer",
        );
    }
}

fn denial(screen: &mut Screen, line: &DenialLine) {
    screen.heading("A denial");
    screen.field("denied by", line.approver.as_str());
    screen.field("not before", line.after.to_string());
    screen.field("authorization", line.authorization.to_string());
    reason(screen, line.approver.as_str(), &line.reason);
    screen.field("log entry", line.entry.to_string());
}

fn review(screen: &mut Screen, line: &ReviewedLine) {
    screen.heading("A review");
    let reviewer = line
        .reviewer
        .as_ref()
        .map_or("an unknown person", |name| name.as_str());
    screen.field("reviewed by", reviewer);
    screen.field("not before", line.after.to_string());
    screen.field("receipt", line.receipt.as_str());
    screen.field("says", review_words(line));
    reason(screen, reviewer, &line.reason);
    screen.field("log entry", line.entry.to_string());
}

fn revocation(screen: &mut Screen, line: &RevocationLine) {
    screen.heading("A revocation");
    screen.field("signed by", &line.signer);
    screen.field("not before", line.after.to_string());
    screen.field("says", revocation_words(line));
    screen.field("subject", line.subject.to_string());
    reason(screen, &line.signer, &line.reason);
    screen.field("log entry", line.entry.to_string());
}

#[cfg(test)]
mod tests {
    use super::*;
    use documents::{AuthorizationDigest, ObservedEnd, ReviewVerdict, Timestamp};

    #[test]
    fn the_page_of_a_review_has_its_verdict_and_the_words_of_the_reviewer() {
        let line = ReviewedLine {
            after: Timestamp::from_unix(0),
            reviewer: Some("bob".parse().expect("a name")),
            receipt: "rcp_019aa0b0-5c00-7000-8000-000000000001"
                .parse()
                .expect("an id"),
            verdict: ReviewVerdict::Rejected,
            observed: Some(ObservedEnd::Partly),
            reason: "half of it".to_owned(),
            entry: 3,
        };
        let mut screen = Screen::default();
        review(&mut screen, &line);
        let shown = screen.paint(200, false);
        assert!(
            shown.contains("run rejected by bob, observed: partly"),
            "{shown}"
        );
        assert!(shown.contains(r#"bob's words: "half of it""#), "{shown}");
    }

    #[test]
    fn the_words_of_a_denial_stand_behind_the_name_without_an_escaped_blank() {
        let line = DenialLine {
            after: Timestamp::from_unix(0),
            approver: "alice".parse().expect("a name"),
            authorization: AuthorizationDigest::of(b"authorization"),
            reason: "wait \"now\"".to_owned(),
            entry: 3,
        };
        let mut screen = Screen::default();
        denial(&mut screen, &line);
        let shown = screen.paint(200, false);
        assert!(
            shown.contains(r#"alice's words: "wait \"now\"""#),
            "{shown}"
        );
    }
}
