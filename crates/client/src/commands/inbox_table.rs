//! Formats the table of the inbox with one line for each proposal.
//!
//! The module also has the options that choose proposals by their step and their proposer, and reads the clock of this
//! machine.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::{
    LineWeight, PrintableText, RemarkSeverity, leaves, plain_or_quoted, read_predicate,
    review::{remarks, value_words::ScriptPlaces},
    with_header,
};
use documents::{Authorization, Name, Timestamp};
use reading::Pattern;
use wire::{AdmittedJob, ProposalView};

/// Returns the last digits of an id, which name a proposal at the command line.
pub fn ending(view: &ProposalView) -> &str {
    end_of(view, ENDING)
}

/// Returns this number of last digits of an id.
pub fn end_of(view: &ProposalView, length: usize) -> &str {
    let id = view.id.as_str();
    id.get(id.len().saturating_sub(length)..)
        .unwrap_or_default()
}

/// Minimum number of last digits that the commands accept instead of a whole id.
const ENDING: usize = 6;

/// Mark before the step of an emergency.
const EMERGENCY: &str = "EMERGENCY ";
const COLUMNS: usize = 8;
const HEADING: [&str; COLUMNS] = ["ID", "STEP", "WITH", "BY", "JOB", "SIGNED", "LEFT", "!"];
/// Place of the column of the steps.
const STEP: usize = 1;
/// Place of the column of the parameters.
const WITH: usize = 2;
/// Place of the column of the jobs, which only a table with a job has.
const JOB: usize = 4;
/// Pairs of a column and its smallest width, in the order in which columns shrink in a narrow terminal. Width 0 removes
/// the column. The last column shows the most important remark, so it shrinks last and keeps at least its warning sign.
const GIVE_WAY: [(usize, usize); 10] = [
    (WITH, 20),
    (JOB, 12),
    (STEP, 18),
    (3, 6),
    (WITH, 9),
    (STEP, 12),
    (JOB, 0),
    (3, 0),
    (WITH, 4),
    (COLUMNS - 1, 1),
];

/// Returns the heading and the row of each proposal, as wide as the terminal. Dots mark what was cut.
pub fn inbox_table(views: &[ProposalView], width: usize) -> (String, Vec<String>) {
    let unique = |length: &usize| {
        let ends: BTreeSet<&str> = views.iter().map(|view| end_of(view, *length)).collect();
        ends.len() == views.len()
    };
    let ending = (ENDING..)
        .find(|length| *length >= 36 || unique(length))
        .unwrap_or(ENDING);
    let cells = views.iter().map(|view| table_cells(view, ending));
    let mut rows = with_header(HEADING, cells);
    let mut widths = [0; COLUMNS];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.width());
        }
    }
    if views.iter().all(|view| view.admitted.is_none()) {
        widths[JOB] = 0;
    }
    for (column, least) in GIVE_WAY {
        let shown = widths.iter().filter(|width| **width > 0).count();
        let all = widths.iter().sum::<usize>() + 2 * (shown - 1);
        if all <= width {
            break;
        }
        if least == 0 {
            widths[column] = 0;
            continue;
        }
        let spare = widths[column].saturating_sub(least.max(HEADING[column].len()));
        let less = if column == COLUMNS - 1 {
            spare
        } else {
            all.saturating_sub(width).min(spare)
        };
        widths[column] -= less;
    }
    fit_parameters(&mut rows, widths[WITH]);
    let mut lines = rows.iter().map(|row| {
        let mut line = String::new();
        for (column, (cell, width)) in row
            .iter()
            .zip(widths)
            .enumerate()
            .filter(|(_, (_, width))| *width > 0)
        {
            let cell = match column {
                // In a column with a width of 1, only the warning sign fits.
                _ if width == 1 => cell.as_str().get(..1).unwrap_or_default().to_owned(),
                // The end of a step's reference says what runs, so the folder at the beginning is cut first.
                STEP if cell.width() > width && !cell.as_str().starts_with(EMERGENCY) => {
                    cell.around(0, width - 3).padded(width)
                }
                _ => cell.cut(width).padded(width),
            };
            line += &format!("{cell}  ");
        }
        line.trim_end().to_owned()
    });
    (lines.next().unwrap_or_default(), lines.collect())
}

/// Returns the parameters of a proposal in one line.
pub fn parameter_words(view: &ProposalView) -> PrintableText {
    let found = leaves(&view.params);
    let found = found.iter().filter(|(path, _)| !path.is_empty());
    let params = found.map(|(path, value)| {
        PrintableText::text(path.trim_start_matches('.'))
            .and("=")
            .then(value_of(value))
    });
    PrintableText::joined(params, " ")
}

/// Shortens the parameters to at most `width` columns. If parameters of a step are longer, the parts that are equal in
/// all its proposals are cut at both ends, because otherwise the rows of similar proposals would be equal.
fn fit_parameters(rows: &mut [[PrintableText; COLUMNS]], width: usize) {
    let mut steps = BTreeMap::<_, Vec<_>>::new();
    for row in rows {
        steps
            .entry(row[STEP].to_string())
            .or_default()
            .push(&mut row[WITH]);
    }
    for mut cells in steps.into_values() {
        if cells.iter().any(|cell| cell.width() > width) {
            PrintableText::cut_equal_ends(&mut cells);
        }
        for cell in cells.into_iter().filter(|cell| cell.width() > width) {
            *cell = cell.ends(width.saturating_sub(3) / 2);
        }
    }
}

/// Returns the time that is left until the proposal expires, in words.
pub fn time_left(view: &ProposalView, now: Timestamp) -> String {
    match (view.expires_at.unix() - now.unix()).max(0) {
        left @ 0..60 => format!("{left} s"),
        left @ 60..7200 => format!("{} min", left / 60),
        left => format!("{} h", left / 3600),
    }
}

fn table_cells(view: &ProposalView, ending: usize) -> [PrintableText; COLUMNS] {
    let by_passkey = if view.approvals.by_passkey.is_empty() {
        ""
    } else {
        " (passkey)"
    };
    [
        PrintableText::text(&end_of(view, ending)),
        step_words(view),
        parameter_words(view),
        PrintableText::text(view.proposer.as_str()),
        view.admitted
            .as_ref()
            .map_or(PrintableText::default(), job_words),
        PrintableText::text(&format!(
            "{} of {}{by_passkey}",
            view.approvals.have, view.approvals.required
        )),
        PrintableText::text(&time_left(view, now())),
        heaviest(view),
    ]
}

/// Returns the path of the job's page, which begins with the repository, or else the issuer, as the boundary reports
/// them.
fn job_words(job: &AdmittedJob) -> PrintableText {
    let page = job
        .job
        .as_deref()
        .and_then(|page| page.strip_prefix("https://")?.split_once('/'));
    PrintableText::text(page.map_or(&*job.issuer, |(_, path)| path))
}

fn value_of(value: &Value) -> PrintableText {
    match value {
        Value::String(text) if text.is_ascii() => plain_or_quoted(text),
        other => PrintableText::prose_value(other),
    }
}

/// Returns the step with the mark of an emergency. The mark is before the step, because a narrow terminal cuts the end of the
/// column.
pub fn step_words(view: &ProposalView) -> PrintableText {
    let is_emergency =
        view.emergency || signed_of(view).is_some_and(|signed| signed.emergency.is_some());
    PrintableText::words(if is_emergency { EMERGENCY } else { "" }).then(view.step.as_str())
}

/// Reads the statement to sign, or returns `None` if the boundary returns something else.
fn signed_of(view: &ProposalView) -> Option<Authorization> {
    read_predicate(&view.payload)
}

/// Returns the most important remark that follows from the signed bytes and from what the boundary reports about other
/// runs. A full review also uses other documents.
pub fn heaviest(view: &ProposalView) -> PrintableText {
    let Some(signed) = signed_of(view) else {
        return PrintableText::words("! unreadable");
    };
    let remarks = remarks::of_statement(&signed, None, &[], &ScriptPlaces::default());
    let unknown = view
        .unknown_end
        .as_ref()
        .map(|_| RemarkSeverity::UnknownEnd);
    let same = view.same_runs.first().map(|_| RemarkSeverity::SameRun);
    let heaviest = remarks.iter().filter_map(|line| match line.weight {
        LineWeight::Remark(heaviness) => Some(heaviness),
        LineWeight::Always => None,
    });
    heaviest
        .chain(unknown)
        .chain(same)
        .min()
        .map_or(PrintableText::default(), |heaviness| {
            PrintableText::words("! ").and(heaviness.word())
        })
}

/// Only the proposals of these steps and of this proposer.
#[derive(clap::Args)]
pub struct ProposalFilterArgs {
    /// Only proposals of this step, or of the steps that match a pattern, such as 'db/**'
    #[arg(long, value_name = "PATTERN", value_parser = Pattern::parse)]
    pub step: Option<Pattern>,
    /// Only proposals of this proposer
    #[arg(long, value_name = "NAME")]
    pub by: Option<Name>,
}

impl ProposalFilterArgs {
    /// Returns true if the filter takes a proposal of this step by this proposer.
    pub fn takes(&self, step: &str, by: &Name) -> bool {
        self.step
            .as_ref()
            .is_none_or(|pattern| pattern.matches(step))
            && self.by.as_ref().is_none_or(|wanted| wanted == by)
    }
}

/// Returns the time of this machine's clock.
pub fn now() -> Timestamp {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp::from_unix(i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;

    use super::*;

    /// Returns a pending proposal with these signatures.
    pub(in crate::commands) fn view(
        missing: &[&str],
        approvers: &[&str],
        excluded: &[&str],
    ) -> ProposalView {
        let digest = format!("sha256:{}", "0".repeat(64));
        serde_json::from_value(json!({
            "id": "prp_019aa0b0-5c00-7000-8000-000000000001", "status": "pending", "next": [], "step": "a:b",
            "step_digest": digest, "params": {}, "params_digest": digest, "proposer": "agent", "reason": "",
            "digest": digest, "payload": "", "created_at": "2026-11-20T09:30:00Z", "expires_at": "2026-11-20T10:30:00Z",
            "approvals": {"rules": [], "required": 2, "have": 0, "approvers": approvers, "missing": missing, "excluded": excluded},
        }))
        .expect("a view")
    }

    #[test]
    fn the_inbox_has_one_line_for_each_proposal_and_fits_the_terminal() {
        let mut one = view(&["ops"], &[], &[]);
        one.params =
            json!({"name": "shop", "release": "2026-11-20 candidate 4", "zone": "eu\u{202e}"});
        let mut two = view(&["ops"], &["bob"], &[]);
        two.id = "prp_019aa0b0-5c00-7000-8000-000001000001"
            .parse()
            .expect("id");
        let views = [one, two];
        let lines = |width: usize| {
            let (heading, rows) = inbox_table(&views, width);
            [heading, rows[0].clone(), rows[1].clone()]
        };
        for width in [48, 60, 80, 140] {
            for line in lines(width) {
                assert!(line.len() <= width, "{width}: {line}");
                assert!(line.bytes().all(|c| (0x20..0x7f).contains(&c)), "{line}");
            }
        }
        let [heading, first, second] = lines(140);
        assert!(
            heading.starts_with("ID ") && heading.ends_with('!'),
            "{heading}"
        );
        assert!(
            first.contains(r#"name=shop release="2026-11-20 candidate 4" zone="eu\u{202e}""#),
            "{first}"
        );
        assert!(
            first.contains("  agent  0 of 2 ") && first.contains("! unreadable"),
            "{first}"
        );
        assert!(
            first.starts_with("0000001 ") && second.starts_with("1000001 "),
            "{first}\n{second}"
        );
        let narrow = &lines(60)[1];
        assert!(
            narrow.contains("  nam...\"  ") && narrow.contains("  agent"),
            "{narrow}"
        );
        assert!(narrow.ends_with("  ! unreadable"), "{narrow}");
        let mut emergency = views[0].clone();
        emergency.emergency = true;
        for width in [48, 140] {
            let row = inbox_table(std::slice::from_ref(&emergency), width)
                .1
                .remove(0);
            assert!(row.contains("  EMERGENCY"), "{width}: {row}");
        }
        let mut of_job = views[0].clone();
        let page = "https://github.example/acme/shop/actions/runs/42";
        of_job.admitted = serde_json::from_value(
            json!({"issuer": "https://i.example", "job": page, "claims": {}}),
        )
        .ok();
        assert!(of_job.admitted.is_some() && !heading.contains("JOB"));
        for (width, cell) in [
            (140, "  agent  acme/shop/actions/runs/42  0 of 2 "),
            (76, "  acme/shop"),
            (60, "  agent  "),
        ] {
            let (heading, rows) = inbox_table(&[of_job.clone(), views[1].clone()], width);
            let row = &rows[0];
            assert!(row.len() <= width && row.contains(cell), "{width}: {row}");
            assert_eq!(heading.contains("JOB"), width > 60, "{heading}");
        }
        // In a narrow terminal, the column of the proposer shrinks before the last column.
        let [heading, first, _] = lines(48);
        assert!(
            !heading.contains("BY")
                && first.contains("  0 of 2 ")
                && first.ends_with("  ! unreadable"),
            "{first}"
        );
    }

    #[test]
    fn ten_proposals_of_one_step_have_ten_different_rows_at_80_columns() {
        // The difference is at the end, in the middle, in the second parameter, in two, in a missing parameter, or in the step.
        type Difference = fn(&mut ProposalView, usize);
        let differences: [Difference; 6] = [
            |view, n| {
                view.params["cluster"] = format!("production-eu-west-1-cluster-{n:02}").into()
            },
            |view, n| {
                view.params["cluster"] = format!("production-{n:02}-eu-west-1-cluster").into()
            },
            |view, n| view.params["zone"] = n.into(),
            |view, n| {
                view.params["cluster"] = format!("production-{}-with-a-long-name", n / 5).into();
                view.params["zone"] = format!("a-long-name-{}", n % 5).into();
            },
            |view, n| {
                drop(
                    view.params
                        .as_object_mut()
                        .expect("fields")
                        .insert(format!("only-{n}"), true.into()),
                )
            },
            |view, n| {
                view.step = format!("databases/postgres/failover/long-{n:02}:restart")
                    .parse()
                    .expect("a step")
            },
        ];
        for (place, difference) in differences.into_iter().enumerate() {
            let views: Vec<_> = (1..=10)
                .map(|n| {
                    let mut one = view(&["ops"], &[], &[]);
                    one.id = format!("prp_019aa0b0-5c00-7000-8000-0000000000{n:02}").parse().expect("an id");
                    one.step = "databases/postgres/failover:restart".parse().expect("a step");
                    one.params = json!({"cluster": "production-eu-west-1-cluster", "dry-run": false, "zone": 0});
                    difference(&mut one, n);
                    one
                })
                .collect();
            let (heading, rows) = inbox_table(&views, 80);
            let different: BTreeSet<&str> = rows
                .iter()
                .map(|row| &row[heading.find("STEP").expect("a column")..])
                .collect();
            assert_eq!(
                different.len(),
                10,
                "{place}: {heading}\n{}",
                rows.join("\n")
            );
            assert!(
                rows.iter().all(|row| row.len() <= 80),
                "{}",
                rows.join("\n")
            );
        }
    }
}
